"""Mutants of step lists: rows W1 to W10, scopes, taking back, callbacks and who may answer."""

from __future__ import annotations

from typing import Final

from greenroom.actors import decide, planned, walk
from greenroom.actors.walk import Walk
from greenroom.definitions import forms, inputsteps, people
from greenroom.definitions.injection import Injector
from greenroom.definitions.steps import StepList
from greenroom.runtime import tokens
from greenroom.runtime.callbacks import Callbacks
from greenroom.runtime.engine import Engine
from greenroom.runtime.sections import Asks
from tests.mutants.registry import Mutant, rewrite

FORMS: Final = "tests/runtime/test_forms.py::test_"
ROWS: Final = "tests/runtime/test_rows_of_step_lists.py::test_"
SCOPES: Final = "tests/actors/test_scopes.py::test_"
LIVE: Final = "tests/runtime/test_step_scopes.py::test_"
LAW: Final = SCOPES + "whatever_happens_on_the_way_the_end_is_that_of_a_calm_run"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "a-failed-step-is-merged", "W1",
        rewrite(Walk._fail, "raise Death(error, causes)", "self._go_on(spot)"),
        (ROWS + "w1_an_exception_fails_the_instance_and_commits_nothing",),
    ),
    Mutant(
        "a-retry-is-never-due", "W2",
        rewrite(decide._retry_delay, "return policy.retry.delay(", "return None and policy.retry.delay("),
        (ROWS + "w2_a_failure_waits_and_is_tried_again",),
    ),
    Mutant(
        "an-answer-is-not-merged", "W3",
        rewrite(Walk._outcome, "return self._change_of_dict(value)", "return _NO_CHANGE"),
        (FORMS + "w3_the_returned_dict_merges_with_its_extra_keys",),
    ),
    Mutant(
        "nobody-named-is-nobody", "W4",
        rewrite(inputsteps.inputstep, "str(Assignee.SYSTEM if assignee is None else assignee)", "assignee"),
        (FORMS + "w4_the_assignee_is_a_label_on_the_question",),
    ),
    Mutant(
        "an-object-will-do-for-a-page", "W5",
        rewrite(forms._page, "page = page_of(wanted)\n", "page = page_of(wanted) or page_of(type(wanted))\n"),
        ("tests/definitions/test_forms.py::test_w5_what_is_no_page_class_is_a_form_error",),
    ),
    Mutant(
        "a-default-is-not-used", "W9",
        rewrite(Injector.arguments, "elif parameter.default is not _EMPTY:", "elif False:"),
        (ROWS + "w9_defaults_of_the_seed",),
    ),
    Mutant(
        "annotations-are-not-looked-at", "W16",
        rewrite(Injector._value, "return parameter.convert(value)", "return value"),
        (ROWS + "w16_values_are_made_by_annotation", ROWS + "w16_steps_are_strict"),
    ),
    Mutant(
        "a-guard-is-not-asked", "W6",
        rewrite(Walk._may, "if self._holds(guard, node, lanes):", "if True:"),
        (ROWS + "w6_the_predicate_controls_whether_a_step_runs",),
    ),
    Mutant(
        "a-guard-gets-the-state-itself", "W6",
        rewrite(Walk._shown, "Lent(view)", "view"),
        (SCOPES + "a_guard_cannot_change_the_state",),
    ),
    Mutant(
        "the-empty-list-is-a-step", "W7",
        rewrite(StepList.__rshift__, "self.lines + StepList.of(other).lines", "StepList.of(other).lines + self.lines"),
        (ROWS + "w7_begin_and_done_may_be_left_out",),
    ),
    Mutant(
        "injected-values-are-not-copies", "W8",
        rewrite(Injector._value, "return copy(value)", "return value"),
        (ROWS + "w8_state_is_a_copy_of_all_of_it",),
    ),
    Mutant(
        "anything-may-be-returned", "W10",
        rewrite(planned.result_problem, "if not isinstance(value, dict):", "if False:"),
        (ROWS + "w10_what_is_no_object_fails",),
    ),
    Mutant(
        "names-of-the-engine-may-be-returned", "W10",
        rewrite(planned.result_problem, "if not VIRTUAL.isdisjoint(value):", "if False:"),
        (ROWS + "w10_names_of_the_engine_may_not_be_returned",),
    ),
    Mutant(
        "lanes-write-into-the-state", "fans",
        rewrite(Walk._merge, "if not lanes:", "if True:"),
        (SCOPES + "branches_run_side_by_side_on_names_of_their_own",),
    ),
    Mutant(
        "a-failed-lane-fails-at-once", "fans",
        rewrite(Walk._fail, 'fan.on_error != "park"', "False"),
        (SCOPES + "a_branch_that_fails_lets_the_others_finish_and_is_retried_alone",),
    ),
    Mutant(
        "a-failed-lane-stays-failed", "fans",
        rewrite(Walk._ask_again, "self._unfail(spot)", "pass"),
        (LAW, SCOPES + "a_branch_that_fails_lets_the_others_finish_and_is_retried_alone"),
    ),
    Mutant(
        "the-limit-of-lanes-is-not-kept", "fans",
        rewrite(Walk._enter_fan, "min(fan.limit or len(seeds), len(seeds))", "len(seeds)"),
        (SCOPES + "foreach_one_after_the_other",),
    ),
    Mutant(
        "a-lane-that-ends-starts-no-other", "fans",
        rewrite(Walk._lane_over, 'if following >= _int(frame, "size"):', "if True:"),
        (SCOPES + "foreach_one_after_the_other",),
    ),
    Mutant(
        "a-group-goes-on-where-it-failed", "groups",
        rewrite(walk._restarts, "if scope.place.node.restart:", "if False:"),
        (SCOPES + "a_group_that_restarts_begins_anew_under_keys_of_its_own",),
    ),
    Mutant(
        "a-round-has-the-keys-of-the-last", "groups",
        rewrite(walk._inside, 'if round == 1 else f"{key}~{round}."', 'if True else ""'),
        (SCOPES + "a_group_that_restarts_begins_anew_under_keys_of_its_own",),
    ),
    Mutant(
        "an-early-callback-is-lost", "callbacks",
        rewrite(Walk._is_early, 'self._patch(scope.key, {"answer": {"value": cause.value}})', "pass"),
        (SCOPES + "a_callback_that_comes_early_is_kept",),
    ),
    Mutant(
        "a-callback-waits-for-ever", "callbacks",
        rewrite(Walk._reach_early, "if node.ask.due_s is not None:", "if False:"),
        (SCOPES + "the_deadline_counts_from_the_end_of_the_action",),
    ),
    Mutant(
        "any-token-will-do", "callbacks",
        rewrite(tokens.Secret.is_token, "return hmac.compare_digest", "return True or hmac.compare_digest"),
        (LIVE + "a_wrong_token_finds_nothing",),
    ),
    Mutant(
        "a-token-is-good-for-every-round", "callbacks",
        rewrite(tokens.Secret.token, 'f"{instance}\\n{op}"', 'f"{instance}\\n"'),
        (LIVE + "a_timed_out_callback_is_tried_again_with_another_token",),
    ),
    Mutant(
        "a-callback-takes-anything", "callbacks",
        rewrite(Callbacks.answer, "_object(data)", "data"),
        (LIVE + "the_body_of_a_callback_is_an_object",),
    ),
    Mutant(
        "nothing-is-taken-back", "saga",
        rewrite(Walk._absorb, "elif node.undo is not None and", "elif False and"),
        (SCOPES + "a_cancel_takes_back_what_was_done_in_reverse_order",),
    ),
    Mutant(
        "taken-back-in-the-order-done", "saga",
        rewrite(Walk._newest_first, "for key in reversed(frame)", "for key in frame"),
        (SCOPES + "a_cancel_takes_back_what_was_done_in_reverse_order",),
    ),
    Mutant(
        "a-failure-takes-nothing-back", "saga",
        rewrite(walk._applied, 'definition.on_failure == "park"', "True"),
        (SCOPES + "a_failure_for_good_takes_back_and_says_why",),
    ),
    Mutant(
        "lanes-are-taken-back-without-their-names", "saga",
        rewrite(Walk._absorb, "names |= self._frame(lane)", "pass"),
        (SCOPES + "lanes_are_taken_back_with_their_names",),
    ),
    Mutant(
        "anybody-answers", "C12",
        rewrite(Engine._check_person, "if self._enforce_assignee or", "if False and"),
        (LIVE + "only_the_assignee_answers_where_that_is_enforced",),
    ),
    Mutant(
        "a-claim-hides-who-speaks", "C12",
        rewrite(people.actor_of, 'by.rpartition(VIA)', 'by.partition(VIA)'),
        (LIVE + "only_the_assignee_answers_where_that_is_enforced",),
    ),
    Mutant(
        "a-draft-is-everybodys", "A14",
        rewrite(Asks.draft, "f\"{DRAFT}{by or ''}\"", "DRAFT"),
        (LIVE + "a_draft_is_kept_until_the_answer",),
    ),
)  # fmt: skip
