"""H1-H30 of the security plan: who may ask over HTTP. Tables run over every route there is, so a
new one without a rule fails here."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwk, jwt
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from greenroom import Connector
from greenroom.definitions.errors import InvalidRequest, NotPermitted
from greenroom.runtime.keys import FRESH_MS
from greenroom.runtime.web import table
from greenroom.runtime.web.access import SCOPES, Caller, check_scopes
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.hooks import HookRequest, HookResponse
from greenroom.runtime.web.limits import HttpLimits, Rate
from greenroom.runtime.web.oidc import Oidc, Provider
from greenroom.runtime.web.routes import page, rule_of
from greenroom.runtime.web.rules import Rules
from tests.runtime.connectors.test_ingestion import BODY, NOW, SCHEMES, SECRET, TIMED
from tests.runtime.connectors.test_ingestion import engine as engine_with
from tests.runtime.web.conftest import HOST, QUICK, TOKENS, Face, MakeFace

ROUTES = pytest.mark.parametrize("row", table.ROUTES, ids=lambda row: f"{row.method} {row.path}")
GUARDED = pytest.mark.parametrize(
    "row",
    [row for row in table.ROUTES if row.scope != table.PUBLIC],
    ids=lambda row: f"{row.method} {row.path}",
)


def path_of(row: table.Route) -> str:
    """An address of the route that names nothing there is."""
    return re.sub(r"\{\w+\}", "nothing-there", row.path)


async def call(face: Face, row: table.Route, **options: Any) -> httpx2.Response:
    if row.method in ("POST", "PUT"):
        options.setdefault("json", {"type": "t"} if row.whole == "event" else {})
    return await face.ask(row.method, path_of(row), **options)


async def refused(face: Face, row: table.Route, key: str | None, status: int) -> None:
    """The same refusal for everybody, whatever there is, and nothing has grown."""
    face.key = key
    answer = await call(face, row)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    info = await face.engine.info()
    assert info.head == 0


# -- keys ----------------------------------------------------------------------------------------


@GUARDED
async def test_H1_without_a_key_no_route_is_open(make_face: MakeFace, row: table.Route) -> None:
    face = make_face()
    await refused(face, row, None, 401)
    assert (await call(face, row)).headers["www-authenticate"].startswith("Bearer")


@GUARDED
async def test_H2_an_expired_or_revoked_key_opens_no_route(
    make_face: MakeFace, row: table.Route
) -> None:
    face = make_face()
    expired = await face.make_key("admin", expires="1h")
    revoked = await face.make_key("read", "admin")
    await face.engine.keys.revoke(revoked.split("_")[1])
    await face.engine.advance("1h")
    await refused(face, row, expired, 401)
    await refused(face, row, revoked, 401)


@GUARDED
async def test_H3_a_key_of_every_other_scope_opens_no_route(
    make_face: MakeFace, row: table.Route
) -> None:
    face = make_face()
    others = [scope for scope in SCOPES if scope not in (row.scope, "admin")]
    await refused(face, row, await face.make_key(*others), 403)


@GUARDED
async def test_H4_the_scope_of_a_route_opens_it(make_face: MakeFace, row: table.Route) -> None:
    face = make_face()
    face.key = await face.make_key(row.scope)
    if row.kind == "feed" or row.call == "backup":
        return  # one never ends, one writes a file: they have tests of their own
    assert (await call(face, row)).status_code not in (401, 403, 405)


@pytest.mark.parametrize(
    "given",
    ["Bearer", "Bearer x", "Bearer gr_000000000000_" + "a" * 43, "Basic YTpi", "gr_1", "Bearer \xff",
     "Bearer " + "a.b.c" * 5_000],
)  # fmt: skip
async def test_H5_what_is_no_key_is_refused_even_where_none_is_needed(
    make_face: MakeFace, given: str
) -> None:
    face = make_face(open=True)
    answer = await face.get("/v1/info", headers={"Authorization": given.encode("latin-1")})
    assert answer.status_code == 401


async def test_H5_one_wrong_character_makes_a_key_wrong(make_face: MakeFace) -> None:
    face = make_face()
    good = await face.make_key("read")
    for place in (3, 20, len(good) - 1):
        wrong = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        face.key = wrong
        assert (await face.get("/v1/info")).status_code == 401
    face.key = good
    assert (await face.get("/v1/info")).status_code == 200


async def test_H5_a_key_is_kept_as_its_hash_alone(make_face: MakeFace) -> None:
    face = make_face()
    key = await face.make_key("read")
    await face.engine.crash()
    from greenroom.actors.ports import GetMeta  # noqa: PLC0415

    kept = await face.engine.journal.call(GetMeta("api_keys"))
    assert key not in kept and key.split("_", 2)[2] not in kept
    assert await face.engine.keys.verify(key) is not None


async def test_H5_a_key_another_daemon_revoked_is_refused_after_ten_seconds(
    make_face: MakeFace,
) -> None:
    from greenroom.runtime.keys import Keys  # noqa: PLC0415

    face = make_face()
    face.key = await face.make_key("read")
    assert (await face.get("/v1/info")).status_code == 200
    await Keys(face.web.engine).revoke(face.key.split("_")[1])  # through another process's eyes
    await face.engine.advance(FRESH_MS / 1000)
    assert (await face.get("/v1/info")).status_code == 401
    assert [key.revoked for key in await face.engine.keys.list()] == [True]


async def test_H5_the_last_use_is_noted_and_survives(make_face: MakeFace) -> None:
    face = make_face()
    face.key = await face.make_key("read")
    await face.get("/v1/info")
    await face.engine.until_idle()
    await face.engine.crash()
    (key,) = await face.engine.keys.list()
    assert key.used is not None


async def test_H6_a_publish_key_posts_only_its_types(make_face: MakeFace) -> None:
    face = make_face()
    face.key = await face.make_key("publish:order.*", "publish:ping")
    for type, status in (
        ("order.created", 200),
        ("ping", 200),
        ("pings", 403),
        ("user.x", 403),
        ("", 403),
    ):
        assert (await face.post("/v1/events", {"type": type})).status_code == status, type
    answers = (await face.post("/v1/events", [{"type": "order.x"}, {"type": "user.x"}])).json()
    assert answers[0]["accepted"] and answers[1]["error"]["code"] == "not_permitted"
    lines = await face.post(
        "/v1/events", content=b'{"type":"user.x"}\n{"type":"order.y"}',
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    first, second = (json.loads(line) for line in lines.text.splitlines())
    assert first["error"]["code"] == "not_permitted" and second["accepted"]
    stored = await face.engine.events.list()
    assert {event.type for event in stored.items} == {"order.created", "ping", "order.x", "order.y"}


async def test_H6_a_start_key_starts_only_its_workflows(make_face: MakeFace) -> None:
    face = make_face()
    face.key = await face.make_key("start:ord*")
    body = {"input": {"id": "1"}}
    assert (await face.post("/v1/workflows/order/instances", body)).status_code == 201
    for name in ("leave", "no-such"):  # what there is and what there is not: the same refusal
        assert (await face.post(f"/v1/workflows/{name}/instances", body)).status_code == 403


async def test_H6_to_store_a_document_is_not_to_release_it(make_face: MakeFace) -> None:
    face = make_face()
    face.key = await face.make_key("define")
    document = {"name": "welcome", "actions": []}
    refused = await face.post("/v1/definitions?promote=true", document)
    assert (refused.status_code, refused.json()["details"]["scope"]) == (403, "promote")
    other = await face.ask("PUT", "/v1/definitions/goodbye", json=document)
    assert (other.status_code, other.json()["code"]) == (422, "invalid_request")


async def test_H6_a_stranger_cannot_answer_and_is_not_told_that_there_is_a_question(
    make_face: MakeFace,
) -> None:
    face = make_face()
    await face.engine.start("leave", {"id": "a"})
    await face.engine.until_idle()
    (ask,) = (await face.engine.asks.list()).items
    face.key = await face.make_key("answer:someone-else")
    answer = await face.post(f"/v1/asks/{ask.id}", {"approved": True})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_ask")
    assert (await face.engine.asks.get(ask.id)).answered is None
    face.key = await face.make_key("answer:boss")
    assert (await face.post(f"/v1/asks/{ask.id}", {"approved": True})).status_code == 200


@pytest.mark.parametrize("scope", ["raed", "read:x", "publish:", "publish:*x", "start:a*b", ""])
def test_H6_a_scope_that_means_nothing_is_refused(scope: str) -> None:
    with pytest.raises(InvalidRequest):
        check_scopes([scope])


async def test_H7_wrong_keys_cost_time_and_only_some_are_tried(make_face: MakeFace) -> None:
    face = make_face(limits=HttpLimits(failed_s=0.0, failed_rate=0.001))
    good = await face.make_key("read")
    face.key = "gr_000000000000_" + "a" * 43
    for _ in range(20):
        assert (await face.get("/v1/info")).status_code == 401
    answer = await face.get("/v1/info")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    face.key = good  # of the same address: whoever guesses learns nothing from the answers
    assert (await face.get("/v1/info")).status_code == 429


async def test_H7_a_caller_that_asks_too_often_is_told_when_to_come_back(
    make_face: MakeFace,
) -> None:
    face = make_face(limits=HttpLimits(caller_rate=0.001, nobody_rate=1e6))
    face.key = await face.make_key("read")
    face.web._app._callers.burst = 3.0
    statuses = [(await face.get("/v1/info")).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


def test_H7_a_rate_fills_again_and_forgets_whom_it_has_not_heard_of_longest() -> None:
    now = 0.0
    rate = Rate(2.0, 2.0, lambda: now)
    for _ in range(2):
        rate.take("a")
    with pytest.raises(Exception, match=r"again in 0\.5 s"):
        rate.take("a")
    now = 0.5
    rate.take("a")
    for n in range(10_001):
        rate.take(str(n))
    assert len(rate._left) == 10_000


# -- OpenID --------------------------------------------------------------------------------------

ISSUER = "https://id.example.com"
RSA = jwk.RSAKey.generate_key(2048, {"kid": "one"})
NEXT = jwk.RSAKey.generate_key(2048, {"kid": "two"})
CLAIMS = {"iss": ISSUER, "aud": "greenroom", "sub": "anna", "scope": "openid read publish:order.*"}


class Issuer:
    """Publishes keys, and counts who asks."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [dict(RSA.as_dict(private=False))]
        self.asked: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url.endswith("/.well-known/openid-configuration"):
            return json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}).encode()
        return json.dumps({"keys": self.keys}).encode()


