"""Stage graphs in an engine: rows A1-A21 of the features, what `next_stage` does, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    AlreadyDecided,
    DefinitionError,
    Engine,
    FormError,
    FormInvalid,
    FormNotComplete,
    IdConflict,
    InvalidInput,
    InvalidNextStage,
    InvalidRequest,
    InvalidTransition,
    NoStage,
    NotFound,
    NotPermitted,
    ReadOnly,
    SignatureInvalid,
    get_stage,
    next_stage,
    once,
    read_text,
)
from greenroom.actors.ports import Load, ReadRows
from greenroom.definitions.errors import NotAuthenticated
from greenroom.definitions.signatures import sign_standard
from greenroom.definitions.stagegraphs import graph_from
from greenroom.integrations import provide
from greenroom.runtime import stagelogs
from greenroom.runtime.stagehooks import StageHooks
from greenroom.runtime.trials import TEST
from greenroom.runtime.web.hooks import HookRequest, HookResponse
from greenroom.testing import TestEngine

IMPORTS = "from greenroom import *\n"
STAGE = {"form": "kind", "script": "kind"}


class Outlet:
    """Where mails go in these tests; `down` are those that cannot be delivered, and how often."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.down: dict[str, int] = {}

    def send_message(self, to: Any, message: str) -> None:
        if self.down.get(to.name, 0) > 0:
            self.down[to.name] -= 1
            raise ConnectionError(f"{to.name} cannot be reached")
        self.sent.append((to.name, message))

    @property
    def people(self) -> list[str]:
        return [who for who, _ in self.sent]


