"""Where answers come from: a daemon's socket, or a store opened in this process.

Both give the same JSON for the same method, so that no command knows which one it talks to.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import msgspec

from greenroom.definitions.errors import GreenroomError, NotFound, Unreachable
from greenroom.runtime import calls, places, shapes

Data = dict[str, Any]


class Backend(Protocol):
    """All that commands ask of a daemon or a store. Absent parameters are left out by callers."""

    def call(self, method: str, **params: Any) -> Any: ...

    def post(self, event: Data) -> Data: ...

    def post_many(self, events: Iterable[Data]) -> Iterator[Data]:
        """Answers in the order of the events; a refused one is `{"error": {...}}`."""
        ...

    def watch(self, **params: Any) -> Iterator[Data]: ...

    def tail(self, **params: Any) -> Iterator[Data]: ...

    def close(self) -> None: ...


def plain(value: Any) -> Any:
    """Structs to JSON values; what already is JSON stays."""
    return msgspec.to_builtins(value)


def connect(server: str | None, data: str | None) -> Backend:
    """The daemon there, else the store in the directory if that one was named.

    A directory nobody named is not opened: who forgot to start a daemon is told so. Raises
    `Unreachable` or `NotPermitted`, and `NotFound` for a named directory without a store.
    """
    try:
        return Remote(server, data)
    except Unreachable:
        named = data or (
            not os.environ.get("GREENROOM_SERVER") and os.environ.get("GREENROOM_DATA")
        )
        if server or not named:
            raise
    return Local(places.data_directory(data))


class Remote:
    """A daemon."""

    def __init__(self, server: str | None, data: str | None) -> None:
        from greenroom.runtime.client import SyncClient  # noqa: PLC0415  start-up time

        self._stack = ExitStack()
        self._client = self._stack.enter_context(SyncClient(server, data=data))

    def call(self, method: str, **params: Any) -> Any:
        return self._client.ask(method, params)

    def post(self, event: Data) -> Data:
        reply: Data = plain(self._client.post(event))
        return reply

    def post_many(self, events: Iterable[Data]) -> Iterator[Data]:
        for reply in self._client.post_many(events):
            if isinstance(reply, GreenroomError):
                yield {"error": reply.as_data()}
            else:
                yield plain(reply)

    def watch(self, **params: Any) -> Iterator[Data]:
        return map(plain, self._client.watch(**params))

    def tail(self, **params: Any) -> Iterator[Data]:
        return map(plain, self._client.tail(**params))

    def close(self) -> None:
        self._stack.close()


class Local:
    """A store, opened here. Nothing of its workflows' code is loaded."""

    def __init__(self, data: Path) -> None:
        if not (data / "greenroom.db").exists():
            raise NotFound(
                f"no daemon answers for {data} and there is no store in it",
                hint=f"start one:  greenroom serve --data {data} app.py",
                path=str(data),
            )
        from greenroom.runtime.engine import Engine  # noqa: PLC0415  start-up time

        self._data = data
        self._stack = ExitStack()
        self._engine: Any = self._stack.enter_context(Engine.sync(data, passive=True))

    def call(self, method: str, **params: Any) -> Any:
        if method == "ping":
            raise Unreachable(
                f"no daemon serves {self._data}",
                hint=f"start one:  greenroom serve --data {self._data} app.py",
            )
        return call_engine(self._engine, method, params)

    def post(self, event: Data) -> Data:
        reply: Data = self.call("post", event=event)
        return reply

    def post_many(self, events: Iterable[Data]) -> Iterator[Data]:
        for event in events:
            try:
                yield self.post(event)
            except GreenroomError as error:
                yield {"error": error.as_data()}

    def watch(self, **params: Any) -> Iterator[Data]:
        return map(plain, _open(self._engine, "watch", params))

    def tail(self, **params: Any) -> Iterator[Data]:
        return map(plain, _open(self._engine, "tail", params))

    def close(self) -> None:
        self._stack.close()


def call_engine(engine: Any, method: str, params: Data) -> Any:
    """A method of the socket on a blocking engine, by the same table as the daemon's."""
    if method == "ping":
        return {"pong": True}
    reply = _open(engine, method, params)
    if method == "start":
        reply = shapes.Started(reply.id, reply.key, reply.status, reply.created)
    return plain(reply)


def _open(engine: Any, method: str, params: Data) -> Any:
    call = calls.CALLS.get(method) or calls.STREAMS.get(method)
    if call is None:
        raise calls.unknown(method)
    return call.open(engine, calls.read(method, call.params, params), whoami())


def whoami() -> str:
    """Who acts, as the socket's peer credentials would say it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return f"uid:{os.getuid()}"
    return f"uid:{os.getuid()}/{name}"
