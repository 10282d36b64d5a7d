"""The pages in a real browser (Debian's Chromium, driven by Playwright): what a person does, with mouse
and keyboard, and what they then see.

One browser for the module; each test has a window of its own. The daemon's parts run in this process
on a real port, so a test can look into the engine.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Coroutine, Iterator
from email import message_from_string
from email.policy import default
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from greenroom import (
    ApprovalTemplate,
    Engine,
    Flow,
    FormPage,
    State,
    approval,
    begin,
    done,
    inputstep,
    reducer,
    retrystep,
    step,
    workflow,
)
from greenroom.definitions.fields import Email
from greenroom.integrations import email
from greenroom.runtime.connectors.smtp_connector import smtp_connector
from greenroom.runtime.daemon import Http
from greenroom.runtime.web import mount
from tests.runtime.connectors import conftest as services

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
PATIENCE_MS = 20_000

if CHROMIUM is None:
    print("test_browser.py is not run: there is no Chromium here (apt-get install chromium)")  # noqa: T201
service, _process = services.service, services._process
"""Fixtures: a process of its own that behaves like a mail server."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.timeout(120),
]

T = TypeVar("T")


class Who(FormPage):
    name: str
    email: Email


class Terms(FormPage):
    agree: bool
    wish: Literal["morning", "evening"]


@inputstep("Confirm delivery", assignee="ann")
def confirm(order_id: str) -> Any:
    who = yield Who
    terms = yield Terms
    return {"name": who.name, "wish": terms.wish}


@workflow(key="::data.order_id")
def delivery() -> Any:
    return begin >> confirm >> done


PAID: set[str] = set()


@retrystep("Charge card", delay="1h", max_attempts=5)
async def charge(order_id: str) -> State:
    if order_id not in PAID:
        raise ConnectionError("the bank does not answer")
    return {"receipt": order_id}


@workflow(key="::data.order_id")
def charging() -> Any:
    return begin >> charge >> done


@step
async def first() -> State:
    return {"level": 1}


@step
async def second() -> State:
    return {"level": 2, "more": True}


@workflow
def climbing() -> Any:
    return begin >> first >> second >> done


@workflow(schedule="0 8 * * *")
async def daily() -> int:
    return 1


@workflow(key="::data.id")
async def holiday(id: str) -> Any:
    return await approval("May they go?", assignee="boss")


class Site:
    """An engine behind a port, on a loop in a thread of its own."""

    def __init__(self, *workflows: Any, **options: Any) -> None:
        self.workflows, self.options = workflows, options
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self._end: asyncio.Event | None = None

    def __enter__(self) -> Site:
        self.thread.start()
        ready: asyncio.Future[Any] = self.run(self._ready_future())
        self._life = asyncio.run_coroutine_threadsafe(self._live(ready), self.loop)
        self.run(_await(ready))
        return self

    async def _ready_future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async def _live(self, ready: asyncio.Future[Any]) -> None:
        self._end = asyncio.Event()
        async with Engine.open(
            ":memory:", workflows=list(self.workflows), **self.options
        ) as engine:
            self.engine = engine
            face = mount.listener(engine, Http(address="127.0.0.1:0", open=True))
            self.web = face.web
            self.url = await face.listen("127.0.0.1", 0)
            ready.set_result(None)
            await self._end.wait()
            await face.close()

    def __exit__(self, *exc: object) -> None:
        assert self._end is not None
        self.loop.call_soon_threadsafe(self._end.set)
        self._life.result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def start(self, name: str, **input: Any) -> str:
        async def go() -> str:
            return str((await self.engine.start(name, input)).id)

        return self.run(go())

    def get(self, id: str) -> Any:
        return self.run(self.engine.get(id))

    def until(self, id: str, status: str) -> Any:
        async def go() -> Any:
            async with asyncio.timeout(20):
                while (found := await self.engine.get(id)).status != status:
                    await asyncio.sleep(0.02)
                return found

        return self.run(go())


async def _await(future: Awaitable[T]) -> T:
    return await future


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  a tool of these tests alone

    with sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(delivery, charging, climbing, holiday, daily) as made:
        yield made


@pytest.fixture
def window(browser: Any, site: Site) -> Iterator[Any]:
    """A page that must not complain: no error, nothing the CSP stops, no request elsewhere."""
    yield from _window(browser, site.url)


