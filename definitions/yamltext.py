"""YAML as another spelling of JSON, read event by event.

Nothing is constructed by tags and nothing is expanded from anchors, so a small text stays a small
document. Which words are numbers, true, false or null is JSON's decision, not that of YAML 1.1.
"""

from __future__ import annotations

import re
from typing import Any, Final

from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.expressions import path_in
from greenroom.definitions.located import VALUES_MAX, Located
from greenroom.definitions.values import DEPTH_MAX, Json

_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_WORDS: Final[dict[str, Json]] = {
    "": None, "~": None, "null": None, "true": True, "false": False,
}  # fmt: skip


def read_yaml(text: str, label: str) -> Located:
    """The document of a YAML text. Raises `InvalidDefinition`."""
    try:
        import yaml  # noqa: PLC0415  an optional extra
    except ImportError:
        raise InvalidDefinition(
            f"{label}: reading YAML needs PyYAML", hint="pip install 'greenroom[documents]'"
        ) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = Located(None, label)
    try:
        events = yaml.parse(text, Loader=loader)
        found.data = _Builder(yaml, events, found).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error).splitlines()[0]
        where = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        raise InvalidDefinition(
            f"{label} is not valid", [Problem("$", f"not YAML: {why}", where)]
        ) from None
    return found


class _Builder:
    def __init__(self, yaml: Any, events: Any, found: Located) -> None:
        self._yaml = yaml
        self._events = events
        self._found = found
        self._count = 0

    def document(self) -> Json:
        yaml = self._yaml
        for event in self._events:
            if isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent):
                continue
            if isinstance(event, yaml.StreamEndEvent):
                return None
            value = self._value(event, "$", 0)
            break
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise self._wrong(event, "$", "one document a file, this is a second")
        return value

    def _value(self, event: Any, path: str, depth: int) -> Json:
        yaml = self._yaml
        self._count += 1
        if self._count > VALUES_MAX:
            raise self._wrong(event, "$", f"the document has more than {VALUES_MAX:,} values")
        if depth > DEPTH_MAX:
            raise self._wrong(event, "$", f"nested more than {DEPTH_MAX} levels deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._wrong(event, path, "anchors and aliases are not used in documents")
        if getattr(event, "tag", None) not in (None, "!", "tag:yaml.org,2002:str"):
            raise self._wrong(event, path, f"the tag {event.tag[:60]} is not used in documents")
        self._found.note(path, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Json] = []
            for inner in self._events:
                if isinstance(inner, yaml.SequenceEndEvent):
                    return items
                items.append(self._value(inner, f"{path}[{len(items)}]", depth + 1))
        pairs: dict[str, Json] = {}
        for inner in self._events:
            if isinstance(inner, yaml.MappingEndEvent):
                break
            if not isinstance(inner, yaml.ScalarEvent) or inner.anchor:
                raise self._wrong(inner, path, "keys must be text")
            key = str(inner.value)
            place = path_in(path, key)
            self._found.note_key(place, inner.start_mark.line + 1, inner.start_mark.column + 1)
            pairs[key] = self._value(next(self._events), place, depth + 1)
        return pairs

    def _scalar(self, event: Any, path: str) -> Json:
        text = str(event.value)
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        if text in _WORDS:
            return _WORDS[text]
        number = _NUMBER.fullmatch(text)
        if number is None:
            return text
        if number[1] or number[2]:
            value = float(text)
            if value in (float("inf"), float("-inf")):
                raise self._wrong(event, path, f"{text} is too large a number")
            return value
        if len(text) > 19 or abs(int(text)) >= 1 << 63:
            raise self._wrong(event, path, f"{text[:40]} is beyond 64 bits")
        return int(text)

    def _wrong(self, event: Any, path: str, message: str) -> InvalidDefinition:
        mark = event.start_mark
        where = f"{self._found.label}:{mark.line + 1}:{mark.column + 1}"
        return InvalidDefinition(
            f"{self._found.label} is not valid", [Problem(path, message, where)]
        )
