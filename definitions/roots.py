"""A state that is no object, in an instance whose state is one.

The state a document sees is any JSON value. One that is not an object lies in the state of its
instance under `::`, a key that no document can name.
"""

from __future__ import annotations

from typing import Final

from greenroom.definitions.values import Json

ROOT: Final = "::"


def wrapped(value: Json) -> dict[str, Json]:
    """A value as the state of an instance; nothing is an empty state."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {ROOT: value}


def unwrapped(state: dict[str, Json]) -> Json:
    """The state of an instance as its document sees it."""
    return state[ROOT] if set(state) == {ROOT} else state
