"""Text of a document as data, with the place of everything in it.

JSON and YAML are read to the same plain values, and each value and key is remembered by its path
(`$.actions[0].type`), so that a problem found later can be shown as `welcome.json:10:66`. What a
stranger could make expensive is limited before it is looked at: bytes, values, depth. YAML is read
as JSON with another spelling: the words of JSON and numbers are what they are, everything else is
text (`on`, `no` and `2026-01-01` too), and anchors and tags are refused.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from greenroom.definitions.errors import InvalidDefinition, InvalidInput, Problem, TooLarge
from greenroom.definitions.expressions import path_in
from greenroom.definitions.values import DEPTH_MAX, Json, decode, encode

DOCUMENT_BYTES_MAX: Final = 1 << 18
VALUES_MAX: Final = 10_000
YAML_SUFFIXES: Final = (".yaml", ".yml")

_SEGMENT: Final = re.compile(r'(\.[^.\[\]"]+|\[\d+\]|\["(?:[^"\\]|\\.)*"\])$')
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_UNKNOWN: Final = re.compile(r'unknown key "([^"]*)"')


class Located:
    """The data of a document and where each part of it stands. `label` names the file."""

    __slots__ = ("_keys", "_values", "data", "label", "problems")

    def __init__(self, data: Json, label: str) -> None:
        self.data = data
        self.label = label
        self.problems: list[Problem] = []
        """What the reading found: keys that are written twice."""
        self._values: dict[str, tuple[int, int]] = {}
        self._keys: dict[str, tuple[int, int]] = {}

    def where(self, path: str, *, key: bool = False) -> str | None:
        """`file:line:col` of a path, or of the nearest part around it that is there."""
        if not self._values:
            return self.label or None
        if key and path in self._keys:
            return self._text(self._keys[path])
        while path not in self._values:
            shorter = _SEGMENT.sub("", path)
            if shorter == path:
                path = "$"
                break
            path = shorter
        return self._text(self._values[path])

    def placed(self, problem: Problem) -> Problem:
        """The problem with its place."""
        if problem.where is not None:
            return problem
        unknown = _UNKNOWN.match(problem.message)
        if unknown is not None:
            inner = path_in(problem.path, unknown[1])
            if inner in self._keys or inner not in self._values:
                return Problem(problem.path, problem.message, self.where(inner, key=True))
        key = problem.message.startswith("unknown key")
        return Problem(problem.path, problem.message, self.where(problem.path, key=key))

    def _text(self, place: tuple[int, int]) -> str:
        return f"{self.label or 'document'}:{place[0]}:{place[1]}"

    def note(self, path: str, line: int, column: int) -> None:
        self._values[path] = (line, column)

    def note_key(self, path: str, line: int, column: int) -> None:
        if path in self._keys:
            self.problems.append(
                Problem(
                    path, "the key is written twice", f"{self.label or 'document'}:{line}:{column}"
                )
            )
        self._keys[path] = (line, column)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems as their files are read, from the top; those without a line keep their place."""
    listed = list(problems)
    files = list(dict.fromkeys(_place(one)[0] for one in listed))
    return sorted(listed, key=lambda one: (files.index(_place(one)[0]), *_place(one)[1:]))


def _place(problem: Problem) -> tuple[str, int, int]:
    """File, line and column of a problem; 0 where it has none."""
    where = problem.where or ""
    parts = where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
        return parts[0], int(parts[1]), int(parts[2])
    return where, 0, 0


def located(data: Json, label: str = "") -> Located:
    """A document that was made in code: it has paths, and no lines.

    Raises `InvalidDefinition` for what is not JSON or over a limit."""
    try:
        encode(data, "the document", DOCUMENT_BYTES_MAX)
    except (InvalidInput, TooLarge) as error:
        raise _wrong(label, error.message, str(error.details.get("path", "$"))) from None
    _check_size(data, label)
    return Located(data, label)


def read_located(text: str | bytes, label: str = "") -> Located:
    """The document of a text. It is YAML when the label ends as such a file does, or when it is
    not a file's and does not begin like JSON.

    Raises `InvalidDefinition` for what is no such text, or over a limit."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise _wrong(
            label, f"the document has {len(raw):,} bytes, the limit is {DOCUMENT_BYTES_MAX:,}"
        )
    try:
        words = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _wrong(label, "not UTF-8 text", "$", line, 1) from None
    named = label.endswith((*YAML_SUFFIXES, ".json"))
    if label.endswith(YAML_SUFFIXES) or (not named and words.lstrip()[:1] not in ("{", "[", "")):
        from greenroom.definitions.yamltext import read_yaml  # noqa: PLC0415  an optional extra

        return read_yaml(words, label)
    return _read_json(words, label)


def _read_json(text: str, label: str) -> Located:
    raw = text.encode()
    try:
        data = decode(raw)
    except InvalidInput as error:
        at = _BYTE.search(error.message)
        before = raw[: int(at[1])].decode(errors="ignore") if at else text
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        why = _BYTE.sub("", error.message).removeprefix("not valid JSON: ").strip()
        raise _wrong(label, f"not JSON: {why}", "$", line, column) from None
    _check_size(data, label)
    try:
        encode(data, "the document", 2 * DOCUMENT_BYTES_MAX)
    except (InvalidInput, TooLarge) as error:
        raise _wrong(label, error.message, str(error.details.get("path", "$"))) from None
    found = Located(data, label)
    _Scanner(text, found).value("$")
    return found


def _check_size(data: Json, label: str) -> None:
    count, stack = 0, [(data, 0)]
    while stack:
        item, depth = stack.pop()
        count += 1
        if count > VALUES_MAX:
            raise _wrong(label, f"the document has more than {VALUES_MAX:,} values")
        if depth > DEPTH_MAX:
            raise _wrong(label, f"the document is nested more than {DEPTH_MAX} levels deep")
        if isinstance(item, dict):
            if len(item) > VALUES_MAX:
                raise _wrong(label, f"the document has more than {VALUES_MAX:,} values")
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            if len(item) > VALUES_MAX:
                raise _wrong(label, f"the document has more than {VALUES_MAX:,} values")
            stack.extend((inner, depth + 1) for inner in item)


def _wrong(
    label: str, message: str, path: str = "$", line: int = 0, column: int = 0
) -> InvalidDefinition:
    where = f"{label or 'document'}:{line}:{column}" if line else label or None
    head = f"{label} is not valid" if label else "the document is not valid"
    return InvalidDefinition(head, [Problem(path, message, where)])


class _Scanner:
    """Walks text that is known to be JSON and notes where things stand."""

    def __init__(self, text: str, found: Located) -> None:
        self._text = text
        self._found = found
        self._at = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def value(self, path: str) -> None:
        text = self._text
        start = self._skip()
        self._found.note(path, *self._place(start))
        first = text[start]
        if first == '"':
            self._string()
        elif first in "{[":
            self._at = start + 1
            self._inside(path, first == "{")
        else:
            self._at = _PLAIN.match(text, start).end()  # type: ignore[union-attr]

    def _inside(self, path: str, is_object: bool) -> None:
        index = 0
        while self._text[self._skip()] not in "}]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            if is_object:
                start = self._at
                inner = path_in(path, str(decode(self._string())))
                self._found.note_key(inner, *self._place(start))
                self._at = self._text.index(":", self._at) + 1
                self.value(inner)
            else:
                self.value(f"{path}[{index}]")
                index += 1
        self._at += 1

    def _skip(self) -> int:
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        return self._at

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match[0]

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1


_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_PLAIN: Final = re.compile(r"[^,\]} \t\n\r]+")
