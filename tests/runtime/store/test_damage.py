"""Damage is found before anything is used: flipped bits, missing files, other files."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import EngineDied, GreenroomError, SchemaTooNew, StoreDamaged
from greenroom.runtime.audit import audit_wal
from greenroom.runtime.sqlite import SqliteStore

GROUPS = 40


@pytest.fixture
def unclean(tmp_path: Path, make: Any) -> Path:
    """A store whose process was killed: everything is in the log."""
    return filled(tmp_path / "unclean", make, clean=False)


@pytest.fixture
def clean(tmp_path: Path, make: Any) -> Path:
    return filled(tmp_path / "clean", make, clean=True)


def filled(folder: Path, make: Any, *, clean: bool) -> Path:
    folder.mkdir()
    store = SqliteStore(folder / "a.db")
    store.open()
    store.run([make.create(n, opened=[make.wait("1", where={"data.k": n})]) for n in (1, 2, 3)])
    for k in range(GROUPS):
        payload = b'{"k":%d,"text":"%s"}' % (k, b"abcdefgh" * 20)
        row = make.row(payload=payload)
        store.run([ports.Append(n=k % 3 + 1, iseq=k // 3 + 2, rows=[row]), make.post(f"e-{k}")])
    if clean:
        store.close(clean=True)
        return folder
    copied = folder.with_name("copied")
    shutil.copytree(folder, copied)
    store.close(clean=False)
    return copied


def opened(folder: Path, *, accept: bool = False) -> tuple[SqliteStore, ports.Opened]:
    store = SqliteStore(folder / "a.db", accept_truncation=accept)
    return store, store.open()


def flip(path: Path, at: int, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << bit
    path.write_bytes(raw)


def test_a_killed_process_leaves_a_log_that_is_whole(unclean: Path) -> None:
    report = audit_wal(unclean / "a.db-wal")
    assert (report.torn, report.lost) == (False, 0)
    assert report.commits >= GROUPS
    store, found = opened(unclean)
    assert (found.clean, found.head, found.warnings) == (False, 3 + 2 * GROUPS, [])
    store.close(clean=True)
    store, found = opened(unclean)
    assert (found.clean, found.epoch) == (True, 3)
    store.close(clean=True)


def test_an_honest_torn_tail_is_no_damage(unclean: Path) -> None:
    """A power cut loses what was not synced: here the mark is as old as the log's end."""
    wal = unclean / "a.db-wal"
    raw = wal.read_bytes()
    (unclean / "a.db.mark").unlink()
    for cut in (1, 24, 500, 4_096, 5_000):
        wal.write_bytes(raw[:-cut])
        assert not audit_wal(wal).damaged
        copied = unclean.with_name(f"cut{cut}")
        shutil.copytree(unclean, copied)
        store, _ = opened(copied)
        store.close(clean=False)


def test_a_file_of_another_kind_is_no_store_and_stays_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "a.db"
    other.write_text("print('hello')\n" * 100)
    with pytest.raises(StoreDamaged, match="or was never a store") as caught:
        opened(tmp_path)
    assert caught.value.hint is not None and "name another file" in caught.value.hint
    assert other.read_text().startswith("print('hello')")


