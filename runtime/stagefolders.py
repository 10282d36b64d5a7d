"""Stage folders: `stages.json` and one Python file a stage, as workflows of an engine.

A version of such a workflow is the whole folder: the graph and the text of every file are kept in
the store, so a run goes on with the files it began with whatever is saved meanwhile. Modules that
the files import are imported as ever: they are those of today.
"""

from __future__ import annotations

import ast
import contextvars
import functools
import linecache
import sys
import threading
import types
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

import greenlet
import msgspec

from greenroom.actors.fiber import Fiber
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import InvalidDefinition, Problem, StepFailed
from greenroom.definitions.forms import form_target
from greenroom.definitions.limits import LIMITS
from greenroom.definitions.questions import ASKER, SHOWN
from greenroom.definitions.retries import retry_policy
from greenroom.definitions.services import RECORDER
from greenroom.definitions.stagegraphs import (
    STAGE_KEYS,
    TRANSITION_KEYS,
    Stage,
    StageGraph,
    graph_from,
)
from greenroom.definitions.stages import SCENE, Scene, StageEnded, StageExit
from greenroom.definitions.stageworkflows import stage_workflow
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Target, data_hash
from greenroom.runtime.notes import Noted
from greenroom.runtime.stageoutput import Output, kept

NAME: Final = "stages.json"
FILES_MAX: Final = 500
FILE_BYTES_MAX: Final = 256 * 1024
GUARD: Final = "__main__"
"""A file that asks for this name is run under it; any other under one of its own, so that what it
declares can be told from what others do."""
FAILED_OUTPUT_MAX: Final = 4096
"""Characters of what a failed attempt printed that are kept with its error."""
ASKS: Final = frozenset(
    {f"read_{kind}" for kind in (
        "text", "textarea", "email", "number", "date", "checkbox", "dropdown", "multiple", "file",
        "page",
    )} | {"page"}
)  # fmt: skip
REQUESTS: Final = frozenset({"get_request", "send_json"})


# -- reading a folder ----------------------------------------------------------------------------


def document_of(folder: str | Path) -> dict[str, Json]:
    """A folder as the document that is kept of it. Raises `InvalidDefinition`."""
    path = Path(folder).resolve()
    graph = read_graph(path)
    files: dict[str, str] = {}
    for file in sorted(path.glob("*.py")):
        if file.name.startswith(("test_", ".")) or file.name == "conftest.py":
            continue
        files[file.name] = _text(file)
        if len(files) > FILES_MAX:
            raise InvalidDefinition(f"{folder} has more than {FILES_MAX} Python files")
    return {"stages": graph, "files": files, "folder": str(path)}


