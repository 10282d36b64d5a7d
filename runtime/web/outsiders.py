"""`/hooks/...`: what others tell us, handed to whoever has a use for it.

No API key is asked for. A handler checks a signature itself, over the raw bytes, before it reads
anything else of them; so does a connector that takes events in.
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import InvalidRequest, NotFound
from greenroom.runtime.web.hooks import HookRequest
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.reading import JSON, joined
from greenroom.runtime.web.routes import web_of

METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


async def hook(request: Request) -> Response:
    path, hooks = request.path_params["path"], web_of(request).hooks
    try:
        base, handler, methods = hooks.find(path)
    except NotFound:
        return await _event_of_connector(path.strip("/"), request)
    if request.method not in methods:
        raise HttpError(405, InvalidRequest(f"this hook takes {', '.join(methods)}"),
                        Allow=", ".join(methods))  # fmt: skip
    asked = HookRequest(
        method=request.method,
        path=base,
        rest=path.strip("/")[len(base) :].strip("/"),
        headers=joined(request.headers.items()),
        query=dict(request.query_params),
        body=await request.body(),
    )
    answer = await hooks.answer(handler, asked)
    body = answer.body
    headers = dict(answer.headers)
    if body is None or isinstance(body, bytes):
        return Response(body or b"", answer.status, headers)
    if isinstance(body, str):
        return Response(body, answer.status, headers, "text/plain; charset=utf-8")
    return Response(_encode(body), answer.status, headers, JSON)


async def _event_of_connector(name: str, request: Request) -> Response:
    """`/hooks/NAME` of a connector that declares events takes them in: signature first."""
    engine = web_of(request).engine
    known = any(one.id == name and one.events for one in engine.connectors)
    if not known or request.method != "POST":
        raise NotFound("there is no such hook")
    taken = await engine.ingest(name, request.headers.items(), await request.body())
    if taken.accepted is None:
        return Response(_encode(taken.reply), media_type=JSON)
    told = {"id": taken.accepted.id, "accepted": True, "duplicate": taken.accepted.duplicate}
    return Response(_encode(told), media_type=JSON)
