"""From state keys to the parameters of a step.

`inject_args` of Workflow Orchestrator, with its rules made exact: a parameter named `state` gets a
copy of everything, a few virtual names get facts about the instance, every other one gets
`state[name]` converted to its annotation. What cannot work is refused when the function is
decorated, not when it runs. Values are copies: changing an injected list changes nothing.
"""

from __future__ import annotations

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
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidDefinition,
    NoEngine,
    Rejected,
    ResourceNotFound,
)
from greenroom.definitions.resources import (
    Resource,
    Stored,
    class_for,
    family_of,
    id_in,
    loaded,
    mentions_resource,
    name_new,
)
from greenroom.definitions.values import Json, copy

VIRTUAL: Final = frozenset(
    {"run", "process_id", "reporter", "workflow_name", "workflow_target", "event", "ctx"}
)
"""Names that are given by the engine and never stored."""

State = dict[str, Any]

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_EMPTY: Final = inspect.Parameter.empty


class MissingState(Rejected, KeyError):
    """A step needs a key the state does not have. A `KeyError` too, as for any missing key."""


class StepInput(Rejected, ValueError):
    """A state value does not fit the annotation of a step's parameter. A `ValueError` too."""


class Wanted(msgspec.Struct, frozen=True):
    """What a parameter asks for that is annotated with a resource: one of these classes, a list of
    them (`many`), or None as well (`optional`)."""

    kinds: tuple[type[Resource], ...]
    many: bool = False
    optional: bool = False


class Parameter(msgspec.Struct, frozen=True):
    name: str
    annotation: Any
    default: Any
    convert: Callable[[Any], Any] | None
    """None: the raw JSON value, copied."""
    resource: Wanted | None = None

    @property
    def required(self) -> bool:
        if self.resource is not None and self.resource.optional:
            return False
        return self.default is _EMPTY


