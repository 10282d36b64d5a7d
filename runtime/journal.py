"""The journal as the actors know it: works go in, results come back once they are on disk.

One task drains everything that was submitted since the last commit into one group; the fsync of a
group is the time in which the next one gathers, so there is no timer to tune. Callers hear of
their work after the commit and in order. A caller that goes away changes nothing: its work is in
the group, and it may ask again by id.

Three ends besides the clean one. *Disk full*: the group was not stored; new work is refused with
`read_only`, control verbs and retention go on in the room of the reserve file, and every second
the journal tries whether there is room again. *A failed write*: nobody knows what the disk holds,
so every pending and later call gets `EngineDied` and the connection is never touched again.
*Too much*: beyond `QUEUE_MAX` works new starts and events are refused with `busy`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import aiosqlite

from greenroom.actors import ports
from greenroom.definitions.errors import Busy, EngineDied, EngineStopping, GreenroomError, ReadOnly
from greenroom.runtime.crashpoints import crash_point
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.store import Store, StoreFull

QUEUE_MAX: Final = 10_000
GROUP_MAX: Final = 2_000
GROUP_BYTES_MAX: Final = 4 << 20
RESERVE_BYTES: Final = 16 << 20
RETRY_MS: Final = 1_000

State = Literal["new", "open", "read_only", "died", "closed"]
Done = Callable[[Any], None]
T = TypeVar("T")

_READS: Final = frozenset({
    ports.Load, ports.Find, ports.ReadRows, ports.ReadJournal, ports.ListInstances, ports.ListStanding,
    ports.ListEvents, ports.GetEvent, ports.EventMatches, ports.WaitsAt, ports.DueTimers,
    ports.BusyInstances, ports.UnroutedEvents, ports.FindRequest, ports.ListAsks,
    ports.ListDefinitions, ports.ReadData, ports.MeasureData, ports.ListSchedules, ports.Counts, ports.DeadLetters,
    ports.Audit, ports.Orphans, ports.GetMeta, ports.GetResources, ports.FindResource, ports.ListResources,
    ports.ResourceHistory, ports.ListProducts,
})  # fmt: skip


async def in_thread(connection: aiosqlite.Connection, function: Callable[[], T]) -> T:
    """Runs a function in the connection's thread.

    aiosqlite has no public way to run a whole group in one hop. This is the only place that
    leans on its inside; the version is pinned and a test holds the contract. The function takes
    no arguments because aiosqlite may write them to its debug log.
    """
    result: T = await connection._execute(function)  # type: ignore[no-untyped-call]
    return result


class Slices:
    """A long function and short ones sharing the store's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._lock = threading.Lock()
        self._over = False

    async def put(self, function: Callable[[], T]) -> T:
        """Runs a function between two slices."""
        future: asyncio.Future[T] = self._loop.create_future()
        with self._lock:
            over = self._over
            if not over:
                self._waiting.append((function, future))
        if over:  # the long one has ended, its caller has not heard of it yet
            await asyncio.sleep(0)
            raise _Over
        return await future

    def run(self, function: Callable[[Callable[[], None]], T]) -> T:
        """In the thread: the long function, and at its end whoever still waits."""
        try:
            return function(self._serve)
        finally:
            with self._lock:
                self._over = True
            self._serve()

    def _serve(self) -> None:
        while self._waiting:
            with self._lock:
                function, future = self._waiting.pop(0)
            try:
                result = function()
            except BaseException as error:
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_set, future, result)


class _Unopened:
    """Stands for the connection of an opening that failed."""

    def close(self) -> None:
        """There is nothing to close."""


class _Over(Exception):
    """The slices have ended; ask the thread itself."""


