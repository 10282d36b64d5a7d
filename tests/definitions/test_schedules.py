import contextlib
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.schedules import CATCH_UP_MAX, Schedule, parse_schedule

PARIS = ZoneInfo("Europe/Paris")
AUTUMN, SPRING = datetime(2026, 10, 24, 23, tzinfo=PARIS), datetime(2026, 3, 28, 23, tzinfo=PARIS)


def local(schedule: Schedule, after: datetime, count: int = 4) -> list[str]:
    zone = ZoneInfo(schedule.timezone)
    return [
        datetime.fromtimestamp(due, zone).strftime("%m-%dT%H:%M:%S%z")
        for due in schedule.upcoming(after, count)
    ]


def paris(cron: str, **options: Any) -> Schedule:
    return parse_schedule(cron=cron, timezone="Europe/Paris", **options)


# -- cron --------------------------------------------------------------------------------------


def test_a_fixed_time_runs_once_in_the_repeated_hour() -> None:
    assert local(paris("30 2 * * *"), AUTUMN, 2) == ["10-25T02:30:00+0200", "10-26T02:30:00+0100"]
    between = datetime(2026, 10, 25, 2, 10, tzinfo=PARIS, fold=1)
    assert local(paris("30 2 * * *"), between, 1) == ["10-26T02:30:00+0100"]


def test_a_fixed_time_runs_twice_if_asked_to() -> None:
    assert local(paris("30 2 * * *", dst="both"), AUTUMN, 3) == [
        "10-25T02:30:00+0200",
        "10-25T02:30:00+0100",
        "10-26T02:30:00+0100",
    ]


def test_a_fixed_time_in_the_missing_hour_runs_at_its_end_once() -> None:
    assert local(paris("15,45 2 * * *"), SPRING, 2) == [
        "03-29T03:00:00+0200",
        "03-30T02:15:00+0200",
    ]
    assert local(paris("0,30 2,3 * * *"), SPRING, 2) == [
        "03-29T03:00:00+0200",
        "03-29T03:30:00+0200",
    ]


def test_other_jobs_follow_the_real_clock() -> None:
    assert local(paris("30 * * * *"), AUTUMN, 5)[2:] == [
        "10-25T01:30:00+0200",
        "10-25T02:30:00+0200",
        "10-25T02:30:00+0100",
    ]
    assert local(paris("30 * * * *"), SPRING, 4)[2:] == [
        "03-29T01:30:00+0100",
        "03-29T03:30:00+0200",
    ]


def test_half_hour_changes_are_handled() -> None:
    howe = parse_schedule(cron="*/30 * * * *", timezone="Australia/Lord_Howe")
    night = datetime(2026, 4, 5, 1, 15, tzinfo=ZoneInfo("Australia/Lord_Howe"))
    assert local(howe, night, 3) == [
        "04-05T01:30:00+1100",
        "04-05T01:30:00+1030",
        "04-05T02:00:00+1030",
    ]


def test_seconds_come_first_when_they_are_asked_for() -> None:
    schedule = parse_schedule({"cron": "*/20 0 * * * *", "seconds": "first"})
    assert schedule.upcoming(0, 4) == [20, 40, 3600, 3620]


def test_seconds_across_a_clock_change_are_counted_on() -> None:
    every = paris("* * * * * *", seconds="first")
    before = datetime(2026, 3, 29, 1, 59, 59, tzinfo=PARIS).timestamp()
    assert every.next_due(before) == before + 1


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("@daily", 0, 86_400), ("@hourly", 1, 3600), ("@YEARLY", 0, 31_536_000),
        ("0 0 * * sun", 0, 259_200), ("0 0 * * 7", 0, 259_200), ("0 0 * jan-feb 0", 0, 259_200),
        ("0 20 * * 5", 0, 158_400), ("*/5 * * * *", 299.9, 300), ("*/5 * * * *", 300, 600),
        ("0 0 L * *", 0, 2_592_000),
    ],
)  # fmt: skip
def test_the_usual_grammar_is_there(cron: str, after: float, due: float) -> None:
    assert parse_schedule(cron).next_due(after) == due


