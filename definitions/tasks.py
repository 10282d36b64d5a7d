"""Tasks: a unit of work as a class. Its attributes are its input, `handle` does the work.

class SendMail(Task):
    max_processing_time = 30
    def __init__(self, to): self.to = to
    async def handle(self): return await mail.send(self.to)
    def on_error_retry_delay(self, error): return 60 * self.get_context().retry_index
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec

from greenroom.definitions.durations import seconds
from greenroom.definitions.engines import current_engine, properties
from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.injection import location
from greenroom.definitions.ops import CURRENT, Op, asked
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Target

OnError = Literal["fail", "ignore"]


class TaskContext(msgspec.Struct, frozen=True):
    """What a task may know of the attempt it is. Outside an engine `id` is None.

    `id` is the same in every attempt: hand it on as an idempotency key. `retry_index` is 1 in the
    first attempt and rises with each failed one; a person's `resume` begins at 1 again.
    """

    id: str | None = None
    retry_index: int = 1
    instance: str | None = None
    workflow: str | None = None
    op: str | None = None
    attempt: int = 1
    """Counts on through a `resume`: with it a late attempt is told from the one after it."""
    test: bool = False
    """It belongs to a test run, which tells nobody anything."""
    resumed: bool = False
    """It had failed for good, and a person has let it go on."""
    recorded: tuple[Json, ...] = ()
    """What earlier attempts have recorded, of the handlers of flows."""


class Task:
    """A unit of work with input: its attributes. `handle` does the work and may have effects.

    `max_processing_time` (seconds, or a method that gives them) limits one attempt.
    An attempt that takes longer than `soft_timeout` (a duration) goes on and is reported.
    `on_error_retry_delay(error)` gives the whole seconds until the next attempt; None, False or 0
    give up.
    """

    max_processing_time: ClassVar[Any] = None
    soft_timeout: ClassVar[Any] = None
    _context: TaskContext = TaskContext()

    def handle(self) -> Any:
        raise InvalidDefinition(f"{type(self).__name__} has no handle()   {location(type(self))}")

    def execute(self) -> Any:
        """In a program: an op to await. Anywhere else: runs `handle()` here and now."""
        return asked(self._op("call")) if CURRENT.get() is not None else self.handle()

    def dispatch(self, on_error: OnError = "fail") -> Any:
        """In a program: started, and nobody waits for the result. If it fails for good the
        instance fails too, unless `on_error="ignore"`. Anywhere else: starts an instance that runs
        this task alone, and gives its handle."""
        if CURRENT.get() is not None:
            return asked(self._op("dispatch", on_error))
        return current_engine(f"{type(self).__name__}.dispatch()").dispatch(self)

    def schedule(self, rule: str) -> Any:
        """Runs this task at each time of a cron expression (or `"5 minutes"`)."""
        return current_engine(f"{type(self).__name__}.schedule()").schedule(self, rule)

    def get_context(self) -> TaskContext:
        """The attempt: `.id` and `.retry_index`."""
        return self._context

    def __await__(self) -> Any:
        return self.execute().__await__()

    def _op(self, kind: Literal["call", "dispatch"], on_error: OnError = "fail") -> Op:
        if on_error not in ("fail", "ignore"):
            raise InvalidInput(f'on_error must be "fail" or "ignore", got {on_error!r}')
        cls = type(self)
        target = task_target(cls)
        if target.timeout_s is None and callable(cls.max_processing_time):
            limit = _limit(cls, self.max_processing_time())
            target = msgspec.structs.replace(target, timeout_s=limit)
        return Op(kind, cls.__name__, properties(self), target=target, lenient=on_error == "ignore")


def task_target(cls: type[Task]) -> Target:
    """The target of a task class, made once for each class."""
    found = cls.__dict__.get("_greenroom_target")
    if isinstance(found, Target):
        return found
    if cls.handle is Task.handle or not callable(cls.handle):
        raise InvalidDefinition(f"{cls.__name__} has no handle()   {location(cls)}")
    is_async = inspect.iscoroutinefunction(cls.handle)
    limit = cls.max_processing_time
    target = Target(
        cls.__name__,
        _runner(cls, is_async),
        None,
        is_async,
        timeout_s=None if callable(limit) else _limit(cls, limit),
        delay_of=_retry_rule(cls),
        soft_timeout_s=None
        if cls.soft_timeout is None
        else seconds(cls.soft_timeout, "soft_timeout"),
    )
    cls._greenroom_target = target  # type: ignore[attr-defined]
    return target


def task_called(name: str, module: str | None = None) -> type[Task] | None:
    """The one task class of this process with a name: what an instance of a dispatched task is
    bound to after a restart, when nobody has dispatched it again yet. Of several, the one of
    `module`."""
    found: list[type[Task]] = []
    waiting = Task.__subclasses__()
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__name__ == name and cls.handle is not Task.handle:
            found.append(cls)
    if len(found) > 1 and module is not None:
        found = [cls for cls in found if cls.__module__ == module]
    return found[0] if len(found) == 1 else None


def _rebuilt(cls: type[Task], arguments: dict[str, Any]) -> Task:
    """A task from its stored attributes; `__init__` ran where it was made."""
    task = object.__new__(cls)
    vars(task).update(arguments)
    return task


def _runner(cls: type[Task], is_async: bool) -> Callable[..., Any]:
    if is_async:

        async def run_async(**arguments: Any) -> Any:
            return await _rebuilt(cls, arguments).handle()

        return run_async

    def run(**arguments: Any) -> Any:
        return _rebuilt(cls, arguments).handle()

    return run


def _retry_rule(cls: type[Task]) -> Callable[[dict[str, Any], Exception], float | None] | None:
    """The author's rule, asked with the failed attempt's attributes and context. What is neither
    a positive whole number nor falsy is an error that takes the place of the task's own."""
    rule = getattr(cls, "on_error_retry_delay", None)
    if rule is None:
        return None

    def delay_of(arguments: dict[str, Any], error: Exception) -> float | None:
        wanted = rule(_rebuilt(cls, copy(arguments)), error)
        if not wanted:
            return None
        if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
            raise InvalidDefinition(
                f"{cls.__name__}.on_error_retry_delay must give whole seconds above 0, or None to "
                f"give up, got {wanted!r}"
            ) from error
        return float(wanted)

    return delay_of


def _limit(cls: type[Task], seconds: Any) -> float | None:
    if seconds is None or seconds is False:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise InvalidDefinition(
            f"{cls.__name__}.max_processing_time must be seconds above 0, got {seconds!r}   "
            f"{location(cls)}"
        )
    return float(seconds)
