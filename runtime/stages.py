"""`engine.stages`: stage graphs as people see and steer them. Graph, board, moves, logs, deploy."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import (
    IdConflict,
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    NotFound,
    NotPermitted,
    ReadOnly,
)
from greenroom.definitions.people import actor_of
from greenroom.definitions.stagegraphs import StageGraph, graph_from
from greenroom.definitions.stageworkflows import KIND, StageDesk
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Definition
from greenroom.runtime import shapes
from greenroom.runtime.stageboard import StageBoard
from greenroom.runtime.stagelogs import LINES_MAX, StageLogs, Wanted
from greenroom.runtime.stagetree import begin_files, code, disk, edit, etag, write
from greenroom.runtime.trials import TEST

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

FOLLOW_S: Final = 1.0


class Stages:
    """The stage graphs of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.read_only = False
        """Under `serve`: the files in the working tree are looked at, never written."""
        self._board = StageBoard(engine)
        self._logs = StageLogs(engine)
        self._given_teams = frozenset(engine.teams)
        """Those the engine was given: a graph does not change them."""

    # -- life --------------------------------------------------------------------------------------

    def settle(self) -> None:
        """What the graphs that are released bring: teams, and hooks."""
        from greenroom.runtime.stagehooks import StageHooks  # noqa: PLC0415  it imports this

        engine = self._engine
        for definition in self._released():
            graph, desk = graph_in(definition), definition.desk
            for team, members in graph.teams.items():
                if team not in self._given_teams:
                    engine.teams[team] = members
            if isinstance(desk, StageDesk):
                desk.teams = engine.teams
        if not any(
            isinstance(getattr(f, "__self__", None), StageHooks) for f in engine.hooks.finders
        ):
            engine.hooks.finders.append(StageHooks(engine).find)

    async def opened(
        self,
        definition: Definition,
        input: dict[str, Json],
        form: Any,
        test: bool,
    ) -> dict[str, Json]:
        """The input of a run with its first form filled in, if pages were given."""
        graph = graph_in(definition)
        stage = graph.stages[input["stage"]]
        if test and stage.kind == "hook":
            input = _requested(input, initial=stage in graph.initial())
        if form is not None:
            if stage.kind != "form":
                raise InvalidRequest(f"{stage.path} is a {stage.kind}, it has no form to fill in")
            input = {
                **input,
                "answer": await self._engine.forms.begun(definition, input, form, test),
            }
        return input

    def _released(self) -> builtins.list[Definition]:
        registry = self._engine.registry
        found = [registry.released(name) for name in registry.names()]
        return [one for one in found if one.kind == KIND and isinstance(one.desk, StageDesk)]

    def works(self, workflow: str) -> Any:
        """What the stages of the released version do; None where there is none any more."""
        definition = next((one for one in self._released() if one.name == workflow), None)
        return None if definition is None else desk_of(definition).works

    def _definition(self, workflow: str) -> Definition:
        """The released version of a graph. Raises `NotFound`."""
        found = self._engine.registry.released(workflow)
        if found.kind != KIND:
            raise InvalidRequest(f"{workflow} is no stage graph, it is of kind {found.kind}")
        return found

    # -- the graph ---------------------------------------------------------------------------------

    async def list(self) -> builtins.list[dict[str, Json]]:
        """The stage graphs there are: `name version enabled folder writable etag stages`; `etag` is
        that of `stages.json` as it is on disk."""
        return [
            {
                "name": one.name, "version": one.version,
                "enabled": self._engine.registry.is_enabled(one.name),
                "folder": str(_folder(one)), "writable": self._is_writable(one),
                "etag": etag(_folder(one)), "stages": [*graph_in(one).stages],
            }
            for one in self._released()
        ]  # fmt: skip

    async def graph(self, workflow: str) -> dict[str, Json]:
        """A graph as an editor shows it: `name version stages transitions teams roles folder
        writable etag deployed`, and `document`, which is `stages.json` as it is on disk. A stage has
        `path kind file title declared initial access` and all that `stages.json` says of it."""
        definition = self._definition(workflow)
        graph, folder = graph_in(definition), _folder(definition)
        on_disk = await asyncio.to_thread(disk, folder)
        document, etag = (graph.document, None) if on_disk is None else on_disk
        if on_disk is not None:
            try:
                graph = await asyncio.to_thread(_current, folder)
            except Exception as error:  # half-written: shown as it was deployed, with what is wrong
                return {
                    **_graph_data(definition, graph), "document": copy(document), "etag": etag,
                    "folder": str(folder), "writable": self._is_writable(definition),
                    "deployed": False, "problem": str(error),
                }  # fmt: skip
        return {
            **_graph_data(definition, graph), "document": copy(dict(document)), "etag": etag,
            "folder": str(folder), "writable": self._is_writable(definition),
            "deployed": document == graph_in(definition).document, "problem": None,
        }  # fmt: skip

    def _is_writable(self, definition: Definition) -> bool:
        folder = _folder(definition)
        return not self.read_only and (folder / "stages.json").is_file()

    async def save(
        self, workflow: str, document: Json, *, etag: str | None = None, by: str | None = None
    ) -> dict[str, Json]:
        """Writes `stages.json` in the working tree, and a file to begin with for each stage that has
        none; what runs changes with `deploy`. Only what differs is written anew: the rest keeps its
        layout. `etag` is that of the graph the change began with: where the file is another one by
        now nothing is written, and `IdConflict` has both. Raises `InvalidDefinition`, `ReadOnly`."""
        definition = self._definition(workflow)
        folder = _folder(definition)
        if self.read_only:
            raise ReadOnly(
                f"{folder}/stages.json is not written by a daemon that serves",
                hint="edit it under:  greenroom dev",
            )
        if not (folder / "stages.json").is_file():
            raise NotFound(f"there is no {folder}/stages.json here")
        graph = graph_from(document, str(folder / "stages.json"))
        if graph.name != workflow:
            raise InvalidInput(f"the graph is named {graph.name!r}; it was {workflow!r}")
        now = await asyncio.to_thread(disk, folder)
        if etag is not None and now is not None and now[1] != etag:
            raise IdConflict(
                "stages.json has changed on disk since it was read; nothing was written",
                hint="look at both, and save again with the etag of the file",
                theirs=now[0], yours=document, etag=now[1],
            )  # fmt: skip
        await asyncio.to_thread(write, folder / "stages.json", document)
        await asyncio.to_thread(begin_files, folder, graph)
        return await self.graph(workflow)

    async def open_file(self, workflow: str, stage: str) -> dict[str, Json]:
        """Opens the file of a stage in the editor of whoever develops (`VISUAL`, `EDITOR`), if it
        has a window of its own; gives the `path` and whether it was `opened`."""
        definition = self._definition(workflow)
        found = graph_in(definition).find(stage)
        if found.file is None:
            raise InvalidRequest(f"{found.path} is a {found.kind}: it has no file")
        path = _folder(definition) / found.file
        opened = not self.read_only and path.is_file() and await asyncio.to_thread(edit, path)
        return {"path": str(path), "opened": opened}

    async def code(self, workflow: str, stage: str) -> dict[str, Json]:
        """The file of a stage, to be read: `path` and `text`, as it is in the working tree for
        whoever develops, else as it is deployed. A stage that is not saved yet has none."""
        definition = self._definition(workflow)
        graph, folder = graph_in(definition), _folder(definition)
        if not self.read_only and disk(folder) is not None:
            with contextlib.suppress(InvalidDefinition):
                graph = await asyncio.to_thread(_current, folder)
        found = graph.find(stage)
        if found.file is None:
            raise InvalidRequest(f"{found.path} is a {found.kind}: it has no file")
        text = None if self.read_only else await asyncio.to_thread(code, folder / found.file)
        if text is None:
            text = desk_of(definition).works.files.get(found.file)  # type: ignore[attr-defined]
        return {"path": str(folder / found.file), "text": text}

    async def validate(self, what: str, *, by: str | None = None) -> dict[str, Json]:
        """Whether a folder (or the folder of a graph that is known) can be deployed: raises
        `InvalidDefinition` with everything wrong, `file:line` each."""
        from greenroom.runtime.stagechecks import checked_folder  # noqa: PLC0415  rare

        folder = self._deployable(what, by)
        definition, _ = await asyncio.to_thread(checked_folder, folder)
        row = next(
            (r for r in self._engine.registry.rows(definition.name) if r.hash == definition.hash),
            None,
        )
        return {
            "name": definition.name, "hash": definition.hash, "folder": str(folder),
            "version": None if row is None else row.version,
            "stages": [*graph_in(definition).stages],
        }  # fmt: skip

    async def deploy(self, what: str, *, by: str | None = None) -> shapes.DefinitionInfo:
        """Checks a folder and releases it: a version of its own, if anything in it has changed.
        `what` is the name of a graph that is known, or a folder, which only the owner of the daemon
        may name. Runs that have begun go on with the version they began with."""
        from greenroom.runtime.reloading import forget_modules  # noqa: PLC0415  rare
        from greenroom.runtime.stagechecks import checked_folder  # noqa: PLC0415  rare

        folder = self._deployable(what, by)
        _, document = await asyncio.to_thread(checked_folder, folder)
        forget_modules(folder)
        info = await self._engine.definitions.store(document, True, str(folder)[-200:], by)
        self.settle()
        return info

    def _deployable(self, what: str, by: str | None) -> Path:
        if not isinstance(what, str) or not what or "\0" in what:
            raise InvalidRequest("name a stage graph, or its folder")
        known = {one.name: _folder(one) for one in self._released()}
        if what in known:
            return known[what]
        if by is not None and not actor_of(by).owner:
            raise NotPermitted(
                "a folder brings code: only the owner of the daemon names one",
                hint=f"a graph that is known is deployed by name{did_you_mean(what, known)}",
            )
        return Path(what).absolute()

    # -- where runs are ----------------------------------------------------------------------------

    async def board(
        self,
        workflow: str,
        columns: builtins.list[str] | None = None,
        filter: Json = None,
        *,
        q: str = "",
        limit: int = 50,
        cursor: Mapping[str, str] | None = None,
        test: bool = False,
    ) -> dict[str, Json]:
        """Where the live runs of a graph are: a column a stage (those named, else all where a run can
        stand), its cards oldest first.

        `filter` is a condition over `{"data", "stage", "assignee", "status", "title", "instance"}`;
        `q` the filter of lists. A column has `stage title kind count more cards cursor targets`;
        with `more` there are at least `count` (10,000; with a `filter` those found so far). A card
        that is not `movable` says why it `stays`. A run that has parted is on the board as its
        parts. Failed runs stand where they failed. `test=True` shows the test runs and no others.
        """
        definition = self._definition(workflow)
        made = await self._board.read(
            graph_in(definition), columns, filter, q, limit, cursor or {}, test
        )
        return {"workflow": workflow, "version": definition.version, "columns": made}

    async def move(self, instance: str, stage: str, *, by: str | None = None) -> dict[str, Json]:
        """Moves a run along a transition, as a card on the board: one that waits at a form or hook
        (its question is closed), and one whose script has failed or waits for its next attempt,
        which is skipped. Raises `InvalidNextStage` with the stages that are `allowed`,
        `InvalidTransition` where the run stays for now, and why."""
        return await self._board.move(instance, stage, by)

    # -- logs --------------------------------------------------------------------------------------

    async def logs(
        self,
        workflow: str | None = None,
        *,
        stage: str | None = None,
        run: str | None = None,
        text: str | None = None,
        limit: int = 100,
        after: str | None = None,
        before: str | None = None,
        test: bool | None = None,
    ) -> dict[str, Json]:
        """What stages did and printed, over all runs, newest first.

        A line has `at place instance workflow version stage op attempt ended title error output test by`;
        `ended` is `finished`, `answered`, `failed` or `skipped`. `text` looks into output, error and
        title. `after` and `before` are places of lines, or times. Where a
        search has looked at 20,000 runs it ends, and is `partial`.
        """
        row = None if run is None else await self._engine._find(run, TEST if test else None)
        return await self._logs.read(workflow, row, Wanted(stage, text, after, before), limit, test)

    async def follow(self, workflow: str | None = None, **options: Any) -> AsyncIterator[Json]:
        """The lines of `logs` as they come, oldest first, from now on."""
        after = rfc3339(self._engine.clock.now())
        while self._engine.state == "open":
            page = await self.logs(workflow, after=after, limit=LINES_MAX, **options)
            for line in reversed(page["items"]):
                after = line["place"]
                yield line
            await asyncio.sleep(FOLLOW_S)


