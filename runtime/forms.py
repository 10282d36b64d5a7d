"""Forms at run time: the schema somebody sees, and the answer that is complete.

The functions of forms are the users' code, so they run in threads of their own, with a limit of
time, on copies. Nothing is stored between two pages; only a complete and valid answer is told to
the instance.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.instance import Instance
from greenroom.actors.planned import target_in, view_of
from greenroom.actors.ports import AskView
from greenroom.actors.progress import Progress
from greenroom.actors.replay import Changed
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import (
    CodeChanged,
    FormError,
    FormInvalid,
    FormNotComplete,
    FormOverflow,
    GreenroomError,
    NoSuchAsk,
)
from greenroom.definitions.events import Event
from greenroom.definitions.forms import Result, pages_of, run_target
from greenroom.definitions.resources import Stored
from greenroom.definitions.services import RECORDER
from greenroom.definitions.values import Json, copy
from greenroom.definitions.workflow import Definition, Plan, Target
from greenroom.runtime.facade import ThreadFace
from greenroom.runtime.loggers import LazyLogger
from greenroom.runtime.notes import Noted

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

FORM_S: Final = 10.0
"""How long a form may take to say what it asks, and a list of questions for all of its forms."""
THREADS: Final = 4


_EVENT_FIELDS: Final = frozenset(Event.__struct_fields__)


def event_of(data: Json) -> Event | None:
    """The event that started an instance."""
    if not data:
        return None
    return Event(**{name: copy(value) for name, value in data.items() if name in _EVENT_FIELDS})


class Forms:
    """Runs the forms of one engine. `twice`: each is run a second time, to see that it is pure."""

    def __init__(self, engine: Engine, *, twice: bool = False) -> None:
        self._engine = engine
        self._twice = twice
        self._threads: ThreadPoolExecutor | None = None
        self._log: Any = LazyLogger("greenroom.forms")

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    # -- before an instance exists -------------------------------------------------------------

    async def started(
        self, definition: Definition, input: dict[str, Json], form: Any, by: str | None, test: bool
    ) -> dict[str, Json]:
        """The input with what the initial form of a workflow makes of the pages."""
        target = definition.form
        assert target is not None
        virtual = {
            "workflow_name": definition.name, "workflow_target": definition.target or definition.kind, "reporter": by,
        }  # fmt: skip
        pages = pages_of(form) if form is not None else []
        found = await self._engine.resources.fetch(target, input, self._engine.namespace)
        result = await self._run(target, input, pages, virtual, found, test)
        return {**input, **result.value}

    async def begun(
        self, definition: Definition, input: dict[str, Json], form: Any, test: bool
    ) -> dict[str, Json]:
        """What the form of a stage makes of pages that come before there is a run. Its effects are
        not kept: a run that is not made is begun from the first page again."""
        desk: Any = definition.desk
        target = desk.form(input["stage"])
        virtual = {"run": None, "workflow_name": definition.name}
        source = {"assignee": None, "title": None, **input}
        result = await self._run(target, source, pages_of(form), virtual, None, test)
        return result.value

    # -- open questions ------------------------------------------------------------------------

    async def answer(self, ask: AskView, data: Json, by: str | None = None) -> dict[str, Json]:
        """What the form makes of an answer. Raises what `run_form` raises; of the form of a stage,
        the pages that are good so far are kept as the draft of `by`."""
        target, source, virtual, found, test = await self._found(ask)
        pages = pages_of(data)
        noted = await self._noted(ask, test)
        try:
            result = await self._run(target, source, pages, virtual, found, test, recorder=noted)
        except FormNotComplete:
            if noted is not None and pages:
                await self._engine.asks.draft(ask.id, pages, by=by)
            raise
        return result.value

    async def _noted(self, ask: AskView, test: bool) -> Noted | None:
        """What keeps the effects of a stage's form; other forms have none."""
        definition = self._engine.registry.version(ask.workflow, ask.version)
        if definition is None or definition.kind != "stages":
            return None
        return await Noted.of(self._engine, ask, test)

    async def schema(self, ask: AskView, limit_s: float = FORM_S) -> tuple[Json, int | None]:
        """The schema of the first page, and how many pages are known to be asked for: one until an
        answer to it shows whether there are more. None where the form cannot say."""
        try:
            target, source, virtual, found, test = await self._found(ask)
            noted = await self._noted(ask, test)
            result = await self._run(
                target, source, [], virtual, found, test, limit_s, recorder=noted
            )
        except FormNotComplete as wanted:
            return wanted.schema, wanted.details.get("page")
        except GreenroomError:
            return None, None
        return None, result.pages

    async def _found(
        self, ask: AskView
    ) -> tuple[Target, dict[str, Json], dict[str, Any], dict[str, Stored] | None, bool]:
        """The form of a question, a copy of what it reads, the facts the engine adds, and the
        resources it asks for."""
        engine = self._engine
        p: Progress = await engine._progress(ask.n)
        op = p.ops.get(ask.op)
        if p.ended or op is None or op.request.kind != "ask":
            raise NoSuchAsk(f"the question {ask.id} is not open any more", ask=ask.id)
        definition = engine.registry.version(p.workflow, p.version)
        target = None if definition is None else await self._target(definition, p, ask)
        if target is None or definition is None:
            raise CodeChanged(
                f"{p.workflow} has no form for {ask.op} ({ask.title!r}) any more",
                hint="bring its code back, or skip or cancel",
                instance=p.id, op=ask.op,
            )  # fmt: skip
        if isinstance(definition.body, Plan):
            source = view_of(definition, p, ask.op)
        else:
            source = op.request.args or {}
        virtual = {
            "run": p.id, "process_id": p.id, "workflow_name": p.workflow,
            "workflow_target": definition.target or definition.kind, "reporter": None, "event": event_of(p.event),
        }  # fmt: skip
        found = await engine.resources.fetch(target, source, p.namespace)
        return target, copy(source), virtual, found, p.test

    async def _target(self, definition: Definition, p: Progress, ask: AskView) -> Target | None:
        if isinstance(definition.body, Plan):
            return target_in(definition, ask.op)
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._engine.directory.activate(
            ask.n,
            lambda found: None if future.done() else future.set_result(found),
            lambda error: None if future.done() else future.set_exception(error),
        )
        try:
            found: Target | None = (await future).kernel.target_of(ask.op)
        except (Changed, KeyError):
            return None
        return found

    # -- running -------------------------------------------------------------------------------

    async def _run(
        self,
        target: Target,
        source: Mapping[str, Any],
        pages: Sequence[Json],
        virtual: Mapping[str, Any],
        resources: Mapping[str, Stored] | None,
        test: bool,
        limit_s: float = FORM_S,
        recorder: Noted | None = None,
    ) -> Result:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "greenroom-form")
        context = contextvars.copy_context()
        if recorder is not None:
            context.run(RECORDER.set, recorder)
            context.run(ENGINE.set, ThreadFace(self._engine))

        def run() -> Result | GreenroomError:
            try:
                twice = test or self._twice
                return run_target(target, source, pages, virtual, twice=twice, found=resources)
            except (FormError, FormInvalid, FormNotComplete, FormOverflow) as error:
                return error

        try:
            async with asyncio.timeout(limit_s):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._threads, context.run, run
                )
        except TimeoutError:
            found = FormError(
                f"the form {target.name} took more than {limit_s:g} s to say what it asks",
                hint="a form is run for each look at it: do slow work in a step before it",
                form=target.name,
            )
        if isinstance(found, FormError):
            self._log.error(found.message, exc_info=found.__cause__)
        if isinstance(found, GreenroomError):
            raise found
        return found