def token(key: Any = RSA, head: dict[str, Any] | None = None, **claims: Any) -> str:
    now = int(time.time())
    body = {"iat": now, "exp": now + 300, **CLAIMS, **claims}
    head = {"alg": "RS256", "kid": key.kid, **(head or {})}
    return jwt.encode(head, body, key, algorithms=[head["alg"]])


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def oidc_face(make_face: MakeFace, issuer: Issuer) -> Face:
    return make_face(oidc=Provider(Oidc(issuer=ISSUER, audience="greenroom"), fetch=issuer.fetch))


async def test_H8_a_token_of_the_issuer_is_a_key_with_the_scopes_we_know(
    oidc_face: Face, issuer: Issuer
) -> None:
    oidc_face.key = token()
    assert (await oidc_face.get("/v1/info")).status_code == 200
    assert (await oidc_face.get("/v1/keys")).status_code == 403
    await oidc_face.post("/v1/events", {"type": "order.x", "id": "e"})
    assert (await oidc_face.get("/v1/events/e")).json()["by"] == "oidc:anna"
    assert issuer.asked == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/keys"]


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unsigned(head: dict[str, Any]) -> str:
    return f"{part(head)}.{part({**CLAIMS, 'exp': int(time.time()) + 300})}."


def with_the_public_key_as_a_secret() -> str:
    """What a verifier that lets the token choose its algorithm would take."""
    signed = unsigned({"alg": "HS256", "kid": "one"}).rstrip(".")
    return f"{signed}.{part(hmac.digest(RSA.as_pem(private=False), signed.encode(), 'sha256'))}"


