"""Scopes: what holds steps inside a step list.

`step_group` is one entry with steps inside, `parallel` runs several lines side by side, `foreach`
one line for each item of a list, `callback_step` calls somebody and waits to be called back. The
keys of the steps inside carry the key of the scope: `ports[3].configure`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.expressions import compile_value
from greenroom.definitions.steps import (
    AskStep,
    Duration,
    Piece,
    StepList,
    check_key,
    lanes_of,
    slug_of,
)
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Ask, Fan, Guard, Lane, Node

Merge = Literal["namespace", "merge", "list"]
OnError = Literal["settle", "park", "skip"]


class Scope(Piece):
    """A piece with steps inside; `make(key, guards)` gives its node."""

    def __init__(
        self, kind: str, name: str, key: str, make: Callable[[str, tuple[Guard, ...]], Node]
    ) -> None:
        check_key(key, f"the {kind} {name!r}")
        self.kind = kind
        self.name = name
        self.key = key
        self._make = make
        make(key, ())  # what cannot work is said here

    def node(self, key: str, guards: tuple[Guard, ...]) -> Node:
        return self._make(key, guards)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.key}: {self.name}>"


def step_group(
    name: str,
    steps: Any,
    *,
    restart: Literal["child", "group"] = "child",
    key: str | None = None,
) -> Scope:
    """Steps under one name. After a failure inside, `resume` goes on at the step that failed; with
    `restart="group"` it begins the group anew."""
    if restart not in ("child", "group"):
        raise InvalidDefinition(f'restart must be "child" or "group", got {restart!r}')
    inside = _steps(name, steps)

    def make(key: str, guards: tuple[Guard, ...]) -> Node:
        (line,) = lanes_of(inside)
        return Node(
            key, name, "group", None, guards, lanes=(Lane(name, line),), restart=restart == "group"
        )

    return Scope("group", name, key or slug_of(name, "group"), make)


def parallel(
    name: str,
    *branches: Any,
    merge: Merge = "namespace",
    into: str | None = None,
    on_error: OnError = "settle",
    limit: int | None = None,
    key: str | None = None,
    **named: Any,
) -> Scope:
    """`parallel("fan", a >> b, c)`: the branches run side by side, each on names of its own over the
    state; the list goes on when all have ended.

    `merge` says what becomes of the names each branch has set: `namespace` puts them under `into`
    (default: the key of the scope) by branch (`"0"`, `"1"`, or the keyword it was given by), `list`
    puts them there in order, `merge` puts them straight into the state, later branches last.
    `on_error`: `settle` lets the other branches finish and then fails, `park` fails at once, `skip`
    takes `{"error": ...}` for the result. At most `limit` branches are open at once.
    """
    every = [(str(place), one) for place, one in enumerate(branches)] + list(named.items())
    if not every:
        raise InvalidDefinition(f"parallel({name!r}) has no branches")
    lists = [_steps(name, one) for _, one in every]
    slug = key or slug_of(name, "parallel")
    fan = _fan(name, Fan(merge, into or slug, limit=limit, on_error=on_error))

    def make(key: str, guards: tuple[Guard, ...]) -> Node:
        lanes = [
            Lane(label, line) for (label, _), line in zip(every, lanes_of(*lists), strict=True)
        ]
        return Node(key, name, "parallel", None, guards, lanes=tuple(lanes), fan=fan)

    return Scope("parallel", name, slug, make)


def foreach(
    name: str,
    *steps: Any,
    over: Any = None,
    item: str = "item",
    index: str = "index",
    merge: Merge = "namespace",
    into: str | None = None,
    on_error: OnError = "settle",
    limit: int | None = None,
    key: str | None = None,
) -> Scope:
    """`foreach("ports", configure >> check)`: the steps run once for each item of `state["ports"]`,
    side by side; with `limit=1` one after the other.

    The steps see the item as `item` and its place as `index`. `over` says where the list is, if not
    under `name`: another name, an expression (`"::order.lines"`), or a function of the state.
    `merge` is that of `parallel`; `into` is `"<key>_results"` unless given, since the list itself
    stays.
    """
    inside = StepList()
    for one in steps:
        inside = inside >> _steps(name, one)
    if not len(inside):
        raise InvalidDefinition(f"foreach({name!r}) has no steps")
    slug = key or slug_of(name, "foreach")
    fan = _fan(
        name,
        Fan(
            merge,
            into or f"{slug}_results",
            _items(name if over is None else over),
            item,
            index,
            limit,
            on_error,
        ),
    )

    def make(key: str, guards: tuple[Guard, ...]) -> Node:
        (line,) = lanes_of(inside)
        return Node(key, name, "foreach", None, guards, lanes=(Lane(name, line),), fan=fan)

    return Scope("foreach", name, slug, make)


def callback_step(
    name: str,
    action_step: Any,
    validate_step: Any = None,
    *,
    result_key: str | None = "callback_result",
    timeout: Duration | None = None,
    callback_route_key: str = "callback_route",
    key: str | None = None,
) -> Scope:
    """Calls somebody and waits to be called back.

    The action is given a route and a token (parameters `callback_route` and `callback_token`) to
    hand on; who has it posts one JSON object there. A call that comes while the action still runs
    is kept. The body is stored under `result_key`, with None its names are merged. Then
    `validate_step` runs. `timeout` counts from the end of the action. After a failure or a timeout
    `resume` begins anew, with another token.
    """
    action = _steps(name, action_step)
    after = StepList() if validate_step is None else _steps(name, validate_step)
    due_s = None if timeout is None else seconds(timeout, "timeout")
    if result_key is not None and (not isinstance(result_key, str) or not result_key):
        raise InvalidDefinition(f"result_key must be text or None, got {result_key!r}")
    question = AskStep(
        name,
        "callback",
        Ask(
            "callback",
            name,
            {"type": "object"},
            None,
            due_s,
            result_key,
            early=True,
            expires="fail",
            route_key=callback_route_key,
        ),
    )

    def make(key: str, guards: tuple[Guard, ...]) -> Node:
        (line,) = lanes_of(action >> question >> after)
        return Node(key, name, "group", None, guards, lanes=(Lane(name, line),), restart=True)

    return Scope("callback", name, key or slug_of(name, "callback"), make)


def _steps(name: str, item: Any) -> StepList:
    try:
        steps = StepList.of(item)
    except InvalidDefinition as error:
        raise InvalidDefinition(f"{name}: {error.message}", hint=error.hint) from None
    if not len(steps):
        raise InvalidDefinition(f"{name!r} has a line without steps")
    return steps


def _items(over: Any) -> Callable[[dict[str, Any]], Json]:
    if callable(over):
        rule: Callable[[dict[str, Any]], Json] = over
        return rule
    if not isinstance(over, str) or not over:
        raise InvalidDefinition(f"over must be a name, an expression or a function, got {over!r}")
    if over.startswith(PREFIX):
        return compile_value(over).evaluate

    def named(state: dict[str, Any]) -> Json:
        if over not in state:
            has = ", ".join(sorted(state)) or "nothing"
            raise InvalidInput(f'the state has no "{over}" to go through; it has: {has}')
        return state[over]

    return named


def _fan(name: str, fan: Fan) -> Fan:
    if fan.merge not in ("namespace", "merge", "list"):
        raise InvalidDefinition(
            f'{name}: merge must be "namespace", "merge" or "list", got {fan.merge!r}'
        )
    if fan.on_error not in ("settle", "park", "skip"):
        raise InvalidDefinition(
            f'{name}: on_error must be "settle", "park" or "skip", got {fan.on_error!r}'
        )
    if fan.limit is not None and (not isinstance(fan.limit, int) or fan.limit < 1):
        raise InvalidDefinition(f"{name}: limit must be a whole number from 1, got {fan.limit!r}")
    return fan
