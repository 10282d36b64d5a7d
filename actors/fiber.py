"""A synchronous `handle()` driven like a coroutine.

`SendMail(...).execute()` without `await` has to stop in the middle of a plain function. The
function runs in a greenlet, and asking for an op switches to the machine that drives it; the
machine sees the same `send`, `throw` and `close` as of a coroutine, so the journals of both forms
are the same.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from typing import Any

import greenlet

_log = logging.getLogger(__name__)


class Fiber:
    """One plain function on its way. `send` and `throw` give the next op asked for, or raise
    StopIteration with the result, as those of a coroutine do."""

    __slots__ = ("_greenlet", "_result")

    def __init__(self, func: Callable[[], Any]) -> None:
        self._result: Any = None
        self._greenlet = greenlet.greenlet(lambda _: self._run(func))

    def _run(self, func: Callable[[], Any]) -> None:
        try:
            self._result = func()
        except StopIteration as error:  # it would look like the end of this function
            raise RuntimeError("a plain handle() raised StopIteration") from error

    def ask(self, op: Any) -> Any:
        """Called by the function: hands an op to the machine and waits for its outcome."""
        parent = self._greenlet.parent
        assert parent is not None
        return parent.switch(op)

    def send(self, value: Any) -> Any:
        if not self._greenlet:
            if self._greenlet.dead:
                raise StopIteration(self._result)
            # a new greenlet starts with an empty context: it gets what the machine's cell has
            self._greenlet.gr_context = contextvars.copy_context()
        self._greenlet.parent = greenlet.getcurrent()
        return self._next(self._greenlet.switch(value))

    def throw(self, error: BaseException) -> Any:
        self._greenlet.parent = greenlet.getcurrent()
        return self._next(self._greenlet.throw(error))

    def _next(self, asked: Any) -> Any:
        if self._greenlet.dead:
            raise StopIteration(self._result)
        return asked

    @property
    def frame(self) -> Any:
        """The innermost frame of the function while it is suspended."""
        return self._greenlet.gr_frame

    def close(self) -> None:
        """Ends it for good. One that catches even that stays in memory for ever, and is logged."""
        if self._greenlet and not self._greenlet.dead:
            self._greenlet.parent = greenlet.getcurrent()
            self._greenlet.throw(greenlet.GreenletExit)
            if not self._greenlet.dead:
                _log.warning("a plain handle() cannot be ended: it catches GreenletExit")
