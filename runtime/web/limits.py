"""How much one peer may ask for over HTTP."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from greenroom.definitions.errors import RateLimited

KNOWN_MAX: Final = 10_000
"""Callers whose rate is remembered; the one heard of longest ago is forgotten."""


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are those of the documented face."""

    url_bytes: int = 8 << 10
    header_bytes: int = 32 << 10
    header_lines: int = 100
    header_s: float = 10.0
    body_bytes: int = 1 << 20
    body_s: float = 30.0
    """The body must be here within this time; of a bulk, within it of its last piece."""
    bulk_bytes: int = 64 << 20
    bulk_events: int = 50_000
    connections: int = 1_000
    keep_alive_s: float = 75.0
    feeds: int = 64
    """Open feeds of one caller."""
    feed_lines: int = 1_000
    """Lines a feed holds for a reader that is slower than what happens."""
    stalled_s: float = 30.0
    """A reader of a feed that has made no room for so long is dropped."""
    heartbeat_s: float = 15.0
    caller_rate: float = 2_000.0
    """Requests a second of one caller, and of one address that has not said who it is."""
    nobody_rate: float = 200.0
    failed_rate: float = 1.0
    """Wrong keys a second of one address, after the first twenty."""
    failed_s: float = 0.3
    """What a wrong key costs the one who shows it."""


class Rate:
    """Token buckets by name: `rate` a second, `burst` at once."""

    def __init__(self, rate: float, burst: float, now: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = burst
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, count: float = 1.0) -> None:
        """Raises `RateLimited` when the bucket is empty."""
        left = self.left(name)
        if left < count:
            after_s = round((count - left) / self.rate, 3)
            raise RateLimited(f"too many requests; try again in {after_s:g} s", after_s=after_s)
        self._left[name] = (left - count, self._now())
        self._left.move_to_end(name)
        if len(self._left) > KNOWN_MAX:
            self._left.popitem(last=False)

    def left(self, name: str) -> float:
        found = self._left.get(name)
        if found is None:
            return self.burst
        return min(self.burst, found[0] + max(0.0, self._now() - found[1]) * self.rate)

    def check(self, name: str) -> None:
        """Raises `RateLimited` without taking."""
        left = self.left(name)
        if left < 1:
            after_s = round((1 - left) / self.rate, 3)
            raise RateLimited(f"too many wrong keys; try again in {after_s:g} s", after_s=after_s)
