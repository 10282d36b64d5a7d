"""Definitions and events from people who are not trusted: each is refused or stopped, and nobody
else is disturbed (rows D of the rules about security)."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from greenroom import child, workflow
from greenroom import emit as post_event
from greenroom.actors.progress import hops_of
from greenroom.actors.rows import rfc3339
from greenroom.definitions import pages
from greenroom.definitions.documents import read_document
from greenroom.definitions.errors import (
    EventLoop,
    FormInvalid,
    GreenroomError,
    InvalidDefinition,
    InvalidEvent,
    InvalidRequest,
    NoSuchAsk,
    NotPermitted,
    StoreDamaged,
    TooLarge,
)
from greenroom.definitions.events import Event
from greenroom.definitions.previews import preview
from greenroom.definitions.stagegraphs import graph_from
from greenroom.runtime import calls, loops
from greenroom.runtime.engine import Engine
from greenroom.runtime.testing import TestEngine
from greenroom.runtime.tokens import kept_in
from tests.definitions.test_documents import document
from tests.runtime.test_documents import core, emit, run


def asking(pattern: Any, **more: Any) -> dict[str, Any]:
    fields = {"a": {"type": "string", "pattern": pattern, **more}}
    return document(
        core("Ask", 1, {"kind": "form", "schema": {"properties": fields, "required": ["a"]}})
    )


# -- how much ------------------------------------------------------------------------------------


def nested(depth: int, mode: str) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "Core:Transform", "order": 1, "transform": {"x": "::@"}}
    for at in range(depth):
        path = "::a" if at == depth - 1 else "::@"
        given = {"array_path": path, "actions": [inner], "mode": mode}
        inner = core("Iterator", 1, given)
    return document(inner)


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
async def test_iterators_in_each_other_are_stopped_by_their_work(
    engine: TestEngine, mode: str
) -> None:
    """32 x 32 x 32 are few each, and none of them waits for anything."""
    cube = [[[1] * 32] * 32] * 32
    found = await run(engine, nested(3, mode), {"a": cube})
    assert (found.status, found.error.code) == ("failed", "runaway")
    assert "works more than 300,000 steps" in found.error.message
    await engine.cancel(found.id)
    found = await run(engine, {**nested(2, mode), "name": "few"}, {"a": [[1] * 50] * 50})
    assert found.status == "completed"


async def test_expressions_of_a_turn_are_paid_together(engine: TestEngine) -> None:
    """Each may take its whole budget, all of them may not."""
    slow = {"x": "::length(sort_by(l[?n > `0`], &n)[*].n)"}
    steps = [{"type": "Core:Transform", "order": at, "transform": slow} for at in range(1, 90)]
    found = await run(engine, document(*steps), {"l": [{"n": at} for at in range(1_000)]})
    assert (found.status, found.error.code) == ("failed", "runaway")
    waits = [
        core("Wait", at, {"seconds": 1}) if at % 10 == 0 else {**steps[0], "order": at}
        for at in range(1, 40)
    ]
    paced = {**document(*waits, name="paced")}
    found = await run(engine, paced, {"l": [{"n": at} for at in range(1_000)]})
    assert found.status == "waiting"


def test_a_document_has_so_many_actions_in_all_and_so_many_values() -> None:
    few = [core("Log", at, {"text": "x"}) for at in range(1, 41)]
    for number, fits in ((4, True), (5, False)):
        lists = [
            core("Iterator", at, {"array_path": "::a", "actions": few}) for at in range(number)
        ]
        given = document(*[{**one, "order": at} for at, one in enumerate(lists, 1)])
        if fits:
            read_document(json.dumps(given))
            continue
        with pytest.raises(InvalidDefinition, match="more than 200 actions in all"):
            read_document(json.dumps(given))
    with pytest.raises(InvalidDefinition, match="more than 10,000 values"):
        read_document(json.dumps(document(core("Log", 1, {"text": "x", "data": [{}] * 10_000}))))


def test_a_form_of_a_document_is_made_without_a_look_at_source_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two hundred forms had taken six seconds."""

    def location(thing: object) -> str:
        raise AssertionError("this reads and parses the whole file")

    monkeypatch.setattr(pages, "location", location)
    fields = {f"f{at}": {"type": "string"} for at in range(10)}
    asks = [
        core("Ask", at, {"kind": "form", "schema": {"properties": fields}}) for at in range(1, 51)
    ]
    assert len(read_document(json.dumps(document(*asks))).actions) == 50


