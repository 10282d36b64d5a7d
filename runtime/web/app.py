"""The application: one ASGI callable with the API, the hooks, the feed and the pages.

`Web(engine, rules)` is it. A request goes through `guard` (sizes, Host, who asks, CSRF, rates) and
then to the first of these routes that matches: the table of the API, hooks, sessions, static
files, pages.

**Adding pages.** A page is a Starlette endpoint with a rule:

    def routes(web: Web) -> list[BaseRoute]:
        return [page("/", home, "read"), page("/asks/{id}", answer, "answer", methods=("GET", "POST"))]

    web = Web(engine, rules, pages=[routes])        # or append `routes` to PAGES below

In the endpoint `caller_of(request)` says who asks (`.by` goes to the engine's verbs, `.must(scope)`
refuses), `web_of(request).engine` is the engine, and `request.url_for(name)` makes links that hold
under any mount prefix. A form carries `await web.sessions.csrf(caller, purpose)` in a field `csrf`;
`page` checks it before the endpoint runs (purpose: the path of the page, or what `purpose=` makes of
the request; scripts send `X-CSRF-Token` with the purpose `api`). Files in `runtime/web/static` are
served at `/static`. A route without a rule cannot be added: it is refused when the application is
made. A page that needs somebody and finds nobody is sent to `LOGIN` if there is such a page.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

import msgspec
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, NoMatchFound, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from greenroom.definitions.errors import (
    EngineStopping,
    InvalidRequest,
    NoSuchAsk,
    NotAuthenticated,
    NotFound,
)
from greenroom.runtime import calls
from greenroom.runtime.web import bulk, table
from greenroom.runtime.web.access import NOBODY, SCOPES, Caller
from greenroom.runtime.web.feed import Feeds, feed
from greenroom.runtime.web.guard import BODY, CALLER, SAFE, Guard, Rules
from greenroom.runtime.web.hooks import HookRequest, Hooks
from greenroom.runtime.web.metrics import ROUTE, Metrics
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.sessions import API, Sessions

T = TypeVar("T")

JSON: Final = "application/json"
PUBLIC: Final = table.PUBLIC
STATIC: Final = Path(__file__).with_name("static")
LOGIN: Final = "login"
"""Name of the page somebody who is not known is sent to."""
WEB: Final = "greenroom.web"
FOUND: Final = "greenroom.found"
"""The row of the table that answers a request."""

Endpoint = Callable[[Request], Awaitable[Response]]
Pages = Callable[["Web"], Sequence[BaseRoute]]

PAGES: Final[list[Pages]] = []
"""What makes the pages of every application."""

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class Web:
    """The HTTP face of one engine; itself the ASGI application.

    `stop` ends feeds and refuses new ones; the requests in work go on.
    """

    def __init__(
        self,
        engine: Any,
        rules: Rules | None = None,
        *,
        pages: Sequence[Pages] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.rules = rules or Rules()
        self.now = now
        self.hooks: Hooks = engine.hooks
        self.sessions = Sessions(engine)
        self.metrics = Metrics()
        self.feeds = Feeds(self)
        self.stopping = asyncio.Event()
        self.url: str | None = None
        """Where browsers reach it, if it is a daemon's that serves a port."""
        self.oidc = self.rules.oidc
        self.routes = [*self._own(), *(r for make in (*PAGES, *pages) for r in make(self))]
        for route in self.routes:
            if rule_of(route) is None:
                raise TypeError(f"{route!r} has no rule: make it with page(path, endpoint, scope)")
        self._router = Router(self.routes, redirect_slashes=False)
        self._router.default = self._unknown
        self._app = Guard(self._routed, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[WEB] = self
        await self._app(scope, receive, send)

    async def known(self, text: str) -> Caller:
        """The holder of a bearer's text. Raises `NotAuthenticated`."""
        key = await self.engine.keys.verify(text)
        if key is not None:
            return Caller(f"key:{key.id}/{key.name}", tuple(key.scopes), "key")
        if self.oidc is not None and not text.startswith("gr_"):
            found: Caller = await self.oidc.caller(text)
            return found
        raise NotAuthenticated("the API key is wrong, expired or revoked", hint="greenroom key ls")

    def stop(self) -> None:
        self.stopping.set()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """What may take for ever ends with the daemon. Raises `EngineStopping` then."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise EngineStopping("the daemon is shutting down; the instance goes on afterwards")
        finally:
            stopping.cancel()
            task.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    # -- routes ----------------------------------------------------------------------------------

    def _own(self) -> list[BaseRoute]:
        own: list[BaseRoute] = [
            Api(self),
            page("/hooks/{path:path}", self._hook, PUBLIC, methods=HOOK_METHODS, csrf=False),
            page("/session", self.log_in, PUBLIC, methods=("POST",), csrf=False),
            page("/session/ticket", self._log_in_by_ticket, PUBLIC),
            page("/session/tickets", self._ticket, "admin", methods=("POST",)),
            page("/session/end", self._log_out, PUBLIC, methods=("POST",), csrf=False),
        ]
        if STATIC.is_dir():
            own.append(Static("/static", app=_Files(directory=STATIC), name="static"))
        return own

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            raise HttpError(error.status_code, InvalidRequest(error.detail)) from None
        except NotAuthenticated as error:
            login = self._login(scope)
            if login is None:
                raise
            del error
            await RedirectResponse(login, 303)(scope, receive, send)

    def _login(self, scope: Scope) -> str | None:
        """Where a person is sent that is not known; None for programs, or without a login page."""
        request = Request(scope)
        wants_page = "text/html" in request.headers.get("accept", "")
        if request.method not in SAFE or not wants_page or FOUND in scope:
            return None
        if not any(getattr(route, "name", None) == LOGIN for route in self.routes):
            return None
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return str(request.url_for(LOGIN).include_query_params(back=back))

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotFound(f"there is nothing at {scope['path'][:200]}", hint="see /openapi.json")

    async def _hook(self, request: Request) -> Response:
        path = request.path_params["path"]
        try:
            base, handler, methods = self.hooks.find(path)
        except NotFound:
            return await self._event_of_connector(path.strip("/"), request)
        if request.method not in methods:
            raise HttpError(405, InvalidRequest(f"this hook takes {', '.join(methods)}"),
                            Allow=", ".join(methods))  # fmt: skip
        asked = HookRequest(
            method=request.method,
            path=base,
            rest=path.strip("/")[len(base) :].strip("/"),
            headers=_joined(request.headers.items()),
            query=dict(request.query_params),
            body=await request.body(),
        )
        answer = await self.hooks.answer(handler, asked)
        body = answer.body
        headers = dict(answer.headers)
        if body is None or isinstance(body, bytes):
            return Response(body or b"", answer.status, headers)
        if isinstance(body, str):
            return Response(body, answer.status, headers, "text/plain; charset=utf-8")
        return Response(_encode(body), answer.status, headers, JSON)

    async def _event_of_connector(self, name: str, request: Request) -> Response:
        """`/hooks/NAME` of a connector that declares events takes them in: signature first."""
        engine = self.engine
        known = any(one.id == name and one.events for one in engine.connectors)
        if not known or request.method != "POST":
            raise NotFound("there is no such hook")
        taken = await engine.ingest(name, request.headers.items(), await request.body())
        if taken.accepted is None:
            return Response(_encode(taken.reply), media_type=JSON)
        told = {"id": taken.accepted.id, "accepted": True, "duplicate": taken.accepted.duplicate}
        return Response(_encode(told), media_type=JSON)

    async def log_in(self, request: Request) -> Response:
        """Opens a browser's session with an API key: JSON `{"key": ...}` or a form's field."""
        _same_site(request)
        if request.headers.get("content-type", "").startswith(JSON):
            given = _object(_json(await request.body()))
        else:
            given = dict(await request.form())
        request.scope[CALLER] = caller = await self._knock(request, str(given.get("key", "")))
        back = given.get("back")
        response: Response = (
            RedirectResponse(_local(request, back), 303) if back else Response(status_code=204)
        )
        key = (
            caller.by.partition("/")[0].removeprefix("key:")
            if caller.way == "key" and caller.by
            else None
        )
        await self.sessions.open(request, response, caller, key)
        return response

    async def _knock(self, request: Request, text: str) -> Caller:
        return await self._app.shown(request, f"Bearer {text}")

    async def _ticket(self, request: Request) -> Response:
        """A link that logs a browser in as who asks for it, once and within a minute."""
        if self.url is None:
            raise InvalidRequest(
                "this daemon serves no port a browser could reach",
                hint="serve --http 127.0.0.1:8420 ...",
            )
        ticket = await self.sessions.ticket(caller_of(request))
        link = f"{self.url}/session/ticket?ticket={ticket}"
        return Response(_encode({"url": link}), 201, media_type=JSON)

    async def _log_in_by_ticket(self, request: Request) -> Response:
        """Opens a session with a ticket: `greenroom web` prints such an address."""
        caller = await self.sessions.redeem(request.query_params.get("ticket", ""))
        if caller is None:
            raise NotAuthenticated(
                "this link was used or is older than a minute", hint="greenroom web"
            )
        response = RedirectResponse(_local(request, request.query_params.get("back")), 303)
        await self.sessions.open(request, response, caller, None)
        return response

    async def _log_out(self, request: Request) -> Response:
        _same_site(request)
        response = Response(status_code=204)
        self.sessions.close(request, response)
        return response


HOOK_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")


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
            if request.method not in SAFE:
                token = request.headers.get("x-csrf-token")
                await web.sessions.check_csrf(caller, token, API)
        if route.kind == "plain":
            return await PLAIN[route.call](web, request)
        params: dict[str, Any] = coerced(route, {**_query(request), **values})
        if route.kind == "feed":
            return feed(web, request, caller, route.call, params)
        if route.kind == "bulk":
            return await _posted(web, request, caller)
        if request.method not in ("GET", "HEAD", "DELETE"):
            body = _json(await _body(request), default={} if route.whole is None else None)
            if route.whole is not None:
                params[route.whole] = body
            else:
                _merge(params, _object(body))
        if route.scope == "answer" and caller.is_limited("answer"):
            await _check_assignee(web, caller, values["ask"])
        if route.call == "definitions.push":
            _check_push(caller, params)
        if route.kind == "token":
            await web.engine.callbacks.find(next(iter(values.values())))
        work = calls.run(web.engine, route.call, params, caller.by)
        given = await (web.unless_stopped(work) if route.call == "result" else work)
        if route.call == "history" and bulk.NDJSON in request.headers.get("accept", ""):
            lines = b"".join(_encode(item) + b"\n" for item in given.items)
            headers = {"X-Cursor": given.cursor} if given.cursor else {}
            return Response(lines, headers=headers, media_type=bulk.NDJSON)
        return Response(_encode(given), route.status, media_type=JSON)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Links to the API are written out: its addresses are the contract."""
        raise NoMatchFound(name, path_params)

    def __repr__(self) -> str:
        return "<the table of the API>"


def _check_push(caller: Caller, params: dict[str, Any]) -> None:
    """To release is a right of its own, and so is what a first version or `enabled` would do by
    themselves; and a name in the address is that of the document."""
    if params.get("promote"):
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


async def _posted(web: Web, request: Request, caller: Caller) -> Response:
    query = dict(_query(request))
    if _media_type(request) == bulk.NDJSON:
        return await bulk.post_lines(web, request, caller, query)
    given = _json(await _body(request))
    if isinstance(given, list):
        return await bulk.post_array(web, given, caller, query)
    event = _object(given)
    caller.must("publish", event["type"] if isinstance(event.get("type"), str) else "")
    params = {**query, "event": event}
    return Response(
        _encode(await calls.run(web.engine, "post", params, caller.by)), media_type=JSON
    )


# -- what a request says -----------------------------------------------------------------------


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


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _body(request: Request) -> bytes:
    """The body of a request that sends JSON. curl's `-d` says it is a form; it is read as JSON too."""
    kind = _media_type(request)
    if kind not in ("", JSON, "application/x-www-form-urlencoded") and not kind.endswith("+json"):
        raise HttpError(
            415, InvalidRequest(f"the body is {kind[:80]}; it must be {JSON}", takes=JSON)
        )
    return await request.body()


def _json(body: bytes, default: Any = None) -> Any:
    if not body.strip():
        return default
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, InvalidRequest(f"the body is not JSON: {str(error)[:200]}")) from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", path="$")
    return value


