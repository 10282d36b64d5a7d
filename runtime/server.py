"""The Unix socket server: lines in, replies out, in order.

One `asyncio.Protocol` a connection and no task for a line: an event goes straight to
`Engine.post_nowait`, so that all the lines of one read join the same group commit, and its reply
is put into the connection's next free slot when the event is durable. A method line waits until
everything before it is answered and holds up what comes after, so a line sees what the lines
before it did. Only `result` is answered whenever it is known.

Where pressure is felt: after 1,024 lines in flight, or when the peer does not read its replies,
reading stops and the peer's own writes block. A peer that stays stuck is disconnected; it costs
at most its buffers and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import select
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from functools import lru_cache, partial
from typing import Any, Final, cast

import msgspec

from greenroom.definitions.errors import (
    Busy,
    EngineStopping,
    GreenroomError,
    InvalidRequest,
    NotPermitted,
)
from greenroom.definitions.events import Event
from greenroom.runtime import calls, protocol
from greenroom.runtime.protocol import Frame, Http, LineReader, Refused, Request
from greenroom.runtime.socketfile import BACKLOG

_log = logging.getLogger(__name__)

LINES_A_TURN: Final = 256
"""Lines of one connection worked on before others get their turn."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one peer may take. The defaults are those of the documented protocol."""

    line_bytes: int = protocol.LINE_BYTES_MAX
    line_s: float = 5.0
    """A line once begun must end within this time."""
    lines_in_flight: int = 1024
    bytes_in_flight: int = 8 << 20
    connections: int = 4096
    write_bytes: int = 1 << 20
    """Unread replies above this end the connection."""
    stalled_s: float = 30.0
    """A peer that has not made room in its buffer for so long is disconnected."""
    linger_s: float = 1.0
    """After a last error line, what the peer still sends is thrown away for so long."""
    results: int = 1024
    streams: int = 64
    sweep_s: float = 1.0


class Peer(msgspec.Struct, frozen=True):
    """Who connected, as the kernel says."""

    pid: int
    uid: int
    gid: int

    @property
    def by(self) -> str:
        """The actor recorded with what this peer asks for."""
        return actor_of(self.uid)


@lru_cache(maxsize=256)
def actor_of(uid: int) -> str:
    """`uid:1000/anna`, or `uid:1000` for a user the system does not know."""
    try:
        return f"uid:{uid}/{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid:{uid}"


_CREDENTIALS: Final = struct.Struct("3i")


def peer_of(connection: Any) -> Peer:
    """The peer's credentials (SO_PEERCRED)."""
    # not every loop's socket object has getsockopt, each has its number
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


