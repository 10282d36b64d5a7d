"""From the text of an expression to a tree that can run, or to a message that shows the place."""

from __future__ import annotations

import re
import warnings
from typing import Any, Final

import jmespath.exceptions  # type: ignore[import-untyped]
import jmespath.parser  # type: ignore[import-untyped]

from greenroom.definitions.errors import ExpressionError, InvalidInput
from greenroom.definitions.evaluation import BadTree, Node
from greenroom.definitions.values import encode

PREFIX: Final = "::"
LENGTH_MAX: Final = 4096
TREE_DEPTH_MAX: Final = 64

_WINDOW: Final = 60
_NAME_WITH_HYPHEN: Final = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)+")


def parse(text: str) -> Node:
    """The tree of an expression given without its `::`. Raises `ExpressionError`."""
    if len(text) > LENGTH_MAX:
        raise ExpressionError(
            f"the expression has {len(text):,} characters, the limit is {LENGTH_MAX:,}",
            position=LENGTH_MAX,
            reason="limit",
        )
    try:
        tree = _parse(text if text.strip() else "@")
        _check(tree)
    except RecursionError:
        why = f"nested more than {TREE_DEPTH_MAX} levels deep"
        raise refused(text, 0, why, "limit") from None
    except jmespath.exceptions.ParseError as error:
        raise _not_parsed(text, error) from None
    except (BadTree, jmespath.exceptions.JMESPathError, ValueError) as error:
        raise refused(text, 0, str(error)) from None
    return tree


def _parse(text: str) -> Node:
    if "`" not in text:
        return _tree(text)
    with warnings.catch_warnings():  # `text` for `"text"` is old, known and harmless
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return _tree(text)


def _tree(text: str) -> Node:
    tree: Node = jmespath.parser.Parser().parse(text).parsed
    return tree


def _check(tree: Node) -> None:
    """Depth, constants and slices."""
    stack: list[tuple[Any, int]] = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > TREE_DEPTH_MAX:
            raise RecursionError
        if node["type"] == "slice":
            if node["children"][2] == 0:
                raise BadTree("the step of a slice must not be 0")
            continue
        if node["type"] in ("literal", "field", "key_val_pair"):
            try:
                encode(node["value"], "a constant")
            except InvalidInput as error:
                raise BadTree(str(error)) from None
        stack.extend((child, depth + 1) for child in node["children"])


def _not_parsed(text: str, error: Any) -> ExpressionError:
    position = max(0, min(int(error.lex_position or 0), len(text)))
    hyphen = _hyphenated(text, position)
    if hyphen:
        return refused(text, hyphen[0], f'"-" needs quotes:  {hyphen[1]}')
    if isinstance(error, jmespath.exceptions.IncompleteExpressionError) or position >= len(text):
        return refused(text, len(text), "something is missing here")
    if isinstance(error, jmespath.exceptions.LexerError):
        return refused(text, position, str(error.message))
    return refused(text, position, f'"{text[position : position + 20]}" does not belong here')


def _hyphenated(text: str, position: int) -> tuple[int, str] | None:
    """The place of the hyphen and the text mended, if a bare name with `-` is what is wrong."""
    for name in _NAME_WITH_HYPHEN.finditer(text):
        if name.start() <= position < name.end() and not name[0][0].isdigit():
            mended = f'{text[: name.start()]}"{name[0]}"{text[name.end() :]}'
            return name.start() + name[0].index("-"), PREFIX + mended
    return None


def refused(text: str, position: int, why: str, reason: str = "syntax") -> ExpressionError:
    """The error for a text, with a line that points at the position."""
    start = max(0, position - _WINDOW)
    line = " ".join(text[start : position + _WINDOW].splitlines())
    cut = "…" if start else PREFIX
    pointer = " " * (len(cut) + position - start) + "^"
    return ExpressionError(
        f"not a JMESPath expression\n  {cut}{line}\n  {pointer} {why}",
        expression=text[:LENGTH_MAX],
        position=position,
        reason=reason,
        problem=why,
    )


def shown(text: str) -> str:
    """The expression as its author wrote it, cut if it is long."""
    return PREFIX + (text if len(text) <= _WINDOW else text[: _WINDOW - 1] + "…")
