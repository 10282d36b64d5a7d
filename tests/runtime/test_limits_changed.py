"""Limits that come into force while instances live: everybody is counted, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import AlreadyRunning, wait, workflow
from greenroom.runtime import census
from greenroom.runtime.directory import Directory
from greenroom.runtime.slots import Slots
from tests.definitions.test_documents import document
from tests.runtime.kits import FileEngine, MemoryEngine
from tests.runtime.test_documents import core


@pytest.fixture(params=["memory", "sqlite"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made = MemoryEngine() if request.param == "memory" else FileEngine(tmp_path / "app.db")
    async with made:
        yield made


def job(**limits: Any) -> dict[str, Any]:
    """A document that waits, with limits."""
    go = core("WaitForEvent", 1, {"event_type": "go", "where": {"data.id": "::id"}})
    return document(go, name="job", **limits)


async def begun(engine: Any, *ids: int, **more: Any) -> list[str]:
    made = [await engine.start("job", {"id": id, **more}) for id in ids]
    await engine.quiet()
    return [one.id for one in made]


async def statuses(engine: Any, ids: list[str]) -> list[str]:
    await engine.quiet()
    return [(await engine.get(id)).status for id in ids]


ONE = {"concurrency": {"key": "::user"}}


async def test_F23_who_lived_before_the_limit_is_counted_as_soon_as_it_is_released(
    engine: Any,
) -> None:
    await engine.definitions.push(job())
    old = await begun(engine, 1, 2, user="ann")
    await engine.definitions.push(job(**ONE), promote=True)
    new = await begun(engine, 3, user="ann") + await begun(engine, 4, user="bob")
    assert await statuses(engine, new) == ["pending", "waiting"]
    await engine.cancel(old[0])
    assert await statuses(engine, new) == ["pending", "waiting"]
    await engine.cancel(old[1])
    assert await statuses(engine, new) == ["waiting", "waiting"]
    again = await begun(engine, 5, user="bob")
    await engine.crash()
    assert await statuses(engine, again) == ["pending"]
    assert await statuses(engine, await begun(engine, 6, user="ann")) == ["pending"]


async def test_F23_who_comes_while_the_living_are_counted_is_counted_too(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "PAGE", 2)
    await engine.definitions.push(job())
    old = await begun(engine, *range(5))
    reads = census._rows
    starting: list[asyncio.Future[Any]] = []

    async def slow(directory: Directory, *terms: Any) -> Any:
        if starting:
            return await reads(directory, *terms)
        starting.append(asyncio.ensure_future(engine.start("job", {"id": 9})))
        made = await engine.start("job", {"id": 10})
        gone = await engine.start("job", {"id": 11})
        await engine.cancel(old[0])
        await engine.cancel(gone.id)
        found = await reads(directory, *terms)
        await engine.pause(old[1])  # it stands in another place of the list now
        return [row for row in found if row.id not in (old[1], made.id)]

    monkeypatch.setattr(census, "_rows", slow)
    await engine.definitions.push(job(concurrency=7), promote=True)
    assert starting
    assert await statuses(engine, await begun(engine, 12, 13)) == ["waiting", "pending"]


async def test_F23_who_is_on_its_way_to_the_store_is_counted_too(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.definitions.push(job())
    reads = census._rows
    starting: list[asyncio.Future[Any]] = []

    async def slow(directory: Directory, *terms: Any) -> Any:
        found = await reads(directory, *terms)
        starting.append(asyncio.ensure_future(engine.start("job", {"id": 1})))
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(census, "_rows", slow)
    await engine.definitions.push(job(concurrency=1), promote=True)
    (first,) = await asyncio.gather(*starting)
    assert await statuses(engine, [first.id, *await begun(engine, 2)]) == ["waiting", "pending"]


async def test_F23_the_old_limits_are_in_force_until_the_living_are_counted(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.definitions.push(job(concurrency={"limit": 1}))
    first = await begun(engine, 1)
    counted = asyncio.Event()
    reads = census._rows

    async def slow(directory: Directory, *terms: Any) -> Any:
        await counted.wait()
        return await reads(directory, *terms)

    monkeypatch.setattr(census, "_rows", slow)
    skip = job(concurrency={"limit": 1, "on_conflict": "skip"})
    released = asyncio.ensure_future(engine.definitions.push(skip, promote=True))
    while not engine.directory.slots._counts:
        await asyncio.sleep(0)
    queued = await engine.start("job", {"id": 2})
    counted.set()
    await released
    assert await statuses(engine, [*first, queued.id]) == ["waiting", "waiting"]
    with pytest.raises(AlreadyRunning):
        await engine.start("job", {"id": 3})


async def test_F23_a_higher_limit_and_none_let_begin_who_was_queued(engine: Any) -> None:
    await engine.definitions.push(job(concurrency={"limit": 1}))
    ids = await begun(engine, 1, 2, 3, 4)
    assert await statuses(engine, ids) == ["waiting", "pending", "pending", "pending"]
    await engine.definitions.push(job(concurrency={"limit": 2}), promote=True)
    assert await statuses(engine, ids) == ["waiting", "waiting", "pending", "pending"]
    await engine.definitions.push(job(), promote=True)
    assert await statuses(engine, ids) == ["waiting"] * 4
    await engine.definitions.rollback("job", 1)
    assert await statuses(engine, await begun(engine, 5)) == ["pending"]


async def test_F23_a_lower_limit_that_cancels_lets_the_oldest_go(engine: Any) -> None:
    await engine.definitions.push(job(concurrency={"limit": 3}))
    ids = await begun(engine, 1, 2, 3)
    lower = {"limit": 1, "on_conflict": "cancel_oldest"}
    await engine.definitions.push(job(concurrency=lower), promote=True)
    assert await statuses(engine, ids) == ["cancelled", "cancelled", "waiting"]


async def test_F23_another_key_puts_those_who_live_into_other_lanes(engine: Any) -> None:
    await engine.definitions.push(job(concurrency={"key": "::user"}))
    ann = await begun(engine, 1, 2, user="ann", team="a")
    bob = await begun(engine, 3, 4, user="bob", team="a")
    assert await statuses(engine, [*ann, *bob]) == ["waiting", "pending"] * 2
    await engine.definitions.push(job(concurrency={"key": "::team", "limit": 3}), promote=True)
    assert await statuses(engine, [*ann, *bob]) == ["waiting", "waiting", "waiting", "pending"]
    (found,) = (await engine.list("concurrency:b")).items or [None]
    assert found is None
    await begun(engine, 5, user="ann", team="b")
    assert len((await engine.list("concurrency:b")).items) == 1


async def test_F23_the_limits_of_the_release_are_in_force_for_older_versions(engine: Any) -> None:
    await engine.definitions.push(job())
    await engine.definitions.push(job(**ONE), promote=True)
    old = await engine.start("job", {"id": 1, "user": "ann"}, version=1)
    new = await engine.start("job", {"id": 2, "user": "ann"}, version=1)
    assert await statuses(engine, [old.id, new.id]) == ["waiting", "pending"]
    assert [one.id for one in (await engine.list("concurrency:ann status:pending")).items] == [
        new.id
    ]


async def test_F23_who_waits_for_a_limit_that_went_while_nothing_ran_begins(engine: Any) -> None:
    @workflow(name="code", concurrency=1)
    async def limited(id: int) -> None:
        await wait("go", where={"data.id": id})

    @workflow(name="code")
    async def free(id: int) -> None:
        await wait("go", where={"data.id": id})

    engine.register(limited)
    ids = [(await engine.start("code", {"id": n})).id for n in (1, 2)]
    assert await statuses(engine, ids) == ["waiting", "pending"]
    engine.change_code(free)
    await engine.restart_engine()
    assert await statuses(engine, ids) == ["waiting", "waiting"]


async def test_limits_a_rate_counts_who_began_before_it_was_given(engine: Any) -> None:
    await engine.definitions.push(job())
    await begun(engine, 1)
    await engine.advance("30s")
    await begun(engine, 2)
    await engine.definitions.push(job(rate={"limit": 2, "per": "1m"}), promote=True)
    ids = await begun(engine, 3, 4)
    assert await statuses(engine, ids) == ["pending", "pending"]
    await engine.advance("30s")
    assert await statuses(engine, ids) == ["waiting", "pending"]
    await engine.definitions.push(job(rate={"limit": 3, "per": "1m"}), promote=True)
    assert await statuses(engine, ids) == ["waiting", "waiting"]


async def test_F23_code_that_comes_while_the_engine_runs_counts_who_lives(engine: Any) -> None:
    @workflow(name="code", concurrency=1)
    async def limited(id: int) -> None:
        await wait("go", where={"data.id": id})

    engine.register(limited)
    await engine.start("code", {"id": 1})
    engine.change_code()
    await engine.restart_engine()
    engine.register(limited)
    await engine.quiet()
    new = await engine.start("code", {"id": 2})
    assert await statuses(engine, [new.id]) == ["pending"]


# -- one commit --------------------------------------------------------------------------------

LATEST = {"concurrency": {"key": "::user", "on_conflict": "cancel_oldest"}}


async def test_F23_a_start_and_the_cancel_of_the_oldest_are_one_commit(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.definitions.push(job(**LATEST))
    (old,) = await begun(engine, 1, user="ann")
    monkeypatch.setattr(Directory, "deliver", lambda self, n, id, items: None)
    monkeypatch.setattr(Slots, "_make_room", lambda self, lane, reason: None)
    (new,) = await begun(engine, 2, user="ann")
    assert await statuses(engine, [old, new]) == ["waiting", "waiting"]
    monkeypatch.undo()
    monkeypatch.setattr(Slots, "_make_room", lambda self, lane, reason: None)
    await engine.crash()
    assert await statuses(engine, [old, new]) == ["cancelled", "waiting"]
    (ended,) = [e for e in (await engine.history(old)).items if e.kind == "InstanceCancelled"]
    assert ended.data["reason"] == f"{new} takes its place"


async def test_F23_a_start_that_its_key_forbids_cancels_nobody(engine: Any) -> None:
    await engine.definitions.push(job(**LATEST, key="::name"))
    (old,) = await begun(engine, 1, user="ann", name="x")
    with pytest.raises(AlreadyRunning):
        await engine.start("job", {"id": 2, "user": "ann", "name": "x"})
    assert await statuses(engine, [old]) == ["waiting"]
    (new,) = await begun(engine, 3, user="ann", name="y")
    assert await statuses(engine, [old, new]) == ["cancelled", "waiting"]
