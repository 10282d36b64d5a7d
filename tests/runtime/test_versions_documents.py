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
