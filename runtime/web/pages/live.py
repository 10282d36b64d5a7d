"""One feed for all tabs of a browser: which instances something happened to.

`GET /live` sends no content, only names: pages fetch their parts again by themselves, at most once
a moment. However much happens, a message comes at most every `PAUSE_S` and names at most `NAMED`
instances; with more it says `more`, and everybody looks again. The id is the journal's head: who
comes back with an older one is told `more` at once, so nothing is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import Counts
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.feed import FeedResponse
from greenroom.runtime.web.routes import caller_of, web_of

PAUSE_S: Final = 0.25
NAMED: Final = 100


async def live(request: Request) -> Response:
    web = web_of(request)
    last = request.headers.get("last-event-id", "")
    return FeedResponse(web, caller_of(request).by or "", _changes(web, last))


async def _changes(web: Web, last: str) -> AsyncGenerator[bytes, None]:
    engine = web.engine
    ids: dict[str, None] = {}
    events = False
    poked = asyncio.Event()

    def stored(instance: Any, append: Any, result: Any) -> None:
        if len(ids) <= NAMED:
            ids[instance.id] = None
        poked.set()

    def accepted() -> None:
        nonlocal events
        events = True
        poked.set()

    engine.directory.watchers.append(stored)
    engine._event_watchers.append(accepted)
    engine.at_end[poked.set] = None
    try:
        head = (await engine.journal.call(Counts())).head
        yield _frame(head, {"more": bool(last) and last != str(head)})
        while True:
            await poked.wait()
            await asyncio.sleep(PAUSE_S)
            poked.clear()
            if engine.state != "open":
                raise engine.gone()
            told: dict[str, Any] = {"instances": list(ids)[:NAMED], "events": events}
            told["more"] = len(ids) > NAMED
            ids.clear()
            events = False
            yield _frame((await engine.journal.call(Counts())).head, told)
    finally:
        engine.directory.watchers.remove(stored)
        engine._event_watchers.remove(accepted)
        engine.at_end.pop(poked.set, None)


def _frame(head: int, told: dict[str, Any]) -> bytes:
    return f"id: {head}\nevent: change\ndata: ".encode() + msgspec.json.encode(told) + b"\n\n"
