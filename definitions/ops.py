"""What a program may ask of the kernel.

A program asks by awaiting: each awaitable here yields itself to the machine that drives the
coroutine, which answers with the op's recorded outcome. `CURRENT` tells whether such a machine is
driving right now; a step called anywhere else is the plain function it decorates.
"""

from __future__ import annotations

import datetime
import re
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextvars import ContextVar
from typing import Any, Final, Literal, Self, TypeVar

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput, InvalidRequest
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Ask, Target

CURRENT: Final[ContextVar[Any]] = ContextVar("greenroom_machine", default=None)
"""The machine that drives the code being run, None outside programs."""

OpKind = Literal["call", "dispatch", "sleep", "wait", "ask", "child", "emit", "value"]
Settle = Literal["settle", "cancel", "race"]

T = TypeVar("T")

Since = str | float | datetime.timedelta | datetime.datetime
"""`start` (of the instance), `now`, how long ago, or when."""


class Op(Awaitable[Any]):
    """One request. Awaited once, inside a program."""

    __slots__ = (
        "args", "ask", "due_s", "event_class", "key", "kind", "lenient", "name", "since", "target",
        "until", "when", "where",
    )  # fmt: skip

    def __init__(
        self,
        kind: OpKind,
        name: str,
        args: Any = None,
        *,
        target: Target | None = None,
        due_s: float | None = None,
        until: int | None = None,
        when: Callable[[int], int] | None = None,
        where: Where | None = None,
        since: Literal["start", "now"] | datetime.timedelta | datetime.datetime = "start",
        ask: Ask | None = None,
        key: str | None = None,
        event_class: type | None = None,
        lenient: bool = False,
    ) -> None:
        self.kind = kind
        self.name = name
        self.args = args
        self.target = target
        self.due_s = due_s
        self.until = until
        self.when = when
        """Gives the due time from the time of the request, in milliseconds."""
        self.where = where
        self.since = since
        self.ask = ask
        self.key = key
        self.event_class = event_class
        """The class the awaited event is handed on as."""
        self.lenient = lenient
        """A failure of this dispatched op does not fail the instance."""

    def __await__(self) -> Generator[Op, Any, Any]:
        return (yield self)

    def __repr__(self) -> str:
        return f"{self.kind}({self.name})"


class Gather(Awaitable[Any]):
    """Several ops or coroutines side by side."""

    __slots__ = ("due_s", "items", "mode", "return_exceptions")

    def __init__(
        self,
        items: Iterable[Any],
        mode: Settle = "settle",
        return_exceptions: bool = False,
        due_s: float | None = None,
    ) -> None:
        self.items = list(items)
        self.mode = mode
        self.return_exceptions = return_exceptions
        self.due_s = due_s
        """After so long all of them are given up."""

    def __await__(self) -> Generator[Gather, Any, Any]:
        return (yield self)


class Block:
    """A `with` block of a program: `timeout` has a time, `scope` has members."""

    due_s: float | None = None
    mode: Settle = "cancel"
    frame: Any = None
    """What the machine keeps of it while it is open."""

    def entered(self, frame: Any) -> None:
        if self.frame is not None:
            raise InvalidRequest(f"one {type(self).__name__} is good for one `with`; make another")
        self.frame = frame

    def __enter__(self) -> Self:
        self._driven("with")
        asked(Enter(self))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not _is_unwinding(error):
            asked(Leave(self, error))

    async def __aenter__(self) -> Self:
        self._driven("async with")
        await Enter(self)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not _is_unwinding(error):
            await Leave(self, error)

    def _driven(self, how: str) -> None:
        machine = CURRENT.get()
        name = type(self).__name__
        if machine is None:
            raise InvalidRequest(f"{name} is for programs and nothing drives this code")
        if (machine.fiber is None) is (how == "with"):
            better = "async with" if how == "with" else "with"
            raise InvalidRequest(f"{name} needs `{better}` here, not `{how}`")


class Enter(Awaitable[Any]):
    """Asked for where a block begins."""

    __slots__ = ("block",)

    def __init__(self, block: Block) -> None:
        self.block = block

    def __await__(self) -> Generator[Enter, Any, Any]:
        return (yield self)


class Leave(Awaitable[Any]):
    """Asked for where a block ends, with the error it ends with."""

    __slots__ = ("block", "error")

    def __init__(self, block: Block, error: BaseException | None) -> None:
        self.block = block
        self.error = error

    def __await__(self) -> Generator[Leave, Any, Any]:
        return (yield self)


class Member(Awaitable[Any]):
    """What a `scope` has started. Await it for its result or its error."""

    __slots__ = ("frame", "index", "machine", "waiters")

    def __init__(self, machine: Any, frame: Any, index: int) -> None:
        self.machine = machine
        self.frame = frame
        self.index = index
        self.waiters: list[Any] = []

    @property
    def is_done(self) -> bool:
        """It has ended, well or not."""
        return self.frame.members[self.index] is None

    def result(self) -> Any:
        """Its result, once it has one; in a coroutine to be awaited."""
        return asked(self)

    def __await__(self) -> Generator[Member, Any, Any]:
        return (yield self)

    def __repr__(self) -> str:
        return f"<member {self.frame.base}.{self.index}>"


