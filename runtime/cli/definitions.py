"""`greenroom def`: what workflows there are, and whether files hold good ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, count

if TYPE_CHECKING:
    from greenroom.definitions.workflow import Definition

Data = dict[str, Any]

DIFFERENT: Final = 5


@command("ls", example="greenroom def ls")
def ls(session: Session) -> None:
    """List the workflows the daemon knows."""
    page = session.call("definitions.list")
    heads = ["workflow", "version", "kind", "steps", "starts on", "source"]
    session.page(page, heads, _row, "definition")


def _row(one: Data) -> list[str]:
    marks = ["released"] if one["release"] else []
    marks += [] if one["enabled"] else ["disabled"]
    version = f"v{one['version']}" + (f" ({', '.join(marks)})" if marks else "")
    return [
        one["name"], version, one["kind"], str(len(one["steps"])),
        ", ".join(map(_trigger, one["triggers"])), one["source"] or "",
    ]  # fmt: skip


def _trigger(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    for name in ("type", "schedule"):
        if one.get(name):
            return str(one[name])
    return compact(one)


@command("show", example="greenroom def show order")
@click.argument("name")
@click.option("--version", type=int, metavar="N", help="Not the released one.")
def show(session: Session, name: str, version: int | None) -> None:
    """Show one workflow."""
    one = session.call("definitions.get", name=name, version=version)
    if session.format != "table":
        session.show(one)
        return
    rows = [
        ("workflow", f"{one['name']} v{one['version']}"),
        ("kind", one["kind"]),
        ("released", "yes" if one["release"] else "no"),
        ("enabled", "yes" if one["enabled"] else "no"),
        ("source", one["source"] or ""),
        ("starts on", ", ".join(map(_trigger, one["triggers"]))),
        ("steps", "\n".join(one["steps"])),
        ("hash", one["hash"]),
    ]
    output.pairs([(head, text) for head, text in rows if text], indent="")


@command("validate", example="greenroom def validate app.py definitions/")
@click.argument("what", nargs=-1, required=True, type=click.Path(), metavar="WHAT...")
def validate(session: Session, what: tuple[str, ...]) -> None:
    """Check files without a daemon; all problems at once, exit 2."""
    found = [{"name": one.name, "kind": one.kind, "source": one.source} for one in _load(what)]
    if session.format != "table":
        session.page(found, [], lambda _: [], "workflow")
        return
    for one in found:
        source = f"  ({one['source']})" if one["source"] else ""
        output.line(f"{one['name']}  {one['kind']}  valid{source}")
    output.line(f"{count(len(found), 'workflow')}, no problems")


@command("diff", example="greenroom def diff app.py")
@click.argument("what", nargs=-1, required=True, type=click.Path(), metavar="WHAT...")
def diff(session: Session, what: tuple[str, ...]) -> None:
    """Compare files with what the daemon has released; exit 5 when they differ."""
    page = session.call("definitions.list")
    stored = {one["name"]: one for one in _items(page) if one["release"]}
    loaded = {one.name: one for one in _load(what)}
    rows = [_compare(name, loaded.get(name), stored.get(name)) for name in {**stored, **loaded}]
    session.page(rows, ["workflow", "files", "daemon"], _diff_row, "workflow")
    if any(row["status"] != "same" for row in rows):
        session.exit_code = DIFFERENT


def _compare(name: str, mine: Definition | None, theirs: Data | None) -> Data:
    if theirs is None:
        status = "new"
    elif mine is None:
        status = "missing"
    else:
        status = "same" if mine.hash == theirs["hash"] else "changed"
    return {
        "name": name,
        "status": status,
        "hash": None if mine is None else mine.hash,
        "released": None if theirs is None else {k: theirs[k] for k in ("version", "hash")},
    }


def _diff_row(row: Data) -> list[str]:
    theirs = f"v{row['released']['version']}" if row["released"] else "none"
    return [row["name"], row["status"], theirs]


def _items(page: Any) -> list[Data]:
    return list(page["items"] if isinstance(page, dict) else page)


def _load(what: Iterable[str]) -> list[Definition]:
    from greenroom.definitions.declare import definition_of  # noqa: PLC0415  start-up time
    from greenroom.runtime.loading import load, workflows_among  # noqa: PLC0415  start-up time

    found = {id(one): one for one in map(definition_of, workflows_among(load(what)))}
    return list(found.values())


COMMANDS: Final = {
    "def": subgroup("def", ls, show, validate, diff, help="Workflows: ls show validate diff.")
}
