"""Limits of fields as other libraries write them: `Annotated[int, Ge(1)]`, `pydantic.Field(ge=1)`.

They are plain objects with plain attributes, so they are taken for what they say without importing
who made them, as `msgspec.Meta`. What cannot be carried out is not taken: see `pages`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple, get_origin

import msgspec

from greenroom.definitions.reading import MISSING, unwrapped

LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
TEXTS: Final = ("title", "description")
CHANGES: Final = (
    "strict", "strip_whitespace", "to_upper", "to_lower", "ascii_only", "decimal_places",
    "max_digits", "allow_inf_nan", "coerce_numbers_to_str", "union_mode", "fail_fast",
)  # fmt: skip
UNHEARD: Final = ("exclude", "frozen", "discriminator", "init", "init_var", "kw_only")
OTHERS: Final = ("annotated_types", "pydantic")


class Said(NamedTuple):
    """What a `Field(...)` says of a field."""

    default: Any
    factory: Callable[[], Any] | None
    alias: str | None


def is_foreign(thing: Any) -> bool:
    """Whether it is a limit or rule of another library."""
    return type(thing).__module__.partition(".")[0] in OTHERS


def is_field(thing: Any) -> bool:
    return is_foreign(thing) and type(thing).__name__ == "FieldInfo"


def said_by(field: Any) -> Said | None:
    """The default and name that a `Field(...)` gives; None where it says what nobody would do."""
    if any(getattr(field, name, None) for name in UNHEARD):
        return None
    names = (field.alias, field.validation_alias, field.serialization_alias)
    alias = next((name for name in names if name is not None), None)
    if any(name not in (None, alias) for name in names) or not isinstance(alias, str | None):
        return None
    default = MISSING if type(field.default).__name__ == "PydanticUndefinedType" else field.default
    return Said(MISSING if default is ... else default, field.default_factory, alias)


def translated(annotation: Any) -> Any | None:
    """The annotation with those limits as `msgspec.Meta`; None where one has no such form."""
    inner, metadata = unwrapped(annotation)
    if get_origin(annotation) is not Annotated or not any(map(is_foreign, metadata)):
        return annotation
    found = inner
    for one in metadata:
        meta = _meta(one) if is_foreign(one) else one
        if meta is None:
            return None
        found = Annotated[found, meta]
    return found


def _meta(thing: Any) -> msgspec.Meta | None:
    parts = [thing, *thing.metadata] if is_field(thing) else [thing]
    words: dict[str, Any] = {}
    for part in parts:
        if not is_field(part) and not any(hasattr(part, name) for name in LIMITS):
            return None
        if any(getattr(part, name, None) is not None for name in CHANGES):
            return None
        named = {name: getattr(part, name, None) for name in LIMITS}
        named["min_length"] = named["min_length"] or None
        words |= {name: value for name, value in named.items() if value is not None}
    if is_field(thing):
        words |= {name: getattr(thing, name) for name in TEXTS if getattr(thing, name)}
        extra = thing.json_schema_extra
        if extra is not None and not isinstance(extra, dict):
            return None
        if extra:
            words["extra_json_schema"] = extra
    try:
        return msgspec.Meta(**words)
    except (TypeError, ValueError):
        return None
