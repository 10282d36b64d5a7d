"""The event a handler is given: what happened in a flow, to whose request, and by whom.

It is frozen: a handler steers by what it returns. `event.user` is whoever asked, on every event of
the request; `event.actor` is whoever did this.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct

from greenroom.definitions.people import User, user_named
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, copy


class FlowTarget(Struct, frozen=True, omit_defaults=True):
    """What access is asked for: a resource the flow was given. `settings` are the author's."""

    name: str
    label: str = ""
    type: str = ""
    settings: dict[str, Json] = {}

    def __str__(self) -> str:
        return self.label or self.name


class Fields(Mapping[str, Any]):
    """The values of a request by field; `target` is a `FlowTarget`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            has = ", ".join(sorted(self._values)) or "none"
            raise KeyError(
                f'the request has no field "{name}"{did_you_mean(str(name), self._values)} '
                f"(its fields are: {has})"
            ) from None

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Fields({self._values!r})"


class Frozen:
    """Attributes that cannot be set."""

    __slots__ = ("_values",)
    _what = "part"

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "_values", MappingProxyType(values))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(
                f"the {self._what} of an event has no {name!r}{did_you_mean(name, self._values)}"
            ) from None

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"the {self._what} of an event cannot be changed: return a transition")

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"<{self._what} {inner}>"


class Payload(Frozen):
    """`fields`, `timestamp`, `user`, and what the event was fired with: `reason`, `duration`."""

    __slots__ = ()
    _what = "payload"

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)


class FlowFacts(Frozen):
    """`event.flow`: `name`, `vars` and the names of its `fields`."""

    __slots__ = ()
    _what = "flow"


class RunFacts(Frozen):
    """`event.run`: `id`, `actors` by event, `contexts`, and the `source_channel`."""

    __slots__ = ()
    _what = "run"


class Channel(Struct, frozen=True):
    """Where an event came from. `type` is `"engine"` for those the flow fires itself."""

    type: str
    identifier: str | None = None


class FlowEvent(Frozen):
    """`name payload user actor meta flow run channel`."""

    __slots__ = ()
    _what = "event"

    def get_actor(self, name: str) -> User | None:
        """Whoever fired the last event with this name in this request; None before there was one."""
        found: User | None = self.run.actors.get(name)
        return found

    def get_context(self, name: str) -> Any:
        """What the flow knows of an event: of `request_forward`, its `all`, `current`, `next`."""
        return self.run.contexts.get(name)

    def get_step_output(self, name: str = "escalate") -> Json:
        """What a strategy has returned."""
        return copy(self.run.outputs.get(name))


HANDLED: Final[ContextVar[FlowEvent | None]] = ContextVar("greenroom_flow_event", default=None)
"""The event that a handler of this context was called for."""


class Facts(Struct, frozen=True, omit_defaults=True):
    """An event as the journal keeps it: the arguments of a handler's op."""

    name: str
    user: str
    actor: str
    at: int
    """Milliseconds since 1970."""
    run: str
    fields: dict[str, Json] = {}
    target: str | None = None
    duration: float | None = None
    values: dict[str, Json] = {}
    channel: tuple[str, str | None] = ("engine", None)
    source: tuple[str, str | None] = ("api", None)
    actors: dict[str, str] = {}
    contexts: dict[str, Json] = {}
    outputs: dict[str, Json] = {}


def event_from(
    facts: Facts,
    flow: str,
    vars: Mapping[str, Json],
    targets: Mapping[str, FlowTarget],
    field_names: tuple[str, ...],
    known: Mapping[str, Mapping[str, Any]],
) -> FlowEvent:
    """The object a handler is given."""
    fields = dict(copy(facts.fields))
    if facts.target is not None:
        fields["target"] = targets.get(facts.target) or FlowTarget(facts.target)
    if facts.duration is not None:
        fields.setdefault("duration", datetime.timedelta(seconds=facts.duration))
    user = user_named(facts.user, known)
    when = datetime.datetime.fromtimestamp(facts.at / 1000, datetime.UTC)
    values = {"reason": None, "duration": fields.get("duration"), **copy(facts.values)}
    payload = {**values, "fields": Fields(fields), "timestamp": when, "user": user}
    return FlowEvent(
        name=facts.name,
        payload=Payload(**payload),
        user=user,
        actor=user_named(facts.actor, known),
        meta=MappingProxyType({"instance": facts.run, "at": when.isoformat()}),
        flow=FlowFacts(name=flow, vars=MappingProxyType(dict(copy(vars))), fields=field_names),
        run=RunFacts(
            id=facts.run,
            actors={name: user_named(actor, known) for name, actor in facts.actors.items()},
            contexts=copy(facts.contexts),
            outputs=copy(facts.outputs),
            source_channel=Channel(*facts.source),
        ),
        channel=Channel(*facts.channel),
    )


def facts_from(data: Json) -> Facts:
    return msgspec.convert(data, Facts)