# -- patterns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*a){20}b"])
async def test_a_pattern_of_a_form_cannot_hold_up_the_process(
    engine: TestEngine, pattern: str
) -> None:
    found = await run(engine, asking(pattern))
    (ask,) = (await engine.asks.list()).items
    assert ask.schema["properties"]["a"]["pattern"] == pattern  # browsers check it too
    with pytest.raises(FormInvalid, match="must match"):
        await engine.answer(ask.id, {"a": "a" * 5_000 + "!"})
    assert (await engine.get(found.id)).status == "waiting"


async def test_a_pattern_of_a_form_is_obeyed(engine: TestEngine) -> None:
    found = await run(engine, asking("^[a-z]+$", maxLength=3, title="Name"))
    (ask,) = (await engine.asks.list()).items
    for wrong in ("A", "abcd", 5):
        with pytest.raises(FormInvalid):
            await engine.answer(ask.id, {"a": wrong})
    await engine.answer(ask.id, {"a": "abc"})
    await engine.until_idle()
    assert (await engine.get(found.id)).status == "completed"


@pytest.mark.parametrize("pattern", ["[", r"(?=a)\1", "(((a{1,1000}){1,1000}){1,1000})", 5])
def test_a_pattern_that_is_none_or_too_large_is_refused_with_its_place(pattern: Any) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        read_document(json.dumps(asking(pattern)), "w.json")
    (problem,) = refused.value.problems
    assert problem.path == "$.actions[0].parameters.schema.properties.a.pattern"


@pytest.mark.parametrize("more", [{"type": "integer"}, {"enum": ["a"]}, {"format": "date"}])
def test_only_text_has_a_pattern(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidDefinition, match="only a plain string"):
        read_document(json.dumps(asking("a", **more)), "w.json")


# -- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [1e15, 9e17, -1e15, 253402300800])
async def test_a_time_outside_the_calendar_does_not_break_the_lists_of_others(
    engine: TestEngine, until: float
) -> None:
    found = await run(engine, document(core("Wait", 1, {"until": "::u"})), {"u": until})
    assert [one.id for one in (await engine.list()).items] == [found.id]
    assert (found.status == "failed") is (until > 0)
    assert rfc3339(1 << 62) == "9999-12-31T23:59:59.999Z"
    assert rfc3339(-(1 << 62)) == "0001-01-01T00:00:00.000Z"


# -- loops -------------------------------------------------------------------------------------


def test_a_posted_event_cannot_buy_more_hops() -> None:
    assert hops_of({"hops": -1_000_000}) == 0
    assert hops_of({"hops": True}) == hops_of({"hops": "5"}) == 0
    assert hops_of({"hops": 5}) == 5


def echo(*actions: dict[str, Any]) -> dict[str, Any]:
    """A workflow that starts itself by an event."""
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "go"}}
    return document(*actions, emit("go", order=9), source=source)


@pytest.mark.parametrize(
    ("rest", "time"),
    [
        (core("Wait", 1, {"seconds": 0.9}), "1 minute"),
        (core("WaitForEvent", 1, {"event_type": "never"}, timeout=0.001), "100 ms"),
    ],
)
async def test_a_loop_that_hardly_sleeps_stops(
    engine: TestEngine, rest: dict[str, Any], time: str
) -> None:
    engine.register(echo(rest))
    await engine.start("w", {})
    await engine.advance(time)
    counts = (await engine.info()).instances
    assert (counts["completed"], counts["failed"], counts["waiting"]) == (32, 1, 0)


async def test_what_sleeps_in_between_is_no_loop(engine: TestEngine) -> None:
    engine.register(echo(core("Wait", 1, {"seconds": 60})))
    await engine.start("w", {})
    for _ in range(40):
        await engine.advance("1 minute")
    assert (await engine.info()).instances["failed"] == 0


