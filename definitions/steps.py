"""Step lists: `begin >> reserve >> conditional(big)(approve) >> charge >> done`.

The style of Workflow Orchestrator. A step is a function whose arguments come from the state by
name and whose returned dict is merged into it. `>>` puts steps in a line; the line compiles to a
plan whose node keys are the names of the functions, so that labels may be changed and steps
inserted while instances are on their way.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, overload

from greenroom.definitions.conditions import compile_condition
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.injection import Injector, injector, location
from greenroom.definitions.ops import APPROVAL_SCHEMA, CURRENT, Op, asked
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.workflow import MODES, Ask, Guard, Mode, Node, Plan, Target

P = ParamSpec("P")
R = TypeVar("R")

Duration = str | float | datetime.timedelta
StepFunc = Callable[..., Any]
Predicate = Callable[[dict[str, Any]], Any]


class Step(Generic[P, R]):
    """A named unit of work. Called in a program it is an op, elsewhere the plain function."""

    def __init__(self, target: Target, key: str | None = None) -> None:
        self.target = target
        self.key: str = key or str(getattr(target.func, "__name__", target.name))
        self.ask: Ask | None = None
        functools.update_wrapper(self, target.func)

    @property
    def name(self) -> str:
        return self.target.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if CURRENT.get() is None:
            return self.target.func(*args, **kwargs)  # type: ignore[no-any-return]
        arguments = self.target.injector.bind(args, kwargs) if self.target.injector else kwargs
        op = Op("call", self.target.name, arguments, target=self.target)
        return asked(op)  # type: ignore[no-any-return]

    def __rshift__(self, other: Any) -> StepList:
        joined: StepList = StepList.of(self) >> other
        return joined

    def __repr__(self) -> str:
        return f"<step {self.key}: {self.name}>"


class AskStep:
    """A step that asks a person and goes on with the answer; the engine runs no code for it.
    `target` is the form of an input step."""

    target: Target | None = None

    def __init__(self, name: str, key: str, ask: Ask) -> None:
        self.name = name
        self.key = key
        self.ask = ask

    def __rshift__(self, other: Any) -> StepList:
        joined: StepList = StepList.of(self) >> other
        return joined

    def __repr__(self) -> str:
        return f"<ask {self.key}: {self.name}>"


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One step of a list with the guards around it, outermost first."""

    step: Step[..., Any] | AskStep
    guards: tuple[Guard, ...] = ()


class StepList:
    """Steps in order. `>>` is associative and the empty list is its identity."""

    __slots__ = ("lines",)

    def __init__(self, lines: tuple[Line, ...] = ()) -> None:
        self.lines = lines

    @classmethod
    def of(cls, item: Any) -> StepList:
        if isinstance(item, StepList):
            return item
        if isinstance(item, Step | AskStep):
            return cls((Line(item),))
        name = getattr(item, "__name__", None) or repr(item)
        raise InvalidDefinition(
            f"{name} is not a step" + (f"   {location(item)}" if callable(item) else ""),
            hint=f"decorate it:  @step({str(name)!r})" if callable(item) else None,
        )

    def __rshift__(self, other: Any) -> StepList:
        return StepList(self.lines + StepList.of(other).lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepList) and self.lines == other.lines

    def __hash__(self) -> int:
        return hash(self.lines)

    def plan(self) -> Plan:
        """The plan. A step that comes again gets `#2`, `#3` behind its key."""
        seen: dict[str, Any] = {}
        counts: dict[str, int] = {}
        nodes: list[Node] = []
        for line in self.lines:
            step = line.step
            first = seen.setdefault(step.key, step)
            if first is not step:
                raise InvalidDefinition(
                    f'two steps have the key "{step.key}": {first.name!r} and {step.name!r}',
                    hint='give one of them another:  @step("...", key="...")',
                )
            counts[step.key] = number = counts.get(step.key, 0) + 1
            key = step.key if number == 1 else f"{step.key}#{number}"
            if isinstance(step, AskStep):
                nodes.append(Node(key, step.name, "ask", step.target, line.guards, step.ask))
            else:
                nodes.append(Node(key, step.name, "call", step.target, line.guards))
        return Plan.of(tuple(nodes))


begin: Final = StepList()
init: Final = begin
done: Final = StepList()


@overload
def step(name: Callable[P, R]) -> Step[P, R]: ...
@overload
def step(
    name: str | None = None,
    *,
    key: str | None = None,
    retry: RetryPolicy | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    verify: Callable[..., Any] | None = None,
    summary: str | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    name: Any = None,
    *,
    key: str | None = None,
    retry: RetryPolicy | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    verify: Callable[..., Any] | None = None,
    summary: str | None = None,
) -> Any:
    """Marks a function as a step; a failure fails the instance (resumable).

    `mode`: `at_least_once` (default), `at_most_once` (never run again by itself: after a crash it
    is in doubt), `transactional` (what it hands to `ctx.sql` is applied with its result).
    `timeout` is for one attempt. `verify(...)` is asked after a crash whether the effect happened.
    """
    if callable(name) and not isinstance(name, str):
        return step()(name)

    def decorate(func: Callable[P, R]) -> Step[P, R]:
        return Step(
            make_target(
                func,
                name,
                retry=retry,
                mode=mode,
                timeout=timeout,
                executor=executor,
                verify=verify,
                summary=summary,
            ),
            key,
        )

    return decorate


