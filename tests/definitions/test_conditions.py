import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.conditions import Condition, compile_condition
from greenroom.definitions.errors import InvalidDefinition

MISSING = object()


def attribute(kind: str, operator: str, value: Any, look: str = "::v") -> dict[str, Any]:
    return {"type": kind, "attribute": look, "operator": operator, "value": value}


def group(*attributes: dict[str, Any], operator: str = "and") -> dict[str, Any]:
    return {"operator": operator, "attributes": list(attributes)}


def one(kind: str, operator: str, value: Any, look: str = "::v") -> Condition:
    return compile_condition({"criteria": [group(attribute(kind, operator, value, look))]})


def holds(kind: str, operator: str, value: Any, seen: Any) -> bool:
    source = {} if seen is MISSING else {"v": seen}
    return one(kind, operator, value).holds(source)


# -- operators ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "operator", "value", "yes", "no"),
    [
        ("Boolean", "eq", True, True, False),
        ("Boolean", "ne", True, False, True),
        ("Number", "eq", 1, 1.0, 2),
        ("Number", "ne", 1, 2, 1.0),
        ("Number", "lt", 5, 4.9, 5),
        ("Number", "lte", 5, 5, 5.1),
        ("Number", "gt", 5, 6, 5),
        ("Number", "gte", 5, 5, 4),
        ("Number", "gt", 2**53, 2**53 + 1, 2**53),
        ("String", "eq", "a", "a", "A"),
        ("String", "ne", "a", "b", "a"),
        ("String", "lt", "b", "a", "b"),
        ("String", "lte", "b", "b", "c"),
        ("String", "gt", "Z", "a", "A"),
        ("String", "gte", "b", "b", "a"),
        ("String", "starts_with", "ab", "abc", "ba"),
        ("String", "starts_with", "", "x", MISSING),
        ("Date", "before", "2024-01-02", "2024-01-01", "2024-01-03"),
        ("Date", "after", "2024-01-02", "2024-01-03", "2024-01-01"),
        ("Date", "before", "2024-01-01T12:00:00+02:00", "2024-01-01T09:59:59Z", "2024-01-01T10:00"),
        ("Date", "after", "1970-01-02", 86_401, 86_400),
        ("Date", "after", 1_700_000_000, 1_700_000_001_000, 1_699_999_999_000),
        ("Date", "before", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z", "soon"),
        ("Date", "after", "0001-01-01T00:00:00+14:00", "0001-01-01", "0001-01-01T00:00:00+15:00"),
        ("Version", "eq", "1.2.0", "v1.2", "1.2.1"),
        ("Version", "ne", "1.2.0", "1.3", "1.2"),
        ("Version", "lt", "1.10.0", "1.9.9", "1.10.0"),
        ("Version", "lte", "1.10", "1.10.0", "1.11"),
        ("Version", "gt", "1.0.0-rc.1", "1.0.0", "1.0.0-alpha"),
        ("Version", "gte", "1.0.0", "1.0.0+build.5", "1.0.0-rc.1"),
        ("Version", "gt", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-alpha"),
    ],
)
def test_operators(kind: str, operator: str, value: Any, yes: Any, no: Any) -> None:
    assert holds(kind, operator, value, yes)
    assert not holds(kind, operator, value, no)


CONSTANTS: dict[str, Any] = {
    "Boolean": True, "Number": 1, "String": "a", "Date": "2024-01-01", "Version": "1.0.0",
}  # fmt: skip
OPERATORS = {
    "Boolean": ("eq", "ne"),
    "Number": ("eq", "ne", "lt", "lte", "gt", "gte"),
    "String": ("eq", "ne", "lt", "lte", "gt", "gte", "starts_with"),
    "Date": ("before", "after"),
    "Version": ("eq", "ne", "lt", "lte", "gt", "gte"),
}
EVERY = [(kind, operator) for kind, operators in OPERATORS.items() for operator in operators]
OFF_TYPE: dict[str, list[Any]] = {
    "Boolean": [1, 0, "true", {}, {"a": True}],
    "Number": [True, False, "1", {"1": 1}],
    "String": [1, True, {"a": 1}],
    "Date": [True, "soon", "", "2024-13-01", {"2024-01-01": 1}, 1e300, -1e300, "1" * 400],
    "Version": [1, 1.0, True, "1.2.3.4", "soon", "", "01.2.3", "1." * 4000, {}],
}


@pytest.mark.parametrize(("kind", "operator"), EVERY)
@pytest.mark.parametrize("seen", [MISSING, None, [], [None], [[]], [{}]])
def test_only_ne_holds_for_nothing(kind: str, operator: str, seen: Any) -> None:
    assert holds(kind, operator, CONSTANTS[kind], seen) is (operator == "ne")


@pytest.mark.parametrize(("kind", "operator"), EVERY)
def test_only_ne_holds_for_another_type(kind: str, operator: str) -> None:
    for seen in OFF_TYPE[kind]:
        assert holds(kind, operator, CONSTANTS[kind], seen) is (operator == "ne"), seen
        assert holds(kind, operator, CONSTANTS[kind], [seen]) is (operator == "ne"), [seen]


@pytest.mark.parametrize(("kind", "operator"), EVERY)
def test_only_ne_holds_against_a_value_expression_of_another_type(kind: str, operator: str) -> None:
    condition = one(kind, operator, "::w")
    for expected in [*OFF_TYPE[kind], None, [], [CONSTANTS[kind]]]:
        source = {"v": CONSTANTS[kind], "w": expected}
        assert condition.holds(source) is (operator == "ne"), expected


def test_a_value_may_be_an_expression() -> None:
    condition = one("Number", "gt", "::limits.low")
    assert condition.holds({"v": 5, "limits": {"low": 4}})
    assert not condition.holds({"v": 5, "limits": {"low": 5}})


def test_any_element_of_a_list_is_enough_and_ne_wants_none() -> None:
    assert holds("String", "eq", "a", ["b", "a"])
    assert not holds("String", "eq", "a", ["b"])
    assert holds("String", "starts_with", "a", ["b", "ab"])
    assert holds("Date", "after", "2024-01-01", ["soon", "2024-06-01"])
    assert holds("String", "ne", "a", ["b"])
    assert not holds("String", "ne", "a", ["b", "a"])


# -- what the original got wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "operator", "value", "seen", "expected"),
    [
        ("String", "ne", "a", [], True),  # was false for [], true for missing
        ("Number", "eq", 1, True, False),
        ("Boolean", "eq", True, 1, False),
        ("String", "eq", "a", {"a": 1}, False),  # was: objects are their keys
        ("Date", "before", "2024-01-01", "2024-01-01", False),  # was: before is <=
        ("Date", "after", "2024-01-01", "2024-01-01", False),
        ("Date", "before", "2024-01-01", "not a date", False),  # was: an exception
        ("Version", "eq", "1.0.0", "1.0.0", True),  # was: constants refused
        ("Version", "gt", "1.9.0", "1.10.0", True),  # was: compared as text
        ("Number", "lt", 5, [None, 1], True),  # was: one wrong element hides the others
    ],
)
def test_measured_bugs_of_the_original_stay_fixed(
    kind: str, operator: str, value: Any, seen: Any, expected: bool
) -> None:
    assert holds(kind, operator, value, seen) is expected


