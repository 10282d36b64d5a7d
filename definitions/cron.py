"""Cron expressions, and what they mean where clocks are changed.

croniter knows the grammar and finds the next *wall-clock* time; it is only ever given times
without a zone. Turning wall-clock times into instants is done here, so each rule is in one place:

* A job at a fixed time (neither the minute nor the hour starts with `*`) runs once a day whatever
  the clocks do: at the first of two passes of the repeated hour, at the first instant after the
  hour that is left out. `dst="both"` makes it run at both passes.
* Any other job follows the real clock: it runs at both passes, and not in an hour that is not.

These are Debian cron's rules. Given a zone, croniter fires a fixed time twice in autumn.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LENGTH_MAX: Final = 256
ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_WORDS: Final = frozenset(
    ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
     "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L")
)  # fmt: skip
_FIELD: Final = re.compile(r"[0-9A-Za-z*?,/#-]+", re.ASCII)
_SECOND: Final = timedelta(seconds=1)
_EPOCH: Final = datetime(1970, 1, 1)
_SOME_DAY: Final = datetime(2024, 1, 1)


class NotCron(ValueError):
    """The text is not a cron expression this engine runs; the argument says why."""


class Cron:
    """A checked cron expression in a zone."""

    __slots__ = ("_fields", "_real_clock", "_twice", "notes", "text", "timezone", "zone")

    def __init__(
        self, text: str, timezone: str = "UTC", *, dst: str = "once", seconds: bool = False
    ) -> None:
        """Raises `NotCron`; `seconds` says that a first field of seconds is there."""
        fields = _checked(text, seconds)
        minute, hour, day, _, weekday = fields[-5:]
        self.text = text
        self.timezone = timezone
        self.zone = zone_of(timezone)
        self.notes: tuple[str, ...] = ()
        if not {day, weekday} & {"*", "?"}:
            self.notes = ("runs when the day of the month or the weekday matches, not only both",)
        self._fields = " ".join(fields)
        self._real_clock = minute[0] in "*?" or hour[0] in "*?"
        self._twice = self._real_clock or dst == "both"
        if self._next_wall(_SOME_DAY) is None:
            raise NotCron(f'"{text}" never matches a day of the calendar')

    def next(self, after: float) -> float | None:
        """The first due instant after `after`, in seconds since 1970; None at the calendar's
        end."""
        start = math.floor(after)
        try:
            local = datetime.fromtimestamp(start, self.zone)
            found = self._after(start, local, local.replace(tzinfo=None, fold=0))
        except (ValueError, OverflowError, OSError):
            return None
        return None if found is None else float(found)

    def _after(self, start: int, local: datetime, wall: datetime) -> int | None:
        before, later = self._offsets(wall)
        if before > later:
            shift = _whole(before - later)
            if local.fold == 0 and self._twice:
                change = self._change(start, start + shift)
                first = self._next_wall(wall)
                if first is not None and _instant(first, before) < change:
                    return _instant(first, before)
                wall = _wall(change, later) - _SECOND  # the second pass begins
            elif local.fold == 1 and not self._twice:
                wall = _wall(self._change(start - shift, start), before) - _SECOND  # it is over
        return self._first_instant(start, wall)

    def _first_instant(self, start: int, wall: datetime) -> int | None:
        while True:
            found = self._next_wall(wall)
            if found is None:
                return None
            wall = found
            before, later = self._offsets(wall)
            if before < later:  # the clock jumps over this time
                change = self._change(_instant(wall, later), _instant(wall, before))
                if not self._real_clock and change > start:
                    return change
                wall = _wall(change, later) - _SECOND
                continue
            if _instant(wall, before) > start:
                return _instant(wall, before)
            if self._twice and _instant(wall, later) > start:
                return _instant(wall, later)

    def _next_wall(self, wall: datetime) -> datetime | None:
        croniter = _croniter()
        try:
            ticks = croniter.croniter(self._fields, wall, second_at_beginning=True)
            found: datetime = ticks.get_next(datetime)
        except (croniter.CroniterError, OverflowError):
            return None
        return found

    def _offsets(self, wall: datetime) -> tuple[timedelta, timedelta]:
        """The offset of a wall-clock time at its first and second pass; the first is larger when
        the time is repeated, smaller when it is left out."""
        first = wall.replace(tzinfo=self.zone).utcoffset() or timedelta(0)
        second = wall.replace(tzinfo=self.zone, fold=1).utcoffset() or timedelta(0)
        return first, second

    def _change(self, low: int, high: int) -> int:
        """The instant in (low, high] at which the offset changes."""
        old = datetime.fromtimestamp(low, self.zone).utcoffset()
        while high - low > 1:
            middle = (low + high) // 2
            if datetime.fromtimestamp(middle, self.zone).utcoffset() == old:
                low = middle
            else:
                high = middle
        return high


def _instant(wall: datetime, offset: timedelta) -> int:
    return _whole(wall - _EPOCH - offset)


def _wall(instant: int, offset: timedelta) -> datetime:
    return _EPOCH + timedelta(seconds=instant) + offset


def _whole(length: timedelta) -> int:
    return length.days * 86_400 + length.seconds


def zone_of(name: str) -> ZoneInfo:
    """The IANA zone. Raises `NotCron`."""
    try:
        if len(name) > LENGTH_MAX:
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotCron(f'"{name[:64]}" is not an IANA time zone such as Europe/Paris') from None


def _checked(text: str, seconds: bool) -> list[str]:
    """The fields, seconds first if there are any, once nothing random or foreign is in them."""
    if len(text) > LENGTH_MAX:
        raise NotCron(f"the expression has {len(text):,} characters, the limit is {LENGTH_MAX}")
    if text.lstrip().startswith("@"):
        fields = ALIASES.get(text.strip().lower(), "").split()
        if not fields or seconds:
            raise NotCron(f'"{text}" is not one of: {", ".join(ALIASES)}')
        return fields
    fields = text.split()
    wanted = 6 if seconds else 5
    if len(fields) != wanted:
        hint = '; for six, with seconds first, say "seconds": "first"' if len(fields) == 6 else ""
        raise NotCron(f'"{text}" has {len(fields)} fields, not {wanted}{hint}')
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise NotCron(f'"{field}" is not a cron field')
        for word in re.findall(r"[A-Za-z]+", field):
            if word.upper() in ("R", "H"):
                raise NotCron(f'"{field}" would be another time at each run; write a fixed one')
            if word.upper() not in _WORDS:
                raise NotCron(f'"{word}" in "{field}" is not a month or a weekday')
    return _accepted(text, fields)


def _accepted(text: str, fields: list[str]) -> list[str]:
    croniter = _croniter()
    try:
        croniter.croniter.expand(" ".join(fields), second_at_beginning=True)
    except (croniter.CroniterError, ValueError, KeyError, IndexError) as error:
        raise NotCron(f'"{text}" is not a cron expression: {error}') from None
    return fields


@cache
def _croniter() -> Any:
    """89 ms at import, and few processes have a schedule."""
    return import_module("croniter.croniter")


def seconds_of(moment: datetime | float) -> float:
    """Seconds since 1970; a datetime without a zone is UTC."""
    if not isinstance(moment, datetime):
        return float(moment)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
