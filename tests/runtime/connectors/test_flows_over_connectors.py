"""Flows reach people and services over connectors, against a process that behaves like them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from email import message_from_string
from email.policy import default
from typing import Any
from urllib.parse import urlencode

import pytest

from greenroom import ApprovalTemplate, Flow, hook, reducer
from greenroom.definitions.signatures import SignatureInvalid
from greenroom.integrations import email, okta, pagerduty, slack
from greenroom.runtime.buttons import PATH
from greenroom.runtime.connectors.okta_connector import okta_connector as make_okta
from greenroom.runtime.connectors.pagerduty_connector import pagerduty_connector as make_pagerduty
from greenroom.runtime.connectors.slack_connector import slack_connector as make_slack
from greenroom.runtime.connectors.smtp_connector import smtp_connector as make_smtp
from greenroom.runtime.web.hooks import HookRequest
from greenroom.testing import TestEngine
from tests.runtime.connectors.conftest import Service

SECRETS = {
    "SLACK_TOKEN": "xoxb-0123456789", "SLACK_SIGNING_SECRET": "signing-0123456789",
    "PAGERDUTY_TOKEN": "pd-token-0123456789", "OKTA_TOKEN": "okta-token-0123456789",
    "SMTP_PASSWORD": "mail-password-1",
}  # fmt: skip


@reducer
def get_approvers(event: Any) -> Any:
    """The seed's first example, with the people the services know."""
    if pagerduty.is_on_call(event.user, schedule_name="prod_on_call_schedule"):
        return slack.user(event.user)
    if event.user.username == "eve":
        return email.user("boss@example.org")
    members = okta.users_in_group(group_id="00g12345689")
    return [slack.channel("#ops"), email.group(members)]


@hook
def after_approve(event: Any) -> None:
    slack.send_message(slack.channel("#private-audit-log"), f"{event.user} by {event.actor}")


FLOW = Flow(
    "prod access", template=ApprovalTemplate, targets=["prod-db"], fields=["why"],
    handlers=[get_approvers, after_approve],
    users={"cat@example.org": {"slack": "U9"}},
)  # fmt: skip


def to(channel: str) -> Any:
    @reducer
    def get_approvers(event: Any) -> Any:
        return slack.channel(channel)

    return get_approvers


Connected = Callable[..., TestEngine]


