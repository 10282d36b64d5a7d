"""The tables of the store in memory: plain objects and dicts."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from greenroom.actors import ports
from greenroom.definitions.events import Event
from greenroom.runtime.memory_resources import MemoryResources
from greenroom.runtime.store import signed
from greenroom.runtime.tokens import fresh

ENDED: Final = frozenset({"completed", "cancelled"})


class Wait:
    """An open or closed wait; `closed` is the place where it closed, 0 while open."""

    def __init__(self, row: ports.WaitRow, shape: int, opened: int) -> None:
        self.row = row
        self.shape = shape
        self.keys = [signed(key) for key in (row.hash, *row.more)]
        self.opened = opened
        self.closed = 0


class Instance:
    def __init__(self, row: ports.InstanceRow, pos: int) -> None:
        self.row = row
        self.pos = pos
        self.generation = 1
        self.rows: list[ports.StoredRow] = []
        self.inbox: dict[int, ports.InboxItem] = {}
        self.snapshots: dict[int, tuple[bytes, int]] = {}
        self.waits: dict[str, Wait] = {}
        self.timers: dict[str, int] = {}
        self.asks: dict[str, ports.AskView] = {}

    @property
    def ended(self) -> bool:
        return self.row.status in ENDED

    def open_asks(self, op: str | None = None) -> list[ports.AskView]:
        return [
            ask for ask in self.asks.values() if ask.answered_at is None and op in (None, ask.op)
        ]


class StoredEvent:
    def __init__(self, pos: int, row: ports.EventRow, body: bytes) -> None:
        self.pos = pos
        self.row = row
        self.body = body
        self.data = row.event.as_data()
        self.matched = 0
        self.cursor: int | None = None
        self.given: list[tuple[int, ports.Matched]] = []
        """(nth start or 0, match); kept by number, since an instance may be pruned."""

    def was_given(self, n: int) -> bool:
        """A start that was refused in favour of this instance gave it nothing."""
        return any(
            match.n == n and (nth == 0 or match.action == "started") for nth, match in self.given
        )

    def view(self) -> ports.StoredEventRow:
        row = self.row
        event = msgspec.json.decode(self.body, type=Event)
        return ports.StoredEventRow(
            self.pos, row.scope, event, row.accepted, row.by, row.hops, self.matched,
            self.cursor is None,
        )  # fmt: skip


class Tables:
    """Everything that is stored. It survives `MemoryStore.crash`."""

    def __init__(self) -> None:
        self._sql: sqlite3.Connection | None = None
        self.meta: dict[str, str] = {}
        self.secret = fresh()
        self.epoch = 0
        self.clean = True
        self.closed_at = 0
        self.head = 0
        self.iq = 0
        self.pruned = 0
        self.pruned_entries: list[ports.StoredRow] = []
        self.last_n = 0
        self.instances: dict[int, Instance] = {}
        self.ids: dict[str, int] = {}
        self.keys: dict[tuple[str, str, str], int] = {}
        self.events: dict[int, StoredEvent] = {}
        self.event_ids: dict[tuple[str, str, str], int] = {}
        self.shapes: dict[tuple[str, str, tuple[str, ...]], int] = {}
        self.index: dict[tuple[int, int], dict[tuple[int, str], Wait]] = {}
        self.requests: dict[str, tuple[ports.Request, str]] = {}
        self.requests_seen = 0
        """How many of them retention has looked at in this round."""
        self.definitions: dict[tuple[str, int], ports.DefinitionRow] = {}
        self.schedules: dict[str, ports.ScheduleRow] = {}
        self.notes: dict[str, dict[str, bytes]] = {}
        """What is kept beside a question; read only while it is open."""
        self.dead: dict[tuple[int, int], ports.DeadRow] = {}
        self.resources = MemoryResources()

    def given(self, event: StoredEvent) -> list[ports.Matched]:
        """Starts in their order, then deliveries by number. Of a pruned instance little is left."""
        order = sorted(event.given, key=lambda pair: (pair[0] == 0, pair[0], pair[1].n))
        found = []
        for nth, match in order[: ports.MATCHES_LISTED]:
            if match.n in self.instances:
                found.append(match)
            elif nth:
                found.append(msgspec.structs.replace(match, id=""))
            else:
                found.append(msgspec.structs.replace(match, id="", workflow="", key=None))
        return found

    def sql(self) -> sqlite3.Connection:
        """The tables of transactional steps: a database in memory, made when first asked for."""
        if self._sql is None:
            self._sql = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        return self._sql
