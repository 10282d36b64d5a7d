"""Limits mean the same in every way of writing: stage graphs, template flows, Python."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    AlreadyRunning,
    ApprovalTemplate,
    Flow,
    InvalidDefinition,
    reducer,
    workflow,
)
from greenroom.definitions.declare import definition_of
from greenroom.integrations import provide, slack
from greenroom.runtime.stagefolders import fingerprint
from greenroom.testing import TestEngine

FORM = "from greenroom import *\nget_stage()['email'] = read_email('Email')\n"
PASS = "from greenroom import *\n"


class Quiet:
    """An outlet that takes everything."""

    def deliver(self, to: Any, notice: Any) -> None: ...

    def send_message(self, to: Any, message: str) -> None: ...


@pytest.fixture(autouse=True)
def outlet() -> Iterator[None]:
    with provide(slack=Quiet(), email=Quiet()):
        yield


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    async with TestEngine() as made:
        yield made


Make = Callable[..., str]


@pytest.fixture
def hiring(tmp_path: Path) -> Make:
    """A folder with a form that is followed by a form; options of the graph as keywords."""

    def made(arrows: tuple[str, ...] = ("ask>check",), **options: Any) -> str:
        paths = dict.fromkeys(path for arrow in arrows for path in arrow.split(">"))
        rows = [{"path": path, "kind": "script" if path == "go" else "form"} for path in paths]
        ways = [dict(zip(("from", "to"), arrow.split(">"), strict=True)) for arrow in arrows]
        graph = {"name": "hiring", "stages": rows, "transitions": ways, **options}
        folder = tmp_path / "hiring"
        folder.mkdir(exist_ok=True)
        for row in rows:
            text = PASS if row["kind"] == "script" else FORM
            (folder / f"{row['path']}.py").write_text(text, "utf-8")
        (folder / "stages.json").write_text(json.dumps(graph), "utf-8")
        return f"{folder}/"

    return made


@reducer
def get_approvers(event: Any) -> Any:
    return slack.user("bob")


def access(**limits: Any) -> Flow:
    return Flow(
        "access",
        template=ApprovalTemplate,
        targets=["db", "web"],
        fields=["reason"],
        handlers=[get_approvers],
        limits=limits,
    )


async def begun(engine: TestEngine, flow: str, by: str, **input: Any) -> Any:
    handle = await engine.start(flow, input, by=by)
    await engine.until_idle()
    return await engine.get(handle.id)


# -- stage graphs ------------------------------------------------------------------------------


async def test_F23_a_stage_graph_limits_its_live_runs_by_a_key_of_their_data(
    engine: TestEngine, hiring: Make
) -> None:
    engine.register(hiring(concurrency={"key": "::email", "priority": "::urgent"}))
    first = await begun(engine, "hiring", "hr", email="ann")
    other = await begun(engine, "hiring", "hr", email="bob")
    late = await begun(engine, "hiring", "hr", email="ann")
    urgent = await begun(engine, "hiring", "hr", email="ann", urgent=5)
    assert [one.status for one in (first, other, late, urgent)] == [
        "waiting", "waiting", "pending", "pending",
    ]  # fmt: skip
    assert first.attributes["concurrency"] == "ann"
    await engine.cancel(first.id)
    await engine.until_idle()
    assert (await engine.get(urgent.id)).status == "waiting"
    assert (await engine.get(late.id)).status == "pending"


async def test_F23_answers_that_come_with_the_start_of_a_run_are_part_of_its_key(
    engine: TestEngine, hiring: Make
) -> None:
    engine.register(hiring(concurrency={"key": "::email", "on_conflict": "skip"}))
    await engine.start("hiring", {}, form=[{"email": "ann@example.org"}])
    with pytest.raises(AlreadyRunning):
        await engine.start("hiring", {}, form=[{"email": "ann@example.org"}])
    await engine.start("hiring", {}, form=[{"email": "bob@example.org"}])


@pytest.mark.parametrize("on_conflict", ["queue", "skip", "cancel_oldest"])
async def test_F23_the_parts_of_a_run_are_no_starts_of_their_own(
    engine: TestEngine, hiring: Make, on_conflict: str
) -> None:
    arrows = ("go>left", "go>right", "left>end", "right>end")
    engine.register(hiring(arrows, concurrency={"limit": 1, "on_conflict": on_conflict}))
    handle = await engine.start("hiring", {}, stage="go")
    await engine.until_idle()
    parts = (await engine.list("workflow:hiring -status:completed")).items
    assert [one.status for one in parts] == ["waiting", "waiting"]
    assert (await engine.get(handle.id)).status == "completed"
    if on_conflict == "skip":
        with pytest.raises(AlreadyRunning):
            await engine.start("hiring", {}, stage="left")
        return
    later = await engine.start("hiring", {}, stage="left")
    await engine.until_idle()
    wanted = ["cancelled"] * 2 if on_conflict == "cancel_oldest" else ["waiting"] * 2
    assert [(await engine.get(one.id)).status for one in parts] == wanted
    assert (await engine.get(later.id)).status == (
        "waiting" if on_conflict == "cancel_oldest" else "pending"
    )


async def test_limits_a_stage_graph_has_a_rate_a_timeout_a_retention_and_tags(
    engine: TestEngine, hiring: Make
) -> None:
    options = {
        "rate": {"limit": 1, "per": "10m"}, "timeout": "1h", "retention": "2h", "tags": ["people"],
        "attributes": {"who": "::email"},
    }  # fmt: skip
    engine.register(hiring(**options))
    first = await begun(engine, "hiring", "hr", email="ann")
    second = await begun(engine, "hiring", "hr", email="bob")
    assert (first.status, second.status) == ("waiting", "pending")
    assert [one.id for one in (await engine.list("who:ann")).items] == [first.id]
    (row,) = [row for row in await engine.definitions.list() if row.name == "hiring"]
    assert row.tags == ["people"]
    await engine.advance("10m")
    assert (await engine.get(second.id)).status == "waiting"
    await engine.advance("51m")
    assert (await engine.get(first.id)).error.code == "timeout"
    await engine.cancel(first.id)
    await engine.advance("4h")
    assert [one.id for one in (await engine.list("workflow:hiring")).items] == [second.id]


def test_limits_of_a_stage_graph_make_a_version_and_are_checked_as_a_whole(hiring: Make) -> None:
    hashes = {
        fingerprint({"name": "a", "stages": [], **limits}, {})
        for limits in ({}, {"timeout": "1h"}, {"timeout": "2h"}, {"enabled": False})
    }
    assert len(hashes) == 3
    with pytest.raises(InvalidDefinition) as caught:
        TestEngine(
            hiring(
                concurrency={"limit": 0}, rate={"limit": 1}, timeout="soon", tags="people",
                attributes={"a": "::["}, Retention="1h",
            )
        )  # fmt: skip
    assert [problem.path for problem in caught.value.problems] == [
        "$.Retention", "$.attributes.a", "$.concurrency.limit", "$.rate", "$.timeout", "$.tags",
    ]  # fmt: skip


# -- template flows ----------------------------------------------------------------------------


async def test_F23_a_flow_limits_its_live_requests_by_what_is_asked_for(engine: TestEngine) -> None:
    engine.register(access(concurrency={"key": "::target", "on_conflict": "skip"}))
    first = await begun(engine, "access", "ann", target="db", reason="r")
    assert first.attributes["concurrency"] == "db"
    with pytest.raises(AlreadyRunning):
        await begun(engine, "access", "eve", target="db", reason="r")
    assert (await begun(engine, "access", "eve", target="web", reason="r")).status == "waiting"
    await engine.answer(f"{first.id}.approval", {"approved": False}, by="bob")
    await engine.until_idle()
    assert (await begun(engine, "access", "eve", target="db", reason="r")).status == "waiting"


async def test_limits_a_flow_has_a_rate_a_timeout_a_retention_and_tags(engine: TestEngine) -> None:
    flow = access(
        rate={"limit": 1, "per": "10m", "key": "::user"}, timeout="1h", retention="2h",
        tags=["security"], attributes={"why": "::reason"},
    )  # fmt: skip
    engine.register(flow)
    first = await begun(engine, "access", "ann", target="db", reason="r")
    again = await begun(engine, "access", "ann", target="web", reason="q")
    other = await begun(engine, "access", "eve", target="web", reason="q")
    assert [one.status for one in (first, again, other)] == ["waiting", "pending", "waiting"]
    assert [one.id for one in (await engine.list("why:r")).items] == [first.id]
    (row,) = [row for row in await engine.definitions.list() if row.name == "access"]
    assert row.tags == ["security"]
    await engine.advance("61m")
    assert (await engine.get(first.id)).error.code == "timeout"
    assert (await engine.get(again.id)).status == "waiting"
    await engine.cancel(first.id)
    await engine.advance("4h")
    assert first.id not in [one.id for one in (await engine.list("workflow:access")).items]


def test_limits_of_a_flow_make_a_version_and_say_what_they_are_not() -> None:
    made = [access(), access(timeout="1h"), access(timeout="2h"), access(attributes={"w": "user"})]
    assert len({definition_of(flow).hash for flow in made}) == 4
    for limits, text in (
        ({"timeot": "1h"}, 'did you mean "timeout"'),
        ({"enabled": False}, "nothing to switch off"),
        ({"rate": 3}, "rate must be like"),
    ):
        with pytest.raises(InvalidDefinition) as caught:
            access(**limits)
        assert "access: " in caught.value.message
        assert text in f"{caught.value.message} {caught.value.hint}"


# -- Python ------------------------------------------------------------------------------------


async def test_limits_a_workflow_in_code_has_tags_and_can_be_off(engine: TestEngine) -> None:
    async def plain() -> None: ...

    job = workflow(name="job", on="go", tags=["nightly"], enabled=False)(plain)

    engine.register(job)
    assert (await engine.post({"type": "go"})).matched_total == 0
    (row,) = await engine.definitions.list()
    assert (row.tags, row.enabled) == (["nightly"], False)
    await engine.definitions.enable("job")
    assert (await engine.post({"type": "go"})).matched_total == 1
    with pytest.raises(InvalidDefinition, match="tags must be a list"):
        workflow(name="other", tags=3)(plain)  # type: ignore[call-overload]
    with pytest.raises(InvalidDefinition, match="enabled must be"):
        workflow(name="other", enabled="no")(plain)  # type: ignore[call-overload]
