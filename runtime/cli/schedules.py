"""`greenroom sched`: what starts by the clock."""

from __future__ import annotations

from typing import Any, Final

import click

from greenroom.runtime.cli import options, output, sentences
from greenroom.runtime.cli.group import Command, command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import count as count_of

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
@click.option(
    "--count", "-n", type=click.IntRange(1, 1000), default=10, show_default=True, help="Times."
)
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


@command("preview", example="greenroom sched preview report --next 50 --assume down=02:00-05:00")
@click.argument("name", required=False)
@click.option("--rule", metavar="TEXT", help="A cron expression, rate or JSON instead of a name.")
@click.option(
    "--next",
    "-n",
    "count",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Times.",
)
@click.option(
    "--assume",
    multiple=True,
    metavar="WHAT",
    help="down=02:00-05:00 (each day), down=MOMENT/MOMENT, takes=20m; as often as wanted.",
)
def preview(
    session: Session, name: str | None, rule: str | None, count: int, assume: tuple[str, ...]
) -> None:
    """Show what a schedule would do, also when nothing runs."""
    if (name is None) == (rule is None):
        raise click.UsageError("name a schedule, or give --rule")
    params: Data = {"name": name, "count": count, "assume": list(assume)}
    if rule is not None:
        is_object = rule.lstrip().startswith("{")
        params["rule"] = options.json_value(rule, "rule") if is_object else rule
    times = session.call("schedules.preview", **params)
    items = times["items"] if isinstance(times, dict) else times
    heads = ["nominal (UTC)", "runs at (UTC)", "what", "why"]
    session.page(items, heads, _planned, "time")


def _planned(one: Data) -> list[str]:
    at = sentences.day(one["at"]) if one["at"] else "-"
    return [sentences.day(one["nominal"]), at, one["what"], one["why"] or ""]


@command("backfill", example="greenroom sched backfill report 2026-03-01 2026-03-08")
@click.argument("name")
@click.argument("start")
@click.argument("end", required=False)
@options.dry_run
def backfill(session: Session, name: str, start: str, end: str | None, dry_run: bool) -> None:
    """Run the times from START to END (now) that had no run yet."""
    params: Data = {"name": name, "start": start, "end": end, "dry_run": dry_run or None}
    reply = session.call("schedules.backfill", **params)
    session.show(reply, lambda: _backfilled(reply))


def _backfilled(reply: Data) -> str:
    waits = f", {reply['queued']} wait for each other" if reply["queued"] else ""
    would = "would start" if reply.get("dry_run") else "started"
    return (
        f"{reply['schedule']}: {count_of(reply['times'], 'time')}, {reply['started']} {would}, "
        f"{reply['known']} had run before{waits}"
    )


COMMANDS: Final = {
    "sched": subgroup(
        "sched",
        ls,
        following,
        _verb("pause", "Let a schedule fire no more until it is resumed.", "is paused"),
        _verb("resume", "Let a paused schedule fire again.", "is resumed"),
        _verb("trigger", "Fire a schedule now, once.", "was triggered"),
        preview,
        backfill,
        help="Schedules: ls next preview pause resume trigger backfill.",
    )
}
