"""Requests over real sockets to a process that misbehaves on purpose (reliability.md 6.5, D rows)."""

from __future__ import annotations

import asyncio
import base64
import json
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom.definitions.actionerrors import (
    ActionFailed,
    ParameterInvalid,
    RequestInvalid,
    ResponseFailed,
    ResponseInvalid,
    SecretMissing,
    TransportFailed,
)
from greenroom.definitions.connectordocs import compile_connector
from greenroom.definitions.connectors import Connector as Declared
from greenroom.definitions.credentials import ApiKey, Basic, BearerToken, OAuth2Client
from greenroom.definitions.errors import InvalidDefinition, NotPermitted, Rejected
from greenroom.definitions.networks import AddressRefused, Network
from greenroom.runtime.clock import VirtualClock
from greenroom.runtime.connectors.connections import Connections
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.connectors.http import Http, retry_after_s
from greenroom.runtime.connectors.http_connector import http_connector as make_http
from tests.runtime.connectors.conftest import Service

ANY: dict[str, Any] = {
    "type": "Request", "method": "::method", "path": "::path", "headers": "::headers",
    "query": "::query", "body": "::body",
    "parameters": {"properties": {
        "method": {"type": "string"}, "path": {"type": "string"}, "headers": {"type": "object"},
        "query": {"type": "object"}, "body": {},
    }, "required": ["path"]},
}  # fmt: skip


def connector(service: Service, **config: Any) -> Declared:
    """Any request to the service."""
    document = {
        "type": "peer", "schema_version": 1, "config": {"host": service.host, **config},
        "actions": [ANY],
    }  # fmt: skip
    return compile_connector(document, cls=Connector)


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    async with Connections(clock=VirtualClock()) as made:
        yield made


async def ask(one: Declared, path: str, **params: Any) -> Any:
    key = params.pop("key", None)
    return await one.call("Request", {"method": "get", "path": path, **params}, key=key)


# -- what is sent --------------------------------------------------------------------------------


async def test_a_request_carries_what_the_connector_and_the_action_say(
    service: Service, connections: Connections
) -> None:
    one = connector(
        service, base_path="/echo/", default_headers={"Accept": "text/x", "X-Team": "a", "x-b": "1"}
    )
    found = await ask(
        one, "a b/ü", method="post", headers={"ACCEPT": "application/json", "X-B": "2"},
        query={"q": "1 & 2", "list": ["a", "b"], "none": None}, body={"n": 1}, key="i-1/2",
    )  # fmt: skip
    assert found["method"] == "POST"
    assert found["target"] == "/echo/a%20b/%C3%BC?q=1%20%26%202&list=a&list=b"
    headers = found["headers"]
    assert headers["accept"] == "application/json"
    assert (headers["x-team"], headers["x-b"]) == ("a", "2")
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == "i-1/2"
    assert headers["host"] == service.host
    assert json.loads(found["body"]) == {"n": 1}


async def test_a_safe_method_has_no_idempotency_key_and_the_header_may_have_another_name(
    service: Service, connections: Connections
) -> None:
    one = connector(service, idempotency_header="X-Request-Id")
    assert "x-request-id" not in (await ask(one, "echo", key="k"))["headers"]
    assert (await ask(one, "echo", method="put", key="k"))["headers"]["x-request-id"] == "k"
    none = connector(service, idempotency_header=None)
    assert "idempotency-key" not in (await ask(none, "echo", method="put", key="k"))["headers"]


async def test_a_form_is_encoded_where_the_type_says_so(
    service: Service, connections: Connections
) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    found = await ask(
        connector(service), "echo", method="post", headers=kind, body={"a": "1 2", "b": 3}
    )
    assert found["body"] == "a=1+2&b=3"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"},
        {"X-A": "a\r\nX-B: b"}, {"X-A\r\nX-B": "b"}, {"": "a"}, {"Proxy-Authorization": "x"},
    ],
)  # fmt: skip
async def test_a_caller_takes_no_request_over_by_headers(
    service: Service, connections: Connections, headers: dict[str, str]
) -> None:
    with pytest.raises(RequestInvalid):
        await ask(connector(service), "echo", headers=headers)
    assert service.seen() == []


