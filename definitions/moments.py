"""Moments: when a `Wait` is over, computed from the time it began and nothing else.

A moment is a chain of wishes: so many months, so many days, a day of the week or of the month, a
time of day, in a time zone. `due(now)` is pure, so what it gave once can be journaled and the wait
ends at the same instant however often the program is run again. The rules are those the users of
Zenaton asked for: the moment is always *after* now, and today counts if its time is still to come.
"""

from __future__ import annotations

import calendar
import datetime
import re
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from greenroom.definitions.cron import NotCron, zone_of
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput

WEEKDAYS: Final = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
MONTHS_MAX: Final = 1_200
COUNT_MAX: Final = 5_200

_CLOCK: Final = re.compile(r"([01]?\d|2[0-3])(?::([0-5]\d))?(?::([0-5]\d))?", re.ASCII)
_DAY: Final = datetime.timedelta(days=1)
_UTC: Final = ZoneInfo("UTC")


class Moment(msgspec.Struct, frozen=True):
    """`months` and `days` are counted on the calendar of the zone, `elapsed` in real seconds.

    They come first; then the day and the time of day are looked for, from the day they lead to.
    """

    months: int = 0
    days: int = 0
    elapsed: float = 0.0
    weekday: tuple[int, int] | None = None
    """The day, Monday is 0, and the how manieth of them."""
    month_day: int | None = None
    clock: datetime.time | None = None
    stamp: int | None = None
    zone: ZoneInfo = _UTC
    is_set: bool = False

    # -- wishes --------------------------------------------------------------------------------

    def plus(self, duration: Any, unit: float = 1) -> Moment:
        """Real time: `for_("90m")`, seconds, minutes, hours."""
        length = seconds(duration, "the wait") if unit == 1 else _number(duration, unit) * unit
        return self._with(elapsed=self.elapsed + length)

    def plus_days(self, value: Any, unit: int = 1) -> Moment:
        """Days keep the time of day when a clock is changed in between; a part of a day is real
        time."""
        days = _number(value, 86_400 * unit) * unit
        whole = int(days)
        return self._with(days=self.days + whole, elapsed=self.elapsed + (days - whole) * 86_400)

    def plus_months(self, value: Any, unit: int = 1) -> Moment:
        """Months end on the last day of a shorter one: a month after January 31 is February 28."""
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidInput(f"a wait needs a whole number of months or years, got {value!r}")
        months = self.months + value * unit
        if months > MONTHS_MAX:
            raise InvalidInput(f"a wait lasts a hundred years at most, got {months:,} months")
        return self._with(months=months)

    def on_weekday(self, day: int, count: Any = 1) -> Moment:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= COUNT_MAX:
            raise InvalidInput(f"{WEEKDAYS[day]}({count!r}): give 1 for the next one, 2, ...")
        if self.weekday is not None or self.month_day is not None:
            raise _incompatible("a day of the week", "another day")
        return self._with(weekday=(day, count))

    def on_month_day(self, day: Any) -> Moment:
        if isinstance(day, bool) or not isinstance(day, int) or not 1 <= day <= 31:
            raise InvalidInput(f"day_of_month takes 1 to 31, got {day!r}")
        if self.weekday is not None or self.month_day is not None:
            raise _incompatible("a day of the month", "another day")
        return self._with(month_day=day)

    def at_clock(self, time: Any) -> Moment:
        """`"13"`, `"8:00"`, `"13:00:30"` or a `datetime.time`."""
        if self.clock is not None:
            raise _incompatible("at()", "another at()")
        return self._with(clock=_clock(time))

    def at_stamp(self, when: Any) -> Moment:
        """Seconds since 1970, or a `datetime` (a naive one is UTC)."""
        return self._with(stamp=_stamp(when))

    def in_zone(self, name: Any) -> Moment:
        try:
            if not isinstance(name, str):
                raise NotCron(f"{name!r} is not the name of a time zone such as Europe/Paris")
            return msgspec.structs.replace(self, zone=zone_of(name))
        except NotCron as error:
            raise InvalidInput(str(error)) from None

    def _with(self, **changes: Any) -> Moment:
        made = msgspec.structs.replace(self, is_set=True, **changes)
        if made.stamp is not None and made != Moment(stamp=made.stamp, zone=made.zone, is_set=True):
            raise _incompatible("timestamp()", "anything else")
        return made

    # -- the answer ----------------------------------------------------------------------------

    def due(self, now: int) -> int:
        """The moment in milliseconds since 1970, from `now` in the same unit."""
        if self.stamp is not None:
            return self.stamp
        try:
            base = self._base(now)
            if self.weekday is None and self.month_day is None and self.clock is None:
                return base
            return self._found(now, base)
        except (OverflowError, ValueError, OSError):
            raise InvalidInput("a wait ends before the year 10000") from None

    def _base(self, now: int) -> int:
        base = now
        if self.months or self.days:
            local = _local(now, self.zone)
            month = local.year * 12 + local.month - 1 + self.months
            year, month = divmod(month, 12)
            day = min(local.day, calendar.monthrange(year, month + 1)[1])
            moved = datetime.date(year, month + 1, day) + self.days * _DAY
            base = _instant(moved, local.timetz(), self.zone) + now % 1_000
        return base + round(self.elapsed * 1_000)

    def _found(self, now: int, base: int) -> int:
        """The first fitting day, from that of `base` on, whose moment is after `now`; hours and
        less are real time, so it is not before their end either."""
        after = base - 1 if self.elapsed else now
        local = _local(base, self.zone)
        clock = self.clock or local.timetz()
        rest = 0 if self.clock is not None else base % 1_000
        day = local.date()
        while not self._fits(day) or _instant(day, clock, self.zone) + rest <= after:
            day += _DAY
        if self.weekday is not None:
            day += (self.weekday[1] - 1) * 7 * _DAY
        return _instant(day, clock, self.zone) + rest

    def _fits(self, day: datetime.date) -> bool:
        if self.weekday is not None:
            return day.weekday() == self.weekday[0]
        return self.month_day is None or day.day == self.month_day


