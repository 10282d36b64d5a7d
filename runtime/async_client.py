"""The asyncio client of the socket, with the verbs of the engine.

One connection serves any number of tasks at once. Lines written in one turn of the loop go out
together, so events posted by many tasks, or by `post_many`, join the same commits.
"""

from __future__ import annotations

import asyncio
import builtins
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from msgspec import UNSET

from greenroom.definitions.errors import GreenroomError, from_data
from greenroom.definitions.events import Event
from greenroom.definitions.values import Json
from greenroom.runtime import shapes
from greenroom.runtime.places import check_socket_path, is_http, socket_path
from greenroom.runtime.replies import (
    WINDOW,
    Reply,
    Watching,
    absolute,
    closed,
    event_data,
    event_line,
    given,
    read_accepted,
    read_notice,
    read_reply,
    request_line,
    unreachable,
    value_of,
)

T = TypeVar("T")
Duration = str | int | float | None
Findings = list[shapes.Finding]
_Posted = shapes.Accepted | GreenroomError

_NOTICES_MAX: Final = 1_000
"""Items of a stream read ahead of their reader."""


class _Link(asyncio.Protocol):
    """One connection: requests matched by id, replies to events by their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.posts: deque[asyncio.Future[_Posted]] = deque()
        self.requests: dict[int, asyncio.Future[Reply]] = {}
        self.notices: deque[Reply] = deque()
        self.arrived = asyncio.Event()
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._out: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()
        self._reading = True
        self._last_word: dict[str, Json] | None = None

    @classmethod
    async def open(cls, path: Path) -> _Link:
        check_socket_path(path)
        loop = asyncio.get_running_loop()
        try:
            _, link = await loop.create_unix_connection(lambda: cls(path), os.fspath(path))
        except OSError as error:
            raise unreachable(path, error) from None
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop derives from nothing

    def data_received(self, data: bytes) -> None:
        lines = (self._buffer + data).split(b"\n") if self._buffer else data.split(b"\n")
        self._buffer = lines.pop()
        for line in lines:
            if line.startswith(b'{"jsonrpc"'):
                self._answer(read_reply(line))
            elif self.posts:
                self._posted(read_accepted(line))
            else:
                self._last_word = read_reply(line).error

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        waiting: list[asyncio.Future[Any]] = [*self.posts, *self.requests.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(self.why_lost())
                future.exception()  # its caller may be gone; then nobody needs to hear of it
        self.posts.clear()
        self.requests.clear()
        self._room.set()
        self.arrived.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    async def room(self) -> None:
        """Waits until the daemon has taken enough of what was written."""
        await self._room.wait()

    def why_lost(self) -> GreenroomError:
        return from_data(self._last_word) if self._last_word else closed(self.path)

    def write(self, data: bytes) -> None:
        if self.lost:
            raise self.why_lost()
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def expect(self, request_id: int) -> asyncio.Future[Reply]:
        future = self.requests[request_id] = self._loop.create_future()
        return future

    def expect_post(self) -> asyncio.Future[_Posted]:
        future: asyncio.Future[_Posted] = self._loop.create_future()
        self.posts.append(future)
        return future

    def next_notice(self) -> Reply | None:
        """The next notification; clears `arrived` if there is none."""
        if self.notices:
            if not self._reading and self._transport is not None and len(self.notices) == 1:
                self._reading = True
                self._transport.resume_reading()
            return self.notices.popleft()
        if not self.lost:
            self.arrived.clear()
        return None

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self.lost:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _posted(self, reply: _Posted) -> None:
        future = self.posts.popleft()
        if not future.done():  # else its caller was cancelled
            future.set_result(reply)

    def _answer(self, reply: Reply) -> None:
        if reply.method is not None:
            self.notices.append(reply)
            self.arrived.set()
            if len(self.notices) >= _NOTICES_MAX and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()
            return
        future = self.requests.pop(reply.id, None)
        if future is not None and not future.done():
            future.set_result(reply)


class Client:
    """Talks to a daemon. Connects at the first call, and again after a lost connection.

    `server` is `unix:///path`, a path or `http://HOST:PORT`, else `GREENROOM_SERVER`, else the socket
    in the data directory. Over HTTP `key` is the API key, else `GREENROOM_KEY`. Raises `Unreachable`
    when no daemon answers there.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """`Client(app_id, api_token, app_env)` is Zenaton's: it names the environment to work in."""
        if len(args) == 3 or "app_env" in kwargs:
            from greenroom.definitions.engines import Environment  # noqa: PLC0415  start-up time

            return Environment(*args, **kwargs)
        server = args[0] if args else kwargs.get("server")
        if cls is Client and is_http(server, kwargs.get("data")):
            from greenroom.runtime.http_async import HttpClient  # noqa: PLC0415  it imports this

            return super().__new__(HttpClient)
        return super().__new__(cls)

    def __init__(
        self,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        self.path = socket_path(server, data)
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._request_id = 0
        self._add_groups()

    def _add_groups(self) -> None:
        self.definitions = Definitions(self)
        self.schedules = Schedules(self)
        self.events = Events(self)
        self.asks = Asks(self)
        self.resources = Resources(self)
        self.stages = Stages(self)
        self.keys = Keys(self)

    async def __aenter__(self) -> Self:
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Idempotent."""
        if self._link is not None:
            self._link.close()
            self._link = None
            await asyncio.sleep(0)

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Any method of the daemon's table by name; gives plain JSON."""
        return await self.ask(method, params)

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        """Any method; gives the named shape."""
        link = await self._connected()
        self._request_id += 1
        number = self._request_id
        link.write(request_line(number, method, params or {}))
        future = link.expect(number)
        try:
            reply = await future
        finally:
            link.requests.pop(number, None)
        return reply.value(shape)

    async def post(self, event: Event | Mapping[str, Any]) -> shapes.Accepted:
        """Posts one event; it is durable and routed when this returns."""
        link = await self._connected()
        await link.room()
        link.write(event_line(event))
        reply = await link.expect_post()
        if isinstance(reply, GreenroomError):
            raise reply
        return reply

    async def post_many(
        self,
        events: Iterable[Event | Mapping[str, Any]] | AsyncIterable[Event | Mapping[str, Any]],
        *,
        window: int = WINDOW,
    ) -> AsyncIterator[shapes.Accepted | GreenroomError]:
        """Posts without waiting for each reply, `window` at a time; gives the replies in order.
        A refused event gives its error as a value, so that the others are not lost."""
        link = await self._connected()
        replies: deque[asyncio.Future[_Posted]] = deque()
        async for event in _each(events):
            link.write(event_line(event))
            replies.append(link.expect_post())
            if len(replies) >= window:
                await link.room()
                yield await replies.popleft()
                while replies and replies[0].done():
                    yield replies.popleft().result()
        while replies:
            yield await replies.popleft()

    async def start(
        self,
        workflow: str,
        input: Json = None,
        *,
        key: str | None = None,
        version: int | str | None = None,
        namespace: str | None = None,
        delay: Duration = None,
        form: list[Json] | None = None,
        stage: str | None = None,
        test: bool | None = None,
        request_id: str | None = None,
    ) -> shapes.Started:
        params = given(
            workflow=workflow, input=input, key=key, version=version, namespace=namespace,
            delay=delay, form=form, stage=stage, test=test, request_id=request_id,
        )  # fmt: skip
        return await self.ask("start", params, shapes.Started)

    async def send(self, instance: str, event: Event | Mapping[str, Any]) -> shapes.Sent:
        params = {"instance": instance, "event": event_data(event)}
        return await self.ask("send", params, shapes.Sent)

    async def answer(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Answered:
        params = {"ask": ask, "data": data, **given(by=by)}
        return await self.ask("answer", params, shapes.Answered)

    async def progress(self, token: str, data: Json) -> shapes.Answered:
        return await self.ask("progress", {"token": token, "data": data}, shapes.Answered)

    async def pause(
        self, instance: str, *, reason: str | None = None, request_id: str | None = None
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, request_id=request_id)
        return await self.ask("pause", params, shapes.Verb)

    async def resume(
        self,
        instance: str,
        *,
        reason: str | None = None,
        run_again: bool | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, run_again=run_again, request_id=request_id)
        return await self.ask("resume", params, shapes.Verb)

    async def cancel(
        self,
        instance: str,
        *,
        reason: str | None = None,
        force: bool | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, force=force, request_id=request_id)
        return await self.ask("cancel", params, shapes.Verb)

    async def skip(
        self,
        instance: str,
        op: str,
        output: Json = None,
        *,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(
            instance=instance, op=op, output=output, reason=reason, request_id=request_id
        )
        return await self.ask("skip", params, shapes.Verb)

    async def edit(
        self,
        instance: str,
        set: Mapping[str, Json] | None = None,
        delete: Iterable[str] = (),
        *,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, request_id=request_id)
        params |= {"set": dict(set or {}), "delete": [*delete]}
        return await self.ask("edit", params, shapes.Verb)

    async def migrate(
        self,
        instance: str,
        to_version: int,
        *,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(
            instance=instance, to_version=to_version, reason=reason, request_id=request_id
        )
        return await self.ask("migrate", params, shapes.Verb)

    async def restart(
        self,
        instance: str,
        *,
        from_op: str | None = None,
        key: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> shapes.Forked:
        params = given(
            instance=instance, from_op=from_op, key=key, reason=reason, request_id=request_id
        )
        return await self.ask("restart", params, shapes.Forked)

    async def fork(
        self,
        instance: str,
        *,
        from_op: str | None = None,
        key: str | None = None,
        state: Json = UNSET,
        input: Json = UNSET,
        version: int | str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
    ) -> shapes.Forked:
        params = given(
            instance=instance, from_op=from_op, key=key, state=state, input=input,
            version=version, reason=reason, request_id=request_id,
        )  # fmt: skip
        return await self.ask("fork", params, shapes.Forked)

    async def result(
        self,
        instance: str,
        *,
        timeout: Duration = None,
    ) -> Json:
        """Waits for the end. Raises `InstanceFailed`, `InstanceCancelled` or `Timeout`."""
        return value_of(await self.outcome(instance, timeout=timeout))

    async def outcome(
        self,
        instance: str,
        *,
        timeout: Duration = None,
    ) -> shapes.Outcome:
        params = given(instance=instance, timeout=timeout)
        return await self.ask("result", params, shapes.Outcome)

    async def get(self, instance: str) -> shapes.Instance:
        return await self.ask("get", {"instance": instance}, shapes.Instance)

    async def diff(self, a: str, b: str) -> shapes.InstanceDiff:
        """Two instances side by side: the path each took, input and state where they differ."""
        return await self.ask("diff", {"a": a, "b": b}, shapes.InstanceDiff)

    async def why(self, instance: str) -> shapes.Why:
        return await self.ask("why", {"instance": instance}, shapes.Why)

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Instance]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self.ask("list", params, shapes.Page[shapes.Instance])

    async def history(
        self, instance: str, *, after: int = 0, limit: int = 200, path: str | None = None
    ) -> shapes.Page[shapes.Entry]:
        params = given(instance=instance, after=after, limit=limit, path=path)
        return await self.ask("history", params, shapes.Page[shapes.Entry])

    async def state_at(self, instance: str, *, seq: int) -> shapes.StateAt:
        return await self.ask("state", {"instance": instance, "seq": seq}, shapes.StateAt)

    def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> AsyncIterator[shapes.Entry]:
        """Entries as they become durable, on a connection of its own."""
        params = given(instance=instance, q=q or None, after=after)
        return self._stream("watch", params, shapes.Entry)

    def tail(
        self, *, type: str | None = None, after: int | None = None
    ) -> AsyncIterator[shapes.StoredEvent]:
        """Events as they are accepted, on a connection of its own."""
        return self._stream("tail", given(type=type, after=after), shapes.StoredEvent)

    async def ping(self) -> bool:
        answer: dict[str, bool] = await self.ask("ping")
        return answer["pong"]

    async def info(self) -> shapes.Info:
        return await self.ask("info", {}, shapes.Info)

    async def check_replay(self, q: str = "", *, limit: int | None = None) -> shapes.Replayed:
        """Replays stored histories on the code the daemon has loaded."""
        return await self.ask("replay", given(q=q, limit=limit), shapes.Replayed)

    async def doctor(self, deep: bool = False) -> Findings:
        return await self.ask("doctor", {"deep": deep}, Findings)

    async def prune(self, older_than: str | float, *, dry_run: bool = False) -> shapes.Pruned:
        params = {"older_s": older_than, "dry_run": dry_run}
        return await self.ask("prune", params, shapes.Pruned)

    async def backup(self, path: str | Path) -> dict[str, Any]:
        answer: dict[str, Any] = await self.ask("backup", {"path": absolute(path)})
        return answer

    async def _connected(self) -> _Link:
        if self._link is None or self._link.lost:
            async with self._connecting:
                if self._link is None or self._link.lost:
                    self._link = await _Link.open(self.path)
        return self._link

    async def _stream(
        self, method: str, params: Mapping[str, Any], shape: type[T]
    ) -> AsyncIterator[T]:
        link = await _Link.open(self.path)
        try:
            link.write(request_line(1, method, params))
            (await link.expect(1)).value(Watching)
            while True:
                reply = link.next_notice()
                if reply is not None:
                    item = read_notice(reply).item(shape)
                    if item is None:
                        return
                    yield item
                elif link.lost:
                    raise link.why_lost()
                else:
                    await link.arrived.wait()
        finally:
            link.close()


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


class _Group:
    """Verbs of one noun."""

    def __init__(self, client: Client) -> None:
        self._client = client


class Definitions(_Group):
    async def list(self) -> builtins.list[shapes.DefinitionInfo]:
        return await self._client.ask("definitions.list", {}, builtins.list[shapes.DefinitionInfo])

    async def get(self, name: str, version: int | str | None = None) -> shapes.DefinitionInfo:
        params = given(name=name, version=version)
        return await self._client.ask("definitions.get", params, shapes.DefinitionInfo)

    async def validate(self, document: Json, *, source: str | None = None) -> shapes.DefinitionInfo:
        params = {"document": document, **given(source=source)}
        return await self._client.ask("definitions.validate", params, shapes.DefinitionInfo)

    async def push(
        self,
        document: Json,
        *,
        promote: bool = False,
        draft: bool = False,
        source: str | None = None,
    ) -> shapes.DefinitionInfo:
        params = {"document": document, **given(promote=promote, draft=draft, source=source)}
        return await self._client.ask("definitions.push", params, shapes.DefinitionInfo)

    async def promote(
        self, name: str, version: int | None = None, *, check: bool = False, allow: float = 0.0
    ) -> shapes.DefinitionInfo:
        params = {**given(name=name, version=version), "check": check, "allow": allow}
        return await self._client.ask("definitions.promote", params, shapes.DefinitionInfo)

    async def check(
        self, name: str, version: int | None = None, *, limit: int = 200
    ) -> shapes.Checked:
        params = given(name=name, version=version, limit=limit)
        return await self._client.ask("definitions.check", params, shapes.Checked)

    async def rollback(self, name: str, version: int | None = None) -> shapes.DefinitionInfo:
        params = given(name=name, version=version)
        return await self._client.ask("definitions.rollback", params, shapes.DefinitionInfo)

    async def enable(self, name: str) -> shapes.DefinitionInfo:
        return await self._client.ask("definitions.enable", {"name": name}, shapes.DefinitionInfo)

    async def disable(self, name: str) -> shapes.DefinitionInfo:
        return await self._client.ask("definitions.disable", {"name": name}, shapes.DefinitionInfo)

    async def diff(self, name: str, a: int | None = None, b: int | None = None) -> shapes.Diff:
        return await self._client.ask("definitions.diff", given(name=name, a=a, b=b), shapes.Diff)

    async def delete(self, name: str, version: int | None = None) -> shapes.Deleted:
        params = given(name=name, version=version)
        return await self._client.ask("definitions.delete", params, shapes.Deleted)

    async def sync(self, *, dry_run: bool = False) -> builtins.list[shapes.Synced]:
        params = {"dry_run": dry_run}
        return await self._client.ask("definitions.sync", params, builtins.list[shapes.Synced])


class Schedules(_Group):
    async def list(self) -> builtins.list[shapes.ScheduleInfo]:
        return await self._client.ask("schedules.list", {}, builtins.list[shapes.ScheduleInfo])

    async def next(self, name: str, count: int = 10) -> builtins.list[str]:
        params = {"name": name, "count": count}
        return await self._client.ask("schedules.next", params, builtins.list[str])

    async def pause(self, name: str) -> Json:
        return await self._client.ask("schedules.pause", {"name": name})

    async def resume(self, name: str) -> Json:
        return await self._client.ask("schedules.resume", {"name": name})

    async def trigger(self, name: str) -> Json:
        return await self._client.ask("schedules.trigger", {"name": name})

    async def preview(
        self,
        name: str | None = None,
        *,
        rule: Json = None,
        count: int = 10,
        assume: Sequence[str] = (),
    ) -> builtins.list[shapes.PlannedTick]:
        params = given(name=name, rule=rule, count=count, assume=builtins.list(assume))
        ticks = builtins.list[shapes.PlannedTick]
        return await self._client.ask("schedules.preview", params, ticks)

    async def backfill(self, name: str, start: str, end: str | None = None) -> shapes.Backfilled:
        params = given(name=name, start=start, end=end)
        return await self._client.ask("schedules.backfill", params, shapes.Backfilled)


class Events(_Group):
    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.StoredEvent]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self._client.ask("events.list", params, shapes.Page[shapes.StoredEvent])

    async def get(self, id: str) -> shapes.StoredEvent:
        return await self._client.ask("events.get", {"id": id}, shapes.StoredEvent)

    async def explain(self, id: str, workflow: str | None = None) -> Json:
        return await self._client.ask("events.explain", given(id=id, workflow=workflow))

    async def resend(self, id: str) -> Json:
        return await self._client.ask("events.resend", {"id": id})

    async def try_(
        self,
        subscriptions: Sequence[dict[str, Json]],
        *,
        type: str | None = None,
        since: str | float | None = None,
        limit: int = 10_000,
    ) -> builtins.list[shapes.Tried]:
        params = given(
            subscriptions=builtins.list(subscriptions), type=type, since=since, limit=limit
        )
        return await self._client.ask("events.try", params, builtins.list[shapes.Tried])

    async def replay(
        self,
        into: str,
        *,
        type: str | None = None,
        since: str | float | None = None,
        limit: int = 10_000,
        dry_run: bool = False,
    ) -> shapes.ReplayedEvents:
        params = given(into=into, type=type, since=since, limit=limit, dry_run=dry_run)
        return await self._client.ask("events.replay", params, shapes.ReplayedEvents)

    async def dead(
        self, instance: str | None = None, *, limit: int = 100
    ) -> builtins.list[shapes.DeadLetter]:
        params = given(instance=instance, limit=limit)
        return await self._client.ask("events.dead", params, builtins.list[shapes.DeadLetter])

    async def held(
        self, workflow: str | None = None, *, limit: int = 100
    ) -> builtins.list[shapes.Held]:
        params = given(workflow=workflow, limit=limit)
        return await self._client.ask("events.held", params, builtins.list[shapes.Held])

    async def redrive(
        self, instance: str | None = None, *, pos: int | None = None, limit: int = 1_000
    ) -> shapes.Redriven:
        params = given(instance=instance, pos=pos, limit=limit)
        return await self._client.ask("events.redrive", params, shapes.Redriven)


class Asks(_Group):
    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Ask]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self._client.ask("asks.list", params, shapes.Page[shapes.Ask])

    async def get(self, id: str, *, by: str | None = None) -> shapes.Ask:
        return await self._client.ask("asks.get", {"id": id, **given(by=by)}, shapes.Ask)

    async def draft(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Ask:
        params = {"ask": ask, "data": data, **given(by=by)}
        return await self._client.ask("asks.draft", params, shapes.Ask)


class Resources(_Group):
    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Resource]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self._client.ask("resources.list", params, shapes.Page[shapes.Resource])

    async def get(self, id: str) -> shapes.Resource:
        return await self._client.ask("resources.get", {"id": id}, shapes.Resource)

    async def products(self) -> builtins.list[shapes.ProductType]:
        return await self._client.ask("resources.products", {}, builtins.list[shapes.ProductType])

    async def history(
        self, id: str, *, limit: int = 200, cursor: str | None = None
    ) -> shapes.Page[shapes.ResourceVersion]:
        params = given(id=id, limit=limit, cursor=cursor)
        kind = shapes.Page[shapes.ResourceVersion]
        return await self._client.ask("resources.history", params, kind)


class Stages(_Group):
    """Stage graphs; see `engine.stages`."""

    async def list(self) -> builtins.list[dict[str, Json]]:
        return await self._client.ask("stages.list", {}, builtins.list[dict[str, Json]])

    async def graph(self, workflow: str) -> dict[str, Json]:
        return await self._client.ask("stages.graph", {"workflow": workflow}, dict[str, Json])

    async def save(
        self, workflow: str, document: dict[str, Json], *, etag: str | None = None
    ) -> dict[str, Json]:
        params = given(workflow=workflow, document=document, etag=etag)
        return await self._client.ask("stages.save", params, dict[str, Json])

    async def open_file(self, workflow: str, stage: str) -> dict[str, Json]:
        params = {"workflow": workflow, "stage": stage}
        return await self._client.ask("stages.open", params, dict[str, Json])

    async def validate(self, what: str) -> dict[str, Json]:
        return await self._client.ask("stages.validate", {"what": what}, dict[str, Json])

    async def deploy(self, what: str) -> shapes.DefinitionInfo:
        return await self._client.ask("stages.deploy", {"what": what}, shapes.DefinitionInfo)

    async def board(
        self,
        workflow: str,
        columns: builtins.list[str] | None = None,
        filter: Json = None,
        *,
        q: str = "",
        limit: int = 50,
        cursor: dict[str, str] | None = None,
        test: bool = False,
    ) -> dict[str, Json]:
        params = given(
            workflow=workflow, columns=columns, filter=filter, q=q, limit=limit, cursor=cursor,
            test=test,
        )  # fmt: skip
        return await self._client.ask("stages.board", params, dict[str, Json])

    async def move(self, instance: str, stage: str) -> dict[str, Json]:
        params = {"instance": instance, "stage": stage}
        return await self._client.ask("stages.move", params, dict[str, Json])

    async def logs(
        self,
        workflow: str | None = None,
        *,
        stage: str | None = None,
        run: str | None = None,
        text: str | None = None,
        limit: int = 100,
        after: str | None = None,
        before: str | None = None,
        test: bool | None = None,
    ) -> dict[str, Json]:
        params = given(
            workflow=workflow, stage=stage, run=run, text=text, limit=limit, after=after,
            before=before, test=test,
        )  # fmt: skip
        return await self._client.ask("stages.logs", params, dict[str, Json])


class Keys(_Group):
    async def create(
        self, name: str, scopes: builtins.list[str], *, expires: Duration = None
    ) -> shapes.NewApiKey:
        params = given(name=name, scopes=scopes, expires=expires)
        return await self._client.ask("keys.create", params, shapes.NewApiKey)

    async def list(self) -> builtins.list[shapes.ApiKey]:
        return await self._client.ask("keys.list", {}, builtins.list[shapes.ApiKey])

    async def revoke(self, id: str) -> shapes.ApiKey:
        return await self._client.ask("keys.revoke", {"id": id}, shapes.ApiKey)
