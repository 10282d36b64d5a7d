"""Reads: from rows to structs, a function a work.

Every read is a seek and bounded. Checksums are verified wherever a payload leaves the store; a
damaged instance is named, not hidden, and does not keep others from loading.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.definitions.errors import InvalidRequest, StoreDamaged
from greenroom.runtime.sqlite_group import Group
from greenroom.runtime.sqlite_list import INSTANCE, instance_row
from greenroom.runtime.sqlite_match import decode_event
from greenroom.runtime.sqlite_route import GIVEN
from greenroom.runtime.store import FIRST_ENDED, STATUSES, event_crc, item_crc, ref_kind, row_crc

PREFIX_MIN: Final = 8
WAITS_MAX: Final = 2_000
"""Waits of one shape that an explanation looks at."""

ENTRIES: Final = "SELECT e.seq, e.iseq, e.epoch, e.kind, e.at, e.payload, e.crc, e.n FROM entry e "
EVENT: Final = "SELECT pos, scope, body, accepted, by, hops, matched, cursor, crc FROM event "
ITEMS: Final = (
    "SELECT b.n, b.iq, b.kind, COALESCE(b.payload, e.body), b.at, b.pos, b.kept, b.crc"
    " FROM json_each(?) j JOIN inbox b ON b.n = j.value LEFT JOIN event e ON e.pos = b.pos"
    " ORDER BY b.n, b.iq"
)

UNREADABLE: Final = (TypeError, AttributeError, struct.error)
"""Damage may change the type of a column: then its checksum cannot even be made."""


class Reader:
    def __init__(self, db: sqlite3.Connection, group: Group) -> None:
        self.db = db
        self.group = group

    # -- instances --------------------------------------------------------------------------

    def load(self, work: ports.Load) -> list[ports.Loaded]:
        ns = _list(work.ns)
        heads = {
            row[0]: row for row in self.db.execute(
                INSTANCE + "WHERE i.n IN (SELECT value FROM json_each(?))", (ns,))
        }  # fmt: skip
        items, damaged = self._items(ns)
        snapshots = self._snapshots(ns) if work.snapshots else {}
        plain = [n for n in heads if n not in snapshots]
        rows = self._rows_of(plain)
        loaded = []
        for n in dict.fromkeys(work.ns):
            if n not in heads:
                continue
            head = heads[n]
            snapshot, start = snapshots.get(n, (None, head[20] - 1))
            if snapshot is not None:
                rows[n] = self.db.execute(
                    ENTRIES + "WHERE e.n=? AND e.iseq>? ORDER BY e.iseq", (n, start)
                ).fetchall()
            entries, fault = checked(rows.get(n, []), start + 1)
            if not rows.get(n) and snapshot is None:
                fault = f"row {start + 1} is missing"
            row, unreadable = _row_or_rest(head)
            loaded.append(ports.Loaded(
                row, start + len(rows.get(n, [])), entries, items.get(n, []),
                snapshot, start if snapshot is not None else 0, head[20], head[21],
                unreadable or fault or damaged.get(n),
            ))  # fmt: skip
        return loaded

    def _rows_of(self, ns: list[int]) -> dict[int, list[Any]]:
        """The rows of the current generation of each."""
        found: dict[int, list[Any]] = {}
        query = (
            ENTRIES.replace("FROM entry e", "FROM json_each(?) j JOIN instance i ON i.n = j.value"
                            " JOIN entry e ON e.n = i.n AND e.iseq >= i.generation")
            + "ORDER BY e.n, e.iseq"
        )  # fmt: skip
        for row in self.db.execute(query, (_list(ns),)):
            found.setdefault(row[7], []).append(row)
        return found

    def _snapshots(self, ns: str) -> dict[int, tuple[bytes, int]]:
        """The newest of each whose checksum is right."""
        found: dict[int, tuple[bytes, int]] = {}
        rows = self.db.execute(
            "SELECT s.n, s.iseq, s.payload, s.crc FROM json_each(?) j JOIN snapshot s"
            " ON s.n = j.value ORDER BY s.n, s.iseq", (ns,))  # fmt: skip
        for n, iseq, payload, crc in rows:
            if zlib.crc32(payload) == crc:
                found[n] = payload, iseq
        return found

    def _items(self, ns: str) -> tuple[dict[int, list[ports.InboxItem]], dict[int, str]]:
        items: dict[int, list[ports.InboxItem]] = {}
        damaged: dict[int, str] = {}
        for n, iq, kind, payload, at, pos, kept, crc in self.db.execute(ITEMS, (ns,)):
            if payload is None or not _is_whole(item_crc, crc, n, iq, kind, pos, at, payload):
                damaged[n] = f"inbox item {iq} fails its checksum"
                continue
            items.setdefault(n, []).append(
                ports.InboxItem(iq, kind, payload, at, pos, "kept" if kept else "new")
            )
        return items, damaged

    def find(self, work: ports.Find) -> ports.InstanceRow | None:
        named = ref_kind(work.ref)
        if named is not None:
            return self._by_key(work.namespace, *named)
        row = self.db.execute(INSTANCE + "WHERE i.id=?", (work.ref,)).fetchone()
        if row is not None:
            return instance_row(row)
        if len(work.ref) < PREFIX_MIN:
            return None
        rows = self.db.execute(
            INSTANCE + "WHERE i.id >= ? AND i.id < ? LIMIT 2", (work.ref, work.ref + "\U0010ffff")
        ).fetchall()
        if len(rows) > 1:
            raise InvalidRequest(
                f"{work.ref} is the beginning of several ids", hint="give more of it", ref=work.ref
            )
        return instance_row(rows[0]) if rows else None

    def _by_key(self, namespace: str, workflow: str, key: str) -> ports.InstanceRow | None:
        """The live one has slot 0, ended ones their number: the newest is the last."""
        w = self.group.workflows.get((namespace, workflow))
        rows = self.db.execute(
            INSTANCE + "WHERE i.w=? AND i.key=? ORDER BY i.slot = 0 DESC, i.slot DESC LIMIT 1",
            (w, key),
        ).fetchall()
        return instance_row(rows[0]) if rows else None

    def busy_instances(self, work: ports.BusyInstances) -> list[int]:
        rows = self.db.execute(
            "SELECT n FROM (SELECT n FROM (SELECT n FROM instance WHERE busy AND n>? ORDER BY n"
            " LIMIT ?) UNION SELECT n FROM (SELECT DISTINCT n FROM inbox WHERE NOT kept AND n>?"
            " ORDER BY n LIMIT ?)) ORDER BY n LIMIT ?",
            (work.after, work.limit, work.after, work.limit, work.limit),
        )
        return [n for (n,) in rows]

    # -- entries ----------------------------------------------------------------------------

    def rows(self, work: ports.ReadRows) -> list[ports.StoredRow]:
        found = self.db.execute(
            ENTRIES + "WHERE e.n=? AND e.iseq>? ORDER BY e.iseq LIMIT ?",
            (work.n, work.after, work.limit),
        ).fetchall()
        rows, fault = checked(found, work.after + 1)
        if fault:
            raise StoreDamaged(f"instance {work.n}: {fault}", n=work.n)
        return rows

    def journal(self, work: ports.ReadJournal) -> list[ports.JournalRow]:
        query = (
            ENTRIES.replace(" FROM", ", i.id, i.w FROM")
            + "JOIN instance i ON i.n = e.n WHERE e.seq>? ORDER BY e.seq LIMIT ?"
        )
        out = []
        for found in self.db.execute(query, (work.after, work.limit)):
            rows, fault = checked([found], found[1])
            if fault:
                raise StoreDamaged(f"instance {found[7]}: {fault}", n=found[7])
            out.append(ports.JournalRow(found[7], found[8], self.group.names[found[9]][1], rows[0]))
        return out

    # -- events -----------------------------------------------------------------------------

    def events(self, work: ports.ListEvents) -> list[ports.StoredEventRow]:
        tests, values = ["scope=?"], [work.namespace]
        if work.type is not None:
            tests.append("type=?")
            values.append(work.type)
        if work.after is not None:
            tests.append("pos>?")
        elif work.before is not None:
            tests.append("pos<?")
        place = work.after if work.after is not None else work.before
        order = "ASC" if work.after is not None else "DESC"
        return _events(self.db.execute(
            EVENT + f"WHERE {' AND '.join(tests)} ORDER BY pos {order} LIMIT ?",
            (*values, *(() if place is None else (place,)), work.limit),
        ))  # fmt: skip

    def event(self, work: ports.GetEvent) -> ports.StoredEventRow | None:
        if work.id.startswith("pos:") and work.id[4:].isdecimal():
            rows = self.db.execute(EVENT + "WHERE pos=?", (int(work.id[4:]),))
        else:
            rows = self.db.execute(
                EVENT + "WHERE id=? AND (scope=? OR substr(scope, 1, 3)='to:')"
                " ORDER BY pos DESC LIMIT 1", (work.id, work.namespace))  # fmt: skip
        found = _events(rows)
        return found[0] if found else None

    def unrouted(self, work: ports.UnroutedEvents) -> list[ports.StoredEventRow]:
        return _events(self.db.execute(
            EVENT + "WHERE cursor IS NOT NULL ORDER BY pos LIMIT ?", (work.limit,)
        ))  # fmt: skip

    def matches(self, work: ports.EventMatches) -> list[ports.Matched]:
        return [
            ports.Matched(*row) for row in self.db.execute(GIVEN, (work.pos, ports.MATCHES_LISTED))
        ]

    def waits_at(self, work: ports.WaitsAt, shapes: Iterable[int]) -> list[ports.WaitSeen]:
        query = (
            'SELECT s.n, i.id, w.name, i.key, s.op, s."where", s.opened, NULLIF(s.closed, 0)'
            ' FROM (SELECT n, op, "where", opened, closed FROM subscription'
            " WHERE shape=? AND {} AND instr(op, char(31)) = 0 LIMIT ?) s"
            " JOIN instance i ON i.n = s.n JOIN workflow w ON w.w = i.w"
            " WHERE s.opened<? AND (? IS NULL OR w.name=?) LIMIT ?"
        )
        given = WAITS_MAX, work.pos, work.workflow, work.workflow, work.limit
        found: list[ports.WaitSeen] = []
        for shape in shapes:
            for state, values in (("closed=0", ()), ("closed>?", (work.pos,))):
                rows = self.db.execute(query.format(state), (shape, *values, *given))
                found += [ports.WaitSeen(*row) for row in rows]
        found.sort(key=lambda wait: (wait.n, wait.op))
        return found[: work.limit]

    # -- time, questions, definitions -------------------------------------------------------

    def due(self, work: ports.DueTimers) -> list[ports.Due]:
        """Timers and schedules, merged in due order."""
        after = work.after or (-(1 << 62), 0, "")
        rows = self.db.execute(
            "SELECT due, n, op FROM timer WHERE due<=? AND (due, n, op) > (?, ?, ?)"
            " ORDER BY due, n, op LIMIT ?", (work.until, *after, work.limit)).fetchall()  # fmt: skip
        rows += self.db.execute(
            "SELECT due, 0, id FROM schedule WHERE due<=? AND NOT paused"
            " AND (due, 0, id) > (?, ?, ?) ORDER BY due, id LIMIT ?",
            (work.until, *after, work.limit),
        )
        return [ports.Due(*row) for row in sorted(rows)[: work.limit]]

    def asks(self, work: ports.ListAsks) -> list[ports.AskView]:
        tests, values = ["1"], []
        for test, value in (
            ("a.id>?", work.after), ("a.assignee=?", work.assignee), ("i.id=?", work.instance),
            ("a.id=?", work.id),
        ):  # fmt: skip
            if value is not None:
                tests.append(test)
                values.append(value)
        if work.open_only:
            tests.append("a.answered IS NULL")
        if not work.tests:
            tests.append("NOT i.test")
        rows = self.db.execute(
            "SELECT a.id, a.n, i.id, a.op, a.kind, a.title, a.schema, a.assignee, a.due, a.by,"
            " a.answered, w.name, i.version FROM ask a JOIN instance i ON i.n = a.n"
            f" JOIN workflow w ON w.w = i.w WHERE {' AND '.join(tests)}"
            " ORDER BY a.id LIMIT ?", (*values, work.limit))  # fmt: skip
        return [ports.AskView(*row) for row in rows]

    def definitions(self, work: ports.ListDefinitions) -> list[ports.DefinitionRow]:
        one = "" if work.name is None else " WHERE name=?"
        rows = self.db.execute(
            "SELECT name, version, kind, hash, body, at, source, release, enabled FROM definition"
            f"{one} ORDER BY name, version", () if work.name is None else (work.name,))  # fmt: skip
        return [_definition(*row) for row in rows]

    def schedules(self, work: ports.ListSchedules) -> list[ports.ScheduleRow]:
        rows = self.db.execute(
            "SELECT id, workflow, spec, anchor, due, last, paused FROM schedule"
            " WHERE ? IS NULL OR workflow=? ORDER BY id", (work.workflow, work.workflow))  # fmt: skip
        return [_schedule(*row) for row in rows]

    def request(self, work: ports.FindRequest) -> ports.Request | None:
        row = self.db.execute(
            "SELECT id, hash, reply, at FROM request WHERE id=?", (work.id,)
        ).fetchone()
        return ports.Request(*row) if row else None

    def ask_notes(self, work: ports.AskNotes) -> dict[str, bytes]:
        rows = self.db.execute(
            "SELECT name, payload FROM greenroom_ask_note WHERE ask=?", (work.ask,)
        )
        return {str(name): bytes(payload) for name, payload in rows}

    def meta(self, work: ports.GetMeta) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key=?", (work.key,)).fetchone()
        return str(row[0]) if row else None

    def dead(self, work: ports.DeadLetters) -> list[ports.DeadRow]:
        rows = self.db.execute(
            "SELECT n, pos, at, reason FROM dead WHERE ? IS NULL OR n=? ORDER BY n, pos LIMIT ?",
            (work.n, work.n, work.limit),
        )
        return [ports.DeadRow(*row) for row in rows]

    def counts(self) -> ports.CountsRow:
        group = self.group
        by_status: dict[str, int] = dict.fromkeys(STATUSES, 0)
        by_workflow: dict[str, dict[str, int]] = {}
        for w, status, c in self.db.execute("SELECT w, status, c FROM count WHERE c > 0"):
            name = STATUSES[status]
            by_status[name] += c
            mine = by_workflow.setdefault(group.names[w][1], {})
            mine[name] = mine.get(name, 0) + c
        timers = self.db.execute("SELECT COUNT(*) FROM timer").fetchone()[0]
        asks = self.db.execute("SELECT COUNT(*) FROM ask WHERE answered IS NULL").fetchone()[0]
        return ports.CountsRow(
            by_status, by_workflow, group.entries, group.events, timers, asks, group.head,
            group.pruned,
        )  # fmt: skip

    def orphans(self, work: ports.Orphans) -> ports.Orphaned:
        """Waiting, and nothing that could end it: the query of promise P3."""
        busiest = self.db.execute(
            "SELECT n FROM instance WHERE n>? ORDER BY n LIMIT 1 OFFSET ?",
            (work.after, work.limit - 1),
        ).fetchone()
        rows = self.db.execute(
            INSTANCE + "WHERE i.n>? AND i.n<=? AND i.status<3 AND NOT i.busy"
            " AND NOT EXISTS (SELECT 1 FROM timer t WHERE t.n = i.n)"
            " AND NOT EXISTS (SELECT 1 FROM subscription s WHERE s.n = i.n AND s.closed = 0)"
            " AND NOT EXISTS (SELECT 1 FROM ask a WHERE a.n = i.n AND a.answered IS NULL)"
            " AND NOT EXISTS (SELECT 1 FROM inbox b WHERE b.n = i.n AND NOT b.kept) ORDER BY i.n",
            (work.after, busiest[0] if busiest else 1 << 62),
        ).fetchall()
        found = [row for row in map(instance_row, rows) if not self._has_live_child(row)]
        return ports.Orphaned(found, busiest[0] if busiest else None)

    def _has_live_child(self, row: ports.InstanceRow) -> bool:
        for wait in msgspec.json.decode(row.waits or b"[]"):
            if wait.get("kind") == "child":
                child = self.db.execute(
                    "SELECT status FROM instance WHERE id=?", (wait.get("child"),)
                ).fetchone()
                if child is not None and child[0] < FIRST_ENDED:
                    return True
        return False


def checked(rows: Sequence[Any], first: int) -> tuple[list[ports.StoredRow], str | None]:
    """The rows up to the first that is damaged or out of count, and what is wrong with it."""
    good: list[ports.StoredRow] = []
    for expected, (seq, iseq, epoch, kind, at, payload, crc, n, *_) in enumerate(rows, first):
        if iseq != expected:
            return good, f"row {expected} is missing"
        try:
            found = row_crc(seq, n, iseq, epoch, at, kind, zlib.crc32(payload))
        except UNREADABLE:
            found = -1
        if found != crc:
            return good, f"row {iseq} (at {seq}) fails its checksum"
        good.append(ports.StoredRow(seq, iseq, epoch, kind, at, payload))
    return good, None


def _row_or_rest(head: Sequence[Any]) -> tuple[ports.InstanceRow, str | None]:
    """A row as it is, or what is left of it when damage made it unreadable: enough to park its
    own instance, so that it does not keep the others of a read from loading."""
    try:
        return instance_row(head), None
    except (ValueError, TypeError, LookupError) as error:
        n, id, namespace, name, version, kind, key, _, created, updated, *_ = head
        rest = ports.InstanceRow(
            n, id, namespace, name, version, kind, key, "failed", created, updated
        )
        return rest, f"its row cannot be read: {error}"


def event_is_whole(crc: Any, *columns: Any) -> bool:
    """Whether a stored event is what its checksum was made of."""
    return _is_whole(event_crc, crc, *columns)


def _is_whole(sum_of: Callable[..., int], crc: Any, *columns: Any) -> bool:
    try:
        return bool(sum_of(*columns) == crc)
    except UNREADABLE:
        return False


def _events(rows: Iterable[Any]) -> list[ports.StoredEventRow]:
    found = []
    for pos, scope, body, accepted, by, hops, matched, cursor, crc in rows:
        if not event_is_whole(crc, pos, scope, accepted, by, hops, body):
            raise StoreDamaged(f"the event at {pos} fails its checksum", pos=pos)
        found.append(ports.StoredEventRow(
            pos, scope, decode_event(body), accepted, by, hops, matched, cursor is None
        ))  # fmt: skip
    return found


def _list(ns: Sequence[int]) -> str:
    return msgspec.json.encode(list(dict.fromkeys(ns))).decode()


def _definition(*row: Any) -> ports.DefinitionRow:
    name, version, kind, hash_, body, at, source, release, enabled = row
    return ports.DefinitionRow(
        name, version, kind, hash_, body, at, source, bool(release), bool(enabled)
    )


def _schedule(*row: Any) -> ports.ScheduleRow:
    id, workflow, spec, anchor, due, last, paused = row
    return ports.ScheduleRow(id, workflow, spec, anchor, due, last, bool(paused))
