"""The socket server, over real sockets: order, limits, and peers that behave badly."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from greenroom.runtime import shapes
from greenroom.runtime.server import Limits, Peer, actor_of

Serve = Callable[..., Any]


def parsed(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def event(number: int | str, kind: str = "t") -> bytes:
    return json.dumps({"type": kind, "id": str(number)}).encode() + b"\n"


def call(number: Any, method: str, **params: Any) -> bytes:
    line = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(line).encode() + b"\n"


async def test_an_event_is_answered_when_it_is_durable(serve: Serve) -> None:
    served = await serve()
    served.engine.hold()
    reader, writer = await served.connect()
    writer.write(event("e-1"))
    await served.until(lambda: served.engine.log)
    reply = asyncio.create_task(reader.readline())
    await asyncio.sleep(0)
    assert not reply.done()
    served.engine.release()
    assert await reply == (
        b'{"id":"e-1","accepted":true,"duplicate":false,"matched_total":0,"matched":[]}\n'
    )


async def test_events_are_recorded_with_the_uid_of_their_sender(serve: Serve) -> None:
    served = await serve()
    await served.ask(event(1))
    assert served.engine.log == [("post", "t", actor_of(os.getuid()))]


async def test_events_sent_together_share_a_commit_and_are_answered_in_order(serve: Serve) -> None:
    served = await serve()
    replies = parsed(await served.ask(b"".join(event(n) for n in range(1000))))
    assert [reply["id"] for reply in replies] == [str(n) for n in range(1000)]
    assert max(served.engine.groups) >= 256


async def test_errors_keep_their_place_between_replies(serve: Serve) -> None:
    served = await serve()
    data = event(1) + b"nonsense\n" + event(2, "bad") + b'{"type":""}\n' + b"[]\n" + event(3)
    replies = parsed(await served.ask(data))
    assert [reply.get("id") or reply["error"]["code"] for reply in replies] == [
        "1", "invalid_request", "invalid_event", "invalid_event", "invalid_request", "3",
    ]  # fmt: skip


async def test_a_method_sees_what_the_lines_before_it_did_and_holds_up_the_next(
    serve: Serve,
) -> None:
    served = await serve()
    served.engine.hold()
    reader, writer = await served.connect()
    writer.write(event(1) + event(2) + call(7, "pause", instance="i") + event(3))
    await served.until(lambda: len(served.engine.log) == 2)
    served.engine.release()
    replies = [json.loads(await reader.readline()) for _ in range(4)]
    assert [entry[0] for entry in served.engine.log] == ["post", "post", "pause", "post"]
    assert [reply["id"] for reply in replies] == ["1", "2", 7, "3"]
    assert replies[2]["result"] == {"instance": "i", "status": "paused", "pending": None}


async def test_result_is_answered_when_it_is_known_and_holds_up_nothing(serve: Serve) -> None:
    served = await serve()
    reader, writer = await served.connect()
    writer.write(call(1, "result", instance="a") + call(2, "result", instance="b") + event("e"))
    assert json.loads(await reader.readline())["id"] == "e"
    served.engine.end("b", 22)
    assert json.loads(await reader.readline())["id"] == 2
    served.engine.end("a", 11)
    assert json.loads(await reader.readline())["result"]["result"] == 11


async def test_what_was_read_before_a_half_close_is_answered(serve: Serve) -> None:
    served = await serve()
    reader, writer = await served.connect()
    writer.write(event(1) + call(2, "result", instance="a") + b'{"type":"last","id":"l"}')
    writer.write_eof()
    assert [json.loads(await reader.readline())["id"] for _ in range(2)] == ["1", "l"]
    served.engine.end("a", None)
    assert json.loads(await reader.readline())["id"] == 2
    assert await reader.read() == b""
    await served.until(lambda: not served.server.connections)


async def test_watch_is_answered_at_once_then_notifies_then_ends(serve: Serve) -> None:
    served = await serve()
    reader, writer = await served.connect()
    writer.write(call(1, "watch", instance="i") + event("e"))
    assert json.loads(await reader.readline())["result"] == {"watch": 1}
    assert json.loads(await reader.readline())["id"] == "e"
    served.engine.entries.put_nowait(shapes.Entry(1, 1, "now", "InstanceStarted"))
    served.engine.entries.put_nowait(None)
    notice = json.loads(await reader.readline())
    assert (notice["method"], notice["params"]["watch"]) == ("entry", 1)
    assert notice["params"]["entry"]["kind"] == "InstanceStarted"
    end = json.loads(await reader.readline())
    assert (end["method"], end["params"]) == ("end", {"watch": 1, "error": None})


async def test_a_stream_that_fails_ends_with_the_error(serve: Serve) -> None:
    served = await serve()
    replies = parsed(await served.ask(call(1, "tail")))
    assert [reply.get("method") for reply in replies] == [None, "event", "event", "end"]
    assert replies[-1]["params"]["error"]["code"] == "not_found"


async def test_watching_what_is_not_there_is_refused_at_once(serve: Serve) -> None:
    served = await serve()
    (reply,) = parsed(await served.ask(call(1, "watch", instance="missing")))
    assert reply["error"]["code"] == "not_found"


async def test_a_request_without_an_id_is_carried_out_and_not_answered(serve: Serve) -> None:
    served = await serve()
    data = b'{"method":"pause","params":{"instance":"i"}}\n' + call(2, "ping")
    assert parsed(await served.ask(data)) == [{"jsonrpc": "2.0", "id": 2, "result": {"pong": True}}]
    assert served.engine.log[0][0] == "pause"


async def test_a_fault_of_ours_is_an_error_reply_not_the_end(serve: Serve) -> None:
    served = await serve()
    first, second = parsed(await served.ask(call(1, "get", instance="bug") + call(2, "ping")))
    assert first["error"]["code"] == "greenroom_error"
    assert "ZeroDivisionError" in first["error"]["message"]
    assert second["result"] == {"pong": True}


@pytest.mark.parametrize("first", range(256))
async def test_every_first_byte_is_answered_and_harms_nobody(serve: Serve, first: int) -> None:
    served = await serve()
    answer = await served.ask(bytes([first]) + b" garbage\n\n")
    if chr(first) in " \t\r\n{":
        assert b'"error"' in answer or not answer
    elif ord("A") <= first <= ord("Z"):
        assert answer.startswith(b"HTTP/1.1 501 ")
        assert b"greenroom[web]" in answer
    else:
        assert parsed(answer)[0]["error"]["code"] == "invalid_request"
        assert len(parsed(answer)) == 1
    assert parsed(await served.ask(event(1)))[0]["accepted"]


async def test_http_is_handed_to_its_protocol_if_there_is_one(serve: Serve) -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)  # uvloop derives from nothing

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP:" + data)
            self.transport.close()

    served = await serve(http=lambda by: Echo())
    assert await served.ask(b"GET / HTTP/1.1\r\n\r\n") == b"HTTP:GET / HTTP/1.1\r\n\r\n"


async def test_a_line_of_two_mebibytes_gets_one_error_and_the_end(serve: Serve) -> None:
    served = await serve()
    reader, writer = await served.connect()
    writer.write(event(1) + b'{"type":"' + b"x" * (2 << 20))
    await writer.drain()
    replies = parsed(await reader.read())
    assert replies[0]["id"] == "1"
    assert replies[1]["error"]["code"] == "too_large"
    assert len(replies) == 2


async def test_a_line_that_does_not_end_is_refused(serve: Serve) -> None:
    served = await serve(limits=Limits(line_s=0.05, sweep_s=0.01))
    reader, writer = await served.connect()
    writer.write(event(1) + b'{"type":')
    replies = parsed(await reader.read())
    assert "must end within" in replies[1]["error"]["message"]


async def test_a_byte_now_and_then_does_not_keep_a_line_alive(serve: Serve) -> None:
    served = await serve(limits=Limits(line_s=0.1, sweep_s=0.01))
    reader, writer = await served.connect()

    async def drip() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert b"must end within" in await reader.read()
    dripping.cancel()


async def test_a_silent_connection_may_stay(serve: Serve) -> None:
    served = await serve(limits=Limits(line_s=0.02, sweep_s=0.005, stalled_s=0.02, linger_s=0.02))
    reader, writer = await served.connect()
    await asyncio.sleep(0.1)
    writer.write(event(1))
    assert json.loads(await reader.readline())["accepted"]


async def test_a_thousand_silent_connections_leave_room_for_one_that_speaks(serve: Serve) -> None:
    served = await serve()
    for _ in range(1000):
        await served.connect()
    await served.until(lambda: len(served.server.connections) == 1000)
    assert parsed(await served.ask(event(1)))[0]["accepted"]


async def test_the_longest_silent_connection_makes_room(serve: Serve) -> None:
    served = await serve(limits=Limits(connections=3))
    links = [await served.connect() for _ in range(3)]
    for reader, writer in (links[1], links[2], links[0]):
        writer.write(event(1))
        await reader.readline()
    reader, writer = await served.connect()
    writer.write(event(2))
    assert json.loads(await reader.readline())["id"] == "2"
    assert await links[1][0].read() == b""
    assert len(served.server.connections) == 3


async def test_reading_stops_at_the_limit_of_lines_in_flight(serve: Serve) -> None:
    served = await serve(limits=Limits(lines_in_flight=100))
    served.engine.hold()
    reader, writer = await served.connect()
    writer.write(b"".join(event(n) for n in range(5000)))
    await served.until(lambda: len(served.engine.log) == 100)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(served.engine.log) == 100
    served.engine.release()
    replies = [json.loads(await reader.readline())["id"] for _ in range(5000)]
    assert replies == [str(n) for n in range(5000)]
    assert max(served.engine.groups) <= 100


async def test_bytes_in_flight_are_bounded_too(serve: Serve) -> None:
    served = await serve(limits=Limits(bytes_in_flight=1000))
    served.engine.hold()
    _, writer = await served.connect()
    line = b'{"type":"t","data":"' + b"x" * 300 + b'"}\n'
    writer.write(line * 50)
    await served.until(lambda: len(served.engine.log) == 4)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(served.engine.log) == 4
    served.engine.release()


async def test_waiting_for_too_many_results_is_busy(serve: Serve) -> None:
    served = await serve(limits=Limits(results=2))
    reader, writer = await served.connect()
    for number in range(3):
        writer.write(call(number, "result", instance=f"i{number}"))
    reply = json.loads(await reader.readline())
    assert (reply["id"], reply["error"]["code"]) == (2, "busy")


async def test_too_many_streams_are_busy(serve: Serve) -> None:
    served = await serve(limits=Limits(streams=1))
    reader, writer = await served.connect()
    writer.write(call(1, "watch", instance="i") + call(2, "watch", instance="i"))
    assert json.loads(await reader.readline())["result"] == {"watch": 1}
    assert json.loads(await reader.readline())["error"]["code"] == "busy"


async def test_a_peer_that_never_reads_is_disconnected_and_costs_its_buffer(
    serve: Serve, raw_connect: Callable[[Path], socket.socket]
) -> None:
    served = await serve(limits=Limits(stalled_s=0.1, sweep_s=0.01))
    peer = raw_connect(served.path)
    peer.send(b"".join(call(n, "get", instance="big") for n in range(500)))
    await served.until(lambda: served.server.connections)
    (connection,) = served.server.connections
    most = 0

    def gone() -> bool:
        nonlocal most
        if connection._transport is not None:
            most = max(most, connection._transport.get_write_buffer_size())
        return not served.server.connections

    await served.until(gone)
    assert 0 < most < 1 << 20
    assert parsed(await served.ask(event(1)))[0]["accepted"]


async def test_a_reader_that_watches_and_never_reads_is_disconnected(
    serve: Serve, raw_connect: Callable[[Path], socket.socket]
) -> None:
    served = await serve(limits=Limits(stalled_s=0.1, sweep_s=0.01))
    peer = raw_connect(served.path)
    peer.send(call(1, "watch", instance="i"))
    for number in range(500):
        entry = shapes.Entry(number, number, "now", "StateChanged", data="x" * 10_000)
        served.engine.entries.put_nowait(entry)
    await served.until(lambda: served.server.connections)
    await served.until(lambda: not served.server.connections)
    assert served.engine.entries.qsize() > 300  # it was not read ahead for nobody


async def test_a_slow_reader_that_does_read_gets_everything(serve: Serve) -> None:
    served = await serve()
    reader, writer = await served.connect()
    writer.write(b"".join(call(n, "get", instance="big") for n in range(100)))
    await served.until(lambda: len(served.engine.log) >= 2)
    replies = [json.loads(await reader.readline())["id"] for _ in range(100)]
    assert replies == list(range(100))


async def test_a_watcher_that_closed_after_its_half_close_is_found(serve: Serve) -> None:
    served = await serve(limits=Limits(sweep_s=0.01))
    reader, writer = await served.connect()
    writer.write(call(1, "watch", instance="i"))
    writer.write_eof()
    await reader.readline()
    assert len(served.server.connections) == 1
    writer.close()
    await served.until(lambda: not served.server.connections)


async def test_another_user_is_refused_by_credentials(serve: Serve) -> None:
    served = await serve(peer=lambda _: Peer(pid=1, uid=4242, gid=1))
    (reply,) = parsed(await served.ask(b""))
    assert reply["error"]["code"] == "not_permitted"
    assert "4242" in reply["error"]["message"]
    assert served.engine.log == []


async def test_a_configured_user_is_let_in_and_named(serve: Serve) -> None:
    served = await serve(peer=lambda _: Peer(pid=1, uid=4242, gid=1), uids=[4242])
    await served.ask(event(1))
    assert served.engine.log == [("post", "t", "uid:4242")]


async def test_commands_go_on_when_their_peer_is_gone(serve: Serve) -> None:
    served = await serve()
    served.engine.hold()
    _, writer = await served.connect()
    writer.write(event(1) + call(2, "pause", instance="i"))
    await served.until(lambda: served.engine.log)
    writer.transport.abort()
    served.engine.release()
    assert parsed(await served.ask(event(2)))[0]["id"] == "2"


async def test_draining_answers_what_was_begun_and_refuses_the_rest(serve: Serve) -> None:
    served = await serve()
    served.engine.hold()
    reader, writer = await served.connect()
    writer.write(event(1) + call(2, "pause", instance="i"))
    waiting = await served.connect()
    waiting[1].write(call(3, "result", instance="a"))
    await served.until(lambda: served.engine.log and served.engine.ended)
    draining = asyncio.create_task(served.server.drain(5))
    await asyncio.sleep(0)
    writer.write(event(4))
    served.engine.release()
    assert await draining is True
    await served.server.close()
    assert [reply.get("id") for reply in parsed(await reader.read())] == ["1", 2]
    (reply,) = parsed(await waiting[0].read())
    assert reply["error"]["code"] == "engine_stopping"
    assert [entry[0] for entry in served.engine.log] == ["post"]


async def test_draining_gives_up_when_its_time_is_over(serve: Serve) -> None:
    served = await serve()
    served.engine.hold()
    _, writer = await served.connect()
    writer.write(event(1))
    await served.until(lambda: served.engine.log)
    assert await served.server.drain(0.01) is False
