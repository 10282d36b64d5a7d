"""Previews: what a schedule would do, and what is assumed for it."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.previews import Planned, preview
from greenroom.definitions.schedules import parse_schedule

H = 3600.0


def planned(spec: Any, count: int = 8, assume: tuple[str, ...] = ()) -> list[Planned]:
    return preview(parse_schedule(spec), 0, count, assume)


def short(found: list[Planned]) -> list[tuple[float, float | None, str]]:
    return [(p.nominal / H, None if p.at is None else p.at / H, p.what) for p in found]


def test_nothing_assumed_everything_is_on_time() -> None:
    assert short(planned("0 * * * *", 3)) == [(n, n, "on time") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("policy", "made_up"), [("skip", ()), ("one", (4,)), ("all", (2, 3, 4))]
)  # fmt: skip
def test_what_is_missed_follows_the_catch_up(policy: str, made_up: tuple[int, ...]) -> None:
    found = short(planned({"cron": "30 * * * *", "catch_up": policy}, 6, ("down=02:00-05:00",)))
    assert [(n, what) for n, _, what in found] == [
        (0.5, "on time"), (1.5, "on time"),
        *((n + 0.5, "made up" if n in made_up else "skipped") for n in (2, 3, 4)),
        (5.5, "on time"),
    ]  # fmt: skip
    assert {at for n, at, what in found if what == "made up"} <= {5.0}


def test_what_is_older_than_the_window_is_skipped() -> None:
    spec = {"cron": "30 * * * *", "catch_up": "all", "catch_up_window": "1h"}
    found = planned(spec, 5, ("down=02:00-05:00",))
    assert [p.what for p in found] == ["on time", "on time", "skipped", "skipped", "made up"]
    assert found[2].why == "missed before the catch_up_window"


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("allow", [(1, 1, "on time"), (2, 2, "on time"), (3, 3, "on time")]),
        ("skip", [(1, 1, "on time"), (2, None, "skipped"), (3, 3, "on time")]),
        ("queue", [(1, 1, "on time"), (2, 2.5, "waits"), (3, 4, "waits")]),
        ("cancel_running", [(1, 1, "cancelled"), (2, 2, "cancelled"), (3, 3, "on time")]),
    ],
)
def test_runs_that_take_their_time_follow_the_overlap(overlap: str, expected: Any) -> None:
    found = short(planned({"cron": "0 * * * *", "overlap": overlap}, 3, ("takes=90m",)))
    assert found == expected


def test_down_over_midnight_and_between_moments() -> None:
    night = planned("0 */6 * * *", 4, ("down=23:00-01:00",))
    assert [p.what for p in night] == ["on time", "on time", "on time", "made up"]
    assert night[3].at == 25 * H
    once = planned("0 * * * *", 3, ("down=1970-01-01T00:30/1970-01-01T02:30",))
    assert short(once) == [(1, None, "skipped"), (2, 2.5, "made up"), (3, 3, "on time")]


def test_windows_in_a_zone_are_of_that_zone() -> None:
    spec = {"cron": "30 3 * * *", "timezone": "Europe/Paris"}
    (one,) = planned(spec, 1, ("down=03:00-04:00",))
    assert (one.what, one.at) == ("made up", 3 * H)  # 04:00 there is 03:00 UTC


@pytest.mark.parametrize(
    "assume", ["", "up=1", "down=", "down=5-6", "down=05:00-05:00", "down=x/y", "takes=long"]
)
def test_what_cannot_be_assumed_is_named(assume: str) -> None:
    with pytest.raises(InvalidInput):
        planned("0 * * * *", 1, (assume,))
