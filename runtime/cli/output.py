"""Printing: `table` for people, `json` and `jsonl` for programs, never a mix of them.

Without `-o` a terminal gets text and a pipe gets JSON lines. Commands whose answer is prose
(`why`, `events explain`) print prose in both cases. What goes to standard output is the answer;
questions, progress and errors go to standard error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal

import click
import msgspec

from greenroom.runtime.cli import words

Format = Literal["table", "json", "jsonl"]
FORMATS: Final[tuple[Format, ...]] = ("table", "json", "jsonl")

CELL_WIDTH_MAX: Final = 60
_COLOURS: Final = {
    "completed": "green", "failed": "red", "cancelled": "magenta", "waiting": "cyan",
    "running": "blue", "paused": "yellow", "pending": "white",
    "ok": "green", "warning": "yellow", "error": "red",
}  # fmt: skip


def terminal() -> bool:
    return sys.stdout.isatty()


def coloured() -> bool:
    """Colour only for a terminal, and never under NO_COLOR (https://no-color.org)."""
    return terminal() and not os.environ.get("NO_COLOR")


def line(text: str = "") -> None:
    """One line or more to standard output, at once: a pipe must see it while we go on."""
    click.echo(safe(text), color=coloured())
    sys.stdout.flush()


def note(text: str) -> None:
    """To the person at the terminal, not part of the answer."""
    click.echo(safe(text), err=True, color=coloured())


def heading(text: str) -> None:
    """A note in bold."""
    click.echo(click.style(words.visible(text), bold=coloured()), err=True, color=coloured())


_OURS: Final = rf"\x1b\[3[0-7]m(?:{'|'.join(_COLOURS)})\x1b\[0m"
_UNSAFE: Final = re.compile(f"{_OURS}|[{words.CONTROLS}]")


def safe(text: str) -> str:
    """Text as a terminal may have it: what came from events, errors or names cannot move its
    cursor, hide lines or set its title. Our own coloured words stay."""
    return _UNSAFE.sub(lambda found: found[0] if found[0][1:] else words.escaped(found), text)


def compact_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def document(value: Any) -> None:
    """`-o json`: one document, indented."""
    line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def record(value: Any) -> None:
    """`-o jsonl`: one value, one line."""
    line(compact_json(value))


def status(word: str) -> str:
    """A status word, coloured; the word itself says it all for those who see no colour."""
    colour = _COLOURS.get(word)
    return click.style(word, fg=colour) if colour and coloured() else word


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under lower-case heads; on a terminal the last column is cut at its edge."""
    shown = [[_cell(cell, last=i == len(row) - 1) for i, cell in enumerate(row)] for row in rows]
    widths = [
        max(len(head), *(len(click.unstyle(row[i])) for row in shown)) if shown else len(head)
        for i, head in enumerate(heads)
    ]
    room = shutil.get_terminal_size().columns if terminal() else None
    for row in [list(heads), *shown]:
        line(_row(row, widths, room))


def _cell(text: str, last: bool) -> str:
    flat = " ".join(text.split("\n"))
    if last or len(flat) <= CELL_WIDTH_MAX or "\x1b" in flat:
        return flat
    return flat[: CELL_WIDTH_MAX - 1] + "…"


def _row(cells: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    padded = [
        cell + " " * (width - len(click.unstyle(cell)))
        for cell, width in zip(cells[:-1], widths, strict=False)
    ]
    text = "  ".join([*padded, cells[-1]]).rstrip()
    if room is not None and len(click.unstyle(text)) > room and "\x1b" not in cells[-1]:
        over = len(click.unstyle(text)) - room
        if over + 1 < len(cells[-1]):
            text = "  ".join([*padded, cells[-1][: -over - 1] + "…"])
    return text


def pairs(rows: Sequence[tuple[str, str]], indent: str = "  ") -> None:
    """Names and values in two columns; further lines of a value are set under its first."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        first, *more = value.split("\n")
        line(f"{indent}{name:<{width}}  {first}".rstrip())
        for text in more:
            line(f"{indent}{'':<{width}}  {text}")
