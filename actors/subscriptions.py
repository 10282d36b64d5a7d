"""Which triggers want an event: an index in memory.

First by type, then by *shape* and key: the paths whose values a trigger names (equal to one, or
one of a few), then by prefix or range in the bucket of a key. So what is asked grows with what can
match, not with what is there. The whole condition is always asked again. (Waits are matched in the
store, by the same keys.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenroom.actors.buckets import Bucket
from greenroom.definitions.matching import event_keys, keys_overflow
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Trigger

Found = tuple[Definition, Trigger]
Shapes = dict[tuple[str, ...], dict[tuple[Any, ...], Bucket[Found]]]


class TriggerIndex:
    def __init__(self) -> None:
        self._types: dict[tuple[str, str], Shapes] = {}
        self._names: dict[tuple[str, str], list[Found]] = {}
        self.changed: Callable[[str, str, Definition | None], None] = lambda *_: None
        """Told of each change: namespace, name, and what is listened to now."""

    def add(self, namespace: str, definition: Definition) -> None:
        """Adds the triggers of a definition, in place of those it had before."""
        self._remove(namespace, definition.name)
        found = [(definition, t) for t in definition.triggers if t.type is not None]
        self._names[namespace, definition.name] = found
        for item in found:
            where = item[1].where
            shapes = self._types.setdefault((namespace, str(item[1].type)), {})
            keys = shapes.setdefault(where.paths, {})
            for key in where.keys:
                keys.setdefault(_typed(key), Bucket()).add(where, item)
        self.changed(namespace, definition.name, definition)

    def remove(self, namespace: str, name: str) -> None:
        self._remove(namespace, name)
        self.changed(namespace, name, None)

    def _remove(self, namespace: str, name: str) -> None:
        for item in self._names.pop((namespace, name), ()):
            where = item[1].where
            shapes = self._types[namespace, str(item[1].type)]
            keys = shapes[where.paths]
            for key in map(_typed, where.keys):
                keys[key].remove(item)
                if not keys[key]:
                    del keys[key]
            if not keys:
                del shapes[where.paths]

    def types(self) -> set[str]:
        return {type for (_, type), shapes in self._types.items() if shapes}

    def listens(self, namespace: str, type: str) -> bool:
        return bool(self._types.get((namespace, type)))

    def matching(self, namespace: str, type: str, event: dict[str, Json]) -> list[Found]:
        """The triggers that want the event, in the order of workflow names."""
        shapes = self._types.get((namespace, type))
        if not shapes:
            return []
        seen: set[int] = set()
        found: list[Found] = []
        for item in self._asked(shapes, event):
            if id(item) not in seen:
                seen.add(id(item))
                if item[1].where.matches(event):
                    found.append(item)
        found.sort(key=lambda item: item[0].name)
        return found

    def _asked(self, shapes: Shapes, event: dict[str, Json]) -> Iterator[Found]:
        for paths, keys in shapes.items():
            if keys_overflow(event, paths):  # too many to name: each is asked
                for bucket in keys.values():
                    yield from bucket
                continue
            for values in event_keys(event, paths):
                bucket_ = keys.get(_typed(values))
                if bucket_ is not None:
                    yield from bucket_.asked(event)

    def listening(self, namespace: str, type: str) -> list[Found]:
        """All triggers on a type, whether they match or not."""
        shapes = self._types.get((namespace, type), {})
        found = {
            id(item): item
            for keys in shapes.values()
            for bucket in keys.values()
            for item in bucket
        }
        return list(found.values())


def _typed(values: tuple[Json, ...]) -> tuple[Any, ...]:
    """`1`, `1.0` and `true` are one key to Python and must not be."""
    return tuple((isinstance(value, bool), value) for value in values)
