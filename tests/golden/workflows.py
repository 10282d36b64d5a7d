"""The workflows of the golden store. They are as frozen as the store is: a workflow that changes
gets another version, and the instances in the store wait for this one."""

from __future__ import annotations

from typing import Any

from greenroom import (
    Resource,
    StepList,
    approval,
    ask_step,
    begin,
    child,
    continue_as_new,
    done,
    emit,
    gather,
    race,
    retrystep,
    sleep,
    step,
    wait,
    workflow,
)

WORLD: dict[str, Any] = {"mended": False}
"""What steps find outside."""


@step("Reserve")
async def reserve(order_id: str) -> dict[str, Any]:
    return {"reserved": order_id}


@step("Pack")
async def pack(order_id: str) -> dict[str, Any]:
    return {"packed": f"{order_id} in a box"}


@retrystep("Ship", delay="10m", jitter=0)
async def ship(order_id: str) -> dict[str, Any]:
    if not WORLD["mended"]:
        raise OSError("no truck")
    return {"shipped": order_id}


@step("Bill")
async def bill(order_id: str) -> dict[str, Any]:
    if not WORLD["mended"]:
        raise ValueError("no paper")
    return {"billed": order_id}


@workflow(name="quick")
def quick() -> StepList:
    return begin >> reserve >> pack >> done


@workflow(name="asked")
def asked() -> StepList:
    return begin >> reserve >> ask_step("May it go?", key="may") >> pack >> done


@workflow(name="shipped")
def shipped() -> StepList:
    return begin >> reserve >> ship >> done


@workflow(name="billed")
def billed() -> StepList:
    return begin >> bill >> done


@workflow(name="order")
async def order(order_id: str) -> Any:
    await reserve(order_id)
    paid = await wait("order.paid", where={"data.order": order_id})
    await emit("order.packed", data={"order": order_id})
    return {"order": order_id, "paid": paid.data["amount"]}


@workflow(name="patient")
async def patient(order_id: str) -> Any:
    await sleep("3d")
    return (await pack(order_id))["packed"]


@workflow(name="careful")
async def careful(order_id: str) -> Any:
    return await approval(f"Send {order_id}?")


@workflow(name="family")
async def family(order_id: str) -> Any:
    first, second = await gather(
        child("patient", {"order_id": f"{order_id}a"}), child("order", {"order_id": f"{order_id}b"})
    )
    return [first, second]


@workflow(name="racing")
async def racing(order_id: str) -> Any:
    winner = await race(sleep("1h"), wait("order.stop", where={"data.order": order_id}))
    return str(winner is not None)


@workflow(name="rounds")
async def rounds(round: int = 0) -> Any:
    await wait("next", where={"data.round": round})
    if round < 2:
        continue_as_new({"round": round + 1})
    return round


class Port(Resource, product="port"):
    speed: int
    tags: list[str] = []  # noqa: RUF012


@step("Build the port")
def build(port: Port) -> dict[str, Any]:
    return {"port": port}


@step("Open the port")
def open_port(port: Port) -> dict[str, Any]:
    port.status = "active"
    port.tags.append("open")
    return {"port": port}


@workflow(name="provided")
def provided() -> StepList:
    return begin >> build >> ask_step("Is it patched?", key="patched") >> open_port >> done


WORKFLOWS = (
    quick, asked, shipped, billed, order, patient, careful, family, racing, rounds, provided,
)  # fmt: skip
