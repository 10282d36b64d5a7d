"""The verbs of definitions: which versions there are, which is released, what differs.

A version is a hash of what the workflow does (C29), never changes, and has an author. Every
workflow has at most one *release*: what events, schedules and new instances get. The first
version is released by itself; what files and code bring is released when it is loaded for the
first time; what is pushed over a face is released by `promote`. So a `rollback` holds over a
restart, until the files themselves change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.ports import (
    ChangeDefinition,
    DefinitionRow,
    DropDefinition,
    DropSchedules,
    GetMeta,
    ListDefinitions,
    ListInstances,
    SetMeta,
)
from greenroom.actors.rows import rfc3339
from greenroom.definitions.catalog import using
from greenroom.definitions.declare import definition_of
from greenroom.definitions.errors import (
    CodeChanged,
    InvalidDefinition,
    InvalidRequest,
    InvalidTransition,
    NotFound,
    NotPermitted,
)
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.people import actor_of
from greenroom.definitions.planshape import plan_shape
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import equal
from greenroom.definitions.workflow import Definition, Plan
from greenroom.runtime import differences, recordings, shapes, views
from greenroom.runtime.grants import Approval, read_grants, refusal
from greenroom.runtime.registry import body_of, save_work
from greenroom.runtime.sources import STAGES, compile_document, reader_of

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

LOADED: Final = "definitions.loaded"
"""Meta: name -> [hash that code or a file released last, what its document said of `enabled`]."""

Rows = list[DefinitionRow]
Deeds = list[shapes.Deed]
Works = list[Any]
Syncs = list[shapes.Synced]
Odd = list[Any]

PUSHED: Final = "the document pushed"


DEEDS: Final = "definition.deeds:"
"""Meta, with a name behind it: what was done to the workflow over a face."""
DEEDS_MAX: Final = 100


class Loaded(msgspec.Struct, array_like=True):
    hash: str | None = None
    enabled: bool | None = None


class Definitions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._noting = asyncio.Lock()

    # -- looking -------------------------------------------------------------------------------

    async def list(self) -> list[shapes.DefinitionInfo]:
        """Every version the store knows."""
        rows: Rows = await self._engine.journal.call(ListDefinitions())
        return [self._shape(row) for row in rows]

    async def get(self, name: str, version: int | None = None) -> shapes.DefinitionInfo:
        """One version, the released one by default; of a document with its text."""
        row = await self._row(name, version)
        shown = self._shape(row, whole=True)
        return msgspec.structs.replace(shown, deeds=await self._deeds(name))

    def _shape(self, row: DefinitionRow, whole: bool = False) -> shapes.DefinitionInfo:
        grants = self._engine.grants
        shown = views.definition_shape(row, whole=whole)
        return msgspec.structs.replace(
            shown, grants=grants.of(row.name), missing=grants.missing(row.name, shown.uses)
        )

    async def _deeds(self, name: str) -> Deeds:
        raw = await self._engine.journal.call(GetMeta(DEEDS + name))
        return msgspec.json.decode(raw, type=Deeds) if raw else []

    async def _did(self, what: str, name: str, version: int | None, by: str | None) -> None:
        """Keeps who did what, the last hundred times."""
        engine = self._engine
        async with self._noting:
            deeds = await self._deeds(name)
            deeds.append(shapes.Deed(rfc3339(engine.clock.now()), what, version, by))
            text = msgspec.json.encode(deeds[-DEEDS_MAX:]).decode()
            await engine.journal.call(SetMeta(DEEDS + name, text))
        engine.log.info(f"definition {what}", workflow=name, version=version, by=by)

    async def _rows(self, name: str) -> Rows:
        rows: Rows = await self._engine.journal.call(ListDefinitions(name))
        if not rows:
            names = self._engine.registry.names()
            raise NotFound(
                f'there is no workflow "{name}"{did_you_mean(name, names)}', workflow=name
            )
        return rows

    async def _row(self, name: str, version: int | None) -> DefinitionRow:
        rows = await self._rows(name)
        for row in rows:
            if row.version == version or (version is None and row.release):
                return row
        if version is None:
            return rows[-1]
        known = ", ".join(str(row.version) for row in rows)
        raise NotFound(f"{name} has no version {version}; there are {known}", workflow=name)

    async def validate(self, document: Any, *, source: str | None = None) -> shapes.DefinitionInfo:
        """What registering would make of a workflow or document; raises `InvalidDefinition` with
        all problems."""
        if isinstance(document, list | bytes):
            raise InvalidDefinition("a workflow document is an object or text")
        warnings: Odd = []
        if isinstance(document, dict | str):
            definition, warnings = self._compiled(document, source or "the document")
        else:
            definition = definition_of(document)
        triggers: Any = [trigger.as_data() for trigger in definition.triggers]
        return shapes.DefinitionInfo(
            definition.name, definition.kind, definition.version or 0, False,
            definition.enabled is not False, definition.hash, definition.source,
            definition.steps(), triggers, tags=list(definition.tags), warnings=warnings,
            uses=list(definition.uses), grants=self._engine.grants.of(definition.name),
            missing=self._engine.grants.missing(definition.name, definition.uses),
        )  # fmt: skip

    def _compiled(self, document: Any, place: str) -> tuple[Definition, Odd]:
        """The workflow of a document, and what is odd about it."""
        from greenroom.runtime.remarks import remarks  # noqa: PLC0415  start-up time

        registry = self._engine.registry
        with using(registry.catalog):
            definition = compile_document(document, place)
            return definition, [one.as_data() for one in remarks(registry, document, place)]

    # -- pushing and releasing -----------------------------------------------------------------

    async def push(
        self,
        document: Any,
        *,
        promote: bool = False,
        draft: bool = False,
        grant: Sequence[str] = (),
        source: str | None = None,
        by: str | None = None,
    ) -> shapes.DefinitionInfo:
        """Stores a document as a version of its workflow; the same again is the same version. The
        first one is released unless it needs a grant, the others by `promote`. A `draft` changes
        nothing of what runs: a first version is switched off, and what the document says of
        `enabled` is left to who may release. `grant` is what is approved, with `promote`. `source`
        is where it comes from, for messages. Raises `InvalidDefinition`, `NotGranted`."""
        engine = self._engine
        engine._check_open(runs=False)
        if source is not None and (not isinstance(source, str) or not 0 < len(source) <= NAME_MAX):
            raise InvalidRequest(f"source is text of 1 to {NAME_MAX} characters")
        check_code(document, by)
        if draft and promote:
            raise InvalidRequest("a draft is not released: give draft or promote")
        if grant and not promote:
            raise InvalidRequest("what is approved is released: give promote with grant")
        return await self.store(document, promote, source, by, draft=draft, grant=grant)

    async def store(
        self,
        document: Any,
        promote: bool,
        source: str | None,
        by: str | None,
        *,
        draft: bool = False,
        grant: Sequence[str] = (),
    ) -> shapes.DefinitionInfo:
        """`push` of what may be pushed."""
        engine = self._engine
        definition, warnings = self._compiled(document, source or PUSHED)
        name = definition.name
        if engine.registry.is_loaded(name):
            code = engine.registry.current(name)
            if code.written is None:
                raise InvalidDefinition(
                    f"{name} is a workflow in code ({code.source}); a document cannot take its name",
                    hint="give the document another name",
                )
        given = read_grants(grant, definition.uses, name)
        lacking = engine.grants.missing(name, definition.uses, given)
        if promote and lacking:
            raise refusal(name, None, lacking)
        first = not engine.registry.rows(name)
        release = promote or (first and not lacking)
        work = save_work(definition, engine.clock.now(), release=release, by=by)
        enabled = definition.enabled
        if draft:
            enabled = False if first else None
        works: list[Any] = [work]
        if enabled is not None:  # one group: nothing listens in between
            works.append(ChangeDefinition(name, None, None, enabled))
        row: DefinitionRow = (await asyncio.gather(*map(engine.journal.call, works)))[0]
        if release:
            await engine.grants.approve((name, row.version, definition.uses))
        await self._changed(name)
        await self._did("pushed", name, row.version, by)
        if promote and not first:
            await self._did("released", name, row.version, by)
        shown = await self.get(name, row.version)
        return msgspec.structs.replace(shown, warnings=warnings)

    async def promote(
        self,
        name: str,
        version: int | None = None,
        *,
        check: bool = False,
        allow: float = 0.0,
        grant: Sequence[str] = (),
        by: str | None = None,
    ) -> shapes.DefinitionInfo:
        """Releases a version, the newest by default: events, schedules and new instances get it.
        Instances that live keep theirs. What it uses beyond what its workflow was granted is
        approved by `grant` (`["connector:slack"]`), else it is refused with `NotGranted` and the
        list. With `check` it is refused when more than the share `allow` of the recorded instances
        would not end as they did (see `check`)."""
        rows = await self._rows(name)
        row = rows[-1] if version is None else await self._row(name, version)
        uses = body_of(row).uses
        given = read_grants(grant, uses, f"{name} v{row.version}")
        self._check_grants(row, given)
        if check:
            recordings.refuse(await self.check(name, row.version), allow)
        return await self._release(row, by, given)

    async def revoke(
        self, name: str, grants: Sequence[str], *, by: str | None = None
    ) -> shapes.DefinitionInfo:
        """Takes grants back: calls of every version that use them are refused from now on. What a
        file uses is taken out of the file instead."""
        engine = self._engine
        engine._check_open(runs=False)
        await self._rows(name)
        held = engine.grants.of(name)
        for one in grants:
            if one not in held:
                raise NotFound(
                    f"{name} was not granted {one[:80]!r}{did_you_mean(one, held)}",
                    hint=f"it was granted {', '.join(held) or 'nothing'}",
                    workflow=name,
                )
            if engine.registry.is_loaded(name) and one in engine.registry.current(name).uses:
                raise InvalidTransition(
                    f"{name} is loaded from {engine.registry.current(name).source}, which uses {one}",
                    hint="take it out of there first",
                    workflow=name,
                )
        await engine.grants.revoke(name, grants)
        for one in grants:
            await self._did(f"revoked {one}", name, None, by)
        return await self.get(name)

    def _check_grants(self, row: DefinitionRow, given: Sequence[str] = ()) -> None:
        """What a version uses was granted to its workflow, or is now. Raises `NotGranted`."""
        lacking = self._engine.grants.missing(row.name, body_of(row).uses, given)
        if lacking:
            raise refusal(row.name, row.version, lacking)

    async def check(
        self, name: str, version: int | None = None, *, limit: int = recordings.LIMIT
    ) -> shapes.Checked:
        """Follows the newest recorded instances of a workflow on a version, with the results,
        failures, answers and events that were recorded: how many would end the same, which would
        take another way and where, which would fail. Nothing is run."""
        return await recordings.check(self._engine, name, version, limit)

    async def rollback(
        self,
        name: str,
        version: int | None = None,
        *,
        dry_run: bool = False,
        by: str | None = None,
    ) -> shapes.DefinitionInfo:
        """Releases an older version, by default the one before the released one; `dry_run` only
        says which."""
        row = await self._older(name, version)
        if dry_run:
            self._check_runs(row)
            return await self.get(name, row.version)
        return await self._release(row, by)

    async def _older(self, name: str, version: int | None) -> DefinitionRow:
        rows = await self._rows(name)
        released = next((row.version for row in rows if row.release), rows[-1].version + 1)
        before = [row for row in rows if row.version < released]
        if version is not None:
            row = await self._row(name, version)
            if row.version >= released:
                raise InvalidRequest(
                    f"{name} v{row.version} is not older than the released v{released}",
                    hint=f"greenroom def promote {name} --version {row.version}",
                )
            return row
        if not before:
            raise InvalidTransition(f"{name} v{released} is the oldest version", workflow=name)
        return before[-1]

    async def _release(
        self, row: DefinitionRow, by: str | None, given: Sequence[str] = ()
    ) -> shapes.DefinitionInfo:
        engine = self._engine
        engine._check_open(runs=False)
        self._check_runs(row)
        self._check_grants(row, given)
        await engine.grants.approve((row.name, row.version, body_of(row).uses))
        for one in given:
            await self._did(f"granted {one}", row.name, row.version, by)
        if not row.release:
            await engine.journal.call(ChangeDefinition(row.name, row.version, True))
            await self._changed(row.name)
            await self._did("released", row.name, row.version, by)
        return await self.get(row.name, row.version)

    def _check_runs(self, row: DefinitionRow) -> None:
        """A version can be released only where its code is: all of it."""
        registry = self._engine.registry
        who = f"{row.name} v{row.version}"
        found = registry.version(row.name, row.version)
        if found is None:
            why = registry.unreadable.get((row.name, row.version))
            if why is not None:
                raise InvalidDefinition(f"{who} cannot be read any more: {why}", hint=why.hint)
            if self._engine._passive:  # its code is where the daemon will be
                return
            raise CodeChanged(f'{who}: there is no workflow "{row.name}" in the code any more')
        if found.written is not None:
            return
        if isinstance(found.body, Plan):
            gone = [
                p.node.name
                for p in found.body.places.values()
                if p.node.kind == "call" and p.node.target is None
            ]
            if gone:
                raise CodeChanged(
                    f"{who} needs steps that the code no longer has: {', '.join(gone)}",
                    hint="bring their functions back",
                    missing=gone,
                )
        elif row.hash != found.hash and row.version not in registry.current(row.name).older:
            raise CodeChanged(
                f"{who} is a program, and its code is not here any more",
                hint="load the old code; or keep versions side by side with `Version`",
            )

    async def enable(self, name: str, *, by: str | None = None) -> shapes.DefinitionInfo:
        """Triggers and schedules act again. What came meanwhile is not made up for."""
        return await self._switch(name, True, by)

    async def disable(self, name: str, *, by: str | None = None) -> shapes.DefinitionInfo:
        """No event and no schedule starts an instance; those that live go on, and `start` works."""
        return await self._switch(name, False, by)

    async def _switch(self, name: str, enabled: bool, by: str | None) -> shapes.DefinitionInfo:
        engine = self._engine
        engine._check_open(runs=False)
        rows = await self._rows(name)
        for row in rows:
            if enabled and row.release:
                self._check_grants(row)
        await engine.journal.call(ChangeDefinition(name, None, None, enabled))
        await self._changed(name)
        await self._did("enabled" if enabled else "disabled", name, None, by)
        return await self.get(name)

    async def delete(
        self,
        name: str,
        version: int | None = None,
        *,
        dry_run: bool = False,
        by: str | None = None,
    ) -> shapes.Deleted:
        """Deletes a version, or the workflow with all of them. Refused: a version with live
        instances, the release beside others, what code or files still have. What has ended stays
        readable. `dry_run` only says what would go."""
        engine = self._engine
        engine._check_open(runs=False)
        rows = await self._rows(name)
        chosen = rows if version is None else [await self._row(name, version)]
        numbers = {row.version for row in chosen}
        if engine.registry.is_loaded(name):
            current = engine.registry.current(name)
            if current.version in numbers:
                raise InvalidTransition(
                    f"{name} v{current.version} is loaded from {current.source}",
                    hint="take it out of there first",
                    workflow=name,
                )
        if len(chosen) < len(rows) and any(row.release for row in chosen):
            raise InvalidTransition(
                f"{name} v{chosen[0].version} is the release",
                hint=f"release another version first:  greenroom def rollback {name}",
                workflow=name,
            )
        live = await self._live(name, numbers)
        if live is not None:
            raise InvalidTransition(
                f"{name} v{live.version} has live instances, {live.id} for one",
                hint=f"greenroom ls workflow:{name}",
                workflow=name,
                instance=live.id,
            )
        if dry_run:
            return shapes.Deleted(name, sorted(numbers))
        await engine.journal.call(DropDefinition(name, version))
        if len(chosen) == len(rows):
            await engine.journal.call(DropSchedules(name, []))
            await engine.grants.forget(name)
        else:
            await engine.grants.forget(name, numbers)
        await self._changed(name)
        for number in sorted(numbers):
            await self._did("deleted", name, number, by)
        return shapes.Deleted(name, sorted(numbers))

    async def _live(self, name: str, versions: set[int]) -> Any:
        """An instance of these versions that has not ended."""
        now = self._engine.clock.now()
        for status in shapes.LIVE:
            terms = [("workflow", ":", name, False), ("status", ":", status, False)]
            place = None
            while True:
                page = await self._engine.journal.call(
                    ListInstances(terms, 1_000, place, now, False)
                )
                for row in page.rows:
                    if row.version in versions:
                        return row
                place = page.cursor
                if place is None:
                    break
        return None

    async def diff(self, name: str, a: int | None = None, b: int | None = None) -> shapes.Diff:
        """What version `b` (the newest) has that `a` (the released one; with nothing newer, the one
        before it) has not."""
        rows = await self._rows(name)
        newer = rows[-1] if b is None else await self._row(name, b)
        if a is not None:
            older = await self._row(name, a)
        else:
            older = next((row for row in rows if row.release), rows[0])
            if older.version == newer.version:
                before = [row for row in rows if row.version < newer.version]
                older = before[-1] if before else older
        changes = differences.changes(
            differences.definition_content(older), differences.definition_content(newer)
        )
        if not changes and older.hash != newer.hash:
            changes = [shapes.Difference("code", "changed", older.hash, newer.hash)]
        return shapes.Diff(
            f"{name} v{older.version}", f"{name} v{newer.version}", not changes, changes
        )

    async def _changed(self, name: str) -> None:
        """Reads a name anew: its versions, and what its release listens to."""
        engine = self._engine
        engine.registry.replace(name, await engine.journal.call(ListDefinitions(name)))
        await self._listen(name)
        engine.settle_stages()
        if not engine._passive:
            engine._schedules_changed()
            if engine.registry.find(name) is not None:
                await engine.directory.slots.follow(engine.registry.released(name))

    async def _listen(self, name: str) -> None:
        """Puts the triggers and schedules of the released version in place."""
        engine = self._engine
        if engine.registry.find(name) is None:
            engine.router.index.remove(engine.namespace, name)
            return
        released = engine.registry.released(name)
        if engine.registry.is_enabled(name):
            engine.router.index.add(engine.namespace, released)
        else:
            engine.router.index.remove(engine.namespace, name)
        await asyncio.gather(*map(engine.journal.call, engine._schedule_works(released)))

    # -- code and files against the store (W15) -------------------------------------------------

    async def settle(self, *, sync: bool, promote: bool) -> None:
        """At the start of an engine: every loaded definition gets its version, every released one
        its place in the index. With `sync=False` the store is followed and not changed."""
        engine = self._engine
        registry = engine.registry
        for (name, version), error in registry.unreadable.items():
            engine.log.warning(
                "a stored document cannot be read", workflow=name, version=version, error=str(error)
            )
        if sync:
            await self._store_loaded(promote)
        else:
            for change in self._differences():
                if change.change == "new":
                    registry.hold_back(change.name)
                elif change.change == "same":
                    registry.settle(change.name, self._same(registry.current(change.name)))
        for name in registry.names():
            released = registry.released(name)
            if registry.is_enabled(name):
                engine.router.index.add(engine.namespace, released)
        if sync and not engine._passive:
            works = [
                w for n in registry.names() for w in engine._schedule_works(registry.released(n))
            ]
            await asyncio.gather(*map(engine.journal.call, works))

    async def reload(self, definitions: Sequence[Definition], *, promote: bool) -> None:
        """Takes documents that were read again in place of those that were loaded."""
        self._engine._check_open(runs=False)
        for definition in definitions:
            self._engine.registry.add(definition)
        await self._store_loaded(promote)
        for definition in definitions:
            await self._changed(definition.name)

    async def sync(self, *, dry_run: bool = False, by: str | None = None) -> Syncs:
        """The differences between what is loaded and what is stored; stores and releases them
        unless `dry_run`. For those who run with `sync=False`."""
        found = self._differences()
        if not dry_run:
            self._engine._check_open(runs=False)
            self._engine.registry.take_back()
            await self._store_loaded(True, by)
            for change in found:
                if change.change in ("new", "changed"):
                    await self._changed(change.name)
        return found

    def _differences(self) -> Syncs:
        registry = self._engine.registry
        found: Syncs = []
        for definition in [*map(registry.current, registry.loaded()), *registry.held_back()]:
            rows = registry.rows(definition.name)
            same = self._same(definition)
            if not rows:
                found.append(_synced(definition, "new", None))
            elif same is None:
                found.append(_synced(definition, "changed", registry.release_of(definition.name)))
            else:
                found.append(_synced(definition, "same", same.version))
        names = {change.name for change in found}
        for name in sorted({row.name for row in registry.versions()} - names):
            row = registry.rows(name)[-1]
            if body_of(row).written is None:
                release = registry.release_of(name)
                found.append(
                    shapes.Synced(name, "missing", row.kind, release, row.hash, row.source)
                )
        return found

    def _same(self, definition: Definition) -> Any:
        """The stored version that a loaded definition is."""
        for row in reversed(self._engine.registry.rows(definition.name)):
            if row.hash == definition.hash and definition.version in (None, row.version):
                return row
        return None

    async def _store_loaded(self, promote: bool, by: str | None = None) -> None:
        """Stores what code and files have; releases what they have for the first time."""
        engine = self._engine
        registry, call = engine.registry, engine.journal.call
        now = engine.clock.now()
        raw = await call(GetMeta(LOADED))
        before = msgspec.json.decode(raw, type=dict[str, Loaded]) if raw else {}
        after = dict(before)
        names = registry.loaded()
        works: Works = []
        saved = False
        for name in names:
            definition = registry.current(name)
            known = before.get(name, Loaded())
            same = self._same(definition)
            self._check_immutable(definition)
            release = not registry.rows(name) or (promote and known.hash != definition.hash)
            if same is not None and (same.release or not release):
                works.append(_given(same))
            else:
                works.append(call(save_work(definition, now, release=release, by=by)))
                saved = True
            if release:
                after[name] = Loaded(definition.hash, known.enabled)
        rows: Rows = await asyncio.gather(*works)
        switches: Works = []
        approved: list[Approval] = []
        for name, row in zip(names, rows, strict=True):
            said = registry.current(name).enabled
            if said is not None and said != before.get(name, Loaded()).enabled:
                after[name] = Loaded(after.get(name, Loaded()).hash, said)
                if said != row.enabled:
                    switches.append(call(ChangeDefinition(name, None, None, said)))
            registry.settle(name, row)
            if row.release:
                approved.append((name, row.version, registry.current(name).uses))
        await engine.grants.approve(*approved)
        if switches:
            await asyncio.gather(*switches)
        if switches or saved:
            registry.stored(await call(ListDefinitions()))
        if after != before:
            await call(SetMeta(LOADED, msgspec.json.encode(after).decode()))

    def _check_immutable(self, definition: Definition) -> None:
        """A stored plan is what instances follow to their end: it never changes under its number."""
        if definition.version is None or not isinstance(definition.body, Plan):
            return
        for row in self._engine.registry.rows(definition.name):
            stored = body_of(row).plan
            if row.version != definition.version or stored is None or row.hash == definition.hash:
                continue
            ours = msgspec.to_builtins(plan_shape(definition.body))
            if not equal(msgspec.to_builtins(stored), ours):
                raise InvalidDefinition(
                    f"{definition.name} v{row.version} is stored with other steps; a version never "
                    f"changes   {definition.source}",
                    hint=f"@workflow(version={row.version + 1}), or no version: it counts by itself",
                )


def check_code(document: Any, by: str | None) -> None:
    """A stage graph brings the files of its stages: only the owner of the daemon pushes one. Raises
    `NotPermitted`."""
    is_text = isinstance(document, dict | str)
    if is_text and reader_of(document) == STAGES and by is not None and not actor_of(by).owner:
        raise NotPermitted(
            "a stage graph brings code, which only the owner of the daemon may push",
            hint="greenroom deploy FOLDER  where the daemon runs",
        )


async def _given(row: DefinitionRow) -> DefinitionRow:
    return row


def _synced(definition: Definition, change: Any, version: int | None) -> shapes.Synced:
    return shapes.Synced(
        definition.name, change, definition.kind, version, definition.hash, definition.source
    )
