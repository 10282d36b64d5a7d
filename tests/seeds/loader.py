"""Runs the seeds' own examples: text files, byte for byte, of which nothing is retyped.

The documents show code without its imports, and the first seed's has lost its indentation in
print. Both are put back by rule, here: `imports` gives the names an example uses, and `indented`
knows that a `def` begins at the margin, that a class inside it holds annotated fields, and that
everything else is the body of the function.
"""

from __future__ import annotations

import re
import typing
import uuid
from pathlib import Path
from typing import Any, Final

import greenroom

SEEDS: Final = Path(__file__).parent
_FIELD: Final = re.compile(r"^\w+\s*:\s*[^=]+(=.*)?$")
_TYPING: Final = ("Any", "Dict", "List", "Optional")


def text(name: str) -> str:
    """The example as it was printed."""
    return (SEEDS / name).read_text(encoding="utf-8")


def indented(source: str) -> str:
    """The example with its indentation. Text that has some is left alone."""
    lines = source.splitlines()
    if any(line.startswith((" ", "\t")) for line in lines):
        return source
    found: list[str] = []
    in_class = False
    for line in lines:
        if line.startswith(("@", "def ", "async def ")):
            in_class, depth = False, 0
        elif line.startswith("class "):
            in_class, depth = True, 1
        elif in_class and _FIELD.match(line):
            depth = 2
        else:
            in_class, depth = False, 1
        found.append("    " * depth + line)
    return "\n".join(found) + "\n"


def imports() -> dict[str, Any]:
    """The names an example may use: those of greenroom, and what the standard library has."""
    names: dict[str, Any] = {name: getattr(greenroom, name) for name in greenroom.__all__}
    names.update({name: getattr(typing, name) for name in _TYPING})
    names["UUID"] = uuid.UUID
    return names


def load(name: str, **more: Any) -> dict[str, Any]:
    """Runs an example and gives what it defines. `more` are names its text leaves to the reader
    (`# build new_state`)."""
    scope = {**imports(), **more, "__name__": f"seed.{Path(name).stem}"}
    before = set(scope)
    exec(compile(indented(text(name)), name, "exec"), scope)  # noqa: S102  the point of it
    return {key: value for key, value in scope.items() if key not in before | {"__builtins__"}}
