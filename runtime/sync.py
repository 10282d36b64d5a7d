"""The blocking facade: the same verbs, for code that is not async.

The engine lives on an event loop in a thread of its own; each call is handed over and waited for.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import Token
from pathlib import Path
from typing import Any, Self

from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import EngineStopping
from greenroom.runtime.engine import Engine, InstanceHandle
from greenroom.runtime.finder import Finder

SECTIONS = frozenset(
    {
        "asks",
        "connectors",
        "definitions",
        "events",
        "keys",
        "resources",
        "schedules",
        "secrets",
        "stages",
    }
)
"""Attributes of an engine that have verbs of their own."""


class SyncHandle:
    """A started instance, blocking."""

    def __init__(self, engine: SyncEngine, handle: InstanceHandle) -> None:
        self._engine = engine
        self._handle = handle
        self.id = handle.id
        self.key = handle.key
        self.status = handle.status
        self.created = handle.created

    def result(self, timeout: str | float | None = None) -> Any:
        return self._engine.result(self.id, timeout=timeout)

    def __repr__(self) -> str:
        return repr(self._handle)


class _Section:
    """`engine.definitions`, `.schedules`, `.events`, `.asks`, `.keys` and so on with blocking verbs."""

    def __init__(self, engine: SyncEngine, section: Any) -> None:
        self._engine = engine
        self._section = section

    def __getattr__(self, name: str) -> Any:
        return self._engine._blocking(getattr(self._section, name))


class SyncFinder:
    def __init__(self, engine: SyncEngine, finder: Finder) -> None:
        self._engine = engine
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return self._engine._blocking(getattr(self._finder, name))


class SyncEngine:
    """`with Engine.sync("app.db", workflows=[...]) as engine:`"""

    def __init__(
        self, target: str | Path | None = None, *, workflows: Sequence[object] = (), **options: Any
    ) -> None:
        self._engine = Engine(target, workflows, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._token: Token[Any] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="greenroom", daemon=True
        )
        self._thread.start()
        try:
            self._wait(self._engine.__aenter__())
        except BaseException:
            self._stop()
            raise
        self._token = ENGINE.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            ENGINE.reset(self._token)
        try:
            self._wait(self._engine.close())
        finally:
            self._stop()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        left = asyncio.all_tasks(loop)  # of calls that were interrupted
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _stop(self) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _wait(self, coroutine: Any) -> Any:
        if self._loop is None or self._loop.is_closed():
            coroutine.close()
            raise EngineStopping(
                f"the engine is {self._engine.state}",
                hint="use it inside  with Engine.sync(...) as engine:",
            )
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _blocking(self, verb: Any) -> Any:
        if inspect.isasyncgenfunction(verb):
            return lambda *args, **kwargs: self._iterate(verb(*args, **kwargs))
        if not inspect.iscoroutinefunction(verb):
            return verb

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._wait(verb(*args, **kwargs))

        return call

    def _iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._wait(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self._wait(items.aclose())  # type: ignore[attr-defined]

    def start(self, *args: Any, **kwargs: Any) -> SyncHandle:
        """Starts an instance; see `Engine.start`."""
        return SyncHandle(self, self._wait(self._engine.start(*args, **kwargs)))

    def register(self, *workflows: object) -> None:
        """Adds workflows; see `Engine.register`."""
        self._wait(_called(lambda: self._engine.register(*workflows)))

    def dispatch(self, job: Any) -> SyncHandle:
        return SyncHandle(self, self._wait(self._engine.dispatch(job)))

    def schedule(self, job: Any, rule: str) -> Any:
        return _Section(self, self._wait(self._engine.schedule(job, rule)))

    def where_id(self, workflow: str, key: str) -> SyncFinder:
        return SyncFinder(self, self._engine.where_id(workflow, key))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if name in SECTIONS:
            return _Section(self, found)
        return self._blocking(found)


async def _called(function: Callable[[], None]) -> None:
    function()
