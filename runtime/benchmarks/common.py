"""What the benchmarks share: counting time, memory and versions, and running many at once."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import resource
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.runtime.schema import PRAGMAS

Figures = dict[str, Any]
"""One benchmark's answer: JSON, flat."""

_PACKAGES: Final = ("greenroom", "aiosqlite", "msgspec", "uvloop")


class Took(msgspec.Struct):
    """What a measured stretch cost. `times_s` are those of its single pieces."""

    seconds: float
    cpu_s: float
    times_s: list[float]

    def at_ms(self, part: float) -> float:
        """The time below which this part of the pieces lies."""
        return percentile_ms(self.times_s, part)


def percentile_ms(times_s: Iterable[float], part: float) -> float:
    ordered = sorted(times_s)
    if not ordered:
        return 0.0
    return round(ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000, 3)


def median(values: Iterable[float], digits: int = 3) -> float:
    return round(statistics.median(values), digits)


async def in_lanes(total: int, width: int, work: Callable[[int], Awaitable[Any]]) -> Took:
    """Runs `work(n)` for each n below `total`, `width` at a time, and times each."""
    numbers = iter(range(total))
    times: list[float] = []

    async def lane() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await work(number)
            times.append(time.perf_counter() - begun)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(lane() for _ in range(min(width, total))))
    return Took(max(time.perf_counter() - begun, 1e-9), time.process_time() - cpu, times)


def rss_mb(pid: int | str = "self") -> float:
    """Memory of a process as the kernel counts it now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def durability() -> str:
    """The settings of the store that decide what a commit is worth."""
    settings = {name: str(value) for name, value in PRAGMAS}
    word = ("OFF", "NORMAL", "FULL", "EXTRA")[int(settings["synchronous"])]
    return f"synchronous={word}, journal_mode={settings['journal_mode'].upper()}"


def surroundings() -> Figures:
    """Where and with what something was measured."""
    versions = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "durability": durability(),
        "versions": versions,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
