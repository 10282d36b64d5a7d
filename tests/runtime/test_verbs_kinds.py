"""The verbs on workflows written as documents and as classes; `test_verbs` has every cell of the table
for step lists and functions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import (
    Event,
    GreenroomError,
    InvalidTransition,
    NeedsAnswer,
    NotFound,
    Wait,
    Workflow,
    retrystep,
    step,
)
from greenroom.definitions.catalog import offer
from tests.runtime.kits import MemoryEngine

GATES: list[asyncio.Future[None]] = []
BROKEN: set[str] = set()
KINDS = ("document", "class")
kinds = pytest.mark.parametrize("kind", KINDS)


@offer(name="hold")
@step("hold")
async def hold() -> dict[str, Any]:
    GATES.append(asyncio.get_running_loop().create_future())
    await GATES[-1]
    return {"held": True}


@offer(name="breaks")
@step("breaks")
async def breaks() -> dict[str, Any]:
    if "breaks" in BROKEN:
        raise ValueError("no")
    return {"mended": True}


@offer(name="flaky")
@retrystep("flaky", delay="10m", jitter=0)
async def flaky() -> dict[str, Any]:
    if "flaky" in BROKEN:
        raise OSError("not now")
    return {"tried": True}


STEPS = {"hold": hold, "breaks": breaks, "flaky": flaky}


def document(name: str) -> dict[str, Any]:
    action: dict[str, Any]
    if name == "go":
        action = {"type": "Core:WaitForEvent", "parameters": {"event_type": "go"}}
    else:
        action = {"type": "Core:Call", "parameters": {"step": name}, "transform": {"said": "::"}}
    return {
        "schema_version": 1, "name": f"document_{name}",
        "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "never"}},
        "actions": [{"order": 1, **action}, {
            "order": 2, "type": "Core:Transform", "parameters": {}, "transform": {"end": "yes"},
        }],
    }  # fmt: skip


def program(name: str) -> Any:
    class Flow(Workflow):
        async def handle(self) -> None:
            if name == "go":
                await Wait("go").execute()
            else:
                self.said = await STEPS[name]()
            self.end = "yes"

    Flow.__name__ = f"class_{name}"
    return Flow


NAMES = ("go", "hold", "breaks", "flaky")


@pytest.fixture
async def kit() -> AsyncIterator[MemoryEngine]:
    GATES.clear()
    BROKEN.clear()
    BROKEN.update(("breaks", "flaky"))
    made = [*map(program, NAMES), *map(document, NAMES)]
    async with MemoryEngine(*made) as engine:
        yield engine


async def began(kit: MemoryEngine, name: str, status: str, **options: Any) -> str:
    id = str((await kit.start(name, {}, **options)).id)
    await kit.quiet()
    assert (await kit.get(id)).status == status, (await kit.get(id)).error
    return id


async def ends(kit: MemoryEngine, id: str, status: str = "completed") -> Any:
    await kit.quiet()
    found = await kit.get(id)
    assert found.status == status, found.error
    return found.state


async def refused(kit: MemoryEngine, id: str, verb: Any, error: type[GreenroomError]) -> None:
    before = (await kit.history(id)).items
    with pytest.raises(error):
        await verb
    assert (await kit.history(id)).items == before


@kinds
async def test_pause_and_resume(kit: MemoryEngine, kind: str) -> None:
    id = await began(kit, f"{kind}_hold", "running")
    said = await kit.pause(id, by="ann")
    assert (said.status, said.pending) == ("running", "pause")
    await refused(kit, id, kit.migrate(id, 9), NotFound)
    GATES[-1].set_result(None)
    await kit.quiet()
    assert (await kit.get(id)).status == "paused"
    assert (await kit.pause(id)).status == "paused"
    await kit.resume(id)
    assert (await ends(kit, id))["end"] == "yes"
    for verb in (kit.pause(id), kit.resume(id), kit.cancel(id)):
        await refused(kit, id, verb, InvalidTransition)


@kinds
async def test_what_waits_for_an_event_is_not_resumed(kit: MemoryEngine, kind: str) -> None:
    id = await began(kit, f"{kind}_go", "waiting", key="k")
    await refused(kit, id, kit.resume(id), NeedsAnswer)
    await kit.edit(id, {"note": "by hand"})
    await kit.pause(id)
    assert (await kit.send(id, Event(type="go"))).matched is False
    await kit.resume(id)
    assert (await ends(kit, id))["note"] == "by hand"


@kinds
async def test_a_failure_is_resumed_or_skipped(kit: MemoryEngine, kind: str) -> None:
    for verb in ("resume", "skip"):
        BROKEN.add("breaks")
        id = await began(kit, f"{kind}_breaks", "failed")
        await refused(kit, id, kit.pause(id), InvalidTransition)
        BROKEN.discard("breaks")
        if verb == "resume":
            await kit.resume(id)
        else:
            failed = [e for e in (await kit.history(id)).items if e.kind == "StepFailed"]
            await kit.skip(id, failed[-1].op, {"mended": "by hand"})
        assert (await ends(kit, id))["end"] == "yes"


@kinds
async def test_a_retry_is_made_at_once_or_skipped(kit: MemoryEngine, kind: str) -> None:
    id = await began(kit, f"{kind}_flaky", "waiting")
    other = await began(kit, f"{kind}_flaky", "waiting")
    BROKEN.discard("flaky")
    await kit.resume(id)
    assert (await ends(kit, id))["end"] == "yes"
    op = (await kit.get(other)).waits[0].op
    await kit.skip(other, op, {"tried": "no"})
    assert (await ends(kit, other))["end"] == "yes"


@kinds
async def test_cancel_in_every_live_status(kit: MemoryEngine, kind: str) -> None:
    paused = await began(kit, f"{kind}_go", "waiting")
    await kit.pause(paused)
    for id in (
        await began(kit, f"{kind}_go", "pending", delay="1h"),
        await began(kit, f"{kind}_hold", "running"),
        await began(kit, f"{kind}_go", "waiting"),
        paused,
        await began(kit, f"{kind}_breaks", "failed"),
    ):
        await kit.cancel(id, by="ann", reason="enough")
        await ends(kit, id, "cancelled")
        assert (await kit.cancel(id)).status == "cancelled"  # once more is no error
        await refused(kit, id, kit.resume(id), InvalidTransition)


@kinds
async def test_restart_and_fork(kit: MemoryEngine, kind: str) -> None:
    BROKEN.discard("breaks")
    id = await began(kit, f"{kind}_breaks", "completed", key="k")
    for verb in (kit.restart, kit.fork):
        new = await verb(id, reason="again", by="ann")
        assert new.forked_from == id
        assert (await ends(kit, new.instance))["end"] == "yes"
        assert (await kit.get(f"{kind}_breaks/k")).id == new.instance