def _window(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 860}, **options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: complaints.append(request.url)
            if not request.url.startswith(url) else None)  # fmt: skip
    yield page
    context.close()
    allowed = re.compile(r"responded with a status of 4|net::ERR_ABORTED")
    assert [one for one in complaints if not allowed.search(one)] == []


def test_E_an_instance_is_started_from_a_form_and_its_two_pages_answered(
    window: Any, site: Site
) -> None:
    window.goto("/definitions")
    window.get_by_role("link", name="Start delivery").click()
    window.get_by_text("as a command").click()
    window.get_by_label("order_id").fill("7")
    request = window.locator("code.socket", has_text='"input":{"order_id":"7"}')
    request.wait_for()  # what is shown follows what is typed
    window.get_by_role("button", name="Start").click()
    window.get_by_role("heading", name="delivery/7").wait_for()
    window.get_by_role("link", name="answer").click()
    window.get_by_label("Name").fill("Ann")
    window.get_by_label("Email").fill("nowhere")
    window.get_by_role("button", name="Continue").click()
    window.get_by_text("must be an e-mail address").wait_for()
    window.get_by_label("Email").fill("ann@example.org")
    window.get_by_role("button", name="Continue").click()
    window.get_by_label("Agree").check()
    window.get_by_role("button", name="Back").click()
    assert window.get_by_label("Name").input_value() == "Ann"
    window.get_by_role("button", name="Continue").click()
    assert window.get_by_label("Agree").is_checked()
    window.get_by_label("evening").check()
    window.get_by_role("button", name="Continue").click()
    window.get_by_text("answered: Confirm delivery").wait_for()
    id = site.run(site.engine.list("workflow:delivery")).items[0].id
    assert site.until(id, "completed").state["wish"] == "evening"


def test_E_a_waiting_retry_counts_down_and_is_retried_by_hand(window: Any, site: Site) -> None:
    id = site.start("charging", order_id="8")
    site.until(id, "waiting")
    window.goto(f"/i/{id}")
    countdown = window.locator("time[data-until]").first
    shown = countdown.text_content()
    assert re.match(r"in 5\d min", shown)  # an hour, less the jitter
    window.wait_for_function(
        "was => document.querySelector('time[data-until]').textContent !== was", arg=shown
    )
    assert window.locator("rect.failed").count() == 1 and window.locator("rect.retry").count() == 1
    PAID.add("8")
    window.get_by_role("button", name="Retry now").click()
    window.locator(".status.completed").first.wait_for()
    assert site.get(id).state["receipt"] == "8"


def test_E_the_slider_shows_the_state_through_time(window: Any, site: Site) -> None:
    id = site.start("climbing")
    site.until(id, "completed")
    window.goto(f"/i/{id}?tab=state")
    slider = window.locator("#seq")
    value = window.locator("#at pre.value")
    assert '"level": 2' in value.text_content()
    slider.focus()
    for _ in range(int(slider.input_value()) - 2):
        window.keyboard.press("ArrowLeft")
    window.get_by_text("after turn 2 of").wait_for()
    window.wait_for_function(
        """() => document.querySelector("#at pre.value").textContent.includes('"level": 1')"""
    )
    assert "more" not in value.text_content()


def test_E_many_are_cancelled_at_once_after_a_dry_run(window: Any, site: Site) -> None:
    ids = [site.start("holiday", id=f"bulk-{n}") for n in range(4)]
    for id in ids:
        site.until(id, "waiting")
    window.goto("/instances")
    window.keyboard.press("/")
    window.keyboard.type("workflow:holiday status:waiting")
    window.keyboard.press("Enter")
    window.get_by_text("showing 4 of 4").wait_for()
    window.get_by_label("choose all shown").check()
    window.get_by_role("button", name="Cancel…").click()
    window.get_by_role("heading", name="Cancel 4 instances?").wait_for()
    assert all(site.get(id).status == "waiting" for id in ids)
    window.get_by_role("button", name="Cancel 4").click()
    window.get_by_text("cancel: 4 of 4").wait_for()
    assert all(site.get(id).status == "cancelled" for id in ids)