def test_day_of_month_or_weekday_is_told() -> None:
    both = parse_schedule("0 0 13 * 5")
    assert len(both.upcoming(0, 6)) == 6
    assert "not only both" in both.notes[0]
    assert parse_schedule("0 0 13 * *").notes == ()


@pytest.mark.parametrize(
    ("cron", "why"),
    [
        ("R * * * *", "another time at each run"), ("0 H * * *", "another time at each run"),
        ("R/5 0 * * *", "another time"), ("H(1-2) 0 * * *", "not a cron field"),
        ("0 0 31 2 *", "never matches"), ("0 0 30 2 *", "never matches"),
        ("* * * * * * *", "7 fields, not 5"), ("0 0 * * * *", '"seconds": "first"'),
        ("60 * * * *", "out of range"), ("x", "1 fields"), ("", "0 fields"),
        ("a b c d e", "not a month or a weekday"), ("@reboot", "is not one of"),
        ("0 0 * * " + ",".join(["1"] * 200), "limit is 256"), ("٣ * * * *", "not a cron field"),
        ("*/0 * * * *", "not a cron expression"),
    ],
)  # fmt: skip
def test_what_is_random_impossible_or_foreign_is_refused(cron: str, why: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_schedule({"cron": cron}, path="$.schedule")
    assert caught.value.problems[0].path == "$.schedule.cron"
    assert why in caught.value.problems[0].message


@given(st.text(alphabet="0123456789*/,-#LRHW? JANMO\n", max_size=24))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidDefinition):
        due = parse_schedule({"cron": text}).upcoming(0, 3)
        assert all(left < right for left, right in pairwise(due))


# -- against another implementation ------------------------------------------------------------


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> str:
    number = st.integers(low, high)
    kind = draw(st.sampled_from(["*", "one", "one", "list", "range", "step", "range/step"]))
    if kind == "*":
        return "*"
    if kind == "step":
        return f"*/{draw(st.integers(1, high))}"
    if kind == "one":
        return str(draw(number))
    if kind == "list":
        return ",".join(map(str, sorted(draw(st.sets(number, min_size=2, max_size=4)))))
    first, last = sorted((draw(number), draw(number)))
    step = f"/{draw(st.integers(1, 7))}" if kind == "range/step" and first < last else ""
    return f"{first}-{last}{step}" if first < last else str(first)


@st.composite
def crons(draw: st.DrawFn) -> str:
    minute, hour = draw(fields(0, 59)), draw(fields(0, 23))
    day, month = draw(fields(1, 28)), draw(st.sampled_from(["*", "*", "*", "3", "10", "1-6"]))
    weekday = draw(st.sampled_from(["*", "*", "0", "1-5", "6,0", "MON", "SAT"]))
    # `*/2` and a weekday is AND for one and OR for the other: the grammar they share is without.
    assume(weekday == "*" or not day.startswith("*/"))
    return f"{minute} {hour} {day} {month} {weekday}"


ZONES = [
    "UTC", "Europe/Paris", "America/New_York", "America/St_Johns", "Australia/Lord_Howe",
    "Africa/Casablanca", "Europe/Dublin", "America/Santiago", "Asia/Kolkata", "Asia/Tehran",
    "Pacific/Chatham", "America/Havana", "Asia/Beirut",
]  # fmt: skip
STARTS = st.integers(
    int(datetime(2022, 1, 1, tzinfo=UTC).timestamp()),
    int(datetime(2037, 1, 1, tzinfo=UTC).timestamp()),
)
CHANGES = st.sampled_from([
    datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 3, 8), datetime(2026, 11, 1),
    datetime(2026, 4, 5), datetime(2026, 10, 4), datetime(2026, 9, 6), datetime(2022, 3, 22),
])  # fmt: skip
NEAR = CHANGES.flatmap(
    lambda day: st.integers(-36, 12).map(
        lambda hours: int((day.replace(tzinfo=UTC) + timedelta(hours=hours)).timestamp())
    )
)


HALF_HOURS = {"Australia/Lord_Howe", "Australia/LHI"}
"""cronsim steps by whole hours and misses times after a change by half of one."""


