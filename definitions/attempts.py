"""The attempt of a step that runs here, as far as what it calls must know of it.

A step may run again after a crash. A service it calls by a connector is told so by an idempotency
key that every attempt gives to the same call. Authors need not hand it on: whoever runs a function
puts a `Place` into `ATTEMPT`, and says in it whose attempt is running.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from greenroom.definitions.values import Json
from greenroom.definitions.workflow import data_hash


class Place:
    """Where attempts run one after another: a task, or a thread for one of them."""

    __slots__ = ("_asked", "_instance", "_op")

    def __init__(self, instance: str = "", op: str = "") -> None:
        self.begin(instance, op)

    def begin(self, instance: str, op: str) -> None:
        """From here on an attempt of this op runs."""
        self._instance = instance
        self._op = op
        self._asked: dict[str, int] | None = None

    def key_for(self, action: str, params: Json) -> str:
        """The idempotency key of a call: the same in every attempt of the step, another for other
        parameters, whatever the order of the calls. Calls that are alike are told apart by their
        order."""
        if self._asked is None:
            self._asked = {}
        call = f"{self._instance}/{self._op}/{data_hash([action, params])}"
        n = self._asked[call] = self._asked.get(call, 0) + 1
        return call if n == 1 else f"{call}/{n}"


ATTEMPT: Final[ContextVar[Place | None]] = ContextVar("greenroom_attempt", default=None)