@pytest.fixture
def connected(service: Service, monkeypatch: pytest.MonkeyPatch) -> Connected:
    """Makes an engine whose connectors reach the process that behaves like the services."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"GREENROOM_SECRET_{name}", value)
    mail = make_smtp(
        host=f"127.0.0.1:{service.smtp}", sender="noc@example.org", tls="none", username="noc"
    )
    connectors = [
        make_slack(host=service.host, hooks_host=service.host), mail,
        make_pagerduty(host=service.host, events_host=service.host), make_okta(host=service.host),
    ]  # fmt: skip
    return lambda flow: TestEngine(flow, connectors=connectors)


@pytest.fixture
async def engine(connected: Connected) -> AsyncIterator[TestEngine]:
    async with connected(FLOW) as made:
        yield made


async def begun(engine: TestEngine, by: str) -> str:
    handle = await engine.start("prod access", {"target": "prod-db", "why": "*x*"}, by=by)
    await engine.until_idle()
    return str(handle.id)


def posted(service: Service) -> list[dict[str, Any]]:
    return [
        json.loads(one["body"]) for one in service.seen() if one["path"].endswith("postMessage")
    ]


async def clicked(
    engine: TestEngine, ask: str, action: str, user: dict[str, str], secret: str | None = None
) -> str:
    payload = {
        "type": "block_actions", "user": user, "channel": {"id": "C1", "name": "ops"},
        "actions": [{"action_id": action, "value": ask}],
    }  # fmt: skip
    body = urlencode({"payload": json.dumps(payload)}).encode()
    stamp = str(round(engine.clock.now() / 1000))
    key = (secret or SECRETS["SLACK_SIGNING_SECRET"]).encode()
    digest = hmac.new(key, f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}
    _, handler, _ = engine.hooks.find(PATH)
    request = HookRequest("POST", f"/hooks/{PATH}", "", headers, {}, body)
    answer = await engine.hooks.answer(handler, request)
    await engine.until_idle()
    return str(answer.body["text"])


async def test_whoever_is_on_call_is_asked_in_slack_and_the_audit_goes_there_too(
    engine: TestEngine, service: Service
) -> None:
    """`bob@example.org` is found by address; the message to them has a button for each decision."""
    id = await begun(engine, "bob@example.org")
    (sent,) = posted(service)
    assert sent["channel"] == "DU1"
    section, fields, actions = sent["blocks"]
    assert section["text"]["text"] == "bob@example.org asks for prod-db"
    assert {"type": "plain_text", "text": "why: *x*", "emoji": False} in fields["fields"]
    assert {one["value"] for one in actions["elements"]} == {f"{id}.approval"}
    await engine.answer(f"{id}.approval", {"approved": True}, by="bob@example.org")
    await engine.until_idle()
    assert posted(service)[0]["channel"] == "#private-audit-log"
    assert (await engine.get(id)).outcome == "ok"


async def test_a_group_of_okta_is_told_by_mail_and_a_channel_in_slack(
    engine: TestEngine, service: Service
) -> None:
    id = await begun(engine, "max")
    assert posted(service)[0]["channel"] == "#ops"
    mail = service.get("/mails")[-1]
    assert mail["to"] == [f"RCPT TO:<p{n}@example.org>" for n in range(5)]
    message = message_from_string(mail["text"], policy=default)
    assert message["Subject"] == "max asks for prod-db"
    assert f"greenroom ask answer {id}.approval approved:=true" in message.get_content()


async def test_a_button_in_slack_decides_and_says_who_did(
    engine: TestEngine, service: Service
) -> None:
    """Who clicked is whom the flow knows by that id, or by the address Slack has of them."""
    id = await begun(engine, "u5@example.org")
    ask = f"{id}.approval"
    with pytest.raises(SignatureInvalid):
        await clicked(engine, ask, "approve", {"id": "U9"}, secret="another")
    text = await clicked(engine, ask, "approve", {"id": "U5", "username": "cat"})
    assert "u5@example.org asked for this and may not decide it" in text
    assert await clicked(engine, ask, "approve", {"id": "U9", "username": "eve"}) == (
        "approve by cat@example.org"
    )
    found = await engine.get(id)
    assert found.outcome == "ok"
    assert found.result["actors"]["approve"] == "cat@example.org"
    assert "was answered" in await clicked(engine, ask, "deny", {"id": "U7"})
    opened = next(one for one in (await engine.history(id)).items if one.kind == "AskAnswered")
    assert opened.by == "slack:U9/cat@example.org"


@pytest.mark.parametrize("name", ["bob", "uid:0/root", "bob via uid:0/root"])
async def test_a_name_that_people_give_themselves_in_slack_is_nobodys(
    engine: TestEngine, service: Service, name: str
) -> None:
    """`max` is no address: nobody can tell whether it is not max who clicks."""
    id = await begun(engine, "max")
    text = await clicked(engine, f"{id}.approval", "approve", {"id": "U5", "username": name})
    assert "nobody here knows who U5 is in slack" in text
    assert "Flow(users=" in text
    assert (await engine.get(id)).state["state"] == "requested"
    assert await clicked(engine, f"{id}.approval", "approve", {"id": "U9"}) == (
        "approve by cat@example.org"
    )


async def test_get_identity_tells_who_clicked(service: Service, connected: Connected) -> None:
    @reducer
    def get_identity(user: Any, service: str) -> str | None:
        return {"max": "U5", "bob": "U6"}.get(user.username)

    @reducer
    def get_approvers(event: Any) -> Any:
        return [slack.user("bob"), slack.channel("#ops")]

    flow = Flow(
        "mapped", template=ApprovalTemplate, targets=["db"], handlers=[get_approvers, get_identity]
    )
    async with connected(flow) as engine:
        for id, said in (("U5", "max asked for this"), ("U404", "approve by slack:U404"),
                         ("U6", "approve by bob")):  # fmt: skip
            handle = await engine.start("mapped", {"target": "db"}, by="max")
            await engine.until_idle()
            assert said in await clicked(engine, f"{handle.id}.approval", "approve", {"id": id})


# -- messages that ask no more --------------------------------------------------------------------


def updated(service: Service) -> list[dict[str, Any]]:
    return [json.loads(o["body"]) for o in service.seen() if o["path"].endswith("chat.update")]


def said(change: dict[str, Any]) -> str:
    """The last line of a message; no buttons are left in it."""
    assert [block["type"] for block in change["blocks"]] == ["section", "section", "context"]
    return str(change["blocks"][-1]["elements"][0]["text"])


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("here", "approved by cat@example.org"),
        ("elsewhere", "denied by dan: not today"),
        ("in time", "expired"),
        ("cancel", "cancelled"),
    ],
)
async def test_a_message_in_slack_shows_how_its_request_has_ended(
    service: Service, connected: Connected, how: str, line: str
) -> None:
    flow = Flow(
        "quick", template=ApprovalTemplate, targets=["db"], users=FLOW.users,
        handlers=[to("#ops")], timeout="1h", reminders=["10m"], roles={"admin": ["dan"]},
    )  # fmt: skip
    async with connected(flow) as engine:
        handle = await engine.start("quick", {"target": "db"}, by="ann@example.org")
        await engine.until_idle()
        await engine.advance("10m")  # the reminder is a message of its own
        ask = f"{handle.id}.approval"
        assert updated(service) == []
        if how == "here":
            await clicked(engine, ask, "approve", {"id": "U9"})
        elif how == "elsewhere":
            await engine.answer(ask, {"approved": False, "reason": "not today"}, by="key:k/dan")
        elif how == "in time":
            await engine.advance("1h")
        else:
            await engine.cancel(handle.id)
        await engine.until_idle()
        changes = updated(service)
        assert [(one["channel"], one["ts"], said(one)) for one in changes] == [
            ("C1", "1.2", line)
        ] * 2
        await engine.crash()
        await engine.until_idle()
        assert updated(service) == []


async def test_a_message_that_cannot_be_changed_is_tried_again_and_holds_nobody_up(
    service: Service, connected: Connected
) -> None:
    flow = Flow(
        "held", template=ApprovalTemplate, targets=["db"], users=FLOW.users,
        handlers=[to("#flaky")],
    )  # fmt: skip
    async with connected(flow) as engine:
        handle = await engine.start("held", {"target": "db"}, by="ann@example.org")
        await engine.until_idle()
        await clicked(engine, f"{handle.id}.approval", "approve", {"id": "U9"})
        assert (await engine.get(handle.id)).outcome == "ok"
        await engine.advance("1m")
        tries = updated(service)
        assert len(tries) == 3
        assert len({json.dumps(one) for one in tries}) == 1
        await engine.advance("1h")
        assert updated(service) == []


async def test_what_cannot_be_reached_fails_as_a_delivery_and_is_tried_again_by_hand(
    engine: TestEngine, service: Service
) -> None:
    """Slack knows nobody with this address."""
    id = await begun(engine, "ann@example.org")
    found = await engine.get(id)
    assert found.status == "failed"
    assert found.error.details["type"] == "DeliveryFailed"
    assert "Slack knows nobody" in found.error.message
