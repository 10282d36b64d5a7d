"""The rules of the kernel, one by one, with the counter-examples that forced them."""

from __future__ import annotations

import asyncio
import decimal
import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.actors import body
from greenroom.actors.children import child_id
from greenroom.actors.decide import Kernel
from greenroom.actors.effects import ArmTimer, RunCall, pending
from greenroom.actors.entries import (
    CancelRequested,
    Completed,
    Continued,
    Died,
    Failure,
    Reopened,
    Started,
)
from greenroom.actors.messages import (
    Answer,
    Begin,
    Cancel,
    Due,
    Offer,
    Outcome,
    Pause,
    Recover,
    Resume,
    Skip,
    attempt_id,
)
from greenroom.actors.progress import encode_progress, status_of
from greenroom.definitions.declare import compile_definition
from greenroom.definitions.errors import (
    CodeChanged,
    InDoubt,
    InvalidTransition,
    NotFound,
    StepFailed,
    StillFails,
)
from greenroom.definitions.events import HOPS_MAX
from greenroom.definitions.ops import (
    asked,
    continue_as_new,
    emit,
    gather,
    now,
    random,
    sleep,
    uuid,
    wait,
)
from tests.laws.programs import Sample, call, compile_sample
from tests.laws.rig import START, Rig, picture

OOPS = Failure("Oops", "it failed")
S = 1000


_made: list[Rig] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """No test leaves coroutines behind, one that fails neither."""
    yield
    while _made:
        _made.pop().close()


class On(Rig):
    """A rig with short words."""

    def __init__(self, subject: Any, input: Any = None, **more: Any) -> None:
        definition = (
            subject.definition if isinstance(subject, Sample) else compile_definition(subject)
        )
        super().__init__(definition, {} if input is None else input, **more)
        _made.append(self)

    def tell(self, message: Any, at: int = 0) -> list[Any]:
        return list(super().tell(message, at))

    def done(self, key: str, value: Any = None, attempt: int = 0) -> Any:
        attempt = attempt or self.progress.ops[key].attempt
        return self.tell(Outcome(key, attempt, value))

    def broken(self, key: str, attempt: int = 0) -> Any:
        attempt = attempt or self.progress.ops[key].attempt
        return self.tell(Outcome(key, attempt, error=OOPS))

    def event(self, type: str, iq: int = 1, at: int = START, n: int = 0) -> Any:
        data = {"type": type, "id": f"x{iq}", "source": "/t", "data": {"n": n}}
        return self.tell(Offer(iq, at, data, 100 + iq), at)

    def fire(self, key: str) -> Any:
        due = self.progress.ops[key].due
        assert due is not None
        return self.tell(Due(key, due), due)

    @property
    def open(self) -> list[str]:
        return list(self.progress.ops)

    @property
    def state(self) -> dict[str, Any]:
        return self.progress.state

    @property
    def result(self) -> Any:
        assert self.progress.end == "completed", (self.progress.end, self.progress.failure)
        return self.progress.result

    @property
    def failure(self) -> str | None:
        return self.progress.failure.type if self.progress.failure else None


# -- turns and the journal -----------------------------------------------------------------------


async def two_steps() -> Any:
    return [await call("a"), await call("b")]


def test_k2_one_entry_is_one_turn_with_all_it_asked_for() -> None:
    on = On(two_steps)
    (entry,) = on.done("1", 7)
    assert [r.key for r in entry.requests] == ["2"]
    (entry,) = on.done("2", 8)
    assert entry.end == Completed([7, 8])
    assert len(on.rows) == 3


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ("async def f(): await call('b'); await call('b')", "another op"),
        ("async def f(): await call('a'); await sleep(1); await call('b')", "another op"),
        ("async def f(): await call('a')", "not asked for any more"),
        ("async def f(): await call('a'); await gather(call('b'), call('b'))", "another op"),
        ("async def f(): raise ValueError", "raises where it went on"),
    ],
)
def test_k3_every_change_of_code_behind_the_cursor_is_found(changed: str, why: str) -> None:
    on = On(compile_sample("async def f(): await call('a'); await call('b')"))
    on.done("1")
    on.reload(compile_sample(changed).definition)
    (entry,) = on.done("2", 1, attempt=1)
    assert isinstance(entry.end, Died)
    assert entry.end.error.kind == "code_changed"
    assert why in entry.end.error.message


@pytest.mark.parametrize(
    ("more", "less"), [("call('a'), call('b')", "call('a')"), ("call('a')", "call('a'), call('b')")]
)
def test_k3_an_op_more_or_less_in_one_turn_is_found(more: str, less: str) -> None:
    on = On(compile_sample(f"async def f(): await call('a'); await gather({less})"))
    on.done("1")
    on.reload(compile_sample(f"async def f(): await call('a'); await gather({more})").definition)
    on.done("2.0", attempt=1)
    assert on.failure == "CodeChanged"


def test_k4_messages_are_decided_on_top_of_what_is_not_stored_yet() -> None:
    on = On(two_steps)
    assert on.kernel.decide(Outcome("1", 1, 1), START)
    assert on.kernel.decide(Outcome("2", 1, 2), START)
    assert on.progress.end == "completed"


@pytest.mark.parametrize(
    "message",
    [
        Outcome("1", 1, error=OOPS),
        Recover(),
        Pause(),
    ],
)
def test_k5_what_is_not_a_turn_needs_no_machine(message: Any, monkeypatch: Any) -> None:
    on = On(compile_sample("async def f(): await call('always')"))
    on.reload()
    monkeypatch.setattr(Kernel, "_replayed", lambda *_: pytest.fail("replayed"))
    assert on.tell(message)


