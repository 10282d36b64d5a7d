"""Stage graphs over HTTP: hooks with their answers, and the routes of board, logs and deploy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runtime.web.conftest import Face

LEAD = """
from greenroom import *
request = get_request()
if request.body == "boom":
    raise RuntimeError("secret of the stage")
get_stage()["lead"] = request.body
send_json({"q": request.query.get("q"), "got": request.body}, 202)
"""
REVIEW = """
from greenroom import *
get_stage()["good"] = read_checkbox("Good")
print("reviewed")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph = {
        "name": "leads",
        "stages": [
            {"path": "lead", "kind": "hook"},
            {"path": "open-lead", "kind": "hook", "auth": "none", "file": "lead.py"},
            {"path": "off", "kind": "hook", "auth": "none", "enabled": False, "file": "lead.py"},
            {"path": "review", "kind": "form"},
            {"path": "filed", "kind": "form", "file": "review.py"},
        ],
        "transitions": [
            {"from": "lead", "to": "review"},
            {"from": "open-lead", "to": "review"},
            {"from": "review", "to": "filed"},
        ],
    }
    (tmp_path / "stages.json").write_text(json.dumps(graph), "utf-8")
    (tmp_path / "lead.py").write_text(LEAD, "utf-8")
    (tmp_path / "review.py").write_text(REVIEW, "utf-8")
    return tmp_path


async def test_A5_hooks_over_http(face: Face, folder: Path) -> None:
    face.engine.register(f"{folder}/")
    key, face.key = face.key, None
    assert (await face.post("/hooks/lead", {"n": 1})).status_code == 401
    assert (await face.post("/hooks/off", {})).status_code == 404
    assert (await face.post("/hooks/nowhere", {})).status_code == 404
    assert (await face.post("/hooks/open-lead", "x" * 9_000_000)).status_code == 413
    assert (await face.engine.list("workflow:leads")).items == []
    answer = await face.post("/hooks/open-lead?q=7", {"n": 1})
    assert (answer.status_code, answer.json()) == (202, {"q": "7", "got": {"n": 1}})
    failed = await face.post("/hooks/open-lead", "boom")
    assert failed.status_code == 500 and "secret" not in failed.text
    face.key = await face.make_key("start:leads")
    assert (await face.post("/hooks/lead", {"n": 2})).status_code == 202
    face.key = key


async def test_board_moves_logs_and_deploy_over_http(face: Face, folder: Path) -> None:
    face.engine.register(f"{folder}/")
    started = await face.post(
        "/v1/workflows/leads/instances", {"stage": "review", "input": {"n": 1}}
    )
    id = started.json()["instance"]
    await face.engine.until_idle()
    graph = (await face.get("/v1/stages/leads")).json()
    assert [stage["path"] for stage in graph["stages"]][3:] == ["review", "filed"]
    assert [row["name"] for row in (await face.get("/v1/stages")).json()] == ["leads"]
    refused = await face.post(f"/v1/instances/{id}/move", {"stage": "lead"})
    assert refused.status_code == 422 and refused.json()["code"] == "invalid_next_stage"
    moved = await face.post(f"/v1/instances/{id}/move", {"stage": "filed"})
    assert moved.json() == {"instance": id, "stage": "filed", "from": "review"}
    await face.engine.until_idle()
    board = await face.post(
        "/v1/stages/leads/board", {"columns": ["filed"], "filter": {"data.n": 1}}
    )
    (column,) = board.json()["columns"]
    assert [card["instance"] for card in column["cards"]] == [id]
    assert (await face.post(f"/v1/asks/{id}.filed%231", {"good": True})).status_code == 200
    await face.engine.until_idle()
    (line,) = (await face.post("/v1/stages/logs", {"workflow": "leads"})).json()["items"]
    assert line["output"] == "reviewed\n" and line["stage"] == "filed"
    document = {**graph["document"], "note": "mine"}
    saved = await face.ask("PUT", "/v1/stages/leads", json=document, params={"etag": graph["etag"]})
    assert saved.status_code == 200 and json.loads((folder / "stages.json").read_text()) == document
    (folder / "review.py").write_text(REVIEW + "# changed\n", "utf-8")
    deployed = await face.post("/v1/stages/deploy", {"what": "leads"})
    assert (deployed.status_code, deployed.json()["version"]) == (200, 2)
    other = await face.post("/v1/stages/deploy", {"what": str(folder.parent)})
    assert (other.status_code, other.json()["code"]) == (403, "not_permitted")
    face.key = await face.make_key("read")
    for route in ("deploy", "validate"):
        assert (await face.post(f"/v1/stages/{route}", {"what": "leads"})).status_code == 403
