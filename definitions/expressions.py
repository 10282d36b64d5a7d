"""Expressions: strings that start with `::` and hold JMESPath, compiled when a definition is read.

A definition's value may hold expressions anywhere inside; with variables beside it its other
strings are formatted. An expression sees JSON and gives JSON; it cannot reach code, and it cannot run away, because every
evaluation has a budget. What an expression produces is data and is never looked at again for `::`.
That is the whole defence against injection: nothing is ever evaluated that was not in the
definition.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from greenroom.definitions.errors import ExpressionError, InvalidDefinition, Problem
from greenroom.definitions.evaluation import (
    BadTree,
    Meter,
    Node,
    OverBudget,
    Step,
    WrongType,
    path_of,
    path_runner,
    runner,
    weigh,
)
from greenroom.definitions.facets import Facets, scalar
from greenroom.definitions.formats import compile_format
from greenroom.definitions.functions import call
from greenroom.definitions.paths import path_problem, path_text
from greenroom.definitions.syntax import PREFIX, parse, refused, shown
from greenroom.definitions.values import Json, copy, encode, encode_decode

BUDGET: Final = 100_000
BUDGET_CONDITION: Final = 5_000
BUDGET_TRANSFORM: Final = 20_000


class Conjunct:
    """One part of a top-level `&&` chain; `path operator constant` when `path` is not None."""

    __slots__ = ("constant", "look", "node", "operator", "path", "run", "text")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.run = runner(node, call)
        self.path: tuple[Step, ...] | None = None
        if node["type"] == "comparator" and node["children"][1]["type"] == "literal":
            self.path = path_of(node["children"][0])
            self.operator = _SIGNS[node["value"]]
            self.constant: Json = node["children"][1]["value"]
            self.look = path_runner(self.path or ())
            self.text = steps_text(self.path or ())


def steps_text(path: tuple[Step, ...]) -> str:
    """The path as an expression: `a.b[0]`."""
    text = "".join(
        f"[{step}]" if isinstance(step, int) else f".{_field(step)}" for step in path
    ).removeprefix(".")
    return text or "@"


def _field(name: str) -> str:
    return name if name.isascii() and name.isidentifier() else encode(name).decode()


_SIGNS: Final = {"eq": "==", "ne": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MIRRORED: Final = {"eq": "eq", "ne": "ne", "lt": "gt", "lte": "gte", "gt": "lt", "gte": "lte"}


class Expression:
    """A compiled expression. Safe to share between threads; compare by `text`."""

    __slots__ = ("_follow", "_run", "_tree", "_weighs", "path", "text")

    def __init__(self, text: str, tree: Node) -> None:
        self.text = text
        self.path = path_of(tree)
        """The steps of a plain path like `a.b[0]`, else None."""
        self._tree = tree
        self._follow = None if self.path is None else path_runner(self.path)
        self._run = runner(tree, call)
        self._weighs = _grows(tree)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def search(self, data: Json, budget: int | Meter = BUDGET) -> Json:
        """What the expression finds in `data`; null when there is nothing.

        The result may share parts with `data`. Raises `ExpressionError` for a function that gets
        the wrong type, and for more work than the budget allows; `details.reason` is `type` or
        `budget`. A `Meter` is a budget shared between several searches.
        """
        if self._follow is not None:
            return self._follow(data)
        meter = Meter(budget) if isinstance(budget, int) else budget
        try:
            result = self._run(data, meter)
            if self._weighs:
                meter.spend(0 if weigh(result, meter.budget) <= meter.budget else meter.budget + 1)
        except OverBudget:
            raise ExpressionError(
                f"{shown(self.text)} needs more work than its budget of {meter.budget:,} allows",
                hint="filter or slice the data earlier in the expression, or use a step",
                expression=self.text,
                reason="budget",
                budget=meter.budget,
            ) from None
        except (WrongType, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise ExpressionError(
                f"{shown(self.text)}: {error}", expression=self.text, reason="type"
            ) from None
        return result

    def conjuncts(self) -> list[Conjunct]:
        """The parts of a top-level `&&` chain, in order; the whole if there is none."""
        parts: list[Node] = []
        stack = [self._tree]
        while stack:
            node = stack.pop()
            if node["type"] == "and_expression":
                stack.extend(reversed(node["children"]))
            else:
                parts.append(_turned(node))
        return [Conjunct(part) for part in parts]

    def facets(self) -> Facets:
        """What holds of the data whenever the expression is `true` for it: of the conjuncts those
        that compare a plain field path with a constant, name the constants it may be
        (`a == 'x' || a == 'y'`, ``contains(`["x", "y"]`, a)``), or give the beginning of its text.
        """
        found = Facets()
        for part in self.conjuncts():
            names = field_path(part.path)
            if names and part.operator == "==":
                if scalar(part.constant):
                    found.equal(names, part.constant)
            elif names and part.operator != "!=":
                found.within(names, part.operator, part.constant)
            elif part.path is None:
                _facet(part.node, found)
        return found

    def equalities(self) -> dict[str, Json]:
        """`{path: constant}` of the conjuncts `path == constant`; of two constants for one path
        the first."""
        return self.facets().equalities()


def field_path(path: tuple[Step, ...] | None) -> str | None:
    """The path as key path text if it has fields only, else None."""
    if not path or not all(isinstance(step, str) for step in path):
        return None
    text = path_text(tuple(str(step) for step in path))
    return None if path_problem(text) else text


def _facet(node: Node, found: Facets) -> None:
    """The facet of a part that is not a comparison."""
    if node["type"] == "or_expression":
        named = _alternatives(node)
        if named is not None:
            found.among(*named)
    elif node["type"] == "function_expression" and len(node["children"]) == 2:
        first, second = node["children"]
        if node["value"] == "starts_with" and second["type"] == "literal":
            path = field_path(path_of(first))
            if path and isinstance(second["value"], str):
                found.begins(path, second["value"])
        elif node["value"] == "contains" and first["type"] == "literal":
            path, values = field_path(path_of(second)), first["value"]
            if path and isinstance(values, list) and all(map(scalar, values)):
                found.among(path, values)


def _alternatives(node: Node) -> tuple[str, list[Json]] | None:
    """The path and its values, if each side of the `||` says that one path equals a constant."""
    paths: set[str | None] = set()
    values: list[Json] = []
    stack = [node]
    while stack:
        part = _turned(stack.pop())
        if part["type"] == "or_expression":
            stack.extend(reversed(part["children"]))
            continue
        if part["type"] != "comparator" or part["value"] != "eq":
            return None
        left, right = part["children"]
        if right["type"] != "literal" or not scalar(right["value"]):
            return None
        paths.add(field_path(path_of(left)))
        values.append(right["value"])
    path = paths.pop()
    return None if paths or path is None else (path, values)


def _turned(node: Node) -> Node:
    """`'a' == b` as `b == 'a'`."""
    if node["type"] == "comparator" and node["children"][0]["type"] == "literal":
        return {**node, "value": _MIRRORED[node["value"]], "children": node["children"][::-1]}
    return node


def _grows(tree: Node) -> bool:
    """Whether a result can be larger than the data: only these put one part in two places."""
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if node["type"] in ("multi_select_list", "multi_select_dict"):
                return True
            stack.extend(node["children"])
    return False


# -- compiling ---------------------------------------------------------------------------------


def is_expression(value: Json) -> bool:
    """Whether a value in a definition is an expression: a string that starts with `::`."""
    return isinstance(value, str) and value.startswith(PREFIX)


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """The expression, given without its `::`; empty text is the whole source.

    Raises `ExpressionError` for what does not parse, calls an unknown function or one with a
    wrong number of arguments, holds a constant that is not JSON, or is over a limit.
    `details.position` is the place in the text.
    """
    tree = parse(text)
    try:
        return Expression(text, tree)
    except BadTree as error:
        raise refused(text, 0, str(error)) from None


# -- values with expressions inside ------------------------------------------------------------

Variables = Mapping[str, Json]
_Make = Callable[[Json, Meter, Variables], Json]


class Value:
    """A value of a definition with its expressions compiled. `constant` says it has none."""

    __slots__ = ("_make", "constant", "source", "warnings")

    def __init__(self, source: Json, make: _Make | None, warnings: list[Problem]) -> None:
        self.source = source
        self.constant = make is None
        self.warnings = warnings
        self._make = make

    def evaluate(
        self, source: Json, budget: int | Meter = BUDGET, variables: Variables | None = None
    ) -> Json:
        """The value with each expression replaced by what it finds in `source`.

        The result shares nothing with the source or the definition. The budget is for all
        expressions together. Raises `ExpressionError` with the place as `details.path`.
        """
        if self._make is None:
            return copy(self.source)
        meter = Meter(budget) if isinstance(budget, int) else budget
        return self._make(source, meter, variables or {})

    def through(self, see: Callable[[Json], Json]) -> Value:
        """The same over what `see` makes of the source."""
        return Value(
            self.source,
            lambda source, meter, variables: self.evaluate(see(source), meter, variables),
            self.warnings,
        )


def compile_value(value: Json, names: Collection[str] = (), path: str = "$") -> Value:
    """A value whose strings starting with `::` are expressions, at any depth; keys never are.

    With `names`, the variables beside it, other strings are formats (`{name}`). Raises
    `InvalidDefinition` with everything wrong in it, and `InvalidInput` for what is not JSON.
    """
    source = encode_decode(value, path)[1]
    problems: list[Problem] = []
    warnings: list[Problem] = []
    make = _maker(source, names, path, problems, warnings)
    if problems:
        raise InvalidDefinition("the value is not valid", problems)
    return Value(source, make, warnings)


def _maker(
    value: Json, names: Collection[str], path: str, problems: list[Problem], warnings: list[Problem]
) -> _Make | None:
    """None for what has nothing to evaluate."""
    if isinstance(value, str):
        try:
            if is_expression(value):
                return _found(compile_expression(value[len(PREFIX) :]), path)
            if names:
                return _filled(value, names, path, warnings)
        except ExpressionError as error:
            problems.append(Problem(path, error.message))
        except InvalidDefinition as error:
            problems.extend(error.problems)
        return None
    if isinstance(value, dict):
        keyed = [
            (key, item, _maker(item, names, path_in(path, key), problems, warnings))
            for key, item in value.items()
        ]
        if all(make is None for _, _, make in keyed):
            return None
        return lambda source, meter, variables: {
            key: make(source, meter, variables) if make else copy(item) for key, item, make in keyed
        }
    if isinstance(value, list):
        listed = [
            (item, _maker(item, names, f"{path}[{at}]", problems, warnings))
            for at, item in enumerate(value)
        ]
        if all(make is None for _, make in listed):
            return None
        return lambda source, meter, variables: [
            make(source, meter, variables) if make else copy(item) for item, make in listed
        ]
    return None


def path_in(path: str, key: str) -> str:
    """The place of a key inside a place: `$.a`, or `$["a b"]` for an odd key."""
    if key.isidentifier():
        return f"{path}.{key}"
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{quoted}"]'


def _found(expression: Expression, path: str) -> _Make:
    def find(source: Json, meter: Meter, variables: Variables) -> Json:
        try:
            result = expression.search(source, meter)
            if isinstance(result, dict | list):  # copying is cheap, but not a hundred times
                meter.spend(1 + (weigh(result, 8 * meter.left) >> 3))
                return copy(result)
            return result
        except OverBudget:
            raise ExpressionError(
                f"{path}  {shown(expression.text)} gives more than the budget allows",
                expression=expression.text,
                reason="budget",
                budget=meter.budget,
                path=path,
            ) from None
        except ExpressionError as error:
            raise ExpressionError(
                f"{path}  {error.message}", hint=error.hint, **{**error.details, "path": path}
            ) from None

    return find


def _filled(text: str, names: Collection[str], path: str, warnings: list[Problem]) -> _Make | None:
    form = compile_format(text, names, path)
    if form.unknown:
        missing = ", ".join(form.unknown)
        warnings.append(Problem(path, f"left as it is: no such variable: {missing}"))
    if not form.active:
        return None
    return lambda source, meter, variables: form.fill(variables)
