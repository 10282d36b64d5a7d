"""Events that services send: from signed bytes to an event of ours.

In this order, and nothing before what precedes it: the size, the signature over the raw bytes, the
moment it was made, the type, the schema. What passes is posted under `connector.type` with the
connector as its source and the sender's name of it as its id, so that a second delivery is known.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.definitions.connectors import Connector
from greenroom.definitions.errors import InvalidEvent, InvalidInput, InvalidRequest, TooLarge
from greenroom.definitions.events import NAME_MAX, Event
from greenroom.definitions.signatures import Headers, Proof
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import VALUE_BYTES_MAX, Json, decode
from greenroom.runtime import masking, shapes
from greenroom.runtime.web.hooks import HookHandler, HookRequest, HookResponse

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

HeaderPairs = Mapping[str, str] | Iterable[tuple[str, str]]

BODY_MAX: Final = VALUE_BYTES_MAX
_ID_PATHS: Final = {"stripe": ("id",), "slack": ("event_id",), "pagerduty": ("event", "id")}
"""Where a scheme whose headers hold no id has a signed one."""


async def ingest(
    engine: Engine,
    connector_id: str,
    headers: HeaderPairs,
    body: bytes | str,
    *,
    encoding: str | None = None,
    namespace: str | None = None,
    by: str | None = None,
) -> shapes.Ingested:
    """See `Engine.ingest`."""
    connector = engine.connectors.get(connector_id)
    raw = _raw(body, encoding)
    if len(raw) > BODY_MAX:
        raise TooLarge(
            f"an event of {connector.id} has {len(raw):,} bytes, the limit is {BODY_MAX:,}",
            bytes=len(raw),
            limit=BODY_MAX,
        )
    if not connector.events:
        raise InvalidRequest(f"{connector.id} declares no events", connector=connector.id)
    given = Headers(headers)
    rule = connector.signature
    secrets = [(await engine.connections.secrets.get(name)).reveal() for name in rule.secrets()]
    proof = rule.verify(given, raw, secrets, engine.clock.now() / 1000)
    data = _decoded(raw, given, connector)
    type = _type(data, proof, connector)
    if rule.scheme == "slack" and type == "url_verification" and isinstance(data, dict):
        return shapes.Ingested(connector.id, type, reply={"challenge": data.get("challenge")})
    _check(data, type, connector)
    event = Event(
        type=connector.event_type(type),
        id=_id(data, proof, connector),
        source=connector.event_source,
        data=masking.secrets.hidden(data),
        datacontenttype="application/json",
    )
    accepted = await engine.post(event, namespace=namespace, by=by or f"connector:{connector.id}")
    return shapes.Ingested(connector.id, type, accepted)


def _raw(body: bytes | str, encoding: str | None) -> bytes:
    if encoding not in (None, "text", "base64"):
        raise InvalidRequest(f'encoding is "text" or "base64", got {encoding!r}')
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    if encoding != "base64":
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except ValueError:
        raise InvalidRequest("the body is not base64") from None


def _decoded(raw: bytes, headers: Headers, connector: Connector) -> Json:
    kind = (headers.get("content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise InvalidEvent(f"events of {connector.id} are JSON, not {kind[:80]}", path="$")
    try:
        return decode(raw)
    except InvalidInput as error:
        raise InvalidEvent(f"an event of {connector.id} is {error.message}", path="$") from None


def _type(data: Json, proof: Proof, connector: Connector) -> str:
    """What the sender calls it: a header of the scheme, else a place in the body."""
    if proof.type is not None:
        return proof.type
    found: Any = data
    for part in connector.type_path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if connector.signature.scheme == "slack" and found == "event_callback":
        inner = data.get("event") if isinstance(data, dict) else None
        found = inner.get("type") if isinstance(inner, dict) else None
    if not isinstance(found, str) or not found:
        raise InvalidEvent(
            f"an event of {connector.id} names no type at {connector.type_path}",
            path=f"$.{connector.type_path}",
        )
    return found


def _check(data: Json, type: str, connector: Connector) -> None:
    declared = connector.events.get(type)
    if declared is None:
        raise InvalidEvent(
            f"{connector.id} declares no event {type[:80]!r}{did_you_mean(type, connector.events)}",
            path=f"$.{connector.type_path}",
            known=sorted(connector.events),
        )
    problems = [] if declared.schema is None else declared.schema.problems(data, "$")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InvalidEvent(
            f"{connector.id} {type}: {problems[0].path} {problems[0].message}{more}",
            path=problems[0].path,
            problems=[problem.as_data() for problem in problems],
        )


def _id(data: Json, proof: Proof, connector: Connector) -> str:
    """What makes a second delivery the same event."""
    if connector.signature.dedupe == "body":
        return proof.digest
    if proof.id and len(proof.id) <= NAME_MAX:
        return proof.id
    if isinstance(data, dict) and connector.signature.scheme in _ID_PATHS:
        found: Any = data
        for part in _ID_PATHS[connector.signature.scheme]:
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, str) and 0 < len(found) <= NAME_MAX:
            return found
    return proof.digest


def hook(engine: Engine) -> HookHandler:
    """`POST /hooks/connectors/ID`: the same over HTTP."""

    async def answer(request: HookRequest) -> HookResponse:
        found = await ingest(engine, request.rest.strip("/"), request.headers, request.body)
        if found.accepted is None or found.reply is not None:
            return HookResponse(200, found.reply)
        return HookResponse(202, msgspec.to_builtins(found.accepted))

    return answer