async def nested() -> Any:
    async def first() -> None:
        await call("a")

    async def second() -> None:
        await call("b")

    await gather(first(), call("a"), second(), call("b"))


def test_k6_a_gather_starts_its_ops_first_then_its_coroutines_in_order() -> None:
    on = On(nested)
    assert on.open == ["1.1", "1.3", "1.0.1", "1.2.1"]


def test_k8_a_request_is_the_start_of_its_first_attempt() -> None:
    on = On(two_steps)
    assert on.progress.ops["1"].status == "started"
    assert pending(on.progress) == [RunCall("1", 1)]


async def emits_then_dies() -> None:
    await call("a")
    await emit("out")
    raise ValueError


def test_k9_an_emit_completes_in_its_turn_and_dies_with_it() -> None:
    on = On(emits_then_dies)
    (entry,) = on.done("1")
    assert isinstance(entry.end, Died)
    assert entry.requests == ()


async def draws() -> Any:
    first = await uuid()
    await sleep(5)
    return [first, await uuid(), await random(), (await now()).isoformat()]


def test_k10_time_and_chance_write_nothing_and_are_the_same_on_replay() -> None:
    on, other = On(draws), On(draws, id="another")
    assert [len(e.requests) for e in on.entries] == [1]
    on.reload()
    on.fire("1")
    other.fire("1")
    assert on.result[0] != on.result[1]
    assert on.result[0] != other.result[0]
    assert on.result[3] == "2023-11-14T22:13:25+00:00"
    twin = On(draws)
    twin.fire("1")
    assert twin.result == on.result


def test_k10_a_due_time_does_not_move_with_the_clock_of_a_replay() -> None:
    on = On(compile_sample("async def f(): await call('a'); await sleep(10)"))
    on.tell(Outcome("1", 1), START + 5 * S)
    on.reload()
    assert on.progress.ops["2"].due == START + 15 * S


# -- keys and fences -----------------------------------------------------------------------------


class Again:
    n: int

    async def handle(self) -> Any:
        await call("a", self.n)
        if self.n < 2:
            continue_as_new({"n": self.n + 1})
        return self.n

    async def on_event(self, event: Any) -> None:
        await sleep(1)


def test_k12_the_generation_is_in_the_key_so_a_late_result_of_before_is_no_result() -> None:
    on = On(Again, {"n": 0})
    entries = on.done("1")
    assert [type(e) for e in entries][1:] == [Started]
    assert isinstance(entries[0].end, Continued)
    assert on.open == ["2/1"]
    assert on.tell(Outcome("1", 1)) == []
    on.done("2/1")
    on.done("3/1")
    assert on.result == 2


def test_k13_a_number_of_an_attempt_is_never_used_twice() -> None:
    on = On(compile_sample("async def f(): return await call('a')"))
    on.broken("1")
    on.tell(Resume())
    assert on.progress.ops["1"].attempt == 2
    assert on.tell(Outcome("1", 1, "zombie")) == []
    on.done("1", "good")
    assert on.result == "good"


def test_k14_a_child_asked_for_again_is_another_child() -> None:
    on = On(compile_sample("async def f(): return await child('kid')"))
    first = child_id(on.progress.id, "1", on.progress.ops["1"].attempt)
    on.tell(Outcome("1", 1, error=OOPS, final=True))
    on.tell(Resume())
    assert on.progress.ops["1"].attempt == 2
    assert child_id(on.progress.id, "1", 2) != first


def test_k15_after_a_crash_a_call_gets_another_attempt_and_once_is_in_doubt() -> None:
    on = On(compile_sample("async def f(): await gather(call('a'), call('once'))"))
    on.reload()
    on.tell(Recover())
    assert on.progress.ops["1.0"].attempt == 2
    assert on.progress.ops["1.1"].status == "doubt"
    assert [effect.key for effect in pending(on.progress)] == ["1.0"]
    assert on.failure == "InDoubt"
    assert on.tell(Recover()) == []


def test_k15_the_third_death_parks_as_poison_and_starts_nothing() -> None:
    on = On(two_steps)
    for _ in range(3):
        on.reload()
        on.tell(Recover())
    assert on.failure == "Poison"
    assert pending(on.progress) == []
    on.tell(Resume())
    assert pending(on.progress) == [RunCall("1", 4)]


def test_k15_who_waited_to_be_run_alone_did_not_kill_the_process() -> None:
    on = On(compile_sample("async def f(): await gather(call('a'), call('b'))"))
    for _ in range(2):
        on.reload()
        on.tell(Recover(alone=""))
    assert [op.lost for op in on.progress.ops.values()] == [2, 2]
    for alone in ("", attempt_id("another", "1.0", 3), attempt_id(on.progress.id, "1.0", 1)):
        on.reload()
        on.tell(Recover(alone=alone))
        assert on.failure is None
        assert [op.lost for op in on.progress.ops.values()] == [2, 2]
    assert {op.attempt for op in on.progress.ops.values()} == {6}
    on.reload()
    on.tell(Recover(alone=attempt_id(on.progress.id, "1.1", 6)))
    assert on.failure == "Poison"
    assert on.progress.failure is not None and on.progress.failure.op == "1.1"


def test_k15_clean_stops_are_not_deaths() -> None:
    on = On(two_steps)
    for counted in (False, False, False, True, True, False, True):
        on.reload()
        on.tell(Recover(counted))
    assert on.failure is None


