"""Retention: what ended long ago goes, in chunks small enough that nobody waits for them.

Only whole ended instances are deleted, with their history, and events nobody owes anything to. The
ids of events and requests are known for at least a week, however short the history is kept: a
sender that repeats itself must not be taken for a new one.
"""

from __future__ import annotations

from typing import Final

from greenroom.actors.ports import Journal, Listed, ListInstances, Prune, Pruned
from greenroom.runtime import shapes

KNOWN_MS: Final = 7 * 24 * 3600 * 1000
"""How long an id is known at least (P2)."""
CHUNK: Final = 200
"""Instances, and events, deleted in one group."""
PAGE: Final = 1_000
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
