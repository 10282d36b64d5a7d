"""`diff` of two instances: the path each took, and the state it has."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Final

from greenroom.actors.entries import (
    Answered,
    Entry,
    EventReceived,
    OpCompleted,
    OpFailed,
    OpSkipped,
    TimerFired,
    decode_entry,
)
from greenroom.actors.ports import InstanceRow, ReadRows
from greenroom.definitions.values import Json
from greenroom.runtime import differences, shapes, views

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

ENTRIES_MAX: Final = 10_000
"""Entries of each that are compared; what comes after is not."""
PAGE: Final = 1_000

Passed = tuple[str, str]
"""(op, how it ended)"""


async def diff(engine: Engine, a: str, b: str) -> shapes.InstanceDiff:
    rows = [await engine._find(a), await engine._find(b)]
    paths = [path_of(await _entries(engine, row)) for row in rows]
    states = [views.shown_state(await engine._progress(row.n)) for row in rows]
    inputs = [await _input(engine, row) for row in rows]
    steps = aligned(paths[0], paths[1])
    state = differences.changes(states[0], states[1])
    given = differences.changes(inputs[0], inputs[1])
    facts = [
        shapes.Difference(name, "changed", getattr(rows[0], name), getattr(rows[1], name))
        for name in ("workflow", "version", "status", "outcome")
        if getattr(rows[0], name) != getattr(rows[1], name)
    ]
    same = not (facts or given or state or any(step.a != step.b for step in steps))
    return shapes.InstanceDiff(rows[0].id, rows[1].id, same, facts, given, steps, state)


async def _entries(engine: Engine, row: InstanceRow) -> list[Entry]:
    found: list[Entry] = []
    after = 0
    while len(found) < ENTRIES_MAX:
        rows = await engine.journal.call(ReadRows(row.n, after, PAGE))
        if not rows:
            break
        found += [decode_entry(stored) for stored in rows]
        after = rows[-1].iseq
    return found


async def _input(engine: Engine, row: InstanceRow) -> Json:
    first = await engine.journal.call(ReadRows(row.n, 0, 1))
    return getattr(decode_entry(first[0]), "input", None) if first else None


def path_of(entries: list[Entry]) -> list[Passed]:
    """The ops in the order in which they ended, each with how."""
    found: list[Passed] = []
    for entry in entries:
        match entry:
            case OpCompleted():
                found.append((entry.key, "done"))
            case OpFailed():
                found.append((entry.key, f"failed: {entry.error.type}"))
            case OpSkipped():
                found.append((entry.key, "skipped by hand"))
            case Answered():
                found.append((entry.key, "answered"))
            case TimerFired():
                found.append((entry.key, "time over"))
            case EventReceived() if entry.takes is not None:
                found.append((entry.takes, "event"))
            case _:
                pass
        found += [(key, "skipped") for key in entry.skips]
    return found


def aligned(a: list[Passed], b: list[Passed]) -> list[shapes.PathStep]:
    """Both paths side by side: what only one took has null on the other side."""
    found: list[shapes.PathStep] = []
    matcher = SequenceMatcher(None, [op for op, _ in a], [op for op, _ in b], autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            found += [
                shapes.PathStep(op, how, other)
                for (op, how), (_, other) in zip(a[i:j], b[k:m], strict=True)
            ]
        else:
            found += [shapes.PathStep(op, how, None) for op, how in a[i:j]]
            found += [shapes.PathStep(op, None, how) for op, how in b[k:m]]
    return found