@pytest.fixture(autouse=True)
def outlet() -> Iterator[Outlet]:
    made = Outlet()
    with provide(email=made):
        yield made


Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a folder: stages as `path="kind"` or a map, files as text; arrows as "a>b"."""

    def made(
        stages: dict[str, Any],
        arrows: list[Any] | str = "",
        files: dict[str, str] | None = None,
        name: str = "flow",
        **more: Any,
    ) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        rows = []
        for path, said in stages.items():
            row = {"path": path, **({"kind": said} if isinstance(said, str) else said)}
            rows.append(row)
            text = row.pop("code", "pass")
            file = f"{path.replace('-', '_').replace('/', '_')}.py"
            if row["kind"] not in ("condition", "iterator"):
                (folder / file).write_text(IMPORTS + textwrap.dedent(text), "utf-8")
        for file, text in (files or {}).items():
            (folder / file).write_text(textwrap.dedent(text), "utf-8")
        listed = arrows.split() if isinstance(arrows, str) else arrows
        transitions = [
            dict(zip(("from", "to"), one.split(">"), strict=True)) if isinstance(one, str) else one
            for one in listed
        ]
        graph = {"name": name, "stages": rows, "transitions": transitions, **more}
        (folder / "stages.json").write_text(json.dumps(graph, indent=2), "utf-8")
        return f"{folder}/"

    return made


@asynccontextmanager
async def opened(*folders: str, **options: Any) -> AsyncIterator[TestEngine]:
    async with TestEngine(*folders, **options) as engine:
        yield engine


async def begun(engine: TestEngine, input: Any = None, name: str = "flow", **options: Any) -> str:
    started = await engine.start(name, input, **options)
    await engine.until_idle()
    return str(started.id)


async def leaves(engine: TestEngine, **options: Any) -> dict[str, int]:
    found = await engine.stages.board("flow", **options)
    return {one["stage"]: one["count"] for one in found["columns"] if one["count"]}


async def ask_of(engine: TestEngine) -> Any:
    (found,) = (await engine.asks.list()).items
    return found


async def all_runs(engine: TestEngine) -> list[Any]:
    rows = (await engine.list()).items
    return [await engine.get(row.id) for row in reversed(rows)]


# -- A1: the graph -----------------------------------------------------------------------------


async def test_A1_stages_are_walked_along_their_transitions(make: Make) -> None:
    folder = make(
        {
            "ask": {"kind": "form", "code": "get_stage()['name'] = read_text('Name')"},
            "work": {"kind": "script", "code": "s = get_stage(); s['loud'] = s['name'].upper()"},
            "check": {"kind": "form", "code": "get_stage()['good'] = read_checkbox('Good')"},
        },
        "ask>work work>check",
    )
    async with opened(folder) as engine:
        id = await begun(engine)
        await engine.answer(f"{id}.ask#1", {"name": "ann"})
        await engine.until_idle()
        assert (await engine.get(id)).state["stage"] == "check"
        await engine.answer(f"{id}.check#1", {"good": True})
        assert await engine.result(id) == {"name": "ann", "loud": "ANN", "good": True}


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"transitions": [{"from": "a", "to": "nope"}]}, "$.transitions[0].to", "no stage 'nope'"),
        ({"transitions": [{"from": "a", "to": "tick"}]}, "$.transitions[0].to", "time alone"),
        ({"transitions": [{"from": "a", "to": "a"}]}, "$.transitions[0].to", "leads to itself"),
        ({"stages": [{"path": "a", "kind": "script"}] * 2}, "$.stages[1].path", "two stages"),
        ({"stages": [{"path": "a", "kind": "scrpt"}]}, "$.stages[0].kind", 'did you mean "script"'),
        ({"stages": [{"path": "../a", "kind": "form"}]}, "$.stages[0].path", "are needed"),
        (
            {"stages": [{"path": "a", "kind": "form", "file": "../x.py"}]},
            "$.stages[0].file",
            "name",
        ),
        ({"stages": [{"path": "j", "kind": "job"}]}, "$.stages[0].schedule", "a job needs one"),
        ({"stages": [{"path": "a", "kind": "form", "timeout": "soon"}]}, "$.stages[0].timeout", ""),
        ({"name": ""}, "$.name", "a name"),
        ({"teams": {"x": "ann"}}, "$.teams.x", "a list"),
    ],
)
def test_A1_what_is_wrong_in_a_graph_is_named_with_its_place(
    change: dict[str, Any], place: str, words: str
) -> None:
    graph = {
        "name": "flow",
        "stages": [
            {"path": "a", "kind": "script"},
            {"path": "tick", "kind": "job", "schedule": {"every": "hour"}},
        ],
        **change,
    }
    with pytest.raises(DefinitionError) as caught:
        graph_from(graph, "stages.json")
    assert any(p.path == place and words in p.message for p in caught.value.problems)


async def test_A1_a_loop_that_is_meant_goes_round(make: Make) -> None:
    code = "s = get_stage(); s['n'] = (s['n'] or 0) + 1\nnext_stage([{}] if s['n'] < 3 else [])"
    folder = make(
        {"again": {"kind": "script", "code": code, "initial": True}},
        [{"from": "again", "to": "again", "loop": True}],
    )
    async with opened(folder) as engine:
        assert await engine.result(await begun(engine)) == {"n": 3}


# -- A2: files ---------------------------------------------------------------------------------


async def test_A2_each_run_of_a_file_has_a_fresh_namespace(make: Make) -> None:
    code = "seen = 'left' in globals()\nleft = 1\nget_stage()['seen'] = seen"
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        for _ in range(2):
            assert await engine.result(await begun(engine)) == {"seen": False}


@pytest.mark.parametrize(
    ("code", "type"),
    [
        ("import sys; sys.exit(3)", "StageExit"),
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("get_stage()['x'] = object()", "TypeError"),
        ("read_text('Name')", "NoStage"),
        ("get_request()", "InvalidRequest"),
    ],
)
async def test_A2_a_file_that_fails_fails_its_run_and_can_be_resumed(
    make: Make, code: str, type: str
) -> None:
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        id = await begun(engine)
        found = await engine.get(id)
        assert found.status == "failed" and found.error.details["type"] == type
        await engine.skip(id, "a#1", {"data": {"skipped": True}})
        assert await engine.result(id) == {"skipped": True}


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "import sys; sys.exit()", "exit(0)"])
async def test_A2_exit_0_is_a_normal_end(make: Make, code: str) -> None:
    code = f"get_stage()['done'] = True\n{code}"
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        assert await engine.result(await begun(engine)) == {"done": True}


async def test_A2_files_import_their_neighbours_and_may_ask_for_main(make: Make) -> None:
    code = "import helper_of_a2\nif __name__ == '__main__':\n    get_stage()['n'] = helper_of_a2.N"
    folder = make({"a": {"kind": "script", "code": code}}, files={"helper_of_a2.py": "N = 7"})
    async with opened(folder) as engine:
        assert await engine.result(await begun(engine)) == {"n": 7}
        graph = await engine.stages.graph("flow")
        assert [stage["path"] for stage in graph["stages"]] == ["a"]  # a helper is no stage


# -- A3: forms ---------------------------------------------------------------------------------

EVERYTHING = """
stage = get_stage()
stage["text"] = read_text("Full name", hint="As in your passport")
stage["long"] = read_textarea("About you", required=False)
stage["email"] = read_email()
stage["number"] = read_number("How many?", min=1)
stage["day"] = read_date("From")
stage["one"] = read_dropdown("Team", [("fin", "Finance"), ("prod", "Product")])
stage["many"] = read_multiple("Days", ["mon", "tue", "wed"], min=1)
stage["yes"] = read_checkbox("Agreed", required=True)
cv = read_file("CV")
stage["size"], stage["cv"] = cv.size, cv
display(f"{stage['text']}, nearly done")
both = page("The rest").read_text("City").read_number("Age").display("Two things").run()
stage["both"] = both
"""


async def test_A3_each_kind_of_question_is_a_page(make: Make) -> None:
    folder = make({"ask": {"kind": "form", "code": EVERYTHING}})
    content = base64.b64encode(b"my life").decode()
    pages: list[Any] = [
        {"full_name": "Ann"}, {}, {"e_mail": "ann@x.org"}, {"how_many": 2}, {"from_": "2026-01-02"},
    ]  # fmt: skip
    pages = [
        {"full_name": "Ann"}, {}, {"e_mail": "ann@x.org"}, {"how_many": 2},
        {"q_from": "2026-01-02"}, {"team": "fin"}, {"days": ["mon"]}, {"agreed": True},
        {"cv": {"name": "cv.txt", "type": "text/plain", "content": content}},
        {"city": "Paris", "age": 3.5},
    ]  # fmt: skip
    async with opened(folder) as engine:
        id = await begun(engine)
        ask = await engine.asks.get(f"{id}.ask#1")
        field = ask.schema["properties"]["full_name"]
        assert field["title"] == "Full name" and field["description"] == "As in your passport"
        with pytest.raises(FormNotComplete) as last:
            await engine.answer(ask.id, pages[:-1])
        properties = last.value.schema["properties"]
        assert properties["text_1"]["default"] == "Ann, nearly done"
        assert list(properties) == ["text_1", "text_2", "city", "age"]
        await engine.answer(ask.id, pages)
        found = await engine.result(id)
    assert found["number"] == 2 and isinstance(found["number"], int)
    assert (found["one"], found["many"], found["yes"]) == ("fin", ["mon"], True)
    assert (found["day"], found["long"], found["size"]) == ("2026-01-02", None, 7)
    assert found["cv"]["name"] == "cv.txt" and found["both"] == {"city": "Paris", "age": 3.5}


@pytest.mark.parametrize(
    ("question", "bad"),
    [
        ("read_text('X')", {"x": ""}),
        ("read_email('X')", {"x": "nobody"}),
        ("read_number('X', max=3)", {"x": 4}),
        ("read_date('X')", {"x": "soon"}),
        ("read_dropdown('X', ['a', 'b'])", {"x": "c"}),
        ("read_multiple('X', ['a', 'b'], required=True)", {"x": []}),
        ("read_checkbox('X', required=True)", {"x": False}),
        ("read_file('X')", {"x": {"name": "a.txt", "content": "no base64!"}}),
        ("read_text('X')", {"y": "1"}),
    ],
)
async def test_A3_a_wrong_answer_changes_nothing(make: Make, question: str, bad: Any) -> None:
    async with opened(make({"ask": {"kind": "form", "code": question}})) as engine:
        id = await begun(engine)
        with pytest.raises(FormInvalid):
            await engine.answer(f"{id}.ask#1", bad)
        assert (await engine.get(id)).status == "waiting"


async def test_A3_explicit_pages_work_too(make: Make) -> None:
    code = """
    from typing import Literal
    class Data(FormPage):
        name: str
        size: Literal["S", "L"] = "S"
    page = read_page(Data)
    get_stage()["page"] = page.model_dump()
    """
    async with opened(make({"ask": {"kind": "form", "code": code}})) as engine:
        id = await begun(engine)
        await engine.answer(f"{id}.ask#1", {"name": "Ann", "size": "L"})
        assert await engine.result(id) == {"page": {"name": "Ann", "size": "L"}}


async def test_A3_a_form_that_fails_is_told_to_whoever_answers_and_the_run_waits_on(
    make: Make,
) -> None:
    code = "read_text('A')\nraise RuntimeError('broken')"
    async with opened(make({"ask": {"kind": "form", "code": code}})) as engine:
        id = await begun(engine)
        with pytest.raises(Exception, match="broken"):
            await engine.answer(f"{id}.ask#1", {"a": "x"})
        assert (await engine.get(id)).status == "waiting"


async def test_A3_a_form_may_send_its_run_on(make: Make) -> None:
    code = "read_text('A')\nnext_stage(stage='b', data={'who': 'me'})\nraise AssertionError"
    folder = make(
        {"ask": {"kind": "form", "code": code}, "b": "script", "c": "script"}, "ask>b ask>c"
    )
    async with opened(folder) as engine:
        id = await begun(engine)
        await engine.answer(f"{id}.ask#1", {"a": "x"})
        assert await engine.result(id) == {"who": "me"}


# -- A4, A12: assignees ------------------------------------------------------------------------

SENDS = "next_stage(stage='review', assignee={who!r})"


def reviewed(make: Make, who: str, **review: Any) -> str:
    teams = {"finance": ["ann@x.org", "bob@x.org"]}
    return make(
        {
            "send": {"kind": "script", "code": SENDS.format(who=who)},
            "review": {
                "kind": "form", "title": "Review it", "code": "read_checkbox('Good')", **review,
            },
        },
        "send>review",
        teams=teams,
    )  # fmt: skip


async def test_A4_an_assignee_is_told_by_mail_once(make: Make, outlet: Outlet) -> None:
    async with opened(reviewed(make, "mark@company.com"), public_url="https://x.org/") as engine:
        id = await begun(engine)
        ask = await ask_of(engine)
        assert ask.assignee == "mark@company.com"
        ((who, text),) = outlet.sent
        assert who == "mark@company.com" and text.splitlines()[0] == "Review it"
        assert "https://x.org/a/" in text  # a signed link to this question, for this person
        await engine.crash()
        assert len(outlet.sent) == 1
        await engine.answer(f"{id}.review#1", {"good": True})


async def test_A4_a_mail_that_fails_is_tried_again_and_never_twice_to_one(
    make: Make, outlet: Outlet
) -> None:
    outlet.down["bob@x.org"] = 2
    async with opened(reviewed(make, "team:finance")) as engine:
        id = await begun(engine)
        assert outlet.people == ["ann@x.org"]
        assert (await engine.get(id)).status == "waiting"
        await engine.advance("10m")
        assert outlet.people == ["ann@x.org", "bob@x.org"]


async def test_A4_a_mail_that_comes_late_goes_to_nobody_the_question_does_not_wait_for(
    make: Make, outlet: Outlet
) -> None:
    folder = reviewed(
        make, "ann@x.org", reminders=["5s"], escalate=[{"after": "6s", "assignee": "boss@x.org"}]
    )
    outlet.down = {"ann@x.org": 2, "boss@x.org": 1}
    async with opened(folder) as engine:
        id = await begun(engine)
        await engine.advance("7s")
        assert outlet.sent == []
        await engine.answer(f"{id}.review#1", {"good": True}, by="boss@x.org")
        await engine.advance("1 day")
        assert outlet.sent == []
        assert (await engine.get(id)).status == "completed"


async def test_A4_mail_that_fails_for_good_fails_no_run(make: Make, outlet: Outlet) -> None:
    outlet.down["mark@company.com"] = 99
    async with opened(reviewed(make, "mark@company.com")) as engine:
        id = await begun(engine)
        await engine.advance("3d")
        assert outlet.sent == [] and (await engine.get(id)).status == "waiting"
        await engine.answer(f"{id}.review#1", {"good": True})
        assert await engine.result(id) == {}


@pytest.mark.parametrize("who", ["mark", "team:nobody"])
async def test_A4_without_an_address_the_log_is_told_and_the_question_is_open(
    make: Make, outlet: Outlet, who: str
) -> None:
    async with opened(reviewed(make, who)) as engine:
        await begun(engine)
        assert outlet.sent == [] and (await ask_of(engine)).assignee == who


async def test_A12_any_member_of_a_team_may_answer_and_a_stranger_may_not(make: Make) -> None:
    folder = reviewed(make, "team:finance", enforce_assignee=True)
    async with opened(folder) as engine:
        id = await begun(engine)
        with pytest.raises(NotPermitted):
            await engine.answer(f"{id}.review#1", {"good": True}, by="eve@x.org")
        await engine.answer(f"{id}.review#1", {"good": True}, by="bob@x.org")
        with pytest.raises(AlreadyDecided):
            await engine.answer(f"{id}.review#1", {"good": True}, by="ann@x.org")


async def test_reminders_and_escalation_come_in_time_and_time_runs_out(
    make: Make, outlet: Outlet
) -> None:
    folder = reviewed(
        make, "ann@x.org", reminders=["1 day"], timeout="5 days",
        escalate=[{"after": "3 days", "assignee": "boss@x.org"}],
    )  # fmt: skip
    async with opened(folder) as engine:
        id = await begun(engine)
        await engine.advance("1d")
        assert [text.splitlines()[0] for _, text in outlet.sent] == [
            "Review it", "Reminder 1: Review it",
        ]  # fmt: skip
        await engine.crash()
        await engine.advance("2d")
        assert outlet.people[-1] == "boss@x.org"
        assert (await ask_of(engine)).assignee == "boss@x.org"
        await engine.advance("2d")
        assert (await engine.get(id)).outcome == "expired"
        assert (await engine.asks.list()).items == []


async def test_a_stage_that_expires_goes_where_its_transition_says(make: Make) -> None:
    stages = {"ask": {"kind": "form", "timeout": "1h", "code": "read_text('A')"}, "late": "script"}
    folder = make(stages, [{"from": "ask", "to": "late", "on": "expired"}])
    async with opened(folder) as engine:
        id = await begun(engine)
        await engine.advance("2h")
        found = await engine.get(id)
        assert (found.status, found.state["stage"]) == ("completed", "late")


# -- A5: hooks ---------------------------------------------------------------------------------


async def request(
    engine: Any, path: str, body: Any = None, headers: dict[str, str] | None = None, **query: str
) -> HookResponse:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    base, handler, _ = engine.hooks.find(path)
    asked = HookRequest("POST", base, "", headers or {}, query, raw)
    answer: HookResponse = await engine.hooks.answer(handler, asked)
    return answer


OPEN = {"kind": "hook", "auth": "none"}


async def test_A5_a_request_starts_a_run_and_gets_the_response_of_the_file(make: Make) -> None:
    code = """
    r = get_request()
    get_stage()["lead"] = r.body["name"]
    send_json({"hello": r.body["name"], "q": r.query["q"], "h": r.headers.get("x-a")}, 201)
    """
    async with opened(make({"lead": {**OPEN, "code": code}, "on": "script"}, "lead>on")) as engine:
        secret = {"x-a": "1", "authorization": "Bearer never kept"}
        answer = await request(engine, "lead", {"name": "Ann"}, secret, q="7")
        assert (answer.status, answer.body) == (201, {"hello": "Ann", "q": "7", "h": "1"})
        await engine.until_idle()
        (run,) = await all_runs(engine)
        assert run.result == {"lead": "Ann"} and run.state["stage"] == "on"
        history = await engine.history(run.id)
        assert "never kept" not in str(history.items)


async def test_A5_the_plain_answer_is_200_text_stays_text_and_a_failure_is_500(make: Make) -> None:
    code = "get_stage()['body'] = get_request().body\nassert get_request().body != 'bad'"
    async with opened(make({"lead": {**OPEN, "code": code}})) as engine:
        answer = await request(engine, "lead", b"no json")
        assert answer.status == 200 and answer.body["accepted"] is True
        assert (await engine.get(answer.body["instance"])).result == {"body": "no json"}
        assert (await request(engine, "lead", b"bad")).status == 500
        assert (await request(engine, "flow/lead", b"")).status == 200


async def test_A5_a_caller_without_a_key_is_refused_and_nothing_happens(make: Make) -> None:
    async with opened(make({"lead": "hook"})) as engine:
        for headers in ({}, {"authorization": "Bearer nonsense"}):
            with pytest.raises(NotAuthenticated):
                await request(engine, "lead", {}, headers)
        weak = await engine.keys.create("reader", ["read"])
        with pytest.raises(NotPermitted):
            await request(engine, "lead", {}, {"x-api-key": weak.key})
        assert await all_runs(engine) == []
        good = await engine.keys.create("leads", ["start:flow"])
        answer = await request(engine, "lead", {}, {"authorization": f"Bearer {good.key}"})
        assert answer.status == 200


async def test_A5_a_signed_request_is_taken_and_a_forged_one_is_not(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_LEADS", "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0")
    rule = {"scheme": "standard", "secret": "secret://LEADS"}
    async with opened(
        make({"lead": {"kind": "hook", "auth": "signature", "signature": rule}})
    ) as e:
        body, at = json.dumps({"n": 1}).encode(), e.clock.now() // 1000
        secret = (await e.connections.secrets.get("LEADS")).reveal()
        signed = sign_standard(secret, "m-1", at, body)
        headers = {"webhook-id": "m-1", "webhook-timestamp": str(at), "webhook-signature": signed}
        assert (await request(e, "lead", body, headers)).status == 200
        for forged in ({}, {**headers, "webhook-id": "m-2"}):
            with pytest.raises(SignatureInvalid):
                await request(e, "lead", body, forged)
        assert len(await all_runs(e)) == 1


async def test_A5_a_hook_that_is_switched_off_is_not_there(make: Make) -> None:
    async with opened(make({"lead": {**OPEN, "enabled": False}})) as engine:
        with pytest.raises(NotFound):
            engine.hooks.find("lead")
        with pytest.raises(NotFound):
            engine.hooks.find("nobody")
        assert isinstance(engine.hooks.finders[0].__self__, StageHooks)


def waiting(make: Make, match: Any) -> str:
    code = "get_stage()['paid'] = get_request().body['sum']"
    return make({"start": "script", "paid": {**OPEN, "match": match, "code": code}}, "start>paid")


async def test_A5_a_hook_in_the_middle_wakes_the_run_it_is_for(make: Make) -> None:
    folder = waiting(make, {"on": {"order": "body.order"}})
    async with opened(folder) as engine:
        seven, eight = [await begun(engine, {"order": n}) for n in (7, 8)]
        with pytest.raises(NotFound):
            await request(engine, "paid", {"order": 9, "sum": 1})
        await engine.crash()
        assert (await request(engine, "paid", {"order": 8, "sum": 5})).status == 200
        assert await engine.result(eight) == {"order": 8, "paid": 5}
        assert (await engine.get(seven)).status == "waiting"
        with pytest.raises(NotFound):  # it is not there any more
            await request(engine, "paid", {"order": 8, "sum": 5})


@pytest.mark.parametrize(("which", "woken"), [("one", None), ("oldest", 1), ("all", 2)])
async def test_A5_several_that_wait_are_one_mistake_the_oldest_or_all(
    make: Make, which: str, woken: int | None
) -> None:
    async with opened(waiting(make, {"which": which})) as engine:
        ids = []
        for _ in range(2):
            ids.append(await begun(engine))
            await engine.advance("1s")
        if woken is None:
            with pytest.raises(InvalidInput, match="2 runs"):
                await request(engine, "paid", {"sum": 5})
            return
        assert (await request(engine, "paid", {"sum": 5})).status == 200
        done = [(await engine.get(id)).status == "completed" for id in ids]
        assert done == [True, woken == 2]


async def test_A5_two_requests_at_once_wake_a_run_once(make: Make) -> None:
    async with opened(waiting(make, {})) as engine:
        id = await begun(engine)
        both = [request(engine, "paid", {"sum": n}) for n in (1, 2)]
        answers = await asyncio.gather(*both, return_exceptions=True)
        codes = [getattr(a, "code", getattr(a, "status", None)) for a in answers]
        assert codes.count(200) == 1 and set(codes) - {200} <= {"lock_failed", "not_found"}
        assert (await engine.get(id)).status == "completed"


async def test_A5_nobody_outside_can_pretend_to_be_a_hook(make: Make) -> None:
    async with opened(waiting(make, {})) as engine:
        id = await begun(engine)
        event = {"type": "greenroom.stage.hook/paid", "data": {"body": {"sum": 1}}}
        with pytest.raises(NotPermitted):
            await engine.send(id, event, by="uid:1000/eve")
        await engine.post(event)
        await engine.until_idle()
        assert (await engine.get(id)).status == "waiting"


# -- A6: jobs ----------------------------------------------------------------------------------


async def test_A6_a_job_runs_at_its_times_and_is_followed_by_others(make: Make) -> None:
    schedule = {"every": "week", "on": "monday", "at": "09:00", "timezone": "Europe/Paris"}
    job = {"kind": "job", "schedule": schedule, "code": "get_stage()['report'] = 1"}
    folder = make({"report": job, "send": "script"}, "report>send")
    async with opened(folder) as engine:
        await engine.advance("6d")  # from Thursday to Wednesday
        (run,) = await all_runs(engine)
        assert run.result == {"report": 1} and run.state["stage"] == "send"
        assert run.created == "2026-01-05T08:00:00.000Z"


async def test_A6_after_a_long_downtime_a_job_runs_once(make: Make) -> None:
    folder = make({"tick": {"kind": "job", "schedule": {"every": "hour"}}})
    async with opened(folder) as engine:
        engine.clock.move_to(engine.clock.now() + 40 * 3_600_000)
        await engine.crash()
        assert len(await all_runs(engine)) == 1


@pytest.mark.parametrize("rule", [{"every": "hour"}, {"every": "day", "at": "06:00"},
                                  {"every": "month", "on": 1, "at": "06:00"}, "0 6 * * *"])  # fmt: skip
def test_A6_hourly_daily_weekly_monthly_and_cron(rule: Any) -> None:
    graph = {"name": "x", "stages": [{"path": "j", "kind": "job", "schedule": rule}]}
    assert graph_from(graph, "stages.json").stages["j"].schedule is not None


# -- A7-A9: scripts and fan-out ----------------------------------------------------------------


async def test_A7_a_failed_script_fails_its_branch_and_siblings_go_on(make: Make) -> None:
    folder = make(
        {
            "a": "script",
            "good": {"kind": "script", "code": "get_stage()['good'] = 1"},
            "bad": {"kind": "script", "code": "print('on my way')\n1 / 0"},
        },
        "a>good a>bad",
    )
    async with opened(folder) as engine:
        await begun(engine)
        parent, *children = await all_runs(engine)
        assert parent.status == "completed" and parent.state["parted"] == 2
        assert sorted(child.status for child in children) == ["completed", "failed"]
        assert await leaves(engine) == {"bad": 1}


async def test_A7_a_failure_may_have_a_transition_and_attempts_before_it(make: Make) -> None:
    folder = make(
        {
            "a": {"kind": "script", "code": "raise ValueError('no')",
                  "retry": {"max_attempts": 3, "delay": "1m"}},
            "sorry": {"kind": "script", "code": "s = get_stage(); s['why'] = s['error']['message']"},
        },
        [{"from": "a", "to": "sorry", "on": "failed"}],
    )  # fmt: skip
    async with opened(folder) as engine:
        id = await begun(engine)
        assert (await engine.get(id)).status == "waiting"
        await engine.advance("1h")
        assert (await engine.result(id))["why"] == "no"
        ended = [line["ended"] for line in (await engine.stages.logs("flow"))["items"]]
        assert sorted(ended) == ["failed", "failed", "failed", "finished"]


async def test_A8_a_stage_without_transitions_runs_alone(make: Make) -> None:
    async with opened(make({"a": "script", "b": "script", "lone": "script"}, "a>b")) as engine:
        id = await begun(engine, {"x": 1}, stage="lone")
        found = await engine.get(id)
        assert (found.status, found.result, len(await all_runs(engine))) == (
            "completed",
            {"x": 1},
            1,
        )


async def test_A9_several_arrows_are_all_followed_with_data_of_their_own(make: Make) -> None:
    code = "s = get_stage(); s['list'].append(s.path); s['list'] = s.data['list'] + [s.path]"
    folder = make(
        {
            "a": "script",
            "b": {"kind": "script", "code": code},
            "c": {"kind": "script", "code": code},
        },
        "a>b a>c",
    )
    async with opened(folder) as engine:
        await begun(engine, {"list": [1]}, stage="a")
        results = [run.result["list"] for run in (await all_runs(engine))[1:]]
        assert sorted(results) == [[1, "b", "b"], [1, "c", "c"]]


async def test_transitions_may_have_conditions_and_one_otherwise(make: Make) -> None:
    arrows = [
        {"from": "size", "to": "big", "when": "total >= `100`"},
        {"from": "size", "to": "gold", "when": {"tier": "gold"}},
        {"from": "size", "to": "small", "otherwise": True},
    ]
    folder = make(
        {"size": "condition", "big": "script", "gold": "script", "small": "script"}, arrows
    )
    async with opened(folder) as engine:
        for data, stage in (({"total": 200}, "big"), ({"total": 1, "tier": "gold"}, "gold"),
                            ({"total": 1}, "small")):  # fmt: skip
            id = await begun(engine, data)
            assert (await engine.get(id)).state["stage"] == stage
        await begun(engine, {"total": 200, "tier": "gold"})
        assert sorted(r.state["stage"] for r in (await all_runs(engine))[-2:]) == ["big", "gold"]


async def test_an_iterator_makes_a_run_an_item_and_refuses_what_is_no_list(make: Make) -> None:
    folder = make(
        {"each": {"kind": "iterator", "items": "people", "item": "who"}, "greet": "script"},
        "each>greet",
    )
    async with opened(folder) as engine:
        await begun(engine, {"people": ["ann", "bob"], "n": 1})
        found = [run.result for run in (await all_runs(engine))[1:]]
        assert sorted(found, key=str) == [{"n": 1, "who": "ann"}, {"n": 1, "who": "bob"}]
        id = await begun(engine, {"people": "ann"})
        assert (await engine.get(id)).status == "failed"
        id = await begun(engine, {"people": []})
        assert (await engine.get(id)).status == "completed"


@pytest.mark.parametrize("join", ["all", "any"])
async def test_runs_that_parted_meet_again_once(make: Make, join: str) -> None:
    review = "s = get_stage(); s[s.path] = read_checkbox('Good')"
    folder = make(
        {
            "a": "script",
            "b": {"kind": "form", "code": review},
            "c": {"kind": "form", "code": review},
            "end": {
                "kind": "script",
                "join": join,
                "code": "s = get_stage(); s['n'] = len(s['joined'])",
            },
        },
        "a>b a>c b>end c>end",
    )
    async with opened(folder) as engine:
        id = await begun(engine, {"x": 1})
        assert await leaves(engine) == {"b": 1, "c": 1}
        await engine.crash()
        first, *others = (await engine.asks.list()).items
        await engine.answer(first.id, {"good": True})
        await engine.until_idle()
        if join == "all":
            assert (await engine.get(id)).status == "waiting"
            await engine.answer(others[0].id, {"good": False})
            await engine.until_idle()
        found = await engine.result(id)
        assert found["n"] == (2 if join == "all" else 1) and found["x"] == 1
        assert (await engine.asks.list()).items == []
        assert await leaves(engine) == {}


# -- A10, A11: get_stage and next_stage --------------------------------------------------------


async def test_A10_the_data_of_a_stage_reads_as_none_where_there_is_nothing(make: Make) -> None:
    code = """
    s = get_stage()
    s["seen"] = [s["nothing"], s["x"], "x" in s, "nothing" in s, len(s), sorted(s)]
    s["n"] = s.get("nothing", 5)
    del s["x"]
    assert s.run and not s.is_test and s.assignee is None and s.path == "a"
    """
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        found = await engine.result(await begun(engine, {"x": 1}))
        assert found == {"seen": [None, 1, True, False, 1, ["x"]], "n": 5}


@pytest.mark.parametrize("call", [get_stage, lambda: next_stage([]), lambda: read_text("Name")])
def test_A10_outside_a_stage_there_is_none(call: Callable[[], Any]) -> None:
    with pytest.raises(NoStage, match="stage"):
        call()


TO = {"b": "script", "c": {"kind": "script", "title": "The third"}}
BAD_ARGUMENTS = [
    ("next_stage([{'stage': 'nope'}])", "InvalidNextStage"),
    ("next_stage([{'stage': 'b'}, {'stage': 'nope'}])", "InvalidNextStage"),
    ("next_stage([{'stage': 'a'}])", "InvalidNextStage"),
    ("next_stage([{'data': {}}])", "Malformed"),
    ("next_stage('b')", "Malformed"),
    ("next_stage(['b'])", "Malformed"),
    ("next_stage([{'stage': 7}])", "Malformed"),
    ("next_stage([{'stage': 'b', 'asignee': 'x'}])", "Malformed"),
    ("next_stage([{'stage': 'b', 'data': 7}])", "Malformed"),
    ("next_stage([{'stage': 'b', 'data': {'x': object()}}])", "Malformed"),
    ("next_stage([{'stage': 'b', 'assignee': ''}])", "Malformed"),
    ("next_stage([{'stage': 'b'}], stage='c')", "Malformed"),
]


@pytest.mark.parametrize(("code", "type"), BAD_ARGUMENTS)
async def test_A11_one_bad_target_and_no_run_is_made(make: Make, code: str, type: str) -> None:
    async with opened(make({"a": {"kind": "script", "code": code}, **TO}, "a>b a>c")) as engine:
        found = await engine.get(await begun(engine))
        assert found.status == "failed" and found.error.details["type"] == type
        assert len(await all_runs(engine)) == 1


GOOD_ARGUMENTS = [
    ("next_stage([{'stage': 'b'}])", ["b"]),
    ("next_stage({'stage': 'b'})", ["b"]),
    ("next_stage(stage='b')", ["b"]),
    ("next_stage([{'stage': 'The third'}])", ["c"]),
    ("next_stage([{'stage': 'b'}, {'stage': 'b'}])", ["b", "b"]),
    ("next_stage([{'stage': 'b'}, {'stage': 'c'}])", ["b", "c"]),
    ("pass", ["b", "c"]),
    ("next_stage([])", []),
    ("try:\n    next_stage([])\nexcept Exception:\n    pass\nraise AssertionError", []),
]


@pytest.mark.parametrize(("code", "reached"), GOOD_ARGUMENTS)
async def test_A11_where_a_run_goes_on(make: Make, code: str, reached: list[str]) -> None:
    async with opened(make({"a": {"kind": "script", "code": code}, **TO}, "a>b a>c")) as engine:
        await begun(engine)
        first, *others = await all_runs(engine)
        assert first.status == "completed"
        at = [run.state["stage"] for run in others] or [first.state["stage"]]
        assert sorted(at) == (reached or ["a"])


async def test_A11_the_only_target_may_be_left_out_and_none_is_no_target(make: Make) -> None:
    code = "next_stage(data={'k': get_stage().path})"
    folder = make(
        {"a": {"kind": "script", "code": code}, "b": {"kind": "script", "code": code}}, "a>b"
    )
    async with opened(folder) as engine:
        found = await engine.get(await begun(engine))
        assert found.state["data"] == {"k": "a"}
        assert found.error.details["type"] == "TransitionNotSpecified"


async def test_A11_data_is_laid_over_and_assignees_are_inherited(make: Make) -> None:
    code = """
    get_stage()["mine"] = 1
    next_stage([{"stage": "b", "data": {"x": 2}, "assignee": "bob"}, {"stage": "b"}, {"stage": "c"}])
    """
    folder = make(
        {
            "a": {"kind": "form", "assignee": "ann", "code": code},
            "b": {"kind": "form", "code": "read_text('A')"},
            "c": {"kind": "form", "assignee": "team:x", "code": "read_text('A')"},
        },
        "a>b a>c",
    )
    async with opened(folder) as engine:
        id = await begun(engine, {"x": 1, "deep": {"list": [1]}})
        await engine.answer(f"{id}.a#1", [])
        await engine.until_idle()
        found = {(r.state["assignee"], r.state["data"]["x"]) for r in (await all_runs(engine))[1:]}
        assert found == {("bob", 2), ("ann", 1), ("team:x", 1)}


async def test_A11_data_is_checked_against_what_the_target_takes(make: Make) -> None:
    schema = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}
    code = "next_stage([{'stage': 'b'}, {'stage': 'c', 'data': {'total': 'much'}}])"
    folder = make(
        {
            "a": {"kind": "script", "code": code},
            "b": "script",
            "c": {"kind": "script", "schema": schema},
        },
        "a>b a>c",
    )
    async with opened(folder) as engine:
        found = await engine.get(await begun(engine))
        assert found.error.details["type"] == "Malformed" and len(await all_runs(engine)) == 1
        with pytest.raises(InvalidInput):
            await begun(engine, {}, stage="c")


# -- A13, A19: tests ---------------------------------------------------------------------------


async def test_A13_a_test_run_goes_on_tells_nobody_and_is_gone_at_the_next_start(
    make: Make, outlet: Outlet
) -> None:
    folder = reviewed(make, "mark@company.com")
    async with opened(folder) as engine:
        real = await begun(engine)
        id = await begun(engine, test=True)
        assert outlet.people == ["mark@company.com"]
        found = await engine.get(id)
        assert (found.namespace, found.state["stage"]) == (TEST, "review")
        assert [ask.instance for ask in (await engine.asks.list()).items] == [real]
        for q, count in (("test", 2), (f"instance:{id}", 1)):
            assert len((await engine.asks.list(q)).items) == count
        assert await leaves(engine) == {"review": 1}
        assert await leaves(engine, test=True) == {"review": 1}
        lines = (await engine.stages.logs("flow", test=True))["items"]
        assert {line["instance"] for line in lines} == {id}
        await engine.crash()
        with pytest.raises(NotFound):
            await engine.get(id)
        assert [run.id for run in await all_runs(engine)] == [real]
        assert [f for f in await engine.doctor(deep=True) if f.level == "error"] == []


async def test_A13_on_disk_too(make: Make, tmp_path: Path) -> None:
    folder = reviewed(make, "mark@company.com")
    for count in (0, 1):
        async with Engine.open(tmp_path / "app.db", workflows=[folder]) as engine:
            rows = (await engine.list()).items
            assert len(rows) == count
            await engine.start("flow", test=True)
            if not count:
                real = await engine.start("flow")
                while (await engine.get(real.id)).status != "waiting":
                    await asyncio.sleep(0.01)
            assert [f for f in await engine.doctor(deep=True) if f.level == "error"] == []


async def test_A19_a_test_may_begin_at_any_stage_with_data(make: Make) -> None:
    stages = {
        "a": "script",
        "b": {"kind": "script", "code": "s = get_stage(); s['y'] = s['x'] + 1"},
    }
    async with opened(make(stages, "a>b")) as engine:
        id = await begun(engine, {"x": 1}, stage="b", test=True)
        assert await engine.result(id) == {"x": 1, "y": 2}
        with pytest.raises(InvalidInput, match="no stage 'c'"):
            await engine.start("flow", stage="c", test=True)


# -- A14: where runs come from -----------------------------------------------------------------


async def test_A14_an_initial_form_starts_a_run_when_it_is_submitted(make: Make) -> None:
    code = "s = get_stage(); s['a'] = read_text('A'); s['b'] = read_text('B')"
    folder = make({"ask": {"kind": "form", "code": code}, "on": "script"}, "ask>on")
    async with opened(folder) as engine:
        with pytest.raises(FormNotComplete) as caught:
            await engine.start("flow", form=[{"a": "1"}])
        assert list(caught.value.schema["properties"]) == ["b"]
        assert await all_runs(engine) == []  # abandoned: nothing is left
        id = await begun(engine, {"x": 0}, form=[{"a": "1"}, {"b": "2"}])
        assert await engine.result(id) == {"x": 0, "a": "1", "b": "2"}
        with pytest.raises(InvalidRequest, match="no form"):
            await engine.start("flow", stage="on", form=[{}])


async def test_A14_where_a_run_begins_must_be_clear(make: Make) -> None:
    async with opened(make({"a": "script", "b": "script", "c": "script"}, "a>c b>c")) as engine:
        with pytest.raises(InvalidInput, match="several stages"):
            await engine.start("flow")
        assert (await engine.get(await begun(engine, stage="b"))).state["trail"][0]["stage"] == "b"


@pytest.mark.parametrize("left_at", range(4))
async def test_A14_a_form_is_gone_on_with_at_any_question_after_a_crash(
    make: Make, left_at: int, tmp_path: Path
) -> None:
    made = tmp_path / "made.txt"
    code = f"""
    def effect(name):
        with open({str(made)!r}, "a") as file:
            file.write(name + " ")
        return name
    s = get_stage()
    s["a"] = read_text("A")
    once("after a", lambda: effect("one"))
    s["b"] = read_text("B")
    once("after b", lambda: effect("two"))
    s["c"] = read_text("C")
    """
    pages = [{"a": "1"}, {"b": "2"}, {"c": "3"}]
    async with opened(make({"ask": {"kind": "form", "code": code}})) as engine:
        id = await begun(engine)
        ask = f"{id}.ask#1"
        for count in range(1, left_at):
            with pytest.raises(FormNotComplete):
                await engine.answer(ask, pages[:count], by="ann")
        await engine.crash()
        await engine.advance("3d")
        draft = (await engine.asks.get(ask, by="ann")).draft or []
        assert draft == pages[: max(0, left_at - 1)]
        await engine.answer(ask, [*draft, *pages[len(draft) :]], by="ann")
        assert await engine.result(id) == {"a": "1", "b": "2", "c": "3"}
    assert made.read_text() == "one two "


async def test_C30_a_form_that_is_not_the_same_when_run_again_is_found_in_a_test_run(
    make: Make,
) -> None:
    code = "import time\nread_text(f'Now {time.perf_counter_ns()}', key='a')"
    pure = "n = once('now', lambda: 7)\nread_text(f'Now {n}', key='a')"
    stages = {"ask": {"kind": "form", "code": code}, "pure": {"kind": "form", "code": pure}}
    async with opened(make(stages), forms_twice=False) as engine:
        real = await begun(engine, stage="ask")
        await engine.answer(f"{real}.ask#1", {"a": "x"})
        id = await begun(engine, stage="ask", test=True)
        with pytest.raises(FormError, match="not pure"):
            await engine.answer(f"{id}.ask#1", {"a": "x"})
        id = await begun(engine, stage="pure", test=True)
        await engine.answer(f"{id}.pure#1", {"a": "x"})


async def test_once_in_a_script_is_carried_out_once_however_often_it_is_run_again(
    make: Make, tmp_path: Path
) -> None:
    made = tmp_path / "made.txt"
    code = f"""
    import pathlib
    place = pathlib.Path({str(made)!r})
    def effect():
        place.write_text((place.read_text() if place.exists() else "") + "x")
        return 7
    n = once("ticket", effect)
    if not pathlib.Path({str(made)!r} + ".go").exists():
        raise RuntimeError("not yet")
    get_stage()["n"] = n
    """
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        id = await begun(engine)
        assert (await engine.get(id)).status == "failed"
        Path(f"{made}.go").touch()
        await engine.resume(id)
        assert await engine.result(id) == {"n": 7}
    assert made.read_text() == "x"


def test_once_needs_a_key_and_a_function() -> None:
    with pytest.raises(InvalidInput):
        once("", lambda: 1)
    assert once("outside", lambda: 3) == 3


# -- A15, A21: logs ----------------------------------------------------------------------------


async def test_A15_what_a_stage_prints_is_kept_with_its_run_and_bounded(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys\nprint('hello'); print('oops', file=sys.stderr)\nprint('x' * 50_000)\nprint('end')"
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        await begun(engine)
        (line,) = (await engine.stages.logs("flow"))["items"]
        assert len(line["output"]) < 17_000
        assert line["output"].startswith("... ") and line["output"].endswith("x\nend\n")
    assert "hello" not in capfd.readouterr().out
    sys.stdout.write("after\n")
    assert capfd.readouterr().out == "after\n"


async def test_A15_runs_beside_each_other_do_not_mix_what_they_print(make: Make) -> None:
    code = "import time\nn = get_stage()['n']\nfor _ in range(5):\n    print(n); time.sleep(0.002)"
    async with opened(make({"a": {"kind": "script", "code": code}})) as engine:
        for n in range(4):
            await engine.start("flow", {"n": n})
        await engine.until_idle()
        outputs = {line["output"] for line in (await engine.stages.logs("flow"))["items"]}
        assert outputs == {f"{n}\n" * 5 for n in range(4)}


async def test_A21_logs_of_all_runs_newest_first_by_stage_run_and_text(make: Make) -> None:
    folder = make(
        {
            "a": {"kind": "script", "code": "print('a of', get_stage()['n'])"},
            "b": {"kind": "script", "code": "print('b'); 1 / (get_stage()['n'] - 1)"},
        },
        "a>b",
    )
    async with opened(folder) as engine:
        ids = []
        for n in range(3):
            ids.append(await begun(engine, {"n": n}))
            await engine.advance("1m")
        logs = engine.stages.logs
        lines = (await logs("flow"))["items"]
        assert [line["at"] for line in lines] == sorted((x["at"] for x in lines), reverse=True)
        assert [x["instance"] for x in lines[::2]] == ids[::-1] and len(lines) == 6
        assert {x["instance"] for x in (await logs(run=ids[1]))["items"]} == {ids[1]}
        (failed,) = (await logs("flow", text="division"))["items"]
        assert failed["instance"] == ids[1] and failed["output"] == "b\n"
        assert failed["error"].startswith("ZeroDivisionError")
        assert len((await logs("flow", stage="a"))["items"]) == 3
        page = await logs("flow", limit=2)
        older = await logs("flow", before=page["before"])
        assert len(page["items"]) == 2 and older["items"][0]["instance"] == ids[1]
        newer = await logs("flow", after=page["items"][-1]["at"])
        assert all(x["at"] > page["items"][-1]["at"] for x in newer["items"])


async def test_A21_a_long_run_has_all_its_lines(make: Make) -> None:
    """Also those before its snapshot, which nothing else reads any more."""
    code = "stage = get_stage(); stage['n'] += 1\nif stage['n'] == 250: next_stage([])"
    folder = make({"a": {"kind": "script", "code": code}}, [{"from": "a", "to": "a", "loop": True}])
    async with opened(folder) as engine:
        id = await begun(engine, {"n": 0})
        lines = (await engine.stages.logs(run=id, limit=1_000))["items"]
        assert [line["op"] for line in lines] == [f"a#{n}" for n in range(250, 0, -1)]
        found: list[Any] = []
        page: Any = {"before": None}
        while len(found) < 250:  # many of one moment: a page begins where the last one ended
            page = await engine.stages.logs(run=id, limit=99, before=page["before"])
            found += page["items"]
        assert found == lines
        with pytest.raises(InvalidRequest, match="before is the place or time"):
            await engine.stages.logs(before="yesterday")


# -- A16: board and access ---------------------------------------------------------------------


async def test_A16_the_board_counts_live_leaves_and_a_card_moves_along_a_transition(
    make: Make,
) -> None:
    ask = {"kind": "form", "code": "read_text('A')"}
    folder = make(
        {"todo": ask, "doing": ask, "done": "script", "lone": "script"}, "todo>doing doing>done"
    )
    async with opened(folder) as engine:
        ids = []
        for n in range(3):
            ids.append(await begun(engine, {"n": n}))
            await engine.advance("1s")
        board = await engine.stages.board("flow", ["todo"], {"data.n": 2})
        assert [card["instance"] for card in board["columns"][0]["cards"]] == [ids[2]]
        with pytest.raises(InvalidNextStage) as caught:
            await engine.stages.move(ids[0], "done")
        assert caught.value.details["allowed"] == ["doing"]
        moved = await engine.stages.move(ids[0], "doing", by="ann")
        await engine.until_idle()
        assert moved["from"] == "todo" and await leaves(engine) == {"todo": 2, "doing": 1}
        await engine.crash()
        page = await engine.stages.board("flow", ["todo"], limit=1)
        (column,) = page["columns"]
        assert [card["instance"] for card in column["cards"]] == [ids[1]]
        again = await engine.stages.board(
            "flow", ["todo"], limit=1, cursor={"todo": column["cursor"]}
        )
        assert [card["instance"] for card in again["columns"][0]["cards"]] == [ids[2]]
        await engine.stages.move(ids[0], "done")
        await engine.until_idle()
        with pytest.raises((InvalidTransition, InvalidNextStage)):
            await engine.stages.move(ids[0], "doing")
        assert [a.instance for a in (await engine.asks.list()).items] == sorted(ids[1:])


async def test_A16_that_a_card_can_be_moved_is_nothing_a_run_waits_for(make: Make) -> None:
    async with opened(make({"a": {"kind": "form", "code": "read_text('A')"}})) as engine:
        id = await begun(engine)
        assert [wait.kind for wait in (await engine.get(id)).waits] == ["form"]
        assert [wait.kind for wait in (await engine.list("")).items[0].waits] == ["form"]
        assert "greenroom.stage" not in (await engine.why(id)).text


async def test_A16_what_stays_says_why_and_what_failed_can_be_moved_on(make: Make) -> None:
    folder = make(
        {
            "ask": {"kind": "form", "code": "read_text('A')"},
            "file": {"kind": "script", "code": "1 / get_stage()['n']", "retry": 3},
            "later": {"kind": "script", "code": "get_stage()['late'] = True"},
        },
        "ask>file file>later",
    )
    async with opened(folder) as engine:
        id = await begun(engine, {"n": 0}, stage="file")
        for status in ("waiting", "failed"):  # it is tried again, then it is not
            (card,) = (await engine.stages.board("flow", ["file"]))["columns"][0]["cards"]
            assert (card["status"], card["movable"], card["stays"]) == (status, True, None)
            if status == "waiting":
                await engine.advance("1h")
        with pytest.raises(InvalidNextStage):
            await engine.stages.move(id, "ask")
        await engine.stages.move(id, "later", by="ann")
        assert await engine.result(id) == {"n": 0, "late": True}
        (skipped,) = (await engine.stages.logs("flow", stage="file", limit=1))["items"]
        assert (skipped["ended"], skipped["by"]) == ("skipped", "ann")
        id = await begun(engine, stage="ask")
        await engine.pause(id)
        (card,) = (await engine.stages.board("flow", ["ask"]))["columns"][0]["cards"]
        assert not card["movable"] and card["stays"] == "it is paused: resume it first"
        with pytest.raises(InvalidTransition, match="stays at ask: it is paused"):
            await engine.stages.move(id, "file")
        id = await begun(engine, {"n": 0}, stage="file")
        await engine.advance("1h")
        await engine.skip(id, "file#1")  # by hand, with nothing: it goes on with what it has
        assert await engine.result(id) == {"n": 0, "late": True}


async def test_A16_a_board_and_a_log_read_what_they_show(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many runs wait: a column is read by the index of where runs stand."""
    monkeypatch.setattr(stagelogs, "PAGE", 4)
    folder = make({"a": {"kind": "form", "code": "read_text('A')"}, "b": "script"}, "a>b")
    async with opened(folder) as engine:
        ids = [await begun(engine) for _ in range(30)]
        await engine.advance("1s")
        await engine.answer(f"{ids[7]}.a#1", {"a": "x"})
        await engine.until_idle()
        await engine.crash()
        read: list[int] = []
        call = engine.journal.call

        async def counted(work: Any) -> Any:
            read.extend(work.ns if isinstance(work, Load) else ())
            read.extend([work.n] if isinstance(work, ReadRows) else ())
            return await call(work)

        monkeypatch.setattr(engine.journal, "call", counted)
        columns = (await engine.stages.board("flow", limit=2))["columns"]
        assert [(c["stage"], c["count"], len(c["cards"])) for c in columns] == [
            ("a", 29, 2), ("b", 0, 0),
        ]  # fmt: skip
        assert len(read) == 2
        assert (await engine.list("stage:a workflow:flow", limit=50)).total is not None
        read.clear()
        assert len((await engine.stages.logs("flow", limit=1))["items"]) == 1
        assert len(read) <= 4
        read.clear()
        assert (await engine.stages.logs("flow", run=ids[3]))["items"] == []
        assert len(read) == 1


