"""One schedule: clients, crashes and recoveries of one seed, then a time without faults."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from greenroom import Event, GreenroomError, IdConflict, InvalidTransition, Rejected
from greenroom.definitions.errors import Unavailable
from greenroom.runtime.engine import Engine
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.store import StoreFull
from tests.sim.invariants import check_live, check_stored
from tests.sim.loop import Fifo, Pct, Policy, SimCrash, SimLoop, SimTask, Stuck, Walk, unwind
from tests.sim.world import WORKFLOWS, Bank, Scene, SimClock, SimEngine

HEAL_ROUNDS: Final = 40
UNKNOWN: Final = "unknown"


class Quiet:
    """A logger that says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


@dataclass
class Op:
    """One request of a client, with ids of its own: it may be made again."""

    client: int
    index: int
    kind: str
    id: str
    data: Any = None
    target: str | None = None
    outcome: str = UNKNOWN
    answer: Any = None
    code: str | None = None
    tries: int = 0


@dataclass
class Report:
    seed: int
    violations: list[str]
    trace: int
    steps: int
    crashes: int
    virtual_s: float
    marks: dict[str, int]


class Schedule:
    def __init__(self, seed: int, crashes: int | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.crashes_left = self.rng.choice((0, 1, 1, 2, 3)) if crashes is None else crashes
        self.crashes = 0
        self.lives = 0
        self.steps = 0
        self.trace = 0
        self.clock = SimClock()
        self.store = MemoryStore()
        self.violations: list[str] = []
        self.marks: dict[str, int] = {}
        self.graves: list[list[SimTask]] = []
        self.kept: list[Any] = []
        self._ids = itertools.count(1)
        Scene.bank = self.bank = Bank()
        Scene.rng = random.Random(self.rng.random())
        self.ops = [self._ops(client) for client in range(self.rng.randint(1, 5))]
        self.started: list[str] = []

    def mark(self, name: str) -> None:
        self.marks[name] = self.marks.get(name, 0) + 1

    def new_id(self) -> str:
        """Unique and in order, as uuid7."""
        n = next(self._ids)
        return f"0193{n:04x}-{self.rng.getrandbits(16):04x}-7000-8000-{n:012x}"

    # -- what clients do -----------------------------------------------------------------------

    def _ops(self, client: int) -> list[Op]:
        rng = self.rng
        ops: list[Op] = []
        for index in range(rng.randint(3, 12)):
            kind = rng.choice((
                "start line", "start order", "start family", "start asks", "post order", "post order",
                "post paid", "post paid", "send paid", "pause", "resume", "cancel", "answer", "again",
                "conflict", "ping", "jump", "full disk", "watch",
            ))  # fmt: skip
            id = f"c{client}-{index}"
            name = rng.choice(("a", "b", "c", "d"))
            data: Any = {"order": name, "n": index}
            if kind == "start line":
                data = {"key": f"l-{name}", "n": index}
            elif kind == "start family":
                data = {"n": rng.randint(1, 4)}
            elif kind == "start asks":
                data = {"title": f"may {name}?"}
            elif kind in ("post paid", "send paid"):
                data = {"order": name, "amount": index}
            elif kind == "ping":
                data = {"n": 0}
            elif kind == "jump":
                data = rng.choice((1_000, 60_000, 3_600_000, -30_000))
            elif kind == "full disk":
                if client or index > 6:
                    continue  # seldom: nobody gets anything done on a full disk
                data = rng.randint(1, 6)
            elif kind in ("again", "conflict"):
                same = [op for op in ops if op.kind.startswith(("start", "post"))]
                if not same:
                    continue
                first = rng.choice(same)
                data = {**first.data, "n": 999} if kind == "conflict" else first.data
                ops.append(Op(client, index, f"{kind}:{first.kind}", first.id, data))
                continue
            ops.append(Op(client, index, kind, id, data))
        return ops

    async def _client(self, engine: Engine, ops: list[Op]) -> None:
        rng = Scene.rng
        for op in ops:
            if op.outcome != UNKNOWN:
                continue
            await asyncio.sleep(rng.choice((0, 0, 0.001, 0.01, 0.5)))
            op.tries += 1
            try:
                answer = await self._perform(engine, op)
            except Rejected as error:
                op.outcome, op.code = "rejected", error.code
                self.mark(f"rejected:{error.code}")
            except Unavailable as error:  # not stored; the client does not try again
                op.outcome, op.code = "rejected", error.code
                self.mark(f"unavailable:{error.code}")
            except GreenroomError as error:
                self.violations.append(f"{op.kind} raised {error.code}: {error.message}")
                op.outcome = "rejected"
            else:
                op.outcome, op.answer = "ok", answer

    async def _perform(self, engine: Engine, op: Op) -> Any:
        again, _, kind = op.kind.rpartition(":")
        if again:
            self.mark(again)
        verb, _, what = kind.partition(" ")
        if verb == "start":
            handle = await engine.start(what, op.data, request_id=op.id, by=op.id)
            self.started.append(handle.id)
            return handle.id
        if verb in ("post", "ping"):
            event = Event(type=what or verb, id=op.id, source=f"/{op.client}", data=op.data)
            accepted = await engine.post(event)
            if accepted.duplicate:
                self.mark("duplicate answered")
            return msgspec.to_builtins(accepted)
        if verb == "jump":
            self.clock.jump(op.data)
            return None
        if verb == "full":
            for _ in range(op.data):
                self.store.fail_next(StoreFull("full"))
            return None
        if verb == "answer":
            asks = (await engine.asks.list()).items
            if not asks:
                return None
            return await engine.answer(Scene.rng.choice(asks).id, {"approved": True}, by=op.id)
        if op.target is None:
            if not self.started:
                return None
            op.target = Scene.rng.choice(self.started)
        if verb == "watch":
            return await self._watch(engine, op.target)
        if verb == "send":
            event = Event(type="paid", id=op.id, source=f"/{op.client}", data=op.data)
            return await engine.send(op.target, event, by=op.id)
        call: Callable[..., Awaitable[Any]] = getattr(engine, verb)
        return await call(op.target, request_id=op.id, by=op.id)

    async def _watch(self, engine: Engine, id: str) -> None:
        """What a watcher sees has no gaps, and is on disk when it is seen."""
        last = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(Scene.rng.choice((0.1, 5, 60))):
                async for entry in engine.watch(id):
                    if entry.seq not in (last, last + 1):
                        self.violations.append(f"I5: a watcher saw {entry.seq} after {last}")
                    last = entry.seq
                    if entry.seq > len(self.store.tables.instances[self.store.tables.ids[id]].rows):
                        self.violations.append(
                            f"I1: a watcher saw {entry.seq}, which is not stored"
                        )

    # -- processes -----------------------------------------------------------------------------

    def run(self) -> Report:
        done = False
        while not done:
            crash = self.crashes_left > 0
            done = self._process(crash)
            if crash:
                self.crashes_left -= 1
        for tasks in self.graves:
            unwind(tasks)
        self.violations += check_stored(self)
        return Report(
            self.seed, self.violations, self.trace, self.steps, self.crashes,
            self._time, self.marks,
        )  # fmt: skip

    _time = 0.0

    def _policy(self, faults: bool) -> Policy:
        rng = random.Random(self.rng.random())
        if not faults:
            return Fifo()
        return rng.choice((Fifo(), Walk(rng, 0.2), Walk(rng, 0.8), Pct(rng), Pct(rng, 4)))

    def _process(self, crash: bool) -> bool:
        """One life of the engine; True when it was the last."""
        self.lives += 1
        self.clock.forget()
        self.store._planned.clear()
        loop = SimLoop(self._policy(crash or self.seed % 2 == 0), self._time, Scene.rng)
        if crash:
            loop.crash_at = self.rng.randrange(20, self.rng.choice((200, 1_500, 4_000)))
        engine = SimEngine(
            ":memory:",
            WORKFLOWS,
            clock=self.clock,
            new_id=self.new_id,
            store=self.store,
            log=Quiet(),
        )
        asyncio.set_event_loop(None)
        try:
            loop.run_until_complete(self._life(engine, loop, crash))
            crashed = False
        except SimCrash:
            crashed = True
        except Stuck as stuck:
            self.violations.append(f"stuck: {stuck}")
            crashed = True
            crash = False
        except Exception as error:
            self.violations.append(f"raised {type(error).__name__}: {error}")
            crashed = True
            crash = False
        self.violations += [
            f"a callback raised: {fault.get('message')}: {fault.get('exception')!r}"
            for fault in loop.faults
        ]
        self.steps += loop.steps
        self.trace = hash((self.trace, loop.trace))
        self._time = loop.time() + self.rng.choice((0.0, 0.5, 20.0))
        self.kept.append(loop.bury())
        self.graves.append(loop.tasks)
        if not crashed:
            return not crash
        self.crashes += 1
        self.mark("crash")
        self.store = self.store.crash()
        return not crash

    async def _life(self, engine: SimEngine, loop: SimLoop, crash: bool) -> None:
        await engine._open()
        await asyncio.gather(*(self._client(engine, ops) for ops in self.ops))
        if crash:
            await asyncio.sleep(Scene.rng.choice((1, 10, 100)))
        else:
            loop.policy = Fifo()
            self.store._planned.clear()
            await asyncio.sleep(5)  # the journal sees every second whether there is room again
            await self._heal(engine)
            self.violations += await check_live(self, engine)
        await engine.close()

    async def _heal(self, engine: Engine) -> None:
        """No more faults: everything must come to an end, or wait for what it names."""
        for round in range(HEAL_ROUNDS):
            page = await engine.list("-status:completed -status:cancelled", limit=1_000)
            if not page.items:
                return
            for ask in (await engine.asks.list()).items:
                try:
                    await engine.answer(ask.id, {"approved": True})
                except Rejected as error:
                    self.mark(f"heal:{error.code}")
            for item in page.items:
                await self._help(engine, item, round)
            await asyncio.sleep(61)
        left = await engine.list("-status:completed -status:cancelled", limit=1_000)
        self.violations += [
            f"I7: {item.workflow} {item.id} is still {item.status}: {[w.kind for w in item.waits]}"
            for item in left.items
        ]

    async def _help(self, engine: Engine, item: Any, round: int) -> None:
        try:
            if item.status == "paused":
                await engine.resume(item.id)
            elif item.status == "failed":
                self.mark(f"failed:{item.error.code}")
                if item.error.code == "in_doubt":
                    await engine.skip(item.id, item.error.details["op"], {"by": "hand"})
                elif round > 8 or item.error.code == "runaway":
                    await engine.cancel(item.id, force=round > 20)
                else:
                    await engine.resume(item.id)
        except InvalidTransition:
            self.mark("heal:raced")
        except Rejected as error:
            self.mark(f"heal:{error.code}")
            if round > 8:
                await engine.cancel(item.id, force=True)


def run(seed: int, crashes: int | None = None) -> Report:
    return Schedule(seed, crashes).run()


__all__ = ["IdConflict", "Op", "Report", "Schedule", "run"]
