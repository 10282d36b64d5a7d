"""`ping info doctor db`: is it there, is it well, is it safe."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from greenroom.definitions.durations import seconds
from greenroom.definitions.durations import text as text_of
from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.runtime import places
from greenroom.runtime.cli import options, output, sentences
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import count

Data = dict[str, Any]

DAMAGED: Final = 5


@command("ping", example="greenroom ping && echo up")
def ping(session: Session) -> None:
    """Ask whether a daemon answers, and how fast."""
    session.call("ping")  # the first one connects
    begun = time.perf_counter()
    reply = session.call("ping")
    took_s = time.perf_counter() - begun
    session.show(reply, lambda: f"pong  {text_of(took_s)}")


@command("info", example="greenroom info -o json")
def info(session: Session) -> None:
    """Show what runs: version, store, numbers of instances."""
    one = session.call("info")
    if session.format != "table":
        session.show(one)
        return
    pid = f"pid {one['pid']}, up {sentences.age(one['started'], session.now())}"
    versions = [f"{head} {one[head]}" for head in ("python", "sqlite") if one.get(head)]
    rows = [
        ("greenroom", "  ".join([one["version"], *versions])),
        ("process", f"{pid}, epoch {one['epoch']}"),
        ("store", f"{one['data']}  durability {one['durability']}  {count(one['head'], 'entry')}"),
        ("instances", _counts(one["instances"])),
        ("waiting", f"{count(one['asks'], 'ask')}, {count(one['timers'], 'timer')}"),
        ("definitions", str(one["definitions"])),
    ]
    output.pairs(rows, indent="")


def _counts(instances: dict[str, int]) -> str:
    parts = [
        f"{number:,} {output.status(status)}" for status, number in instances.items() if number
    ]
    return ", ".join(parts) or "none"


@command("doctor", example="greenroom doctor --deep")
@click.option("--deep", is_flag=True, help="Read and check every entry.")
def doctor(session: Session, deep: bool) -> None:
    """Look for what is wrong or will be soon; exit 5 if something is."""
    _report(session, session.call("doctor", deep=deep))


def _report(session: Session, findings: Any) -> None:
    rows = findings["items"] if isinstance(findings, dict) else findings
    if session.format == "table":
        width = max((len(one["check"]) for one in rows), default=0)
        for one in rows:
            level = output.status(one["level"]) + " " * (7 - len(one["level"]))
            output.line(f"{level}  {one['check']:<{width}}  {one['text']}".rstrip())
    else:
        session.page(rows, [], lambda _: [], "finding")
    if any(one["level"] == "error" for one in rows):
        session.exit_code = DAMAGED


@command("check", example="greenroom db check --data /var/lib/greenroom")
def check(session: Session) -> None:
    """Read the whole store and check it; exit 5 for damage."""
    _report(session, session.call("doctor", deep=True))


@command("backup", example="greenroom db backup /backup/greenroom.db")
@click.argument("path")
def backup(session: Session, path: str) -> None:
    """Copy the store to a file while it is in use.

    Over HTTP PATH is a name: the copy is in `backups/` of the daemon's data directory.
    """
    is_far = places.is_http(session.server, session.data)
    reply = session.call("backup", path=path if is_far else str(Path(path).absolute()))
    session.show(reply, lambda: f"{reply['path']}  {reply['bytes']:,} bytes")


@command("restore", example="greenroom db restore /backup/greenroom.db --data /var/lib/greenroom")
@click.argument("path")
@options.dry_run
def restore(session: Session, path: str, dry_run: bool) -> None:
    """Make the store of a data directory from a backup.

    The directory must not hold one. Steps that were running when the backup was made are in
    doubt: nobody knows what they did afterwards.
    """
    data = places.data_directory(session.data)
    source = Path(path)
    if not source.is_file():
        raise InvalidRequest(f"{path}: no such file", path=path)
    if (data / "greenroom.db").exists():
        raise InvalidRequest(
            f"{data} holds a store already",
            hint=f"move it away first:  mv {data} {data}.old",
            path=str(data),
        )
    if dry_run:
        session.show(
            {"dry_run": True, "method": "restore", "params": {"path": path, "data": str(data)}},
            lambda: f"would restore {path} into {data}",
        )
        return
    reply = _maintenance("restore")(source, data)
    session.show(
        {"path": path, "data": str(data), **(reply or {})}, lambda: f"{path} restored into {data}"
    )


@command("prune", example="greenroom db prune --older 30d --dry-run")
@click.option("--older", metavar="DURATION", required=True, help="Ended longer ago than this.")
@options.yes
@options.dry_run
def prune(session: Session, older: str, yes: bool, dry_run: bool) -> None:
    """Delete instances that ended long ago, with their history."""
    age_s = seconds(older, "--older")
    found = session.call("prune", older_s=age_s, dry_run=True)
    number = count(found["instances"], "instance")
    if dry_run:
        session.show({"dry_run": True, **found}, lambda: f"would delete {number}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidRequest(f"deleting {number} needs a yes", hint="add --yes, or --dry-run")
        click.confirm(f"delete {number} for good?", abort=True, err=True)
    reply = session.call("prune", older_s=age_s)
    session.show(reply, lambda: f"{count(reply['instances'], 'instance')} deleted")


@command("migrate-workflows", example="greenroom db migrate-workflows app.py --dry-run")
@click.argument("what", nargs=-1, type=click.Path(), metavar="[WHAT]...")
@options.dry_run
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def migrate_workflows(session: Session, what: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Show how the code differs from the store, and store it.

    For those who run serve --no-sync. With WHAT the store is opened here, while no daemon has it;
    without, the daemon compares what it has loaded.
    """
    with _sides(session, what) as call:
        found = call("definitions.sync", {"dry_run": True})
        changed = [one for one in found if one["change"] in ("new", "changed")]
        if session.format == "table":
            _show_synced(found)
            _show_products(call("resources.products", {}))
        if dry_run or not changed:
            _finish(session, found, applied=False)
            return
        if not yes:
            number = count(len(changed), "workflow")
            if not sys.stdin.isatty():
                raise InvalidRequest(
                    f"storing {number} needs a yes", hint="add --yes, or --dry-run"
                )
            click.confirm(f"store and release {number}?", abort=True, err=True)
        call("definitions.sync", {})
        _finish(session, found, applied=True)


