"""Schedules: cron expressions, rates, and single moments.

A schedule is pure: given an instant it says the next, always a later one. What was missed while
nobody was there is a policy (`catch_up`), and so is a tick that comes while the last one's work
still runs (`overlap`); both are kept here and applied by whoever fires.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from greenroom.definitions.cron import Cron, NotCron, seconds_of, zone_of
from greenroom.definitions.durations import DURATION_MAX_S
from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, decode, encode

CATCH_UP_MAX: Final = 1000
CATCH_UP: Final = ("one", "skip", "all")
OVERLAP: Final = ("allow", "skip", "queue")
DST: Final = ("once", "both")

_KEYS: Final = (
    "cron", "rate", "at", "every", "on", "timezone", "dst", "seconds", "catch_up", "overlap",
)  # fmt: skip
_RATE: Final = re.compile(r"([1-9]\d{0,9}) (second|minute|hour|day)s?", re.ASCII)
_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

_Next = Callable[[float, float | None], float | None]


class Schedule:
    """A compiled schedule. `spec` is the JSON it was compiled from, `rule` says it in words."""

    __slots__ = ("_next", "catch_up", "kind", "notes", "overlap", "rule", "spec", "timezone")

    def __init__(
        self, spec: dict[str, Json], kind: str, rule: str, next: _Next, notes: tuple[str, ...] = ()
    ) -> None:
        self.spec = spec
        self.kind = kind
        """`cron`, `rate` or `at`."""
        self.rule = rule
        self.notes = notes
        """What readers of the rule often get wrong about it."""
        self.timezone: str = spec.get("timezone", "UTC")
        self.catch_up: str = spec.get("catch_up", CATCH_UP[0])
        self.overlap: str = spec.get("overlap", OVERLAP[0])
        self._next = next

    def __repr__(self) -> str:
        return f"Schedule({self.rule!r})"

    def next_due(self, after: datetime | float, anchor: float | None = None) -> float | None:
        """The first due time after `after`, in seconds since 1970; None when there is none.

        `anchor` is when the schedule was enabled: a rate counts from there, without drift; with
        no anchor it counts from `after`.
        """
        return self._next(seconds_of(after), anchor)

    def upcoming(
        self, after: datetime | float, count: int = 10, anchor: float | None = None
    ) -> list[float]:
        """The next due times."""
        due = self._from(seconds_of(after), anchor)
        return [at for at, _ in zip(due, range(count), strict=False)]

    def last_due(
        self, after: datetime | float, until: datetime | float, anchor: float | None = None
    ) -> float | None:
        """The last due time in (after, until]."""
        low, high = seconds_of(after), seconds_of(until)
        if anchor is None:
            anchor = low
        found, end = self._next(low, anchor), high
        if found is None or found > end:
            return None
        while True:
            due = self._next(found, anchor)
            if due is None or due > end:
                return found
            found = due
            middle = (found + high) / 2  # a year of minutes is not walked through but halved
            due = self._next(middle, anchor)
            if due is not None and due <= end:
                found = due
            else:
                high = middle

    def missed(
        self, after: datetime | float, now: datetime | float, anchor: float | None = None
    ) -> list[float]:
        """The due times in (after, now] that `catch_up` still wants: none, the last, or all.

        `all` gives the latest thousand.
        """
        start, end = seconds_of(after), seconds_of(now)
        if anchor is None:
            anchor = start
        if self.catch_up == "skip":
            return []
        if self.catch_up == "one":
            last = self.last_due(start, end, anchor)
            return [] if last is None else [last]
        width = 3600.0
        while True:
            low = max(start, end - width)
            due = deque(self._until(low, end, anchor), maxlen=CATCH_UP_MAX)
            if low == start or len(due) == CATCH_UP_MAX:
                return list(due)
            width *= 2

    def _from(self, after: float, anchor: float | None) -> Iterator[float]:
        if anchor is None:
            anchor = after
        due = self._next(after, anchor)
        while due is not None:
            yield due
            due = self._next(due, anchor)

    def _until(self, after: float, until: float, anchor: float | None) -> Iterator[float]:
        for due in self._from(after, anchor):
            if due > until:
                return
            yield due


# -- compiling ---------------------------------------------------------------------------------


def parse_schedule(spec: Json = None, *, path: str = "$", **keywords: Json) -> Schedule:
    """A schedule from JSON, from keywords, or from text (a cron expression or a rate).

    One of `cron` (with `timezone`, `dst` once|both, `seconds` "first"), `rate` ("5 minutes"),
    `at` (a moment; ISO text or epoch seconds), or `every` ("day", "week", ... with `on`, `at`,
    `timezone`); and `catch_up` one|skip|all, `overlap` allow|skip|queue. Raises
    `InvalidDefinition` with every problem.
    """
    if isinstance(spec, str):
        text = spec.strip()
        cron = text.startswith("@") or not _RATE.fullmatch(text)
        spec = {"cron" if cron else "rate": text}
    if keywords:
        spec = {**(spec or {}), **{key: one for key, one in keywords.items() if one is not None}}
    return _parse(encode(spec, "schedule"), path)


@lru_cache(maxsize=1024)
def _parse(raw: bytes, path: str) -> Schedule:
    spec = decode(raw)
    if not isinstance(spec, dict):
        raise InvalidDefinition("not a schedule", [Problem(path, "must be an object or text")])
    problems: list[Problem] = []
    _check_keys(spec, path, problems)
    schedule = None
    try:
        schedule = _compile(spec)
    except _Wrong as error:
        problems.append(Problem(f"{path}.{error.key}" if error.key else path, str(error)))
    if problems or schedule is None:
        raise InvalidDefinition("the schedule is not valid", problems)
    return schedule


class _Wrong(Exception):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def _check_keys(spec: dict[str, Json], path: str, problems: list[Problem]) -> None:
    problems.extend(
        Problem(path, f'unknown key "{key}"{did_you_mean(key, _KEYS)}')
        for key in spec
        if key not in _KEYS
    )
    for key, choices in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
        if key in spec and spec[key] not in choices:
            wanted = ", ".join(choices)
            problems.append(Problem(f"{path}.{key}", f'"{spec[key]}" is not one of: {wanted}'))


def _compile(spec: dict[str, Json]) -> Schedule:
    """Raises `_Wrong`."""
    ways: list[str] = [key for key in ("cron", "rate", "every") if key in spec]
    if not ways and "at" in spec:
        ways = ["at"]
    if len(ways) != 1 or (ways != ["every"] and "on" in spec):
        raise _Wrong("", "give one of cron, rate, at, every (and on, at with every)")
    way = ways[0]
    if way == "every" and isinstance(spec["every"], str) and _RATE.fullmatch(spec["every"]):
        way = "rate"
    allowed = {"cron": ("timezone", "dst", "seconds"), "every": ("timezone", "dst", "on", "at"),
               "rate": (), "at": ("timezone",)}[way]  # fmt: skip
    for key in ("timezone", "dst", "seconds", "on", "at"):
        if key in spec and key not in (*allowed, way):
            raise _Wrong(key, f"has no meaning with {way}")
    match way:
        case "cron":
            return _of_cron(spec, spec["cron"], "cron")
        case "every":
            return _of_cron(spec, _as_cron(spec), "every")
        case "rate":
            return _of_rate(spec, "rate" if "rate" in spec else "every")
    return _of_moment(spec)


def _of_cron(spec: dict[str, Json], text: Json, key: str) -> Schedule:
    if not isinstance(text, str):
        raise _Wrong(key, "must be text such as 0 20 * * 5")
    if spec.get("seconds") not in (None, "first"):
        raise _Wrong("seconds", 'must be "first", where the field of seconds stands')
    if spec.get("dst", "once") not in DST:
        raise _Wrong("dst", f"must be one of: {', '.join(DST)}")
    timezone = _timezone(spec)
    try:
        cron = Cron(text, timezone, dst=spec.get("dst", "once"), seconds="seconds" in spec)
    except NotCron as error:
        raise _Wrong(key, str(error)) from None
    shown = f"cron {text} ({timezone})" if key == "cron" else _in_words(spec, timezone)
    return Schedule(spec, "cron", shown, lambda after, anchor: cron.next(after), cron.notes)


def _timezone(spec: dict[str, Json]) -> str:
    timezone = spec.get("timezone", "UTC")
    try:
        zone_of(str(timezone))
    except NotCron as error:
        raise _Wrong("timezone", str(error)) from None
    return str(timezone)


def _in_words(spec: dict[str, Json], timezone: str) -> str:
    on, at = spec.get("on"), spec.get("at")
    days = ", ".join(map(str, on)) if isinstance(on, list) else on
    parts = [f"every {spec['every']}", f"on {days}" if on else "", f"at {at}" if at else ""]
    return " ".join(part for part in [*parts, f"({timezone})"] if part)


def _as_cron(spec: dict[str, Json]) -> str:
    """`{"every": "week", "on": "monday", "at": "09:00"}` as a cron expression."""
    every, on = spec["every"], spec.get("on")
    if every not in ("minute", "hour", "day", "week", "month"):
        raise _Wrong("every", "must be minute, hour, day, week, month, or a rate like 5 minutes")
    if on is not None and every not in ("week", "month"):
        raise _Wrong("on", f"has no meaning with every {every}")
    if every in ("minute", "hour"):
        if "at" in spec:
            raise _Wrong("at", f"has no meaning with every {every}")
        return "* * * * *" if every == "minute" else "0 * * * *"
    clock = _CLOCK.fullmatch(str(spec.get("at", "00:00")))
    if clock is None:
        raise _Wrong("at", "must be a time of day such as 09:00")
    time = f"{int(clock[2])} {int(clock[1])}"
    days = on if isinstance(on, list) else [on]
    if every == "month":
        numbers = [1 if day is None else day for day in days]
        if not numbers or not all(type(n) is int and 1 <= n <= 31 for n in numbers):
            raise _Wrong("on", "must be days of the month, 1 to 31")
        return f"{time} {','.join(map(str, numbers))} * *"
    if every == "week":
        names = ["monday" if day is None else str(day).lower() for day in days]
        if not names or not all(name in _DAYS for name in names):
            raise _Wrong("on", f"must be days of the week: {', '.join(_DAYS)}")
        return f"{time} * * {','.join(str(_DAYS.index(name)) for name in names)}"
    return f"{time} * * *"


def _of_rate(spec: dict[str, Json], key: str) -> Schedule:
    text = spec[key]
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    step = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < step <= DURATION_MAX_S:
        raise _Wrong(key, "must be a rate such as 30 seconds, 5 minutes, 4 hours, 1 day")

    def next_due(after: float, anchor: float | None) -> float | None:
        if anchor is None:
            return after + step
        ticks = max(1, math.floor((after - anchor) / step) + 1)
        due = anchor + ticks * step
        return due if due > after else anchor + (ticks + 1) * step

    return Schedule(spec, "rate", f"every {text}", next_due)


def _of_moment(spec: dict[str, Json]) -> Schedule:
    at, timezone = spec["at"], _timezone(spec)
    try:
        if isinstance(at, str):
            moment = datetime.fromisoformat(at)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone_of(timezone))
        elif isinstance(at, bool) or not isinstance(at, int | float):
            raise TypeError
        else:
            moment = datetime.fromtimestamp(at, UTC)
        due = moment.timestamp()
        shown = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError, OSError):
        raise _Wrong("at", "must be a moment: ISO 8601 text or seconds since 1970") from None
    return Schedule(
        spec, "at", f"once at {shown}", lambda after, anchor: due if due > after else None
    )