def _requested(input: dict[str, Json], *, initial: bool) -> dict[str, Json]:
    """A test at a hook: what is given is the body of the request where a request begins a run, else
    the data of the run, with the request under `request`."""
    data = dict(input["data"])
    said = data.pop("request", None)
    if initial and said is None:
        said, data = {"body": data}, {}
    request = {"body": None, "query": {}, "headers": {}, "method": "POST", **(said or {})}
    return {**input, "data": data, "request": request}


def desk_of(definition: Definition) -> StageDesk:
    desk = definition.desk
    assert isinstance(desk, StageDesk)
    return desk


def graph_in(definition: Definition) -> StageGraph:
    return desk_of(definition).graph


def _graph_data(definition: Definition, graph: StageGraph) -> dict[str, Json]:
    said = {
        one["path"]: one
        for one in graph.document.get("stages", [])
        if isinstance(one, dict) and isinstance(one.get("path"), str)
    }
    initial = {stage.path for stage in graph.initial()}
    return {
        "name": graph.name, "version": definition.version, "kind": KIND,
        "stages": [
            {
                **copy(said.get(path, {})), "path": path, "kind": stage.kind, "file": stage.file,
                "title": stage.title or path, "declared": stage.declared,
                "initial": path in initial, "access": stage.access.as_data(),
                "targets": graph.targets(path),
            }
            for path, stage in graph.stages.items()
        ],
        "transitions": copy(graph.document.get("transitions", [])),
        "teams": {name: [*people] for name, people in graph.teams.items()},
        "roles": {name: [*people] for name, people in graph.roles.items()},
        "mermaid": graph.mermaid(),
    }  # fmt: skip


# -- files -----------------------------------------------------------------------------------------


def _folder(definition: Definition) -> Path:
    written = definition.written
    document = written.document if written is not None else None
    return Path(str(document["folder"])) if isinstance(document, dict) else Path()


def _current(folder: Path) -> StageGraph:
    from greenroom.runtime.sources import compile_document  # noqa: PLC0415  it imports much
    from greenroom.runtime.stagefolders import document_of  # noqa: PLC0415

    return graph_in(compile_document(document_of(folder), str(folder)))
