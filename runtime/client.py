"""The blocking client of the socket, with the verbs of the engine.

It imports neither asyncio nor anything of the engine, so a command that posts one event costs
little more than Python itself. The async `Client` is in `async_client` and can be had from here.
"""

from __future__ import annotations

import builtins
import os
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from msgspec import UNSET

from greenroom.definitions.errors import GreenroomError
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

if TYPE_CHECKING:
    from greenroom.runtime.async_client import Client

__all__ = ["Client", "SyncClient"]

T = TypeVar("T")
Duration = str | int | float | None
Findings = list[shapes.Finding]

_READ_BYTES: Final = 1 << 16
_SEND_BYTES: Final = 1 << 16


def __getattr__(name: str) -> Any:
    if name == "Client":
        # asyncio alone takes three times as long to import as all of this
        from greenroom.runtime.async_client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Line:
    """One connection: whole lines out, whole lines in."""

    def __init__(self, path: Path) -> None:
        check_socket_path(path)
        self.path = path
        self._buffer = bytearray()
        self._searched = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(os.fspath(path))
        except OSError as error:
            self._socket.close()
            raise unreachable(path, error) from None

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            if not self._fill():  # it may have said why
                raise closed(self.path) from None

    def read(self) -> bytes:
        """The next line, however long it takes."""
        while (line := self.next()) is None:
            if not self._fill():
                raise closed(self.path)
        return line

    def next(self) -> bytes | None:
        """The next line if it is here."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def exchange(self, data: bytearray) -> None:
        """Sends some of `data` or receives, whichever is possible first. A peer that does not
        read while it writes would stop a daemon that does not write while it reads."""
        readable, writable, _ = select.select([self._socket], [self._socket] if data else [], [])
        if readable and not self._fill():
            raise closed(self.path)
        if writable:
            try:
                sent = self._socket.send(data[:_SEND_BYTES], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                raise closed(self.path) from None
            del data[:sent]

    def _fill(self) -> bool:
        try:
            data = self._socket.recv(_READ_BYTES)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)


class SyncClient:
    """Talks to a daemon; not for several threads at once. Connects at the first call, and again
    after a lost connection.

    `server` is `unix:///path`, a path or `http://HOST:PORT`, else `GREENROOM_SERVER`, else the socket
    in the data directory. Over HTTP `key` is the API key, else `GREENROOM_KEY`. Raises `Unreachable`
    when no daemon answers there.
    """

    def __new__(
        cls,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> Any:
        if cls is SyncClient and is_http(server, data):
            from greenroom.runtime.http_client import SyncHttpClient  # noqa: PLC0415  it imports this

            return super().__new__(SyncHttpClient)
        return super().__new__(cls)

    def __init__(
        self,
        server: str | Path | None = None,
        *,
        data: str | Path | None = None,
        key: str | None = None,
    ) -> None:
        self.path = socket_path(server, data)
        self._line: _Line | None = None
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

    def __enter__(self) -> Self:
        self._connected()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Any method of the daemon's table by name; gives plain JSON."""
        return self.ask(method, params)

    def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        """Any method; gives the named shape."""
        self._request_id += 1
        data = request_line(self._request_id, method, params or {})
        line = self._connected()
        try:
            line.send(data)
            reply = _reply_to(self._request_id, line)
        except BaseException:  # half an exchange: nothing after it would fit
            self.close()
            raise
        return reply.value(shape)

    def post(self, event: Event | Mapping[str, Any]) -> shapes.Accepted:
        """Posts one event; it is durable and routed when this returns."""
        data = event_line(event)
        line = self._connected()
        try:
            line.send(data)
            reply = read_accepted(line.read())
        except BaseException:
            self.close()
            raise
        if isinstance(reply, GreenroomError):
            raise reply
        return reply

    def post_many(
        self, events: Iterable[Event | Mapping[str, Any]], *, window: int = WINDOW
    ) -> Iterator[shapes.Accepted | GreenroomError]:
        """Posts without waiting for each reply, `window` at a time; gives the replies in order.
        A refused event gives its error as a value, so that the others are not lost."""
        line = self._connected()
        source = iter(events)
        in_flight = 0
        out = bytearray()
        done = False
        ready: deque[shapes.Accepted | GreenroomError] = deque()
        try:
            while True:
                while not done and in_flight < window and len(out) < _SEND_BYTES:
                    try:
                        out += event_line(next(source))
                        in_flight += 1
                    except StopIteration:
                        done = True
                while (raw := line.next()) is not None:
                    ready.append(read_accepted(raw))
                    in_flight -= 1
                while ready:
                    yield ready.popleft()
                if done and not in_flight:
                    return
                if out or in_flight >= window or done:
                    line.exchange(out)
        finally:
            if in_flight:
                self.close()

    def start(
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
        return self.ask("start", params, shapes.Started)

    def send(self, instance: str, event: Event | Mapping[str, Any]) -> shapes.Sent:
        params = {"instance": instance, "event": event_data(event)}
        return self.ask("send", params, shapes.Sent)

    def answer(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Answered:
        params = {"ask": ask, "data": data, **given(by=by)}
        return self.ask("answer", params, shapes.Answered)

    def progress(self, token: str, data: Json) -> shapes.Answered:
        return self.ask("progress", {"token": token, "data": data}, shapes.Answered)

    def pause(
        self, instance: str, *, reason: str | None = None, request_id: str | None = None
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, request_id=request_id)
        return self.ask("pause", params, shapes.Verb)

    def resume(
        self,
        instance: str,
        *,
        reason: str | None = None,
        run_again: bool | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, run_again=run_again, request_id=request_id)
        return self.ask("resume", params, shapes.Verb)

    def cancel(
        self,
        instance: str,
        *,
        reason: str | None = None,
        force: bool | None = None,
        request_id: str | None = None,
    ) -> shapes.Verb:
        params = given(instance=instance, reason=reason, force=force, request_id=request_id)
        return self.ask("cancel", params, shapes.Verb)

    def skip(
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
        return self.ask("skip", params, shapes.Verb)

    def edit(
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
        return self.ask("edit", params, shapes.Verb)

    def migrate(
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
        return self.ask("migrate", params, shapes.Verb)

    def restart(
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
        return self.ask("restart", params, shapes.Forked)

    def fork(
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
        return self.ask("fork", params, shapes.Forked)

    def result(self, instance: str, *, timeout: Duration = None) -> Json:
        """Waits for the end. Raises `InstanceFailed`, `InstanceCancelled` or `Timeout`."""
        return value_of(self.outcome(instance, timeout=timeout))

    def outcome(self, instance: str, *, timeout: Duration = None) -> shapes.Outcome:
        params = given(instance=instance, timeout=timeout)
        return self.ask("result", params, shapes.Outcome)

    def get(self, instance: str) -> shapes.Instance:
        return self.ask("get", {"instance": instance}, shapes.Instance)

    def diff(self, a: str, b: str) -> shapes.InstanceDiff:
        """Two instances side by side: the path each took, input and state where they differ."""
        return self.ask("diff", {"a": a, "b": b}, shapes.InstanceDiff)

    def why(self, instance: str) -> shapes.Why:
        return self.ask("why", {"instance": instance}, shapes.Why)

    def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Instance]:
        params = given(q=q, limit=limit, cursor=cursor)
        return self.ask("list", params, shapes.Page[shapes.Instance])

    def history(
        self, instance: str, *, after: int = 0, limit: int = 200, path: str | None = None
    ) -> shapes.Page[shapes.Entry]:
        params = given(instance=instance, after=after, limit=limit, path=path)
        return self.ask("history", params, shapes.Page[shapes.Entry])

    def state_at(self, instance: str, *, seq: int) -> shapes.StateAt:
        return self.ask("state", {"instance": instance, "seq": seq}, shapes.StateAt)

    def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> Iterator[shapes.Entry]:
        """Entries as they become durable, on a connection of its own."""
        params = given(instance=instance, q=q or None, after=after)
        return self._stream("watch", params, shapes.Entry)

    def tail(
        self, *, type: str | None = None, after: int | None = None
    ) -> Iterator[shapes.StoredEvent]:
        """Events as they are accepted, on a connection of its own."""
        return self._stream("tail", given(type=type, after=after), shapes.StoredEvent)

    def ping(self) -> bool:
        answer: dict[str, bool] = self.ask("ping")
        return answer["pong"]

    def info(self) -> shapes.Info:
        return self.ask("info", {}, shapes.Info)

    def check_replay(self, q: str = "", *, limit: int | None = None) -> shapes.Replayed:
        """Replays stored histories on the code the daemon has loaded."""
        return self.ask("replay", given(q=q, limit=limit), shapes.Replayed)

    def doctor(self, deep: bool = False) -> Findings:
        return self.ask("doctor", {"deep": deep}, Findings)

    def prune(self, older_than: str | float, *, dry_run: bool = False) -> shapes.Pruned:
        return self.ask("prune", {"older_s": older_than, "dry_run": dry_run}, shapes.Pruned)

    def backup(self, path: str | Path) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("backup", {"path": absolute(path)})
        return answer

    def _connected(self) -> _Line:
        if self._line is None:
            self._line = _Line(self.path)
        return self._line

    def _stream(self, method: str, params: Mapping[str, Any], shape: type[T]) -> Iterator[T]:
        line = _Line(self.path)
        try:
            line.send(request_line(1, method, params))
            _reply_to(1, line).value(Watching)
            while True:
                reply = read_reply(line.read())
                if reply.method is not None:
                    item = read_notice(reply).item(shape)
                    if item is None:
                        return
                    yield item
        finally:
            line.close()


def _reply_to(request_id: int, line: _Line) -> Reply:
    while True:
        reply = read_reply(line.read())
        if reply.method is None and (reply.id == request_id or reply.id is None):
            return reply


class _Group:
    """Verbs of one noun."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client


class Definitions(_Group):
    def list(self) -> builtins.list[shapes.DefinitionInfo]:
        return self._client.ask("definitions.list", {}, builtins.list[shapes.DefinitionInfo])

    def get(self, name: str, version: int | str | None = None) -> shapes.DefinitionInfo:
        params = given(name=name, version=version)
        return self._client.ask("definitions.get", params, shapes.DefinitionInfo)

    def validate(self, document: Json, *, source: str | None = None) -> shapes.DefinitionInfo:
        params = {"document": document, **given(source=source)}
        return self._client.ask("definitions.validate", params, shapes.DefinitionInfo)

    def push(
        self,
        document: Json,
        *,
        promote: bool = False,
        draft: bool = False,
        source: str | None = None,
    ) -> shapes.DefinitionInfo:
        params = {"document": document, **given(promote=promote, draft=draft, source=source)}
        return self._client.ask("definitions.push", params, shapes.DefinitionInfo)

    def promote(
        self, name: str, version: int | None = None, *, check: bool = False, allow: float = 0.0
    ) -> shapes.DefinitionInfo:
        params = {**given(name=name, version=version), "check": check, "allow": allow}
        return self._client.ask("definitions.promote", params, shapes.DefinitionInfo)

    def check(self, name: str, version: int | None = None, *, limit: int = 200) -> shapes.Checked:
        params = given(name=name, version=version, limit=limit)
        return self._client.ask("definitions.check", params, shapes.Checked)

    def rollback(self, name: str, version: int | None = None) -> shapes.DefinitionInfo:
        params = given(name=name, version=version)
        return self._client.ask("definitions.rollback", params, shapes.DefinitionInfo)

    def enable(self, name: str) -> shapes.DefinitionInfo:
        return self._client.ask("definitions.enable", {"name": name}, shapes.DefinitionInfo)

    def disable(self, name: str) -> shapes.DefinitionInfo:
        return self._client.ask("definitions.disable", {"name": name}, shapes.DefinitionInfo)

    def diff(self, name: str, a: int | None = None, b: int | None = None) -> shapes.Diff:
        return self._client.ask("definitions.diff", given(name=name, a=a, b=b), shapes.Diff)

    def delete(self, name: str, version: int | None = None) -> shapes.Deleted:
        params = given(name=name, version=version)
        return self._client.ask("definitions.delete", params, shapes.Deleted)

    def sync(self, *, dry_run: bool = False) -> builtins.list[shapes.Synced]:
        params = {"dry_run": dry_run}
        return self._client.ask("definitions.sync", params, builtins.list[shapes.Synced])


class Schedules(_Group):
    def list(self) -> builtins.list[shapes.ScheduleInfo]:
        return self._client.ask("schedules.list", {}, builtins.list[shapes.ScheduleInfo])

    def next(self, name: str, count: int = 10) -> builtins.list[str]:
        params = {"name": name, "count": count}
        return self._client.ask("schedules.next", params, builtins.list[str])

    def pause(self, name: str) -> Json:
        return self._client.ask("schedules.pause", {"name": name})

    def resume(self, name: str) -> Json:
        return self._client.ask("schedules.resume", {"name": name})

    def trigger(self, name: str) -> Json:
        return self._client.ask("schedules.trigger", {"name": name})

    def preview(
        self,
        name: str | None = None,
        *,
        rule: Json = None,
        count: int = 10,
        assume: Sequence[str] = (),
    ) -> builtins.list[shapes.PlannedTick]:
        params = given(name=name, rule=rule, count=count, assume=builtins.list(assume))
        return self._client.ask("schedules.preview", params, builtins.list[shapes.PlannedTick])

    def backfill(self, name: str, start: str, end: str | None = None) -> shapes.Backfilled:
        params = given(name=name, start=start, end=end)
        return self._client.ask("schedules.backfill", params, shapes.Backfilled)


class Events(_Group):
    def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.StoredEvent]:
        params = given(q=q, limit=limit, cursor=cursor)
        return self._client.ask("events.list", params, shapes.Page[shapes.StoredEvent])

    def get(self, id: str) -> shapes.StoredEvent:
        return self._client.ask("events.get", {"id": id}, shapes.StoredEvent)

    def explain(self, id: str, workflow: str | None = None) -> Json:
        return self._client.ask("events.explain", given(id=id, workflow=workflow))

    def resend(self, id: str) -> Json:
        return self._client.ask("events.resend", {"id": id})

    def try_(
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
        return self._client.ask("events.try", params, builtins.list[shapes.Tried])

    def replay(
        self,
        into: str,
        *,
        type: str | None = None,
        since: str | float | None = None,
        limit: int = 10_000,
        dry_run: bool = False,
    ) -> shapes.ReplayedEvents:
        params = given(into=into, type=type, since=since, limit=limit, dry_run=dry_run)
        return self._client.ask("events.replay", params, shapes.ReplayedEvents)

    def dead(
        self, instance: str | None = None, *, limit: int = 100
    ) -> builtins.list[shapes.DeadLetter]:
        params = given(instance=instance, limit=limit)
        return self._client.ask("events.dead", params, builtins.list[shapes.DeadLetter])

    def held(self, workflow: str | None = None, *, limit: int = 100) -> builtins.list[shapes.Held]:
        params = given(workflow=workflow, limit=limit)
        return self._client.ask("events.held", params, builtins.list[shapes.Held])

    def redrive(
        self, instance: str | None = None, *, pos: int | None = None, limit: int = 1_000
    ) -> shapes.Redriven:
        params = given(instance=instance, pos=pos, limit=limit)
        return self._client.ask("events.redrive", params, shapes.Redriven)


class Asks(_Group):
    def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Ask]:
        params = given(q=q, limit=limit, cursor=cursor)
        return self._client.ask("asks.list", params, shapes.Page[shapes.Ask])

    def get(self, id: str, *, by: str | None = None) -> shapes.Ask:
        return self._client.ask("asks.get", {"id": id, **given(by=by)}, shapes.Ask)

    def draft(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Ask:
        params = {"ask": ask, "data": data, **given(by=by)}
        return self._client.ask("asks.draft", params, shapes.Ask)


class Resources(_Group):
    def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Resource]:
        params = given(q=q, limit=limit, cursor=cursor)
        return self._client.ask("resources.list", params, shapes.Page[shapes.Resource])

    def get(self, id: str) -> shapes.Resource:
        return self._client.ask("resources.get", {"id": id}, shapes.Resource)

    def products(self) -> builtins.list[shapes.ProductType]:
        return self._client.ask("resources.products", {}, builtins.list[shapes.ProductType])

    def history(
        self, id: str, *, limit: int = 200, cursor: str | None = None
    ) -> shapes.Page[shapes.ResourceVersion]:
        params = given(id=id, limit=limit, cursor=cursor)
        kind = shapes.Page[shapes.ResourceVersion]
        return self._client.ask("resources.history", params, kind)


class Stages(_Group):
    """Stage graphs; see `engine.stages`."""

    def list(self) -> builtins.list[dict[str, Json]]:
        return self._client.ask("stages.list", {}, builtins.list[dict[str, Json]])

    def graph(self, workflow: str) -> dict[str, Json]:
        return self._client.ask("stages.graph", {"workflow": workflow}, dict[str, Json])

    def save(
        self, workflow: str, document: dict[str, Json], *, etag: str | None = None
    ) -> dict[str, Json]:
        params = given(workflow=workflow, document=document, etag=etag)
        return self._client.ask("stages.save", params, dict[str, Json])

    def open_file(self, workflow: str, stage: str) -> dict[str, Json]:
        params = {"workflow": workflow, "stage": stage}
        return self._client.ask("stages.open", params, dict[str, Json])

    def validate(self, what: str) -> dict[str, Json]:
        return self._client.ask("stages.validate", {"what": what}, dict[str, Json])

    def deploy(self, what: str) -> shapes.DefinitionInfo:
        return self._client.ask("stages.deploy", {"what": what}, shapes.DefinitionInfo)

    def board(
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
        return self._client.ask("stages.board", params, dict[str, Json])

    def move(self, instance: str, stage: str) -> dict[str, Json]:
        params = {"instance": instance, "stage": stage}
        return self._client.ask("stages.move", params, dict[str, Json])

    def logs(
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
        return self._client.ask("stages.logs", params, dict[str, Json])


class Keys(_Group):
    def create(
        self, name: str, scopes: builtins.list[str], *, expires: Duration = None
    ) -> shapes.NewApiKey:
        params = given(name=name, scopes=scopes, expires=expires)
        return self._client.ask("keys.create", params, shapes.NewApiKey)

    def list(self) -> builtins.list[shapes.ApiKey]:
        return self._client.ask("keys.list", {}, builtins.list[shapes.ApiKey])

    def revoke(self, id: str) -> shapes.ApiKey:
        return self._client.ask("keys.revoke", {"id": id}, shapes.ApiKey)
