"""Resources in a running engine: loaded afresh, saved with the step, crashes, faces."""

from __future__ import annotations

import asyncio
import gc
import pickle
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from greenroom import (
    Client,
    Engine,
    FormError,
    FormPage,
    InstanceFailed,
    InvalidRequest,
    Resource,
    ResourceNotFound,
    State,
    StepContext,
    SyncClient,
    Task,
    Workflow,
    begin,
    done,
    foreach,
    gather,
    inputstep,
    parallel,
    retrystep,
    step,
    step_group,
    workflow,
)
from greenroom.actors.ports import Append
from greenroom.runtime import calls
from tests.runtime.kits import FileEngine, MemoryEngine

GATES: dict[str, asyncio.Future[Any]] = {}
SEEN: list[Any] = []


async def gate(name: str) -> None:
    GATES[name] = asyncio.get_running_loop().create_future()
    await GATES[name]


class LightPath(Resource, product="rt light path"):
    speed: int = 1000
    note: str = ""


class Port(Resource):
    location: str = ""


class Copper(Port, product="rt copper"):
    pairs: int = 4


class Fibre(Port, product="rt fibre"):
    mode: str = "single"


class Box(msgspec.Struct):
    label: str
    content: Any


@step("Do stuff")
def do_stuff(light_path: LightPath) -> State:
    return {"light_path": light_path}


@step("Faster")
async def faster(light_path: LightPath) -> State:
    SEEN.append((light_path.id, light_path.speed, light_path.version))
    light_path.speed += 1
    return {"light_path": light_path}


@step("Look")
def look(light_path: LightPath) -> State:
    light_path.speed = -1
    light_path.note = "changed and kept to itself"
    return {"looked": True}


@step("Slow")
async def slow(light_path: LightPath) -> State:
    SEEN.append(("slow", light_path.version))
    await gate("slow")
    light_path.note += "s"
    return {"light_path": light_path}


@retrystep("Slow again", delay="10s", jitter=0)
async def slow_again(light_path: LightPath) -> State:
    SEEN.append(("again", light_path.version))
    if len(SEEN) == 1:
        await gate("again")
    light_path.note += "a"
    return {"light_path": light_path}


@workflow
def create() -> Any:
    return begin >> do_stuff >> done


@workflow
def modify() -> Any:
    return begin >> faster >> done


@workflow
def peek() -> Any:
    return begin >> look >> done


@workflow
def slowly() -> Any:
    return begin >> slow >> done


@workflow
def patiently() -> Any:
    return begin >> slow_again >> done


@workflow
def three() -> Any:
    return begin >> do_stuff >> faster >> faster >> done


NEW = {"product": "rt light path", "customer_id": "surf"}
WORKFLOWS = (create, modify, peek, slowly, patiently, three)


