"""The log of a project: what stages did and printed, over all runs, newest first.

Lines are read from the journal, run by run, the runs that changed last first: none that comes later
has a newer line. So a page costs what it shows; a search for what is rare reads many runs, and
stops somewhere.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.entries import (
    Answered,
    AttemptFailed,
    OpCompleted,
    OpFailed,
    OpSkipped,
    decode_entry,
)
from greenroom.actors.ports import InstanceRow, Listed, ListInstances, ReadRows, StoredRow
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import InvalidRequest
from greenroom.definitions.stageworkflows import KIND
from greenroom.definitions.values import Json
from greenroom.runtime.terms import Term

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

PAGE: Final = 200
LINES_MAX: Final = 1_000
LOOK_MAX: Final = 20_000
"""Runs that one search looks at."""
Place = tuple[int, int]
"""When a line was written (ms), and its place in the journal: what orders lines of one moment."""
_END: Final = 1 << 62
_WORKING: Final = ("running", "pending")


class Wanted:
    """Which lines: `after` and `before` are places of lines or times, None for no bound; `text` is
    looked for in the output, the error and the title."""

    def __init__(
        self, stage: str | None, text: str | None, after: str | None, before: str | None
    ) -> None:
        self.stage = stage
        self.text = None if text is None else text.lower()
        self.after = None if after is None else _place(after, "after", _END)
        self.before = None if before is None else _place(before, "before", 0)

    def takes(self, line: dict[str, Json], at: Place) -> bool:
        return (
            (self.stage is None or line["stage"] == self.stage)
            and (self.after is None or at > self.after)
            and (self.before is None or at < self.before)
            and (self.text is None or self.text in _words(line))
        )


class StageLogs:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(
        self, workflow: str | None, run: InstanceRow | None, wanted: Wanted, limit: int,
        test: bool | None,
    ) -> dict[str, Json]:  # fmt: skip
        limit = max(1, min(limit, LINES_MAX))
        lines: builtins.list[dict[str, Json]] = []
        looked, partial = 0, False
        async for rows, oldest in self._runs(workflow, run, wanted):
            lines += await self._lines(rows, wanted, test)
            lines.sort(key=_newest, reverse=True)
            looked += len(rows)
            if len(lines) > limit and oldest is not None and lines[limit]["at"] > oldest:
                break
            if looked >= LOOK_MAX:
                partial = True
                break
        items = lines[:limit]
        more = len(lines) > limit
        return {"items": items, "before": items[-1]["place"] if more else None, "partial": partial}

    async def _runs(
        self, workflow: str | None, run: InstanceRow | None, wanted: Wanted
    ) -> AsyncIterator[tuple[Sequence[InstanceRow], str | None]]:
        """Runs that may have such lines, some at a time, and the time since which none that comes
        after them has any; None while that cannot be said."""
        if run is not None:
            yield [run], None
            return
        now = self._engine.clock.now()
        terms: builtins.list[Term] = [("kind", ":", KIND, False)]
        if workflow is not None:
            terms.append(("workflow", ":", workflow, False))
        if wanted.before is not None:
            terms.append(("age", ">=", now - wanted.before[0], False))
        for status in _WORKING:  # their rows are written when they are done with it
            async for rows in self._listed([*terms, ("status", ":", status, False)], now):
                yield rows, None
        terms += [("status", ":", status, True) for status in _WORKING]
        if wanted.after is not None:
            terms.append(("updated", ">=", wanted.after[0], False))
        async for rows in self._listed(terms, now):
            yield rows, rfc3339(rows[-1].updated) if rows else None

    async def _listed(
        self, terms: Sequence[Term], now: int
    ) -> AsyncIterator[Sequence[InstanceRow]]:
        cursor: tuple[int, int] | None = None
        while True:
            page: Listed = await self._engine.journal.call(
                ListInstances(terms, PAGE, cursor, now, total=False)
            )
            yield page.rows
            cursor = page.cursor
            if cursor is None:
                return

    async def _lines(
        self, rows: Sequence[InstanceRow], wanted: Wanted, test: bool | None
    ) -> builtins.list[dict[str, Json]]:
        some = [row for row in rows if test is None or row.test is test]
        if not some:
            return []
        histories = await asyncio.gather(*(self._history(row.n) for row in some))
        return [
            line
            for row, history in zip(some, histories, strict=True)
            for stored in history
            for entry in [decode_entry(stored)]
            for said in _ended(entry)
            if wanted.takes(line := _line(row, stored, entry, said), (entry.at, stored.seq))
        ]

    async def _history(self, n: int) -> builtins.list[StoredRow]:
        """All rows of a run, also those before its last snapshot."""
        found: builtins.list[StoredRow] = []
        while True:
            some = await self._engine.journal.call(ReadRows(n, len(found), PAGE))
            found += some
            if len(some) < PAGE:
                return found


def _place(text: str, name: str, within: int) -> Place:
    """A place, or the one `within` a millisecond where only a time is given."""
    time, slash, pos = text.partition("/")
    try:
        ms = round(datetime.fromisoformat(time).timestamp() * 1000)
        return ms, int(pos) if slash else within
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} is the place or time of a line, got {text!r}"[:200]) from None


def _newest(line: dict[str, Json]) -> tuple[str, int]:
    at, _, pos = line["place"].partition("/")
    return at, int(pos)


def _words(line: dict[str, Json]) -> str:
    return f"{line['output'] or ''}\n{line['error'] or ''}\n{line['title'] or ''}".lower()


def _ended(entry: Any) -> builtins.list[tuple[str, str, Any]]:
    """What ended with an entry: (op, how, value or failure), of stages alone."""
    match entry:
        case OpCompleted():
            return [(entry.key, "finished", entry.value)] if _is_stage(entry.key) else []
        case Answered():
            return [(entry.key, "answered", entry.value)] if _is_stage(entry.key) else []
        case OpFailed() | AttemptFailed():
            return [(entry.key, "failed", entry.error)] if _is_stage(entry.key) else []
        case OpSkipped():
            return [(entry.key, "skipped", entry.value)] if _is_stage(entry.key) else []
    return []


def _is_stage(key: str) -> bool:
    return "#" in key and "." not in key.rpartition("#")[2]


def _line(
    row: InstanceRow, stored: StoredRow, entry: Any, said: tuple[str, str, Any]
) -> dict[str, Json]:
    op, ended, value = said
    output = value.get("output") if isinstance(value, dict) else None
    error = None
    if ended == "failed":
        error = f"{value.type}: {value.message}"
        output = value.details.get("output")
    at = rfc3339(entry.at)
    return {
        "at": at, "place": f"{at}/{stored.seq}", "instance": row.id, "workflow": row.workflow,
        "version": row.version, "stage": op.rpartition("#")[0], "op": op,
        "attempt": getattr(entry, "attempt", 1), "ended": ended,
        "title": value.get("title") if isinstance(value, dict) else None,
        "error": error, "output": output, "test": row.test, "by": getattr(entry, "by", None),
    }  # fmt: skip
