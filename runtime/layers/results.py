"""Results: how an instance ended, for those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from greenroom.actors.instance import Instance
from greenroom.actors.ports import Append
from greenroom.actors.rows import failure_data
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import (
    InstanceCancelled,
    InstanceFailed,
    Timeout,
)
from greenroom.definitions.values import Json
from greenroom.runtime import shapes, views
from greenroom.runtime.layers.looking import result_shape
from greenroom.runtime.layers.verbs import Verbs

_SETTLED: Final = frozenset({"completed", "cancelled", "failed"})


class Results(Verbs):
    """How instances end."""

    async def result(self, instance: str, *, timeout: str | float | None = None) -> Json:
        """Waits for the end and gives the result; see `InstanceHandle.result`."""
        found = await self.outcome(instance, timeout=timeout)
        if found.status == "completed":
            return found.result
        if found.status == "cancelled":
            why = (
                f": {found.error.message}" if found.error else ""
            )  # what it had done is taken back
            raise InstanceCancelled(
                f"{found.instance} was cancelled{why}",
                hint=f"greenroom why {found.instance}",
                instance=found.instance,
            )
        error = found.error
        raise InstanceFailed(
            f"{found.instance} failed: {error.message if error else 'unknown'}",
            hint=f"greenroom why {found.instance}",
            instance=found.instance,
            error=msgspec.to_builtins(error),
        )

    async def outcome(self, instance: str, *, timeout: str | float | None = None) -> shapes.Outcome:
        """Waits until the instance has completed, failed or was cancelled."""
        limit_s = None if timeout is None else seconds(timeout, "timeout")
        held = self._held(instance)
        id = held.id if held is not None else (await self._find(instance)).id
        settled = asyncio.Event()
        ended: Instance | None = None

        def changed(stored: Instance, append: Append) -> None:
            nonlocal ended
            change = append.change
            if change is not None and (change.status in _SETTLED or change.error_code):
                ended = stored if stored.kernel.progress.ended else None
                settled.set()

        waiters = self.directory.waiters.setdefault(id, [])
        waiters.append(changed)
        try:
            with self._deadline(limit_s, id, settled) as check:
                while True:
                    settled.clear()
                    found = await self._outcome_now(id, ended)
                    if found is not None:
                        return found
                    check()
                    await settled.wait()
        finally:
            waiters.remove(changed)
            if not waiters:
                self.directory.waiters.pop(id, None)

    async def _outcome_now(self, id: str, ended: Instance | None) -> shapes.Outcome | None:
        """How the instance ended or failed; None while it may go on by itself. One that has just
        `ended` may have left memory, and is not read back."""
        held = ended or self._held(id)
        if held is not None:
            p = held.kernel.progress
            if p.end is None:
                return None
            error = None if p.undone is None else views.problem(failure_data(p.undone))
            return shapes.Outcome(id, p.end, p.outcome, result_shape(p), error)
        row = await self._find(id)
        if row.status not in _SETTLED and row.error_code is None:
            return None
        shown = views.instance_shape(row)
        result = result_shape(await self._progress(row.n))
        return shapes.Outcome(row.id, shown.status, shown.outcome, result, shown.error)

    @contextmanager
    def _deadline(
        self, limit_s: float | None, id: str, woken: asyncio.Event
    ) -> Iterator[Callable[[], None]]:
        """Wakes a waiter when its time is over or the engine ends; gives what then raises."""
        over = False

        def wake() -> None:
            nonlocal over
            over = True
            woken.set()

        def check() -> None:
            if self.state != "open" or self.journal.state == "died":
                raise self.gone()
            if over:
                raise Timeout(f"{id} has not ended within {limit_s:g} s", instance=id)

        booking = None
        if limit_s is not None:
            booking = self.clock.call_later(round(limit_s * 1000), wake)
        self.at_end[woken.set] = None
        try:
            yield check
        finally:
            del self.at_end[woken.set]
            if booking is not None:
                booking.cancel()
