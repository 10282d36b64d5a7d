"""Engines whose time moves when a test says so, on a store in memory or on a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom.definitions.durations import seconds
from greenroom.runtime.engine import Engine
from greenroom.runtime.testing import TestEngine, abandon


class MemoryEngine(TestEngine):
    """A `TestEngine` for tests that hold steps up."""

    async def quiet(self) -> None:
        """Waits until nothing goes on but coroutines of steps that are suspended."""
        async with asyncio.timeout(10):
            calm = 0
            while calm < 5:
                await asyncio.sleep(0 if calm else 0.0002)
                calm = calm + 1 if self._calm() else 0

    def _calm(self) -> bool:
        engine = self._engine
        return not (
            engine.directory.turns
            or engine.directory.loading
            or engine.directory.wanted
            or engine.executor.queue
            or engine.journal.busy
            or self.clock.calling
            or engine.router.routing
            or engine.router.collector.firing
            or engine.schedules.firing
            or engine.directory.slots.tasks
            or any(
                not call.target.is_async
                for calls in engine.executor.calls.values()
                for call in calls.values()
            )
        )

    async def crash(self) -> None:
        token, self._engine._token = self._engine._token, None
        await abandon(self._engine)
        await self._reopen()
        self._engine._token = token or self._engine._token
        await self.quiet()

    async def restart_engine(self) -> None:
        """A clean stop and a start."""
        token, self._engine._token = self._engine._token, None
        await self._engine.close()
        await self._reopen()
        self._engine._token = token or self._engine._token
        await self.quiet()

    async def _reopen(self) -> None:
        self.store = self.store.crash()
        self._engine = self._made()
        await self._engine.__aenter__()

    async def advance_quiet(self, duration: str) -> None:
        """As `advance`, with steps that are held up."""
        target = self.clock.now() + round(seconds(duration, "advance") * 1000)
        while (due := self.clock.next_due()) is not None and due <= target:
            self.clock.move_to(due)
            await self.quiet()
        self.clock.move_to(target)
        await self.quiet()

    def change_code(self, *workflows: object) -> None:
        """What the next process is given."""
        self._workflows = list(workflows)


class FileEngine(MemoryEngine):
    """The same on a SQLite file: real commits."""

    def __init__(self, path: Path, *workflows: object, **options: Any) -> None:
        self.path = path
        super().__init__(*workflows, **options)

    def _made(self) -> Engine:
        return Engine(self.path, self._workflows, clock=self.clock, **self._options)

    async def _reopen(self) -> None:
        self._engine._unlock()
        self._engine = self._made()
        await self._engine.__aenter__()


class HeldStore:
    """Commits of an engine in memory that wait until the test lets them go, one by one."""

    def __init__(self, kit: MemoryEngine) -> None:
        self._journal: Any = kit.journal
        self._gates: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> HeldStore:
        self._journal._connection = self  # a store behind a connection is run by `_do`
        self._journal._do = self._do
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._journal._connection = None
        del self._journal._do
        self.release(all=True)

    async def _do(self, function: Callable[[], Any]) -> Any:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        return function()

    @property
    def waiting(self) -> int:
        return len(self._gates)

    def release(self, *, all: bool = False) -> None:
        """Lets the next group (or all that wait) be stored."""
        for gate in self._gates[: len(self._gates) if all else 1]:
            if not gate.done():
                gate.set_result(None)
        del self._gates[: len(self._gates) if all else 1]

    async def held(self) -> None:
        """Waits until a group waits to be stored."""
        async with asyncio.timeout(5):
            while not self._gates:
                await asyncio.sleep(0)


async def spin(times: int = 20) -> None:
    """Lets the loop turn a few times."""
    for _ in range(times):
        await asyncio.sleep(0)
