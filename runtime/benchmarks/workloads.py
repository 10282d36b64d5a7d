"""The workflows that are measured. They do nothing, so that what is left is ours."""

from __future__ import annotations

import asyncio
import datetime
from functools import cache
from typing import Any

from greenroom.definitions.declare import workflow
from greenroom.definitions.ops import sleep_until, wait
from greenroom.definitions.programs import Workflow
from greenroom.definitions.scopes import foreach
from greenroom.definitions.steps import begin, done, step


def _step(number: int) -> Any:
    async def nothing() -> dict[str, int]:
        return {"n": number}

    nothing.__name__ = f"step_{number}"  # a step's key in the journal
    return step(f"step {number}")(nothing)


@cache
def chain(steps: int) -> Any:
    """A step list of so many steps."""
    items: Any = begin
    for number in range(steps):
        items = items >> _step(number)
    items = items >> done

    def chain() -> Any:
        return items

    return workflow(name="chain")(chain)


@step("nothing")
async def nothing() -> dict[str, int]:
    return {"n": 1}


@workflow(name="line")
async def line(steps: int) -> int:
    """The same as a program: so many ops, one after the other."""
    for _ in range(steps):
        await nothing()
    return steps


class Line(Workflow):
    """The same with `handle()`."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    async def handle(self) -> int:
        for _ in range(self.steps):
            await nothing()
        return self.steps


class PlainLine(Workflow):
    """The same without `await`."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def handle(self) -> int:
        ask: Any = nothing
        for _ in range(self.steps):
            ask()
        return self.steps


@workflow(name="waiter", on="bench.start", key="::data.k")
async def waiter(k: int) -> dict[str, Any]:
    """Waits for the event with its number."""
    event = await wait("bench.wake", where={"data.k": k})
    return {"k": k, "got": event.data["value"]}


@step("slow")
async def slow() -> None:
    await asyncio.sleep(0.5)


@workflow(name="slowly", on="bench.slow")
def slowly() -> Any:
    """Has a step in flight for a while."""
    return begin >> slow >> done


@step("see to")
async def see_to(item: int, fails: bool) -> dict[str, int]:
    if fails:
        raise ValueError(f"item {item} is no good")
    return {"seen": item}


@workflow(name="fan")
def fan() -> Any:
    """Sees to each item of a list, side by side; those that fail are passed over."""
    return begin >> foreach("items", see_to, on_error="skip") >> done


@workflow(name="loop")
async def loop(k: int) -> None:
    """Waits for its event again and again."""
    while True:
        await wait("bench.ping", where={"data.k": k}, since="now")


@workflow(name="seeker")
async def seeker(k: int) -> None:
    """The same with one of three shapes of conditions."""
    wheres = (
        {"data.k": k},
        {"data.k": k, "data.twice": 2 * k},
        f"data.k == `{k}` || data.k == `{k + 10_000_000}`",
    )
    while True:
        await wait("bench.ping", where=wheres[k % 3], since="now")


@workflow(name="sleeper")
async def sleeper(at_ms: int) -> int:
    await sleep_until(datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC))
    return at_ms
