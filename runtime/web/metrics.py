"""Figures for Prometheus. Counts of the engine are read when they are asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.responses import Response
from starlette.types import Scope

from greenroom.runtime.shapes import STATUSES

if TYPE_CHECKING:
    from greenroom.runtime.web.app import Web

ROUTE: Final = "greenroom.route"
STATUS: Final = "greenroom.status"
"""Where the scope of a request says what it was for, and how it was answered."""
_BEGUN: Final = "greenroom.begun"


class Metrics:
    """`web.metrics`: one registry an application, so that several engines in one process do not
    meet in it."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "greenroom_http_requests", "HTTP requests answered", ("route", "status"),
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "greenroom_http_request_seconds", "Time until the response began", ("route",),
            registry=registry,
        )  # fmt: skip
        self._by_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        """The two figures of a route and status, so that they are looked for once."""
        self.feeds = Gauge("greenroom_http_feeds", "Open feeds", registry=registry)
        self.dropped = Counter(
            "greenroom_http_feeds_dropped", "Feeds whose reader was too slow", registry=registry
        )
        self._instances = Gauge(
            "greenroom_instances", "Instances by status", ("status",), registry=registry
        )
        self._asks = Gauge("greenroom_asks", "Open questions", registry=registry)
        self._timers = Gauge("greenroom_timers", "Timers not due yet", registry=registry)
        self._head = Gauge("greenroom_journal_head", "Entries in the journal", registry=registry)
        self._definitions = Gauge("greenroom_definitions", "Workflows", registry=registry)
        self._writable = Gauge(
            "greenroom_writable", "1 unless the disk is full or failed", registry=registry
        )

    def begun(self, scope: Scope) -> None:
        scope[_BEGUN] = time.perf_counter()

    def answered(self, scope: Scope, status: int) -> None:
        """A response begins. `route` is the pattern, never the path: a path is anything."""
        route = scope.get(ROUTE, "none")
        scope[STATUS] = status
        found = self._by_route.get((route, status))
        if found is None:
            found = self._requests.labels(route, status), self._seconds.labels(route)
            self._by_route[route, status] = found
        requests, seconds = found
        requests.inc()
        seconds.observe(time.perf_counter() - scope[_BEGUN])

    async def response(self, web: Web) -> Response:
        info: Any = await web.engine.info()
        for status in STATUSES:
            self._instances.labels(status).set(info.instances.get(status, 0))
        self._asks.set(info.asks)
        self._timers.set(info.timers)
        self._head.set(info.head)
        self._definitions.set(info.definitions)
        self._writable.set(info.durability != "read_only")
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
