"""How late is a timer when very many are due in the same second?

What counts is the moment at which its firing is on the disk, in a process set up like a daemon.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from greenroom.runtime.benchmarks.common import Figures, in_lanes, percentile_ms
from greenroom.runtime.benchmarks.workloads import sleeper
from greenroom.runtime.daemon import calm_collector
from greenroom.runtime.engine import Engine

SIZES: Final = {"timers": 10_000, "ahead_s": 6}
QUICK: Final = {"timers": 200, "ahead_s": 1}


def measure(folder: Path, *, timers: int, ahead_s: int) -> Figures:
    calm_collector()
    return asyncio.run(_measure(folder, timers, ahead_s))


async def _measure(folder: Path, timers: int, ahead_s: int) -> Figures:
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
        "ready_before_s": round(ready, 1),
    }