def _is_unwinding(error: BaseException | None) -> bool:
    """Whether the program is being dropped, and not going on anywhere."""
    return isinstance(error, Suspended | GeneratorExit) or type(error).__name__ == "GreenletExit"


def timer(due_s: float) -> Op:
    """The timer of a `timeout`, whose end is no result but the end of something else."""
    return Op("sleep", TIMEOUT, due_s=due_s)


TIMEOUT: Final = "timeout"
"""What the timer of a `timeout` is called in the journal."""


class Select(Awaitable[Any]):
    """Several ops of which a program takes the outcomes one by one, while the others stay open.

    `await select` gives `(key, value)` of the next that has one, also of one that ended while the
    program was at something else.
    """

    __slots__ = ("branch", "home", "ready")

    def __init__(self) -> None:
        self.branch: Any = None
        """The branch that is suspended on this, for the machine."""
        self.home: Any = None
        """The branch it belongs to."""
        self.ready: deque[tuple[str, Any]] = deque()

    def open(self, op: Op) -> None:
        """Asks for an op under its own key and goes on."""
        CURRENT.get().hold(self, op)

    def close(self, key: str, *, forget: bool = False) -> None:
        """Gives an op up. What it has already given comes still, unless that is forgotten too."""
        CURRENT.get().release(key)
        if forget:
            self.ready = deque(item for item in self.ready if item[0] != key)

    @property
    def instance(self) -> str:
        """Id of the instance that is being driven."""
        return str(CURRENT.get().instance)

    @property
    def now(self) -> int:
        """The time of the entry that woke the program, in milliseconds since 1970."""
        return int(CURRENT.get().now)

    def __await__(self) -> Generator[Select, Any, Any]:
        return (yield self)


class Finished:
    """What a program returns to say how it ended: its result and a word for the outcome."""

    __slots__ = ("outcome", "result")

    def __init__(self, result: Json, outcome: str) -> None:
        self.result = result
        self.outcome = outcome


class Suspended(BaseException):
    """Raised at the await of a program whose machine is dropped, so that it unwinds; an op asked
    for while unwinding raises it again. Never leaves the machine."""


class ContinueAsNew(BaseException):
    """Raised by `continue_as_new`; ends this generation of the instance."""

    def __init__(self, input: Json) -> None:
        super().__init__()
        self.input = input


def asked(op: Any) -> Any:
    """An op as the code that asks for it gets it: something to await, or, in a synchronous
    program, its outcome."""
    machine = CURRENT.get()
    if machine is not None and machine.fiber is not None:
        return machine.fiber.ask(op)
    return op


def sleep(duration: str | float | datetime.timedelta) -> Op:
    """Sleeps for a duration; durable, costs nothing while it lasts."""
    return asked(Op("sleep", "sleep", due_s=seconds(duration, "sleep")))  # type: ignore[no-any-return]


def sleep_until(when: datetime.datetime) -> Op:
    """Sleeps until a moment; a naive one is UTC."""
    return asked(Op("sleep", "sleep", until=_epoch_ms(when)))  # type: ignore[no-any-return]


def wait(
    type: str,
    where: Json = None,
    *,
    timeout: str | float | datetime.timedelta | None = None,
    since: Since = "start",
) -> Op:
    """Waits for an event; gives the `Event`, or None when `timeout` is over.

    An event that was accepted before this wait opened counts, back to the start of the instance;
    `since="now"` takes later ones only, `since="2h"` (or a timedelta, a datetime) those of a time
    that may lie before the instance began. `where` is a JMESPath text over the whole event (it must
    give `true`), a condition object, or a map of paths to values.
    """
    if not isinstance(type, str) or not type or len(type) > NAME_MAX:
        raise InvalidInput(f"wait needs an event type of 1 to {NAME_MAX} characters, got {type!r}")
    due = None if timeout is None else seconds(timeout, "timeout")
    return asked(  # type: ignore[no-any-return]
        Op("wait", type, where=compile_where(where), due_s=due, since=looks_back(since))
    )


def emit(type: str, data: Json = None, *, subject: str | None = None) -> Op:
    """Posts an event, exactly once, with the commit of this turn; does not wait for anybody."""
    if not isinstance(type, str) or not type or len(type) > NAME_MAX:
        raise InvalidInput(f"emit needs an event type of 1 to {NAME_MAX} characters, got {type!r}")
    args = {"data": data, "subject": subject} if subject else {"data": data}
    return asked(Op("emit", type, args))  # type: ignore[no-any-return]


def approval(
    title: str,
    *,
    assignee: str | None = None,
    due: str | float | datetime.timedelta | None = None,
    enforce_assignee: bool = False,
) -> Op:
    """Asks a person; gives the answer's data, or None when `due` has passed. With
    `enforce_assignee=True` nobody but the assignee may answer."""
    due_s = None if due is None else seconds(due, "due")
    question = Ask("approval", title, APPROVAL_SCHEMA, assignee, due_s, enforce=enforce_assignee)
    return asked(Op("ask", title, due_s=due_s, ask=question))  # type: ignore[no-any-return]


