"""What a schedule would do: its next nominal times, each with what becomes of it.

Time is only imagined here. One may assume that nothing runs during some hours (`down`), and how
long a run takes (`takes`); then the same policies that are applied when a schedule fires say what
is made up for, what is left out and what waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from greenroom.definitions.cron import zone_of
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.schedules import CATCH_UP_MAX, Schedule

COUNT_MAX: Final = 1_000

_CLOCK: Final = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)", re.ASCII)
_DAY_S: Final = 86_400


class Planned(NamedTuple):
    """One nominal time. `at` is when its run begins, None when there is none; `what` is `on time`,
    `late`, `made up`, `waits`, `skipped` or `cancelled`."""

    nominal: float
    at: float | None
    what: str
    why: str | None = None


class Assumed:
    """What is assumed of the world: `down=02:00-05:00` (each day, in the schedule's zone) or
    `down=MOMENT/MOMENT`, as often as wanted, and `takes=20m`."""

    def __init__(self, assume: Sequence[str], timezone: str) -> None:
        """Raises `InvalidInput`."""
        self.zone = zone_of(timezone)
        self.takes_s = 0.0
        self._daily: list[tuple[int, int]] = []
        self._once: list[tuple[float, float]] = []
        for text in assume:
            name, _, value = text.partition("=")
            if name == "takes":
                self.takes_s = seconds(value, "takes")
            elif name == "down":
                self._down(value)
            else:
                raise InvalidInput(
                    f'"{text[:60]}" cannot be assumed',
                    hint="write down=02:00-05:00, down=MOMENT/MOMENT or takes=20m",
                )

    def _down(self, text: str) -> None:
        if found := _CLOCK.fullmatch(text):
            first, last = (int(found[n]) * 60 + int(found[n + 1]) for n in (1, 3))
            if first != last:
                self._daily.append((first, last))
                return
        elif "/" in text:
            try:
                moments = [datetime.fromisoformat(part) for part in text.split("/", 1)]
                low, high = (
                    (at if at.tzinfo else at.replace(tzinfo=self.zone)).timestamp()
                    for at in moments
                )
                if low < high:
                    self._once.append((low, high))
                    return
            except ValueError:
                pass
        raise InvalidInput(
            f'"{text[:60]}" is not a time in which nothing runs',
            hint="write down=02:00-05:00 or down=2026-03-01T02:00/2026-03-01T05:00",
        )

    def up_at(self, at: float) -> float | None:
        """When something runs again, if nothing does at `at`."""
        end: float | None = None
        while (later := self._end(at if end is None else end)) is not None:
            end = later
        return end

    def _end(self, at: float) -> float | None:
        for low, high in self._once:
            if low <= at < high:
                return high
        local = datetime.fromtimestamp(at, self.zone)
        minute = local.hour * 60 + local.minute
        for first, last in self._daily:
            if first < last and first <= minute < last:
                return self._clock(local, last)
            if first > last and (minute >= first or minute < last):  # over midnight
                return self._clock(local + timedelta(days=minute >= first), last)
        return None

    def _clock(self, local: datetime, minute: int) -> float:
        day = datetime(local.year, local.month, local.day, tzinfo=self.zone)
        days, left = divmod(minute * 60, _DAY_S)
        return (day + timedelta(days=days, seconds=left)).timestamp()


def preview(
    schedule: Schedule,
    after: float,
    count: int,
    assume: Sequence[str] = (),
    *,
    id: str = "",
    anchor: float | None = None,
) -> list[Planned]:
    """The next `count` nominal times after `after`. Raises `InvalidInput`."""
    assumed = Assumed(assume, schedule.timezone)
    anchor = after if anchor is None else anchor
    planned = _overlapped(
        schedule, _caught_up(schedule, after, count, assumed, id, anchor), assumed
    )
    planned.sort()
    return planned[:count]


def _caught_up(
    schedule: Schedule, after: float, count: int, assumed: Assumed, id: str, anchor: float
) -> Iterator[Planned]:
    """Each nominal time with its firing, once what was missed has been settled."""
    missed: list[float] = []
    until: float | None = None
    nominal = after
    for number in range(count + CATCH_UP_MAX):
        due = schedule.next_due(nominal, anchor)
        if until is not None and (due is None or due > until):
            yield from _settled(schedule, missed, until)
            missed, until = [], None
        if due is None or (number >= count and until is None):
            break
        nominal = due
        at = schedule.fires_at(id, due, anchor)
        up = assumed.up_at(at)
        if up is None and until is None:
            yield Planned(due, at, "on time")
        else:  # missed, or due just when the others are made up for
            until = up if up is not None else until
            missed.append(due)
    if until is not None:
        yield from _settled(schedule, missed, until)


def _settled(schedule: Schedule, missed: list[float], up: float) -> Iterator[Planned]:
    window = schedule.catch_up_window
    kept = [at for at in missed if window is None or up - at <= window]
    match schedule.catch_up:
        case "skip":
            kept = []
        case "one":
            kept = kept[-1:]
        case _:
            kept = kept[-CATCH_UP_MAX:]
    for nominal in missed:
        if nominal == up:
            yield Planned(nominal, up, "on time")
        elif nominal in kept:
            yield Planned(nominal, up, "made up", f"catch_up {schedule.catch_up}")
        elif window is not None and up - nominal > window and schedule.catch_up != "skip":
            yield Planned(nominal, None, "skipped", "missed before the catch_up_window")
        else:
            yield Planned(nominal, None, "skipped", f"missed, catch_up {schedule.catch_up}")


def _overlapped(schedule: Schedule, planned: Iterator[Planned], assumed: Assumed) -> list[Planned]:
    """The same with runs that take their time."""
    out: list[Planned] = []
    free_at = float("-inf")
    last = -1
    for one in sorted(planned, key=lambda one: (one.at is None, one.at or 0, one.nominal)):
        if one.at is None or schedule.overlap == "allow" or one.at >= free_at:
            pass
        elif schedule.overlap == "skip":
            one = one._replace(at=None, what="skipped", why="the run before it is not over")
        elif schedule.overlap == "queue":
            one = one._replace(at=free_at, what="waits", why="for the run before it")
        else:
            out[last] = out[last]._replace(what="cancelled", why="by the run after it")
        out.append(one)
        if one.at is not None:
            last = len(out) - 1
            free_at = one.at + assumed.takes_s
    return out
