"""Copies of the store: made while it runs, put in place while it does not, checked without touching.

A backup is SQLite's own online copy, a few pages at a time with groups stored in between; what is
written meanwhile is in it. A restored store starts under an epoch far above any the lost one can
have reached, so that nothing of the old line of time is ever taken for the new one's, and counts
as not cleanly closed: steps that ran when the copy was made are in doubt.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from greenroom.actors import ports
from greenroom.definitions.errors import InvalidRequest, StoreDamaged
from greenroom.runtime.audit import audit_wal
from greenroom.runtime.journal import Journal
from greenroom.runtime.schema import APPLICATION_ID
from greenroom.runtime.sqlite import SqliteStore

SLICE_PAGES: Final = 256
EPOCHS_SKIPPED: Final = 1_000


FOLDER: Final = "backups"
"""Beside the store: copies that were asked for over the network."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def own_place(journal: Journal, name: str) -> Path:
    """Where a copy is made for whoever may not say where. Raises `InvalidRequest` for a path."""
    store = journal.store
    if not isinstance(store, SqliteStore):
        raise InvalidRequest("a store in memory cannot be backed up")
    folder = store.path.parent / FOLDER
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "over the network a backup has a name and no path: letters, digits, _ . -",
            hint=f"it is written to {folder}; at the daemon's socket its owner may name any file",
            path="$.path",
        )
    if folder.is_symlink():
        raise InvalidRequest(f"{folder} is a link; it must be a folder")
    folder.mkdir(0o700, exist_ok=True)
    return folder / name


async def backup(journal: Journal, path: Path) -> int:
    """Copies the running store to a new file (0600); the bytes of the copy."""
    store = journal.store
    if not isinstance(store, SqliteStore):
        raise InvalidRequest("a store in memory cannot be backed up")
    return await journal.long(lambda serve: _copy(store, path, serve))


def _copy(store: SqliteStore, path: Path, serve: Callable[[], None]) -> int:
    if "\0" in str(path):
        raise InvalidRequest("the path of a backup has a NUL character")
    if path.exists():
        raise InvalidRequest(f"{path} is there already; name a new file", path=str(path))
    if not path.parent.is_dir():
        raise InvalidRequest(f"{path.parent} is not a directory", path=str(path))
    partial = path.with_name(path.name + ".part")
    os.close(os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as target:
            store.connection.backup(target, pages=SLICE_PAGES, progress=lambda *_: serve(), sleep=0)
            target.execute("PRAGMA journal_mode=delete")
            target.execute("INSERT OR REPLACE INTO meta VALUES ('clean', '0')")
        _sync(partial)
        partial.rename(path)
        _sync(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise
    return path.stat().st_size


def restore(copy: Path, database: Path, *, mark: Path | None = None) -> list[Path]:
    """Puts a backup in the place of a store that nobody has open; the caller holds its lock.

    What lay there is kept beside it. Gives the new names of the old files.
    """
    mark = mark or database.with_name(database.name + ".mark")
    partial = database.with_name(database.name + ".part")
    shutil.copyfile(copy, partial)
    partial.chmod(0o600)
    try:
        _renew(partial)
        _sync(partial)
    except BaseException:
        partial.unlink()
        raise
    kept = _set_aside([
        database, database.with_name(database.name + "-wal"),
        database.with_name(database.name + "-shm"), mark,
    ])  # fmt: skip
    partial.rename(database)
    _sync(database.parent)
    return kept


def _renew(path: Path) -> None:
    """Checks a copy and lifts its epoch."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreDamaged(f"{path} is not a backup of a greenroom store")
            said = [text for (text,) in db.execute("PRAGMA integrity_check(10)")]
            if said != ["ok"]:
                raise StoreDamaged(f"the backup is damaged: {'; '.join(said)}")
            db.execute(
                "UPDATE meta SET value = CAST(value AS INTEGER) + ? WHERE key='epoch'",
                (EPOCHS_SKIPPED,),
            )
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?,?)", [("clean", "0"), ("restored", "1")]
            )
    except sqlite3.DatabaseError as error:
        raise StoreDamaged(f"the backup cannot be read: {error}") from error


def _set_aside(paths: list[Path]) -> list[Path]:
    kept = []
    there = [path for path in paths if path.exists()]
    number = 1
    while any(path.with_name(f"{path.name}.old{number}").exists() for path in there):
        number += 1
    for path in there:
        aside = path.with_name(f"{path.name}.old{number}")
        path.rename(aside)
        kept.append(aside)
    return kept


def check(database: Path, *, mark: Path | None = None) -> list[ports.AuditFinding]:
    """Reads everything of a store that nobody has open, in a copy of it; changes nothing."""
    wal = database.with_name(database.name + "-wal")
    mark = mark or database.with_name(database.name + ".mark")
    findings = []
    report = audit_wal(wal)
    if report.damaged:
        findings.append(ports.AuditFinding(
            "error", "wal", f"{report.lost} commits behind commit {report.commits} are lost",
            {"commits": report.commits, "lost": report.lost}))  # fmt: skip
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".check-") as folder:
        copied = Path(folder) / "check.db"
        for path, name in ((database, copied.name), (wal, copied.name + "-wal"), (mark, "mark")):
            if path.exists():
                shutil.copyfile(path, Path(folder) / name)
        store = SqliteStore(copied, mark=Path(folder) / "mark", accept_truncation=True)
        try:
            opened = store.open()
        except StoreDamaged as error:
            return [*findings, ports.AuditFinding("error", "store", error.message, error.details)]
        try:
            findings += [ports.AuditFinding("error", "store", text) for text in opened.warnings]
            findings += _read_all(store)
        finally:
            store.close(clean=False)
    return findings


def _read_all(store: SqliteStore) -> list[ports.AuditFinding]:
    findings: list[ports.AuditFinding] = []
    after: int | None = 0
    while after is not None:
        audited: ports.Audited = store.run([ports.Audit(deep=True, after=after)])[0]
        findings += audited.findings
        after = audited.next
    return findings


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


__all__ = ["backup", "check", "restore"]
