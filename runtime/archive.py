"""Stored events used again: tried against subscriptions nobody has yet, given to whom they could
not be given. `eventreplays` starts workflows for them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from greenroom.actors.ports import (
    Counts,
    CountsRow,
    DeadLetters,
    DeadRow,
    GetEvent,
    InstanceRow,
    ListEvents,
    Load,
    Loaded,
    Redrive,
    Redriven,
    StoredEventRow,
)
from greenroom.actors.rows import rfc3339
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import GreenroomError, InvalidInput, InvalidRequest, NotFound
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Trigger, key_text, trigger_on
from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

LOOKED_AT_MAX: Final = 100_000
PAGE: Final = 500
FIRST: Final = 10
REASONS: Final = 5
TRIED_MAX: Final = 100


async def stored(
    engine: Engine, type: str | None, since: str | float | None, limit: int
) -> AsyncIterator[StoredEventRow]:
    """Events of a type from a moment (or a duration ago) on, oldest first, at most `limit`."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LOOKED_AT_MAX:
        raise InvalidRequest(f"limit must be 1 to {LOOKED_AT_MAX:,}, got {limit!r}")
    start = None if since is None else moment(engine.clock.now(), since)
    after = 0
    left = limit
    while left:
        rows: list[StoredEventRow] = await engine.journal.call(
            ListEvents(type, after, None, PAGE, engine.namespace)
        )
        for row in rows:
            after = row.pos
            if start is not None and row.accepted < start:
                continue
            yield row
            left -= 1
            if not left:
                return
        if len(rows) < PAGE:
            return


async def place_before(engine: Engine, at: int) -> int:
    """The place after which events were accepted at a moment or later, found in a few reads. Where the
    clock has been set back meanwhile it is one of several."""
    counts: CountsRow = await engine.journal.call(Counts())
    low, high = 0, counts.head
    while low < high:
        middle = (low + high) // 2
        rows: list[StoredEventRow] = await engine.journal.call(
            ListEvents(None, middle, None, 1, engine.namespace)
        )
        if rows and rows[0].accepted < at:
            low = rows[0].pos
        else:
            high = middle
    return low


def moment(now: int, since: str | float) -> int:
    """Milliseconds: a moment as text, or how long ago."""
    if isinstance(since, str):
        try:
            found = datetime.fromisoformat(since)
        except ValueError:
            pass
        else:
            return round(found.astimezone().timestamp() * 1000) if found.tzinfo else _utc(found)
    try:
        return now - round(seconds(since, "since") * 1000)
    except InvalidInput as error:
        raise InvalidRequest(
            f'since must be a moment or a duration ago, got "{since}"', hint=error.hint
        ) from None


def _utc(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1)).total_seconds() * 1000)


# -- what if -----------------------------------------------------------------------------------


async def try_subscriptions(
    engine: Engine,
    subscriptions: Sequence[dict[str, Json]],
    type: str | None,
    since: str | float | None,
    limit: int,
) -> list[shapes.Tried]:
    """What triggers would have done to stored events; nothing is started or stored."""
    if not isinstance(subscriptions, list | tuple) or not 1 <= len(subscriptions) <= TRIED_MAX:
        raise InvalidRequest(f"1 to {TRIED_MAX} subscriptions can be tried at once")
    tried = [_Trial(one) for one in subscriptions]
    types = {one.trigger.type for one in tried}
    only = type if type is not None else next(iter(types)) if len(types) == 1 else None
    async for row in stored(engine, only, since, limit):
        event = row.event.as_data()
        for one in tried:
            one.ask(row, event)
    return [one.shape() for one in tried]


