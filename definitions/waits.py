"""`Wait`: the time and the events a class workflow waits for.

    event = await Wait("UserActivated").days(3).execute()       # None after three days
    await Wait().monday().at("9").timezone("Europe/Paris").execute()

Each call adds a wish to this one wait; nothing is shared between waits.
"""

from __future__ import annotations

import datetime
from typing import Any, Self

from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.matching import compile_where
from greenroom.definitions.moments import Moment
from greenroom.definitions.ops import Op, Since, asked, looks_back
from greenroom.definitions.values import Json

Duration = str | float | datetime.timedelta


class Wait:
    """A wait for an event, for a time, or for an event until a time.

    `event` is the name of an event or a class; a class also takes the events of its subclasses.
    `since` is that of `wait`: from when on events count.
    """

    def __init__(
        self, event: str | type | None = None, where: Json = None, *, since: Since = "start"
    ) -> None:
        self._class = event if isinstance(event, type) else None
        name = event.__name__ if isinstance(event, type) else event
        if name is not None and (not isinstance(name, str) or not 0 < len(name) <= NAME_MAX):
            raise InvalidInput(f"Wait takes the name of an event or its class, got {event!r}")
        if where is not None and name is None:
            raise InvalidInput("Wait(where=...) needs an event")
        if since != "start" and name is None:
            raise InvalidInput("Wait(since=...) needs an event")
        self._since = looks_back(since)
        self._event = name
        self._where = compile_where(where)
        self._moment = Moment()

    # -- how long ------------------------------------------------------------------------------

    def for_(self, duration: Duration) -> Self:
        """A duration as everywhere else: `"90m"`, a timedelta, seconds."""
        return self._set(self._moment.plus(duration))

    def seconds(self, value: float) -> Self:
        return self._set(self._moment.plus(_not_text(value)))

    def minutes(self, value: float) -> Self:
        return self._set(self._moment.plus(value, 60))

    def hours(self, value: float) -> Self:
        return self._set(self._moment.plus(value, 3_600))

    def days(self, value: float) -> Self:
        return self._set(self._moment.plus_days(value))

    def weeks(self, value: float) -> Self:
        return self._set(self._moment.plus_days(value, 7))

    def months(self, value: int) -> Self:
        return self._set(self._moment.plus_months(value))

    def years(self, value: int) -> Self:
        return self._set(self._moment.plus_months(value, 12))

    # -- until when ----------------------------------------------------------------------------

    def monday(self, count: int = 1) -> Self:
        """The next Monday; today only if `at(...)` is still to come. `monday(2)` is the one after."""
        return self._set(self._moment.on_weekday(0, count))

    def tuesday(self, count: int = 1) -> Self:
        return self._set(self._moment.on_weekday(1, count))

    def wednesday(self, count: int = 1) -> Self:
        return self._set(self._moment.on_weekday(2, count))

    def thursday(self, count: int = 1) -> Self:
        return self._set(self._moment.on_weekday(3, count))

    def friday(self, count: int = 1) -> Self:
        return self._set(self._moment.on_weekday(4, count))

    def saturday(self, count: int = 1) -> Self:
        return self._set(self._moment.on_weekday(5, count))

    def sunday(self, count: int = 1) -> Self:
        return self._set(self._moment.on_weekday(6, count))

    def day_of_month(self, day: int) -> Self:
        """The next such day; months that do not have it are passed over."""
        return self._set(self._moment.on_month_day(day))

    def at(self, time: str | datetime.time) -> Self:
        """The time of day: `"9"`, `"13:00"`, `"13:00:30"`."""
        return self._set(self._moment.at_clock(time))

    def timestamp(self, when: float | datetime.datetime) -> Self:
        """Seconds since 1970, or a `datetime`; one that is past is over at once."""
        return self._set(self._moment.at_stamp(when))

    def timezone(self, name: str) -> Self:
        """The IANA zone that days and times of this wait are meant in; UTC unless told."""
        return self._set(self._moment.in_zone(name))

    set_timezone = timezone

    def _set(self, moment: Moment) -> Self:
        self._moment = moment
        return self

    # -- the op --------------------------------------------------------------------------------

    def execute(self) -> Any:
        """The op to await: the event, None when the time is over."""
        moment = self._moment
        when = moment.due if moment.is_set else None
        if self._event is None:
            return asked(Op("sleep", "sleep", due_s=None if when else 0.0, when=when))
        return asked(
            Op(
                "wait",
                self._event,
                where=self._where,
                when=when,
                since=self._since,
                event_class=self._class,
            )
        )

    def __await__(self) -> Any:
        return self.execute().__await__()


def _not_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"a wait needs a number, got {value!r}")
    return value
