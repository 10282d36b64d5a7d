"""Waits of a program that belong together.

    paid, packed = await wait_all(wait("order.paid", where), wait("order.packed", where))
    event = await wait_any("order.paid", ("order.cancelled", {"data.id": id}), timeout="2d")
    if await wait_absent("heartbeat", {"data.host": host}, within="5m"): ...

A wait is written as `wait(...)`, as `(type, where)` or as a type. In a synchronous program, where
`wait(...)` itself waits, only the last two make sense.
"""

from __future__ import annotations

import datetime
from typing import Any

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import CURRENT, Gather, Op, asked, wait
from greenroom.definitions.values import Json

Duration = str | float | datetime.timedelta
Awaited = Op | str | tuple[str, Json]


def wait_all(*waits: Awaited, within: Duration | None = None) -> Any:
    """Waits for an event for each; gives them in the order of the waits, or None when not all have
    come `within` a time from now. An event counts for one wait."""
    every = Gather(_ops(waits, "wait_all"))
    if within is None:
        return asked(every)
    return asked(Gather([_given(every), _timer(within, "within")], "race"))


def wait_any(*waits: Awaited, timeout: Duration | None = None) -> Any:
    """Waits for the first event of any; gives it, or None when `timeout` is over. The others are
    given up."""
    ops = _ops(waits, "wait_any")
    if timeout is not None:
        ops.append(_timer(timeout, "timeout"))
    return asked(Gather(ops, "race"))


def wait_absent(type: str, where: Json = None, *, within: Duration, since: Any = "now") -> Any:
    """True when for a time no such event has come; False as soon as one has."""
    found = wait(type, where, timeout=within, since=since)
    machine = CURRENT.get()
    if machine is not None and machine.fiber is not None:
        return found is None
    return _absent(found)


async def _given(several: Gather) -> Any:
    return await several


async def _absent(op: Op) -> bool:
    return await op is None


def _timer(length: Duration, what: str) -> Op:
    return Op("sleep", "sleep", due_s=seconds(length, what))


def _ops(waits: tuple[Awaited, ...], what: str) -> list[Any]:
    if not waits:
        raise InvalidInput(f"{what} needs at least one wait")
    return [_op(one, what) for one in waits]


def _op(one: Awaited, what: str) -> Op:
    if isinstance(one, Op):
        if one.kind == "wait":
            return one
    else:
        pair = (one, None) if isinstance(one, str) else one
        if isinstance(pair, tuple | list) and len(pair) == 2:
            type, where = pair
            if isinstance(type, str) and 0 < len(type) <= NAME_MAX:
                return Op("wait", type, where=compile_where(where))
    raise InvalidInput(f"{what} takes waits, event types and (type, where), got {one!r}")
