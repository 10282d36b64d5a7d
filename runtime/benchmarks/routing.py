"""Does routing an event cost more when more wait for its type?

Each event matches one of n subscriptions on its type: waits of instances, and half waits half
triggers. The instances go on waiting, so that every round finds the same.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from greenroom.definitions.declare import workflow
from greenroom.runtime.benchmarks.common import Figures, in_lanes, median
from greenroom.runtime.benchmarks.workloads import loop
from greenroom.runtime.engine import Engine

SIZES: Final = {"most": 100_000, "events": 100, "rounds": 30}
QUICK: Final = {"most": 200, "events": 20, "rounds": 2}

COUNTS: Final = (1, 100, 10_000, 100_000)


def measure(folder: Path, *, most: int, events: int, rounds: int) -> Figures:
    figures: Figures = {}
    for half in (False, True):
        name = "half_triggers" if half else "waits"
        for count in [*(n for n in COUNTS if n < most), most]:
            path = folder / f"{name}-{count}.db"
            wall, cpu = asyncio.run(_routed(path, count, half, events, rounds))
            figures |= {f"{name}_{count}_us": wall, f"{name}_{count}_cpu_us": cpu}
        few = f"{name}_{min(100, most)}"
        figures[f"{name}_ratio"] = round(figures[f"{name}_{most}_us"] / figures[f"{few}_us"], 2)
        figures[f"{name}_cpu_ratio"] = round(
            figures[f"{name}_{most}_cpu_us"] / figures[f"{few}_cpu_us"], 2
        )
    return figures


async def _routed(
    path: Path, count: int, half: bool, events: int, rounds: int
) -> tuple[float, float]:
    """Microseconds an event, of the clock and of the processor, from post to answer."""
    waits = count - count // 2 if half else count
    triggers = [_trigger(number) for number in range(count // 2)] if half else []
    async with Engine.open(path, workflows=[loop, *triggers]) as engine:

        async def start(number: int) -> None:
            await engine.start(loop, {"k": number}, key=str(number))

        await in_lanes(waits, 200, start)
        await engine.drain()
        width = min(events, waits)
        wall, cpu = [], []
        for _ in range(rounds):
            begun, begun_cpu = time.perf_counter(), time.process_time()
            replies = await asyncio.gather(
                *(engine.post({"type": "bench.ping", "data": {"k": k}}) for k in range(width))
            )
            wall.append((time.perf_counter() - begun) / width * 1e6)
            cpu.append((time.process_time() - begun_cpu) / width * 1e6)
            if any(reply.matched_total != 1 for reply in replies):
                raise RuntimeError(f"an event matched {replies[0].matched_total}, not 1")
            await engine.drain()
            await asyncio.sleep(0.01)  # the woken instances wait again
        return median(wall, 1), median(cpu, 1)


def _trigger(number: int) -> Any:
    """One that listens to the type and to a number nobody posts."""

    async def listener(k: int) -> None:
        return None

    made: Any = workflow(name=f"listener-{number}", on="bench.ping", where={"data.k": -1 - number})(
        listener
    )
    return made
