"""Rows F1-F26 as far as they are about reading and checking; `tests/runtime/test_documents.py`
runs them."""

from __future__ import annotations

import copy
import json
import random
import tracemalloc
from typing import Any

import pytest

from greenroom.definitions.analysis import cycle_findings, cycles, findings
from greenroom.definitions.conditions import compile_condition
from greenroom.definitions.coreactions import CORE_ACTIONS, core_name
from greenroom.definitions.documents import Document, document_from, document_hash, read_document
from greenroom.definitions.documentschema import PARAMETERS, document_schema
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.operands import OPERANDS

WELCOME: dict[str, Any] = {
    "$schema": "greenroom://workflow.v1.json",
    "schema_version": 1,
    "name": "Welcome pro users",
    "enabled": True,
    "source": {
        "type": "Flexli:CoreV1:CustomEvent",
        "parameters": {"event_type": "user.created"},
        "condition": {
            "operator": "and",
            "criteria": [
                {
                    "operator": "and",
                    "attributes": [
                        {
                            "type": "String",
                            "attribute": "::user.plan",
                            "operator": "eq",
                            "value": "pro",
                        }
                    ],
                }
            ],
        },
        "transform": {"name": "::user.name"},
    },
    "actions": [
        {
            "type": "Core:Log",
            "order": 1,
            "condition": {
                "criteria": [
                    {
                        "attributes": [
                            {"type": "String", "attribute": "::name", "operator": "ne", "value": ""}
                        ]
                    }
                ],
                "on_fail": "skip",
            },
            "parameters": {"text": "Hello, {name}!"},
            "variables": {"name": "::name"},
            "transform": {"greeted.at": "::ts"},
        }
    ],
}


def log(order: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "Core:Log", "order": order, "parameters": {"text": "x"}, **more}


def document(*actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schema_version": 1, "name": "w", "actions": list(actions) or [log()], **more}


def when(path: str, operator: str = "eq", value: Any = "a", kind: str = "String") -> dict[str, Any]:
    return {"type": kind, "attribute": path, "operator": operator, "value": value}


def all_of(*attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"criteria": [{"attributes": list(attributes)}], **more}


def problems(data: Any) -> dict[str, str]:
    """Path -> message of everything wrong."""
    with pytest.raises(InvalidDefinition) as caught:
        document_from(data)
    return {one.path: one.message for one in caught.value.problems}


def warnings(data: Any) -> dict[str, str]:
    return {one.path: one.message for one in document_from(data).warnings}


def odd(data: Any) -> dict[str, str]:
    return {one.path: one.message for one in findings(document_from(data))}


# -- places ------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_with_file_line_column_and_path() -> None:
    text = json.dumps(WELCOME, indent=2)
    text = text.replace('"order": 1', '"ordr": 1').replace(
        '"and",\n          "attr', '"nand",\n          "attr', 1
    )
    text = text.replace('"::ts"', '"::ts["').replace('"schema_version": 1', '"schema_version": "1"')
    with pytest.raises(InvalidDefinition) as caught:
        read_document(text, "welcome.json")
    lines = text.splitlines()
    found = {one.path: one for one in caught.value.problems}
    assert {
        "$.schema_version",
        "$.source.condition.criteria[0].operator",
        "$.actions[0].ordr",
        '$.actions[0].transform["greeted.at"]',
    } == set(found)
    for path, word in (
        ("$.schema_version", '"1"'),
        ("$.source.condition.criteria[0].operator", '"nand"'),
        ("$.actions[0].ordr", '"ordr"'),
        ('$.actions[0].transform["greeted.at"]', '"::ts["'),
    ):
        label, line, column = str(found[path].where).split(":")
        assert label == "welcome.json"
        assert lines[int(line) - 1][int(column) - 1 :].startswith(word), path
    assert found["$.actions[0].ordr"].message == 'unknown key; did you mean "order"?'


def test_yaml_says_the_same_and_has_places_too() -> None:
    text = (
        "schema_version: 1\nname: w\nactions:\n"
        "  - type: Core:Log\n    order: 1\n    parameters: {text: hello}\n"
        "    transform: {at: '::now', on: no}\n"
    )
    found = read_document(text, "w.yaml")
    assert found.data["actions"][0]["transform"] == {"at": "::now", "on": "no"}
    with pytest.raises(InvalidDefinition) as caught:
        read_document(text.replace("text: hello", "txt: hello"), "w.yml")
    assert [one.where for one in caught.value.problems] == ["w.yml:6:18"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"a": }', "w.json:1:7"),
        ("", "w.json:1:1"),
        ('{\n"a": [1,\n2', "w.json:3:2"),
    ],
)
def test_text_that_is_no_json_is_told_with_its_place(text: str, where: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        read_document(text, "w.json")
    assert [one.where for one in caught.value.problems] == [where]


def test_a_key_that_is_written_twice_is_refused() -> None:
    text = json.dumps(document()).replace('"name": "w"', '"name": "w", "name": "v"')
    with pytest.raises(InvalidDefinition, match="twice"):
        read_document(text, "w.json")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "schema_version: 1\nname: &x w\nactions: [{type: 'Core:Log', order: 1, parameters: {text: x}}]",
        "a: !!python/object/apply:os.system [id]",
        "? [1]\n: 2",
        "a: [1",
        "- 1\n--- \n- 2",
    ],
)
def test_yaml_has_no_anchors_tags_or_keys_that_are_no_text(text: str) -> None:
    with pytest.raises(InvalidDefinition):
        read_document(text, "w.yaml")


