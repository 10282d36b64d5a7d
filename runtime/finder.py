"""`WelcomeFlow.where_id("bob").pause()`: verbs on the instance with a key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from greenroom.definitions.errors import NotFound
from greenroom.definitions.eventclasses import event_from_object
from greenroom.definitions.events import Event
from greenroom.definitions.workflow import Program
from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


class Finder:
    """The live instance of a workflow with this key, else the newest that had it."""

    def __init__(
        self, engine: Engine, workflow: str, key: str, namespace: str | None = None
    ) -> None:
        self._engine = engine
        self._workflow = workflow
        self._ref = f"{workflow}/{key}"
        self._namespace = namespace

    async def _id(self) -> str:
        return (await self._engine._find(self._ref, self._namespace)).id

    async def pause(self, reason: str | None = None) -> shapes.Verb:
        return await self._engine.pause(await self._id(), reason=reason)

    async def resume(self, reason: str | None = None) -> shapes.Verb:
        return await self._engine.resume(await self._id(), reason=reason)

    async def kill(self, reason: str | None = None) -> shapes.Verb:
        """`cancel` under the name it has in Zenaton."""
        return await self._engine.cancel(await self._id(), reason=reason)

    async def send_event(self, event: Any, data: Any = None, *, id: str = "") -> shapes.Sent:
        """Sends an event: a name and data, an `Event`, or an object (its class is the type, its
        public attributes are the data). The same `id` is delivered once."""
        if isinstance(event, str):
            event = Event(type=event, id=id, data=data)
        elif not isinstance(event, Event | dict):
            event = event_from_object(event, id)
        return await self._engine.send(await self._id(), event)

    async def find(self) -> Any:
        """An object of the workflow's class with the properties as they are now, and `_id`,
        `_status` and `_instance`; None when no instance has the key."""
        try:
            found = await self._engine.get(await self._id())
        except NotFound:
            return None
        cls = self._class(found.version)
        thing = SimpleNamespace() if cls is None else object.__new__(cls)
        if isinstance(found.state, dict):
            vars(thing).update(found.state)
        vars(thing).update(_id=found.id, _status=found.status, _instance=found)
        return thing

    def _class(self, version: int) -> type | None:
        definition = self._engine.registry.version(self._workflow, version)
        body = definition.body if definition is not None else None
        return body.cls if isinstance(body, Program) else None