def test_k16_what_a_race_gave_up_is_not_owed_any_more() -> None:
    on = On(compile_sample("async def f(): await race(call('a'), sleep(5)); await sleep(1)"))
    on.fire("1.1")
    assert list(on.owed) == ["2"]
    assert on.owed == {effect.key: effect for effect in pending(on.progress)}


# -- parked --------------------------------------------------------------------------------------


def test_k17_outcomes_are_held_while_paused_and_applied_in_order() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        self.log = []
        async def one(name):
            value = await call(name)
            self.log = self.log + [value]
            await sleep(1)
        await gather(one('a'), one('b'))
""")
    )
    on.tell(Pause())
    (entry,) = on.done("1.1.1", "second")
    assert entry.held
    on.done("1.0.1", "first")
    assert on.state["log"] == []
    on.reload()
    (resumed,) = on.tell(Resume())
    assert [r.key for r in resumed.requests] == ["1.1.2", "1.0.2"]
    assert on.state["log"] == ["second", "first"]


def test_k18_paused_a_running_call_stays_and_timers_and_events_wait() -> None:
    on = On(compile_sample(
        "async def f(): await gather(call('a'), sleep(5), wait('e'), call('always'))"
    ))  # fmt: skip
    on.broken("1.3")
    on.tell(Pause())
    assert pending(on.progress) == [RunCall("1.0", 1)]
    assert on.tell(Due("1.1", START + 5 * S), START + 9 * S) == []
    assert on.event("e") == []
    on.reload()
    on.tell(Recover())
    assert on.progress.ops["1.0"].status == "ready"
    assert pending(on.progress) == []
    on.tell(Resume())
    assert RunCall("1.0", 2) in pending(on.progress)
    assert ArmTimer("1.1", START + 5 * S) in pending(on.progress)


class Refusals:
    async def handle(self) -> None:
        try:
            await call("a")
        finally:
            await call("b")


def test_k18_what_is_failed_or_cancelling_is_not_paused() -> None:
    on = On(Refusals)
    on.tell(Cancel())
    with pytest.raises(InvalidTransition):
        on.tell(Pause())
    on.broken("2")
    with pytest.raises(InvalidTransition):
        on.tell(Pause())


class Visible:
    async def handle(self) -> None:
        try:
            await call("a")
        except StepFailed as error:
            self.error = str(error)
            await emit("never")
            raise


def test_k20_a_dying_turn_did_not_happen_but_can_be_seen() -> None:
    on = On(Visible)
    (entry,) = on.broken("1")
    assert isinstance(entry.end, Died)
    assert entry.end.view == {"error": "Oops: it failed"}
    assert entry.requests == ()
    assert entry.delta is None
    assert on.state == {}
    on.tell(Resume())
    on.done("1")
    assert on.progress.end == "completed"
    assert on.state == {}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("self.x = object()", "not_json"),
        ("return {1: 2}", "not_json"),
        ("await asyncio.sleep(0)", "foreign"),
        ("await asyncio.Event().wait()", "raised"),
        ("raise KeyError('k')", "raised"),
        ("raise asyncio.CancelledError", "raised"),
        ("raise SystemExit", "raised"),
    ],
)
def test_k20_all_ways_to_die(body: str, kind: str) -> None:
    on = On(compile_sample(f"class P:\n    async def handle(self):\n        {body}\n"))
    assert on.progress.failure is not None
    assert on.progress.failure.kind == kind
    assert len(on.rows) == 1
    with pytest.raises(StillFails):
        on.tell(Resume())
    assert len(on.rows) == 1


def test_k21_a_handled_failure_is_not_to_blame() -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        await call('a')
    except StepFailed:
        await call('b')
""")
    )
    on.broken("1")
    on.broken("2")
    assert on.progress.causes == ("2",)


def test_k21_through_a_gather_all_its_failures_are_to_blame() -> None:
    on = On(compile_sample("async def f(): await gather(call('a'), call('b'), call('a'))"))
    for key in ("1.2", "1.0"):
        on.broken(key)
    on.done("1.1")
    assert on.progress.causes == ("1.0", "1.2")
    (entry,) = on.tell(Resume())
    assert entry.void == ("1.0", "1.2")
    assert [(r.key, r.attempt) for r in entry.requests] == [("1.0", 2), ("1.2", 2)]


def test_k22_a_resume_that_dies_in_the_same_way_records_nothing() -> None:
    on = On(compile_sample("async def f():\n    await call('a')\n    raise ValueError('bug')\n"))
    on.done("1")
    before = picture(on.progress)
    with pytest.raises(StillFails):
        on.tell(Resume())
    assert picture(on.progress) == before


def test_k22_two_held_failures_are_taken_back_one_after_the_other() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        await wait('never')
    async def on_event(self, event):
        await call('a')
""")
    )
    on.event("x", 1)
    on.event("x", 2)
    on.broken("e1.1")
    on.broken("e2.1")
    assert on.progress.causes == ("e1.1",)
    (entry,) = on.tell(Resume())
    assert entry.void == ("e1.1", "e2.1")
    assert on.progress.ops["e2.1"].attempt == 2


LOCKED = """
async def f():
    await call('a')
    try:
        await call('b', 'charge')
    finally:
        await call('a', 'release')
"""


def test_k23_a_failure_after_which_the_program_went_on_is_not_taken_back() -> None:
    """`charge` must not be tried again when its lock is released already."""
    on = On(compile_sample(LOCKED))
    on.done("1")
    on.broken("2")
    on.done("3")
    assert on.progress.causes == ("2",)
    with pytest.raises(StillFails):
        on.tell(Resume())
    assert on.open == []


def test_k23_a_turn_that_changed_the_state_may_not_change_arguments_of_later_ops() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        self.x = 0
        async def one():
            try:
                await call('a')
            finally:
                self.x = 1
        async def two():
            await sleep(1)
            await call('b', self.x)
        await gather(one(), two())
""")
    )
    on.broken("1.0.1")
    on.fire("1.1.1")
    on.done("1.1.2")
    with pytest.raises(StillFails):
        on.tell(Resume())