# -- F rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1", 2, 1.0, True, None, "absent"])
def test_F1_C24_schema_version_is_required_and_is_the_number_1(version: Any) -> None:
    data = document(schema_version=version)
    if version == "absent":
        del data["schema_version"]
    assert "$.schema_version" in problems(data)


def test_F4_a_condition_has_its_problems_told_with_their_paths() -> None:
    wrong = all_of(when("::a", "between"), {**when("a"), "typ": 1})
    found = problems(document(log(condition=wrong)))
    assert set(found) >= {
        "$.actions[0].condition.criteria[0].attributes[0].operator",
        "$.actions[0].condition.criteria[0].attributes[1].attribute",
    }
    many = {"criteria": [{"attributes": [when("::a")] * 11}] * 11}
    found = problems(document(log(condition=many)))
    assert "$.actions[0].condition.criteria" in found
    assert "$.actions[0].condition.criteria[0].attributes" in found


def test_F6_on_fail_of_a_source_is_ignored_with_a_warning() -> None:
    source = {**WELCOME["source"], "condition": all_of(when("::a"), on_fail="stop")}
    assert "ignored" in warnings(document(source=source))["$.source.condition.on_fail"]


@pytest.mark.parametrize(
    "parameters", [{}, {"cron": "0 20 * * 5", "rate": "5 minutes"}, {"rate": "0 minutes"}, None]
)
def test_F9_a_schedule_has_one_rule(parameters: Any) -> None:
    source: dict[str, Any] = {"type": "Core:Schedule"}
    if parameters is not None:
        source["parameters"] = parameters
    assert any(path.startswith("$.source.parameters") for path in problems(document(source=source)))


def test_F9_C17_a_schedule_has_no_condition_but_may_have_a_transform() -> None:
    source: dict[str, Any] = {
        "type": "Flexli:CoreV1:Schedule",
        "parameters": {"cron": "0 20 * * 5", "timezone": "Europe/Paris"},
        "transform": {"tick": "::"},
    }
    found = document_from(document(source=source)).source
    assert found is not None and found.schedule is not None
    assert found.schedule.rule == "cron 0 20 * * 5 (Europe/Paris)"
    source["condition"] = all_of(when("::a"))
    assert "$.source.condition" in problems(document(source=source))


@pytest.mark.parametrize("given", [{"body": {}}, {"content_type": "application/json"}])
def test_F10_a_body_and_its_content_type_come_together(given: dict[str, Any]) -> None:
    emit = {"type": "Core:CustomEvent", "order": 1, "parameters": {"event_type": "x", **given}}
    (path,) = problems(document(emit))
    assert path.startswith("$.actions[0].parameters.")


@pytest.mark.parametrize(
    ("actions", "path"),
    [
        ([], "$.actions"),
        ([log(0)], "$.actions[0].order"),
        ([log(101)], "$.actions[0].order"),
        ([log(1), log(1)], "$.actions[1].order"),
        ([log(True)], "$.actions[0].order"),
        ([log(1, surprise=1)], "$.actions[0].surprise"),
        ([log(n + 1) for n in range(100)] + [log(1)], "$.actions"),
        ([{"order": 1}], "$.actions[0].type"),
        ([3], "$.actions[0]"),
        ({"a": 1}, "$.actions"),
    ],
)
def test_F12_what_a_list_of_actions_may_not_be(actions: Any, path: str) -> None:
    assert path in problems({**document(), "actions": actions})


