"""One request and its response over a connection to an address that was judged.

The client library gets a network of ours: it asks to connect to a name, we resolve it, judge every
address it has, and connect to one of those, so nothing can change between the judgement and the
connection. Name and certificate stay those of the host. No proxies and no settings of the
environment but the certificates, no cookies, no redirects, no decoding by others: what comes back
is counted while it is decoded.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from greenroom.definitions.actionerrors import ResponseInvalid, TransportFailed
from greenroom.definitions.errors import InvalidInput, InvalidRequest
from greenroom.definitions.networks import AddressRefused, Network, address_of
from greenroom.definitions.values import Json, decode

if TYPE_CHECKING:
    import httpcore2
    import httpx2

CONNECT_S: Final = 10.0
RESPONSE_MAX: Final = 4 << 20
HEADERS_MAX: Final = 100
CONNECTIONS: Final = 20
KEEP_S: Final = 30.0
CHUNK: Final = 64 * 1024

Resolver = Callable[[str, int], Awaitable[list[str]]]


def library(name: str) -> Any:
    """A module of the `http` extra. Raises `InvalidRequest` that names the extra."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InvalidRequest(
            "requests to services need the http extra", hint="pip install 'greenroom[http]'"
        ) from None


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system finds them."""
    try:
        rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TransportFailed(
            f"{host} cannot be found: {getattr(error, 'strerror', None) or error}",
            retry_names=("transport", "unsent"),
            host=host,
            sent=False,
        ) from None
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


class Response:
    """What a service answered. `headers` are pairs in their order."""

    __slots__ = ("content", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    def header(self, name: str) -> str | None:
        """The first header of a name, in any case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def fields(self) -> dict[str, str]:
        """The headers as an object; several of a name are joined by commas."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value
        return found

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def body(self) -> Json:
        """The body as a JSON value: JSON as it is, other text as `{"text"}`, bytes that are no text
        as `{"base64"}`, nothing as `{}`. Raises `ResponseInvalid` for JSON that is none."""
        if not self.content:
            return {}
        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind == "application/json" or kind.endswith("+json"):
            return self.json()
        try:
            text = self.content.decode()
        except UnicodeDecodeError:
            decoded = self._decoded()
            if decoded is None:
                return {"base64": base64.b64encode(self.content).decode()}
            text = decoded
        if not kind and text.lstrip()[:1] in ("{", "["):
            with contextlib.suppress(InvalidInput):  # it may only look like JSON
                return decode(text)
        return {"text": text}

    def _decoded(self) -> str | None:
        """Text in the charset the header names, if it is one."""
        _, found, charset = (self.header("content-type") or "").lower().partition("charset=")
        if not found:
            return None
        try:
            return self.content.decode(charset.split(";")[0].strip("\"' "))
        except (LookupError, UnicodeDecodeError):
            return None

    def json(self) -> Json:
        """The body as JSON. Raises `ResponseInvalid`."""
        try:
            return decode(self.content)
        except InvalidInput as error:
            raise ResponseInvalid(
                f"the answer says it is JSON and is not: {error}", status=self.status
            ) from None


class Wire:
    """The connections of one connector: it shares none, since what one may reach another may not."""

    def __init__(
        self,
        network: Network,
        *,
        resolver: Resolver = resolve,
        tls: Callable[[], Any] | None = None,
        connect_s: float = CONNECT_S,
    ) -> None:
        self._network = network
        self._resolver = resolver
        self._tls = tls
        self._connect_s = connect_s
        self._pool: httpcore2.AsyncConnectionPool | None = None

    def _opened(self) -> httpcore2.AsyncConnectionPool:
        if self._pool is None:
            core = library("httpcore2")
            self._pool = core.AsyncConnectionPool(
                ssl_context=None if self._tls is None else self._tls(),
                max_connections=CONNECTIONS,
                max_keepalive_connections=CONNECTIONS,
                keepalive_expiry=KEEP_S,
                network_backend=_backend(self._network, self._resolver),
            )
        return self._pool

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def send(
        self,
        method: str,
        url: httpx2.URL,
        headers: Iterable[tuple[str, str]],
        content: bytes,
        *,
        timeout_s: float,
        limit: int = RESPONSE_MAX,
    ) -> Response:
        """One exchange. Raises `TransportFailed`, `ResponseInvalid`, `AddressRefused`.

        `timeout_s` is for each wait; whoever calls sets the limit of the whole.
        """
        core = library("httpcore2")
        pool = self._opened()
        target = core.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        waits = {
            "connect": min(self._connect_s, timeout_s),
            "pool": timeout_s,
            "read": timeout_s,
            "write": timeout_s,
        }
        pairs = [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers]
        request = core.Request(
            method, target, headers=pairs, content=content, extensions={"timeout": waits}
        )
        where = url.host
        try:
            response = await pool.handle_async_request(request)
            try:
                return await self._read(response, method, limit)
            finally:
                await response.aclose()
        except (core.ConnectError, core.ConnectTimeout, core.PoolTimeout) as error:
            slow = isinstance(error, core.TimeoutException)
            raise TransportFailed(
                f"no connection to {where}: "
                + ("it took too long" if slow else str(error) or type(error).__name__),
                retry_names=("transport", "unsent", *(("timeout",) if slow else ())),
                host=where,
                sent=False,
            ) from None
        except core.TimeoutException:
            raise TransportFailed(
                f"{where} did not answer in {timeout_s:g} s",
                retry_names=("timeout", "transport"),
                host=where,
                sent=True,
            ) from None
        except core.LocalProtocolError as error:
            raise ResponseInvalid(f"the request cannot be sent: {error}", sent=False) from None
        except (core.NetworkError, core.ProtocolError) as error:
            raise TransportFailed(
                f"the connection to {where} broke: {error or type(error).__name__}",
                retry_names=("transport",),
                host=where,
                sent=True,
            ) from None

    async def _read(self, response: Any, method: str, limit: int) -> Response:
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers
        ]
        if len(headers) > HEADERS_MAX:
            raise ResponseInvalid(
                f"the answer has {len(headers)} headers, {HEADERS_MAX} are allowed",
                status=response.status,
            )
        found = Response(response.status, headers, b"")
        if method == "HEAD" or response.status in (204, 304):
            return found
        length = found.header("content-length") or ""
        if length.isdigit() and int(length) > limit:
            raise _too_large(response.status, limit)
        coding = (found.header("content-encoding") or "identity").strip().lower()
        content = bytearray()
        async for part in _unpacked(response.stream, coding, limit):
            content += part
            if len(content) > limit:
                raise _too_large(response.status, limit)
        found.content = bytes(content)
        return found


async def _unpacked(stream: AsyncIterator[bytes], coding: str, limit: int) -> AsyncIterator[bytes]:
    """The body decoded in pieces, none of them larger than asked for: a small answer that unpacks
    to a large one is stopped at the limit."""
    if coding in ("identity", ""):
        async for chunk in stream:
            yield chunk
        return
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ResponseInvalid(f"the answer is packed as {coding[:40]!r}, which was not asked for")
    inflate = zlib.decompressobj(32 + zlib.MAX_WBITS)  # gzip and zlib, told apart by their heads
    try:
        async for chunk in stream:
            rest = chunk
            while rest:
                yield inflate.decompress(rest, CHUNK)
                rest = inflate.unconsumed_tail
        if not inflate.eof:
            raise ResponseInvalid("the answer is packed, and its end is missing")
    except zlib.error as error:
        raise ResponseInvalid(f"the answer cannot be unpacked: {error}") from None


def _too_large(status: int, limit: int) -> ResponseInvalid:
    return ResponseInvalid(f"the answer is larger than {limit:,} bytes", status=status, limit=limit)


def _backend(network: Network, resolver: Resolver) -> Any:
    """A network for the client library that connects to judged addresses only."""
    core = library("httpcore2")

    class Judged(core.AsyncNetworkBackend):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._inner = core.AnyIOBackend()

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> Any:
            try:
                async with asyncio.timeout(timeout):
                    addresses = await judged(network, resolver, host, port)
                    return await self._first(addresses, port, timeout, socket_options)
            except TimeoutError:
                raise core.ConnectTimeout("it took too long") from None

        async def _first(
            self, addresses: list[str], port: int, timeout: float | None, options: Any
        ) -> Any:
            for at, address in enumerate(addresses):
                try:
                    return await self._inner.connect_tcp(
                        address, port, timeout=timeout, socket_options=options
                    )
                except (core.ConnectError, core.ConnectTimeout):
                    if at == len(addresses) - 1:
                        raise
            raise core.ConnectError("no address")

        async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> Any:
            raise AddressRefused("connectors do not reach sockets of this machine")

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    return Judged()


async def judged(network: Network, resolver: Resolver, host: str, port: int) -> list[str]:
    """The addresses of a host, all of them permitted. Raises `AddressRefused`."""
    literal = address_of(host)
    found = [host] if literal is not None else await resolver(host, port)
    return network.check(host, found, port)
