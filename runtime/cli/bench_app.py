"""What `greenroom bench` runs: as many steps as asked for that do nothing."""

from __future__ import annotations

from typing import Any

from greenroom.definitions.declare import workflow
from greenroom.definitions.steps import begin, done, step


def chain(steps: int) -> Any:
    """A step list of `steps` steps, each in the journal like any other."""
    items: Any = begin
    for number in range(steps):
        items = items >> _step(number)
    items = items >> done

    def bench() -> Any:
        return items

    return workflow(name="bench")(bench)


def _step(number: int) -> Any:
    async def nothing() -> dict[str, int]:
        return {"n": number}

    nothing.__name__ = f"step_{number}"  # a step's key in the journal
    return step(f"step {number}")(nothing)
