"""The writer: groups, answers, refusals and ends, over both stores."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import Busy, EngineDied, EngineStopping, ReadOnly, StoreDamaged
from greenroom.runtime import journal as module
from greenroom.runtime.journal import Journal, in_thread
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.store import StoreFull


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.time = 1_700_000_000_000
        self.waiting: list[tuple[int, Callable[[], None]]] = []

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1000

    def call_at(self, due: int, then: Callable[[], None]) -> ports.Handle:
        self.waiting.append((due, then))
        return Cancelled()

    def call_later(self, delay_ms: int, then: Callable[[], None]) -> ports.Handle:
        return self.call_at(self.time + delay_ms, then)

    def advance(self, ms: int) -> None:
        self.time += ms
        due = [then for at, then in self.waiting if at <= self.time]
        self.waiting = [pair for pair in self.waiting if pair[0] > self.time]
        for then in due:
            then()


class Cancelled:
    def cancel(self) -> None:
        """The tests' clock forgets at the end."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "memory"])
async def journal(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Journal]:
    store: Any = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "a.db")
    opened = Journal(store, clock=clock, reserve=tmp_path / "reserve")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def on_disk(tmp_path: Path, clock: Clock) -> AsyncIterator[Journal]:
    opened = Journal(SqliteStore(tmp_path / "a.db"), clock=clock, reserve=tmp_path / "reserve")
    await opened.open()
    yield opened
    await opened.close()


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_works_submitted_together_share_a_group(journal: Journal, make: Any) -> None:
    calls = [asyncio.ensure_future(journal.call(make.create(n))) for n in range(1, 101)]
    results = await asyncio.gather(*calls)
    assert [result.pos for result in results] == list(range(1, 101))
    assert journal.groups <= 2


async def test_answers_come_in_the_order_of_the_works(journal: Journal, make: Any) -> None:
    order: list[int] = []
    for n in range(1, 51):
        journal.submit(make.create(n), lambda result: order.append(result.pos))
    await journal.call(ports.Counts())
    assert order == list(range(1, 51))


async def test_a_caller_that_is_cancelled_does_not_touch_the_commit(
    journal: Journal, make: Any
) -> None:
    calls = [asyncio.ensure_future(journal.call(make.create(n))) for n in range(1, 21)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    counts = await journal.call(ports.Counts())
    assert counts.entries == 20
    assert (await journal.call(make.create(30))).created


async def test_a_listener_that_raises_silences_nobody(journal: Journal, make: Any) -> None:
    faults: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def fault(_: Any) -> None:
        raise ZeroDivisionError

    journal.submit(make.create(1), fault)
    assert (await journal.call(make.create(2))).created
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
    loop.set_exception_handler(None)


async def test_beyond_its_bound_new_starts_and_events_are_refused(
    journal: Journal, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_MAX", 3)
    await journal.call(make.create(9))
    works = [make.create(1), make.create(2), make.create(3), make.create(4), make.append(9, 2)]
    calls = [asyncio.ensure_future(journal.call(work)) for work in works]
    await asyncio.sleep(0)
    assert journal.full
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, Busy) for result in results] == [False, False, False, True, False]
    assert not journal.full


async def test_closing_stores_what_was_submitted_and_refuses_the_rest(
    on_disk: Journal, make: Any
) -> None:
    call = asyncio.ensure_future(on_disk.call(make.create(1)))
    await asyncio.sleep(0)
    await on_disk.close()
    assert (await call).created
    with pytest.raises(EngineStopping):
        await on_disk.call(ports.Counts())
    await on_disk.close()
    store: Any = on_disk.store
    assert not store.wal.exists()
    again = SqliteStore(store.path)
    opened = again.open()
    assert (opened.clean, opened.head, opened.started_clean_at) == (True, 1, 1_700_000_000_000)
    again.close(clean=False)
    assert SqliteStore(store.path).open().clean is False


