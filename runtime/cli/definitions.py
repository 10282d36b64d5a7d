"""`greenroom def`: what workflows there are, in which versions, and which one is released."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from greenroom.definitions.errors import ConditionFailed, InvalidRequest, Problem
from greenroom.runtime.cli import complete, options, output, sentences
from greenroom.runtime.cli.documents import test, try_, validate, warned
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
    if any(_grants(one) for one in _items(page)):
        heads.append("grants")
    session.page(page, heads, lambda one: _row(one)[: len(heads)], "definition")


def _row(one: Data) -> list[str]:
    marks = ["released"] if one["release"] else []
    marks += [] if one["enabled"] else ["disabled"]
    version = f"v{one['version']}" + (f" ({', '.join(marks)})" if marks else "")
    return [
        one["name"], version, one["kind"], str(len(one["steps"])),
        ", ".join(map(_trigger, one["triggers"])), one["source"] or "", _grants(one),
    ]  # fmt: skip


def _grants(one: Data) -> str:
    """What a version has of what it uses, and what it lacks: `connector:slack, not secret:hook`."""
    granted = [use for use in one.get("uses", ()) if use in one.get("grants", ())]
    return ", ".join([*granted, *(f"not {use}" for use in one.get("missing", ()))])


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
        ("uses", "\n".join(one.get("uses") or ())),
        ("granted", "\n".join(one.get("grants") or ())),
        ("not granted", "\n".join(one.get("missing") or ())),
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


_grant = click.option(
    "--grant",
    multiple=True,
    metavar="USE",
    help="Approve what it uses, as connector:slack or secret:hook.",
)


@command("push", example="greenroom def push definitions/welcome.json --promote")
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-")
@click.option("--promote", is_flag=True, help="Release what is pushed.")
@_grant
@options.dry_run
def push(
    session: Session, files: tuple[str, ...], promote: bool, grant: tuple[str, ...], dry_run: bool
) -> None:
    """Store workflow documents as new versions.

    A FILE of - is standard input. With --promote what they use of connectors and secrets is
    approved by --grant, as `def promote` does.
    """
    texts = [(file, _text(file)) for file in files]
    shown: list[Data] = []
    for file, text in texts:  # all are looked at before the first is stored
        shown.append(session.call("definitions.validate", document=text, source=file))
    for use in grant:
        if not any(use in one["uses"] for one in shown):
            raise InvalidRequest(f"none of these documents uses {use}")
    if not dry_run:
        shown = [
            session.call(
                "definitions.push", document=text, promote=promote or None,
                grant=[use for use in grant if use in one["uses"]] or None, source=file,
            )
            for (file, text), one in zip(texts, shown, strict=True)
        ]  # fmt: skip
    if session.format != "table":
        session.page(shown, [], lambda _: [], "workflow")
        return
    for one in shown:
        output.line(f"{one['name']} is valid" if dry_run else _said(one))
        if dry_run and one["missing"]:
            output.line(f"  not granted: {', '.join(one['missing'])}")
        for warning in one.get("warnings", ()):
            output.line(warned(Problem(**warning)))


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}", path=file) from None


def _said(one: Data) -> str:
    """`welcome v2 is stored, not released`."""
    hint = "" if one["release"] else f", not released:  {_promotion(one)}"
    off = "" if one["enabled"] else ", disabled"
    word = "is released" if one["release"] else "is stored"
    return f"{one['name']} v{one['version']} {word}{off}{hint}"


def _promotion(one: Data) -> str:
    words = ["greenroom", "def", "promote", one["name"]]
    for use in one.get("missing", ()):
        words += ["--grant", use]
    return shlex.join(words)


_version = click.option("--version", type=int, metavar="N", help="Which version.")


@command(
    "promote",
    example="greenroom def promote welcome --check --allow 5%\n"
    "greenroom def promote welcome --grant connector:slack --grant secret:hook",
)
@_name
@_version
@click.option("--check", is_flag=True, help="Follow recorded instances on it first.")
@click.option("--allow", default="0%", metavar="SHARE", help="How many may end otherwise, as 5%.")
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="How many are followed.",
)
@_grant
@options.dry_run
def promote(
    session: Session,
    name: str,
    version: int | None,
    check: bool,
    allow: str,
    limit: int,
    grant: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Release a version, the newest by default: new instances get it.

    Connectors and secrets it was not granted before are approved by --grant; without it the
    release is refused with the list, exit 5.

    With --check the newest recorded instances are followed on it, with the results, answers and
    events that were recorded. When more than the share of --allow would not end as they did, it
    is not released, exit 5. Nothing is run.
    """
    if check or dry_run:
        found = session.call("definitions.check", name=name, version=version, limit=limit)
        _show_checked(session, found)
        _refuse(found, _share(allow))
    if dry_run:
        one = session.call("definitions.get", name=name, version=found["version"])
        if lacking := [use for use in one["missing"] if use not in grant]:
            output.note(f"not granted: {', '.join(lacking)}")
            session.exit_code = DIFFERENT
        return
    reply = session.call(
        "definitions.promote", name=name, version=version, grant=list(grant) or None
    )
    session.show(reply, lambda: _said(reply))


def _refuse(found: Data, share: float) -> None:
    """Raises `ConditionFailed` when more than the share would not end as they did."""
    strayed = found["other"] + found["fails"]
    if not found["checked"] or strayed / found["checked"] <= share:
        return
    raise ConditionFailed(
        f"{found['name']} v{found['version']} is not released: {strayed / found['checked']:.1%} of the "
        f"recorded instances would not end as they did, {share:.1%} may",
        hint=f"look at them, then:  greenroom def promote {found['name']} --version "
        f"{found['version']}   or with a larger --allow",
    )


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
        f"{found['same']:,} as recorded, {found['other']:,} another way, {found['fails']:,} failing"
    )


