"""Processes for steps: a function that never ends keeps neither the others nor the end of the
daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from greenroom.runtime.client import SyncClient
from greenroom.runtime.threads import Threads
from greenroom.runtime.workers import Workers


def pid(n: int) -> tuple[int, int]:
    return os.getpid(), n


def never(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(process: int) -> None:
    async with asyncio.timeout(20):
        while is_there(process):
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_what_is_given_up_is_killed_and_the_next_call_has_a_process_again(
    tmp_path: Path,
) -> None:
    workers = Workers(1)
    seen = tmp_path / "pid"

    async def begun() -> int:
        async with asyncio.timeout(20):
            while not (seen.exists() and seen.read_text()):
                await asyncio.sleep(0.01)
        return int(seen.read_text())

    cancelled = asyncio.create_task(workers.run(None, never, str(seen)))
    first = await begun()
    waiting = asyncio.create_task(workers.run(None, pid, 1))
    given_up = asyncio.create_task(workers.run(None, pid, 2))
    await asyncio.sleep(0)
    given_up.cancel()
    cancelled.cancel()
    second, n = await waiting
    assert (n, first != second) == (1, True)
    await gone(first)
    assert await workers.run(None, pid, 3) == (second, 3)  # it is used again
    with pytest.raises(TimeoutError):
        await workers.run(0.05, never, str(tmp_path / "other"))
    await gone(second)
    with pytest.raises(ValueError, match="invalid literal"):
        await workers.run(None, int, "x")
    last, _ = await workers.run(None, pid, 4)
    workers.stop()
    await gone(last)


async def test_a_process_ends_with_the_one_that_made_it_however_that_ended(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    made = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "ends.py"], cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    await gone(int(made.stdout))


ENDS = """
import asyncio, os, signal
from greenroom.runtime.workers import Workers

async def main():
    print(await Workers(1).run(None, os.getpid), flush=True)
    os._exit(0)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_threads_of_functions_that_never_end_are_made_up_for() -> None:
    threads, held = Threads(1), threading.Event()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await threads.run(0.01, "held", held.wait)
    assert await threads.run(None, "name", lambda: 7) == 7
    assert threads.lost == 3
    in_front = asyncio.create_task(threads.run(None, "held", held.wait))
    never = asyncio.create_task(threads.run(None, "name", held.wait))
    await asyncio.sleep(0)
    never.cancel()  # it has not begun: no thread is lost
    held.set()
    await in_front
    async with asyncio.timeout(20):
        while threads.lost:
            await asyncio.sleep(0.001)
    threads.stop()


STUCK = """
import time
from greenroom import begin, done, step, workflow

@step
def stuck():
    print("begun", flush=True)
    while True:
        time.sleep(0.01)

@workflow
def runs():
    return begin >> stuck >> done
"""


@pytest.mark.crash
def test_a_plain_function_that_never_ends_does_not_keep_the_daemon(short_dir: Path) -> None:
    (short_dir / "app.py").write_text(STUCK)
    code = (
        "import sys; from pathlib import Path; from greenroom.runtime.daemon import serve; "
        "sys.exit(serve(['app.py'], data=Path('d'), drain_s=1))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=short_dir, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready ")
        with SyncClient(f"unix://{short_dir / 'd' / 'greenroom.sock'}") as client:
            client.start("runs")
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "the process ends without it" in err
