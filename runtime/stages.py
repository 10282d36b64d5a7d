"""`engine.stages`: stage graphs as people see and steer them. Graph, board, moves, logs, deploy."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import hashlib
import os
import shlex
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from greenroom.actors.entries import (
    Answered,
    AttemptFailed,
    OpCompleted,
    OpFailed,
    OpSkipped,
    decode_entry,
)
from greenroom.actors.ports import AskView, InstanceRow, Listed, ListInstances, Load, Loaded, Prune
from greenroom.actors.progress import Progress, status_of
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import (
    IdConflict,
    InvalidInput,
    InvalidRequest,
    InvalidTransition,
    NotFound,
    NotPermitted,
    ReadOnly,
)
from greenroom.definitions.events import Event
from greenroom.definitions.matching import compile_where
from greenroom.definitions.people import actor_of
from greenroom.definitions.stagegraphs import StageGraph, graph_from
from greenroom.definitions.stageruns import HOOK, MOVE
from greenroom.definitions.stageworkflows import KIND, StageDesk
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Definition
from greenroom.runtime import shapes
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.progresses import folded
from greenroom.runtime.terms import terms_of

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

TEST: Final = "test"
"""The namespace of test runs: erased whenever an engine is opened."""
PAGE: Final = 200
LOGS_MAX: Final = 1_000
FOLLOW_S: Final = 1.0
_FINAL: Final = ("completed", "cancelled")
_LIVE: Final = ("pending", "running", "waiting", "paused", "failed")


class Stages:
    """The stage graphs of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.read_only = False
        """Under `serve`: the files in the working tree are looked at, never written."""
        self._given_teams = frozenset(engine.teams)
        """Those the engine was given: a graph does not change them."""

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Test runs of the time before are erased, before anything is recovered."""
        await self._erase_tests()

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

    async def _erase_tests(self) -> None:
        call = self._engine.journal.call
        terms = [("namespace", ":", TEST, False)]
        while True:
            page: Listed = await call(
                ListInstances(terms, PAGE, None, self._engine.clock.now(), total=False)
            )
            tests = tuple(row.n for row in page.rows if row.test and row.kind == KIND)
            if not tests:
                return
            await call(Prune(0, only=tests))

    async def opened(
        self,
        definition: Definition,
        input: dict[str, Json],
        form: Any,
        test: bool,
        namespace: str | None,
    ) -> tuple[dict[str, Json], str | None]:
        """The input of a run with its first form filled in, if pages were given; where it runs."""
        if form is not None:
            stage = graph_in(definition).stages[input["stage"]]
            if stage.kind != "form":
                raise InvalidRequest(f"{stage.path} is a {stage.kind}, it has no form to fill in")
            input = {
                **input,
                "answer": await self._engine.forms.begun(definition, input, form, test),
            }
        return input, TEST if test and namespace is None else namespace

    def _released(self) -> builtins.list[Definition]:
        registry = self._engine.registry
        found = [registry.released(name) for name in registry.names()]
        return [one for one in found if one.kind == KIND and isinstance(one.desk, StageDesk)]

    async def is_test(self, ask: AskView) -> bool:
        """Whether a question is of a test run."""
        if ask.kind != "form" or not self._released():
            return False
        p = await self._engine._progress(ask.n)
        return p.test and p.kind == KIND

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
        """The stage graphs there are: `name version enabled folder writable stages`."""
        return [
            {
                "name": one.name, "version": one.version,
                "enabled": self._engine.registry.is_enabled(one.name),
                "folder": str(_folder(one)), "writable": self._is_writable(one),
                "stages": [*graph_in(one).stages],
            }
            for one in self._released()
        ]  # fmt: skip

    async def graph(self, workflow: str) -> dict[str, Json]:
        """A graph as an editor shows it: `name version stages transitions teams roles folder
        writable etag deployed`, and `document`, which is `stages.json` as it is on disk. A stage has
        `path kind file title declared initial access` and all that `stages.json` says of it."""
        definition = self._definition(workflow)
        graph, folder = graph_in(definition), _folder(definition)
        on_disk = await asyncio.to_thread(_disk, folder)
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
        none; what runs changes with `deploy`. `etag` is that
        of the graph the change began with: where the file is another one by now nothing is
        written, and `IdConflict` has both. Raises `InvalidDefinition`, `ReadOnly`."""
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
        now = await asyncio.to_thread(_disk, folder)
        if etag is not None and now is not None and now[1] != etag:
            raise IdConflict(
                "stages.json has changed on disk since it was read; nothing was written",
                hint="look at both, and save again with the etag of the file",
                theirs=now[0], yours=document, etag=now[1],
            )  # fmt: skip
        await asyncio.to_thread(_write, folder / "stages.json", document)
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
        opened = not self.read_only and path.is_file() and await asyncio.to_thread(_edit, path)
        return {"path": str(path), "opened": opened}

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
        `q` the filter of lists. A column has `stage title kind count cards cursor`; `count` counts
        all where there is no `filter`. A run that has parted is on the board as its parts. Failed
        runs stand where they failed. `test=True` shows the test runs and no others.
        """
        definition = self._definition(workflow)
        graph = graph_in(definition)
        names = columns if columns is not None else [
            path for path, stage in graph.stages.items()
            if stage.kind not in ("condition", "iterator")
        ]  # fmt: skip
        wanted = compile_where(filter)
        limit = max(1, min(limit, PAGE))
        leaves = await self._leaves(graph, workflow, q, test)
        made: list[dict[str, Json]] = []
        for name in names:
            stage = graph.find(name)
            here = [leaf for leaf in leaves if leaf.stage == stage.path]
            if filter is not None:
                await self._fill(here)
                here = [leaf for leaf in here if wanted.matches(leaf.card())]
            start = int((cursor or {}).get(stage.path, 0))
            after = start + limit
            shown = here[start:after]
            await self._fill(shown)
            made.append(
                {
                    "stage": stage.path, "title": stage.title or stage.path, "kind": stage.kind,
                    "count": len(here), "cards": [leaf.card() for leaf in shown],
                    "cursor": str(after) if after < len(here) else None,
                    "targets": graph.targets(stage.path),
                }
            )  # fmt: skip
        return {"workflow": workflow, "version": definition.version, "columns": made}

    async def _leaves(
        self, graph: StageGraph, workflow: str, q: str, test: bool
    ) -> builtins.list[Leaf]:
        """The live runs that have not parted, oldest first. Where the row of a run says at which
        stage it stands, nothing more is read of it."""
        found: list[Leaf] = []
        async for rows in self._rows(workflow, q, "live"):
            leaves = [Leaf(row, stage_in(row, graph)) for row in rows if row.test is test]
            await self._fill([leaf for leaf in leaves if leaf.stage is None])
            found += [leaf for leaf in leaves if not leaf.has_parted]
        found.sort(key=lambda leaf: (leaf.row.created, leaf.row.id))
        return found

    async def _fill(self, leaves: builtins.list[Leaf]) -> None:
        """Reads the progress of those that have none yet."""
        missing = [leaf for leaf in leaves if leaf.progress is None]
        for start in range(0, len(missing), PAGE):
            some = missing[start : start + PAGE]
            loaded = await self._loaded([leaf.row for leaf in some])
            for leaf in some:
                one = loaded.get(leaf.row.n)
                if one is None:
                    continue
                leaf.progress = folded(one)
                leaf.stage = str(leaf.progress.state.get("stage"))

    async def _loaded(self, rows: Sequence[InstanceRow]) -> dict[int, Loaded]:
        call = self._engine.journal.call
        found: list[Loaded] = await call(Load(tuple(row.n for row in rows)))
        return {one.row.n: one for one in found if one is not None}

    async def _rows(
        self, workflow: str | None, q: str, which: Literal["live", "ended"]
    ) -> AsyncIterator[builtins.list[InstanceRow]]:
        """Rows of runs, those whose status changed last first, some at a time."""
        engine = self._engine
        now = engine.clock.now()
        terms = terms_of(parse_filter(q), now)
        if workflow is not None:
            terms.append(("workflow", ":", workflow, False))
        others = _FINAL if which == "live" else _LIVE
        terms += [("status", ":", status, True) for status in others]
        cursor: tuple[int, int] | None = None
        while True:
            page: Listed = await engine.journal.call(
                ListInstances(terms, PAGE, cursor, now, total=False)
            )
            rows = [row for row in page.rows if row.kind == KIND]
            if rows:
                yield rows
            cursor = page.cursor
            if cursor is None:
                return

    async def move(self, instance: str, stage: str, *, by: str | None = None) -> dict[str, Json]:
        """Moves a run that waits at a form or hook along a transition, as a card on the board. Its
        question is closed. Raises `InvalidNextStage` with the stages that are `allowed`,
        `InvalidTransition` where the run does not wait at such a stage."""
        engine = self._engine
        engine._check_open()
        row = await engine._find(instance)
        p = await engine._progress(row.n)
        definition = engine.registry.version(p.workflow, p.version)
        if definition is None or definition.kind != KIND:
            raise InvalidRequest(f"{row.id} is no run of a stage graph", instance=row.id)
        graph, here = graph_in(definition), str(p.state.get("stage"))
        target = graph.find(stage).path
        desk = definition.desk
        assert isinstance(desk, StageDesk)
        desk.may_move(p.state, target)
        wait = next((key for key in p.ops if key.endswith(".move")), None)
        if p.end is not None or wait is None:
            raise InvalidTransition(
                f"{row.id} is {status_of(p)} at {here}: only runs that wait at a form or hook move",
                instance=row.id,
            )
        event = Event(type=MOVE, data={"stage": target, "from": here})
        sent = await engine.send(row.id, event, by=by or "somebody")
        if not sent.matched:
            raise InvalidTransition(f"{row.id} has gone on meanwhile", instance=row.id)
        return {"instance": row.id, "stage": target, "from": here}

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

        A line has `at instance workflow version stage op attempt ended title error output test by`;
        `ended` is `finished`, `failed` or `asked`. `text` looks into output and error. `after`
        and `before` are times of lines: what is newer, and what is older.
        """
        limit = max(1, min(limit, LOGS_MAX))
        only: str | None = None
        if run is not None:
            found = await self._engine._find(run, TEST if test else None)
            workflow, only = found.workflow, found.id
        lines: list[dict[str, Json]] = []

        def wanted(line: dict[str, Json]) -> bool:
            return (
                (stage is None or line["stage"] == stage)
                and (after is None or line["at"] > after)
                and (before is None or line["at"] < before)
                and (text is None or text.lower() in _words(line))
            )

        async for rows in self._rows(workflow, "", "live"):
            lines += filter(wanted, await self._lines(rows, only, test))
        async for rows in self._rows(workflow, "", "ended"):
            lines += filter(wanted, await self._lines(rows, only, test))
            lines.sort(key=_newest, reverse=True)
            oldest = rfc3339(rows[-1].updated)  # nothing that comes has a later line
            if (len(lines) > limit and lines[limit]["at"] > oldest) or (after or "") > oldest:
                break
        lines.sort(key=_newest, reverse=True)
        items = lines[:limit]
        return {"items": items, "before": items[-1]["at"] if len(lines) > limit else None}

    async def follow(self, workflow: str | None = None, **options: Any) -> AsyncIterator[Json]:
        """The lines of `logs` as they come, oldest first, from now on."""
        after = rfc3339(self._engine.clock.now())
        while self._engine.state == "open":
            page = await self.logs(workflow, after=after, limit=LOGS_MAX, **options)
            for line in reversed(page["items"]):
                after = line["at"]
                yield line
            await asyncio.sleep(FOLLOW_S)

    async def _lines(
        self, rows: Sequence[InstanceRow], only: str | None, test: bool | None
    ) -> builtins.list[dict[str, Json]]:
        """What the stages of some runs did."""
        some = [
            row for row in rows
            if only in (None, row.id) and (test is None or row.test is test)
        ]  # fmt: skip
        loaded = await self._loaded(some) if some else {}
        lines: list[dict[str, Json]] = []
        for row in some:
            for stored in loaded[row.n].rows if row.n in loaded else ():
                entry = decode_entry(stored)
                lines += [_line(row, entry, said) for said in _ended(entry)]
        return lines


