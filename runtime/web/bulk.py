"""Posting events over HTTP: one, an array, or NDJSON with one answer a line.

What stands for an event in a request is told in `cloudevents`. All events of a request are given to the router as they come, so that they join the same commits;
answers come in the order of the events, a refused one as `{"error": ...}`. The answer begins after
the body has ended: a client that writes everything before it reads can always be served.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidEvent,
    InvalidRequest,
    TooLarge,
)
from greenroom.definitions.events import event_from
from greenroom.runtime import calls, protocol, shapes
from greenroom.runtime.protocol import LINE_BYTES_MAX
from greenroom.runtime.web.access import Caller
from greenroom.runtime.web.answers import Answer
from greenroom.runtime.web.cloudevents import MANY, ONE, check_version, from_headers, is_binary
from greenroom.runtime.web.guard import BODY
from greenroom.runtime.web.heads import heads_of, media_type
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.reading import body_of, json_of, object_of, query_of, whole

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

NDJSON: Final = "application/x-ndjson"
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
WINDOW: Final = 1_024
"""Events of one request in work at once."""

_Answer = shapes.Accepted | GreenroomError


class Bulk:
    """The events of one request. `add` takes one and waits while too many are in work."""

    def __init__(self, web: Web, request: Request, caller: Caller, query: dict[str, str]) -> None:
        self._trace = _trace(web, request)
        self._engine = web.engine
        self._max = web.rules.limits.bulk_events
        self._caller = caller
        self._options = _options(query)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[_Answer]] = deque()
        self._count = 0
        self.answers: list[bytes] = []

    async def add(self, given: Any) -> None:
        """An event as the JSON value it is, or the error that it is none."""
        future: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting.append(future)
        self._count += 1
        try:
            if self._count > self._max:
                raise TooLarge(f"a request has at most {self._max:,} events", limit=self._max)
            if isinstance(given, GreenroomError):
                raise given
            _check_version(given)
            _carry(given, self._trace)
            event = event_from(given)
            self._caller.must("publish", event.type)
            self._engine.post_nowait(event, future.set_result, by=self._caller.by, **self._options)
        except GreenroomError as error:
            future.set_result(error)
        except Exception as error:
            future.set_result(calls.unexpected("post", error))
        while len(self._waiting) >= WINDOW:
            await self._next()

    async def finish(self) -> list[bytes]:
        """The answers, each a line."""
        while self._waiting:
            await self._next()
        return self.answers

    async def _next(self) -> None:
        answer = await self._waiting.popleft()
        if isinstance(answer, GreenroomError):
            self.answers.append(protocol.encode_event_error(answer))
        else:
            self.answers.append(protocol.encode_event_reply(answer))


async def post(web: Web, request: Request, caller: Caller) -> Response:
    """`POST /v1/events`."""
    heads = heads_of(request.scope)
    kind, query = media_type(heads), query_of(request)
    if kind == NDJSON:
        return await post_lines(web, request, caller, query)
    if is_binary(heads, kind):
        event = from_headers(heads, kind, await whole(request))
        return await _post_one(web, request, event, caller, query)
    given = json_of(await body_of(request))
    if kind in (ONE, MANY) and isinstance(given, list) is not (kind == MANY):
        raise InvalidRequest(f"the body of {kind} is {'an array' if kind == MANY else 'one event'}")
    if isinstance(given, list):
        return await post_array(web, request, given, caller, query)
    return await _post_one(web, request, given, caller, query)


def takes_lines(request: Request) -> bool:
    """Whether the answer to a request may be NDJSON."""
    return NDJSON in heads_of(request.scope).get(b"accept", b"").decode("latin-1")


def _trace(web: Web, request: Request) -> dict[str, str]:
    """The trace a request is part of: events that say none of their own are part of it too."""
    if web.engine.tracing is not None:
        carried: dict[str, str] = web.engine.tracing.carried()
        return carried
    heads = heads_of(request.scope)
    given = heads.get(b"traceparent", b"").decode("latin-1")
    if not _TRACEPARENT.fullmatch(given):
        return {}
    state = heads.get(b"tracestate", b"").decode("latin-1")
    return {"traceparent": given, **({"tracestate": state} if state.isprintable() else {})}


def _carry(event: Any, trace: dict[str, str]) -> None:
    if trace and isinstance(event, dict) and "traceparent" not in event:
        event.update(trace)


async def _post_one(
    web: Web, request: Request, given: Any, caller: Caller, query: dict[str, str]
) -> Response:
    """One event; what is wrong with it is the answer to the request."""
    future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()

    def done(answer: _Answer) -> None:
        if not future.done():  # else the client is gone
            future.set_result(answer)

    kind = object_of(given).get("type")
    caller.must("publish", kind if isinstance(kind, str) else "")
    _check_version(given)
    _carry(given, _trace(web, request))
    web.engine.post_nowait(given, done, by=caller.by, **_options(query))
    answer = await future
    if isinstance(answer, GreenroomError):
        raise answer
    return Answer(protocol.encode_event_reply(answer).rstrip())


def _check_version(given: Any) -> None:
    if isinstance(given, dict) and "specversion" in given:
        check_version(given)


def _options(query: dict[str, str]) -> dict[str, Any]:
    """What the verb takes beside the event."""
    if not query:
        return {}
    given = calls.read("post", calls.Post, {**query, "event": {}}).given()
    return {name: value for name, value in given.items() if name != "event"}


async def post_lines(web: Web, request: Request, caller: Caller, query: dict[str, str]) -> Response:
    """NDJSON in, NDJSON out."""
    body = request.scope[BODY]
    body.bytes_max = web.rules.limits.bulk_bytes
    body.total_s = None
    bulk = Bulk(web, request, caller, query)
    async for line in _lines(request):
        await bulk.add(line if isinstance(line, GreenroomError) else _value(line))
    return Response(b"".join(await bulk.finish()), media_type=NDJSON)


async def post_array(
    web: Web, request: Request, events: list[Any], caller: Caller, query: dict[str, str]
) -> Response:
    """A JSON array in, one of the same length out."""
    bulk = Bulk(web, request, caller, query)
    for event in events:
        await bulk.add(event)
    lines = [line.rstrip() for line in await bulk.finish()]
    return Response(b"[" + b",".join(lines) + b"]", media_type="application/json")


def _value(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return InvalidEvent(f"the line is not JSON: {str(error)[:200]}", path="$")


async def _lines(request: Request) -> AsyncIterator[bytes | GreenroomError]:
    """The lines that are not empty; one that is too long ends the request."""
    rest = bytearray()
    async for piece in request.stream():
        rest += piece
        *whole, tail = rest.split(b"\n")
        rest = bytearray(tail)
        for line in whole:
            if line.strip():
                yield bytes(line) if len(line) <= LINE_BYTES_MAX else _too_long()
        if len(rest) > LINE_BYTES_MAX:
            raise HttpError(413, _too_long())
    if rest.strip():
        yield bytes(rest)


def _too_long() -> TooLarge:
    return TooLarge(f"a line has at most {LINE_BYTES_MAX:,} bytes", limit=LINE_BYTES_MAX)
