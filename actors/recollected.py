"""What a collecting trigger would have made of events that are long past: pure.

The events are offered in their order, with the time at which they were accepted for a clock, to
states like those of the collector. So a batch is cut where it would have been cut, and a debounce
takes the event after which it was quiet.
"""

from __future__ import annotations

from greenroom.actors.collected import Collected, Member, offer, ripen
from greenroom.definitions.collecting import Collect

Group = tuple[str | None, list[Member]]
"""A key and the events that start one instance together."""


class Recollection:
    """One trigger over events of the past."""

    def __init__(self, rule: Collect) -> None:
        self.rule = rule
        self._states: dict[str | None, Collected] = {}

    def offer(self, key: str | None, member: Member, size: int) -> list[Group]:
        """Takes the next event; gives the groups that were ripe by then."""
        state = self._states.get(key)
        ripe = [] if state is None else self._ripe(key, state, member.at)
        if state is None or state.empty:
            state = self._states[key] = Collected("", "", 0, key, member.at, member.at)
        offer(self.rule, state, member, size, member.at)
        return ripe + self._ripe(key, state, member.at)

    def forget(self, key: str | None) -> None:
        """What was gathered under a key has been used by somebody else, or would have been replaced."""
        self._states.pop(key, None)

    def rest(self, now: int) -> list[Group]:
        """The groups that have become ripe since the last event."""
        return [
            group for key, state in self._states.items() for group in self._ripe(key, state, now)
        ]

    @property
    def left(self) -> int:
        """Events that belong to nothing yet."""
        return sum(len(state.members) for state in self._states.values())

    def _ripe(self, key: str | None, state: Collected, now: int) -> list[Group]:
        found: list[Group] = []
        while state.members and state.due <= now:
            due = state.due
            ripen(self.rule, state, due)
            found += [(key, group) for group in state.going]
            state.going = []
            if state.due == due:
                break
        return found
