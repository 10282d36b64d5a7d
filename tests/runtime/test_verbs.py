"""The table verbs x statuses: every cell is a test, for step lists and programs, on both stores.

A refusal changes nothing: neither the head of the journal nor what anybody sees of the instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from greenroom import (
    AlreadyDecided,
    AlreadyRunning,
    EngineStopping,
    Event,
    FormInvalid,
    GreenroomError,
    IdConflict,
    InDoubt,
    InvalidRequest,
    InvalidTransition,
    NeedsAnswer,
    NoSuchAsk,
    NotFound,
    StillFails,
    approval,
    ask_step,
    begin,
    done,
    gather,
    retrystep,
    step,
    wait,
    workflow,
)
from tests.runtime.kits import FileEngine, MemoryEngine

# -- what the verbs are tried on -----------------------------------------------------------------

GATES: dict[str, asyncio.Future[None]] = {}
BROKEN: set[str] = set()
RUNS: list[str] = []
KINDS = ("steps", "program")
STATUSES = ("pending", "running", "waiting", "paused", "failed", "completed", "cancelled")
LIVE = STATUSES[:5]
FINAL = STATUSES[5:]


@step("Hold")
async def hold() -> dict[str, Any]:
    RUNS.append("hold")
    gate = GATES["hold"] = asyncio.get_running_loop().create_future()
    await gate
    return {"held": True}


@step("Break")
async def breaks() -> dict[str, Any]:
    RUNS.append("breaks")
    if "breaks" in BROKEN:
        raise ValueError("no")
    return {"mended": True}


@retrystep("Flaky", delay="10m", jitter=0)
async def flaky() -> dict[str, Any]:
    RUNS.append("flaky")
    if "flaky" in BROKEN:
        raise OSError("not now")
    return {"tried": True}


@step("Once", mode="at_most_once")
async def once() -> dict[str, Any]:
    RUNS.append("once")
    GATES["once"] = asyncio.get_running_loop().create_future()
    await GATES["once"]
    return {}


@step("After")
async def after() -> dict[str, Any]:
    RUNS.append("after")
    return {"after": True}


@workflow
def steps_running() -> Any:
    return begin >> hold >> after >> done


@workflow
def steps_asking() -> Any:
    return begin >> ask_step("Approve it", key="approve") >> after >> done


@workflow
def steps_retrying() -> Any:
    return begin >> flaky >> after >> done


@workflow
def steps_failed() -> Any:
    return begin >> breaks >> after >> done


@workflow
def steps_plain() -> Any:
    return begin >> after >> done


@workflow
async def program_running() -> Any:
    await hold()
    return await after()


@workflow
async def program_asking() -> Any:
    said = await approval("Approve it")
    await after()
    return said


@workflow
async def program_retrying() -> Any:
    await flaky()
    return await after()


@workflow
async def program_failed() -> Any:
    await breaks()
    return await after()


@workflow
async def program_plain() -> Any:
    return await after()


@workflow
async def program_waiting() -> Any:
    event = await wait("go")
    return event.data


@workflow
async def program_asks_and_runs() -> Any:
    said, _ = await gather(approval("Approve it"), hold())
    return said


@workflow
async def program_asks_in_doubt() -> Any:
    said, _ = await gather(approval("Approve it"), once())
    return said


@workflow
async def program_works_then_waits() -> Any:
    await hold()
    event = await wait("go")
    return event.data


@workflow
async def program_waits_and_runs() -> Any:
    event, _ = await gather(wait("go"), hold())
    return event.data


@workflow
async def program_waits_in_doubt() -> Any:
    event, _ = await gather(wait("go"), once())
    return event.data


WORKFLOWS = [value for name, value in list(globals().items()) if hasattr(value, "__greenroom__")]


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    GATES.clear()
    RUNS.clear()
    BROKEN.clear()
    BROKEN.update(("breaks", "flaky"))
    made = (
        MemoryEngine(*WORKFLOWS)
        if request.param == "memory"
        else FileEngine(tmp_path / "app.db", *WORKFLOWS)
    )
    async with made as engine:
        yield engine


async def made_as(engine: MemoryEngine, kind: str, status: str, key: str | None = None) -> str:
    """An instance of a kind of workflow in a status, by the plainest way there."""
    name = {
        "pending": "plain", "running": "running", "waiting": "asking", "paused": "asking",
        "failed": "failed", "completed": "plain", "cancelled": "asking",
    }[status]  # fmt: skip
    delay = "1h" if status == "pending" else None
    handle = await engine.start(f"{kind}_{name}", {}, key=key, delay=delay)
    await engine.quiet()
    if status == "paused":
        await engine.pause(handle.id)
    elif status == "cancelled":
        await engine.cancel(handle.id)
    await engine.quiet()
    assert await status_of(engine, handle.id) == status
    return str(handle.id)


async def status_of(engine: MemoryEngine, id: str) -> str:
    return str((await engine.get(id)).status)


async def picture(engine: MemoryEngine, id: str) -> Any:
    """Everything anybody can see of an instance, and the head of the journal."""
    info = await engine.info()
    history = await engine.history(id, limit=1_000)
    asks = await engine.asks.list("all")
    return info.head, info.instances, history.items, await engine.get(id), asks.items


async def refused(
    engine: MemoryEngine, id: str, verb: Awaitable[Any], *errors: type[GreenroomError]
) -> GreenroomError:
    """The verb raises one of these errors and changes nothing."""
    before = await picture(engine, id)
    with pytest.raises(errors) as caught:
        await verb
    await engine.quiet()
    assert await picture(engine, id) == before
    assert isinstance(caught.value, GreenroomError)
    return caught.value


Test = TypeVar("Test", bound=Callable[..., Any])


def cells(statuses: tuple[str, ...]) -> Callable[[Test], Test]:
    def decorate(test: Test) -> Test:
        by_status: Test = pytest.mark.parametrize("status", statuses)(test)
        both: Test = pytest.mark.parametrize("kind", KINDS)(by_status)
        return both

    return decorate


kinds = pytest.mark.parametrize("kind", KINDS)


# -- start -----------------------------------------------------------------------------------------


@cells(LIVE)
async def test_start_with_the_key_of_a_live_instance_is_refused(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status, "k")
    name = (await kit.get(id)).workflow
    error = await refused(kit, id, kit.start(name, {}, key="k"), AlreadyRunning)
    assert error.details["instance"] == id


@cells(FINAL)
async def test_start_with_the_key_of_an_ended_instance_starts_another(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status, "k")
    name = (await kit.get(id)).workflow
    other = await kit.start(name, {}, key="k")
    assert other.created
    assert other.id != id
    assert (await kit.get(f"{name}/k")).id == other.id


async def test_start_with_a_key_that_another_workflow_uses_is_no_conflict(
    kit: MemoryEngine,
) -> None:
    first = await kit.start("steps_asking", {}, key="k")
    second = await kit.start("program_asking", {}, key="k")
    assert first.id != second.id


# -- send ------------------------------------------------------------------------------------------

GO = Event(type="go", data={"n": 7})


async def test_send_to_a_pending_instance_waits_in_its_inbox(kit: MemoryEngine) -> None:
    handle = await kit.start("program_waiting", {}, delay="1h")
    sent = await kit.send(handle.id, GO)
    assert (sent.delivered, sent.matched) == (1, False)
    assert await status_of(kit, handle.id) == "pending"
    await kit.advance("1h")
    assert (await kit.get(handle.id)).result == {"n": 7}


async def test_send_to_a_running_instance_is_kept_for_a_later_wait(kit: MemoryEngine) -> None:
    handle = await kit.start("program_works_then_waits", {})
    await kit.quiet()
    sent = await kit.send(handle.id, GO)
    assert (sent.delivered, sent.matched) == (1, False)
    GATES["hold"].set_result(None)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"n": 7}


async def test_send_to_a_waiting_instance_wakes_it(kit: MemoryEngine) -> None:
    handle = await kit.start("program_waiting", {})
    sent = await kit.send(handle.id, GO)
    assert (sent.delivered, sent.matched) == (1, True)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"n": 7}


async def test_send_to_a_waiting_instance_that_wants_another_event_wakes_nothing(
    kit: MemoryEngine,
) -> None:
    handle = await kit.start("program_waiting", {})
    sent = await kit.send(handle.id, Event(type="stop"))
    assert (sent.delivered, sent.matched) == (1, False)
    await kit.until_idle()
    assert await status_of(kit, handle.id) == "waiting"


async def test_send_to_a_paused_instance_wakes_it_after_resume(kit: MemoryEngine) -> None:
    handle = await kit.start("program_waiting", {})
    await kit.pause(handle.id)
    sent = await kit.send(handle.id, GO)
    assert (sent.delivered, sent.matched) == (1, False)
    await kit.until_idle()
    assert await status_of(kit, handle.id) == "paused"
    await kit.resume(handle.id)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"n": 7}


async def test_send_to_a_failed_instance_wakes_nothing_until_it_goes_on(kit: MemoryEngine) -> None:
    handle = await kit.start("program_waits_in_doubt", {})
    await kit.quiet()
    await kit.crash()
    assert await status_of(kit, handle.id) == "failed"
    sent = await kit.send(handle.id, GO)
    assert (sent.delivered, sent.matched) == (1, False)
    assert await status_of(kit, handle.id) == "failed"
    op = next(
        e.op
        for e in (await kit.history(handle.id)).items
        if e.data and e.data.get("name") == "Once"
    )
    await kit.skip(handle.id, op, {})
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"n": 7}


@cells(FINAL)
async def test_send_to_an_ended_instance_delivers_nothing_and_is_no_error(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status)
    before = await picture(kit, id)
    sent = await kit.send(id, GO)
    assert (sent.delivered, sent.matched) == (0, False)
    assert (await picture(kit, id))[1:] == before[1:]  # the event itself is kept, to be looked up


@cells(LIVE)
async def test_send_is_taken_in_by_every_live_instance_and_survives_a_crash(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status)
    assert (await kit.send(id, GO)).delivered == 1


async def test_send_the_same_event_twice_is_one_event(kit: MemoryEngine) -> None:
    handle = await kit.start("program_works_then_waits", {})
    event = Event(type="go", id="e-1", data={"n": 1})
    assert (await kit.send(handle.id, event)).delivered == 1
    head = (await kit.info()).head
    assert (await kit.send(handle.id, event)).delivered == 1
    assert (await kit.info()).head == head
    with pytest.raises(IdConflict):
        await kit.send(handle.id, Event(type="go", id="e-1", data={"n": 2}))
    assert (await kit.info()).head == head


# -- answer ----------------------------------------------------------------------------------------

YES = {"approved": True}


def ask_of(id: str, kind: str) -> str:
    return f"{id}.approve" if kind == "steps" else f"{id}.1"


@kinds
async def test_answer_to_a_pending_instance_has_no_question(kit: MemoryEngine, kind: str) -> None:
    handle = await kit.start(f"{kind}_asking", {}, delay="1h")
    await refused(kit, handle.id, kit.answer(ask_of(handle.id, kind), YES), NoSuchAsk)


@kinds
async def test_answer_to_a_running_instance_without_a_question_is_refused(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "running")
    await refused(kit, id, kit.answer(ask_of(id, kind), YES), NoSuchAsk)


async def test_answer_to_a_running_instance_with_a_question_is_accepted(kit: MemoryEngine) -> None:
    handle = await kit.start("program_asks_and_runs", {})
    await kit.quiet()
    (ask,) = (await kit.asks.list()).items
    answered = await kit.answer(ask.id, YES)
    assert answered.status == "running"
    GATES["hold"].set_result(None)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == YES


@kinds
async def test_answer_to_a_waiting_instance_lets_it_go_on(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "waiting")
    answered = await kit.answer(ask_of(id, kind), YES, by="uid:1/anna")
    assert (answered.instance, answered.ask) == (id, ask_of(id, kind))
    await kit.until_idle()
    found = await kit.get(id)
    assert found.status == "completed"
    assert found.result == ({"approve": YES, "after": True} if kind == "steps" else YES)
    assert (await kit.asks.get(ask_of(id, kind))).answered["by"] == "uid:1/anna"
    assert (await kit.asks.list()).items == []


@kinds
async def test_answer_to_a_paused_instance_is_kept_until_resume(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "paused")
    assert (await kit.answer(ask_of(id, kind), YES)).status == "paused"
    await kit.until_idle()
    assert await status_of(kit, id) == "paused"
    assert RUNS == []
    await kit.crash()
    await kit.resume(id)
    await kit.until_idle()
    assert await status_of(kit, id) == "completed"


async def test_answer_to_a_failed_instance_is_kept_until_it_goes_on(kit: MemoryEngine) -> None:
    handle = await kit.start("program_asks_in_doubt", {})
    await kit.quiet()
    await kit.crash()
    assert await status_of(kit, handle.id) == "failed"
    (ask,) = (await kit.asks.list()).items
    assert (await kit.answer(ask.id, YES)).status == "failed"
    (doubt,) = ((await kit.get(handle.id)).error.details["op"],)
    await kit.skip(handle.id, doubt, {})
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == YES


@kinds
async def test_answer_to_an_answered_question_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "waiting")
    await kit.answer(ask_of(id, kind), YES)
    await kit.until_idle()
    await refused(kit, id, kit.answer(ask_of(id, kind), {"approved": False}), AlreadyDecided)


@kinds
async def test_answer_to_a_cancelled_instance_has_no_question(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "cancelled")
    await refused(kit, id, kit.answer(ask_of(id, kind), YES), NoSuchAsk)


@kinds
async def test_of_two_answers_at_once_the_first_wins(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "waiting")
    ask = ask_of(id, kind)
    answers: Sequence[Any] = await asyncio.gather(
        kit.answer(ask, YES, by="a"), kit.answer(ask, {"approved": False}, by="b"),
        return_exceptions=True,
    )  # fmt: skip
    assert not isinstance(answers[0], BaseException)
    assert isinstance(answers[1], AlreadyDecided)
    await kit.until_idle()
    found = await kit.get(id)
    assert found.result == ({"approve": YES, "after": True} if kind == "steps" else YES)


@kinds
@pytest.mark.parametrize(
    "data", [None, [], "yes", {}, {"approved": "yes"}, {"approved": True, "more": 1}]
)
async def test_an_answer_that_is_not_valid_changes_nothing(
    kit: MemoryEngine, kind: str, data: Any
) -> None:
    id = await made_as(kit, kind, "waiting")
    await refused(kit, id, kit.answer(ask_of(id, kind), data), FormInvalid)


# -- pause -----------------------------------------------------------------------------------------


@kinds
async def test_pause_of_a_pending_instance(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "pending")
    assert (await kit.pause(id)).status == "paused"
    await kit.advance("2h")
    assert await status_of(kit, id) == "paused"
    assert RUNS == []


@kinds
async def test_pause_of_a_running_instance_waits_for_the_step(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "running")
    reply = await kit.pause(id, reason="audit", by="uid:1/anna")
    assert (reply.status, reply.pending) == ("running", "pause")
    GATES["hold"].set_result(None)
    await kit.until_idle()
    assert await status_of(kit, id) == "paused"
    assert RUNS == ["hold"]
    paused = next(e for e in (await kit.history(id)).items if e.kind == "InstancePaused")
    assert (paused.by, paused.data) == ("uid:1/anna", {"reason": "audit"})


@kinds
async def test_pause_of_a_waiting_instance(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "waiting")
    reply = await kit.pause(id)
    assert (reply.status, reply.pending) == ("paused", None)


@kinds
async def test_pause_of_one_that_waits_for_a_retry_stops_the_retry(
    kit: MemoryEngine, kind: str
) -> None:
    handle = await kit.start(f"{kind}_retrying", {})
    await kit.until_idle()
    await kit.pause(handle.id)
    await kit.advance("1h")
    assert RUNS == ["flaky"]
    BROKEN.clear()
    await kit.resume(handle.id)
    await kit.until_idle()
    assert await status_of(kit, handle.id) == "completed"


@kinds
async def test_pause_of_a_paused_instance_is_a_no_op(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "paused")
    before = await picture(kit, id)
    assert (await kit.pause(id)).status == "paused"
    assert await picture(kit, id) == before


@cells(("failed", "completed", "cancelled"))
async def test_pause_of_one_that_does_not_live_on_is_refused(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status)
    await refused(kit, id, kit.pause(id), InvalidTransition)


# -- resume ----------------------------------------------------------------------------------------


@kinds
async def test_resume_of_a_pending_instance_runs_it_now(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "pending")
    await kit.resume(id)
    await kit.until_idle()
    assert await status_of(kit, id) == "completed"
    await kit.advance("2h")
    assert RUNS == ["after"]


@kinds
async def test_resume_of_a_running_instance_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "running")
    await refused(kit, id, kit.resume(id), InvalidTransition)


@kinds
async def test_resume_of_one_that_waits_for_a_retry_tries_at_once(
    kit: MemoryEngine, kind: str
) -> None:
    handle = await kit.start(f"{kind}_retrying", {})
    await kit.until_idle()
    assert (await kit.get(handle.id)).waits[0].kind == "retry"
    BROKEN.clear()
    await kit.resume(handle.id)
    await kit.until_idle()
    assert await status_of(kit, handle.id) == "completed"
    await kit.advance("1h")
    assert RUNS == ["flaky", "flaky", "after"]


@kinds
async def test_resume_of_one_that_waits_for_an_answer_names_the_question(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "waiting")
    error = await refused(kit, id, kit.resume(id), NeedsAnswer)
    assert ask_of(id, kind) in (error.hint or "")


@kinds
async def test_resume_of_a_paused_waiting_instance_waits_again(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "paused")
    assert (await kit.resume(id)).status == "waiting"
    await kit.answer(ask_of(id, kind), YES)
    await kit.until_idle()
    assert await status_of(kit, id) == "completed"


@kinds
@pytest.mark.parametrize("crash", [False, True])
async def test_resume_of_a_paused_pending_instance_is_pending_again(
    kit: MemoryEngine, kind: str, crash: bool
) -> None:
    id = await made_as(kit, kind, "pending")
    await kit.pause(id)
    if crash:
        await kit.crash()
    assert (await kit.resume(id)).status == "pending"
    await kit.until_idle()
    assert RUNS == []
    if crash:
        await kit.crash()
    assert RUNS == []
    await kit.advance("1h")
    assert RUNS == ["after"]
    assert await status_of(kit, id) == "completed"
    assert (await kit.info()).timers == 0


@kinds
async def test_resume_of_a_paused_pending_instance_whose_time_has_come_runs_it(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "pending")
    await kit.pause(id)
    await kit.advance("2h")
    await kit.resume(id)
    await kit.until_idle()
    assert RUNS == ["after"]
    assert await status_of(kit, id) == "completed"


@kinds
async def test_resume_of_one_that_pauses_while_a_step_runs_goes_on(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "running")
    await kit.pause(id)
    assert (await kit.resume(id)).status == "running"
    GATES["hold"].set_result(None)
    await kit.until_idle()
    assert RUNS == ["hold", "after"]
    assert await status_of(kit, id) == "completed"


@kinds
async def test_resume_of_a_failed_instance_tries_the_failed_step_again(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "failed")
    BROKEN.clear()
    await kit.resume(id, by="uid:1/anna", reason="fixed")
    await kit.until_idle()
    assert await status_of(kit, id) == "completed"
    assert RUNS == ["breaks", "breaks", "after"]
    attempts = [e.attempt for e in (await kit.history(id)).items if e.kind == "StepStarted"][:2]
    assert attempts == [1, 2]


@kinds
async def test_resume_of_a_failed_instance_that_fails_again_is_failed_again(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "failed")
    for times in range(2, 5):
        await kit.resume(id)
        await kit.until_idle()
        assert await status_of(kit, id) == "failed"
        assert ["breaks"] * times == RUNS


@cells(FINAL)
async def test_resume_of_an_ended_instance_is_refused(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status)
    await refused(kit, id, kit.resume(id), InvalidTransition)


async def test_resume_of_an_in_doubt_instance_asks_what_happened(kit: MemoryEngine) -> None:
    handle = await kit.start("program_asks_in_doubt", {})
    await kit.quiet()
    await kit.crash()
    await refused(kit, handle.id, kit.resume(handle.id), InDoubt)
    await kit.resume(handle.id, run_again=True)
    await kit.quiet()
    assert RUNS == ["once", "once"]


# -- cancel ----------------------------------------------------------------------------------------


@cells(("pending", "running", "waiting", "paused", "failed"))
async def test_cancel_of_a_live_instance_ends_it(kit: MemoryEngine, kind: str, status: str) -> None:
    id = await made_as(kit, kind, status)
    reply = await kit.cancel(id, reason="not needed", by="uid:1/anna")
    await kit.until_idle()
    found = await kit.get(id)
    assert found.status == "cancelled"
    assert reply.instance == id
    if status == "running":
        assert GATES["hold"].cancelled()
    assert "after" not in RUNS
    assert found.waits == []
    assert (await kit.asks.list()).items == []
    assert (await kit.info()).timers == 0
    await kit.crash()
    await kit.advance("3h")
    assert await status_of(kit, id) == "cancelled"
    assert "after" not in RUNS


@kinds
async def test_cancel_of_one_that_waits_for_a_retry_drops_the_retry(
    kit: MemoryEngine, kind: str
) -> None:
    handle = await kit.start(f"{kind}_retrying", {})
    await kit.until_idle()
    await kit.cancel(handle.id)
    await kit.advance("3h")
    assert RUNS == ["flaky"]
    assert (await kit.info()).timers == 0


@kinds
async def test_cancel_of_a_completed_instance_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "completed")
    await refused(kit, id, kit.cancel(id), InvalidTransition)


@kinds
async def test_cancel_of_a_cancelled_instance_is_a_no_op(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "cancelled")
    before = await picture(kit, id)
    assert (await kit.cancel(id)).status == "cancelled"
    assert await picture(kit, id) == before


# -- skip ------------------------------------------------------------------------------------------

OPS = {"steps": ("hold", "breaks", "flaky"), "program": ("1", "1", "1")}


@kinds
async def test_skip_in_a_pending_instance_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "pending")
    await refused(kit, id, kit.skip(id, OPS[kind][0]), NotFound, InvalidTransition)


@kinds
async def test_skip_of_a_running_step_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "running")
    await refused(kit, id, kit.skip(id, OPS[kind][0]), InvalidTransition)


@kinds
async def test_skip_of_an_open_question_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "waiting")
    op = "approve" if kind == "steps" else "1"
    await refused(kit, id, kit.skip(id, op), InvalidTransition)


@kinds
async def test_skip_of_a_step_that_waits_for_a_retry_takes_the_output(
    kit: MemoryEngine, kind: str
) -> None:
    handle = await kit.start(f"{kind}_retrying", {})
    await kit.until_idle()
    await kit.skip(handle.id, OPS[kind][2], {"tried": "by hand"})
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert found.status == "completed"
    if kind == "steps":
        assert found.result == {"tried": "by hand", "after": True}
    await kit.advance("3h")
    assert RUNS == ["flaky", "after"]


@kinds
async def test_skip_in_a_paused_instance_is_kept_until_resume(kit: MemoryEngine, kind: str) -> None:
    handle = await kit.start(f"{kind}_retrying", {})
    await kit.until_idle()
    await kit.pause(handle.id)
    await kit.skip(handle.id, OPS[kind][2], {"tried": "by hand"})
    await kit.until_idle()
    assert await status_of(kit, handle.id) == "paused"
    assert RUNS == ["flaky"]
    await kit.resume(handle.id)
    await kit.until_idle()
    assert await status_of(kit, handle.id) == "completed"
    assert RUNS == ["flaky", "after"]


@kinds
async def test_skip_of_a_failed_step_lets_the_instance_go_on(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "failed")
    reply = await kit.skip(id, OPS[kind][1], {"mended": "by hand"}, reason="did it myself")
    assert reply.status in ("running", "completed")
    await kit.until_idle()
    found = await kit.get(id)
    assert found.status == "completed"
    assert RUNS == ["breaks", "after"]
    if kind == "steps":
        assert found.result == {"mended": "by hand", "after": True}


@kinds
async def test_skip_of_an_op_that_does_not_exist_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "failed")
    await refused(kit, id, kit.skip(id, "no such op"), NotFound)


@cells(FINAL)
async def test_skip_in_an_ended_instance_is_refused(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status)
    await refused(kit, id, kit.skip(id, "after"), InvalidTransition, NotFound)


@kinds
async def test_skip_with_an_output_that_is_no_json_is_refused(kit: MemoryEngine, kind: str) -> None:
    id = await made_as(kit, kind, "failed")
    await refused(kit, id, kit.skip(id, OPS[kind][1], {"x": float("nan")}), GreenroomError)


# -- restart and fork --------------------------------------------------------------------------------


@cells(STATUSES)
@pytest.mark.parametrize("verb", ["restart", "fork"])
async def test_restart_and_fork_make_a_new_instance_and_leave_the_old_alone(
    kit: MemoryEngine, kind: str, status: str, verb: str
) -> None:
    id = await made_as(kit, kind, status, "k")
    before = await picture(kit, id)
    forked = await getattr(kit, verb)(id)
    await kit.quiet()
    assert forked.forked_from == id
    assert forked.instance != id
    found = await kit.get(forked.instance)
    assert found.forked_from == id
    assert found.key == ("k" if status in FINAL else None)
    assert (await picture(kit, id))[2:4] == before[2:4]


@cells(STATUSES)
async def test_fork_takes_a_key_of_its_own(kit: MemoryEngine, kind: str, status: str) -> None:
    id = await made_as(kit, kind, status, "k")
    forked = await kit.fork(id, key="other")
    assert (await kit.get(forked.instance)).key == "other"


@cells(LIVE)
async def test_fork_with_the_key_of_the_living_is_refused(
    kit: MemoryEngine, kind: str, status: str
) -> None:
    id = await made_as(kit, kind, status, "k")
    await refused(kit, id, kit.fork(id, key="k"), AlreadyRunning)


@kinds
async def test_restart_from_a_step_runs_what_comes_from_there_on(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "failed")
    BROKEN.clear()
    await kit.resume(id)
    await kit.until_idle()
    RUNS.clear()
    forked = await kit.restart(id, from_op="after" if kind == "steps" else "2")
    await kit.until_idle()
    assert RUNS == ["after"]
    assert await status_of(kit, forked.instance) == "completed"


@kinds
async def test_fork_from_an_op_that_was_never_asked_for_is_refused(
    kit: MemoryEngine, kind: str
) -> None:
    id = await made_as(kit, kind, "completed")
    await refused(kit, id, kit.fork(id, from_op="99"), NotFound)


async def test_fork_of_a_step_list_may_edit_the_state(kit: MemoryEngine) -> None:
    id = await made_as(kit, "steps", "completed")
    forked = await kit.fork(id, from_op="after", state={"edited": 1})
    await kit.until_idle()
    assert (await kit.get(forked.instance)).result == {"edited": 1, "after": True}


async def test_fork_of_a_program_cannot_edit_the_state(kit: MemoryEngine) -> None:
    id = await made_as(kit, "program", "completed")
    await refused(kit, id, kit.fork(id, state={"edited": 1}), InvalidRequest)


# -- requests --------------------------------------------------------------------------------------

Do = Callable[[MemoryEngine, str, str, Any], Awaitable[Any]]


async def _start(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    handle = await kit.start("steps_plain", {"n": int(other)}, request_id=request)
    return handle.id, handle.key


async def _pause(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    return await kit.pause(id, request_id=request, reason="other" if other else None)


async def _resume(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    return await kit.resume(id, request_id=request, reason="other" if other else None)


async def _cancel(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    return await kit.cancel(id, request_id=request, reason="other" if other else None)


async def _skip(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    return await kit.skip(id, "breaks", {"mended": int(other)}, request_id=request)


async def _restart(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    forked = await kit.restart(id, request_id=request, from_op="breaks" if other else None)
    return forked.instance, forked.forked_from


async def _fork(kit: MemoryEngine, id: str, request: str, other: bool) -> Any:
    forked = await kit.fork(id, request_id=request, state={"n": int(other)})
    return forked.instance, forked.forked_from


REQUESTS: dict[str, tuple[Do, str]] = {
    "start": (_start, "failed"),
    "pause": (_pause, "waiting"),
    "resume": (_resume, "failed"),
    "cancel": (_cancel, "waiting"),
    "skip": (_skip, "failed"),
    "restart": (_restart, "failed"),
    "fork": (_fork, "failed"),
}


@pytest.mark.parametrize("crash", [False, True], ids=["", "crash between"])
@pytest.mark.parametrize("verb", list(REQUESTS))
async def test_a_request_id_is_carried_out_once_and_answered_alike(
    kit: MemoryEngine, verb: str, crash: bool
) -> None:
    do, status = REQUESTS[verb]
    id = await made_as(kit, "steps", status)
    first = await do(kit, id, "r-1", False)
    await kit.until_idle()
    if crash:
        await kit.crash()
    before = await picture(kit, id)
    assert await do(kit, id, "r-1", False) == first
    await kit.until_idle()
    assert await picture(kit, id) == before


@pytest.mark.parametrize("verb", list(REQUESTS))
async def test_a_request_id_used_for_something_else_is_a_conflict(
    kit: MemoryEngine, verb: str
) -> None:
    do, status = REQUESTS[verb]
    id = await made_as(kit, "steps", status)
    await do(kit, id, "r-1", False)
    await kit.until_idle()
    await refused(kit, id, do(kit, id, "r-1", True), IdConflict)


@pytest.mark.parametrize("verb", list(REQUESTS))
async def test_a_request_id_given_many_times_at_once_is_carried_out_once(
    kit: MemoryEngine, verb: str
) -> None:
    do, status = REQUESTS[verb]
    id = await made_as(kit, "steps", status)
    answers = await asyncio.gather(*(do(kit, id, "r-1", False) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)


async def test_a_request_id_of_one_verb_is_a_conflict_for_another(kit: MemoryEngine) -> None:
    id = await made_as(kit, "steps", "waiting")
    await kit.pause(id, request_id="r-1")
    await refused(kit, id, kit.cancel(id, request_id="r-1"), IdConflict)
    await refused(kit, id, kit.start("steps_plain", {}, request_id="r-1"), IdConflict)


async def test_a_refused_request_is_not_remembered(kit: MemoryEngine) -> None:
    id = await made_as(kit, "steps", "running")
    await refused(kit, id, kit.resume(id, request_id="r-1"), InvalidTransition)
    await kit.pause(id, request_id="r-2")
    GATES["hold"].set_result(None)
    await kit.until_idle()
    assert (await kit.resume(id, request_id="r-1")).status in ("running", "completed")


@pytest.mark.parametrize("request_id", ["", "x" * 257])
async def test_a_request_id_must_be_short_text(kit: MemoryEngine, request_id: str) -> None:
    id = await made_as(kit, "steps", "waiting")
    await refused(kit, id, kit.pause(id, request_id=request_id), InvalidRequest)
    await refused(kit, id, kit.start("steps_plain", {}, request_id=request_id), InvalidRequest)


# -- addressing --------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[MemoryEngine, str], Awaitable[Any]]] = {
    "send": lambda kit, ref: kit.send(ref, GO),
    "pause": lambda kit, ref: kit.pause(ref),
    "resume": lambda kit, ref: kit.resume(ref),
    "cancel": lambda kit, ref: kit.cancel(ref),
    "skip": lambda kit, ref: kit.skip(ref, "breaks"),
    "restart": lambda kit, ref: kit.restart(ref),
    "fork": lambda kit, ref: kit.fork(ref),
    "get": lambda kit, ref: kit.get(ref),
    "why": lambda kit, ref: kit.why(ref),
    "history": lambda kit, ref: kit.history(ref),
    "state_at": lambda kit, ref: kit.state_at(ref, seq=1),
    "result": lambda kit, ref: kit.result(ref, timeout=0),
}


@pytest.mark.parametrize("verb", list(VERBS))
@pytest.mark.parametrize(
    "ref", ["nothing-like-it", "steps_failed/none", "nowhere/k", "01930000-0000-7000-8000-00000000"]
)
async def test_an_unknown_instance_is_not_found(kit: MemoryEngine, verb: str, ref: str) -> None:
    id = await made_as(kit, "steps", "failed", "k")
    await refused(kit, id, VERBS[verb](kit, ref), NotFound)


@pytest.mark.parametrize("verb", ["send", "pause", "resume", "cancel", "get", "why"])
async def test_an_instance_must_be_named_by_text(kit: MemoryEngine, verb: str) -> None:
    for ref in ("", None, 7):
        with pytest.raises(InvalidRequest):
            await VERBS[verb](kit, ref)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["send", "resume", "cancel", "skip", "restart", "fork"])
@pytest.mark.parametrize("how", ["prefix", "key"])
async def test_an_instance_is_addressed_by_prefix_or_key(
    kit: MemoryEngine, verb: str, how: str
) -> None:
    id = await made_as(kit, "steps", "failed", "k")
    ref = id[:20] if how == "prefix" else "steps_failed/k"
    BROKEN.clear()
    await VERBS[verb](kit, ref)


async def test_a_prefix_that_fits_two_instances_is_refused(kit: MemoryEngine) -> None:
    id = await made_as(kit, "steps", "waiting")
    await made_as(kit, "steps", "failed")
    await refused(kit, id, kit.pause(id[:8]), InvalidRequest, NotFound)


async def test_a_prefix_shorter_than_eight_characters_finds_nothing(kit: MemoryEngine) -> None:
    id = await made_as(kit, "steps", "waiting")
    await refused(kit, id, kit.pause(id[:7]), NotFound, InvalidRequest)


async def test_a_key_names_the_living_instance_else_the_newest(kit: MemoryEngine) -> None:
    old = await made_as(kit, "steps", "cancelled", "k")
    assert (await kit.get("steps_asking/k")).id == old
    await kit.advance("1s")
    new = (await kit.start("steps_asking", {}, key="k")).id
    assert (await kit.get("steps_asking/k")).id == new
    await kit.cancel(new)
    await kit.until_idle()
    assert (await kit.get("steps_asking/k")).id == new


# -- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["send", "pause", "resume", "cancel", "skip", "restart", "fork"])
async def test_verbs_are_refused_once_the_engine_stops(kit: MemoryEngine, verb: str) -> None:
    id = await made_as(kit, "steps", "failed")
    await kit.close()
    with pytest.raises(EngineStopping):
        await VERBS[verb](kit, id)
    with pytest.raises(EngineStopping):
        await kit.start("steps_plain", {})
    with pytest.raises(EngineStopping):
        await kit.post(GO)


@kinds
async def test_resume_that_leads_nowhere_is_refused(kit: MemoryEngine, kind: str) -> None:
    """A program that dies of itself, not of a step, dies again the same way."""

    @workflow(name="dies")
    async def dies() -> None:
        raise ValueError("always")

    kit.register(dies)
    handle = await kit.start("dies", {})
    await kit.until_idle()
    await refused(kit, handle.id, kit.resume(handle.id), StillFails)