# -- sizes -------------------------------------------------------------------------------------


def test_many_short_expressions_count_like_few_long_ones() -> None:
    many = [f"::a{i}" for i in range(9_000)]
    with pytest.raises(InvalidDefinition, match="expressions"):
        read_document(json.dumps(document(core("Log", 1, {"text": "x", "data": many}))), "w.json")
    few = [f"::a{i}" for i in range(2_000)]
    read_document(json.dumps(document(core("Log", 1, {"text": "x", "data": few}))), "w.json")


@pytest.mark.parametrize(
    "action",
    [
        core("CustomEvent", 1, {"event_type": "::a"}),
        core("CustomEvent", 1, {"event_type": "t", "subject": "::a"}),
        core("WaitForEvent", 1, {"event_type": "::a"}),
        core("Ask", 1, {"kind": "approval", "title": "::a"}),
        core("Ask", 1, {"kind": "approval", "assignee": "::a"}),
        core("Data", 1, {"operation": "write", "key": "::a", "value": 1}),
    ],
)
async def test_a_name_that_an_expression_gives_is_no_longer_than_one_that_is_written(
    engine: TestEngine, action: dict[str, Any]
) -> None:
    found = await run(engine, document(action), {"a": "x" * 257})
    assert found.status == "failed"
    assert "must be text of 1 to 256 characters, got 257" in found.error.message


BEYOND = str(10**30)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("events.list", {"cursor": BEYOND}),
        ("asks.list", {"cursor": BEYOND}),
        ("list", {"cursor": f"{BEYOND}.{BEYOND}"}),
        ("list", {"q": f"n>{BEYOND}"}),
        ("resources.list", {"cursor": f"{BEYOND}.x"}),
        ("resources.history", {"id": "x", "cursor": BEYOND}),
        ("events.list", {"limit": int(BEYOND)}),
        ("events.redrive", {"pos": int(BEYOND)}),
        ("history", {"instance": "w/1", "after": -int(BEYOND)}),
        ("state", {"instance": "w/1", "seq": int(BEYOND)}),
        ("start", {"workflow": "w", "version": int(BEYOND)}),
        ("migrate", {"instance": "w/1", "to_version": int(BEYOND)}),
        ("definitions.get", {"name": "w", "version": int(BEYOND)}),
        ("definitions.diff", {"name": "w", "a": int(BEYOND)}),
    ],
)
async def test_a_number_beyond_64_bits_ends_nothing_but_its_request(
    tmp_path: Path, method: str, params: dict[str, Any]
) -> None:
    async with Engine(tmp_path / "a.db", []) as engine:
        engine.register(document(core("Log", 1, {"text": "x"}), key="::k"))
        await engine.start("w", {"k": "1"})
        try:
            await calls.run(engine, method, params, None)
        except GreenroomError as error:
            assert "internal error" not in error.message
        assert engine.journal.state == "open"
        await engine.post(Event(type="still.there"))


async def test_a_moment_in_a_year_there_is_not_is_no_date(engine: TestEngine) -> None:
    with pytest.raises(InvalidRequest, match="is not a duration or a date"):
        await engine.list("updated>0001-01-01T00:00:00+10:00")


@pytest.mark.parametrize("token", ["!" * 64, "=" * 64, "\x00" * 64, "A" * 10 + "!" * 54, "é" * 64])
async def test_a_token_that_is_none_is_no_fault(engine: TestEngine, token: str) -> None:
    for method in ("answer", "progress"):
        params = {"ask" if method == "answer" else "token": token, "data": {}}
        with pytest.raises(NoSuchAsk):
            await calls.run(engine, method, params, None)
    with pytest.raises(NoSuchAsk):
        await engine.callbacks.find(token)


# -- drafts ------------------------------------------------------------------------------------


