"""How many instances of a workflow live at once, for each value of a key.

Who comes when all slots are taken is queued, refused, or takes the place of the oldest. A queued
instance exists: it is durable, pending, and can be cancelled; it begins when a slot is free, the
highest priority first and then in the order in which they came. Each value of the key has slots of
its own, so nobody's crowd holds up anybody else. An instance has its slot until it ends: one that is paused or has failed
keeps it, since it may go on.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.messages import Begin, Cancel
from greenroom.actors.ports import Listed, ListInstances
from greenroom.definitions.errors import AlreadyRunning
from greenroom.definitions.workflow import PRIORITY, SLOT, Concurrency, Definition, key_text

if TYPE_CHECKING:
    from greenroom.actors.instance import Instance
    from greenroom.runtime.directory import Directory

NEVER_MS: Final = 1 << 52
"""When a queued instance would begin by itself: its slot comes first."""
PAGE: Final = 1_000
_LIVE: Final = ("pending", "running", "waiting", "paused", "failed")

Key = tuple[str, str, str]
"""Namespace, workflow, value."""


@dataclasses.dataclass(slots=True)
class Lane:
    rule: Concurrency
    holders: dict[str, int] = dataclasses.field(default_factory=dict)
    """Id -> number, the oldest first."""
    queue: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """Id -> minus its priority, and its number: who is least is next."""


class Slots:
    """Kept in memory; after a start made anew from the live instances."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._lanes: dict[Key, Lane] = {}
        self._of: dict[str, Key] = {}

    def admit(
        self, definition: Definition, input: Any, namespace: str, id: str, n: int
    ) -> int | None:
        """Takes a slot, or a place in the queue: then gives when the instance may begin by itself.
        Raises `AlreadyRunning` where nobody waits."""
        rule = definition.concurrency
        if rule is None:
            return None
        self._directory.watch(self.watch)
        attributes = definition.attributes_of(input)
        value = attributes.get(SLOT, "")
        key = (namespace, definition.name, _text(value, definition.name))
        lane = self._lanes.setdefault(key, Lane(rule))
        lane.rule = rule
        taken = len(lane.holders) >= rule.limit
        if taken and rule.on_conflict == "skip":
            oldest = next(iter(lane.holders))
            named = f" for {key[2]}" if key[2] else ""
            raise AlreadyRunning(
                f"{definition.name} is running already{named}: {rule.limit} at once",
                instance=oldest,
                limit=rule.limit,
            )
        self._of[id] = key
        if taken and rule.on_conflict == "queue":
            lane.queue[id] = (-_priority(attributes), n)
            return NEVER_MS
        lane.holders[id] = n
        return None

    def is_queued(self, id: str) -> bool:
        key = self._of.get(id)
        return key is not None and id in self._lanes[key].queue

    def adopted(self, id: str) -> None:
        """It is durable: whose place it takes may go."""
        key = self._of.get(id)
        if key is None:
            return
        lane = self._lanes[key]
        if lane.rule.on_conflict == "cancel_oldest":
            for oldest in list(lane.holders)[: max(0, len(lane.holders) - lane.rule.limit)]:
                reason = f"{id} takes its place"
                self._directory.activate(
                    lane.holders[oldest],
                    lambda one, reason=reason: one.tell(Cancel(None, reason)),  # type: ignore[misc]
                )

    def watch(self, instance: Instance, append: Any, result: Any) -> None:
        """Sees to the ends of instances."""
        if instance.id in self._of and instance.kernel.progress.ended:
            self.release(instance.id)

    def release(self, id: str) -> None:
        """It has ended, or was never made."""
        key = self._of.pop(id, None)
        if key is None:
            return
        lane = self._lanes[key]
        lane.queue.pop(id, None)
        lane.holders.pop(id, None)
        self._advance(key, lane)

    def _advance(self, key: Key, lane: Lane) -> None:
        while lane.queue and len(lane.holders) < lane.rule.limit:
            id = min(lane.queue, key=lane.queue.__getitem__)
            _, n = lane.queue.pop(id)
            lane.holders[id] = n
            self._directory.activate(n, _begin)
        if not lane.queue and not lane.holders:
            self._lanes.pop(key, None)

    async def recover(self, definitions: list[Definition]) -> None:
        """Who holds a slot and who waits for one, by what is stored."""
        for definition in definitions:
            rule = definition.concurrency
            if rule is None:
                continue
            self._directory.watch(self.watch)
            rows = [row for status in _LIVE for row in await self._rows(definition.name, status)]
            for row in sorted(rows, key=lambda one: one.n):
                value = row.attributes.get(SLOT, "")
                key = (
                    row.namespace,
                    row.workflow,
                    key_text(value, row.workflow) or "" if value else "",
                )
                lane = self._lanes.setdefault(key, Lane(rule))
                if row.status == "pending":
                    lane.queue[row.id] = (-_priority(row.attributes), row.n)
                else:
                    lane.holders[row.id] = row.n
                self._of[row.id] = key
        for key, lane in list(self._lanes.items()):
            self._advance(key, lane)

    async def _rows(self, name: str, status: str) -> list[Any]:
        terms = [("workflow", ":", name, False), ("status", ":", status, False)]
        found: list[Any] = []
        cursor: tuple[int, int] | None = None
        while True:
            work = ListInstances(terms, PAGE, cursor, self._directory.now(), total=False)
            page: Listed = await self._directory.journal.call(work)
            found += page.rows
            cursor = page.cursor
            if cursor is None:
                return found


def _priority(attributes: dict[str, Any]) -> int:
    found = attributes.get(PRIORITY, 0)
    return found if type(found) is int else 0


def _text(value: Any, workflow: str) -> str:
    return "" if value in (None, "") else key_text(value, workflow) or ""


def _begin(instance: Instance) -> None:
    p = instance.kernel.progress
    if not p.begun and not p.ended:
        instance.tell(Begin())
