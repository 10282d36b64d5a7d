"""Health: whether the daemon, its store and what it waits for are well."""

from __future__ import annotations

import asyncio
import resource
import time

from starlette.requests import Request
from starlette.responses import Response

from greenroom.runtime.web.pages.screen import render
from greenroom.runtime.web.routes import caller_of, web_of


async def health(request: Request) -> Response:
    web = web_of(request)
    engine = web.engine
    info = await engine.info()
    begun = time.perf_counter()
    await asyncio.sleep(0)
    lag_ms = (time.perf_counter() - begun) * 1000
    findings = await engine.doctor() if caller_of(request).may("admin") else None
    facts = [
        ("state", f"{engine.state}, journal {engine.journal.state}"),
        ("version", f"{info.version} · Python {info.python} · SQLite {info.sqlite}"),
        ("data", info.data),
        ("durability", info.durability),
        ("epoch", f"{info.epoch:,}"),
        ("instances in memory", f"{len(engine.directory.active):,}"),
        ("steps that run", f"{engine.executor.busy:,}"),
        ("timers", f"{info.timers:,}"),
        ("open questions", f"{info.asks:,}"),
        ("journal", f"{info.head:,} turns"),
        ("memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB at most"),
        ("a turn of the loop", f"{lag_ms:.2f} ms"),
        ("open feeds", f"{sum(web.feeds.counts.values()):,}"),
    ]
    return await render(request, "health.html", facts=facts, findings=findings, info=info)
