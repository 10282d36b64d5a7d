"""`greenroom sched`: what starts by the clock."""

from __future__ import annotations

from typing import Any, Final

import click

from greenroom.runtime.cli import options, output, sentences
from greenroom.runtime.cli.group import Command, command, subgroup
from greenroom.runtime.cli.session import Session

Data = dict[str, Any]


@command("ls", example="greenroom sched ls")
def ls(session: Session) -> None:
    """List schedules and when they fire next."""
    page = session.call("schedules.list")
    heads = ["schedule", "workflow", "rule", "next", "last"]
    session.page(page, heads, lambda one: _row(session, one), "schedule")


def _row(session: Session, one: Data) -> list[str]:
    if one["paused"]:
        coming = "paused"
    elif one["next"] is None:
        coming = "never"
    else:
        left = sentences.due(one["next"], session.now()).removeprefix("due ")
        coming = f"{sentences.day(one['next'])}  {left}"
    last = sentences.day(one["last"]) if one["last"] else "never"
    return [one["id"], one["workflow"], one["rule"], coming, last]


@command("next", example="greenroom sched next report --count 5")
@click.argument("name")
@click.option("--count", "-n", type=click.IntRange(1, 1000), default=10, show_default=True)
def following(session: Session, name: str, count: int) -> None:
    """List the next times a schedule fires (UTC)."""
    times = session.call("schedules.next", name=name, count=count)
    items = times["items"] if isinstance(times, dict) else times
    if session.format != "table":
        session.page(items, [], lambda _: [], "time")
        return
    for one in items:
        at = one if isinstance(one, str) else one["at"]
        output.line(f"{sentences.day(at)}  {sentences.due(at, session.now()).removeprefix('due ')}")


def _verb(name: str, help: str, said: str) -> Command:
    def run(session: Session, schedule: str, dry_run: bool) -> None:
        if dry_run:
            session.show(
                {"dry_run": True, "method": f"schedules.{name}", "params": {"name": schedule}},
                lambda: f"would {name} {schedule}",
            )
            return
        reply = session.call(f"schedules.{name}", name=schedule)
        session.show(reply, lambda: f"{schedule} {said}")

    run.__doc__ = help
    declared = click.argument("schedule", metavar="NAME")(options.dry_run(run))
    return command(name, f"greenroom sched {name} report")(declared)


COMMANDS: Final = {
    "sched": subgroup(
        "sched",
        ls,
        following,
        _verb("pause", "Let a schedule fire no more until it is resumed.", "is paused"),
        _verb("resume", "Let a paused schedule fire again.", "is resumed"),
        _verb("trigger", "Fire a schedule now, once.", "was triggered"),
        help="Schedules: ls next pause resume trigger.",
    )
}
