"""The router: from an event to everything it does, as one work.

Triggers are matched here, against the index in memory, and the first turns of what they start are
decided ahead; waits are matched by the store inside the commit, where no answer can be stale. So
an event, its deliveries, its starts and its place are one transaction, and the acknowledgement can
say what matched. A fan-out wider than a commit goes on under the event's cursor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from greenroom.actors.collector import Collector
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
from greenroom.actors.subjects import Line, Subjects
from greenroom.actors.subscriptions import Found, TriggerIndex
from greenroom.definitions.errors import (
    AlreadyRunning,
    ConditionFailed,
    EventLoop,
    GreenroomError,
    IdConflict,
    InvalidInput,
)
from greenroom.definitions.events import HOPS_MAX, Event
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Trigger, key_text

Refused = tuple[str, str | None, str]
"""(workflow, key, code) of a trigger that matched and could not start, or has collected it."""

HELD: Final = "held"
"""The code of what was collected and may start something later."""

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

    def dropped(self, id: str) -> None:
        """An instance was prepared and is not made."""

    def deliver(self, n: int, id: str, items: list[InboxItem]) -> None: ...

    def accepted(self, pos: int, row: EventRow) -> None:
        """The event is durable: tell those who follow the stream."""
        ...

    def warn(self, what: str, workflow: str, error: Exception) -> None:
        """Something of an author's went wrong where nobody waits for the answer."""
        ...

    def component_crashed(self, name: str, error: Exception) -> None:
        """A part of the runtime raised what it should not."""
        ...


Done = Callable[[Posted | GreenroomError, list[Refused]], None]


