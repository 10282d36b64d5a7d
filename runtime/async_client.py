"""The asyncio client of the socket, with the verbs of the engine.

One connection serves any number of tasks at once. Lines written in one turn of the loop go out
together, so events posted by many tasks, or by `post_many`, join the same commits.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from greenroom.definitions.errors import GreenroomError, from_data
from greenroom.definitions.events import Event
from greenroom.definitions.values import Json
from greenroom.runtime import clientverbs as verbs
from greenroom.runtime import shapes
from greenroom.runtime.eventloops import running
from greenroom.runtime.places import check_socket_path, is_http, socket_path
from greenroom.runtime.replies import (
    WINDOW,
    Reply,
    Watching,
    closed,
    event_line,
    given,
    read_accepted,
    read_notice,
    read_reply,
    request_line,
    unreachable,
)

T = TypeVar("T")
_Posted = shapes.Accepted | GreenroomError

_NOTICES_MAX: Final = 1_000
"""Items of a stream read ahead of their reader."""


class _Link(asyncio.Protocol):
    """One connection: requests matched by id, replies to events by their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.posts: deque[asyncio.Future[_Posted]] = deque()
        self.requests: dict[int, asyncio.Future[Reply]] = {}
        self.notices: deque[Reply] = deque()
        self.arrived = asyncio.Event()
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._out: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._reading = True
        self._last_word: dict[str, Json] | None = None

    @classmethod
    async def open(cls, path: Path) -> _Link:
        check_socket_path(path)
        loop = running("a Client", "SyncClient")
        try:
            _, link = await loop.create_unix_connection(lambda: cls(path), os.fspath(path))
        except OSError as error:
            raise unreachable(path, error) from None
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop derives from nothing

    def data_received(self, data: bytes) -> None:
        lines = (self._buffer + data).split(b"\n") if self._buffer else data.split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            if line.startswith(b'{"jsonrpc"'):
                self._answer(read_reply(line))
            elif self.posts:
                self._posted(read_accepted(line))
            else:
                self._last_word = read_reply(line).error

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        waiting: list[asyncio.Future[Any]] = [*self.posts, *self.requests.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(self.why_lost())
                future.exception()  # its caller may be gone; then nobody needs to hear of it
        self.posts.clear()
        self.requests.clear()
        self._room.set()
        self.arrived.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def room(self) -> None:
        """Waits until the daemon has taken enough of what was written."""
        await self._room.wait()

    def why_lost(self) -> GreenroomError:
        return from_data(self._last_word) if self._last_word else closed(self.path)

    def write(self, data: bytes) -> None:
        if self.lost:
            raise self.why_lost()
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def expect(self, request_id: int) -> asyncio.Future[Reply]:
        future = self.requests[request_id] = self._loop.create_future()
        return future

    def expect_post(self) -> asyncio.Future[_Posted]:
        future: asyncio.Future[_Posted] = self._loop.create_future()
        self.posts.append(future)
        return future

    def next_notice(self) -> Reply | None:
        """The next notification; clears `arrived` if there is none."""
        if self.notices:
            if not self._reading and self._transport is not None and len(self.notices) == 1:
                self._reading = True
                self._transport.resume_reading()
            return self.notices.popleft()
        if not self.lost:
            self.arrived.clear()
        return None

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self.lost:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _posted(self, reply: _Posted) -> None:
        future = self.posts.popleft()
        if not future.done():  # else its caller was cancelled
            future.set_result(reply)

    def _answer(self, reply: Reply) -> None:
        if reply.method is not None:
            self.notices.append(reply)
            self.arrived.set()
            if len(self.notices) >= _NOTICES_MAX and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()
            return
        future = self.requests.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)


