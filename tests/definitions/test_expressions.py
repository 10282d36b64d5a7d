import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import ExpressionError, InvalidDefinition, InvalidInput
from greenroom.definitions.evaluation import Meter
from greenroom.definitions.expressions import BUDGET_CONDITION, compile_expression, compile_value
from greenroom.definitions.values import equal

COMPLIANCE = json.loads(Path(__file__).with_name("jmespath_compliance.json").read_bytes())
EXCEPTIONS: set[str] = set()
"""Expressions of the compliance suite that behave otherwise here: none."""


def search(text: str, data: Any = None, **options: Any) -> Any:
    return compile_expression(text).search(data, **options)


# -- the language ------------------------------------------------------------------------------


def test_all_892_compliance_cases_behave() -> None:
    count = 0
    for group in COMPLIANCE["groups"]:
        for text, expected, *error in group["cases"]:
            count += 1
            if text in EXCEPTIONS:
                continue
            if error:
                with pytest.raises(ExpressionError):
                    search(text, group["given"])
            else:
                found = search(text, group["given"])
                assert equal(found, expected), (group["file"], text, found)
    assert count == 892


def test_a_search_leaves_the_data_as_it_was() -> None:
    for group in COMPLIANCE["groups"]:
        before = json.dumps(group["given"])
        for text, _, *error in group["cases"]:
            if not error:
                search(text, group["given"])
        assert json.dumps(group["given"]) == before


@pytest.mark.parametrize("text", ["", " ", "@"])
def test_nothing_is_the_whole_source(text: str) -> None:
    assert search(text, {"a": 1}) == {"a": 1}


def test_equality_is_json_also_inside() -> None:
    assert search("a == `[1]`", {"a": [1.0]}) is True
    assert search("a == `[1]`", {"a": [True]}) is False
    assert search("contains(a, `1`)", {"a": [True]}) is False
    assert search("contains(a, `1`)", {"a": [1.0]}) is True


def test_ordering_what_cannot_be_ordered_is_null() -> None:
    assert search("[?age > `5`].n", [{"age": "x", "n": 1}, {"age": 6, "n": 2}]) == [2]


def test_a_constant_object_is_fresh_each_time() -> None:
    expression = compile_expression('`{"a": []}`')
    expression.search(None)["a"].append(1)
    assert expression.search(None) == {"a": []}


def test_the_old_unquoted_constants_still_work() -> None:
    assert search("a == `foo`", {"a": "foo"}) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to_json(@)", '{"a":"é","t":"2024-01-01T12:00:00Z"}'),
        ("to_json(a)", '"é"'),
        ("to_string(a)", "é"),
        ("format_date(t, '%d.%m.%Y')", "01.01.2024"),
        ("format_date(`1704110400`, '%H:%M')", "12:00"),
        ("add_delta(t, '1h30m')", "2024-01-01T13:30:00Z"),
        ("add_delta(t, '-2 days')", "2023-12-30T12:00:00Z"),
        ("add_delta(t, `-60`)", "2024-01-01T11:59:00Z"),
        ("flexli_time_delta(t, '%Y-%m-%dT%H:%M:%SZ', `-15`)", "2024-01-01T11:45:00Z"),
        ("flexli_to_json_string(`[1]`)", "[1]"),
        (
            "diff_arrays(`[1, 4, 5]`, `[1, 2, 3]`)",
            {"added": [4, 5], "removed": [2, 3]},
        ),
        ("diff_arrays(`[1, true, {}]`, `[1.0, [], {}]`)", {"added": [True], "removed": [[]]}),
        ("to_number('nan')", None),
        ("to_number('1_000')", None),
        ("to_number('1e999')", None),
        ("to_number(' 12 ')", 12),
        ("to_number('123456789012345678901234567890')", 1.2345678901234568e29),
    ],
)
def test_functions_beyond_the_standard(text: str, expected: Any) -> None:
    assert search(text, {"a": "é", "t": "2024-01-01T12:00:00Z"}) == expected


@pytest.mark.parametrize(
    "text",
    [
        "length(missing)", "sum(objects)", "abs('x')", "sum(big)", "avg(big)", "ceil(huge)",
        "contains('abc', `1`)", "merge(@, missing)", "sort_by(objects, &a)", "min_by(mixed, &@)",
        "format_date('soon', '%Y')", "format_date('2024-01-01', '%s')", "add_delta(`1e300`, `1`)",
        "add_delta('2024-01-01', 'soon')", "add_delta('9999-12-31', '2 days')", "sort(mixed)",
        "join(',', mixed)", "sum(ints)", "format_date('2024-01-01', '%')",
    ],
)  # fmt: skip
def test_wrong_types_at_run_time_are_our_error(text: str) -> None:
    data = {
        "objects": [{}], "big": [1e308, 1e308], "huge": 1e300, "mixed": [1, "a"],
        "ints": [2**62, 2**62],
    }  # fmt: skip
    with pytest.raises(ExpressionError) as caught:
        search(text, data)
    assert caught.value.details["reason"] == "type"
    assert caught.value.details["expression"] == text


