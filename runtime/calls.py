"""The table of methods: what each takes, and the verb of the engine that carries it out.

Every face that hands over named JSON values (socket, HTTP) goes through this one table, so a
method, a default and a message are the same everywhere. Defaults live in the engine: only what
the caller gave is passed on.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import INT_MAX, INT_MIN, Json
from greenroom.runtime import shapes

_log = logging.getLogger(__name__)

Duration = str | int | float | None
Text = str | None | UnsetType


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """What a method takes. A field that is UNSET was not given."""

    def given(self) -> dict[str, Any]:
        """Everything that was given, by name."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not UNSET}


class Nothing(Params):
    pass


class Start(Params):
    workflow: str
    input: Json | UnsetType = UNSET
    key: Text = UNSET
    version: int | str | UnsetType | None = UNSET
    namespace: Text = UNSET
    delay: Duration | UnsetType = UNSET
    form: list[Json] | dict[str, Json] | UnsetType = UNSET
    stage: Text = UNSET
    test: bool | UnsetType = UNSET
    request_id: Text = UNSET


class Post(Params):
    event: dict[str, Json]
    namespace: Text = UNSET


class Send(Params):
    instance: str
    event: dict[str, Json]


class Answer(Params):
    ask: str
    data: Json
    by: str | UnsetType = UNSET


class Report(Params):
    token: str
    data: Json


class OneAsk(Params):
    id: str
    by: Text = UNSET


class Draft(Params):
    ask: str
    data: Json
    by: str | UnsetType = UNSET


class Change(Params):
    instance: str
    reason: Text = UNSET
    request_id: Text = UNSET


class Edit(Change):
    set: dict[str, Json] | UnsetType = UNSET
    delete: list[str] | UnsetType = UNSET


class Migrate(Params):
    instance: str
    to_version: int
    reason: Text = UNSET
    request_id: Text = UNSET


class TwoInstances(Params):
    a: str
    b: str


class Resume(Change):
    run_again: bool | UnsetType = UNSET


class Cancel(Change):
    force: bool | UnsetType = UNSET


class Many(Params):
    verb: str
    q: Text = UNSET
    instances: list[str] | UnsetType | None = UNSET
    like: Text = UNSET
    reason: Text = UNSET
    dry_run: bool | UnsetType = UNSET


class Skip(Params):
    instance: str
    op: str
    output: Json | UnsetType = UNSET
    reason: Text = UNSET
    request_id: Text = UNSET


class Restart(Change):
    from_op: Text = UNSET
    key: Text = UNSET


class Fork(Restart):
    state: Json | UnsetType = UNSET
    input: Json | UnsetType = UNSET
    version: int | str | UnsetType | None = UNSET


class Result(Params):
    instance: str
    timeout: Duration | UnsetType = UNSET


class OneInstance(Params):
    instance: str


class Listing(Params):
    q: str | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    cursor: Text = UNSET


class History(Params):
    instance: str
    after: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    path: Text = UNSET


class State(Params):
    instance: str
    seq: int


class Watch(Params):
    instance: Text = UNSET
    q: str | UnsetType = UNSET
    after: int | UnsetType = UNSET


class Tail(Params):
    type: Text = UNSET
    after: int | UnsetType | None = UNSET
    since: Duration | UnsetType = UNSET


class OneDefinition(Params):
    name: str
    version: int | UnsetType | None = UNSET


class Undoing(OneDefinition):
    dry_run: bool | UnsetType = UNSET


class Named(Params):
    name: str


class Document(Params):
    document: Json
    source: Text = UNSET


class Pushing(Document):
    promote: bool | UnsetType = UNSET
    draft: bool | UnsetType = UNSET
    grant: list[str] | UnsetType = UNSET


class Promoting(OneDefinition):
    check: bool | UnsetType = UNSET
    allow: float | UnsetType = UNSET
    grant: list[str] | UnsetType = UNSET


