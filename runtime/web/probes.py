"""Routes of the table that are no verbs of the engine: what machines ask of the process itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.runtime.web.reading import JSON

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


async def _healthz(web: Web, request: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type=JSON)


async def _readyz(web: Web, request: Request) -> Response:
    engine = web.engine
    if engine.state != "open" or engine.journal.state != "open" or web.stopping.is_set():
        state = "stopping" if web.stopping.is_set() else engine.state
        state = engine.journal.state if state == "open" else state
        return Response(_encode({"status": state}), 503, media_type=JSON)
    return Response(b'{"status":"ready"}', media_type=JSON)


async def _metrics(web: Web, request: Request) -> Response:
    return await web.metrics.response(web)


async def _openapi(web: Web, request: Request) -> Response:
    from greenroom.runtime.web.openapi import document  # noqa: PLC0415  rare, and large

    made = document(request.scope.get("root_path", ""))
    return Response(_encode(made), media_type=JSON)


PLAIN: Final[dict[str, Callable[[Web, Request], Awaitable[Response]]]] = {
    "healthz": _healthz,
    "readyz": _readyz,
    "metrics": _metrics,
    "openapi": _openapi,
}
