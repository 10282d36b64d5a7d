"""The limit: the rows of a run, written by a loop that does nothing else.

A run is recorded at the connection: every statement that changes something, with its values, group
by group. `replay` then writes the very same into an empty store with the same tables, indexes and
settings: one hop to aiosqlite's thread and one transaction a group, one `executemany` a statement,
checkpoints where the run made them. The values are made before the clock starts, so no loop that
leaves the same store behind in the same commits can be shorter.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import aiosqlite

from greenroom.runtime.benchmarks.common import Figures
from greenroom.runtime.journal import in_thread
from greenroom.runtime.schema import prepare
from greenroom.runtime.sqlite import SqliteStore

SIZES: Final = {"instances": 1000, "steps": 10, "concurrency": 100, "rounds": 5}
QUICK: Final = {"instances": 50, "steps": 10, "concurrency": 20, "rounds": 1}

_CHANGES: Final = ("INSERT", "UPDATE", "DELETE")
_CHECKPOINT: Final = "PRAGMA wal_checkpoint"

Group = list[tuple[str, list[Any]]]
"""Statements of one transaction with their values; an empty text stands for a checkpoint."""


class Recording(sqlite3.Connection):
    """A connection that remembers what it changed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups: list[Group] = []
        self._group: Group | None = None

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        if self._group is not None and sql.startswith(_CHANGES):
            self._group.append((sql, [values]))
        elif sql == "BEGIN IMMEDIATE":
            self._group = []
        elif sql.startswith("CREATE"):  # the tables: the replay makes its own
            self._group = None
        elif sql == "COMMIT" and self._group is not None:
            self.groups.append(self._group)
            self._group = None
        elif sql.startswith(_CHECKPOINT):
            self.groups.append([("", [])])
        return super().execute(sql, values)

    def executemany(self, sql: str, values: Any, /) -> sqlite3.Cursor:
        values = list(values)
        if self._group is not None:
            self._group.append((sql, values))
        return super().executemany(sql, values)


def recorded_store(path: Path) -> SqliteStore:
    return SqliteStore(path, factory=Recording)


def recording_of(store: SqliteStore) -> Recording:
    connection = store.connection
    assert isinstance(connection, Recording)
    return connection


def merged(group: Group) -> Group:
    """One `executemany` a statement, in the order they were first made."""
    found: dict[str, list[Any]] = {}
    for sql, values in group:
        found.setdefault(sql, []).extend(tuple(value) for value in values)
    return [(sql, values) for sql, values in found.items() if values or not sql]


async def replay(path: Path, groups: list[Group], begin: int, end: int) -> float:
    """Seconds that the groups from `begin` to `end` take; those before are written unmeasured."""
    ready = [merged(group) for group in groups[:end]]

    def connect() -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        prepare(db, fresh=True)
        return db

    connection = await aiosqlite.Connection(connect, iter_chunk_size=64)
    try:
        db: sqlite3.Connection = connection._conn
        for group in ready[:begin]:
            await in_thread(connection, lambda group=group: write(db, group))  # type: ignore[misc]
        begun = time.perf_counter()
        for group in ready[begin:]:
            await in_thread(connection, lambda group=group: write(db, group))  # type: ignore[misc]
        return time.perf_counter() - begun
    finally:
        await connection.close()


def write(db: sqlite3.Connection, group: Group) -> None:
    if group and not group[0][0]:
        db.execute(f"{_CHECKPOINT}(PASSIVE)").fetchone()
        return
    db.execute("BEGIN IMMEDIATE")
    for sql, values in group:
        db.executemany(sql, values)
    db.execute("COMMIT")


async def limit_of(folder: Path, groups: list[Group], begin: int, end: int) -> float:
    """The seconds of the bare loop on a store of its own."""
    path = folder / "limit.db"
    try:
        return await replay(path, groups, begin, end)
    finally:
        for file in folder.glob(f"{path.name}*"):
            file.unlink()


def size_of(groups: list[Group]) -> tuple[int, int]:
    """Rows that were changed and the bytes of their texts."""
    rows = size = 0
    for group in groups:
        for _, values in group:
            rows += len(values)
            size += sum(len(v) for row in values for v in row if isinstance(v, str | bytes))
    return rows, size


def measure(folder: Path, *, instances: int, steps: int, concurrency: int, rounds: int) -> Figures:
    from greenroom.runtime.benchmarks.steps import one_round  # noqa: PLC0415  it imports this

    found = [
        asyncio.run(one_round(folder, "steps", instances, steps, concurrency))
        for _ in range(rounds)
    ]
    best = min(found, key=lambda run: run.limit_s)
    return {
        "limit_steps_per_s": round(instances * steps / best.limit_s),
        "groups": best.groups,
        "rows": best.rows,
        "bytes": best.bytes,
        "us_per_group": round(best.limit_s / max(best.groups, 1) * 1e6, 1),
    }
