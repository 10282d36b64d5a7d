"""The timer actor: one durable due list for sleeps, deadlines, retries and schedules.

The list is the store's; here is only what falls due within the horizon. Nothing polls: one call is
booked: for the first due time in memory, or shortly before the first one that is not. Due times are
wall-clock times: when the clock is set forward they fire at once, when it is set back they wait,
and an op that has fired is closed, so nothing fires twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from greenroom.actors.agenda import Agenda, Item
from greenroom.actors.ports import Clock, Due, DueTimers, Handle

HORIZON_MS: Final = 60_000
PAGE: Final = 10_000
_FOR_EVER: Final = (1 << 62) - 1
_LAST: Final = 1 << 62
FIRE_MAX: Final = 1_000
HELD_MAX: Final = 2 * PAGE
"""When very much is due at once the next page is read as there is room for it."""


class Stage(Protocol):
    """Where due items go and where the list is read."""

    def submit(self, work: Any, done: Any) -> None: ...

    def due(self, items: list[Item]) -> None: ...

    def component_crashed(self, name: str, error: Exception) -> None:
        """A part of the runtime raised what it should not."""
        ...


class Timer:
    def __init__(self, clock: Clock, stage: Stage) -> None:
        self.clock = clock
        self.stage = stage
        self.agenda = Agenda()
        self.loaded_until = 0
        """Everything of the store up to here is in memory or on its way."""
        self.far: int | None = None
        """The first due time beyond that; None: there is none, and nothing to come back for."""
        self.reading = False
        self._until = 0
        """How far the read that goes on will come."""
        self._next_page: tuple[int, int, str] | None = None
        """Where it goes on when there is room."""
        self.stopped = False
        self._booked: Handle | None = None
        self._booked_at: int | None = None

    def start(self) -> None:
        """Reads the near future, overdue items first."""
        self._read(self.clock.now() + HORIZON_MS, None)

    def stop(self) -> None:
        self.stopped = True
        if self._booked is not None:
            self._booked.cancel()

    def arm(self, due: int, n: int, op: str) -> None:
        """A timer that is durable now. The far future stays in the store."""
        if due <= max(self.loaded_until, self._until if self.reading else 0):
            self.agenda.add(due, n, op)
        elif self.reading:
            return  # what is read last, the first one beyond, may be this
        elif self.far is None or due < self.far:
            self.far = due
        self._book()

    def _read(self, until: int, after: tuple[int, int, str] | None) -> None:
        self.reading = True
        self._until = until
        self._next_page = None

        def done(result: Any) -> None:
            if self.stopped or isinstance(result, Exception):
                return
            self._guarded(lambda: self._read_page(until, result))

        self.stage.submit(DueTimers(until, PAGE, after), done)

    def _read_page(self, until: int, items: list[Due]) -> None:
        for item in items:
            self.agenda.add(item.due, item.n, item.op)
        if len(items) >= PAGE:
            last = items[-1]
            self._next_page = (last.due, last.n, last.op)
            self._read_on()
        else:
            self.loaded_until = until
            self.reading = False
            self._look_ahead()
        self.wake()

    def _read_on(self) -> None:
        if self._next_page is not None and len(self.agenda) < HELD_MAX:
            self._read(self._until, self._next_page)

    def _look_ahead(self) -> None:
        """When the store must be read again: shortly before the first due time not in memory."""
        self.far = None

        def done(result: Any) -> None:
            if self.stopped or isinstance(result, Exception):
                return
            if result and (self.far is None or result[0].due < self.far):
                self.far = result[0].due
            self._book()

        self.stage.submit(DueTimers(_FOR_EVER, 1, (self.loaded_until, _LAST, "")), done)

    def _guarded(self, work: Callable[[], None]) -> None:
        """What was taken and not fired is still in the store: it is read again."""
        try:
            work()
        except Exception as error:
            self.stage.component_crashed("timer", error)
            if not self.stopped:
                self.start()

    def wake(self) -> None:
        """Fires what is due and books the next call."""
        if self.stopped:
            return
        now = self.clock.now()
        items = self.agenda.take(now, FIRE_MAX)
        if items:
            self.stage.due(items)
            self._read_on()
        if not self.reading and self.far is not None and now >= self.far - HORIZON_MS // 2:
            self._read(now + HORIZON_MS, (self.loaded_until, _LAST, ""))
        self._book()

    def _book(self) -> None:
        at = self.agenda.first()
        if self.far is not None and not self.reading:
            ahead = self.far - HORIZON_MS // 2
            at = ahead if at is None or ahead < at else at
        if at is None:
            return
        if self._booked is not None:
            if self._booked_at is not None and self._booked_at <= at:
                return
            self._booked.cancel()
        self._booked_at = at
        self._booked = self.clock.call_at(at, self._called)

    def _called(self) -> None:
        self._booked = self._booked_at = None
        self._guarded(self.wake)