async def test_A16_access_by_role_and_for_everybody(make: Make) -> None:
    ask = {"kind": "form", "code": "read_text('A')"}
    folder = make(
        {"hr": {**ask, "access": {"roles": ["hr"]}}, "open": {**ask, "access": "public"}},
        roles={"hr": ["ann", "team:board"]}, teams={"board": ["bob"]},
    )  # fmt: skip
    async with opened(folder) as engine:
        for by in (None, "eve", "eve via oidc:eve"):
            with pytest.raises(NotPermitted):
                await engine.start("flow", stage="hr", by=by)
        id = await begun(engine, stage="hr", by="ann")
        with pytest.raises(NotPermitted):
            await engine.answer(f"{id}.hr#1", {"a": "x"}, by="eve")
        await engine.answer(f"{id}.hr#1", {"a": "x"}, by="bob via key:k1/program")
        id = await begun(engine, stage="open")
        await engine.answer(f"{id}.open#1", {"a": "x"})
        graph = await engine.stages.graph("flow")
        assert [s["access"] for s in graph["stages"]] == [{"roles": ["hr"]}, "public"]


def test_A16_a_role_nobody_has_is_a_mistake() -> None:
    stage = {"path": "a", "kind": "form", "access": {"roles": ["hr"]}}
    with pytest.raises(DefinitionError, match="no role 'hr'"):
        graph_from({"name": "x", "stages": [stage]}, "stages.json")


