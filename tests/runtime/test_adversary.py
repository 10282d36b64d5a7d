"""What somebody who knows the system well would try next: each ends in a refusal that changes nothing."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from greenroom import begin, callback_step, done, step, workflow
from greenroom.definitions.errors import (
    AlreadyDecided,
    InvalidDefinition,
    NoSuchAsk,
    NotFound,
    NotPermitted,
    ReadOnly,
)
from greenroom.runtime import calls
from greenroom.runtime.store import StoreFull
from greenroom.runtime.testing import TestEngine
from tests.runtime.kits import MemoryEngine

TOKENS: list[str] = []


@step("Order")
def order_it(callback_token: str) -> dict[str, Any]:
    TOKENS.append(callback_token)
    return {}


@step("Check")
def check_it(callback_result: dict[str, Any]) -> dict[str, Any]:
    return {"got": callback_result}


@workflow
def delivery() -> Any:
    return begin >> callback_step("Deliver", order_it, check_it) >> done


# -- a callback while the disk is full ----------------------------------------------------------


async def test_a_callback_on_a_full_disk_is_refused_and_its_token_counts_once_later() -> None:
    TOKENS.clear()
    async with MemoryEngine(delivery) as engine:
        made = await engine.start("delivery", {})
        await engine.until_idle()
        (token,) = TOKENS
        for _ in range(40):
            engine.store.fail_next(StoreFull("full"))
        for _ in range(3):
            with pytest.raises(ReadOnly):
                await engine.answer(token, {"n": 1})
            with pytest.raises(ReadOnly):
                await engine.progress(token, {"percent": 1})
        assert (await engine.get(made.id)).status == "waiting"
        engine.store._planned.clear()
        await engine.advance("2s")
        await engine.answer(token, {"n": 2})
        with pytest.raises(AlreadyDecided):
            await engine.answer(token, {"n": 3})
        await engine.until_idle()
        assert (await engine.get(made.id)).state["got"] == {"n": 2}


@pytest.mark.parametrize("change", ["first", "last", "case", "cut", "longer", "other"])
async def test_a_token_with_one_character_changed_is_none(change: str) -> None:
    TOKENS.clear()
    async with MemoryEngine(delivery) as engine:
        await engine.start("delivery", {})
        await engine.start("delivery", {})
        await engine.until_idle()
        token, other = TOKENS
        made = {
            "first": ("B" if token[0] == "A" else "A") + token[1:],
            "last": token[:-1] + ("B" if token[-1] == "A" else "A"),
            "case": token.swapcase(),
            "cut": token[:-1],
            "longer": token + "A",
            "other": other[:22] + token[22:],
        }[change]
        with pytest.raises((NoSuchAsk, NotFound)):
            await engine.callbacks.find(made)
        assert len((await engine.asks.list()).items) == 2


# -- the editor of stages as a way to write files -------------------------------------------------


def folder_of_stages(tmp_path: Path) -> Path:
    folder = tmp_path / "flow"
    folder.mkdir()
    stages = [{"path": "a", "kind": "script", "file": "a.py"}]
    (folder / "stages.json").write_text(
        json.dumps({"name": "flow", "stages": stages, "transitions": []})
    )
    (folder / "a.py").write_text("")
    return folder


@pytest.mark.parametrize(
    "file",
    [
        "../x.py",
        "/etc/x.py",
        "sub/x.py",
        "..",
        "x.py\0.txt",
        "x",
        ".py",
        "-x.py\n",
        "x.PY",
        "a\\b.py",
    ],
)
async def test_a_stage_names_no_file_outside_its_folder(tmp_path: Path, file: str) -> None:
    folder = folder_of_stages(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    async with TestEngine(str(folder)) as engine:
        document = (await engine.stages.graph("flow"))["document"]
        document["stages"].append({"path": "b", "kind": "script", "file": file})
        with pytest.raises(InvalidDefinition, match="Python file in this folder"):
            await calls.run(engine, "stages.save", {"workflow": "flow", "document": document}, "k")
    assert [path for path in sorted(tmp_path.rglob("*")) if path.suffix != ".pyc"] == before


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "x\0", "%2e%2e/x", "-x"])
async def test_the_path_of_a_stage_makes_no_file_outside_either(tmp_path: Path, path: str) -> None:
    folder = folder_of_stages(tmp_path)
    async with TestEngine(str(folder)) as engine:
        document = (await engine.stages.graph("flow"))["document"]
        document["stages"].append({"path": path, "kind": "script"})
        with contextlib.suppress(InvalidDefinition):
            await engine.stages.save("flow", document)
    made = {one for one in tmp_path.rglob("*.py") if one.parent != folder}
    assert made == set() and not (tmp_path.parent / "x.py").exists()


@pytest.mark.parametrize("there", [True, False])
async def test_a_stage_is_not_begun_through_a_link(tmp_path: Path, there: bool) -> None:
    folder = folder_of_stages(tmp_path)
    target = tmp_path / "bashrc"
    if there:
        target.write_text("mine")
    async with TestEngine(str(folder)) as engine:
        document = (await engine.stages.graph("flow"))["document"]
        (folder / "b.py").symlink_to(target)
        document["stages"].append({"path": "b", "kind": "script", "file": "b.py"})
        with contextlib.suppress(InvalidDefinition):  # a link that leads nowhere is no file
            await engine.stages.save("flow", document)
    assert target.exists() == there
    if there:
        assert target.read_text() == "mine"


async def test_a_linked_list_of_stages_is_replaced_and_what_it_led_to_is_not(
    tmp_path: Path,
) -> None:
    folder = folder_of_stages(tmp_path)
    kept = tmp_path / "elsewhere.json"
    (folder / "stages.json").rename(kept)
    (folder / "stages.json").symlink_to(kept)
    before = kept.read_text()
    async with TestEngine(str(folder)) as engine:
        document = (await engine.stages.graph("flow"))["document"]
        document["stages"][0]["title"] = "Changed"
        await engine.stages.save("flow", document)
    assert kept.read_text() == before or (folder / "stages.json").is_symlink()


# -- steering by a stranger ---------------------------------------------------------------------


@pytest.mark.parametrize("by", ["key:1/k", "local:1001/bob", "oidc:eve"])
async def test_who_is_not_the_owner_names_no_folder_and_no_code(by: str, tmp_path: Path) -> None:
    folder = folder_of_stages(tmp_path)
    async with TestEngine() as engine:
        for method in ("stages.deploy", "stages.validate"):
            for what in (str(folder), "/etc", "../flow", "~"):
                with pytest.raises(NotPermitted):
                    await calls.run(engine, method, {"what": what}, by)
        assert await engine.definitions.list() == []
