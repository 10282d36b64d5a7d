"""Loops that grow: workflows that start each other, more of them each time.

A chain of causes ends after 32 hops (`HOPS_MAX`), but one that doubles has four thousand million ends by
then. So starts that are many hops away from anything a person, a clock or an outside event did are
also counted: only so many of a workflow in a minute. A tree of children of ordinary depth never
comes near it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from greenroom.definitions.errors import EventLoop

DEEP_HOPS: Final = 8
"""From here on starts are counted."""
DEEP_STARTS_MAX: Final = 1_000
"""Starts of one workflow that deep, in one minute."""
WINDOW_MS: Final = 60_000


class Loops:
    """Deep starts of the last minute, by workflow."""

    def __init__(self) -> None:
        self._starts: dict[str, deque[int]] = {}

    def check(self, workflow: str, hops: int, now: int) -> None:
        """Counts a start at `now` (milliseconds). Raises `EventLoop` for one too many."""
        if hops < DEEP_HOPS:
            return
        starts = self._starts.setdefault(workflow, deque())
        while starts and starts[0] <= now - WINDOW_MS:
            starts.popleft()
        if len(starts) >= DEEP_STARTS_MAX:
            raise EventLoop(
                f"{workflow} was started {DEEP_STARTS_MAX:,} times within a minute by events and "
                f"children {DEEP_HOPS} or more hops away from where it began: it feeds itself",
                hint="look for what emits the event that starts it, or starts it as a child",
                workflow=workflow,
                hops=hops,
            )
        starts.append(now)
