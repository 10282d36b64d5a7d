"""Scopes of programs: a limit of time around anything that is awaited, and groups of work.

Every case is written twice, with coroutines and as a plain `handle()`; both must do the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import (
    InvalidInput,
    InvalidRequest,
    StepFailed,
    Task,
    Timeout,
    Workflow,
    child,
    continue_as_new,
    gather,
    retrystep,
    scope,
    sleep,
    step,
    timeout,
    wait,
    within,
    workflow,
)
from greenroom.testing import TestEngine

BROKEN: set[str] = set()
RUNS: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    BROKEN.clear()
    RUNS.clear()


@workflow
async def nap(length: float) -> float:
    await sleep(length)
    return length


@step("Work")
async def work(name: str) -> str:
    RUNS.append(name)
    if name in BROKEN:
        raise ValueError(f"{name} is broken")
    return name


class Work(Task):
    def __init__(self, name: str) -> None:
        self.name = name

    def handle(self) -> str:
        RUNS.append(self.name)
        if self.name in BROKEN:
            raise ValueError(f"{self.name} is broken")
        return self.name


class Base(Workflow):
    def __init__(self) -> None:
        self.log: list[Any] = []


# -- timeouts ----------------------------------------------------------------------------------


class LimitedCoroutine(Base):
    async def handle(self) -> Any:
        try:
            async with timeout("5s") as limit:
                self.log.append(await nap(1))
                self.log.append(await wait("never"))
        except TimeoutError as error:
            self.log.append([str(error), limit.is_over])
        try:
            async with timeout("5s"):
                try:
                    await gather(nap(1), nap(60))
                finally:
                    self.log.append(await work("clean up"))
        except Timeout:
            self.log.append("over")
        self.log.append(await within(nap(2), "5s"))
        try:
            await within(gather(nap(1), nap(60)), "5s")
        except Timeout:
            self.log.append("over")
        async with timeout("1h"):
            self.log.append(await work("in time"))
        return self.log


class LimitedPlain(Base):
    def handle(self) -> Any:
        try:
            with timeout("5s") as limit:
                self.log.append(nap(1))
                self.log.append(wait("never"))
        except TimeoutError as error:
            self.log.append([str(error), limit.is_over])
        try:
            with timeout("5s"):
                try:
                    gather(lambda: nap(1), lambda: nap(60))
                finally:
                    self.log.append(work("clean up"))
        except Timeout:
            self.log.append("over")
        self.log.append(within(lambda: nap(2), "5s"))
        try:
            within(lambda: gather(lambda: nap(1), lambda: nap(60)), "5s")
        except Timeout:
            self.log.append("over")
        with timeout("1h"):
            self.log.append(work("in time"))
        return self.log


@pytest.mark.parametrize("cls", [LimitedCoroutine, LimitedPlain])
async def test_a_block_an_op_and_a_gather_may_take_so_long_and_no_longer(cls: type) -> None:
    async with TestEngine(cls, nap) as engine:
        instance = await cls().dispatch()
        await engine.advance("5m")
        assert await instance.result() == [
            1, ["it took longer than 5 s", True], "clean up", "over", 2, "over", "in time",
        ]  # fmt: skip
        children = await engine.list("workflow:nap")
        assert sorted(c.status for c in children.items).count("cancelled") == 2


@pytest.mark.parametrize("cls", [LimitedCoroutine, LimitedPlain])
async def test_a_timeout_is_a_durable_timer_that_a_crash_does_not_move(cls: type) -> None:
    async with TestEngine(cls, nap) as engine:
        instance = await cls().dispatch()
        for _ in range(40):
            await engine.advance("1s")
            await engine.crash()
        assert (await engine.result(instance.id))[-1] == "in time"


async def test_what_was_left_in_time_leaves_no_timer_behind() -> None:
    @workflow
    async def quick() -> None:
        async with timeout("1h"):
            await work("a")
        await within(work("b"), "1h")
        await wait("never")

    async with TestEngine(quick) as engine:
        instance = await engine.start(quick)
        await engine.until_idle()
        assert [w.kind for w in (await engine.get(instance.id)).waits] == ["event"]


async def test_the_inner_of_two_blocks_ends_itself_and_the_outer_both() -> None:
    @workflow
    async def nested(inner: str, outer: str) -> list[str]:
        log = []
        try:
            async with timeout(outer):
                try:
                    async with timeout(inner):
                        await wait("never")
                except Timeout:
                    log.append("inner")
                    await wait("never")
        except Timeout:
            log.append("outer")
        return log

    async with TestEngine(nested) as engine:
        first = await engine.start(nested, {"inner": "5s", "outer": "20s"})
        second = await engine.start(nested, {"inner": "20s", "outer": "5s"})
        await engine.advance("1m")
        assert await first.result() == ["inner", "outer"]
        assert await second.result() == ["outer"]


async def test_a_cancel_is_not_taken_for_a_timeout() -> None:
    @workflow
    async def slow() -> None:
        try:
            async with timeout("5s"):
                try:
                    await wait("never")
                except asyncio.CancelledError:
                    await sleep("10s")  # longer than the limit
                    raise
        except Timeout:
            await work("told of a timeout")

    async with TestEngine(slow) as engine:
        instance = await engine.start(slow)
        await engine.until_idle()
        await engine.cancel(instance.id)
        await engine.advance("1m")
        assert (await engine.get(instance.id)).status == "cancelled"
        assert RUNS == []


async def test_a_paused_instance_is_not_over_time_until_it_is_resumed() -> None:
    @workflow
    async def limited() -> str:
        try:
            await within(wait("never"), "5s")
        except Timeout:
            return "over"
        return "?"

    async with TestEngine(limited) as engine:
        instance = await engine.start(limited)
        await engine.until_idle()
        await engine.pause(instance.id)
        await engine.advance("1m")
        assert (await engine.get(instance.id)).status == "paused"
        await engine.resume(instance.id)
        assert await instance.result() == "over"


async def test_resume_of_a_timeout_nobody_caught_gives_the_whole_time_again() -> None:
    @workflow
    async def limited() -> str:
        async with timeout("1h"):
            event = await wait("go")
        return str(event.type)

    async with TestEngine(limited) as engine:
        instance = await engine.start(limited)
        for _ in range(2):
            await engine.advance("61m")
            found = await engine.get(instance.id)
            assert found.status == "failed" and found.error is not None
            assert found.error.code == "timeout"
            await engine.resume(instance.id)
        await engine.crash()
        await engine.advance("59m")
        await engine.send(instance.id, {"type": "go"})
        assert await engine.result(instance.id) == "go"


async def test_what_comes_while_it_is_failed_counts_when_it_is_resumed() -> None:
    @workflow
    async def limited() -> float:
        return float(await within(nap(3600), "30m"))

    async with TestEngine(limited, nap) as engine:
        instance = await engine.start(limited)
        await engine.advance("2h")  # the child ends after the limit, and before the resume
        assert (await engine.get(instance.id)).status == "failed"
        await engine.resume(instance.id)
        assert await instance.result() == 3600


async def test_a_retry_inside_a_limit_can_be_hurried() -> None:
    @retrystep("Flaky", delay="10m")
    async def flaky() -> str:
        RUNS.append("flaky")
        if len(RUNS) < 2:
            raise ConnectionError
        return "done"

    @workflow
    async def limited() -> Any:
        return await within(flaky(), "1h")

    async with TestEngine(limited) as engine:
        instance = await engine.start(limited)
        await engine.until_idle()
        await engine.resume(instance.id)  # the timer of the limit is nothing that waits for data
        assert await instance.result() == "done"


# -- groups ------------------------------------------------------------------------------------


class GroupedCoroutine(Base):
    async def part(self, name: str) -> str:
        await sleep(1)
        return str(await work(name))

    async def handle(self) -> Any:
        async with scope() as group:
            first = group.start(work("first"))
            second = group.start(self.part("second"))
            third = group.start(Work("third"))
            self.log.append(await second)
        self.log += [await first, await third]
        try:
            async with scope() as group:
                group.start(wait("never"))
                group.start(work("bad"))
                await wait("never")
        except StepFailed as error:
            self.log.append(error.type)
        try:
            async with scope(on_error="settle") as group:
                kept = group.start(self.part("kept"))
                group.start(work("bad"))
        except StepFailed as error:
            self.log.append([error.type, await kept])
        try:
            async with scope() as group:
                group.start(wait("never"))
                raise KeyError("mine")
        except KeyError:
            self.log.append("mine")
        return self.log


class GroupedPlain(Base):
    def part(self, name: str) -> str:
        sleep(1)
        return str(work(name))

    def handle(self) -> Any:
        with scope() as group:
            first = group.start(lambda: work("first"))
            second = group.start(lambda: self.part("second"))
            third = group.start(Work("third"))
            self.log.append(second.result())
        self.log += [first.result(), third.result()]
        try:
            with scope() as group:
                group.start(lambda: wait("never"))
                group.start(lambda: work("bad"))
                wait("never")
        except StepFailed as error:
            self.log.append(error.type)
        try:
            with scope(on_error="settle") as group:
                kept = group.start(lambda: self.part("kept"))
                group.start(lambda: work("bad"))
        except StepFailed as error:
            self.log.append([error.type, kept.result()])
        try:
            with scope() as group:
                group.start(lambda: wait("never"))
                raise KeyError("mine")
        except KeyError:
            self.log.append("mine")
        return self.log


GROUPED = ["second", "first", "third", "ValueError", ["ValueError", "kept"], "mine"]


@pytest.mark.parametrize("cls", [GroupedCoroutine, GroupedPlain])
@pytest.mark.parametrize("crashes", [False, True])
async def test_a_scope_is_left_when_its_members_have_ended(cls: type, crashes: bool) -> None:
    BROKEN.add("bad")
    async with TestEngine(cls) as engine:
        instance = await cls().dispatch()
        for _ in range(10):
            await engine.advance("1s")
            if crashes:
                await engine.crash()
        assert await engine.result(instance.id) == GROUPED


async def test_a_scope_begins_what_is_started_at_once_and_side_by_side() -> None:
    @workflow
    async def wide() -> int:
        async with scope() as group:
            members = [group.start(nap(60)) for _ in range(50)]
        return sum([int(await member) for member in members])

    async with TestEngine(wide, nap) as engine:
        instance = await engine.start(wide)
        await engine.advance("61s")
        assert await instance.result() == 50 * 60


async def test_a_member_that_fails_for_good_is_retried_alone_by_resume() -> None:
    @workflow
    async def both() -> list[str]:
        async with scope() as group:
            a, b = group.start(work("a")), group.start(work("b"))
        return [await a, await b]

    BROKEN.add("b")
    async with TestEngine(both) as engine:
        instance = await engine.start(both)
        await engine.until_idle()
        assert (await engine.get(instance.id)).status == "failed"
        BROKEN.clear()
        await engine.resume(instance.id)
        assert await instance.result() == ["a", "b"]
        assert sorted(RUNS) == ["a", "b", "b"]


async def test_continue_as_new_inside_blocks_gives_up_what_they_hold() -> None:
    @workflow
    async def rounds(n: int = 0) -> int:
        async with timeout("1h"), scope() as group:
            group.start(nap(600))
            await sleep(1)
            if n < 2:
                continue_as_new({"n": n + 1})
            return n

    async with TestEngine(rounds, nap) as engine:
        instance = await engine.start(rounds)
        await engine.advance("20m")
        assert await instance.result() == 2


# -- what is refused ---------------------------------------------------------------------------


async def test_blocks_outside_a_program_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing drives this code"):
        async with timeout("5s"):
            pass
    with pytest.raises(InvalidRequest, match="nothing drives this code"), scope():
        pass
    with pytest.raises(InvalidInput):
        timeout("soon")
    with pytest.raises(InvalidInput, match="settle"):
        scope(on_error="ignore")  # type: ignore[arg-type]


async def failure_of(program: Any) -> str:
    async with TestEngine(program) as engine:
        instance = await engine.start(program)
        await engine.until_idle()
        found = await engine.get(instance.id)
        assert found.status == "failed" and found.error is not None
        message: str = found.error.message
        return message


async def test_the_wrong_with_is_named() -> None:
    @workflow
    async def coroutine() -> None:
        with timeout("5s"):
            pass

    class Plain(Workflow):
        def handle(self) -> None:
            made: Any = scope().__aenter__()
            made.send(None)

    assert "`async with`" in await failure_of(coroutine)
    assert "needs `with`" in await failure_of(Plain)


async def test_a_scope_takes_nothing_once_it_is_over_nor_anything_that_cannot_be_driven() -> None:
    @workflow
    async def late() -> None:
        async with scope() as group:
            pass
        group.start(work("late"))

    @workflow
    async def odd() -> None:
        async with scope() as group:
            group.start(5)

    @workflow
    async def uncalled() -> None:
        await gather(work("a"), work.func if hasattr(work, "func") else failure_of)

    @workflow
    async def twice() -> None:
        group = scope()
        async with group:
            pass
        async with group:
            pass

    assert "is over" in await failure_of(late)
    assert "got int at 0" in await failure_of(odd)
    assert "got function at 1" in await failure_of(uncalled)
    assert "make another" in await failure_of(twice)


async def test_a_scope_that_never_stops_starting_is_a_runaway() -> None:
    @workflow
    async def endless() -> None:
        async with scope() as group:
            while True:
                try:
                    group.start(work("more"))
                except Exception:
                    break

    async with TestEngine(endless) as engine:
        instance = await engine.start(endless)
        await engine.until_idle()
        found = await engine.get(instance.id)
        assert found.error is not None and found.error.code == "runaway"
        assert RUNS == []


# -- children ----------------------------------------------------------------------------------


@workflow
async def fragile() -> str:
    result: str = await work("child")
    return result


@pytest.fixture
async def engine(anyio_backend: str) -> AsyncIterator[TestEngine]:
    async with TestEngine(nap, fragile, giver, parent) as opened:
        yield opened


@workflow
async def giver(on_cancel: str) -> None:
    await child(nap, {"length": 60}, on_cancel=on_cancel)  # type: ignore[arg-type]


@workflow
async def parent(on_failed: str) -> str:
    try:
        return f"got {await child(fragile, on_failed=on_failed)}"  # type: ignore[arg-type]
    except StepFailed as error:
        return f"{error.type}: {error.message.split(' failed: ')[1]}"


@pytest.mark.parametrize(("on_cancel", "end"), [("cancel", "cancelled"), ("abandon", "completed")])
async def test_a_child_is_cancelled_with_its_parent_or_goes_on_alone(
    engine: TestEngine, on_cancel: str, end: str
) -> None:
    instance = await engine.start(giver, {"on_cancel": on_cancel})
    await engine.until_idle()
    await engine.crash()
    await engine.cancel(instance.id)
    await engine.advance("2m")
    (found,) = (await engine.list("workflow:nap")).items
    assert found.status == end


async def test_a_parent_waits_for_a_failed_child_until_it_is_mended(engine: TestEngine) -> None:
    BROKEN.add("child")
    instance = await engine.start(parent, {"on_failed": "wait"})
    await engine.until_idle()
    assert (await engine.get(instance.id)).status == "waiting"
    BROKEN.clear()
    (found,) = (await engine.list("workflow:fragile")).items
    await engine.resume(found.id)
    assert await instance.result() == "got child"


async def test_a_parent_may_be_told_that_its_child_failed(engine: TestEngine) -> None:
    BROKEN.add("child")
    instance = await engine.start(parent, {"on_failed": "raise"})
    await engine.until_idle()
    assert (await engine.get(instance.id)).result == "ValueError: child is broken"
    BROKEN.clear()
    (found,) = (await engine.list("workflow:fragile")).items
    assert found.status == "failed"
    await engine.resume(found.id)
    assert await engine.result(found.id) == "child"  # nobody listens any more


async def test_a_policy_must_be_known() -> None:
    with pytest.raises(InvalidInput, match="on_cancel"):
        child("x", on_cancel="keep")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="on_failed"):
        child("x", on_failed="ignore")  # type: ignore[arg-type]
