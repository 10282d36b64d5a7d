"""Working on workflow documents without a daemon: validate, try, test, the schema for editors."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from greenroom.definitions.errors import InvalidDefinition, InvalidInput, InvalidRequest
from greenroom.definitions.values import decode
from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, count

if TYPE_CHECKING:
    from greenroom.definitions.documents import Document
    from greenroom.definitions.errors import Problem
    from greenroom.definitions.trying import Tried
    from greenroom.runtime.checking import Checked

Data = dict[str, Any]

FAILED: Final = 1
ODD: Final = 5


def _checked(what: Iterable[str]) -> Checked:
    from greenroom.runtime.checking import check  # noqa: PLC0415  start-up time

    return check(what)


@command(
    "validate",
    example="greenroom def validate app.py definitions/\ngreenroom def validate --strict .",
)
@click.argument("what", nargs=-1, required=True, type=click.Path(), metavar="WHAT...")
@click.option("--strict", is_flag=True, help="What is odd is wrong: exit 5.")
def validate(session: Session, what: tuple[str, ...], strict: bool) -> None:
    """Check files without a daemon; all problems at once, exit 2.

    What is odd, though each line is right, is told too: actions nobody reaches, conditions that
    cannot hold, variables nobody uses, workflows that start one another in a circle.
    """
    try:
        found = _checked(what)
    except InvalidDefinition as error:
        if session.output not in ("json", "jsonl"):
            raise
        session.show({"error": error.as_data()})  # for programs: the answer, with every place
        session.exit_code = error.exit_code
        return
    if strict and found.warnings:
        session.exit_code = ODD
    rows = _rows(found)
    if session.format != "table":
        session.page(rows, [], lambda _: [], "workflow")
        return
    for row in rows:
        source = f"  ({row['source']})" if row["source"] else ""
        output.line(f"{row['name']}  {row['kind']}  valid{source}")
    for warning in found.warnings:
        output.line(warned(warning))
    counts = {
        "workflow": len(found.definitions),
        "connector": len(found.connectors),
        "case file": len(found.cases),
    }
    words = [count(number, noun) for noun, number in counts.items() if number]
    odd = count(len(found.warnings), "warning") if found.warnings else "no problems"
    output.line(", ".join([*words, odd]))


def _rows(found: Checked) -> list[Data]:
    """What was found valid; a workflow with what is odd about it."""
    odd: dict[str, list[Data]] = {}
    for warning in found.warnings:
        file = (warning.where or "").rsplit(":", 2)[0]
        odd.setdefault(file, []).append(warning.as_data())
    listed: list[tuple[str, str, str | None]] = [
        *((one.name, one.kind, one.source) for one in found.definitions),
        *((one.id, "connector", one.source) for one in found.connectors),
        *((path.name, "cases", str(path)) for path in found.cases),
    ]
    return [
        {"name": name, "kind": kind, "source": source, "warnings": odd.get(source or "", [])}
        for name, kind, source in listed
    ]


def warned(problem: Problem) -> str:
    return f"warning: {problem}"


def _document(file: str, beside: tuple[str, ...]) -> Document:
    found = _checked([*beside, file]).documents
    mine = [one for one in found if Path(one.label).resolve() == Path(file).resolve()]
    if len(mine) != 1:
        raise InvalidRequest(
            f"{file} is no workflow document", hint="a file with schema_version, name and actions"
        )
    return mine[0]


_with = click.option(
    "--with", "beside", multiple=True, type=click.Path(), metavar="WHAT",
    help="Connectors and modules the document needs.",
)  # fmt: skip
_input = click.option(
    "--input", "-i", "given", metavar="FILE|JSON", help="The data of the event, or of a start."
)
_mock = click.option(
    "--mock", "-m", "mocks", multiple=True, metavar="ACTION=FILE|JSON",
    help="The response of an action: 2=response.json, 3[].1='{\"ok\": true}'.",
)  # fmt: skip


def _value(text: str, what: str) -> Any:
    """JSON as it is written, or of a file."""
    stripped = text.lstrip()
    path = Path(text.removeprefix("@"))
    if not stripped.startswith(("{", "[", '"')) and path.is_file():
        text = path.read_text(encoding="utf-8")
    try:
        return decode(text)
    except InvalidInput as error:
        raise InvalidRequest(
            f"{what} is neither a file nor JSON: {text[:80]}", hint=error.message
        ) from None


def _responses(mocks: tuple[str, ...]) -> Data:
    found: Data = {}
    for mock in mocks:
        key, equals, text = mock.partition("=")
        if not equals or not key:
            raise InvalidRequest(
                f"--mock {mock} needs an action and a response", hint="2=file.json"
            )
        found[key] = _value(text, f"--mock {key}")
    return found


@command(
    "try",
    example="greenroom def try welcome.json --input user.json --mock 2=response.json\n"
    'greenroom def try welcome.json -i \'{"name": "Bob"}\' --explain',
)
@click.argument("file", type=click.Path())
@_input
@_mock
@click.option("--raw", is_flag=True, help="The input is the state: the source is not asked.")
@click.option("--explain", is_flag=True, help="Show every expression with its value.")
@_with
def try_(
    session: Session,
    file: str,
    given: str | None,
    mocks: tuple[str, ...],
    raw: bool,
    explain: bool,
    beside: tuple[str, ...],
) -> None:
    """Follow a document with an input and responses you give.

    Nothing is sent. An action is named by its order: 2, inside another one 3.1, of an item 3[0].1, of all items
    3[].1. A response {"$raise": "text"} is a failure. Exit 1 when it would fail.
    """
    from greenroom.definitions.trying import try_document  # noqa: PLC0415  start-up time

    document = _document(file, beside)
    input = {} if given is None else _value(given, "--input")
    now = int(time.time() * 1000)
    trial = try_document(document, input, _responses(mocks), at=now, raw=raw)
    if trial.unused:
        raise InvalidRequest(
            f"there was no action {trial.unused[0]} to give a response for",
            hint=f"actions that came to pass: {', '.join(one.key for one in trial.actions)}",
        )
    session.exit_code = FAILED if trial.status == "failed" else 0
    if session.format != "table":
        session.show(msgspec.to_builtins(trial))
        return
    for seen in trial.expressions if explain else ():
        output.line(f"  {seen}")
    for tried in trial.actions:
        _show_tried(tried, explain)
    for event in trial.events:
        output.line(f"event {event['type']}  {compact(event['data'])}")
    output.line(f"{trial.status}{_how(trial.outcome)}  {compact(trial.state)}")
    if trial.error is not None:
        output.line(f"  {trial.error}")


def _how(outcome: str | None) -> str:
    return f" ({outcome})" if outcome not in (None, "ok") else ""


_MARKS: Final = {"done": "✓", "skipped": "-", "stopped": "■", "failed": "✗"}


def _show_tried(tried: Tried, explain: bool) -> None:
    output.line(f"{_MARKS[tried.outcome]} {tried.key}  {tried.title}{_told(tried)}")
    for finding in tried.condition:
        if not finding.ok:
            output.line(f"    {finding}")
    for seen in tried.expressions if explain else ():
        output.line(f"    {seen}")
    if tried.error is not None:
        output.line(f"    {tried.error}")


def _told(tried: Tried) -> str:
    if tried.outcome != "done":
        return ""
    if tried.title == "Transform":  # its response is the state, which says nothing new
        return f"  {compact(tried.changed)}"
    sent = f"  {compact(tried.parameters)}" if tried.parameters else ""
    if tried.unknown:
        return f"{sent} -> no response given: null"
    return f"{sent} -> {compact(tried.response)}"


@command("test", example="greenroom def test definitions/ --junit report.xml")
@click.argument("what", nargs=-1, required=True, type=click.Path(), metavar="WHAT...")
@click.option("--junit", type=click.Path(), metavar="FILE", help="Write JUnit's XML there.")
@_with
def test(
    session: Session, what: tuple[str, ...], junit: str | None, beside: tuple[str, ...]
) -> None:
    """Try the cases kept beside documents (welcome.test.json).

    Exit 1 when one differs.
    """
    from greenroom.runtime import cases  # noqa: PLC0415  start-up time

    results: list[cases.Result] = []
    for document in _checked([*beside, *map(_with_document, what)]).documents:
        path = cases.beside(Path(document.label))
        if path is not None:
            results += cases.run_cases(document, path)
    if not results:
        raise InvalidRequest(
            "there are no cases", hint="keep them beside the document: welcome.test.json"
        )
    if junit is not None:
        Path(junit).write_bytes(cases.junit(results))
    failed = [one for one in results if not one.ok]
    session.exit_code = FAILED if failed else 0
    if session.format != "table":
        session.page([msgspec.to_builtins(one) for one in results], [], lambda _: [], "case")
        return
    for one in results:
        output.line(f"{'✓' if one.ok else '✗'} {one.document}: {one.case}")
        for line in one.differences:
            output.line(f"    {line}")
        if not one.ok:
            output.line(f"    {one.where}")
    output.line(f"{count(len(results), 'case')}, {len(failed)} failed" if failed else
                f"{count(len(results), 'case')}, all as expected")  # fmt: skip


def _with_document(word: str) -> str:
    """A file of cases stands for the document beside it."""
    from greenroom.runtime import cases, folders  # noqa: PLC0415  start-up time

    path = Path(word)
    found = cases.document_of(path) if folders.is_cases(path) else None
    return word if found is None else str(found)


@command("schema", example="greenroom schema > .greenroom/workflow.schema.json")
@click.argument("what", nargs=-1, type=click.Path(), metavar="[WHAT...]")
def schema(session: Session, what: tuple[str, ...]) -> None:
    """Print the JSON Schema of workflow documents, for editors.

    With files or folders, their connectors' actions and parameters are part of it.
    """
    from greenroom.runtime.checking import editor_schema  # noqa: PLC0415  start-up time

    output.document(editor_schema(what))


COMMANDS: Final = {"schema": schema}
