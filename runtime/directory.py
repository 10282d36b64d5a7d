"""The directory: which instances are loaded, how they get in and out, and their host.

A message for an instance that is not loaded waits here while it is fetched, many in one read. An
idle instance leaves after ten seconds, or at once when too many idle ones are held: everything a
passive instance needs is in the store already, so leaving writes nothing.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from greenroom.actors.agenda import Item
from greenroom.actors.children import DETACHED, child_id, is_detached
from greenroom.actors.decide import Kernel
from greenroom.actors.entries import (
    Entry,
    Failure,
    Request,
    Started,
    decode_entry,
    decode_payload,
    encode_entry,
)
from greenroom.actors.failures import details_of
from greenroom.actors.instance import Ended, Instance, Reply
from greenroom.actors.messages import (
    Begin,
    Cancel,
    Due,
    Message,
    Outcome,
    Park,
    Refused,
    encode_message,
)
from greenroom.actors.ports import (
    Append,
    Appended,
    BusyInstances,
    Clock,
    Create,
    Created,
    InboxItem,
    InboxRow,
    InstanceRow,
    Keep,
    Load,
    Loaded,
    SaveSnapshot,
)
from greenroom.actors.progress import Progress, encode_progress, evolve, fold
from greenroom.actors.rows import AppendBuilder, attributes_now, instance_row, status_change
from greenroom.actors.subjects import Subjects, watched
from greenroom.actors.timer import Timer
from greenroom.definitions.errors import (
    EngineDied,
    EngineStopping,
    GreenroomError,
    InvalidInput,
    NotFound,
    Rejected,
    StoreDamaged,
    Unavailable,
)
from greenroom.definitions.events import TICK_TYPE, Event
from greenroom.definitions.injection import injector
from greenroom.definitions.roots import unwrapped
from greenroom.definitions.workflow import PLAN_KINDS, Definition, Plan, Program
from greenroom.runtime.attempts import Attempts
from greenroom.runtime.executor import Executor
from greenroom.runtime.journal import Journal
from greenroom.runtime.loops import Loops
from greenroom.runtime.progresses import begun
from greenroom.runtime.registry import Registry
from greenroom.runtime.slots import Slots
from greenroom.runtime.supervisor import Supervisor
from greenroom.runtime.tokens import Secret

IDLE_S: Final = 10.0
IDLE_MAX: Final = 10_000
LOAD_MAX: Final = 500
SNAPSHOT_EVERY: Final = 200
TURNS_A_TICK: Final = 200

Then = Callable[[Instance], None]
Failed = Callable[[Exception], None]


class Directory:
    """Loads, keeps and lets go of instances; the `Host` of each."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        executor: Executor,
        registry: Registry,
        supervisor: Supervisor,
        epoch: int,
        next_n: int,
        log: Any,
        *,
        secret: Secret,
        clean: bool = False,
        alone: str | None = None,
        passive: bool = False,
    ) -> None:
        self.journal = journal
        self.clock = clock
        self.executor = executor
        self.registry = registry
        self.supervisor = supervisor
        self.epoch = epoch
        self.secret = secret
        self.counts_losses = not clean
        self.alone = alone
        self.attempts = Attempts(self)
        self.run = self.attempts.run
        executor.before_alone = self.attempts.note_alone
        self.passive = passive
        """The store is looked at and changed by verbs, but no code of workflows is run."""
        self.next_n = next_n
        self.log = log
        self.timer = Timer(clock, self)
        self.loops = Loops()
        self.active: dict[int, Instance] = {}
        self.ids: dict[str, int] = {}
        """Numbers of the instances that are loaded."""
        self.idle_since: OrderedDict[int, float] = OrderedDict()
        self.loading: dict[int, list[tuple[Then, Failed | None]]] = {}
        self.wanted: deque[int] = deque()
        self.reading = False
        self.firing: set[Item] = set()
        """Timers that are due, on their way to instances that are loaded for them."""
        self.turns: deque[Instance] = deque()
        self.turning = False
        self.current: str | None = None
        """The instance whose turn is on the event loop now, for the watchdog."""
        self.waiters: dict[str, list[Callable[[Instance, Append], None]]] = {}
        """Called after each commit of an instance that may have ended or failed."""
        self.slots = Slots(self)
        self.watchers: list[Callable[[Instance, Append, Appended], None]] = []
        self.emitted: Callable[[list[int]], None] = lambda places: None
        self.subjects = Subjects()
        """The router's."""
        self.ticked: Callable[[str, int], None] = lambda schedule, due: None
        self.kept_for_a_time: Callable[[], None] = lambda: None
        """Called for each new instance of a workflow with a retention."""
        self.unsaved: dict[int, list[Ended]] = {}
        """Instances that must be loaded again, with the results that are not in the journal yet."""
        self.doomed: dict[int, Park] = {}
        """Instances whose turns crash the runtime: they are parked as soon as they are loaded."""
        self.stopping = False
        self._sweep: Any = None
        self.recovered = 0

    # -- Host ----------------------------------------------------------------------------------

    def now(self) -> int:
        return self.clock.now()

    def submit(self, work: Any, done: Callable[[Any], None]) -> None:
        self.journal.submit(work, watched(work, self.subjects, done))

    def ready(self, instance: Instance) -> None:
        self.turns.append(instance)
        self.idle_since.pop(instance.n, None)
        if not self.turning:
            self.turning = True
            asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        turns = self.turns
        for _ in range(min(len(turns), TURNS_A_TICK)):
            instance = turns.popleft()
            self.current = instance.id
            instance.turn()
        self.current = None
        if turns:
            asyncio.get_running_loop().call_soon(self._take_turns)
        else:
            self.turning = False

    def crashed(self, instance: Instance, error: Exception, outcomes: list[Ended]) -> None:
        """A turn raised what it should not: the instance is loaded anew, at the fifth time in a
        minute it is parked. What its steps gave is not lost."""
        self.log.error("turn crashed", instance=instance.id, exc_info=error)
        if not self.supervisor.instance_crashed(instance.id):
            self._reload(instance, error, outcomes)
            return
        failure = Failure(
            "Poison", f"its turns crash the runtime: {type(error).__name__}: {error}", "poison"
        )
        if (
            instance.n in self.doomed
        ):  # parked, and it crashes still: it stays out until the next start
            self._forget(instance, error)
            return
        self.doomed[instance.n] = Park(failure)
        self._reload(instance, error, [(_spoilt(outcome, failure), ()) for outcome, _ in outcomes])

    def component_crashed(self, name: str, error: Exception) -> None:
        self.supervisor.component_crashed(name, error)

    def _reload(self, instance: Instance, error: Exception, outcomes: list[Ended]) -> None:
        """Drops what is in memory and loads it again, at once or when there is room on the disk:
        timers are armed anew, results told again."""
        self._forget(instance, error)
        if isinstance(error, EngineDied | EngineStopping) or self.stopping:
            return
        self.unsaved.setdefault(instance.n, []).extend(outcomes)
        if not self.journal.read_only:
            self.activate(instance.n, _nothing)

    def abort(self, instance: Instance, key: str) -> None:
        self.executor.abort(instance.id, key)

    def arm(self, instance: Instance, key: str, due: int) -> None:
        if (due, instance.n, key) not in self.firing:
            self.timer.arm(due, instance.n, key)

    def make_child(self, parent: Instance, request: Request) -> Create | None:
        p = parent.kernel.progress
        args = request.args
        try:
            definition = self._child_definition(request.name, args.get("version"))
            input = {} if args["input"] is None else args["input"]
            if not isinstance(input, dict):
                raise InvalidInput(f"the input of {definition.name} must be an object")
            if definition.only_if is not None:
                definition.only_if.check(definition.name, input)
            if definition.opening is not None:
                input = definition.opening(unwrapped(input))
        except GreenroomError as error:
            failure = Failure(
                type(error).__name__, error.message, details=details_of(error), op=request.key
            )
            parent.tell(Outcome(request.key, request.attempt, error=failure, final=True))
            return None
        waited_for = DETACHED if is_detached(request) else request.attempt
        create, _ = self.prepare(
            definition,
            input,
            id=child_id(p.id, request.key, request.attempt),
            key=args["key"],
            namespace=p.namespace,
            pending=True,
            parent=(p.id, request.key, waited_for),
            hops=p.hops + 1,
            test=p.test,
            tells=args.get("on_failed") == "raise",
            part=definition.kind == "stages" and definition.name == p.workflow,
        )
        return create

    def _child_definition(self, name: str, version: int | None) -> Definition:
        if version is None:
            return self.registry.released(name)
        found = self.registry.version(name, version)
        if found is None:
            raise NotFound(f"there is no {name} v{version}", workflow=name)
        return found

    def watch(self, watcher: Callable[[Instance, Append, Appended], None]) -> None:
        """Calls it after each commit of an instance from now on; asked for again changes nothing."""
        if watcher not in self.watchers:
            self.watchers.append(watcher)

    def stored(self, instance: Instance, append: Append, result: Appended) -> None:
        if self.doomed:
            self.doomed.pop(instance.n, None)  # it is parked now, or got over it
        for watcher in self.watchers:
            watcher(instance, append, result)
        if append.change is not None:
            waiters = self.waiters.get(instance.id)
            if waiters:
                for waiter in list(waiters):
                    waiter(instance, append)
        if append.creates:
            for create, made in zip(append.creates, result.created, strict=True):
                self._child_created(instance, create, made)
        for n, id, item in result.told:
            self.deliver(n, id, [item])
        if result.emitted:
            self.emitted(result.emitted)
        p = instance.kernel.progress
        if p.gen == 1 and append.rows and not instance.dead:
            last = append.iseq + len(append.rows) - 1
            full = last // SNAPSHOT_EVERY != (append.iseq - 1) // SNAPSHOT_EVERY
            if full or (p.ended and last > SNAPSHOT_EVERY):
                self._snapshot(instance)

    def _child_created(self, parent: Instance, create: Create, made: Created) -> None:
        if made.created:
            if not self.slots.is_queued(create.row.id):
                self.activate(create.row.n, lambda child: child.tell(Begin()))
            self.slots.adopted(create.row.id)
        elif made.conflict == "key":
            self.slots.release(create.row.id)
            failure = Failure(
                "AlreadyRunning",
                f"a live {create.row.workflow} has the key {create.row.key}: {made.id}",
                details={"instance": made.id},
            )
            detached = _detached_key(create)
            if detached is not None:  # nobody waits for it, so nobody else would learn it
                name = create.row.workflow
                self.log.warning("a child was not started", instance=parent.id, workflow=name)
                self.tell(parent.n, Refused(detached, name, failure))
                return
            for key, op in list(parent.kernel.progress.ops.items()):
                if child_id(parent.id, key, op.attempt) == create.row.id:
                    parent.tell(Outcome(key, op.attempt, error=failure, final=True))

    def _snapshot(self, instance: Instance) -> None:
        p = instance.kernel.progress
        if instance.unstored:
            return  # what is not durable yet must not be in a snapshot
        payload = encode_progress(p)
        self.submit(SaveSnapshot(instance.n, p.iseq, payload, zlib.crc32(payload)), _nothing)

    def lost(self, instance: Instance, error: Exception, outcomes: list[Ended]) -> None:
        """Nothing of the append is stored: what was speculated is dropped, results are kept."""
        if isinstance(error, EngineDied | EngineStopping | Unavailable | Rejected):
            self._reload(instance, error, outcomes)
        else:  # it would be refused again and again
            self.crashed(instance, error, outcomes)

    def writable_again(self) -> None:
        """There is room on the disk again: what waited for it goes on."""
        for n in list(self.unsaved):
            self.activate(n, _nothing)
        self.timer.start()

    def idle(self, instance: Instance) -> None:
        if instance.n not in self.active:
            return
        p = instance.kernel.progress
        if p.ended and not p.ops:  # nothing will come; who asks later reads the store
            self._forget(instance)
            return
        held = self.idle_since
        held[instance.n] = self.clock.monotonic()
        held.move_to_end(instance.n)
        while len(held) > IDLE_MAX:
            self._passivate(next(iter(held)))
        if self._sweep is None and not self.stopping:
            self._book_sweep()

    def _book_sweep(self) -> None:
        self._sweep = self.clock.call_later(int(IDLE_S * 1000), self._sweep_idle)

    def _sweep_idle(self) -> None:
        self._sweep = None
        limit = self.clock.monotonic() - IDLE_S
        while self.idle_since and next(iter(self.idle_since.values())) <= limit:
            self._passivate(next(iter(self.idle_since)))
        if self.idle_since and not self.stopping:
            self._book_sweep()

    def _passivate(self, n: int) -> None:
        instance = self.active.get(n)
        self.idle_since.pop(n, None)
        if instance is not None and instance.is_idle:
            self._forget(instance)

    def _forget(self, instance: Instance, why: Exception | None = None) -> None:
        """Drops an instance from memory. Callers that still wait for it are told why."""
        instance.dead = True
        if self.active.get(instance.n) is instance:
            del self.active[instance.n]
            self.ids.pop(instance.id, None)
            self.idle_since.pop(instance.n, None)
        if why is not None:
            instance.dismiss(why)
        instance.kernel.drop_machine()

    # -- getting in ----------------------------------------------------------------------------

    def activate(self, n: int, then: Then, failed: Failed | None = None) -> None:
        """Calls `then` with the instance once it is loaded, at once when it is; `failed` with the
        reason when it cannot be."""
        instance = self.active.get(n)
        if instance is not None:
            then(instance)
            return
        if self.stopping:
            if failed is not None:
                failed(EngineStopping("the engine is stopping"))
            return
        waiting = self.loading.get(n)
        if waiting is not None:
            waiting.append((then, failed))
            return
        self.loading[n] = [(then, failed)]
        self.wanted.append(n)
        if len(self.wanted) == 1 and not self.reading:
            asyncio.get_running_loop().call_soon(self._load)

    def _load(self) -> None:
        """One read at a time: when thousands are wanted, the first have had their turns and may be
        gone again before the last are in memory."""
        if self.wanted and not self.reading:
            self.reading = True
            ns = [self.wanted.popleft() for _ in range(min(LOAD_MAX, len(self.wanted)))]
            self.submit(Load(ns), lambda result: self._loaded(ns, result))

    def _loaded(self, ns: list[int], result: Any) -> None:
        error = result if isinstance(result, Exception) else NotFound("it was removed meanwhile")
        found = [] if isinstance(result, Exception) else result
        cut = [one.row.n for one in found if self._is_cut(one)]
        if cut:
            ns = [n for n in ns if n not in cut]
            self.submit(Load(cut, snapshots=False), lambda result: self._loaded(cut, result))
        else:
            self.reading = False
            self._load()
        for loaded in found:
            if loaded.row.n not in cut:
                waiting = self.loading.pop(loaded.row.n, [])
                try:
                    revived = self._revive(loaded)
                except Exception as fault:  # one that cannot be loaded must not stop the others
                    self.log.error("cannot load", instance=loaded.row.id, exc_info=fault)
                    revived = fault
                    if loaded.row.n in self.active:
                        self._forget(self.active[loaded.row.n], fault)
                self._revived(waiting, revived)
        for n in ns:
            self._revived(self.loading.pop(n, []), error)

    def _is_cut(self, loaded: Loaded) -> bool:
        """Whether it is a program of which not all rows are here: a snapshot is for looking at it;
        whoever runs one replays it from the first row of its generation."""
        plan = isinstance(self.definition_of(loaded.row).body, Plan)
        return loaded.snapshot is not None and not plan

    def _revived(
        self, waiting: list[tuple[Then, Failed | None]], found: Instance | Exception
    ) -> None:
        for then, failed in waiting:
            if isinstance(found, Instance):
                then(found)
            elif failed is not None:
                failed(found)
        if isinstance(found, Instance):
            found._settle()

    def _revive(self, loaded: Loaded) -> Instance | Exception:
        row = loaded.row
        if self.stopping:
            return EngineStopping("the engine is stopping")
        try:
            if loaded.damaged is not None:
                raise StoreDamaged(loaded.damaged)
            kernel = self.kernel_of(loaded)
        except StoreDamaged as error:
            self._park_damaged(loaded, str(error))
            return error
        instance = Instance(self, row.n, row.id, kernel)
        instance.change = status_change(kernel.progress)
        instance.attributes = row.attributes
        instance.stands = attributes_now(kernel.definition, kernel.progress, row.attributes)
        instance.start_pos = loaded.start_pos
        self.active[row.n] = instance
        self.ids[row.id] = row.n
        for outcome, statements in self.unsaved.pop(row.n, ()):
            instance.running[outcome.key] = outcome.attempt
            instance.tell(outcome, statements=statements)
        for call in self.executor.calls_of(row.id):
            instance.running[call.key] = call.attempt
        if not self.passive:
            instance.give(loaded.items)
            instance.recover()
            if row.busy and row.status == "pending":
                instance.tell(Begin())
        if row.n in self.doomed:
            instance.tell_first(self.doomed[row.n])
        return instance

    def kernel_of(self, loaded: Loaded) -> Kernel:
        """The kernel of a stored instance: the newest snapshot, then the rows after it (a program
        needs all rows of its generation)."""
        row = loaded.row
        entries = [decode_entry(stored) for stored in loaded.rows]
        p = fold(entries, [stored.epoch for stored in loaded.rows], begun(loaded))
        definition = self.definition_of(row)
        log: list[bytes] = []
        if not isinstance(definition.body, Plan):  # the current generation alone is replayed
            opens = max((i for i, e in enumerate(entries) if isinstance(e, Started)), default=0)
            log = [stored.payload for stored in loaded.rows[opens:]]
        return Kernel(definition, p, self.epoch, log, self._note(row.id))

    def definition_of(self, row: InstanceRow) -> Definition:
        """What an instance follows; one the code no longer has is readable and never run."""
        found = self.registry.version(row.workflow, row.version)
        return found or missing(row.workflow, row.version, row.kind)

    def _note(self, id: str) -> Callable[[str, dict[str, Any]], None]:
        return lambda text, data: self.log.warning(text, instance=id, **data)

    def _park_damaged(self, loaded: Loaded, why: str) -> None:
        """P12: only the damaged instance stops; nothing of it runs, nothing is deleted."""
        self.log.error("damaged instance parked", instance=loaded.row.id, reason=why)
        p = Progress(id=loaded.row.id, failure=Failure("StoreDamaged", why, "damaged"))
        self.submit(
            Append(n=loaded.row.n, iseq=loaded.head + 1, rows=[], change=status_change(p)), _nothing
        )

    # -- telling -------------------------------------------------------------------------------

    def tell(
        self, n: int, message: Message, reply: Reply | None = None, request: Any = None
    ) -> None:
        self.activate(n, lambda instance: instance.tell(message, reply, request), reply)

    def deliver(self, n: int, id: str, items: list[InboxItem]) -> None:
        """New inbox items. A passive instance is loaded and finds them in its inbox."""
        instance = self.active.get(n)
        if instance is not None:
            instance.give(items)
        else:
            self.activate(n, lambda loaded: loaded.give(items))

    def due(self, items: list[Item]) -> None:
        """Timers that are due now."""
        for due, n, op in items:
            if n == 0:
                self.ticked(op, due)
            else:
                self.firing.add((due, n, op))
                self.activate(
                    n,
                    lambda instance, op=op, due=due: self._fire(instance, op, due),  # type: ignore[misc]
                    lambda error, item=(due, n, op): self.firing.discard(item),  # type: ignore[misc]
                )

    def _fire(self, instance: Instance, op: str, due: int) -> None:
        self.firing.discard((due, instance.n, op))
        if op == "":
            instance.tell(Begin())
            return
        state = instance.kernel.progress.ops.get(op)
        if state is not None and state.request.kind == "wait":
            # K32: an event accepted by the due time is in the store ahead of this barrier
            self.submit(Keep(instance.n, ()), lambda _: self.tell(instance.n, Due(op, due)))
        else:
            instance.tell(Due(op, due))

    # -- new instances -------------------------------------------------------------------------

    def prepare(
        self,
        definition: Definition,
        input: Any,
        *,
        id: str,
        key: str | None,
        namespace: str,
        by: str | None = None,
        pending: bool = False,
        due: int | None = None,
        event: Event | None = None,
        parent: tuple[str, str, int] | None = None,
        forked: tuple[str, int] | None = None,
        hops: int = 0,
        test: bool = False,
        tells: bool = False,
        part: bool = False,
        state: dict[str, Any] | None = None,
        entries: list[Entry] | None = None,
        reason: str | None = None,
    ) -> tuple[Create, Instance]:
        """A new instance and the work that stores it; `adopt` it when that is done.

        `entries` (for a fork) are folded in front of what `definition` goes on with. A `part` of a run
        is no start of its own: it waits for nobody.
        """
        if definition.only_if is not None and entries is None:
            definition.only_if.check(definition.name, input)
        now = self.now()
        self.loops.check(definition.name, hops, now)
        n = self.next_n
        self.next_n += 1
        if definition.retention_ms is not None:
            self.kept_for_a_time()
        forks = entries is not None
        admitted = self.slots.admit(definition, input, namespace, id, n, at_once=forks, part=part)
        due = admitted or due
        started = Started(
            at=now,
            id=id,
            workflow=definition.name,
            version=definition.version or 1,
            code=definition.hash,
            input=input,
            by=by,
            pending=pending or due is not None,
            starts=due,
            event=event.as_data() if event is not None else None,
            key=key,
            parent=parent,
            forked=forked,
            namespace=namespace,
            hops=hops,
            test=test,
            kind=definition.kind,
            state=state,
            reason=reason,
            pauses=definition.on_error == "pause",
            tells=tells,
            timeout=definition.timeout_ms,
        )
        try:
            return self._prepared(n, definition, started, event, entries)
        except BaseException:
            self.slots.release(id)
            raise

    def _prepared(
        self,
        n: int,
        definition: Definition,
        started: Started,
        event: Event | None,
        made: list[Entry] | None,
    ) -> tuple[Create, Instance]:
        kernel = Kernel(definition, Progress(), self.epoch, None, self._note(started.id))
        instance = Instance(self, n, started.id, kernel)
        append = Append(n=n, iseq=1, rows=[])
        p = kernel.progress
        builder = AppendBuilder(
            append, p, instance.rowed, instance.children, instance.make_child, None
        )
        if made is None:
            made = self._first(kernel, started)
        else:
            for entry in made:
                evolve(p, entry, self.epoch)
        for entry in made:
            encoded = encode_entry(entry)
            kernel.remember(entry, encoded.payload)
            append.rows.append(encoded)
            builder.add(entry)
        if started.starts is not None:
            append.timers = [("", started.starts)]
        append.ended = p.ended and not p.ops
        if p.ended:
            builder.outcome_to_parent()
        for other in self.slots.makes_way(started.id):
            cancel = encode_message(Cancel(None, f"{started.id} takes its place"))
            append.tell = [*append.tell, (other, InboxRow("cancel", cancel, started.at))]
        attributes = self.slots.attributes_of(definition, started.input)
        if event is not None and event.type == TICK_TYPE and isinstance(event.data, dict):
            attributes["schedule"] = event.data["schedule"]
        instance.attributes = attributes
        instance.stands = attributes_now(definition, p, attributes)
        instance.change = status_change(p)
        row = instance_row(n, p, definition.kind, instance.change, instance.stands or attributes)
        return Create(row=row, first=append), instance

    def _first(self, kernel: Kernel, started: Started) -> list[Entry]:
        p = kernel.progress
        self.current = started.id
        p.id, p.hops = started.id, started.hops  # the machine and emitted events need them
        p.namespace, p.workflow, p.key = started.namespace, started.workflow, started.key
        if started.state is not None:
            p.state = dict(started.state)
        elif isinstance(started.input, dict):
            p.state = dict(started.input)
        return kernel.start(started)

    def adopt(self, instance: Instance, create: Create, result: Created) -> None:
        """The new instance is durable: it is loaded from now on and does what is owed."""
        if not result.created or self.stopping:
            instance.dead = True
            instance.kernel.drop_machine()
            self.slots.release(instance.id)
            return
        self.active[instance.n] = instance
        self.ids[instance.id] = instance.n
        instance.start_pos = result.pos
        appended = Appended(
            result.pos, result.found, result.first.created if result.first else [],
            result.first.told if result.first else [], result.first.emitted if result.first else [],
        )  # fmt: skip
        self.stored(instance, create.first, appended)
        instance.perform_all()
        instance.give(result.found)
        instance._settle()
        self.slots.adopted(instance.id)

    # -- life ----------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Loads what was in flight when the last process ended; gives the number of instances."""
        after = 0
        count = 0
        while True:
            ns: list[int] = await self.journal.call(BusyInstances(after, 1_000))
            for n in ns:
                self.activate(n, self._begin_if_pending)
            count += len(ns)
            if len(ns) < 1_000:
                break
            after = ns[-1]
        self.recovered = count
        return count

    def _begin_if_pending(self, instance: Instance) -> None:
        p = instance.kernel.progress
        if not p.begun and not p.ended and not p.paused:
            instance.tell(Begin())

    def stop(self, why: Exception) -> None:
        """Nothing is started any more; machines are unwound, callers told why."""
        self.stopping = True
        self.timer.stop()
        self.slots.stop()
        if self._sweep is not None:
            self._sweep.cancel()
        for instance in list(self.active.values()):
            self._forget(instance, why)


def _spoilt(outcome: Outcome, failure: Failure) -> Outcome:
    """Stands for a result that cannot be recorded: a failure, which a person may take back."""
    error = msgspec.structs.replace(failure, op=outcome.key)
    return Outcome(outcome.key, outcome.attempt, error=error, final=True)


def _detached_key(create: Create) -> str | None:
    """The op that asked for a child without waiting for it."""
    opening = decode_payload(create.first.rows[0].payload)
    parent = opening.parent if isinstance(opening, Started) else None
    return parent[1] if parent is not None and parent[2] == DETACHED else None


def missing(name: str, version: int, kind: Any) -> Definition:
    """Stands for a workflow that code no longer has: readable, cancellable, never run."""

    async def gone() -> None:
        raise NotFound(f'there is no workflow "{name}" in the code any more')

    if kind in PLAN_KINDS:
        return Definition(name, version, kind, Plan.of(()), (), "gone", "gone", gone=True)
    body = Program(gone, injector(gone), None, False)
    return Definition(name, version, kind, body, (), "gone", "gone", gone=True)


def _nothing(result: Any) -> None:
    return None