class Injector(msgspec.Struct, frozen=True):
    """How a function takes its arguments; made once, when it is decorated."""

    name: str
    parameters: tuple[Parameter, ...]
    positional_only: int
    open_keywords: bool
    where: str
    virtual: tuple[str, ...] = ()
    """The virtual names it asks for."""
    resources: bool = False
    """Whether it asks for resources: `arguments` is to be given those `resource_ids` names."""
    kind: Literal["step", "form", "workflow"] = "step"
    """What the function is, for messages: a workflow's arguments are its input."""

    def resource_ids(self, source: Mapping[str, Any]) -> list[str]:
        """Ids of the resources to be read before a call, each once. Raises `StepInput` for what
        is no id, and what `arguments` raises for a new resource that cannot be made."""
        found: dict[str, None] = {}
        for parameter in self.parameters:
            if parameter.resource is not None and source.get(parameter.name) is not None:
                found.update(dict.fromkeys(self._ids(parameter, source[parameter.name])))
        self._check_new(source)
        return list(found)

    def arguments(
        self,
        source: Mapping[str, Any],
        virtual: Mapping[str, Any],
        found: Mapping[str, Stored] | None = None,
        new_id: Callable[[str], uuid.UUID] | None = None,
    ) -> dict[str, Any]:
        """The keyword arguments for one call. Raises `MissingState` or `StepInput`.

        `found` are the resources of `resource_ids`, as far as the store has them: one that is
        missing raises `ResourceNotFound`. `new_id` gives the id of a new one, by parameter.
        """
        out: dict[str, Any] = {}
        if self.resources:
            self._check_new(source)
        for parameter in self.parameters:
            name = parameter.name
            if parameter.resource is not None:
                if name in source or parameter.default is _EMPTY:
                    out[name] = self._resource(parameter, source, found, new_id)
            elif name == "state" and "state" not in source:
                out[name] = copy(dict(source))
            elif name not in source and (name in VIRTUAL or name in virtual):
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
                f"{self._who}: {parameter.name} must be {_text(parameter.annotation)}, "
                f"the {self._source} has {_short(value)} ({error})",
                step=self.name,
                key=parameter.name,
            ) from None

    # -- resources -----------------------------------------------------------------------------

    def _ids(self, parameter: Parameter, value: Json) -> list[str]:
        """The ids a state value names for a parameter."""
        wanted = parameter.resource
        assert wanted is not None
        if wanted.many and not isinstance(value, list):
            raise self._no_id(parameter, value, "a list of ids")
        items = value if wanted.many else [value]
        ids = [id_in(item, wanted.kinds) for item in items]
        for item, id in zip(items, ids, strict=True):
            if id is None:
                raise self._no_id(parameter, item, "the id of a resource, or a dict that has it")
        return [str(id) for id in ids]

    def _no_id(self, parameter: Parameter, value: Json, what: str) -> StepInput:
        return StepInput(
            f"{self._who}: {parameter.name} must be {what}, the state has {_short(value)}",
            hint="keep a resource as its id, or as the dict that a step's result made of it",
            step=self.name,
            key=parameter.name,
        )

    def _check_new(self, source: Mapping[str, Any]) -> None:
        """A resource the state has no key for is made anew, of the one product the state names."""
        new = [p for p in self.parameters if self._is_new(p, source)]
        if not new:
            return
        if len(new) > 1:
            names = " and ".join(p.name for p in new)
            raise StepInput(
                f"{self._who} would make {names}: nobody can say which of them the product "
                f"{_short(source.get('product'))} is   {self.where}",
                hint="make one resource a step, or make them in the step and return them",
                step=self.name,
                keys=[p.name for p in new],
            )
        missing = [name for name in ("product", "customer_id") if name not in source]
        if missing:
            needs = " and ".join(f'"{name}"' for name in missing)
            has = ", ".join(sorted(source)) or "nothing"
            raise MissingState(
                f'{self._who} needs "{new[0].name}"; to make a new {_text(new[0].annotation)} '
                f"it needs {needs}, the state has: {has}   {self.where}",
                hint="pass the id of one that exists, or the product and customer of a new one",
                step=self.name,
                key=new[0].name,
                missing=missing,
            )

    def _is_new(self, parameter: Parameter, source: Mapping[str, Any]) -> bool:
        wanted = parameter.resource
        return (
            wanted is not None
            and not (wanted.many or wanted.optional)
            and parameter.default is _EMPTY
            and parameter.name not in source
        )

    def _resource(
        self,
        parameter: Parameter,
        source: Mapping[str, Any],
        found: Mapping[str, Stored] | None,
        new_id: Callable[[str], uuid.UUID] | None,
    ) -> Any:
        wanted = parameter.resource
        assert wanted is not None
        if parameter.name not in source:
            if wanted.optional:
                return None
            if wanted.many:
                raise self._missing(parameter, source)
            return self._made(parameter, wanted, source, new_id)
        value = source[parameter.name]
        if value is None and (wanted.optional or parameter.default is None):
            return None
        ids = self._ids(parameter, value)
        if found is None and ids:
            raise NoEngine(
                f"{self.name} takes {parameter.name} from the store, and there is no engine here",
                hint="run it as a step of a workflow",
            )
        objects = [self._loaded(parameter, wanted, id, found or {}) for id in ids]
        return objects if wanted.many else objects[0]

    def _loaded(
        self, parameter: Parameter, wanted: Wanted, id: str, found: Mapping[str, Stored]
    ) -> Resource:
        row = found.get(id)
        if row is None:
            raise ResourceNotFound(
                f"{self._who}: there is no resource {id} for {parameter.name}",
                hint="greenroom resource ls",
                step=self.name,
                key=parameter.name,
                resource=id,
            )
        kind = class_for(wanted.kinds, row)
        if kind is None:
            raise StepInput(
                f"{self._who}: {parameter.name} must be {_text(parameter.annotation)}, the "
                f"resource {id} is a {row.type} of product {row.product!r}, {row.status}",
                step=self.name,
                key=parameter.name,
                resource=id,
            )
        return loaded(kind, row)

    def _made(
        self,
        parameter: Parameter,
        wanted: Wanted,
        source: Mapping[str, Any],
        new_id: Callable[[str], uuid.UUID] | None,
    ) -> Resource:
        """A new resource, of the first class that has the product."""
        refused: Exception | None = None
        for kind in wanted.kinds:
            try:
                made: Any = kind.create(copy(dict(source)))
                if not isinstance(made, wanted.kinds):
                    raise TypeError(f"create() gave {_short(made)}")
            except Exception as error:  # an author's create may raise anything
                refused = refused or error
            else:
                if new_id is not None:
                    name_new(made, new_id(parameter.name))
                return made
        raise StepInput(
            f"{self._who}: a new {_text(parameter.annotation)} cannot be made for "
            f"{parameter.name}: {refused}",
            hint=refused.hint if isinstance(refused, GreenroomError) else None,
            step=self.name,
            key=parameter.name,
        ) from refused

    @property
    def _who(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def _source(self) -> str:
        return "input" if self.kind == "workflow" else "state"

    def _missing(self, parameter: Parameter, source: Mapping[str, Any]) -> MissingState:
        has = ", ".join(sorted(source)) or "nothing"
        needs = ", ".join(p.name for p in self.parameters)
        return MissingState(
            f'{self._who}({needs}) needs "{parameter.name}", the {self._source} has: {has}   '
            f"{self.where}",
            hint="pass it in the event or in start, or give the parameter a default"
            if self.kind == "workflow"
            else "pass it in the event, give the parameter a default, or return it from an earlier step",
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


def injector(
    func: Callable[..., Any],
    *,
    skip_first: bool = False,
    resources: bool = False,
    kind: Literal["step", "form", "workflow"] = "step",
) -> Injector:
    """Reads a signature. Raises `InvalidDefinition` for what can never be injected:
    `*args`, `**kwargs`, unresolvable or unsupported annotations; resources where nobody loads
    them (`resources` False: anything but a step)."""
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
                f"{name} takes {parameter}: every argument of a {kind} needs a name   {where}",
                hint="name the arguments that the input has"
                if kind == "workflow"
                else f"name the keys the {kind} reads, or take the whole `state`",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional_only += 1
        annotation = hints.get(parameter.name, _EMPTY)
        convert = wanted = None
        if parameter.name not in VIRTUAL and parameter.name != "state":
            what = f"{name}({parameter.name})"
            wanted = wanted_of(annotation, what, where, steps=resources)
            if wanted is None:
                convert = converter(annotation, what, where)
        parameters.append(Parameter(parameter.name, annotation, parameter.default, convert, wanted))
    virtual = tuple(p.name for p in parameters if p.name in VIRTUAL)
    return Injector(
        name,
        tuple(parameters),
        positional_only,
        False,
        where,
        virtual,
        any(p.resource is not None for p in parameters),
        kind,
    )


def wanted_of(annotation: Any, what: str, where: str, *, steps: bool) -> Wanted | None:
    """What an annotation with a resource in it asks for; None where there is none. Raises
    `InvalidDefinition` for anything but `Model`, `Optional`, `list` and unions of one family."""
    if not mentions_resource(annotation):
        if steps and annotation in (list[Any], typing.List[Any]):  # noqa: UP006
            raise InvalidDefinition(
                f"{what}: list[Any] says nothing about its items   {where}",
                hint="write `list` for any JSON list, or the class of its resources",
            )
        return None
    if not steps:
        raise InvalidDefinition(
            f"{what}: {_text(annotation)} is loaded for steps alone   {where}",
            hint="take the id here (UUID), and name the class in a step",
        )
    parts, optional = _alternatives(annotation)
    if len(parts) == 1 and get_origin(parts[0]) is list:
        inner, empty = _alternatives(*get_args(parts[0]))
        if not empty and all(_is_resource(part) for part in inner):
            return Wanted(_variants(inner, what, where), True, optional)
    elif all(_is_resource(part) for part in parts):
        return Wanted(_variants(parts, what, where), False, optional)
    raise InvalidDefinition(
        f"{what}: {_text(annotation)} cannot be loaded   {where}",
        hint="a resource, Optional of it, a list of it, or a union of variants of one class",
    )


def _alternatives(annotation: Any) -> tuple[list[Any], bool]:
    """The members of a union, and whether None is one of them."""
    parts = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = list(get_args(annotation))
    kept = [part for part in parts if part is not type(None)]
    return kept, len(kept) < len(parts)


def _is_resource(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, Resource)


def _variants(parts: list[Any], what: str, where: str) -> tuple[type[Resource], ...]:
    families = {family_of(part).__name__ for part in parts}
    if len({family_of(part) for part in parts}) > 1:
        raise InvalidDefinition(
            f"{what}: {' and '.join(sorted(families))} have nothing in common   {where}",
            hint="a union is for variants of one class; give each kind a parameter of its own",
        )
    return tuple(parts)


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
    inject = injector(func, resources=True)

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
    found.__injected__ = func  # type: ignore[attr-defined]
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
