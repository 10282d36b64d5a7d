"""`greenroom bench`: what this machine carries out, durably, in a second."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session

Data = dict[str, Any]


@command(
    "bench", example="greenroom bench --instances 1000 --steps 10\ngreenroom bench --data /mnt/disk"
)
@click.option("--instances", type=click.IntRange(1), default=500, show_default=True)
@click.option("--steps", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--concurrency", type=click.IntRange(1), default=100, show_default=True)
@click.option("--events", type=click.IntRange(0), default=5_000, show_default=True)
def bench(session: Session, instances: int, steps: int, concurrency: int, events: int) -> None:
    """Measure durable steps and events a second, in this process.

    The store is a temporary one, made in --data if given: what is measured is that disk.
    """
    if session.format == "table":
        output.note(f"{instances:,} instances of {steps} steps, {concurrency} at a time ...")
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-", dir=session.data) as folder:
        figures = asyncio.run(_measure(Path(folder), instances, steps, concurrency, events))
    session.show(figures, lambda: _said(figures))


async def _measure(folder: Path, instances: int, steps: int, concurrency: int, events: int) -> Data:
    from greenroom.runtime.cli.bench_app import chain  # noqa: PLC0415  start-up time
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  start-up time

    async with Engine.open(folder / "data", workflows=[chain(steps)]) as engine:
        waits = await _in_parallel(instances, concurrency, lambda n: _one(engine))
        posts = await _in_parallel(events, concurrency, lambda n: _post(engine, n))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}",
        "instances": instances,
        "steps": steps,
        "concurrency": concurrency,
        "steps_per_s": round(instances * steps / waits["seconds"]),
        "instances_per_s": round(instances / waits["seconds"]),
        "instance_ms_p50": waits["p50_ms"],
        "instance_ms_p99": waits["p99_ms"],
        "events_per_s": round(events / posts["seconds"]) if events else None,
        "event_ms_p50": posts["p50_ms"],
        "event_ms_p99": posts["p99_ms"],
    }


async def _one(engine: Any) -> None:
    instance = await engine.start("bench", {})
    await instance.result()


async def _post(engine: Any, number: int) -> None:
    await engine.post({"type": "bench.nobody", "data": {"n": number}})


async def _in_parallel(total: int, width: int, work: Any) -> Data:
    """Runs `work(n)` for each n, `width` at a time, and times each."""
    numbers = iter(range(total))
    took: list[float] = []

    async def lane() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await work(number)
            took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(min(width, total))))
    seconds = time.perf_counter() - begun
    took.sort()
    return {"seconds": max(seconds, 1e-9), "p50_ms": _at(took, 0.50), "p99_ms": _at(took, 0.99)}


def _at(sorted_s: list[float], part: float) -> float | None:
    if not sorted_s:
        return None
    return round(sorted_s[min(int(len(sorted_s) * part), len(sorted_s) - 1)] * 1000, 3)


def _said(one: Data) -> str:
    lines = [
        one["machine"],
        f"steps      {one['steps_per_s']:>9,} /s",
        f"instances  {one['instances_per_s']:>9,} /s   {_times(one, 'instance')}",
    ]
    if one["events_per_s"] is not None:
        lines.append(f"events     {one['events_per_s']:>9,} /s   {_times(one, 'event')}")
    return "\n".join(lines)


def _times(one: Data, what: str) -> str:
    return f"p50 {one[f'{what}_ms_p50']} ms, p99 {one[f'{what}_ms_p99']} ms"


COMMANDS: Final = {"bench": bench}
