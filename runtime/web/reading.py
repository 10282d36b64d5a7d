"""What a request says: its path, its query and its body, as the values a method takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime import calls
from greenroom.runtime.web import table
from greenroom.runtime.web.heads import heads_of, media_type
from greenroom.runtime.web.problems import HttpError

JSON: Final = "application/json"


def segments_of(scope: Scope) -> list[str]:
    """The path below the mount point, cut at its slashes and then decoded."""
    raw = scope.get("raw_path")
    path: str = raw.decode("latin-1").partition("?")[0] if raw else quote(scope["path"])
    root: str = scope.get("root_path", "")
    for prefix in (quote(root), root):
        if prefix and path.startswith(prefix):
            path = path[len(prefix) :]
            break
    parts = path.removeprefix("/").split("/")
    return [unquote(part) for part in parts] if "%" in path else parts


async def body_of(request: Request) -> bytes:
    """The body of a request that sends JSON. curl's `-d` says it is a form; it is read as JSON too."""
    kind = media_type(heads_of(request.scope))
    if kind not in ("", JSON, "application/x-www-form-urlencoded") and not kind.endswith("+json"):
        raise HttpError(
            415, InvalidRequest(f"the body is {kind[:80]}; it must be {JSON}", takes=JSON)
        )
    return await whole(request)


async def whole(request: Request) -> bytes:
    """The body, which most often is there already."""
    message = await request.receive()
    pieces = [message.get("body", b"")]
    while message["type"] == "http.request" and message.get("more_body", False):
        message = await request.receive()
        pieces.append(message.get("body", b""))
    if message["type"] != "http.request":
        raise ClientDisconnect
    return b"".join(pieces)


def json_of(body: bytes, default: Any = None) -> Any:
    if not body.strip():
        return default
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, InvalidRequest(f"the body is not JSON: {str(error)[:200]}")) from None


def object_of(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", path="$")
    return value


def query_of(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    if not request.scope["query_string"]:
        return found
    for name, value in request.query_params.multi_items():
        if name in found:
            raise InvalidRequest(f'"{name[:80]}" is given twice', path=f"$.{name[:80]}")
        found[name] = value
    return found


def merge(params: dict[str, Any], body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in params and params[name] != value:
            raise InvalidRequest(f'"{name[:80]}" is in the address and, different, in the body')
        params[name] = value


def coerced(route: table.Route, values: Mapping[str, str]) -> dict[str, Any]:
    """Text of an address as the types its method takes; what does not fit is left for it to say."""
    if not values:
        return {}
    kinds = _kinds(table.params_of(route))
    return {name: _value(text, kinds.get(name, frozenset())) for name, text in values.items()}


@lru_cache(maxsize=256)
def _kinds(params: type[calls.Params]) -> dict[str, frozenset[str]]:
    schema = msgspec.json.schema_components([params])[1][params.__name__]
    made = {}
    for name, field in schema.get("properties", {}).items():
        kinds = [field, *field.get("anyOf", ())]
        made[name] = frozenset(str(kind.get("type")) for kind in kinds)
    return made


def _value(text: str, kinds: frozenset[str]) -> Any:
    if "boolean" in kinds and text in ("true", "false", "1", "0", ""):
        return text in ("true", "1", "")
    if (
        "integer" in kinds
        and text.removeprefix("-").isdecimal()
        and text.isascii()
        and len(text) < 20
    ):
        return int(text)
    return text


def joined(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in items:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
