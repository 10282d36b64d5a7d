"""Connectors for tests of what calls them: their functions run where they are, no engine needed."""

from __future__ import annotations

from typing import Any

from greenroom.definitions.connectors import Action, Connector, Performer


class Here:
    """Carries an action out by calling its function."""

    async def perform(self, action: Action, params: dict[str, Any], key: str | None) -> Any:
        assert action.run is not None
        return await action.run(params)

    def perform_blocking(self, action: Action, params: dict[str, Any], key: str | None) -> Any:
        raise AssertionError("nobody waits in a thread here")


class Service(Connector):
    """A connector whose actions are carried out here where no engine brings its own way."""

    def alone(self) -> Performer | None:
        return Here()
