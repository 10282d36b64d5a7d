"""The asyncio client over HTTP: `Client("http://...")` is one.

It speaks as much of HTTP/1.1 as it takes: requests with a length, responses with a length or in
chunks, connections that are kept. A connection serves one request at a time; as many are open as
there are requests at once, and some of them are kept for the next.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from greenroom.definitions.errors import GreenroomError, Timeout
from greenroom.definitions.events import Event
from greenroom.runtime import http_wire as wire
from greenroom.runtime import shapes
from greenroom.runtime.async_client import Client, _each
from greenroom.runtime.replies import WINDOW, event_line

T = TypeVar("T")

KEPT_MAX: Final = 16
"""Connections kept open while nobody asks."""
HEAD_BYTES_MAX: Final = 64 << 10


class HttpClient(Client):
    """`Client` to an address of HTTP."""

    is_far = True

    def __init__(
        self,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        found = wire.address_of(server, data)
        assert found is not None, "made by Client for addresses alone"
        self.address = found
        self._key = key or os.environ.get(wire.KEY)
        self._kept: deque[_Connection] = deque()
        self._add_groups()

    async def _connected(self) -> Any:
        """Looks whether a daemon answers, as a socket's connection would."""
        if not self._kept:
            self._kept.append(await _Connection.open(self.address))

    async def close(self) -> None:
        while self._kept:
            self._kept.pop().close()
        await asyncio.sleep(0)

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        status, body = await self._exchange(
            wire.sent(self.address, self._key, method, params or {})
        )
        return wire.value_of(self.address, status, body, shape)

    async def post(self, event: Event | Mapping[str, Any]) -> shapes.Accepted:
        return await self.ask("post", wire.event_params(event), shapes.Accepted)

    async def post_many(
        self,
        events: Iterable[Event | Mapping[str, Any]] | AsyncIterable[Event | Mapping[str, Any]],
        *,
        window: int = WINDOW,
    ) -> AsyncIterator[shapes.Accepted | GreenroomError]:
        lines: list[bytes] = []
        async for event in _each(events):
            lines.append(event_line(event))
            if len(lines) >= min(window, wire.BATCH):
                for answer in await self._post(lines):
                    yield answer
                lines = []
        if lines:
            for answer in await self._post(lines):
                yield answer

    async def _post(self, lines: list[bytes]) -> list[shapes.Accepted | GreenroomError]:
        status, body = await self._exchange(wire.sent_events(self.address, self._key, lines))
        if status != 200:
            raise wire.error_of(self.address, status, body)
        return wire.answers(body)

    async def _stream(
        self, method: str, params: Mapping[str, Any], shape: type[T]
    ) -> AsyncIterator[T]:
        sent = wire.sent(self.address, self._key, method, params, accept="text/event-stream")
        connection = await _Connection.open(self.address)
        reader = wire.FeedReader()
        try:
            connection.write(sent)
            head = await connection.head()
            if head.status != 200:
                raise wire.error_of(self.address, head.status, await connection.body(head))
            async for data in connection.pieces(head):
                for item in reader.feed(data, shape):
                    if item is None:
                        return
                    yield item
            raise wire.closed(self.address)
        finally:
            connection.close()

    async def _exchange(self, sent: wire.Sent) -> tuple[int, bytes]:
        limit_s = None if sent.takes_long else wire.TIMEOUT_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._exchange_once(sent)
        except TimeoutError:
            raise Timeout(f"{self.address.url} has not answered within {limit_s:g} s") from None

    async def _exchange_once(self, sent: wire.Sent) -> tuple[int, bytes]:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_open:
                try:
                    return await self._exchange_on(connection, sent)
                except _Gone:  # closed while nobody asked; nothing of an answer had come
                    if sent.method != "GET":
                        raise wire.closed(self.address) from None
        try:
            return await self._exchange_on(await _Connection.open(self.address), sent)
        except _Gone:
            raise wire.closed(self.address) from None

    async def _exchange_on(self, connection: _Connection, sent: wire.Sent) -> tuple[int, bytes]:
        keep = False
        try:
            connection.write(sent)
            head = await connection.head()
            body = await connection.body(head)
            keep = head.keep and len(self._kept) < KEPT_MAX
        finally:
            if keep:
                self._kept.append(connection)
            else:
                connection.close()
        return head.status, body


class _Gone(Exception):
    """The connection ended before anything of an answer came."""


class _Head:
    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length")
        self.length = int(length) if length is not None else None
        self.keep = headers.get("connection", "").lower() != "close" and (
            self.chunked or self.length is not None
        )


class _Connection:
    def __init__(
        self, address: wire.Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: wire.Address) -> _Connection:
        secure = ssl.create_default_context() if address.scheme == "https" else None
        try:
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=secure, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            raise wire.unreachable(address, error) from None
        return cls(address, reader, writer)

    @property
    def is_open(self) -> bool:
        return not self._writer.is_closing() and not self._reader.at_eof()

    def close(self) -> None:
        self._writer.close()

    def write(self, sent: wire.Sent) -> None:
        lines = [f"{sent.method} {sent.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in sent.headers.items()]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self._writer.write(head + (sent.body or b""))

    async def head(self) -> _Head:
        try:
            raw = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise wire.closed(self._address) from None
            raise _Gone from None
        except OSError:
            raise _Gone from None
        except asyncio.LimitOverrunError as error:
            raise wire.unreachable(self._address, error) from None
        first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        try:
            return _Head(int(first.split(" ", 2)[1]), headers)
        except (IndexError, ValueError) as error:
            raise wire.unreachable(self._address, error) from None

    async def body(self, head: _Head) -> bytes:
        return b"".join([piece async for piece in self.pieces(head)])

    async def pieces(self, head: _Head) -> AsyncIterator[bytes]:
        """The body as it comes."""
        try:
            if head.status in (204, 304):
                return
            if head.chunked:
                while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                    yield await self._reader.readexactly(size)
                    await self._reader.readexactly(2)
                await self._reader.readuntil(b"\r\n")
            elif head.length is not None:
                yield await self._reader.readexactly(head.length)
            else:
                while data := await self._reader.read(1 << 16):
                    yield data
        except (asyncio.IncompleteReadError, OSError):
            raise wire.closed(self._address) from None
