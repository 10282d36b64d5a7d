"""Posting events over HTTP: one, an array, or NDJSON with one answer a line.

All events of a request are given to the router as they come, so that they join the same commits;
answers come in the order of the events, a refused one as `{"error": ...}`. The answer begins after
the body has ended: a client that writes everything before it reads can always be served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import GreenroomError, InvalidEvent, TooLarge
from greenroom.definitions.events import Event, event_from
from greenroom.runtime import calls, protocol, shapes
from greenroom.runtime.protocol import LINE_BYTES_MAX
from greenroom.runtime.web.access import Caller
from greenroom.runtime.web.guard import BODY
from greenroom.runtime.web.problems import HttpError

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

NDJSON: Final = "application/x-ndjson"
ARRAY: Final = "application/cloudevents-batch+json"
WINDOW: Final = 1_024
"""Events of one request in work at once."""

_Answer = shapes.Accepted | GreenroomError


class Bulk:
    """The events of one request. `add` takes one and waits while too many are in work."""

    def __init__(self, web: Web, caller: Caller, query: dict[str, str]) -> None:
        self._engine = web.engine
        self._max = web.rules.limits.bulk_events
        self._caller = caller
        given = calls.read("post", calls.Post, {**query, "event": {}}).given()
        self._options = {name: value for name, value in given.items() if name != "event"}
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
            event = given if isinstance(given, Event) else event_from(given)
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


async def post_lines(web: Web, request: Request, caller: Caller, query: dict[str, str]) -> Response:
    """NDJSON in, NDJSON out."""
    body = request.scope[BODY]
    body.bytes_max = web.rules.limits.bulk_bytes
    body.total_s = None
    bulk = Bulk(web, caller, query)
    async for line in _lines(request):
        await bulk.add(line if isinstance(line, GreenroomError) else _value(line))
    return Response(b"".join(await bulk.finish()), media_type=NDJSON)


async def post_array(
    web: Web, events: list[Any], caller: Caller, query: dict[str, str]
) -> Response:
    """A JSON array in, one of the same length out."""
    bulk = Bulk(web, caller, query)
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
