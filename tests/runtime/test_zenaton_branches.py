"""What features 6.1 and 6.2 say of branches, of pauses and of errors, row by row, in both forms."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from greenroom import (
    InstanceFailed,
    InvalidDefinition,
    InvalidTransition,
    RetryPolicy,
    Task,
    Wait,
    Workflow,
    gather,
    sleep,
    step,
    workflow,
)
from greenroom.definitions.declare import definition_of
from greenroom.runtime.cli.backend import call_engine
from greenroom.runtime.sync import SyncEngine
from greenroom.testing import TestEngine

RUNS: list[Any] = []
BROKEN: set[str] = set()
GATES: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def forget() -> None:
    RUNS.clear()
    BROKEN.clear()
    GATES.clear()


class Do(Task):
    """Runs until its gate is opened, if it has one."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def handle(self) -> str:
        RUNS.append(self.name)
        if self.name in GATES:
            await GATES[self.name].wait()
        if self.name in BROKEN:
            raise ValueError(f"{self.name} is broken")
        return self.name


# -- Z4, Z10, Z13 ------------------------------------------------------------------------------


class Printing(Workflow):
    async def handle(self) -> str:
        RUNS.append("begins")
        self.a = await Do("a").execute()
        RUNS.append("goes on")
        await Wait("go").execute()
        return "done"


class PlainPrinting(Workflow):
    def handle(self) -> str:
        RUNS.append("begins")
        self.a = Do("a").execute()
        RUNS.append("goes on")
        Wait("go").execute()
        return "done"


@pytest.mark.parametrize("cls", [Printing, PlainPrinting])
async def test_z4_handle_runs_again_only_to_be_brought_back(cls: type[Workflow]) -> None:
    async with TestEngine(cls, check_replay=False) as engine:
        instance = await cls().dispatch()
        await engine.until_idle()
        assert RUNS == ["begins", "a", "goes on"]  # not once for each decision
        await engine.crash()
        await engine.send(instance.id, {"type": "go"})
        await engine.until_idle()
        assert RUNS == ["begins", "a", "goes on", "begins", "goes on"]  # the task did not run again
        assert await engine.result(instance.id) == "done"


@pytest.mark.parametrize("cls", [Printing, PlainPrinting])
async def test_z13_the_result_of_a_task_becomes_a_property(cls: type[Workflow]) -> None:
    async with TestEngine(cls) as engine:
        instance = await cls().dispatch()
        await engine.until_idle()
        assert (await engine.get(instance.id)).state == {"a": "a"}
        lines = (await engine.history(instance.id, path="a")).items
        assert [line.data["value"] for line in lines] == ["a"]


def test_z10_the_verbs_of_the_interface_are_those_of_the_code() -> None:
    """What the socket and the command line call, by the table of methods."""
    with SyncEngine(":memory:", workflows=[PlainPrinting]) as engine:
        id = engine.start("PlainPrinting").id
        while not engine.list("status:waiting").items:
            pass
        for verb, status in (("pause", "paused"), ("resume", "waiting"), ("cancel", "cancelled")):
            assert call_engine(engine, verb, {"instance": id})["status"] == status
            assert call_engine(engine, "get", {"instance": id})["status"] == status


class Once(Workflow):
    def id(self) -> str:
        return "once"

    async def handle(self) -> str:
        self.a = await Do("slow").execute()
        return "done"


async def test_z8_resume_of_a_running_one_is_refused_and_of_a_paused_or_failed_one_goes_on() -> (
    None
):
    async with TestEngine(Once) as engine:
        GATES["slow"] = asyncio.Event()
        instance = await Once().dispatch()
        while not RUNS:
            await asyncio.sleep(0)
        with pytest.raises(InvalidTransition, match="running"):
            await Once.where_id("once").resume()
        BROKEN.add("slow")
        GATES["slow"].set()
        await engine.until_idle()
        assert (await engine.get(instance.id)).status == "failed"
        BROKEN.clear()
        await Once.where_id("once").resume()
        assert await instance.result() == "done"


async def test_z9_kill_cancels_the_running_task_and_takes_no_result_of_it_any_more() -> None:
    ended: list[str] = []

    class Cancelled(Task):
        async def handle(self) -> str:
            RUNS.append("runs")
            try:
                await GATES["never"].wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
            return "late"

    class Killed(Workflow):
        def id(self) -> str:
            return "k"

        async def handle(self) -> None:
            self.a = await Cancelled().execute()

    async with TestEngine(Killed) as engine:
        GATES["never"] = asyncio.Event()
        instance = await Killed().dispatch()
        while not RUNS:
            await asyncio.sleep(0)
        await Killed.where_id("k").kill()
        await engine.until_idle()
        found = await engine.get(instance.id)
        assert (found.status, found.state, ended) == ("cancelled", {}, ["cancelled"])


# -- branches ----------------------------------------------------------------------------------


class TwoBranches(Workflow):
    async def handle(self) -> str:
        self.log = ["main"]
        await Do("main").execute()
        self.log = [*self.log, "main again"]
        return "main"

    async def on_event(self, event: Any) -> None:
        self.log = [*self.log, event.name]
        await Do(event.name).execute()
        self.log = [*self.log, f"{event.name} again"]


