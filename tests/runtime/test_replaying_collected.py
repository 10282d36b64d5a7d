"""Stored events replayed into workflows that collect them: gathered as they would have been, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import InvalidRequest, all_of, unless, workflow
from tests.runtime.kits import FileEngine, MemoryEngine


@workflow(on="row", key="::data.k", batch={"size": 3, "within": "10m"})
async def batched(events: list[Any]) -> list[int]:
    return [event["data"]["n"] for event in events]


@workflow(on="row", key="::data.k", debounce={"quiet": "5m", "at_most": "1h"})
async def debounced(n: int, k: str) -> int:
    return n


@workflow(on=all_of("paid", "packed", within="1h", by="::data.k"))
async def complete(events: list[Any]) -> list[int]:
    return [event["data"]["n"] for event in events]


@workflow(on=unless("paid", after="packed", within="1h", by="::data.k"))
async def unpaid(n: int) -> int:
    return n


@workflow(on="row", throttle={"limit": 2, "per": "1h"})
async def throttled(n: int) -> int:
    return n


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    made = MemoryEngine() if request.param == "memory" else FileEngine(tmp_path / "app.db")
    async with made as engine:
        yield engine


async def post(kit: MemoryEngine, type: str, *ns: int, k: str = "a", apart: str = "1m") -> None:
    for n in ns:
        await kit.post({"type": type, "data": {"n": n, "k": k}})
        await kit.advance(apart)


async def results(kit: MemoryEngine, name: str) -> list[Any]:
    await kit.until_idle()
    found = (await kit.list(f"workflow:{name}", limit=100)).items
    return sorted([(await kit.get(one.id)).result for one in found])


async def replayed(kit: MemoryEngine, name: str, **options: Any) -> tuple[int, int, int, int]:
    """How many were started, known, held and refused; a dry run says the same before."""
    dry = await kit.events.replay(name, dry_run=True, **options)
    made = await kit.events.replay(name, **options)
    await kit.until_idle()
    if name != "throttled":
        assert (dry.started, dry.known, dry.held) == (made.started, made.known, made.held)
    assert dry.dry_run and not made.dry_run
    return made.started, made.known, made.held, made.refused


async def test_a_batch_is_cut_where_it_would_have_been_and_used_once(kit: MemoryEngine) -> None:
    await post(kit, "row", 1, 2, 3, 4)
    await post(kit, "row", 7, k="b")
    await kit.advance("1h")
    await post(kit, "row", 5)
    kit.register(batched)
    assert await replayed(kit, "batched") == (3, 0, 1, 0)
    assert await results(kit, "batched") == [[1, 2, 3], [4], [7]]
    assert await replayed(kit, "batched") == (0, 5, 1, 0)
    await kit.crash()
    await kit.advance("10m")
    assert await replayed(kit, "batched", since="3h") == (1, 5, 0, 0)
    assert await results(kit, "batched") == [[1, 2, 3], [4], [5], [7]]


async def test_what_a_batch_has_used_live_or_holds_is_left_alone(kit: MemoryEngine) -> None:
    await post(kit, "row", 1, 2)
    kit.register(batched)
    await kit.until_idle()
    await post(kit, "row", 3, 4, 5, 6)  # 3, 4, 5 start one; 6 is held
    assert await results(kit, "batched") == [[3, 4, 5]]
    started = await replayed(kit, "batched")
    assert started == (0, 3, 3, 0)
    await kit.advance("1h")
    assert await results(kit, "batched") == [[3, 4, 5], [6]]
    assert await replayed(kit, "batched") == (1, 4, 0, 0)
    assert await results(kit, "batched") == [[1, 2], [3, 4, 5], [6]]


async def test_a_debounce_takes_the_events_after_which_it_was_quiet(kit: MemoryEngine) -> None:
    await post(kit, "row", 1, 2, 3)
    await kit.advance("10m")
    await post(kit, "row", 4, 5)
    kit.register(debounced)
    await kit.until_idle()
    assert await replayed(kit, "debounced") == (1, 0, 1, 0)
    await post(kit, "row", 6)
    assert await replayed(kit, "debounced") == (0, 1, 1, 0)
    await kit.advance("1h")
    assert await results(kit, "debounced") == [3, 6]
    assert await replayed(kit, "debounced") == (0, 2, 0, 0)


async def test_all_of_takes_what_came_together_and_nothing_twice(kit: MemoryEngine) -> None:
    await post(kit, "paid", 1, 2)
    await post(kit, "packed", 3)
    await post(kit, "packed", 4, k="b")
    await kit.advance("2h")
    await post(kit, "paid", 5, k="b")
    kit.register(complete)
    await kit.until_idle()
    assert await replayed(kit, "complete") == (1, 0, 1, 0)
    assert await results(kit, "complete") == [[2, 3]]
    await post(kit, "packed", 6)
    assert await replayed(kit, "complete") == (0, 2, 2, 0)  # neither 1 nor 2 is there for 6
    with pytest.raises(InvalidRequest, match="leave `type` out"):
        await kit.events.replay("complete", type="paid")


async def test_what_did_not_come_is_noticed_afterwards(kit: MemoryEngine) -> None:
    await post(kit, "packed", 1)
    await post(kit, "packed", 2, k="b")
    await post(kit, "paid", 3, k="b")
    await kit.advance("2h")
    await post(kit, "packed", 4, k="c")
    kit.register(unpaid)
    await kit.until_idle()
    assert await replayed(kit, "unpaid") == (1, 0, 1, 0)
    assert await replayed(kit, "unpaid") == (0, 1, 1, 0)
    assert await results(kit, "unpaid") == [1]


async def test_a_throttle_lets_through_what_it_lets_through_now(kit: MemoryEngine) -> None:
    await post(kit, "row", 1, 2, 3, 4, 5)
    kit.register(throttled)
    await kit.until_idle()
    assert (await kit.events.replay("throttled", dry_run=True)).started == 5
    assert await replayed(kit, "throttled") == (2, 0, 3, 0)
    assert await results(kit, "throttled") == [1, 2]
    assert await replayed(kit, "throttled") == (0, 2, 3, 0)
    await kit.crash()
    await kit.advance("1h")
    assert await results(kit, "throttled") == [1, 2, 3, 4]
    await kit.advance("1h")
    assert await replayed(kit, "throttled") == (0, 5, 0, 0)
    await kit.advance("3h")
    assert await replayed(kit, "throttled") == (0, 5, 0, 0)
    assert await results(kit, "throttled") == [1, 2, 3, 4, 5]


async def test_a_key_that_is_none_is_refused(kit: MemoryEngine) -> None:
    await kit.post({"type": "row", "data": {"n": 1, "k": ["no", "key"]}})
    kit.register(batched)
    await kit.until_idle()
    assert await replayed(kit, "batched") == (0, 0, 0, 1)
