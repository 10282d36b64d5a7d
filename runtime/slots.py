"""How many instances of a workflow live at once, for each value of a key.

Who comes when all slots are taken is queued, refused, or takes the place of the oldest. A queued
instance exists: it is durable, pending, and can be cancelled; it begins when a slot is free, the
highest priority first and then in the order in which they came. Each value of the key has slots of
its own, so nobody's crowd holds up anybody else. An instance has its slot until it ends: one that is
paused or has failed keeps it, since it may go on. Where the workflow has a rate too, who has a slot
then waits for its turn (`runtime.paces`).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.entries import Begun, Started, decode_entry
from greenroom.actors.messages import Begin, Cancel
from greenroom.actors.ports import InstanceRow, Listed, ListInstances, ReadRows, StoredRow
from greenroom.actors.progress import QUEUED
from greenroom.definitions.errors import AlreadyRunning
from greenroom.definitions.workflow import (
    PRIORITY,
    RATE,
    SLOT,
    Concurrency,
    Definition,
    StartRate,
    key_text,
)
from greenroom.runtime.paces import Key, Line, Pace, Paces, Place

if TYPE_CHECKING:
    from greenroom.actors.instance import Instance
    from greenroom.runtime.directory import Directory

PAGE: Final = 1_000
FIRST_ROWS: Final = 8
"""Among so many entries of an instance is the one it began with."""
_LIVE: Final = ("pending", "running", "waiting", "paused", "failed")

Turn = tuple[Key, StartRate, str, Place]
"""What `Paces.enter` is given."""


@dataclasses.dataclass(slots=True)
class Lane:
    rule: Concurrency
    holders: dict[str, int] = dataclasses.field(default_factory=dict)
    """Id -> number, the oldest first."""
    queue: Line = dataclasses.field(default_factory=Line)


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """What a queued instance waits for: a slot of `lane`, or its turn in `pace`; `ahead` come before it."""

    value: str
    ahead: int
    lane: Lane | None = None
    pace: Pace | None = None


class Slots:
    """Kept in memory; after a start made anew from the live instances."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lanes: dict[Key, Lane] = {}
        self._of: dict[str, Key | None] = {}
        """Whose slots an instance has or waits for; None: it waits for its turn alone."""
        self._new: set[str] = set()
        """Who is admitted and not stored yet."""
        self._turns: dict[str, Turn] = {}
        """What those who wait for a slot will wait for then."""
        self.paces = Paces(directory.clock, self._begin)

    def admit(
        self,
        definition: Definition,
        input: Any,
        namespace: str,
        id: str,
        n: int,
        *,
        at_once: bool = False,
    ) -> int | None:
        """Takes a slot, or a place in the queue: then gives when the instance may begin by itself.
        Raises `AlreadyRunning` where nobody waits. `at_once`: it goes on in the middle, and takes a
        slot though there may be none."""
        rule = definition.concurrency
        if rule is None and definition.rate is None:
            return None
        self._directory.watch(self.watch)
        self.release(id)  # a child that is made again, since the append was lost
        attributes = definition.attributes_of(input)
        place = (-_priority(attributes), n)
        turn = _turn(definition, attributes, namespace, id, place)
        key = None
        if rule is not None:
            key = (namespace, definition.name, _text(attributes.get(SLOT), definition.name))
            lane = self._lanes.setdefault(key, Lane(rule))
            lane.rule = rule
            taken = len(lane.holders) >= rule.limit and not at_once
            if taken and rule.on_conflict == "skip":
                raise _already_running(definition.name, key[2], lane)
            self._new.add(id)
            self._of[id] = key
            if taken and rule.on_conflict == "queue":
                lane.queue.add(id, place)
                if turn is not None:
                    self._turns[id] = turn
                return QUEUED
            lane.holders[id] = n
        if turn is not None and not at_once:
            self._new.add(id)
            if not self.paces.enter(*turn):
                self._of.setdefault(id, None)
                return QUEUED
        return None

    def is_queued(self, id: str) -> bool:
        key = self._of.get(id)
        return self.paces.stands(id) or (key is not None and id in self._lanes[key].queue)

    def adopted(self, id: str) -> None:
        """It is durable: whose place it takes may go."""
        self._new.discard(id)
        self.paces.stored(id)
        key = self._of.get(id)
        if key is not None:
            self._make_room(self._lanes[key], f"{id} takes its place")

    def _make_room(self, lane: Lane, reason: str) -> None:
        """The oldest go. Whoever is not stored yet takes nobody's place."""
        if lane.rule.on_conflict != "cancel_oldest":
            return
        stored = [id for id in lane.holders if id not in self._new]
        for oldest in stored[: max(0, len(stored) - lane.rule.limit)]:
            self._directory.activate(
                lane.holders[oldest], lambda one: one.tell(Cancel(None, reason))
            )

    def watch(self, instance: Instance, append: Any, result: Any) -> None:
        """Sees to the ends of instances, and to those that somebody lets begin by hand."""
        id = instance.id
        if id not in self._of:
            return
        p = instance.kernel.progress
        if p.ended:
            self.release(id)
        elif p.starts == QUEUED:
            if p.begun:
                self._began(id, instance.n)
            elif not p.parked and not self.is_queued(id):  # it was paused when its turn came
                instance.tell(Begin())

    def _began(self, id: str, n: int) -> None:
        """It has begun, by itself or out of its turn: then there is one more than there should be."""
        key = self._of[id]
        self.paces.began(id)
        if key is None:
            del self._of[id]
            return
        lane = self._lanes[key]
        if lane.queue.drop(id):
            lane.holders[id] = n
            if (turn := self._turns.pop(id, None)) is not None:
                self.paces.remember(turn[0], turn[1], self._directory.now())

    def release(self, id: str) -> None:
        """It has ended, or was never made."""
        self._new.discard(id)
        self._turns.pop(id, None)
        self.paces.leave(id)
        key = self._of.pop(id, None)
        if key is None:
            return
        lane = self._lanes[key]
        lane.queue.drop(id)
        lane.holders.pop(id, None)
        self._advance(key, lane)

    def _advance(self, key: Key, lane: Lane) -> None:
        while lane.queue and len(lane.holders) < lane.rule.limit:
            id, n = lane.queue.take()
            lane.holders[id] = n
            turn = self._turns.pop(id, None)
            if turn is None or self.paces.enter(*turn):
                self.paces.stored(id)
                self._begin(id, n)
        if not lane.queue and not lane.holders:
            self._lanes.pop(key, None)

    def _begin(self, id: str, n: int) -> None:
        self._directory.activate(n, _begin)

    def standing(self, id: str) -> Standing | None:
        """What a queued instance waits for."""
        key = self._of.get(id)
        if key is not None and id in (lane := self._lanes[key]).queue:
            return Standing(key[2], lane.queue.ahead_of(id), lane=lane)
        found = self.paces.ahead_of(id)
        return None if found is None else Standing(found[0][2], found[2], pace=found[1])

    # -- after a start -------------------------------------------------------------------------

    async def recover(self, definitions: list[Definition]) -> None:
        """Who holds a slot, who waits for one, and who has begun lately, by what is stored."""
        for definition in definitions:
            if definition.concurrency is None and definition.rate is None:
                continue
            self._directory.watch(self.watch)
            if definition.rate is not None:
                await self._remember(definition, definition.rate)
            rows: list[InstanceRow] = []
            for status in _LIVE:
                rows += await self._rows(definition.name, ("status", ":", status, False))
            lined = [
                turn for row in sorted(rows, key=lambda one: one.n)
                if (turn := self._restored(definition, row)) is not None
            ]  # fmt: skip
            for turn in sorted(lined, key=lambda one: one[3]):
                if self.paces.enter(*turn):
                    self.paces.stored(turn[2])
                    self._begin(turn[2], turn[3][1])
        for key, lane in list(self._lanes.items()):
            self._advance(key, lane)
            self._make_room(lane, "its place was taken")

    def _restored(self, definition: Definition, row: InstanceRow) -> Turn | None:
        """Gives an instance back what it had; the turn it waits for, if it has a slot."""
        rule = definition.concurrency
        place = (-_priority(row.attributes), row.n)
        turn = None
        if _is_queued(row):
            turn = _turn(definition, row.attributes, row.namespace, row.id, place)
        if rule is None:
            if turn is not None:
                self._of[row.id] = None
            return turn
        key = (row.namespace, row.workflow, _text(row.attributes.get(SLOT), row.workflow))
        lane = self._lanes.setdefault(key, Lane(rule))
        self._of[row.id] = key
        if _is_queued(row) and rule.on_conflict == "queue":
            lane.queue.add(row.id, place)
            if turn is not None:
                self._turns[row.id] = turn
            return None
        lane.holders[row.id] = row.n
        return turn

    async def _remember(self, definition: Definition, rate: StartRate) -> None:
        """The beginnings that count: an instance that began lately has changed since."""
        since = self._directory.now() - rate.per_ms
        for row in await self._rows(definition.name, ("updated", ">", since, False)):
            if _is_queued(row):
                continue
            first: list[StoredRow] = await self._directory.journal.call(
                ReadRows(row.n, 0, FIRST_ROWS)
            )
            at = _began_at(first, row)
            if at > since:
                value = _text(row.attributes.get(RATE), row.workflow)
                self.paces.remember((row.namespace, row.workflow, value), rate, at)

    async def _rows(self, name: str, term: tuple[str, str, Any, bool]) -> list[InstanceRow]:
        terms = [("workflow", ":", name, False), term]
        found: list[InstanceRow] = []
        cursor: tuple[int, int] | None = None
        while True:
            work = ListInstances(terms, PAGE, cursor, self._directory.now(), total=False)
            page: Listed = await self._directory.journal.call(work)
            found += page.rows
            cursor = page.cursor
            if cursor is None:
                return found


