"""Key paths: `a.b.c` names a place inside nested objects.

A segment is quoted with `"` or `'` to hold dots. There are no places inside lists: a bare number
is refused rather than read as a key, because whoever writes `items.0.id` means the first item.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.values import Json

Path = tuple[str, ...]

PATH_DEPTH_MAX: Final = 32
PATH_MAX: Final = 1024

_SEGMENT: Final = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^."']+))(\.|$)""")
_PLAIN: Final = re.compile(r"[^\s.\"'\d][^.\"']*")


def parse_path(text: str, where: str = "$") -> Path:
    """The segments of a key path. Raises `InvalidDefinition` at `where`."""
    problem = path_problem(text)
    if problem:
        raise InvalidDefinition("not a key path", [Problem(where, problem)])
    return _split(text)


def path_problem(text: str) -> str | None:
    """What is wrong with a key path, or None."""
    if not text:
        return "the path is empty"
    if len(text) > PATH_MAX:
        return f"the path is longer than {PATH_MAX} characters"
    try:
        segments = _split(text)
    except ValueError as error:
        return str(error)
    if len(segments) > PATH_DEPTH_MAX:
        return f"the path is deeper than {PATH_DEPTH_MAX} segments"
    return None


@lru_cache(maxsize=4096)
def _split(text: str) -> Path:
    segments: list[str] = []
    at = 0
    while True:
        found = _SEGMENT.match(text, at)
        if found is None:
            raise ValueError(_fault(text, at))
        double, single, bare, dot = found.groups()
        if bare is not None and bare.isascii() and bare.isdigit():
            raise ValueError(
                f'"{text}": paths do not reach into lists; write the key {bare} in quotes'
            )
        segments.append(next(s for s in (double, single, bare) if s is not None))
        at = found.end()
        if not dot:
            return tuple(segments)


def _fault(text: str, at: int) -> str:
    rest = text[at:]
    if not rest or rest[0] == ".":
        return f'"{text}" has an empty segment at position {at}'
    if rest[0] in "\"'" and rest.count(rest[0]) == 1:
        return f'"{text}" has a quote at position {at} that is never closed'
    return f'"{text}" has a quote in the middle of the segment at position {at}'


def path_text(path: Path) -> str:
    """The path as text that parses to it again, quoted only where it must be."""
    return ".".join(_quoted(segment) for segment in path)


def _quoted(segment: str) -> str:
    if _PLAIN.fullmatch(segment):
        return segment
    return f"'{segment}'" if '"' in segment else f'"{segment}"'


MISSING: Final = object()


def walk(value: Json, path: Path) -> Json:
    """What is at the path, or `MISSING`; only objects are walked into."""
    for segment in path:
        if not isinstance(value, dict):
            return MISSING
        value = value.get(segment, MISSING)
    return value