def _set(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


class Journal:
    """Implements `ports.Journal` over a store. SQLite runs in a thread of its own, a store in
    memory in the loop."""

    def __init__(
        self,
        store: Store,
        *,
        clock: ports.Clock | None = None,
        reserve: Path | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
        on_state: Callable[[State], None] | None = None,
    ) -> None:
        self.store = store
        self.state: State = "new"
        self.error: BaseException | None = None
        self.groups = 0
        """Groups stored so far."""
        self._clock = clock
        self._reserve = reserve
        self._on_fatal = on_fatal
        self._on_state = on_state
        self._connection: aiosqlite.Connection | None = None
        self._queue: list[tuple[ports.Work, Done]] = []
        self._wake: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._slices: Slices | None = None
        self._closing: asyncio.Task[None] | None = None
        self._storing = False
        self._retry_due = False
        self._retry: Any = None

    # -- the port ---------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whoever accepts requests from outside answers `busy` while this is true."""
        return len(self._queue) >= QUEUE_MAX

    @property
    def read_only(self) -> bool:
        return self.state == "read_only"

    @property
    def busy(self) -> bool:
        """Whether works wait or are being stored."""
        return bool(self._queue) or self._storing

    async def abandon(self) -> None:
        """Stops without a word to the store, as a process that is killed does."""
        self._queue.clear()
        if self.state in ("open", "read_only"):
            self._set_state("died")
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self.close(clean=False)

    def submit(self, work: ports.Work, done: Done) -> None:
        queue = self._queue
        if self.state != "open" or len(queue) >= QUEUE_MAX:
            refused = self._refusal(work)
            if refused is not None:
                asyncio.get_running_loop().call_soon(done, refused)
                return
        queue.append((work, done))
        self._rouse()

    async def call(self, work: ports.Work) -> Any:
        """The work's result; a refusal is raised. Cancelling the caller leaves the work alone."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.submit(work, lambda result: None if future.done() else future.set_result(result))
        result = await future
        if isinstance(result, BaseException):
            raise result
        return result

    def _refusal(self, work: ports.Work) -> GreenroomError | None:
        if self.state == "open":
            if len(self._queue) >= QUEUE_MAX and type(work) in (ports.Post, ports.Create):
                return Busy(f"{len(self._queue):,} works wait for the disk; try again")
            return None
        if self.state == "read_only":
            return None if _allowed(work) else _read_only()
        return self._gone()

    def _gone(self) -> GreenroomError:
        if self.state == "died":
            return EngineDied(
                f"the store failed: {self.error}",
                hint="nothing acknowledged is lost; open the engine again",
            )
        return EngineStopping("the journal is closed")

    # -- its life ---------------------------------------------------------------------------

    async def open(self) -> ports.Opened:
        store = self.store
        if isinstance(store, SqliteStore):
            opened = await self._open_in_thread(store)
        else:
            opened = store.open()
        self._set_state("open")
        await self._do(self._make_reserve)
        self._writer = asyncio.create_task(self._write(), name="journal")
        return opened

    async def _open_in_thread(self, store: SqliteStore) -> ports.Opened:
        outcome: list[ports.Opened | BaseException] = []

        def connect() -> Any:
            try:
                outcome.append(store.open())
            except BaseException as error:
                outcome.append(error)
                return _Unopened()
            return store.connection

        connection = await aiosqlite.Connection(connect, iter_chunk_size=64)
        opened = outcome[0]
        if isinstance(opened, BaseException):
            await connection.close()  # aiosqlite would leave its thread to itself
            raise opened
        self._connection = connection
        return opened

    async def close(self, *, clean: bool = True) -> None:
        """Stores what was submitted, then lets go of the file. Idempotent; a caller that stops
        waiting does not stop the closing."""
        if self.state == "new":
            self.state = "closed"
        elif self._closing is None:
            died = self.state == "died"
            if not died:
                self._set_state("closed")
            self._closing = asyncio.create_task(self._close(clean and not died), name="close")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self, clean: bool) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._rouse()
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])
        at = self._clock.now() if self._clock else 0
        clean = clean and self.state != "died"
        try:
            await self._do(lambda: self.store.close(clean, at))
        finally:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(Exception):
                    await connection.close()

    async def _do(self, function: Callable[[], T]) -> T:
        """Runs a function on the store: in its thread, between the slices of a backup, or here."""
        if self._slices is not None:
            with suppress(_Over):
                return await self._slices.put(function)
        if self._connection is not None:
            return await in_thread(self._connection, function)
        await asyncio.sleep(0)  # lets others join the group, as the thread hop does
        return function()

    async def long(self, function: Callable[[Callable[[], None]], T]) -> T:
        """Runs a long function in the store's thread. It calls what it is given every few
        milliseconds, and groups are stored meanwhile. One at a time."""
        if self.state not in ("open", "read_only"):
            raise self._gone()
        connection = self._connection
        if connection is None:
            return function(lambda: None)
        if self._slices is not None:
            raise Busy("another backup is being made")
        slices = self._slices = Slices()
        try:
            return await asyncio.shield(
                asyncio.ensure_future(in_thread(connection, lambda: slices.run(function)))
            )
        finally:
            self._slices = None

    # -- the writer -------------------------------------------------------------------------

    def _rouse(self) -> None:
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    async def _write(self) -> None:
        try:
            while await self._something_to_do():
                if self._retry_due:
                    await self._try_again()
                if self._queue:
                    await self._store(self._take())
        except BaseException as error:
            self._die(error)
            if not isinstance(error, Exception):
                raise

    async def _something_to_do(self) -> bool:
        while not (self._queue or self._retry_due):
            if self.state in ("closed", "died"):
                return False
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return self.state != "died"

    def _take(self) -> list[tuple[ports.Work, Done]]:
        """The next group: all that wait, within reason."""
        queue = self._queue
        end, size = 0, 0
        for work, _ in queue[:GROUP_MAX]:
            end += 1
            if type(work) is ports.Append:
                for row in work.rows:
                    size += len(row.payload)
                if size > GROUP_BYTES_MAX:
                    break
        if end == len(queue):
            self._queue = []
            return queue
        self._queue = queue[end:]
        return queue[:end]

    async def _store(self, group: list[tuple[ports.Work, Done]]) -> None:
        self._storing = True
        try:
            await self._store_group(group)
        finally:
            self._storing = False

    async def _store_group(self, group: list[tuple[ports.Work, Done]]) -> None:
        works = [work for work, _ in group]
        store = self.store

        def run() -> tuple[list[Any], bool]:
            return store.run(works), store.swollen()

        try:
            if self._connection is None:
                await asyncio.sleep(0)
                late = self._take() if self._queue else []
                group += late
                works += [work for work, _ in late]
                results, swollen = run()
            else:
                results, swollen = await self._do(run)
        except StoreFull:
            await self._no_room(group)
            return
        except BaseException as error:
            self._queue = group + self._queue
            self._die(error)
            if not isinstance(error, Exception):
                raise
            return
        self.groups += 1
        crash_point("journal.done")
        for (_, done), result in zip(group, results, strict=True):
            self._tell(done, result)
        if swollen:
            await self._checkpoint()

    def _tell(self, done: Done, result: Any) -> None:
        try:
            done(result)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a journal callback failed", "exception": error}
            )

    async def _checkpoint(self) -> None:
        try:
            await self._do(self.store.checkpoint)
        except StoreFull:
            self._enter_read_only()

    # -- no room ----------------------------------------------------------------------------

    async def _no_room(self, group: list[tuple[ports.Work, Done]]) -> None:
        """The group is not stored. What may use the reserve is tried again, then reads alone."""
        first = self.state != "read_only"
        await self._do(self._release_reserve)
        self._enter_read_only()
        again = [pair for pair in group if _allowed(pair[0])]
        if not first:  # the reserve is used up as well
            again = [pair for pair in again if type(pair[0]) in _READS]
        kept = {id(pair) for pair in again}
        for pair in group:
            if id(pair) not in kept:
                self._tell(pair[1], _read_only())
        if again:
            await self._store(again)

    def _enter_read_only(self) -> None:
        if self.state == "open":
            self._set_state("read_only")
        if self.state == "read_only":
            self._plan_retry()

    def _plan_retry(self) -> None:
        if self._retry is not None:
            return
        if self._clock is not None:
            self._retry = self._clock.call_later(RETRY_MS, self._retry_now)
        else:
            self._retry = asyncio.get_running_loop().call_later(RETRY_MS / 1000, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        if self.state == "read_only":
            self._retry_due = True
            self._rouse()

    async def _try_again(self) -> None:
        self._retry_due = False
        if self.state != "read_only":
            return
        try:
            if not await self._do(self._make_reserve):
                raise StoreFull("no room for the reserve")
            await self._do(self.store.probe)
        except StoreFull:
            self._plan_retry()
        else:
            if self.state == "read_only":  # it may have been closed meanwhile
                self._set_state("open")

    def _make_reserve(self) -> bool:
        """True once the reserve lies there (or none is kept)."""
        if self._reserve is None:
            return True
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._reserve, flags, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
        except OSError:
            self._release_reserve()
            return False
        return True

    def _release_reserve(self) -> None:
        if self._reserve is not None:
            with suppress(FileNotFoundError):
                self._reserve.unlink()

    # -- the end ----------------------------------------------------------------------------

    def _set_state(self, state: State) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)

    def give_up(self, error: BaseException) -> None:
        """Ends the journal although its store works: the rest of the engine does not."""
        self._die(error)

    def _die(self, error: BaseException) -> None:
        """Nothing can be trusted any more: everybody waiting is told, nobody else is served."""
        if self.state == "died":
            return
        self.error = error
        self._set_state("died")
        queue, self._queue = self._queue, []
        for _, done in queue:
            self._tell(done, self._gone())
        if self._on_fatal is not None:
            self._on_fatal(error)


def _allowed(work: ports.Work) -> bool:
    """What goes on while the disk is full: reading, control verbs, retention."""
    kind = type(work)
    return kind in _READS or kind is ports.Prune or (kind is ports.Append and work.urgent)


def _read_only() -> ReadOnly:
    return ReadOnly("the disk is full; nothing can be stored until there is room")
