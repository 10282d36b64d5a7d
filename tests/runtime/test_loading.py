"""From words on a command line to workflows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.definitions.catalog import OFFERED, offered_by
from greenroom.definitions.errors import InvalidDefinition
from greenroom.runtime.loading import documents_in, load

APP = """
from greenroom.definitions.declare import workflow
from greenroom.definitions.programs import Workflow
from {helper} import imported

@workflow
async def order(n: int):
    return n

class Welcome(Workflow):
    async def handle(self):
        return 1

class Abstract(Workflow):
    pass

number = 5
"""
HELPER = """
from greenroom.definitions.declare import workflow

@workflow
async def imported():
    return 0
"""


@pytest.fixture(autouse=True)
def clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    modules, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


def write(folder: Path, name: str, text: str = APP, helper: str = "helper") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(helper=helper) if text is APP else text)
    return path


def names(found: list[object]) -> list[str]:
    return [str(getattr(item, "__name__", item)) for item in found]


def test_a_file_gives_its_workflows_once_in_order(tmp_path: Path) -> None:
    write(tmp_path, "helper.py", HELPER)
    path = write(tmp_path, "app_one.py")
    found = load(str(path))
    assert names(found) == ["imported", "order", "Welcome"]
    assert load([str(path), "app_one", "app_one.py"]) == found


def test_a_module_and_a_name_in_it(tmp_path: Path) -> None:
    write(tmp_path, "pack/__init__.py", "")
    write(tmp_path, "pack/helper.py", HELPER)
    write(tmp_path, "pack/flows.py", helper="pack.helper")
    assert names(load("pack.flows")) == ["imported", "order", "Welcome"]
    assert names(load("pack.flows:order")) == ["order"]
    assert load("pack/flows.py") == load("pack.flows")


def test_a_folder_gives_all_its_files_and_not_its_tests(tmp_path: Path) -> None:
    write(tmp_path, "flows/helper.py", HELPER)
    write(tmp_path, "flows/a_app.py")
    write(tmp_path, "flows/test_a.py", "raise SystemExit")
    write(tmp_path, "flows/data.json", '{"not": "a workflow"}')
    assert names(load("flows")) == ["imported", "order", "Welcome"]


def test_an_edit_of_the_same_size_in_the_same_second_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "edited_at_once.py"
    for said in (1, 2):
        file.write_text(f"{HELPER}number = {said}\n", encoding="utf-8")
        os.utime(file, (1_800_000_000, 1_800_000_000))
        load(str(file))
        module = sys.modules.pop("edited_at_once")
        assert module.number == said


DOC = '{"schema_version": 1, "name": "%s", "actions": []}'
OFFER = """
from greenroom import State, offer, step

@offer
@step("Offered by steps_one")
async def offered_by_steps_one() -> State:
    return {}
"""


def places(found: list[object]) -> list[str]:
    return [str(getattr(item, "place", item)) for item in found]


def test_documents_are_found_at_any_depth_and_python_only_in_the_folder_itself(
    tmp_path: Path,
) -> None:
    write(tmp_path, "all/app_deep.py", HELPER)
    write(tmp_path, "all/a.json", DOC % "a")
    write(tmp_path, "all/a.test.json", '{"cases": []}')
    write(tmp_path, "all/sub/b.yaml", "schema_version: 1\nname: b\nactions: []\n")
    write(tmp_path, "all/sub/two/c.json", DOC % "c")
    write(tmp_path, "all/sub/broken.json", '{"schema_version": 1,')
    write(
        tmp_path, "all/sub/tsconfig.json", '{ // not ours\n"$schema": "https://json.org/tsconfig"}'
    )
    write(tmp_path, "all/sub/other.py", "raise SystemExit")
    for passed in (".hidden", "tests", "node_modules", "_cache"):
        write(tmp_path, f"all/{passed}/x.json", DOC % "x")
    write(tmp_path, "all/env/pyvenv.cfg", "")
    write(tmp_path, "all/env/x.json", DOC % "x")
    (tmp_path / "all/loop").symlink_to(tmp_path / "all")
    found = load("all")
    assert places(found)[:-1] == [
        "all/a.json", "all/sub/b.yaml", "all/sub/broken.json", "all/sub/two/c.json",
    ]  # fmt: skip
    assert names(found)[-1] == "imported"
    assert places(documents_in(["all"])) == places(found)[:-1]


def test_a_file_that_is_named_twice_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, "docs/a.json", DOC % "a")
    assert places(load(["docs", str(path), "docs/../docs/a.json"])) == ["docs/../docs/a.json"]
    assert load("docs/a.test.json") == []


def test_a_module_that_only_offers_steps_is_no_mistake(tmp_path: Path) -> None:
    write(tmp_path, "steps_one.py", OFFER)
    assert load("steps_one.py") == load("steps_one") == []
    assert offered_by(sys.modules["steps_one"])
    del OFFERED["offered_by_steps_one"]


def test_a_file_named_like_a_module_of_python_is_its_own(tmp_path: Path) -> None:
    write(tmp_path, "code.py", HELPER)
    write(tmp_path, "json.py", HELPER)
    assert names(load(["code.py", "json.py"])) == ["imported", "imported"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("gone.py", "there is no such file"),
        ("gone.module", "there is no module gone"),
        ("no such thing", "neither a file, a folder nor a module name"),
        ("helper:missing", "helper has no missing"),
        ("empty.py", "no workflow in it"),
        ("gone.json", "cannot be read"),
        ("stages", "is not JSON"),
    ],
)
def test_what_cannot_be_loaded_is_named(tmp_path: Path, what: str, words: str) -> None:
    write(tmp_path, "helper.py", HELPER)
    write(tmp_path, "empty.py", "x = 1")
    write(tmp_path, "stages/stages.json", "{")
    with pytest.raises(InvalidDefinition) as caught:
        load(what)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("x = (\n", "SyntaxError", 1),
        ("\nimport nowhere_at_all\n", "ModuleNotFoundError", 2),
        ("def f():\n    1 / 0\nf()\n", "ZeroDivisionError", 2),
        ("raise SystemExit(3)\n", "SystemExit", 1),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(
    tmp_path: Path, text: str, words: str, line: int
) -> None:
    path = write(tmp_path, "broken.py", text)
    for what in ("broken.py", "broken"):
        with pytest.raises(InvalidDefinition) as caught:
            load(what)
        assert words in caught.value.message
        assert f"{path}:{line}" in caught.value.message
