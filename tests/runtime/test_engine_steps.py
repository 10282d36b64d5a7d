"""Steps: retries, modes, timeouts, threads, processes, cancellation, `ctx`, odd results."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    Fatal,
    InDoubt,
    InstanceFailed,
    Retry,
    RetryPolicy,
    StepContext,
    StepFailed,
    Task,
    Workflow,
    begin,
    done,
    gather,
    race,
    retrystep,
    sleep,
    step,
    workflow,
)
from tests.runtime.kits import FileEngine, MemoryEngine

RUNS: list[Any] = []
FAIL: list[BaseException] = []
GATES: dict[str, asyncio.Future[Any]] = {}
VERIFIED: list[Any] = []


def trouble() -> None:
    if FAIL:
        raise FAIL.pop(0)


async def gate(name: str) -> None:
    GATES[name] = asyncio.get_running_loop().create_future()
    await GATES[name]


@step("Plain")
async def plain() -> dict[str, Any]:
    RUNS.append("plain")
    trouble()
    return {"plain": True}


@retrystep("Again", delay="10s", backoff=2, max_delay="1m", jitter=0, max_attempts=4)
async def again(ctx: StepContext) -> dict[str, Any]:
    RUNS.append(ctx.attempt)
    trouble()
    return {"attempt": ctx.attempt}


@retrystep("Picky", delay="10s", jitter=0, retry_on=(OSError,))
async def picky() -> dict[str, Any]:
    RUNS.append("picky")
    trouble()
    return {}


@step("Once", mode="at_most_once")
async def once() -> dict[str, Any]:
    RUNS.append("once")
    await gate("once")
    return {"once": True}


async def did_it_run() -> Any:
    return VERIFIED[0]


@step("Checked", mode="at_most_once", verify=did_it_run)
async def checked() -> dict[str, Any]:
    RUNS.append("checked")
    if len(RUNS) == 1:
        await gate("checked")
    return {"checked": "ran"}


@step("Held")
async def held() -> dict[str, Any]:
    RUNS.append("held")
    await gate("held")
    return {"held": True}


@step("Quick", timeout="20ms")
async def quick() -> dict[str, Any]:
    await asyncio.sleep(30)
    return {}


@step("Threaded")
def threaded(ctx: StepContext) -> dict[str, Any]:
    RUNS.append(threading.current_thread().name)
    trouble()
    return {"attempt": ctx.attempt}


@step("Processed", executor="process")
def processed(n: int) -> dict[str, Any]:
    return {"pid": os.getpid(), "n": n + 1}


@step("Dies", executor="process")
def dies(n: int) -> dict[str, Any]:
    os._exit(3)


@step("Tells")
async def tells(ctx: StepContext, event: Any, run: str, workflow_name: str) -> dict[str, Any]:
    return {
        "key": ctx.idempotency_key, "instance": ctx.instance, "op": ctx.op, "name": workflow_name,
        "business": ctx.key, "same": run == ctx.instance, "by": event and event.id,
    }  # fmt: skip


RETURNS: list[Any] = []


@step("Returns")
async def returns() -> Any:
    return RETURNS[0]


def line(name: str, *steps: Any, **options: Any) -> Any:
    def make() -> Any:
        found = begin
        for one in steps:
            found = found >> one
        return found >> done

    make.__name__ = name
    return workflow(make, **options)


LINES = [
    line("of_plain", plain), line("of_again", again), line("of_picky", picky), line("of_once", once),
    line("of_checked", checked), line("of_held", held), line("of_quick", quick),
    line("of_threaded", threaded), line("of_processed", processed),
    line("of_dies", dies), line("of_tells", tells, on="tell", key="::data.id"), line("of_returns", returns),
]  # fmt: skip


@workflow
async def catches() -> Any:
    try:
        await plain()
    except StepFailed as error:
        return str(error)


@workflow
async def runs_many() -> Any:
    return await gather(*(held() for _ in range(3)), return_exceptions=True)


@workflow
async def races() -> Any:
    return await race(held(), sleep("5s"))


@workflow
async def returns_what_it_is_told() -> Any:
    return RETURNS[0]


class Job(Task):
    def __init__(self, n: int) -> None:
        self.n = n

    async def handle(self) -> Any:
        RUNS.append(self.n)
        trouble()
        return self.n

    def on_error_retry_delay(self, error: Exception) -> int | None:
        return 5 if isinstance(error, OSError) else None


@workflow
class Jobs(Workflow):
    def __init__(self, n: int) -> None:
        self.n = n

    async def handle(self) -> Any:
        return await Job(self.n).execute()


WORKFLOWS = [*LINES, catches, runs_many, races, returns_what_it_is_told, Jobs]


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    for kept in (RUNS, FAIL, VERIFIED, RETURNS):
        kept.clear()
    GATES.clear()
    if request.param == "memory":
        made = MemoryEngine(*WORKFLOWS)
    else:
        made = FileEngine(tmp_path / "app.db", *WORKFLOWS)
    async with made as engine:
        yield engine


# -- retries ---------------------------------------------------------------------------------------


async def test_a_plain_step_is_tried_once(kit: MemoryEngine) -> None:
    FAIL.append(ValueError("no"))
    handle = await kit.start("of_plain", {})
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert found.status == "failed"
    assert found.error is not None
    assert (found.error.code, found.error.message) == ("step_failed", "no")
    assert found.error.details["type"] == "ValueError"
    await kit.advance("1d")
    assert RUNS == ["plain"]


async def test_a_retrystep_waits_longer_each_time(kit: MemoryEngine) -> None:
    FAIL.extend(OSError(str(n)) for n in range(3))
    handle = await kit.start("of_again", {})
    await kit.until_idle()
    for attempt, delay_s in ((1, 10), (2, 20), (3, 40)):
        (wait_,) = (await kit.get(handle.id)).waits
        assert (wait_.kind, wait_.attempt, wait_.error.message) == (
            "retry",
            attempt,
            str(attempt - 1),
        )
        await kit.advance(delay_s - 0.001)
        assert len(RUNS) == attempt
        await kit.advance(0.001)
        assert len(RUNS) == attempt + 1
    assert (await kit.get(handle.id)).result == {"attempt": 4}


async def test_retries_end_after_max_attempts_and_resume_gives_new_ones(kit: MemoryEngine) -> None:
    FAIL.extend(OSError(str(n)) for n in range(5))
    handle = await kit.start("of_again", {})
    await kit.advance("1h")
    assert RUNS == [1, 2, 3, 4]
    assert (await kit.get(handle.id)).status == "failed"
    await kit.resume(handle.id)
    await kit.until_idle()
    (wait_,) = (await kit.get(handle.id)).waits
    assert wait_.kind == "retry"
    await kit.advance("10s")
    assert RUNS == [1, 2, 3, 4, 5, 6]
    assert (await kit.get(handle.id)).result == {"attempt": 6}


@pytest.mark.parametrize("crash", [False, True])
async def test_a_retry_is_due_after_a_crash_too(kit: MemoryEngine, crash: bool) -> None:
    FAIL.append(OSError("no"))
    handle = await kit.start("of_again", {})
    await kit.until_idle()
    if crash:
        await kit.crash()
    else:
        await kit.restart_engine()
    await kit.advance("10s")
    assert (await kit.get(handle.id)).result == {"attempt": 2}


async def test_only_named_errors_are_tried_again(kit: MemoryEngine) -> None:
    FAIL.extend([ConnectionResetError("a kind of OSError"), ValueError("not one")])
    handle = await kit.start("of_picky", {})
    await kit.advance("10s")
    assert RUNS == ["picky", "picky"]
    assert (await kit.get(handle.id)).status == "failed"


async def test_retry_names_its_own_delay(kit: MemoryEngine) -> None:
    FAIL.append(Retry("later", after="3s"))
    handle = await kit.start("of_again", {})
    await kit.advance("2.999s")
    assert RUNS == [1]
    await kit.advance("1ms")
    assert (await kit.get(handle.id)).result == {"attempt": 2}


async def test_fatal_is_never_tried_again(kit: MemoryEngine) -> None:
    FAIL.append(Fatal("card stolen"))
    handle = await kit.start("of_again", {})
    await kit.advance("1h")
    assert RUNS == [1]
    assert (await kit.get(handle.id)).status == "failed"


async def test_a_task_names_the_delay_of_its_errors(kit: MemoryEngine) -> None:
    FAIL.extend([OSError("again"), OSError("again")])
    handle = await kit.start("Jobs", {"n": 7})
    await kit.advance("5s")
    await kit.advance("5s")
    assert RUNS == [7, 7, 7]
    assert (await kit.get(handle.id)).result == 7
    FAIL.append(ValueError("give up"))
    handle = await kit.start("Jobs", {"n": 8})
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "failed"


async def test_a_program_may_catch_what_a_step_raised(kit: MemoryEngine) -> None:
    FAIL.append(ValueError("no"))
    handle = await kit.start("catches", {})
    await kit.until_idle()
    assert "no" in (await kit.get(handle.id)).result


# -- modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_again", [False, True])
async def test_an_at_most_once_step_that_died_with_the_process_is_in_doubt(
    kit: MemoryEngine, run_again: bool
) -> None:
    handle = await kit.start("of_once", {})
    await kit.quiet()
    await kit.crash()
    found = await kit.get(handle.id)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error.code == "in_doubt"
    await kit.crash()
    assert RUNS == ["once"]
    with pytest.raises(InDoubt):
        await kit.resume(handle.id)
    assert f"greenroom skip {handle.id} once " in (await kit.why(handle.id)).text
    if run_again:
        await kit.resume(handle.id, run_again=True)
        await kit.quiet()
        assert RUNS == ["once", "once"]
        GATES["once"].set_result(None)
    else:
        await kit.skip(handle.id, "once", {"once": "by hand"})
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"once": True if run_again else "by hand"}


@pytest.mark.parametrize(
    ("said", "result", "runs"),
    [
        (None, {"checked": "ran"}, 2),
        (False, {"checked": "ran"}, 2),
        (True, {}, 1),
        ({"checked": "seen"}, {"checked": "seen"}, 1),
    ],
)
async def test_verify_says_whether_an_in_doubt_step_has_run(
    kit: MemoryEngine, said: Any, result: Any, runs: int
) -> None:
    VERIFIED.append(said)
    handle = await kit.start("of_checked", {})
    await kit.quiet()
    await kit.crash()
    first = await kit.resume(handle.id, request_id="r-1")
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == result
    assert len(RUNS) == runs
    assert await kit.resume(handle.id, request_id="r-1") == first


async def test_a_step_that_died_with_the_process_runs_again(kit: MemoryEngine) -> None:
    handle = await kit.start("of_held", {})
    await kit.quiet()
    await kit.crash()
    assert RUNS == ["held", "held"]
    GATES["held"].set_result(None)
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "completed"


async def test_a_step_that_kills_the_process_three_times_is_parked_as_poison(
    kit: MemoryEngine,
) -> None:
    handle = await kit.start("of_held", {})
    healthy = await kit.start("of_plain", {})
    await kit.quiet()
    for _ in range(2):
        await kit.crash()
    assert RUNS.count("held") == 3
    await kit.crash()
    found = await kit.get(handle.id)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error.code == "poison"
    assert RUNS.count("held") == 3
    assert (await kit.get(healthy.id)).status == "completed"
    await kit.resume(handle.id)
    await kit.quiet()
    assert RUNS.count("held") == 4
    GATES["held"].set_result(None)
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "completed"


async def test_R19_those_in_flight_with_a_step_that_kills_the_process_go_on(
    kit: MemoryEngine,
) -> None:
    """They run one at a time when it has died twice. The third death is of one of them alone, and
    what it was is known: here the second."""
    handles = [await kit.start("of_held", {}) for _ in range(4)]
    await kit.quiet()
    await kit.crash()
    RUNS.clear()
    await kit.crash()
    await kit.quiet()
    assert RUNS == ["held"]
    await kit.cancel(handles[0].id)
    await kit.quiet()
    assert RUNS == ["held", "held"]
    await kit.crash()
    await kit.quiet()
    found = [await kit.get(handle.id) for handle in handles]
    assert [one.status for one in found] == ["cancelled", "failed", "running", "running"]
    assert found[1].error is not None and found[1].error.code == "poison"
    for handle in handles[2:]:
        GATES["held"].set_result(None)
        await kit.quiet()
        assert (await kit.get(handle.id)).status == "completed"


async def test_a_suspect_step_that_is_cancelled_holds_up_no_other(kit: MemoryEngine) -> None:
    """What died with the process twice runs alone; who is next must not wait for the given up."""
    handles = [await kit.start("of_held", {}) for _ in range(3)]
    await kit.quiet()
    for _ in range(2):
        await kit.crash()
    RUNS.clear()
    await kit.quiet()
    for handle in handles[:2]:
        await kit.cancel(handle.id)
        await kit.quiet()
    GATES["held"].set_result(None)
    await kit.until_idle()
    assert [(await kit.get(h.id)).status for h in handles] == [
        "cancelled",
        "cancelled",
        "completed",
    ]


async def test_clean_stops_are_no_crashes(kit: MemoryEngine) -> None:
    handle = await kit.start("of_held", {})
    await kit.quiet()
    for _ in range(5):
        await kit.restart_engine()
    assert (await kit.get(handle.id)).status == "running"
    assert RUNS.count("held") == 6


# -- how they run ----------------------------------------------------------------------------------


async def test_a_step_that_takes_too_long_fails(kit: MemoryEngine) -> None:
    handle = await kit.start("of_quick", {})
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert found.error is not None
    assert (found.status, found.error.code) == ("failed", "timeout")


async def test_a_plain_function_runs_in_a_thread(kit: MemoryEngine) -> None:
    handle = await kit.start("of_threaded", {})
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"attempt": 1}
    assert RUNS[0].startswith("greenroom-step")


@pytest.mark.slow
async def test_a_step_may_run_in_a_process(kit: MemoryEngine) -> None:
    handle = await kit.start("of_processed", {"n": 1})
    await kit.until_idle(30)
    found = await kit.get(handle.id)
    assert found.status == "completed", found.error
    assert found.result["n"] == 2
    assert found.result["pid"] != os.getpid()


@pytest.mark.slow
async def test_a_process_that_dies_fails_its_step_and_no_later_one() -> None:
    async with MemoryEngine(*WORKFLOWS) as engine:
        handle = await engine.start("of_dies", {"n": 1})
        await engine.until_idle(30)
        assert (await engine.get(handle.id)).status == "failed"
        handle = await engine.start("of_processed", {"n": 1})
        await engine.until_idle(30)
        assert (await engine.get(handle.id)).result["n"] == 2


async def test_steps_of_a_gather_run_side_by_side(kit: MemoryEngine) -> None:
    handle = await kit.start("runs_many", {})
    await kit.quiet()
    assert RUNS == ["held"] * 3
    await kit.cancel(handle.id)
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "cancelled"
    assert GATES["held"].cancelled()


async def test_a_step_given_up_by_a_race_is_cancelled(kit: MemoryEngine) -> None:
    handle = await kit.start("races", {})
    await kit.quiet()
    kit.clock.move_to(kit.clock.now() + 5_000)
    await kit.quiet()
    assert (await kit.get(handle.id)).status == "completed"
    assert GATES["held"].cancelled()
    await kit.until_idle()


async def test_steps_in_flight_are_capped(tmp_path: Path) -> None:
    GATES.clear()
    RUNS.clear()
    async with MemoryEngine(*WORKFLOWS, in_flight=4) as engine:
        for _ in range(10):
            await engine.start("of_held", {})
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(RUNS) == 4
        for n in range(5, 11):
            GATES["held"].set_result(None)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(RUNS) == min(n, 10)


async def test_a_step_is_told_about_itself(kit: MemoryEngine) -> None:
    accepted = await kit.post({"type": "tell", "id": "e-1", "data": {"id": "k"}})
    await kit.until_idle()
    id = accepted.matched[0].instance
    result = (await kit.get(id)).result
    assert result == {
        "id": "k", "key": f"{id}/tells", "instance": id, "op": "tells", "name": "of_tells",
        "business": "k", "same": True, "by": "e-1",
    }  # fmt: skip


# -- odd results -----------------------------------------------------------------------------------


class Evil:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


RECURSIVE: dict[str, Any] = {}
RECURSIVE["me"] = RECURSIVE

ODD: dict[str, Any] = {
    "a live object": {"x": object()},
    "an object without repr": {"x": Evil()},
    "not a number": {"x": float("nan")},
    "infinity": {"x": float("-inf")},
    "a key that is no text": {1: 2},
    "itself": RECURSIVE,
    "a lone surrogate": {"x": "\ud800"},
    "two MiB": {"x": "x" * (2 << 20)},
    "too deep": None,
    "a huge number": {"x": 2**80},
}
_deep: Any = 1
for _ in range(100):
    _deep = [_deep]
ODD["too deep"] = {"x": _deep}


@pytest.mark.parametrize("name", list(ODD))
@pytest.mark.parametrize("who", ["of_returns", "returns_what_it_is_told"])
async def test_a_result_that_cannot_be_stored_fails_the_instance(
    kit: MemoryEngine, name: str, who: str
) -> None:
    RETURNS.append(ODD[name])
    handle = await kit.start(who, {})
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert found.status == "failed"
    RETURNS[0] = {"fine": 1}
    await kit.resume(handle.id)
    await kit.until_idle()
    assert (await kit.get(handle.id)).result == {"fine": 1}


@pytest.mark.parametrize("value", ["text", 7, [1], True])
async def test_a_step_of_a_list_must_give_an_object(kit: MemoryEngine, value: Any) -> None:
    RETURNS.append(value)
    handle = await kit.start("of_returns", {})
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "failed"


class Odd(BaseException):
    """Neither an Exception nor known to anybody."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3), KeyboardInterrupt(), Odd("odd"), Mute(), ExceptionGroup("g", [ValueError(1)]),
        asyncio.CancelledError(), StopIteration(), StopAsyncIteration(), GeneratorExit(),
        TimeoutError(), RecursionError(), MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("who", ["of_plain", "of_threaded"])
