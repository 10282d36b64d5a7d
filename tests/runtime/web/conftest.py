"""An engine in memory behind its HTTP face, without a socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from greenroom import approval, begin, callback_step, done, step, wait, workflow
from greenroom.runtime.server import Server
from greenroom.runtime.socketfile import bind
from greenroom.runtime.web.limits import HttpLimits

HOST = "http://127.0.0.1:8420"
QUICK = HttpLimits(failed_s=0.0, caller_rate=1e6, nobody_rate=1e6, failed_rate=1e6)
"""The limits of the face, but for those that would slow tests down."""


@step
async def charge(amount: int = 0) -> dict[str, Any]:
    return {"charged": amount}


@workflow(on="order.created", key="::data.id")
async def order(id: str, amount: int = 0) -> str:
    await wait("order.paid", where={"data.id": id})
    await charge(amount)
    return id


@workflow(key="::data.id")
async def leave(id: str) -> str:
    said = await approval("May they go?", assignee="boss")
    return f"{said}"


TOKENS: list[str] = []


@step
def book(callback_token: str) -> dict[str, Any]:
    TOKENS.append(callback_token)
    return {}


@step
def booked(callback_result: dict[str, Any]) -> dict[str, Any]:
    return callback_result


@workflow(key="::data.id")
def shipment() -> Any:
    return begin >> callback_step("Ship", book, booked, timeout="1h") >> done


class Face:
    """`face.get(path)` and so on, as `face.key` (None: nobody)."""

    def __init__(self, engine: Any, web: Any, http: httpx2.AsyncClient) -> None:
        self.engine = engine
        self.web = web
        self.http = http
        self.key: str | None = None

    async def make_key(self, *scopes: str, **options: Any) -> str:
        made = await self.engine.keys.create(f"k{len(scopes)}", list(scopes), **options)
        return str(made.key)

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, value: Any = None, **options: Any) -> httpx2.Response:
        if value is not None:
            options["json"] = value
        return await self.ask("POST", path, **options)


MakeFace = Callable[..., Face]


@pytest.fixture
async def make_face(engine: Any) -> AsyncIterator[MakeFace]:
    """Makes the face with rules of the test's own."""
    TOKENS.clear()
    engine.register(order, leave, shipment)
    made: list[Face] = []

    def make(base_url: str = HOST, **rules: Any) -> Face:
        web = engine.asgi(**{"limits": QUICK, **rules})
        transport = httpx2.ASGITransport(web, client=("127.0.0.1", 4711))
        face = Face(engine, web, httpx2.AsyncClient(transport=transport, base_url=base_url))
        made.append(face)
        return face

    yield make
    for face in made:
        await face.http.aclose()


@pytest.fixture
async def face(make_face: MakeFace) -> Face:
    """The face, with a key that may do everything."""
    made = make_face()
    made.key = await made.make_key("admin")
    return made


async def by_socket(engine: Any, line: str) -> Any:
    """Sends a line to a real server of the engine and gives its reply."""
    with tempfile.TemporaryDirectory(prefix="gr") as folder:
        file = bind(Path(folder) / "s")
        server = Server(engine)
        await server.listen(file.socket)
        try:
            reader, writer = await asyncio.open_unix_connection(str(file.path))
            writer.write(line.encode() + b"\n")
            writer.write_eof()
            reply = await reader.read()
            writer.close()
        finally:
            await server.close()
            file.release()
    return json.loads(reply)
