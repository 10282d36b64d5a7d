"""Home: what needs somebody, first; then how much there is of what."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import Counts, CountsRow
from greenroom.runtime import shapes
from greenroom.runtime.shapes import STATUSES
from greenroom.runtime.web.pages.screen import called, render
from greenroom.runtime.web.routes import caller_of, web_of

SHOWN: Final = 8
"""Lines of each list; each has a link to all of it."""


async def home(request: Request) -> Response:
    engine = web_of(request).engine
    counts: CountsRow = await engine.journal.call(Counts())
    may_answer = caller_of(request).may("answer")
    asks = await engine.asks.list(limit=SHOWN) if may_answer else None
    failed = await engine.list("status:failed", limit=SHOWN)
    due = await engine.list("status:waiting due<5m", limit=SHOWN)
    overdue = [one for one in due.items if any(wait.due for wait in one.waits)]
    return await render(
        request, "home.html",
        asks=await with_names(engine, asks.items if asks else []), ask_count=counts.asks, failed=failed.items,
        failed_count=counts.instances.get("failed", 0), due=overdue,
        counts=[(word, counts.instances.get(word, 0)) for word in STATUSES],
        workflows=_table(counts.workflows), events=counts.events, entries=counts.entries,
    )  # fmt: skip


async def with_names(engine: Any, asks: list[shapes.Ask]) -> list[tuple[shapes.Ask, str]]:
    """Questions with how people say the instance that asks."""
    names: dict[str, str] = {}
    for ask in asks:
        if ask.instance not in names:
            names[ask.instance] = called(await engine._find(ask.instance))
    return [(ask, names[ask.instance]) for ask in asks]


def _table(found: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, int], int]]:
    rows: list[tuple[str, dict[str, int], int]] = []
    for name, by_status in sorted(found.items()):
        known: dict[str, Any] = {word: by_status.get(word, 0) for word in STATUSES}
        rows.append((name, known, sum(known.values())))
    return rows