FORGED: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned({"alg": "none", "kid": "one"}),
    "alg None": lambda: unsigned({"alg": "None"}),
    "HS256 with the RSA key": with_the_public_key_as_a_secret,
    "key of a stranger": lambda: token(jwk.RSAKey.generate_key(2048, {"kid": "one"})),
    "kid that is a path": lambda: token(NEXT, {"kid": "../../../../dev/null"}),
    "kid nobody has": lambda: token(NEXT),
    "jku of a stranger": lambda: token(NEXT, {"jku": "https://evil.example/keys"}),
    "other issuer": lambda: token(iss="https://evil.example"),
    "other audience": lambda: token(aud="somebody"),
    "no audience": lambda: token(aud=None),
    "expired": lambda: token(exp=int(time.time()) - 61),
    "not yet": lambda: token(nbf=int(time.time()) + 120),
    "without an end": lambda: token(exp=None),
    "without a name": lambda: token(sub=None),
    "as if it spoke for another": lambda: token(sub="ann via uid:0/root"),
    "a name with controls": lambda: token(sub="ann\x1b[2J"),
    "cut": lambda: token()[:-2],
    "changed": lambda: token().replace(".", ".e", 1),
    "three dots": lambda: "...",
}  # fmt: skip


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_H9_a_forged_or_foreign_token_is_refused(
    oidc_face: Face, forge: Callable[[], str]
) -> None:
    oidc_face.key = forge()
    answer = await oidc_face.get("/v1/info")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "the token is not good here"


async def test_H10_groups_of_the_provider_are_roles_of_stages(
    oidc_face: Face, tmp_path: Path
) -> None:
    """`group:NAME` of a role is for whoever's token says so; nobody gets one by its name."""
    stages = [
        {"path": "pay", "kind": "script", "access": {"roles": ["payers"]}},
        {"path": "look", "kind": "script", "access": {"roles": ["group:auditors"]}},
    ]
    graph = {"name": "flow", "stages": stages, "roles": {"payers": ["bob", "group:finance"]}}
    (tmp_path / "stages.json").write_text(json.dumps(graph))
    for stage in ("pay", "look"):
        (tmp_path / f"{stage}.py").write_text("")
    oidc_face.engine.register(f"{tmp_path}/")

    async def may(stage: str, **claims: Any) -> bool:
        oidc_face.key = token(scope="start:flow", **claims)
        answer = await oidc_face.post("/v1/workflows/flow/instances", {"stage": stage})
        assert answer.status_code in (201, 202, 403), answer.text
        return bool(answer.status_code != 403)

    assert await may("pay", groups=["staff", "finance"])
    assert not await may("pay", groups=["staff"])
    assert not await may("pay", groups="finance")
    assert not await may("pay")
    assert not await may("pay", sub="group:finance")
    assert await may("look", groups=["auditors"])
    assert not await may("look", groups=["finance"])
    oidc_face.key = token(scope="start:flow", groups=["finance"])
    await oidc_face.post("/v1/events", {"type": "x"})
    with pytest.raises(NotPermitted):  # what one request may stays with it
        await oidc_face.engine.start("flow", stage="pay", by="oidc:anna")