@pytest.mark.parametrize(
    "more",
    [
        {"debounce": "soon"},
        {"batch": 0},
        {"throttle": {"limit": 1}},
        {"debounce": "1s", "batch": 5},
    ],
)
def test_what_a_source_may_not_wait_for(more: dict[str, Any]) -> None:
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "x"}, **more}
    assert any(path.startswith("$.source.") for path in problems(document(source=source)))
    tick = {"type": "Core:Schedule", "parameters": {"rate": "1 hour"}, "debounce": "1s"}
    assert "$.source.debounce" in problems(document(source=tick))


def test_F12_actions_are_taken_by_their_order() -> None:
    found = document_from(document(log(40), log(7), log(22)))
    assert [one.order for one in found.actions] == [7, 22, 40]


def test_F14_an_unknown_connector_or_core_action_is_named() -> None:
    found = problems(document({"connector_id": "slak", "type": "PostMessage", "order": 1}))
    assert "there is no connector 'slak'" in found["$.actions[0].connector_id"]
    found = problems(document({"type": "Core:Lag", "order": 1}))
    assert 'did you mean "Log"?' in found["$.actions[0].type"]
    assert (
        "Core:NAME" in problems(document({"type": "Log", "order": 1}))["$.actions[0].connector_id"]
    )


def test_F15_constants_of_a_core_action_are_checked_and_expressions_are_not() -> None:
    wait = {"type": "Core:Wait", "order": 1, "parameters": {"seconds": "soon"}}
    assert "$.actions[0].parameters.seconds" in problems(document(wait))
    wait["parameters"] = {"seconds": "::soon"}
    document_from(document(wait))
    assert "$.actions[0].parameters.text" in problems(document(log(1, parameters={"text": 5})))


@pytest.mark.parametrize("place", ["variables", "transform", "parameters"])
def test_F16_an_expression_that_is_none_is_found_when_it_is_saved(place: str) -> None:
    given = {"text": "::a["} if place == "parameters" else {"a": "::a["}
    found = problems(document(log(1, **{place: given})))
    (path,) = [path for path in found if place in path]
    assert "not a JMESPath expression" in found[path]


def test_F17_a_field_that_is_no_variable_is_left_with_a_warning() -> None:
    given = log(1, parameters={"text": "{a} {b}"}, variables={"a": 1})
    assert "no such variable: b" in warnings(document(given))["$.actions[0].parameters.text"]


@pytest.mark.parametrize(
    "text", ["{a.b}", "{a!r}", "{a:>9}", "{a[0]}", "{", "{0}", "{a.__class__}"]
)
def test_F17_only_a_name_may_stand_in_braces(text: str) -> None:
    given = log(1, parameters={"text": text}, variables={"a": 1})
    assert "$.actions[0].parameters.text" in problems(document(given))


@pytest.mark.parametrize("key", ["", "a..b", "items.0", '"a', "__hidden", "a.__b"])
def test_F18_a_transform_has_key_paths(key: str) -> None:
    assert any("transform" in path for path in problems(document(log(1, transform={key: 1}))))


def test_F21_the_whole_takes_the_whole_only() -> None:
    document_from(document(log(1, transform={"::": "::"})))
    found = problems(document(log(1, transform={"::": "::a"})))
    assert '$.actions[0].transform["::"]' in found
    assert (
        "ignored"
        in warnings(document(log(1, transform={"::": "::", "a": 1})))["$.actions[0].transform"]
    )


def test_what_takes_back_is_an_action_of_its_own() -> None:
    call = {
        "type": "Core:Data",
        "order": 1,
        "parameters": {"operation": "write", "key": "a", "value": 1},
    }
    undo = {"type": "Core:Data", "parameters": {"operation": "delete", "key": "a"}}
    assert document_from(document({**call, "compensate": undo})).actions[0].undo is not None
    for wrong, place in (
        ({**undo, "order": 2}, "compensate.order"),
        ({"type": "Core:Wait", "parameters": {"seconds": 1}}, "compensate.type"),
        ({**undo, "transform": {"a": 1}}, "compensate.transform"),
        ({"type": "Core:Data", "parameters": {"operation": "delete"}}, "compensate.parameters.key"),
        (5, "compensate"),
    ):
        found = problems(document({**call, "compensate": wrong}))
        assert f"$.actions[0].{place}" in found, found
    assert "$.actions[0].compensate" in problems(document(log(compensate=undo)))


