"""Posted events: known or new, what they start, whom they are given to."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.actors.ports import FAN_OUT_PER_COMMIT, INBOX_MAX, MATCHES_LISTED
from greenroom.definitions.errors import GreenroomError, InboxFull, InvalidEvent, NotFound
from greenroom.runtime.sqlite_group import Facts, Group
from greenroom.runtime.sqlite_match import Matcher, decode_event, encode_event
from greenroom.runtime.sqlite_turns import Turns
from greenroom.runtime.store import signed

LOOKED_AT_PER_COMMIT: Final = 5 * FAN_OUT_PER_COMMIT

GIVEN: Final = (
    "SELECT g.n, COALESCE(i.id, ''), COALESCE(g.workflow, w.name, ''),"
    " CASE WHEN g.workflow IS NULL THEN i.key ELSE g.key END, g.action, g.code"
    " FROM given g LEFT JOIN instance i ON i.n = g.n LEFT JOIN workflow w ON w.w = i.w"
    " WHERE g.pos=? ORDER BY g.nth = 0, g.nth, g.n LIMIT ?"
)

WAS_GIVEN: Final = "SELECT n FROM given WHERE pos=? AND (nth = 0 OR action = 'started')"


class Fan:
    """What one event has done so far in this commit. Starts are numbered from 1, deliveries 0:
    that is their order in the reply, now and when it is asked for again."""

    def __init__(self, pos: int) -> None:
        self.pos = pos
        self.done = 0
        self.seen: set[int] = set()
        self.matched: list[ports.Matched] = []
        self.items: list[tuple[int, str, ports.InboxItem]] = []
        self.started: list[ports.Created] = []


class Router:
    def __init__(self, group: Group, matcher: Matcher, turns: Turns) -> None:
        self.group = group
        self.matcher = matcher
        self.turns = turns

    def known_ids(self, works: list[ports.Post]) -> set[str]:
        """The ids among those of the group that some stored event has."""
        ids = [work.row.event.id for work in works if work.row.checked]
        if not ids:
            return set()
        found = self.group.db.execute(
            "SELECT DISTINCT id FROM event WHERE id IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(ids).decode(),),
        )
        return {row[0] for row in found}

    def post(self, work: ports.Post, known_ids: set[str]) -> ports.Posted | GreenroomError:
        group, row = self.group, work.row
        event = row.event
        if row.checked and (
            event.id in known_ids or (event.id, event.source, row.scope) in group.new_event_ids
        ):
            known = self.matcher.known(row)
            if known is not None:
                self._tick(work)
                return self._again(row, *known)
        try:
            body = encode_event(event)
        except (ValueError, TypeError, RecursionError) as error:
            return InvalidEvent(f"the event cannot be stored: {error}", path="$")
        if work.to is not None:
            return self._direct(work, body)
        met = (row.scope, event.type) in self.matcher.shapes
        data = event.as_data() if met else None
        fan = Fan(self.matcher.store_event(row, body, data, 0 if work.later else None))
        if work.later:
            return ports.Posted(fan.pos, more=True)
        if work.starts:
            self._start(fan, work.starts)
        cursor: int | None = None
        if data is not None:
            if group.waits or group.closed_waits or group.ended:
                group.flush()
            cursor = self._deliver(fan, row, body, data, 0)
        if fan.done or cursor is not None:
            self.matcher.settle(fan.pos, fan.done, cursor)
        self._tick(work)
        return ports.Posted(
            fan.pos, False, False, fan.done, fan.matched, fan.items, fan.started,
            cursor is not None,
        )  # fmt: skip

    def route(self, work: ports.Route) -> ports.Posted | GreenroomError:
        """Goes on where the last commit of this event stopped."""
        group = self.group
        group.flush()
        found = group.db.execute(
            "SELECT body, scope, accepted, cursor, matched FROM event WHERE pos=?", (work.pos,)
        ).fetchone()
        if found is None:
            return NotFound(f"no event at {work.pos}", pos=work.pos)
        body, scope, accepted, cursor, matched = found
        if cursor is None:
            return ports.Posted(work.pos, matched_total=matched)
        event = decode_event(body)
        row = ports.EventRow(scope, event, accepted, None, 0)
        fan = Fan(work.pos)
        if cursor == 0 and work.starts:
            self._start(fan, work.starts)
            group.flush()
        fan.seen.update(n for (n,) in group.db.execute(WAS_GIVEN, (work.pos,)))
        after = self._deliver(fan, row, body, event.as_data(), cursor)
        self.matcher.settle(work.pos, matched + fan.done, after)
        return ports.Posted(
            fan.pos, False, False, matched + fan.done, fan.matched, fan.items, fan.started,
            after is not None,
        )  # fmt: skip

    # -- the parts --------------------------------------------------------------------------

    def _again(self, row: ports.EventRow, pos: int, hash_: int, matched: int) -> ports.Posted:
        """A repeat gets the first answer; the same id with another body none."""
        if hash_ != signed(row.hash):
            return ports.Posted(pos, duplicate=True, conflict=True)
        return ports.Posted(pos, duplicate=True, matched_total=matched, matched=self.given(pos))

    def given(self, pos: int) -> list[ports.Matched]:
        if self.group.new_given:
            self.group.flush()
        rows = self.group.db.execute(GIVEN, (pos, MATCHES_LISTED))
        return [ports.Matched(*row) for row in rows]

    def _direct(self, work: ports.Post, body: bytes) -> ports.Posted | GreenroomError:
        """To one instance, whatever it waits for; one that has ended is told nothing."""
        group, id = self.group, work.to or ""
        n = group.number_of(id)
        facts = group.fact(n) if n is not None else None
        if n is None or facts is None:
            return NotFound(f"no instance {id}", instance=id)
        if not facts.ended and group.items_of(n, facts) >= INBOX_MAX:
            return InboxFull(f"instance {id} holds {INBOX_MAX:,} undelivered messages", instance=id)
        fan = Fan(self.matcher.store_event(work.row, body, None, None))
        if not facts.ended:
            self._give(fan, n, facts, work.row, body)
        if fan.done:
            self.matcher.settle(fan.pos, fan.done, None)
        return ports.Posted(fan.pos, matched_total=fan.done, matched=fan.matched, items=fan.items)

    def _start(self, fan: Fan, starts: Any) -> None:
        for nth, create in enumerate(starts, 1):
            row = create.row
            self.matcher.spent = fan.pos
            made = self.turns.create(create)
            self.matcher.spent = None
            fan.started.append(made)
            fan.done += 1
            n, action, code = row.n, "started", None
            if not made.created:
                action, code = (
                    "refused",
                    "already_running" if made.conflict == "key" else made.conflict,
                )
                n = self.group.number_of(made.id) or 0
            else:
                fan.seen.add(n)
            self.group.new_given.append((fan.pos, n, nth, action, row.workflow, row.key, code))
            if len(fan.matched) < MATCHES_LISTED:
                fan.matched.append(
                    ports.Matched(n, made.id, row.workflow, row.key, action, code)  # type: ignore[arg-type]
                )

    def _deliver(
        self, fan: Fan, row: ports.EventRow, body: bytes, data: dict[str, Any], cursor: int
    ) -> int | None:
        """Gives the event to the instances whose waits it meets; the cursor to go on from."""
        stop = 0
        meets = self.matcher.meets(row.scope, row.event, data, fan.pos, cursor)
        for looked, (place, wait) in enumerate(meets, 1):
            if stop and place > stop:
                return stop
            if wait is not None and wait.n not in fan.seen:
                fan.seen.add(wait.n)
                facts = self.group.fact(wait.n)
                if facts is not None:
                    self._give(fan, wait.n, facts, row, body)
            if not stop and (fan.done >= FAN_OUT_PER_COMMIT or looked >= LOOKED_AT_PER_COMMIT):
                stop = place if place > cursor else 0
        return None

    def _give(self, fan: Fan, n: int, facts: Facts, row: ports.EventRow, body: bytes) -> None:
        """Into the inbox, or to the dead letters when it is full."""
        group = self.group
        fan.done += 1
        full = group.items_of(n, facts) >= INBOX_MAX
        action, code = ("refused", "inbox_full") if full else ("delivered", None)
        group.new_given.append((fan.pos, n, 0, action, None, None, code))
        if full:
            group.dead.append((n, fan.pos, row.accepted, "inbox_full"))
        else:
            item = group.put_item(n, facts, "event", fan.pos, body, row.accepted, stored=False)
            fan.items.append((n, facts.id, item))
        if len(fan.matched) < MATCHES_LISTED:
            name = group.names[facts.w][1]
            fan.matched.append(
                ports.Matched(n, facts.id, name, facts.key, action, code)  # type: ignore[arg-type]
            )

    def redrive(self, work: ports.Redrive) -> ports.Redriven | GreenroomError:
        """A dead letter into the inbox after all."""
        group, key = self.group, (work.n, work.pos)
        group.flush()
        found = group.db.execute(
            "SELECT e.body, e.accepted FROM dead d JOIN event e ON e.pos = d.pos"
            " WHERE d.n=? AND d.pos=?", key).fetchone()  # fmt: skip
        facts = group.fact(work.n)
        if found is None or facts is None:
            return NotFound(f"no dead letter of {work.n} at {work.pos}", pos=work.pos)
        if not facts.ended and group.items_of(work.n, facts) >= INBOX_MAX:
            return InboxFull(
                f"instance {facts.id} holds {INBOX_MAX:,} undelivered messages", instance=facts.id
            )
        group.db.execute("DELETE FROM dead WHERE n=? AND pos=?", key)
        if facts.ended:
            return ports.Redriven(facts.id, None)
        group.db.execute(
            "UPDATE given SET action='delivered', code=NULL WHERE n=? AND pos=? AND nth=0", key
        )
        body, accepted = found
        item = group.put_item(work.n, facts, "event", work.pos, body, accepted, stored=False)
        return ports.Redriven(facts.id, item)

    def _tick(self, work: ports.Post) -> None:
        if work.tick is not None:
            id, nominal, due = work.tick
            self.group.db.execute(
                "UPDATE schedule SET last=?, due=? WHERE id=? AND (last IS NULL OR last<?)",
                (nominal, due, id, nominal),
            )
