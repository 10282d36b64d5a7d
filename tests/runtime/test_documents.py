"""Workflow documents, run: rows F1-F26 as far as they are about what happens."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenroom import Engine, Fatal, Retry, State, retrystep, step, workflow
from greenroom.definitions.catalog import OFFERED, offer
from greenroom.definitions.errors import (
    AlreadyRunning,
    ConditionFailed,
    InvalidDefinition,
    InvalidInput,
)
from greenroom.runtime import keptdata
from greenroom.runtime.testing import TestEngine
from tests.definitions.services import Service
from tests.definitions.test_documents import WELCOME, all_of, document, log, when


def emit(kind: str = "made", order: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "type": "Core:CustomEvent",
        "order": order,
        "parameters": {"event_type": kind, **more.pop("parameters", {})},
        **more,
    }


def transform(order: int = 1, changes: Any = None, **more: Any) -> dict[str, Any]:
    changes = {**(changes or {}), **more}
    return {"type": "Core:Transform", "order": order, "transform": changes}


def core(kind: str, order: int = 1, parameters: Any = None, **more: Any) -> dict[str, Any]:
    found = {"type": f"Core:{kind}", "order": order, **more}
    return found if parameters is None else {**found, "parameters": parameters}


async def run(engine: TestEngine, given: dict[str, Any], input: Any = None) -> Any:
    """The instance of a document once nothing more happens."""
    engine.register(given)
    started = await engine.start(given["name"], input)
    await engine.until_idle()
    return await engine.get(started.id)


async def events(engine: TestEngine, kind: str) -> list[Any]:
    return [one for one in (await engine.events.list()).items if one.type == kind]


def service(*answers: Any) -> tuple[Service, list[dict[str, Any]]]:
    """A connector `svc` with an action `Do`: it gives one answer after the other, raising those
    that are exceptions, and notes what it was asked."""
    asked: list[dict[str, Any]] = []
    left = list(answers)
    connector = Service("svc")

    @connector.action("Do", params={"type": "object"})
    async def do(params: dict[str, Any]) -> Any:
        asked.append(params)
        answer = left.pop(0) if len(left) > 1 else left[0] if left else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    return connector, asked


def do(order: int = 1, **more: Any) -> dict[str, Any]:
    return {"connector_id": "svc", "type": "Do", "order": order, "parameters": {}, **more}


# -- state -------------------------------------------------------------------------------------


@pytest.mark.parametrize("input", [[1, 2], 1.5, 5, True, {"a": 1}])
async def test_F2_any_json_can_be_the_state(engine: TestEngine, input: Any) -> None:
    found = await run(
        engine, document(emit(parameters={"content_type": "application/json", "body": "::"})), input
    )
    assert found.status == "completed"
    (event,) = await events(engine, "made")
    assert event.data == input


async def test_F2_a_response_that_is_a_list_can_become_the_state(engine: TestEngine) -> None:
    connector, _ = service([{"n": 1}, {"n": 2}])
    engine.register(connector)
    given = document(
        do(transform={"::": "::"}),
        core("Iterator", 2, {"array_path": "::", "actions": [emit("item", parameters={
            "content_type": "application/json", "body": "::n"})]}),
        emit("whole", 3, parameters={"content_type": "application/json", "body": "::"}),
        do(4, transform={"::": "::"}),
    )  # fmt: skip
    found = await run(engine, given, {"was": "here"})
    assert found.status == "completed", found.error
    assert sorted(one.data for one in await events(engine, "item")) == [1, 2]
    assert (await events(engine, "whole"))[0].data == [{"n": 1}, {"n": 2}]


async def test_F3_only_a_transform_changes_the_state(engine: TestEngine) -> None:
    connector, _ = service({"loud": True})
    engine.register(connector)
    given = document(
        do(), log(2), emit("x", 3), core("Wait", 4, {"seconds": 1}),
        core("Data", 5, {"operation": "write", "key": "a", "value": 1}),
        core("WaitForEvent", 6, {"event_type": "never"}, timeout="1s"),
    )  # fmt: skip
    engine.register(given)
    started = await engine.start("w", {"quiet": 1})
    await engine.until_idle()
    await engine.advance("1s")
    await engine.advance("1s")
    found = await engine.get(started.id)
    assert (found.status, found.state) == ("completed", {"quiet": 1})


async def test_F19_values_are_found_before_anything_changes(engine: TestEngine) -> None:
    swap = document(transform(a="::b", b="::a"))
    assert (await run(engine, swap, {"a": 1, "b": 2})).state == {"a": 2, "b": 1}


async def test_F20_objects_are_merged_deep_and_lists_replaced(engine: TestEngine) -> None:
    given = document(transform(1, {"a": {"y": 2, "l": [3]}, "c.d": None}))
    found = await run(engine, given, {"a": {"x": 1, "l": [1, 2]}, "c": {"d": 1, "e": 2}})
    assert found.state == {"a": {"x": 1, "y": 2, "l": [3]}, "c": {"d": None, "e": 2}}


async def test_C5_null_is_a_value_and_remove_takes_away(engine: TestEngine) -> None:
    given = document({**transform(a=None), "remove": ["b.c"]})
    found = await run(engine, given, {"a": 1, "b": {"c": 1, "d": 2}, "c": 3})
    assert found.state == {"a": None, "b": {"d": 2}, "c": 3}


# -- conditions --------------------------------------------------------------------------------

NO = all_of(when("::plan", "eq", "pro"))


async def test_F6_C10_a_false_condition_fails_unless_told_otherwise(engine: TestEngine) -> None:
    connector, asked = service()
    engine.register(connector)
    given = document(do(condition=NO), log(2))
    engine.register(given)
    started = await engine.start("w", {"plan": "free"})
    await engine.until_idle()
    found = await engine.get(started.id)
    assert (found.status, found.error.code if found.error else None) == (
        "failed",
        "condition",
    )
    assert asked == []
    await engine.cancel(started.id)


async def test_F6_skip_goes_on_without_parameters_or_transform(engine: TestEngine) -> None:
    connector, asked = service({"a": 1})
    engine.register(connector)
    skipped = do(
        condition={**NO, "on_fail": "skip"},
        parameters={"x": "::length(missing)"},
        transform={"done": True},
    )
    found = await run(engine, document(skipped, transform(2, last=True)), {"plan": "free"})
    assert (found.status, found.state) == ("completed", {"plan": "free", "last": True})
    assert asked == []
    entries = (await engine.history(found.id)).items
    assert [one.op for one in entries if one.kind == "StepSkipped"] == ["1"]


async def test_F6_stop_completes_as_stopped(engine: TestEngine) -> None:
    given = document(log(1, condition={**NO, "on_fail": "stop"}), transform(2, last=True))
    found = await run(engine, given, {"plan": "free"})
    assert (found.status, found.outcome, found.state) == ("completed", "stopped", {"plan": "free"})


# -- what starts it ----------------------------------------------------------------------------


async def test_F7_an_event_is_asked_transformed_and_then_runs(engine: TestEngine) -> None:
    engine.register(WELCOME)
    user = {"name": "Bob", "plan": "pro"}
    yes = await engine.post({"type": "user.created", "data": {"user": user}})
    no = await engine.post({"type": "user.created", "data": {"user": {**user, "plan": "free"}}})
    nothing = await engine.post({"type": "user.created"})
    assert (yes.matched_total, no.matched_total, nothing.matched_total) == (1, 0, 0)
    await engine.until_idle()
    state = (await engine.get(str(yes.matched[0].instance))).state
    assert state == {"name": "Bob", "greeted": {"at": None}}


async def test_F7_a_transform_that_fails_is_a_failed_trigger_of_that_workflow_alone(
    engine: TestEngine,
) -> None:
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "x"}}
    bad = {**document(source={**source, "transform": {"n": "::length(n)"}}), "name": "bad"}
    engine.register(bad, {**document(source=source), "name": "good"})
    accepted = await engine.post({"type": "x", "data": {}})
    assert {(m.workflow, m.action) for m in accepted.matched} == {
        ("bad", "refused"),
        ("good", "started"),
    }


async def test_F9_a_schedule_runs_a_document(engine: TestEngine) -> None:
    source = {"type": "Core:Schedule", "parameters": {"rate": "1 hour"}}
    engine.register(document(emit(), source=source))
    await engine.advance("150 minutes")
    assert len(await events(engine, "made")) == 2


async def test_F10_one_workflow_starts_another_by_an_event(engine: TestEngine) -> None:
    first = document(
        emit("go", parameters={"content_type": "application/json", "body": '{"n": 5}', "subject": "s"},
             transform={"sent": "::data.n"}),
    )  # fmt: skip
    second = {
        **document(
            transform(got="::n"),
            source={"type": "Flexli:CoreV1:CustomEvent", "parameters": {"event_type": "go"}},
        ),
        "name": "second",
    }
    engine.register(second)
    found = await run(engine, first)
    assert found.state == {"sent": 5}
    (event,) = await events(engine, "go")
    assert (event.data, event.subject, event.source) == ({"n": 5}, "s", f"/instances/{found.id}")
    (made,) = (await engine.list("workflow:second")).items
    assert (await engine.get(made.id)).state == {"n": 5, "got": 5}


async def test_F10_a_body_that_is_not_what_it_says_it_is_fails(engine: TestEngine) -> None:
    body = {"content_type": "application/json", "body": "::text"}
    found = await run(engine, document(emit(parameters=body)), {"text": "{"})
    assert found.status == "failed"
    assert "application/json" in found.error.message
    await engine.cancel(found.id)


async def test_F10_text_that_is_no_json_is_sent_as_text(engine: TestEngine) -> None:
    body = {"content_type": "text/plain", "body": "hello {name}"}
    await run(engine, document(emit(parameters=body, variables={"name": "::n"})), {"n": "Bob"})
    assert (await events(engine, "made"))[0].data == "hello Bob"


async def test_F11_a_document_that_is_switched_off_is_not_started_by_events(
    engine: TestEngine,
) -> None:
    engine.register({**WELCOME, "enabled": False})
    accepted = await engine.post({"type": "user.created", "data": {"user": {"plan": "pro"}}})
    assert accepted.matched_total == 0
    await engine.definitions.enable(WELCOME["name"])
    accepted = await engine.post({"type": "user.created", "data": {"user": {"plan": "pro"}}})
    assert accepted.matched_total == 1


async def test_a_source_may_wait_for_quiet_or_for_many(engine: TestEngine) -> None:
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "x"}}
    quiet = {
        **document(transform(1, {"got": "::n"}), source={**source, "debounce": "5s"}),
        "name": "q",
    }
    many = {**document(source={**source, "batch": {"size": 2, "within": "1h"}}), "name": "m"}
    engine.register(quiet, many)
    for n in (1, 2):
        await engine.post({"type": "x", "data": {"n": n}})
    await engine.advance("5s")
    (one,) = (await engine.list("workflow:q")).items
    assert (await engine.get(one.id)).state == {"n": 2, "got": 2}
    (one,) = (await engine.list("workflow:m")).items
    assert [event["data"]["n"] for event in (await engine.get(one.id)).state["events"]] == [1, 2]


async def test_F26_a_direct_start_is_asked_and_transformed_as_an_event_is(
    engine: TestEngine,
) -> None:
    engine.register(WELCOME)
    user = {"user": {"name": "Bob", "plan": "pro"}}
    started = await engine.start(WELCOME["name"], user)
    assert (await started.result())["name"] == "Bob"
    with pytest.raises(ConditionFailed, match=r"user\.plan"):
        await engine.start(WELCOME["name"], {"user": {"plan": "free"}})
    raw = await engine.start(WELCOME["name"], {"name": "Ann"}, raw=True)
    assert (await raw.result())["name"] == "Ann"
    assert len((await engine.list("")).items) == 2


async def test_the_key_of_a_document_is_unique_among_live_instances(engine: TestEngine) -> None:
    given = document(
        core("Wait", 1, {"duration": "1h"}), key="::user.id", attributes={"u": "::user.id"}
    )
    engine.register(given)
    started = await engine.start("w", {"user": {"id": 7}})
    found = await engine.get(started.id)
    assert (found.key, found.attributes) == ("7", {"u": 7})
    with pytest.raises(Exception, match="already running"):
        await engine.start("w", {"user": {"id": 7}})


# -- actions -----------------------------------------------------------------------------------


async def test_F13_a_crash_between_the_work_and_the_next_action_does_not_work_twice(
    engine: TestEngine,
) -> None:
    connector, asked = service({"id": 7})
    engine.register(connector)
    given = document(
        do(transform={"id": "::id"}), core("Wait", 2, {"seconds": 5}), transform(3, end="::id")
    )
    found = await run(engine, given)
    await engine.crash()
    assert (await engine.get(found.id)).state == {"id": 7}
    await engine.advance("5s")
    assert (await engine.get(found.id)).state == {"id": 7, "end": 7}
    assert len(asked) == 1


async def test_F16_an_expression_that_fails_in_the_run_fails_with_its_place(
    engine: TestEngine,
) -> None:
    connector, asked = service()
    engine.register(connector)
    given = document(do(parameters={"deep": [{"n": "::length(n)"}]}, on_error={"max_retries": 3}))
    found = await run(engine, given)
    assert found.status == "failed"
    assert "$.actions[0].parameters.deep[0].n" in found.error.message
    assert asked == []
    await engine.cancel(found.id)


async def test_F16_what_a_run_produces_is_never_an_expression(engine: TestEngine) -> None:
    connector, asked = service({"evil": "::secret", "format": "{secret}"})
    engine.register(connector)
    given = document(
        do(transform={"got": "::evil", "text": "::format"}),
        do(2, parameters={"a": "::got", "b": "{x}", "c": "::text"}, variables={"x": "::got"}),
    )
    await run(engine, given, {"secret": "s3cret"})
    assert asked[1] == {"a": "::secret", "b": "::secret", "c": "{secret}"}


async def test_F16_time_and_chance_are_those_of_the_journal(engine: TestEngine) -> None:
    values = {"at": "::now()", "one": "::random_string(`12`, 'numbers')", "two": "::uuid()",
              "day": "::flexli_datetime('%Y')", "three": "::flexli_random_string(`30`)"}  # fmt: skip
    found = await run(engine, document(transform(1, values)))
    assert found.state["at"].startswith("2026-01-01T00:00:00")
    assert found.state["one"].isdigit() and len(found.state["one"]) == 12
    await engine.crash()
    assert (await engine.get(found.id)).state == found.state
    other = await engine.start("w")
    await engine.until_idle()
    state = (await engine.get(other.id)).state
    assert all(state[name] != found.state[name] for name in ("one", "two", "three"))


async def test_what_was_done_is_taken_back_in_reverse_when_a_later_action_fails(
    engine: TestEngine,
) -> None:
    connector, asked = service({"id": 7})
    engine.register(connector)

    def undoing(order: int) -> dict[str, Any]:
        undo = do(parameters={"undo": order, "id": f"::ids.x{order}"})
        del undo["order"]
        return do(
            order, parameters={"do": order}, transform={f"ids.x{order}": "::id"}, compensate=undo
        )

    given = document(undoing(1), undoing(2), log(3, condition=NO))
    found = await run(engine, given, {"plan": "free"})
    assert asked[2:] == [{"undo": 2, "id": 7}, {"undo": 1, "id": 7}]
    assert (found.status, found.outcome) == ("cancelled", "compensated")


async def test_what_takes_back_may_respond_with_anything_and_changes_no_state(
    engine: TestEngine,
) -> None:
    connector, asked = service({"id": 7, "plan": "stolen"})
    engine.register(connector)
    given = document(
        do(1, compensate={"connector_id": "svc", "type": "Do", "parameters": {"undo": 1}}),
        do(2, compensate={"type": "Core:Log", "parameters": {"text": "taken back"}}),
        do(3, compensate={"type": "Core:Data", "parameters": {"operation": "increment", "key": "undone"}}),
        log(4, condition=NO),
    )  # fmt: skip
    found = await run(engine, given, {"plan": "free"})
    assert (found.status, found.outcome, found.error.code) == (
        "cancelled", "compensated", "condition",
    )  # fmt: skip
    assert found.state == {"plan": "free"}
    assert asked[-1] == {"undo": 1}
    assert (await engine.outcome(found.id)).error.code == "condition"
    text = (await engine.why(found.id)).text
    assert "the condition of 4" in text and "what it had done was taken back" in text


async def test_on_error_tries_again_with_backoff_and_then_does_as_told(engine: TestEngine) -> None:
    connector, asked = service(ValueError("no"))
    engine.register(connector)
    on_error = {"max_retries": 2, "backoff": {"wait": 3, "rate": 2}, "on_fail": "skip"}
    found = await run(engine, document(do(on_error=on_error), transform(2, after=True)))
    assert [wait.kind for wait in found.waits] == ["retry"]
    await engine.advance("4s")
    await engine.advance("8s")
    found = await engine.get(found.id)
    assert (found.status, found.state, len(asked)) == ("completed", {"after": True}, 3)


async def test_on_error_of_the_workflow_is_for_actions_that_say_nothing(engine: TestEngine) -> None:
    connector, asked = service(ValueError("no"))
    engine.register(connector)
    given = document(do(), name="plain", on_error={"max_retries": 2})
    found = await run(engine, given)
    assert [wait.kind for wait in found.waits] == ["retry"]
    await engine.advance("26s")
    assert len(asked) == 1  # 30 s, then 75, a tenth more or less
    await engine.advance("8s")
    assert len(asked) == 2
    await engine.advance("90s")
    assert ((await engine.get(found.id)).status, len(asked)) == ("failed", 3)
    asked.clear()
    own = document(do(on_error={"on_fail": "skip"}), name="own", on_error={"max_retries": 2})
    assert ((await run(engine, own)).status, len(asked)) == ("completed", 1)


async def test_on_error_of_the_workflow_gives_way_to_what_a_step_says(
    engine: TestEngine, offered: Any
) -> None:
    calls: list[str] = []

    @retrystep("eager", delay=1, jitter=0, max_attempts=2)
    async def eager() -> None:
        calls.append("eager")
        raise ValueError("no")

    @step("plain")
    async def plain() -> None:
        calls.append("plain")
        raise ValueError("no")

    offered(eager)
    offered(plain)
    for name in ("eager", "plain"):
        given = document(core("Call", 1, {"step": name}), name=name, on_error={"max_retries": 1})
        await run(engine, given)
    await engine.advance("2s")
    assert calls == ["eager", "plain", "eager"]
    await engine.advance("40s")
    assert calls == ["eager", "plain", "eager", "plain"]


async def test_on_error_can_stop_the_instance(engine: TestEngine) -> None:
    connector, _ = service(Fatal("no"))
    engine.register(connector)
    found = await run(engine, document(do(on_error={"on_fail": "stop"}), transform(2, after=True)))
    assert (found.status, found.outcome, found.state) == ("completed", "stopped", {})


async def test_on_error_retries_only_what_it_names(engine: TestEngine) -> None:
    connector, asked = service(ValueError("no"))
    engine.register(connector)
    found = await run(engine, document(do(on_error={"max_retries": 2, "retry_on": ["KeyError"]})))
    assert (found.status, len(asked)) == ("failed", 1)
    await engine.cancel(found.id)


async def test_run_workflow_waits_for_its_child_or_does_not(engine: TestEngine) -> None:
    child = {**document(transform(doubled="::n")), "name": "child"}
    engine.register(child)
    given = document(
        core("RunWorkflow", 1, {"workflow_id": "child", "workflow_input": {"n": "::n"}}, transform={"got": "::"}),
        core("RunWorkflow", 2, {"workflow_id": "child", "mode": "async", "key": "k-{n}"}, variables={"n": "::n"}),
    )  # fmt: skip
    found = await run(engine, given, {"n": 4})
    assert found.state == {"n": 4, "got": {"n": 4, "doubled": 4}}
    kids = (await engine.list("workflow:child")).items
    assert {one.key for one in kids} == {None, "k-4"}
    assert all(one.parent == found.id or one.parent for one in kids)


async def test_run_workflow_names_a_version_and_fails_where_there_is_none(
    engine: TestEngine,
) -> None:
    child = {**document(transform(v=1)), "name": "child"}
    engine.register(child)
    await engine.until_idle()
    await engine.definitions.push({**document(transform(v=2)), "name": "child"}, promote=True)
    run_v1 = core(
        "RunWorkflow", 1, {"workflow_id": "child", "workflow_version": 1}, transform={"v": "::v"}
    )
    assert (await run(engine, document(run_v1))).state["v"] == 1
    run_v9 = core("RunWorkflow", 1, {"workflow_id": "child", "workflow_version": 9})
    found = await run(engine, {**document(run_v9), "name": "v9"})
    assert "v9" in found.error.message
    await engine.cancel(found.id)


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
async def test_iterator_gives_what_the_items_became(engine: TestEngine, mode: str) -> None:
    inner = [transform(n="::n", seen=True)]
    given = document(
        core("Iterator", 1, {"array_path": "::items", "mode": mode, "actions": inner}, transform={"out": "::"}),
        core("Iterator", 2, {"array_path": "::none", "mode": mode, "actions": inner}, transform={"empty": "::"}),
    )  # fmt: skip
    found = await run(engine, given, {"items": [{"n": 1}, {"n": 2}], "none": []})
    assert found.state["out"] == [{"n": 1, "seen": True}, {"n": 2, "seen": True}]
    assert found.state["items"] == [{"n": 1}, {"n": 2}]
    assert found.state["empty"] == []


async def test_iterator_wants_a_list(engine: TestEngine) -> None:
    found = await run(
        engine, document(core("Iterator", 1, {"array_path": "::a", "actions": [log()]})), {"a": {}}
    )
    assert found.status == "failed" and "goes through a list" in found.error.message
    await engine.cancel(found.id)


async def test_iterators_and_branches_nest(engine: TestEngine) -> None:
    leaf = core("Branch", 1, {"branches": [
        {"order": 1, "condition": all_of(when("::", "gt", 2, "Number")), "actions": [transform(1, {"::": "::"})]},
        {"order": 2, "actions": [emit("small", parameters={"content_type": "application/json", "body": "::"})]},
    ]})  # fmt: skip
    inner = core(
        "Iterator", 1, {"array_path": "::row", "actions": [leaf]}, transform={"done": "::"}
    )
    outer = core(
        "Iterator",
        1,
        {"array_path": "::rows", "mode": "parallel", "actions": [inner]},
        transform={"out": "::"},
    )
    found = await run(engine, document(outer), {"rows": [{"row": [1, 3]}, {"row": [2]}]})
    assert found.status == "completed", found.error
    assert [one["done"] for one in found.state["out"]] == [[1, 3], [2]]
    assert sorted(one.data for one in await events(engine, "small")) == [1, 2]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("continue", [{"n": 1}, {"n": 3}]), ("collect", None), ("fail", "failed")],
)
@pytest.mark.parametrize("mode", ["sequential", "parallel"])
async def test_iterator_on_item_error(
    engine: TestEngine, policy: str, expected: Any, mode: str
) -> None:
    connector = Service("svc")

    @connector.action("Do", params={"type": "object"})
    async def act(params: dict[str, Any]) -> Any:
        if params["n"] == 2:
            raise Fatal("two is wrong")

    engine.register(connector)
    iterator = core(
        "Iterator",
        1,
        {"array_path": "::items", "mode": mode, "on_item_error": policy,
         "actions": [do(parameters={"n": "::n"})]},
        transform={"out": "::"},
    )  # fmt: skip
    found = await run(engine, document(iterator), {"items": [{"n": 1}, {"n": 2}, {"n": 3}]})
    if policy == "fail":
        assert found.status == "failed" and "two is wrong" in found.error.message
        await engine.cancel(found.id)
    elif policy == "continue":
        assert found.state["out"] == expected
    else:
        one, two, three = found.state["out"]
        assert (one, three) == ({"n": 1}, {"n": 3})
        assert two["error"]["message"] == "two is wrong"


async def test_branch_takes_the_first_that_holds_or_none(engine: TestEngine) -> None:
    branches = [
        {
            "order": 2,
            "condition": all_of(when("::n", "gt", 1, "Number")),
            "actions": [transform(b=2)],
        },
        {
            "order": 1,
            "condition": all_of(when("::n", "gt", 5, "Number")),
            "actions": [transform(b=1)],
        },
    ]
    given = document(core("Branch", 1, {"branches": branches}), transform(2, end=True))
    engine.register(given)
    for n, expected in ((9, 1), (3, 2), (0, None)):
        started = await engine.start("w", {"n": n})
        assert (await started.result()).get("b") == expected


async def test_wait_sleeps_for_seconds_a_duration_or_until(engine: TestEngine) -> None:
    given = document(
        core("Wait", 1, {"seconds": "::n"}),
        core("Wait", 2, {"duration": "2 days"}),
        core("Wait", 3, {"until": "2026-01-05T00:00:00Z"}),
    )
    found = await run(engine, given, {"n": 5})
    assert found.waits[0].due == "2026-01-01T00:00:05.000Z"
    await engine.advance("5s")
    assert (await engine.get(found.id)).waits[0].due == "2026-01-03T00:00:05.000Z"
    await engine.advance("2 days")
    assert (await engine.get(found.id)).waits[0].due == "2026-01-05T00:00:00.000Z"
    await engine.advance("3 days")
    assert (await engine.get(found.id)).status == "completed"


async def test_wait_for_event_takes_the_one_it_means(engine: TestEngine) -> None:
    wait = core(
        "WaitForEvent", 1, {"event_type": "::kind", "where": {"data.id": "::id"}},
        timeout="1h", transform={"paid": "::data"},
    )  # fmt: skip
    found = await run(engine, document(wait), {"kind": "paid", "id": 7})
    await engine.post({"type": "paid", "data": {"id": 8}})
    await engine.post({"type": "paid", "data": {"id": 7, "sum": 5}})
    await engine.until_idle()
    assert (await engine.get(found.id)).state["paid"] == {"id": 7, "sum": 5}


@pytest.mark.parametrize(("policy", "status"), [("continue", "completed"), ("fail", "failed")])
async def test_wait_for_event_until_it_is_too_late(
    engine: TestEngine, policy: str, status: str
) -> None:
    wait = core(
        "WaitForEvent",
        1,
        {"event_type": "x", "on_timeout": policy},
        timeout="1h",
        transform={"got": "::"},
    )
    found = await run(engine, document(wait))
    await engine.advance("1h")
    found = await engine.get(found.id)
    assert found.status == status
    if policy == "continue":
        assert found.state == {"got": None}
    else:
        await engine.cancel(found.id)


async def test_ask_with_a_form_takes_an_answer_that_fits(engine: TestEngine) -> None:
    schema = {
        "title": "Contract",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "team": {"enum": ["red", "blue"]},
            "seats": {"type": "integer", "minimum": 1, "default": 3},
            "start": {"type": "string", "format": "date"},
        },
        "required": ["name", "team"],
    }
    given = document(
        core("Ask", 1, {"kind": "form", "title": "For {who}", "assignee": "::boss", "schema": schema},
             variables={"who": "::who"}, transform={"answer": "::"})
    )  # fmt: skip
    found = await run(engine, given, {"who": "Bob", "boss": "ann@example.org"})
    (ask,) = (await engine.asks.list("")).items
    assert (ask.title, ask.assignee, ask.kind) == ("For Bob", "ann@example.org", "form")
    assert set(ask.schema["properties"]) == {"name", "team", "seats", "start"}
    with pytest.raises(Exception, match="team"):
        await engine.answer(ask.id, {"name": "Bob", "team": "green"})
    await engine.answer(ask.id, {"name": "Bob", "team": "red", "start": "2026-02-01"})
    await engine.until_idle()
    assert (await engine.get(found.id)).state["answer"] == {
        "name": "Bob", "team": "red", "seats": 3, "start": "2026-02-01",
    }  # fmt: skip


async def test_ask_for_an_approval_and_for_a_callback(engine: TestEngine) -> None:
    given = document(
        core("Ask", 1, {"kind": "approval", "title": "Go?"}, transform={"ok": "::approved"}),
        core("WaitForCallback", 2, {"title": "bank"}, transform={"bank": "::"}),
    )
    found = await run(engine, given)
    (ask,) = (await engine.asks.list("")).items
    await engine.answer(ask.id, {"approved": True}, by="ann")
    await engine.until_idle()
    (ask,) = [one for one in (await engine.asks.list("")).items if one.answered is None]
    assert ask.kind == "callback"
    await engine.answer(ask.id, {"ref": 5})
    await engine.until_idle()
    assert (await engine.get(found.id)).state == {"ok": True, "bank": {"ref": 5}}


async def test_F22_an_action_may_wait_to_be_called_back(engine: TestEngine) -> None:
    connector, asked = service({"accepted": True})
    engine.register(connector)
    given = document(
        do(parameters={"reply_to": "https://here{callback_route}", "n": "{n}"}, variables={"n": "::n"},
           wait_for_callback=True, timeout="1h", transform={"answer": "::"}),
        transform(2, {"end": True}),
    )  # fmt: skip
    found = await run(engine, given, {"n": 5})
    assert (found.waits[0].kind, found.waits[0].op) == ("callback", "1.callback")
    (asked_for,) = asked
    assert asked_for["n"] == "5"
    (ask,) = (await engine.asks.list("")).items
    token = asked_for["reply_to"].removeprefix("https://here/callbacks/")
    assert token and "/" not in token
    await engine.answer(ask.id, {"ref": 7})
    await engine.until_idle()
    assert (await engine.get(found.id)).state == {"n": 5, "answer": {"ref": 7}, "end": True}


async def test_F22_a_callback_that_does_not_come_fails_and_is_asked_for_anew(
    engine: TestEngine,
) -> None:
    connector, asked = service()
    engine.register(connector)
    found = await run(
        engine, document(do(wait_for_callback=True, timeout="1h", transform={"a": "::"}))
    )
    await engine.advance("1h")
    assert (await engine.get(found.id)).status == "failed"
    await engine.resume(found.id)
    await engine.until_idle()
    assert len(asked) == 2
    (ask,) = [one for one in (await engine.asks.list("")).items if one.answered is None]
    await engine.answer(ask.id, {"x": 1})
    await engine.until_idle()
    assert (await engine.get(found.id)).state == {"a": {"x": 1}}


def one_at_a_time(on_conflict: str, **more: Any) -> dict[str, Any]:
    wait = core("WaitForEvent", 1, {"event_type": "go", "where": {"data.id": "::id"}})
    rule = {"key": "::user", "on_conflict": on_conflict, **more}
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "new"}}
    return document(wait, concurrency=rule, source=source)


async def statuses(engine: Any) -> list[str]:
    rows = (await engine.list("")).items
    return [one.status for one in sorted(rows, key=lambda one: one.id)]


async def test_F23_who_comes_when_all_slots_are_taken_is_queued_in_order(
    engine: TestEngine,
) -> None:
    engine.register(one_at_a_time("queue", limit=2))
    for n in range(4):
        await engine.post({"type": "new", "data": {"user": "a", "id": n}})
    await engine.start("w", {"user": "b", "id": 9})
    await engine.until_idle()
    assert await statuses(engine) == ["waiting", "waiting", "pending", "pending", "waiting"]
    await engine.crash()
    await engine.until_idle()
    assert await statuses(engine) == ["waiting", "waiting", "pending", "pending", "waiting"]
    await engine.post({"type": "go", "data": {"id": 1}})
    await engine.until_idle()
    assert await statuses(engine) == ["waiting", "completed", "waiting", "pending", "waiting"]
    rows = sorted((await engine.list("")).items, key=lambda one: one.id)
    await engine.cancel(rows[3].id)
    await engine.cancel(rows[0].id)
    await engine.until_idle()
    assert await statuses(engine) == ["cancelled", "completed", "waiting", "cancelled", "waiting"]
    last = await engine.start("w", {"user": "a", "id": 5})
    await engine.until_idle()
    assert (await engine.get(last.id)).status == "waiting"


async def test_F23_or_is_refused_or_takes_the_place_of_the_oldest(engine: TestEngine) -> None:
    engine.register(one_at_a_time("skip"))
    first = await engine.start("w", {"user": "a", "id": 1})
    refused = await engine.post({"type": "new", "data": {"user": "a", "id": 2}})
    assert [(one.action, one.code) for one in refused.matched] == [("refused", "already_running")]
    with pytest.raises(AlreadyRunning, match="for a: 1 at once"):
        await engine.start("w", {"user": "a", "id": 3})
    await engine.cancel(first.id)
    await engine.start("w", {"user": "a", "id": 3})
    replaced = {**one_at_a_time("cancel_oldest"), "name": "r"}
    engine.register(replaced)
    old = await engine.start("r", {"user": "a", "id": 1})
    new = await engine.start("r", {"user": "a", "id": 2})
    other = await engine.start("r", {"user": "b", "id": 3})
    await engine.until_idle()
    found = [(await engine.get(one.id)).status for one in (old, new, other)]
    assert found == ["cancelled", "waiting", "waiting"]


async def test_F23_children_are_queued_too_and_an_event_that_is_repeated_takes_no_slot(
    engine: TestEngine,
) -> None:
    child = {**one_at_a_time("queue"), "name": "child"}
    engine.register(child)
    each = core(
        "RunWorkflow", 1, {"workflow_id": "child", "workflow_input": "::"}, transform={"done": True}
    )
    parent = document(
        core(
            "Iterator",
            1,
            {"array_path": "::l", "mode": "parallel", "actions": [each]},
            transform={"out": "::"},
        )
    )
    engine.register({**parent, "name": "parent"})
    started = await engine.start("parent", {"l": [{"user": "a", "id": n} for n in range(3)]})
    for n in range(3):
        await engine.until_idle()
        await engine.post({"type": "go", "data": {"id": n}})
    await engine.until_idle()
    assert (await engine.get(started.id)).status == "completed"
    event = {"type": "new", "id": "e", "data": {"user": "a", "id": 7}}
    await engine.post(event)
    assert (await engine.post(event)).duplicate
    await engine.post({"type": "go", "data": {"id": 7}})
    await engine.until_idle()
    last = await engine.start("child", {"user": "a", "id": 8})
    await engine.until_idle()
    assert (await engine.get(last.id)).status == "waiting"


async def test_F23_who_has_priority_is_next(engine: TestEngine) -> None:
    engine.register(one_at_a_time("queue", priority="::p"))
    first = await engine.start("w", {"user": "a", "id": 0})
    low = await engine.start("w", {"user": "a", "id": 1, "p": 1})
    high = await engine.start("w", {"user": "a", "id": 2, "p": 5})
    await engine.crash()
    await engine.cancel(first.id)
    await engine.until_idle()
    found = [(await engine.get(one.id)).status for one in (low, high)]
    assert found == ["pending", "waiting"]


async def test_F23_a_start_that_fails_leaves_its_slot(engine: TestEngine) -> None:
    engine.register({**one_at_a_time("skip"), "key": "::id"})
    with pytest.raises(InvalidDefinition):
        await engine.start("w", {"user": "a", "id": "x" * 300})
    first = await engine.start("w", {"user": "a", "id": 1})
    with pytest.raises(AlreadyRunning):
        await engine.start("w", {"user": "a", "id": 1})
    await engine.cancel(first.id)
    assert (await engine.start("w", {"user": "a", "id": 1})).id


async def test_F23_the_queue_is_kept_over_a_restart(tmp_path: Path) -> None:
    store, given = tmp_path / "app.db", one_at_a_time("queue")
    async with Engine.open(store, workflows=[given]) as engine:
        first = await engine.start("w", {"user": "a", "id": 1})
        second = await engine.start("w", {"user": "a", "id": 2})
    async with Engine.open(store, workflows=[given]) as engine:
        assert (await engine.get(second.id)).status == "pending"
        await engine.post({"type": "go", "data": {"id": 1}})
        await engine.post({"type": "go", "data": {"id": 2}})
        await engine.result(first.id, timeout=20)
        await engine.result(second.id, timeout=20)


async def test_log_writes_to_the_log(engine: TestEngine) -> None:
    given = document(
        log(1, parameters={"text": "hi {n}", "level": "warning", "data": {"n": "::n"}}, variables={"n": "::n"},
            transform={"said": "::"})
    )  # fmt: skip
    assert (await run(engine, given, {"n": 3})).state == {"n": 3, "said": "hi 3"}


# -- Call --------------------------------------------------------------------------------------


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in list(OFFERED):
        monkeypatch.delitem(OFFERED, name)
    return offer


async def test_call_runs_a_step_that_is_offered_and_nothing_else(
    engine: TestEngine, offered: Any
) -> None:
    @step("Add")
    def add(a: int, b: int = 10) -> State:
        return {"sum": a + b}

    offered(add)

    given = document(
        core("Call", 1, {"step": "add", "arguments": {"a": "::n"}}, transform={"sum": "::sum"})
    )
    found = await run(engine, given, {"n": 5, "b": 99})
    assert found.state["sum"] == 15
    with pytest.raises(InvalidDefinition, match="no step"):
        engine.register(document(core("Call", 1, {"step": "os.system"})))


async def test_call_tries_again_as_the_action_says(engine: TestEngine, offered: Any) -> None:
    tries: list[int] = []

    @step("Flaky")
    async def anything() -> State:
        tries.append(1)
        if len(tries) < 3:
            raise Retry("again", after=1)
        return {"ok": True}

    offered(name="flaky")(anything)

    given = document(
        core("Call", 1, {"step": "flaky"}, on_error={"max_retries": 5}, transform={"ok": "::ok"})
    )
    found = await run(engine, given)
    await engine.advance("1s")
    await engine.advance("1s")
    assert (await engine.get(found.id)).state == {"ok": True}


# -- Data --------------------------------------------------------------------------------------


def data(operation: str, order: int = 1, **more: Any) -> dict[str, Any]:
    into = more.pop("into", None)
    found = core("Data", order, {"operation": operation, "key": "k", **more})
    return {**found, "transform": {into: "::"}} if into else found


async def test_data_is_written_read_queried_and_deleted(engine: TestEngine) -> None:
    given = document(
        data("read", 1, into="before"),
        data("write", 2, value={"a": "::n"}),
        data("read", 3, into="after"),
        data("write", 4, key="k2", value=2),
        data("query", 5, into="all"),
        data("delete", 6),
        data("read", 7, into="gone"),
    )
    found = await run(engine, given, {"n": 5})
    assert found.state == {
        "n": 5, "before": None, "after": {"a": 5}, "gone": None,
        "all": [{"key": "k", "value": {"a": 5}}, {"key": "k2", "value": 2}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "same", "other"), [("account", 5, 5), ("workflow", 5, None), ("run", None, None)]
)
async def test_data_is_seen_within_its_scope(
    engine: TestEngine, scope: str, same: Any, other: Any
) -> None:
    write = document(data("write", 1, value=5, scope=scope))
    await run(engine, write)
    read = document(data("read", 1, scope=scope, into="got"))
    assert (await run(engine, read)).state["got"] == same
    assert (await run(engine, {**read, "name": "another"})).state["got"] == other


async def test_data_is_gone_after_its_time(engine: TestEngine) -> None:
    await run(engine, document(data("write", 1, value=5, ttl="1h")))
    read = document(data("read", 1, into="got"), data("increment", 2, into="count"))
    await engine.advance("59m")
    engine.register(read)
    early = await (await engine.start("w")).result()
    assert early == {"got": 5, "count": 6}
    await run(engine, {**document(data("write", 1, value=9, ttl="1h")), "name": "w"})
    await engine.advance("1h")
    engine.register(read)
    assert await (await engine.start("w")).result() == {"got": None, "count": 1}


async def test_counters_count_each_instance_once(tmp_path: Path) -> None:
    given = document(data("increment", 1, scope="account", into="n"))
    async with Engine.open(tmp_path / "app.db", workflows=[given]) as engine:
        started = [await engine.start("w") for _ in range(60)]
        seen = [(await one.result(timeout=30))["n"] for one in started]
        assert sorted(seen) == list(range(1, 61))
    async with Engine.open(tmp_path / "app.db", workflows=[given]) as engine:
        results = await asyncio.gather(*[
            (await engine.start("w")).result(timeout=30) for _ in range(5)
        ])  # fmt: skip
        assert sorted(one["n"] for one in results) == list(range(61, 66))


async def test_data_of_an_account_is_that_of_its_namespace(engine: TestEngine) -> None:
    engine.register(document(data("increment", 1, scope="account", into="n")))
    for namespace, n in (("a", 1), ("a", 2), ("b", 1)):
        started = await engine.start("w", namespace=namespace)
        assert (await started.result(timeout=10))["n"] == n


async def test_a_full_scope_fails_the_action_and_on_error_works(
    engine: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keptdata, "VALUES_MAX", 2)
    full = [data("write", n, key=f"k{n}", value=n) for n in (1, 2, 3)]
    found = await run(engine, document(*full))
    assert found.status == "failed"
    assert "holds 2 values: the limit is 2" in found.error.message
    skips = {**full[2], "on_error": {"on_fail": "skip"}}
    given = document(*full[:2], skips, transform(4, {"on": True}), name="other")
    assert (await run(engine, given)).state == {"on": True}
    with pytest.raises(InvalidDefinition, match="Data tries again by itself"):
        engine.register(document({**full[2], "on_error": {"max_retries": 2}}, name="third"))


async def test_a_counter_that_holds_no_number_fails(engine: TestEngine) -> None:
    await run(engine, document(data("write", 1, value="text")))
    found = await run(engine, document(data("increment", 1)))
    assert found.status == "failed" and "cannot be counted" in found.error.message
    await engine.cancel(found.id)


# -- files, pushes, restarts -------------------------------------------------------------------


async def test_F24_F25_documents_have_versions_and_need_no_file_after_a_push(
    tmp_path: Path,
) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store) as engine:
        first = await engine.definitions.push(document(transform(v=1)))
        again = await engine.definitions.push({**document(transform(v=1)), "description": "same"})
        second = await engine.definitions.push(document(transform(v=2)))
        assert (first.version, again.version, second.version) == (1, 1, 2)
        assert (await (await engine.start("w")).result()) == {"v": 1}
    async with Engine.open(store) as engine:
        assert (await (await engine.start("w")).result()) == {"v": 1}
        await engine.definitions.promote("w", 2)
        assert (await (await engine.start("w")).result()) == {"v": 2}
        assert (await (await engine.start("w", version=1)).result()) == {"v": 1}
        with pytest.raises(Exception, match="no version 7"):
            await engine.definitions.promote("w", 7)


async def test_tags_are_shown_with_each_version(engine: TestEngine) -> None:
    engine.register(document(tags=["billing", "eu"]))
    await engine.until_idle()
    (one,) = await engine.definitions.list()
    assert one.tags == ["billing", "eu"]


async def test_the_gate_of_a_promotion_follows_recorded_instances_of_a_document(
    tmp_path: Path,
) -> None:
    """Which end the same, which take another branch and where, which fail: with the responses
    and events that were recorded, and nothing is sent."""

    def given(limit: int, text: str = "x", **last: Any) -> dict[str, Any]:
        big = {"order": 1, "condition": all_of(when("::n", "gt", limit, "Number")),
               "actions": [log(1), emit("big", 2), transform(3, {"size": "big"})]}  # fmt: skip
        return document(
            core("WaitForEvent", 1, {"event_type": "::kind"}, transform={"n": "::data.n"}),
            data("increment", 2, into="number"),
            core("Branch", 3, {"branches": [big, {"order": 2, "actions": [log(1, parameters={"text": "small"}), transform(2, {"size": "small"})]}]}),
            log(4, parameters={"text": text}),
            {**transform(5, {"at": "::now()"}), **last},
        )  # fmt: skip

    async with Engine.open(tmp_path / "app.db", workflows=[given(5)]) as engine:
        for n in (3, 7, 9):
            started = await engine.start("w", {"kind": f"go{n}"})
            await engine.post({"type": f"go{n}", "data": {"n": n}})
            await started.result(timeout=20)
        before = len((await engine.events.list()).items)
        await engine.definitions.push(given(5, "another text"))
        same = await engine.definitions.check("w", 2)
        assert (same.checked, same.same, same.other, same.fails) == (3, 3, 0, 0)
        await engine.definitions.push(given(8))
        moved = await engine.definitions.check("w", 3)
        assert (moved.same, moved.other + moved.fails) == (2, 1)
        (strayed,) = moved.strayed
        assert strayed.op in ("3.1-1", "3.2-1"), strayed
        assert "3.2-1" in strayed.text or "3.1-1" in strayed.text, strayed
        await engine.definitions.push(given(5, condition=NO))
        failing = await engine.definitions.check("w", 4)
        assert (failing.same, failing.fails) == (0, 3)
        assert len((await engine.events.list()).items) == before


async def test_an_instance_of_an_old_version_goes_on_with_it_after_a_restart(
    tmp_path: Path,
) -> None:
    store = tmp_path / "app.db"

    def given(v: int) -> dict[str, Any]:
        return document(core("WaitForEvent", 1, {"event_type": "go"}), transform(2, v=v))

    async with Engine.open(store, workflows=[given(1)]) as engine:
        old = await engine.start("w")
    async with Engine.open(store, workflows=[given(2)]) as engine:
        new = await engine.start("w")
        await engine.post({"type": "go"})
        assert await engine.result(old.id, timeout=10) == {"v": 1}
        assert await engine.result(new.id, timeout=10) == {"v": 2}


async def test_files_and_folders_of_documents_are_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "schema_version: 1\nname: a\nactions:\n"
        "  - {type: 'Core:Transform', order: 1, transform: {on: no}}\n"
    )
    (folder / "b.json").write_text('{"schema_version": 1, "name": "b", "actions": '
                                   '[{"type": "Core:Log", "order": 1, "parameters": {"text": "x"}}]}')  # fmt: skip
    (folder / "b.test.json").write_text('{"actions": "no document"}')
    (folder / "data.json").write_text('{"some": "data"}')
    async with Engine.open(":memory:", workflows=[str(folder)]) as engine:
        assert engine.registry.names() == ["a", "b"]
        assert await (await engine.start("a")).result(timeout=10) == {"on": "no"}
    (folder / "b.json").write_text('{"schema_version": 1, "name": "b"')
    with pytest.raises(InvalidDefinition) as caught:
        Engine.open(":memory:", workflows=[str(folder)])
    assert str(caught.value.problems[0].where).startswith(f"{folder / 'b.json'}:1:")


async def test_workflows_that_start_each_other_for_ever_are_stopped(engine: TestEngine) -> None:
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "again"}}
    engine.register(document(emit("again"), source=source))
    await engine.post({"type": "again"})
    await engine.until_idle()
    assert len(await events(engine, "again")) <= 34
    stopped = (await engine.list("status:failed")).items
    assert len(stopped) <= 1
    for one in stopped:
        await engine.cancel(one.id)


async def test_an_input_that_is_no_json_is_refused(engine: TestEngine) -> None:
    engine.register(document())
    with pytest.raises(InvalidInput):
        await engine.start("w", {"a": float("nan")})


async def test_the_hint_of_an_error_is_kept_with_the_failure(engine: TestEngine) -> None:
    connector, _ = service(Fatal("the card is gone", hint="ask for another one"))
    engine.register(connector)
    found = await run(engine, document(do()))
    assert found.error.hint == "ask for another one"
    assert "hint" not in found.error.details
    text = (await engine.why(found.id)).text
    assert "  ask for another one\n" in text


async def test_why_says_what_was_asked_and_nothing_of_a_question_whose_time_is_over(
    engine: TestEngine,
) -> None:
    ask = {"kind": "approval", "title": "Ship {n}?", "on_timeout": "fail"}
    given = document(core("Ask", 1, ask, variables={"n": "::n"}, timeout="1h"))
    found = await run(engine, given, {"n": 7})
    assert "an answer (approval) to 'Ship 7?'" in (await engine.why(found.id)).text
    await engine.advance("1h")
    text = (await engine.why(found.id)).text
    assert "it failed at 1" in text and "it waits" not in text


async def test_the_hint_of_a_step_reaches_the_instance_of_a_program_that_does_not_catch_it(
    engine: TestEngine,
) -> None:
    @step("Pay")
    async def pay() -> State:
        raise Fatal("declined", hint="try another card")

    @workflow
    async def buy() -> None:
        await pay()

    engine.register(buy)
    started = await engine.start("buy")
    await engine.until_idle()
    assert (await engine.get(started.id)).error.hint == "try another card"


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("Log", {"text": "::nme"}, "parameters.text must be text, got null"),
        ("Log", {"text": "::n"}, "parameters.text must be text, got 7"),
        ("CustomEvent", {"event_type": "::nme"}, "parameters.event_type must be text of 1 to 256"),
        (
            "RunWorkflow",
            {"workflow_id": "kid", "key": "::user"},
            "parameters.key must be text or a",
        ),
        ("Wait", {"seconds": "::user.name"}, "parameters.seconds must be a number of seconds"),
        (
            "WaitForEvent",
            {"event_type": "::long"},
            "parameters.event_type must be text of 1 to 256",
        ),
        (
            "Ask",
            {"kind": "approval", "title": "::nme"},
            "parameters.title must be text of 1 to 256",
        ),
        ("Data", {"operation": "read", "key": "::n"}, "parameters.key must be text of 1 to 256"),
        ("Call", {"step": "sure", "arguments": {"n": 1}}, None),
    ],
)
async def test_F15_what_expressions_give_a_core_action_is_judged_by_its_schema(
    engine: TestEngine, offered: Any, kind: str, given: dict[str, Any], said: str | None
) -> None:
    @offer
    @step("sure")
    async def sure(n: int) -> State:
        return {}

    engine.register(document(log(), name="kid"))
    state = {"user": {"name": "Bob"}, "n": 7, "long": "x" * 300}
    found = await run(engine, document(core(kind, 3, given)), state)
    if said is None:
        assert found.status == "completed"
        return
    assert (found.status, found.error.details["type"]) == ("failed", "ParameterInvalid")
    assert f"action 3 ({kind}): {said}" in found.error.message


async def test_F15_the_hint_says_what_an_expression_gave_and_where_it_may_have_meant(
    engine: TestEngine,
) -> None:
    found = await run(
        engine, document(log(parameters={"text": "::name"})), {"user": {"name": "Bob"}}
    )
    assert found.error.hint.splitlines() == [
        "::name is null   (there is ::user.name)", "nothing was sent; the state has: user",
    ]  # fmt: skip
    text = (await engine.why(found.id)).text
    assert "  ::name is null   (there is ::user.name)" in text
