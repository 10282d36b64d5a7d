"""What keeps instances alive: leaving memory, full disks, crashing turns, changed and missing code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    Busy,
    CodeChanged,
    Engine,
    EngineDied,
    EngineStopping,
    Event,
    GreenroomError,
    InvalidDefinition,
    InvalidInput,
    Locked,
    NotFound,
    ReadOnly,
    Timeout,
    Workflow,
    approval,
    ask_step,
    begin,
    child,
    done,
    emit,
    gather,
    sleep,
    step,
    wait,
    workflow,
)
from greenroom.actors.decide import Kernel
from greenroom.actors.messages import Answer, Cancel, Due, Offer, Outcome, Pause
from greenroom.runtime.directory import IDLE_MAX
from greenroom.runtime.store import StoreFull
from tests.runtime.kits import FileEngine, HeldStore, MemoryEngine, spin

RUNS: list[Any] = []
GATES: dict[str, asyncio.Future[Any]] = {}


@step("First")
async def first() -> dict[str, Any]:
    RUNS.append("first")
    return {"first": True}


@step("Second")
async def second() -> dict[str, Any]:
    RUNS.append("second")
    return {"second": True}


@step("Third")
async def third() -> dict[str, Any]:
    RUNS.append("third")
    return {"third": True}


@step("Held")
async def held() -> dict[str, Any]:
    RUNS.append("held")
    GATES["held"] = asyncio.get_running_loop().create_future()
    await GATES["held"]
    return {"held": True}


ask = ask_step("Sure?", key="sure")


def line(*steps: Any, name: str = "line") -> Any:
    def make() -> Any:
        found = begin
        for one in steps:
            found = found >> one
        return found >> done

    make.__name__ = name
    return workflow(make)


@workflow
async def waits() -> Any:
    event = await wait("go")
    return event.data


@workflow
async def sleeps() -> str:
    await sleep("1h")
    return "awake"


@workflow
async def works() -> Any:
    await held()
    return "done"


@workflow
async def parent(n: int) -> Any:
    return await gather(*(child("kid", {"n": i}) for i in range(n)))


@workflow
async def kid(n: int) -> Any:
    if n == 99:
        raise ValueError("bad kid")
    event = await wait("kid", where={"data.n": n}, timeout="1h")
    return None if event is None else n


@workflow
async def spawns() -> Any:
    return await child("waits", {}, detach=True)


@workflow
async def keyed_parent() -> Any:
    return await child("waits", {}, key="only")


WORKFLOWS = [waits, sleeps, works, parent, kid, spawns, keyed_parent, line(first, ask, second)]


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    RUNS.clear()
    GATES.clear()
    if request.param == "memory":
        made = MemoryEngine(*WORKFLOWS)
    else:
        made = FileEngine(tmp_path / "app.db", *WORKFLOWS)
    async with made as engine:
        yield engine


@pytest.fixture
async def memory() -> AsyncIterator[MemoryEngine]:
    RUNS.clear()
    GATES.clear()
    async with MemoryEngine(*WORKFLOWS) as engine:
        yield engine


# -- memory ----------------------------------------------------------------------------------------


async def test_an_idle_instance_leaves_memory_after_ten_seconds(kit: MemoryEngine) -> None:
    handle = await kit.start("waits", {})
    await kit.quiet()
    assert len(kit.directory.active) == 1
    head = (await kit.info()).head
    await kit.advance("10.1s")
    await kit.advance("10.1s")
    assert (len(kit.directory.active), len(kit.directory.ids)) == (0, 0)
    assert (await kit.info()).head == head
    await kit.post(Event(type="go", data=1))
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == 1
    await kit.advance("21s")
    assert not kit.directory.active


async def test_idle_instances_leave_at_once_when_there_are_too_many(memory: MemoryEngine) -> None:
    for _ in range(IDLE_MAX + 300):
        await memory.start("waits", {})
    await memory.quiet()
    assert len(memory.directory.active) <= IDLE_MAX
    assert len(memory.directory.idle_since) <= IDLE_MAX


async def test_an_ended_instance_leaves_nothing_behind(kit: MemoryEngine) -> None:
    for _ in range(20):
        await kit.start("waits", {})
    await kit.post(Event(type="go", data=1))
    await kit.until_idle()
    await kit.advance("21s")
    directory = kit.directory
    assert not (
        directory.active or directory.ids or directory.idle_since or directory.loading
        or directory.unsaved or directory.waiters or directory.turns or kit.executor.calls
    )  # fmt: skip
    assert len(directory.timer.agenda) == 0


async def test_a_running_instance_does_not_leave(kit: MemoryEngine) -> None:
    await kit.start("works", {})
    await kit.quiet()
    kit.clock.move_to(kit.clock.now() + 60_000)
    await kit.quiet()
    assert len(kit.directory.active) == 1
    GATES["held"].set_result(None)
    await kit.until_idle()


# -- waiting for results -----------------------------------------------------------------------------


async def test_a_result_is_waited_for_no_longer_than_told(kit: MemoryEngine) -> None:
    handle = await kit.start("waits", {})
    waiting = asyncio.ensure_future(kit.result(handle.id, timeout="5s"))
    await kit.quiet()
    await kit.advance("5s")
    with pytest.raises(Timeout):
        await waiting
    assert not kit.directory.waiters


@pytest.mark.parametrize("how", ["close", "die"])
async def test_whoever_waits_when_the_engine_ends_is_told(memory: MemoryEngine, how: str) -> None:
    handle = await memory.start("waits", {})

    async def watch() -> None:
        async for _ in memory.watch(handle.id):
            pass

    async def watch_all() -> None:
        async for _ in memory.watch():
            pass

    async def tail() -> None:
        async for _ in memory.tail():
            pass

    waiting = [
        asyncio.ensure_future(w) for w in (memory.result(handle.id), watch(), watch_all(), tail())
    ]
    await memory.quiet()
    for _ in range(20):
        await asyncio.sleep(0)
    if how == "close":
        await memory.close()
    else:
        memory.store.fail_next(OSError("disk"))
        with pytest.raises(EngineDied):
            await memory.start("waits", {})
    async with asyncio.timeout(2):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    expected = EngineStopping if how == "close" else EngineDied
    assert [type(result) for result in results] == [expected] * 4


async def test_a_cancelled_waiter_leaves_nothing_behind(kit: MemoryEngine) -> None:
    handle = await kit.start("waits", {})
    waiting = asyncio.ensure_future(kit.result(handle.id))
    await kit.quiet()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not kit.directory.waiters
    assert not kit.at_end


# -- a full disk -------------------------------------------------------------------------------------


async def test_on_a_full_disk_requests_are_refused_and_what_runs_goes_on_later(
    memory: MemoryEngine,
) -> None:
    running = await memory.start("works", {})
    sleeping = await memory.start("sleeps", {})
    await memory.quiet()
    for _ in range(30):
        memory.store.fail_next(StoreFull("full"))
    with pytest.raises(ReadOnly):
        await memory.start("waits", {})
    with pytest.raises(ReadOnly):
        await memory.post(Event(type="go"))
    assert (await memory.info()).durability == "read_only"
    (said,) = [one for one in await memory.doctor() if one.check == "disk.space"]
    assert said.level == "error" and "the disk is full" in said.text
    GATES["held"].set_result(None)
    await memory.quiet()
    assert (await memory.get(running.id)).status == "running"
    memory.store._planned.clear()
    await memory.advance("2s")
    assert (await memory.get(running.id)).result == "done"
    assert RUNS == ["held"]
    await memory.advance("1h")
    assert (await memory.get(sleeping.id)).result == "awake"


async def test_a_timer_that_fires_on_a_full_disk_fires_when_there_is_room(
    memory: MemoryEngine,
) -> None:
    sleeping = await memory.start("sleeps", {})
    pending = await memory.start("line", {}, delay="1h")
    await memory.advance("3599s")
    for _ in range(5):
        memory.store.fail_next(StoreFull("full"))
    await memory.advance("3s")
    assert (await memory.get(sleeping.id)).status == "waiting"
    memory.store._planned.clear()
    await memory.advance("5s")
    assert (await memory.get(sleeping.id)).result == "awake"
    assert (await memory.get(pending.id)).status == "waiting"


async def test_children_and_emits_of_a_full_disk_are_made_when_there_is_room(
    memory: MemoryEngine,
) -> None:
    @workflow(name="busy")
    async def busy() -> Any:
        await held()
        await emit("said", {})
        return await child("works", {})

    memory.register(busy)
    handle = await memory.start("busy", {})
    await memory.quiet()
    for _ in range(3):
        memory.store.fail_next(StoreFull("full"))
    GATES["held"].set_result(None)
    await memory.quiet()
    await memory.advance_quiet("5s")
    GATES["held"].set_result(None)
    await memory.until_idle()
    assert (await memory.get(handle.id)).result == "done"
    assert RUNS == ["held", "held"]
    assert len((await memory.events.list("said")).items) == 1


async def test_results_decided_on_top_of_a_turn_that_was_not_stored_are_kept(
    memory: MemoryEngine,
) -> None:
    gates: list[asyncio.Future[None]] = []

    @step("Gated", mode="at_most_once")
    async def gated() -> dict[str, Any]:
        RUNS.append("gated")
        gates.append(asyncio.get_running_loop().create_future())
        await gates[-1]
        return {}

    @workflow(name="two_gated")
    async def two_gated() -> Any:
        return await gather(gated(), gated(), gated())

    memory.register(two_gated)
    handle = await memory.start("two_gated", {})
    await memory.quiet()
    memory.store.fail_next(StoreFull("full"))
    for gate in gates:
        gate.set_result(None)
        await asyncio.sleep(0)  # each is a turn of its own, on top of the one before
        await asyncio.sleep(0)
    await memory.advance("5s")
    assert (await memory.get(handle.id)).result == [{}, {}, {}]
    assert RUNS == ["gated"] * 3


async def test_a_result_that_came_too_late_for_a_turn_that_was_not_stored_is_kept(
    memory: MemoryEngine,
) -> None:
    """The cancel is not stored after all, so the step has ended in time."""

    @step("Once", mode="at_most_once")
    async def once() -> dict[str, Any]:
        RUNS.append("once")
        GATES["once"] = asyncio.get_running_loop().create_future()
        with suppress(asyncio.CancelledError):
            await GATES["once"]
        return {}

    @workflow(name="runs_once")
    async def runs_once() -> Any:
        return await once()

    memory.register(runs_once)
    handle = await memory.start("runs_once", {})
    await memory.quiet()
    n = memory.directory.ids[handle.id]
    async with HeldStore(memory) as store:
        for _ in range(2):
            memory.store.fail_next(StoreFull("full"))
        memory.directory.tell(n, Cancel())
        await store.held()
        GATES["once"].set_result(None)
        await spin()
        for _ in range(4):
            store.release(all=True)
            await spin()
    await memory.advance("5s")
    await memory.quiet()
    assert RUNS == ["once"]
    assert (await memory.get(handle.id)).status == "completed"


async def test_a_step_that_ends_while_another_turn_is_stored_runs_once(
    memory: MemoryEngine,
) -> None:
    """Its outcome is in the mailbox, undecided, when that turn looks at what is owed."""

    @step("Instant", mode="at_most_once")
    async def instant() -> dict[str, Any]:
        RUNS.append("instant")
        store.release()  # the pause is stored now, before the loop gets to the outcome
        return {}

    @workflow(name="asks_first")
    async def asks_first() -> Any:
        await approval("Sure?")
        return await instant()

    memory.register(asks_first)
    handle = await memory.start("asks_first", {})
    await memory.quiet()
    n = memory.directory.ids[handle.id]
    async with HeldStore(memory) as store:
        memory.directory.tell(n, Answer("1", {"approved": True}))
        await store.held()
        memory.directory.tell(n, Pause())
        await spin()
        store.release()
        await spin()
    await memory.quiet()
    assert RUNS == ["instant"]
    await memory.resume(handle.id)
    await memory.quiet()
    assert (await memory.get(handle.id)).status == "completed"
    assert RUNS == ["instant"]


async def test_nobody_is_told_of_what_is_not_stored_yet(memory: MemoryEngine) -> None:
    """The second pause changes nothing, but the first is not on disk: it has to wait with it."""
    handle = await memory.start("waits", {})
    await memory.quiet()
    n = memory.directory.ids[handle.id]
    told: list[str] = []
    async with HeldStore(memory) as store:
        memory.directory.tell(n, Pause(), lambda _: told.append("first"))
        await store.held()
        memory.directory.tell(n, Pause(), lambda _: told.append("second"))
        await spin()
        assert told == []
        store.release()
        await spin()
        assert told[:1] == ["first"]
    await memory.quiet()
    assert told == ["first", "second"]


async def test_an_event_on_its_way_to_the_disk_wins_over_a_timer_due_now(
    memory: MemoryEngine,
) -> None:
    @workflow(name="waits_a_while")
    async def waits_a_while() -> Any:
        event = await wait("go", timeout="10s")
        return event and event.data

    memory.register(waits_a_while)
    handle = await memory.start("waits_a_while", {})
    await memory.quiet()
    memory.clock._now += 10_000
    memory.post_nowait(Event(type="go", data="in time"), lambda _: None)
    memory.clock.move_to(memory.clock.now())
    await memory.quiet()
    assert (await memory.get(handle.id)).result == "in time"


async def test_a_journal_closed_while_it_looks_for_room_stays_closed(memory: MemoryEngine) -> None:
    memory.store.fail_next(StoreFull("full"))
    with pytest.raises(ReadOnly):
        await memory.start("waits", {})
    memory.journal._retry_now()
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(memory.journal.close())
    await spin(50)
    state = memory.journal.state
    await memory.journal.abandon()
    await closing
    assert state == "closed"


async def test_a_sleep_whose_clock_was_set_back_is_armed_again(memory: MemoryEngine) -> None:
    handle = await memory.start("sleeps", {})
    await memory.advance("3599s")
    memory.clock.move_to(memory.clock.now() + 1_000)
    memory.clock._now -= 60_000  # before the instance has its turn
    await spin()
    assert (await memory.get(handle.id)).status == "waiting"
    await memory.advance("1m")
    assert (await memory.get(handle.id)).result == "awake"


# -- turns that crash --------------------------------------------------------------------------------


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, int], None]:
    """The next turns that take a kind of message raise what no turn should."""

    def plan(kind: type, times: int) -> None:
        left = times
        decide = Kernel.decide

        def crashing(self: Kernel, message: Any, now: int) -> Any:
            nonlocal left
            if isinstance(message, kind) and left > 0:
                left -= 1
                raise ZeroDivisionError("a fault of ours")
            return decide(self, message, now)

        monkeypatch.setattr(Kernel, "decide", crashing)

    return plan


async def test_the_result_of_a_step_outlives_a_crashing_turn(
    kit: MemoryEngine, faulty: Callable[[type, int], None]
) -> None:
    handle = await kit.start("works", {})
    await kit.quiet()
    faulty(Outcome, 3)
    GATES["held"].set_result(None)
    await kit.quiet()
    assert (await kit.get(handle.id)).result == "done"
    assert RUNS == ["held"]


async def test_an_instance_whose_turns_keep_crashing_is_parked_and_others_live(
    kit: MemoryEngine, faulty: Callable[[type, int], None]
) -> None:
    handle = await kit.start("works", {})
    await kit.quiet()
    faulty(Outcome, 5)
    GATES["held"].set_result(None)
    await kit.quiet()
    found = await kit.get(handle.id)
    assert found.error is not None
    assert (found.status, found.error.code) == ("failed", "poison")
    assert RUNS == ["held"]
    other = await kit.start("line", {})
    await kit.quiet()
    assert (await kit.get(other.id)).status == "waiting"
    await kit.resume(handle.id)
    await kit.quiet()
    GATES["held"].set_result(None)
    await kit.quiet()
    assert (await kit.get(handle.id)).result == "done"


async def test_crashes_without_end_stop_too(
    kit: MemoryEngine, faulty: Callable[[type, int], None]
) -> None:
    await kit.start("works", {})
    await kit.quiet()
    faulty(object, 10_000)
    GATES["held"].set_result(None)
    await kit.quiet()
    assert len(kit.directory.active) == 0


async def test_a_timer_outlives_a_crashing_turn(
    kit: MemoryEngine, faulty: Callable[[type, int], None]
) -> None:
    handle = await kit.start("sleeps", {})
    faulty(Due, 2)
    await kit.advance("1h")
    assert (await kit.get(handle.id)).result == "awake"


async def test_an_event_outlives_a_crashing_turn(
    kit: MemoryEngine, faulty: Callable[[type, int], None]
) -> None:
    handle = await kit.start("waits", {})
    faulty(Offer, 2)
    await kit.post(Event(type="go", data=1))
    await kit.quiet()
    assert (await kit.get(handle.id)).result == 1


async def test_the_caller_of_a_verb_whose_turn_crashes_is_told(
    kit: MemoryEngine, faulty: Callable[[type, int], None]
) -> None:
    handle = await kit.start("waits", {})
    faulty(Pause, 1)
    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError):
            await kit.pause(handle.id)
    assert (await kit.pause(handle.id)).status == "paused"


# -- children ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("crash", [False, True])
async def test_a_parent_waits_for_its_children(kit: MemoryEngine, crash: bool) -> None:
    handle = await kit.start("parent", {"n": 3})
    await kit.quiet()
    found = await kit.get(handle.id)
    assert (found.status, [w.kind for w in found.waits]) == ("waiting", ["child"] * 3)
    for n in (2, 0, 1):
        if crash:
            await kit.crash()
        await kit.post(Event(type="kid", data={"n": n}))
        await kit.quiet()
    assert (await kit.get(handle.id)).result == [0, 1, 2]
    kids = (await kit.list("workflow:kid")).items
    assert {item.parent for item in kids} == {handle.id}


async def test_cancelling_a_parent_cancels_its_children(kit: MemoryEngine) -> None:
    handle = await kit.start("parent", {"n": 3})
    await kit.quiet()
    await kit.cancel(handle.id)
    await kit.quiet()
    kids = (await kit.list("workflow:kid")).items
    assert {item.status for item in kids} == {"cancelled"}


async def test_a_cancelled_child_is_an_error_for_its_parent(kit: MemoryEngine) -> None:
    handle = await kit.start("parent", {"n": 1})
    await kit.quiet()
    (item,) = (await kit.list("workflow:kid")).items
    await kit.cancel(item.id)
    await kit.quiet()
    found = await kit.get(handle.id)
    assert found.status == "failed"
    await kit.resume(handle.id)
    await kit.quiet()
    await kit.post(Event(type="kid", data={"n": 0}))
    await kit.quiet()
    assert (await kit.get(handle.id)).result == [0]


async def test_a_parent_waits_for_a_failed_child_until_somebody_mends_it(kit: MemoryEngine) -> None:
    handle = await kit.start("parent", {"n": 0})
    await kit.quiet()
    assert (await kit.get(handle.id)).result == []


async def test_a_detached_child_outlives_its_parent(kit: MemoryEngine) -> None:
    handle = await kit.start("spawns", {})
    await kit.quiet()
    id = (await kit.get(handle.id)).result
    assert (await kit.get(id)).status == "waiting"
    await kit.post(Event(type="go", data=1))
    await kit.quiet()
    assert (await kit.get(id)).result == 1


async def test_a_child_whose_key_is_taken_is_an_error_for_its_parent(kit: MemoryEngine) -> None:
    await kit.start("waits", {}, key="only")
    handle = await kit.start("keyed_parent", {})
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "failed"


# -- code that changes -------------------------------------------------------------------------------

Lines = tuple[Any, ...]


async def test_a_step_inserted_or_renamed_behind_an_instance_is_welcome(kit: MemoryEngine) -> None:
    handle = await kit.start("line", {})
    await kit.quiet()
    relabelled = step("Another label", key="first")(first.target.func)
    kit.change_code(*WORKFLOWS[:-1], line(relabelled, ask, second, third))
    await kit.restart_engine()
    await kit.answer(f"{handle.id}.sure", {"approved": True})
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "completed"
    assert RUNS == ["first", "second"]  # the plan it started with
    other = await kit.start("line", {})
    await kit.quiet()
    await kit.answer(f"{other.id}.sure", {"approved": True})
    await kit.quiet()
    assert (await kit.get(other.id)).status == "completed"
    assert RUNS[-1] == "third"


async def test_a_step_removed_ahead_of_an_instance_parks_it_with_both_sides(
    kit: MemoryEngine,
) -> None:
    handle = await kit.start("line", {})
    await kit.quiet()
    kit.change_code(*WORKFLOWS[:-1], line(first, ask, third))
    await kit.restart_engine()
    await kit.answer(f"{handle.id}.sure", {"approved": True})
    await kit.quiet()
    found = await kit.get(handle.id)
    assert found.error is not None
    assert (found.status, found.error.code) == ("failed", "code_changed")
    assert "second" in str(found.error.details["journal"])
    assert "second" not in str(found.error.details["code"])
    assert RUNS == ["first"]
    with pytest.raises(GreenroomError):
        await kit.resume(handle.id)
    kit.change_code(*WORKFLOWS)
    await kit.restart_engine()
    await kit.resume(handle.id)
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "completed"


def program(body: Callable[[], Any]) -> Any:
    async def changing() -> Any:
        return await body()

    return workflow(name="changing")(changing)


async def _as_it_was() -> Any:
    await first()
    await approval("Sure?")
    return await second()


async def _renamed() -> Any:
    await third()
    await approval("Sure?")
    return await second()


async def _inserted() -> Any:
    await third()
    await first()
    await approval("Sure?")
    return await second()


async def _removed() -> Any:
    await approval("Sure?")
    return await second()


async def _ends_early() -> Any:
    return await first()


async def _changed_behind() -> Any:
    await first()
    await approval("Sure?")
    await third()
    return await second()


@pytest.mark.parametrize("body", [_renamed, _inserted, _removed, _ends_early])
async def test_a_program_changed_before_its_place_is_parked_and_runs_nothing(
    kit: MemoryEngine, body: Any
) -> None:
    kit.register(program(_as_it_was))
    handle = await kit.start("changing", {})
    await kit.quiet()
    kit.change_code(*WORKFLOWS, program(body))
    await kit.restart_engine()
    await kit.answer(f"{handle.id}.2", {"approved": True})
    await kit.quiet()
    found = await kit.get(handle.id)
    assert found.error is not None
    assert (found.status, found.error.code) == ("failed", "code_changed")
    assert found.error.details["journal"] != found.error.details["code"]
    assert RUNS == ["first"]
    with pytest.raises(CodeChanged):
        await kit.resume(handle.id)
    why = await kit.why(handle.id)
    assert "journal" in why.text
    kit.change_code(*WORKFLOWS, program(_as_it_was))
    await kit.restart_engine()
    await kit.resume(handle.id)
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "completed"
    assert RUNS == ["first", "second"]


async def test_a_program_changed_behind_its_place_goes_on(kit: MemoryEngine) -> None:
    kit.register(program(_as_it_was))
    handle = await kit.start("changing", {})
    await kit.quiet()
    kit.change_code(*WORKFLOWS, program(_changed_behind))
    await kit.restart_engine()
    await kit.answer(f"{handle.id}.2", {"approved": True})
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "completed"
    assert RUNS == ["first", "third", "second"]


@pytest.mark.parametrize("name", ["line", "waits", "works"])
async def test_an_instance_whose_workflow_is_gone_is_read_and_cancelled_but_not_run(
    kit: MemoryEngine, name: str
) -> None:
    handle = await kit.start(name, {}, key="k")
    await kit.quiet()
    kit.change_code(sleeps)
    await kit.restart_engine()
    await kit.quiet()
    found = await kit.get(handle.id)
    assert found.workflow == name
    assert (await kit.history(handle.id)).items
    assert (await kit.get(f"{name}/k")).id == handle.id
    with pytest.raises(NotFound):
        await kit.start(name, {})
    with pytest.raises(GreenroomError):
        await kit.resume(handle.id)
    assert (await kit.cancel(handle.id)).status == "cancelled"


# -- opening -----------------------------------------------------------------------------------------


async def test_a_store_is_opened_by_one_engine_only(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "app.db"):
        with pytest.raises(Locked):
            async with Engine.open(tmp_path / "app.db"):
                pass
    async with Engine.open(tmp_path / "app.db") as again:
        assert (await again.info()).epoch == 2


async def test_an_engine_is_opened_once(memory: MemoryEngine) -> None:
    with pytest.raises(GreenroomError):
        await memory._engine.__aenter__()


async def test_two_workflows_of_one_name_are_refused() -> None:
    @workflow(name="waits")
    async def other() -> None:
        return None

    with pytest.raises(InvalidDefinition):
        Engine(":memory:", [waits, other])


@pytest.mark.parametrize("input", [[], "x", 7, True])
async def test_an_input_must_be_an_object(kit: MemoryEngine, input: Any) -> None:
    with pytest.raises(InvalidInput):
        await kit.start("line", input)


async def test_an_input_that_does_not_fit_is_refused_before_anything_exists(
    kit: MemoryEngine,
) -> None:
    for input in ({}, {"n": "x"}, {"n": None}):
        with pytest.raises(InvalidInput):
            await kit.start("parent", input)
    with pytest.raises(
        InvalidInput, match=r'workflow parent\(n\) needs "n", the input has: m'
    ) as no:
        await kit.start("parent", {"m": 1})
    assert no.value.hint is not None and "in start" in no.value.hint
    assert (await kit.info()).head == 0


@pytest.mark.parametrize("key", ["", "x" * 257, True, ["a"]])
async def test_a_key_nobody_can_have_is_the_callers_fault(kit: MemoryEngine, key: Any) -> None:
    with pytest.raises(InvalidInput, match="the key of waits must"):
        await kit.start("waits", {}, key=key)
    assert (await kit.info()).head == 0


async def test_an_instance_of_an_unknown_workflow_is_missed_by_the_name_of_the_workflow(
    kit: MemoryEngine,
) -> None:
    with pytest.raises(NotFound, match='no instance lime/7: there is no workflow "lime"; did you'):
        await kit.get("lime/7")
    with pytest.raises(NotFound, match=r"(?m)^there is no instance line/7$"):
        await kit.get("line/7")
    with pytest.raises(NotFound, match=r"^line is a workflow, and an instance is wanted") as no:
        await kit.get("line")
    assert no.value.hint == "line/KEY or the id of one:  greenroom ls workflow:line"
    with pytest.raises(NotFound, match='no workflow "lime"; did you mean "line"') as no:
        await kit.start("lime", {})
    assert no.value.hint is not None and "greenroom def ls" in no.value.hint


async def test_a_class_is_dispatched_and_found_by_its_key(kit: MemoryEngine) -> None:
    class Greets(Workflow):
        def __init__(self, name: str) -> None:
            self.name = name

        def id(self) -> str:
            return self.name

        async def handle(self) -> Any:
            event = await wait("hello")
            return event.data

    kit.register(Greets)
    handle = await Greets("bob").dispatch()
    found = await Greets.where_id("bob").find()
    assert found is not None
    assert found.name == "bob"
    await Greets.where_id("bob").pause()
    await Greets.where_id("bob").resume()
    await Greets.where_id("bob").send_event("hello", 7)
    await kit.quiet()
    assert (await kit.get(handle.id)).result == 7
    assert await Greets.where_id("eve").find() is None


# -- blocking ----------------------------------------------------------------------------------------


def test_the_blocking_engine_has_the_same_verbs(tmp_path: Path) -> None:
    with Engine.sync(tmp_path / "app.db", workflows=[waits, line(first, second)]) as engine:
        handle = engine.start("line", {})
        assert handle.result(timeout="10s") == {"first": True, "second": True}
        waiting = engine.start("waits", {}, key="k")
        assert engine.send(waiting.id, Event(type="go", data=1)).matched
        assert waiting.result(timeout="10s") == 1
        assert {item.status for item in engine.list("").items} == {"completed"}
        lines = [entry.kind for entry in engine.watch(waiting.id)]
        assert (lines[0], lines[-1]) == ("InstanceStarted", "InstanceCompleted")
        with pytest.raises(NotFound):
            engine.get("nothing-like-it")
        assert engine.asks.list().items == []
        assert engine.definitions.get("line").version == 1


# -- parts that crash --------------------------------------------------------------------------------


async def test_a_timer_that_crashes_once_goes_on(
    kit: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = await kit.start("sleeps", {})
    await kit.quiet()
    due, left = kit.directory.due, [1]

    def crashing(items: Any) -> None:
        if left:
            left.pop()
            raise ZeroDivisionError("a fault of ours")
        due(items)

    monkeypatch.setattr(kit.directory, "due", crashing)
    await kit.advance("1h")
    assert (await kit.get(handle.id)).result == "awake"


async def test_a_timer_that_keeps_crashing_ends_the_engine(
    memory: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await memory.start("sleeps", {})
    await memory.quiet()
    ended: list[BaseException] = []
    monkeypatch.setattr(memory._engine, "_on_fatal", ended.append)

    def crashing(items: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(memory.directory, "due", crashing)
    memory.clock.move_to(memory.clock.now() + 3_600_000)
    async with asyncio.timeout(5):
        while not ended:
            await asyncio.sleep(0)
    with pytest.raises(EngineDied):
        await memory.start("waits", {})
    with pytest.raises(EngineDied):
        await memory.post(Event(type="go"))


# -- too much ----------------------------------------------------------------------------------------


async def test_a_mailbox_that_is_full_refuses_callers_and_keeps_what_it_took(
    kit: MemoryEngine,
) -> None:
    handle = await kit.start("waits", {})
    await kit.quiet()
    answers = await asyncio.gather(
        *(kit.pause(handle.id, reason=str(n)) for n in range(600)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert {type(error) for error in refused} == {Busy}
    assert len(answers) - len(refused) >= 256
    assert (await kit.get(handle.id)).status == "paused"
