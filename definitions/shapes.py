"""Checks a value against a JSON Schema of ours and says what is wrong in words for its author.

A validator for any schema finds the same faults and names them by the schema's logic; here the
schemas are our own and simple, and the point is the sentence. A string that starts with `::` is
an expression: where the schema allows one (`anyOf` with `#/$defs/expression`) nothing more can be
known before the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from greenroom.definitions.errors import Problem
from greenroom.definitions.expressions import is_expression, path_in
from greenroom.definitions.suggest import did_you_mean, near
from greenroom.definitions.values import Json, encode

PROBLEMS_MAX: Final = 100
SLIPS_MAX: Final = 10
"""Unknown keys of one object that are compared with what is missing: nearness costs time."""
SHOWN_MAX: Final = 60

EXPRESSION: Final = "#/$defs/expression"

Schema = Mapping[str, Any]


class TooMany(Exception):
    """There is more wrong than anybody will read."""


class Problems(list[Problem]):
    """What is wrong so far. `add` raises `TooMany` at the limit, so that a text made to be wrong
    everywhere costs no more than one that is wrong a hundred times."""

    def add(self, path: str, message: str, where: str | None = None) -> None:
        self.take(Problem(path, message, where))

    def take(self, *found: Problem) -> None:
        for one in found:
            if len(self) >= PROBLEMS_MAX:
                raise TooMany
            self.append(one)


def check_shape(
    value: Json, schema: Schema, path: str, problems: Problems, defs: Mapping[str, Schema]
) -> bool:
    """Adds what is wrong. Schemas that `defs` does not have are checked by somebody else."""
    before = len(problems)
    _check(value, schema, path, problems, defs)
    return len(problems) == before


def _check(
    value: Json, schema: Schema, path: str, problems: Problems, defs: Mapping[str, Schema]
) -> None:
    reference = schema.get("$ref")
    if reference is not None:
        name = reference.rpartition("/")[2]
        if name in defs:
            _check(value, defs[name], path, problems, defs)
        return
    if "anyOf" in schema:
        _check_any(value, schema["anyOf"], path, problems, defs)
        return
    wanted = schema.get("type")
    if wanted is not None and not any(_is(value, one) for one in _listed(wanted)):
        problems.add(path, f"must be {_words(schema)}, got {shown(value)}")
        return
    if "const" in schema and not (
        value == schema["const"] and type(value) is type(schema["const"])
    ):
        problems.add(path, f"must be {shown(schema['const'])}, got {shown(value)}")
    elif "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(map(str, schema["enum"]))
        problems.add(path, f"{shown(value)} is not one of: {choices}")
    elif isinstance(value, dict):
        _check_object(value, schema, path, problems, defs)
    elif isinstance(value, list):
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if len(value) < low or (high is not None and len(value) > high):
            problems.add(path, f"must be a list of {low} to {high}, got {len(value)}")
        for at, item in enumerate(value[:high]):
            _check(item, schema.get("items", {}), f"{path}[{at}]", problems, defs)
    elif isinstance(value, str):
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            problems.add(path, f"must be {_words(schema)}, got {len(value)} characters")
        elif "pattern" in schema and not re.search(schema["pattern"], value):
            problems.add(path, f"{shown(value)} is not {schema.get('title', 'as it must be')}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            problems.add(path, f"must be {_words(schema)}, got {shown(value)}")


def _check_any(
    value: Json, choices: list[Schema], path: str, problems: Problems, defs: Mapping[str, Schema]
) -> None:
    expression = any(one.get("$ref") == EXPRESSION for one in choices)
    if is_expression(value):
        if expression or any(_allows(one, value, defs) for one in choices):
            return
        problems.add(path, "must be a constant here, not an expression")
        return
    plain = [one for one in choices if one.get("$ref") != EXPRESSION]
    fitting = [one for one in plain if _allows(one, value, defs)]
    if not fitting:
        words = [_words(_resolved(one, defs)) for one in plain]
        words += ["an expression"] if expression else []
        problems.add(path, f"must be {' or '.join(words)}, got {shown(value)}")
        return
    for one in fitting:
        tried = Problems()
        _check(value, one, path, tried, defs)
        if not tried:
            return
    _check(value, fitting[0], path, problems, defs)


def _allows(schema: Schema, value: Json, defs: Mapping[str, Schema]) -> bool:
    """Whether the type is right."""
    schema = _resolved(schema, defs)
    wanted = schema.get("type")
    return wanted is None or any(_is(value, one) for one in _listed(wanted))


def _resolved(schema: Schema, defs: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else defs.get(reference.rpartition("/")[2], {})


def _check_object(
    value: dict[str, Json],
    schema: Schema,
    path: str,
    problems: Problems,
    defs: Mapping[str, Schema],
) -> None:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    if len(value) > schema.get("maxProperties", len(value)):
        problems.add(path, f"has {len(value)} keys, the limit is {schema['maxProperties']}")
    for name in schema.get("required", ()):
        if name not in value and not is_mistyped(name, value, known):
            problems.add(path_in(path, name), "is missing")
    for name, item in value.items():
        place = path_in(path, name)
        if name in known:
            _check(item, known[name], place, problems, defs)
        elif others is False:
            problems.add(place, f"unknown key{did_you_mean(name, known)}")
        elif isinstance(others, Mapping):
            _check(item, others, place, problems, defs)


def is_mistyped(name: str, value: Mapping[str, Json], known: Iterable[str]) -> bool:
    """Whether a key that is missing stands there with a slip: the slip is told, once."""
    listed = list(known)
    unknown = islice((key for key in value if key not in listed), SLIPS_MAX)
    return any(near(key, listed) == name for key in unknown)


def _listed(wanted: Any) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _is(value: Json, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


_NAMES: Final = {
    "null": "null", "boolean": "true or false", "integer": "a whole number", "number": "a number",
    "string": "text", "array": "a list", "object": "an object",
}  # fmt: skip


def _words(schema: Schema) -> str:
    """What a value must be."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return shown(schema["const"])
    if "title" in schema:
        return str(schema["title"])
    kinds = _listed(schema.get("type", []))
    words = " or ".join(_NAMES[kind] for kind in kinds) or "a value"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{words} from {low} to {high}"
    if low is not None:
        return f"{words} of {low} or more"
    if "maxLength" in schema:
        return f"{words} of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return words


def shown(value: Json) -> str:
    """A value as its author wrote it, cut if it is long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = encode(value).decode()
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