def test_F22_who_waits_to_be_called_back_cannot_skip_a_failure() -> None:
    given = {"connector_id": "x", "type": "y", "order": 1, "wait_for_callback": True}
    found = problems(document({**given, "on_error": {"on_fail": "skip"}}))
    assert "$.actions[0].on_error.on_fail" in found
    assert "$.actions[0].wait_for_callback" in problems(document(log(wait_for_callback=True)))


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"limit": 0}, "limit"),
        ({"key": "user"}, "key"),
        ({"on_conflict": "wait"}, "on_conflict"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1, "on_conflict": "skip"}, "priority"),
        ({"max": 1}, "max"),
    ],
)
def test_F23_what_concurrency_may_not_be(rule: dict[str, Any], place: str) -> None:
    assert f"$.concurrency.{place}" in problems(document(concurrency=rule))


def test_F24_C29_what_changes_nothing_makes_no_version() -> None:
    inner = {
        "type": "Core:Branch",
        "order": 2,
        "description": "a",
        "parameters": {
            "branches": [{"order": 1, "description": "b", "actions": [log(1, description="c")]}]
        },
    }
    one = document(log(), inner, enabled=True, description="x")
    other = copy.deepcopy(one)
    other["enabled"] = False
    other["$schema"] = "x"
    other["description"] = "y"
    branch = other["actions"][1]
    branch["description"] = "z"
    branch["parameters"]["branches"][0]["description"] = "z"
    branch["parameters"]["branches"][0]["actions"][0]["description"] = "z"
    assert document_hash(one) == document_hash(other)
    branch["parameters"]["branches"][0]["actions"][0]["parameters"]["text"] = "z"
    assert document_hash(one) != document_hash(other)
    moved = copy.deepcopy(one)
    moved["actions"][0]["parameters"]["text"] = "description"
    assert document_hash(one) != document_hash(moved)


def test_a_description_inside_parameters_is_part_of_the_version() -> None:
    emit = {"type": "Core:CustomEvent", "order": 1}
    given = {"event_type": "x", "content_type": "application/json", "body": {"description": "a"}}
    one = document({**emit, "parameters": given})
    other = document({**emit, "parameters": {**given, "body": {"description": "b"}}})
    assert document_hash(one) != document_hash(other)


def test_the_name_of_a_workflow_is_checked() -> None:
    assert "$.name" in problems({**document(), "name": "a/b"})
    assert "$.name" in problems({**document(), "name": ""})
    assert "$.name" in problems({**document(), "name": 5})


# -- each core action --------------------------------------------------------------------------

GOOD: dict[str, dict[str, Any]] = {
    "CustomEvent": {"parameters": {"event_type": "::kind"}},
    "RunWorkflow": {"parameters": {"workflow_id": "other", "workflow_input": "::"}},
    "Iterator": {"parameters": {"array_path": "::items", "actions": [log()]}},
    "Branch": {"parameters": {"branches": [{"order": 1, "actions": [log()]}]}},
    "Transform": {"transform": {"a": "::b"}},
    "Wait": {"parameters": {"seconds": 3}},
    "WaitForEvent": {"parameters": {"event_type": "paid", "where": {"data.id": "::id"}}},
    "WaitForCallback": {"parameters": {}, "timeout": "1h"},
    "Ask": {
        "parameters": {
            "kind": "form",
            "title": "Who?",
            "schema": {"properties": {"name": {"type": "string"}}},
        }
    },
    "Data": {"parameters": {"operation": "increment", "key": "n", "value": 1}},
    "Log": {"parameters": {"text": "x"}},
}

