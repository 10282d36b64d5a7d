"""`greenroom def`: what workflows there are, in which versions, and which one is released."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.cli import complete, options, output, sentences
from greenroom.runtime.cli.documents import test, try_, validate
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, count, difference
from greenroom.runtime.cli.words import name as instance_name

if TYPE_CHECKING:
    from greenroom.definitions.workflow import Definition

Data = dict[str, Any]

DIFFERENT: Final = 5
STRAYED_SHOWN: Final = 20


@command("ls", example="greenroom def ls\ngreenroom def ls --tag billing")
@click.option("--tag", metavar="WORD", help="Only those with this tag.")
def ls(session: Session, tag: str | None) -> None:
    """List the workflows the daemon knows."""
    page = session.call("definitions.list")
    if tag is not None:
        page = [one for one in _items(page) if tag in one.get("tags", ())]
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


_name = click.argument("name", shell_complete=complete.workflows)


@command("show", example="greenroom def show order\ngreenroom def show welcome --document")
@_name
@click.option("--version", type=int, metavar="N", help="Not the released one.")
@click.option("--document", is_flag=True, help="Print the document it was written as, and no more.")
def show(session: Session, name: str, version: int | None, document: bool) -> None:
    """Show one workflow."""
    one = session.call("definitions.get", name=name, version=version)
    if document:
        _print_document(one)
        return
    if session.format != "table":
        session.show(one)
        return
    rows = [
        ("workflow", f"{one['name']} v{one['version']}"),
        ("kind", one["kind"]),
        ("released", "yes" if one["release"] else "no"),
        ("enabled", "yes" if one["enabled"] else "no"),
        ("source", one["source"] or ""),
        ("tags", ", ".join(one.get("tags") or ())),
        ("starts on", ", ".join(map(_trigger, one["triggers"]))),
        ("steps", "\n".join(one["steps"])),
        ("hash", one["hash"]),
        ("stored", sentences.day(one["created"]) if one.get("created") else ""),
        ("by", one.get("by") or ""),
        ("done", "\n".join(map(_deed, one.get("deeds") or ()))),
    ]
    output.pairs([(head, text) for head, text in rows if text], indent="")


def _deed(one: Data) -> str:
    version = f" v{one['version']}" if one["version"] is not None else ""
    return f"{sentences.day(one['at'])}  {one['what']}{version}  {one['by'] or ''}".rstrip()


def _print_document(one: Data) -> None:
    document = one["document"]
    if document is None:
        raise InvalidRequest(f"{one['name']} v{one['version']} is code: {one['source']}")
    if isinstance(document, str):
        output.line(document.rstrip("\n"))
    else:
        output.document(document)


@command("push", example="greenroom def push definitions/welcome.json --promote")
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-")
@click.option("--promote", is_flag=True, help="Release what is pushed.")
@options.dry_run
def push(session: Session, files: tuple[str, ...], promote: bool, dry_run: bool) -> None:
    """Store workflow documents as new versions.

    A FILE of - is standard input.
    """
    texts = [(file, _text(file)) for file in files]
    shown: list[Data] = []
    for file, text in texts:  # all are looked at before the first is stored
        shown.append(session.call("definitions.validate", document=text, source=file))
    if not dry_run:
        shown = [
            session.call("definitions.push", document=text, promote=promote or None, source=file)
            for file, text in texts
        ]
    if session.format != "table":
        session.page(shown, [], lambda _: [], "workflow")
        return
    for one in shown:
        output.line(f"{one['name']} is valid" if dry_run else _said(one))


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}", path=file) from None


def _said(one: Data) -> str:
    """`welcome v2 is stored, not released`."""
    hint = "" if one["release"] else f", not released:  greenroom def promote {one['name']}"
    off = "" if one["enabled"] else ", disabled"
    word = "is released" if one["release"] else "is stored"
    return f"{one['name']} v{one['version']} {word}{off}{hint}"


_version = click.option("--version", type=int, metavar="N", help="Which version.")


@command(
    "promote", example="greenroom def promote welcome\ngreenroom def promote welcome --version 3"
)
@_name
@_version
@click.option("--check", is_flag=True, help="Follow recorded instances on it first.")
@click.option("--allow", default="0%", metavar="SHARE", help="How many may end otherwise, as 5%.")
@click.option("--limit", "-n", type=click.IntRange(1, 10_000), help="How many are followed.")
@options.dry_run
def promote(
    session: Session,
    name: str,
    version: int | None,
    check: bool,
    allow: str,
    limit: int | None,
    dry_run: bool,
) -> None:
    """Release a version, the newest by default: new instances get it.

    With --check the newest recorded instances are followed on it, with the results, answers and
    events that were recorded. When more than the share of --allow would not end as they did, it
    is not released, exit 5. Nothing is run.
    """
    if check or dry_run:
        found = session.call("definitions.check", name=name, version=version, limit=limit)
        _show_checked(session, found)
        strayed = found["other"] + found["fails"]
        refused = found["checked"] and strayed / found["checked"] > _share(allow)
        if dry_run or refused:
            session.exit_code = DIFFERENT if refused else 0
            return
    reply = session.call("definitions.promote", name=name, version=version)
    session.show(reply, lambda: _said(reply))


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InvalidRequest(
            f"--allow {text} is no share", hint="as in  --allow 5%  or  --allow 0.05"
        )
    return share


def _show_checked(session: Session, found: Data) -> None:
    if session.format != "table":
        session.show(found)
        return
    for one in found["strayed"][:STRAYED_SHOWN]:
        called = instance_name(one["workflow"], one["key"], one["instance"])
        output.line(f"{called} v{one['version']}  {one['text']}")
    output.line(
        f"{found['name']} v{found['version']}: of {count(found['checked'], 'recorded instance')} "
        f"{found['same']:,} end the same, {found['other']:,} go another way, {found['fails']:,} fail"
    )


@command("rollback", example="greenroom def rollback welcome")
@_name
@_version
def rollback(session: Session, name: str, version: int | None) -> None:
    """Release an older version, by default the one before the released one."""
    reply = session.call("definitions.rollback", name=name, version=version)
    session.show(reply, lambda: _said(reply))


@command("enable", example="greenroom def enable welcome")
@_name
def enable(session: Session, name: str) -> None:
    """Let events and schedules start instances again."""
    reply = session.call("definitions.enable", name=name)
    session.show(reply, lambda: f"{name} is enabled")


@command("disable", example="greenroom def disable welcome")
@_name
def disable(session: Session, name: str) -> None:
    """Let no event and no schedule start instances; those that live go on."""
    reply = session.call("definitions.disable", name=name)
    session.show(reply, lambda: f"{name} is disabled")


@command("rm", example="greenroom def rm welcome --version 1")
@_name
@_version
@click.option("-y", "--yes", is_flag=True, help="Do not ask before all versions go.")
def rm(session: Session, name: str, version: int | None, yes: bool) -> None:
    """Delete a version, or a workflow with all of them.

    What has ended stays readable.
    """
    if version is None and not yes:
        if not sys.stdin.isatty():
            raise InvalidRequest(
                f"deleting all versions of {name} needs a yes", hint="add --yes, or --version N"
            )
        click.confirm(f"delete {name} with all its versions?", abort=True, err=True)
    reply = session.call("definitions.delete", name=name, version=version)
    deleted = ", ".join(f"v{number}" for number in reply["deleted"])
    session.show(reply, lambda: f"{name} {deleted} deleted")


@command("diff", example="greenroom def diff welcome 2 3\ngreenroom def diff app.py")
@click.argument("what", nargs=-1, required=True, metavar="NAME [A] [B]|FILE...")
def diff(session: Session, what: tuple[str, ...]) -> None:
    """Compare two versions, or files with what is released.

    Exit 5 when they differ. Without A and B: the newest version with the released one, or with the one before it.
    """
    name, *numbers = what
    if _is_file(name) or not all(number.isdecimal() for number in numbers):
        _diff_files(session, what)
        return
    if len(numbers) > 2:
        raise InvalidRequest("two versions are compared, not more")
    a, b = [int(number) for number in (*numbers, "0", "0")][:2]
    reply = session.call("definitions.diff", name=name, a=a or None, b=b or None)
    session.show(reply, lambda: differences(reply["a"], reply["b"], reply["changes"]))
    if not reply["same"]:
        session.exit_code = DIFFERENT


def _is_file(word: str) -> bool:
    return Path(word).exists() or "/" in word or word.endswith((".py", ".json", ".yaml", ".yml"))


def differences(a: str, b: str, changes: list[Data]) -> str:
    if not changes:
        return f"{a} and {b} are the same"
    return "\n".join([f"{a} -> {b}", *map(difference, changes)])


def _diff_files(session: Session, what: tuple[str, ...]) -> None:
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
    from greenroom.runtime.checking import check  # noqa: PLC0415  start-up time

    return check(what).definitions


COMMANDS: Final = {
    "def": subgroup(
        "def", ls, show, validate, try_, test, push, diff, promote, rollback, enable, disable, rm,
        help="Workflows: their versions, and which one is released.",
    )
}  # fmt: skip