async def test_whatever_a_step_raises_fails_its_instance_and_nothing_else(
    kit: MemoryEngine, error: BaseException, who: str
) -> None:
    FAIL.append(error)
    handle = await kit.start(who, {})
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert found.status == "failed"
    other = await kit.start("of_plain", {})
    await kit.until_idle()
    assert (await kit.get(other.id)).status == "completed"
    with pytest.raises(InstanceFailed):
        await kit.result(handle.id)


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        Odd("odd"),
        Mute(),
        asyncio.CancelledError(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_program_raises_fails_its_instance_and_nothing_else(
    kit: MemoryEngine, error: BaseException
) -> None:
    @workflow(name="raises")
    async def raises() -> None:
        await plain()
        raise error

    kit.register(raises)
    handle = await kit.start("raises", {})
    await kit.until_idle()
    assert (await kit.get(handle.id)).status == "failed"
    other = await kit.start("of_plain", {})
    await kit.until_idle()
    assert (await kit.get(other.id)).status == "completed"


async def test_a_result_is_handed_on_as_it_is_stored(kit: MemoryEngine) -> None:
    @workflow(name="tuples")
    async def tuples() -> Any:
        RETURNS.append({"x": (1, 2), "s": {"y": 1}})
        found = await returns()
        return [type(found["x"]).__name__, found]

    kit.register(tuples)
    handle = await kit.start("tuples", {})
    await kit.until_idle()
    found = await kit.get(handle.id)
    assert found.status == "failed" or found.result[0] == "list"


def test_a_policy_is_public() -> None:
    assert RetryPolicy(delay_s=1).delay(1, "x") is not None
