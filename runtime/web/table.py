"""The table of routes: every HTTP request the engine answers, and who may ask it.

A route names a method of `calls.CALLS`; what it takes is that method's parameters: those named in
the path come from there, the others from the query (GET) or from the JSON object in the body. A
route with a `whole` takes the body itself as that one parameter. `{instance}` may span two segments,
so `/v1/instances/order/7` is the instance `order/7`; a `/` within a segment is written `%2F`.

The clients use the table backwards: `request_for` turns a method and its parameters into a request.
A method of `CALLS` that has no row here is served as `POST /v1/methods/NAME`, for `admin` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

from greenroom.runtime import calls, shapes
from greenroom.runtime.web.access import SCOPES

Kind = Literal["call", "bulk", "feed", "plain", "token"]


class Route(msgspec.Struct, frozen=True):
    """One row. `call` is the method it carries out, `scope` what the caller must hold, `subject`
    the parameter a scope may be limited to, `gives` the shape of the answer."""

    method: str
    path: str
    call: str
    scope: str
    gives: Any = Any
    whole: str | None = None
    status: int = 200
    subject: str | None = None
    kind: Kind = "call"
    about: str = ""

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path[1:].split("/"))

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in the path."""
        return tuple(part[1:-1] for part in self.segments if part.startswith("{"))

    @property
    def operation(self) -> str:
        """Its name in the OpenAPI document."""
        return self.call.replace(".", "_")

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The parameters of a path cut into decoded segments; None if it is another route's."""
        return _match(self.segments, segments)


def _match(pattern: Sequence[str], found: Sequence[str]) -> dict[str, str] | None:
    if not pattern:
        return None if found else {}
    if not found:
        return None
    head = pattern[0]
    if not head.startswith("{"):
        return _match(pattern[1:], found[1:]) if head == found[0] else None
    for width in (1, 2) if head == "{instance}" else (1,):
        value = "/".join(found[:width])
        if len(found) < width or not all(found[:width]):
            continue
        rest = _match(pattern[1:], found[width:])
        if rest is not None:
            return {head[1:-1]: value, **rest}
    return None


PUBLIC: Final = "public"
"""The scope of a route anybody may ask. What it does needs no permission, or it checks a signature
or token of its own."""

_I: Final = "/v1/instances/{instance}"
_GET, _POST, _PUT, _DELETE = "GET", "POST", "PUT", "DELETE"


def _verb(name: str, gives: Any, about: str) -> Route:
    return Route(_POST, f"{_I}/{name}", name, "control", gives, about=about)