def test_a_type_error_says_what_was_taken_and_got() -> None:
    with pytest.raises(ExpressionError) as caught:
        search("length(items)", {})
    assert str(caught.value) == (
        "::length(items): length() takes a string or array or object, got null"
    )


# -- messages ----------------------------------------------------------------------------------


def test_a_hyphen_gets_the_hint() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("user.first-name")
    assert str(caught.value) == (
        "not a JMESPath expression\n"
        "  ::user.first-name\n"
        '              ^ "-" needs quotes:  ::user."first-name"'
    )
    assert caught.value.details["position"] == 10


@pytest.mark.parametrize(
    ("text", "position", "why"),
    [
        ("a.b-2.c", 3, '"-" needs quotes:  ::a."b-2".c'),
        ("a.", 2, "something is missing here"),
        ("a b", 2, '"b" does not belong here'),
        ("a ^ b", 2, "Unknown token ^"),
        ("lenght(a)", 0, "there is no function lenght(); length()?"),
        ("length(a, b)", 0, "length() takes 1 argument, not 2"),
        ("not_null()", 0, "not_null() takes at least 1 argument, not 0"),
        ("sort_by(a, b)", 0, "sort_by() takes an expression with & before it there"),
        ("to_array(&a)", 0, "to_array() takes a value, not a & there"),
        ("[&a]", 0, "& belongs before an argument of map, sort_by, min_by or max_by"),
        ("&a", 0, "& belongs before an argument of map, sort_by, min_by or max_by"),
        ("a[::0]", 0, "the step of a slice must not be 0"),
        ("a == `NaN`", 0, "JSON has no such number"),
        ("a == `1e999`", 0, "JSON has no such number"),
        ("a == `99999999999999999999`", 0, "beyond 64 bits"),
        ('"\\ud800"', 0, "lone surrogate"),
    ],
)
def test_what_is_wrong_is_shown_at_its_place(text: str, position: int, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    assert why in str(caught.value)
    assert caught.value.details["position"] == position
    pointer = str(caught.value).splitlines()[2]
    assert pointer.index("^") == 2 + len("::") + position


def test_the_pointer_fits_a_long_line() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("a." * 100 + "^" + ".a" * 100)
    _, line, pointer = str(caught.value).splitlines()
    assert line[pointer.index("^")] == "^"
    assert len(line) < 130


@given(st.text(alphabet="ab.[]*?&|!=<>@{}():,'`\"0-1 \n", max_size=24))
def test_any_text_compiles_or_gives_our_error(text: str) -> None:
    try:
        compile_expression(text).search({"a": [{"b": 1}], "b": {"a": "x"}})
    except ExpressionError as error:
        assert str(error)


# -- limits ------------------------------------------------------------------------------------

DOUBLED = " | ".join(["[@,@]"] * 24)
TWO_HUNDRED = {"a": [{"b": [{"c": list(range(200))}] * 200}] * 200}

ATTACKS = [
    (f"to_string({DOUBLED.replace(' ', '')})", {}),
    (DOUBLED + " | []" * 24, {}),
    (" | ".join(["[@,@]"] * 40), {}),
    (".".join(["[@,@]"] * 600), {}),
    (" | ".join(["{a: @, b: @}"] * 40), {}),
    ("a[].b[].c[] | length(@)", TWO_HUNDRED),
    ("a[*].b[*].c[*].[@, @]", TWO_HUNDRED),
    ("|".join(["sort(@)"] * 20), list(range(1_000_000))),
    (f"({DOUBLED}) == ({DOUBLED})", {}),
    (f"contains([{DOUBLED}], {DOUBLED})", {}),
    ("map(&sort(@), @)", [list(range(10_000))] * 1000),
    ("|".join(["join('', [@,@])"] * 60), "x" * 1000),
]


@pytest.mark.parametrize(("text", "data"), ATTACKS)
def test_attacks_are_cut_short(text: str, data: Any) -> None:
    expression = compile_expression(text)
    tracemalloc.start()
    with pytest.raises(ExpressionError) as caught:
        expression.search(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.details["reason"] == "budget"
    assert peak < 32 << 20


def test_nesting_and_length_have_limits() -> None:
    for text in ("(" * 900 + "a" + ")" * 900, "!" * 70 + "a", "[" * 65 + "a" + "]" * 65):
        with pytest.raises(ExpressionError, match="nested more than 64"):
            compile_expression(text)
    with pytest.raises(ExpressionError, match="4,097 characters"):
        compile_expression("a" * 4097)
    assert search(".".join("a" * 1000)) is None


def test_a_plain_path_works_within_any_budget() -> None:
    assert search("a.b", {"a": {"b": 1}}, budget=0) == 1


def test_a_meter_is_shared_between_searches() -> None:
    meter = Meter(30)
    data = list(range(10))
    assert search("[?@ > `7`]", data, budget=meter) == [8, 9]
    with pytest.raises(ExpressionError, match="budget of 30"):
        search("[?@ > `7`]", data, budget=meter)


def test_ordinary_expressions_stay_far_below_the_budget_of_a_condition() -> None:
    data = {"items": [{"price": n, "tags": ["a", "b"]} for n in range(100)]}
    for text in ("items[?price > `50`].tags[]", "sum(items[].price)", "length(items)"):
        search(text, data, budget=BUDGET_CONDITION)


@pytest.mark.parametrize("text", ["a", "a.b", "a.b.c.d", "a.l[1].x"])
def test_plain_paths_find_what_jmespath_finds(text: str) -> None:
    data = {"a": {"b": {"c": {"d": 1}}, "l": [0, {"x": 1}]}}
    assert search(text, data) == jmespath.search(text, data)


# -- equalities --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.order_id == 'x'", {"data.order_id": "x"}),
        ("'x' == data.order_id", {"data.order_id": "x"}),
        ("a == `1` && b.c == `true` && d > `2`", {"a": 1, "b.c": True}),
        ("(a == `1` && b == '2') && c", {"a": 1, "b": "2"}),
        ("a == `1` || b == `2`", {}),
        ("!(a == `1`)", {}),
        ("a == `null`", {}),
        ("a == `[1]`", {}),
        ("a[0] == `1`", {}),
        ("a[].b == `1`", {}),
        ("length(a) == `1`", {}),
        ("a == b", {}),
        ("a == `1` && a == `2`", {"a": 1}),
        ('a."b.c" == `1`', {'a."b.c"': 1}),
        ("@ == `1`", {}),
        ("a", {}),
    ],
)
def test_equalities_are_taken_from_a_top_level_conjunction(text: str, expected: Any) -> None:
    found = compile_expression(text).equalities()
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]