async def test_claimed_names_cannot_fill_the_store_with_drafts(engine: TestEngine) -> None:
    await run(engine, document(core("Ask", 1, {"kind": "approval"})))
    (ask,) = (await engine.asks.list()).items

    async def draft(by: str, data: Any) -> Any:
        params = {"ask": ask.id, "data": data, "by": by}
        return await calls.run(engine, "asks.draft", params, "key:1/k")

    for number in range(32):
        await draft(f"p{number}", {"approved": True})
    with pytest.raises(TooLarge, match="32 others"):
        await draft("p32", {"approved": True})
    await draft("p5", {"approved": False})  # one's own is written over
    await draft("p6", None)
    assert (await draft("p32", {"approved": True})).draft == [{"approved": True}]
    for name in ("x" * 257, "a\nb", "\x1b[2J"):
        with pytest.raises(InvalidRequest, match="printable"):
            await draft(name, {"approved": True})


async def test_a_backup_to_a_path_that_is_none_is_refused(tmp_path: Path) -> None:
    async with Engine(tmp_path / "a.db", []) as engine:
        with pytest.raises(InvalidRequest, match="NUL"):
            await calls.run(engine, "backup", {"path": f"{tmp_path}/a\x00b"}, None)


async def test_whoever_comes_over_the_network_copies_the_store_to_its_own_folder_alone(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir(0o700)
    async with Engine(f"{data}/", []) as engine:
        for path in (f"{tmp_path}/x.db", "../x.db", "a/b.db", ".hidden", "", "x" * 200, "a\nb"):
            for by in ("key:1/k", "oidc:ann", "local:1001/bob", "link:0193/ann"):
                with pytest.raises(InvalidRequest, match="has a name and no path"):
                    await calls.run(engine, "backup", {"path": path}, by)
        made = await calls.run(engine, "backup", {"path": "one.db"}, "key:1/k")
        assert made["path"] == str(data / "backups" / "one.db")
        assert (data / "backups").stat().st_mode & 0o777 == 0o700
        assert Path(made["path"]).stat().st_mode & 0o777 == 0o600
        with pytest.raises(InvalidRequest, match="is there already"):
            await calls.run(engine, "backup", {"path": "one.db"}, "key:1/k")
        for number, owner in enumerate((None, "uid:0/root")):
            await calls.run(engine, "backup", {"path": f"{tmp_path}/{number}.db"}, owner)
        (data / "backups" / "one.db").unlink()
        (data / "backups").rmdir()
        (data / "backups").symlink_to(tmp_path)
        with pytest.raises(InvalidRequest, match="is a link"):
            await calls.run(engine, "backup", {"path": "two.db"}, "key:1/k")


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["x" * 257, "x" * 10_000, "a\0b", "a\nb", "\x1b[2J"])
async def test_a_namespace_is_a_short_printable_name(engine: TestEngine, namespace: str) -> None:
    engine.register(document(core("Log", 1, {"text": "x"})))
    for method, params in (
        ("start", {"workflow": "w"}),
        ("post", {"event": {"type": "go"}}),
    ):
        with pytest.raises(InvalidRequest, match="a namespace is a name of at most 256 printable"):
            await calls.run(engine, method, {**params, "namespace": namespace}, None)
    with pytest.raises(InvalidRequest, match="a namespace is a name"):
        Engine(":memory:", [], namespace=namespace)
    assert (await engine.list()).items == []
    for fine in ("", "Produktion Süd", "x" * 256):
        assert await calls.run(engine, "start", {"workflow": "w", "namespace": fine}, None)


@pytest.mark.parametrize("name", [".", "..", "a/b", "a\0b", "a\nb", " ", "x" * 257])
def test_a_workflow_is_called_what_an_address_and_a_terminal_can_have(name: str) -> None:
    with pytest.raises(InvalidDefinition):
        read_document(json.dumps(document(core("Log", 1, {"text": "x"}), name=name)))
    with pytest.raises(InvalidDefinition):

        @workflow(name=name)
        async def made() -> None:
            pass

    with pytest.raises(InvalidDefinition):
        graph_from({"name": name, "stages": []}, "stages.json")


# -- events that pass for ours -----------------------------------------------------------------