class Revoking(Params):
    name: str
    grants: list[str]


class Checking(OneDefinition):
    limit: int | UnsetType = UNSET


class Compared(Params):
    name: str
    a: int | UnsetType | None = UNSET
    b: int | UnsetType | None = UNSET


class Syncing(Params):
    dry_run: bool | UnsetType = UNSET


class OneSchedule(Params):
    name: str


class NextTimes(OneSchedule):
    count: int | UnsetType = UNSET


class Preview(Params):
    name: Text = UNSET
    rule: str | dict[str, Json] | UnsetType | None = UNSET
    count: int | UnsetType = UNSET
    assume: list[str] | UnsetType = UNSET


class Backfill(OneSchedule):
    start: str
    end: Text = UNSET
    dry_run: bool | UnsetType = UNSET


class ById(Params):
    id: str


class ResourceHistory(ById):
    limit: int | UnsetType = UNSET
    cursor: Text = UNSET


class Explain(ById):
    workflow: Text = UNSET


class Replay(Params):
    q: str | UnsetType = UNSET
    limit: int | UnsetType | None = UNSET


class Try(Params):
    subscriptions: list[dict[str, Json]]
    type: Text = UNSET
    since: Duration | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class ReplayEvents(Params):
    into: str
    type: Text = UNSET
    since: Duration | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET


class Dead(Params):
    instance: Text = UNSET
    limit: int | UnsetType = UNSET


class HeldBy(Params):
    workflow: Text = UNSET
    limit: int | UnsetType = UNSET


class Redriving(Dead):
    pos: int | UnsetType | None = UNSET


class Doctor(Params):
    deep: bool | UnsetType = UNSET


class Ingest(Params):
    connector: str
    headers: dict[str, str]
    body: str
    encoding: Text = UNSET
    namespace: Text = UNSET


class OneConnector(Params):
    connector: str


class ConnectorCall(OneConnector):
    action: str
    params: dict[str, Json] | UnsetType = UNSET


class SecretNamed(Params):
    name: Text = UNSET


class Prune(Params):
    older_s: Duration
    dry_run: bool | UnsetType = UNSET


class Backup(Params):
    path: str


class NewKey(Params):
    name: str
    scopes: list[str]
    expires: Duration | UnsetType = UNSET


class OneGraph(Params):
    workflow: str


class OneStage(OneGraph):
    stage: str


class SaveGraph(OneGraph):
    document: dict[str, Json]
    etag: Text = UNSET


class Folder(Params):
    what: str


class Board(OneGraph):
    columns: list[str] | UnsetType | None = UNSET
    filter: Json | UnsetType = UNSET
    q: str | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    cursor: dict[str, str] | UnsetType | None = UNSET
    test: bool | UnsetType = UNSET


class MoveRun(Params):
    instance: str
    stage: str


class Logs(Params):
    workflow: Text = UNSET
    stage: Text = UNSET
    run: Text = UNSET
    text: Text = UNSET
    limit: int | UnsetType = UNSET
    after: Text = UNSET
    before: Text = UNSET
    test: bool | UnsetType | None = UNSET


class Call(msgspec.Struct, frozen=True):
    """One method. `verb` is where the engine keeps it, `subject` the parameters it takes by
    place, `records_by` whether it notes who asked."""

    name: str
    params: type[Params]
    verb: str
    subject: tuple[str, ...] = ()
    records_by: bool = False

    def open(self, engine: Any, params: Params, by: str | None) -> Any:
        """What the engine's verb gives: an awaitable, or the iterator of a stream."""
        given = params.given()
        if self.records_by:
            said = given.get("by")  # a name somebody gives is noted, and who gave it
            if said and not (len(said) <= NAME_MAX and said.isprintable()):
                raise InvalidRequest(f"by is a name of at most {NAME_MAX} printable characters")
            given["by"] = f"{said} via {by}" if said and by else said or by
        target = engine
        for part in self.verb.split("."):
            target = getattr(target, part)
        places = [given.pop(name) for name in self.subject if name in given]
        return target(*places, **given)

    async def run(self, engine: Any, params: Params, by: str | None) -> Any:
        """Carries the method out and gives its shape."""
        reply = await self.open(engine, params, by)
        if self.name == "start":
            return shapes.Started(reply.id, reply.key, reply.status, reply.created)
        return reply


