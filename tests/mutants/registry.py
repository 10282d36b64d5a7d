"""Planted faults: the test of the tests.

Every rule that a promise rests on has a mutant: one fault, planted from outside, and the tests that
must fail because of it. A mutant that survives says that its rule is tested by nobody.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Final

VARIABLE: Final = "GREENROOM_MUTANT"
"""Names the mutant that a process is to plant in itself."""

_planted: dict[FunctionType, str] = {}
"""Sources that are not those of the files any more: a fault may need two places of one function."""


@dataclass(frozen=True)
class Mutant:
    """One fault. `plant` changes the code of the running process, for good."""

    name: str
    rule: str
    plant: Callable[[], None]
    tests: tuple[str, ...]
    """What must fail, as pytest names it."""


def rewrite(function: Any, old: str, new: str) -> Callable[[], None]:
    """Plants another text in the source of a function, wherever it was imported to.

    `old` must stand there exactly once: a mutant whose place has moved is an error, not a survivor.
    """

    def plant() -> None:
        if not isinstance(function, FunctionType):
            raise TypeError(f"{function!r} is not a plain function")
        source = _planted.get(function) or textwrap.dedent(inspect.getsource(function))
        if source.count(old) != 1:
            raise LookupError(
                f"{old!r} stands {source.count(old)} times in {function.__qualname__}"
            )
        _planted[function] = source = source.replace(old, new)
        function.__code__ = _compiled(function, source)

    return plant


def _compiled(function: FunctionType, source: str) -> CodeType:
    flags = __future__.annotations.compiler_flag
    code = compile(source, f"<mutant of {function.__qualname__}>", "exec", flags, True)
    scope: dict[str, Any] = {}
    exec(code, function.__globals__, scope)  # noqa: S102  the mutant's own source
    made = scope[function.__name__]
    found: CodeType = (made.fget if isinstance(made, property) else made).__code__  # type: ignore[union-attr]
    return found


def replace(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Plants another value of a constant, in the module that reads it."""

    def plant() -> None:
        if getattr(owner, name) == value:
            raise LookupError(f"{name} is {value!r} already")
        setattr(owner, name, value)

    return plant


def both(*plants: Callable[[], None]) -> Callable[[], None]:
    """One fault that has to be planted in several places."""

    def plant() -> None:
        for one in plants:
            one()

    return plant
