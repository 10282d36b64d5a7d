"""From state keys to parameters: every rule with what is present, absent, null, wrong, default."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, Union

import pytest

from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.injection import MissingState, StepInput, injector

ID = "0190f3a0-0000-7000-8000-000000000001"


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


def given(func: Any, state: dict[str, Any], **virtual: Any) -> dict[str, Any]:
    return injector(func).arguments(state, virtual)


@pytest.mark.parametrize(
    ("kind", "stored", "value"),
    [
        (int, 5, 5),
        (float, 5, 5.0),
        (str, "x", "x"),
        (bool, True, True),
        (uuid.UUID, ID, uuid.UUID(ID)),
        (datetime.datetime, "2024-01-02T03:04:05Z", datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        (datetime.date, "2024-01-02", datetime.date(2024, 1, 2)),
        (datetime.timedelta, "PT90S", datetime.timedelta(seconds=90)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (Color, "red", Color.RED),
        (Literal["a", "b"], "a", "a"),
        (set[int], [1, 1, 2], {1, 2}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (list[uuid.UUID], [ID], [uuid.UUID(ID)]),
        (Point, {"x": 1}, Point(1)),
        (Named, {"name": "n"}, {"name": "n"}),
        (int | None, None, None),
        (uuid.UUID | None, ID, uuid.UUID(ID)),
        (Any, [1, {"a": None}], [1, {"a": None}]),
        (dict, {"a": 1}, {"a": 1}),
        (list, [1], [1]),
    ],
)  # fmt: skip
def test_a_value_is_converted_to_its_annotation(kind: Any, stored: Any, value: Any) -> None:
    def func(x): ...  # type: ignore[no-untyped-def]

    func.__annotations__ = {"x": kind}
    assert given(func, {"x": stored})["x"] == value
    assert type(given(func, {"x": stored})["x"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (int, "5"), (int, True), (int, 5.0), (int, None), (str, 5), (str, None), (bool, 1),
        (float, "1.5"), (float, True), (uuid.UUID, "no"), (Color, "blue"), (Literal["a"], "b"),
        (list[int], ["1"]), (Point, {"y": 1}), (Point, [1]), (dict, [1]), (list, {"a": 1}),
        (datetime.date, "yesterday"), (int | None, "5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_key_and_step(kind: Any, stored: Any) -> None:
    def pick(x): ...  # type: ignore[no-untyped-def]

    pick.__annotations__ = {"x": kind}
    with pytest.raises(StepInput) as caught:
        given(pick, {"x": stored})
    assert caught.value.details == {"step": "pick", "key": "x"}
    assert isinstance(caught.value, ValueError)


def test_an_absent_key_is_the_default_or_an_error_that_names_what_there_is() -> None:
    def func(a: int, b: int = 2, c: uuid.UUID = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert given(func, {"a": 1}) == {"a": 1}
    assert given(func, {"a": 1, "c": None}) == {"a": 1, "c": None}
    with pytest.raises(MissingState, match='needs "a", the state has: b, z') as caught:
        given(func, {"z": 1, "b": 2})
    assert caught.value.details["key"] == "a"


def test_optional_without_a_default_must_be_there() -> None:
    def func(a: int | None) -> None: ...

    assert given(func, {"a": None}) == {"a": None}
    with pytest.raises(MissingState):
        given(func, {})


def test_state_is_a_copy_of_everything_and_injected_values_are_copies() -> None:
    def func(state: dict[str, Any], items: list, raw) -> None: ...  # type: ignore[no-untyped-def,type-arg]

    stored = {"items": [1], "raw": {"deep": [1]}}
    got = given(func, stored)
    got["state"]["items"].append(2)
    got["items"].append(3)
    got["raw"]["deep"].append(4)
    assert stored == {"items": [1], "raw": {"deep": [1]}}


def test_virtual_names_come_from_the_engine_unless_the_state_has_them() -> None:
    def func(process_id, workflow_name, run="default") -> None: ...  # type: ignore[no-untyped-def]

    got = given(func, {"workflow_name": "mine"}, process_id="p", workflow_name="w")
    assert got == {"process_id": "p", "workflow_name": "mine", "run": None}


def test_keyword_only_and_positional_only_parameters_work() -> None:
    def func(a: int, /, b: int, *, c: int) -> tuple[int, ...]:
        return (a, b, c)

    taken = injector(func)
    assert taken.call(func, taken.arguments({"a": 1, "b": 2, "c": 3}, {})) == (1, 2, 3)


@pytest.mark.parametrize(
    "kind",
    [
        Union[uuid.UUID, str],  # noqa: UP007  the older way of writing it
        Path,
        complex,
        list[Path],
        uuid.UUID | datetime.date,
    ],
)
def test_an_annotation_that_cannot_be_made_is_refused_at_decoration(kind: Any) -> None:
    def func(x): ...  # type: ignore[no-untyped-def]

    func.__annotations__ = {"x": kind}
    with pytest.raises(InvalidDefinition, match="cannot be made from a stored value"):
        injector(func)


def test_open_parameter_lists_are_refused() -> None:
    def stars(*args: int) -> None: ...

    def doubles(**kwargs: int) -> None: ...

    for func in (stars, doubles):
        with pytest.raises(InvalidDefinition, match="every argument of a step needs a name"):
            injector(func)


def test_text_annotations_are_resolved_and_unknown_ones_refused() -> None:
    def good(x: "int") -> None: ...  # noqa: UP037

    def bad(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    assert given(good, {"x": 1}) == {"x": 1}
    with pytest.raises(InvalidDefinition, match="cannot be resolved"):
        injector(bad)


def test_bind_speaks_as_python_does() -> None:
    def func(a: int, b: int = 2, *, ctx: Any = None) -> None: ...

    bind = injector(func).bind
    assert bind((1,), {"b": 3}) == {"a": 1, "b": 3}
    for args, kwargs, text in (
        ((), {}, "missing the argument 'a'"),
        ((1, 2, 3, 4), {}, "takes 3 arguments but 4"),
        ((1,), {"a": 2}, "multiple values for argument 'a'"),
        ((1,), {"z": 2}, "unexpected keyword argument 'z'"),
    ):
        with pytest.raises(TypeError, match=text):
            bind(args, kwargs)


def test_a_function_may_speak_of_a_local_name_that_is_assigned_further_down() -> None:
    def early(x: "int") -> int:  # noqa: UP037  the annotation must be text
        return x + later

    found = injector(early)
    later = 1
    assert found.arguments({"x": 1}, {}) == {"x": 1}
    assert early(1) == 2
