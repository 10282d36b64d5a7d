"""Rehearsal: is a program what its journal says when it is run once more?

Used in tests after each turn. What differs is hidden nondeterminism (the clock, chance, a global, the
order of a set), found in the test and not after the first crash.
"""

from __future__ import annotations

from greenroom.actors.decide import Kernel
from greenroom.actors.entries import Failure, decode_payload
from greenroom.actors.machine import Machine
from greenroom.actors.progress import Progress
from greenroom.actors.replay import Changed, replay
from greenroom.definitions.values import Json, decode, equal


def rehearse(kernel: Kernel) -> Failure | None:
    """Replays a program from its log; a failure with both sides when it gives something else.

    Cancelled instances end without their program, and changed code is another matter: both are
    left out.
    """
    p = kernel.progress
    if kernel.is_plan or not kernel.log or p.cancelling or p.end == "cancelled":
        return None
    if p.code != kernel.definition.hash:
        return None
    entries = [decode_payload(payload) for payload in kernel.log]
    first = p.iseq - len(entries) + 1
    try:
        machine = replay(kernel.definition, p.id, entries, first=first, strict=True)
    except Changed as changed:
        return _failure(kernel, changed)
    try:
        compare_state(machine, kernel.progress)
    except Changed as changed:
        return _failure(kernel, changed)
    finally:
        machine.close()
    return None


def compare_state(machine: Machine, p: Progress) -> None:
    """Raises `Changed` where a replayed machine has another result or state than what the journal
    adds up to. What a failed or cancelled one has is not compared."""
    if p.failure is not None or p.end == "cancelled":
        return
    if p.end == "completed" and not equal(machine.result, p.result):
        raise Changed(
            p.iseq,
            [f"returns {_short(p.result)}"],
            [f"returns {_short(machine.result)}"],
            "another result",
        )
    attributes = machine.attributes()
    if attributes is None or machine.main is None:
        return
    again = {name: decode(raw) for name, raw in attributes.items()}
    names = sorted(
        name
        for name in again.keys() | p.state.keys()
        if name not in again or name not in p.state or not equal(again[name], p.state[name])
    )
    if names:
        raise Changed(
            p.iseq,
            [f"self.{name} = {_shown(p.state, name)}" for name in names],
            [f"self.{name} = {_shown(again, name)}" for name in names],
            "another state",
        )


def _failure(kernel: Kernel, changed: Changed) -> Failure:
    name = kernel.definition.name
    sides = f"first: {'; '.join(changed.journal)}   again: {'; '.join(changed.code)}"
    return Failure(
        "CodeChanged",
        f"{name} is not deterministic: run again from its journal it does not do the same "
        f"(entry {changed.at}: {changed.why})   {sides}   {kernel.definition.source}",
        "code_changed",
        {
            "at": changed.at,
            "journal": changed.journal,
            "code": changed.code,
            "where": kernel.definition.source,
        },
    )


def _shown(state: dict[str, Json], name: str) -> str:
    return _short(state[name]) if name in state else "absent"


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
