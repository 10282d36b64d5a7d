"""Events as classes of the author: `send_event(UserActivated("bob"))`, `Wait(UserActivated)`.

An object becomes an event whose type is the name of its class and whose data are its public
attributes; the names of the classes it derives from travel along, so that whoever waits for a base
gets the events of its subclasses. On arrival a class that is known where it is needed gets its
object back, without calling `__init__`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from greenroom.definitions.events import Event
from greenroom.definitions.values import Json

BASES: Final = "bases"
"""The extension attribute with the names of the base classes, separated by spaces."""


def event_from_object(thing: Any, id: str = "") -> Event:
    """The event an object stands for."""
    cls = type(thing)
    data = {name: value for name, value in vars(thing).items() if not name.startswith("_")}
    bases = [base.__name__ for base in cls.__mro__[1:] if _is_theirs(base)]
    return Event(
        type=cls.__name__, id=id, data=data or None, extra={BASES: " ".join(bases)} if bases else {}
    )


def is_called(event: Mapping[str, Json], name: str) -> bool:
    """Whether an event has this type, or is of a class that derives from it."""
    if event.get("type") == name:
        return True
    bases = event.get(BASES)
    return isinstance(bases, str) and name in bases.split(" ")


def names_of(event: Mapping[str, Json]) -> list[str]:
    """All that an event `is_called`: its type, and the names of the classes its own derives from."""
    bases = event.get(BASES)
    own = event.get("type")
    names = [own] if isinstance(own, str) else []
    return [*names, *bases.split(" ")] if isinstance(bases, str) else names


def as_object(event: Event, cls: type) -> Any:
    """The event as an object of `cls`, or of the subclass it was sent as. What the class does not
    have itself is that of the event: `name`, `type`, `id`, `data`."""
    found = _named(cls, event.type)
    if not _is_plain(found):
        return event
    thing: Any = object.__new__(found)
    own = {"name": event.name, "type": event.type, "id": event.id, "data": event.data}
    vars(thing).update({name: value for name, value in own.items() if not hasattr(found, name)})
    if isinstance(event.data, dict):
        vars(thing).update(event.data)
    return thing


def as_known(event: Event, known: Mapping[str, Any]) -> Any:
    """The event as an object if `known` (the globals of its handler) has a class of its name."""
    bases = event.extra.get(BASES) if event.extra else None
    for name in (event.type, *(bases.split(" ") if isinstance(bases, str) else ())):
        cls = known.get(name)
        if isinstance(cls, type) and cls.__name__ == name and _is_plain(cls):
            return as_object(event, cls)
    return event


def _named(cls: type, name: str) -> type:
    if cls.__name__ == name:
        return cls
    waiting: list[type] = cls.__subclasses__()
    while waiting:
        found = waiting.pop()
        if found.__name__ == name:
            return found
        waiting += found.__subclasses__()
    return cls


def _is_theirs(base: type) -> bool:
    return base is not object and base.__module__.partition(".")[0] not in _OURS


def _is_plain(cls: type) -> bool:
    """Whether objects of it can be made from attributes alone."""
    if issubclass(cls, msgspec.Struct | BaseException) or cls.__module__ == "builtins":
        return False
    return cls.__new__ is object.__new__ and cls.__dictoffset__ != 0


_OURS: Final = frozenset({"abc", "builtins", "greenroom", "msgspec", "typing"})