ROWS: Final = (
    Route(_GET, "/healthz", "healthz", "public", dict[str, str], kind="plain",
          about="Whether the process answers."),
    Route(_GET, "/readyz", "readyz", "public", dict[str, str], kind="plain",
          about="Whether it takes work: 503 while it starts, stops or cannot store."),
    Route(_GET, "/metrics", "metrics", "read", str, kind="plain", about="Figures for Prometheus."),
    Route(_GET, "/openapi.json", "openapi", "public", dict[str, Any], kind="plain",
          about="This document."),
    Route(_POST, "/v1/events", "post", "publish", shapes.Accepted, whole="event", kind="bulk",
          about="Posts an event; an array or NDJSON posts many and gives one answer each."),
    Route(_GET, "/v1/events", "events.list", "read", shapes.Page[shapes.StoredEvent],
          about="Events, newest first."),
    Route(_GET, "/v1/events/feed", "tail", "read", kind="feed",
          about="Events as they are accepted (server-sent events)."),
    Route(_GET, "/v1/events/{id}", "events.get", "read", shapes.StoredEvent,
          about="One event."),
    Route(_GET, "/v1/events/{id}/explain", "events.explain", "read", shapes.Why,
          about="What an event did, and why it did nothing to the rest."),
    Route(_POST, "/v1/events/{id}/resend", "events.resend", "control", shapes.Accepted,
          about="Posts an event again under a new id."),
    Route(_POST, "/v1/events/try", "events.try", "read", list[shapes.Tried],
          about="What subscriptions would have done to stored events; nothing is started."),
    Route(_POST, "/v1/events/replay", "events.replay", "control", shapes.ReplayedEvents,
          about="Starts a workflow for stored events that have not started it yet."),
    Route(_GET, "/v1/events/dead", "events.dead", "read", list[shapes.DeadLetter],
          about="Deliveries that a full inbox refused."),
    Route(_GET, "/v1/events/held", "events.held", "read", list[shapes.Held],
          about="What triggers with debounce, throttle, batch, all_of or unless hold now."),
    Route(_POST, "/v1/events/redrive", "events.redrive", "control", shapes.Redriven,
          about="Delivers dead letters again."),
    Route(_POST, "/v1/workflows/{workflow}/instances", "start", "start", shapes.Started, status=201,
          subject="workflow", about="Starts an instance."),
    Route(_GET, "/v1/instances", "list", "read", shapes.Page[shapes.Instance],
          about="Instances a filter lets through, newest first, without their state."),
    Route(_GET, "/v1/feed", "watch", "read", kind="feed",
          about="Entries of all instances a filter lets through (server-sent events)."),
    Route(_GET, f"{_I}/history", "history", "read", shapes.Page[shapes.Entry],
          about="What happened, in order; NDJSON if that is accepted."),
    Route(_GET, f"{_I}/state", "state", "read", shapes.StateAt, about="The state as it was."),
    Route(_GET, f"{_I}/why", "why", "read", shapes.Why, about="Why it is where it is."),
    Route(_GET, f"{_I}/result", "result", "read", shapes.Outcome,
          about="How it ended; waits for it, at most `timeout`."),
    Route(_GET, f"{_I}/feed", "watch", "read", kind="feed",
          about="Entries of one instance (server-sent events)."),
    Route(_GET, _I, "get", "read", shapes.Instance, about="One instance with its state."),
    Route(_GET, "/v1/instances/{a}/diff/{b}", "diff", "read", shapes.InstanceDiff,
          about="What two instances have not in common."),
    Route(_POST, f"{_I}/send", "send", "control", shapes.Sent, whole="event",
          about="Sends an event to one instance."),
    _verb("pause", shapes.Verb, "Pauses: running steps finish, nothing new is started."),
    _verb("resume", shapes.Verb, "Goes on, or tries a failed step again."),
    _verb("cancel", shapes.Verb, "Cancels."),
    Route(_POST, "/v1/instances/many", "many", "control", shapes.Many,
          about="Pauses, resumes, retries or cancels all that a filter finds."),
    _verb("skip", shapes.Verb, "Takes a value as the result of an op."),
    _verb("edit", shapes.Verb, "Changes the state by hand."),
    _verb("migrate", shapes.Verb, "Lets it follow another version."),
    _verb("restart", shapes.Forked, "Runs again from an op, as a new instance."),
    _verb("fork", shapes.Forked, "Restarts with another state, input or version."),
    Route(_GET, "/v1/asks", "asks.list", "read", shapes.Page[shapes.Ask],
          about="Open questions."),
    Route(_GET, "/v1/asks/{id}", "asks.get", "read", shapes.Ask, about="One question."),
    Route(_POST, "/v1/asks/{ask}", "answer", "answer", shapes.Answered, whole="data",
          about="Answers a question: one page's object, or a list of pages."),
    Route(_GET, "/v1/resources", "resources.list", "read", shapes.Page[shapes.Resource],
          about="Resources a filter lets through, the last changed first."),
    Route(_GET, "/v1/products", "resources.products", "read", list[shapes.ProductType],
          about="Product types of the code and of the store."),
    Route(_GET, "/v1/resources/{id}", "resources.get", "read", shapes.Resource,
          about="One resource."),
    Route(_GET, "/v1/resources/{id}/history", "resources.history", "read",
          shapes.Page[shapes.ResourceVersion], about="Which op of which instance changed what."),
    Route(_POST, "/v1/asks/{ask}/draft", "asks.draft", "answer", shapes.Ask, whole="data",
          about="Keeps an answer that is not finished."),
    Route(_POST, "/callbacks/{ask}", "answer", PUBLIC, shapes.Answered, whole="data", kind="token",
          about="Answers a callback: its token is the permission."),
    Route(_POST, "/callbacks/{token}/progress", "progress", PUBLIC, shapes.Answered, whole="data",
          kind="token", about="Reports how far a callback is on its way."),
    Route(_POST, "/v1/definitions", "definitions.push", "define", shapes.DefinitionInfo,
          whole="document", about="Stores a document as a version; `promote` releases it, too."),
    Route(_POST, "/v1/definitions/sync", "definitions.sync", "promote", list[shapes.Synced],
          about="Releases what is loaded from files."),
    Route(_PUT, "/v1/definitions/{name}", "definitions.push", "define", shapes.DefinitionInfo,
          whole="document", about="The same, for the workflow of this name alone."),
    Route(_DELETE, "/v1/definitions/{name}", "definitions.delete", "promote", shapes.Deleted,
          about="Deletes a version nothing runs on."),
    *(Route(_POST, f"/v1/definitions/{{name}}/{verb}", f"definitions.{verb}", "promote",
            shapes.DefinitionInfo, about=about)
      for verb, about in (("promote", "Releases a version."), ("rollback", "Releases the one before."),
                          ("enable", "Starts instances again."), ("disable", "Starts none any more."),
                          ("revoke", "Takes grants back."))),
    Route(_GET, "/v1/definitions/{name}/diff", "definitions.diff", "read", shapes.Diff,
          about="What two versions have not in common."),
    Route(_GET, "/v1/definitions", "definitions.list", "read", list[shapes.DefinitionInfo],
          about="Every version of every workflow."),
    Route(_POST, "/v1/definitions/validate", "definitions.validate", "define",
          shapes.DefinitionInfo, whole="document", about="What pushing a document would make."),
    Route(_GET, "/v1/definitions/{name}/check", "definitions.check", "read", shapes.Checked,
          about="How recorded instances would fare on a version."),
    Route(_GET, "/v1/definitions/{name}", "definitions.get", "read", shapes.DefinitionInfo,
          about="One version of a workflow, by default the released one."),
    Route(_GET, "/v1/schedules", "schedules.list", "read", list[shapes.ScheduleInfo],
          about="Schedules."),
    Route(_GET, "/v1/schedules/{name}/next", "schedules.next", "read", list[str],
          about="The next nominal times."),
    Route(_POST, "/v1/schedules/preview", "schedules.preview", "read", list[shapes.PlannedTick],
          about="What a schedule or a rule would do, also when nothing runs for a while."),
    Route(_POST, "/v1/schedules/{name}/backfill", "schedules.backfill", "control",
          shapes.Backfilled, about="Runs the nominal times of a range that had no run yet."),
    Route(_POST, "/v1/schedules/{name}/pause", "schedules.pause", "control", shapes.ScheduleInfo,
          about="No tick until it is resumed."),
    Route(_POST, "/v1/schedules/{name}/resume", "schedules.resume", "control", shapes.ScheduleInfo,
          about="Ticks again."),
    Route(_POST, "/v1/schedules/{name}/trigger", "schedules.trigger", "control", shapes.Accepted,
          about="Starts its workflow now."),
    Route(_GET, "/v1/stages", "stages.list", "read", list[dict[str, Any]], about="Stage graphs."),
    Route(_GET, "/v1/stages/{workflow}", "stages.graph", "read", dict[str, Any],
          about="A stage graph: its stages, its transitions, and stages.json as it is on disk."),
    Route(_PUT, "/v1/stages/{workflow}", "stages.save", "define", dict[str, Any], whole="document",
          about="Writes stages.json in the working tree, unless the daemon only serves."),
    Route(_POST, "/v1/stages/{workflow}/open", "stages.open", "define", dict[str, Any],
          about="Opens the file of a stage in the editor of whoever develops."),
    Route(_GET, "/v1/stages/{workflow}/code", "stages.code", "define", dict[str, Any],
          about="The Python file of a stage, to be read."),
    Route(_POST, "/v1/stages/validate", "stages.validate", "define", dict[str, Any],
          about="Whether the folder of a stage graph can be deployed."),
    Route(_POST, "/v1/stages/deploy", "stages.deploy", "promote", shapes.DefinitionInfo,
          about="Releases what is in the folder of a stage graph."),
    Route(_POST, "/v1/stages/{workflow}/board", "stages.board", "read", dict[str, Any],
          about="Where the live runs of a stage graph are."),
    Route(_POST, f"{_I}/move", "stages.move", "control", dict[str, Any],
          about="Moves a waiting run along a transition."),
    Route(_POST, "/v1/stages/logs", "stages.logs", "read", dict[str, Any],
          about="What stages did and printed, newest first."),
    Route(_GET, "/v1/ping", "ping", "read", dict[str, bool], about="Whether the engine answers."),
    Route(_GET, "/v1/info", "info", "read", shapes.Info, about="Version, place and counts."),
    Route(_GET, "/v1/connectors", "connectors.list", "read", about="Connectors."),
    Route(_GET, "/v1/connectors/{connector}", "connectors.get", "read", about="One connector."),
    Route(_POST, "/v1/connectors/{connector}/check", "connectors.check", "admin",
          about="Whether a connector reaches its service."),
    Route(_GET, "/v1/replay", "replay", "admin", shapes.Replayed,
          about="Whether stored histories replay on today's code."),
    Route(_GET, "/v1/doctor", "doctor", "admin", list[shapes.Finding], about="Checks the store."),
    Route(_POST, "/v1/backup", "backup", "admin", dict[str, Any],
          about="Copies the store to a file of the daemon's machine."),
    Route(_POST, "/v1/prune", "prune", "admin", shapes.Pruned,
          about="Deletes instances that ended long ago."),
    Route(_GET, "/v1/keys", "keys.list", "admin", list[shapes.ApiKey], about="API keys."),
    Route(_POST, "/v1/keys", "keys.create", "admin", shapes.NewApiKey, status=201,
          about="Makes an API key; its secret is shown this once."),
    Route(_DELETE, "/v1/keys/{id}", "keys.revoke", "admin", shapes.ApiKey,
          about="Revokes an API key."),
)  # fmt: skip
"""Written by hand, in any order: where two match, the one with more words of its own wins."""


