"""Versions of definitions: pushed, released, rolled back, switched off, deleted, compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    CodeChanged,
    Engine,
    InvalidDefinition,
    InvalidTransition,
    NotFound,
    begin,
    done,
    workflow,
)
from greenroom.runtime import sources
from tests.runtime.documents import greet
from tests.runtime.test_release import line, pack, program, reserve, until_waiting


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sources.READERS, "actions", "tests.runtime.documents:read")
    yield


def welcome(*steps: str, **extra: Any) -> dict[str, Any]:
    return {"name": "welcome", "on": "user.created", "steps": list(steps), **extra}


async def started(engine: Engine) -> list[Any]:
    """What a user that is created starts: the states of it, when it has ended."""
    accepted = await engine.post({"type": "user.created", "data": {}})
    return [await engine.result(m.instance or "", timeout=5) for m in accepted.matched]


async def versions(engine: Engine, name: str = "welcome") -> list[tuple[int, bool]]:
    return [(r.version, r.release) for r in await engine.definitions.list() if r.name == name]


async def test_the_counter_moves_only_on_change_and_only_promote_releases() -> None:
    async with Engine.open(":memory:") as engine:
        first = await engine.definitions.push(welcome("greet"), by="ann")
        assert (first.version, first.release, first.by) == (1, True, "ann")
        same = await engine.definitions.push(welcome("greet", description="new"), by="bob")
        assert (same.version, same.by) == (1, "ann")
        second = await engine.definitions.push(welcome("greet", "thank"))
        assert (second.version, second.release) == (2, False)
        assert await started(engine) == [{"greeted": True}]
        await engine.definitions.promote("welcome")
        assert await versions(engine) == [(1, False), (2, True)]
        assert await started(engine) == [{"greeted": True, "thanked": True}]
        await engine.definitions.rollback("welcome")
        assert await versions(engine) == [(1, True), (2, False)]
        assert await started(engine) == [{"greeted": True}]
        with pytest.raises(InvalidTransition, match="oldest"):
            await engine.definitions.rollback("welcome")
        third = await engine.definitions.push(welcome("thank"), promote=True)
        assert (third.version, third.release) == (3, True)


async def test_pushed_documents_survive_a_restart_without_any_file(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store) as engine:
        await engine.definitions.push(
            '{"name": "welcome", "on": "user.created", "steps": ["greet"]}'
        )
        await engine.definitions.push(welcome("ask"))
        waits = await engine.start("welcome", version=2)
        await until_waiting(engine, waits.id)
        await engine.definitions.push(welcome("thank"), promote=True)
    async with Engine.open(store) as engine:
        assert await started(engine) == [{"thanked": True}]
        assert (await engine.definitions.get("welcome", 1)).document == (
            '{"name": "welcome", "on": "user.created", "steps": ["greet"]}'
        )
        await engine.answer(waits.id, {"approved": True})  # it follows the document of its version
        assert await engine.result(waits.id, timeout=5) == {"ask": {"approved": True}}
        await engine.definitions.rollback("welcome", 1)
        assert await started(engine) == [{"greeted": True}]


async def test_a_document_that_cannot_be_read_any_more_stops_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store, workflows=[line(reserve)]) as engine:
        await engine.definitions.push(welcome("ask"))
        waits = await engine.start("welcome")
        await until_waiting(engine, waits.id)
    monkeypatch.delitem(sources.READERS, "actions")
    async with Engine.open(store, workflows=[line(reserve)]) as engine:
        assert await (await engine.start("order")).result(timeout=5) == {"reserved": True}
        assert (await engine.get(waits.id)).status == "waiting"
        with pytest.raises(InvalidDefinition, match="cannot be read"):
            await engine.definitions.promote("welcome", 1)
        with pytest.raises(NotFound):
            await engine.start("welcome")


async def test_a_wrong_document_changes_nothing_and_names_every_problem() -> None:
    async with Engine.open(":memory:") as engine:
        with pytest.raises(InvalidDefinition) as caught:
            await engine.definitions.push(welcome("gret", "thnk"))
        assert [p.path for p in caught.value.problems] == ["$.steps[0]", "$.steps[1]"]
        with pytest.raises(InvalidDefinition):
            await engine.definitions.validate({"steps": []})
        shown = await engine.definitions.validate(welcome("greet"))
        assert (shown.name, shown.version, shown.steps) == ("welcome", 0, ["greet"])
        assert await engine.definitions.list() == []


async def test_a_document_cannot_take_the_name_of_code() -> None:
    async with Engine.open(":memory:", workflows=[line(reserve)]) as engine:
        with pytest.raises(InvalidDefinition, match="is a workflow in code"):
            await engine.definitions.push({"name": "order", "steps": ["greet"]})


async def test_disabled_stops_triggers_and_not_what_runs(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store) as engine:
        await engine.definitions.push(welcome("ask"))
        waits = await engine.start("welcome")
        assert not (await engine.definitions.disable("welcome")).enabled
        assert await started(engine) == []
        newer = await engine.definitions.push(welcome("greet"), promote=True)
        assert not newer.enabled  # a new version is off too
        assert await started(engine) == []
    async with Engine.open(store) as engine:
        assert await started(engine) == []
        await engine.answer(waits.id, {"approved": True})
        assert await engine.result(waits.id, timeout=5)
        assert (await engine.definitions.enable("welcome")).enabled
        assert await started(engine) == [{"greeted": True}]


async def test_what_is_registered_while_running_is_released_and_stays_off(tmp_path: Path) -> None:
    def job(*steps: Any) -> Any:
        return workflow(name="order", on="user.created")(line(*steps).func)

    async with Engine.open(tmp_path / "app.db", workflows=[job(reserve)]) as engine:
        await engine.definitions.disable("order")
        engine.registry._current.pop("order")  # as another source would have it
        engine.register(job(reserve, pack))
        assert await started(engine) == []
        assert await versions(engine, "order") == [(1, False), (2, True)]
        assert [row.release for row in engine.registry.rows("order")] == [False, True]
        await engine.definitions.enable("order")
        assert len(await started(engine)) == 1


async def test_C29_the_flag_of_a_document_switches_and_makes_no_version() -> None:
    async with Engine.open(":memory:") as engine:
        await engine.definitions.push(welcome("greet"))
        off = await engine.definitions.push(welcome("greet", enabled=False))
        assert (off.version, off.enabled) == (1, False)
        assert await started(engine) == []


async def test_rules_of_deleting() -> None:
    async with Engine.open(":memory:", workflows=[line(reserve)]) as engine:
        await engine.definitions.push(welcome("ask"))
        await engine.definitions.push(welcome("greet"))
        with pytest.raises(InvalidTransition, match="is the release"):
            await engine.definitions.delete("welcome", 1)
        instance = await engine.start("welcome")
        await engine.definitions.promote("welcome")
        with pytest.raises(InvalidTransition, match="live instances"):
            await engine.definitions.delete("welcome", 1)
        await engine.cancel(instance.id)
        assert (await engine.definitions.delete("welcome", 1)).deleted == [1]
        assert await versions(engine) == [(2, True)]
        assert (await engine.get(instance.id)).status == "cancelled"  # readable all the same
        await engine.definitions.delete("welcome", 2)  # the only one may go
        assert await versions(engine) == [] and await started(engine) == []
        with pytest.raises(NotFound):
            await engine.start("welcome")
        with pytest.raises(InvalidTransition, match="is loaded from"):
            await engine.definitions.delete("order")


async def test_a_rollback_holds_over_a_restart_until_the_code_changes(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    new = line(reserve, pack)
    async with Engine.open(store, workflows=[line(reserve)]):
        pass
    async with Engine.open(store, workflows=[new]) as engine:
        await engine.definitions.rollback("order")
    async with Engine.open(store, workflows=[new]) as engine:
        assert await versions(engine, "order") == [(1, True), (2, False)]
        assert await (await engine.start("order")).result(timeout=5) == {"reserved": True}
    async with Engine.open(store, workflows=[line(pack)]) as engine:
        assert await versions(engine, "order") == [(1, False), (2, False), (3, True)]


async def test_a_version_is_released_only_where_its_code_is(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store, workflows=[line(reserve, pack), program("recorded")]):
        pass
    async with Engine.open(store, workflows=[line(pack), program("renamed")]) as engine:
        with pytest.raises(CodeChanged, match="Reserve"):
            await engine.definitions.rollback("order")
        with pytest.raises(CodeChanged, match="program"):
            await engine.definitions.rollback("flow")


async def test_a_version_released_again_listens_to_what_it_listened_to(tmp_path: Path) -> None:
    store = tmp_path / "app.db"

    def order(type: str, key: str) -> Any:
        def order() -> Any:
            return begin >> greet >> done

        return workflow(name="order", on=type, key=key)(order)

    async with Engine.open(store, workflows=[order("old", "::data.id")]):
        pass
    async with Engine.open(store, workflows=[order("new", "::data.no")]) as engine:
        await engine.definitions.rollback("order")
        assert (await engine.post({"type": "new", "data": {"no": "7"}})).matched == []
        (match,) = (await engine.post({"type": "old", "data": {"id": "7"}})).matched
        assert match.key == "7"


async def test_a_numbered_version_with_other_steps_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "app.db"

    def numbered(*steps: Any) -> Any:
        return workflow(name="order", version=3)(line(*steps).func)

    async with Engine.open(store, workflows=[numbered(reserve)]):
        pass
    with pytest.raises(InvalidDefinition, match="never changes"):
        async with Engine.open(store, workflows=[numbered(pack)]):
            pass


async def test_who_did_what_to_a_workflow_is_kept(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "app.db") as engine:
        await engine.definitions.push(welcome("greet"), by="ann")
        await engine.definitions.push(welcome("thank"), by="bob")
        await engine.definitions.promote("welcome", by="cem")
        await engine.definitions.promote("welcome", by="dan")  # it is released already
        await engine.definitions.disable("welcome", by="eve")
        await engine.definitions.delete("welcome", 1, by="fay")
    async with Engine.open(tmp_path / "app.db") as engine:
        deeds = (await engine.definitions.get("welcome")).deeds
        assert [(deed.what, deed.version, deed.by) for deed in deeds] == [
            ("pushed", 1, "ann"), ("pushed", 2, "bob"), ("released", 2, "cem"),
            ("disabled", None, "eve"), ("deleted", 1, "fay"),
        ]  # fmt: skip


async def test_diff_says_what_a_version_changes() -> None:
    async with Engine.open(":memory:") as engine:
        await engine.definitions.push(welcome("greet"))
        assert (await engine.definitions.diff("welcome")).same
        await engine.definitions.push(welcome("greet", "thank", on="user.made"))
        found = await engine.definitions.diff("welcome")
        assert (found.a, found.b) == ("welcome v1", "welcome v2")
        assert [(c.path, c.change, c.a, c.b) for c in found.changes] == [
            ("$.on", "changed", "user.created", "user.made"),
            ("$.steps[1]", "added", None, "thank"),
        ]
        back = await engine.definitions.diff("welcome", 2, 1)
        assert [c.change for c in back.changes] == ["changed", "removed"]


async def test_W15_without_sync_the_store_is_followed_and_the_difference_shown(
    tmp_path: Path,
) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store, workflows=[line(reserve), program("recorded")]):
        pass

    @workflow
    async def fresh() -> str:
        return "new"

    new: list[Any] = [line(reserve, pack), fresh]
    async with Engine.open(store, workflows=new, sync=False) as engine:
        assert await (await engine.start("order")).result(timeout=5) == {"reserved": True}
        with pytest.raises(NotFound, match="not in the store") as caught:
            await engine.start("fresh")
        assert "migrate-workflows" in (caught.value.hint or "")
        found = {c.name: c.change for c in await engine.definitions.sync(dry_run=True)}
        assert found == {"fresh": "new", "order": "changed", "flow": "missing"}
        assert await versions(engine, "order") == [(1, True)]
        await engine.definitions.sync()
        assert await (await engine.start("fresh")).result(timeout=5) == "new"
        assert (await (await engine.start("order")).result(timeout=5))["packed"] is True
        found = {c.name: c.change for c in await engine.definitions.sync(dry_run=True)}
        assert found == {"fresh": "same", "order": "same", "flow": "missing"}
