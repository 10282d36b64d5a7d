"""A JSON text with other values in it, laid out as its author laid it out.

What an editor changes in a file that people keep under version control must read in `git diff` like
what a careful hand would have changed: what has its value still keeps its text, in its place, and
what is new is written the way its neighbours are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from greenroom.definitions.values import Json

WIDTH: Final = 120
"""What fits into a line of this many characters is written in one."""
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_decoder: Final = json.JSONDecoder()


class _Part(NamedTuple):
    """One member of an object or item of a list: the white space before it, the key as it is
    written with all up to its value, the value."""

    lead: str
    head: str
    key: str
    node: _Node


class _Node(NamedTuple):
    """A value and its text; `parts` are None of one that is neither object nor list, `tail` is the
    white space before the closing bracket."""

    text: str
    value: Any
    parts: list[_Part] | None = None
    tail: str = ""


def rewritten(text: str, value: Json, identity: Callable[[Json], Hashable] | None = None) -> str:
    """The text of a JSON value that is now `value`.

    `identity` says which items of a list are the same thing before and after: what it gives is
    compared. Raises `ValueError` where `text` is no JSON.
    """
    start = _skip(text, 0)
    root, end = _read(text, start)
    if _skip(text, end) != len(text):
        raise ValueError(f"more than one JSON value: {text[end : end + 20]!r}")
    return text[:start] + _Writer(text, identity or _canonical).node(root, value) + text[end:]


# -- reading -------------------------------------------------------------------------------------


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _read(text: str, at: int) -> tuple[_Node, int]:
    """The value that begins at a place, and where it ends."""
    if text[at : at + 1] not in ("{", "["):
        value, end = _decoder.raw_decode(text, at)
        return _Node(text[at:end], value), end
    is_object, close = text[at] == "{", "}" if text[at] == "{" else "]"
    begun, parts = at, list[_Part]()
    at += 1
    while True:
        here = _skip(text, at)
        if text[here : here + 1] == close and (not parts or text[at - 1] != ","):
            break
        if parts and text[at - 1 : at] != ",":
            raise ValueError(f"a comma is missing at {at}")
        lead, key, head = text[at:here], "", ""
        at = here
        if is_object:
            if text[at : at + 1] != '"':
                raise ValueError(f"a key is missing at {at}")
            key, at = _decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise ValueError(f"a colon is missing at {at}")
            at = _skip(text, at + 1)
            head = text[here:at]
        node, at = _read(text, at)
        parts.append(_Part(lead, head, key, node))
        after = _skip(text, at)
        if text[after : after + 1] == ",":
            at = after + 1
    end = _skip(text, at) + 1
    values = (
        {part.key: part.node.value for part in parts}
        if is_object
        else [part.node.value for part in parts]
    )
    return _Node(text[begun:end], values, parts, text[at : end - 1]), end


# -- writing -------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, text: str, identity: Callable[[Json], Hashable]) -> None:
        self._identity = identity
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._lines = "\n" in text.strip()
        found = re.search(r"\n([ \t]+)\S", text)
        self._unit = found[1] if found else "  "

    def node(self, node: _Node, value: Json, indent: str = "") -> str:
        """The text of a node that is now `value`; `indent` is that of the line it stands in."""
        if _same(node.value, value):
            return node.text
        if node.parts is not None and isinstance(value, dict) and node.text[0] == "{":
            return self._object(node, value, indent)
        if node.parts is not None and isinstance(value, list) and node.text[0] == "[":
            return self._list(node, value, indent)
        return self._new(value, indent, wide="\n" not in node.text)

    def _object(self, node: _Node, value: dict[str, Json], indent: str) -> str:
        known = {part.key: part for part in node.parts or ()}  # of a key twice the last counts
        kept = [key for key in known if key in value]
        order = _woven(kept, list(value))
        return self._joined(node, indent, [
            (known.get(key), value[key], f"{_encode(key)}: ") for key in order
        ])  # fmt: skip

    def _list(self, node: _Node, value: list[Json], indent: str) -> str:
        parts = node.parts or []
        old = [self._identity(part.node.value) for part in parts]
        new = [self._identity(one) for one in value]
        made: list[tuple[_Part | None, Json, str]] = []
        for what, a1, a2, b1, b2 in SequenceMatcher(None, old, new, False).get_opcodes():
            paired = min(a2 - a1, b2 - b1) if what in ("equal", "replace") else 0
            for number in range(b1, b2):
                twin = parts[a1 + number - b1] if number - b1 < paired else None
                made.append((twin, value[number], ""))
        return self._joined(node, indent, made)

    def _joined(
        self, node: _Node, indent: str, made: Sequence[tuple[_Part | None, Json, str]]
    ) -> str:
        """A container of these parts: (as it was, as it is now, its key if it is new)."""
        opened, closed = node.text[0], node.text[-1]
        parts = node.parts or []
        if not made:
            return opened + closed
        lead, first, tail = self._leads(parts, node.tail, indent)
        pieces: list[str] = []
        for number, (part, value, key) in enumerate(made):
            own = part.lead if part is not None else first if number == 0 else lead
            if part is not None and part is parts[0] and number > 0:
                own = lead  # it stood behind the bracket, and does no more
            elif part is not None and part is not parts[0] and number == 0:
                own = first
            at = _indent_of(own, indent)
            if part is None:
                text = self._new(value, at, wide=not _is_spread(parts), room=len(key))
                pieces.append(own + key + text)
            else:
                pieces.append(own + part.head + self.node(part.node, value, at))
        return opened + ",".join(pieces) + tail + closed

    def _leads(self, parts: list[_Part], tail: str, indent: str) -> tuple[str, str, str]:
        """The white space before a part, before the first part, and before the closing bracket."""
        if not parts:
            if not self._lines:
                return " ", "", ""
            down = f"{self._newline}{indent}{self._unit}"
            return down, down, f"{self._newline}{indent}"
        first = parts[0].lead
        lead = parts[-1].lead if len(parts) > 1 else first if "\n" in first else " "
        return lead, first, tail

    def _new(self, value: Json, indent: str, *, wide: bool, room: int = 0) -> str:
        """The text of a value nobody has written yet: in one line if it fits and is `wide`."""
        flat = _encode(value)
        fits = len(indent) + room + len(flat) < WIDTH
        if not isinstance(value, dict | list) or not value or not self._lines or (wide and fits):
            return flat
        deeper = indent + self._unit
        pieces = (
            [f"{_encode(key)}: {self._new(one, deeper, wide=wide)}" for key, one in value.items()]
            if isinstance(value, dict)
            else [self._new(one, deeper, wide=wide) for one in value]
        )
        opened, closed = "{}" if isinstance(value, dict) else "[]"
        inside = f",{self._newline}{deeper}".join(pieces)
        return f"{opened}{self._newline}{deeper}{inside}{self._newline}{indent}{closed}"


def _woven(kept: list[str], wanted: list[str]) -> list[str]:
    """The keys that were there in their own order, each new one behind the key it came behind."""
    found = list(kept)
    before: str | None = None
    for key in wanted:
        if key not in found:
            found.insert(len(found) if before is None or not kept else found.index(before) + 1, key)
        before = key
    return found


def _indent_of(lead: str, indent: str) -> str:
    return lead.rpartition("\n")[2] if "\n" in lead else indent


def _is_spread(parts: list[_Part]) -> bool:
    """Whether whoever wrote these has a line for each value, as programs do."""
    inner = [part.node.parts for part in parts if part.node.parts]
    return bool(inner) and all("\n" in one.lead for parts in inner for one in parts)


def _same(a: Any, b: Any) -> bool:
    """As JSON: 1 is 1.0 and not true, and the order of keys says nothing."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or _float(a) == _float(b)  # what went through JavaScript is a double
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(one, b[key]) for key, one in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def _float(number: float) -> float | None:
    try:
        return float(number)
    except OverflowError:
        return None


def _encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _canonical(value: Json) -> Hashable:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