def _change(name: str, params: type[Params], *subject: str) -> Call:
    return Call(name, params, name, subject, records_by=True)


def _look(name: str, params: type[Params], *subject: str, verb: str | None = None) -> Call:
    return Call(name, params, verb or name, subject)


CALLS: Final[dict[str, Call]] = {
    call.name: call
    for call in (
        _change("start", Start, "workflow", "input"),
        _change("post", Post, "event"),
        _change("send", Send, "instance", "event"),
        _change("answer", Answer, "ask", "data"),
        _look("progress", Report, "token", "data"),
        _change("pause", Change, "instance"),
        _change("resume", Resume, "instance"),
        _change("cancel", Cancel, "instance"),
        _change("many", Many, "verb"),
        _change("skip", Skip, "instance", "op"),
        _change("edit", Edit, "instance"),
        _change("migrate", Migrate, "instance", "to_version"),
        _change("restart", Restart, "instance"),
        _change("fork", Fork, "instance"),
        _look("result", Result, "instance", verb="outcome"),
        _look("get", OneInstance, "instance"),
        _look("why", OneInstance, "instance"),
        _look("diff", TwoInstances, "a", "b"),
        _look("list", Listing),
        _look("history", History, "instance"),
        _look("state", State, "instance", verb="state_at"),
        _look("definitions.list", Nothing),
        _look("definitions.get", OneDefinition, "name"),
        _look("definitions.validate", Document, "document"),
        _look("definitions.diff", Compared, "name", "a", "b"),
        _change("definitions.push", Pushing, "document"),
        _change("definitions.promote", Promoting, "name"),
        _look("definitions.check", Checking, "name"),
        _change("definitions.rollback", Undoing, "name"),
        _change("definitions.revoke", Revoking, "name", "grants"),
        _change("definitions.enable", Named, "name"),
        _change("definitions.disable", Named, "name"),
        _change("definitions.delete", Undoing, "name"),
        _change("definitions.sync", Syncing),
        _look("schedules.list", Nothing),
        _look("schedules.next", NextTimes, "name"),
        _look("schedules.pause", OneSchedule, "name"),
        _look("schedules.resume", OneSchedule, "name"),
        _look("schedules.trigger", OneSchedule, "name"),
        _look("schedules.preview", Preview, "name"),
        _look("schedules.backfill", Backfill, "name"),
        _look("events.list", Listing),
        _look("events.get", ById, "id"),
        _look("events.explain", Explain, "id"),
        _look("events.resend", ById, "id"),
        _look("events.try", Try, "subscriptions", verb="events.try_"),
        _look("events.replay", ReplayEvents, "into"),
        _look("events.dead", Dead, "instance"),
        _look("events.held", HeldBy, "workflow"),
        _look("events.redrive", Redriving, "instance"),
        _look("asks.list", Listing),
        Call("asks.get", OneAsk, "asks.get", ("id",), records_by=True),
        _change("asks.draft", Draft, "ask", "data"),
        _look("resources.list", Listing),
        _look("resources.get", ById, "id"),
        _look("resources.products", Nothing),
        _look("resources.history", ResourceHistory, "id"),
        _change("ingest", Ingest, "connector", "headers", "body"),
        _look("connectors.list", Nothing),
        _look("connectors.get", OneConnector, "connector", verb="connectors.show"),
        _look("connectors.check", OneConnector, "connector"),
        _look("connectors.call", ConnectorCall, "connector", "action", "params"),
        _look("secrets.list", Nothing),
        _look("secrets.check", SecretNamed, "name"),
        _look("stages.list", Nothing),
        _look("stages.graph", OneGraph, "workflow"),
        _change("stages.save", SaveGraph, "workflow", "document"),
        _look("stages.open", OneStage, "workflow", "stage", verb="stages.open_file"),
        _look("stages.code", OneStage, "workflow", "stage"),
        _change("stages.validate", Folder, "what"),
        _change("stages.deploy", Folder, "what"),
        _look("stages.board", Board, "workflow"),
        _change("stages.move", MoveRun, "instance", "stage"),
        _look("stages.logs", Logs, "workflow"),
        _look("info", Nothing),
        _look("doctor", Doctor),
        _look("replay", Replay, verb="check_replay"),
        _change("backup", Backup, "path"),
        _look("prune", Prune, "older_s"),
        Call("keys.create", NewKey, "keys.create", ("name", "scopes"), records_by=True),
        _look("keys.list", Nothing),
        _look("keys.revoke", ById, "id"),
    )
}
"""Methods with one answer. `ping` needs no engine and is answered by `run`."""

