"""A page of a form from a JSON Schema: how a document asks a person for typed fields.

Only what a form can show is taken: an object of named fields that are text, numbers, yes or no,
dates, a choice, or a list of one of these. Everything else is refused when the document is saved.
"""

from __future__ import annotations

import datetime
import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

import msgspec

from greenroom.definitions.errors import InvalidDefinition, InvalidRequest
from greenroom.definitions.pages import FormPage
from greenroom.definitions.patterns import rule
from greenroom.definitions.shapes import Problems
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json

FIELDS_MAX: Final = 100
_TOP: Final = (
    "type",
    "title",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "$schema",
)
_TYPES: Final[dict[str, Any]] = {
    "string": str, "integer": int, "number": float, "boolean": bool,
}  # fmt: skip
_FORMATS: Final[dict[str, Any]] = {
    "date": datetime.date, "date-time": datetime.datetime, "time": datetime.time,
}  # fmt: skip
_LIMITS: Final = {
    "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt",
    "minLength": "min_length", "maxLength": "max_length",
    "minItems": "min_length", "maxItems": "max_length", "multipleOf": "multiple_of",
}  # fmt: skip
_SHOWN: Final = ("title", "description", "examples")
_KNOWN: Final = ("type", "enum", "format", "items", "default", "pattern", *_LIMITS, *_SHOWN)


def page_from_schema(
    name: str, schema: Mapping[str, Json], path: str, problems: Problems
) -> type[FormPage] | None:
    """The page class, or None with what is wrong in `problems`."""
    before = len(problems)
    for key in schema:
        if key not in _TOP:
            problems.add(f"{path}.{key}", f"a form has no {key}{did_you_mean(key, _TOP)}")
    if schema.get("type", "object") != "object":
        problems.add(f"{path}.type", "must be object: a form has named fields")
    fields = schema.get("properties")
    if not isinstance(fields, dict) or not 0 < len(fields) <= FIELDS_MAX:
        problems.add(f"{path}.properties", f"must be an object of 1 to {FIELDS_MAX} fields")
        return None
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(one in fields for one in required):
        problems.add(f"{path}.required", "must be a list of names of properties")
        required = []
    annotations: dict[str, Any] = {}
    values: dict[str, Any] = {}
    ordered = sorted(fields, key=lambda one: one not in required)
    for field in ordered:
        place = f"{path}.properties.{field}"
        if not field.isidentifier() or field.startswith("_"):
            problems.add(place, "a field is named with letters, digits and _")
            continue
        found = _annotation(fields[field], place, problems)
        if found is None:
            continue
        if field not in required:
            values[field] = fields[field].get("default")
            if values[field] is None:
                found = cast(Any, found) | None
        annotations[field] = found
    if len(problems) > before:
        return None
    title = schema.get("title")

    def body(scope: dict[str, Any]) -> None:
        scope.update(values)
        scope["__annotations__"] = annotations
        scope["__module__"] = __name__
        if isinstance(schema.get("description"), str):
            scope["__doc__"] = schema["description"]

    try:
        page = types.new_class(str(title or name), (FormPage,), {}, body)
    except (InvalidDefinition, TypeError, ValueError) as error:
        problems.add(path, str(error))
        return None
    return page


def _annotation(schema: Json, path: str, problems: Problems) -> Any:
    if not isinstance(schema, dict):
        problems.add(path, "must be a schema object")
        return None
    for key in schema:
        if key not in _KNOWN:
            problems.add(f"{path}.{key}", f"a field has no {key}{did_you_mean(key, _KNOWN)}")
    kind: Any
    if "enum" in schema:
        choices = schema["enum"]
        if (
            not isinstance(choices, list)
            or not choices
            or not all(isinstance(one, str | int) for one in choices)
        ):
            problems.add(f"{path}.enum", "must be a list of texts or whole numbers")
            return None
        kind = Literal[tuple(choices)]
    elif schema.get("type") == "array":
        inner: Any = _annotation(schema.get("items", {"type": "string"}), f"{path}.items", problems)
        if inner is None:
            return None
        kind = types.GenericAlias(list, (inner,))
    else:
        kind = _TYPES.get(str(schema.get("type")))
        if kind is None:
            problems.add(f"{path}.type", "must be one of: string, integer, number, boolean, array")
            return None
        if "format" in schema and kind is str:
            kind = _FORMATS.get(str(schema["format"]), str)
    limits = {word: schema[key] for key, word in _LIMITS.items() if key in schema}
    shown = {key: schema[key] for key in _SHOWN if key in schema}
    if limits or shown:
        try:
            kind = Annotated[kind, msgspec.Meta(**limits, **shown)]
        except (TypeError, ValueError) as error:
            problems.add(path, str(error))
            return None
    if "pattern" in schema:
        if schema.get("type") != "string" or "enum" in schema or "format" in schema:
            problems.add(f"{path}.pattern", "only a plain string has a pattern")
            return None
        return _matching(kind, schema["pattern"], f"{path}.pattern", problems)
    return kind


def _matching(kind: Any, pattern: Json, path: str, problems: Problems) -> Any:
    """The kind with a pattern."""
    try:
        told, check = rule(pattern, path)
    except InvalidDefinition as error:
        problems.add(path, error.problems[0].message)
        return None
    except InvalidRequest as error:
        problems.add(path, f"{error.message}: {error.hint}")
        return None
    return Annotated[kind, told, check]
