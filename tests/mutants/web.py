"""Mutants of the HTTP face: who is let in, what is refused before a route, and who may read answers."""

from __future__ import annotations

from typing import Final

from greenroom.runtime import tracing
from greenroom.runtime.web import bulk, guard, oidc
from greenroom.runtime.web.access import Caller
from greenroom.runtime.web.api import Api
from greenroom.runtime.web.forwarded import Proxies
from greenroom.runtime.web.guard import Guard
from greenroom.runtime.web.limits import Rate
from greenroom.runtime.web.origins import Origins
from greenroom.runtime.web.sessions import Sessions
from tests.mutants.registry import Mutant, rewrite

FRONT: Final = "tests/runtime/web/test_web_front.py::"
WEB: Final = "tests/runtime/web/test_web_security.py::"
LISTEN: Final = "tests/runtime/web/test_web_listen.py::"
TRACES: Final = "tests/runtime/test_tracing.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "a-route-asks-for-no-scope",
        "H1",
        rewrite(Api.answer, "if route.scope != PUBLIC:", "if False:"),
        (WEB + "test_H1_without_a_key_no_route_is_open",),
    ),
    Mutant(
        "any-scope-will-do",
        "H3",
        rewrite(Caller.must, "if self.may(scope, subject):", "if self.scopes:"),
        (WEB + "test_H3_a_key_of_every_other_scope_opens_no_route",),
    ),
    Mutant(
        "a-publish-key-posts-everything",
        "H6",
        rewrite(bulk._post_one, 'kind if isinstance(kind, str) else ""', "None"),
        (FRONT + "test_a_key_for_some_types_posts_no_other_in_binary_mode",),
    ),
    Mutant(
        "wrong-keys-are-free",
        "H7",
        rewrite(Guard.shown, "self._failed.take(address)", "pass"),
        (WEB + "test_H7_wrong_keys_cost_time_and_only_some_are_tried",),
    ),
    Mutant(
        "a-bucket-never-empties",
        "H7",
        rewrite(Rate.take, "if left < count:", "if False:"),
        (WEB + "test_H7_a_caller_that_asks_too_often_is_told_when_to_come_back",),
    ),
    Mutant(
        "tokens-for-others-are-taken",
        "H9",
        rewrite(
            oidc.Provider._read, '"value": oidc.audience', '"values": ["somebody", "greenroom"]'
        ),
        (WEB + "test_H9_a_forged_or_foreign_token_is_refused",),
    ),
    Mutant(
        "an-issuer-that-is-down-is-asked-each-time",
        "H11",
        rewrite(oidc.Provider._current, "if self._now() - self._asked_at >= wait_s:", "if True:"),
        (WEB + "test_H11_an_issuer_that_does_not_answer_is_no_open_door",),
    ),
    Mutant(
        "a-session-needs-no-token",
        "H13",
        rewrite(Sessions.check_csrf, "if not hmac.compare_digest(", "if False and ("),
        (WEB + "test_H13_a_session_changes_nothing_without_its_token",),
    ),
    Mutant(
        "another-site-may-ask",
        "H15",
        rewrite(Guard._check_origin, "if foreign:", "if False:"),
        (WEB + "test_H15_a_page_of_another_site_changes_nothing",),
    ),
    Mutant(
        "of-two-headers-one-is-chosen",
        "H20",
        rewrite(Guard._check_sizes, "if len(once) > len(set(once)):", "if False:"),
        (WEB + "test_H20_a_header_that_is_there_twice_is_not_chosen_from",),
    ),
    Mutant(
        "any-host-will-do",
        "H21",
        rewrite(Guard._check_host, "if host not in hosts:", "if False:"),
        (WEB + "test_H21_a_name_that_is_not_ours_is_refused",),
    ),
    Mutant(
        "open-to-all",
        "H21",
        rewrite(Guard._caller, "and (rules.hosts is None or _is_loopback(scope))", ""),
        (WEB + "test_H21_an_open_daemon_is_open_to_this_machine_alone",),
    ),
    Mutant(
        "a-body-has-all-the-time",
        "H23",
        rewrite(Guard._limited, "within(receive(), until)", "receive()"),
        (WEB + "test_H27_a_body_that_does_not_come_is_not_waited_for",),
    ),
    Mutant(
        "a-body-has-no-end",
        "H27",
        rewrite(Guard._limited, "if taken > body.bytes_max:", "if False:"),
        (WEB + "test_H27_a_body_over_its_limit_is_refused_declared_or_not",),
    ),
    Mutant(
        "names-of-an-application-are-ours",
        "H21",
        rewrite(guard._of_host, "or actor_of(name).username != name", ""),
        (FRONT + "test_a_name_of_the_applications_users_is_never_read_as_another",),
    ),
    Mutant(
        "anybody-says-who-asks",
        "H21",
        rewrite(Proxies.read, "or not self._trusts(_address(client[0]))", ""),
        (FRONT + "test_nobody_else_is_believed",),
    ),
    Mutant(
        "the-asker-says-who-asks",
        "H21",
        rewrite(Proxies._asker, "in reversed(hops):", "in hops:"),
        (FRONT + "test_a_proxy_that_is_known_says_who_asks",),
    ),
    Mutant(
        "a-site-reads-what-its-visitor-may",
        "H15",
        rewrite(Origins.headers, "if caller.way in OWN and", "if"),
        (FRONT + "test_what_a_browser_takes_along_by_itself_is_read_by_no_other_site",),
    ),
    Mutant(
        "every-site-is-named",
        "H15",
        rewrite(Origins._lets, "return ANY in self._known or", "return True or"),
        (FRONT + "test_no_script_of_another_site_reads_anything_unless_its_site_is_named",),
    ),
    Mutant(
        "an-instance-is-a-trace-of-its-own",
        "3.3",
        rewrite(tracing._parent, "if isinstance(event, dict) and", "if False and"),
        (TRACES + "test_an_instance_is_part_of_the_trace_of_the_event_that_started_it",),
    ),
)
