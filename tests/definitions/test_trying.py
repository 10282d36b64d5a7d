"""A trial says what a run would do, with responses somebody gives."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.definitions.catalog import Catalog
from greenroom.definitions.connectors import Connectors
from greenroom.definitions.documents import document_from
from greenroom.definitions.trying import Trial, differences, explain, try_document
from greenroom.runtime.testing import TestEngine
from tests.definitions.test_documents import WELCOME, all_of, document, log, when
from tests.runtime.test_documents import core, data, do, emit, service, transform


def tried(given: dict[str, Any], input: Any = None, **options: Any) -> Trial:
    connector, _ = service()
    found = document_from(given, catalog=Catalog(Connectors([connector])))
    return try_document(found, {} if input is None else input, **options)


NO = all_of(when("::plan", "eq", "pro"))
BRANCH = core("Branch", 1, {"branches": [
    {"order": 1, "condition": all_of(when("::n", "gt", 1, "Number")), "actions": [transform(1, {"big": True})]},
    {"order": 2, "actions": [emit("small", parameters={"content_type": "application/json", "body": "::"})]},
]})  # fmt: skip

SAME: dict[str, tuple[dict[str, Any], Any]] = {
    "skip": (document(log(1, condition={**NO, "on_fail": "skip"}), transform(2, {"a": 1})), {}),
    "stop": (document(log(1, condition={**NO, "on_fail": "stop"}), transform(2, {"a": 1})), {}),
    "fail": (document(log(1, condition=NO)), {}),
    "whole": (document(transform(1, {"::": "::"})), {"a": [1]}),
    "branch": (document(core("Iterator", 1, {"array_path": "::", "actions": [BRANCH]}, transform={"out": "::"})), {"x": 1}),
    "items": (
        document(core("Iterator", 1, {"array_path": "::l", "actions": [BRANCH]}, transform={"out": "::"})),
        {"l": [{"n": 1}, {"n": 2}]},
    ),
    "data": (
        document(data("increment", 1, into="n"), data("increment", 2, value=4, into="m"), data("query", 3, into="q")),
        {},
    ),
    "text": (document(log(1, parameters={"text": "{a} {b}"}, variables={"a": "::x", "b": {"c": "::x"}}, transform={"t": "::"})), {"x": 1}),
    "list root": (document(core("Iterator", 1, {"array_path": "::", "actions": [emit()]}, transform={"n": "::length(@)"})), {"l": []}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
async def test_a_trial_ends_as_a_run_does(engine: TestEngine, name: str) -> None:
    given, input = SAME[name]
    engine.register(given)
    started = await engine.start("w", input)
    await engine.until_idle()
    found = await engine.get(started.id)
    trial = tried(given, input)
    assert trial.status == found.status
    if trial.status == "completed":
        assert (trial.state, trial.outcome) == (found.state, found.outcome)
        posted = [one for one in (await engine.events.list()).items if one.type == "small"]
        assert [one["data"] for one in trial.events if one["type"] == "small"] == [
            one.data for one in posted
        ]
    else:
        await engine.cancel(started.id)


def test_responses_are_given_by_key_also_for_items() -> None:
    each = core(
        "Iterator",
        1,
        {"array_path": "::l", "actions": [do(transform={"got": "::v"})]},
        transform={"out": "::"},
    )
    trial = tried(
        document(each), {"l": [{}, {}]}, responses={"1[].1": {"v": 1}, "1[1].1": {"v": 2}}
    )
    assert trial.state["out"] == [{"got": 1}, {"got": 2}]
    assert trial.unused == []
    assert tried(document(do()), responses={"7": 1}).unused == ["7"]


def test_a_failure_does_as_on_error_says() -> None:
    boom = {"1": {"$raise": "boom"}}
    assert tried(document(do()), responses=boom).error == "action 1 (svc Do): boom"
    skipped = tried(document(do(on_error={"on_fail": "skip"}), log(2)), responses=boom)
    assert [one.outcome for one in skipped.actions] == ["skipped", "done"]
    stopped = tried(document(do(on_error={"on_fail": "stop"}), log(2)), responses=boom)
    assert (stopped.status, stopped.outcome) == ("completed", "stopped")


def test_explain_shows_every_expression_with_its_value() -> None:
    found = explain(
        document_from(document(log(1, parameters={"text": "::a.b"}), transform(2, {"c": "::length(x)"}))),
        {"a": {"b": "hello"}},
    )  # fmt: skip
    assert [(one.path, one.value) for one in found] == [
        ("$.actions[0].parameters.text", "hello"),
        ("$.actions[1].transform.c", None),
    ]
    assert found[1].error is not None and "length()" in found[1].error


def test_differences_name_the_place() -> None:
    trial = tried(document(transform(1, {"a": {"b": 1}}), emit("x", 2)))
    assert differences(trial, {"status": "completed", "includes": {"a": {"b": 1}}}) == []
    assert differences(trial, {"includes": {"a": {"b": True, "c": 1}}}) == [
        "state.a.b: expected true, got 1",
        "state.a.c: expected 1, nothing is there",
    ]
    assert differences(trial, {"events": []}) == ["events: expected 0, got 1"]
    assert differences(trial, {"events": [{"type": "y"}]}) == [
        'events[0].type: expected "y", got "x"'
    ]


def test_explain_tells_of_the_key_the_attributes_and_the_limits_too() -> None:
    given = document(
        key="::user.id",
        attributes={"plan": "::plan"},
        concurrency={"key": "::plan", "priority": "::n"},
        rate={"limit": 1, "per": "1m", "key": "::n"},
        source={**WELCOME["source"], "transform": {"plan": "::user.plan", "n": 7}},
    )
    found = explain(given, {"user": {"id": 3, "plan": "pro"}})
    assert {one.path: one.value for one in found if not one.path.startswith("$.source")} == {
        "$.key": 3, "$.attributes.plan": "pro", "$.concurrency.key": "pro",
        "$.concurrency.priority": 7, "$.rate.key": 7,
    }  # fmt: skip