# -- A17: deploy -------------------------------------------------------------------------------


async def test_A17_deploy_refuses_what_is_not_installed_and_names_it(make: Make) -> None:
    code = "def later():\n    import nowhere_at_all.deep"
    folder = make(
        {"a": {"kind": "script", "code": code}},
        files={"requirements.txt": "# ours\nmsgspec\nno-such-thing>=1\nmsgspec==0.0.1\n"},
    )
    async with opened(folder) as engine:
        with pytest.raises(DefinitionError) as caught:
            await engine.stages.deploy(folder)
        said = str(caught.value)
        assert "a.py:3" in said and "the package nowhere_at_all is not installed" in said
        assert "requirements.txt:3   the package no-such-thing is not installed" in said
        assert "requirements.txt:4   the package msgspec is installed as" in said


async def test_A17_deploy_releases_a_version_and_runs_keep_theirs(make: Make) -> None:
    def written(n: int) -> str:
        return make(
            {"ask": {"kind": "form", "code": "read_text('A')"},
             "work": {"kind": "script", "code": f"get_stage()['version'] = {n}"}}, "ask>work",
        )  # fmt: skip

    async with opened(written(1)) as engine:
        old = await begun(engine)
        folder = written(2)
        info = await engine.stages.deploy("flow")
        assert (info.version, info.release) == (2, True)
        assert (await engine.stages.deploy(folder)).version == 2  # nothing has changed
        new = await begun(engine)
        await engine.crash()
        for id, version in ((old, 1), (new, 2)):
            await engine.answer(f"{id}.ask#1", {"a": "x"})
            assert await engine.result(id) == {"version": version}


