"""The one model: what all ways of writing a workflow compile to.

A `Definition` has a name, a version, triggers and a body. The body is a `Plan` (a list of nodes
with stable keys: it can be drawn, checked, previewed and resumed from state alone) or a `Program`
(a coroutine function or class that is driven, and replayed to get back to where it was).
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from greenroom.definitions.collecting import Collect
from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.events import NAME_MAX, Event
from greenroom.definitions.expressions import Value, compile_value
from greenroom.definitions.findings import Finding
from greenroom.definitions.gates import Classify, Gate
from greenroom.definitions.injection import Injector
from greenroom.definitions.matching import Where, compile_where
from greenroom.definitions.names import name_problem
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.schedules import Schedule
from greenroom.definitions.values import Json, canonical

Mode = Literal["at_least_once", "at_most_once", "transactional"]
OnError = Literal["fail", "pause"]
MODES: Final = ("at_least_once", "at_most_once", "transactional")

Kind = Literal["steps", "program", "document", "stages", "template"]
"""The way a workflow was written."""
PLAN_KINDS: Final = frozenset({"steps", "document"})
"""Those whose body is a plan: their result is the state."""


class Target(msgspec.Struct, frozen=True):
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
    soft_timeout_s: float | None = None
    """An attempt that takes longer is reported, and goes on."""


class Change(NamedTuple):
    """What an outcome does to the state: names of its top level that are set, and dropped."""

    set: dict[str, Json]
    drop: tuple[str, ...] = ()


class Guard(msgspec.Struct, frozen=True):
    """A recorded yes or no before a node: `test` is asked with a copy of the state.

    A no skips the node, fails the instance, or stops it: completed, outcome `stopped`.
    """

    test: Callable[[dict[str, Any]], Any]
    name: str
    on_false: Literal["skip", "fail", "stop"] = "skip"
    explain: Callable[[dict[str, Any]], list[Finding]] | None = None
    """What it looks at and what it sees there, where it is a condition and no function."""


class Ask(msgspec.Struct, frozen=True):
    """An open question: for an approval the answer is `{"approved": bool, ...}`.

    `early`: it is open from the beginning of its group, and an answer that comes before its turn is
    kept. `expires` says what `due_s` without an answer does.
    """

    kind: Literal["form", "approval", "callback"]
    title: str
    schema: Json = None
    assignee: str | None = None
    due_s: float | None = None
    result_key: str | None = None
    early: bool = False
    expires: Literal["go_on", "fail"] = "go_on"
    enforce: bool = False
    """Only the assignee may answer."""
    route_key: str = "callback_route"
    """Under this name the steps of the group are given the route of a callback."""


class Fan(msgspec.Struct, frozen=True):
    """How the lanes of a `parallel` or `foreach` run beside each other and what becomes of them.

    Each lane works on names of its own over the state outside. `items` gives what a foreach goes
    through; each item stands in its lane as `item`, its place as `index`. At most `limit` lanes
    are open at once. `merge`: `namespace` puts the names of each lane under `into`, by lane;
    `list` puts them there in order; `merge` puts them straight into the state, later lanes last.
    `on_error`: a failed lane lets the others finish and then fails the instance (`settle`), parks
    it at once (`park`), or counts as done with its error for a result (`skip`).
    """

    merge: Literal["namespace", "merge", "list"] = "namespace"
    into: str = ""
    items: Callable[[dict[str, Any]], Json] | None = None
    item: str = "item"
    index: str = "index"
    limit: int | None = None
    on_error: Literal["settle", "park", "skip"] = "settle"


class Lane(msgspec.Struct, frozen=True):
    """One line of nodes inside a node: a branch, or the body of a foreach. `guard` is asked where
    the first lane that holds is chosen."""

    name: str
    nodes: tuple[Node, ...]
    guard: Guard | None = None


NodeKind = Literal[
    "call", "ask", "wait", "sleep", "emit", "child", "set", "end",
    "group", "choice", "parallel", "foreach",
]  # fmt: skip


class Node(msgspec.Struct, frozen=True):
    """One place of a plan.

    Ops: `call` (of `target`), `ask` (an open question), `wait` (for the event `name`), `sleep`,
    `child` (the workflow `name`), `emit` (the event `name`). Done at once: `set` (applies `after`)
    and `end` (completes with `outcome`). Structure over `lanes`: `group` (its one lane), `choice`
    (the first lane whose guard holds), `parallel` (all), `foreach` (its one lane, once an item).

    `args(state)` gives what an op other than a call is asked for with: `{"data": ...}` of an emit,
    `{"input", "key", "detach"}` of a child. `after(state, outcome)` says what an outcome changes;
    without it a dict is merged. `due(state, at)` is when a sleep ends or a wait is given up, in
    milliseconds. `where(state)` is what a wait takes. The arguments of an emit or a wait may name
    another `type`; those of an ask give its `title` and `assignee` where they depend on the state. `on_error` lets a failure count as a skip, or
    stop the instance. `undo` takes back what a call has done, when the instance is cancelled or
    fails. `restart`: a failure inside a group begins the group anew. `inline`: the keys inside do
    not carry the key of this node.
    """

    key: str
    name: str
    kind: NodeKind = "call"
    target: Target | None = None
    guards: tuple[Guard, ...] = ()
    ask: Ask | None = None
    args: Callable[[dict[str, Any]], Json] | None = None
    after: Callable[[dict[str, Any], Json], Change] | None = None
    due: Callable[[dict[str, Any], int], int | None] | None = None
    where: Callable[[dict[str, Any]], Where] | None = None
    since: str | timedelta | datetime = "start"
    """From when on events count for a wait."""
    outcome: str = "ok"
    """Of an `end`; `cancelled` cancels the instance, with what that takes back."""
    on_error: Literal["fail", "skip", "stop"] = "fail"
    undo: Target | None = None
    lanes: tuple[Lane, ...] = ()
    fan: Fan | None = None
    restart: bool = False
    inline: bool = False


class Place(msgspec.Struct, frozen=True):
    """Where a node stands: in which line, after which others, inside which node's lane."""

    node: Node
    line: tuple[Node, ...]
    at: int
    scope: Place | None = None
    lane: int = 0
    plain: bool = False
    """A call outside any scope whose result is merged, and nothing more."""


