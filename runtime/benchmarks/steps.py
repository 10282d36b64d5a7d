"""How many steps a second become durable, and which part of the limit that is?

Many instances run side by side, each a line of steps that do nothing: as a step list, and beside
it as a program. Run and limit are taken in turns and the medians given, since the speed of a
machine drifts. The process is set up as the daemon is (its collector looks less often).
"""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.runtime.benchmarks.common import Figures, Took, in_lanes, median, rss_mb
from greenroom.runtime.benchmarks.limit import (
    limit_of,
    recorded_store,
    recording_of,
    size_of,
)
from greenroom.runtime.benchmarks.workloads import chain, line
from greenroom.runtime.daemon import calm_collector
from greenroom.runtime.engine import Engine

SIZES: Final = {"instances": 1000, "steps": 10, "concurrency": 100, "rounds": 7}
QUICK: Final = {"instances": 50, "steps": 10, "concurrency": 20, "rounds": 1}

WARM_UP: Final = 100


class Run(msgspec.Struct):
    """One round: what the engine took, what the bare loop took for the same rows."""

    took: Took
    limit_s: float
    rss_mb: float
    groups: int
    rows: int
    bytes: int


def measure(folder: Path, *, instances: int, steps: int, concurrency: int, rounds: int) -> Figures:
    calm_collector()
    figures: Figures = {}
    total = instances * steps
    for kind, prefix in (("steps", ""), ("programs", "program_")):
        runs = [
            asyncio.run(one_round(folder, kind, instances, steps, concurrency))
            for _ in range(rounds)
        ]
        figures |= {
            f"{prefix}steps_per_s": round(median(total / run.took.seconds for run in runs)),
            f"{prefix}limit_steps_per_s": round(median(total / run.limit_s for run in runs)),
            f"{prefix}ratio_to_limit": median(run.limit_s / run.took.seconds for run in runs),
            f"{prefix}p50_ms": median(run.took.at_ms(0.50) for run in runs),
            f"{prefix}p99_ms": median(run.took.at_ms(0.99) for run in runs),
            f"{prefix}cpu_us_per_step": median((run.took.cpu_s / total * 1e6 for run in runs), 1),
        }
        if kind == "steps":
            figures |= {
                "rss_mb": median(run.rss_mb for run in runs),
                "groups": runs[-1].groups,
                "rows": runs[-1].rows,
                "bytes": runs[-1].bytes,
            }
    return figures


async def one_round(folder: Path, kind: str, instances: int, steps: int, concurrency: int) -> Run:
    """A run on a new store, and the limit of exactly that run."""
    path = folder / "run.db"
    store = recorded_store(path)
    made: Any = chain(steps) if kind == "steps" else line
    input = {} if kind == "steps" else {"steps": steps}
    async with Engine.open(store=store, workflows=[made]) as engine:

        async def work(number: int) -> None:
            instance = await engine.start(made, input)
            await instance.result()

        await in_lanes(min(WARM_UP, instances), concurrency, work)
        groups = recording_of(store).groups
        begin = len(groups)
        gc.collect()
        took = await in_lanes(instances, concurrency, work)
        end = len(groups)
        memory = rss_mb()
    for file in folder.glob(f"{path.name}*"):
        file.unlink()
    limit_s = await limit_of(folder, groups, begin, end)
    return Run(took, limit_s, memory, end - begin, *size_of(groups[begin:end]))
