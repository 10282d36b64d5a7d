"""Whose files a daemon runs: its owner's and root's, that nobody else can write.

A Python file is code, a connector says where secrets are sent, and a document in a file needs no
grant: whoever can write them is the daemon. So `serve` looks at the owner and mode of each file it
is given before it reads it (`dev`, and engines in a program of one's own, do not).
"""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from greenroom.definitions.errors import NotPermitted
from greenroom.runtime import folders


def check_files(what: Iterable[str]) -> None:
    """Raises `NotPermitted` for a file that somebody else could have written."""
    for word in what:
        for path in _files(word):
            check_file(path)


def check_file(path: Path) -> None:
    """Raises `NotPermitted`. What is not there is for others to say."""
    try:
        status = path.stat()
    except OSError:
        return
    if status.st_uid not in (0, os.geteuid()):
        raise NotPermitted(
            f"{path} belongs to uid {status.st_uid}, this daemon runs as uid {os.geteuid()}: its "
            "owner could run anything here",
            hint=f"chown {os.geteuid()} {path}   or run the daemon as that user",
            path=str(path),
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o002 or (mode & 0o020 and not _is_own_group(status)):
        who = "everybody" if mode & 0o002 else "its group"
        raise NotPermitted(
            f"{path} can be written by {who} ({mode:04o})",
            hint=f"chmod go-w {path}",
            path=str(path),
        )


def _is_own_group(status: os.stat_result) -> bool:
    """A group made for one user, as many systems do: with their umask it may write."""
    try:
        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return (group.gr_name, group.gr_gid) == (user.pw_name, user.pw_gid) and not (
        {*group.gr_mem} - {user.pw_name}
    )


def _files(word: str) -> Iterator[Path]:
    path = Path(word)
    if path.is_dir():
        for one in folders.documents(path):
            yield from (one, *sorted(one.iterdir())) if one.is_dir() else (one,)
        yield from folders.python_files(path)
    elif path.suffix:
        yield path
    else:
        try:
            spec = importlib.util.find_spec(word.partition(":")[0].partition(".")[0])
        except (ImportError, ValueError):
            spec = None
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin)
