"""A state that is no object, in an instance whose state is one.

The state a document sees is any JSON value. One that is not an object lies in the state of its
instance under `::`, a key that no document can name; inside an iterator the item is the state, and
lies under a name of its depth.
"""

from __future__ import annotations

from typing import Final

import msgspec

from greenroom.definitions.transforms import Effect, apply_effect
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Change

ROOT: Final = "::"


def wrapped(value: Json) -> dict[str, Json]:
    """A value as the state of an instance; nothing is an empty state."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {ROOT: value}


def unwrapped(state: dict[str, Json]) -> Json:
    """The state of an instance as its document sees it."""
    return state[ROOT] if set(state) == {ROOT} else state


class Scope(msgspec.Struct, frozen=True):
    """How deep in iterators an action stands: at 0 it sees the state, inside an iterator the item,
    which lies under a name of that depth."""

    depth: int = 0

    @property
    def name(self) -> str:
        return f"{ROOT}{self.depth}"

    @property
    def item(self) -> str:
        return f"{ROOT}in{self.depth}"

    @property
    def index(self) -> str:
        return f"{ROOT}at{self.depth}"

    def see(self, state: dict[str, Json]) -> Json:
        """What an action reads."""
        if self.depth == 0:
            return state.get(ROOT, state)
        return state[self.name] if self.name in state else state[self.item]

    def change(self, seen: Json, effect: Effect) -> Change:
        """What an effect does to the state of the instance."""
        after = apply_effect(seen, effect)
        if self.depth:
            return Change({self.name: after})
        before = seen if isinstance(seen, dict) else {}
        drop = () if isinstance(seen, dict) else (ROOT,)
        if not isinstance(after, dict):
            return Change({ROOT: after}, (*(name for name in before if name != ROOT),))
        changed = {
            name: value
            for name, value in after.items()
            if name not in before
            or (before[name] is not value and before[name] != value)
            or type(before[name]) is not type(value)
        }
        return Change(changed, (*(name for name in before if name not in after), *drop))