async def test_H10_a_minute_of_clock_skew_is_forgiven(oidc_face: Face) -> None:
    now = int(time.time())
    skewed: list[dict[str, Any]] = [{"exp": now - 40}, {"nbf": now + 40}]
    for claims in skewed:
        oidc_face.key = token(**claims)
        assert (await oidc_face.get("/v1/info")).status_code == 200


async def test_H11_a_new_key_of_the_issuer_is_found_and_unknown_ones_do_not_make_us_ask_for_ever(
    make_face: MakeFace, issuer: Issuer
) -> None:
    now = time.time()
    provider = Provider(
        Oidc(issuer=ISSUER, audience="greenroom"), fetch=issuer.fetch, now=lambda: now
    )
    face = make_face(oidc=provider)
    face.key = token()
    assert (await face.get("/v1/info")).status_code == 200
    face.key = token(NEXT)
    for _ in range(5):
        assert (await face.get("/v1/info")).status_code == 401
    assert len(issuer.asked) == 2
    issuer.keys.append(dict(NEXT.as_dict(private=False)))
    now += 31
    assert (await face.get("/v1/info")).status_code == 200
    assert len(issuer.asked) == 4


async def test_H11_a_secret_among_the_issuers_keys_is_not_believed(
    oidc_face: Face, issuer: Issuer
) -> None:
    secret = jwk.OctKey.generate_key(256, {"kid": "s"})
    issuer.keys.append(dict(secret.as_dict(private=True)))
    body = {**CLAIMS, "exp": int(time.time()) + 300}
    oidc_face.key = jwt.encode({"alg": "HS256", "kid": "s"}, body, secret, algorithms=["HS256"])
    assert (await oidc_face.get("/v1/info")).status_code == 401


async def test_H11_an_issuer_that_does_not_answer_is_no_open_door(make_face: MakeFace) -> None:
    """Nor is it asked again for each token; and it is found when it is back."""
    asked: list[str] = []
    now = time.time()
    issuer = Issuer()

    async def fetch(url: str) -> bytes:
        asked.append(url)
        if len(asked) == 1:
            raise OSError("no route")
        return await issuer.fetch(url)

    oidc = Oidc(issuer=ISSUER, audience="greenroom")
    face = make_face(oidc=Provider(oidc, fetch=fetch, now=lambda: now))
    face.key = token()
    for _ in range(3):
        assert (await face.get("/v1/info")).status_code == 503
    assert len(asked) == 1
    now += 6
    assert (await face.get("/v1/info")).status_code == 200


def test_H12_an_algorithm_with_a_shared_secret_cannot_be_allowed() -> None:
    with pytest.raises(InvalidRequest, match="HS256"):
        Provider(Oidc(issuer=ISSUER, audience="g", algorithms=("RS256", "HS256")))


# -- browsers ------------------------------------------------------------------------------------


async def _home(request: Request) -> Response:
    return PlainTextResponse("home")


def _pages(web: Web) -> list[BaseRoute]:
    return [
        page("/", _home, "read"),
        page("/asks/{id}", _home, "answer", methods=("GET", "POST"), name="ask"),
    ]


@pytest.fixture
async def browser(make_face: MakeFace) -> Face:
    """A browser that has logged in with a key for everything."""
    face = make_face(pages=[_pages])
    face.key = await face.make_key("admin")
    answer = await face.http.post("/session", json={"key": face.key})
    assert answer.status_code == 204
    face.key = None
    assert (await face.get("/")).text == "home"
    return face


def caller_in(face: Face) -> Any:
    return face.web.sessions.caller(
        Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http",
                 "server": ("127.0.0.1", 8420),
                 "headers": [(b"cookie", f"greenroom={face.http.cookies['greenroom']}".encode())]})
    )  # fmt: skip


async def test_H13_a_session_changes_nothing_without_its_token(browser: Face) -> None:
    for row in table.ROUTES:
        if row.scope != table.PUBLIC and row.method != "GET":
            answer = await call(browser, row)
            assert answer.status_code == 403, row.path
            assert "token is missing" in answer.json()["detail"]
    assert (await browser.post("/asks/1", data={"decision": "x"})).status_code == 403
    assert (await browser.get("/v1/info")).status_code == 200


