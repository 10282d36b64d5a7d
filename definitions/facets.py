"""What must hold of an event whenever a condition does, in forms an index can answer.

Each facet is about one plain field path: it has one of a few values, its text begins with a
prefix, its number lies in a range. Facets are necessary, never sufficient: an index that uses
them finds all subscriptions that can match, and the whole condition is asked of those.
"""

from __future__ import annotations

import math
from typing import Final

from greenroom.definitions.values import Json

MEMBERS_MAX: Final = 32
"""Values of one path; a condition that names more has no such facet."""

Range = tuple[float, float]
EVERYTHING: Final[Range] = (-math.inf, math.inf)


class Facets:
    """`members` holds the values a path may have (typed as JSON is: 1 is not true), `prefixes`
    and `ranges` what they are called; of a range both ends belong to it."""

    __slots__ = ("members", "prefixes", "ranges")

    def __init__(self) -> None:
        self.members: dict[str, tuple[Json, ...]] = {}
        self.prefixes: dict[str, str] = {}
        self.ranges: dict[str, Range] = {}

    def equal(self, path: str, value: Json) -> None:
        """Of two values for one path the first stays: a list may have both."""
        if len(self.members.get(path, ())) != 1:
            self.members[path] = (value,)

    def among(self, path: str, values: list[Json]) -> None:
        distinct = list({(type(value) is bool, value): value for value in values}.values())
        if len(distinct) == 1:
            self.equal(path, distinct[0])
        elif distinct and len(distinct) <= MEMBERS_MAX and path not in self.members:
            self.members[path] = tuple(distinct)

    def begins(self, path: str, prefix: str) -> None:
        """The longest one says most."""
        if len(prefix) > len(self.prefixes.get(path, "")):
            self.prefixes[path] = prefix

    def within(self, path: str, sign: str, bound: Json) -> None:
        """`sign` is one of `< <= > >=`."""
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            return
        low, high = self.ranges.get(path, EVERYTHING)
        if sign.startswith(">"):
            low = max(low, bound)
        else:
            high = min(high, bound)
        self.ranges[path] = low, high

    def equalities(self) -> dict[str, Json]:
        return {path: values[0] for path, values in self.members.items() if len(values) == 1}


def scalar(value: Json) -> bool:
    """Whether a value can be a key: text, a number, true or false."""
    return isinstance(value, str | int | float)
