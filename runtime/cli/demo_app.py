"""The workflow of `greenroom demo`: steps, a failure that is tried again, a sleep, an event."""

from __future__ import annotations

from typing import Final

from greenroom.definitions.declare import workflow
from greenroom.definitions.ops import sleep, wait
from greenroom.definitions.steps import retrystep, step

_tries: dict[str, int] = {}


@step("Reserve stock")
async def reserve(order_id: str, n: int) -> dict[str, str]:
    return {"reservation": f"r-{order_id}-{n}"}


@retrystep("Charge card", delay="1s")
async def charge(order_id: str) -> dict[str, str]:
    _tries[order_id] = _tries.get(order_id, 0) + 1
    if _tries[order_id] == 1:
        raise ConnectionError("the bank did not answer")
    return {"receipt": f"paid-{order_id}"}


async def _demo(order_id: str, n: int) -> dict[str, str]:
    got = await reserve(order_id=order_id, n=n)
    paid = await charge(order_id=order_id)
    await sleep("1s")
    sent = await wait("demo.shipped", where={"data.order_id": order_id}, timeout="1 min")
    return {**got, **paid, "shipped": "yes" if sent else "no"}


demo: Final = workflow(name="demo", on="demo.ordered", key="::data.order_id")(_demo)
