import contextlib
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.durations import DURATION_MAX_S, FORMS, seconds, text
from greenroom.definitions.errors import InvalidInput


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2s", 2), ("250ms", 0.25), ("1h30m", 5400), ("1h 30m", 5400), ("3 days", 259_200),
        ("5 minutes", 300), ("1 minute, 24 secs", 84), ("1.5h", 5400), ("1 w", 604_800),
        ("1s 250ms", 1.25), ("PT5M", 300), ("pt5m", 300), ("P1DT2H", 93_600), ("PT0.5S", 0.5),
        ("P2W", 1_209_600), ("90", 90), ("  2 S ", 2), ("0s", 0), (0, 0), (2, 2), (0.5, 0.5),
        (timedelta(minutes=2), 120),
    ],
)  # fmt: skip
def test_reads_what_people_write(written: object, expected: float) -> None:
    assert seconds(written) == expected  # type: ignore[arg-type]


def test_keeps_fractions_of_a_minute_that_pytimeparse_cuts_off() -> None:
    assert seconds("0.01m") == pytest.approx(0.6)


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "soon", "-5s", "- 1 minute", "1 month", "1y", "P1M", "P", "PT", "1:30", "30m 1h",
        "1h 1h", "1h,", "h", ".", "1.2.3s", "٣s", "1" * 65 + "s", -1, -0.5, math.nan, math.inf,
        True, None, [], timedelta(seconds=-1), "9999999999 days",
    ],
)  # fmt: skip
def test_refuses_everything_else_with_the_value_and_the_forms(written: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        seconds(written, "timeout")  # type: ignore[arg-type]
    assert str(caught.value).startswith("timeout ")
    assert caught.value.details["accepted"] == FORMS
    assert str(written)[:8] in caught.value.details["value"]


@pytest.mark.parametrize("value", [10**400, 10**5000], ids=["400", "5000"])
def test_refuses_numbers_too_long_to_print(value: int) -> None:
    with pytest.raises(InvalidInput, match="0x"):
        seconds(value)


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (0, "0 s"), (0.25, "250 ms"), (2, "2 s"), (2.5, "2.5 s"), (59.99, "1 min"), (60, "1 min"),
        (90, "1 min 30 s"), (5400, "1 h 30 min"), (3600, "1 h"), (259_200, "3 d"),
        (90_061, "1 d 1 h"), (0.9999, "1 s"), (-90, "-1 min 30 s"),
        (259_199.4, "3 d"), (3_599.7, "1 h"), (86_399, "1 d"), (119.6, "2 min"),
    ],
)  # fmt: skip
def test_text_shows_two_units(length: float, shown: str) -> None:
    assert text(length) == shown


@given(st.floats(0.001, DURATION_MAX_S / 2))
def test_text_reads_back_to_nearly_the_same(length: float) -> None:
    assert seconds(text(length)) == pytest.approx(length, rel=0.05)


@given(st.text(max_size=80))
def test_any_text_gives_a_number_or_our_error(written: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert 0 <= seconds(written) <= DURATION_MAX_S
