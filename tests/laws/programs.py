"""Random programs, as source text: what a failure prints can be read and run by hand."""

from __future__ import annotations

import asyncio
import inspect
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from greenroom.definitions import ops
from greenroom.definitions.blocks import scope, timeout, within
from greenroom.definitions.errors import InvalidInput, StepFailed, Timeout
from greenroom.definitions.events import Event
from greenroom.definitions.injection import injector
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.workflow import Definition, Program, Target

AWAITS_MAX: Final = 14
"""Awaits in the text of one program."""


def _work() -> None:
    """No call is ever run here: the driver makes up the outcomes."""


TARGETS: Final = {
    "a": Target("a", _work, None, False),
    "b": Target("b", _work, None, False),
    "twice": Target("twice", _work, None, False, retry=RetryPolicy(10, 2, 3600, 0, 2)),
    "always": Target("always", _work, None, False, retry=RetryPolicy(5, 1, 3600, 0)),
    "once": Target("once", _work, None, False, mode="at_most_once"),
}


def call(name: str, args: Any = None) -> ops.Op:
    return ops.Op("call", name, {"x": args}, target=TARGETS[name])


def dispatch(name: str, args: Any = None) -> ops.Op:
    return ops.Op("dispatch", name, {"x": args}, target=TARGETS[name])


