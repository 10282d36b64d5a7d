"""How many instances of a workflow begin in a time, for each value of a key.

Whoever has a slot (`runtime.slots`) and would be one too many stands in a line and begins when its
turn comes: the highest priority first and then in the order in which they came. A *turn* is used up
when an instance begins, not when it ends. The window moves: within any `per` there are at most
`limit` beginnings, also across a restart.
"""

from __future__ import annotations

import bisect
import dataclasses
import heapq
from collections.abc import Callable
from typing import Final

from greenroom.actors.ports import Clock, Handle
from greenroom.definitions.workflow import StartRate

FORGET_AT: Final = 1_000
"""Lanes that nobody stands in are forgotten when there are so many; then at twice those left."""

Key = tuple[str, str, str]
"""Namespace, workflow, value."""
Place = tuple[int, int]
"""Minus the priority of an instance, and its number: who is least is next."""


class Line:
    """Who waits, by id: long lines are as quick as short ones."""

    __slots__ = ("_heap", "_places")

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._heap: list[tuple[Place, str]] = []
        """Also some that have left."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id: str) -> bool:
        return id in self._places

    def add(self, id: str, place: Place) -> None:
        self._places[id] = place
        heapq.heappush(self._heap, (place, id))

    def drop(self, id: str) -> bool:
        """Whether it stood here."""
        if self._places.pop(id, None) is None:
            return False
        if len(self._heap) > 2 * len(self._places) + 64:
            self._heap = [(place, one) for one, place in self._places.items()]
            heapq.heapify(self._heap)
        return True

    def take(self) -> tuple[str, int]:
        """Id and number of the next, who leaves the line. There must be one."""
        while True:
            place, id = heapq.heappop(self._heap)
            if self._places.get(id) == place:
                del self._places[id]
                return id, place[1]

    def ahead_of(self, id: str) -> int:
        mine = self._places[id]
        return sum(place < mine for place in self._places.values())


@dataclasses.dataclass(slots=True)
class Pace:
    """One line."""

    rule: StartRate
    begun: list[int] = dataclasses.field(default_factory=list)
    """When the last ones began, in order, at most as many as the limit."""
    line: Line = dataclasses.field(default_factory=Line)
    booked: Handle | None = None

    def free_at(self) -> int:
        """From when on one more may begin."""
        if len(self.begun) < self.rule.limit:
            return 0
        return self.begun[-self.rule.limit] + self.rule.per_ms

    def take(self, now: int) -> None:
        bisect.insort(self.begun, now)
        del self.begun[: -self.rule.limit]


class Paces:
    """All lines. `begin(id, n)` is called for who is let go."""

    def __init__(self, clock: Clock, begin: Callable[[str, int], None]) -> None:
        self._clock = clock
        self._begin = begin
        self._paces: dict[Key, Pace] = {}
        self._of: dict[str, Key] = {}
        """Who stands in which line."""
        self._taken: dict[str, tuple[Key, int]] = {}
        """Turns of those that are not stored yet."""
        self._forget_at = FORGET_AT

    def enter(self, key: Key, rule: StartRate, id: str, place: Place) -> bool:
        """Whether the instance may begin now; else it stands in line."""
        pace = self._pace(key, rule)
        now = self._clock.now()
        if not pace.line and pace.free_at() <= now:
            pace.take(now)
            self._taken[id] = key, now
            return True
        pace.line.add(id, place)
        self._of[id] = key
        self._book(key, pace)
        return False

    def stands(self, id: str) -> bool:
        return id in self._of

    def stored(self, id: str) -> None:
        self._taken.pop(id, None)

    def leave(self, id: str) -> None:
        """It has ended, or was never made: then its turn is somebody else's."""
        key = self._of.pop(id, None)
        if key is not None:
            self._paces[key].line.drop(id)
        taken = self._taken.pop(id, None)
        if taken is not None and (pace := self._paces.get(taken[0])) is not None:
            if taken[1] in pace.begun:
                pace.begun.remove(taken[1])
            self._go_on(taken[0])

    def began(self, id: str) -> None:
        """Somebody let it begin out of its turn: that counts too."""
        key = self._of.pop(id, None)
        if key is not None:
            self._paces[key].line.drop(id)
            self._paces[key].take(self._clock.now())

    def remember(self, key: Key, rule: StartRate, at: int) -> None:
        """One that began before this process did."""
        self._pace(key, rule).take(at)

    def forget(self, workflow: str) -> None:
        """Its lines are no more; who stands in them is told nothing."""
        for key in [key for key in self._paces if key[1] == workflow]:
            pace = self._paces.pop(key)
            if pace.booked is not None:
                pace.booked.cancel()
        self._of = {id: key for id, key in self._of.items() if key[1] != workflow}
        self._taken = {id: one for id, one in self._taken.items() if one[0][1] != workflow}

    def ahead_of(self, id: str) -> tuple[Key, Pace, int] | None:
        """The line somebody stands in, and how many are before it there."""
        key = self._of.get(id)
        if key is None:
            return None
        pace = self._paces[key]
        return key, pace, pace.line.ahead_of(id)

    def _pace(self, key: Key, rule: StartRate) -> Pace:
        if key not in self._paces and len(self._paces) >= self._forget_at:
            self._forget()
        pace = self._paces.setdefault(key, Pace(rule))
        pace.rule = rule
        return pace

    def _forget(self) -> None:
        now = self._clock.now()
        for key, pace in list(self._paces.items()):
            if not pace.line and (not pace.begun or pace.begun[-1] + pace.rule.per_ms <= now):
                del self._paces[key]
        self._forget_at = max(FORGET_AT, 2 * len(self._paces))

    def _book(self, key: Key, pace: Pace) -> None:
        if pace.line and pace.booked is None:
            pace.booked = self._clock.call_at(pace.free_at(), lambda: self._called(key))

    def _called(self, key: Key) -> None:
        self._paces[key].booked = None
        self._go_on(key)

    def _go_on(self, key: Key) -> None:
        pace = self._paces[key]
        now = self._clock.now()
        while pace.line and pace.free_at() <= now:
            id, n = pace.line.take()
            del self._of[id]
            pace.take(now)
            self._begin(id, n)
        self._book(key, pace)

    def stop(self) -> None:
        for pace in self._paces.values():
            if pace.booked is not None:
                pace.booked.cancel()
