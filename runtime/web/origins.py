"""Scripts of other sites (CORS): none may read an answer, but those of the sites that were named.

Such a script shows a key of its own. What a browser takes along by itself (a session, being on this
machine) lets it read nothing: no answer to that names its site, and no cookie is ever let through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import Response

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.web.access import Caller
from greenroom.runtime.web.heads import Heads

ANY: Final = "*"
LASTS_S: Final = 600
OWN: Final = frozenset({"key", "oidc", "none"})
"""Ways of being known that a script has to show itself, or none."""

_TAKEN: Final = re.compile(
    r"accept|authorization|content-type|last-event-id|traceparent|tracestate|ce-[a-z0-9]{1,20}"
)
_SHOWN: Final = b"Retry-After, WWW-Authenticate, X-Cursor"
_METHODS: Final = "GET, POST, PUT, DELETE"

Pairs = list[tuple[bytes, bytes]]


class Origins:
    """The sites that were named. Raises `InvalidRequest` for what is none."""

    def __init__(self, given: Iterable[str]) -> None:
        self._known = frozenset(_checked(one) for one in given)

    def headers(self, heads: Heads, caller: Caller) -> Pairs:
        """What lets the script that asks read the answer."""
        origin = heads.get(b"origin")
        if not self._known or origin is None:
            return []
        shown: Pairs = [(b"vary", b"Origin")]
        if caller.way in OWN and self._lets(origin):
            shown += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _SHOWN),
            ]
        return shown

    def preflight(self, method: str, heads: Heads) -> Response | None:
        """The answer to a browser that asks whether a script may ask; None if this is no such."""
        origin = heads.get(b"origin")
        if method != "OPTIONS" or b"access-control-request-method" not in heads:
            return None
        if origin is None or not self._lets(origin):
            return None
        asked = heads.get(b"access-control-request-headers", b"").decode("latin-1").lower()
        names = [name for name in re.split(r"[\s,]+", asked) if _TAKEN.fullmatch(name)]
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": _METHODS,
                "Access-Control-Allow-Headers": ", ".join(names),
                "Access-Control-Max-Age": str(LASTS_S),
            },
        )

    def _lets(self, origin: bytes) -> bool:
        return ANY in self._known or origin.decode("latin-1") in self._known


def _checked(text: str) -> str:
    parts = urlsplit(text)
    whole = f"{parts.scheme}://{parts.netloc}"
    if text != ANY and (parts.scheme not in ("http", "https") or not parts.netloc or text != whole):
        raise InvalidRequest(
            f"{text[:80]!r} is no origin",
            hint="a scheme, a name and perhaps a port: https://app.example.com",
        )
    return text
