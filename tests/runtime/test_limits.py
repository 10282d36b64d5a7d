"""What a workflow says about its instances as a crowd: how many at once, how often, how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    AlreadyRunning,
    InvalidDefinition,
    NotFound,
    StepList,
    Workflow,
    ask_step,
    begin,
    child,
    continue_as_new,
    done,
    sleep,
    step,
    wait,
    workflow,
)
from greenroom.definitions.declare import definition_of
from greenroom.definitions.documents import document_from
from greenroom.runtime.paces import Line
from tests.definitions.test_documents import document
from tests.runtime.kits import FileEngine, MemoryEngine

SEEN: list[Any] = []


@pytest.fixture(params=["memory", "sqlite"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    SEEN.clear()
    made = MemoryEngine() if request.param == "memory" else FileEngine(tmp_path / "app.db")
    async with made:
        yield made


async def statuses(engine: Any, *ids: str) -> list[str]:
    return [(await engine.get(id)).status for id in ids]


async def go(engine: Any, *names: Any) -> None:
    for name in names:
        await engine.post({"type": "go", "data": {"id": name}})
    await engine.quiet()


async def finish(engine: Any, id: str) -> None:
    """Gives an instance what it waits for."""
    found = await engine.get(id)
    if found.workflow == "steps":
        await engine.answer(f"{id}.go", {"approved": True})
        await engine.quiet()
    else:
        state = found.state or {}
        await go(engine, state.get("id", (await engine.history(id)).items[0].data["input"]["id"]))


# -- timeout -----------------------------------------------------------------------------------


@step("Note")
async def note(id: int = 0) -> dict[str, Any]:
    SEEN.append(id)
    return {"noted": True}


@workflow(timeout="1h")
async def program(id: int) -> str:
    await wait("go", where={"data.id": id})
    return "in time"


@workflow(timeout="1h")
def steps() -> StepList:
    return begin >> ask_step("Go on?", key="go") >> note >> done


def core(kind: str, order: int, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"Core:{kind}", "order": order, "parameters": parameters}


def paper() -> dict[str, Any]:
    go = core("WaitForEvent", 1, {"event_type": "go", "where": {"data.id": "::id"}})
    return document(go, timeout="1h", name="paper")


TIMED = pytest.mark.parametrize("name", ["program", "steps", "paper"])


@TIMED
async def test_limits_an_instance_that_has_not_ended_in_time_fails_and_may_go_on(
    engine: Any, name: str
) -> None:
    engine.register(program, steps, paper())
    late = await engine.start(name, {"id": 1})
    soon = await engine.start(name, {"id": 2})
    await engine.advance("30m")
    why = (await engine.why(late.id)).text
    assert "unless it ends in 30 min" in why
    (found,) = (await engine.get(late.id)).waits
    assert found.kind in ("event", "form", "approval")
    await finish(engine, soon.id)
    await engine.crash()
    await engine.advance("29m")
    assert await statuses(engine, late.id, soon.id) == ["waiting", "completed"]
    await engine.advance("1m")
    found = await engine.get(late.id)
    assert (found.status, found.error.code) == ("failed", "timeout")
    assert "has not ended within 1 h" in found.error.message
    assert [one.id for one in (await engine.list("error:timeout")).items] == [late.id]
    await engine.crash()
    await engine.resume(late.id)
    await engine.advance("59m")
    assert await statuses(engine, late.id) == ["waiting"]
    await engine.advance("1m")
    assert await statuses(engine, late.id) == ["failed"]
    await engine.resume(late.id)
    await finish(engine, late.id)
    assert await statuses(engine, late.id, soon.id) == ["completed", "completed"]
    assert (await engine.info()).timers == 0
    assert not [one for one in await engine.doctor(deep=True) if one.level != "ok"]


@step("Reserve", compensate=lambda id: SEEN.append(f"released {id}"))
def reserve(id: int) -> None:
    SEEN.append(f"reserved {id}")


def saga(**options: Any) -> Any:
    @workflow(name="saga", timeout="1h", **options)
    def saga() -> StepList:
        return begin >> reserve >> ask_step("Go on?", key="go") >> note >> done

    return saga


async def test_limits_what_an_instance_did_that_is_late_is_taken_back(engine: Any) -> None:
    engine.register(saga())
    late = await engine.start("saga", {"id": 1})
    await engine.advance("59m")
    assert SEEN == ["reserved 1"]
    await engine.crash()
    await engine.advance("1m")
    await engine.quiet()
    found = await engine.get(late.id)
    assert SEEN == ["reserved 1", "released 1"]
    assert (found.status, found.outcome, found.waits) == ("cancelled", "compensated", [])
    assert (found.error.code, found.error.details["type"]) == ("timeout", "Timeout")
    assert "has not ended within 1 h" in found.error.message
    assert (await engine.info()).timers == 0
    assert not [one for one in await engine.doctor(deep=True) if one.level != "ok"]
    await engine.advance("2h")
    assert (await engine.get(late.id)).status == "cancelled"


async def test_limits_what_takes_back_and_fails_has_a_time_of_its_own(engine: Any) -> None:
    """And when that is over too, the instance is failed and nothing is taken back twice."""
    fails = [ValueError("no"), ValueError("no")]

    def release(id: int) -> None:
        if fails:
            raise fails.pop()
        SEEN.append(f"released {id}")

    @step("Hold", compensate=release)
    def hold(id: int) -> None: ...

    @workflow(name="hold", timeout="1h")
    def held() -> StepList:
        return begin >> hold >> ask_step("Go on?", key="go") >> done

    engine.register(held)
    late = await engine.start("hold", {"id": 1})
    await engine.advance("1h")
    await engine.quiet()
    found = await engine.get(late.id)
    assert (found.status, found.error.message) == ("failed", "no")
    await engine.crash()
    await engine.resume(late.id)
    await engine.quiet()
    assert (await engine.get(late.id)).status == "failed"
    await engine.advance("3h")
    assert SEEN == []
    await engine.resume(late.id)
    await engine.quiet()
    found = await engine.get(late.id)
    assert (SEEN, found.status, found.outcome) == (["released 1"], "cancelled", "compensated")
    assert found.error.code == "timeout"


async def test_limits_where_a_person_decides_nothing_is_taken_back(engine: Any) -> None:
    engine.register(saga(on_failure="park"))
    late = await engine.start("saga", {"id": 1})
    await engine.advance("1h")
    found = await engine.get(late.id)
    assert (found.status, found.error.code, SEEN) == ("failed", "timeout", ["reserved 1"])
    await engine.resume(late.id)
    await engine.answer(f"{late.id}.go", {"approved": True})
    await engine.quiet()
    assert (await engine.get(late.id)).status == "completed"


@TIMED
async def test_limits_the_time_stands_still_while_it_is_paused_and_ends_with_a_cancel(
    engine: Any, name: str
) -> None:
    engine.register(program, steps, paper())
    one = await engine.start(name, {"id": 1})
    two = await engine.start(name, {"id": 2})
    await engine.advance("50m")
    await engine.pause(one.id)
    await engine.cancel(two.id)
    assert (await engine.info()).timers == 0
    await engine.advance("3h")
    await engine.resume(one.id)
    await engine.advance("50m")
    assert await statuses(engine, one.id, two.id) == ["waiting", "cancelled"]
    await engine.advance("10m")
    assert await statuses(engine, one.id) == ["failed"]


async def test_limits_what_comes_while_it_is_late_is_kept_and_applied(engine: Any) -> None:
    engine.register(steps)
    late = await engine.start("steps", {"id": 7})
    await engine.advance("1h")
    await finish(engine, late.id)
    assert await statuses(engine, late.id) == ["failed"]
    assert SEEN == []
    await engine.resume(late.id)
    await engine.quiet()
    assert await statuses(engine, late.id) == ["completed"]
    assert SEEN == [7]


@workflow(timeout="1h")
async def tidy() -> None:
    try:
        await wait("go")
    finally:
        await sleep("3h")
        await note(1)


async def test_limits_nobody_hurries_the_end_of_a_cancel(engine: Any) -> None:
    engine.register(tidy)
    made = await engine.start("tidy", {})
    await engine.advance("30m")
    await engine.cancel(made.id)
    await engine.advance("2h")
    assert await statuses(engine, made.id) == ["waiting"]
    await engine.advance("1h")
    assert await statuses(engine, made.id) == ["cancelled"]
    assert SEEN == [1]


@workflow(timeout="1h")
async def rounds(n: int = 0) -> None:
    await sleep("20m")
    continue_as_new({"n": n + 1})


async def test_limits_all_generations_have_one_time_together(engine: Any) -> None:
    engine.register(rounds)
    made = await engine.start("rounds", {})
    await engine.advance("30m")
    await engine.crash()
    await engine.advance("29m")
    assert await statuses(engine, made.id) == ["waiting"]
    await engine.advance("2m")
    assert await statuses(engine, made.id) == ["failed"]


async def test_limits_the_time_begins_with_the_first_turn_and_that_of_a_fork_with_the_fork(
    engine: Any,
) -> None:
    engine.register(program)
    made = await engine.start("program", {"id": 1}, delay="2h")
    await engine.advance("2h30m")
    fork = await engine.fork(made.id, from_op="1")
    await engine.quiet()
    await engine.advance("30m")
    assert await statuses(engine, made.id, fork.instance) == ["failed", "waiting"]
    await engine.advance("30m")
    assert await statuses(engine, fork.instance) == ["failed"]


@workflow
async def parent() -> Any:
    return await child(program, {"id": 1}, on_failed="raise")


async def test_limits_a_parent_that_wants_to_know_learns_of_it(engine: Any) -> None:
    engine.register(program, parent)
    made = await engine.start("parent", {})
    await engine.advance("1h")
    found = await engine.get(made.id)
    assert found.status == "failed"
    assert "has not ended within" in found.error.message


# -- retention ---------------------------------------------------------------------------------


@workflow(retention="30 days")
async def short(n: int = 0) -> int:
    return n


@workflow
async def kept(n: int = 0) -> int:
    return n


async def test_limits_what_ended_longer_ago_than_its_retention_goes_by_itself(engine: Any) -> None:
    engine.register(short, kept, {**paper(), "retention": "2h"})
    old = await engine.start("short", {})
    other = await engine.start("kept", {})
    lives = await engine.start("paper", {"id": 1})
    gone = await engine.start("paper", {"id": 2})
    await go(engine, 2)
    await engine.advance("29d")
    assert await statuses(engine, old.id, other.id, lives.id) == [
        "completed",
        "completed",
        "failed",
    ]
    with pytest.raises(NotFound):
        await engine.get(gone.id)
    young = await engine.start("short", {})
    await engine.crash()
    await engine.advance("26h")
    with pytest.raises(NotFound):
        await engine.get(old.id)
    assert await statuses(engine, young.id, other.id) == ["completed", "completed"]
    await engine.advance("31d")
    with pytest.raises(NotFound):
        await engine.get(young.id)
    assert await statuses(engine, other.id) == ["completed"]
    assert not [one for one in await engine.doctor(deep=True) if one.level != "ok"]


async def test_limits_what_fell_due_while_nothing_ran_goes_at_the_start(engine: Any) -> None:
    engine.register(short)
    old = await engine.start("short", {})
    await engine.quiet()
    engine.directory.stopping = True  # nothing of it is looked at any more
    await engine.advance("31d")
    engine.directory.stopping = False
    assert await statuses(engine, old.id) == ["completed"]
    await engine.crash()
    with pytest.raises(NotFound):
        await engine.get(old.id)


# -- rate --------------------------------------------------------------------------------------


@workflow(on="new", rate={"limit": 2, "per": "1m", "key": "::user"})
async def paced(user: str, id: int) -> int:
    await note(id)
    return id


async def test_limits_starts_beyond_the_rate_are_queued_for_each_key(engine: Any) -> None:
    engine.register(paced)
    made = [await engine.start("paced", {"user": "a", "id": n}) for n in range(3)]
    await engine.post({"type": "new", "data": {"user": "a", "id": 3}})
    await engine.start("paced", {"user": "b", "id": 9})
    await engine.quiet()
    assert SEEN == [0, 1, 9]
    assert [one.kind for one in (await engine.get(made[2].id)).waits] == ["slot"]
    why = (await engine.why(made[2].id)).text
    assert "it waits for its turn: 2 of paced for a begin in 1 min, it is the next" in why
    await engine.advance("59s")
    assert SEEN == [0, 1, 9]
    await engine.crash()
    assert SEEN == [0, 1, 9]
    await engine.advance("1s")
    assert SEEN == [0, 1, 9, 2, 3]
    await engine.crash()
    last = await engine.start("paced", {"user": "a", "id": 4})
    await engine.advance("59s")
    assert await statuses(engine, last.id) == ["pending"]
    await engine.advance("1s")
    assert SEEN[-1] == 4
    with pytest.raises(Exception, match="takes no delay"):
        await engine.start("paced", {"user": "a", "id": 5}, delay="1m")


async def test_limits_a_start_that_is_not_made_and_one_that_is_cancelled_use_up_no_turn(
    engine: Any,
) -> None:
    engine.register(paced)
    first = await engine.start("paced", {"user": "a", "id": 0}, request_id="r")
    again = await engine.start("paced", {"user": "a", "id": 0}, request_id="r")
    assert (again.id, again.created) == (first.id, False)
    await engine.start("paced", {"user": "a", "id": 1})
    await engine.quiet()
    assert SEEN == [0, 1]
    dropped = await engine.start("paced", {"user": "a", "id": 2})
    await engine.start("paced", {"user": "a", "id": 3})
    await engine.start("paced", {"user": "a", "id": 4})
    await engine.cancel(dropped.id)
    await engine.advance("1m")
    assert SEEN == [0, 1, 3, 4]


@workflow(
    concurrency={"key": "::user", "limit": 2, "priority": "::p"}, rate={"limit": 1, "per": "1m"}
)
async def both(user: str, id: int, p: int = 0) -> int:
    await note(id)
    await wait("go", where={"data.id": id})
    return id


async def test_limits_who_has_a_slot_waits_for_its_turn_too(engine: Any) -> None:
    engine.register(both)
    made = [await engine.start("both", {"user": "a", "id": n}) for n in range(4)]
    other = await engine.start("both", {"user": "b", "id": 9, "p": 5})
    await engine.quiet()
    assert SEEN == [0]
    await engine.advance("1m")
    assert SEEN == [0, 9]
    await engine.crash()
    await engine.advance("10m")
    assert SEEN == [0, 9, 1]
    assert "one of 2 slots of both for a" in (await engine.why(made[2].id)).text
    await go(engine, 0, 1)
    assert SEEN == [0, 9, 1, 2]
    await engine.advance("1m")
    assert SEEN == [0, 9, 1, 2, 3]
    assert await statuses(engine, other.id) == ["waiting"]


def test_limits_a_line_keeps_its_order_whoever_leaves_it() -> None:
    line = Line()
    for n in range(400):
        line.add(f"i{n}", (-(n % 3), n))
    for n in range(0, 400, 2):
        assert line.drop(f"i{n}")
        assert not line.drop(f"i{n}")
    assert (len(line), "i0" in line, "i1" in line) == (200, False, True)
    line.add("i5", (-9, 5))
    expected = sorted((-9 if n == 5 else -(n % 3), n) for n in range(1, 400, 2))
    assert line.ahead_of("i7") == expected.index((-1, 7))
    assert [line.take() for _ in range(200)] == [(f"i{n}", n) for _, n in expected]


# -- concurrency of Python workflows -----------------------------------------------------------


@workflow(concurrency=1)
async def alone(id: int) -> int:
    await note(id)
    await wait("go", where={"data.id": id})
    return id


@workflow(concurrency={"key": "user", "on_conflict": "skip"})
def lines() -> StepList:
    return begin >> ask_step("Go on?", key="go") >> done


class Latest(Workflow):
    def __init__(self, user: str, id: int) -> None:
        self.user = user
        self.id = id

    async def handle(self) -> int:
        await wait("go", where={"data.id": self.id})
        return self.id


latest = workflow(concurrency={"key": "::user", "on_conflict": "cancel_oldest"})(Latest)


async def test_F23_a_queued_instance_says_what_it_waits_for_and_who_has_it(engine: Any) -> None:
    engine.register(alone)
    first = await engine.start("alone", {"id": 1})
    second = await engine.start("alone", {"id": 2})
    third = await engine.start("alone", {"id": 3})
    assert third.status == "pending"
    (found,) = (await engine.get(third.id)).waits
    assert (found.kind, found.name) == ("slot", "alone")
    why = await engine.why(third.id)
    assert f"it waits for the slot of alone, 1 before it; held by {first.id}" in why.text
    assert why.facts[1].data == {"value": "", "ahead": 1, "limit": 1, "held_by": [first.id]}
    assert "it is the next" in (await engine.why(second.id)).text
    await go(engine, 1)
    assert await statuses(engine, first.id, second.id, third.id) == [
        "completed", "waiting", "pending",
    ]  # fmt: skip


async def test_F23_who_is_paused_when_its_turn_comes_begins_when_it_is_resumed(engine: Any) -> None:
    engine.register(alone)
    await engine.start("alone", {"id": 1})
    second = await engine.start("alone", {"id": 2})
    third = await engine.start("alone", {"id": 3})
    await engine.pause(second.id)
    await engine.crash()
    await go(engine, 1)
    assert await statuses(engine, second.id, third.id) == ["paused", "pending"]
    await engine.resume(second.id)
    await engine.quiet()
    assert await statuses(engine, second.id, third.id) == ["waiting", "pending"]


async def test_F23_who_is_let_in_by_hand_counts(engine: Any) -> None:
    engine.register(alone)
    await engine.start("alone", {"id": 1})
    second = await engine.start("alone", {"id": 2})
    third = await engine.start("alone", {"id": 3})
    await engine.resume(second.id)
    await engine.quiet()
    await go(engine, 1)
    assert await statuses(engine, second.id, third.id) == ["waiting", "pending"]
    await go(engine, 2)
    assert await statuses(engine, second.id, third.id) == ["completed", "waiting"]


async def test_F23_a_fork_goes_on_at_once_and_counts(engine: Any) -> None:
    engine.register(alone, latest, lines)
    line = await engine.start("lines", {"user": "a"})
    await engine.quiet()
    again = (await engine.fork(line.id, from_op="go")).instance
    assert await statuses(engine, line.id, again) == ["waiting", "waiting"]
    first = await engine.start("alone", {"id": 1})
    await engine.quiet()
    fork = (await engine.fork(first.id, from_op="2")).instance
    second = await engine.start("alone", {"id": 2})
    await engine.cancel(first.id)
    await engine.quiet()
    assert await statuses(engine, fork, second.id) == ["waiting", "pending"]
    await engine.crash()
    assert await statuses(engine, fork, second.id) == ["waiting", "pending"]
    await engine.cancel(fork)
    await engine.quiet()
    assert await statuses(engine, second.id) == ["waiting"]
    old = await engine.start("Latest", {"user": "a", "id": 1})
    await engine.quiet()
    new = (await engine.fork(old.id, from_op="1")).instance
    await engine.quiet()
    assert await statuses(engine, old.id, new) == ["cancelled", "waiting"]


async def test_F23_python_workflows_refuse_or_replace_too(engine: Any) -> None:
    engine.register(lines, latest)
    await engine.start("lines", {"user": "a", "id": 1})
    await engine.start("lines", {"user": "b", "id": 2})
    with pytest.raises(AlreadyRunning, match="for a: 1 at once"):
        await engine.start("lines", {"user": "a", "id": 3})
    old = await engine.start("Latest", {"user": "a", "id": 1})
    new = await engine.start("Latest", {"user": "a", "id": 2})
    await engine.quiet()
    assert await statuses(engine, old.id, new.id) == ["cancelled", "waiting"]


async def test_F23_several_that_come_together_leave_the_last(engine: Any) -> None:
    engine.register(latest)
    await engine.start("Latest", {"user": "a", "id": 0})
    starts = [engine.start("Latest", {"user": "a", "id": n}) for n in range(1, 5)]
    made = await asyncio.gather(*starts)
    await engine.quiet()
    found = await statuses(engine, *(one.id for one in made))
    assert found == ["cancelled", "cancelled", "cancelled", "waiting"]


async def test_F23_a_start_that_is_not_made_takes_nobodys_place(engine: Any) -> None:
    engine.register(latest)
    starts = [engine.start("Latest", {"user": "a", "id": 1}, request_id="r") for _ in range(3)]
    made = await asyncio.gather(*starts)
    await engine.quiet()
    assert len({one.id for one in made}) == 1
    assert await statuses(engine, made[0].id) == ["waiting"]


async def test_F23_a_child_that_is_not_made_leaves_its_slot(engine: Any) -> None:

    @workflow(concurrency=1, on="two", key="::data.k")
    async def two(id: int) -> int:
        await wait("go", where={"data.id": id})
        return id

    engine.register(two, alone)
    await engine.start("two", {"id": 1}, key="k")

    @workflow
    async def asks() -> Any:
        return await child("two", {"id": 2}, key="k")

    engine.register(asks)
    await engine.start("asks", {})
    await engine.quiet()
    await go(engine, 1)
    last = await engine.start("two", {"id": 3})
    await engine.quiet()
    assert await statuses(engine, last.id) == ["waiting"]


async def plain_short(n: int = 0) -> int:
    return n


# -- what may not be written -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "the limit of concurrency must be a whole number from 1"),
        ({"concurrency": {"limits": 2}}, "concurrency takes key, limit, on_conflict, priority"),
        ({"concurrency": {"on_conflict": "wait"}}, "on_conflict must be one of queue"),
        ({"concurrency": {"on_conflict": "skip", "priority": 1}}, "nobody is queued"),
        ({"concurrency": {"key": 5}}, "the key of concurrency must be an expression"),
        ({"rate": 5}, 'rate must be like {"limit": 10'),
        ({"rate": {"limit": 5, "per": "soon"}}, "is not a duration"),
        ({"rate": {"limit": 5, "per": 0}}, "per must be longer than nothing"),
        ({"rate": {"limit": 5, "per": "1m", "burst": 1}}, "rate takes limit, per"),
        ({"timeout": "soon"}, 'timeout "soon" is not a duration'),
        ({"retention": 0}, "retention must be longer than nothing"),
        ({"attributes": {"rate": "x"}, "rate": {"limit": 1, "per": 1, "key": "::u"}}, "twice"),
        ({"attributes": {"concurrency": "x"}, "concurrency": 2}, "twice"),
    ],
)
def test_limits_that_make_no_sense_are_refused_where_they_are_written(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidDefinition, match="plain_short: ") as raised:
        workflow(**options)(plain_short)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"rate": {"limit": 5}}, "$.rate.per"),
        ({"rate": {"limit": 5, "per": "soon"}}, "$.rate.per"),
        ({"rate": {"limit": 5, "per": 1, "key": "user"}}, "$.rate.key"),
        ({"timeout": "soon"}, "$.timeout"),
        ({"retention": 0}, "$.retention"),
        ({"rate": {"limit": 5, "per": 1, "key": "::u"}, "attributes": {"rate": "::x"}}, "$.rate.key"),
        ({"rate": {"limit": 5, "per": 1, "priority": 1}, "concurrency": {"priority": 2}}, "$.rate.priority"),
    ],
)  # fmt: skip
def test_limits_of_a_document_that_make_no_sense_are_refused(
    more: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidDefinition) as raised:
        document_from({**paper(), **more})
    assert place in {problem.where for problem in raised.value.problems} | {
        problem.path for problem in raised.value.problems
    }


def hash_of(**options: Any) -> str:
    return definition_of(workflow(**options)(plain_short)).hash


def test_limits_are_part_of_a_version() -> None:
    plain = hash_of()
    assert plain == hash_of()
    for options in ({"timeout": 5}, {"concurrency": 1}, {"rate": {"limit": 1, "per": 1}}):
        assert hash_of(**options) != plain
