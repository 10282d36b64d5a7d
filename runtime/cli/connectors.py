"""`greenroom connector` and `greenroom secret`: services, and whether their secrets are there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from greenroom.runtime.cli import items, options, output
from greenroom.runtime.cli.documents import warned
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, count

if TYPE_CHECKING:
    from greenroom.definitions.connectors import Connector

Data = dict[str, Any]

MISSING: Final = 3


@command("ls", example="greenroom connector ls")
def ls(session: Session) -> None:
    """List the connectors the daemon knows, the shipped ones too."""
    page = session.call("connectors.list")
    heads = ["connector", "host", "actions", "events", "secrets", "source"]
    session.page(page, heads, _row, "connector")


def _row(one: Data) -> list[str]:
    return [
        one["id"], one["host"] or "", ", ".join(one["actions"]), ", ".join(one["events"]),
        ", ".join(one["secrets"]), "shipped" if one["shipped"] else one["source"] or "",
    ]  # fmt: skip


@command("show", example="greenroom connector show slack")
@click.argument("connector")
def show(session: Session, connector: str) -> None:
    """Show what a connector can do: actions, parameters, events."""
    one = session.call("connectors.get", connector=connector)
    if session.format != "table":
        session.show(one)
        return
    rate = one["rate_limit"]
    rows = [
        ("connector", one["id"]),
        ("name", one["name"] if one["name"] != one["id"] else ""),
        ("host", one["host"] or ""),
        ("credentials", (one["credentials"] or {}).get("type", "")),
        ("secrets", ", ".join(one["secrets"])),
        ("rate", f"{rate['rate']:g} in {rate['per_s']:g} s" if rate else ""),
        ("source", one["source"] or ""),
        ("events", "\n".join(event["type"] for event in one["events"])),
    ]
    output.pairs([(head, text) for head, text in rows if text], indent="")
    for action in one["actions"]:
        about = (action["description"] or "").split("\n")[0]
        output.line()
        output.line(f"{action['type']}  {about}".rstrip())
        for name, text in _parameters(action["parameters"] or {}):
            output.line(f"  {name}  {text}".rstrip())


def _parameters(schema: Data) -> Iterable[tuple[str, str]]:
    """Name and kind of each parameter, those that must be there marked."""
    required = schema.get("required") or []
    for name, about in (schema.get("properties") or {}).items():
        kind = about.get("type") if isinstance(about, dict) else None
        choice = about.get("enum") if isinstance(about, dict) else None
        text = " | ".join(map(compact, choice)) if choice else kind if isinstance(kind, str) else ""
        yield name, f"{text}{'' if name in required else ' (optional)'}".strip()


@command("try", example='greenroom connector try slack SendMessage channel="#ops" text=hello')
@click.argument("connector")
@click.argument("action")
@click.argument("values", nargs=-1, metavar=options.VALUES)
@options.data
@options.dry_run
def attempt(
    session: Session,
    connector: str,
    action: str,
    values: tuple[str, ...],
    source: str | None,
    dry_run: bool,
) -> None:
    """Carry an action out and print what the service answered.

    It is the real request, with the real secrets of the daemon.
    """
    given = items.merged(source, values)
    params = {"connector": connector, "action": action, "params": given}
    if dry_run:
        session.show(
            {"dry_run": True, "method": "connectors.call", "params": params},
            lambda: f"would ask {connector} for {action} with {compact(given)}",
        )
        return
    reply = session.call("connectors.call", **params)
    session.show(reply, lambda: compact(reply["response"]))


@command("validate", example="greenroom connector validate connectors/")
@click.argument("what", nargs=-1, required=True, type=click.Path(), metavar="WHAT...")
def validate(session: Session, what: tuple[str, ...]) -> None:
    """Check connector documents without a daemon.

    All problems are told at once, exit 2.
    """
    found = _load(what)
    if session.format != "table":
        session.page([_valid(one) for one in found], [], lambda _: [], "connector")
        return
    for one in found:
        counted = f"{count(len(one.actions), 'action')}, {count(len(one.events), 'event')}"
        output.line(f"{one.id}  {counted}  valid  ({one.source})")
        for warning in one.warnings:
            output.line(warned(warning))
    output.line(f"{count(len(found), 'connector')}, no problems")


def _valid(one: Connector) -> Data:
    return {
        "id": one.id, "source": one.source, "actions": sorted(one.actions),
        "events": sorted(one.events), "secrets": one.secrets(),
        "warnings": [warning.as_data() for warning in one.warnings],
    }  # fmt: skip


def _load(what: Iterable[str]) -> list[Connector]:
    from greenroom.runtime.given import connectors_among  # noqa: PLC0415  start-up time
    from greenroom.runtime.loading import load  # noqa: PLC0415  start-up time

    return connectors_among(load(what))


@command("ls", example="greenroom secret ls")
def secrets(session: Session) -> None:
    """List the names of secrets, where each is, and what uses it. Values are never shown."""
    page = session.call("secrets.list")
    session.page(page, ["secret", "found in", "used by", "remark"], _secret_row, "secret")


def _secret_row(one: Data) -> list[str]:
    where = one["source"] if one["found"] else "nowhere"
    return [one["name"], where, ", ".join(one["used_by"]), one["problem"] or ""]


@command("check", example="greenroom secret check slack_token")
@click.argument("name", required=False)
def check(session: Session, name: str | None) -> None:
    """Say whether a secret is there and may be read.

    Without a NAME: all that connectors need.

    Exit 3 if one is not.
    """
    page = session.call("secrets.check", **({} if name is None else {"name": name}))
    session.page(page, ["secret", "found in", "used by", "remark"], _secret_row, "secret")
    rows = page["items"] if isinstance(page, dict) else page
    if not all(one["found"] for one in rows):
        session.exit_code = MISSING


COMMANDS: Final = {
    "connector": subgroup(
        "connector", ls, show, attempt, validate, help="Services: ls show try validate."
    ),
    "secret": subgroup("secret", secrets, check, help="Secrets, by name: ls check."),
}
