"""What whoever serves the application says about it: who may ask, and what stands in front of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.web.limits import HttpLimits

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask. `hosts` are the names the Host header may have (None: any, for an application
    that checks it itself); `open` lets programs of this machine ask without a key.

    `proxies` are the addresses or networks of proxies whose `X-Forwarded-` headers are believed;
    nobody else's are. `tls` says that browsers come through TLS: their cookies are for TLS alone,
    and they are told to come by it from now on. `origins` are the sites whose scripts may ask with
    a key of theirs (CORS): `("https://app.example.com",)`, or `("*",)`.
    """

    hosts: tuple[str, ...] | None = LOOPBACK
    open: bool = False
    identify: Any = None
    """Of an application the engine is mounted in: who the request is of, a name or a `Caller`."""
    oidc: Any = None
    proxies: tuple[str, ...] = ()
    tls: bool = False
    origins: tuple[str, ...] = ()
    limits: HttpLimits = HttpLimits()

    def __post_init__(self) -> None:
        for name in ("proxies", "origins"):
            if isinstance(getattr(self, name), str):
                raise InvalidRequest(f'{name} are several: ("...",)')
        if self.open and self.proxies:
            raise InvalidRequest(
                "what comes through a proxy comes from anywhere: it cannot be open without a key",
                hint="leave out --http-open or --http-proxy",
            )
