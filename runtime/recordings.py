"""Recorded instances on another version: the gate of a promotion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from greenroom.actors.entries import Entry, decode_entry
from greenroom.actors.ports import InstanceRow, ListInstances, ReadRows
from greenroom.actors.replay import Changed
from greenroom.actors.retrace import Retraced, retrace
from greenroom.definitions.errors import (
    ConditionFailed,
    GreenroomError,
    InvalidRequest,
    NotFound,
)
from greenroom.definitions.workflow import Definition
from greenroom.runtime import shapes
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.terms import terms_of

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

LIMIT: Final = 200
LIMIT_MAX: Final = 10_000
ENTRIES_MAX: Final = 50_000
"""Entries of one instance that are read; a longer recording is left out."""
LISTED: Final = 100
PAGE: Final = 1_000


async def check(engine: Engine, name: str, version: int | None, limit: int) -> shapes.Checked:
    """How the newest instances of a workflow would fare on a version: the newest, if none is named."""
    rows = engine.registry.rows(name)
    if not rows:
        await engine.definitions.get(name)  # says that there is none
    number = rows[-1].version if version is None else version
    definition = engine.registry.version(name, number)
    if definition is None or number not in {row.version for row in rows}:
        raise NotFound(f"{name} has no version {number} that can be run", workflow=name)
    counts = {"same": 0, "other": 0, "fails": 0}
    found: list[shapes.Strayed] = []
    async for row, entries in _recordings(engine, f"workflow:{name}", limit):
        verdict = _followed(definition, entries)
        counts[verdict.verdict] += 1
        if verdict.verdict != "same" and len(found) < LISTED:
            found.append(_strayed(row, verdict))
    return shapes.Checked(
        name, number, sum(counts.values()), counts["same"], counts["other"], counts["fails"], found
    )


def refuse(found: shapes.Checked, allow: float) -> None:
    """Raises `ConditionFailed` when more than a share of the instances would not end the same."""
    if isinstance(allow, bool) or not isinstance(allow, int | float) or not 0 <= allow <= 1:
        raise InvalidRequest(f"allow is a share from 0 to 1, got {allow!r}")
    strayed = found.other + found.fails
    if found.checked and strayed / found.checked > allow:
        first = found.strayed[0]
        raise ConditionFailed(
            f"{found.name} v{found.version}: {strayed} of {found.checked} recorded instances would not end "
            f"as they did; {first.instance} {first.text}",
            hint="look at them, then promote without the check, or allow a share of them",
            checked=found.checked,
            same=found.same,
            other=found.other,
            fails=found.fails,
        )


async def _recordings(
    engine: Engine, q: str, limit: int
) -> AsyncIterator[tuple[InstanceRow, list[Entry]]]:
    """The newest instances that a filter finds, with their entries; the loop turns in between."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
        raise InvalidRequest(f"limit must be 1 to {LIMIT_MAX:,}, got {limit!r}")
    now = engine.clock.now()
    terms = terms_of(parse_filter(q), now)
    place = None
    left = limit
    while left:
        page = await engine.journal.call(ListInstances(terms, min(left, 50), place, now, False))
        for row in page.rows:
            entries = await _entries(engine, row)
            if entries:
                yield row, entries
            await asyncio.sleep(0)
        left -= len(page.rows)
        place = page.cursor
        if place is None:
            return


async def _entries(engine: Engine, row: InstanceRow) -> list[Entry]:
    found: list[Entry] = []
    after = 0
    try:
        while len(found) < ENTRIES_MAX:
            rows = await engine.journal.call(ReadRows(row.n, after, PAGE))
            if not rows:
                return found
            found += [decode_entry(stored) for stored in rows]
            after = rows[-1].iseq
    except GreenroomError as error:
        engine.log.warning("a recording cannot be read", instance=row.id, error=str(error))
    return []


def _followed(definition: Definition, entries: list[Entry]) -> Retraced:
    try:
        return retrace(definition, entries)
    except Changed as changed:  # a program whose code is another one
        journal, code = "; ".join(changed.journal), "; ".join(changed.code)
        return Retraced("other", None, f"{changed.why}: {journal} / {code}", changed.at)
    except Exception as error:  # of an author's code, or an old recording
        return Retraced("fails", None, f"cannot be followed: {type(error).__name__}: {error}")


def _strayed(row: InstanceRow, verdict: Retraced) -> shapes.Strayed:
    return shapes.Strayed(
        row.id, row.workflow, row.version, row.key, verdict.verdict, verdict.op, verdict.text,
        verdict.iseq,
    )  # fmt: skip
