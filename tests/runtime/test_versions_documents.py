"""Versions of real documents: pushed, released, moved, checked, and there again after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from greenroom import Engine, InvalidDefinition
from tests.runtime.test_release import until_waiting


def welcome(*actions: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": "welcome",
        "source": {
            "type": "Core:CustomEvent",
            "parameters": {"event_type": "user.created"},
            "transform": {"name": "::user.name"},
        },
        "actions": [{"order": place, **action} for place, action in enumerate(actions, 1)],
        **extra,
    }


def event(type: str) -> dict[str, Any]:
    return {"type": "Core:WaitForEvent", "parameters": {"event_type": type}}


def put(**values: str) -> dict[str, Any]:
    return {"type": "Core:Transform", "parameters": {}, "transform": values}


async def created(engine: Engine, name: str) -> str:
    accepted = await engine.post({"type": "user.created", "data": {"user": {"name": name}}})
    assert accepted.matched[0].instance is not None
    return accepted.matched[0].instance


async def test_a_document_has_versions_and_each_instance_its_own(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store) as engine:
        await engine.definitions.push(welcome(event("go"), put(hello="::name")), by="ann")
        same = await engine.definitions.push(
            welcome(event("go"), put(hello="::name"), description="words", enabled=True)
        )
        assert same.version == 1
        first, second = await created(engine, "Ann"), await created(engine, "Bob")
        await until_waiting(engine, first)
        newer = await engine.definitions.push(
            welcome(event("go"), put(hello="::name"), put(bye="::name"))
        )
        assert (newer.version, newer.release, newer.kind) == (2, False, "document")
    async with Engine.open(store) as engine:
        await engine.migrate(second, 2, by="cem")
        await engine.edit(second, {"name": "Cem"}, by="cem")
        await engine.post({"type": "go", "data": {}})
        one = await engine.result(first, timeout=10)
        other = await engine.result(second, timeout=10)
        assert (one["hello"], "bye" in one) == ("Ann", False)
        assert (other["hello"], other["bye"]) == ("Cem", "Cem")
        found = await engine.definitions.check("welcome", 1)
        assert (found.checked, found.same, found.other) == (2, 1, 1), found.strayed
        await engine.definitions.promote("welcome", check=True, allow=0.5)
        changes = (await engine.definitions.diff("welcome", 1, 2)).changes
        assert [(change.path, change.change) for change in changes] == [("$.actions[2]", "added")]


async def test_a_wrong_document_is_refused_whole() -> None:
    async with Engine.open(":memory:") as engine:
        with pytest.raises(InvalidDefinition) as caught:
            await engine.definitions.push(
                welcome({"type": "Core:Nothing"}, extra=1), source="welcome.json"
            )
        assert len(caught.value.problems) >= 2
        assert "welcome.json" in str(caught.value)
        assert await engine.definitions.list() == []


def emits(type: str) -> dict[str, Any]:
    return {"type": "Core:CustomEvent", "parameters": {"event_type": type}}


async def test_the_gate_sees_what_those_that_still_wait_would_wait_for_and_have(
    tmp_path: Path,
) -> None:
    async with Engine.open(":memory:") as engine:
        await engine.definitions.push(welcome(put(hello="::name"), event("go"), put(end="::name")))
        waiting = await created(engine, "Ann")
        await until_waiting(engine, waiting)
        newer = [
            (welcome(put(hello="::name"), event("went"), put(end="::name")), "went"),
            (welcome(put(hullo="::name"), event("go"), put(end="::name")), "stands with another"),
            (welcome(put(hello="::name"), event("go"), put(end="hello")), None),
        ]
        for version, (document, words) in enumerate(newer, 2):
            await engine.definitions.push(document)
            found = await engine.definitions.check("welcome", version)
            assert (found.checked, found.same) == (1, 0 if words else 1)
            assert words is None or words in found.strayed[0].text


async def test_the_gate_sees_that_another_event_is_emitted() -> None:
    async with Engine.open(":memory:") as engine:
        await engine.definitions.push(welcome(emits("order.done"), put(end="::name")))
        await engine.result(await created(engine, "Ann"), timeout=10)
        await engine.definitions.push(welcome(emits("order.ended"), put(end="::name")))
        found = await engine.definitions.check("welcome")
        assert (found.other, found.same) == (1, 0)
        assert "order.ended" in found.strayed[0].text and "order.done" in found.strayed[0].text


async def test_a_push_says_what_is_odd_also_with_the_workflows_of_others() -> None:
    async with Engine.open(":memory:") as engine:
        first = await engine.definitions.push(welcome(emits("order.created")), source="w.json")
        assert first.warnings == []
        back = {
            **welcome({**emits("user.created"), "variables": {"odd": 1}}), "name": "back",
            "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "order.created"}},
        }  # fmt: skip
        for found in (await engine.definitions.validate(back), await engine.definitions.push(back)):
            assert [(one["path"], one["message"]) for one in found.warnings] == [
                ("$.actions[0].variables.odd", "is not used: no text has {odd}"),
                (
                    "$.actions[0]",
                    "a circle: back -> emits user.created -> welcome -> emits order.created -> back",
                ),
            ]
        await engine.definitions.disable("welcome")
        assert len((await engine.definitions.validate(back)).warnings) == 1


async def test_an_action_put_in_between_is_one_difference() -> None:
    async with Engine.open(":memory:") as engine:
        one, two, three = put(a="1"), put(b="1"), put(c="1")
        actions = [{**one, "order": 10}, {**three, "order": 30}]
        await engine.definitions.push({**welcome(), "actions": actions})
        between = [actions[0], {**two, "order": 20}, {**actions[1], "transform": {"c": "2"}}]
        await engine.definitions.push({**welcome(), "actions": between})
        changes = (await engine.definitions.diff("welcome")).changes
        assert [(one.path, one.change) for one in changes] == [
            ("$.actions[1]", "added"), ("$.actions[2].transform.c", "changed"),
        ]  # fmt: skip


async def test_yaml_is_compared_by_what_it_says() -> None:
    text = "schema_version: 1\nname: y\nactions:\n  - {type: Core:Transform, order: 1, transform: {a: 1}}\n"
    async with Engine.open(":memory:") as engine:
        await engine.definitions.push(text)
        await engine.definitions.push(
            text.replace("a: 1", "a: 2").replace("actions", "# why\nactions")
        )
        changes = (await engine.definitions.diff("y")).changes
        assert [(one.path, one.a, one.b) for one in changes] == [("$.actions[0].transform.a", 1, 2)]


async def test_a_dry_run_of_rollback_and_delete_says_what_and_does_nothing() -> None:
    async with Engine.open(":memory:") as engine:
        await engine.definitions.push(welcome(put(a="1")))
        await engine.definitions.push(welcome(put(a="2")), promote=True)
        assert (await engine.definitions.rollback("welcome", dry_run=True)).version == 1
        assert (await engine.definitions.get("welcome")).version == 2
        assert (await engine.definitions.delete("welcome", 1, dry_run=True)).deleted == [1]
        assert len(await engine.definitions.list()) == 2
