"""How often a service is asked: a token bucket on the engine's clock, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from greenroom.actors.ports import Clock, Handle
from greenroom.definitions.errors import Busy
from greenroom.definitions.rates import Rate

WAITING_MAX: Final = 10_000


class Limiter:
    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._free = float(rate.burst)
        self._at = clock.monotonic()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._booked: Handle | None = None

    async def turn(self) -> None:
        """Waits until one more request may go. Raises `Busy` when too many wait already."""
        self._refill()
        if not self._waiting and self._free >= 1:
            self._free -= 1
            return
        if len(self._waiting) >= WAITING_MAX:
            raise Busy(f"{WAITING_MAX:,} requests wait for the rate limit already")
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._book()
        await mine

    def _refill(self) -> None:
        now = self._clock.monotonic()
        gained = (now - self._at) / self._rate.each_s
        self._free = min(float(self._rate.burst), self._free + max(0.0, gained))
        self._at = now

    def _book(self) -> None:
        if self._booked is None and self._waiting:
            wait_ms = max(1, round((1 - self._free) * self._rate.each_s * 1000 + 0.5))
            self._booked = self._clock.call_later(wait_ms, self._serve)

    def _serve(self) -> None:
        self._booked = None
        self._refill()
        while self._waiting and self._free >= 1 - 1e-9:
            one = self._waiting.popleft()
            if not one.done():
                self._free -= 1
                one.set_result(None)
        self._book()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._booked is not None:
            self._booked.cancel()
            self._booked = None
        for one in self._waiting:
            one.cancel()
        self._waiting.clear()