def read_graph(folder: Path) -> dict[str, Json]:
    """`stages.json` as it is."""
    place = folder / NAME
    try:
        found = msgspec.json.decode(place.read_bytes())
    except OSError as error:
        raise InvalidDefinition(f"{place} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise InvalidDefinition(f"{place} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidDefinition(f"{place} holds one object")
    return found


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
        if len(raw) > FILE_BYTES_MAX:
            raise InvalidDefinition(f"{file} has more than {FILE_BYTES_MAX:,} bytes")
        return raw.decode("utf-8")
    except OSError as error:
        raise InvalidDefinition(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidDefinition(f"{file} is not UTF-8 text") from None


def read(document: Json, place: str) -> Definition:
    """The workflow of a folder that was read, or of the store's copy of one."""
    if isinstance(document, str):
        document = msgspec.json.decode(document)
    if not isinstance(document.get("stages"), dict):
        raise InvalidDefinition(
            f"{place}: a stage graph comes as a folder, with the files of its stages",
            hint="greenroom deploy FOLDER",
        )
    raw, files = document["stages"], document.get("files", {})
    folder = Path(document.get("folder", "."))
    where = str(folder / NAME)
    graph = graph_from(raw, where, unnamed(raw, files))
    problems = [
        Problem(f"$.stages[{number}].file", f"there is no {stage.file} in {folder}", where)
        for number, stage in enumerate(graph.stages.values())
        if stage.declared and stage.file is not None and stage.file not in files
    ]
    for file, text in files.items():
        try:
            ast.parse(text)
        except SyntaxError as error:
            place_ = f"{folder / file}:{error.lineno}"
            problems.append(Problem("", f"SyntaxError: {error.msg}", place_))
    if problems:
        raise InvalidDefinition(f"{where} is not valid", problems)
    works = FolderWorks(graph, files, folder)
    return stage_workflow(graph, works, fingerprint(raw, files), where)


def fingerprint(raw: Mapping[str, Json], files: Mapping[str, str]) -> str:
    """What makes a version: the graph without what only an editor reads, and the files."""
    stages = [{key: one[key] for key in STAGE_KEYS if key in one} for one in raw.get("stages", [])]
    arrows = [
        {key: one[key] for key in TRANSITION_KEYS if key in one}
        for one in raw.get("transitions", [])
    ]
    limits = {key: raw[key] for key in LIMITS if raw.get(key) is not None}
    said = [raw.get("name"), stages, arrows, raw.get("teams"), raw.get("roles"), dict(files)]
    return data_hash([*said, limits] if limits else said)


def unnamed(raw: Mapping[str, Json], files: Mapping[str, str]) -> dict[str, str]:
    """Files that are stages though `stages.json` does not name them, with their kinds: those that
    no other file imports."""
    named: set[str] = set()
    for one in raw.get("stages") or []:
        if isinstance(one, dict) and isinstance(one.get("path"), str):
            path = one["path"].replace("/", "_").replace("-", "_").replace(".", "_")
            named.add(str(one.get("file") or f"{path}.py"))
    imported = {name for text in files.values() for name in _imported(text)}
    return {
        file: kind_of(text)
        for file, text in files.items()
        if file not in named
        and not file.startswith("_")
        and file.removesuffix(".py") not in imported
        and file != "setup.py"
    }


def _imported(text: str) -> set[str]:
    return {name.partition(".")[0] for name, _ in imports_of(text)}


def imports_of(text: str) -> list[tuple[str, int]]:
    """The modules a file imports, wherever in it, and the lines."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module, node.lineno))
    return sorted(found, key=lambda one: one[1])


def kind_of(text: str) -> str:
    """What a file is by what it calls: a form asks, a hook answers."""
    names = {
        node.func.id
        for node in ast.walk(ast.parse(text) if _parses(text) else ast.Module([], []))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return "form" if names & ASKS else "hook" if names & REQUESTS else "script"


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# -- running files -------------------------------------------------------------------------------


class FolderWorks:
    """What the stages of a folder do: each runs its file."""

    def __init__(self, graph: StageGraph, files: Mapping[str, str], folder: Path) -> None:
        self.graph = graph
        self.files = files
        self.folder = folder
        self._codes: dict[str, types.CodeType] = {}
        self._lock = threading.Lock()

    def code(self, file: str) -> types.CodeType:
        with self._lock:
            found = self._codes.get(file)
            if found is None:
                text, name = self.files[file], str(self.folder / file)
                found = self._codes[file] = compile(text, name, "exec", dont_inherit=True)
                linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        return found

    def run(self, stage: Stage) -> None:
        """Runs the file of a stage from its top, in a namespace of its own."""
        assert stage.file is not None
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        own = f"{self.folder.name}_{stage.file.removesuffix('.py')}".replace("-", "_")
        name = GUARD if GUARD in self.files[stage.file] else f"greenroom_stage_{own}"
        module = types.ModuleType(name)
        module.__file__ = str(self.folder / stage.file)
        if name != GUARD:
            sys.modules[name] = module
        try:
            exec(self.code(stage.file), module.__dict__)  # noqa: S102  that is what a stage is
        except StageEnded:
            pass
        except SystemExit as end:
            if end.code not in (None, 0):
                raise StageExit(f"{stage.file} ended with sys.exit({end.code!r})") from end

    def _today(self, stage: Stage) -> tuple[FolderWorks, Stage]:
        """The file of a stage as it is released now; the graph stays that of the run."""
        face = ENGINE.get()
        stages = getattr(face, "stages", None)
        works = None if stages is None else stages.works(self.graph.name)
        found = None if works is None else works.graph.stages.get(stage.path)
        if works is None or found is None or found.file is None or found.kind != stage.kind:
            return self, stage
        return works, found

    # -- scripts, hooks, jobs ----------------------------------------------------------------------

    @functools.cache  # noqa: B019  a graph lives as long as its version is used
    def script(self, stage: Stage) -> Target:
        def perform(_context: Any = None, **given: Any) -> Json:
            scene = Scene(
                self.graph, stage, data=given.get("data"), assignee=given.get("assignee"),
                title=given.get("title"), request=given.get("request"),
                run=getattr(_context, "instance", None), test=bool(getattr(_context, "test", 0)),
            )  # fmt: skip
            works, here = self, stage
            if getattr(_context, "resumed", False):  # somebody has mended it
                works, here = self._today(stage)
            with _recorded(_context), kept() as output:
                token = SCENE.set(scene)
                try:
                    works.run(here)
                except Exception as error:
                    _with_output(error, output)
                    raise
                finally:
                    SCENE.reset(token)
            return _outcome(scene, output)

        limit = stage.timeout_s if stage.kind != "hook" else None
        return Target(stage.path, perform, None, False, retry=stage.retry, timeout_s=limit)

    # -- forms -------------------------------------------------------------------------------------

    @functools.cache  # noqa: B019
    def form(self, stage: Stage) -> Target:
        def form(
            stage: str, data: dict, assignee: str | None = None,  # type: ignore[type-arg]
            title: str | None = None, run: str | None = None,
        ) -> Any:  # fmt: skip
            scene = Scene(
                self.graph, self.graph.stages[stage], data=data, assignee=assignee, title=title,
                run=run,
            )  # fmt: skip
            return self._pages(scene)

        # annotations as text would be looked up in this module, which has them all
        form.__name__ = "form"
        return form_target(form, stage.title or stage.path)

    def _pages(self, scene: Scene) -> Generator[Any, Any, dict[str, Any]]:
        """The file of a form as a generator of pages: it runs in a greenlet that each question
        leaves."""
        output = Output()

        def run() -> None:
            noted = RECORDER.get()
            if isinstance(noted, Noted):
                noted.begin()
            ASKER.set(lambda cls: fiber.ask(cls))
            SCENE.set(scene)
            SHOWN.set([])
            with kept() as written:
                try:
                    self.run(scene.stage)
                finally:
                    output.write(written.text)

        fiber = Fiber(run)
        answer: Any = None
        try:
            while True:
                try:
                    asked = fiber.send(answer)
                except StopIteration:
                    break
                answer = yield asked
        finally:
            if fiber is not None:
                contextvars.copy_context().run(_closed, fiber)
        return _outcome(scene, output)

    # -- telling people ----------------------------------------------------------------------------

    @functools.cache  # noqa: B019
    def notify(self, stage: Stage) -> Target:
        def tell(_context: Any = None, **given: Any) -> Json:
            from greenroom.runtime.stagemail import tell_assignee  # noqa: PLC0415  start-up time

            return tell_assignee(_context, given)

        policy = retry_policy(delay="10s", backoff=3, max_delay="30m", max_attempts=6)
        return Target("notify", tell, None, False, retry=policy)


def _closed(fiber: Fiber) -> None:
    """A form is left where it asks; what it does on the way out is no answer."""
    try:
        fiber.close()
    except greenlet.GreenletExit:
        return


def _outcome(scene: Scene, output: Output) -> dict[str, Json]:
    found = scene.outcome()
    text = output.text
    if text:
        found["output"] = text
    return found


def _with_output(error: Exception, output: Output) -> None:
    """What a failed attempt printed goes with its error."""
    text = output.text[-FAILED_OUTPUT_MAX:]
    if text and not isinstance(error, StepFailed):
        error.__greenroom_output__ = text  # type: ignore[attr-defined]


class _recorded:
    """Calls of services and `once` inside are recorded under the op that runs."""

    def __init__(self, context: Any) -> None:
        face = ENGINE.get()
        known = face is not None and context is not None and context.instance is not None
        self._recorder = face.recorder(context) if known and face is not None else None

    def __enter__(self) -> None:
        self._token = RECORDER.set(self._recorder or RECORDER.get())

    def __exit__(self, *exc: object) -> None:
        RECORDER.reset(self._token)