def _query(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise InvalidRequest(f'"{name[:80]}" is given twice', path=f"$.{name[:80]}")
        found[name] = value
    return found


def _merge(params: dict[str, Any], body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in params and params[name] != value:
            raise InvalidRequest(f'"{name[:80]}" is in the address and, different, in the body')
        params[name] = value


def coerced(route: table.Route, values: Mapping[str, str]) -> dict[str, Any]:
    """Text of an address as the types its method takes; what does not fit is left for it to say."""
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


def _joined(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in items:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _same_site(request: Request) -> None:
    """For requests that make or end a session: no page of others may ask for it."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise InvalidRequest("a page of another site may not ask for this")


def _local(request: Request, back: Any) -> str:
    """A path of ours, whatever was asked for: nobody is sent to another site."""
    home = request.scope.get("root_path", "") + "/"
    text = str(back or "")
    is_path = text.startswith(home) and not text.startswith("//") and "\\" not in text
    return text if is_path and text.isprintable() else home


# -- for pages -----------------------------------------------------------------------------------


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
) -> PageRoute:
    """A route with a rule: its caller holds `scope` (`PUBLIC`: anybody), and a form of a session
    carries its token. `body_bytes` allows more than the usual body, for uploads."""
    if scope != PUBLIC and scope not in SCOPES:
        raise ValueError(f"{scope!r} is not a scope")

    async def ruled(request: Request) -> Response:
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
        return await endpoint(request)

    ruled.__name__ = getattr(endpoint, "__name__", "page").lstrip("_")
    made = PageRoute(path, ruled, methods=list(methods), name=name)
    made.rule = scope
    return made


class Static(Mount):
    rule = PUBLIC


class _Files(StaticFiles):
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


# -- routes that are not verbs -----------------------------------------------------------------


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
