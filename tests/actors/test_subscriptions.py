"""The index of triggers finds what asking each of them finds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.actors.subscriptions import TriggerIndex
from greenroom.definitions.matching import Where
from greenroom.definitions.workflow import Definition, trigger_on

PATHS = st.sampled_from(["data.a", "data.b", "data.n"])
WORDS = st.sampled_from(["", "e", "eu", "eu-1", "eu-2", "us"])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, True, 1.0])
TEXTS = st.one_of(
    st.builds(lambda p, w: f"{p} == '{w}'", PATHS, WORDS),
    st.builds(lambda p, a, b: f"({p} == '{a}' || {p} == '{b}')", PATHS, WORDS, WORDS),
    st.builds(lambda p, n: f"{p} == `{str(n).lower()}`", PATHS, NUMBERS),
    st.builds(
        lambda p, s, n: f"{p} {s} `{str(n).lower()}`", PATHS, st.sampled_from(["<", "<=", ">", ">=", "!="]), NUMBERS
    ),
    st.builds(lambda p, w: f"starts_with({p}, '{w}')", PATHS, WORDS),
    st.builds(lambda p, w: f"contains(`[\"{w}\", 1]`, {p})", PATHS, WORDS),
)  # fmt: skip
ATTRIBUTES = st.one_of(
    st.builds(lambda p, o, v: ("String", f"::{p}", o, v), PATHS, st.sampled_from(["eq", "ne", "starts_with"]), WORDS),
    st.builds(
        lambda p, o, v: ("Number", f"::{p}", o, v), PATHS, st.sampled_from(["eq", "lt", "lte", "gt", "gte"]), st.integers(-3, 3)
    ),
).map(lambda one: dict(zip(("type", "attribute", "operator", "value"), one, strict=True)))  # fmt: skip
JOINS = st.sampled_from(["and", "or"])
CONDITIONS = st.builds(
    lambda operator, criteria: {"operator": operator, "criteria": criteria},
    JOINS,
    st.lists(
        st.builds(
            lambda operator, attributes: {"operator": operator, "attributes": attributes},
            JOINS,
            st.lists(ATTRIBUTES, min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=2,
    ),
)
WHERES = st.lists(TEXTS, min_size=1, max_size=3).map(" && ".join) | CONDITIONS
SCALARS = WORDS | NUMBERS | st.none()
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.just(["us"] * 40 + ["eu-1"])
EVENTS = st.dictionaries(st.sampled_from("abn"), VALUES, max_size=3)


def workflow(name: str, *wheres: Any) -> Definition:
    triggers = tuple(trigger_on("t", where) for where in wheres)
    return cast(Definition, SimpleNamespace(name=name, triggers=triggers))


def asked(wheres: list[Where], event: dict[str, Any]) -> list[int]:
    return [number for number, where in enumerate(wheres) if where.matches(event)]


@given(st.lists(WHERES, min_size=1, max_size=12), st.lists(EVENTS, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_index_finds_what_asking_each_trigger_finds(
    wheres: list[Any], events: list[dict[str, Any]]
) -> None:
    index = TriggerIndex()
    made = [workflow(f"w{number:02}", where) for number, where in enumerate(wheres)]
    for one in made:
        index.add("", one)
    gone = made[::3]
    for one in gone:
        index.remove("", one.name)
    kept = [one for one in made if one not in gone]
    for data in events:
        event = {"type": "t", "id": "1", "source": "", "data": data}
        found = [one.name for one, _ in index.matching("", "t", event)]
        assert found == [one.name for one in kept if one.triggers[0].where.matches(event)]
    assert len(index.listening("", "t")) == len(kept)
    for one in kept:
        index.remove("", one.name)
    assert not index.listens("", "t")


def test_only_what_can_match_is_asked() -> None:
    index = TriggerIndex()
    wheres = [
        *(f"data.a == '{n}'" for n in range(200)),
        *(f"data.a == '{n}' || data.a == 'x{n}'" for n in range(200)),
        *(f"starts_with(data.b, 'p{n:03}-')" for n in range(200)),
        *(f"data.n >= `{10 * n}` && data.n < `{10 * n + 10}`" for n in range(200)),
    ]
    for number, where in enumerate(wheres):
        index.add("", workflow(f"w{number:04}", where))
    event = {"type": "t", "data": {"a": "7", "b": "p007-x", "n": 75}}
    candidates = list(index._asked(index._types["", "t"], event))
    assert len(candidates) == len(index.matching("", "t", event)) == 4


def test_a_trigger_is_found_once_however_many_of_its_keys_meet() -> None:
    index = TriggerIndex()
    index.add("", workflow("w", 'contains(`["x", "y"]`, data.k)', {"data.k": "x"}))
    found = index.matching("", "t", {"type": "t", "data": {"k": ["x", "y"]}})
    assert len(found) == 1
