"""What the classes of an author reach the engine through.

In a coroutine a verb is awaited. A plain function in a thread, such as the `handle` of a task,
cannot await: there the call waits and gives the result. `ThreadFace` tells the two apart.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


class ScheduleHandle:
    """A schedule made by `WelcomeFlow(...).schedule(...)`; it outlives the process."""

    def __init__(self, engine: Engine, id: str) -> None:
        self._engine = engine
        self.id = id

    async def pause(self) -> shapes.ScheduleInfo:
        return await self._engine.schedules.pause(self.id)

    async def resume(self) -> shapes.ScheduleInfo:
        return await self._engine.schedules.resume(self.id)

    async def trigger(self) -> shapes.Accepted:
        """Starts an instance now, beside the times of the schedule."""
        return await self._engine.schedules.trigger(self.id)

    async def next(self, count: int = 10) -> Sequence[str]:
        return await self._engine.schedules.next(self.id, count)

    async def delete(self) -> None:
        await self._engine.schedules.delete(self.id)

    def __repr__(self) -> str:
        return f"<schedule {self.id}>"


class ThreadFace:
    """The engine as steps and tasks find it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def dispatch(self, job: Any) -> Any:
        return self._given(self._engine.dispatch(job))

    def schedule(self, job: Any, rule: str) -> Any:
        return self._given(self._engine.schedule(job, rule))

    def where_id(self, workflow: str, key: str) -> Any:
        return _Waited(self, self._engine.where_id(workflow, key))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _given(self, coroutine: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a thread of a plain function
            made = asyncio.run_coroutine_threadsafe(coroutine, self._engine.loop).result()
            return _Waited(self, made) if hasattr(made, "_engine") else made
        return coroutine


class _Waited:
    """An object with verbs whose results are waited for where nothing can be awaited."""

    def __init__(self, face: ThreadFace, subject: Any) -> None:
        self._face = face
        self._subject = subject

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._subject, name)
        if not inspect.iscoroutinefunction(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._face._given(found(*args, **kwargs))

        return call

    def __repr__(self) -> str:
        return repr(self._subject)
