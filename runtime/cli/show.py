"""`ls show why watch history state`: looking at instances."""

from __future__ import annotations

from typing import Any, Final

import click

from greenroom.runtime.cli import complete, options, output, sentences
from greenroom.runtime.cli.group import FILTER_HELP, command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, difference, fact_texts, name
from greenroom.runtime.filters import parse_filter

Data = dict[str, Any]

DIFFERENT: Final = 5


@command("ls", example="greenroom ls status:failed workflow:order 'age>1h'")
@click.argument("filter", nargs=-1, metavar="[FILTER]...")
@options.limit
@options.cursor
@click.option("--all", "every", is_flag=True, help="All pages, as they come.")
def ls(
    session: Session, filter: tuple[str, ...], limit: int, cursor: str | None, every: bool
) -> None:
    q = str(parse_filter(options.filter_text(filter)))
    if every:
        page: Any = list(session.pages("list", q=q))
    else:
        page = session.call("list", q=q, limit=limit, cursor=cursor)
    heads = ["status", "instance", "waits for", "age", "id"]
    following = f"greenroom ls '{q}'" if q else "greenroom ls"
    session.page(page, heads, lambda one: _row(session, one), "instance", following)


ls.help = f"List instances, the newest first.\n\n{FILTER_HELP}"


def _row(session: Session, one: Data) -> list[str]:
    now = session.now()
    what = sentences.error(one["error"]) or sentences.waits(one["waits"], now)
    return [
        output.status(one["status"]),
        name(one["workflow"], one["key"], None),
        what,
        sentences.age(one["created"], now),
        one["id"],
    ]


@command("show", example="greenroom show order/7")
@options.instance
def show(session: Session, instance: str) -> None:
    """Show one instance: status, waits, error, state."""
    one = session.call("get", instance=instance)
    if session.format == "table":
        _screen(session, one)
    else:
        session.show(one)


def _screen(session: Session, one: Data) -> None:
    now = session.now()
    output.line(f"{name(one['workflow'], one['key'], one['id'])}  {_status(one)}")
    rows = [
        ("id", one["id"]),
        ("workflow", f"{one['workflow']} v{one['version']} ({one['kind']})"),
        ("namespace", one["namespace"]),
        ("created", f"{sentences.day(one['created'])}  {sentences.age(one['created'], now)} ago"),
        ("updated", f"{sentences.day(one['updated'])}  {sentences.age(one['updated'], now)} ago"),
        ("parent", one["parent"] or ""),
        ("forked from", one["forked_from"] or ""),
        ("attributes", " ".join(f"{k}={compact(v)}" for k, v in one["attributes"].items())),
        ("waits for", "\n".join(sentences.wait(wait, now) for wait in one["waits"])),
        ("error", _error(one["error"])),
        ("state", _pretty(one["state"])),
        ("result", "the state" if one["result"] == one["state"] else _pretty(one["result"])),
    ]
    output.pairs([(head, text) for head, text in rows if text])


def _status(one: Data) -> str:
    label = one["outcome"]
    return output.status(one["status"]) + (f" {label}" if label and label != "ok" else "")


def _error(problem: Data | None) -> str:
    if not problem:
        return ""
    rest = problem["message"].split("\n")[1:]
    hint = (problem.get("hint") or "").split("\n") if problem.get("hint") else []
    return "\n".join([sentences.error(problem), *rest, *hint])


def _pretty(value: Any) -> str:
    """One line while it is short."""
    text = compact(value) if value is not None else ""
    if len(text) <= 80 or not isinstance(value, dict):
        return text
    return "\n".join(f"{key}: {compact(item)}" for key, item in value.items())


@command("why", example="greenroom why order/7")
@options.instance
def why(session: Session, instance: str) -> None:
    """Say in a few lines why an instance is where it is."""
    reply = session.call("why", instance=instance)
    session.show(reply, lambda: reply["text"] or "\n".join(fact_texts(reply)), prose=True)


