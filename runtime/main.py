"""The `greenroom` command. Two ways are kept short, because they are taken often.

`--version` and a plain `post` are answered without importing click or msgspec: a process that a
shell loop starts for every event pays for its imports every time.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from greenroom.runtime.cli.session import Session

VERSION: Final = "0.1.0"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one command line."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no arrow gets a mark
            stream.reconfigure(errors="replace")
    if args == ["--version"]:
        print(version())  # noqa: T201  the short way
        return 0
    if args[:1] == ["post"] and "_GREENROOM_COMPLETE" not in os.environ:
        code = _post(args)
        if code is not None:
            return code
    return run(args)


def _post(args: list[str]) -> int | None:
    """Posts the short way. None: go on with `args`, which may have got an id."""
    from greenroom.runtime.cli import quick  # noqa: PLC0415  start-up time

    try:
        text = quick.post(args[1:], sys.stdout.isatty())
    except quick.Later as later:
        if later.id is not None:
            args[1:1] = ["--id", later.id]
        return None
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(text + "\n")
    return 0


def run(args: Sequence[str], session: Session | None = None) -> int:
    """Any command, by click."""
    from greenroom.runtime.cli.run import run as long_way  # noqa: PLC0415  start-up time

    return long_way(args, session)


def version() -> str:
    """`greenroom 0.1.0  python 3.11.7  sqlite 3.40.1  msgspec 0.22.0`."""
    import _sqlite3  # noqa: PLC0415  start-up time

    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"greenroom {VERSION}  python {python}  sqlite {_sqlite3.sqlite_version}"
        f"  msgspec {_installed('msgspec')}"
    )


def _installed(name: str) -> str:
    """A distribution's version from the name of its metadata folder; importlib.metadata, which
    would read it, takes longer to import than Python to start."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for found in names:
            if found.startswith(f"{name}-") and found.endswith(".dist-info"):
                return found[len(name) + 1 : -len(".dist-info")]
    return "?"


if __name__ == "__main__":
    sys.exit(main())
