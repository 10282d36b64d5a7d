import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import ExpressionError, InvalidDefinition
from greenroom.definitions.transforms import (
    Effect,
    TransformError,
    apply_effect,
    compile_transform,
    merge,
)
from greenroom.definitions.values import equal


def apply(mapping: Any, state: Any, response: Any = None, **options: Any) -> Any:
    return compile_transform(mapping, **options).apply(state, response)


# -- the examples of the documentation this style comes from -----------------------------------


@pytest.mark.parametrize(
    ("mapping", "state", "response", "expected"),
    [
        ({"foo.bar": "qux"}, {"foo": {"bar": "baz"}}, None, {"foo": {"bar": "qux"}}),
        (
            {"id": "::user.id"},
            {"foo": {"bar": "qux"}},
            {"user": {"id": 1}},
            {"foo": {"bar": "qux"}, "id": 1},
        ),
        ({"::": "::"}, {"foo": "bar"}, {"baz": "qux"}, {"baz": "qux"}),
        ({"baz": "::"}, {}, {"foo": "bar"}, {"baz": {"foo": "bar"}}),
    ],
)
def test_the_documented_examples(mapping: Any, state: Any, response: Any, expected: Any) -> None:
    assert apply(mapping, state, response) == expected


# -- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "state", "expected"),
    [
        ({"a": {"c": 2}}, {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": [3]}, {"a": [1, 2]}, {"a": [3]}),
        ({"a": {"b": [3]}}, {"a": {"b": [1, 2]}}, {"a": {"b": [3]}}),
        ({"a": None}, {"a": {"b": 1}}, {"a": None}),
        ({"a.b": None}, {"a": {"b": 1, "c": 2}}, {"a": {"b": None, "c": 2}}),
        ({"a": {}}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": {"b": 1}}),
        ({"a.b.c": 1}, {}, {"a": {"b": {"c": 1}}}),
        ({"a.b": 1}, {"a": 5}, {"a": {"b": 1}}),
        ({"a.b": 1}, {"a": None}, {"a": {"b": 1}}),
        ({"'a.b'": True}, {}, {"a.b": True}),
        ({"a": "::missing"}, {"a": 1}, {"a": None}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, "text", {"a": 1}),
    ],
)
def test_objects_merge_and_everything_else_replaces(
    mapping: Any, state: Any, expected: Any
) -> None:
    assert apply(mapping, state, {}) == expected


def test_all_right_sides_are_found_before_anything_is_written() -> None:
    source = {"a": 1, "b": 2}
    assert apply({"a": "::b", "b": "::a"}, source, source) == {"a": 2, "b": 1}


def test_a_failing_right_side_changes_nothing() -> None:
    state = {"a": 1}
    with pytest.raises(ExpressionError) as caught:
        apply({"a": 2, "b": "::length(x)"}, state, {})
    assert state == {"a": 1}
    assert caught.value.details["path"] == "$.b"


@pytest.mark.parametrize(
    ("mapping", "state", "place"),
    [
        ({"items.first": 1}, {"items": [1]}, "items"),
        ({"a.'0'.b": 1}, {"a": [{}]}, "a"),
        ({"a": 1}, [1], "the state"),
    ],
)
def test_a_list_is_not_written_through(mapping: Any, state: Any, place: str) -> None:
    before = copy.deepcopy(state)
    with pytest.raises(TransformError, match=f"{place} is a list"):
        apply(mapping, state)
    assert state == before


def test_removing_is_asked_for_by_name() -> None:
    transform = compile_transform({"a": 1}, remove=["b.c", "x.y"])
    state = {"b": {"c": 1, "d": 2}}
    assert transform.apply(state, None) == {"a": 1, "b": {"d": 2}}
    assert transform.effect(state, None) == Effect(set={"a": 1}, delete=("b.c",))


def test_variables_fill_texts() -> None:
    transform = compile_transform({"greeting": "Hello {name}"}, names=["name"])
    assert transform.apply({}, {}, {"name": "::x"}) == {"greeting": "Hello ::x"}


def test_what_a_response_holds_is_data() -> None:
    response = {"x": "::secret", "{y}": "{y}"}
    assert apply({"a": "::"}, {"secret": 1}, response)["a"] == response


# -- effects -----------------------------------------------------------------------------------


def test_the_effect_names_the_leaves() -> None:
    transform = compile_transform({"a": "::", "n.'x.y'": 1})
    assert transform.effect({"a": {"b": {"c": 1}, "k": 1}}, {"b": {"d": 2}, "e": {}}) == Effect(
        set={"a.b.d": 2, "a.e": {}, 'n."x.y"': 1}
    )
    assert compile_transform({"::": "::"}).effect({"a": 1}, [1]) == Effect(replace=True, value=[1])
    assert not compile_transform({}).effect({"a": 1}, {})


def test_keys_no_path_can_name_are_written_with_their_object() -> None:
    transform = compile_transform({"a": "::"})
    state, response = {"a": {"b": 1}}, {"'\"": 2, "0": 3}
    effect = transform.effect(state, response)
    assert effect.set == {"a": {"b": 1, "'\"": 2, "0": 3}}
    assert apply_effect(state, effect) == {"a": {"b": 1, "'\"": 2, "0": 3}}


# -- validation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "places"),
    [
        ([], ["$.t"]),
        ({"": 1}, ['$.t[""]']),
        ({"a..b": 1}, ['$.t["a..b"]']),
        ({"items.0": 1}, ['$.t["items.0"]']),
        ({"__proto__": 1}, ["$.t.__proto__"]),
        ({"a.__class__.b": 1}, ['$.t["a.__class__.b"]']),
        ({".".join("a" * 33): 1}, [f'$.t["{".".join("a" * 33)}"]']),
        ({"a": "::b-c", "b": {"c": "::("}}, ["$.t.a", "$.t.b.c"]),
        ({"a": 1, "a.b": 2}, ["$.t"]),
        ({"a.b": 1, "a.c": 2, "a": 3}, ["$.t", "$.t"]),
        ({"a": 1, "'a'": 2}, ["$.t"]),
        ({"::": "x"}, ['$.t["::"]']),
    ],
)
def test_every_problem_has_a_place(mapping: Any, places: list[str]) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        compile_transform(mapping, path="$.t")
    assert [problem.path for problem in caught.value.problems] == places


def test_a_removed_path_must_not_be_written() -> None:
    with pytest.raises(InvalidDefinition, match="lies inside"):
        compile_transform({"a.b": 1}, remove=["a"])
    with pytest.raises(InvalidDefinition, match=r"\$\.remove\[0\]"):
        compile_transform({}, remove=["a..b"])


def test_neighbours_are_no_prefixes() -> None:
    assert apply({"a": 1, "a b": 2, "ab.c": 3, "ab.d": 4, "a-b": 5}, {}) == {
        "a": 1, "a b": 2, "ab": {"c": 3, "d": 4}, "a-b": 5,
    }  # fmt: skip


def test_updates_beside_the_whole_are_ignored_with_a_warning() -> None:
    transform = compile_transform({"::": "::", "a": 1})
    assert transform.apply({}, {"b": 2}) == {"b": 2}
    assert "ignored" in transform.warnings[0].message


# -- laws --------------------------------------------------------------------------------------

keys = st.sampled_from(["a", "b", "c", "d.e", "0", "'\""])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
states = st.dictionaries(keys, json_values, max_size=4)
mappings = st.dictionaries(
    st.sampled_from(["a", "b.c", "b.d.a", "c"]),
    st.sampled_from(["::", "::a", "::b.c", "::keys(@)", 1, None])
    | json_values.filter(lambda value: "::" not in json.dumps(value)),
    max_size=4,
)


@given(mappings, states, states)
def test_effects_tell_the_whole_change(mapping: Any, state: Any, response: Any) -> None:
    transform = compile_transform(mapping)
    before = copy.deepcopy((state, response, mapping))
    try:
        effect = transform.effect(state, response)
        after = transform.apply(state, response)
    except TransformError:
        assert (state, response, mapping) == before
        return
    assert apply_effect(state, effect) == after
    assert (state, response, mapping) == before
    again = transform.apply(after, response)
    assert equal(again, after)


@given(mappings, states, states)
def test_nothing_is_shared(mapping: Any, state: Any, response: Any) -> None:
    transform = compile_transform(mapping)
    try:
        after = transform.apply(state, response)
    except TransformError:
        return
    before = copy.deepcopy((state, response, mapping))
    spoil(after)
    assert (state, response, mapping) == before
    assert transform.source == mapping


def spoil(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            spoil(item)
        value["spoilt"] = 1
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value.append("spoilt")


@given(mappings, states, states)
def test_the_order_of_the_keys_does_not_matter(mapping: Any, state: Any, response: Any) -> None:
    turned = dict(reversed(mapping.items()))
    try:
        assert equal(apply(mapping, state, response), apply(turned, state, response))
    except TransformError:
        with pytest.raises(TransformError):
            apply(turned, state, response)


@given(json_values, json_values)
def test_merging_is_idempotent(a: Any, b: Any) -> None:
    assert equal(merge(a, a), a)
    assert equal(merge(merge(a, b), b), merge(a, b))