APPROVAL_SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "comment": {"type": "string"}},
    "required": ["approved"],
}


def now() -> Op:
    """The time of the entry that woke the program: a `datetime` in UTC, the same on replay."""
    return asked(Op("value", "now"))  # type: ignore[no-any-return]


def random() -> Op:
    """A float in [0, 1) that depends on the instance and the place of the call alone."""
    return asked(Op("value", "random"))  # type: ignore[no-any-return]


def uuid() -> Op:
    """A UUID text that depends on the instance and the place of the call alone."""
    return asked(Op("value", "uuid"))  # type: ignore[no-any-return]


def gather(*items: Any, return_exceptions: bool = False, on_error: Settle = "settle") -> Gather:
    """Runs ops and coroutines side by side; gives the results in argument order.

    By default all are waited for and then the error with the lowest index is raised, whatever
    finished first. `on_error="cancel"` gives the others up at the first error.
    """
    if on_error not in ("settle", "cancel"):
        raise InvalidInput(f'on_error must be "settle" or "cancel", got {on_error!r}')
    return asked(Gather(items, on_error, return_exceptions))  # type: ignore[no-any-return]


def race(*items: Any) -> Gather:
    """Runs ops and coroutines side by side until the first one ends; gives its result (or raises
    its error) and gives the others up."""
    if not items:
        raise InvalidInput("race needs at least one op")
    return asked(Gather(items, "race"))  # type: ignore[no-any-return]


def continue_as_new(input: Json = None) -> None:
    """Ends this generation and begins the next with `input` and an empty history."""
    raise ContinueAsNew(input)


def child(
    workflow: Any,
    input: Json = None,
    *,
    key: str | None = None,
    detach: bool = False,
    on_cancel: Literal["cancel", "abandon"] = "cancel",
    on_failed: Literal["wait", "raise"] = "wait",
) -> Op:
    """Starts another workflow (by name, class, function, or an object of a class) and waits for
    its result; with `detach=True` gives its id at once and does not wait.

    A child that is given up, by a cancel of its parent or a timeout, is cancelled; with
    `on_cancel="abandon"` it goes on alone. A child that fails is waited for, until somebody has
    mended and resumed it; with `on_failed="raise"` its failure is raised here and what becomes of
    it afterwards is not looked at.
    """
    if on_cancel not in ("cancel", "abandon"):
        raise InvalidInput(f'on_cancel must be "cancel" or "abandon", got {on_cancel!r}')
    if on_failed not in ("wait", "raise"):
        raise InvalidInput(f'on_failed must be "wait" or "raise", got {on_failed!r}')
    if hasattr(workflow, "_child") and not isinstance(workflow, type):
        made: Op = workflow._child(detach=detach)
        name, args = made.name, made.args
        args |= {} if key is None else {"key": key}
    else:
        name = workflow if isinstance(workflow, str) else workflow_name(workflow)
        args = {"input": input, "key": key, "detach": detach}
    if on_cancel != "cancel":
        args["on_cancel"] = on_cancel
    if on_failed != "wait":
        args["on_failed"] = on_failed
    return asked(Op("child", name, args))  # type: ignore[no-any-return]


_VERSIONED: Final = re.compile(r"(.+)_v([1-9]\d{0,5})")


def named_version(name: str) -> tuple[str, int | None]:
    """`WelcomeFlow_v3`, the name of a class, is version 3 of WelcomeFlow."""
    found = _VERSIONED.fullmatch(name)
    return (name, None) if found is None else (found[1], int(found[2]))


def workflow_name(workflow: Any) -> str:
    """The name a workflow is registered under."""
    is_class = isinstance(workflow, type)
    declared = vars(workflow) if is_class else {}  # not that of a class it derives from
    definition = (
        declared.get("__greenroom__") if is_class else getattr(workflow, "__greenroom__", None)
    )
    if definition is not None:
        return str(definition.name)
    name = getattr(workflow, "__name__", None)
    if is_class and isinstance(name, str) and hasattr(workflow, "_child"):
        return named_version(name)[0]
    if not isinstance(name, str):
        raise InvalidInput(f"{workflow!r} is not a workflow: give its name, class or function")
    return name


def looks_back(since: Since) -> Literal["start", "now"] | datetime.timedelta | datetime.datetime:
    """`since` as an op has it. Raises `InvalidInput`."""
    if since == "start" or since == "now" or isinstance(since, datetime.datetime):
        return since  # type: ignore[return-value]
    return datetime.timedelta(seconds=seconds(since, "since"))


def since_ms(since: Any, now: int) -> int | None:
    """The moment from which events count, None for `start` and `now`."""
    if isinstance(since, datetime.timedelta):
        return now - round(since.total_seconds() * 1000)
    return _epoch_ms(since) if isinstance(since, datetime.datetime) else None


def is_driven() -> bool:
    return CURRENT.get() is not None


def _epoch_ms(when: datetime.datetime) -> int:
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return round(when.timestamp() * 1000)


Routine = Callable[..., Any]
