"""Commands over a real socket, against the server and an engine in memory."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from greenroom.runtime import shapes
from greenroom.runtime.main import main

Type = Callable[..., Coroutine[Any, Any, tuple[int, list[Any], str]]]


@pytest.fixture
async def served(serve: Any) -> Any:
    return await serve()


@pytest.fixture
def type_in(
    served: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Type:
    """Exit code, decoded lines of standard output, standard error."""
    monkeypatch.setenv("GREENROOM_SERVER", f"unix://{served.path}")

    async def run(*args: str, stdin: str = "") -> tuple[int, list[Any], str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = await asyncio.to_thread(main, list(args))
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


async def test_start_sends_what_was_typed(served: Any, type_in: Type) -> None:
    code, out, _ = await type_in("start", "order", "id=7", "n:=2", "--key", "7")
    assert code == 0
    assert out == [{"instance": "0193-new", "key": "7", "status": "running", "created": True}]
    name, workflow, given, options = served.engine.log[0]
    assert (name, workflow, given) == ("start", "order", {"id": "7", "n": 2})
    assert options["key"] == "7"


async def test_post_takes_the_short_way_and_options_the_long_one(
    served: Any, type_in: Type
) -> None:
    for extra in ((), ("--subject", "x")):
        code, (reply,), _ = await type_in("post", "order.created", "id=7", *extra)
        assert (code, reply["accepted"]) == (0, True)
    assert [entry[:2] for entry in served.engine.log] == [("post", "order.created")] * 2


async def test_a_stream_is_answered_in_its_order(type_in: Type) -> None:
    lines = [
        '{"type": "a", "id": "1"}',
        '{"type": ""}',
        '{"type": "bad"}',
        '{"type": "b", "id": "4"}',
    ]
    code, out, _ = await type_in("post", "-d", "-", stdin="\n".join(lines))
    assert code == 2
    assert [reply.get("id") or reply["error"]["code"] for reply in out] == [
        "1", "invalid_event", "invalid_event", "4",
    ]  # fmt: skip


async def test_a_long_stream_is_pipelined(served: Any, type_in: Type) -> None:
    lines = "".join(f'{{"type": "a", "id": "{n}"}}\n' for n in range(3000))
    code, out, _ = await type_in("post", "-d", "-", stdin=lines)
    assert (code, [reply["id"] for reply in out]) == (0, [str(n) for n in range(3000)])
    assert len(served.engine.groups) < 300


async def test_verbs_and_their_reasons_arrive(served: Any, type_in: Type) -> None:
    code, out, _ = await type_in("pause", "0193c0de", "--reason", "audit", "--request-id", "r-1")
    assert (code, out[0]["status"]) == (0, "paused")
    name, instance, options = served.engine.log[0]
    assert (name, instance) == ("pause", "0193c0de")
    assert (options["reason"], options["request_id"]) == ("audit", "r-1")


async def test_waiting_waits_for_the_end(served: Any, type_in: Type) -> None:
    waiting = asyncio.create_task(type_in("start", "order", "--wait"))
    await served.until(lambda: served.engine.ended)
    served.engine.end("0193-new", {"ok": True})
    code, (outcome,), _ = await waiting
    assert (code, outcome["result"]) == (0, {"ok": True})


async def test_watch_with_a_filter_prints_entries_until_the_end(served: Any, type_in: Type) -> None:
    for item in (shapes.Entry(1, 1, "2026-11-23T12:00:00Z", "InstanceStarted"), None):
        served.engine.entries.put_nowait(item)
    code, out, _ = await type_in("watch", "workflow:order")
    assert (code, [entry["kind"] for entry in out]) == (0, ["InstanceStarted"])


async def test_an_error_in_a_stream_ends_it_with_its_code(type_in: Type) -> None:
    code, out, err = await type_in("events", "tail")
    assert (code, [event["pos"] for event in out]) == (3, [1, 2])
    assert err == "error not_found: the tail ends here\n"


async def test_errors_keep_code_and_hint(type_in: Type) -> None:
    code, out, err = await type_in("show", "missing")
    assert (code, out) == (3, [])
    assert err == "error not_found: there is no instance missing\n  greenroom ls\n"


async def test_look_ups_of_the_daemon(type_in: Type) -> None:
    assert (await type_in("ping"))[:2] == (0, [{"pong": True}])
    assert (await type_in("info"))[1][0]["epoch"] == 7
    assert (await type_in("doctor", "--deep"))[1][0]["text"] == "deep=True"
    assert (await type_in("sched", "next", "s-1", "-n", "2"))[1] == ["2026-11-23T12:00:00Z"] * 2
