"""The journal in one SQLite file: opened with suspicion, written a group at a time.

`run` is called in one thread, by one caller, and is the only way in. A group that writes is one
transaction: turns and new instances first, then events, then housekeeping; reads come after the
commit and see it. The first error inside a group ends it: no further statement is made, because
SQLite may have rolled back and a later one would commit on its own. `SQLITE_FULL` is the one
error after which the state of the disk is known; after every other the connection is not touched
again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from greenroom.actors import ports
from greenroom.definitions.errors import (
    EngineDied,
    GreenroomError,
    InvalidRequest,
    Locked,
    StoreDamaged,
)
from greenroom.runtime.audit import FileWatch, Mark, MarkFile, check_wal
from greenroom.runtime.crashpoints import crash_point
from greenroom.runtime.keptdata import measure_data, read_data
from greenroom.runtime.schema import prepare
from greenroom.runtime.sqlite_group import FACTS_MAX, Group
from greenroom.runtime.sqlite_keep import Keeper
from greenroom.runtime.sqlite_list import Lister
from greenroom.runtime.sqlite_match import Matcher
from greenroom.runtime.sqlite_read import Reader
from greenroom.runtime.sqlite_route import Router
from greenroom.runtime.sqlite_turns import Turns
from greenroom.runtime.store import StoreFull

WAL_BYTES_MAX: Final = 16 << 20
CHECKPOINT_FRAMES: Final = 2_000
"""About 8 MiB."""
PROBE_BYTES: Final = 1 << 16

_TURNS: Final = frozenset({ports.Append, ports.Create})
_EVENTS: Final = frozenset({ports.Post, ports.Route, ports.Redrive})


class SqliteStore:
    """`path` is the database file; beside it SQLite keeps its log and we keep the mark."""

    def __init__(
        self,
        path: Path | str,
        *,
        mark: Path | None = None,
        accept_truncation: bool = False,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        self.path = Path(path)
        self.wal = self.path.with_name(self.path.name + "-wal")
        self.mark = MarkFile(mark or self.path.with_name(self.path.name + ".mark"))
        self.accept_truncation = accept_truncation
        self.factory = factory
        self.broken: BaseException | None = None
        self._db: sqlite3.Connection | None = None
        self._changes = 0
        self._frames_per_change = 1.0
        self._wal_size = 0

    # -- opening ----------------------------------------------------------------------------

    def open(self) -> ports.Opened:
        """Refuses (`StoreDamaged`, `SchemaTooNew`) before anything is used or changed."""
        if self.path.is_symlink():
            raise StoreDamaged(f"{self.path} is a symbolic link; give the file itself")
        fresh = not self.path.exists() or self.path.stat().st_size == 0
        warnings = self._before(fresh)
        try:
            self._connect(fresh)
            return self._started(warnings)
        except BaseException as error:
            self._abandon()
            if isinstance(error, sqlite3.Error | ValueError | TypeError | LookupError):
                raise opening_error(self.path, error) from error
            raise

    def _before(self, fresh: bool) -> list[str]:
        """What must be known before SQLite touches the files."""
        warnings = check_wal(self.wal, accept_truncation=self.accept_truncation)
        self._mark, more = self.mark.open()
        if fresh and self._mark is not None and not self.accept_truncation:
            self.mark.close()
            raise StoreDamaged(
                f"{self.path} is gone or empty, its mark says it had {self._mark.head:,} rows",
                hint="put the file back, restore a backup, or remove the mark to begin anew",
                head=self._mark.head,
            )
        if fresh:
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return warnings + more

    def _connect(self, fresh: bool) -> None:
        self._db = db = sqlite3.connect(
            self.path, isolation_level=None, timeout=0, cached_statements=512, factory=self.factory
        )
        prepare(db, fresh=fresh)
        self.group = Group(db)
        self.matcher = Matcher(self.group)
        turns = Turns(self.group, self.matcher)
        self._turns = turns
        self._resources = turns.resources
        self._router = Router(self.group, self.matcher, turns)
        self._reader = Reader(db, self.group)
        self._lister = Lister(db, self.group)
        self._keeper = Keeper(db, self.group, self.matcher, self._reader)
        self._others = self._other_works()

    def _started(self, warnings: list[str]) -> ports.Opened:
        """Checks the journal's end, then takes it over under a new epoch."""
        db = self.connection
        self._check_end(warnings)
        known = dict(db.execute("SELECT key, value FROM meta"))
        clean = known.get("clean", "1") == "1"
        epoch = int(known.get("epoch", "0")) + 1
        self._store_id = int(known.get("store", "0")) or secrets.randbits(63)
        self._check_identity()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?,?)",
            [("clean", "0"), ("epoch", str(epoch)), ("store", str(self._store_id))],
        )
        db.execute("UPDATE partition SET epoch=?", (epoch,))
        db.execute("COMMIT")
        self.group.epoch = epoch
        _sync_folder(self.path.parent)
        self._watch = FileWatch([self.path, self.wal])
        self._write_mark()
        return ports.Opened(
            epoch, clean, self.group.head, self.group.last_n + 1,
            int(known.get("closed", "0")), sqlite3.sqlite_version, "full", warnings,
        )  # fmt: skip

    def _check_end(self, warnings: list[str]) -> None:
        """Rows, counter and mark must tell the same story."""
        group = self.group
        head = self._last_place()
        counted = group.entries + group.events + group.pruned
        if head != group.head or counted != group.head:
            raise StoreDamaged(
                f"the journal ends at {head:,}, its counter says {group.head:,} "
                f"({counted:,} rows counted)",
                hint="restore a backup; nothing was changed",
                head=head,
                counter=group.head,
                counted=counted,
            )
        mark = self._mark
        if mark is None:
            return
        if mark.head > head:
            text = f"the journal ends at {head:,}, but it had reached {mark.head:,}"
        elif mark.head and self._crc_at(mark.head) not in (None, mark.crc):
            text = f"the journal at {mark.head:,} is not the one that was left there"
        else:
            return
        if not self.accept_truncation:
            raise StoreDamaged(
                f"{text}: its log was removed, or an older copy lies in its place",
                hint="put the files back, or give up what is missing with --accept-truncation",
                head=head,
                mark=mark.head,
            )
        warnings.append(f"{text}; opened as it is, as asked")

    def _check_identity(self) -> None:
        mark = self._mark
        if mark is not None and mark.store != self._store_id and not self.accept_truncation:
            raise StoreDamaged(
                f"{self.path} is another store than the one its mark belongs to",
                hint="put the right file back, or remove the mark if the swap was meant",
            )

    def _last_place(self) -> int:
        row = self.connection.execute(
            "SELECT max(COALESCE((SELECT max(seq) FROM entry), 0),"
            " COALESCE((SELECT max(pos) FROM event), 0))"
        ).fetchone()
        return int(row[0])

    def _crc_at(self, place: int) -> int | None:
        db = self.connection
        row = db.execute("SELECT crc FROM entry WHERE seq=?", (place,)).fetchone()
        row = row or db.execute("SELECT crc FROM event WHERE pos=?", (place,)).fetchone()
        return int(row[0]) if row else None

    @property
    def connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise EngineDied("the store is closed")
        return self._db

    # -- a group ----------------------------------------------------------------------------

    def run(self, group: Sequence[ports.Work]) -> list[Any]:
        """All of the group or nothing; see the module's docstring."""
        if self.broken is not None:
            raise EngineDied(f"the store failed before: {self.broken}") from self.broken
        results: list[Any] = [None] * len(group)
        turns: list[int] = []
        events: list[int] = []
        keeps: list[int] = []
        reads: list[int] = []
        for at, work in enumerate(group):
            kind = type(work)
            if kind in _TURNS:
                turns.append(at)
            elif kind in _EVENTS:
                events.append(at)
            elif kind in self._others:
                keeps.append(at)
            else:
                reads.append(at)
        try:
            if turns or events or keeps:
                self._write(group, turns, events, keeps, results)
            for at in reads:
                results[at] = self._read(group[at])
        except sqlite3.Error as error:
            self._failed(error)
        except BaseException as error:  # a fault of ours: the group may be half decided
            self.broken = error
            self._roll_back()
            if isinstance(error, EngineDied):
                raise
            raise EngineDied(f"a group broke: {type(error).__name__}: {error}") from error
        return results

    def _write(
        self, group: Sequence[ports.Work], turns: list[int], events: list[int],
        keeps: list[int], results: list[Any],
    ) -> None:  # fmt: skip
        self._watch.check()
        db = self.connection
        crash_point("journal.begin")
        db.execute("BEGIN IMMEDIATE")
        before = db.total_changes
        if turns:
            self._write_turns(group, turns, results)
        if events:
            posts = [group[at] for at in events if type(group[at]) is ports.Post]
            known = self._router.known_ids(posts)
            for at in events:
                work = group[at]
                if type(work) is ports.Post:
                    results[at] = self._router.post(work, known)
                elif type(work) is ports.Redrive:
                    results[at] = self._router.redrive(work)
                else:
                    results[at] = self._router.route(work)
            self.group.flush()
        if keeps:
            for at in keeps:
                results[at] = self._others[type(group[at])](group[at])
            self.group.flush()
        if db.total_changes != before:
            self.group.save_counter()
        if not db.in_transaction:
            raise EngineDied("SQLite left the transaction of a group")
        crash_point("journal.commit")
        db.execute("COMMIT")
        crash_point("journal.committed")
        self._write_mark()
        self.group.new_event_ids.clear()
        self.group.absent_ids.clear()
        if len(self.group.facts) > FACTS_MAX:
            self.group.facts.clear()

    def _write_turns(
        self, group: Sequence[ports.Work], turns: list[int], results: list[Any]
    ) -> None:
        facts = self.group.facts
        unknown = {
            work.n
            for at in turns
            if type(work := group[at]) is ports.Append and work.n not in facts
        }
        if len(unknown) > 1:
            self.group.learn(unknown)
        ids = [work.row.id for at in turns if type(work := group[at]) is ports.Create]
        if len(ids) > 1:
            self.group.learn_absent(ids)
        append, create = self._turns.append, self._turns.create
        for at in turns:
            work = group[at]
            results[at] = append(work) if type(work) is ports.Append else create(work)
        self.group.flush()

    def _write_mark(self) -> None:
        if self.group.head:
            place, crc = self.group.tail
            if place != self.group.head:
                crc = self._crc_at(self.group.head) or 0
            self.mark.write(Mark(self._store_id, self.group.head, crc))

    def _failed(self, error: sqlite3.Error | OSError) -> NoReturn:
        """Sorts an error of SQLite: no room, or the end."""
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
            self._roll_back()
            self.group.reload()
            self.matcher.reload()
            raise StoreFull(str(error)) from error
        self.broken = error
        raise EngineDied(
            f"SQLite failed: {error}",
            hint="nothing acknowledged is lost; open the store again",
            sqlite=getattr(error, "sqlite_errorname", None),
        ) from error

    def _roll_back(self) -> None:
        db = self._db
        if db is not None and db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")

    # -- the works that are neither turns nor events ----------------------------------------

    def _other_works(self) -> dict[type, Callable[[Any], Any]]:
        keeper = self._keeper
        return {
            ports.Keep: keeper.keep,
            ports.SaveSnapshot: keeper.snapshot,
            ports.SaveDefinition: keeper.save_definition,
            ports.ChangeDefinition: keeper.change_definition,
            ports.DropDefinition: keeper.drop_definition,
            ports.SaveSchedule: keeper.save_schedule,
            ports.ChangeSchedule: keeper.change_schedule,
            ports.DropSchedules: keeper.drop_schedules,
            ports.Prune: keeper.prune,
            ports.SetMeta: keeper.set_meta,
            ports.NoteAsk: keeper.note_ask,
        }

    def _read(self, work: ports.Work) -> Any:
        """A read changes nothing, so what breaks it is its own answer; errors of SQLite are not."""
        try:
            return self._answer(work)
        except EngineDied:
            raise
        except GreenroomError as error:  # the caller's fault, or damage that is only its own
            return error
        except sqlite3.Error as error:
            if not _undecodable(error):
                raise
        except OverflowError:  # nothing is stored there; whoever asks must not end the process
            return InvalidRequest(f"{type(work).__name__} asks for a number beyond 64 bits")
        except (ValueError, TypeError, LookupError) as error:
            return StoreDamaged(f"{type(work).__name__} met a row it cannot read: {error}")
        return self._read_leniently(work)

    def _read_leniently(self, work: ports.Work) -> Any:
        """Text that is not UTF-8 any more: read around it, the checksums will name the row."""
        db = self.connection
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            return self._answer(work)
        except (GreenroomError, ValueError, TypeError, LookupError) as error:
            return StoreDamaged(f"{type(work).__name__} met a row it cannot read: {error}")
        finally:
            db.text_factory = str

    def _answer(self, work: ports.Work) -> Any:
        reader = self._reader
        match work:
            case ports.Load():
                return reader.load(work)
            case ports.Find():
                return reader.find(work)
            case ports.ReadRows():
                return reader.rows(work)
            case ports.ReadJournal():
                return reader.journal(work)
            case ports.ListStanding():
                return self._lister.standing(work)
            case ports.ListInstances():
                return self._lister.instances(work)
            case ports.ListEvents():
                return reader.events(work)
            case ports.GetEvent():
                return reader.event(work)
            case ports.EventMatches():
                return reader.matches(work)
            case ports.WaitsAt():
                return reader.waits_at(work, self._shapes_of(work))
            case ports.DueTimers():
                return reader.due(work)
            case ports.BusyInstances():
                return reader.busy_instances(work)
            case ports.UnroutedEvents():
                return reader.unrouted(work)
            case ports.FindRequest():
                return reader.request(work)
            case ports.ListAsks():
                return reader.asks(work)
            case ports.MeasureData():
                return measure_data(reader.db, work)
            case ports.ReadData():
                return read_data(reader.db, work)
            case ports.ListDefinitions():
                return reader.definitions(work)
            case ports.ListSchedules():
                return reader.schedules(work)
            case ports.GetResources():
                return self._resources.get(work)
            case ports.FindResource():
                return self._resources.find(work)
            case ports.ListResources():
                return self._resources.listed(work)
            case ports.ListProducts():
                return self._resources.products(work)
            case ports.ResourceHistory():
                return self._resources.history(work)
            case ports.Counts():
                return reader.counts()
            case ports.DeadLetters():
                return reader.dead(work)
            case ports.Audit():
                return self._keeper.audit(work)
            case ports.Orphans():
                return reader.orphans(work)
            case ports.AskNotes():
                return reader.ask_notes(work)
            case ports.GetMeta():
                return reader.meta(work)
        raise EngineDied(f"the store does not know the work {type(work).__name__}")

    def _shapes_of(self, work: ports.WaitsAt) -> list[int]:
        return [
            shape.id
            for (namespace, type_), shapes in self.matcher.shapes.items()
            if type_ == work.type and work.namespace in (None, namespace)
            for shape in shapes
        ]

    # -- between groups, and the end --------------------------------------------------------

    def swollen(self) -> bool:
        """Whether a checkpoint is due. The log is reused from its beginning after one, so its
        size says only how long it ever was: what lies in it is estimated by changed rows."""
        frames = (self.connection.total_changes - self._changes) * self._frames_per_change
        if frames >= CHECKPOINT_FRAMES:
            return True
        try:
            size = self.wal.stat().st_size
        except OSError:
            return False  # the next group finds out
        return size > WAL_BYTES_MAX * 3 // 4 and size > self._wal_size

    def checkpoint(self) -> None:
        """Moves the log into the database; with one connection no reader can be in its way."""
        crash_point("checkpoint")
        db = self.connection
        try:
            size = self.wal.stat().st_size
            mode = "TRUNCATE" if size > WAL_BYTES_MAX else "PASSIVE"
            _, frames, _ = db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            self._wal_size = self.wal.stat().st_size
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        crash_point("checkpointed")
        changes = db.total_changes - self._changes
        if changes and frames > 0:
            self._frames_per_change = min(4.0, max(0.01, frames / changes))
        self._changes = db.total_changes

    def probe(self) -> None:
        """Writes a little and takes it back, to see whether there is room again."""
        db = self.connection
        try:
            for statement in (
                f"INSERT OR REPLACE INTO meta VALUES ('probe', hex(zeroblob({PROBE_BYTES // 2})))",
                "DELETE FROM meta WHERE key='probe'",
            ):
                db.execute(statement)
        except sqlite3.Error as error:
            self._failed(error)

    def close(self, clean: bool, at: int = 0) -> None:
        """A clean end leaves no log behind and says so in the store."""
        db, self._db = self._db, None
        if db is None:
            return
        try:
            if clean and self.broken is None:
                crash_point("close")
                self._watch.check()
                db.execute("BEGIN IMMEDIATE")
                db.executemany(
                    "INSERT OR REPLACE INTO meta VALUES (?,?)",
                    [("clean", "1"), ("closed", str(at))],
                )
                db.execute("COMMIT")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            self.broken = error
            raise EngineDied(f"SQLite failed while closing: {error}") from error
        finally:
            self.mark.close()
            with suppress(sqlite3.Error):
                db.close()

    def _abandon(self) -> None:
        """Opening failed: let go of everything."""
        self.mark.close()
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


def _undecodable(error: sqlite3.Error) -> bool:
    """Python's own complaint about a text column, not one of SQLite's."""
    return getattr(error, "sqlite_errorcode", None) is None and "decode" in str(error)


def _sync_folder(path: Path) -> None:
    """SQLite ignores it when the folder cannot be synced; the names of our files are at stake."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise EngineDied(f"cannot sync {path}: {error.strerror}") from error
    finally:
        os.close(fd)


def opening_error(path: Path, error: Exception) -> GreenroomError:
    """What an error while opening means."""
    if not isinstance(error, sqlite3.Error) or _undecodable(error):
        return StoreDamaged(f"{path} is damaged: {error}", hint="restore a backup")
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(f"{path} is in use by another process", what=str(path))
    if code == sqlite3.SQLITE_NOTADB:
        return StoreDamaged(
            f"{path} is damaged, or was never a store: {error}",
            hint="name another file, or restore a backup; nothing was changed",
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreDamaged(
            f"{path} is damaged: {error}", hint="restore a backup; nothing was changed"
        )
    return EngineDied(f"cannot open {path}: {error}")