async def test_A17_a_failed_script_that_was_mended_and_deployed_is_resumed_with_it(
    make: Make,
) -> None:
    def written(code: str, more: str) -> str:
        return make(
            {"a": {"kind": "script", "code": code}, "b": {"kind": "script", "code": more}}, "a>b"
        )

    async with opened(written("print(1)\n1 / 0", "get_stage()['b'] = 1")) as engine:
        id = await begun(engine, {"n": 1})
        await engine.resume(id)
        await engine.until_idle()
        assert (await engine.get(id)).status == "failed"
        written("get_stage()['mended'] = True", "get_stage()['b'] = 2")
        await engine.stages.deploy("flow")
        await engine.crash()
        assert (await engine.get(id)).status == "failed"
        await engine.resume(id)
        found = await engine.result(id)  # what had not failed is still that of its version
        assert found == {"n": 1, "mended": True, "b": 1}


async def test_A17_only_the_owner_of_the_daemon_brings_code(make: Make, tmp_path: Path) -> None:
    folder = make({"a": "script"})
    other = make({"a": "script"}, name="other")
    async with opened(folder) as engine:
        for by in ("key:k1/eve", "oidc:eve", "ann via key:k1/eve"):
            with pytest.raises(NotPermitted):
                await engine.stages.deploy(other, by=by)
            document = {"stages": {"name": "x", "stages": []}, "files": {}, "folder": "/"}
            with pytest.raises(NotPermitted):
                await engine.definitions.push(document, by=by)
        assert (await engine.stages.deploy("flow", by="key:k1/eve")).version == 1
        assert (await engine.stages.deploy(other, by="uid:0/root")).name == "other"


