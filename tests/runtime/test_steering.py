"""What a person changes of a live instance: its state, the version it follows, its end."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    CodeChanged,
    Event,
    IdConflict,
    InvalidInput,
    InvalidRequest,
    InvalidTransition,
    StoreDamaged,
    Wait,
    Workflow,
    ask_step,
    begin,
    child,
    conditional,
    done,
    retrystep,
    step,
    workflow,
)
from tests.runtime.kits import FileEngine, MemoryEngine

RUNS: list[str] = []
BROKEN: set[str] = set()


@step("charge")
async def charge(total: int = 0) -> dict[str, Any]:
    RUNS.append(f"charge {total}")
    if "charge" in BROKEN:
        raise ValueError("declined")
    return {"charged": total}


@retrystep("ship", delay="10m", jitter=0)
async def ship(address: str = "home") -> dict[str, Any]:
    if "ship" in BROKEN:
        raise OSError("no van")
    return {"shipped": address}


@step("thank")
async def thank() -> dict[str, Any]:
    return {"thanked": True}


ASK = ask_step("Go on?", key="ask")


def order(*steps: Any) -> Any:
    def line() -> Any:
        found = begin
        for item in steps:
            found = found >> item
        return found >> done

    return workflow(name="order")(line)


class Visit(Workflow):
    def __init__(self, total: int) -> None:
        self.total = total
        self.done: list[str] = []

    async def handle(self) -> Any:
        event = await Wait("go").execute()
        self.done.append(f"paid {self.total}")
        await charge(total=self.total)
        self.last = event.data
        return {"total": self.total, "done": self.done}


@workflow
async def plain(total: int) -> int:
    await Wait("go").execute()
    return total


@workflow
async def sitting(n: int = 0) -> int:
    await Wait("never").execute()
    return n


@workflow
async def parent(key: str = "k") -> str:
    await child("sitting", {"n": 1}, key=key, detach=True)
    return "left"


WORKFLOWS = [order(ASK, charge, ship), Visit, plain, sitting, parent]


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    RUNS.clear()
    BROKEN.clear()
    made = (
        MemoryEngine(*WORKFLOWS)
        if request.param == "memory"
        else FileEngine(tmp_path / "app.db", *WORKFLOWS)
    )
    async with made as engine:
        yield engine


async def began(kit: MemoryEngine, name: str, **input: Any) -> str:
    handle = await kit.start(name, input)
    await kit.quiet()
    return str(handle.id)


async def lines(kit: MemoryEngine, id: str, kind: str) -> list[Any]:
    return [item for item in (await kit.history(id)).items if item.kind == kind]


# -- edit --------------------------------------------------------------------------------------


async def test_an_edit_of_a_waiting_step_list_counts_and_stands_in_the_history(
    kit: MemoryEngine,
) -> None:
    id = await began(kit, "order", total=5, customer={"name": "Ann", "city": "Bonn"}, coupon="x")
    said = await kit.edit(
        id, {"total": 7, "customer.city": "Paris"}, ["coupon"], reason="typo", by="bob"
    )
    assert (said.instance, said.status) == (id, "waiting")
    await kit.answer(id, {"approved": True})
    await kit.until_idle()
    state = (await kit.get(id)).state
    assert state["charged"] == 7 and "coupon" not in state
    assert state["customer"] == {"name": "Ann", "city": "Paris"}
    edit = next(item for item in await lines(kit, id, "StateChanged") if item.data.get("edited"))
    assert edit.by == "bob" and edit.data["reason"] == "typo"
    assert edit.data["set"] == {"total": 7, "customer": {"name": "Ann", "city": "Paris"}}
    assert edit.data["drop"] == ["coupon"]
    path = [item.data["value"] for item in (await kit.history(id, path="total")).items]
    assert path == [5, 7]
    before = await kit.state_at(id, seq=edit.seq - 1)
    assert before.state["total"] == 5


async def test_an_edit_reaches_the_next_attempt_and_a_failed_step(kit: MemoryEngine) -> None:
    BROKEN.update(("charge", "ship"))
    id = await began(kit, "order", total=5, address="home")
    await kit.answer(id, {"approved": True})
    await kit.quiet()
    assert (await kit.get(id)).status == "failed"
    await kit.edit(id, {"total": 6})
    BROKEN.discard("charge")
    await kit.resume(id)
    await kit.quiet()
    assert RUNS == ["charge 5", "charge 6"]
    assert (await kit.get(id)).waits[0].kind == "retry"
    await kit.edit(id, {"address": "work"})
    BROKEN.discard("ship")
    await kit.advance("10m")
    assert (await kit.get(id)).state["shipped"] == "work"


async def test_an_edit_is_refused_where_something_runs_or_nothing_comes(kit: MemoryEngine) -> None:
    pending = (await kit.start("order", {"total": 1}, delay="1h")).id
    over = await began(kit, "order", total=1)
    await kit.cancel(over)
    for id in (pending, over):
        before = (await kit.history(id)).items
        with pytest.raises(InvalidTransition, match="its state can be changed"):
            await kit.edit(id, {"total": 2})
        assert (await kit.history(id)).items == before
    await kit.pause(pending)
    await kit.edit(pending, {"total": 3})  # paused before it began
    await kit.resume(pending)
    await kit.quiet()
    assert (await kit.get(pending)).state["total"] == 3


@pytest.mark.parametrize(
    ("change", "delete", "match"),
    [
        ({}, [], "nothing to change"),
        ({"run": 1}, [], "belongs to the engine"),
        ({"total.x": 1}, [], "no object"),
        ({}, ["coupn"], "coupon"),
        ({"": 1}, [], "names no value"),
    ],
)
async def test_an_edit_that_makes_no_sense_is_refused(
    kit: MemoryEngine, change: Any, delete: Any, match: str
) -> None:
    id = await began(kit, "order", total=5, coupon="x")
    with pytest.raises(InvalidRequest, match=match):
        await kit.edit(id, change, delete)
    with pytest.raises(InvalidInput):
        await kit.edit(id, {"total": float("nan")})


async def test_an_edit_of_a_class_stays_true_after_replay(kit: MemoryEngine) -> None:
    """Live, and again after a crash that replays it."""
    results = []
    for crash in (False, True):
        id = await began(kit, "Visit", total=5, done=[])
        await kit.edit(id, {"total": 8, "done": ["before"]}, by="bob")
        if crash:
            await kit.crash()
        await kit.send(id, Event(type="go", data={"n": 1}))
        await kit.until_idle()
        if crash:
            await kit.crash()
        found = await kit.get(id)
        assert found.status == "completed", found.error
        assert found.state["last"] == {"n": 1}
        results.append(found.result)
    assert results == [{"total": 8, "done": ["before", "paid 8"]}] * 2
    assert RUNS == ["charge 8", "charge 8"]


async def test_an_edit_of_a_failed_class_is_there_when_it_is_resumed(kit: MemoryEngine) -> None:
    BROKEN.add("charge")
    id = await began(kit, "Visit", total=5, done=[])
    await kit.send(id, Event(type="go", data={}))
    await kit.quiet()
    assert (await kit.get(id)).status == "failed"
    await kit.edit(id, {"note": "by phone", "done": []})
    assert (await kit.get(id)).state == {"total": 5, "done": [], "note": "by phone"}
    BROKEN.clear()
    await kit.crash()
    await kit.resume(id)
    await kit.until_idle()
    found = await kit.get(id)
    assert found.result == {"total": 5, "done": []} and found.state["note"] == "by phone"


async def test_a_function_has_no_state_to_edit(kit: MemoryEngine) -> None:
    id = await began(kit, "plain", total=5)
    with pytest.raises(InvalidRequest, match="is a function") as caught:
        await kit.edit(id, {"total": 6})
    assert "fork" in (caught.value.hint or "")


async def test_the_same_request_edits_once(kit: MemoryEngine) -> None:
    id = await began(kit, "order", total=5)
    for _ in range(2):
        await kit.edit(id, {"total": 6}, request_id="r-1")
    assert len(await lines(kit, id, "StateChanged")) == 1
    with pytest.raises(IdConflict):
        await kit.edit(id, {"total": 7}, request_id="r-1")


# -- migrate -----------------------------------------------------------------------------------


async def test_an_instance_moves_to_a_version_that_has_its_steps(kit: MemoryEngine) -> None:
    id = await began(kit, "order", total=5)
    kit.change_code(order(ASK, thank, charge), *WORKFLOWS[1:])
    await kit.restart_engine()
    assert (await kit.get(id)).version == 1
    said = await kit.migrate(id, 2, reason="they must be thanked", by="ann", request_id="r-1")
    again = await kit.migrate(id, 2, reason="they must be thanked", by="bob", request_id="r-1")
    assert said == again
    assert (await kit.get(id)).version == 2
    (line,) = await lines(kit, id, "InstanceMigrated")
    assert (line.by, line.data) == (
        "ann", {"version": 2, "was": 1, "reason": "they must be thanked"},
    )  # fmt: skip
    await kit.crash()
    await kit.answer(id, {"approved": True})
    await kit.until_idle()
    assert (await kit.get(id)).state["thanked"] is True
    assert [f.level for f in await kit.doctor(deep=True) if f.level == "error"] == []


async def test_a_move_names_the_steps_that_are_missing(kit: MemoryEngine) -> None:
    BROKEN.add("ship")
    id = await began(kit, "order", total=5)
    await kit.answer(id, {"approved": True})
    await kit.quiet()
    kit.change_code(order(conditional(lambda state: True)(thank)), *WORKFLOWS[1:])
    await kit.restart_engine()
    before = (await kit.history(id)).items
    with pytest.raises(InvalidTransition, match="ask, charge, ship") as caught:
        await kit.migrate(id, 2)
    assert caught.value.details["missing"] == ["ask", "charge", "ship"]
    assert (await kit.history(id)).items == before
    await kit.cancel(id)
    with pytest.raises(InvalidTransition, match="cannot be migrated"):
        await kit.migrate(id, 2)


async def test_a_program_is_not_moved(kit: MemoryEngine) -> None:
    id = await began(kit, "plain", total=5)
    with pytest.raises(InvalidRequest, match="is a program"):
        await kit.migrate(id, 1)


# -- what nobody was told ------------------------------------------------------------------------


async def test_a_detached_child_whose_key_is_taken_is_in_the_history(kit: MemoryEngine) -> None:
    first, second = await began(kit, "parent"), await began(kit, "parent")
    await kit.until_idle()
    assert await lines(kit, first, "ChildEnded") == []
    (line,) = await lines(kit, second, "ChildEnded")
    assert line.data["refused"] is True and "has the key k" in line.data["error"]["message"]
    assert (await kit.get(second)).result == "left"
    await kit.crash()
    assert len(await lines(kit, second, "ChildEnded")) == 1


async def test_who_sent_and_why_it_was_restarted_is_in_the_history(kit: MemoryEngine) -> None:
    id = await began(kit, "plain", total=5)
    await kit.send(id, Event(type="go"), by="ann")
    await kit.until_idle()
    (line,) = await lines(kit, id, "EventReceived")
    assert line.by == "ann"
    for verb in (kit.restart, kit.fork):
        new = await verb(id, reason="once more", by="bob")
        (line,) = await lines(kit, new.instance, "InstanceStarted")
        assert line.by == "bob"
        assert (line.data["reason"], line.data["forked_from"]) == ("once more", id)
    again = await kit.restart(id, from_op="1", reason="from there", by="bob")
    (line,) = await lines(kit, again.instance, "InstanceStarted")
    assert (line.by, line.data["reason"]) == ("bob", "from there")


async def test_who_did_it_is_in_the_history_of_every_verb(kit: MemoryEngine) -> None:
    BROKEN.update(("charge", "ship"))
    by, why = "ann", "because"

    async def fresh(**options: Any) -> str:
        id = str((await kit.start("order", {"total": 1}, by=by, **options)).id)
        await kit.quiet()
        return id

    async def who(id: str, kind: str) -> tuple[str | None, str | None]:
        line = (await lines(kit, id, kind))[-1]
        return line.by, (line.data or {}).get("reason")

    id = await fresh(delay="1h")
    assert (await who(id, "InstanceStarted"))[0] == by
    await kit.resume(id, by=by)
    assert (await who(id, "InstanceResumed"))[0] == by
    await kit.quiet()
    await kit.pause(id, reason=why, by=by)
    assert await who(id, "InstancePaused") == (by, why)
    await kit.resume(id, reason=why, by=by)
    assert await who(id, "InstanceResumed") == (by, why)
    await kit.answer(id, {"approved": True}, by=by)
    assert (await who(id, "AskAnswered"))[0] == by
    await kit.quiet()
    await kit.skip(id, "charge", {}, reason=why, by=by)
    assert await who(id, "StepSkipped") == (by, why)
    await kit.quiet()
    await kit.resume(id, by=by)  # the next attempt at once
    assert (await who(id, "StepStarted"))[0] == by
    await kit.quiet()
    await kit.cancel(id, reason=why, by=by)
    assert await who(id, "InstanceCancelled") == (by, why)
    other = await fresh()
    await kit.cancel(other, force=True, reason=why, by=by)
    assert await who(other, "InstanceCancelled") == (by, why)


# -- what is gone or damaged ---------------------------------------------------------------------


async def test_W15_an_instance_of_a_workflow_that_is_gone_can_be_read_and_cancelled(
    kit: MemoryEngine,
) -> None:
    ids = [await began(kit, "order", total=5), await began(kit, "Visit", total=5, done=[])]
    waiting = await began(kit, "order", total=6)
    for id in ids:
        await kit.pause(id)
    kit.change_code(plain)
    await kit.restart_engine()
    assert (await kit.list("workflow:order")).items[0].status in ("waiting", "paused")
    for id in ids:
        assert (await kit.get(id)).state["total"] == 5
        assert len((await kit.history(id)).items) > 1
        assert (await kit.state_at(id, seq=1)).seq == 1
        before = (await kit.history(id)).items
        for verb in (kit.resume(id), kit.edit(id, {"total": 6})):
            with pytest.raises(CodeChanged, match="there is no"):
                await verb
        assert (await kit.history(id)).items == before
        assert "no longer" in (await kit.why(id)).text
        assert (await kit.cancel(id)).status == "cancelled"
    await kit.answer(waiting, {"approved": True})  # kept for the day its code is back
    assert (await kit.get(waiting)).error.code == "code_changed"
    kit.change_code(*WORKFLOWS)
    await kit.restart_engine()
    await kit.resume(waiting)
    await kit.until_idle()
    assert (await kit.get(waiting)).state["charged"] == 6


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[int], None]:
    def damage(iseq: int) -> None:
        with sqlite3.connect(tmp_path / "app.db") as db:
            db.execute("UPDATE entry SET payload=x'7b7d' WHERE iseq=?", (iseq,))
        db.close()

    return damage


async def test_cancel_force_closes_an_instance_that_is_damaged(
    tmp_path: Path, damaged: Callable[[int], None]
) -> None:
    kit = FileEngine(tmp_path / "app.db", *WORKFLOWS)
    async with kit as engine:
        id = str((await engine.start("order", {"total": 5}, key="k")).id)
        await engine.quiet()
        token, engine._engine._token = engine._engine._token, None
        await engine._engine.close()
        damaged(1)
        await engine._reopen()
        engine._engine._token = token
        with pytest.raises(StoreDamaged) as caught:
            await engine.cancel(id)
        assert "--force" in (caught.value.hint or "")
        for _ in range(2):
            assert (await engine.cancel(id, force=True, reason="lost", by="ann")).status == (
                "cancelled"
            )
        (row,) = (await engine.list("workflow:order")).items
        assert (row.status, row.waits) == ("cancelled", [])
        assert (await engine.asks.list()).items == []
        await engine.start("order", {"total": 6}, key="k")  # the key is free again


# -- two instances -------------------------------------------------------------------------------


async def test_diff_shows_both_paths_and_both_states(kit: MemoryEngine) -> None:
    a, b = await began(kit, "order", total=5), await began(kit, "order", total=6)
    for id in (a, b):
        await kit.answer(id, {"approved": True})
    await kit.quiet()
    assert (await kit.diff(a, a)).same
    BROKEN.add("charge")
    c = await began(kit, "order", total=5)
    await kit.answer(c, {"approved": True})
    await kit.quiet()
    found = await kit.diff(a, c)
    assert not found.same and found.input == []
    assert [(f.path, f.a, f.b) for f in found.facts][0] == ("status", "completed", "failed")
    assert [(s.op, s.a, s.b) for s in found.path] == [
        ("ask", "answered", "answered"),
        ("charge", "done", "failed: ValueError"),
        ("ship", "done", None),
    ]
    assert {d.path: d.change for d in found.state} == {
        "$.charged": "removed", "$.shipped": "removed",
    }  # fmt: skip
    assert [d.path for d in (await kit.diff(a, b)).input] == ["$.total"]


# -- why -----------------------------------------------------------------------------------------


async def test_why_says_in_a_screen_who_did_what_in_every_status(kit: MemoryEngine) -> None:
    BROKEN.add("charge")
    ids: dict[str, str] = {"pending": (await kit.start("order", {}, delay="1h")).id}
    for status in ("waiting", "paused", "failed", "cancelled"):
        ids[status] = await began(kit, "order", total=1)
    ids["completed"] = await began(kit, "plain", total=1)
    await kit.send(ids["completed"], Event(type="go"))
    await kit.pause(ids["paused"], reason="audit", by="ann")
    await kit.edit(ids["paused"], {"total": 2}, reason="typo", by="bob")
    await kit.cancel(ids["cancelled"], reason="ordered twice", by="cem")
    await kit.answer(ids["failed"], {"approved": True})
    await kit.quiet()
    texts = {status: (await kit.why(id)).text for status, id in ids.items()}
    for status, text in texts.items():
        assert f"is {status}" in text
        assert 2 <= len(text.splitlines()) <= 24, text
    assert "it begins in 1 h" in texts["pending"]
    assert "greenroom ask answer" in texts["waiting"]
    assert "it was paused by ann" in texts["paused"] and "audit" in texts["paused"]
    assert "changed by hand by bob" in texts["paused"] and "greenroom resume" in texts["paused"]
    assert "ValueError: declined" in texts["failed"] and "greenroom retry" in texts["failed"]
    assert "it was cancelled by cem" in texts["cancelled"] and "twice" in texts["cancelled"]