def test_a_value_expression_of_the_wrong_type_does_not_escape() -> None:
    assert not one("String", "starts_with", "::w").holds({"v": "a", "w": 1})


def test_nothing_is_remembered_between_evaluations() -> None:
    condition = one("Number", "eq", "::w")
    assert condition.holds({"v": 1, "w": 1})
    assert not condition.holds({"v": 1, "w": 2})
    assert condition.holds({"v": 2, "w": 2})


# -- groups ------------------------------------------------------------------------------------

YES, NO = attribute("Number", "eq", 1), attribute("Number", "eq", 2)


@pytest.mark.parametrize(
    ("outer", "criteria", "expected"),
    [
        ("and", [group(YES, YES), group(YES)], True),
        ("and", [group(YES, NO), group(YES)], False),
        ("and", [group(NO, YES, operator="or"), group(YES)], True),
        ("and", [group(NO, NO, operator="or")], False),
        ("or", [group(NO), group(YES)], True),
        ("or", [group(NO), group(YES, NO)], False),
        ("or", [group(NO), group(NO, YES, operator="or")], True),
    ],
)
def test_groups_join_with_and_or_or(outer: str, criteria: list[Any], expected: bool) -> None:
    condition = compile_condition({"operator": outer, "criteria": criteria})
    assert condition.holds({"v": 1}) is expected
    assert (condition.first_failure({"v": 1}) is None) is expected


def test_operators_default_to_and_and_on_fail_to_fail() -> None:
    condition = compile_condition({"criteria": [{"attributes": [YES, NO]}]})
    assert not condition.holds({"v": 1})
    assert condition.on_fail == "fail"
    assert compile_condition({"criteria": [group(YES)], "on_fail": "skip"}).on_fail == "skip"


# -- explaining --------------------------------------------------------------------------------


