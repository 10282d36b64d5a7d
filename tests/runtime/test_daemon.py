"""The daemon: its one line, its signals, its exit codes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidDefinition,
    InvalidRequest,
    StoreDamaged,
)
from greenroom.runtime import daemon, lock
from greenroom.runtime.async_client import Client
from greenroom.runtime.client import SyncClient
from greenroom.runtime.daemon import Settings

APP = """
from greenroom.definitions.declare import workflow

@workflow(on="order.created")
async def order(n: int):
    return n + 1
"""
READY = re.compile(
    r"ready socket=(?P<socket>\S+) http=- pid=(?P<pid>\d+) epoch=(?P<epoch>\d+) "
    r"recovered=(?P<recovered>\d+) ms=(?P<ms>\d+)\n"
)

needs_engine = pytest.mark.skipif(
    not (Path(daemon.__file__).parent / "engine.py").exists(), reason="needs the engine"
)


@pytest.fixture(autouse=True)
def doors() -> Iterator[None]:
    """What the daemon does to its process must not stay with the tests."""
    umask = os.umask(0o022)
    os.umask(umask)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    limits = {
        kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    os.umask(umask)
    for kind, limit in limits.items():
        resource.setrlimit(kind, limit)


class Running:
    """A daemon in this process, around the engine of the tests."""

    def __init__(self, engine: Any, settings: Settings) -> None:
        self.lines: list[str] = []
        self.ready = asyncio.Event()
        self.task = asyncio.create_task(
            daemon.run(lambda data, **options: engine, settings, [], time.monotonic(), self._out)
        )

    def _out(self, text: str) -> None:
        self.lines.append(text)
        self.ready.set()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(os.fspath(path))
        sock.setblocking(False)
        yield sock


def received(sock: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


async def test_it_says_ready_serves_and_leaves_nothing_behind(
    fake_engine: Any, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = short_dir / "d"
    with listening(short_dir / "n") as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(short_dir / "n"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000")
        running = Running(fake_engine, Settings(what=(), data=data))
        await running.ready.wait()
        (line,) = running.lines
        match = READY.fullmatch(line)
        assert match is not None, line
        assert match["socket"] == str(data / "greenroom.sock")
        assert (match["pid"], match["epoch"]) == (str(os.getpid()), "7")
        async with Client(match["socket"]) as client:
            assert await client.ping()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running.task == 0
        told = received(manager)
    assert told[0] == "WATCHDOG=1" or told[0].startswith("READY=1")
    assert any(text == "READY=1\nSTATUS=recovered 0 instances" for text in told)
    assert any(text.startswith("RELOADING=1\n") for text in told)
    assert "STOPPING=1" in told
    assert fake_engine.log == [("drained",), ("closed",)]
    assert not (data / "greenroom.sock").exists()


async def test_what_was_begun_is_answered_before_it_leaves(
    fake_engine: Any, short_dir: Path
) -> None:
    fake_engine.hold()
    running = Running(fake_engine, Settings(what=(), data=short_dir, watchdog=False))
    await running.ready.wait()
    async with Client(short_dir / "greenroom.sock") as client:
        posting = asyncio.create_task(client.post({"type": "t", "id": "e"}))
        while not fake_engine.log:
            await asyncio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        fake_engine.release()
        assert (await posting).id == "e"
    assert await running.task == 0


def test_a_second_daemon_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o700)
    with lock.acquire(lock.path_of(tmp_path)):
        assert daemon.serve(["missing.py"], data=tmp_path) == 73
    err = capsys.readouterr().err
    assert f"error locked: {tmp_path} is in use by pid {os.getpid()}" in err
    assert "this process has it open already" in err


def test_definitions_that_cannot_be_loaded_are_the_callers_to_show(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(InvalidDefinition, match="no such file"):
        daemon.serve(["missing.py"], data=tmp_path)


@pytest.mark.parametrize(
    ("http", "words"),
    [
        (daemon.Http(address="8420"), "is not HOST:PORT"),
        (daemon.Http(address="0.0.0.0:8420"), "reached from other machines"),
        (daemon.Http(address="[::]:8420"), "reached from other machines"),
        (daemon.Http(address="0.0.0.0:8420", remote=True, open=True), "this machine alone"),
    ],
)
def test_an_address_that_would_be_unsafe_is_refused_before_anything_is_opened(
    tmp_path: Path, http: daemon.Http, words: str
) -> None:
    with pytest.raises(GreenroomError, match=words):
        daemon.serve(["missing.py"], data=tmp_path / "never", http=http)
    assert not (tmp_path / "never").exists()


def test_without_the_web_extra_a_port_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenroom.runtime.web.mount.is_installed", lambda: False)
    with pytest.raises(InvalidRequest, match="web extra"):
        daemon.serve([], data=tmp_path, http=daemon.Http(address="127.0.0.1:8420"))


@pytest.mark.parametrize(
    ("error", "code"), [(StoreDamaged("page 7"), 65), (OSError(5, "Input/output error"), 74)]
)
def test_what_is_wrong_with_the_store_has_its_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    async def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr(daemon, "_serve", fails)
    tmp_path.chmod(0o700)
    assert daemon.serve([], data=tmp_path) == code
    assert str(error.args[-1]) in capsys.readouterr().err


def test_the_doors_are_shut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.shut_doors()
    assert os.umask(0o077) == 0o077
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


# -- a real process ----------------------------------------------------------------------------

START = "from greenroom.runtime.daemon import serve; import sys; from pathlib import Path; "


@pytest.fixture
def start(short_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*what: str) -> subprocess.Popen[str]:
        code = f"{START}sys.exit(serve({list(what)!r}, data=Path({str(short_dir / 'd')!r})))"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=short_dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@needs_engine
@pytest.mark.crash
def test_a_real_daemon_serves_is_killed_and_recovers(
    short_dir: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    (short_dir / "app_daemon.py").write_text(APP)
    first = start("app_daemon.py")
    assert first.stdout is not None
    line = first.stdout.readline()
    ready = READY.fullmatch(line)
    assert ready is not None, line + (first.stderr.read() if first.stderr else "")
    with SyncClient(ready["socket"]) as client:
        accepted = client.post({"type": "order.created", "id": "e-1", "data": {"n": 4}})
        assert accepted.matched[0].action == "started"
        instance = accepted.matched[0].instance
        assert instance is not None
        assert client.result(instance, timeout=10) == 5
        first.kill()
    second = start("app_daemon.py")
    assert second.stdout is not None
    again = READY.fullmatch(second.stdout.readline())
    assert again is not None
    assert int(again["epoch"]) == int(ready["epoch"]) + 1
    with SyncClient(again["socket"]) as client:
        assert client.result(instance, timeout=10) == 5
        assert client.post({"type": "order.created", "id": "e-1", "data": {"n": 4}}).duplicate
    second.send_signal(signal.SIGTERM)
    out, err = second.communicate(timeout=20)
    assert second.returncode == 0, err
    assert out == ""
    for text in err.splitlines():
        json.loads(text)