class Router:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.index = TriggerIndex()
        self.collector = Collector(self)
        self.routing: set[int] = set()
        """Places of stored events that are being routed now."""
        self.reading = False
        self.subjects = Subjects()
        self._line_of: dict[int, Line] = {}
        """The line behind a stored event that is not routed to its end."""

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

        Events with one subject are routed one after another, each to its end. `tick` and `only`
        are for schedules: the nominal time, and the workflow to start."""
        made = not event.id
        now = self.stage.now()
        if made or event.time is None:
            event = msgspec.structs.replace(
                event, id=event.id or self.stage.new_id(), time=event.time or rfc3339(now)
            )
        if not event.subject:
            self._post_now(event, now, namespace, by, made, done, tick, only)
            return event.id
        line = namespace, event.subject

        def leave(result: Posted | GreenroomError, refused: list[Refused]) -> None:
            if isinstance(result, Posted) and result.pos in self.routing and not result.duplicate:
                self._line_of[result.pos] = line
            else:
                self.subjects.leave(line)
            done(result, refused)

        def post() -> None:
            self._post_now(event, self.stage.now(), namespace, by, made, leave, tick, only)

        self.subjects.post(line, post)
        return event.id

    def _routed(self, pos: int) -> None:
        """A stored event is routed to its end, or given up until the next start."""
        self.routing.discard(pos)
        line = self._line_of.pop(pos, None)
        if line is not None:
            self.subjects.leave(line)

    def _post_now(
        self,
        event: Event,
        now: int,
        namespace: str,
        by: str | None,
        made: bool,
        done: Done,
        tick: tuple[str, int, int | None] | None,
        only: Definition | None,
    ) -> None:
        hops = event.extra.get("hops", 0) if event.extra else 0
        hops = hops if isinstance(hops, int) and not isinstance(hops, bool) and hops > 0 else 0
        row = EventRow(namespace, event, now, by, body_hash(event), hops, checked=not made)
        data, found = self._found(event, namespace, only)
        if not found:
            self._post(Post(row=row, tick=tick), [], [], done)
            return
        if any(trigger.collect is not None for _, trigger in found):
            self._post_later(row, data, found, done)
            return
        starts, instances, refused = self._starts(event, namespace, hops, data, found)
        self._post(Post(row=row, starts=starts, tick=tick), instances, refused, done)

    def _post(
        self, work: Post, instances: list[Instance], refused: list[Refused], done: Done
    ) -> None:
        def finish(result: Any) -> None:
            if isinstance(result, Posted):
                if result.conflict:
                    self._drop(instances)
                    done(_conflict(work.row.event), [])
                    return
                if not result.duplicate:
                    self.stage.accepted(result.pos, work.row)
                self._finish(result, list(work.starts), instances)
                done(result, refused)
            else:
                self._drop(instances)
                done(result, [])

        self.stage.submit(work, finish)

    def _post_later(
        self, row: EventRow, data: dict[str, Json], found: list[Found], done: Done
    ) -> None:
        """An event that some trigger collects: it is stored, then the place it has is offered."""

        def stored(result: Any) -> None:
            if not isinstance(result, Posted):
                done(result, [])
            elif result.conflict:
                done(_conflict(row.event), [])
            elif result.duplicate:
                names = dict.fromkeys(one.name for one, t in found if t.collect is not None)
                done(result, [(name, None, HELD) for name in names])
            else:
                self.routing.add(result.pos)
                placed = StoredEventRow(
                    result.pos, row.scope, row.event, row.accepted, row.by, row.hops
                )
                self._route_guarded(placed, data, found, done)

        self.stage.submit(Post(row=row, later=True), stored)

    def post_collected(
        self,
        event: Event,
        given: Event,
        definition: Definition,
        trigger: Trigger,
        key: str | None,
        namespace: str,
        hops: int,
        then: Callable[[Posted | GreenroomError], None],
    ) -> None:
        """Starts an instance for what was collected or is replayed, once for the id of `event`; the
        instance gets the event `given`. `then` is called when that is durable, or refused."""
        now = self.stage.now()
        event = msgspec.structs.replace(event, time=rfc3339(now))
        row = EventRow(namespace, event, now, None, body_hash(event), hops)
        starts: list[Create] = []
        instances: list[Instance] = []
        try:
            create, instance = self._start(definition, trigger, key, given, namespace, hops)
            starts.append(create)
            instances.append(instance)
        except GreenroomError as error:  # the event tells that it was due
            self.stage.warn("it matched and cannot start", definition.name, error)

        def done(result: Posted | GreenroomError, refused: list[Refused]) -> None:
            then(result)

        self._post(Post(row=row, starts=starts), instances, [], done)

    def _found(
        self, event: Event, namespace: str, only: Definition | None
    ) -> tuple[dict[str, Json], list[Found]]:
        """The event as expressions see it, and the triggers that want it."""
        if only is not None:
            return event.as_data(), [(only, t) for t in only.triggers if t.schedule is not None][:1]
        if not self.index.listens(namespace, event.type):
            return {}, []
        data = event.as_data()
        return data, self.index.matching(namespace, event.type, data)

    def _starts(
        self,
        event: Event,
        namespace: str,
        hops: int,
        data: dict[str, Json],
        found: list[Found],
    ) -> tuple[list[Create], list[Instance], list[Refused]]:
        """One start for each workflow: of several triggers of one the first counts."""
        starts: list[Create] = []
        instances: list[Instance] = []
        refused: list[Refused] = []
        names: set[str] = set()
        for definition, trigger in found:
            if definition.name in names:
                continue
            names.add(definition.name)
            key: str | None = None
            try:
                if trigger.key is not None:
                    key = key_text(trigger.key.evaluate(data), definition.name)
                if hops > HOPS_MAX:
                    refused.append((definition.name, key, "event_loop"))
                    continue
                create, instance = self._start(definition, trigger, key, event, namespace, hops)
            except GreenroomError as error:
                refused.append((definition.name, key, _code(error)))
                continue
            starts.append(create)
            instances.append(instance)
        return starts, instances, refused

    def _start(
        self,
        definition: Definition,
        trigger: Trigger,
        key: str | None,
        event: Event,
        namespace: str,
        hops: int,
    ) -> tuple[Create, Instance]:
        """Raises `GreenroomError` for what cannot start."""
        input = event.data
        if trigger.transform is not None:
            input = trigger.transform.evaluate(event.as_data())
        if input is None:
            input = {}
        if not isinstance(input, dict):
            raise InvalidInput(f"{definition.name} needs an object as input")
        if key is None and trigger.key is None:
            key = definition.key_of(input)
        return self.stage.start_for(definition, input, key, event, namespace, hops)

    def _drop(self, instances: list[Instance]) -> None:
        for instance in instances:
            instance.dead = True
            instance.kernel.drop_machine()
            self.stage.dropped(instance.id)

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

    def open(self) -> None:
        """After a start: what was stored before comes before what is posted."""
        self.subjects.hold()
        self.recover()

    def recover(self) -> None:
        """Goes on with the stored events that are not routed to their end: those emitted by
        instances a moment ago, and after a start those of the last process."""
        if not self.reading:
            self.reading = True
            self.stage.submit(UnroutedEvents(UNROUTED_PAGE), self._unrouted)

    def _unrouted(self, result: Any) -> None:
        self.reading = False
        if isinstance(result, Exception):
            self.subjects.go_on()
            return
        for row in result:
            if row.pos not in self.routing:
                self.routing.add(row.pos)
                self._route_in_line(row)
        if len(result) >= UNROUTED_PAGE:
            self.recover()
        else:
            self.subjects.go_on()

    def _route_in_line(self, row: StoredEventRow) -> None:
        def route() -> None:
            self._route_guarded(row, *self._found(row.event, row.scope, None), _nobody)

        if not row.event.subject:
            route()
            return
        line = row.scope, row.event.subject

        def in_line() -> None:
            self._line_of[row.pos] = line
            route()

        self.subjects.stored(row, in_line)

    def _route_guarded(
        self, row: StoredEventRow, data: dict[str, Json], found: list[Found], done: Done
    ) -> None:
        try:
            self._route(row, data, found, done)
        except Exception as error:  # it stays unrouted, and is tried again at the next start
            self._routed(row.pos)
            self.stage.component_crashed("router", error)

    def _route(
        self, row: StoredEventRow, data: dict[str, Json], found: list[Found], done: Done
    ) -> None:
        """Routes a stored event: what collects it is stored first, then its starts and deliveries."""
        self.routing.add(row.pos)
        works: list[Any] = []
        plain, said = self._offered(row, data, found, works)
        starts, instances, refused = self._starts(row.event, row.scope, row.hops, data, plain)
        stored = EventRow(row.scope, row.event, row.accepted, row.by, 0, row.hops)
        self.stage.accepted(row.pos, stored)
        for work in works:
            self.stage.submit(work, lambda result: None)

        def routed(result: Any) -> None:
            if isinstance(result, Posted):
                self.collector.book(works)
                done(result, [*said, *refused])
            else:
                done(result, [])

        self._route_on(row.pos, starts, instances, routed)

    def _offered(
        self, row: StoredEventRow, data: dict[str, Json], found: list[Found], works: list[Any]
    ) -> tuple[list[Found], list[Refused]]:
        """The triggers that start at once, and what was said of the others."""
        plain: list[Found] = []
        said: list[Refused] = []
        for definition, trigger in found:
            if trigger.collect is None:
                plain.append((definition, trigger))
                continue
            if row.hops > HOPS_MAX:
                said.append((definition.name, None, "event_loop"))
                continue
            try:
                what, key = self.collector.offer(definition, trigger, row, data, works)
            except GreenroomError as error:
                said.append((definition.name, None, _code(error)))
                continue
            if what == "started":
                plain.append((definition, trigger))
            else:
                said.append((definition.name, key, HELD if what == "held" else "throttled"))
        return plain, said

    def _route_on(
        self,
        pos: int,
        starts: list[Create],
        instances: list[Instance],
        then: Callable[[Any], None] = lambda result: None,
    ) -> None:
        def finish(result: Any) -> None:
            if isinstance(result, Posted):
                self._finish(result, starts, instances)
                then(result)
                if result.more:
                    return
            else:
                self._drop(instances)
                then(result)
            self._routed(pos)

        self.stage.submit(Route(pos=pos, starts=starts), finish)


def _nobody(result: Posted | GreenroomError, refused: list[Refused]) -> None:
    """Nobody waits for the answer."""


def _code(error: GreenroomError) -> str:
    refused = isinstance(error, AlreadyRunning | ConditionFailed | EventLoop)
    return error.code if refused else "invalid_input"


def _conflict(event: Event) -> IdConflict:
    return IdConflict(
        f"an event with the id {event.id!r} from {event.source!r} was accepted before with "
        "another body",
        hint="an id names one event; give the new one an id of its own",
        id=event.id,
        source=event.source,
    )
