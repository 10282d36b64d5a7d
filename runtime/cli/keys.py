"""`greenroom key`: who may ask over HTTP."""

from __future__ import annotations

from typing import Any, Final

import click

from greenroom.runtime.cli import options, sentences
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session

Data = dict[str, Any]


@command(
    "create", example="greenroom key create shop --scope 'publish:order.*' --expires '90 days'"
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What it may: publish[:TYPE*] start[:WORKFLOW] read answer control define promote admin "
    "(repeat).",
)
@click.option("--expires", metavar="DURATION", help="How long it is good for, for ever by default.")
@options.dry_run
def create(
    session: Session, name: str, scopes: tuple[str, ...], expires: str | None, dry_run: bool
) -> None:
    """Make an API key. The key is shown this once; only its hash is kept."""
    params = {"name": name, "scopes": list(scopes)} | ({"expires": expires} if expires else {})
    if dry_run:
        asked = {"dry_run": True, "method": "keys.create", "params": params}
        session.show(asked, lambda: f"would make a key {name} for {' '.join(scopes)}")
        return
    made = session.call("keys.create", **params)
    session.show(made, lambda: f"{made['key']}\nkeep it now: it is not shown again", prose=False)


@command("ls", example="greenroom key ls")
def ls(session: Session) -> None:
    """List API keys, revoked ones too for a week."""
    rows = session.call("keys.list")
    session.page(rows, ["id", "name", "scopes", "state", "used", "made by"], _row, "key")


def _row(one: Data) -> list[str]:
    state = "revoked" if one["revoked"] else "good"
    if one["expires"] is not None:
        state += f", until {sentences.day(one['expires'])}"
    used = sentences.day(one["used"]) if one["used"] else "never"
    return [one["id"], one["name"], " ".join(one["scopes"]), state, used, one["by"] or ""]


@command("revoke", example="greenroom key revoke shop")
@click.argument("key", metavar="ID|NAME")
@options.dry_run
def revoke(session: Session, key: str, dry_run: bool) -> None:
    """Refuse an API key from now on.

    The sessions that were opened with it end too.
    """
    if dry_run:
        asked = {"dry_run": True, "method": "keys.revoke", "params": {"id": key}}
        session.show(asked, lambda: f"would revoke {key}")
        return
    gone = session.call("keys.revoke", id=key)
    session.show(gone, lambda: f"{gone['name']} ({gone['id']}) is revoked")


COMMANDS: Final = {
    "key": subgroup("key", create, ls, revoke, help="API keys for HTTP: create ls revoke."),
}