async def test_nobody_can_post_an_event_in_the_place_of_one_of_ours(engine: TestEngine) -> None:
    """The id of an emitted event can be told beforehand: an event that had it already would keep
    the emitted one from being routed."""
    wait = core("WaitForEvent", 1, {"event_type": "go"})
    engine.register(document(wait, emit("made", order=2)))
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "made"}}
    engine.register(document(core("Log", 1, {"text": "x"}), name="b", source=source))
    started = await engine.start("w", {})
    await engine.until_idle()
    for own in (f"/instances/{started.id}", "/schedules/nightly", "/workflows/w"):
        for given in (
            Event(type="any", id=f"{started.id}.2#1", source=own),
            {"type": "any", "id": f"{started.id}.2#1", "source": own},
        ):
            with pytest.raises(InvalidEvent, match="the engine makes itself"):
                await engine.post(given)
    await engine.post(Event(type="go"))
    await engine.until_idle()
    (made,) = (await engine.events.list("made")).items
    assert made.source == f"/instances/{started.id}"
    assert len((await engine.list("workflow:b")).items) == 1
    again = await engine.events.resend(made.id)
    assert again.matched_total == 1


# -- the key of the installation ---------------------------------------------------------------


def test_a_key_that_others_can_read_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.key"
    token = kept_in(path).token("i", "1")
    assert kept_in(path).is_token(token, "i", "1")
    path.chmod(0o640)
    with pytest.raises(NotPermitted, match=r"mode 0640: chmod 600"):
        kept_in(path)
    path.chmod(0o600)
    link = tmp_path / "link.key"
    for target in (path, tmp_path / "nowhere"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(NotPermitted, match="link"):
            kept_in(link)
    assert not (tmp_path / "nowhere").exists()
    for text in (b"", b"zz", b"ab" * 31, b"\xff" * 64):
        path.write_bytes(text)
        with pytest.raises((StoreDamaged, NotPermitted)):
            kept_in(path)


# -- names of callers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "x" * 257, "ann via uid:0/root", "\x1b[2J", "a\nb", "\u202eann"]
)
async def test_no_key_is_called_as_if_somebody_else_spoke(engine: TestEngine, name: str) -> None:
    with pytest.raises(InvalidRequest, match="a key's name"):
        await engine.keys.create(name, ["read"])


async def test_a_preview_of_decades_holds_nobody_up(
    engine: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def looking(*given: Any, **named: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return preview(*given, **named)

    monkeypatch.setattr("greenroom.runtime.schedules.preview", looking)
    assert len(await engine.schedules.preview(rule="0 0 29 2 *", count=3)) == 3
    assert threads == [False]


# -- loops that grow ---------------------------------------------------------------------------


@workflow(on="double")
async def doubling() -> None:
    await post_event("double", {})
    await post_event("double", {})


@workflow
async def brooding() -> None:
    await child(brooding, {}, detach=True)
    await child(brooding, {}, detach=True)


@pytest.mark.parametrize("name", ["doubling", "brooding"])
async def test_what_doubles_each_time_is_stopped_by_its_number(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "DEEP_STARTS_MAX", 20)
    monkeypatch.setattr(loops, "DEEP_HOPS", 3)
    async with TestEngine(doubling, brooding) as engine:
        await engine.start(name, {})
        await engine.until_idle()
        page = await engine.list(f"workflow:{name}", limit=1_000)
        assert len(page.items) == 1 + 2 + 4 + 20
        other = await engine.start(name, {})
        assert other.created, "what begins anew is no part of it"


async def test_a_refused_start_of_a_loop_is_told_and_passes_with_the_minute() -> None:
    counted = loops.Loops()
    for _ in range(loops.DEEP_STARTS_MAX):
        counted.check("flow", loops.DEEP_HOPS, 0)
    counted.check("flow", loops.DEEP_HOPS - 1, 0)
    counted.check("other", loops.DEEP_HOPS, 0)
    with pytest.raises(EventLoop, match="it feeds itself"):
        counted.check("flow", loops.DEEP_HOPS, loops.WINDOW_MS - 1)
    counted.check("flow", loops.DEEP_HOPS, loops.WINDOW_MS)
