"""A task nobody waits for outlives its instance's end, retries and crashes included."""

from __future__ import annotations

from greenroom import Task, Workflow
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