async def test_A17_a_folder_that_is_wrong_is_not_loaded(make: Make) -> None:
    folder = make({"a": {"kind": "script", "code": "def ("}, "b": "script"})
    (Path(folder) / "b.py").unlink()
    with pytest.raises(DefinitionError) as caught:
        TestEngine(folder)
    assert "a.py:2" in str(caught.value) and "there is no b.py" in str(caught.value)


# -- A18, A20: the folder as an editor has it --------------------------------------------------


async def test_A18_saving_writes_the_file_keeps_unknown_keys_and_loses_nobodys_change(
    make: Make,
) -> None:
    folder = make(
        {"a": {"kind": "script", "x": 10, "note": "mine"}, "b": "script"}, editor={"zoom": 2}
    )
    file = Path(folder) / "stages.json"
    async with opened(folder) as engine:
        graph = await engine.stages.graph("flow")
        document = graph["document"]
        assert graph["writable"] and graph["deployed"] and graph["stages"][0]["x"] == 10
        document["transitions"].append({"from": "a", "to": "b", "label": "then"})
        saved = await engine.stages.save("flow", document, etag=graph["etag"])
        assert saved["deployed"] is False and json.loads(file.read_text()) == document
        assert document["editor"] == {"zoom": 2}
        with pytest.raises(IdConflict) as caught:
            await engine.stages.save("flow", {**document, "transitions": []}, etag=graph["etag"])
        assert caught.value.details["theirs"] == document
        document["transitions"].append({"from": "a", "to": "nope"})
        with pytest.raises(DefinitionError):
            await engine.stages.save("flow", document, etag=saved["etag"])
        assert len(json.loads(file.read_text())["transitions"]) == 1
        assert (await engine.get(await begun(engine, stage="a"))).state["stage"] == "a"
        assert (await engine.stages.deploy("flow")).version == 2
        assert (await engine.get(await begun(engine))).state["stage"] == "b"
        engine.stages.read_only = True
        with pytest.raises(ReadOnly):
            await engine.stages.save("flow", saved["document"])


