"""Connectors and secrets that documents use: approved at a release, refused anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom import Connector, Engine, InstanceFailed, InvalidDefinition
from greenroom.definitions.errors import InvalidRequest, InvalidTransition, NotFound, NotGranted
from greenroom.runtime import calls
from greenroom.runtime.reloading import reload

Data = dict[str, Any]


def chat(sent: list[Any] | None = None, id: str = "chat", **config: Any) -> Connector:
    """A connector that keeps what it was asked to send."""
    made = Connector(id, **config)
    kept = [] if sent is None else sent

    @made.action("Say")
    async def say(params: Data) -> Data:
        kept.append(params)
        return {}

    made.event("said")
    return made


def say(order: int = 1, connector: str = "chat", **parameters: Any) -> Data:
    return {"connector_id": connector, "type": "Say", "order": order, "parameters": parameters}


def welcome(*actions: Data, **extra: Any) -> Data:
    return {"schema_version": 1, "name": "welcome", "actions": list(actions), **extra}


LOG: Data = {"type": "Core:Log", "order": 9, "parameters": {"text": "x"}}


async def failure(engine: Engine, **how: Any) -> str:
    started = await engine.start("welcome", {}, **how)
    with pytest.raises(InstanceFailed) as caught:
        await engine.result(started.id, timeout=10)
    return str(caught.value)


async def test_what_a_document_uses_is_read_off_it() -> None:
    inner = {
        "type": "Core:Iterator",
        "order": 2,
        "parameters": {"array_path": "::items", "actions": [say(connector="pager")]},
    }
    undone = {**say(3), "compensate": say(connector="undo")}
    del undone["compensate"]["order"]
    event = {"type": "Core:CustomEvent", "order": 4, "parameters": {"event_type": "done"}}
    child = {"type": "Core:RunWorkflow", "order": 5, "parameters": {"workflow_id": "other"}}
    document = welcome(
        say(body={"key": ["secret://hook", "::secret://no"]}), inner, undone, event, child,
        source={"connector_id": "CHAT", "type": "said"},
    )  # fmt: skip
    connectors = [chat(), chat(id="pager"), chat(id="undo")]
    async with Engine.open(":memory:", connectors=connectors) as engine:
        with pytest.raises(InvalidDefinition):
            await engine.definitions.validate(document)  # `::secret` is no expression
        document["actions"][0]["parameters"]["body"]["key"][1] = "secret://..no"
        found = await engine.definitions.validate(document)
        assert found.uses == [
            "connector:chat", "connector:pager", "connector:undo", "event:chat.said", "event:done",
            "secret:hook", "workflow:other",
        ]  # fmt: skip
        assert found.missing == [
            "connector:chat", "connector:pager", "connector:undo", "secret:hook",
        ]  # fmt: skip


@pytest.mark.parametrize("type", ["Core:CustomEvent", "Core:WaitForEvent"])
@pytest.mark.parametrize("name", ["::type", "{type}"])
async def test_a_type_of_events_that_is_computed_stands_for_all_of_them(
    type: str, name: str
) -> None:
    action = {
        "type": type, "order": 1, "parameters": {"event_type": name}, "variables": {"type": "::type"},
    }  # fmt: skip
    async with Engine.open(":memory:") as engine:
        assert (await engine.definitions.validate(welcome(action))).missing == ["event:*"]


async def test_a_connector_is_named_and_never_computed() -> None:
    async with Engine.open(":memory:", connectors=[chat()]) as engine:
        with pytest.raises(InvalidDefinition, match="there is no connector '::which'"):
            await engine.definitions.push(welcome(say(connector="::which")))


async def test_a_first_version_that_uses_a_service_is_released_by_nobody_but_a_promoter() -> None:
    sent: list[Any] = []
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "go"}}
    async with Engine.open(":memory:", connectors=[chat(sent)]) as engine:
        stored = await engine.definitions.push(welcome(say(text="hi"), source=source))
        assert (stored.release, stored.missing) == (False, ["connector:chat"])
        posted = await engine.post({"type": "go"})
        assert posted.matched_total == 0  # nothing listens
        told = (await engine.events.explain(posted.id)).text
        assert "no version is released;  greenroom def promote welcome" in told
        assert "v1 was not granted connector:chat; nothing was sent" in await failure(engine)
        with pytest.raises(NotGranted) as caught:
            await engine.definitions.promote("welcome")
        assert caught.value.details["missing"] == ["connector:chat"]
        assert (
            caught.value.message == "welcome v1 uses what welcome was not granted: connector:chat"
        )
        assert "def promote welcome --version 1 --grant connector:chat" in str(caught.value.hint)
        assert sent == []
        released = await engine.definitions.promote("welcome", grant=["connector:chat"], by="ann")
        assert (released.release, released.grants, released.missing) == (
            True, ["connector:chat"], [],
        )  # fmt: skip
        assert [(deed.what, deed.by) for deed in released.deeds][-2:] == [
            ("granted connector:chat", "ann"), ("released", "ann"),
        ]  # fmt: skip
        posted = await engine.post({"type": "go"})
        assert posted.matched[0].instance is not None
        await engine.result(posted.matched[0].instance, timeout=10)
        assert sent == [{"text": "hi"}]


async def test_a_version_that_uses_more_is_refused_with_what_is_new() -> None:
    connectors = [chat(), chat(id="pager", grants=["hook"])]
    async with Engine.open(":memory:", connectors=connectors) as engine:
        await engine.definitions.push(welcome(say()), promote=True, grant=["connector:chat"])
        more = welcome(say(), say(2, "pager", key="secret://hook"))
        stored = await engine.definitions.push(more)
        assert stored.missing == ["connector:pager", "secret:hook"]
        for given in ([], ["secret:hook"]):
            with pytest.raises(NotGranted) as caught:
                await engine.definitions.promote("welcome", grant=given)
            lacking = ["connector:pager", "secret:hook"][: 2 - len(given)]
            assert caught.value.details["missing"] == lacking
        assert (await engine.definitions.get("welcome")).version == 1
        with pytest.raises(NotGranted):
            await engine.definitions.push(more, promote=True)
        with pytest.raises(InvalidRequest, match="does not use 'connector:slack'"):
            await engine.definitions.promote("welcome", grant=["connector:slack"])
        with pytest.raises(InvalidRequest, match="give promote with grant"):
            await engine.definitions.push(more, grant=["secret:hook"])
        grants = ["secret:hook", "connector:pager"]
        assert (await engine.definitions.promote("welcome", grant=grants)).version == 2


async def test_a_version_that_nobody_released_uses_nothing_though_its_workflow_may() -> None:
    """Else whoever may define and start would not need the promoter."""
    sent: list[Any] = []
    async with Engine.open(":memory:", connectors=[chat(sent)]) as engine:
        await engine.definitions.push(welcome(say(n=1)), promote=True, grant=["connector:chat"])
        await engine.definitions.push(welcome(say(n=2)))
        assert "welcome v2 was never released" in await failure(engine, version=2)
        starts_it = {
            "type": "Core:RunWorkflow", "order": 1,
            "parameters": {"workflow_id": "welcome", "workflow_version": 2, "mode": "async"},
        }  # fmt: skip
        await engine.definitions.push({**welcome(starts_it), "name": "parent"})
        parent = await engine.start("parent", {})
        await engine.result(parent.id, timeout=10)
        [child] = [
            one for one in (await engine.list("workflow:welcome")).items if one.parent is not None
        ]
        with pytest.raises(InstanceFailed):
            await engine.result(child.id, timeout=10)
        first = await engine.start("welcome", {})
        await engine.result(first.id, timeout=10)
        forked = await engine.fork(first.id, version=2)
        with pytest.raises(InstanceFailed):
            await engine.result(forked.instance, timeout=10)
        assert sent == [{"n": 1}]
        await engine.definitions.promote("welcome")
        await engine.resume(forked.instance)
        await engine.result(forked.instance, timeout=10)
        assert sent == [{"n": 1}, {"n": 2}]


async def test_a_rollback_needs_what_the_older_version_uses() -> None:
    sent: list[Any] = []
    async with Engine.open(":memory:", connectors=[chat(sent)]) as engine:
        await engine.definitions.push(welcome(say(n=1)), promote=True, grant=["connector:chat"])
        await engine.definitions.push(welcome(LOG), promote=True)
        assert (await engine.definitions.rollback("welcome")).version == 1
        await engine.definitions.promote("welcome")
        revoked = await engine.definitions.revoke("welcome", ["connector:chat"], by="ann")
        assert (revoked.grants, revoked.deeds[-1].what) == ([], "revoked connector:chat")
        with pytest.raises(NotGranted):
            await engine.definitions.rollback("welcome")
        assert "was not granted connector:chat" in await failure(engine, version=1)
        with pytest.raises(NotFound, match="was not granted"):
            await engine.definitions.revoke("welcome", ["connector:chat"])


async def test_a_switched_off_release_is_not_switched_on_without_its_grants() -> None:
    async with Engine.open(":memory:", connectors=[chat()]) as engine:
        await engine.definitions.push(welcome(say()), promote=True, grant=["connector:chat"])
        await engine.definitions.disable("welcome")
        await engine.definitions.revoke("welcome", ["connector:chat"])
        with pytest.raises(NotGranted):
            await engine.definitions.enable("welcome")


async def test_D32_a_secret_that_data_names_is_not_looked_up_unless_it_was_granted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_HOOK", "canary-of-the-hook")
    sent: list[Any] = []
    async with Engine.open(":memory:", connectors=[chat(sent, grants=["hook"])]) as engine:
        await engine.definitions.push(
            welcome(say(key="::key")), promote=True, grant=["connector:chat"]
        )
        started = await engine.start("welcome", {"key": "secret://hook"})
        with pytest.raises(InstanceFailed, match="was not granted secret:hook"):
            await engine.result(started.id, timeout=10)
        assert sent == []


async def test_grants_outlive_a_restart_and_end_with_the_workflow(tmp_path: Path) -> None:
    sent: list[Any] = []
    async with Engine.open(tmp_path / "app.db", connectors=[chat(sent)]) as engine:
        await engine.definitions.push(welcome(say()), promote=True, grant=["connector:chat"])
    async with Engine.open(tmp_path / "app.db", connectors=[chat(sent)]) as engine:
        await engine.result((await engine.start("welcome", {})).id, timeout=10)
        assert len(sent) == 1
        await engine.definitions.delete("welcome")
        again = await engine.definitions.push(welcome(say()))
        assert (again.release, again.grants) == (False, [])


async def test_what_files_of_the_owner_use_needs_no_words(tmp_path: Path) -> None:
    file = tmp_path / "welcome.json"
    sent: list[Any] = []
    pager = chat(sent, "pager")
    file.write_bytes(msgspec.json.encode(welcome(say(n=1))))
    connectors = [chat(sent), pager]
    async with Engine.open(tmp_path / "app.db", workflows=[file], connectors=connectors) as engine:
        await engine.result((await engine.start("welcome", {})).id, timeout=10)
        file.write_bytes(msgspec.json.encode(welcome(say(n=1), say(2, "pager"))))
        assert await reload(engine, [str(file)]) == ["welcome"]  # what `dev` and SIGHUP do
        await engine.result((await engine.start("welcome", {})).id, timeout=10)
        assert len(sent) == 3
        assert (await engine.definitions.get("welcome")).grants == [
            "connector:chat", "connector:pager",
        ]  # fmt: skip
        with pytest.raises(InvalidTransition, match="is loaded from"):
            await engine.definitions.revoke("welcome", ["connector:pager"])
        engine.register({**welcome(say()), "name": "registered"})
        await engine.result((await engine.start("registered", {})).id, timeout=10)


async def test_loading_without_releasing_approves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "welcome.json"
    connectors = [chat(), chat(id="pager")]
    for action, promote in ((say(), True), (say(connector="pager"), False)):
        file.write_bytes(msgspec.json.encode(welcome(action)))
        async with Engine.open(
            tmp_path / "app.db", workflows=[file], connectors=connectors, promote=promote
        ) as engine:
            found = {one.version: one for one in await engine.definitions.list()}
    assert [one.missing for one in found.values()] == [[], ["connector:pager"]]


async def test_each_face_can_approve(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Engine.open(":memory:", connectors=[chat()]) as engine:
        given = {"document": welcome(say()), "promote": True, "grant": ["connector:chat"]}
        await calls.run(engine, "definitions.push", given, "ann")
        taken = {"name": "welcome", "grants": ["connector:chat"]}
        assert (await calls.run(engine, "definitions.revoke", taken, "ann")).missing
        back = {"name": "welcome", "grant": ["connector:chat"]}
        assert (await calls.run(engine, "definitions.promote", back, "ann")).missing == []
