"""Runs the code blocks of a page, in order, as a reader would.

- A block of `python` is executed; the blocks of a page share their names, may `await`, and may import
  the page's files.
- A block of `python NAME.py` (or `json FOLDER/NAME.json`) is a file in the page's folder.
- A block of `console` is typed: every line that begins with `$ ` is a command in that folder, what
  follows is its output on a terminal of 100 columns. `…` stands for anything in a line, a line of
  only `…` for any lines. How many blanks stand between two words does not matter.
- `$ greenroom serve ...` and `$ greenroom dev ...` go on in the background until the page ends; PID
  in a later command is the process they named last.
- Blocks of other languages (`text`, `sh`) are not run.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_S = 20.0

_FENCE = re.compile(r"^```(\w+)?(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    name: str
    text: str
    line: int


class Typed(NamedTuple):
    command: str
    output: str


def blocks(page: str) -> Iterator[Block]:
    for found in _FENCE.finditer(page):
        line = page.count("\n", 0, found.start()) + 2
        yield Block(found[1] or "", found[2] or "", found[3], line)


def typed(text: str) -> Iterator[Typed]:
    """The commands of a console block; one that ends with a backslash goes on."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        size = 1
        while lines[size - 1].endswith("\\"):
            size += 1
        yield Typed("\n".join(lines[:size]), "\n".join(lines[size:]))


def matches(expected: str, output: str, *, whole: bool = True) -> bool:
    def lines(text: str) -> list[str]:
        return [re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines()]

    pattern = ""
    for line in lines(expected):
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.split("…"))) + r"\n"
    find = re.fullmatch if whole else re.search
    return find(pattern, "".join(f"{line}\n" for line in lines(output))) is not None


class Background:
    """A daemon in the background and what it has said so far."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self.text = ""
        self.process = subprocess.Popen(
            shlex.split(command), cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def until(self, expected: str) -> None:
        """Waits until it has said that; forgets it, so that it can be waited for again."""
        end = time.monotonic() + PATIENCE_S
        while not matches(expected, self.text, whole=False):
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"expected\n{expected}\ngot\n{self.text}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Page:
    """One page being run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "page"}
        self.daemons: list[Background] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("GREENROOM_")
        } | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb", "PYTEST_ADDOPTS": ""}

    def run(self, block: Block) -> None:
        if block.name:
            file = self.folder / block.name
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._execute(block)
        elif block.language == "console":
            for one in typed(block.text):
                self._type(one)
        if block.language == "json":
            json.loads(block.text)

    def _execute(self, block: Block) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        source = "\n" * (block.line - 1) + block.text
        code = compile(source, f"page:{block.line}", "exec", flags=flags, dont_inherit=True)
        with _importable(self.folder):
            if code.co_flags & inspect.CO_COROUTINE:
                awaited: Any = eval(code, self.names)
                asyncio.run(_within(awaited))
            else:
                exec(code, self.names)  # noqa: S102  that is what this module is for

    def _type(self, one: Typed) -> None:
        command = one.command
        if "PID" in command:
            found = re.findall(r"\bpid=(\d+)", self.daemons[-1].text)
            command = command.replace("PID", found[-1])
        if re.match(r"cd \S+$", command):
            self.folder = self.folder / command[3:]
            return
        if re.match(r"greenroom (serve|dev)\b[^;]*$", command):
            self.daemons.append(Background(command, self.folder, self.environment))
            self.daemons[-1].until(one.output)
            return
        output = self._on_terminal(command)
        if not matches(one.output, output):
            raise AssertionError(f"$ {command}\nexpected\n{one.output}\n\ngot\n{output}")
        if command.startswith("kill") and self.daemons[-1].process.args[1] == "dev":  # type: ignore[index]
            self.daemons[-1].until("the daemon was killed …\nready …")

    def _on_terminal(self, command: str) -> str:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        output = b""
        try:
            while data := os.read(ours, 65536):
                output += data
        except OSError:  # the other side is closed: that is how a terminal ends
            pass
        finally:
            os.close(ours)
            process.wait()
        return output.decode().replace("\r\n", "\n")

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.stop()


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The files of a folder can be imported meanwhile, by this page alone."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]


async def _within(awaitable: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await awaitable


@contextmanager
def opened(monkey_chdir: Any) -> Iterator[Page]:
    """A page in a folder of its own, which is also where its python blocks are."""
    with tempfile.TemporaryDirectory(prefix="gd", dir="/tmp") as folder:
        monkey_chdir(folder)
        page = Page(Path(folder))
        try:
            yield page
        finally:
            page.close()
