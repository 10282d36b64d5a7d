"""Orders: started by an event, paid at a bank that fails, a pause, a second event, a last payment.

Each step hands its idempotency key to the bank. That is all an author has to do for "charged
exactly once" to hold across retries and `kill -9`.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from greenroom import retrystep, sleep, wait, workflow


async def pay(ctx: Any, order_id: str, what: str, cents: int) -> str:
    """One payment at the pretend bank, which listens on the socket that BANK names."""
    reader, writer = await asyncio.open_unix_connection(os.environ["BANK"])
    payment = {
        "key": ctx.idempotency_key, "attempt": ctx.attempt,
        "order_id": order_id, "what": what, "cents": cents,
    }  # fmt: skip
    try:
        writer.write(json.dumps(payment).encode() + b"\n")
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("the bank hung up before it answered")
    answer: dict[str, str] = json.loads(line)
    if "receipt" not in answer:
        raise ConnectionError(answer["error"])
    return answer["receipt"]


@retrystep("Take the deposit", delay="300ms", backoff=2, max_delay="2s")
async def deposit(order_id: str, total: int, ctx: Any = None) -> str:
    return await pay(ctx, order_id, "deposit", total // 10)


@retrystep("Charge the rest", delay="300ms", backoff=2, max_delay="2s")
async def charge(order_id: str, total: int, ctx: Any = None) -> str:
    return await pay(ctx, order_id, "rest", total - total // 10)


@retrystep("Pay the carrier", delay="300ms", backoff=2, max_delay="2s")
async def carrier(order_id: str, ctx: Any = None) -> str:
    return await pay(ctx, order_id, "carrier", 490)


@workflow(on="order.created", where="data.total > `0`", key="::data.order_id")
async def order(order_id: str, total: int) -> dict[str, Any]:
    """Plain Python. After a crash it goes on behind the last step that was recorded."""
    receipts = [await deposit(order_id, total)]
    await sleep("1s")
    receipts.append(await charge(order_id, total))
    sent = await wait("parcel.sent", where={"data.order_id": order_id}, timeout="1 min")
    if sent is None:
        return {"receipts": receipts, "sent": False}
    receipts.append(await carrier(order_id))
    return {"receipts": receipts, "sent": True}
