"""Handlers of the shape that the examples of Sym's SDK have, with its names: only the imports are
others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from greenroom import ApprovalTemplate, Flow, FlowField, InvalidInput
from greenroom.integrations import provide
from greenroom.sym import (
    FieldOption,
    Notification,
    PermissionLevel,
    RequestPermission,
    SymException,
    get_step_output,
    hook,
    pagerduty,
    prefetch,
    reducer,
    slack,
)
from greenroom.testing import TestEngine

PEOPLE = {"admin": ["mia"], "member": ["bob", "ann"]}


class Outside:
    """Slack and PagerDuty, as far as these handlers go."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.delivered: list[str] = []

    def deliver(self, to: Any, notice: dict[str, Any]) -> None:
        self.delivered.append(str(to))

    def send_message(self, to: Any, message: str) -> None:
        self.said.append((str(to), message))

    def is_on_call(self, **of: Any) -> bool:
        raise ConnectionError("the token has expired")


@pytest.fixture
def outside() -> Iterator[Outside]:
    made = Outside()
    with provide(slack=made, pagerduty=made):
        yield made


@reducer
def get_permissions(event: Any) -> Any:
    return RequestPermission(
        webapp_view=PermissionLevel.ADMIN,
        approve_deny=PermissionLevel.MEMBER,
        allow_self_approval=False,
    )


@reducer
def get_request_notifications(event: Any) -> Any:
    return [
        Notification(destinations=[slack.channel(event.flow.vars["channel"])], timeout=300),
        Notification(destinations=[slack.channel("#all"), slack.user("mia")]),
    ]


@hook
def on_request(event: Any) -> Any:
    try:
        if pagerduty.is_on_call(event.user):
            return ApprovalTemplate.approve(reason="on call")
    except SymException as error:
        slack.send_message(slack.channel("#errors"), f"off call then: {error}")
    return None


@prefetch(field_name="repo")
def get_repos(event: Any) -> Any:
    return [FieldOption(value="core", label="The core"), FieldOption("docs", "The docs")]


@hook
def after_escalate(event: Any) -> None:
    slack.send_message(event.get_actor("request"), get_step_output()["message"])


@hook
def after_deescalate(event: Any) -> None:
    slack.send_message(event.user, f"{get_step_output()} after {get_step_output('escalate')}")


class Strategy:
    def escalate(self, target: Any, event: Any) -> dict[str, str]:
        return {"message": f"welcome to {target}"}

    def deescalate(self, target: Any, event: Any) -> str:
        return "goodbye"


def flow() -> Flow:
    return Flow(
        "access", template=ApprovalTemplate, targets=["db"], fields=[FlowField("repo")],
        vars={"channel": "#sym-requests"}, roles=PEOPLE, strategy=Strategy, handlers=__name__,
        duration="1h",
    )  # fmt: skip


async def test_handlers_of_the_sdk_run_with_nothing_changed_but_their_imports(
    outside: Outside,
) -> None:
    async with TestEngine(flow()) as engine:
        asked = await engine.start("access", {"target": "db", "repo": "core"}, by="ann")
        await engine.until_idle()
        assert outside.delivered == ["slack channel #sym-requests"]
        (error,) = outside.said
        assert error[0] == "slack channel #errors" and "the token has expired" in error[1]

        await engine.advance("5m")
        assert outside.delivered[1:] == ["slack channel #all", "slack user mia"]
        with pytest.raises(Exception, match="ann asked for this"):
            await engine.answer(f"{asked.id}.approval", {"approved": True}, by="ann")
        with pytest.raises(Exception, match="member may"):
            await engine.answer(f"{asked.id}.approval", {"approved": True}, by="eve")
        await engine.answer(f"{asked.id}.approval", {"approved": True}, by="bob")
        await engine.advance("1h")
        assert outside.said[1:] == [
            ("slack user ann", "welcome to db"),
            ("slack user ann", "goodbye after {'message': 'welcome to db'}"),
        ]
        assert (await engine.get(asked.id)).outcome == "ok"


async def test_prefetched_options_of_the_sdk_are_shown(outside: Outside) -> None:
    async with TestEngine(flow()) as engine:
        await engine.start("access", by="ann")
        await engine.until_idle()
        (form,) = (await engine.asks.list()).items
        assert "The docs" in str(form.schema)


def test_what_the_sdk_would_not_take_is_refused() -> None:
    for wrong in ("owner", 5, [3]):
        with pytest.raises(InvalidInput):
            RequestPermission(webapp_view=wrong, approve_deny="member")
        with pytest.raises(InvalidInput):
            RequestPermission(webapp_view="admin", approve_deny=wrong)
    for destinations in ([], ["#ops"], None):
        with pytest.raises(InvalidInput, match="a destination is needed"):
            Notification(destinations=destinations)
    with pytest.raises(InvalidInput, match="longer than 0"):
        Notification([slack.channel("#a")], timeout=0)
    with pytest.raises(InvalidInput, match="only in a handler"):
        get_step_output()
    assert repr(Notification([slack.channel("#a")])) == "Notification([slack channel #a])"
