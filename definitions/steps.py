"""Step lists: `begin >> reserve >> conditional(big)(approve) >> charge >> done`.

The style of Workflow Orchestrator. A step is a function whose arguments come from the state by
name and whose returned dict is merged into it. `>>` puts steps in a line; the line compiles to a
plan whose node keys are the names of the functions, so that labels may be changed and steps
inserted while instances are on their way.
"""

from __future__ import annotations

import datetime
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec

from greenroom.definitions.conditions import compile_condition
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.injection import Injector, injector, location
from greenroom.definitions.ops import APPROVAL_SCHEMA, CURRENT, Op, asked
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.workflow import MODES, Ask, Guard, Lane, Mode, Node, Plan, Target

P = ParamSpec("P")
R = TypeVar("R")

Duration = str | float | datetime.timedelta
StepFunc = Callable[..., Any]
Predicate = Callable[[dict[str, Any]], Any]


class Piece:
    """What stands in a step list: a step, a question, or a scope with steps inside."""

    key: str
    name: str

    def node(self, key: str, guards: tuple[Guard, ...]) -> Node:
        """The node of a plan this becomes under `key`."""
        raise InvalidDefinition(f"{self!r} cannot stand in a step list")

    def __rshift__(self, other: Any) -> StepList:
        joined: StepList = StepList.of(self) >> other
        return joined


class Step(Piece, Generic[P, R]):
    """A named unit of work. Called in a program it is an op, elsewhere the plain function."""

    def __init__(self, target: Target, key: str | None = None, undo: Target | None = None) -> None:
        self.target = target
        name = str(getattr(target.func, "__name__", target.name))
        self.key = key or (slug_of(target.name, "step") if name == "<lambda>" else name)
        check_key(self.key, location(target.func))
        self.undo = undo
        """What takes back the work of the step, in a step list."""
        self.name = target.name
        functools.update_wrapper(self, target.func)

    def node(self, key: str, guards: tuple[Guard, ...]) -> Node:
        return Node(key, self.name, "call", self.target, guards, undo=self.undo)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if CURRENT.get() is None:
            return self.target.func(*args, **kwargs)  # type: ignore[no-any-return]
        arguments = self.target.injector.bind(args, kwargs) if self.target.injector else kwargs
        op = Op("call", self.target.name, arguments, target=self.target)
        return asked(op)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<step {self.key}: {self.name}>"


class AskStep(Piece):
    """A step that asks a person and goes on with the answer; the engine runs no code for it.
    `target` is the form of an input step."""

    target: Target | None = None

    def __init__(self, name: str, key: str, ask: Ask) -> None:
        check_key(key, f"the question {name!r}")
        self.name = name
        self.key = key
        self.ask = ask

    def node(self, key: str, guards: tuple[Guard, ...]) -> Node:
        return Node(key, self.name, "ask", self.target, guards, self.ask)

    def __repr__(self) -> str:
        return f"<ask {self.key}: {self.name}>"


class Line(msgspec.Struct, frozen=True):
    """One step of a list with the guards around it, outermost first."""

    step: Piece
    guards: tuple[Guard, ...] = ()

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def key(self) -> str:
        return self.step.key


class StepList:
    """Steps in order. `>>` is associative and the empty list is its identity."""

    __slots__ = ("lines",)

    def __init__(self, lines: tuple[Line, ...] = ()) -> None:
        self.lines = lines

    @classmethod
    def of(cls, item: Any) -> StepList:
        if isinstance(item, StepList):
            return item
        if isinstance(item, Piece):
            return cls((Line(item),))
        raise _no_step(item)

    def __rshift__(self, other: Any) -> StepList:
        return StepList(self.lines + StepList.of(other).lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, place: int) -> Line: ...
    @overload
    def __getitem__(self, place: slice) -> StepList: ...
    def __getitem__(self, place: int | slice) -> Line | StepList:
        """One line, or the list of several: `steps[1:]`."""
        found = self.lines[place]
        return StepList(found) if isinstance(found, tuple) else found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepList) and self.lines == other.lines

    def __hash__(self) -> int:
        return hash(self.lines)

    def plan(self) -> Plan:
        return Plan.of(*lanes_of(self))


