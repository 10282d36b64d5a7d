"""What an index can use of a condition."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from greenroom.definitions.matching import KEYS_MAX, compile_where


def criteria(*attributes: tuple[str, str, str, Any], operator: str = "and") -> dict[str, Any]:
    names = ("type", "attribute", "operator", "value")
    return {
        "criteria": [
            {
                "operator": operator,
                "attributes": [dict(zip(names, one, strict=True)) for one in attributes],
            }
        ]
    }


@pytest.mark.parametrize(
    ("where", "paths", "keys"),
    [
        ("a == 'x' || a == 'y'", ("a",), [("x",), ("y",)]),
        ("(a == 'x' || 'y' == a) && b == `1`", ("a", "b"), [("x", 1), ("y", 1)]),
        ('contains(`["x", 1, true]`, data.k)', ("data.k",), [("x",), (1,), (True,)]),
        ("a == 'x' || a == 'x'", ("a",), [("x",)]),
        ("a == 'x' || b == 'y'", (), [()]),
        ("a == 'x' || a == `null`", (), [()]),
        ("a == 'x' || a > `1`", (), [()]),
        ('contains(`["x", null]`, a)', (), [()]),
        ("contains(a, 'x')", (), [()]),
        ("!(a == 'x')", (), [()]),
        (
            criteria(("String", "::a", "eq", "x"), ("String", "::a", "eq", "y"), operator="or"),
            ("a",),
            [("x",), ("y",)],
        ),
        (
            criteria(("String", "::a", "eq", "x"), ("String", "::b", "eq", "y"), operator="or"),
            (),
            [()],
        ),
        (
            {
                "operator": "or",
                "criteria": [
                    criteria(("Number", "::a", "eq", n))["criteria"][0] for n in (1, 2, 3)
                ],
            },
            ("a",),
            [(1,), (2,), (3,)],
        ),
    ],
)
def test_one_of_a_few_values_makes_as_many_keys(where: Any, paths: Any, keys: Any) -> None:
    found = compile_where(where)
    assert (found.paths, found.keys) == (paths, keys)
    assert len(set(found.hashes)) == len(keys)


def test_there_are_at_most_32_keys_and_the_fewest_values_go_first() -> None:
    def named(path: str, count: int) -> str:
        return "(" + " || ".join(f"{path} == '{n}'" for n in range(count)) + ")"

    assert compile_where(named("a", 32)).paths == ("a",)
    assert compile_where(named("a", 33)).paths == ()
    both = compile_where(f"{named('a', 9)} && {named('b', 4)} && {named('c', 8)}")
    assert (both.paths, len(both.keys)) == (("b", "c"), KEYS_MAX)


@pytest.mark.parametrize(
    ("where", "prefixes", "ranges"),
    [
        ("starts_with(a, 'eu-')", {"a": "eu-"}, {}),
        ("starts_with(a, 'e') && starts_with(a, 'eu-')", {"a": "eu-"}, {}),
        ("a > `1` && a <= `9` && b < `0`", {}, {"a": (1, 9), "b": (-inf, 0)}),
        ("`5` < a", {}, {"a": (5, inf)}),
        ("a > 'x'", {}, {}),
        ("a > `1` || b > `1`", {}, {}),
        (
            criteria(("String", "::a", "starts_with", "eu-"), ("Number", "::n", "gte", 4)),
            {"a": "eu-"},
            {"n": (4, inf)},
        ),
        (criteria(("Version", "::a", "gt", "1.0.0"), ("Number", "::n", "gt", "::m")), {}, {}),
        (criteria(("Number", "::n", "ne", 4)), {}, {}),
    ],
)
def test_prefixes_and_ranges_narrow(where: Any, prefixes: Any, ranges: Any) -> None:
    found = compile_where(where)
    assert (found.prefixes, found.ranges) == (prefixes, ranges)
