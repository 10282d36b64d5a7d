"""Programs of the shapes that the examples of Zenaton's SDK have, with its names, in its form (no
`await` anywhere) and as coroutines: only the imports are others."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import greenroom
from greenroom import Engine, zenaton
from greenroom.definitions.engines import ENVIRONMENT
from greenroom.testing import TestEngine

LOG: list[str] = []
GATE = threading.Event()


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    LOG.clear()
    GATE.clear()
    yield
    GATE.set()


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of the SDK, each with what it is imported for."""
    places: dict[str, dict[str, Any]] = {
        "abstracts.workflow": {"Workflow": zenaton.Workflow},
        "abstracts.task": {"Task": zenaton.Task},
        "abstracts.event": {"Event": greenroom.Event},
        "traits.zenatonable": {"Zenatonable": zenaton.Zenatonable},
        "tasks.wait": {"Wait": zenaton.Wait},
        "parallel": {"Parallel": zenaton.Parallel},
        "client": {"Client": zenaton.Client},
        "query.builder": {"Builder": zenaton.Builder},
        "workflows.version": {"Version": zenaton.Version},
        "exceptions": {"InvalidArgumentError": zenaton.InvalidArgumentError},
    }
    for name, values in places.items():
        for stem in (name.partition(".")[0], name):
            made = sys.modules.get(f"zenaton.{stem}") or ModuleType(f"zenaton.{stem}")
            made.__path__ = []
            monkeypatch.setitem(sys.modules, f"zenaton.{stem}", made)
        vars(sys.modules[f"zenaton.{name}"]).update(values)
    root = ModuleType("zenaton")
    root.__path__ = []
    monkeypatch.setitem(sys.modules, "zenaton", root)


SOURCE = """
from zenaton.abstracts.event import Event
from zenaton.abstracts.task import Task
from zenaton.abstracts.workflow import Workflow
from zenaton.parallel import Parallel
from zenaton.tasks.wait import Wait
from zenaton.traits.zenatonable import Zenatonable
from zenaton.workflows.version import Version


class Stop(Event):
    pass


class StopNow(Stop):
    def __init__(self, why):
        self.why = why


class Count(Task, Zenatonable):
    def __init__(self, name="count", result=0):
        self.name = name
        self.result = result

    def handle(self):
        LOG.append(self.name)
        return self.result


class Gated(Task, Zenatonable):
    def handle(self):
        LOG.append('gated')
        GATE.wait(10)


class Again(Task, Zenatonable):
    def handle(self):
        n = self.get_context().retry_index
        LOG.append('try %d' % n)
        raise Exception('no')

    def on_error_retry_delay(self, exception):
        n = self.get_context().retry_index
        if n > 3:
            return False
        return n * 5


class Relaunch(Zenatonable, Task):
    def __init__(self, number, last):
        self.number = number
        self.last = last

    def handle(self):
        if self.number < self.last:
            self.number += 1
            Loop(self.number, self.last).dispatch()


class Tell(Zenatonable, Task):
    def __init__(self, number):
        self.number = number

    def handle(self):
        Loop.where_id(self.number).send_event(Stop())


class Sequential(Workflow, Zenatonable):
    def handle(self):
        a = Count('a', 0).execute()
        if a > 0:
            Count('b').execute()
        else:
            Count('c').execute()
        Count('d').execute()


class Beside(Workflow, Zenatonable):
    def handle(self):
        a, b = Parallel(
            Count('a', 0),
            Count('b', 1)
        ).execute()
        if a > b:
            Count('c').execute()
        else:
            Count('d').execute()


class Dispatching(Workflow, Zenatonable):
    def handle(self):
        Count('a').dispatch()
        Count('b').dispatch()
        Count('c').execute()


class Eventful(Workflow, Zenatonable):
    def __init__(self, id_, state=True):
        self.id_ = id_
        self.state = state

    def handle(self):
        Gated().execute()
        if self.state:
            Count('b').execute()
        else:
            Count('c').execute()

    def on_event(self, event):
        if isinstance(event, Stop):
            self.state = False

    def id(self):
        return self.id_


class Waiting(Workflow, Zenatonable):
    def __init__(self, id_):
        self.id_ = id_

    def handle(self):
        event = Wait(Stop).seconds(400).execute()
        if event:
            Count('told').execute()
        else:
            Count('not told').execute()
        Wait().seconds(5).execute()
        Count('end').execute()

    def id(self):
        return self.id_


class Retried(Workflow, Zenatonable):
    def handle(self):
        Again().execute()


class Loop(Workflow, Zenatonable):
    def __init__(self, number, max):
        self.number = number
        self.max = max

    def handle(self):
        counter = 0
        while counter < 2:
            Count('%d.%d' % (self.number, counter)).execute()
            counter += 1
        Tell(self.number).dispatch()
        Wait(Stop).execute()
        Relaunch(self.number, self.max).execute()

    def id(self):
        return self.number


class StoryV0(Workflow, Zenatonable):
    def handle(self):
        Parallel(Count('a')).execute()


class StoryV1(Workflow, Zenatonable):
    def handle(self):
        Parallel(Count('a'), Count('b')).execute()


class Story(Version):
    def versions(self):
        return [StoryV0, StoryV1]
"""


