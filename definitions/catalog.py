"""What a document may name: connectors with their actions and events, and steps that are offered.

A document is compiled against a catalog. What the catalog lacks is a problem of the document,
found when it is saved and not when it runs. A document cannot name a Python function by where it
lies: only what its author has put on offer can be called.

    @offer
    @step("Reserve stock")
    async def reserve(sku: str, n: int = 1) -> State: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final, TypeVar, overload

import msgspec

from greenroom.definitions.connectors import Action, Connectors
from greenroom.definitions.errors import InvalidDefinition, NotFound
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.shapes import Problems
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.workflow import Target

T = TypeVar("T")

OFFERED: Final[dict[str, Target]] = {}
"""Steps documents may call, by name. A name is process-wide, as that of a task."""


@overload
def offer(step: T) -> T: ...
@overload
def offer(*, name: str) -> Callable[[T], T]: ...
def offer(step: Any = None, *, name: str | None = None) -> Any:
    """Lets documents call a step: `{"type": "Core:Call", "parameters": {"step": "reserve"}}`.

    `name` is the key of the step unless told. A step of the same name from elsewhere is refused.
    """
    if step is None:
        return lambda one: _offered(one, name)
    return _offered(step, name)


def _offered(step: Any, name: str | None) -> Any:
    target = getattr(step, "target", None)
    if not isinstance(target, Target):
        raise InvalidDefinition(
            f"only a step can be offered to documents, got {step!r}", hint="@offer above @step(...)"
        )
    if target.injector is None or target.injector.resources:
        raise InvalidDefinition(
            f"{target.name} takes resources, which a document cannot name",
            hint="offer a step that takes their ids",
        )
    called = name or str(getattr(step, "key", target.name))
    if not 0 < len(called) <= NAME_MAX:
        raise InvalidDefinition(f"the name of an offered step has 1 to {NAME_MAX} characters")
    known = OFFERED.get(called)
    if known is not None and _place(known) != _place(target):
        raise InvalidDefinition(
            f'two steps are offered as "{called}": {_place(known)} and {_place(target)}',
            hint="give one another name:  @offer(name=...)",
        )
    OFFERED[called] = target
    return step


def offered_by(module: ModuleType) -> bool:
    """Whether a step of the module is on offer."""
    name = module.__name__
    return any(getattr(one.func, "__module__", None) == name for one in OFFERED.values())


def _place(target: Target) -> str:
    func = target.func
    return f"{getattr(func, '__module__', '?')}.{getattr(func, '__qualname__', '?')}"


class Catalog(msgspec.Struct, frozen=True):
    """What there is to name."""

    connectors: Connectors = msgspec.field(default_factory=Connectors)
    steps: Mapping[str, Target] = msgspec.field(default_factory=lambda: OFFERED)

    def action(self, connector: str, kind: str, path: str, problems: Problems) -> Action | None:
        """The action of a connector, or None with a problem that says what there is."""
        return self._found(
            connector, path, problems, lambda: self.connectors.resolve(connector, kind)
        )

    def event_type(self, connector: str, kind: str, path: str, problems: Problems) -> str | None:
        """The type of the events of a connector, or None with a problem."""
        return self._found(
            connector, path, problems, lambda: self.connectors.event_type(connector, kind)
        )

    def _found(
        self, connector: str, path: str, problems: Problems, look: Callable[[], T]
    ) -> T | None:
        place = f"{path}.connector_id"
        try:
            self.connectors.get(connector)
            place = f"{path}.type"
            return look()
        except NotFound as error:
            known = ", ".join(map(str, error.details.get("known", ())))
            there = "" if "did you mean" in error.message else f"; there is: {known or 'none'}"
            problems.add(place, f"{error.message}{there}")
        return None

    def step(self, name: str, path: str, problems: Problems) -> Target | None:
        """The step on offer, or None with a problem."""
        found = self.steps.get(name)
        if found is None:
            near = did_you_mean(name, self.steps)
            known = ", ".join(sorted(self.steps)[:10]) or "none; put @offer above a step"
            problems.add(path, f'no step "{name}" is offered{near or f"; there is: {known}"}')
        return found


CATALOG: Final[ContextVar[Catalog | None]] = ContextVar("greenroom_catalog", default=None)


@contextmanager
def using(catalog: Catalog) -> Iterator[None]:
    """Documents that are compiled inside find this catalog."""
    token = CATALOG.set(catalog)
    try:
        yield
    finally:
        CATALOG.reset(token)
