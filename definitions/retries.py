"""When a failed attempt is tried again.

A policy is data: it is stored with the op it belongs to, so a changed workflow does not change
what was promised to an attempt under way. The jitter is drawn from a hash of the op and the
number of failures, never from a random generator, so live and replayed code agree on the due time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from hashlib import blake2b
from typing import Final

import msgspec

from greenroom.definitions import durations
from greenroom.definitions.errors import InvalidDefinition

DELAY_MAX_S: Final = 3600.0


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`max_attempts` counts the first attempt too; None is no limit.

    `retry_on` names exception classes; None is any. Raises `InvalidDefinition` for values that
    make no sense.
    """

    delay_s: float = 10.0
    backoff: float = 2.0
    max_delay_s: float = DELAY_MAX_S
    jitter: float = 0.1
    max_attempts: int | None = None
    retry_on: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise InvalidDefinition(f"retry policy: {problem}")

    @classmethod
    def never(cls) -> RetryPolicy:
        """One attempt and no more: what a plain step has."""
        return _NEVER

    def delay(self, failed: int, seed: str, error_type: str | Iterable[str] = ()) -> float | None:
        """Seconds until the next attempt after `failed` failures (1 is the first), None to give up.

        `seed` names the op; the same seed and count give the same delay. `error_type` is the
        class name of what was raised, or the names of the class and its bases.
        """
        if self.max_attempts is not None and failed >= self.max_attempts:
            return None
        if not self.covers(error_type):
            return None
        try:
            base = min(self.delay_s * self.backoff ** max(failed - 1, 0), self.max_delay_s)
        except OverflowError:
            base = self.max_delay_s
        spread = base * self.jitter * (2 * _fraction(seed, failed) - 1)
        # Folded back at the limit, not cut: a cut would make half of a crowd come at once.
        return base - abs(spread) if base + spread > self.max_delay_s else base + spread

    def covers(self, error_type: str | Iterable[str]) -> bool:
        """Whether a failure is one of those that are tried again, however often it came.

        Both `ConnectError` and `httpx.ConnectError` name the same class.
        """
        if self.retry_on is None:
            return True
        names = (error_type,) if isinstance(error_type, str) else tuple(error_type)
        short = {name.rpartition(".")[2] for name in names}
        return any(name in names or ("." not in name and name in short) for name in self.retry_on)


def _problem(policy: RetryPolicy) -> str | None:
    numbers = (policy.delay_s, policy.backoff, policy.max_delay_s, policy.jitter)
    if not all(math.isfinite(number) for number in numbers):
        return "numbers must be finite"
    if policy.delay_s < 0 or policy.max_delay_s < 0:
        return "delays must not be negative"
    if policy.backoff < 1:
        return f"backoff must be 1 or more, not {policy.backoff:g}"
    if not 0 <= policy.jitter <= 1:
        return f"jitter is a part of the delay, from 0 to 1, not {policy.jitter:g}"
    if policy.max_attempts is not None and policy.max_attempts < 1:
        return f"max_attempts must be 1 or more, not {policy.max_attempts}"
    return None


def _fraction(seed: str, failed: int) -> float:
    """A number in [0, 1) that depends on the arguments alone."""
    raw = blake2b(f"{seed}\n{failed}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(raw, "big") >> 11) / (1 << 53)


_NEVER: Final = RetryPolicy(max_attempts=1)


def never() -> RetryPolicy:
    """One attempt and no more: what a plain step has."""
    return _NEVER


def retry_policy(
    *,
    delay: str | float | timedelta = 10,
    backoff: float = 2,
    max_delay: str | float | timedelta | None = None,
    jitter: float = 0.1,
    max_attempts: int | None = None,
    retry_on: str | type[BaseException] | Iterable[str | type[BaseException]] | None = None,
) -> RetryPolicy:
    """A policy from what authors write: durations as text, exceptions as classes or names.

    Without a `max_delay` it is an hour, or the delay if that is longer. Raises `InvalidInput`
    for a bad duration and `InvalidDefinition` for the rest, a `max_delay` under the delay too.
    """
    delay_s = durations.seconds(delay, "delay")
    if max_delay is None:
        max_delay_s = max(delay_s, DELAY_MAX_S)
    else:
        max_delay_s = durations.seconds(max_delay, "max_delay")
    if max_delay_s < delay_s:
        raise InvalidDefinition(
            f"retry policy: max_delay ({durations.text(max_delay_s)}) is shorter than "
            f"delay ({durations.text(delay_s)})"
        )
    names: tuple[str, ...] | None = None
    if retry_on is not None:
        several = (retry_on,) if isinstance(retry_on, str | type) else tuple(retry_on)
        names = tuple(one if isinstance(one, str) else one.__name__ for one in several)
    return RetryPolicy(delay_s, backoff, max_delay_s, jitter, max_attempts, names)
