"""Recheck: does today's code still do what an instance has recorded?

A stored history is replayed, generation by generation, on the definition that would carry the
instance on. Nothing is decided, stored or run: the answer is the first difference, with its place
in the journal and in the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from greenroom.actors.entries import Entry, OpCompleted, Started
from greenroom.actors.progress import Progress
from greenroom.actors.rehearsal import compare_state
from greenroom.actors.replay import Changed, replay
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Plan


class Difference(Struct, frozen=True):
    """`at` is the entry, `journal` and `code` are the two sides, `line` is where the code asks for
    what the journal does not have. `arguments` alone may differ (`level` is then `warning`): an
    instance goes on in spite of that, unless its definition is strict."""

    level: Literal["error", "warning"]
    at: int
    why: str
    journal: list[str]
    code: list[str]
    line: str | None


def recheck(
    definition: Definition, entries: Sequence[Entry], progress: Progress
) -> Difference | None:
    """The first difference; None where there is none. `entries` are all of the instance, `progress`
    what they add up to."""
    if definition.gone:
        return Difference("error", 1, "the code has no such workflow any more", [], [], None)
    if isinstance(definition.body, Plan):
        return _missing_steps(definition, entries, progress)
    generations = list(_generations(entries))
    for number, (first, some) in enumerate(generations):
        last = progress if number == len(generations) - 1 else None
        found = _replayed(definition, progress.id, some, first, last)
        if found is not None:
            return found
    return None


def _generations(entries: Sequence[Entry]) -> Iterator[tuple[int, Sequence[Entry]]]:
    """Each generation with the number of its first entry."""
    opens = [place for place, entry in enumerate(entries) if isinstance(entry, Started)]
    for place, end in zip(opens, [*opens[1:], len(entries)], strict=True):
        yield place + 1, entries[place:end]


def _replayed(
    definition: Definition, id: str, entries: Sequence[Entry], first: int, last: Progress | None
) -> Difference | None:
    """`last` is given for the newest generation: what it adds up to is compared too."""
    opening = entries[0]
    assert isinstance(opening, Started)
    args: Changed | None = None
    for strict in (True, False):
        try:
            machine = replay(definition, id, entries, first=first, strict=strict, traced=True)
        except Changed as changed:
            if changed.why == "other arguments" and strict and not definition.strict:
                args = changed  # worth a word, and not the end: look further without them
                continue
            return _difference("error", changed)
        try:
            if last is not None:
                compare_state(machine, last)
        except Changed as changed:
            return _difference("error" if definition.strict else "warning", changed)
        finally:
            machine.close()
        break
    return None if args is None else _difference("warning", args)


def _difference(level: Literal["error", "warning"], changed: Changed) -> Difference:
    return Difference(level, changed.at, changed.why, changed.journal, changed.code, changed.line)


def _missing_steps(
    definition: Definition, entries: Sequence[Entry], progress: Progress
) -> Difference | None:
    """A plan is followed as it was stored; what may be missing is a function of a step to come."""
    if progress.ended:
        return None
    done: set[Json] = {entry.key for entry in entries if isinstance(entry, OpCompleted)}
    gone = [
        node.key for node in definition.plan.nodes
        if node.kind == "call" and node.target is None and node.key not in done
    ]  # fmt: skip
    if not gone:
        return None
    return Difference(
        "error",
        progress.iseq,
        "the code has no function any more for steps to come",
        gone,
        definition.steps(),
        definition.source,
    )
