"""`greenroom demo`: events, retries, timers, a kill -9, and a count from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import click

from greenroom.runtime.cli import output
from greenroom.runtime.cli.group import command
from greenroom.runtime.cli.session import Session

EVERY_S: Final = 1.0
FAILED: Final = 1


@command("demo", example="greenroom demo")
def demo(session: Session) -> None:
    """Kill a daemon at work, start it again, count what was lost.

    Everything happens in a temporary directory. The exit code is 0 only if nothing was lost and
    nothing was done twice.
    """
    from greenroom.runtime.demo import director  # noqa: PLC0415  start-up time

    screen = _Screen()
    say = screen.say if session.format == "table" else _silent
    report = director.play(say, screen.progress if session.format == "table" else _silent)
    screen.clear()
    session.show(director.as_data(report), lambda: f"\n{director.table(report)}")
    session.exit_code = 0 if report.true else FAILED


class _Screen:
    """Progress on one line of a terminal; in a pipe a line now and then."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._next = 0.0
        self._open = False

    def say(self, text: str) -> None:
        self.clear()
        output.line(text)

    def progress(self, text: str) -> None:
        if output.terminal():
            click.echo(f"\r\x1b[2K{text}", nl=False)
            self._open = True
        elif self._now() >= self._next:
            self._next = self._now() + EVERY_S
            output.line(text)

    def clear(self) -> None:
        if self._open:
            click.echo("\r\x1b[2K", nl=False)
            self._open = False


def _silent(text: str) -> None:
    return None


COMMANDS: Final = {"demo": demo}
