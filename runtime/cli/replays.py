"""`replay --check`: do stored histories still follow today's code?"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click
import msgspec

from greenroom.definitions.errors import InvalidRequest, Locked
from greenroom.runtime import places
from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import count

Data = dict[str, Any]

DIFFERS: Final = 5


@command(
    "replay",
    example="greenroom replay --check app.py --data /backup/greenroom.db\n"
    "greenroom replay --check --filter workflow:order",
)
@click.argument("what", nargs=-1, type=click.Path(), metavar="[WHAT]...")
@click.option("--check", is_flag=True, required=True, help="Compare; nothing is run or written.")
@click.option("--filter", "q", default="", metavar="FILTER", help="Only these instances.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the newest first.")
def replay(session: Session, what: tuple[str, ...], check: bool, q: str, limit: int | None) -> None:
    """Replay stored histories on today's code.

    The first difference of each instance is shown, with both places.

    WHAT is the code to look at (files, folders, modules): the store of --data, or the file of a
    backup, is opened here, so no daemon may have it open. Without WHAT a daemon looks at the code it has.
    Exit 5 if an instance could not go on. A FILTER is as for `ls`.
    """
    found = _offline(session, what, q, limit) if what else session.call("replay", q=q, limit=limit)
    if session.format != "table":
        session.show(found)
    else:
        for one in found["findings"]:
            _say(one)
        output.line(_total(found))
    if found["errors"]:
        session.exit_code = DIFFERS


def _offline(session: Session, what: tuple[str, ...], q: str, limit: int | None) -> Data:
    from greenroom.runtime.loading import load  # noqa: PLC0415  start-up time
    from greenroom.runtime.replays import check_store  # noqa: PLC0415  start-up time

    data = places.data_directory(session.data)
    if not data.is_file() and not (data / "greenroom.db").exists():  # a backup is a file
        raise InvalidRequest(f"there is no store in {data}", path=str(data))
    try:
        report = asyncio.run(check_store(data, load(what), q, limit))
    except Locked as error:
        raise Locked(
            error.message,
            hint="a daemon has it: leave WHAT out to ask that one, or look at a backup:  "
            "greenroom db backup FILE",
            **error.details,
        ) from None
    shown: Data = msgspec.to_builtins(report)
    return shown


def _say(one: Data) -> None:
    who = (
        f"{one['workflow']}/{one['key']}" if one["key"] else f"{one['workflow']} {one['instance']}"
    )
    line = f"   {one['line']}" if one["line"] else ""
    output.line(f"{output.status(one['level'])}  {who}  entry {one['at']}: {one['why']}{line}")
    for side in ("journal", "code"):
        for place, text in enumerate(one[side]):
            output.line(f"  {side if place == 0 else '':8}{text}")


def _total(found: Data) -> str:
    parts = [count(found["instances"], "instance"), count(found["errors"], "error")]
    if found["warnings"]:
        parts.append(count(found["warnings"], "warning"))
    left = found["errors"] + found["warnings"] - len(found["findings"])
    return ", ".join(parts) + (f"; {left:,} more are not shown" if left else "")


COMMANDS: Final = {"replay": replay}
