"""What is refused before a request reaches a route, and what is added to every response.

In this order: what a proxy of ours says, sizes, the Host (a name of ours: against DNS rebinding), who
asks, where the page that asks comes from (against CSRF), how often. Nothing is looked up for somebody
who may not ask.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette._utils import get_route_path
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidRequest,
    NotAuthenticated,
    NotPermitted,
    TooLarge,
)
from greenroom.definitions.people import GROUPS, actor_of, is_name
from greenroom.runtime import calls
from greenroom.runtime.web.access import NOBODY, Caller
from greenroom.runtime.web.forwarded import Proxies
from greenroom.runtime.web.heads import Heads
from greenroom.runtime.web.heads import read as read_heads
from greenroom.runtime.web.limits import HttpLimits, Rate
from greenroom.runtime.web.metrics import ROUTE, STATUS
from greenroom.runtime.web.neighbours import owner_of
from greenroom.runtime.web.origins import Origins
from greenroom.runtime.web.patience import within
from greenroom.runtime.web.problems import HttpError, problem

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CALLER: Final = "greenroom.caller"
BODY: Final = "greenroom.body"
READ: Final = "greenroom.read"
"""Whether the body has been read to its end."""
PEER: Final = "greenroom_peer"
"""Where `listen` puts the actor of a Unix socket's peer, in the scope's state."""
NEIGHBOUR: Final = "greenroom_neighbour"
"""Where it puts a dict for each other connection, in which who is at its end is kept."""

OUTSIDE: Final = ("/hooks/", "/callbacks/")
"""Where outsiders speak: what they show there is for the hook to judge, an `Authorization` too."""

AMBIENT: Final = frozenset({"session", "open", "host"})
"""Ways of being known that a browser takes along by itself, whoever made it ask."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_HEADERS: Final = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_NAMES: Final = frozenset(name for name, _ in _HEADERS)
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")

ONCE: Final = frozenset({b"authorization", b"host", b"content-length", b"cookie"})
"""Headers that a request has one of."""

SKIP_BYTES: Final = 1 << 20
SKIP_S: Final = 0.5
"""What is still read of the body of a request that is refused."""

Identify = Callable[[Request], "Caller | str | Awaitable[Caller | str | None] | None"]


class Body:
    """How much of a request's body is taken, and how long it may take. A route may change it."""

    def __init__(self, limits: HttpLimits) -> None:
        self.bytes_max = limits.body_bytes
        self.total_s: float | None = limits.body_s
        """None: each piece has `piece_s`."""
        self.piece_s = limits.body_s


