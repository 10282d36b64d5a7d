"""`engine.connectors`: the verbs about connectors and secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from greenroom.definitions.connectors import Connector, Connectors
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.shipped import SHIPPED
from greenroom.runtime.secrets import SecretInfo

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


Names = list[str]


class ConnectorInfo(msgspec.Struct):
    """One connector in a list."""

    id: str
    type: str
    name: str
    host: str | None
    source: str | None
    actions: list[str]
    events: list[str]
    secrets: list[str]
    shipped: bool


class Section(Connectors):
    """The connectors of an engine, with the verbs of the faces."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.shipped = SHIPPED
        self._engine = engine

    def add(self, connector: Connector) -> None:
        """As `Connectors.add`; what is odd about its document is logged."""
        super().add(connector)
        self._engine.connections.secrets.lend(connector.written)
        for warning in connector.warnings:
            self._engine.log.warning(str(warning), connector=connector.id)

    async def list(self) -> list[ConnectorInfo]:
        """Those the engine was given, then those that come with it."""
        given = list(self)
        shipped = [make() for id, make in sorted(SHIPPED.items()) if id not in self._known]
        return [_info(one, one.source == "greenroom") for one in [*given, *shipped]]

    async def show(self, connector: str) -> dict[str, Json]:
        """All that one declares: names of secrets, no values."""
        return self.get(connector).as_data()

    async def call(
        self, connector: str, action: str, params: dict[str, Json] | None = None
    ) -> dict[str, Json]:
        """Carries an action out, here and now, outside any instance."""
        found = self.resolve(connector, action)
        return {"response": await self._engine.connections.perform(found, params or {}, None)}

    async def check(self, connector: str) -> Sequence[SecretInfo]:
        """The secrets a connector needs, and whether they are there."""
        store = self._engine.connections.secrets
        return [await store.look(name) for name in self.get(connector).secrets()]


class Secrets:
    """`engine.secrets`: names and places, never values."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self) -> Sequence[SecretInfo]:
        """Those that can be listed, and those that connectors name."""
        users = self._users()
        store = self._engine.connections.secrets
        found = [await store.look(name) for name in sorted({*store.names(), *users})]
        return [msgspec.structs.replace(one, used_by=users.get(one.name, [])) for one in found]

    async def check(self, name: str | None = None) -> Sequence[SecretInfo]:
        """One secret, or all that connectors name."""
        users = self._users()
        store = self._engine.connections.secrets
        found = [await store.look(one) for one in ([name] if name else sorted(users))]
        return [msgspec.structs.replace(one, used_by=users.get(one.name, [])) for one in found]

    def _users(self) -> dict[str, Names]:
        users: dict[str, Names] = {}
        for connector in self._engine.connectors:
            for name in connector.secrets():
                users.setdefault(name, []).append(connector.id)
        return users


def _info(connector: Connector, shipped: bool) -> ConnectorInfo:
    return ConnectorInfo(
        connector.id,
        connector.type,
        connector.name,
        connector.config.host,
        connector.source,
        sorted(connector.actions),
        sorted(connector.events),
        connector.secrets(),
        shipped,
    )
