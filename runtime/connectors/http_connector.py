"""`http`: requests to any address that connectors may reach, with no credentials.

An answer that is no 2xx fails the action unless `accept` lists its status.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from greenroom.definitions.requests import METHODS
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.connectors.http import Http
from greenroom.runtime.connectors.shipped import SOURCE
from greenroom.runtime.connectors.wire import Response

_COMMON: Final[dict[str, Json]] = {
    "url": {"type": "string", "minLength": 1, "maxLength": 8192},
    "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    "query": {"type": "object"},
    "accept": {"type": "array", "items": {"type": "integer", "minimum": 100, "maximum": 599}},
}

GET: Final[dict[str, Json]] = {
    "type": "object",
    "properties": _COMMON,
    "required": ["url"],
    "additionalProperties": False,
}

REQUEST: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {
        **_COMMON,
        "method": {"type": "string", "enum": list(METHODS)},
        "body": {},
        "form": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["url"],
    "additionalProperties": False,
}

ANSWER: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "headers": {"type": "object"}, "body": {}},
    "required": ["status", "headers", "body"],
}


def http_connector(
    id: str = "http",
    *,
    allow: Sequence[str] = (),
    grants: Sequence[str] = (),
    redirects: int = 3,
    rate_limit: Json = None,
    timeout: str | float | None = None,
) -> Connector:
    """A connector without a host: its callers give whole URLs. Inside addresses and ports other
    than 80 and 443 need `allow`; secrets in parameters need `grants`."""
    connector = Connector(
        id,
        name="HTTP",
        description="Requests to any public address",
        allow=allow,
        grants=grants,
        redirects=redirects,
        rate_limit=rate_limit,
        timeout=timeout,
        source=SOURCE,
    )

    @connector.action("Get", params=GET, response=ANSWER, idempotent=True)
    async def get(params: dict[str, Any], http: Http) -> Json:
        """Fetches something."""
        return await _asked(http, "GET", params)

    @connector.action("Request", params=REQUEST, response=ANSWER)
    async def request(params: dict[str, Any], http: Http) -> Json:
        """Makes a request of any method."""
        return await _asked(http, params.get("method", "POST"), params)

    return connector


async def _asked(http: Http, method: str, params: dict[str, Any]) -> Json:
    options: dict[str, Any] = {"json": params["body"]} if "body" in params else {}
    response: Response = await http.request(
        method,
        params["url"],
        query=params.get("query"),
        headers=params.get("headers"),
        form=params.get("form"),
        check=False,
        **options,
    )
    if not response.ok and response.status not in params.get("accept", ()):
        raise http.failure(response)
    return {"status": response.status, "headers": response.fields(), "body": response.body()}
