"""From a document to the model: each action becomes a node of a plan.

An action is a guard (its condition), one op (its work) and a change of the state (its transform).
What does the work outside comes from whoever compiles: `Works` makes a function for each kind of
action that has an effect. The state a document sees is any JSON value; an instance's state is an
object. A value that is none lies in it under `::`, a key no document can name.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.actions import Action, Branch
from greenroom.definitions.conditions import Condition, OnFail
from greenroom.definitions.documents import Document
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import Fatal, InvalidInput
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.openings import opening_of, trigger_of
from greenroom.definitions.operands import OPERANDS
from greenroom.definitions.ops import looks_back
from greenroom.definitions.parameters import Resolved, emitted_by, resolve
from greenroom.definitions.paths import MISSING
from greenroom.definitions.roots import ROOT, Scope, wrapped
from greenroom.definitions.shapes import shown
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import (
    Ask,
    Change,
    Definition,
    Fan,
    Guard,
    Lane,
    Node,
    Plan,
    Target,
    Trigger,
)

APPROVAL: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "comment": {"type": "string"}},
    "required": ["approved"],
}


class Works(Protocol):
    """What does the work of an action that has an effect: of a connector, Log, Data.

    The function of the target is called with `parameters` (evaluated) and `ctx`, and gives the
    response.
    """

    def work(self, action: Action) -> Target: ...


class WaitTimedOut(Fatal):
    """An event that an action waited for has not come in time."""


# -- actions -----------------------------------------------------------------------------------


def lower_actions(
    actions: tuple[Action, ...], works: Works, scope: Scope, prefix: str = ""
) -> tuple[Node, ...]:
    """The nodes of a list of actions."""
    return tuple(_node(action, works, scope, f"{prefix}{action.order}") for action in actions)


def _node(action: Action, works: Works, scope: Scope, key: str) -> Node:
    common: dict[str, Any] = {"key": key, "name": action.title, "guards": _guards(action, scope)}
    match action.kind:
        case "Transform":
            return Node(**common, kind="set", after=_after(action, scope, own=True))
        case "CustomEvent":
            return Node(
                **common, kind="emit", args=_emit_args(action, scope), after=_after(action, scope)
            )
        case "RunWorkflow":
            common["name"] = str(action.given["workflow_id"])
            return Node(
                **common,
                kind="child",
                args=_child_args(action, scope),
                after=_after(action, scope),
                on_error=action.on_fail,
            )
        case "Wait":
            return Node(
                **common, kind="sleep", due=_wait_due(action, scope), after=_after(action, scope)
            )
        case "WaitForEvent":
            return Node(
                **common,
                kind="wait",
                args=_event_args(action, scope),
                where=_where(action, scope),
                since=looks_back(action.given.get("since", "start")),
                due=_deadline(action),
                after=_after(action, scope),
            )
        case "Ask" | "WaitForCallback":
            return Node(
                **common,
                kind="ask",
                ask=_ask(action),
                target=action.target,
                args=_ask_args(action, scope),
                after=_after(action, scope),
            )
        case "Iterator":
            return _iterator(action, works, scope, common)
        case "Branch":
            return _branches(action, works, scope, common)
    if action.calls_back:
        return _called_back(action, works, scope, common)
    return Node(
        **common,
        kind="call",
        target=_target(action, works, scope),
        after=_after(action, scope),
        on_error=action.on_fail,
        undo=_undo(action, works, scope),
    )


def _undo(action: Action, works: Works, scope: Scope) -> Target | None:
    return None if action.undo is None else _target(action.undo, works, scope)


def _called_back(action: Action, works: Works, scope: Scope, common: dict[str, Any]) -> Node:
    """A call and the question whether it was called back, open from before the call."""
    call = Node(
        "call",
        action.title,
        "call",
        _target(action, works, scope),
        after=lambda state, outcome: Change({}),
        on_error=action.on_fail,
        undo=_undo(action, works, scope),
    )
    ask = Ask(
        "callback", action.description or action.title, None, None, action.timeout_s,
        early=True, expires="fail",
    )  # fmt: skip
    question = Node("callback", action.title, "ask", ask=ask, after=_after(action, scope))
    lane = Lane(action.title, (call, question))
    return Node(**common, kind="group", lanes=(lane,), restart=True)


def _guards(action: Action, scope: Scope) -> tuple[Guard, ...]:
    condition = action.condition
    if condition is None:
        return ()
    return (_guard(condition, scope, "condition", condition.on_fail),)


def _guard(condition: Condition, scope: Scope, name: str, on_false: OnFail = "skip") -> Guard:
    return Guard(
        lambda state: condition.holds(scope.see(state)),
        name,
        on_false,
        lambda state: condition.explain(scope.see(state)),
    )


def _target(action: Action, works: Works, scope: Scope) -> Target:
    step = action.target if action.kind == "Call" else None
    made = step if step is not None else works.work(action)
    injector = Resolved(
        name=action.title,
        parameters=(),
        positional_only=0,
        open_keywords=False,
        where=f"action {action.order}",
        virtual=("ctx",),
        action=action,
        scope=scope,
        step=None if step is None else step.injector,
    )
    return msgspec.structs.replace(
        made,
        name=action.title,
        injector=injector,
        retry=action.retry or made.retry,
        timeout_s=made.timeout_s
        if action.timeout_s is None or action.calls_back
        else action.timeout_s,
    )


def _after(
    action: Action, scope: Scope, *, own: bool = False
) -> Callable[[dict[str, Any], Json], Change]:
    """What the response of an action does to the state; `own`: the state is the response."""
    transform = action.transform
    fails = action.given.get("on_timeout") == "fail"

    def after(state: dict[str, Any], outcome: Json) -> Change:
        response = _response(outcome)
        if fails and response is None:
            raise WaitTimedOut(f"action {action.order} ({action.title}): the time is over")
        if transform is None:
            return Change({})
        seen = scope.see(state)
        variables = action.variables.evaluate(seen)
        effect = transform.effect(seen, seen if own else response, variables)
        return scope.change(seen, effect)

    return after


def _response(outcome: Any) -> Json:
    """An event is a response as its data shows it."""
    as_data = getattr(outcome, "as_data", None)
    return outcome if as_data is None else as_data()


def _emit_args(action: Action, scope: Scope) -> Callable[[dict[str, Any]], Json]:
    return lambda state: emitted_by(action, resolve(action, scope.see(state))[0])


def _child_args(action: Action, scope: Scope) -> Callable[[dict[str, Any]], Json]:
    detach = action.given.get("mode") == "async" or action.wait_for_callback is False

    def args(state: dict[str, Any]) -> Json:
        seen = scope.see(state)
        found, _ = resolve(action, seen)
        made: dict[str, Json] = {
            "input": wrapped(found.get("workflow_input", seen)),
            "key": None,
            "detach": detach,
        }
        key = found.get("key")
        if key is not None:
            made["key"] = str(key)
        if "workflow_version" in found:
            made["version"] = found["workflow_version"]
        return made

    return args


_LATEST: Final = datetime.datetime.max - datetime.datetime(1970, 1, 1)


def _wait_due(action: Action, scope: Scope) -> Callable[[dict[str, Any], int], int]:
    def due(state: dict[str, Any], at: int) -> int:
        found, _ = resolve(action, scope.see(state))
        if "until" in found:
            moment = OPERANDS["Date"].read(found["until"])
            if moment is MISSING:
                raise ParameterInvalid(
                    f"{action.path}.parameters.until must be a time, got {shown(found['until'])}"
                )
            if moment > _LATEST:
                raise ParameterInvalid(
                    f"{action.path}.parameters.until must be before the year 10000, got "
                    f"{shown(found['until'])}"
                )
            return int(moment.total_seconds() * 1000)
        name = "seconds" if "seconds" in found else "duration"
        return at + round(_seconds(action, found, name) * 1000)

    return due


def _seconds(action: Action, found: dict[str, Json], name: str) -> float:
    try:
        return seconds(found[name], name)
    except InvalidInput as error:
        raise ParameterInvalid(f"{action.path}.parameters.{name}: {error.message}") from None


def _deadline(action: Action) -> Callable[[dict[str, Any], int], int] | None:
    limit = action.timeout_s
    return None if limit is None else lambda state, at: at + round(limit * 1000)


def _event_args(action: Action, scope: Scope) -> Callable[[dict[str, Any]], Json]:
    def args(state: dict[str, Any]) -> Json:
        found, _ = resolve(action, scope.see(state))
        return {"type": found["event_type"]}

    return args


def _where(action: Action, scope: Scope) -> Callable[[dict[str, Any]], Where]:
    def where(state: dict[str, Any]) -> Where:
        found, _ = resolve(action, scope.see(state))
        return compile_where(found.get("where"))

    return where


def _ask(action: Action) -> Ask:
    given = action.given
    kind = "callback" if action.kind == "WaitForCallback" else given["kind"]
    schema = given.get("schema")
    if kind == "approval":
        schema = schema or APPROVAL
    expires = "fail" if given.get("on_timeout") == "fail" else "go_on"
    title = given.get("title") or action.description or action.title
    return Ask(kind, str(title), schema, given.get("assignee"), action.timeout_s, expires=expires)  # type: ignore[arg-type]


def _ask_args(action: Action, scope: Scope) -> Callable[[dict[str, Any]], Json] | None:
    """The words of a question that depend on the state."""
    if action.parameters.constant:
        return None

    def args(state: dict[str, Any]) -> Json:
        found, _ = resolve(action, scope.see(state))
        made = {name: found[name] for name in ("title", "assignee") if name in found}
        return dict(made)

    return args


def _iterator(action: Action, works: Works, scope: Scope, common: dict[str, Any]) -> Node:
    inner = Scope(scope.depth + 1)
    given = action.given
    mode = given.get("on_item_error", "fail")
    parallel = given.get("mode") == "parallel"

    def items(state: dict[str, Any]) -> Json:
        return resolve(action, scope.see(state))[0]["array_path"]

    after_all = _after(action, scope)

    def after(state: dict[str, Any], outcome: Json) -> Change:
        if action.transform is None:
            return Change({})
        before: list[Json] = items(state)
        results: list[Json] = []
        for item, lane in zip(before, outcome, strict=True):
            if "error" in lane and inner.name not in lane and set(lane) == {"error"}:
                if mode == "collect":
                    results.append({"error": lane["error"]})
            else:
                results.append(lane.get(inner.name, item))
        return after_all(state, results)

    on_error = "skip" if mode != "fail" else "settle" if parallel else "park"
    fan = Fan(
        merge="list",
        into=ROOT,
        items=items,
        item=inner.item,
        index=inner.index,
        limit=given.get("limit") if parallel else 1,
        on_error=on_error,  # type: ignore[arg-type]
    )
    nodes = lower_actions(action.actions, works, inner)
    return Node(**common, kind="foreach", lanes=(Lane("item", nodes),), fan=fan, after=after)


def _branches(action: Action, works: Works, scope: Scope, common: dict[str, Any]) -> Node:
    lanes = tuple(_lane(branch, works, scope) for branch in action.branches)
    return Node(**common, kind="choice", lanes=lanes)


def _lane(branch: Branch, works: Works, scope: Scope) -> Lane:
    guard = None
    if branch.condition is not None:
        guard = _guard(branch.condition, scope, f"branch {branch.order}")
    nodes = lower_actions(branch.actions, works, scope, f"{branch.order}-")
    return Lane(str(branch.order), nodes, guard)


# -- the whole ---------------------------------------------------------------------------------


def lower(document: Document, works: Works) -> Definition:
    """The workflow a document is."""
    triggers: tuple[Trigger, ...] = ()
    if document.source is not None:
        triggers = (trigger_of(document.name, document.source, document.key),)
    return Definition(
        name=document.name,
        version=None,
        kind="document",
        body=Plan.of(lower_actions(document.actions, works, Scope())),
        triggers=triggers,
        hash=document.hash,
        source=document.label,
        key=document.key,
        opening=opening_of(document.source),
        enabled=document.data.get("enabled"),
        **document.limits.fields(Scope().see),
    )