def test_k23_a_held_failure_that_gave_other_ops_up_is_not_taken_back() -> None:
    """What it gave up is gone from the journal: nothing would ever come for it again."""
    on = On(
        compile_sample("""
async def f():
    async def one():
        await gather(call('a'), wait('e'), on_error='cancel')
    await gather(one(), sleep(9))
""")
    )
    on.tell(Pause())
    on.broken("1.0.1.0")
    (resumed,) = on.tell(Resume())
    assert resumed.closes == ("1.0.1.1",)
    on.fire("1.1")
    assert on.progress.causes == ("1.0.1.0",)
    with pytest.raises(StillFails):
        on.tell(Resume())


def test_k24_what_is_asked_for_again_has_the_arguments_of_the_code_as_it_is() -> None:
    on = On(compile_sample("async def f(): return await call('a', '1,5')"))
    on.broken("1")
    on.reload(compile_sample("async def f(): return await call('a', 1.5)").definition)
    (entry,) = on.tell(Resume())
    assert entry.requests[0].args == {"x": 1.5}


def test_k24_a_failed_dispatch_is_asked_for_again_like_a_call() -> None:
    on = On(compile_sample("async def f(): await dispatch('a', 1); await sleep(9)"))
    on.broken("1")
    assert on.progress.causes == ("1",)
    on.reload(compile_sample("async def f(): await dispatch('a', 2); await sleep(9)").definition)
    (entry,) = on.tell(Resume())
    assert [(r.key, r.kind, r.attempt, r.args) for r in entry.requests] == [
        ("1", "dispatch", 2, {"x": 2})
    ]


def test_k25_the_state_a_voided_turn_left_is_undone() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        async def one():
            try:
                await call('a')
            except StepFailed:
                self.seen = True
                raise
        await gather(one(), call('b'))
""")
    )
    on.broken("1.0.1")
    assert on.state == {"seen": True}
    on.done("1.1")
    on.tell(Resume())
    assert on.state == {}
    on.reload()
    on.done("1.0.1")
    assert on.progress.end == "completed"


def test_k26_skip_gives_a_failed_op_an_answer_and_goes_on() -> None:
    on = On(two_steps)
    on.broken("1")
    (entry,) = on.tell(Skip("1", "mine"))
    assert entry.resumes
    assert entry.void == ("1",)
    on.reload()
    on.done("2", 2)
    assert on.result == ["mine", 2]


def test_k26_two_ops_in_doubt_are_answered_one_by_one() -> None:
    on = On(compile_sample("async def f(): return await gather(call('once'), call('once'))"))
    on.reload()
    on.tell(Recover())
    assert on.progress.causes == ("1.0", "1.1")
    on.tell(Skip("1.0", 1))
    assert on.failure == "InDoubt"
    on.tell(Skip("1.1", 2))
    assert on.result == [1, 2]


def test_k26_a_skip_keeps_the_event_that_was_held() -> None:
    on = On(compile_sample(
        "async def f():\n    x = await gather(call('a'), wait('e'))\n    await wait('e')\n"
    ))  # fmt: skip
    on.broken("1.0")
    (entry,) = on.event("e")
    assert isinstance(entry.end, Died)
    on.tell(Skip("1.0"))
    assert on.open == ["2"]
    assert on.event("e") == [], "taken once"


def test_k26_only_what_is_to_blame_can_be_skipped() -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        await call('a')
    except StepFailed:
        pass
    await gather(call('b'), call('b'))
""")
    )
    on.broken("1")
    on.broken("2.0")
    on.broken("2.1")
    with pytest.raises(NotFound):
        on.tell(Skip("1"))
    on.tell(Skip("2.0"))
    on.tell(Skip("2.1"))
    assert on.progress.end == "completed"


def test_k26_skip_of_a_retrying_op_is_an_outcome() -> None:
    on = On(compile_sample("async def f(): return await call('always')"))
    with pytest.raises(InvalidTransition):
        on.tell(Skip("1", 5))
    on.broken("1")
    on.tell(Skip("1", 5))
    assert on.result == 5


# -- branches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("1.0", "1.1"), ("1.1", "1.0")])
def test_k27_the_error_of_a_gather_is_that_of_the_lowest_index(order: tuple[str, str]) -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        await gather(call('a'), call('b'))
    except StepFailed as error:
        return error.details['op']
""")
    )
    for key in order:
        on.broken(key)
    assert on.result == "1.0"


def test_k27_nothing_is_asked_for_when_one_argument_is_bad() -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        await gather(call('a'), call('b', object()))
    except InvalidInput:
        return await gather()
""")
    )
    assert on.entries[0].requests == ()
    assert on.result == []


def test_k27_fail_fast_gives_the_others_up_and_runs_their_clean_up() -> None:
    on = On(
        compile_sample("""
async def f():
    async def guarded():
        try:
            await wait('never')
        finally:
            await call('b', 'clean')
    try:
        await gather(call('a'), guarded(), sleep(9), on_error='cancel')
    except StepFailed as error:
        return str(error)
""")
    )
    (entry,) = on.broken("1.0")
    assert sorted(entry.closes) == ["1.1.1", "1.2"]
    assert on.open == ["1.1.2"]
    on.done("1.1.2")
    assert on.result == "Oops: it failed"


