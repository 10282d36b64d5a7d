"""Kinds of fields: what a page may ask for beyond the plain types.

Each is a type, or a type with `Annotated` metadata, so that one declaration gives the check of an
answer and the JSON Schema that every renderer (terminal, HTML, a client of the socket) works from.
`msgspec.Meta` is the metadata of the schema and of limits (`ge=1`, `max_length=80`, `pattern=`),
the rules of this module are the rest. The vocabulary (`format`, `uniforms`, `options`) is that of
pydantic-forms, whose front ends can render these schemas.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Annotated, Any, ClassVar, Final, Self
from uuid import UUID

import msgspec
from msgspec import Meta

from greenroom.definitions.values import Json

FILE_NAME_MAX: Final = 255
EMAIL_MAX: Final = 254
FLOAT_DIGITS: Final = 15
"""Decimal digits that a binary float surely keeps."""


# -- rules -------------------------------------------------------------------------------------


class Check(msgspec.Struct, frozen=True):
    """A rule of one field: `test(value)` gives the value to keep or raises `ValueError`."""

    test: Callable[[Any], Any]
    type: str = "value_error"


class ReadOnly(msgspec.Struct, frozen=True):
    """The field is shown and may not be changed: another value than this is an error."""

    value: Any


class DisplayOnly(msgspec.Struct, frozen=True):
    """The field is shown and asks nothing; what is sent for it is not looked at."""


# -- choices -----------------------------------------------------------------------------------


class Choice(StrEnum):
    """One of several values, each with a label: `B = "b", "Label of B"`."""

    label: str

    def __new__(cls, value: str, label: str | None = None) -> Self:
        made = str.__new__(cls, value)
        made._value_ = value
        made.label = label or value
        return made


def choice_list(
    item_type: Any,
    *,
    min_items: int | None = None,
    max_items: int | None = None,
    unique_items: bool = False,
) -> Any:
    """Several of the values of a `Choice`."""
    limits = Meta(min_length=min_items or 0, max_length=max_items)
    made: Any = Annotated[list[item_type], limits]
    if unique_items:
        unique = Meta(extra_json_schema={"uniqueItems": True})
        made = Annotated[made, unique, Check(_unique, "unique_list")]
    return made


def _unique(values: list[Any]) -> list[Any]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("must not have the same item twice")
    return values


class AcceptValues(StrEnum):
    """What an `Accept` may be sent as."""

    ACCEPTED = "ACCEPTED"
    INCOMPLETE = "INCOMPLETE"


class Accept(str):
    """Things a person must have done before the answer counts: only `"ACCEPTED"` (or true) does.

    A subclass lists them in `data`: `[("Cable is plugged in", "checkbox"), ...]`.
    """

    data: ClassVar[Json] = None

    @classmethod
    def read(cls, value: Any) -> str:
        if isinstance(value, bool):
            value = AcceptValues.ACCEPTED if value else AcceptValues.INCOMPLETE
        if not isinstance(value, str) or value not in list(AcceptValues):
            raise ValueError('must be "ACCEPTED" or "INCOMPLETE"')
        if value == AcceptValues.INCOMPLETE:
            raise ValueError("Not all tasks are done")
        return str(value)

    @classmethod
    def schema(cls) -> dict[str, Json]:
        found: dict[str, Json] = {
            "type": "string", "format": "accept", "enum": [str(v) for v in AcceptValues],
        }  # fmt: skip
        if cls.data:
            found["data"] = msgspec.to_builtins(cls.data)
        return found


# -- texts and display -------------------------------------------------------------------------


def _shown(format: str) -> Any:
    extra = {"format": format, "type": "string"}
    return Annotated[str | None, Meta(extra_json_schema=extra), DisplayOnly()]


_EMAIL: Final = re.compile(r'[^\s@<>"]+@[^\s@<>"]+\.[^\s@<>".]+')


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address")
    return text


def _file_name(text: str) -> str:
    if text in (".", "..") or any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in text):
        raise ValueError("must be the name of a file, without a path")
    return text


LongText = Annotated[str, Meta(extra_json_schema={"format": "long"})]
"""Text of several lines."""
Email = Annotated[
    str, Meta(max_length=EMAIL_MAX, extra_json_schema={"format": "email"}), Check(_email)
]
FileName = Annotated[
    str,
    Meta(min_length=1, max_length=FILE_NAME_MAX, extra_json_schema={"format": "file"}),
    Check(_file_name),
]
"""The name of a file, never a path."""
Label: Any = _shown("label")
"""Text for the person; its default is what is shown."""
Divider: Any = _shown("divider")
Hidden: Any = _shown("hidden")


# -- numbers -----------------------------------------------------------------------------------


def exact(value: Any) -> decimal.Decimal:
    """A decimal number with every digit that was written. Raises `ValueError` or `TypeError`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | decimal.Decimal):
        raise TypeError("must be a number")
    text = repr(value) if isinstance(value, float) else str(value).strip()
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("must be a number") from None
    if not number.is_finite():
        raise ValueError("must be a finite number")
    if isinstance(value, float) and len(number.as_tuple().digits) > FLOAT_DIGITS:
        raise ValueError("has more digits than a JSON number keeps; give it as text")
    return number


