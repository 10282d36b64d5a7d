"""Reads and housekeeping of the store in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

import msgspec

from greenroom.actors import ports
from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime import terms as words
from greenroom.runtime.keptdata import measure_data, read_data
from greenroom.runtime.memory_tables import ENDED, Instance, StoredEvent, Tables
from greenroom.runtime.store import PRUNED_KIND, STATUSES, ref_kind

PREFIX_MIN = 8
SNAPSHOTS_KEPT = 2


class MemoryReader:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def works(self) -> dict[type, Callable[[Any], Any]]:
        return {
            ports.Load: self.load, ports.Find: self.find, ports.ReadRows: self.rows,
            ports.ReadJournal: self.journal, ports.ListInstances: self.instances,
            ports.ListStanding: self.standing,
            ports.ListEvents: self.events, ports.GetEvent: self.event,
            ports.EventMatches: self.matches, ports.WaitsAt: self.waits_at,
            ports.DueTimers: self.due, ports.BusyInstances: self.busy,
            ports.UnroutedEvents: self.unrouted, ports.FindRequest: self.request,
            ports.ListAsks: self.asks, ports.ListDefinitions: self.definitions,
            ports.ListSchedules: self.schedules, ports.Counts: self.counts,
            ports.DeadLetters: self.dead, ports.Audit: self.audit, ports.Orphans: self.orphans,
            ports.AskNotes: self.ask_notes,
            ports.GetMeta: lambda work: self.tables.meta.get(work.key),
            ports.ReadData: lambda work: read_data(self.tables.sql(), work),
            ports.MeasureData: lambda work: measure_data(self.tables.sql(), work),
        }  # fmt: skip

    def load(self, work: ports.Load) -> list[ports.Loaded]:
        found = (self.tables.instances.get(n) for n in dict.fromkeys(work.ns))
        return [self._loaded(i, work.snapshots) for i in found if i is not None]

    def _loaded(self, instance: Instance, snapshots: bool) -> ports.Loaded:
        start, payload = instance.generation - 1, None
        if snapshots:
            for iseq, (held, crc) in sorted(instance.snapshots.items()):
                if zlib.crc32(held) == crc:
                    start, payload = iseq, held
        rows = instance.rows[start:]
        missing = None if rows or payload is not None else f"row {start + 1} is missing"
        return ports.Loaded(
            _row(instance), len(instance.rows), rows, list(instance.inbox.values()), payload,
            start if payload is not None else 0, instance.generation, instance.pos, missing,
        )  # fmt: skip

    def find(self, work: ports.Find) -> ports.InstanceRow | None:
        named = ref_kind(work.ref)
        if named is not None:
            wanted = (work.namespace, *named)
            found = [
                i for i in self.tables.instances.values()
                if (i.row.namespace, i.row.workflow, i.row.key) == wanted
            ]  # fmt: skip
            return _row(max(found, key=lambda i: (not i.ended, i.row.n))) if found else None
        n = self.tables.ids.get(work.ref)
        if n is not None:
            return _row(self.tables.instances[n])
        if len(work.ref) < PREFIX_MIN:
            return None
        ns = [n for id, n in self.tables.ids.items() if id.startswith(work.ref)]
        if len(ns) > 1:
            raise InvalidRequest(
                f"{work.ref} is the beginning of several ids", hint="give more of it", ref=work.ref
            )
        return _row(self.tables.instances[ns[0]]) if ns else None

    def rows(self, work: ports.ReadRows) -> list[ports.StoredRow]:
        instance = self.tables.instances.get(work.n)
        if work.n == 0:
            return self.tables.pruned_entries[work.after : work.after + work.limit]
        return instance.rows[work.after : work.after + work.limit] if instance else []

    def journal(self, work: ports.ReadJournal) -> list[ports.JournalRow]:
        found = [
            ports.JournalRow(i.row.n, i.row.id, i.row.workflow, row)
            for i in self.tables.instances.values()
            for row in i.rows
            if row.seq > work.after
        ]
        return sorted(found, key=lambda row: row.row.seq)[: work.limit]

    # -- lists ------------------------------------------------------------------------------

    def instances(self, work: ports.ListInstances) -> ports.Listed:
        words.check(work.terms)
        found = [i for i in self.tables.instances.values() if self._meets(i, work)]
        found.sort(key=lambda i: (i.row.updated, i.row.n), reverse=True)
        total: int | None = len(found)
        if work.cursor is not None:
            found = [i for i in found if (i.row.updated, i.row.n) < work.cursor]
        page = found[: work.limit]
        more = len(found) > len(page)
        cursor = (page[-1].row.updated, page[-1].row.n) if more and page else None
        counted = all(term[0] in words.COUNTED for term in work.terms)
        if not work.total or not (counted or (work.cursor is None and cursor is None)):
            total = None
        return ports.Listed([_row(i) for i in page], cursor, total)

    def standing(self, work: ports.ListStanding) -> ports.Standing:
        words.check(work.terms)
        found = [
            i for n, i in sorted(self.tables.instances.items())
            if i.row.workflow == work.workflow and i.row.test == work.test
            and isinstance(held := i.row.attributes.get(work.name), str | bool)
            and words.word(held) == work.value and self._meets(i, work)
        ]  # fmt: skip
        rest = [i for i in found if i.row.n > work.after]
        count = min(len(found), work.count_max)
        return ports.Standing([_row(i) for i in rest[: work.limit]], count, len(rest) > work.limit)

    def _meets(self, instance: Instance, work: ports.ListInstances | ports.ListStanding) -> bool:
        due = min(instance.timers.values(), default=None)
        assignees = {ask.assignee for ask in instance.open_asks()}
        return words.test(work.terms, instance.row, work.now, due, assignees)

    def events(self, work: ports.ListEvents) -> list[ports.StoredEventRow]:
        found = [
            event.view() for event in self.tables.events.values()
            if event.row.scope == work.namespace and work.type in (None, event.row.event.type)
        ]  # fmt: skip
        if work.after is not None:
            return [event for event in found if event.pos > work.after][: work.limit]
        if work.before is not None:
            found = [event for event in found if event.pos < work.before]
        return found[::-1][: work.limit]

    def event(self, work: ports.GetEvent) -> ports.StoredEventRow | None:
        if work.id.startswith("pos:") and work.id[4:].isdecimal():
            at = self.tables.events.get(int(work.id[4:]))
            return at.view() if at else None
        found = [
            event for event in self.tables.events.values()
            if event.row.event.id == work.id
            and (event.row.scope == work.namespace or event.row.scope.startswith("to:"))
        ]  # fmt: skip
        return found[-1].view() if found else None

    def matches(self, work: ports.EventMatches) -> list[ports.Matched]:
        event = self.tables.events.get(work.pos)
        return self.tables.given(event) if event else []

    def unrouted(self, work: ports.UnroutedEvents) -> list[ports.StoredEventRow]:
        return [e.view() for e in self._open_events()][: work.limit]

    def _open_events(self) -> Iterable[StoredEvent]:
        return (event for event in self.tables.events.values() if event.cursor is not None)

    def waits_at(self, work: ports.WaitsAt) -> list[ports.WaitSeen]:
        found = []
        for instance in self.tables.instances.values():
            row = instance.row
            if work.namespace not in (None, row.namespace):
                continue
            if work.workflow not in (None, row.workflow):
                continue
            for op, wait in instance.waits.items():
                there = wait.opened < work.pos and (not wait.closed or wait.closed > work.pos)
                if there and wait.row.type == work.type:
                    found.append(ports.WaitSeen(
                        row.n, row.id, row.workflow, row.key, op, wait.row.where, wait.opened,
                        wait.closed or None,
                    ))  # fmt: skip
        found.sort(key=lambda wait: (wait.n, wait.op))
        return found[: work.limit]

    def due(self, work: ports.DueTimers) -> list[ports.Due]:
        found = [
            (due, i.row.n, op)
            for i in self.tables.instances.values()
            for op, due in i.timers.items()
        ]
        found += [
            (row.due, 0, row.id)
            for row in self.tables.schedules.values()
            if row.due is not None and not row.paused
        ]
        after = work.after or (-(1 << 62), 0, "")
        due = sorted(row for row in found if row[0] <= work.until and row > after)
        return [ports.Due(*row) for row in due[: work.limit]]

    def busy(self, work: ports.BusyInstances) -> list[int]:
        found = [
            n for n, i in self.tables.instances.items()
            if n > work.after
            and (i.row.busy or any(item.state == "new" for item in i.inbox.values()))
        ]  # fmt: skip
        return sorted(found)[: work.limit]

    def request(self, work: ports.FindRequest) -> ports.Request | None:
        found = self.tables.requests.get(work.id)
        return found[0] if found else None

    def asks(self, work: ports.ListAsks) -> list[ports.AskView]:
        found = [
            ask for i in self.tables.instances.values() for ask in i.asks.values()
            if (not work.open_only or ask.answered_at is None)
            and work.assignee in (None, ask.assignee)
            and work.instance in (None, ask.instance)
            and work.id in (None, ask.id)
            and (work.after is None or ask.id > work.after)
            and (work.tests or not i.row.test)
        ]  # fmt: skip
        return sorted(found, key=lambda ask: ask.id)[: work.limit]

    def ask_notes(self, work: ports.AskNotes) -> dict[str, bytes]:
        for instance in self.tables.instances.values():
            ask = instance.asks.get(work.ask)
            if ask is not None and ask.answered_at is None:
                return dict(self.tables.notes.get(work.ask, {}))
        return {}

    def definitions(self, work: ports.ListDefinitions) -> list[ports.DefinitionRow]:
        found = sorted(self.tables.definitions.items())
        return [row for (name, _), row in found if work.name in (None, name)]

    def schedules(self, work: ports.ListSchedules) -> list[ports.ScheduleRow]:
        found = sorted(self.tables.schedules.values(), key=lambda row: row.id)
        return [row for row in found if work.workflow in (None, row.workflow)]

    def counts(self, _: ports.Counts) -> ports.CountsRow:
        tables = self.tables
        by_status = dict.fromkeys(STATUSES, 0)
        by_workflow: dict[str, dict[str, int]] = {}
        for instance in tables.instances.values():
            row = instance.row
            by_status[row.status] += 1
            mine = by_workflow.setdefault(row.workflow, {})
            mine[row.status] = mine.get(row.status, 0) + 1
        entries = sum(len(i.rows) for i in tables.instances.values())
        return ports.CountsRow(
            by_status, by_workflow, entries + len(tables.pruned_entries), len(tables.events),
            sum(len(i.timers) for i in tables.instances.values()),
            sum(len(i.open_asks()) for i in tables.instances.values()),
            tables.head, tables.pruned,
        )  # fmt: skip

    def dead(self, work: ports.DeadLetters) -> list[ports.DeadRow]:
        found = sorted(self.tables.dead.items())
        return [row for (n, _), row in found if work.n in (None, n)][: work.limit]

    # -- checks -----------------------------------------------------------------------------

    def audit(self, work: ports.Audit) -> ports.Audited:
        counts = self.counts(ports.Counts())
        rows = counts.entries + counts.events
        good = rows + counts.pruned == counts.head
        text = f"{rows:,} rows and {counts.pruned:,} pruned make {counts.head:,}"
        details = {"rows": rows, "pruned": counts.pruned, "head": counts.head}
        level: Any = "ok" if good else "error"
        return ports.Audited([ports.AuditFinding(level, "journal.count", text, details)])

    def orphans(self, work: ports.Orphans) -> ports.Orphaned:
        ns = sorted(n for n in self.tables.instances if n > work.after)
        looked = ns[: work.limit]
        found = [_row(self.tables.instances[n]) for n in looked if self._is_orphan(n)]
        return ports.Orphaned(found, looked[-1] if len(looked) == work.limit else None)

    def _is_orphan(self, n: int) -> bool:
        instance = self.tables.instances[n]
        row = instance.row
        return not (
            row.status not in ("pending", "running", "waiting")
            or row.busy
            or instance.timers
            or any(not wait.closed for wait in instance.waits.values())
            or instance.open_asks()
            or any(item.state == "new" for item in instance.inbox.values())
            or self._has_live_child(row)
        )

    def _has_live_child(self, row: ports.InstanceRow) -> bool:
        for wait in msgspec.json.decode(row.waits or b"[]"):
            child = self.tables.ids.get(wait.get("child") or "")
            if child is not None and not self.tables.instances[child].ended:
                return True
        return False


class MemoryKeeper:
    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def works(self) -> dict[type, Callable[[Any], Any]]:
        return {
            ports.Keep: self.keep, ports.SaveSnapshot: self.snapshot,
            ports.SaveDefinition: self.save_definition,
            ports.ChangeDefinition: self.change_definition,
            ports.DropDefinition: self.drop_definition, ports.SaveSchedule: self.save_schedule,
            ports.ChangeSchedule: self.change_schedule, ports.DropSchedules: self.drop_schedules,
            ports.Prune: self.prune, ports.SetMeta: self.set_meta,
            ports.NoteAsk: self.note_ask,
        }  # fmt: skip

    def keep(self, work: ports.Keep) -> None:
        instance = self.tables.instances.get(work.n)
        for iq in work.items if instance else ():
            item = instance.inbox.get(iq) if instance else None
            if instance and item:
                instance.inbox[iq] = msgspec.structs.replace(item, state="kept")

    def snapshot(self, work: ports.SaveSnapshot) -> None:
        instance = self.tables.instances.get(work.n)
        if instance is not None:
            instance.snapshots[work.iseq] = work.payload, work.crc
            for iseq in sorted(instance.snapshots)[:-SNAPSHOTS_KEPT]:
                del instance.snapshots[iseq]

    def note_ask(self, work: ports.NoteAsk) -> bool:
        for instance in self.tables.instances.values():
            ask = instance.asks.get(work.ask)
            if ask is not None and ask.answered_at is None:
                notes = self.tables.notes.setdefault(work.ask, {})
                notes.pop(work.name, None)
                if work.payload is not None:
                    notes[work.name] = work.payload
                return True
        return False

    def set_meta(self, work: ports.SetMeta) -> None:
        self.tables.meta[work.key] = work.value

    # -- definitions and schedules ----------------------------------------------------------

    def _versions(self, name: str) -> list[ports.DefinitionRow]:
        found = sorted(self.tables.definitions.items())
        return [row for (held, _), row in found if held == name]

    def save_definition(self, work: ports.SaveDefinition) -> ports.DefinitionRow:
        rows = self._versions(work.name)
        same = [r for r in rows if r.hash == work.hash and work.version in (None, r.version)]
        if same:
            version = same[-1].version
        else:
            version = work.version or max((row.version for row in rows), default=0) + 1
            self.tables.definitions[work.name, version] = ports.DefinitionRow(
                work.name, version, work.kind, work.hash, work.body, work.at, work.source,
                release=any(r.release and r.version == version for r in rows),
                enabled=all(r.enabled for r in rows),
            )  # fmt: skip
        if work.release:
            self._release(work.name, version)
        return self.tables.definitions[work.name, version]

    def _release(self, name: str, version: int) -> None:
        for row in self._versions(name):
            self._replace(row, release=row.version == version)

    def _replace(self, row: ports.DefinitionRow, **changes: bool) -> None:
        self.tables.definitions[row.name, row.version] = msgspec.structs.replace(row, **changes)

    def change_definition(self, work: ports.ChangeDefinition) -> ports.DefinitionRow | None:
        def chosen() -> list[ports.DefinitionRow]:
            return [r for r in self._versions(work.name) if work.version in (None, r.version)]

        if not chosen():
            return None
        version = chosen()[-1].version
        if work.release is True:
            self._release(work.name, version)
        elif work.release is False:
            for row in chosen():
                self._replace(row, release=False)
        if work.enabled is not None:
            for row in chosen():
                self._replace(row, enabled=work.enabled)
        return self.tables.definitions[work.name, version]

    def drop_definition(self, work: ports.DropDefinition) -> None:
        for row in self._versions(work.name):
            if work.version in (None, row.version):
                del self.tables.definitions[row.name, row.version]

    def save_schedule(self, work: ports.SaveSchedule) -> ports.ScheduleRow:
        held = self.tables.schedules.get(work.id)
        if held is None:
            held = ports.ScheduleRow(
                work.id, work.workflow, work.spec, work.anchor, work.due, None, paused=False
            )
        elif (held.spec, held.workflow) != (work.spec, work.workflow):
            held = msgspec.structs.replace(
                held, workflow=work.workflow, spec=work.spec, anchor=work.anchor, due=work.due
            )
        self.tables.schedules[work.id] = held
        return held

    def change_schedule(self, work: ports.ChangeSchedule) -> ports.ScheduleRow | None:
        held = self.tables.schedules.get(work.id)
        if held is not None:
            held = msgspec.structs.replace(held, paused=work.paused, due=work.due)
            self.tables.schedules[work.id] = held
        return held

    def drop_schedules(self, work: ports.DropSchedules) -> None:
        for row in list(self.tables.schedules.values()):
            if row.workflow == work.workflow and row.id not in work.keep:
                del self.tables.schedules[row.id]

    # -- retention --------------------------------------------------------------------------

    def prune(self, work: ports.Prune) -> ports.Pruned:
        tables = self.tables
        old = sorted(
            (i.row.updated, n) for n, i in tables.instances.items()
            if (n in work.only if work.only is not None
                else i.row.status in ENDED and i.row.updated < work.before
                and work.workflow in (None, i.row.workflow))
        )[: None if work.only is not None else work.limit]  # fmt: skip
        forget = work.before if work.forget is None else work.forget
        alone = work.only is not None or work.workflow is not None
        undelivered = {item.pos for i in tables.instances.values() for item in i.inbox.values()}
        events = [
            e.pos for e in tables.events.values()
            if not alone and e.cursor is None and e.row.accepted < forget
            and e.pos not in undelivered
        ][: work.limit]  # fmt: skip
        if work.resources:
            tables.resources.forget({tables.instances[n].row.id for _, n in old})
        account = [self._prune_instance(n) for _, n in old]
        rows = sum(int(gone["rows"]) for gone in account)
        for pos in events:
            row = tables.events.pop(pos).row
            del tables.event_ids[row.event.id, row.event.source, row.scope]
        tables.pruned += rows + len(events)
        if rows or events:
            gone_events = (
                {"count": len(events), "first": events[0], "last": events[-1]} if events else None
            )
            self._account({"instances": account, "events": gone_events}, work.before)
        more = len(old) == work.limit or len(events) == work.limit
        if work.only is not None:
            more = False
        elif not more and not alone:
            more = self._prune_requests(forget, work.limit)
        return ports.Pruned(len(old), len(events), rows, more)

    def _prune_requests(self, before: int, limit: int) -> bool:
        requests = self.tables.requests
        seen = list(requests)[self.tables.requests_seen :][:limit]
        gone = [
            id for id in seen
            if requests[id][0].at < before and requests[id][1] not in self.tables.ids
        ]  # fmt: skip
        for id in gone:
            del requests[id]
        more = len(seen) == limit
        self.tables.requests_seen = self.tables.requests_seen + len(seen) - len(gone) if more else 0
        return more

    def _prune_instance(self, n: int) -> dict[str, Any]:
        tables = self.tables
        instance = tables.instances.pop(n)
        del tables.ids[instance.row.id]
        if not instance.ended:
            row = instance.row
            tables.keys.pop((row.namespace, row.workflow, row.key or ""), None)
            for waits in tables.index.values():
                for place in [place for place in waits if place[0] == n]:
                    del waits[place]
        for key in [key for key in tables.dead if key[0] == n]:
            del tables.dead[key]
        seqs = [row.seq for row in instance.rows]
        return {
            "id": instance.row.id, "rows": len(seqs), "first": min(seqs, default=None),
            "last": max(seqs, default=None),
        }  # fmt: skip

    def _account(self, what: dict[str, Any], at: int) -> None:
        tables = self.tables
        tables.head += 1
        tables.pruned_entries.append(ports.StoredRow(
            tables.head, len(tables.pruned_entries) + 1, tables.epoch, PRUNED_KIND, at,
            msgspec.json.encode(what),
        ))  # fmt: skip


def _row(instance: Instance) -> ports.InstanceRow:
    row = copy(instance.row)
    row.attributes = dict(row.attributes)
    return row
