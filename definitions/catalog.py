"""What a document may name: connectors with their actions and events, and registered steps.

A document is compiled against a catalog. What the catalog lacks is a problem of the document,
found when it is saved and not when it runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from greenroom.definitions.errors import Problem
from greenroom.definitions.shapes import Problems
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Target


class SchemaLike(Protocol):
    """What judges parameters: all of a value, or only what is settled before the run."""

    def problems(self, value: Json, path: str = "$") -> list[Problem]: ...
    def problems_of_constants(self, value: Json, path: str = "$") -> list[Problem]: ...


class ActionLike(Protocol):
    """An action of a connector, as a document sees it. `schema` is that of its parameters."""

    @property
    def schema(self) -> SchemaLike | None: ...


class ConnectorLike(Protocol):
    """A connector, as a document sees it."""

    @property
    def actions(self) -> Mapping[str, Any]: ...
    @property
    def events(self) -> Mapping[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Catalog:
    """`target_of` makes the unit of work of a connector's action."""

    connectors: Mapping[str, ConnectorLike] = dataclasses.field(default_factory=dict)
    steps: Mapping[str, Target] = dataclasses.field(default_factory=dict)
    target_of: Callable[[str, str], Target] | None = None
    event_name: Callable[[str, str], str] = lambda connector, event: f"{connector}.{event}"

    def action(self, connector: str, kind: str, path: str, problems: Problems) -> ActionLike | None:
        """The action, or None with a problem that names what there is."""
        found = self._connector(connector, path, problems)
        if found is None:
            return None
        action: ActionLike | None = found.actions.get(kind)
        if action is None:
            problems.add(
                f"{path}.type",
                f'the connector "{connector}" has no action "{kind}"'
                f"{did_you_mean(kind, found.actions) or _known(found.actions)}",
            )
        return action

    def event_type(self, connector: str, kind: str, path: str, problems: Problems) -> str | None:
        """The type of the events of a connector, or None with a problem."""
        found = self._connector(connector, path, problems)
        if found is None:
            return None
        if kind not in found.events:
            problems.add(
                f"{path}.type",
                f'the connector "{connector}" has no event "{kind}"'
                f"{did_you_mean(kind, found.events) or _known(found.events)}",
            )
            return None
        return self.event_name(connector, kind)

    def step(self, name: str, path: str, problems: Problems) -> Target | None:
        """The registered step, or None with a problem."""
        found = self.steps.get(name)
        if found is None:
            problems.take(
                Problem(
                    path,
                    f'there is no step "{name}"{did_you_mean(name, self.steps) or _known(self.steps)}',
                )
            )
        return found

    def _connector(self, name: str, path: str, problems: Problems) -> ConnectorLike | None:
        found = self.connectors.get(name)
        if found is None:
            near = did_you_mean(name, self.connectors) or _known(self.connectors)
            problems.add(f"{path}.connector_id", f'there is no connector "{name}"{near}')
        return found


def _known(names: Mapping[str, Any]) -> str:
    shown = ", ".join(sorted(names)[:10])
    return f"; there is: {shown}" if shown else "; there is none"
