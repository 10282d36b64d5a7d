import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import (
    ExpressionError,
    InvalidDefinition,
    InvalidInput,
    TooLarge,
)
from greenroom.definitions.matching import (
    KEYS_MAX,
    compile_where,
    event_keys,
    key_hash,
    keys_overflow,
)


def event(data: Any = None, **attributes: Any) -> dict[str, Any]:
    return {"type": "order.paid", "id": "1", "source": "", "data": data, **attributes}


def condition(*attributes: tuple[str, str, str, Any]) -> dict[str, Any]:
    names = ("type", "attribute", "operator", "value")
    return {
        "criteria": [{"attributes": [dict(zip(names, one, strict=True)) for one in attributes]}]
    }


# -- the three ways ----------------------------------------------------------------------------


def test_none_matches_everything() -> None:
    where = compile_where(None)
    assert where.matches(event())
    assert where.explain(event()) == []
    assert where.equalities == ()


@pytest.mark.parametrize(
    ("where", "data", "expected"),
    [
        ("data.total > `0`", {"total": 1}, True),
        ("::data.total > `0`", {"total": 1}, True),
        ("data.total > `0`", {"total": 0}, False),
        ("data.total", {"total": 1}, False),  # not `true`
        ("data.total", {"total": True}, True),
        ("type == 'order.paid'", None, True),
        ("length(data.items) > `0`", {}, False),  # a type error is no match
    ],
)
def test_text_matches_only_if_it_gives_true(where: str, data: Any, expected: bool) -> None:
    assert compile_where(where).matches(event(data)) is expected


def test_a_condition_reads_the_whole_event() -> None:
    where = compile_where(condition(("String", "::data.plan", "eq", "pro")))
    assert where.matches(event({"plan": "pro"}))
    assert not where.matches(event({"plan": "free"}))


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        ("x", "x", True), ("x", "y", False), (1, 1.0, True), (1, True, False), (1, "1", False),
        (True, True, True), ("x", ["y", "x"], True), ("x", [["x"]], False), (["x"], ["x"], True),
        ({"a": 1}, {"a": 1.0}, True), ({"a": 1}, [{"a": 1}], True), (None, None, True),
        ("::x", "::x", True),
    ],
)  # fmt: skip
def test_a_map_wants_all_paths_equal_with_json_types(
    wanted: Any, seen: Any, expected: bool
) -> None:
    where = compile_where({"data.k": wanted, "type": "order.paid"})
    assert where.matches(event({"k": seen})) is expected
    assert not where.matches(event({"k": seen}, type="other"))


def test_what_is_missing_equals_nothing_not_even_null() -> None:
    assert not compile_where({"data.k": None}).matches(event({}))
    assert not compile_where({"data.k.l": None}).matches(event({"k": [1]}))


def test_paths_of_a_map_may_quote_dots() -> None:
    assert compile_where({"data.'a.b'": 1}).matches(event({"a.b": 1}))


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("data.", ExpressionError),
        ({"criteria": []}, InvalidDefinition),
        ({"a..b": 1, "": 2}, InvalidDefinition),
        ([], InvalidDefinition),
        (1, InvalidDefinition),
        ({"data.k": float("nan")}, InvalidInput),
        ({"data.k": object()}, InvalidInput),
        ({"data.k": "x" * 70_000}, TooLarge),
    ],
)
def test_a_wrong_where_is_refused_when_it_is_compiled(where: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        compile_where(where)
    if where == {"a..b": 1, "": 2}:
        assert len(caught.value.problems) == 2


# -- explaining --------------------------------------------------------------------------------


def test_text_is_explained_part_by_part() -> None:
    where = compile_where("data.total > `5` && data.items[0].sku == 'A'")
    findings = where.explain(event({"total": 3, "items": [{"sku": "A"}]}))
    assert [str(finding) for finding in findings] == [
        "where[0]  ::data.total = 3  >  5",
        'where[1]  ::data.items[0].sku = "A"  ==  "A"',
    ]
    assert [finding.ok for finding in findings] == [False, True]


def test_text_that_cannot_be_taken_apart_is_explained_as_a_whole() -> None:
    where = compile_where("data.a == `1` && length(data.items) > `1`")
    found = where.explain(event({"a": 1}))
    assert [finding.ok for finding in found] == [True, False]
    assert found[1].attribute == "::data.a == `1` && length(data.items) > `1`"
    assert "length() takes" in (found[1].error or "")


def test_a_map_is_explained_path_by_path() -> None:
    found = compile_where({"data.a": 1, "data.b": 2}).explain(event({"a": 1}))
    assert [str(finding) for finding in found] == [
        "where  ::data.a = 1  ==  1",
        "where  ::data.b nothing is there  ==  2",
    ]


# -- storing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [None, "a == `1`", {"data.k": [1, {"a": 1.5}]}, condition(("Number", "::a", "gt", 1))],
)
def test_the_source_compiles_to_the_same_again(where: Any) -> None:
    compiled = compile_where(where)
    assert compiled.source == where
    assert compile_where(compiled.source) is compiled