def lanes_of(*lists: StepList) -> list[tuple[Node, ...]]:
    """The nodes of step lists whose keys must all differ: a step that comes again gets `#2`, `#3`
    behind its key."""
    seen: dict[str, Piece] = {}
    counts: dict[str, int] = {}
    lanes: list[tuple[Node, ...]] = []
    for steps in lists:
        nodes: list[Node] = []
        for line in steps:
            piece = line.step
            first = seen.setdefault(piece.key, piece)
            if first is not piece:
                raise InvalidDefinition(
                    f'two steps have the key "{piece.key}": {first.name!r} and {piece.name!r}',
                    hint='give one of them another:  @step("...", key="...")',
                )
            counts[piece.key] = number = counts.get(piece.key, 0) + 1
            key = piece.key if number == 1 else f"{piece.key}#{number}"
            nodes.append(piece.node(key, line.guards))
        lanes.append(tuple(nodes))
    return lanes


def _no_step(item: Any) -> InvalidDefinition:
    name = getattr(item, "__name__", None) or repr(item)
    if hasattr(item, "__greenroom__"):
        return InvalidDefinition(
            f"{name} is a workflow and no step   {location(item)}",
            hint="keep the steps that both use in a list of their own:  common = begin >> a >> b",
        )
    if getattr(item, "__qualname__", "").startswith("conditional.<locals>"):
        return InvalidDefinition(
            "conditional(...) has no steps yet", hint="write  conditional(predicate)(step)"
        )
    if callable(item):
        return InvalidDefinition(
            f"{name} is not a step   {location(item)}", hint=f"decorate it:  @step({str(name)!r})"
        )
    hint = "write the step itself, without calling it:  begin >> reserve >> done"
    if inspect.iscoroutine(item):
        item.close()  # nobody will await it, and it was said why
    elif isinstance(item, list | tuple):
        hint = "join steps with >>:  begin >> reserve >> charge"
    return InvalidDefinition(f"{name} is not a step", hint=hint)


KEY_FORBIDDEN: Final = frozenset("[]~:")
"""Signs with a meaning in the keys of ops: lanes, rounds, what is taken back."""


def check_key(key: str, where: str) -> None:
    if not isinstance(key, str) or not key or len(key) > NAME_MAX:
        raise InvalidDefinition(f"a key needs 1 to {NAME_MAX} characters, got {key!r}   {where}")
    found = KEY_FORBIDDEN.intersection(key)
    if found:
        raise InvalidDefinition(f"the key {key!r} must not contain {min(found)!r}   {where}")


class End(Piece):
    """The end of the instance, wherever it stands: `stop` completes it, `abort` cancels it."""

    def __init__(self, name: str, outcome: str) -> None:
        self.key = self.name = name
        self.outcome = outcome

    def node(self, key: str, guards: tuple[Guard, ...]) -> Node:
        return Node(key, self.name, "end", None, guards, outcome=self.outcome)

    def __repr__(self) -> str:
        return f"<{self.name}>"


