"""The executor: runs the functions of steps and tasks.

Coroutine functions run in a few long-lived runner tasks. A step that never suspends is run to its
end inside a runner without a task of its own; one that suspends keeps its runner, and another takes
over the queue. Plain functions run in threads, or in processes that were spawned (never forked).
Whatever a function raises becomes the outcome of its attempt, SystemExit included.

At most `in_flight` attempts run at once (256 unless told): that is also how many steps a crash may
run again.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.decide import Kernel
from greenroom.actors.entries import Failure
from greenroom.actors.failures import details_of, failure_of
from greenroom.actors.messages import Outcome
from greenroom.actors.ports import ResourceSave
from greenroom.definitions.attempts import ATTEMPT, Place
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import Fatal, GreenroomError, InvalidInput, Retry, TooLarge
from greenroom.definitions.gates import label_of
from greenroom.definitions.resources import Resource
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.values import encode_decode
from greenroom.definitions.workflow import Target
from greenroom.runtime.saves import saves_in
from greenroom.runtime.threads import Threads

if TYPE_CHECKING:
    from greenroom.runtime.workers import Workers

IN_FLIGHT: Final = 256
THREADS: Final = 32
PROCESSES: Final = 2


class Call(msgspec.Struct, eq=False):
    """One attempt of one op."""

    n: int
    instance: str
    key: str
    attempt: int
    target: Target
    arguments: dict[str, Any]
    source: Any
    """The arguments as stored, for an author's own retry rule."""
    done: Callable[[Call, Outcome], None]
    context: Any = None
    """The `ctx` object, when the function asked for one."""
    solo: bool = False
    """It died with the process before: nothing else of its kind runs beside it."""
    kernel: Kernel | None = None
    """Asked for the workflow's own name for what went wrong, and whether a result is merged."""
    saves: Sequence[ResourceSave] = ()
    """Resources it returned, to be saved with its outcome."""
    aborted: bool = False
    is_late: bool = False
    """It takes longer than its step is meant to."""
    runner: asyncio.Task[None] | None = None