def test_explain_shows_each_attribute_with_what_it_saw() -> None:
    condition = compile_condition(
        {
            "operator": "or",
            "criteria": [
                group(attribute("String", "eq", "pro", "::user.plan"), YES),
                group(attribute("Number", "gt", "::limit", "::length(user.tags)")),
            ],
        }
    )
    findings = condition.explain({"user": {"plan": "free"}, "v": 1, "limit": 3})
    assert [(f.path, f.attribute, f.seen, f.operator, f.expected, f.ok) for f in findings] == [
        ("criteria[0].attributes[0]", "::user.plan", "free", "eq", "pro", False),
        ("criteria[0].attributes[1]", "::v", 1, "eq", 1, True),
        ("criteria[1].attributes[0]", "::length(user.tags)", None, "gt", None, False),
    ]
    assert "length() takes" in (findings[2].error or "")
    assert str(findings[0]) == ('criteria[0].attributes[0]  ::user.plan = "free"  eq  "pro"')


def test_the_first_failure_is_the_attribute_to_blame() -> None:
    condition = compile_condition({"criteria": [group(NO, YES, operator="or"), group(YES, NO)]})
    failure = condition.first_failure({"v": 1})
    assert failure is not None
    assert failure.path == "criteria[1].attributes[1]"
    assert condition.first_failure({"v": 2}) is not None


def test_an_expression_that_cannot_be_computed_makes_its_attribute_false() -> None:
    for operator in ("eq", "ne"):
        assert not one("Number", operator, 1, "::length(nothing)").holds({})


def test_too_much_work_is_false_and_explained() -> None:
    condition = one("Number", "ne", 1, "::a[].b[].c[]")
    source = {"a": [{"b": [{"c": list(range(100))}] * 100}] * 100}
    assert not condition.holds(source)
    assert "budget" in (condition.explain(source)[0].error or "")
    long = {"v": list(range(50_000))}
    assert not one("Number", "ne", -1).holds(long)
    assert "budget" in (one("Number", "ne", -1).explain(long)[0].error or "")


def test_holds_and_explain_agree_at_the_edge_of_the_budget() -> None:
    heavy = attribute("Number", "eq", 39_999)
    condition = compile_condition(
        {"operator": "or", "criteria": [group(heavy), group(heavy), group(heavy)]}
    )
    source = {"v": list(range(39_000, 40_000)) * 20}
    assert condition.holds(source)
    assert [finding.ok for finding in condition.explain(source)] == [True, True, True]


# -- equalities --------------------------------------------------------------------------------


def test_equalities_are_the_conjunctive_eq_with_constants_on_plain_paths() -> None:
    condition = compile_condition(
        {
            "criteria": [
                group(
                    attribute("String", "eq", "a", "::data.s"),
                    attribute("Number", "eq", 1, "::data.n"),
                    attribute("Boolean", "eq", True, "::data.b"),
                    attribute("Date", "after", "2024-01-01", "::data.d"),
                    attribute("Version", "eq", "1.0.0", "::data.ver"),
                    attribute("String", "eq", "::x", "::data.e"),
                    attribute("String", "ne", "x", "::data.f"),
                    attribute("String", "eq", "x", "::data.l[0]"),
                ),
                group(YES, NO, operator="or"),
                group(attribute("String", "eq", "one", "::single"), operator="or"),
            ]
        }
    )
    assert condition.equalities() == {"data.s": "a", "data.n": 1, "data.b": True, "single": "one"}
    either = {"operator": "or", "criteria": [group(YES), group(NO)]}
    assert compile_condition(either).equalities() == {}
    assert compile_condition({"operator": "or", "criteria": [group(YES)]}).equalities() == {"v": 1}


# -- validation --------------------------------------------------------------------------------


def problems(data: Any, path: str = "$") -> list[tuple[str, str]]:
    with pytest.raises(InvalidDefinition) as caught:
        compile_condition(data, path)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_all_problems_are_found_at_once_with_their_paths() -> None:
    found = problems(
        {
            "operator": "nand",
            "criterias": [],
            "on_fail": "explode",
            "criteria": [
                group(attribute("String", "before", "x")),
                {"operator": 1, "attributes": [{"type": "string", "operater": "eq"}]},
                "x",
                group(attribute("Number", "eq", "1", "v"), attribute("Date", "after", "::f(")),
                {"attributes": []},
            ],
        },
        "$.source.condition",
    )
    assert [path.removeprefix("$.source.condition") for path, _ in found] == [
        "",
        ".operator",
        ".on_fail",
        ".criteria[0].attributes[0].operator",
        ".criteria[1].operator",
        ".criteria[1].attributes[0]",
        ".criteria[1].attributes[0].type",
        ".criteria[1].attributes[0].operator",
        ".criteria[1].attributes[0].attribute",
        ".criteria[1].attributes[0].value",
        ".criteria[2]",
        ".criteria[3].attributes[0].attribute",
        ".criteria[3].attributes[0].value",
        ".criteria[3].attributes[1].value",
        ".criteria[4].attributes",
    ]
    messages = [message for _, message in found]
    assert messages[0] == 'unknown key "criterias"; did you mean "criteria"?'
    assert messages[1] == '"nand" is not one of: and, or'
    assert messages[3].endswith("starts_with for String")
    assert messages[11] == 'must be an expression; did you mean "::v"?'
    assert messages[12] == "'1' is not a Number: write a number"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Boolean", 1), ("Number", True), ("Number", "1"), ("String", 1), ("String", None),
        ("Date", "soon"), ("Date", False), ("Version", "1.2.3.4"), ("Version", 1.2),
    ],
)  # fmt: skip
def test_a_constant_must_be_of_the_type(kind: str, value: Any) -> None:
    operator = OPERATORS[kind][0]
    assert problems({"criteria": [group(attribute(kind, operator, value))]})


