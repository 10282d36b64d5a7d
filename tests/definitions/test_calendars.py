"""Limits of schedules: excluded days, start, end, jitter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.schedules import parse_schedule

START = datetime(2026, 12, 23, tzinfo=UTC).timestamp()


def days(spec: Any, count: int, zone: str = "UTC") -> list[str]:
    return [
        datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%m-%dT%H:%M")
        for at in parse_schedule(spec).upcoming(START, count)
    ]


def test_excluded_days_are_never_due() -> None:
    spec = {"cron": "0 9 * * *", "exclude": ["weekend", "12-25", "2026-12-29/2026-12-30"]}
    assert days(spec, 5) == [
        "12-23T09:00", "12-24T09:00", "12-28T09:00", "12-31T09:00", "01-01T09:00",
    ]  # fmt: skip


def test_a_day_is_one_of_the_zone() -> None:
    spec = {"cron": "30 0 * * *", "timezone": "Europe/Paris", "exclude": ["12-24"]}
    assert days(spec, 2, "Europe/Paris") == ["12-25T00:30", "12-26T00:30"]


def test_a_rate_goes_on_in_step_after_excluded_days() -> None:
    spec = {"rate": "7 hours", "exclude": ["2026-12-24"]}
    found = parse_schedule(spec).upcoming(START, 4, START)
    assert [(at - START) / 3600 for at in found] == [7, 14, 21, 49]


def test_seconds_on_excluded_days_are_not_counted_one_by_one() -> None:
    every = parse_schedule({"cron": "* * * * * *", "seconds": "first", "exclude": ["weekend"]})
    friday = datetime(2026, 12, 25, 23, 59, 59, tzinfo=UTC).timestamp()
    assert every.next_due(friday) == friday + 2 * 86_400 + 1


def test_start_and_end_bound_the_times() -> None:
    spec = {"cron": "0 9 * * *", "start": "2026-12-25T09:00:00Z", "end": "2026-12-26T09:00:00Z"}
    assert days(spec, 9) == ["12-25T09:00", "12-26T09:00"]


def test_a_rate_with_a_start_begins_there() -> None:
    spec = {"rate": "2 days", "start": "2026-12-24T08:00", "timezone": "Europe/Paris"}
    assert days(spec, 2, "Europe/Paris") == ["12-24T08:00", "12-26T08:00"]


def test_a_schedule_that_is_excluded_for_ever_has_no_next_time() -> None:
    assert parse_schedule({"cron": "0 9 * * sat", "exclude": ["saturday"]}).next_due(START) is None


def test_jitter_is_the_same_each_time_and_stays_before_the_next_time() -> None:
    schedule = parse_schedule({"rate": "10 minutes", "jitter": "1h"})
    due = schedule.upcoming(START, 50, START)
    fires = [schedule.fires_at("s", at, START) for at in due]
    assert fires == [schedule.fires_at("s", at, START) for at in due]
    assert all(at <= fire < at + 600 for at, fire in zip(due, fires, strict=True))
    assert len({round(fire - at) for at, fire in zip(due, fires, strict=True)}) > 30
    assert fires != [schedule.fires_at("t", at, START) for at in due]
    assert parse_schedule("10 minutes").fires_at("s", due[0], START) == due[0]


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"exclude": []}, "$.exclude"),
        ({"exclude": ["saterday"]}, "$.exclude"),
        ({"exclude": [6]}, "$.exclude"),
        ({"exclude": ["02-30"]}, "$.exclude"),
        ({"exclude": ["2026-02-29"]}, "$.exclude"),
        ({"exclude": ["2026-03-01/2026-02-01"]}, "$.exclude"),
        ({"exclude": ["12-25"] * 401}, "$.exclude"),
        ({"start": "soon"}, "$.start"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "$.end"),
        ({"jitter": "-1s"}, "$.jitter"),
        ({"jitter": 0}, "$.jitter"),
        ({"catch_up_window": "x"}, "$.catch_up_window"),
    ],
)
def test_a_limit_that_is_none_is_named(more: Any, place: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        parse_schedule({"cron": "0 9 * * *", **more})
    assert [problem.path for problem in caught.value.problems] == [place]


def test_what_was_missed_before_the_window_is_not_made_up_for() -> None:
    def missed(policy: str, window: str) -> list[float]:
        spec = {"cron": "* * * * *", "catch_up": policy, "catch_up_window": window}
        return parse_schedule(spec).missed(0, 600)

    assert missed("all", "3m") == [420, 480, 540, 600]
    assert missed("one", "3m") == [600]
    assert parse_schedule({"rate": "1 hour", "catch_up_window": "1m"}).missed(0, 4000, 0) == []


def test_a_single_moment_has_no_limits() -> None:
    with pytest.raises(InvalidDefinition, match="no meaning with at"):
        parse_schedule({"at": "2026-12-25T00:00:00Z", "jitter": "1m"})
