"""Where things lie: the data directory, the socket in it, and the address a client uses.

Kept apart from daemon and client because both need it and a client must start in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from pathlib import Path
from typing import Final

from greenroom.definitions.errors import InvalidRequest, NotPermitted

SOCKET_NAME: Final = "greenroom.sock"
SOCKET_PATH_BYTES_MAX: Final = 107
"""What the kernel's `sun_path` holds."""

DEFAULT_DIRECTORY: Final = ".greenroom"

_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d{1,5}")


def data_directory(data: str | Path | None = None) -> Path:
    """`--data`, else `GREENROOM_DATA`, else `.greenroom` here."""
    return Path(data or os.environ.get("GREENROOM_DATA") or DEFAULT_DIRECTORY)


def socket_path(server: str | Path | None = None, data: str | Path | None = None) -> Path:
    """The socket a client talks to: `--server`, `GREENROOM_SERVER`, the data directory's.

    A given directory is nearer than the environment's server.
    """
    if server is None and data is None:
        server = os.environ.get("GREENROOM_SERVER") or None
    if server is None:
        return data_directory(data) / SOCKET_NAME
    if isinstance(server, Path):
        return server
    scheme, mark, rest = server.partition("://")
    if not mark:
        if _HOST_AND_PORT.fullmatch(server) and not Path(server).exists():
            raise InvalidRequest(
                f"{server} is no socket; an address of HTTP begins with http:// or https://",
                hint=f"write http://{server}",
            )
        return Path(server)
    if scheme != "unix":
        raise InvalidRequest(
            f"{server}: a daemon is at a Unix socket or an address of HTTP",
            hint="write unix:///path/to/socket or http://HOST:PORT",
        )
    return Path(rest)


def is_http(server: str | Path | None = None, data: str | Path | None = None) -> bool:
    """Whether a client is told to speak HTTP rather than to a socket."""
    if server is None and data is None:
        server = os.environ.get("GREENROOM_SERVER")
    return isinstance(server, str) and server.startswith(("http://", "https://"))


def own_command() -> list[str]:
    """How to start the `greenroom` command of this very installation."""
    script = Path(sys.executable).with_name("greenroom")
    if script.exists():
        return [str(script)]
    start = "from greenroom.runtime.main import main; raise SystemExit(main())"
    return [sys.executable, "-c", start]


def check_socket_path(path: Path) -> None:
    """Raises `InvalidRequest` for a path the kernel cannot hold, and for a name that is no path:
    an abstract socket has no mode, and everybody may connect to it."""
    if "\0" in str(path):
        raise InvalidRequest("a socket is a file: a name with a NUL character is none")
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_BYTES_MAX:
        raise InvalidRequest(
            f"the socket path has {size} bytes, the system allows {SOCKET_PATH_BYTES_MAX}: {path}",
            hint="choose a shorter one with --socket, say under $XDG_RUNTIME_DIR",
            bytes=size,
            limit=SOCKET_PATH_BYTES_MAX,
        )


def private_directory(path: Path) -> Path:
    """Makes the directory (0700) or checks the one that is there.

    Nobody else may own it or write into it: who can rename files in it can take our place.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise NotPermitted(f"{path} is a symbolic link; give the directory itself", path=str(path))
    if not stat.S_ISDIR(status.st_mode):
        raise NotPermitted(f"{path} is not a directory", path=str(path))
    if status.st_uid != os.geteuid():
        raise NotPermitted(
            f"{path} belongs to uid {status.st_uid}, this process runs as uid {os.geteuid()}",
            path=str(path),
        )
    if status.st_mode & 0o022:
        raise NotPermitted(
            f"{path} can be written by others ({stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 700 {path}",
            path=str(path),
        )
    return path
