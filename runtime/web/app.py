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
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send

from greenroom.definitions.errors import (
    EngineStopping,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
)
from greenroom.runtime.web import entrance, outsiders
from greenroom.runtime.web.access import Caller
from greenroom.runtime.web.api import FOUND, Api
from greenroom.runtime.web.feed import Feeds
from greenroom.runtime.web.guard import SAFE, Guard
from greenroom.runtime.web.hooks import Hooks
from greenroom.runtime.web.metrics import Metrics
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.routes import LOGIN, WEB, Files, Static, page, rule_of
from greenroom.runtime.web.rules import Rules
from greenroom.runtime.web.sessions import Sessions
from greenroom.runtime.web.table import PUBLIC

T = TypeVar("T")

STATIC: Final = Path(__file__).with_name("static")

Pages = Callable[["Web"], Sequence[BaseRoute]]

PAGES: Final[list[Pages]] = []
"""What makes the pages of every application."""


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
        self._api = Api(self)
        self.routes = [*self._own(), *(r for make in (*PAGES, *pages) for r in make(self))]
        for route in self.routes:
            if rule_of(route) is None:
                raise TypeError(f"{route!r} has no rule: make it with page(path, endpoint, scope)")
        self._router = Router(self.routes[1:], redirect_slashes=False)
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

    async def knock(self, request: Request, text: str) -> Caller:
        """The holder of what somebody shows at the entrance; a wrong key costs as everywhere."""
        return await self._app.shown(request.scope, f"Bearer {text}")

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
            self._api,
            page(
                "/hooks/{path:path}", outsiders.hook, PUBLIC, methods=outsiders.METHODS, csrf=False
            ),
            page("/session", entrance.log_in, PUBLIC, methods=("POST",), csrf=False),
            page("/session/ticket", entrance.log_in_by_ticket, PUBLIC),
            page("/session/tickets", entrance.make_ticket, "admin", methods=("POST",)),
            page("/session/end", entrance.log_out, PUBLIC, methods=("POST",), csrf=False),
        ]
        if STATIC.is_dir():
            own.append(Static("/static", app=Files(directory=STATIC), name="static"))
        return own

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            match, found = self._api.matches(scope)
            if match is Match.FULL:  # the first of the routes; most requests are for it
                scope.update(found)
                await self._api.handle(scope, receive, send)
            else:
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
