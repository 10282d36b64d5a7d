"""What does an item of a list cost whose steps run side by side, when all end well and when all fail?

A `foreach` of few items, then one of many: neither the time nor the bytes an item may grow with
how many there are. What ends together is stored together, so there are few commits.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from greenroom.runtime.benchmarks.common import Figures, in_lanes, median
from greenroom.runtime.benchmarks.limit import recorded_store, recording_of, size_of
from greenroom.runtime.benchmarks.workloads import fan
from greenroom.runtime.engine import Engine

SIZES: Final = {"few": 100, "many": 1_000, "rounds": 5}
QUICK: Final = {"few": 10, "many": 50, "rounds": 1}


def measure(folder: Path, *, few: int, many: int, rounds: int) -> Figures:
    return asyncio.run(_measure(folder, few, many, rounds))


async def _measure(folder: Path, few: int, many: int, rounds: int) -> Figures:
    found: dict[str, list[float]] = {}
    store = recorded_store(folder / "run.db")
    async with Engine.open(store=store, workflows=[fan]) as engine:
        groups = recording_of(store).groups
        for _ in range(rounds):
            for ends, fails in (("done", False), ("failed", True)):
                for size, items in (("few", few), ("many", many)):

                    async def work(number: int, items: int = items, fails: bool = fails) -> None:
                        input = {"items": list(range(items)), "fails": fails}
                        await (await engine.start(fan, input)).result()

                    begin = len(groups)
                    took = await in_lanes(1, 1, work)
                    written = size_of(groups[begin:])[1]
                    for figure, value in (
                        ("commits", len(groups) - begin),
                        ("cpu_us", took.cpu_s / items * 1e6),
                        ("bytes", written / items),
                    ):
                        found.setdefault(f"{ends}_{size}_{figure}", []).append(value)
    figures: dict[str, Any] = {name: median(values, 1) for name, values in found.items()}
    for ends in ("done", "failed"):
        for figure in ("cpu_us", "bytes"):
            ratio = figures[f"{ends}_many_{figure}"] / figures[f"{ends}_few_{figure}"]
            figures[f"{ends}_{figure}_ratio"] = round(ratio, 2)
    return figures
