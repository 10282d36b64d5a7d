"""Outlets: what carries the messages of flows to people. By default that is the log.

An outlet has `deliver(to, notice)` for requests that can be answered and `send_message(to,
message)` for plain texts. What it raises is a failed delivery.
"""

from __future__ import annotations

from typing import Any

from greenroom.definitions.destinations import Destination
from greenroom.definitions.services import provide_default
from greenroom.definitions.values import Json
from greenroom.runtime.loggers import LazyLogger


class LogOutlet:
    """Writes a line for each message: for development, and as long as no outlet is provided."""

    def __init__(self) -> None:
        self._log: Any = LazyLogger("greenroom.outlet")

    def deliver(self, to: Destination, notice: dict[str, Json]) -> None:
        self._log.info(
            "a request waits for a decision", to=str(to), title=notice["title"], ask=notice["ask"]
        )

    def send_message(self, to: Destination, message: str) -> None:
        self._log.info("message", to=str(to), message=message)


def install() -> None:
    """Makes the log the outlet of services nobody provides."""
    outlet = LogOutlet()
    provide_default(slack=outlet, email=outlet)
