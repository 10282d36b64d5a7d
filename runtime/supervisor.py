"""The supervisor: how often something may crash before it is given up, as in OTP.

An instance whose turns crash the runtime five times in a minute is parked as poison; a component
(router, timer, server) that crashes three times in ten seconds ends the process, because the
service manager outside restarts a process better than we restart half of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from greenroom.actors.ports import Clock

INSTANCE_CRASHES: Final = 5
INSTANCE_WINDOW_S: Final = 60.0
COMPONENT_CRASHES: Final = 3
COMPONENT_WINDOW_S: Final = 10.0
TRACKED_MAX: Final = 10_000


class Supervisor:
    def __init__(
        self, clock: Clock, on_give_up: Callable[[str, BaseException], None], log: Any
    ) -> None:
        self.clock = clock
        self.on_give_up = on_give_up
        self.log = log
        self._crashes: dict[str, deque[float]] = {}
        self.strikes: dict[str, int] = {}
        """How often an instance blocked the event loop for too long."""

    def instance_crashed(self, id: str) -> bool:
        """Counts a crash; True when the instance must be parked."""
        return self._count(f"instance:{id}", INSTANCE_CRASHES, INSTANCE_WINDOW_S)

    def blocked(self, id: str) -> bool:
        """Counts a strike of the watchdog; True at the third."""
        if len(self.strikes) > TRACKED_MAX:
            self.strikes.clear()
        self.strikes[id] = self.strikes.get(id, 0) + 1
        return self.strikes[id] >= 3

    def component_crashed(self, name: str, error: BaseException) -> None:
        """Logs a crash of a part of the runtime; the third in ten seconds is the last."""
        self.log.error("component crashed", component=name, exc_info=error)
        if self._count(f"component:{name}", COMPONENT_CRASHES, COMPONENT_WINDOW_S):
            self.on_give_up(name, error)

    def _count(self, name: str, most: int, window_s: float) -> bool:
        now = self.clock.monotonic()
        if len(self._crashes) > TRACKED_MAX:
            self._crashes.clear()
        times = self._crashes.setdefault(name, deque())
        times.append(now)
        while times and times[0] < now - window_s:
            times.popleft()
        return len(times) >= most