def money(places: int = 2) -> Any:
    """An amount with at most so many decimals, kept as text so that no digit is lost."""

    def check(number: decimal.Decimal) -> decimal.Decimal:
        exponent = number.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > places:
            raise ValueError(f"must have at most {places} decimals")
        return number.quantize(decimal.Decimal(1).scaleb(-places), context=_WIDE)

    extra = {"uniforms": {"decimals": places}}
    return Annotated[decimal.Decimal, Meta(extra_json_schema=extra), Check(check)]


_WIDE: Final = decimal.Context(prec=200)
Money: Any = money()
"""An amount with two decimals."""


# -- read-only ---------------------------------------------------------------------------------

_JSON_TYPES: Final[dict[type, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", type(None): "string",
    list: "array",
}  # fmt: skip


def read_only(value: Any, merge_type: Any = None) -> Any:
    """A field that shows `value` and cannot be changed: `customer: read_only(customer_id)`, or
    `customer: str = read_only(customer_id)`. Left out it has its value, changed it is an error.

    `merge_type` is another kind of field whose look it takes (`read_only(text, LongText)`).
    """
    kind = list if isinstance(value, list) else type(value)
    plain = "string" if isinstance(value, str | UUID | Enum) else _JSON_TYPES.get(kind)
    if plain is None:
        known = ", ".join(t.__name__ for t in _JSON_TYPES)
        raise TypeError(
            f"Cannot make a read_only_field for type {kind.__name__}; it can be {known}, UUID, Enum"
        )
    shown = msgspec.to_builtins(value, enc_hook=_dumped)
    uniforms = {"disabled": True, "value": shown}
    extra: dict[str, Json] = {
        **_extra_of(merge_type), "uniforms": uniforms, "extraProperties": uniforms, "type": plain,
    }  # fmt: skip
    if kind is not list:
        extra["const"] = shown
    annotation: Any = list[_item_type(value)] if kind is list else kind  # type: ignore[misc]
    return Annotated[annotation, Meta(extra_json_schema=extra), ReadOnly(value)]


def read_only_field(default: Any, merge_type: Any = None) -> Any:
    """`read_only` under the name it has in pydantic-forms."""
    if isinstance(default, list):
        raise TypeError("Use read_only_list")
    return read_only(default, merge_type)


def read_only_list(default: list[Any] | None = None) -> Any:
    """`read_only` of a list, under the name it has in pydantic-forms."""
    if not isinstance(default, list):
        raise ValueError("Default argument must be a list")  # noqa: TRY004  as there
    return read_only(default)


def _item_type(values: list[Any]) -> Any:
    kinds = {type(value) for value in values} or {str}
    if len(kinds) != 1:
        raise TypeError("All items in read_only_list must be of same type")
    if kinds == {type(None)}:
        raise TypeError("read_only_list item type cannot be 'NoneType'")
    return kinds.pop()


def _extra_of(annotation: Any) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, Meta):
            found.update(meta.extra_json_schema or {})
    return found


def _dumped(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} cannot be shown")
    return dump(mode="json")
