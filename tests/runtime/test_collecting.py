"""Triggers that take several events, or wait before one counts; crashes in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import InvalidDefinition, all_of, any_of, emit, unless, workflow
from greenroom.runtime.store import StoreFull
from tests.runtime.kits import FileEngine, MemoryEngine


@workflow(on="view", key="::data.user", debounce={"quiet": "5s", "at_most": "12s"})
async def debounced(user: str, page: int) -> int:
    return page


@workflow(on="mail", throttle={"limit": 2, "per": "1m"})
async def throttled(n: int) -> int:
    return n


@workflow(
    on="row", batch={"size": 3, "within": "10s"}, transform={"rows": "::data.events[].data.n"}
)
async def batched(rows: list[int]) -> list[int]:
    return rows


@workflow(on=all_of("paid", ("packed", {"data.ok": True}), within="1h", by="::data.order"))
async def complete(events: list[Any]) -> list[str]:
    return [f"{event['type']}:{event['data'].get('n', 0)}" for event in events]


@workflow(on=unless("shipped", after="ordered", within="2d", by="::data.order"), key="::data.order")
async def forgotten(order: str) -> str:
    return f"{order} was not shipped"


@workflow(on=any_of("red", ("green", {"data.bright": True}), "red"))
async def coloured() -> str:
    return "seen"


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    workflows = [debounced, throttled, batched, complete, forgotten, coloured]
    if request.param == "memory":
        made: MemoryEngine = MemoryEngine(*workflows)
    else:
        made = FileEngine(tmp_path / "app.db", *workflows)
    async with made as engine:
        yield engine


async def post(kit: MemoryEngine, type: str, id: str | None = None, **data: Any) -> Any:
    event = {"type": type, "data": data} | ({"id": id} if id else {})
    reply = await kit.post(event)
    await kit.until_idle()
    return reply


def actions(reply: Any) -> list[tuple[str, str]]:
    return [(match.workflow, match.action) for match in reply.matched]


async def results(kit: MemoryEngine, name: str) -> list[Any]:
    await kit.until_idle()
    found = (await kit.list(f"workflow:{name}", limit=100)).items
    return [(await kit.get(one.id)).result for one in reversed(found)]


async def held(kit: MemoryEngine) -> int:
    return len(kit.router.collector.states)


HOW = pytest.mark.parametrize("how", [None, "crash", "restart_engine"])


async def between(kit: MemoryEngine, how: str | None) -> None:
    if how is not None:
        await getattr(kit, how)()
        await kit.until_idle()


@HOW
async def test_a_debounce_takes_the_last_event_once_it_is_quiet(
    kit: MemoryEngine, how: str | None
) -> None:
    for page in (1, 2):
        assert actions(await post(kit, "view", user="a", page=page)) == [("debounced", "held")]
        await kit.advance("3s")
    await post(kit, "view", user="b", page=7)
    await between(kit, how)
    assert await results(kit, "debounced") == []
    await kit.advance("2s")
    assert await results(kit, "debounced") == [2]
    await kit.advance("1m")
    assert await results(kit, "debounced") == [2, 7]
    assert await held(kit) == 0


async def test_a_debounce_puts_off_no_longer_than_it_may(kit: MemoryEngine) -> None:
    for page in range(4):
        await post(kit, "view", user="a", page=page)
        await kit.advance("4s")
    assert await results(kit, "debounced") == [2]  # at 12 s, before the fourth


@HOW
async def test_a_throttle_lets_starts_wait_for_their_turn(
    kit: MemoryEngine, how: str | None
) -> None:
    replies = [await post(kit, "mail", n=n) for n in range(5)]
    assert [actions(r)[0][1] for r in replies] == ["started", "started", "held", "held", "held"]
    await between(kit, how)
    assert await results(kit, "throttled") == [0, 1]
    await kit.advance("59s")
    assert await results(kit, "throttled") == [0, 1]
    await kit.advance("1s")
    assert sorted(await results(kit, "throttled")) == [0, 1, 2, 3]
    await between(kit, how)
    await kit.advance("2m")
    assert sorted(await results(kit, "throttled")) == [0, 1, 2, 3, 4]
    assert await held(kit) == 0


@HOW
async def test_a_batch_starts_when_it_is_full_or_its_time_is_over(
    kit: MemoryEngine, how: str | None
) -> None:
    for n in range(5):
        await post(kit, "row", n=n)
    assert await results(kit, "batched") == [[0, 1, 2]]
    await between(kit, how)
    await kit.advance("10s")
    assert await results(kit, "batched") == [[0, 1, 2], [3, 4]]
    assert await held(kit) == 0


@HOW
async def test_all_of_starts_when_each_has_come_for_one_key(
    kit: MemoryEngine, how: str | None
) -> None:
    await post(kit, "packed", order="1", ok=True, n=1)
    await post(kit, "packed", order="2", ok=False, n=2)
    await post(kit, "paid", order="2", n=3)
    await between(kit, how)
    await post(kit, "packed", order="1", ok=True, n=4)
    assert await results(kit, "complete") == []
    assert actions(await post(kit, "paid", order="1", n=5)) == [("complete", "held")]
    assert await results(kit, "complete") == [["paid:5", "packed:4"]]
    await kit.advance("2h")
    assert await held(kit) == 0


async def test_all_of_slides_over_its_window(kit: MemoryEngine) -> None:
    await post(kit, "paid", order="1", n=1)
    await kit.advance("61m")
    await post(kit, "packed", order="1", ok=True, n=2)
    assert await results(kit, "complete") == []
    await kit.advance("30m")
    await post(kit, "paid", order="1", n=3)
    assert await results(kit, "complete") == [["paid:3", "packed:2"]]


@HOW
async def test_unless_starts_when_the_other_event_does_not_come(
    kit: MemoryEngine, how: str | None
) -> None:
    await post(kit, "ordered", order="1")
    await post(kit, "ordered", order="2")
    await between(kit, how)
    await kit.advance("1d")
    await post(kit, "shipped", order="2")
    await kit.advance("1d")
    assert await results(kit, "forgotten") == ["1 was not shipped"]
    assert (await kit.get("forgotten/1")).status == "completed"
    assert await held(kit) == 0


async def test_any_of_starts_once_for_an_event(kit: MemoryEngine) -> None:
    assert actions(await post(kit, "red")) == [("coloured", "started")]
    assert actions(await post(kit, "green")) == []
    assert actions(await post(kit, "green", bright=True)) == [("coloured", "started")]


async def test_a_repeated_event_is_collected_once(kit: MemoryEngine) -> None:
    for _ in range(3):
        again = await post(kit, "row", "e-1", n=1)
    assert again.duplicate
    assert actions(again) == [("batched", "held")]
    await kit.advance("10s")
    assert await results(kit, "batched") == [[1]]


@workflow(on="echo", batch=1)
async def echoes(events: Any) -> None:
    await emit("echo", {"n": events[0]["data"]["n"] + 1})


async def test_a_workflow_that_collects_what_it_emits_is_stopped() -> None:
    async with MemoryEngine(echoes) as kit:
        await post(kit, "echo", n=0)
        found = (await kit.list("workflow:echoes", limit=100)).items
        assert len(found) == 33
        assert await held(kit) == 0


async def test_what_is_held_is_shown(kit: MemoryEngine) -> None:
    await post(kit, "row", n=1)
    await post(kit, "view", user="a", page=1)
    found = await kit.events.held()
    assert [(one.workflow, one.key, one.kind, len(one.events)) for one in found] == [
        ("debounced", "a", "debounce", 1), ("batched", None, "batch", 1),
    ]  # fmt: skip
    assert found[0].due == "2026-01-01T00:00:05.000Z"
    assert len(await kit.events.held("batched")) == 1
    assert await kit.events.held("throttled") == []


@pytest.mark.parametrize("stored", [False, True])
async def test_a_crash_while_a_batch_starts_loses_and_doubles_nothing(stored: bool) -> None:
    async with MemoryEngine(batched) as kit:
        for n in range(2):
            await post(kit, "row", n=n)
        kit.store.crash_next(stored=stored)
        kit.clock.move_to(kit.clock.now() + 10_000)
        while kit.journal.state != "died":
            await asyncio.sleep(0)
        await kit.crash()
        await kit.until_idle()
        await kit.advance("1m")
        assert await results(kit, "batched") == [[0, 1]]
        assert await held(kit) == 0


async def test_what_was_collected_for_a_workflow_that_is_gone_is_dropped(
    kit: MemoryEngine,
) -> None:
    await post(kit, "row", n=1)
    kit.change_code(coloured)
    await kit.restart_engine()
    await kit.advance("1m")
    assert await held(kit) == 0


def listed(**options: Any) -> None:
    async def run() -> None: ...

    workflow(**options)(run)


@pytest.mark.parametrize(
    "options",
    [
        {"debounce": "5s"},
        {"on": "a", "debounce": "soon"},
        {"on": "a", "debounce": 0},
        {"on": "a", "debounce": "5s", "batch": 3},
        {"on": "a", "batch": 0},
        {"on": "a", "batch": {"size": 3, "withn": "5s"}},
        {"on": "a", "throttle": {"limit": True, "per": "1s"}},
        {"on": "a", "throttle": {"limit": 3}},
        {"on": ["a", 7]},
        {"on": []},
        {"on": any_of(("a", "data.x")), "where": "data.y"},
    ],
)
def test_what_cannot_be_collected_is_refused(options: Any) -> None:
    with pytest.raises(InvalidDefinition):
        listed(**options)


def test_parts_are_checked() -> None:
    with pytest.raises(InvalidDefinition):
        all_of("a", within="1h")
    with pytest.raises(InvalidDefinition):
        any_of()
    with pytest.raises(InvalidDefinition):
        listed(on=any_of(""))


@workflow(schedule={"cron": "* * * * *", "catch_up": "all"})
async def each_minute() -> None: ...


@pytest.mark.parametrize("faults", [1, 2, 3, 200])
async def test_on_a_full_disk_what_is_due_waits_for_room(faults: int) -> None:
    async with MemoryEngine(batched, throttled, each_minute) as kit:
        for n in range(4):
            await post(kit, "row", n=n)
            await post(kit, "mail", n=n)
        await kit.advance("9s")
        for _ in range(faults):
            kit.store.fail_next(StoreFull("full"))
        await kit.advance("55s")
        kit.store._planned.clear()
        await kit.advance("5s")
        assert await results(kit, "batched") == [[0, 1, 2], [3]]
        await kit.advance("2m")
        assert sorted(await results(kit, "throttled")) == [0, 1, 2, 3]
        assert await held(kit) == 0
        assert len(await results(kit, "each_minute")) == 3


async def test_an_event_that_was_collected_says_what_it_has_come_to(kit: MemoryEngine) -> None:
    async def said(id: str) -> str:
        text = str((await kit.events.explain(id)).text)
        return text.replace("\n", " ")

    await post(kit, "row", "r-1", n=1)
    first = await said("r-1")
    assert "collected" in first and "matched nothing" not in first
    assert "batch: collected into a batch · held until 2026-01-01T00:00:10.000Z" in first
    await post(kit, "row", "r-2", n=2)
    assert "held until 2026-01-01T00:00:10.000Z, with 1 other" in await said("r-2")
    await kit.advance("10s")
    (made,) = (await kit.list("workflow:batched")).items
    for id in ("r-1", "r-2"):
        assert f"· started {made.id}, with 1 other" in await said(id)
    await post(kit, "view", "v-1", user="a", page=1)
    await post(kit, "view", "v-2", user="a", page=2)
    await kit.advance("1m")
    assert "held until it is quiet" in await said("v-1")
    assert "started" not in await said("v-1")  # another came after it
    assert "· started " in await said("v-2")
    await post(kit, "ordered", "o-1", order="7")
    await post(kit, "shipped", "s-1", order="7")
    assert "it came, so what waited for it starts nothing" in await said("s-1")