def _turn(
    definition: Definition, attributes: dict[str, Any], namespace: str, id: str, place: Place
) -> Turn | None:
    if definition.rate is None:
        return None
    value = _text(attributes.get(RATE), definition.name)
    return (namespace, definition.name, value), definition.rate, id, place


def _already_running(name: str, value: str, lane: Lane) -> AlreadyRunning:
    named = f" for {value}" if value else ""
    return AlreadyRunning(
        f"{name} is running already{named}: {lane.rule.limit} at once",
        instance=next(iter(lane.holders)),
        limit=lane.rule.limit,
    )


def _is_queued(row: InstanceRow) -> bool:
    return any(wait["kind"] == "slot" for wait in msgspec.json.decode(row.waits))


def _began_at(rows: list[StoredRow], row: InstanceRow) -> int:
    for stored in rows:
        entry = decode_entry(stored)
        if isinstance(entry, Begun) or (isinstance(entry, Started) and not entry.pending):
            return entry.at
    return row.updated


def _priority(attributes: dict[str, Any]) -> int:
    found = attributes.get(PRIORITY, 0)
    return found if type(found) is int else 0


def _text(value: Any, workflow: str) -> str:
    return "" if value in (None, "") else key_text(value, workflow) or ""


def _begin(instance: Instance) -> None:
    p = instance.kernel.progress
    if not p.begun and not p.ended:
        instance.tell(Begin())
