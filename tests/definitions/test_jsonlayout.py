"""A JSON text with other values in it reads in a diff like what a careful hand would have changed."""

from __future__ import annotations

import json
from collections.abc import Hashable
from difflib import unified_diff
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.definitions.jsonlayout import rewritten

HAND = """\
{ "name" : "onboarding",
  "stages": [
    {"path": "a", "kind": "form",   "title": "Caf\\u00e9", "x": 40.0, "big": 12345678901234567890},
    {
      "path": "b", "kind": "script",
      "reminders": ["1 day",
                    "3 days"], "x": 1
    }
  ],
  "transitions": [ {"from": "a", "to": "b"} ],

  "notes": {"10": 1, "9": [ ]}
}

"""


def path(one: Any) -> Hashable:
    return one["path"] if isinstance(one, dict) and "path" in one else json.dumps(one)


def diff(change: Any, text: str = HAND) -> list[str]:
    """The lines that differ once `change` has done its work on the values."""
    value = json.loads(text)
    change(value)
    after = rewritten(text, value, path)
    assert json.loads(after) == value
    lines = unified_diff(text.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_what_has_its_value_keeps_its_text() -> None:
    assert diff(lambda value: None) == []
    javascript = json.loads(HAND, parse_int=float)
    assert rewritten(HAND, javascript, path) == HAND


def test_a_value_changes_where_it_stands() -> None:
    def change(value: Any) -> None:
        value["stages"][1]["x"] = 20
        value["stages"][1]["reminders"][1] = "2 days"

    assert diff(change) == [
        '-                    "3 days"], "x": 1',
        '+                    "2 days"], "x": 20',
    ]


def test_a_new_item_is_written_like_its_neighbours() -> None:
    def change(value: Any) -> None:
        value["stages"].insert(1, {"path": "c", "kind": "job"})
        value["transitions"].append({"from": "b", "to": "c"})

    assert diff(change) == [
        '+    {"path": "c", "kind": "job"},',
        '-  "transitions": [ {"from": "a", "to": "b"} ],',
        '+  "transitions": [ {"from": "a", "to": "b"}, {"from": "b", "to": "c"} ],',
    ]


def test_what_is_removed_takes_nothing_with_it() -> None:
    def change(value: Any) -> None:
        del value["stages"][0]
        del value["notes"]["10"]
        del value["name"]

    assert diff(change) == [
        '-{ "name" : "onboarding",',
        '-  "stages": [',
        f"-    {HAND.splitlines()[2].strip()}",
        '+{ "stages": [',
        '-  "notes": {"10": 1, "9": [ ]}',
        '+  "notes": {"9": [ ]}',
    ]


def test_a_stage_that_is_called_otherwise_keeps_its_layout() -> None:
    def change(value: Any) -> None:
        value["stages"][1]["path"] = "bb"

    assert diff(change) == [
        '-      "path": "b", "kind": "script",',
        '+      "path": "bb", "kind": "script",',
    ]


def test_a_new_key_stands_behind_the_one_it_came_behind() -> None:
    def change(value: Any) -> None:
        value["stages"][0] = {"path": "a", "kind": "form", "assignee": "ö", **value["stages"][0]}

    assert diff(change)[1].startswith(
        '+    {"path": "a", "kind": "form", "assignee": "ö",   "title"'
    )


def test_an_empty_list_is_filled_line_by_line_with_the_indentation_of_the_file() -> None:
    text = '{\r\n\t"stages": []\r\n}\r\n'
    value = {"stages": [{"path": "a", "kind": "form"}, {"path": "b", "long": "x" * 120}]}
    assert rewritten(text, value) == (
        '{\r\n\t"stages": [\r\n\t\t{"path": "a", "kind": "form"},\r\n\t\t{\r\n\t\t\t"path": "b",\r\n'
        f'\t\t\t"long": "{"x" * 120}"\r\n\t\t}}\r\n\t]\r\n}}\r\n'
    )
    assert rewritten('{"a": []}', {"a": [1, {"b": 2}]}) == '{"a": [1, {"b": 2}]}'


def test_a_file_that_a_program_wrote_goes_on_as_it_wrote_it() -> None:
    value: Any = {"stages": [{"path": "a", "teams": ["x"]}]}
    value_after: Any = {"stages": [*value["stages"], {"path": "b", "teams": ["y"]}]}
    for indent in (2, 4, "\t"):
        text = json.dumps(value, indent=indent)
        assert rewritten(text, value_after) == json.dumps(value_after, indent=indent)


@pytest.mark.parametrize(
    "text", ["", "{", "[1 2]", '{"a" 1}', "{a: 1}", "[1,]", '{"a": 1,}', "1 2", '{"a": 1 "b": 2}']
)
def test_what_is_no_json_is_not_guessed_at(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        rewritten(text, {})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    values, values, st.sampled_from([None, 0, 2, "\t"]), st.sampled_from([(", ", ": "), (",", ":")])
)
def test_whatever_it_was_it_is_now_the_value(
    before: Any, after: Any, indent: Any, how: Any
) -> None:
    text = json.dumps(before, indent=indent, separators=how)
    assert json.loads(rewritten(text, after)) == after
    assert rewritten(text, before) == text