def test_k27_an_unhandled_fail_fast_gave_nothing_up() -> None:
    on = On(compile_sample("async def f(): await gather(call('a'), call('b'), on_error='cancel')"))
    (entry,) = on.broken("1.0")
    assert entry.closes == ()
    assert on.open == ["1.1"]
    on.tell(Resume())
    assert sorted(on.open) == ["1.0", "1.1"]


def test_k27_a_race_goes_on_once_with_the_first() -> None:
    on = On(
        compile_sample("""
async def f():
    won = await race(call('a'), call('b'), sleep(9))
    first = await call('a')
    return [won, first, await call('b')]
""")
    )
    on.done("1.1", "b")
    assert on.open == ["2"]
    assert on.tell(Outcome("1.0", 1, "late")) == []
    on.done("2", 2)
    on.done("3", 3)
    assert on.result == ["b", 2, 3]


GIVEN_UP_AT_ONCE = """
async def f():
    async def at_once():
        return 'at once'
    async def inner():
        await gather(dispatch('a'), call('b'))
    async def outer():
        return await race(inner(), call('a'), at_once())
    won = await race(outer(), call('b'))
    return [won, await call('a')]
"""


def test_k28_what_is_asked_for_and_given_up_in_one_turn_is_never_done() -> None:
    on = On(compile_sample(GIVEN_UP_AT_ONCE))
    (entry,) = on.entries
    assert [r.key for r in entry.requests if r.gone] != []
    assert on.open == ["2"]
    on.reload()
    on.done("2", 1)
    assert on.result == ["at once", 1]


class Handles:
    async def handle(self) -> Any:
        self.seen: list[Any] = []
        event = await wait("e")
        return [event.data["n"], self.seen]

    async def on_event(self, event: Any) -> None:
        self.seen = [*self.seen, event.data["n"]]


def test_k29_what_a_handler_set_is_seen_after_the_wait_that_takes_the_event() -> None:
    on = On(Handles)
    on.event("other", 1, n=1)
    on.event("e", 2, n=2)
    assert on.result == [2, [1, 2]]


class Late:
    async def handle(self) -> str:
        return "over"

    async def on_event(self, event: Any) -> None:
        await sleep(5)


class LateToo(Late):
    async def handle(self) -> str:
        await wait("go")
        return "over"


def test_k29_the_end_waits_for_handlers_and_none_begins_after_main() -> None:
    on = On(LateToo)
    on.event("go", 1)
    assert on.progress.over
    assert on.open == ["e1.1"]
    assert on.event("more", 2) == []
    on.fire("e1.1")
    assert on.result == "over"


def test_k30_an_event_goes_to_the_oldest_wait_alone_and_handling_does_not_use_it_up() -> None:
    on = On(compile_sample(
        "async def f(): return await gather(wait('e', {'data.n': 2}), wait('e'), wait('e'))"
    ))  # fmt: skip
    (entry,) = on.event("e", 1, n=1)
    assert entry.takes == "1.1"
    assert on.event("e", 1, n=1) == []
    (entry,) = on.event("e", 2, n=2)
    assert entry.takes == "1.0"


class WaitsInHandler:
    async def handle(self) -> None:
        await wait("never")

    async def on_event(self, event: Any) -> None:
        if event.data["n"] == 0:
            self.got = (await wait(event.type, since=self.since)).id  # type: ignore[attr-defined]


@pytest.mark.parametrize("since", ["start", "now"])
def test_k31_a_handler_never_waits_for_its_own_event(since: str) -> None:
    on = On(WaitsInHandler, {"since": since})
    on.event("e", 1)
    assert on.event("e", 1) == []
    on.event("e", 2, n=1)
    assert on.state["got"] == "x2"


def test_k32_first_entry_wins_between_event_and_timeout() -> None:
    on = On(compile_sample(
        "async def f(): return [show(await wait('e', timeout=10)), show(await wait('e'))]"
    ))  # fmt: skip
    on.fire("1")
    assert on.event("e", 1, at=START + 10 * S)
    assert on.result[0] is None
    on = On(compile_sample("async def f(): return show(await wait('e', timeout=10))"))
    on.event("e", 1, at=START + 9 * S)
    assert on.tell(Due("1", START + 10 * S), START + 20 * S) == []
    assert on.result == ["e", {"n": 0}]


def test_k32_an_event_accepted_after_the_due_time_is_not_taken() -> None:
    on = On(compile_sample("async def f(): await wait('e', timeout=10)"))
    assert on.event("e", 1, at=START + 10 * S + 1) == []
    assert on.event("e", 2, at=START + 10 * S) != []


def test_a_timer_never_fires_early_or_for_another_due_time() -> None:
    on = On(compile_sample("async def f(): await sleep(10)"))
    assert on.tell(Due("1", START + 10 * S), START + 9 * S) == []
    assert on.tell(Due("1", START + 9 * S), START + 11 * S) == []
    assert on.fire("1")


# -- cancel --------------------------------------------------------------------------------------


class Reserves:
    async def handle(self) -> None:
        self.x = None
        try:
            self.x = await call("a", "reserve")
            await sleep(9)
        finally:
            if self.x is not None:
                await call("b", "release")


def test_k33_what_was_held_is_applied_before_a_cancel() -> None:
    on = On(Reserves)
    on.tell(Pause())
    on.done("1", "seat 4")
    (entry,) = on.tell(Cancel())
    assert entry.drained
    assert on.state == {"x": "seat 4"}
    assert on.open == ["3"]
    on.reload()
    on.tell(Recover())
    on.done("3")
    assert on.progress.end == "cancelled"


