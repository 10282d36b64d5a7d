"""A workflow as boxes: the nodes of a plan with how far an instance has come, or the path of one
whose body is a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from greenroom.definitions.workflow import Definition, Node, Plan
from greenroom.runtime.shapes import Entry

BOXES_MAX: Final = 300
"""A drawing with more is of no use to anybody; the journal has all of it."""

_ITEM: Final = re.compile(r"\[\d+\]")
_HOW: Final = {
    "StepStarted": "running", "StepCompleted": "completed", "StepFailed": "failed",
    "StepSkipped": "skipped", "WaitOpened": "waiting", "AskOpened": "waiting",
    "WaitClosed": "completed", "EventReceived": "completed", "TimerFired": "completed",
    "AskAnswered": "completed", "ChildStarted": "running", "ChildEnded": "completed",
    "EventEmitted": "completed",
}  # fmt: skip


class Box(msgspec.Struct):
    """One node. `how` is a status word, "" where the instance has not been."""

    key: str
    name: str
    kind: str
    how: str
    note: str = ""
    lanes: list[tuple[str, list[Box]]] = []


def states_in(entries: Iterable[Entry]) -> dict[str, str]:
    """How the last line about each op leaves it; items of a foreach count as one."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.op is not None and entry.kind in _HOW:
            how = _HOW[entry.kind]
            data = entry.data if isinstance(entry.data, dict) else {}
            if entry.kind == "StepFailed" and data.get("retry_at"):
                how = "waiting"
            found[_ITEM.sub("[]", entry.op)] = how
    return found


def drawn(definition: Definition | None, entries: Sequence[Entry]) -> tuple[list[Box], bool]:
    """The boxes, and whether they are the whole plan (else: the path so far)."""
    states = states_in(entries)
    if definition is not None and isinstance(definition.body, Plan):
        return _line(definition.body.nodes, "", states), True
    boxes = [Box(op, _name(op, entries), "op", how) for op, how in list(states.items())[:BOXES_MAX]]
    return boxes, False


def _name(op: str, entries: Sequence[Entry]) -> str:
    for entry in entries:
        if entry.op == op and isinstance(entry.data, dict) and entry.data.get("name"):
            return str(entry.data["name"])
    return op


def _line(nodes: Sequence[Node], prefix: str, states: dict[str, str]) -> list[Box]:
    boxes = []
    for node in nodes[:BOXES_MAX]:
        key = prefix + node.key
        inner = prefix if node.inline else f"{key}[]." if node.kind == "foreach" else f"{key}."
        lanes = [(lane.name, _line(lane.nodes, inner, states)) for lane in node.lanes]
        how = states.get(key, "")
        if not how and lanes:
            how = _of_lanes([box.how for _, line in lanes for box in line])
        note = ", ".join(guard.name for guard in node.guards)
        boxes.append(Box(key, node.name, node.kind, how, note, lanes))
    return boxes


def _of_lanes(words: list[str]) -> str:
    for word in ("failed", "running", "waiting"):
        if word in words:
            return word
    return "completed" if "completed" in words else ""
