"""`why`: sentences made from what the store holds, each with the data behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors import entries as e
from greenroom.actors.entries import decode_entry, decode_payload
from greenroom.actors.instance import Instance
from greenroom.actors.messages import Resume, Skip
from greenroom.actors.ports import (
    Append,
    Appended,
    AskView,
    DeadLetters,
    GetEvent,
    InstanceRow,
    ReadRows,
    StoredEventRow,
)
from greenroom.actors.progress import QUEUED, Progress
from greenroom.actors.rows import instance_row, rfc3339, status_change
from greenroom.definitions.durations import text as duration_text
from greenroom.definitions.errors import Busy, FormInvalid
from greenroom.definitions.pages import error_line
from greenroom.definitions.reading import Error
from greenroom.definitions.values import Json, encode_decode, equal
from greenroom.runtime import shapes, views
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.terms import terms_of, test

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

QUEUE_MAX: Final = 10_000
WAITS_EXPLAINED: Final = 20
WAITS_TOLD: Final = 8
"""Waits of an instance that `why` has a line for; it fits on a screen."""
HOLDERS_TOLD: Final = 5
LAST_ROWS: Final = 50
"""How far back `why` looks for who did something to the instance."""


# -- why ---------------------------------------------------------------------------------------


async def why(engine: Engine, row: InstanceRow, p: Progress) -> shapes.Why:
    """Why an instance is where it is, in a screen."""
    now = engine.clock.now()
    who = f"{row.workflow}/{row.key}" if row.key else f"{row.workflow} {row.id}"
    facts = [_headline(row, p, who)]
    if p.starts == QUEUED and not p.begun and not p.ended:
        facts += _queue_facts(engine, row)
    elif row.status == "pending" and p.starts is not None:
        left = duration_text(max(p.starts - now, 0) / 1000)
        text = f"it begins in {left} ({rfc3339(p.starts)})"
        facts.append(shapes.Fact(text, {"starts": rfc3339(p.starts)}))
    blamed = None if p.failure is None else p.failure.op  # it waits no more: it has failed
    waits = [
        data for data in views.waits_of(row) if data["kind"] != "slot" and data["op"] != blamed
    ]
    facts.extend(_wait_fact(data, now) for data in waits[:WAITS_TOLD])
    if len(waits) > WAITS_TOLD:
        more = len(waits) - WAITS_TOLD
        facts.append(shapes.Fact(f"and for {more} more", {"more": more}))
    if p.deadline is not None:
        left = duration_text(max(p.deadline - now, 0) / 1000)
        text = f"it fails unless it ends in {left} ({rfc3339(p.deadline)}): its timeout"
        facts.append(shapes.Fact(text, {"deadline": rfc3339(p.deadline)}))
    if p.failure is not None:
        facts += _failure_facts(p.failure, p.causes)
    if p.undone is not None:
        facts += _failure_facts(p.undone, ())
        facts.append(shapes.Fact("what it had done was taken back", {"outcome": row.outcome}))
    if p.failure is not None and row.status == "paused":
        text = 'it was paused by that error: on_error="pause"'
        facts.append(shapes.Fact(text, {"reason": "error"}))
    facts += await _deeds(engine, row, p)
    if p.paused and p.held:
        text = f"{len(p.held)} outcomes are recorded and will be applied by resume"
        facts.append(shapes.Fact(text, {"held": len(p.held)}))
    running = [op.request.name for op in p.ops.values() if op.status == "started"]
    if running and p.failure is None:
        names = ", ".join(running[:5])
        facts.append(shapes.Fact(f"running now: {names}", {"steps": running[:100]}))
    for call in engine.executor.calls_of(row.id):
        if call.is_late and call.target.soft_timeout_s is not None:
            limit = duration_text(call.target.soft_timeout_s)
            text = f"{call.target.name} ({call.key}) takes longer than the {limit} it should take"
            facts.append(shapes.Fact(text, {"op": call.key, "soft_timeout": limit}))
    dead = await engine.journal.call(DeadLetters(row.n, 10))
    if dead:
        facts.append(
            shapes.Fact(
                f"{len(dead)} events could not be delivered because its inbox was full",
                {"dead_letters": len(dead)},
            )
        )
    gone = not engine._passive and engine.registry.version(row.workflow, row.version) is None
    if gone and row.status not in ("completed", "cancelled"):
        text = f"{row.workflow} v{row.version} is no longer in the code: nothing of it can run"
        facts.append(shapes.Fact(text, {"workflow": row.workflow, "version": row.version}))
        text = f"load the file that has it, or  greenroom cancel {row.id}"
        facts.append(shapes.Fact(text, {"status": row.status}))
    else:
        facts.append(_next_fact(row, p, who, engine._passive))
    return shapes.Why("\n".join(fact.text for fact in facts), facts)


def _headline(row: InstanceRow, p: Progress, who: str) -> shapes.Fact:
    outcome = f" ({row.outcome})" if row.outcome and row.outcome != "ok" else ""
    return shapes.Fact(
        f"{who} is {row.status}{outcome} since {rfc3339(p.at)}, version {row.version}, "
        f"{p.iseq} {'entry' if p.iseq == 1 else 'entries'}",
        {"instance": row.id, "status": row.status, "outcome": row.outcome, "entries": p.iseq},
    )


def _queue_facts(engine: Engine, row: InstanceRow) -> list[shapes.Fact]:
    """What a queued instance waits for, and who is in front of it."""
    found = engine.directory.slots.standing(row.id)
    if found is None:
        return [shapes.Fact("it is queued", {"queued": True})]
    value = f" for {found.value}" if found.value else ""
    ahead = f", {found.ahead} before it" if found.ahead else ", it is the next"
    data: dict[str, Json] = {"value": found.value, "ahead": found.ahead}
    if found.lane is not None:
        held = list(found.lane.holders)
        slots = (
            "the slot" if found.lane.rule.limit == 1 else f"one of {found.lane.rule.limit} slots"
        )
        more = f" and {len(held) - HOLDERS_TOLD} more" if len(held) > HOLDERS_TOLD else ""
        by = ", ".join(held[:HOLDERS_TOLD]) + more
        text = f"it waits for {slots} of {row.workflow}{value}{ahead}; held by {by}"
        limit = found.lane.rule.limit
        return [shapes.Fact(text, {**data, "limit": limit, "held_by": list(held[:100])})]
    assert found.pace is not None
    rule, free = found.pace.rule, rfc3339(found.pace.free_at())
    per = duration_text(rule.per_ms / 1000)
    text = (
        f"it waits for its turn: {rule.limit} of {row.workflow}{value} begin in {per}{ahead}; "
        f"the next one at {free}"
    )
    return [shapes.Fact(text, {**data, "limit": rule.limit, "per": per, "next": free})]


_DEEDS: Final[dict[type, str]] = {
    e.Paused: "it was paused",
    e.CancelRequested: "it was cancelled",
    e.StateEdited: "its state was changed by hand",
    e.Migrated: "it was moved to this version",
    e.OpSkipped: "a step was skipped by hand",
}


async def _deeds(engine: Engine, row: InstanceRow, p: Progress) -> list[shapes.Fact]:
    """What people did to it lately, who and why: each kind of deed once, the last of it."""
    after = max(0, p.iseq - LAST_ROWS)
    rows = await engine.journal.call(ReadRows(row.n, after, LAST_ROWS))
    last: dict[type, tuple[int, Any]] = {}
    for stored in rows:
        entry = decode_entry(stored)
        if type(entry) in _DEEDS:
            last[type(entry)] = (stored.at, entry)
    if not p.paused:
        last.pop(e.Paused, None)
    facts: list[shapes.Fact] = []
    for kind, (at, entry) in sorted(last.items(), key=lambda item: item[1][0]):
        who = f" by {entry.by}" if entry.by else ""
        why = f": {entry.reason}" if entry.reason else ""
        data = {"at": rfc3339(at), "by": entry.by, "reason": entry.reason}
        facts.append(shapes.Fact(f"{_DEEDS[kind]}{who}{why} ({rfc3339(at)})", data))
    return facts


def _wait_fact(data: dict[str, Any], now: int) -> shapes.Fact:
    due = data.get("due")
    until = ""
    if due is not None:
        left = (due - now) / 1000
        until = f", due in {duration_text(left)}" if left > 0 else ", due now"
        until += f" ({rfc3339(due)})"
    name, op = data.get("name"), data["op"]
    match data["kind"]:
        case "retry":
            error = data.get("error") or {}
            text = (
                f"{name} ({op}) failed {data.get('attempt')} times and is tried again{until}: "
                f"{error.get('details', {}).get('type', 'error')}: {error.get('message', '')}"
            )
        case "timer":
            text = f"it sleeps ({op}){until}"
        case "event":
            where = data.get("where")
            filter_ = f" where {msgspec.json.encode(where).decode()}" if where is not None else ""
            text = f"it waits for the event {data.get('type')}{filter_} ({op}){until}"
        case "child":
            text = f"it waits for its child {name} {data.get('child')} ({op})"
        case kind:
            text = f"it waits for an answer ({kind}) to {name!r}, question {data.get('ask')}{until}"
    return shapes.Fact(text, views_data(data))


def views_data(data: dict[str, Any]) -> dict[str, Json]:
    """The wait as faces show it: times as text."""
    shown = msgspec.to_builtins(views.wait_shape(data))
    return {key: value for key, value in shown.items() if value is not None}


def _failure_facts(failure: e.Failure, causes: Sequence[str]) -> list[shapes.Fact]:
    place = f"   {failure.where}" if failure.where else ""
    op = f" at {failure.op}" if failure.op else ""
    facts = [
        shapes.Fact(
            f"it failed{op}: {failure.type}: {failure.message}{place}",
            {"code": failure.code, "type": failure.type, "op": failure.op, "where": failure.where},
        )
    ]
    details = failure.details
    if failure.kind == "code_changed" and "journal" in details:
        for side in ("journal", "code"):
            said = details.get(side)
            text = "; ".join(map(str, said)) if isinstance(said, list) else str(said)
            facts.append(shapes.Fact(f"  {side:8}{text}", {side: said}))
    if isinstance(hint := details.get("hint"), str):
        facts += [shapes.Fact(f"  {line}", {"hint": line}) for line in hint.splitlines()]
    if causes and causes != (failure.op,):
        facts.append(shapes.Fact(f"blamed: {', '.join(causes)}", {"causes": list(causes)}))
    return facts


def _asks(p: Progress) -> bool:
    return any(op.request.kind == "ask" for op in p.ops.values())


def _doubted(p: Progress) -> str:
    """The op of which nobody knows whether it has run."""
    return next((key for key, op in p.ops.items() if op.status == "doubt"), "OP")


def _next_fact(row: InstanceRow, p: Progress, who: str, passive: bool) -> shapes.Fact:
    """What a person can do. `passive`: nobody runs what is in the store."""
    match row.status:
        case "failed" if row.error_code == "in_doubt":
            text = f"say what happened:  greenroom skip {row.id} {_doubted(p)} …  or  greenroom resume {row.id} --run-again"
        case "failed" if row.error_code == "code_changed":
            text = (
                f"bring the old code back and  greenroom resume {row.id},  "
                f"or  greenroom fork {row.id} --from OP"
            )
        case "failed" if (lacks := _lacks(p)) is not None:
            text = (
                f"give the state what it lacks:  greenroom edit {row.id} {lacks}=...  "
                f"then:  greenroom retry {row.id}"
            )
        case "failed":
            text = f"fix the cause, then:  greenroom retry {row.id}"
        case "paused" if p.failure is not None:
            text = f"fix the cause, then:  greenroom resume {row.id}"
        case "paused":
            text = f"go on with:  greenroom resume {row.id}"
        case "running" | "waiting" | "pending" if passive and not _asks(p):
            text = "nobody runs it now: it goes on when a daemon is started on this store"
        case "waiting":
            text = "nothing to do: it goes on by itself when that comes"
            if _asks(p):
                text = f"somebody must answer:  greenroom ask answer {p.id}"
        case "pending" if p.starts is not None:
            text = f"nothing to do: it begins by itself; at once with  greenroom resume {row.id}"
        case "completed" | "cancelled":
            text = "it has ended and will not change"
        case _:
            text = "nothing to do: it is working"
    return shapes.Fact(text, {"status": row.status})


def _lacks(p: Progress) -> str | None:
    """The key of the state that a step could not go on without."""
    failure = p.failure
    if failure is None or failure.type not in ("MissingState", "StepInput"):
        return None
    key = failure.details.get("key")
    return key if isinstance(key, str) else None


# -- answers, histories, streams ---------------------------------------------------------------


def check_answer(ask: AskView, data: Json) -> Json:
    """The answer to an approval: an object with `approved`, all problems at once otherwise."""
    if ask.kind != "approval":
        return data
    errors: list[Error] = []
    if not isinstance(data, dict):
        errors.append({"loc": [], "msg": "must be an object", "type": "object"})
    else:
        if not isinstance(data.get("approved"), bool):
            errors.append({"loc": ["approved"], "msg": "must be true or false", "type": "bool"})
        if "comment" in data and not isinstance(data["comment"], str):
            errors.append({"loc": ["comment"], "msg": "must be text", "type": "string"})
        extra = [name for name in data if name not in ("approved", "comment")]
        errors += [{"loc": [name], "msg": "unknown field", "type": "extra"} for name in extra]
    if errors:
        lines = [f"  {error_line(error)}" for error in errors]
        count = f"{len(errors)} error{'s' if len(errors) != 1 else ''}"
        raise FormInvalid(
            "\n".join([f"the answer to {ask.title!r} has {count}", *lines]),
            hint='give {"approved": true}',
            errors=errors,
        )
    return data


async def with_senders(engine: Engine, items: list[shapes.Entry]) -> list[shapes.Entry]:
    """Says of events that were sent by hand who sent them: their rows know."""
    found: list[shapes.Entry] = []
    for item in items:
        if item.kind == "EventReceived" and (pos := item.data.get("pos")) is not None:
            row: StoredEventRow | None = await engine.journal.call(GetEvent(f"pos:{pos}"))
            if row is not None and row.by is not None:
                item = msgspec.structs.replace(item, by=row.by)
        found.append(item)
    return found


def changes_of(items: list[shapes.Entry], path: str) -> list[shapes.Entry]:
    """The lines in which the value at a path of the state changed."""
    found: list[shapes.Entry] = []
    missing = object()
    last: Any = missing
    for item in items:
        if item.kind == "InstanceStarted":
            source = item.data.get("input")
        elif item.kind == "StateChanged":
            source = item.data["set"]
        else:
            continue
        value = _at(source, path, missing)
        dropped = item.kind == "StateChanged" and path.split(".")[0] in item.data.get("drop", ())
        if dropped:
            value = None
        elif value is missing:
            continue
        if last is missing or not equal(value, last):
            last = value
            found.append(
                msgspec.structs.replace(
                    item, data={"path": path, "value": value, "dropped": dropped}
                )
            )
    return found


def _at(source: Any, path: str, missing: object) -> Any:
    for part in path.split("."):
        if not isinstance(source, dict) or part not in source:
            return missing
        source = source[part]
    return source


async def verify_in_doubt(
    engine: Engine, instance: Instance, by: str | None, reason: str | None
) -> Skip | Resume | None:
    """Asks the author's `verify`: None or False means the step has not run, a dict (or True) that
    it has, and what it gave."""
    p = instance.kernel.progress
    doubts = [key for key, op in p.ops.items() if op.status == "doubt"]
    if len(doubts) != 1:
        return None
    target = instance.kernel.target_of(doubts[0])
    if target is None or target.verify is None:
        return None
    source = instance.kernel.source_of(doubts[0])
    found = await engine.resources.fetch(target, source, p.namespace)
    known = (
        dict(source) if target.injector is None else target.injector.arguments(source, {}, found)
    )
    if asyncio.iscoroutinefunction(target.verify):
        said = await target.verify(**known)
    else:
        said = await asyncio.get_running_loop().run_in_executor(
            None, lambda: target.verify(**known)
        )
    if said is None or said is False:
        return Resume(by, reason, True)
    output = {} if said is True else encode_decode(said, "what verify gave")[1]
    return Skip(doubts[0], output, by, reason or "verify says it has run")


async def watch_all(engine: Engine, q: str) -> AsyncIterator[shapes.Entry]:
    """The lines of all instances that a filter lets through, from now on."""
    terms = terms_of(parse_filter(q), engine.clock.now())
    queue: asyncio.Queue[shapes.Entry | None] = asyncio.Queue(QUEUE_MAX)
    lagging = False

    def stored(instance: Instance, append: Append, result: Appended) -> None:
        nonlocal lagging
        if not append.rows or lagging:
            return
        p = instance.kernel.progress
        row = instance_row(instance.n, p, p.kind, status_change(p), {})
        if not test(row=row, terms=terms, now=engine.clock.now(), due=None, assignees=set()):
            return
        for place, stored_row in enumerate(append.rows):
            entry = decode_payload(stored_row.payload)
            for shape in views.entry_shapes(
                append.iseq + place, result.pos + place, stored_row.at, entry
            ):
                shape = msgspec.structs.replace(
                    shape, data={**(shape.data or {}), "instance": p.id, "workflow": p.workflow}
                )
                try:
                    queue.put_nowait(shape)
                except asyncio.QueueFull:
                    lagging = True
                    return

    def give_up() -> None:
        with suppress(asyncio.QueueFull):
            queue.put_nowait(None)

    engine.directory.watchers.append(stored)
    engine.at_end[give_up] = None
    try:
        while True:
            if lagging and queue.empty():
                raise Busy(f"this reader is {QUEUE_MAX:,} lines behind; watch again")
            shape = await queue.get()
            if shape is None:
                raise engine.gone()
            yield shape
    finally:
        engine.directory.watchers.remove(stored)
        del engine.at_end[give_up]
