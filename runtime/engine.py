"""`Engine`: the facade, and the one place that knows all the parts.

    async with Engine.open("app.db", workflows=[order]) as engine:
        instance = await engine.start("order", {"order_id": "7"}, key="7")

Every face (socket, command line, sync facade, HTTP) calls the verbs here. A verb that returned is
on disk; one that raised a `Rejected` stored nothing.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import platform
import shlex
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Token
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from greenroom.actors.collector import MARK
from greenroom.actors.entries import decode_entry
from greenroom.actors.instance import Instance
from greenroom.actors.messages import (
    Answer,
    Cancel,
    Message,
    Migrate,
    Pause,
    Record,
    Resume,
    Skip,
)
from greenroom.actors.ports import (
    Append,
    Appended,
    AskView,
    ChangeDefinition,
    Clock,
    Counts,
    CountsRow,
    Create,
    Created,
    DefinitionRow,
    DropSchedules,
    EventRow,
    Find,
    FindRequest,
    InboxItem,
    InstanceRow,
    ListDefinitions,
    Listed,
    ListEvents,
    ListInstances,
    ListSchedules,
    Load,
    Loaded,
    Opened,
    Post,
    Posted,
    ReadRows,
    Request,
    SaveSchedule,
    StoredEventRow,
)
from greenroom.actors.progress import Progress, decode_progress, fold, status_of
from greenroom.actors.router import HELD, Refused, Router
from greenroom.actors.rows import body_hash, result_of, rfc3339
from greenroom.definitions.catalog import Catalog, using
from greenroom.definitions.connectors import PERFORMER
from greenroom.definitions.durations import seconds
from greenroom.definitions.engines import ENGINE, ENVIRONMENT
from greenroom.definitions.errors import (
    AlreadyDecided,
    AlreadyRunning,
    Busy,
    EngineDied,
    EngineStopping,
    GreenroomError,
    IdConflict,
    InstanceCancelled,
    InstanceFailed,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    NoSuchAsk,
    NotFound,
    NotPermitted,
    StoreDamaged,
    Timeout,
)
from greenroom.definitions.events import NAME_MAX, Event, check_event, check_posted, event_from
from greenroom.definitions.networks import Network
from greenroom.definitions.ops import named_version
from greenroom.definitions.programs import Workflow, workflow_input, workflow_key
from greenroom.definitions.roots import wrapped
from greenroom.definitions.tasks import Task, TaskContext
from greenroom.definitions.values import Json, canonical, encode_decode
from greenroom.definitions.workflow import Definition, Desk, key_text
from greenroom.runtime import checks, compare, reasons, replays, retention, shapes, steering, views
from greenroom.runtime import lock as locks
from greenroom.runtime.callbacks import Callbacks
from greenroom.runtime.clock import SystemClock
from greenroom.runtime.connectors import ingestion
from greenroom.runtime.connectors.connections import Connections
from greenroom.runtime.connectors.section import Secrets, Section
from greenroom.runtime.directory import Directory
from greenroom.runtime.executor import IN_FLIGHT, Call, Executor
from greenroom.runtime.facade import ScheduleHandle, ThreadFace
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.finder import Finder
from greenroom.runtime.forks import prefix_of
from greenroom.runtime.forms import Forms
from greenroom.runtime.identity import may_answer, person
from greenroom.runtime.journal import Journal, State
from greenroom.runtime.keptdata import KeptData
from greenroom.runtime.keys import Keys
from greenroom.runtime.ledger import Ledger
from greenroom.runtime.links import Links
from greenroom.runtime.loading import connectors_among, load, workflows_among
from greenroom.runtime.loggers import LazyLogger
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.recording import Recorded
from greenroom.runtime.registry import Registry, save_work
from greenroom.runtime.releases import Definitions
from greenroom.runtime.resources import Resources
from greenroom.runtime.schedules import Schedules
from greenroom.runtime.secrets import SecretStore
from greenroom.runtime.sections import Asks, Events
from greenroom.runtime.sources import defined
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.stages import Stages
from greenroom.runtime.store import Store
from greenroom.runtime.supervisor import Supervisor
from greenroom.runtime.terms import terms_of
from greenroom.runtime.tokens import fresh, instance_in, kept_in
from greenroom.runtime.web.hooks import Hooks

MEMORY: Final = ":memory:"
DIRECTORY_DEFAULT: Final = ".greenroom"
VERSION: Final = "0.1.0"
DRAIN_S: Final = 30.0

Unset: Final = msgspec.UNSET


class InstanceHandle:
    """A started instance: `.id`, `.key`, `.status`, `.created`, and its result when it ends."""

    def __init__(self, engine: Engine, started: shapes.Started) -> None:
        self._engine = engine
        self.id = started.instance
        self.key = started.key
        self.status = started.status
        self.created = started.created

    async def result(self, timeout: str | float | None = None) -> Json:
        """What the instance returned (step lists: the final state). Raises `InstanceFailed` as
        soon as it is failed, `InstanceCancelled`, `Timeout`."""
        return await self._engine.result(self.id, timeout=timeout)

    def __repr__(self) -> str:
        return f"<instance {self.id} {self.status}>"


class Engine:
    """An open store and everything that runs on it. Make it with `Engine.open`."""

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
        self.target = target
        self.namespace = namespace
        self.clock: Clock = clock or SystemClock()
        self.new_id: Callable[[], str] = new_id or _uuid7
        self.registry = Registry()
        self.executor = Executor(in_flight, threads, self._is_late)
        self.definitions = Definitions(self)
        self.schedules = Schedules(self)
        self.events = Events(self)
        self.asks = Asks(self)
        self.keys = Keys(self)
        self.callbacks = Callbacks(self)
        self.hooks = Hooks()
        self.hooks.add("connectors", ingestion.hook(self))
        self.resources = Resources(self)
        self.secret = fresh()
        """What tokens are made of; that of the store, once it is open."""
        self.forms = Forms(self, twice=forms_twice)
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
        self.stages = Stages(self)
        self._enforce_assignee = enforce_assignee
        self.public_url = public_url
        """Where people reach the pages of this engine, for links in messages."""
        self.ask_link: Callable[[str, str | None], str] | None = None
        """Gives the address of a question for a person, where somebody shows pages."""
        self.links = Links(self)
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
        self.ledger = Ledger(self)
        self.retention = retention.Retention(self)
        self.connectors = Section(self)
        """Connectors by the id that workflows call them by."""
        self.connections = Connections(
            self.connectors, clock=self.clock, secrets=self._secrets(), network=network
        )
        self.secrets = Secrets(self)
        found = loaded([*connectors, *workflows])
        for connector in connectors_among(found):
            self.connectors.add(connector)
        self.registry.catalog = Catalog(self.connectors)
        with using(self.registry.catalog):
            for workflow in workflows_among(found):
                self.registry.add(defined(workflow))
        self.data = KeptData(self)

    # -- life ----------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        target: str | Path | None = None,
        *,
        workflows: Sequence[object] = (),
        **options: Any,
    ) -> Engine:
        """An engine on a file of its own (`"app.db"`), a data directory (`"dir/"`, default
        `GREENROOM_DATA` or `.greenroom/`) or in memory (`":memory:"`). Use it with `async with`.

        Options: `connectors` (objects, documents, files or folders of them), `network` (what
        they may reach), `namespace`, `in_flight` (steps at once, 256), `threads` (for plain functions, 32),
        `accept_truncation` (go on although the end of the journal is damaged), `passive` (look and
        use verbs, but run nothing), `promote=False` (changed workflows are registered, new
        instances go on with the version released before), `sync=False` (the store's definitions are
        followed and not changed; `definitions.sync()` does it), `forms_twice` (run each form a second
        time and refuse one that is not pure; for tests), `teams` (`{"finance": ["ann", ...]}`:
        who a question for `team:finance` is for), `enforce_assignee` (nobody but the assignee may
        answer any question), `public_url` (where people reach its pages, for the links in messages),
        `clock`, `log`.
        """
        return cls(target, workflows, **options)

    @staticmethod
    def sync(
        target: str | Path | None = None, *, workflows: Sequence[object] = (), **options: Any
    ) -> Any:
        """The same engine for code that is not async: `with Engine.sync("app.db") as engine:`."""
        from greenroom.runtime.sync import SyncEngine  # noqa: PLC0415  it imports this module

        return SyncEngine(target, workflows=workflows, **options)

    async def __aenter__(self) -> Self:
        await self._open()
        self._token = ENGINE.set(self)
        self._performer = PERFORMER.set(self.connections)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._token is not None:
            ENGINE.reset(self._token)
            self._token = None
        if self._performer is not None:
            PERFORMER.reset(self._performer)
            self._performer = None
        await self.close()

    async def _open(self) -> None:
        if self.state != "new":
            raise InvalidRequest("this engine was opened before; make a new one")
        self.state = "opening"
        self.loop = loop = asyncio.get_running_loop()
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
                passive=self._passive,
            )
            self.directory.emitted = lambda places: self.router.recover()
            self.directory.ticked = self._tick
            self.executor_context()
            self.registry.stored(await self.journal.call(ListDefinitions()))
            await self.schedules.load()
            await self.ledger.load(self.opened.head)
            self.router.collector.load(await self.journal.call(ListSchedules()))
            self.router.collector.arm = lambda due, id: self.directory.timer.arm(due, 0, id)
            await self.definitions.settle(sync=self._sync, promote=self._promote)
            self.stages.settle()
            if not self._passive:
                await self.stages.open()
                self.ledger.settled()
                await self.directory.slots.recover(
                    [self.registry.released(name) for name in self.registry.names()]
                )
                await self.directory.recover()
                self.router.recover()
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
        self.executor.set_context(ENGINE, ThreadFace(self))
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

    # -- definitions ---------------------------------------------------------------------------

    def _listen(self) -> None:
        """Takes what people click elsewhere, where there are flows to decide."""
        if self.registry.has_desks():
            from greenroom.runtime.outlets import listen  # noqa: PLC0415  start-up time

            listen(self)

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
            self.stages.settle()
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
        self.journal.submit(save_work(definition, now), _nothing)
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

    # -- Stage of the router -------------------------------------------------------------------

    def now(self) -> int:
        return self.clock.now()

    def submit(self, work: Any, done: Callable[[Any], None]) -> None:
        self.journal.submit(work, done)

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
                future.set_result(_accepted(event.id, result, refused))
            else:
                future.set_exception(result)

        self.router.post(event, namespace, None, done, tick, definition)
        return await future

    # -- starting and posting --------------------------------------------------------------------

    async def start(
        self,
        workflow: object,
        input: Json = None,
        *,
        key: str | None = None,
        version: int | None = None,
        namespace: str | None = None,
        form: Sequence[Json] | dict[str, Json] | None = None,
        stage: str | None = None,
        delay: str | float | None = None,
        test: bool = False,
        raw: bool = False,
        request_id: str | None = None,
        by: str | None = None,
    ) -> InstanceHandle:
        """Starts an instance; durable when it returns.

        `workflow` is a name, function or class; `input` the initial state (step lists), arguments by
        name (functions) or properties (classes). `key` is unique among live instances. The same
        `request_id` gives the same instance again. `delay` keeps it pending for a while. `form` is
        the pages of the workflow's initial form: one object, or a list of them. The condition of a
        document's source must hold and its transform is applied, unless `raw`.
        """
        self._check_open()
        if request_id is not None:
            _check_request_id(request_id)
        definition = self._startable(workflow, version)
        if (stage is not None and definition.kind != "stages") or (
            form is not None and definition.form is None and definition.desk is None
        ):
            raise InvalidRequest(
                f"{definition.name} has no {'form' if stage is None else 'stages'}",
                workflow=definition.name,
            )
        back = encode_decode({} if input is None else input, "the input")[1]
        if definition.opening is None and not isinstance(back, dict):
            raise InvalidInput(f"the input of {definition.name} must be an object")
        if definition.form is not None:
            back = await self.forms.started(definition, back, form, by, test)
        if definition.desk is not None:
            made = definition.desk.started(back, form, by, stage)
            back = encode_decode(made, "the input")[1]
        if definition.kind == "stages":
            back, namespace = await self.stages.opened(definition, back, form, test, namespace)
        key = self._key(definition, back, key)
        if definition.opening is not None:
            back = wrapped(back) if raw else definition.opening(back)
        self._check_input(definition, back)
        due = None
        if delay is not None and (definition.concurrency or definition.rate):
            raise InvalidRequest(
                f"{definition.name} begins when it is its turn; it takes no delay",
                workflow=definition.name,
            )
        if delay is not None:
            due = self.clock.now() + round(seconds(delay, "delay") * 1000)
        return await self._create(
            definition,
            back,
            key=key,
            namespace=self.namespace if namespace is None else namespace,
            due=due,
            test=test,
            request_id=request_id,
            by=by,
        )

    def _startable(self, workflow: object, version: int | None) -> Definition:
        definition = self.registry.released(workflow)
        if version is not None and version != definition.version:
            found = self.registry.version(definition.name, version)
            known = {row.version for row in self.registry.versions() if row.name == definition.name}
            if found is None or version not in known:
                raise NotFound(
                    f"{definition.name} has no version {version}; there are "
                    f"{', '.join(map(str, sorted(known)))}",
                    workflow=definition.name,
                )
            return found
        return definition

    def _key(self, definition: Definition, input: Json, key: str | None) -> str | None:
        if key is not None:
            try:
                return key_text(key, definition.name)
            except InvalidDefinition as error:
                raise InvalidInput(error.message, workflow=definition.name) from None
        return definition.key_for({"data": input}) or definition.key_of(input)

    def _check_input(self, definition: Definition, input: dict[str, Json]) -> None:
        """What a function can never take is refused before anything exists."""
        if definition.kind != "program" or definition.program.injector is None:
            return
        try:
            definition.program.injector.arguments(input, {})
        except GreenroomError as error:
            raise InvalidInput(error.message, hint=error.hint, **error.details) from None

    async def _create(
        self,
        definition: Definition,
        input: dict[str, Json],
        *,
        request_id: str | None,
        by: str | None,
        **options: Any,
    ) -> InstanceHandle:
        create, instance = self.directory.prepare(
            definition, input, id=self.new_id(), by=by, **options
        )
        if request_id is not None:
            hash_ = _hash(["start", definition.name, input, options["key"]])
            create.request = Request(request_id, hash_, b"", self.clock.now())
        made: Created = await self._adopted(instance, create)
        status = status_of(instance.kernel.progress)
        if made.created:
            return InstanceHandle(self, shapes.Started(made.id, create.row.key, status, True))  # type: ignore[arg-type]
        if made.conflict == "request":
            row = await self._find(made.id)
            return InstanceHandle(self, shapes.Started(row.id, row.key, row.status, False))  # type: ignore[arg-type]
        if made.conflict == "request_differs":
            raise self._request_conflict(request_id or "")
        raise AlreadyRunning(
            f"{definition.name}/{create.row.key} is already running",
            hint=f"greenroom show {definition.name}/{create.row.key}",
            instance=made.id,
            key=create.row.key,
        )

    async def _adopted(self, instance: Instance, create: Create) -> Created:
        future: asyncio.Future[Created] = asyncio.get_running_loop().create_future()

        def done(result: Any) -> None:
            if isinstance(result, Exception):
                instance.dead = True
                instance.kernel.drop_machine()
                self.directory.slots.release(instance.id)
                if not future.done():
                    future.set_exception(result)
                return
            self.directory.adopt(instance, create, result)
            if not future.done():
                future.set_result(result)

        self.journal.submit(create, done)
        return await future

    async def post(
        self, event: Event | dict[str, Any], *, namespace: str | None = None, by: str | None = None
    ) -> shapes.Accepted:
        """Posts an event to the router; what it started and woke is durable when this returns."""
        future: asyncio.Future[shapes.Accepted] = asyncio.get_running_loop().create_future()

        def done(result: shapes.Accepted | GreenroomError) -> None:
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.post_nowait(event, done, namespace=namespace, by=by)
        return await future

    def post_nowait(
        self,
        event: Event | dict[str, Any],
        done: Callable[[shapes.Accepted | GreenroomError], None],
        *,
        namespace: str | None = None,
        by: str | None = None,
    ) -> None:
        """`post` for callers that have no task to spare: `done` is called once, when the event is
        durable or refused."""
        try:
            self._check_open()
            event = check_event(event) if isinstance(event, Event) else event_from(event)
            check_posted(event)
            if event.data is not None:
                encode_decode(event.data, "data")
        except GreenroomError as error:
            done(error)
            return
        id = event.id

        def finish(result: Posted | GreenroomError, refused: list[Refused]) -> None:
            done(_accepted(id, result, refused) if isinstance(result, Posted) else result)

        id = self.router.post(event, self.namespace if namespace is None else namespace, by, finish)

    async def ingest(
        self,
        connector: str,
        headers: ingestion.HeaderPairs,
        body: bytes | str,
        *,
        encoding: str | None = None,
        namespace: str | None = None,
        by: str | None = None,
    ) -> ingestion.Ingested:
        """Takes in an event a service sent: `headers` and the raw `body` as they came.

        The signature its connector demands, the age, the type and the schema are checked before
        anything is posted; a second delivery of the same event is a duplicate. A body that came
        inside JSON may be `encoding="base64"`. Raises `SignatureInvalid` (401), `InvalidEvent`, `TooLarge`, `NotFound`.
        """
        self._check_open()
        return await ingestion.ingest(
            self, connector, headers, body, encoding=encoding, namespace=namespace, by=by
        )

    async def send(
        self, instance: str, event: Event | dict[str, Any], *, by: str | None = None
    ) -> shapes.Sent:
        """Sends an event to one instance; it stays in its inbox until a wait takes it."""
        self._check_open()
        event = check_event(event) if isinstance(event, Event) else event_from(event)
        row = await self._find(instance)
        event = await self._let_through(row, event, by)
        made = not event.id
        now = self.clock.now()
        event = msgspec.structs.replace(
            event, id=event.id or self.new_id(), time=event.time or rfc3339(now)
        )
        stored = EventRow(f"to:{row.id}", event, now, by, body_hash(event), checked=not made)
        posted: Posted = await self.journal.call(Post(row=stored, to=row.id))
        if posted.conflict:
            raise IdConflict(
                f"{event.id} was sent to {row.id} before with another body", id=event.id
            )
        if posted.duplicate:
            return shapes.Sent(event.id, 1, False)
        if not posted.items:
            return shapes.Sent(event.id, 0, False)
        self.accepted(posted.pos, stored)
        n, _, item = posted.items[0]
        return shapes.Sent(event.id, 1, await self._taken(n, item))

    async def _let_through(self, row: InstanceRow, event: Event, by: str | None) -> Event:
        """The event with who sends it, where that matters. Raises `NotPermitted`."""
        definition = self.registry.version(row.workflow, row.version)
        if definition is None or definition.desk is None:
            return event
        return definition.desk.sent((await self._progress(row.n)).state, event, by)

    async def _taken(self, n: int, item: InboxItem) -> bool:
        """Delivers an item and tells whether a wait or handler took it at once."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def loaded(instance: Instance) -> None:
            p = instance.kernel.progress
            before = p.handlers
            instance.give([item])

            def told(_: Any) -> None:
                if not future.done():
                    took = item.iq in p.taken or item.iq not in instance.inbox
                    future.set_result(took or p.handlers > before)

            # a message behind the offer: refused or not, it is answered after it
            instance.after(told)

        def failed(_: Exception) -> None:  # the item is in its inbox and stays there
            if not future.done():
                future.set_result(False)

        self.directory.activate(n, loaded, failed)
        return await future

    async def answer(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Answered:
        """Answers an open question, by its id, or a callback, by its token. The first answer wins.

        To a form `data` is one page's object or a list of pages; an answer that is not complete
        and valid changes nothing: `FormNotComplete` has the schema of the next page,
        `FormInvalid` every error.
        """
        self._check_open()
        if instance_in(ask) is not None:
            return await self.callbacks.answer(ask, data)
        found = await self._open_ask(ask)
        desk = self._desk(found)
        state = {} if desk is None else (await self._progress(found.n)).state
        if desk is None or not desk.knows_people:
            await self._check_person(found, by)
        if desk is not None and found.kind == "form":
            desk.submitted(state, by)
        back = encode_decode(data, "the answer")[1]
        if found.kind == "form":
            back = await self.forms.answer(found, back, by)
        else:
            back = (
                desk.answered(state, found.op, back, by)
                if desk
                else reasons.check_answer(found, back)
            )
        try:
            instance, _ = await self._tell(found.n, Answer(found.op, back, by))
        except NoSuchAsk:
            await self._open_ask(found.id)  # somebody was first, a moment ago
            raise
        status = status_of(instance.kernel.progress)
        return shapes.Answered(found.instance, found.id, status)  # type: ignore[arg-type]

    def _desk(self, ask: AskView) -> Desk | None:
        """What looks at the answers to a question."""
        definition = self.registry.version(ask.workflow, ask.version)
        return None if definition is None else definition.desk

    async def _check_person(self, ask: AskView, by: str | None) -> None:
        """Raises `NotPermitted` where only the assignee may answer and the caller is not."""
        if ask.assignee is None or may_answer(by, ask.assignee, self.teams):
            return
        op = (await self._progress(ask.n)).ops.get(ask.op)
        question = op.request.question if op is not None else None
        if self._enforce_assignee or (question is not None and question.enforce):
            raise NotPermitted(
                f"{ask.title!r} is for {ask.assignee}, not for {person(by) or 'somebody unknown'}",
                hint="say who answers:  by=...  (greenroom ask answer --by NAME)",
                ask=ask.id,
            )

    async def progress(self, token: str, data: Json) -> shapes.Answered:
        """Reports how far a callback is on its way; the report is shown with the question until
        the next one, and is no part of the state."""
        self._check_open()
        return await self.callbacks.progress(token, data)

    async def _open_ask(self, ask: str) -> AskView:
        found = await self.asks.find(ask)
        if found.answered_at is not None:
            when, who = rfc3339(found.answered_at), found.by or "somebody"
            raise AlreadyDecided(f"{found.title!r} was answered at {when} by {who}", ask=ask)
        return found

    # -- verbs ---------------------------------------------------------------------------------

    async def pause(
        self,
        instance: str,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Pauses: running steps finish and are recorded, nothing new is started."""
        return await self._verb(instance, Pause(by, reason), request_id)

    async def resume(
        self,
        instance: str,
        *,
        reason: str | None = None,
        run_again: bool = False,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Goes on: a paused instance where it was, a failed one with a new attempt of what failed,
        one that waits for a retry at once. `run_again` says an in-doubt step has not run."""
        return await self._verb(instance, Resume(by, reason, run_again), request_id)

    async def cancel(
        self,
        instance: str,
        *,
        reason: str | None = None,
        force: bool = False,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Cancels: running steps are aborted, clean-up runs, the instance ends `cancelled`. `force`
        leaves clean-up out, and closes an instance whose history is damaged too."""
        try:
            return await self._verb(instance, Cancel(by, reason, force), request_id)
        except StoreDamaged as error:
            if force:
                return await steering.close_damaged(self, instance, error, reason, by)
            hint = f"greenroom cancel {instance} --force  closes it and reads nothing"
            raise StoreDamaged(error.message, hint=hint, **error.details) from None

    async def skip(
        self,
        instance: str,
        op: str,
        output: Json = None,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Takes `output` as the result of an op that failed, is in doubt or waits for a retry."""
        value = encode_decode(output, "the output")[1]
        return await self._verb(instance, Skip(op, value, by, reason), request_id)

    async def edit(
        self,
        instance: str,
        set: dict[str, Json] | None = None,
        delete: Sequence[str] = (),
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Changes the state by hand while the instance waits, is paused or has failed. Names may be
        paths with dots into objects. Who did it and why stands in the history."""
        return await steering.edit(self, instance, set, list(delete), reason, request_id, by)

    async def migrate(
        self,
        instance: str,
        to_version: int,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Lets an instance of a plan follow another version. Refused with the names of the steps
        that have ended or are open and that the version does not have."""
        return await steering.migrate(self, instance, to_version, reason, request_id, by)

    async def _verb(self, ref: str, message: Message, request_id: str | None) -> shapes.Verb:
        plain = isinstance(message, Pause) or (isinstance(message, Cancel) and message.force)
        self._check_open(runs=not plain)
        if request_id is not None:
            _check_request_id(request_id)
        row = await self._find(ref)
        if request_id is None:
            instance, _ = await self._tell(row.n, await self._verified(row, message))
            return _verb_reply(instance)
        while (other := self._requests.get(request_id)) is not None:
            await asyncio.shield(other)
        self._requests[request_id] = mine = asyncio.get_running_loop().create_future()
        try:
            return await self._verb_once(row, message, request_id)
        finally:
            del self._requests[request_id]
            mine.set_result(None)

    async def _verb_once(self, row: InstanceRow, message: Message, request_id: str) -> shapes.Verb:
        """Carries a verb out unless its request id is known; gives the same answer every time."""
        hash_ = _hash([type(message).__name__, row.id, _said(message)])
        known: Request | None = await self.journal.call(FindRequest(request_id))
        if known is not None:
            if known.hash != hash_:
                raise self._request_conflict(request_id)
            return msgspec.json.decode(known.reply, type=shapes.Verb)
        replies: list[shapes.Verb] = []

        def request(instance: Instance) -> Request:
            replies.append(_verb_reply(instance))
            return Request(request_id, hash_, msgspec.json.encode(replies[0]), self.clock.now())

        await self._tell(row.n, await self._verified(row, message), request)
        return replies[0]

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

    @functools.cached_property
    def providers(self) -> Mapping[str, Any]:
        """Who carries out what handlers call: connectors this engine was given, else the log."""
        from greenroom.runtime.outlets import providers  # noqa: PLC0415  start-up time

        return providers(self)

    async def users_of(self, ask: str) -> Mapping[str, Mapping[str, Any]]:
        """What the flow of a question knows of people: user name -> facts."""
        desk = self._desk(await self.asks.find(ask))
        return desk.users() if desk is not None else {}

    def recorder(self, context: TaskContext) -> Recorded:
        """What keeps the calls that a handler makes, for the thread it runs in."""
        return Recorded(self, context)

    async def record(self, instance: str, call: Record) -> None:
        """Keeps what a running handler has called outside; durable when this returns. Raises
        `InvalidTransition` when that attempt is over."""
        row = await self._find(instance)
        await self._tell(row.n, call)

    async def _verified(self, row: InstanceRow, message: Message) -> Message:
        """An in-doubt step that has a `verify` function is asked before a person is."""
        if not isinstance(message, Resume) or message.run_again or row.error_code != "in_doubt":
            return message
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self.directory.activate(
            row.n,
            lambda found: None if future.done() else future.set_result(found),
            lambda error: None if future.done() else future.set_exception(error),
        )
        said = await reasons.verify_in_doubt(self, await future, message.by, message.reason)
        return said or message

    async def restart(
        self,
        instance: str,
        *,
        from_op: str | None = None,
        key: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Forked:
        """A new instance from what this one recorded before `from_op` (none: from its input)."""
        return await self._fork(instance, from_op, key, Unset, Unset, None, reason, request_id, by)

    async def fork(
        self,
        instance: str,
        *,
        from_op: str | None = None,
        key: str | None = None,
        state: Any = Unset,
        input: Any = Unset,
        version: int | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Forked:
        """`restart` that may edit the past: another state (step lists), input or version."""
        return await self._fork(
            instance, from_op, key, state, input, version, reason, request_id, by
        )

    async def _fork(
        self,
        ref: str,
        from_op: str | None,
        key: str | None,
        state: Any,
        input: Any,
        version: int | None,
        reason: str | None,
        request_id: str | None,
        by: str | None,
    ) -> shapes.Forked:
        self._check_open()
        if request_id is not None:
            _check_request_id(request_id)
        row = await self._find(ref)
        edits = [None if edit is Unset else [edit] for edit in (state, input)]
        hash_ = _hash(["fork", row.id, from_op, key, version, *encode_decode(edits, "the edit")[1]])
        loaded = await self._load(row.n)
        definition = self._startable(row.workflow, version or row.version)
        entries = [decode_entry(stored) for stored in loaded.rows]
        id = self.new_id()
        if key is None and row.status in ("completed", "cancelled"):
            key = row.key
        prefix = prefix_of(
            entries, from_op, id=id, key=key, by=by, at=self.clock.now(), state=state, input=input,
            definition=definition, reason=reason,
        )  # fmt: skip
        if not prefix.entries:
            self._check_input(definition, prefix.input)
        create, made = self.directory.prepare(
            definition,
            prefix.input,
            id=id,
            key=key,
            namespace=row.namespace,
            by=by,
            forked=(row.id, len(prefix.entries)),
            test=row.test,
            state=prefix.state,
            entries=prefix.entries or None,
            reason=reason,
        )
        if request_id is not None:
            create.request = Request(request_id, hash_, b"", self.clock.now())
        result = await self._adopted(made, create)
        if result.conflict == "key":
            raise AlreadyRunning(f"{row.workflow}/{key} is already running", instance=result.id)
        if result.conflict == "request_differs":
            raise self._request_conflict(request_id or "")
        if not result.created:  # the same request as before
            found = await self._find(result.id)
            return shapes.Forked(found.id, row.id, found.status)  # type: ignore[arg-type]
        return shapes.Forked(result.id, row.id, status_of(made.kernel.progress))  # type: ignore[arg-type]

    # -- results -------------------------------------------------------------------------------

    async def result(self, instance: str, *, timeout: str | float | None = None) -> Json:
        """Waits for the end and gives the result; see `InstanceHandle.result`."""
        found = await self.outcome(instance, timeout=timeout)
        if found.status == "completed":
            return found.result
        if found.status == "cancelled":
            raise InstanceCancelled(f"{found.instance} was cancelled", instance=found.instance)
        error = found.error
        raise InstanceFailed(
            f"{found.instance} failed: {error.message if error else 'unknown'}",
            hint=f"greenroom why {found.instance}",
            instance=found.instance,
            error=msgspec.to_builtins(error),
        )

    async def outcome(self, instance: str, *, timeout: str | float | None = None) -> shapes.Outcome:
        """Waits until the instance has completed, failed or was cancelled."""
        limit_s = None if timeout is None else seconds(timeout, "timeout")
        held = self._held(instance)
        id = held.id if held is not None else (await self._find(instance)).id
        settled = asyncio.Event()
        ended: Instance | None = None

        def changed(stored: Instance, append: Append) -> None:
            nonlocal ended
            change = append.change
            if change is not None and (change.status in _SETTLED or change.error_code):
                ended = stored if stored.kernel.progress.ended else None
                settled.set()

        waiters = self.directory.waiters.setdefault(id, [])
        waiters.append(changed)
        try:
            with self._deadline(limit_s, id, settled) as check:
                while True:
                    settled.clear()
                    found = await self._outcome_now(id, ended)
                    if found is not None:
                        return found
                    check()
                    await settled.wait()
        finally:
            waiters.remove(changed)
            if not waiters:
                self.directory.waiters.pop(id, None)

    async def _outcome_now(self, id: str, ended: Instance | None) -> shapes.Outcome | None:
        """How the instance ended or failed; None while it may go on by itself. One that has just
        `ended` may have left memory, and is not read back."""
        held = ended or self._held(id)
        if held is not None:
            p = held.kernel.progress
            if p.end is None:
                return None
            return shapes.Outcome(id, p.end, p.outcome, _result(p), None)
        row = await self._find(id)
        if row.status not in _SETTLED and row.error_code is None:
            return None
        shown = views.instance_shape(row)
        result = _result(await self._progress(row.n))
        return shapes.Outcome(row.id, shown.status, shown.outcome, result, shown.error)

    @contextmanager
    def _deadline(
        self, limit_s: float | None, id: str, woken: asyncio.Event
    ) -> Iterator[Callable[[], None]]:
        """Wakes a waiter when its time is over or the engine ends; gives what then raises."""
        over = False

        def wake() -> None:
            nonlocal over
            over = True
            woken.set()

        def check() -> None:
            if self.state != "open" or self.journal.state == "died":
                raise self.gone()
            if over:
                raise Timeout(f"{id} has not ended within {limit_s:g} s", instance=id)

        booking = None
        if limit_s is not None:
            booking = self.clock.call_later(round(limit_s * 1000), wake)
        self.at_end[woken.set] = None
        try:
            yield check
        finally:
            del self.at_end[woken.set]
            if booking is not None:
                booking.cancel()

    def _held(self, ref: str) -> Instance | None:
        """The instance with this id, if it is in memory as it is on disk and has not failed: then
        nothing needs to be read to know how it stands."""
        n = self.directory.ids.get(ref)
        found = self.directory.active.get(n) if n is not None else None
        if found is None or found.unstored or found.kernel.progress.failure is not None:
            return None
        return found

    # -- looking -------------------------------------------------------------------------------

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
        loaded: list[Loaded] = await self.journal.call(Load((n,)))
        found = loaded[0]
        progress = decode_progress(found.snapshot) if found.snapshot is not None else None
        return fold(
            [decode_entry(row) for row in found.rows], [row.epoch for row in found.rows], progress
        )

    async def get(self, instance: str) -> shapes.Instance:
        """One instance with its state."""
        row = await self._find(instance)
        p = await self._progress(row.n)
        return views.instance_shape(row, views.shown_state(p), _result(p))

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Instance]:
        """Instances that a filter lets through, newest first."""
        now = self.clock.now()
        terms = terms_of(parse_filter(q), now)
        if self.namespace and not any(term[0] == "namespace" for term in terms):
            terms.append(("namespace", ":", self.namespace, False))
        place = _cursor(cursor)
        limit = max(1, min(limit, 1_000))
        rows: list[InstanceRow] = []
        total: int | None = None
        while True:  # a hop looks at a bounded number of rows
            page: Listed = await self.journal.call(
                ListInstances(terms, limit - len(rows), place, now, total is None)
            )
            rows += page.rows
            total = page.total if page.total is not None else total
            place = page.cursor
            if place is None or len(rows) >= limit:
                break
        return shapes.Page(
            [views.instance_shape(row) for row in rows],
            None if place is None else f"{place[0]}.{place[1]}",
            total,
        )

    async def history(
        self, instance: str, *, after: int = 0, limit: int = 200, path: str | None = None
    ) -> shapes.Page[shapes.Entry]:
        """What happened, in order. One stored turn unfolds into several lines with one `seq`; `path`
        gives only the changes of one value of the state."""
        row = await self._find(instance)
        limit = max(1, min(limit, 1_000))
        rows = await self.journal.call(ReadRows(row.n, after, limit))
        items: list[shapes.Entry] = []
        for stored in rows:
            items += views.entry_shapes(stored.iseq, stored.seq, stored.at, decode_entry(stored))
        if path is not None:
            items = reasons.changes_of(items, path)
        else:
            items = await reasons.with_senders(self, items)
        cursor = str(rows[-1].iseq) if len(rows) >= limit else None
        return shapes.Page(items, cursor)

    async def state_at(self, instance: str, *, seq: int) -> shapes.StateAt:
        """The state after line `seq` of the history."""
        row = await self._find(instance)
        if seq < 1:
            raise InvalidRequest(f"seq counts from 1, got {seq}")
        p = Progress()
        after = 0
        while after < seq:
            rows = await self.journal.call(ReadRows(row.n, after, min(1_000, seq - after)))
            if not rows:
                break
            fold([decode_entry(r) for r in rows], [r.epoch for r in rows], p)
            after = rows[-1].iseq
        if after == 0:
            raise NotFound(f"{row.id} has no entry {seq}", instance=row.id)
        return shapes.StateAt(after, views.shown_state(p))

    async def check_replay(self, q: str = "", *, limit: int | None = None) -> shapes.Replayed:
        """Replays the stored histories of the instances a filter lets through on the code that is
        loaded, and gives the first difference of each. Nothing is run or written."""
        return await replays.check_replay(self, q, limit)

    async def diff(self, a: str, b: str) -> shapes.InstanceDiff:
        """Two instances side by side: the path each took, input and state where they differ."""
        return await compare.diff(self, a, b)

    async def why(self, instance: str) -> shapes.Why:
        """Why the instance is where it is, who may act, and what happens next."""
        row = await self._find(instance)
        return await reasons.why(self, row, await self._progress(row.n))

    async def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> AsyncIterator[shapes.Entry]:
        """The lines of one instance as they are stored, those after `after` first; ends with it."""
        if instance is None:
            async for entry in reasons.watch_all(self, q):
                yield entry
            return
        row = await self._find(instance)
        poked = asyncio.Event()
        poked.set()

        def stored(changed: Instance, append: Append, result: Appended) -> None:
            if changed.n == row.n:
                poked.set()

        self.directory.watchers.append(stored)
        self.at_end[poked.set] = None
        try:
            while True:
                await poked.wait()
                poked.clear()
                while rows := await self.journal.call(ReadRows(row.n, after, 200)):
                    for line in rows:
                        after = line.iseq
                        happened = decode_entry(line)
                        for shape in views.entry_shapes(line.iseq, line.seq, line.at, happened):
                            yield shape
                if (await self._find(row.id)).status in ("completed", "cancelled"):
                    return
        finally:
            self.directory.watchers.remove(stored)
            del self.at_end[poked.set]

    async def tail(
        self, *, type: str | None = None, after: int | None = None
    ) -> AsyncIterator[shapes.StoredEvent]:
        """Events as they are accepted, those after the place `after` first."""
        if after is None:
            counts: CountsRow = await self.journal.call(Counts())
            after = counts.head
        poked = asyncio.Event()
        poked.set()
        self._event_watchers.append(poked.set)
        try:
            while True:
                await poked.wait()
                poked.clear()
                while True:
                    rows: list[StoredEventRow] = await self.journal.call(
                        ListEvents(type, after, None, 200, self.namespace)
                    )
                    for row in rows:
                        after = row.pos
                        yield views.event_shape(row)
                    if len(rows) < 200:
                        break
        finally:
            self._event_watchers.remove(poked.set)

    async def info(self) -> shapes.Info:
        """Version, place and counts."""
        counts: CountsRow = await self.journal.call(Counts())
        assert self.opened is not None
        return shapes.Info(
            version=VERSION,
            pid=os.getpid(),
            data=str(self.target or os.environ.get("GREENROOM_DATA") or DIRECTORY_DEFAULT),
            epoch=self.opened.epoch,
            started=rfc3339(self.started_at),
            instances=dict(counts.instances),
            durability="read_only" if self.journal.read_only else self.opened.durability,
            definitions=len(self.registry.names()),
            asks=counts.asks,
            timers=counts.timers,
            head=counts.head,
            python=platform.python_version(),
            sqlite=sqlite3.sqlite_version,
        )

    async def doctor(self, deep: bool = False) -> Sequence[shapes.Finding]:
        """Checks the store and looks for instances from which nothing leads on; deep: reads everything,
        and compares each instance with its entries."""
        findings = await checks.audit(self.journal, deep=deep)
        if deep:
            findings += await checks.instances(self.journal, self.directory.next_n)
        findings.append(await checks.orphans(self.journal))
        return [shapes.Finding(f.level, f.check, f.text, dict(f.details)) for f in findings]

    async def prune(self, older_than: str | float, *, dry_run: bool = False) -> shapes.Pruned:
        """Deletes instances that ended longer than `older_than` ago, with their history, and events
        nobody owes anything to; ids of events and requests stay known for a week."""
        self._check_open(runs=False)
        age_ms = round(seconds(older_than, "older_than") * 1000)
        work = retention.prunable if dry_run else retention.prune
        return await work(self.journal, self.clock.now(), age_ms)

    async def backup(self, path: str) -> dict[str, Json]:
        """Copies the store to a new file while it runs."""
        from greenroom.runtime.backup import backup  # noqa: PLC0415  rare

        size = await backup(self.journal, Path(path))
        return {"path": str(path), "bytes": size}

    def asgi(self, **rules: Any) -> Any:
        """The engine's HTTP face as an ASGI application, to be mounted in one of yours under any
        prefix: `app.mount("/greenroom", engine.asgi())`. Needs the extra `web`.

        Everybody needs an API key, unless `identify=` says who a request is of (a function of the
        request that gives a name, a `Caller`, or None), or `open=True` lets everybody in who
        reaches it. `hosts=("name",)` are the names it is known by, by default any: that is for your
        application to check. `pages=[...]` adds pages.
        """
        from greenroom.runtime.web.mount import mounted  # noqa: PLC0415  it needs an extra

        return mounted(self, rules)

    # -- facades -------------------------------------------------------------------------------

    async def dispatch(self, job: Workflow | Task) -> InstanceHandle:
        """Starts an instance of a workflow class from an object of it; of a task, an instance that
        runs it alone."""
        self._know_task(job)
        key = workflow_key(job) if isinstance(job, Workflow) else None
        version = None
        if isinstance(job, Workflow):  # `Flow_v1(...)` is version 1, whatever is released
            version = named_version(type(job).__name__)[1]
        return await self.start(
            type(job), workflow_input(job), key=key, version=version, namespace=ENVIRONMENT.get()
        )

    async def schedule(self, job: Workflow | Task, rule: str) -> ScheduleHandle:
        """Starts an instance like `job` at each time of a rule; one more call changes nothing."""
        if not isinstance(rule, str) or not rule.strip():
            raise InvalidInput(f"a schedule is a cron expression or a rate, got {rule!r}")
        spec: Json = rule
        if len(rule.split()) == 6:  # as Zenaton takes them, where seconds stand in front
            spec = {"cron": rule, "seconds": "first"}
        self._know_task(job)
        name = self.registry.current(type(job)).name
        key = workflow_key(job) if isinstance(job, Workflow) else None
        start = {"input": workflow_input(job), "key": key, "namespace": ENVIRONMENT.get()}
        return ScheduleHandle(self, await self.schedules.make(name, spec, start))

    def _know_task(self, job: Workflow | Task) -> None:
        if isinstance(job, Task) and type(job).__name__ not in self.registry.names():
            self.register(type(job))

    def where_id(self, workflow: str, key: str) -> Finder:
        return Finder(self, workflow, key, ENVIRONMENT.get())


_SETTLED: Final = frozenset({"completed", "cancelled", "failed"})


def loaded(workflows: Sequence[object]) -> list[object]:
    """Workflows and connectors as objects: a path or module name stands for all it holds."""
    found: list[object] = []
    for workflow in workflows:
        found += load(str(workflow)) if isinstance(workflow, str | Path) else [workflow]
    return found


def _result(p: Progress) -> Json:
    return result_of(p) if p.end == "completed" else None


def _verb_reply(instance: Instance) -> shapes.Verb:
    p = instance.kernel.progress
    pending = "pause" if p.paused and instance.calls_open() else None
    return shapes.Verb(instance.id, status_of(p), pending)  # type: ignore[arg-type]


def _accepted(id: str, posted: Posted, refused: list[Refused]) -> shapes.Accepted:
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


def _said(message: Any) -> Json:
    """What makes a request the same one, through whatever face it comes."""
    if isinstance(message, Migrate):
        return {"version": message.definition.version, "reason": message.reason}
    data: Json = msgspec.to_builtins(msgspec.structs.replace(message, by=None))
    return data


def _check_request_id(id: object) -> None:
    if not isinstance(id, str) or not id or len(id) > NAME_MAX:
        raise InvalidRequest(f"request_id must be text of 1 to {NAME_MAX} characters")


def _hash(value: Json) -> int:
    digest = hashlib.blake2b(canonical(value), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        updated, n = text.split(".")
        return int(updated), int(n)
    except ValueError:
        raise InvalidRequest(f"{text!r} is not a cursor of this list") from None


def _uuid7() -> str:
    import uuid_utils  # noqa: PLC0415  start-up time

    return str(uuid_utils.uuid7())


def _nothing(result: Any) -> None:
    return None
