"""Rules of the journal that a promise rests on, one by one: each has a mutant that it must catch."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import EngineDied, InboxFull, StoreDamaged
from greenroom.runtime.audit import FRAME_HEADER, WAL_HEADER, Mark, MarkFile, audit_wal
from greenroom.runtime.backup import restore
from greenroom.runtime.journal import Journal
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.statements import StatementFailed
from greenroom.runtime.store import StoreFull

AT = 1_700_000_000_000
FRAME = FRAME_HEADER + 4_096


def opened(path: Path, **options: Any) -> SqliteStore:
    store = SqliteStore(path, **options)
    store.open()
    return store


def one(store: Any, work: Any) -> Any:
    return store.run([work])[0]


def change(path: Path, *statements: str) -> None:
    """What no process of ours does to a store that nobody has open."""
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def filled(path: Path, make: Any) -> None:
    """Three instances of four rows and three events, closed cleanly."""
    store = opened(path)
    for n in (1, 2, 3):
        store.run([make.create(n, opened=[make.wait("1", where={"data.k": n})])])
        store.run([make.append(n, 2, 3), make.post(f"e-{n}", data={"k": n})])
    store.close(clean=True)


def story(path: Path) -> list[str | None]:
    store = opened(path)
    try:
        return [i.damaged for i in one(store, ports.Load([1, 2, 3]))]
    finally:
        store.close(clean=True)


def deep(path: Path) -> list[str]:
    store = opened(path)
    try:
        return [f.check for f in one(store, ports.Audit(deep=True)).findings if f.level == "error"]
    finally:
        store.close(clean=True)


# -- R1, R3: one writer, and callers that cannot harm each other ---------------------------------


def test_no_read_gives_more_than_it_was_asked_for(store: Any, make: Any) -> None:
    store.run([make.create(n, timers=[("1", AT)]) for n in range(1, 6)])
    store.run([make.append(1, 2, 5), *[make.post(f"e-{k}") for k in range(5)]])
    asked = [
        ports.ReadRows(1, 0, 2), ports.ReadJournal(0, 2), ports.ListEvents(limit=2),
        ports.DueTimers(AT, 2), ports.BusyInstances(0, 2),
    ]  # fmt: skip
    assert [len(page) for page in store.run(asked)] == [2] * len(asked)
    assert len(one(store, ports.ListInstances(limit=2)).rows) == 2


def test_a_statement_that_fails_is_the_fault_of_its_caller_alone(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2)])
    good, bad = store.run([
        make.append(1, 2), ports.Append(n=2, iseq=2, rows=[make.row()], statements=[("nonsense", ())]),
    ])  # fmt: skip
    assert good.pos == 3
    assert isinstance(bad, StatementFailed)
    assert one(store, ports.Load([2]))[0].head == 1


async def slow_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Journal, threading.Event, threading.Event]:
    """A journal whose groups say that they begin, and wait for leave to go on."""
    journal = Journal(SqliteStore(path))
    await journal.open()
    begun, go_on = threading.Event(), threading.Event()
    run = journal.store.run

    def slow(group: list[Any]) -> list[Any]:
        begun.set()
        assert go_on.wait(10)
        return run(group)

    monkeypatch.setattr(journal.store, "run", slow)
    return journal, begun, go_on


async def test_nobody_hears_of_a_work_before_it_is_stored(
    database: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, begun, go_on = await slow_journal(database, monkeypatch)
    call = asyncio.ensure_future(journal.call(make.create(1)))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not call.done()
    go_on.set()
    assert (await call).created
    await journal.close()


async def test_a_caller_that_is_cancelled_while_it_waits_is_stored_all_the_same(
    database: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, begun, go_on = await slow_journal(database, monkeypatch)
    first = asyncio.ensure_future(journal.call(make.create(1)))
    await asyncio.to_thread(begun.wait, 10)
    calls = [asyncio.ensure_future(journal.call(make.create(n))) for n in range(2, 12)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.sleep(0)
    go_on.set()
    results = await asyncio.gather(first, *calls, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 5
    assert (await journal.call(ports.Counts())).entries == 11
    await journal.close()


# -- R5: the first error ends the group ----------------------------------------------------------


def no_room(store: SqliteStore, works: Sequence[Any], make: Any) -> None:
    """The group fails in its last work, which is too big for the pages there are."""
    big = make.row(payload=b'"' + b"x" * 500_000 + b'"')
    store.connection.execute("PRAGMA max_page_count=1")
    with pytest.raises(StoreFull):
        store.run([*works, ports.Append(n=1, iseq=2, rows=[big])])
    store.connection.execute("PRAGMA max_page_count=1000000")


def test_a_group_that_found_no_room_is_rolled_back(database: Path, make: Any) -> None:
    store = opened(database)
    store.run([make.create(1)])
    no_room(store, [make.create(2)], make)
    assert not store.connection.in_transaction
    assert one(store, ports.Load([2])) == []
    assert one(store, make.append(1, 2)).pos == 2
    store.close(clean=True)


class Tight(sqlite3.Connection):
    """Finds no room, and leaves the rolling back to us."""

    full = False

    def executemany(self, sql: str, *more: Any) -> sqlite3.Cursor:
        if self.full and sql.startswith("INSERT INTO event "):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return super().executemany(sql, *more)


def test_a_group_that_found_no_room_is_rolled_back_by_us_if_not_by_sqlite(
    database: Path, make: Any
) -> None:
    store = opened(database, factory=Tight)
    store.run([make.create(1)])
    db: Any = store.connection
    db.full = True
    with pytest.raises(StoreFull):
        store.run([make.append(1, 2), make.post("e-1")])
    db.full = False
    assert one(store, ports.Load([1]))[0].head == 1
    assert one(store, make.append(1, 2)).pos == 2
    store.close(clean=True)


def test_a_wait_of_a_group_that_found_no_room_is_forgotten_with_it(
    database: Path, make: Any
) -> None:
    store = opened(database)
    store.run([make.create(1)])
    waiting = make.create(2, opened=[make.wait("1", "paid", {"data.k": 1})])
    no_room(store, [waiting], make)
    other = make.create(3, opened=[make.wait("1", "sent", {"data.k": 1})])
    store.run([other, waiting])
    events = [make.post("e-1", "paid", {"k": 1}), make.post("e-2", "sent", {"k": 1})]
    assert [[n for n, _, _ in posted.items] for posted in store.run(events)] == [[2], [3]]
    store.close(clean=True)
    store = opened(database)
    again = [make.post("e-3", "paid", {"k": 1}), make.post("e-4", "sent", {"k": 1})]
    assert [[n for n, _, _ in posted.items] for posted in store.run(again)] == [[2], [3]]
    store.close(clean=True)


# -- R7: settings are read back ------------------------------------------------------------------


class Deaf(sqlite3.Connection):
    """A build of SQLite that does not do as it is told."""

    def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA synchronous=2":
            sql = "PRAGMA synchronous=0"
        return super().execute(sql, *more)


def test_a_setting_that_does_not_hold_is_refused(database: Path) -> None:
    with pytest.raises(EngineDied, match="refuses synchronous=2, it stays 0"):
        opened(database, factory=Deaf)


# -- R8: frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    ["epoch = epoch + 1", "kind = 'OpFailed'", "at = at + 1", "payload = '{\"a\":1}'", "crc = 5"],
)
def test_every_column_of_a_row_is_under_its_checksum(
    database: Path, make: Any, changed: str
) -> None:
    filled(database, make)
    change(database, f"UPDATE entry SET {changed} WHERE n=2 AND iseq=3")
    assert story(database) == [None, "row 3 (at 8) fails its checksum", None]
    assert deep(database) == ["journal.rows"]


@pytest.mark.parametrize(
    "changed",
    [
        "scope = 'x'",
        "accepted = accepted + 1",
        "by = 'eve'",
        "hops = 3",
        "body = CAST('{}' AS BLOB)",
    ],
)
def test_every_column_of_an_event_is_under_its_checksum(
    database: Path, make: Any, changed: str
) -> None:
    filled(database, make)
    change(database, f"UPDATE event SET {changed} WHERE id='e-2'")
    store = opened(database)
    found = one(store, ports.GetEvent("pos:10"))
    assert isinstance(found, StoreDamaged)
    assert "fails its checksum" in found.message
    store.close(clean=True)
    assert "journal.events" in deep(database)


@pytest.mark.parametrize("changed", ["at = 'soon'", "epoch = 1.5", "at = x''", "payload = '{}'"])
def test_a_row_whose_column_changed_its_type_parks_its_own_instance(
    database: Path, make: Any, changed: str
) -> None:
    filled(database, make)
    change(database, f"UPDATE entry SET {changed} WHERE n=2 AND iseq=3")
    assert story(database) == [None, "row 3 (at 8) fails its checksum", None]
    assert deep(database) == ["journal.rows"]


@pytest.mark.parametrize("changed", ["accepted = 'soon'", "hops = 1.5", "body = '{}'"])
def test_an_event_whose_column_changed_its_type_is_damage_like_any_other(
    database: Path, make: Any, changed: str
) -> None:
    filled(database, make)
    change(database, f"UPDATE event SET {changed} WHERE id='e-2'")
    store = opened(database)
    assert isinstance(one(store, ports.GetEvent("pos:10")), StoreDamaged)
    assert len(one(store, ports.Load([1, 2, 3]))) == 3
    store.close(clean=True)
    assert "journal.events" in deep(database)


def test_an_item_whose_column_changed_its_type_parks_its_own_instance(
    database: Path, make: Any
) -> None:
    filled(database, make)
    change(database, "UPDATE inbox SET at = 'soon' WHERE n=2")
    assert [bool(why) for why in story(database)] == [False, True, False]


def test_a_changed_inbox_item_is_named_and_not_given(database: Path, make: Any) -> None:
    filled(database, make)
    change(database, "UPDATE inbox SET at = at + 1 WHERE n=2")
    store = opened(database)
    loaded = one(store, ports.Load([1, 2]))
    assert [len(i.items) for i in loaded] == [1, 0]
    assert "inbox item" in loaded[1].damaged
    store.close(clean=True)


@pytest.mark.parametrize("changed", ["status = 66", "status = 'x'", "attributes = x'ff'"])
def test_an_instance_whose_state_cannot_be_read_keeps_no_other_from_loading(
    database: Path, make: Any, changed: str
) -> None:
    filled(database, make)
    change(database, f"UPDATE instance SET {changed} WHERE n=2")
    assert [bool(why) for why in story(database)] == [False, True, False]


def test_a_row_that_is_missing_in_the_middle_is_noticed(database: Path, make: Any) -> None:
    filled(database, make)
    change(database, "DELETE FROM entry WHERE n=2 AND iseq=3")
    assert story(database) == [None, "row 3 is missing", None]
    assert deep(database) == ["journal.rows"]


def test_a_journal_that_lost_its_last_row_is_refused(database: Path, make: Any) -> None:
    filled(database, make)
    change(database, "DELETE FROM event WHERE id='e-3'")
    database.with_name("app.db.mark").unlink()
    with pytest.raises(StoreDamaged, match="its counter says 15"):
        opened(database)


@pytest.mark.parametrize("counter", ["entries", "events", "pruned"])
def test_a_counter_that_does_not_add_up_is_refused(database: Path, make: Any, counter: str) -> None:
    filled(database, make)
    change(database, f"UPDATE counter SET {counter} = {counter} + 1")
    with pytest.raises(StoreDamaged, match="16 rows counted"):
        opened(database)


# -- R9: the log ---------------------------------------------------------------------------------


def killed(folder: Path, make: Any, groups: int = 12) -> Path:
    """The log of a process that was killed, in a copy."""
    path = folder / "app.db"
    store = opened(path)
    for n in range(1, groups + 1):
        store.run([make.create(n)])
    copied = folder / "copied"
    copied.mkdir()
    for name in ("app.db", "app.db-wal", "app.db.mark"):
        shutil.copyfile(folder / name, copied / name)
    store.close(clean=False)
    return copied / "app.db-wal"


def commits(raw: bytes) -> list[int]:
    """Where the frames that end a commit begin."""
    places = range(WAL_HEADER, len(raw) - FRAME + 1, FRAME)
    return [at for at in places if raw[at + 4 : at + 8] != b"\0\0\0\0"]


def broken(wal: Path, at: int) -> None:
    raw = bytearray(wal.read_bytes())
    raw[at + FRAME_HEADER + 100] ^= 1
    wal.write_bytes(raw)


@pytest.mark.parametrize(("behind", "damaged"), [(0, False), (1, False), (2, True), (3, True)])
def test_one_commit_behind_the_break_is_a_torn_tail_and_two_are_damage(
    tmp_path: Path, make: Any, behind: int, damaged: bool
) -> None:
    wal = killed(tmp_path, make)
    broken(wal, commits(wal.read_bytes())[-1 - behind])
    report = audit_wal(wal)
    assert (report.torn, report.lost, report.damaged) == (True, behind, damaged)
    wal.with_name("app.db.mark").unlink()
    if damaged:
        with pytest.raises(StoreDamaged, match="later commits cannot be read"):
            opened(wal.with_name("app.db"))
    else:
        opened(wal.with_name("app.db")).close(clean=False)


def test_commits_of_an_older_run_of_the_log_are_no_loss(tmp_path: Path, make: Any) -> None:
    """After a checkpoint the log is written over from its beginning: what lies behind its end is
    of the run before."""
    store = opened(tmp_path / "app.db")
    for n in range(1, 13):
        store.run([make.create(n)])
    store.checkpoint()
    store.run([make.create(20)])
    copied = tmp_path / "copied-wal"
    shutil.copyfile(store.wal, copied)
    store.close(clean=True)
    report = audit_wal(copied)
    assert (report.torn, report.lost, report.damaged) == (True, 0, False)


# -- R10: the mark -------------------------------------------------------------------------------


def test_another_past_of_the_same_length_is_refused(tmp_path: Path, make: Any) -> None:
    filled(tmp_path / "app.db", make)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(tmp_path / "app.db", other / "app.db")
    for path, id in ((tmp_path / "app.db", "mine"), (other / "app.db", "theirs")):
        store = opened(path)
        store.run([make.post(id)])
        store.close(clean=True)
    shutil.copyfile(other / "app.db", tmp_path / "app.db")
    with pytest.raises(StoreDamaged, match="not the one that was left there"):
        opened(tmp_path / "app.db")


def test_a_longer_store_of_somebody_else_is_refused(tmp_path: Path, make: Any) -> None:
    """Its rows before the mark's place may even be the same."""
    store = opened(tmp_path / "app.db")
    store.close(clean=True)
    mark = MarkFile(tmp_path / "app.db.mark")
    mark.open()
    mark.write(Mark(5, 0, 0))
    mark.close()
    with pytest.raises(StoreDamaged, match="another store"):
        opened(tmp_path / "app.db")
    opened(tmp_path / "app.db", accept_truncation=True).close(clean=True)


