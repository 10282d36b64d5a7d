import math
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.retries import RetryPolicy, never, retry_policy

STILL = RetryPolicy(jitter=0)


def test_the_delay_doubles_up_to_the_limit() -> None:
    assert [STILL.delay(n, "x") for n in (1, 2, 3, 9, 10, 5000)] == [10, 20, 40, 2560, 3600, 3600]


def test_gives_up_after_max_attempts_counting_the_first() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert policy.delay(2, "x") is not None
    assert policy.delay(3, "x") is None
    assert policy.delay(4, "x") is None


def test_never_gives_up_at_the_first_failure() -> None:
    assert never().delay(1, "x") is None
    assert RetryPolicy.never() is never()


def test_jitter_is_the_same_for_the_same_op_and_differs_between_ops() -> None:
    policy = RetryPolicy()
    assert policy.delay(1, "a/1") == policy.delay(1, "a/1")
    assert len({policy.delay(1, f"a/{n}") for n in range(100)}) == 100


def test_jitter_does_not_change_between_releases() -> None:
    assert RetryPolicy().delay(1, "op") == pytest.approx(10.820955883929756)


@given(st.integers(1, 10_000), st.text(max_size=20), st.floats(0, 1))
def test_delays_stay_within_the_jitter_and_under_the_limit(
    failed: int, seed: str, jitter: float
) -> None:
    delay = RetryPolicy(jitter=jitter).delay(failed, seed)
    base = STILL.delay(failed, seed)
    assert delay is not None
    assert base is not None
    assert base * (1 - jitter) - 1e-9 <= delay <= min(base * (1 + jitter), 3600) + 1e-9


def test_at_the_limit_the_crowd_stays_spread() -> None:
    delays = [RetryPolicy().delay(50, str(n)) for n in range(200)]
    assert len(set(delays)) == 200


@pytest.mark.parametrize(
    ("raised", "again"),
    [
        ("ConnectionError", True), ("ValueError", False), ((), False),
        (("ConnectionResetError", "ConnectionError", "OSError"), True),
        ("httpx.ConnectError", True), ("other.ConnectError", False), ("lib.ConnectionError", True),
    ],
)  # fmt: skip
def test_retry_on_names_the_class_or_a_base(raised: Any, again: bool) -> None:
    policy = RetryPolicy(retry_on=("ConnectionError", "httpx.ConnectError"))
    assert (policy.delay(1, "x", raised) is not None) is again


def test_a_policy_can_be_stored() -> None:
    policy = retry_policy(delay="2s", max_delay="5m", retry_on=(OSError, "Timeout"), max_attempts=4)
    assert policy == RetryPolicy(2, 2, 300, 0.1, 4, ("OSError", "Timeout"))
    raw = msgspec.json.encode(policy)
    assert msgspec.json.decode(raw, type=RetryPolicy) == policy
    assert msgspec.json.encode(RetryPolicy()) == b"{}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"backoff": 0.5}, {"jitter": 2}, {"jitter": -1}, {"max_attempts": 0}, {"delay_s": -1},
        {"delay_s": math.nan}, {"max_delay_s": math.inf},
    ],
)  # fmt: skip
def test_senseless_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidDefinition, match="retry policy"):
        RetryPolicy(**wrong)


def test_authors_slips_are_refused() -> None:
    with pytest.raises(InvalidInput, match="max_delay"):
        retry_policy(max_delay="soon")
    with pytest.raises(InvalidDefinition, match=r"max_delay \(1 s\) is shorter"):
        retry_policy(delay=timedelta(seconds=5), max_delay="1s")
    assert retry_policy(retry_on=OSError).retry_on == ("OSError",)
    assert retry_policy(retry_on="OSError").retry_on == ("OSError",)
    assert retry_policy(delay="2h").max_delay_s == 7200
