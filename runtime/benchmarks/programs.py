"""Does a program grow slower with its history, and how fast is it replayed?"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from greenroom.actors.ports import Load, Loaded
from greenroom.runtime.benchmarks.common import Figures, in_lanes, median
from greenroom.runtime.benchmarks.workloads import line
from greenroom.runtime.engine import Engine

SIZES: Final = {"few": 100, "many": 2_000, "rounds": 7}
QUICK: Final = {"few": 20, "many": 100, "rounds": 1}


def measure(folder: Path, *, few: int, many: int, rounds: int) -> Figures:
    return asyncio.run(_measure(folder, few, many, rounds))


async def _measure(folder: Path, few: int, many: int, rounds: int) -> Figures:
    figures: Figures = {}
    async with Engine.open(folder / "run.db", workflows=[line]) as engine:
        for name, ops in (("few", few), ("many", many)):
            speeds, replays = [], []
            for _ in range(rounds):
                ids: list[str] = []

                async def work(number: int, ops: int = ops, ids: list[str] = ids) -> None:
                    instance = await engine.start(line, {"steps": ops})
                    await instance.result()
                    ids.append(instance.id)

                took = await in_lanes(1, 1, work)
                speeds.append(ops / took.seconds)
                replays.append(await _replayed(engine, ids[0]))
            figures[f"{name}_ops_per_s"] = round(median(speeds))
            figures[f"{name}_replay_ms"] = median(s * 1000 for s in replays)
            figures[f"{name}_replay_entries_per_s"] = round(median((ops + 1) / s for s in replays))
    figures["ratio_many_to_few"] = round(
        figures["few_ops_per_s"] / max(figures["many_ops_per_s"], 1), 2
    )
    return figures


async def _replayed(engine: Engine, id: str) -> float:
    """Seconds from the stored rows of an instance to its live coroutine."""
    row = await engine._find(id)
    loaded: list[Loaded] = await engine.journal.call(Load((row.n,), snapshots=False))
    begun = time.perf_counter()
    kernel = engine.directory.kernel_of(loaded[0])
    kernel.ensure_machine()
    took = time.perf_counter() - begun
    kernel.drop_machine()
    return took
