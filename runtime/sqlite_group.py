"""What a group is about to write, and what is known of the rows it touches.

Works are decided one after another, but their rows are collected per table and written by one
`executemany` a table: in SQLite the call costs more than the row. A read that could miss collected
rows is preceded by `flush`. Everything kept here in memory is either exact (counters, numbers of
workflows) or a cache that may be dropped at any time (`facts`); after a group that failed all of
it is read anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.runtime.crashpoints import crash_point
from greenroom.runtime.store import FIRST_ENDED, item_crc

FACTS_MAX: Final = 50_000

_encode = msgspec.json.encode

INSERT_ENTRY: Final = "INSERT INTO entry VALUES (?,?,?,?,?,?,?,?,?)"
INSERT_EVENT: Final = "INSERT INTO event VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
INSERT_KEY: Final = "INSERT OR IGNORE INTO event_key VALUES (?,?,?)"
INSERT_GIVEN: Final = "INSERT INTO given VALUES (?,?,?,?,?,?,?)"
INSERT_INSTANCE: Final = f"INSERT INTO instance VALUES ({','.join('?' * 22)})"
INSERT_ATTRIBUTE: Final = "INSERT INTO attribute VALUES (?,?,?)"
CHANGE: Final = (
    "UPDATE instance SET status=?, updated=COALESCE(?, updated), outcome=?, waits=?, steps=?,"
    " error=?, error_code=?, busy=? WHERE n=?"
)
CHANGE_SLOT: Final = CHANGE.replace(" WHERE", ", slot=? WHERE")
OPEN_WAIT: Final = "INSERT OR REPLACE INTO subscription VALUES (?,?,?,?,?,?,?)"
CLOSE_WAIT: Final = (
    "UPDATE subscription SET closed=? WHERE n=? AND op>=? AND op<? || char(32) AND closed=0"
)
"""Its rows are named by the op, and the op with a number behind `NTH_KEY`."""
SET_TIMER: Final = "INSERT OR REPLACE INTO timer VALUES (?,?,?)"
DROP_TIMER: Final = "DELETE FROM timer WHERE n=? AND op=?"
INSERT_ASK: Final = "INSERT OR REPLACE INTO ask VALUES (?,?,?,?,?,?,?,?,?,?)"
ANSWER_ASK: Final = "UPDATE ask SET by=?, answered=? WHERE n=? AND op=? AND answered IS NULL"
DROP_ASK: Final = "DELETE FROM ask WHERE n=? AND op=? AND answered IS NULL"
INSERT_ITEM: Final = "INSERT INTO inbox VALUES (?,?,?,?,?,?,?,?)"
TAKE_ITEM: Final = "DELETE FROM inbox WHERE n=? AND iq=?"
INSERT_REQUEST: Final = "INSERT OR IGNORE INTO request VALUES (?,?,?,?,?)"
SAVE_RESOURCE: Final = (
    "INSERT INTO greenroom_resource VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE"
    " SET type=excluded.type, product=excluded.product, customer_id=excluded.customer_id,"
    " status=excluded.status, version=excluded.version, data=excluded.data,"
    " updated=excluded.updated, instance=excluded.instance, workflow=excluded.workflow,"
    " crc=excluded.crc"
)
INSERT_RESOURCE_CHANGE: Final = "INSERT INTO greenroom_resource_change VALUES (?,?,?,?,?,?,?,?,?,?)"
COUNT: Final = (
    "INSERT INTO count VALUES (?,?,?) ON CONFLICT (w, status) DO UPDATE SET c = c + excluded.c"
)
SAVE_COUNTER: Final = (
    "UPDATE counter SET head=?, iq=?, entries=?, events=?, pruned=?, n=? WHERE one=1"
)
ENDED: Final = (
    "DELETE FROM timer WHERE n=?",
    "DELETE FROM inbox WHERE n=?",
    "DELETE FROM snapshot WHERE n=?",
    "DELETE FROM ask WHERE n=? AND answered IS NULL",
)
FACTS: Final = (
    "SELECT i.n, i.id, i.w, i.key, i.status,"
    " (SELECT COALESCE(max(e.iseq), 0) FROM entry e WHERE e.n = i.n),"
    " (SELECT COUNT(*) FROM inbox b WHERE b.n = i.n) FROM instance i "
)

# columns of a collected instance that a later turn of the same group may change
VERSION, SLOT, STATUS, UPDATED, OUTCOME, WAITS, STEPS, ERROR, CODE = 3, 6, 7, 9, 10, 11, 12, 13, 14
ATTRIBUTES, BUSY, GENERATION, POS = 15, 19, 20, 21
CLOSED: Final = 6
EVENT_CRC: Final = 6


class Facts:
    """What deciding a work needs to know of an instance. `items` counts its inbox, -1: not yet."""

    __slots__ = ("id", "iseq", "items", "key", "status", "w")

    def __init__(
        self, id: str, w: int, key: str | None, status: int, iseq: int, items: int
    ) -> None:
        self.id = id
        self.w = w
        self.key = key
        self.status = status
        self.iseq = iseq
        self.items = items

    @property
    def ended(self) -> bool:
        return self.status >= FIRST_ENDED


class Group:
    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.epoch = 0
        self._clear()
        self.reload()

    def reload(self) -> None:
        """Forgets what is not on disk."""
        self._clear()
        self.facts: dict[int, Facts] = {}
        self.absent_ids: set[str] = set()
        self.tail = (0, 0)
        """Place and checksum of the last row written."""
        self.new_event_ids: set[tuple[str, str, str]] = set()
        """Of this group, flushed or not: what was looked up ahead does not know them."""
        row = self.db.execute("SELECT head, iq, entries, events, pruned, n FROM counter").fetchone()
        self.head, self.iq, self.entries, self.events, self.pruned, self.last_n = row
        self.workflows: dict[tuple[str, str], int] = {}
        self.names: dict[int, tuple[str, str]] = {}
        for w, namespace, name in self.db.execute("SELECT w, namespace, name FROM workflow"):
            self.workflows[namespace, name] = w
            self.names[w] = namespace, name

    def _clear(self) -> None:
        self.new_entries: list[tuple[Any, ...]] = []
        self.new_events: dict[int, list[Any]] = {}
        self.new_keys: list[tuple[int, int, int]] = []
        self.new_given: list[tuple[Any, ...]] = []
        self.new_instances: dict[int, list[Any]] = {}
        self.new_ids: dict[str, int] = {}
        self.new_attributes: list[tuple[int, str, Any]] = []
        self.new_requests: dict[str, tuple[Any, ...]] = {}
        self.changes: dict[int, tuple[Any, ...]] = {}
        self.slots: dict[int, int] = {}
        self.generations: dict[int, int] = {}
        self.versions: dict[int, int] = {}
        self.attributes: dict[int, dict[str, Any]] = {}
        self.key_holders: dict[tuple[int, str], int] = {}
        self.counts: dict[tuple[int, int], int] = {}
        self.waits: dict[tuple[int, str], list[Any]] = {}
        self.closed_waits: dict[tuple[int, str], int] = {}
        self.timers: dict[tuple[int, str], int | None] = {}
        self.asks: list[tuple[str, tuple[Any, ...]]] = []
        """Statements in order: an op may be asked, answered and closed in one group."""
        self.new_items: list[tuple[Any, ...]] = []
        self.new_item_counts: dict[int, int] = {}
        self.taken: list[tuple[int, int]] = []
        self.ended: list[tuple[int, int]] = []
        self.dead: list[tuple[Any, ...]] = []
        self.resources: dict[str, tuple[Any, ...]] = {}
        self.resource_changes: list[tuple[Any, ...]] = []

    # -- what is known ----------------------------------------------------------------------

    def fact(self, n: int) -> Facts | None:
        found = self.facts.get(n)
        if found is None:
            row = self.db.execute(FACTS + "WHERE i.n=?", (n,)).fetchone()
            if row is not None:
                found = self.facts[n] = Facts(*row[1:])
        return found

    def learn(self, ns: Iterable[int]) -> None:
        """Reads the facts of several instances in one statement."""
        rows = self.db.execute(
            FACTS + "WHERE i.n IN (SELECT value FROM json_each(?))", (_encode(list(ns)).decode(),)
        )
        for n, *row in rows:
            self.facts[n] = Facts(*row)

    def number_of(self, id: str) -> int | None:
        """The number of the instance with this id."""
        found = self.new_ids.get(id)
        if found is None and id not in self.absent_ids:
            row = self.db.execute("SELECT n FROM instance WHERE id=?", (id,)).fetchone()
            found = row[0] if row else None
        return found

    def learn_absent(self, ids: list[str]) -> None:
        """Looks up in one statement which of the ids of new instances are not known."""
        rows = self.db.execute(
            "SELECT id FROM instance WHERE id IN (SELECT value FROM json_each(?))",
            (_encode(ids).decode(),),
        )
        self.absent_ids = set(ids).difference(id for (id,) in rows)

    def holder(self, w: int, key: str) -> int | None:
        """The number of the live instance that has the key."""
        held = self.key_holders.get((w, key))
        if held is not None:
            return held or None
        row = self.db.execute(
            "SELECT n FROM instance WHERE w=? AND key=? AND slot=0", (w, key)
        ).fetchone()
        return row[0] if row else None

    def workflow(self, namespace: str, name: str) -> int:
        """The number of a workflow, given out at its first instance."""
        w = self.workflows.get((namespace, name))
        if w is None:
            w = len(self.workflows) + 1
            self.db.execute("INSERT INTO workflow VALUES (?,?,?)", (w, namespace, name))
            self.workflows[namespace, name] = w
            self.names[w] = namespace, name
        return w

    def items_of(self, n: int, facts: Facts) -> int:
        if facts.items < 0:
            row = self.db.execute("SELECT COUNT(*) FROM inbox WHERE n=?", (n,)).fetchone()
            facts.items = int(row[0]) + self.new_item_counts.get(n, 0)
        return facts.items

    # -- what is collected ------------------------------------------------------------------

    def put_item(
        self, n: int, facts: Facts, kind: str, pos: int | None, payload: bytes, at: int,
        *, stored: bool,
    ) -> ports.InboxItem:  # fmt: skip
        """An inbox item; `stored` False: the payload is the event's and stays there."""
        self.iq += 1
        crc = item_crc(n, self.iq, kind, pos, at, payload)
        self.new_items.append((n, self.iq, kind, pos, payload if stored else None, at, 0, crc))
        if facts.items >= 0:
            facts.items += 1
        else:
            self.new_item_counts[n] = self.new_item_counts.get(n, 0) + 1
        return ports.InboxItem(self.iq, kind, payload, at, pos)

    def count(self, w: int, status: int, by: int) -> None:
        counts = self.counts
        counts[w, status] = counts.get((w, status), 0) + by

    # -- the writing ------------------------------------------------------------------------

    def flush(self) -> None:
        """Writes what was collected. Instances change before new ones come, so that a key that
        was freed in this group is free."""
        many = self.db.executemany
        if self.new_entries:
            many(INSERT_ENTRY, self.new_entries)
            self.tail = max(self.tail, (self.new_entries[-1][0], self.new_entries[-1][-1]))
        crash_point("journal.insert")
        if self.changes or self.slots or self.generations or self.versions or self.attributes:
            self._flush_changes()
        if self.new_instances:
            many(INSERT_INSTANCE, self.new_instances.values())
            many(INSERT_ATTRIBUTE, self.new_attributes)
        if self.counts:
            many(COUNT, [(w, status, by) for (w, status), by in self.counts.items() if by])
        if self.new_events:
            many(INSERT_EVENT, self.new_events.values())
            pos = next(reversed(self.new_events))
            self.tail = max(self.tail, (pos, self.new_events[pos][EVENT_CRC]))
        if self.new_keys:
            many(INSERT_KEY, self.new_keys)
        if self.new_given:
            many(INSERT_GIVEN, self.new_given)
        if self.closed_waits:
            many(CLOSE_WAIT, [(pos, n, op, op) for (n, op), pos in self.closed_waits.items()])
        if self.waits:
            many(OPEN_WAIT, self.waits.values())
        if self.timers:
            self._flush_timers()
        if self.asks:
            for statement, run in groupby(self.asks, itemgetter(0)):
                many(statement, [values for _, values in run])
        if self.new_items:
            many(INSERT_ITEM, self.new_items)
        if self.taken:
            many(TAKE_ITEM, self.taken)
        if self.ended:
            self._flush_ended()
        if self.new_requests:
            many(INSERT_REQUEST, self.new_requests.values())
        if self.dead:
            many("INSERT OR IGNORE INTO dead VALUES (?,?,?,?)", self.dead)
        if self.resources:
            many(SAVE_RESOURCE, self.resources.values())
            many(INSERT_RESOURCE_CHANGE, self.resource_changes)
        crash_point("journal.inserted")
        self._clear()

    def _flush_changes(self) -> None:
        many = self.db.executemany
        if self.changes:
            plain, moved = [], []
            for n, values in self.changes.items():
                slot = self.slots.get(n)
                if slot is None:
                    plain.append((*values, n))
                else:
                    moved.append((*values, slot, n))
            many(CHANGE, plain)
            many(CHANGE_SLOT, moved)
        if self.generations:
            many("UPDATE instance SET generation=? WHERE n=?",
                 [(g, n) for n, g in self.generations.items()])  # fmt: skip
            many("DELETE FROM snapshot WHERE n=?", [(n,) for n in self.generations])
        if self.versions:
            many("UPDATE instance SET version=? WHERE n=?",
                 [(version, n) for n, version in self.versions.items()])  # fmt: skip
        if self.attributes:
            ns = [(n,) for n in self.attributes]
            many("DELETE FROM attribute WHERE n=?", ns)
            many("UPDATE instance SET attributes=? WHERE n=?",
                 [(_encode(a), n) for n, a in self.attributes.items()])  # fmt: skip
            many(INSERT_ATTRIBUTE,
                 [(n, name, stored_value(value))
                  for n, given in self.attributes.items() for name, value in given.items()])  # fmt: skip

    def _flush_timers(self) -> None:
        gone = [key for key, due in self.timers.items() if due is None]
        if gone:
            self.db.executemany(DROP_TIMER, gone)
        if len(gone) < len(self.timers):
            self.db.executemany(
                SET_TIMER,
                [(n, op, due) for (n, op), due in self.timers.items() if due is not None],
            )

    def _flush_ended(self) -> None:
        many = self.db.executemany
        many("UPDATE subscription SET closed=? WHERE n=? AND closed=0", self.ended)
        ns = [(n,) for _, n in self.ended]
        for statement in ENDED:
            many(statement, ns)

    def save_counter(self) -> None:
        self.db.execute(
            SAVE_COUNTER,
            (self.head, self.iq, self.entries, self.events, self.pruned, self.last_n),
        )


def stored_value(value: Any) -> str | int | float:
    """A search attribute as the index holds it: truth as a word, so that 1 is not `true`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return float(value)
    return value if isinstance(value, (int, float)) else str(value)
