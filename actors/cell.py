"""The room a program's turn runs in: no event loop in sight, a context of its own.

Without it `asyncio.wait_for` inside `handle()` delivers its cancellation to the engine's own task,
`create_task` starts work nobody replays, and the decimal precision set by one instance changes
all others. Costs about a microsecond a turn.
"""

from __future__ import annotations

import asyncio.events
import sys
from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

T = TypeVar("T")


def run_in_cell(context: Context, func: Callable[[], T]) -> T:
    loop = asyncio.events._get_running_loop()
    hooks = sys.get_asyncgen_hooks()
    asyncio.events._set_running_loop(None)
    sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
    try:
        return context.run(func)
    finally:
        sys.set_asyncgen_hooks(*hooks)
        asyncio.events._set_running_loop(loop)
