"""Copies of a store that runs, and stores made of copies."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import InvalidRequest, StoreDamaged
from greenroom.runtime import backup as module
from greenroom.runtime.backup import EPOCHS_SKIPPED, backup, check, restore
from greenroom.runtime.journal import Journal
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.upkeep import restore as restore_into


@pytest.fixture
async def journal(tmp_path: Path, make: Any) -> AsyncIterator[Journal]:
    opened = Journal(SqliteStore(tmp_path / "a.db"))
    await opened.open()
    row = make.row(payload=b'"' + b"x" * 2_000 + b'"')
    for n in range(1, 9):
        await opened.call(make.create(n))
        await opened.call(ports.Append(n=n, iseq=2, rows=[row] * 400))
    yield opened
    await opened.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_groups_are_stored_while_a_backup_is_made_and_it_is_whole(
    journal: Journal, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_PAGES", 8)
    copying = asyncio.ensure_future(backup(journal, tmp_path / "copy.db"))
    meanwhile = 0
    while not copying.done():
        await journal.call(make.append(1, 402 + meanwhile))
        meanwhile += 1
    size = await copying
    assert meanwhile > 3  # one waits for the end, one comes behind it
    found = (tmp_path / "copy.db").stat()
    assert (found.st_size, found.st_mode & 0o777) == (size, 0o600)
    assert "copy.db.part" not in contents(tmp_path)
    store = SqliteStore(tmp_path / "copy.db")
    opened = store.open()
    assert opened.clean is False
    assert 8 * 401 <= opened.head <= 8 * 401 + meanwhile
    audited = store.run([ports.Audit(deep=True)])[0]
    assert {finding.level for finding in audited.findings} == {"ok"}
    store.close(clean=True)


async def test_a_backup_never_overwrites(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(InvalidRequest, match="there already"):
        await backup(journal, tmp_path / "copy.db")
    with pytest.raises(InvalidRequest, match="not a directory"):
        await backup(journal, tmp_path / "nowhere" / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


async def test_a_store_in_memory_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        await backup(Journal(MemoryStore()), tmp_path / "copy.db")


async def test_a_restored_store_lives_in_a_later_epoch_and_keeps_what_it_replaced(
    journal: Journal, tmp_path: Path, make: Any
) -> None:
    await backup(journal, tmp_path / "copy.db")
    await journal.call(make.append(1, 402))
    await journal.close()
    database = tmp_path / "a.db"
    kept = restore(tmp_path / "copy.db", database)
    assert sorted(path.name for path in kept) == ["a.db.mark.old1", "a.db.old1"]
    store = SqliteStore(database)
    opened = store.open()
    assert (opened.epoch, opened.clean) == (EPOCHS_SKIPPED + 2, False)
    assert store.run([ports.Load([1])])[0][0].head == 401
    store.close(clean=True)


async def test_a_damaged_backup_replaces_nothing(journal: Journal, tmp_path: Path) -> None:
    await journal.close()
    before = (tmp_path / "a.db").read_bytes()
    (tmp_path / "bad.db").write_bytes(b"not a database" * 1_000)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    for name in ("bad.db", "other.db"):
        with pytest.raises(StoreDamaged):
            restore(tmp_path / name, tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == before


async def test_a_directory_is_made_from_a_backup(journal: Journal, tmp_path: Path) -> None:
    await backup(journal, tmp_path / "copy.db")
    restore_into(tmp_path / "copy.db", tmp_path / "data")
    store = SqliteStore(tmp_path / "data/greenroom.db", mark=tmp_path / "data/greenroom.mark")
    assert store.open().head == 8 * 401
    store.close(clean=True)


async def test_checking_reads_everything_and_changes_nothing(
    journal: Journal, tmp_path: Path
) -> None:
    await journal.close()
    before = contents(tmp_path)
    assert {finding.level for finding in check(tmp_path / "a.db")} == {"ok"}
    assert contents(tmp_path) == before
    raw = bytearray(before["a.db"])
    at = raw.index(b"x" * 500)
    raw[at] ^= 1
    shutil.copyfile(tmp_path / "a.db.mark", tmp_path / "b.db.mark")
    (tmp_path / "b.db").write_bytes(raw)
    assert "error" in {finding.level for finding in check(tmp_path / "b.db")}
