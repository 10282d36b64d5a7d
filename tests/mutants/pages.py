"""Mutants of the pages: who may what there, links, drafts, and requests that are shown."""

from __future__ import annotations

from typing import Final

from greenroom.runtime import links
from greenroom.runtime.web.pages import deeds, events, inbox, instances, screen
from tests.mutants.registry import Mutant, rewrite

PAGES: Final = "tests/runtime/web/test_pages.py::test_"

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
        rewrite(
            inbox._page_sent,
            "await engine.asks.draft(found.ask.id, [*pages, *rest], by=found.by)\n        if step",
            "if step",
        ),
        (PAGES + "a_form_of_two_pages_is_answered_page_by_page",),
    ),
    Mutant(
        "many-are-done-without-asking", "D",
        rewrite(instances.bulk, 'if not form.get("sure")', "if False"),
        (PAGES + "a_verb_for_many_is_tried_dry_first",),
    ),
    Mutant(
        "failures-are-never-one", "D",
        rewrite(events.fingerprint, '_VARIES.sub("…", message)', "message"),
        (PAGES + "a_fingerprint_leaves_out_what_differs",),
    ),
)  # fmt: skip
