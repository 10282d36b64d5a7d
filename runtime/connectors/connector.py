"""`Connector` as users declare it: that of the definitions, which works without an engine too.

Where no engine is open, as in a script or a test, a call opens connections for itself and closes
them with its response.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from greenroom.definitions import connectors
from greenroom.definitions.connectors import Action, Performer
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connections import Connections


class Connector(connectors.Connector):
    """A service: what it can be asked to do, and the events it sends. `id` is what workflows call
    it by (`connector_id`)."""

    def alone(self) -> Performer | None:
        return ALONE


class Alone:
    """A `Performer` for where no engine is open."""

    async def perform(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        async with Connections([action.connector]) as connections:
            return await connections.perform(action, params, key)

    def perform_blocking(self, action: Action, params: dict[str, Json], key: str | None) -> Json:
        def run() -> Json:
            return asyncio.run(self.perform(action, params, key))

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run()
        with ThreadPoolExecutor(1, "greenroom-connector") as pool:  # a loop runs in this thread
            return pool.submit(run).result()


ALONE: Final = Alone()