class Leaf:
    """A run on the board. `stage` is where it stands, `progress` all there is of it; each may be
    unknown yet."""

    __slots__ = ("progress", "row", "stage")

    def __init__(self, row: InstanceRow, stage: str | None) -> None:
        self.row = row
        self.stage = stage
        self.progress: Progress | None = None

    @property
    def has_parted(self) -> bool:
        return self.progress is not None and bool(self.progress.state.get("parted"))

    def card(self) -> dict[str, Json]:
        assert self.progress is not None
        return card_of(self.row, self.progress)


def stage_in(row: InstanceRow, graph: StageGraph) -> str | None:
    """The stage at which a run stands, as the names of its open ops tell; None where they do not."""
    for name in row.steps.split("\n"):
        for found in (name, name.removeprefix(HOOK), name.rpartition("#")[0]):
            if found in graph.stages:
                return found
    return None


def _newest(line: dict[str, Json]) -> tuple[Any, ...]:
    return line["at"], line["instance"], line["op"], line["attempt"]


def _words(line: dict[str, Json]) -> str:
    return f"{line['output'] or ''}\n{line['error'] or ''}\n{line['title'] or ''}".lower()


def desk_of(definition: Definition) -> StageDesk:
    desk = definition.desk
    assert isinstance(desk, StageDesk)
    return desk


