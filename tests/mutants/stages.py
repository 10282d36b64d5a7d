"""Mutants of stage graphs: where a run goes, who may do what, what is kept and who is told."""

from __future__ import annotations

from typing import Final

from greenroom.definitions import jsonlayout, questions, stagegraphs, stageworkflows
from greenroom.definitions import stages as definitions
from greenroom.definitions.stagegraphs import StageGraph
from greenroom.definitions.stageruns import Walker
from greenroom.definitions.stageworkflows import StageDesk
from greenroom.runtime import identity, stageboard, stagelogs, stagemail, trials
from greenroom.runtime.forms import Forms
from greenroom.runtime.layers.starting import Starting
from greenroom.runtime.notes import Noted
from greenroom.runtime.stagefolders import FolderWorks, unnamed
from greenroom.runtime.stagehooks import StageHook
from greenroom.runtime.stages import Stages
from tests.mutants.registry import Mutant, rewrite

STAGES: Final = "tests/runtime/test_stages.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "arrows-lead-to-jobs", "A1",
        rewrite(stagegraphs._Reader._transition, 'stages[target].kind == "job"', "False"),
        (STAGES + "test_A1_what_is_wrong_in_a_graph_is_named_with_its_place",),
    ),
    Mutant(
        "an-empty-text-is-an-answer", "A3",
        rewrite(questions.text_question, "1 if required else None", "None"),
        (STAGES + "test_A3_a_wrong_answer_changes_nothing",),
    ),
    Mutant(
        "the-clock-starts-nothing", "A6",
        rewrite(stageworkflows.stage_workflow, "stage.schedule is not None", "False"),
        (STAGES + "test_A6_a_job_runs_at_its_times_and_is_followed_by_others",),
    ),
    Mutant(
        "every-run-begins-at-the-beginning", "A19",
        rewrite(StageDesk.started, "self.graph.first(stage)", "self.graph.first(None)"),
        (
            STAGES + "test_A19_a_test_may_begin_at_any_stage_with_data",
            STAGES + "test_A8_a_stage_without_transitions_runs_alone",
        ),
    ),
    Mutant(
        "who-belongs-to-no-team-may-answer", "A12",
        rewrite(identity.may_answer, "if wanted.startswith(TEAM):", "if wanted.startswith(TEAM) or True:\n        return True\n    if False:"),
        (STAGES + "test_A12_any_member_of_a_team_may_answer_and_a_stranger_may_not",),
    ),
    Mutant(
        "the-oldest-line-comes-first", "A21",
        rewrite(stagelogs.StageLogs.read, "key=_newest, reverse=True", "key=_newest"),
        (STAGES + "test_A21_logs_of_all_runs_newest_first_by_stage_run_and_text",),
    ),
    Mutant(
        "a-board-reads-every-run", "A16",
        rewrite(stageboard._Column.read, "self._standing(limit, after,", "self._standing(PAGE, after,"),
        (STAGES + "test_A16_a_board_and_a_log_read_what_they_show",),
    ),
    Mutant(
        "tests-save-real-objects", "A13",
        rewrite(Starting.start, "TEST if test else self.namespace", "self.namespace"),
        ("tests/runtime/test_resources.py::test_A13_a_test_run_saves_nothing_real_and_leaves_nothing",),
    ),
    Mutant(
        "a-save-lays-the-file-out-anew", "A18",
        rewrite(jsonlayout._Writer.node, "return node.text", "return self._new(value, indent, wide=False)"),
        ("tests/definitions/test_jsonlayout.py::test_a_value_changes_where_it_stands",),
    ),
    Mutant(
        "a-name-is-a-group", "A16",
        rewrite(StageDesk.may, "if not name.startswith(GROUP)", "if True"),
        ("tests/runtime/web/test_web_security.py::test_H10_groups_of_the_provider_are_roles_of_stages",),
    ),
    Mutant(
        "any-stage-may-be-next", "A11",
        rewrite(definitions._target, "if name in allowed:", "if name in here.graph.stages:"),
        (STAGES + "test_A11_one_bad_target_and_no_run_is_made",),
    ),
    Mutant(
        "no-next-stage-means-all", "C16",
        rewrite(Walker._moves, "if ending.moves is not None:", "if ending.moves:"),
        (STAGES + "test_A11_where_a_run_goes_on",),
    ),
    Mutant(
        "an-assignee-is-not-inherited", "A11",
        rewrite(definitions._move, "assignee or stage.assignee or here.assignee", "assignee"),
        (STAGES + "test_A11_data_is_laid_over_and_assignees_are_inherited",),
    ),
    Mutant(
        "a-missing-name-is-an-error", "A10",
        rewrite(
            definitions.StageData.__getitem__,
            "return self._scene.data.get(name)", "return self._scene.data[name]",
        ),
        (STAGES + "test_A10_the_data_of_a_stage_reads_as_none_where_there_is_nothing",),
    ),
    Mutant(
        "siblings-share-their-data", "A9",
        rewrite(Walker._each, "**rest, stage.item: item", "**self.run.data, stage.item: item"),
        (STAGES + "test_an_iterator_makes_a_run_an_item_and_refuses_what_is_no_list",),
    ),
    Mutant(
        "nobody-meets-again", "5.2",
        rewrite(StageGraph.meeting, "if stage.join is None:", "if True:"),
        (STAGES + "test_runs_that_parted_meet_again_once",),
    ),
    Mutant(
        "any-waits-for-all", "5.2",
        rewrite(Walker._meet, 'while waiting and not (stage.join == "any" and met):', "while waiting:"),
        (STAGES + "test_runs_that_parted_meet_again_once",),
    ),
    Mutant(
        "a-failure-is-followed-by-nobody", "A7",
        rewrite(
            Walker._script, 'if not self.graph.outgoing(stage.path, "failed"):', "if True:"
        ),
        (STAGES + "test_A7_a_failure_may_have_a_transition_and_attempts_before_it",),
    ),
    Mutant(
        "exit-codes-do-not-matter", "A2",
        rewrite(FolderWorks.run, "if end.code not in (None, 0):", "if False:"),
        (STAGES + "test_A2_a_file_that_fails_fails_its_run_and_can_be_resumed",),
    ),
    Mutant(
        "half-a-form-is-forgotten", "A14",
        rewrite(Forms.answer, "if noted is not None and pages:", "if False:"),
        (STAGES + "test_A14_a_form_is_gone_on_with_at_any_question_after_a_crash",),
    ),
    Mutant(
        "once-is-each-time", "C31",
        rewrite(Noted.outcome, "known = self._notes.get(note)", "known = None"),
        (STAGES + "test_A14_a_form_is_gone_on_with_at_any_question_after_a_crash",),
    ),
    Mutant(
        "people-are-told-twice", "A4",
        rewrite(stagemail.tell_assignee, "if person in told:", "if False:"),
        (STAGES + "test_A4_a_mail_that_fails_is_tried_again_and_never_twice_to_one",),
    ),
    Mutant(
        "tests-tell-people", "A13",
        rewrite(stagemail._tell, 'if test or "@" not in person', 'if "@" not in person'),
        (STAGES + "test_A13_a_test_run_goes_on_tells_nobody_and_is_gone_at_the_next_start",),
    ),
    Mutant(
        "tests-are-kept", "A13",
        rewrite(trials.erase, "if tests:", "if False:"),
        (STAGES + "test_A13_a_test_run_goes_on_tells_nobody_and_is_gone_at_the_next_start",),
    ),
    Mutant(
        "hooks-let-everybody-in",
        "A5",
        rewrite(StageHook._caller, 'if stage.auth == "none":', "if True:"),
        (STAGES + "test_A5_a_caller_without_a_key_is_refused_and_nothing_happens",),
    ),
    Mutant(
        "requests-are-for-anybody", "A5",
        rewrite(Walker._where, "for mine, theirs in stage.match.pairs:", "for mine, theirs in ():"),
        (STAGES + "test_A5_a_hook_in_the_middle_wakes_the_run_it_is_for",),
    ),
    Mutant(
        "everybody-is-a-hook", "A5",
        rewrite(StageDesk.sent, "if by != BY_HOOK:", "if False:"),
        (STAGES + "test_A5_nobody_outside_can_pretend_to_be_a_hook",),
    ),
    Mutant(
        "roles-do-not-matter", "A16",
        rewrite(StageDesk.check, "if not self.may(stage, by):", "if False:"),
        (STAGES + "test_A16_access_by_role_and_for_everybody",),
    ),
    Mutant(
        "cards-move-anywhere", "A16",
        rewrite(StageDesk.may_move, "if target not in allowed:", "if False:"),
        (STAGES + "test_A16_the_board_counts_live_leaves_and_a_card_moves_along_a_transition",),
    ),
    Mutant(
        "those-who-parted-are-counted-twice", "A16",
        rewrite(stageworkflows.standing, 'None if state.get("parted") else ', ""),
        (STAGES + "test_runs_that_parted_meet_again_once",),
    ),
    Mutant(
        "code-comes-from-anybody", "A17",
        rewrite(Stages._deployable, "if by is not None and not actor_of(by).owner:", "if False:"),
        (STAGES + "test_A17_only_the_owner_of_the_daemon_brings_code",),
    ),
    Mutant(
        "the-last-to-save-wins", "A18",
        rewrite(
            Stages.save, "if etag is not None and now is not None and now[1] != etag:", "if False:"
        ),
        (STAGES + "test_A18_saving_writes_the_file_keeps_unknown_keys_and_loses_nobodys_change",),
    ),
    Mutant(
        "helpers-are-stages", "A20",
        rewrite(unnamed, 'and file.removesuffix(".py") not in imported', ""),
        (STAGES + "test_A2_files_import_their_neighbours_and_may_ask_for_main",),
    ),
    Mutant(
        "logs-hold-only-successes", "A15",
        rewrite(stagelogs._ended, 'return [(entry.key, "failed", entry.error)]', "return []\n            return []"),
        (STAGES + "test_A21_logs_of_all_runs_newest_first_by_stage_run_and_text",),
    ),
)  # fmt: skip
