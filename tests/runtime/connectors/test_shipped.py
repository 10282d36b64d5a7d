"""The connectors that come with greenroom, against a process that behaves like the real services."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from greenroom import workflow
from greenroom.definitions.actionerrors import (
    ParameterInvalid,
    RequestInvalid,
    ResponseFailed,
    TransportFailed,
)
from greenroom.definitions.connectors import Connector
from greenroom.definitions.networks import AddressRefused
from greenroom.runtime.connectors.okta_connector import okta_connector as make_okta
from greenroom.runtime.connectors.pagerduty_connector import pagerduty_connector as make_pagerduty
from greenroom.runtime.connectors.shipped import SHIPPED
from greenroom.runtime.connectors.slack_connector import slack_connector as make_slack
from greenroom.runtime.connectors.smtp_connector import smtp_connector as make_smtp
from greenroom.runtime.connectors.smtp_connector import usual_tls
from greenroom.runtime.engine import Engine
from tests.runtime.connectors.conftest import Service
from tests.runtime.connectors.test_in_workflows import ended
from tests.runtime.kits import MemoryEngine

SECRETS = {
    "SLACK_TOKEN": "xoxb-0123456789", "SLACK_WEBHOOK": "https://hooks.slack.com/services/T0/B0/XXXX-hook",
    "PAGERDUTY_TOKEN": "pd-token-0123456789", "PAGERDUTY_ROUTING_KEY": "route-0123456789",
    "OKTA_TOKEN": "okta-token-0123456789", "SMTP_PASSWORD": "mail-password-1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"GREENROOM_SECRET_{name}", value)


@pytest.fixture
def slack(service: Service) -> Connector:
    return make_slack(host=service.host, hooks_host=service.host)


@pytest.fixture
def pagerduty(service: Service) -> Connector:
    return make_pagerduty(host=service.host, events_host=service.host)


@pytest.fixture
def okta(service: Service) -> Connector:
    return make_okta(host=service.host)


def test_they_are_found_by_their_ids_and_declare_their_parameters() -> None:
    engine = Engine.open(":memory:")
    assert sorted(SHIPPED) == ["http", "okta", "pagerduty", "slack", "smtp"]
    for id in SHIPPED:
        connector = engine.connectors.get(id)
        assert connector.actions and connector.id == id
        for action in connector.actions.values():
            assert action.description and action.schema is not None


def test_one_given_to_the_engine_takes_the_place_of_the_shipped_one() -> None:
    mine = make_slack(host="slack.example.org")
    assert Engine.open(":memory:", connectors=[mine]).connectors.get("slack") is mine


# -- slack ---------------------------------------------------------------------------------------


async def test_slack_posts_to_a_webhook_as_in_the_seed(service: Service, slack: Connector) -> None:
    body = {"text": "Hello, Bob!"}
    assert await slack.call("PostMessage", {"body": body}) == {"ok": True, "text": "ok"}
    path = "ESKJ2PLV6/TTIP5QFU9YB/6ybc6x14yuq3u9tase2c77ko"
    await slack.call("PostMessage", {"webhook_path": path, "body": body})
    first, second = service.seen()
    assert first["path"] == "/services/T0/B0/XXXX-hook"
    assert second["path"] == f"/services/{path}"
    assert json.loads(second["body"]) == body
    assert "authorization" not in first["headers"]
    assert slack.find("PostMessage").problems({"body": {"text": 5}})[0].path == "$.body.text"


async def test_slack_sends_to_channels_and_to_people(service: Service, slack: Connector) -> None:
    assert await slack.call("SendMessage", text="hi", channel="#ops") == {
        "channel": "C1",
        "ts": "1.2",
    }
    assert await slack.call("PostMessage", body={"text": "x", "channel": "#ops"})
    await slack.call("SendMessage", text="hi", users=["U1"])
    await slack.call("SendMessage", text="hi", users=["U1", "U2"], blocks=[{"type": "divider"}])
    sent = [
        json.loads(one["body"]) for one in service.seen() if one["path"].endswith("postMessage")
    ]
    assert [one["channel"] for one in sent] == ["#ops", "#ops", "DU1", "GU1-U2"]
    assert sent[-1] == {"channel": "GU1-U2", "text": "hi", "blocks": [{"type": "divider"}]}
    with pytest.raises(RequestInvalid):
        await slack.call("SendMessage", text="hi")


async def test_slack_finds_people_and_says_what_it_refuses(slack: Connector) -> None:
    found = await slack.call("FindUser", email="bob@example.org")
    assert found == {"id": "U1", "name": "Bob", "email": "bob@example.org"}
    assert await slack.call("FindUser", email="nobody@example.org") == {}
    with pytest.raises(ResponseFailed, match="channel_not_found") as caught:
        await slack.call("SendMessage", text="hi", channel="#nowhere")
    assert caught.value.retry_names == ("4xx",)


async def test_slack_is_asked_again_when_it_is_busy(service: Service, slack: Connector) -> None:
    @workflow
    async def tell() -> Any:
        return await slack.call("SendMessage", text="hi", channel="#busy")

    async with MemoryEngine(tell, connectors=[slack]) as engine:
        started = await engine.start("tell")
        assert (await ended(engine, started.id)).result == {"channel": "C1", "ts": "1.2"}
    assert len(service.seen()) == 2


# -- pagerduty -----------------------------------------------------------------------------------


async def test_pagerduty_opens_and_closes_incidents(service: Service, pagerduty: Connector) -> None:
    found = await pagerduty.call("Trigger", summary="disk full", severity="critical", key="i-1/2")
    assert found == {"dedup_key": "i-1/2", "status": "success"}
    await pagerduty.call("Acknowledge", dedup_key="i-1/2")
    await pagerduty.call("Resolve", dedup_key="i-1/2")
    bodies = [json.loads(one["body"]) for one in service.seen()]
    assert [one["event_action"] for one in bodies] == ["trigger", "acknowledge", "resolve"]
    assert bodies[0]["payload"]["summary"] == "disk full"
    assert bodies[0]["routing_key"] == "route-0123456789"
    with pytest.raises(ParameterInvalid):
        await pagerduty.call("Trigger", summary="x", severity="bad")


async def test_pagerduty_knows_who_is_on_call(pagerduty: Connector) -> None:
    async def on_call(user: str, schedule: str | None = None) -> Any:
        more = {} if schedule is None else {"schedule_name": schedule}
        return (await pagerduty.call("IsOnCall", {"user": user, **more}))["on_call"]

    assert await on_call("ANN@example.org", "prod_on_call_schedule")
    assert await on_call("bob@example.org", "prod_on_call_schedule")  # on the second page
    assert not await on_call("bob@example.org", "prod_on_call")
    assert not await on_call("eve@example.org")
    assert not await on_call("ann@example.org", "no such schedule")
    users = (await pagerduty.call("OnCall"))["users"]
    assert [user["email"] for user in users] == ["ann@example.org", "bob@example.org"]
    assert (await pagerduty.call("FindUser", email="ann@example.org"))["id"] == "P1"


# -- okta ----------------------------------------------------------------------------------------


async def test_okta_gives_all_pages_of_a_group(service: Service, okta: Connector) -> None:
    users = (await okta.call("UsersInGroup", group_id="00g12345689"))["users"]
    assert [user["id"] for user in users] == ["u0", "u1", "u2", "u3", "u4"]
    assert users[1] == {
        "id": "u1", "login": "p1@example.org", "email": "p1@example.org", "name": "P 1",
        "status": "ACTIVE",
    }  # fmt: skip
    assert len(service.seen()) == 3


async def test_okta_is_not_led_to_another_host_by_a_page(service: Service, okta: Connector) -> None:
    with pytest.raises(RequestInvalid, match="not the host"):
        await okta.call("UsersInGroup", group_id="evil")
    assert {one["listener"] for one in service.seen()} == {"http"}


async def test_okta_finds_and_changes(service: Service, okta: Connector) -> None:
    assert (await okta.call("FindUser", user="p1@example.org"))["id"] == "u1"
    assert await okta.call("FindUser", user="p9@example.org") == {}
    with pytest.raises(RequestInvalid, match="step aside"):
        await okta.call("FindUser", user="../groups")
    assert await okta.call("FindGroup", name="ops") == {"id": "g1", "name": "ops"}
    assert await okta.call("AddToGroup", group_id="g1", user_id="u1") == {}
    assert await okta.call("RemoveFromGroup", group_id="g1", user_id="u1") == {}
    assert [one["method"] for one in service.seen()][-2:] == ["PUT", "DELETE"]


async def test_okta_without_a_host_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENROOM_OKTA_HOST", raising=False)
    with pytest.raises(RequestInvalid) as caught:
        await make_okta().call("FindUser", user="x")
    assert "GREENROOM_OKTA_HOST" in str(caught.value.hint)
    monkeypatch.setenv("GREENROOM_OKTA_HOST", "example.okta.com")
    assert make_okta().config.host == "example.okta.com"


# -- mail ----------------------------------------------------------------------------------------


def smtp(service: Service, **more: Any) -> Connector:
    options: dict[str, Any] = {
        "host": f"127.0.0.1:{service.smtp}", "sender": "Greenroom <noc@example.org>",
        "username": "noc", **more,
    }  # fmt: skip
    return make_smtp(**options)


@pytest.mark.parametrize(
    ("name", "port", "tls"),
    [
        ("localhost", 1025, "none"), ("127.0.0.1", 465, "none"), ("::1", None, "none"),
        ("mail.example.org", 465, "tls"), ("mail.example.org", None, "starttls"),
        ("localhost.example.org", 25, "starttls"),
    ],
)  # fmt: skip
def test_mail_goes_in_the_clear_to_this_machine_alone(
    name: str, port: int | None, tls: str
) -> None:
    assert usual_tls(name, port) == tls


async def test_a_mail_is_sent_with_an_id_of_its_op(service: Service) -> None:
    mail = {
        "to": ["Ann <ann@example.org>", "nobody@example.org"], "bcc": ["eve@example.org"],
        "subject": "Grüße", "text": "Hello\n.\nWorld", "html": "<b>Hello</b>", "reply_to": "r@example.org",
    }  # fmt: skip
    found = await smtp(service).call("SendMail", mail, key="i-1/2")
    again = await smtp(service).call("SendMail", mail, key="i-1/2")
    assert found == again
    assert list(found["refused"]) == ["nobody@example.org"]
    first, _ = service.get("/mails")[-2:]
    assert found["message_id"] in first["text"]
    assert "eve@example.org" not in first["text"] and any("eve@" in one for one in first["to"])
    assert "Gr=C3=BC=C3=9Fe" in first["text"] and "text/html" in first["text"]
    assert base64.b64decode(first["auth"].split()[-1]).endswith(b"mail-password-1")


@pytest.mark.parametrize(
    "mail",
    [
        {"to": [], "subject": "x", "text": "x"},
        {"to": ["ann"], "subject": "x", "text": "x"},
        {"to": ["a@example.org\r\nBcc: b@example.org"], "subject": "x", "text": "x"},
        {"to": ["a@example.org"], "subject": "x\r\nBcc: b@example.org", "text": "x"},
        {"to": ["a@example.org"], "subject": "x", "text": "x", "headers": {"Bcc": "b@example.org"}},
        {"to": ["a@example.org"], "subject": "x", "text": "x", "headers": {"X-A": "b\r\nBcc: c"}},
        {"to": ["a@example.org"], "subject": "x"},
        {"to": [f"a{n}@example.org" for n in range(101)], "subject": "x", "text": "x"},
    ],
)
async def test_a_mail_that_cannot_be_is_refused_and_none_is_sent(
    service: Service, mail: dict[str, Any]
) -> None:
    before = len(service.get("/mails"))
    with pytest.raises(RequestInvalid):
        await smtp(service).call("SendMail", mail)
    assert len(service.get("/mails")) == before


async def test_a_mail_server_that_refuses_is_told_apart_from_none(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail: dict[str, Any] = {"subject": "x", "text": "x"}
    with pytest.raises(ResponseFailed) as caught:
        await smtp(service).call("SendMail", {**mail, "to": ["nobody@example.org"]})
    assert caught.value.retry_names == ("550",)
    with pytest.raises(ResponseFailed) as later:
        await smtp(service).call("SendMail", {**mail, "to": ["later@example.org"]})
    assert "unsent" in later.value.retry_names
    with pytest.raises(TransportFailed) as nobody:
        await smtp(service, host="127.0.0.1:1").call("SendMail", {**mail, "to": ["a@example.org"]})
    assert "unsent" in nobody.value.retry_names
    monkeypatch.setenv("GREENROOM_SECRET_SMTP_PASSWORD", "a-wrong-password-1")
    with pytest.raises(ResponseFailed, match="535"):
        await smtp(service).call("SendMail", {**mail, "to": ["a@example.org"]})
    with pytest.raises(AddressRefused):
        await smtp(service, host="10.0.0.1:25").call("SendMail", {**mail, "to": ["a@example.org"]})
