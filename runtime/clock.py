"""Clocks: the system's, and one whose time moves when a test says so.

Both give wall time in milliseconds and call back once the wall clock has reached a moment, never
before. The system clock books its calls with the event loop's monotonic timers and checks the
wall clock when they fire, so a clock that is set back makes nothing early and a clock that is set
forward is noticed within a second.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

_RECHECK_S: Final = 1.0
"""The longest nap: a wall clock that jumps forward is noticed after it."""


class Booking:
    """A call that is booked; `cancel` takes it back."""

    __slots__ = ("cancelled", "due", "handle", "then")

    def __init__(self, due: int, then: Callable[[], None]) -> None:
        self.due = due
        self.then = then
        self.handle: asyncio.TimerHandle | None = None
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        if self.handle is not None:
            self.handle.cancel()


class SystemClock:
    """The machine's time."""

    def now(self) -> int:
        return self._ns() // 1_000_000

    def _ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_at(self, due: int, then: Callable[[], None]) -> Booking:
        booking = Booking(due, then)
        self._nap(booking)
        return booking

    def call_later(self, delay_ms: int, then: Callable[[], None]) -> Booking:
        booking = Booking(0, then)
        loop = asyncio.get_running_loop()
        booking.handle = loop.call_later(delay_ms / 1000, self._woken, booking)
        return booking

    def _nap(self, booking: Booking) -> None:
        wait_s = max(0.0, (booking.due * 1_000_000 - self._ns()) / 1e9)
        loop = asyncio.get_running_loop()
        booking.handle = loop.call_later(min(wait_s + 0.0005, _RECHECK_S), self._woken, booking)

    def _woken(self, booking: Booking) -> None:
        booking.handle = None  # it holds the booking
        if booking.cancelled:
            return
        if self.now() < booking.due:
            self._nap(booking)
        else:
            booking.then()


class SetClock(SystemClock):
    """The machine's time, as if somebody had set its clock."""

    def __init__(self) -> None:
        self._off_ns = 0

    def set(self, by_ms: int) -> None:
        """Forward, or back by a negative number."""
        self._off_ns += by_ms * 1_000_000

    def _ns(self) -> int:
        return time.time_ns() + self._off_ns


class VirtualClock:
    """Time that stands still until `advance`. Starts at 2026-01-01 00:00 UTC unless told."""

    def __init__(self, start: int = 1_767_225_600_000) -> None:
        self._now = start
        self._start = start
        self._booked: list[tuple[int, int, Booking]] = []
        self._overdue: set[Booking] = set()
        self._count = itertools.count()

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start) / 1000

    def call_at(self, due: int, then: Callable[[], None]) -> Booking:
        booking = Booking(due, then)
        if due <= self._now:
            self._overdue.add(booking)
            booking.handle = asyncio.get_running_loop().call_later(0, self._fire, booking)
        else:
            heapq.heappush(self._booked, (due, next(self._count), booking))
        return booking

    def call_later(self, delay_ms: int, then: Callable[[], None]) -> Booking:
        return self.call_at(self._now + delay_ms, then)

    def next_due(self) -> int | None:
        """When the next booked call is due."""
        while self._booked and self._booked[0][2].cancelled:
            heapq.heappop(self._booked)
        return self._booked[0][0] if self._booked else None

    def move_to(self, moment: int) -> None:
        """Sets the time and makes the calls that are due by it."""
        self._now = max(self._now, moment)
        while self._booked and self._booked[0][0] <= self._now:
            self._fire(heapq.heappop(self._booked)[2])

    @property
    def calling(self) -> bool:
        """Whether a call that is due already has been booked and not made."""
        self._overdue = {booking for booking in self._overdue if not booking.cancelled}
        return bool(self._overdue)

    def _fire(self, booking: Booking) -> None:
        self._overdue.discard(booking)
        if not booking.cancelled:
            booking.then()