def test_k33_a_cancel_closes_what_is_open_main_first_then_handlers() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        self.log = []
        async def one(name):
            try:
                await call('a')
            except asyncio.CancelledError:
                self.log = self.log + [name]
                raise
        try:
            await gather(one('first'), call('b'), one('second'))
        finally:
            self.log = self.log + ['main']
    async def on_event(self, event):
        try:
            await sleep(5)
        finally:
            self.log = self.log + ['handler']
""")
    )
    on.event("e")
    (entry,) = on.tell(Cancel())
    assert sorted(entry.closes) == ["1.0.1", "1.1", "1.2.1", "e1.1"]
    assert entry.delta is not None
    assert entry.delta.set["log"] == ["first", "second", "main", "handler"]
    assert on.progress.end == "cancelled"
    assert on.tell(Outcome("1.1", 1, 1)) == []
    assert on.tell(Cancel()) == []


def test_k33_a_cancel_closes_dispatches_of_generations_before() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        await dispatch('a')
        await call('b')
        continue_as_new({'n': self.n + 1})
"""),
        {"n": 0},
    )
    on.done("2")
    assert sorted(on.open) == ["1", "2/1", "2/2"]
    on.tell(Cancel())
    assert on.open == []


def test_k34_a_cancel_that_is_swallowed_ends_cancelled_all_the_same() -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        await sleep(9)
    except asyncio.CancelledError:
        await call('a')
    await sleep(1)
    return 'went on'
""")
    )
    on.tell(Cancel())
    assert status_of(on.progress) == "running"
    on.done("2")
    on.fire("3")
    assert on.progress.end == "cancelled"


def test_k35_a_failed_clean_up_is_resumed_or_cancelled_for_good() -> None:
    for verb in (Resume(), Cancel()):
        on = On(Refusals)
        on.tell(Cancel())
        on.broken("2")
        assert on.failure == "Oops"
        on.reload()
        (entry,) = on.tell(verb)
        if isinstance(verb, Resume):
            assert isinstance(entry, Reopened)
            on.done("2")
        assert on.progress.end == "cancelled"


def test_k35_a_cancel_whose_turn_dies_is_held_with_what_it_drained() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        self.x = None
        try:
            self.x = await call('a')
            await sleep(9)
        finally:
            await call('b', object() if self.bad else self.x)
"""),
        {"bad": True},
    )
    on.tell(Pause())
    on.done("1", "seat")
    (entry,) = on.tell(Cancel())
    assert isinstance(entry.end, Died)
    on.reload(
        compile_sample("""
class P:
    async def handle(self):
        self.x = None
        try:
            self.x = await call('a')
            await sleep(9)
        finally:
            await call('b', self.x)
""").definition
    )
    on.tell(Resume())
    assert on.progress.ops["3"].request.args == {"x": "seat"}
    on.done("3")
    assert on.progress.end == "cancelled"


def test_k35_a_cancel_never_gets_stuck_on_changed_code() -> None:
    on = On(two_steps)
    on.reload(compile_sample("async def f(): await sleep(1)").definition)
    (entry,) = on.tell(Cancel())
    assert isinstance(entry, CancelRequested)
    assert on.progress.end == "cancelled"
    assert "clean-up skipped" in (on.progress.outcome or "")


# -- code, values, limits ------------------------------------------------------------------------


def test_k36_after_changed_code_the_old_code_goes_on_with_the_held_result() -> None:
    on = On(two_steps)
    old = on.definition
    on.reload(compile_sample("async def f(): await sleep(1)").definition)
    on.done("1", 5, attempt=1)
    assert on.failure == "CodeChanged"
    with pytest.raises(CodeChanged):
        on.tell(Resume())
    on.reload(old)
    on.tell(Resume())
    assert on.open == ["2"]


def test_k36_a_change_ahead_of_the_cursor_is_welcome() -> None:
    on = On(two_steps)
    on.reload(compile_sample("async def f(): await call('a'); await sleep(1)").definition)
    on.done("1", 1)
    assert on.progress.ops["2"].request.kind == "sleep"


HIDDEN = "class P:\n    async def handle(self):\n        self.x = BOX.pop()\n        await call('a')\n        await call('b')\n"


@pytest.mark.parametrize("strict", [False, True])
def test_k37_a_state_that_replays_otherwise_is_noted_or_parks(strict: bool) -> None:
    source = HIDDEN.replace("BOX.pop()", "asyncio.BOX.pop()")
    asyncio.BOX = [2, 1]  # type: ignore[attr-defined]
    try:
        on = On(compile_sample(source, strict=strict))
        on.reload()
        on.done("1", attempt=1)
    finally:
        del asyncio.BOX  # type: ignore[attr-defined]
    assert (on.failure == "CodeChanged") is strict
    assert on.state == {"x": 1 if strict else 2}, "what differs joins the next delta"
    assert bool(on.notes) is not strict


@pytest.mark.parametrize("bad", ["float('nan')", "{1: 2}", "object()", "'\\ud800'", "1 << 70"])
def test_k38_arguments_that_cannot_be_kept_raise_at_the_await(bad: str) -> None:
    on = On(
        compile_sample(f"""
async def f():
    try:
        await call('a', {bad})
    except InvalidInput as error:
        return error.code
""")
    )
    assert on.result == "invalid_input"


def test_k38_errors_have_one_class_live_and_replayed() -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        await call('a')
    except StepFailed as error:
        return [type(error).__name__, error.type, error.message]
""")
    )
    on.broken("1")
    assert on.result == ["StepFailed", "Oops", "it failed"]


def test_k39_the_delta_has_what_changed_and_what_is_gone_and_nothing_private() -> None:
    on = On(
        compile_sample("""