@pytest.fixture(params=["memory", "file"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    GATES.clear()
    SEEN.clear()
    made = (
        MemoryEngine(*WORKFLOWS)
        if request.param == "memory"
        else FileEngine(tmp_path / "app.db", *WORKFLOWS)
    )
    async with made as engine:
        yield engine


async def made(kit: Any, **given: Any) -> dict[str, Any]:
    """A new light path, as its instance's state has it."""
    instance = await kit.start("create", {**NEW, **given})
    path: dict[str, Any] = (await instance.result())["light_path"]
    return path


async def failure(kit: Any, workflow: str, input: dict[str, Any]) -> Any:
    instance = await kit.start(workflow, input)
    with pytest.raises(InstanceFailed):
        await instance.result()
    return (await kit.get(instance.id)).error


async def versions(kit: Any, id: str) -> list[tuple[int, str]]:
    return [(one.version, one.op) for one in (await kit.resources.history(id)).items]


# -- W11: loading ------------------------------------------------------------------------------


async def test_w11_a_step_is_given_what_the_store_has_and_not_what_the_state_says(
    kit: MemoryEngine,
) -> None:
    path = await made(kit)
    for value in (path["id"], path["id"].upper(), {"subscription_id": path["id"]},
                  {**path, "speed": 7, "version": 99, "status": "terminated"}):  # fmt: skip
        before = (await kit.resources.get(path["id"])).data["speed"]
        result = await (await kit.start("modify", {"light_path": value})).result()
        assert result["light_path"]["speed"] == before + 1
    assert SEEN[-1] == (UUID(path["id"]), 1003, 4)


async def test_w11_an_unknown_id_fails_as_resource_not_found(kit: MemoryEngine) -> None:
    id = str(uuid4())
    error = await failure(kit, "modify", {"light_path": id})
    assert (error.code, error.details["type"]) == ("step_failed", "ResourceNotFound")
    assert error.details["op"] == "faster"
    assert f"there is no resource {id} for light_path" in error.message
    assert SEEN == []


async def test_w11_a_dict_without_an_id_fails(kit: MemoryEngine) -> None:
    error = await failure(kit, "modify", {"light_path": {"speed": 1}})
    assert error.details["type"] == "StepInput"
    assert "light_path must be the id of a resource, or a dict that has it" in error.message


async def test_w11_an_object_of_another_kind_fails(kit: MemoryEngine) -> None:
    @workflow
    def copper() -> Any:
        @step("Make")
        def make() -> State:
            return {"light_path": Copper(customer_id="surf")}

        return begin >> make >> faster >> done

    kit.register(copper)
    error = await failure(kit, "copper", {})
    assert error.details["type"] == "StepInput" and "is a Copper of product" in error.message


async def test_w11_once_the_resource_is_there_the_instance_is_resumed(kit: MemoryEngine) -> None:
    state = {"light_path": str(uuid4())}
    instance = await kit.start("modify", state)
    await kit.quiet()
    path = await made(kit)
    forked = await kit.fork(instance.id, state={"light_path": path["id"]})
    assert (await kit.result(forked.instance))["light_path"]["version"] == 2


# -- W12: saving -------------------------------------------------------------------------------


async def test_w12_what_is_returned_is_saved_with_its_history(kit: MemoryEngine) -> None:
    instance = await kit.start("three", NEW)
    path = (await instance.result())["light_path"]
    assert (path["version"], path["speed"]) == (3, 1002)
    stored = await kit.resources.get(path["id"])
    assert (stored.type, stored.version, stored.data) == (
        "LightPath", 3, {"speed": 1002, "note": ""},
    )  # fmt: skip
    first, second, third = (await kit.resources.history(path["id"])).items
    assert {one.instance for one in (first, second, third)} == {instance.id}
    assert [one.op for one in (first, second, third)] == ["do_stuff", "faster", "faster#2"]
    assert first.changes["speed"].before is None and first.changes["customer_id"].after == "surf"
    assert msgspec.to_builtins(third.changes) == {"speed": {"before": 1001, "after": 1002}}
    done_at = [e.pos for e in (await kit.history(instance.id)).items if e.kind == "StepCompleted"]
    assert [one.pos for one in (first, second, third)] == done_at


async def test_w12_requested_and_not_returned_is_not_saved(kit: MemoryEngine) -> None:
    path = await made(kit)
    assert (await (await kit.start("peek", {"light_path": path["id"]})).result())["looked"]
    stored = await kit.resources.get(path["id"])
    assert (stored.version, stored.data) == (1, {"speed": 1000, "note": ""})


async def test_w12_returned_unchanged_is_no_new_version(kit: MemoryEngine) -> None:
    path = await made(kit)
    again = await (await kit.start("create", {"light_path": path["id"]})).result()
    assert again["light_path"] == path
    assert await versions(kit, path["id"]) == [(1, "do_stuff")]


async def test_w12_new_and_changed_ones_are_saved_wherever_they_are_in_the_result(
    kit: MemoryEngine,
) -> None:
    @workflow
    def deep() -> Any:
        @step("Deep")
        async def deep(light_path: LightPath) -> State:
            light_path.speed = 1
            return {
                "list": [Fibre(location="a"), {"deep": [light_path]}],
                "box": Box("b", Fibre(location="c")), "pair": (Copper(), 1), "same": light_path,
            }  # fmt: skip

        return begin >> deep >> done

    kit.register(deep)
    path = await made(kit)
    instance = await kit.start("deep", {"light_path": path["id"]})
    state = await instance.result()
    assert state["list"][1]["deep"][0] == state["same"]
    assert state["same"] == {**path, "speed": 1, "version": 2}
    saved = (await kit.resources.list(f"instance:{instance.id}")).items
    assert {one.id for one in saved} == {
        path["id"], state["list"][0]["id"], state["box"]["content"]["id"], state["pair"][0]["id"],
    }  # fmt: skip
    assert {one.version for one in saved if one.id != path["id"]} == {1}


async def test_w12_one_resource_twice_and_not_the_same_fails(kit: MemoryEngine) -> None:
    @workflow
    def twice() -> Any:
        @step("Twice")
        async def twice(a: LightPath, b: LightPath) -> State:
            a.speed = 1
            return {"a": a, "b": b}

        return begin >> twice >> done

    kit.register(twice)
    path = await made(kit)
    error = await failure(kit, "twice", {"a": path["id"], "b": path["id"]})
    assert "twice, and not the same" in error.message
    assert (await kit.resources.get(path["id"])).version == 1


async def test_w12_a_stale_version_fails_as_stale_resource_and_resume_loads_it_again(
    kit: MemoryEngine,
) -> None:
    path = await made(kit)
    instance = await kit.start("slowly", {"light_path": path["id"]})
    await kit.quiet()
    await (await kit.start("modify", {"light_path": path["id"]})).result()
    GATES["slow"].set_result(None)
    await kit.quiet()
    error = (await kit.get(instance.id)).error
    assert (error.details["type"], error.details["found"], error.details["read"]) == (
        "StaleResource", 2, 1,
    )  # fmt: skip
    assert "is at version 2, the step read version 1" in error.message
    assert (await kit.resources.get(path["id"])).data["note"] == ""
    state = (await kit.get(instance.id)).state
    assert state == {"light_path": path["id"]}
    await kit.resume(instance.id)
    await kit.quiet()
    GATES["slow"].set_result(None)
    assert (await kit.result(instance.id))["light_path"]["version"] == 3
    assert await versions(kit, path["id"]) == [(1, "do_stuff"), (2, "faster"), (3, "slow")]


async def test_w12_a_retrystep_tries_again_with_what_is_there_now(kit: MemoryEngine) -> None:
    path = await made(kit)
    instance = await kit.start("patiently", {"light_path": path["id"]})
    await kit.quiet()
    await (await kit.start("peek", {"light_path": path["id"]})).result()
    SEEN.clear()
    await (await kit.start("modify", {"light_path": path["id"]})).result()
    GATES["again"].set_result(None)
    await kit.quiet()
    waiting = await kit.get(instance.id)
    assert (waiting.status, waiting.waits[0].kind) == ("waiting", "retry")
    assert waiting.waits[0].error.details["type"] == "StaleResource"
    await kit.advance_quiet("10s")
    assert (await kit.result(instance.id))["light_path"]["note"] == "a"
    assert SEEN[-1] == ("again", 2)


async def test_w12_of_two_that_save_at_once_one_wins(kit: MemoryEngine) -> None:
    path = await made(kit)
    first = await kit.start("slowly", {"light_path": path["id"]})
    await kit.quiet()
    gate_one = GATES["slow"]
    second = await kit.start("slowly", {"light_path": path["id"]})
    await kit.quiet()
    gate_one.set_result(None)
    GATES["slow"].set_result(None)
    await kit.quiet()
    statuses = sorted([(await kit.get(one.id)).status for one in (first, second)])
    assert statuses == ["completed", "failed"]
    assert (await kit.resources.get(path["id"])).data["note"] == "s"


async def test_w12_a_result_that_cannot_be_recorded_saves_nothing(kit: MemoryEngine) -> None:
    @workflow
    def wrong() -> Any:
        @step("Wrong")
        async def wrong(light_path: LightPath, how: str) -> Any:
            light_path.speed = 5
            return {
                "list": [light_path], "reserved": {"x": light_path, "run": 1} | {"event": light_path},
                "bare": light_path, "bad": {"x": light_path, "y": object()},
            }[how]  # fmt: skip

        return begin >> wrong >> done

    @workflow
    def reserved() -> Any:
        @step("Reserved")
        async def reserved(light_path: LightPath) -> Any:
            light_path.speed = 5
            return {"event": light_path}

        return begin >> reserved >> done

    kit.register(wrong, reserved)
    path = await made(kit)
    for how, text in (
        ("list", "must return a dict or None, got list"), ("reserved", 'may not return "event"'),
        ("bare", "returned LightPath itself"), ("bad", "cannot be stored"),
    ):  # fmt: skip
        error = await failure(kit, "wrong", {"light_path": path["id"], "how": how})
        assert text in error.message
    error = await failure(kit, "reserved", {"light_path": path["id"]})
    assert 'may not return "event"' in error.message
    assert (await kit.resources.get(path["id"])).version == 1


async def test_w12_a_value_spoilt_in_place_fails_naming_the_field(kit: MemoryEngine) -> None:
    @workflow
    def spoilt() -> Any:
        @step("Spoil")
        async def spoil(light_path: LightPath) -> State:
            vars(light_path)["speed"] = "fast"
            return {"light_path": light_path}

        return begin >> spoil >> done

    kit.register(spoilt)
    path = await made(kit)
    error = await failure(kit, "spoilt", {"light_path": path["id"]})
    assert "LightPath.speed: Expected `int`, got `str`" in error.message


# -- W13: creating -----------------------------------------------------------------------------


async def test_w13_a_new_one_has_the_same_id_in_every_attempt(kit: MemoryEngine) -> None:
    ids: list[UUID] = []

    @workflow
    def flaky() -> Any:
        @retrystep("Flaky", delay="1s", jitter=0)
        async def flaky(light_path: LightPath) -> State:
            ids.append(light_path.id)
            if len(ids) < 3:
                raise ConnectionError("no")
            return {"light_path": light_path}

        return begin >> flaky >> done

    kit.register(flaky)
    first = await kit.start("flaky", NEW)
    await kit.advance("5s")
    assert (await first.result())["light_path"]["id"] == str(ids[0])
    assert len(ids) == 3 and len(set(ids)) == 1
    ids.clear()
    second = await kit.start("flaky", NEW)
    await kit.advance("5s")
    assert (await second.result())["light_path"]["id"] != (await first.result())["light_path"]["id"]


async def test_w13_missing_product_or_customer_fails_naming_them(kit: MemoryEngine) -> None:
    error = await failure(kit, "create", {"customer_id": "surf"})
    assert error.details["type"] == "MissingState"
    assert error.details["missing"] == ["product"]
    assert 'it needs "product", the state has: customer_id' in error.message


async def test_w13_a_product_nobody_has_fails_with_those_there_are(kit: MemoryEngine) -> None:
    error = await failure(kit, "create", {"product": "x", "customer_id": "surf"})
    assert "LightPath has no product 'x', it has: rt light path" in error.message


async def test_w13_two_new_ones_in_one_step_are_refused(kit: MemoryEngine) -> None:
    @workflow
    def both() -> Any:
        @step("Both")
        async def both(a: LightPath, b: LightPath) -> State:
            return {"a": a, "b": b}

        return begin >> both >> done

    kit.register(both)
    error = await failure(kit, "both", dict(NEW))
    assert error.details["keys"] == ["a", "b"]
    assert (await kit.resources.list()).items == []
    path = await made(kit)
    state = await (await kit.start("both", {**NEW, "a": path["id"]})).result()
    assert state["a"]["id"] == path["id"] != state["b"]["id"]


# -- W14: optional, lists, variants ------------------------------------------------------------


async def test_w14_optional_lists_and_variants(kit: MemoryEngine) -> None:
    @workflow
    def ports() -> Any:
        @step("Make")
        async def make() -> State:
            return {"a": Copper(location="x"), "b": Fibre(location="y")}

        @step("All")
        async def all_of(
            ports: list[Port], one: Port, other: Copper | Fibre, none: Port | None
        ) -> State:
            ports[0].location = "z"
            kinds = [type(port).__name__ for port in (*ports, one, other)]
            return {"kinds": kinds, "none": none is None, "ports": ports}

        @step("Gather")
        async def gather_ids(a: dict[str, Any], b: dict[str, Any]) -> State:
            return {"ports": [a["id"], b], "one": b, "other": a["id"]}

        return begin >> make >> gather_ids >> all_of >> done

    kit.register(ports)
    state = await (await kit.start("ports", {})).result()
    assert state["kinds"] == ["Copper", "Fibre", "Fibre", "Copper"]
    assert state["none"] is True
    assert [(port["location"], port["version"]) for port in state["ports"]] == [("z", 2), ("y", 1)]


# -- programs, tasks, forms, processes ---------------------------------------------------------


async def test_w11_w12_steps_of_a_program_load_and_save_too(kit: MemoryEngine) -> None:
    class Make(Task):
        async def handle(self) -> Any:
            return LightPath(customer_id="surf")

    class Flow(Workflow):
        async def handle(self) -> Any:
            path = await Make().execute()
            await faster(light_path=path["id"])
            both = await gather(
                faster(light_path=path),
                look(light_path=path),
            )
            return both[0]["light_path"]

    kit.register(Flow)
    result = await (await kit.start("Flow", {})).result()
    assert (result["version"], result["speed"]) == (3, 1002)
    assert [v for v, _ in await versions(kit, result["id"])] == [1, 2, 3]


async def test_w11_a_form_reads_resources_and_saves_none(kit: MemoryEngine) -> None:
    class Speed(FormPage):
        speed: int

    @inputstep("How fast?")
    def ask(light_path: LightPath) -> Any:
        class Page(FormPage):
            speed: int = light_path.speed

        answer = yield Page
        if answer.speed < 0:
            light_path.speed = answer.speed
            return {"light_path": light_path}
        return {"speed": answer.speed, "light_path": light_path}

    @workflow
    def asks() -> Any:
        return begin >> ask >> done

    kit.register(asks)
    path = await made(kit)
    instance = await kit.start("asks", {"light_path": path["id"]})
    await kit.quiet()
    (question,) = (await kit.asks.list()).items
    assert question.schema["properties"]["speed"]["default"] == 1000
    with pytest.raises(FormError, match="a form saves nothing"):
        await kit.answer(question.id, {"speed": -1})
    await kit.answer(question.id, {"speed": 5})
    assert (await instance.result())["light_path"] == path


async def give_back(light_path: LightPath) -> State:
    SEEN.append(("given back", light_path.version, light_path.note))
    light_path.note = "given back"
    return {"light_path": light_path}


@step("Take", compensate=give_back)
async def take(light_path: LightPath) -> State:
    light_path.note = "taken"
    return {"light_path": light_path}


@step("Boom")
async def boom() -> None:
    raise OSError("no")


@step("Locate")
async def locate(item: Port, index: int) -> State:
    item.location = f"rack {index}"
    return {"item": item}


async def test_w12_groups_lanes_and_items_load_and_save(kit: MemoryEngine) -> None:
    @step("Ports")
    async def ports_of(light_path: LightPath) -> State:
        return {"light_path": light_path, "ports": [Fibre(), Copper(), Fibre()]}

    @workflow
    def structured() -> Any:
        return (
            begin
            >> step_group("Prepare", begin >> ports_of >> faster)
            >> foreach("Each port", locate, over="ports", key="each")
            >> parallel("Both", looks=look, faster=faster)
            >> done
        )

    kit.register(structured)
    instance = await kit.start("structured", NEW)
    state = await instance.result()
    ports = (await kit.resources.list(f"instance:{instance.id}")).items
    racks = sorted(one.data["location"] for one in ports if "location" in one.data)
    assert racks == ["rack 0", "rack 1", "rack 2"]
    path = await kit.resources.get(state["light_path"]["id"])
    assert (path.version, path.data["speed"]) == (3, 1002)
    assert {one.version for one in ports if one.type == "Fibre"} == {2}


async def test_w12_what_takes_a_step_back_loads_and_saves_too(kit: MemoryEngine) -> None:
    @workflow
    def saga() -> Any:
        return begin >> take >> boom >> done

    kit.register(saga)
    path = await made(kit)
    instance = await kit.start("saga", {"light_path": path["id"]})
    await kit.quiet()
    assert SEEN == [("given back", 2, "taken")]
    assert (await kit.get(instance.id)).status == "cancelled"
    assert (await kit.resources.get(path["id"])).data["note"] == "given back"


@step("In a process", executor="process")
def in_a_process(light_path: LightPath) -> State:
    light_path.note = "from a process"
    return {"light_path": light_path}


@pytest.mark.slow
async def test_w12_a_step_in_another_process_saves_what_it_returns(tmp_path: Path) -> None:
    @workflow
    def processes() -> Any:
        return begin >> do_stuff >> in_a_process >> done

    async with FileEngine(tmp_path / "app.db", processes) as kit:
        path = (await (await kit.start("processes", NEW)).result(timeout=50))["light_path"]
        assert (path["version"], path["note"]) == (2, "from a process")
        assert (await kit.resources.get(path["id"])).data["note"] == "from a process"
        assert pickle.loads(pickle.dumps(LightPath())).speed == 1000


# -- C21: crashes ------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True])
async def test_c21_a_crash_before_or_after_the_commit_saves_once(stored: bool) -> None:
    SEEN.clear()
    async with MemoryEngine(*WORKFLOWS) as kit:
        path = await made(kit)
        instance = await kit.start("slowly", {"light_path": path["id"]})
        await kit.quiet()
        kit.store.crash_next(stored=stored)
        GATES["slow"].set_result(None)
        for _ in range(50):
            await asyncio.sleep(0)
        await kit.crash()
        if not stored:
            assert (await kit.resources.get(path["id"])).version == 1
            GATES["slow"].set_result(None)
        result = (await kit.result(instance.id))["light_path"]
        assert (result["version"], result["note"]) == (2, "s")
        assert [("slow", 1)] * (1 if stored else 2) == SEEN
        assert await versions(kit, path["id"]) == [(1, "do_stuff"), (2, "slow")]


async def test_c21_a_crash_in_the_middle_of_the_step_runs_it_again_on_what_is_there_then() -> None:
    SEEN.clear()
    async with MemoryEngine(*WORKFLOWS) as kit:
        path = await made(kit)
        instance = await kit.start("slowly", {"light_path": path["id"]})
        await kit.quiet()
        await (await kit.start("modify", {"light_path": path["id"]})).result()
        await kit.crash()
        GATES["slow"].set_result(None)
        assert (await kit.result(instance.id))["light_path"]["version"] == 3
        assert await versions(kit, path["id"]) == [(1, "do_stuff"), (2, "faster"), (3, "slow")]


async def test_c21_a_crash_while_a_new_one_is_made_leaves_one() -> None:
    @workflow
    def slow_create() -> Any:
        return begin >> slow >> done

    async with MemoryEngine(slow_create) as kit:
        instance = await kit.start("slow_create", NEW)
        await kit.quiet()
        await kit.crash()
        GATES["slow"].set_result(None)
        id = (await kit.result(instance.id))["light_path"]["id"]
        assert [one.id for one in (await kit.resources.list()).items] == [id]


async def test_c21_a_cancelled_step_saves_nothing(kit: MemoryEngine) -> None:
    path = await made(kit)
    instance = await kit.start("slowly", {"light_path": path["id"]})
    await kit.quiet()
    await kit.cancel(instance.id)
    await kit.quiet()
    assert (await kit.get(instance.id)).status == "cancelled"
    assert (await kit.resources.get(path["id"])).version == 1


async def test_c21_an_instance_cancelled_while_its_resources_are_read_never_runs_the_step(
    kit: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await made(kit)
    held: list[Any] = []
    submit = kit.journal.submit

    def late(work: Any, answer: Any) -> None:
        if type(work).__name__ == "GetResources":
            held.append((work, answer))
        else:
            submit(work, answer)

    monkeypatch.setattr(kit.journal, "submit", late)
    instance = await kit.start("modify", {"light_path": path["id"]})
    await kit.quiet()
    await kit.cancel(instance.id)
    await kit.quiet()
    ((work, answer),) = held
    submit(work, answer)
    await kit.quiet()
    assert SEEN == [] and (await kit.get(instance.id)).status == "cancelled"


async def test_c21_resources_state_and_the_record_of_the_step_are_one_append(
    kit: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    works: list[Append] = []
    submit = kit.journal.submit

    def noted(work: Any, answer: Any) -> None:
        if isinstance(work, Append):
            works.append(work)
        submit(work, answer)

    monkeypatch.setattr(kit.journal, "submit", noted)
    await (await kit.start("three", NEW)).result()
    assert [[row.kind for row in work.rows] for work in works if work.resources] == ([["done"]] * 3)


async def test_c21_transactional_statements_and_resources_go_together(kit: MemoryEngine) -> None:
    @workflow
    def both() -> Any:
        @step("Both", mode="transactional")
        async def both(light_path: LightPath, ctx: Any, sql: str) -> State:
            light_path.speed = 7
            ctx.sql(sql)
            return {"light_path": light_path}

        return begin >> both >> done

    kit.register(both)
    path = await made(kit)
    error = await failure(kit, "both", {"light_path": path["id"], "sql": "nonsense"})
    assert error.details["type"] == "StatementFailed"
    assert (await kit.resources.get(path["id"])).version == 1
    given = {"light_path": path["id"], "sql": "CREATE TABLE mine (a)"}
    await (await kit.start("both", given)).result()
    assert (await kit.resources.get(path["id"])).data["speed"] == 7


# -- faces -------------------------------------------------------------------------------------


async def test_resources_are_listed_filtered_and_paged(kit: MemoryEngine) -> None:
    paths = []
    for customer in ("a", "b", "b"):
        paths.append(await made(kit, customer_id=customer))
        await kit.advance("1s")
    ids = [path["id"] for path in reversed(paths)]
    assert [one.id for one in (await kit.resources.list()).items] == ids
    one = await kit.resources.list(limit=2)
    two = await kit.resources.list(limit=2, cursor=one.cursor)
    assert [row.id for row in (*one.items, *two.items)] == ids and two.cursor is None
    assert len((await kit.resources.list("customer:b")).items) == 2
    assert len((await kit.resources.list('product:"rt light path" customer:a')).items) == 1
    assert (await kit.resources.list("status:active")).items == []
    first = (await kit.list("workflow:create")).items[-1]
    assert [row.id for row in (await kit.resources.list(f"instance:{first.id}")).items] == [ids[-1]]
    assert (await kit.resources.list(f"instance:{uuid4()}")).items == []
    assert (await kit.resources.get(ids[0][:8])).id == ids[0]


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda r: r.list("colour:red"), InvalidRequest, "resources have no 'colour' to look for"),
        (lambda r: r.list("statuses:x"), InvalidRequest, "did you mean \"?status"),
        (lambda r: r.list('product:"x'), InvalidRequest, "open quote"),
        (lambda r: r.list(cursor="x"), InvalidRequest, "'x' is not a cursor"),
        (lambda r: r.get("0193c0de"), ResourceNotFound, "there is no resource 0193c0de"),
        (lambda r: r.history(str(uuid4())), ResourceNotFound, "there is no resource"),
    ],
)  # fmt: skip
async def test_wrong_questions_are_refused(
    ask: Any, error: type[Exception], text: str, kit: MemoryEngine
) -> None:
    with pytest.raises(error, match=text):
        await ask(kit.resources)


async def test_the_history_comes_in_pages(kit: MemoryEngine) -> None:
    path = await made(kit)
    for _ in range(4):
        await (await kit.start("modify", {"light_path": path["id"]})).result()
    one = await kit.resources.history(path["id"], limit=3)
    two = await kit.resources.history(path["id"], limit=3, cursor=one.cursor)
    assert [v.version for v in (*one.items, *two.items)] == [1, 2, 3, 4, 5]
    assert (one.total, two.cursor) == (5, None)
    with pytest.raises(InvalidRequest, match="'x' is not a cursor"):
        await kit.resources.history(path["id"], cursor="x")


async def test_the_methods_of_the_socket_give_the_same(kit: MemoryEngine) -> None:
    path = await made(kit)
    page = await calls.run(kit, "resources.list", {"q": "customer:surf", "limit": 1}, None)
    got = await calls.run(kit, "resources.get", {"id": path["id"]}, None)
    history = await calls.run(kit, "resources.history", {"id": path["id"], "limit": 5}, None)
    assert page.items == [got] and history.items[0].version == 1
    with pytest.raises(InvalidRequest, match=r'resources\.get takes no "q"'):
        await calls.run(kit, "resources.get", {"id": "x", "q": ""}, None)


async def test_both_clients_have_them(kit: MemoryEngine, serve: Any) -> None:
    served = await serve(kit)
    path = await made(kit)
    async with Client(served.path) as client:
        assert (await client.resources.list("customer:surf")).items[0].id == path["id"]
        assert (await client.resources.get(path["id"])).version == 1
        history = await client.resources.history(path["id"], limit=5)
        assert history.items[0].changes["speed"].after == 1000
        with pytest.raises(ResourceNotFound, match="there is no resource"):
            await client.resources.get(str(uuid4()))

    def blocking() -> Any:
        with SyncClient(served.path) as client:
            found = client.resources.list().items[0]
            return found, client.resources.get(found.id), client.resources.history(found.id)

    listed, got, versions_ = await asyncio.to_thread(blocking)
    assert listed == got and versions_.total == 1


async def test_product_types_of_code_and_store_are_compared(kit: MemoryEngine) -> None:
    @workflow
    def various() -> Any:
        @step("Various")
        async def various() -> State:
            class Gone(Resource, product="rt gone"):
                pass

            return {"a": Fibre(), "b": Port(product="rt anything"), "gone": Gone(), "c": Fibre()}

        return begin >> various >> done

    kit.register(various)
    await (await kit.start("various", {})).result()
    gc.collect()
    found = {one.product: one for one in await kit.resources.products()}
    assert msgspec.structs.astuple(found["rt fibre"]) == ("rt fibre", ["Fibre"], 2, "same")
    assert msgspec.structs.astuple(found["rt copper"])[2:] == (0, "new")
    assert msgspec.structs.astuple(found["rt anything"])[1:] == (["Port"], 1, "same")
    assert msgspec.structs.astuple(found["rt gone"]) == ("rt gone", [], 1, "missing")


async def test_each_namespace_has_its_own(tmp_path: Path) -> None:
    async with MemoryEngine(*WORKFLOWS) as kit:
        path = await made(kit)
        other = await kit.start("modify", {"light_path": path["id"]}, namespace="test")
        with pytest.raises(InstanceFailed, match="there is no resource"):
            await other.result()
        theirs = (await (await kit.start("create", NEW, namespace="test")).result())["light_path"]
        assert [one.id for one in (await kit.resources.list()).items] == [path["id"]]
        listed = await kit.resources.list("namespace:test")
        assert [one.id for one in listed.items] == [theirs["id"]]


def test_the_blocking_engine_has_them_too(tmp_path: Path) -> None:
    with Engine.sync(tmp_path / "app.db", workflows=WORKFLOWS) as engine:
        path = engine.start("three", NEW).result(timeout=30)["light_path"]
        assert engine.resources.get(path["id"]).version == 3
        assert len(engine.resources.history(path["id"]).items) == 3
        assert [one.id for one in engine.resources.list().items] == [path["id"]]


# -- laws --------------------------------------------------------------------------------------


class Sum(Resource, product="rt sum"):
    n: int = 0
    by: list[str] = []  # noqa: RUF012


DICE = random.Random()


@retrystep("Add one", delay="1s", backoff=1, jitter=0)
async def add_one(total: Sum, ctx: StepContext) -> State:
    for _ in range(DICE.randrange(4)):
        await asyncio.sleep(0)
    total.n += 1
    total.by.append(ctx.idempotency_key)
    if DICE.random() < 0.2:
        raise ConnectionError("not now")
    return {"total": total}


@step("Make a sum")
async def make_sum() -> State:
    return {"total": Sum()}


@workflow
def sums() -> Any:
    return begin >> make_sum >> done


@workflow
def adding() -> Any:
    return begin >> add_one >> add_one >> done


@pytest.mark.parametrize("seed", range(12))
async def test_c21_whatever_collides_and_crashes_each_step_counts_once(seed: int) -> None:
    DICE.seed(seed)
    async with MemoryEngine(sums, adding) as kit:
        totals = [(await (await kit.start("sums", {})).result())["total"]["id"] for _ in range(2)]
        started = []
        for number in range(6):
            given = {"total": DICE.choice(totals)}
            started.append((await kit.start("adding", given, key=str(number))).id)
        for _ in range(3):
            kit.store.crash_next(stored=DICE.random() < 0.5)
            for _ in range(DICE.randrange(200)):
                await asyncio.sleep(0)
            await kit.crash()
            await kit.advance_quiet(f"{DICE.randrange(3)}s")
        for _ in range(60):
            await kit.advance_quiet("1s")
        done_by = []
        for id in started:
            assert (await kit.get(id)).status == "completed"
            done_by += [f"{id}/add_one", f"{id}/add_one#2"]
        rows = [await kit.resources.get(id) for id in totals]
        assert sorted(key for row in rows for key in row.data["by"]) == sorted(done_by)
        for row in rows:
            assert row.data["n"] == len(row.data["by"]) == row.version - 1
            history = (await kit.resources.history(row.id)).items
            wrote = [f"{one.instance}/{one.op}" for one in history[1:]]
            assert wrote == row.data["by"]


async def test_A13_a_test_run_saves_nothing_real_and_leaves_nothing(tmp_path: Path) -> None:
    """Of any kind of workflow: its resources are of its namespace, and gone at the next start."""
    options: dict[str, Any] = {"workflows": [create, modify]}
    async with Engine.open(tmp_path / "app.db", **options) as engine:
        real = (await (await engine.start("create", NEW)).result())["light_path"]
        trial = await engine.start("create", NEW, test=True)
        path = (await trial.result())["light_path"]
        assert (await engine.get(trial.id)).namespace == "test"
        assert [one.id for one in (await engine.resources.list()).items] == [real["id"]]
        listed = await engine.resources.list("namespace:test")
        assert [one.id for one in listed.items] == [path["id"]]
        blind = await engine.start("modify", {"light_path": real["id"]}, test=True)
        with pytest.raises(InstanceFailed, match="there is no resource"):
            await blind.result()
        assert (await engine.resources.get(real["id"])).version == 1
    async with Engine.open(tmp_path / "app.db", **options) as engine:
        assert (await engine.resources.list("namespace:test")).items == []
        assert [one.workflow for one in (await engine.list("")).items] == ["create"]
        assert (await engine.resources.get(real["id"])).version == 1
