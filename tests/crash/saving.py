"""Run by test_saving.py as a process of its own: an instance whose every step saves a resource."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from greenroom import Engine, Resource, begin, done, retrystep, step, workflow


class Counter(Resource, product="crash counter"):
    n: int = 0


@step("Make")
def make(counter: Counter) -> dict[str, Any]:
    return {"counter": counter}


@retrystep("Count", delay="0s", jitter=0)
async def count(counter: Counter) -> dict[str, Any]:
    counter.n += 1
    return {"counter": counter}


@workflow
def counting() -> Any:
    return begin >> make >> count >> count >> count >> done


async def main(path: str) -> dict[str, Any]:
    new = {"product": "crash counter", "customer_id": "c"}
    async with Engine.open(path, workflows=[counting]) as engine:
        instance = await engine.start("counting", new, key="one", request_id="one")
        result: dict[str, Any] = await instance.result(timeout=30)
        return result


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
