"""The tables of the journal in SQLite, how they are opened and how they grow from version to version.

Built for a million waiting instances: nothing is scanned at start, every read is a seek, and a
table has as few indexes as its reads allow.

- `entry` and `event` draw their primary keys from one counter, so both stand in one order.
- Workflows are numbered (`workflow.w`) so that an index entry is three small integers, and
  `count` keeps how many instances each workflow has in each status.
- `instance.slot` is 0 while an instance lives and its own number once it has ended: one unique
  index (w, key, slot) forbids a second live one and finds the newest ended one.
- `subscription.closed` is 0 while a wait is open and the place where it closed afterwards: one
  index (shape, closed, hash) routes events and still answers what was waited for at a place.
- `given` remembers which event went to which instance, so an event is handed over once however
  it is found: routed, looked back for, or routed again after a crash.
- An inbox item made of an event has no payload of its own: it is the event's.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from greenroom.definitions.errors import EngineDied, SchemaTooNew, StoreDamaged
from greenroom.runtime.crashpoints import crash_point
from greenroom.runtime.store import PARTITIONS

APPLICATION_ID: Final = 0x47524E52
"""`GRNR` in the file's header."""

FIRST: Final = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counter (
  one INTEGER PRIMARY KEY CHECK (one = 1), head INTEGER NOT NULL, iq INTEGER NOT NULL,
  entries INTEGER NOT NULL, events INTEGER NOT NULL, pruned INTEGER NOT NULL, n INTEGER NOT NULL);
INSERT INTO counter VALUES (1, 0, 0, 0, 0, 0, 0);
CREATE TABLE partition (p INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
INSERT INTO partition
  WITH RECURSIVE p(p) AS (SELECT 0 UNION ALL SELECT p + 1 FROM p WHERE p < {PARTITIONS - 1})
  SELECT p, 0 FROM p;

CREATE TABLE entry (
  seq INTEGER PRIMARY KEY, n INTEGER NOT NULL, iseq INTEGER NOT NULL, epoch INTEGER NOT NULL,
  kind TEXT NOT NULL, at INTEGER NOT NULL, codec INTEGER NOT NULL, payload BLOB NOT NULL,
  crc INTEGER NOT NULL);
CREATE UNIQUE INDEX entry_n ON entry (n, iseq);

CREATE TABLE event (
  pos INTEGER PRIMARY KEY, id TEXT NOT NULL, source TEXT NOT NULL, scope TEXT NOT NULL,
  type TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL, accepted INTEGER NOT NULL,
  by TEXT, hash INTEGER NOT NULL, hops INTEGER NOT NULL, matched INTEGER NOT NULL, cursor INTEGER);
CREATE UNIQUE INDEX event_id ON event (id, source, scope);
CREATE INDEX event_type ON event (type);
CREATE INDEX event_unrouted ON event (pos) WHERE cursor IS NOT NULL;
CREATE TABLE event_key (
  shape INTEGER NOT NULL, hash INTEGER NOT NULL, pos INTEGER NOT NULL,
  PRIMARY KEY (shape, hash, pos)) WITHOUT ROWID;
CREATE TABLE given (
  pos INTEGER NOT NULL, n INTEGER NOT NULL, nth INTEGER NOT NULL, action TEXT NOT NULL,
  workflow TEXT, key TEXT, code TEXT, PRIMARY KEY (pos, n, nth)) WITHOUT ROWID;

CREATE TABLE workflow (
  w INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (namespace, name));
CREATE TABLE count (
  w INTEGER NOT NULL, status INTEGER NOT NULL, c INTEGER NOT NULL, PRIMARY KEY (w, status))
  WITHOUT ROWID;
CREATE TABLE instance (
  n INTEGER PRIMARY KEY, id TEXT NOT NULL, w INTEGER NOT NULL, version INTEGER NOT NULL,
  kind TEXT NOT NULL, key TEXT, slot INTEGER NOT NULL, status INTEGER NOT NULL,
  created INTEGER NOT NULL, updated INTEGER NOT NULL, outcome TEXT, waits BLOB, steps TEXT NOT NULL,
  error BLOB, error_code TEXT, attributes BLOB, parent TEXT, forked_from TEXT,
  test INTEGER NOT NULL, busy INTEGER NOT NULL, generation INTEGER NOT NULL, pos INTEGER NOT NULL);
CREATE UNIQUE INDEX instance_id ON instance (id);
CREATE UNIQUE INDEX instance_key ON instance (w, key, slot) WHERE key IS NOT NULL;
CREATE INDEX instance_list ON instance (w, status, updated);
CREATE INDEX instance_busy ON instance (n) WHERE busy;
CREATE TABLE attribute (
  n INTEGER NOT NULL, name TEXT NOT NULL, value NOT NULL, PRIMARY KEY (n, name)) WITHOUT ROWID;
CREATE INDEX attribute_value ON attribute (name, value);
CREATE TABLE snapshot (
  n INTEGER NOT NULL, iseq INTEGER NOT NULL, payload BLOB NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (n, iseq)) WITHOUT ROWID;
CREATE TABLE inbox (
  n INTEGER NOT NULL, iq INTEGER NOT NULL, kind TEXT NOT NULL, pos INTEGER, payload BLOB,
  at INTEGER NOT NULL, kept INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (n, iq))
  WITHOUT ROWID;
CREATE INDEX inbox_new ON inbox (n) WHERE NOT kept;
CREATE TABLE dead (
  n INTEGER NOT NULL, pos INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (n, pos)) WITHOUT ROWID;

CREATE TABLE shape (
  id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, type TEXT NOT NULL, paths TEXT NOT NULL,
  filled INTEGER NOT NULL, UNIQUE (namespace, type, paths));
CREATE TABLE subscription (
  n INTEGER NOT NULL, op TEXT NOT NULL, shape INTEGER NOT NULL, hash INTEGER NOT NULL,
  "where" BLOB NOT NULL, opened INTEGER NOT NULL, closed INTEGER NOT NULL, PRIMARY KEY (n, op))
  WITHOUT ROWID;
CREATE INDEX subscription_shape ON subscription (shape, closed, hash);
CREATE TABLE timer (
  n INTEGER NOT NULL, op TEXT NOT NULL, due INTEGER NOT NULL, PRIMARY KEY (n, op)) WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due);
