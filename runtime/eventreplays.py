"""Replays of stored events into a workflow: `greenroom events replay --into order --since 7d`.

Each event that its trigger wants starts it once, live or by a replay, however often it is replayed:
what stands for an event, or for several, has an id that follows from them. A trigger that collects
is given the events with the times at which they were accepted, so they are gathered as they would
have been; events that it has used already, or holds, are left out. A throttle lets through now
what it would let through of new events.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.collected import Member
from greenroom.actors.collector import COLLECTED_TYPE, key_of, nth_of, stands_for, state_id
from greenroom.actors.ports import EventMatches, GetEvent, Matched, Posted, StoredEventRow
from greenroom.actors.recollected import Group, Recollection
from greenroom.definitions.collecting import SEVERAL, Collect
from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.definitions.events import Event
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Trigger, key_text
from greenroom.runtime import shapes
from greenroom.runtime.archive import LOOKED_AT_MAX, stored

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

REPLAYED_TYPE: Final = "greenroom.replayed"
"""Type of the event that stands for a stored one that is replayed into a workflow."""
AT_ONCE: Final = 100

Found = tuple[Trigger, StoredEventRow, dict[str, Json]]
"""A trigger and an event it wants, also as expressions see it."""


async def replay(
    engine: Engine,
    into: str,
    type: str | None,
    since: str | float | None,
    limit: int,
    dry_run: bool,
) -> shapes.ReplayedEvents:
    """Starts a workflow for the stored events that its trigger wants and that have not started it,
    live or by an earlier replay."""
    definition = engine.registry.released(into)
    triggers = [t for t in definition.triggers if t.type is not None and type in (None, t.type)]
    if not triggers:
        listens = ", ".join(str(t.type) for t in definition.triggers if t.type) or "no event"
        raise InvalidRequest(f"{into} listens to {listens}", workflow=into)
    rule = triggers[0].collect
    if rule is not None and len(triggers) < len(definition.triggers):
        raise InvalidRequest(
            f"{into} awaits several types of events: leave `type` out", workflow=into
        )
    made = Replay(engine, definition, dry_run)
    found = made.wanted(triggers, stored(engine, _only(triggers), since, limit))
    if rule is None:
        await made.each(found)
    elif rule.kind == "throttle":
        await made.throttled(found)
    else:
        await made.gathered(rule, found, since)
    said = made.said
    return shapes.ReplayedEvents(
        into, made.looked, made.matched, said["started"], said["known"], said["refused"], dry_run,
        said["held"],
    )  # fmt: skip


def _only(triggers: list[Trigger]) -> str | None:
    types = {trigger.type for trigger in triggers}
    return next(iter(types)) if len(types) == 1 else None


class Replay:
    """One replay; `said` counts what became of the events, or of the groups they make."""

    def __init__(self, engine: Engine, definition: Definition, dry_run: bool) -> None:
        self.engine = engine
        self.definition = definition
        self.name = definition.name
        self.dry_run = dry_run
        self.looked = self.matched = 0
        self.said: Counter[str] = Counter()

    async def wanted(
        self, triggers: list[Trigger], rows: AsyncIterator[StoredEventRow]
    ) -> AsyncIterator[Found]:
        async for row in rows:
            self.looked += 1
            event = row.event.as_data()
            for trigger in triggers:
                if trigger.type == row.event.type and trigger.where.matches(event):
                    self.matched += 1
                    yield trigger, row, event
                    break

    async def _at_once(self, batch: list[Awaitable[str]], *, all: bool = False) -> None:
        """Waits for some starts together, when there are enough of them."""
        if all or len(batch) >= AT_ONCE:
            self.said.update(await asyncio.gather(*batch))
            batch.clear()

    # -- one event, one instance ---------------------------------------------------------------

    async def each(self, found: AsyncIterator[Found]) -> None:
        batch: list[Awaitable[str]] = []
        async for one in found:
            batch.append(self._again(*one))
            await self._at_once(batch)
        await self._at_once(batch, all=True)

    async def throttled(self, found: AsyncIterator[Found]) -> None:
        """Offers the events to the throttle that runs, as if they came now."""
        engine, collector = self.engine, self.engine.router.collector
        async for trigger, row, event in found:
            try:
                key = key_of(self.definition, trigger, event)
            except GreenroomError:
                self.said["refused"] += 1
                continue
            state = state_id(row.scope, self.name, nth_of(self.definition, trigger), key)
            stand_for_it = f"{state}#{row.pos}", self._alone(row)
            if await self._has_started(row) or any([await self._is_known(i) for i in stand_for_it]):
                self.said["known"] += 1
                continue
            if self.dry_run:
                self.said["started"] += 1
                continue
            works: list[Any] = []
            said, _ = collector.offer(self.definition, trigger, row, event, works)
            for work in works:
                await engine.journal.call(work)
            collector.book(works)
            self.said[await self._again(trigger, row, event) if said == "started" else said] += 1

    def _alone(self, row: StoredEventRow) -> str:
        """The id of what stands for an event that starts an instance by itself."""
        return f"{self.name}@{row.pos}"

    async def _again(self, trigger: Trigger, row: StoredEventRow, event: dict[str, Json]) -> str:
        if await self._has_started(row):
            return "known"
        stands = Event(
            type=REPLAYED_TYPE,
            id=self._alone(row),
            source=f"/replayed/{row.event.id}",
            data={"workflow": self.name, "event": row.event.id},
        )
        try:
            key = None if trigger.key is None else key_text(trigger.key.evaluate(event), self.name)
        except GreenroomError:
            return "refused"
        return await self._start(stands, row.event, trigger, key, row.scope, row.hops)

    # -- several events, one instance ----------------------------------------------------------

    async def gathered(
        self, rule: Collect, found: AsyncIterator[Found], since: str | float | None
    ) -> None:
        used = await self._used(since) if rule.kind in SEVERAL else set()
        past: dict[int, Recollection] = {}
        rows: dict[int, StoredEventRow] = {}
        batch: list[Awaitable[str]] = []

        async def start(trigger: Trigger, groups: list[Group]) -> None:
            for key, members in groups:
                batch.append(self._together(rule, trigger, key, [rows[m.pos] for m in members]))
                await self._at_once(batch)

        async for trigger, row, event in found:
            try:
                key = key_of(self.definition, trigger, event)
            except GreenroomError:
                self.said["refused"] += 1
                continue
            nth = nth_of(self.definition, trigger)
            gathered = past.setdefault(nth, Recollection(rule))
            if rule.kind in SEVERAL and (row.pos in used or self._is_held(row)):
                self.said["known" if row.pos in used else "held"] += 1
                if rule.kind == "all":
                    gathered.forget(key)
                continue
            rows[row.pos] = row
            size = len(msgspec.json.encode(event["data"])) if rule.kind == "batch" else 0
            member = Member(trigger.slot, row.pos, row.accepted)
            await start(self.definition.triggers[nth], gathered.offer(key, member, size))
        for nth, gathered in past.items():
            await start(self.definition.triggers[nth], gathered.rest(self.engine.clock.now()))
            self.said["held"] += gathered.left
        await self._at_once(batch, all=True)

    async def _used(self, since: str | float | None) -> set[int]:
        """Places of the events that have started an instance together with others."""
        used: set[int] = set()
        async for row in stored(self.engine, COLLECTED_TYPE, since, LOOKED_AT_MAX):
            if row.event.source == f"/workflows/{self.name}":
                used |= {one["pos"] for one in row.event.data["events"]}
        return used

    def _is_held(self, row: StoredEventRow) -> bool:
        """Whether it will start something by itself."""
        states = self.engine.router.collector.states.values()
        return any(
            one.pos == row.pos
            for state in states if state.workflow == self.name
            for one in state.members
        )  # fmt: skip

    async def _together(
        self, rule: Collect, trigger: Trigger, key: str | None, rows: list[StoredEventRow]
    ) -> str:
        if any(self._is_held(row) for row in rows):
            return "held"
        scope = rows[0].scope
        id = state_id(scope, self.name, nth_of(self.definition, trigger), key)
        event, given = stands_for(rule, self.name, id, key, rows)
        hops = max(row.hops for row in rows)
        key = key if trigger.key is not None else None
        return await self._start(event, given, trigger, key, scope, hops)

    # -- starting ------------------------------------------------------------------------------

    async def _has_started(self, row: StoredEventRow) -> bool:
        """Whether the event has started the workflow when it came."""
        matches: list[Matched] = await self.engine.journal.call(EventMatches(row.pos))
        return any((one.workflow, one.action) == (self.name, "started") for one in matches)

    async def _is_known(self, id: str) -> bool:
        found: StoredEventRow | None = await self.engine.journal.call(
            GetEvent(id, self.engine.namespace)
        )
        return found is not None

    async def _start(
        self, stands: Event, given: Event, trigger: Trigger, key: str | None, scope: str, hops: int
    ) -> str:
        if self.dry_run:
            return "known" if await self._is_known(stands.id) else "started"
        future: asyncio.Future[Posted] = self.engine.loop.create_future()

        def done(result: Posted | GreenroomError) -> None:
            if future.done():
                return
            if isinstance(result, Posted):
                future.set_result(result)
            else:
                future.set_exception(result)

        self.engine.router.post_collected(
            stands, given, self.definition, trigger, key, scope, hops, done
        )
        posted = await future
        if posted.duplicate:
            return "known"
        return "started" if any(one.action == "started" for one in posted.matched) else "refused"
