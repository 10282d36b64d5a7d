"""The desk of schedules: a nominal time comes, and by the schedule's rules work is started.

A tick is an event with the schedule and the nominal time for its id, so a nominal time has one run
whatever crashes, is made up for or filled in again. The event, its instance and the next due time
are one transaction. Whether the run before is over is asked of the store just before; what has to
wait for it is a list in the store's notes (`QUEUE`), which is taken up again when a run ends.
"""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import hashlib
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.collector import MARK
from greenroom.actors.instance import Instance
from greenroom.actors.ports import (
    Append,
    Appended,
    ChangeSchedule,
    DropSchedules,
    GetEvent,
    GetMeta,
    Listed,
    ListInstances,
    ListSchedules,
    SaveSchedule,
    ScheduleRow,
    SetMeta,
    StoredEventRow,
)
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import (
    GreenroomError,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    NotFound,
)
from greenroom.definitions.events import TICK_TYPE, Event
from greenroom.definitions.expressions import compile_value
from greenroom.definitions.matching import compile_where
from greenroom.definitions.previews import COUNT_MAX, Planned, preview
from greenroom.definitions.schedules import CATCH_UP_MAX, Schedule, parse_schedule
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, canonical
from greenroom.definitions.workflow import Definition, Trigger
from greenroom.runtime import shapes, views

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

SKIPPED_TYPE: Final = "greenroom.schedule.skipped"
"""Type of the event that tells of a nominal time without a run."""

START: Final = "start"
"""Beside the rule in a stored schedule: input, key and namespace of what it starts."""

QUEUE: Final = "schedule.queue:"
"""Name of the note with the nominal times of a schedule that wait, oldest first."""

QUEUE_MAX: Final = 1_000
AT_ONCE: Final = 100
LATE_MS: Final = 60_000
"""A tick this late was missed, though the process lived: it was stopped, or its clock set."""
_RUNNING: Final = ("pending", "running", "waiting", "paused")
"""A failed run does nothing any more, so it holds up nobody."""


