"""Routes with a rule: who may ask for it, and whether a form of a browser's session needs its token.

A route without a rule cannot be added to an application (see `app`).
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from greenroom.definitions.errors import GreenroomError, NotPermitted
from greenroom.runtime.web.access import NOBODY, SCOPES, Caller
from greenroom.runtime.web.guard import BODY, CALLER, SAFE
from greenroom.runtime.web.metrics import ROUTE
from greenroom.runtime.web.sessions import API
from greenroom.runtime.web.table import PUBLIC

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

Endpoint = Callable[[Request], Awaitable[Response]]

LOGIN: Final = "login"
"""Name of the page somebody who is not known is sent to."""
WEB: Final = "greenroom.web"


def caller_of(request: Request) -> Caller:
    found: Caller = request.scope.get(CALLER, NOBODY)
    return found


def web_of(request: Request) -> Web:
    found: Web = request.scope[WEB]
    return found


def rule_of(route: BaseRoute) -> str | None:
    return getattr(route, "rule", None)


class PageRoute(Route):
    rule: str


def page(
    path: str,
    endpoint: Endpoint,
    scope: str,
    *,
    methods: Sequence[str] = ("GET",),
    name: str | None = None,
    purpose: Callable[[Request], str] | None = None,
    csrf: bool = True,
    body_bytes: int | None = None,
    on_error: Callable[[Request, GreenroomError], Awaitable[Response]] | None = None,
) -> PageRoute:
    """A route with a rule: its caller holds `scope` (`PUBLIC`: anybody), and a form of a session
    carries its token. `body_bytes` allows more than the usual body, for uploads. `on_error` answers
    who may not; without it they are told as every program is."""
    if scope != PUBLIC and scope not in SCOPES:
        raise ValueError(f"{scope!r} is not a scope")

    async def check(request: Request) -> None:
        caller = caller_of(request)
        request.scope[ROUTE] = path
        if scope != PUBLIC:
            caller.must(scope)
        if body_bytes is not None:
            request.scope[BODY].bytes_max = body_bytes
        if csrf and request.method not in SAFE and caller.way == "session":
            token, used = request.headers.get("x-csrf-token"), API
            if token is None:
                token = str((await request.form()).get("csrf", ""))
                used = purpose(request) if purpose is not None else request.url.path
            await web_of(request).sessions.check_csrf(caller, token, used)

    async def ruled(request: Request) -> Response:
        try:
            await check(request)
        except NotPermitted as error:
            if on_error is None:
                raise
            return await on_error(request, error)
        return await endpoint(request)

    ruled.__name__ = getattr(endpoint, "__name__", "page").lstrip("_")
    made = PageRoute(path, ruled, methods=list(methods), name=name)
    made.rule = scope
    return made


class Static(Mount):
    rule = PUBLIC


class Files(StaticFiles):
    """Files of the wheel: they change with the version only, so a browser asks again by etag. They
    are sent compressed: nothing in them is secret, so their length tells nobody anything."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        packs = "gzip" in Request(scope).headers.get("accept-encoding", "")
        if packs and response.status_code == 200 and isinstance(response, FileResponse):
            kept = {name: response.headers[name] for name in ("etag", "cache-control")}
            kept |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            packed = _packed(str(response.path), response.headers["etag"])
            return Response(packed, 200, kept, response.headers["content-type"])
        return response


@lru_cache(maxsize=64)
def _packed(path: str, etag: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), mtime=0)
