"""Which workflows there are: by name and version, as code and as the store knows them.

An instance keeps its version for life. A version that is a document is compiled from the store's
copy of it. For an older version of a step list the plan that was stored with that version is
followed, each node bound by its key to the function of today's code; a node whose function is
gone parks the instance. A program has no stored plan: replay decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import msgspec

from greenroom.actors.ports import DefinitionRow, SaveDefinition
from greenroom.definitions.catalog import Catalog, using
from greenroom.definitions.collecting import collect_from
from greenroom.definitions.declare import definition_of
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, NotFound
from greenroom.definitions.expressions import compile_value
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import named_version, workflow_name
from greenroom.definitions.planshape import PlanShape, bind, plan_shape
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.tasks import task_called
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Plan, Program, Trigger, Written
from greenroom.runtime.sources import compile_written


class Body(msgspec.Struct, omit_defaults=True):
    """What the store keeps of a version. It never changes."""

    plan: PlanShape | None = None
    triggers: list[dict[str, Json]] = []
    written: Written | None = None
    """The document, whole, of a workflow that is one."""
    by: str | None = None
    """Who made the version; null for what was loaded from code."""
    tags: list[str] = []
    uses: list[str] = []
    """What a document uses of the world, for whoever releases it to approve."""


def body_of(row: DefinitionRow) -> Body:
    return msgspec.json.decode(row.body, type=Body)


class Registry:
    def __init__(self) -> None:
        self._current: dict[str, Definition] = {}
        """Loaded from code and files, and the released one of those only the store has."""
        self._pushed: set[str] = set()
        """Names that only the store has."""
        self._held_back: dict[str, Definition] = {}
        """Loaded, but not to be used: the store does not have them and is not to be changed."""
        self._rows: dict[str, dict[int, DefinitionRow]] = {}
        self._bound: dict[tuple[str, int], Definition] = {}
        self._release: dict[str, int] = {}
        self.catalog = Catalog()
        """What documents may name."""
        self.unreadable: dict[tuple[str, int], GreenroomError] = {}
        """Stored documents this release cannot compile, and why."""

    def add(self, definition: Definition) -> None:
        known = self._current.get(definition.name)
        if known is not None and _are_versions(known, definition):
            definition = _together(known, definition)
        elif (
            known is not None
            and known.source != definition.source
            and definition.name not in self._pushed
        ):
            raise InvalidDefinition(
                f'two workflows are named "{definition.name}": {known.source} and {definition.source}',
                hint="give one another name:  @workflow(name=...)",
            )
        self._current[definition.name] = definition
        self._pushed.discard(definition.name)
        for key in [key for key in self._bound if key[0] == definition.name]:
            del self._bound[key]

    def hold_back(self, name: str) -> None:
        """Keeps a definition out of use until `take_back`."""
        self._held_back[name] = self._current.pop(name)

    def held_back(self) -> list[Definition]:
        return [self._held_back[name] for name in sorted(self._held_back)]

    def take_back(self) -> None:
        self._current |= self._held_back
        self._held_back.clear()

    def names(self) -> list[str]:
        return sorted(self._current)

    def loaded(self) -> list[str]:
        """Names of what code and files have."""
        return sorted(self._current.keys() - self._pushed)

    def is_loaded(self, name: str) -> bool:
        return name in self._current and name not in self._pushed

    def has_stages(self) -> bool:
        """Whether there is a stage graph, in code or in the store."""
        kinds = (row.kind for rows in self._rows.values() for row in rows.values())
        return any(kind == "stages" for kind in kinds) or any(
            definition.kind == "stages" for definition in self._current.values()
        )

    def has_desks(self) -> bool:
        """Whether there are workflows that people come past a desk to."""
        return any(definition.desk is not None for definition in self._current.values())

    def current(self, workflow: object) -> Definition:
        """Today's definition by name, class or function. Raises `NotFound`."""
        name = workflow if isinstance(workflow, str) else workflow_name(workflow)
        found = self.find(name)
        if found is None and name in self._held_back:
            raise NotFound(
                f"{name} is in the code, but not in the store, which is followed as it is",
                hint="greenroom db migrate-workflows  shows and applies the difference",
                workflow=name,
            )
        if found is None:
            raise NotFound(
                f'there is no workflow "{name}"{did_you_mean(name, self._current)}',
                hint="greenroom def ls  shows what there is; a new one is given to the engine:  "
                "Engine.open(..., workflows=[...])  or  greenroom serve FILE",
                workflow=name,
            )
        return found

    def unknown_in(self, ref: str) -> str:
        """For the message about an instance that is not there: whether its workflow is known."""
        name, slash, _ = ref.partition("/")
        if not slash or self.find(name) is not None:
            return ""
        return f': there is no workflow "{name}"{did_you_mean(name, self._current)}'

    def released(self, workflow: object) -> Definition:
        """The version that new instances get. Raises `NotFound`."""
        current = self.current(workflow)
        version = self._release.get(current.name, current.version or 1)
        return self.version(current.name, version) or current

    def release_of(self, name: str) -> int | None:
        return self._release.get(name)

    def is_enabled(self, name: str) -> bool:
        """Whether its triggers and schedules act: those of a release that is not switched off."""
        rows = self._rows.get(name, {})
        return all(row.enabled for row in rows.values()) and (not rows or name in self._release)

    def find(self, name: str) -> Definition | None:
        found = self._current.get(name)
        if found is None and (task := task_called(name)) is not None:
            found = definition_of(task)
        return found

    def stored(self, rows: Iterable[DefinitionRow]) -> None:
        """The versions the store knows. Documents nobody loaded are taken from there."""
        for row in rows:
            self._note(row)
        for name in list(self._rows):
            self._take_pushed(name)

    def replace(self, name: str, rows: list[DefinitionRow]) -> None:
        """What the store knows of one name now."""
        self._rows.pop(name, None)
        for key in [key for key in self._bound if key[0] == name]:
            if key[1] not in {row.version for row in rows}:
                del self._bound[key]
        self._release.pop(name, None)
        for row in rows:
            self._note(row)
        self._take_pushed(name)

    def _take_pushed(self, name: str) -> None:
        """A name that only documents in the store have is its released one."""
        if self.is_loaded(name):
            return
        self._current.pop(name, None)
        self._pushed.discard(name)
        rows = self.rows(name)
        row = next((row for row in rows if row.release), rows[-1] if rows else None)
        if row is not None and (found := self._of_document(row)) is not None:
            self._current[name] = found
            self._pushed.add(name)

    def _of_document(self, row: DefinitionRow) -> Definition | None:
        key = (row.name, row.version)
        found = self._bound.get(key)
        written = body_of(row).written
        if found is not None or written is None:
            return found
        try:
            with using(self.catalog):
                found = compile_written(written, f"{row.name} v{row.version}")
        except GreenroomError as error:
            self.unreadable[key] = error
            return None
        self.unreadable.pop(key, None)
        found = dataclasses.replace(found, name=row.name, version=row.version, hash=row.hash)
        self._bound[key] = found
        return found

    def _note(self, row: DefinitionRow) -> None:
        rows = self._rows.setdefault(row.name, {})
        if row.release:  # there is one release
            for other in rows.values():
                if other.release:
                    rows[other.version] = msgspec.structs.replace(other, release=False)
        rows[row.version] = row
        if row.release:
            self._release[row.name] = row.version

    def versions(self) -> list[DefinitionRow]:
        return [row for name in sorted(self._rows) for row in self.rows(name)]

    def rows(self, name: str) -> list[DefinitionRow]:
        """The versions of one name, the oldest first."""
        found = self._rows.get(name, {})
        return [found[version] for version in sorted(found)]

    def settle(self, name: str, row: DefinitionRow) -> Definition:
        """Takes the version the store gave a definition."""
        self._note(row)
        definition = dataclasses.replace(self._current[name], version=row.version)
        self._current[name] = definition
        self._bound[name, row.version] = definition
        return definition

    def version(self, name: str, version: int) -> Definition | None:
        """The definition an instance of this version follows; None when nobody has it any more."""
        found = self._bound.get((name, version))
        if found is not None:
            return found
        row = self._rows.get(name, {}).get(version)
        if row is not None and body_of(row).written is not None:
            return self._of_document(row)
        current = self.find(name)
        if current is None or current.written is not None:
            return None
        older = current.older.get(version)
        if older is not None:
            if row is None:
                return older
            found = dataclasses.replace(older, triggers=_triggers(current, body_of(row).triggers))
        elif row is None or row.hash == current.hash:
            found = dataclasses.replace(current, version=version)
        else:
            found = _bind(current, row, version)
        self._bound[name, version] = found
        return found


