"""Reading one answer: from JSON to the annotated type, with every error and not only the first.

msgspec converts well and stops at the first error, so lists, maps and objects are walked here and
only single values are handed to it. Forms are lax where people type (`"20"` is a number) and
strict where a guess would be wrong (`true` is no number, a day is no count of seconds).
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import math
import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

from greenroom.definitions.fields import Accept, Check, DisplayOnly, ReadOnly, exact
from greenroom.definitions.values import INT_MAX, INT_MIN, Json, copy

Loc = tuple[str | int, ...]
Error = dict[str, Json]

ROOT: Final = "__root__"
"""Where an error of a whole page is said to be."""

MISSING: Final = msgspec.UNSET


def problem(loc: Loc, message: str, word: str) -> Error:
    """One error: `{loc msg type}`."""
    return {"loc": list(loc), "msg": message, "type": word}


class Reader:
    """Reads one value after the other and keeps the errors. `nested` reads objects of page
    classes: `nested(cls, value, loc)`, or gives None for a class that is no page."""

    def __init__(self, nested: Callable[[Reader, type, Any, Loc], Any]) -> None:
        self.errors: list[Error] = []
        self._nested = nested

    def fail(self, loc: Loc, message: str, word: str) -> Any:
        self.errors.append(problem(loc, message, word))
        return MISSING

    def read(self, annotation: Any, value: Any, loc: Loc) -> Any:
        """The value as its type, or MISSING with the reasons in `errors`."""
        inner, metadata = unwrapped(annotation)
        for rule in metadata:
            if isinstance(rule, ReadOnly):
                return self._read_only(rule, inner, value, loc)
        limits = tuple(meta for meta in metadata if isinstance(meta, msgspec.Meta))
        found = self._typed(inner, limits, value, loc)
        if found is MISSING:
            return MISSING
        for rule in metadata:
            if isinstance(rule, Check):
                try:
                    found = rule.test(found)
                except ValueError as error:
                    return self.fail(loc, str(error) or "is not valid", rule.type)
        return found

    def _read_only(self, rule: ReadOnly, inner: Any, value: Any, loc: Loc) -> Any:
        if not _same(value, rule.value):
            other = Reader(self._nested)
            if not _same(other._typed(inner, (), value, loc), rule.value):
                return self.fail(loc, "cannot be changed", "read_only")
        return copy(rule.value)

    def _typed(self, kind: Any, limits: tuple[Any, ...], value: Any, loc: Loc) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._union(kind, limits, value, loc)
        if origin in _SEQUENCES and get_args(kind):
            return self._items(kind, limits, value, loc)
        if origin in (dict, Mapping, collections.abc.MutableMapping) and len(get_args(kind)) == 2:
            return self._mapping(kind, limits, value, loc)
        if isinstance(kind, type):
            if issubclass(kind, Accept):
                return self._accept(kind, value, loc)
            if is_object(kind):
                return value if isinstance(value, kind) else self._nested(self, kind, value, loc)
        return self._single(kind, limits, value, loc)

    def _accept(self, kind: type[Accept], value: Any, loc: Loc) -> Any:
        try:
            return kind.read(value)
        except ValueError as error:
            return self.fail(loc, str(error), "value_error")

    def _union(self, kind: Any, limits: tuple[Any, ...], value: Any, loc: Loc) -> Any:
        members = get_args(kind)
        if value is None and type(None) in members:
            return None
        others = [member for member in members if member is not type(None)]
        if len(others) > 1 and not any(map(_is_deep, others)):
            return self._single(kind, limits, value, loc)
        first: list[Error] = []
        for member in others:
            reader = Reader(self._nested)
            found = reader.read(_limited(member, limits), value, loc)
            if not reader.errors:
                return found
            first = first or reader.errors
        self.errors += first
        return MISSING

    def _items(self, kind: Any, limits: tuple[Any, ...], value: Any, loc: Loc) -> Any:
        if isinstance(value, str | bytes | Mapping) or not isinstance(
            value, collections.abc.Collection
        ):
            return self.fail(loc, "must be a list", "list_type")
        arguments, origin = get_args(kind), get_origin(kind)
        if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):
            if len(value) != len(arguments):
                return self.fail(loc, f"must have {len(arguments)} items", "list_length")
            wanted = list(arguments)
        else:
            wanted = [arguments[0]] * len(value)
        before = len(self.errors)
        found = [
            self.read(item, one, (*loc, place))
            for place, (item, one) in enumerate(zip(wanted, value, strict=True))
        ]
        if len(self.errors) > before or not self._within(found, list, limits, loc):
            return MISSING
        try:
            return found if origin not in _MADE else _MADE[origin](found)
        except TypeError:
            return self.fail(loc, "has items that cannot be told apart", "set_item_not_hashable")

    def _mapping(self, kind: Any, limits: tuple[Any, ...], value: Any, loc: Loc) -> Any:
        if not isinstance(value, Mapping):
            return self.fail(loc, "must be an object", "dict_type")
        names, kinds = get_args(kind)
        before = len(self.errors)
        found = {
            self.read(names, name, (*loc, str(name))): self.read(kinds, one, (*loc, str(name)))
            for name, one in value.items()
        }
        if len(self.errors) > before or not self._within(found, dict, limits, loc):
            return MISSING
        return found

    def _within(self, found: Any, kind: type, limits: tuple[Any, ...], loc: Loc) -> bool:
        if not limits:
            return True
        try:
            msgspec.convert([None] * len(found), _limited(list, limits))
        except msgspec.ValidationError as error:
            self.fail(loc, *_words(list, found, str(error)))
            return False
        return True

    def _single(self, kind: Any, limits: tuple[Any, ...], value: Any, loc: Loc) -> Any:
        try:
            if kind is decimal.Decimal:
                value = exact(value)
                limits = tuple(meta for meta in limits if not _only_look(meta))
            found = msgspec.convert(
                value, _limited(kind, limits), strict=_is_strict(kind), dec_hook=_hook
            )
        except msgspec.ValidationError as error:
            return self.fail(loc, *_words(kind, value, str(error)))
        except (ValueError, TypeError) as error:
            return self.fail(loc, str(error), "value_error")
        if isinstance(found, float) and not math.isfinite(found):
            return self.fail(loc, "must be a finite number", "finite_number")
        if type(found) is int and not INT_MIN <= found <= INT_MAX:
            return self.fail(loc, "must fit into 64 bits", "int_parsing_size")
        return found


_SEQUENCES: Final = frozenset(
    {list, set, frozenset, tuple, collections.abc.Sequence, collections.abc.Set}
)
_MADE: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    set: set, frozenset: frozenset, tuple: tuple, collections.abc.Set: set,
}  # fmt: skip
_MOMENTS: Final = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)


def unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The bare type and the metadata of an annotation, the innermost first."""
    if get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def is_shown_only(annotation: Any) -> bool:
    return any(isinstance(rule, DisplayOnly) for rule in unwrapped(annotation)[1])


