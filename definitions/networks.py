"""Which addresses a connector may reach: the rules against requests that are led inside.

Names prove nothing: `2130706433`, `0x7f.1` and a record of somebody's own all lead to 127.0.0.1. So
what is judged is the address a name was resolved to, every one of them, by a table of our own
(`ipaddress.is_global` takes NAT64 and 6to4 spellings of 127.0.0.1 for public ones). Whoever
connects does so to the address that was judged.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

import msgspec

from greenroom.definitions.errors import InvalidDefinition, NotPermitted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS: Final = (80, 443)
"""Ports that need no permission."""

_INSIDE: Final[tuple[tuple[_Network, str], ...]] = tuple(
    (ipaddress.ip_network(text), why)
    for text, why in (
        ("169.254.169.254/32", "a cloud's metadata service"),
        ("fd00:ec2::254/128", "a cloud's metadata service"),
        ("100.100.100.200/32", "a cloud's metadata service"),
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared address space"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)


def address_of(text: str) -> Address | None:
    """An address written as one; a zone (`fe80::1%eth0`) is part of none. IPv4 mapped into IPv6
    is the IPv4 address it is."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def why_inside(address: Address) -> str | None:
    """What kind of inside an address is; None for a public one."""
    for network, why in _INSIDE:
        if address.version == network.version and address in network:
            return why
    return None


class Allowed(msgspec.Struct, frozen=True):
    """One exception an operator made: a host, an address or a network, for one port or all. One
    that is not `inside` permits the port alone."""

    host: str | None = None
    network: _Network | None = None
    port: int | None = None
    inside: bool = True

    def covers(self, host: str, address: Address, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address.version == self.network.version and address in self.network
        return self.host == host.lower().rstrip(".")


def parse_allowed(text: str) -> Allowed:
    """`127.0.0.1:8080`, `10.1.0.0/16`, `[::1]:80`, `db.internal`, `db.internal:8443`.

    Raises `InvalidDefinition`.
    """
    host, port = split_host(text)
    try:
        return Allowed(network=ipaddress.ip_network(host), port=port)
    except ValueError:
        pass
    if not host or "/" in host or "*" in host:
        raise InvalidDefinition(
            f"{text!r} is neither a host, an address nor a network",
            hint="write 127.0.0.1:8080, 10.1.0.0/16 or db.internal:8443",
        )
    return Allowed(host=host.lower().rstrip("."), port=port)


def split_host(text: str) -> tuple[str, int | None]:
    """`host[:port]` in two; brackets of an IPv6 address are taken off.

    Raises `InvalidDefinition` for a port that is none.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidDefinition(f"{text!r} has no port that can be: {port!r}")
    return host, int(port)


class AddressRefused(NotPermitted):
    """A request would have gone to an address that connectors may not reach; nothing was sent."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """What may be reached. `allow` are exceptions to the table of inside addresses and to the
    ports; with `only`, nothing else than these hosts may be reached at all."""

    allow: tuple[Allowed, ...] = ()
    only: tuple[Allowed, ...] | None = None

    @classmethod
    def of(cls, allow: Iterable[str] = (), only: Iterable[str] | None = None) -> Network:
        """From what operators write. Raises `InvalidDefinition`."""
        return cls(
            allow=tuple(map(parse_allowed, allow)),
            only=None if only is None else tuple(map(parse_allowed, only)),
        )

    def with_allowed(self, *more: Allowed) -> Network:
        return msgspec.structs.replace(self, allow=(*self.allow, *more))

    def check(self, host: str, addresses: Iterable[str], port: int) -> list[str]:
        """The addresses of a host, all of which must be permitted. Raises `AddressRefused`."""
        found: list[str] = []
        for text in addresses:
            address = address_of(text)
            if address is None:
                raise AddressRefused(f"{host} gave {text!r}, which is no address", host=host)
            self._check_one(host, address, port)
            found.append(str(address))
        if not found:
            raise AddressRefused(f"{host} has no address", host=host)
        return found

    def _check_one(self, host: str, address: Address, port: int) -> None:
        if self.only is not None and not any(one.covers(host, address, port) for one in self.only):
            raise AddressRefused(
                f"{host}:{port} is not among the hosts this deployment may reach",
                hint="add it to GREENROOM_NETWORK_ONLY",
                host=host,
                port=port,
            )
        meant = [one for one in self.allow if one.covers(host, address, port)]
        if any(one.inside for one in meant):
            return
        why = why_inside(address)
        if why is not None:
            shown = host if host == str(address) else f"{host} ({address})"
            raise AddressRefused(
                f"{shown} is {why}: connectors do not reach inside addresses",
                hint=f'if it is meant, allow it in the connector:  "allow": ["{host}:{port}"]',
                host=host,
                port=port,
                address=str(address),
                reason=why,
            )
        if port not in PORTS and not meant:
            raise AddressRefused(
                f"{host}:{port} is on a port that needs permission",
                hint=f'allow it in the connector:  "allow": ["{host}:{port}"]',
                host=host,
                port=port,
                reason="port",
            )
