"""A state that is lent to code of its author.

A predicate may do with what it is given whatever it likes, and the state of an instance must not
change by it. A copy of everything would be safe, and cost ten thousand items for each of ten
thousand items. So each value is copied when it is first looked at, and what nobody reads is free.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView
from typing import Any

from greenroom.definitions.values import Json, copy


class Lent(dict[str, Json]):
    """A dict like any other, except that what it holds at first is copied on its way out."""

    __slots__ = ("_unread",)

    def __init__(self, state: dict[str, Json]) -> None:
        super().__init__(state)
        self._unread = set(state)

    def __getitem__(self, name: str) -> Json:
        if name in self._unread:
            self._unread.discard(name)
            super().__setitem__(name, copy(super().__getitem__(name)))
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        """Overridden so that `dict(lent)` and `{**lent}` ask for the values one by one."""
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401  it would call itself

    def items(self) -> Any:
        return ItemsView(self)

    def values(self) -> Any:
        return ValuesView(self)

    def pop(self, name: str, *default: Any) -> Any:
        if name in self:
            self[name]
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Json]:
        name = next(reversed(self))
        return name, self.pop(name)

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def copy(self) -> dict[str, Json]:
        return dict(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __reduce__(self) -> Any:
        """Copies of it (`copy.deepcopy`, `pickle`) are plain."""
        return dict, (dict(self),)
