"""Workflows of the kill test. Each effect is a line in a ledger that outlives the daemon."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

from greenroom import (
    State,
    begin,
    done,
    emit,
    gather,
    retrystep,
    sleep,
    step,
    wait,
    workflow,
)

LEDGER = os.environ["KILL_TEST_LEDGER"]


def note(kind: str, key: str) -> None:
    """One appended line: a single write, so a kill leaves it whole or not there."""
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{kind} {key}\n".encode())
    finally:
        os.close(fd)


@step("Reserve")
async def reserve(order: str, ctx: Any = None) -> State:
    await asyncio.sleep(random.random() * 0.02)
    note("reserve", ctx.idempotency_key)
    return {"reserved": True}


@retrystep("Charge", delay="20ms", backoff=1, jitter=0)
async def charge(order: str, ctx: Any = None) -> State:
    await asyncio.sleep(random.random() * 0.01)
    if random.random() < 0.4:
        raise ConnectionError("the bank is busy")
    note("charge", ctx.idempotency_key)
    return {"charged": True}


@step("Pack")
def pack(order: str, ctx: Any = None) -> State:
    note("pack", ctx.idempotency_key)
    return {"packed": True}


@step("Once", mode="at_most_once")
async def once(order: str, ctx: Any = None) -> State:
    note("once", ctx.idempotency_key)
    await asyncio.sleep(0.002)
    return {"once": True}


@step("Book", mode="transactional")
async def book(order: str, ctx: Any = None) -> State:
    ctx.sql("CREATE TABLE IF NOT EXISTS booking (id TEXT, instance TEXT)")
    ctx.sql("INSERT INTO booking VALUES (?, ?)", (order, ctx.instance))
    await asyncio.sleep(0.002)
    return {"booked": True}


@workflow(on="order.created", key="::data.order")
def line() -> Any:
    return begin >> reserve >> charge >> pack >> book >> done


@workflow(on="single.created", key="::data.order")
def single() -> Any:
    return begin >> once >> done


@workflow(on="flow.created", key="::data.order")
async def flow(order: str) -> dict[str, object]:
    await gather(reserve(order=order), pack(order=order))
    await sleep(0.05)
    paid = await wait("flow.paid", where={"data.order": order}, timeout="1h")
    await charge(order=order)
    await emit("flow.done", {"order": order})
    return {"paid": paid.data["amount"] if paid else None}


@workflow(on="flow.done", key="::data.order")
async def after(order: str) -> str:
    await sleep(0.02)
    return order
