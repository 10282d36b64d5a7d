"""`greenroom events`: what was posted, and what became of it."""

from __future__ import annotations

from typing import Any, Final

import click

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.cli import options, output, sentences
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.items import document
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, fact_texts, match

Data = dict[str, Any]


@command("ls", example="greenroom events ls --limit 20")
@click.argument("filter", nargs=-1, metavar="[FILTER]...")
@options.limit
@options.cursor
def ls(session: Session, filter: tuple[str, ...], limit: int, cursor: str | None) -> None:
    """List stored events, the newest first.

    FILTER is an event type, or words: type:order.created source:/shop subject:o-7.
    """
    page = session.call("events.list", q=" ".join(filter), limit=limit, cursor=cursor)
    session.page(page, ["pos", "at", "type", "id", "data"], _row, "event", "greenroom events ls")


def _row(one: Data) -> list[str]:
    return [
        str(one["pos"]), sentences.clock(one["accepted"]), one["type"], one["id"],
        compact(one["data"]),
    ]  # fmt: skip


@command("show", example="greenroom events show 0193c0de-0000-7000-8000-000000000001")
@click.argument("id")
def show(session: Session, id: str) -> None:
    """Show one event."""
    one = session.call("events.get", id=id)
    if session.format != "table":
        session.show(one)
        return
    known = ("id", "type", "source", "subject", "time", "accepted", "by", "pos")
    rows = [(head, str(one[head])) for head in known if one.get(head) not in (None, "")]
    rows.append(("data", compact(one.get("data"))))
    rows += [("matched", match(found)) for found in one.get("matched") or ()]
    output.pairs(rows, indent="")


@command("tail", example="greenroom events tail --type order.created -o jsonl")
@click.option("--type", metavar="TEXT", help="Only events of this type.")
@click.option("--after", type=int, metavar="POS", help="From this place on; new ones by default.")
@click.option("--since", metavar="WHEN", help="From a moment, or a duration ago, as 2d.")
def tail(session: Session, type: str | None, after: int | None, since: str | None) -> None:
    """Follow events as they are posted."""
    params: Data = {"type": type, "after": after, "since": since}
    given = {name: value for name, value in params.items() if value is not None}
    session.stream(session.backend.tail(**given), _line)


def _line(one: Data) -> str:
    return f"{sentences.clock(one['accepted'])}  {one['type']}  {one['id']}  {compact(one['data'])}"


@command("explain", example="greenroom events explain 0193c0de --workflow order")
@click.argument("id")
@click.option("--workflow", metavar="NAME", help="Only why it did (not) concern this workflow.")
def explain(session: Session, id: str, workflow: str | None) -> None:
    """Say who took an event and why others did not."""
    facts = session.call("events.explain", id=id, workflow=workflow)
    session.show(facts, lambda: "\n".join(_said(facts)) or "nothing listens", prose=True)


def _said(facts: Any) -> list[str]:
    if isinstance(facts, dict) and facts.get("text"):
        return str(facts["text"]).split("\n")
    return fact_texts(facts)


@command("resend", example="greenroom events resend 0193c0de")
@click.argument("id")
def resend(session: Session, id: str) -> None:
    """Deliver a stored event again, as a new one."""
    reply = session.call("events.resend", id=id)
    session.show(reply, lambda: f"event {id} was sent again as {reply['id']}")


_type = click.option("--type", metavar="TEXT", help="Only events of this type.")
_since = click.option("--since", metavar="WHEN", help="From a moment, or a duration ago, as 2d.")
_looked = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=10_000, show_default=True,
    help="Events looked at.",
)  # fmt: skip


@command("try", example="greenroom events try app.py --since 7d")
@click.argument("file")
@_type
@_since
@_looked
def try_(session: Session, file: str, type: str | None, since: str | None, limit: int) -> None:
    """Show what the triggers in FILE would have done to stored events.

    FILE is a Python file or document with workflows, or JSON: {"on": ..., "where": ..., "key": ...}
    or a list of such. Nothing is started.
    """
    params: Data = {"subscriptions": _subscriptions(file), "type": type, "since": since}
    tried = session.call("events.try", limit=limit, **params)
    items = tried["items"] if isinstance(tried, dict) else tried
    if session.format != "table":
        session.page(items, [], lambda _: [], "subscription")
        return
    for one in items:
        output.line("\n".join(_tried(one)))