async def test_H13_with_its_token_it_does(browser: Face) -> None:
    caller = await caller_in(browser)
    script = await browser.web.sessions.csrf(caller)
    answer = await browser.post(
        "/v1/events", {"type": "t", "id": "e"}, headers={"X-CSRF-Token": script}
    )
    assert answer.status_code == 200
    assert (await browser.get("/v1/events/e")).json()["by"].startswith("key:")
    form = await browser.web.sessions.csrf(caller, "/asks/1")
    assert (await browser.post("/asks/1", data={"csrf": form})).status_code == 200


async def test_H14_a_token_is_good_for_its_form_and_session_alone(browser: Face) -> None:
    caller = await caller_in(browser)
    other = await browser.web.sessions.csrf(caller, "/asks/2")
    assert (await browser.post("/asks/1", data={"csrf": other})).status_code == 403
    stranger = Caller("x", ("admin",), "session", "s-other")
    theirs = await browser.web.sessions.csrf(stranger, "/asks/1")
    assert (await browser.post("/asks/1", data={"csrf": theirs})).status_code == 403
    with pytest.raises(NotPermitted):
        await browser.web.sessions.check_csrf(caller, None)


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": HOST.replace("8420", "8421")},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": HOST},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_H15_a_page_of_another_site_changes_nothing(
    browser: Face, make_face: MakeFace, headers: dict[str, str]
) -> None:
    token = await browser.web.sessions.csrf(await caller_in(browser))
    answer = await browser.post(
        "/v1/events", {"type": "t"}, headers={**headers, "X-CSRF-Token": token}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
    opened = make_face(open=True)
    assert (await opened.post("/v1/events", {"type": "t"}, headers=headers)).status_code == 403
    assert (
        await opened.post("/v1/events", {"type": "t"}, headers={"Origin": HOST})
    ).status_code == 200


async def test_H16_a_form_that_is_sent_twice_counts_once(face: Face) -> None:
    await face.engine.start("leave", {"id": "a"})
    await face.engine.until_idle()
    (ask,) = (await face.engine.asks.list()).items
    first = await face.post(f"/v1/asks/{ask.id}", {"approved": True})
    second = await face.post(f"/v1/asks/{ask.id}", {"approved": False})
    assert (first.status_code, second.status_code) == (200, 409)
    assert "True" in (await face.engine.get("leave/a")).result


async def test_H17_a_session_cookie_is_for_us_alone_and_ends(make_face: MakeFace) -> None:
    face = make_face("https://green.example", pages=[_pages])
    key = await face.make_key("read")
    answer = await face.http.post("/session", json={"key": key})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-greenroom=")
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= {
        part.strip() for part in cookie.split(";")
    }
    assert (await face.get("/")).status_code == 200
    await face.engine.advance("12h")
    assert (await face.get("/")).status_code == 401


async def test_H17_revoking_the_key_ends_the_session(browser: Face) -> None:
    (key,) = await browser.engine.keys.list()
    await browser.engine.keys.revoke(key.id)
    assert (await browser.get("/")).status_code == 401


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: "A" + c[1:], lambda c: "x", lambda c: "x.y"]
)
async def test_H17_a_changed_cookie_is_nobodys(browser: Face, change: Callable[[str], str]) -> None:
    cookie = browser.http.cookies["greenroom"]
    browser.http.cookies.clear()
    answer = await browser.get("/", headers={"Cookie": f"greenroom={change(cookie)}"})
    assert answer.status_code == 401


async def test_H17_a_link_logs_in_once_and_within_a_minute(make_face: MakeFace) -> None:
    face = make_face(pages=[_pages])
    owner = Caller("uid:1/anna", ("admin",), "peer")
    ticket = await face.web.sessions.ticket(owner)
    assert (await face.get("/", headers={"Cookie": f"greenroom={ticket}"})).status_code == 401
    first = await face.get("/session/ticket", params={"ticket": ticket, "back": "//evil.example/"})
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert (await face.get("/")).status_code == 200
    assert (await face.get("/session/ticket", params={"ticket": ticket})).status_code == 401
    late = await face.web.sessions.ticket(owner)
    await face.engine.advance("61s")
    assert (await face.get("/session/ticket", params={"ticket": late})).status_code == 401


