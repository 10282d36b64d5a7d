"""Events: dedupe, triggers, waits that look back, deadlines, loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    Event,
    IdConflict,
    InvalidEvent,
    InvalidRequest,
    Workflow,
    emit,
    gather,
    sleep,
    step,
    wait,
    workflow,
)
from greenroom.actors.decide import Kernel
from tests.runtime.kits import FileEngine, MemoryEngine


@workflow(on="order", where="data.total > `10`", key="::data.id")
async def big(id: str, total: int) -> Any:
    event = await wait("paid", where={"data.id": id}, timeout="1h")
    return None if event is None else event.data


@workflow(on="order", where={"data.kind": "b"}, key="::data.id")
async def kind_b(id: str) -> str:
    return id


@workflow(on="order.bad")
async def takes_number(n: int) -> int:
    return n


@workflow
async def late(id: str) -> Any:
    await sleep("10s")
    event = await wait("paid", where={"data.id": id}, timeout="10s")
    return None if event is None else event.data


@workflow
async def from_now(id: str) -> Any:
    await sleep("10s")
    event = await wait("paid", where={"data.id": id}, since="now", timeout="10s")
    return None if event is None else event.data


@workflow
async def two_waits() -> Any:
    first, second = await gather(wait("go"), wait("go"))
    return [first.data, second.data]


@workflow
async def waits_until() -> Any:
    event = await wait("go", timeout="10s")
    return None if event is None else event.data


@workflow
async def waits_twice() -> Any:
    first = await wait("go", timeout="10s")
    second = await wait("go", timeout="10s")
    return [first and first.data, second and second.data]


@workflow
class Handles(Workflow):
    def __init__(self, n: int = 0) -> None:
        self.n = n
        self.seen: list[Any] = []

    async def handle(self) -> Any:
        event = await wait("end")
        return [self.seen, event.data]

    async def on_event(self, event: Event) -> None:
        if event.type == "tell":
            self.seen.append(event.data)


@workflow(on="echo")
async def echo(n: int) -> int:
    await emit("echo", {"n": n + 1})
    return n


@step("Note")
async def note(n: int) -> dict[str, Any]:
    return {"n": n}


@workflow
async def emits_then_works(n: int) -> Any:
    await emit("said", {"n": n})
    await note(n)
    return n


@workflow(on="said")
async def hears(n: int) -> int:
    return n


WORKFLOWS = [value for value in list(globals().values()) if hasattr(value, "__greenroom__")]


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    if request.param == "memory":
        made = MemoryEngine(*WORKFLOWS)
    else:
        made = FileEngine(tmp_path / "app.db", *WORKFLOWS)
    async with made as engine:
        yield engine


def order(id: str, total: int = 20, event: str = "", **data: Any) -> Event:
    return Event(type="order", id=event, source="/shop", data={"id": id, "total": total, **data})


# -- posting ---------------------------------------------------------------------------------------


async def test_an_event_starts_what_listens_to_it_and_says_so(kit: MemoryEngine) -> None:
    accepted = await kit.post(order("1", kind="b"))
    assert {(m.workflow, m.key, m.action) for m in accepted.matched} == {
        ("big", "1", "started"), ("kind_b", "1", "started"),
    }  # fmt: skip
    assert accepted.matched_total == 2
    assert not accepted.duplicate
    for match in accepted.matched:
        assert (await kit.get(match.instance)).workflow == match.workflow


async def test_an_event_whose_condition_is_false_starts_nothing(kit: MemoryEngine) -> None:
    accepted = await kit.post(order("1", 5))
    assert (accepted.accepted, accepted.matched_total, accepted.matched) == (True, 0, [])
    assert (await kit.events.get(accepted.id)).type == "order"


@pytest.mark.parametrize("total", [True, "20", None, {"a": 1}, 10.0, 10])
async def test_a_condition_is_true_only_if_it_gives_true(kit: MemoryEngine, total: Any) -> None:
    assert (await kit.post(order("1", total))).matched == []


async def test_a_repeated_event_gets_the_first_answer_and_does_nothing(kit: MemoryEngine) -> None:
    first = await kit.post(order("1", event="e-1"))
    await kit.quiet()
    head = (await kit.info()).head
    again = await kit.post(order("1", event="e-1"))
    assert again.duplicate
    assert again.matched == first.matched
    assert (await kit.info()).head == head


async def test_a_repeated_event_is_known_after_a_crash(kit: MemoryEngine) -> None:
    first = await kit.post(order("1", event="e-1"))
    await kit.crash()
    again = await kit.post(order("1", event="e-1"))
    assert (again.duplicate, again.matched) == (True, first.matched)


async def test_the_same_event_many_times_at_once_is_one(kit: MemoryEngine) -> None:
    answers = await asyncio.gather(*(kit.post(order("1", event="e-1")) for _ in range(20)))
    assert sum(not answer.duplicate for answer in answers) == 1
    assert len({answer.matched[0].instance for answer in answers}) == 1


async def test_an_event_id_with_another_body_is_a_conflict(kit: MemoryEngine) -> None:
    await kit.post(order("1", event="e-1"))
    head = (await kit.info()).head
    with pytest.raises(IdConflict):
        await kit.post(order("2", event="e-1"))
    assert (await kit.info()).head == head


async def test_an_event_id_of_another_source_is_another_event(kit: MemoryEngine) -> None:
    await kit.post(Event(type="x", id="e-1", source="/a"))
    assert not (await kit.post(Event(type="x", id="e-1", source="/b"))).duplicate


async def test_an_event_for_a_live_key_is_refused_and_kept(kit: MemoryEngine) -> None:
    await kit.post(order("1"))
    accepted = await kit.post(order("1"))
    (match,) = accepted.matched
    assert (match.action, match.code) == ("refused", "already_running")
    assert accepted.accepted


async def test_an_event_that_makes_no_input_is_refused_for_that_workflow(kit: MemoryEngine) -> None:
    accepted = await kit.post(Event(type="order.bad", data={"n": "x"}))
    found = await kit.list("workflow:takes_number")
    refused = [m for m in accepted.matched if m.action == "refused"]
    failed = [item for item in found.items if item.status == "failed"]
    assert len(refused) + len(failed) == 1
    accepted = await kit.post(Event(type="order.bad", data=[1]))
    (match,) = accepted.matched
    assert (match.action, match.code) == ("refused", "invalid_input")


@pytest.mark.parametrize("event", [
    {"type": ""}, {"type": 7}, {}, {"type": "x", "payload": 1}, {"type": "x" * 257},
    {"type": "x", "id": 7}, {"type": "x", "data": float("nan")},
])  # fmt: skip
async def test_an_event_that_is_not_valid_is_refused(kit: MemoryEngine, event: Any) -> None:
    head = (await kit.info()).head
    with pytest.raises(InvalidEvent if "data" not in event else Exception):
        await kit.post(event)
    assert (await kit.info()).head == head


async def test_a_post_is_durable_when_it_returns(kit: MemoryEngine) -> None:
    accepted = await kit.post(order("1"))
    await kit.crash()
    assert (await kit.get(accepted.matched[0].instance)).status == "waiting"


# -- waits -----------------------------------------------------------------------------------------


async def test_a_wait_looks_back_to_the_start_of_its_instance(kit: MemoryEngine) -> None:
    await kit.post(Event(type="paid", data={"id": "1", "when": "before the start"}))
    handle = await kit.start("late", {"id": "1"})
    await kit.post(Event(type="paid", data={"id": "1", "when": "before the wait"}))
    await kit.post(Event(type="paid", data={"id": "2"}))
    await kit.advance("10s")
    assert (await kit.get(handle.id)).result == {"id": "1", "when": "before the wait"}


async def test_a_wait_that_looks_back_finds_it_after_a_crash_too(kit: MemoryEngine) -> None:
    handle = await kit.start("late", {"id": "1"})
    await kit.post(Event(type="paid", data={"id": "1"}))
    await kit.crash()
    await kit.advance("10s")
    assert (await kit.get(handle.id)).result == {"id": "1"}


async def test_a_wait_from_now_on_does_not_look_back(kit: MemoryEngine) -> None:
    handle = await kit.start("from_now", {"id": "1"})
    await kit.post(Event(type="paid", data={"id": "1", "n": 1}))
    await kit.advance("10s")
    assert (await kit.get(handle.id)).status == "waiting"
    await kit.post(Event(type="paid", data={"id": "1", "n": 2}))
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"id": "1", "n": 2}


async def test_the_event_that_started_an_instance_is_spent(kit: MemoryEngine) -> None:
    @workflow(name="self_wait", on="tick")
    async def self_wait() -> Any:
        event = await wait("tick", timeout="1h")
        return event and event.data

    kit.register(self_wait)
    accepted = await kit.post(Event(type="tick", data={}))
    await kit.until_idle()
    assert (await kit.get(accepted.matched[0].instance)).status == "waiting"


async def test_an_event_satisfies_the_oldest_wait_once(kit: MemoryEngine) -> None:
    handle = await kit.start("two_waits", {})
    await kit.post(Event(type="go", data={"n": 1}))
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert (found.status, len(found.waits)) == ("waiting", 1)
    await kit.post(Event(type="go", data={"n": 2}))
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == [{"n": 1}, {"n": 2}]


async def test_one_event_wakes_every_instance_that_waits(kit: MemoryEngine) -> None:
    handles = [await kit.start("waits_until", {}) for _ in range(5)]
    accepted = await kit.post(Event(type="go", data=1))
    assert accepted.matched_total == 5
    assert {m.action for m in accepted.matched} == {"delivered"}
    await kit.until_idle()
    assert {(await kit.get(h.id)).result for h in handles} == {1}


async def test_a_wait_without_an_event_ends_at_its_time(kit: MemoryEngine) -> None:
    handle = await kit.start("waits_until", {})
    await kit.advance("9.999s")
    assert (await kit.get(handle.id)).status == "waiting"
    await kit.advance("1ms")
    found = await kit.get(handle.id)
    assert (found.status, found.result) == ("completed", None)


async def test_an_event_accepted_by_the_due_time_wins_over_the_timer(kit: MemoryEngine) -> None:
    handle = await kit.start("waits_until", {})
    await kit.advance("5s")
    await kit.quiet()
    kit.clock._now += 5_000  # exactly the due time, and nobody has looked at the timers yet
    await kit.post(Event(type="go", data="in time"))
    await kit.advance("0s")
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == "in time"


async def test_a_clock_set_back_while_a_timer_fires_loses_nothing(kit: MemoryEngine) -> None:
    handle = await kit.start("waits_until", {})
    await kit.quiet()
    kit.clock.move_to(kit.clock.now() + 10_000)
    kit.clock._now -= 3_600_000
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "waiting"
    await kit.advance("1h")
    assert (await kit.get(handle.id)).status == "completed"


async def test_an_event_accepted_before_a_long_down_time_wins_over_the_timer(
    kit: MemoryEngine,
) -> None:
    handle = await kit.start("waits_until", {})
    await kit.pause(handle.id)
    await kit.advance("9.9s")
    await kit.post(Event(type="go", data="in time"))
    await kit.advance("10s")
    await kit.crash()
    await kit.resume(handle.id)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == "in time"


async def test_an_event_accepted_after_the_due_time_is_for_the_next_wait(kit: MemoryEngine) -> None:
    handle = await kit.start("waits_twice", {})
    await kit.pause(handle.id)
    await kit.advance("11s")
    await kit.post(Event(type="go", data="late"))
    await kit.resume(handle.id)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == [None, "late"]


async def test_events_are_taken_in_the_order_they_were_sent(kit: MemoryEngine) -> None:
    handle = await kit.start("waits_twice", {})
    await kit.pause(handle.id)
    for n in range(5):
        await kit.send(handle.id, Event(type="go", data=n))
    await kit.crash()
    await kit.resume(handle.id)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == [0, 1]


# -- handlers --------------------------------------------------------------------------------------


async def test_a_handler_sees_every_event_in_order_and_waits_take_theirs(kit: MemoryEngine) -> None:
    handle = await kit.start("Handles", {"n": 0, "seen": []})
    for n in range(5):
        assert (await kit.send(handle.id, Event(type="tell", data=n))).matched
    await kit.crash()
    await kit.send(handle.id, Event(type="end", data="over"))
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == [[0, 1, 2, 3, 4], "over"]


async def test_a_handler_sees_what_was_sent_while_paused_or_pending(kit: MemoryEngine) -> None:
    handle = await kit.start("Handles", {"n": 0, "seen": []}, delay="1h")
    await kit.send(handle.id, Event(type="tell", data=0))
    await kit.advance("1h")
    await kit.pause(handle.id)
    await kit.send(handle.id, Event(type="tell", data=1))
    await kit.resume(handle.id)
    await kit.until_idle()
    await kit.send(handle.id, Event(type="end", data="over"))
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == [[0, 1], "over"]


# -- emits -----------------------------------------------------------------------------------------


async def test_what_an_instance_emits_starts_others_once(kit: MemoryEngine) -> None:
    handle = await kit.start("emits_then_works", {"n": 3})
    await kit.until_idle()
    await kit.crash()
    assert (await kit.get(handle.id)).result == 3
    found = (await kit.list("workflow:hears")).items
    assert len(found) == 1
    (event,) = (await kit.events.list("said")).items
    assert event.source == f"/instances/{handle.id}"


async def test_a_loop_of_events_stops_after_32_hops(kit: MemoryEngine) -> None:
    await kit.post(Event(type="echo", data={"n": 0}))
    await kit.until_idle()
    found = (await kit.list("workflow:echo", limit=100)).items
    assert 30 <= len(found) <= 34
    (failed,) = [item for item in found if item.status == "failed"]
    assert failed.error is not None
    assert "EventLoop" in str(failed.error.details)
    assert (await kit.events.list("echo", limit=100)).items[0].extra["hops"] == 32


async def test_a_wide_fan_out_reaches_everybody(kit: MemoryEngine) -> None:
    handles = [await kit.start("waits_until", {}) for _ in range(1_200)]
    accepted = await kit.post(Event(type="go", data=1))
    assert accepted.matched_total >= 1_000
    await kit.until_idle()
    assert (await kit.info()).instances["completed"] == len(handles)
    assert len(accepted.matched) == 100


async def test_a_wide_fan_out_goes_on_after_a_crash(kit: MemoryEngine) -> None:
    handles = [await kit.start("waits_until", {}) for _ in range(1_200)]
    await kit.post(Event(type="go", data=1))
    await kit.crash()
    await kit.until_idle()
    assert (await kit.info()).instances["completed"] == len(handles)


# -- sections --------------------------------------------------------------------------------------


async def test_an_event_is_posted_again_under_a_new_id(kit: MemoryEngine) -> None:
    first = await kit.post(order("1", 5))
    again = await kit.events.resend(first.id)
    assert again.id != first.id
    assert not again.duplicate
    assert len((await kit.events.list("type:order")).items) == 2


async def test_events_are_listed_in_pages_newest_first(kit: MemoryEngine) -> None:
    for n in range(5):
        await kit.post(Event(type="x", data=n))
    page = await kit.events.list("x", limit=2)
    assert [item.data for item in page.items] == [4, 3]
    page = await kit.events.list("x", limit=2, cursor=page.cursor)
    assert [item.data for item in page.items] == [2, 1]


async def test_events_are_listed_by_their_type_source_and_subject(kit: MemoryEngine) -> None:
    for n in range(12):
        await kit.post(
            Event(type="a" if n % 2 else "b", source=f"/{n % 3}", subject=f"s{n % 4}", data=n)
        )

    async def listed(q: str, **options: Any) -> list[Any]:
        page = await kit.events.list(q, **options)
        return [event.data for event in page.items]

    assert await listed("a") == await listed("type:a") == [11, 9, 7, 5, 3, 1]
    assert await listed("subject:s1") == [9, 5, 1]
    assert await listed("source:/0 type:a") == [9, 3]
    assert await listed("a source:/0") == [9, 3]
    assert await listed("subject:s1 source:/2") == [5]
    assert await listed("subject:none") == []
    first = await kit.events.list("subject:s1", limit=2)
    assert [event.data for event in first.items] == [9, 5]
    assert await listed("subject:s1", cursor=first.cursor) == [1]
    with pytest.raises(InvalidRequest, match="no word of this filter"):
        await listed("type:a b")


class Hears(Workflow):
    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    async def handle(self) -> Any:
        await wait("end")
        return self.heard

    async def on_event(self, event: Event) -> None:
        self.heard = [*self.heard, event.type]


class OnlyHears(Workflow):
    """Waits for no event: what it is sent before it begins is for its handler alone."""

    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard

    async def handle(self) -> Any:
        await sleep("1h")
        return self.heard

    async def on_event(self, event: Event) -> None:
        self.heard = [*self.heard, event.type]


@pytest.mark.parametrize("cls", [Hears, OnlyHears])
async def test_a_handler_gets_what_was_sent_before_the_instance_began(cls: Any) -> None:
    async with MemoryEngine(cls) as engine:
        later = await engine.start(cls, {"heard": []}, delay="1m")
        await engine.send(later.id, {"type": "early"})
        await engine.advance("2m")
        await engine.send(later.id, {"type": "end"})
        await engine.advance("2h")
        assert await later.result() == ["early", "end"]


@workflow
async def one_by_one(names: list[str]) -> list[Any]:
    return [(await wait(name)).data for name in names]


async def test_what_nobody_waits_for_is_not_offered_to_every_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offers = 0
    offered = Kernel._offer

    def counted(kernel: Kernel, message: Any, now: int) -> Any:
        nonlocal offers
        offers += 1
        return offered(kernel, message, now)

    monkeypatch.setattr(Kernel, "_offer", counted)
    names = [f"step {number}" for number in range(20)]
    async with MemoryEngine(one_by_one) as engine:
        run = await engine.start(one_by_one, {"names": names})
        for number in range(50):
            await engine.send(run.id, {"type": "other", "data": number})
        for name in reversed(names):
            await engine.send(run.id, {"type": name, "data": name})
        await engine.quiet()
        assert await run.result() == names
    # each once when it came, and those that were kept once more when it was their turn
    assert offers <= 50 + 2 * len(names)
