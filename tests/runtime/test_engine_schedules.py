"""Schedules: one tick a nominal time, whatever happens in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import InvalidRequest, NotFound, begin, done, step, workflow
from tests.runtime.kits import FileEngine, MemoryEngine


@step("Report")
async def report() -> dict[str, Any]:
    return {"reported": True}


@workflow(schedule="*/10 * * * *")
def every_ten() -> Any:
    return begin >> report >> done


@workflow(schedule={"cron": "0 * * * *", "catch_up": "all"})
async def hourly_all() -> None:
    return None


@workflow(schedule={"cron": "0 * * * *", "catch_up": "skip"})
async def hourly_skip() -> None:
    return None


@workflow(schedule={"at": "2026-01-01T05:00:00Z"})
async def at_once() -> None:
    return None


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    workflows = [every_ten, hourly_all, hourly_skip, at_once]
    if request.param == "memory":
        made = MemoryEngine(*workflows)
    else:
        made = FileEngine(tmp_path / "app.db", *workflows)
    async with made as engine:
        yield engine


async def ticks(kit: MemoryEngine, name: str) -> list[str]:
    items = (await kit.events.list("greenroom.schedule", limit=1_000)).items
    return sorted(e.data["nominal"] for e in items if e.data["schedule"] == name)


async def started(kit: MemoryEngine, name: str) -> int:
    return len((await kit.list(f"workflow:{name}", limit=1_000)).items)


async def test_a_schedule_ticks_once_at_each_nominal_time(kit: MemoryEngine) -> None:
    await kit.advance("1h")
    assert await ticks(kit, "every_ten") == [
        f"2026-01-01T{h:02}:{m:02}:00.000Z" for h, m in ((0, 10), (0, 20), (0, 30), (0, 40), (0, 50), (1, 0))
    ]  # fmt: skip
    assert await started(kit, "every_ten") == 6
    (info,) = [s for s in await kit.schedules.list() if s.id == "every_ten"]
    assert (info.next, info.last) == ("2026-01-01T01:10:00.000Z", "2026-01-01T01:00:00.000Z")


@pytest.mark.parametrize("how", ["crash", "restart_engine"])
async def test_a_schedule_ticks_once_with_stops_between(kit: MemoryEngine, how: str) -> None:
    for _ in range(12):
        await kit.advance("5m")
        await getattr(kit, how)()
    assert len(await ticks(kit, "every_ten")) == 6
    assert await started(kit, "every_ten") == 6


@pytest.mark.parametrize(
    ("name", "nominal"),
    [
        ("every_ten", ["2026-01-01T06:00:00.000Z"]),
        ("hourly_all", [f"2026-01-01T{h:02}:00:00.000Z" for h in range(1, 7)]),
        ("hourly_skip", []),
        ("at_once", ["2026-01-01T05:00:00.000Z"]),
    ],
)
async def test_times_missed_while_the_engine_was_down_follow_the_policy(
    kit: MemoryEngine, name: str, nominal: list[str]
) -> None:
    kit.clock._now += 6 * 3_600_000 + 5_000
    await kit.crash()
    await kit.until_idle()
    assert await ticks(kit, name) == nominal
    assert await started(kit, name) == len(nominal)
    await kit.crash()
    await kit.until_idle()
    assert await ticks(kit, name) == nominal


async def test_a_paused_schedule_does_not_tick_and_makes_up_for_nothing(kit: MemoryEngine) -> None:
    await kit.advance("10m")
    assert (await kit.schedules.pause("every_ten")).paused
    await kit.advance("1h")
    await kit.crash()
    await kit.advance("5m")
    assert len(await ticks(kit, "every_ten")) == 1
    shown = await kit.schedules.resume("every_ten")
    assert (shown.paused, shown.next) == (False, "2026-01-01T01:20:00.000Z")
    await kit.advance("10m")
    assert len(await ticks(kit, "every_ten")) == 2


async def test_a_schedule_is_triggered_beside_its_times(kit: MemoryEngine) -> None:
    accepted = await kit.schedules.trigger("every_ten")
    (match,) = accepted.matched
    await kit.until_idle()
    assert (await kit.get(match.instance)).status == "completed"
    await kit.advance("10m")
    assert await started(kit, "every_ten") == 2


async def test_the_next_times_are_told(kit: MemoryEngine) -> None:
    assert await kit.schedules.next("every_ten", 2) == [
        "2026-01-01T00:10:00.000Z", "2026-01-01T00:20:00.000Z",
    ]  # fmt: skip
    assert await kit.schedules.next("at_once", 3) == ["2026-01-01T05:00:00.000Z"]
    with pytest.raises(NotFound, match="every_ten"):
        await kit.schedules.next("every_tan")
    for count in (0, -1, 1_001):
        with pytest.raises(InvalidRequest):
            await kit.schedules.next("every_ten", count)


async def test_a_schedule_whose_workflow_is_gone_ticks_no_more(kit: MemoryEngine) -> None:
    kit.change_code(hourly_all)
    await kit.restart_engine()
    await kit.advance("1h")
    assert await ticks(kit, "every_ten") == []
    assert len(await ticks(kit, "hourly_all")) == 1


async def test_a_changed_schedule_ticks_at_its_new_times(kit: MemoryEngine) -> None:
    @workflow(name="every_ten", schedule="*/30 * * * *")
    def changed() -> Any:
        return begin >> report >> done

    await kit.advance("10m")
    kit.change_code(changed)
    await kit.restart_engine()
    await kit.advance("50m")
    assert await ticks(kit, "every_ten") == [
        "2026-01-01T00:10:00.000Z", "2026-01-01T00:30:00.000Z", "2026-01-01T01:00:00.000Z",
    ]  # fmt: skip


async def test_a_schedule_survives_a_restart_without_a_new_anchor(kit: MemoryEngine) -> None:
    @workflow(schedule={"rate": "7 minutes"})
    async def sevens() -> None:
        return None

    kit.register(sevens)
    await kit.until_idle()
    await kit.advance("6m")
    await kit.restart_engine()
    await kit.advance("1m")
    assert await ticks(kit, "sevens") == ["2026-01-01T00:07:00.000Z"]
    await kit.crash()
    await kit.advance("7m")
    assert await ticks(kit, "sevens") == ["2026-01-01T00:07:00.000Z", "2026-01-01T00:14:00.000Z"]
