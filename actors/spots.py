"""Spots: where in a plan an op stands, read from its key.

The key of an op is the keys of the scopes around it and its own, joined by dots. In a foreach the
scope carries the number of its lane (`ports[3].configure`), in a group that was begun anew the
number of its round (`provision~2.check`). So the place and everything around it follow from the
key alone, and an instance needs no cursor.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from greenroom.definitions.workflow import Place, Plan

UNDO: Final = "undo:"
"""Before the key of a step whose work is taken back."""
DUE: Final = "~due"
"""Behind the key of a question that is open from the beginning of its group: its deadline."""

_VARIABLE: Final = re.compile(r"~\d+|\[\d+\]")


class Spot(NamedTuple):
    """A node that an instance has come to. `prefix` is that of the keys in its line, `scope` the
    spot of the node around it, `lanes` the frames of the lanes it is in, outermost first, `number`
    that of its lane within `scope`."""

    place: Place
    key: str
    prefix: str
    scope: Spot | None
    lanes: tuple[str, ...]
    number: int


def fixed(key: str) -> str:
    """The key without the numbers of lanes and rounds: what the plan knows the place by."""
    if "[" not in key and "~" not in key:
        return key
    return _VARIABLE.sub(lambda found: "[]" if found[0][0] == "[" else "", key)


def locate(plan: Plan, key: str) -> Spot | None:
    """The spot of an op (or scope) by its key; None where the plan has no such place."""
    place = plan.places.get(fixed(key))
    return None if place is None else _spot(place, key)


def _spot(place: Place, key: str) -> Spot:
    prefix = key[: len(key) - len(place.node.key)]
    around = place.scope
    if around is None:
        return Spot(place, key, prefix, None, (), 0)
    number = place.lane
    if around.node.inline:
        outer = _spot(around, prefix + around.node.key)
    else:
        inner = prefix[:-1]
        if around.node.kind == "foreach":
            inner, _, digits = inner[:-1].rpartition("[")
            number = int(digits)
        outer = _spot(around, re.sub(r"~\d+$", "", inner))
    lanes = outer.lanes
    if around.node.kind in ("parallel", "foreach"):
        lanes = (*lanes, lane_frame(outer.key, number))
    return Spot(place, key, prefix, outer, lanes, number)


def lane_frame(scope: str, number: int) -> str:
    """The frame with the names of one lane."""
    return f"{scope}[{number}]"


def failed_frame(scope: str, number: int) -> str:
    """The frame with the failure of one lane, one to each: a turn writes what is new and no more."""
    return f"{scope}[{number}]!"
