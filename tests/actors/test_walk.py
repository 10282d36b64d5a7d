"""Plans: what comes next, from the plan and the state alone."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.actors.effects import ArmTimer, RunCall, pending
from greenroom.actors.entries import Died, Failure
from greenroom.actors.messages import Answer, Cancel, Due, Outcome, Pause, Recover, Resume, Skip
from greenroom.definitions.declare import compile_definition
from greenroom.definitions.errors import CodeChanged, InDoubt, StillFails
from greenroom.definitions.steps import ask_step, begin, conditional, done, retrystep, step
from tests.laws.rig import START, Rig

OOPS = Failure("Oops", "it failed")


@step
def one() -> dict[str, Any]:
    return {}


@step
def two() -> dict[str, Any]:
    return {}


@step
def three() -> dict[str, Any]:
    return {}


@step(mode="at_most_once")
def once() -> None: ...


@retrystep(delay="10s", jitter=0)
def again() -> None: ...


def plan(steps: Any, input: Any = None, **more: Any) -> Rig:
    def flow() -> Any:
        return steps

    return Rig(compile_definition(flow), {} if input is None else input, **more)


def finish(rig: Rig, value: Any = None) -> Any:
    (op,) = rig.progress.ops.values()
    return rig.tell(Outcome(op.request.key, op.attempt, value))


def test_steps_run_in_order_and_merge_what_they_return() -> None:
    rig = plan(begin >> one >> two >> done, {"a": 1})
    finish(rig, {"a": 2, "b": [1]})
    assert list(rig.progress.ops) == ["two"]
    finish(rig, None)
    assert rig.progress.end == "completed"
    assert rig.progress.state == {"a": 2, "b": [1]}


def test_a_plan_without_steps_ends_at_once() -> None:
    assert plan(begin >> done).progress.end == "completed"


def test_guards_are_asked_just_before_and_skipped_steps_are_recorded() -> None:
    def big(state: dict[str, Any]) -> bool:
        state["changed"] = True
        return bool(state["n"] > 5)

    rig = plan(begin >> one >> conditional(big)(two) >> three, {"n": 9})
    (entry,) = finish(rig, {"n": 1})
    assert entry.skips == ("two",)
    assert list(rig.progress.ops) == ["three"]
    assert rig.progress.state == {"n": 1}, "a guard gets a copy"


def test_nested_guards_must_all_hold() -> None:
    yes = conditional(lambda state: True)
    never = conditional(lambda state: False)
    assert plan(begin >> yes(never(one) >> two)).progress.ops.keys() == {"two"}


def test_a_guard_that_raises_fails_and_can_be_mended() -> None:
    broken = [True]

    def guard(state: dict[str, Any]) -> bool:
        if broken:
            raise KeyError("n")
        return True

    rig = plan(begin >> one >> conditional(guard)(two))
    (entry,) = finish(rig, {"x": 1})
    assert isinstance(entry.end, Died)
    assert "guard before two" in entry.end.error.message
    with pytest.raises(StillFails):
        rig.tell(Resume())
    broken.clear()
    rig.tell(Resume())
    assert list(rig.progress.ops) == ["two"]
    assert rig.progress.state == {"x": 1}


@pytest.mark.parametrize("value", [[1], "text", 5, True, {"ctx": 1}])
def test_what_is_not_a_dict_fails_the_step(value: Any) -> None:
    rig = plan(begin >> one >> two)
    finish(rig, value)
    assert rig.progress.failure is not None
    assert rig.progress.failure.type == "StepResult"
    rig.tell(Resume())
    assert rig.progress.ops["one"].attempt == 2


def test_a_failed_step_is_asked_for_again_or_skipped() -> None:
    rig = plan(begin >> one >> two)
    rig.tell(Outcome("one", 1, error=OOPS))
    assert rig.progress.causes == ("one",)
    rig.tell(Resume())
    assert pending(rig.progress) == [RunCall("one", 2)]
    rig.tell(Outcome("one", 2, error=OOPS))
    rig.tell(Skip("one", {"by": "hand"}))
    assert rig.progress.state == {"by": "hand"}
    assert list(rig.progress.ops) == ["two"]


def test_a_retrystep_waits_for_its_timer_and_resume_hurries_it() -> None:
    rig = plan(begin >> again)
    rig.tell(Outcome("again", 1, error=OOPS))
    assert pending(rig.progress) == [ArmTimer("again", START + 10_000)]
    rig.tell(Due("again", START + 10_000), START + 10_000)
    rig.tell(Outcome("again", 2, error=OOPS))
    assert rig.progress.ops["again"].due == START + 30_000
    rig.tell(Resume())
    assert pending(rig.progress) == [RunCall("again", 3)]


def test_at_most_once_is_in_doubt_after_a_crash() -> None:
    rig = plan(begin >> once >> two)
    rig.reload()
    rig.tell(Recover())
    assert pending(rig.progress) == []
    with pytest.raises(InDoubt):
        rig.tell(Resume())
    rig.tell(Skip("once"))
    assert list(rig.progress.ops) == ["two"]


def test_results_are_held_while_paused() -> None:
    rig = plan(begin >> one >> two)
    rig.tell(Pause())
    finish(rig, {"x": 1})
    rig.reload()
    assert rig.progress.state == {}
    rig.tell(Resume())
    assert rig.progress.state == {"x": 1}
    assert list(rig.progress.ops) == ["two"]


def test_a_cancel_takes_what_was_held_and_ends() -> None:
    rig = plan(begin >> one >> two)
    rig.tell(Pause())
    finish(rig, {"x": 1})
    rig.tell(Cancel())
    assert rig.progress.end == "cancelled"
    assert rig.progress.ops == {}


def test_an_ask_takes_its_answer_or_none_when_it_is_due() -> None:
    rig = plan(begin >> ask_step("Fine?", key="fine", due="5s") >> two)
    rig.tell(Answer("fine", {"approved": True}))
    assert rig.progress.state == {"fine": {"approved": True}}
    rig = plan(begin >> ask_step("Fine?", key="fine", due="5s") >> two)
    rig.tell(Due("fine", START + 5_000), START + 5_000)
    assert rig.progress.state == {"fine": None}


def test_steps_may_be_inserted_and_renamed_while_instances_run_but_not_removed() -> None:
    rig = plan(begin >> one >> three)

    def flow() -> Any:
        return begin >> one >> two >> three

    def without() -> Any:
        return begin >> two >> three

    old = rig.definition
    rig.reload(compile_definition(flow, name=old.name))
    finish(rig)
    assert list(rig.progress.ops) == ["two"]
    rig = plan(begin >> one >> three)
    rig.reload(compile_definition(without, name=old.name))
    rig.tell(Outcome("one", 1, {"x": 1}))
    assert rig.progress.failure is not None
    assert rig.progress.failure.kind == "code_changed"
    with pytest.raises((CodeChanged, StillFails)):
        rig.tell(Resume())
    rig.reload(old)
    rig.tell(Resume())
    assert list(rig.progress.ops) == ["three"]


def test_the_same_step_twice_has_two_keys() -> None:
    rig = plan(begin >> one >> one)
    assert [node.key for node in rig.definition.plan.nodes] == ["one", "one#2"]
    finish(rig)
    assert list(rig.progress.ops) == ["one#2"]
