"""Input steps: a step list or program stops, and goes on with what a person answered.

The function of an input step is not run by the engine: opening the question runs nothing. It is
run when somebody looks or answers, on a copy of the state (see `forms`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Generic, ParamSpec, overload

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.forms import form_target
from greenroom.definitions.ops import CURRENT, Op, asked
from greenroom.definitions.steps import AskStep, Duration
from greenroom.definitions.workflow import Ask, Target

P = ParamSpec("P")


class Assignee(StrEnum):
    """Who is asked. These are the groups of Workflow Orchestrator; any other text does as well: a
    person, `team:x`, `role:x`."""

    NOC = "NOC"
    SYSTEM = "SYSTEM"
    CHANGES = "CHANGES"
    KLANTSUPPORT = "KLANTSUPPORT"


class InputStep(AskStep, Generic[P]):
    """A step that asks with a form. Awaited in a program it is an op that takes its arguments
    from the call; called anywhere else it is the plain form function."""

    target: Target

    def __init__(self, target: Target, key: str, ask: Ask) -> None:
        super().__init__(target.name, key, ask)
        self.target = target
        functools.update_wrapper(self, target.func)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        if CURRENT.get() is None:
            return self.target.func(*args, **kwargs)
        assert self.target.injector is not None
        arguments = self.target.injector.bind(args, kwargs)
        return asked(
            Op(
                "ask",
                self.target.name,
                arguments,
                target=self.target,
                due_s=self.ask.due_s,
                ask=self.ask,
            )
        )

    def __repr__(self) -> str:
        return f"<input {self.key}: {self.name}>"


@overload
def inputstep(name: Callable[P, Any]) -> InputStep[P]: ...
@overload
def inputstep(
    name: str | None = None,
    assignee: Assignee | str | None = None,
    *,
    due: Duration | None = None,
    enforce_assignee: bool = False,
    key: str | None = None,
) -> Callable[[Callable[P, Any]], InputStep[P]]: ...
def inputstep(
    name: Any = None,
    assignee: Assignee | str | None = None,
    *,
    due: Duration | None = None,
    enforce_assignee: bool = False,
    key: str | None = None,
) -> Any:
    """Marks a form function as a step that waits for a person; its returned dict is merged.

    `assignee` is a label for whom it concerns, `Assignee.SYSTEM` when nobody is named; with
    `enforce_assignee=True` nobody else may answer (`team:x` is a team of the engine's). When `due`
    has passed without an answer the instance goes on: nothing is merged, a program gets None.
    """
    if callable(name) and not isinstance(name, str):
        return inputstep()(name)
    if assignee is not None and (not isinstance(assignee, str) or not assignee.strip()):
        raise InvalidDefinition(f"assignee must be text or None, got {assignee!r}")
    who = str(Assignee.SYSTEM if assignee is None else assignee)
    due_s = None if due is None else seconds(due, "due")

    def decorate(func: Callable[P, Any]) -> InputStep[P]:
        target = form_target(func, name)
        slug = key or getattr(func, "__name__", None) or target.name
        return InputStep(
            target, slug, Ask("form", target.name, None, who, due_s, enforce=enforce_assignee)
        )

    return decorate
