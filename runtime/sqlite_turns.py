"""Turns and new instances: from works to rows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.definitions.errors import GreenroomError, StaleAppend
from greenroom.runtime.sqlite_group import (
    ANSWER_ASK,
    ATTRIBUTES,
    BUSY,
    CLOSED,
    CODE,
    DROP_ASK,
    ERROR,
    GENERATION,
    INSERT_ASK,
    OUTCOME,
    SLOT,
    STATUS,
    STEPS,
    UPDATED,
    VERSION,
    WAITS,
    Facts,
    Group,
    stored_value,
)
from greenroom.runtime.sqlite_match import Matcher, nth_key
from greenroom.runtime.sqlite_resources import Resources
from greenroom.runtime.statements import apply_statements
from greenroom.runtime.store import FIRST_ENDED, JSON_CODEC, STATUS_CODE, signed

_header: Final = struct.Struct("<qqqqqB").pack
_crc32 = zlib.crc32


class Turns:
    def __init__(self, group: Group, matcher: Matcher) -> None:
        self.group = group
        self.matcher = matcher
        self.resources = Resources(group)

    def append(self, work: ports.Append) -> ports.Appended | GreenroomError:
        group = self.group
        n = work.n
        facts = group.facts.get(n) or group.fact(n)
        if facts is None or work.iseq != facts.iseq + 1:
            return StaleAppend(
                f"instance {n} appends row {work.iseq}, the journal expects "
                f"{facts.iseq + 1 if facts else 'no such instance'}"
            )
        if work.resources:
            stale = self.resources.refusal(facts, work.resources)
            if stale is not None:
                return stale
        if work.statements:
            group.flush()
            failed = apply_statements(group.db, work.statements)
            if failed is not None:
                return failed
        pos = group.head + 1
        self._rows(n, facts, work.rows)
        if work.resources:
            self.resources.save(facts, pos, work)
        return self._rest(n, facts, pos, work) or ports.Appended(pos)

    def create(self, work: ports.Create) -> ports.Created:
        """The instance and its first turn, or why not."""
        group = self.group
        row = work.row
        refused = self._refusal(work)
        if refused is not None:
            return refused
        w = group.workflow(row.namespace, row.workflow)
        status = STATUS_CODE[row.status]
        facts = group.facts[row.n] = Facts(row.id, w, row.key, status, 0, 0)
        pos = group.head + 1
        group.new_ids[row.id] = row.n
        group.absent_ids.discard(row.id)
        group.new_instances[row.n] = [
            row.n, row.id, w, row.version, row.kind, row.key,
            row.n if status >= FIRST_ENDED else 0, status, row.created, row.updated, row.outcome,
            row.waits, row.steps, row.error, row.error_code, None, row.parent, row.forked_from,
            row.test, row.busy, 1, pos,
        ]  # fmt: skip
        group.count(w, status, 1)
        if row.key is not None and status < FIRST_ENDED:
            group.key_holders[w, row.key] = row.n
        group.last_n = max(group.last_n, row.n)
        if row.attributes:
            self._attributes(row.n, row.attributes)
        if work.request is not None:
            self._request(work.request, row.id)
        self._rows(row.n, facts, work.first.rows)
        rest = self._rest(row.n, facts, pos, work.first)
        return ports.Created(True, row.id, None, pos, rest.found if rest else [], None, rest)

    def _refusal(self, work: ports.Create) -> ports.Created | None:
        group, row = self.group, work.row
        if work.request is not None:
            known = (
                group.new_requests.get(work.request.id)
                or group.db.execute(
                    "SELECT at, id, hash, reply, instance FROM request WHERE id=?",
                    (work.request.id,),
                ).fetchone()
            )
            if known is not None:
                same = known[2] == signed(work.request.hash)
                return ports.Created(
                    False, known[4] or "", "request" if same else "request_differs", reply=known[3]
                )
        if group.number_of(row.id) is not None:
            return ports.Created(False, row.id, "id")
        if row.key is not None:
            w = group.workflow(row.namespace, row.workflow)
            holder = group.holder(w, row.key)
            if holder is not None:
                facts = group.fact(holder)
                return ports.Created(False, facts.id if facts else "", "key")
        return None

    # -- one turn ---------------------------------------------------------------------------

    def _rows(self, n: int, facts: Facts, rows: list[ports.Row]) -> None:
        group = self.group
        seq = group.head
        iseq = facts.iseq
        epoch = group.epoch
        put = group.new_entries.append
        for row in rows:
            seq += 1
            iseq += 1
            kind, at = row.kind, row.at
            crc = _crc32(_header(seq, n, iseq, epoch, at, JSON_CODEC) + kind.encode(), row.crc)
            put((seq, n, iseq, epoch, kind, at, JSON_CODEC, row.payload, crc))
        group.entries += iseq - facts.iseq
        facts.iseq = iseq
        group.head = seq

    def _rest(self, n: int, facts: Facts, pos: int, work: ports.Append) -> ports.Appended | None:
        """Everything a turn writes besides its rows; None: nothing to report."""
        change = work.change
        if change is not None:
            self._change(n, facts, change, work.rows[-1].at if work.rows else None)
        if work.answered:
            self._answer(n, work.answered)
        if not work.ended:  # else all that is open is closed with the instance, by its number
            if work.taken:
                self._take(n, facts, work.taken)
            if work.closed:
                self._close(n, pos, work.closed)
            for op in work.untimed:
                self.group.timers[n, op] = None
        if work.timers:
            for op, due in work.timers:
                self.group.timers[n, op] = due
        if work.asks:
            for ask in work.asks:
                values = (
                    ask.id, n, ask.op, ask.kind, ask.title, ask.schema, ask.assignee, ask.due,
                    None, None,
                )  # fmt: skip
                self.group.asks.append((INSERT_ASK, values))
        if work.generation_start is not None:
            self._generation(n, work.generation_start)
        if work.version is not None:
            self._version(n, work.version)
        if work.request is not None:
            self._request(work.request, facts.id)
        if work.ended:
            self.group.ended.append((pos, n))
            facts.items = 0
        if work.opened or work.creates or work.tell or work.emits:
            return self._outward(n, facts, pos, work)
        return None

    def _outward(self, n: int, facts: Facts, pos: int, work: ports.Append) -> ports.Appended | None:
        """What reaches beyond the instance: children first, so that they can be told."""
        created = [self.create(child) for child in work.creates] if work.creates else []
        told = [t for id, item in work.tell if (t := self._tell(id, item))] if work.tell else []
        emitted = [
            place for emit in work.emits if (place := self.matcher.store_unrouted(emit)) is not None
        ] if work.emits else []  # fmt: skip
        found: list[ports.InboxItem] = []
        for wait in work.opened:
            found += self.matcher.open(n, facts, wait, pos)
        if found or created or told or emitted:
            return ports.Appended(pos, found, created, told, emitted)
        return None

    def _tell(self, id: str, item: ports.InboxRow) -> tuple[int, str, ports.InboxItem] | None:
        """Hands an item to another instance; one that has ended or is unknown hears nothing."""
        group = self.group
        n = group.number_of(id)
        facts = group.fact(n) if n is not None else None
        if n is None or facts is None or facts.ended:
            return None
        put = group.put_item(n, facts, item.kind, item.pos, item.payload, item.at, stored=True)
        return n, id, put

    def _change(self, n: int, facts: Facts, change: ports.StatusChange, at: int | None) -> None:
        group = self.group
        status = STATUS_CODE[change.status]
        if status != facts.status:
            group.count(facts.w, facts.status, -1)
            group.count(facts.w, status, 1)
            if status >= FIRST_ENDED:
                group.slots[n] = n
                if facts.key is not None:
                    group.key_holders[facts.w, facts.key] = 0
            facts.status = status
        new = group.new_instances.get(n)
        if new is None:
            if at is None and n in group.changes:
                at = group.changes[n][1]
            group.changes[n] = (
                status, at, change.outcome, change.waits, change.steps, change.error,
                change.error_code, change.busy,
            )  # fmt: skip
        else:
            new[SLOT] = group.slots.pop(n, new[SLOT])
            new[STATUS], new[OUTCOME], new[WAITS] = status, change.outcome, change.waits
            new[STEPS], new[ERROR], new[CODE] = change.steps, change.error, change.error_code
            new[BUSY] = change.busy
            if at is not None:
                new[UPDATED] = at
        if change.attributes is not None:
            self._attributes(n, change.attributes)

    def _attributes(self, n: int, attributes: dict[str, Any]) -> None:
        group = self.group
        new = group.new_instances.get(n)
        if new is not None and not attributes and new[ATTRIBUTES] is None:
            return
        if new is not None and new[ATTRIBUTES] is None and n not in group.attributes:
            # the usual case: the first value, known when the row is made
            new[ATTRIBUTES] = msgspec.json.encode(attributes)
            group.new_attributes += [
                (n, name, stored_value(value)) for name, value in attributes.items()
            ]
            return
        if new is not None:
            group.flush()
        group.attributes[n] = attributes

    def _generation(self, n: int, iseq: int) -> None:
        new = self.group.new_instances.get(n)
        if new is None:
            self.group.generations[n] = iseq
        else:
            new[GENERATION] = iseq

    def _version(self, n: int, version: int) -> None:
        new = self.group.new_instances.get(n)
        if new is None:
            self.group.versions[n] = version
        else:
            new[VERSION] = version

    def _take(self, n: int, facts: Facts, taken: Sequence[int]) -> None:
        self.group.taken += [(n, iq) for iq in taken]
        facts.items = -1  # an item may be named twice: counted again when it matters

    def _answer(self, n: int, answered: Sequence[tuple[str, str | None, int]]) -> None:
        for op, by, at in answered:
            self.group.asks.append((ANSWER_ASK, (by, at, n, op)))

    def _close(self, n: int, pos: int, ops: Sequence[str]) -> None:
        group = self.group
        for op in ops:
            key = n, op
            wait = group.waits.get(key)
            if wait is None:
                group.closed_waits.setdefault(key, pos)
            else:
                nth = 0
                while wait is not None:
                    wait[CLOSED] = wait[CLOSED] or pos
                    nth += 1
                    wait = group.waits.get((n, nth_key(op, nth)))
            group.timers[key] = None
            group.asks.append((DROP_ASK, key))

    def _request(self, request: ports.Request, instance: str) -> None:
        """The first reply stands: an expected repeat never breaks a group."""
        self.group.new_requests.setdefault(
            request.id,
            (request.at, request.id, signed(request.hash), request.reply, instance),
        )
