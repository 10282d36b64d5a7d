"""The open waits of one instance, filed by what an event must have.

An instance may wait for thousands of events at once, one for each item of a list. A few waits are
looked at one after the other. Many are filed as the store files those of all instances: by the name
of the event, the paths of its keys and the hash of the key, so an event meets those that have one
of its keys and no others. The file follows from the open ops alone: it is made when it is first
asked and may be dropped at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from greenroom.actors.entries import Entry, Request
from greenroom.actors.progress import OpState
from greenroom.definitions.eventclasses import names_of
from greenroom.definitions.matching import event_hashes
from greenroom.definitions.values import Json

FEW: Final = 16
"""Open ops up to which they are simply gone through."""

Pile = dict[str, tuple[int, Request]]
"""Waits with one key: op -> (its number in the order of opening, what was asked for)."""


class Waits:
    __slots__ = ("_count", "_piles")

    def __init__(self, ops: Mapping[str, OpState]) -> None:
        self._piles: dict[str, dict[tuple[str, ...], dict[int, Pile]]] = {}
        """Name of the event -> paths -> hash -> waits; without paths all have the hash 0."""
        self._count = 0
        for op in ops.values():
            self._add(op.request)

    def follow(self, entry: Entry) -> None:
        """An entry may open waits. Those it closes are found out when somebody looks."""
        for request in entry.requests:
            self._add(request)

    def is_stale(self, ops: Mapping[str, OpState]) -> bool:
        """Whether most of what is filed is over: time to make it anew."""
        return self._count > 2 * len(ops) + FEW

    def _add(self, request: Request) -> None:
        match = request.match
        if match is None or request.gone:
            return
        self._count += 1
        hashes = (match.hash, *match.more) if match.paths else (0,)
        piles = self._piles.setdefault(request.name, {}).setdefault(match.paths, {})
        for one in hashes:
            piles.setdefault(one, {})[request.key] = (self._count, request)

    def meeting(self, event: dict[str, Json], ops: Mapping[str, OpState]) -> list[str]:
        """The ops that may take an event, the oldest first; the whole condition is not asked here."""
        found: dict[str, int] = {}
        for name in names_of(event):
            for paths, piles in self._piles.get(name, {}).items():
                for pile in _met(piles, event, paths):
                    found.update(_open(pile, ops))
        return sorted(found, key=found.__getitem__)


def _met(piles: dict[int, Pile], event: dict[str, Json], paths: tuple[str, ...]) -> Iterable[Pile]:
    if not paths:
        return piles.values()
    hashes = event_hashes(event, paths)
    if hashes is None:  # more keys than are tried one by one
        return piles.values()
    return [piles[one] for one in hashes if one in piles]


def _open(pile: Pile, ops: Mapping[str, OpState]) -> dict[str, int]:
    """Those of a pile that are open still; the others leave it."""
    found: dict[str, int] = {}
    for key, (number, request) in list(pile.items()):
        op = ops.get(key)
        if op is not None and op.request is request:
            found[key] = number
        else:
            del pile[key]
    return found
