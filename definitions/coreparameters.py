"""The parameters of core actions: as they are written, and as their expressions have given them.

The schemas are those of `coreactions`; here is what a schema cannot say.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from greenroom.definitions.coreactions import CORE_ACTIONS, DEFS
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import (
    ExpressionError,
    InvalidDefinition,
    InvalidInput,
    Problem,
)
from greenroom.definitions.expressions import is_expression, path_in
from greenroom.definitions.matching import compile_where
from greenroom.definitions.paths import path_problem
from greenroom.definitions.shapes import EXPRESSION, Problems, Schema, check_shape
from greenroom.definitions.values import Json

FIXED: Final = ("actions", "branches", "schema")
"""Parameters that are no values: they are read for themselves."""

_NULL_IS_NONE: Final = frozenset({("RunWorkflow", "key"), ("CustomEvent", "subject")})
"""Where an expression that finds nothing is as good as no expression."""


def check_written(kind: str, given: dict[str, Json], path: str, problems: Problems) -> None:
    """Adds what is wrong with the parameters of a core action as its author wrote them."""
    core = CORE_ACTIONS.get(kind)
    if core is None:
        return
    if core.parameters is None:
        if given:
            problems.add(path, f"Core:{kind} takes none")
        return
    if not check_shape(given, core.parameters, path, problems, DEFS):
        return
    match kind:
        case "CustomEvent":
            _check_body(given, path, problems)
        case "Wait":
            ways = [name for name in ("seconds", "duration", "until") if name in given]
            if len(ways) != 1:
                problems.add(path, "give one of seconds, duration, until")
            duration_at(given.get("duration"), f"{path}.duration", problems)
        case "WaitForEvent":
            _check_where(given.get("where", {}), f"{path}.where", problems)
            if given.get("since") not in ("start", "now"):
                duration_at(given.get("since"), f"{path}.since", problems)
        case "Data":
            _check_data(given, path, problems)
        case "Iterator":
            if "limit" in given and given.get("mode") != "parallel":
                problems.add(f"{path}.limit", "has no meaning with mode sequential")


def _check_body(given: dict[str, Json], path: str, problems: Problems) -> None:
    for one, other in (("body", "content_type"), ("content_type", "body")):
        if one in given and other not in given:
            problems.add(f"{path}.{other}", f"is missing: {one} is given")


def _check_where(where: dict[str, Json], path: str, problems: Problems) -> None:
    for text in where:
        problem = path_problem(text)
        if problem is not None:
            problems.add(path_in(path, text), problem)
    if all(path_problem(text) is None for text in where):
        try:
            compile_where({key: None if is_expression(v) else v for key, v in where.items()})
        except (InvalidDefinition, ExpressionError, InvalidInput) as error:
            problems.add(path, error.message)


def _check_data(given: dict[str, Json], path: str, problems: Problems) -> None:
    operation = given["operation"]
    counts = operation in ("increment", "decrement")
    if operation == "write" and "value" not in given:
        problems.add(f"{path}.value", "is missing")
    if "value" in given and operation in ("read", "query", "delete"):
        problems.add(f"{path}.value", f"has no meaning with {operation}")
    constant = "value" in given and not is_expression(given["value"])
    if counts and constant and type(given["value"]) is not int:
        problems.add(f"{path}.value", "must be a whole number")
    if "ttl" in given and operation in ("read", "query", "delete"):
        problems.add(f"{path}.ttl", f"has no meaning with {operation}")
    duration_at(given.get("ttl"), f"{path}.ttl", problems)


def duration_at(value: Json, path: str, problems: Problems) -> float | None:
    """A duration in seconds; None where there is none to be known yet, or it is wrong."""
    if value is None or is_expression(value):
        return None
    try:
        return seconds(value)
    except InvalidInput as error:
        problems.add(path, error.message)
    return None


def given_problems(kind: str, given: dict[str, Json], path: str) -> list[Problem]:
    """What is wrong with parameters whose expressions were evaluated."""
    schema = _of_values(kind)
    problems = Problems()
    if schema is not None:
        values = {
            name: value
            for name, value in given.items()
            if value is not None or (kind, name) not in _NULL_IS_NONE
        }
        check_shape(values, schema, path, problems, DEFS)
    return problems


@lru_cache(maxsize=len(CORE_ACTIONS))
def _of_values(kind: str) -> Schema | None:
    """The schema of what can be evaluated. The list of an iterator is judged where it is gone
    through."""
    core = CORE_ACTIONS.get(kind)
    if core is None or core.parameters is None or kind == "Iterator":
        return None
    properties = core.parameters["properties"]
    return {
        **core.parameters,
        "properties": {name: _value(one) for name, one in properties.items() if name not in FIXED},
        "required": [name for name in core.parameters["required"] if name not in FIXED],
    }


def _value(schema: Schema) -> Schema:
    """Without the choice to write an expression: it has given its value."""
    kept = [one for one in schema.get("anyOf", ()) if one.get("$ref") != EXPRESSION]
    return kept[0] if len(kept) == 1 else schema
