"""Days on which a schedule does not fire: weekdays, dates, dates of every year, stretches of dates.

A day is one of the schedule's zone. What falls on an excluded day is not made up for: it was never
due.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json

ITEMS_MAX: Final = 400
LOOK_AHEAD_DAYS: Final = 366 * 8
"""A day that is free must come within eight years, a leap day included."""
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_YEARLY: Final = re.compile(r"(\d\d)-(\d\d)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LEAP_YEAR: Final = 2024

_Test = Callable[[date], bool]


class NotADay(ValueError):
    """The item names no day; the argument says why."""


class Calendar:
    """The excluded days of a schedule, in its zone."""

    __slots__ = ("_tests", "items", "zone")

    def __init__(self, items: Json, zone: ZoneInfo) -> None:
        """Raises `NotADay`."""
        found = [items] if isinstance(items, str) else items
        if not isinstance(found, list) or not found:
            raise NotADay("must be a list of days such as saturday, 2026-12-25 or 12-25")
        if len(found) > ITEMS_MAX:
            raise NotADay(f"has {len(found)} items, the limit is {ITEMS_MAX}")
        self.items = tuple(str(item) for item in found)
        self._tests = [_test(item) for item in found]
        self.zone = zone

    def excludes(self, day: date) -> bool:
        return any(test(day) for test in self._tests)

    def free(self, at: float) -> float | None:
        """`at` when its day is free; else the first instant of the next free day; None: there is
        none for years."""
        day = datetime.fromtimestamp(at, self.zone).date()
        if not self.excludes(day):
            return at
        for _ in range(LOOK_AHEAD_DAYS):
            day += timedelta(days=1)
            if not self.excludes(day):
                return self._begin(day)
        return None

    def _begin(self, day: date) -> float:
        """The first instant of a day; where midnight is left out, that at which it is."""
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()


def _test(item: Json) -> _Test:
    if not isinstance(item, str):
        raise NotADay(f"{str(item)[:40]} is not a day: write text such as saturday or 2026-12-25")
    text = item.strip().lower()
    if text == "weekend":
        return lambda day: day.weekday() >= 5
    if text in DAYS:
        weekday = DAYS.index(text)
        return lambda day: day.weekday() == weekday
    if found := _YEARLY.fullmatch(text):
        month, number = int(found[1]), int(found[2])
        _date(f"{_LEAP_YEAR}-{text}", item)
        return lambda day: (day.month, day.day) == (month, number)
    if "/" in text:
        first, last = (_date(part, item) for part in text.split("/", 1))
        if last < first:
            raise NotADay(f'"{item}" ends before it begins')
        return lambda day: first <= day <= last
    if _DATE.fullmatch(text):
        only = _date(text, item)
        return lambda day: day == only
    mend = did_you_mean(text, (*DAYS, "weekend"))
    raise NotADay(f'"{item[:40]}" is not a weekday, weekend, date, MM-DD or date/date{mend}')


def _date(text: str, item: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise NotADay(f'"{item[:40]}" is not in the calendar') from None