def test_an_opening_that_fails_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Its last word to a loop that is closed by then would be an exception nobody can catch."""
    (tmp_path / "a.db").write_bytes(b"plain text" * 1_000)

    async def fail() -> None:
        with pytest.raises(StoreDamaged):
            await Journal(SqliteStore(tmp_path / "a.db")).open()

    uncaught: list[Any] = []
    hook, threading.excepthook = threading.excepthook, uncaught.append
    try:
        for _ in range(50):
            asyncio.run(fail())
    finally:
        threading.excepthook = hook
    assert uncaught == []


# -- no room -----------------------------------------------------------------------------------


async def test_a_full_disk_refuses_new_work_and_comes_back_by_itself(
    journal: Journal, make: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    journal._on_state = states.append
    await journal.call(make.create(1))
    assert journal._reserve is not None
    assert journal._reserve.stat().st_size == module.RESERVE_BYTES
    full = Full(journal.store, monkeypatch)
    refused = asyncio.gather(
        journal.call(make.create(2)), journal.call(make.append(1, 2)),
        journal.call(make.append(1, 2, urgent=True)), return_exceptions=True,
    )  # fmt: skip
    full.fails = 1
    results = await refused
    assert [type(r) for r in results] == [ReadOnly, ReadOnly, ports.Appended]
    assert journal.read_only
    assert not journal._reserve.exists()
    with pytest.raises(ReadOnly):
        await journal.call(make.create(3))
    assert (await journal.call(ports.Counts())).entries == 2
    full.fails = 1
    clock.advance(1_000)
    await settled(lambda: bool(clock.waiting))
    assert journal.read_only
    clock.advance(1_000)
    await settled(lambda: not journal.read_only)
    assert (await journal.call(make.create(4))).created
    assert journal._reserve.exists()
    assert states == ["read_only", "open"]


async def test_on_a_disk_that_stays_full_reading_goes_on(
    journal: Journal, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.call(make.create(1))
    full = Full(journal.store, monkeypatch)
    full.fails = 10
    results = await asyncio.gather(
        journal.call(make.append(1, 2, urgent=True)), journal.call(ports.Counts()),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(results[0], ReadOnly)
    assert isinstance(results[1], ports.CountsRow)


class Full:
    """Lets the next `fails` groups that write, and probes, find no room."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = 0
        run, probe = store.run, store.probe

        def full_run(group: list[Any]) -> list[Any]:
            if any(type(work) not in module._READS for work in group):
                self._fail()
            return list(run(group))

        def full_probe() -> None:
            self._fail()
            probe()

        monkeypatch.setattr(store, "run", full_run)
        monkeypatch.setattr(store, "probe", full_probe)

    def _fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreFull("no room")


# -- a failed write ----------------------------------------------------------------------------


async def test_after_a_failed_write_everybody_hears_that_the_engine_died(
    journal: Journal, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fatal: list[BaseException] = []
    journal._on_fatal = fatal.append
    await journal.call(make.create(1))

    def broken(group: Any) -> Any:
        raise EngineDied("disk I/O error")

    monkeypatch.setattr(journal.store, "run", broken)
    calls = [asyncio.ensure_future(journal.call(make.create(n))) for n in (2, 3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [EngineDied, EngineDied]
    with pytest.raises(EngineDied):
        await journal.call(ports.Counts())
    assert (journal.state, len(fatal)) == ("died", 1)
    await journal.close()
    assert journal.state == "died"


async def test_a_removed_database_is_noticed_before_anything_is_acknowledged(
    on_disk: Journal, make: Any
) -> None:
    await on_disk.call(make.create(1))
    store: Any = on_disk.store
    store.path.rename(store.path.with_name("moved.db"))
    with pytest.raises(EngineDied, match="removed or replaced"):
        await on_disk.call(make.create(2))


# -- one hop a group ---------------------------------------------------------------------------


async def test_the_adapter_runs_a_function_in_the_thread_of_the_connection() -> None:
    connection = await aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 64)
    assert await in_thread(connection, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await in_thread(connection, lambda: 1 // 0)
    await connection.close()
    with pytest.raises(ValueError, match="closed"):
        await in_thread(connection, lambda: 5)


def test_aiosqlite_is_the_version_the_adapter_was_written_for() -> None:
    assert aiosqlite.__version__.startswith("0.22.")
    assert list(inspect.signature(aiosqlite.Connection._execute).parameters)[:2] == ["self", "fn"]


async def test_payloads_do_not_reach_a_debug_log(
    on_disk: Journal, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await on_disk.call(make.post("e-1", data={"card": "4111-1111"}))
    assert "4111" not in caplog.text


async def test_the_log_stays_within_its_bound(on_disk: Journal, make: Any) -> None:
    await on_disk.call(make.create(1))
    big = make.row(payload=b'"' + b"x" * 200_000 + b'"')
    store: Any = on_disk.store
    sizes = []
    for iseq in range(2, 300):
        await on_disk.call(ports.Append(n=1, iseq=iseq, rows=[big]))
        sizes.append(store.wal.stat().st_size)
    assert max(sizes) <= 16 << 20
