"""Where events and waits meet.

A *shape* is (namespace, type, equality paths). An event has a key under every shape of its type, a
wait under its own; both are stored under (shape, hash of the key), so each finds the other by one
seek and only then the whole condition is evaluated. Events that came first are found by a wait
that looks back, waits that came first by an event that is routed; `given` makes sure that an
instance gets an event once, whichever way it was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from greenroom.actors import ports
from greenroom.actors.ports import INBOX_MAX, LOOK_BACK_MAX
from greenroom.definitions.errors import GreenroomError
from greenroom.definitions.events import Event
from greenroom.definitions.matching import compile_stored, event_hashes
from greenroom.runtime.sqlite_group import Facts, Group
from greenroom.runtime.store import delivers_to, event_crc, signed

MATCHED, CURSOR = 11, 12
"""Columns of a collected event that are known after it was stored."""
PAGE: Final = 256
OVERFLOW: Final = 0
"""Stands for more keys than are stored one by one."""
NTH_KEY: Final = "\x1f"
"""Stands between an op and the number of a further key of its wait: no key of an op has it."""
LAST_OP: Final = "\U0010ffff"
"""Sorts behind every op: a cursor names instances only."""

WAITS: Final = (
    'SELECT n, op, "where" FROM subscription'
    " WHERE shape=? AND closed=0 AND hash=? AND (n, op) > (?, ?) AND opened<?"
    " ORDER BY n, op LIMIT ?"
)
WAITS_ANY: Final = (
    'SELECT n, op, "where" FROM subscription'
    " WHERE shape=? AND closed=0 AND (n, op) > (?, ?) AND opened<? ORDER BY n, op LIMIT ?"
)
LOOK_BACK: Final = (
    "SELECT * FROM (SELECT k.pos AS pos FROM event_key k WHERE k.shape=? AND k.hash=? AND k.pos>?"
    " AND NOT EXISTS (SELECT 1 FROM given g WHERE g.pos = k.pos AND g.n = ?"
    " AND (g.nth = 0 OR g.action = 'started')) ORDER BY k.pos LIMIT ?)"
)
"""The first places under one key; for several they are united, so that an event with more than one
of the keys is found once and no more is read of each than a page."""
FOUND: Final = (
    "SELECT e.pos, e.body, e.accepted FROM ({}) k JOIN event e ON e.pos = k.pos"
    " ORDER BY e.pos LIMIT ?"
)
NEXT_EVENT: Final = "SELECT pos, accepted FROM event WHERE pos>=? ORDER BY pos LIMIT 1"
BACKFILL: Final = (
    "SELECT pos, body FROM event WHERE type=? AND scope=? AND pos>? AND pos<=? ORDER BY pos"
)

encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode


class Shape(msgspec.Struct):
    """Events after `filled` have their keys; those before got none while nobody asked."""

    id: int
    namespace: str
    type: str
    paths: tuple[str, ...]
    filled: int


class Found(NamedTuple):
    n: int
    op: str


class Matcher:
    def __init__(self, group: Group) -> None:
        self.group = group
        self._at_hand: tuple[Any, dict[int, list[int]]] = (None, {})
        self.spent: int | None = None
        """The place of the event whose starts are being made: they do not find it again."""
        self.reload()

    def reload(self) -> None:
        self.shapes: dict[tuple[str, str], list[Shape]] = {}
        rows = self.group.db.execute(
            "SELECT id, namespace, type, paths, filled FROM shape ORDER BY id"
        )
        for id, namespace, type_, paths, filled in rows:
            found = tuple(msgspec.json.decode(paths, type=list[str]))
            self._add(Shape(id, namespace, type_, found, filled))

    def _add(self, shape: Shape) -> Shape:
        self.shapes.setdefault((shape.namespace, shape.type), []).append(shape)
        return shape

    # -- conditions -------------------------------------------------------------------------

    def matches(self, where: bytes, event: dict[str, Any]) -> bool:
        """A condition that cannot be compiled or evaluated is not met."""
        try:
            return compile_stored(where).matches(event)
        except GreenroomError:
            return False

    # -- events -----------------------------------------------------------------------------

    def store_event(
        self, row: ports.EventRow, body: bytes, data: dict[str, Any] | None, cursor: int | None
    ) -> int:
        """The event at the next place, under the keys of the shapes of its type."""
        group, event = self.group, row.event
        group.head += 1
        pos: int = group.head
        group.new_events[pos] = [
            pos, event.id, event.source, row.scope, event.type, body,
            event_crc(pos, row.scope, row.accepted, row.by, row.hops, body), row.accepted, row.by, signed(row.hash), row.hops, 0, cursor,
        ]  # fmt: skip
        group.new_event_ids.add((event.id, event.source, row.scope))
        group.events += 1
        if data is not None:
            for shape in self.shapes.get((row.scope, event.type), ()):
                group.new_keys += [(shape.id, h, pos) for h in self._keys(data, shape)]
        return pos

    def _keys(self, data: dict[str, Any], shape: Shape) -> list[int]:
        """The keys of the event at hand, made once: it is stored under them and routed by them."""
        if self._at_hand[0] is not data:
            self._at_hand = data, {}
        keys = self._at_hand[1].get(shape.id)
        if keys is None:
            keys = self._at_hand[1][shape.id] = hashes(data, shape.paths)
        return keys

    def settle(self, pos: int, matched: int, cursor: int | None) -> None:
        """What became of an event, noted with it."""
        stored = self.group.new_events.get(pos)
        if stored is None:
            self.group.db.execute(
                "UPDATE event SET matched=?, cursor=? WHERE pos=?", (matched, cursor, pos)
            )
        else:
            stored[MATCHED], stored[CURSOR] = matched, cursor

    def store_unrouted(self, row: ports.EventRow) -> int | None:
        """An emitted event, to be routed later; None: it is known already."""
        if row.checked and self.known(row) is not None:
            return None
        body = encode_event(row.event)
        data = row.event.as_data() if (row.scope, row.event.type) in self.shapes else None
        return self.store_event(row, body, data, 0)

    def known(self, row: ports.EventRow) -> tuple[int, int, int] | None:
        """(pos, hash, matched) of the event with the same scope, source and id."""
        event = row.event
        key = event.id, event.source, row.scope
        if key in self.group.new_event_ids:
            self.group.flush()
        found = self.group.db.execute(
            "SELECT pos, hash, matched FROM event WHERE id=? AND source=? AND scope=?", key
        ).fetchone()
        return None if found is None else (found[0], found[1], found[2])

    # -- from events to waits ---------------------------------------------------------------

    def meets(
        self, namespace: str, event: Event, data: dict[str, Any], pos: int, cursor: int
    ) -> Iterator[tuple[int, Found | None]]:
        """The waits opened before `pos` that the event meets, as (cursor, wait), and those looked
        at in vain as (cursor, None). Whoever stops goes on with the last cursor."""
        first, after = cursor >> 44, cursor & ((1 << 44) - 1)
        for shape in self.shapes.get((namespace, event.type), ()):
            if shape.id < first:
                continue
            if shape.id > first:
                after = 0
            for n, op, where in self._candidates(shape, data, pos, after):
                if self.matches(where, data):
                    yield shape.id << 44 | n, Found(n, op)
                else:  # another wait of the same instance may follow
                    yield shape.id << 44 | (n - 1), None

    def _candidates(
        self, shape: Shape, data: dict[str, Any], pos: int, after: int
    ) -> Iterator[tuple[int, str, bytes]]:
        """Open waits under the event's keys, by instance; a few at a time, since the caller
        writes between."""
        keys = self._keys(data, shape)
        place = after, LAST_OP
        while keys:
            execute = self.group.db.execute
            if keys == [OVERFLOW]:
                rows = execute(WAITS_ANY, (shape.id, *place, pos, PAGE)).fetchall()
            else:
                rows = [
                    row
                    for key in keys
                    for row in execute(WAITS, (shape.id, key, *place, pos, PAGE)).fetchall()
                ]
            whole = len(rows) < PAGE
            if len(keys) > 1:
                rows = sorted(rows)[:PAGE]
            yield from rows
            if whole:
                return
            place = rows[-1][0], rows[-1][1]

    # -- from waits to events ---------------------------------------------------------------

    def open(self, n: int, facts: Facts, wait: ports.WaitRow, pos: int) -> list[ports.InboxItem]:
        """Stores a wait, and gives what it finds in the past."""
        group = self.group
        namespace = group.names[facts.w][0]
        shape = self._shape(namespace, wait)
        keys = [signed(key) for key in (wait.hash, *wait.more)]
        opened = group.head  # events of this very group come behind it
        self._forget(n, wait.op, opened)
        for nth, key in enumerate(keys):
            op = nth_key(wait.op, nth)
            group.waits[n, op] = [n, op, shape.id, key, wait.where, opened, 0]
        since = wait.since if wait.since_at is None else self._place_before(wait.since_at)
        if since is None or since >= opened or not group.events:
            return []
        if since < shape.filled:
            self._fill(shape, since)
        return self._look_back(n, facts, shape, keys, wait, since)

    def _place_before(self, at: int) -> int:
        """The place after which events were accepted at a time or later: places and times rise
        together, but for a clock that was set back."""
        if self.group.new_events:
            self.group.flush()
        low, high = 1, self.group.head + 1
        while low < high:
            middle = (low + high) // 2
            found = self.group.db.execute(NEXT_EVENT, (middle,)).fetchone()
            if found is None or found[1] >= at:
                high = middle
            else:
                low = found[0] + 1
        return low - 1

    def _forget(self, n: int, op: str, pos: int) -> None:
        """The wait that the op had before, all its rows: another has as many as it has keys."""
        group = self.group
        if n not in group.new_instances:
            group.closed_waits.setdefault((n, op), pos)
        nth = 0
        while group.waits.pop((n, nth_key(op, nth)), None) is not None:
            nth += 1

    def _look_back(
        self,
        n: int,
        facts: Facts,
        shape: Shape,
        keys: list[int],
        wait: ports.WaitRow,
        after: int,
    ) -> list[ports.InboxItem]:
        group = self.group
        if group.new_events or group.new_given:
            group.flush()
        found: list[ports.InboxItem] = []
        hashes_ = [*keys, OVERFLOW]
        look_back = FOUND.format(" UNION ".join([LOOK_BACK] * len(hashes_)))
        room = min(LOOK_BACK_MAX, INBOX_MAX - group.items_of(n, facts))
        while len(found) < room:
            places = [value for h in hashes_ for value in (shape.id, h, after, n, PAGE)]
            rows = group.db.execute(look_back, (*places, PAGE)).fetchall()
            for pos, body, accepted in rows:
                if accepted < (wait.since_at or 0):  # the clock was set back
                    continue
                if pos != self.spent and self.matches(wait.where, decode_event(body).as_data()):
                    group.new_given.append((pos, n, 0, "delivered", None, None, None))
                    found.append(
                        group.put_item(n, facts, "event", pos, body, accepted, stored=False)
                    )
                    group.db.execute("UPDATE event SET matched = matched + 1 WHERE pos=?", (pos,))
                    if not wait.many or len(found) >= room:
                        return found
            if len(rows) < PAGE:
                break
            after = rows[-1][0]
        return found

    def _shape(self, namespace: str, wait: ports.WaitRow) -> Shape:
        for shape in self.shapes.get((namespace, wait.type), ()):
            if shape.paths == wait.paths:
                return shape
        group = self.group
        paths = msgspec.json.encode(wait.paths).decode()
        filled = group.head  # nobody looked back under it before
        id = group.db.execute(
            "INSERT INTO shape (namespace, type, paths, filled) VALUES (?,?,?,?) RETURNING id",
            (namespace, wait.type, paths, filled),
        ).fetchone()[0]
        return self._add(Shape(id, namespace, wait.type, wait.paths, filled))

    def _fill(self, shape: Shape, since: int) -> None:
        """Gives the events between `since` and the shape's making their keys, once."""
        group = self.group
        group.flush()
        rows = group.db.execute(BACKFILL, (shape.type, shape.namespace, since, shape.filled))
        for pos, body in rows:
            data = decode_event(body).as_data()
            group.new_keys += [(shape.id, h, pos) for h in hashes(data, shape.paths)]
        group.flush()
        shape.filled = since
        group.db.execute("UPDATE shape SET filled=? WHERE id=?", (since, shape.id))


def nth_key(op: str, nth: int) -> str:
    """The name of the row of a wait's nth key; the first is the op's own."""
    return f"{op}{NTH_KEY}{nth}" if nth else op


def hashes(data: dict[str, Any], paths: tuple[str, ...]) -> list[int]:
    """The keys of an event under a shape; a path to a list gives several, a path to a long list
    `OVERFLOW`: it is tried with every wait of the shape."""
    found = event_hashes(data, paths)
    return [OVERFLOW] if found is None else found


__all__ = ["Found", "Matcher", "Shape", "decode_event", "delivers_to", "encode_event", "hashes"]