def awaited(source: str) -> str:
    """The same with coroutines, for those workflows that are not called from a plain task."""
    lines = []
    in_workflow = False
    for line in source.splitlines():
        if line.startswith("class "):
            in_workflow = "(Workflow" in line
        if in_workflow and line.strip().startswith("def ") and "(self" in line:
            if "handle" in line or "on_event" in line:
                line = line.replace("def ", "async def ")
        elif in_workflow and line.rstrip().endswith((".execute()", ".dispatch()")):
            head, equals, tail = line.partition(" = ")
            stem = tail if equals else line.strip()
            indent = line[: len(line) - len(line.lstrip())]
            line = f"{head}{equals}await {stem}" if equals else f"{indent}await {stem}"
        lines.append(line)
    text = "\n".join(lines)
    return text.replace("a, b = Parallel(", "a, b = await Parallel(").replace(
        "        await ).execute()", "        ).execute()"
    )


@pytest.fixture(params=["plain", "coroutines"])
def code(request: pytest.FixtureRequest, sdk: None) -> ModuleType:
    made = ModuleType(f"sdk_{request.param}")
    vars(made).update(LOG=LOG, GATE=GATE)
    text = SOURCE if request.param == "plain" else awaited(SOURCE)
    exec(compile(text, f"{made.__name__}.py", "exec"), vars(made))  # noqa: S102  our own text
    return made


def workflows(code: ModuleType) -> list[Any]:
    names = "Sequential Beside Dispatching Eventful Waiting Retried Loop Story"
    return [getattr(code, name) for name in names.split()]


