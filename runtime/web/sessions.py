"""Browsers: who logged in, kept in a signed cookie, and the tokens that guard their forms.

A session is a cookie that says who, until when and by which key, signed with a secret of the installation:
nothing is kept for it here, it outlives a restart, and every daemon on the store knows it. The key
it was opened with is looked at on each request, so revoking the key ends the session.

A *CSRF token* is bound to the session and to what it is for; a page puts it into its forms, and a
request of a session that changes anything without it is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import NotPermitted
from greenroom.runtime.web.access import Caller

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

SESSION_MS: Final = 12 * 3_600_000
TICKET_MS: Final = 60_000
COOKIE: Final = "greenroom"
SECURE_COOKIE: Final = "__Host-greenroom"
API: Final = "api"
"""What the token of scripts is for; pages name theirs after what the form acts on."""


class Session(msgspec.Struct, frozen=True):
    """What the cookie says. Ids of tickets begin with `t`: one never stands for the other."""

    id: str
    by: str
    scopes: tuple[str, ...]
    until: int
    key: str | None = None
    """The API key it was opened with; the session is as good as the key is."""
    groups: tuple[str, ...] = ()


class Sessions:
    """`web.sessions`."""

    def __init__(self, engine: Engine, new_id: Callable[[], str] | None = None) -> None:
        self._engine = engine
        self._new_id = new_id or (lambda: secrets.token_urlsafe(16))
        self._spent: dict[str, int] = {}

    async def open(
        self, request: Request, response: Response, caller: Caller, key: str | None
    ) -> Session:
        """Logs a browser in: sets the cookie."""
        until = self._engine.clock.now() + SESSION_MS
        session = Session(
            "s" + self._new_id(), caller.by or "", caller.scopes, until, key, caller.groups
        )
        text = await self._sealed(session)
        secure = request.url.scheme == "https"
        response.set_cookie(
            SECURE_COOKIE if secure else COOKIE, text, max_age=SESSION_MS // 1000, path="/",
            secure=secure, httponly=True, samesite="strict",
        )  # fmt: skip
        return session

    def close(self, request: Request, response: Response) -> None:
        """Logs the browser out."""
        for name, secure in ((SECURE_COOKIE, True), (COOKIE, False)):
            if name in request.cookies:
                response.delete_cookie(
                    name, path="/", secure=secure, httponly=True, samesite="strict"
                )

    async def caller(self, request: Request) -> Caller | None:
        """Whose cookie it is; None without one, or with one that is not good any more."""
        secure = request.url.scheme == "https"
        text = request.cookies.get(SECURE_COOKIE if secure else COOKIE)
        session = await self._opened(text) if text else None
        if session is None or session.id[:1] != "s" or session.until <= self._engine.clock.now():
            return None
        if session.key is not None and await self._engine.keys.good(session.key) is None:
            return None
        return Caller(session.by, session.scopes, "session", session.id, session.groups)

    async def ticket(self, caller: Caller) -> str:
        """A word that logs a browser in as `caller`, once, within a minute."""
        until = self._engine.clock.now() + TICKET_MS
        return await self._sealed(
            Session(
                "t" + self._new_id(), caller.by or "", caller.scopes, until, None, caller.groups
            )
        )

    async def redeem(self, ticket: str) -> Caller | None:
        """Whose ticket it is, if it is good and was not used."""
        now = self._engine.clock.now()
        self._spent = {id: until for id, until in self._spent.items() if until > now}
        found = await self._opened(ticket)
        if found is None or found.id[:1] != "t" or found.until <= now or found.id in self._spent:
            return None
        self._spent[found.id] = found.until
        return Caller(found.by, found.scopes, "session", found.id, found.groups)

    async def csrf(self, caller: Caller, purpose: str = API) -> str:
        """The token for a form of `purpose`; empty for callers that need none."""
        if caller.way != "session":
            return ""
        secret = self._engine.secret.derive("web csrf")
        return _mac(secret, f"csrf\n{caller.session}\n{purpose}")

    async def check_csrf(self, caller: Caller, given: str | None, purpose: str = API) -> None:
        """Raises `NotPermitted` unless `given` is the token of this session for this purpose."""
        if caller.way != "session":
            return
        if not hmac.compare_digest(
            (await self.csrf(caller, purpose)).encode(), (given or "").encode()
        ):
            raise NotPermitted(
                "the form's token is missing or belongs to another form or session",
                hint="load the page again; scripts send it as X-CSRF-Token",
            )

    async def _sealed(self, session: Session) -> str:
        body = urlsafe_b64encode(msgspec.json.encode(session)).decode().rstrip("=")
        secret = self._engine.secret.derive("web session")
        return f"{body}.{_mac(secret, 'session' + chr(10) + body)}"

    async def _opened(self, text: str) -> Session | None:
        body, _, mac = text.partition(".")
        secret = self._engine.secret.derive("web session")
        if not hmac.compare_digest(_mac(secret, f"session\n{body}").encode(), mac.encode()):
            return None
        return msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Session)


def _mac(secret: bytes, text: str) -> str:
    digest = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")
