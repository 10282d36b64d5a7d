"""Values given as words: `key=text`, `key:=json`, `-d JSON|@file|-`.

Standard library only (see the package).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from greenroom.definitions.errors import InvalidRequest

CHUNK_BYTES: Final = 1 << 18


def from_items(items: Iterable[str]) -> dict[str, Any]:
    """`["id=7", "n:=2"]` -> `{"id": "7", "n": 2}`. The first separator decides."""
    values: dict[str, Any] = {}
    for item in items:
        key, value = _item(item)
        if key in values:
            raise InvalidRequest(f'"{key}" is given twice', item=item)
        values[key] = value
    return values


def _item(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or key in ("", ":"):
        raise InvalidRequest(
            f'"{item}" is neither key=text nor key:=json',
            hint=f"text:  {item}=...      number, list, true, null:  {item}:=..."
            if item.isidentifier()
            else None,
            item=item,
        )
    if key.endswith(":"):
        return key[:-1], parse(text, item)
    return key, text


def parse(text: str | bytes, what: str) -> Any:
    """Strict JSON. `what` names the place in the message."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        mend = (
            f"text needs no quotes:  {what.replace(':=', '=', 1)}"
            if isinstance(text, str) and ":=" in what
            else None
        )
        raise InvalidRequest(f"{what}: not JSON ({error})", hint=mend) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def document(source: str, what: str = "-d") -> Any:
    """The one JSON value of an option: the text itself, `@file`, or `-` for standard input."""
    if source == "-":
        return parse(sys.stdin.buffer.read(), "standard input")
    if source.startswith("@"):
        return parse(read_file(source[1:]), source[1:])
    return parse(source, what)


def batches(source: str) -> Iterator[list[tuple[str, bytes]]]:
    """The lines of `@file` or `-`, each with the name of its place, as many at a time as there
    are now: of a feed that goes on for hours every line is handed on when it comes."""
    name = "standard input" if source == "-" else source[1:]
    number = 0
    with _opened(source) as stream:
        rest = b""
        while chunk := stream.read1(CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            if whole:
                yield [(f"{name} line {number + n}", line) for n, line in enumerate(whole, 1)]
                number += len(whole)
        if rest:
            yield [(f"{name} line {number + 1}", rest)]


def _opened(source: str) -> AbstractContextManager[BufferedReader]:
    if source == "-":
        return nullcontext(cast("BufferedReader", sys.stdin.buffer))
    try:
        return Path(source[1:]).open("rb")
    except OSError as error:
        raise InvalidRequest(f"{source[1:]}: {error.strerror}", path=source[1:]) from None


def read_file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{name}: {error.strerror}", path=name) from None


def merged(source: str | None, items: Iterable[str]) -> Any:
    """`-d` and words together: the words win, and need an object to go into."""
    values = from_items(items)
    if source is None:
        return values
    value = document(source)
    if not values:
        return value
    if not isinstance(value, dict):
        raise InvalidRequest("key=value words need an object in -d, not " + type(value).__name__)
    return {**value, **values}
