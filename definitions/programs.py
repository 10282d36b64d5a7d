"""Programs: a class with `handle()`, tasks, and plain coroutine functions.

The style of Zenaton. A program is ordinary Python that is *driven*: each awaited op suspends it
until the outcome is recorded, and after a crash it is run again from the top with the recorded
outcomes. Hence the one rule for authors: outside effects, time and chance belong in tasks, steps
and the ops of this package, not in `handle()`.
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Protocol

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition, InvalidInput, NoEngine
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.injection import injector, location
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import CURRENT, Gather, Op, asked
from greenroom.definitions.values import Json, encode
from greenroom.definitions.workflow import Target

Duration = str | float | datetime.timedelta


class EngineFace(Protocol):
    """What the facades of this module need of an open engine."""

    def dispatch(self, workflow: Workflow) -> Awaitable[Any]: ...

    def where_id(self, workflow: str, key: str) -> Any: ...


ENGINE: Final[ContextVar[EngineFace | None]] = ContextVar("greenroom_engine", default=None)


def current_engine(what: str) -> EngineFace:
    engine = ENGINE.get()
    if engine is None:
        raise NoEngine(
            f"{what} needs an open engine and there is none in this context",
            hint="call it inside `async with Engine.open(...):` (or `with Engine.sync(...):`)",
        )
    return engine


def properties(subject: object) -> dict[str, Any]:
    """The public attributes of an object: the state of a workflow, the input of a task."""
    return {name: value for name, value in vars(subject).items() if not name.startswith("_")}


class Task:
    """A unit of work with input: its attributes. `handle` does the work and may have effects.

    `max_processing_time` (seconds) limits one attempt. `on_error_retry_delay(error)` gives the
    seconds until the next attempt, or None to give up.
    """

    max_processing_time: ClassVar[float | None] = None
    _attempt: int = 1

    def handle(self) -> Any:
        raise InvalidDefinition(f"{type(self).__name__} has no handle()   {location(type(self))}")

    def execute(self) -> Any:
        """In a program: an op to await. Anywhere else: runs `handle()` here and now."""
        return asked(self._op("call")) if CURRENT.get() is not None else self.handle()

    def dispatch(self) -> Any:
        """In a program: an op whose result nobody waits for."""
        if CURRENT.get() is None:
            raise NoEngine(
                f"{type(self).__name__}.dispatch() works inside a workflow only",
                hint="call execute() to run a task here, or start a workflow",
            )
        return asked(self._op("dispatch"))

    def __await__(self) -> Any:
        return self.execute().__await__()

    def _op(self, kind: Any) -> Op:
        cls = type(self)
        return Op(kind, cls.__name__, properties(self), target=task_target(cls))


def task_target(cls: type[Task]) -> Target:
    """The target of a task class, made once for each class."""
    found = cls.__dict__.get("_greenroom_target")
    if isinstance(found, Target):
        return found
    if cls.handle is Task.handle or not callable(cls.handle):
        raise InvalidDefinition(f"{cls.__name__} has no handle()   {location(cls)}")

    def rebuild(arguments: dict[str, Any]) -> Task:
        task = cls.__new__(cls)
        vars(task).update(arguments)
        return task

    is_async = inspect.iscoroutinefunction(cls.handle)

    if is_async:

        async def run_async(**arguments: Any) -> Any:
            return await rebuild(arguments).handle()

        func: Any = run_async
    else:

        def run(**arguments: Any) -> Any:
            return rebuild(arguments).handle()

        func = run

    delay_rule = getattr(cls, "on_error_retry_delay", None)
    delay_of = None
    if delay_rule is not None:

        def delay_of(arguments: Json, error: Exception, failed: int) -> float | None:
            task = rebuild(dict(arguments or {}))
            task._attempt = failed
            wanted = delay_rule(task, error)
            if wanted is None or wanted is False:
                return None
            if isinstance(wanted, bool) or not isinstance(wanted, int | float) or wanted <= 0:
                raise InvalidDefinition(
                    f"{cls.__name__}.on_error_retry_delay must give positive seconds or None, "
                    f"got {wanted!r}"
                ) from error
            return float(wanted)

    target = Target(
        cls.__name__,
        func,
        None,
        is_async,
        timeout_s=cls.max_processing_time,
        delay_of=delay_of,
    )
    cls._greenroom_target = target  # type: ignore[attr-defined]
    return target


class Workflow:
    """A workflow as a class: `async def handle(self)` is its body, its attributes are its state.

    `id(self)` gives the key of an instance, `on_event(self, event)` handles the events sent to it.
    """

    async def handle(self) -> Any:
        raise InvalidDefinition(f"{type(self).__name__} has no handle()   {location(type(self))}")

    def dispatch(self) -> Any:
        """Starts an instance and gives its handle; inside a workflow, a child nobody waits for."""
        if CURRENT.get() is not None:
            return asked(self._child(detach=True))
        return current_engine(f"{type(self).__name__}.dispatch()").dispatch(self)

    def execute(self) -> Any:
        """Inside a workflow: a child whose result is awaited. Outside: runs `handle()` here."""
        if CURRENT.get() is not None:
            return asked(self._child(detach=False))
        return self.handle()

    @classmethod
    def where_id(cls, key: str | int) -> Any:
        """The instance with this key: `.pause() .resume() .kill() .find() .send_event(...)`."""
        return current_engine(f"{cls.__name__}.where_id()").where_id(cls.__name__, str(key))

    def _child(self, *, detach: bool) -> Op:
        return Op(
            "child",
            type(self).__name__,
            {"input": properties(self), "key": workflow_key(self), "detach": detach},
        )


def workflow_key(workflow: Workflow) -> str | None:
    """The key an instance of a workflow class names itself, checked."""
    rule = getattr(workflow, "id", None)
    if not callable(rule):
        return None
    key = rule()
    if isinstance(key, bool) or not isinstance(key, str | int) or not str(key):
        raise InvalidInput(
            f"{type(workflow).__name__}.id() must give text or a number, got {key!r}"
        )
    if len(str(key)) > NAME_MAX:
        raise InvalidInput(
            f"{type(workflow).__name__}.id() gave {len(str(key))} characters, the limit is {NAME_MAX}"
        )
    return str(key)


def workflow_input(workflow: Workflow) -> dict[str, Any]:
    """The properties of a workflow object as input. Raises `InvalidInput` naming what cannot be
    stored."""
    found = properties(workflow)
    for name, value in found.items():
        encode(value, f"{type(workflow).__name__}.{name}")
    return found


class Parallel:
    """Several tasks or workflows side by side: `await Parallel(A(), B()).execute()`."""

    def __init__(self, *jobs: Any) -> None:
        for job in jobs:
            if not isinstance(job, Task | Workflow | Op | Gather):
                raise InvalidInput(f"Parallel takes tasks and workflows, got {type(job).__name__}")
        self.jobs = jobs

    def execute(self) -> Any:
        """The results in argument order; the first failure (by order) is raised at the end."""
        return asked(Gather([_op_of(job, awaited=True) for job in self.jobs]))

    def dispatch(self) -> Any:
        """All are started and nobody waits for them."""
        return asked(Gather([_op_of(job, awaited=False) for job in self.jobs]))


def _op_of(job: Any, *, awaited: bool) -> Any:
    if isinstance(job, Task):
        return job._op("call" if awaited else "dispatch")
    if isinstance(job, Workflow):
        return job._child(detach=not awaited)
    return job


class Wait:
    """`await Wait("UserActivated").days(3).execute()`: the event, or None when the time is over;
    `await Wait().hours(2).execute()`: just the time."""

    def __init__(self, event: str | type | None = None, where: Json = None) -> None:
        if isinstance(event, type):
            event = event.__name__
        if event is not None and (not isinstance(event, str) or not event):
            raise InvalidInput(f"Wait takes the name of an event, got {event!r}")
        if where is not None and event is None:
            raise InvalidInput("Wait(where=...) needs an event")
        self._event = event
        self._where = where
        self._seconds: float | None = None

    def for_(self, duration: Duration) -> Wait:
        self._seconds = (self._seconds or 0.0) + seconds(duration, "wait")
        return self

    def seconds(self, value: float) -> Wait:
        return self._add(value, 1)

    def minutes(self, value: float) -> Wait:
        return self._add(value, 60)

    def hours(self, value: float) -> Wait:
        return self._add(value, 3_600)

    def days(self, value: float) -> Wait:
        return self._add(value, 86_400)

    def weeks(self, value: float) -> Wait:
        return self._add(value, 604_800)

    def _add(self, value: float, unit: float) -> Wait:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InvalidInput(f"a wait needs a number that is not negative, got {value!r}")
        return self.for_(value * unit)

    def execute(self) -> Any:
        if self._event is None:
            return asked(Op("sleep", "sleep", due_s=self._seconds or 0.0))
        where = compile_where(self._where)
        return asked(Op("wait", self._event, where=where, due_s=self._seconds))

    def __await__(self) -> Any:
        return self.execute().__await__()


def program_injector(func: Any) -> Any:
    """How a plain function program takes its arguments."""
    return injector(func)
