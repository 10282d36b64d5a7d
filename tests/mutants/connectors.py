"""Mutants of connectors: where requests may go, what shows secrets, who may send events."""

from __future__ import annotations

from typing import Final

from greenroom.definitions import requests, signatures
from greenroom.definitions.networks import Network
from greenroom.definitions.signatures import Headers, Signature
from greenroom.runtime import secrets
from greenroom.runtime.connectors import connections, ingestion, wire
from greenroom.runtime.connectors.authority import Authority
from greenroom.runtime.connectors.connections import Connections
from greenroom.runtime.connectors.http import Http
from greenroom.runtime.connectors.limiter import Limiter
from greenroom.runtime.connectors.wire import Wire
from greenroom.runtime.executor import Executor
from tests.mutants.registry import Mutant, rewrite

HERE: Final = "tests/runtime/connectors/"
REQUESTS: Final = HERE + "test_requests.py::"
FLOWS: Final = HERE + "test_in_workflows.py::"
EVENTS: Final = HERE + "test_ingestion.py::"
SECRETS: Final = HERE + "test_secrets.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "inside-addresses-are-reached", "D",
        rewrite(Network._check_one, "if why is not None:", "if False:"),
        (REQUESTS + "test_D25_no_spelling_of_an_inside_address_is_reached",),
    ),
    Mutant(
        "one-good-address-is-enough", "D",
        rewrite(Network.check, "self._check_one(host, address, port)", "found or self._check_one(host, address, port)"),
        (REQUESTS + "test_all_addresses_of_a_name_must_be_outside",),
    ),
    Mutant(
        "any-port-is-reached", "D",
        rewrite(Network._check_one, "if port not in PORTS and not meant:", "if False:"),
        (REQUESTS + "test_ports_need_permission_and_a_deployment_may_name_all_hosts",),
    ),
    Mutant(
        "paths-step-aside", "D",
        rewrite(requests.clean_path, 'part in (".", "..")', "part in ()"),
        (REQUESTS.replace("runtime/connectors/test_requests", "definitions/test_connectors")
         + "test_a_path_that_is_an_expression_cannot_step_aside",),
    ),
    Mutant(
        "credentials-follow-redirects", "D",
        rewrite(Http._with_redirects, "_origin(url) == home)", "True)"),
        (REQUESTS + "test_credentials_and_headers_stay_with_the_host_they_are_for",),
    ),
    Mutant(
        "headers-follow-redirects", "D",
        rewrite(Http._with_redirects, "headers = self._bare(headers)", "pass"),
        (REQUESTS + "test_credentials_and_headers_stay_with_the_host_they_are_for",),
    ),
    Mutant(
        "another-host-is-asked", "D",
        rewrite(Http._url, "_origin(url) != _origin(self._base())", "False"),
        (REQUESTS + "test_a_request_to_another_host_than_the_connectors_is_refused",),
    ),
    Mutant(
        "callers-set-any-header", "D",
        rewrite(Http._parts, "check_header(name, value)", "pass"),
        (REQUESTS + "test_a_caller_takes_no_request_over_by_headers",),
    ),
    Mutant(
        "answers-have-no-limit", "D",
        rewrite(Wire._read, "if len(content) > limit:", "if False:"),
        (REQUESTS + "test_D30_D31_an_answer_that_cannot_be_used_fails_the_action",),
    ),
    Mutant(
        "packed-answers-may-be-cut", "D",
        rewrite(wire._unpacked, "if not inflate.eof:", "if False:"),
        (REQUESTS + "test_D30_D31_an_answer_that_cannot_be_used_fails_the_action",),
    ),
    Mutant(
        "calls-take-for-ever", "D",
        rewrite(Connections._perform, "asyncio.timeout(timeout_s)", "asyncio.timeout(600)"),
        (REQUESTS + "test_a_slow_answer_is_a_time_out_of_the_whole",),
    ),
    Mutant(
        "values-are-not-checked-again", "F15",
        rewrite(Connections._perform, "action.check(given)", "pass"),
        (REQUESTS + "test_parameters_are_checked_again_when_they_are_values",),
    ),
    # -- secrets
    Mutant(
        "answers-show-secrets", "E1",
        rewrite(Connections._perform, "masking.secrets.hidden(", "("),
        (FLOWS + "test_E1_no_secret_is_in_store_logs_errors_or_answers",),
    ),
    Mutant(
        "failures-show-secrets", "E1",
        rewrite(connections._masked, "error.details = hide(error.details)", "pass"),
        (FLOWS + "test_E1_no_secret_is_in_store_logs_errors_or_answers",),
    ),
    Mutant(
        "errors-of-functions-show-secrets", "E1",
        rewrite(Connections._perform, "        raise _masked(error, action) from None\n    back", "        raise\n    back"),
        (REQUESTS + "test_an_error_of_an_authors_function_hides_secrets",),
    ),
    Mutant(
        "any-secret-is-granted", "D",
        rewrite(Connections._with_secrets, "or name not in connector.config.grants", ""),
        (REQUESTS + "test_a_parameter_may_name_a_secret_that_is_granted_and_no_other",),
    ),
    Mutant(
        "secrets-others-may-read", "E1",
        rewrite(secrets.read_private, "about.st_mode & 0o077", "False"),
        (SECRETS + "test_a_file_that_others_may_read_is_refused",),
    ),
    Mutant(
        "links-to-secrets-are-followed", "E1",
        rewrite(secrets.read_private, "os.O_NOFOLLOW | ", ""),
        (SECRETS + "test_a_link_a_folder_and_bytes_are_no_secrets",),
    ),
    Mutant(
        "every-caller-fetches-a-token", "connectors",
        rewrite(Authority._fresh, "if self._fetching is None:", "if True:"),
        (REQUESTS + "test_many_callers_wait_for_one_token_and_a_cancelled_one_spoils_it_for_nobody",),
    ),
    Mutant(
        "a-refused-token-is-kept", "connectors",
        rewrite(Authority.refused, "self._token = None", "pass"),
        (REQUESTS + "test_a_token_is_fetched_once_kept_and_renewed",),
    ),
    # -- events
    Mutant(
        "signatures-are-not-compared", "F8",
        rewrite(signatures._one_of, "if not matches:", "if False:"),
        (EVENTS + "test_F8_what_is_not_signed_as_it_should_be_triggers_nothing",),
    ),
    Mutant(
        "old-events-are-taken", "F8",
        rewrite(Signature.verify, "> self.tolerance_s", "> 1e12"),
        (EVENTS + "test_F8_an_event_signed_long_ago_or_in_the_future_is_refused",),
    ),
    Mutant(
        "headers-may-be-there-twice", "F8",
        rewrite(Headers.get, "if len(found) > 1:", "if False:"),
        (EVENTS + "test_F8_what_is_not_signed_as_it_should_be_triggers_nothing",),
    ),
    Mutant(
        "schemas-of-events-are-not-asked", "F8",
        rewrite(ingestion._check, "if problems:", "if False:"),
        (EVENTS + "test_F8_what_does_not_fit_the_schema_triggers_nothing",),
    ),
    # -- retries and rates
    Mutant(
        "retry-after-is-not-heard", "connectors",
        rewrite(Executor._failed, "_asked_for(error, call.target.retry, kinds)", "None"),
        (FLOWS + "test_retry_after_is_when_the_next_attempt_comes_if_the_policy_agrees",),
    ),
    Mutant(
        "rates-are-not-kept", "connectors",
        rewrite(Limiter.turn, "self._free >= 1:", "True:"),
        (REQUESTS + "test_a_rate_lets_a_burst_through_and_then_one_after_the_other",),
    ),
)  # fmt: skip
