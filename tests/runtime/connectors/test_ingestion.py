"""Events of services: signatures, age, repetition, schema, and what a workflow sees of them (F8)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from greenroom import workflow
from greenroom.definitions.connectordocs import compile_connector
from greenroom.definitions.connectors import Connector
from greenroom.definitions.errors import InvalidEvent, InvalidRequest, NotFound, TooLarge
from greenroom.definitions.signatures import SignatureInvalid, sign_standard
from greenroom.runtime import calls
from greenroom.runtime.clock import VirtualClock
from tests.runtime.kits import MemoryEngine

NOW = 1_767_225_600  # where the virtual clock begins
SECRET = "signing-secret-0123456789"
BODY = json.dumps({"type": "opened", "id": "e-77", "n": 1, "text": "ü"}).encode()

Sign = Callable[[bytes, int, str], dict[str, str]]


def mac(secret: str, signed: bytes) -> bytes:
    return hmac.new(secret.encode(), signed, hashlib.sha256).digest()


def flexli(body: bytes, at: int, secret: str) -> dict[str, str]:
    digest = mac(secret, f"{at}:".encode() + body).hex()
    return {"Flexli-Timestamp": str(at), "Flexli-Signature": f"sha256v1:{digest}"}


def standard(body: bytes, at: int, secret: str) -> dict[str, str]:
    digest = base64.b64encode(mac(secret, f"msg-1.{at}.".encode() + body)).decode()
    return {
        "webhook-id": "msg-1",
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{digest}",
    }


def github(body: bytes, at: int, secret: str) -> dict[str, str]:
    return {
        "X-Hub-Signature-256": "sha256=" + mac(secret, body).hex(),
        "X-GitHub-Event": "opened",
        "X-GitHub-Delivery": "d-1",
    }


def stripe(body: bytes, at: int, secret: str) -> dict[str, str]:
    return {"Stripe-Signature": f"t={at},v1={mac(secret, f'{at}.'.encode() + body).hex()},v0=x"}


def slack(body: bytes, at: int, secret: str) -> dict[str, str]:
    digest = mac(secret, f"v0:{at}:".encode() + body).hex()
    return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": f"v0={digest}"}


def pagerduty(body: bytes, at: int, secret: str) -> dict[str, str]:
    return {"X-PagerDuty-Signature": f"v1=00,v1={mac(secret, body).hex()}"}


def basic(body: bytes, at: int, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"peer:{secret}".encode()).decode()}


SCHEMES: dict[str, Sign] = {
    "flexli": flexli, "standard": standard, "github": github, "stripe": stripe, "slack": slack,
    "pagerduty": pagerduty, "basic": basic,
}  # fmt: skip
TIMED = ("flexli", "standard", "stripe", "slack")


def peer(scheme: str, **more: Any) -> Connector:
    signature: dict[str, Any] = {"scheme": scheme, **more}
    if scheme == "basic":
        signature["username"] = "peer"
    document = {
        "type": "peer", "schema_version": 1, "config": {"events": {"signature": signature}},
        "events": [
            {"type": "opened", "schema": {"type": "object", "required": ["n"],
                                          "properties": {"n": {"type": "integer"}}}},
            {"type": "closed"},
        ],
    }  # fmt: skip
    return compile_connector(document)


@workflow(on="peer.opened", where="data.n > `0`", key="::data.id")
async def seen(n: int, id: str = "", type: str = "", text: str = "") -> Any:
    return {"n": n, "text": text}


def engine(scheme: str, **more: Any) -> MemoryEngine:
    return MemoryEngine(seen, connectors=[peer(scheme, **more)])


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_PEER_SIGNING_KEY", SECRET)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_F8_a_signed_event_starts_what_listens_to_it_once(scheme: str) -> None:
    sign = SCHEMES[scheme]
    async with engine(scheme) as made:
        first = await made.ingest("peer", sign(BODY, NOW, SECRET), BODY)
        assert (first.connector, first.type) == ("peer", "opened")
        assert [m.action for m in first.accepted.matched] == ["started"]
        again = await made.ingest("peer", sign(BODY, NOW, SECRET), BODY)
        assert again.accepted.duplicate and again.accepted.id == first.accepted.id
        await made.until_idle()
        (one,) = (await made.list("workflow:seen")).items
        assert (await made.get(one.id)).result == {"n": 1, "text": "ü"}
        (event,) = (await made.events.list("peer.opened")).items
        assert (event.source, event.by) == ("/connectors/peer", "connector:peer")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("fault", ["body", "secret", "missing", "twice", "empty", "garbage"])
async def test_F8_what_is_not_signed_as_it_should_be_triggers_nothing(
    scheme: str, fault: str
) -> None:
    sign = SCHEMES[scheme]
    headers: Any = sign(BODY, NOW, SECRET)
    body = BODY
    match fault:
        case "body":
            body = BODY.replace(b"1", b"2")
        case "secret":
            headers = sign(BODY, NOW, "another-secret-0123456789")
        case "missing":
            headers = {"Content-Type": "application/json"}
        case "twice":
            headers = [
                *headers.items(),
                *((name.upper(), value) for name, value in headers.items()),
            ]
        case "empty":
            headers = dict.fromkeys(headers, "")
        case "garbage":
            headers = dict.fromkeys(headers, "sha256=é;v1,,=t=�")
    if scheme == "basic" and fault == "body":
        return  # says who sends, not what
    async with engine(scheme) as made:
        with pytest.raises(SignatureInvalid) as caught:
            await made.ingest("peer", headers, body)
        assert caught.value.http_status == 401
        assert SECRET not in str(caught.value.as_data())
        assert mac(SECRET, body).hex() not in str(caught.value.as_data())
        assert (await made.events.list()).items == []


@pytest.mark.parametrize("scheme", TIMED)
async def test_F8_an_event_signed_long_ago_or_in_the_future_is_refused(scheme: str) -> None:
    sign = SCHEMES[scheme]
    async with engine(scheme) as made:
        for at in (NOW - 301, NOW + 301):
            with pytest.raises(SignatureInvalid, match="300 s are allowed"):
                await made.ingest("peer", sign(BODY, at, SECRET), BODY)
        accepted = await made.ingest("peer", sign(BODY, NOW - 299, SECRET), BODY)
        assert accepted.accepted.matched_total == 1
    async with engine(scheme, tolerance="1h") as made:
        assert (await made.ingest("peer", sign(BODY, NOW - 3_000, SECRET), BODY)).accepted


@pytest.mark.parametrize("stamp", ["", "-5", "1e9", " 5", "٣", "9" * 40, "NaN"])
async def test_a_moment_that_is_none_is_refused(stamp: str) -> None:
    headers = {**flexli(BODY, NOW, SECRET), "Flexli-Timestamp": stamp}
    async with engine("flexli") as made:
        with pytest.raises(SignatureInvalid):
            await made.ingest("peer", headers, BODY)


async def test_the_example_of_the_original_is_verified() -> None:
    """The key, moment, body and signature of its documentation."""
    body = b'{"type": "MyCustomEvent", "foo": "bar", "baz": true}'
    rule = compile_connector(
        {"type": "x", "schema_version": 1, "config": {}, "events": [{"type": "MyCustomEvent"}]}
    ).signature
    from greenroom.definitions.signatures import Headers  # noqa: PLC0415  for this one

    digest = hmac.new(
        b"7930efb37ac4846f3df4c1a3522e8e27", b"1688782099:" + body, hashlib.sha256
    ).hexdigest()
    headers = Headers({"flexli-timestamp": "1688782099", "FLEXLI-SIGNATURE": f"sha256v1:{digest}"})
    assert rule.scheme == "flexli" and rule.secrets() == ("x_signing_key",)
    assert rule.verify(headers, body, ["7930efb37ac4846f3df4c1a3522e8e27"], 1688782100).digest


async def test_one_of_several_signatures_and_one_of_several_secrets_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_OLD", "old-secret-0123456789")
    whsec = "whsec_" + base64.b64encode(b"raw bytes of a key, 24..").decode()
    monkeypatch.setenv("GREENROOM_SECRET_NEW", whsec)
    secrets = ["secret://new", "secret://old"]
    async with engine("standard", secret=secrets) as made:
        old = standard(BODY, NOW, "old-secret-0123456789")
        assert (await made.ingest("peer", old, BODY)).accepted
        both = {
            "webhook-id": "msg-2", "webhook-timestamp": str(NOW),
            "webhook-signature": "v1,AAAA v2,x " + sign_standard(whsec, "msg-2", NOW, BODY),
        }  # fmt: skip
        assert (await made.ingest("peer", both, BODY)).accepted


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"type": "opened"}, '"n" is a required property'),
        ({"type": "opened", "n": "1"}, r"\$\.n "),
        ({"type": "open"}, 'did you mean "opened"'),
        ({"n": 1}, "names no type"),
        ([1], "names no type"),
        ({"type": 5}, "names no type"),
    ],
)
async def test_F8_what_does_not_fit_the_schema_triggers_nothing(body: Any, words: str) -> None:
    raw = json.dumps(body).encode()
    async with engine("flexli") as made:
        with pytest.raises(InvalidEvent, match=words):
            await made.ingest("peer", flexli(raw, NOW, SECRET), raw)
        assert (await made.events.list()).items == []


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000, b'{"type": NaN}'])
async def test_a_body_that_is_no_json_is_refused(raw: bytes) -> None:
    async with engine("flexli") as made:
        with pytest.raises(InvalidEvent):
            await made.ingest("peer", flexli(raw, NOW, SECRET), raw)


async def test_other_ways_in_are_refused() -> None:
    async with engine("flexli") as made:
        with pytest.raises(TooLarge):
            await made.ingest("peer", {}, b"x" * (2 << 20))
        with pytest.raises(NotFound):
            await made.ingest("peeer", {}, b"{}")
        with pytest.raises(InvalidRequest, match="declares no events"):
            await made.ingest("http", {}, b"{}")
        kind = {**flexli(BODY, NOW, SECRET), "Content-Type": "text/xml"}
        with pytest.raises(InvalidEvent, match="JSON"):
            await made.ingest("peer", kind, BODY)


async def test_a_secret_in_an_event_is_hidden() -> None:
    raw = json.dumps({"type": "closed", "config": {"secret": SECRET}}).encode()
    async with engine("flexli") as made:
        await made.ingest("peer", flexli(raw, NOW, SECRET), raw)
        (event,) = (await made.events.list()).items
        assert event.data == {"type": "closed", "config": {"secret": "***"}}


async def test_unsigned_events_are_taken_only_where_that_was_said() -> None:
    async with engine("none") as made:
        assert (await made.ingest("peer", {}, BODY)).accepted.matched_total == 1
        assert (await made.ingest("peer", {}, BODY)).accepted.duplicate


async def test_github_deliveries_are_told_by_their_id_or_by_their_bytes() -> None:
    async with engine("github", dedupe="body") as made:
        headers = github(BODY, NOW, SECRET)
        await made.ingest("peer", headers, BODY)
        replayed = {**headers, "X-GitHub-Delivery": "d-2"}
        assert (await made.ingest("peer", replayed, BODY)).accepted.duplicate


async def test_slack_is_answered_its_challenge() -> None:
    raw = json.dumps({"type": "url_verification", "challenge": "abc"}).encode()
    async with engine("slack") as made:
        found = await made.ingest("peer", slack(raw, NOW, SECRET), raw)
        assert (found.accepted, found.reply) == (None, {"challenge": "abc"})
        with pytest.raises(SignatureInvalid):
            await made.ingest("peer", {}, raw)


async def test_an_event_callback_of_slack_is_the_event_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_SLACK_SIGNING_SECRET", SECRET)
    raw = json.dumps(
        {"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention"}}
    ).encode()
    async with MemoryEngine() as made:
        found = await made.ingest("slack", slack(raw, NOW, SECRET), raw)
        assert (found.type, found.accepted.id) == ("app_mention", "Ev1")


async def test_the_socket_takes_events_too() -> None:
    async with engine("flexli") as made:
        headers = flexli(BODY, NOW, SECRET)
        params = {"connector": "peer", "headers": headers, "body": BODY.decode()}
        reply = await calls.run(made, "ingest", params, "uid:1")
        assert reply.accepted.matched_total == 1
        params |= {"body": base64.b64encode(BODY).decode(), "encoding": "base64"}
        assert (await calls.run(made, "ingest", params, "uid:1")).accepted.duplicate
        with pytest.raises(InvalidRequest):
            await calls.run(made, "ingest", {**params, "body": "é"}, None)
    assert VirtualClock().now() == NOW * 1000