class Guard:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, web: Web) -> None:
        self._app = app
        self._web = web
        self._limits = limits = web.rules.limits
        now = web.now
        self._callers = Rate(limits.caller_rate, limits.caller_rate * 2, now)
        self._nobodies = Rate(limits.nobody_rate, limits.nobody_rate * 4, now)
        self._failed = Rate(limits.failed_rate, 20.0, now)
        self._proxies = Proxies(web.rules.proxies)
        self._origins = Origins(web.rules.origins)
        self._added = [*_HEADERS, HSTS] if web.rules.tls else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracing = self._web.engine.tracing
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] != "http":
            await _lifespan(receive, send)
        elif tracing is None:
            await self._serve(scope, receive, send)
        else:
            answered = functools.partial(_answered, scope)
            with tracing.request(scope["method"], read_heads(scope), answered):
                await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers} & _NAMES
                headers += [p for p in self._added if p[0] not in given] if given else self._added
                headers += self._origins.headers(heads, scope.get(CALLER, NOBODY))
                message["headers"] = headers
                self._web.metrics.answered(scope, message["status"])
            await send(message)

        self._web.metrics.begun(scope)
        body = scope[BODY] = Body(self._limits)
        heads = read_heads(scope)
        try:
            self._check_sizes(scope, heads)
            self._read_front(scope, heads)
            self._check_host(scope, heads)
            asked = self._origins.preflight(scope["method"], heads)
            if asked is not None:
                self._count(scope, NOBODY)
                await asked(scope, receive, answer)
                return
            caller = scope[CALLER] = await self._caller(scope, heads)
            self._check_origin(scope, heads, caller)
            self._count(scope, caller)
            groups = GROUPS.set(caller.groups)
            try:
                await self._app(scope, self._limited(receive, scope, heads, body), answer)
            finally:
                GROUPS.reset(groups)
        except ClientDisconnect:
            return  # nobody is there to be told
        except HttpError as error:
            response = problem(error.error, error.status, **error.headers)
        except GreenroomError as error:
            response = problem(error)
        except Exception as error:
            path = scope["path"]
            if get_route_path(scope).startswith("/callbacks/"):
                path = "/callbacks/..."  # what follows is a permission, and this is logged
            response = problem(calls.unexpected(f"{scope['method']} {path}", error))
        else:
            return
        if not started:
            if not await _skipped(scope, heads, receive, response.status_code):
                response.headers.setdefault("Connection", "close")
            await response(scope, receive, answer)

    def _check_sizes(self, scope: Scope, heads: Heads) -> None:
        """For servers that are not ours; ours has refused before it had read so much."""
        limits = self._limits
        target = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        if target > limits.url_bytes:
            raise HttpError(414, TooLarge(f"a URL has at most {limits.url_bytes:,} bytes"))
        headers = scope["headers"]
        size = sum([len(name) + len(value) + 4 for name, value in headers])
        if size > limits.header_bytes or len(headers) > limits.header_lines:
            raise HttpError(
                431,
                TooLarge(
                    f"a request has at most {limits.header_lines} header lines of together "
                    f"{limits.header_bytes:,} bytes"
                ),
            )
        if heads.get(b"content-encoding", b"identity") != b"identity":
            raise HttpError(415, InvalidRequest("a body that is compressed is not taken"))
        if len(heads) == len(headers):
            return
        once = [name for name, _ in headers if name in ONCE]
        if len(once) > len(set(once)):
            twice = max(once, key=once.count).decode()
            raise HttpError(400, InvalidRequest(f"there are two {twice} headers"))

    def _read_front(self, scope: Scope, heads: Heads) -> None:
        """What stands in front: TLS, as we were told, and what a proxy of ours says itself."""
        if self._web.rules.tls and _peer(scope) is None:
            scope["scheme"] = "https"
        self._proxies.read(scope, heads)

    def _check_host(self, scope: Scope, heads: Heads) -> None:
        hosts = self._web.rules.hosts
        if hosts is None or _peer(scope) is not None:
            return
        host = host_name(heads.get(b"host", b"").decode("latin-1"))
        if host not in hosts:
            raise HttpError(
                421,
                NotPermitted(
                    f'this daemon is not known as "{host[:80]}"',
                    hint="serve --http-host NAME  adds a name",
                ),
            )

    async def _caller(self, scope: Scope, heads: Heads) -> Caller:
        """Who asks. Wrong credentials are an error, none are nobody."""
        rules = self._web.rules
        if get_route_path(scope).startswith(OUTSIDE):
            return NOBODY
        given = heads.get(b"authorization")
        if given is not None:
            return await self.shown(scope, given.decode("latin-1"))
        if rules.identify is not None:
            said = rules.identify(Request(scope))
            found = await said if isinstance(said, Awaitable) else said
            if found is not None:
                return found if isinstance(found, Caller) else _of_host(found)
        session = await self._web.sessions.caller(Request(scope)) if b"cookie" in heads else None
        if session is not None:
            return session
        peer = _peer(scope)
        if peer is not None:
            return Caller(peer, ("admin",), "peer")
        if rules.open and (rules.hosts is None or _is_loopback(scope)):
            return Caller(_neighbour(scope), ("admin",), "open")
        return NOBODY

    async def shown(self, scope: Scope, given: str) -> Caller:
        """The holder of a key or token. A wrong one costs time, and only so many are tried."""
        address = address_of(scope)
        self._failed.check(address)
        try:
            scheme, _, text = given.partition(" ")
            if scheme.lower() != "bearer":
                raise NotAuthenticated("write  Authorization: Bearer KEY")
            return await self._web.known(text.strip())
        except NotAuthenticated:
            self._failed.take(address)
            await asyncio.sleep(self._limits.failed_s)
            raise

    def _check_origin(self, scope: Scope, heads: Heads, caller: Caller) -> None:
        if scope["method"] in SAFE or caller.way not in AMBIENT:
            return
        site = heads.get(b"sec-fetch-site")
        origin = heads.get(b"origin")
        foreign = site is not None and site not in (b"same-origin", b"none")
        if origin is not None and urlsplit(origin).netloc != heads.get(b"host"):
            foreign = True
        if foreign:
            page = (origin or b"another site").decode("latin-1")[:200]
            raise NotPermitted(f"a page of {page} may not ask for this")

    def _count(self, scope: Scope, caller: Caller) -> None:
        if caller.way == "none":
            self._nobodies.take(address_of(scope))
        elif caller.way != "peer":
            self._callers.take(f"{caller.way}:{caller.by}")

    def _limited(self, receive: Receive, scope: Scope, heads: Heads, body: Body) -> Receive:
        """The body, as long as it is not too long and not too slow."""
        taken = 0
        done = False
        until: float | None = None
        length = heads.get(b"content-length", b"")

        async def limited() -> Message:
            nonlocal taken, done, until
            if done:
                return await receive()
            if length.isdigit() and int(length) > body.bytes_max:
                raise _too_large(body.bytes_max)
            loop = asyncio.get_running_loop()
            if until is None or body.total_s is None:
                until = loop.time() + (body.piece_s if body.total_s is None else body.total_s)
            try:
                message = await within(receive(), until)
            except TimeoutError:
                raise HttpError(
                    408, InvalidRequest("the body did not come in time"), Connection="close"
                ) from None
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > body.bytes_max:
                    raise _too_large(body.bytes_max)
                done = not message.get("more_body", False)
                scope[READ] = done
            return message

        return limited


