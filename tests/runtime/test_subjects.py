"""Events with one subject reach everybody in the order in which they were accepted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenroom import AlreadyRunning, emit, wait, workflow
from greenroom.actors.router import Router
from greenroom.runtime.store import StoreFull
from tests.runtime.kits import FileEngine, MemoryEngine

WIDE = 40


@workflow
async def listener(n: int) -> list[int]:
    return [(await wait(type)).data["n"] for type in ("any", "any")]


@workflow(on="tell")
async def teller() -> None:
    for n in range(3):
        await emit("any", {"n": n}, subject="s")


@workflow(on="go", name="late")
async def late() -> None:
    await wait("now")
    await emit("any", {"n": 1}, subject="s")
    await emit("any", {"n": 2}, subject="s")


@workflow(on="any", batch=100)
async def collecting(events: Any) -> None: ...


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_wide_event_is_routed_to_its_end_before_the_next_of_its_subject(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "sqlite_route"):
        monkeypatch.setattr(f"greenroom.runtime.{module}.FAN_OUT_PER_COMMIT", 7)
    monkeypatch.setattr("greenroom.runtime.sqlite_route.LOOKED_AT_PER_COMMIT", 20)
    made = MemoryEngine(listener) if kind == "memory" else FileEngine(tmp_path / "app.db", listener)
    async with made as kit:
        instances = [await kit.start(listener, {"n": n}) for n in range(WIDE)]
        await kit.until_idle()
        first, second = await asyncio.gather(
            *(kit.post({"type": "any", "subject": "s", "data": {"n": n}}) for n in (1, 2))
        )
        assert not first.duplicate and not second.duplicate
        await kit.until_idle()
        got = [await kit.result(one.id) for one in instances]
        assert got == [[1, 2]] * WIDE
        assert kit.router.subjects.empty and not kit.router._line_of


async def test_emitted_and_collected_events_stand_in_line_too() -> None:
    async with MemoryEngine(listener, teller, collecting) as kit:
        made = await kit.start(listener, {"n": 1})
        await kit.post({"type": "tell"})
        await kit.until_idle()
        await asyncio.gather(
            *(kit.post({"type": "any", "subject": "s", "data": {"n": n}}) for n in range(9))
        )
        await kit.until_idle()
        assert await kit.result(made.id) == [0, 1]
        (state,) = kit.router.collector.states.values()
        assert len(state.members) == 12
        assert kit.router.subjects.empty and not kit.router._line_of


async def test_a_repeat_and_a_conflict_leave_the_line() -> None:
    async with MemoryEngine(collecting) as kit:
        event = {"type": "any", "id": "e", "subject": "s", "data": {"n": 1}}
        replies = await asyncio.gather(
            kit.post(event),
            kit.post(event),
            kit.post({**event, "data": {"n": 2}}),
            kit.post({**event, "id": "f"}),
            return_exceptions=True,
        )
        assert [getattr(one, "duplicate", "conflict") for one in replies] == [
            False, True, "conflict", False,
        ]  # fmt: skip
        assert kit.router.subjects.empty


def no_reading(self: Router) -> None:
    """Nobody reads back what was emitted."""


async def test_an_event_that_is_emitted_goes_before_a_later_post_of_its_subject(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with MemoryEngine(listener, late) as kit:
        made = await kit.start(listener, {"n": 1})
        await kit.post({"type": "go"})
        await kit.until_idle()
        monkeypatch.setattr(Router, "recover", no_reading)
        await kit.post({"type": "now"})
        await kit.until_idle()
        later = asyncio.ensure_future(kit.post({"type": "any", "subject": "s", "data": {"n": 3}}))
        await kit.until_idle()
        assert not later.done()
        other = await kit.post({"type": "any", "subject": "other", "data": {"n": 4}})
        assert other.matched_total == 1
        monkeypatch.undo()
        kit.router.recover()
        await later
        await kit.until_idle()
        assert await kit.result(made.id) == [4, 1]
        events = (await kit.events.list("type:any")).items
        assert [event.data["n"] for event in reversed(events)] == [1, 2, 4, 3]
        assert kit.router.subjects.empty and not kit.router._line_of


async def test_what_was_emitted_before_a_crash_goes_before_what_is_posted_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with MemoryEngine(listener, late) as kit:
        made = await kit.start(listener, {"n": 1})
        await kit.post({"type": "go"})
        await kit.until_idle()
        monkeypatch.setattr(Router, "recover", no_reading)
        await kit.post({"type": "now"})
        await kit.until_idle()
        await kit.crash()
        later = asyncio.ensure_future(kit.post({"type": "any", "subject": "s", "data": {"n": 3}}))
        await kit.until_idle()
        assert not later.done()
        monkeypatch.undo()
        kit.router.recover()
        await later
        assert await kit.result(made.id) == [1, 2]
        assert kit.router.subjects.empty


async def test_an_emit_that_is_not_stored_holds_up_nobody(tmp_path: Path) -> None:
    async with MemoryEngine(listener, late) as kit:
        made = await kit.start(listener, {"n": 1})
        await kit.post({"type": "go"})
        await kit.until_idle()
        posted = asyncio.ensure_future(kit.post({"type": "now"}))
        while not kit.router.subjects._expected:
            if kit.directory.turns:
                kit.store.fail_next(StoreFull("full"))
            await asyncio.sleep(0)
        await asyncio.gather(posted, return_exceptions=True)
        await kit.advance("2s")
        await kit.post({"type": "any", "subject": "s", "data": {"n": 3}})
        await kit.until_idle()
        assert len(await kit.result(made.id)) == 2
        assert kit.router.subjects.empty


async def test_a_start_that_is_refused_leaves_the_line_of_what_it_would_have_emitted() -> None:
    @workflow(name="early", on="early", key="::data.key")
    async def early(key: str) -> None:
        await emit("any", {"n": 1}, subject="s")
        await wait("end")

    async with MemoryEngine(early) as kit:
        replies = [await kit.post({"type": "early", "data": {"key": "k"}}) for _ in range(2)]
        assert [one.matched[0].action for one in replies] == ["started", "refused"]
        with pytest.raises(AlreadyRunning):
            await kit.start("early", {"key": "k"}, key="k")
        await kit.until_idle()
        assert kit.router.subjects.empty