begin: Final = StepList()
init: Final = begin
done: Final = StepList()
abort: Final = End("abort", "cancelled")
"""`conditional(p)(abort)`: the instance is cancelled here; what was done is taken back."""


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
    soft_timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    verify: Callable[..., Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    summary: str | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    name: Any = None,
    *,
    key: str | None = None,
    retry: RetryPolicy | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    soft_timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    verify: Callable[..., Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    summary: str | None = None,
) -> Any:
    """Marks a function as a step; a failure fails the instance (resumable).

    `mode`: `at_least_once` (default), `at_most_once` (never run again by itself: after a crash it
    is in doubt), `transactional` (what it hands to `ctx.sql` is applied with its result).
    `timeout` is for one attempt; one that takes longer than `soft_timeout` goes on, and is reported
    (a warning in the log, a line of `why`). `verify(...)` is asked after a crash whether the effect happened.
    `compensate` (a function or step) takes the work of this one back, in a step list that is
    cancelled or fails later on; those of all steps that were done run in reverse order.
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
                soft_timeout=soft_timeout,
                executor=executor,
                verify=verify,
                summary=summary,
            ),
            key,
            None if compensate is None else _undo(compensate, name or func.__name__),
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
    soft_timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    compensate: Callable[..., Any] | None = None,
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
    soft_timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    compensate: Callable[..., Any] | None = None,
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
        soft_timeout=soft_timeout,
        executor=executor,
        compensate=compensate,
        summary=summary,
    )


def _undo(compensate: Callable[..., Any], name: str) -> Target:
    """What takes back a step's work, under a name that says so."""
    if isinstance(compensate, Step):
        return compensate.target
    return make_target(compensate, f"take back {name}")


def make_target(
    func: Callable[..., Any],
    name: str | None,
    *,
    retry: RetryPolicy | None = None,
    mode: Mode = "at_least_once",
    timeout: Duration | None = None,
    soft_timeout: Duration | None = None,
    executor: Literal["auto", "thread", "process"] = "auto",
    verify: Callable[..., Any] | None = None,
    summary: str | None = None,
    inject: Injector | None = None,
) -> Target:
    """Checks what can be checked when a function is decorated."""
    func = getattr(func, "__injected__", func)  # `inject_args` is what a step does anyway
    if isinstance(func, Step):
        raise InvalidDefinition(f"{func.name} is a step already   {location(func.target.func)}")
    if hasattr(func, "__greenroom__"):
        raise InvalidDefinition(
            f"{func.__name__} is a workflow and cannot be a step   {location(func)}",
            hint="put @step on a function of its own; a program may await the workflow itself",
        )
    if not callable(func) or isinstance(func, type):
        raise InvalidDefinition(f"a step needs a function, got {func!r}")
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise InvalidDefinition(f"the name of a step must be text, got {name!r}   {location(func)}")
    if mode not in MODES:
        raise InvalidDefinition(
            f"mode must be one of {', '.join(MODES)}, got {mode!r}   {location(func)}"
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InvalidDefinition(
            f"{func.__name__}: retry must be a RetryPolicy, got {retry!r}   {location(func)}",
            hint='or say it to a retrystep:  @retrystep(delay="10s", max_attempts=5)',
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
        inject or injector(func, resources=True),
        is_async,
        mode,
        retry,
        None if timeout is None else seconds(timeout, "timeout"),
        executor,
        None,
        verify,
        summary,
        soft_timeout_s=None if soft_timeout is None else seconds(soft_timeout, "soft_timeout"),
    )


def ask_step(
    title: str,
    *,
    key: str | None = None,
    assignee: str | None = None,
    due: Duration | None = None,
    result_key: str | None = None,
    enforce_assignee: bool = False,
) -> AskStep:
    """A step that asks for an approval; the answer is stored under `result_key` (default: the
    step's key). With `enforce_assignee=True` nobody but the assignee may answer."""
    slug = key or slug_of(title, "approval")
    due_s = None if due is None else seconds(due, "due")
    ask = Ask(
        "approval", title, APPROVAL_SCHEMA, assignee, due_s, result_key or slug,
        enforce=enforce_assignee,
    )  # fmt: skip
    return AskStep(title, slug, ask)


def slug_of(title: str, otherwise: str) -> str:
    """A key made from a title."""
    if not isinstance(title, str) or not title.strip():
        raise InvalidDefinition(f"a name must be text, got {title!r}")
    return "".join(c if c.isalnum() else "_" for c in title.lower()).strip("_") or otherwise


def guard_of(p: Predicate | dict[str, Any]) -> Guard:
    """A guard from a predicate over the state or a condition object."""
    if isinstance(p, dict):
        condition = compile_condition(p)
        return Guard(lambda state: condition.holds(state), "condition", explain=condition.explain)
    if isinstance(p, Piece):
        raise InvalidDefinition(
            f"conditional asks a predicate, {p!r} is a step", hint="write  conditional(p)(step)"
        )
    if callable(p):
        return Guard(p, getattr(p, "__name__", "predicate"))
    raise InvalidDefinition(f"conditional needs a function or a condition object, got {p!r}")


def conditional(p: Predicate | dict[str, Any], *, once: bool = False) -> Callable[..., StepList]:
    """`conditional(p)(steps)`: each of the steps runs only if `p(state)` is true just before it;
    else it is skipped and the state stays as it is. `p` may be a condition object.

    With `once=True` it is asked before the first of the steps, for all of them.
    """
    guard = guard_of(p)

    def guarded(*steps: Any) -> StepList:
        if not steps:
            raise InvalidDefinition("conditional(...)() has no steps")
        lists = [StepList.of(item) for item in steps]
        if once:
            lines = tuple(line for one in lists for line in one.lines)
            return StepList.of(Once(guard, StepList(lines)))
        return StepList(
            tuple(Line(line.step, (guard, *line.guards)) for one in lists for line in one.lines)
        )

    return guarded


class Once(Piece):
    """Steps behind one question. It has no part in their keys: a list may be put behind a condition
    while instances are on their way."""

    def __init__(self, guard: Guard, steps: StepList) -> None:
        self.key = f"if {steps.lines[0].step.key}"
        self.name = guard.name
        self.guard = guard
        self.steps = steps

    def node(self, key: str, guards: tuple[Guard, ...]) -> Node:
        (line,) = lanes_of(self.steps)
        lane = Lane(self.name, line, self.guard)
        return Node(key, self.name, "choice", None, guards, lanes=(lane,), inline=True)

    def __repr__(self) -> str:
        return f"<once {self.name}>"
