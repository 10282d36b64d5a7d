"""`pause resume retry cancel` on one instance, several, or all a filter finds; `skip edit migrate
restart fork` on one.

A filter is turned into the list of what it finds before the first is touched, the number is said,
and more than one needs a yes (instances named one by one do not). A refusal of one does not stop the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import click
import msgspec

from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.runtime.cli import errors, items, options, output, words
from greenroom.runtime.cli.group import FILTER_HELP, Command, command
from greenroom.runtime.cli.session import Session
from greenroom.runtime.cli.start import would
from greenroom.runtime.failures import is_like
from greenroom.runtime.many import VERBS, narrowed
from greenroom.runtime.shapes import Instance

Data = dict[str, Any]


class Target(NamedTuple):
    """An instance and how the person called it."""

    instance: str
    called: str


def apply(
    session: Session,
    verb: str,
    given: Sequence[str],
    yes: bool,
    dry_run: bool,
    like: str | None,
    params: Data,
) -> None:
    """Carries the verb out on every target."""
    text = options.instances_or_filter(given)
    if text is None and like is not None:
        raise InvalidRequest("--like narrows a filter", hint="it takes no instances by name")
    targets = [Target(one, one) for one in given]
    if text is not None:
        targets = _found(session, verb, text, like)
    if text is not None and session.format == "table":
        output.note(f"{words.count(len(targets), 'instance')} {_matching(verb, text, targets)}")
    if dry_run:
        _would(session, verb, targets, params)
        return
    if text is not None and len(targets) > 1 and not yes:
        _ask(verb, len(targets))
    if text is None and len(targets) == 1:
        reply = _one(session, verb, targets[0], params)
        session.show(reply, lambda: _said(verb, targets[0], reply))
        return
    _all(session, verb, targets, params)


def _matching(verb: str, text: str, targets: list[Target]) -> str:
    return f"{'matches' if len(targets) == 1 else 'match'} {narrowed(verb, text)}"


def _found(session: Session, verb: str, text: str, like: str | None) -> list[Target]:
    return [
        Target(one["id"], words.name(one["workflow"], one["key"], one["id"]))
        for one in session.pages("list", q=narrowed(verb, text))
        if like is None or is_like(msgspec.convert(one, Instance), like)
    ]


def _would(session: Session, verb: str, targets: list[Target], params: Data) -> None:
    if session.format == "table":
        for target in targets:
            output.line(f"would {verb} {target.called}")
        return
    given = {name: value for name, value in params.items() if value is not None}
    plans = [
        {
            "dry_run": True,
            "method": VERBS[verb].method,
            "params": {"instance": one.instance, **given},
        }
        for one in targets
    ]
    session.page(plans, [], lambda _: [], "instance")


def _ask(verb: str, number: int) -> None:
    question = f"{verb} {words.count(number, 'instance')}?"
    if not sys.stdin.isatty():
        raise InvalidRequest(f"{question[:-1]} needs a yes", hint="add --yes, or look: --dry-run")
    click.confirm(question, abort=True, err=True)


def _one(session: Session, verb: str, target: Target, params: Data) -> Data:
    reply: Data = session.call(VERBS[verb].method, instance=target.instance, **params)
    return reply


def _all(session: Session, verb: str, targets: list[Target], params: Data) -> None:
    replies: list[Data] = []
    refused = 0
    for number, target in enumerate(targets):
        own = dict(params)
        if own.get("request_id") is not None:
            own["request_id"] = f"{own['request_id']}/{number}"
        try:
            reply = _one(session, verb, target, own)
        except GreenroomError as error:
            refused += 1
            session.exit_code = session.exit_code or errors.code(error)
            reply = {"instance": target.instance, "error": error.as_data()}
            if session.format == "table":
                errors.to_stderr(errors.render(error))
        else:
            if session.format == "table":
                output.line(_said(verb, target, reply))
        if session.format == "jsonl":
            output.record(reply)
        replies.append(reply)
    if session.format == "json":
        output.document(replies)
    elif session.format == "table":
        refusals = f", {refused:,} refused" if refused else ""
        output.line(
            f"{words.count(len(targets) - refused, 'instance')} {VERBS[verb].done}{refusals}"
        )


def _said(verb: str, target: Target, reply: Data) -> str:
    if reply.get("pending") == "pause":
        return f"{target.called} is {reply['status']} and pauses after its running steps"
    return f"{target.called} is {output.status(reply['status'])}"


_like = click.option(
    "--like",
    metavar="MESSAGE",
    help="Those that failed with this message, but for numbers and ids.",
)


def _declare(verb: str, help: str, example: str, *extra: Any) -> Command:
    def run(
        session: Session,
        targets: tuple[str, ...],
        yes: bool,
        dry_run: bool,
        like: str | None,
        **params: Any,
    ) -> None:
        flags = {name: value or None for name, value in params.items()}
        apply(session, verb, targets, yes, dry_run, like, flags)

    run.__doc__ = f"{help}\n\n{FILTER_HELP}"
    declared: Any = run
    for option in (options.dry_run, options.yes, options.request_id, options.reason, _like, *extra):
        declared = option(declared)
    return command(verb, example)(options.targets(declared))


pause = _declare(
    "pause",
    "Pause instances; running steps end first.",
    "greenroom pause order/7 --reason audit\ngreenroom pause workflow:order 'age<1h' --dry-run",
)
resume = _declare(
    "resume",
    "Resume instances that are paused or failed.",
    "greenroom resume order/7\ngreenroom resume workflow:order --yes",
    click.option("--run-again", is_flag=True, help="Run a step again whose end nobody knows."),
)
retry = _declare(
    "retry",
    "Retry failed instances, or one that waits for its next attempt.",
    "greenroom retry order/7\ngreenroom retry 'workflow:order step:send_invoice' --dry-run",
    click.option("--run-again", is_flag=True, help="Run a step again whose end nobody knows."),
)
cancel = _declare(
    "cancel",
    "Cancel instances for good.",
    "greenroom cancel order/7 --reason 'ordered twice'",
    click.option("--force", is_flag=True, help="Do not wait for clean-up."),
)


@command("skip", example="greenroom skip order/7 reserve reservation=r-77 --reason 'by phone'")
@options.instance
@click.argument("op")
@options.values
@options.data
@options.reason
@options.request_id
@options.dry_run
def skip(
    session: Session,
    instance: str,
    op: str,
    values: tuple[str, ...],
    source: str | None,
    dry_run: bool,
    **params: str | None,
) -> None:
    """Skip a failed or retrying step, giving its result by hand."""
    given = source is not None or values
    params = {"output": items.merged(source, values) if given else None, **params}
    if dry_run:
        would(
            session, "skip", {"instance": instance, "op": op, **params},
            f"would skip {op} of {instance} with {words.compact(params['output'])}",
        )  # fmt: skip
        return
    reply = session.call("skip", instance=instance, op=op, **params)
    session.show(reply, lambda: f"{op} skipped, {instance} is {output.status(reply['status'])}")


_from = click.option(
    "--from", "from_op", metavar="OP", help="The step to begin again from, the start by default."
)
_key = click.option("--key", metavar="TEXT", help="A key for the new instance.")


@command("restart", example="greenroom restart order/7 --from charge")
@options.instance
@_from
@_key
@options.reason
@options.request_id
@options.dry_run
def restart(session: Session, instance: str, dry_run: bool, **params: Any) -> None:
    """Run an instance again as a new one, from a step or from the start."""
    _copy(session, "restart", instance, dry_run, params)


@command("fork", example="greenroom fork order/7 --from charge --state '{\"total\": 12}'")
@options.instance
@_from
@_key
@options.json_option("state", "State to put in place of what it was.")
@options.json_option("input", "Input to put in place of what it was.")
@click.option("--version", type=int, metavar="N", help="A version of the workflow.")
@options.reason
@options.request_id
@options.dry_run
def fork(
    session: Session,
    instance: str,
    state: str | None,
    input: str | None,
    dry_run: bool,
    **params: Any,
) -> None:
    """Run an instance again as a new one with another past."""
    params["state"] = options.json_value(state, "state")
    params["input"] = options.json_value(input, "input")
    _copy(session, "fork", instance, dry_run, params)


def _copy(session: Session, method: str, instance: str, dry_run: bool, params: Data) -> None:
    place = f" from {params['from_op']}" if params["from_op"] else " from the start"
    if dry_run:
        text = f"would {method} {instance}{place}"
        would(session, method, {"instance": instance, **params}, text)
        return
    reply = session.call(method, instance=instance, **params)
    session.show(
        reply,
        lambda: (
            f"{instance} runs again{place} as {reply['instance']}  {output.status(reply['status'])}"
        ),
    )


@command("edit", example="greenroom edit order/7 total:=12 customer.city=Paris --reason typo")
@options.instance
@options.values
@options.data
@click.option("--delete", multiple=True, metavar="NAME", help="A value to take away (repeat).")
@options.reason
@options.request_id
@options.dry_run
def edit(
    session: Session,
    instance: str,
    values: tuple[str, ...],
    source: str | None,
    delete: tuple[str, ...],
    dry_run: bool,
    **params: str | None,
) -> None:
    """Change the state of an instance by hand.

    It must wait, be paused or have failed. A NAME may be a path with dots into objects.
    """
    given = items.merged(source, values) if source is not None or values else {}
    what = {"instance": instance, "set": given or None, "delete": list(delete) or None, **params}
    if dry_run:
        shown = {name: value for name, value in what.items() if value is not None}
        names = ", ".join([*given, *delete]) or "nothing"
        would(session, "edit", shown, f"would change {names} of {instance}")
        return
    reply = session.call("edit", **what)
    session.show(reply, lambda: f"{instance} is changed, it is {output.status(reply['status'])}")


@command("migrate", example="greenroom migrate order/7 3 --reason 'needs the new step'")
@options.instance
@click.argument("version", type=int)
@options.reason
@options.request_id
@options.dry_run
def migrate(
    session: Session, instance: str, version: int, dry_run: bool, **params: str | None
) -> None:
    """Let an instance follow another version of its workflow.

    All steps that ended or are open must be in that version.
    """
    what = {"instance": instance, "to_version": version, **params}
    if dry_run:
        would(session, "migrate", what, f"would move {instance} to v{version}")
        return
    reply = session.call("migrate", **what)
    session.show(
        reply, lambda: f"{instance} follows v{version}, it is {output.status(reply['status'])}"
    )


COMMANDS: Final = {
    "pause": pause, "resume": resume, "retry": retry, "cancel": cancel,
    "skip": skip, "edit": edit, "migrate": migrate, "restart": restart, "fork": fork,
}  # fmt: skip
