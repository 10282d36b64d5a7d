"""What is odd about documents though each line of them is right.

An action nobody reaches, a condition that cannot hold, workflows that start one another in a
circle: none of it is an error, since an author may know better, and all of it is worth a word when
the document is saved. Nothing is guessed: a finding says what is certain, or names what it
assumes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from greenroom.definitions.actions import Action
from greenroom.definitions.conditions import Attribute, Condition, Criterion
from greenroom.definitions.documents import Document
from greenroom.definitions.errors import Problem
from greenroom.definitions.expressions import is_expression
from greenroom.definitions.operands import OPERANDS
from greenroom.definitions.values import encode

CYCLES_MAX: Final = 20


def findings(document: Document) -> list[Problem]:
    """What is odd about one document."""
    found = list(_of_list(document.actions))
    if document.source is not None and document.source.condition is not None:
        why = never_holds(document.source.condition)
        if why:
            path = f"{document.source.path}.condition"
            found.append(Problem(path, f"{why}: nothing starts this workflow"))
    return [document.located.placed(problem) for problem in found]


def _of_list(actions: Iterable[Action]) -> Iterator[Problem]:
    ended: str | None = None
    for action in actions:
        if ended is not None:
            yield Problem(action.path, f"is never reached: {ended}")
            continue
        if action.condition is not None:
            path = f"{action.path}.condition"
            why = never_holds(action.condition)
            if why:
                yield Problem(path, why)
                if action.condition.on_fail == "skip":
                    yield Problem(action.path, "is always skipped")
                else:
                    word = "stops" if action.condition.on_fail == "stop" else "fails"
                    ended = f"action {action.order} always {word}"
                continue
        yield from _of_list(action.actions)
        yield from _of_branches(action)


def _of_branches(action: Action) -> Iterator[Problem]:
    taken: int | None = None
    for branch in action.branches:
        if taken is not None:
            yield Problem(branch.path, f"is never taken: branch {taken} before it has no condition")
            continue
        if branch.condition is None:
            taken = branch.order
        else:
            why = never_holds(branch.condition)
            if why:
                yield Problem(f"{branch.path}.condition", f"{why}: the branch is never taken")
                continue
        yield from _of_list(branch.actions)


# -- conditions --------------------------------------------------------------------------------


def never_holds(condition: Condition) -> str | None:
    """Why a condition can hold for no data, or None."""
    if condition.either:
        reasons = [_criterion_never(one) for one in condition.criteria]
        return reasons[0] if reasons and all(reasons) else None
    for criterion in condition.criteria:
        why = _criterion_never(criterion)
        if why:
            return why
    joint = [
        attribute
        for criterion in condition.criteria
        if not criterion.either or len(criterion.attributes) == 1
        for attribute in criterion.attributes
    ]
    return _contradiction(joint)


def _criterion_never(criterion: Criterion) -> str | None:
    return None if criterion.either else _contradiction(criterion.attributes)


def _contradiction(attributes: list[Attribute]) -> str | None:
    """Two attributes of one place that cannot both hold."""
    by_place: dict[str, list[Attribute]] = {}
    for attribute in attributes:
        if attribute.is_constant:
            by_place.setdefault(attribute.text, []).append(attribute)
    for text, group in by_place.items():
        for at, one in enumerate(group):
            for other in group[at + 1 :]:
                why = _clash(one, other)
                if why is not None:
                    return (
                        f"cannot hold{why}: {text} {one.operator} {_shown(one)} and "
                        f"{other.operator} {_shown(other)}"
                    )
    return None


def _shown(attribute: Attribute) -> str:
    return encode(attribute.value).decode()[:60]


def _clash(one: Attribute, other: Attribute) -> str | None:
    """How two constants contradict each other: always (""), or for all but lists."""
    if one.type != other.type:
        positive = "ne" not in (one.operator, other.operator)
        return " unless it is a list" if positive and not _may_share(one.type, other.type) else None
    read, compare = OPERANDS[one.type].read, OPERANDS[one.type].operators
    left, right = read(one.value), read(other.value)
    pair = {one.operator, other.operator}
    if pair == {"eq", "ne"}:
        return "" if compare["eq"](left, right) else None
    if pair == {"eq"}:
        return None if compare["eq"](left, right) else " unless it is a list"
    if "eq" in pair:
        value, test, bound = (left, other, right) if one.operator == "eq" else (right, one, left)
        return None if compare[test.operator](value, bound) else " unless it is a list"
    if one.type in ("Number", "Date") and "ne" not in pair:
        return None if _overlap(one, other) else " unless it is a list"
    return None


def _may_share(one: str, other: str) -> bool:
    """Whether one value can be of both types: dates and versions are written as text or number."""
    kinds = {one, other}
    return kinds in (
        {"Date", "String"},
        {"Date", "Number"},
        {"Version", "String"},
        {"Date", "Version"},
    )


def _overlap(one: Attribute, other: Attribute) -> bool:
    read = OPERANDS[one.type].read
    low, high = -math.inf, math.inf
    open_low = open_high = False
    for attribute in (one, other):
        value = read(attribute.value)
        number = value if one.type == "Number" else value.total_seconds()
        if attribute.operator in ("gt", "gte", "after"):
            strict = attribute.operator != "gte"
            if number > low or (number == low and strict):
                low, open_low = number, strict
        else:
            strict = attribute.operator != "lte"
            if number < high or (number == high and strict):
                high, open_high = number, strict
    return low < high or (low == high and not open_low and not open_high)


# -- workflows that start one another ----------------------------------------------------------


class Start(NamedTuple):
    """What a document may start: a type of events or a workflow by name, and the path of the action
    that does."""

    event_type: str | None
    workflow: str | None
    path: str

    def __str__(self) -> str:
        return "runs" if self.event_type is None else f"emits {self.event_type}"


Edges = dict[str, dict[str, Start]]
"""Who starts whom."""


def starts(document: Document) -> Iterator[Start]:
    """What a document starts for certain: what an expression names is known only in a run."""
    for action in document.all_actions():
        if action.kind == "CustomEvent":
            event_type = action.given.get("event_type")
            if isinstance(event_type, str) and not is_expression(event_type):
                yield Start(event_type, None, action.path)
        elif action.kind == "RunWorkflow":
            yield Start(None, str(action.given.get("workflow_id")), action.path)


def cycles(documents: Iterable[Document]) -> list[list[str]]:
    """Circles of workflows that start one another by constant event types or by name:
    `[["a", "emits x", "b", "runs", "a"]]`, each once."""
    return _circles(_edges(documents))


def _edges(documents: Iterable[Document]) -> Edges:
    known = {document.name: document for document in documents}
    by_type: dict[str, list[str]] = {}
    for document in known.values():
        if document.enabled and document.source is not None and document.source.event_type:
            by_type.setdefault(document.source.event_type, []).append(document.name)
    edges: Edges = {name: {} for name in known}
    for document in known.values():
        for start in starts(document):
            for name in by_type.get(start.event_type or "", [start.workflow]):
                if name in known:
                    edges[document.name].setdefault(name, start)
    return edges


def _circles(edges: Edges) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()
    for root in sorted(edges):
        if root in done:
            continue
        line: list[str] = []
        stack = [(root, iter(sorted(edges[root])))]
        line.append(root)
        while stack:
            _, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                done.add(line.pop())
            elif following in line:
                names = [*line[line.index(following) :], following]
                circle: list[str] = []
                for one, other in pairwise(names):
                    circle += [one, str(edges[one][other])]
                found.append([*circle, following])
                if len(found) >= CYCLES_MAX:
                    return found
            elif following not in done:
                line.append(following)
                stack.append((following, iter(sorted(edges[following]))))
    return found


def cycle_findings(documents: Iterable[Document], through: str | None = None) -> list[Problem]:
    """The circles as warnings, each at the action by which the workflow it begins with goes on; only
    those `through` a workflow, if one is named, and then they begin with it."""
    by_name = {document.name: document for document in documents}
    edges = _edges(by_name.values())
    found = []
    for circle in _circles(edges):
        if through is not None:
            if through not in circle[::2]:
                continue
            at = 2 * circle[::2].index(through)
            circle = [*circle[at:-1], *circle[:at], through]
        start = edges[circle[0]][circle[2]]
        problem = Problem(start.path, f"a circle: {' -> '.join(circle)}")
        found.append(by_name[circle[0]].located.placed(problem))
    return found
