"""Events with one subject reach everybody in the order in which they were accepted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from greenroom import emit, wait, workflow
from tests.runtime.kits import FileEngine, MemoryEngine

WIDE = 40


@workflow
async def listener(n: int) -> list[int]:
    return [(await wait(type)).data["n"] for type in ("any", "any")]


@workflow(on="tell")
async def teller() -> None:
    for n in range(3):
        await emit("any", {"n": n}, subject="s")


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
        assert not kit.router._lines and not kit.router._line_of


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
        assert not kit.router._lines and not kit.router._line_of


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
        assert not kit.router._lines