class Plan(msgspec.Struct, frozen=True):
    """Nodes in order. `places` has every one, also those inside others, by its *fixed* key: the
    keys of the scopes around it and its own, joined by dots, a foreach written `key[]`."""

    nodes: tuple[Node, ...]
    places: Mapping[str, Place]

    @classmethod
    def of(cls, nodes: tuple[Node, ...]) -> Plan:
        places: dict[str, Place] = {}
        _set_out(nodes, "", None, 0, places)
        return cls(nodes, places)

    def outline(self) -> list[str]:
        """The names of the steps, in order, those inside a scope behind its name: what a preview
        shows before the start."""
        return [" / ".join(names) for names in _names(self.nodes)]

    @property
    def undoes(self) -> bool:
        return any(place.node.undo is not None for place in self.places.values())


def prefix_inside(kind: str, key: str, around: str | None) -> str:
    """What the fixed keys inside a scope begin with; `around` is the prefix of one that is inline."""
    if around is not None:
        return around
    return f"{key}[]." if kind == "foreach" else f"{key}."


def _set_out(
    nodes: tuple[Node, ...], prefix: str, scope: Place | None, lane: int, places: dict[str, Place]
) -> None:
    for at, node in enumerate(nodes):
        plain = scope is None and node.kind == "call" and node.after is None and node.undo is None
        place = Place(node, nodes, at, scope, lane, plain)
        key = prefix + node.key
        if key in places:
            raise InvalidDefinition(f'two steps have the key "{key}"')
        places[key] = place
        if node.lanes:
            inner = prefix_inside(node.kind, key, prefix if node.inline else None)
            for number, one in enumerate(node.lanes):
                _set_out(one.nodes, inner, place, number, places)


def _names(nodes: tuple[Node, ...]) -> Iterator[tuple[str, ...]]:
    for node in nodes:
        if not node.inline:
            yield (node.name,)
        for lane in node.lanes:
            for inner in _names(lane.nodes):
                yield inner if node.inline else (node.name, *inner)


class Program(msgspec.Struct, frozen=True):
    """`make(input)` builds the subject of one instance (an object of the class, or None for a plain
    function) and the routine to drive; `on_event` is set when events go to a handler."""

    func: Callable[..., Any]
    injector: Injector | None
    cls: type | None
    handles_events: bool
    sync: bool = False
    key_rule: Callable[[dict[str, Json]], str | None] | None = None
    """Gives the key of an instance from its input, where the class has an `id()`."""


class Trigger(msgspec.Struct, frozen=True):
    """What starts instances: an event type with a condition, or a schedule."""

    type: str | None
    where: Where
    key: Value | None
    transform: Value | None
    schedule: Schedule | None = None
    schedule_id: str | None = None
    collect: Collect | None = None
    """What is awaited before an instance starts; `slot` is this type's place in it."""
    slot: int = 0

    def as_data(self) -> dict[str, Json]:
        if self.schedule is not None:
            return {"schedule": self.schedule.rule}
        data: dict[str, Json] = {"type": self.type, "where": self.where.source}
        if self.collect is not None:
            data |= {"collect": self.collect.as_data(), "slot": self.slot}
        return data


