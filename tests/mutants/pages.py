"""Mutants of the pages: who may what there, links, drafts, and requests that are shown."""

from __future__ import annotations

from typing import Final

from greenroom.runtime import failures, links, many
from greenroom.runtime.web.pages import deeds, inbox, instances, screen
from tests.mutants.registry import Mutant, rewrite

PAGES: Final = "tests/runtime/web/test_pages.py::test_"
ACTIONS: Final = "tests/runtime/web/test_actions.py::test_E_"
MANY: Final = "tests/runtime/test_many.py::test_"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "a-page-lets-anybody-act", "H3",
        rewrite(deeds.run, "caller.must(route.scope, subject)", "pass"),
        (PAGES + "who_may_only_look_sees_no_buttons_and_is_refused",),
    ),
    Mutant(
        "an-action-leads-anywhere", "H13",
        rewrite(screen.back, "if inside and text.isprintable() else", "if text else"),
        (PAGES + "an_action_leads_nowhere_else",),
    ),
    Mutant(
        "a-link-never-ends", "D",
        rewrite(links.Links.read, "if link.until <= self._engine.clock.now()", "if False"),
        (PAGES + "a_link_that_was_changed_or_is_old_is_refused",),
    ),
    Mutant(
        "a-link-needs-no-signature", "D",
        rewrite(
            links.Links.read,
            "if not hmac.compare_digest(self._mac(body).encode(), mac.encode())", "if not mac",
        ),
        (PAGES + "a_link_that_was_changed_or_is_old_is_refused",),
    ),
    Mutant(
        "questions-of-others-are-shown", "H3",
        rewrite(inbox.question, 'if caller.is_limited("answer") and', "if False and"),
        (PAGES + "questions_of_others_are_not_there_for_whom_may_answer_only_some",),
    ),
    Mutant(
        "a-key-may-take-any-name", "H3",
        rewrite(inbox.go_by, 'if caller_of(request).way not in ("open", "peer")', "if False"),
        (PAGES + "a_name_of_ones_own_is_for_people_of_this_machine",),
    ),
    Mutant(
        "going-back-forgets-the-page", "D",
        rewrite(inbox._deed, "[*pages, *found.kept[number:]]", "found.kept"),
        (PAGES + "a_form_of_two_pages_is_answered_page_by_page",),
    ),
    Mutant(
        "a-request-that-is-shown-is-not-what-is-done", "E",
        rewrite(deeds.sent, "[*fields, (name, value)] if sign else fields", "fields"),
        (ACTIONS + "every_button_of_every_page_has_its_request_beside_it",),
    ),
    Mutant(
        "asking-for-a-request-does-it", "E",
        rewrite(deeds.do, "if shown:\n            return await show(request, deed)", "pass"),
        (ACTIONS + "the_request_that_is_shown_comes_to_the_same_end_as_the_button",),
    ),
    Mutant(
        "a-group-is-its-workflow", "D",
        rewrite(many._found, "if like is None or is_like(one, like)", ""),
        (ACTIONS + "the_request_that_is_shown_comes_to_the_same_end_as_the_button",
         MANY + "failures_that_are_one_are_taken_by_their_message",),
    ),
    Mutant(
        "many-are-done-without-asking", "D",
        rewrite(instances._dry, '"dry_run": True', '"dry_run": False'),
        (PAGES + "a_verb_for_many_is_tried_dry_first",),
    ),
    Mutant(
        "failures-are-never-one", "D",
        rewrite(failures.fingerprint, '_VARIES.sub("…", message)', "message"),
        (PAGES + "a_fingerprint_leaves_out_what_differs",),
    ),
)  # fmt: skip
