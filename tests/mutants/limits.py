"""Mutants of what a workflow says about its instances as a crowd: timeout, retention, rate, slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from greenroom.actors import effects, progress, walk
from greenroom.actors.decide import Kernel
from greenroom.actors.rows import AppendBuilder, status_change
from greenroom.runtime import census, forks
from greenroom.runtime.directory import Directory
from greenroom.runtime.loops import Loops
from greenroom.runtime.memory_read import MemoryKeeper
from greenroom.runtime.paces import Pace, Paces
from greenroom.runtime.retention import Retention
from greenroom.runtime.slots import Slots
from greenroom.runtime.sqlite_keep import Keeper
from tests.mutants.registry import Mutant, rewrite

LIMITS: Final = "tests/runtime/test_limits.py"


CHANGED: Final = "tests/runtime/test_limits_changed.py"


def changed(name: str, plant: Callable[[], None], test: str) -> Mutant:
    return Mutant(name, "F23", plant, (f"{CHANGED}::{test}",))


def mutant(name: str, row: str, plant: Callable[[], None], test: str = "") -> Mutant:
    return Mutant(name, row, plant, (f"{LIMITS}::{test}" if test else LIMITS,))


LATE: Final = "test_limits_an_instance_that_has_not_ended_in_time_fails_and_may_go_on"
PAUSE: Final = "test_limits_the_time_stands_still_while_it_is_paused_and_ends_with_a_cancel"
BEGINS: Final = "test_limits_the_time_begins_with_the_first_turn_and_that_of_a_fork_with_the_fork"
GOES: Final = "test_limits_what_ended_longer_ago_than_its_retention_goes_by_itself"
PACED: Final = "test_limits_starts_beyond_the_rate_are_queued_for_each_key"
UNUSED: Final = "test_limits_a_start_that_is_not_made_and_one_that_is_cancelled_use_up_no_turn"
BOTH: Final = "test_limits_who_has_a_slot_waits_for_its_turn_too"
MEANWHILE: Final = "test_F23_who_comes_while_the_living_are_counted_is_counted_too"
TOGETHER: Final = "test_F23_a_start_that_is_not_made_takes_nobodys_place"
SAYS: Final = "test_F23_a_queued_instance_says_what_it_waits_for_and_who_has_it"
BY_HAND: Final = "test_F23_who_is_let_in_by_hand_counts"
PAUSED: Final = "test_F23_who_is_paused_when_its_turn_comes_begins_when_it_is_resumed"


MUTANTS: Final = (
    Mutant(
        "what-doubles-goes-on", "6.5", rewrite(Loops.check, "len(starts) >= DEEP_STARTS_MAX", "False"),
        ("tests/runtime/test_hostile.py::test_what_doubles_each_time_is_stopped_by_its_number",),
    ),
    mutant("time-is-never-up", "timeout", rewrite(Kernel._due, "if p.deadline == m.due <= now", "if False"), LATE),
    mutant("what-is-late-is-not-taken-back", "timeout", rewrite(Kernel._late, "if self.is_plan and", "if False and"), "test_limits_what_an_instance_did_that_is_late_is_taken_back"),
    mutant("what-is-late-is-taken-back-all-the-same", "timeout", rewrite(walk.takes_back, 'definition.on_failure == "park"', "False"), "test_limits_where_a_person_decides_nothing_is_taken_back"),
    mutant("what-is-taken-back-is-late-again", "timeout", rewrite(progress.evolve, "if entry.key == DEADLINE:", "if False:"), "test_limits_what_an_instance_did_that_is_late_is_taken_back"),
    mutant("time-is-not-given-again", "timeout", rewrite(progress._go_on, "_whole_time(p, at)", "pass"), LATE),
    mutant("time-is-not-stored", "timeout", rewrite(AppendBuilder.add, "if self.p.deadline != self.deadline:", "if False:"), LATE),
    mutant("time-runs-on-in-a-pause", "timeout", rewrite(progress.evolve, "p.paused, p.pause_reason, p.deadline = True, entry.reason, None", "p.paused, p.pause_reason = True, entry.reason"), PAUSE),
    mutant("time-runs-on-after-a-cancel", "timeout", rewrite(progress._cancelled, "entry.reason, None", "entry.reason, p.deadline"), "test_limits_nobody_hurries_the_end_of_a_cancel"),
    mutant("time-of-a-generation", "timeout", rewrite(progress._started, "if entry.gen > 1:\n        p.deadline", "if False:\n        p.deadline"), "test_limits_all_generations_have_one_time_together"),
    mutant("time-is-not-armed-at-the-first-turn", "timeout", rewrite(effects.touched, "if type(entry) is Begun:", "if False:"), BEGINS),
    mutant("time-of-a-fork-is-that-of-its-origin", "timeout", rewrite(forks.prefix_of, "forked_at=at", "forked_at=None"), BEGINS),
    mutant("retention-does-nothing", "retention", rewrite(Retention._next, "if not self._left:", "if True:"), GOES),
    mutant("retention-comes-once", "retention", rewrite(Retention._watch, "kernel.progress.ended and", "False and"), GOES),
    mutant("retention-takes-all-workflows-in-memory", "retention", rewrite(MemoryKeeper.prune, "work.workflow in (None, i.row.workflow)", "True"), GOES),
    mutant("retention-takes-all-workflows-in-sqlite", "retention", rewrite(Keeper._old_instances, "f.name=:name", "f.name<>'' OR :name=''"), GOES),
    mutant("retention-skips-the-start", "retention", rewrite(Retention.start, "self._round()", "pass"), "test_limits_what_fell_due_while_nothing_ran_goes_at_the_start"),
    mutant("rate-lets-all-begin", "rate", rewrite(Pace.free_at, "self.begun[-self.rule.limit] + self.rule.per_ms", "0"), PACED),
    mutant("rate-forgets-with-the-process", "rate", rewrite(census.begun_lately, "if at > since:", "if False:"), PACED),
    mutant("rate-knows-no-keys", "rate", rewrite(Paces.enter, "self._pace(key, rule)", "self._pace((*key[:2], ''), rule)"), PACED),
    mutant("rate-turn-of-nobody", "rate", rewrite(Paces.leave, "pace.begun.remove(taken[1])", "pass"), UNUSED),
    mutant("rate-passes-over-slots", "rate", rewrite(Slots._advance, "turn is None or self.paces.enter(*turn)", "True"), BOTH),
    changed("slots-keep-the-oldest-of-a-lower-limit", rewrite(Slots._turn_to, "self._make_room(lane, \"its place was taken\")", "pass"), "test_F23_a_lower_limit_that_cancels_lets_the_oldest_go"),
    changed("slots-cancel-in-another-commit", rewrite(Directory._prepared, "append.tell = [*append.tell, (other, InboxRow(\"cancel\", cancel, started.at))]", "pass"), "test_F23_a_start_and_the_cancel_of_the_oldest_are_one_commit"),
    changed("slots-count-nobody-who-lived", rewrite(census.live_ones, "if limited or _is_queued(row):", "if False:"), "test_F23_who_lived_before_the_limit_is_counted_as_soon_as_it_is_released"),
    changed("slots-miss-who-moves", rewrite(census.Census.see, "self.seen[id] = n", "pass"), MEANWHILE),
    changed("slots-miss-who-is-made-meanwhile", rewrite(census.Census.meet, "self.met[id] = Live", "Live"), "test_F23_who_is_on_its_way_to_the_store_is_counted_too"),
    changed("slots-keep-who-waited-for-a-limit-that-went", rewrite(Slots.recover, "if row.id not in self._of:", "if False:"), "test_F23_who_waits_for_a_limit_that_went_while_nothing_ran_begins"),
    changed("rate-forgets-who-began-before-it", rewrite(Slots._turn_to, "if limits.rate is not None:", "if False:"), "test_limits_a_rate_counts_who_began_before_it_was_given"),
    Mutant("slots-count-parts-as-starts", "F23", rewrite(Slots.admit, "at_once or part, part)", "at_once, False)"), ("tests/runtime/test_limits_of_styles.py::test_F23_the_parts_of_a_run_are_no_starts_of_their_own",)),
    changed("slots-stay-taken-by-who-is-not-made", rewrite(Slots.release, "del self._leaving[other]", "pass"), "test_F23_a_start_that_its_key_forbids_cancels_nobody"),
    mutant("slots-make-forks-wait", "F23", rewrite(Slots._admit, ">= rule.limit and not at_once", ">= rule.limit"), "test_F23_a_fork_goes_on_at_once_and_counts"),
    mutant("slots-say-nothing", "F23", rewrite(status_change, "p.starts == QUEUED and not p.begun", "False"), SAYS),
    mutant("slots-pass-over-who-was-let-in", "F23", rewrite(Slots._began, "lane.holders[id] = n", "pass"), BY_HAND),
    mutant("slots-lose-who-is-paused", "F23", rewrite(Slots.watch, "instance.tell(Begin())", "pass"), PAUSED),
)  # fmt: skip
