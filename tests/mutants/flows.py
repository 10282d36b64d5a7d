"""Mutants of template flows: the order of handlers, who may decide, and what is recorded."""

from __future__ import annotations

from typing import Final

from greenroom.actors import progress
from greenroom.actors.decide import Kernel
from greenroom.actors.machine import Machine
from greenroom.definitions import deciding, flowruns, permissions, services
from greenroom.definitions.flowruns import Runner
from greenroom.definitions.flows import Flow, FlowDesk
from greenroom.definitions.matching import compile_where
from greenroom.definitions.templates import Template
from greenroom.runtime import steering
from greenroom.runtime.buttons import SlackButtons
from greenroom.runtime.identities import Identities
from greenroom.runtime.recording import Recorded
from tests.mutants.registry import Mutant, replace, rewrite

FLOWS: Final = "tests/runtime/test_flows.py::"
WHO: Final = "tests/runtime/test_flow_deciding.py::"
OVER: Final = "tests/runtime/connectors/test_flows_over_connectors.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "any-handler-will-do",
        "S1",
        rewrite(Template.check_handlers, "if handler.name not in legal:", "if False:"),
        (FLOWS + "test_S1_a_template_is_a_table_of_events_and_flows_show_their_kind",),
    ),
    Mutant(
        "a-reducer-gives-nothing",
        "S2",
        rewrite(Template.reduced, "if given is None:", "if False:"),
        (FLOWS + "test_S2_a_reducer_is_called_once_and_gives_what_its_place_takes",),
    ),
    Mutant(
        "a-hook-returns-anything",
        "S3",
        rewrite(Template.redirected, "if not isinstance(given, Transition):", "if False:"),
        (FLOWS + "test_S3_a_hook_returns_nothing_or_a_transition",),
    ),
    Mutant(
        "backwards-is-allowed",
        "S8",
        rewrite(Template.redirected, "if given.event not in legal:", "if False:"),
        (FLOWS + "test_S8_backwards_is_illegal",),
    ),
    Mutant(
        "a-redirect-runs-the-default-too",
        "S8",
        rewrite(Runner.happen, "if redirect is not None:", "if False:"),
        (FLOWS + "test_S10_a_request_is_denied_at_once",),
    ),
    Mutant(
        "identities-are-asked-for-again",
        "S11",
        rewrite(Identities.remembered, "if kept is not None and", "if False and"),
        (FLOWS + "test_S11_identities_are_looked_up_when_needed_and_once",),
    ),
    Mutant(
        "a-late-event-happens",
        "3.3.8",
        rewrite(Runner._is_taken, "if run.state not in row.sources:", "if False:"),
        (FLOWS + "test_of_two_events_at_once_the_second_is_late",),
    ),
    Mutant(
        "strangers-decide",
        "3.3.7",
        rewrite(FlowDesk._check, "if why is not None:", "if False:"),
        (FLOWS + "test_a_stranger_is_refused_and_nothing_is_stored",),
    ),
    Mutant(
        "whoever-asked-decides",
        "C13",
        rewrite(permissions.may_decide, "if requester in (actor, hand) and", "if False and"),
        (FLOWS + "test_whoever_asked_may_not_decide_unless_told_so",),
    ),
    Mutant(
        "a-given-name-always-counts",
        "C12",
        rewrite(
            Flow.speaker,
            "if actor.spoken_for is not None and not self.speaks_for_others(by):",
            "if False:",
        ),
        (FLOWS + "test_faces_say_who_it_is_and_a_name_that_is_only_given_counts_for_some",),
    ),
    Mutant(
        "anybody-writes-the-request",
        "C12",
        rewrite(FlowDesk.submitted, 'if actor != state["user"] and', "if False and"),
        (FLOWS + "test_a_prompt_offers_what_was_prefetched_and_refuses_the_rest",),
    ),
    Mutant(
        "a-posted-event-decides",
        "S6",
        replace(flowruns, "_SENT", compile_where(None)),
        (FLOWS + "test_an_event_that_was_posted_to_all_decides_nothing",),
    ),
    Mutant(
        "an-ignored-question-is-gone",
        "3.3.3",
        rewrite(
            Runner._redirect,
            '({"message": message} if message else {}))\n        self._ask_again()',
            '({"message": message} if message else {}))',
        ),
        (FLOWS + "test_an_ignored_click_leaves_the_question_open_for_the_next",),
    ),
    Mutant(
        "an-expiring-question-is-open",
        "3.3.8",
        rewrite(Runner._is_due, "if row.to == ENDED:", "if False:"),
        (FLOWS + "test_while_a_request_expires_nobody_is_told_they_decided_it",),
    ),
    Mutant(
        "after-hooks-fail-the-request",
        "S4",
        rewrite(Runner._after, "except StepFailed as error:", "except ZeroDivisionError as error:"),
        (FLOWS + "test_S4_an_after_hook_that_raises_or_returns_changes_nothing",),
    ),
    Mutant(
        "hooks-lead-round",
        "3.3.4",
        rewrite(
            flowruns.check_chain,
            "if (wanted == event and event in causes) or",
            "if False or",
        ),
        (FLOWS + "test_the_same_event_is_fired_again_once",),
    ),
    Mutant(
        "one-vote-is-enough",
        "3.6",
        rewrite(Runner._is_taken, "if row.quorum and not", "if False and not"),
        (FLOWS + "test_as_many_as_needed_must_approve_and_one_may_deny",),
    ),
    Mutant(
        "admins-approve-their-own-under-another-name",
        "C13",
        rewrite(permissions.may_decide, "in (actor, hand)", "in (actor,)"),
        (WHO + "test_an_admin_does_not_decide_their_own_request_in_the_name_of_another",),
    ),
    Mutant(
        "one-hand-votes-for-many",
        "3.6",
        rewrite(deciding.vote_of, "or hand == vote.hand", ""),
        (WHO + "test_whoever_speaks_for_others_has_one_hand",),
    ),
    Mutant(
        "a-vote-is-handed-on-and-kept",
        "3.6",
        rewrite(deciding.vote_of, "if one not in spent", ""),
        (WHO + "test_of_two_stand_ins_for_one_person_one_counts",),
    ),
    Mutant(
        "who-steers-decides",
        "3.3.7",
        rewrite(steering.keep_decided, "and definition.desk.knows_people", "and False"),
        (WHO + "test_who_may_steer_does_not_change_what_was_asked_for_and_decided",),
    ),
    Mutant(
        "who-steers-says-what-a-handler-gave",
        "3.3.7",
        rewrite(FlowDesk.may_skip, 'return not name.startswith("on_") and', "return True or"),
        (WHO + "test_who_may_steer_does_not_say_what_a_handler_that_decides_has_given",),
    ),
    Mutant(
        "anybody-says-it-came-from-slack",
        "3.3.5",
        rewrite(FlowDesk._said, 'by.startswith("slack:")', "True"),
        (WHO + "test_where_an_answer_came_from_is_not_for_whoever_answers_to_say",),
    ),
    Mutant(
        "a-name-in-slack-counts",
        "S7",
        rewrite(FlowDesk.whois, "if sure else None", "or None"),
        (OVER + "test_a_name_that_people_give_themselves_in_slack_is_nobodys",),
    ),
    Mutant(
        "what-outlives-the-end-is-not-recorded",
        "C31",
        rewrite(Kernel._record, "if late or", "if p.ended or late or"),
        (OVER + "test_a_message_in_slack_shows_how_its_request_has_ended",),
    ),
    Mutant(
        "messages-ask-on",
        "S7",
        rewrite(flowruns.FlowContext.settle, "for sent in self.run.sent:", "for sent in []:"),
        (OVER + "test_a_message_in_slack_shows_how_its_request_has_ended",),
    ),
    Mutant(
        "later-handlers-count",
        "1.9",
        rewrite(
            Runner._before,
            "if hook not in self.run.handlers:",
            "if hook not in self.flow.handlers:",
        ),
        (FLOWS + "test_a_request_keeps_the_handlers_it_was_started_with",),
    ),
    Mutant(
        "cancelled-access-stays",
        "S12",
        rewrite(Runner.to_end, "if template.cleanup is not None:", "if False:"),
        (FLOWS + "test_a_cancelled_request_takes_back_what_it_gave",),
    ),
    Mutant(
        "calls-are-made-again",
        "C31",
        rewrite(Recorded.outcome, "if self._n <= len(self._known):", "if False:"),
        (FLOWS + "test_S13_a_message_is_sent_once_though_its_handler_runs_again",),
    ),
    Mutant(
        "calls-are-forgotten-with-the-attempt",
        "C31",
        rewrite(
            progress._call_again,
            "while recorded and recorded[-1].error is not None:",
            "while recorded:",
        ),
        (FLOWS + "test_S13_a_message_is_sent_once_though_its_handler_runs_again",),
    ),
    Mutant(
        "a-test-run-tells-everybody",
        "A13",
        rewrite(services._function, "recorder.is_test and", "False and"),
        (FLOWS + "test_a_test_run_tells_nobody",),
    ),
    Mutant(
        "what-is-given-up-stays-open",
        "K28",
        rewrite(Machine.release, "self._close(key)", "pass"),
        (FLOWS + "test_of_two_events_at_once_the_second_is_late",),
    ),
    Mutant(
        "what-came-meanwhile-is-lost",
        "K30",
        rewrite(Machine._ready, "select.ready.append((key, value))", "pass"),
        (FLOWS + "test_of_two_events_at_once_the_second_is_late",),
    ),
    Mutant(
        "unsigned-clicks-count",
        "H29",
        rewrite(
            SlackButtons.__call__,
            "_RULE.verify(Headers(request.headers), request.body, secrets, now_s)",
            "pass",
        ),
        (OVER + "test_a_button_in_slack_decides_and_says_who_did",),
    ),
)
