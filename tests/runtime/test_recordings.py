"""Recorded instances on another version: the gate of a promotion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import (
    ConditionFailed,
    Event,
    InvalidRequest,
    NotFound,
    Wait,
    Workflow,
    ask_step,
    begin,
    conditional,
    done,
    foreach,
    retrystep,
    step,
    workflow,
)
from tests.runtime.kits import MemoryEngine

RUNS: list[str] = []
BROKEN: set[str] = set()


@step("charge")
async def charge(total: int) -> dict[str, Any]:
    RUNS.append("charge")
    if "charge" in BROKEN:
        raise ValueError("declined")
    return {"charged": total}


@retrystep("ship", delay="1m", jitter=0)
async def ship() -> dict[str, Any]:
    RUNS.append("ship")
    if len(RUNS) % 2:
        raise OSError("no van")
    return {"shipped": True}


@step("thank")
async def thank() -> dict[str, Any]:
    return {"thanked": True}


@step("pack")
async def pack(item: str) -> dict[str, Any]:
    return {"packed": item.upper()}


ASK = ask_step("Go on?", key="ask", due="1d")


def rich(state: dict[str, Any]) -> bool:
    return bool(state["total"] > 10)


def richer(state: dict[str, Any]) -> bool:
    return bool(state["total"] > 100)


RICH, RICHER = conditional(rich), conditional(richer)


def order(*steps: Any) -> Any:
    def line() -> Any:
        found = begin
        for item in steps:
            found = found >> item
        return found >> done

    return workflow(name="order")(line)


def visit(kind: str) -> Any:
    class Visit(Workflow):
        def __init__(self, total: int) -> None:
            self.total = total

        async def handle(self) -> Any:
            event = await Wait("go").execute()
            self.last = event.data if event else None
            if kind == "longer":
                await thank()
            await charge(total=self.total)
            return self.total + (1 if kind == "more" else 0)

        async def on_event(self, event: Event) -> None:
            self.seen = event.name

    return Visit


FIRST = [order(ASK, charge, RICH(ship)), visit("plain")]


@pytest.fixture
async def kit() -> AsyncIterator[MemoryEngine]:
    RUNS.clear()
    BROKEN.clear()
    async with MemoryEngine(*FIRST) as engine:
        yield engine


async def change(kit: MemoryEngine, *workflows: Any) -> None:
    names = {w.__greenroom__.name if hasattr(w, "__greenroom__") else w.__name__ for w in workflows}
    first = [w for w, name in zip(FIRST, ("order", "Visit"), strict=True)
             if name not in names]  # fmt: skip
    kit.change_code(*workflows, *first)
    await kit.restart_engine()


async def orders(kit: MemoryEngine, *totals: int) -> list[str]:
    made = []
    for total in totals:
        id = str((await kit.start("order", {"total": total})).id)
        await kit.answer(id, {"approved": True})
        await kit.advance("2m")
        made.append(id)
    return made


async def test_the_gate_counts_who_ends_the_same_and_says_who_does_not(kit: MemoryEngine) -> None:
    small, large = await orders(kit, 5, 50)
    await change(kit, order(ASK, charge, RICHER(ship)))
    await kit.definitions.rollback("order")
    runs, head = list(RUNS), (await kit.info()).head
    found = await kit.definitions.check("order")
    assert (found.version, found.checked, found.same, found.other, found.fails) == (2, 2, 1, 1, 0)
    (one,) = found.strayed
    assert one.instance == large and "went on with ship" in one.text
    with pytest.raises(ConditionFailed, match="1 of 2 recorded instances"):
        await kit.definitions.promote("order", check=True)
    assert (await kit.definitions.get("order")).version == 1
    assert (await kit.definitions.promote("order", check=True, allow=0.5)).release
    assert (RUNS, (await kit.info()).head) == (runs, head)
    assert small != large


async def test_an_inserted_step_is_where_they_go_another_way(kit: MemoryEngine) -> None:
    await orders(kit, 5)
    await change(kit, order(ASK, thank, charge, RICH(ship)))
    (one,) = (await kit.definitions.check("order", 2)).strayed
    assert (one.verdict, one.op) == ("other", "thank")
    assert "asks for thank call thank()" in one.text
    assert (await kit.definitions.check("order", 1)).same == 1


async def test_failures_retries_deadlines_and_edits_are_followed(kit: MemoryEngine) -> None:
    BROKEN.add("charge")
    (failed,) = await orders(kit, 5)
    BROKEN.clear()
    (edited,) = [str((await kit.start("order", {"total": 5})).id)]
    await kit.edit(edited, {"total": 50})
    await kit.advance("2d")  # the deadline of the question, then the retries
    resumed = str((await kit.start("order", {"total": 5})).id)
    BROKEN.add("charge")
    await kit.answer(resumed, {"approved": True})
    await kit.quiet()
    BROKEN.clear()
    await kit.resume(resumed)
    await kit.until_idle()
    waiting = str((await kit.start("order", {"total": 5})).id)
    statuses = [(await kit.get(id)).status for id in (failed, edited, resumed, waiting)]
    assert statuses == ["failed", "completed", "completed", "waiting"]
    assert (await kit.get(edited)).state["shipped"] is True
    found = await kit.definitions.check("order")
    assert (found.checked, found.same) == (4, 4), found.strayed


async def test_lanes_are_followed_with_what_each_gave(kit: MemoryEngine) -> None:
    each = foreach("items", begin >> pack, into="results", merge="list")
    await change(kit, order(each))
    handle = await kit.start("order", {"items": ["a", "b"]})
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "completed"
    found = await kit.definitions.check("order", 2)
    assert (found.checked, found.same) == (1, 1), found.strayed


async def test_programs_are_followed_too(kit: MemoryEngine) -> None:
    for total in (5, 6):
        handle = await kit.start("Visit", {"total": total})
        await kit.send(handle.id, Event(type="go", data={"n": 1}))
        await kit.until_idle()
        assert (await kit.get(handle.id)).result == total
    assert (await kit.definitions.check("Visit")).same == 2
    await change(kit, visit("more"))
    found = await kit.definitions.check("Visit")
    assert found.other == 2 and "another result" in found.strayed[0].text
    await change(kit, visit("longer"))
    found = await kit.definitions.check("Visit")
    assert found.other == 2 and "thank" in found.strayed[0].text


async def test_what_cannot_be_asked_is_refused(kit: MemoryEngine) -> None:
    await orders(kit, 5)
    with pytest.raises(NotFound):
        await kit.definitions.check("ordr")
    with pytest.raises(NotFound):
        await kit.definitions.check("order", 9)
    for bad in (0, 10_001):
        with pytest.raises(InvalidRequest):
            await kit.definitions.check("order", limit=bad)
    with pytest.raises(InvalidRequest, match="share"):
        await kit.definitions.promote("order", check=True, allow=5)
