"""The five types of condition attributes: what belongs to each, and how it compares.

`read` turns a JSON value into something comparable or gives `MISSING` when it is not of the type.
It never guesses: `true` is not 1, `"1"` is not 1, an unreadable date is not a date.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from greenroom.definitions.paths import MISSING
from greenroom.definitions.values import Json

Compare = Callable[[Any, Any], bool]

MILLISECONDS_FROM: Final = 1e12
"""An epoch number beyond this is in milliseconds; in seconds it would be the year 33658."""

VERSION_MAX: Final = 256
DATE_MAX: Final = 64
_EPOCH: Final = datetime(1970, 1, 1)


class Operand(NamedTuple):
    read: Callable[[Json], Any]
    operators: dict[str, Compare]
    form: str


def _boolean(value: Json) -> Any:
    return value if isinstance(value, bool) else MISSING


def _number(value: Json) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else MISSING


def _string(value: Json) -> Any:
    return value if isinstance(value, str) else MISSING


def _date(value: Json) -> Any:
    """Time since 1970, so that dates of every zone compare, those at the calendar's ends too."""
    try:
        if isinstance(value, str) and len(value) <= DATE_MAX:
            moment = datetime.fromisoformat(value)
            offset = moment.utcoffset() or timedelta(0)
            return moment.replace(tzinfo=None) - _EPOCH - offset
        if isinstance(value, int | float) and not isinstance(value, bool):
            in_ms = abs(value) > MILLISECONDS_FROM
            return timedelta(milliseconds=value) if in_ms else timedelta(seconds=value)
    except (ValueError, OverflowError):
        pass
    return MISSING


def _version(value: Json) -> Any:
    if not isinstance(value, str) or len(value) > VERSION_MAX:
        return MISSING
    from semver import Version  # noqa: PLC0415  21 ms at import, and few conditions need it

    try:
        return Version.parse(value.removeprefix("v"), optional_minor_and_patch=True)
    except (ValueError, TypeError):
        return MISSING


_EQUALITY: Final[dict[str, Compare]] = {"eq": operator.eq, "ne": operator.ne}
_ORDER: Final[dict[str, Compare]] = {
    "lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge,
}  # fmt: skip

OPERANDS: Final[dict[str, Operand]] = {
    "Boolean": Operand(_boolean, _EQUALITY, "true or false"),
    "Date": Operand(
        _date, {"before": operator.lt, "after": operator.gt}, "ISO 8601 text or epoch seconds"
    ),
    "Number": Operand(_number, _EQUALITY | _ORDER, "a number"),
    "String": Operand(_string, _EQUALITY | _ORDER | {"starts_with": str.startswith}, "a string"),
    "Version": Operand(_version, _EQUALITY | _ORDER, "a version like 1.2.3"),
}
