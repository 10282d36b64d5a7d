"""A workflow that takes the process down with it, and one that blocks the event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.definitions.errors import GreenroomError
from greenroom.runtime.client import SyncClient

APP = """
import asyncio, os, time
from greenroom import begin, done, sleep, step, workflow

@step
async def boom():
    await asyncio.sleep(0.2)
    os._exit(9)

@workflow(on="go.poison")
def poison():
    return begin >> boom >> done

@workflow
async def blocks():
    for _ in range(6):
        time.sleep(2.2)
        await sleep("50ms")

@step
async def slow():
    await asyncio.sleep(0.3)
    return {"slow": True}

@workflow
def innocent():
    return begin >> slow >> done

@step
async def fast():
    return {"fast": True}

@workflow
def fine():
    return begin >> fast >> done
"""


def serve(folder: Path) -> subprocess.Popen[bytes]:
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "greenroom.runtime.main", "serve", "--data", str(folder / "d"),
             str(folder / "app.py")],
            stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"ready ")
    return process


def client(folder: Path) -> SyncClient:
    return SyncClient(f"unix://{folder / 'd' / 'greenroom.sock'}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(40)
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.crash
def test_R19_a_step_that_kills_the_process_three_times_is_parked_and_the_others_go_on(
    short_dir: Path,
) -> None:
    """Those that were in flight with it each time, too: before it and behind it."""
    (short_dir / "app.py").write_text(APP)
    process = serve(short_dir)
    innocents = []
    try:
        with client(short_dir) as asking:
            innocents.append(asking.start("innocent", {}).instance)
            asking.post({"type": "go.poison", "id": "1"})
            for _ in range(4):
                innocents.append(asking.start("innocent", {}).instance)
    except GreenroomError as error:
        assert error.code == "unreachable"
    deaths = 0
    while deaths < 5:
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            break
        deaths += 1
        assert process.stdout is not None
        process.stdout.close()
        process = serve(short_dir)
    with client(short_dir) as asking:
        (found,) = asking.list("workflow:poison").items
        assert (found.status, found.error and found.error.code) == ("failed", "poison")
        started = asking.start("fine", {})
        assert asking.result(started.instance, timeout=10) == {"fast": True}
        for innocent in innocents:
            assert asking.result(innocent, timeout=10) == {"slow": True}
    assert deaths == 3
    end(process)


@pytest.mark.crash
def test_a_program_that_keeps_blocking_the_loop_is_named_with_its_stack_and_parked(
    short_dir: Path,
) -> None:
    (short_dir / "app.py").write_text(APP)
    process = serve(short_dir)
    with client(short_dir) as asking:
        started = asking.start("blocks", {})
        found = asking.outcome(started.instance, timeout=30)
        assert found.error is not None and found.error.code == "poison"
    log = (short_dir / "log").read_text()
    assert "blocked" in log and "time.sleep(2.2)" in log and started.instance in log
    end(process)