async def test_parameters_are_checked_again_when_they_are_values(
    service: Service, connections: Connections
) -> None:
    with pytest.raises(ParameterInvalid) as caught:
        await connector(service).call("Request", {"path": 1, "query": 2})
    assert len(caught.value.details["problems"]) == 2
    assert service.seen() == []


async def test_a_request_to_another_host_than_the_connectors_is_refused(
    service: Service, connections: Connections
) -> None:
    for path in ("https://example.org/x", f"http://127.0.0.1:{service.private}/x"):
        with pytest.raises(RequestInvalid, match="not the host"):
            await ask(connector(service), path)
    with pytest.raises(ResponseFailed, match="404"):
        await ask(connector(service), "//evil.example/x")
    assert [one["path"] for one in service.seen()] == ["/evil.example/x"]


# -- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("text", {"text": "hello ünï"}),
        ("latin", {"text": "café"}),
        ("binary", {"base64": base64.b64encode(b"\xff\xfe\x00\x01").decode()}),
        ("empty", {}),
        ("gzip", {"packed": True}),
    ],
)
async def test_an_answer_becomes_a_json_value(
    service: Service, connections: Connections, path: str, body: Any
) -> None:
    assert await ask(connector(service), path) == body


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("badjson", "says it is JSON and is not"),
        ("deep", "says it is JSON and is not"),
        ("short", "says it is JSON and is not"),
        ("big", "larger than"),
        ("bigchunked", "larger than"),
        ("bomb", "larger than"),
        ("gzipcut", "unpacked|its end is missing"),
        ("brotli", "not asked for"),
        ("headers", "100 are allowed"),
    ],
)
async def test_D30_D31_an_answer_that_cannot_be_used_fails_the_action(
    service: Service, connections: Connections, path: str, words: str
) -> None:
    with pytest.raises(ResponseInvalid, match=words):
        await ask(connector(service), path, query={"n": "150"})


@pytest.mark.parametrize("path", ["cut", "closed", "garbage", "longheader"])
async def test_a_connection_that_breaks_is_told_apart_from_an_answer(
    service: Service, connections: Connections, path: str
) -> None:
    with pytest.raises(TransportFailed) as caught:
        await ask(connector(service), path)
    assert caught.value.details["sent"] is True
    assert caught.value.retry_names == ("transport",)


async def test_the_next_request_after_a_broken_one_works(
    service: Service, connections: Connections
) -> None:
    one = connector(service)
    for path in ("cut", "short", "garbage", "bomb"):
        with pytest.raises(ActionFailed):
            await ask(one, path)
    assert (await ask(one, "echo"))["method"] == "GET"


@pytest.mark.parametrize("path", ["slow", "drip"])
async def test_a_slow_answer_is_a_time_out_of_the_whole(
    service: Service, connections: Connections, path: str
) -> None:
    with pytest.raises(TransportFailed, match=r"longer than|did not answer") as caught:
        await ask(connector(service, timeout="200ms"), path)
    assert "timeout" in caught.value.retry_names


async def test_nobody_listening_is_unsent(service: Service, connections: Connections) -> None:
    dead = compile_connector(
        {"type": "x", "schema_version": 1, "config": {"host": "127.0.0.1:1"}, "actions": [ANY]}
    )
    with pytest.raises(TransportFailed) as caught:
        await ask(dead, "x")
    assert caught.value.details["sent"] is False
    assert "unsent" in caught.value.retry_names


async def test_what_is_no_2xx_fails_with_status_and_the_begin_of_the_body(
    service: Service, connections: Connections
) -> None:
    with pytest.raises(ResponseFailed) as caught:
        await ask(connector(service), "status/503", query={"retry_after": "7"})
    error = caught.value
    assert error.details["status"] == 503 and "so it is" in error.details["body"]
    assert error.retry_names == ("503", "5xx")
    assert error.retry_after_s == 7


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s("120", 0) == 120
    assert retry_after_s("Thu, 01 Jan 1970 00:02:00 GMT", 60) == 60
    assert retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT", 60) == 0
    assert retry_after_s("99999999999999999999", 0) == 86_400
    for text in ("", "soon", "-5", "1.5", None, "²"):
        assert retry_after_s(text, 0) is None


