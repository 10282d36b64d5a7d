"""Subscriptions under one key of a shape, narrowed by what the index of keys cannot hold: the
beginning of a text, the range of a number. Those with neither are all asked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Generic, TypeVar

from greenroom.definitions.facets import EVERYTHING, Range
from greenroom.definitions.matching import Where
from greenroom.definitions.paths import MISSING, parse_path, walk
from greenroom.definitions.values import Json

T = TypeVar("T")

LIST_MAX: Final = 32
"""Elements of a list that are looked up one by one; of a longer one everything is asked."""


class Bucket(Generic[T]):
    def __init__(self) -> None:
        self._plain: dict[int, T] = {}
        self._prefixes: dict[str, Prefixes[T]] = {}
        self._ranges: dict[str, Ranges[T]] = {}

    def __bool__(self) -> bool:
        return bool(self._plain or self._prefixes or self._ranges)

    def __iter__(self) -> Iterator[T]:
        yield from self._plain.values()
        for prefixes in self._prefixes.values():
            yield from prefixes
        for ranges in self._ranges.values():
            yield from ranges

    def add(self, where: Where, item: T) -> None:
        """Under its longest prefix, else under its narrowest range, else with the rest."""
        if where.prefixes:
            path = max(where.prefixes, key=lambda path: (len(where.prefixes[path]), path))
            self._prefixes.setdefault(path, Prefixes()).add(where.prefixes[path], item)
        elif where.ranges:
            path = min(where.ranges, key=lambda path: (_width(where.ranges[path]), path))
            self._ranges.setdefault(path, Ranges()).add(where.ranges[path], item)
        else:
            self._plain[id(item)] = item

    def remove(self, item: T) -> None:
        self._plain.pop(id(item), None)
        for held in (self._prefixes, self._ranges):
            for path in list(held):
                held[path].remove(item)
                if not held[path]:
                    del held[path]

    def asked(self, event: dict[str, Json]) -> Iterator[T]:
        """Those that may want the event; one may come twice."""
        yield from self._plain.values()
        for path, prefixes in self._prefixes.items():
            seen = _seen(event, path)
            if seen is None:
                yield from prefixes
            else:
                for value in seen:
                    if isinstance(value, str):
                        yield from prefixes.of(value)
        for path, ranges in self._ranges.items():
            seen = _seen(event, path)
            if seen is None or len(seen) > 1:  # elements of a list may be on both sides
                yield from ranges
            else:
                for value in seen:
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        yield from ranges.of(value)


def _width(range_: Range) -> float:
    return range_[1] - range_[0]


_parsed = lru_cache(maxsize=4096)(parse_path)


def _seen(event: dict[str, Json], path: str) -> list[Json] | None:
    """What is at the path, a list as its elements; None for a long list."""
    found = walk(event, _parsed(path))
    if found is MISSING:
        return []
    if not isinstance(found, list):
        return [found]
    return found if len(found) <= LIST_MAX else None


class Prefixes(Generic[T]):
    """Found by one look-up for each length that some prefix has."""

    def __init__(self) -> None:
        self._by_length: dict[int, dict[str, dict[int, T]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def __iter__(self) -> Iterator[T]:
        for by_text in self._by_length.values():
            for items in by_text.values():
                yield from items.values()

    def add(self, prefix: str, item: T) -> None:
        by_text = self._by_length.setdefault(len(prefix), {})
        by_text.setdefault(prefix, {})[id(item)] = item

    def remove(self, item: T) -> None:
        for length, by_text in list(self._by_length.items()):
            for prefix, items in list(by_text.items()):
                if items.pop(id(item), None) is not None and not items:
                    del by_text[prefix]
            if not by_text:
                del self._by_length[length]

    def of(self, text: str) -> Iterator[T]:
        for length, by_text in self._by_length.items():
            if length <= len(text) and (items := by_text.get(text[:length])):
                yield from items.values()


class Ranges(Generic[T]):
    """Ranges sorted by their low end, with the highest high end of each stretch above them as a
    tree: those that hold a number are found by walking down where there is one. Built when it is
    asked for the first time after a change."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[Range, T]] = {}
        self._built = False
        self._lows: list[float] = []
        self._sorted: list[tuple[Range, T]] = []
        self._highest: list[float] = []
        self._width = 1

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[T]:
        for _, item in self._items.values():
            yield item

    def add(self, range_: Range, item: T) -> None:
        self._items[id(item)] = range_, item
        self._built = False

    def remove(self, item: T) -> None:
        if self._items.pop(id(item), None) is not None:
            self._built = False

    def _build(self) -> None:
        self._sorted = sorted(self._items.values(), key=lambda pair: pair[0])
        self._lows = [range_[0] for range_, _ in self._sorted]
        self._width = 1 << max(0, len(self._sorted) - 1).bit_length()
        lowest = EVERYTHING[0]
        highs = [range_[1] for range_, _ in self._sorted]
        tree = [lowest] * self._width + highs + [lowest] * (self._width - len(highs))
        for at in range(self._width - 1, 0, -1):
            tree[at] = max(tree[2 * at], tree[2 * at + 1])
        self._highest = tree
        self._built = True

    def of(self, number: float) -> Iterator[T]:
        if not self._built:
            self._build()
        begun = bisect_right(self._lows, number)  # the others begin above the number
        stack = [(1, 0, self._width)]
        while stack:
            at, first, width = stack.pop()
            if first >= begun or self._highest[at] < number:
                continue
            if width == 1:
                yield self._sorted[first][1]
            else:
                half = width // 2
                stack.append((2 * at + 1, first + half, half))
                stack.append((2 * at, first, half))
