"""`greenroom start`: a new instance."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from greenroom.definitions.errors import FormNotComplete
from greenroom.runtime.cli import complete, items, options, output, prompts, sentences
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.words import compact, name

Data = dict[str, Any]

FAILED: Final = 1


@command("start", example="greenroom start order order_id=7 sku=A1 n:=2 --key 7 --wait")
@click.argument("workflow", shell_complete=complete.workflows)
@options.values
@options.data
@options.json_option("form", "The pages of its initial form; a terminal is asked for them.")
@click.option("--key", metavar="TEXT", help="A live instance with this key refuses a second one.")
@click.option("--version", metavar="N", help="A version other than the released one.")
@options.namespace
@click.option("--delay", metavar="DURATION", help="Begin later.")
@click.option("--stage", metavar="PATH", help="Where a stage graph begins, if at several.")
@click.option("--test", is_flag=True, help="Mark it as a trial.")
@options.request_id
@options.dry_run
@options.wait
@options.timeout
def start(
    session: Session,
    workflow: str,
    values: tuple[str, ...],
    source: str | None,
    form: str | None,
    version: str | None,
    test: bool,
    dry_run: bool,
    wait: bool,
    timeout: str | None,
    **given: Any,
) -> None:
    """Start an instance of a workflow.

    Words are its input: KEY=TEXT for text, KEY:=JSON for anything else.
    """
    params = {
        "workflow": workflow,
        "input": items.merged(source, values),
        "version": int(version) if version and version.isdigit() else version,
        "form": options.json_value(form, "form"),
        "test": test or None,
        **given,
    }
    if dry_run:
        definition = session.call("definitions.get", name=workflow, version=params["version"])
        would(session, "start", params, f"would start {_described(definition, params)}")
        return
    reply = _call(session, params)
    if wait:
        wait_for(
            session, reply["instance"], name(workflow, reply["key"], reply["instance"]), timeout
        )
        return
    session.show(reply, lambda: _started(workflow, reply))


def _call(session: Session, params: Data) -> Any:
    try:
        return session.call("start", **params)
    except FormNotComplete as wanted:
        if not sys.stdin.isatty():
            raise
        form = params["form"] or []
        return prompts.fill(
            lambda pages: session.call("start", **{**params, "form": pages}),
            wanted.schema,
            form if isinstance(form, list) else [form],
        )


def _described(definition: Data, params: Data) -> str:
    key = f", key {params['key']}" if params.get("key") else ""
    return f"{definition['name']} v{definition['version']}{key} with {compact(params['input'])}"


def _started(workflow: str, reply: Data) -> str:
    verb = "started" if reply["created"] else "was started before:"
    called = name(workflow, reply["key"], None)
    return f"{verb} {called}  {output.status(reply['status'])}  {reply['instance']}"


def would(session: Session, method: str, params: Data, text: str) -> None:
    """The answer of `--dry-run`."""
    given = {name: value for name, value in params.items() if value is not None}
    session.show({"dry_run": True, "method": method, "params": given}, lambda: text)


def wait_for(session: Session, instance: str, called: str, timeout: str | None) -> None:
    """Prints how the instance ended; the exit code says whether well."""
    outcome = session.call("result", instance=instance, timeout=timeout)
    if outcome["status"] != "completed":
        session.exit_code = FAILED
    session.show(outcome, lambda: outcome_text(called, outcome))


def outcome_text(called: str, outcome: Data) -> str:
    head = f"{called} {sentences.ended(outcome)}"
    if outcome["status"] == "completed":
        return head if outcome["result"] is None else f"{head}\n  {compact(outcome['result'])}"
    return f"{head}\n  greenroom why {outcome['instance']}"


COMMANDS: Final = {"start": start}