# -- redirects -----------------------------------------------------------------------------------


async def test_redirects_are_off_unless_the_connector_follows_them(
    service: Service, connections: Connections
) -> None:
    with pytest.raises(ResponseFailed, match="redirects are off"):
        await ask(connector(service), "redirect", query={"to": "/echo?secret=1"})
    found = await ask(connector(service, redirects=1), "redirect", query={"to": "/echo"})
    assert found["path"] == "/echo"


async def test_redirects_end_at_their_limit(service: Service, connections: Connections) -> None:
    twice = {"to": "/redirect?to=/echo"}
    assert (await ask(connector(service, redirects=2), "redirect", query=twice))["path"] == "/echo"
    with pytest.raises(ResponseFailed):
        await ask(connector(service, redirects=1), "redirect", query=twice)
    with pytest.raises(ResponseFailed):
        await ask(connector(service, redirects=3), "loop")
    assert len(service.seen()) == 3 + 2 + 4


@pytest.mark.parametrize(
    ("code", "method", "body"), [(303, "GET", ""), (302, "GET", ""), (307, "POST", '{"n":1}')]
)
async def test_a_redirect_keeps_the_method_only_where_it_should(
    service: Service, connections: Connections, code: int, method: str, body: str
) -> None:
    found = await ask(
        connector(service, redirects=1), "redirect", method="post", body={"n": 1},
        query={"to": "/echo", "code": str(code)},
    )  # fmt: skip
    assert (found["method"], found["body"]) == (method, body)


async def test_D27_a_redirect_to_an_inside_address_is_refused_and_nothing_gets_there(
    service: Service, connections: Connections
) -> None:
    one = connector(service, redirects=3)
    for target in (
        f"http://127.0.0.1:{service.private}/echo",
        f"http://localhost:{service.private}/echo",
        f"http://2130706433:{service.private}/echo",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/x",
    ):
        with pytest.raises(AddressRefused):
            await ask(one, "redirect", query={"to": target})
    assert {request["listener"] for request in service.seen()} == {"http"}


