"""Every action of every page, as the request that is shown beside it.

Two engines that are twins: same workflows, same ids, same time, same past. On the first a page is
read, its form is filled in as a person would, and the request is asked for; that very line goes by
a real socket to the second. Then the button is pressed on the first. Both must have come to the
same end.

A page may do what `deeds.METHODS` lists and nothing else, and each of those has its entry in
`ACTIONS` here: a new action without one fails.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import pwd
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import pytest

from greenroom import (
    FormPage,
    State,
    approval,
    begin,
    callback_step,
    done,
    inputstep,
    retrystep,
    step,
    wait,
    workflow,
)
from greenroom.definitions.errors import GreenroomError
from greenroom.runtime import memory
from greenroom.runtime.cli.run import run as cli
from greenroom.runtime.cli.session import Session
from greenroom.runtime.many import narrowed
from greenroom.runtime.web import table
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.pages import deeds
from greenroom.runtime.web.routes import PageRoute
from greenroom.testing import TestEngine
from tests.runtime.web.conftest import HOST, QUICK, by_socket

EXAMPLE = Path(__file__).parents[3] / "examples" / "onboarding"


class Who(FormPage):
    name: str
    country: Literal["CH", "DE", "FR"] = "CH"


class Terms(FormPage):
    agree: bool


@inputstep("Confirm delivery")
def confirm(order_id: str) -> Any:
    who = yield Who
    terms = yield Terms
    return {"name": who.name, "agreed": terms.agree}


@workflow(key="::data.order_id")
def delivery() -> Any:
    return begin >> confirm >> done


@retrystep("Charge card", delay="1h", max_attempts=5, jitter=0)
async def charge_card(order_id: str) -> State:
    raise ConnectionError(f"bank of {order_id} does not answer")


@workflow(on="card.due", key="::data.order_id")
def charging() -> Any:
    return begin >> charge_card >> done


@step
async def fall(n: int = 0) -> State:
    raise ValueError(f"row {n} has no price")


@workflow(key="::data.n")
async def importer(n: int) -> None:
    await fall(n=n)


@workflow(key="::data.id")
async def holiday(id: str, days: int = 5) -> Any:
    said = await approval("May they go?", assignee="boss")
    await wait("holiday.over", where={"data.id": id})
    return said


@step
def book(callback_token: str) -> dict[str, Any]:
    return {}


@step
def booked(callback_result: dict[str, Any]) -> dict[str, Any]:
    return callback_result


@workflow(key="::data.id")
def shipment() -> Any:
    return begin >> callback_step("Ship", book, booked) >> done


@workflow
async def ready() -> None:
    await wait("go.on")


@workflow(schedule="0 8 * * MON-FRI")
async def report() -> int:
    return 12


def entry() -> Any:
    who = yield Who
    return {"name": who.name, "country": who.country}


@step
async def hello(name: str) -> State:
    return {"hello": name}


@workflow(initial_input_form=entry)
def joined() -> Any:
    return begin >> hello >> done


DOCUMENT: dict[str, Any] = {
    "schema_version": 1, "name": "welcome",
    "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "user.created"}},
    "actions": [{"type": "Core:Log", "order": 1, "parameters": {"text": "Hello"}}],
}  # fmt: skip
WAITING: dict[str, Any] = {
    "schema_version": 1, "name": "awaiting",
    "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "a.b"}},
    "actions": [{"type": "Core:WaitForEvent", "order": 1, "parameters": {"event_type": "go.on"}}],
}  # fmt: skip
CHANGED = json.dumps({**DOCUMENT, "actions": [*DOCUMENT["actions"], {
    "type": "Core:Log", "order": 2, "parameters": {"text": "Hello again"}}]})  # fmt: skip


BY_PAGE = "http:127.0.0.1"
BY_SOCKET = f"uid:{os.getuid()}/{pwd.getpwuid(os.getuid()).pw_name}"


# -- twins ---------------------------------------------------------------------------------------


class Side:
    """One of the two: an engine with ids that count, and a browser on it."""

    def __init__(self, engine: Any, web: Web, http: httpx2.AsyncClient, me: str) -> None:
        self.engine, self.web, self.http = engine, web, http
        self.me = me
        """Who acts on this side, as it is recorded: by the page, or by the socket."""

    async def start(self, name: str, input: Any, **options: Any) -> str:
        made = await self.engine.start(name, input, **options)
        await self.engine.until_idle()
        return str(made.id)

    async def ends(self) -> Any:
        """All there is, without when it was; whoever acts is called "me"."""
        engine = self.engine
        await engine.until_idle()
        instances = []
        for one in reversed((await engine.list(limit=100)).items):
            found = await engine.get(one.id)
            lines = (await engine.history(one.id)).items
            instances.append((one.id, found.status, found.state, found.result, found.version, [
                (line.kind, line.op, line.by, line.data) for line in lines]))  # fmt: skip
        ends = [
            sorted(instances, key=lambda one: one[0]),
            [(one.id, one.draft) for one in await self._asks()],
            [(one.id, one.paused) for one in await engine.schedules.list()],
            [(one.name, one.version, one.release, one.enabled)
             for one in await engine.definitions.list()],
            [(one.type, one.data, one.by) for one in (await engine.events.list()).items],
            await engine.events.dead(),
        ]  # fmt: skip
        return json.loads(json.dumps(ends, default=str).replace(self.me, "me"))

    async def _asks(self) -> list[Any]:
        asks = (await self.engine.asks.list()).items
        return [await self.engine.asks.get(one.id, by=self.me) for one in asks]


@pytest.fixture
async def twins() -> AsyncIterator[tuple[Side, Side]]:
    async with (
        TestEngine(*_workflows(), new_id=_ids()) as one,
        TestEngine(*_workflows(), new_id=_ids()) as two,
    ):
        sides = []
        for engine, me in ((one, BY_PAGE), (two, BY_SOCKET)):
            web = engine.asgi(open=True, limits=QUICK)
            transport = httpx2.ASGITransport(web, client=("127.0.0.1", 4711))
            http = httpx2.AsyncClient(transport=transport, base_url=HOST)
            http.headers["Accept"] = "text/html"
            sides.append(Side(engine, web, http, me))
        yield sides[0], sides[1]
        for side in sides:
            await side.http.aclose()


def _workflows() -> list[Any]:
    return [delivery, charging, importer, holiday, shipment, report, joined, ready, str(EXAMPLE)]


def _ids() -> Callable[[], str]:
    number = itertools.count(1)
    return lambda: f"01930000-{next(number):04x}-7000-8000-000000000000"


# -- forms of a page -----------------------------------------------------------------------------


class Button(NamedTuple):
    """A button: what it says, where it sends the form, and the field it adds."""

    label: str
    place: str
    pressed: tuple[str, str] | None


class Lines(NamedTuple):
    """The requests beside a button: where they are asked for, with which field, and the socket's."""

    place: str
    press: str
    socket: str