def test_E_a_list_follows_what_happens_and_keys_lead_around(window: Any, site: Site) -> None:
    window.goto("/instances?q=workflow:holiday")
    window.locator(".live.on").wait_for()
    id = site.start("holiday", id="live")
    window.get_by_role("link", name="holiday/live").wait_for()
    site.run(site.engine.cancel(id))
    window.locator(f"#r{id} .status.cancelled").wait_for()
    window.keyboard.press("j")
    window.keyboard.press("Enter")
    window.get_by_role("heading", name="holiday/live").wait_for()
    window.wait_for_load_state("load")  # keys are heard once the page is whole
    window.keyboard.press("g")
    window.keyboard.press("s")
    window.get_by_role("heading", name="Schedules").wait_for()
    window.wait_for_load_state("load")
    window.keyboard.press("?")
    window.get_by_role("heading", name="Keys").wait_for()
    window.keyboard.press("Escape")
    window.keyboard.press("Control+k")
    window.keyboard.type("holiday/live")
    window.keyboard.press("Enter")
    window.get_by_role("heading", name="holiday/live").wait_for()


def test_E_twelve_tabs_are_live_over_one_feed(window: Any, site: Site) -> None:
    pages = [window, *(window.context.new_page() for _ in range(11))]
    for page in pages:
        page.goto("/instances?q=workflow:holiday", wait_until="commit")
    for page in pages:
        page.locator(".live.on").wait_for()
    assert sum(site.web.feeds.counts.values()) == 1
    site.start("holiday", id="all")
    for page in pages:
        page.get_by_role("link", name="holiday/all").wait_for()


PAGES = (
    "/", "/instances", "/inbox", "/retries",
    "/events", "{event}", "/subscriptions", "/schedules", "/schedules?name=daily", "/definitions",
    "/definitions/delivery", "/definitions/welcome?check=2", "/document?from=welcome",
    "/start/holiday", "/start/holiday?as=json", "/health", "/login", "/i/nothing", "{id}",
    "{id}?tab=journal", "{id}?tab=state", "{id}?tab=graph", "{id}?tab=actions", "{ask}", "{form}",
    "{link}",
)  # fmt: skip
"""All but the board, the editor and their log, which have a test of their own."""
UNREACHED = """() => {
  const lost = [];
  const wanted = "a[href], button, input:not([type=hidden]), select, textarea, summary";
  for (const one of document.querySelectorAll(wanted)) {
    if (!one.checkVisibility() || one.disabled || one.tabIndex < 0) { if (one.tabIndex < 0) lost.push(one.outerHTML.slice(0, 120)); continue; }
    one.focus({ focusVisible: true });
    const ring = getComputedStyle(one);
    if (document.activeElement !== one || ring.outlineStyle === "none" || parseFloat(ring.outlineWidth) < 2)
      lost.push(one.outerHTML.slice(0, 120));
  }
  return lost;
}"""
"""What a keyboard does not get to, or gets to without being seen there."""
WELCOME: dict[str, Any] = {
    "schema_version": 1, "name": "welcome",
    "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "user.created"}},
    "actions": [{"type": "Core:Log", "order": 1, "parameters": {"text": "Hello"}}],
}  # fmt: skip


