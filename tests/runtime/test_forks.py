"""A new instance from what another recorded."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom import InvalidRequest, begin, done, step, workflow
from greenroom.testing import TestEngine

RAN: list[str] = []


@step
async def first() -> dict[str, Any]:
    RAN.append("first")
    return {"first": True}


@step
async def second(first: bool) -> dict[str, Any]:
    RAN.append("second")
    return {"second": first}


@workflow
def line() -> Any:
    return begin >> first >> second >> done


@workflow
async def program(n: int) -> Any:
    await first()
    return await second(first=n > 1)


async def test_a_restart_from_an_op_runs_that_op_and_what_follows_it() -> None:
    async with TestEngine(line, program) as engine:
        for made, op in (
            (await engine.start(line), "second"),
            (await engine.start(program, {"n": 2}), "2"),
        ):
            await made.result(timeout=5)
            RAN.clear()
            forked = await engine.restart(made.id, from_op=op)
            assert forked.forked_from == made.id
            assert await engine.result(forked.instance, timeout=5) == await made.result(timeout=5)
            assert RAN == ["second"]


async def test_a_fork_edits_the_state_of_a_line_and_not_that_of_a_program() -> None:
    async with TestEngine(line, program) as engine:
        made = await engine.start(line)
        await made.result(timeout=5)
        forked = await engine.fork(made.id, from_op="second", state={"first": False})
        assert await engine.result(forked.instance, timeout=5) == {"first": False, "second": False}
        other = await engine.start(program, {"n": 1})
        await other.result(timeout=5)
        with pytest.raises(InvalidRequest):
            await engine.fork(other.id, from_op="2", state={"n": 5})
