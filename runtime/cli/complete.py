"""Completion of instances and workflows, asked of the daemon within a deadline.

Whoever presses Tab waits for the answer: after 150 ms, or when there is no daemon, there are no
suggestions and no message.
"""

from __future__ import annotations

import re
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from greenroom.runtime.cli import quick

DEADLINE_S: Final = 0.150
LIMIT: Final = 50
_PLAIN: Final = re.compile(r"[\w./@+,=%-]+")
"""What is one word in every shell. A suggestion lands on the command line as it is, and a key may
come from an event: `$(...)` is not suggested."""


def instances(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys as `workflow/key`, else ids; the newest first, their status beside them."""
    found = _ask(ctx, "list", q="", limit=LIMIT)
    items = found["items"] if isinstance(found, dict) else []
    named = [(_name(one, incomplete), one) for one in items]
    return [
        CompletionItem(name, help=f"{one['workflow']} {one['status']}")
        for name, one in named
        if name.startswith(incomplete) and _PLAIN.fullmatch(name)
    ]


def workflows(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    found = _ask(ctx, "definitions.list")
    names = dict.fromkeys(one["name"] for one in _items(found))
    return [
        CompletionItem(name)
        for name in names
        if name.startswith(incomplete) and _PLAIN.fullmatch(name)
    ]


def _name(one: dict[str, Any], incomplete: str) -> str:
    if one["key"] is None or incomplete[:1].isdigit():
        return str(one["id"])
    return f"{one['workflow']}/{one['key']}"


def _items(found: Any) -> list[dict[str, Any]]:
    return list(found["items"] if isinstance(found, dict) else found or ())


def _ask(ctx: click.Context, method: str, **params: Any) -> Any:
    root = ctx.find_root().params
    try:
        line = quick.Line(DEADLINE_S, root.get("server"), root.get("data"))
        try:
            return line.call(method, **params)
        finally:
            line.close()
    except (OSError, ValueError, quick.Later):
        return None
