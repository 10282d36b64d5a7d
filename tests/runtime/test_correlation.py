"""Waits that belong together, and how far they look back."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import (
    InvalidDefinition,
    InvalidInput,
    Wait,
    now,
    wait,
    wait_absent,
    wait_all,
    wait_any,
    workflow,
)
from greenroom.definitions.documents import document_from
from greenroom.definitions.programs import Workflow
from tests.runtime.kits import MemoryEngine


@workflow
async def both(order: str) -> Any:
    found = await wait_all(
        wait("paid", where={"data.order": order}), ("packed", {"data.order": order}), within="1h"
    )
    return None if found is None else [event.type for event in found]


@workflow
async def twice() -> Any:
    return [event.data["n"] for event in await wait_all("tick", "tick")]


@workflow
async def either(order: str) -> Any:
    event = await wait_any("paid", ("cancelled", {"data.order": order}), timeout="1h")
    return event and event.type


@workflow
async def silent(host: str) -> Any:
    while not await wait_absent("beat", {"data.host": host}, within="5m"):
        pass
    return (await now()).isoformat()


class Plain(Workflow):
    def handle(self) -> Any:
        first, second = wait_all("paid", "packed")
        return [first.type, second.type, wait_absent("beat", within="5m")]


@workflow
async def late(ago: Any) -> Any:
    event = await wait("news", since=ago, timeout="1s")
    return event and event.data["n"]


class Late(Workflow):
    def __init__(self, ago: Any) -> None:
        self.ago = ago

    async def handle(self) -> Any:
        event = await Wait("news", since=self.ago).seconds(1)
        return event and event.data["n"]


def late_paper(ago: Any) -> dict[str, Any]:
    """The same as a document, which says it when it is written."""
    action = {
        "type": "Core:WaitForEvent", "order": 1, "timeout": 1, "transform": {"n": "::data.n"},
        "parameters": {"event_type": "news", "since": ago},
    }  # fmt: skip
    return {"schema_version": 1, "name": "paper", "actions": [action]}


@pytest.fixture
async def kit() -> AsyncIterator[MemoryEngine]:
    async with MemoryEngine(both, twice, either, silent, Plain, late, Late) as engine:
        yield engine


async def post(kit: MemoryEngine, type: str, **data: Any) -> None:
    await kit.post({"type": type, "data": data})
    await kit.until_idle()


async def test_all_come_in_the_order_of_the_waits(kit: MemoryEngine) -> None:
    made = await kit.start(both, {"order": "7"})
    await post(kit, "packed", order="7")
    await kit.crash()
    await post(kit, "paid", order="8")
    await post(kit, "paid", order="7")
    assert await kit.result(made.id) == ["paid", "packed"]


async def test_all_of_them_within_a_time_or_nothing(kit: MemoryEngine) -> None:
    made = await kit.start(both, {"order": "7"})
    await post(kit, "packed", order="7")
    await kit.advance("1h")
    assert await kit.result(made.id) is None
    assert (await kit.get(made.id)).waits == []


async def test_an_event_counts_for_one_wait(kit: MemoryEngine) -> None:
    made = await kit.start(twice)
    await post(kit, "tick", n=1)
    assert (await kit.get(made.id)).status == "waiting"
    await post(kit, "tick", n=2)
    assert await kit.result(made.id) == [1, 2]


async def test_the_first_of_any_ends_the_wait(kit: MemoryEngine) -> None:
    made = await kit.start(either, {"order": "7"})
    await post(kit, "cancelled", order="8")
    await post(kit, "cancelled", order="7")
    assert await kit.result(made.id) == "cancelled"
    over = await kit.start(either, {"order": "7"})
    await kit.advance("1h")
    assert await kit.result(over.id) is None


async def test_absence_is_noticed_after_its_time(kit: MemoryEngine) -> None:
    made = await kit.start(silent, {"host": "a"})
    for _ in range(3):
        await kit.advance("4m")
        await post(kit, "beat", host="a")
        await post(kit, "beat", host="b")
    await kit.crash()
    await kit.advance("5m")
    assert await kit.result(made.id) == "2026-01-01T00:17:00+00:00"


async def test_a_synchronous_program_waits_for_several_too(kit: MemoryEngine) -> None:
    made = await kit.start(Plain)
    await post(kit, "packed")
    await post(kit, "paid")
    await kit.advance("5m")
    assert await kit.result(made.id) == ["paid", "packed", True]


@pytest.mark.parametrize(
    ("since", "found"), [("start", None), ("now", None), ("30m", 2), ("2h", 1), (5400, 1)]
)
async def test_a_wait_looks_back_as_far_as_it_says(
    kit: MemoryEngine, since: Any, found: Any
) -> None:
    await post(kit, "news", n=1)
    await kit.advance("1h")
    await post(kit, "news", n=2)
    await kit.advance("10m")
    kit.register(late_paper(since))
    made = await kit.start(late, {"ago": since})
    of_class = await kit.start(Late, {"ago": since})
    paper = await kit.start("paper")
    await kit.advance("1s")
    assert await kit.result(made.id) == found
    assert await kit.result(of_class.id) == found
    assert (await kit.result(paper.id)).get("n") == found


@pytest.mark.parametrize("wrong", [(), ("",), (7,), (("a", {}, 1),)])
def test_what_is_no_wait_is_named(wrong: Any) -> None:
    with pytest.raises((InvalidInput, ValueError)):
        wait_any(*wrong)


def test_since_is_a_time() -> None:
    with pytest.raises(InvalidInput):
        wait("a", since="yesterday")
    with pytest.raises(InvalidInput):
        Wait("a", since="yesterday")
    with pytest.raises(InvalidInput, match="needs an event"):
        Wait(since="2h")
    with pytest.raises(InvalidDefinition, match="is not a duration"):
        document_from(late_paper("yesterday"))
    assert wait("a", since=datetime.datetime(2026, 1, 1)).kind == "wait"


@workflow
async def one_of() -> Any:
    event = await wait("paid", where="data.by == 'card' || data.by == 'cash' || data.by == `7`")
    return event.data["by"]


@pytest.mark.parametrize("by", ["card", "cash", 7])
async def test_a_wait_for_one_of_several_values_wakes_at_each(by: Any) -> None:
    async with MemoryEngine(one_of) as kit:
        made = await kit.start(one_of)
        await kit.until_idle()
        for other in ("cheque", "7", True):
            await post(kit, "paid", by=other)
        assert (await kit.get(made.id)).status == "waiting"
        await post(kit, "paid", by=by)
        assert await kit.result(made.id) == by
