"""Scopes: limits of time and groups of work inside a program.

    async with timeout("5m"):                   # in a plain handle(): with timeout("5m"):
        ...
    paid = await within(charge(total), "5m")    # the same around one await
    async with scope() as work:
        first = work.start(reserve("A"))
        work.start(self.tell_everybody())

A limit is a durable timer of the journal: it survives a restart, is not armed while the instance
is paused, and is gone as soon as the block is left. What it gives up is given up as by a cancel:
open ops are closed, children cancelled, and CancelledError is raised in what awaits them, so that
`finally` blocks clean up.
"""

from __future__ import annotations

import datetime
import inspect
from typing import Any

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput, InvalidRequest
from greenroom.definitions.ops import CURRENT, Block, Gather, Member, Settle, asked

Duration = str | float | datetime.timedelta


class timeout(Block):
    """A block that may take so long and no longer; then what it awaits is given up and `Timeout`
    (a `TimeoutError`) is raised where the block ends.

    A failed instance whose `Timeout` nobody caught gets the whole time again by `resume`.
    """

    def __init__(self, duration: Duration) -> None:
        self.due_s = seconds(duration, "timeout")

    @property
    def is_over(self) -> bool:
        """The time was over before the block was left."""
        return self.frame is not None and self.frame.fired


def within(awaitable: Any, duration: Duration) -> Any:
    """The result of an op, a gather, a child or a coroutine that comes in time; else it is given
    up and `Timeout` raised. In a plain `handle()` give a task, or a function without arguments:
    `within(lambda: reserve("A"), "5m")`."""
    return asked(Gather([awaitable], "race", due_s=seconds(duration, "within")))


class scope(Block):
    """A block that is left when everything started in it has ended.

    The first that fails ends the others and the block, and its error is raised where the block
    ends; with `on_error="settle"` all go on to their end and the error of the one started first is
    raised. A block that raises itself gives up what it has started.
    """

    def __init__(self, on_error: Settle = "cancel") -> None:
        if on_error not in ("settle", "cancel"):
            raise InvalidInput(f'on_error must be "settle" or "cancel", got {on_error!r}')
        self.mode = on_error

    def start(self, item: Any) -> Member:
        """Starts an op, a task, a coroutine or, in a plain `handle()`, a function without
        arguments. It runs beside the block; await what this gives for its result."""
        machine = CURRENT.get()
        if machine is None or self.frame is None:
            if inspect.iscoroutine(item):
                item.close()
            raise InvalidRequest("scope().start(...) works inside the `with` block of the scope")
        made: Member = machine.begin_member(self.frame, item)
        return made