def graph_in(definition: Definition) -> StageGraph:
    return desk_of(definition).graph


def card_of(row: InstanceRow, p: Progress) -> dict[str, Json]:
    """A run on the board."""
    state = p.state
    return {
        "instance": row.id, "key": row.key, "stage": state.get("stage"),
        "title": state.get("title"), "assignee": state.get("assignee"), "status": row.status,
        "data": copy(state.get("data") or {}), "created": rfc3339(row.created),
        "updated": rfc3339(row.updated), "parent": row.parent, "test": row.test,
        "ask": next((f"{row.id}.{k}" for k, op in p.ops.items() if op.request.kind == "ask"), None),
        "movable": any(key.endswith(".move") for key in p.ops),
    }  # fmt: skip


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


def _disk(folder: Path) -> tuple[dict[str, Json], str] | None:
    """`stages.json` as it is on disk, and its etag."""
    try:
        raw = (folder / "stages.json").read_bytes()
        document = msgspec.json.decode(raw)
    except (OSError, msgspec.DecodeError):
        return None
    return document, hashlib.sha256(raw).hexdigest()[:16]


def _write(path: Path, document: Json) -> None:
    """Whole or not at all."""
    from greenroom.runtime.stagechecks import as_json  # noqa: PLC0415  rare

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".stages-", suffix=".json")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(as_json(document))
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