def show(value: Any) -> Any:
    """Any result as JSON."""
    if isinstance(value, Timeout):
        return "!Timeout"
    if isinstance(value, BaseException):
        return f"!{type(value).__name__}:{value}"
    if isinstance(value, Event):
        return [value.type, value.data]
    if isinstance(value, list):
        return [show(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value


def odd(value: Any) -> bool:
    """What branches of programs are taken on: a value, or the length of what has no number."""
    if isinstance(value, bool | int):
        return value % 2 == 1
    return len(str(value)) % 2 == 1


NAMES: Final[dict[str, Any]] = {
    "asyncio": asyncio,
    "call": call,
    "dispatch": dispatch,
    "show": show,
    "odd": odd,
    "Box": types.SimpleNamespace,
    "InvalidInput": InvalidInput,
    "StepFailed": StepFailed,
    "Timeout": Timeout,
    **{
        name: getattr(ops, name)
        for name in (
            "approval", "child", "continue_as_new", "emit", "gather", "now", "race", "random",
            "sleep", "uuid", "wait",
        )
    },
    "scope": scope,
    "timeout": timeout,
    "within": within,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A program: its source, and what the kernel and the reference need of it."""

    source: str
    definition: Definition
    cls: type | None
    func: Callable[..., Any]
    handles: bool


def _lazily(make: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `ops` that never asks by itself, so that plain code can put ops in a gather."""

    def made(*args: Any, **kwargs: Any) -> Any:
        machine = ops.CURRENT.get()
        fiber, machine.fiber = machine.fiber, None
        try:
            return make(*args, **kwargs)
        finally:
            machine.fiber = fiber

    return made


def compile_sample(source: str, *, strict: bool = False) -> Sample:
    """`source` defines `class P` with `handle`, or `async def f`."""
    names = dict(NAMES)
    if "answered(" in source:
        makers = (
            "approval",
            "child",
            "emit",
            "gather",
            "now",
            "race",
            "random",
            "sleep",
            "uuid",
            "wait",
            "within",
        )
        names |= {name: _lazily(NAMES[name]) for name in makers}
        names["answered"] = ops.asked
    exec(compile(source, "sample.py", "exec"), names)  # noqa: S102 (our own text)
    cls = names.get("P")
    if cls is not None:
        func, handles = cls.handle, hasattr(cls, "on_event")
        body = Program(func, None, cls, handles, not inspect.iscoroutinefunction(func))
    else:
        func, handles = names["f"], False
        body = Program(func, injector(func), None, False)
    definition = Definition(
        "sample", 1, "program", body, (), "5a3b1e00c0de0001", "sample.py:1",
        strict=strict,
    )  # fmt: skip
    return Sample(source, definition, cls, func, handles)


def plain_source(source: str) -> str:
    """The same program with a plain `def handle` and `def on_event` (K44): no `await` there."""
    lines: list[str] = []
    inner: int | None = None
    for line in source.splitlines():
        indent = len(line) - len(line.lstrip())
        if inner is not None and indent <= inner:
            inner = None
        if inner is None and line.lstrip().startswith("async def"):
            if indent == 4:
                line = line.replace("async def", "def")
            else:
                inner = indent
        if inner is None:
            line = re.sub(r"await (.*\))(\)\])?$", _answered, line)
            line = line.replace("async with", "with")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _answered(match: re.Match[str]) -> str:
    return f"answered({match[1]}){match[2] or ''}"


def random_sample(rng: Random) -> Sample:
    return compile_sample(Writer(rng).program())


class Writer:
    """Writes one program."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.lines: list[str] = []
        self.awaits = rng.randint(3, AWAITS_MAX)
        self.names = 0
        self.is_class = rng.random() < 0.8
        self.cancels = rng.random() < 0.6
        """Whether gathers may give up their members."""

    def program(self) -> str:
        if self.is_class:
            self.lines.append("class P:")
            self._function("async def handle(self):", 1, main=True)
            if self.rng.random() < 0.5:
                self.awaits = min(self.awaits, 0) + self.rng.randint(0, 4)
                self.lines.append("    async def on_event(self, event):")
                self.lines.append("        self.log = self.log + [['h', show(event)]]")
                self._block(2, 1)
        else:
            self.lines.append("async def f(n=0):")
            self.lines.append("    self = Box(log=[], n=n)")
            self._block(1, 0)
            self.lines.append("    return show(self.log)")
        return "\n".join(self.lines) + "\n"

    def _function(self, head: str, indent: int, *, main: bool) -> None:
        self._line(indent, head)
        self._block(indent + 1, 0)
        if main and self.rng.random() < 0.15:
            self._line(indent + 1, "if self.n < 2:")
            self._line(indent + 2, "continue_as_new({'n': self.n + 1, 'log': self.log[-2:]})")
        if self.rng.random() < 0.7:
            bad = self.rng.random() < 0.02
            self._line(indent + 1, f"return {'object()' if bad else 'show(self.log)'}")

    def _line(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def _name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    def _block(self, indent: int, depth: int) -> None:
        if depth == 0:
            self._op(indent, depth)
        for _ in range(self.rng.randint(2 if depth == 0 else 1, 4 - min(depth, 2))):
            self._statement(indent, depth)

    def _statement(self, indent: int, depth: int) -> None:
        if self.awaits <= 0 or depth > 3:
            self._line(indent, f"self.log = self.log + [{self.rng.randint(0, 9)}]")
            return
        kinds = (
            ("op", 8), ("gather", 4), ("try", 4), ("if", 1), ("for", 1), ("raise", 0.5),
            ("timeout", 1.5), ("within", 1), ("scope", 1.5),
            ("draw", 0.6), ("bad", 0.3), ("drop", 0.3), ("return", 0.15), ("private", 0.3),
        )  # fmt: skip
        kind = self.rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        getattr(self, f"_{kind}")(indent, depth)

    def _op(self, indent: int, depth: int) -> None:
        name = self._name("v")
        self._line(indent, f"{name} = await {self._request()}")
        if self.rng.random() < 0.8:
            self._line(indent, f"self.log = self.log + [show({name})]")
        if self.rng.random() < 0.3:
            self._line(indent, f"if odd(show({name})):")
            self._block(indent + 1, depth + 1)

    def _request(self) -> str:
        self.awaits -= 1
        rng = self.rng
        kind = rng.choices(
            ("call", "sleep", "wait", "ask", "child", "emit", "dispatch", "detach"),
            (10, 2, 4, 1, 1.5, 1, 1, 0.4),
        )[0]
        match kind:
            case "call":
                name = rng.choices(list(TARGETS), (6, 3, 2, 1.5, 4))[0]
                args = rng.choice(("1", "len(self.log)", "self.log[-1:]", "self.n"))
                return f"call({name!r}, {args})"
            case "sleep":
                return f"sleep({rng.randint(1, 40)})"
            case "wait":
                parts = [repr(f"e{rng.randint(0, 2)}")]
                if rng.random() < 0.4:
                    parts.append(f"{{'data.n': {rng.randint(0, 2)}}}")
                if rng.random() < 0.4:
                    parts.append(f"timeout={rng.randint(1, 40)}")
                if rng.random() < 0.15:
                    parts.append("since='now'")
                return f"wait({', '.join(parts)})"
            case "ask":
                due = f", due={rng.randint(1, 40)}" if rng.random() < 0.5 else ""
                return f"approval('ok?'{due})"
            case "child":
                return "child('kid', {'n': self.n})"
            case "detach":
                return "child('kid', {'n': 1}, detach=True)"
            case "emit":
                return f"emit('out', {rng.randint(0, 9)})"
            case _:
                return f"dispatch({rng.choice(list(TARGETS)[:4])!r}, self.n)"

    def _gather(self, indent: int, depth: int) -> None:
        rng = self.rng
        size = rng.randint(0 if rng.random() < 0.1 else 1, 3)
        items = [self._item(indent, depth) for _ in range(size)]
        how = rng.choices(
            ("", "return_exceptions=True", "on_error='cancel'", "race"),
            (5, 2, 2 * self.cancels, 2 * self.cancels),
        )[0]
        name = self._name("g")
        if how == "race" and items:
            self._line(indent, f"{name} = await race({', '.join(items)})")
        else:
            options = [how] if how and how != "race" else []
            self._line(indent, f"{name} = await gather({', '.join([*items, *options])})")
        self._line(indent, f"self.log = self.log + [show({name})]")

    def _item(self, indent: int, depth: int) -> str:
        """An op or a coroutine, to go beside others."""
        rng = self.rng
        if rng.random() < 0.5 or depth > 2:
            return self._request()
        name = self._name("b")
        self._line(indent, f"async def {name}():")
        self._block(indent + 1, depth + 1)
        if rng.random() < 0.5:
            self._line(indent + 1, f"return {rng.randint(0, 9)}")
        return f"{name}()"

    def _guarded(self, indent: int, depth: int, write: Callable[[int], None]) -> None:
        """Most of what may be over in time is ready for it."""
        if self.rng.random() < 0.4:
            write(indent)
            return
        self._line(indent, "try:")
        write(indent + 1)
        kind = self.rng.choice(("Timeout", "TimeoutError", "Exception"))
        self._line(indent, f"except {kind} as error:")
        self._line(indent + 1, "self.log = self.log + [show(error)]")
        if self.rng.random() < 0.4:
            self._block(indent + 1, depth + 1)

    def _timeout(self, indent: int, depth: int) -> None:
        def write(at: int) -> None:
            self._line(at, f"async with timeout({self.rng.randint(1, 30)}):")
            self._block(at + 1, depth + 1)

        self._guarded(indent, depth, write)

    def _within(self, indent: int, depth: int) -> None:
        def write(at: int) -> None:
            item = self._item(at, depth)
            name = self._name("w")
            self._line(at, f"{name} = await within({item}, {self.rng.randint(1, 30)})")
            self._line(at, f"self.log = self.log + [show({name})]")

        self._guarded(indent, depth, write)

    def _scope(self, indent: int, depth: int) -> None:
        rng = self.rng
        name, members = self._name("s"), []
        how = rng.choice(("", "", "on_error='settle'"))
        self._line(indent, f"async with scope({how}) as {name}:")
        for _ in range(rng.randint(1, 3)):
            member = self._name("m")
            self._line(indent + 1, f"{member} = {name}.start({self._item(indent + 1, depth)})")
            members.append(member)
            if rng.random() < 0.3:
                self._block(indent + 1, depth + 2)
        if rng.random() < 0.5:
            self._line(indent + 1, f"self.log = self.log + [show(await ({rng.choice(members)}))]")
        if rng.random() < 0.5:
            self._line(indent, f"self.log = self.log + [show(await ({rng.choice(members)}))]")

    def _try(self, indent: int, depth: int) -> None:
        rng = self.rng
        self._line(indent, "try:")
        self._block(indent + 1, depth + 1)
        how = rng.choice(("except", "except", "finally", "both", "raise", "cancelled"))
        if how in ("except", "both"):
            kind = rng.choice(("StepFailed", "Exception", "StepFailed", "BaseException"))
            if kind == "BaseException" and rng.random() < 0.6:
                kind = "Exception"
            self._line(indent, f"except {kind} as error:")
            self._line(indent + 1, "self.log = self.log + [show(error)]")
            self._block(indent + 1, depth + 1)
        if how == "raise":
            self._line(indent, "except BaseException as error:")
            self._line(indent + 1, "self.failed = show(error)")
            if rng.random() < 0.5:
                self._block(indent + 1, depth + 1)
            self._line(indent + 1, "raise")
        if how == "cancelled":
            self._line(indent, "except asyncio.CancelledError:")
            self._line(indent + 1, "self.log = self.log + ['stop']")
            self._block(indent + 1, depth + 1)
            if rng.random() < 0.5:
                self._line(indent + 1, "raise")
        if how in ("finally", "both"):
            self._line(indent, "finally:")
            self._line(indent + 1, f"self.f{rng.randint(0, 2)} = {rng.randint(0, 9)}")
            if rng.random() < 0.6:
                self._block(indent + 1, depth + 1)

    def _if(self, indent: int, depth: int) -> None:
        what = self.rng.choice(("self.log", "self.log[-1:]", "getattr(self, 'f1', 0)", "self.n"))
        self._line(indent, f"if odd({what}):")
        self._block(indent + 1, depth + 1)
        if self.rng.random() < 0.5:
            self._line(indent, "else:")
            self._block(indent + 1, depth + 1)

    def _for(self, indent: int, depth: int) -> None:
        self._line(indent, f"for _ in range({self.rng.randint(1, 2)}):")
        self._block(indent + 1, depth + 2)

    def _raise(self, indent: int, depth: int) -> None:
        self._line(indent, "if odd(self.log[-1:]):")
        self._line(indent + 1, "raise ValueError(len(self.log))")

    def _draw(self, indent: int, depth: int) -> None:
        what = self.rng.choice(("now()", "uuid()", "random()"))
        self._line(indent, f"self.log = self.log + [show(await {what})]")

    def _bad(self, indent: int, depth: int) -> None:
        self.awaits -= 1
        self._line(indent, "try:")
        what = self.rng.choice(("call('a', object())", "gather(call('b', 1), call('a', object()))"))
        self._line(indent + 1, f"await {what}")
        self._line(indent, "except InvalidInput:")
        self._line(indent + 1, "self.log = self.log + ['bad']")

    def _drop(self, indent: int, depth: int) -> None:
        self._line(indent, "vars(self).pop('f1', None)")

    def _return(self, indent: int, depth: int) -> None:
        self._line(indent, "if odd(self.log[-1:]):")
        self._line(indent + 1, "return show(self.log[-1:])")

    def _private(self, indent: int, depth: int) -> None:
        self._line(indent, "self._n = getattr(self, '_n', 0) + 1")
        self._line(indent, "self.log = self.log + [self._n]")