CREATE TABLE ask (
  id TEXT PRIMARY KEY, n INTEGER NOT NULL, op TEXT NOT NULL, kind TEXT NOT NULL,
  title TEXT NOT NULL, schema BLOB NOT NULL, assignee TEXT, due INTEGER, by TEXT,
  answered INTEGER) WITHOUT ROWID;
CREATE INDEX ask_n ON ask (n, op);
CREATE INDEX ask_open ON ask (id) WHERE answered IS NULL;
CREATE INDEX ask_assignee ON ask (assignee, id) WHERE answered IS NULL;
CREATE TABLE request (
  at INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, hash INTEGER NOT NULL, reply BLOB NOT NULL,
  instance TEXT);

CREATE TABLE definition (
  name TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, hash TEXT NOT NULL,
  body BLOB NOT NULL, at INTEGER NOT NULL, source TEXT, release INTEGER NOT NULL,
  enabled INTEGER NOT NULL, PRIMARY KEY (name, version));
CREATE TABLE schedule (
  id TEXT PRIMARY KEY, workflow TEXT NOT NULL, spec BLOB NOT NULL, anchor INTEGER NOT NULL,
  due INTEGER, last INTEGER, paused INTEGER NOT NULL);
"""

RESOURCES: Final = """
CREATE TABLE greenroom_resource (
  id TEXT PRIMARY KEY, namespace TEXT NOT NULL, type TEXT NOT NULL, family TEXT NOT NULL,
  product TEXT NOT NULL, customer_id TEXT NOT NULL, status TEXT NOT NULL, version INTEGER NOT NULL,
  data BLOB NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, instance TEXT NOT NULL,
  workflow TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE INDEX greenroom_resource_updated ON greenroom_resource (namespace, updated, id);
CREATE INDEX greenroom_resource_customer ON greenroom_resource (customer_id, updated, id);
CREATE TABLE greenroom_resource_change (
  id TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, pos INTEGER NOT NULL,
  instance TEXT NOT NULL, workflow TEXT NOT NULL, op TEXT NOT NULL, attempt INTEGER NOT NULL,
  changes BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (id, version)) WITHOUT ROWID;
CREATE INDEX greenroom_resource_change_instance ON greenroom_resource_change (instance);
"""
"""Tables that come after the first format begin with `greenroom_`: no statement of a step could
ever have made one of that name."""

RETRIED: Final = 'instr(CAST(waits AS TEXT), \'"kind":"retry"\') > 0'
"""Whether an instance waits for another attempt."""

RETRIES: Final = f"""
CREATE INDEX greenroom_instance_retry ON instance (updated, n) WHERE {RETRIED};
"""
"""The few that fail are found among the many that wait."""

NOTES: Final = """
CREATE TABLE greenroom_ask_note (
  ask TEXT NOT NULL, name TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (ask, name))
  WITHOUT ROWID;
CREATE TRIGGER greenroom_ask_gone AFTER DELETE ON ask BEGIN
  DELETE FROM greenroom_ask_note WHERE ask = old.id; END;
CREATE TRIGGER greenroom_ask_answered AFTER UPDATE OF answered ON ask BEGIN
  DELETE FROM greenroom_ask_note WHERE ask = old.id; END;
"""

MIGRATIONS: Final = (FIRST, RESOURCES + NOTES + RETRIES)
"""One script a version; a released one never changes. The last is not released yet: what it makes may
grow, and its golden store is made anew."""

TABLES: Final = frozenset(re.findall(r"CREATE TABLE (\w+)", "".join(MIGRATIONS)))
"""The store's own tables: statements of steps may not touch them."""

PRAGMAS: Final = (
    ("locking_mode", "exclusive"),
    ("journal_mode", "wal"),
    ("synchronous", 2),
    ("wal_autocheckpoint", 0),
    ("journal_size_limit", 16 << 20),
    ("mmap_size", 0),
    ("trusted_schema", 0),
    ("cell_size_check", 1),
    ("foreign_keys", 1),
    ("temp_store", 2),
    ("cache_size", -32_768),
    ("secure_delete", 0),
)
"""Set in this order and read back. The exclusive lock comes before WAL: the index of the log then
lives in memory and needs no shared file. `synchronous` 2 is FULL."""


def prepare(db: sqlite3.Connection, *, fresh: bool) -> None:
    """Checks that the file is ours and brings it to the newest version."""
    _set(db, *PRAGMAS[0])  # before the first read: it decides where the log's index lives
    if not fresh:
        _check_owner(db)
    for name, value in PRAGMAS:
        _set(db, name, value)
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise SchemaTooNew(
            f"the store has format {version}, this version of greenroom knows {len(MIGRATIONS)}",
            hint="run the newer greenroom, or restore a backup made before it",
            found=version,
            known=len(MIGRATIONS),
        )
    for number in range(version, len(MIGRATIONS)):
        _migrate(db, number)


def _check_owner(db: sqlite3.Connection) -> None:
    found = int(db.execute("PRAGMA application_id").fetchone()[0])
    if found == APPLICATION_ID:
        return
    if found == 0 and not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
        return  # ours, ended before its first commit
    raise StoreDamaged(
        "the file is a database, but not one of greenroom's",
        hint="give greenroom a file of its own",
        application_id=found,
    )


def _set(db: sqlite3.Connection, name: str, value: str | int) -> None:
    db.execute(f"PRAGMA {name}={value}")
    found = db.execute(f"PRAGMA {name}").fetchone()
    # a build without mmap gives no row: it cannot map, which is what is asked for
    if found is not None and str(found[0]).lower() != str(value):
        raise EngineDied(f"SQLite refuses {name}={value}, it stays {found[0]}")


def _migrate(db: sqlite3.Connection, number: int) -> None:
    """One version up, in one transaction with the version's number."""
    crash_point("migration.begin")
    db.execute("BEGIN IMMEDIATE")
    for statement in _statements(MIGRATIONS[number]):
        db.execute(statement)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={number + 1}")
    crash_point("migration.commit")
    db.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """`executescript` would commit behind our back."""
    found: list[str] = []
    current = ""
    for line in script.splitlines():
        current += line + "\n"
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
