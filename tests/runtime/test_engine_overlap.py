"""Schedules whose runs last: overlap, catch-up, jitter, backfill, preview."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom import InvalidRequest, sleep, workflow
from greenroom.actors.ports import EventMatches
from tests.runtime.kits import FileEngine, MemoryEngine


def lasting(name: str, **rule: Any) -> Any:
    """A run of 25 minutes, each 10 minutes."""

    @workflow(name=name, schedule={"cron": "*/10 * * * *", **rule})
    async def run() -> str:
        await sleep("25m")
        return "done"

    return run


@workflow(schedule={"cron": "0 * * * *", "catch_up": "all", "catch_up_window": "3h"})
async def windowed() -> None:
    return None


@workflow(schedule={"cron": "0 * * * *", "catch_up": "skip", "jitter": "20m"})
async def jittered() -> None:
    return None


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    workflows = [
        *(lasting(word, overlap=word) for word in ("allow", "skip", "queue", "cancel_running")),
        windowed,
        jittered,
    ]
    if request.param == "memory":
        made: MemoryEngine = MemoryEngine(*workflows)
    else:
        made = FileEngine(tmp_path / "app.db", *workflows)
    async with made as engine:
        yield engine


async def runs(kit: MemoryEngine, name: str) -> list[tuple[str, str, str]]:
    """(nominal, begun, status) of each run, as minutes of the day."""
    found = (await kit.list(f"workflow:{name}", limit=1_000)).items
    events = (await kit.events.list("greenroom.schedule", limit=1_000)).items
    nominal = {}
    for event in events:
        for match in await kit._engine.journal.call(EventMatches(event.pos)):
            nominal[match.id] = event.data["nominal"][11:16]
    return sorted((nominal[one.id], one.created[11:16], one.status) for one in found)


async def test_allow_lets_runs_go_side_by_side(kit: MemoryEngine) -> None:
    await kit.advance("30m")
    assert [r[2] for r in await runs(kit, "allow")] == ["waiting"] * 3


async def test_skip_leaves_out_the_times_while_a_run_lasts_and_says_so(kit: MemoryEngine) -> None:
    await kit.advance("45m")
    assert await runs(kit, "skip") == [
        ("00:10", "00:10", "completed"), ("00:40", "00:40", "waiting"),
    ]  # fmt: skip
    told = (await kit.events.list("greenroom.schedule.skipped")).items
    mine = sorted(e.data["nominal"][11:16] for e in told if e.data["schedule"] == "skip")
    assert mine == ["00:20", "00:30"]
    (info,) = [s for s in await kit.schedules.list() if s.id == "skip"]
    assert (info.overlap, info.last) == ("skip", "2026-01-01T00:40:00.000Z")


@pytest.mark.parametrize("how", [None, "crash", "restart_engine"])
async def test_queue_runs_each_time_one_after_another(kit: MemoryEngine, how: str | None) -> None:
    await kit.advance("30m")
    (info,) = [s for s in await kit.schedules.list() if s.id == "queue"]
    assert info.queued == 2
    if how is not None:
        await getattr(kit, how)()
    await kit.advance("35m")
    found = await runs(kit, "queue")
    assert [(nominal, begun) for nominal, begun, _ in found] == [
        ("00:10", "00:10"), ("00:20", "00:35"), ("00:30", "01:00"),
    ]  # fmt: skip


async def test_cancel_running_ends_the_run_before(kit: MemoryEngine) -> None:
    await kit.advance("30m")
    assert [r[1:] for r in await runs(kit, "cancel_running")] == [
        ("00:10", "cancelled"), ("00:20", "cancelled"), ("00:30", "waiting"),
    ]  # fmt: skip


async def test_a_failed_run_holds_up_nobody(tmp_path: Path) -> None:
    @workflow(schedule={"cron": "*/10 * * * *", "overlap": "skip"})
    async def fails() -> None:
        raise ValueError("no")

    async with MemoryEngine(fails) as kit:
        await kit.advance("30m")
        assert [r[2] for r in await runs(kit, "fails")] == ["failed"] * 3


async def test_only_what_was_missed_within_the_window_is_made_up_for(kit: MemoryEngine) -> None:
    kit.clock._now += 6 * 3_600_000 + 300_000
    await kit.crash()
    await kit.until_idle()
    assert [r[0] for r in await runs(kit, "windowed")] == ["04:00", "05:00", "06:00"]


async def test_jitter_delays_the_run_and_not_its_name(kit: MemoryEngine) -> None:
    await kit.advance("1h")
    await kit.crash()
    await kit.advance("30m")
    ((nominal, begun, status),) = await runs(kit, "jittered")
    assert (nominal, status) == ("01:00", "completed")
    assert "01:00" < begun < "01:20"
    at = (await kit.schedules.preview("jittered", count=1))[0].at
    await kit.advance("1h")
    assert (await runs(kit, "jittered"))[1][1] == (at or "")[11:16]


async def test_backfill_runs_each_time_of_a_range_once(kit: MemoryEngine) -> None:
    await kit.advance("2h")
    dry = await kit.schedules.backfill("windowed", "2025-12-31T22:00:00Z", dry_run=True)
    made = await kit.schedules.backfill("windowed", "2025-12-31T22:00:00Z")
    assert msgspec.structs.replace(dry, dry_run=False) == made
    assert (made.times, made.started, made.known) == (5, 3, 2)
    again = await kit.schedules.backfill("windowed", "2025-12-31T22:00:00Z", "2026-01-01T01:00:00Z")
    assert (again.times, again.started, again.known) == (4, 0, 4)
    with pytest.raises(InvalidRequest, match=r"more than 1,000"):
        await kit.schedules.backfill("windowed", "2020-01-01")
    with pytest.raises(InvalidRequest, match="start must be a moment"):
        await kit.schedules.backfill("windowed", "soon")


async def test_a_backfill_of_a_queue_goes_one_by_one(kit: MemoryEngine) -> None:
    made = await kit.schedules.backfill("queue", "2025-12-31T23:40:00Z", "2025-12-31T23:55:00Z")
    assert (made.times, made.queued) == (2, 2)
    await kit.advance("5m")
    assert [r[2] for r in await runs(kit, "queue")] == ["waiting"]
    await kit.advance("25m")
    assert [r[0] for r in await runs(kit, "queue")][:1] == ["23:40"]


async def test_a_preview_needs_no_schedule(kit: MemoryEngine) -> None:
    found = await kit.schedules.preview(
        rule={"cron": "0 3 * * *", "catch_up": "skip"}, count=2, assume=["down=02:00-05:00"]
    )
    assert [(one.nominal, one.at, one.what) for one in found] == [
        ("2026-01-01T03:00:00.000Z", None, "skipped"),
        ("2026-01-02T03:00:00.000Z", None, "skipped"),
    ]
    with pytest.raises(InvalidRequest):
        await kit.schedules.preview()
