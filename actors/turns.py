"""A turn: what one cause makes a workflow ask for, give up and change, or how the turn dies.

Made by the machine of a program and the walk of a plan alike; the kernel makes an entry of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from greenroom.actors.entries import Delta, End, Failure, Request
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition

REQUESTS_PER_TURN_MAX: Final = 10_000


class Turn(Struct, gc=False):
    """What one cause made the program ask for, give up and change."""

    requests: list[Request] = []
    closes: list[str] = []
    delta: Delta | None = None
    end: End | None = None
    over: bool = False
    skips: tuple[str, ...] = ()
    frames: dict[str, Delta | None] = {}
    keeps: bool = False
    """The value of the outcome is recorded, not only what it changed."""


class Death(Exception):
    """The turn died: it did not happen. `causes` are the failed ops to blame."""

    def __init__(
        self, failure: Failure, causes: Iterable[str] = (), view: dict[str, Json] | None = None
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.causes = tuple(sorted(set(causes)))
        self.view = view


def runaway(definition: Definition) -> Death:
    """A turn that would go on asking for ever."""
    text = f"{definition.name} asked for {REQUESTS_PER_TURN_MAX:,} ops in one turn"
    return Death(Failure("Runaway", text, "runaway"))
