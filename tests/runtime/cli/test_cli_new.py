"""`greenroom new`, `def validate`, `run`'s words: what works on files."""

from __future__ import annotations

import ast
import asyncio
import json
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from greenroom.definitions.declare import definition_of
from greenroom.runtime.benchmarks.workloads import chain
from greenroom.runtime.demo.orders import order
from greenroom.testing import TestEngine

if TYPE_CHECKING:
    from tests.runtime.cli.conftest import Cli

FLOW = """\
from greenroom.definitions.declare import workflow
from greenroom.definitions.steps import begin, done, step

@step("Reserve")
async def reserve(n: int) -> dict:
    return {}

@workflow(on="order.created")
def order():
    return begin >> reserve >> done
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_writes_a_project_and_says_how_to_go_on(cli: Cli, folder: Path) -> None:
    code, out, err = cli("new", "hello")
    assert (code, err) == (0, "")
    assert out == (
        "hello/\n  app.py\n  tests/test_app.py\n  definitions/greet.json\n"
        "  definitions/greet.test.json\n  .vscode/settings.json\n  .vscode/workflow.schema.json\n"
        "  README.md\n  pyproject.toml\n  .gitignore\n\n"
        "next:  cd hello && greenroom dev\n"
    )
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text())
    assert (folder / "hello/README.md").read_text().startswith("# hello\n")
    assert 'name = "hello"' in (folder / "hello/pyproject.toml").read_text()


def test_what_new_says_to_do_next_can_be_pasted(cli: Cli, folder: Path) -> None:
    _, out, _ = cli("new", "my orders")
    assert out.endswith("next:  cd 'my orders' && greenroom dev\n")


def test_the_document_of_a_new_project_is_valid_and_its_cases_pass(cli: Cli, folder: Path) -> None:
    cli("new", "hello")
    assert cli("def", "test", "hello/definitions", "-o", "table") == (
        0,
        "✓ greet: who pays is greeted\n✓ greet: nobody else is\n2 cases, all as expected\n",
        "",
    )
    schema = json.loads((folder / "hello/.vscode/workflow.schema.json").read_text())
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    document = json.loads((folder / "hello/definitions/greet.json").read_text())
    assert jsonschema_rs.validator_for(schema).is_valid(document)


def test_new_touches_nothing_that_is_there(cli: Cli, folder: Path) -> None:
    (folder / "hello").mkdir()
    (folder / "hello/mine.txt").write_text("mine")
    code, out, err = cli("new", "hello")
    assert (code, out) == (2, "")
    assert err == (
        "error invalid_request: hello is there already\n  choose another name, or an empty folder\n"
    )
    assert [path.name for path in (folder / "hello").iterdir()] == ["mine.txt"]


def test_dev_without_anything_to_run_says_what_to_do(cli: Cli, folder: Path) -> None:
    code, out, err = cli("dev")
    assert (code, out) == (2, "")
    assert err == (
        "error invalid_request: nothing to run: there is no app.py and no definitions/ here\n"
        "  name the file:  greenroom dev orders.py\n"
        "  or begin with:  greenroom new hello\n"
    )


def test_validate_names_the_workflows_of_a_file(cli: Cli, folder: Path) -> None:
    (folder / "flow_a.py").write_text(FLOW)
    result = cli("def", "validate", "flow_a.py", "-o", "table")
    assert result.code == 0
    first, last = result.out.splitlines()
    assert first.startswith("order  steps  valid  (")
    assert last == "1 workflow, no problems"


def test_validate_shows_the_line_that_fails(cli: Cli, folder: Path) -> None:
    (folder / "flow_b.py").write_text(FLOW + "\nraise ValueError('oh')\n")
    result = cli("def", "validate", "flow_b.py")
    assert result.code == 2
    assert result.err.startswith("error invalid_definition: ")
    assert "flow_b.py:12   ValueError: oh" in result.err


def test_diff_compares_files_with_the_daemon(cli: Cli, folder: Path) -> None:
    (folder / "flow_c.py").write_text(FLOW + FLOW.split("\n\n")[-1].replace("order", "offer"))
    assert cli("def", "diff", "flow_c.py", "-o", "table") == (
        5,
        "workflow  files    daemon\norder     changed  v2\noffer     new      none\n2 workflows\n",
        "",
    )


def test_restore_refuses_a_directory_with_a_store(cli: Cli, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/greenroom.db").touch()
    (folder / "backup.db").touch()
    code, out, err = cli("db", "restore", "backup.db", "--data", "data")
    assert (code, out) == (2, "")
    assert err == (
        "error invalid_request: data holds a store already\n"
        "  move it away first:  mv data data.old\n"
    )


def test_systemd_prints_both_units(cli: Cli) -> None:
    result = cli("systemd", "print", "--user", "app.py")
    assert result.code == 0
    assert result.out.startswith("# greenroom.socket\n[Unit]\n")
    assert "\n# greenroom.service\n[Unit]\n" in result.out


def test_systemd_install_writes_them_once(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    assert cli("systemd", "install", "--user", "app.py").code == 0
    names = sorted(path.name for path in (folder / "systemd/user").iterdir())
    assert names == ["greenroom.service", "greenroom.socket"]
    assert cli("systemd", "install", "--user", "app.py").code == 2


def test_the_workflows_we_bring_are_valid() -> None:
    assert definition_of(order).triggers[0].type == "order.created"
    assert definition_of(chain(3)).steps() == ["step 0", "step 1", "step 2"]


def test_a_project_of_stages_is_one_that_can_be_deployed_and_its_test_passes(
    cli: Cli, folder: Path
) -> None:
    code, out, _ = cli("new", "--template", "stages", "leave")
    assert code == 0 and out.startswith("leave/\n  stages.json\n  request.py\n")
    assert cli("deploy", "--check", "leave")[0] == 0
    graph = json.loads((folder / "leave/stages.json").read_text())
    assert graph["name"] == "leave" and graph["teams"]
    assert "greenroom board leave" in (folder / "leave/README.md").read_text()
    tests = runpy.run_path(str(folder / "leave/tests/test_stages.py"))

    async def run() -> None:
        async with TestEngine() as engine:
            await tests["test_leave_is_asked_for_decided_and_recorded"](engine)

    asyncio.run(run())
