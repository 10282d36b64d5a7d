"""Words for events, names and values. Standard library only (see the package)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

Data = dict[str, Any]

LISTED_MAX: Final = 10

CONTROLS: Final = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
)
"""What a terminal obeys instead of showing: all controls but tabs and line ends, and what turns
the direction of text around."""
_CONTROL: Final = re.compile(f"[{CONTROLS}]")


def visible(text: str) -> str:
    """Text of strangers as it can be printed: a control becomes `\\u001b`, which is the same
    string where the text is JSON."""
    return text if text.isprintable() else _CONTROL.sub(escaped, text)


def escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def compact(value: Any) -> str:
    """JSON on one line; text bare when that cannot be misread."""
    if isinstance(value, str) and value and not any(c.isspace() or c in '"{}[],' for c in value):
        return value
    return json.dumps(value, ensure_ascii=False)


def count(number: int, noun: str) -> str:
    """`1 entry`, `2,000 entries`."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


def name(workflow: str, key: str | None, id: str | None) -> str:
    """How a person says an instance: `order/7`, or the workflow and its id."""
    if key is not None:
        return f"{workflow}/{key}"
    return f"{workflow} {id}" if id else workflow


def posted(reply: Data, facts: Any = None) -> str:
    """What became of an event; `facts` say why it matched nothing."""
    head = f"event {reply['id']} accepted"
    if reply["duplicate"]:
        head += " before (duplicate)"
    total = reply["matched_total"]
    if not total:
        return "\n".join([f"{head} → matched nothing", *indented(fact_texts(facts))])
    matched = reply["matched"]
    if total == 1:
        return f"{head} → {match(matched[0])}"
    lines = [f"  {match(one)}" for one in matched[:LISTED_MAX]]
    if total > len(lines):
        lines.append(f"  and {total - len(lines):,} more")
    return "\n".join([f"{head} → {total:,} matches", *lines])


def match(one: Data) -> str:
    called = name(one["workflow"], one["key"], one["instance"])
    code = f" ({one['code']})" if one.get("code") else ""
    return f"{one['action']} {called}{code}" if not code else f"{called} {one['action']}{code}"


def fact_texts(facts: Any) -> list[str]:
    """The sentences of `why` or `explain`, whichever shape they came in."""
    if isinstance(facts, dict):
        facts = facts.get("facts") or []
    texts = (fact["text"] if isinstance(fact, dict) else str(fact) for fact in facts or ())
    return [line for text in texts for line in text.split("\n")]


def indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


def difference(one: Data) -> str:
    """One place in which two things differ."""
    match one["change"]:
        case "added":
            return f"  + {one['path']}  {compact(one['b'])}"
        case "removed":
            return f"  - {one['path']}  {compact(one['a'])}"
        case _:
            return f"  ~ {one['path']}  {compact(one['a'])} -> {compact(one['b'])}"
