"""Housekeeping of the SQLite store: definitions, schedules, snapshots, retention, checks."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.runtime.crashpoints import crash_point
from greenroom.runtime.sqlite_group import Group
from greenroom.runtime.sqlite_match import Matcher, decode_event, hashes
from greenroom.runtime.sqlite_read import ENTRIES, Reader, checked, event_is_whole
from greenroom.runtime.sqlite_resources import audit_resources
from greenroom.runtime.store import FIRST_ENDED, JSON_CODEC, PRUNED_KIND, row_crc

SNAPSHOTS_KEPT: Final = 2


class Keeper:
    def __init__(
        self, db: sqlite3.Connection, group: Group, matcher: Matcher, reader: Reader
    ) -> None:
        self.db = db
        self.group = group
        self.matcher = matcher
        self.reader = reader
        self._requests_seen = 0
        """Where retention goes on among the requests."""

    def keep(self, work: ports.Keep) -> None:
        self.db.executemany(
            "UPDATE inbox SET kept=1 WHERE n=? AND iq=?", [(work.n, iq) for iq in work.items]
        )

    def snapshot(self, work: ports.SaveSnapshot) -> None:
        crash_point("snapshot")
        self.db.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (?,?,?,?)",
            (work.n, work.iseq, work.payload, work.crc),
        )
        self.db.execute(
            "DELETE FROM snapshot WHERE n=? AND iseq NOT IN"
            " (SELECT iseq FROM snapshot WHERE n=? ORDER BY iseq DESC LIMIT ?)",
            (work.n, work.n, SNAPSHOTS_KEPT),
        )

    def set_meta(self, work: ports.SetMeta) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (work.key, work.value))

    def note_ask(self, work: ports.NoteAsk) -> bool:
        open_ = self.db.execute(
            "SELECT 1 FROM ask WHERE id=? AND answered IS NULL", (work.ask,)
        ).fetchone()
        if open_ is None:
            return False
        if work.payload is None:
            self.db.execute(
                "DELETE FROM greenroom_ask_note WHERE ask=? AND name=?", (work.ask, work.name)
            )
        else:
            self.db.execute(
                "INSERT OR REPLACE INTO greenroom_ask_note VALUES (?,?,?)",
                (work.ask, work.name, work.payload),
            )
        return True

    # -- definitions and schedules ----------------------------------------------------------

    def save_definition(self, work: ports.SaveDefinition) -> ports.DefinitionRow:
        rows = self.reader.definitions(ports.ListDefinitions(work.name))
        same = [
            row for row in rows
            if row.hash == work.hash and (work.version is None or row.version == work.version)
        ]  # fmt: skip
        if same:
            version = same[-1].version
        else:
            version = work.version or max((row.version for row in rows), default=0) + 1
            release = any(row.release and row.version == version for row in rows)
            enabled = all(row.enabled for row in rows)
            self.db.execute(
                "INSERT OR REPLACE INTO definition VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    work.name, version, work.kind, work.hash, work.body, work.at, work.source,
                    release, enabled,
                ),
            )  # fmt: skip
        if work.release:
            self._release(work.name, version)
        return next(
            row for row in self.reader.definitions(ports.ListDefinitions(work.name))
            if row.version == version
        )  # fmt: skip

    def _release(self, name: str, version: int) -> None:
        self.db.execute(
            "UPDATE definition SET release = (version = ?) WHERE name=?", (version, name)
        )

    def change_definition(self, work: ports.ChangeDefinition) -> ports.DefinitionRow | None:
        rows = [
            row for row in self.reader.definitions(ports.ListDefinitions(work.name))
            if work.version is None or row.version == work.version
        ]  # fmt: skip
        if not rows:
            return None
        version = rows[-1].version
        if work.release is True:
            self._release(work.name, version)
        elif work.release is False:
            self.db.execute(
                "UPDATE definition SET release=0 WHERE name=? AND (? IS NULL OR version=?)",
                (work.name, work.version, work.version),
            )
        if work.enabled is not None:
            self.db.execute(
                "UPDATE definition SET enabled=? WHERE name=? AND (? IS NULL OR version=?)",
                (work.enabled, work.name, work.version, work.version),
            )
        found = self.reader.definitions(ports.ListDefinitions(work.name))
        return next(row for row in found if row.version == version)

    def drop_definition(self, work: ports.DropDefinition) -> None:
        self.db.execute(
            "DELETE FROM definition WHERE name=? AND (? IS NULL OR version=?)",
            (work.name, work.version, work.version),
        )

    def save_schedule(self, work: ports.SaveSchedule) -> ports.ScheduleRow | None:
        """An equal schedule goes on as it is; another one starts from `due`."""
        self.db.execute(
            "INSERT INTO schedule VALUES (?,?,?,?,?,NULL,0) ON CONFLICT (id) DO UPDATE SET"
            " workflow=excluded.workflow, spec=excluded.spec, anchor=excluded.anchor,"
            " due=excluded.due WHERE spec != excluded.spec OR workflow != excluded.workflow",
            (work.id, work.workflow, work.spec, work.anchor, work.due),
        )
        return self._schedule(work.id)

    def change_schedule(self, work: ports.ChangeSchedule) -> ports.ScheduleRow | None:
        self.db.execute(
            "UPDATE schedule SET paused=?, due=? WHERE id=?", (work.paused, work.due, work.id)
        )
        return self._schedule(work.id)

    def _schedule(self, id: str) -> ports.ScheduleRow | None:
        rows = self.reader.schedules(ports.ListSchedules())
        return next((row for row in rows if row.id == id), None)

    def drop_schedules(self, work: ports.DropSchedules) -> None:
        self.db.execute(
            "DELETE FROM schedule WHERE workflow=? AND id NOT IN (SELECT value FROM json_each(?))",
            (work.workflow, msgspec.json.encode(list(work.keep)).decode()),
        )

    # -- retention --------------------------------------------------------------------------

    def prune(self, work: ports.Prune) -> ports.Pruned:
        """Whole ended instances, routed events and old requests; an entry says what is gone."""
        self.group.flush()
        crash_point("prune")
        forget = work.before if work.forget is None else work.forget
        ended = self._old_instances(work)
        alone = work.only is not None or work.workflow is not None
        events = [] if alone else [pos for (pos,) in self.db.execute(
            "SELECT e.pos FROM event e WHERE e.cursor IS NULL AND e.accepted<? AND NOT EXISTS"
            " (SELECT 1 FROM given g JOIN inbox b ON b.n = g.n AND b.pos = e.pos"
            " WHERE g.pos = e.pos) ORDER BY e.pos LIMIT ?", (forget, work.limit))]  # fmt: skip
        if work.resources:
            self._prune_resources([id for _, id in ended])
        account: list[dict[str, Any]] = [self._prune_instance(n, id) for n, id in ended]
        rows = sum(int(gone["rows"]) for gone in account)
        self._prune_events(events)
        if rows or events:
            gone_events = (
                {"count": len(events), "first": events[0], "last": events[-1]} if events else None
            )
            self._account({"instances": account, "events": gone_events}, work.before)
        self.group.entries -= rows
        self.group.events -= len(events)
        self.group.pruned += rows + len(events)
        more = len(ended) == work.limit or len(events) == work.limit
        if work.only is not None:
            more = False
        elif not more and not alone:  # requests go after their instances
            more = self._prune_requests(forget, work.limit)
        return ports.Pruned(len(ended), len(events), rows, more)

    def _prune_requests(self, before: int, limit: int) -> bool:
        """A request is known as long as its instance is kept: a repeat must never start a second
        one. Looks at `limit` of them and goes on there the next time; True: there are more."""
        rows = self.db.execute(
            "SELECT rowid FROM request WHERE rowid>? ORDER BY rowid LIMIT ?",
            (self._requests_seen, limit),
        ).fetchall()
        if rows:
            self.db.execute(
                "DELETE FROM request AS r WHERE r.rowid BETWEEN ? AND ? AND r.at<?"
                " AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = r.instance)",
                (rows[0][0], rows[-1][0], before),
            )
        more = len(rows) == limit
        self._requests_seen = rows[-1][0] if more else 0
        return more

    def _old_instances(self, work: ports.Prune) -> list[tuple[int, str]]:
        if work.only is not None:
            return self.db.execute(
                "SELECT n, id FROM instance WHERE n IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(work.only).decode(),),
            ).fetchall()
        found: list[tuple[int, int, str]] = []
        for w, status in self.db.execute(
            "SELECT c.w, c.status FROM count c JOIN workflow f ON f.w = c.w"
            " WHERE c.c>0 AND c.status>=:ended AND (:name IS NULL OR f.name=:name)",
            {"ended": FIRST_ENDED, "name": work.workflow},
        ).fetchall():
            found += self.db.execute(
                "SELECT updated, n, id FROM instance WHERE w=? AND status=? AND updated<?"
                " ORDER BY updated, n LIMIT ?", (w, status, work.before, work.limit))  # fmt: skip
        return [(n, id) for _, n, id in sorted(found)[: work.limit]]

    def _prune_instance(self, n: int, id: str) -> dict[str, Any]:
        rows, first, last = self.db.execute(
            "SELECT COUNT(*), min(seq), max(seq) FROM entry WHERE n=?", (n,)
        ).fetchone()
        facts = self.group.fact(n)
        if facts is not None:
            self.group.count(facts.w, facts.status, -1)
            del self.group.facts[n]
        for table in (
            "entry", "subscription", "timer", "inbox", "snapshot", "ask", "attribute", "dead",
            "instance",
        ):  # fmt: skip
            self.db.execute(f"DELETE FROM {table} WHERE n=?", (n,))
        return {"id": id, "rows": rows, "first": first, "last": last}

    def _prune_resources(self, instances: list[str]) -> None:
        """What these instances were the last to save, and the history of it."""
        ids = (msgspec.json.encode(instances).decode(),) * 2
        among = "instance IN (SELECT value FROM json_each(?))"
        gone = self.db.execute(
            "SELECT id FROM greenroom_resource WHERE id IN"
            f" (SELECT id FROM greenroom_resource_change WHERE {among}) AND {among}", ids
        ).fetchall()  # fmt: skip
        self.db.executemany("DELETE FROM greenroom_resource WHERE id=?", gone)
        self.db.executemany("DELETE FROM greenroom_resource_change WHERE id=?", gone)

    def _prune_events(self, events: list[int]) -> None:
        """Their keys go with them: a look back must find either both or none."""
        ns = [(pos,) for pos in events]
        gone: list[tuple[int, int, int]] = []
        for pos, scope, type_, body in self.db.execute(
            "SELECT pos, scope, type, body FROM event WHERE pos IN"
            " (SELECT value FROM json_each(?))", (msgspec.json.encode(events).decode(),)):  # fmt: skip
            for shape in self.matcher.shapes.get((scope, type_), ()):
                data = decode_event(body).as_data()
                gone += [(shape.id, key, pos) for key in hashes(data, shape.paths)]
        self.db.executemany("DELETE FROM event_key WHERE shape=? AND hash=? AND pos=?", gone)
        self.db.executemany("DELETE FROM given WHERE pos=?", ns)
        self.db.executemany("DELETE FROM event WHERE pos=?", ns)

    def _account(self, what: dict[str, Any], at: int) -> None:
        group = self.group
        group.head += 1
        group.entries += 1
        iseq = self.db.execute("SELECT COALESCE(max(iseq), 0) + 1 FROM entry WHERE n=0").fetchone()[
            0
        ]
        payload = msgspec.json.encode(what)
        crc = row_crc(group.head, 0, iseq, group.epoch, at, PRUNED_KIND, zlib.crc32(payload))
        group.new_entries.append(
            (group.head, 0, iseq, group.epoch, PRUNED_KIND, at, JSON_CODEC, payload, crc)
        )

    # -- checks -----------------------------------------------------------------------------

    def audit(self, work: ports.Audit) -> ports.Audited:
        findings = [] if work.after else self._counters()
        if not work.deep:
            return ports.Audited(findings)
        found, next = self._deep(work.after, work.limit)
        return ports.Audited(findings + found, next)

    def _counters(self) -> list[ports.AuditFinding]:
        group = self.group
        rows = group.entries + group.events
        good = rows + group.pruned == group.head
        text = f"{rows:,} rows and {group.pruned:,} pruned make {group.head:,}"
        if not good:
            text = f"{rows:,} rows and {group.pruned:,} pruned do not make {group.head:,}"
        return [ports.AuditFinding("ok" if good else "error", "journal.count", text, {
            "rows": rows, "pruned": group.pruned, "head": group.head})]  # fmt: skip

    def _deep(self, after: int, limit: int) -> tuple[list[ports.AuditFinding], int | None]:
        """A slice of the journal: checksums, and each row's predecessor in its instance."""
        findings: list[ports.AuditFinding] = []
        rows = self.db.execute(
            ENTRIES + "WHERE e.seq>? ORDER BY e.seq LIMIT ?", (after, limit)
        ).fetchall()
        for row in rows:
            _, fault = checked([row], row[1])
            if (
                fault is None
                and row[1] > 1
                and not self.db.execute(
                    "SELECT 1 FROM entry WHERE n=? AND iseq=?", (row[7], row[1] - 1)
                ).fetchone()
            ):
                fault = f"row {row[1] - 1} is missing"
            if fault:
                findings.append(ports.AuditFinding(
                    "error", "journal.rows", f"instance {row[7]}: {fault}", {"n": row[7]}))  # fmt: skip
        last = rows[-1][0] if len(rows) == limit else 1 << 62
        for pos, scope, accepted, by, hops, body, crc in self.db.execute(
            "SELECT pos, scope, accepted, by, hops, body, crc FROM event WHERE pos>? AND pos<=?",
            (after, last),
        ):
            if not event_is_whole(crc, pos, scope, accepted, by, hops, body):
                findings.append(ports.AuditFinding(
                    "error", "journal.events", f"the event at {pos} fails its checksum",
                    {"pos": pos}))  # fmt: skip
        if len(rows) == limit:
            return findings, int(rows[-1][0])
        return findings + audit_resources(self.db) + self._pages(), None

    def _pages(self) -> list[ports.AuditFinding]:
        said = [text for (text,) in self.db.execute("PRAGMA integrity_check(10)")]
        level: Any = "ok" if said == ["ok"] else "error"
        return [ports.AuditFinding(level, "sqlite.integrity", "; ".join(said))]
