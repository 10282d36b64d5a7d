"""Hooks: addresses under `/hooks/` at which others tell us something.

Whoever has a use for requests of outsiders puts a handler here: `web.hooks.add("stripe", handler)`
answers `POST /hooks/stripe` (and below it: `/hooks/stripe/eu` gives the handler the rest of the
path). No API key is asked for; the handler itself checks a signature, over the raw bytes, before
it reads anything else of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from greenroom.definitions.errors import InvalidRequest, NotFound


class HookRequest(msgspec.Struct, frozen=True):
    """What came: header names in lower case, `body` as it was sent, `rest` the path below the
    handler's own."""

    method: str
    path: str
    rest: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


class HookResponse(msgspec.Struct, frozen=True):
    """What is answered; `body` is bytes, text or a JSON value."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}


HookHandler = Callable[[HookRequest], "HookResponse | Awaitable[HookResponse]"]


class Hooks:
    """`engine.hooks`: handlers by path. Errors of ours that a handler raises are answered as they
    are everywhere; anything else it raises is a 500 whose cause stands in the log alone."""

    def __init__(self) -> None:
        self._handlers: dict[str, tuple[HookHandler, tuple[str, ...]]] = {}
        self.finders: list[Callable[[str], tuple[HookHandler, tuple[str, ...]] | None]] = []
        """Asked, in order, for the handlers of paths that nobody has added."""

    def add(self, path: str, handler: HookHandler, methods: tuple[str, ...] = ("POST",)) -> None:
        """Raises `InvalidRequest` for a path that is taken."""
        path = path.strip("/")
        if path in self._handlers:
            raise InvalidRequest(f"there is a hook at /hooks/{path} already", path=path)
        self._handlers[path] = (handler, methods)

    def remove(self, path: str) -> None:
        """Idempotent."""
        self._handlers.pop(path.strip("/"), None)

    def paths(self) -> list[str]:
        return sorted(self._handlers)

    def find(self, path: str) -> tuple[str, HookHandler, tuple[str, ...]]:
        """The handler at the longest beginning of the path. Raises `NotFound`."""
        parts = path.strip("/").split("/")
        for size in range(len(parts), 0, -1):
            base = "/".join(parts[:size])
            if base in self._handlers:
                return base, *self._handlers[base]
        for finder in self.finders:
            found = finder("/".join(parts))
            if found is not None:
                return "/".join(parts), *found
        raise NotFound("there is no such hook")

    async def answer(self, handler: HookHandler, request: HookRequest) -> HookResponse:
        made = handler(request)
        return await made if inspect.isawaitable(made) else made