@overload
def retrystep(name: Callable[P, R]) -> Step[P, R]: ...
@overload
def retrystep(
    name: str | None = None,
    *,
    delay: Duration = "10s",
    backoff: float = 2,
    max_delay: Duration = "1h",
    jitter: float = 0.1,
    max_attempts: int | None = None,
    retry_on: tuple[type[BaseException] | str, ...] | None = None,
    key: str | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    summary: str | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def retrystep(
    name: Any = None,
    *,
    delay: Duration = "10s",
    backoff: float = 2,
    max_delay: Duration = "1h",
    jitter: float = 0.1,
    max_attempts: int | None = None,
    retry_on: tuple[type[BaseException] | str, ...] | None = None,
    key: str | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    summary: str | None = None,
) -> Any:
    """Marks a function as a step that is tried again: a failure parks the instance in
    waiting·retry until a durable timer wakes it, without limit unless `max_attempts` says so."""
    if callable(name) and not isinstance(name, str):
        return retrystep()(name)
    policy = RetryPolicy(
        delay_s=seconds(delay, "delay"),
        backoff=backoff,
        max_delay_s=seconds(max_delay, "max_delay"),
        jitter=jitter,
        max_attempts=max_attempts,
        retry_on=None
        if retry_on is None
        else tuple(kind if isinstance(kind, str) else kind.__name__ for kind in retry_on),
    )
    return step(
        name,
        key=key,
        retry=policy,
        mode=mode,
        timeout=timeout,
        executor=executor,
        summary=summary,
    )


def make_target(
    func: Callable[..., Any],
    name: str | None,
    *,
    retry: RetryPolicy | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    verify: Callable[..., Any] | None = None,
    summary: str | None = None,
    inject: Injector | None = None,
) -> Target:
    """Checks what can be checked when a function is decorated."""
    if isinstance(func, Step):
        raise InvalidDefinition(f"{func.name} is a step already   {location(func.target.func)}")
    if not callable(func) or isinstance(func, type):
        raise InvalidDefinition(f"a step needs a function, got {func!r}")
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise InvalidDefinition(f"the name of a step must be text, got {name!r}   {location(func)}")
    if mode not in MODES:
        raise InvalidDefinition(
            f"mode must be one of {', '.join(MODES)}, got {mode!r}   {location(func)}"
        )
    if mode == "at_most_once" and retry is not None:
        raise InvalidDefinition(
            f"{func.__name__}: at_most_once and retries exclude each other   {location(func)}",
            hint="a step that is tried again runs more than once by definition",
        )
    if executor not in ("auto", "thread", "process"):
        raise InvalidDefinition(f"executor must be auto, thread or process, got {executor!r}")
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise InvalidDefinition(
            f"{func.__name__} is a generator; a step returns its result   {location(func)}"
        )
    is_async = inspect.iscoroutinefunction(func)
    if is_async and executor == "process":
        raise InvalidDefinition(
            f"{func.__name__}: executor='process' needs a plain function   {location(func)}"
        )
    return Target(
        name or func.__name__.replace("_", " "),
        func,
        inject or injector(func),
        is_async,
        mode,
        retry,
        None if timeout is None else seconds(timeout, "timeout"),
        executor,
        None,
        verify,
        summary,
    )


def ask_step(
    title: str,
    *,
    key: str | None = None,
    assignee: str | None = None,
    due: Duration | None = None,
    result_key: str | None = None,
) -> AskStep:
    """A step that asks for an approval; the answer is stored under `result_key` (default: the
    step's key)."""
    slug = key or "".join(c if c.isalnum() else "_" for c in title.lower()).strip("_") or "approval"
    due_s = None if due is None else seconds(due, "due")
    return AskStep(
        title, slug, Ask("approval", title, APPROVAL_SCHEMA, assignee, due_s, result_key or slug)
    )


def conditional(p: Predicate | dict[str, Any]) -> Callable[..., StepList]:
    """`conditional(p)(steps)`: each of the steps runs only if `p(state)` is true just before it;
    else it is skipped and the state stays as it is. `p` may be a condition object."""
    if isinstance(p, dict):
        condition = compile_condition(p)
        guard = Guard(lambda state: condition.holds(state), "condition")
    elif callable(p):
        guard = Guard(p, getattr(p, "__name__", "predicate"))
    else:
        raise InvalidDefinition(f"conditional needs a function or a condition object, got {p!r}")

    def guarded(*steps: Any) -> StepList:
        if not steps:
            raise InvalidDefinition("conditional(...)() has no steps")
        lines: list[Line] = []
        for item in steps:
            lines.extend(Line(line.step, (guard, *line.guards)) for line in StepList.of(item))
        return StepList(tuple(lines))

    return guarded
