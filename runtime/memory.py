"""The journal in memory: the same answers as the SQLite store's, out of plain dicts.

For tests and simulation. It is written independently of the SQL on purpose, so that each checks
the other. Nothing is indexed more than it must be. `crash` forgets nothing that a group stored,
`fail_next` and `crash_next` plan the faults a disk would have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Final, Literal

import msgspec

from greenroom.actors import ports
from greenroom.actors.ports import (
    FAN_OUT_PER_COMMIT,
    INBOX_MAX,
    LOOK_BACK_MAX,
    MATCHES_LISTED,
)
from greenroom.definitions.errors import (
    EngineDied,
    GreenroomError,
    InboxFull,
    InvalidEvent,
    NotFound,
    StaleAppend,
)
from greenroom.definitions.matching import (
    compile_stored,
    event_hashes,
)
from greenroom.runtime.memory_read import MemoryKeeper, MemoryReader
from greenroom.runtime.memory_tables import Instance, StoredEvent, Tables, Wait
from greenroom.runtime.statements import apply_statements
from greenroom.runtime.store import StoreFull, signed


class Crashed(BaseException):
    """The planned end of the process; what was stored is stored."""


class Fan:
    """What one event has done so far in this commit."""

    def __init__(self, event: StoredEvent) -> None:
        self.event = event
        self.done = 0
        self.matched: list[ports.Matched] = []
        self.items: list[tuple[int, str, ports.InboxItem]] = []
        self.started: list[ports.Created] = []

    def note(self, nth: int, match: ports.Matched) -> None:
        self.done += 1
        self.event.given.append((nth, match))
        if len(self.matched) < MATCHES_LISTED:
            self.matched.append(match)


class MemoryStore:
    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables or Tables()
        self.broken: BaseException | None = None
        self._spent: int | None = None  # the event whose starts are made: they do not find it
        self._planned: list[tuple[BaseException, bool]] = []
        self._works = self._work_table()

    # -- its life ---------------------------------------------------------------------------

    def open(self) -> ports.Opened:
        tables = self.tables
        clean, tables.clean = tables.clean, False
        tables.epoch += 1
        tables.requests_seen = 0
        self.broken = None
        return ports.Opened(
            tables.epoch, clean, tables.head, tables.last_n + 1, tables.closed_at, "", "none"
        )

    def close(self, clean: bool, at: int = 0) -> None:
        if clean and self.broken is None:
            self.tables.clean = True
            self.tables.closed_at = at

    def crash(self) -> MemoryStore:
        """The store as the next process finds it; this one answers nothing any more."""
        after = MemoryStore(self.tables)
        self.broken = Crashed()
        return after

    def fail_next(self, error: BaseException) -> None:
        """The next group that writes is not stored and raises the error."""
        self._planned.append((error, False))

    def crash_next(self, *, stored: bool) -> None:
        """The process ends in the next group that writes, before or after it is durable."""
        self._planned.append((Crashed(), stored))

    def swollen(self) -> bool:
        return False

    def checkpoint(self) -> None:
        """There is no log."""

    def probe(self) -> None:
        if self._planned and isinstance(self._planned[0][0], StoreFull):
            raise self._planned.pop(0)[0]

    # -- a group ----------------------------------------------------------------------------

    def run(self, group: Sequence[ports.Work]) -> list[Any]:
        if self.broken is not None:
            raise EngineDied(f"the store failed before: {self.broken}") from self.broken
        order = {at: _rank(work) for at, work in enumerate(group)}
        planned = None
        if self._planned and min(order.values(), default=READ) < READ:
            planned = self._planned.pop(0)
            if not planned[1]:
                self._fail(planned[0])
        results: list[Any] = [None] * len(group)
        try:
            for at in sorted(order, key=lambda at: (order[at], at)):
                results[at] = self._run(group[at])
        except BaseException as error:
            self.broken = error
            if isinstance(error, EngineDied):
                raise
            raise EngineDied(f"a group broke: {type(error).__name__}: {error}") from error
        if planned is not None:
            self._fail(planned[0])
        return results

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, StoreFull):
            self.broken = error
        raise error

    def _run(self, work: ports.Work) -> Any:
        run = self._works.get(type(work))
        if run is None:
            raise EngineDied(f"the store does not know the work {type(work).__name__}")
        if _rank(work) < READ:
            return run(work)
        try:
            return run(work)
        except GreenroomError as error:
            return error

    def _work_table(self) -> dict[type, Callable[[Any], Any]]:
        keeper, reader = MemoryKeeper(self.tables), MemoryReader(self.tables)
        return {
            ports.Append: self._append, ports.Create: self._create, ports.Post: self._post,
            ports.Route: self._route, ports.Redrive: self._redrive, **keeper.works(), **reader.works(),
            **self.tables.resources.works(),
        }  # fmt: skip

    # -- turns ------------------------------------------------------------------------------

    def _append(self, work: ports.Append) -> ports.Appended | GreenroomError:
        instance = self.tables.instances.get(work.n)
        if instance is None or work.iseq != len(instance.rows) + 1:
            expected = len(instance.rows) + 1 if instance else "no such instance"
            return StaleAppend(
                f"instance {work.n} appends row {work.iseq}, the journal expects {expected}"
            )
        for save in work.resources:
            stale = self.tables.resources.refusal(instance.row.namespace, save)
            if stale is not None:
                return stale
        if work.statements:
            failed = apply_statements(self.tables.sql(), work.statements)
            if failed is not None:
                return failed
        for save in work.resources:
            self.tables.resources.save(instance.row, self.tables.head + 1, work.rows[-1].at, save)
        return self._turn(instance, work)

    def _create(self, work: ports.Create) -> ports.Created:
        tables, row = self.tables, work.row
        refused = self._refusal(work)
        if refused is not None:
            return refused
        instance = Instance(copy(row), tables.head + 1)
        instance.row.attributes = dict(row.attributes)
        tables.instances[row.n] = instance
        tables.ids[row.id] = row.n
        tables.last_n = max(tables.last_n, row.n)
        if row.key is not None and not instance.ended:
            tables.keys[row.namespace, row.workflow, row.key] = row.n
        if work.request is not None:
            tables.requests.setdefault(work.request.id, (work.request, row.id))
        turn = self._turn(instance, work.first)
        outward = turn.found or turn.created or turn.told or turn.emitted
        return ports.Created(
            True, row.id, None, turn.pos, turn.found, None, turn if outward else None
        )

    def _refusal(self, work: ports.Create) -> ports.Created | None:
        tables, row = self.tables, work.row
        if work.request is not None and (known := tables.requests.get(work.request.id)):
            same = signed(known[0].hash) == signed(work.request.hash)
            conflict = "request" if same else "request_differs"
            return ports.Created(False, known[1], conflict, reply=known[0].reply)
        if row.id in tables.ids:
            return ports.Created(False, row.id, "id")
        holder = tables.keys.get((row.namespace, row.workflow, row.key or ""))
        if row.key is not None and holder is not None:
            return ports.Created(False, tables.instances[holder].row.id, "key")
        return None

    def _turn(self, instance: Instance, work: ports.Append) -> ports.Appended:
        tables = self.tables
        pos = tables.head + 1
        for row in work.rows:
            tables.head += 1
            instance.rows.append(ports.StoredRow(
                tables.head, len(instance.rows) + 1, tables.epoch, row.kind, row.at, row.payload
            ))  # fmt: skip
        if work.change is not None:
            self._change(instance, work.change, work.rows[-1].at if work.rows else None)
        for iq in work.taken:
            instance.inbox.pop(iq, None)
        for op, by, at in work.answered:
            for ask in instance.open_asks(op):
                instance.asks[ask.id] = msgspec.structs.replace(ask, by=by, answered_at=at)
        for op in work.closed:
            self._close(instance, op, pos)
        for op in work.untimed:
            instance.timers.pop(op, None)
        instance.timers.update(work.timers)
        for row_ in work.asks:
            instance.asks[row_.id] = ports.AskView(
                row_.id, instance.row.n, instance.row.id, row_.op, row_.kind, row_.title,
                row_.schema, row_.assignee, row_.due, None, None,
                instance.row.workflow, instance.row.version,
            )  # fmt: skip
        if work.generation_start is not None:
            instance.generation = work.generation_start
            instance.snapshots.clear()
        if work.version is not None:
            instance.row.version = work.version
            for id, ask in instance.asks.items():
                instance.asks[id] = msgspec.structs.replace(ask, version=work.version)
        if work.request is not None:
            tables.requests.setdefault(work.request.id, (work.request, instance.row.id))
        result = self._outward(instance, work, pos)
        if work.ended:
            self._end(instance, pos)
        return result

    def _outward(self, instance: Instance, work: ports.Append, pos: int) -> ports.Appended:
        created = [self._create(child) for child in work.creates]
        told = [heard for id, item in work.tell if (heard := self._tell(id, item))]
        emitted = [
            place for emit in work.emits if (place := self._store_unrouted(emit)) is not None
        ]
        found: list[ports.InboxItem] = []
        for wait in work.opened:
            found += self._open(instance, wait)
        return ports.Appended(pos, found, created, told, emitted)

    def _change(self, instance: Instance, change: ports.StatusChange, at: int | None) -> None:
        row = instance.row
        row.status, row.outcome, row.waits = change.status, change.outcome, change.waits
        row.steps, row.error, row.error_code = change.steps, change.error, change.error_code
        row.busy = change.busy
        if at is not None:
            row.updated = at
        if change.attributes is not None:
            row.attributes = dict(change.attributes)
        if instance.ended and row.key is not None:
            name = row.namespace, row.workflow, row.key
            if self.tables.keys.get(name) == row.n:
                del self.tables.keys[name]

    def _close(self, instance: Instance, op: str, pos: int) -> None:
        wait = instance.waits.get(op)
        if wait is not None and not wait.closed:
            self._close_wait(instance.row.n, op, wait, pos)
        instance.timers.pop(op, None)
        for ask in instance.open_asks(op):
            del instance.asks[ask.id]

    def _close_wait(self, n: int, op: str, wait: Wait, pos: int) -> None:
        wait.closed = pos
        for key in wait.keys:
            self.tables.index[wait.shape, key].pop((n, op), None)

    def _end(self, instance: Instance, pos: int) -> None:
        for op, wait in instance.waits.items():
            if not wait.closed:
                self._close_wait(instance.row.n, op, wait, pos)
        instance.timers.clear()
        instance.inbox.clear()
        instance.snapshots.clear()
        for ask in instance.open_asks():
            del instance.asks[ask.id]

    def _tell(self, id: str, item: ports.InboxRow) -> tuple[int, str, ports.InboxItem] | None:
        n = self.tables.ids.get(id)
        if n is None or self.tables.instances[n].ended:
            return None
        put = self._put(n, item.kind, item.payload, item.at, item.pos)
        return n, id, put

    def _put(self, n: int, kind: str, payload: bytes, at: int, pos: int | None) -> ports.InboxItem:
        self.tables.iq += 1
        item = ports.InboxItem(self.tables.iq, kind, payload, at, pos)
        self.tables.instances[n].inbox[item.iq] = item
        return item

    # -- waits ------------------------------------------------------------------------------

    def _open(self, instance: Instance, row: ports.WaitRow) -> list[ports.InboxItem]:
        tables, n = self.tables, instance.row.n
        name = instance.row.namespace, row.type, row.paths
        shape = tables.shapes.setdefault(name, len(tables.shapes) + 1)
        before = instance.waits.get(row.op)
        if before is not None and not before.closed:
            self._close_wait(n, row.op, before, tables.head)
        wait = instance.waits[row.op] = Wait(row, shape, tables.head)
        for key in wait.keys:
            tables.index.setdefault((shape, key), {})[n, row.op] = wait
        if row.since_at is None and (row.since is None or row.since >= tables.head):
            return []
        return self._look_back(instance, wait)

    def _look_back(self, instance: Instance, wait: Wait) -> list[ports.InboxItem]:
        row, n = wait.row, instance.row.n
        room = min(LOOK_BACK_MAX, INBOX_MAX - len(instance.inbox))
        found: list[ports.InboxItem] = []
        for event in self.tables.events.values():
            if len(found) >= room:
                break
            if (
                (row.since_at is None and event.pos <= (row.since or 0))
                or event.row.accepted < (row.since_at or 0)
                or event.pos == self._spent
                or event.row.scope != instance.row.namespace
                or event.row.event.type != row.type
                or event.was_given(n)
                or not _has_key(event.data, row.paths, wait.keys)
                or not _matches(row.where, event.data)
            ):
                continue
            event.given.append((0, _match(instance, "delivered")))
            event.matched += 1
            found.append(self._put(n, "event", event.body, event.row.accepted, event.pos))
            if not row.many:
                break
        return found

    # -- events -----------------------------------------------------------------------------

    def _known(self, row: ports.EventRow) -> StoredEvent | None:
        pos = self.tables.event_ids.get((row.event.id, row.event.source, row.scope))
        return None if pos is None else self.tables.events[pos]

    def _store_event(self, row: ports.EventRow, body: bytes) -> StoredEvent:
        tables = self.tables
        tables.head += 1
        event = tables.events[tables.head] = StoredEvent(tables.head, row, body)
        tables.event_ids[row.event.id, row.event.source, row.scope] = tables.head
        return event

    def _store_unrouted(self, row: ports.EventRow) -> int | None:
        if row.checked and self._known(row) is not None:
            return None
        event = self._store_event(row, msgspec.json.encode(row.event))
        event.cursor = 0
        return event.pos

    def _post(self, work: ports.Post) -> ports.Posted | GreenroomError:
        row = work.row
        known = self._known(row) if row.checked else None
        if known is not None:
            self._tick(work)
            if signed(known.row.hash) != signed(row.hash):
                return ports.Posted(known.pos, duplicate=True, conflict=True)
            return ports.Posted(
                known.pos,
                duplicate=True,
                matched_total=known.matched,
                matched=self.tables.given(known),
            )
        try:
            body = msgspec.json.encode(row.event)
        except (ValueError, TypeError, RecursionError) as error:
            return InvalidEvent(f"the event cannot be stored: {error}", path="$")
        if work.to is not None:
            return self._direct(work, body)
        event = self._store_event(row, body)
        if work.later:
            event.cursor = 0
            return ports.Posted(event.pos, more=True)
        fan = Fan(event)
        self._start(fan, work.starts)
        event.cursor = self._deliver(fan, 0)
        event.matched = fan.done
        self._tick(work)
        return self._posted(fan)

    def _route(self, work: ports.Route) -> ports.Posted | GreenroomError:
        event = self.tables.events.get(work.pos)
        if event is None:
            return NotFound(f"no event at {work.pos}", pos=work.pos)
        fan = Fan(event)
        if event.cursor is not None:
            if event.cursor == 0:
                self._start(fan, work.starts)
            event.cursor = self._deliver(fan, event.cursor)
            event.matched += fan.done
        return self._posted(fan)

    def _posted(self, fan: Fan) -> ports.Posted:
        event = fan.event
        return ports.Posted(
            event.pos, False, False, event.matched, fan.matched, fan.items, fan.started,
            event.cursor is not None,
        )  # fmt: skip

    def _direct(self, work: ports.Post, body: bytes) -> ports.Posted | GreenroomError:
        n = self.tables.ids.get(work.to or "")
        if n is None:
            return NotFound(f"no instance {work.to}", instance=work.to)
        instance = self.tables.instances[n]
        if not instance.ended and len(instance.inbox) >= INBOX_MAX:
            return InboxFull(
                f"instance {work.to} holds {INBOX_MAX:,} undelivered messages", instance=work.to
            )
        fan = Fan(self._store_event(work.row, body))
        if not instance.ended:
            self._give(fan, instance)
        fan.event.matched = fan.done
        return self._posted(fan)

    def _start(self, fan: Fan, starts: Sequence[ports.Create]) -> None:
        for nth, create in enumerate(starts, 1):
            self._spent = fan.event.pos
            row, made = create.row, self._create(create)
            self._spent = None
            fan.started.append(made)
            n, action, code = row.n, "started", None
            if not made.created:
                code = "already_running" if made.conflict == "key" else made.conflict
                n, action = self.tables.ids.get(made.id, 0), "refused"
            fan.note(
                nth,
                ports.Matched(n, made.id, row.workflow, row.key, action, code),  # type: ignore[arg-type]
            )

    def _deliver(self, fan: Fan, cursor: int) -> int | None:
        event = fan.event
        for shape, n, wait in self._candidates(event):
            place = shape << 44 | n
            if place <= cursor or wait.opened >= event.pos or event.was_given(n):
                continue
            if not _matches(wait.row.where, event.data):
                continue
            if fan.done >= FAN_OUT_PER_COMMIT:
                return place - 1
            self._give(fan, self.tables.instances[n])
        return None

    def _candidates(self, event: StoredEvent) -> list[tuple[int, int, Wait]]:
        tables, found = self.tables, []
        for (namespace, type_, paths), shape in tables.shapes.items():
            if (namespace, type_) != (event.row.scope, event.row.event.type):
                continue
            keys = event_hashes(event.data, paths)
            if keys is None:
                keys = [hash_ for held, hash_ in tables.index if held == shape]
            found += [
                (shape, n, op, wait)
                for key in keys
                for (n, op), wait in tables.index.get((shape, key), {}).items()
            ]
        found.sort(key=lambda row: row[:3])
        return [(shape, n, wait) for shape, n, _, wait in found]

    def _give(self, fan: Fan, instance: Instance) -> None:
        event, n = fan.event, instance.row.n
        if len(instance.inbox) >= INBOX_MAX:
            self.tables.dead.setdefault(
                (n, event.pos), ports.DeadRow(n, event.pos, event.row.accepted, "inbox_full")
            )
            fan.note(0, _match(instance, "refused", "inbox_full"))
            return
        fan.note(0, _match(instance, "delivered"))
        item = self._put(n, "event", event.body, event.row.accepted, event.pos)
        fan.items.append((n, instance.row.id, item))

    def _redrive(self, work: ports.Redrive) -> ports.Redriven | GreenroomError:
        tables, key = self.tables, (work.n, work.pos)
        instance, event = tables.instances.get(work.n), tables.events.get(work.pos)
        if key not in tables.dead or instance is None or event is None:
            return NotFound(f"no dead letter of {work.n} at {work.pos}", pos=work.pos)
        id = instance.row.id
        if not instance.ended and len(instance.inbox) >= INBOX_MAX:
            return InboxFull(f"instance {id} holds {INBOX_MAX:,} undelivered messages", instance=id)
        del tables.dead[key]
        if instance.ended:
            return ports.Redriven(id, None)
        delivered = 0, _match(instance, "delivered")
        event.given = [
            delivered if (nth, match.n) == (0, work.n) else (nth, match)
            for nth, match in event.given
        ]
        item = self._put(work.n, "event", event.body, event.row.accepted, event.pos)
        return ports.Redriven(id, item)

    def _tick(self, work: ports.Post) -> None:
        if work.tick is None:
            return
        id, nominal, due = work.tick
        row = self.tables.schedules.get(id)
        if row is not None and (row.last is None or row.last < nominal):
            self.tables.schedules[id] = msgspec.structs.replace(row, last=nominal, due=due)


# Their order inside a group.
TURN: Final = 0
EVENT: Final = 1
OTHER: Final = 2
READ: Final = 3
_OTHERS: Final = (
    ports.Keep, ports.SaveSnapshot, ports.SaveDefinition, ports.ChangeDefinition,
    ports.DropDefinition, ports.SaveSchedule, ports.ChangeSchedule, ports.DropSchedules,
    ports.Prune, ports.SetMeta, ports.NoteAsk,
)  # fmt: skip


def _rank(work: ports.Work) -> int:
    if isinstance(work, ports.Append | ports.Create):
        return TURN
    if isinstance(work, ports.Post | ports.Route | ports.Redrive):
        return EVENT
    return OTHER if isinstance(work, _OTHERS) else READ


def _match(
    instance: Instance, action: Literal["delivered", "refused"], code: str | None = None
) -> ports.Matched:
    row = instance.row
    return ports.Matched(row.n, row.id, row.workflow, row.key, action, code)


def _matches(where: bytes, data: dict[str, Any]) -> bool:
    try:
        return compile_stored(where).matches(data)
    except GreenroomError:
        return False


def _has_key(data: dict[str, Any], paths: tuple[str, ...], wanted: Sequence[int]) -> bool:
    hashes = event_hashes(data, paths)
    return hashes is None or any(one in wanted for one in hashes)
