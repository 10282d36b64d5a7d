"""One owner at a time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.definitions.errors import Locked, NotPermitted
from greenroom.runtime import lock

HOLD = """
import sys
from pathlib import Path
from greenroom.runtime import lock
held = lock.acquire(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_opener_is_told_who_the_owner_is(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.lock"
    with lock.acquire(path), pytest.raises(Locked) as caught:
        lock.acquire(path, what="app.db")
    error = caught.value
    assert re.fullmatch(
        rf"app\.db is in use by pid {os.getpid()} \(.+, since \d\d:\d\d\)", error.message
    )
    assert error.hint is not None
    assert "this process has it open already" in error.hint
    assert error.details["pid"] == os.getpid()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.lock"
    first = lock.acquire(path)
    first.release()
    first.release()
    lock.acquire(path).release()


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.lock"
    path.touch(mode=0o666)
    path.chmod(0o666)
    with lock.acquire(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    path = tmp_path / "greenroom.lock"
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(NotPermitted, match="symbolic link"):
        lock.acquire(path)
    assert (tmp_path / "precious").read_text() == "keep"


def test_garbage_in_the_file_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.lock"
    path.write_bytes(b"\xff garbage")
    lock.acquire(path).release()


def test_a_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.lock"
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(Locked) as caught:
            lock.acquire(path)
        assert caught.value.details["pid"] == owner.pid
        assert caught.value.hint is not None and f"kill {owner.pid}" in caught.value.hint
        owner.send_signal(signal.SIGKILL)
    lock.acquire(path).release()


def test_locks_of_directories_and_files_have_their_names(tmp_path: Path) -> None:
    assert lock.path_of(tmp_path) == tmp_path / "greenroom.lock"
    assert lock.path_of(tmp_path / "app.db") == tmp_path / "app.db.lock"