def test_a_mark_that_finds_no_room_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = MarkFile(tmp_path / "mark")
    mark.open()
    mark.write(Mark(5, 1, 1))

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as planted:
        planted.setattr(os, "pwrite", full)
        mark.write(Mark(5, 2, 2))
    mark.close()
    assert MarkFile(tmp_path / "mark").open()[0] == Mark(5, 1, 1)


# -- R12: snapshots ------------------------------------------------------------------------------


def test_two_snapshots_are_kept(database: Path, make: Any) -> None:
    store = opened(database)
    store.run([make.create(1), make.append(1, 2, 8)])
    for iseq in (2, 4, 6, 8):
        store.run([ports.SaveSnapshot(1, iseq, b"s", zlib.crc32(b"s"))])
    kept = store.connection.execute("SELECT iseq FROM snapshot ORDER BY iseq").fetchall()
    assert kept == [(6,), (8,)]
    store.close(clean=True)


# -- R13: retention ------------------------------------------------------------------------------


def ended(store: Any, make: Any, ns: Sequence[int], at: int = AT, **more: Any) -> None:
    store.run([make.create(n, at=at, **more) for n in ns])
    store.run([make.end(n, 2, at=at) for n in ns])


def test_retention_leaves_alone_what_is_younger(store: Any, make: Any) -> None:
    ended(store, make, [1], at=AT)
    ended(store, make, [2], at=AT + 10)
    store.run([make.post("old", accepted=AT), make.post("young", accepted=AT + 10)])
    young = ports.Request("young", 1, b"{}", AT + 10)
    old = ports.Request("old", 1, b"{}", AT)
    store.run([make.create(3, request=young), make.create(4, request=old)])
    store.run([make.end(3, 2), make.end(4, 2)])
    pruned = one(store, ports.Prune(AT + 10))
    assert (pruned.instances, pruned.events) == (3, 1)
    assert [i.row.n for i in one(store, ports.Load([1, 2, 3, 4]))] == [2]
    assert one(store, make.post("young")).duplicate
    assert not one(store, make.post("old")).duplicate
    assert one(store, ports.FindRequest("young")) == young
    assert one(store, ports.FindRequest("old")) is None