def is_object(kind: Any) -> bool:
    """A class whose objects have named fields: a page, Struct, dataclass or pydantic model."""
    return isinstance(kind, type) and (
        hasattr(kind, "model_validate")
        or issubclass(kind, msgspec.Struct)
        or hasattr(kind, "__dataclass_fields__")
    )


def _is_deep(kind: Any) -> bool:
    """Whether a type has parts that are read here and not by msgspec."""
    inner, metadata = unwrapped(kind)
    return (
        is_object(inner)
        or inner is decimal.Decimal
        or any(isinstance(rule, Check | ReadOnly) for rule in metadata)
        or (isinstance(inner, type) and issubclass(inner, Accept))
        or any(_is_deep(part) for part in get_args(inner) if not isinstance(part, str))
    )


def _limited(kind: Any, limits: tuple[Any, ...]) -> Any:
    for meta in limits:
        kind = Annotated[kind, meta]
    return kind


def _only_look(meta: Any) -> bool:
    return all(
        getattr(meta, name) is None
        for name in ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
    )


def _is_strict(kind: Any) -> bool:
    """Times are text: a number is not taken for seconds since 1970."""
    return kind in _MOMENTS or any(_is_strict(part) for part in get_args(kind))


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    return type(value) is type(wanted) and bool(value == wanted)


def _hook(kind: type, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise TypeError(f"{kind.__name__} cannot be read from an answer")


# -- words -------------------------------------------------------------------------------------

_WANTED: Final[dict[Any, tuple[str, str]]] = {
    int: ("must be a whole number", "int"),
    float: ("must be a number", "float"),
    bool: ("must be true or false", "bool"),
    str: ("must be text", "string"),
    bytes: ("must be base64 text", "bytes"),
    UUID: ("must be a UUID", "uuid"),
    datetime.date: ("must be a day such as 2026-11-23", "date"),
    datetime.datetime: ("must be a time such as 2026-11-23T12:00:00Z", "datetime"),
    datetime.time: ("must be a time of day such as 12:30:00", "time"),
    datetime.timedelta: ("must be a duration such as PT30M", "time_delta"),
    decimal.Decimal: ("must be a number", "decimal"),
    list: ("must be a list", "list"),
    dict: ("must be an object", "dict"),
}
_LIMITS: Final = (
    (re.compile(r">= (\S+)"), "must be at least {}", "greater_than_equal"),
    (re.compile(r"<= (\S+)"), "must be at most {}", "less_than_equal"),
    (re.compile(r"> (\S+)"), "must be more than {}", "greater_than"),
    (re.compile(r"< (\S+)"), "must be less than {}", "less_than"),
    (re.compile(r"multiple of (\S+)"), "must be a multiple of {}", "multiple_of"),
    (re.compile(r"matching regex (.+)"), "must match {}", "string_pattern_mismatch"),
)
_LENGTH: Final = re.compile(r"of length ([<>]?=?) ?(\d+)")


def _words(kind: Any, value: Any, said: str) -> tuple[str, str]:
    """What msgspec said, for the person who typed the value; and the type of the error."""
    length = _LENGTH.search(said)
    if length is not None:
        few = length[1].startswith(">")
        if isinstance(value, list | dict):
            return (
                f"must have at {'least' if few else 'most'} {length[2]} items",
                "too_short" if few else "too_long",
            )
        return (
            f"must have at {'least' if few else 'most'} {length[2]} characters",
            "string_too_short" if few else "string_too_long",
        )
    if "got" not in said:
        for pattern, text, word in _LIMITS:
            found = pattern.search(said)
            if found is not None:
                return text.format(found[1].strip("`'")), word
    return _wanted(kind, value)


def _wanted(kind: Any, value: Any) -> tuple[str, str]:
    if get_origin(kind) is Literal:
        return "must be one of " + ", ".join(map(str, get_args(kind))), "literal_error"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "must be one of " + ", ".join(str(member.value) for member in kind), "enum"
    known = _WANTED.get(kind) or _WANTED.get(get_origin(kind))
    if known is None:
        return f"must be {_name(kind)}", "type_error"
    text, word = known
    typed = isinstance(value, str) and word not in ("string", "list", "dict")
    return text, f"{word}_parsing" if typed else f"{word}_type"


def _name(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        parts = [part for part in get_args(kind) if part is not type(None)]
        return " or ".join(_wanted(part, None)[0].removeprefix("must be ") for part in parts)
    return kind.__name__ if isinstance(kind, type) else str(kind)
