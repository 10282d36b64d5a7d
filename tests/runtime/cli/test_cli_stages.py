"""`greenroom stage run`, and the commands of a stage graph against a daemon's socket."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from greenroom.runtime.main import main
from greenroom.testing import TestEngine

Type = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]

ASK = """
from greenroom import *
get_stage()["name"] = read_text("Name")
get_stage()["team"] = read_dropdown("Team", ["finance", "product"])
"""
WORK = """
from greenroom import get_stage
print("working for", get_stage()["name"])
get_stage()["done"] = True
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "joining"
    made.mkdir()
    graph = {
        "name": "joining",
        "stages": [{"path": "ask", "kind": "form"}, {"path": "work", "kind": "script"}],
        "transitions": [{"from": "ask", "to": "work"}],
    }
    (made / "stages.json").write_text(json.dumps(graph), "utf-8")
    (made / "ask.py").write_text(ASK, "utf-8")
    (made / "work.py").write_text(WORK, "utf-8")
    return made


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    async def run(*args: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = await asyncio.to_thread(main, list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return run


async def test_A3_a_file_is_read_from_its_path_and_a_question_is_said_once(
    folder: Path, type_in: Type, tmp_path: Path
) -> None:
    (tmp_path / "cv.txt").write_text("skilled")
    (folder / "ask.py").write_text(
        "from greenroom import *\nget_stage()['name'] = read_text('Name')\n"
        "cv = read_file('CV')\nget_stage()['cv'] = [cv.name, cv.type, cv.content.decode()]\n"
        "get_stage()['more'] = read_multiple('More', ['a', 'b'])\n"
        "get_stage()['extra'] = read_file('Extra', required=False)\n"
    )
    stdin = f"Ann\n\n{tmp_path}/nope\n{tmp_path}/cv.txt\n\n\n"
    code, out, err = await type_in("stage", "run", str(folder), stdin=stdin)
    assert code == 0, err
    row = json.loads(out.splitlines()[0])
    assert row["data"]["cv"] == ["cv.txt", "text/plain", "skilled"]
    assert (row["data"]["more"], row["data"]["extra"]) == ([], None)
    assert err.count("Name") == 1 and "base64" not in err and "[[]]" not in err
    assert err.count("cannot be read: No such file") == 1


@pytest.mark.parametrize("where", ["joining/ask", "joining/ask.py", "joining"])
async def test_A19_a_form_runs_in_the_terminal_and_goes_on(
    folder: Path, type_in: Type, where: str
) -> None:
    place = str(folder.parent / where)
    code, out, err = await type_in("stage", "run", place, "x:=1", stdin="Ann\n2\n")
    (row,) = map(json.loads, out.splitlines())
    assert code == 0 and row["status"] == "completed" and row["stage"] == "work"
    assert row["data"] == {"x": 1, "name": "Ann", "team": "product", "done": True}
    assert "working for Ann" in err and "Name" in err


async def test_A19_one_stage_alone_and_one_that_fails(folder: Path, type_in: Type) -> None:
    code, out, _ = await type_in("stage", "run", f"{folder}/work", "name=Bo", "-o", "table")
    assert code == 0 and "completed" in out
    (folder / "work.py").write_text("print('on my way')\n1 / 0\n", "utf-8")
    code, out, err = await type_in("stage", "run", f"{folder}/work")
    assert code == 1 and json.loads(out)["status"] == "failed"
    assert "on my way" in err and "ZeroDivisionError" in err


async def test_A19_what_is_no_stage_is_named(folder: Path, type_in: Type) -> None:
    for where, code, words in (
        (f"{folder}/nope", 2, "no stage 'nope'"),
        (f"{folder}/nope.py", 3, "has the file nope.py"),
        (f"{folder.parent}/else/ask", 2, "no stages.json"),
    ):
        got, _, err = await type_in("stage", "run", where)
        assert (got, words in err) == (code, True), err


async def test_deploy_board_and_logs_against_a_daemon(
    folder: Path, serve: Any, type_in: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestEngine() as engine:
        served = await serve(engine)
        monkeypatch.setenv("GREENROOM_SERVER", f"unix://{served.path}")
        code, out, _ = await type_in("deploy", "--check", str(folder), "-o", "table")
        assert (code, out) == (0, "joining can be deployed\n")
        code, out, _ = await type_in("deploy", str(folder), "-o", "table")
        assert (code, out) == (0, "joining v1 is released\n")
        (folder / "work.py").write_text(WORK + "print('second')\n", "utf-8")
        code, out, err = await type_in("deploy", str(folder), "-o", "json")
        assert json.loads(out)["version"] == 2, err
        (folder / "ask.py").write_text("import nowhere_at_all\n", "utf-8")
        code, _, err = await type_in("deploy", str(folder))
        assert code == 2 and "ask.py:1" in err and "nowhere_at_all is not installed" in err

        started = await engine.start("joining", {"n": 1})
        await engine.until_idle()
        code, out, _ = await type_in("board", "joining", "-o", "table")
        assert code == 0 and "ask  (1)" in out and started.id in out
        code, out, _ = await type_in("board", "joining", "ask", "--where", '{"data.n": 2}')
        assert json.loads(out)["columns"][0]["count"] == 0
        code, out, _ = await type_in("board", "joining", "--move", started.id, "work")
        assert code == 0
        await engine.until_idle()
        code, out, _ = await type_in("logs", "joining", "--stage", "work", "-o", "table")
        assert code == 0 and "joining/work  finished" in out and "  second\n" in out
        code, out, _ = await type_in("logs", "--text", "no such thing")
        assert (code, out) == (0, "")
