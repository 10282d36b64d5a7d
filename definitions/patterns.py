"""Patterns of forms: regular expressions that people's answers are held against.

In `re` a short pattern can take for ever on a short text, and hold up the whole process meanwhile.
So patterns run on the engine of JSON Schema, which needs time in proportion to the text whoever
wrote the pattern. It knows no look-around and no back-references. Where it is not installed (extra
`documents`), the patterns of code are left to `re`; documents need it anyway.
"""

from __future__ import annotations

import functools
import operator
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from greenroom.definitions.errors import InvalidDefinition, InvalidRequest
from greenroom.definitions.fields import Check
from greenroom.definitions.schemas import compile_schema
from greenroom.definitions.values import Json

_KEPT = (
    "gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "tz", "title",
    "description", "examples", "extra",
)  # fmt: skip


def rule(pattern: Json, path: str = "$") -> tuple[msgspec.Meta, Check]:
    """What an annotation holds for a pattern: how the schema shows it, and the rule. Raises
    `InvalidDefinition` for what is none here, `InvalidRequest` where the engine is missing."""
    schema = compile_schema({"type": "string", "pattern": pattern}, path)

    def test(text: str) -> str:
        if schema.problems(text):
            raise ValueError(f"must match {pattern}")
        return text

    told = msgspec.Meta(extra_json_schema={"pattern": pattern})
    return told, Check(test, "string_pattern_mismatch")


def on_that_engine(annotation: Any) -> Any:
    """The annotation with the patterns of its `Meta(pattern=...)`, at any depth, as such rules.
    Raises `InvalidDefinition`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        found = on_that_engine(args[0])
        for one in args[1:]:
            for part in _parts(one):
                found = Annotated[found, part]
        return found
    if not args or origin is Literal:
        return annotation
    inner = tuple(map(on_that_engine, args))
    if all(new is old for new, old in zip(inner, args, strict=True)):
        return annotation
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, inner)
    return types.GenericAlias(origin, inner)


def _parts(one: Any) -> list[Any]:
    if not isinstance(one, msgspec.Meta) or one.pattern is None:
        return [one]
    try:
        told, check = rule(one.pattern)
    except InvalidRequest:
        return [one]
    except InvalidDefinition as error:
        raise InvalidDefinition(
            f"the pattern {one.pattern!r} is none here: {error.problems[0].message}",
            hint="patterns have no look-around and no back-references; check such a rule in "
            "__post_init__",
        ) from None
    words = {name: getattr(one, name) for name in _KEPT if getattr(one, name) is not None}
    extra = {**(told.extra_json_schema or {}), **(one.extra_json_schema or {})}
    return [msgspec.Meta(**words, extra_json_schema=extra), check]
