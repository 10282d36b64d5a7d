"""Seed 001's examples run as they were printed; only imports and lost indentation are put back."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from greenroom import (
    FormInvalid,
    FormNotComplete,
    InvalidDefinition,
    Rejected,
    SubscriptionModel,
    begin,
    done,
    inject_args,
    step,
    workflow,
)
from greenroom.runtime.testing import TestEngine
from tests.seeds.loader import indented, load, text

NEW: dict[str, Any] = {"found": True}


async def test_w3_w4_w5_the_input_step_of_the_seed_asks_and_merges(engine: TestEngine) -> None:
    user_step = load("001/inputstep.txt")["user_step"]

    @workflow
    def seed() -> Any:
        return begin >> user_step >> done

    engine.register(seed)
    instance = await engine.start("seed", {"order_id": "7"})
    await engine.until_idle()
    (ask,) = (await engine.asks.list("assignee:NOC")).items
    assert (ask.title, ask.op) == ("User step", "user_step")
    assert ask.schema["required"] == ["name"]
    with pytest.raises(FormNotComplete):
        await engine.answer(ask.id, [])
    with pytest.raises(FormInvalid):
        await engine.answer(ask.id, {"name": 5})
    await engine.answer(ask.id, {"name": "Anna"})
    assert await instance.result() == {"order_id": "7", "name": "Anna", "some extra key": True}


async def test_w8_w10_a_step_that_takes_and_returns_the_whole_state(engine: TestEngine) -> None:
    load_initial = load("001/whole_state.txt", new_state=NEW)["load_initial_state_for_modify"]

    @workflow
    def seed() -> Any:
        return begin >> step("Load")(load_initial) >> done

    engine.register(seed)
    state = {"customer_id": "c", "subscription_id": "s"}
    instance = await engine.start("seed", state)
    assert await instance.result() == {**state, "found": True}


async def test_w8_the_same_with_arguments_by_name(engine: TestEngine) -> None:
    injected = load("001/injected.txt", new_state=NEW)["load_initial_state_for_modify"]

    @workflow
    def seed() -> Any:
        return begin >> step("Load")(injected) >> done

    engine.register(seed)
    state = {"customer_id": str(uuid4()), "subscription_id": str(uuid4()), "other": 1}
    instance = await engine.start("seed", state)
    assert await instance.result() == {**state, "found": True}
    assert inject_args(injected)(state) == {**state, "found": True}


def test_w8_w9_a_parameter_with_a_default_may_be_missing() -> None:
    seen: dict[str, Any] = {}
    do_stuff = load("001/defaults.txt", new_state=seen)["do_stuff_with_saps"]
    id = uuid4()

    def looked(subscription_id: UUID, sap1: dict[str, Any], sap2: Any = None) -> Any:
        seen.update(id=subscription_id, sap1=sap1, sap2=sap2)
        return do_stuff(subscription_id, sap1, sap2)

    found = inject_args(looked)({"subscription_id": str(id), "sap1": {"port": 1}})
    assert (found["id"], found["sap2"]) == (id, None)
    run = inject_args(do_stuff)
    assert run({"subscription_id": str(id), "sap1": {}, "sap2": {}})["id"] == id
    for missing in ("subscription_id", "sap1"):
        state = {"subscription_id": str(id), "sap1": {}}
        del state[missing]
        with pytest.raises(Rejected, match=missing):
            run(state)


class Sn8LightPath(SubscriptionModel, product="SN8 LightPath"):
    speed: int = 1000


async def test_w11_w12_w13_a_domain_model_is_made_loaded_and_saved(engine: TestEngine) -> None:
    do_stuff = load("001/domain_model.txt", Sn8LightPath=Sn8LightPath)["do_stuff"]

    @step("Speed up")
    def faster(light_path: Sn8LightPath) -> dict[str, Any]:
        light_path.speed = 10_000
        return do_stuff(light_path)  # type: ignore[no-any-return]

    @workflow
    def seed() -> Any:
        return begin >> step("Do stuff")(do_stuff) >> faster >> done

    @workflow
    def modify() -> Any:
        return begin >> step("Do stuff")(do_stuff) >> done

    engine.register(seed, modify)
    new = {"product": "SN8 LightPath", "customer_id": "surf"}
    path = (await (await engine.start("seed", new)).result())["light_path"]
    assert (path["customer_id"], path["version"], path["speed"]) == ("surf", 2, 10_000)
    id = path["subscription_id"]
    for value in (id, {"subscription_id": id, "speed": 1}):
        again = await (await engine.start("modify", {"light_path": value})).result()
        assert again["light_path"] == path
    assert [one.op for one in (await engine.resources.history(id)).items] == ["do_stuff", "faster"]


def test_w7_an_example_without_its_decorator_is_no_step() -> None:
    injected = load("001/injected.txt", new_state=NEW)["load_initial_state_for_modify"]
    with pytest.raises(InvalidDefinition, match="load_initial_state_for_modify is not a step"):
        begin >> injected


def test_the_indentation_lost_in_print_is_put_back_by_rule() -> None:
    printed = text("001/inputstep.txt")
    assert not any(line.startswith(" ") for line in printed.splitlines())
    assert [line.strip() for line in indented(printed).splitlines()] == printed.splitlines()
    assert "\n        name: str\n    user_input = yield Form\n" in indented(printed)
    assert indented("def f():\n    return 1\n") == "def f():\n    return 1\n"