@command("watch", example="greenroom watch order/7\ngreenroom watch workflow:order -o jsonl")
@click.argument("target", nargs=-1, metavar="INSTANCE|FILTER", shell_complete=complete.instances)
@click.option("--after", type=int, metavar="SEQ", help="From this entry on; all by default.")
def watch(session: Session, target: tuple[str, ...], after: int | None) -> None:
    """Follow what happens to one instance, to its end, or to many."""
    q = options.instances_or_filter(target) if target else ""
    if q is not None:
        session.stream(session.backend.watch(**_given(q=q, after=after)), sentences.entry)
        return
    one = session.call("get", instance=target[0])
    called = name(one["workflow"], one["key"], one["id"])
    if session.format == "table":
        waiting = sentences.waits(one["waits"], session.now())
        output.line(f"{called}  {_status(one)}" + (f"  {waiting}" if waiting else ""))
    session.stream(
        session.backend.watch(**_given(instance=one["id"], after=after)), sentences.entry
    )
    if session.format == "table":
        last = session.call("get", instance=one["id"])
        output.line(f"{called} {sentences.ended(last)}")


def _given(**params: Any) -> Data:
    return {name: value for name, value in params.items() if value is not None}


@command("history", example="greenroom history order/7 -o jsonl > order-7.jsonl")
@options.instance
@click.option("--after", type=int, default=0, metavar="SEQ", help="Entries after this one.")
@click.option(
    "--limit", "-n", type=click.IntRange(1, 1000), default=200, show_default=True, help="Rows."
)
@click.option("--path", metavar="NAME", help="Only the changes of one value of the state.")
def history(session: Session, instance: str, after: int, limit: int, path: str | None) -> None:
    """List the journal of an instance."""
    page = session.call("history", instance=instance, after=after, limit=limit, path=path)
    session.page(page, ["seq", "at", "kind", "op", "by", "data"], _entry, "entry")
    if session.format == "table" and page["cursor"]:
        output.line(f"more:  greenroom history {instance} --after {page['items'][-1]['seq']}")


def _entry(one: Data) -> list[str]:
    op = one["op"] or ""
    if (one["attempt"] or 0) > 1:
        op = f"{op} attempt {one['attempt']}"
    return [
        str(one["seq"]), sentences.clock(one["at"]), one["kind"], op, one["by"] or "",
        sentences.entry_data(one),
    ]  # fmt: skip


@command("state", example="greenroom state order/7 --at 12")
@options.instance
@click.option("--at", "seq", type=int, metavar="SEQ", help="As it was after this entry.")
def state(session: Session, instance: str, seq: int | None) -> None:
    """Print the state of an instance, now or after an entry."""
    if seq is None:
        value = session.call("get", instance=instance)["state"]
    else:
        value = session.call("state", instance=instance, seq=seq)["state"]
    if session.format == "jsonl":
        output.record(value)
    else:
        output.document(value)


@command("diff", example="greenroom diff order/7 order/8")
@click.argument("a", shell_complete=complete.instances)
@click.argument("b", shell_complete=complete.instances)
def diff(session: Session, a: str, b: str) -> None:
    """Compare two instances: path, input and state.

    Exit 5 when they differ.
    """
    reply = session.call("diff", a=a, b=b)
    if not reply["same"]:
        session.exit_code = DIFFERENT
    if session.format != "table":
        session.show(reply)
        return
    output.line(f"{reply['a']} -> {reply['b']}")
    for change in [*reply["facts"], *_placed("input", reply["input"])]:
        output.line(difference(change))
    rows = [
        [
            step["op"],
            step["a"] or "-",
            step["b"] or "-",
            "" if step["a"] == step["b"] else "differs",
        ]
        for step in reply["path"]
    ]
    output.table(["step", "first", "second", ""], rows)
    for change in _placed("state", reply["state"]):
        output.line(difference(change))
    if reply["same"]:
        output.line("no difference")


def _placed(where: str, changes: list[Data]) -> list[Data]:
    return [{**change, "path": where + change["path"].removeprefix("$")} for change in changes]


COMMANDS: Final = {
    "ls": ls, "show": show, "why": why, "watch": watch, "history": history, "state": state,
    "diff": diff,
}  # fmt: skip
