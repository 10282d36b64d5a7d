"""Mutants of the engine: the verbs, and the rules that actors and their host keep (R4, R14-R25)."""

from __future__ import annotations

from typing import Final

from greenroom.actors import asking, decide, instance, rows, subjects
from greenroom.actors.decide import Kernel
from greenroom.actors.instance import Instance
from greenroom.actors.progress import Progress
from greenroom.actors.recollected import Recollection
from greenroom.actors.router import Router
from greenroom.actors.rows import AppendBuilder
from greenroom.actors.subjects import Subjects
from greenroom.actors.timer import Timer
from greenroom.definitions import purity
from greenroom.definitions.schedules import Schedule
from greenroom.runtime import explanations, supervisor
from greenroom.runtime.directory import Directory
from greenroom.runtime.engine import Engine
from greenroom.runtime.eventreplays import Replay
from greenroom.runtime.executor import Executor
from greenroom.runtime.journal import Journal
from greenroom.runtime.registry import Registry
from greenroom.runtime.schedules import Schedules
from greenroom.runtime.watchdog import Stall
from tests.mutants.registry import Mutant, both, replace, rewrite

HERE: Final = "tests/runtime/"
REPLAYED: Final = "tests/runtime/test_replaying_collected.py::"
VERBS: Final = HERE + "test_verbs.py::"
EVENTS: Final = HERE + "test_engine_events.py::"
STEPS: Final = HERE + "test_engine_steps.py::"
LIFE: Final = HERE + "test_engine_life.py::"
SCHEDULES: Final = HERE + "test_engine_schedules.py::"
LOOKING: Final = HERE + "test_engine_looking.py::"
SEEDS: Final = "tests/sim/test_simulation.py::test_no_seed_breaks_a_promise"

