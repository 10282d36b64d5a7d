"""`simulate`: the order of handlers on paper. Nothing is delivered, called or given."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom import (
    ApprovalTemplate,
    Flow,
    FormInvalid,
    InvalidRequest,
    NotPermitted,
    hook,
    prefetch,
    reducer,
    simulate,
)
from greenroom.integrations import okta, pagerduty, provide, slack


@prefetch("region")
def get_regions(event: Any) -> list[str]:
    return ["north"]


@reducer
def get_approvers(event: Any) -> Any:
    if pagerduty.is_on_call(event.user):
        return slack.user(event.user)
    return slack.fallback(
        slack.group(okta.users_in_group("g"), timeout="5m"), slack.channel("#all", timeout="5m"),
        continue_on_timeout=True,
    )  # fmt: skip


@hook
def on_request(event: Any) -> Any:
    if event.payload.fields["region"] == "nowhere":
        return ApprovalTemplate.deny(reason="no such place")
    return None


@hook
def after_approve(event: Any) -> None:
    slack.send_message(slack.channel("#log"), "approved")


class Strategy:
    def escalate(self, target: Any, event: Any) -> None:
        raise AssertionError("not in a simulation")

    deescalate = escalate


FLOW = Flow(
    "access", template=ApprovalTemplate, targets=["db"], fields=["region"], strategy=Strategy,
    duration="1h", handlers=[get_regions, get_approvers, on_request, after_approve],
)  # fmt: skip
OFF = {"pagerduty.is_on_call": False, "okta.users_in_group": ["bob"]}


@pytest.fixture(autouse=True)
def forbidden() -> Any:
    with provide(slack=None, pagerduty=None, okta=None):
        yield


def test_the_order_of_a_request_that_is_approved_forwarded_and_taken_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = simulate(
        FLOW, ["request_forward", ("approve", "bob"), "deescalate"],
        input={"target": "db", "region": "north"}, by="ann", services=OFF,
    )  # fmt: skip
    expected = """\
on_request
get_approvers
  pagerduty.is_on_call
  okta.users_in_group
ask approval
deliver slack group bob
= requested
> request_forward
deliver slack channel #all
> approve by bob
after_approve
  slack.send_message
strategy.escalate
= escalated
> deescalate
strategy.deescalate
= ended ok"""
    assert lines == expected.split("\n")
    assert capsys.readouterr().out == expected + "\n"


def said(*events: Any, **more: Any) -> list[str]:
    given = {"input": {"target": "db", "region": "north"}, "by": "ann", "services": OFF, **more}
    return simulate(FLOW, events, out=lambda line: None, **given)


def test_hooks_are_followed_where_they_lead() -> None:
    assert said(input={"target": "db", "region": "nowhere"}) == ["on_request", "= ended denied"]


def test_the_prompt_asks_first() -> None:
    lines = said({"event": "submit", "region": "north", "target": "db"}, input={})
    assert lines[:5] == ["get_regions", "ask prompt", "= prompted", "> submit", "on_request"]


def test_what_services_give_is_said_beforehand() -> None:
    lines = said(services={"pagerduty.is_on_call": lambda user, **_: user == "ann"})
    assert "deliver slack user ann" in lines
    lines = said(services={})
    assert "pagerduty.is_on_call, and nobody has said what it gives" in lines[-2]
    assert lines[-1] == "= failed"


def test_a_simulation_refuses_what_an_engine_would() -> None:
    with pytest.raises(FormInvalid):
        said(input={"target": "dbx", "region": "north"})
    with pytest.raises(NotPermitted):
        said(("approve", "eve"))
    with pytest.raises(InvalidRequest, match=r'there is no aprove; did you mean "approve"'):
        said(("aprove", "bob"))
