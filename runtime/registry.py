"""Which workflows there are: by name and version, as code and as the store knows them.

An instance keeps its version for life. For an older version of a step list the plan that was
stored with that version is followed, each node bound by its key to the function of today's code;
a node whose function is gone parks the instance. A program has no stored plan: replay decides.
"""

from __future__ import annotations

import dataclasses

import msgspec

from greenroom.actors.ports import DefinitionRow, SaveDefinition
from greenroom.definitions.declare import definition_of
from greenroom.definitions.errors import InvalidDefinition, NotFound
from greenroom.definitions.ops import workflow_name
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.tasks import task_called
from greenroom.definitions.workflow import Definition, Node, Plan, PlanShape, plan_shape


class Body(msgspec.Struct):
    """What the store keeps of a version."""

    plan: PlanShape | None = None
    triggers: list[dict[str, object]] = []


class Registry:
    def __init__(self) -> None:
        self._current: dict[str, Definition] = {}
        self._versions: dict[tuple[str, int], DefinitionRow] = {}
        self._bound: dict[tuple[str, int], Definition] = {}
        self._release: dict[str, int] = {}

    def add(self, definition: Definition) -> None:
        known = self._current.get(definition.name)
        if known is not None and known.source != definition.source:
            raise InvalidDefinition(
                f'two workflows are named "{definition.name}": {known.source} and {definition.source}',
                hint="give one another name:  @workflow(name=...)",
            )
        self._current[definition.name] = definition
        for key in [key for key in self._bound if key[0] == definition.name]:
            del self._bound[key]

    def names(self) -> list[str]:
        return sorted(self._current)

    def current(self, workflow: object) -> Definition:
        """Today's definition by name, class or function. Raises `NotFound`."""
        name = workflow if isinstance(workflow, str) else workflow_name(workflow)
        found = self.find(name)
        if found is None:
            raise NotFound(
                f'there is no workflow "{name}"{did_you_mean(name, self._current)}',
                hint="register it:  Engine.open(..., workflows=[...])",
                workflow=name,
            )
        return found

    def released(self, workflow: object) -> Definition:
        """The version that new instances get. Raises `NotFound`."""
        current = self.current(workflow)
        version = self._release.get(current.name, current.version or 1)
        return self.version(current.name, version) or current

    def find(self, name: str) -> Definition | None:
        found = self._current.get(name)
        if found is None and (task := task_called(name)) is not None:
            found = definition_of(task)
        return found

    def stored(self, rows: list[DefinitionRow]) -> None:
        """The versions the store knows."""
        for row in rows:
            self._note(row)

    def _note(self, row: DefinitionRow) -> None:
        self._versions[row.name, row.version] = row
        if row.release:
            self._release[row.name] = row.version

    def versions(self) -> list[DefinitionRow]:
        return [self._versions[key] for key in sorted(self._versions)]

    def settle(self, name: str, row: DefinitionRow) -> Definition:
        """Takes the version the store gave a definition."""
        self._note(row)
        definition = dataclasses.replace(self._current[name], version=row.version)
        self._current[name] = definition
        self._bound[name, row.version] = definition
        return definition

    def version(self, name: str, version: int) -> Definition | None:
        """The definition an instance of this version follows; None when code has no such name."""
        found = self._bound.get((name, version))
        if found is not None:
            return found
        current = self.find(name)
        if current is None:
            return None
        older = current.older.get(version)
        if older is not None:
            return older
        row = self._versions.get((name, version))
        if row is None or row.hash == current.hash or not isinstance(current.body, Plan):
            found = dataclasses.replace(current, version=version)
        else:
            found = _bind(current, row, version)
        self._bound[name, version] = found
        return found


def save_work(definition: Definition, at: int, *, release: bool = True) -> SaveDefinition:
    body = Body(
        plan_shape(definition.body) if isinstance(definition.body, Plan) else None,
        [trigger.as_data() for trigger in definition.triggers],
    )
    return SaveDefinition(
        definition.name,
        definition.kind,
        definition.hash,
        msgspec.json.encode(body),
        at,
        definition.source,
        definition.version,
        release,
    )


def _bind(current: Definition, row: DefinitionRow, version: int) -> Definition:
    """The plan of an older version with the functions of today."""
    body = msgspec.json.decode(row.body, type=Body)
    if body.plan is None:
        return dataclasses.replace(current, version=version)
    today = {node.key: node for node in current.plan.nodes}
    nodes: list[Node] = []
    for shape in body.plan.nodes:
        key, name = str(shape["key"]), str(shape["name"])
        node = today.get(key)
        nodes.append(dataclasses.replace(node, name=name) if node is not None else Node(key, name))
    return dataclasses.replace(current, version=version, body=Plan.of(tuple(nodes)), hash=row.hash)
