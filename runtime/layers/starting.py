"""Starting and posting: how instances come to be, and how events reach them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from greenroom.actors.instance import Instance
from greenroom.actors.ports import (
    Create,
    Created,
    EventRow,
    InboxItem,
    InstanceRow,
    Post,
    Posted,
    Request,
)
from greenroom.actors.progress import status_of
from greenroom.actors.router import Refused
from greenroom.actors.rows import body_hash, rfc3339
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import (
    AlreadyRunning,
    GreenroomError,
    IdConflict,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    NotFound,
)
from greenroom.definitions.events import NAME_MAX, Event, check_event, check_posted, event_from
from greenroom.definitions.names import check_namespace
from greenroom.definitions.roots import wrapped
from greenroom.definitions.values import Json, canonical, encode_decode
from greenroom.definitions.workflow import Definition, key_text
from greenroom.runtime import shapes
from greenroom.runtime.connectors import ingestion
from greenroom.runtime.layers.answering import Answering
from greenroom.runtime.layers.core import accepted_shape
from greenroom.runtime.trials import TEST

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


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


class Starting(Answering):
    """How instances and events come in."""

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
        if namespace is not None:
            check_namespace(namespace)
        if request_id is not None:
            check_request_id(request_id)
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
            back = await self.stages.opened(definition, back, form, test)
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
        own = TEST if test else self.namespace
        return await self._create(
            definition,
            back,
            key=key,
            namespace=own if namespace is None else namespace,
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
            hash_ = hash_of(["start", definition.name, input, options["key"]])
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

        self.directory.submit(create, done)
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
            if namespace is not None:
                check_namespace(namespace)
            event = check_event(event) if isinstance(event, Event) else event_from(event)
            check_posted(event)
            if event.data is not None:
                encode_decode(event.data, "data")
        except GreenroomError as error:
            done(error)
            return
        id = event.id

        def finish(result: Posted | GreenroomError, refused: list[Refused]) -> None:
            done(accepted_shape(id, result, refused) if isinstance(result, Posted) else result)

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
    ) -> shapes.Ingested:
        """Takes in an event a service sent: `headers` and the raw `body` as they came.

        The signature its connector demands, the age, the type and the schema are checked before
        anything is posted; a second delivery of the same event is a duplicate. A body that came
        inside JSON may be `encoding="base64"`. Raises `SignatureInvalid` (401), `InvalidEvent`, `TooLarge`, `NotFound`.
        """
        self._check_open()
        return await ingestion.ingest(
            self.whole, connector, headers, body, encoding=encoding, namespace=namespace, by=by
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


def check_request_id(id: object) -> None:
    if not isinstance(id, str) or not id or len(id) > NAME_MAX:
        raise InvalidRequest(f"request_id must be text of 1 to {NAME_MAX} characters")


def hash_of(value: Json) -> int:
    digest = hashlib.blake2b(canonical(value), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
