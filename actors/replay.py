"""Replay: from the entries of a generation back to its machine.

A journal ends on a turn boundary, so every difference between what the code asks for and what was
recorded is a change of code, found at the exact turn. Failures that were taken back later are left
out: replay takes two passes, the first finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from greenroom.actors.entries import (
    AttemptFailed,
    AttemptsLost,
    AttemptStarted,
    CancelRequested,
    Died,
    Entry,
    OpFailed,
    OpInDoubt,
    OpSkipped,
    Parked,
    Paused,
    Reopened,
    Request,
    Resumed,
    Started,
)
from greenroom.actors.machine import Death, Machine, Turn
from greenroom.definitions.values import Json, equal
from greenroom.definitions.workflow import Definition

_NO_TURN = (AttemptFailed, AttemptStarted, AttemptsLost, OpInDoubt, Paused, Parked)


class Changed(Exception):
    """The code does not follow its journal: `journal` and `code` are both sides at `at`."""

    def __init__(self, at: int, journal: list[str], code: list[str], why: str) -> None:
        super().__init__(why)
        self.at = at
        self.journal = journal
        self.code = code
        self.why = why


def voided(entries: Sequence[Entry], void: Iterable[str] = ()) -> set[int]:
    """Indexes of the failures that were taken back, and of those `void` would take back now."""
    last: dict[str, int] = {}
    found: set[int] = set()
    for index, entry in enumerate(entries):
        if isinstance(entry, OpFailed):
            last[entry.key] = index
        elif isinstance(entry, Reopened | OpSkipped):
            found.update(last.pop(key) for key in entry.void if key in last)
    found.update(last[key] for key in void if key in last)
    return found


def replay(
    definition: Definition,
    instance: str,
    entries: Sequence[Entry],
    *,
    void: Iterable[str] = (),
    first: int = 1,
    strict: bool = False,
    input: Json = None,
) -> Machine:
    """The machine after `entries`, which start with the `Started` of a generation.

    `first` is the number of the first entry, for messages. `strict` compares arguments too (always
    done after a voided failure that had changed the state). Raises `Changed`.
    """
    opening = entries[0]
    assert isinstance(opening, Started)
    machine = Machine(definition, instance, opening.gen)
    skipped = voided(entries, void)
    held: list[Entry] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, _NO_TURN):
            continue
        if index in skipped:
            if entry.delta is not None:
                strict = True
            continue
        if isinstance(entry.end, Died) or getattr(entry, "held", False):
            _hold(held, entry)
            continue
        if isinstance(entry, Started) and entry.pending:
            continue
        machine.seed = _seed(opening, first + index, instance)
        try:
            turn = _apply(machine, entry, held, opening.input)
        except Death as death:
            raise Changed(
                first + index,
                texts(entry.requests),
                [f"{death.failure.type}: {death.failure.message}"],
                "the code raises where it went on",
            ) from None
        compare(turn, entry, first + index, strict)
    machine.seed = instance
    return machine


def _seed(opening: Started, iseq: int, instance: str) -> str:
    return next((id for last, id in opening.seeds if iseq <= last), instance)


def _hold(held: list[Entry], entry: Entry) -> None:
    if isinstance(entry, Resumed | Reopened):
        return  # what it would have applied is held still
    if isinstance(entry, CancelRequested):
        held.clear()
    if isinstance(entry, Started) and entry.pending:
        return
    held.append(entry)


def _apply(machine: Machine, entry: Entry, held: list[Entry], input: Json) -> Turn:
    brings = (
        isinstance(entry, Resumed | Reopened)
        or (isinstance(entry, OpSkipped) and entry.resumes)
        or (isinstance(entry, CancelRequested) and entry.drained)
    )
    if isinstance(entry, Reopened | OpSkipped):
        held[:] = [e for e in held if not (isinstance(e, OpFailed) and e.key in entry.void)]
    turn = machine.apply(entry, held if brings else (), input)
    if brings or isinstance(entry, CancelRequested):
        held.clear()
    return turn


def compare(turn: Turn, entry: Entry, at: int, strict: bool) -> None:
    """Raises `Changed` unless the turn is the recorded one."""
    recorded = list(entry.requests)
    if isinstance(entry, Reopened):
        again = set(entry.void)
        while recorded and recorded[0].key in again and recorded[0].attempt > 1:
            recorded.pop(0)
    asked = turn.requests
    for ours, theirs in zip(asked, recorded, strict=False):
        if (ours.key, ours.kind, ours.name) != (theirs.key, theirs.kind, theirs.name):
            raise Changed(at, texts(recorded), texts(asked), "another op")
        if strict and not equal(ours.args, theirs.args):
            raise Changed(at, texts(recorded), texts(asked), "other arguments")
    if len(asked) < len(recorded):
        raise Changed(at, texts(recorded), texts(asked), "an op is not asked for any more")
    if len(asked) > len(recorded):
        raise Changed(at, texts(recorded), texts(asked), "another op is asked for")
    if (turn.end is None) != (entry.end is None) or type(turn.end) is not type(entry.end):
        ends = [type(end).__name__ if end else "goes on" for end in (entry.end, turn.end)]
        raise Changed(at, [ends[0]], [ends[1]], "it ends elsewhere")


def texts(requests: Iterable[Request]) -> list[str]:
    """Requests as a person reads them: `3 call reserve(sku="A1")`."""
    return [f"{r.key} {r.kind} {r.name}({_arguments(r.args)})" for r in requests] or ["nothing"]


def _arguments(args: Json) -> str:
    if isinstance(args, dict):
        return ", ".join(f"{name}={_short(value)}" for name, value in args.items())
    return "" if args is None else _short(args)


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
