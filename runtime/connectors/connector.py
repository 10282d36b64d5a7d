"""`Connector` as users declare it: that of the definitions, which works without an engine too.

Where no engine is open, as in a script or a test, a call opens connections for itself and closes
them with its response.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, cast

from greenroom.definitions import connectors
from greenroom.definitions.connectordocs import BYTES_MAX, read_connector
from greenroom.definitions.connectors import Action, Performer
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connections import Connections


def place_of(path: str | Path) -> str:
    """The name of a file that messages show, the same however the file was named: from the working
    directory if it lies there."""
    whole = os.path.abspath(path)
    short = os.path.relpath(whole)
    return whole if short.startswith(os.pardir) else short


class Connector(connectors.Connector):
    """A service: what it can be asked to do, and the events it sends. `id` is what workflows call
    it by (`connector_id`)."""

    @classmethod
    def read(cls, path: str | Path) -> Connector:
        """The connector of a document, to be called from Python. It may be loaded as a file as
        well: it is one and the same. Raises `InvalidDefinition` with everything wrong in it."""
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise InvalidDefinition(f"{path} cannot be read: {error.strerror}") from None
        if len(raw) > BYTES_MAX:
            raise InvalidDefinition(f"{path} is {len(raw):,} bytes, the limit is {BYTES_MAX:,}")
        found = read_connector(raw, place_of(path), cls=cls)
        if found is None:
            raise InvalidDefinition(
                f"{path} is no connector",
                hint='one has a "type" and a "config", and no "source"',
            )
        return cast("Connector", found)

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
