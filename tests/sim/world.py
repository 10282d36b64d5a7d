"""What is simulated: workflows, the foreign systems their steps touch, and a slow disk."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom import (
    StepContext,
    Workflow,
    approval,
    ask_step,
    begin,
    child,
    done,
    emit,
    gather,
    retrystep,
    sleep,
    step,
    wait,
    workflow,
)
from greenroom.runtime.clock import Booking
from greenroom.runtime.engine import Engine
from greenroom.runtime.journal import Journal
from greenroom.runtime.store import Store
from tests.sim.loop import SimLoop

# -- foreign systems -------------------------------------------------------------------------------


class Bank:
    """Counts what was done to the world, by idempotency key. It survives every crash."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.modes: dict[str, str] = {}

    def note(self, ctx: StepContext) -> int:
        self.modes[ctx.idempotency_key] = ctx.mode
        self.calls[ctx.idempotency_key] += 1
        return self.calls[ctx.idempotency_key]


class Scene:
    """The world of the schedule that runs now."""

    bank: Bank
    rng: random.Random


async def work() -> None:
    """Some time passes in a step, or none."""
    if Scene.rng.random() < 0.7:
        await asyncio.sleep(Scene.rng.choice((0, 0.001, 0.02, 0.3)))


# -- workflows -------------------------------------------------------------------------------------


@step("Reserve")
async def reserve(n: int = 0, ctx: Any = None) -> dict[str, Any]:
    Scene.bank.note(ctx)
    await work()
    return {"reserved": n}


@retrystep("Charge", delay="2s", max_attempts=5, jitter=0)
async def charge(ctx: Any = None) -> dict[str, Any]:
    calls = Scene.bank.note(ctx)
    await work()
    if calls < 3 and Scene.rng.random() < 0.5:
        raise ConnectionError("bank is closed")
    return {"charged": True}


@step("Ship", mode="at_most_once")
async def ship(ctx: Any = None) -> dict[str, Any]:
    Scene.bank.note(ctx)
    await work()
    await asyncio.sleep(Scene.rng.choice((0, 0, 2)))
    return {"shipped": True}


@step("Shaky")
async def shaky(ctx: Any = None) -> dict[str, Any]:
    calls = Scene.bank.note(ctx)
    await work()
    if calls == 1 and Scene.rng.random() < 0.3:
        raise ValueError("not today")
    return {"shaken": True}


@workflow(key="::data.key")
def line() -> Any:
    return (
        begin
        >> reserve
        >> charge
        >> ask_step("Approve", key="approve", due="1h")
        >> shaky
        >> ship
        >> done
    )


@workflow(on="order", key="::data.order")
async def order(order: str, n: int = 0) -> Any:
    first, second = await gather(reserve(n=n), shaky())
    paid = await wait("paid", where={"data.order": order}, timeout="40s")
    if paid is None:
        await emit("expired", {"order": order})
        return {"paid": None}
    await charge()
    await sleep("5s")
    await emit("done", {"order": order})
    return {"paid": paid.data["amount"], "first": first, "second": second}


@workflow
async def family(n: int) -> Any:
    """Children side by side."""
    found = await gather(*(child("leaf", {"n": i}) for i in range(n)))
    return sorted(found)


@workflow
async def leaf(n: int) -> int:
    await reserve(n=n)
    await sleep(1)
    await ship()
    return n


@workflow
async def asks(title: str) -> Any:
    said = await approval(title, due="1h")
    await ship()
    return said


@workflow(on="done")
class Counter_(Workflow):
    """Counts events in a handler while its main waits."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.seen = 0

    async def handle(self) -> Any:
        await sleep("20s")
        return self.seen

    async def on_event(self, event: Any) -> None:
        self.seen += 1
        await reserve(n=self.seen)


@workflow(on="ping")
async def ping(n: int) -> None:
    """Two that feed each other until the hop limit."""
    await emit("pong", {"n": n + 1})


@workflow(on="pong")
async def pong(n: int) -> None:
    await emit("ping", {"n": n + 1})


WORKFLOWS = (line, order, family, leaf, asks, Counter_, ping, pong)


# -- ports -----------------------------------------------------------------------------------------


class SimClock:
    """Wall time: the loop's, with jumps."""

    def __init__(self, base: int = 1_767_225_600_000) -> None:
        self.base = base
        self.jumped = 0
        self._naps: dict[Booking, None] = {}

    def now(self) -> int:
        return self.base + self.jumped + round(asyncio.get_running_loop().time() * 1000)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def jump(self, ms: int) -> None:
        """Sets the wall clock; who naps by it notices, as it does within a second."""
        self.jumped += ms
        for booking in [b for b in self._naps if not b.cancelled]:
            if booking.handle is not None:
                booking.handle.cancel()
            self._nap(booking)

    def call_at(self, due: int, then: Callable[[], None]) -> Booking:
        booking = Booking(due, then)
        self._nap(booking)
        return booking

    def call_later(self, delay_ms: int, then: Callable[[], None]) -> Booking:
        booking = Booking(0, then)
        loop = asyncio.get_running_loop()
        booking.handle = loop.call_later(delay_ms / 1000, self._woken, booking)
        return booking

    def _nap(self, booking: Booking) -> None:
        wait_s = max(0.0, (booking.due - self.now()) / 1000)
        self._naps[booking] = None
        booking.handle = asyncio.get_running_loop().call_later(wait_s, self._woken, booking)

    def _woken(self, booking: Booking) -> None:
        self._naps.pop(booking, None)
        if booking.cancelled:
            return
        if self.now() < booking.due:
            self._nap(booking)
        else:
            booking.then()

    def forget(self) -> None:
        """The process that napped is gone."""
        self._naps.clear()


class _Connection:
    async def close(self) -> None:
        """There is none."""


class SimJournal(Journal):
    """A commit takes time before it is stored and after it: a crash may come in between."""

    delays: random.Random

    async def open(self) -> Any:
        opened = await super().open()
        self._connection = _Connection()  # type: ignore[assignment]
        return opened

    async def _do(self, function: Callable[[], Any]) -> Any:
        await asyncio.sleep(self.delays.choice((0, 0, 0.0005, 0.003, 0.02)))
        result = function()
        await asyncio.sleep(self.delays.choice((0, 0, 0.001, 0.01)))
        return result


class SimEngine(Engine):
    def _journal(self, store: Store, reserve: Path | None) -> Journal:
        journal = SimJournal(
            store, clock=self.clock, on_fatal=self._died, on_state=self._journal_state
        )
        journal.delays = Scene.rng
        return journal


def time_of(loop: asyncio.AbstractEventLoop) -> float:
    assert isinstance(loop, SimLoop)
    return loop.time()
