"""What must be true whatever happened: I1-I8 and I11 of the reliability plan.

`check_live` compares what is in memory with what is stored, at rest; `check_stored` reads the
tables after the last process has gone, and holds them against what the clients and the foreign
systems know.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from greenroom.actors.entries import (
    AttemptFailed,
    Entry,
    EventReceived,
    OpCompleted,
    OpFailed,
    OpSkipped,
    Started,
    TimerFired,
    decode_entry,
)
from greenroom.actors.progress import Progress, decode_progress, encode_progress, fold
from greenroom.definitions.events import HOPS_MAX
from greenroom.runtime.engine import Engine
from greenroom.runtime.memory_tables import Instance, Tables

if TYPE_CHECKING:
    from tests.sim.schedule import Op, Schedule


# -- at rest, with the engine alive ----------------------------------------------------------------


async def check_live(schedule: Schedule, engine: Engine) -> list[str]:
    found = [
        f"P3: doctor: {finding.check}: {finding.text} {finding.details}"
        for finding in await engine.doctor(deep=True)
        if finding.level in ("error", "warning")
    ]
    tables = schedule.store.tables
    for n, instance in list(engine.directory.active.items()):
        if instance.unstored or instance.mailbox:
            continue
        live = encode_progress(instance.kernel.progress)
        stored = encode_progress(_fold(tables.instances[n]))
        if live != stored:
            found.append(f"I6: {instance.id} live {live!r} stored {stored!r}")
    for instance in list(engine.directory.active.values()):
        p = instance.kernel.progress
        if not instance.kernel.is_plan and p.begun and not p.ended and p.failure is None:
            instance.kernel.drop_machine()
            try:
                instance.kernel.ensure_machine()
            except Exception as error:
                found.append(f"I6: {instance.id} cannot be replayed: {error!r}")
    if engine.executor.busy or engine.executor.calls:
        found.append(f"I10: the executor holds {engine.executor.busy} calls at rest")
    if engine.directory.unsaved or engine.directory.waiters or engine.at_end:
        found.append("I10: the directory holds results or waiters at rest")
    return found


def _fold(instance: Instance) -> Progress:
    return fold([decode_entry(r) for r in instance.rows], [r.epoch for r in instance.rows])


# -- what is stored --------------------------------------------------------------------------------


def check_stored(schedule: Schedule) -> list[str]:
    tables = schedule.store.tables
    found = [*_sequences(tables), *_answers(schedule, tables), *_order(schedule, tables)]
    starts: Counter[tuple[str, str, str]] = Counter()
    outcomes: dict[str, list[Entry]] = {}
    for instance in tables.instances.values():
        entries = [decode_entry(row) for row in instance.rows]
        opening = entries[0]
        assert isinstance(opening, Started)
        if opening.event is not None:
            event: Any = opening.event
            starts[event["source"], event["id"], opening.workflow] += 1
        if opening.hops > HOPS_MAX + 1:
            found.append(f"a chain of {opening.hops} events and children")
        found += _instance(instance, entries)
        for entry in entries:
            key = getattr(entry, "key", None)
            if isinstance(key, str) and not isinstance(entry, Started):
                outcomes.setdefault(f"{instance.row.id}/{key}", []).append(entry)
    found += [
        f"I3: {name} was started {n} times by one event" for name, n in starts.items() if n > 1
    ]
    return found + _effects(schedule, outcomes)


def _sequences(tables: Tables) -> list[str]:
    found: list[str] = []
    places = [(row.seq, row.epoch) for i in tables.instances.values() for row in i.rows]
    places.sort()
    seqs = [seq for seq, _ in places] + list(tables.events)
    if sorted(seqs) != list(range(1, tables.head + 1)):
        found.append("I2: the journal has gaps")
    epochs = [epoch for _, epoch in places]
    if epochs != sorted(epochs):
        found.append("I11: an entry of an older epoch after a newer one")
    found += [
        f"I2: {instance.row.id} has gaps"
        for instance in tables.instances.values()
        if [row.iseq for row in instance.rows] != list(range(1, len(instance.rows) + 1))
    ]
    return found


def _instance(instance: Instance, entries: list[Entry]) -> list[str]:
    found: list[str] = []
    id = instance.row.id
    generation = 0
    results: Counter[tuple[int, str]] = Counter()
    fires: Counter[tuple[int, str]] = Counter()
    taken: Counter[int] = Counter()
    for entry in entries:
        match entry:
            case Started():
                generation += 1
            case OpCompleted() | OpSkipped():
                results[generation, entry.key] += 1
            case TimerFired():
                fires[generation, entry.key] += 1
            case EventReceived() if entry.takes is not None:
                taken[entry.iq] += 1
            case _:
                pass
    found += [f"I3: {id} has {n} results at {key}" for key, n in results.items() if n > 1]
    found += [f"I3: {id} fired {n} times at {key}" for key, n in fires.items() if n > 1]
    found += [f"I3: {id} took item {iq} {n} times" for iq, n in taken.items() if n > 1]
    p = fold(entries, [row.epoch for row in instance.rows])
    for iseq, (payload, _) in instance.snapshots.items():
        tail = instance.rows[iseq:]
        again = fold(
            [decode_entry(r) for r in tail], [r.epoch for r in tail], decode_progress(payload)
        )
        if encode_progress(again) != encode_progress(p):
            found.append(f"I6: {id} snapshot {iseq} and its tail give another state")
    if instance.ended and (instance.timers or instance.inbox or instance.open_asks()):
        found.append(f"I7: {id} has ended and still holds timers, items or asks")
    return found


def _effects(schedule: Schedule, outcomes: dict[str, list[Entry]]) -> list[str]:
    """I4: what the foreign systems saw against what is recorded."""
    found: list[str] = []
    bank = schedule.bank
    for name, entries in outcomes.items():
        failed = sum(isinstance(entry, AttemptFailed | OpFailed) for entry in entries)
        calls = bank.calls.get(name, 0)
        if name not in bank.modes:
            continue
        if bank.modes[name] == "at_most_once":
            if calls > 1:
                found.append(f"I4: {name} may run once and ran {calls} times")
        elif calls > failed + schedule.lives:  # a stop, clean or not, cuts off what runs
            found.append(
                f"I4: {name} ran {calls} times in {schedule.lives} lives, {failed} failures"
            )
    for name, calls in bank.calls.items():
        if bank.modes[name] == "at_most_once" and calls > 1:
            found.append(f"I4: {name} may run once and ran {calls} times")
    return found


def _answers(schedule: Schedule, tables: Tables) -> list[str]:
    """I1 and I8: acknowledged is stored, rejected is not, and one id has one answer."""
    found: list[str] = []
    firsts: dict[tuple[str, str], Any] = {}
    accepted = {op.id for ops in schedule.ops for op in ops if op.outcome == "ok"}
    for op in (op for ops in schedule.ops for op in ops):
        kind = op.kind.rpartition(":")[2]
        if op.outcome == "ok":
            found += _acknowledged(op, kind, tables)
            if kind.startswith("start"):
                first = firsts.setdefault((kind, op.id), op.answer)
                if first != op.answer:
                    found.append(f"I8: {op.id} was answered {first} and {op.answer}")
        elif op.outcome != "rejected" or ":" in op.kind or op.id in accepted or op.tries > 1:
            continue  # of a try before, whose answer was lost, nobody knows
        elif op.id in tables.requests:
            found.append(f"I8: {op.kind} {op.id} was rejected ({op.code}) and is stored")
    return found


def _acknowledged(op: Op, kind: str, tables: Tables) -> list[str]:
    verb = kind.partition(" ")[0]
    if verb == "start":
        if op.answer not in tables.ids or op.id not in tables.requests:
            return [f"I1: {op.id} started {op.answer}, which is not stored"]
    elif verb in ("post", "ping"):
        if (op.id, f"/{op.client}", "") not in tables.event_ids:
            return [f"I1: {op.id} was accepted and is not stored"]
        return [
            f"I1: {op.id} says it started {match['instance']}, which is not stored"
            for match in op.answer["matched"]
            if match["action"] == "started" and match["instance"] not in tables.ids
        ]
    elif verb in ("pause", "resume", "cancel") and op.target is not None:
        known = tables.requests.get(op.id)
        if known is None:
            return [f"I1: {op.id} ({verb}) was answered and is not stored"]
        if msgspec.json.decode(known[0].reply) != msgspec.to_builtins(op.answer):
            return [f"I8: {op.id} was answered {op.answer}, stored is {known[0].reply!r}"]
    return []


def _order(schedule: Schedule, tables: Tables) -> list[str]:
    """I5: events of one client keep their order."""
    found: list[str] = []
    for ops in schedule.ops:
        places = [
            tables.event_ids[op.id, f"/{op.client}", ""]
            for op in ops
            if op.outcome == "ok" and op.kind.partition(" ")[0] in ("post", "ping")
        ]
        if places != sorted(places):
            found.append(f"I5: client {ops[0].client} posted in order, stored at {places}")
    return found
