"""The verbs of an engine that come in groups: schedules, events, asks."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.ports import (
    AskView,
    ChangeSchedule,
    DropSchedules,
    GetEvent,
    ListAsks,
    ListEvents,
    ListSchedules,
    SaveSchedule,
    ScheduleRow,
    StoredEventRow,
)
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import (
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    NoSuchAsk,
    NotFound,
)
from greenroom.definitions.events import Event
from greenroom.definitions.expressions import compile_value
from greenroom.definitions.matching import compile_where
from greenroom.definitions.schedules import Schedule, parse_schedule
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, canonical
from greenroom.definitions.workflow import Definition, Trigger
from greenroom.runtime import reasons, shapes, views
from greenroom.runtime.forms import FORM_S

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

TICK_TYPE: Final = "greenroom.schedule"
"""Type of the event a schedule makes at each nominal time."""


class Schedules:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.made: dict[str, set[str]] = {}
        """Ids of those made while running, by workflow."""

    async def _row(self, name: str) -> ScheduleRow:
        rows: list[ScheduleRow] = await self._engine.journal.call(ListSchedules())
        for row in rows:
            if name in (row.id, row.workflow):
                return row
        ids = [row.id for row in rows]
        raise NotFound(f'there is no schedule "{name}"{did_you_mean(name, ids)}', schedule=name)

    async def list(self) -> list[shapes.ScheduleInfo]:
        rows: list[ScheduleRow] = await self._engine.journal.call(ListSchedules())
        return [
            shapes.ScheduleInfo(
                row.id,
                row.workflow,
                _schedule(row).rule,
                views.time_text(row.due),
                row.paused,
                views.time_text(row.last),
            )
            for row in rows
        ]

    async def next(self, name: str, count: int = 10) -> Sequence[str]:
        """The next nominal times."""
        row = await self._row(name)
        if not 1 <= count <= 1_000:
            raise InvalidRequest(f"count must be 1 to 1000, got {count}")
        now = self._engine.clock.now() / 1000
        times = _schedule(row).upcoming(now, count, row.anchor / 1000)
        return [rfc3339(round(_epoch(when) * 1000)) for when in times]

    async def pause(self, name: str) -> shapes.ScheduleInfo:
        """No tick until `resume`; those of the meantime are not made up for."""
        row = await self._row(name)
        await self._engine.journal.call(ChangeSchedule(row.id, True, None))
        return await self._shown(row.id)

    async def resume(self, name: str) -> shapes.ScheduleInfo:
        row = await self._row(name)
        due = _schedule(row).next_due(self._engine.clock.now() / 1000, row.anchor / 1000)
        at = None if due is None else round(due * 1000)
        await self._engine.journal.call(ChangeSchedule(row.id, False, at))
        if at is not None:
            self._engine.directory.timer.arm(at, 0, row.id)
        return await self._shown(row.id)

    async def _shown(self, id: str) -> shapes.ScheduleInfo:
        return next(item for item in await self.list() if item.id == id)

    async def trigger(self, name: str) -> shapes.Accepted:
        """Starts the workflow of a schedule now, beside its nominal times."""
        row = await self._row(name)
        definition = self._engine.registry.current(row.workflow)
        now = self._engine.clock.now()
        event = Event(
            type=TICK_TYPE,
            id=f"{row.id}@now-{self._engine.new_id()}",
            source=f"/schedules/{row.id}",
            data={"schedule": row.id, "nominal": rfc3339(now), "triggered": True, **_start(row)},
        )
        return await self._engine.post_tick(
            event, _started_by(definition, row), None, self._namespace(row)
        )

    # -- schedules made while running ------------------------------------------------------------

    async def load(self) -> None:
        """Which schedules were made by `schedule(...)`: those the code does not know by itself."""
        rows: list[ScheduleRow] = await self._engine.journal.call(ListSchedules())
        for row in rows:
            if _start(row):
                self.made.setdefault(row.workflow, set()).add(row.id)

    async def make(self, workflow: str, rule: str, start: dict[str, Json]) -> str:
        """A schedule that starts instances with an input of their own; the same again is the same."""
        engine = self._engine
        try:
            schedule = parse_schedule(rule)
        except InvalidDefinition as error:
            raise InvalidInput(error.message, hint=error.hint, rule=rule) from None
        spec = canonical({**schedule.spec, START: start})
        digest = hashlib.blake2b(spec, digest_size=6).hexdigest()
        id = f"{workflow}:{digest}"
        now = engine.clock.now()
        due = schedule.next_due(now / 1000, now / 1000)
        at = None if due is None else round(due * 1000)
        self.made.setdefault(workflow, set()).add(id)
        row: ScheduleRow = await engine.journal.call(SaveSchedule(id, workflow, spec, now, at))
        if row.due is not None:
            engine.directory.timer.arm(row.due, 0, id)
        return id

    async def delete(self, name: str) -> None:
        """Forgets a schedule that was made by `schedule(...)`."""
        row = await self._row(name)
        if not _start(row):
            raise InvalidRequest(
                f"the schedule {row.id} is in the code of {row.workflow}",
                hint="pause it, or change the code",
            )
        self.made.get(row.workflow, set()).discard(row.id)
        rows: list[ScheduleRow] = await self._engine.journal.call(ListSchedules())
        keep = [r.id for r in rows if r.workflow == row.workflow and r.id != row.id]
        await self._engine.journal.call(DropSchedules(row.workflow, keep))

    def _namespace(self, row: ScheduleRow) -> str:
        found = _start(row).get("namespace")
        return found if isinstance(found, str) else self._engine.namespace

    def fire(self, schedule_id: str, due: int) -> None:
        """A nominal time has come: its event, its instance and the next due time are one commit.

        Missed times follow the schedule's policy: `skip` none, `one` (default) the last of them,
        `all` each, at most 1,000.
        """
        engine = self._engine

        def listed(result: Any) -> None:
            if isinstance(result, Exception):
                return
            row = next((r for r in result if r.id == schedule_id), None)
            if row is None or row.paused or row.due != due:
                return
            definition = engine.registry.find(row.workflow)
            if definition is None:
                return
            if not engine.registry.is_enabled(row.workflow):
                self._pass_over(row, due)
                return
            self._fire_missed(row, _started_by(definition, row), due)

        engine.submit(ListSchedules(), listed)

    def _pass_over(self, row: ScheduleRow, due: int) -> None:
        """The workflow is disabled: the time passes, nothing is started."""
        now = max(self._engine.clock.now(), due)
        following = _schedule(row).next_due(now / 1000, row.anchor / 1000)
        at = None if following is None else round(following * 1000)
        self._engine.submit(ChangeSchedule(row.id, False, at), lambda _: None)
        if at is not None:
            self._engine.directory.timer.arm(at, 0, row.id)

    def _fire_missed(self, row: ScheduleRow, definition: Any, due: int) -> None:
        engine = self._engine
        schedule = _schedule(row)
        now = engine.clock.now()
        anchor = row.anchor / 1000
        times = [
            round(_epoch(t) * 1000) for t in schedule.missed(due / 1000 - 0.001, now / 1000, anchor)
        ]
        following = schedule.next_due(max(now, due) / 1000, anchor)
        next_due = None if following is None else round(following * 1000)
        if not times:
            engine.submit(ChangeSchedule(row.id, False, next_due), lambda _: None)
        for nominal in times:
            event = Event(
                type=TICK_TYPE,
                id=f"{row.id}@{rfc3339(nominal)}",
                source=f"/schedules/{row.id}",
                time=rfc3339(nominal),
                data={"schedule": row.id, "nominal": rfc3339(nominal), **_start(row)},
            )
            engine.router.post(
                event, self._namespace(row), None, lambda posted, refused: None,
                (row.id, nominal, next_due), definition,
            )  # fmt: skip
        if next_due is not None:
            engine.directory.timer.arm(next_due, 0, row.id)


class Events:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.StoredEvent]:
        """Events, newest first; `q` is an event type or empty."""
        type = q.removeprefix("type:").strip() or None
        limit = max(1, min(limit, 1_000))
        try:
            before = int(cursor) if cursor else None
        except ValueError:
            raise InvalidRequest(f"{cursor!r} is not a cursor of this list") from None
        rows: list[StoredEventRow] = await self._engine.journal.call(
            ListEvents(type, None, before, limit, self._engine.namespace)
        )
        after = str(rows[-1].pos) if len(rows) == limit else None
        return shapes.Page([views.event_shape(row) for row in rows], after)

    async def _row(self, id: str) -> StoredEventRow:
        found: StoredEventRow | None = await self._engine.journal.call(
            GetEvent(id, self._engine.namespace)
        )
        if found is None:
            raise NotFound(f"there is no event {id}", hint="greenroom events ls", event=id)
        return found

    async def get(self, id: str) -> shapes.StoredEvent:
        """One event, by id or `pos:<n>`."""
        return views.event_shape(await self._row(id))

    async def explain(self, id: str, workflow: str | None = None) -> shapes.Why:
        """What the event did, and why it did nothing to the rest."""
        return await reasons.explain(self._engine, await self._row(id), workflow)

    async def resend(self, id: str) -> shapes.Accepted:
        """Posts the event again under a new id."""
        row = await self._row(id)
        event = msgspec.structs.replace(row.event, id="", time=None)
        return await self._engine.post(event)


class Asks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Ask]:
        """Open questions; `q` is `assignee:NAME`, `instance:ID`, `all` or empty."""
        words = dict(word.partition(":")[::2] for word in q.split())
        limit = max(1, min(limit, 1_000))
        rows: list[AskView] = await self._engine.journal.call(
            ListAsks(
                "all" not in words,
                words.get("assignee"),
                words.get("instance"),
                None,
                limit,
                cursor,
            )
        )
        after = rows[-1].id if len(rows) == limit else None
        until = time.monotonic() + FORM_S
        items = [await self._shown(row, until - time.monotonic()) for row in rows]
        return shapes.Page(items, after)

    async def get(self, id: str) -> shapes.Ask:
        """One question. `id` is its id, `INSTANCE.STEP`, or an instance that asks one thing."""
        return await self._shown(await self.find(id), FORM_S)

    async def find(self, id: str) -> AskView:
        """The row of a question, however it is named. Raises `NoSuchAsk`."""
        engine = self._engine
        rows: list[AskView] = await engine.journal.call(ListAsks(open_only=False, id=id))
        if rows:
            return rows[0]
        ref, _, op = id.partition(".") if "/" not in id else (id, "", "")
        try:
            instance = (await engine._find(ref)).id
        except (NotFound, InvalidRequest):
            raise NoSuchAsk(f"there is no question {id}", ask=id) from None
        if op:
            rows = await engine.journal.call(ListAsks(open_only=False, id=f"{instance}.{op}"))
        else:
            rows = await engine.journal.call(ListAsks(instance=instance))
        if len(rows) == 1:
            return rows[0]
        raise NoSuchAsk(
            f"{id} asks {len(rows) or 'nothing'}{' questions' if rows else ''}",
            hint="name one:  " + "  ".join(row.id for row in rows[:5]) if rows else None,
            ask=id,
        )

    async def _shown(self, row: AskView, limit_s: float) -> shapes.Ask:
        """A form says what it asks when somebody looks, and only while it is open."""
        if row.kind != "form" or row.answered_at is not None or limit_s <= 0:
            return views.ask_shape(row)
        return views.ask_shape(row, *await self._engine.forms.schema(row, limit_s))


START: Final = "start"
"""Beside the rule in a stored schedule: input, key and namespace of what it starts."""


def _schedule(row: ScheduleRow) -> Schedule:
    spec: dict[str, Json] = msgspec.json.decode(row.spec)
    return parse_schedule({key: value for key, value in spec.items() if key != START})


def _start(row: ScheduleRow) -> dict[str, Json]:
    found = msgspec.json.decode(row.spec).get(START)
    return found if isinstance(found, dict) else {}


def _started_by(definition: Definition, row: ScheduleRow) -> Definition:
    """The workflow with the trigger that a schedule made while running is."""
    if not _start(row):
        return definition
    trigger = Trigger(
        None, compile_where(None), compile_value("::data.key"), compile_value("::data.input"),
        _schedule(row), row.id,
    )  # fmt: skip
    return dataclasses.replace(definition, triggers=(trigger,))


def _epoch(when: datetime | float) -> float:
    if isinstance(when, datetime):
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return float(when)