def test_instances_may_go_before_the_ids_of_their_events(store: Any, make: Any) -> None:
    request = ports.Request("r-1", 1, b"{}", AT)
    store.run([make.create(1, request=request), make.post("e-1", accepted=AT)])
    store.run([make.end(1, 2)])
    pruned = one(store, ports.Prune(AT + 10, forget=AT))
    assert (pruned.instances, pruned.events) == (1, 0)
    assert one(store, make.post("e-1")).duplicate
    assert one(store, make.create(2, request=request)).conflict == "request"


def test_a_request_is_known_as_long_as_its_instance_is_kept(store: Any, make: Any) -> None:
    requests = [ports.Request(f"r-{n}", n, b"{}", AT) for n in range(1, 8)]
    store.run([make.create(n, request=requests[n - 1]) for n in range(1, 8)])
    store.run([make.end(n, 2) for n in (2, 3, 6)])
    while one(store, ports.Prune(AT + 10, 2)).more:
        pass
    known = [one(store, ports.FindRequest(request.id)) is not None for request in requests]
    assert known == [True, False, False, True, True, False, True]
    assert one(store, make.create(9, request=requests[0])).id == make.id(1)


def test_an_event_that_is_not_routed_to_its_end_is_not_pruned(store: Any, make: Any) -> None:
    store.run([make.create(1)])
    emitted = one(store, make.append(1, 2, emits=[make.event("e-1", checked=False)])).emitted
    assert one(store, ports.Prune(AT + 10)).events == 0
    assert not one(store, ports.Route(pos=emitted[0])).more
    assert one(store, ports.Prune(AT + 10)).events == 1


