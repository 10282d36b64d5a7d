"""`greenroom resource`: the domain objects of workflows, and who changed them."""

from __future__ import annotations

import shlex
from typing import Any, Final

import click

from greenroom.runtime.cli import options, output, sentences
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact

Data = dict[str, Any]

resource_argument = click.argument("id", metavar="ID")


@command("ls", example='greenroom resource ls status:active product:"SN8 LightPath"')
@click.argument("filter", nargs=-1, metavar="[product:NAME] [status:S] [customer:ID] [instance:ID]")
@options.limit
@options.cursor
def ls(session: Session, filter: tuple[str, ...], limit: int, cursor: str | None) -> None:
    """List resources, the last changed first."""
    page = session.call("resources.list", q=shlex.join(filter), limit=limit, cursor=cursor)
    heads = ["product", "status", "customer", "version", "changed", "id"]
    session.page(page, heads, _row, "resource", "greenroom resource ls")


def _row(one: Data) -> list[str]:
    return [
        one["product"], one["status"], one["customer_id"], str(one["version"]),
        sentences.clock(one["updated"]), one["id"],
    ]  # fmt: skip


@command("show", example="greenroom resource show 0193c0de")
@resource_argument
def show(session: Session, id: str) -> None:
    """Show one resource. An ID is the whole id or its first 8 characters or more."""
    one = session.call("resources.get", id=id)
    if session.format != "table":
        session.show(one)
        return
    output.line(f"{one['product']}  {one['id']}")
    rows = [
        ("type", one["type"]),
        ("status", one["status"]),
        ("customer", one["customer_id"]),
        ("version", f"{one['version']}  by {one['workflow']} {one['instance']}"),
        ("created", sentences.day(one["created"])),
        ("changed", sentences.day(one["updated"])),
    ]
    rows += [(name, compact(value)) for name, value in one["data"].items()]
    output.pairs([(head, text) for head, text in rows if text])


@command("history", example="greenroom resource history 0193c0de")
@resource_argument
@options.limit
@options.cursor
def history(session: Session, id: str, limit: int, cursor: str | None) -> None:
    """Show which step of which instance changed what, oldest first."""
    page = session.call("resources.history", id=id, limit=limit, cursor=cursor)
    heads = ["version", "at", "workflow", "step", "instance", "changes"]
    session.page(page, heads, _version, "version", f"greenroom resource history {id}")


def _version(one: Data) -> list[str]:
    changes = ", ".join(_change(name, change) for name, change in one["changes"].items())
    return [
        str(one["version"]), sentences.clock(one["at"]), one["workflow"], one["op"],
        one["instance"], changes,
    ]  # fmt: skip


WORDS: Final = {"same": "", "new": "no resource yet", "missing": "no class in the code"}


@command("products", example="greenroom resource products")
def products(session: Session) -> None:
    """List product types: those of the code, and of the store."""
    found = session.call("resources.products")
    session.page(found, ["product", "classes", "resources", "remark"], product_row, "product type")


def product_row(one: Data) -> list[str]:
    """One line of the table of product types."""
    return [
        one["product"], ", ".join(one["classes"]) or "-", str(one["resources"]),
        WORDS[one["change"]],
    ]  # fmt: skip


def _change(name: str, change: Data) -> str:
    if change["before"] is None:
        return f"{name}={compact(change['after'])}"
    return f"{name}: {compact(change['before'])} -> {compact(change['after'])}"


COMMANDS: Final = {
    "resource": subgroup(
        "resource",
        ls,
        show,
        history,
        products,
        help="Domain objects of workflows: ls show history products.",
    )
}
