"""Threads for plain functions.

Nothing ends a function in a thread: one that is given up, because its time is over or its instance
was cancelled, goes on as long as it likes. Until it ends another thread takes its place, so that a
few that never end do not keep all others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

NAME: Final = "greenroom-step"
"""How the names of the threads begin."""
LOST_MAX: Final = 128
"""Functions given up whose threads are made up for. With more the others wait."""

_log = logging.getLogger(__name__)


class Threads:
    """`count` threads, made when they are needed. `lost` run functions that were given up."""

    def __init__(self, count: int) -> None:
        self.lost = 0
        self.stopping = False
        self._pool: Any = ThreadPoolExecutor(count, NAME)
        self._counting = threading.Lock()

    async def run(
        self, timeout_s: float | None, name: str, func: Callable[..., Any], *args: Any
    ) -> Any:
        """The function's result. `name` is what the log calls it."""
        work: Future[Any] = self._pool.submit(func, *args)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(work)
        finally:
            if not work.done() and not work.cancel():
                self._make_up_for(work, name)

    def _make_up_for(self, work: Future[Any], name: str) -> None:
        if self.stopping or self.lost >= LOST_MAX:
            return
        self._count(1)
        work.add_done_callback(lambda _: self._count(-1))
        _log.warning("%s goes on although it was given up (%d such now)", name, self.lost)

    def _count(self, more: int) -> None:
        with self._counting:
            self.lost += more
            self._pool._max_workers += more

    def stop(self) -> None:
        """Does not wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
