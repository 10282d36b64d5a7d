"""The walk of a plan: what comes next, from the plan and the state alone.

The counterpart of the machine for bodies that are graphs. Nothing is kept between turns: where an
instance stands is the key of the op that ended last, so a plan is never replayed.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenroom.actors.entries import (
    Answered,
    Begun,
    Cancelled,
    CancelRequested,
    Completed,
    Delta,
    Entry,
    Failure,
    OpCompleted,
    OpFailed,
    OpSkipped,
    Policy,
    Question,
    Reopened,
    Request,
    Resumed,
    Started,
    TimerFired,
)
from greenroom.actors.machine import Death, Turn, failure_of
from greenroom.actors.progress import Progress
from greenroom.definitions.injection import VIRTUAL
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Definition, Node


def apply_to_plan(
    definition: Definition, progress: Progress, entry: Entry, held: Iterable[Entry] = ()
) -> Turn:
    """Applies one cause. Raises `Death` when the instance cannot go on."""
    turn = Turn([], [])
    kind = type(entry)
    if kind is OpCompleted:  # the hot path
        _merge(turn, progress.state, entry.value)  # type: ignore[union-attr]
        _go_on(definition, progress, turn, entry.key, entry.at)  # type: ignore[union-attr]
        return turn
    match entry:
        case CancelRequested():
            for cause in held:
                if not isinstance(cause, CancelRequested):
                    _absorb(definition, progress, turn, cause)
            turn.closes.extend(progress.ops)
            turn.end = Cancelled()
            turn.over = True
        case Resumed() | Reopened():
            for cause in held:
                _cause(definition, progress, turn, cause, entry.at)
        case OpSkipped(resumes=True):
            for cause in held:
                _cause(definition, progress, turn, cause, entry.at)
            _cause(definition, progress, turn, entry, entry.at)
        case _:
            _cause(definition, progress, turn, entry, entry.at)
    return turn


def _cause(definition: Definition, progress: Progress, turn: Turn, cause: Entry, at: int) -> None:
    match cause:
        case Started() | Begun():
            _go_on(definition, progress, turn, None, at)
        case OpFailed():
            raise Death(cause.error, {cause.key})
        case CancelRequested():
            turn.closes.extend(progress.ops)
            turn.end = Cancelled()
            turn.over = True
        case OpCompleted() | OpSkipped() | Answered() | TimerFired():
            _absorb(definition, progress, turn, cause)
            _go_on(definition, progress, turn, cause.key, at)
        case _:
            raise AssertionError(f"{type(cause).__name__} is not a cause")


def _absorb(definition: Definition, progress: Progress, turn: Turn, cause: Entry) -> None:
    """What an outcome does to the state, before anything new is asked for."""
    match cause:
        case OpCompleted():
            _merge(turn, progress.state, cause.value)
        case OpSkipped():
            if isinstance(cause.value, dict):
                _merge(turn, progress.state, cause.value)
        case Answered():
            _merge(turn, progress.state, _answer(definition, cause.key, cause.value))
        case TimerFired():
            _merge(turn, progress.state, _answer(definition, cause.key, None))
        case _:
            pass


def _answer(definition: Definition, key: str, value: Json) -> Json:
    place = definition.plan.index.get(key)
    node = definition.plan.nodes[place] if place is not None else None
    name = node.ask.result_key if node is not None and node.ask is not None else None
    if name is None:
        return value if isinstance(value, dict) else {}
    return {name: value}


def _merge(turn: Turn, state: dict[str, Json], value: Json) -> None:
    """Shallow, as step lists merge. The journal keeps what is set, not the rule."""
    if not value:
        return
    if turn.delta is None:
        turn.delta = Delta(value)
    else:
        turn.delta = Delta({**turn.delta.set, **value})


def _go_on(
    definition: Definition, progress: Progress, turn: Turn, after: str | None, at: int
) -> None:
    plan = definition.plan
    place = 0
    if after is not None:
        found = plan.index.get(after)
        if found is None:
            raise Death(_gone_failure(definition, after))
        place = found + 1
    nodes = plan.nodes
    while place < len(nodes):
        node = nodes[place]
        if not node.guards or _holds(definition, progress, turn, node):
            turn.requests.append(plan_request(definition, node, at))
            return
        turn.skips = (*turn.skips, node.key)
        place += 1
    turn.end = Completed()
    turn.over = True


def _gone_failure(definition: Definition, key: str) -> Failure:
    return Failure(
        "CodeChanged",
        f'{definition.name} has no step "{key}" any more',
        "code_changed",
        {
            "journal": [key],
            "code": [
                n.key for n in definition.plan.nodes if n.target is not None or n.ask is not None
            ],
        },
    )


def _holds(definition: Definition, progress: Progress, turn: Turn, node: Node) -> bool:
    state = progress.state if turn.delta is None else {**progress.state, **turn.delta.set}
    for guard in node.guards:
        try:
            if not guard.test(copy(state)):
                return False
        except Exception as error:  # an author's predicate may raise anything
            failure = failure_of(error)
            raise Death(
                Failure(
                    failure.type,
                    f"{guard.name} before {node.key}: {failure.message}",
                    details={"step": node.key},
                    where=failure.where,
                )
            ) from None
    return True


def plan_request(definition: Definition, node: Node, at: int) -> Request:
    """The request of a node; its arguments come from the state when the attempt starts."""
    if node.kind == "ask" and node.ask is not None:
        ask = node.ask
        return Request(
            node.key,
            "ask",
            node.name,
            due=None if ask.due_s is None else at + round(ask.due_s * 1000),
            question=Question(ask.kind, ask.title, ask.schema, ask.assignee, ask.result_key),
        )
    target = node.target
    if target is None:
        raise Death(_gone_failure(definition, node.key))
    if target.retry is None and target.mode == "at_least_once" and target.delay_of is None:
        return Request(node.key, name=node.name)
    return Request(
        node.key,
        name=node.name,
        policy=Policy(target.retry, target.mode == "at_most_once", target.delay_of is not None),
    )


def result_problem(value: Json) -> str | None:
    """Why a step's result cannot be merged; None when it can."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return f"a step must return a dict or None, got {type(value).__name__}"
    if not VIRTUAL.isdisjoint(value):
        reserved = sorted(VIRTUAL.intersection(value))
        return f'a step may not return "{reserved[0]}": the name belongs to the engine'
    return None
