"""Plans with structure: groups, lanes side by side, lists, callbacks, and taking back."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from greenroom.actors.entries import Failure, encode_entry
from greenroom.actors.messages import Answer, Cancel, Due, Outcome, Pause, Resume, Skip
from greenroom.definitions.declare import compile_definition
from greenroom.definitions.errors import InvalidDefinition, StillFails
from greenroom.definitions.scopes import callback_step, foreach, parallel, step_group
from greenroom.definitions.steps import StepList, begin, conditional, retrystep, step
from tests.laws.rig import Rig, picture, refolded

OOPS = Failure("Oops", "it failed")


def named(name: str, **options: Any) -> Any:
    def func() -> None: ...

    func.__name__ = name
    return step(name, **options)(func)


a, b, c, d, e = (named(name) for name in "abcde")


def plan(steps: Any, input: Any = None, **options: Any) -> Rig:
    def flow() -> Any:
        return steps

    return Rig(compile_definition(flow, **options), {} if input is None else input)


def open_ops(rig: Rig) -> list[str]:
    return list(rig.progress.ops)


def finish(rig: Rig, key: str, value: Any = None) -> list[Any]:
    entries = rig.tell(Outcome(key, rig.progress.ops[key].attempt, value))
    assert picture(refolded(rig.rows)) == picture(rig.progress), "what is stored says the same"
    return entries


def fail(rig: Rig, key: str) -> list[Any]:
    return rig.tell(Outcome(key, rig.progress.ops[key].attempt, error=OOPS, final=True))


# -- groups ------------------------------------------------------------------------------------


def test_a_group_is_one_name_in_front_of_its_steps() -> None:
    rig = plan(begin >> a >> step_group("Set up", b >> c) >> d)
    assert rig.definition.steps() == ["a", "Set up", "Set up / b", "Set up / c", "d"]
    for key in ("a", "set_up.b", "set_up.c", "d"):
        assert open_ops(rig) == [key]
        finish(rig, key, {key: 1})
    assert rig.progress.end == "completed"
    assert rig.progress.state == {"a": 1, "set_up.b": 1, "set_up.c": 1, "d": 1}


def test_a_group_stands_in_a_group() -> None:
    rig = plan(begin >> step_group("out", step_group("in", a) >> b) >> c)
    finish(rig, "out.in.a")
    finish(rig, "out.b")
    assert open_ops(rig) == ["c"]


def test_after_a_failure_in_a_group_the_failed_step_is_tried_again() -> None:
    rig = plan(begin >> step_group("g", a >> b))
    finish(rig, "g.a")
    fail(rig, "g.b")
    assert rig.progress.failure is not None
    rig.tell(Resume())
    assert open_ops(rig) == ["g.b"]
    assert rig.progress.ops["g.b"].attempt == 2


def test_a_group_that_restarts_begins_anew_under_keys_of_its_own() -> None:
    rig = plan(begin >> step_group("g", a >> b, restart="group") >> c)
    finish(rig, "g.a", {"n": 1})
    fail(rig, "g.b")
    rig.tell(Resume())
    assert open_ops(rig) == ["g~2.a"]
    rig.reload()
    finish(rig, "g~2.a", {"n": 2})
    fail(rig, "g~2.b")
    rig.tell(Resume())
    finish(rig, "g~3.a")
    finish(rig, "g~3.b")
    assert open_ops(rig) == ["c"]
    assert rig.progress.frames == {}
    assert rig.progress.state == {"n": 2}


def test_a_failed_step_of_a_restarting_group_can_be_skipped_in_place() -> None:
    rig = plan(begin >> step_group("g", a >> b >> c, restart="group"))
    finish(rig, "g.a")
    fail(rig, "g.b")
    rig.tell(Skip("g.b", {"b": 0}))
    assert open_ops(rig) == ["g.c"]
    assert rig.progress.state == {"b": 0}


# -- lanes side by side --------------------------------------------------------------------------


def test_branches_run_side_by_side_on_names_of_their_own() -> None:
    rig = plan(begin >> parallel("fan", a >> b, c) >> d, {"n": 0})
    assert open_ops(rig) == ["fan.a", "fan.c"]
    finish(rig, "fan.a", {"n": 1})
    assert rig.kernel.source_of("fan.b") == {"n": 1}
    assert rig.kernel.source_of("fan.c") == {"n": 0}
    finish(rig, "fan.c", {"n": 2})
    assert rig.progress.state == {"n": 0}
    finish(rig, "fan.b", {"m": 3})
    assert rig.progress.state == {"n": 0, "fan": {"0": {"n": 1, "m": 3}, "1": {"n": 2}}}
    assert open_ops(rig) == ["d"]
    assert rig.progress.frames == {}


@pytest.mark.parametrize(
    ("merge", "state"),
    [
        ("namespace", {"fan": {"0": {"x": 1}, "right": {"x": 2}}}),
        ("list", {"fan": [{"x": 1}, {"x": 2}]}),
        ("merge", {"x": 2}),
    ],
)
def test_what_becomes_of_the_names_of_branches(merge: Any, state: Any) -> None:
    rig = plan(begin >> parallel("fan", a, right=b, merge=merge))
    finish(rig, "fan.b", {"x": 2})
    finish(rig, "fan.a", {"x": 1})
    assert rig.progress.state == state


def test_a_branch_that_fails_lets_the_others_finish_and_is_retried_alone() -> None:
    rig = plan(begin >> parallel("fan", a >> b, c, d) >> e)
    fail(rig, "fan.a")
    assert rig.progress.failure is None, "the others are on their way"
    finish(rig, "fan.c")
    finish(rig, "fan.d")
    assert rig.progress.failure is not None
    assert rig.progress.causes == ("fan.a",)
    rig.reload()
    rig.tell(Resume())
    assert open_ops(rig) == ["fan.a"]
    finish(rig, "fan.a")
    finish(rig, "fan.b", {"ok": True})
    assert rig.progress.state == {"fan": {"0": {"ok": True}, "1": {}, "2": {}}}
    assert open_ops(rig) == ["e"]


def test_two_failed_branches_are_retried_together() -> None:
    rig = plan(begin >> parallel("fan", a, b, c))
    fail(rig, "fan.a")
    finish(rig, "fan.c")
    fail(rig, "fan.b")
    assert rig.progress.causes == ("fan.a", "fan.b")
    rig.tell(Resume())
    assert sorted(open_ops(rig)) == ["fan.a", "fan.b"]
    finish(rig, "fan.b")
    finish(rig, "fan.a")
    assert rig.progress.end == "completed"


def test_one_of_two_failed_branches_is_skipped_then_the_other() -> None:
    rig = plan(begin >> parallel("fan", a >> d, b) >> c)
    fail(rig, "fan.a")
    fail(rig, "fan.b")
    rig.tell(Skip("fan.a", {"a": "given"}))
    assert rig.progress.failure is not None
    rig.tell(Skip("fan.b", None))
    assert open_ops(rig) == ["fan.d"]
    finish(rig, "fan.d")
    assert open_ops(rig) == ["c"]
    assert rig.progress.state == {"fan": {"0": {"a": "given"}, "1": {}}}


def test_a_failed_lane_writes_its_own_failure_and_no_other() -> None:
    rig = plan(begin >> foreach("ports", a, on_error="skip") >> b, {"ports": list(range(40))})
    sizes = [len(encode_entry(fail(rig, f"ports[{n}].a")[0]).payload) for n in range(39)]
    assert max(sizes) - min(sizes) < 10
    finish(rig, "ports[39].a", {"up": True})
    found = rig.progress.state["ports_results"]
    assert [one.get("error", {}).get("type") for one in found.values()] == ["Oops"] * 39 + [None]
    assert not rig.progress.frames


def test_a_branch_may_park_the_instance_at_once() -> None:
    rig = plan(begin >> parallel("fan", a, b, on_error="park"))
    fail(rig, "fan.a")
    assert rig.progress.failure is not None
    finish(rig, "fan.b", {"b": 1})
    rig.tell(Resume())
    finish(rig, "fan.a")
    assert rig.progress.state == {"fan": {"0": {}, "1": {"b": 1}}}


def test_a_failed_branch_may_count_as_done() -> None:
    rig = plan(begin >> parallel("fan", a, b, on_error="skip", merge="list"))
    fail(rig, "fan.a")
    finish(rig, "fan.b", {"b": 1})
    assert rig.progress.end == "completed"
    first, second = rig.progress.state["fan"]
    assert first["error"]["message"] == "it failed"
    assert second == {"b": 1}


def test_a_fan_in_a_fan_fails_outwards_and_recovers() -> None:
    inner = parallel("in", a, b)
    rig = plan(begin >> parallel("out", inner >> c, d) >> e)
    fail(rig, "out.in.a")
    finish(rig, "out.in.b", {"b": 1})
    assert rig.progress.failure is None, "the other lane of the outer fan is on its way"
    finish(rig, "out.d")
    assert rig.progress.causes == ("out.in.a",)
    rig.reload()
    rig.tell(Resume())
    finish(rig, "out.in.a")
    finish(rig, "out.c")
    assert rig.progress.state == {"out": {"0": {"in": {"0": {}, "1": {"b": 1}}}, "1": {}}}
    assert open_ops(rig) == ["e"]


def test_pause_holds_the_outcomes_of_branches() -> None:
    rig = plan(begin >> parallel("fan", a >> c, b))
    rig.tell(Pause())
    finish(rig, "fan.a")
    finish(rig, "fan.b")
    assert open_ops(rig) == []
    rig.tell(Resume())
    assert open_ops(rig) == ["fan.c"]


# -- lists ---------------------------------------------------------------------------------------


def test_foreach_runs_once_for_each_item() -> None:
    rig = plan(begin >> foreach("ports", a >> b) >> c, {"ports": ["x", "y"]})
    assert open_ops(rig) == ["ports[0].a", "ports[1].a"]
    assert rig.kernel.source_of("ports[1].a") == {"ports": ["x", "y"], "item": "y", "index": 1}
    finish(rig, "ports[1].a", {"got": "y"})
    finish(rig, "ports[0].a", {"got": "x"})
    finish(rig, "ports[0].b")
    finish(rig, "ports[1].b")
    assert rig.progress.state["ports_results"] == {"0": {"got": "x"}, "1": {"got": "y"}}
    assert open_ops(rig) == ["c"]


def test_foreach_over_nothing_is_over_at_once() -> None:
    rig = plan(begin >> foreach("ports", a, merge="list") >> c, {"ports": []})
    assert open_ops(rig) == ["c"]
    assert rig.progress.state["ports_results"] == []


def test_foreach_one_after_the_other() -> None:
    rig = plan(begin >> foreach("n", a, limit=1, merge="list"), {"n": [1, 2, 3]})
    for number in range(3):
        assert open_ops(rig) == [f"n[{number}].a"]
        finish(rig, f"n[{number}].a", {"i": number})
    assert rig.progress.state["n_results"] == [{"i": 0}, {"i": 1}, {"i": 2}]


def test_foreach_with_at_most_two_at_once() -> None:
    rig = plan(begin >> foreach("n", a, limit=2), {"n": [1, 2, 3, 4]})
    assert open_ops(rig) == ["n[0].a", "n[1].a"]
    finish(rig, "n[1].a")
    assert open_ops(rig) == ["n[0].a", "n[2].a"]
    finish(rig, "n[2].a")
    finish(rig, "n[3].a")
    finish(rig, "n[0].a")
    assert rig.progress.end == "completed"


def test_foreach_in_foreach() -> None:
    rig = plan(
        begin >> foreach("rows", foreach("cells", a, over="::row", item="cell"), item="row"),
        {"rows": [[1, 2], [], [3]]},
    )
    assert open_ops(rig) == ["rows[0].cells[0].a", "rows[0].cells[1].a", "rows[2].cells[0].a"]
    assert rig.kernel.source_of("rows[0].cells[1].a")["cell"] == 2
    for key in open_ops(rig):
        finish(rig, key, {"k": key})
    assert rig.progress.end == "completed"


@pytest.mark.parametrize("ports", [None, 5, "text", {"a": 1}])
def test_foreach_over_what_is_no_list_fails_and_says_so(ports: Any) -> None:
    rig = plan(begin >> a >> foreach("ports", b))
    finish(rig, "a", {"ports": ports})
    assert rig.progress.failure is not None
    assert "goes through a list" in rig.progress.failure.message


def test_foreach_over_a_name_the_state_does_not_have() -> None:
    rig = plan(begin >> a >> foreach("ports", b))
    finish(rig, "a", {"port": 1})
    assert rig.progress.failure is not None
    assert 'the state has no "ports" to go through; it has: port' in rig.progress.failure.message


def test_ten_thousand_items_are_refused_beyond() -> None:
    rig = plan(begin >> a >> foreach("n", b))
    finish(rig, "a", {"n": list(range(10_001))})
    assert rig.progress.failure is not None
    assert "10,001 items" in rig.progress.failure.message


# -- conditions ----------------------------------------------------------------------------------


def test_once_asks_before_the_first_step_for_all_of_them() -> None:
    def yes(state: dict[str, Any]) -> bool:
        return bool(state.get("go"))

    rig = plan(begin >> a >> conditional(yes, once=True)(b >> c) >> d)
    finish(rig, "a", {"go": True})
    finish(rig, "b", {"go": False})
    assert open_ops(rig) == ["c"], "it is not asked again"

    rig = plan(begin >> a >> conditional(yes, once=True)(b >> c) >> d)
    (entry,) = finish(rig, "a")
    assert open_ops(rig) == ["d"]
    assert entry.skips == ("b", "c")


def test_a_condition_in_front_of_a_scope() -> None:
    fan = parallel("fan", a, b)
    rig = plan(begin >> conditional(lambda s: s["go"])(fan) >> c, {"go": False})
    assert open_ops(rig) == ["c"]


def test_a_condition_inside_a_lane_sees_the_names_of_the_lane() -> None:
    only_y = conditional(lambda s: s["item"] == "y")
    rig = plan(begin >> foreach("ports", only_y(a)), {"ports": ["x", "y", "z"]})
    assert open_ops(rig) == ["ports[1].a"]


def test_a_guard_cannot_change_the_state() -> None:
    def greedy(state: dict[str, Any]) -> bool:
        state["list"].append(1)
        return True

    rig = plan(begin >> conditional(greedy)(a), {"list": []})
    finish(rig, "a")
    assert rig.progress.state == {"list": []}


# -- callbacks -----------------------------------------------------------------------------------


def called_back(**options: Any) -> Rig:
    return plan(begin >> callback_step("Provision", a, b, **options) >> c)


def test_a_callback_is_open_before_the_action_runs() -> None:
    rig = called_back()
    assert open_ops(rig) == ["provision.callback", "provision.a"]
    finish(rig, "provision.a")
    assert open_ops(rig) == ["provision.callback"]
    rig.tell(Answer("provision.callback", {"port": 7}))
    assert rig.progress.state == {"callback_result": {"port": 7}}
    finish(rig, "provision.b")
    assert open_ops(rig) == ["c"]
    assert rig.progress.frames == {}


def test_a_callback_that_comes_early_is_kept() -> None:
    rig = called_back(result_key=None)
    rig.tell(Answer("provision.callback", {"port": 7}))
    assert open_ops(rig) == ["provision.a"]
    assert rig.progress.state == {}
    rig.reload()
    finish(rig, "provision.a", {"x": 1})
    assert rig.progress.state == {"port": 7, "x": 1}
    assert open_ops(rig) == ["provision.b"]


def test_the_deadline_counts_from_the_end_of_the_action() -> None:
    rig = called_back(timeout="10s")
    assert rig.progress.ops["provision.callback"].due is None
    finish(rig, "provision.a")
    due = rig.progress.ops["provision.callback~due"].due
    assert due is not None
    rig.tell(Due("provision.callback~due", due), due)
    assert rig.progress.failure is not None
    assert "callback timed out" in rig.progress.failure.message
    rig.reload()
    rig.tell(Resume())
    assert open_ops(rig) == ["provision~2.callback", "provision~2.a"]


def test_an_answer_in_time_takes_the_deadline_away() -> None:
    rig = called_back(timeout="10s")
    finish(rig, "provision.a")
    rig.tell(Answer("provision.callback", {}))
    assert open_ops(rig) == ["provision.b"]


def test_a_failed_action_or_check_begins_the_callback_anew() -> None:
    rig = called_back()
    fail(rig, "provision.a")
    rig.tell(Resume())
    assert open_ops(rig) == ["provision~2.callback", "provision~2.a"]
    finish(rig, "provision~2.a")
    rig.tell(Answer("provision~2.callback", {"ok": False}))
    fail(rig, "provision~2.b")
    rig.tell(Resume())
    assert open_ops(rig) == ["provision~3.callback", "provision~3.a"]


def test_a_callback_in_a_lane_times_out_alone() -> None:
    rig = plan(begin >> parallel("fan", callback_step("cb", a, timeout="10s"), b))
    finish(rig, "fan.cb.a")
    due = rig.progress.ops["fan.cb.callback~due"].due
    assert due is not None
    rig.tell(Due("fan.cb.callback~due", due), due)
    assert rig.progress.failure is None
    finish(rig, "fan.b")
    assert rig.progress.causes == ("fan.cb.callback",)
    rig.tell(Resume())
    assert open_ops(rig) == ["fan.cb~2.callback", "fan.cb~2.a"]


# -- taking back -----------------------------------------------------------------------------------


def undoing(name: str) -> Any:
    return named(name, compensate=named(f"un{name}"))


x, y, z = (undoing(name) for name in "xyz")


def test_a_cancel_takes_back_what_was_done_in_reverse_order() -> None:
    rig = plan(begin >> x >> a >> y >> b)
    for key in ("x", "a", "y"):
        finish(rig, key, {key: 1})
    rig.tell(Cancel())
    assert open_ops(rig) == ["undo:y"]
    assert rig.kernel.target_of("undo:y").name == "uny"
    assert rig.kernel.source_of("undo:y") == {"x": 1, "a": 1, "y": 1}
    rig.reload()
    finish(rig, "undo:y", {"back": 1})
    assert open_ops(rig) == ["undo:x"]
    finish(rig, "undo:x")
    assert rig.progress.end == "cancelled"
    assert rig.progress.state["back"] == 1


def test_a_failure_for_good_takes_back_and_says_why() -> None:
    rig = plan(begin >> x >> y >> a)
    finish(rig, "x")
    finish(rig, "y")
    fail(rig, "a")
    assert rig.progress.failure is None
    finish(rig, "undo:y")
    finish(rig, "undo:x")
    assert (rig.progress.end, rig.progress.outcome) == ("cancelled", "compensated")
    assert rig.progress.undone == OOPS


def test_on_failure_park_waits_for_somebody() -> None:
    rig = plan(begin >> x >> a, on_failure="park")
    finish(rig, "x")
    fail(rig, "a")
    assert rig.progress.failure is not None
    rig.tell(Resume())
    assert open_ops(rig) == ["a"]


def test_a_step_that_did_not_end_is_not_taken_back() -> None:
    rig = plan(begin >> x >> y)
    finish(rig, "x")
    fail(rig, "y")
    assert open_ops(rig) == ["undo:x"]
    finish(rig, "undo:x")
    assert rig.progress.end == "cancelled"


def test_a_failed_taking_back_parks_and_can_be_resumed_or_skipped() -> None:
    rig = plan(begin >> x >> y >> a)
    finish(rig, "x")
    finish(rig, "y")
    rig.tell(Cancel())
    fail(rig, "undo:y")
    assert rig.progress.causes == ("undo:y",)
    rig.tell(Resume())
    assert rig.progress.ops["undo:y"].attempt == 2
    fail(rig, "undo:y")
    rig.tell(Skip("undo:y", None))
    finish(rig, "undo:x")
    assert rig.progress.end == "cancelled"


def test_a_second_cancel_ends_a_taking_back_that_failed() -> None:
    rig = plan(begin >> x >> a)
    finish(rig, "x")
    rig.tell(Cancel())
    fail(rig, "undo:x")
    rig.tell(Cancel())
    assert rig.progress.end == "cancelled"


def test_lanes_are_taken_back_with_their_names() -> None:
    rig = plan(begin >> foreach("ports", x) >> a, {"ports": ["p", "q"]})
    finish(rig, "ports[1].x", {"id": 1})
    finish(rig, "ports[0].x", {"id": 0})
    fail(rig, "a")
    assert open_ops(rig) == ["undo:ports[0].x"], "the last to end is the first taken back"
    source = rig.kernel.source_of("undo:ports[0].x")
    assert (source["item"], source["id"]) == ("p", 0)
    finish(rig, "undo:ports[0].x")
    finish(rig, "undo:ports[1].x")
    assert rig.progress.end == "cancelled"


def test_a_cancel_while_paused_takes_back_what_was_held() -> None:
    rig = plan(begin >> x >> a)
    rig.tell(Pause())
    finish(rig, "x", {"receipt": 7})
    rig.tell(Cancel())
    assert open_ops(rig) == ["undo:x"]
    assert rig.kernel.source_of("undo:x") == {"receipt": 7}


def test_a_skipped_step_is_not_taken_back() -> None:
    rig = plan(begin >> x >> a, on_failure="park")
    fail(rig, "x")
    rig.tell(Skip("x", {"receipt": 1}))
    rig.tell(Cancel())
    assert rig.progress.end == "cancelled"


# -- what cannot work is said when it is written -----------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: parallel("fan"), "has no branches"),
        (lambda: foreach("ports"), "has no steps"),
        (lambda: step_group("g", StepList()), "has a line without steps"),
        (lambda: parallel("fan", a, merge="what"), "merge must be"),  # type: ignore[arg-type]
        (lambda: parallel("fan", a, on_error="what"), "on_error must be"),  # type: ignore[arg-type]
        (lambda: parallel("fan", a, limit=0), "limit must be"),
        (lambda: parallel("fan", a, key="x[1]"), "must not contain '['"),
        (lambda: step_group("g", a, restart="x"), "restart must be"),  # type: ignore[arg-type]
        (lambda: step_group("", a), "a name must be text"),
        (lambda: foreach("ports", a, over=3), "over must be"),
        (lambda: parallel("fan", a, named("a")), 'two steps have the key "a"'),
        (lambda: step_group("g", lambda: None), "is not a step"),
        (lambda: callback_step("cb", a, result_key=""), "result_key must be"),
        (lambda: plan(begin, on_failure="no"), "on_failure must be"),
    ],
)
def test_mistakes_of_authors(make: Any, says: str) -> None:
    with pytest.raises(InvalidDefinition) as raised:
        make()
    assert says in str(raised.value)


def test_the_same_step_in_two_branches_has_two_keys() -> None:
    rig = plan(begin >> parallel("fan", a >> b, a))
    assert open_ops(rig) == ["fan.a", "fan.a#2"]


def test_a_group_that_fails_the_same_way_is_refused() -> None:
    def broken(state: dict[str, Any]) -> bool:
        raise KeyError("nope")

    rig = plan(begin >> a >> conditional(broken)(b))
    finish(rig, "a")
    assert rig.progress.failure is not None
    with pytest.raises(StillFails):
        rig.tell(Resume())


# -- law: whatever the order, the failures, the pauses and the crashes, the end is the same -----------


def always(state: dict[str, Any]) -> bool:
    return True


def never(state: dict[str, Any]) -> bool:
    return False


def random_steps(dice: random.Random, depth: int, names: list[int]) -> StepList:
    line = begin
    for _ in range(dice.randint(1, 3)):
        names[0] += 1
        own = f"s{names[0]}"
        kind = dice.choice(["step", "step", "retry", "group", "parallel", "foreach", "once"])
        if depth == 0 or kind == "step":
            line = line >> named(own)
        elif kind == "retry":
            line = line >> retrystep(own, key=own, delay="5s", jitter=0)(lambda: None)
        elif kind == "group":
            restart: Any = dice.choice(["child", "group"])
            inside = random_steps(dice, depth - 1, names)
            line = line >> step_group(own, inside, restart=restart)
        elif kind == "parallel":
            lanes = [random_steps(dice, depth - 1, names) for _ in range(dice.randint(1, 3))]
            merge: Any = dice.choice(["namespace", "list", "merge"])
            line = line >> parallel(own, *lanes, merge=merge, limit=dice.choice([None, 1, 2]))
        elif kind == "foreach":
            size = dice.randint(0, 3)
            inside = random_steps(dice, depth - 1, names)
            line = line >> foreach(
                own, inside, over=lambda state, size=size: list(range(size)), merge="list",
                limit=dice.choice([None, 1, 2]),
            )  # fmt: skip
        else:
            inside = random_steps(dice, depth - 1, names)
            yes = dice.random() < 0.5
            line = line >> conditional(always if yes else never, once=True)(inside)
    return line


def outcome_of(key: str) -> dict[str, Any]:
    """What a step gives follows from its place alone, not from its round."""
    plain = re.sub(r"~\d+", "", key)
    return {f"v{len(plain) % 4}": plain}


def run_calmly(steps: StepList) -> Rig:
    rig = plan(steps)
    for _ in range(10_000):
        if rig.progress.ended:
            return rig
        key = open_ops(rig)[0]
        rig.tell(Outcome(key, rig.progress.ops[key].attempt, outcome_of(key)))
    raise AssertionError("it does not end")


def run_wildly(steps: StepList, dice: random.Random) -> Rig:
    rig = plan(steps)
    troubles = dice.randint(0, 6)
    for _ in range(10_000):
        p = rig.progress
        if p.ended:
            return rig
        chance = dice.random()
        if chance < 0.1:
            rig.reload()
        elif p.failure is not None or p.paused:
            running = [key for key, op in p.ops.items() if op.status == "started"]
            if running and dice.random() < 0.7:
                key = dice.choice(running)
                rig.tell(Outcome(key, p.ops[key].attempt, outcome_of(key)))
            else:
                rig.tell(Resume())
        elif chance < 0.2 and troubles:
            troubles -= 1
            rig.tell(Pause())
        else:
            key = dice.choice(open_ops(rig))
            op = p.ops[key]
            if op.status == "retry":
                assert op.due is not None
                rig.tell(Due(key, op.due), op.due)
            elif troubles and dice.random() < 0.3:
                troubles -= 1
                rig.tell(Outcome(key, op.attempt, error=OOPS))
            else:
                rig.tell(Outcome(key, op.attempt, outcome_of(key)))
        assert picture(refolded(rig.rows)) == picture(rig.progress)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_on_the_way_the_end_is_that_of_a_calm_run(seed: int) -> None:
    dice = random.Random(seed)
    steps = random_steps(dice, 3, [0])
    calm = run_calmly(steps)
    for _ in range(3):
        wild = run_wildly(steps, dice)
        assert wild.progress.state == calm.progress.state
        assert wild.progress.frames == calm.progress.frames == {}
