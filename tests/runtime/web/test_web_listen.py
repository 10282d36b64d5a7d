"""HTTP on real sockets: the daemon's own, told apart by its first byte, and a port."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from greenroom import Client, SyncClient
from greenroom.definitions.errors import (
    AlreadyDecided,
    GreenroomError,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    Unreachable,
)
from greenroom.runtime.server import Server, actor_of
from greenroom.runtime.socketfile import bind
from greenroom.runtime.web import guard, mount
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.limits import HttpLimits
from greenroom.runtime.web.listen import Listener
from greenroom.runtime.web.neighbours import owner_of
from greenroom.runtime.web.rules import Rules
from tests.runtime.web.conftest import leave, order

LIMITS = HttpLimits(failed_s=0.0, nobody_rate=1e6, caller_rate=1e6)
IMPATIENT = msgspec.structs.replace(LIMITS, header_s=0.1, body_s=0.1)


class Served:
    def __init__(self, engine: Any, listener: Listener, url: str, path: Path) -> None:
        self.engine = engine
        self.listener = listener
        self.url = url
        self.path = path
        self.port = int(url.rpartition(":")[2])

    async def talk(self, data: bytes, *, unix: bool = False, eof: bool = False) -> bytes:
        """Everything that is answered until the other side closes."""
        if unix:
            reader, writer = await asyncio.open_unix_connection(str(self.path))
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if eof:
            writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def served(
    engine: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Served]:
    """The daemon's server and a port on one engine; nobody needs a key."""
    limits = getattr(request, "param", LIMITS)
    engine.register(order, leave)
    tmp_path.chmod(0o700)
    listener = Listener(Web(engine._engine, Rules(open=True, limits=limits)))
    url = await listener.listen("127.0.0.1", 0)
    file = bind(tmp_path / "s.sock")
    server = Server(engine._engine, http=listener.protocol)
    await server.listen(file.socket)
    yield Served(engine, listener, url, file.path)
    await listener.close()
    await server.close()
    file.release()


def get(path: str = "/healthz", *lines: str, close: bool = True) -> bytes:
    head = [f"GET {path} HTTP/1.1", "Host: localhost", *lines]
    if close:
        head.append("Connection: close")
    return "\r\n".join([*head, "", ""]).encode()


async def test_one_socket_speaks_both(served: Served) -> None:
    line = b'{"type":"order.created","data":{"id":"7"}}\n'
    assert json.loads(await served.talk(line, unix=True, eof=True))["matched_total"] == 1
    answer = await served.talk(get("/v1/instances/order/7"), unix=True)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b'"key":"7"' in answer


async def test_a_peer_of_the_socket_is_known_by_the_kernel(served: Served) -> None:
    import os  # noqa: PLC0415

    body = b'{"type":"t","id":"e"}'
    await served.talk(
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body),
        unix=True,
    )
    assert (await served.engine.events.get("e")).by == actor_of(os.geteuid())


async def test_requests_are_pipelined_and_kept_alive(served: Served) -> None:
    answer = await served.talk(get(close=False) * 3 + get())
    assert answer.count(b"HTTP/1.1 200 OK") == 4