@command("revoke", example="greenroom def revoke welcome connector:slack")
@_name
@click.argument("grants", nargs=-1, required=True, metavar="USE...")
def revoke(session: Session, name: str, grants: tuple[str, ...]) -> None:
    """Take back what a workflow was granted.

    Calls that use it are refused from now on, in instances that live too.
    """
    reply = session.call("definitions.revoke", name=name, grants=list(grants))
    session.show(reply, lambda: f"{name} is granted {', '.join(reply['grants']) or 'nothing'}")


@command("rollback", example="greenroom def rollback welcome")
@_name
@_version
@options.dry_run
def rollback(session: Session, name: str, version: int | None, dry_run: bool) -> None:
    """Release the version before the released one, or an older one.

    Instances that live keep theirs.
    """
    reply = session.call(
        "definitions.rollback", name=name, version=version, dry_run=dry_run or None
    )
    if dry_run:
        session.show(reply, lambda: f"would release {name} v{reply['version']}")
    else:
        session.show(reply, lambda: _said(reply))


@command("enable", example="greenroom def enable welcome")
@_name
@options.dry_run
def enable(session: Session, name: str, dry_run: bool) -> None:
    """Let events and schedules start instances again."""
    _switch(session, "enable", name, dry_run)


@command("disable", example="greenroom def disable welcome")
@_name
@options.dry_run
def disable(session: Session, name: str, dry_run: bool) -> None:
    """Let no event and no schedule start instances.

    Those that live go on, and `greenroom start` still works.
    """
    _switch(session, "disable", name, dry_run)


def _switch(session: Session, verb: str, name: str, dry_run: bool) -> None:
    if not dry_run:
        reply = session.call(f"definitions.{verb}", name=name)
        session.show(reply, lambda: f"{name} is {verb}d")
        return
    now = session.call("definitions.get", name=name)
    asked = {"dry_run": True, "method": f"definitions.{verb}", "params": {"name": name}}
    same = now["enabled"] == (verb == "enable")
    session.show(asked, lambda: f"{name} is {verb}d already" if same else f"would {verb} {name}")


@command("rm", example="greenroom def rm welcome --version 1")
@_name
@_version
@click.option("-y", "--yes", is_flag=True, help="Do not ask before all versions go.")
@options.dry_run
def rm(session: Session, name: str, version: int | None, yes: bool, dry_run: bool) -> None:
    """Delete a version, or a workflow with all of them.

    What has ended stays readable.
    """
    if version is None and not yes and not dry_run:
        if not sys.stdin.isatty():
            raise InvalidRequest(
                f"deleting all versions of {name} needs a yes", hint="add --yes, or --version N"
            )
        click.confirm(f"delete {name} with all its versions?", abort=True, err=True)
    reply = session.call("definitions.delete", name=name, version=version, dry_run=dry_run or None)
    deleted = ", ".join(f"v{number}" for number in reply["deleted"])
    session.show(
        reply, lambda: f"would delete {name} {deleted}" if dry_run else f"{name} {deleted} deleted"
    )


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
    """Files may be a part of what the daemon has, so what they lack is no difference."""
    released = {
        one["name"]: one for one in _items(session.call("definitions.list")) if one["release"]
    }
    rows = [_compare(session, one, released.get(one.name)) for one in _load(what)]
    if any(row["status"] != "same" for row in rows):
        session.exit_code = DIFFERENT
    session.page(rows, ["workflow", "files", "daemon"], _diff_row, "workflow")
    for row in rows if session.format == "table" else ():
        if row["changes"]:
            stored = f"{row['name']} v{row['released']['version']}"
            output.line(differences(stored, row["source"], row["changes"]))


def _diff_row(row: Data) -> list[str]:
    theirs = f"v{row['released']['version']}" if row["released"] else "none"
    return [row["name"], row["status"], theirs]


def _compare(session: Session, mine: Definition, theirs: Data | None) -> Data:
    status = "new" if theirs is None else "same" if mine.hash == theirs["hash"] else "changed"
    changes: list[Data] = []
    if status == "changed" and mine.written is not None:
        changes = _changes(session, mine.name, mine.written.document)
    return {
        "name": mine.name,
        "status": status,
        "hash": mine.hash,
        "source": mine.source,
        "released": None if theirs is None else {k: theirs[k] for k in ("version", "hash")},
        "changes": changes,
    }


def _changes(session: Session, name: str, document: Any) -> list[Data]:
    """What a document has that the released version has not; nothing where that is code."""
    from greenroom.runtime.differences import changes, document_content  # noqa: PLC0415  start-up time

    stored = session.call("definitions.get", name=name)["document"]
    if stored is None:
        return []
    found = changes(document_content(stored), document_content(document))
    return list(msgspec.to_builtins(found))


def _items(page: Any) -> list[Data]:
    return list(page["items"] if isinstance(page, dict) else page)


def _load(what: Iterable[str]) -> list[Definition]:
    from greenroom.runtime.checking import check  # noqa: PLC0415  start-up time

    return check(what).definitions


COMMANDS: Final = {
    "def": subgroup(
        "def", ls, show, validate, try_, test, push, diff, promote, revoke, rollback, enable, disable, rm,
        help="Workflows: their versions, and which one is released.",
    )
}  # fmt: skip
