"""What an expression may know of time and chance: what the entry that caused it says.

Nothing here reads a clock or throws dice. Whoever drives a workflow says which instant it is and
what chance is drawn from, so that the same entry gives the same values wherever it is looked at
again. Where nobody has said it (the condition of a trigger, a check before anything runs), the
functions that need it are an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any, Final


class Instant:
    """`at` in milliseconds since 1970; `draw` gives other bytes at each call, the same for the
    same seed and number of calls before."""

    __slots__ = ("_drawn", "_seed", "_work", "at", "meters")

    def __init__(self, at: int, seed: str) -> None:
        self.at = at
        self.meters: list[Any] = []
        """Of evaluations that were begun and not counted yet."""
        self._work = 0
        self._seed = seed
        self._drawn = 0

    def draw(self, size: int) -> bytes:
        """Up to 64 bytes."""
        self._drawn += 1
        raw = f"{self._seed}\n{self._drawn}".encode("utf-8", "surrogatepass")
        return blake2b(raw, digest_size=size).digest()

    def work(self) -> int:
        """The steps that all evaluations have taken; to be asked between two of them."""
        self._work += sum(meter.budget - meter.left for meter in self.meters)
        self.meters.clear()
        return self._work


INSTANT: Final[ContextVar[Instant | None]] = ContextVar("greenroom_instant", default=None)


def work() -> int:
    """The steps of work at this instant."""
    instant = INSTANT.get()
    return 0 if instant is None else instant.work()


@contextmanager
def at(instant: Instant) -> Iterator[None]:
    """Expressions evaluated inside are evaluated at this instant."""
    token = INSTANT.set(instant)
    try:
        yield
    finally:
        INSTANT.reset(token)
