"""What an instance owes the world, from its progress alone.

The same definition serves a turn (asked for the ops its entry touches) and recovery (asked for
all), so recovery is the normal path. There is no effect for aborting: what runs and is not owed
any more is aborted.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from greenroom.actors.entries import (
    Begun,
    CancelRequested,
    Died,
    Entry,
    EventReceived,
    OpCompleted,
    OpSkipped,
    Paused,
    Reopened,
    Resumed,
    Started,
)
from greenroom.actors.progress import CALLS, DEADLINE, OpState, Progress


class RunCall(Struct, gc=False, frozen=True):
    """Run the function of an op."""

    key: str
    attempt: int


class ArmTimer(Struct, gc=False, frozen=True):
    key: str
    due: int


Effect = RunCall | ArmTimer

_TOUCH_ALL: Final = frozenset({Resumed, Reopened, CancelRequested, Started, Paused})


def effect_of(p: Progress, op: OpState) -> Effect | None:
    """What is owed for one open op. Parked: only calls that were started. Ended: dispatches,
    with their retries."""
    kind = op.request.kind
    if kind in CALLS and op.status == "started":
        return RunCall(op.request.key, op.attempt)
    if p.parked or (p.ended and kind != "dispatch"):
        return None
    if op.due is not None and op.status in ("retry", "open"):
        return ArmTimer(op.request.key, op.due)
    return None


def pending(p: Progress) -> list[Effect]:
    """Everything that is owed: what a recovery performs."""
    found = (effect_of(p, op) for op in p.ops.values())
    owed = [effect for effect in found if effect is not None]
    if p.deadline is not None:
        owed.append(ArmTimer(DEADLINE, p.deadline))
    return owed


def touches_all(entry: Entry) -> bool:
    """Whether an entry changes what is owed for ops it does not name: it parks, or goes on."""
    kind = type(entry)
    return (
        kind in _TOUCH_ALL or type(entry.end) is Died or (kind is OpSkipped and entry.resumes)  # type: ignore[union-attr]
    )


def touched(entry: Entry) -> list[str]:
    """The ops whose effects an entry may change."""
    found = [request.key for request in entry.requests]
    found.extend(entry.closes)  # what a race gave up is aborted
    if type(entry) is OpCompleted:  # the hot path
        found.append(entry.key)
        return found
    if isinstance(entry, EventReceived) and entry.takes is not None:
        found.append(entry.takes)
    if type(entry) is Begun:
        found.append(DEADLINE)
    key = getattr(entry, "key", None)
    if isinstance(key, str) and not isinstance(entry, Started):
        found.append(key)
    found.extend(getattr(entry, "keys", ()))
    return found
