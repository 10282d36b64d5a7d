"""From rows and entries to the shapes the faces give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from greenroom.actors import entries as e
from greenroom.actors.ports import AskView, DefinitionRow, InstanceRow, StoredEventRow
from greenroom.actors.progress import Progress
from greenroom.actors.rows import failure_data, rfc3339
from greenroom.definitions.events import MOVE
from greenroom.definitions.values import Json
from greenroom.runtime import shapes

KINDS: Final = (
    "InstanceStarted", "StepStarted", "StepCompleted", "StepFailed", "StepSkipped", "StateChanged",
    "WaitOpened", "WaitClosed", "EventReceived", "TimerFired", "AskOpened", "AskAnswered",
    "ChildStarted", "ChildEnded", "EventEmitted", "InstancePaused", "InstanceResumed",
    "InstanceCompleted", "InstanceFailed", "InstanceCancelled", "InstanceMigrated",
)  # fmt: skip
"""The kinds of `history`, in the order they are explained in the documentation."""


def time_text(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def problem(data: dict[str, Json] | None) -> shapes.Problem | None:
    if data is None:
        return None
    return shapes.Problem(
        str(data["code"]), str(data["message"]), data.get("details") or {}, data.get("hint")
    )


def waits_of(row: InstanceRow) -> list[dict[str, Any]]:
    """What an instance waits for, as people see it."""
    return [data for data in msgspec.json.decode(row.waits) if data.get("type") != MOVE]


def wait_shape(data: dict[str, Any]) -> shapes.Wait:
    return shapes.Wait(
        kind=data["kind"],
        op=data["op"],
        since=rfc3339(data["since"]),
        due=time_text(data.get("due")),
        name=data.get("name"),
        type=data.get("type"),
        where=data.get("where"),
        ask=data.get("ask"),
        child=data.get("child"),
        attempt=data.get("attempt"),
        error=problem(data.get("error")),
    )


def instance_shape(row: InstanceRow, state: Json = None, result: Json = None) -> shapes.Instance:
    return shapes.Instance(
        id=row.id,
        workflow=row.workflow,
        version=row.version,
        kind=row.kind,
        key=row.key,
        namespace=row.namespace,
        status=row.status,  # type: ignore[arg-type]
        outcome=row.outcome,
        waits=[wait_shape(data) for data in waits_of(row)],
        state=state,
        result=result,
        error=problem(msgspec.json.decode(row.error)) if row.error else None,
        attributes=dict(row.attributes),
        created=rfc3339(row.created),
        updated=rfc3339(row.updated),
        parent=row.parent,
        forked_from=row.forked_from,
    )


def shown_state(p: Progress) -> Json:
    """The state to show: of a dead turn, what it would have left."""
    return {**p.state, **p.view} if p.view else p.state


def event_shape(row: StoredEventRow) -> shapes.StoredEvent:
    event = row.event
    return shapes.StoredEvent(
        pos=row.pos,
        id=event.id,
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=event.time,
        data=event.data,
        accepted=rfc3339(row.accepted),
        by=row.by,
        extra=dict(event.extra),
    )


def ask_shape(
    row: AskView,
    schema: Json = None,
    pages: int | None = None,
    progress: dict[str, Json] | None = None,
    draft: list[Json] | None = None,
) -> shapes.Ask:
    """`schema` and `pages` are what the form of a question says when somebody looks."""
    answered = None
    if row.answered_at is not None:
        answered = {"by": row.by, "at": rfc3339(row.answered_at)}
    return shapes.Ask(
        row.id,
        row.instance,
        row.op,
        row.kind,
        row.title,
        msgspec.json.decode(row.schema) if schema is None else schema,
        row.assignee,
        time_text(row.due),
        answered,
        pages,
        progress,
        draft,
    )


def definition_shape(row: DefinitionRow, whole: bool = False) -> shapes.DefinitionInfo:
    body = msgspec.json.decode(row.body)
    plan = body.get("plan") or {}
    written = body.get("written") or {}
    return shapes.DefinitionInfo(
        row.name,
        row.kind,
        row.version,
        row.release,
        row.enabled,
        row.hash,
        row.source,
        [node["name"] for node in plan.get("nodes", [])],
        body.get("triggers", []),
        body.get("by"),
        rfc3339(row.at),
        written.get("document") if whole else None,
        tags=body.get("tags", []),
        uses=body.get("uses", []),
    )


Line = tuple[str, str | None, int | None, str | None, Json]
"""(kind, op, attempt, by, data)"""


def unfold(entry: e.Entry) -> Iterator[Line]:
    """One stored turn as the lines of a history: its cause, then what followed from it."""
    yield from _cause(entry)
    for key in entry.skips:
        yield "StepSkipped", key, None, None, {"reason": "condition"}
    if entry.delta is not None and not isinstance(entry, e.StateEdited):
        yield "StateChanged", None, None, None, _delta(entry.delta)
    for key in entry.closes:
        yield "WaitClosed", key, None, None, {"reason": "given up"}
    for request in entry.requests:
        if not request.gone:
            yield _request(request)
    if entry.end is not None:
        yield from _end(entry.end, entry)


def _cause(entry: e.Entry) -> Iterator[Line]:
    match entry:
        case e.Started():
            data: dict[str, Json] = {"input": entry.input, "workflow": entry.workflow}
            data |= {"version": entry.version, "generation": entry.gen}
            if entry.event is not None:
                data["event"] = entry.event
            if entry.forked is not None:
                data["forked_from"] = entry.forked[0]
            if entry.reason is not None:
                data["reason"] = entry.reason
            yield "InstanceStarted", None, None, entry.by, data
        case e.Begun():
            if entry.by is not None:  # somebody did not wait for its time
                yield "InstanceResumed", None, None, entry.by, None
        case e.OpCompleted():
            value = entry.value
            if value is None and entry.delta is not None:
                value = entry.delta.set
            kind = "ChildEnded" if entry.child else "StepCompleted"
            yield kind, entry.key, entry.attempt, None, {"output": value}
        case e.OpFailed():
            kind = "ChildEnded" if entry.child else "StepFailed"
            data = {"error": failure_data(entry.error), "final": True}
            yield kind, entry.key, entry.attempt, None, data
        case e.AttemptFailed():
            data = {"error": failure_data(entry.error), "retry_at": rfc3339(entry.due)}
            yield "StepFailed", entry.key, entry.attempt, None, data
        case e.AttemptStarted():
            yield "StepStarted", entry.key, entry.attempt, entry.by, None
        case e.AttemptsLost():
            for key in entry.keys:
                when = "before its turn came" if key in entry.spared else "while it ran"
                error = {"code": "lost", "message": f"the process ended {when}"}
                yield "StepFailed", key, None, None, {"error": error}
        case e.OpInDoubt():
            error = {"code": "in_doubt", "message": "nobody knows whether it has run"}
            yield "StepFailed", entry.key, None, None, {"error": error}
        case e.TimerFired():
            yield "TimerFired", entry.key, None, None, None
        case e.EventReceived():
            data = {"event": entry.event, "handler": entry.branch, "pos": entry.pos}
            yield "EventReceived", entry.takes, None, None, data
        case e.Answered():
            yield "AskAnswered", entry.key, None, entry.by, {"data": entry.value}
        case e.OpSkipped():
            data = {"output": entry.value, "reason": entry.reason}
            yield "StepSkipped", entry.key, None, entry.by, data
        case e.Paused():
            yield "InstancePaused", None, None, entry.by, _reason(entry.reason)
        case e.Resumed():
            yield "InstanceResumed", None, None, entry.by, _reason(entry.reason)
        case e.Reopened():
            data = {"again": list(entry.void), "reason": entry.reason}
            yield "InstanceResumed", None, None, entry.by, data
        case e.CancelRequested():
            data = {"requested": True, "reason": entry.reason}
            if not isinstance(entry.end, e.Cancelled):
                yield "InstanceCancelled", None, None, entry.by, data
        case e.CallRecorded():
            op, data = f"{entry.key}/{entry.n}", {"name": entry.name, "args": entry.args}
            if entry.error is None:
                yield "StepCompleted", op, entry.attempt, None, data | {"output": entry.value}
            else:
                data["error"] = failure_data(entry.error)
                yield "StepFailed", op, entry.attempt, None, data
        case e.StateEdited():
            data = {**_delta(entry.delta or e.Delta()), "edited": True, "reason": entry.reason}
            yield "StateChanged", None, None, entry.by, data
        case e.Migrated():
            data = {"version": entry.version, "was": entry.was, "reason": entry.reason}
            yield "InstanceMigrated", None, None, entry.by, data
        case e.ChildRefused():
            data = {"name": entry.name, "error": failure_data(entry.error), "refused": True}
            yield "ChildEnded", entry.key, entry.attempt, None, data
        case e.Parked():
            return


def _delta(delta: e.Delta) -> dict[str, Json]:
    data: dict[str, Json] = {"set": delta.set}
    if delta.drop:
        data["drop"] = list(delta.drop)
    return data


def _reason(reason: str | None) -> Json:
    return {"reason": reason} if reason else None


def _request(request: e.Request) -> Line:
    data: dict[str, Json] = {"name": request.name}
    if request.args is not None:
        data["args"] = request.args
    if request.due is not None:
        data["due"] = rfc3339(request.due)
    match request.kind:
        case "call" | "dispatch":
            return "StepStarted", request.key, request.attempt, None, data
        case "ask":
            return "AskOpened", request.key, None, None, data
        case "child":
            return "ChildStarted", request.key, request.attempt, None, data
        case "emit":
            return "EventEmitted", request.key, None, None, data
        case _:
            if request.match is not None:
                data["type"], data["where"] = request.name, request.match.where
            return "WaitOpened", request.key, None, None, data


def _end(end: e.End, entry: e.Entry) -> Iterator[Line]:
    match end:
        case e.Completed():
            data: dict[str, Json] = {"result": end.result, "outcome": end.outcome}
            yield "InstanceCompleted", None, None, None, data
        case e.Cancelled():
            data = {"note": end.note}
            if end.error is not None:
                data["error"] = failure_data(end.error)
            by = entry.by if isinstance(entry, e.CancelRequested) else None
            if isinstance(entry, e.CancelRequested) and entry.reason:
                data["reason"] = entry.reason
            yield "InstanceCancelled", None, None, by, data
        case e.Continued():
            yield "InstanceCompleted", None, None, None, {"continued": True, "input": end.input}
        case e.Died():
            data = {"error": failure_data(end.error), "causes": list(end.causes)}
            yield "InstanceFailed", None, None, None, data


def entry_shapes(seq: int, pos: int, at: int, entry: e.Entry) -> list[shapes.Entry]:
    when = rfc3339(at)
    return [
        shapes.Entry(seq, pos, when, kind, op, attempt, by, data)
        for kind, op, attempt, by, data in unfold(entry)
    ]
