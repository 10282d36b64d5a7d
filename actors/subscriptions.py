"""Which triggers want an event: an index in memory, by type and by the values of equality paths.

A trigger with equality paths is found by one look-up; the others of its type are asked one by
one. The whole condition is always asked again. (Waits are matched in the store, by the same keys.)
"""

from __future__ import annotations

from typing import Any

from greenroom.definitions.matching import event_keys, keys_overflow
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Trigger

Found = tuple[Definition, Trigger]


class TriggerIndex:
    def __init__(self) -> None:
        self._types: dict[
            tuple[str, str], dict[tuple[str, ...], dict[tuple[Any, ...], list[Found]]]
        ] = {}
        self._names: dict[tuple[str, str], list[Found]] = {}

    def add(self, namespace: str, definition: Definition) -> None:
        """Adds the triggers of a definition, in place of those it had before."""
        self.remove(namespace, definition.name)
        found = [(definition, t) for t in definition.triggers if t.type is not None]
        self._names[namespace, definition.name] = found
        for item in found:
            trigger = item[1]
            paths = trigger.where.paths
            shapes = self._types.setdefault((namespace, str(trigger.type)), {})
            keys = shapes.setdefault(paths, {})
            keys.setdefault(_typed(trigger.where.values), []).append(item)

    def remove(self, namespace: str, name: str) -> None:
        for definition, trigger in self._names.pop((namespace, name), ()):
            shapes = self._types[namespace, str(trigger.type)]
            keys = shapes[trigger.where.paths]
            items = keys[_typed(trigger.where.values)]
            items[:] = [item for item in items if item[0] is not definition]
            if not items:
                del keys[_typed(trigger.where.values)]
            if not keys:
                del shapes[trigger.where.paths]

    def types(self) -> set[str]:
        return {type for (_, type), shapes in self._types.items() if shapes}

    def listens(self, namespace: str, type: str) -> bool:
        return bool(self._types.get((namespace, type)))

    def matching(self, namespace: str, type: str, event: dict[str, Json]) -> list[Found]:
        """The triggers that want the event, in the order of workflow names."""
        shapes = self._types.get((namespace, type))
        if not shapes:
            return []
        found: list[Found] = []
        for paths, keys in shapes.items():
            if keys_overflow(event, paths):  # too many to name: each is asked
                wanted = [item for items in keys.values() for item in items]
            else:
                wanted = [
                    item
                    for values in event_keys(event, paths)
                    for item in keys.get(_typed(values), ())
                ]
            for item in wanted:
                if item not in found and item[1].where.matches(event):
                    found.append(item)
        found.sort(key=lambda item: item[0].name)
        return found

    def listening(self, namespace: str, type: str) -> list[Found]:
        """All triggers on a type, whether they match or not."""
        shapes = self._types.get((namespace, type), {})
        return [item for keys in shapes.values() for items in keys.values() for item in items]


def _typed(values: tuple[Json, ...]) -> tuple[Any, ...]:
    """`1`, `1.0` and `true` are one key to Python and must not be."""
    return tuple((isinstance(value, bool), value) for value in values)