def test_changing_what_was_given_changes_nothing() -> None:
    given: dict[str, Any] = {"data.k": ["x"]}
    where = compile_where(given)
    given["data.k"].append("y")
    assert where.source == {"data.k": ["x"]}


# -- keys --------------------------------------------------------------------------------------


def test_equalities_are_sorted_scalars() -> None:
    assert compile_where(
        {"data.b": 1, "data.a": "x", "data.c": [1], "data.d": None}
    ).equalities == (
        ("data.a", "x"),
        ("data.b", 1),
    )
    assert compile_where("data.b == `true` && a == 'x'").equalities == (
        ("a", "x"),
        ("data.b", True),
    )
    where = compile_where(condition(("String", "::data.k", "eq", "x")))
    assert (where.paths, where.keys[0]) == (("data.k",), ("x",))


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ({"a": 1, "b": "x"}, [(1, "x")]),
        ({"a": [1, 2, 1, None, []], "b": "x"}, [(1, "x"), (2, "x")]),
        ({"a": [1, True], "b": ["x", "y"]}, [(1, "x"), (1, "y"), (True, "x"), (True, "y")]),
        ({"a": 1}, []),
        ({"a": 1, "b": None}, []),
        ({"a": 1, "b": {}}, []),
        ({"a": [], "b": 1}, []),
        (None, []),
    ],
)
def test_an_event_has_a_key_for_each_element(data: Any, keys: list[tuple[Any, ...]]) -> None:
    found = event_keys(event(data), ("data.a", "data.b"))
    assert [[*map(repr, key)] for key in found] == [[*map(repr, key)] for key in keys]


def test_a_shape_without_paths_has_the_empty_key() -> None:
    assert event_keys(event(), ()) == [()]


def test_keys_have_a_limit_that_can_be_asked_for() -> None:
    few, many = event({"a": list(range(32))}), event({"a": list(range(33)), "b": 1})
    assert len(event_keys(few, ("data.a",))) == 32
    assert not keys_overflow(few, ("data.a",))
    assert len(event_keys(many, ("data.a",))) == KEYS_MAX
    assert keys_overflow(many, ("data.a",))
    assert not keys_overflow(many, ("data.b",))


def test_hashes_are_typed_and_numbers_are_one_type() -> None:
    distinct: list[tuple[Any, ...]] = [
        (1,), (True,), ("1",), ("true",), (0,), (False,), ("",), (1, 1), ("ab", "c"), ("a", "bc"),
        (1.5,), ("1.5",), (2**53,), (2**53 + 1,), (),
    ]  # fmt: skip
    hashes = [key_hash(key) for key in distinct]
    assert len(set(hashes)) == len(distinct)
    assert all(-(2**63) <= value < 2**63 for value in hashes)
    assert key_hash((1,)) == key_hash((1.0,))
    assert key_hash((0,)) == key_hash((-0.0,))
    assert key_hash((2**53,)) == key_hash((float(2**53),))


def test_hashes_are_the_same_in_another_process() -> None:
    code = (
        "from greenroom.definitions.matching import key_hash; print(key_hash(('x', 1, True, 2.5)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(other) == key_hash(("x", 1, True, 2.5))
    assert key_hash(("x", 1, True, 2.5)) == -6319341300951889069


scalars = st.sampled_from(["a", "b", 1, 1.0, 2, True, False, None, "1"])
values = scalars | st.lists(scalars, max_size=4) | st.dictionaries(st.just("z"), scalars)
datas = st.dictionaries(st.sampled_from(["x", "y"]), values)


@st.composite
def wheres(draw: st.DrawFn) -> Any:
    wanted = draw(st.dictionaries(st.sampled_from(["data.x", "data.y"]), scalars, min_size=1))
    kind = draw(st.sampled_from(["map", "text", "condition"]))
    if kind == "map":
        return wanted
    if kind == "text":
        parts = [
            f"{path} == " + (f"'{value}'" if isinstance(value, str) else f"`{json.dumps(value)}`")
            for path, value in wanted.items()
        ]
        return " && ".join(parts)
    types = {str: "String", bool: "Boolean", int: "Number", float: "Number"}
    chosen = [
        (types[type(value)], f"::{path}", "eq", value)
        for path, value in wanted.items()
        if value is not None
    ]
    return condition(*(chosen or [("String", "::type", "eq", "order.paid")]))


@given(wheres(), datas)
def test_an_event_that_matches_is_found_by_its_keys(where: Any, data: Any) -> None:
    compiled = compile_where(where)
    seen = event(data)
    findings = compiled.explain(seen)
    assert all(finding.ok for finding in findings) is compiled.matches(seen)
    if compiled.matches(seen):
        keys = {key_hash(key) for key in event_keys(seen, compiled.paths)}
        assert keys & set(compiled.hashes)
