"""Commands and exactly what they print: `transcripts/*.txt`.

    $ greenroom ...     a command; `< text` lines after it are its standard input
    text                what it prints to standard output
    ! text              what it prints to standard error
    exit 3              its exit code, when not 0
    ---                 a fresh daemon for what follows

After a wanted change: GREENROOM_REWRITE=1 pytest tests/runtime/cli, then read the difference.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.runtime.cli.conftest import Cli, FakeDaemon, Result


FOLDER = Path(__file__).parent / "transcripts"
FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_commands_print_what_their_transcript_says(
    path: Path, cli: Cli, daemon: FakeDaemon
) -> None:
    written = path.read_text(encoding="utf-8")
    happened = _play(written, cli, daemon)
    if os.environ.get("GREENROOM_REWRITE"):
        path.write_text(happened, encoding="utf-8")
    assert happened == written


def _play(written: str, cli: Cli, daemon: FakeDaemon) -> str:
    lines: list[str] = []
    source = written.split("\n")
    for number, line in enumerate(source):
        if line == "---":
            daemon.__dict__.update(type(daemon)().__dict__)
            lines += ["---", ""]
        elif line.startswith("# "):
            lines.append(line)
        elif line.startswith("$ greenroom"):
            stdin = _stdin(source[number + 1 :])
            lines.append(line)
            lines += [f"< {text}" for text in stdin]
            args = shlex.split(line.removeprefix("$ greenroom"))
            result = cli(*args, stdin="".join(f"{text}\n" for text in stdin))
            lines += [*_shown(result), ""]
    return "\n".join(lines)


def _stdin(following: list[str]) -> list[str]:
    found = []
    for line in following:
        if not line.startswith("< "):
            break
        found.append(line.removeprefix("< "))
    return found


def _shown(result: Result) -> list[str]:
    lines = result.out.split("\n")[:-1] if result.out else []
    lines += [f"! {line}".rstrip() for line in result.err.split("\n")[:-1]]
    return lines + ([f"exit {result.code}"] if result.code else [])
