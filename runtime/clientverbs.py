"""The verbs of a client: what each is called, takes and gives, once for both clients.

A verb is a coroutine that only asks (`Asker.ask`), so whoever carries it out decides how: the asyncio
client waits on its loop, the blocking one answers at once and needs no loop (`client.blocking`).
Nothing here imports asyncio: `greenroom send` starts, posts and ends in the time that would take.
"""

from __future__ import annotations

import base64
import builtins
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from msgspec import UNSET

from greenroom.definitions.events import Event
from greenroom.definitions.values import Json
from greenroom.runtime import shapes
from greenroom.runtime.replies import absolute, event_data, given, value_of

T = TypeVar("T")
Duration = str | int | float | None
Findings = list[shapes.Finding]


class Asker(ABC):
    """Who carries a method of the daemon's table out."""

    is_far: bool = False
    """Reached over the network: its files are not those of this machine."""

    @abstractmethod
    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        shape: type[T] = Any,  # type: ignore[assignment]
    ) -> T:
        """Any method; gives the named shape. Raises the error that came instead."""


class Verbs(Asker):
    """The verbs that are of no noun, those about instances first."""

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

    async def ingest(
        self,
        connector: str,
        headers: Mapping[str, str],
        body: bytes | str,
        *,
        namespace: str | None = None,
    ) -> shapes.Ingested:
        """Hands on an event a service sent: `headers` and the raw `body` as they came. The daemon
        checks the signature its connector demands before anything is posted."""
        params = given(connector=connector, headers=dict(headers), namespace=namespace)
        if isinstance(body, bytes):
            params |= {"body": base64.b64encode(body).decode(), "encoding": "base64"}
        else:
            params["body"] = body
        return await self.ask("ingest", params, shapes.Ingested)

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

    async def many(
        self,
        verb: str,
        *,
        q: str | None = None,
        instances: Sequence[str] | None = None,
        like: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> shapes.Many:
        params = given(
            verb=verb, q=q, instances=instances, like=like, reason=reason, dry_run=dry_run
        )
        return await self.ask("many", params, shapes.Many)

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
        place = str(path) if self.is_far else absolute(path)
        answer: dict[str, Any] = await self.ask("backup", {"path": place})
        return answer


class Group:
    """Verbs of one noun."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker


class Definitions(Group):
    async def list(self) -> builtins.list[shapes.DefinitionInfo]:
        return await self._asker.ask("definitions.list", {}, builtins.list[shapes.DefinitionInfo])

    async def get(self, name: str, version: int | str | None = None) -> shapes.DefinitionInfo:
        params = given(name=name, version=version)
        return await self._asker.ask("definitions.get", params, shapes.DefinitionInfo)

    async def validate(self, document: Json, *, source: str | None = None) -> shapes.DefinitionInfo:
        params = {"document": document, **given(source=source)}
        return await self._asker.ask("definitions.validate", params, shapes.DefinitionInfo)

    async def push(
        self,
        document: Json,
        *,
        promote: bool = False,
        draft: bool = False,
        grant: Sequence[str] = (),
        source: str | None = None,
    ) -> shapes.DefinitionInfo:
        options = given(
            promote=promote, draft=draft, grant=builtins.list(grant) or None, source=source
        )
        params = {"document": document, **options}
        return await self._asker.ask("definitions.push", params, shapes.DefinitionInfo)

    async def promote(
        self,
        name: str,
        version: int | None = None,
        *,
        check: bool = False,
        allow: float = 0.0,
        grant: Sequence[str] = (),
    ) -> shapes.DefinitionInfo:
        named = given(name=name, version=version, grant=builtins.list(grant) or None)
        params = {**named, "check": check, "allow": allow}
        return await self._asker.ask("definitions.promote", params, shapes.DefinitionInfo)

    async def revoke(self, name: str, grants: Sequence[str]) -> shapes.DefinitionInfo:
        params = {"name": name, "grants": builtins.list(grants)}
        return await self._asker.ask("definitions.revoke", params, shapes.DefinitionInfo)

    async def check(
        self, name: str, version: int | None = None, *, limit: int = 200
    ) -> shapes.Checked:
        params = given(name=name, version=version, limit=limit)
        return await self._asker.ask("definitions.check", params, shapes.Checked)

    async def rollback(
        self, name: str, version: int | None = None, *, dry_run: bool = False
    ) -> shapes.DefinitionInfo:
        params = given(name=name, version=version, dry_run=dry_run or None)
        return await self._asker.ask("definitions.rollback", params, shapes.DefinitionInfo)

    async def enable(self, name: str) -> shapes.DefinitionInfo:
        return await self._asker.ask("definitions.enable", {"name": name}, shapes.DefinitionInfo)

    async def disable(self, name: str) -> shapes.DefinitionInfo:
        return await self._asker.ask("definitions.disable", {"name": name}, shapes.DefinitionInfo)

    async def diff(self, name: str, a: int | None = None, b: int | None = None) -> shapes.Diff:
        return await self._asker.ask("definitions.diff", given(name=name, a=a, b=b), shapes.Diff)

    async def delete(
        self, name: str, version: int | None = None, *, dry_run: bool = False
    ) -> shapes.Deleted:
        params = given(name=name, version=version, dry_run=dry_run or None)
        return await self._asker.ask("definitions.delete", params, shapes.Deleted)

    async def sync(self, *, dry_run: bool = False) -> builtins.list[shapes.Synced]:
        params = {"dry_run": dry_run}
        return await self._asker.ask("definitions.sync", params, builtins.list[shapes.Synced])


class Schedules(Group):
    async def list(self) -> builtins.list[shapes.ScheduleInfo]:
        return await self._asker.ask("schedules.list", {}, builtins.list[shapes.ScheduleInfo])

    async def next(self, name: str, count: int = 10) -> builtins.list[str]:
        params = {"name": name, "count": count}
        return await self._asker.ask("schedules.next", params, builtins.list[str])

    async def pause(self, name: str) -> Json:
        return await self._asker.ask("schedules.pause", {"name": name})

    async def resume(self, name: str) -> Json:
        return await self._asker.ask("schedules.resume", {"name": name})

    async def trigger(self, name: str) -> Json:
        return await self._asker.ask("schedules.trigger", {"name": name})

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
        return await self._asker.ask("schedules.preview", params, ticks)

    async def backfill(
        self, name: str, start: str, end: str | None = None, *, dry_run: bool = False
    ) -> shapes.Backfilled:
        params = given(name=name, start=start, end=end, dry_run=dry_run or None)
        return await self._asker.ask("schedules.backfill", params, shapes.Backfilled)


class Events(Group):
    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.StoredEvent]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self._asker.ask("events.list", params, shapes.Page[shapes.StoredEvent])

    async def get(self, id: str) -> shapes.StoredEvent:
        return await self._asker.ask("events.get", {"id": id}, shapes.StoredEvent)

    async def explain(self, id: str, workflow: str | None = None) -> Json:
        return await self._asker.ask("events.explain", given(id=id, workflow=workflow))

    async def resend(self, id: str) -> Json:
        return await self._asker.ask("events.resend", {"id": id})

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
        return await self._asker.ask("events.try", params, builtins.list[shapes.Tried])

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
        return await self._asker.ask("events.replay", params, shapes.ReplayedEvents)

    async def dead(
        self, instance: str | None = None, *, limit: int = 100
    ) -> builtins.list[shapes.DeadLetter]:
        params = given(instance=instance, limit=limit)
        return await self._asker.ask("events.dead", params, builtins.list[shapes.DeadLetter])

    async def held(
        self, workflow: str | None = None, *, limit: int = 100
    ) -> builtins.list[shapes.Held]:
        params = given(workflow=workflow, limit=limit)
        return await self._asker.ask("events.held", params, builtins.list[shapes.Held])

    async def redrive(
        self, instance: str | None = None, *, pos: int | None = None, limit: int = 1_000
    ) -> shapes.Redriven:
        params = given(instance=instance, pos=pos, limit=limit)
        return await self._asker.ask("events.redrive", params, shapes.Redriven)


class Asks(Group):
    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Ask]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self._asker.ask("asks.list", params, shapes.Page[shapes.Ask])

    async def get(self, id: str, *, by: str | None = None) -> shapes.Ask:
        return await self._asker.ask("asks.get", {"id": id, **given(by=by)}, shapes.Ask)

    async def draft(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Ask:
        params = {"ask": ask, "data": data, **given(by=by)}
        return await self._asker.ask("asks.draft", params, shapes.Ask)


class Resources(Group):
    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Resource]:
        params = given(q=q, limit=limit, cursor=cursor)
        return await self._asker.ask("resources.list", params, shapes.Page[shapes.Resource])

    async def get(self, id: str) -> shapes.Resource:
        return await self._asker.ask("resources.get", {"id": id}, shapes.Resource)

    async def products(self) -> builtins.list[shapes.ProductType]:
        return await self._asker.ask("resources.products", {}, builtins.list[shapes.ProductType])

    async def history(
        self, id: str, *, limit: int = 200, cursor: str | None = None
    ) -> shapes.Page[shapes.ResourceVersion]:
        params = given(id=id, limit=limit, cursor=cursor)
        kind = shapes.Page[shapes.ResourceVersion]
        return await self._asker.ask("resources.history", params, kind)


class Stages(Group):
    """Stage graphs; see `engine.stages`."""

    async def list(self) -> builtins.list[dict[str, Json]]:
        return await self._asker.ask("stages.list", {}, builtins.list[dict[str, Json]])

    async def graph(self, workflow: str) -> dict[str, Json]:
        return await self._asker.ask("stages.graph", {"workflow": workflow}, dict[str, Json])

    async def save(
        self, workflow: str, document: dict[str, Json], *, etag: str | None = None
    ) -> dict[str, Json]:
        params = given(workflow=workflow, document=document, etag=etag)
        return await self._asker.ask("stages.save", params, dict[str, Json])

    async def open_file(self, workflow: str, stage: str) -> dict[str, Json]:
        params = {"workflow": workflow, "stage": stage}
        return await self._asker.ask("stages.open", params, dict[str, Json])

    async def code(self, workflow: str, stage: str) -> dict[str, Json]:
        params = {"workflow": workflow, "stage": stage}
        return await self._asker.ask("stages.code", params, dict[str, Json])

    async def validate(self, what: str) -> dict[str, Json]:
        return await self._asker.ask("stages.validate", {"what": what}, dict[str, Json])

    async def deploy(self, what: str) -> shapes.DefinitionInfo:
        return await self._asker.ask("stages.deploy", {"what": what}, shapes.DefinitionInfo)

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
        return await self._asker.ask("stages.board", params, dict[str, Json])

    async def move(self, instance: str, stage: str) -> dict[str, Json]:
        params = {"instance": instance, "stage": stage}
        return await self._asker.ask("stages.move", params, dict[str, Json])

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
        return await self._asker.ask("stages.logs", params, dict[str, Json])


class Keys(Group):
    async def create(
        self, name: str, scopes: builtins.list[str], *, expires: Duration = None
    ) -> shapes.NewApiKey:
        params = given(name=name, scopes=scopes, expires=expires)
        return await self._asker.ask("keys.create", params, shapes.NewApiKey)

    async def list(self) -> builtins.list[shapes.ApiKey]:
        return await self._asker.ask("keys.list", {}, builtins.list[shapes.ApiKey])

    async def revoke(self, id: str) -> shapes.ApiKey:
        return await self._asker.ask("keys.revoke", {"id": id}, shapes.ApiKey)


class Connectors(Group):
    """Services and what they can do."""

    async def list(self) -> builtins.list[dict[str, Json]]:
        shape = builtins.list[dict[str, Json]]
        return await self._asker.ask("connectors.list", {}, shape)

    async def show(self, connector: str) -> dict[str, Json]:
        params = {"connector": connector}
        return await self._asker.ask("connectors.get", params, dict[str, Json])

    async def check(self, connector: str) -> builtins.list[dict[str, Json]]:
        """The secrets it needs, and whether they are there."""
        params, shape = {"connector": connector}, builtins.list[dict[str, Json]]
        return await self._asker.ask("connectors.check", params, shape)

    async def call(
        self, connector: str, action: str, params: dict[str, Json] | None = None
    ) -> dict[str, Json]:
        """Carries an action out, here and now: `{response}`."""
        asked = given(connector=connector, action=action, params=params)
        return await self._asker.ask("connectors.call", asked, dict[str, Json])


class Secrets(Group):
    """Names and places, never values."""

    async def list(self) -> builtins.list[dict[str, Json]]:
        return await self._asker.ask("secrets.list", {}, builtins.list[dict[str, Json]])

    async def check(self, name: str | None = None) -> builtins.list[dict[str, Json]]:
        shape = builtins.list[dict[str, Json]]
        return await self._asker.ask("secrets.check", given(name=name), shape)