BAD: dict[str, list[tuple[dict[str, Any], str]]] = {
    "CustomEvent": [({"parameters": {}}, "parameters.event_type"), ({"timeout": 3}, "timeout")],
    "RunWorkflow": [
        (
            {"parameters": {"workflow_id": "o", "workflow_version": 0}},
            "parameters.workflow_version",
        ),
        ({"parameters": {"workflow_id": "o", "mode": "later"}}, "parameters.mode"),
    ],
    "Iterator": [
        ({"parameters": {"array_path": "items", "actions": [log()]}}, "parameters.array_path"),
        ({"parameters": {"array_path": "::a", "actions": []}}, "parameters.actions"),
        ({"parameters": {"array_path": "::a", "limit": 3, "actions": [log()]}}, "parameters.limit"),
        (
            {"parameters": {"array_path": "::a", "actions": [log(), log()]}},
            "parameters.actions[1].order",
        ),
    ],
    "Branch": [
        ({"parameters": {"branches": []}}, "parameters.branches"),
        (
            {"parameters": {"branches": [{"order": 1, "actions": [log(1, timeout="x")]}]}},
            "parameters.branches[0].actions[0].timeout",
        ),
        ({"on_error": {}}, "on_error"),
    ],
    "Transform": [({"parameters": {"a": 1}}, "parameters"), ({}, "transform")],
    "Wait": [
        ({"parameters": {}}, "parameters"),
        ({"parameters": {"seconds": 1, "duration": "1s"}}, "parameters"),
        ({"parameters": {"duration": "1 blue moon"}}, "parameters.duration"),
    ],
    "WaitForEvent": [
        ({"parameters": {"event_type": "x", "where": {"a..b": 1}}}, "parameters.where")
    ],
    "WaitForCallback": [({"parameters": {}, "timeout": 0}, "timeout")],
    "Ask": [
        ({"parameters": {"kind": "poll"}}, "parameters.kind"),
        ({"parameters": {"kind": "form"}}, "parameters.schema"),
        (
            {"parameters": {"kind": "form", "schema": {"properties": {"a": {"type": "blob"}}}}},
            "parameters.schema.properties.a.type",
        ),
    ],
    "Data": [
        ({"parameters": {"operation": "write", "key": "a"}}, "parameters.value"),
        ({"parameters": {"operation": "read", "key": "a", "value": 1}}, "parameters.value"),
        ({"parameters": {"operation": "increment", "key": "a", "value": 1.5}}, "parameters.value"),
        ({"parameters": {"operation": "drop", "key": "a"}}, "parameters.operation"),
    ],
    "Log": [({"parameters": {"text": "x", "level": "loud"}}, "parameters.level")],
}


@pytest.mark.parametrize("kind", GOOD)
def test_each_core_action_is_read(kind: str) -> None:
    for prefix in ("Core:", "Flexli:CoreV1:"):
        found = document_from(document({"type": prefix + kind, "order": 1, **GOOD[kind]}))
        assert found.actions[0].kind == kind


def test_every_core_action_has_a_good_and_a_bad_example_here() -> None:
    assert set(GOOD) | {"Call"} == set(CORE_ACTIONS) == set(BAD) | {"Call"}


@pytest.mark.parametrize(
    ("kind", "more", "place"), [(kind, *case) for kind, cases in BAD.items() for case in cases]
)
def test_what_a_core_action_may_not_be(kind: str, more: dict[str, Any], place: str) -> None:
    found = problems(document({"type": f"Core:{kind}", "order": 1, **more}))
    assert any(path.startswith(f"$.actions[0].{place}") for path in found), found


def test_a_call_names_a_step_that_is_offered() -> None:
    found = problems(
        document({"type": "Core:Call", "order": 1, "parameters": {"step": "os.system"}})
    )
    assert found["$.actions[0].parameters.step"].startswith('no step "os.system"')


def test_actions_nest_to_a_limit() -> None:
    inner = log()
    for _ in range(8):
        inner = {
            "type": "Core:Iterator",
            "order": 1,
            "parameters": {"array_path": "::a", "actions": [inner]},
        }
    document_from(document(inner))
    for _ in range(2):
        inner = {
            "type": "Core:Iterator",
            "order": 1,
            "parameters": {"array_path": "::a", "actions": [inner]},
        }
    assert any("nested" in message for message in problems(document(inner)).values())


# -- every operator of every type --------------------------------------------------------------

CELLS = [(kind, operator) for kind, one in OPERANDS.items() for operator in one.operators]
LOW: dict[str, Any] = {
    "Boolean": False, "Date": "2026-01-01", "Number": 1, "String": "a", "Version": "1.2.0",
}  # fmt: skip
HIGH: dict[str, Any] = {
    "Boolean": True, "Date": "2026-01-02", "Number": 2, "String": "b", "Version": "1.10.0",
}  # fmt: skip
HOLDS = {
    "eq": (False, True, False), "ne": (True, False, True),
    "lt": (True, False, False), "lte": (True, True, False),
    "gt": (False, False, True), "gte": (False, True, True),
    "before": (True, False, False), "after": (False, False, True),
    "starts_with": (False, True, False),
}  # fmt: skip
"""What holds for a smaller value, the same, a greater one."""