def _others() -> Iterator[Route]:
    named = {row.call for row in ROWS}
    for name in calls.CALLS:
        if name not in named:
            yield Route(_POST, f"/v1/methods/{name}", name, "admin", about=f"The method {name}.")


ROUTES: Final = (*ROWS, *_others())


_LITERAL_FIRST: Final = sorted(ROUTES, key=lambda row: len(row.names) - len(row.segments))
_BY_HEAD: Final[dict[tuple[str, ...], list[Route]]] = {}
"""Rows by the words all their addresses begin with: two, or one where a parameter follows."""
for _row in _LITERAL_FIRST:
    _head = _row.segments[:2]
    _BY_HEAD.setdefault(_head[:1] if _head[-1].startswith("{") else _head, []).append(_row)
_BY_CALL: Final[dict[str, list[Route]]] = {}
for _row in sorted(ROUTES, key=lambda row: -len(row.names)):  # the more an address says, the better
    _BY_CALL.setdefault(_row.call, []).append(_row)


_KNOWN: Final[dict[tuple[str, tuple[str, ...]], Route]] = {}
"""Routes without parameters that were asked for: as many as there are."""


def find(method: str, segments: Sequence[str]) -> tuple[Route, dict[str, str]] | set[str]:
    """The route of a request and the parameters of its path, or the methods its path knows."""
    key = method, tuple(segments)
    known = _KNOWN.get(key)
    if known is not None:
        return known, {}
    allowed: set[str] = set()
    for route in _BY_HEAD.get(tuple(segments[:2]), ()) or _BY_HEAD.get(tuple(segments[:1]), ()):
        values = route.match(segments)
        if values is not None:
            if route.method == method or (method == "HEAD" and route.method == _GET):
                if not values:
                    _KNOWN[key] = route
                return route, values
            allowed.add(route.method)
    return allowed


