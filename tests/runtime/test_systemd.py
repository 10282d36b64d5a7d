"""The service manager's protocol and the unit files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.runtime import systemd


@pytest.fixture
def manager(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = short_dir / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(os.fspath(path))
        sock.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(path))
        yield sock


def test_the_manager_is_told_in_lines(manager: socket.socket) -> None:
    assert systemd.notify(READY=1, STATUS="recovered 3 instances")
    assert manager.recv(4096) == b"READY=1\nSTATUS=recovered 3 instances"
    assert systemd.reloading()
    assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify(READY=1)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    assert not systemd.notify(READY=1)


def test_the_watchdog_time_is_ours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.watchdog_s() == 30
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_s() is None


def test_sockets_that_were_handed_over_are_taken_once(short_dir: Path) -> None:
    code = (
        "import os; os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "from greenroom.runtime import systemd\n"
        "print([s.getsockname() for s in systemd.listen_sockets()], systemd.listen_sockets())"
    )
    path = short_dir / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def as_fd_3() -> None:
            os.dup2(listener.fileno(), 3)

        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "LISTEN_FDS": "1"},
            preexec_fn=as_fd_3,
            close_fds=False,
            capture_output=True,
            text=True,
            check=True,
        )
    assert run.stdout.strip() == f"['{path}'] []"


def test_the_units_name_the_command_and_the_limits() -> None:
    unit = systemd.service_unit(["app.py", "my flows/"])
    assert "serve app.py 'my flows/'" in unit
    for line in ("Type=notify", "WatchdogSec=30", "RestartPreventExitStatus=2 65 73", "UMask=0077"):
        assert line in unit.splitlines()
    assert "WantedBy=default.target" in systemd.service_unit(["app.py"], user=True)
    assert "ListenStream=%t/greenroom/greenroom.sock" in systemd.socket_unit()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_units_are_valid(tmp_path: Path) -> None:
    (tmp_path / "greenroom.service").write_text(systemd.service_unit(["app.py"]))
    (tmp_path / "greenroom.socket").write_text(systemd.socket_unit())
    run = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "greenroom.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "greenroom" not in run.stderr