class Schedules:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.made: dict[str, set[str]] = {}
        """Ids of those made while running, by workflow."""
        self.firing: set[asyncio.Task[None]] = set()
        self._queued: dict[str, list[int]] = {}
        """Nominal times that wait for the run before them, as in the store's notes."""
        self._busy: set[str] = set()
        """Schedules whose queue is being taken up."""
        self._again: set[str] = set()
        """Those of them that must be looked at once more: a run has ended meanwhile."""
        self._opened = 0

    # -- looking -------------------------------------------------------------------------------

    async def _row(self, name: str) -> ScheduleRow:
        rows = await self._rows()
        for row in rows:
            if name in (row.id, row.workflow):
                return row
        ids = [row.id for row in rows]
        raise NotFound(f'there is no schedule "{name}"{did_you_mean(name, ids)}', schedule=name)

    async def _rows(self) -> list[ScheduleRow]:
        rows: list[ScheduleRow] = await self._engine.journal.call(ListSchedules())
        return [row for row in rows if not row.id.startswith(MARK)]

    async def _stored_as(self, id: str) -> ScheduleRow | None:
        """The row of this id: a schedule is named like its workflow, or like it and a number."""
        for workflow in (id, id.rpartition(":")[0]):
            rows: builtins.list[ScheduleRow] = await self._engine.journal.call(
                ListSchedules(workflow)
            )
            for row in rows:
                if row.id == id:
                    return row
        return next((row for row in await self._rows() if row.id == id), None)

    async def list(self) -> builtins.list[shapes.ScheduleInfo]:
        return [self._info(row) for row in await self._rows()]

    def _info(self, row: ScheduleRow) -> shapes.ScheduleInfo:
        schedule = _schedule(row)
        return shapes.ScheduleInfo(
            row.id,
            row.workflow,
            schedule.rule,
            views.time_text(row.due),
            row.paused,
            views.time_text(row.last),
            schedule.overlap,
            schedule.catch_up,
            len(self._queued.get(row.id, ())),
        )

    async def next(self, name: str, count: int = 10) -> Sequence[str]:
        """The next nominal times."""
        row = await self._row(name)
        _check_count(count)
        now = self._engine.clock.now() / 1000
        times = _schedule(row).upcoming(now, count, row.anchor / 1000)
        return [rfc3339(_ms(when)) for when in times]

    async def preview(
        self,
        name: str | None = None,
        *,
        rule: Json = None,
        count: int = 10,
        assume: Sequence[str] = (),
    ) -> Sequence[shapes.PlannedTick]:
        """What a schedule (or a `rule` that nobody has yet) would do at its next nominal times,
        `assume` that nothing runs for a while (`down=02:00-05:00`) or that runs take their time
        (`takes=20m`)."""
        _check_count(count)
        now = self._engine.clock.now() / 1000
        if rule is not None:
            schedule, id, anchor = parse_schedule(rule), "", now
        elif name is not None:
            row = await self._row(name)
            schedule, id, anchor = _schedule(row), row.id, row.anchor / 1000
        else:
            raise InvalidRequest("name a schedule, or give a rule")
        planned = await asyncio.to_thread(  # a rare rule looks at decades
            preview, schedule, now, count, assume, id=id, anchor=anchor
        )
        return [_planned(one) for one in planned]

    # -- verbs ---------------------------------------------------------------------------------

    async def pause(self, name: str) -> shapes.ScheduleInfo:
        """No tick until `resume`; those of the meantime are not made up for."""
        row = await self._row(name)
        await self._engine.journal.call(ChangeSchedule(row.id, True, None))
        return await self._shown(row.id)

    async def resume(self, name: str) -> shapes.ScheduleInfo:
        row = await self._row(name)
        due = _schedule(row).next_due(self._engine.clock.now() / 1000, row.anchor / 1000)
        at = None if due is None else _ms(due)
        await self._engine.journal.call(ChangeSchedule(row.id, False, at))
        if at is not None:
            self._engine.directory.timer.arm(at, 0, row.id)
        self._take_up(row.id)
        return await self._shown(row.id)

    async def _shown(self, id: str) -> shapes.ScheduleInfo:
        return next(item for item in await self.list() if item.id == id)

    async def trigger(self, name: str) -> shapes.Accepted:
        """Starts the workflow of a schedule now, beside its nominal times and whatever runs."""
        row = await self._row(name)
        now = self._engine.clock.now()
        event = Event(
            type=TICK_TYPE,
            id=f"{row.id}@now-{self._engine.new_id()}",
            source=_source(row),
            data={"schedule": row.id, "nominal": rfc3339(now), "triggered": True, **_start(row)},
        )
        return await self._engine.post_tick(
            event, self._started_by(row), None, self._namespace(row)
        )

    async def backfill(
        self, name: str, start: str, end: str | None = None, *, dry_run: bool = False
    ) -> shapes.Backfilled:
        """Runs the nominal times from `start` to `end` (default: now) that had no run yet; each
        nominal time has one, so the same again starts nothing. With `overlap: queue` one after
        another, otherwise all at once. At most 1,000. `dry_run` counts them and runs none."""
        row = await self._row(name)
        schedule = _schedule(row)
        low = _instant(start, "start")
        high = self._engine.clock.now() / 1000 if end is None else _instant(end, "end")
        anchor = row.anchor / 1000 if row.anchor / 1000 < low else low - 0.001
        times = [_ms(at) for at in schedule.upcoming(low - 0.001, CATCH_UP_MAX + 1, anchor)]
        times = [at for at in times if at <= high * 1000]
        if len(times) > CATCH_UP_MAX:
            raise InvalidRequest(
                f"{row.id} has more than {CATCH_UP_MAX:,} nominal times in that range",
                hint="backfill it in several parts",
            )
        if dry_run:
            known = sum(await asyncio.gather(*(self._has_run(row, nominal) for nominal in times)))
            left = len(times) - known
            started, queued = (0, left) if schedule.overlap == "queue" else (left, 0)
            return shapes.Backfilled(row.id, len(times), started, known, queued, True)
        if schedule.overlap == "queue":
            await self._enqueue(row.id, times, [])
            self._take_up(row.id)
            return shapes.Backfilled(row.id, len(times), 0, 0, len(times))
        started = known = 0
        for first in range(0, len(times), AT_ONCE):
            some = times[first : first + AT_ONCE]
            for reply in await asyncio.gather(*(self._post(row, at, None) for at in some)):
                known += reply.duplicate
                started += not reply.duplicate and any(m.action == "started" for m in reply.matched)
        return shapes.Backfilled(row.id, len(times), started, known, 0)

    async def _has_run(self, row: ScheduleRow, nominal: int) -> bool:
        found: StoredEventRow | None = await self._engine.journal.call(
            GetEvent(_tick_id(row, nominal), self._namespace(row))
        )
        return found is not None and found.event.source == _source(row)

    # -- schedules made while running ------------------------------------------------------------

    async def load(self) -> None:
        """Which schedules were made by `schedule(...)`, and which nominal times wait."""
        self._opened = self._engine.clock.now()
        call = self._engine.journal.call
        for row in await self._rows():
            if _start(row):
                self.made.setdefault(row.workflow, set()).add(row.id)
            if _schedule(row).overlap == "queue":
                note: str | None = await call(GetMeta(QUEUE + row.id))
                if note is not None and (waiting := msgspec.json.decode(note, type=list[int])):
                    self._queued[row.id] = waiting

    def recover(self) -> None:
        """Takes up what waited when the last process ended."""
        if self._queued:
            self._engine.directory.watch(self._stored)
        for id in list(self._queued):
            self._take_up(id)

    async def make(self, workflow: str, rule: Json, start: dict[str, Json]) -> str:
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
        at = None if due is None else _ms(due)
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
        rows: list[ScheduleRow] = await self._engine.journal.call(ListSchedules(row.workflow))
        keep = [r.id for r in rows if r.id != row.id]
        await self._engine.journal.call(DropSchedules(row.workflow, keep))

    def _namespace(self, row: ScheduleRow) -> str:
        found = _start(row).get("namespace")
        return found if isinstance(found, str) else self._engine.namespace

    def _started_by(self, row: ScheduleRow) -> Definition:
        """The released workflow; of a schedule made while running, with the trigger that it is."""
        definition = self._engine.registry.released(row.workflow)
        if not _start(row):
            return definition
        trigger = Trigger(
            None, compile_where(None), compile_value("::data.key"), compile_value("::data.input"),
            _schedule(row), row.id,
        )  # fmt: skip
        return dataclasses.replace(definition, triggers=(trigger,))

    # -- firing --------------------------------------------------------------------------------

    def fire(self, schedule_id: str, due: int) -> None:
        """A nominal time has come."""
        self._go(self._fire(schedule_id, due))

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._engine.loop.create_task(work)
        self.firing.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.firing.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception) and not isinstance(error, GreenroomError):
            self._engine.component_crashed("schedules", error)

    async def stop(self) -> None:
        """What is on its way and not stored fires again at the next start."""
        for task in [*self.firing]:
            task.cancel()
        await asyncio.gather(*self.firing, return_exceptions=True)

    async def _fire(self, id: str, due: int) -> None:
        engine = self._engine
        row = await self._stored_as(id)
        if (
            row is None
            or row.paused
            or row.due != due
            or engine.registry.find(row.workflow) is None
        ):
            return
        schedule, anchor, now = _schedule(row), row.anchor / 1000, engine.clock.now()
        if not engine.registry.is_enabled(row.workflow):
            await self._pass_over(row, schedule, max(now, due))
            return
        fires = _ms(schedule.fires_at(id, due / 1000, anchor))
        if fires > now:  # the nominal time is over, its jitter is not
            engine.clock.call_at(fires, lambda: self._jittered(id, due))
            return
        last = _ms(schedule.last_due(due / 1000 - 0.001, now / 1000, anchor) or due / 1000)
        last_fires = _ms(schedule.fires_at(id, last / 1000, anchor))
        if last_fires > now:  # its turn comes by itself
            following: float | None = last / 1000
            last = _ms(schedule.last_due(due / 1000 - 0.001, last / 1000 - 0.001, anchor) or 0)
            fresh = False
        else:
            following = schedule.next_due(max(now, due) / 1000, anchor)
            fresh = last_fires >= self._opened and now - last_fires <= LATE_MS
        next_due = None if following is None else _ms(following)
        times = self._owed(schedule, due, last, now, fresh, anchor)
        if not times:
            await engine.journal.call(ChangeSchedule(id, False, next_due))
        for place, nominal in enumerate(times):
            after = times[place + 1] if place + 1 < len(times) else next_due
            await self._start_or_not(row, schedule, nominal, after)
        if next_due is not None:
            engine.directory.timer.arm(next_due, 0, id)

    async def _pass_over(self, row: ScheduleRow, schedule: Schedule, now: int) -> None:
        """The workflow is disabled: the time passes, nothing is started."""
        following = schedule.next_due(now / 1000, row.anchor / 1000)
        at = None if following is None else _ms(following)
        await self._engine.journal.call(ChangeSchedule(row.id, False, at))
        if at is not None:
            self._engine.directory.timer.arm(at, 0, row.id)

    def _jittered(self, id: str, due: int) -> None:
        if self._engine.state == "open":
            self.fire(id, due)

    def _owed(
        self, schedule: Schedule, due: int, last: int, now: int, fresh: bool, anchor: float
    ) -> builtins.list[int]:
        """The nominal times from `due` to `last` that get a run: what was missed by the schedule's
        policy (`skip` none, `one` the last of them, `all` each, at most 1,000), and a `fresh` last
        one in any case, which then is the one."""
        if fresh and schedule.catch_up != "all":
            return [last]
        missed = schedule.missed(due / 1000 - 0.001, min(last, now) / 1000, anchor)
        times = [_ms(at) for at in missed]
        window = schedule.catch_up_window
        if window is not None:
            times = [at for at in times if now - at <= window * 1000 or (fresh and at == last)]
        return times

    async def _start_or_not(
        self, row: ScheduleRow, schedule: Schedule, nominal: int, after: int | None
    ) -> None:
        """Starts the run of a nominal time, unless the schedule's overlap forbids it."""
        match schedule.overlap:
            case "skip" if held := await self._running(row):
                await self._skip(row, nominal, after, held[0])
                return
            case "queue" if self._queued.get(row.id) or await self._running(row):
                change = ChangeSchedule(row.id, False, after)
                await self._enqueue(row.id, [nominal], [change])
                self._take_up(row.id)
                return
            case "cancel_running":
                for id in await self._running(row):
                    await self._cancel(row, id, nominal)
            case _:
                pass
        await self._post(row, nominal, (row.id, nominal, after))

    async def _post(
        self,
        row: ScheduleRow,
        nominal: int,
        tick: tuple[str, int, int | None] | None,
    ) -> shapes.Accepted:
        event = Event(
            type=TICK_TYPE,
            id=_tick_id(row, nominal),
            source=_source(row),
            time=rfc3339(nominal),
            data={"schedule": row.id, "nominal": rfc3339(nominal), **_start(row)},
        )
        return await self._engine.post_tick(
            event, self._started_by(row), tick, self._namespace(row)
        )

    async def _skip(self, row: ScheduleRow, nominal: int, after: int | None, held: str) -> None:
        """An event tells that there was no run, and why."""
        event = Event(
            type=SKIPPED_TYPE,
            id=_tick_id(row, nominal),
            source=f"{_source(row)}/skipped",
            time=rfc3339(nominal),
            data={"schedule": row.id, "nominal": rfc3339(nominal), "running": held},
        )
        definition = dataclasses.replace(self._engine.registry.released(row.workflow), triggers=())
        tick = (row.id, nominal, after)
        await self._engine.post_tick(event, definition, tick, self._namespace(row))

    async def _running(self, row: ScheduleRow) -> builtins.list[str]:
        """Ids of the runs of a schedule that are not over."""
        found: builtins.list[str] = []
        for status in _RUNNING:
            terms = [
                ("workflow", ":", row.workflow, False), ("status", ":", status, False),
                ("schedule", ":", row.id, False),
            ]  # fmt: skip
            cursor: tuple[int, int] | None = None
            while True:
                work = ListInstances(terms, 100, cursor, self._engine.clock.now(), False)
                page: Listed = await self._engine.journal.call(work)
                found += [one.id for one in page.rows]
                cursor = page.cursor
                if cursor is None:
                    break
        return found

    async def _cancel(self, row: ScheduleRow, id: str, nominal: int) -> None:
        try:
            reason = f"its schedule {row.id} begins the run of {rfc3339(nominal)}"
            await self._engine.cancel(id, reason=reason)
        except GreenroomError as error:  # it ended by itself meanwhile
            self._engine.log.info("a run was not cancelled", instance=id, error=str(error))

    # -- what waits for the run before it --------------------------------------------------------

    async def _enqueue(self, id: str, nominals: Sequence[int], with_: Sequence[Any]) -> None:
        self._engine.directory.watch(self._stored)
        waiting = self._queued.setdefault(id, [])
        new = [at for at in nominals if at not in waiting]
        dropped = max(0, len(waiting) + len(new) - QUEUE_MAX)
        if dropped:
            self._engine.log.warning("a schedule is far behind", schedule=id, dropped=dropped)
        waiting[:] = sorted([*waiting, *new])[dropped:]
        call = self._engine.journal.call
        await asyncio.gather(call(self._note(id)), *map(call, with_))

    def _note(self, id: str) -> SetMeta:
        return SetMeta(QUEUE + id, msgspec.json.encode(self._queued.get(id, [])).decode())

    def _stored(self, instance: Instance, append: Append, result: Appended) -> None:
        """After each commit: the end of a run lets the next one begin."""
        if not self._queued or append.change is None or append.change.status in _RUNNING:
            return
        workflow = instance.kernel.progress.workflow
        for id in self._queued:
            if id == workflow or id.startswith(workflow + ":"):
                self._take_up(id)

    def _take_up(self, id: str) -> None:
        if id in self._busy:
            self._again.add(id)
        elif self._queued.get(id):
            self._busy.add(id)
            self._go(self._drain(id))

    async def _drain(self, id: str) -> None:
        """Starts the oldest that waits, if nothing of the schedule runs."""
        try:
            while waiting := self._queued.get(id):
                row = await self._stored_as(id)
                if row is None or self._engine.registry.find(row.workflow) is None:
                    self._queued.pop(id, None)
                    return
                if row.paused or await self._running(row):
                    return
                await self._post(row, waiting[0], None)
                waiting.pop(0)
                await self._engine.journal.call(self._note(id))
        finally:
            self._busy.discard(id)
            if id in self._again:
                self._again.discard(id)
                if self._engine.state == "open":
                    self._take_up(id)


