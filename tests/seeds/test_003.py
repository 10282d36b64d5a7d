"""The examples of the third source, as they are written there (003/*.txt, byte for byte).

Only their line breaks are put back and their imports changed. They run without `await`, on a
blocking engine.
"""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from greenroom import AlreadyRunning, Client, Engine, Event, Task
from greenroom.definitions.engines import ENVIRONMENT
from greenroom.runtime.loading import import_file
from tests.seeds.one_line import laid_out, with_methods

TEXTS = Path(__file__).parent / "003"
BOB = SimpleNamespace(email="bob@example.org", slack_id="U1")

GATE = threading.Event()
DONE: list[str] = []
BROKEN: set[str] = set()


class SendWelcomeEmail(Task):
    def __init__(self, email: str) -> None:
        self.email = email

    def handle(self) -> None:
        assert GATE.wait(10)
        if "email" in BROKEN:
            raise ConnectionError("no mail today")
        DONE.append(f"mail {self.email}")


class IntroduceUserThroughSlack(Task):
    def __init__(self, slack_id: str) -> None:
        self.slack_id = slack_id

    def handle(self) -> None:
        DONE.append(f"slack {self.slack_id}")


class TaskA(Task):
    def __init__(self, email: str) -> None:
        self.email = email

    def handle(self) -> str:
        return f"A of {self.email}"


def text(name: str) -> str:
    return (TEXTS / f"{name}.txt").read_text(encoding="utf-8")


def module(folder: Path, source: str) -> ModuleType:
    """A module of this text, with the tasks its text speaks of."""
    path = folder / "welcome_flow.py"
    path.write_text(source, encoding="utf-8")
    made = import_file(path)
    for task in (SendWelcomeEmail, IntroduceUserThroughSlack, TaskA):
        setattr(made, task.__name__, task)
    return made


def carried_out(name: str, made: ModuleType, **names: Any) -> Any:
    """The result of an example that is one call."""
    return eval(laid_out(text(name)).strip().removesuffix(";"), vars(made) | names)


def until(true: Callable[[], Any]) -> None:
    limit = time.monotonic() + 10
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    DONE.clear()
    BROKEN.clear()
    GATE.set()
    yield
    GATE.set()


@pytest.fixture
def flow(tmp_path: Path) -> ModuleType:
    """The first example, with the `id` of the fourth."""
    return module(tmp_path, with_methods(laid_out(text("workflow")), text("id")))


@pytest.fixture
def engine(flow: ModuleType) -> Iterator[Any]:
    with Engine.sync(":memory:", workflows=[flow.WelcomeFlow]) as opened:
        yield opened


def dispatched(flow: ModuleType) -> Any:
    return carried_out("dispatch", flow, self=SimpleNamespace(user=BOB))


# -- the texts ---------------------------------------------------------------------------------


def test_line_breaks_are_put_back_and_imports_changed() -> None:
    assert laid_out(text("workflow")) == textwrap.dedent(
        """\
        from greenroom import Workflow
        from greenroom import Zenatonable
        class WelcomeFlow(Workflow, Zenatonable):
            def __init__(self, user):
                self.email = user.email
                self.slack_id = user.slack_id
            def handle(self):
                SendWelcomeEmail(self.email).execute()
                IntroduceUserThroughSlack(self.slack_id).execute()
        """
    )


@pytest.mark.parametrize("path", sorted(TEXTS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_text_is_python_once_it_is_laid_out(path: Path) -> None:
    compile(laid_out(path.read_text(encoding="utf-8")), path.name, "exec")


# -- the examples ------------------------------------------------------------------------------


def test_z1_z2_the_workflow_runs_its_tasks_in_order(engine: Any, flow: ModuleType) -> None:
    handle = dispatched(flow)
    assert handle.result(timeout="10s") is None
    assert DONE == ["mail bob@example.org", "slack U1"]
    assert engine.get(handle.id).state == {"email": "bob@example.org", "slack_id": "U1"}


def test_z5_the_client_takes_the_environment(engine: Any, flow: ModuleType) -> None:
    token = ENVIRONMENT.set(None)
    try:
        vars(flow)["Client"] = Client
        carried_out("client", flow, app_id="A", api_token="T", app_env="dev")
        assert engine.get(dispatched(flow).id).namespace == "dev"
    finally:
        ENVIRONMENT.reset(token)


def test_z6_the_id_is_unique_among_the_running(engine: Any, flow: ModuleType) -> None:
    GATE.clear()
    handle = dispatched(flow)
    assert handle.key == "bob@example.org"
    with pytest.raises(AlreadyRunning):
        dispatched(flow)
    GATE.set()
    handle.result(timeout="10s")
    assert dispatched(flow).result(timeout="10s") is None


def test_z7_z8_pause_and_resume(engine: Any, flow: ModuleType) -> None:
    GATE.clear()
    handle = dispatched(flow)
    assert carried_out("pause", flow, email=BOB.email).pending == "pause"
    GATE.set()
    until(lambda: engine.get(handle.id).status == "paused")
    assert DONE == ["mail bob@example.org"]
    carried_out("resume", flow, email=BOB.email)
    handle.result(timeout="10s")
    assert DONE == ["mail bob@example.org", "slack U1"]


def test_z9_kill(engine: Any, flow: ModuleType) -> None:
    GATE.clear()
    handle = dispatched(flow)
    assert carried_out("kill", flow, email=BOB.email).status == "cancelled"
    GATE.set()
    until(lambda: DONE)  # its thread runs to its end, and nobody listens any more
    assert engine.get(handle.id).status == "cancelled"
    assert DONE == ["mail bob@example.org"]


def test_z11_z12_properties_are_attributes_and_shown_with_all_their_values(tmp_path: Path) -> None:
    made = module(tmp_path, laid_out(text("properties")))
    with Engine.sync(":memory:", workflows=[made.WelcomeFlow]) as engine:
        handle = dispatched(made)
        handle.result(timeout="10s")
        assert engine.get(handle.id).state == {
            "email": BOB.email, "slack_id": BOB.slack_id, "foo": "...",
        }  # fmt: skip


def test_z14_an_error_of_a_task_stops_the_instance_until_it_is_resumed_by_hand(
    engine: Any, flow: ModuleType
) -> None:
    BROKEN.add("email")
    handle = dispatched(flow)
    until(lambda: engine.get(handle.id).status == "failed")
    BROKEN.clear()
    carried_out("resume", flow, email=BOB.email)
    handle.result(timeout="10s")
    assert DONE == ["mail bob@example.org", "slack U1"]


def test_c28_the_example_is_started_by_name_with_its_properties(flow: ModuleType) -> None:
    with Engine.sync(":memory:", workflows=[flow.WelcomeFlow]) as engine:
        handle = engine.start("WelcomeFlow", {"email": "eve", "slack_id": "U2"})
        assert handle.key == "eve"
        assert engine.send(handle.id, Event(type="anything")).delivered in (0, 1)
        handle.result(timeout="10s")
        assert DONE == ["mail eve", "slack U2"]