def _subscriptions(file: str) -> list[Data]:
    if file.endswith(".json"):
        found = document(f"@{file}", "FILE")
        listed = found if isinstance(found, list) else [found]
        if all(isinstance(one, dict) and "on" in one for one in listed):
            return listed
    from greenroom.definitions.declare import definition_of  # noqa: PLC0415  few commands need it
    from greenroom.runtime.loading import load  # noqa: PLC0415

    made: list[Data] = []
    for item in load(file):
        definition = definition_of(item)
        for trigger in definition.triggers:
            if trigger.type is not None:
                key = None if trigger.key is None else trigger.key.source
                made.append(
                    {"workflow": definition.name, "on": trigger.type, "where": trigger.where.source,
                     "key": key}
                )  # fmt: skip
    if not made:
        raise InvalidRequest(f"nothing in {file} listens to events")
    return made


def _tried(one: Data) -> list[str]:
    name = one["workflow"] or one["on"]
    lines = [f"{name}: {one['matched']:,} of {one['looked_at']:,} events of type {one['on']}"]
    for event in one["first"]:
        key = f"  key {event['key']}" if event.get("key") else ""
        lines.append(
            f"  matches {event['id']}{key}{'  ' + event['error'] if event.get('error') else ''}"
        )
    lines += [f"  {count['events']:,} fail at  {count['criterion']}" for count in one["failed"]]
    return lines


@command("replay", example="greenroom events replay --type order.created --since 7d --into order2")
@click.option("--into", required=True, metavar="WORKFLOW", help="The workflow to start.")
@_type
@_since
@_looked
@options.dry_run
def replay(
    session: Session, into: str, type: str | None, since: str | None, limit: int, dry_run: bool
) -> None:
    """Start a workflow for stored events that have not started it yet."""
    params: Data = {"into": into, "type": type, "since": since, "limit": limit}
    reply = session.call("events.replay", dry_run=dry_run or None, **params)
    would = "would start" if reply["dry_run"] else "started"
    session.show(
        reply,
        lambda: (
            f"{into}: {reply['looked_at']:,} events, {reply['matched']:,} match, {would} "
            f"{reply['started']:,}, {reply['known']:,} had started it, {reply['refused']:,} refused"
            + (f", {reply['held']:,} held" if reply.get("held") else "")
        ),
    )


@command("held", example="greenroom events held --workflow export")
@click.option("--workflow", metavar="NAME", help="Only what this workflow collects.")
@options.limit
def held(session: Session, workflow: str | None, limit: int) -> None:
    """List events that triggers hold.

    debounce, throttle, batch, all_of and unless hold them, until they start something.
    """
    rows = session.call("events.held", workflow=workflow, limit=limit)
    items = rows["items"] if isinstance(rows, dict) else rows
    session.page(
        items, ["workflow", "key", "kind", "events", "due"], lambda one: _held(session, one), "key"
    )


def _held(session: Session, one: Data) -> list[str]:
    due = sentences.due(one["due"], session.now()).removeprefix("due ")
    return [one["workflow"], one["key"] or "-", one["kind"], str(len(one["events"])), due]


@command("ls", example="greenroom events dead ls")
@click.argument("instance", required=False)
@options.limit
def dead_ls(session: Session, instance: str | None, limit: int) -> None:
    """List deliveries that a full inbox refused."""
    rows = session.call("events.dead", instance=instance, limit=limit)
    items = rows["items"] if isinstance(rows, dict) else rows
    session.page(items, ["pos", "at", "instance", "type", "event", "reason"], _dead, "dead letter")


def _dead(one: Data) -> list[str]:
    who = f"{one['workflow']}/{one['key']}" if one["key"] else one["instance"]
    at = sentences.clock(one["at"])
    return [str(one["pos"]), at, who, one["type"] or "-", one["event"] or "-", one["reason"]]


@command("redrive", example="greenroom events dead redrive order/7")
@click.argument("instance", required=False)
@click.option("--pos", type=int, metavar="N", help="Only the event at this place.")
def redrive(session: Session, instance: str | None, pos: int | None) -> None:
    """Deliver dead letters again: all, or those of an instance."""
    reply = session.call("events.redrive", instance=instance, pos=pos)
    session.show(
        reply,
        lambda: (
            f"{reply['delivered']:,} delivered, {reply['left']:,} find no room yet, "
            f"{reply['dropped']:,} belong to instances that have ended"
        ),
    )


COMMANDS: Final = {
    "events": subgroup(
        "events",
        ls,
        show,
        tail,
        explain,
        resend,
        try_,
        replay,
        held,
        subgroup("dead", dead_ls, redrive, help="Deliveries a full inbox refused: ls redrive."),
        help="Stored events: ls show tail explain resend try replay held dead.",
    )
}
