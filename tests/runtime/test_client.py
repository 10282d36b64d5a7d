"""Both clients against a real server."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom.definitions.errors import (
    GreenroomError,
    InstanceFailed,
    InvalidEvent,
    InvalidInput,
    InvalidRequest,
    NotFound,
    NotPermitted,
    Timeout,
    Unreachable,
)
from greenroom.definitions.events import Event
from greenroom.runtime import blocking, clientverbs, shapes
from greenroom.runtime.async_client import Client
from greenroom.runtime.client import SyncClient
from greenroom.runtime.replies import unreachable, value_of
from greenroom.runtime.server import Peer

Serve = Callable[..., Any]


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


def sync_ping(path: Path) -> bool:
    with SyncClient(path) as client:
        return client.ping()


# -- async -------------------------------------------------------------------------------------


async def test_verbs_give_shapes(serve: Serve) -> None:
    served = await serve()
    async with Client(f"unix://{served.path}") as client:
        assert await client.ping()
        assert await client.start("order", {"n": 1}, key="7") == shapes.Started(
            "0193-new", "7", "running", True
        )
        assert await client.pause("i", reason="audit") == shapes.Verb("i", "paused")
        assert (await client.info()).epoch == 7
        assert (await client.doctor(deep=True))[0].text == "deep=True"
        assert (await client.schedules.list())[0].workflow == "order"
        assert len(await client.schedules.next("s-1", 4)) == 4
        accepted = await client.post(Event(type="t", id="e-1"))
        assert (accepted.id, accepted.accepted) == ("e-1", True)


async def test_errors_are_the_classes_of_the_engine(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        with pytest.raises(NotFound) as caught:
            await client.get("missing")
        assert caught.value.hint == "greenroom ls"
        with pytest.raises(InvalidRequest, match="did you mean"):
            await client.call("puase")
        with pytest.raises(InvalidEvent, match="bad is refused"):
            await client.post({"type": "bad"})
        assert await client.ping()


async def test_what_cannot_be_sent_is_refused_here(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        with pytest.raises(InvalidInput):
            await client.post({"type": "t", "data": float("nan")})
        with pytest.raises(InvalidEvent, match='did you mean "data"'):
            await client.post({"type": "t", "payload": 1})
        with pytest.raises(InvalidEvent):
            await client.post({"type": "t", "method": "x", "data": {}, "id": 1})
        assert (await client.post({"type": "t", "id": "1"})).id == "1"


async def test_many_tasks_share_a_connection_and_a_commit(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        posts = [client.post({"type": "t", "id": str(n)}) for n in range(100)]
        replies = await asyncio.gather(*posts)
    assert [reply.id for reply in replies] == [str(n) for n in range(100)]
    assert max(served.engine.groups) == 100


async def test_post_many_gives_replies_in_order_and_errors_as_values(serve: Serve) -> None:
    served = await serve()
    events = [{"type": "bad" if n % 100 == 7 else "t", "id": str(n)} for n in range(3000)]
    async with Client(served.path) as client:
        replies = [reply async for reply in client.post_many(events)]
    assert len(replies) == 3000
    for number, reply in enumerate(replies):
        if number % 100 == 7:
            assert isinstance(reply, InvalidEvent)
        else:
            assert isinstance(reply, shapes.Accepted)
            assert reply.id == str(number)
    assert len(served.engine.groups) < 300


async def test_result_is_a_value_and_holds_up_nothing(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        waiting = asyncio.create_task(client.result("a"))
        assert await client.ping()
        served.engine.end("a", {"status": "paid"})
        assert await waiting == {"status": "paid"}


async def test_a_cancelled_call_does_not_shift_the_replies(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        served.engine.hold()
        first = asyncio.create_task(client.post({"type": "t", "id": "1"}))
        second = asyncio.create_task(client.post({"type": "t", "id": "2"}))
        await served.until(lambda: len(served.engine.log) == 2)
        first.cancel()
        served.engine.release()
        assert (await second).id == "2"


async def test_watch_and_tail_iterate_until_the_end(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        for seq in (1, 2):
            served.engine.entries.put_nowait(shapes.Entry(seq, seq, "now", "StepStarted"))
        served.engine.entries.put_nowait(None)
        assert [entry.seq async for entry in client.watch("i")] == [1, 2]
        events = []
        with pytest.raises(NotFound, match="the tail ends here"):
            async for event in client.tail():
                events.append(event)
        assert [event.pos for event in events] == [1, 2]


async def test_a_lost_connection_is_told_and_the_next_call_connects_again(serve: Serve) -> None:
    served = await serve()
    async with Client(served.path) as client:
        await client.ping()
        served.engine.hold()
        waiting = asyncio.create_task(client.post({"type": "t"}))
        await served.until(lambda: served.engine.log)
        for connection in list(served.server.connections):
            connection.abort()
        with pytest.raises(Unreachable, match="closed the connection"):
            await waiting
        assert await client.ping()


async def test_a_refused_user_is_told_so(serve: Serve) -> None:
    served = await serve(peer=lambda _: Peer(1, 4242, 1))
    client = Client(served.path)
    with pytest.raises((NotPermitted, Unreachable)):
        await client.ping()
    await client.close()
    with pytest.raises((NotPermitted, Unreachable)):
        await in_thread(lambda: sync_ping(served.path))


async def test_no_daemon_says_how_to_start_one(short_dir: Path) -> None:
    path = short_dir / "s"
    for connect in (Client(path).ping(), in_thread(lambda: sync_ping(path))):
        with pytest.raises(Unreachable) as caught:
            await connect
        assert caught.value.message == f"no engine at {path}"
        assert caught.value.hint is not None
        assert "greenroom dev" in caught.value.hint
        assert caught.value.exit_code == 4


def test_somebody_elses_socket_names_the_owner(short_dir: Path) -> None:
    path = short_dir / "s"
    path.touch(mode=0o660)
    error = unreachable(path, PermissionError(13, "Permission denied"))
    assert error.message.startswith(f"{path} is owned by ")
    assert f"uid {os.geteuid()}" in error.message
    assert error.hint is not None
    assert "sudo -u" in error.hint


def test_an_outcome_becomes_a_value_or_the_error_that_says_how_it_ended() -> None:
    problem = shapes.Problem("step_failed", "card refused")
    assert value_of(shapes.Outcome("i", "completed", "ok", 5, None)) == 5
    with pytest.raises(InstanceFailed, match="card refused"):
        value_of(shapes.Outcome("i", "failed", None, None, problem))
    with pytest.raises(Timeout, match="still waiting"):
        value_of(shapes.Outcome("i", "waiting", None, None, None))


# -- blocking ----------------------------------------------------------------------------------


async def test_the_blocking_client_has_the_same_verbs(serve: Serve) -> None:
    served = await serve()
    served.engine.end("a", 5)
    for seq in (1, 2):
        served.engine.entries.put_nowait(shapes.Entry(seq, seq, "now", "StepStarted"))
    served.engine.entries.put_nowait(None)

    def work() -> None:
        with SyncClient(f"unix://{served.path}") as client:
            assert client.ping()
            assert client.post({"type": "t", "id": "e"}).id == "e"
            assert client.pause("i").status == "paused"
            assert client.result("a") == 5
            assert client.call("get", {"instance": "x"}) == {"id": "x"}
            assert [entry.seq for entry in client.watch("i")] == [1, 2]
            assert client.info().epoch == 7
            with pytest.raises(NotFound):
                client.get("missing")
            with pytest.raises(InvalidEvent):
                client.post({"type": "bad"})
            assert client.ping()

    await in_thread(work)


async def test_a_blocking_client_that_lost_an_idle_connection_connects_again(serve: Serve) -> None:
    """As after a restart of the daemon: nothing was sent that could be half done."""
    served = await serve()
    client = SyncClient(served.path)
    calls = (client.ping, lambda: client.post({"type": "x"}), client.ping)
    for call in calls:
        assert await in_thread(call)
        for connection in list(served.server.connections):
            connection.abort()
        await served.until(lambda: not served.server.connections)
    client.close()


async def test_the_blocking_client_pipelines(serve: Serve) -> None:
    served = await serve()
    events = [
        {"type": "bad" if n == 7 else "t", "id": str(n), "data": "x" * 400} for n in range(5000)
    ]

    def work() -> list[shapes.Accepted | GreenroomError]:
        with SyncClient(served.path) as client:
            replies = list(client.post_many(events))
            assert client.ping()
            return replies

    replies = await in_thread(work)
    assert isinstance(replies[7], InvalidEvent)
    assert [r.id for r in replies if isinstance(r, shapes.Accepted)][-1] == "4999"
    assert len(served.engine.groups) < 500


async def test_leaving_post_many_early_leaves_the_client_usable(serve: Serve) -> None:
    served = await serve()

    def work() -> None:
        with SyncClient(served.path) as client:
            for reply in client.post_many({"type": "t", "id": str(n)} for n in range(2000)):
                assert isinstance(reply, shapes.Accepted)
                break
            assert client.ping()
            assert client.post({"type": "t", "id": "last"}).id == "last"

    await in_thread(work)


def verbs_of(kind: type) -> set[str]:
    return {
        name
        for name, member in vars(kind).items()
        if inspect.iscoroutinefunction(inspect.unwrap(member)) and name != "ask"
    }


NOUNS = [
    kind.__name__
    for kind in vars(clientverbs).values()
    if inspect.isclass(kind)
    and issubclass(kind, clientverbs.Group)
    and kind is not clientverbs.Group
]


@pytest.mark.parametrize("noun", [*NOUNS, "Verbs"])
def test_every_verb_has_its_blocking_twin(noun: str, short_dir: Path) -> None:
    twin = blocking.BlockingVerbs if noun == "Verbs" else getattr(blocking, noun)
    assert verbs_of(twin) == verbs_of(getattr(clientverbs, noun)) != set()
    if noun != "Verbs":
        client = SyncClient(short_dir / "s")
        assert isinstance(getattr(client, noun.lower()), twin)
        assert hasattr(Client(short_dir / "s"), noun.lower())


def test_a_blocking_verb_that_would_wait_is_a_fault_of_ours() -> None:
    class Waits:
        async def verb(self) -> None:
            await asyncio.sleep(0)

    call = blocking.blocking(Waits.verb)
    with pytest.raises(AssertionError, match="waits for more than an answer"):
        call(blocking.Blocking(Waits()))


def test_the_blocking_client_imports_little() -> None:
    code = (
        "import sys, greenroom.runtime.client; print([m for m in "
        "('asyncio', 'anyio', 'aiosqlite', 'croniter', 'structlog', 'click', 'logging') "
        "if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_async_client_can_be_had_from_the_same_place() -> None:
    from greenroom.runtime import client  # noqa: PLC0415 - the lazy name is what is tested

    assert client.Client is Client
