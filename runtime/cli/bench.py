"""`greenroom bench`: what this machine carries out, durably, in a second."""

from __future__ import annotations

from typing import Final

import click

from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session


@command(
    "bench",
    example="greenroom bench --quick\ngreenroom bench steps events\ngreenroom bench --data /mnt/disk",
)
@click.argument("questions", nargs=-1, metavar="[QUESTION]...")
@click.option("--quick", is_flag=True, help="Small sizes: seconds, and rougher figures.")
def bench(session: Session, questions: tuple[str, ...], quick: bool) -> None:
    """Measure this machine: durable steps, events, memory.

    QUESTIONs are steps, limit, sequential, programs, events, posts, routing, waiting, timers,
    recovery, scopes, startup; all if none is named, which takes some minutes. The stores are temporary ones, made in
    --data if given: what is measured is that disk.
    """
    from greenroom.runtime.benchmarks import command as run  # noqa: PLC0415  start-up time

    unknown = [name for name in questions if name not in run.QUESTIONS]
    if unknown:
        known = " ".join(run.QUESTIONS)
        raise click.BadParameter(f"{unknown[0]} is not measured; there are: {known}")
    answers = []
    for question in questions or run.measurable():
        output.note(f"{question} ...")
        found = run.answer(question, run.sizes_of(question, quick), session.data)
        answers.append(found)
        if session.format == "jsonl":
            output.record(found)
    if session.format == "json":
        output.document(answers)
    elif session.format == "table":
        output.table(["what", "figure", "target"], run.rows(answers))


COMMANDS: Final = {"bench": bench}
