"""Looking: get, list, history, state_at, watch, tail, why, explain, info, doctor.

For each sentence: change one fact in the store and see the sentence change.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from greenroom import (
    Event,
    GreenroomError,
    InvalidRequest,
    NotFound,
    Workflow,
    approval,
    ask_step,
    begin,
    child,
    conditional,
    done,
    emit,
    gather,
    retrystep,
    sleep,
    step,
    wait,
    workflow,
)
from greenroom.runtime.engine import Engine
from greenroom.runtime.views import KINDS
from tests.runtime.kits import FileEngine, MemoryEngine

BROKEN: set[str] = set()


@step("Count")
async def count(n: int = 0) -> dict[str, Any]:
    return {"n": n + 1}


@step("Break")
async def breaks() -> dict[str, Any]:
    if "breaks" in BROKEN:
        raise ValueError("the reason")
    return {}


@retrystep("Flaky", delay="10m", jitter=0)
async def flaky() -> dict[str, Any]:
    if "flaky" in BROKEN:
        raise OSError("not now")
    return {}


@workflow(key="::data.id", attributes={"customer": "::customer"})
def counts() -> Any:
    return (
        begin
        >> count
        >> conditional(lambda s: s["n"] > 5)(breaks)
        >> ask_step("Sure?", key="sure", assignee="noc", due="1h")
        >> count
        >> done
    )


@workflow
def broken() -> Any:
    return begin >> count >> breaks >> done


@workflow
async def retries() -> None:
    await flaky()


@workflow
async def sleeps() -> None:
    await sleep("1h")


@workflow(on="order", where="data.total > `10`")
async def waits(id: str, total: int = 0) -> Any:
    event = await wait("paid", where={"data.id": id}, timeout="1h")
    return event and event.data


@workflow
async def everything() -> Any:
    await count(n=1)
    await emit("said", {"n": 1})
    await gather(child("leaf", {}), sleep("1s"))
    await approval("Sure?")
    await wait("go", timeout="1h")
    return "done"


@workflow
async def leaf() -> int:
    return 7


@workflow
class Keeps(Workflow):
    def __init__(self, a: int = 0) -> None:
        self.a = a

    async def handle(self) -> None:
        self.a += 1
        await sleep("1s")
        self.b = [self.a]
        await sleep("1s")
        del self.b
        await wait("end")


WORKFLOWS = [counts, broken, retries, sleeps, waits, everything, leaf, Keeps]


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    BROKEN.clear()
    BROKEN.update(("breaks", "flaky"))
    if request.param == "memory":
        made = MemoryEngine(*WORKFLOWS)
    else:
        made = FileEngine(tmp_path / "app.db", *WORKFLOWS)
    async with made as engine:
        yield engine


async def ids(kit: MemoryEngine, q: str) -> set[str]:
    return {item.id for item in (await kit.list(q)).items}


# -- lists -------------------------------------------------------------------------------------------


async def test_filters_find_what_they_say(kit: MemoryEngine) -> None:
    a = (await kit.start("counts", {"id": "a", "customer": "anna"})).id
    b = (await kit.start("broken", {})).id
    await kit.advance("1h")
    c = (await kit.start("sleeps", {}, key="c")).id
    await kit.quiet()
    await kit.pause(c)
    assert await ids(kit, "") == {a, b, c}
    for q, found in {
        "status:failed": {b},
        "status:paused": {c},
        "-status:paused": {a, b},
        "workflow:counts": {a},
        "workflow:counts status:failed": set(),
        "key:c": {c},
        "age>30m": {a, b},
        "age<30m": {c},
        "customer:anna": {a},
        "customer:otto": set(),
        "step:breaks": {b},
    }.items():
        assert await ids(kit, q) == found, q
    with pytest.raises(GreenroomError):
        await kit.list("statuz:failed")


async def test_lists_come_in_pages(kit: MemoryEngine) -> None:
    made = [(await kit.start("sleeps", {})).id for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await kit.list("", limit=3, cursor=cursor)
        seen += [item.id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    for bad in ("x", "1", "1.x", ""):
        with pytest.raises(InvalidRequest):
            await kit.list("", cursor=bad)


# -- histories ---------------------------------------------------------------------------------------


async def test_a_history_tells_everything_in_order(kit: MemoryEngine) -> None:
    handle = await kit.start("everything", {})
    await kit.quiet()
    await kit.pause(handle.id)
    await kit.resume(handle.id)
    await kit.advance("1s")
    (ask,) = (await kit.asks.list()).items
    await kit.answer(ask.id, {"approved": True})
    await kit.post(Event(type="go"))
    await kit.until_idle()
    items = (await kit.history(handle.id)).items
    kinds = [item.kind for item in items]
    assert set(kinds) <= set(KINDS)
    for kind in (
        "InstanceStarted", "StepStarted", "StepCompleted", "EventEmitted", "ChildStarted",
        "InstancePaused", "InstanceResumed", "TimerFired", "AskOpened", "AskAnswered",
        "WaitOpened", "EventReceived", "InstanceCompleted",
    ):  # fmt: skip
        assert kind in kinds, kind
    assert [item.seq for item in items] == sorted(item.seq for item in items)
    assert "ChildEnded" in kinds


async def test_a_history_comes_in_pages(kit: MemoryEngine) -> None:
    handle = await kit.start("counts", {"id": "a"})
    await kit.quiet()
    whole = (await kit.history(handle.id)).items
    pieces: list[Any] = []
    after = 0
    while True:
        page = await kit.history(handle.id, after=after, limit=1)
        pieces += page.items
        if page.cursor is None:
            break
        after = int(page.cursor)
    assert pieces == whole


async def test_the_history_of_one_value(kit: MemoryEngine) -> None:
    handle = await kit.start("counts", {"id": "a", "n": 1})
    await kit.quiet()
    await kit.answer(f"{handle.id}.sure", {"approved": True})
    await kit.until_idle()
    items = (await kit.history(handle.id, path="n")).items
    assert [item.data["value"] for item in items] == [1, 2, 3]


async def test_the_state_at_each_entry(kit: MemoryEngine) -> None:
    handle = await kit.start("Keeps", {"a": 1})
    await kit.advance("1s")
    await kit.advance("1s")
    states = [(await kit.state_at(handle.id, seq=n)).state for n in (1, 2, 3)]
    assert states == [{"a": 2}, {"a": 2, "b": [2]}, {"a": 2}]
    assert (await kit.state_at(handle.id, seq=99)).seq == 3
    with pytest.raises(InvalidRequest):
        await kit.state_at(handle.id, seq=0)


# -- following ---------------------------------------------------------------------------------------


async def test_watching_gives_the_past_then_the_rest_and_ends(kit: MemoryEngine) -> None:
    handle = await kit.start("counts", {"id": "a"})
    await kit.quiet()

    async def follow(after: int) -> list[Any]:
        return [entry async for entry in kit.watch(handle.id, after=after)]

    both = asyncio.gather(follow(0), follow(2))
    await kit.quiet()
    await kit.answer(f"{handle.id}.sure", {"approved": True})
    await kit.until_idle()
    async with asyncio.timeout(5):
        everything_, rest = await both
    assert everything_ == (await kit.history(handle.id)).items
    assert rest == [entry for entry in everything_ if entry.seq > 2]
    assert everything_[-1].kind == "InstanceCompleted"
    async with asyncio.timeout(5):
        assert await follow(0) == everything_


async def test_watching_many_gives_what_the_filter_lets_through(kit: MemoryEngine) -> None:
    found: list[Any] = []

    async def follow() -> None:
        async for entry in kit.watch(q="workflow:broken"):
            found.append(entry)

    watching = len(kit.directory.watchers)
    task = asyncio.ensure_future(follow())
    await kit.quiet()
    await kit.start("sleeps", {})
    handle = await kit.start("broken", {})
    await kit.quiet()
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {entry.data["instance"] for entry in found} == {handle.id}
    assert found[0].kind == "InstanceStarted"
    assert found[-1].kind == "InstanceFailed"
    assert len(kit.directory.watchers) == watching


async def test_tailing_gives_events_as_they_are_accepted(kit: MemoryEngine) -> None:
    await kit.post(Event(type="a", data=0))
    found: list[Any] = []

    async def follow(**options: Any) -> None:
        async for event in kit.tail(**options):
            found.append((options.get("type"), event.data))

    tasks = [asyncio.ensure_future(follow()), asyncio.ensure_future(follow(type="a", after=0))]
    await kit.quiet()
    for _ in range(20):
        await asyncio.sleep(0)
    await kit.post(Event(type="a", data=1))
    await kit.post(Event(type="b", data=2))
    await kit.quiet()
    for _ in range(100):
        await asyncio.sleep(0.0005)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(found, key=str) == sorted([(None, 1), (None, 2), ("a", 0), ("a", 1)], key=str)


async def test_tailing_begins_where_it_is_told_to(kit: MemoryEngine) -> None:
    for n in range(8):
        await kit.post(Event(type="a" if n % 2 else "b", data=n))
        await kit.advance("1h")

    async def first(**options: Any) -> Any:
        async with aclosing(kit.tail(**options)) as events:
            return (await anext(events)).data

    assert [await first(since=f"{hours}h") for hours in (2, 2.5, 8, 900)] == [6, 6, 0, 0]
    assert await first(since="2h", type="a") == 7
    assert await first(since="2026-01-01T05:00:00Z") == 5
    waiting = asyncio.ensure_future(first(since=0))
    await kit.quiet()
    await kit.post(Event(type="a", data="new"))
    assert await waiting == "new"
    with pytest.raises(InvalidRequest, match="a place, or since"):
        await first(since="2h", after=0)
    with pytest.raises(InvalidRequest, match="a moment or a duration ago"):
        await first(since="soon")


# -- why ---------------------------------------------------------------------------------------------


async def text(kit: MemoryEngine, id: str) -> str:
    return str((await kit.why(id)).text)


async def test_why_a_retry_waits(kit: MemoryEngine) -> None:
    handle = await kit.start("retries", {})
    await kit.until_idle()
    said = await text(kit, handle.id)
    assert "Flaky" in said
    assert "not now" in said
    assert "due in 10 min" in said
    await kit.advance("4m")
    assert "due in 6 min" in await text(kit, handle.id)
    await kit.advance("6m")
    assert "failed 2 times" in await text(kit, handle.id)
    BROKEN.clear()
    await kit.resume(handle.id)
    await kit.until_idle()
    said = await text(kit, handle.id)
    assert "completed" in said
    assert "Flaky" not in said


async def test_why_a_failure(kit: MemoryEngine) -> None:
    handle = await kit.start("broken", {})
    await kit.until_idle()
    said = await text(kit, handle.id)
    assert "ValueError: the reason" in said
    assert "breaks" in said
    BROKEN.clear()
    await kit.resume(handle.id)
    await kit.until_idle()
    assert "the reason" not in await text(kit, handle.id)


async def test_why_a_pause(kit: MemoryEngine) -> None:
    handle = await kit.start("sleeps", {})
    assert "it sleeps" in await text(kit, handle.id)
    await kit.pause(handle.id, reason="audit")
    said = await text(kit, handle.id)
    assert "it was paused: audit" in said
    await kit.resume(handle.id)
    assert "paused" not in await text(kit, handle.id)


async def test_why_a_question(kit: MemoryEngine) -> None:
    handle = await kit.start("counts", {"id": "a"})
    await kit.until_idle()
    said = await text(kit, handle.id)
    assert f"{handle.id}.sure" in said
    assert "somebody must answer" in said
    await kit.pause(handle.id)
    await kit.answer(f"{handle.id}.sure", {"approved": True})
    said = await text(kit, handle.id)
    assert f"{handle.id}.sure" not in said
    assert "1 outcomes are recorded" in said


async def test_why_an_event(kit: MemoryEngine) -> None:
    handle = await kit.start("waits", {"id": "7"})
    await kit.quiet()
    said = await text(kit, handle.id)
    assert 'the event paid where {"data.id":"7"}' in said
    other = await kit.start("waits", {"id": "8"})
    assert '{"data.id":"8"}' in await text(kit, other.id)


async def test_why_in_a_store_that_nobody_runs(tmp_path: Path) -> None:
    """As `greenroom why --data DIR` says without a daemon: what waits does not go on by itself."""
    async with Engine.open(tmp_path / "app.db", workflows=[sleeps, counts]) as engine:
        slept, asked = await engine.start("sleeps"), await engine.start("counts", {"id": "a"})
        async for entry in engine.watch(asked.id):
            if entry.kind == "AskOpened":
                break
        assert "it goes on by itself" in (await engine.why(slept.id)).text
    async with Engine.open(tmp_path / "app.db", passive=True) as looking:
        said = (await looking.why(slept.id)).text
        assert "nobody runs it now" in said and "by itself" not in said
        assert "somebody must answer" in (await looking.why(asked.id)).text


# -- explain -----------------------------------------------------------------------------------------


async def explained(kit: MemoryEngine, event: Event, workflow: str | None = None) -> str:
    accepted = await kit.post(event)
    await kit.quiet()
    return str((await kit.events.explain(accepted.id, workflow)).text)


async def test_explain_what_an_event_did_and_why_it_did_nothing(kit: MemoryEngine) -> None:
    said = await explained(kit, Event(type="order", data={"id": "1", "total": 20}))
    assert "started waits" in said
    said = await explained(kit, Event(type="order", data={"id": "2", "total": 5}))
    assert "condition false" in said
    assert "10" in said
    said = await explained(kit, Event(type="paid", data={"id": "2"}))
    assert "condition false" in said
    assert "'1'" in said or '"1"' in said
    said = await explained(kit, Event(type="paid", data={"id": "1"}))
    assert "delivered waits" in said
    said = await explained(kit, Event(type="ordr", data={}))
    assert "no workflow listens" in said
    assert "order" in said
    said = await explained(kit, Event(type="paid", data={}), "waits")
    assert "listens to order, this is paid" in said
    with pytest.raises(NotFound):
        await kit.events.explain("nothing-like-it")


# -- info and doctor ---------------------------------------------------------------------------------


async def test_info_counts_what_there_is(kit: MemoryEngine) -> None:
    info = await kit.info()
    assert (sum(info.instances.values()), info.asks, info.timers, info.head) == (0, 0, 0, 0)
    handle = await kit.start("counts", {"id": "a"})
    await kit.until_idle()
    info = await kit.info()
    assert (info.instances["waiting"], info.asks, info.timers) == (1, 1, 1)
    await kit.answer(f"{handle.id}.sure", {"approved": True})
    await kit.until_idle()
    after = await kit.info()
    assert (after.instances["waiting"], after.instances["completed"]) == (0, 1)
    assert (after.asks, after.timers) == (0, 0)
    assert after.head > info.head
    await kit.crash()
    assert (await kit.info()).epoch == info.epoch + 1


async def levels(kit: MemoryEngine, deep: bool = True) -> dict[str, str]:
    return {finding.check: finding.level for finding in await kit.doctor(deep)}


async def test_doctor_says_how_much_room_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_bavail=1 << 20, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    async with Engine.open(tmp_path / "app.db") as engine:
        for blocks, level in ((1 << 20, "ok"), (1 << 10, "warning")):
            disk.f_bavail = blocks
            (said,) = [one for one in await engine.doctor() if one.check == "disk.space"]
            assert said.level == level
            assert said.text == f"{blocks >> 8:,} MiB are left where the store is"


async def test_doctor_finds_an_instance_from_which_nothing_leads_on(kit: MemoryEngine) -> None:
    handle = await kit.start("sleeps", {})
    await kit.quiet()
    assert (await levels(kit))["orphans"] == "ok"
    await lose_timers(kit)
    (finding,) = [f for f in await kit.doctor() if f.check == "orphans"]
    assert finding.level == "error"
    assert handle.id in str(finding.details)


async def lose_timers(kit: MemoryEngine) -> None:
    if isinstance(kit, FileEngine):
        store = kit.journal.store
        await kit.journal._do(lambda: store.connection.execute("DELETE FROM timer"))
    else:
        for instance in kit.store.tables.instances.values():
            instance.timers.clear()


# -- sections ----------------------------------------------------------------------------------------


async def test_definitions_are_listed_with_their_versions(kit: MemoryEngine) -> None:
    rows = await kit.definitions.list()
    assert {row.name for row in rows} >= {"counts", "broken", "Keeps"}
    assert all(row.version == 1 and row.release for row in rows)
    found = await kit.definitions.get("counts")
    assert found.steps == ["Count", "Break", "Sure?", "Count"]
    with pytest.raises(NotFound, match="counts"):
        await kit.definitions.get("count")
    with pytest.raises(NotFound):
        await kit.definitions.get("counts", 9)

    @workflow(name="broken")
    def changed() -> Any:
        return begin >> count >> done

    kit.change_code(*[w for w in WORKFLOWS if w is not broken], changed)
    await kit.restart_engine()
    versions = [(r.version, r.release) for r in await kit.definitions.list() if r.name == "broken"]
    assert sorted(versions) == [(1, False), (2, True)]


async def test_questions_are_listed_by_whom_they_are_for(kit: MemoryEngine) -> None:
    handle = await kit.start("counts", {"id": "a"})
    await kit.until_idle()
    (ask,) = (await kit.asks.list("assignee:noc")).items
    assert (ask.instance, ask.title, ask.kind, ask.answered) == (
        handle.id,
        "Sure?",
        "approval",
        None,
    )
    assert (await kit.asks.list("assignee:anna")).items == []
    assert (await kit.asks.list(f"instance:{handle.id}")).items == [ask]
    assert await kit.asks.get(ask.id) == ask
    with pytest.raises(NotFound):
        await kit.asks.get("nothing-like-it")


async def test_a_question_that_is_not_answered_in_time_is_closed(kit: MemoryEngine) -> None:
    handle = await kit.start("counts", {"id": "a"})
    await kit.advance("1h")
    assert (await kit.asks.list()).items == []
    found = await kit.get(handle.id)
    assert found.status == "completed"
    assert found.result["sure"] is None
    with pytest.raises(NotFound):
        await kit.answer(f"{handle.id}.sure", {"approved": True})