def test_a_flipped_bit_in_the_middle_of_the_log_is_refused_and_can_be_accepted(
    unclean: Path,
) -> None:
    wal = unclean / "a.db-wal"
    flip(wal, wal.stat().st_size // 2, 3)
    with pytest.raises(StoreDamaged, match="later commits cannot be read") as caught:
        opened(unclean)
    assert caught.value.details["lost"] > 5
    before = wal.read_bytes()
    with pytest.raises(StoreDamaged):
        opened(unclean)
    assert wal.read_bytes() == before
    store, found = opened(unclean, accept=True)
    assert any("as asked" in warning for warning in found.warnings)
    assert found.head < 3 + 2 * GROUPS
    store.close(clean=True)
    store, found = opened(unclean)
    assert found.warnings == []
    store.close(clean=True)


@pytest.mark.parametrize("file", ["a.db-wal", "a.db.mark", "a.db"])
def test_any_flipped_bit_is_reported_or_harmless(
    unclean: Path, clean: Path, file: str, tmp_path: Path, make: Any
) -> None:
    source = unclean if file == "a.db-wal" else clean
    dice = random.Random(7)
    truth = story(source, tmp_path / "truth")
    size = (source / file).stat().st_size
    silent = []
    for number in range(60):
        at, bit = dice.randrange(size), dice.randrange(8)
        folder = tmp_path / f"flip{number}"
        shutil.copytree(source, folder)
        flip(folder / file, at, bit)
        try:
            found = story(folder, None)
        except (GreenroomError, sqlite3.Error):
            continue
        if found != truth and not reported(found):
            silent.append((at, bit))
        shutil.rmtree(folder)
    assert silent == []


def story(folder: Path, into: Path | None) -> dict[str, Any]:
    """What an engine would read of a store: the journal's end, every instance, every event."""
    if into is not None:
        shutil.copytree(folder, into)
        folder = into
    store, found = opened(folder)
    try:
        loaded, events, audited = store.run([
            ports.Load([1, 2, 3]), ports.ListEvents(after=0, limit=1_000), ports.Audit(deep=True),
        ])  # fmt: skip
        return {
            "head": found.head,
            "warnings": found.warnings,
            "rows": [(i.rows, i.items) for i in loaded],
            "damaged": [i.damaged for i in loaded],
            "events": events,
            "audit": [f.level for f in audited.findings],
        }
    finally:
        store.close(clean=False)


def reported(found: dict[str, Any]) -> bool:
    return bool(
        found["warnings"]
        or any(found["damaged"])
        or isinstance(found["events"], StoreDamaged)
        or "error" in found["audit"]
    )


def test_a_damaged_payload_parks_exactly_its_own_instance(clean: Path) -> None:
    db = clean / "a.db"
    raw = bytearray(db.read_bytes())
    at = raw.find(b'{"k":4,"text"')
    while at >= 0:  # a row of instance 2, and what page splits left of it
        raw[at + 20] ^= 1
        at = raw.find(b'{"k":4,"text"', at + 1)
    db.write_bytes(raw)
    store, _ = opened(clean)
    loaded = store.run([ports.Load([1, 2, 3])])[0]
    assert [bool(i.damaged) for i in loaded] == [False, True, False]
    assert "fails its checksum" in loaded[1].damaged
    assert isinstance(store.run([ports.ReadRows(2, 0, 100)])[0], StoreDamaged)
    store.close(clean=False)


def test_a_removed_log_is_noticed_by_the_mark(clean: Path, tmp_path: Path, make: Any) -> None:
    store, _ = opened(clean)
    store.run([make.create(9)])
    killed = tmp_path / "killed"
    shutil.copytree(clean, killed)
    store.close(clean=False)
    (killed / "a.db-wal").unlink()
    with pytest.raises(StoreDamaged, match="had reached"):
        opened(killed)


def test_an_unclean_stop_without_its_log_is_refused(unclean: Path) -> None:
    (unclean / "a.db-wal").unlink()
    with pytest.raises(StoreDamaged):
        opened(unclean)


def test_an_older_copy_in_the_place_of_the_store_is_refused(clean: Path, make: Any) -> None:
    old = clean / "old.db"
    shutil.copyfile(clean / "a.db", old)
    store, _ = opened(clean)
    store.run([make.create(9)])
    store.close(clean=True)
    shutil.copyfile(old, clean / "a.db")
    with pytest.raises(StoreDamaged, match="had reached"):
        opened(clean)
    store, found = opened(clean, accept=True)
    assert found.warnings
    store.close(clean=True)


def test_another_store_in_the_place_of_the_store_is_refused(
    clean: Path, tmp_path: Path, make: Any
) -> None:
    other = filled(tmp_path / "other", make, clean=True)
    shutil.copyfile(other / "a.db", clean / "a.db")
    with pytest.raises(StoreDamaged):
        opened(clean)


def test_a_store_that_is_gone_is_not_begun_anew(clean: Path) -> None:
    (clean / "a.db").unlink()
    with pytest.raises(StoreDamaged, match="gone or empty"):
        opened(clean)
    assert not (clean / "a.db").exists()


def test_foreign_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "a.db")
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(StoreDamaged, match="not one of greenroom's"):
        opened(tmp_path)
    assert (tmp_path / "a.db").read_bytes() == before
    (tmp_path / "a.db").write_bytes(b"plain text" * 1_000)
    with pytest.raises(StoreDamaged):
        opened(tmp_path)


def test_a_newer_format_is_refused(clean: Path) -> None:
    db = sqlite3.connect(clean / "a.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(SchemaTooNew, match="format 99"):
        opened(clean)


@pytest.mark.parametrize("harm", ["unlink", "rename", "replace", "wal"])
def test_files_that_vanish_while_in_use_end_the_engine(clean: Path, make: Any, harm: str) -> None:
    store, _ = opened(clean)
    db = clean / "a.db"
    actions: dict[str, Callable[[], Any]] = {
        "unlink": db.unlink,
        "rename": lambda: db.rename(clean / "b.db"),
        "replace": lambda: (shutil.copyfile(db, clean / "c.db"), (clean / "c.db").rename(db)),
        "wal": (clean / "a.db-wal").unlink,
    }
    actions[harm]()
    with pytest.raises(EngineDied, match="removed or replaced"):
        store.run([make.create(9)])
    with pytest.raises(EngineDied):
        store.run([ports.Counts()])
    store.close(clean=True)


def test_the_files_are_the_owners_alone(clean: Path, make: Any) -> None:
    store, _ = opened(clean)
    store.run([make.create(9)])
    modes = {path.name: path.stat().st_mode & 0o777 for path in clean.iterdir()}
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db.mark": 0o600}
    store.close(clean=True)


def test_the_settings_the_promises_rest_on_are_in_force(clean: Path) -> None:
    store, _ = opened(clean)
    read = {
        name: store.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in (
            "journal_mode", "synchronous", "locking_mode", "wal_autocheckpoint", "trusted_schema",
            "cell_size_check", "foreign_keys",
        )
    }  # fmt: skip
    assert read == {
        "journal_mode": "wal", "synchronous": 2, "locking_mode": "exclusive",
        "wal_autocheckpoint": 0, "trusted_schema": 0, "cell_size_check": 1, "foreign_keys": 1,
    }  # fmt: skip
    mapped = store.connection.execute("PRAGMA mmap_size").fetchone()
    assert mapped in (None, (0,))
    with pytest.raises(GreenroomError):
        SqliteStore(clean / "a.db").open()
    store.close(clean=True)