@pytest.mark.parametrize("half", [0, 1])
def test_D_axe_finds_nothing_on_any_page_and_the_keyboard_gets_everywhere(
    browser: Any, site: Site, tmp_path: Path, half: int
) -> None:
    """All rules in light; in dark, where only colours differ, those of contrast."""
    id = site.start("charging", order_id=f"axe-{half}")
    form = site.start("delivery", order_id=f"axe-{half}")
    leave = site.start("holiday", id=f"axe-{half}")
    for one in (id, form, leave):
        site.until(one, "waiting")
    posted = site.run(site.engine.post({"type": "user.created", "data": {"x": 1}}))
    more = [*WELCOME["actions"], {"type": "Core:Log", "order": 2, "parameters": {"text": "Hi"}}]
    for actions in (WELCOME["actions"], more):
        site.run(site.engine.definitions.push({**WELCOME, "actions": actions}))
    places = {
        "id": f"/i/{id}", "ask": f"/asks/{leave}.1", "form": f"/asks/{form}.confirm",
        "event": f"/events/{posted.id}",
        "link": f"/a/{site.engine.links.token(f'{leave}.1', 'boss')}",
    }  # fmt: skip
    script = AXE.read_text()
    found: dict[str, Any] = {}
    for page in _window(browser, site.url):
        for path in PAGES[half::2]:
            address = path.format(**places)
            page.goto(address, wait_until="domcontentloaded")
            page.evaluate(script)
            page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
            for scheme, only in (("light", ""), ("dark", "runOnly: ['color-contrast'], ")):
                page.emulate_media(color_scheme=scheme)
                result = page.evaluate(f"axe.run({{{only}resultTypes: ['violations']}})")
                for one in result["violations"]:
                    nodes = [node["html"][:160] for node in one["nodes"][:3]]
                    found[f"{scheme} {address} {one['id']}"] = (one["help"], nodes)
            if lost := page.evaluate(UNREACHED):
                found[f"keyboard {address}"] = lost
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            page.set_viewport_size({"width": 390, "height": 844})
            if page.evaluate(wide) > 0:
                found[f"phone {address}"] = "it is wider than the screen"
            page.set_viewport_size({"width": 1280, "height": 860})
        assert found == {}
        page.goto("/")
        assert len(page.screenshot(path=tmp_path / "home.png")) > 10_000
        red = page.evaluate(
            "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
        )
        assert red < 60, "it is dark where the reader wants it dark"


FALLBACKS = {
    "a feed a tab": "delete window.SharedWorker;",
    "asking again": """
      delete window.SharedWorker; delete window.EventSource;
      const after = window.setInterval;
      window.setInterval = (work, ms) => after(work, ms === 5000 ? 100 : ms);""",
}


@pytest.mark.parametrize("without", FALLBACKS)
def test_D_a_page_follows_what_happens_where_a_browser_cannot_share_a_feed(
    browser: Any, site: Site, without: str
) -> None:
    for page in _window(browser, site.url):
        page.add_init_script(FALLBACKS[without])
        page.goto("/instances?q=workflow:climbing")
        if without == "a feed a tab":
            page.locator(".live.on").wait_for()
        id = site.start("climbing")
        page.locator(f"#r{id} .status.completed").wait_for()


def test_D_a_document_is_checked_while_it_is_typed_and_promoted_past_the_gate(
    window: Any, site: Site
) -> None:
    site.run(site.engine.definitions.push({**WELCOME, "name": "greeting"}, promote=True))
    id = site.start("greeting")
    site.until(id, "completed")
    window.goto("/document?from=greeting")
    area = window.get_by_label("JSON or YAML")
    text = area.input_value()
    area.fill(text.replace("Core:Log", "Core:Lag"))
    window.get_by_text("did you mean").wait_for()
    area.fill(text.replace("Hello", "Hi"))
    window.get_by_text("valid: greeting, 1 steps").wait_for()
    window.get_by_role("button", name="Store as a version").click()
    window.get_by_role("link", name="What the gate says").click()
    gate = window.locator("#gate")
    gate.get_by_text("1 recorded instances followed on it").wait_for()
    gate.get_by_role("button", name="Promote v2").click()
    window.get_by_text("definitions promote: done").wait_for()
    assert site.run(site.engine.definitions.get("greeting")).version == 2


@reducer
def get_approvers(event: Any) -> Any:
    return email.user("boss@example.org")


ACCESS = Flow(
    "access", template=ApprovalTemplate, targets=["prod-db"], fields=["why"],
    handlers=[get_approvers],
)  # fmt: skip