STREAMS: Final[dict[str, Call]] = {
    "watch": _look("watch", Watch, "instance"),
    "tail": _look("tail", Tail),
}
"""Methods answered at once, then by notifications."""

NOTIFICATION: Final = {"watch": "entry", "tail": "event"}
"""What the notifications of a stream are called, and the key of their payload."""

METHODS: Final = frozenset(CALLS) | frozenset(STREAMS) | {"ping"}


async def run(engine: Any, method: str, params: dict[str, Json], by: str | None) -> Any:
    """Carries out one method. Raises only `GreenroomError`."""
    if method == "ping":
        read("ping", Nothing, params)
        return {"pong": True}
    call = CALLS.get(method)
    if call is None:
        raise unknown(method)
    values = read(method, call.params, params)
    try:
        return await call.run(engine, values, by)
    except GreenroomError:
        raise
    except Exception as error:
        raise unexpected(method, error) from error


def stream(
    engine: Any, method: str, params: dict[str, Json]
) -> AsyncIterator[shapes.Entry | shapes.StoredEvent]:
    """Opens a stream. Raises `GreenroomError` for parameters that are wrong."""
    call = STREAMS[method]
    iterator: AsyncIterator[Any] = call.open(engine, read(method, call.params, params), None)
    return iterator


def read(method: str, kind: type[Params], params: dict[str, Json]) -> Params:
    """The parameters as a struct. Raises `InvalidRequest` naming what is wrong and the mend."""
    for key, value in params.items():
        if type(value) is int and not INT_MIN <= value <= INT_MAX:
            raise InvalidRequest(f"{method}: {key[:80]} is beyond 64 bits", path=f"$.params.{key}")
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        names = kind.__struct_fields__
        for key in params:
            if key not in names:
                message = f'{method} takes no "{key}"{did_you_mean(key, names)}'
                raise InvalidRequest(message, path=f"$.params.{key}", takes=names) from None
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in params:
                message = f'{method} needs "{field.name}"'
                raise InvalidRequest(message, path=f"$.params.{field.name}", takes=names) from None
        reason, _, place = str(error).partition(" - at ")
        path = place.strip("`").replace("$", "$.params", 1) or "$.params"
        raise InvalidRequest(
            f"{method}: {reason[0].lower()}{reason[1:]} at {path}", path=path
        ) from None


def unknown(method: str) -> InvalidRequest:
    return InvalidRequest(
        f'unknown method "{method[:80]}"{did_you_mean(method, METHODS)}', path="$.method"
    )


def unexpected(method: str, error: Exception) -> GreenroomError:
    """A fault of ours as an error for the wire; its trace goes to the log, here and only here."""
    _log.error("%s failed unexpectedly", method, exc_info=error)
    return GreenroomError(f"internal error in {method}: {type(error).__name__}: {error}")
