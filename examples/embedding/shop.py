"""An asyncio application that owns its engine: no daemon, no socket, one file beside its database.

    python examples/embedding/shop.py [FILE]

The engine is opened once, in the application's own event loop. Handlers start instances and post
events; both are on disk when the call returns, so the handler may answer its client.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from greenroom import (
    AlreadyRunning,
    Engine,
    Event,
    State,
    begin,
    conditional,
    done,
    retrystep,
    step,
    workflow,
)


@step("Reserve stock")
async def reserve(sku: str, n: int = 1) -> State:
    return {"reserved": f"{n} x {sku}"}


@step("Check the customer")
def check(total: int) -> State:
    """A plain function: it runs in a thread and may block."""
    return {"checked": total < 100_000}


@retrystep("Charge card", delay="1s", max_attempts=5)
async def charge(order_id: str, total: int, ctx: Any) -> State:
    return {"receipt": f"{ctx.idempotency_key} paid {total}"}


@workflow(on="order.created", where="data.total > `0`", key="::data.order_id")
def order() -> Any:
    return begin >> reserve >> conditional(lambda s: s["total"] > 5_000)(check) >> charge >> done


class Shop:
    """The application. Its handlers are what a web framework would call."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def order(self, order_id: str, sku: str, total: int) -> str:
        """Posts an event: who listens is not this handler's affair. A client that asks twice with
        the same order gets the same answer."""
        data = {"order_id": order_id, "sku": sku, "total": total}
        event = Event(type="order.created", source="/shop", id=order_id, data=data)
        accepted = await self.engine.post(event)
        return str(accepted.matched[0].instance) if accepted.matched else "nothing to do"

    async def again(self, order_id: str) -> str:
        """Starts one workflow by name, and says so if it runs already."""
        try:
            started = await self.engine.start(
                "order", {"order_id": order_id, "sku": "A1", "total": 1}
            )
        except AlreadyRunning as error:
            return f"already running: {error.details['instance']}"
        return started.id

    async def receipt(self, order_id: str) -> str:
        result: Any = await self.engine.result(f"order/{order_id}", timeout="10s")
        return str(result["receipt"])


async def main(file: str) -> None:
    async with Engine.open(file, workflows=[order]) as engine:
        shop = Shop(engine)
        first, second = await asyncio.gather(
            shop.order("7", "A1", 1_200), shop.order("8", "B2", 12_000)
        )
        print("started", first, second)
        print("the same", await shop.order("7", "A1", 1_200) == first)
        print("nothing", await shop.order("9", "C3", 0))
        for order_id in ("7", "8"):
            print("receipt", (await shop.receipt(order_id)).split("/")[-1])
        completed = await engine.list("status:completed workflow:order")
        print("completed", completed.total)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "shop.db"))
