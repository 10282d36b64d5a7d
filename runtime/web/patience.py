"""Waiting with a limit, for what most often need not be waited for."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


async def within(work: Awaitable[T], until: float) -> T:
    """What `work` gives, by `until` (the loop's time) at the latest, else `TimeoutError`. Work that
    ends without waiting costs no timer: the body of most requests has come with their head."""
    if not isinstance(work, Coroutine):
        async with asyncio.timeout_at(until):
            return await work
    try:
        asked = work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    async with asyncio.timeout_at(until):
        return await _rest(work, asked)


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], asked: Any) -> Generator[Any, Any, T]:
    """Goes on with a coroutine that has asked for something already."""
    while True:
        step: Callable[[], Any]
        try:
            step = functools.partial(work.send, (yield asked))
        except BaseException as error:
            step = functools.partial(work.throw, error)
        try:
            asked = step()
        except StopIteration as end:
            value: T = end.value
            return value