@pytest.mark.parametrize(("kind", "operator"), CELLS, ids=[f"{k}-{o}" for k, o in CELLS])
def test_operator_of_type(kind: str, operator: str) -> None:
    low, high = LOW[kind], HIGH[kind]

    def holds(seen: Any, value: Any) -> bool:
        found = compile_condition(all_of(when("::v", operator, value, kind)))
        return found.holds({} if seen is ... else {"v": seen})

    less, same, more = HOLDS[operator]
    assert (holds(low, high), holds(low, low), holds(high, low)) == (less, same, more)
    nothing = operator == "ne"
    other = "x" if kind in ("Number", "Boolean") else False
    nothings: list[Any] = [..., None, [], {}, {"v": low}, other]
    for seen in nothings:
        assert holds(seen, low) is nothing, seen
    expected = not any((less, more)) if operator == "ne" else less or same or more
    assert holds([low, None, high], high if less and not same else low) is (
        False if operator == "ne" else expected
    )
    with_expression = compile_condition(all_of(when("::v", operator, "::w", kind)))
    assert with_expression.holds({"v": low, "w": high}) is less
    assert with_expression.holds({"v": low, "w": other}) is nothing


# -- what is odd -------------------------------------------------------------------------------


def test_a_condition_that_cannot_hold_is_told() -> None:
    never = all_of(when("::a", "eq", "x"), when("::a", "ne", "x"))
    assert "cannot hold: ::a" in odd(document(log(condition=never)))["$.actions[0].condition"]
    lists = all_of(when("::a", "eq", "x"), when("::a", "eq", "y"))
    assert "unless it is a list" in odd(document(log(condition=lists)))["$.actions[0].condition"]
    numbers = all_of(when("::a", "gt", 5, "Number"), when("::a", "lt", 3, "Number"))
    assert odd(document(log(condition=numbers)))
    fine = all_of(when("::a", "gt", 3, "Number"), when("::a", "lt", 5, "Number"))
    assert not odd(document(log(condition=fine)))
    either = {"criteria": [{"operator": "or", "attributes": lists["criteria"][0]["attributes"]}]}
    assert not odd(document(log(condition=either)))


def test_an_action_nobody_reaches_is_told() -> None:
    never = all_of(when("::a", "eq", "x"), when("::a", "ne", "x"), on_fail="stop")
    found = odd(document(log(1, condition=never), log(2)))
    assert found["$.actions[1]"] == "is never reached: action 1 always stops"
    branch = {
        "type": "Core:Branch",
        "order": 1,
        "parameters": {
            "branches": [{"order": 1, "actions": [log()]}, {"order": 2, "actions": [log()]}]
        },
    }
    found = odd(document(branch))
    assert "never taken" in found["$.actions[0].parameters.branches[1]"]


def test_a_variable_nobody_uses_is_told() -> None:
    given = log(1, parameters={"text": "{a}"}, variables={"a": 1, "b": 2})
    assert "is not used" in warnings(document(given))["$.actions[0].variables.b"]


def emits(name: str, on: str, kind: str, **more: Any) -> Document:
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": on}}
    action = {"type": "Core:CustomEvent", "order": 1, "parameters": {"event_type": kind}}
    return document_from({**document(action, source=source, **more), "name": name})


def test_circles_of_workflows_are_told_across_documents() -> None:
    a, b, c = emits("a", "1", "2"), emits("b", "2", "3"), emits("c", "3", "1")
    assert cycles([a, b]) == []
    assert cycles([a, b, c]) == [["a", "emits 2", "b", "emits 3", "c", "emits 1", "a"]]
    assert cycles([emits("self", "x", "x")]) == [["self", "emits x", "self"]]
    assert cycles([emits("off", "x", "x", enabled=False)]) == []
    assert "a circle: a -> emits 2 -> b" in cycle_findings([a, b, c])[0].message


# -- hostile -----------------------------------------------------------------------------------

DEEP = '{"a":' * 5000 + "1" + "}" * 5000


