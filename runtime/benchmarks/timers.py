"""How late is a timer when very many are due in the same second, and very many more are pending?

What counts is the moment at which its firing is on the disk, in a process set up like a daemon.
The pending ones are rows of the due list, spread over the next year; of them only the near future
may be in memory. Then somebody sets the clock: forward over as many timers, which were hours away,
and back when as many are about to be due, which must wait.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from greenroom.runtime.benchmarks.common import Figures, in_lanes, percentile_ms, rss_mb
from greenroom.runtime.benchmarks.workloads import sleeper
from greenroom.runtime.clock import SetClock
from greenroom.runtime.daemon import calm_collector
from greenroom.runtime.engine import Engine

SIZES: Final = {"timers": 10_000, "ahead_s": 6, "pending": 1_000_000}
QUICK: Final = {"timers": 200, "ahead_s": 1, "pending": 5_000}

YEAR_MS: Final = 365 * 86_400_000
HOURS_MS: Final = 7_200_000
FROM: Final = 1 << 40
"""Numbers that no instance of the benchmark has."""
PENDING: Final = (
    "INSERT INTO timer WITH RECURSIVE k(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM k LIMIT ?)"
    " SELECT ? + k, '1', ? + CAST(k AS REAL) * ? / ? FROM k"
)


def measure(folder: Path, *, timers: int, ahead_s: int, pending: int) -> Figures:
    calm_collector()
    asyncio.run(_pending(folder / "run.db", pending))
    figures = asyncio.run(_measure(folder, timers, ahead_s, pending))
    return figures | asyncio.run(_set(folder / "set.db", timers, ahead_s))


async def _pending(path: Path, count: int) -> None:
    """A store with that many timers, none of them soon."""
    async with Engine.open(path, workflows=[sleeper]):
        pass
    soonest = round(time.time() * 1000) + 3_600_000
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(PENDING, (count, FROM, soonest, YEAR_MS, count))


async def _measure(folder: Path, timers: int, ahead_s: int, pending: int) -> Figures:
    before_mb, begun = rss_mb(), time.perf_counter()
    late: list[float] = []
    ended: list[float] = []
    all_ended = asyncio.Event()
    due = time.time() + ahead_s
    async with Engine.open(folder / "run.db", workflows=[sleeper]) as engine:

        def stored(instance: Any, append: Any, result: Any) -> None:
            now = time.time()
            late.extend(now - due for row in append.rows if row.kind == "fired")
            if append.ended:
                ended.append(now - due)
                if len(ended) == timers:
                    all_ended.set()

        engine.directory.watchers.append(stored)
        ready_ms = round((time.perf_counter() - begun) * 1000, 1)
        await engine.info()  # the timer has read its near future
        if (held := len(engine.directory.timer.agenda)) > pending // 1000:
            raise RuntimeError(f"{held} of {pending} timers are in memory, none is soon")
        pending_mb = round(rss_mb() - before_mb, 1)

        async def start(number: int) -> None:
            await engine.start(sleeper, {"at_ms": round(due * 1000)})

        made = await in_lanes(timers, 200, start)
        ready = due - time.time()
        await all_ended.wait()
    return {
        "fired": len(late),
        "late_p50_ms": percentile_ms(late, 0.50),
        "late_max_ms": round(max(late) * 1000, 1),
        "ended_max_ms": round(max(ended) * 1000, 1),
        "started_per_s": round(timers / made.seconds),
        "pending_ready_ms": ready_ms,
        "pending_in_memory": held,
        "pending_rss_mb": pending_mb,
        "ready_before_s": round(ready, 1),
    }


async def _set(path: Path, timers: int, ahead_s: int) -> Figures:
    """Milliseconds from the setting of the clock until the first and the last firing are durable."""
    clock = SetClock()
    fired: list[float] = []
    ended: list[str] = []
    all_ended = asyncio.Event()

    def stored(instance: Any, append: Any, result: Any) -> None:
        fired.extend(time.monotonic() for row in append.rows if row.kind == "fired")
        if append.ended:
            ended.append(instance.id)
            if len(ended) == timers:
                all_ended.set()

    async def all_fired(begun: float) -> tuple[float, float]:
        await all_ended.wait()
        all_ended.clear()
        found = (fired[0] - begun) * 1000, (fired[-1] - begun) * 1000
        if len(fired) != timers or len(set(ended)) != timers:
            raise RuntimeError(f"{len(fired)} firings of {timers} timers")
        fired.clear()
        ended.clear()
        return found

    async with Engine.open(path, workflows=[sleeper], clock=clock) as engine:
        engine.directory.watchers.append(stored)

        async def start(due: int, number: int) -> None:
            await engine.start(sleeper, {"at_ms": due + number * HOURS_MS // timers})

        soon = clock.now() + HOURS_MS
        await in_lanes(timers, 200, functools.partial(start, soon))
        clock.set(3 * HOURS_MS)
        forward = await all_fired(time.monotonic())

        await in_lanes(timers, 200, lambda number: start(clock.now() + ahead_s * 1000, 0))
        clock.set(-3 * HOURS_MS)
        await asyncio.sleep(ahead_s + 1.2)  # the clock is looked at each second
        early = len(fired)
        clock.set(3 * HOURS_MS)
        again = await all_fired(time.monotonic())
    return {
        "set_forward_first_ms": round(forward[0]),
        "set_forward_last_ms": round(forward[1]),
        "set_back_early": early,
        "set_again_last_ms": round(again[1]),
    }
