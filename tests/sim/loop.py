"""The event loop of the simulation: one seed, one schedule.

Time is virtual and jumps to the next timer when nothing is ready. Which of the ready callbacks runs
next is the policy's choice. Every choice is folded into a hash, so that two runs of a seed can be
compared; at a planned step the loop raises `SimCrash`, and nothing that runs on it hears of it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import warnings
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, Protocol

STEPS_MAX: Final = 400_000


class SimCrash(BaseException):
    """The process is gone."""


class Stuck(Exception):
    """Nothing is ready, nothing is booked, and the main task is not done; or it never ends."""


class SimTask(asyncio.Task[Any]):
    """A task whose hash is a counter: sets of tasks have one order."""

    _counter = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(SimTask._counter)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class Policy(Protocol):
    def pick(self, ready: list[asyncio.Handle]) -> int:
        """Which of the ready callbacks runs next."""
        ...


class Fifo:
    """As asyncio itself."""

    def pick(self, ready: list[asyncio.Handle]) -> int:
        return 0


class Walk:
    """Any of the first few: now and then the order is another."""

    def __init__(self, rng: random.Random, chance: float) -> None:
        self._rng = rng
        self._chance = chance

    def pick(self, ready: list[asyncio.Handle]) -> int:
        if len(ready) > 1 and self._rng.random() < self._chance:
            return self._rng.randrange(len(ready))
        return 0


class Pct:
    """Priorities by task, with a few points where the running one drops to the bottom: finds an
    order bug of depth d with a known probability (Burckhardt et al., ASPLOS 2010)."""

    def __init__(self, rng: random.Random, depth: int = 3, length: int = 4_000) -> None:
        self._rng = rng
        self._priorities: dict[int, float] = {}
        self._changes = {rng.randrange(length) for _ in range(depth - 1)}
        self._steps = 0

    def pick(self, ready: list[asyncio.Handle]) -> int:
        best, place = -2.0, 0
        for at, handle in enumerate(ready):
            priority = self._priority(handle)
            if priority > best:
                best, place = priority, at
        self._steps += 1
        if self._steps in self._changes:
            self._priorities[self._owner(ready[place])] = -1.0 / self._steps
        return place

    def _priority(self, handle: asyncio.Handle) -> float:
        owner = self._owner(handle)
        if owner not in self._priorities:
            self._priorities[owner] = self._rng.random()
        return self._priorities[owner]

    def _owner(self, handle: asyncio.Handle) -> int:
        callback: Any = handle._callback  # type: ignore[attr-defined]
        owner = getattr(callback, "__self__", None)
        return owner._number if isinstance(owner, SimTask) else -1


class SimLoop(asyncio.BaseEventLoop):
    def __init__(
        self, policy: Policy, start: float = 0.0, delays: random.Random | None = None
    ) -> None:
        super().__init__()
        self.policy = policy
        self.steps = 0
        self.trace = 0
        self.crash_at: int | None = None
        self.tasks: list[SimTask] = []
        self.faults: list[dict[str, Any]] = []
        self._time = start
        self._delays = delays or random.Random(0)
        self.set_task_factory(self._made)  # type: ignore[arg-type]
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def _made(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Generator[Any, None, Any],
        context: Context | None = None,
        **more: Any,
    ) -> SimTask:
        task = SimTask(coroutine, loop=loop, context=context, **more)
        self.tasks.append(task)
        return task

    def time(self) -> float:
        return self._time

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """A thread hop is a wait and a call: a point where others may come first."""
        future = self.create_future()

        def call() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self._delays.random() * 0.01, call)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There is nothing outside."""

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                if self._stopping:  # type: ignore[attr-defined]
                    return
                raise Stuck("nothing is ready and nothing is booked")
            self._time = max(self._time, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._time:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        if not ready:
            return
        place = self.policy.pick(ready)
        if place:
            ready.rotate(-place)
            handle = ready.popleft()
            ready.rotate(place)
        else:
            handle = ready.popleft()
        self.steps += 1
        self.trace = hash((self.trace, place, len(ready), self._time))
        if self.steps == self.crash_at:
            raise SimCrash
        if self.steps > STEPS_MAX:
            raise Stuck(f"{STEPS_MAX:,} steps and no end")
        if not handle._cancelled:
            handle._run()

    def bury(self) -> list[Any]:
        """Drops the loop as a power cut does. Gives what must be kept from the collector, which
        would run `finally` blocks, until the schedule is over; then `unwind` it."""
        kept = [self._ready.copy(), self._scheduled.copy(), self.tasks]  # type: ignore[attr-defined]
        asyncio.events._set_running_loop(None)
        self.close()
        return kept


def unwind(tasks: list[SimTask]) -> None:
    """Ends the coroutines of a buried loop; whatever they do on the way changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            with suppress(BaseException):  # the dead say nothing
                coroutine.close()
