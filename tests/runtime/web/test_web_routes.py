"""The table of routes over HTTP: each verb, what it takes and gives, and how errors are told."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import msgspec
import pytest

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime import calls, shapes
from greenroom.runtime.web import table
from tests.runtime.web.conftest import Face, MakeFace


def read(answer: httpx2.Response) -> Any:
    assert answer.status_code < 300, answer.text
    return answer.json()


async def test_an_instance_is_started_looked_at_and_steered(face: Face) -> None:
    answer = await face.post("/v1/workflows/order/instances", {"input": {"id": "7"}, "key": "7"})
    assert answer.status_code == 201
    started = msgspec.json.decode(answer.content, type=shapes.Started)
    await face.engine.until_idle()
    for path in (f"/v1/instances/{started.instance}", "/v1/instances/order/7",
                 "/v1/instances/order%2F7", f"/v1/instances/{started.instance[:13]}"):  # fmt: skip
        found = msgspec.json.decode((await face.get(path)).content, type=shapes.Instance)
        assert (found.id, found.status) == (started.instance, "waiting")
    assert (
        read(await face.post("/v1/instances/order/7/pause", {"reason": "audit"}))["status"]
        == "paused"
    )
    history = read(await face.get("/v1/instances/order/7/history"))["items"]
    assert [e["kind"] for e in history if e["by"] and e["by"].startswith("key:")]
    assert read(await face.post("/v1/instances/order/7/resume"))["status"] == "waiting"
    assert "order.paid" in read(await face.get("/v1/instances/order/7/why"))["text"]
    sent = read(
        await face.post("/v1/instances/order/7/send", {"type": "order.paid", "data": {"id": "7"}})
    )
    assert sent["delivered"] == 1
    outcome = read(await face.get("/v1/instances/order/7/result?timeout=30s"))
    assert (outcome["status"], outcome["result"]) == ("completed", "7")
    assert read(await face.get("/v1/instances/order/7/state?seq=1"))["seq"] == 1
    forked = await face.post(
        f"/v1/instances/{started.instance}/fork", {"key": "8", "input": {"id": "8"}}
    )
    assert read(forked)["forked_from"] == started.instance
    page = read(await face.get("/v1/instances?q=workflow:order&limit=1"))
    assert (len(page["items"]), page["total"]) == (1, 2)
    rest = read(
        await face.get("/v1/instances", params={"q": "workflow:order", "cursor": page["cursor"]})
    )
    assert len(rest["items"]) == 1


async def test_history_is_lines_for_whom_takes_lines(face: Face) -> None:
    await face.post("/v1/workflows/order/instances", {"input": {"id": "7"}})
    answer = await face.get(
        "/v1/instances/order/7/history", headers={"Accept": "application/x-ndjson"}
    )
    assert answer.headers["content-type"] == "application/x-ndjson"
    kinds = [json.loads(line)["kind"] for line in answer.text.splitlines()]
    assert kinds[0] == "InstanceStarted"


async def test_curl_without_a_content_type_of_json_is_understood(face: Face) -> None:
    answer = await face.post(
        "/v1/events",
        content=b'{"type":"order.created","data":{"id":"7"}}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert read(answer)["matched"][0]["action"] == "started"


async def test_an_array_of_events_gives_an_answer_for_each(face: Face) -> None:
    events = [{"type": "order.created", "data": {"id": str(n)}} for n in range(3)]
    answers = read(await face.post("/v1/events", [*events, {"type": ""}, 7]))
    assert [bool(a.get("accepted")) for a in answers] == [True, True, True, False, False]
    assert answers[3]["error"]["code"] == answers[4]["error"]["code"] == "invalid_event"


async def test_lines_of_events_join_commits_and_are_answered_in_order(face: Face) -> None:
    lines = [b'{"type":"t","id":"e-%d"}' % n for n in range(2_000)]
    lines[7] = b"not json"
    lines[9] = b""
    answer = await face.post(
        "/v1/events", content=b"\n".join(lines), headers={"Content-Type": "application/x-ndjson"}
    )
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert len(answers) == 1_999  # an empty line is no event
    assert answers[7]["error"]["code"] == "invalid_event"
    assert [a["id"] for a in answers if "id" in a] == [
        f"e-{n}" for n in range(2_000) if n not in (7, 9)
    ]


async def test_more_events_than_a_request_may_have_are_refused_one_by_one(
    make_face: MakeFace,
) -> None:
    from greenroom.runtime.web.limits import HttpLimits  # noqa: PLC0415

    face = make_face(open=True, limits=HttpLimits(bulk_events=2))
    answers = read(await face.post("/v1/events", [{"type": "t"}] * 3))
    assert [a.get("error", {}).get("code") for a in answers] == [None, None, "too_large"]


async def test_a_question_is_answered_once(face: Face) -> None:
    await face.post("/v1/workflows/leave/instances", {"input": {"id": "a"}})
    await face.engine.until_idle()
    (ask,) = read(await face.get("/v1/asks"))["items"]
    assert read(await face.get(f"/v1/asks/{ask['id']}"))["assignee"] == "boss"
    answered = await face.post(f"/v1/asks/{ask['id']}?by=anna", {"approved": True})
    assert read(answered)["ask"] == ask["id"]
    again = await face.post(f"/v1/asks/{ask['id']}", {"approved": False})
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert "anna via key:" in again.json()["detail"]
    assert read(await face.get("/v1/instances/leave/a/result"))["result"] == "{'approved': True}"


async def test_the_rest_of_the_table_answers(face: Face) -> None:
    await face.post("/v1/events", {"type": "order.created", "id": "e-1", "data": {"id": "7"}})
    assert read(await face.get("/v1/events"))["items"][0]["id"] == "e-1"
    assert read(await face.get("/v1/events/e-1"))["type"] == "order.created"
    assert read(await face.get("/v1/events/e-1/explain"))["text"]
    assert read(await face.post("/v1/events/e-1/resend"))["accepted"]
    assert {d["name"] for d in read(await face.get("/v1/definitions"))} == {
        "order",
        "leave",
        "shipment",
    }
    assert read(await face.get("/v1/definitions/order"))["release"]
    assert read(await face.get("/v1/schedules")) == []
    assert read(await face.get("/v1/ping")) == {"pong": True}
    assert read(await face.get("/v1/info"))["definitions"] == 3
    assert read(await face.get("/v1/doctor"))
    assert "instances" in read(await face.post("/v1/prune", {"older_s": "1d", "dry_run": True}))


async def test_a_method_without_a_row_is_there_for_administrators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(calls.CALLS, "new.method", calls.CALLS["info"])
    (row,) = list(table._others())[-1:]
    assert (row.path, row.scope) == ("/v1/methods/new.method", "admin")


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "words"),
    [
        ("GET", "/v1/instances/nothing", None, 404, "not_found", "no instance nothing"),
        ("GET", "/v1/instances/order/7/history/x", None, 404, "not_found", "there is nothing at"),
        ("GET", "/nowhere", None, 404, "not_found", "/openapi.json"),
        ("GET", "/v1/instances?limit=x", None, 422, "invalid_request", "$.params.limit"),
        ("GET", "/v1/instances?limit=1&limit=2", None, 422, "invalid_request", "given twice"),
        ("GET", "/v1/instances?lmit=1", None, 422, "invalid_request", 'did you mean \\"limit\\"'),
        ("GET", "/v1/instances?q=stauts:x", None, 422, "invalid_request", "status"),
        ("PUT", "/v1/instances", b"{}", 405, "invalid_request", "takes GET"),
        ("POST", "/v1/events", b"{", 400, "invalid_request", "not JSON"),
        ("POST", "/v1/events", b"[" * 5_000, 400, "invalid_request", "not JSON"),
        ("POST", "/v1/events", b"7", 422, "invalid_request", "JSON object"),
        ("POST", "/v1/events", b"", 422, "invalid_request", "JSON object"),
        ("POST", "/v1/events", b'{"typ":"x"}', 422, "invalid_event", "type"),
        ("POST", "/v1/instances/x/pause", b'{"instance":"y"}', 422, "invalid_request", "different"),
        ("POST", "/v1/instances/x/pause", b'{"reson":"y"}', 422, "invalid_request", "reason"),
        ("POST", "/v1/workflows/ordr/instances", b"{}", 404, "not_found", "order"),
        ("POST", "/v1/asks/nothing", b"{}", 404, "no_such_ask", "no question"),
        ("POST", "/v1/keys", b'{"name":"a","scopes":["raed"]}', 422, "invalid_request", "read"),
        ("POST", "/v1/keys", b'{"name":"a","scopes":["read:x"]}', 422, "invalid_request", "limited"),
        ("POST", "/v1/keys", b'{"name":"a","scopes":[]}', 422, "invalid_request", "needs a scope"),
        ("DELETE", "/v1/keys/none", None, 404, "not_found", "no key"),
        ("GET", "/v1/feed?q=stauts:x", None, 422, "invalid_request", "status"),
        ("GET", "/v1/instances/nothing/feed", None, 404, "not_found", "no instance"),
        ("POST", "/hooks/nothing", b"", 404, "not_found", "no such hook"),
    ],
)  # fmt: skip
async def test_an_error_is_a_problem_with_our_code(
    face: Face, method: str, path: str, body: bytes | None, status: int, code: str, words: str
) -> None:
    answer = await face.ask(method, path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    told = answer.json()
    assert (told["code"], told["status"]) == (code, status)
    assert words in answer.text
    assert told["type"] == f"urn:greenroom:error:{code}" and told["docs"].endswith(code)


async def test_a_fault_of_ours_is_a_500_without_its_trace(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> Any:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(type(face.web.engine), "info", breaks)
    answer = await face.get("/v1/info")
    assert (answer.status_code, answer.json()["code"]) == (500, "greenroom_error")
    assert "Traceback" not in answer.text
    metrics = await face.get("/metrics")
    assert metrics.status_code == 500  # it asks for the same figures, and is told the same way


async def test_a_wrong_content_type_is_told(face: Face) -> None:
    answer = await face.post("/v1/events", content=b"a", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["details"]["takes"]) == (415, "application/json")


# -- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "call", "values"),
    [
        ("/v1/instances/a", "get", {"instance": "a"}),
        ("/v1/instances/a/b", "get", {"instance": "a/b"}),
        ("/v1/instances/a/history", "history", {"instance": "a"}),
        ("/v1/instances/a/b/history", "history", {"instance": "a/b"}),
        ("/v1/events/feed", "tail", {}),
        ("/v1/events/x", "events.get", {"id": "x"}),
    ],
)
def test_a_path_is_matched_by_its_segments(path: str, call: str, values: dict[str, str]) -> None:
    found = table.find("GET", path[1:].split("/"))
    assert isinstance(found, tuple)
    assert (found[0].call, found[1]) == (call, values)


@pytest.mark.parametrize(
    "path", ["/v1/instances/", "/v1/instances//history", "/v1/instances/a/b/c"]
)
def test_an_empty_or_superfluous_segment_is_no_instance(path: str) -> None:
    assert table.find("GET", path[1:].split("/")) == set()


async def test_a_slash_may_be_part_of_a_key(face: Face) -> None:
    await face.post("/v1/workflows/order/instances", {"input": {"id": "7"}, "key": "a/history"})
    found = read(await face.get("/v1/instances/order%2Fa%2Fhistory"))
    assert found["key"] == "a/history"


@pytest.mark.parametrize("row", table.ROUTES, ids=lambda row: f"{row.method} {row.path}")
def test_the_table_backwards_gives_the_row_again(row: table.Route) -> None:
    if row.kind == "plain":
        return
    params = {name: "order/7" if name == "instance" else "x y/ü" for name in row.names}
    asked = table.request_for(row.call, params)
    found = table.find(asked.method, [_decoded(part) for part in asked.path[1:].split("/")])
    assert isinstance(found, tuple) and found[0].call == row.call
    assert {**found[1], **asked.query} == params


def _decoded(text: str) -> str:
    from urllib.parse import unquote  # noqa: PLC0415

    return unquote(text)


def test_no_route_is_there_twice() -> None:
    """The second would never be asked, and its rule be a lie."""
    places = [(row.method, row.path) for row in table.ROUTES]
    assert len(places) == len(set(places))


def test_a_method_nobody_knows_is_no_request() -> None:
    with pytest.raises(InvalidRequest, match="did you mean"):
        table.request_for("puase", {})


# -- the OpenAPI document ------------------------------------------------------------------------


async def test_the_document_describes_every_route(face: Face) -> None:
    document = read(await face.get("/openapi.json"))
    assert document["openapi"] == "3.1.0"
    for row in table.ROUTES:
        operation = document["paths"][row.path][row.method.lower()]
        assert operation["x-scope"] == row.scope
        told = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert told == set(row.names)
    ids = [o["operationId"] for path in document["paths"].values() for o in path.values()]
    assert len(ids) == len(set(ids))


async def test_every_reference_of_the_document_leads_somewhere(face: Face) -> None:
    document = read(await face.get("/openapi.json"))
    known = document["components"]["schemas"]
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.append(value["$ref"])
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(document)
    assert found
    assert all(ref.removeprefix("#/components/schemas/") in known for ref in found)


# -- mounted -------------------------------------------------------------------------------------


async def test_the_face_may_be_mounted_under_any_prefix(engine: Any, make_face: MakeFace) -> None:
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.routing import Mount  # noqa: PLC0415

    face = make_face(open=True)
    await face.post("/v1/events", {"type": "order.created", "data": {"id": "a b"}})
    app = Starlette(routes=[Mount("/tools/green%room", face.web), Mount("/deep/er", face.web)])
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://example.com") as http:
        for prefix in ("/tools/green%25room", "/deep/er"):
            found = await http.get(f"{prefix}/v1/instances/order%2Fa%20b")
            assert found.status_code == 200, found.text
            assert found.json()["key"] == "a b"
        document = (await http.get("/deep/er/openapi.json")).json()
        assert document["servers"] == [{"url": "/deep/er"}]
        assert (await http.get("/deep/nowhere/v1/info")).status_code == 404


async def test_the_application_may_say_who_asks(make_face: MakeFace) -> None:
    async def identify(request: Any) -> str | None:
        found: str | None = request.headers.get("x-user")
        return found

    face = make_face(identify=identify)
    assert (await face.get("/v1/info")).status_code == 401
    await face.post("/v1/events", {"type": "t", "id": "e"}, headers={"X-User": "anna"})
    assert (await face.get("/v1/events/e", headers={"X-User": "anna"})).json()["by"] == "anna"


async def test_a_rule_that_is_none_is_told(engine: Any) -> None:
    with pytest.raises(InvalidRequest, match='did you mean "hosts"'):
        engine.asgi(host="x")


async def test_ready_says_no_when_nothing_can_be_stored(face: Face) -> None:
    assert (await face.get("/readyz")).json() == {"status": "ready"}
    face.web.stop()
    answer = await face.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")
    assert (await face.get("/healthz")).status_code == 200


async def test_metrics_count_routes_not_paths(face: Face) -> None:
    await face.post("/v1/events", {"type": "order.created", "data": {"id": "secret-7"}})
    await face.get("/v1/instances/order/secret-7")
    text = (await face.get("/metrics")).text
    assert (
        'greenroom_http_requests_total{route="GET /v1/instances/{instance}",status="200"} 1.0'
        in text
    )
    assert 'greenroom_instances{status="waiting"} 1.0' in text
    assert "secret-7" not in text
