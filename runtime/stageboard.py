"""The board of a stage graph: where its live runs stand, and moving one along a transition.

A run has its stage as a search attribute as long as it lives, so a column is read by an index: what
it costs is what it shows, however many runs there are.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from greenroom.actors.ports import InstanceRow, ListStanding, Load, Loaded, Standing
from greenroom.actors.progress import Progress, status_of
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import InvalidRequest, InvalidTransition
from greenroom.definitions.events import MOVE, Event
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.stagegraphs import Stage, StageGraph
from greenroom.definitions.stageworkflows import KIND, STAGE, StageDesk
from greenroom.definitions.values import Json, copy
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.progresses import folded
from greenroom.runtime.terms import terms_of

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

PAGE: Final = 200
COUNT_MAX: Final = 10_000
"""Cards of a column are counted up to this."""
FIELDS: Final = 3
LOOK_MAX: Final = 2_000
"""With a condition: runs of a column that a page looks at."""


class Card(NamedTuple):
    row: InstanceRow
    progress: Progress

    def data(self, fields: Sequence[str] = ()) -> dict[str, Json]:
        row, state, ops = self.row, self.progress.state, self.progress.ops
        data = state.get("data") or {}
        first = str(data.get(fields[0]) or "")[:80] if fields else ""
        return {
            "instance": row.id, "key": row.key, "stage": state.get("stage"),
            "title": state.get("title"), "assignee": state.get("assignee"), "status": row.status,
            "data": copy(data), "called": state.get("title") or row.key or first or None,
            "fields": _fields(data, fields), "created": rfc3339(row.created),
            "updated": rfc3339(row.updated), "parent": row.parent, "test": row.test,
            "ask": next((f"{row.id}.{k}" for k, op in ops.items() if op.request.kind == "ask"), None),
            "movable": _handle(self.progress) is not None, "stays": stays(self.progress),
        }  # fmt: skip


def _fields(data: Mapping[str, Json], first: Sequence[str]) -> Json:
    """What a card shows of the data: the names that are asked for, then the others in order, as far
    as they can be read at a glance."""
    plain = {
        name: value for name, value in data.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    }  # fmt: skip
    names = [name for name in first if name in plain] + sorted(plain.keys() - set(first))
    return [[name, str(plain[name])[:80]] for name in names[: max(FIELDS, len(first))]]


class Handle(NamedTuple):
    """By what a run is moved: the wait that hears of it, or the stage that is skipped."""

    op: str
    skipped: bool = False


def _handle(p: Progress) -> Handle | None:
    if p.end is not None or p.paused:
        return None
    if p.failure is not None:
        failed = [key for key in p.causes if "#" in key]
        return Handle(failed[0], True) if len(failed) == 1 else None
    for key, op in p.ops.items():
        if key.endswith(".move"):
            return Handle(key)
        if op.status == "retry" and "." not in key.rpartition("#")[2]:
            return Handle(key, True)
    return None


def stays(p: Progress) -> str | None:
    """Why nobody can move a run now; None where somebody can."""
    if _handle(p) is not None:
        return None
    match status_of(p):
        case "paused":
            return "it is paused: resume it first"
        case "running" | "pending":
            return "its stage is at work: what comes of that says where it goes"
        case "failed":
            return "it is parked: look why, and resume it"
    return "it waits for runs of its own"


class StageBoard:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(
        self,
        graph: StageGraph,
        columns: Sequence[str] | None,
        filter: Json,
        q: str,
        limit: int,
        cursor: Mapping[str, str],
        test: bool,
    ) -> builtins.list[dict[str, Json]]:
        names = columns if columns is not None else [
            path for path, stage in graph.stages.items()
            if stage.kind not in ("condition", "iterator")
        ]  # fmt: skip
        wanted = None if filter is None else compile_where(filter)
        limit = max(1, min(limit, PAGE))
        made: builtins.list[dict[str, Json]] = []
        for name in names:
            stage = graph.find(name)
            column = _Column(self._engine, graph, stage, q, test)
            after = int(cursor.get(stage.path, 0))
            if wanted is None:
                made.append(await column.read(limit, after))
            else:
                made.append(await column.filtered(wanted, limit, after))
        return made

    async def move(self, instance: str, stage: str, by: str | None) -> dict[str, Json]:
        engine = self._engine
        engine._check_open()
        row = await engine._find(instance)
        p = await engine._progress(row.n)
        definition = engine.registry.version(p.workflow, p.version)
        if definition is None or definition.kind != KIND:
            raise InvalidRequest(f"{row.id} is no run of a stage graph", instance=row.id)
        desk = definition.desk
        assert isinstance(desk, StageDesk)
        here, target = str(p.state.get("stage")), desk.graph.find(stage).path
        desk.may_move(p.state, target)
        handle = _handle(p)
        if handle is None:
            raise InvalidTransition(
                f"{row.id} stays at {here}: {stays(p)}", instance=row.id, status=status_of(p)
            )
        if handle.skipped:
            said: Json = {
                "data": p.state["data"], "next": [desk.hand_over(p.state, target)],
            }  # fmt: skip
            await engine.skip(row.id, handle.op, said, reason=f"moved to {target}", by=by)
            return {"instance": row.id, "stage": target, "from": here}
        event = Event(type=MOVE, data={"stage": target, "from": here})
        sent = await engine.send(row.id, event, by=by or "somebody")
        if not sent.matched:
            raise InvalidTransition(f"{row.id} has gone on meanwhile", instance=row.id)
        return {"instance": row.id, "stage": target, "from": here}


class _Column:
    """The runs at one stage, the oldest first."""

    def __init__(self, engine: Engine, graph: StageGraph, stage: Stage, q: str, test: bool) -> None:
        self._engine = engine
        self._graph = graph
        self._stage = stage
        self._q = q
        self._test = test

    async def read(self, limit: int, after: int) -> dict[str, Json]:
        found = await self._standing(limit, after, COUNT_MAX + 1)
        cards = [one.data(self._graph.card) for one in await self._cards(found.rows)]
        count = min(found.count, COUNT_MAX)
        cursor = found.rows[-1].n if found.more else None
        return self._shown(cards, count, found.count > count, cursor)

    async def filtered(self, wanted: Where, limit: int, after: int) -> dict[str, Json]:
        """Those that meet a condition, among as many as a page looks at."""
        met: builtins.list[tuple[int, dict[str, Json]]] = []
        at, looked, more = after, 0, True
        while more and looked < LOOK_MAX:
            found = await self._standing(PAGE, at, 0)
            cards = [
                (one.row.n, one.data(self._graph.card)) for one in await self._cards(found.rows)
            ]
            met += [card for card in cards if wanted.matches(card[1])]
            more, looked = found.more, looked + len(found.rows)
            at = found.rows[-1].n if found.rows else at
        cursor = met[limit - 1][0] if len(met) > limit else at if more else None
        return self._shown([data for _, data in met[:limit]], len(met), more, cursor)

    def _shown(
        self, cards: builtins.list[dict[str, Json]], count: int, more: bool, cursor: int | None
    ) -> dict[str, Json]:
        stage = self._stage
        return {
            "stage": stage.path, "title": stage.title or stage.path, "kind": stage.kind,
            "count": count, "more": more, "cards": cards,
            "cursor": None if cursor is None else str(cursor),
            "targets": self._graph.targets(stage.path),
        }  # fmt: skip

    async def _standing(self, limit: int, after: int, count_max: int) -> Standing:
        engine = self._engine
        now = engine.clock.now()
        found: Standing = await engine.journal.call(
            ListStanding(
                self._graph.name, STAGE, self._stage.path, terms_of(parse_filter(self._q), now),
                limit, after, count_max, now, self._test,
            )
        )  # fmt: skip
        return found

    async def _cards(self, rows: Sequence[InstanceRow]) -> builtins.list[Card]:
        call = self._engine.journal.call
        found: builtins.list[Loaded | None] = await call(Load(tuple(row.n for row in rows)))
        return [Card(one.row, folded(one)) for one in found if one is not None]
