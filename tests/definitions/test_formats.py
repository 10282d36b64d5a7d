import contextlib
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import ExpressionError, InvalidDefinition
from greenroom.definitions.formats import compile_format


def fill(text: str, **values: Any) -> str:
    return compile_format(text, values).fill(values)


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("Hello, {name}!", {"name": "Bob"}, "Hello, Bob!"),
        ("{a}{b}{a}", {"a": "x", "b": "y"}, "xyx"),
        ("{a}", {"a": True}, "true"),
        ("{a}", {"a": None}, "null"),
        ("{a}", {"a": 1.5}, "1.5"),
        ("{a}", {"a": {"k": 1}}, '{"k":1}'),
        ("{a}", {"a": "é"}, "é"),
        ('{{"k": {a}}}', {"a": 1}, '{"k": 1}'),
        ("{{a}}", {"a": 1}, "{a}"),
        ("no fields", {"a": 1}, "no fields"),
        ("{a} {nobody} {{}}", {"a": 1}, "{a} {nobody} {{}}"),
        ("{a} }} {", {}, "{a} }} {"),
        ("{a}", {"a": "{b}", "b": "no"}, "{b}"),
        ("{a}", {"a": "::b"}, "::b"),
    ],
)
def test_fields_are_filled_once(text: str, values: dict[str, Any], filled: str) -> None:
    assert fill(text, **values) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{a:>2000000000}", "{}", "{0}", "{ a }", "{a", "a}",
        "{a}}", "{{a}", "{é}", "{a.__init__.__globals__}",
    ],
)  # fmt: skip
def test_anything_but_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        compile_format(text, ["a"], "$.text")
    assert caught.value.problems[0].path == "$.text"


def test_what_is_unknown_is_told() -> None:
    form = compile_format("{a} {b} {c} {b}", ["a"])
    assert form.unknown == ("b", "c")
    assert form.fields == ("a", "b", "c")
    assert not form.active


def test_the_result_has_a_limit() -> None:
    form = compile_format("{a}" * 1000, ["a"])
    with pytest.raises(ExpressionError, match="longer than 1,048,576"):
        form.fill({"a": "x" * 2000})


class Poisoned(str):
    """Text whose attributes raise when a format touches them."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"touched {name}")


def test_no_attribute_of_a_value_is_ever_touched() -> None:
    assert len(fill("{a}", a=Poisoned("x"))) == 1


@given(st.text(alphabet="ab{}", max_size=12), st.text(max_size=5))
def test_agrees_with_str_format_where_both_accept(text: str, value: str) -> None:
    values = {"a": value, "b": "x", "ab": "y", "ba": "z"}
    with contextlib.suppress(InvalidDefinition):
        form = compile_format(text, values)
        if form.active:
            assert form.fill(values) == string.Formatter().vformat(text, (), values)