@pytest.mark.parametrize("count", [0, 11])
def test_groups_have_one_to_ten_members(count: int) -> None:
    assert problems({"criteria": [group(YES)] * count})[0][0] == "$.criteria"
    assert problems({"criteria": [group(*[YES] * count)]})[0][0] == "$.criteria[0].attributes"
    assert compile_condition({"criteria": [group(*[YES] * 10)] * 10}).holds({"v": 1})


@pytest.mark.parametrize("data", [None, [], "x", 1, {}])
def test_what_is_no_condition_is_refused(data: Any) -> None:
    assert problems(data)


# -- laws --------------------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
    | st.sampled_from(["2024-01-01", "1.0.0", "v2"])
)  # fmt: skip
values = scalars | st.lists(scalars, max_size=4) | st.dictionaries(st.text(max_size=2), scalars)
sources = st.dictionaries(st.sampled_from(["v", "w"]), values)


@given(st.sampled_from(EVERY), sources, values)
def test_never_raises_and_changes_nothing(
    which: tuple[str, str], source: dict[str, Any], expected: Any
) -> None:
    condition = one(*which, "::w")
    source["w"] = expected
    before = copy.deepcopy(source)
    ok = condition.holds(source)
    assert condition.holds(source) is ok
    assert source == before
    assert [finding.ok for finding in condition.explain(source)] == [ok]
    assert (condition.first_failure(source) is None) is ok


@given(st.sampled_from(["Boolean", "Number", "String", "Version"]), sources)
def test_ne_is_not_eq(kind: str, source: dict[str, Any]) -> None:
    assert one(kind, "ne", "::w").holds(source) is not one(kind, "eq", "::w").holds(source)


@given(st.integers() | st.floats(allow_nan=False), st.integers() | st.floats(allow_nan=False))
def test_numbers_are_totally_ordered(left: float, right: float) -> None:
    source = {"v": left, "w": right}
    three = [one("Number", operator, "::w").holds(source) for operator in ("lt", "eq", "gt")]
    assert three.count(True) == 1


json_junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["operator", "criteria", "attributes", "type", "attribute", "value", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_junk)
def test_any_json_compiles_or_gives_problems_with_paths(data: Any) -> None:
    try:
        compile_condition(data)
    except InvalidDefinition as error:
        assert error.problems
        assert all(problem.path.startswith("$") for problem in error.problems)
        json.dumps(error.as_data())


# -- F5: groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["and", "or", None])
@pytest.mark.parametrize("inner", ["and", "or", None])
@pytest.mark.parametrize("first", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("second", [(True, True), (False, True), (False, False)])
def test_F5_criteria_and_their_attributes_are_joined_by_and_unless_by_or(
    outer: str | None, inner: str | None, first: tuple[bool, bool], second: tuple[bool, bool]
) -> None:
    state = {"a": first[0], "b": first[1], "c": second[0], "d": second[1]}
    groups: list[dict[str, Any]] = [
        {"attributes": [attribute("Boolean", "eq", True, f"::{name}") for name in names]}
        for names in ("ab", "cd")
    ]
    source: dict[str, Any] = {"criteria": groups}
    if inner is not None:
        for each in groups:
            each["operator"] = inner
    if outer is not None:
        source["operator"] = outer
    join = {"and": all, "or": any, None: all}
    expected = join[outer]([join[inner](first), join[inner](second)])
    assert compile_condition(source).holds(state) is expected


@pytest.mark.parametrize("truthy", [1, "true", "yes", {"a": 1}, None])
def test_F5_only_a_boolean_true_succeeds(truthy: Any) -> None:
    assert not holds("Boolean", "eq", True, truthy)