def test_E_an_approver_decides_by_the_link_in_a_mail(
    browser: Any,
    service: services.Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real SMTP server of this machine takes the mail; the page needs no JavaScript."""
    monkeypatch.setenv("GREENROOM_SECRET_SMTP_PASSWORD", "mail-password-1")
    mail = smtp_connector(
        host=f"127.0.0.1:{service.smtp}", sender="noc@example.org", tls="none", username="noc"
    )
    with Site(ACCESS, connectors=[mail]) as site:
        before = len(service.get("/mails"))
        asked = site.engine.start("access", {"target": "prod-db", "why": "x"}, by="ann@example.org")
        id = site.run(asked).id
        site.until(id, "waiting")
        (sent,) = service.get("/mails")[before:]
        text = message_from_string(sent["text"], policy=default).get_content()
        assert "boss@example.org" in str(sent["to"])
        link = re.search(r"http://127\.0\.0\.1:\d+(/a/\S+)", text)
        assert link is not None, text
        for page in _window(browser, site.url, java_script_enabled=False):
            page.goto(link[1])
            page.get_by_role("button", name="Approve").click()
            page.get_by_text("Nothing is left to do here").wait_for()
        site.until(id, "completed")
        entries = site.run(site.engine.history(id)).items
        by = next(entry.by for entry in entries if entry.kind == "AskAnswered")
        assert by is not None and re.fullmatch("link:.{8}/boss@example.org", by)


# -- stage graphs --------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[3] / "examples" / "onboarding"


def drag(page: Any, source: Any, x: float, y: float) -> None:
    """With the mouse, from the middle of something to a place."""
    box = source.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 14)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 8, box["y"] + 20, steps=3)
    page.mouse.move(x, y, steps=12)
    page.mouse.up()


HAND = """\
{
  "name": "onboarding",   "notes": { "keep": ["me"] },
  "stages": [
    {"path": "weekly-report", "kind": "job", "schedule": {"at": "09:00", "every": "week"},
     "x": 40, "y": 400}
  ],
  "transitions": [],
  "teams": {"leads": [ "grace@company.com" ]}
}
"""
"""As a hand wrote it: nothing lays it out like that again."""

BUILT = """\
     {"path": "weekly-report", "kind": "job", "schedule": {"at": "09:00", "every": "week"},
-     "x": 40, "y": 400}
+     "x": 40, "y": 400},
+    {"path": "personal-data", "kind": "form", "title": "Personal data", "x": 40, "y": 60},
+    {
+      "path": "contract-analysis",
+      "kind": "form",
+      "title": "Contract analysis",
+      "x": 300,
+      "y": 60,
+      "assignee": "team:leads"
+    },
+    {"path": "welcome", "kind": "script", "title": "Welcome", "x": 590, "y": 60}
+  ],
+  "transitions": [
+    {"from": "personal-data", "to": "contract-analysis"},
+    {"from": "contract-analysis", "to": "welcome"}
   ],
-  "transitions": [],
   "teams": {"leads": [ "grace@company.com" ]}
