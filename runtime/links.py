"""Links: an address by which one person answers one question, without an account.

A link says which question, whom it was given to and until when, signed with a secret of the
installation; nothing is stored for it. Whoever holds it answers as that person, so it goes to them
alone and does not last. What is journaled names the person and that it was a link.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput, NotPermitted
from greenroom.definitions.people import is_name

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

LASTS: Final = "7 days"
PATH: Final = "/a/"
URL: Final = "GREENROOM_URL"
"""Where people reach the pages, if it is not the address the daemon listens on."""
LINK: Final = "link"


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a link says. `until` is a moment in milliseconds."""

    ask: str
    to: str
    until: int

    @property
    def by(self) -> str:
        """Who is recorded: that a link vouched for them, and the person."""
        return f"{LINK}:{self.ask[:8]}/{self.to}"


class Links:
    """`engine.links`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._served: str | None = None
        if engine.public_url is not None:
            self.serve(engine.public_url)

    @property
    def url(self) -> str | None:
        """Where people reach the pages; None as long as nobody does."""
        return os.environ.get(URL) or self._engine.public_url or self._served

    def serve(self, url: str) -> None:
        """Pages are served at `url`: messages lead there from now on."""
        self._served = url
        self._engine.ask_link = self.page

    def page(self, ask: str, to: str | None) -> str:
        """Where a question is answered: by a link of one's own, else by whoever logs in."""
        assert self.url is not None
        found = self.to(ask, to) if to else None
        return found or f"{self.url.rstrip('/')}/asks/{quote(ask)}"

    def token(self, ask: str, to: str, lasts: str | float = LASTS) -> str:
        """The signed part of an address. Raises `InvalidInput` for what is nobody's name."""
        if not is_name(to):
            raise InvalidInput(f"{to[:80]!r} is not the name of somebody a link can be given to")
        until = self._engine.clock.now() + round(seconds(lasts, "lasts") * 1000)
        body = _text(msgspec.json.encode(Link(ask, to, until)))
        return f"{body}.{self._mac(body)}"

    def to(self, ask: str, to: str, lasts: str | float = LASTS) -> str | None:
        """The whole address; None where no page can be reached."""
        if self.url is None:
            return None
        return self.url.rstrip("/") + PATH + self.token(ask, to, lasts)

    def read(self, token: str) -> Link:
        """What a token says. Raises `NotPermitted` for one that is not ours or is too old."""
        body, _, mac = token.partition(".")
        if not hmac.compare_digest(self._mac(body).encode(), mac.encode()):
            raise NotPermitted("this link is not whole", hint="open it as it stands in the message")
        link = msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Link)
        if link.until <= self._engine.clock.now():
            raise NotPermitted("this link is too old", hint="ask for a new one")
        return link

    def _mac(self, body: str) -> str:
        secret = self._engine.secret.derive(LINK)
        return _text(hmac.digest(secret, body.encode(), hashlib.sha256))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