MUTANTS: Final[tuple[Mutant, ...]] = (
    # -- R4: acknowledge and act after the commit
    Mutant(
        "ack-before-commit", "R4",
        rewrite(
            Instance._commit,
            "    host.submit(append, batch.stored)\n",
            "    batch.answer(None)\n    batch.replies.clear()\n    host.submit(append, batch.stored)\n",
        ),
        (SEEDS,),
    ),
    Mutant(
        "act-before-commit", "R4",
        rewrite(
            Instance._commit,
            "    host.submit(append, batch.stored)\n",
            "    self._perform(batch.effects)\n    host.submit(append, batch.stored)\n",
        ),
        (SEEDS,),
    ),
    Mutant(
        "what-is-told-is-not-stored-yet", "R4",
        rewrite(
            Instance._commit,
            "        if batch.replies:",
            "        if batch.answer(None) is not None:",
        ),
        (LIFE + "test_nobody_is_told_of_what_is_not_stored_yet",),
    ),
    # -- R14: a turn that is not stored did not happen, what its steps gave did
    Mutant(
        "what-was-not-stored-stays-in-memory", "R14",
        rewrite(
            Directory.lost, "    if isinstance(error,", "    return\n    if isinstance(error,"
        ),
        (LIFE + "test_on_a_full_disk_requests_are_refused_and_what_runs_goes_on_later",),
    ),
    Mutant(
        "results-on-top-of-a-lost-turn-are-dropped", "R14",
        rewrite(
            Instance._not_stored,
            "    self.host.lost(self, error,",
            "    self.dead or self.host.lost(self, error,",
        ),
        (LIFE + "test_results_decided_on_top_of_a_turn_that_was_not_stored_are_kept",),
    ),
    Mutant(
        "results-too-late-for-a-lost-turn-are-dropped", "R14",
        rewrite(Instance._commit, "        self.late += batch.outcomes", "        self.late += []"),
        (LIFE + "test_a_result_that_came_too_late_for_a_turn_that_was_not_stored_is_kept",),
    ),
    Mutant(
        "results-in-a-crashed-turn-are-dropped", "R14",
        rewrite(Instance.turn, "        rescued = _outcomes_of(", "        rescued = [] and _outcomes_of("),
        (LIFE + "test_the_result_of_a_step_outlives_a_crashing_turn",),
    ),
    Mutant(
        "callers-of-a-crashed-turn-hang", "R14",
        rewrite(Instance.turn, "        batch.answer(error)\n", "        pass\n"),
        (LIFE + "test_the_caller_of_a_verb_whose_turn_crashes_is_told",),
    ),
    Mutant(
        "an-ended-attempt-is-owed-until-it-is-decided", "R14",
        rewrite(
            Instance.finished,
            "    if not self.dead:\n",
            "    self.running.pop(outcome.key, None)\n    if not self.dead:\n",
        ),
        (LIFE + "test_a_step_that_ends_while_another_turn_is_stored_runs_once",),
    ),
    # -- R15, R16, R17
    Mutant(
        "mailbox-without-bound", "R15", replace(instance, "MAILBOX_MAX", 1 << 30),
        (LIFE + "test_a_mailbox_that_is_full_refuses_callers_and_keeps_what_it_took",),
    ),
    Mutant(
        "unrouted-events-stay-unrouted", "R16",
        rewrite(Router.recover, "    if not self.reading:\n", "    if False:\n"),
        (EVENTS + "test_a_wide_fan_out_goes_on_after_a_crash", EVENTS + "test_what_an_instance_emits_starts_others_once"),
    ),
    Mutant(
        "events-are-not-deduplicated", "R17",
        rewrite(Router._post_now, "checked=not made", "checked=False"),
        (EVENTS + "test_a_repeated_event_gets_the_first_answer_and_does_nothing",),
    ),
    Mutant(
        "verbs-are-carried-out-again", "R17",
        rewrite(Engine._verb_once, "    if known is not None:\n", "    if known is None and known:\n"),
        (VERBS + "test_a_request_id_is_carried_out_once_and_answered_alike",),
    ),
    Mutant(
        "two-verbs-at-once-with-one-id", "R17",
        rewrite(Engine._verb, "    while (other :=", "    while False and (other :="),
        (VERBS + "test_a_request_id_given_many_times_at_once_is_carried_out_once",),
    ),
    Mutant(
        "a-fork-may-differ-under-one-id", "R17",
        rewrite(Engine._fork, "[None if edit is Unset else [edit] for", "[None for"),
        (VERBS + "test_a_request_id_used_for_something_else_is_a_conflict",),
    ),
    # -- R18, R19
    Mutant(
        "in-doubt-steps-run-again", "R18",
        rewrite(Kernel._recover, "(doubts if once else lost)", "(doubts if once is None else lost)"),
        (STEPS + "test_an_at_most_once_step_that_died_with_the_process_is_in_doubt",),
    ),
    Mutant(
        "plain-resume-runs-an-in-doubt-step", "R18",
        rewrite(Kernel._reopen, "    if doubts and not m.run_again:\n", "    if False:\n"),
        (VERBS + "test_resume_of_an_in_doubt_instance_asks_what_happened",),
    ),
    Mutant(
        "poison-is-never-parked", "R19", replace(decide, "LOST_MAX", 99),
        (STEPS + "test_a_step_that_kills_the_process_three_times_is_parked_as_poison",),
    ),
    Mutant(
        "all-suspects-are-blamed", "R19",
        rewrite(Kernel._spared, "m.alone is None", "True"),
        (STEPS + "test_R19_those_in_flight_with_a_step_that_kills_the_process_go_on",),
    ),
    Mutant(
        "clean-stops-count-as-crashes", "R19",
        rewrite(Instance.recover, "Recover(self.host.counts_losses, self.host.alone)", "Recover(True)"),
        (STEPS + "test_clean_stops_are_no_crashes",),
    ),
    # -- R20
    Mutant(
        "crashing-turns-are-never-parked", "R20", replace(supervisor, "INSTANCE_CRASHES", 1 << 30),
        (LIFE + "test_an_instance_whose_turns_keep_crashing_is_parked_and_others_live",),
    ),
    Mutant(
        "crashing-parts-go-on-for-ever", "R20", replace(supervisor, "COMPONENT_CRASHES", 1 << 30),
        (LIFE + "test_a_timer_that_keeps_crashing_ends_the_engine",),
    ),
    Mutant(
        "a-crashed-timer-stays-down", "R20",
        rewrite(Timer._guarded, "            self.start()\n", "            pass\n"),
        (LIFE + "test_a_timer_that_crashes_once_goes_on",),
    ),
    Mutant(
        "a-suspect-step-given-up-holds-up-the-others", "R19",
        rewrite(Executor.abort, "    if call.solo:\n", "    if False:\n"),
        (STEPS + "test_a_suspect_step_that_is_cancelled_holds_up_no_other",),
    ),
    # -- R22
    Mutant(
        "waiting-instances-follow-the-new-plan", "R22",
        rewrite(Registry.version, "_bind(current, row, version)", "dataclasses.replace(current, version=version)"),
        (LIFE + "test_a_step_inserted_or_renamed_behind_an_instance_is_welcome",),
    ),
    # -- R24
    Mutant(
        "a-timer-refused-as-early-is-forgotten", "R24",
        rewrite(Instance._due_again, "    if due == message.due and", "    if due is None and"),
        (LIFE + "test_a_sleep_whose_clock_was_set_back_is_armed_again",),
    ),
    Mutant(
        "timers-fire-on-the-spot", "R24",
        both(
            rewrite(Timer.wake, "self.agenda.take(now, FIRE_MAX)", "self.agenda.take(now + 60_000, FIRE_MAX)"),
            rewrite(Kernel._due, "or now < m.due", ""),
        ),
        (EVENTS + "test_a_wait_without_an_event_ends_at_its_time", STEPS + "test_a_retrystep_waits_longer_each_time"),
    ),
    Mutant(
        "an-event-in-time-loses-to-its-timer", "R24",
        rewrite(
            Directory._fire,
            'state is not None and state.request.kind == "wait"',
            'state is None and state',
        ),
        (LIFE + "test_an_event_on_its_way_to_the_disk_wins_over_a_timer_due_now",),
    ),
    Mutant(
        "missed-ticks-are-all-made-up-for", "R24",
        rewrite(
            Schedules._owed,
            "schedule.missed(due / 1000 - 0.001, min(last, now) / 1000, anchor)",
            "schedule.upcoming(due / 1000 - 0.001, 6, anchor)",
        ),
        (SCHEDULES + "test_times_missed_while_the_engine_was_down_follow_the_policy",),
    ),
    Mutant(
        "runs-of-a-schedule-overlap", "R24",
        rewrite(Schedules._running, "found += [one.id for one in page.rows]", "found += []"),
        ("tests/runtime/test_engine_overlap.py::test_skip_leaves_out_the_times_while_a_run_lasts_and_says_so",),
    ),
    Mutant(
        "a-tick-older-than-its-window-is-made-up-for", "R24",
        rewrite(Schedule.missed, "if self.catch_up_window is not None:", "if False:"),
        ("tests/definitions/test_calendars.py::test_what_was_missed_before_the_window_is_not_made_up_for",),
    ),
    Mutant(
        "a-replay-uses-again-what-a-batch-has-used", "replay",
        rewrite(Replay.gathered, "await self._used(since) if rule.kind in SEVERAL else set()", "set()"),
        (REPLAYED + "test_what_a_batch_has_used_live_or_holds_is_left_alone",),
    ),
    Mutant(
        "a-replay-takes-what-is-held", "replay",
        rewrite(Replay._is_held, "one.pos == row.pos", "False"),
        (REPLAYED + "test_what_a_batch_has_used_live_or_holds_is_left_alone",),
    ),
    Mutant(
        "a-replay-through-a-throttle-starts-twice", "replay",
        rewrite(Replay.throttled, "await self._is_known(i)", "False"),
        (REPLAYED + "test_a_throttle_lets_through_what_it_lets_through_now",),
    ),
    Mutant(
        "a-replay-knows-no-times", "replay",
        rewrite(Recollection._ripe, "state.due <= now", "state.due <= now < 0"),
        (REPLAYED + "test_what_did_not_come_is_noticed_afterwards",),
    ),
    Mutant(
        "what-is-emitted-is-overtaken", "R17",
        rewrite(Directory.submit, "watched(work, self.subjects, done)", "done"),
        ("tests/runtime/test_subjects.py::test_an_event_that_is_emitted_goes_before_a_later_post_of_its_subject",),
    ),
    Mutant(
        "what-was-emitted-is-overtaken-after-a-crash", "R17",
        rewrite(Router.open, "self.subjects.hold()", "pass"),
        ("tests/runtime/test_subjects.py::test_what_was_emitted_before_a_crash_goes_before_what_is_posted_after_it",),
    ),
    Mutant(
        "what-is-not-stored-holds-up-its-subject", "R17",
        rewrite(subjects.watched, "subjects.lost(row)", "pass"),
        ("tests/runtime/test_subjects.py::test_an_emit_that_is_not_stored_holds_up_nobody",),
    ),
    Mutant(
        "who-is-not-made-holds-up-a-subject", "R17",
        rewrite(subjects._stored, "isinstance(result, Appended) and bool(result.emitted)", "True"),
        ("tests/runtime/test_subjects.py::test_a_start_that_is_refused_leaves_the_line_of_what_it_would_have_emitted",),
    ),
    Mutant(
        "events-of-a-subject-overtake-each-other", "R17",
        rewrite(Subjects.post, "if waiting is None:", "if True:"),
        ("tests/runtime/test_subjects.py::test_a_wide_event_is_routed_to_its_end_before_the_next_of_its_subject",),
    ),
    Mutant(
        "what-is-collected-is-in-memory-only", "R17",
        rewrite(Router._route, "for work in works:", "for work in ():"),
        ("tests/runtime/test_collecting.py::test_a_batch_starts_when_it_is_full_or_its_time_is_over",),
    ),
    Mutant(
        "a-wait-has-only-its-first-key", "R17",
        rewrite(asking.request_of, "where.hashes[1:],", "(),"),
        ("tests/runtime/test_correlation.py::test_a_wait_for_one_of_several_values_wakes_at_each",),
    ),
    Mutant(
        "a-past-event-is-explained-by-todays-definition", "R17",
        rewrite(
            explanations._of_version,
            "if row is not None:",
            "if row is None:",
        ),
        ("tests/runtime/test_archive.py::test_a_past_event_is_explained_as_of_its_time",),
    ),
    # -- R25
    Mutant(
        "a-clean-stop-leaves-no-mark", "R25",
        rewrite(Engine.close, "self.journal.close(clean=True)", "self.journal.close(clean=False)"),
        (STEPS + "test_clean_stops_are_no_crashes",),
    ),
    Mutant(
        "who-waits-hangs-when-the-engine-ends", "R25",
        rewrite(Engine._end_waiting, "        give_up()\n", "        pass\n"),
        (LIFE + "test_whoever_waits_when_the_engine_ends_is_told",),
    ),
    Mutant(
        "a-closed-journal-opens-itself-again", "R25",
        rewrite(Journal._try_again, '        if self.state == "read_only":  #', "        if True:  #"),
        (LIFE + "test_a_journal_closed_while_it_looks_for_room_stays_closed",),
    ),
    Mutant(
        "a-step-survives-its-cancel", "R25",
        rewrite(Executor.abort, "        call.runner.cancel()\n", "        pass\n"),
        (VERBS + "test_cancel_of_a_live_instance_ends_it",),
    ),
    # -- the verbs
    Mutant(
        "pause-starts-what-comes-next", "pause",
        rewrite(Progress.parked.fget, "self.paused or self.failure is not None", "self.failure is not None"),  # type: ignore[attr-defined]
        (VERBS + "test_pause_of_a_running_instance_waits_for_the_step",),
    ),
    Mutant(
        "pause-of-a-failed-instance", "pause",
        rewrite(Kernel._pause, "if p.ended or p.failure is not None:", "if p.ended:"),
        (VERBS + "test_pause_of_one_that_does_not_live_on_is_refused",),
    ),
    Mutant(
        "resume-of-a-running-instance", "resume",
        rewrite(Kernel._resume, 'if status_of(p) == "running":', "if False:"),
        (VERBS + "test_resume_of_a_running_instance_is_refused",),
    ),
    Mutant(
        "resume-answers-for-people", "resume",
        rewrite(Kernel._resume, "    if others:\n", "    if False:\n"),
        (VERBS + "test_resume_of_one_that_waits_for_an_answer_names_the_question",),
    ),
    Mutant(
        "attempts-start-over", "resume",
        rewrite(Kernel._concluded, "    if attempts and requests:\n", "    if False:\n"),
        (VERBS + "test_resume_of_a_failed_instance_tries_the_failed_step_again",),
    ),
    Mutant(
        "a-paused-start-forgets-its-time", "resume",
        rewrite(Instance.perform_all, "if p.starts is not None:", "if False:"),
        (VERBS + "test_resume_of_a_paused_pending_instance_whose_time_has_come_runs_it",),
    ),
    Mutant(
        "recovery-begins-delayed-starts", "start",
        rewrite(rows.status_change, "p.starts is None", "p.starts is not p"),
        (VERBS + "test_resume_of_a_paused_pending_instance_is_pending_again",),
    ),
    Mutant(
        "cancel-leaves-the-children", "cancel",
        rewrite(AppendBuilder._cancel_child, "    if id is not None:\n", "    if False:\n"),
        (LIFE + "test_cancelling_a_parent_cancels_its_children",),
    ),
    Mutant(
        "cancel-of-a-completed-instance", "cancel",
        rewrite(Kernel._cancel, "    if p.end is not None:\n", "    if False:\n"),
        (VERBS + "test_cancel_of_a_completed_instance_is_refused",),
    ),
    Mutant(
        "skip-of-a-running-step", "skip",
        rewrite(Kernel._skip, 'if op.status != "retry":', "if False:"),
        (VERBS + "test_skip_of_a_running_step_is_refused",),
    ),
    Mutant(
        "a-fork-takes-the-key-of-the-living", "fork",
        rewrite(Engine._fork, 'row.status in ("completed", "cancelled")', "True"),
        (VERBS + "test_restart_and_fork_make_a_new_instance_and_leave_the_old_alone",),
    ),
    Mutant(
        "the-second-answer-is-told-nothing", "answer",
        rewrite(Engine.answer, "        await self._open_ask(found.id)  #", "        pass  #"),
        (VERBS + "test_of_two_answers_at_once_the_first_wins",),
    ),
    Mutant(
        "an-answer-is-not-looked-at", "answer",
        rewrite(Engine.answer, "reasons.check_answer(found, ", "(lambda _, data: data)(found, "),
        (VERBS + "test_an_answer_that_is_not_valid_changes_nothing",),
    ),
    Mutant(
        "send-says-matched", "send",
        rewrite(Engine._taken, "future.set_result(took or", "future.set_result(True or"),
        (VERBS + "test_send_to_a_paused_instance_wakes_it_after_resume",),
    ),
    Mutant(
        "loops-of-events-go-on", "emit",
        rewrite(rows.emitted, "hops = p.hops + 1", "hops = 1"),
        (EVENTS + "test_a_loop_of_events_stops_after_32_hops",),
    ),
    Mutant(
        "why-says-less", "why",
        rewrite(Engine.why, "await self._progress(row.n)", "Progress()"),
        (LOOKING + "test_why_a_failure",),
    ),
    Mutant(
        "a-restart-begins-at-the-beginning", "restart",
        rewrite(Engine.restart, "instance, from_op, key", "instance, None, key"),
        (HERE + "test_forks.py::test_a_restart_from_an_op_runs_that_op_and_what_follows_it",),
    ),
    Mutant(
        "nobody-notices-a-blocked-loop", "R21",
        rewrite(Stall.tick, "self.seconds +=", "self.seconds *="),
        (HERE + "test_watchdog.py::test_marks_are_passed_once_a_stall_in_order",),
    ),
    Mutant(
        "time-is-fine-in-a-program", "R23",
        replace(purity, "_INSTEAD", {}),
        ("tests/definitions/test_purity.py::test_z3_the_warning_names_the_line",),
    ),
)  # fmt: skip
