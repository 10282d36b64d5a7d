"""Mutants of the store's rules: what may never happen to the journal, planted one at a time.

R1-R13 and R26 are the journal's, R15-R17 those of inboxes, cursors and keys as far as the store
keeps them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from greenroom.runtime import (
    audit,
    backup,
    journal,
    lock,
    schema,
    sqlite_group,
    sqlite_keep,
    sqlite_match,
    sqlite_read,
    sqlite_route,
    sqlite_turns,
    store,
)
from greenroom.runtime.directory import Directory
from greenroom.runtime.journal import Journal
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.sqlite_group import Group
from greenroom.runtime.sqlite_keep import Keeper
from greenroom.runtime.sqlite_read import Reader
from greenroom.runtime.sqlite_route import Router
from greenroom.runtime.sqlite_turns import Turns
from tests.mutants.registry import Mutant, both, replace, rewrite

HERE: Final = "tests/runtime/store/"
BACKUP: Final = HERE + "test_backup.py::"
CONFORMANCE: Final = HERE + "test_conformance.py::"
CRASHES: Final = HERE + "test_crashes.py::"
DAMAGE: Final = HERE + "test_damage.py::"
JOURNAL: Final = HERE + "test_journal.py::"
RULES: Final = HERE + "test_rules.py::"
UPKEEP: Final = "tests/runtime/test_upkeep.py::"
LOCK: Final = "tests/runtime/test_lock.py::"

AT_A_POINT: Final = CRASHES + "test_a_crash_at_a_named_point_loses_nothing_acknowledged"


def pragma(name: str, value: str | int) -> Callable[[], None]:
    changed = tuple((n, value if n == name else v) for n, v in schema.PRAGMAS)
    return replace(schema, "PRAGMAS", changed)


def swallow(*codes: int) -> Callable[[], None]:
    """A group that goes on after an error of SQLite (none named: after any)."""

    class Tolerant:
        def __init__(self, many: Any) -> None:
            self.many = many

        def __call__(self, sql: str, rows: Any) -> None:
            try:
                self.many(sql, rows)
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if codes and code not in codes:
                    raise

    return both(
        lambda: vars(sqlite_group).update(Tolerant=Tolerant),
        rewrite(
            Group.flush, "many = self.db.executemany\n", "many = Tolerant(self.db.executemany)\n"
        ),
    )


MUTANTS: Final[tuple[Mutant, ...]] = (
    # -- R1: one writer; whoever calls does not touch the commit
    Mutant(
        "cancelled-caller-takes-its-work-back", "R1",
        rewrite(
            Journal.call,
            "    result = await future\n",
            "    try:\n"
            "        result = await future\n"
            "    except asyncio.CancelledError:\n"
            "        self._queue = [pair for pair in self._queue if pair[0] is not work]\n"
            "        raise\n",
        ),
        (RULES + "test_a_caller_that_is_cancelled_while_it_waits_is_stored_all_the_same",),
    ),
    Mutant(
        "answers-out-of-order", "R1",
        rewrite(
            Journal._store_group,
            "in zip(group, results, strict=True)",
            "in reversed(list(zip(group, results, strict=True)))",
        ),
        (JOURNAL + "test_answers_come_in_the_order_of_the_works",),
    ),
    Mutant(
        "rows-without-a-limit", "R1",
        rewrite(Reader.rows, "work.after, work.limit)", "work.after, 1 << 40)"),
        (RULES + "test_no_read_gives_more_than_it_was_asked_for",),
    ),
    Mutant(
        "backup-keeps-the-thread", "R1",
        rewrite(backup._copy, "progress=lambda *_: serve()", "progress=lambda *_: None"),
        (BACKUP + "test_groups_are_stored_while_a_backup_is_made_and_it_is_whole",),
    ),
    Mutant(
        "file-shared-with-others", "R1", pragma("locking_mode", "normal"),
        (DAMAGE + "test_the_settings_the_promises_rest_on_are_in_force",),
    ),
    # -- R2: a group is one transaction
    Mutant(
        "one-work-a-group", "R2",
        rewrite(Journal._take, "if end == len(queue):", "end = 1\n    if end == len(queue):"),
        (JOURNAL + "test_works_submitted_together_share_a_group",),
    ),
    Mutant(
        "turns-and-events-committed-apart", "R2",
        rewrite(
            SqliteStore._write,
            "        self._write_turns(group, turns, results)\n",
            "        self._write_turns(group, turns, results)\n"
            "        self.group.save_counter()\n"
            "        db.execute('COMMIT')\n"
            "        db.execute('BEGIN IMMEDIATE')\n",
        ),
        (CRASHES + "test_an_injected_error_in_the_middle_of_a_group_stores_nothing_of_it",),
    ),
    # -- R3: what cannot be encoded never enters a group
    Mutant(
        "event-encoded-without-a-net", "R3",
        rewrite(
            Router.post, "except (ValueError, TypeError, RecursionError)", "except ZeroDivisionError"
        ),
        (CONFORMANCE + "test_an_event_that_cannot_be_stored_harms_nobody_else",),
    ),
    Mutant(
        "statement-ends-the-group", "R3",
        rewrite(
            Turns.append,
            "            return failed\n",
            "            raise ValueError('a statement failed')\n",
        ),
        (RULES + "test_a_statement_that_fails_is_the_fault_of_its_caller_alone",),
    ),
    # -- R4: answers only after the commit
    Mutant(
        "commit-after-the-answer", "R4",
        both(
            rewrite(SqliteStore._write, '    db.execute("COMMIT")\n', ""),
            rewrite(
                SqliteStore._write,
                'db.execute("BEGIN IMMEDIATE")\n',
                'db.in_transaction and db.execute("COMMIT")\n    db.execute("BEGIN IMMEDIATE")\n',
            ),
        ),
        (AT_A_POINT + "[journal.begin-2]",),
    ),
    Mutant(
        "answers-before-the-group-is-run", "R4",
        rewrite(
            Journal._store_group,
            "    try:\n        if self._connection is None:",
            "    for work, done in group:\n"
            "        if type(work) is ports.Create:\n"
            "            done(ports.Created(True, work.row.id, None, 1))\n"
            "    try:\n        if self._connection is None:",
        ),
        (RULES + "test_nobody_hears_of_a_work_before_it_is_stored",),
    ),
    # -- R5: the first error ends the group
    Mutant(
        "group-goes-on-after-an-error", "R5", swallow(),
        (CRASHES + "test_an_injected_error_in_the_middle_of_a_group_stores_nothing_of_it",),
    ),
    Mutant(
        "group-goes-on-when-there-is-no-room", "R5", swallow(sqlite3.SQLITE_FULL),
        (CRASHES + "test_no_room_stores_nothing_of_the_group_and_goes_on_when_there_is_room",),
    ),
    Mutant(
        "half-a-group-left-open", "R5",
        rewrite(
            SqliteStore._failed,
            "        self._roll_back()\n        self.group.reload()\n",
            "        self.group.reload()\n",
        ),
        (RULES + "test_a_group_that_found_no_room_is_rolled_back_by_us_if_not_by_sqlite",),
    ),
    Mutant(
        "counters-of-a-group-that-is-gone", "R5",
        rewrite(SqliteStore._failed, "        self.group.reload()\n", ""),
        (CRASHES + "test_no_room_stores_nothing_of_the_group_and_goes_on_when_there_is_room",),
    ),
    Mutant(
        "shapes-of-a-group-that-is-gone", "R5",
        rewrite(SqliteStore._failed, "        self.matcher.reload()\n", ""),
        (RULES + "test_a_wait_of_a_group_that_found_no_room_is_forgotten_with_it",),
    ),
    # -- R6: which error means what
    Mutant(
        "failed-write-taken-for-no-room", "R6",
        rewrite(
            SqliteStore._failed,
            "code & 0xFF == sqlite3.SQLITE_FULL",
            "code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)",
        ),
        (
            CRASHES + "test_a_write_error_of_the_disk_is_the_end",
            CRASHES + "test_a_failed_fsync_ends_the_engine_and_nothing_later_is_acknowledged",
        ),
    ),
    Mutant(
        "connection-used-after-an-error", "R6",
        rewrite(SqliteStore._failed, "    self.broken = error\n", ""),
        (CRASHES + "test_an_injected_error_in_the_middle_of_a_group_stores_nothing_of_it",),
    ),
    Mutant(
        "no-room-is-the-end", "R6",
        rewrite(SqliteStore._failed, "code & 0xFF == sqlite3.SQLITE_FULL", "False"),
        (CRASHES + "test_no_room_stores_nothing_of_the_group_and_goes_on_when_there_is_room",),
    ),
    Mutant(
        "death-told-as-a-stop", "R6",
        rewrite(Journal._gone, 'self.state == "died"', "False"),
        (JOURNAL + "test_after_a_failed_write_everybody_hears_that_the_engine_died",),
    ),
    Mutant(
        "full-disk-for-ever", "R6",
        rewrite(Journal._try_again, '        self._set_state("open")\n', "        pass\n"),
        (JOURNAL + "test_a_full_disk_refuses_new_work_and_comes_back_by_itself",),
    ),
    Mutant(
        "reserve-kept-when-it-is-needed", "R6",
        rewrite(Journal._no_room, "    await self._do(self._release_reserve)\n", ""),
        (JOURNAL + "test_a_full_disk_refuses_new_work_and_comes_back_by_itself",),
    ),
    Mutant(
        "no-pause-on-a-full-disk", "R6",
        rewrite(journal._allowed, " or (kind is ports.Append and work.urgent)", ""),
        (JOURNAL + "test_a_full_disk_refuses_new_work_and_comes_back_by_itself",),
    ),
    # -- R7: settings
    *(
        Mutant(
            f"setting-{name.replace('_', '-')}", "R7", pragma(name, value),
            (DAMAGE + "test_the_settings_the_promises_rest_on_are_in_force",),
        )
        for name, value in (
            ("journal_mode", "delete"), ("synchronous", 1), ("wal_autocheckpoint", 1_000),
            ("mmap_size", 1 << 20), ("trusted_schema", 1), ("cell_size_check", 0),
            ("foreign_keys", 0),
        )
    ),
    Mutant(
        "settings-not-read-back", "R7",
        rewrite(schema._set, "found is not None and str(found[0]).lower() != str(value)", "False"),
        (RULES + "test_a_setting_that_does_not_hold_is_refused",),
    ),
    # -- R8: frames, counts, checksums
    Mutant(
        "checksum-not-checked", "R8",
        rewrite(sqlite_read.checked, "if found != crc:", "if False:"),
        (DAMAGE + "test_a_damaged_payload_parks_exactly_its_own_instance",),
    ),
    Mutant(
        "header-outside-the-checksum", "R8",
        both(
            rewrite(
                sqlite_turns.Turns._rows,
                "_crc32(_header(seq, n, iseq, epoch, at, JSON_CODEC) + kind.encode(), row.crc)",
                "row.crc",
            ),
            rewrite(
                store.row_crc,
                "zlib.crc32(_HEADER(seq, n, iseq, epoch, at, JSON_CODEC) + kind.encode(),"
                " payload_crc)",
                "payload_crc",
            ),
        ),
        (RULES + "test_every_column_of_a_row_is_under_its_checksum",),
    ),
    Mutant(
        "header-outside-the-checksum-of-events", "R8",
        rewrite(store.event_crc, "zlib.crc32(header, zlib.crc32(body))", "zlib.crc32(body)"),
        (RULES + "test_every_column_of_an_event_is_under_its_checksum",),
    ),
    Mutant(
        "checksum-of-events-not-checked", "R8",
        rewrite(
            sqlite_read._events,
            "not event_is_whole(crc, pos, scope, accepted, by, hops, body)",
            "False",
        ),
        (RULES + "test_every_column_of_an_event_is_under_its_checksum",),
    ),
    Mutant(
        "checksum-of-items-not-checked", "R8",
        rewrite(
            Reader._items,
            "payload is None or not _is_whole(item_crc, crc, n, iq, kind, pos, at, payload)",
            "payload is None",
        ),
        (RULES + "test_a_changed_inbox_item_is_named_and_not_given",),
    ),
    Mutant(
        "missing-row-not-noticed", "R8",
        rewrite(sqlite_read.checked, "if iseq != expected:", "if False:"),
        (RULES + "test_a_row_that_is_missing_in_the_middle_is_noticed",),
    ),
    Mutant(
        "any-place-in-the-count", "R8",
        rewrite(
            Turns.append, "facts is None or work.iseq != facts.iseq + 1", "facts is None"
        ),
        (CONFORMANCE + "test_a_row_out_of_count_is_refused_and_its_group_goes_on",),
    ),
    Mutant(
        "end-not-compared-with-the-counter", "R8",
        rewrite(
            SqliteStore._check_end,
            "if head != group.head or counted != group.head:",
            "if False:",
        ),
        (RULES + "test_a_journal_that_lost_its_last_row_is_refused",),
    ),
    Mutant(
        "rows-not-counted-against-the-head", "R8",
        rewrite(SqliteStore._check_end, " or counted != group.head:", ":"),
        (RULES + "test_a_counter_that_does_not_add_up_is_refused",),
    ),
    Mutant(
        "pruned-rows-not-counted", "R8",
        rewrite(Keeper.prune, "    self.group.pruned += rows + len(events)\n", ""),
        (CONFORMANCE + "test_retention_takes_whole_ended_instances_and_says_so",),
    ),
    Mutant(
        "pruned-without-an-account", "R8",
        rewrite(Keeper.prune, "if rows or events:", "if False:"),
        (CONFORMANCE + "test_retention_takes_whole_ended_instances_and_says_so",),
    ),
    Mutant(
        "deep-audit-skips-the-predecessor", "R8",
        rewrite(Keeper._deep, "and row[1] > 1", "and False"),
        (RULES + "test_a_row_that_is_missing_in_the_middle_is_noticed",),
    ),
    Mutant(
        "one-unreadable-instance-stops-all", "R8",
        rewrite(
            sqlite_read._row_or_rest, "except (ValueError, TypeError, LookupError)",
            "except ZeroDivisionError",
        ),
        (RULES + "test_an_instance_whose_state_cannot_be_read_keeps_no_other_from_loading",),
    ),
    Mutant(
        "one-unreadable-column-is-the-end", "R8",
        replace(sqlite_read, "UNREADABLE", (ZeroDivisionError,)),
        (RULES + "test_a_row_whose_column_changed_its_type_parks_its_own_instance",),
    ),
    # -- R9: the log's middle
    Mutant(
        "log-not-audited", "R9",
        rewrite(audit.check_wal, "if not report.damaged:", "if True:"),
        (DAMAGE + "test_a_flipped_bit_in_the_middle_of_the_log_is_refused_and_can_be_accepted",),
    ),
    Mutant(
        "torn-tail-taken-for-damage", "R9",
        rewrite(vars(audit.WalReport)["damaged"].fget, "self.lost >= 2", "self.torn"),
        (RULES + "test_one_commit_behind_the_break_is_a_torn_tail_and_two_are_damage",),
    ),
    Mutant(
        "one-commit-behind-the-break-is-damage", "R9",
        rewrite(vars(audit.WalReport)["damaged"].fget, "self.lost >= 2", "self.lost >= 1"),
        (RULES + "test_one_commit_behind_the_break_is_a_torn_tail_and_two_are_damage",),
    ),
    Mutant(
        "two-commits-behind-the-break-are-fine", "R9",
        rewrite(vars(audit.WalReport)["damaged"].fget, "self.lost >= 2", "self.lost >= 3"),
        (RULES + "test_one_commit_behind_the_break_is_a_torn_tail_and_two_are_damage",),
    ),
    Mutant(
        "old-runs-of-the-log-counted", "R9",
        rewrite(audit._commits, "raw[at + 8 : at + 16] == salts and ", ""),
        (RULES + "test_commits_of_an_older_run_of_the_log_are_no_loss",),
    ),
    # -- R10: the mark
    Mutant(
        "mark-not-written", "R10",
        rewrite(audit.MarkFile.write, "if self._fd is None:", "if True:"),
        (DAMAGE + "test_a_removed_log_is_noticed_by_the_mark",),
    ),
    Mutant(
        "mark-written-before-the-commit", "R10",
        rewrite(
            SqliteStore._write,
            'crash_point("journal.commit")\n',
            'self._write_mark()\n    crash_point("journal.commit")\n',
        ),
        (AT_A_POINT + "[journal.commit-2]",),
    ),
    Mutant(
        "mark-not-compared", "R10",
        rewrite(SqliteStore._check_end, "if mark is None:", "if True:"),
        (DAMAGE + "test_an_older_copy_in_the_place_of_the_store_is_refused",),
    ),
    Mutant(
        "another-past-of-the-same-length", "R10",
        rewrite(
            SqliteStore._check_end,
            "mark.head and self._crc_at(mark.head) not in (None, mark.crc)",
            "False",
        ),
        (RULES + "test_another_past_of_the_same_length_is_refused",),
    ),
    Mutant(
        "another-store-accepted", "R10",
        rewrite(SqliteStore._check_identity, "mark.store != self._store_id", "False"),
        (RULES + "test_a_longer_store_of_somebody_else_is_refused",),
    ),
    Mutant(
        "a-lost-store-is-begun-anew", "R10",
        rewrite(
            SqliteStore._before,
            "fresh and self._mark is not None and not self.accept_truncation",
            "False",
        ),
        (DAMAGE + "test_a_store_that_is_gone_is_not_begun_anew",),
    ),
    Mutant(
        "full-disk-kills-by-the-mark", "R10",
        rewrite(
            audit.MarkFile.write, "error.errno not in (errno.ENOSPC, errno.EDQUOT)", "True"
        ),
        (RULES + "test_a_mark_that_finds_no_room_stays_as_it_is",),
    ),
    # -- R11: the files are those that were opened
    Mutant(
        "files-not-watched", "R11",
        rewrite(SqliteStore._write, "    self._watch.check()\n", ""),
        (DAMAGE + "test_files_that_vanish_while_in_use_end_the_engine[unlink]",),
    ),
    Mutant(
        "log-not-watched", "R11",
        rewrite(SqliteStore._started, "FileWatch([self.path, self.wal])", "FileWatch([self.path])"),
        (DAMAGE + "test_files_that_vanish_while_in_use_end_the_engine[wal]",),
    ),
    Mutant(
        "another-file-of-the-same-name", "R11",
        rewrite(
            audit._identity,
            "return found.st_dev, found.st_ino, found.st_nlink",
            "return found.st_dev, 0, found.st_nlink",
        ),
        (DAMAGE + "test_files_that_vanish_while_in_use_end_the_engine[replace]",),
    ),
    # -- R12: snapshots
    Mutant(
        "snapshot-not-checked", "R12",
        rewrite(Reader._snapshots, "if zlib.crc32(payload) == crc:", "if True:"),
        (CONFORMANCE + "test_the_newest_valid_snapshot_is_loaded_with_its_tail",),
    ),
    Mutant(
        "one-snapshot-kept", "R12", replace(sqlite_keep, "SNAPSHOTS_KEPT", 1),
        (CONFORMANCE + "test_the_newest_valid_snapshot_is_loaded_with_its_tail",),
    ),
    Mutant(
        "snapshots-kept-for-ever", "R12", replace(sqlite_keep, "SNAPSHOTS_KEPT", 1_000),
        (RULES + "test_two_snapshots_are_kept",),
    ),
    Mutant(
        "row-behind-the-snapshot-skipped", "R12",
        rewrite(Reader.load, "e.iseq>? ORDER", "e.iseq>? + 1 ORDER"),
        (CONFORMANCE + "test_the_newest_valid_snapshot_is_loaded_with_its_tail",),
    ),
    Mutant(
        "snapshot-without-its-checksum", "R12",
        rewrite(Directory._snapshot, "zlib.crc32(payload)", "0"),
        (UPKEEP + "test_a_long_instance_is_loaded_from_its_snapshot",),
    ),
    Mutant(
        "snapshot-of-what-is-not-stored", "R12",
        rewrite(Directory._snapshot, "if instance.unstored:", "if False:"),
        (UPKEEP + "test_a_snapshot_holds_only_what_is_stored",),
    ),
    Mutant(
        "program-run-from-a-snapshot", "R12",
        rewrite(Directory._is_cut, "loaded.snapshot is not None and not plan", "False"),
        (UPKEEP + "test_a_long_program_is_looked_at_from_its_snapshot_and_goes_on_from_its_rows",),
    ),
    Mutant(
        "snapshot-of-another-generation", "R12",
        rewrite(Group._flush_changes, "DELETE FROM snapshot WHERE n=?", "DELETE FROM snapshot WHERE n=-?"),
        (UPKEEP + "test_a_snapshot_of_an_older_generation_is_gone",),
    ),
    # -- R13: retention
    Mutant(
        "live-instances-pruned", "R13",
        rewrite(Keeper._old_instances, '"ended": FIRST_ENDED', '"ended": 0'),
        (CONFORMANCE + "test_retention_takes_whole_ended_instances_and_says_so",),
    ),
    Mutant(
        "young-instances-pruned", "R13",
        rewrite(Keeper._old_instances, "AND updated<?", "AND updated<? + (1 << 60)"),
        (RULES + "test_retention_leaves_alone_what_is_younger",),
    ),
    Mutant(
        "young-events-forgotten", "R13",
        rewrite(Keeper.prune, "AND e.accepted<?", "AND e.accepted<? + (1 << 60)"),
        (RULES + "test_retention_leaves_alone_what_is_younger",),
    ),
    Mutant(
        "young-requests-forgotten", "R13",
        rewrite(Keeper._prune_requests, "r.at<?", "r.at<? + (1 << 60)"),
        (RULES + "test_retention_leaves_alone_what_is_younger",),
    ),
    Mutant(
        "request-forgotten-before-its-instance", "R13",
        rewrite(
            Keeper._prune_requests,
            "AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = r.instance)",
            "",
        ),
        (RULES + "test_a_request_is_known_as_long_as_its_instance_is_kept",),
    ),
    Mutant(
        "undelivered-events-forgotten", "R13",
        rewrite(Keeper.prune, "AND b.pos = e.pos", "AND b.pos = -1"),
        (CONFORMANCE + "test_retention_takes_whole_ended_instances_and_says_so",),
    ),
    Mutant(
        "unrouted-events-forgotten", "R13",
        rewrite(Keeper.prune, "e.cursor IS NULL AND", ""),
        (RULES + "test_an_event_that_is_not_routed_to_its_end_is_not_pruned",),
    ),
    Mutant(
        "retention-without-a-bound", "R13",
        rewrite(Keeper._old_instances, "[: work.limit]", ""),
        (RULES + "test_retention_goes_on_in_bounded_chunks",),
    ),
    Mutant(
        "rests-of-pruned-instances", "R13",
        rewrite(Keeper._prune_instance, '"ask", "attribute",', '"ask",'),
        (RULES + "test_nothing_is_left_of_a_pruned_instance",),
    ),
    # -- R15: the inbox is durable and bounded
    Mutant(
        "inbox-without-a-bound", "R15", replace(sqlite_route, "INBOX_MAX", 1 << 40),
        (RULES + "test_an_inbox_holds_ten_thousand_items_and_no_more",),
    ),
    Mutant(
        "looking-back-without-a-bound", "R15", replace(sqlite_match, "INBOX_MAX", 1 << 40),
        (RULES + "test_an_inbox_holds_ten_thousand_items_and_no_more",),
    ),
    Mutant(
        "full-inbox-drops", "R15",
        rewrite(
            Router._give,
            '        group.dead.append((n, fan.pos, row.accepted, "inbox_full"))\n',
            "        pass\n",
        ),
        (CONFORMANCE + "test_a_full_inbox_sends_routed_events_to_the_dead_letters",),
    ),
    Mutant(
        "kept-items-dropped", "R15",
        rewrite(Keeper.keep, "UPDATE inbox SET kept=1 WHERE", "DELETE FROM inbox WHERE"),
        (CONFORMANCE + "test_kept_items_stay_and_wake_nobody",),
    ),
    # -- R16: the router's cursor
    Mutant(
        "fan-out-forgets-its-cursor", "R16",
        rewrite(
            Router.post, "settle(fan.pos, fan.done, cursor)", "settle(fan.pos, fan.done, None)"
        ),
        (CONFORMANCE + "test_a_wide_fan_out_goes_on_under_its_cursor",),
    ),
    Mutant(
        "fan-out-begins-again", "R16",
        rewrite(
            Router.route, "event.as_data(), cursor)", "event.as_data(), 0)"
        ),
        (RULES + "test_a_fan_out_goes_on_where_it_stopped_after_a_crash",),
    ),
    Mutant(
        "given-twice", "R16",
        both(
            rewrite(Router.route, "event.as_data(), cursor)", "event.as_data(), 0)"),
            rewrite(
                Router.route,
                "    fan.seen.update(n for (n,) in group.db.execute(WAS_GIVEN, (work.pos,)))\n",
                "",
            ),
        ),
        (CONFORMANCE + "test_a_wide_fan_out_goes_on_under_its_cursor",),
    ),
    Mutant(
        "found-again-by-looking-back", "R16",
        replace(
            sqlite_match, "LOOK_BACK",
            sqlite_match.LOOK_BACK.replace("g.n = ?", "g.n = ? AND g.n < 0"),
        ),
        (CONFORMANCE + "test_a_wait_looks_back_to_its_place_and_takes_the_oldest_not_given",),
    ),
    # -- R17: the same id, the same answer
    Mutant(
        "repeat-stored-again", "R17",
        rewrite(Router.post, "if known is not None:", "if False:"),
        (CONFORMANCE + "test_a_repeat_gets_the_first_answer_and_another_body_none",),
    ),
    Mutant(
        "repeat-within-a-group-not-seen", "R17",
        rewrite(
            Router.post,
            "event.id in known_ids or (event.id, event.source, row.scope) in group.new_event_ids",
            "event.id in known_ids",
        ),
        (CONFORMANCE + "test_a_repeat_gets_the_first_answer_and_another_body_none",),
    ),
    Mutant(
        "another-body-taken-for-a-repeat", "R17",
        rewrite(Router._again, "if hash_ != signed(row.hash):", "if False:"),
        (CONFORMANCE + "test_a_repeat_gets_the_first_answer_and_another_body_none",),
    ),
    Mutant(
        "request-carried-out-again", "R17",
        rewrite(Turns._refusal, "if known is not None:", "if False:"),
        (CONFORMANCE + "test_a_request_is_carried_out_once",),
    ),
    Mutant(
        "requests-known-in-memory-only", "R17",
        rewrite(
            Group.flush,
            "        many(INSERT_REQUEST, self.new_requests.values())\n",
            "        pass\n",
        ),
        (CONFORMANCE + "test_a_request_is_carried_out_once",),
    ),
    Mutant(
        "two-live-instances-of-a-key", "R17",
        rewrite(Turns._refusal, "if holder is not None:", "if False:"),
        (CONFORMANCE + "test_a_second_live_instance_of_a_key_is_refused_and_a_new_one_after_its_end",),
    ),
    Mutant(
        "tick-moves-a-schedule-back", "R17",
        rewrite(Router._tick, " AND (last IS NULL OR last<?)", " AND ? IS NOT NULL"),
        (RULES + "test_a_late_tick_does_not_move_its_schedule_back",),
    ),
    # -- R26: lock and epoch
    Mutant(
        "lock-not-taken", "R26",
        rewrite(lock.acquire, "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
        (LOCK + "test_a_second_opener_is_told_who_the_owner_is",),
    ),
    Mutant(
        "lock-given-back-at-once", "R26",
        rewrite(lock.acquire, "return Lock(path, fd)", "os.close(fd)\n    return Lock(path, None)"),
        (LOCK + "test_a_second_opener_is_told_who_the_owner_is",),
    ),
    Mutant(
        "epoch-stays", "R26",
        rewrite(SqliteStore._started, 'int(known.get("epoch", "0")) + 1', "1"),
        (DAMAGE + "test_a_killed_process_leaves_a_log_that_is_whole",),
    ),
    Mutant(
        "rows-without-their-epoch", "R26",
        rewrite(SqliteStore._started, "    self.group.epoch = epoch\n", ""),
        (RULES + "test_every_row_carries_the_epoch_of_its_process",),
    ),
    Mutant(
        "unclean-stop-forgotten", "R26",
        rewrite(SqliteStore._started, '("clean", "0"), ', ""),
        (DAMAGE + "test_a_killed_process_leaves_a_log_that_is_whole",),
    ),
    Mutant(
        "restored-into-the-old-epoch", "R26", replace(backup, "EPOCHS_SKIPPED", 0),
        (RULES + "test_a_restored_store_is_a_thousand_epochs_away",),
    ),
    Mutant(
        "restored-as-cleanly-closed", "R26",
        both(
            rewrite(backup._copy, "('clean', '0')", "('clean', '1')"),
            rewrite(backup._renew, '("clean", "0")', '("clean", "1")'),
        ),
        (BACKUP + "test_a_restored_store_lives_in_a_later_epoch_and_keeps_what_it_replaced",),
    ),
)  # fmt: skip
