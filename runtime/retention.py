"""Retention: what ended long ago goes, in chunks small enough that nobody waits for them.

Only whole ended instances are deleted, with their history, and events nobody owes anything to. The
ids of events and requests are known for at least a week, however short the history is kept: a
sender that repeats itself must not be taken for a new one.

`prune` is what somebody asks for. `Retention` does by itself what workflows say with `retention=`:
their ended instances go, a workflow at a time and by the index that lists them, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.instance import Instance
from greenroom.actors.ports import Handle, Journal, Listed, ListInstances, Prune, Pruned
from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

KNOWN_MS: Final = 7 * 24 * 3600 * 1000
"""How long an id is known at least (P2)."""
CHUNK: Final = 200
"""Instances, and events, deleted in one group."""
PAGE: Final = 1_000
EVERY_MS: Final = 3_600_000
"""How long a round waits at most for the next one."""
LEAST_MS: Final = 1_000
_ENDED: Final = ("completed", "cancelled")


async def prune(journal: Journal, now: int, age_ms: int) -> shapes.Pruned:
    """Deletes what ended more than `age_ms` ago."""
    before = now - age_ms
    work = Prune(before, CHUNK, min(before, now - KNOWN_MS))
    instances = events = entries = 0
    more = True
    while more:
        gone: Pruned = await journal.call(work)
        instances += gone.instances
        events += gone.events
        entries += gone.rows
        more = gone.more
    return shapes.Pruned(instances, events, entries)


async def prunable(journal: Journal, now: int, age_ms: int) -> shapes.Pruned:
    """What `prune` would find now: the instances alone are counted."""
    found = 0
    for status in _ENDED:
        terms = [("status", ":", status, False), ("updated", "<", now - age_ms, False)]
        cursor: tuple[int, int] | None = None
        while True:
            page: Listed = await journal.call(ListInstances(terms, PAGE, cursor, now, total=False))
            found += len(page.rows)
            cursor = page.cursor
            if cursor is None:
                break
    return shapes.Pruned(found, dry_run=True)


class Retention:
    """Rounds over the workflows that have a retention, as long as there are any."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._left: list[tuple[str, int]] = []
        """Name and age of what this round has not looked at yet."""
        self._working = False
        self._booked: Handle | None = None

    def start(self) -> None:
        """The first round: what fell due while nothing ran."""
        self._engine.directory.kept_for_a_time = self._look
        self._round()

    def _look(self) -> None:
        """There are instances that will have to go: they are watched for their end."""
        self._engine.directory.watch(self._watch)

    def stop(self) -> None:
        if self._booked is not None:
            self._booked.cancel()

    def _watch(self, instance: Instance, append: Any, result: Any) -> None:
        """An instance that will have to go has ended: somebody must come for it."""
        kernel = instance.kernel
        if kernel.progress.ended and kernel.definition.retention_ms is not None:
            self._book()

    def _rules(self) -> list[tuple[str, int]]:
        registry = self._engine.registry
        found = ((name, registry.released(name).retention_ms) for name in registry.names())
        return [(name, age_ms) for name, age_ms in found if age_ms is not None]

    def _book(self) -> None:
        if self._booked is not None or self._working:
            return
        rules = self._rules()
        if rules:
            soon = max(LEAST_MS, min(EVERY_MS, *(age_ms for _, age_ms in rules)))
            self._booked = self._engine.clock.call_later(soon, self._round)

    def _round(self) -> None:
        self._booked = None
        self._left, self._working = self._rules(), True
        if self._left:
            self._look()
        self._next()

    def _next(self) -> None:
        if self._engine.directory.stopping:
            return
        if not self._left:
            self._working = False
            self._book()
            return
        name, age_ms = self._left[-1]
        work = Prune(self._engine.clock.now() - age_ms, CHUNK, workflow=name)
        self._engine.journal.submit(work, self._pruned)

    def _pruned(self, result: Any) -> None:
        if isinstance(result, Exception):
            name = self._left[-1][0]
            self._engine.log.warning("old instances stay", workflow=name, error=str(result))
        if isinstance(result, Exception) or not result.more:
            self._left.pop()
        self._next()
