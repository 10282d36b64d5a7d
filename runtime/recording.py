"""What a handler calls outside is recorded under the handler's op, one call after the other.

A handler that is run again (after a crash, or because it failed later on) gets the outcomes of the
calls it made before, in order, and makes only those that are not recorded. A call is durable before
the handler sees what it gave; a crash in between makes it again, with the same idempotency key.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.entries import CallRecorded, Failure
from greenroom.actors.failures import failure_of
from greenroom.actors.messages import Record
from greenroom.definitions.errors import CodeChanged, EngineStopping, StepFailed, TooLarge
from greenroom.definitions.tasks import TaskContext
from greenroom.definitions.values import Json, encode_decode, equal

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


CALLS_MAX: Final = 1_000
"""Calls one handler may make: they are kept with the instance until it is done."""
PATIENCE_S: Final = 0.5
"""How often a thread that waits looks whether there is still an engine."""


class Recorded:
    """The calls of one attempt. Used from the thread the handler runs in."""

    def __init__(self, engine: Engine, context: TaskContext) -> None:
        self._engine = engine
        self.is_test = context.test
        self.providers: Mapping[str, Any] = engine.providers
        self.remembered = engine.identities.remembered
        self._context = context
        self._known: tuple[CallRecorded, ...] = context.recorded
        self._n = 0
        self._inside = False
        """A call is being made; what it asks for itself is a part of it."""

    @property
    def idempotency_key(self) -> str:
        """The same whenever the call that is being made now is made again."""
        return f"{self._context.id}/{self._n}"

    def outcome(self, name: str, args: Json, make: Callable[[], Any]) -> Json:
        """What the call gave, when it was recorded or now. What it raised is always a
        `StepFailed`, then as now; `CodeChanged` where another call was recorded."""
        if self._inside:
            return make()
        self._n += 1
        if self._n > CALLS_MAX:
            raise TooLarge(
                f"{self._context.op} makes more than {CALLS_MAX:,} calls",
                hint="do them in a workflow, and start that",
            )
        if self._n <= len(self._known):
            return self._handed_back(self._known[self._n - 1], name, args)
        value, failure = None, None
        self._inside = True
        try:
            value = encode_decode(make(), f"what {name} gave")[1]
        except Exception as error:
            failure = failure_of(error)
        finally:
            self._inside = False
        self._keep(name, args, value, failure)
        if failure is not None:
            raise _raised(failure)
        return value

    def add(self, name: str, args: Json, value: Json = None) -> None:
        """Keeps something that was done, behind all that any attempt has recorded."""
        self._n = max(self._n, len(self._known)) + 1
        self._keep(name, args, value, None)

    def _handed_back(self, known: CallRecorded, name: str, args: Json) -> Json:
        if known.name != name or not equal(known.args, args):
            raise CodeChanged(
                f"{self._context.op} called {known.name} before, as its call {known.n}, and calls "
                f"{name} now",
                hint="bring the old code back, or skip the handler",
                op=self._context.op, journal=[known.name], code=[name],
            )  # fmt: skip
        if known.error is not None:
            raise _raised(known.error)
        return known.value

    def _keep(self, name: str, args: Json, value: Json, failure: Failure | None) -> None:
        context = self._context
        assert context.op is not None and context.instance is not None
        message = Record(context.op, context.attempt, self._n, name, args, value, failure)
        self._wait_for(self._engine.record(context.instance, message))

    def _wait_for(self, kept: Coroutine[Any, Any, None]) -> None:
        wait_in_thread(self._engine, kept)


def wait_in_thread(engine: Engine, kept: Coroutine[Any, Any, Any]) -> None:
    """Waits in this thread for something the engine's loop does; gives up when the engine does,
    which no longer runs anything."""
    done = concurrent.futures.Future[None]()
    tasks: list[asyncio.Future[Any]] = []

    def begin() -> None:
        tasks.append(asyncio.ensure_future(kept))
        tasks[0].add_done_callback(told)

    def told(task: asyncio.Future[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(None)

    try:
        engine.loop.call_soon_threadsafe(begin)
    except RuntimeError:  # the loop is closed
        kept.close()
        raise EngineStopping("the engine is stopping") from None
    while True:
        try:
            done.result(PATIENCE_S)
            return
        except TimeoutError:
            if engine.state == "closed" or engine.loop.is_closed():
                kept.close()
                raise EngineStopping("the engine is stopping") from None


def _raised(failure: Failure) -> StepFailed:
    return StepFailed(failure.message, type=failure.type)
