"""Handlers: the functions an author puts into a template flow.

A *reducer* (`get_*`) takes the event and gives one value the flow needs; a *hook* runs before an
event (`on_*`) and may steer, or after it (`after_*`) for side effects. Each is an op of the
instance: it runs in a thread (coroutine functions on the loop), with the flow's retry policy, and
its result is recorded, so that replay never calls it again.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Final, Literal, TypeVar, overload

from greenroom.definitions.destinations import Duration
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.injection import location

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["reducer", "hook", "prefetch"]

MARK: Final = "__greenroom_handler__"
PREFETCH_S: Final = 10.0
"""How long a list of options may take unless its decorator says otherwise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Handler:
    """A marked function. `fallback(event)` is asked when it has failed for good."""

    name: str
    kind: Kind
    func: Callable[..., Any]
    timeout_s: float | None = None
    fallback: Callable[..., Any] | None = None
    field: str | None = None
    """The field whose options a prefetch gives."""

    @property
    def where(self) -> str:
        return location(self.func)


@overload
def reducer(func: F) -> F: ...
@overload
def reducer(
    *, timeout: Duration | None = None, fallback: Callable[..., Any] | None = None
) -> Callable[[F], F]: ...
def reducer(
    func: Any = None, *, timeout: Duration | None = None, fallback: Callable[..., Any] | None = None
) -> Any:
    """Marks `get_*(event)` as a reducer. `timeout` limits one attempt; `fallback(event)` gives the
    value when the reducer has failed for good (a third party may be down)."""

    def mark(func: F) -> F:
        _check_name(func, "reducer", ("get_",))
        count = 2 if func.__name__ == "get_identity" else 1
        return _marked(func, "reducer", timeout, fallback, arguments=count)

    return mark if func is None else mark(func)


@overload
def hook(func: F) -> F: ...
@overload
def hook(*, timeout: Duration | None = None) -> Callable[[F], F]: ...
def hook(func: Any = None, *, timeout: Duration | None = None) -> Any:
    """Marks `on_*(event)` or `after_*(event)` as a hook. `timeout` limits one attempt."""

    def mark(func: F) -> F:
        _check_name(func, "hook", ("on_", "after_"))
        return _marked(func, "hook", timeout, None)

    return mark if func is None else mark(func)


def prefetch(
    field: str,
    *,
    timeout: Duration | None = PREFETCH_S,
    fallback: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
    """Marks `get_*(event)` as what gives the options of a field while a request is being written:
    a list of values, or of `(value, label)`."""
    if not isinstance(field, str) or not field:
        raise InvalidDefinition(
            f"prefetch needs the name of a field, got {field!r}", hint='@prefetch("region")'
        )

    def mark(func: F) -> F:
        _check_name(func, "prefetch", ("get_",))
        return _marked(func, "prefetch", timeout, fallback, field=field)

    return mark


def _check_name(func: Any, kind: str, prefixes: tuple[str, ...]) -> None:
    name = getattr(func, "__name__", None)
    if not callable(func) or name is None:
        raise InvalidDefinition(f"@{kind} marks a function, got {func!r}")
    if not any(name.startswith(prefix) and len(name) > len(prefix) for prefix in prefixes):
        wanted = " or ".join(f"{prefix}*" for prefix in prefixes)
        raise InvalidDefinition(
            f"{name} cannot be a {kind}: its name must be {wanted}   {location(func)}"
        )


def _marked(
    func: F,
    kind: Kind,
    timeout: Duration | None,
    fallback: Callable[..., Any] | None,
    *,
    arguments: int = 1,
    field: str | None = None,
) -> F:
    taken = [
        p
        for p in inspect.signature(func).parameters.values()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.name != "self"
    ]
    if len(taken) != arguments or _needs_keywords(func):
        wanted = "(event)" if arguments == 1 else "(user, service)"
        raise InvalidDefinition(
            f"{func.__name__} must take {wanted}, it is {func.__name__}"
            f"{inspect.signature(func)}   {location(func)}"
        )
    limit = None if timeout is None else seconds(timeout, "timeout")
    setattr(func, MARK, Handler(func.__name__, kind, func, limit, fallback, field))
    return func


def _needs_keywords(func: Any) -> bool:
    return any(
        p.kind is p.KEYWORD_ONLY and p.default is p.empty
        for p in inspect.signature(func).parameters.values()
    )


def handlers_in(source: Any) -> dict[str, Handler]:
    """The handlers of a module (or its name), an object, a map, or several of those; of two with
    one name the later counts. Raises `InvalidDefinition`."""
    if source is None:
        return {}
    found: dict[str, Handler] = {}
    if isinstance(source, str):
        found.update(_in_module(source))
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        for one in source:
            found.update(handlers_in(one))
    elif hasattr(source, MARK):
        handler: Handler = getattr(source, MARK)
        found[handler.name] = handler
    else:
        found.update(_among(source))
    return found


def _in_module(name: str) -> dict[str, Handler]:
    module = sys.modules.get(name)
    if module is None:
        raise InvalidDefinition(
            f'handlers="{name}" is not a module that has been imported',
            hint="write handlers=__name__ in the module of the handlers",
        )
    return _among(module)


def _among(source: Any) -> dict[str, Handler]:
    values: Iterable[Any]
    if isinstance(source, Mapping):
        values = source.values()
    elif isinstance(source, ModuleType):
        values = vars(source).values()
    else:
        values = [getattr(source, name) for name in dir(source) if not name.startswith("_")]
    found: dict[str, Handler] = {}
    for value in values:
        handler = getattr(value, MARK, None)
        if isinstance(handler, Handler):
            found[handler.name] = dataclasses.replace(handler, func=value)
    return found