def test_retention_goes_on_in_bounded_chunks(store: Any, make: Any) -> None:
    ended(store, make, [1, 2, 3, 4, 5], opened=[make.wait("1")])
    store.run([make.create(9, workflow="bill"), make.end(9, 2)])
    store.run([make.post(f"e-{k}", "other") for k in range(5)])
    chunks = [one(store, ports.Prune(AT + 10, 2)) for _ in range(4)]
    assert [(c.instances, c.events, c.more) for c in chunks] == [
        (2, 2, True), (2, 2, True), (2, 1, True), (0, 0, False)]  # fmt: skip
    counts = one(store, ports.Counts())
    assert counts.entries + counts.events + counts.pruned == counts.head


def test_nothing_is_left_of_a_pruned_instance(database: Path, make: Any) -> None:
    store = opened(database)
    turn = {
        "opened": [make.wait("1")], "timers": [("1", AT)],
        "asks": [ports.AskRow("a-1", "1", "form", "Ok?", b"{}", None, None)],
    }  # fmt: skip
    store.run([make.create(1, attributes={"total": 5}, **turn), make.create(2)])
    store.run([make.append(1, 2, answered=[("1", "anna", AT)])])
    store.run([make.end(1, 3)])
    store.run([ports.SaveSnapshot(1, 2, b"s", 1), ports.Prune(AT + 10)])
    db = store.connection
    tables = [
        name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        if any(column[1] == "n" for column in db.execute(f"PRAGMA table_info({name})"))
    ]  # fmt: skip
    assert "entry" in tables
    tables.remove("counter")
    assert [t for t in tables if db.execute(f"SELECT 1 FROM {t} WHERE n=1").fetchone()] == []
    store.close(clean=True)


