"""Frames: what a plan remembers of the scopes an instance is in, and how a turn changes it.

The names of each lane of a fan, how many lanes are left, which failed, the round of a group, and
what is to be taken back. `Frames` is a turn in the middle: the state and the frames as they were,
with what the turn has changed so far on top of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from greenroom.actors.entries import Delta, Entry, Failure, Started
from greenroom.actors.progress import Progress, apply_delta
from greenroom.actors.turns import Death, Turn
from greenroom.definitions.lent import Lent
from greenroom.definitions.values import VALUE_BYTES_MAX, Json
from greenroom.definitions.workflow import Change, Definition

UNDONE: Final = "~undo"
"""The frame of what is to be taken back: op key -> the names of its lanes, in the order of the ends.
Under `~error` the failure that made it so."""
ERROR: Final = "~error"
HIDDEN: Final = "~hidden"
"""In the frame of a lane: names from outside that the lane has dropped."""


class Frames:
    """The state and the frames of one turn."""

    __slots__ = ("at", "definition", "metered", "p", "state", "turn", "work")

    def __init__(self, definition: Definition, progress: Progress, entry: Entry) -> None:
        self.definition = definition
        self.p = progress
        self.at = entry.at
        self.state = progress.state
        if isinstance(entry, Started):  # not folded yet
            opening = entry.input if entry.state is None else entry.state
            self.state = opening if isinstance(opening, dict) else {}
        self.turn = Turn([], [], frames={})
        self.metered = definition.kind == "document"
        self.work = 0
        """What a document has taken in this turn."""

    def check_size(self) -> None:
        """What a document puts together must fit a state: each part of it did, alone."""
        if not self.metered or self.turn.delta is None:
            return
        size = len(msgspec.json.encode(self._view(())))
        if size > VALUE_BYTES_MAX:
            raise Death(
                Failure(
                    "TooLarge",
                    f"the state would have {size:,} bytes, the limit is {VALUE_BYTES_MAX:,}",
                    "runaway",
                )
            )

    def _view(self, lanes: tuple[str, ...]) -> dict[str, Json]:
        """The state as it is seen from inside these lanes, in the middle of the turn."""
        state = self.state
        if self.turn.delta is not None:
            state = dict(state)
            apply_delta(state, self.turn.delta)
        return seen_from(state, [self._frame(lane) for lane in lanes])

    def _shown(self, lanes: tuple[str, ...]) -> dict[str, Json]:
        """The view for what decides: lent to an author's function, which may change it; the
        expressions of a document cannot."""
        view = self._view(lanes)
        return view if self.metered else Lent(view)

    def _frame(self, name: str) -> Mapping[str, Json]:
        frame = self.p.frames.get(name, {})
        if name not in self.turn.frames:
            return frame
        patch = self.turn.frames[name]
        if patch is None:
            return {}
        frame = dict(frame)
        apply_delta(frame, patch)
        return frame

    def _newest_first(self, name: str) -> Iterator[str]:
        """The names in a frame, without a copy of it: whoever asks wants the first."""
        frame, patch = self.p.frames.get(name, {}), Delta()
        if name in self.turn.frames:
            patch = self.turn.frames[name] or Delta(drop=tuple(frame))
        yield from (key for key in reversed(patch.set) if key not in frame)
        yield from (key for key in reversed(frame) if key not in patch.drop)

    def _patch(self, name: str, names: dict[str, Json], drop: tuple[str, ...] = ()) -> None:
        before = self.turn.frames.get(name)
        self.turn.frames[name] = _both(before, Change(names, drop))

    def _merge(self, lanes: tuple[str, ...], change: Change) -> None:
        """Applies a change to the state, or to the names of the innermost lane."""
        if not change.set and not change.drop:
            return
        if not lanes:
            self.turn.delta = _both(self.turn.delta, change)
            return
        lane = self._frame(lanes[-1])
        names = dict(change.set)
        hidden = lane.get(HIDDEN)
        was = set(hidden) if isinstance(hidden, list) else set()
        now = (was | set(change.drop)) - change.set.keys()
        if now != was:
            names[HIDDEN] = sorted(now)
        self._patch(lanes[-1], names, tuple(name for name in change.drop if name in lane))


def seen_from(state: dict[str, Json], lanes: list[Mapping[str, Json]]) -> dict[str, Json]:
    if not lanes:
        return state
    seen = dict(state)
    for frame in lanes:
        seen.update(frame)
        hidden = seen.pop(HIDDEN, None)
        if isinstance(hidden, list):
            for name in hidden:
                seen.pop(name, None)
    return seen


def _both(first: Delta | None, second: Change) -> Delta:
    """One change after another, as one."""
    if first is None:
        return Delta(second.set, tuple(second.drop))
    kept = {name: value for name, value in first.set.items() if name not in second.drop}
    dropped = [name for name in first.drop if name not in second.set]
    return Delta({**kept, **second.set}, (*dropped, *second.drop))
