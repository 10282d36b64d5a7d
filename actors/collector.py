"""The collector: events that a trigger gathers or holds back before an instance starts.

A state for each (trigger, key) lies in the table of schedules under an id that begins with `~`, so
the one due list of the timer wakes it. An event is stored first, *unrouted*; then the states it
changes are stored and it is routed, in that order, so after a crash it is offered again and
nothing is counted twice. What is ripe starts by an event of its own, whose id follows from the
events it stands for: it starts once, however often it is tried. All open states are in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.collected import Collected, Member, offer, ripen
from greenroom.actors.ports import (
    DropSchedules,
    GetEvent,
    Posted,
    SaveSchedule,
    ScheduleRow,
    StoredEventRow,
)
from greenroom.definitions.collecting import SEVERAL, Collect
from greenroom.definitions.events import Event
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Trigger, key_text

if TYPE_CHECKING:
    from greenroom.actors.router import Router

MARK: Final = "~"
"""How the ids of states begin."""
COLLECTED_TYPE: Final = "greenroom.collected"
"""Type of the event that stands for what was collected."""


class Collector:
    def __init__(self, router: Router) -> None:
        self.router = router
        self.states: dict[str, Collected] = {}
        self.firing: set[str] = set()
        self.unsaved: set[str] = set()
        """States that could not be stored: there was no room on the disk."""
        self.released: Callable[[str], Definition | None] = lambda name: None
        """The definition whose triggers count now; None: disabled or gone."""
        self.arm: Callable[[int, str], None] = lambda due, id: None
        """Books a call of `fire`."""

    def load(self, rows: list[ScheduleRow]) -> None:
        """What was open when the last process ended; the timer finds what is due."""
        for row in rows:
            if row.id.startswith(MARK):
                self.states[row.id] = msgspec.json.decode(row.spec, type=Collected)

    # -- an event comes --------------------------------------------------------------------------

    def offer(
        self,
        definition: Definition,
        trigger: Trigger,
        row: StoredEventRow,
        data: dict[str, Json],
        works: list[Any],
    ) -> tuple[str, str | None]:
        """Takes a stored event; adds the works that make it durable. Gives what `collected.offer`
        gives, and the key. Raises `GreenroomError` for a key that is none."""
        rule = trigger.collect
        assert rule is not None
        key = key_of(definition, trigger, data)
        nth = nth_of(definition, trigger)
        now = self.router.stage.now()
        id = state_id(row.scope, definition.name, nth, key)
        held = self.states.get(id)
        if held is None:
            held = Collected(row.scope, definition.name, nth, key, now, now)
        size = len(msgspec.json.encode(data["data"])) if rule.kind == "batch" else 0
        said = offer(rule, held, Member(trigger.slot, row.pos, now), size, now)
        works.append(self._keep(id, held))
        return said, key

    def _keep(self, id: str, held: Collected) -> Any:
        """The work that stores a state, or forgets an empty one."""
        if held.empty:
            self.states.pop(id, None)
            return DropSchedules(id, ())
        self.states[id] = held
        return SaveSchedule(id, id, msgspec.json.encode(held), held.opened, held.due)

    def book(self, works: list[Any]) -> None:
        """The states of these works are durable: their calls are booked."""
        for work in works:
            if isinstance(work, SaveSchedule) and work.due is not None:
                self.arm(work.due, work.id)

    # -- the time has come -----------------------------------------------------------------------

    def fire(self, id: str, due: int) -> None:
        held = self.states.get(id)
        if held is not None and held.due == due and id not in self.firing:
            self._fire(id, held)

    def recover(self) -> None:
        """Goes on with what was starting when the last process ended, or the disk was full."""
        for id, held in list(self.states.items()):
            if id not in self.firing and (held.going or id in self.unsaved):
                self._fire(id, held)

    def _fire(self, id: str, held: Collected) -> None:
        self.firing.add(id)
        definition = self.released(held.workflow)
        rule = _rule(definition, held.nth) if definition is not None else None
        if definition is None or rule is None:  # nobody wants it any more
            held.members, held.passed, held.going = [], [], []
            self._settle(id, held)
            return
        ripen(rule, held, self.router.stage.now())
        left = len(held.going)
        if not left:
            self._settle(id, held)

        def started() -> None:
            nonlocal left
            left -= 1
            if not left:
                held.going = []
                self._settle(id, held)

        for members in held.going:
            self._read(definition, rule, id, held, members, started)

    def _failed(self, id: str) -> None:
        """Nothing was stored: it is tried again when there is room, or at the next start."""
        self.firing.discard(id)
        self.unsaved.add(id)

    def rule_of(self, held: Collected) -> Collect | None:
        """The rule of today for a state; None: its workflow is gone or disabled."""
        definition = self.released(held.workflow)
        return None if definition is None else _rule(definition, held.nth)

    def _settle(self, id: str, held: Collected) -> None:
        """Stores what is left, once all that was ripe is durable."""
        work = self._keep(id, held)

        def kept(result: Any) -> None:
            if isinstance(result, Exception):
                self.states[id] = held
                self._failed(id)
                return
            self.firing.discard(id)
            self.unsaved.discard(id)
            self.book([work])

        self.router.stage.submit(work, kept)

    def _read(
        self,
        definition: Definition,
        rule: Collect,
        id: str,
        held: Collected,
        members: list[Member],
        started: Callable[[], None],
    ) -> None:
        """Fetches the events, then starts."""
        found: dict[int, StoredEventRow] = {}
        left = len(members)

        def read(result: Any) -> None:
            nonlocal left
            if isinstance(result, StoredEventRow):
                found[result.pos] = result
            elif result is not None:
                self._failed(id)
                return
            left -= 1
            if not left:
                rows = [found[one.pos] for one in members if one.pos in found]
                if rows:
                    self._start(definition, rule, id, held, rows, started)
                else:  # retention was quicker than the window
                    started()

        for one in members:
            self.router.stage.submit(GetEvent(f"pos:{one.pos}", held.namespace), read)

    def _start(
        self,
        definition: Definition,
        rule: Collect,
        id: str,
        held: Collected,
        rows: list[StoredEventRow],
        started: Callable[[], None],
    ) -> None:
        trigger = definition.triggers[held.nth]
        event, given = stands_for(rule, definition.name, id, held.key, rows)

        def then(result: Any) -> None:
            if isinstance(result, Posted):
                started()
            else:
                self._failed(id)

        hops = max(row.hops for row in rows)
        key = held.key if trigger.key is not None else None
        self.router.post_collected(
            event, given, definition, trigger, key, held.namespace, hops, then
        )


def state_id(scope: str, workflow: str, nth: int, key: str | None) -> str:
    return f"{MARK}{scope}/{workflow}/{nth}/{key or ''}"


def stands_for(
    rule: Collect, workflow: str, id: str, key: str | None, rows: list[StoredEventRow]
) -> tuple[Event, Event]:
    """The event that stands for several, and what the instance gets. `id` is that of the state."""
    listed: list[Json] = [{"id": r.event.id, "type": r.event.type, "pos": r.pos} for r in rows]
    event = Event(
        type=COLLECTED_TYPE,
        id=f"{id}#{max(row.pos for row in rows)}",
        source=f"/workflows/{workflow}",
        data={"kind": rule.kind, "key": key, "events": listed},
    )
    if rule.kind not in SEVERAL:
        return event, rows[0].event
    whole: list[Json] = [row.event.as_data() for row in rows]
    return event, msgspec.structs.replace(event, data={"key": key, "events": whole})


def key_of(definition: Definition, trigger: Trigger, data: dict[str, Json]) -> str | None:
    """What a collecting trigger gathers an event under. Raises `GreenroomError` for a key that is none."""
    assert trigger.collect is not None
    value = trigger.collect.by or trigger.key
    return None if value is None else key_text(value.evaluate(data), definition.name)


def nth_of(definition: Definition, trigger: Trigger) -> int:
    """The place of the first trigger with the same rule: its parts share one state."""
    assert trigger.collect is not None
    rule = trigger.collect.as_data()
    return next(
        nth
        for nth, one in enumerate(definition.triggers)
        if one.collect is not None and one.collect.as_data() == rule
    )


def _rule(definition: Definition, nth: int) -> Collect | None:
    return definition.triggers[nth].collect if nth < len(definition.triggers) else None
