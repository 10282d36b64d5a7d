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
from typing import Any, Final, Self

from greenroom.actors.entries import Failure
from greenroom.actors.instance import Instance
from greenroom.actors.messages import Park
from greenroom.actors.ports import Append, Appended
from greenroom.actors.rehearsal import rehearse
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import CodeChanged, EngineStopping
from greenroom.runtime.clock import VirtualClock
from greenroom.runtime.engine import Engine
from greenroom.runtime.memory import MemoryStore

EVERY_TURN_MAX: Final = 100
"""Up to this length of a history every turn is replayed, beyond it one in fifty."""

PATIENCE_S: Final = 10.0
"""Real seconds that `until_idle` gives to steps that do real work."""


class TestEngine:
    """An `Engine` on a store in memory and a virtual clock, with the verbs of both.

    Every verb of `Engine` works here. `advance` moves time through everything that falls due,
    `until_idle` waits until nothing can go on by itself, `crash` drops all memory and recovers
    from the journal.

    Each program is run twice: after every turn it is replayed from its journal and compared. One
    that does not do the same fails as `code_changed`, and the next `until_idle` (or the end of the
    test) raises. `check_replay=False` is for programs that are watched from outside while they run.
    """

    __test__ = False

    def __init__(self, *workflows: object, check_replay: bool = True, **options: Any) -> None:
        self.check_replay = check_replay
        self._differences: list[Failure] = []
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

    async def __aenter__(self) -> Self:
        await self._engine.__aenter__()
        self._engine.directory.watchers.append(self._rehearse)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._engine.__aexit__(*exc)
        if not exc or exc[0] is None:
            self._raise_differences()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def register(self, *workflows: object) -> None:
        """Adds workflows; they are there again after `crash`."""
        self._workflows += workflows
        self._engine.register(*workflows)

    @property
    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clock.now() / 1000, datetime.UTC)

    def _rehearse(self, instance: Instance, append: Append, result: Appended) -> None:
        size = len(instance.kernel.log)
        if not self.check_replay or not append.rows or (size > EVERY_TURN_MAX and size % 50):
            return
        failure = rehearse(instance.kernel)
        if failure is not None:
            self._differences.append(failure)
            if not instance.kernel.progress.ended:
                instance.tell(Park(failure))

    def _raise_differences(self) -> None:
        found, self._differences = self._differences, []
        if found:
            raise CodeChanged(
                found[0].message,
                hint="the clock, chance and effects belong in tasks, steps and ops; the rest of a "
                "program must follow from its input and their outcomes",
                **found[0].details,
            )

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
        self._raise_differences()

    def _idle(self) -> bool:
        engine = self._engine
        directory = engine.directory
        return not (
            directory.turns
            or directory.loading
            or directory.wanted
            or engine.executor.busy
            or engine.journal.busy
            or self.clock.calling
            or engine.router.routing
            or engine.router.collector.firing
            or engine.schedules.firing
            or engine.directory.slots.tasks
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
        self._engine.directory.watchers.append(self._rehearse)
        if token is not None:
            self._engine._token = token
        await self.until_idle()


async def abandon(engine: Engine) -> None:
    """Stops an engine without a word: nothing is flushed, nothing is said to the store."""
    engine.state = "closed"
    engine.directory.stop(EngineStopping("the engine was abandoned"))
    await engine.schedules.stop()
    await engine.executor.stop()
    await engine.connections.close()
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
