"""When a `Wait` is over (features of class workflows: time arithmetic).

The table of wrong answers measured in Zenaton's own library (0.4.2, now = Thu 2018-11-15 11:00) is
here row by row with the right answer.
"""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom import InvalidInput, Wait
from greenroom.definitions.moments import WEEKDAYS, Moment

THURSDAY = datetime.datetime(2018, 11, 15, 11, tzinfo=datetime.UTC)
MONDAY = datetime.datetime(2018, 4, 23, 11, tzinfo=datetime.UTC)


def due(wait: Wait, now: datetime.datetime = THURSDAY) -> str:
    """The end of a wait that begins at `now`, as text in UTC."""
    at = wait._moment.due(round(now.timestamp() * 1000))
    return (
        datetime.datetime.fromtimestamp(at / 1000, datetime.UTC)
        .isoformat(" ")
        .removesuffix("+00:00")
    )


def at(year: int, month: int, day: int, hour: int = 11, minute: int = 0) -> datetime.datetime:
    return datetime.datetime(year, month, day, hour, minute, tzinfo=datetime.UTC)


# -- the rules users agreed on -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "end"),
    [
        (lambda: Wait().monday(), "2018-04-30 11:00:00"),
        (lambda: Wait().monday().at("9"), "2018-04-30 09:00:00"),
        (lambda: Wait().monday().at("13"), "2018-04-23 13:00:00"),
        (lambda: Wait().day_of_month(23), "2018-05-23 11:00:00"),
        (lambda: Wait().day_of_month(23).at("13"), "2018-04-23 13:00:00"),
        (lambda: Wait().day_of_month(23).at("9"), "2018-05-23 09:00:00"),
        (lambda: Wait().at("13"), "2018-04-23 13:00:00"),
        (lambda: Wait().at("9"), "2018-04-24 09:00:00"),
        (lambda: Wait().tuesday(), "2018-04-24 11:00:00"),
        (lambda: Wait().sunday(2).at("08:30"), "2018-05-06 08:30:00"),
    ],
)
def test_today_counts_only_while_its_time_is_still_to_come(wait: Any, end: str) -> None:
    assert due(wait(), MONDAY) == end


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (at(2019, 1, 31), "2019-03-31 11:00:00"),
        (at(2019, 2, 1), "2019-03-31 11:00:00"),
        (at(2019, 3, 31), "2019-05-31 11:00:00"),
        (at(2019, 4, 30), "2019-05-31 11:00:00"),
        (at(2019, 11, 30), "2019-12-31 11:00:00"),
    ],
)
def test_day_31_waits_for_the_next_month_that_has_it(now: datetime.datetime, end: str) -> None:
    assert due(Wait().day_of_month(31), now) == end


# -- the bugs, one by one ----------------------------------------------------------------------


def test_bug_an_hour_without_a_leading_zero_is_a_time() -> None:
    assert due(Wait().at("8")) == "2018-11-16 08:00:00"


def test_bug_an_hour_and_minutes_are_a_time() -> None:
    assert due(Wait().at("8:00")) == "2018-11-16 08:00:00"
    assert due(Wait().at("08:05:30")) == "2018-11-16 08:05:30"


def test_bug_a_later_time_on_a_day_of_the_week_is_not_in_the_past() -> None:
    assert due(Wait().friday().at("13:00:00")) == "2018-11-16 13:00:00"


def test_bug_an_earlier_time_on_a_day_of_the_week_is_not_a_week_late() -> None:
    assert due(Wait().friday().at("09:00:00")) == "2018-11-16 09:00:00"


def test_bug_fourteen_months_are_more_than_a_year() -> None:
    assert due(Wait().months(14)) == "2020-01-15 11:00:00"


def test_bug_day_30_seen_from_the_end_of_january_is_in_march() -> None:
    assert due(Wait().day_of_month(30), at(2019, 1, 31)) == "2019-03-30 11:00:00"


def test_bug_parts_of_a_second_count() -> None:
    assert due(Wait().seconds(1.9)) == "2018-11-15 11:00:01.900000"