@contextlib.contextmanager
def _sides(session: Session, what: tuple[str, ...]) -> Iterator[Callable[[str, Data], Any]]:
    """Calls to the daemon, or to the store with the code of WHAT beside it."""
    if not what:
        yield lambda method, params: session.call(method, **params)
        return
    from greenroom.runtime.cli.backend import call_engine  # noqa: PLC0415  start-up time
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  start-up time

    data = places.data_directory(session.data)
    with Engine.sync(data, workflows=list(what), sync=False, passive=True) as engine:
        yield lambda method, params: call_engine(engine, method, params)


def _show_synced(found: list[Data]) -> None:
    shown = [one for one in found if one["change"] != "same"]
    if shown:
        output.table(
            ["workflow", "difference", "stored", "code"],
            [
                [
                    one["name"], _WORDS[one["change"]],
                    "-" if one["version"] is None else f"v{one['version']}", one["source"] or "",
                ]
                for one in shown
            ],
        )  # fmt: skip


def _show_products(found: list[Data]) -> None:
    """Product types need no storing: the code alone says what they are. What it lacks is shown."""
    shown = [one for one in found if one["change"] == "missing"]
    if shown:
        output.table(
            ["product type", "difference", "resources"],
            [[one["product"], _WORDS[one["change"]], str(one["resources"])] for one in shown],
        )


_WORDS: Final = {
    "new": "new", "changed": "changed", "missing": "not in the code", "same": "same",
}  # fmt: skip


def _finish(session: Session, found: list[Data], *, applied: bool) -> None:
    if session.format != "table":
        session.page(found, [], lambda _: [], "workflow")
        return
    number = sum(one["change"] in ("new", "changed") for one in found)
    if not number:
        output.line("the store has the workflows of the code")
    elif applied:
        output.line(f"{count(number, 'workflow')} stored and released")
    else:
        output.line(f"would store and release {count(number, 'workflow')}")


def _maintenance(name: str) -> Callable[..., Any]:
    """A function of the store's upkeep, which needs no running engine."""
    try:
        upkeep = importlib.import_module("greenroom.runtime.upkeep")
    except ImportError:
        raise GreenroomError(f"db {name} is not part of this version") from None
    found: Callable[..., Any] = getattr(upkeep, name)
    return found


COMMANDS: Final = {
    "ping": ping,
    "info": info,
    "doctor": doctor,
    "db": subgroup(
        "db",
        check,
        backup,
        restore,
        prune,
        migrate_workflows,
        help="The store: check backup restore prune migrate-workflows.",
    ),
}
