"""One owner at a time: a lock file held for the life of the process.

`flock` ends with the process that holds it, whatever ended that process, so there are no stale
locks and nothing to guess from process ids. What the file says is only for the message the second
opener gets.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Final, Self

import msgspec

from greenroom.definitions.errors import Locked, NotPermitted

NAME: Final = "greenroom.lock"


class Owner(msgspec.Struct, frozen=True):
    """Who holds a lock: written by the owner, read by whoever comes second."""

    pid: int
    command: str
    since: float


class Lock:
    """A held lock. `release` gives it back; so does the end of the process."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd: int | None = fd

    def release(self) -> None:
        """Idempotent. The file stays: removing it would let two openers hold two files."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def path_of(store: Path) -> Path:
    """The lock file of a data directory, or of a single database file."""
    return store / NAME if store.is_dir() else store.with_name(store.name + ".lock")


def acquire(path: Path, *, what: str | None = None) -> Lock:
    """Takes the lock at `path` at once or raises `Locked` naming the owner.

    `what` is the name of the locked thing in the message, else the path without its suffix.
    """
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _read(fd)
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise _refusal(what or str(path), owner) from None
        if _is_still_at(fd, path):
            break
        os.close(fd)  # the file was replaced between open and lock: the new one counts
    os.fchmod(fd, 0o600)
    me = Owner(os.getpid(), _command(), time.time())
    os.ftruncate(fd, 0)
    os.pwrite(fd, msgspec.json.encode(me) + b"\n", 0)
    return Lock(path, fd)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotPermitted(
                f"{path} is a symbolic link; a lock must be a file of its own", path=str(path)
            ) from None
        raise


def _is_still_at(fd: int, path: Path) -> bool:
    held = os.fstat(fd)
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def _read(fd: int) -> Owner | None:
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=Owner)
    except msgspec.DecodeError:  # between flock and write, or not written by us
        return None


def _refusal(what: str, owner: Owner | None) -> Locked:
    if owner is None:
        return Locked(f"{what} is in use by another process", what=what)
    since = time.strftime("%H:%M", time.localtime(owner.since))
    return Locked(
        f"{what} is in use by pid {owner.pid} ({owner.command}, since {since})",
        hint="this process has it open already: close that engine first, or use it"
        if owner.pid == os.getpid()
        else f"use another one with --data, or stop that one:  kill {owner.pid}",
        what=what,
        pid=owner.pid,
        command=owner.command,
    )


def _command() -> str:
    """`greenroom serve app.py`, not `/usr/bin/python /usr/bin/greenroom serve app.py`."""
    words = [os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]]
    return " ".join(words)[:200]
