"""The table of routes, as one route of the application: each row carries out one method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import URLPath
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from greenroom.definitions.errors import InvalidRequest, NoSuchAsk
from greenroom.runtime import calls
from greenroom.runtime.web import bulk, table
from greenroom.runtime.web.access import Caller
from greenroom.runtime.web.answers import answer, encode
from greenroom.runtime.web.feed import feed
from greenroom.runtime.web.guard import SAFE
from greenroom.runtime.web.metrics import ROUTE
from greenroom.runtime.web.probes import PLAIN
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.reading import (
    body_of,
    coerced,
    json_of,
    merge,
    object_of,
    query_of,
    segments_of,
)
from greenroom.runtime.web.routes import caller_of
from greenroom.runtime.web.sessions import API
from greenroom.runtime.web.table import PUBLIC

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

FOUND: Final = "greenroom.found"
"""The row of the table that answers a request."""


class Api(BaseRoute):
    """The rows of the table as one route: a path is matched by its segments as they were sent, so
    that `%2F` within one stays in it."""

    rule = "by row"

    def __init__(self, web: Web) -> None:
        self._web = web

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        found = table.find(scope["method"], segments_of(scope))
        return (Match.FULL, {FOUND: found}) if found else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope[FOUND]
        if isinstance(found, set):
            methods = ", ".join(sorted(found))
            error = InvalidRequest(f"this address takes {methods}, not {scope['method'][:20]}")
            raise HttpError(405, error, Allow=methods)
        route, values = found
        scope[ROUTE] = f"{route.method} {route.path}"
        response = await self.answer(route, values, Request(scope, receive))
        await response(scope, receive, send)

    async def answer(
        self, route: table.Route, values: dict[str, str], request: Request
    ) -> Response:
        web, caller = self._web, caller_of(request)
        if route.scope != PUBLIC:
            caller.must(route.scope, values.get(route.subject) if route.subject else None)
            if caller.way == "session" and request.method not in SAFE:
                token = request.headers.get("x-csrf-token")
                await web.sessions.check_csrf(caller, token, API)
        if route.kind == "plain":
            return await PLAIN[route.call](web, request)
        if route.kind == "bulk":
            return await bulk.post(web, request, caller)
        params: dict[str, Any] = coerced(route, {**query_of(request), **values})
        if route.kind == "feed":
            return feed(web, request, caller, route.call, params)
        if request.method not in ("GET", "HEAD", "DELETE"):
            body = json_of(await body_of(request), default={} if route.whole is None else None)
            if route.whole is not None:
                params[route.whole] = body
            else:
                merge(params, object_of(body))
        if route.scope == "answer" and caller.is_limited("answer"):
            await _check_assignee(web, caller, values["ask"])
        if route.call == "definitions.push":
            _check_push(caller, params)
        if route.kind == "token":
            await web.engine.callbacks.find(next(iter(values.values())))
        work = calls.run(web.engine, route.call, params, caller.by)
        given = await (web.unless_stopped(work) if route.call == "result" else work)
        if route.call == "history" and bulk.takes_lines(request):
            lines = b"".join(encode(item) + b"\n" for item in given.items)
            headers = {"X-Cursor": given.cursor} if given.cursor else {}
            return Response(lines, headers=headers, media_type=bulk.NDJSON)
        return answer(given, route.status)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Links to the API are written out: its addresses are the contract."""
        raise NoMatchFound(name, path_params)

    def __repr__(self) -> str:
        return "<the table of the API>"


def _check_push(caller: Caller, params: dict[str, Any]) -> None:
    """To release is a right of its own, and so is what a first version or `enabled` would do by
    themselves; and a name in the address is that of the document."""
    if params.get("promote") or params.get("grant"):
        caller.must("promote")
    if not caller.may("promote"):
        params["draft"] = True
    name = params.pop("name", None)
    document = params.get("document")
    if name is not None and not (isinstance(document, dict) and document.get("name") == name):
        raise InvalidRequest(f'the document is not that of "{name[:80]}"', path="$.name")


async def _check_assignee(web: Web, caller: Caller, ask: str) -> None:
    """Others' questions are not there for whom may answer only some."""
    found = await web.engine.asks.find(ask)
    if not caller.may("answer", found.assignee or ""):
        raise NoSuchAsk(f"there is no question {ask}", ask=ask)
