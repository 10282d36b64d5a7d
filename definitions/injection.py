"""From state keys to the parameters of a step.

`inject_args` of Workflow Orchestrator, with its rules made exact: a parameter named `state` gets a
copy of everything, a few virtual names get facts about the instance, every other one gets
`state[name]` converted to its annotation. What cannot work is refused when the function is
decorated, not when it runs. Values are copies: changing an injected list changes nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import functools
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from greenroom.definitions.errors import InvalidDefinition, Rejected
from greenroom.definitions.values import Json, copy

VIRTUAL: Final = frozenset(
    {"run", "process_id", "reporter", "workflow_name", "workflow_target", "event", "ctx"}
)
"""Names that are given by the engine and never stored."""

State = dict[str, Any]

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_EMPTY: Final = inspect.Parameter.empty


class MissingState(Rejected):
    """A step needs a key the state does not have."""


class StepInput(Rejected):
    """A state value does not fit the annotation of a step's parameter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    annotation: Any
    default: Any
    convert: Callable[[Any], Any] | None
    """None: the raw JSON value, copied."""

    @property
    def required(self) -> bool:
        return self.default is _EMPTY


@dataclasses.dataclass(frozen=True, slots=True)
class Injector:
    """How a function takes its arguments; made once, when it is decorated."""

    name: str
    parameters: tuple[Parameter, ...]
    positional_only: int
    open_keywords: bool
    where: str
    virtual: tuple[str, ...] = ()
    """The virtual names it asks for."""

    def arguments(self, source: Mapping[str, Any], virtual: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments for one call. Raises `MissingState` or `StepInput`."""
        out: dict[str, Any] = {}
        for parameter in self.parameters:
            name = parameter.name
            if name == "state" and "state" not in source:
                out[name] = copy(dict(source))
            elif name in VIRTUAL and name not in source:
                out[name] = virtual.get(name)
            elif name in source:
                out[name] = self._value(parameter, source[name])
            elif parameter.default is not _EMPTY:
                continue
            else:
                raise self._missing(parameter, source)
        return out

    def _value(self, parameter: Parameter, value: Json) -> Any:
        if value is None and parameter.default is None:
            return None
        if parameter.convert is None:
            return copy(value)
        try:
            return parameter.convert(value)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise StepInput(
                f"step {self.name}: {parameter.name} must be {_text(parameter.annotation)}, "
                f"the state has {_short(value)} ({error})",
                step=self.name,
                key=parameter.name,
            ) from None

    def _missing(self, parameter: Parameter, source: Mapping[str, Any]) -> MissingState:
        has = ", ".join(sorted(source)) or "nothing"
        needs = ", ".join(p.name for p in self.parameters)
        return MissingState(
            f'step {self.name}({needs}) needs "{parameter.name}", the state has: {has}   {self.where}',
            hint="pass it in the event, give the parameter a default, or return it from an earlier step",
            step=self.name,
            key=parameter.name,
        )

    def call(self, func: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Calls `func` by keyword; only positional-only parameters go by position."""
        if not self.positional_only:
            return func(**arguments)
        rest = dict(arguments)
        head = [rest.pop(p.name) for p in self.parameters[: self.positional_only] if p.name in rest]
        return func(*head, **rest)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of a direct call, by name. Raises TypeError as Python would."""
        if len(args) > len(self.parameters):
            raise TypeError(
                f"{self.name}() takes {len(self.parameters)} arguments but {len(args)} were given"
            )
        out = {p.name: value for p, value in zip(self.parameters, args, strict=False)}
        for name, value in kwargs.items():
            if name in out:
                raise TypeError(f"{self.name}() got multiple values for argument '{name}'")
            out[name] = value
        known = {p.name for p in self.parameters}
        if not self.open_keywords and not out.keys() <= known:
            extra = min(out.keys() - known)
            raise TypeError(f"{self.name}() got an unexpected keyword argument '{extra}'")
        missing = [
            p.name
            for p in self.parameters
            if p.required and p.name not in out and p.name not in VIRTUAL
        ]
        if missing:
            raise TypeError(f"{self.name}() is missing the argument '{missing[0]}'")
        return out


def location(func: Any) -> str:
    """`file.py:12` of a function or class, for messages."""
    target = inspect.unwrap(func) if callable(func) else func
    code = getattr(target, "__code__", None)
    if code is not None:
        return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"
    try:
        _, line = inspect.getsourcelines(target)
        file = inspect.getsourcefile(target) or "?"
    except (OSError, TypeError):
        return getattr(target, "__module__", "?")
    return f"{file.rsplit('/', 1)[-1]}:{line}"


def injector(func: Callable[..., Any], *, skip_first: bool = False) -> Injector:
    """Reads a signature. Raises `InvalidDefinition` for what can never be injected:
    `*args`, `**kwargs`, unresolvable or unsupported annotations."""
    name = getattr(func, "__qualname__", repr(func)).rsplit(".", 1)[-1]
    where = location(func)
    signature = inspect.signature(func)
    hints = _hints(func, name, where)
    parameters: list[Parameter] = []
    positional_only = 0
    for index, parameter in enumerate(signature.parameters.values()):
        if skip_first and index == 0:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidDefinition(
                f"{name} takes {parameter}: every argument of a step needs a name   {where}",
                hint="name the keys the step reads, or take the whole `state`",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional_only += 1
        annotation = hints.get(parameter.name, _EMPTY)
        convert = None
        if parameter.name not in VIRTUAL and parameter.name != "state":
            convert = converter(annotation, f"{name}({parameter.name})", where)
        parameters.append(Parameter(parameter.name, annotation, parameter.default, convert))
    virtual = tuple(p.name for p in parameters if p.name in VIRTUAL)
    return Injector(name, tuple(parameters), positional_only, False, where, virtual)


def _hints(func: Callable[..., Any], name: str, where: str) -> dict[str, Any]:
    raw = inspect.get_annotations(func)
    if not any(isinstance(value, str) for value in raw.values()):
        return raw
    try:
        return typing.get_type_hints(func, localns=_closure(func), include_extras=True)
    except Exception as error:
        if getattr(func, "__module__", "") and set(raw) <= {"return", "self"}:
            return {}
        raise InvalidDefinition(
            f"{name}: its annotations cannot be resolved ({error})   {where}",
            hint="types of function-local classes need real annotations: leave out "
            "`from __future__ import annotations` there",
        ) from None


def _closure(func: Callable[..., Any]) -> dict[str, Any]:
    """The local names around a function, those that have a value already."""
    code = getattr(func, "__code__", None)
    found: dict[str, Any] = {}
    for name, cell in zip(code.co_freevars, func.__closure__ or (), strict=True) if code else ():
        with suppress(ValueError):  # the cell is still empty: assigned further down
            found[name] = cell.cell_contents
    return found


def converter(annotation: Any, what: str, where: str) -> Callable[[Any], Any] | None:
    """A function from a JSON value to the annotated type; None where nothing is to be done."""
    if annotation in (_EMPTY, Any, object, dict, list) or annotation is typing.Dict:  # noqa: UP006
        return _checked(annotation) if annotation in (dict, list) else None
    if annotation in _SCALARS:
        return _scalar(annotation)
    _refuse_unsupported(annotation, what, where)
    hook = _pydantic_hook if _mentions_pydantic(annotation) else None

    def convert(value: Any) -> Any:
        return msgspec.convert(value, annotation, strict=True, dec_hook=hook)

    return convert


def _checked(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return copy(value)

    return check


def _scalar(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")

    return check


def _pydantic_hook(kind: type, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        raise TypeError(f"{kind.__name__} is not supported")
    return validate(value)


def _mentions_pydantic(annotation: Any) -> bool:
    if get_args(annotation):
        return any(_mentions_pydantic(item) for item in get_args(annotation))
    return hasattr(annotation, "model_validate")


_KNOWN: Final = (
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID,
    decimal.Decimal, bytes,
)  # fmt: skip


def _refuse_unsupported(annotation: Any, what: str, where: str) -> None:
    """msgspec checks most types at first use; we ask it now, with a value of no type."""
    if isinstance(annotation, type) and (
        annotation in _KNOWN
        or issubclass(annotation, Enum)
        or hasattr(annotation, "model_validate")
    ):
        return
    if get_origin(annotation) in (Union, types.UnionType):
        texts = [a for a in get_args(annotation) if a in (str, *_KNOWN)]
        if len(texts) > 1:
            raise _unsupported(annotation, what, where, "all of them are text in JSON")
    try:
        msgspec.json.schema(annotation, schema_hook=_schema_hook)
    except Exception as error:
        raise _unsupported(annotation, what, where, str(error).split("\n")[0]) from None


def _schema_hook(kind: type) -> dict[str, Any]:
    if hasattr(kind, "model_validate"):
        return {"type": "object"}
    raise TypeError(f"type {kind.__name__} is not supported")


def _unsupported(annotation: Any, what: str, where: str, why: str) -> InvalidDefinition:
    return InvalidDefinition(
        f"{what}: {_text(annotation)} cannot be made from a stored value ({why})   {where}",
        hint="use a JSON type, UUID, date, Decimal, Enum, Literal, dataclass, TypedDict or Struct",
    )


def inject_args(func: Callable[..., Any]) -> Callable[[State], Any]:
    """A function of the whole state from one that names the keys it reads.

    The function that comes back gives the state merged with what `func` returned (an awaitable of
    it for a coroutine function). Steps do this by themselves.
    """
    inject = injector(func)

    def merged(state: Mapping[str, Any], new: Any) -> State:
        if new is not None and not isinstance(new, dict):
            raise TypeError(f"{inject.name} must return a dict or None, got {type(new).__name__}")
        return {**state, **(new or {})}

    if inspect.iscoroutinefunction(func):

        async def with_state(state: State) -> State:
            return merged(state, await inject.call(func, inject.arguments(state, {})))

        found: Callable[[State], Any] = with_state
    else:

        def with_state_now(state: State) -> State:
            return merged(state, inject.call(func, inject.arguments(state, {})))

        found = with_state_now
    functools.update_wrapper(found, func)
    found.__annotations__ = {"state": State, "return": State}
    parameter = inspect.Parameter(
        "state", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=State
    )
    found.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    return found


def _text(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
