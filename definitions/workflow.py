"""The one model: what all ways of writing a workflow compile to.

A `Definition` has a name, a version, triggers and a body. The body is a `Plan` (a list of nodes
with stable keys: it can be drawn, checked, previewed and resumed from state alone) or a `Program`
(a coroutine function or class that is driven, and replayed to get back to where it was).
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.expressions import Value, compile_value
from greenroom.definitions.injection import Injector
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.schedules import Schedule
from greenroom.definitions.values import Json, canonical

Mode = Literal["at_least_once", "at_most_once", "transactional"]
MODES: Final = ("at_least_once", "at_most_once", "transactional")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A unit of work an op runs: the function and how to run it.

    `name` is what the journal calls it. `delay_of(arguments, error)` is an author's own rule for
    the next attempt: seconds, or None to give up.
    """

    name: str
    func: Callable[..., Any]
    injector: Injector | None
    is_async: bool
    mode: Mode = "at_least_once"
    retry: RetryPolicy | None = None
    timeout_s: float | None = None
    executor: Literal["auto", "thread", "process"] = "auto"
    delay_of: Callable[[dict[str, Any], Exception], float | None] | None = None
    verify: Callable[..., Any] | None = None
    summary: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """A recorded yes or no before a node: `test` is asked with a copy of the state."""

    test: Callable[[dict[str, Any]], Any]
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One op of a plan. `kind` is `call` (of `target`) or `ask` (an open question)."""

    key: str
    name: str
    kind: Literal["call", "ask"] = "call"
    target: Target | None = None
    guards: tuple[Guard, ...] = ()
    ask: Ask | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """An open question: for an approval the answer is `{"approved": bool, ...}`."""

    kind: Literal["form", "approval", "callback"]
    title: str
    schema: Json = None
    assignee: str | None = None
    due_s: float | None = None
    result_key: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    nodes: tuple[Node, ...]
    index: Mapping[str, int]

    @classmethod
    def of(cls, nodes: tuple[Node, ...]) -> Plan:
        return cls(nodes, {node.key: place for place, node in enumerate(nodes)})

    def outline(self) -> list[str]:
        """The names of the steps, in order: what a preview shows before the start."""
        return [node.name for node in self.nodes]


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """`make(input)` builds the subject of one instance (an object of the class, or None for a plain
    function) and the routine to drive; `on_event` is set when events go to a handler."""

    func: Callable[..., Any]
    injector: Injector | None
    cls: type | None
    handles_events: bool
    sync: bool = False
    key_rule: Callable[[dict[str, Json]], str | None] | None = None
    """Gives the key of an instance from its input, where the class has an `id()`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trigger:
    """What starts instances: an event type with a condition, or a schedule."""

    type: str | None
    where: Where
    key: Value | None
    transform: Value | None
    schedule: Schedule | None = None
    schedule_id: str | None = None

    def as_data(self) -> dict[str, Json]:
        if self.schedule is not None:
            return {"schedule": self.schedule.rule}
        return {"type": self.type, "where": self.where.source}


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """The document a workflow was compiled from, kept with its version in the store. `reader` is
    the name of what reads it back (see `runtime.sources`), `document` what it was given."""

    reader: str
    document: Json


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """A workflow. `attributes` maps names of search attributes to values computed from input."""

    name: str
    version: int | None
    kind: Literal["steps", "program"]
    body: Plan | Program
    triggers: tuple[Trigger, ...]
    hash: str
    source: str
    attributes: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    strict: bool = False
    learned: dict[str, Target] = dataclasses.field(default_factory=dict, compare=False)
    """Targets of a program by name, as far as its requests have shown them."""
    older: Mapping[int, Definition] = dataclasses.field(default_factory=dict, compare=False)
    """Versions before this one that the code still has."""
    form: Target | None = None
    """What a person is asked before an instance exists."""
    written: Written | None = None
    """The document it comes from; None for Python code."""
    enabled: bool | None = None
    """Whether its triggers act, if its document says so; not part of its version."""
    gone: bool = False
    """It stands for a workflow nobody has any more: instances can be read and cancelled."""

    @property
    def plan(self) -> Plan:
        assert isinstance(self.body, Plan)
        return self.body

    @property
    def program(self) -> Program:
        assert isinstance(self.body, Program)
        return self.body

    def steps(self) -> list[str]:
        return self.body.outline() if isinstance(self.body, Plan) else []

    def key_for(self, event: dict[str, Json]) -> str | None:
        """The key of an instance started by this event (or by `{"data": input}`)."""
        for trigger in self.triggers:
            if trigger.key is not None:
                return key_text(trigger.key.evaluate(event), self.name)
        return None

    def key_of(self, input: dict[str, Json]) -> str | None:
        """The key the class of a program gives an instance with this input: its `id()`."""
        rule = self.body.key_rule if isinstance(self.body, Program) else None
        return None if rule is None else rule(input)

    def attributes_of(self, input: Json) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, value in self.attributes.items():
            found = value.evaluate(input)
            if isinstance(found, str | int | float | bool):
                out[name] = found
        return out


def key_text(value: Json, workflow: str) -> str | None:
    """A key as text. Raises `InvalidDefinition` for what cannot be one."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidDefinition(
            f"the key of {workflow} must be text or a number, got {type(value).__name__}"
        )
    text = (
        value
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
    if not text or len(text) > NAME_MAX:
        raise InvalidDefinition(
            f"the key of {workflow} must have 1 to {NAME_MAX} characters, got {len(text)}"
        )
    return text


def trigger_on(
    type: str,
    where: Json = None,
    key: Json = None,
    transform: Json = None,
) -> Trigger:
    """A trigger on events of a type; the expressions read the whole event."""
    if not isinstance(type, str) or not type or len(type) > NAME_MAX:
        raise InvalidDefinition(
            f"on= must be an event type of 1 to {NAME_MAX} characters, got {type!r}"
        )
    return Trigger(
        type,
        compile_where(where),
        None if key is None else compile_value(key),
        None if transform is None else compile_value(transform),
    )


def code_hash(*functions: Callable[..., Any] | type) -> str:
    """A short hash of source code; where there is none (a REPL), of the byte code."""
    digest = hashlib.sha256()
    for function in functions:
        try:
            digest.update(inspect.getsource(function).encode())
        except (OSError, TypeError):
            code = getattr(function, "__code__", None)
            digest.update(code.co_code if code else repr(function).encode())
    return digest.hexdigest()[:16]


def data_hash(value: Json) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()[:16]


class PlanShape(msgspec.Struct, frozen=True):
    """What the store keeps of a plan: enough to draw it and to follow it without the code."""

    nodes: list[dict[str, Json]]


def plan_shape(plan: Plan) -> PlanShape:
    return PlanShape(
        [
            {
                "key": node.key,
                "name": node.name,
                "kind": node.kind,
                "guards": [guard.name for guard in node.guards],
                "mode": node.target.mode if node.target else None,
                "retry": msgspec.to_builtins(node.target.retry)
                if node.target and node.target.retry
                else None,
            }
            for node in plan.nodes
        ]
    )


def check_name(name: str, where: str) -> None:
    if not isinstance(name, str) or not name or len(name) > NAME_MAX or "/" in name:
        raise InvalidDefinition(
            problems=[
                Problem(
                    "name", f"a workflow name needs 1 to {NAME_MAX} characters and no '/'", where
                )
            ]
        )
