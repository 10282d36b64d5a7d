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
    CallRecorded,
    Cancelled,
    CancelRequested,
    ChildRefused,
    Completed,
    Died,
    Entry,
    Migrated,
    OpFailed,
    OpInDoubt,
    OpSkipped,
    Parked,
    Paused,
    Reopened,
    Request,
    Resumed,
    Started,
    StateEdited,
)
from greenroom.actors.machine import Machine
from greenroom.actors.progress import is_taken_back
from greenroom.actors.turns import Death, Turn
from greenroom.definitions.values import Json, equal
from greenroom.definitions.workflow import Definition

_NO_TURN = (
    AttemptFailed, AttemptStarted, AttemptsLost, CallRecorded, ChildRefused, Migrated, OpInDoubt,
    Paused, Parked,
)  # fmt: skip


class Changed(Exception):
    """The code does not follow its journal: `journal` and `code` are both sides at `at`."""

    def __init__(self, at: int, journal: list[str], code: list[str], why: str) -> None:
        super().__init__(why)
        self.at = at
        self.journal = journal
        self.code = code
        self.why = why
        self.key: str | None = None
        """The op of the code's side, where there is one."""
        self.line: str | None = None
        """Where the code asks for it, if the replay was traced."""


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
    traced: bool = False,
) -> Machine:
    """The machine after `entries`, which start with the `Started` of a generation.

    `first` is the number of the first entry, for messages. `strict` compares arguments too (always
    done after a voided failure that had changed the state). Raises `Changed`.
    """
    opening = entries[0]
    assert isinstance(opening, Started)
    machine = Machine(definition, instance, opening.gen)
    if traced:
        machine.places = {}
    try:
        _follow(machine, entries, voided(entries, void), first, strict)
    except Changed as changed:
        if machine.places is not None and changed.line is None:
            changed.line = machine.places.get(changed.key or "") or machine.place_of_main()
        machine.close()
        raise
    machine.seed = instance
    return machine


def _follow(
    machine: Machine, entries: Sequence[Entry], skipped: set[int], first: int, strict: bool
) -> None:
    opening = entries[0]
    assert isinstance(opening, Started)
    held: list[Entry] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, _NO_TURN):
            continue
        if isinstance(entry, StateEdited):
            machine.edit(entry.delta)
            continue
        if index in skipped:
            strict = _left_out(entry, first + index) or strict
            continue
        if isinstance(entry.end, Died) or getattr(entry, "held", False):
            _hold(held, entry)
            continue
        if isinstance(entry, Started) and entry.pending:
            continue
        if isinstance(entry, CancelRequested) and entry.force:
            return  # it ended without its program
        machine.seed = _seed(opening, first + index, machine.instance)
        _again(machine, entry, held, opening.input, first + index, strict)
        if isinstance(entry.end, Completed | Cancelled):
            return  # what follows are outcomes of dispatches, which nobody waits for


def _left_out(entry: Entry, at: int) -> bool:
    """K23: only a failure after which nothing was asked for or given up can be taken back. True
    when it may have changed the state, so that arguments of later ops must be compared too."""
    if entry.requests or entry.closes:
        raise Changed(at, texts(entry.requests), [], "the program went on from this failure")
    return entry.delta is not None or getattr(entry, "held", False)


def _again(
    machine: Machine, entry: Entry, held: list[Entry], input: Json, at: int, strict: bool
) -> None:
    """One turn once more. Raises `Changed` when it is another one now."""
    open_before: frozenset[str] = frozenset()
    if isinstance(entry, Reopened | OpSkipped):
        open_before = frozenset(machine.asked)
    try:
        turn = _apply(machine, entry, held, input)
    except Death as death:
        changed = Changed(
            at,
            texts(entry.requests),
            [f"{death.failure.type}: {death.failure.message}"],
            "the code raises where it went on",
        )
        changed.line = death.failure.where
        raise changed from None
    compare(turn, entry, at, strict, open_before)


def _seed(opening: Started, iseq: int, instance: str) -> str:
    return next((id for last, id in opening.seeds if iseq <= last), instance)


def _hold(held: list[Entry], entry: Entry) -> None:
    if isinstance(entry, Resumed | Reopened):
        return  # what it would have applied is held still
    if isinstance(entry, CancelRequested) and not entry.drained:
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
        held[:] = [cause for cause in held if not is_taken_back(cause, entry.void)]
    turn = machine.apply(entry, held if brings else (), input)
    if brings or isinstance(entry, CancelRequested):
        held.clear()
    return turn


def compare(
    turn: Turn, entry: Entry, at: int, strict: bool, open_before: frozenset[str] = frozenset()
) -> None:
    """Raises `Changed` unless the turn is the recorded one. Requests of `open_before` are ops
    that were asked for again, which the turn itself knows nothing of."""
    recorded = [r for r in entry.requests if r.key not in open_before]
    asked = turn.requests
    for ours, theirs in zip(asked, recorded, strict=False):
        if (ours.key, ours.kind, ours.name) != (theirs.key, theirs.kind, theirs.name):
            raise _another(at, recorded, asked, "another op", ours)
        if strict and not equal(ours.args, theirs.args):
            raise _another(at, recorded, asked, "other arguments", ours)
    if len(asked) < len(recorded):
        raise _another(at, recorded, asked, "an op is not asked for any more")
    if len(asked) > len(recorded):
        raise _another(at, recorded, asked, "another op is asked for", asked[len(recorded)])
    if not isinstance(entry, CancelRequested) and sorted(turn.closes) != sorted(entry.closes):
        sides = [[f"gives up {key}" for key in sorted(c)] for c in (entry.closes, turn.closes)]
        raise Changed(
            at, sides[0] or ["nothing"], sides[1] or ["nothing"], "other ops are given up"
        )
    if (turn.end is None) != (entry.end is None) or type(turn.end) is not type(entry.end):
        ends = [type(end).__name__ if end else "goes on" for end in (entry.end, turn.end)]
        raise Changed(at, [ends[0]], [ends[1]], "it ends elsewhere")
    if turn.over != entry.over:
        raise Changed(at, [f"over: {entry.over}"], [f"over: {turn.over}"], "main ends elsewhere")


def _another(
    at: int,
    recorded: Sequence[Request],
    asked: Sequence[Request],
    why: str,
    ours: Request | None = None,
) -> Changed:
    changed = Changed(at, texts(recorded), texts(asked), why)
    changed.key = None if ours is None else ours.key
    return changed


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
