"""How many instances of a workflow live at once, for each value of a key.

Who comes when all slots are taken is queued, refused, or takes the place of the oldest. A queued
instance exists: it is durable, pending, and can be cancelled; it begins when a slot is free, the
highest priority first and then in the order in which they came. Each value of the key has slots of
its own, so nobody's crowd holds up anybody else. An instance has its slot until it ends: one that is
paused or has failed keeps it, since it may go on. Where the workflow has a rate too, who has a slot
then waits for its turn (`runtime.paces`).

The limits of the released version are *in force* for all versions. When they change, everybody who
lives is counted anew (`runtime.census`); until that is done the old ones are in force.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.messages import Begin, Cancel
from greenroom.actors.progress import QUEUED
from greenroom.definitions.errors import AlreadyRunning, GreenroomError
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import PRIORITY, RATE, SLOT, Concurrency, Definition, StartRate
from greenroom.runtime.census import Census, Live, begun_lately, live_ones, queued_ones
from greenroom.runtime.paces import Key, Line, Pace, Paces, Place

if TYPE_CHECKING:
    from greenroom.actors.instance import Instance
    from greenroom.runtime.directory import Directory

Turn = tuple[Key, StartRate, str, Place]
"""What `Paces.enter` is given."""
_RULES: Final = (SLOT, RATE, PRIORITY)
"""The attributes that limits look at."""


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
        self._in_force: dict[str, Definition] = {}
        """Whose limits count, by workflow."""
        self._counts: dict[str, Census] = {}
        """Of the workflows whose limits change just now."""
        self._lanes: dict[Key, Lane] = {}
        self._of: dict[str, Key] = {}
        """Whose slots an instance has or waits for; where there is a rate alone, nobody's."""
        self._new: dict[str, bool] = {}
        """Who is admitted and not stored yet, and whether it takes the place of somebody."""
        self._leaving: dict[str, str] = {}
        """Who has been told to go, and who takes the place."""
        self._turns: dict[str, Turn] = {}
        """What those who wait for a slot will wait for then."""
        self.tasks: set[asyncio.Task[None]] = set()
        """Those that count."""
        self.paces = Paces(directory.clock, self._begin)

    # -- a start -------------------------------------------------------------------------------

    def admit(
        self,
        definition: Definition,
        input: Json,
        namespace: str,
        id: str,
        n: int,
        *,
        at_once: bool = False,
        part: bool = False,
    ) -> int | None:
        """Takes a slot, or a place in the queue: then gives when the instance may begin by itself.
        Raises `AlreadyRunning` where nobody waits. `at_once`: it goes on in the middle, and takes a
        slot though there may be none; a `part` of a run does so too, and takes nobody's place."""
        name = definition.name
        limits = self._in_force.get(name)
        if limits is None:
            limits = definition
            if _limited(definition):
                self._in_force[name] = definition
        census = self._counts.get(name)
        if census is None and not _limited(limits):
            return None
        self._directory.watch(self.watch)
        self.release(id)  # a child that is made again, since the append was lost
        due = None
        if _limited(limits):
            attributes = limits.attributes_of(input)
            one = Live(id, n, namespace, attributes)
            due = self._admit(limits, one, at_once or part, part)
        if census is not None:
            census.meet(id, n, namespace, input, queued=due == QUEUED)
        return due

    def _admit(self, limits: Definition, one: Live, at_once: bool, part: bool) -> int | None:
        rule, turn = limits.concurrency, _turn(limits, one)
        key = one.key(limits.name, SLOT)
        if rule is not None:
            lane = self._lanes.setdefault(key, Lane(rule))
            taken = len(lane.holders) >= rule.limit and not at_once
            if taken and rule.on_conflict == "skip":
                raise _already_running(limits.name, key[2], lane)
            self._new[one.id] = not part
            self._of[one.id] = key
            if taken and rule.on_conflict == "queue":
                lane.queue.add(one.id, _place(one))
                if turn is not None:
                    self._turns[one.id] = turn
                return QUEUED
            lane.holders[one.id] = one.n
        if turn is not None and not at_once:
            self._new[one.id] = not part
            if not self.paces.enter(*turn):
                self._of.setdefault(one.id, key)
                return QUEUED
        return None

    def makes_way(self, id: str) -> list[str]:
        """Who goes for an instance that is admitted: whoever stores it has them told in the same
        commit, so that there is no moment with one too many who stay."""
        key = self._of.get(id)
        lane = None if key is None else self._lanes.get(key)
        if lane is None or not self._new.get(id):
            return []
        gone = self._too_many(lane, [one for one in lane.holders if one != id], lane.rule.limit - 1)
        self._leaving |= dict.fromkeys(gone, id)
        return gone

    def _too_many(self, lane: Lane, holders: Iterable[str], limit: int) -> list[str]:
        """The oldest of those who stay, as far as they are more than a limit."""
        if lane.rule.on_conflict != "cancel_oldest":
            return []
        stay = [id for id in holders if id not in self._leaving]
        return stay[: max(0, len(stay) - limit)]

    def attributes_of(self, definition: Definition, input: Json) -> dict[str, Any]:
        """The search attributes of an instance: those that limits look at are of the ones in force."""
        found = definition.attributes_of(input)
        limits = self._in_force.get(definition.name, definition)
        if limits is not definition and limits.hash != definition.hash:
            read = limits.attributes_of(input)
            found = {name: value for name, value in found.items() if name not in _RULES}
            found |= {name: read[name] for name in _RULES if name in read}
        return found

    def is_queued(self, id: str) -> bool:
        key = self._of.get(id)
        lane = None if key is None else self._lanes.get(key)
        return self.paces.stands(id) or (lane is not None and id in lane.queue)

    def adopted(self, id: str) -> None:
        """It is durable, and so is what those were told whose place it takes."""
        takes = self._new.pop(id, False)
        self.paces.stored(id)
        key = self._of.get(id)
        lane = None if key is None else self._lanes.get(key)
        if takes and lane is not None:
            self._make_room(lane, f"{id} takes its place")

    def _make_room(self, lane: Lane, reason: str) -> None:
        """The oldest go, where they have not been told with the start of another: that start was
        not made, or the limit is a new one."""
        stored = [id for id in lane.holders if id not in self._new]
        for oldest in self._too_many(lane, stored, lane.rule.limit):
            self._leaving[oldest] = ""
            self._directory.activate(
                lane.holders[oldest], lambda one: one.tell(Cancel(None, reason))
            )

    # -- a life --------------------------------------------------------------------------------

    def watch(self, instance: Instance, append: Any, result: Any) -> None:
        """Sees to the ends of instances, and to those that somebody lets begin by hand."""
        id, p = instance.id, instance.kernel.progress
        census = self._counts.get(p.workflow)
        if census is not None:
            census.see(id, instance.n, p.ended)
        if id not in self._of:
            return
        if p.ended:
            self.release(id)
        elif p.starts == QUEUED:
            if p.begun:
                self._began(id, instance.n)
            elif not p.parked and not self.is_queued(id):  # it was paused when its turn came
                instance.tell(Begin())

    def _began(self, id: str, n: int) -> None:
        """It has begun, by itself or out of its turn: then there is one more than there should be."""
        self.paces.began(id)
        lane = self._lanes.get(self._of[id])
        if lane is None:
            del self._of[id]
        elif lane.queue.drop(id):
            lane.holders[id] = n
            if (turn := self._turns.pop(id, None)) is not None:
                self.paces.remember(turn[0], turn[1], self._directory.now())

    def release(self, id: str) -> None:
        """It has ended, or was never made."""
        for census in self._counts.values():
            census.met.pop(id, None)
        self._leaving.pop(id, None)
        self._turns.pop(id, None)
        self.paces.leave(id)
        if self._new.pop(id, False):
            for other in [one for one, by in self._leaving.items() if by == id]:
                del self._leaving[other]  # it stays after all
        key = self._of.pop(id, None)
        lane = None if key is None else self._lanes.get(key)
        if key is None or lane is None:
            return
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
        lane = None if key is None else self._lanes.get(key)
        if key is not None and lane is not None and id in lane.queue:
            return Standing(key[2], lane.queue.ahead_of(id), lane=lane)
        found = self.paces.ahead_of(id)
        return None if found is None else Standing(found[0][2], found[2], pace=found[1])

    # -- who counts ----------------------------------------------------------------------------

    async def recover(self, definitions: list[Definition]) -> None:
        """After a start: who holds a slot, who waits for one, and who has begun lately, by what is
        stored. Those who waited for limits that are no more begin."""
        for definition in definitions:
            await self.follow(definition)
        for row in await queued_ones(self._directory):
            if row.id not in self._of:
                self._begin(row.id, row.n)

    def follow_soon(self, definition: Definition) -> None:
        """`follow` for those who cannot wait."""
        task = asyncio.get_running_loop().create_task(self.follow(definition))
        self.tasks.add(task)
        task.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not isinstance(error, GreenroomError):
            self._directory.supervisor.component_crashed("slots", error)

    def stop(self) -> None:
        self.paces.stop()
        for task in self.tasks:
            task.cancel()

    async def follow(self, definition: Definition) -> None:
        """Puts the limits of a released definition in force; when this returns everybody who lives
        is counted by them."""
        name = definition.name
        known = self._in_force.get(name)
        if known is None or _says(known) == _says(definition):
            self._in_force[name] = definition
            if known is not None or not _limited(definition):
                return
        self._directory.watch(self.watch)
        census = self._counts[name] = Census(definition)
        try:
            lives = await live_ones(self._directory, census)
            begun = await begun_lately(self._directory, definition)
            if self._counts.get(name) is census:
                self._turn_to(census, lives, begun)
        finally:
            if self._counts.get(name) is census:
                del self._counts[name]

    def _turn_to(self, census: Census, lives: list[Live], begun: list[tuple[Live, int]]) -> None:
        """From now on the limits of the census are in force, for those it has found."""
        limits = census.definition
        name = limits.name
        known = {id: self.is_queued(id) for id, key in self._of.items() if key[1] == name}
        self._forget(name, known)
        self._in_force[name] = limits
        if limits.rate is not None:
            stored, now = {one.id for one, _ in begun}, self._directory.now()
            begun += [
                (one, now) for one in census.met.values() if not (one.queued or one.id in stored)
            ]
            for one, at in begun:
                self.paces.remember(one.key(name, RATE), limits.rate, at)
        lined = []
        for one in sorted(lives, key=lambda one: one.n):
            turn = self._restored(limits, one, known.get(one.id, one.queued))
            if turn is not None:
                lined.append(turn)
        for turn in sorted(lined, key=lambda one: one[3]):
            if self.paces.enter(*turn):
                self.paces.stored(turn[2])
                self._begin(turn[2], turn[3][1])
        for key, lane in [item for item in self._lanes.items() if item[0][1] == name]:
            self._advance(key, lane)
            self._make_room(lane, "its place was taken")

    def _forget(self, name: str, ids: Iterable[str]) -> None:
        self.paces.forget(name)
        for key in [key for key in self._lanes if key[1] == name]:
            del self._lanes[key]
        for id in ids:
            del self._of[id]
            self._turns.pop(id, None)

    def _restored(self, limits: Definition, one: Live, queued: bool) -> Turn | None:
        """Gives an instance its slot or its place in the queue; the turn it waits for, if it has a
        slot. Who waited and need not begins."""
        rule = limits.concurrency
        key = one.key(limits.name, SLOT)
        turn = _turn(limits, one) if queued else None
        if rule is not None:
            lane = self._lanes.setdefault(key, Lane(rule))
            self._of[one.id] = key
            if queued and rule.on_conflict == "queue":
                lane.queue.add(one.id, _place(one))
                if turn is not None:
                    self._turns[one.id] = turn
                return None
            lane.holders[one.id] = one.n
        if turn is not None:
            self._of[one.id] = key
        elif queued:
            self._begin(one.id, one.n)
        return turn


def _limited(definition: Definition) -> bool:
    return definition.concurrency is not None or definition.rate is not None


def _says(definition: Definition) -> Any:
    """What makes limits the same ones."""
    if not _limited(definition):
        return None
    sources = {name: definition.attributes.get(name) for name in _RULES}
    return (
        definition.concurrency,
        definition.rate,
        {name: value.source for name, value in sources.items() if value is not None},
    )


def _turn(limits: Definition, one: Live) -> Turn | None:
    if limits.rate is None:
        return None
    return one.key(limits.name, RATE), limits.rate, one.id, _place(one)


def _place(one: Live) -> Place:
    found = one.attributes.get(PRIORITY, 0)
    return -(found if type(found) is int else 0), one.n


def _already_running(name: str, value: str, lane: Lane) -> AlreadyRunning:
    named = f" for {value}" if value else ""
    return AlreadyRunning(
        f"{name} is running already{named}: {lane.rule.limit} at once",
        instance=next(iter(lane.holders)),
        limit=lane.rule.limit,
    )


def _begin(instance: Instance) -> None:
    p = instance.kernel.progress
    if not p.begun and not p.ended:
        instance.tell(Begin())
