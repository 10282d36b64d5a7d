"""What goes wrong, told in a few lines: what, where, why, and what to do next.

`error CODE: what happened` with real values, then one fact a line, indented. The code is the one
of every face. A stack trace is shown only with `--debug`, then with the values of the locals.
"""

from __future__ import annotations

import difflib
import sys
import textwrap
import traceback
from collections.abc import Sequence
from typing import Any, Final

import click

from greenroom.definitions.errors import GreenroomError
from greenroom.runtime.cli.prompts import fields
from greenroom.runtime.cli.words import compact, visible

USAGE: Final = 2
BUG: Final = 70
INTERRUPTED: Final = 130
PIPE: Final = 141

Data = dict[str, Any]


def render(error: GreenroomError) -> str:
    """The whole message of an error, without its stack."""
    problems = error.details.get("problems")
    if isinstance(problems, list) and problems:
        head, body = _definition(error, problems)
    else:
        head, _, rest = (error.message or error.code).partition("\n")
        told = error.code == "form_invalid" and error.details.get("errors")
        body = [] if told else _lines(rest)
    body = [*body, *_more(error, error.details)]
    body += [line for line in _lines(error.hint or "") if line.strip() not in error.message]
    return "\n".join([f"error {error.code}: {head}", *(f"  {line}" for line in body)])


def _lines(text: str) -> list[str]:
    """Without the indent they have in common; one among themselves is kept, it points."""
    return textwrap.dedent(text).split("\n") if text else []


def _definition(error: GreenroomError, problems: list[Data]) -> tuple[str, list[str]]:
    """All problems at once, their places and paths in columns."""
    head = error.message.split("\n", 1)[0]
    rows = [(p.get("where") or "", p.get("path") or "", p.get("message") or "") for p in problems]
    where = max(len(row[0]) for row in rows)
    path = max(len(row[1]) for row in rows)
    body = []
    for row in rows:
        columns = [row[0].ljust(where)] if where else []
        columns += [row[1].ljust(path)] if path else []
        body.append("  ".join(columns) + ("   " if columns else "") + row[2])
    return head, body


def _more(error: GreenroomError, details: Data) -> list[str]:
    """What the command line can add to an error from its details."""
    match error.code:
        case "code_changed":
            return _sides(details)
        case "already_running" if details.get("instance"):
            shown = f"greenroom show {details['instance']}"
            return [] if shown in (error.hint or "") or shown in error.message else [shown]
        case "form_invalid":
            found = [_field(one) for one in details.get("errors") or []]
            width = max((len(place) for place, _ in found), default=0)
            return [f"{place:<{width}}   {text}" for place, text in found]
        case "form_not_complete":
            return fields(details.get("schema"))
    return []


def _sides(details: Data) -> list[str]:
    """Journal and code, one under the other, so that the difference is seen."""
    recorded, asked = details.get("recorded"), details.get("asked")
    if recorded is None or asked is None:
        return []
    place = f"#{details['position']}" if details.get("position") is not None else ""
    return [
        f"journal {place}  {_call(recorded)}".replace("journal   ", "journal  "),
        f"code    {place}  {_call(asked)}".replace("code      ", "code     "),
    ]


def _call(side: Any) -> str:
    return side if isinstance(side, str) else compact(side)


def _field(one: Any) -> tuple[str, str]:
    """Where it is wrong, and what."""
    if not isinstance(one, dict):
        return "", str(one)
    place = one.get("path") or ".".join(map(str, one.get("loc") or ()))
    return place, one.get("message") or one.get("msg") or ""


def code(error: GreenroomError) -> int:
    return error.exit_code


def usage(error: click.UsageError) -> str:
    """A wrong call, with the help that would have told."""
    text = error.format_message().rstrip(".").replace(". Did you", "; did you")
    text = text[:1].lower() + text[1:]
    path = error.ctx.command_path if error.ctx is not None else "greenroom"
    return f"error usage: {text}\n  see:  {path} --help"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.65)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def bug(error: BaseException) -> str:
    """An exception nobody thought of."""
    place = traceback.extract_tb(error.__traceback__)
    where = f"  at {place[-1].filename}:{place[-1].lineno}\n" if place else ""
    return (
        f"error internal: {type(error).__name__}: {error}\n{where}"
        "  this is a fault of greenroom; run it again with --debug to see all of it"
    )


def trace(error: BaseException) -> str:
    """The stack with its locals, for `--debug`."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(found.format()).rstrip()


def to_stderr(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()
