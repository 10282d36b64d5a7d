"""`events explain`: what an event did, and why it did nothing to the rest, as of its time.

Matches are stored. A non-match is explained by asking the condition again, of what was subscribed
when the event came: the versions that listened then and the waits that were open then, whatever
has become of them since.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.collector import COLLECTED_TYPE
from greenroom.actors.ports import (
    DefinitionRow,
    EventMatches,
    ListEvents,
    Matched,
    StoredEventRow,
    WaitsAt,
    WaitSeen,
)
from greenroom.actors.rows import rfc3339
from greenroom.definitions.collecting import collect_from
from greenroom.definitions.errors import GreenroomError
from greenroom.definitions.expressions import compile_value
from greenroom.definitions.matching import Where, compile_stored, compile_where
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Trigger, key_text
from greenroom.runtime import shapes
from greenroom.runtime.registry import body_of

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

WAITS_EXPLAINED: Final = 20
COLLECTED_PAGE: Final = 500
COLLECTED_PAGES: Final = 4
"""How far is looked for what a collected event has started."""
_COLLECTED: Final = {
    "debounce": "held until it is quiet", "throttle": "waits for its turn, or started",
    "batch": "collected into a batch", "all": "awaits the others", "unless": "awaits that it stays so",
}  # fmt: skip


async def explain(engine: Engine, row: StoredEventRow, workflow: str | None) -> shapes.Why:
    """What an event did, and for what it did not match the first criterion that failed."""
    event = row.event.as_data()
    matches: list[Matched] = await engine.journal.call(EventMatches(row.pos))
    facts = [
        shapes.Fact(
            f"event {row.event.id} ({row.event.type}) accepted at {rfc3339(row.accepted)}, "
            f"place {row.pos}, matched {len(matches) or 'nothing'}",
            {"id": row.event.id, "type": row.event.type, "pos": row.pos, "matched": len(matches)},
        )
    ]
    mine = [one for one in matches if workflow in (None, one.workflow)]
    facts += map(_matched, mine)
    settled = {one.workflow for one in matches if one.action == "started" or not one.id}
    done = {one.id for one in mine}
    waits: list[WaitSeen] = await engine.journal.call(
        WaitsAt(row.event.type, row.pos, workflow, WAITS_EXPLAINED)
    )
    heard = _triggers(engine, row, event, workflow, settled, bool(waits))
    facts += [await _with_end(engine, row, fact) for fact in heard]
    if not matches and any("collect" in fact.data for fact in heard):
        first = facts[0]
        facts[0] = shapes.Fact(first.text.replace("matched nothing", "collected"), first.data)
    facts += [_wait(wait, event) for wait in waits if wait.id not in done]
    return shapes.Why("\n".join(fact.text for fact in facts), facts)


async def _with_end(engine: Engine, row: StoredEventRow, fact: shapes.Fact) -> shapes.Fact:
    """What is said of a trigger that collects, with what has become of the event."""
    if "collect" not in fact.data:
        return fact
    name = str(fact.data["workflow"])
    for state in engine.router.collector.states.values():
        if state.workflow == name and any(one.pos == row.pos for one in state.members):
            until, others = rfc3339(state.due), len(state.members) - 1
            text = f"{fact.text} · held until {until}{_with_others(others)}"
            return shapes.Fact(text, {**fact.data, "due": until})
    after = row.pos
    for _ in range(COLLECTED_PAGES):
        rows: list[StoredEventRow] = await engine.journal.call(
            ListEvents(COLLECTED_TYPE, after, None, COLLECTED_PAGE, engine.namespace)
        )
        for one in rows:
            after = one.pos
            listed = one.event.data["events"]
            if one.event.source != f"/workflows/{name}":
                continue
            if any(member["pos"] == row.pos for member in listed):
                started = await engine.journal.call(EventMatches(one.pos))
                ends = ", ".join(f"{match.action} {match.id}" for match in started)
                text = f"{fact.text} · {ends or 'started nothing'}{_with_others(len(listed) - 1)}"
                return shapes.Fact(text, {**fact.data, "by": one.event.id})
        if len(rows) < COLLECTED_PAGE:
            break
    return fact


def _with_others(count: int) -> str:
    return f", with {count} other{'s' if count != 1 else ''}" if count else ""


def _matched(match: Matched) -> shapes.Fact:
    who = f"{match.workflow}/{match.key}" if match.key else f"{match.workflow} {match.id}"
    code = f" ({match.code})" if match.code else ""
    data: dict[str, Json] = {
        "workflow": match.workflow, "instance": match.id, "action": match.action,
        "code": match.code,
    }  # fmt: skip
    return shapes.Fact(f"  {match.action} {who}{code}", data)


def _triggers(
    engine: Engine,
    row: StoredEventRow,
    event: dict[str, Json],
    workflow: str | None,
    settled: set[str],
    awaited: bool,
) -> list[shapes.Fact]:
    facts: list[shapes.Fact] = []
    known: set[str] = set()
    listened = engine.ledger.listened(row.accepted, row.pos)
    versions = {(one.name, one.version): one for one in engine.registry.versions()}
    for name, version in sorted(listened.items()):
        triggers = _of_version(engine, versions.get((name, version)), name)
        known |= {trigger.type for trigger in triggers if trigger.type is not None}
        if workflow not in (None, name) or name in settled:
            continue
        label = f"{name} v{version}"
        heard = [trigger for trigger in triggers if trigger.type == row.event.type]
        today = engine.registry.find(name)
        facts += [_trigger(label, name, trigger, event, today) for trigger in heard]
        if not heard and workflow is not None:
            types = ", ".join(str(trigger.type) for trigger in triggers) or "what is not known"
            facts.append(
                shapes.Fact(
                    f"  {label}: listens to {types}, this is {row.event.type}",
                    {"workflow": name, "listens": types},
                )
            )
    off = [_off(engine, name) for name in engine.registry.names()
           if name not in listened and workflow in (None, name)
           and _would_hear(engine, name, row.event.type)]  # fmt: skip
    facts += off
    if off:
        return facts
    if workflow is not None and workflow not in listened:
        facts.append(_silent(engine, workflow))
    elif not (facts or settled or awaited or row.event.type in known):
        near = did_you_mean(row.event.type, known)
        text = f"  no workflow listens to {row.event.type}{near}"
        facts.append(shapes.Fact(text, {"type": row.event.type}))
    return facts


def _would_hear(engine: Engine, name: str, type: str) -> bool:
    registry = engine.registry
    return not registry.is_enabled(name) and any(
        trigger.type == type for trigger in registry.released(name).triggers
    )


def _off(engine: Engine, name: str) -> shapes.Fact:
    why, verb = "it is disabled", "enable"
    if engine.registry.release_of(name) is None:
        why, verb = "no version is released", "promote"
    text = f"  {name}: did not listen, {why};  {shlex.join(('greenroom', 'def', verb, name))}"
    return shapes.Fact(text, {"workflow": name, "enabled": False})


def _silent(engine: Engine, workflow: str) -> shapes.Fact:
    names = {row.name for row in engine.registry.versions()}
    if workflow in names or workflow in engine.registry.names():
        text = f"  {workflow}: listened to no event then (not there yet, disabled, or no trigger)"
    else:
        text = f"  there is no workflow {workflow}{did_you_mean(workflow, names)}"
    return shapes.Fact(text, {"workflow": workflow})


def _of_version(engine: Engine, row: DefinitionRow | None, name: str) -> list[Trigger]:
    """The triggers a version had as they were stored; of one that was deleted, today's."""
    if row is not None:
        return [_stored(data) for data in body_of(row).triggers if data.get("type")]
    found = engine.registry.find(name)
    return [] if found is None else [t for t in found.triggers if t.type is not None]


