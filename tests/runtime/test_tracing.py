"""Traces: what is a span, whose trace it is part of, and that nothing is measured for nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from greenroom import emit, retrystep, step, wait, workflow
from greenroom.runtime import tracing
from greenroom.testing import TestEngine
from tests.runtime.web.conftest import QUICK

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SEEN: list[str] = []


def here() -> str:
    """The trace and span that are current."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}/{context.span_id:016x}"


@step
async def charge() -> str:
    SEEN.append(here())
    return "paid"


@step
def pack() -> str:
    """In a thread."""
    SEEN.append(here())
    return "packed"


@retrystep("Flaky", delay="1s", max_attempts=2)
async def flaky() -> None:
    raise ConnectionError("down")


@workflow(on="order.created")
async def order() -> None:
    await charge()
    await pack()  # type: ignore[misc]
    await emit("order.packed")
    await wait("order.sent")


@workflow(on="order.packed")
async def label() -> None:
    await charge()


Spans = Callable[[], list[Any]]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Spans that have ended. The provider is that of the test: a process has only one of its own."""
    SEEN.clear()
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield lambda: list(exporter.get_finished_spans())
    provider.shutdown()


@pytest.fixture
async def traced(exported: Spans) -> AsyncIterator[TestEngine]:
    async with TestEngine(order, label) as engine:
        yield engine


def named(spans: list[Any], name: str) -> list[Any]:
    return [span for span in spans if span.name == name]


def trace_of(span: Any) -> str:
    return f"{span.context.trace_id:032x}"


async def test_an_instance_is_part_of_the_trace_of_the_event_that_started_it(
    traced: TestEngine, exported: Spans
) -> None:
    """So is what its own events start; a step sees its span as the current one, in a thread too."""
    event = {"type": "order.created", "id": "e-1", "traceparent": PARENT, "tracestate": "a=b"}
    accepted = await traced.post(event)
    await traced.until_idle()
    await traced.crash()  # the trace is in the journal
    await traced.send(accepted.matched[0].instance, {"type": "order.sent"})
    await traced.until_idle()
    spans = exported()
    assert {trace_of(span) for span in spans} == {TRACE}
    assert {f"{span.parent.span_id:016x}" for span in spans} == {"b7ad6b7169203331"}
    steps = [*named(spans, "step charge"), *named(spans, "step pack")]
    assert sorted(SEEN) == sorted(f"{TRACE}/{span.context.span_id:016x}" for span in steps)
    assert len(SEEN) == 3
    turns = named(spans, "turn order")
    assert [span.attributes["greenroom.seq"] for span in turns] == sorted(
        span.attributes["greenroom.seq"] for span in turns
    )
    assert len(named(spans, "turn label")) >= 1
    packed = (await traced.events.list("type:order.packed")).items[0]
    assert packed.extra["traceparent"] == PARENT
    assert packed.extra["tracestate"] == "a=b"


async def test_an_instance_that_no_trace_started_is_one_under_its_own_id(
    traced: TestEngine, exported: Spans
) -> None:
    for n, given in enumerate((None, "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01")):
        event = {"type": "order.created", "id": f"e-{n}"}
        accepted = await traced.post({**event, **({"traceparent": given} if given else {})})
        await traced.until_idle()
        id = accepted.matched[0].instance
        mine = [span for span in exported() if span.attributes.get("greenroom.instance") == id]
        assert {trace_of(span) for span in mine} == {id.replace("-", "")}
        assert len({span.parent.span_id for span in mine}) == 1


async def test_a_failed_attempt_is_a_failed_span(exported: Spans) -> None:
    @workflow
    async def brittle() -> None:
        await flaky()

    async with TestEngine(brittle) as engine:
        handle = await engine.start("brittle")
        await engine.advance("1m")
        assert (await engine.get(handle.id)).status == "failed"
    spans = named(exported(), "step Flaky")
    assert [span.attributes["greenroom.attempt"] for span in spans] == [1, 2]
    assert {span.status.description for span in spans} == {"ConnectionError: down"}


async def test_a_request_is_a_span_named_by_its_route_and_its_events_are_part_of_it(
    traced: TestEngine, exported: Spans
) -> None:
    transport = httpx2.ASGITransport(traced.asgi(limits=QUICK), client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        key = (await traced.keys.create("k", ["publish", "read"])).key
        headers = {"Authorization": f"Bearer {key}", "traceparent": PARENT}
        await http.post("/v1/events", json={"type": "order.created"}, headers=headers)
        await http.post("/v1/events", json=[{"type": "other"}], headers=headers)
        await http.get("/v1/instances/nothing", headers=headers)
        await http.request("BREW", "/nothing/secret", headers=headers)
    await traced.until_idle()
    spans = [span for span in exported() if span.kind is trace.SpanKind.SERVER]
    assert [(span.name, span.attributes["http.response.status_code"]) for span in spans] == [
        ("POST /v1/events", 200), ("POST /v1/events", 200),
        ("GET /v1/instances/{instance}", 404), ("HTTP", 404),
    ]  # fmt: skip
    assert {f"{span.parent.span_id:016x}" for span in spans} == {"b7ad6b7169203331"}
    step = named(exported(), "step charge")[0]
    assert step.parent.span_id == spans[0].context.span_id
    assert trace_of(step) == TRACE
    assert "secret" not in str([span.attributes for span in spans])


async def test_a_trace_is_carried_where_nobody_measures(engine: Any) -> None:
    """An event that is sent again in another trace is still the same event."""
    engine.register(order, label)
    assert engine._engine.tracing is None
    transport = httpx2.ASGITransport(engine.asgi(limits=QUICK), client=("127.0.0.1", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        key = (await engine.keys.create("k", ["publish", "read"])).key
        replies = []
        for parent in (PARENT, PARENT.replace("b7", "c8"), "nonsense"):
            headers = {"Authorization": f"Bearer {key}", "traceparent": parent}
            event = {"type": "order.created", "id": "e-1"}
            replies.append((await http.post("/v1/events", json=event, headers=headers)).json())
    assert [reply["duplicate"] for reply in replies] == [False, True, True]
    await engine.until_idle()
    found = await engine.events.list("type:order.packed")
    assert found.items[0].extra["traceparent"] == PARENT


def test_an_sdk_that_nobody_set_up_measures_nothing() -> None:
    assert tracing.found("1") is None


def test_opentelemetry_is_imported_for_nobody_who_does_not_use_it() -> None:
    program = (
        "import asyncio, sys\n"
        "from greenroom import Engine\n"
        "async def main():\n"
        "    async with Engine.open(':memory:') as engine:\n"
        "        engine.asgi()\n"
        "        assert engine.tracing is None\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