class P:
    async def handle(self):
        self.keep, self.go, self._x = 1, 2, object()
        await call('a')
        del self.go
        self.keep = 1
        self.new = [1]
        await call('b')
""")
    )
    (entry,) = on.done("1")
    assert entry.delta is not None
    assert (entry.delta.set, entry.delta.drop) == ({"new": [1]}, ("go",))
    assert on.state == {"keep": 1, "new": [1]}


def test_k40_continue_as_new_is_refused_where_it_would_never_stop() -> None:
    on = On(
        compile_sample("""
async def f():
    async def at_once():
        pass
    await race(sleep(1), at_once())
    await child('kid', detach=True)
    continue_as_new({})
""")
    )
    assert on.failure == "ContinueAsNew"


def test_k40_continue_as_new_waits_for_handlers() -> None:
    on = On(Again, {"n": 0})
    on.event("e")
    on.done("1")
    assert on.progress.gen == 1
    on.fire("e1.1")
    assert on.progress.gen == 2
    assert on.event("e", 1) == [], "seen before"


def test_k41_in_doubt_only_a_person_says_what_happened() -> None:
    def doubtful() -> On:
        on = On(compile_sample("async def f(): return await call('once')"))
        on.reload()
        on.tell(Recover())
        return on

    on = doubtful()
    with pytest.raises(InDoubt):
        on.tell(Resume())
    on.tell(Resume(run_again=True))
    assert on.progress.ops["1"].attempt == 2
    on.reload()
    on.tell(Pause())
    assert on.tell(Outcome("1", 1, "zombie")) == []
    on = doubtful()
    on.tell(Skip("1", "it did"))
    assert on.result == "it did"


def test_k41_an_op_run_again_after_doubt_is_replayed() -> None:
    on = On(compile_sample("async def f(): return [await call('once'), await call('a')]"))
    on.reload()
    on.tell(Recover())
    on.tell(Resume(run_again=True))
    on.reload()
    on.tell(Recover(counted=False))
    on.tell(Resume(run_again=True))
    on.done("1", 1)
    on.reload()
    on.tell(Recover())
    on.done("2", 2)
    assert on.result == [1, 2]


async def test_k42_a_turn_sees_no_loop_and_has_a_context_of_its_own() -> None:
    on = On(
        compile_sample("""
async def f():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return 'no loop'
""")
    )
    assert on.result == "no loop"
    assert asyncio.get_running_loop() is not None


async def precise() -> str:
    decimal.getcontext().prec = 3
    await call("a")
    return str(decimal.Decimal(1) / 3)


def test_k42_the_precision_of_one_instance_is_not_that_of_others() -> None:
    on = On(precise)
    assert decimal.getcontext().prec != 3
    on.done("1")
    assert on.result == "0.333"


STUBBORN = """
async def f():
    while True:
        try:
            await call('a')
        except BaseException:
            pass
"""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "source",
    [
        STUBBORN,
        """
async def f():
    async def g():
        await sleep(1)
    try:
        await call('a')
    finally:
        await gather(g(), g())
""",
    ],
)
def test_k43_dropping_a_machine_ends_even_stubborn_programs(source: str) -> None:
    on = On(compile_sample(source))
    on.close()
    assert on.kernel.machine is None


@pytest.mark.parametrize("drop", ["trial", "replay", "dead turn"])
def test_k43_no_machine_is_left_to_the_collector(drop: str, monkeypatch: Any) -> None:
    leaks: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", leaks.append)
    source = """
class P:
    async def handle(self):
        try:
            await wait('never')
        finally:
            await call('b')
    async def on_event(self, event):
        raise ValueError
"""
    on = On(compile_sample(source))
    on.event("e")
    if drop == "trial":
        with pytest.raises(StillFails):
            on.tell(Resume())
    if drop == "replay":
        on.reload(compile_sample(source.replace("raise ValueError", "pass")).definition)
        on.tell(Resume())
        on.reload(compile_sample(source).definition)
        on.event("e", 2)
        assert on.failure == "CodeChanged"
    on.close()
    gc.collect()
    assert leaks == []


K44_ASYNC = """
class P:
    async def handle(self):
        async def one(name):
            try:
                self.x = await call(name)
            finally:
                await sleep(1)
        self.y = await gather(one('a'), call('b'))
        try:
            await wait('e', timeout=9)
        except asyncio.CancelledError:
            await call('a', 'clean')
            raise