def params_of(route: Route) -> type[calls.Params]:
    """What the route's method takes."""
    call = calls.CALLS.get(route.call) or calls.STREAMS.get(route.call)
    return call.params if call is not None else calls.Nothing


class Request(msgspec.Struct, frozen=True):
    """What a client sends for a method; `query` is text by name, `body` a JSON value or UNSET."""

    method: str
    path: str
    query: dict[str, str]
    body: Any = msgspec.UNSET


def request_for(method: str, params: Mapping[str, Any]) -> Request:
    """A method of the socket as an HTTP request. Raises `InvalidRequest` for unknown ones."""
    route = next((row for row in _BY_CALL.get(method, ()) if _fits(row, params)), None)
    if route is None:
        raise calls.unknown(method)
    rest = {key: value for key, value in params.items() if value is not None}
    parts = []
    for part in route.segments:
        if part.startswith("{"):
            parts.append(quote(str(rest.pop(part[1:-1])), safe=""))
        else:
            parts.append(part)
    path = "/" + "/".join(parts)
    if route.method in (_GET, _DELETE):
        return Request(route.method, path, {key: _text(value) for key, value in rest.items()})
    if route.whole is None:
        return Request(route.method, path, {}, rest)
    body = params.get(route.whole)
    rest.pop(route.whole, None)
    return Request(route.method, path, {key: _text(value) for key, value in rest.items()}, body)


def _fits(route: Route, params: Mapping[str, Any]) -> bool:
    return all(params.get(name) is not None for name in route.names)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


assert all(row.scope in SCOPES or row.scope == PUBLIC for row in ROUTES)