def _local(at: int, zone: ZoneInfo) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at // 1_000, zone)


def _instant(day: datetime.date, clock: datetime.time, zone: ZoneInfo) -> int:
    """A time of day as milliseconds, whole seconds. One that a clock change leaves out comes that
    much later; one that comes twice is the first."""
    return (
        int(datetime.datetime.combine(day, clock.replace(tzinfo=zone, fold=0)).timestamp()) * 1_000
    )


def _number(value: Any, unit: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"a wait needs a number, got {value!r}")
    return seconds(value * unit, "the wait") / unit


def _clock(time: Any) -> datetime.time:
    if isinstance(time, datetime.time):
        if time.tzinfo is not None:
            raise InvalidInput("at() takes a time without a zone; use timezone()")
        return time.replace(microsecond=0)
    found = _CLOCK.fullmatch(time.strip()) if isinstance(time, str) else None
    if found is None:
        raise InvalidInput(
            f'at() takes a time of day such as "9", "13:00" or "13:00:30", got {time!r}'
        )
    hour, minute, second = (int(part or 0) for part in found.groups())
    return datetime.time(hour, minute, second)


def _stamp(when: Any) -> int:
    if isinstance(when, datetime.datetime):
        aware = when if when.tzinfo is not None else when.replace(tzinfo=datetime.UTC)
        return round(aware.timestamp() * 1_000)
    if (
        isinstance(when, bool)
        or not isinstance(when, int | float)
        or not 0 <= when < 253_402_300_800
    ):
        raise InvalidInput(
            f"timestamp() takes seconds since 1970 or a datetime, got {when!r}",
            hint="a number this large looks like milliseconds"
            if isinstance(when, int | float) and when > 0
            else None,
        )
    return round(when * 1_000)


def _incompatible(one: str, other: str) -> InvalidInput:
    return InvalidInput(f"{one} and {other} exclude each other in one wait")
