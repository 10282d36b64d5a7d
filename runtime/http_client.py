"""The blocking client over HTTP: `SyncClient("http://...")` is one."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from greenroom.definitions.errors import GreenroomError
from greenroom.definitions.events import Event
from greenroom.runtime import http_wire as wire
from greenroom.runtime import shapes
from greenroom.runtime.client import SyncClient
from greenroom.runtime.replies import WINDOW, event_line

T = TypeVar("T")


class SyncHttpClient(SyncClient):
    """`SyncClient` to an address of HTTP. One connection, kept open."""

    is_far = True

    def __init__(
        self,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        found = wire.address_of(server, data)
        assert found is not None, "made by SyncClient for addresses alone"
        self.address = found
        self._key = key or os.environ.get(wire.KEY)
        self._connection: http.client.HTTPConnection | None = None
        self._add_groups()

    def _connected(self) -> Any:
        """Looks whether a daemon answers, as a socket's connection would."""
        connection = self._open()
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise wire.unreachable(self.address, error) from None
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        status, body = self._exchange(wire.sent(self.address, self._key, method, params or {}))
        return wire.value_of(self.address, status, body, shape)

    def post(self, event: Event | Mapping[str, Any]) -> shapes.Accepted:
        return self.ask("post", wire.event_params(event), shapes.Accepted)

    def post_many(
        self, events: Iterable[Event | Mapping[str, Any]], *, window: int = WINDOW
    ) -> Iterator[shapes.Accepted | GreenroomError]:
        lines: list[bytes] = []
        for event in events:
            lines.append(event_line(event))
            if len(lines) >= min(window, wire.BATCH):
                yield from self._post(lines)
                lines = []
        if lines:
            yield from self._post(lines)

    def _post(self, lines: list[bytes]) -> list[shapes.Accepted | GreenroomError]:
        status, body = self._exchange(wire.sent_events(self.address, self._key, lines))
        if status != 200:
            raise wire.error_of(self.address, status, body)
        return wire.answers(body)

    def _stream(self, method: str, params: Mapping[str, Any], shape: type[T]) -> Iterator[T]:
        connection = self._make(None)
        reader = wire.FeedReader()
        try:
            answer = self._send(
                connection, wire.sent(self.address, self._key, method, params, accept="text/event-stream")
            )  # fmt: skip
            if answer.status != 200:
                raise wire.error_of(self.address, answer.status, answer.read())
            while data := answer.read1(1 << 16):
                for item in reader.feed(data, shape):
                    if item is None:
                        return
                    yield item
            raise wire.closed(self.address)
        except (OSError, http.client.HTTPException) as error:
            raise wire.unreachable(self.address, error) from None
        finally:
            connection.close()

    def _exchange(self, sent: wire.Sent) -> tuple[int, bytes]:
        connection = self._open()
        was_open = connection.sock is not None
        if was_open:
            _limit(connection, None if sent.takes_long else wire.TIMEOUT_S)
        try:
            try:
                answer = self._send(connection, sent)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if not was_open or sent.method != "GET":
                    raise
                self.close()  # it was closed while nobody asked; looking twice changes nothing
                answer = self._send(self._open(), sent)
            return answer.status, answer.read()
        except ConnectionRefusedError as error:
            self.close()
            raise wire.unreachable(self.address, error) from None
        except (http.client.HTTPException, BrokenPipeError, ConnectionResetError):
            self.close()
            raise wire.closed(self.address) from None
        except OSError as error:
            self.close()
            raise wire.unreachable(self.address, error) from None
        except BaseException:  # half an exchange: nothing after it would fit
            self.close()
            raise

    def _send(
        self, connection: http.client.HTTPConnection, sent: wire.Sent
    ) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.connect()
            _limit(connection, None if sent.takes_long else wire.TIMEOUT_S)
        connection.putrequest(sent.method, sent.target, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.headers.items():
            connection.putheader(name, value)
        connection.endheaders(sent.body)
        return connection.getresponse()

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._make(wire.TIMEOUT_S)
        return self._connection

    def _make(self, timeout: float | None) -> http.client.HTTPConnection:
        where = (self.address.host, self.address.port)
        if self.address.scheme == "https":
            return http.client.HTTPSConnection(*where, timeout=timeout)
        return http.client.HTTPConnection(*where, timeout=timeout)


def _limit(connection: http.client.HTTPConnection, seconds: float | None) -> None:
    socket: Any = connection.sock  # None before `connect`, which the types take for ever
    socket.settimeout(seconds)
