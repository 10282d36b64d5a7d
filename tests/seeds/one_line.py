"""Examples whose line breaks were lost, laid out again by rule; nothing is retyped.

Two operands that stand side by side are two statements; `from`, `class`, `def` and `return` begin
one. What follows the head of a class is a step deeper, what follows a `def` two. A head without its
colon gets it. Imports of the original's modules become imports of the same names from greenroom.
"""

from __future__ import annotations

import io
import keyword
import re
import tokenize

_BEGINS = ("from", "class", "def", "return")
_OPERANDS = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)


def laid_out(text: str) -> str:
    """The example as Python: its statements on lines of their own, its imports changed."""
    lines: list[str] = []
    depth = 0
    for statement in _statements(text):
        head = statement.split(maxsplit=1)[0]
        if head in ("from", "import", "class"):
            depth = 0
        elif head == "def":
            depth = 1 if any(line.startswith("class ") for line in lines) else 0
        lines.append("    " * depth + _imported(_headed(statement)))
        if head in ("class", "def"):
            depth += 1
    return "\n".join(lines) + "\n"


def with_methods(source: str, methods: str) -> str:
    """A class with the methods of another example, as its text says to add them."""
    found = [line for line in laid_out(methods).splitlines() if line.strip() != "..."]
    return source + "".join(f"    {line}\n" for line in found)


def _statements(text: str) -> list[str]:
    found: list[str] = []
    begin, last = 0, None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER):
            continue
        at = token.start[1]
        if last is not None and _breaks(last, token, text[begin:at]):
            found.append(text[begin:at].strip())
            begin = at
        last = token
    return [*found, text[begin:].strip()]


def _breaks(last: tokenize.TokenInfo, token: tokenize.TokenInfo, so_far: str) -> bool:
    if token.type == tokenize.NAME and token.string in _BEGINS:
        return True
    if last.string == ":" and so_far.startswith(("class ", "def ")):
        return True
    return _ends_operand(last) and _starts_operand(token)


def _ends_operand(token: tokenize.TokenInfo) -> bool:
    if token.string in (")", "]", "}", "..."):
        return True
    return token.type in _OPERANDS and not keyword.iskeyword(token.string)


def _starts_operand(token: tokenize.TokenInfo) -> bool:
    if token.string == "...":
        return True
    return token.type in _OPERANDS and not keyword.iskeyword(token.string)


def _headed(statement: str) -> str:
    if statement.startswith(("class ", "def ")) and not statement.endswith(":"):
        return f"{statement}:"
    return statement


def _imported(statement: str) -> str:
    statement = re.sub(r"^from zenaton[.\w]* import", "from greenroom import", statement)
    return re.sub(r"^Zenaton\.client\.", "", statement)
