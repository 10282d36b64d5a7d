"""`WelcomeFlow.where_id("bob").pause()`: verbs on the instance with a key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from greenroom.definitions.errors import NotFound
from greenroom.definitions.events import Event
from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


class Finder:
    """The live instance of a workflow with this key, else the newest that had it."""

    def __init__(self, engine: Engine, workflow: str, key: str) -> None:
        self._engine = engine
        self._workflow = workflow
        self._ref = f"{workflow}/{key}"

    async def pause(self, reason: str | None = None) -> shapes.Verb:
        return await self._engine.pause(self._ref, reason=reason)

    async def resume(self, reason: str | None = None) -> shapes.Verb:
        return await self._engine.resume(self._ref, reason=reason)

    async def kill(self, reason: str | None = None) -> shapes.Verb:
        """`cancel` under the name it has in Zenaton."""
        return await self._engine.cancel(self._ref, reason=reason)

    async def send_event(self, event: Any, data: Any = None) -> shapes.Sent:
        """Sends an event: a name and data, an `Event`, or an object (its class is the type, its
        public attributes are the data)."""
        if isinstance(event, str):
            event = Event(type=event, data=data)
        elif not isinstance(event, Event | dict):
            public = {k: v for k, v in vars(event).items() if not k.startswith("_")}
            event = Event(type=type(event).__name__, data=public)
        return await self._engine.send(self._ref, event)

    async def find(self) -> SimpleNamespace | None:
        """The properties as attributes, with `id` and `status` behind an underscore; None when no
        instance has the key."""
        try:
            found = await self._engine.get(self._ref)
        except NotFound:
            return None
        state = found.state if isinstance(found.state, dict) else {}
        return SimpleNamespace(**state, _id=found.id, _status=found.status, _instance=found)
