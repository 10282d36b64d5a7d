"""In a test every program is run twice and compared (Z3): what a replay would find otherwise fails
there, with both sides, and not after the first crash."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from greenroom import CodeChanged, InstanceFailed, Workflow, emit, sleep, step, workflow
from greenroom.testing import TestEngine

COUNTER = itertools.count()


@step("Echo")
async def echo(n: int) -> int:
    return n


@workflow
async def other_arguments() -> None:
    await echo(next(COUNTER))
    await sleep("1h")


@workflow
async def another_op() -> None:
    if next(COUNTER) % 2:
        await emit("odd")
    await sleep("1h")


@workflow
async def another_result() -> int:
    return next(COUNTER)


class AnotherState(Workflow):
    async def handle(self) -> None:
        self.n = next(COUNTER)
        await sleep("1h")


@workflow
async def steady(n: int) -> list[int]:
    found = [await echo(number) for number in range(n)]
    await sleep("1h")
    return found


async def settled(engine: TestEngine) -> BaseException | None:
    try:
        await engine.until_idle()
    except CodeChanged as error:
        return error
    return None


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        (other_arguments, "other arguments"),
        (another_op, "another op"),
        (another_result, "another result"),
        (AnotherState, "another state"),
    ],
)
async def test_z3_a_program_that_does_not_do_the_same_again_is_told_with_both_sides(
    subject: Any, why: str
) -> None:
    async with TestEngine(subject) as engine:
        await engine.start(subject)
        error = await settled(engine)
        assert isinstance(error, CodeChanged)
        assert why in error.message
        assert "first: " in error.message
        assert error.details["journal"] != error.details["code"]


async def test_z3_the_instance_fails_as_code_changed() -> None:
    async with TestEngine(AnotherState) as engine:
        handle = await engine.start(AnotherState)
        await settled(engine)
        with pytest.raises(InstanceFailed) as failed:
            await handle.result()
        assert failed.value.details["error"]["code"] == "code_changed"


async def test_z3_the_end_of_the_test_raises_too() -> None:
    with pytest.raises(CodeChanged, match="not deterministic"):
        async with TestEngine(another_result) as engine:
            handle = await engine.start(another_result)
            await handle.result()


@pytest.mark.parametrize("subject", [other_arguments, another_op, another_result, AnotherState])
async def test_the_check_can_be_turned_off(subject: Any) -> None:
    async with TestEngine(subject, check_replay=False) as engine:
        await engine.start(subject)
        assert await settled(engine) is None


Act = Callable[[TestEngine, str], Awaitable[Any]]


@pytest.mark.parametrize("n", [0, 3, 130])
async def test_a_steady_program_passes_with_pauses_crashes_and_long_histories(n: int) -> None:
    async with TestEngine(steady) as engine:
        handle = await engine.start(steady, {"n": n})
        await engine.until_idle()
        await engine.pause(handle.id)
        await engine.crash()
        await engine.resume(handle.id)
        await engine.advance("2h")
        assert await engine.result(handle.id) == list(range(n))


async def test_a_cancelled_program_is_not_compared() -> None:
    async with TestEngine(steady) as engine:
        handle = await engine.start(steady, {"n": 1})
        await engine.until_idle()
        await engine.cancel(handle.id)
        await engine.until_idle()
        assert (await engine.get(handle.id)).status == "cancelled"
