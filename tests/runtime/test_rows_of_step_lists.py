"""The rows of step lists, one by one: W1, W2, W6 to W10, W16, and the rules of injection and scopes.

Forms (W3 to W5) are in test_forms, resources (W11 to W14) in test_resources, the registry (W15) in
test_versions and test_steering. Each test is named after the row that breaks it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal, Optional, TypedDict

import msgspec
import pytest

from greenroom import (
    InvalidDefinition,
    InvalidTransition,
    NeedsAnswer,
    State,
    begin,
    callback_step,
    conditional,
    done,
    init,
    inject_args,
    inputstep,
    parallel,
    retrystep,
    step,
    step_group,
    workflow,
)
from greenroom.definitions.steps import StepList
from tests.runtime.kits import MemoryEngine

RUNS: list[Any] = []
FAIL: list[Any] = []
SEEN: list[Any] = []


def ran(name: str) -> None:
    RUNS.append(name)
    if FAIL and FAIL[0] == name:
        FAIL.pop(0)
        raise OSError(f"{name} failed")


def named(name: str, result: Any = None, make: Any = step, **options: Any) -> Any:
    def func() -> Any:
        ran(name)
        return result

    func.__name__ = name
    return make(name, **options)(func)


@pytest.fixture
async def engine() -> AsyncIterator[MemoryEngine]:
    for log in (RUNS, FAIL, SEEN):
        log.clear()
    async with MemoryEngine() as opened:
        yield opened


async def run(engine: MemoryEngine, steps: Any, input: Any = None) -> Any:
    """Starts an instance of these steps and gives it when it comes to rest."""

    def line() -> Any:
        return steps

    made = workflow(name=f"w{engine.clock.now()}-{len(SEEN)}-{id(steps)}")(line)
    engine.register(made)
    started = await engine.start(made.__name__, input or {})
    await engine.until_idle()
    return await engine.get(started.id)


def seen(value: Any) -> None:
    SEEN.append(value)


# -- W1: step ------------------------------------------------------------------------------------


async def test_w1_success_merges_and_the_next_step_runs(engine: MemoryEngine) -> None:
    found = await run(engine, begin >> named("a", {"x": 1}) >> named("b", {"y": 2}), {"x": 0})
    assert (found.status, found.state) == ("completed", {"x": 1, "y": 2})
    assert RUNS == ["a", "b"]


async def test_w1_an_exception_fails_the_instance_and_commits_nothing(engine: MemoryEngine) -> None:
    FAIL.append("b")
    found = await run(engine, begin >> named("a", {"x": 1}) >> named("b", {"x": 2}) >> named("c"))
    assert (found.status, found.state) == ("failed", {"x": 1})
    assert found.error is not None and "b failed" in found.error.message
    assert RUNS == ["a", "b"]


async def test_w1_plain_functions_run_in_a_thread_and_coroutines_on_the_loop(
    engine: MemoryEngine,
) -> None:
    here = threading.get_ident()

    @step
    def plain() -> None:
        seen(threading.get_ident() == here)

    @step
    async def coroutine() -> None:
        seen(threading.get_ident() == here)

    await run(engine, begin >> plain >> coroutine)
    assert SEEN == [False, True]


def test_w1_two_steps_with_one_key_are_refused_and_labels_may_repeat() -> None:
    first, second = named("x"), named("x")
    with pytest.raises(InvalidDefinition, match='two steps have the key "x"'):
        (begin >> first >> second).plan()
    second = step("x", key="y")(lambda: None)
    assert (begin >> first >> second).plan().outline() == ["x", "x"]


@pytest.mark.parametrize("name", ["", "  ", 7])
def test_w1_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(InvalidDefinition, match="name of a step must be text"):
        step(name)(lambda: None)


def test_w1_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="needs a function"):
        step("x")("not a function")  # type: ignore[arg-type]


async def test_w1_being_cancelled_is_no_failure(engine: MemoryEngine) -> None:
    @step
    async def forever() -> None:
        ran("forever")
        await asyncio.Event().wait()

    def line() -> Any:
        return begin >> forever

    made = workflow(name="forever")(line)
    engine.register(made)
    started = await engine.start("forever", {})
    await engine.quiet()
    await engine.cancel(started.id)
    await engine.quiet()
    found = await engine.get(started.id)
    assert (found.status, found.error) == ("cancelled", None)


# -- W2: retrystep -------------------------------------------------------------------------------


async def test_w2_a_failure_waits_and_is_tried_again(engine: MemoryEngine) -> None:
    FAIL.extend(["r", "r"])
    again = named("r", {"ok": True}, retrystep, delay="10s", backoff=2, jitter=0)
    found = await run(engine, begin >> again)
    assert found.status == "waiting"
    (wait,) = found.waits
    assert (wait.kind, wait.attempt) == ("retry", 1)
    assert wait.error is not None and "r failed" in wait.error.message
    assert wait.due is not None
    await engine.advance("10s")
    assert (await engine.get(found.id)).waits[0].attempt == 2
    await engine.advance("20s")
    assert (await engine.get(found.id)).state == {"ok": True}


async def test_w2_resume_tries_at_once(engine: MemoryEngine) -> None:
    FAIL.append("r")
    found = await run(engine, begin >> named("r", None, retrystep, delay="1h", jitter=0))
    await engine.resume(found.id)
    await engine.until_idle()
    assert (await engine.get(found.id)).status == "completed"


async def test_w2_a_cancel_while_waiting_takes_the_timer_away(engine: MemoryEngine) -> None:
    FAIL.extend(["r"] * 9)
    found = await run(engine, begin >> named("r", None, retrystep, delay="10s", jitter=0))
    await engine.cancel(found.id)
    await engine.advance("1h")
    assert RUNS == ["r"]


async def test_w2_the_last_attempt_fails_for_good(engine: MemoryEngine) -> None:
    FAIL.extend(["r", "r"])
    again = named("r", None, retrystep, delay="10s", jitter=0, max_attempts=2)
    found = await run(engine, begin >> again)
    await engine.advance("10s")
    assert (await engine.get(found.id)).status == "failed"


# -- W6: conditional -----------------------------------------------------------------------------


@pytest.mark.parametrize(("go", "runs"), [(True, ["a"]), (False, [])])
async def test_w6_the_predicate_controls_whether_a_step_runs(
    engine: MemoryEngine, go: bool, runs: list[str]
) -> None:
    found = await run(
        engine, begin >> conditional(lambda s: s["go"])(named("a", {"x": 1})), {"go": go}
    )
    assert runs == RUNS
    assert found.state == ({"go": True, "x": 1} if go else {"go": False})


async def test_w6_it_is_asked_again_before_each_step_of_a_list(engine: MemoryEngine) -> None:
    low = conditional(lambda s: s["n"] < 2)

    @step
    def count(n: int) -> State:
        ran("count")
        return {"n": n + 1}

    found = await run(engine, low(begin >> count >> count >> count >> count), {"n": 0})
    assert found.state == {"n": 2}
    history = await engine.history(found.id)
    assert [entry.op for entry in history.items if entry.kind == "StepSkipped"] == [
        "count#3",
        "count#4",
    ]


async def test_w6_raising_fails_the_instance_at_that_step(engine: MemoryEngine) -> None:
    def broken(state: dict[str, Any]) -> bool:
        raise ValueError("no such thing")

    found = await run(engine, begin >> named("a") >> conditional(broken)(named("b")))
    assert found.status == "failed"
    assert found.error is not None and found.error.message == "broken before b: no such thing"


async def test_w6_nested_conditions_must_all_hold(engine: MemoryEngine) -> None:
    outer, inner = conditional(lambda s: s["a"]), conditional(lambda s: s["b"])
    await run(engine, outer(inner(named("x"))), {"a": True, "b": False})
    await run(engine, outer(inner(named("y"))), {"a": False, "b": True})
    await run(engine, outer(inner(named("z"))), {"a": True, "b": True})
    assert RUNS == ["z"]


async def test_w6_a_condition_object_is_a_predicate(engine: MemoryEngine) -> None:
    pro = {
        "criteria": [
            {
                "attributes": [
                    {"type": "String", "attribute": "::plan", "operator": "eq", "value": "pro"}
                ]
            }
        ]
    }
    await run(engine, conditional(pro)(named("a")), {"plan": "pro"})
    await run(engine, conditional(pro)(named("b")), {"plan": "free"})
    assert RUNS == ["a"]


async def test_w6_the_answer_is_kept_while_a_guarded_question_is_open(engine: MemoryEngine) -> None:
    asks: list[bool] = []

    def once(state: dict[str, Any]) -> bool:
        asks.append(True)
        return len(asks) == 1

    @inputstep("Ask")
    def ask() -> Any:
        yield {"not": "a page"}
        return {}

    found = await run(engine, begin >> conditional(once)(ask) >> named("b"))
    assert found.status == "waiting"
    await engine.crash()
    assert (await engine.get(found.id)).status == "waiting"
    with pytest.raises(NeedsAnswer):
        await engine.resume(found.id)
    assert asks == [True]


# -- W7: lists -----------------------------------------------------------------------------------


def test_w7_putting_together_is_associative_and_the_empty_list_changes_nothing() -> None:
    a, b, c = named("a"), named("b"), named("c")
    assert (a >> b) >> c == a >> (b >> c)
    assert begin >> (a >> b) == a >> b == (a >> b) >> done == init >> (a >> b)
    assert StepList() >> StepList() == StepList()


def test_w7_begin_and_done_may_be_left_out() -> None:
    assert (named("a") >> named("b")).plan().outline() == ["a", "b"]


def test_w7_a_function_without_decorator_is_named() -> None:
    def forgotten() -> None: ...

    with pytest.raises(InvalidDefinition, match="forgotten is not a step"):
        begin >> forgotten


# -- W8, W9, W16: arguments ------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Box(msgspec.Struct):
    size: int


class Named(TypedDict):
    name: str


ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("annotation", "stored", "given"),
    [
        (uuid.UUID, str(ID), ID),
        (datetime.datetime, "2026-01-02T03:04:05Z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
        (datetime.timedelta, "PT90S", datetime.timedelta(seconds=90)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (Colour, "red", Colour.RED),
        (Literal["a", "b"], "b", "b"),
        (set[int], [1, 2, 2], {1, 2}),
        (tuple[int, str], [1, "x"], (1, "x")),
        (list[uuid.UUID], [str(ID)], [ID]),
        (Optional[uuid.UUID], str(ID), ID),  # noqa: UP045  the old spelling too
        (uuid.UUID | None, None, None),
        (Point, {"x": 1}, Point(1)),
        (Box, {"size": 3}, Box(3)),
        (Named, {"name": "n"}, {"name": "n"}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Any, [1, {"a": None}], [1, {"a": None}]),
    ],
)  # fmt: skip
async def test_w16_values_are_made_by_annotation(
    engine: MemoryEngine, annotation: Any, stored: Any, given: Any
) -> None:
    def take(value: Any) -> None:
        seen(value)

    take.__annotations__["value"] = annotation
    found = await run(engine, begin >> step(take), {"value": stored})
    assert found.status == "completed", found.error
    assert [given] == SEEN


@pytest.mark.parametrize("wrong", ["5", True, 5.0, None, [5]])
async def test_w16_steps_are_strict(engine: MemoryEngine, wrong: Any) -> None:
    @step
    def take(value: int) -> None: ...

    found = await run(engine, begin >> take, {"value": wrong})
    assert found.status == "failed"
    assert found.error is not None and "value must be int" in found.error.message


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        ({"sap1": {"a": 1}, "sap2": {"b": 2}}, [{"a": 1}, {"b": 2}]),
        ({"sap1": {"a": 1}}, [{"a": 1}, None]),
        ({"sap1": {"a": 1}, "sap2": None}, [{"a": 1}, None]),
    ],
)
async def test_w9_defaults_of_the_seed(engine: MemoryEngine, input: Any, expected: Any) -> None:
    @step
    def saps(sap1: dict[str, int], sap2: dict[str, int] | None = None) -> State:
        seen(sap1)
        seen(sap2)
        return {}

    assert (await run(engine, begin >> saps, input)).status == "completed"
    assert expected == SEEN


async def test_w9_optional_without_default_must_be_there(engine: MemoryEngine) -> None:
    @step
    def take(value: int | None) -> None: ...

    found = await run(engine, begin >> take, {})
    assert found.error is not None and found.error.code == "step_failed"
    assert 'needs "value"' in found.error.message
    assert found.error.details["type"] == "MissingState"


async def test_w9_why_says_how_to_give_what_is_missing_and_that_works(engine: MemoryEngine) -> None:
    @step
    def take(value: int) -> None: ...

    found = await run(engine, begin >> take, {})
    told = (await engine.why(found.id)).text
    assert f"greenroom edit {found.id} value=...  then:  greenroom retry {found.id}" in told
    await engine.edit(found.id, {"value": "5"})
    await engine.resume(found.id)
    await engine.until_idle()
    assert "greenroom edit" in (await engine.why(found.id)).text
    await engine.edit(found.id, {"value": 5})
    await engine.resume(found.id)
    await engine.until_idle()
    assert (await engine.get(found.id)).status == "completed"


async def test_w9_a_default_is_never_converted(engine: MemoryEngine) -> None:
    marker = object()

    @step
    def take(value: uuid.UUID = marker) -> None:  # type: ignore[assignment]
        seen(value is marker)

    await run(engine, begin >> take, {})
    assert SEEN == [True]


async def test_w8_state_is_a_copy_of_all_of_it(engine: MemoryEngine) -> None:
    @step
    def spoil(state: State, items: list[int], raw: Any) -> None:
        seen(dict(state))
        state["x"] = "changed"
        items.append(9)
        raw["deep"].append(9)

    @step
    def look(state: State) -> None:
        seen(state)

    given = {"items": [1], "x": 0, "raw": {"deep": []}}
    found = await run(engine, begin >> spoil >> look, given)
    assert [given, given] == SEEN
    assert found.state == given


async def test_w8_the_engine_gives_facts_about_the_instance(engine: MemoryEngine) -> None:
    @step
    def facts(
        run: str, process_id: str, workflow_name: str, workflow_target: str, ctx: Any
    ) -> State:
        seen((run, process_id, workflow_name, workflow_target, ctx.op))
        return {}

    found = await run(engine, begin >> facts)
    assert [(found.id, found.id, found.workflow, "steps", "facts")] == SEEN


async def test_w8_keyword_only_and_positional_only_work(engine: MemoryEngine) -> None:
    @step
    def mixed(a: int, /, b: int, *, c: int) -> None:
        seen((a, b, c))

    await run(engine, begin >> mixed, {"a": 1, "b": 2, "c": 3})
    assert SEEN == [(1, 2, 3)]


@pytest.mark.parametrize("kind", ["args", "kwargs"])
def test_w8_open_parameter_lists_are_refused(kind: str) -> None:
    def args(*rest: Any) -> None: ...
    def kwargs(**rest: Any) -> None: ...

    opened: Any = {"args": args, "kwargs": kwargs}[kind]
    with pytest.raises(InvalidDefinition, match="rest"):
        step(opened)


def test_w8_what_can_never_be_made_is_refused_at_once() -> None:
    def impossible(value: uuid.UUID | str) -> None: ...

    with pytest.raises(InvalidDefinition, match="value"):
        step(impossible)

    def unknown(value: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(InvalidDefinition, match="Nowhere"):
        step(unknown)


async def test_w8_a_missing_key_names_the_key_the_function_and_what_there_is(
    engine: MemoryEngine,
) -> None:
    @step
    def needs(order_id: str) -> None: ...

    found = await run(engine, begin >> needs, {"order": 1})
    assert found.error is not None
    assert found.error.message.startswith(
        'step needs(order_id) needs "order_id", the state has: order'
    )


def test_w8_a_missing_key_is_a_key_error_for_the_seeds_code() -> None:
    with pytest.raises(KeyError):
        inject_args(lambda nowhere: {})({"one": 1})


def test_w8_the_decorator_alone_gives_the_merged_state() -> None:
    @inject_args
    def load(one: int) -> State:
        return {"two": one + 1}

    assert load({"one": 1, "zero": 0}) == {"zero": 0, "one": 1, "two": 2}


# -- W10: results ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (None, {"a": {"x": 1}}),
        ({}, {"a": {"x": 1}}),
        ({"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"b": None}, {"a": {"x": 1}, "b": None}),
        ({"t": (1, 2), "s": {3}}, {"a": {"x": 1}, "t": [1, 2], "s": [3]}),
    ],
)
async def test_w10_what_is_returned_is_merged_name_by_name(
    engine: MemoryEngine, result: Any, state: Any
) -> None:
    found = await run(engine, begin >> named("r", result), {"a": {"x": 1}})
    assert (found.status, found.state) == ("completed", state)


@pytest.mark.parametrize("result", [[1], "text", 7, True])
async def test_w10_what_is_no_object_fails(engine: MemoryEngine, result: Any) -> None:
    found = await run(engine, begin >> named("r", result))
    assert found.error is not None and found.error.details["type"] == "StepResult"
    assert "must return a dict or None" in found.error.message


@pytest.mark.parametrize(
    ("result", "path"),
    [
        ({1: "x"}, "1"),
        ({"a": {"b": object()}}, "a.b"),
        ({"a": [1, float("nan")]}, "a[1]"),
        ({"a": {2: 3}}, "a"),
    ],
)
async def test_w10_what_cannot_be_stored_fails_and_names_the_place(
    engine: MemoryEngine, result: Any, path: str
) -> None:
    found = await run(engine, begin >> named("r", result), {"kept": 1})
    assert (found.status, found.state) == ("failed", {"kept": 1})
    assert found.error is not None and path in found.error.message


@pytest.mark.parametrize("name", ["run", "process_id", "reporter", "workflow_name", "ctx", "event"])
async def test_w10_names_of_the_engine_may_not_be_returned(engine: MemoryEngine, name: str) -> None:
    found = await run(engine, begin >> named("r", {name: 1}))
    assert found.error is not None
    assert f'may not return "{name}"' in found.error.message


async def test_w10_odd_names_and_texts_are_kept(engine: MemoryEngine) -> None:
    odd = {"ключ": "значение", "🙂": "🙃", "": 0, "a.b": 1, " ": None}
    found = await run(engine, begin >> named("r", odd))
    assert found.state == odd


# -- groups and callbacks (4.5) ---------------------------------------------------------------------


async def test_w7_a_group_shows_its_name_and_its_steps(engine: MemoryEngine) -> None:
    group = step_group("Set up", named("a") >> named("b"))
    assert (begin >> group).plan().outline() == ["Set up", "Set up / a", "Set up / b"]
    found = await run(engine, begin >> group)
    history = await engine.history(found.id)
    done_ops = [entry.op for entry in history.items if entry.kind == "StepCompleted"]
    assert done_ops == ["set_up.a", "set_up.b"]


async def test_w7_a_retry_goes_on_at_the_failed_step_of_a_group(engine: MemoryEngine) -> None:
    FAIL.append("b")
    found = await run(engine, begin >> step_group("g", named("a") >> named("b")))
    await engine.resume(found.id)
    await engine.until_idle()
    assert RUNS == ["a", "b", "b"]


async def test_w7_restart_group_begins_the_group_anew(engine: MemoryEngine) -> None:
    FAIL.append("b")
    group = step_group("g", named("a") >> named("b"), restart="group")
    found = await run(engine, begin >> group)
    await engine.resume(found.id)
    await engine.until_idle()
    assert RUNS == ["a", "b", "a", "b"]


async def test_w3_a_question_inside_a_group_is_the_groups(engine: MemoryEngine) -> None:
    @inputstep("Ask")
    def ask() -> Any:
        return Page

    found = await run(engine, begin >> step_group("g", begin >> named("a") >> ask >> named("b")))
    assert [wait.op for wait in found.waits] == ["g.ask"]
    await engine.answer(f"{found.id}.g.ask", {"n": 3})
    await engine.until_idle()
    assert (await engine.get(found.id)).state == {"n": 3}
    assert RUNS == ["a", "b"]


class Page(msgspec.Struct):
    n: int


async def test_w7_a_callback_step_outside_a_group_has_no_route(engine: MemoryEngine) -> None:
    @step
    def lost(callback_token: str) -> None: ...

    found = await run(engine, begin >> lost)
    assert found.error is not None and 'needs "callback_token"' in found.error.message


async def test_w7_a_callback_waits_for_the_call(engine: MemoryEngine) -> None:
    @step
    def call(callback_token: str) -> None:
        seen(callback_token)

    found = await run(engine, begin >> callback_step("cb", call, result_key="reply") >> named("z"))
    assert found.waits[0].kind == "callback"
    await engine.answer(SEEN[0], {"ok": 1})
    await engine.until_idle()
    assert (await engine.get(found.id)).state == {"reply": {"ok": 1}}


# -- crash at every point (4.7) -----------------------------------------------------------------------


def shapes() -> dict[str, Any]:
    return {
        "step": named("k", {"k": 1}),
        "retrystep": named("k", {"k": 1}, retrystep, delay="5s", jitter=0),
        "group": step_group("g", named("k", {"k": 1}) >> named("l", {"l": 1}), restart="group"),
        "parallel": parallel("f", named("k", {"k": 1}), named("l", {"l": 1}), merge="merge"),
        "condition": conditional(lambda s: True, once=True)(named("k", {"k": 1})),
    }


@pytest.mark.parametrize("point", ["before the op", "after its effect", "after the commit"])
@pytest.mark.parametrize("shape", list(shapes()))
async def test_w1_a_crash_anywhere_ends_as_an_uncrashed_run(
    engine: MemoryEngine, shape: str, point: str
) -> None:
    calm = await run(engine, begin >> named("a", {"a": 1}) >> shapes()[shape] >> named("z"))

    crashing: list[Any] = []

    @step
    async def before() -> State:
        if point == "before the op" and not crashing:
            crashing.append(1)
            await asyncio.Event().wait()
        return {"a": 1}

    piece = shapes()[shape]

    def line() -> Any:
        return begin >> before >> piece >> named("z")

    made = workflow(name=f"crash-{shape}-{point}")(line)
    engine.register(made)
    engine.change_code(made)
    if point == "after its effect":
        FAIL.append("k")
    started = await engine.start(made.__name__, {})
    await engine.quiet()
    await engine.crash()
    for _ in range(4):
        found = await engine.get(started.id)
        if found.status == "failed":
            await engine.resume(started.id)
        await engine.advance_quiet("10s")
    found = await engine.get(started.id)
    assert (found.status, found.state) == (calm.status, calm.state)


async def test_w2_resuming_twice_at_once_makes_one_attempt(engine: MemoryEngine) -> None:
    FAIL.append("a")
    found = await run(engine, begin >> named("a"))
    await engine.resume(found.id)
    with pytest.raises(InvalidTransition):
        await engine.resume(found.id)
    await engine.until_idle()
    assert RUNS == ["a", "a"]
