"""The socket in the file system: made so that nobody else can take its place.

The socket is bound under another name with umask 177, listens, and is then renamed into place: a
client never sees one that does not answer yet, and a stale one of a killed daemon vanishes without
being looked for. (`asyncio.start_unix_server` removes what is at the path and binds there with the
process's umask; a second server takes over a living one without a word.)
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

from greenroom.definitions.errors import Locked, NotPermitted
from greenroom.runtime.places import (
    SOCKET_PATH_BYTES_MAX,
    check_socket_path,
    private_directory,
)

BACKLOG: Final = 1024


class SocketFile:
    """A listening socket at `path`. `release` removes the file if it is still ours."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self.path = path
        self.socket = listener
        self._inode = _identity(path)

    def is_ours(self) -> bool:
        """False after somebody removed or replaced the file."""
        return self._inode is not None and _identity(self.path) == self._inode

    def release(self) -> None:
        """Idempotent."""
        if self.is_ours():
            self.path.unlink()
        self._inode = None
        self.socket.close()


def bind(path: Path) -> SocketFile:
    """Listens at `path`.

    Raises `InvalidRequest` for a path that is too long, `NotPermitted` for a directory that is
    not ours alone or a path where something else lies, `Locked` if another daemon answers there.
    """
    check_socket_path(path)
    private_directory(path.parent)
    _check_place(path)
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(temporary))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        os.rename(temporary, path)
    except BaseException:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return SocketFile(path, listener)


def _check_place(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "a file"
        raise NotPermitted(
            f"{path} is {kind}, not a socket; it was left as it is",
            hint="remove it, or choose another path with --socket",
            path=str(path),
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:  # refused: its daemon is dead
            return
    raise Locked(
        f"another daemon answers at {path}",
        hint="stop that one, or choose another path with --socket",
        path=str(path),
    )


def _temporary(path: Path) -> Path:
    """A name beside the path that is no longer than the system allows."""
    for name in (f"{path.name}.{os.getpid()}", f".{os.getpid():x}", "~"):
        candidate = path.with_name(name)
        if len(os.fsencode(candidate)) <= SOCKET_PATH_BYTES_MAX and candidate != path:
            return candidate
    return path.with_name("-")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
