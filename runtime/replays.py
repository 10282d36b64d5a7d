"""Replays of stored histories on today's code, before that code carries anything on.

    greenroom replay --check app.py --data /var/lib/greenroom

Nothing is run and nothing is written: entries are read a page at a time, replayed in memory, and
the first difference of each instance is reported.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from greenroom.actors.entries import Entry, decode_entry
from greenroom.actors.ports import InstanceRow, ReadRows
from greenroom.actors.progress import Progress, evolve
from greenroom.actors.recheck import Difference, recheck
from greenroom.definitions.errors import GreenroomError
from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

PAGE: Final = 200
"""Instances listed in one hop."""
ROWS: Final = 1_000
"""Entries read in one hop."""
NAMED_MAX: Final = 100
"""Findings given one by one; the others are counted."""


async def check_replay(engine: Engine, q: str = "", limit: int | None = None) -> shapes.Replayed:
    """Replays the instances a filter lets through (all unless told), the newest first."""
    findings: list[shapes.ReplayFinding] = []
    looked = errors = warnings = 0
    cursor: str | None = None
    while limit is None or looked < limit:
        size = PAGE if limit is None else min(PAGE, limit - looked)
        page = await engine.list(q, limit=size, cursor=cursor)
        for instance in page.items:
            looked += 1
            found = await _replayed(engine, await engine._find(instance.id))
            if found is None:
                continue
            errors += found.level == "error"
            warnings += found.level == "warning"
            if len(findings) < NAMED_MAX:
                findings.append(found)
        cursor = page.cursor
        if cursor is None:
            break
    return shapes.Replayed(looked, errors, warnings, findings)


async def _replayed(engine: Engine, row: InstanceRow) -> shapes.ReplayFinding | None:
    entries: list[Entry] = []
    progress = Progress()
    try:
        while True:
            rows = await engine.journal.call(ReadRows(row.n, len(entries), ROWS))
            for stored in rows:
                entry = decode_entry(stored)
                entries.append(entry)
                evolve(progress, entry, stored.epoch)
            if len(rows) < ROWS:
                break
    except GreenroomError as error:
        return _finding(row, Difference("error", len(entries) + 1, error.message, [], [], None))
    await asyncio.sleep(0)  # a long history holds nobody else up for longer than itself
    definition = engine.directory.definition_of(row)
    found = recheck(definition, entries, progress)
    if found is None:
        return None
    return _finding(row, found)


def _finding(row: InstanceRow, found: Difference) -> shapes.ReplayFinding:
    return shapes.ReplayFinding(
        row.id,
        row.workflow,
        row.version,
        row.key,
        row.status,  # type: ignore[arg-type]
        found.level,
        found.at,
        found.why,
        found.journal,
        found.code,
        found.line,
    )


async def check_store(
    target: str | Path, workflows: list[object], q: str = "", limit: int | None = None
) -> shapes.Replayed:
    """The same for a store nobody has open: a file, a data directory, or a backup of one."""
    from greenroom.runtime.engine import Engine  # noqa: PLC0415  it imports this module

    async with Engine.open(target, workflows=workflows, passive=True, sync=False) as engine:
        engine.registry.take_back()  # what is loaded counts, whatever the store has registered
        return await check_replay(engine, q, limit)
