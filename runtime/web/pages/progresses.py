"""What an instance has come to, without reading its whole history at each look.

A program's progress is the fold of all its entries. The last few that were looked at are kept and
only evolved by what came since; a first fold goes on in bites, so that others are not held up.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from greenroom.actors.entries import decode_entry
from greenroom.actors.ports import InstanceRow, ReadRows
from greenroom.actors.progress import Progress, fold

KEPT: Final = 16
BITE: Final = 500


class Progresses:
    """One a face. What it gives is shared: it is read, never changed."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._kept: OrderedDict[int, Progress] = OrderedDict()

    async def of(self, row: InstanceRow) -> Progress:
        """The durable progress of an instance."""
        p = self._kept.get(row.n)
        if p is None:
            p = Progress()
        while True:
            rows = await self._engine.journal.call(ReadRows(row.n, p.iseq, BITE))
            fresh = [
                one for one in rows if one.iseq > p.iseq
            ]  # somebody else may have been quicker
            fold([decode_entry(one) for one in fresh], [one.epoch for one in fresh], p)
            if len(rows) < BITE:
                break
        self._kept[row.n] = p
        self._kept.move_to_end(row.n)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return p

    async def head(self, row: InstanceRow) -> int:
        """How many turns its history has: found by halving, not by counting."""
        known = self._kept.get(row.n)
        low = known.iseq if known is not None else 0
        step = 256
        while await self._has(row.n, low + step):
            low += step
            step *= 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if await self._has(row.n, middle):
                low = middle
            else:
                high = middle
        return low

    async def _has(self, n: int, seq: int) -> bool:
        return bool(await self._engine.journal.call(ReadRows(n, seq - 1, 1)))
