"""A workflow as boxes: the nodes of a plan with how far an instance has come and what its branches
saw, or the path of one whose body is a program."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Guard, Node, Plan
from greenroom.runtime.shapes import Entry
from greenroom.runtime.web.pages.screen import brief

BOXES_MAX: Final = 300
"""A drawing with more is of no use to anybody; the journal has all of it."""

_ITEM: Final = re.compile(r"\[\d+\]")
_LAMBDA: Final = re.compile(r"lambda\b[^:]*:\s*(.+)", re.DOTALL)
_HOW: Final = {
    "StepStarted": "running", "StepCompleted": "completed", "StepFailed": "failed",
    "StepSkipped": "skipped", "WaitOpened": "waiting", "AskOpened": "waiting",
    "WaitClosed": "completed", "EventReceived": "completed", "TimerFired": "completed",
    "AskAnswered": "completed", "ChildStarted": "running", "ChildEnded": "completed",
    "EventEmitted": "completed",
}  # fmt: skip

States = dict[int, Json]
"""The state after a turn, by its number."""


class Test(msgspec.Struct):
    """A condition of a branch. `seen` is what it looked at was then, `held` what came of it; both
    are empty where the instance has not been."""

    __test__ = False

    text: str
    seen: str = ""
    held: bool | None = None


class Line(msgspec.Struct):
    """One lane. `taken`: whether the instance went there, None as long as that is open."""

    name: str
    boxes: list[Box]
    tests: list[Test] = []
    taken: bool | None = None


class Box(msgspec.Struct):
    """One node. `how` is a status word, "" where the instance has not been."""

    key: str
    name: str
    kind: str
    how: str
    tests: list[Test] = []
    lanes: list[Line] = []


class Trace:
    """What a window of a history says of each op: how its last line leaves it, the turn of its first,
    and the states the caller has for such turns. Items of a foreach count as one."""

    def __init__(self, entries: Iterable[Entry], states: States | None = None) -> None:
        self.how: dict[str, str] = {}
        self.turns: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.states = states or {}
        for entry in entries:
            if entry.op is None or entry.kind not in _HOW:
                continue
            key = _ITEM.sub("[]", entry.op)
            how = _HOW[entry.kind]
            data = entry.data if isinstance(entry.data, dict) else {}
            if entry.kind == "StepFailed" and data.get("retry_at"):
                how = "waiting"
            self.how[key] = how
            self.turns.setdefault(key, entry.seq)
            if data.get("name"):
                self.names.setdefault(key, str(data["name"]))

    def first(self, keys: Sequence[str]) -> int | None:
        """The turn in which the first of some ops was asked for."""
        return min((self.turns[key] for key in keys if key in self.turns), default=None)

    def state(self, turn: int | None) -> Json:
        return None if turn is None else self.states.get(turn)


def turns_of(definition: Definition, entries: Sequence[Entry]) -> list[int]:
    """The turns after which the state is worth having: those in which a branch was decided."""
    if not isinstance(definition.body, Plan):
        return []
    trace = Trace(entries)
    wanted = (trace.first(keys) for keys, guarded in _asked(definition.body.nodes, "") if guarded)
    return sorted({turn for turn in wanted if turn is not None})


def drawn(
    definition: Definition | None, entries: Sequence[Entry], states: States | None = None
) -> tuple[list[Box], bool]:
    """The boxes, and whether they are the whole plan (else: the path so far)."""
    trace = Trace(entries, states)
    if definition is not None and isinstance(definition.body, Plan):
        return _line(definition.body.nodes, "", trace), True
    path = list(trace.how.items())[:BOXES_MAX]
    return [Box(key, trace.names.get(key, key), "op", how) for key, how in path], False


def _asked(nodes: Sequence[Node], prefix: str) -> Iterable[tuple[list[str], bool]]:
    """The ops of every node and lane, and whether a condition stands before them."""
    for node in nodes:
        yield _keys(node, prefix), bool(node.guards) or node.kind == "choice"
        for lane in node.lanes:
            yield from _asked(lane.nodes, _inside(node, prefix))


def _inside(node: Node, prefix: str) -> str:
    if node.inline:
        return prefix
    return f"{prefix}{node.key}[]." if node.kind == "foreach" else f"{prefix}{node.key}."


def _keys(node: Node, prefix: str) -> list[str]:
    """The op of a node and those inside it."""
    inner = _inside(node, prefix)
    return [prefix + node.key, *(key for lane in node.lanes for one in lane.nodes
                                 for key in _keys(one, inner))]  # fmt: skip


def _line(nodes: Sequence[Node], prefix: str, trace: Trace, own: bool = False) -> list[Box]:
    return [_box(node, prefix, trace, own) for node in nodes[:BOXES_MAX]]


def _box(node: Node, prefix: str, trace: Trace, own: bool) -> Box:
    """`own`: it stands in a lane with names of its own, which the state does not have."""
    key, inner = prefix + node.key, _inside(node, prefix)
    turn = trace.first(_keys(node, prefix))
    apart = own or node.kind in ("foreach", "parallel")
    lanes = [Line(lane.name, _line(lane.nodes, inner, trace, apart)) for lane in node.lanes]
    how = trace.how.get(key, "")
    if not how and lanes:
        how = _of_lanes([box.how for line in lanes for box in line.boxes])
    held = None if not how else how != "skipped"
    state = None if own else trace.state(turn)
    tests = [test for guard in node.guards for test in _tests(guard, state, held)]
    if node.kind == "choice":
        for line, lane in zip(lanes, node.lanes, strict=True):
            ops = [name for one in lane.nodes for name in _keys(one, inner)]
            line.taken = None if turn is None else trace.first(ops) is not None
            if lane.guard is not None:
                line.tests = _tests(lane.guard, state, line.taken)
            elif len(node.lanes) > 1:
                line.tests = [Test("none of the others holds")]
    return Box(key, node.name, node.kind, how, tests, lanes)


def _of_lanes(words: list[str]) -> str:
    for word in ("failed", "running", "waiting"):
        if word in words:
            return word
    return "completed" if "completed" in words else ""


# -- conditions ----------------------------------------------------------------------------------


def _tests(guard: Guard, state: Json, held: bool | None) -> list[Test]:
    """What a guard looks at, and saw in a state. A function of the author's is not asked again: its
    text is shown, and the values of the state it names."""
    known = isinstance(state, dict)
    if guard.explain is not None:
        try:
            found = guard.explain(state if isinstance(state, dict) else {})
        except Exception as error:  # it looks at what only a branch has
            return [Test(guard.name, f"{error}" if known else "", held)]
        return [
            Test(f"{one.attribute} {one.operator} {brief(one.expected, 60)}",
                 (one.error or f"it was {brief(one.seen, 60)}") if known else "",
                 one.ok if known else None)
            for one in found
        ]  # fmt: skip
    seen = ""
    if isinstance(state, dict):
        names = [name for name in _named(guard.test) if name in state]
        seen = ", ".join(f"{name} was {brief(state[name], 60)}" for name in names)
    return [Test(_text(guard), seen, held)]


def _named(test: Callable[..., Any]) -> list[str]:
    """The texts a function names: those that are names of the state are what it looks at."""
    code = getattr(test, "__code__", None)
    found = [*code.co_consts, *code.co_names] if code is not None else []
    return list(dict.fromkeys(one for one in found if isinstance(one, str)))


def _text(guard: Guard) -> str:
    """A predicate by its name, a lambda as it is written."""
    if guard.name != "<lambda>":
        return guard.name
    try:
        source = inspect.getsource(guard.test)
    except (OSError, TypeError):
        return "a condition"
    found = _LAMBDA.search(source)
    return _whole(found[1]) if found else "a condition"


def _whole(text: str) -> str:
    """Up to where the expression ends: at a bracket that was not opened in it, or a comma."""
    depth = 0
    for at, sign in enumerate(text):
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth < 0:
                return " ".join(text[:at].split())
        elif depth == 0 and sign in ",\n":
            return " ".join(text[:at].split())
    return " ".join(text.split())
