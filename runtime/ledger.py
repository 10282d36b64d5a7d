"""What was listened to when: which version of each workflow had its triggers in place.

One note in the store, written when it changes. `events explain` asks what held at an event's time,
so that its answer stays the same when definitions are changed, switched off or gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from greenroom.actors.ports import GetMeta, SetMeta
from greenroom.definitions.workflow import Definition

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

NOTE: Final = "listened"
KEPT: Final = 50
"""Changes remembered of each workflow; older ones are forgotten."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """From here on this version listened (0: none). Of two things in one millisecond the place in
    the journal says which was first."""

    at: int
    pos: int
    version: int


class Ledger:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changes: dict[str, list[Change]] = {}
        self._booked = False
        self.head = 0
        """The newest place heard of."""

    async def load(self, head: int) -> None:
        self.head = head
        note: str | None = await self._engine.journal.call(GetMeta(self._name))
        if note is not None:
            self._changes = msgspec.json.decode(note, type=dict[str, list[Change]])
        self._engine.router.index.changed = self.note

    @property
    def _name(self) -> str:
        return f"{NOTE}:{self._engine.namespace}"

    def settled(self) -> None:
        """The definitions are in place: what is not among them listens no more."""
        for name in set(self._changes) - set(self._engine.registry.names()):
            self.note(self._engine.namespace, name, None)

    def note(self, namespace: str, name: str, definition: Definition | None) -> None:
        listens = definition is not None and any(t.type is not None for t in definition.triggers)
        version = (definition.version or 1) if definition is not None and listens else 0
        changes = self._changes.get(name, [])
        if (
            namespace != self._engine.namespace
            or (changes[-1].version if changes else 0) == version
        ):
            return
        change = Change(self._engine.clock.now(), self.head, version)
        self._changes[name] = [*changes, change][-KEPT:]
        if not self._booked:
            self._booked = True
            self._engine.loop.call_soon(self._store)

    def _store(self) -> None:
        self._booked = False
        text = msgspec.json.encode(self._changes).decode()
        if self._engine.state in ("opening", "open"):
            self._engine.journal.submit(SetMeta(self._name, text), lambda result: None)

    def listened(self, at: int, pos: int) -> dict[str, int]:
        """The version of each workflow that listened when an event was accepted at this time and
        place; workflows that did not are left out."""
        found: dict[str, int] = {}
        for name, changes in self._changes.items():
            before = [one for one in changes if one.at < at or (one.at == at and one.pos < pos)]
            if before and before[-1].version:
                found[name] = before[-1].version
        return found