@pytest.mark.parametrize(
    "method", ["seconds", "minutes", "hours", "days", "weeks", "months", "years"]
)
@pytest.mark.parametrize("value", [-5, "5", True, None, float("nan")])
def test_bug_a_negative_or_strange_number_is_refused(method: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        getattr(Wait(), method)(value)


def test_bug_the_name_of_an_event_is_enough() -> None:
    assert Wait("UserActivated").execute().name == "UserActivated"


def test_bug_the_zone_of_one_wait_is_not_that_of_all() -> None:
    Wait().timezone("Asia/Tokyo")
    assert due(Wait().at("13")) == "2018-11-15 13:00:00"
    assert due(Wait().timezone("Asia/Tokyo").at("21")) == "2018-11-15 12:00:00"
    assert due(Wait().at("13").set_timezone("Asia/Tokyo")) == "2018-11-16 04:00:00"


# -- sums --------------------------------------------------------------------------------------


def test_durations_add_up() -> None:
    wait = Wait().years(1).months(2).weeks(1).days(1).hours(1).minutes(2).seconds(3)
    assert due(wait) == "2020-01-23 12:02:03"
    assert due(Wait().days(1).days(2)) == "2018-11-18 11:00:00"
    assert due(Wait().for_("1h30m").for_(datetime.timedelta(seconds=1))) == "2018-11-15 12:30:01"
    assert due(Wait().days(1.5)) == "2018-11-16 23:00:00"


def test_a_day_is_looked_for_from_where_the_durations_lead() -> None:
    assert due(Wait().days(3).at("9")) == "2018-11-18 09:00:00"
    assert due(Wait().weeks(1).monday()) == "2018-11-26 11:00:00"
    assert due(Wait().months(1).day_of_month(1)) == "2019-01-01 11:00:00"
    assert due(Wait().hours(23).at("9")) == "2018-11-17 09:00:00"


def test_a_month_after_the_31st_is_the_last_day_of_a_shorter_one() -> None:
    assert due(Wait().months(1), at(2019, 1, 31)) == "2019-02-28 11:00:00"
    assert due(Wait().years(1), at(2020, 2, 29)) == "2021-02-28 11:00:00"


# -- zones -------------------------------------------------------------------------------------


def test_days_keep_the_time_of_day_over_a_change_of_clocks_hours_do_not() -> None:
    eve = at(2026, 3, 28, 9)  # 10:00 in Paris, summer time begins in the night
    assert due(Wait().timezone("Europe/Paris").days(1), eve) == "2026-03-29 08:00:00"
    assert due(Wait().timezone("Europe/Paris").hours(24), eve) == "2026-03-29 09:00:00"


def test_a_time_the_change_of_clocks_leaves_out_comes_that_much_later() -> None:
    eve = at(2026, 3, 28, 12)
    assert due(Wait().timezone("Europe/Paris").at("02:30"), eve) == "2026-03-29 01:30:00"


def test_a_time_that_comes_twice_is_the_first() -> None:
    eve = at(2026, 10, 24, 12)
    assert due(Wait().timezone("Europe/Paris").at("02:30"), eve) == "2026-10-25 00:30:00"


def test_the_day_is_that_of_the_zone() -> None:
    late = at(2026, 6, 7, 23)  # Sunday in London, Monday 08:00 in Tokyo
    assert due(Wait().timezone("Asia/Tokyo").monday().at("9"), late) == "2026-06-08 00:00:00"


def test_an_unknown_zone_is_refused() -> None:
    for name in ("Paris", "", None, 7, "../etc/passwd"):
        with pytest.raises(InvalidInput, match="zone"):
            Wait().timezone(name)  # type: ignore[arg-type]


# -- moments -----------------------------------------------------------------------------------


def test_a_timestamp_is_taken_as_it_is() -> None:
    assert due(Wait().timestamp(1_550_000_000)) == "2019-02-12 19:33:20"
    assert due(Wait().timestamp(datetime.datetime(2019, 1, 1))) == "2019-01-01 00:00:00"
    assert due(Wait().timestamp(0)) == "1970-01-01 00:00:00"


@pytest.mark.parametrize("value", [-1, True, "2019-01-01", None, 1_550_000_000_000, float("nan")])
def test_what_is_no_timestamp_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Wait().timestamp(value)


@pytest.mark.parametrize(
    "value", ["", "24", "9:5", "9.30", "noon", "12:60", "09:00:00:00", None, 9, "²"]
)
def test_what_is_no_time_of_day_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="time of day"):
        Wait().at(value)


@pytest.mark.parametrize("value", [0, 32, 1.0, True, "1", None])
def test_what_is_no_day_of_a_month_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Wait().day_of_month(value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Wait().monday().tuesday(),
        lambda: Wait().monday().day_of_month(3),
        lambda: Wait().at("9").at("10"),
        lambda: Wait().timestamp(5).at("9"),
        lambda: Wait().days(1).timestamp(5),
        lambda: Wait().timestamp(5).timestamp(6).seconds(1),
        lambda: Wait().years(101),
        lambda: Wait().monday(0),
    ],
)
def test_wishes_that_exclude_each_other_are_refused(build: Any) -> None:
    with pytest.raises(InvalidInput):
        build()


def test_where_needs_an_event() -> None:
    with pytest.raises(InvalidInput, match="needs an event"):
        Wait(where={"data.a": 1})


def test_an_event_without_a_time_waits_for_ever() -> None:
    assert Wait("E").execute().when is None
    assert Wait("E").timezone("Europe/Paris").execute().when is None


# -- laws --------------------------------------------------------------------------------------

INSTANTS = st.datetimes(
    min_value=datetime.datetime(1990, 1, 1), max_value=datetime.datetime(2060, 1, 1)
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
)


@given(
    now=INSTANTS,
    zone=ZONES,
    day=st.one_of(st.integers(0, 6), st.none()),
    month_day=st.one_of(st.integers(1, 31), st.none()),
    hour=st.one_of(st.integers(0, 23), st.none()),
    days=st.integers(0, 400),
    months=st.integers(0, 30),
)
def test_the_end_is_after_now_and_what_was_asked_for(
    now: datetime.datetime,
    zone: str,
    day: int | None,
    month_day: int | None,
    hour: int | None,
    days: int,
    months: int,
) -> None:
    start = round(now.replace(tzinfo=datetime.UTC).timestamp() * 1000)
    moment = Moment().in_zone(zone).plus_days(days).plus_months(months)
    if day is not None:
        moment = moment.on_weekday(day)
    elif month_day is not None:
        moment = moment.on_month_day(month_day)
    if hour is not None:
        moment = moment.at_clock(f"{hour}:15")
    end = moment.due(start)
    assert end == moment.due(start)
    local = datetime.datetime.fromtimestamp(end / 1000, moment.zone)
    if day is None and month_day is None and hour is None:
        assert end >= start
        return
    assert end > start
    if day is not None:
        assert WEEKDAYS[local.weekday()] == WEEKDAYS[day]
    elif month_day is not None:
        assert local.day == month_day
    if hour is not None:
        assert local.minute in (15, 45)  # 45: half an hour is left out on Lord Howe