async def test_A18_a_stage_made_in_the_editor_gets_a_file_and_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make({"a": {"kind": "script", "code": "get_stage()['kept'] = 1"}})
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    async with opened(folder) as engine:
        document = (await engine.stages.graph("flow"))["document"]
        document["stages"].append({"path": "review-it", "kind": "form", "title": "Review"})
        document["transitions"].append({"from": "a", "to": "review-it"})
        saved = await engine.stages.save("flow", document)
        assert saved["problem"] is None and saved["stages"][1]["file"] == "review_it.py"
        await engine.stages.deploy("flow")
        id = await begun(engine)
        await engine.answer(f"{id}.review-it#1", {"answer": "good"})
        assert await engine.result(id) == {"kept": 1, "answer": "good"}
        shown = await engine.stages.open_file("flow", "Review")
        assert shown == {"path": str(Path(folder) / "review_it.py"), "opened": False}
        monkeypatch.setenv("VISUAL", "true")
        assert (await engine.stages.open_file("flow", "a"))["opened"] is True


async def test_A18_where_things_stand_on_the_canvas_makes_no_version(make: Make) -> None:
    folder = make({"a": {"kind": "script", "x": 10}})
    async with opened(folder) as engine:
        document = (await engine.stages.graph("flow"))["document"]
        document["stages"][0]["x"] = 99
        await engine.stages.save("flow", document)
        assert (await engine.stages.deploy("flow")).version == 1


