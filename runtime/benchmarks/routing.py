"""Does routing an event cost more when more wait for its type?

Two stores: one in which all subscriptions are waits of one shape, and one, opened anew before it
is measured, in which half are waits and half triggers of six shapes: equal to one value, to two,
to one of a few; text that begins so, a number in a range, both an equal value and a range. Each
event meets one wait, whose instance goes on waiting, so that every round finds the same. How long
the index of triggers takes to find one of them is measured apart, and what it costs when a
condition has nothing an index can use (each is asked) or when very many match.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any, Final

from greenroom.actors.subscriptions import TriggerIndex
from greenroom.definitions.declare import definition_of, workflow
from greenroom.definitions.workflow import Definition, trigger_on
from greenroom.runtime.benchmarks.common import Figures, in_lanes, median
from greenroom.runtime.benchmarks.workloads import loop, seeker
from greenroom.runtime.engine import Engine

SIZES: Final = {"most": 100_000, "events": 100, "rounds": 30}
QUICK: Final = {"most": 200, "events": 20, "rounds": 2}

COUNTS: Final = (1, 100, 10_000, 100_000)
EACH: Final = 1_000
"""Triggers of one workflow, so that not every one needs a definition."""
FAN: Final = 100


def measure(folder: Path, *, most: int, events: int, rounds: int) -> Figures:
    figures: Figures = {}
    few, counts = min(100, most), [*(n for n in COUNTS if n < most), most]
    for half in (False, True):
        name = "half_triggers" if half else "waits"
        for count in counts:
            path = folder / f"{name}-{count}.db"
            wall, cpu = asyncio.run(_routed(path, count, half, events, rounds))
            figures |= {f"{name}_{count}_us": wall, f"{name}_{count}_cpu_us": cpu}
        for part in ("us", "cpu_us"):
            ratio = figures[f"{name}_{most}_{part}"] / figures[f"{name}_{few}_{part}"]
            figures[f"{name}_{part.replace('us', 'ratio')}"] = round(ratio, 2)
    for count in counts:
        figures |= _indexed(count, rounds)
    figures["index_ratio"] = round(
        figures[f"index_{most}_us"] / max(figures[f"index_{few}_us"], 0.1), 2
    )
    return figures


# -- through the engine ------------------------------------------------------------------------


async def _routed(
    path: Path, count: int, half: bool, events: int, rounds: int
) -> tuple[float, float]:
    """Microseconds an event, of the clock and of the processor, from post to answer."""
    waits = count - count // 2 if half else count
    target = seeker if half else loop
    async with Engine.open(path, workflows=[target]) as engine:

        async def start(number: int) -> None:
            await engine.start(target, {"k": number}, key=str(number))

        await in_lanes(waits, 200, start)
        await engine.drain()
        if not half:
            return await _timed(engine, min(events, waits), rounds)
    async with Engine.open(path, workflows=[target, *_listeners(count // 2)]) as engine:
        return await _timed(engine, min(events, waits), rounds)


async def _timed(engine: Engine, width: int, rounds: int) -> tuple[float, float]:
    wall, cpu = [], []
    for _ in range(rounds + 1):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        replies = await asyncio.gather(*(engine.post(_event(k)) for k in range(width)))
        wall.append((time.perf_counter() - begun) / width * 1e6)
        cpu.append((time.process_time() - begun_cpu) / width * 1e6)
        if any(reply.matched_total != 1 for reply in replies):
            raise RuntimeError(f"an event matched {replies[0].matched_total}, not 1")
        await engine.drain()
        await asyncio.sleep(0.01)  # the woken instances wait again
    return median(wall[1:], 1), median(cpu[1:], 1)  # in the first round what waits is loaded


def _event(k: int) -> dict[str, Any]:
    data = {"k": k, "twice": 2 * k, "name": "nobody", "n": -1}
    return {"type": "bench.ping", "data": data}


# -- triggers ----------------------------------------------------------------------------------


def _where(number: int) -> str:
    """A condition that no event of `_event` meets, of one of six shapes."""
    match number % 6:
        case 0:
            return f"data.k == `{-number - 1}`"
        case 1:
            return f"data.k == `{-number - 1}` && data.twice == `0`"
        case 2:
            return f"data.k == `{-number - 1}` || data.k == `{-number - 1_000_001}`"
        case 3:
            return f"starts_with(data.name, 'n-{number:07}-')"
        case 4:
            return f"data.n >= `{10 * number}` && data.n < `{10 * number + 10}`"
        case _:
            return f"data.name == 'm' && data.n > `{10 * number}` && data.n < `{10 * number + 10}`"


def _listeners(count: int, where: Any = _where) -> list[Definition]:
    """Workflows with that many triggers together."""

    async def listener() -> None:
        return None

    made: list[Definition] = []
    for first in range(0, count, EACH):
        triggers = tuple(
            trigger_on("bench.ping", where(number))
            for number in range(first, min(first + EACH, count))
        )
        base = definition_of(workflow(name=f"listener-{first}", on="bench.ping")(listener))
        made.append(
            dataclasses.replace(base, triggers=triggers, hash=f"{base.hash}{len(triggers)}")
        )
    return made


def _indexed(count: int, rounds: int) -> Figures:
    """Microseconds to find one trigger among so many, to ask each of so many, and to find
    a hundred that match."""
    index = TriggerIndex()
    for definition in _listeners(count):
        index.add("", definition)
    last = [number for number in range(count) if number % 6 == (3 if count > 3 else 0)][-1]
    name = f"n-{last:07}-x" if count > 3 else "x"
    data = {"k": -last - 1, "twice": 1, "name": name, "n": -1}
    event = {"type": "bench.ping", "id": "", "source": "", "data": data}
    one = _found(index, event, 10 * rounds, 1)
    for definition in _listeners(min(FAN, count), lambda number: "data.fan == `true`"):
        index.add("fan", definition)
    fan = {**event, "data": {"fan": True}}
    many = _found(index, fan, rounds, min(FAN, count), "fan")
    for definition in _listeners(count, lambda number: f"data.k != `{number}` && data.off"):
        index.add("unselective", definition)
    asked = _found(index, event, 2, 0, "unselective")
    return {
        f"index_{count}_us": one,
        f"index_{count}_fan_us_per_match": round(many / min(FAN, count), 2),
        f"index_{count}_unselective_us_per_trigger": round(asked / count, 2),
    }


def _found(
    index: TriggerIndex, event: dict[str, Any], times: int, wanted: int, namespace: str = ""
) -> float:
    took = []
    for _ in range(times + 1):
        begun = time.perf_counter()
        found = index.matching(namespace, "bench.ping", event)
        took.append((time.perf_counter() - begun) * 1e6)
        if len(found) != wanted:
            raise RuntimeError(f"{len(found)} triggers matched, not {wanted}")
    return median(took[1:], 2)
