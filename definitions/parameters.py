"""The parameters of an action when it is carried out: what its expressions give, judged once more.

Constants were checked when the document was saved; what an expression gives is known only now. It is
checked by the same schema, before anything is sent, and whoever reads the failure is told what the
expression gave and what the state has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from greenroom.definitions import instants
from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.actions import CALLBACK_NAMES, Action
from greenroom.definitions.coreparameters import given_problems
from greenroom.definitions.errors import InvalidInput, Problem
from greenroom.definitions.evaluation import Meter
from greenroom.definitions.expressions import BUDGET, compile_expression, is_expression
from greenroom.definitions.injection import Injector
from greenroom.definitions.instants import Instant
from greenroom.definitions.roots import Scope
from greenroom.definitions.shapes import shown
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.values import Json, decode

TOLD_MAX: Final = 3
"""Expressions of which a hint says what they gave."""
LOOKED_AT_MAX: Final = 500
"""Places of the state that are looked at for what an expression may have meant."""


class Resolved(Injector, frozen=True):
    """Hands the function of an action its parameters, evaluated when the attempt begins, and the
    context of the attempt; a step that is called gets its arguments by name."""

    action: Action | None = None
    scope: Scope = Scope()
    step: Injector | None = None

    def arguments(
        self,
        source: Mapping[str, Any],
        virtual: Mapping[str, Any],
        found: Mapping[str, Any] | None = None,
        new_id: Callable[[str], Any] | None = None,
    ) -> dict[str, Any]:
        assert self.action is not None
        ctx = virtual["ctx"]
        with instants.at(Instant(ctx.at, f"{ctx.idempotency_key}\n{ctx.attempt}")):
            more = {name: virtual.get(name) for name in CALLBACK_NAMES if self.action.calls_back}
            parameters, _ = resolve(self.action, self.scope.see(dict(source)), more)
        if self.step is not None:
            return self.step.arguments(parameters.get("arguments", {}), virtual)
        return {"parameters": parameters, "ctx": ctx}

    def call(self, func: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return func(**arguments) if self.step is None else self.step.call(func, arguments)


def resolve(
    action: Action, seen: Json, more: Mapping[str, Json] | None = None
) -> tuple[dict[str, Json], dict[str, Json]]:
    """The parameters and the variables of an action, evaluated over what it sees; `more` are
    variables it has without declaring them.

    Raises `ExpressionError` with the place, and `ParameterInvalid` for what its schema refuses.
    """
    meter = Meter(BUDGET)
    variables: dict[str, Json] = {**action.variables.evaluate(seen, meter), **(more or {})}
    parameters: dict[str, Json] = action.parameters.evaluate(seen, meter, variables)
    if not action.parameters.constant:
        problems = _problems(action, parameters)
        if problems:
            raise refused(action, problems, parameters, seen)
    return parameters, variables


def _problems(action: Action, parameters: dict[str, Json]) -> list[Problem]:
    path = f"{action.path}.parameters"
    if action.service is not None:
        return action.service.problems(parameters, path)
    return given_problems(action.kind or "", parameters, path)


def refused(
    action: Action, problems: list[Problem], parameters: dict[str, Json], seen: Json
) -> ParameterInvalid:
    """The failure: what is wrong where, what the expressions there gave, what there was to find."""
    inside = f"{action.path}."
    lines = "; ".join(f"{one.path.removeprefix(inside)} {one.message}" for one in problems[:5])
    has = ", ".join(sorted(seen)[:20]) if isinstance(seen, dict) else shown(seen)
    told = [text for one in problems[:TOLD_MAX] for text in _gave(action, one, parameters, seen)]
    return ParameterInvalid(
        f"action {action.order} ({action.title}): {lines}",
        hint="\n".join([*told, f"nothing was sent; the state has: {has or 'nothing'}"]),
        action=action.order,
        problems=[one.as_data() for one in problems[:20]],
    )


def _gave(
    action: Action, problem: Problem, parameters: dict[str, Json], seen: Json
) -> Iterator[str]:
    """`::name is null   (there is ::user.name)` for the expression at a place."""
    steps = _steps(problem.path.removeprefix(f"{action.path}.parameters"))
    written, value = _at(action.parameters.source, steps), _at(parameters, steps)
    if not is_expression(written):
        return
    path = compile_expression(written[len(PREFIX) :]).path
    near = _places_of(path[-1], seen) if value is None and path else []
    yield f"{written} is {shown(value)}" + (f"   (there is {near[0]})" if near else "")


_STEP: Final = re.compile(r'\.([^.\[\]"]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]')


def _steps(path: str) -> list[str | int]:
    return [
        int(at) if at else name or odd.replace('\\"', '"') for name, at, odd in _STEP.findall(path)
    ]


def _at(value: Json, steps: list[str | int]) -> Json:
    """What stands at a place; None where nothing does."""
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _places_of(name: str | int, seen: Json) -> list[str]:
    """Where else in the state that name stands."""
    found: list[str] = []
    left: list[tuple[str, Json]] = [("", seen)]
    for place, value in left:  # it grows while it is gone through
        if len(left) > LOOKED_AT_MAX:
            break
        if isinstance(value, dict):
            for key, item in value.items():
                path = f"{place}.{key}" if place else str(key)
                if key == name and item is not None:
                    found.append(PREFIX + path)
                left.append((path, item))
    return found


def emitted_by(action: Action, parameters: dict[str, Json]) -> dict[str, Json]:
    """The event of a CustomEvent action: its type, data and subject."""
    body, content = parameters.get("body"), parameters.get("content_type")
    if isinstance(body, str) and isinstance(content, str) and _is_json(content):
        try:
            body = decode(body)
        except InvalidInput as error:
            raise ParameterInvalid(
                f"action {action.order}: body is said to be {content}: {error.message}",
                action=action.order,
            ) from None
    made = {"type": parameters["event_type"], "data": body}
    if parameters.get("subject") is not None:
        made["subject"] = parameters["subject"]
    return made


def _is_json(content: str) -> bool:
    kind = content.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")
