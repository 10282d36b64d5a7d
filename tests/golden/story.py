"""The life of the golden store: what was done before it was put away, and what is done after."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec

from greenroom import Event
from greenroom.runtime.clock import VirtualClock
from tests.golden.workflows import WORKFLOWS, WORLD
from tests.runtime.kits import FileEngine

VERSION = 2
BEGUN = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""
PUT_AWAY_MS = 3_600_000
"""How long it lies between the two halves."""
HERE = Path(__file__).parent


class Golden(FileEngine):
    """An engine on the golden store: its time and its ids are the same every time."""

    def __init__(self, path: Path, at: int, ids: int, **options: Any) -> None:
        numbers = itertools.count(ids)
        options["new_id"] = lambda: f"019b0000-0000-7000-8000-{next(numbers):012d}"
        super().__init__(path, *WORKFLOWS, **options)
        self.clock = VirtualClock(at)
        self._engine = self._made()


async def before(path: Path) -> dict[str, Any]:
    """Fills the store and puts it away; gives what everybody saw of it."""
    WORLD["mended"] = False
    async with Golden(path, BEGUN, 1) as engine:
        await engine.post(Event(type="order.early", id="early", data={"n": 1}))
        for name in ("quick", "asked", "shipped", "billed", "order", "patient", "careful", "family",
                     "racing"):  # fmt: skip
            await engine.start(name, {"order_id": name[0]}, key=name, request_id=f"start {name}")
        await engine.start("rounds", {}, key="rounds")
        new = {"product": "port", "customer_id": "anna", "speed": 10}
        await engine.start("provided", new, key="provided")
        await engine.start("order", {"order_id": "paused"}, key="paused")
        await engine.start("order", {"order_id": "gone"}, key="gone")
        await engine.start("quick", {"order_id": "later"}, key="later", delay="1d")
        await engine.quiet()
        await engine.pause("order/paused", reason="for a while", by="anna")
        await engine.cancel("order/gone", by="anna")
        await engine.post(Event(type="next", id="next-0", data={"round": 0}))
        await engine.post(
            Event(type="order.paid", id="held", data={"order": "paused", "amount": 3})
        )
        await engine.quiet()
        return await seen(engine)


async def after(path: Path) -> dict[str, Any]:
    """Opens the store that was put away and brings everything in it to its end."""
    WORLD["mended"] = True
    async with Golden(path, BEGUN + PUT_AWAY_MS, 1_000) as engine:
        await engine.quiet()
        again = await engine.start(
            "quick", {"order_id": "q"}, key="quick", request_id="start quick"
        )
        assert not again.created
        assert (await engine.post(Event(type="next", id="next-0", data={"round": 0}))).duplicate
        await engine.resume("billed/billed", by="anna")
        await engine.resume("order/paused", by="anna")
        for ask in (await engine.asks.list()).items:
            await engine.answer(ask.id, {"approved": True}, by="anna")
        for order, amount in (("o", 1), ("fb", 2)):
            await engine.post(Event(type="order.paid", data={"order": order, "amount": amount}))
        for number in (1, 2):
            await engine.post(Event(type="next", data={"round": number}))
            await engine.quiet()
        for ms in (600_000, 3_600_000, 86_400_000, 3 * 86_400_000):
            engine.clock.move_to(engine.clock.now() + ms)
            await engine.quiet()
        assert [f.text for f in await engine.doctor(deep=True) if f.level != "ok"] == []
        return await seen(engine)


async def seen(engine: Any) -> dict[str, Any]:
    """All instances with their states, results and histories, by their names."""
    found = {}
    for row in (await engine.list(limit=100)).items:
        shape = msgspec.to_builtins(await engine.get(row.id))
        history = (await engine.history(row.id, limit=1_000)).items
        lines = [[entry.seq, entry.kind, entry.op] for entry in history]
        found[f"{row.workflow}/{row.key or row.id}"] = {**shape, "history": lines}
    for one in (await engine.resources.list()).items:  # none before format 2
        versions = (await engine.resources.history(one.id)).items
        found[f"resource {one.product}"] = {
            **msgspec.to_builtins(one), "history": msgspec.to_builtins(versions)
        }  # fmt: skip
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(sorted(found.items()))))
    return plain
