"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.cli import complete, items
from greenroom.runtime.filters import looks_like_filter, parse_filter

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

VALUES = "[KEY=TEXT|KEY:=JSON]..."

instance = click.argument("instance", shell_complete=complete.instances)
targets = click.argument(
    "targets",
    nargs=-1,
    required=True,
    metavar="INSTANCE...|FILTER",
    shell_complete=complete.instances,
)
values = click.argument("values", nargs=-1, metavar=VALUES)
data = click.option(
    "-d",
    "--json",
    "source",
    metavar="JSON|@FILE|-",
    help="The value as JSON, from a file or stdin.",
)
reason = click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
request_id = click.option(
    "--request-id", metavar="ID", help="The same id again gets the same answer, no second effect."
)
dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, do nothing.")
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask before more than one instance.")
wait = click.option("--wait", is_flag=True, help="Wait for the end; exit 1 if it failed.")
timeout = click.option(
    "--timeout", metavar="DURATION", help="How long to wait, as 30s or 5m; then exit 6."
)
limit = click.option(
    "--limit", "-n", type=click.IntRange(1, 1000), default=50, show_default=True, help="Rows."
)
cursor = click.option("--cursor", metavar="TEXT", help="Where the page before ended.")
namespace = click.option("--namespace", metavar="NAME", help="The namespace, none by default.")


def json_option(name: str, help: str) -> Decorator[Any]:
    """An option that takes a JSON value or @file."""
    return click.option(f"--{name}", metavar="JSON|@FILE", help=help)


def json_value(source: str | None, name: str) -> Any:
    return None if source is None else items.document(source, f"--{name}")


def filter_text(words: Sequence[str]) -> str:
    """The filter that words of a command are. The shell takes the quotes of `key:"a b"` away: what
    is one word to it and no filter behind its space is one value."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    first, *rest = word.split() or [""]
    at = re.match(r"-?[\w.]+[:=<>]=?", first)
    if at is None or not rest or '"' in word or any(map(looks_like_filter, rest)):
        return word
    return f'{word[: at.end()]}"{word[at.end() :]}"'


def instances_or_filter(words: Sequence[str]) -> str | None:
    """The filter the words are, None when they are instances. Wrong filters are told here,
    before anything is asked of a daemon."""
    filters = [looks_like_filter(word) for word in words]
    if not any(filters):
        return None
    if not all(filters):
        odd = words[filters.index(False)]
        raise InvalidRequest(
            f"{odd} is no part of a filter, and instances and filters cannot be mixed",
            hint=f"name the field, as in  key:{odd}",
        )
    return str(parse_filter(filter_text(words)))
