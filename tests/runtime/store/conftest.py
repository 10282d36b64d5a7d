"""Makers of works, and the two stores to run them on."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.actors import ports
from greenroom.definitions.events import Event
from greenroom.definitions.matching import compile_where
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.sqlite import SqliteStore

AT = 1_700_000_000_000


class Make:
    """Short ways to the structs of ports; every default is the dullest."""

    def row(self, kind: str = "OpCompleted", at: int = AT, payload: bytes = b"{}") -> ports.Row:
        return ports.Row(kind, at, payload, zlib.crc32(payload))

    def wait(
        self, op: str, type: str = "paid", where: Any = None, since: int | None = None,
        *, many: bool = False, since_at: int | None = None,
    ) -> ports.WaitRow:  # fmt: skip
        compiled = compile_where(where)
        raw = msgspec.json.encode(where)
        first, *more = compiled.hashes
        return ports.WaitRow(
            op,
            type,
            compiled.paths,
            first,
            raw,
            since,
            many=many,
            more=tuple(more),
            since_at=since_at,
        )

    def id(self, n: int) -> str:
        return f"01930000-0000-7000-8000-{n:012d}"

    def create(
        self, n: int, *, request: ports.Request | None = None, **fields: Any
    ) -> ports.Create:
        turn = {key: fields.pop(key) for key in TURN & fields.keys()}
        at = fields.pop("at", AT)
        given = {
            "id": self.id(n), "namespace": "", "workflow": "order", "version": 1, "kind": "steps",
            "key": None, "status": "running", "created": at, "updated": at, **fields,
        }  # fmt: skip
        first = ports.Append(n=n, iseq=1, rows=[self.row("Started", at)], **turn)
        return ports.Create(row=ports.InstanceRow(n=n, **given), first=first, request=request)

    def append(
        self, n: int, iseq: int, rows: int = 1, *, at: int = AT, **turn: Any
    ) -> ports.Append:
        return ports.Append(n=n, iseq=iseq, rows=[self.row(at=at)] * rows, **turn)

    def change(self, status: str, *, busy: bool = False, **more: Any) -> ports.StatusChange:
        given: dict[str, Any] = {
            "outcome": None, "waits": b"[]", "steps": "", "error": None, "error_code": None, **more,
        }  # fmt: skip
        return ports.StatusChange(status=status, busy=busy, **given)

    def end(self, n: int, iseq: int, **turn: Any) -> ports.Append:
        change = self.change("completed", outcome="completed")
        return self.append(n, iseq, change=change, ended=True, **turn)

    def event(
        self, id: str, type: str = "paid", data: Any = None, *, scope: str = "", hash: int = 1,
        checked: bool = True, accepted: int = AT, source: str = "/shop",
    ) -> ports.EventRow:  # fmt: skip
        event = Event(type=type, id=id, source=source, data=data)
        return ports.EventRow(scope, event, accepted, None, hash, 0, checked)

    def post(self, id: str, type: str = "paid", data: Any = None, **more: Any) -> ports.Post:
        work = {key: more.pop(key) for key in ("starts", "to", "tick", "later") if key in more}
        return ports.Post(row=self.event(id, type, data, **more), **work)

    def send(self, id: str, to: str, **more: Any) -> ports.Post:
        return self.post(id, to=to, scope=f"to:{to}", **more)


TURN = {
    "change", "opened", "closed", "timers", "untimed", "asks", "answered", "taken", "tell",
    "emits", "creates", "ended", "generation_start",
}  # fmt: skip


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


Reopen = Callable[[], Any]


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "c.db")
    made.open()
    yield made
    made.close(clean=False)


@pytest.fixture
def dice() -> Callable[[int], random.Random]:
    return random.Random
