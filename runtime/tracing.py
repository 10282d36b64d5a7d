"""Traces for OpenTelemetry (extra `otel`): a span for each request, turn and attempt.

Only the API is used. As long as nobody has set up an SDK nothing here is imported and nothing
measured: whoever runs the process decides (`opentelemetry-instrument greenroom serve ...`, or a
provider of your own before the engine is opened).

An instance is one trace, over restarts and machines: that of the event that started it
(`traceparent`, which an instance hands on with the events it emits), else one whose id is the
instance's own. So a span needs nothing that is not in the journal already.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from greenroom.actors.messages import Outcome
from greenroom.actors.rows import TRACE
from greenroom.runtime import masking

if TYPE_CHECKING:
    from greenroom.actors.instance import Instance
    from greenroom.actors.ports import Append, Appended
    from greenroom.runtime.executor import Call

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

_SILENT: Final = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
_W3C: Final = TraceContextTextMapPropagator()


def found(version: str) -> Tracing | None:
    """Traces, if somebody has set up where they go."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, _SILENT) else Tracing(provider, version)


class Tracing:
    """The spans of one engine."""

    def __init__(self, provider: trace.TracerProvider, version: str) -> None:
        self._tracer = provider.get_tracer("greenroom", version)

    # -- instances -------------------------------------------------------------------------------

    async def attempt(self, call: Call, run: Callable[[Call], Awaitable[None]]) -> None:
        """Runs an attempt of a step within a span of its own, which is current in its code."""
        kernel = call.kernel
        event = kernel.progress.event if kernel is not None else None
        attributes: dict[str, str | int] = {
            "greenroom.instance": call.instance, "greenroom.op": call.key,
            "greenroom.attempt": call.attempt,
        }  # fmt: skip
        span = self._tracer.start_span(
            f"step {call.target.name}", _parent(call.instance, event), attributes=attributes
        )
        done = call.done

        def noted(call: Call, outcome: Outcome) -> None:
            if outcome.error is not None:
                text = f"{outcome.error.type}: {outcome.error.message}"
                span.set_status(Status(StatusCode.ERROR, masking.secrets.hidden(text)))
            done(call, outcome)

        call.done = noted
        with _current(span):
            await run(call)

    def turn(self, instance: Instance, append: Append, result: Appended) -> None:
        """A turn that is durable; its span begins when it was decided."""
        if not append.rows:
            return
        p = instance.kernel.progress
        span = self._tracer.start_span(
            f"turn {p.workflow}",
            _parent(instance.id, p.event),
            start_time=append.rows[0].at * 1_000_000,
            attributes={
                "greenroom.instance": instance.id, "greenroom.workflow": p.workflow,
                "greenroom.seq": append.iseq, "greenroom.entries": len(append.rows),
            },
        )  # fmt: skip
        span.end()

    # -- requests --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        heads: Mapping[bytes, bytes],
        answered: Callable[[], tuple[str | None, int]],
    ) -> Iterator[None]:
        """The span of an HTTP request; `answered` gives its route and status once it is over. It is
        named after the route, never the path: a path is anything."""
        given = {name: heads.get(name.encode(), b"").decode("latin-1") for name in TRACE}
        method = method if method in METHODS else "HTTP"
        span = self._tracer.start_span(
            method, _W3C.extract(given), SpanKind.SERVER, {"http.request.method": method}
        )
        with _current(span):
            yield
            route, status = answered()
            if route is not None:
                path = route.removeprefix(f"{method} ")
                span.update_name(f"{method} {path}")
                span.set_attribute("http.route", path)
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))

    def carried(self) -> dict[str, str]:
        """What an event takes along so that what it starts is part of the current trace."""
        into: dict[str, str] = {}
        _W3C.inject(into)
        return into


@contextlib.contextmanager
def _current(span: trace.Span) -> Iterator[None]:
    token = attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        detach(token)
        span.end()


def _parent(instance: str, event: Any) -> Context:
    """The trace of an instance, as a parent for its spans."""
    if isinstance(event, dict) and isinstance(event.get("traceparent"), str):
        given = {name: str(event[name]) for name in ("traceparent", "tracestate") if name in event}
        context = _W3C.extract(given)
        if trace.get_current_span(context).get_span_context().is_valid:
            return context
    digest = hashlib.blake2b(instance.encode(), digest_size=8).digest()
    known = trace.SpanContext(
        UUID(instance).int, int.from_bytes(digest, "big"), is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )  # fmt: skip
    return trace.set_span_in_context(trace.NonRecordingSpan(known))
