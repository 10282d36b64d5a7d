"""A task nobody waits for outlives its instance's end, retries and crashes included."""

from __future__ import annotations

import asyncio

from greenroom import Task, Workflow, continue_as_new, sleep
from greenroom.testing import TestEngine

TRIES: list[int] = []


class Flaky(Task):
    def on_error_retry_delay(self, error: Exception) -> int:
        return 5

    async def handle(self) -> str:
        TRIES.append(1)
        if len(TRIES) < 3:
            raise ConnectionError("not yet")
        return "sent"


class Leaves(Workflow):
    async def handle(self) -> str:
        await Flaky().dispatch()
        return "gone"


async def test_a_dispatched_task_is_retried_after_the_end_and_after_a_crash() -> None:
    TRIES.clear()
    async with TestEngine(Leaves) as engine:
        instance = await Leaves().dispatch()
        await engine.until_idle()
        assert await instance.result(timeout=0) == "gone"
        assert len(TRIES) == 1
        await engine.crash()
        await engine.advance("20s")
        assert len(TRIES) == 3
        kinds = [line.kind for line in (await engine.history(instance.id)).items]
        assert kinds[-1] == "StepCompleted"
        assert (await engine.get(instance.id)).status == "completed"


class Slow(Task):
    async def handle(self) -> str:
        RUNS.append("slow")
        await asyncio.sleep(0.5)
        return "sent"


RUNS: list[str] = []


class Loops(Workflow):
    def __init__(self, left: int) -> None:
        self.left = left

    async def handle(self) -> str:
        if self.left == 2:
            await Slow().dispatch()
        await sleep("1s")
        if self.left:
            continue_as_new({"left": self.left - 1})
        return "done"


async def test_what_an_earlier_generation_dispatched_is_not_lost_with_it() -> None:
    RUNS.clear()
    engine = TestEngine(Loops)
    async with engine:
        instance = await Loops(2).dispatch()
        while not RUNS:
            await asyncio.sleep(0)
        engine.clock.move_to(engine.clock.now() + 1000)  # the next generation, while it runs
        while (await engine.get(instance.id)).state != {"left": 1}:
            await asyncio.sleep(0)
        assert RUNS == ["slow"]
        await engine.crash()
        assert RUNS == ["slow", "slow"]
        await engine.advance("5s")
        assert await engine.result(instance.id, timeout=0) == "done"
        findings = await engine.doctor(deep=True)
        assert {finding.level for finding in findings} == {"ok"}