class PlainTwoBranches(Workflow):
    def handle(self) -> str:
        self.log = ["main"]
        Do("main").execute()
        self.log = [*self.log, "main again"]
        return "main"

    def on_event(self, event: Any) -> None:
        self.log = [*self.log, event.name]
        Do(event.name).execute()
        self.log = [*self.log, f"{event.name} again"]


@pytest.mark.parametrize("cls", [TwoBranches, PlainTwoBranches])
async def test_62_a_run_completes_when_all_its_branches_have_ended(cls: type[Workflow]) -> None:
    async with TestEngine(cls) as engine:
        GATES.update({name: asyncio.Event() for name in ("main", "one", "two")})
        instance = await cls().dispatch()
        for name in ("one", "two"):
            await engine.send(instance.id, {"type": name})
        while len(RUNS) < 3:
            await asyncio.sleep(0)
        GATES["main"].set()
        while "main again" not in (await engine.get(instance.id)).state["log"]:
            await asyncio.sleep(0)
        assert (await engine.get(instance.id)).status == "running"  # handlers still are
        GATES["two"].set()
        GATES["one"].set()
        assert await instance.result() == "main"
        log = (await engine.get(instance.id)).state["log"]
        assert log[:4] == ["main", "one", "two", "main again"]
        assert sorted(log[4:]) == ["one again", "two again"]


@pytest.mark.parametrize("cls", [TwoBranches, PlainTwoBranches])
async def test_62_what_a_branch_sees_is_what_the_one_before_it_left(cls: type[Workflow]) -> None:
    """The order of the journal is the order of the branches, also after a crash."""
    async with TestEngine(cls) as engine:
        GATES["main"] = asyncio.Event()
        instance = await cls().dispatch()
        for name in ("one", "two", "three"):
            await engine.send(instance.id, {"type": name})
            while f"{name} again" not in (await engine.get(instance.id)).state["log"]:
                await asyncio.sleep(0)
        await crash_and_open(engine, "main", len(RUNS) + 1)
        assert (await engine.get(instance.id)).state["log"] == [
            "main", "one", "one again", "two", "two again", "three", "three again", "main again",
        ]  # fmt: skip


async def crash_and_open(engine: TestEngine, gate: str, runs: int) -> None:
    """A crash while a task stands at its gate, which is opened once the task runs again."""

    async def opener() -> None:
        while len(RUNS) < runs:
            await asyncio.sleep(0)
        GATES[gate].set()

    opening = asyncio.create_task(opener())
    await engine.crash()
    await opening
    await engine.until_idle()


class Leaves(Workflow):
    async def handle(self) -> str:
        await Do("left").dispatch()
        return "done"


class Waits(Leaves):
    wait_for_dispatched = True


class PlainWaits(Workflow):
    wait_for_dispatched = True

    def handle(self) -> str:
        Do("left").dispatch()
        return "done"


async def test_62_a_dispatched_task_does_not_keep_a_run_open() -> None:
    async with TestEngine(Leaves) as engine:
        GATES["left"] = asyncio.Event()
        instance = await Leaves().dispatch()
        assert await instance.result() == "done"
        GATES["left"].set()
        await engine.until_idle()


@pytest.mark.parametrize("cls", [Waits, PlainWaits])
async def test_62_wait_for_dispatched_keeps_it_open(cls: type[Workflow]) -> None:
    async with TestEngine(cls) as engine:
        GATES["left"] = asyncio.Event()
        instance = await cls().dispatch()
        while not RUNS:
            await asyncio.sleep(0)
        assert (await engine.get(instance.id)).status == "running"
        await crash_and_open(engine, "left", 2)
        assert await engine.result(instance.id) == "done"


async def test_62_wait_for_dispatched_makes_their_failure_that_of_the_run() -> None:
    async with TestEngine(Waits) as engine:
        BROKEN.add("left")
        instance = await Waits().dispatch()
        await engine.until_idle()
        assert (await engine.get(instance.id)).status == "failed"
        BROKEN.clear()
        await engine.resume(instance.id)
        assert await instance.result() == "done"


# -- waits and pauses --------------------------------------------------------------------------


async def test_62_a_wait_may_filter_by_the_data_of_the_event() -> None:
    class Filtered(Workflow):
        async def handle(self) -> Any:
            event = await Wait("paid", where={"data.order": 7}).execute()
            return event.data

    async with TestEngine(Filtered) as engine:
        instance = await Filtered().dispatch()
        for order in (6, 7):
            await engine.send(instance.id, {"type": "paid", "data": {"order": order}})
        assert await instance.result() == {"order": 7}


async def test_62_a_wait_for_an_event_without_a_duration_never_ends_by_itself() -> None:
    class Forever(Workflow):
        async def handle(self) -> Any:
            return (await Wait("go").execute()).name

    async with TestEngine(Forever) as engine:
        instance = await Forever().dispatch()
        await engine.advance("10000 days")
        assert (await engine.get(instance.id)).status == "waiting"
        await engine.send(instance.id, {"type": "go"})
        assert await instance.result() == "go"


