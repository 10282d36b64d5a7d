"""Filling `{name}` in texts.

Never `str.format`: its fields reach attributes and so the globals of the process, and its widths
reach the whole memory. Here a field is a name and nothing else, values are put in once and are
not looked at again, and the result has a limit.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from greenroom.definitions.errors import ExpressionError, InvalidDefinition, Problem
from greenroom.definitions.values import Json

OUTPUT_MAX: Final = 1 << 20

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]", re.ASCII)


class Format:
    """A text with fields. `active` is False when it is to be left as it is written."""

    __slots__ = ("_parts", "active", "fields", "text", "unknown")

    def __init__(
        self, text: str, parts: list[tuple[str, str | None]], unknown: tuple[str, ...]
    ) -> None:
        self.text = text
        self.fields = tuple(dict.fromkeys(name for _, name in parts if name is not None))
        self.unknown = unknown
        """Fields that are not variables; one is enough to leave the whole text alone."""
        self.active = not unknown and (len(parts) != 1 or parts[0] != (text, None))
        self._parts = parts

    def fill(self, values: Mapping[str, Json]) -> str:
        """The text with each field replaced: text as it is, anything else as JSON.

        Raises `ExpressionError` when the result is longer than a mebibyte.
        """
        if not self.active:
            return self.text
        shown = {name: _shown(values.get(name)) for name in self.fields}
        pieces: list[str] = []
        size = 0
        for literal, name in self._parts:
            piece = literal if name is None else literal + shown[name]
            size += len(piece)
            if size > OUTPUT_MAX:
                raise ExpressionError(
                    f"the filled text is longer than {OUTPUT_MAX:,} characters",
                    reason="limit",
                    limit=OUTPUT_MAX,
                )
            pieces.append(piece)
        return "".join(pieces)


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def compile_format(text: str, names: Collection[str], path: str = "$") -> Format:
    """The text with its fields found; `names` are the variables there are.

    Without variables braces are plain text. With some, `{{` and `}}` stand for braces, and a
    brace that opens or closes nothing, or holds more than a name, raises `InvalidDefinition`.
    """
    if not names or ("{" not in text and "}" not in text):
        return Format(text, [(text, None)], ())
    parts: list[tuple[str, str | None]] = []
    literal, at = "", 0
    for token in _TOKEN.finditer(text):
        literal += text[at : token.start()]
        at = token.end()
        if token[0] in ("{{", "}}"):
            literal += token[0][0]
        elif token[1] is None:
            raise InvalidDefinition("not a format", [Problem(path, _fault(text, token.start()))])
        else:
            parts.append((literal, token[1]))
            literal = ""
    parts.append((literal + text[at:], None))
    fields = dict.fromkeys(name for _, name in parts if name is not None)
    return Format(text, parts, tuple(name for name in fields if name not in names))


def _fault(text: str, at: int) -> str:
    if text[at] == "}":
        return f'the "}}" at position {at} closes nothing; write "}}}}" for a brace'
    inside, closed, _ = text[at + 1 : at + 40].partition("}")
    if not closed:
        return f'the "{{" at position {at} is not closed; write "{{{{" for a brace'
    return (
        f'"{{{inside}}}" at position {at} is not a field: only a name may stand in braces; '
        'write "{{" for a brace'
    )
