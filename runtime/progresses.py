"""What an instance has come to: its newest snapshot, and the rows after it.

The one way every face and every check gets at a progress that is not in memory. So a look costs
what came since the snapshot (at most a few hundred turns), however long the history is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from greenroom.actors.entries import decode_entry
from greenroom.actors.ports import Load, Loaded, ReadRows
from greenroom.actors.progress import Progress, decode_progress, fold
from greenroom.definitions.values import Json, copy
from greenroom.runtime.views import shown_state

BITE: Final = 500
"""Rows that are folded at a stretch: some 4 ms, then others have their turn."""


def folded(loaded: Loaded) -> Progress:
    """The durable progress of a loaded instance."""
    p = begun(loaded)
    return fold([decode_entry(row) for row in loaded.rows], [row.epoch for row in loaded.rows], p)


def begun(loaded: Loaded) -> Progress:
    """The progress before the first of the loaded rows."""
    if loaded.snapshot is not None:
        return decode_progress(loaded.snapshot)
    return Progress(iseq=loaded.generation_start - 1)


async def progress_of(journal: Any, n: int) -> Progress:
    """The durable progress of an instance; it is the caller's own, to change as they like."""
    loaded: list[Loaded] = await journal.call(Load((n,)))
    p, rows = begun(loaded[0]), loaded[0].rows
    for start in range(0, len(rows), BITE):
        if start:
            await asyncio.sleep(0)
        some = rows[start : start + BITE]
        fold([decode_entry(row) for row in some], [row.epoch for row in some], p)
    return p


async def progress_at(journal: Any, n: int, seq: int) -> Progress:
    """The progress after turn `seq`, or after the last one before it; `iseq` 0: there is none."""
    loaded: list[Loaded] = await journal.call(Load((n,)))
    is_near = loaded[0].snapshot is not None and loaded[0].snapshot_iseq <= seq
    return await _onward(journal, n, begun(loaded[0]) if is_near else Progress(), seq)


async def _onward(journal: Any, n: int, p: Progress, seq: int) -> Progress:
    while p.iseq < seq:
        rows = await journal.call(ReadRows(n, p.iseq, min(BITE, seq - p.iseq)))
        if not rows:
            break
        fold([decode_entry(row) for row in rows], [row.epoch for row in rows], p)
    return p


async def states_at(journal: Any, n: int, seq: int) -> tuple[Json, Json]:
    """The states before and after turn `seq` (1 or more), as they are shown."""
    p = await progress_at(journal, n, seq - 1)
    before = copy(shown_state(p))
    for row in await journal.call(ReadRows(n, p.iseq, 1)):
        fold([decode_entry(row)], [row.epoch], p)
    return before, shown_state(p)


async def states_after(journal: Any, n: int, turns: Sequence[int]) -> dict[int, Json]:
    """The states after some turns (in order), as they are shown, in one pass over the history."""
    found: dict[int, Json] = {}
    p = Progress()
    for turn in turns:
        p = await _onward(journal, n, p, turn)
        found[turn] = copy(shown_state(p))
    return found
