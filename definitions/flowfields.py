"""What a request asks for: its fields, its target and its duration, as one page.

The same page checks an answer to the prompt and the input of a direct start, so an unknown target
or a missing field is refused with an error of that field before anything exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Struct

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import GreenroomError, InvalidDefinition
from greenroom.definitions.fields import Check, Choice, LongText
from greenroom.definitions.flowevents import FlowTarget
from greenroom.definitions.pages import FormPage, invalid
from greenroom.definitions.values import Json

TARGET: Final = "target"
DURATION: Final = "duration"
RESERVED: Final = frozenset({TARGET, DURATION, "user"})

_TYPES: Final[dict[str, Any]] = {
    "text": str, "long": LongText, "integer": int, "number": float, "boolean": bool,
    "list": list[str],
}  # fmt: skip


class FlowField(Struct, frozen=True, omit_defaults=True):
    """One field of a request: `FlowField("urgency", options=["Low", "High"])`.

    `type` is `text`, `long`, `integer`, `number`, `boolean` or `list`. `options` are values or
    `(value, label)`; a `@prefetch` of the field gives them while the request is written.
    """

    name: str
    type: str = "text"
    label: str = ""
    options: Sequence[Any] = ()
    required: bool = True
    default: Json = None


def field_of(given: Any) -> FlowField:
    """A field from its name, a map or a `FlowField`. Raises `InvalidDefinition`."""
    try:
        field = (
            given
            if isinstance(given, FlowField)
            else FlowField(given)
            if isinstance(given, str)
            else FlowField(**given)
        )
    except TypeError as error:
        raise InvalidDefinition(f"a field is a name, a map or a FlowField: {error}") from None
    if not field.name.isidentifier() or field.name in RESERVED or field.name.startswith("_"):
        raise InvalidDefinition(
            f"{field.name!r} cannot be the name of a field",
            hint="target, duration and user are there already" if field.name in RESERVED else None,
        )
    if field.type not in _TYPES:
        raise InvalidDefinition(
            f"the field {field.name} has the type {field.type!r}, it can be {', '.join(_TYPES)}"
        )
    return field


def target_of(given: Any) -> FlowTarget:
    """A target from its name, a map or a `FlowTarget`. Raises `InvalidDefinition`."""
    try:
        target = (
            given
            if isinstance(given, FlowTarget)
            else FlowTarget(given)
            if isinstance(given, str)
            else FlowTarget(**given)
        )
    except TypeError as error:
        raise InvalidDefinition(f"a target is a name, a map or a FlowTarget: {error}") from None
    if not isinstance(target.name, str) or not target.name:
        raise InvalidDefinition(f"a target needs a name, got {target.name!r}")
    return target


class Form:
    """The page of a flow's requests."""

    def __init__(
        self,
        title: str,
        fields: Iterable[FlowField],
        targets: Mapping[str, FlowTarget],
        durations: Sequence[float] | None,
        longest: float | None,
    ) -> None:
        self.title = title
        self.fields = tuple(fields)
        self.targets = targets
        self.durations = durations
        """Seconds to choose from; None for any."""
        self.longest = longest

    @property
    def asks(self) -> bool:
        """Whether there is anything that has to be asked."""
        return len(self.targets) > 1 or any(field.required for field in self.fields)

    def page(self, options: Mapping[str, Sequence[Any]], open_fields: frozenset[str]) -> Any:
        """The page class; `options` are prefetched ones by field, `open_fields` those whose
        options nobody knows now: there any value will do."""
        annotations: dict[str, Any] = {}
        namespace: dict[str, Any] = {
            "__module__": __name__, "model_config": {"title": self.title},
        }  # fmt: skip
        if self.targets:
            shown = [(target.name, str(target)) for target in self.targets.values()]
            annotations[TARGET] = _choice(TARGET, shown)
            if len(shown) == 1:
                namespace[TARGET] = shown[0][0]
        for field in self.fields:
            given = options.get(field.name, field.options)
            annotation: Any = _TYPES[field.type]
            if given and field.name not in open_fields:
                annotation = _choice(field.name, [_option(one) for one in given])
                annotation = list[annotation] if field.type == "list" else annotation
            elif field.type == "text" and field.required:
                annotation = Annotated[str, msgspec.Meta(min_length=1)]
            if field.label:
                annotation = Annotated[annotation, msgspec.Meta(title=field.label)]
            if not field.required:
                namespace[field.name] = field.default
                annotation = annotation | None if field.default is None else annotation
            annotations[field.name] = annotation
        annotations[DURATION] = Annotated[str, Check(self._duration)] | None
        namespace[DURATION] = None
        return type("Request", (FormPage,), {**namespace, "__annotations__": annotations})

    def read(self, data: Mapping[str, Json], open_fields: frozenset[str]) -> dict[str, Json]:
        """The values of a request. Raises `FormInvalid` with every error."""
        values = dict(data)
        length = values.get(DURATION)
        if isinstance(length, int | float) and not isinstance(length, bool):
            values[DURATION] = f"{length:g}s"
        page = self.page({}, open_fields).__page__
        made, errors = page.read(values)
        if errors:
            raise invalid(self.title, errors)
        found: dict[str, Json] = msgspec.to_builtins(page.dump(made))
        return found

    def _duration(self, text: str) -> str:
        try:
            length = seconds(text, DURATION)
        except GreenroomError as error:
            raise ValueError(error.message) from None
        if not length > 0:
            raise ValueError("must be longer than 0")
        if self.durations is not None and length not in self.durations:
            raise ValueError(f"must be one of {', '.join(f'{one:g} s' for one in self.durations)}")
        if self.longest is not None and length > self.longest:
            raise ValueError(f"must be at most {self.longest:g} s")
        return text


def length_of(text: Json) -> float | None:
    """A duration that was checked, in seconds."""
    return None if text is None else seconds(text, DURATION)


def options_of(given: Any, slot: str) -> list[list[str]]:
    """What a prefetch gave: values and labels. Raises TypeError."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{slot} must give a list of options, got {type(given).__name__}")
    return [list(_option(one)) for one in given]


def _option(given: Any) -> tuple[str, str]:
    if isinstance(given, Mapping):
        given = (given.get("value"), given.get("label") or given.get("value"))
    if isinstance(given, str):
        return given, given
    if (
        isinstance(given, list | tuple)
        and len(given) == 2
        and all(isinstance(s, str) for s in given)
    ):
        return given[0], given[1]
    raise TypeError(f"an option is a text or (value, label), got {given!r}")


def _choice(name: str, options: Sequence[tuple[str, str]]) -> Any:
    members = [(f"option_{place}", option) for place, option in enumerate(options)]
    made: Any = Choice
    return made(name.title(), members)