def test_a_pruned_store_is_opened_and_read_like_any_other(database: Path, make: Any) -> None:
    store = opened(database)
    ended(store, make, [1, 2])
    store.run([make.create(3), make.post("e-1")])
    store.run([ports.Prune(AT + 10)])
    head = one(store, ports.Counts()).head
    store.close(clean=True)
    store = SqliteStore(database)
    assert store.open().head == head
    assert one(store, make.append(3, 2)).pos == head + 1
    store.close(clean=True)
    assert deep(database) == []


# -- R15, R16, R17 -------------------------------------------------------------------------------


def test_an_inbox_holds_ten_thousand_items_and_no_more(store: Any, make: Any) -> None:
    store.run([make.create(1, opened=[make.wait("1")]), make.create(2)])
    for k in range(10):
        store.run([make.post(f"e-{k}-{j}") for j in range(1_000)])
    over = one(store, make.post("over"))
    assert (over.matched[0].code, over.items) == ("inbox_full", [])
    assert isinstance(one(store, make.send("s-1", make.id(1))), InboxFull)
    opened = [make.wait(str(k), "paid", since=0, many=True) for k in range(12)]
    found = one(store, make.append(2, 2, opened=opened)).found
    assert len(found) == 10_000
    assert len(one(store, ports.Load([2]))[0].items) == 10_000