class Written(msgspec.Struct, frozen=True):
    """The document a workflow was compiled from, kept with its version in the store. `reader` is
    the name of what reads it back (see `runtime.sources`), `document` what it was given."""

    reader: str
    document: Json


SLOT: Final = "concurrency"
"""The search attribute with the value that an instance's slot is of."""
PRIORITY: Final = "priority"
"""The one that orders those who wait for a slot, the highest first."""
RATE: Final = "rate"
"""The one with the value that the beginning of an instance is counted under."""


class Concurrency(msgspec.Struct, frozen=True):
    """At most `limit` live instances for each value of the attribute `concurrency`, or in all."""

    limit: int = 1
    on_conflict: Literal["queue", "skip", "cancel_oldest"] = "queue"


class StartRate(msgspec.Struct, frozen=True):
    """At most `limit` instances begin within any `per_ms` for each value of the attribute `rate`,
    or in all."""

    limit: int
    per_ms: int


class Desk(Protocol):
    """Looks at what people ask of an instance before anything is stored: refuses it, or gives it
    back with who they are. `state` is that of the instance, durable."""

    knows_people: bool
    """Whether it says itself who may answer; else an assignee is asked for as of any question."""

    def started(
        self, input: dict[str, Json], form: Any, by: str | None, stage: str | None = None
    ) -> dict[str, Json]: ...

    def answered(self, state: Mapping[str, Json], op: str, data: Json, by: str | None) -> Json: ...

    def submitted(self, state: Mapping[str, Json], by: str | None) -> None: ...

    def sent(self, state: Mapping[str, Json], event: Event, by: str | None) -> Event: ...

    def may_skip(self, op: str) -> bool:
        """Whether whoever steers may say what an op has given."""

    def whois(self, state: Mapping[str, Json], service: str, id: str) -> str | None:
        """The user name of whoever a service calls `id`; None where that is not sure."""

    def schema(self) -> dict[str, Any]:
        """What a start asks for, as a JSON Schema."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """A workflow. `attributes` maps names of search attributes to values computed from input."""

    name: str
    version: int | None
    kind: Kind
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
    on_error: OnError = "fail"
    """What an error nobody caught is shown as: `failed`, or `paused` as in Zenaton."""
    wait_for_dispatched: bool = False
    """A program ends when what it has dispatched has ended too."""
    form: Target | None = None
    """What a person is asked before an instance exists."""
    written: Written | None = None
    """The document it comes from; None for Python code."""
    enabled: bool | None = None
    """Whether its triggers act, if its document says so; not part of its version."""
    only_if: Gate | None = None
    """What may start."""
    classify: Classify | None = None
    """What failures of its steps are called."""
    concurrency: Concurrency | None = None
    """How many live at once."""
    rate: StartRate | None = None
    """How many begin in a time."""
    timeout_ms: int | None = None
    """How long an instance may take from its first turn on."""
    retention_ms: int | None = None
    """How long instances that have ended are kept; None: until somebody prunes."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""
    key: Value | None = None
    """The key of an instance from its input, where no trigger gives it."""
    opening: Callable[[Json], dict[str, Json]] | None = None
    """What the input of a direct start becomes; raises `ConditionFailed`."""
    gone: bool = False
    """It stands for a workflow nobody has any more: instances can be read and cancelled."""
    label: str | None = None
    """What people call it, if not by its name."""
    target: str | None = None
    """What it does to its subject, in the author's words."""
    on_failure: Literal["compensate", "park"] = "compensate"
    """Whether a failure takes back what steps with `compensate=` have done, where there are any."""
    desk: Desk | None = None
    """What people come past, where it matters who they are."""
    standing: Callable[[Mapping[str, Json]], dict[str, Json]] | None = None
    """More search attributes, which follow the state as long as an instance lives: all their names,
    None for what there is not now."""
    uses: tuple[str, ...] = ()
    """What a document uses of the world (`definitions.grants`); nothing is said of code."""

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
        if self.key is not None:
            return key_text(self.key.evaluate(event.get("data")), self.name)
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
    collect: Collect | None = None,
    slot: int = 0,
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
        collect=collect,
        slot=slot,
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


def check_name(name: str, where: str) -> None:
    problem = name_problem(name)
    if problem is not None:
        raise InvalidDefinition(problems=[Problem("name", f"a workflow's name {problem}", where)])
