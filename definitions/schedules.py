"""Schedules: cron expressions, rates, and single moments.

A schedule is pure: given an instant it says the next, always a later one. What was missed while
nobody was there is a policy (`catch_up`, with a window), and so is a tick that comes while the
last one's work still runs (`overlap`); both are kept here and applied by whoever fires. `jitter`
spreads the firing, never the nominal time: that is the name of a run.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from greenroom.definitions.calendars import Calendar, NotADay
from greenroom.definitions.cron import Cron, NotCron, seconds_of, zone_of
from greenroom.definitions.durations import DURATION_MAX_S, seconds
from greenroom.definitions.errors import InvalidDefinition, InvalidInput, Problem
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, decode, encode

CATCH_UP_MAX: Final = 1000
CATCH_UP: Final = ("one", "skip", "all")
OVERLAP: Final = ("allow", "skip", "queue", "cancel_running")
DST: Final = ("once", "both")

_KEYS: Final = (
    "cron", "rate", "at", "every", "on", "timezone", "dst", "seconds", "catch_up",
    "catch_up_window", "overlap", "jitter", "start", "end", "exclude",
)  # fmt: skip
_LIMITS: Final = ("start", "end", "exclude", "jitter")
"""What has no meaning for a single moment."""
EXCLUDED_MAX: Final = 10_000
"""Due times on excluded days that are passed over in one search."""
_JUST: Final = 0.001
_RATE: Final = re.compile(r"([1-9]\d{0,9}) (second|minute|hour|day)s?", re.ASCII)
_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

_Next = Callable[[float, float | None], float | None]


class Schedule:
    """A compiled schedule. `spec` is the JSON it was compiled from, `rule` says it in words."""

    __slots__ = (
        "_rule", "catch_up", "catch_up_window", "end", "exclude", "jitter", "kind", "notes",
        "overlap", "rule", "spec", "start", "timezone",
    )  # fmt: skip

    def __init__(
        self, spec: dict[str, Json], kind: str, rule: str, next: _Next, notes: tuple[str, ...] = ()
    ) -> None:
        """Raises `_Wrong` for limits that are none."""
        self.spec = spec
        self.kind = kind
        """`cron`, `rate` or `at`."""
        self.rule = rule
        self.notes = notes
        """What readers of the rule often get wrong about it."""
        self.timezone: str = spec.get("timezone", "UTC")
        self.catch_up: str = spec.get("catch_up", CATCH_UP[0])
        self.catch_up_window = _length(spec, "catch_up_window")
        """Seconds; what was missed longer ago is not made up for. None: however long."""
        self.overlap: str = spec.get("overlap", OVERLAP[0])
        self.jitter = _length(spec, "jitter") or 0.0
        """Seconds over which the firing is spread."""
        self.start = _limit(spec, "start")
        self.end = _limit(spec, "end")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise _Wrong("end", "is before start")
        self.exclude: Calendar | None = None
        if "exclude" in spec:
            try:
                self.exclude = Calendar(spec["exclude"], zone_of(self.timezone))
            except NotADay as error:
                raise _Wrong("exclude", str(error)) from None
            self.rule += f", not on {', '.join(self.exclude.items)}"[:80]
        self._rule = next

    def __repr__(self) -> str:
        return f"Schedule({self.rule!r})"

    def next_due(self, after: datetime | float, anchor: float | None = None) -> float | None:
        """The first due time after `after`, in seconds since 1970; None when there is none.

        `anchor` is when the schedule was enabled: a rate counts from there, without drift; with
        no anchor it counts from `after`.
        """
        return self._next(seconds_of(after), anchor)

    def _next(self, after: float, anchor: float | None) -> float | None:
        if anchor is None:
            anchor = after
        if self.start is not None and after < self.start:
            after = self.start - _JUST
        for _ in range(EXCLUDED_MAX):
            due = self._rule(after, anchor)
            if due is None or (self.end is not None and due > self.end):
                return None
            free = due if self.exclude is None else self.exclude.free(due)
            if free is None or free == due:
                return free
            after = free - _JUST
        return None

    def fires_at(self, id: str, nominal: float, anchor: float | None = None) -> float:
        """When the run of a nominal time begins: up to `jitter` later, the same moment whenever it
        is asked, and always before the next nominal time."""
        if not self.jitter:
            return nominal
        following = self._next(nominal, anchor)
        room = self.jitter if following is None else min(self.jitter, following - nominal)
        digest = hashlib.blake2b(f"{id}@{nominal:.3f}".encode(), digest_size=8).digest()
        part = int.from_bytes(digest, "big") / (1 << 64)
        return nominal + math.floor(part * room * 1000) / 1000

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
        if self.catch_up_window is not None:
            start = max(start, end - self.catch_up_window - _JUST)
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
    `timezone`); and `catch_up` one|skip|all with `catch_up_window` (a duration), `overlap`
    allow|skip|queue|cancel_running, `jitter` (a duration), `start` and `end` (moments), `exclude`
    (days). Raises `InvalidDefinition` with every problem.
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
               "rate": ("timezone",) if {"exclude", "start", "end"} & set(spec) else (),
               "at": ("timezone",)}[way]  # fmt: skip
    for key in ("timezone", "dst", "seconds", "on", "at"):
        if key in spec and key not in (*allowed, way):
            raise _Wrong(key, f"has no meaning with {way}")
    for key in _LIMITS:
        if way == "at" and key in spec:
            raise _Wrong(key, "has no meaning with at")
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
    timezone = _timezone(spec)
    first = _limit(spec, "start")  # the first time is the start itself

    def next_due(after: float, anchor: float | None) -> float | None:
        origin = first if first is not None else after if anchor is None else anchor
        ticks = max(1 if first is None else 0, math.floor((after - origin) / step) + 1)
        due = origin + ticks * step
        return due if due > after else origin + (ticks + 1) * step

    shown = f"every {text}" if timezone == "UTC" else f"every {text} ({timezone})"
    return Schedule(spec, "rate", shown, next_due)


def _length(spec: dict[str, Json], key: str) -> float | None:
    """A duration in seconds, None when it is not given."""
    if key not in spec:
        return None
    try:
        length = seconds(spec[key], key)
    except InvalidInput as error:
        raise _Wrong(key, f"{error.message}; {error.hint}") from None
    if length <= 0:
        raise _Wrong(key, "must be longer than nothing")
    return length


def _limit(spec: dict[str, Json], key: str) -> float | None:
    return _moment(spec, key).timestamp() if key in spec else None


def _moment(spec: dict[str, Json], key: str) -> datetime:
    """A moment; text without an offset is meant in the schedule's zone."""
    at, timezone = spec[key], _timezone(spec)
    try:
        if isinstance(at, str):
            moment = datetime.fromisoformat(at)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone_of(timezone))
        elif isinstance(at, bool) or not isinstance(at, int | float):
            raise TypeError
        else:
            moment = datetime.fromtimestamp(at, UTC)
        return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise _Wrong(key, "must be a moment: ISO 8601 text or seconds since 1970") from None


def _of_moment(spec: dict[str, Json]) -> Schedule:
    moment = _moment(spec, "at")
    due = moment.timestamp()
    shown = moment.isoformat().replace("+00:00", "Z")
    return Schedule(
        spec, "at", f"once at {shown}", lambda after, anchor: due if due > after else None
    )
