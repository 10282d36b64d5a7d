"""Programs: a class with `handle()`, and what goes side by side.

The style of Zenaton. A program is ordinary Python that is *driven*: each awaited op suspends it
until the outcome is recorded, and after a crash it is run again from the top with the recorded
outcomes. Hence the one rule for authors: outside effects, time and chance belong in tasks, steps
and the ops of this package, not in `handle()`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, NoReturn

import msgspec

from greenroom.definitions.engines import ENGINE, EngineFace, current_engine, properties
from greenroom.definitions.errors import InvalidDefinition, InvalidInput, InvalidRequest
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.injection import location
from greenroom.definitions.ops import CURRENT, Gather, Op, asked, workflow_name
from greenroom.definitions.tasks import OnError, Task
from greenroom.definitions.values import Json, encode


class WorkflowContext(msgspec.Struct, frozen=True):
    """`get_context()` of a workflow: the id of its instance, None outside an engine."""

    id: str | None = None


class Unmade:
    """`WelcomeFlow()` where `__init__` needs arguments: good for `where_id` and nothing else."""

    def __init__(self, cls: type[Workflow]) -> None:
        self._class = cls

    def where_id(self, key: str | int) -> Any:
        return self._class.where_id(key)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()

    def refuse(self) -> NoReturn:
        name = self._class.__name__
        raise InvalidRequest(
            f"{name}() was made without its arguments: it can only look for an instance",
            hint=f"{name}.where_id(...), or {name}(...) with what __init__ needs",
        )

    def __repr__(self) -> str:
        return f"<{self._class.__name__} without its arguments>"


class Workflow:
    """A workflow as a class: `handle(self)` is its body, its attributes are its state.

    `id(self)` gives the key of an instance, `on_event(self, event)` handles the events sent to it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made: Any = cls
        if not args and not kwargs and _needs_arguments(made):
            return Unmade(cls)
        return super().__new__(cls)

    def __reduce_ex__(self, protocol: Any) -> Any:  # a copy is not a call without arguments
        return _blank, (type(self),), vars(self)

    def handle(self) -> Any:
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

    def schedule(self, rule: str) -> Any:
        """Starts such an instance at each time of a cron expression (or `"5 minutes"`)."""
        return current_engine(f"{type(self).__name__}.schedule()").schedule(self, rule)

    @classmethod
    def where_id(cls, key: str | int) -> Any:
        """The instance with this key: `.pause() .resume() .kill() .find() .send_event(...)`."""
        return current_engine(f"{cls.__name__}.where_id()").where_id(workflow_name(cls), str(key))

    def get_context(self) -> WorkflowContext:
        """The instance this object is the state of: `.id`."""
        machine = CURRENT.get()
        return WorkflowContext() if machine is None else WorkflowContext(machine.instance)

    def _subject(self) -> Workflow:
        """The object with the properties."""
        return self

    def _child(self, *, detach: bool) -> Op:
        return Op(
            "child",
            workflow_name(type(self)),
            {"input": workflow_input(self), "key": workflow_key(self), "detach": detach},
        )


class Zenatonable:
    """The mixin Zenaton's classes carry: `class WelcomeFlow(Workflow, Zenatonable)`.

    What it stands for is in `Workflow` and `Task` already; either order of bases will do.
    """

    def dispatch(self, *args: Any, **options: Any) -> Any:
        return _behind(self, super(), "dispatch")(*args, **options)

    def execute(self) -> Any:
        return _behind(self, super(), "execute")()

    def schedule(self, rule: str) -> Any:
        return _behind(self, super(), "schedule")(rule)

    @classmethod
    def where_id(cls, key: str | int) -> Any:
        return _behind(cls, super(), "where_id")(key)


def _behind(owner: Any, bases: Any, name: str) -> Any:
    found = getattr(bases, name, None)
    if found is None:
        cls = owner if isinstance(owner, type) else type(owner)
        raise InvalidDefinition(
            f"{cls.__name__} is Zenatonable but neither a Workflow nor a Task   {location(cls)}"
        )
    return found


