"""Which version a new instance gets, and what happens when code changes under a waiting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from greenroom import (
    Engine,
    ask_step,
    begin,
    conditional,
    done,
    gather,
    sleep,
    step,
    wait,
    workflow,
)


@step("Reserve")
async def reserve() -> dict[str, object]:
    return {"reserved": True}


@step("Pack")
async def pack() -> dict[str, object]:
    return {"packed": True}


@step("Check")
async def check() -> dict[str, object]:
    return {"checked": True}


def line(*steps: Any) -> Any:
    def order() -> Any:
        found = begin
        for item in steps:
            found = found >> item
        return found >> done

    return workflow(name="order")(order)


async def test_a_changed_workflow_gets_the_next_version_and_the_same_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    store = tmp_path / "app.db"
    for steps, version in (((reserve,), 1), ((reserve,), 1), ((reserve, pack), 2)):
        async with Engine.open(store, workflows=[line(*steps)]) as engine:
            instance = await engine.start("order")
            assert (await engine.get(instance.id)).version == version


async def test_without_promotion_new_instances_keep_the_released_version(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    async with Engine.open(store, workflows=[line(reserve)]):
        pass
    async with Engine.open(store, workflows=[line(reserve, pack)], promote=False) as engine:
        instance = await engine.start("order")
        assert await instance.result(timeout=5) == {"reserved": True}
        newer = await engine.start("order", version=2)
        assert await newer.result(timeout=5) == {"reserved": True, "packed": True}
    async with Engine.open(store, workflows=[line(reserve, pack)]) as engine:
        instance = await engine.start("order")
        assert await instance.result(timeout=5) == {"reserved": True, "packed": True}


async def test_an_instance_in_flight_follows_the_plan_it_began_with(tmp_path: Path) -> None:
    """A step inserted, and one renamed in its label, do not concern it."""
    store = tmp_path / "app.db"
    ask = ask_step("Go on?", key="ask")
    async with Engine.open(store, workflows=[line(reserve, ask, pack)]) as engine:
        instance = await engine.start("order")
        (waiting,) = (await until_waiting(engine, instance.id)).waits
    async with Engine.open(store, workflows=[line(check, reserve, ask, check, pack)]) as engine:
        await engine.answer(waiting.ask or "", {"approved": True})
        result = await engine.result(instance.id, timeout=5)
        assert result == {"reserved": True, "packed": True, "ask": {"approved": True}}


async def test_a_step_that_is_gone_parks_the_instance_when_it_is_reached(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    ask = ask_step("Go on?", key="ask")
    async with Engine.open(store, workflows=[line(reserve, ask, pack)]) as engine:
        instance = await engine.start("order")
        (waiting,) = (await until_waiting(engine, instance.id)).waits
    async with Engine.open(store, workflows=[line(reserve, ask)]) as engine:
        await engine.answer(waiting.ask or "", {"approved": True})
        found = await engine.outcome(instance.id, timeout=5)
        assert found.status == "failed" and found.error is not None
        assert found.error.code == "code_changed" and found.error.details["journal"] == ["pack"]
    async with Engine.open(store, workflows=[line(reserve, ask, pack)]) as engine:
        await engine.resume(instance.id)
        assert (await engine.result(instance.id, timeout=5))["packed"] is True


async def until_waiting(engine: Engine, id: str) -> Any:
    async for _ in engine.watch(id):
        found = await engine.get(id)
        if found.status == "waiting":
            return found
    raise AssertionError("it never waited")


def program(kind: str) -> Any:
    """The recorded code, and four ways of changing what is behind the wait."""

    async def recorded() -> object:
        await reserve()
        await wait("go")
        return await pack()

    async def renamed() -> object:
        await check()
        await wait("go")
        return await pack()

    async def inserted() -> object:
        await reserve()
        await check()
        await wait("go")
        return await pack()

    async def removed() -> object:
        await wait("go")
        return await pack()

    async def early() -> object:
        await reserve()
        return "early"

    async def behind() -> object:
        await reserve()
        await wait("go")
        await gather(check(), sleep("1ms"))
        return "behind"

    found = {f.__name__: f for f in (recorded, renamed, inserted, removed, early, behind)}
    return workflow(name="flow")(found[kind])


async def changed_under(store: Path, kind: str) -> tuple[Engine, str]:
    async with Engine.open(store, workflows=[program("recorded")]) as engine:
        instance = await engine.start("flow")
        await until_waiting(engine, instance.id)
    return Engine.open(store, workflows=[program(kind)]), instance.id


async def test_changed_code_parks_with_both_sides_and_runs_nothing(tmp_path: Path) -> None:
    expected = {
        "renamed": (["1 call Reserve()"], ["1 call Check()"]),
        "inserted": (["2 wait go()"], ["2 call Check()"]),
        "removed": (["1 call Reserve()"], ["1 wait go()"]),
        "early": (["2 wait go()"], ["nothing"]),
    }
    for kind, sides in expected.items():
        opening, id = await changed_under(tmp_path / f"{kind}.db", kind)
        async with opening as engine:
            await engine.post({"type": "go"})
            found = await engine.outcome(id, timeout=5)
            assert found.error is not None and found.error.code == "code_changed", kind
            details = found.error.details
            assert (details["journal"], details["code"]) == sides, kind
            lines = (await engine.why(id)).text
            assert sides[0][0] in lines and sides[1][0] in lines
        async with Engine.open(tmp_path / f"{kind}.db", workflows=[program("recorded")]) as engine:
            await engine.resume(id)
            assert await engine.result(id, timeout=5) == {"packed": True}


async def test_a_change_behind_the_place_where_it_waits_is_welcome(tmp_path: Path) -> None:
    opening, id = await changed_under(tmp_path / "app.db", "behind")
    async with opening as engine:
        await engine.post({"type": "go"})
        assert await engine.result(id, timeout=5) == "behind"


async def test_a_guard_is_asked_of_todays_code(tmp_path: Path) -> None:
    guarded = line(reserve, conditional(lambda state: state["reserved"])(pack))
    async with Engine.open(tmp_path / "app.db", workflows=[guarded]) as engine:
        instance = await engine.start("order")
        assert (await instance.result(timeout=5))["packed"] is True
