"""The examples of the third source, as they are written there (002/*.txt, byte for byte).

Their import is changed. The second example is not valid Python as it was printed: the braces that
open its two maps are missing, one where the print has an X (C23). They are put back by rule.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenroom.testing import TestEngine

TEXTS = Path(__file__).parent / "002"


def text(name: str) -> str:
    source = (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
    return source.replace("from abstra.workflows import", "from greenroom import")


def mended(source: str) -> str:
    """With a brace in front of each map, where the print lost it."""
    lines: list[str] = []
    for line in source.splitlines():
        if line.strip() == "X":
            lines.append("    {")
        else:
            lines.append(line)
            if line == "next_stage([":
                lines.append("    {")
    return "\n".join(lines) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The workflow of the page: a form, then a contract to be analysed, which two are asked for."""
    stages = [
        {"path": "personal-data", "kind": "script"},
        {"path": "contract-analysis", "kind": "form"},
    ]
    transitions = [{"from": "personal-data", "to": "contract-analysis"}]
    graph: dict[str, Any] = {"name": "onboarding", "stages": stages, "transitions": transitions}
    (tmp_path / "stages.json").write_text(json.dumps(graph), "utf-8")
    personal = text("get_stage") + text("import_next_stage") + mended(text("next_stage"))
    (tmp_path / "personal_data.py").write_text(personal, "utf-8")
    asks = 'from greenroom import *\nget_stage()["approved"] = read_checkbox("Approve")\n'
    (tmp_path / "contract_analysis.py").write_text(asks, "utf-8")
    return f"{tmp_path}/"


def test_C23_the_second_example_is_not_valid_as_it_was_printed() -> None:
    with pytest.raises(SyntaxError):
        compile(text("next_stage"), "next_stage.txt", "exec")
    compile(mended(text("next_stage")), "next_stage.txt", "exec")


async def test_the_examples_run_together(folder: str) -> None:
    async with TestEngine(folder) as engine:
        started = await engine.start("onboarding", {"email": "anna@company.com"})
        await engine.until_idle()
        parent = await engine.get(started.id)
        assert parent.result == {"email": "anna@company.com", "full_name": "AnnaSmith"}
        asks = (await engine.asks.list()).items
        assert {ask.assignee for ask in asks} == {"mark@company.com", "kiara@company.com"}
        for ask in asks:
            run = await engine.get(ask.instance)
            team = "finance" if ask.assignee == "mark@company.com" else "product"
            assert run.state["data"] == {**parent.result, "team": team}
            await engine.answer(ask.id, {"approve": True}, by=ask.assignee)
        await engine.until_idle()
        found = [await engine.get(row.id) for row in (await engine.list()).items]
        assert {run.status for run in found} == {"completed"}
        assert sum(run.result.get("approved", False) for run in found) == 2


async def test_a_seed_left_as_printed_is_refused_with_its_line(folder: str) -> None:
    personal = text("import_next_stage") + text("next_stage")
    (Path(folder) / "personal_data.py").write_text(personal, "utf-8")
    with pytest.raises(Exception, match=r"personal_data.py:\d+"):
        TestEngine(folder)