"""

MENDED = """\
-     "x": 40, "y": 400},
+     "x": 40, "y": 400, "title": "Weekly report"},
"""


def made(page: Any, kind: str, x: float, y: float, **fields: str) -> None:
    """Drags a stage from the palette to a place, and fills its options in."""
    canvas = page.locator("#canvas").bounding_box()
    source = page.get_by_role("button", name=kind, exact=True)
    drag(page, source, canvas["x"] + x + 94, canvas["y"] + y + 29)
    page.locator(f".stage.kind-{kind.lower()}.chosen").dblclick()
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Done").click()


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def changes(folder: Path, context: int) -> str:
    """The lines of `git diff`, without its heads."""
    lines = git(folder, "diff", f"-U{context}", "--", "stages.json").splitlines()
    body = [line for line in lines[4:] if not line.startswith("@@")]
    return "".join(f"{line}\n" for line in body)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed here")
def test_E_a_stage_graph_is_built_with_mouse_and_keyboard_deployed_and_run(
    browser: Any, tmp_path: Path
) -> None:
    """Seed 002: drag from the palette, `T` for a transition, double-click for options; nobody sees
    JSON. What the hand wrote reads in `git diff` as if the hand had written the rest."""
    folder = tmp_path / "onboarding"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "stages.json"))
    (folder / "stages.json").write_text(HAND)
    (folder / "invited.py").unlink()
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "By hand")
    with Site(str(folder)) as site:
        for page in _window(browser, site.url):
            page.goto("/editor/onboarding")
            made(page, "Form", 40, 60, Title="Personal data", Path="personal-data")
            made(page, "Form", 300, 60, Title="Contract analysis", Path="contract-analysis",
                 Assignee="team:leads")  # fmt: skip
            made(page, "Script", 580, 60, Title="Welcome", Path="welcome")
            page.locator("[data-path=personal-data]").click()
            page.keyboard.press("t")
            page.locator("[data-path=contract-analysis]").click()
            page.locator("[data-path=contract-analysis]").focus()
            page.keyboard.press("T")
            page.locator("[data-path=welcome]").focus()  # as Tab would
            page.keyboard.press("Enter")
            page.locator("[data-path=welcome]").focus()
            page.keyboard.press("ArrowRight")
            page.get_by_text("not saved").wait_for()
            assert git(folder, "status", "--porcelain") == ""
            page.get_by_role("button", name="Deploy").click()
            page.get_by_text("deployed as v2").wait_for()
            assert changes(folder, 1) == BUILT
            assert git(folder, "status", "--porcelain") == " M stages.json\n"
            git(folder, "commit", "-qam", "By mouse")
            page.locator("[data-path=weekly-report]").dblclick()
            page.get_by_label("Title").fill("Weekly report")
            page.get_by_title("these actions as requests").click()
            line = page.locator("[id='as-stages.save'] .socket").filter(has_text="Weekly report")
            shown = json.loads(line.inner_text())
            page.get_by_label("Title").press("Control+s")
            page.get_by_text("saved, not deployed").wait_for()
            assert shown["method"] == "stages.save"
            assert shown["params"]["document"] == json.loads((folder / "stages.json").read_text())
            assert changes(folder, 0) == MENDED
            page.get_by_role("button", name="Deploy").click()
            page.get_by_text("deployed as v3").wait_for()
            page.get_by_role("link", name="Start one").click()
            page.get_by_role("button", name="Start").click()
            page.get_by_label("Full name").fill("Ann")
            page.get_by_role("button", name="Continue").click()
            page.get_by_label("Your e-mail").fill("ann@example.org")
            page.get_by_role("button", name="Continue").click()
            page.get_by_label("finance").check()
            page.get_by_label("First day").fill("2027-01-04")
            page.get_by_role("button", name="Continue").click()
            page.get_by_text("answered: Personal data").wait_for()
            page.goto("/board")
            column = page.locator("[data-stage=contract-analysis] .card")
            column.nth(1).wait_for()
            assert column.count() == 2
            page.get_by_text("kiara@company.com").wait_for()


def test_E_a_new_stage_shows_what_its_file_begins_with_and_is_tried_at_once(
    browser: Any, tmp_path: Path
) -> None:
    """The code of a stage is shown and never written over the wire; the Test tab saves, deploys and
    follows a test run to the next steps; what was done is taken back by Ctrl Z."""
    folder = tmp_path / "flow"
    folder.mkdir()
    (folder / "stages.json").write_text('{"name": "flow", "stages": [], "transitions": []}')
    with Site(str(folder)) as site:
        for page in _window(browser, site.url):
            page.goto("/editor/flow")
            for kind in ("Hook", "Script"):
                page.get_by_role("button", name=kind, exact=True).focus()
                page.keyboard.press("Enter")
            page.locator("[data-path=hook] .card").hover()
            handle = page.locator("[data-path=hook] .handle")
            target = page.locator("[data-path=script]").bounding_box()
            drag_from(page, handle, target["x"] + 60, target["y"] + 20)
            page.get_by_role("button", name="transition from hook to script").wait_for(
                state="attached"
            )
            page.keyboard.press("Control+z")
            page.locator("[data-edge]").wait_for(state="detached")
            page.keyboard.press("Control+Shift+z")
            page.locator("[data-edge]").wait_for(state="attached")
            page.locator("[data-path=hook]").dblclick()
            page.get_by_role("tab", name="Code").click()
            page.get_by_text('stage["request"] = get_request().body').wait_for()
            page.get_by_text("once you save").wait_for()
            page.get_by_role("tab", name="Test").click()
            page.get_by_label("The body of the request").fill('{"n": 3}')
            assert list(folder.glob("*.py")) == []
            page.get_by_role("button", name="Run a test").click()
            page.get_by_text("script finished").wait_for()
            assert {path.name for path in folder.glob("*.py")} == {"hook.py", "script.py"}
            page.get_by_role("tab", name="Code").click()
            page.get_by_role("link", name="VS Code").wait_for()
            assert page.get_by_role("textbox").count() == 0  # to be read
            (folder / "hook.py").write_text("# mended by hand\n")
            page.locator("[data-path=script]").click()
            page.locator("[data-path=hook]").click()
            page.get_by_text("# mended by hand").wait_for()

            async def tests() -> list[Any]:
                return [run.namespace for run in (await site.engine.list("")).items]

            assert site.run(tests()) == ["test"]


def drag_from(page: Any, source: Any, x: float, y: float) -> None:
    box = source.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, y, steps=8)
    page.mouse.up()


def test_E_a_file_that_changed_on_disk_is_not_overwritten(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "onboarding"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "stages.json"
    with Site(str(folder)) as site:
        for page in _window(browser, site.url):
            page.goto("/editor/onboarding")
            page.locator("[data-path=welcome]").focus()
            page.keyboard.press("ArrowDown")
            theirs = file.read_text().replace("Welcome", "Hello")
            file.write_text(theirs)
            page.keyboard.press("Control+s")
            page.get_by_role("button", name="Overwrite it").wait_for()
            assert file.read_text() == theirs
            page.get_by_role("button", name="Overwrite it").click()
            page.get_by_text("as deployed").or_(page.get_by_text("saved, not deployed")).wait_for()
            assert "Welcome" in file.read_text() and "Hello" not in file.read_text()
            file.write_text(theirs)  # nobody has changed anything here: the page follows the file
            page.get_by_text("this is how it is now").wait_for()
            page.get_by_role("button", name="Hello script").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_E_axe_finds_nothing_in_the_editor_and_on_the_board(browser: Any, scheme: str) -> None:
    only = "runOnly: ['color-contrast'], " if scheme == "dark" else ""
    with Site(str(EXAMPLE)) as site:
        for n in range(2):
            site.run(site.engine.start("onboarding", {"n": n}, stage="personal-data"))
        site.until(site.run(site.engine.list("")).items[0].id, "waiting")
        for page in _window(browser, site.url, color_scheme=scheme):
            found: dict[str, Any] = {}

            def look(where: str, page: Any = page, found: dict[str, Any] = found) -> None:
                page.evaluate(AXE.read_text())
                result = page.evaluate(f"axe.run(document, {{{only}resultTypes: ['violations']}})")
                for one in result["violations"]:
                    nodes = [node["html"][:160] for node in one["nodes"][:3]]
                    found[f"{where} {one['id']}"] = (one["help"], nodes)

            page.goto("/board?by=assignee")
            page.locator(".card").first.wait_for()
            look("board")
            page.goto("/editor/onboarding")
            page.locator("[data-path=contract-analysis]").dblclick()
            for tab in ("Options", "Code", "Test"):
                page.get_by_role("tab", name=tab).click()
                page.get_by_role("tabpanel").get_by_role("button").first.wait_for()
                look(tab)
            assert found == {}


def test_E_a_card_is_dropped_where_a_transition_leads_and_nowhere_else(browser: Any) -> None:
    with Site(str(EXAMPLE)) as site:

        async def begin() -> str:
            return str((await site.engine.start("onboarding", {}, stage="personal-data")).id)

        id, other = site.run(begin()), site.run(begin())
        site.until(id, "waiting")
        site.run(site.engine.pause(other))
        for page in _window(browser, site.url):
            page.goto("/board")
            card = page.locator(f"#c{id}")
            place = page.locator("[data-stage=welcome] .cards").bounding_box()
            drag(page, card, place["x"] + 60, place["y"] + 30)
            page.get_by_text("a run goes to Contract analysis").wait_for()
            page.locator(f"[data-stage=personal-data] #c{id}").wait_for()
            drag(page, page.locator(f"#c{other}"), place["x"] + 60, place["y"] + 30)
            page.get_by_text("stays for now: it is paused").wait_for()
            place = page.locator("[data-stage=contract-analysis] .cards").bounding_box()
            drag(page, card, place["x"] + 60, place["y"] + 30)
            page.locator(f"[data-stage=contract-analysis] #c{id}").wait_for()
            moved = site.run(_moved(site.engine, id))
            assert moved == "contract-analysis"


async def _moved(engine: Any, id: str) -> Any:
    async with asyncio.timeout(20):
        while (await engine.get(id)).state["stage"] == "personal-data":
            await asyncio.sleep(0.02)
    return (await engine.get(id)).state["stage"]
