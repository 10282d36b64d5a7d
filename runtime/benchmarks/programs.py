"""Does a program grow slower with its history, and how fast is it replayed, in either form?

The same loop of ops as a coroutine and as a plain `handle()`. A round is so many ops in short
instances, then as many in one long instance, side by side: what others do to the machine happens
to both. The ratio of CPU times says the same with less noise, since one op after the other mostly
waits for the disk.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from greenroom.actors.ports import Load, Loaded
from greenroom.runtime.benchmarks.common import Figures, in_lanes, median
from greenroom.runtime.benchmarks.workloads import Line, PlainLine
from greenroom.runtime.engine import Engine

SIZES: Final = {"few": 100, "many": 2_000, "rounds": 5}
QUICK: Final = {"few": 20, "many": 100, "rounds": 1}
FORMS: Final[dict[str, Any]] = {"": Line, "plain_": PlainLine}
"""What the figures of a form begin with."""


def measure(folder: Path, *, few: int, many: int, rounds: int) -> Figures:
    return asyncio.run(_measure(folder, few, many, rounds))


async def _measure(folder: Path, few: int, many: int, rounds: int) -> Figures:
    found: dict[str, list[float]] = {}
    async with Engine.open(folder / "run.db", workflows=list(FORMS.values())) as engine:
        for _ in range(rounds):
            for form, workflow in FORMS.items():
                cpu: dict[str, float] = {}
                speed: dict[str, float] = {}
                for name, ops, instances in (("few", few, max(many // few, 1)), ("many", many, 1)):
                    ids: list[str] = []

                    async def work(
                        number: int, workflow: Any = workflow, ops: int = ops, ids: Any = ids
                    ) -> None:
                        instance = await engine.start(workflow, {"steps": ops})
                        await instance.result()
                        ids.append(instance.id)

                    took = await in_lanes(instances, 1, work)
                    replay_s = await _replayed(engine, ids[0])
                    speed[name] = ops * instances / took.seconds
                    cpu[name] = took.cpu_s / (ops * instances) * 1e6
                    for figure, value in (
                        (f"{name}_ops_per_s", speed[name]),
                        (f"{name}_cpu_us_per_op", cpu[name]),
                        (f"{name}_replay_ms", replay_s * 1000),
                        (f"{name}_replay_entries_per_s", (ops + 1) / replay_s),
                    ):
                        found.setdefault(form + figure, []).append(value)
                found.setdefault(f"{form}ratio_many_to_few", []).append(
                    speed["few"] / speed["many"]
                )
                found.setdefault(f"{form}cpu_ratio_many_to_few", []).append(
                    cpu["many"] / cpu["few"]
                )
    return {name: _shown(name, values) for name, values in found.items()}


def _shown(name: str, values: list[float]) -> float:
    return round(median(values)) if name.endswith("per_s") else median(values, 2)


async def _replayed(engine: Engine, id: str) -> float:
    """Seconds of this thread from the stored rows of an instance to its live coroutine: nothing in
    it waits."""
    row = await engine._find(id)
    loaded: list[Loaded] = await engine.journal.call(Load((row.n,), snapshots=False))
    begun = time.thread_time()
    kernel = engine.directory.kernel_of(loaded[0])
    kernel.ensure_machine()
    took = time.thread_time() - begun
    kernel.drop_machine()
    return took