class Server:
    """Serves one engine on listening sockets.

    `uids` may connect beside root and our own user. `http` makes the protocol that takes over a
    connection of the peer it is told whose first byte says HTTP; without it such a peer is told what to install.
    """

    def __init__(
        self,
        engine: Any,
        *,
        limits: Limits | None = None,
        uids: Collection[int] = (),
        http: Callable[[str], asyncio.Protocol] | None = None,
        peer: Callable[[Any], Peer] = peer_of,
    ) -> None:
        self.engine = engine
        self.limits = limits or Limits()
        self.http = http
        self.peer = peer
        self.connections: set[Connection] = set()
        self.stopping = False
        self._uids = frozenset({0, os.geteuid(), *uids})
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None
        self._gone: asyncio.Event | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self.post: Callable[[Event, Callable[[Any], None], str], None] = (
            self._post_now if hasattr(engine, "post_nowait") else self._post_in_task
        )

    async def listen(self, listener: socket.socket) -> None:
        """Starts serving; call once a socket."""
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_unix_server(
                lambda: Connection(self, loop), sock=listener, backlog=BACKLOG
            )
        )
        if self._sweeper is None:
            self._sweep(loop)

    def may_connect(self, peer: Peer) -> bool:
        return peer.uid in self._uids

    def add(self, connection: Connection) -> None:
        """Takes a connection in; the longest silent one makes room if there is none."""
        if len(self.connections) >= self.limits.connections:
            oldest = min(self.connections, key=lambda c: (c.is_in_use, c.active_at))
            _log.warning("closed the longest silent of %d connections", len(self.connections))
            oldest.abort()
            self.connections.discard(oldest)
        self.connections.add(connection)

    def remove(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.settled()

    def settled(self) -> None:
        """A connection owes nothing more; tells `drain` and `close` when that was the last."""
        idle = self._idle
        if idle is not None and not idle.is_set() and not any(c.is_owed for c in self.connections):
            idle.set()
        if self._gone is not None and not self.connections:
            self._gone.set()

    async def drain(self, timeout_s: float = 30.0) -> bool:
        """Stops accepting and reading, and waits until every line in work is answered.

        False if the time was over first. `result` and streams end with `engine_stopping`.
        """
        self.stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.stop()
        self._idle = asyncio.Event()
        self.settled()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Closes everything; a peer that reads gets what is in its write buffer."""
        self.stopping = True
        self._gone = asyncio.Event()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close()
        self.settled()
        try:
            async with asyncio.timeout(self.limits.linger_s):
                await self._gone.wait()
        except TimeoutError:
            for connection in list(self.connections):
                connection.abort()
            await self._gone.wait()

    def _post_now(self, event: Event, answer: Callable[[Any], None], by: str) -> None:
        try:
            self.engine.post_nowait(event, answer, by=by)
        except GreenroomError as error:
            answer(error)
        except Exception as error:
            answer(calls.unexpected("post", error))

    def _post_in_task(self, event: Event, answer: Callable[[Any], None], by: str) -> None:
        """For an engine that can only be awaited."""

        async def post() -> None:
            try:
                answer(await self.engine.post(event, by=by))
            except GreenroomError as error:
                answer(error)
            except Exception as error:
                answer(calls.unexpected("post", error))

        task = asyncio.get_running_loop().create_task(post())
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self.connections):
            connection.check(now)
        self._sweeper = loop.call_later(self.limits.sweep_s, self._sweep, loop)


class Slot:
    """The place of one reply in the order of replies. `size` is that of its line."""

    __slots__ = ("reply", "size")

    def __init__(self, size: int, reply: bytes | None = None) -> None:
        self.size = size
        self.reply = reply


class Connection(asyncio.Protocol):
    """One peer.

    `_slots` are the replies owed in order. A method line waits in `_held` until they are given;
    while `_method` is set it is being carried out and nothing else is begun.
    """

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._limits = server.limits
        self._reader = LineReader(server.limits.line_bytes)
        self._transport: asyncio.Transport | None = None
        self._by = ""
        # in work
        self._slots: deque[Slot] = deque()
        self._bytes = 0
        self._held: Request | None = None
        self._method: asyncio.Task[None] | None = None
        self._results: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._stream_id = 0
        # how it stands
        self._at_eof = False
        """The peer sends no more, and still reads."""
        self._ending = False
        """We begin no more lines; the connection closes when all is answered."""
        self._closed_at: float | None = None
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()
        self._stalled_since: float | None = None
        self._line_since: float | None = None
        self._line_ends = 0
        self._flush_due = False
        self._pump_due = False
        self.active_at = loop.time()

    # -- what asyncio tells us -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop derives from nothing
        peer = self._server.peer(transport.get_extra_info("socket"))
        refusal: GreenroomError | None = None
        if self._server.stopping:
            refusal = EngineStopping("the daemon is shutting down")
        elif not self._server.may_connect(peer):
            refusal = NotPermitted(f"uid {peer.uid} may not use this daemon", uid=peer.uid)
            _log.warning("refused a connection of %s (pid %d)", peer.by, peer.pid)
        if refusal is not None:
            self._transport.write(protocol.encode_event_error(refusal))
            self.close()
            return
        self._by = peer.by
        self._server.add(self)

    def data_received(self, data: bytes) -> None:
        if self._ending or self._closed_at is not None:
            return
        self.active_at = self._loop.time()
        self._reader.feed(data)
        self._note_line()
        self._pump()

    def eof_received(self) -> bool:
        """Half-close: what was read is still answered, so the transport stays open."""
        if self._closed_at is not None:
            return False
        self._at_eof = True
        self._line_since = None
        self._reader.feed_eof()
        self._pump()
        return self._closed_at is None

    def pause_writing(self) -> None:
        self._writable.clear()
        self._stalled_since = self._loop.time()

    def resume_writing(self) -> None:
        self._writable.set()
        self._stalled_since = None
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """Commands that were begun go on; only those who wait and watch stop."""
        self._transport = None
        self._held = None
        self._slots.clear()
        self._writable.set()
        for task in (*self._results, *self._streams):
            task.cancel()
        self._server.remove(self)

    # -- what the server asks ------------------------------------------------------------------

    @property
    def is_owed(self) -> bool:
        """Whether lines in work are not answered yet."""
        return bool(self._slots or self._held or self._results)

    @property
    def is_in_use(self) -> bool:
        """Whether anything is still to come from our side."""
        return self.is_owed or bool(self._streams)

    def check(self, now: float) -> None:
        """The clock's part: lines that do not end, peers that do not read, peers that are gone."""
        limits = self._limits
        if self._closed_at is not None:
            if now - self._closed_at > limits.linger_s:
                self.abort()
        elif self._stalled_since is not None and now - self._stalled_since > limits.stalled_s:
            _log.warning("disconnected %s: it does not read its replies", self._by)
            self.abort()
        elif self._line_since is not None and self._reading:
            if now - self._line_since > limits.line_s:
                message = f"a line must end within {limits.line_s:g} s of its first byte"
                self._end_with(protocol.encode_event_error(InvalidRequest(message)))
        elif self._at_eof and (self._streams or self._results) and self._is_peer_gone():
            self.abort()

    def stop(self) -> None:
        """For shutdown: finish what was begun, begin nothing."""
        self._ending = True
        if self._held is not None:
            error = EngineStopping("the daemon is shutting down")
            self._slots.append(Slot(0, protocol.encode_error(self._held.id, error)))
            self._held = None
        for task in (*self._results, *self._streams):
            task.cancel()
        self._flush()

    def close(self) -> None:
        """Closes after what is in the write buffer has gone out."""
        self._closed_at = self._loop.time()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self._closed_at = self._loop.time()
        if self._transport is not None:
            self._transport.abort()

    # -- lines in ------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Begins as many lines as may be in work now, at most a turn's worth."""
        turn = LINES_A_TURN
        while turn and self._may_begin():
            turn -= 1
            frame = self._reader.take()
            if frame is not None:
                self._begin(frame)
        if self._may_begin() and not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump_again)
        self._balance()
        self._finish()

    def _pump_again(self) -> None:
        self._pump_due = False
        self._pump()

    def _may_begin(self) -> bool:
        return (
            self._reader.ready
            and self._method is None
            and self._held is None
            and not self._ending
            and self._closed_at is None
            and len(self._slots) < self._limits.lines_in_flight
            and self._bytes < self._limits.bytes_in_flight
            and self._writable.is_set()
        )

    def _begin(self, frame: Frame) -> None:
        if isinstance(frame, Event):
            slot = Slot(self._reader.size)
            self._bytes += slot.size
            self._slots.append(slot)
            self._server.post(frame, partial(self._posted, slot), self._by)
        elif isinstance(frame, Request):
            if self._slots:
                self._held = frame
            else:
                self._start(frame)
        elif isinstance(frame, Refused):
            if frame.close:
                self._end_with(protocol.encode_refusal(frame))
            else:
                self._slots.append(Slot(0, protocol.encode_refusal(frame)))
                self._flush_soon()
        else:
            self._hand_over(frame)

    def _balance(self) -> None:
        """Reads only while there is nothing read and not begun."""
        if self._transport is None or self._at_eof or self._closed_at is not None:
            return
        wanted = (not self._reader.ready and self._writable.is_set()) or self._ending
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
            if self._line_since is not None:  # we were the ones who did not read
                self._line_since = self._loop.time()
        else:
            self._transport.pause_reading()

    def _note_line(self) -> None:
        ends = self._reader.ends
        if not self._reader.partial:
            self._line_since = None
        elif self._line_since is None or ends != self._line_ends:
            self._line_since = self.active_at
        self._line_ends = ends

    def _hand_over(self, frame: Http) -> None:
        """The peer speaks HTTP: its protocol takes over, if there is one."""
        if self._server.http is None:
            self._end_with(protocol.HTTP_NOT_IMPLEMENTED)
            return
        transport, self._transport = self._transport, None
        assert transport is not None
        self._closed_at = self._loop.time()
        self._server.remove(self)
        other = self._server.http(self._by)
        transport.set_protocol(other)
        other.connection_made(transport)
        other.data_received(frame.data)

    # -- methods -------------------------------------------------------------------------------

    def _start(self, request: Request) -> None:
        """All lines before this one are answered."""
        if request.method == "result":
            if len(self._results) >= self._limits.results:
                error = Busy(f"{self._limits.results} results are waited for on this connection")
                self._write(protocol.encode_error(request.id, error))
                return
            task = self._loop.create_task(self._wait_for_result(request))
            self._results.add(task)
            task.add_done_callback(self._result_given)
            return
        slot = Slot(0)
        self._slots.append(slot)
        work = self._open_stream if request.method in calls.STREAMS else self._carry_out
        self._method = self._loop.create_task(work(request, slot))

    async def _carry_out(self, request: Request, slot: Slot) -> None:
        reply = await self._answer(request)
        slot.reply = reply if request.wants_reply else b""
        self._method = None
        self._flush()

    async def _answer(self, request: Request) -> bytes:
        try:
            result = await calls.run(self._server.engine, request.method, request.params, self._by)
            return protocol.encode_result(request.id, result)
        except GreenroomError as error:
            return protocol.encode_error(request.id, error)
        except Exception as error:
            return protocol.encode_error(request.id, calls.unexpected(request.method, error))

    async def _wait_for_result(self, request: Request) -> None:
        try:
            reply = await self._answer(request)
        except asyncio.CancelledError:
            if self._transport is None:
                raise
            error = EngineStopping("the daemon is shutting down; the instance goes on afterwards")
            reply = protocol.encode_error(request.id, error)
        if request.wants_reply:
            self._write(reply)

    def _result_given(self, task: asyncio.Task[None]) -> None:
        self._results.discard(task)
        self._finish()

    async def _open_stream(self, request: Request, slot: Slot) -> None:
        """Answers with the number of the stream, then starts sending."""
        method, engine = request.method, self._server.engine
        stream: AsyncIterator[Any] | None = None
        try:
            if len(self._streams) >= self._limits.streams:
                raise Busy(f"{self._limits.streams} streams are open on this connection")
            stream = calls.stream(engine, method, request.params)
            if request.params.get("instance") is not None:
                await engine.get(request.params["instance"])  # a generator would tell too late
            self._stream_id += 1
            slot.reply = protocol.encode_result(request.id, {"watch": self._stream_id})
        except GreenroomError as error:
            stream = None
            slot.reply = protocol.encode_error(request.id, error)
        except Exception as error:
            stream = None
            slot.reply = protocol.encode_error(request.id, calls.unexpected(method, error))
        if stream is not None and self._transport is not None and not self._ending:
            kind = calls.NOTIFICATION[method]
            task = self._loop.create_task(self._send_stream(self._stream_id, kind, stream))
            self._streams.add(task)
            task.add_done_callback(self._stream_ended)
        self._method = None
        self._flush()

    async def _send_stream(self, number: int, kind: str, stream: AsyncIterator[Any]) -> None:
        """Takes the next item only when there is room, so a slow reader holds up its own stream."""
        error: GreenroomError | None = None
        try:
            async for item in stream:
                await self._writable.wait()
                self._write(protocol.encode_notification(kind, {"watch": number, kind: item}))
        except GreenroomError as problem:
            error = problem
        except asyncio.CancelledError:
            if self._transport is None:
                raise
            error = EngineStopping("the daemon is shutting down")
        except Exception as problem:
            error = calls.unexpected(kind, problem)
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()
        end = {"watch": number, "error": error.as_data() if error else None}
        self._write(protocol.encode_notification("end", end))

    def _stream_ended(self, task: asyncio.Task[None]) -> None:
        self._streams.discard(task)
        self._finish()

    # -- replies out ---------------------------------------------------------------------------

    def _posted(self, slot: Slot, reply: Any) -> None:
        """An event is durable and routed, or refused."""
        if isinstance(reply, GreenroomError):
            slot.reply = protocol.encode_event_error(reply)
        else:
            slot.reply = protocol.encode_event_reply(reply)
        if self._slots and self._slots[0] is slot:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """One write for all the replies of this turn of the loop."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        slots = self._slots
        out = []
        while slots and slots[0].reply is not None:
            slot = slots.popleft()
            self._bytes -= slot.size
            out.append(slot.reply)
        if out:
            self._write(b"".join(out))  # type: ignore[arg-type]
        if self._held is not None and not slots:
            request, self._held = self._held, None
            self._start(request)
        self._pump()

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._limits.write_bytes:
            _log.warning("disconnected %s: %d bytes unread", self._by, self._limits.write_bytes)
            self.abort()
            return
        self.active_at = self._loop.time()
        self._transport.write(data)

    def _end_with(self, data: bytes) -> None:
        """A last word after the replies that are owed."""
        self._ending = True
        self._line_since = None
        self._slots.append(Slot(0, data))
        self._flush_soon()

    def _finish(self) -> None:
        """Closes when nothing more is to come from either side."""
        if self.is_owed or self._method is not None:
            return
        if self._server.stopping:
            self._server.settled()
        if self._transport is None or self._closed_at is not None or self._server.stopping:
            return
        if self._ending:
            # what the peer still sends is read and dropped: a close over unread bytes would
            # break its send before it has seen why
            self._closed_at = self._loop.time()
            for task in self._streams:
                task.cancel()
            if self._at_eof:
                self._transport.close()
            else:
                self._transport.write_eof()
        elif self._at_eof and not self._reader.ready and not self._streams:
            self.close()

    def _is_peer_gone(self) -> bool:
        """Whether a half-closed peer has closed the other half too; asyncio no longer looks."""
        if self._transport is None:
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return any(flags & (select.POLLHUP | select.POLLERR) for _, flags in poll.poll(0))
