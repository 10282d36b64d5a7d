"""`only_if` and `classify` of a workflow: what may start, and what its failures are called.

Both are an author's plain functions: pure, quick, asked on the event loop.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import ConditionFailed, InvalidDefinition
from greenroom.definitions.injection import Injector, injector, location
from greenroom.definitions.matching import compile_where
from greenroom.definitions.values import Json, copy

LABEL: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Gate(msgspec.Struct, frozen=True):
    """A condition on the input of a new instance. `test(input)` gives None to let it pass, or why
    not."""

    test: Callable[[dict[str, Json]], str | None]
    name: str
    source: Json
    """What it was written as, or the hash of its code: a change of it is a new version."""

    def check(self, workflow: str, input: dict[str, Json]) -> None:
        """Raises `ConditionFailed` unless an instance with this input may start."""
        why = self.test(input)
        if why is not None:
            raise ConditionFailed(
                f"{workflow} may not start: {why}", workflow=workflow, condition=self.name
            )


def gate(condition: Any, code: Callable[[Any], str]) -> Gate:
    """The gate of `only_if=`: a function with parameters from the input, an expression or a
    condition over `{"data": input}`. Raises `InvalidDefinition`."""
    if not callable(condition):
        where = compile_where(condition)

        def asked(input: dict[str, Json]) -> str | None:
            event = {"data": input}
            if where.matches(event):
                return None
            failed = [found for found in where.explain(event) if not found.ok]
            return str(failed[0]) if failed else "its condition is false"

        return Gate(asked, "only_if", condition)
    if inspect.iscoroutinefunction(condition) or inspect.isgeneratorfunction(condition):
        raise InvalidDefinition(
            f"only_if must be a plain function   {location(condition)}",
            hint="what needs to wait belongs into the first step",
        )
    name = getattr(condition, "__name__", "only_if")
    given = injector(condition)
    return Gate(lambda input: _said(condition, name, given, input), name, code(condition))


def _said(
    condition: Callable[..., Any], name: str, given: Injector, input: dict[str, Json]
) -> str | None:
    try:
        said = condition(**given.arguments(copy(input), {}))
    except Exception as error:  # an author's function may raise anything
        return f"{name} raised {type(error).__name__}: {error}"
    if isinstance(said, str):
        return said or f"{name} says no"
    return None if said else f"{name} says no"


Classify = Callable[[BaseException], str | None]


def classifier(classify: Any) -> Classify:
    """Checks what `classify=` is given. Raises `InvalidDefinition`."""
    if not callable(classify) or inspect.iscoroutinefunction(classify):
        raise InvalidDefinition(
            "classify must be a plain function from an exception to a label or None, "
            f"got {classify!r}"
        )
    checked: Classify = classify
    return checked


def label_of(classify: Classify, error: BaseException) -> dict[str, Json]:
    """What a classifier adds to the details of a failure: its `kind`, or why there is none."""
    try:
        said = classify(error)
    except Exception as wrong:  # an author's function may raise anything
        return {"classify": f"it raised {type(wrong).__name__}: {wrong}"}
    if said is None:
        return {}
    if not isinstance(said, str) or not LABEL.fullmatch(said):
        return {"classify": f"{said!r} is not a label: lower case, digits and _, at most 64"}
    return {"kind": said}
