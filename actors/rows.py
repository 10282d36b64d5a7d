"""From entries to the works of the store: which rows a turn writes beside its entries.

Status, waits, timers, asks and messages to others are written in the transaction of the entry
that makes them, so that passivation writes nothing and a restart reads only what is in flight.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from greenroom.actors.children import DETACHED, child_id, outlives
from greenroom.actors.entries import (
    Answered,
    AttemptFailed,
    AttemptStarted,
    Begun,
    Died,
    Entry,
    EventReceived,
    Failure,
    Migrated,
    OpCompleted,
    OpFailed,
    OpSkipped,
    Request,
    Started,
    TimerFired,
)
from greenroom.actors.messages import Cancel, Outcome, encode_message
from greenroom.actors.ports import (
    Append,
    AskRow,
    Create,
    EventRow,
    InboxRow,
    InstanceRow,
    StatusChange,
    WaitRow,
)
from greenroom.actors.progress import CALLS, DEADLINE, QUEUED, OpState, Progress, status_of
from greenroom.actors.spots import DUE
from greenroom.definitions.events import Event
from greenroom.definitions.values import Json, canonical, encode
from greenroom.definitions.workflow import PLAN_KINDS, Definition

WAITS_LISTED: Final = 100

TRACE: Final = ("traceparent", "tracestate")
"""The attributes in which an event carries its trace."""

_EPOCH: Final = datetime.datetime(1970, 1, 1)
_WAIT_KINDS: Final = {"sleep": "timer", "wait": "event", "child": "child"}


def wait_data(p: Progress, op: OpState) -> dict[str, Json] | None:
    """One element of `waits[]` as the store keeps it (times in milliseconds); None for what runs,
    and for the deadline of a question that is listed itself."""
    request = op.request
    if request.key.endswith(DUE):
        return None
    data: dict[str, Json] = {"op": request.key, "since": op.since, "name": request.name}
    if op.status == "retry":
        data |= {"kind": "retry", "attempt": op.attempt, "due": op.due}
        if op.error is not None:
            data["error"] = failure_data(op.error)
        return data
    if op.status != "open":
        return None
    data["kind"] = _WAIT_KINDS.get(request.kind) or (
        request.question.kind if request.question else request.kind
    )
    if op.due is not None:
        data["due"] = op.due
    match request.kind:
        case "wait":
            data["type"] = request.name
            data["where"] = request.match.where if request.match else None
        case "ask":
            data["ask"] = ask_id(p, request.key)
            if request.question is not None:
                data["name"] = request.question.title  # what people were asked
            deadline = p.ops.get(request.key + DUE)
            if deadline is not None:
                data["due"] = deadline.due
        case "child":
            data["child"] = child_id(p.id, request.key, op.attempt)
    return data


def failure_data(failure: Failure) -> dict[str, Json]:
    """A failure in the shape `error` of the faces."""
    details = dict(failure.details)
    hint = details.pop("hint", None)
    details["type"] = failure.type
    if failure.op is not None:
        details["op"] = failure.op
    if failure.where is not None:
        details["where"] = failure.where
    data: dict[str, Json] = {"code": failure.code, "message": failure.message, "details": details}
    return data if hint is None else {**data, "hint": hint}


def ask_id(p: Progress, key: str) -> str:
    return f"{p.id}.{key}"


def status_change(p: Progress) -> StatusChange:
    """The columns of lists and filters, from the progress."""
    status = status_of(p)
    waits: list[dict[str, Json]] = []
    steps: list[str] = []
    if status in ("waiting", "paused", "failed"):
        for op in p.ops.values():
            data = wait_data(p, op)
            if data is not None:
                waits.append(data)
                steps.append(op.request.name)
                if len(waits) >= WAITS_LISTED:
                    break
    if p.starts == QUEUED and not p.begun and not p.ended:
        waits.append({"kind": "slot", "op": "", "since": p.created, "name": p.workflow})
    error = None
    code = None
    failure = p.failure if p.end is None else p.undone
    if failure is not None:
        error = msgspec.json.encode(failure_data(failure))
        code = failure.label or failure.code
    if p.failure is not None and p.end is None:
        steps.extend(key for key in p.causes if key not in steps)
        if p.failure.op is not None and p.failure.op not in steps:
            steps.append(p.failure.op)
    busy = (
        status == "running"
        or ((p.failure is not None or status == "completed") and _runs(p))
        or (status == "pending" and p.starts is None)
    )
    return StatusChange(
        status,
        p.outcome,
        msgspec.json.encode(waits),
        "\n".join(steps),
        error,
        code,
        busy,
    )


def attributes_now(
    definition: Definition, p: Progress, given: dict[str, Any]
) -> dict[str, Any] | None:
    """The search attributes of an instance that has some which follow its state, beside those it
    has anyway (`given`); None where there are no such."""
    if definition.standing is None:
        return None
    stands = definition.standing(p.state)
    found = {name: value for name, value in given.items() if name not in stands}
    if not p.ended:
        found |= {name: value for name, value in stands.items() if value is not None}
    return found


def _runs(p: Progress) -> bool:
    return any(op.status == "started" for op in p.ops.values())


class AppendBuilder:
    """Collects the rows of one batch of turns of an instance."""

    def __init__(
        self,
        append: Append,
        p: Progress,
        rowed: set[str],
        children: dict[str, str],
        make_child: Callable[[Request], Create | None],
        start_pos: int | None,
    ) -> None:
        self.append = append
        self.p = p
        self.rowed = rowed
        """Ops that have rows of waits, timers or asks."""
        self.children = children
        """Ids of the children that are cancelled when they are given up, by op."""
        self.make_child = make_child
        self.start_pos = start_pos
        """Where the instance begins in the journal: no wait looks back beyond it. None in the first
        turn, whose waits have nothing to look back to."""
        self.deadline = p.deadline
        """That of the timer row."""

    def add(self, entry: Entry) -> None:
        """The rows that belong to an entry which the progress has just folded."""
        match entry:
            case OpCompleted() | OpFailed() | OpSkipped() | TimerFired():
                self._close(entry.key)
            case AttemptFailed():
                self._timer(entry.key, entry.due)
            case AttemptStarted():
                self._untime(entry.key)
            case EventReceived() if entry.takes is not None and not isinstance(entry.end, Died):
                self._list("taken").append(entry.iq)
                self._close(entry.takes)
            case Answered():
                self._list("answered").append((entry.key, entry.by, entry.at))
                self._close(entry.key)
            case Begun() if self.p.starts is not None:
                self._list("untimed").append("")
            case Migrated():
                self.append.version = entry.version
            case Started() if entry.gen > 1 and not self._carries(entry):
                self.append.generation_start = self.p.iseq
            case _:
                pass
        if entry.closes:
            for key in entry.closes:
                self._cancel_child(key)
                self._close(key)
        for request in entry.requests:
            if request.kind not in CALLS and not request.gone:  # what runs code has no row
                self._request(request)
        if self.p.deadline != self.deadline:
            self._move_deadline(self.p.deadline)

    def _move_deadline(self, due: int | None) -> None:
        self.deadline = due
        append = self.append
        append.timers = [timer for timer in append.timers if timer[0] != DEADLINE]
        append.untimed = [op for op in append.untimed if op != DEADLINE]
        if due is not None:
            append.timers = [*append.timers, (DEADLINE, due)]
        else:
            append.untimed = [*append.untimed, DEADLINE]

    def _carries(self, started: Entry) -> bool:
        """Whether something dispatched in an earlier generation is still open: what asked for it
        must be read again after a restart."""
        new = {request.key for request in started.requests}
        return any(
            op.request.kind == "dispatch" and key not in new for key, op in self.p.ops.items()
        )

    def _list(self, name: str) -> list[Any]:
        found = getattr(self.append, name)
        if not isinstance(found, list):
            found = []
            setattr(self.append, name, found)
        return found

    def _close(self, key: str) -> None:
        self.children.pop(key, None)
        if key in self.rowed:
            self.rowed.discard(key)
            self._forget_new(key)
            self._list("closed").append(key)

    def _forget_new(self, key: str) -> None:
        """What this very batch opened and closed again never gets a row."""
        append = self.append
        if append.opened:
            append.opened = [wait for wait in append.opened if wait.op != key]
        if append.asks:
            append.asks = [ask for ask in append.asks if ask.op != key]
        if append.timers:
            append.timers = [timer for timer in append.timers if timer[0] != key]

    def _timer(self, key: str, due: int) -> None:
        self.rowed.add(key)
        self._list("timers").append((key, due))
        if key in self.append.untimed:
            self.append.untimed = [op for op in self.append.untimed if op != key]

    def _untime(self, key: str) -> None:
        if key in self.rowed:
            self.append.timers = [timer for timer in self.append.timers if timer[0] != key]
            self._list("untimed").append(key)

    def _request(self, request: Request) -> None:
        if request.due is not None:
            self._timer(request.key, request.due)
        match request.kind:
            case "wait":
                assert request.match is not None
                self.rowed.add(request.key)
                match = request.match
                self._list("opened").append(
                    WaitRow(
                        request.key,
                        request.name,
                        match.paths,
                        match.hash,
                        encode(match.where),
                        self.start_pos if match.since == 0 else match.since,
                        more=match.more,
                        since_at=match.since_at,
                    )
                )
            case "ask":
                assert request.question is not None
                self.rowed.add(request.key)
                question = request.question
                self._list("asks").append(
                    AskRow(
                        ask_id(self.p, request.key),
                        request.key,
                        question.kind,
                        question.title,
                        encode(question.schema),
                        question.assignee,
                        request.due,
                    )
                )
            case "emit":
                self._list("emits").append(emitted(self.p, request))
            case "child":
                create = self.make_child(request)
                if create is not None:
                    self._list("creates").append(create)
                    if not outlives(request):
                        self.children[request.key] = create.row.id
            case _:
                pass

    def _cancel_child(self, key: str) -> None:
        id = self.children.get(key)
        if id is not None:
            payload = encode_message(Cancel(reason="its parent gave it up"))
            self._list("tell").append((id, InboxRow("cancel", payload, self.p.at)))

    def failure_to_parent(self) -> None:
        """A child whose parent wants to know has failed: for the parent that is how it ended."""
        p = self.p
        if p.parent is None or p.failure is None or not p.tells or p.parent[2] == DETACHED:
            return
        parent, key, attempt = p.parent
        failure = Failure(
            p.failure.type,
            f"the child {p.workflow} {p.id} failed: {p.failure.message}",
            details={"instance": p.id},
        )
        message = Outcome(key, attempt, error=failure, final=True)
        self._list("tell").append((parent, InboxRow("outcome", encode_message(message), p.at)))

    def outcome_to_parent(self) -> None:
        """The end of a child is an outcome of the op that asked for it."""
        p = self.p
        if p.parent is None or p.end is None:
            return
        parent, key, attempt = p.parent
        if attempt == DETACHED:
            return
        if p.end == "completed":
            message = Outcome(key, attempt, result_of(p))
        else:
            failure = Failure("InstanceCancelled", f"the child {p.workflow} was cancelled")
            message = Outcome(key, attempt, error=failure, final=True)
        self._list("tell").append((parent, InboxRow("outcome", encode_message(message), p.at)))


def result_of(p: Progress) -> Json:
    """What `result()` gives: a program's return value, a plan's final state."""
    return p.result if p.result is not None or p.kind not in PLAN_KINDS else p.state


def emitted(p: Progress, request: Request) -> EventRow:
    """The event an `emit` posts; its id follows from the op, so it is posted once."""
    args = request.args or {}
    at = p.at
    hops = p.hops + 1
    event = Event(
        type=request.name,
        id=f"{p.id}.{request.key}#{request.attempt}",
        source=f"/instances/{p.id}",
        subject=args.get("subject"),
        time=rfc3339(at),
        data=args.get("data"),
        extra={"hops": hops, **trace_of(p.event)},
    )
    return EventRow(
        p.namespace, event, at, f"instance:{p.id}", body_hash(event), hops, checked=True
    )


def trace_of(event: Json) -> dict[str, str]:
    """The trace an event is part of (W3C Trace Context): those it leads to are part of it too."""
    if not isinstance(event, dict) or TRACE[0] not in event:
        return {}
    return {name: str(event[name]) for name in TRACE if event.get(name)}


def body_hash(event: Event) -> int:
    """Tells a repeat of an event from another one with its id. The time of arrival is left out, and
    the trace: whoever sends it again does so in another one."""
    extra = event.extra
    if TRACE[0] in extra:
        extra = {name: value for name, value in extra.items() if name not in TRACE}
    body = canonical([event.type, event.subject, event.data, extra])
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)


def rfc3339(at: int) -> str:
    """Milliseconds since 1970 as text in UTC, always with three digits of milliseconds. A time
    outside the calendar is the first or last in it: a list must not fail for one odd row."""
    try:
        moment = _EPOCH + datetime.timedelta(milliseconds=at)
    except OverflowError:
        moment = datetime.datetime.max if at > 0 else datetime.datetime.min
    return moment.isoformat(timespec="milliseconds") + "Z"


def instance_row(
    n: int, p: Progress, kind: str, change: StatusChange, attributes: dict[str, Any]
) -> InstanceRow:
    """The row of a new instance; `change` is its status."""
    return InstanceRow(
        n,
        p.id,
        p.namespace,
        p.workflow,
        p.version,
        kind,
        p.key,
        change.status,
        p.created,
        p.at,
        change.outcome,
        change.waits,
        change.steps,
        change.error,
        change.error_code,
        attributes,
        p.parent[0] if p.parent else None,
        p.forked[0] if p.forked else None,
        p.test,
        change.busy,
    )
