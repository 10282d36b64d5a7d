"""The one event loop greenroom runs on: asyncio's, or one that stands in for it (uvloop)."""

from __future__ import annotations

import asyncio

from greenroom.definitions.errors import InvalidRequest


def running(what: str, blocking: str) -> asyncio.AbstractEventLoop:
    """The loop of whoever opens `what`. Raises `InvalidRequest` where there is none, as under trio:
    there `blocking` does it, in a thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise InvalidRequest(
            f"{what} runs on asyncio, and no event loop of asyncio runs here",
            hint=f"start it by asyncio.run() or anyio.run() on the backend asyncio; elsewhere, as "
            f"under trio, in a thread:  with {blocking}(...)",
        ) from None