def _planned(one: Planned) -> shapes.PlannedTick:
    at = None if one.at is None else rfc3339(_ms(one.at))
    return shapes.PlannedTick(rfc3339(_ms(one.nominal)), at, one.what, one.why)


def _check_count(count: int) -> None:
    if not 1 <= count <= COUNT_MAX:
        raise InvalidRequest(f"count must be 1 to {COUNT_MAX}, got {count}")


def _tick_id(row: ScheduleRow, nominal: int) -> str:
    """The idempotency key of a nominal time."""
    return f"{row.id}@{rfc3339(nominal)}"


def _source(row: ScheduleRow) -> str:
    return f"/schedules/{row.id}"


def _schedule(row: ScheduleRow) -> Schedule:
    spec: dict[str, Json] = msgspec.json.decode(row.spec)
    return parse_schedule({key: value for key, value in spec.items() if key != START})


def _start(row: ScheduleRow) -> dict[str, Json]:
    found = msgspec.json.decode(row.spec).get(START)
    return found if isinstance(found, dict) else {}


def _ms(at: float) -> int:
    return round(at * 1000)


def _instant(text: str, what: str) -> float:
    """A moment of a request in seconds; without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError):
        raise InvalidRequest(
            f'{what} must be a moment such as 2026-03-01T00:00:00Z, got "{text}"', path=f"$.{what}"
        ) from None
