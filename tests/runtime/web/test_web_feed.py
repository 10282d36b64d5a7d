"""The feed: order, places to go on from, filters, and readers that are too slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import pytest

from greenroom.runtime.web.limits import HttpLimits
from tests.runtime.web.conftest import QUICK, Face, MakeFace


class Reader:
    """One reader of a feed, straight on the application. It takes nothing while `reads` is clear."""

    def __init__(self, face: Face, path: str, headers: dict[str, str] | None = None) -> None:
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "scheme": "http",
            "query_string": query.encode(), "root_path": "", "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8420), "http_version": "1.1", "state": {},
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        }  # fmt: skip
        self._web = face.web
        self._gone = asyncio.Event()
        self._arrived = asyncio.Event()
        self._asked = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.stops_at = -1
        """It reads no more after so many frames."""
        self.pings = 0
        self.frames: list[dict[str, Any]] = []
        self.rest = b""
        self.status = 0
        self.ended = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._web(self._scope, self._receive, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        self.reads.set()
        async with asyncio.timeout(10):
            await asyncio.gather(self._task, return_exceptions=True)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.rest += message["body"]
            self.pings += self.rest.count(b": still here")
            *whole, self.rest = self.rest.split(b"\n\n")
            self.frames += [found for frame in whole if (found := _parsed(frame))]
            self.ended = not message["more_body"]
            if len(self.frames) == self.stops_at:
                self.reads.clear()
        self._arrived.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._arrived.clear()
                await self._arrived.wait()

    async def take(self, count: int) -> list[dict[str, Any]]:
        await self.until(lambda: len(self.frames) >= count)
        return self.frames[:count]


def _parsed(frame: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for line in frame.decode().split("\n"):
        name, _, value = line.partition(": ")
        if name:
            fields[name] = json.loads(value) if name == "data" else value
    return fields


@pytest.fixture
def face(make_face: MakeFace) -> Face:
    return make_face(open=True)


def kinds(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["data"]["kind"] for frame in frames]


@pytest.fixture
async def ended(face: Face) -> AsyncIterator[list[dict[str, Any]]]:
    """All frames of an instance that has ended."""
    await face.engine.start("order", {"id": "7"})
    await face.engine.post({"type": "order.paid", "data": {"id": "7"}})
    await face.engine.until_idle()
    async with Reader(face, "/v1/instances/order/7/feed") as reader:
        await reader.until(lambda: reader.ended)
    yield reader.frames


async def test_the_feed_of_an_instance_is_its_history_and_ends_with_it(
    face: Face, ended: list[dict[str, Any]]
) -> None:
    history = (await face.engine.history("order/7")).items
    *entries, last = ended
    assert [(f["data"]["seq"], f["data"]["kind"]) for f in entries] == [
        (e.seq, e.kind) for e in history
    ]
    assert last["event"] == "end" and last["data"] == {}
    assert len({f["id"] for f in entries}) == len(entries)


async def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(
    face: Face, ended: list[dict[str, Any]]
) -> None:
    """From each place, the middle of a turn too."""
    *entries, _ = ended
    assert len({f["data"]["seq"] for f in entries}) < len(entries)  # a turn has several lines
    for place, frame in enumerate(entries):
        async with Reader(
            face, "/v1/instances/order/7/feed", {"Last-Event-ID": frame["id"]}
        ) as again:
            await again.until(lambda again=again: again.ended)  # type: ignore[misc]
        assert again.frames[:-1] == entries[place + 1 :]


async def test_the_feed_of_all_begins_now_and_goes_on_from_any_place(face: Face) -> None:
    await face.engine.start("order", {"id": "before"})
    async with Reader(face, "/v1/feed") as live:
        await live.until(lambda: live.status)
        await asyncio.sleep(0.01)
        await face.engine.start("order", {"id": "1"})
        await face.engine.start("leave", {"id": "2"})
        await face.engine.until_idle()
        frames = await live.take(4)
    assert {f["data"]["data"]["workflow"] for f in frames} == {"order", "leave"}
    assert all(f["data"]["data"]["instance"] for f in frames)
    for place in range(3):
        async with Reader(face, "/v1/feed", {"Last-Event-ID": frames[place]["id"]}) as again:
            assert (await again.take(3 - place)) == frames[place + 1 :]


async def test_the_feed_of_all_is_filtered(face: Face) -> None:
    async with Reader(face, "/v1/feed?q=workflow:leave") as live:
        await live.until(lambda: live.status)
        await asyncio.sleep(0.01)
        await face.engine.start("order", {"id": "1"})
        await face.engine.start("leave", {"id": "2"})
        frames = await live.take(2)
    assert {f["data"]["data"]["workflow"] for f in frames} == {"leave"}


async def test_events_are_fed_by_type_and_place(face: Face) -> None:
    for n in range(5):
        await face.engine.post({"type": "a" if n % 2 else "b", "id": f"e-{n}"})
    async with Reader(face, "/v1/events/feed?type=b&after=0") as reader:
        frames = await reader.take(3)
        assert [f["data"]["id"] for f in frames] == ["e-0", "e-2", "e-4"]
        await face.engine.post({"type": "b", "id": "e-5"})
        assert (await reader.take(4))[3]["data"]["id"] == "e-5"
    async with Reader(face, "/v1/events/feed?type=b", {"Last-Event-ID": frames[0]["id"]}) as again:
        assert [f["data"]["id"] for f in await again.take(3)] == ["e-2", "e-4", "e-5"]


async def test_a_place_that_is_none_is_told_at_once(face: Face) -> None:
    for path in ("/v1/feed", "/v1/events/feed"):
        answer = await face.get(path, headers={"Last-Event-ID": "yesterday"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_slow_reader_is_dropped_with_a_word_and_others_are_not_held_up(
    make_face: MakeFace,
) -> None:
    limits = HttpLimits(feed_lines=5, stalled_s=0.05, failed_s=0.0)
    face = make_face(open=True, limits=limits)
    for n in range(20):
        await face.engine.post({"type": "t", "id": f"e-{n}"})
    async with Reader(face, "/v1/events/feed?after=0") as quick:
        slow = Reader(face, "/v1/events/feed?after=0")
        slow.stops_at = 1
        async with slow:
            assert len(await quick.take(20)) == 20
            await slow.take(1)
            async with asyncio.timeout(10):
                while not face.web.metrics.dropped._value.get():
                    await asyncio.sleep(0.005)
            slow.reads.set()
            await slow.until(lambda: slow.ended)
        assert slow.frames[-1]["event"] == "dropped"
        assert slow.frames[-1]["data"]["code"] == "busy"
        assert len(slow.frames) < 20
        last = slow.frames[-2]["id"]
        assert face.web.metrics.dropped._value.get() == 1
    async with Reader(face, "/v1/events/feed", {"Last-Event-ID": last}) as again:
        missing = 20 - int(slow.frames[-2]["data"]["id"].removeprefix("e-")) - 1
        assert (await again.take(missing))[-1]["data"]["id"] == "e-19"


async def test_a_reader_that_never_reads_again_is_let_go(make_face: MakeFace) -> None:
    face = make_face(open=True, limits=HttpLimits(feed_lines=2, stalled_s=0.02))
    for n in range(10):
        await face.engine.post({"type": "t", "id": f"e-{n}"})
    dead = Reader(face, "/v1/events/feed?after=0")
    dead.stops_at = 1
    async with dead:
        await dead.take(1)
        async with asyncio.timeout(10):
            await asyncio.wait({dead._task})
        assert not face.web.feeds.counts


async def test_a_quiet_feed_shows_that_it_lives(make_face: MakeFace) -> None:
    face = make_face(open=True, limits=HttpLimits(heartbeat_s=0.01))
    async with Reader(face, "/v1/events/feed") as reader:
        await reader.until(lambda: reader.pings >= 2)


async def test_one_caller_has_only_so_many_feeds(make_face: MakeFace) -> None:
    face = make_face(open=True, limits=HttpLimits(feeds=1))
    async with Reader(face, "/v1/feed") as first:
        await first.until(lambda: first.status)
        answer = await face.get("/v1/feed")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    async with Reader(face, "/v1/feed") as second:
        await second.until(lambda: second.status)
        assert second.status == 200


async def test_a_daemon_that_stops_says_so(face: Face) -> None:
    async with Reader(face, "/v1/feed") as reader:
        await reader.until(lambda: reader.status)
        face.web.stop()
        await reader.until(lambda: reader.ended)
    assert reader.frames[-1]["data"]["code"] == "engine_stopping"


async def test_an_engine_that_closes_ends_its_feeds(face: Face) -> None:
    async with Reader(face, "/v1/feed") as reader:
        await reader.until(lambda: reader.status)
        await asyncio.sleep(0.01)
        await face.web.engine.close()
        await reader.until(lambda: reader.ended)
    assert reader.frames[-1]["data"]["code"] == "engine_stopping"
    assert not face.web.engine.at_end and QUICK.feeds