async def test_A20_a_file_that_is_not_named_is_an_unconnected_stage(make: Make) -> None:
    folder = make(
        {"a": "script"},
        files={
            "made_outside.py": IMPORTS + "get_stage()['name'] = read_text('Name')",
            "web_hook.py": IMPORTS + "send_json({})",
            "_private.py": "",
            "test_a.py": "",
        },
    )
    async with opened(folder) as engine:
        found = {
            s["path"]: (s["kind"], s["declared"])
            for s in (await engine.stages.graph("flow"))["stages"]
        }
        assert found == {
            "a": ("script", True), "made-outside": ("form", False), "web-hook": ("hook", False),
        }  # fmt: skip
        id = await begun(engine, stage="made-outside")
        await engine.answer(f"{id}.made-outside#1", {"name": "Ann"})
        assert await engine.result(id) == {"name": "Ann"}
        assert (await engine.get(await begun(engine))).state["stage"] == "a"


async def test_a_graph_can_be_printed(make: Make) -> None:
    async with opened(make({"a": "script", "b": "script"}, "a>b")) as engine:
        text = (await engine.stages.graph("flow"))["mermaid"]
        assert text.splitlines() == [
            "flowchart LR", '  s0["a (script)"]', '  s1["b (script)"]', "  s0 --> s1",
        ]  # fmt: skip
        (row,) = await engine.stages.list()
        assert row["name"] == "flow" and row["stages"] == ["a", "b"]


async def test_a_workflow_that_is_no_graph_is_none(make: Make) -> None:
    async with opened(make({"a": "script"})) as engine:
        with pytest.raises(NotFound):
            await engine.stages.board("nope")
        with pytest.raises(NotFound):
            await engine.stages.graph("nope")
    assert sys.stdout is not None
