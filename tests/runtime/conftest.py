"""A small real engine in memory with the verbs the faces call, and a server on a short path."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from greenroom.definitions.errors import InvalidEvent, NotFound
from greenroom.definitions.events import Event
from greenroom.runtime import shapes
from greenroom.runtime.server import Limits, Server
from greenroom.runtime.socketfile import SocketFile, bind

AT = "2026-11-23T12:00:00Z"


class FakeHandle:
    def __init__(self, id: str, key: str | None) -> None:
        self.id = id
        self.key = key
        self.status: shapes.Status = "running"
        self.created = True


class FakeSchedules:
    async def next(self, name: str, count: int = 10) -> list[str]:
        return [AT] * count

    async def list(self) -> list[shapes.ScheduleInfo]:
        return [shapes.ScheduleInfo("s-1", "order", "0 20 * * 5", AT, False, None)]


class FakeEngine:
    """Posts become durable one turn of the loop later, all at once, like a group commit.

    While `durable` is cleared nothing becomes durable. Everything that was asked is in `log`.
    """

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.groups: list[int] = []
        self.ended: dict[str, asyncio.Future[Any]] = {}
        self.entries: asyncio.Queue[shapes.Entry | None] = asyncio.Queue()
        self.schedules = FakeSchedules()
        self.directory = SimpleNamespace(recovered=0, current=None, ids={})
        self.executor = SimpleNamespace(current=None)
        self.stages = SimpleNamespace(read_only=False)
        self.public_url: str | None = None
        self.held = False
        self._waiting: list[tuple[Event, Callable[[Any], None]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.log.append(("closed",))

    async def drain(self, timeout_s: float = 30) -> None:
        self.log.append(("drained",))

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        self._commit()

    def post_nowait(
        self, event: Event, callback: Callable[[Any], None], *, by: str | None = None
    ) -> None:
        self.log.append(("post", event.type, by))
        self._waiting.append((event, callback))
        if not self.held and len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._commit)

    async def post(
        self, event: Event, *, namespace: str | None = None, by: str | None = None
    ) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.post_nowait(event, future.set_result, by=by)
        return await future

    def _commit(self) -> None:
        if self.held:
            return
        group, self._waiting = self._waiting, []
        if group:
            self.groups.append(len(group))
        for event, callback in group:
            if event.type == "bad":
                callback(InvalidEvent("bad is refused", path="$.type"))
            else:
                callback(shapes.Accepted(event.id or "given", True, False, 0, []))

    async def start(self, workflow: str, input: Any = None, **options: Any) -> FakeHandle:
        self.log.append(("start", workflow, input, options))
        return FakeHandle("0193-new", options.get("key"))

    async def pause(self, instance: str, **options: Any) -> shapes.Verb:
        self.log.append(("pause", instance, options))
        await asyncio.sleep(0)
        return shapes.Verb(instance, "paused")

    async def get(self, instance: str) -> Any:
        self.log.append(("get", instance))
        if instance == "missing":
            raise NotFound("there is no instance missing", hint="greenroom ls", instance=instance)
        if instance == "bug":
            raise ZeroDivisionError("oh")
        if instance.startswith("big"):
            return {"id": instance, "state": "x" * 100_000}
        return {"id": instance}

    async def outcome(self, instance: str, *, timeout: Any = None) -> shapes.Outcome:
        future = self.ended.setdefault(instance, asyncio.get_running_loop().create_future())
        return shapes.Outcome(instance, "completed", "ok", await asyncio.shield(future), None)

    def end(self, instance: str, result: Any) -> None:
        self.ended.setdefault(instance, asyncio.get_running_loop().create_future())
        self.ended[instance].set_result(result)

    async def info(self) -> shapes.Info:
        return shapes.Info("0.1.0", os.getpid(), "here", 7, AT, {"waiting": 2}, "full")

    async def doctor(self, deep: bool = False) -> list[shapes.Finding]:
        return [shapes.Finding("ok", "journal", f"deep={deep}")]

    async def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> AsyncIterator[shapes.Entry]:
        while (entry := await self.entries.get()) is not None:
            yield entry

    async def tail(
        self,
        *,
        type: str | None = None,
        after: int | None = None,
        since: str | float | None = None,
    ) -> AsyncIterator[shapes.StoredEvent]:
        for pos in (1, 2):
            yield shapes.StoredEvent(pos, f"e-{pos}", "t", "", None, AT, {"n": pos}, AT, None)
        raise NotFound("the tail ends here")


class Served:
    """A server under test and the means to talk to it byte by byte."""

    def __init__(self, engine: FakeEngine, server: Server, file: SocketFile) -> None:
        self.engine = engine
        self.server = server
        self.file = file
        self.path = file.path
        self._open: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(os.fspath(self.path), limit=1 << 26)
        self._open.append(writer)
        return reader, writer

    async def ask(self, data: bytes) -> bytes:
        """Sends, half-closes, and gives everything that was answered."""
        reader, writer = await self.connect()
        writer.write(data)
        writer.write_eof()
        return await reader.read()

    async def until(self, true: Callable[[], Any]) -> None:
        """Turns the loop until something is so."""
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        for writer in self._open:
            writer.close()
        await self.server.close()
        self.file.release()


Serve = Callable[..., Any]


@pytest.fixture
async def serve(short_dir: Path) -> AsyncIterator[Serve]:
    """`await serve(limits=..., **options)` gives a `Served`."""
    running: list[Served] = []

    async def start(
        engine: FakeEngine | None = None, limits: Limits | None = None, **options: Any
    ) -> Served:
        fake = engine or FakeEngine()
        server = Server(fake, limits=limits, **options)
        file = bind(short_dir / f"s{len(running)}")
        await server.listen(file.socket)
        served = Served(fake, server, file)
        running.append(served)
        return served

    yield start
    for served in running:
        await served.close()


@pytest.fixture
def raw_connect() -> Iterator[Callable[[Path], socket.socket]]:
    """Blocking sockets for peers that behave badly."""
    opened: list[socket.socket] = []

    def connect(path: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(os.fspath(path))
        sock.setblocking(False)
        opened.append(sock)
        return sock

    yield connect
    for sock in opened:
        sock.close()


@pytest.fixture
def fake_engine() -> FakeEngine:
    return FakeEngine()