class Client(verbs.Verbs):
    """Talks to a daemon. Connects at the first call, and again after a lost connection.

    `server` is `unix:///path`, a path or `http://HOST:PORT`, else `GREENROOM_SERVER`, else the socket
    in the data directory. Over HTTP `key` is the API key, else `GREENROOM_KEY`. Raises `Unreachable`
    when no daemon answers there.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """`Client(app_id, api_token, app_env)` is Zenaton's: it names the environment to work in."""
        if len(args) == 3 or "app_env" in kwargs:
            from greenroom.definitions.engines import Environment  # noqa: PLC0415  start-up time

            return cast(Self, Environment(*args, **kwargs))
        server = args[0] if args else kwargs.get("server")
        if cls is Client and is_http(server, kwargs.get("data")):
            from greenroom.runtime.http_async import HttpClient  # noqa: PLC0415  it imports this

            return cast(Self, super().__new__(HttpClient))
        return super().__new__(cls)

    def __init__(
        self,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        self.path = socket_path(server, data)
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._request_id = 0
        self._add_groups()

    def _add_groups(self) -> None:
        self.definitions = verbs.Definitions(self)
        self.schedules = verbs.Schedules(self)
        self.events = verbs.Events(self)
        self.asks = verbs.Asks(self)
        self.resources = verbs.Resources(self)
        self.stages = verbs.Stages(self)
        self.keys = verbs.Keys(self)
        self.connectors = verbs.Connectors(self)
        self.secrets = verbs.Secrets(self)

    async def __aenter__(self) -> Self:
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Idempotent."""
        if self._link is not None:
            self._link.close()
            self._link = None
            await asyncio.sleep(0)

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Any method of the daemon's table by name; gives plain JSON."""
        return await self.ask(method, params)

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        """Any method; gives the named shape."""
        link = await self._connected()
        self._request_id += 1
        number = self._request_id
        link.write(request_line(number, method, params or {}))
        future = link.expect(number)
        try:
            reply = await future
        finally:
            link.requests.pop(number, None)
        return reply.value(shape)

    async def post(self, event: Event | Mapping[str, Any]) -> shapes.Accepted:
        """Posts one event; it is durable and routed when this returns."""
        link = await self._connected()
        await link.room()
        link.write(event_line(event))
        reply = await link.expect_post()
        if isinstance(reply, GreenroomError):
            raise reply
        return reply

    async def post_many(
        self,
        events: Iterable[Event | Mapping[str, Any]] | AsyncIterable[Event | Mapping[str, Any]],
        *,
        window: int = WINDOW,
    ) -> AsyncIterator[shapes.Accepted | GreenroomError]:
        """Posts without waiting for each reply, `window` at a time; gives the replies in order.
        A refused event gives its error as a value, so that the others are not lost."""
        link = await self._connected()
        replies: deque[asyncio.Future[_Posted]] = deque()
        async for event in _each(events):
            link.write(event_line(event))
            replies.append(link.expect_post())
            if len(replies) >= window:
                await link.room()
                yield await replies.popleft()
                while replies and replies[0].done():
                    yield replies.popleft().result()
        while replies:
            yield await replies.popleft()

    def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> AsyncIterator[shapes.Entry]:
        """Entries as they become durable, on a connection of its own."""
        params = given(instance=instance, q=q or None, after=after)
        return self._stream("watch", params, shapes.Entry)

    def tail(
        self,
        *,
        type: str | None = None,
        after: int | None = None,
        since: str | float | None = None,
    ) -> AsyncIterator[shapes.StoredEvent]:
        """Events as they are accepted, on a connection of its own."""
        return self._stream("tail", given(type=type, after=after, since=since), shapes.StoredEvent)

    async def _connected(self) -> _Link:
        if self._link is None or self._link.lost:
            async with self._connecting:
                if self._link is None or self._link.lost:
                    self._link = await _Link.open(self.path)
        return self._link

    async def _stream(
        self, method: str, params: Mapping[str, Any], shape: type[T]
    ) -> AsyncIterator[T]:
        link = await _Link.open(self.path)
        try:
            link.write(request_line(1, method, params))
            (await link.expect(1)).value(Watching)
            while True:
                reply = link.next_notice()
                if reply is not None:
                    item = read_notice(reply).item(shape)
                    if item is None:
                        return
                    yield item
                elif link.lost:
                    raise link.why_lost()
                else:
                    await link.arrived.wait()
        finally:
            link.close()


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
