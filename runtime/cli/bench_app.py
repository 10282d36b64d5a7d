"""What `greenroom bench` runs: as many steps as asked for that do nothing."""

from __future__ import annotations

from typing import Any

from greenroom import begin, done, step, workflow


def chain(steps: int) -> Any:
    """A step list of `steps` steps, each in the journal like any other."""
    items: Any = begin
    for number in range(steps):
        items = items >> _step(number)
    items = items >> done

    @workflow(name="bench")
    def bench() -> Any:
        return items

    return bench


def _step(number: int) -> Any:
    @step(f"step {number}")
    async def nothing() -> dict[str, int]:
        return {"n": number}

    return nothing