"""


@pytest.mark.parametrize("end", [Cancel(), Due("2", START + 10 * S)])
def test_k44_a_plain_handle_writes_the_journal_of_an_async_one(end: Any) -> None:
    class P:
        def handle(self) -> None:
            self.y = gather(self.one("a"), call("b"))
            try:
                wait("e", timeout=9)
            except asyncio.CancelledError:
                asked(call("a", "clean"))
                raise

        async def one(self, name: str) -> None:
            try:
                self.x = await call(name)
            finally:
                await sleep(1)

    both = [On(compile_sample(K44_ASYNC)), On(P)]
    for on in both:
        on.done("1.0.1", 1)
        on.reload()
        on.done("1.1", 2)
        on.fire("1.0.2")
        on.tell(end, START + 20 * S)
        on.reload()
        on.tell(Recover())
        if "3" in on.open:
            on.done("3")
    assert both[0].progress.ended
    assert [p for p, _ in both[0].rows[1:]] == [p for p, _ in both[1].rows[1:]]


def test_k45_a_turn_that_asks_without_end_is_stopped() -> None:
    on = On(compile_sample("async def f():\n    while True: await emit('x')\n"))
    assert on.progress.failure is not None
    assert on.progress.failure.kind == "runaway"


def test_k45_a_history_may_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "HISTORY_WARN", 3)
    monkeypatch.setattr(body, "HISTORY_MAX", 5)
    on = On(compile_sample("async def f():\n    while True: await call('a')\n"))
    for n in range(1, 6):
        on.done(str(n))
    assert on.notes == ["a long history; use continue_as_new in long loops"]
    assert on.failure == "HistoryTooLong"


def test_k45_events_that_lead_to_each_other_stop() -> None:
    on = On(compile_sample("async def f():\n    await wait('e')\n    await emit('e')\n"))
    event = {"type": "e", "id": "x", "source": "/t", "data": None, "hops": HOPS_MAX}
    on.tell(Offer(1, START, event, 101))
    assert on.failure == "EventLoop"


# -- dispatches and the end ----------------------------------------------------------------------


def test_a_dispatch_outlives_the_end_and_is_tried_again() -> None:
    on = On(compile_sample("async def f(): await dispatch('always'); return 1"))
    assert on.result == 1
    assert on.open == ["1"]
    on.broken("1")
    assert list(on.owed.values()) == [ArmTimer("1", START + 5 * S)]
    on.fire("1")
    on.done("1")
    assert on.open == []
    assert on.progress.end == "completed"


@pytest.mark.parametrize("name", ["a", "once"])
def test_crashes_after_the_end_never_fail_the_instance(name: str) -> None:
    on = On(compile_sample(f"async def f(): await dispatch({name!r}); return 1"))
    for _ in range(5):
        on.reload()
        on.tell(Recover())
    assert on.result == 1
    assert on.failure is None


# -- every status and every message --------------------------------------------------------------


def in_status(status: str) -> On:
    on = On(compile_sample(
        "async def f(): await gather(call('a'), approval('ok'), wait('e'), sleep(5)); await call('b')"
    ), pending=status == "pending")  # fmt: skip
    match status:
        case "running" | "pending":
            pass
        case "paused":
            on.tell(Pause())
        case "failed":
            on = On(two_steps)
            on.broken("1")
        case "waiting":
            on.done("1.0")
        case "retrying":
            on = On(compile_sample("async def f(): await call('always')"))
            on.broken("1")
        case "cancelling":
            on = On(Refusals)
            on.tell(Cancel())
        case "completed":
            on = On(compile_sample("async def f(): return 1"))
        case "cancelled":
            on.tell(Cancel())
        case "doubt":
            on = On(compile_sample("async def f(): await call('once')"))
            on.reload()
            on.tell(Recover())
    return on


NO, YES = "nothing", "entries"
TABLE: dict[str, dict[str, str]] = {
    #           Begin  Outcome Due Offer Answer Pause Resume Cancel Skip Recover
    "pending": dict(zip("BODFAPRCSV", (YES, NO, NO, NO, "NoSuchAsk", YES, YES, YES, "NotFound", NO), strict=True)),
    "running": dict(zip("BODFAPRCSV", (NO, YES, YES, YES, YES, YES, "InvalidTransition", YES, "InvalidTransition", NO), strict=True)),
    "waiting": dict(zip("BODFAPRCSV", (NO, NO, YES, YES, YES, YES, "NeedsAnswer", YES, "NotFound", NO), strict=True)),
    "retrying": dict(zip("BODFAPRCSV", (NO, NO, NO, NO, "NoSuchAsk", YES, YES, YES, "NotFound", NO), strict=True)),
    "paused": dict(zip("BODFAPRCSV", (NO, YES, NO, NO, YES, NO, YES, YES, "InvalidTransition", NO), strict=True)),
    "failed": dict(zip("BODFAPRCSV", (NO, NO, NO, NO, "NoSuchAsk", "InvalidTransition", YES, YES, "NotFound", NO), strict=True)),
    "doubt": dict(zip("BODFAPRCSV", (NO, NO, NO, NO, "NoSuchAsk", "InvalidTransition", "InDoubt", YES, "NotFound", NO), strict=True)),
    "cancelling": dict(zip("BODFAPRCSV", (NO, NO, NO, NO, "NoSuchAsk", "InvalidTransition", "InvalidTransition", NO, "NotFound", NO), strict=True)),
    "completed": dict(zip("BODFAPRCSV", (NO, NO, NO, NO, "NoSuchAsk", "InvalidTransition", "InvalidTransition", "InvalidTransition", "InvalidTransition", NO), strict=True)),
    "cancelled": dict(zip("BODFAPRCSV", (NO, NO, NO, NO, "NoSuchAsk", "InvalidTransition", "InvalidTransition", NO, "InvalidTransition", NO), strict=True)),
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "B": Begin(),
    "O": Outcome("1.0", 1, 1),
    "D": Due("1.3", START + 5 * S),
    "F": Offer(1, START, {"type": "e", "id": "x", "source": "/t", "data": None}, 101),
    "A": Answer("1.1", {"approved": True}),
    "P": Pause(),
    "R": Resume(),
    "C": Cancel(),
    "S": Skip("1.0", 1),
    "V": Recover(),
}


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_in_every_status_is_decided_on_purpose(status: str, message: str) -> None:
    on = in_status(status)
    wanted = TABLE[status][message]
    before = encode_progress(on.progress)
    try:
        said = YES if on.tell(MESSAGES[message], START + 6 * S) else NO
    except Exception as refused:
        said = type(refused).__name__
    assert said == wanted
    if said != YES:
        assert encode_progress(on.progress) == before
