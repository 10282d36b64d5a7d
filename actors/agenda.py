"""Due times in order: what the timer actor keeps in memory of the near future."""

from __future__ import annotations

import heapq

Item = tuple[int, int, str]
"""(due, instance number or 0 for a schedule, op or schedule id)."""


class Agenda:
    """A heap without duplicates. A timer that was replaced or dropped stays until it is due and is
    then found to be void by the instance, which knows what it waits for."""

    def __init__(self) -> None:
        self._heap: list[Item] = []
        self._known: set[Item] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: int, n: int, op: str) -> None:
        item = (due, n, op)
        if item not in self._known:
            self._known.add(item)
            heapq.heappush(self._heap, item)

    def first(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take(self, until: int, limit: int) -> list[Item]:
        """What is due up to `until`, in order, at most `limit` of it."""
        taken: list[Item] = []
        while self._heap and self._heap[0][0] <= until and len(taken) < limit:
            item = heapq.heappop(self._heap)
            self._known.discard(item)
            taken.append(item)
        return taken