def _stored(data: dict[str, Any]) -> Trigger:
    return Trigger(
        data["type"],
        compile_where(data.get("where")),
        compile_value(data["key"]) if "key" in data else None,
        compile_value(data["transform"]) if "transform" in data else None,
        collect=collect_from(data["collect"]) if "collect" in data else None,
        slot=data.get("slot", 0),
    )


def _trigger(
    label: str,
    name: str,
    trigger: Trigger,
    event: dict[str, Json],
    definition: Definition | None,
) -> shapes.Fact:
    failed = trigger.where.first_failure(event)
    if failed is not None:
        return shapes.Fact(
            f"  {label}: condition false · {failed}",
            {"workflow": name, "finding": failed.as_data()},
        )
    try:
        if trigger.key is not None:
            key_text(trigger.key.evaluate(event), name)
        if trigger.transform is not None:
            trigger.transform.evaluate(event)
    except GreenroomError as error:
        return shapes.Fact(
            f"  {label}: matches, its key or transform fails · {error.message}",
            {"workflow": name, "error": error.message},
        )
    if trigger.collect is not None:
        kind = trigger.collect.kind
        if kind == "unless" and trigger.slot == 1:
            text = f"  {label}: matches · unless: it came, so what waited for it starts nothing"
            return shapes.Fact(text, {"workflow": name})
        text = f"  {label}: matches · {kind}: {_COLLECTED[kind]}"
        return shapes.Fact(text, {"workflow": name, "collect": kind})
    refused = _refusal(definition, trigger, event)
    if refused is not None:
        return shapes.Fact(
            f"  {label}: matches · {refused}", {"workflow": name, "code": "condition_failed"}
        )
    return shapes.Fact(f"  {label}: matches, and could not start", {"workflow": name})


def _refusal(definition: Definition | None, trigger: Trigger, event: dict[str, Json]) -> str | None:
    """What the `only_if` of today says of the instance an event would start."""
    if definition is None or definition.only_if is None:
        return None
    made = event.get("data") if trigger.transform is None else trigger.transform.evaluate(event)
    try:
        definition.only_if.check(definition.name, made if isinstance(made, dict) else {})
    except GreenroomError as error:
        return error.message
    return None


def _wait(wait: WaitSeen, event: dict[str, Json]) -> shapes.Fact:
    who = f"{wait.workflow}/{wait.key}" if wait.key else f"{wait.workflow} {wait.id}"
    failed = _where(wait).first_failure(event)
    data: dict[str, Json] = {"instance": wait.id, "op": wait.op}
    if failed is not None:
        data["finding"] = failed.as_data()
        return shapes.Fact(f"  {who} waited at {wait.op}: condition false · {failed}", data)
    return shapes.Fact(
        f"  {who} waited at {wait.op}: matches, but another event or wait was first", data
    )


def _where(wait: WaitSeen) -> Where:
    return compile_stored(wait.where)