class Paused(Workflow):
    async def handle(self) -> None:
        self.log: list[str] = []
        await Do("running").execute()
        await Do("next").execute()
        await Wait().seconds(10).execute()
        self.log = [*self.log, "timer"]
        await Wait("end").execute()

    async def on_event(self, event: Any) -> None:
        self.log = [*self.log, event.name]


async def test_62_pause_lets_the_running_task_end_and_begins_nothing() -> None:
    async with TestEngine(Paused) as engine:
        GATES["running"] = asyncio.Event()
        instance = await Paused().dispatch()
        while not RUNS:
            await asyncio.sleep(0)
        reply = await engine.pause(instance.id)
        assert (reply.status, reply.pending) == ("running", "pause")
        GATES["running"].set()
        await engine.until_idle()
        assert (await engine.get(instance.id)).status == "paused"
        assert RUNS == ["running"]
        await engine.crash()
        await engine.resume(instance.id)
        await engine.until_idle()
        assert RUNS == ["running", "next"]  # it was recorded, and does not run again


async def test_62_events_and_timers_of_a_pause_come_in_their_order_with_the_resume() -> None:
    async with TestEngine(Paused) as engine:
        instance = await Paused().dispatch()
        await engine.until_idle()
        await engine.pause(instance.id)
        await engine.advance("5s")
        await engine.send(instance.id, {"type": "before"})
        await engine.advance("10s")
        await engine.send(instance.id, {"type": "after"})
        await engine.until_idle()
        assert (await engine.get(instance.id)).state == {"log": []}
        await engine.resume(instance.id)
        await engine.until_idle()
        assert (await engine.get(instance.id)).state["log"] == ["before", "timer", "after"]


# -- errors ------------------------------------------------------------------------------------


class PausesOnError(Workflow):
    on_error = "pause"

    def id(self) -> str:
        return "p"

    async def handle(self) -> str:
        return str(await Do("fragile").execute())


async def test_z14_on_error_pause_shows_a_pause_with_its_error() -> None:
    async with TestEngine(PausesOnError) as engine:
        BROKEN.add("fragile")
        instance = await PausesOnError().dispatch()
        with pytest.raises(InstanceFailed, match="fragile is broken"):
            await instance.result()
        found = await engine.get(instance.id)
        assert found.status == "paused" and found.error is not None
        assert [i.id for i in (await engine.list("status:paused")).items] == [instance.id]
        assert {"reason": "error"} in [fact.data for fact in (await engine.why(instance.id)).facts]
        assert (await engine.pause(instance.id)).status == "paused"  # it is already
        await engine.crash()
        assert (await engine.get(instance.id)).status == "paused"
        BROKEN.clear()
        await PausesOnError.where_id("p").resume()
        assert await engine.result(instance.id) == "fragile"


async def test_z14_changed_code_is_no_pause_whatever_on_error_says() -> None:
    @workflow(name="story", on_error="pause")
    async def before() -> None:
        await Wait("go").execute()

    @workflow(name="story", on_error="pause")
    async def after() -> None:
        await sleep(1)

    engine = TestEngine(before)
    async with engine:
        instance = await engine.start("story")
        await engine.until_idle()
        engine._workflows = [after]
        await engine.crash()
        await engine.send(instance.id, {"type": "go"})
        await engine.until_idle()
        assert (await engine.get(instance.id)).status == "failed"


def test_on_error_takes_fail_or_pause() -> None:
    class Odd(Workflow):
        on_error = "ignore"

        async def handle(self) -> None:
            return None

    class Method(Workflow):
        async def handle(self) -> None:
            return None

        def on_error(self, error: Exception) -> None:
            """A method of the author's is no option."""

    with pytest.raises(InvalidDefinition, match="on_error"):
        definition_of(Odd)
    assert definition_of(Method).on_error == "fail"


class Slow(Task):
    soft_timeout = "10ms"

    async def handle(self) -> str:
        await GATES["slow"].wait()
        return "done"


async def test_62_a_soft_timeout_only_signals(caplog: pytest.LogCaptureFixture) -> None:
    @step("Plain slow", soft_timeout=0.01)
    async def slow() -> str:
        await GATES["slow"].wait()
        return "done"

    @workflow
    async def both() -> list[str]:
        found: list[str] = await gather(slow(), Slow())
        return found

    GATES["slow"] = asyncio.Event()
    async with TestEngine(both) as engine:
        instance = await engine.start(both)
        with caplog.at_level(logging.WARNING):
            while "takes longer" not in (await engine.why(instance.id)).text:
                await asyncio.sleep(0.005)
        GATES["slow"].set()
        assert await instance.result() == ["done", "done"]


def test_a_retry_must_be_a_policy() -> None:
    wrong: Any = {"delay": "10s"}
    with pytest.raises(InvalidDefinition, match="RetryPolicy"):

        @step("X", retry=wrong)
        def refused() -> None:
            return None

    @step("Y", retry=RetryPolicy())
    def taken() -> None:
        return None