def test_a_fan_out_goes_on_where_it_stopped_after_a_crash(
    database: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = ports.FAN_OUT_PER_COMMIT * 2 + 5
    store = opened(database)
    store.run([make.create(n, opened=[make.wait("1")]) for n in range(1, many + 1)])
    posted = one(store, make.post("e-1"))
    given = [n for n, _, _ in posted.items]
    store.close(clean=False)
    store = opened(database)
    looked_at: list[int] = []
    matches = store.matcher.matches

    def counted(where: bytes, event: dict[str, Any]) -> bool:
        looked_at.append(1)
        return matches(where, event)

    monkeypatch.setattr(store.matcher, "matches", counted)
    more = True
    while more:
        (event,) = one(store, ports.UnroutedEvents())
        routed = one(store, ports.Route(pos=event.pos))
        given += [n for n, _, _ in routed.items]
        more = routed.more
    assert given == list(range(1, many + 1))
    assert routed.matched_total == many
    assert len(looked_at) < many
    store.close(clean=True)


def test_a_late_tick_does_not_move_its_schedule_back(store: Any, make: Any) -> None:
    store.run([ports.SaveSchedule("s", "order", b"1", 0, AT)])
    store.run([make.post("t-2", tick=("s", AT + 60, AT + 120))])
    store.run([make.post("t-1", tick=("s", AT, AT + 60))])
    (row,) = one(store, ports.ListSchedules())
    assert (row.last, row.due) == (AT + 60, AT + 120)


# -- R26: epochs ---------------------------------------------------------------------------------


def test_every_row_carries_the_epoch_of_its_process(store: Any, make: Any) -> None:
    store.run([make.create(1)])
    first = one(store, ports.Load([1]))[0].rows[0].epoch
    if isinstance(store, SqliteStore):
        store.close(clean=False)
        after: Any = SqliteStore(store.path)
    else:
        after = store.crash()
    found = after.open()
    after.run([make.append(1, 2)])
    epochs = [row.epoch for row in one(after, ports.Load([1]))[0].rows]
    assert (epochs, found.epoch) == ([first, first + 1], first + 1)
    after.close(clean=True)


def test_a_restored_store_is_a_thousand_epochs_away(database: Path, make: Any) -> None:
    filled(database, make)
    copy = database.with_name("copy.db")
    shutil.copyfile(database, copy)
    store = SqliteStore(database)
    before = store.open().epoch
    store.close(clean=True)
    restore(copy, database)
    store = SqliteStore(database)
    found = store.open()
    assert found.epoch >= before + 999
    assert not found.clean
    store.close(clean=True)
