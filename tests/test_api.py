"""The public API: what `greenroom` exports, that all of it resolves, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pickle
import resource
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

import greenroom
import greenroom.integrations
import greenroom.sym
import greenroom.testing
import greenroom.zenaton

INIT = Path(greenroom.__file__)

CORE = {"greenroom", "msgspec"}
"""Distributions that the engine needs as soon as it is imported."""

LATER = {"aiosqlite", "anyio", "click", "croniter", "greenlet", "structlog", "semver", "uvloop"}
"""Distributions that are imported when they are needed, or never."""


def typed_imports() -> dict[str, str]:
    """What a type checker believes: name -> module."""
    tree = ast.parse(INIT.read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }


def test_the_list_of_public_names_is_sorted_and_has_no_doubles() -> None:
    assert list(greenroom.__all__) == sorted(set(greenroom.__all__))


def test_the_type_checker_the_list_and_the_resolver_know_the_same_names() -> None:
    assert set(typed_imports()) == set(greenroom.__all__) == set(greenroom._PLACES)
    assert typed_imports() == greenroom._PLACES


@pytest.mark.parametrize("name", greenroom.__all__)
def test_a_public_name_resolves_to_what_its_module_has(name: str) -> None:
    value = getattr(greenroom, name)
    assert value is getattr(importlib.import_module(greenroom._PLACES[name]), name)


def test_every_public_name_is_in_dir() -> None:
    assert set(greenroom.__all__) <= set(dir(greenroom))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        greenroom.nothing  # noqa: B018


@pytest.mark.parametrize(
    "module", [greenroom.testing, greenroom.integrations, greenroom.sym, greenroom.zenaton]
)
def test_the_small_public_modules_export_what_they_list(module: Any) -> None:
    assert list(module.__all__) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("name", greenroom.__all__)
def test_a_public_class_or_function_says_what_it_is(name: str) -> None:
    value = getattr(greenroom, name)
    if isinstance(value, type) or callable(value):
        if name in ("FormGenerator", "InputStepFunc", "State", "StepFunc"):  # aliases
            return
        assert value.__doc__


# -- types --------------------------------------------------------------------------------------

SNIPPET = """
from greenroom import Engine, Event, State, begin, done, retrystep, step, wait, workflow

@step("Reserve")
async def reserve(order_id: str) -> State:
    return {"reserved": order_id}

@retrystep(delay="1s")
async def charge(order_id: str) -> State:
    return {}

@workflow(on="order.created", key="::data.order_id")
def steps() -> object:
    return begin >> reserve >> charge >> done

@workflow
async def program(order_id: str) -> str:
    found = await reserve(order_id)
    event = await wait("order.paid", where={"data.order_id": order_id}, timeout="2d")
    return "paid" if event and found else "expired"

async def main() -> None:
    async with Engine.open(":memory:", workflows=[steps, program]) as engine:
        instance = await engine.start(program, {"order_id": "7"}, key="7")
        accepted = await engine.post(Event(type="order.paid", data={"order_id": "7"}))
        reveal_type(accepted.matched)
        reveal_type((await engine.get(instance.id)).status)
"""


@pytest.mark.slow
def test_what_users_write_passes_a_strict_type_checker(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(file)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "list[greenroom.runtime.shapes.Match]" in ran.stdout
    assert "Literal['pending']" in ran.stdout


# -- what an import loads -----------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """The modules a statement loads, in a process of its own."""
    code = (
        f"import sys; before = set(sys.modules); {statement}; import json; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(ran.stdout)
    return set(found)


def of_others(modules: set[str]) -> set[str]:
    """The distributions, the standard library left out."""
    tops = {name.partition(".")[0] for name in modules}
    return {name for name in tops - sys.stdlib_module_names if not name.startswith("_")}


def test_importing_greenroom_loads_nothing_else() -> None:
    modules = loaded_by("import greenroom")
    assert {name for name in modules if name.startswith("greenroom")} == {"greenroom"}
    assert of_others(modules) == {"greenroom"}


def test_writing_a_workflow_needs_neither_store_nor_command_line() -> None:
    found = of_others(loaded_by("from greenroom import step, workflow, wait"))
    assert found >= CORE
    assert not found & LATER


def test_the_client_of_one_event_loads_no_event_loop() -> None:
    modules = loaded_by("from greenroom import SyncClient")
    assert "asyncio" not in modules
    assert not of_others(modules) & LATER


def test_the_engine_leaves_out_the_command_line() -> None:
    found = of_others(loaded_by("from greenroom import Engine"))
    assert found >= CORE
    assert not found & {"click", "croniter", "structlog", "uvloop"}


def test_the_engine_leaves_out_what_this_engine_may_never_have() -> None:
    """Documents, stage graphs, flows, the web and pools of processes come with the first of them."""
    modules = loaded_by("from greenroom import Engine")
    ours = {name.removeprefix("greenroom.") for name in modules if name.startswith("greenroom.")}
    for unwanted in (
        "definitions.documents", "definitions.lowering", "definitions.flows", "definitions.stagegraphs",
        "runtime.stages", "runtime.loading", "runtime.remarks", "runtime.web.app", "runtime.cli",
    ):  # fmt: skip
        assert unwanted not in ours
    assert not modules & {"multiprocessing", "concurrent.futures.process"}


def test_the_command_is_a_module_too() -> None:
    command = [sys.executable, "-m", "greenroom", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("greenroom ")


def cpu_ms(command: list[str]) -> float:
    """The least of a few runs: others use the machine too."""
    least = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        least = min(least, used * 1000)
    return least


@pytest.mark.slow
def test_importing_is_quick() -> None:
    assert cpu_ms([sys.executable, "-c", "import greenroom"]) <= 150


@pytest.mark.slow
def test_the_version_is_told_at_once() -> None:
    assert cpu_ms([sys.executable, "-m", "greenroom.runtime.main", "--version"]) <= 60


def test_a_traceback_shows_what_to_do_next() -> None:
    error = greenroom.Locked("app.db is in use", hint="use another one", pid=7)
    for shown in (error, pickle.loads(pickle.dumps(error))):
        assert traceback.format_exception_only(shown) == [
            "greenroom.definitions.errors.Locked: app.db is in use\n",
            "hint: use another one\n",
        ]
    assert len(traceback.format_exception_only(greenroom.Locked("app.db is in use"))) == 1
