"""What do very many waiting instances cost?

They are made through the engine's verbs. A fresh process then opens that store: how long until it
is ready, how much memory it holds. It wakes a thousand of them by events and checks what they
give.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from greenroom.runtime.benchmarks.common import Figures, in_lanes, rss_mb
from greenroom.runtime.benchmarks.workloads import waiter
from greenroom.runtime.engine import Engine

SIZES: Final = {"n": 1_000_000, "wake": 1_000}
QUICK: Final = {"n": 2_000, "wake": 100}


def measure(folder: Path, *, n: int, wake: int) -> Figures:
    path = folder / "run.db"
    begun = time.perf_counter()
    asyncio.run(_made(path, n))
    made_s = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in folder.glob("run.db*"))
    command = [sys.executable, "-m", __name__, os.fspath(path), str(n), str(wake)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    figures: Figures = msgspec.json.decode(answer)
    return {
        "made_per_s": round(n / made_s),
        "disk_bytes_each": round(size / n),
        **figures,
    }


async def _made(path: Path, n: int) -> None:
    async with Engine.open(path, workflows=[waiter]) as engine:

        async def start(number: int) -> None:
            await engine.start(waiter, {"k": number}, key=str(number))

        await in_lanes(n, 500, start)
        await engine.drain()


async def opened(path: Path, n: int, wake: int) -> Figures:
    """In the fresh process."""
    begun = time.perf_counter()
    async with Engine.open(path, workflows=[waiter]) as engine:
        ready_ms = (time.perf_counter() - begun) * 1000
        await asyncio.sleep(0.5)  # what a start leaves to do is done
        rss_ready = rss_mb()
        info = await engine.info()
        if info.instances.get("waiting") != n:
            raise RuntimeError(f"{info.instances}, not {n} waiting")
        chosen = random.Random(1).sample(range(n), min(wake, n))

        async def check(number: int) -> None:
            k = chosen[number]
            await engine.post({"type": "bench.wake", "data": {"k": k, "value": f"v{k}"}})
            result = await engine.result(f"waiter/{k}", timeout="1m")
            if result != {"k": k, "got": f"v{k}"}:
                raise RuntimeError(f"waiter/{k} gave {result!r}")

        took = await in_lanes(len(chosen), 100, check)
        return {
            "ready_ms": round(ready_ms, 1),
            "rss_mb": rss_ready,
            "rss_after_waking_mb": rss_mb(),
            "woken": len(chosen),
            "woken_per_s": round(len(chosen) / took.seconds),
            "wake_p50_ms": took.at_ms(0.50),
            "wake_p99_ms": took.at_ms(0.99),
        }


if __name__ == "__main__":
    store, total, some = sys.argv[1:]
    figures = asyncio.run(opened(Path(store), int(total), int(some)))
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
