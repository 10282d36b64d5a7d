"""Server-sent events: what happens, as it becomes durable.

Each message has an id that says where it stands, so a browser that lost its connection goes on with
`Last-Event-ID` where it was and misses nothing:

- `/v1/feed`: entries of all instances, read from the journal itself; the id is `pos.line`;
- `/v1/instances/{instance}/feed`: those of one; the id is `seq.line`;
- `/v1/events/feed`: accepted events; the id is `pos`.

(A stored turn unfolds into several lines, hence `.line`.) A feed holds a bounded number of lines for
its reader. One that makes no room for them in half a minute is dropped, with a message `dropped` as
its last; it may come back with the id it has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from greenroom.actors.entries import decode_entry
from greenroom.actors.ports import Counts, Find, InstanceRow, JournalRow, ReadJournal
from greenroom.definitions.errors import Busy, EngineStopping, GreenroomError, InvalidRequest
from greenroom.runtime import calls, shapes, views
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.terms import terms_of, test
from greenroom.runtime.web.access import Caller

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

MEDIA_TYPE: Final = "text/event-stream"
READ_MAX: Final = 200
FIRST_S: Final = 0.05
"""A feed whose first line has not come by then has begun well."""
_PLACE: Final = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?")

Frames = AsyncGenerator[bytes, None]
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def feed(web: Web, request: Request, caller: Caller, call: str, params: dict[str, Any]) -> Response:
    """The response of a feed. Raises `InvalidRequest` for what makes no feed."""
    last = request.headers.get("last-event-id") or params.pop("last_event_id", None)
    place = _place(last) if last else None
    if call == "tail":
        frames = _events(web, params, place)
    elif params.get("instance") is not None:
        frames = _entries(web, params, place)
    else:
        frames = _journal(web, params, place)
    return FeedResponse(web, caller.by or "", frames)


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"{text[:80]!r} is not an id of a feed", path="Last-Event-ID")
    return int(found[1]), int(found[2] or 0)


def _frame(kind: str, data: Any, id: str | None = None) -> bytes:
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {kind}\ndata: ".encode() + _encode(data) + b"\n\n"


async def _events(web: Web, params: dict[str, Any], place: tuple[int, int] | None) -> Frames:
    if place is not None:
        params = {**params, "after": place[0], "since": None}
    async with aclosing(calls.stream(web.engine, "tail", params)) as events:  # type: ignore[type-var]
        async for event in events:
            yield _frame("event", event, str(event.pos))


async def _entries(web: Web, params: dict[str, Any], place: tuple[int, int] | None) -> Frames:
    """Entries of one instance. After `place` the lines of that turn that were not sent come first."""
    if place is not None:
        params = {**params, "after": max(0, place[0] - 1)}
    line = _Lines(place)
    async with aclosing(calls.stream(web.engine, "watch", params)) as entries:  # type: ignore[type-var]
        async for entry in entries:
            id = line.next(entry.seq)  # type: ignore[union-attr]
            if id is not None:
                yield _frame("entry", entry, id)
    yield _frame("end", {})


class _Lines:
    """Numbers the lines of each turn, and leaves out those up to a place."""

    def __init__(self, place: tuple[int, int] | None) -> None:
        self._sent = place
        self._turn = -1
        self._line = 0

    def next(self, turn: int) -> str | None:
        """The id of the next line; None if it was sent before."""
        self._line = self._line + 1 if turn == self._turn else 0
        self._turn = turn
        if self._sent is not None and (turn, self._line) <= self._sent:
            return None
        return f"{turn}.{self._line}"


async def _journal(web: Web, params: dict[str, Any], place: tuple[int, int] | None) -> Frames:
    """Entries of all instances a filter lets through, with `instance` and `workflow`."""
    engine = web.engine
    given = calls.read("watch", calls.Watch, params).given()
    terms = terms_of(parse_filter(given.get("q", "")), engine.clock.now())
    if engine.namespace and not any(term[0] == "namespace" for term in terms):
        terms.append(("namespace", ":", engine.namespace, False))
    if place is not None:
        after = max(0, place[0] - 1)
    elif given.get("after"):
        after = given["after"]
    else:
        after = (await engine.journal.call(Counts())).head
    line = _Lines(place)
    poked = asyncio.Event()
    poked.set()

    def stored(*_: Any) -> None:
        poked.set()

    engine.directory.watchers.append(stored)
    engine.at_end[poked.set] = None
    try:
        while True:
            await poked.wait()
            poked.clear()
            if engine.state != "open":
                raise engine.gone()
            while rows := await engine.journal.call(ReadJournal(after, READ_MAX)):
                shown = await _let_through(engine, terms, rows)
                for row in rows:
                    after = row.row.seq
                    for entry in _shapes(row) if row.id in shown else ():
                        id = line.next(after)
                        if id is not None:
                            yield _frame("entry", entry, id)
    finally:
        engine.directory.watchers.remove(stored)
        engine.at_end.pop(poked.set, None)


def _shapes(row: JournalRow) -> list[shapes.Entry]:
    stored = row.row
    found = views.entry_shapes(stored.iseq, stored.seq, stored.at, decode_entry(stored))
    whose = {"instance": row.id, "workflow": row.workflow}
    return [msgspec.structs.replace(entry, data={**(entry.data or {}), **whose}) for entry in found]


async def _let_through(engine: Any, terms: list[Any], rows: list[JournalRow]) -> set[str]:
    """The ids of those instances that the filter lets through as they are now."""
    ids = dict.fromkeys(row.id for row in rows)
    if not terms:
        return set(ids)
    shown = set()
    for id in ids:
        found: InstanceRow | None = await engine.journal.call(Find(id, engine.namespace))
        now = engine.clock.now()
        if found is not None and test(terms, found, now, None, set()):
            shown.add(id)
    return shown


class FeedResponse(Response):
    """Sends frames as fast as they are read."""

    def __init__(self, web: Web, by: str, frames: Frames) -> None:
        self._web = web
        self._by = by
        self._frames = frames
        self._limits = web.rules.limits
        self.status_code = 200
        self.background = None
        self.init_headers({"Content-Type": MEDIA_TYPE, "Cache-Control": "no-cache",
                           "X-Accel-Buffering": "no"})  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with aclosing(self._frames) as frames:
            with self._web.feeds.open(self._by):
                first = asyncio.ensure_future(anext(frames, None))
                try:
                    # what is wrong with the request is told as an error and not as a feed
                    await asyncio.wait({first}, timeout=FIRST_S)
                    if first.done():
                        first.result()
                    await send(start)
                    await self._run(first, frames, receive, send)
                finally:
                    first.cancel()
                    await asyncio.gather(first, return_exceptions=True)

    async def _run(
        self, first: asyncio.Future[bytes | None], frames: Frames, receive: Receive, send: Send
    ) -> None:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(self._limits.feed_lines)
        reading = asyncio.ensure_future(self._fill(first, frames, queue))
        gone = asyncio.ensure_future(_until_gone(receive))
        stopping = asyncio.ensure_future(self._web.stopping.wait())
        writing = asyncio.ensure_future(self._write(queue, send))
        tasks = {reading, gone, stopping, writing}
        try:
            await asyncio.wait({gone, stopping, writing}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not writing.done() and not gone.done():
                writing.cancel()
                with suppress(asyncio.CancelledError):
                    await writing
                error = EngineStopping("the daemon is shutting down")
                async with asyncio.timeout(1):
                    await send(_body(_frame("end", error.as_data()), more=False))
            elif writing.done():
                writing.result()
        except TimeoutError:
            raise ConnectionError("the reader of a feed stopped reading") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(
        self,
        first: asyncio.Future[bytes | None],
        frames: Frames,
        queue: asyncio.Queue[bytes | None],
    ) -> None:
        """Puts frames into the queue, the last word of a reader that is too slow at the end."""
        last: bytes | None = None
        try:
            frame = await first
            while frame is not None:
                async with asyncio.timeout(self._limits.stalled_s):
                    await queue.put(frame)
                frame = await anext(frames, None)
        except TimeoutError:
            self._web.metrics.dropped.inc()
            text = f"this reader made no room for {self._limits.stalled_s:g} s; come back"
            last = _frame("dropped", Busy(text).as_data())
        except GreenroomError as error:
            last = _frame("end", error.as_data())
        except Exception as error:
            last = _frame("end", calls.unexpected("feed", error).as_data())
        if last is not None:
            while queue.full():  # what it has not taken is there again when it comes back
                queue.get_nowait()
            queue.put_nowait(last)
        await queue.put(None)

    async def _write(self, queue: asyncio.Queue[bytes | None], send: Send) -> None:
        limits = self._limits
        await send(_body(b": greenroom\n\n"))
        while True:
            try:
                async with asyncio.timeout(limits.heartbeat_s):
                    frame = await queue.get()
            except TimeoutError:
                frame = b": still here\n\n"
            if frame is None:
                await send(_body(b"", more=False))
                return
            async with asyncio.timeout(2 * limits.stalled_s):
                await send(_body(frame))


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Feeds:
    """How many feeds each caller has open."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self.counts: dict[str, int] = {}
        """Open feeds by caller."""

    def open(self, by: str) -> _Open:
        """Raises `Busy` when the caller has as many as one may."""
        limit = self._web.rules.limits.feeds
        if self.counts.get(by, 0) >= limit:
            raise Busy(f"{limit} feeds of this caller are open")
        return _Open(self._web, self.counts, by)


class _Open:
    def __init__(self, web: Web, counts: dict[str, int], by: str) -> None:
        self._web, self._counts, self._by = web, counts, by

    def __enter__(self) -> None:
        self._counts[self._by] = self._counts.get(self._by, 0) + 1
        self._web.metrics.feeds.inc()

    def __exit__(self, *_: object) -> None:
        self._counts[self._by] -= 1
        if not self._counts[self._by]:
            del self._counts[self._by]
        self._web.metrics.feeds.dec()
