"""What an instance owes the world, from its progress alone.

The same definition serves a turn (asked for the ops its entry touches) and recovery (asked for
all), so recovery is the normal path. There is no effect for aborting: what runs and is not owed
any more is aborted.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from greenroom.actors.entries import (
    CancelRequested,
    Entry,
    OpSkipped,
    Reopened,
    Resumed,
    Started,
)
from greenroom.actors.progress import CALLS, OpState, Progress


class RunCall(Struct, frozen=True):
    """Run the function of an op."""

    key: str
    attempt: int


class ArmTimer(Struct, frozen=True):
    key: str
    due: int


Effect = RunCall | ArmTimer


def effect_of(p: Progress, op: OpState) -> Effect | None:
    """What is owed for one open op. Parked: only calls that were started. Ended: dispatches."""
    kind = op.request.kind
    if kind in CALLS and op.status == "started":
        return RunCall(op.request.key, op.attempt)
    if p.parked or p.ended:
        return None
    if op.due is not None and op.status in ("retry", "open"):
        return ArmTimer(op.request.key, op.due)
    return None


def pending(p: Progress) -> list[Effect]:
    """Everything that is owed: what a recovery performs."""
    found = (effect_of(p, op) for op in p.ops.values())
    return [effect for effect in found if effect is not None]


def touches_all(entry: Entry) -> bool:
    """Whether an entry changes what is owed for ops it does not name."""
    return isinstance(entry, Resumed | Reopened | CancelRequested | Started) or (
        isinstance(entry, OpSkipped) and entry.resumes
    )


def touched(entry: Entry) -> Iterable[str]:
    """The ops whose effects an entry may change."""
    for request in entry.requests:
        yield request.key
    key = getattr(entry, "key", None)
    if isinstance(key, str) and not isinstance(entry, Started):
        yield key
    yield from getattr(entry, "keys", ())