class Executor:
    def __init__(
        self,
        in_flight: int = IN_FLIGHT,
        threads: int = THREADS,
        on_late: Callable[[Call], None] | None = None,
    ) -> None:
        self.on_late = on_late
        self.before_alone: Callable[[Call, Callable[[], None]], None] | None = None
        """Told of each call that had to run alone when its turn has come, calls back when it may
        begin."""
        self.around: Callable[[Call, Callable[[Call], Awaitable[None]]], Awaitable[None]] | None = (
            None
        )
        """Runs each attempt within something of its own: a span of a trace."""
        self.in_flight = in_flight
        self.queue: deque[Call] = deque()
        self.solo: deque[Call] = deque()
        self.solo_runs = False
        self.runners: dict[asyncio.Task[None], None] = {}
        self.resting: deque[asyncio.Future[None]] = deque()
        self.calls: dict[str, dict[str, Call]] = {}
        """What is queued or runs, by instance and op."""
        self.busy = 0
        self.current: str | None = None
        """The instance whose function is on the event loop right now, for the watchdog."""
        self.stopping = False
        self._waking = False
        """A runner was woken and has not come yet, or somebody is about to look at the queue."""
        self._threads: Threads | None = None
        self._workers: Workers | None = None
        self._thread_count = threads
        self._fresh = contextvars.copy_context()

    def set_context(self, variable: contextvars.ContextVar[Any], value: Any) -> None:
        """Sets a context variable for everything that is run from now on."""
        self._fresh.run(variable.set, value)

    # -- taking calls --------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        if self.stopping:
            return
        self.calls.setdefault(call.instance, {})[call.key] = call
        self.busy += 1
        if call.solo:
            self.solo.append(call)
            self._next_solo()
        else:
            self.queue.append(call)
        self._hand_over()

    def abort(self, instance: str, key: str) -> None:
        """Cancels an attempt; its outcome is dropped. A function in a thread runs to its end."""
        call = self.calls.get(instance, {}).get(key)
        if call is None:
            return
        call.aborted = True
        self._remove(call)
        if call.solo:
            self._solo_over(call)
        if call.runner is not None:
            call.runner.cancel()

    def calls_of(self, instance: str) -> list[Call]:
        """The attempts of an instance that are queued or run."""
        return list(self.calls.get(instance, {}).values())

    def _remove(self, call: Call) -> None:
        calls = self.calls.get(call.instance)
        if calls is not None and calls.get(call.key) is call:
            del calls[call.key]
            self.busy -= 1
            if not calls:
                del self.calls[call.instance]

    def _solo_over(self, call: Call) -> None:
        """A call that had to run alone has ended, or is given up: the next one may."""
        if call in self.solo:
            self.solo.remove(call)
            return
        self.solo_runs = False
        self._next_solo()
        self._hand_over()

    def _next_solo(self) -> None:
        if self.solo and not self.solo_runs:
            self.solo_runs = True
            call = self.solo.popleft()
            if self.before_alone is None:
                self.queue.append(call)
            else:
                self.before_alone(call, lambda: self._begin_solo(call))

    def _begin_solo(self, call: Call) -> None:
        if not (call.aborted or self.stopping):
            self.queue.append(call)
            self._hand_over()

    def _hand_over(self) -> None:
        """Sees to it that somebody takes the next call of the queue. One is enough: whoever comes
        takes call after call, and looks after the rest before it begins one."""
        if self._waking or not self.queue:
            return
        while self.resting:
            rest = self.resting.popleft()
            if not rest.done():
                self._waking = True
                rest.set_result(None)
                return
        if len(self.runners) < self.in_flight:
            self._waking = True
            loop = asyncio.get_running_loop()
            task = self._fresh.copy().run(loop.create_task, self._run_calls())
            self.runners[task] = None

    def _look_soon(self) -> None:
        """Hands over what is left once the runner that is at it lets go of the loop."""
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._waking = False
        self._hand_over()

    # -- a runner ------------------------------------------------------------------------------

    async def _run_calls(self) -> None:
        """Takes calls until it is cancelled with one, or one has left marks on its context."""
        task = asyncio.current_task()
        assert task is not None
        place = Place()
        ATTEMPT.set(place)
        clean = contextvars.copy_context()
        self._waking = False
        try:
            while not self.stopping:
                if not self.queue:
                    rest = asyncio.get_running_loop().create_future()
                    self.resting.append(rest)
                    await rest
                    self._waking = False
                    continue
                call = self.queue.popleft()
                if call.aborted:
                    continue
                call.runner = task
                if self.queue:
                    self._look_soon()
                self.current = call.instance
                place.begin(call.instance, call.key)
                if self.around is None:
                    await self._attempt(call)
                else:
                    await self.around(call, self._attempt)
                call.runner = None
                if contextvars.copy_context() != clean or task.cancelling():
                    break
        finally:
            self.runners.pop(task, None)
            self._waking = False
            if not self.stopping:
                self._hand_over()

    async def _attempt(self, call: Call) -> None:
        try:
            try:
                target = call.target
                if target.soft_timeout_s is not None:
                    value = await self._watched(call, target.soft_timeout_s)
                elif target.is_async and target.timeout_s is None:  # the hot path
                    value = await _called(target, call.arguments)
                else:
                    value = await self._invoke(call)
            finally:
                self.current = None
            back = encode_decode(value, f"{call.target.name} returned a value that")[1]
            if back != value:  # objects were made data: resources are among them, or not
                call.saves = self._saves(call, value)
            outcome = Outcome(call.key, call.attempt, back)
        except asyncio.CancelledError as error:
            if call.aborted or self.stopping:
                return
            outcome = self._failed(call, error)
        except (InvalidInput, TooLarge) as error:
            outcome = self._not_stored(call, error)
        except BaseException as error:  # the step's own SystemExit must not end the daemon
            if isinstance(error, GeneratorExit) and _is_unwound():
                raise
            outcome = self._failed(call, error)
        self._finish(call, outcome)

    async def _watched(self, call: Call, soft_s: float) -> Any:
        """An attempt that is reported when it takes longer than it should."""
        booking = asyncio.get_running_loop().call_later(soft_s, self._late, call)
        try:
            return await self._invoke(call)
        finally:
            booking.cancel()

    def _late(self, call: Call) -> None:
        call.is_late = True
        if self.on_late is not None:
            self.on_late(call)

    async def _invoke(self, call: Call) -> Any:
        target = call.target
        if target.is_async:
            made = _called(target, call.arguments)
            async with asyncio.timeout(target.timeout_s):
                return await made
        if target.executor == "process":
            func = target.func
            return await self._some_workers().run(
                target.timeout_s, _call_in_process, func.__module__, func.__qualname__,
                call.arguments,
            )  # fmt: skip
        clean = self.around is None  # else what it is within holds in its thread too
        context = self._fresh.copy() if clean else contextvars.copy_context()
        context.run(ATTEMPT.set, Place(call.instance, call.key))
        return await self._some_threads().run(
            target.timeout_s, target.name, context.run, _guarded, target, call.arguments
        )

    def _finish(self, call: Call, outcome: Outcome) -> None:
        self._remove(call)
        if call.solo and not call.aborted:
            self._solo_over(call)
        if not call.aborted:
            call.done(call, outcome)

    # -- outcomes ------------------------------------------------------------------------------

    def _failed(self, call: Call, error: BaseException) -> Outcome:
        kinds = tuple(kind.__name__ for kind in type(error).__mro__[:-1])
        kinds += getattr(
            error, "retry_names", ("timeout",) if isinstance(error, TimeoutError) else ()
        )
        after_s = _asked_for(error, call.target.retry, kinds)
        final = isinstance(error, Fatal) or bool(getattr(error, "final", False))
        failure = failure_of(error)
        if type(error) is TimeoutError and call.target.timeout_s is not None:
            failure = Failure(
                "Timeout",
                f"{call.target.name} took longer than {call.target.timeout_s:g} s",
                "timeout",
            )
        if isinstance(error, Retry):
            try:
                after_s = None if error.after is None else seconds(error.after, "after")
            except GreenroomError as wrong:
                failure, final = failure_of(wrong), True
        elif call.target.delay_of is not None and isinstance(error, Exception):
            try:
                known = {**call.source, "_context": call.arguments.get("_context")}
                after_s = call.target.delay_of(known, error)
                final = after_s is None
            except Exception as wrong:  # the author's rule itself is wrong: that is the failure
                cause = {"type": failure.type, "message": failure.message}
                failure = msgspec.structs.replace(failure_of(wrong), details={"cause": cause})
                final = True
        classify = call.kernel.definition.classify if call.kernel is not None else None
        if classify is not None:
            details = {**failure.details, **label_of(classify, error)}
            failure = msgspec.structs.replace(failure, details=details)
        return Outcome(call.key, call.attempt, None, failure, after_s, final, kinds)

    def _saves(self, call: Call, value: Any) -> list[ResourceSave]:
        if isinstance(value, Resource) and call.kernel is not None and call.kernel.merges(call.key):
            raise InvalidInput(
                f"{call.target.name} returned {type(value).__name__} itself: a result is merged",
                hint='return it under a name:  return {"light_path": light_path}',
            )
        return saves_in(value, call.target.name, call.key, call.attempt)

    def _not_stored(self, call: Call, error: InvalidInput | TooLarge) -> Outcome:
        details = details_of(error, plain=True)
        failure = Failure(type(error).__name__, error.message, "not_json", details, call.key)
        return Outcome(call.key, call.attempt, None, failure, final=True, kinds=("InvalidInput",))

    # -- pools ---------------------------------------------------------------------------------

    def _some_threads(self) -> Threads:
        if self._threads is None:
            self._threads = Threads(self._thread_count)
        return self._threads

    def _some_workers(self) -> Workers:
        if self._workers is None:
            from greenroom.runtime.workers import Workers  # noqa: PLC0415  start-up time

            self._workers = Workers(PROCESSES)
        return self._workers

    async def stop(self) -> None:
        """Cancels what runs, in the order it was started; threads are not waited for, processes
        killed."""
        self.stopping = True
        if self._threads is not None:
            self._threads.stopping = True
        self.queue.clear()
        self.solo.clear()
        self.calls.clear()
        for rest in self.resting:
            if not rest.done():
                rest.cancel()
        runners = list(self.runners)
        for task in runners:
            task.cancel()
        if runners:
            await asyncio.wait(runners, timeout=5)
        if self._threads is not None:
            self._threads.stop()
        if self._workers is not None:
            self._workers.stop()


def _asked_for(
    error: BaseException, retry: RetryPolicy | None, kinds: tuple[str, ...]
) -> float | None:
    """When a service asked to be asked again, as far as the policy agrees to ask again at all."""
    after_s: float | None = getattr(error, "retry_after_s", None)
    if after_s is None or retry is None or not retry.covers(kinds):
        return None
    return min(after_s, retry.max_delay_s)


def _called(target: Target, arguments: dict[str, Any]) -> Any:
    if target.injector is not None:
        return target.injector.call(target.func, arguments)
    return target.func(**arguments)


def _guarded(target: Target, arguments: dict[str, Any]) -> Any:
    """In a thread: a future cannot carry a StopIteration."""
    try:
        return _called(target, arguments)
    except StopIteration as error:
        raise RuntimeError("the step raised StopIteration") from error


def _is_unwound() -> bool:
    """Whether the runner itself is being closed, outside any loop, and not the step at fault."""
    return asyncio._get_running_loop() is None


def _call_in_process(module: str, qualname: str, arguments: dict[str, Any]) -> Any:
    """In the spawned process: the function is found by name, under its decorator."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    target = getattr(found, "target", None)
    return (target.func if isinstance(target, Target) else found)(**arguments)