def _are_versions(one: Definition, other: Definition) -> bool:
    """Whether two classes of a name say which version each is: `Flow_v1`, `Flow_v2`."""
    return all(
        isinstance(each.body, Program)
        and each.body.cls is not None
        and named_version(each.body.cls.__name__) == (each.name, each.version)
        for each in (one, other)
    )


def _together(one: Definition, other: Definition) -> Definition:
    """The later of two versions, which knows the one before."""
    if one.version == other.version:
        return dataclasses.replace(other, older=one.older)
    old, new = sorted((one, other), key=lambda each: each.version or 0)
    assert old.version is not None
    return dataclasses.replace(new, older={**old.older, **new.older, old.version: old})


def save_work(
    definition: Definition, at: int, *, release: bool = True, by: str | None = None
) -> SaveDefinition:
    body = Body(
        plan_shape(definition.body) if isinstance(definition.body, Plan) else None,
        [trigger_data(trigger) for trigger in definition.triggers],
        definition.written,
        by,
        list(definition.tags),
        list(definition.uses),
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


def trigger_data(trigger: Trigger) -> dict[str, Json]:
    """A trigger as the store keeps it: whole, so that a version that is released again listens to
    what it listened to."""
    data = trigger.as_data()
    if trigger.key is not None:
        data["key"] = trigger.key.source
    if trigger.transform is not None:
        data["transform"] = trigger.transform.source
    return data


def _bind(current: Definition, row: DefinitionRow, version: int) -> Definition:
    """An older version with the functions of today: its triggers and, of a step list, its plan."""
    body = body_of(row)
    triggers = _triggers(current, body.triggers)
    if body.plan is None or not isinstance(current.body, Plan):
        return dataclasses.replace(current, version=version, triggers=triggers)
    plan = bind(body.plan, current.plan)
    return dataclasses.replace(
        current, version=version, body=plan, hash=row.hash, triggers=triggers
    )


def _triggers(current: Definition, stored: list[dict[str, Json]]) -> tuple[Trigger, ...]:
    """Triggers on events as they were stored. Schedules are those of today: their state in the
    store belongs to the workflow, not to a version."""
    events = [data for data in stored if data.get("type") is not None]
    if [trigger_data(t) for t in current.triggers if t.type is not None] == events:
        return current.triggers
    made = [
        Trigger(
            data["type"],
            compile_where(data.get("where")),
            compile_value(data["key"]) if "key" in data else None,
            compile_value(data["transform"]) if "transform" in data else None,
            collect=collect_from(data["collect"]) if "collect" in data else None,
            slot=data.get("slot", 0),
        )
        for data in events
    ]
    return (*made, *(t for t in current.triggers if t.type is None))