def lacks_a_midnight(zone: ZoneInfo, moment: datetime, until: float) -> bool:
    """cronsim starts each new day at 00:00 and takes it for a time that exists."""
    days = int((until - moment.timestamp()) // 86_400) + 2
    first = datetime(moment.year, moment.month, moment.day)
    for day in range(days):
        midnight = (first + timedelta(days=day)).replace(tzinfo=zone)
        before, after = midnight.utcoffset(), midnight.replace(fold=1).utcoffset()
        if before is not None and after is not None and before < after:
            return True
    return False


def comparable(cron: str, name: str, start: int) -> bool:
    """Whether cronsim has an opinion that counts; then it must be ours."""
    if name in HALF_HOURS:
        return False
    zone = ZoneInfo(name)
    moment = datetime.fromtimestamp(start, zone)
    if moment.utcoffset() != moment.replace(fold=1).utcoffset():
        return False  # cronsim may go back when started in a repeated hour
    try:
        theirs = [int(at.timestamp()) for at, _ in zip(CronSim(cron, moment), range(8))]  # noqa: B905
    except RuntimeError:  # how it says that there is no match
        return False
    ours = parse_schedule(cron=cron, timezone=name).upcoming(start, 8)
    assert all(left < right for left, right in pairwise([start, *ours]))
    if ours != theirs and lacks_a_midnight(zone, moment, max(ours[-1], theirs[-1])):
        return False
    assert ours == theirs
    return True


def agree(cron: str, name: str, start: int) -> None:
    assume(comparable(cron, name, start))


@given(crons(), st.sampled_from(ZONES), NEAR)
@settings(max_examples=300, deadline=None)
def test_agrees_with_cronsim_around_clock_changes(cron: str, zone: str, start: int) -> None:
    agree(cron, zone, start)


@given(crons(), st.sampled_from(sorted(available_timezones())), STARTS)
@settings(max_examples=150, deadline=None)
def test_agrees_with_cronsim_in_any_zone(cron: str, zone: str, start: int) -> None:
    agree(cron, zone, start)


WHOLE = bool(os.environ.get("GREENROOM_ALL_ZONES"))
"""All zones and fifteen years take minutes; in the suite it is one zone in thirty and one year."""
FIXED = ("30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "0 3 * * 0", "0 12 1 * *")


@pytest.mark.parametrize("zone", sorted(available_timezones())[:: 1 if WHOLE else 30])
def test_agrees_with_cronsim_at_every_clock_change_of_a_zone(zone: str) -> None:
    info = ZoneInfo(zone)
    day = datetime(2022 if WHOLE else 2026, 1, 1, tzinfo=UTC)
    last = datetime(2037 if WHOLE else 2027, 1, 1, tzinfo=UTC)
    while day < last:
        following = day + timedelta(days=1)
        if day.astimezone(info).utcoffset() != following.astimezone(info).utcoffset():
            for cron in FIXED:
                comparable(cron, zone, int((day - timedelta(days=1)).timestamp()))
        day = following


@given(crons(), st.sampled_from(ZONES), NEAR, st.sampled_from(["once", "both"]))
@settings(max_examples=100, deadline=None)
def test_due_times_do_not_depend_on_where_one_starts(
    cron: str, zone: str, start: int, dst: str
) -> None:
    schedule = parse_schedule(cron=cron, timezone=zone, dst=dst)
    due = schedule.upcoming(start, 5)
    for before, at in pairwise([float(start), *due]):
        assert before < at
        assert schedule.next_due(at - 1) == at
        assert schedule.next_due((before + at) / 2) == at


def members(field: str, low: int, high: int) -> set[int]:
    """A slow reading of the fields that `crons` writes."""
    names = {"MON": "1", "SAT": "6"}
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = names.get(part, part).partition("/")
        first, _, last = span.partition("-")
        ends = (low, high) if span == "*" else (int(first), int(last or first))
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


def count_minutes(cron: str, zone: ZoneInfo, start: int, days: int, dst: str) -> list[float]:
    """Looks at every minute, and at every wall-clock minute that is left out."""
    minute, hour, day, month, weekday = cron.split()
    minutes, hours = members(minute, 0, 59), members(hour, 0, 23)
    dates, months, weekdays = members(day, 1, 31), members(month, 1, 12), members(weekday, 0, 6)
    either = day != "*" and weekday != "*"
    real_clock = minute[0] == "*" or hour[0] == "*"

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        on_date, on_day = wall.day in dates, wall.isoweekday() % 7 in weekdays
        return on_date or on_day if either else on_date and on_day

    due: list[float] = []
    wall = datetime.fromtimestamp(start, zone)
    for at in range(start + 60, start + days * 86_400, 60):
        before, wall = wall, datetime.fromtimestamp(at, zone)
        left_out = before.replace(tzinfo=None) + timedelta(minutes=1)
        late = False
        while not real_clock and left_out < wall.replace(tzinfo=None):
            late = late or matches(left_out)
            left_out += timedelta(minutes=1)
        if late or (matches(wall) and (wall.fold == 0 or real_clock or dst == "both")):
            due.append(at)
    return due


@given(crons(), st.sampled_from(ZONES), NEAR, st.sampled_from(["once", "both"]))
@settings(max_examples=80, deadline=None)
def test_agrees_with_counting_minutes(cron: str, zone: str, start: int, dst: str) -> None:
    start -= start % 60
    expected = count_minutes(cron, ZoneInfo(zone), start, 4, dst)
    schedule = parse_schedule(cron=cron, timezone=zone, dst=dst)
    assert schedule.upcoming(start, 200)[: len(expected)] == expected[:200]
    if len(expected) < 200:
        later = schedule.next_due(expected[-1] if expected else start)
        assert later is None or later >= start + 4 * 86_400


# -- rates, moments, every ---------------------------------------------------------------------


def test_a_rate_counts_from_its_anchor_without_drift() -> None:
    rate = parse_schedule("5 minutes")
    assert rate.next_due(1000.0, 1000.0) == 1300
    assert rate.next_due(1000.5, 1000.0) == 1300
    assert rate.next_due(1300, 1000.0) == 1600
    assert rate.next_due(500, 1000.0) == 1300
    assert rate.upcoming(1000.25, 3) == [1300.25, 1600.25, 1900.25]
    assert rate.rule == "every 5 minutes"


@given(st.integers(1, 10**6), st.floats(0, 2e9), st.floats(0, 2e9))
def test_rates_are_strictly_increasing(step: int, anchor: float, after: float) -> None:
    schedule = parse_schedule(rate=f"{step} seconds")
    due = schedule.next_due(after, anchor)
    assert due is not None
    assert due > after
    assert due >= anchor + step
    assert due <= max(after, anchor) + step + 1e-3


@pytest.mark.parametrize(
    "rate",
    ["0 minutes", "5 minutes\n", "-1 days", "5", "minutes", "1.5 hours", "5  minutes", "5 weeks",
     "٣ days", "9999999999 days", 5, None],
)  # fmt: skip
def test_bad_rates_are_refused(rate: Any) -> None:
    with pytest.raises(InvalidDefinition, match="must be a rate such as"):
        parse_schedule({"rate": rate})


def test_a_moment_comes_once() -> None:
    once = parse_schedule(at="2026-07-01T09:00", timezone="Europe/Paris")
    due = datetime(2026, 7, 1, 7, tzinfo=UTC).timestamp()
    assert once.upcoming(0) == [due]
    assert once.next_due(due) is None
    assert once.rule == "once at 2026-07-01T07:00:00Z"
    assert parse_schedule(at=100).next_due(datetime(1970, 1, 1)) == 100
    wrongs: list[Any] = ["soon", True, [], 1e300, float(2**62)]
    for wrong in wrongs:
        with pytest.raises(InvalidDefinition, match="must be a moment"):
            parse_schedule({"at": wrong})


@pytest.mark.parametrize(
    ("spec", "cron"),
    [
        ({"every": "minute"}, "* * * * *"),
        ({"every": "hour"}, "0 * * * *"),
        ({"every": "day", "at": "09:30"}, "30 9 * * *"),
        ({"every": "week", "on": "monday", "at": "09:00"}, "0 9 * * 1"),
        ({"every": "week", "on": ["Friday", "sunday"]}, "0 0 * * 5,0"),
        ({"every": "month", "on": [1, 15], "at": "00:05"}, "5 0 1,15 * *"),
        ({"every": "month"}, "0 0 1 * *"),
    ],
)
def test_every_is_cron_in_words(spec: dict[str, Any], cron: str) -> None:
    zone = {"timezone": "Europe/Paris"}
    assert parse_schedule({**spec, **zone}).upcoming(0, 20) == paris(cron).upcoming(0, 20)


def test_every_may_be_a_rate_and_is_said_in_words() -> None:
    assert parse_schedule(every="90 seconds").next_due(0) == 90
    spec = {"every": "week", "on": "monday", "at": "09:00", "timezone": "Europe/Paris"}
    assert parse_schedule(spec).rule == "every week on monday at 09:00 (Europe/Paris)"
    assert paris("0 20 * * 5").rule == "cron 0 20 * * 5 (Europe/Paris)"


# -- policies and validation -------------------------------------------------------------------


def test_policies_are_kept_and_have_defaults() -> None:
    plain = parse_schedule("@daily")
    assert (plain.catch_up, plain.overlap, plain.kind) == ("one", "allow", "cron")
    own = parse_schedule(rate="1 day", catch_up="all", overlap="queue")
    assert (own.catch_up, own.overlap, own.kind) == ("all", "queue", "rate")
    assert parse_schedule(own.spec) is own


def test_missed_follows_the_policy() -> None:
    def missed(policy: str, after: float, now: float) -> list[float]:
        return parse_schedule(cron="* * * * *", catch_up=policy).missed(after, now)

    assert missed("skip", 0, 600) == []
    assert missed("one", 0, 605) == [600]
    assert missed("one", 0, 600) == [600]
    assert missed("one", 0, 59) == []
    assert missed("all", 0, 185) == [60, 120, 180]
    assert missed("all", 0, 59) == []


def test_all_is_capped_at_the_latest_thousand() -> None:
    year = 365 * 86_400
    due = parse_schedule(cron="* * * * *", catch_up="all").missed(0, year)
    assert len(due) == CATCH_UP_MAX
    assert due[-1] == year
    assert due[0] == year - 999 * 60


@given(crons(), st.sampled_from(ZONES), NEAR, st.integers(0, 500_000))
@settings(max_examples=60, deadline=None)
def test_the_last_due_is_the_last(cron: str, zone: str, start: int, length: int) -> None:
    schedule = parse_schedule(cron=cron, timezone=zone)
    end = start + length
    found = schedule.last_due(start, end)
    due = schedule.next_due(start)
    if found is None:
        assert due is None or due > end
    else:
        assert start < found <= end
        later = schedule.next_due(found)
        assert later is None or later > end
        assert schedule.next_due(found - 1) == found


@pytest.mark.parametrize(
    ("spec", "places"),
    [
        ({}, ["$"]),
        ({"cron": "* * * * *", "rate": "1 day"}, ["$"]),
        ({"cron": "* * * * *", "at": "09:00"}, ["$.at"]),
        ({"rate": "1 day", "timezone": "UTC"}, ["$.timezone"]),
        ({"rate": "1 day", "dst": "once"}, ["$.dst"]),
        ({"cron": "* * * * *", "dst": "never"}, ["$.dst"]),
        ({"cron": "* * * * *", "seconds": "last"}, ["$.seconds"]),
        ({"cron": "* * * * *", "timezone": "Mars/Base"}, ["$.timezone"]),
        ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, ["$.timezone"]),
        ({"cron": 5, "catchup": "all", "overlap": "x"}, ["$", "$.overlap", "$.cron"]),
        ({"every": "year"}, ["$.every"]),
        ({"every": "day", "on": "monday"}, ["$.on"]),
        ({"every": "week", "on": "mo"}, ["$.on"]),
        ({"every": "month", "on": 32}, ["$.on"]),
        ({"every": "day", "at": "24:00"}, ["$.at"]),
        ({"every": "hour", "at": "09:00"}, ["$.at"]),
        ({"rate": "1 day", "on": "monday"}, ["$"]),
        ([], ["$"]),
    ],
)
def test_every_problem_has_a_place(spec: Any, places: list[str]) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_schedule(spec)
    assert [problem.path for problem in caught.value.problems] == places


def test_croniter_is_not_imported_before_a_cron_is_parsed() -> None:
    code = "import sys, greenroom.definitions.schedules; print('croniter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