STARTERS: Final = {
    "form": "from greenroom import get_stage, read_text\n\nstage = get_stage()\n"
    'stage["answer"] = read_text("Answer")\n',
    "hook": "from greenroom import get_request, get_stage, send_json\n\nstage = get_stage()\n"
    'stage["request"] = get_request().body\nsend_json({"accepted": True})\n',
    "job": "from greenroom import get_stage\n\nstage = get_stage()\n",
    "script": "from greenroom import get_stage\n\nstage = get_stage()\n",
}
"""What the file of a stage made in the editor begins with."""


def begin_files(folder: Path, graph: StageGraph) -> None:
    """Makes the files that stages name and nobody has written yet; never touches one there is."""
    for stage in graph.stages.values():
        if stage.file is not None:
            with contextlib.suppress(FileExistsError), open(folder / stage.file, "x") as file:
                file.write(STARTERS[stage.kind])


_IN_TERMINAL: Final = frozenset({"vi", "vim", "nvim", "nano", "pico", "ed", "joe", "micro", "hx"})


def _edit(path: Path) -> bool:
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    if not words or Path(words[0]).name in _IN_TERMINAL or "-nw" in words:
        return False
    try:
        editor = subprocess.Popen(
            [*words, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return False
    threading.Thread(target=editor.wait, daemon=True).start()  # it may stay open for hours
    return True


# -- lines -----------------------------------------------------------------------------------------


def _ended(entry: Any) -> builtins.list[tuple[str, str, Any]]:
    """What ended with an entry: (op, how, value or failure), of stages alone."""
    match entry:
        case OpCompleted():
            return [(entry.key, "finished", entry.value)] if _is_stage(entry.key) else []
        case Answered():
            return [(entry.key, "answered", entry.value)] if _is_stage(entry.key) else []
        case OpFailed() | AttemptFailed():
            return [(entry.key, "failed", entry.error)] if _is_stage(entry.key) else []
        case OpSkipped():
            return [(entry.key, "skipped", entry.value)] if _is_stage(entry.key) else []
    return []


def _is_stage(key: str) -> bool:
    return "#" in key and "." not in key.rpartition("#")[2]


def _line(row: InstanceRow, entry: Any, said: tuple[str, str, Any]) -> dict[str, Json]:
    op, ended, value = said
    output = value.get("output") if isinstance(value, dict) else None
    error = None
    if ended == "failed":
        error = f"{value.type}: {value.message}"
        output = value.details.get("output")
    return {
        "at": rfc3339(entry.at), "instance": row.id, "workflow": row.workflow,
        "version": row.version, "stage": op.rpartition("#")[0], "op": op,
        "attempt": getattr(entry, "attempt", 1), "ended": ended,
        "title": value.get("title") if isinstance(value, dict) else None,
        "error": error, "output": output, "test": row.test, "by": getattr(entry, "by", None),
    }  # fmt: skip