def until(true: Callable[[], Any]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit, LOG
        time.sleep(0.005)


@pytest.fixture
def engine(code: ModuleType) -> Iterator[Any]:
    with Engine.sync(":memory:", workflows=workflows(code)) as opened:
        yield opened


def statuses(engine: Any) -> set[str]:
    return {one.status for one in engine.list().items}


def test_sequential_parallel_and_asynchronous_launches(engine: Any, code: ModuleType) -> None:
    for name, ran in (("Sequential", ["a", "c", "d"]), ("Beside", ["a", "b", "d"])):
        LOG.clear()
        getattr(code, name)().dispatch().result()
        assert sorted(LOG) == ran
    LOG.clear()
    code.Dispatching().dispatch().result()
    until(lambda: sorted(LOG) == ["a", "b", "c"])
    LOG.clear()
    code.Count("alone").dispatch().result()
    assert LOG == ["alone"]


def test_an_event_while_a_task_runs_changes_what_comes_next(engine: Any, code: ModuleType) -> None:
    code.Eventful("x").dispatch()
    until(lambda: LOG)
    code.Eventful.where_id("x").send_event(event=code.Stop())
    until(lambda: code.Eventful.where_id("x").find().state is False)
    GATE.set()
    engine.result("Eventful/x")
    assert LOG == ["gated", "c"]


def test_a_workflow_that_launches_itself_from_a_task_goes_round(
    engine: Any, code: ModuleType
) -> None:
    code.Loop(13, 15).dispatch()
    until(lambda: len(engine.list("workflow:Loop status:completed").items) == 3)
    assert [word for word in LOG if word.endswith("1")] == ["13.1", "14.1", "15.1"]


def test_the_last_version_is_launched(engine: Any, code: ModuleType) -> None:
    code.Story().dispatch().result()
    assert sorted(LOG) == ["a", "b"]
    assert isinstance(code.Story().current_implementation(), code.StoryV1)


def test_find_kill_pause_and_resume_by_id(engine: Any, code: ModuleType) -> None:
    from zenaton.query.builder import Builder  # type: ignore[import-not-found]  # noqa: PLC0415

    code.Waiting("w").dispatch()
    found = Builder(code.Waiting).where_id("w").find()
    assert isinstance(found, code.Waiting) and found.id() == "w"
    assert Builder(code.Waiting).where_id("nobody").find() is None
    code.Waiting.where_id("w").pause()
    assert engine.get("Waiting/w").status == "paused"
    code.Waiting("unused").where_id("w").resume()
    assert engine.get("Waiting/w").status == "waiting"
    Builder(code.Waiting).where_id("w").kill()
    assert engine.get("Waiting/w").status == "cancelled"
    with pytest.raises(zenaton.InvalidArgumentError):
        Builder(code.Count)
    with pytest.raises(zenaton.UnknownWorkflowError):
        code.Waiting.where_id("nobody").kill()


def test_a_client_names_the_environment(engine: Any, code: ModuleType) -> None:
    from zenaton.client import Client  # type: ignore[import-not-found]  # noqa: PLC0415

    token = ENVIRONMENT.set(None)
    try:
        client = Client("id", "token", "staging")
        assert (client.app_id, client.api_token, client.app_env) == ("id", "token", "staging")
        code.Waiting("w").dispatch()
        assert code.Waiting.where_id("w").find() is not None
        Client("id", "token", "other")
        assert code.Waiting.where_id("w").find() is None
    finally:
        ENVIRONMENT.reset(token)


def test_a_schedule_may_have_a_field_of_seconds(engine: Any, code: ModuleType) -> None:
    handle = code.Count("tick").schedule("* * * * * *")
    until(lambda: "tick" in LOG)
    handle.delete()
    with pytest.raises(zenaton.InvalidArgumentError):
        code.Count().schedule("")


async def test_waits_end_by_event_by_subclass_or_by_time(code: ModuleType) -> None:
    async with TestEngine(*workflows(code)) as engine:
        for name in ("event", "subclass", "time"):
            await code.Waiting(name).dispatch()
        await engine.until_idle()
        await code.Waiting.where_id("event").send_event(code.Stop())
        await code.Waiting.where_id("subclass").send_event(code.StopNow("enough"))
        await engine.advance("10s")
        assert LOG == ["told", "told", "end", "end"]
        await engine.advance("400s")
        assert LOG[4:] == ["not told", "end"]


async def test_a_task_is_retried_as_its_rule_says(code: ModuleType) -> None:
    async with TestEngine(*workflows(code)) as engine:
        instance = await code.Retried().dispatch()
        await engine.advance("1m")
        assert LOG == ["try 1", "try 2", "try 3", "try 4"]
        assert (await engine.get(instance.id)).status == "failed"


def test_execute_outside_of_an_engine_runs_here(code: ModuleType) -> None:
    assert code.Count("here", 7).execute() == 7
    assert zenaton.Parallel(code.Count("a", 1), code.Count("b", 2)).execute() == [1, 2]
    assert LOG == ["here", "a", "b"]


def test_an_example_prints_what_it_finds(engine: Any, code: ModuleType) -> None:
    code.Waiting("w").dispatch()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print(code.Waiting.where_id("w").find())  # noqa: T201  as the example does
    assert "Waiting object" in out.getvalue()
