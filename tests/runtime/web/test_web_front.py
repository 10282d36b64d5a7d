"""What stands in front: proxies and what they say, TLS, scripts of other sites; and CloudEvents."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from greenroom import InvalidRequest
from greenroom.runtime.web.limits import HttpLimits
from tests.runtime.web.conftest import HOST, Face, MakeFace

APP = "https://app.example.com"


# -- proxies ---------------------------------------------------------------------------------------


def asked_by(face: Face) -> list[str]:
    """The addresses that requests without a key were counted for."""
    return list(face.web._app._nobodies._left)


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),  # the first was written by the asker
        (["127.0.0.1", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),  # through two of ours
        (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        (["203.0.113.9, unknown"], "127.0.0.1"),  # a proxy of ours says it does not know
        (["nonsense"], "127.0.0.1"),
        ([""], "127.0.0.1"),
    ],
)
async def test_a_proxy_that_is_known_says_who_asks(
    make_face: MakeFace, forwarded: list[str], seen: str
) -> None:
    face = make_face(proxies=("127.0.0.1", "10.0.0.0/8"))
    headers = [("X-Forwarded-For", one) for one in forwarded]
    assert (await face.http.get("/healthz", headers=headers)).status_code == 200
    assert asked_by(face) == [seen]


@pytest.mark.parametrize("proxies", [(), ("10.0.0.0/8",)])
async def test_nobody_else_is_believed(make_face: MakeFace, proxies: tuple[str, ...]) -> None:
    hosts = ("127.0.0.1",)
    face = make_face(hosts=hosts, proxies=proxies)
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example",
               "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9"}  # fmt: skip
    assert (await face.get("/healthz", headers=headers)).status_code == 200
    assert asked_by(face) == ["127.0.0.1"]
    face.key = await face.make_key("read")
    cookie = await face.http.post("/session", headers=headers, json={"key": face.key})
    assert "__Host-" not in cookie.headers["set-cookie"]


async def test_each_asker_behind_a_proxy_has_a_rate_of_their_own(make_face: MakeFace) -> None:
    limits = HttpLimits(failed_s=0.0, nobody_rate=0.25)  # one at once
    face = make_face(proxies=("127.0.0.1",), limits=limits)
    said = [
        (await face.get("/healthz", headers={"X-Forwarded-For": f"203.0.113.{n}"})).status_code
        for n in (1, 1, 2, 2)
    ]
    assert said == [200, 429, 200, 429]


async def test_the_name_and_scheme_the_browser_used_are_those_the_proxy_says(
    make_face: MakeFace,
) -> None:
    """Else no form of a page behind it could be sent, and its cookie would go without TLS too."""
    face = make_face(hosts=("green.example.com",), proxies=("127.0.0.1",))
    key = await face.make_key("admin")
    front = {"X-Forwarded-Host": "green.example.com", "X-Forwarded-Proto": "https"}
    login = {**front, "Origin": "https://green.example.com"}
    answer = await face.http.post("/session", headers=login, json={"key": key})
    assert answer.status_code == 204
    assert answer.headers["set-cookie"].startswith("__Host-greenroom=")
    assert (await face.get("/healthz")).status_code == 421
    wrong = {**front, "X-Forwarded-Host": "green.example.com, evil.example"}
    assert (await face.get("/healthz", headers=wrong)).status_code == 421
    for n, scheme in enumerate(("http", "ftp", "")):
        told = {**front, "X-Forwarded-Proto": scheme, "X-Forwarded-For": f"203.0.113.{n}"}
        answer = await face.http.post("/session", headers=told, json={"key": key})
        assert answer.headers["set-cookie"].startswith("greenroom="), scheme


def test_a_proxy_that_is_none_is_told(make_face: MakeFace) -> None:
    with pytest.raises(InvalidRequest, match="named by its address or network"):
        make_face(proxies=("proxy.example.com",))
    with pytest.raises(InvalidRequest, match="several"):
        make_face(proxies="127.0.0.1")
    with pytest.raises(InvalidRequest, match="cannot be open"):
        make_face(proxies=("127.0.0.1",), open=True)


# -- TLS in front ----------------------------------------------------------------------------------


async def test_browsers_are_told_to_come_by_tls_only_where_there_is_tls(
    make_face: MakeFace,
) -> None:
    for tls in (False, True):
        face = make_face(tls=tls)
        key = await face.make_key("read")
        for path in ("/healthz", "/v1/info", "/nothing"):
            answer = await face.get(path)
            told = answer.headers.get("strict-transport-security")
            assert told == ("max-age=31536000" if tls else None), path
        answer = await face.http.post("/session", json={"key": key})
        assert answer.headers["set-cookie"].startswith("__Host-") is tls


# -- scripts of other sites ------------------------------------------------------------------------


async def test_no_script_of_another_site_reads_anything_unless_its_site_is_named(
    make_face: MakeFace,
) -> None:
    for origins, allowed in (((), None), ((APP,), APP), (("*",), APP), (("https://x.y",), None)):
        face = make_face(origins=origins)
        face.key = await face.make_key("read")
        for path in ("/v1/info", "/v1/keys", "/nothing"):  # errors are read too
            answer = await face.get(path, headers={"Origin": APP})
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers.get("vary") == ("Origin" if origins else None)
        face.key = "gr_wrong"
        answer = await face.get("/v1/info", headers={"Origin": APP})
        assert answer.status_code == 401
        assert answer.headers.get("access-control-allow-origin") == allowed


async def test_what_a_browser_takes_along_by_itself_is_read_by_no_other_site(
    make_face: MakeFace,
) -> None:
    face = make_face(origins=(APP,))
    key = await face.make_key("read")
    await face.http.post("/session", json={"key": key})
    answer = await face.get("/v1/info", headers={"Origin": APP})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    face = make_face(origins=("*",), open=True)
    answer = await face.get("/v1/info", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_a_browser_asks_first_and_is_told(make_face: MakeFace) -> None:
    face = make_face(origins=(APP,))
    asks = {"Origin": APP, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type,ce-type,x-secret"}  # fmt: skip
    answer = await face.ask("OPTIONS", "/v1/events", headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE"
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type, ce-type"
    for change in ({"Origin": "https://evil.example"}, {"Access-Control-Request-Method": None}):
        headers = {k: v for k, v in {**asks, **change}.items() if v is not None}
        assert (await face.ask("OPTIONS", "/v1/events", headers=headers)).status_code == 405
    answer = await make_face().ask("OPTIONS", "/v1/events", headers=asks)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://a.b/path", "null", "https://", "*.a.b"]
)
def test_an_origin_that_is_none_is_told(make_face: MakeFace, origin: str) -> None:
    with pytest.raises(InvalidRequest, match="no origin"):
        make_face(origins=(origin,))


async def test_a_name_of_the_applications_users_is_never_read_as_another(
    make_face: MakeFace,
) -> None:
    face = make_face(identify=lambda request: request.headers.get("x-user"))
    for name, status in (("ann", 200), ("uid:0/root", 401), ("ann via uid:0/root", 401),
                         ("slack:U1/bob", 401), ("", 401)):  # fmt: skip
        answer = await face.get("/v1/info", headers={"X-User": name})
        assert answer.status_code == status, name


# -- CloudEvents -----------------------------------------------------------------------------------


@pytest.fixture
async def poster(face: Face) -> Face:
    face.key = await face.make_key("publish", "read")
    return face


async def stored(face: Face, id: str) -> Any:
    return (await face.get(f"/v1/events/{id}")).json()


BINARY = {"ce-specversion": "1.0", "ce-type": "order.created", "ce-source": "/shop",
          "ce-subject": "caf%C3%A9", "ce-time": "2026-11-28T06:00:00Z",
          "ce-traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        ("application/json", b'{"id":"7"}', {"id": "7"}),
        ("application/vnd.shop+json; charset=utf-8", b"[1]", [1]),
        ("text/plain", "grün".encode(), "grün"),
        (None, b'{"id":"7"}', {"id": "7"}),
        ("application/json", b"", None),
    ],
)
async def test_an_event_in_binary_mode_has_its_attributes_in_headers(
    poster: Face, kind: str | None, body: bytes, data: Any
) -> None:
    headers = {**BINARY, "ce-id": "e-1", **({"Content-Type": kind} if kind else {})}
    answer = await poster.post("/v1/events", headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "e-1"
    found = await stored(poster, "e-1")
    assert (found["type"], found["source"], found["subject"]) == ("order.created", "/shop", "café")
    assert found["data"] == data
    assert found["extra"] == {"traceparent": BINARY["ce-traceparent"]}
    again = await poster.post("/v1/events", headers=headers, content=body)
    assert again.json()["duplicate"] is True


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"ce-specversion": "0.3"}, 422, "invalid_event"),
        ({"ce-type": ""}, 422, "invalid_event"),
        ({"ce-time": "yesterday"}, 422, "invalid_event"),
        ({"ce-data": "x"}, 422, "invalid_event"),
        ({"ce-sent_by": "bob"}, 422, "invalid_event"),
        ({"Content-Type": "application/octet-stream"}, 415, "invalid_request"),
        ({"Content-Type": "application/json", "body": "{"}, 400, "invalid_request"),
        ({"Content-Type": "text/plain", "body": b"\xff"}, 422, "invalid_event"),
    ],
)
async def test_an_event_in_binary_mode_that_is_none_is_told(
    poster: Face, change: dict[str, Any], status: int, code: str
) -> None:
    headers = {**BINARY, "Content-Type": "application/json", **change}
    body = headers.pop("body", b"{}")
    answer = await poster.post("/v1/events", headers=headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_key_for_some_types_posts_no_other_in_binary_mode(face: Face) -> None:
    face.key = await face.make_key("publish:ping")
    answer = await face.post("/v1/events", headers=BINARY, content=b"")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")


async def test_events_come_one_by_one_and_in_batches_by_their_types(poster: Face) -> None:
    event = {"specversion": "1.0", "type": "ping", "source": "/s", "id": "a", "data": 1,
             "dataschema": "https://example.com/ping.json"}  # fmt: skip
    one, many = "application/cloudevents+json; charset=utf-8", "application/cloudevents-batch+json"

    async def post(kind: str, body: Any) -> httpx2.Response:
        return await poster.post("/v1/events", body, headers={"Content-Type": kind, **BINARY})

    assert (await post(one, event)).json()["id"] == "a"  # the body says what it is, not the headers
    answers = (
        await post(many, [{**event, "id": "b"}, {**event, "id": "c", "specversion": "2"}])
    ).json()
    assert answers[0]["id"] == "b"
    assert answers[1]["error"]["code"] == "invalid_event"
    for kind, body in ((one, [event]), (many, event)):
        answer = await post(kind, body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await post(one, {**event, "id": "d", "specversion": "0.3"})).status_code == 422
    assert (await stored(poster, "a"))["extra"] == {"dataschema": "https://example.com/ping.json"}


async def test_a_client_that_hangs_up_within_its_body_is_no_fault_of_ours(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b'{"type":', "more_body": True},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/events", "raw_path": b"/v1/events",
        "query_string": b"", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        "headers": [(b"authorization", f"Bearer {face.key}".encode())], "http_version": "1.1",
    }  # fmt: skip
    await face.web(scope, receive, send)
    assert sent == messages == []
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_bodies_that_come_in_pieces_are_read_whole(face: Face) -> None:
    async def pieces() -> Any:
        for piece in (b'{"ty', b'pe":"ping"', b"}"):
            yield piece

    answer = await face.ask("POST", f"{HOST}/v1/events", content=pieces())
    assert answer.json()["accepted"] is True
