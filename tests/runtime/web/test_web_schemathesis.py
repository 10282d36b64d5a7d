"""H30: whatever is sent to what the OpenAPI document describes, nothing is a fault of ours.

Schemathesis makes the requests from the document, half of them right and half of them wrong; half
of those that name an instance, event or question name one there is. `GREENROOM_SCHEMATHESIS=10000`
makes as many calls; without it about a thousand.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from greenroom.runtime.web import table
from greenroom.runtime.web.openapi import document
from tests.runtime.web.conftest import HOST, MakeFace

CALLS = int(os.environ.get("GREENROOM_SCHEMATHESIS", "1000"))

NOT_CALLED = {"backup"}
"""It writes a file wherever it is told to; that is what its scope is for."""

THERE = {
    "instance": "order%2F7",
    "id": "e-1",
    "ask": "leave%2F7",
    "name": "order",
    "workflow": "order",
}


def requests_of(operation: Any, count: int, mode: GenerationMode) -> list[dict[str, Any]]:
    """Requests schemathesis makes for one operation, as keywords for a client."""
    made: list[dict[str, Any]] = []

    @settings(
        max_examples=count, database=None, derandomize=True, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def make(case: Any) -> None:
        made.append(case.as_transport_kwargs(base_url=HOST))

    with suppress(Unsatisfiable):  # an operation that takes nothing cannot be asked wrongly
        make()
    return made


async def call(http: httpx2.AsyncClient, web: Any, row: table.Route, asked: dict[str, Any]) -> Any:
    headers = {
        k: v for k, v in asked["headers"].items() if k.lower() not in ("authorization", "cookie")
    }
    request = http.build_request(
        asked["method"], asked["url"], params=asked.get("params"), headers=headers,
        content=_content(asked.get("data")), json=asked.get("json"),
    )  # fmt: skip
    if row.kind == "feed":
        return await first_of(web, request)
    return await http.send(request)


def _content(data: Any) -> bytes | str | None:
    return data if data is None or isinstance(data, bytes | str) else str(data)


async def first_of(web: Any, request: httpx2.Request) -> Any:
    """The beginning of a feed, which has no end."""
    status = asyncio.get_running_loop().create_future()
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.shield(status)  # who stops listening does not take the answer away
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and not status.done():
            status.set_result(message["status"])

    scope = {
        "type": "http", "method": "GET", "path": request.url.path, "root_path": "", "scheme": "http",
        "raw_path": request.url.raw_path.partition(b"?")[0], "query_string": request.url.query,
        "headers": [(k.lower(), v) for k, v in request.headers.raw], "state": {}, "http_version": "1.1",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8420),
    }  # fmt: skip
    await web(scope, receive, send)
    return httpx2.Response(await status, request=request)


@pytest.mark.slow
@pytest.mark.timeout(max(300, CALLS // 5))
async def test_H30_no_request_the_document_allows_or_forbids_is_a_fault_of_ours(
    make_face: MakeFace,
) -> None:
    face = make_face(open=True)
    await face.engine.start("order", {"id": "7"})
    await face.engine.start("leave", {"id": "7"})
    await face.engine.start("order", {"id": "0"})
    await face.engine.post({"type": "order.paid", "data": {"id": "0"}})
    await face.engine.post({"type": "order.created", "id": "e-1", "data": {"id": "8"}})
    rows = {(row.method, row.path): row for row in table.ROUTES}
    schema = schemathesis.openapi.from_dict(document())
    operations = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    count = -(-CALLS // (2 * len(operations) - 14))
    called = 0
    faults: list[str] = []
    statuses: dict[int, int] = {}
    for operation in operations:
        row = rows.get((operation.method.upper(), operation.path), table.ROWS[0])
        if row.call in NOT_CALLED:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for number, asked in enumerate(requests_of(operation, count, mode)):
                if number % 2:
                    path = HOST + operation.path
                    if row.call == "result":  # it waits for the end of one that has none yet
                        path = path.replace("{instance}", "order%2F0")
                    for name in row.names:
                        path = path.replace(f"{{{name}}}", THERE.get(name, "order"))
                    asked = {**asked, "url": path if "{" not in path else asked["url"]}
                try:
                    answer = await call(face.http, face.web, row, asked)
                except (httpx2.InvalidURL, UnicodeEncodeError, httpx2.LocalProtocolError):
                    continue  # no client can send it
                called += 1
                statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                if answer.status_code >= 500:
                    faults.append(f"{asked['method']} {asked['url']} {asked} {answer.text}")
    assert not faults, "\n".join(faults[:20])
    assert called >= CALLS, statuses
    assert statuses[200] >= 0.1 * called, statuses
    info = await face.engine.info()
    assert info.instances["failed"] == 0
