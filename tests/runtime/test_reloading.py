"""Documents are read again while an engine is open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenroom import Engine
from greenroom.definitions.errors import InvalidDefinition
from greenroom.runtime.reloading import reload, reload_and_tell
from tests.definitions.test_documents import document
from tests.runtime.test_documents import core, transform


def given(v: int, **more: Any) -> str:
    return json.dumps(
        document(core("WaitForEvent", 1, {"event_type": "go"}), transform(2, {"v": v}), **more)
    )


async def test_what_changed_is_a_new_version_and_what_is_wrong_changes_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "w.json"
    file.write_text(given(1))
    what = [str(tmp_path)]
    async with Engine.open(":memory:", workflows=what) as engine:
        old = await engine.start("w")
        assert await reload(engine, what) == []
        file.write_text(given(2))
        assert await reload(engine, what) == ["w"]
        new = await engine.start("w")
        file.write_text("{")
        with pytest.raises(InvalidDefinition, match="nothing has changed"):
            await reload(engine, what)
        assert "not JSON" in await reload_and_tell(engine, what, True)
        await engine.post({"type": "go"})
        assert await engine.result(old.id, timeout=10) == {"v": 1}
        assert await engine.result(new.id, timeout=10) == {"v": 2}
        released = [one.version for one in await engine.definitions.list() if one.release]
        assert released == [2]
        (tmp_path / "v.json").write_text(given(3).replace('"name": "w"', '"name": "v"'))
        file.write_text(given(2))
        assert await reload(engine, what) == ["v"]
        assert (await engine.start("v")).id


async def test_a_stage_folder_is_read_again_and_runs_keep_their_files(tmp_path: Path) -> None:
    graph: dict[str, Any] = {
        "name": "g",
        "stages": [{"path": "ask", "kind": "form"}],
        "transitions": [],
    }
    (tmp_path / "stages.json").write_text(json.dumps(graph))
    code = """from greenroom import get_stage, read_text
import words_of_this_test
get_stage()["said"] = read_text("Say") + words_of_this_test.MORE
"""
    (tmp_path / "ask.py").write_text(code)
    (tmp_path / "words_of_this_test.py").write_text("MORE = ' one'")
    what = [str(tmp_path)]
    async with Engine.open(":memory:", workflows=what) as engine:
        old = await engine.start("g")
        await engine.answer(f"{old.id}.ask#1", {"say": "a"})
        assert (await engine.result(old.id, timeout=10))["said"] == "a one"
        assert await reload(engine, what) == []
        (tmp_path / "words_of_this_test.py").write_text("MORE = ' two'")
        graph["teams"] = {"hr": ["ann"]}
        (tmp_path / "stages.json").write_text(json.dumps(graph))
        assert await reload(engine, what) == ["g"]
        assert engine.teams["hr"] == ("ann",)
        new = await engine.start("g")
        await engine.answer(f"{new.id}.ask#1", {"say": "b"})
        assert (await engine.result(new.id, timeout=10))["said"] == "b two"
        (tmp_path / "ask.py").write_text("def")
        assert "SyntaxError" in await reload_and_tell(engine, what, True)
        assert "Python code" not in await reload_and_tell(engine, what, True)
        assert [one.version for one in await engine.definitions.list() if one.release] == [2]
