"""Lengths of time as people write them: `"2s"`, `"1h30m"`, `"3 days"`, ISO 8601, timedelta.

The unit words are pytimeparse's. It is asked for one unit at a time, because given a whole text
it cuts `0.01 m` to nothing, reads `1:30` as minutes though most people mean hours, and does not
know milliseconds.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from functools import lru_cache
from typing import Final

import msgspec
from pytimeparse.timeparse import timeparse

from greenroom.definitions.errors import InvalidInput

DURATION_MAX_S: Final = 100 * 365.25 * 86_400
"""A hundred years: beyond it a due time leaves the calendar."""

TEXT_MAX: Final = 64
FORMS: Final = "2s, 250ms, 1h30m, 3 days, 5 minutes, ISO 8601 like PT5M, or seconds as a number"

_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*,?", re.ASCII)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_WEEKS: Final = re.compile(r"P(\d{1,5})W", re.ASCII)
_SMALL: Final = {"ms": 0.001, "msec": 0.001, "msecs": 0.001, "millisecond": 0.001,
                 "milliseconds": 0.001}  # fmt: skip
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def seconds(value: str | float | timedelta, what: str = "duration") -> float:
    """The duration in seconds; plain numbers are seconds.

    Raises `InvalidInput` naming the value and the accepted forms for anything else: negative,
    not finite, empty, unparsable, longer than a hundred years.
    """
    match value:
        case bool():
            result = None
        case timedelta():
            result = value.total_seconds()
        case int() | float():
            result = float(value) if abs(value) <= DURATION_MAX_S else None
        case str():
            result = _from_text(value)
        case _:
            result = None
    if result is None or not 0 <= result <= DURATION_MAX_S:
        shown = hex(value) if type(value) is int and abs(value) >> 64 else str(value)
        raise InvalidInput(
            f'{what} "{shown[:TEXT_MAX]}" is not a duration',
            hint=f"write {FORMS}",
            value=shown[:TEXT_MAX],
            accepted=FORMS,
        )
    return result


@lru_cache(maxsize=1024)
def _from_text(text: str) -> float | None:
    text = text.strip()
    if not text or len(text) > TEXT_MAX:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    if text[0] in "pP":
        return _from_iso(text.upper())
    return _from_words(text.lower())


def _from_iso(text: str) -> float | None:
    weeks = _WEEKS.fullmatch(text)  # the one form of the standard msgspec leaves out
    if weeks:
        return int(weeks[1]) * 604_800.0
    try:
        return msgspec.convert(text, timedelta).total_seconds()
    except (msgspec.ValidationError, OverflowError):
        return None


def _from_words(text: str) -> float | None:
    """Units must fall: `30m 1h` and `1h 1h` are more often slips than wishes."""
    at, total, last = 0, 0.0, math.inf
    while at < len(text):
        part = _PART.match(text, at)
        unit = _unit(part[2]) if part else None
        if part is None or unit is None or unit >= last:
            return None
        total += float(part[1]) * unit
        at, last = part.end(), unit
    return None if text.endswith(",") else total


@lru_cache(maxsize=128)
def _unit(word: str) -> float | None:
    small = _SMALL.get(word)
    if small is not None:
        return small
    found = timeparse(f"1{word}")
    return None if found is None else float(found)


def text(seconds: float) -> str:
    """The duration for people, rounded to its two largest units: `2 s`, `1 h 30 min`, `250 ms`."""
    if seconds < 0:
        return f"-{text(-seconds)}"
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{round(seconds, 3 if seconds < 10 else 1):g} s"
    rest = round(seconds)
    at = next(i for i, (unit, _) in enumerate(_UNITS) if rest >= unit)
    rest = round(rest / _UNITS[at + 1][0]) * _UNITS[at + 1][0]
    at = next(i for i, (unit, _) in enumerate(_UNITS) if rest >= unit)  # 59 min 59 s is an hour
    (unit, name), (small, small_name) = _UNITS[at], _UNITS[at + 1]
    count, below = divmod(rest, unit)
    less = below // small
    return f"{count} {name} {less} {small_name}" if less else f"{count} {name}"