async def _skipped(scope: Scope, heads: Heads, receive: Receive, status: int) -> bool:
    """Reads what is left of the body of a refused request, unless it is long or slow: a connection
    that is closed over unread bytes is reset, and the refusal with it."""
    if scope.get(READ) or b"expect" in heads:
        return bool(scope.get(READ))
    if status in (408, 413):
        return False
    size = 0
    try:
        async with asyncio.timeout(SKIP_S):
            while size <= SKIP_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return True
                size += len(message.get("body", b""))
    except TimeoutError:
        pass
    return False


def _answered(scope: Scope) -> tuple[str | None, int]:
    return scope.get(ROUTE), scope.get(STATUS, 500)


def _too_large(limit: int) -> HttpError:
    return HttpError(413, TooLarge(f"a body has at most {limit:,} bytes", limit=limit))


def _peer(scope: Scope) -> str | None:
    found: str | None = scope.get("state", {}).get(PEER)
    return found


def _of_host(name: str) -> Caller:
    """Whom an application names. A name of its users must not read as what we say of others."""
    if not is_name(name) or actor_of(name).username != name:
        raise NotAuthenticated(f"{name[:80]!r} cannot be the name of somebody")
    return Caller(name, ("admin",), "host")


def address_of(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client is not None else "unknown"


def _neighbour(scope: Scope) -> str:
    """Somebody of this machine: its user, as on the socket; the address where nobody knows. Asked
    once for a connection of ours: the kernel goes through all it has."""
    known: dict[str, str] = scope.get("state", {}).get(NEIGHBOUR, {})
    if "by" not in known:
        known["by"] = _owner(scope) or f"http:{address_of(scope)}"
    return known["by"]


def _owner(scope: Scope) -> str | None:
    client, server = scope.get("client"), scope.get("server")
    if client is None or server is None or server[1] is None:
        return None
    return owner_of((client[0], client[1]), (server[0], server[1]))


def _is_loopback(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address(address_of(scope)).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