class Form:
    def __init__(self, action: str, id: str) -> None:
        self.action, self.id = action, id
        self.fields: list[tuple[str, str]] = []
        self.buttons: list[Button] = []
        self.lines: list[Lines] = []


class Forms(HTMLParser):
    """The forms of a page that are posted, with the fields a browser would send."""

    def __init__(self, page: str, address: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.address = address
        self._form: Form | None = None
        self._select: tuple[str, list[tuple[str, bool]]] | None = None
        self._text: list[str] | None = None
        self._area, self._place = "", ("", "")
        self._button: tuple[str, tuple[str, str] | None] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        if tag == "form":
            method = a.get("method", "get")
            self._form = (
                Form(a.get("action", self.address), a.get("id", "")) if method == "post" else None
            )
            if self._form is not None:
                self.found.append(self._form)
        form = self._form
        if a.get("form"):
            form = next((one for one in self.found if one.id == a["form"]), None)
        if form is None:
            return
        if tag == "input" and a.get("name"):
            kind = a.get("type", "text")
            if kind not in ("checkbox", "radio") or "checked" in a:
                form.fields.append((a["name"], a.get("value", "1" if kind == "checkbox" else "")))
        elif tag == "select":
            self._select = (a["name"], [])
        elif tag == "option" and self._select is not None:
            self._text = []
            self._select[1].append((a.get("value", "\0"), "selected" in a))
        elif tag == "textarea":
            self._area, self._text = a["name"], []
        elif tag == "button" and a.get("type", "submit") == "submit" and a.get("name") != "show":
            pressed = (a["name"], a.get("value", "")) if a.get("name") else None
            self._button = (a.get("formaction", form.action), pressed)
            self._text = []
        elif tag == "div" and a.get("data-place"):
            self._place = (a["data-place"], a["data-press"])
        elif tag == "code" and a.get("class") == "socket":
            self._text = []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        text = "".join(self._text or ())
        if tag == "form":
            self._form = None
        if self._form is None:
            return
        if tag == "textarea":
            self._form.fields.append((self._area, text))
        elif tag == "option" and self._select is not None and self._select[1][-1][0] == "\0":
            self._select[1][-1] = (text, self._select[1][-1][1])
        elif tag == "select" and self._select is not None:
            name, options = self._select
            chosen = [value for value, chosen in options if chosen] or [options[0][0]]
            self._form.fields.append((name, chosen[0]))
            self._select = None
        elif tag == "button" and self._button is not None:
            self._form.buttons.append(Button(text.strip(), *self._button))
            self._button = None
        elif tag == "code" and self._text is not None:
            self._form.lines.append(Lines(*self._place, text))
        if tag in ("textarea", "option", "button", "code"):
            self._text = None


EXEMPT = {
    "/as": "the name one goes by is a cookie of the browser",
    "/login": "it makes a session, and a program has its key",
    "/logout": "it ends a session",
    "/session": "as /login", "/session/tickets": "as /login", "/session/end": "as /logout",
    "/hooks/{path:path}": "no page: a request of outsiders",
}  # fmt: skip
"""Forms that are no actions on the engine, and why."""


def sent_of(
    form: Form, button: Button, typed: Mapping[str, str | list[str]]
) -> list[tuple[str, str]]:
    """What a browser sends: the fields, some of them filled in, and that of the button."""
    fields = [one for one in form.fields if one[0] not in typed]
    for name, value in typed.items():
        fields += [(name, one) for one in (value if isinstance(value, list) else [value])]
    return [*fields, *([button.pressed] if button.pressed else [])]


async def post(side: Side, place: str, fields: list[tuple[str, str]]) -> httpx2.Response:
    data: dict[str, Any] = {}
    for name, value in fields:
        data.setdefault(name, []).append(value)
    return await side.http.post(html.unescape(place), data=data)


async def shown(side: Side, form: Form, button: Button, fields: list[tuple[str, str]]) -> str:
    """The request for the socket, asked for as the page's script does."""
    press = "=".join(button.pressed) if button.pressed else "1"
    rest = [one for one in fields if one != button.pressed]
    answer = await post(side, button.place, [*rest, ("show", press)])
    assert answer.status_code == 200, answer.text[-400:]
    found = re.search(r'<code class="socket"[^>]*>(.*?)</code>', answer.text, re.DOTALL)
    assert found is not None, answer.text
    return html.unescape(found[1])


# -- the table -----------------------------------------------------------------------------------


class Action(NamedTuple):
    """`method` is what the button does, `prepare` the past it needs (on both sides) and gives the
    address of the page; `button` is what it says; `typed` what a person fills in."""

    method: str
    prepare: Callable[[Side], Any]
    button: str
    typed: Mapping[str, str | list[str]] = {}


def past(name: str, input: Any, path: str = "/i/{}", **options: Any) -> Callable[[Side], Any]:
    async def prepare(side: Side) -> str:
        return path.format(await side.start(name, input, **options))

    return prepare


def at(path: str) -> Callable[[Side], Any]:
    async def prepare(side: Side) -> str:
        return path

    return prepare


async def paused(side: Side) -> str:
    id = await side.start("holiday", {"id": "ann"})
    await side.engine.pause(id)
    return f"/i/{id}"


async def failures(side: Side) -> str:
    for n in range(3):
        await side.start("importer", {"n": n})
    await side.start("charging", {"order_id": "7"})
    return "/retries"


async def holidays(side: Side) -> str:
    for name in ("ann", "bob", "eve"):
        await side.start("holiday", {"id": name})
    return "/instances?q=workflow:holiday"


async def tried_dry(side: Side) -> str:
    await holidays(side)
    return "/instances"


async def posted(side: Side) -> str:
    await side.engine.post({"type": "card.due", "data": {"order_id": "9"}})
    await side.engine.until_idle()
    return f"/events/{(await side.engine.events.list()).items[0].id}"


async def dead_letters(side: Side) -> str:
    """A delivery that a full inbox has refused."""
    await side.start("ready", {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "INBOX_MAX", 0)
        await side.engine.post({"type": "go.on", "id": "e-1", "data": {}})
        await side.engine.until_idle()
    assert await side.engine.events.dead()
    return "/events"


async def an_older_version(side: Side) -> str:
    await side.engine.definitions.push(WAITING, promote=True)
    id = await side.start("awaiting", {})
    more = [*WAITING["actions"], {"type": "Core:Log", "order": 2, "parameters": {"text": "On"}}]
    await side.engine.definitions.push({**WAITING, "actions": more}, promote=True)
    return f"/i/{id}?tab=actions"


async def question(side: Side) -> str:
    id = await side.start("delivery", {"order_id": "7"})
    return f"/asks/{id}.confirm"


async def second_page(side: Side) -> str:
    id = await side.start("delivery", {"order_id": "7"})
    await side.engine.asks.draft(f"{id}.confirm", [{"name": "Ann", "country": "DE"}], by=side.me)
    return f"/asks/{id}.confirm"


async def an_approval(side: Side) -> str:
    return f"/asks/{await side.start('holiday', {'id': 'ann'})}.1"


async def a_callback(side: Side) -> str:
    return f"/asks/{await side.start('shipment', {'id': 's'})}.ship.callback"


async def two_versions(side: Side) -> str:
    await side.engine.definitions.push(DOCUMENT, promote=True)
    await side.engine.definitions.push(json.loads(CHANGED))
    return "/definitions/welcome"


async def off(side: Side) -> str:
    await side.engine.definitions.disable("report")
    return "/definitions/report"


async def a_schedule_paused(side: Side) -> str:
    await side.engine.schedules.pause("report")
    return "/schedules"


async def a_run_of_stages(side: Side) -> str:
    await side.start("onboarding", {}, stage="personal-data")
    return "/board"


FIRST = "01930000-0001-7000-8000-000000000000"
"""The id of the first instance of either twin."""
ACTIONS = (
    Action("pause", past("holiday", {"id": "ann"}), "Pause", {"reason": "it's an audit"}),
    Action("resume", paused, "Resume"),
    Action("resume", past("charging", {"order_id": "7"}), "Retry now", {"reason": "bank is back"}),
    Action("cancel", past("holiday", {"id": "ann"}), "Cancel", {"reason": "ordered twice"}),
    Action("skip", past("charging", {"order_id": "7"}, "/i/{}?tab=actions"), "Skip",
           {"output:json": '{"receipt": "by phone"}', "reason": "paid"}),
    Action("send", past("ready", {}, "/i/{}?tab=actions"), "Send",
           {"event:json": '{"type": "go.on", "id": "e-1"}'}),
    Action("edit", past("charging", {"order_id": "7"}, "/i/{}?tab=actions"), "Change",
           {"set:json": '{"total": 12}', "reason": "typo"}),
    Action("migrate", an_older_version, "Follow it", {"reason": "needs the new step"}),
    Action("fork", past("importer", {"n": 1}, "/i/{}?tab=actions"), "Run again",
           {"input:json": '{"n": 5}', "key": "another"}),
    Action("fork", past("importer", {"n": 1}, "/i/{}?tab=actions"), "Run again", {"key": "again"}),
    Action("many", holidays, "Cancel…", {"all": "1"}),
    Action("many", holidays, "Pause…", {"id": [FIRST], "reason": "audit"}),
    Action("many", tried_dry, "Cancel 2", {"reason": "ordered twice"}),
    Action("many", failures, "Retry all 3", {"reason": "prices are in"}),
    Action("many", failures, "Cancel"),
    Action("start", at("/start/holiday"), "Start", {"f.id": "cid", "f.days": "7", "key": "mine"}),
    Action("start", at("/start/charging"), "Start", {"f.order_id": "41"}),
    Action("start", at("/start/holiday?as=json"), "Start", {"input": '{"id": "cid", "days": 1}'}),
    Action("start", at("/start/joined"), "Continue", {"f.name": "Ann", "f.country": "FR"}),
    Action("start", at("/start/onboarding"), "Start", {"stage": "personal-data"}),
    Action("answer", second_page, "Continue", {"f.agree": "1"}),
    Action("answer", an_approval, "Approve", {"f.comment": "have fun"}),
    Action("answer", an_approval, "Reject"),
    Action("answer", a_callback, "Answer for them", {"data": '{"sent": true}'}),
    Action("asks.draft", question, "Continue", {"f.name": "Ann"}),
    Action("asks.draft", second_page, "Keep for later", {"f.agree": "1"}),
    Action("asks.draft", second_page, "Back"),
    Action("post", at("/events"), "Post",
           {"event:json": '{"type": "card.due", "id": "e-1", "data": {"order_id": "8"}}'}),
    Action("post", posted, "Post it", {"event:json": '{"type": "card.due", "id": "e-9", '
                                       '"data": {"order_id": "10"}}'}),
    Action("events.resend", posted, "Resend as it is"),
    Action("events.redrive", dead_letters, "Deliver again"),
    Action("schedules.pause", at("/schedules"), "Pause"),
    Action("schedules.resume", a_schedule_paused, "Resume"),
    Action("schedules.trigger", at("/schedules"), "Trigger now"),
    Action("schedules.backfill", at("/schedules?name=report"), "Run what had no run",
           {"start": "2026-01-05T00:00:00Z", "end": "2026-01-07T00:00:00Z"}),
    Action("definitions.disable", at("/definitions/report"), "Disable"),
    Action("definitions.enable", off, "Enable"),
    Action("definitions.promote", two_versions, "Promote"),
    Action("definitions.push", at("/document"), "Store as a version", {"document": CHANGED}),
    Action("definitions.validate", at("/document"), "Check", {"document": CHANGED}),
    Action("stages.move", a_run_of_stages, "to Contract analysis"),
)  # fmt: skip


def named(one: Action) -> str:
    return f"{one.method}: {one.button}"


@pytest.mark.parametrize("action", ACTIONS, ids=[f"{n}-{a.method}" for n, a in enumerate(ACTIONS)])
async def test_E_the_request_that_is_shown_comes_to_the_same_end_as_the_button(
    action: Action, twins: tuple[Side, Side]
) -> None:
    mine, other = twins
    address = await action.prepare(mine)
    assert await action.prepare(other) == address
    if action.prepare is tried_dry:
        page = await mine.http.post("/instances/bulk", data={"verb": "cancel", "id": TWO})
    else:
        page = await mine.http.get(address.replace("#", "%23"))
    assert page.status_code == 200, page.text[-400:]
    form, button = found(page.text, address, action)
    fields = sent_of(form, button, action.typed)
    before = await mine.ends()
    line = await shown(mine, form, button, fields)
    assert await mine.ends() == before, "asking for the request does nothing"
    request = json.loads(line)
    assert request["method"] == action.method
    check_curl(page.text, form)
    reply = await by_socket(other.engine, line)
    pressed = await post(mine, button.place, fields)
    assert ("result" in reply) is (pressed.status_code in (200, 303)), (reply, pressed.text[-400:])
    assert await mine.ends() == await other.ends()
    if action.method not in LOOKS and not request["params"].get("dry_run"):
        assert await mine.ends() != before, "the button does something"


TWO = [FIRST, FIRST.replace("0001", "0002")]
LOOKS = {"definitions.validate"}
"""Actions that change nothing."""


def found(page: str, address: str, action: Action) -> tuple[Form, Button]:
    for form in Forms(page, address).found:
        for button in form.buttons:
            if button.label == action.button:
                return form, button
    raise AssertionError(f"no button {action.button!r} on {address}")


EDITOR: dict[str, Callable[[Path], dict[str, str]]] = {
    "stages.save": lambda folder: {"workflow": "onboarding", "document:json": json.dumps(
        {**json.loads((folder / "stages.json").read_text()), "notes": ["kept"]})},
    "stages.deploy": lambda folder: {"what": "onboarding"},
    "stages.validate": lambda folder: {"what": "onboarding"},
    "stages.logs": lambda folder: {"workflow": "onboarding", "test:json": "true"},
}  # fmt: skip
"""What the script of the graph's editor sends, by method. `stages.open` opens a file in somebody's
own editor: nothing comes of it that could be compared."""


@pytest.mark.parametrize("method", EDITOR)
async def test_E_the_editor_of_a_graph_sends_what_a_program_would(
    method: str, tmp_path: Path
) -> None:
    ends = []
    for way in ("page", "socket"):
        folder = tmp_path / way / "onboarding"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        async with TestEngine(str(folder), new_id=_ids()) as engine:
            web = engine.asgi(open=True, limits=QUICK)
            transport = httpx2.ASGITransport(web, client=("127.0.0.1", 4711))
            async with httpx2.AsyncClient(transport=transport, base_url=HOST) as http:
                side = Side(engine, web, http, BY_PAGE)
                fields = EDITOR[method](folder)
                if method == "stages.deploy":
                    file = folder / "welcome.py"
                    file.write_text(file.read_text() + "\n# changed\n")
                if way == "page":
                    answer = await http.post(f"/do/{method}", data=fields)
                    assert answer.status_code == 303
                else:
                    form = Form(f"/do/{method}", "")
                    line = await shown(
                        side, form, Button("", form.action, None), list(fields.items())
                    )
                    assert "result" in await by_socket(engine, line)
                versions = [(one.name, one.version) for one in await engine.definitions.list()]
                ends.append((versions, (folder / "stages.json").read_text()))
    assert ends[0] == ends[1]


async def test_E_every_action_of_the_pages_is_in_the_table(twins: tuple[Side, Side]) -> None:
    known = {one.method for one in ACTIONS} | set(EDITOR) | {"stages.open"}
    assert known == deeds.METHODS
    posts = {
        route.path for route in twins[0].web.routes
        if isinstance(route, PageRoute) and "POST" in (route.methods or ())
    }  # fmt: skip
    assert posts - set(EXEMPT) == {
        "/do/{method}", "/start/{workflow}", "/asks/{id:path}", "/a/{token}", "/document",
        "/instances/bulk",
    }  # fmt: skip


PAGES = (
    "/", "/instances", "/inbox", "/retries", "/events", "/subscriptions", "/schedules",
    "/schedules?name=report", "/definitions", "/definitions/welcome?check=2", "/document",
    "/document?from=welcome", "/health", "/start/holiday", "/start/joined", "/start/onboarding",
    "/board", "/logs", "{failed}", "{failed}?tab=actions", "{steps}?tab=actions", "{event}",
    "{ask}", "{approval}", "{callback}",
)  # fmt: skip


async def test_E_every_button_of_every_page_has_its_request_beside_it(
    twins: tuple[Side, Side],
) -> None:
    """Spelled already as the button would send the form now, and asked for at the same place."""
    side, _ = twins
    event = await posted(side)
    await two_versions(side)
    await a_run_of_stages(side)
    places = {
        "failed": f"/i/{await side.start('importer', {'n': 1})}",
        "steps": f"/i/{await side.start('charging', {'order_id': '7'})}",
        "ask": await second_page(side), "approval": await an_approval(side),
        "callback": await a_callback(side), "event": event,
    }  # fmt: skip
    seen = 0
    for path in PAGES:
        address = path.format(**places)
        page = await side.http.get(address.replace("#", "%23"))
        assert page.status_code == 200, address
        for form in Forms(page.text, address).found:
            if urlsplit(form.action).path in EXEMPT:
                continue
            beside = {(html.unescape(one.place), one.press): one.socket for one in form.lines}
            for button in form.buttons:
                press = "=".join(button.pressed) if button.pressed else "1"
                if press in WITHOUT:
                    continue
                line = beside[html.unescape(button.place), press]
                fields = sent_of(form, button, {})
                if json.loads(line)["params"].get("document") == {}:
                    continue  # nothing is written yet, so nothing can be sent
                assert await shown(side, form, button, fields) == line, (address, button.label)
                check_shell(page.text)
                seen += 1
    assert seen > 40


WITHOUT = {"step=back": "it keeps the page as Keep for later does, and goes to the one before",
           "decision=delegate": "an answer like the two beside it"}  # fmt: skip


# -- the other spellings -------------------------------------------------------------------------


def check_curl(page: str, form: Form) -> None:
    """What curl would send is the same method with the same parameters."""
    lines = [
        html.unescape(one) for one in re.findall(r'<code class="curl"[^>]*>(.*?)</code>', page)
    ]
    sockets = [html.unescape(one) for one in re.findall(r'class="socket"[^>]*>(.*?)</code>', page)]
    for line, socket in zip(lines, sockets, strict=True):
        words = shlex.split(line)
        url = urlsplit(words[-1])
        segments = [unquote(part) for part in url.path[1:].split("/")]
        answer = table.find(words[2], segments)
        assert not isinstance(answer, set), line
        route, params = answer
        body = json.loads(words[words.index("-d") + 1]) if "-d" in words else {}
        given: dict[str, Any] = {**params, **dict(parse_qsl(url.query))}
        given |= {route.whole: body} if route.whole else body
        wanted = json.loads(socket)
        assert route.call == wanted["method"]
        assert {k: str(v) for k, v in given.items()} == {
            k: str(v) for k, v in wanted["params"].items()}  # fmt: skip


class Asked(GreenroomError):
    """What a command asks for first."""


class Recorder:
    def __init__(self) -> None:
        self.asked: tuple[str, dict[str, Any]] | None = None

    def call(self, method: str, **params: Any) -> Any:
        self.asked = method, params
        raise Asked("that is all")

    def close(self) -> None:
        pass


def check_shell(page: str) -> None:
    """A command line that is shown asks the daemon for the very method."""
    for lines in re.findall(r'<div class="lines".*?</div>', page, re.DOTALL):
        shell = re.search(r'class="shell"[^>]*>(.*?)</code>', lines, re.DOTALL)
        socket = re.search(r'class="socket"[^>]*>(.*?)</code>', lines, re.DOTALL)
        assert socket is not None
        if shell is None:
            continue
        wanted = json.loads(html.unescape(socket[1]))
        recorder = Recorder()
        session = Session(connect=lambda server, data, to=recorder: to)  # type: ignore[misc]
        cli(shlex.split(html.unescape(shell[1]))[1:], session)
        assert recorder.asked is not None, shell[1]
        method, params = recorder.asked
        if wanted["method"] == "many":
            check_many(wanted["params"], method, params)
            continue
        if method == "definitions.check":  # `def promote` looks before it asks
            continue
        assert method == wanted["method"], shell[1]
        assert {k: v for k, v in params.items() if v not in (None, False, {})} == {
            k: v for k, v in wanted["params"].items() if v != {}}  # fmt: skip


def check_many(wanted: dict[str, Any], method: str, params: dict[str, Any]) -> None:
    if wanted.get("q") is not None:
        assert (method, params["q"]) == ("list", narrowed(wanted["verb"], wanted["q"]))
    elif wanted["instances"]:
        assert params["instance"] == wanted["instances"][0]
