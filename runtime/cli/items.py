"""Values given as words: `key=text`, `key:=json`, `-d JSON|@file|-`.

Standard library only (see the package).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from greenroom.definitions.errors import InvalidRequest


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


def lines(source: str) -> Iterator[Any]:
    """JSON values, one a line, read as they come; empty lines are passed over."""
    name = "standard input" if source == "-" else source[1:]
    stream = sys.stdin.buffer if source == "-" else read_file(source[1:]).splitlines()
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield parse(line, f"{name} line {number}")


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