@functools.cache
def _needs_arguments(cls: Any) -> bool:
    try:
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    except (TypeError, ValueError):
        return False
    return any(
        p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    )


def _blank(cls: type) -> Any:
    return object.__new__(cls)


def workflow_key(workflow: Workflow) -> str | None:
    """The key an instance of a workflow class names itself, checked."""
    subject = workflow._subject()
    rule = getattr(subject, "id", None)
    if not callable(rule):
        return None
    key = rule()
    if key is None:
        return None
    name = type(subject).__name__
    if isinstance(key, bool) or not isinstance(key, str | int) or not str(key):
        raise InvalidInput(f"{name}.id() must give text or a whole number, got {key!r}")
    if len(str(key)) > NAME_MAX:
        raise InvalidInput(f"{name}.id() gave {len(str(key))} characters, the limit is {NAME_MAX}")
    return str(key)


def workflow_input(workflow: Workflow | Task) -> dict[str, Any]:
    """The properties of a workflow object as input. Raises `InvalidInput` naming what cannot be
    stored."""
    subject = workflow._subject() if isinstance(workflow, Workflow) else workflow
    found = properties(subject)
    for name, value in found.items():
        encode(value, f"{type(subject).__name__}.{name}")
    return found


def key_rule(cls: type) -> Any:
    """What gives the key of an instance from its input, for a class that has an `id()`."""
    if not callable(getattr(cls, "id", None)):
        return None

    def key_of(input: dict[str, Json]) -> str | None:
        subject = _blank(cls)
        vars(subject).update(input)
        try:
            return workflow_key(subject)
        except AttributeError as error:
            raise InvalidInput(
                f"{cls.__name__}.id() failed: {error}",
                hint=f"the input of a class is its attributes, not what __init__ takes; here they "
                f"are: {', '.join(input) or 'none'}",
            ) from None

    return key_of


class Parallel:
    """Several tasks or workflows side by side: `await Parallel(A(), B()).execute()`."""

    def __init__(self, *jobs: Any) -> None:
        for job in jobs:
            if not isinstance(job, Task | Workflow | Op | Gather):
                raise InvalidInput(f"Parallel takes tasks and workflows, got {type(job).__name__}")
        self.jobs = jobs

    def execute(self) -> Any:
        """The results in argument order; the first failure (by order) is raised at the end.
        Outside a workflow each runs here, one after the other."""
        if CURRENT.get() is None:
            return _each([job.execute for job in self.jobs])
        return asked(Gather([_op_of(job, awaited=True) for job in self.jobs]))

    def dispatch(self, on_error: OnError = "fail") -> Any:
        """All are started and nobody waits for them; what cannot be stored is found before any."""
        for job in self.jobs:
            if isinstance(job, Task | Workflow):
                workflow_input(job)
        if CURRENT.get() is None:
            return _each([job.dispatch for job in self.jobs])
        return asked(Gather([_op_of(job, awaited=False, on_error=on_error) for job in self.jobs]))


def _op_of(job: Any, *, awaited: bool, on_error: OnError = "fail") -> Any:
    if isinstance(job, Task):
        return job._op("call") if awaited else job._op("dispatch", on_error)
    if isinstance(job, Workflow):
        return job._child(detach=not awaited)
    return job


def _each(calls: list[Any]) -> Any:
    """The results of the calls in order: a list, or something to await if one of them is."""
    results: list[Any] = []
    for place, call in enumerate(calls):
        result = call()
        if inspect.isawaitable(result):
            return _each_awaited(results, result, calls[place + 1 :])
        results.append(result)
    return results


async def _each_awaited(results: list[Any], first: Any, calls: list[Any]) -> list[Any]:
    results.append(await first)
    for call in calls:
        result = call()
        results.append(await result if inspect.isawaitable(result) else result)
    return results


__all__ = [
    "ENGINE", "EngineFace", "Parallel", "Task", "Unmade", "Workflow", "WorkflowContext",
    "Zenatonable", "current_engine", "key_rule", "properties", "workflow_input", "workflow_key",
]  # fmt: skip