class _Trial:
    def __init__(self, given: dict[str, Json]) -> None:
        known = {"workflow", "on", "where", "key"}
        if (
            not isinstance(given, dict)
            or not isinstance(given.get("on"), str)
            or set(given) - known
        ):
            raise InvalidRequest(
                "a subscription is an object with on (an event type), and where, key, workflow"
            )
        self.workflow = given.get("workflow")
        self.trigger: Trigger = trigger_on(given["on"], given.get("where"), given.get("key"))
        self.looked = self.matched = 0
        self.first: list[Json] = []
        self.reasons: Counter[str] = Counter()

    def ask(self, row: StoredEventRow, event: dict[str, Json]) -> None:
        if row.event.type != self.trigger.type:
            return
        self.looked += 1
        failed = self.trigger.where.first_failure(event)
        if failed is not None:
            self.reasons[f"{failed.path}  {failed.attribute} {failed.operator}"] += 1
            return
        self.matched += 1
        if len(self.first) < FIRST:
            self.first.append({"id": row.event.id, "pos": row.pos, **self._key(event)})

    def _key(self, event: dict[str, Json]) -> dict[str, Json]:
        if self.trigger.key is None:
            return {"key": None}
        try:
            return {"key": key_text(self.trigger.key.evaluate(event), str(self.workflow))}
        except GreenroomError as error:
            return {"key": None, "error": error.message}

    def shape(self) -> shapes.Tried:
        reasons: list[Json] = [
            {"criterion": text, "events": count}
            for text, count in self.reasons.most_common(REASONS)
        ]
        return shapes.Tried(
            None if self.workflow is None else str(self.workflow),
            str(self.trigger.type),
            self.trigger.where.source,
            self.looked,
            self.matched,
            self.first,
            reasons,
        )


# -- held --------------------------------------------------------------------------------------


def held(engine: Engine, workflow: str | None, limit: int) -> list[shapes.Held]:
    """What triggers have collected and not started yet, the next due first."""
    collector = engine.router.collector
    found: list[shapes.Held] = []
    for state in sorted(collector.states.values(), key=lambda state: state.due):
        if workflow not in (None, state.workflow) or not state.members or len(found) >= limit:
            continue
        rule = collector.rule_of(state)
        found.append(
            shapes.Held(
                state.workflow,
                state.key,
                "gone" if rule is None else rule.kind,
                [member.pos for member in state.members],
                rfc3339(state.opened),
                rfc3339(state.due),
            )
        )
    return found


# -- dead letters ------------------------------------------------------------------------------


async def dead(engine: Engine, instance: str | None, limit: int) -> list[shapes.DeadLetter]:
    """Deliveries that full inboxes refused."""
    n = None if instance is None else (await engine._find(instance)).n
    rows: list[DeadRow] = await engine.journal.call(DeadLetters(n, max(1, min(limit, 1_000))))
    loaded: list[Loaded] = await engine.journal.call(
        Load(sorted({row.n for row in rows}), snapshots=False)
    )
    names: dict[int, InstanceRow] = {one.row.n: one.row for one in loaded}
    events: list[StoredEventRow | None] = await asyncio.gather(
        *(engine.journal.call(GetEvent(f"pos:{row.pos}", engine.namespace)) for row in rows)
    )
    return [
        shapes.DeadLetter(
            names[row.n].id,
            names[row.n].workflow,
            names[row.n].key,
            row.pos,
            None if event is None else event.event.id,
            None if event is None else event.event.type,
            rfc3339(row.at),
            row.reason,
        )
        for row, event in zip(rows, events, strict=True)
        if row.n in names
    ]


async def redrive(
    engine: Engine, instance: str | None, pos: int | None, limit: int
) -> shapes.Redriven:
    """Delivers dead letters again, the oldest first; those that still find no room stay."""
    n = None if instance is None else (await engine._find(instance)).n
    rows: list[DeadRow] = await engine.journal.call(DeadLetters(n, max(1, min(limit, 1_000))))
    chosen = [row for row in rows if pos in (None, row.pos)]
    if pos is not None and not chosen:
        raise NotFound(f"no dead letter at {pos}", hint="greenroom events dead ls", pos=pos)
    said: Counter[str] = Counter()
    for row in sorted(chosen, key=lambda row: row.pos):
        try:
            result: Redriven = await engine.journal.call(Redrive(row.n, row.pos))
        except GreenroomError:
            said["left"] += 1
            continue
        said["delivered" if result.item is not None else "dropped"] += 1
        if result.item is not None:
            engine.directory.deliver(row.n, result.id, [result.item])
    return shapes.Redriven(said["delivered"], said["dropped"], said["left"])