async def test_credentials_and_headers_stay_with_the_host_they_are_for(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_PEER", "peer-secret-0123456789")
    one = connector(
        service, redirects=1, allow=[f"127.0.0.1:{service.private}"],
        credentials={"type": "BearerToken", "bearer_token": "secret://peer"},
        default_headers={"X-Own": "1"},
    )  # fmt: skip
    away = f"http://127.0.0.1:{service.private}/echo"
    found = await ask(one, "redirect", query={"to": away}, headers={"Cookie": "a=b"})
    assert not {"authorization", "x-own", "cookie"} & set(found["headers"])
    home = await ask(one, "redirect", query={"to": "/echo"})
    assert home["headers"]["x-own"] == "1"
    assert [one["headers"].get("authorization") for one in service.seen()] == [
        "Bearer peer-secret-0123456789", None, "Bearer peer-secret-0123456789",
        "Bearer peer-secret-0123456789",
    ]  # fmt: skip


# -- addresses -----------------------------------------------------------------------------------

SPELLINGS = [
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "0177.0.0.1",
    "①②⑦.⓪.⓪.①", "localhost", "[::1]", "[::]", "0.0.0.0", "0", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1", "172.16.5.4",
    "192.168.1.1", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "100.64.0.1", "192.0.0.192",
    "224.0.0.1", "198.18.0.1", "[2001::1]", "255.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
async def test_D25_no_spelling_of_an_inside_address_is_reached(
    service: Service, connections: Connections, host: str
) -> None:
    with pytest.raises((AddressRefused, RequestInvalid, TransportFailed)) as caught:
        await make_http().call("Get", url=f"http://{host}:{service.port}/echo")
    if isinstance(caught.value, TransportFailed):
        assert "cannot be found" in caught.value.message
    elif isinstance(caught.value, AddressRefused):
        assert caught.value.details["reason"] != "port"
    assert service.seen() == []


async def test_an_inside_address_is_reached_where_it_is_allowed(
    service: Service, connections: Connections
) -> None:
    one = make_http(allow=[service.host])
    found = await one.call("Get", url=f"{service.url}/echo", query={"a": "b"})
    assert found["status"] == 200 and found["body"]["query"] == {"a": "b"}
    with pytest.raises(AddressRefused):
        await one.call("Get", url=f"http://127.0.0.1:{service.private}/echo")


async def test_all_addresses_of_a_name_must_be_outside() -> None:
    async def two(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.5"]

    async with Connections(resolver=two) as _:
        with pytest.raises(AddressRefused, match=r"10\.0\.0\.5"):
            await make_http().call("Get", url="http://two.example/")


async def test_D28_a_name_is_resolved_once_and_connected_to_as_judged(service: Service) -> None:
    """A name that is public when it is judged and inside when it is used: there is no second time."""
    asked: list[str] = []

    async def turning(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    network = Network.of(allow=[f"127.0.0.1:{service.port}"])
    async with Connections(resolver=turning, network=network):
        one = make_http()
        for _ in range(2):
            found = await one.call("Get", url=f"http://turning.example:{service.port}/echo")
            assert found["body"]["headers"]["host"] == f"turning.example:{service.port}"
        with pytest.raises(AddressRefused):  # a new connection is judged anew
            await make_http().call("Get", url=f"http://turning.example:{service.port}/echo")
    assert asked == ["turning.example"] * 2


async def test_ports_need_permission_and_a_deployment_may_name_all_hosts(service: Service) -> None:
    async def public(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    async with Connections(resolver=public):
        with pytest.raises(AddressRefused, match="port that needs permission"):
            await make_http().call("Get", url="http://db.example:5432/")
    only = Network.of(only=["api.example"])
    async with Connections(resolver=public, network=only):
        with pytest.raises(AddressRefused, match="not among the hosts"):
            await make_http().call("Get", url="http://db.example/")


async def test_settings_of_the_environment_lead_no_request_elsewhere(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{service.private}")
    assert (await ask(connector(service), "echo"))["path"] == "/echo"
    assert {one["listener"] for one in service.seen()} == {"http"}


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://x/", "ftp://x/", "http://", "http://user:pw@example.org/",
        "//example.org", "example.org", "http://exa mple/", "unix:///tmp/x",
    ],
)  # fmt: skip
async def test_only_http_urls_are_asked(connections: Connections, url: str) -> None:
    with pytest.raises(RequestInvalid):
        await make_http().call("Get", url=url)


# -- credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credentials", "header", "value"),
    [
        (BearerToken("secret://a"), "authorization", "Bearer value-of-a-1"),
        (ApiKey("secret://a", "X-Key"), "x-key", "value-of-a-1"),
        (ApiKey("secret://a", "Authorization", "SSWS "), "authorization", "SSWS value-of-a-1"),
        (Basic("bob", "secret://a"), "authorization",
         "Basic " + base64.b64encode(b"bob:value-of-a-1").decode()),
    ],
)  # fmt: skip
async def test_credentials_are_sent_and_hidden_in_what_comes_back(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch,
    credentials: Any, header: str, value: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("GREENROOM_SECRET_A", "value-of-a-1")
    one = Connector("peer", host=service.host, credentials=credentials)

    @one.action("Echo")
    async def echo(params: Any, http: Http) -> Any:
        return (await http.get("echo", headers={header: "mine"})).json()

    found = await echo()
    assert "value-of-a-1" not in json.dumps(found)
    (seen,) = service.seen()
    assert seen["headers"][header] == value


async def test_a_missing_secret_sends_nothing_and_says_where_it_belongs(
    service: Service, connections: Connections
) -> None:
    one = connector(service, credentials={"type": "BearerToken", "bearer_token": "secret://nope"})
    with pytest.raises(SecretMissing) as caught:
        await ask(one, "echo")
    assert "GREENROOM_SECRET_NOPE" in str(caught.value.hint)
    assert service.seen() == []


async def test_E1_a_hint_shows_no_secret_in_a_traceback_either(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_A", "value-of-a-1")
    one = Connector("peer", host=service.host, credentials=BearerToken("secret://a"))

    @one.action("Fail")
    async def fail(params: Any, ctx: Any) -> Any:
        value = await ctx.secret("a")
        raise Rejected(f"refused with {value}", hint=f"not {value}")

    with pytest.raises(Rejected) as caught:
        await fail()
    shown = "".join(traceback.format_exception_only(caught.value))
    assert "hint: not ***" in shown and "value-of-a-1" not in shown


def oauth(service: Service, basic: bool = True, wait: float = 0) -> Declared:
    one = Connector(
        "peer", host=service.host,
        credentials=OAuth2Client(
            "me", "secret://client", f"{service.url}/token?secret=client%2Fsecret%201&s={wait}",
            basic_auth=basic, scope="read",
        ),
    )  # fmt: skip

    @one.action("Guarded")
    async def guarded(params: Any, http: Http) -> Any:
        return (await http.get("guarded")).json()

    return one


def tokens(service: Service) -> int:
    return len([one for one in service.seen() if one["path"] == "/token"])


@pytest.mark.parametrize("basic", [False, True])
async def test_a_token_is_fetched_once_kept_and_renewed(
    service: Service, monkeypatch: pytest.MonkeyPatch, basic: bool
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_CLIENT", "client/secret 1")
    clock = VirtualClock()
    one = oauth(service, basic)
    async with Connections(clock=clock):
        assert await one.call("Guarded") == {"let": "in"}
        assert await one.call("Guarded") == {"let": "in"}
        assert tokens(service) == 1
        clock.move_to(clock.now() + 91_000)  # 120 s of life, renewed 30 s early
        assert await one.call("Guarded") == {"let": "in"}
        assert tokens(service) == 1
        service.get("/revoke")
        assert await one.call("Guarded") == {"let": "in"}  # refused with 401, fetched anew
        assert tokens(service) == 1


async def test_many_callers_wait_for_one_token_and_a_cancelled_one_spoils_it_for_nobody(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_CLIENT", "client/secret 1")
    one = oauth(service, False, wait=0.2)
    first = asyncio.ensure_future(one.call("Guarded"))
    others = [asyncio.ensure_future(one.call("Guarded")) for _ in range(9)]
    await asyncio.sleep(0.05)
    first.cancel()
    assert await asyncio.gather(*others) == [{"let": "in"}] * 9
    assert tokens(service) == 1


async def test_a_token_that_is_refused_names_no_secret(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_CLIENT", "a-wrong-secret-9")
    with pytest.raises(ActionFailed, match="answered 401") as caught:
        await oauth(service, False).call("Guarded")
    assert "a-wrong-secret-9" not in str(caught.value.as_data())


# -- secrets in parameters -----------------------------------------------------------------------


async def test_a_parameter_may_name_a_secret_that_is_granted_and_no_other(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_HOOK", "hook-path-0123456789")
    monkeypatch.setenv("GREENROOM_SECRET_DB", "db-password-0123456789")
    one = connector(service, grants=["hook"])
    found = await ask(one, "echo", query={"token": "secret://hook", "b": "not secret://hook"})
    assert found["query"] == {"token": "***", "b": "not secret://hook"}
    assert service.seen()[0]["query"]["token"] == "hook-path-0123456789"
    for value in ("secret://db", "secret://", "secret://../x"):
        with pytest.raises(ParameterInvalid, match="grants no secret"):
            await ask(one, "echo", body={"a": [value]})
    assert service.seen() == []


async def test_an_action_in_python_reads_the_secrets_its_connector_lists(
    service: Service, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_LISTED", "listed-secret-1")
    one = Connector("own", grants=["listed"])

    @one.action("Use")
    async def use(params: Any, ctx: Any) -> Any:
        return {"length": len(await ctx.secret(params["name"])), "said": await ctx.secret("listed")}

    assert await use(name="listed") == {"length": 15, "said": "***"}
    with pytest.raises(NotPermitted):
        await use(name="other")


async def test_an_error_of_an_authors_function_hides_secrets(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_LISTED", "listed-secret-1")
    one = Connector("own", grants=["listed"])

    @one.action("Fail")
    async def fail(params: Any, ctx: Any) -> Any:
        raise ValueError(f"cannot log in with {await ctx.secret('listed')}")

    with pytest.raises(ActionFailed, match=r"own\.Fail: ValueError: cannot log in with \*\*\*"):
        await fail()


# -- rates, answers, places ----------------------------------------------------------------------


async def test_a_rate_lets_a_burst_through_and_then_one_after_the_other(service: Service) -> None:
    clock = VirtualClock()
    async with Connections(clock=clock):
        one = connector(service, rate_limit={"rate": 1, "per": "10s", "burst": 2})
        calls = [asyncio.ensure_future(ask(one, "echo")) for _ in range(4)]
        for expected in (2, 3, 4):
            while sum(call.done() for call in calls) < expected:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.02)
            assert sum(call.done() for call in calls) == expected
            clock.move_to(clock.now() + 10_001)
        assert len(service.seen()) == 4


async def test_a_caller_that_gives_up_takes_nobodys_turn(service: Service) -> None:
    clock = VirtualClock()
    async with Connections(clock=clock):
        one = connector(service, rate_limit="1/10 s")
        await ask(one, "echo")
        given_up = asyncio.ensure_future(ask(one, "echo"))
        waiting = asyncio.ensure_future(ask(one, "echo"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        clock.move_to(clock.now() + 10_001)
        assert (await waiting)["path"] == "/echo"


async def test_an_answer_that_is_not_what_was_declared_fails(
    service: Service, connections: Connections
) -> None:
    document = {
        "type": "x", "schema_version": 1, "config": {"host": service.host},
        "actions": [{"type": "A", "path": "echo", "response": {"required": ["nope"]}}],
    }  # fmt: skip
    with pytest.raises(ResponseInvalid, match="nope"):
        await compile_connector(document, cls=Connector).call("A")


async def test_without_an_engine_a_call_opens_and_closes_connections_for_itself(
    service: Service,
) -> None:
    one = connector(service)
    assert (await ask(one, "echo"))["path"] == "/echo"
    found = await asyncio.to_thread(one.call_sync, "Request", {"path": "echo"})
    assert found["path"] == "/echo"
    assert one.call_sync("Request", path="echo")["path"] == "/echo"  # a loop runs in this thread


async def test_a_blocking_call_on_the_loop_that_carries_it_out_is_refused(
    service: Service, connections: Connections
) -> None:
    with pytest.raises(Rejected, match="would block"):
        connector(service).call_sync("Request", path="echo")
    found = await asyncio.to_thread(connector(service).call_sync, "Request", {"path": "echo"})
    assert found["path"] == "/echo"


async def test_the_http_connector_gives_the_whole_answer_and_accepts_what_it_is_told(
    service: Service, connections: Connections
) -> None:
    one = make_http(allow=[service.host])
    with pytest.raises(ResponseFailed):
        await one.call("Get", url=f"{service.url}/status/404")
    found = await one.call("Get", url=f"{service.url}/status/404", accept=[404])
    assert found["status"] == 404 and found["body"]["error"] == "so it is"
    made = await one.call(
        "Request", url=f"{service.url}/echo", method="PATCH", body=[1, {"a": None}]
    )
    assert (made["body"]["method"], made["body"]["body"]) == ("PATCH", '[1,{"a":null}]')
    with pytest.raises(ParameterInvalid):
        await one.call("Request", url=f"{service.url}/echo", method="TRACE")


def test_a_connector_without_a_host_takes_no_credentials() -> None:
    with pytest.raises(InvalidDefinition, match="need a host"):
        Connector("x", credentials=BearerToken("secret://a"))