async def test_H17_logging_in_cannot_be_made_by_another_site_and_out_means_out(
    browser: Face,
) -> None:
    answer = await browser.post("/session", {"key": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    await browser.http.post("/session/end")
    assert (await browser.get("/")).status_code == 401


async def test_H18_what_others_wrote_is_never_a_page(face: Face) -> None:
    bad = "<script>alert(1)</script>"
    await face.post("/v1/events", {"type": "order.created", "id": bad[:40], "data": {"id": bad}})
    for path in (
        "/v1/instances",
        "/v1/events",
        f"/v1/instances/order%2F{bad.replace('/', '%2F')}",
        f"/{bad}",
    ):
        answer = await face.get(path)
        assert answer.headers["content-type"] in ("application/json", "application/problem+json")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


# -- hooks ---------------------------------------------------------------------------------------


async def test_H19_a_hook_sees_what_was_sent_byte_for_byte(make_face: MakeFace) -> None:
    face = make_face()
    seen: list[HookRequest] = []

    async def handler(request: HookRequest) -> HookResponse:
        seen.append(request)
        return HookResponse(202, {"ok": True}, {"X-Mine": "1"})

    face.engine.hooks.add("stripe", handler)
    body = b'{ "a" : 1,\r\n"b":\xff }'
    answer = await face.post(
        "/hooks/stripe/eu/7?x=1",
        content=body,
        headers={"X-Signature": "v1,abc", "Content-Type": "a/b"},
    )
    assert (answer.status_code, answer.json(), answer.headers["x-mine"]) == (202, {"ok": True}, "1")
    (request,) = seen
    assert (request.body, request.path, request.rest) == (body, "stripe", "eu/7")
    assert request.headers["x-signature"] == "v1,abc" and request.query == {"x": "1"}


async def test_H19_a_hook_is_asked_for_no_key_and_takes_its_own_methods_only(
    make_face: MakeFace,
) -> None:
    face = make_face()
    face.engine.hooks.add("a/b", lambda request: HookResponse(body=request.method), ("PUT",))
    assert (await face.ask("PUT", "/hooks/a/b")).text == "PUT"
    assert (await face.post("/hooks/a/b", content=b"")).status_code == 405
    with pytest.raises(InvalidRequest):
        face.engine.hooks.add("/a/b/", lambda request: HookResponse())
    face.engine.hooks.remove("a/b")
    assert (await face.ask("PUT", "/hooks/a/b")).status_code == 404


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_H19_the_hook_of_a_connector_takes_in_what_is_signed_once(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad signature, old, replayed, changed by one byte: nothing is stored but the one event."""
    monkeypatch.setenv("GREENROOM_SECRET_PEER_SIGNING_KEY", SECRET)
    sign = SCHEMES[scheme]
    async with engine_with(scheme) as engine:
        web = engine.asgi(limits=QUICK)
        transport = httpx2.ASGITransport(web, client=("10.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as http:

            async def send(
                headers: dict[str, str], body: bytes = BODY, path: str = "peer"
            ) -> httpx2.Response:
                return await http.post(f"/hooks/{path}", content=body, headers=headers)

            good = sign(BODY, NOW, SECRET)
            wrong = [{}, sign(BODY, NOW, "another"), dict.fromkeys(good, "")]
            if scheme in TIMED:
                wrong.append(sign(BODY, NOW - 301, SECRET))
            for headers in wrong:
                answer = await send(headers)
                assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid"), (
                    headers
                )
            if scheme != "basic":
                assert (await send(good, BODY.replace(b"1", b"2"))).status_code == 401
            assert (await send(good, path="other")).status_code == 404
            assert (await engine.events.list()).items == []
            first, again = await send(good), await send(good)
            assert (first.status_code, first.json()["duplicate"]) == (200, False)
            assert again.json() == {**first.json(), "duplicate": True}
            assert set(first.json()) == {"id", "accepted", "duplicate"}  # not who listens
            assert len((await engine.events.list()).items) == 1


async def test_H19_a_callback_takes_its_token_and_nothing_else(make_face: MakeFace) -> None:
    """Neither the id of a question nor the name of an instance is a permission."""
    face = make_face()
    started = await face.engine.start("leave", {"id": "a"})
    called = await face.engine.start("shipment", {"id": "s"})
    await face.engine.until_idle()
    (ask,) = (await face.engine.asks.list("instance:" + started.id)).items
    for named in (ask.id, started.id, "leave%2Fa", "x" * 64, called.id, "shipment%2Fs"):
        for path in (f"/callbacks/{named}", f"/callbacks/{named}/progress"):
            answer = await face.post(path, {"approved": True})
            assert (answer.status_code, answer.json()["code"]) == (404, "no_such_ask"), path
    (token,) = TOKENS
    assert (await face.post(f"/callbacks/{token}/progress", {"done": 0.5})).status_code == 200
    wrong = await face.post(
        f"/callbacks/{token[:-1]}{'A' if token[-1] != 'A' else 'B'}", {"ok": True}
    )
    assert wrong.status_code == 404
    assert (await face.post(f"/callbacks/{token}", {"ok": True})).status_code == 200
    again = await face.post(f"/callbacks/{token}", {"ok": False})
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert await face.engine.result("shipment/s", timeout="1s") is not None


async def test_H20_a_header_that_is_there_twice_is_not_chosen_from(make_face: MakeFace) -> None:
    face = make_face()
    seen: list[HookRequest] = []

    def handler(request: HookRequest) -> HookResponse:
        seen.append(request)
        return HookResponse()

    face.engine.hooks.add("h", handler)
    twice = [("webhook-signature", "v1,one"), ("webhook-signature", "v1,two")]
    await face.http.post("/hooks/h", headers=twice)
    assert seen[0].headers["webhook-signature"] == "v1,one, v1,two"
    for name in ("Authorization", "Host", "Cookie"):
        answer = await face.http.get("/v1/info", headers=[(name, "127.0.0.1"), (name, "127.0.0.1")])
        assert answer.status_code == 400, name


# -- addresses and sizes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "127.1", "[::]"]
)
async def test_H21_a_name_that_is_not_ours_is_refused(make_face: MakeFace, host: str) -> None:
    face = make_face(open=True, hosts=("localhost", "127.0.0.1", "[::1]"))
    answer = await face.get("/v1/info", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "not_permitted")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:99", "127.0.0.1:8420", "[::1]:8420", "[::1]"]
)
async def test_H21_names_of_ours_are_taken(make_face: MakeFace, host: str) -> None:
    face = make_face(open=True, hosts=("localhost", "127.0.0.1", "[::1]"))
    assert (await face.get("/v1/info", headers={"Host": host})).status_code == 200


async def test_H21_an_open_daemon_is_open_to_this_machine_alone(engine: Any) -> None:
    web = Web(engine._engine, Rules(open=True, limits=QUICK))
    for address, status in (("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 401), ("unix", 401)):
        transport = httpx2.ASGITransport(web, client=(address, 1))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as http:
            assert (await http.get("/v1/info")).status_code == status, address


@pytest.mark.parametrize(
    "path",
    ["/static/..%2f..%2fapp.py", "/static/../app.py", "/v1/instances/..%2f..%2fkeys", "/v1/..%2fhealthz",
     "/%2e%2e/%2e%2e/etc/passwd", "/v1//keys", "//v1/keys", "/v1/keys/", "/V1/keys", "/hooks/..%2f..%2fv1%2fkeys"],
)  # fmt: skip
async def test_H25_a_path_leads_nowhere_else(make_face: MakeFace, path: str) -> None:
    face = make_face()
    assert (await face.get(path)).status_code in (401, 404)


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"]
)  # fmt: skip
async def test_H26_no_header_changes_what_is_asked(face: Face, name: str) -> None:
    face.key = await face.make_key("read")
    answer = await face.get("/v1/keys", headers={name: "DELETE"})
    assert answer.status_code == 403
    answer = await face.get("/healthz", headers={name: "/v1/keys"})
    assert answer.json() == {"status": "ok"}


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "OPTIONS", "PATCH", "X" * 50])
async def test_H26_a_method_no_route_takes_is_refused(face: Face, method: str) -> None:
    answer = await face.ask(method, "/v1/info")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET"


async def test_H27_a_body_over_its_limit_is_refused_declared_or_not(face: Face) -> None:
    big = b'{"type":"t","data":"' + b"x" * (1 << 20) + b'"}'

    async def pieces() -> Any:
        for place in range(0, len(big), 65_536):
            yield big[place : place + 65_536]

    for content in (big, pieces()):
        answer = await face.post("/v1/events", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.json()["detail"].startswith("a body has at most")  # it was not looked into


async def test_H27_a_line_over_its_limit_ends_the_request(face: Face) -> None:
    lines = b'{"type":"t"}\n' + b"x" * ((1 << 20) + 1)
    answer = await face.post(
        "/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.status_code == 413


async def test_H27_a_compressed_body_is_refused(face: Face) -> None:
    answer = await face.post("/v1/events", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


async def test_H27_heads_and_addresses_over_their_limits_are_refused(face: Face) -> None:
    assert (await face.get("/v1/info", headers={"X": "a" * 33_000})).status_code == 431
    assert (
        await face.get("/v1/info", headers={f"X-{n}": "1" for n in range(101)})
    ).status_code == 431
    assert (await face.get("/v1/instances?q=" + "a" * 8_200)).status_code == 414


async def test_H27_a_body_that_does_not_come_is_not_waited_for(make_face: MakeFace) -> None:
    import asyncio  # noqa: PLC0415

    face = make_face(open=True, limits=HttpLimits(body_s=0.02))

    async def never() -> Any:
        yield b'{"type":'
        await asyncio.sleep(60)

    for kind in ("application/json", "application/x-ndjson"):
        answer = await face.post("/v1/events", content=never(), headers={"Content-Type": kind})
        assert answer.status_code == 408


# -- every route ---------------------------------------------------------------------------------


@ROUTES
async def test_H28_every_answer_has_the_headers_that_protect_browsers(
    face: Face, row: table.Route
) -> None:
    if row.kind == "feed" or row.call == "backup":
        return
    answer = await call(face, row)
    for name in ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy",
                 "cross-origin-opener-policy", "cross-origin-resource-policy"):  # fmt: skip
        assert name in answer.headers, name
    assert answer.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers and "server" not in answer.headers


async def test_H29_a_route_without_a_rule_cannot_be_added(engine: Any, make_face: MakeFace) -> None:
    with pytest.raises(TypeError, match="has no rule"):
        engine.asgi(pages=[lambda web: [Route("/x", _home)]])
    with pytest.raises(ValueError, match="is not a scope"):
        page("/x", _home, "reader")
    assert all(rule_of(route) for route in make_face().web.routes)


async def test_H29_every_page_needs_its_scope(make_face: MakeFace) -> None:
    face = make_face(pages=[_pages])
    assert (await face.get("/asks/1")).status_code == 401
    face.key = await face.make_key("read")
    assert (await face.get("/")).status_code == 200
    assert (await face.get("/asks/1")).status_code == 403


async def test_H29_a_person_who_is_not_known_is_sent_to_the_login_page(make_face: MakeFace) -> None:
    def pages(web: Web) -> list[BaseRoute]:
        return [*_pages(web), page("/in", _home, "public", name="login")]

    face = make_face(pages=[pages])
    answer = await face.get("/asks/1?x=1", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/in?back=%2Fasks%2F1%3Fx%3D1")
    assert (await face.get("/v1/info", headers={"Accept": "text/html"})).status_code == 401
    assert (await face.get("/asks/1")).status_code == 401


async def test_D33_who_may_not_define_stores_nothing(make_face: MakeFace) -> None:
    face = make_face()
    others = [scope for scope in SCOPES if scope not in ("define", "admin")]
    face.key = await face.make_key(*others)
    given = {"schema_version": 1, "name": "mine", "actions": []}
    for path in ("/v1/definitions", "/v1/definitions/validate"):
        assert (await face.post(path, given)).status_code == 403
    assert (await face.ask("PUT", "/v1/definitions/mine", json=given)).status_code == 403
    assert "mine" not in {one.name for one in await face.engine.definitions.list()}


async def test_D34_grants_are_a_promoters(make_face: MakeFace) -> None:
    """Who may define gives nobody anything, by no way of asking."""
    face = make_face()
    chat = Connector("chat")
    chat.action("Say")(lambda params: {})
    face.engine.connectors.add(chat)
    say = {"connector_id": "chat", "type": "Say", "order": 1, "parameters": {}}
    given = {"schema_version": 1, "name": "mine", "actions": [say]}
    face.key = await face.make_key("define", "start", "control", "read")
    use = {"grant": ["connector:chat"]}
    assert (await face.post("/v1/definitions", given)).json()["release"] is False
    assert (await face.post("/v1/definitions?grant=connector:chat", given)).status_code == 403
    assert (await face.post("/v1/definitions/mine/promote", use)).status_code == 403
    assert (await face.post("/v1/definitions/mine/revoke", {"grants": []})).status_code == 403
    assert (await face.post("/v1/definitions/mine/enable")).status_code == 403
    started = await face.post("/v1/workflows/mine/instances", {})
    assert started.status_code == 201
    await face.engine.until_idle()
    found = await face.engine.get(started.json()["instance"])
    assert found.status == "failed" and "was not granted connector:chat" in found.error.message
    face.key = await face.make_key("promote")
    answer = await face.post("/v1/definitions/mine/promote", {})
    assert answer.status_code == 403 and answer.json()["code"] == "not_granted"
    assert (await face.post("/v1/definitions/mine/promote", use)).json()["release"] is True


async def test_D34_who_may_define_and_not_promote_changes_nothing_that_runs(
    make_face: MakeFace,
) -> None:
    """Neither by the first version of a name, which is released by itself, nor by `enabled`."""
    face = make_face()
    engine = face.engine
    face.key = await face.make_key("define")
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "go"}}
    log = {"type": "Core:Log", "order": 1, "parameters": {"text": "x"}}
    first = {"schema_version": 1, "name": "mine", "source": source, "actions": [log]}
    for query in ("", "?draft=false", "?promote=false"):
        for given in (first, {**first, "enabled": True}):
            answer = await face.post(f"/v1/definitions{query}", given)
            assert answer.json()["enabled"] is False, answer.text
            assert (await engine.post({"type": "go"})).matched_total == 0
    assert (await face.post("/v1/definitions/mine/enable")).status_code == 403
    await engine.definitions.enable("mine")
    assert (await engine.post({"type": "go"})).matched_total == 1
    second = {**first, "enabled": False, "actions": [{**log, "description": "d"}]}
    await face.post("/v1/definitions", second)
    assert (await engine.post({"type": "go"})).matched_total == 1
    face.key = await face.make_key("define", "promote")
    await face.post("/v1/definitions", second)
    assert (await engine.post({"type": "go"})).matched_total == 0
    with pytest.raises(InvalidRequest, match="draft or promote"):
        await engine.definitions.push(first, promote=True, draft=True)


async def test_H19_a_token_is_not_in_the_log_when_its_call_is_a_fault(
    make_face: MakeFace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    face = make_face()

    async def broken(token: str) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(face.engine.callbacks, "find", broken)
    token = "Tok" * 21 + "n"
    answer = await face.post(f"/callbacks/{token}", {})
    assert answer.status_code == 500
    assert token not in answer.text and token not in caplog.text
    assert "/callbacks/..." in caplog.text
