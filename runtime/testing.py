"""The testing kit: an engine in memory whose time moves when the test says so.

    async def test_order(engine):
        engine.register(order)
        instance = await engine.start("order", {...})
        await engine.advance("2d")
        assert (await engine.get(instance.id)).result == {"status": "expired"}
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from typing import Any, Final

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import EngineStopping
from greenroom.runtime.clock import VirtualClock
from greenroom.runtime.engine import Engine
from greenroom.runtime.memory import MemoryStore

PATIENCE_S: Final = 10.0
"""Real seconds that `until_idle` gives to steps that do real work."""


class TestEngine:
    """An `Engine` on a store in memory and a virtual clock, with the verbs of both.

    Every verb of `Engine` works here. `advance` moves time through everything that falls due,
    `until_idle` waits until nothing can go on by itself, `crash` drops all memory and recovers
    from the journal.
    """

    __test__ = False

    def __init__(self, *workflows: object, **options: Any) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore()
        self._workflows: list[object] = list(workflows)
        self._options = options
        self._engine = self._made()

    def _made(self) -> Engine:
        return Engine(
            ":memory:", self._workflows, clock=self.clock, store=self.store,
            **{"forms_twice": True, **self._options},
        )  # fmt: skip

    async def __aenter__(self) -> TestEngine:
        await self._engine.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._engine.__aexit__(*exc)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def register(self, *workflows: object) -> None:
        """Adds workflows; they are there again after `crash`."""
        self._workflows += workflows
        self._engine.register(*workflows)

    @property
    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clock.now() / 1000, datetime.UTC)

    async def until_idle(self, patience: float = PATIENCE_S) -> None:
        """Waits until nothing can go on without time passing or somebody acting.

        Steps do their real work meanwhile; raises TimeoutError when they take longer than
        `patience` real seconds.
        """
        async with asyncio.timeout(patience):
            quiet = 0
            spins = 0
            while quiet < 3:
                spins += 1
                await asyncio.sleep(0 if spins % 50 else 0.001)
                quiet = quiet + 1 if self._idle() else 0

    def _idle(self) -> bool:
        engine = self._engine
        directory = engine.directory
        return not (
            directory.turns
            or directory.loading
            or directory.wanted
            or engine.executor.busy
            or engine.journal.busy
            or engine.router.routing
        )

    async def advance(self, duration: str | float | datetime.timedelta) -> None:
        """Moves time on, stopping at each moment where something falls due."""
        target = self.clock.now() + round(seconds(duration, "advance") * 1000)
        await self.until_idle()
        while (due := self.clock.next_due()) is not None and due <= target:
            self.clock.move_to(due)
            await self.until_idle()
        self.clock.move_to(target)
        await self.until_idle()

    async def crash(self) -> None:
        """Drops everything in memory, as a power cut would, and opens the store again."""
        token, self._engine._token = self._engine._token, None
        await abandon(self._engine)
        self.store = self.store.crash()
        self._engine = self._made()
        await self._engine.__aenter__()
        if token is not None:
            self._engine._token = token
        await self.until_idle()


async def abandon(engine: Engine) -> None:
    """Stops an engine without a word: nothing is flushed, nothing is said to the store."""
    engine.state = "closed"
    engine.directory.stop(EngineStopping("the engine was abandoned"))
    await engine.executor.stop()
    await engine.journal.abandon()


async def run(
    workflow: object, input: Any = None, *, workflows: Sequence[object] = (), **options: Any
) -> Any:
    """Runs one instance to its end on an engine in memory, time passing as it must; gives its
    result."""
    async with TestEngine(workflow, *workflows) as engine:
        instance = await engine.start(workflow, input, **options)
        while True:
            await engine.until_idle()
            found = await engine.get(instance.id)
            if found.status in ("completed", "failed", "cancelled"):
                return await engine.result(instance.id)
            due = engine.clock.next_due()
            if due is None:
                return await engine.result(instance.id, timeout=0)
            engine.clock.move_to(due)
