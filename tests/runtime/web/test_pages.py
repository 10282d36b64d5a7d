"""The pages, without a browser: what they show, what their forms do, who may see them.

Every action of a page is a request a program can send as well: the tests send the line a page
shows to a real socket and get the same end.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx2
import pytest

from greenroom import (
    Connector,
    FormPage,
    State,
    approval,
    begin,
    conditional,
    done,
    inputstep,
    retrystep,
    step,
    wait,
    workflow,
)
from greenroom.definitions.errors import InvalidInput, InvalidRequest, NotPermitted
from greenroom.definitions.fields import Email, LongText, choice_list, read_only
from greenroom.runtime.failures import fingerprint
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.guard import HEADERS
from greenroom.runtime.web.pages import deeds, fields, instances
from greenroom.runtime.web.routes import rule_of
from greenroom.testing import TestEngine
from tests.runtime.web.conftest import HOST, QUICK, Face, MakeFace, by_socket

HTML = {"Accept": "text/html"}


class Who(FormPage):
    name: str
    email: Email
    country: Literal["CH", "DE", "FR", "IT", "AT"] = "CH"


class Terms(FormPage):
    agree: bool
    comment: LongText = ""


@inputstep("Confirm delivery", assignee="ann")
def confirm(order_id: str) -> Any:
    """Two pages, the second depends on the first."""
    who = yield Who
    terms = yield Terms
    return {"name": who.name, "agreed": terms.agree}


@workflow(key="::data.order_id")
def delivery() -> Any:
    return begin >> confirm >> done


@retrystep("Charge card", delay="1h", max_attempts=5)
async def charge_card(order_id: str) -> State:
    raise ConnectionError(f"bank of {order_id} does not answer")


@workflow(on="card.due", where={"data.sku": "A1"}, key="::data.order_id")
def charging() -> Any:
    return begin >> charge_card >> done


@step
async def fall(n: int = 0) -> State:
    raise ValueError(f"row {n} has no price")


@workflow(key="::data.n")
async def importer(n: int) -> None:
    await fall(n=n)


@workflow(key="::data.id")
async def holiday(id: str) -> Any:
    said = await approval("May they go?", assignee="boss")
    await wait("holiday.over", where={"data.id": id})
    return said


@workflow(schedule="0 8 * * MON-FRI")
async def report() -> int:
    return 12


@pytest.fixture
async def pages(make_face: MakeFace, engine: Any) -> Face:
    """A browser on this machine, where nobody needs a key."""
    engine.register(delivery, charging, importer, holiday, report)
    face = make_face(open=True)
    face.http.headers["Accept"] = "text/html"
    return face


def code_in(text: str, kind: str, method: str | None = None) -> str:
    """A request that a page shows."""
    for found in re.findall(rf'<code class="{kind}"[^>]*>(.*?)</code>', text, re.DOTALL):
        shown = html.unescape(found)
        if method is None or f'"method":"{method}"' in shown:
            return shown
    raise AssertionError(f"no {kind} request for {method}")


async def started(engine: Any, name: str, input: Any = None) -> str:
    made = await engine.start(name, input or {})
    await engine.until_idle()
    return str(made.id)


# -- every page ----------------------------------------------------------------------------------


ADDRESSES = (
    "/", "/instances", "/inbox", "/retries", "/events", "/subscriptions", "/schedules",
    "/definitions", "/definitions/delivery", "/document", "/health", "/start/holiday",
    "/start/delivery", "/login", "/schedules?name=report", "/board", "/logs",
)  # fmt: skip


@pytest.mark.parametrize("path", ADDRESSES)
async def test_a_page_has_nothing_inline_and_nothing_from_elsewhere(pages: Face, path: str) -> None:
    await started(pages.engine, "delivery", {"order_id": "7"})
    await started(pages.engine, "importer", {"n": 1})
    answer = await pages.get(path)
    assert answer.status_code == 200, answer.text[-500:]
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert len(answer.content) <= 60_000
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", answer.text))
    for link in re.findall(r'(?:src|href|action|hx-get|hx-post)="([^"]*)"', answer.text):
        assert link.startswith(("/", "?", "#")), link


async def test_D_first_page_is_small_and_has_what_needs_somebody_first(pages: Face) -> None:
    await started(pages.engine, "importer", {"n": 1})
    await started(pages.engine, "delivery", {"order_id": "7"})
    text = (await pages.get("/")).text
    size = len(text)
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        answer = await pages.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        size += int(answer.headers["content-length"])
    assert size <= 60_000
    assert text.index("Needs you") < text.index("All instances")
    assert "Confirm delivery" in text and "row 1 has no price" in text


async def test_pages_hold_under_any_prefix(engine: Any, make_face: MakeFace) -> None:
    engine.register(importer)
    id = await started(engine, "importer", {"n": 1})
    web = engine.asgi(open=True)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await web({**scope, "root_path": "/tools/green"}, receive, send)

    face = make_face(open=True)
    face.http._transport = type(face.http._transport)(mounted, client=("127.0.0.1", 4711))
    answer = await face.get(f"/tools/green/i/{id}")
    assert answer.status_code == 200
    links = re.findall(r'(?:src|href|action|formaction|hx-get)="(/[^"]*)"', answer.text)
    assert links and all(link.startswith("/tools/green/") for link in links)


async def test_who_is_unknown_is_sent_to_the_login_page_and_back(make_face: MakeFace) -> None:
    face = make_face()
    answer = await face.get("/instances?q=status:failed", headers=HTML)
    assert answer.status_code == 303
    assert "/login?back=%2Finstances%3Fq%3Dstatus" in answer.headers["location"]
    page = await face.get("/login?back=/instances", headers=HTML)
    assert 'value="/instances"' in page.text
    key = await face.make_key("read")
    wrong = await face.http.post("/login", data={"key": "gr_x", "back": "/instances"})
    assert wrong.status_code == 401 and 'role="alert"' in wrong.text
    assert 'value="/instances"' in wrong.text and "gr_x" not in wrong.text
    inside = await face.http.post("/login", data={"key": key, "back": "/instances"})
    assert inside.headers["location"] == "/instances"
    assert (await face.get("/instances", headers=HTML)).status_code == 200
    await face.http.post("/logout", data={"csrf": "x"})


@pytest.mark.parametrize("path", [one for one in ADDRESSES if one != "/login"])
async def test_no_page_is_open_to_somebody_without_a_key(make_face: MakeFace, path: str) -> None:
    face = make_face()
    assert (await face.get(path)).status_code == 401


async def test_every_page_has_a_rule_and_those_for_anybody_are_known(engine: Any) -> None:
    web: Web = engine.asgi()
    public = {getattr(route, "path", "") for route in web.routes if rule_of(route) == "public"}
    assert {path for path in public if not path.startswith(("/hooks", "/session", "/static"))} == {
        "/login", "/logout", "/do/{method}", "/a/{token}",
    }  # fmt: skip


async def test_a_session_without_its_token_can_do_nothing_on_a_page(
    pages: Face, make_face: MakeFace
) -> None:
    id = await started(pages.engine, "holiday", {"id": "ann"})
    face = make_face()
    key = await face.make_key("admin")
    await face.http.post("/session", data={"key": key})
    for path in ("/do/cancel", "/instances/bulk", "/do/many", "/document"):
        assert (await face.http.post(path, data={"instance": id})).status_code == 403
    text = (await face.get(f"/i/{id}", headers=HTML)).text
    token = re.search(r'name="csrf" value="([^"]+)"', text)
    assert token is not None
    answer = await face.http.post("/do/pause", data={"instance": id, "csrf": token[1]})
    assert answer.status_code == 303
    assert (await face.engine.get(id)).status == "paused"


async def test_who_may_only_look_sees_no_buttons_and_is_refused(
    pages: Face, make_face: MakeFace
) -> None:
    id = await started(pages.engine, "holiday", {"id": "ann"})
    face = make_face()
    face.key = await face.make_key("read")
    text = (await face.get(f"/i/{id}?tab=actions", headers=HTML)).text
    assert "/do/cancel" not in text and "You may look" in text
    answer = await face.http.post(
        "/do/cancel", data={"instance": id}, headers={"Authorization": f"Bearer {face.key}"}
    )
    assert answer.status_code == 303 and (await face.engine.get(id)).status == "waiting"


# -- actions -------------------------------------------------------------------------------------


async def test_an_action_is_shown_as_requests_and_the_socket_takes_the_very_line(
    pages: Face,
) -> None:
    one = await started(pages.engine, "holiday", {"id": "ann"})
    two = await started(pages.engine, "holiday", {"id": "bob"})
    for verb, status in (("pause", "paused"), ("resume", "waiting"), ("cancel", "cancelled")):
        text = (await pages.get(f"/i/{two}")).text
        line = code_in(text, "socket", verb)
        assert json.loads(line)["params"] == {"instance": two}
        assert f"greenroom {verb} {two}" in html.unescape(text)
        answer = await pages.http.post(f"/do/{verb}", data={"instance": one, "reason": "audit"})
        assert answer.status_code == 303
        reply = await by_socket(pages.engine, line)
        assert reply["result"]["status"] == status
        await pages.engine.until_idle()
        assert [(await pages.engine.get(id)).status for id in (one, two)] == [status, status]
    history = await pages.engine.history(one)
    assert [e.data["reason"] for e in history.items if e.kind == "InstancePaused"] == ["audit"]


async def test_what_an_action_said_is_told_once(pages: Face) -> None:
    id = await started(pages.engine, "holiday", {"id": "ann"})
    answer = await pages.http.post("/do/pause", data={"instance": id, "back": f"/i/{id}"})
    assert answer.headers["location"] == f"/i/{id}"
    assert "pause: it is paused" in (await pages.get(f"/i/{id}")).text
    assert "pause: it is paused" not in (await pages.get(f"/i/{id}")).text
    await pages.http.post("/do/skip", data={"instance": id, "op": "nope", "output:json": "{"})
    assert "output is not JSON" in (await pages.get("/")).text


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "/\\evil", "x", ""])
async def test_an_action_leads_nowhere_else(pages: Face, place: str) -> None:
    answer = await pages.http.post("/do/pause", data={"instance": "nothing", "back": place})
    assert answer.headers["location"] == "/"


async def test_a_method_that_is_no_action_is_refused(pages: Face) -> None:
    for method in ("list", "answer", "nothing", "events.list"):
        answer = await pages.http.post(f"/do/{method}", data={"q": "x"})
        assert answer.status_code == 303
        assert 'class="said bad"' in (await pages.get("/")).text


def test_a_deed_is_spelled_for_shell_curl_and_socket() -> None:
    deed = deeds.Deed("skip", {"instance": "order/7", "op": "charge", "reason": "it's paid"})
    assert deed.shell == "greenroom skip order/7 charge --reason 'it'\"'\"'s paid'"
    assert deed.curl("http://h").endswith("http://h/v1/instances/order%2F7/skip")
    assert json.loads(deed.socket)["method"] == "skip"
    assert deeds.Deed("send", {"instance": "x", "event": {}}).shell is None
    with pytest.raises(InvalidRequest, match="unknown method"):
        deeds.route_of("puase")


# -- instances -----------------------------------------------------------------------------------


async def test_the_list_takes_the_filter_of_every_face_and_says_what_is_wrong_with_it(
    pages: Face,
) -> None:
    await started(pages.engine, "holiday", {"id": "ann"})
    await started(pages.engine, "importer", {"n": 1})
    text = (await pages.get("/instances", params={"q": "status:failed"})).text
    assert "importer/1" in text and "holiday/ann" not in text
    answer = await pages.get("/instances", params={"q": "status:waitin"})
    assert answer.status_code == 400
    assert "did you mean waiting?" in answer.text and 'value="status:waitin"' in answer.text


async def test_the_list_is_read_page_by_page(pages: Face) -> None:
    for n in range(60):
        await pages.engine.start("holiday", {"id": f"p{n}"})
    await pages.engine.until_idle()
    first = (await pages.get("/instances")).text
    assert first.count("data-row") == instances.PAGE
    more = re.search(r'rel="next" href="([^"]+)"', first)
    assert more is not None
    assert (await pages.get(html.unescape(more[1]))).text.count("data-row") == 10


async def test_a_verb_for_many_is_tried_dry_first(pages: Face) -> None:
    engine = pages.engine
    for n in range(5):
        await engine.start("holiday", {"id": f"p{n}"})
    await started(engine, "importer", {"n": 1})
    form = {"verb": "cancel", "all": "1", "q": "workflow:holiday", "reason": "closed"}
    dry = await pages.http.post("/instances/bulk", data=form)
    assert "Cancel 5 instances?" in dry.text and "Nothing was done yet" in dry.text
    assert "-status:completed -status:cancelled workflow:holiday" in html.unescape(dry.text)
    assert (await engine.list("workflow:holiday status:waiting")).total == 5
    deed = json.loads(code_in(dry.text, "socket", "many"))["params"]
    answer = await pages.http.post("/do/many", data={**deed, "back": "/instances"})
    assert answer.status_code == 303
    assert "cancel: 5 of 5" in (await pages.get("/instances")).text
    assert (await engine.list("workflow:holiday status:cancelled")).total == 5
    assert (await engine.list("status:failed")).total == 1


async def test_refusals_of_many_are_counted_and_the_others_done(pages: Face) -> None:
    engine = pages.engine
    live = await started(engine, "holiday", {"id": "ann"})
    gone = await started(engine, "report")
    chosen = json.dumps([live, gone, "nobody-is-called-so"])
    await pages.http.post("/do/many", data={"verb": "pause", "instances:json": chosen})
    text = (await pages.get("/")).text
    assert "pause: 1 of 2" in text and "there is no instance nobody" in text
    assert text.count("1 times: ") == 2
    assert (await engine.get(live)).status == "paused"
    empty = await pages.http.post("/instances/bulk", data={"verb": "pause"})
    assert empty.status_code == 303
    assert (await pages.http.post("/instances/bulk", data={"verb": "skip"})).status_code == 422


async def test_an_instance_shows_its_attempts_waits_and_the_countdown(pages: Face) -> None:
    engine = pages.engine
    id = await started(engine, "charging", {"order_id": "7"})
    text = (await pages.get(f"/i/{id}")).text
    assert 'class="bar failed"' in text and 'class="bar retry"' in text
    assert "bank of 7 does not answer" in text
    due = re.search(r'data-until="(\d+)"', text)
    assert due is not None and int(due[1]) > engine.clock.now()
    assert "Retry now" in text
    await pages.http.post("/do/resume", data={"instance": id})
    await engine.until_idle()
    assert "2 attempts" in (await pages.get("/i/charging/7")).text


async def test_an_instance_is_found_by_workflow_and_key(pages: Face) -> None:
    await started(pages.engine, "holiday", {"id": "ann"})
    assert (await pages.get("/i/holiday/ann")).status_code == 200
    answer = await pages.get("/i/holiday/nobody")
    assert answer.status_code == 404 and "there is no instance holiday/nobody" in answer.text
    assert (await pages.get("/go?to=holiday/ann")).headers["location"].startswith("/i/")
    assert (await pages.get("/go?to=retry room")).headers["location"] == "/retries"
    assert "q=status%3Afailed" in (await pages.get("/go?to=status:failed")).headers["location"]


@pytest.mark.parametrize("tab", ["timeline", "journal", "state", "graph", "actions"])
async def test_a_long_history_is_shown_in_windows(pages: Face, tab: str) -> None:
    engine = pages.engine

    @workflow
    async def long() -> int:
        for n in range(300):
            await fine(n=n)
        return 300

    @step
    async def fine(n: int) -> int:
        return n

    engine.register(long)
    id = await started(engine, "long")
    answer = await pages.get(f"/i/{id}?tab={tab}")
    assert answer.status_code == 200
    if tab in ("timeline", "journal"):
        assert "turns 102 to 301 of 301" in answer.text
        assert "turns 1 to 200 of 301" in (await pages.get(f"/i/{id}?tab={tab}&after=0")).text


async def test_the_state_is_shown_as_it_was_at_any_turn(pages: Face) -> None:
    engine = pages.engine

    @step
    async def one() -> State:
        return {"a": 1}

    @step
    async def two() -> State:
        return {"a": 2, "b": [1]}

    @workflow
    def changing() -> Any:
        return begin >> one >> two >> done

    engine.register(changing)
    id = await started(engine, "changing")
    head = (await pages.get(f"/i/{id}?tab=state")).text
    assert "&#34;a&#34;: 2" in head and "$.a" in head and "$.b" in head
    past = (await pages.get(f"/i/{id}?tab=state&seq=2")).text
    assert "&#34;a&#34;: 1" in past and "$.b" not in past
    assert (await pages.get(f"/i/{id}?tab=state&seq=99999")).status_code == 200


# -- questions -----------------------------------------------------------------------------------


async def test_a_form_of_two_pages_is_answered_page_by_page(pages: Face) -> None:
    engine = pages.engine
    id = await started(engine, "delivery", {"order_id": "7"})
    assert "Confirm delivery" in (await pages.get("/inbox")).text
    place = f"/asks/{id}.confirm"
    page = (await pages.get(place)).text
    assert 'name="f.email"' in page and 'type="email"' in page and "<option" in page
    wrong = await pages.http.post(place, data={"page": "1", "step": "next", "f.email": "nowhere"})
    assert wrong.status_code == 422
    assert "must be an e-mail address" in wrong.text and "is required" in wrong.text
    assert 'value="nowhere"' in wrong.text and 'aria-invalid="true"' in wrong.text
    first = {
        "page": "1",
        "step": "next",
        "f.name": "Ann",
        "f.email": "ann@x.org",
        "f.country": "DE",
    }
    answer = await pages.http.post(place, data=first)
    assert answer.headers["location"] == f"{place}?page=2"
    assert 'name="f.agree"' in (await pages.get(place)).text  # the draft is gone on with
    back = await pages.http.post(place, data={"page": "2", "step": "back", "f.agree": "1"})
    assert back.headers["location"] == f"{place}?page=1"
    again = (await pages.get(f"{place}?page=1")).text
    assert 'value="Ann"' in again and '<option value="DE" selected>' in again
    assert (await engine.get(id)).status == "waiting"
    await pages.http.post(place, data=first)
    assert "checked" in (await pages.get(f"{place}?page=2")).text
    answer = await pages.http.post(place, data={"page": "2", "step": "next", "f.agree": "1"})
    assert answer.headers["location"] == "/inbox"
    await engine.until_idle()
    found = await engine.get(id)
    assert found.status == "completed" and found.state["name"] == "Ann" and found.state["agreed"]
    assert "Answered by" in (await pages.get(place)).text
    late = await pages.http.post(place, data=first)
    assert late.status_code == 409


async def test_a_form_answered_by_the_line_its_page_shows_ends_alike(pages: Face) -> None:
    id = await started(pages.engine, "delivery", {"order_id": "7"})
    place = f"/asks/{id}.confirm"
    data = {"page": "1", "step": "keep", "f.name": "Ann", "f.email": "ann@x.org"}
    await pages.http.post(place, data=data)
    first = json.loads(code_in((await pages.get(f"{place}?page=1")).text, "socket", "asks.draft"))
    assert first["params"]["data"] == [{"name": "Ann", "email": "ann@x.org", "country": "CH"}]
    line = code_in((await pages.get(f"{place}?page=2")).text, "socket", "answer")
    assert json.loads(line)["params"]["data"][1] == {"agree": False}
    reply = await by_socket(pages.engine, line)
    await pages.engine.until_idle()
    assert reply["result"]["ask"] == f"{id}.confirm"
    assert (await pages.engine.get(id)).status == "completed"


async def test_two_people_answer_one_question_one_wins_the_other_is_told(pages: Face) -> None:
    id = await started(pages.engine, "holiday", {"id": "ann"})
    ask = (await pages.engine.asks.list()).items[0].id
    assert ask.startswith(id)
    answers = await asyncio.gather(
        *(
            pages.http.post(f"/asks/{ask}", data={"decision": word})
            for word in ("approve", "reject")
        )
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    told = next(answer for answer in answers if answer.status_code == 409)
    assert "was answered at" in told.text or "was answered by" in told.text


async def test_questions_of_others_are_not_there_for_whom_may_answer_only_some(
    pages: Face, make_face: MakeFace
) -> None:
    await started(pages.engine, "holiday", {"id": "ann"})
    ask = (await pages.engine.asks.list()).items[0].id
    face = make_face()
    face.key = await face.make_key("answer:noc")
    assert "May they go?" not in (await face.get("/inbox")).text
    assert (await face.get(f"/asks/{ask}")).status_code == 404
    face.key = await face.make_key("answer:boss")
    assert "May they go?" in (await face.get("/inbox")).text


async def test_a_name_of_ones_own_is_for_people_of_this_machine(
    pages: Face, make_face: MakeFace
) -> None:
    engine = pages.engine
    id = await started(engine, "holiday", {"id": "ann"})
    await pages.http.post("/as", data={"name": "boss", "back": "/inbox"})
    assert "May they go?" in (await pages.get("/inbox?for=mine")).text
    ask = (await engine.asks.list()).items[0].id
    await pages.http.post(f"/asks/{ask}", data={"decision": "approve"})
    entries = (await engine.history(id)).items
    by = next(entry.by for entry in entries if entry.kind == "AskAnswered")
    assert by is not None and by.startswith("boss via ")
    face = make_face()
    key = await face.make_key("answer")
    answer = await face.http.post(
        "/as", data={"name": "boss"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert "greenroom-as" not in answer.headers.get("set-cookie", "")


async def test_a_signed_link_answers_one_question_without_an_account(
    pages: Face, make_face: MakeFace
) -> None:
    engine = pages.engine
    id = await started(engine, "holiday", {"id": "ann"})
    await started(engine, "holiday", {"id": "bob"})
    ask = f"{id}.{(await engine.get(id)).waits[0].op}"
    engine.links.serve("https://green.example.org/")
    link = engine.links.to(ask, "boss")
    assert link.startswith("https://green.example.org/a/")
    path = link.removeprefix("https://green.example.org")
    face = make_face()  # nobody
    page = (await face.get(path)).text
    assert "May they go?" in page and "<script" not in page and "holiday/ann" in page
    assert id not in re.sub(r'action="[^"]*"', "", page)  # nothing of how the work is done
    answer = await face.http.post(path, data={"decision": "approve", "f.comment": "enjoy"})
    assert answer.status_code == 303
    assert "Answered by link:" in (await face.get(path)).text
    entry = next(e for e in (await engine.history(id)).items if e.kind == "AskAnswered")
    assert entry.by == f"link:{ask[:8]}/boss"
    assert entry.data["data"] == {"approved": True, "comment": "enjoy"}
    assert (await engine.list("workflow:holiday status:waiting")).total == 2


async def test_a_link_counts_as_the_person_it_was_given_to(engine: Any, pages: Face) -> None:
    @workflow
    async def strict() -> Any:
        return await approval("Really?", assignee="boss", enforce_assignee=True)

    engine.register(strict)
    id = await started(engine, "strict")
    ask = f"{id}.{(await engine.get(id)).waits[0].op}"
    for to, status in (("eve", 403), ("boss", 303)):
        token = engine.links.token(ask, to)
        answer = await pages.http.post(f"/a/{token}", data={"decision": "approve"})
        assert answer.status_code == status


@pytest.mark.parametrize("to", ["", "eve via uid:0/root", "a\nb", "x" * 2_000])
async def test_a_link_is_given_to_nobody_who_reads_as_somebody_else(engine: Any, to: str) -> None:
    with pytest.raises(InvalidInput):
        engine.links.token("any.ask", to)


async def test_a_link_that_was_changed_or_is_old_is_refused(pages: Face, engine: Any) -> None:
    id = await started(engine, "holiday", {"id": "ann"})
    ask = f"{id}.{(await engine.get(id)).waits[0].op}"
    token = engine.links.token(ask, "boss", "1h")
    for wrong in (token[:-2], token.replace(token[5], "x", 1), "a.b", "", token + "A"):
        with pytest.raises(NotPermitted):
            engine.links.read(wrong)
    assert (await pages.get(f"/a/{token[:-3]}")).status_code == 403
    await engine.advance("61m")
    answer = await pages.get(f"/a/{token}")
    assert answer.status_code == 403 and "too old" in answer.text


# -- forms ---------------------------------------------------------------------------------------


class Inner(FormPage):
    street: str
    floor: int = 0


class Everything(FormPage):
    text: str
    long: LongText = ""
    count: int = 1
    ratio: float | None = None
    yes: bool = False
    few: Literal["a", "b"]
    where: Inner
    tags: list[str] = []  # noqa: RUF012  a page
    fixed: read_only("x")  # type: ignore[valid-type]


SCHEMA = Everything.__page__.schema()


class Given(dict[str, Any]):
    """A form as starlette hands it over."""

    def getlist(self, name: str) -> list[Any]:
        found = self.get(name, [])
        return found if isinstance(found, list) else [found]


def test_what_is_filled_in_comes_back_as_the_schema_says() -> None:
    given = Given({
        "f.text": " hi ", "f.long": "a\r\nb", "f.count": "3", "f.ratio": "0.5", "f.yes": "1",
        "f.few": "b", "f.where.street": "Main", "f.tags": "x\r\ny\r\n", "f.fixed": "hacked",
    })  # fmt: skip
    data = fields.answer_of(SCHEMA, given)  # type: ignore[arg-type]
    assert data == {
        "text": "hi", "long": "a\nb", "count": 3, "ratio": 0.5, "yes": True, "few": "b",
        "where": {"street": "Main"}, "tags": ["x", "y"],
    }  # fmt: skip
    page, errors = Everything.__page__.read(data)
    assert not errors and page.where.street == "Main"


def test_every_field_has_a_look_and_its_error_beside_it() -> None:
    errors: list[dict[str, Any]] = [
        {"loc": ["where", "street"], "msg": "is required"}, {"loc": ["tags", 1], "msg": "too long"},
        {"loc": ["__root__"], "msg": "text and long contradict"},
    ]  # fmt: skip
    made, rest = fields.fields_of(SCHEMA, {"count": 7}, errors)
    looks = {field.name: field.look for field in fields.walk(made)}
    assert looks == {
        "f.text": "line", "f.long": "long", "f.count": "number", "f.ratio": "number",
        "f.yes": "yes", "f.few": "radio", "f.where": "group", "f.where.street": "line",
        "f.where.floor": "number", "f.tags": "list", "f.fixed": "shown",
    }  # fmt: skip
    by_name = {field.name: field for field in fields.walk(made)}
    assert by_name["f.where.street"].error == "is required"
    assert by_name["f.tags"].error == "too long"
    assert by_name["f.count"].value == 7
    assert rest == ["text and long contradict"]


def test_a_number_that_is_none_is_left_for_the_form_to_refuse() -> None:
    data = fields.answer_of(SCHEMA, Given({"f.count": "many"}))  # type: ignore[arg-type]
    assert data["count"] == "many"
    assert fields.answer_of(None, Given()) == {}  # type: ignore[arg-type]


async def test_a_workflow_is_started_from_a_form_of_its_arguments(pages: Face) -> None:
    page = (await pages.get("/start/holiday")).text
    assert 'name="f.id"' in page
    missing = await pages.http.post("/start/holiday", data={"step": "next"})
    assert missing.status_code == 422
    answer = await pages.http.post("/start/holiday", data={"step": "next", "f.id": "cid"})
    assert answer.status_code == 303 and answer.headers["location"].startswith("/i/")
    assert (await pages.engine.list("workflow:holiday key:cid")).total == 1


async def test_a_workflow_with_a_form_is_asked_page_by_page_before_it_exists(pages: Face) -> None:
    def entry() -> Any:
        who = yield Who
        terms = yield Terms
        return {"name": who.name, "agreed": terms.agree}

    @step
    async def confirm_nothing(name: str) -> State:
        return {"hello": name}

    @workflow(initial_input_form=entry)
    def joined() -> Any:
        return begin >> confirm_nothing >> done

    pages.engine.register(joined)
    assert 'name="f.email"' in (await pages.get("/start/joined")).text
    first = {"step": "next", "kept": "[]", "f.name": "Ann", "f.email": "ann@x.org"}
    second = await pages.http.post("/start/joined", data=first)
    assert 'name="f.agree"' in second.text
    kept = html.unescape(re.search(r'name="kept" value="([^"]*)"', second.text)[1])  # type: ignore[index]
    back = await pages.http.post("/start/joined", data={"step": "back", "kept": kept})
    assert 'value="Ann"' in back.text
    answer = await pages.http.post(
        "/start/joined", data={"step": "next", "kept": kept, "f.agree": "1"}
    )
    await pages.engine.until_idle()
    made = await pages.engine.get(answer.headers["location"].removeprefix("/i/"))
    assert made.state["hello"] == "Ann"


async def test_a_start_takes_json_too_where_more_is_to_be_said(pages: Face) -> None:
    page = (await pages.get("/start/delivery")).text
    assert 'name="f.order_id"' in page and "/start/delivery?as=json" in page
    page = (await pages.get("/start/delivery?as=json")).text
    assert 'name="input"' in page and 'name="f.order_id"' not in page
    wrong = await pages.http.post("/start/delivery", data={"as": "json", "input": "{"})
    assert wrong.status_code == 422 and "is not JSON" in wrong.text
    given = {"as": "json", "input": '{"order_id": "7", "more": [1]}'}
    answer = await pages.http.post("/start/delivery", data=given)
    made = await pages.engine.get(answer.headers["location"].removeprefix("/i/"))
    assert made.state["more"] == [1]


async def test_who_lacks_a_scope_is_told_on_a_page_and_a_program_by_a_problem(
    make_face: MakeFace,
) -> None:
    face = make_face()
    face.key = await face.make_key("read")
    for path in ("/start/holiday", "/document"):
        page = await face.get(path, headers=HTML)
        assert page.status_code == 403 and page.headers["content-type"].startswith("text/html")
        assert "this needs the scope" in page.text
    answer = await face.post("/v1/workflows/holiday/instances", {"input": {"id": "x"}})
    assert answer.status_code == 403 and "problem+json" in answer.headers["content-type"]


# -- the other pages -----------------------------------------------------------------------------


async def test_an_event_shows_the_criterion_that_failed_with_its_values(pages: Face) -> None:
    posted = await pages.engine.post({"type": "card.due", "data": {"order_id": "9", "sku": "B2"}})
    text = (await pages.get(f"/events/{posted.id}")).text
    assert "not matched" in text and "::data.sku" in text
    assert "<b>B2</b>" in text and "<b>A1</b>" in text
    line = code_in(text, "socket", "events.resend")
    assert (await by_socket(pages.engine, line))["result"]["matched_total"] == 0
    await pages.http.post("/do/post", data={
        "event:json": '{"type":"card.due","data":{"order_id":"9","sku":"A1"}}'})  # fmt: skip
    assert "matched 1" in (await pages.get("/events")).text


async def test_failures_that_are_one_are_retried_together(pages: Face) -> None:
    for n in range(3):
        await started(pages.engine, "importer", {"n": n})
    await started(pages.engine, "charging", {"order_id": "7"})
    text = (await pages.get("/retries")).text
    assert text.count('class="card group"') == 2 and "3 failed" in text and "will try again" in text
    group = json.loads(code_in(text, "socket", "many"))["params"]
    assert group["q"] == "status:failed workflow:importer step:1"
    await pages.http.post("/do/many", data=group)
    assert "retry: 3 of 3" in (await pages.get("/retries")).text
    await pages.engine.until_idle()
    await started(pages.engine, "importer", {"n": 4})
    await pages.http.post("/do/many", data={**group, "verb": "cancel"})
    assert (await pages.engine.list("workflow:importer status:cancelled")).total == 4
    await pages.http.post("/do/many", data={**group, "verb": "cancel"})
    assert "cancel: 0 of 0" in (await pages.get("/retries")).text


def test_a_fingerprint_leaves_out_what_differs() -> None:
    assert fingerprint("row 17 of 'a.csv' at 0x7ff") == fingerprint("row 3 of 'b.csv' at 0x1a")
    assert fingerprint("no price") != fingerprint("no name")


BRANCHES = {
    "schema_version": 1, "name": "routing",
    "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "ticket.opened"}},
    "actions": [
        {"type": "Core:Branch", "order": 1, "parameters": {"branches": [
            {"order": 1, "condition": {"criteria": [{"attributes": [
                {"type": "Number", "attribute": "::level", "operator": "gte", "value": 3}]}]},
             "actions": [{"type": "Core:Log", "order": 1, "parameters": {"text": "urgent"}}]},
            {"order": 2, "actions": [
                {"type": "Core:Log", "order": 1, "parameters": {"text": "can wait"}}]}]}},
    ],
}  # fmt: skip


async def test_D_a_graph_says_which_branch_was_taken_and_what_it_saw(pages: Face) -> None:
    engine = pages.engine

    @step
    async def notify(total: int) -> State:
        return {"total": 0, "notified": True}

    @workflow
    def billing() -> Any:
        return begin >> conditional(lambda s: s["total"] > 100)(notify) >> done

    engine.register(billing)
    await engine.definitions.push(BRANCHES, promote=True)
    for total, mark in ((50, "✕"), (500, "✓")):
        id = await started(engine, "billing", {"total": total})
        text = html.unescape((await pages.get(f"/i/{id}?tab=graph")).text)
        assert f'{mark} if s["total"] > 100' in text
        assert f"(total was {total})" in text
    low = await started(engine, "routing", {"level": 1})
    text = (await pages.get(f"/i/{low}?tab=graph")).text
    assert "✕ if ::level gte 3" in text and "(it was 1)" in text
    assert text.index("not taken") < text.index("✓ taken") < text.index("none of the others")
    high = (await pages.get(f"/i/{await started(engine, 'routing', {'level': 4})}?tab=graph")).text
    assert "✓ if ::level gte 3" in high and high.index("✓ taken") < high.index("not taken")
    plan = (await pages.get("/definitions/routing")).text
    assert "if ::level gte 3" in plan and "it was" not in plan


async def test_a_schedule_is_previewed_paused_and_triggered(pages: Face) -> None:
    engine = pages.engine
    id = (await engine.schedules.list())[0].id
    text = (await pages.get("/schedules", params={"name": id, "assume": "down=07:00-09:00"})).text
    assert text.count("08:00:00.000 UTC") >= 10
    await pages.http.post("/do/schedules.pause", data={"name": id})
    assert (await engine.schedules.list())[0].paused
    line = code_in((await pages.get("/schedules")).text, "socket", "schedules.resume")
    await by_socket(engine, line)
    assert not (await engine.schedules.list())[0].paused
    await pages.http.post("/do/schedules.trigger", data={"name": id})
    await engine.until_idle()
    assert (await engine.list("workflow:report")).total == 1


DOCUMENT = {
    "schema_version": 1, "name": "welcome",
    "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "user.created"}},
    "actions": [{"type": "Core:Log", "order": 1, "parameters": {"text": "Hello"}}],
}  # fmt: skip


async def test_a_document_is_checked_while_it_is_written_and_stored_as_a_version(
    pages: Face,
) -> None:
    for text, said in (("{", "not JSON"), ('{"name": 1}', "name"), ("", "nothing to check")):
        answer = await pages.http.post("/document", data={"document": text})
        assert answer.status_code == 422 and said in answer.text
    good = await pages.http.post("/document", data={"document": json.dumps(DOCUMENT)})
    assert "valid: welcome" in good.text
    assert "welcome" not in pages.engine.registry.names()
    form = {"document": json.dumps(DOCUMENT), "step": "push"}
    answer = await pages.http.post("/document", data=form)
    assert answer.headers["location"] == "/definitions/welcome"
    DOCUMENT["actions"][0]["parameters"]["text"] = "Hi"  # type: ignore[index]
    await pages.http.post("/document", data={"document": json.dumps(DOCUMENT), "step": "push"})
    page = (await pages.get("/definitions/welcome?check=2")).text
    assert "The gate, for v2" in page and "Hello" in page and "Hi" in page
    line = code_in(page, "socket", "definitions.promote")
    assert json.loads(line)["params"] == {"name": "welcome", "version": 2}
    await by_socket(pages.engine, line)
    assert (await pages.engine.definitions.get("welcome")).version == 2


async def test_a_release_names_what_it_approves(pages: Face) -> None:
    chat = Connector("chat")
    chat.action("Say")(lambda params: {})
    pages.engine.connectors.add(chat)
    say = {"connector_id": "chat", "type": "Say", "order": 1, "parameters": {}}
    await pages.engine.definitions.push({**DOCUMENT, "name": "greet", "actions": [say]})
    page = (await pages.get("/definitions/greet")).text
    assert "not granted: connector:chat" in page and "Promote and grant connector:chat" in page
    line = code_in(page, "socket", "definitions.promote")
    given = {"name": "greet", "version": 1, "grant": ["connector:chat"]}
    assert json.loads(line)["params"] == given
    assert "greenroom def promote greet --version 1 --grant connector:chat" in page
    fields = {"name": "greet", "version": "1", "grant:json": json.dumps(given["grant"])}
    await pages.http.post("/do/definitions.promote", data=fields)
    found = await pages.engine.definitions.get("greet")
    assert (found.release, found.grants) == (True, ["connector:chat"])


async def test_a_condition_that_lets_nothing_through_is_seen(pages: Face) -> None:
    await pages.engine.post({"type": "card.due", "data": {"order_id": "9", "sku": "B2"}})
    text = (await pages.get("/subscriptions")).text
    assert '<span class="bad">0 of 1</span>' in text


async def test_names_and_values_are_shown_as_text_whatever_is_in_them(pages: Face) -> None:
    evil = "<script>alert(1)</script>"
    id = await started(pages.engine, "holiday", {"id": evil})
    await pages.engine.post({"type": "card.due", "data": {"order_id": evil, "sku": evil}})
    for path in ("/", "/instances", f"/i/{id}", f"/i/{id}?tab=journal", f"/i/{id}?tab=state",
                 "/events", f"/instances?q=key:{evil}", f"/login?back={evil}"):  # fmt: skip
        assert "<script>alert" not in (await pages.get(path)).text, path


def test_the_assets_of_others_are_named_with_their_licences() -> None:
    static = Path(fields.__file__).parents[1] / "static"
    notice = (static / "NOTICE").read_text()
    for path in static.glob("*.min.js"):
        assert path.name in notice
    assert "Permission" in notice


def test_several_choices_are_boxes() -> None:
    from greenroom.definitions.fields import Choice  # noqa: PLC0415

    class Size(Choice):
        S = "s", "Small"
        L = "l", "Large"

    class Sizes(FormPage):
        sizes: choice_list(Size, min_items=1)  # type: ignore[valid-type]

    schema = Sizes.__page__.schema()
    made, _ = fields.fields_of(schema, {"sizes": ["l"]})
    assert made[0].look == "many" and made[0].options == [("s", "Small"), ("l", "Large")]
    assert made[0].value == ["l"]
    data = fields.answer_of(schema, Given({"f.sizes": ["s", "l"]}))  # type: ignore[arg-type]
    assert data == {"sizes": ["s", "l"]}


# -- stage graphs --------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[3] / "examples" / "onboarding"


@pytest.fixture
async def stages() -> Any:
    """A browser on an engine with the graph of seed 002."""
    async with TestEngine(str(EXAMPLE)) as engine:
        web = engine.asgi(open=True, limits=QUICK)
        transport = httpx2.ASGITransport(web, client=("127.0.0.1", 4711))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as http:
            yield Face(engine, web, http)


async def test_A3_a_file_is_chosen_in_the_browser_and_kept_when_the_page_comes_again(
    tmp_path: Path,
) -> None:
    """`read_file` is a file to choose, not three texts; what was chosen is not lost by going back."""
    graph = {"name": "hire", "stages": [{"path": "apply", "kind": "form"}]}
    (tmp_path / "stages.json").write_text(json.dumps(graph))
    (tmp_path / "apply.py").write_text(
        "from greenroom import *\nabout = page('You').read_text('Name').read_file('CV').run()\n"
        "get_stage()['cv'] = [about['cv'].name, about['cv'].type, about['cv'].content.decode()]\n"
        "get_stage()['ok'] = read_checkbox('Sure')\n"
    )
    async with TestEngine(f"{tmp_path}/") as engine:
        web = engine.asgi(open=True, limits=QUICK)
        transport = httpx2.ASGITransport(web, client=("127.0.0.1", 4711))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST) as http:
            run = await engine.start("hire")
            await engine.until_idle()
            place = f"/asks/{quote(f'{run.id}.apply#1')}"
            text = (await http.get(place)).text
            assert 'type="file"' in text and 'enctype="multipart/form-data"' in text
            assert "base64" not in text
            sent = {"data": {"page": "1", "f.name": "Ann", "step": "next"}}
            await http.post(place, **sent, files={"f.cv": ("my\\cv.txt", b"skilled", "text/plain")})
            assert "Sure" in (await http.get(place)).text
            again = (await http.get(place, params={"page": "1"})).text
            assert "cv.txt is kept" in again and 'value="Ann"' in again
            await http.post(place, **sent, files={"f.cv": ("", b"", "application/octet-stream")})
            await http.post(place, data={"page": "2", "f.sure": "1", "step": "next"})
            found = await engine.result(run.id)
            assert found == {"cv": ["cv.txt", "text/plain", "skilled"], "ok": True}


async def test_the_board_shows_where_runs_stand_and_moves_them_as_the_socket_does(
    stages: Face,
) -> None:
    engine = stages.engine
    runs = [(await engine.start("onboarding", {}, stage="personal-data")).id for _ in range(2)]
    await engine.until_idle()
    text = (await stages.get("/board")).text
    assert text.count('<li class="card') == 2 and "Contract analysis" in text
    line = code_in(text, "socket", "stages.move")
    assert json.loads(line)["params"]["stage"] == "contract-analysis"
    assert "result" in await by_socket(engine, line)
    other = next(id for id in runs if id != json.loads(line)["params"]["instance"])
    form = {"instance": other, "stage": "contract-analysis"}
    answer = await stages.http.post(
        "/do/stages.move", data=form, headers={"Accept": "application/json"}
    )
    assert answer.json()["ok"] is True
    await engine.until_idle()
    assert {(await engine.get(id)).state["stage"] for id in runs} == {"contract-analysis"}
    refused = await stages.http.post(
        "/do/stages.move", data={**form, "stage": "invited"}, headers={"Accept": "application/json"}
    )
    assert refused.status_code >= 400 and refused.json()["ok"] is False
    assert (await stages.get("/logs?workflow=onboarding")).status_code == 200
    assert (await stages.get("/editor/onboarding")).status_code == 200
    assert (await stages.get("/editor/nothing")).status_code == 404
