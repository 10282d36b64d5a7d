"""`greenroom events`: what was posted, and what became of it."""

from __future__ import annotations

from typing import Any, Final

import click

from greenroom.runtime.cli import options, output, sentences
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, fact_texts, match

Data = dict[str, Any]


@command("ls", example="greenroom events ls --limit 20")
@click.argument("filter", nargs=-1, metavar="[FILTER]...")
@options.limit
@options.cursor
def ls(session: Session, filter: tuple[str, ...], limit: int, cursor: str | None) -> None:
    """List stored events, the newest first."""
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
def tail(session: Session, type: str | None, after: int | None) -> None:
    """Follow events as they are posted."""
    params: Data = {"type": type, "after": after}
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


COMMANDS: Final = {
    "events": subgroup(
        "events",
        ls,
        show,
        tail,
        explain,
        resend,
        help="Stored events: ls show tail explain resend.",
    )
}
