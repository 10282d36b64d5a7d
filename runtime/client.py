"""The blocking client of the socket, with the verbs of the engine.

It imports neither asyncio nor anything of the engine, so a command that posts one event costs
little more than Python itself. The async `Client` is in `async_client` and can be had from here.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from greenroom.definitions.errors import GreenroomError
from greenroom.definitions.events import Event
from greenroom.runtime import blocking, shapes
from greenroom.runtime import clientverbs as verbs
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

if TYPE_CHECKING:
    from greenroom.runtime.async_client import Client

__all__ = ["Client", "SyncClient"]

T = TypeVar("T")

_READ_BYTES: Final = 1 << 16
_SEND_BYTES: Final = 1 << 16


def __getattr__(name: str) -> Any:
    if name == "Client":
        # asyncio alone takes three times as long to import as all of this
        from greenroom.runtime.async_client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Line:
    """One connection: whole lines out, whole lines in."""

    def __init__(self, path: Path) -> None:
        check_socket_path(path)
        self.path = path
        self._buffer = bytearray()
        self._searched = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise unreachable(path, error) from None

    def close(self) -> None:
        self._socket.close()

    def is_over(self) -> bool:
        """Between two exchanges nothing is owed: what can be read then is the end, or the last
        word of a daemon that is gone."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            if not self._fill():  # it may have said why
                raise closed(self.path) from None

    def read(self) -> bytes:
        """The next line, however long it takes."""
        while (line := self.next()) is None:
            if not self._fill():
                raise closed(self.path)
        return line

    def next(self) -> bytes | None:
        """The next line if it is here."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def exchange(self, data: bytearray) -> None:
        """Sends some of `data` or receives, whichever is possible first. A peer that does not
        read while it writes would stop a daemon that does not write while it reads."""
        asked = select.poll()  # select.select knows no more than 1,024 files
        asked.register(self._socket, select.POLLIN | (select.POLLOUT if data else 0))
        ((_, ready),) = asked.poll()
        if ready & ~select.POLLOUT and not self._fill():
            raise closed(self.path)
        if ready & select.POLLOUT:
            try:
                sent = self._socket.send(data[:_SEND_BYTES], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                raise closed(self.path) from None
            del data[:sent]

    def _fill(self) -> bool:
        try:
            data = self._socket.recv(_READ_BYTES)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)


class SyncClient(blocking.BlockingVerbs):
    """Talks to a daemon; not for several threads at once. Connects at the first call, and again
    after a lost connection.

    `server` is `unix:///path`, a path or `http://HOST:PORT`, else `GREENROOM_SERVER`, else the socket
    in the data directory. Over HTTP `key` is the API key, else `GREENROOM_KEY`. Raises `Unreachable`
    when no daemon answers there.
    """

    is_far: bool = False
    """See `Asker`."""

    def __new__(
        cls,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> Self:
        if cls is SyncClient and is_http(server, data):
            from greenroom.runtime.http_client import SyncHttpClient  # noqa: PLC0415  it imports this

            return cast(Self, super().__new__(SyncHttpClient))
        return super().__new__(cls)

    def __init__(
        self,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        self.path = socket_path(server, data)
        self._line: _Line | None = None
        self._request_id = 0
        self._add_groups()

    def _add_groups(self) -> None:
        asking = _Asking(self)
        super().__init__(asking)
        self.definitions = blocking.Definitions(verbs.Definitions(asking))
        self.schedules = blocking.Schedules(verbs.Schedules(asking))
        self.events = blocking.Events(verbs.Events(asking))
        self.asks = blocking.Asks(verbs.Asks(asking))
        self.resources = blocking.Resources(verbs.Resources(asking))
        self.stages = blocking.Stages(verbs.Stages(asking))
        self.keys = blocking.Keys(verbs.Keys(asking))
        self.connectors = blocking.Connectors(verbs.Connectors(asking))
        self.secrets = blocking.Secrets(verbs.Secrets(asking))

    def __enter__(self) -> Self:
        self._connected()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Any method of the daemon's table by name; gives plain JSON."""
        return self.ask(method, params)

    def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        """Any method; gives the named shape."""
        self._request_id += 1
        data = request_line(self._request_id, method, params or {})
        line = self._connected()
        try:
            line.send(data)
            reply = _reply_to(self._request_id, line)
        except BaseException:  # half an exchange: nothing after it would fit
            self.close()
            raise
        return reply.value(shape)

    def post(self, event: Event | Mapping[str, Any]) -> shapes.Accepted:
        """Posts one event; it is durable and routed when this returns."""
        data = event_line(event)
        line = self._connected()
        try:
            line.send(data)
            reply = read_accepted(line.read())
        except BaseException:
            self.close()
            raise
        if isinstance(reply, GreenroomError):
            raise reply
        return reply

    def post_many(
        self, events: Iterable[Event | Mapping[str, Any]], *, window: int = WINDOW
    ) -> Iterator[shapes.Accepted | GreenroomError]:
        """Posts without waiting for each reply, `window` at a time; gives the replies in order.
        A refused event gives its error as a value, so that the others are not lost."""
        line = self._connected()
        source = iter(events)
        in_flight = 0
        out = bytearray()
        done = False
        ready: deque[shapes.Accepted | GreenroomError] = deque()
        try:
            while True:
                while not done and in_flight < window and len(out) < _SEND_BYTES:
                    try:
                        out += event_line(next(source))
                        in_flight += 1
                    except StopIteration:
                        done = True
                while (raw := line.next()) is not None:
                    ready.append(read_accepted(raw))
                    in_flight -= 1
                while ready:
                    yield ready.popleft()
                if done and not in_flight:
                    return
                if out or in_flight >= window or done:
                    line.exchange(out)
        finally:
            if in_flight:
                self.close()

    def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> Iterator[shapes.Entry]:
        """Entries as they become durable, on a connection of its own."""
        params = given(instance=instance, q=q or None, after=after)
        return self._stream("watch", params, shapes.Entry)

    def tail(
        self,
        *,
        type: str | None = None,
        after: int | None = None,
        since: str | float | None = None,
    ) -> Iterator[shapes.StoredEvent]:
        """Events as they are accepted, on a connection of its own."""
        return self._stream("tail", given(type=type, after=after, since=since), shapes.StoredEvent)

    def _connected(self) -> _Line:
        if self._line is not None and self._line.is_over():
            self.close()
        if self._line is None:
            self._line = _Line(self.path)
        return self._line

    def _stream(self, method: str, params: Mapping[str, Any], shape: type[T]) -> Iterator[T]:
        line = _Line(self.path)
        try:
            line.send(request_line(1, method, params))
            _reply_to(1, line).value(Watching)
            while True:
                reply = read_reply(line.read())
                if reply.method is not None:
                    item = read_notice(reply).item(shape)
                    if item is None:
                        return
                    yield item
        finally:
            line.close()


def _reply_to(request_id: int, line: _Line) -> Reply:
    while True:
        reply = read_reply(line.read())
        if reply.method is None and (reply.id == request_id or reply.id is None):
            return reply


class _Asking(verbs.Verbs):
    """What the verbs ask: it has answered when it returns."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client
        self.is_far = client.is_far

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        return self._client.ask(method, params, shape)
