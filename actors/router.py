"""The router: from an event to everything it does, as one work.

Triggers are matched here, against the index in memory, and the first turns of what they start are
decided ahead; waits are matched by the store inside the commit, where no answer can be stale. So
an event, its deliveries, its starts and its place are one transaction, and the acknowledgement can
say what matched. A fan-out wider than a commit goes on under the event's cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from greenroom.actors.instance import Instance
from greenroom.actors.ports import (
    Create,
    EventRow,
    InboxItem,
    Post,
    Posted,
    Route,
    StoredEventRow,
    UnroutedEvents,
)
from greenroom.actors.rows import body_hash, rfc3339
from greenroom.actors.subscriptions import TriggerIndex
from greenroom.definitions.errors import ConditionFailed, GreenroomError, IdConflict, InvalidInput
from greenroom.definitions.events import HOPS_MAX, Event
from greenroom.definitions.workflow import Definition, Trigger, key_text

Refused = tuple[str, str | None, str]
"""(workflow, key, code) of a trigger that matched and could not start."""

UNROUTED_PAGE: Final = 500


class Stage(Protocol):
    """What the router needs of the place it runs in."""

    def now(self) -> int: ...

    def submit(self, work: Any, done: Callable[[Any], None]) -> None: ...

    new_id: Callable[[], str]

    def start_for(
        self,
        definition: Definition,
        input: Any,
        key: str | None,
        event: Event,
        namespace: str,
        hops: int,
    ) -> tuple[Create, Instance]: ...

    def adopt(self, instance: Instance, create: Create, result: Any) -> None: ...

    def deliver(self, n: int, id: str, items: list[InboxItem]) -> None: ...

    def accepted(self, pos: int, row: EventRow) -> None:
        """The event is durable: tell those who follow the stream."""
        ...

    def component_crashed(self, name: str, error: Exception) -> None:
        """A part of the runtime raised what it should not."""
        ...


Done = Callable[[Posted | GreenroomError, list[Refused]], None]


class Router:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.index = TriggerIndex()
        self.routing: set[int] = set()
        """Places of stored events that are being routed now."""
        self.reading = False

    # -- posting -------------------------------------------------------------------------------

    def post(
        self,
        event: Event,
        namespace: str,
        by: str | None,
        done: Done,
        tick: tuple[str, int, int | None] | None = None,
        only: Definition | None = None,
    ) -> str:
        """Stores and routes an event; `done` is called when that is durable. Gives its id.

        `tick` and `only` are for schedules: the nominal time, and the workflow to start."""
        now = self.stage.now()
        made = not event.id
        if made or event.time is None:
            event = Event(
                type=event.type,
                id=event.id or self.stage.new_id(),
                source=event.source,
                subject=event.subject,
                time=event.time or rfc3339(now),
                data=event.data,
                datacontenttype=event.datacontenttype,
                extra=event.extra,
            )
        hops = event.extra.get("hops", 0) if event.extra else 0
        hops = hops if isinstance(hops, int) and not isinstance(hops, bool) and hops > 0 else 0
        row = EventRow(namespace, event, now, by, body_hash(event), hops, checked=not made)
        starts, instances, refused = self._starts(event, namespace, hops, only)
        work = Post(row=row, starts=starts, tick=tick)

        def finish(result: Any) -> None:
            if isinstance(result, Posted):
                if result.conflict:
                    self._drop(instances)
                    done(_conflict(event), [])
                    return
                if not result.duplicate:
                    self.stage.accepted(result.pos, row)
                self._finish(result, starts, instances)
                done(result, refused)
            else:
                self._drop(instances)
                done(result, [])

        self.stage.submit(work, finish)
        return event.id

    def _starts(
        self, event: Event, namespace: str, hops: int, only: Definition | None
    ) -> tuple[list[Create], list[Instance], list[Refused]]:
        found: list[tuple[Definition, Trigger]]
        if only is not None:
            found = [(only, t) for t in only.triggers if t.schedule is not None][:1]
            data = event.as_data()
        else:
            if not self.index.listens(namespace, event.type):
                return [], [], []
            data = event.as_data()
            found = self.index.matching(namespace, event.type, data)
        starts: list[Create] = []
        instances: list[Instance] = []
        refused: list[Refused] = []
        for definition, trigger in found:
            key: str | None = None
            try:
                if trigger.key is not None:
                    key = key_text(trigger.key.evaluate(data), definition.name)
                if hops > HOPS_MAX:
                    refused.append((definition.name, key, "event_loop"))
                    continue
                input = event.data
                if trigger.transform is not None:
                    input = trigger.transform.evaluate(data)
                if input is None:
                    input = {}
                if not isinstance(input, dict):
                    raise InvalidInput(f"{definition.name} needs an object as input")
                if key is None and trigger.key is None:
                    key = definition.key_of(input)
                create, instance = self.stage.start_for(
                    definition, input, key, event, namespace, hops
                )
            except GreenroomError as error:
                code = error.code if isinstance(error, ConditionFailed) else "invalid_input"
                refused.append((definition.name, key, code))
                continue
            starts.append(create)
            instances.append(instance)
        return starts, instances, refused

    def _drop(self, instances: list[Instance]) -> None:
        for instance in instances:
            instance.dead = True
            instance.kernel.drop_machine()

    def _finish(self, result: Posted, starts: list[Create], instances: list[Instance]) -> None:
        if result.duplicate:
            self._drop(instances)
        else:
            for create, instance, made in zip(starts, instances, result.started, strict=False):
                self.stage.adopt(instance, create, made)
            self._drop(instances[len(result.started) :])
        for n, id, item in result.items:
            self.stage.deliver(n, id, [item])
        if result.more:
            self.routing.add(result.pos)
            self._route_on(result.pos, [], [])

    # -- what is stored and not routed to its end ------------------------------------------------

    def recover(self) -> None:
        """Goes on with the stored events that are not routed to their end: those emitted by
        instances a moment ago, and after a start those of the last process."""
        if not self.reading:
            self.reading = True
            self.stage.submit(UnroutedEvents(UNROUTED_PAGE), self._unrouted)

    def _unrouted(self, result: Any) -> None:
        self.reading = False
        if isinstance(result, Exception):
            return
        for row in result:
            if row.pos not in self.routing:
                self._route_guarded(row)
        if len(result) >= UNROUTED_PAGE:
            self.recover()

    def _route_guarded(self, row: StoredEventRow) -> None:
        try:
            self._route(row)
        except Exception as error:  # it stays unrouted, and is tried again at the next start
            self.routing.discard(row.pos)
            self.stage.component_crashed("router", error)

    def _route(self, row: StoredEventRow) -> None:
        self.routing.add(row.pos)
        starts, instances, _ = self._starts(row.event, row.scope, row.hops, None)
        stored = EventRow(row.scope, row.event, row.accepted, row.by, 0, row.hops)
        self.stage.accepted(row.pos, stored)
        self._route_on(row.pos, starts, instances)

    def _route_on(self, pos: int, starts: list[Create], instances: list[Instance]) -> None:
        def finish(result: Any) -> None:
            if isinstance(result, Posted):
                self._finish(result, starts, instances)
                if result.more:
                    return
            else:
                self._drop(instances)
            self.routing.discard(pos)

        self.stage.submit(Route(pos=pos, starts=starts), finish)


def _conflict(event: Event) -> IdConflict:
    return IdConflict(
        f"an event with the id {event.id!r} from {event.source!r} was accepted before with "
        "another body",
        hint="an id names one event; give the new one an id of its own",
        id=event.id,
        source=event.source,
    )
