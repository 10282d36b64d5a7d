"""What does a step cost that waits for the one before it to be on the disk?

One instance, one line of steps: every step is a commit of its own. Beside it the bare commits of
the same rows, through the same hop to the store's thread.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from greenroom.runtime.benchmarks.common import Figures, in_lanes, median
from greenroom.runtime.benchmarks.limit import limit_of, recorded_store, recording_of
from greenroom.runtime.benchmarks.workloads import chain
from greenroom.runtime.engine import Engine

SIZES: Final = {"steps": 1000, "rounds": 7}
QUICK: Final = {"steps": 100, "rounds": 1}


def measure(folder: Path, *, steps: int, rounds: int) -> Figures:
    pairs = [asyncio.run(_one_round(folder, steps)) for _ in range(rounds)]
    return {
        "us_per_step": median((run / steps * 1e6 for run, _ in pairs), 1),
        "bare_us_per_commit": median((bare / steps * 1e6 for _, bare in pairs), 1),
        "ratio_to_bare": median(run / bare for run, bare in pairs),
    }


async def _one_round(folder: Path, steps: int) -> tuple[float, float]:
    path = folder / "run.db"
    store = recorded_store(path)
    made = chain(steps)
    async with Engine.open(store=store, workflows=[made]) as engine:

        async def work(number: int) -> None:
            await (await engine.start(made)).result()

        groups = recording_of(store).groups
        begin = len(groups)
        took = await in_lanes(1, 1, work)
        end = len(groups)
    for file in folder.glob(f"{path.name}*"):
        file.unlink()
    return took.seconds, await limit_of(folder, groups, begin, end)
