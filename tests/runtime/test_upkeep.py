"""`doctor --deep` and `prune` on a real engine: rows against entries, snapshots, retention."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    Event,
    NotFound,
    StepList,
    approval,
    begin,
    child,
    continue_as_new,
    done,
    retrystep,
    step,
    wait,
    workflow,
)
from greenroom.actors.ports import Load, SaveSnapshot
from greenroom.actors.progress import decode_progress, encode_progress
from greenroom.definitions.durations import seconds
from greenroom.runtime import calls, checks, retention, shapes
from greenroom.runtime.cli.run import run
from greenroom.runtime.cli.session import Session
from greenroom.runtime.directory import SNAPSHOT_EVERY
from tests.runtime.kits import FileEngine, MemoryEngine

GATES: dict[str, asyncio.Future[None]] = {}
RUNS: list[int] = []
LONG = SNAPSHOT_EVERY + 60


@step("Count")
async def count(n: int = 0) -> dict[str, Any]:
    RUNS.append(n)
    return {"n": n + 1}


@step("Hold")
async def hold() -> dict[str, Any]:
    gate = GATES["hold"] = asyncio.get_running_loop().create_future()
    await gate
    return {}


@retrystep("Flaky", delay="10m", jitter=0)
async def flaky() -> dict[str, Any]:
    raise OSError("not now")


@step("Break")
async def breaks() -> dict[str, Any]:
    raise ValueError("no")


@workflow(name="long")
def long_list() -> StepList:
    steps = begin
    for _ in range(LONG):
        steps = steps >> count
    return steps >> hold >> count >> done


@workflow(name="short")
def short() -> StepList:
    return begin >> count >> done


@workflow(name="retries")
def retries() -> StepList:
    return begin >> flaky >> done


@workflow(name="fails")
def fails() -> StepList:
    return begin >> breaks >> done


@workflow
async def order(order_id: str) -> Any:
    return (await wait("paid", where={"data.order": order_id})).data


@workflow
async def asks() -> Any:
    return await approval("Ok?")


@workflow
async def parent() -> Any:
    return await child("order", {"order_id": "of a parent"})


@workflow
async def counting(times: int, again: bool = False) -> Any:
    n = 0
    for _ in range(times):
        n = (await count(n=n))["n"]
    await wait("on")
    if again:
        continue_as_new({"times": 0, "again": False})
    return n


@workflow
async def turns(round: int = 0) -> Any:
    await wait("next", where={"data.round": round})
    if round < 2:
        continue_as_new({"round": round + 1})
    return round


WORKFLOWS = (long_list, short, retries, fails, order, asks, parent, turns, counting)


@pytest.fixture(params=["memory", "file"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    GATES.clear()
    RUNS.clear()
    if request.param == "memory":
        made: MemoryEngine = MemoryEngine(*WORKFLOWS)
    else:
        made = FileEngine(tmp_path / "a.db", *WORKFLOWS)
    async with made:
        yield made


@pytest.fixture
async def on_disk(tmp_path: Path) -> AsyncIterator[FileEngine]:
    GATES.clear()
    made = FileEngine(tmp_path / "a.db", *WORKFLOWS)
    async with made:
        yield made


def wrong(findings: list[shapes.Finding]) -> list[str]:
    return [f"{f.check}: {f.text}" for f in findings if f.level != "ok"]


async def later(engine: Any, duration: str) -> None:
    """Time has passed; what fell due meanwhile comes all at once."""
    await engine.quiet()
    engine.clock.move_to(engine.clock.now() + round(seconds(duration) * 1000))
    await engine.quiet()


async def everything(engine: Any) -> dict[str, str]:
    """An instance of every kind and status."""
    ids = {}
    for name, input in (
        ("short", {}), ("retries", {}), ("fails", {}), ("order", {"order_id": "7"}), ("asks", {}),
        ("parent", {}), ("turns", {}),
    ):  # fmt: skip
        ids[name] = (await engine.start(name, input)).id
    ids["later"] = (await engine.start("short", {}, delay="1d")).id
    ids["paused"] = (await engine.start("order", {"order_id": "8"})).id
    await engine.pause(ids["paused"])
    ids["cancelled"] = (await engine.start("order", {"order_id": "9"}, key="nine")).id
    await engine.cancel(ids["cancelled"])
    await engine.post(Event(type="next", data={"round": 0}))
    ids["fork"] = (await engine.fork(ids["order"])).instance
    await engine.quiet()
    return ids


# -- doctor --------------------------------------------------------------------------------------


async def test_every_instance_is_what_its_entries_say(engine: Any) -> None:
    ids = await everything(engine)
    findings = await engine.doctor(deep=True)
    assert wrong(findings) == []
    counted = len((await engine.list(limit=100)).items)
    assert counted > len(ids)  # the child
    assert f"{counted} instances are what their entries say" in [f.text for f in findings]
    await engine.crash()
    assert wrong(await engine.doctor(deep=True)) == []


@pytest.mark.parametrize(
    ("column", "value", "of"),
    [
        ("status", "3", "order"), ("status", "1", "short"), ("waits", "'[]'", "order"),
        ("outcome", "'completed'", "order"), ("steps", "'elsewhere'", "retries"),
        ("error_code", "'other'", "fails"), ("error", "NULL", "fails"), ("busy", "1", "asks"),
        ("version", "7", "order"), ("key", "'ten'", "cancelled"), ("test", "1", "order"),
        ("parent", "'somebody'", "order"),
    ],
)  # fmt: skip
async def test_a_row_that_says_something_else_is_found(
    on_disk: FileEngine, column: str, value: str, of: str
) -> None:
    ids = await everything(on_disk)
    token, on_disk._engine._token = on_disk._engine._token, None
    await on_disk._engine.close()
    db = sqlite3.connect(on_disk.path, isolation_level=None)
    db.execute(f"UPDATE instance SET {column} = {value} WHERE id = ?", (ids[of],))
    db.close()
    on_disk._options["passive"] = True
    await on_disk._reopen()
    on_disk._engine._token = token
    found = [f for f in await on_disk.doctor(deep=True) if f.level == "error"]
    named = [f for f in found if f.check == "instances"]
    assert [f.details["instance"] for f in named] == [ids[of]]
    assert column in named[0].text


async def test_what_is_wrong_is_named_up_to_a_bound(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(5):
        await engine.start("order", {"order_id": str(k)})
    await engine.quiet()
    monkeypatch.setattr(checks, "fault_of", lambda whole, tail: "it is wrong")
    monkeypatch.setattr(checks, "NAMED_MAX", 3)
    monkeypatch.setattr(checks, "PAGE", 2)
    found = [f for f in await engine.doctor(deep=True) if f.check == "instances"]
    assert len(found) == 4
    assert found[-1].text == "and 2 instances more"


# -- snapshots -----------------------------------------------------------------------------------


async def test_a_long_instance_is_loaded_from_its_snapshot(engine: Any) -> None:
    id = (await engine.start("long", {})).id
    await engine.quiet()
    (loaded,) = await engine.journal.call(Load((1,)))
    assert loaded.snapshot is not None
    assert loaded.snapshot_iseq >= SNAPSHOT_EVERY
    assert len(loaded.rows) < LONG // 2
    whole = await engine.journal.call(Load((1,), snapshots=False))
    assert checks.fault_of(whole[0], loaded) is None
    await engine.crash()
    GATES["hold"].set_result(None)
    assert (await engine.result(id, timeout="10s"))["n"] == LONG + 1
    assert len(RUNS) == LONG + 1
    assert wrong(await engine.doctor(deep=True)) == []


async def test_a_long_program_is_looked_at_from_its_snapshot_and_goes_on_from_its_rows(
    engine: Any,
) -> None:
    id = (await engine.start("counting", {"times": LONG})).id
    await engine.quiet()
    (loaded,) = await engine.journal.call(Load((1,)))
    assert loaded.snapshot_iseq >= SNAPSHOT_EVERY and len(loaded.rows) < LONG // 2
    whole = await engine.journal.call(Load((1,), snapshots=False))
    assert checks.fault_of(whole[0], loaded) is None
    await engine.crash()
    await engine.send(id, {"type": "on"})
    assert await engine.result(id, timeout="10s") == LONG
    assert len(RUNS) == LONG, "what had been done was not done again"
    (ended,) = await engine.journal.call(Load((1,)))
    assert ended.rows == [], "one that has ended is looked at without its history"
    assert (await engine.get(id)).result == LONG
    assert wrong(await engine.doctor(deep=True)) == []


async def test_a_snapshot_of_an_older_generation_is_gone(engine: Any) -> None:
    id = (await engine.start("counting", {"times": LONG, "again": True})).id
    await engine.quiet()
    await engine.send(id, {"type": "on"})
    await engine.quiet()
    (loaded,) = await engine.journal.call(Load((1,)))
    assert loaded.snapshot is None and loaded.generation_start > LONG
    assert (await engine.get(id)).state == {"times": 0, "again": False}
    assert wrong(await engine.doctor(deep=True)) == []


async def test_a_snapshot_that_is_not_what_the_entries_add_up_to_is_found(engine: Any) -> None:
    id = (await engine.start("long", {})).id
    await engine.quiet()
    (loaded,) = await engine.journal.call(Load((1,)))
    p = decode_progress(loaded.snapshot)
    p.state["else"] = 5
    payload = encode_progress(p)
    crc = zlib.crc32(payload)
    await engine.journal.call(SaveSnapshot(1, loaded.snapshot_iseq, payload, crc))
    (found,) = wrong(await engine.doctor(deep=True))
    assert id in found
    assert f"its snapshot at {loaded.snapshot_iseq} is not what its entries add up to" in found


async def test_a_snapshot_holds_only_what_is_stored(engine: Any) -> None:
    await engine.start("long", {})
    await engine.quiet()
    saved: list[Any] = []
    (instance,) = engine.directory.active.values()
    engine.directory.submit = lambda work, then: saved.append(work)
    instance.unstored = 1
    engine.directory._snapshot(instance)
    assert saved == []
    instance.unstored = 0
    engine.directory._snapshot(instance)
    assert [type(work) for work in saved] == [SaveSnapshot]
    del engine.directory.submit


# -- prune ---------------------------------------------------------------------------------------


async def test_prune_deletes_what_ended_long_ago_and_nothing_else(engine: Any) -> None:
    ids = await everything(engine)
    await later(engine, "2h")
    young = (await engine.start("short", {})).id
    await engine.quiet()
    found = await engine.prune("1h", dry_run=True)
    assert found == shapes.Pruned(2, dry_run=True)
    assert (await engine.get(ids["short"])).status == "completed"
    gone = await engine.prune("1h")
    assert (gone.instances, gone.events) == (2, 0)
    for name in ("short", "cancelled"):
        with pytest.raises(NotFound):
            await engine.get(ids[name])
    assert (await engine.get(young)).status == "completed"
    assert (await engine.get(ids["order"])).status == "waiting"
    assert await engine.prune("1h") == shapes.Pruned(0)
    assert wrong(await engine.doctor(deep=True)) == []
    await engine.crash()
    assert wrong(await engine.doctor(deep=True)) == []
    assert (await engine.start("order", {"order_id": "9"}, key="nine")).created


async def test_prune_goes_on_in_chunks(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "PAGE", 2)
    for k in range(7):
        await engine.start("short", {}, request_id=f"r-{k}")
    await engine.quiet()
    await later(engine, "8d")
    assert (await engine.prune(0, dry_run=True)).instances == 7
    gone = await engine.prune(0)
    assert gone.instances == 7
    assert (await engine.list()).items == []
    assert (await engine.start("short", {}, request_id="r-0")).created


async def test_ids_are_known_for_a_week_however_short_the_history_is_kept(engine: Any) -> None:
    event = Event(type="paid", id="p-1", source="/shop", data={"order": "none"})
    await engine.post(event)
    await engine.start("short", {}, request_id="r-1")
    await later(engine, "1h")
    assert (await engine.prune("1m")).instances == 1
    assert (await engine.post(event)).duplicate
    await later(engine, "7d")
    assert (await engine.prune("1m")).events == 1
    assert not (await engine.post(event)).duplicate


async def test_the_table_of_methods_has_prune(engine: Any) -> None:
    await engine.start("short", {})
    await later(engine, "1h")
    reply = await calls.run(engine, "prune", {"older_s": 60, "dry_run": True}, None)
    assert reply == shapes.Pruned(1, dry_run=True)
    assert (await calls.run(engine, "prune", {"older_s": "1m"}, None)).instances == 1


def test_db_prune_asks_for_a_yes_and_deletes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)

    async def fill() -> None:
        """Long ago: the clock stands at the beginning of 2026."""
        async with FileEngine(data / "greenroom.db", *WORKFLOWS) as engine:
            for _ in range(3):
                await engine.start("short", {})
            await engine.start("order", {"order_id": "7"})
            await engine.quiet()

    def type_in(*words: str) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr("sys.stdin", io.StringIO())
        code = run(["db", "prune", "--older", "1h", "--data", str(data), *words], Session())
        out, err = capsys.readouterr()
        return code, json.loads(out or "{}"), err

    asyncio.run(fill())
    code, reply, _ = type_in("--dry-run")
    assert (code, reply["dry_run"], reply["instances"]) == (0, True, 3)
    code, _, err = type_in()
    assert code == 2
    assert "deleting 3 instances needs a yes" in err
    code, reply, _ = type_in("--yes")
    assert (code, reply["instances"], reply["entries"] > 3) == (0, 3, True)
    assert type_in("--yes")[1]["instances"] == 0
