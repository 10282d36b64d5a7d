"""An engine or a client where no event loop of asyncio runs, and a blocking one that is not open."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from greenroom import Client, Engine, workflow
from greenroom.definitions.errors import EngineStopping, InvalidRequest
from greenroom.runtime.journal import Journal


@workflow
async def echo(n: int) -> int:
    return n


def test_another_kind_of_event_loop_is_told_what_greenroom_runs_on(tmp_path: Path) -> None:
    """As under trio, whose loop drives coroutines without being one of asyncio."""
    for opening, blocking in (
        (Engine.open(":memory:").__aenter__(), "Engine.sync"),
        (Client(f"unix://{tmp_path}/greenroom.sock").__aenter__(), "SyncClient"),
    ):
        with pytest.raises(InvalidRequest, match="runs on asyncio") as refused:
            opening.send(None)
        assert refused.value.hint is not None and blocking in refused.value.hint


def test_a_blocking_engine_that_is_not_open_says_so() -> None:
    engine = Engine.sync(":memory:", workflows=[echo])
    with pytest.raises(EngineStopping, match="the engine is new"):
        engine.start("echo", {"n": 1})
    with engine:
        assert engine.result(engine.start("echo", {"n": 1}).id) == 1
    with pytest.raises(EngineStopping, match="the engine is closed"):
        engine.start("echo", {"n": 2})
    with pytest.raises(EngineStopping, match="the engine is closed"):
        next(iter(engine.watch()))


def test_a_blocking_engine_that_is_interrupted_while_it_opens_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C: neither a task nor the lock of the store."""
    begun = threading.Event()
    real, hand_over = Journal.open, asyncio.run_coroutine_threadsafe

    async def slow(journal: Journal) -> Any:
        begun.set()
        await asyncio.sleep(0.2)
        return await real(journal)

    def interrupted(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        hand_over(coroutine, loop)
        begun.wait(10)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "open", slow)
        patched.setattr("greenroom.runtime.sync.asyncio.run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Engine.sync(tmp_path / "app.db").__enter__()
    with Engine.sync(tmp_path / "app.db", workflows=[echo]) as engine:
        assert engine.result(engine.start("echo", {"n": 1}).id) == 1
