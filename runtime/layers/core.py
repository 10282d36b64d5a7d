"""The core of an engine, the one place that knows all the parts.

What it is made of, how it opens and closes, which workflows it has, and what the router reaches in it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from greenroom.actors.collector import MARK
from greenroom.actors.instance import Instance
from greenroom.actors.messages import Message
from greenroom.actors.ports import (
    ChangeDefinition,
    Clock,
    Create,
    Created,
    DefinitionRow,
    DropSchedules,
    EventRow,
    Find,
    GetMeta,
    InboxItem,
    InstanceRow,
    ListDefinitions,
    ListSchedules,
    Load,
    Loaded,
    Opened,
    Posted,
    Request,
    SaveSchedule,
)
from greenroom.actors.progress import Progress
from greenroom.actors.router import HELD, Refused, Router
from greenroom.definitions.catalog import Catalog, using
from greenroom.definitions.connectors import PERFORMER
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import (
    Busy,
    EngineDied,
    EngineStopping,
    GreenroomError,
    IdConflict,
    InvalidRequest,
    NotFound,
)
from greenroom.definitions.events import Event
from greenroom.definitions.names import check_namespace
from greenroom.definitions.networks import Network
from greenroom.definitions.values import canonical
from greenroom.definitions.workflow import Definition
from greenroom.runtime import lock as locks
from greenroom.runtime import retention, shapes, trials
from greenroom.runtime.attempts import ALONE
from greenroom.runtime.callbacks import Callbacks
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.connectors import ingestion
from greenroom.runtime.connectors.connections import Connections
from greenroom.runtime.connectors.section import Secrets, Section
from greenroom.runtime.directory import Directory
from greenroom.runtime.eventloops import running
from greenroom.runtime.executor import IN_FLIGHT, Call, Executor
from greenroom.runtime.facade import ThreadFace
from greenroom.runtime.forms import Forms
from greenroom.runtime.given import connectors_among, loaded, workflows_among
from greenroom.runtime.grants import Grants
from greenroom.runtime.journal import Journal, State
from greenroom.runtime.keptdata import KeptData
from greenroom.runtime.keys import Keys
from greenroom.runtime.ledger import Ledger
from greenroom.runtime.links import Links
from greenroom.runtime.loggers import LazyLogger
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.progresses import progress_of
from greenroom.runtime.registry import Registry, save_work
from greenroom.runtime.releases import Definitions
from greenroom.runtime.resources import Resources
from greenroom.runtime.schedules import Schedules
from greenroom.runtime.secrets import SecretStore
from greenroom.runtime.sections import Asks, Events
from greenroom.runtime.sources import defined
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.store import Store
from greenroom.runtime.supervisor import Supervisor
from greenroom.runtime.tokens import fresh, kept_in
from greenroom.runtime.web.hooks import Hooks

MEMORY: Final = ":memory:"
DIRECTORY_DEFAULT: Final = ".greenroom"
VERSION: Final = "0.1.0"
DRAIN_S: Final = 30.0
Unset: Final = msgspec.UNSET

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine
    from greenroom.runtime.stages import Stages


class Core:
    """An open store and everything that runs on it."""

    def __init__(
        self,
        target: str | Path | None,
        workflows: Sequence[object],
        *,
        connectors: Sequence[object] = (),
        network: Network | None = None,
        namespace: str = "",
        clock: Clock | None = None,
        new_id: Callable[[], str] | None = None,
        store: Store | None = None,
        in_flight: int = IN_FLIGHT,
        threads: int = 32,
        accept_truncation: bool = False,
        passive: bool = False,
        promote: bool = True,
        sync: bool = True,
        forms_twice: bool = False,
        teams: Mapping[str, Sequence[str]] | None = None,
        enforce_assignee: bool = False,
        public_url: str | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
        log: Any = None,
    ) -> None:
        check_namespace(namespace)
        self.target = target
        self.namespace = namespace
        self.clock: Clock = clock or SystemClock()
        self.new_id: Callable[[], str] = new_id or _uuid7
        self.registry = Registry()
        self.executor = Executor(in_flight, threads, self._is_late)
        self.definitions = Definitions(self.whole)
        self.grants = Grants(self.whole)
        self.schedules = Schedules(self.whole)
        self.events = Events(self.whole)
        self.asks = Asks(self.whole)
        self.keys = Keys(self.whole)
        self.callbacks = Callbacks(self.whole)
        self.hooks = Hooks()
        self.hooks.add("connectors", ingestion.hook(self.whole))
        self.resources = Resources(self.whole)
        self.secret = fresh()
        """What tokens are made of; that of the store, once it is open."""
        self.forms = Forms(self.whole, twice=forms_twice)
        self.opened: Opened | None = None
        self.started_at = 0
        self.state = "new"
        self._store = store
        self._accept_truncation = accept_truncation
        self._passive = passive
        self._promote = promote
        self._sync = sync
        self._on_fatal = on_fatal
        self.teams: dict[str, tuple[str, ...]] = {}
        """Members of the teams that questions may be assigned to."""
        for team, members in (teams or {}).items():
            self.teams[team] = tuple(members)
        self._enforce_assignee = enforce_assignee
        self.public_url = public_url
        """Where people reach the pages of this engine, for links in messages."""
        self.ask_link: Callable[[str, str | None], str] | None = None
        """Gives the address of a question for a person, where somebody shows pages."""
        self.links = Links(self.whole)
        self.tracing: Any = None
        """Where spans go, if somebody has set that up; see `tracing`."""
        self.log: Any = log if log is not None else LazyLogger("greenroom.engine")
        self._lock: locks.Lock | None = None
        self._token: Token[Any] | None = None
        self._performer: Token[Any] | None = None
        self._event_watchers: list[Callable[[], None]] = []
        self.at_end: dict[Callable[[], None], None] = {}
        """Called when nothing more will happen: those who wait for something give up."""
        self._requests: dict[str, asyncio.Future[None]] = {}
        self.router = Router(self)
        self.router.collector.released = self._listening
        self.ledger = Ledger(self.whole)
        self.retention = retention.Retention(self.whole)
        self.connectors = Section(self.whole)
        """Connectors by the id that workflows call them by."""
        self.connections = Connections(
            self.connectors, clock=self.clock, secrets=self._secrets(), network=network
        )
        self.secrets = Secrets(self.whole)
        found = loaded([*connectors, *workflows])
        for connector in connectors_among(found):
            self.connectors.add(connector)
        self.registry.catalog = Catalog(self.connectors)
        with using(self.registry.catalog):
            for workflow in workflows_among(found):
                self.registry.add(defined(workflow))
        self.data = KeptData(self.whole)

    @property
    def whole(self) -> Engine:
        """The facade whose layer this is."""
        return cast("Engine", self)

    def _trace(self) -> None:
        """Begins to trace where OpenTelemetry is in use already: it is imported for nobody else."""
        if "opentelemetry.trace" in sys.modules:
            from greenroom.runtime.tracing import found  # noqa: PLC0415  it needs an extra

            self.tracing = found(VERSION)
        if self.tracing is not None:
            self.executor.around = self.tracing.attempt
            self.directory.watch(self.tracing.turn)

    async def _open(self) -> None:
        if self.state != "new":
            raise InvalidRequest("this engine was opened before; make a new one")
        self.loop = loop = running("an engine", "Engine.sync")
        self.state = "opening"
        self.connections.open()
        begun = time.monotonic()
        store, reserve = await loop.run_in_executor(None, self._place)
        self.journal = self._journal(store, reserve)
        try:
            self.opened = await self.journal.open()
            for warning in self.opened.warnings:
                self.log.warning(warning)
            self.supervisor = Supervisor(self.clock, self._give_up, self.log)
            self.directory = Directory(
                self.journal,
                self.clock,
                self.executor,
                self.registry,
                self.supervisor,
                self.opened.epoch,
                self.opened.next_n,
                self.log,
                secret=self.secret,
                clean=self.opened.clean,
                alone=await self.journal.call(GetMeta(ALONE)) or "",
                passive=self._passive,
            )
            self.directory.emitted = lambda places: self.router.recover()
            self.directory.subjects = self.router.subjects
            self.directory.ticked = self._tick
            self.executor_context()
            self._trace()
            self.registry.stored(await self.journal.call(ListDefinitions()))
            await self.grants.read()
            await self.schedules.load()
            await self.ledger.load(self.opened.head)
            self.router.collector.load(await self.journal.call(ListSchedules()))
            self.router.collector.arm = lambda due, id: self.directory.timer.arm(due, 0, id)
            await self.definitions.settle(sync=self._sync, promote=self._promote)
            self.settle_stages()
            if not self._passive:
                await trials.erase(self.whole)
                self.ledger.settled()
                await self.directory.slots.recover(
                    [self.registry.released(name) for name in self.registry.names()]
                )
                await self.directory.recover()
                self.router.open()
                self.schedules.recover()
                self.directory.timer.start()
                self.router.collector.recover()
                self.retention.start()
        except BaseException:
            await self.journal.close(clean=False)
            self._unlock()
            raise
        self._listen()
        self.started_at = self.clock.now()
        self.ready_ms = round((time.monotonic() - begun) * 1000)
        self.state = "open"

    def _journal(self, store: Store, reserve: Path | None) -> Journal:
        return Journal(
            store,
            clock=self.clock,
            reserve=reserve,
            on_fatal=self._died,
            on_state=self._journal_state,
        )

    def executor_context(self) -> None:
        """Steps find this engine in their context too."""
        self.executor.set_context(ENGINE, ThreadFace(self.whole))
        self.executor.set_context(PERFORMER, self.connections)

    def _place(self) -> tuple[Store, Path | None]:
        """The store and what belongs to it, locked. Runs in a thread: it touches the disk."""
        if self._store is not None:
            if isinstance(self._store, MemoryStore):
                self.secret = self._store.tables.secret
            return self._store, None
        target = self.target
        if target is None:
            target = os.environ.get("GREENROOM_DATA") or DIRECTORY_DEFAULT
            is_directory = True
        else:
            text = str(target)
            if text == MEMORY:
                return MemoryStore(), None
            if "://" in text:
                raise InvalidRequest(
                    f"{text} is not a store this version can open: give a file, a directory or ':memory:'"
                )
            is_directory = text.endswith("/") or Path(text).is_dir()
        path = Path(target).expanduser().absolute()
        if is_directory:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = path / "greenroom.db"
            self._lock = locks.acquire(path / "greenroom.lock", what=str(path))
            mark, reserve = path / "greenroom.mark", path / "reserve"
            self.secret = kept_in(path / "greenroom.key")
        else:
            if not path.parent.is_dir():
                raise InvalidRequest(
                    f"{path.parent} is not a directory", hint=f"mkdir -p {path.parent}"
                )
            database = path
            self._lock = locks.acquire(path.with_name(path.name + ".lock"), what=str(path))
            mark, reserve = path.with_name(path.name + ".mark"), None
            self.secret = kept_in(path.with_name(path.name + ".key"))
        return SqliteStore(database, mark=mark, accept_truncation=self._accept_truncation), reserve

    def _secrets(self) -> SecretStore:
        """Where secrets are kept: beside the store, if it is a directory."""
        text = str(self.target) if self.target is not None else DIRECTORY_DEFAULT
        if text == MEMORY or "://" in text:
            return SecretStore()
        if self.target is None:
            text = os.environ.get("GREENROOM_DATA") or text
        path = Path(text).expanduser()
        is_directory = self.target is None or text.endswith("/") or path.is_dir()
        return SecretStore(path if is_directory else path.parent)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def close(self, timeout: float = DRAIN_S) -> None:
        """Stops: nothing new is started, what is decided is stored, the store is closed. Steps that
        run are cancelled and run again at the next start."""
        if self.state in ("closed", "new"):
            return
        self.state = "closing"
        if self.opened is not None:
            self.directory.stop(self.gone())
            self.retention.stop()
            await self.schedules.stop()
            await self.executor.stop()
            await self.connections.close()
            self.forms.close()
            self._end_waiting()
        try:
            async with asyncio.timeout(timeout):
                await self.journal.close(clean=True)
        except TimeoutError:
            await self.journal.close(clean=False)
        self._unlock()
        self.state = "closed"

    async def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Waits until no step runs, at most `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while self.executor.busy or self.directory.turns:  # noqa: ASYNC110  bounded, at the end of a life
                await asyncio.sleep(0.01)

    def _is_late(self, call: Call) -> None:
        self.log.warning(
            "a step takes longer than its soft_timeout",
            instance=call.instance,
            step=call.target.name,
            op=call.key,
            attempt=call.attempt,
            soft_timeout_s=call.target.soft_timeout_s,
        )

    def _died(self, error: BaseException) -> None:
        self.log.critical("the store failed; nothing is acknowledged any more", error=str(error))
        self.directory.stop(self.gone())
        self._end_waiting()
        if self._on_fatal is not None:
            self._on_fatal(error)

    def gone(self) -> GreenroomError:
        if self.journal.state == "died":
            return EngineDied(f"the store failed: {self.journal.error}")
        return EngineStopping("the engine is stopping")

    def _end_waiting(self) -> None:
        for give_up in [*self.at_end, *self._event_watchers]:
            give_up()

    def _give_up(self, component: str, error: BaseException) -> None:
        self.journal.give_up(EngineDied(f"the {component} keeps crashing: {error}"))

    def _journal_state(self, state: State) -> None:
        if state == "open" and self.state == "open":
            self.directory.writable_again()
            self.router.recover()
            self.router.collector.recover()

    def _check_open(self, *, runs: bool = True) -> None:
        """Raises unless the engine takes requests; `runs`: the request needs the workflows' code."""
        if self.state == "open":
            if runs and self._passive:
                raise InvalidRequest(
                    "this store was opened without its workflows: it can be looked at, and instances "
                    "can be paused or cancelled by force",
                    hint="start a daemon on it:  greenroom serve --data DIR app.py",
                )
            if self.journal.full:
                raise Busy("more works wait for the disk than may; try again")
            return
        if self.state == "closing":
            raise EngineStopping("the engine is stopping")
        raise EngineStopping(f"the engine is {self.state}", hint="use it inside `async with`")

    def _listen(self) -> None:
        """Takes what people click elsewhere, where there are flows to decide."""
        if self.registry.has_desks():
            from greenroom.runtime.outlets import listen  # noqa: PLC0415  start-up time

            listen(self.whole)

    @cached_property
    def stages(self) -> Stages:
        """Stage graphs as people see and steer them; imported where there is one, or who asks."""
        from greenroom.runtime.stages import Stages  # noqa: PLC0415  start-up time

        return Stages(self.whole)

    def settle_stages(self) -> None:
        """Takes what released stage graphs bring."""
        if self.registry.has_stages():
            self.stages.settle()

    def register(self, *workflows: object) -> None:
        """Adds workflows to an open engine; what is loaded from code is released at once."""
        given = loaded(workflows)
        for connector in connectors_among(given):
            self.connectors.add(connector)
        with using(self.registry.catalog):
            found = [defined(workflow) for workflow in workflows_among(given)]
        for definition in found:
            self.registry.add(definition)
        if self.state == "open":
            for definition in found:
                self._settle_soon(definition)
            self.settle_stages()
            self._listen()

    def _settle_soon(self, definition: Definition) -> None:
        now = self.clock.now()
        rows = [row for row in self.registry.versions() if row.name == definition.name]
        known = next((row for row in rows if row.hash == definition.hash), None)
        version = definition.version or (
            known.version if known else max((row.version for row in rows), default=0) + 1
        )
        row = DefinitionRow(
            definition.name, version, definition.kind, definition.hash, save_work(definition, now).body,
            now, definition.source, True, all(row.enabled for row in rows),
        )  # fmt: skip
        settled = self.registry.settle(definition.name, row)
        on = row.enabled and definition.enabled is not False
        self.grants.approve_soon(definition.name, version, definition.uses)
        self.journal.submit(save_work(definition, now), _nothing)
        self.directory.slots.follow_soon(settled)
        if definition.enabled is False and row.enabled:
            self.journal.submit(ChangeDefinition(definition.name, None, None, False), _nothing)
        if on:
            self.router.index.add(self.namespace, settled)
        else:
            self.router.index.remove(self.namespace, definition.name)
        for work in self._schedule_works(settled):
            self.journal.submit(work, _nothing)
        self._schedules_changed()

    def _schedule_works(self, definition: Definition) -> list[Any]:
        works: list[Any] = []
        keep: list[str] = []
        now = self.clock.now()
        for trigger in definition.triggers:
            if trigger.schedule is None or trigger.schedule_id is None:
                continue
            keep.append(trigger.schedule_id)
            due = trigger.schedule.next_due(now / 1000, now / 1000)
            works.append(
                SaveSchedule(
                    trigger.schedule_id,
                    definition.name,
                    canonical(trigger.schedule.spec),
                    now,
                    None if due is None else round(due * 1000),
                )
            )
        keep += self.schedules.made.get(definition.name, ())
        works.append(DropSchedules(definition.name, keep))
        return works

    def _schedules_changed(self) -> None:
        """The timer reads its near future again."""
        self.directory.timer.start()

    def _listening(self, workflow: str) -> Definition | None:
        """The definition whose triggers count: the released one, if it is enabled."""
        known = self.registry.find(workflow) is not None and self.registry.is_enabled(workflow)
        return self.registry.released(workflow) if known else None

    def _tick(self, schedule_id: str, due: int) -> None:
        """A schedule is due: one event per nominal time, the instance and the next due time in one
        transaction."""
        if schedule_id.startswith(MARK):
            self.router.collector.fire(schedule_id, due)
        else:
            self.schedules.fire(schedule_id, due)

    def now(self) -> int:
        return self.clock.now()

    def submit(self, work: Any, done: Callable[[Any], None]) -> None:
        self.directory.submit(work, done)

    def start_for(
        self,
        definition: Definition,
        input: Any,
        key: str | None,
        event: Event,
        namespace: str,
        hops: int,
    ) -> tuple[Create, Instance]:
        return self.directory.prepare(
            definition,
            input,
            id=self.new_id(),
            key=key,
            namespace=namespace,
            event=event,
            hops=hops,
        )

    def adopt(self, instance: Instance, create: Create, result: Created) -> None:
        self.directory.adopt(instance, create, result)

    def dropped(self, id: str) -> None:
        self.directory.slots.release(id)

    def deliver(self, n: int, id: str, items: list[InboxItem]) -> None:
        self.directory.deliver(n, id, items)

    def warn(self, what: str, workflow: str, error: Exception) -> None:
        self.log.warning(what, workflow=workflow, error=str(error))

    def component_crashed(self, name: str, error: Exception) -> None:
        self.supervisor.component_crashed(name, error)

    def accepted(self, pos: int, row: EventRow) -> None:
        self.ledger.head = max(self.ledger.head, pos)
        for watcher in self._event_watchers:
            watcher()

    async def post_tick(
        self,
        event: Event,
        definition: Definition,
        tick: tuple[str, int, int | None] | None,
        namespace: str,
    ) -> shapes.Accepted:
        """Posts the event of a schedule, which starts the schedule's workflow and no other."""
        future: asyncio.Future[shapes.Accepted] = asyncio.get_running_loop().create_future()

        def done(result: Posted | GreenroomError, refused: list[Refused]) -> None:
            if future.done():
                return
            if isinstance(result, Posted):
                future.set_result(accepted_shape(event.id, result, refused))
            else:
                future.set_exception(result)

        self.router.post(event, namespace, None, done, tick, definition)
        return await future

    def _request_conflict(self, request_id: str) -> IdConflict:
        return IdConflict(
            f"the request id {request_id!r} was used before for something else", id=request_id
        )

    async def _tell(
        self, n: int, message: Message, request: Callable[[Instance], Request] | None = None
    ) -> tuple[Instance, list[Any]]:
        """Tells an instance and gives what it decided, durable. Raises what it refused."""
        future: asyncio.Future[tuple[Instance, list[Any]]] = (
            asyncio.get_running_loop().create_future()
        )

        def loaded(instance: Instance) -> None:
            def reply(result: Any) -> None:
                if future.done():
                    return
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result((instance, result))

            instance.tell(message, reply, request)

        def failed(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        self.directory.activate(n, loaded, failed)
        return await future

    def _held(self, ref: str) -> Instance | None:
        """The instance with this id, if it is in memory as it is on disk and has not failed: then
        nothing needs to be read to know how it stands."""
        n = self.directory.ids.get(ref)
        found = self.directory.active.get(n) if n is not None else None
        if found is None or found.unstored or found.kernel.progress.failure is not None:
            return None
        return found

    async def _find(self, ref: str, namespace: str | None = None) -> InstanceRow:
        if not isinstance(ref, str) or not ref:
            raise InvalidRequest(f"an instance is named by its id or workflow/key, got {ref!r}")
        namespace = self.namespace if namespace is None else namespace
        found: InstanceRow | None = await self.journal.call(Find(ref, namespace))
        if found is None and self.registry.find(ref) is not None:
            raise NotFound(
                f"{ref} is a workflow, and an instance is wanted",
                hint=f"{ref}/KEY or the id of one:  greenroom ls {shlex.quote(f'workflow:{ref}')}",
                instance=ref,
            )
        if found is None:
            raise NotFound(
                f"there is no instance {ref}{self.registry.unknown_in(ref)}",
                hint="greenroom ls  shows what there is; an id may be cut to 8 characters or more",
                instance=ref,
            )
        return found

    async def _load(self, n: int) -> Loaded:
        loaded: list[Loaded] = await self.journal.call(Load((n,), snapshots=False))
        return loaded[0]

    async def _progress(self, n: int) -> Progress:
        """The durable progress of an instance, folded from the store."""
        return await progress_of(self.journal, n)


def accepted_shape(id: str, posted: Posted, refused: list[Refused]) -> shapes.Accepted:
    matched = [
        shapes.Match(m.workflow, m.id or None, m.key, m.action, m.code) for m in posted.matched
    ]
    matched += [
        shapes.Match(name, None, key, "held", None)
        if code == HELD
        else shapes.Match(name, None, key, "refused", code)
        for name, key, code in refused
    ]
    total = posted.matched_total + len(refused)
    return shapes.Accepted(id, True, posted.duplicate, total, matched[:100])


def _uuid7() -> str:
    import uuid_utils  # noqa: PLC0415  start-up time

    return str(uuid_utils.uuid7())


def _nothing(result: Any) -> None:
    return None
