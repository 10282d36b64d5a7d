"""`greenroom ask`: the open questions, and answering them."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from greenroom.definitions.errors import FormNotComplete, InvalidRequest
from greenroom.runtime.cli import items, options, output, prompts, sentences
from greenroom.runtime.cli.group import command, subgroup
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.start import would
from greenroom.runtime.cli.words import compact

Data = dict[str, Any]

ask_argument = click.argument("ask", metavar="ASK")


@command("ls", example="greenroom ask ls assignee:NOC")
@click.argument("filter", nargs=-1, metavar="[assignee:NAME] [instance:ID] [all]")
@options.limit
@options.cursor
def ls(session: Session, filter: tuple[str, ...], limit: int, cursor: str | None) -> None:
    """List open questions; `all` lists the answered ones too."""
    page = session.call("asks.list", q=" ".join(filter), limit=limit, cursor=cursor)
    heads = ["question", "assignee", "kind", "due", "ask"]
    session.page(page, heads, lambda one: _row(session, one), "question", "greenroom ask ls")


def _row(session: Session, one: Data) -> list[str]:
    return [one["title"], one["assignee"] or "", one["kind"], _due(session, one), one["id"]]


def _due(session: Session, one: Data) -> str:
    if one["answered"]:
        return "answered"
    return sentences.due(one["due"], session.now()).removeprefix("due ") if one["due"] else ""


@command("show", example="greenroom ask show 0193c0de.approve")
@ask_argument
def show(session: Session, ask: str) -> None:
    """Show one question and the fields of its next page.

    An ASK is its id, INSTANCE.STEP, or the instance alone when it asks one thing.
    """
    one = session.call("asks.get", id=ask)
    if session.format != "table":
        session.show(one)
        return
    output.line(f"{one['title']}  {one['id']}")
    answered = one["answered"]
    by = (answered.get("by") or "somebody") if answered else ""
    rows = [
        ("instance", one["instance"]),
        ("assignee", one["assignee"] or ""),
        ("kind", one["kind"]),
        ("due", f"{sentences.day(one['due'])}  {_due(session, one)}" if one["due"] else ""),
        ("answered", f"{sentences.day(answered['at'])} by {by}" if answered else ""),
        ("fields", "\n".join(prompts.fields(one["schema"]))),
    ]
    output.pairs([(head, text) for head, text in rows if text])


@command(
    "answer",
    example="greenroom ask answer 0193c0de.approve ok:=true comment=fine\n"
    'greenroom ask answer 0193c0de.approve -d \'[{"ok": false}, {"why": "too dear"}]\'',
)
@ask_argument
@options.values
@options.data
@click.option("--by", metavar="NAME", help="Who answers; kept in the history.")
@options.dry_run
def answer(
    session: Session,
    ask: str,
    values: tuple[str, ...],
    source: str | None,
    by: str | None,
    dry_run: bool,
) -> None:
    """Answer a question; without values a terminal is asked field by field.

    Words are one page: KEY=TEXT, KEY:=JSON for anything else. -d takes a page or a list of pages.
    """
    given = source is not None or bool(values)
    data = items.merged(source, values) if given else None
    if dry_run:
        would(
            session,
            "answer",
            {"ask": ask, "data": data},
            f"would answer {ask} with {compact(data)}",
        )
        return
    if not sys.stdin.isatty() or source == "-":
        if not given:
            raise InvalidRequest(
                "an answer needs values where nobody can be asked",
                hint=f"greenroom ask answer {ask} KEY=TEXT ...    see:  greenroom ask show {ask}",
            )
        reply = session.call("answer", ask=ask, data=data, by=by)
    else:
        reply = _asked(session, ask, data, given, by)
    session.show(
        reply, lambda: f"answered, {reply['instance']} is {output.status(reply['status'])}"
    )


def _asked(session: Session, ask: str, data: Any, given: bool, by: str | None) -> Any:
    """Field by field, from the page after those that were given."""
    one = session.call("asks.get", id=ask, by=by)
    is_form = one["kind"] == "form"

    def send(pages: list[Any]) -> Any:
        if not is_form:
            return session.call("answer", ask=one["id"], data=pages[0], by=by)
        try:
            return session.call("answer", ask=one["id"], data=pages, by=by)
        except FormNotComplete:  # what is filled in is not lost with the terminal
            session.call("asks.draft", ask=one["id"], data=pages, by=by)
            raise

    if given:
        return prompts.fill(send, None, data if isinstance(data, list) else [data])
    output.note(one["title"])
    draft = one.get("draft")
    if draft:
        output.note(f"going on after {len(draft)} page{'s'[: len(draft) - 1]} filled in before")
        return prompts.fill(send, None, draft)
    return prompts.fill(send, one["schema"], [])


COMMANDS: Final = {
    "ask": subgroup("ask", ls, show, answer, help="Questions to people: ls show answer.")
}
