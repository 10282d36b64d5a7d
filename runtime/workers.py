"""Processes for plain functions that are all computing: each has one call at a time.

A function that is given up, because its time is over or its instance was cancelled, goes on in its
process whatever it is told. So the process is killed, and the next call gets a new one: two that
never end must not keep all others waiting, nor the daemon from ending. Processes are spawned, never
forked.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any


class Workers:
    """At most `count` processes, made when they are needed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._all: set[ProcessPoolExecutor] = set()
        self._free: list[ProcessPoolExecutor] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, timeout_s: float | None, func: Callable[..., Any], *args: Any) -> Any:
        """The function's result, from a process of its own. Its time begins when it has one."""
        worker = await self._taken()
        work: asyncio.Future[Any] | None = None
        try:
            work = asyncio.get_running_loop().run_in_executor(worker, func, *args)
            async with asyncio.timeout(timeout_s):
                return await work
        finally:
            if work is not None and _is_over(work):
                self._free.append(worker)
            else:
                self._all.discard(worker)
                _kill(worker)
            self._next()

    async def _taken(self) -> ProcessPoolExecutor:
        while not self._free and len(self._all) >= self._count:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()  # it was ours, and we do not take it
                raise
        if self._free:
            return self._free.pop()
        spawn = multiprocessing.get_context("spawn")
        made = ProcessPoolExecutor(1, spawn, initializer=_follow_parent)
        self._all.add(made)
        return made

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def stop(self) -> None:
        """Ends all of them, with what they are at."""
        for worker in self._all:
            _kill(worker)
        self._all.clear()
        self._free.clear()


def _is_over(work: asyncio.Future[Any]) -> bool:
    """Whether the function has returned or raised, so that its process can be used again."""
    return work.done() and not work.cancelled() and not isinstance(work.exception(), BrokenExecutor)


def _follow_parent() -> None:
    """In the process: it ends with the one that made it, `kill -9` included."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, name="greenroom-parent", daemon=True).start()


def _kill(worker: ProcessPoolExecutor) -> None:
    for process in list((getattr(worker, "_processes", None) or {}).values()):
        process.kill()
    worker.shutdown(wait=False, cancel_futures=True)