# -- values ------------------------------------------------------------------------------------


def test_expressions_are_found_at_any_depth_and_keys_are_not() -> None:
    value = compile_value({"::a": ["::a", {"x": "::b.c", "n": 1, "s": "a"}], "all": "::"})
    source = {"a": 1, "b": {"c": [2]}}
    assert value.evaluate(source) == {
        "::a": [1, {"x": [2], "n": 1, "s": "a"}],
        "all": source,
    }
    assert not value.constant


def test_what_an_expression_gives_is_data() -> None:
    value = compile_value({"a": "::x", "b": "Hello {x}"}, names=["x"])
    assert value.evaluate({"x": "::secret"}, variables={"x": "::secret {x}"}) == {
        "a": "::secret",
        "b": "Hello ::secret {x}",
    }
    assert compile_value("::'::x'").evaluate({"x": 1}) == "::x"


def test_a_result_shares_nothing_with_the_source_or_the_definition() -> None:
    definition: dict[str, Any] = {"a": "::a", "k": [1]}
    source: dict[str, Any] = {"a": {"b": []}}
    value = compile_value(definition)
    definition["k"].append(2)
    first = value.evaluate(source)
    first["a"]["b"].append(1)
    first["k"].append(3)
    assert source == {"a": {"b": []}}
    assert value.evaluate(source) == {"a": {"b": []}, "k": [1]}


def test_a_constant_value_is_known_as_one() -> None:
    value = compile_value({"a": [1, "b {x}"]})
    assert value.constant
    assert value.evaluate(None) == {"a": [1, "b {x}"]}


def test_all_problems_of_a_value_are_found_with_their_places() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        compile_value({"a": ["::b-c"], "d e": "::f(", "g": "{h"}, names=["h"], path="$.body")
    assert [problem.path for problem in caught.value.problems] == [
        "$.body.a[0]",
        '$.body["d e"]',
        "$.body.g",
    ]


def test_values_that_are_not_json_are_refused() -> None:
    with pytest.raises(InvalidInput):
        compile_value({"a": math.nan})


def test_unknown_fields_are_a_warning() -> None:
    value = compile_value({"a": "{name} {nobody}"}, names=["name"])
    assert [str(warning) for warning in value.warnings] == [
        "$.a   left as it is: no such variable: nobody"
    ]
    assert value.evaluate({}, variables={"name": "x"}) == {"a": "{name} {nobody}"}


def test_a_failing_expression_in_a_value_names_its_place() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_value({"a": ["::length(b)"]}).evaluate({})
    assert caught.value.details["path"] == "$.a[0]"
    assert str(caught.value).startswith("$.a[0]  ::length(b): length() takes")


def test_the_budget_of_a_value_is_for_all_its_expressions() -> None:
    value = compile_value(["::"] * 200)
    state = {"items": [{"n": n} for n in range(5000)]}
    assert compile_value("::").evaluate(state) == state
    with pytest.raises(ExpressionError) as caught:
        value.evaluate(state)
    assert caught.value.details["reason"] == "budget"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(json_values, st.sampled_from(["a", "a.b", "*", "[]", "[*].a", "[?a]", "keys(@)", "[-1]"]))
def test_agrees_with_jmespath_on_any_data(data: Any, text: str) -> None:
    try:
        theirs = jmespath.search(text, data)
    except jmespath.exceptions.JMESPathError:
        with pytest.raises(ExpressionError):
            search(text, data)
    else:
        assert search(text, data) == theirs
