"""What a proxy says about who asks: `X-Forwarded-For`, `-Proto` and `-Host`.

Anybody can send these headers, so they are read only where the connection comes from a proxy that
was named. Of several addresses the last counts that is no proxy of ours: what stands before it was
written by whoever it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from starlette.types import Scope

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.web.heads import Heads

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FOR: Final = b"x-forwarded-for"
PROTO: Final = b"x-forwarded-proto"
HOST: Final = b"x-forwarded-host"


class Proxies:
    """The proxies that are believed: addresses (`127.0.0.1`) and networks (`10.0.0.0/8`)."""

    def __init__(self, given: Iterable[str]) -> None:
        try:
            self._networks = [ipaddress.ip_network(text) for text in given]
        except ValueError as error:
            raise InvalidRequest(
                f"a proxy is named by its address or network: {error}", hint="as in 10.0.0.0/8"
            ) from None

    def read(self, scope: Scope, heads: Heads) -> None:
        """Puts into the scope, and into `heads`, what a proxy has said."""
        client = scope.get("client")
        if not self._networks or client is None or not self._trusts(_address(client[0])):
            return
        if FOR in heads:
            found = self._asker(_all(scope, FOR))
            if found is not None:
                scope["client"] = (str(found), 0)
        scheme = _all(scope, PROTO)[-1:]
        if scheme in (["http"], ["https"]):
            scope["scheme"] = scheme[0]
        host = _all(scope, HOST)[-1:]
        if host:
            heads[b"host"] = host[0].encode("latin-1")
            others = [pair for pair in scope["headers"] if pair[0] != b"host"]
            scope["headers"] = [(b"host", heads[b"host"]), *others]

    def _asker(self, hops: list[str]) -> Address | None:
        """The last address that is no proxy; None where a proxy wrote something else."""
        found = None
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            found = address
            if not self._trusts(address):
                break
        return found

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _all(scope: Scope, name: bytes) -> list[str]:
    """The values of a header that may be there several times, in their order."""
    text = b",".join(value for key, value in scope["headers"] if key == name).decode("latin-1")
    return [part.strip() for part in text.split(",") if part.strip()]


def _address(text: str) -> Address | None:
    """`10.0.0.7`, `10.0.0.7:4711`, `::1` or `[::1]:4711`."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