def bombs() -> dict[str, str]:
    nested = "[@" * 60 + "]" * 60
    wide = "[" + ",".join(["@"] * 1000) + "]"
    good = json.dumps(document(log(parameters={"text": "::SLOT"})))
    return {
        "a million keys": "{" + ",".join(f'"k{n}":1' for n in range(1_000_000)) + "}",
        "too many values": "{" + ",".join(f'"k{n}":1' for n in range(24_000)) + "}",
        "deep": DEEP,
        "deep lists": "[" * 100_000,
        "deep yaml": "[" * 100_000,
        "aliases": "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
        "deep expression": good.replace("SLOT", "(" * 2000 + "a" + ")" * 2000),
        "long expression": good.replace("SLOT", "a" * 5000),
        "many expressions": json.dumps(
            document(
                *(log(n + 1, parameters={"text": "::" + "a." * 1900 + "a"}) for n in range(50))
            )
        ),
        "unknown keys": json.dumps({**document(), **{f"actoin{n}": 1 for n in range(15_000)}}),
        "format attributes": json.dumps(
            document(log(parameters={"text": "{a.__init__.__globals__}"}, variables={"a": 1}))
        ),
        "format width": json.dumps(
            document(log(parameters={"text": "{a:>1000000000}"}, variables={"a": 1}))
        ),
        "nested lists": good.replace("SLOT", nested * 40),
        "wide lists": good.replace("SLOT", wide * 8),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_hostile_document_is_refused_and_costs_little(name: str) -> None:
    text = bombs()[name]
    label = "w.yaml" if "yaml" in name or name == "aliases" else "w.json"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidDefinition):
            read_document(text, label)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20


def test_not_more_is_told_than_anybody_reads() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        document_from({**document(), **{f"k{n}": 1 for n in range(500)}})
    assert len(caught.value.problems) == 100
    assert "and more" in caught.value.problems[-1].message


# -- mutations ---------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, 0, -1, 1e308, "", "::", "::a[", "::length(a)", "{x}", [], {}, [[]], {"": {}},
    "Core:Wait", "\u0000", "Flexli:CoreV1:", 10**18, "a" * 300, {"criteria": []}, ["x", 1],
]  # fmt: skip


def mutated(data: Any, dice: random.Random) -> Any:
    """The document with one to three places changed."""
    data = copy.deepcopy(data)
    for _ in range(dice.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        stack = [data]
        while stack:
            item = stack.pop()
            pairs = item.items() if isinstance(item, dict) else enumerate(item)
            for key, inner in pairs:
                places.append((item, key))
                if isinstance(inner, dict | list):
                    stack.append(inner)
        if not places:
            break
        holder, key = dice.choice(places)
        match dice.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[key + "x"] = holder.pop(key)
            case 2:
                holder[key] = copy.deepcopy(dice.choice(places)[0])
            case 3 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder))
            case _:
                holder[key] = copy.deepcopy(dice.choice(VALUES))
    return data


WHOLE = document(
    *(
        {"type": f"Core:{kind}", "order": n + 1, **more}
        for n, (kind, more) in enumerate(GOOD.items())
    ),
    source=WELCOME["source"],
    key="::user.id",
    attributes={"plan": "::user.plan"},
    tags=["a"],
)


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_document_is_read_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(10):
        data = mutated(WHOLE if dice.random() < 0.7 else WELCOME, dice)
        text = json.dumps(data)
        if dice.random() < 0.2:
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice('{}[]",:x\\') + text[at + dice.randint(0, 2) :]
        try:
            found = read_document(text, "w.json")
            findings(found)
        except InvalidDefinition as error:
            assert error.problems
            assert all(one.where for one in error.problems)


def test_on_error_of_the_workflow_is_checked_where_it_stands() -> None:
    assert "$.on_error.max_retries" in problems(document(on_error={"retry_on": ["5xx"]}))
    assert problems(document(on_error={"max_retries": 1, "on_fail": "skip"})).keys() == {
        "$.on_error.on_fail"
    }
    assert "$.on_error.backoff.wait" in problems(
        document(on_error={"max_retries": 1, "backoff": {"wait": "soon"}})
    )


def test_an_editor_is_told_what_every_parameter_of_a_core_action_is_for() -> None:
    action = document_schema()["$defs"]["action"]["else"]
    kinds = action["properties"]["type"]
    assert len(kinds["enum"]) == len(kinds["enumDescriptions"])
    used = set()
    for rule in action["allOf"]:
        kind = core_name(rule["if"]["properties"]["type"]["enum"][0])
        for name, schema in rule["then"]["properties"]["parameters"].get("properties", {}).items():
            assert schema["description"]
            used |= {name, f"{kind}.{name}"}
    assert set(PARAMETERS) <= used