async def test_a_refusal_reaches_whoever_is_still_sending(served: Served) -> None:
    """And the connection goes on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for _ in range(3):
        writer.write(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"x" * 300_000)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 ") and b"connection: close" not in head.lower()
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.partition(b":")[2]))
    writer.close()


SMUGGLED = b"GET /v1/keys HTTP/1.1\r\nHost: localhost\r\n\r\n"
AMBIGUOUS: dict[str, bytes] = {
    "length and chunks": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "two lengths": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n"
    + SMUGGLED,
    "chunks that are not last": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "an odd word": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "a space before the colon": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length : 5\r\n\r\n"
    + SMUGGLED,
    "a length with a sign": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde",
    "a chunk that lies": b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nabc\r\n0\r\n\r\n" + SMUGGLED,
    "a line that is folded": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
    "a bare return": b"GET / HTTP/1.1\rHost: localhost\r\r" + SMUGGLED,
    "a null": b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_H22_a_request_that_could_be_read_in_two_ways_is_not_read(
    served: Served, data: bytes
) -> None:
    answer = await served.talk(data, eof=True)
    assert b"200 OK" not in answer
    assert answer.count(b"HTTP/1.1") <= 1


@pytest.mark.parametrize("served", [IMPATIENT], indirect=True)
async def test_H23_a_head_that_comes_slowly_is_not_waited_for(served: Served) -> None:
    answer = await served.talk(b"GET / HTTP/1.1\r\nHost: loc")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert await served.talk(b"") == b""


@pytest.mark.parametrize("served", [IMPATIENT], indirect=True)
async def test_H23_a_body_that_comes_slowly_is_not_waited_for(served: Served) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n{"
    answer = await served.talk(head)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"connection: close" in answer.lower()


async def test_H24_a_head_without_end_is_cut(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
    sent = 0
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while sent < 10 << 20:
                writer.write(b"a" * 65_536)
                sent += 65_536
                await writer.drain()
    answer = b""
    with suppress(ConnectionError):  # what was in flight may make the kernel send a reset
        answer = await reader.read()
    writer.close()
    assert b"431" in answer or sent < 10 << 20


async def test_H24_a_head_that_is_whole_but_too_large_is_refused(served: Served) -> None:
    answer = await served.talk(get("/healthz", "X: " + "a" * 35_000))
    assert answer.startswith(b"HTTP/1.1 431 ")
    answer = await served.talk(get("/healthz?" + "a" * 9_000))
    assert answer.startswith(b"HTTP/1.1 414 ")


async def test_a_websocket_is_not_spoken(served: Served) -> None:
    words = ("Upgrade: websocket", "Sec-WebSocket-Key: x", "Connection: Upgrade")
    answer = await served.talk(get("/healthz", *words))
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_drain_ends_what_would_take_for_ever_with_a_word(served: Served) -> None:
    started = await served.engine.start("order", {"id": "7"})
    waiting = asyncio.create_task(served.talk(get(f"/v1/instances/{started.id}/result")))
    feed = asyncio.create_task(served.talk(get("/v1/feed", close=False)))
    while len(served.listener._state.tasks) < 2:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.07)
    drained = asyncio.create_task(served.listener.drain(10))
    assert b"engine_stopping" in await feed
    assert b"HTTP/1.1 503" in (answer := await waiting) and b"engine_stopping" in answer
    await drained
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", served.port)


def test_uvicorn_is_the_one_whose_protocol_is_used_here() -> None:
    """Its classes are not its contract: a new version is looked at first."""
    major, minor = (int(part) for part in uvicorn.__version__.split(".")[:2])
    assert (0, 54) <= (major, minor) < (0, 60)


async def test_a_port_that_is_taken_is_told(served: Served) -> None:
    with pytest.raises(InvalidRequest, match="cannot listen on"):
        await served.listener.listen("127.0.0.1", served.port)


@pytest.mark.parametrize("text", ["8420", "localhost", ":8420", "localhost:x", "localhost:99999"])
def test_an_address_is_a_host_and_a_port(text: str) -> None:
    with pytest.raises(InvalidRequest, match="HOST:PORT"):
        mount.address(text, remote=False)


# -- the clients ---------------------------------------------------------------------------------


async def test_the_async_client_has_all_verbs_over_http(served: Served) -> None:
    async with Client(served.url) as client:
        assert await client.ping()
        accepted = await client.post({"type": "order.created", "data": {"id": "7"}})
        assert accepted.matched[0].action == "started"
        answers = [a async for a in client.post_many({"type": f"t{n}"} for n in range(1_200))]
        assert len(answers) == 1_200 and not any(isinstance(a, GreenroomError) for a in answers)
        started = await client.start("leave", {"id": "a b/c"}, key="a b/c", request_id="r")
        assert not (
            await client.start("leave", {"id": "a b/c"}, key="a b/c", request_id="r")
        ).created
        assert (await client.get("leave/a b/c")).id == started.instance
        assert (await client.pause("order/7", reason="audit")).status == "paused"
        await client.resume("order/7")
        waiting = asyncio.create_task(client.result("order/7"))
        entries = client.watch("order/7")
        assert (await anext(entries)).kind == "InstanceStarted"
        assert (await client.send("order/7", {"type": "order.paid", "data": {"id": "7"}})).delivered
        assert await waiting == "7"
        assert [e.kind async for e in entries][-1] == "InstanceCompleted"
        ask = (await client.asks.list()).items[0].id
        await client.answer(ask, {"approved": True}, by="anna")
        with pytest.raises(AlreadyDecided):
            await client.answer(ask, {"approved": True})
        assert (await client.list("workflow:order")).total == 1
        assert (await client.state_at("order/7", seq=1)).seq == 1
        assert (await client.why("order/7")).text
        assert (await client.history("order/7", limit=1)).cursor
        tail = client.tail(after=0)
        assert (await anext(tail)).type == "order.created"
        await tail.aclose()  # type: ignore[attr-defined]
        with pytest.raises(NotFound, match="no instance nothing"):
            await client.get("nothing")
        key = await client.keys.create("k", ["read"])
        assert [one.name for one in await client.keys.list()] == ["k"]
        async with Client(served.url, key=key.key) as other:
            with pytest.raises(GreenroomError, match="needs the scope publish"):
                await other.post({"type": "t"})
        assert (await client.keys.revoke("k")).revoked
        assert (await client.info()).definitions == 2


async def test_the_blocking_client_has_them_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SERVER", served.url)

    def work() -> list[str]:
        with SyncClient() as client:
            assert client.ping()
            client.post({"type": "order.created", "data": {"id": "7"}})
            answers = list(client.post_many([{"type": "order.paid", "data": {"id": "7"}}] * 3))
            assert len(answers) == 3
            assert client.result("order/7") == "7"
            kinds = [entry.kind for entry in client.watch("order/7")]
            with pytest.raises(NotFound):
                client.get("nothing")
            assert next(iter(client.tail(after=0))).type == "order.created"
            assert client.prune("1d", dry_run=True).dry_run
            return kinds

    assert "InstanceCompleted" in await asyncio.to_thread(work)


async def test_the_command_line_works_over_http(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from greenroom.runtime.main import main  # noqa: PLC0415

    async def command(*words: str, code: int = 0) -> str:
        assert (
            await asyncio.to_thread(main, [*words, "-o", "jsonl", "--server", served.url]) == code
        )
        told = capsys.readouterr()
        return told.out if code == 0 else told.err

    assert json.loads(await command("post", "order.created", "id=7"))["matched_total"] == 1
    assert json.loads(await command("show", "order/7"))["status"] == "waiting"
    made = json.loads(
        await command("key", "create", "shop", "--scope", "read", "--scope", "start:order")
    )
    monkeypatch.setenv("GREENROOM_KEY", made["key"])
    assert json.loads(await command("ls"))["key"] == "7"
    assert "not_permitted" in await command("cancel", "order/7", code=5)
    assert json.loads(await command("start", "order", "id=8"))["created"]
    monkeypatch.delenv("GREENROOM_KEY")
    (row,) = (json.loads(line) for line in (await command("key", "ls")).splitlines())
    assert (row["name"], row["scopes"], row["revoked"]) == ("shop", ["read", "start:order"], False)
    assert made["key"] not in str(row)
    assert json.loads(await command("key", "revoke", "shop"))["revoked"]
    monkeypatch.setenv("GREENROOM_KEY", made["key"])
    assert "not_authenticated" in await command("ls", code=5)


async def test_a_link_from_the_shell_logs_a_browser_in_as_who_asked_for_it(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from greenroom.runtime.main import main  # noqa: PLC0415

    words = ["web", "-o", "json", "--server", f"unix://{served.path}"]
    assert await asyncio.to_thread(main, words) == 0
    link = json.loads(capsys.readouterr().out)["url"]
    assert link.startswith(served.url)
    answer = await served.talk(get(link.removeprefix(served.url)))
    assert answer.startswith(b"HTTP/1.1 303 ") and b"set-cookie: greenroom=" in answer
    assert b"401" in (await served.talk(get(link.removeprefix(served.url)))).split(b"\r\n")[0]
    served.listener.web.url = None
    assert await asyncio.to_thread(main, words) == 2
    assert "serves no port" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["web", "--server", served.url]) == 2


async def test_a_wrong_key_and_a_wrong_address_are_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_KEY", "gr_000000000000_" + "a" * 43)
    async with Client(served.url) as client:
        with pytest.raises(NotAuthenticated):
            await client.info()
    monkeypatch.setenv("GREENROOM_KEY", "a\r\nX: b")
    async with Client(served.url) as client:
        with pytest.raises(InvalidRequest, match="never has"):
            await client.info()
    monkeypatch.delenv("GREENROOM_KEY")
    async with Client(f"{served.url}/elsewhere") as client:
        with pytest.raises(NotFound):
            await client.info()
    for make in (Client, SyncClient):
        with pytest.raises(InvalidRequest, match="not the address"):
            make("http://user:word@host/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unreachable, match="no engine at"):
            async with Client(nobody):
                pass
        with pytest.raises(Unreachable, match="no engine at"):
            await asyncio.to_thread(lambda: SyncClient(nobody).__enter__())


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", Unreachable, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab", Unreachable, "closed the connection"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 4\r\n\r\n<h1>", Unreachable, "no greenroom daemon"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<h1>", Unreachable, "no greenroom daemon"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Unreachable, "no engine at"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Unreachable, "closed"),
    ],
)
async def test_a_stranger_at_the_address_is_told_from_a_daemon(
    answer: bytes, error: type[GreenroomError], words: str
) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(stranger, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client(url)
        with pytest.raises(error, match=words):
            await client.info()
        await client.close()

        def blocking() -> None:
            with SyncClient(url) as other:
                other.info()

        with pytest.raises(error):
            await asyncio.to_thread(blocking)


async def test_who_is_at_the_other_end_is_asked_once_for_a_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def owner_of(client: Any, server: Any) -> str:
        asked.append(client)
        return f"uid:{len(asked)}/somebody"

    monkeypatch.setattr(guard, "owner_of", owner_of)
    body = b'{"type":"x"}'
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
    one, last = head + b"\r\n" + body, head + b"Connection: close\r\n\r\n" + body
    answer = await served.talk(one + one + last)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    await served.talk(last)
    assert len(asked) == 2
    events = (await served.engine.events.list()).items
    assert [event.by for event in reversed(events)] == ["uid:1/somebody"] * 3 + ["uid:2/somebody"]


async def test_whose_connection_it_is_is_known_where_nobody_needs_a_key() -> None:
    """On this machine people are who the system says they are, as on the socket."""
    here = actor_of(os.getuid())
    met: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set_result(writer.get_extra_info("peername")[:2])
        writer.close()

    server = await asyncio.start_server(came, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    _, writer = await asyncio.open_connection(*address)
    client = await met
    assert client == writer.get_extra_info("sockname")[:2]
    assert owner_of(client, address) == here
    assert owner_of((client[0], 1), address) is None
    assert owner_of(("nowhere", 1), address) is None
    writer.close()
    server.close()
