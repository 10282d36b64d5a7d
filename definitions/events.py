"""An event: a typed message from anywhere, with CloudEvents 1.0 attribute names."""

from __future__ import annotations

import datetime
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import InvalidEvent
from greenroom.definitions.values import Json, encode

MOVE: Final = "greenroom.stage.move"
"""The event that moves a run of a stage graph along a transition, as a person on the board does. That
a run listens to it is nobody's to wait for: no list shows it."""
NAME_MAX: Final = 256
HOPS_MAX: Final = 32
TICK_TYPE: Final = "greenroom.schedule"
"""Type of the event a schedule makes at each nominal time."""

OWN_SOURCES: Final = ("/instances/", "/schedules/", "/workflows/")
"""How the sources of events begin that the engine makes. Their ids follow from what makes them, so
whoever could post one with such an id beforehand could keep the real one from happening."""

Scalar = str | int | float | bool | None


class EventObject:
    """What an event as a class of its author derives from: `class UserActivated(Event)`."""


class _EventMeta(type(msgspec.Struct)):  # type: ignore[misc]
    """An `Event` that is derived from is a plain class: it has an `__init__` and attributes of its
    own, and its name is the type."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], **options: Any
    ) -> Any:
        if not any(isinstance(base, _EventMeta) for base in bases):
            return super().__new__(mcs, name, bases, body, **options)
        plain = (EventObject if isinstance(base, _EventMeta) else base for base in bases)
        return type(name, tuple(dict.fromkeys(plain)), body)


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, metaclass=_EventMeta):
    """`type` is required; `id` and `time` are given by the engine when absent.

    `data` is any JSON value. `extra` holds CloudEvents extension attributes: lower-case names
    with scalar values. `time` is RFC 3339 text.
    """

    type: str
    id: str = ""
    source: str = ""
    subject: str | None = None
    time: str | None = None
    data: Json = None
    datacontenttype: str | None = None
    extra: dict[str, Scalar] = {}

    @property
    def name(self) -> str:
        """Another name for `type`, as in `on_event(self, event)`."""
        return self.type

    def as_data(self) -> dict[str, Any]:
        """The event as expressions see it: CloudEvents attributes, absent ones left out."""
        out: dict[str, Any] = {"type": self.type, "id": self.id, "source": self.source}
        if self.subject is not None:
            out["subject"] = self.subject
        if self.time is not None:
            out["time"] = self.time
        if self.datacontenttype is not None:
            out["datacontenttype"] = self.datacontenttype
        out["data"] = self.data
        if self.extra:
            out.update(self.extra)
        return out


ATTRIBUTES: Final = frozenset({"type", "id", "source", "subject", "time", "data"})
_STANDARD: Final = ATTRIBUTES | {"specversion", "datacontenttype"}
_MEANT: Final = {
    "payload": "data", "body": "data", "value": "data", "name": "type", "event": "type",
    "event_type": "type", "timestamp": "time", "at": "time", "key": "subject",
}  # fmt: skip


_BLANK: Final = Event(type="")
"""What an event is made from: a call of the class takes six times as long, through its metaclass."""


def event_from(data: Any) -> Event:
    """An event from a decoded JSON object. Raises `InvalidEvent` with the path and the mend."""
    if not isinstance(data, dict):
        type_ = data if isinstance(data, str) and 0 < len(data) <= NAME_MAX else "order.created"
        raise InvalidEvent(
            f"an event must be an object, got {type(data).__name__}",
            hint=f"at least its type:  {encode({'type': type_}).decode()}",
            path="$",
        )
    kind = data.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidEvent("type must be a non-empty string", path="$.type")
    extra: dict[str, Scalar] = {}
    for key, value in data.items():
        if key in _STANDARD:
            continue
        if key in _MEANT:
            raise InvalidEvent(
                f'unknown key "{key}"; did you mean "{_MEANT[key]}"?', path=f"$.{key}"
            )
        if not (key.isascii() and key.isalnum() and key == key.lower()):
            raise InvalidEvent(
                f'unknown key "{key}"; other attributes must be lower-case letters and digits',
                path=f"$.{key}",
            )
        if not isinstance(value, str | int | float | bool | None):
            raise InvalidEvent(
                f'the attribute "{key}" must be a scalar; put structures into data',
                path=f"$.{key}",
            )
        extra[key] = value
    for key in ("id", "source", "subject", "time", "datacontenttype"):
        value = data.get(key)
        if value is not None and not isinstance(value, str):
            raise InvalidEvent(f"{key} must be a string", path=f"$.{key}")
    for key in ("type", "id", "source", "subject"):
        if len(data.get(key) or "") > NAME_MAX:
            raise InvalidEvent(f"{key} is longer than {NAME_MAX} characters", path=f"$.{key}")
    _check_time(data.get("time"))
    return msgspec.structs.replace(
        _BLANK,
        type=kind,
        id=data.get("id") or "",
        source=data.get("source") or "",
        subject=data.get("subject"),
        time=data.get("time"),
        data=data.get("data"),
        datacontenttype=data.get("datacontenttype"),
        extra=extra,
    )


def check_event(event: Event) -> Event:
    """The same rules for an event made in Python."""
    if not isinstance(event.type, str) or not event.type:
        raise InvalidEvent("type must be a non-empty string", path="$.type")
    for key in ("type", "id", "source", "subject"):
        value = getattr(event, key)
        if value is not None and not isinstance(value, str):
            raise InvalidEvent(f"{key} must be a string", path=f"$.{key}")
        if value and len(value) > NAME_MAX:
            raise InvalidEvent(f"{key} is longer than {NAME_MAX} characters", path=f"$.{key}")
    _check_time(event.time)
    return event


def check_posted(event: Event) -> None:
    """What is posted has no place among the events of the engine. Raises `InvalidEvent`."""
    if event.id and event.source.startswith(OWN_SOURCES):
        raise InvalidEvent(
            f'the source "{event.source[:80]}" is of events the engine makes itself',
            hint="give another source, or no id",
            path="$.source",
        )


def _check_time(time: str | None) -> None:
    if time is not None:
        try:
            datetime.datetime.fromisoformat(time)
        except ValueError:
            raise InvalidEvent(
                f"time must be RFC 3339 text such as 2026-11-23T12:00:00Z, got {time!r}",
                path="$.time",
            ) from None
