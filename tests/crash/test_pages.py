"""SIGKILL between any two pages of a form: nothing is stored, nothing is lost, nothing is stuck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenroom import AlreadyDecided, Engine, FormNotComplete
from tests.crash.pages import PAGES, called, paged


def killed_after(store: Path, *words: object) -> str:
    """What a process said after it did what it was told; then it was killed."""
    script = Path(__file__).with_name("pages.py")
    command = [sys.executable, str(script), str(store), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        process.kill()
    return said


@pytest.mark.crash
async def test_a_kill_between_two_pages_stores_nothing_and_the_answer_is_given_whole(
    tmp_path: Path,
) -> None:
    store = tmp_path / "app.db"
    heads: set[int] = set()
    for given in range(len(PAGES)):
        assert killed_after(store, given) == f"page {given + 1}"
        async with Engine.open(store, workflows=[paged]) as engine:
            heads.add((await engine.info()).head)
            (ask,) = (await engine.asks.list()).items
            assert ask.schema["required"] == ["first"]
            with pytest.raises(FormNotComplete):
                await engine.answer(ask.id, PAGES[:given])
    assert len(heads) == 1
    said = killed_after(store, len(PAGES))
    async with Engine.open(store, workflows=[paged]) as engine:
        assert said == f"answered {ask.id}"
        found = await engine.result("paged/k", timeout=10)
        assert found == {"key": "k", "first": "a", "second": 2, "third": True}
        with pytest.raises(AlreadyDecided):
            await engine.answer(ask.id, PAGES)


@pytest.mark.crash
async def test_a_kill_after_each_page_leaves_the_draft_as_it_was_kept(tmp_path: Path) -> None:
    store = tmp_path / "app.db"
    for given in range(len(PAGES)):
        assert killed_after(store, "draft", given) == f"kept {given + 1}"
    async with Engine.open(store, workflows=[paged]) as engine:
        kept = (await engine.asks.get("paged/k", by="ann")).draft
        assert kept == PAGES
        await engine.answer("paged/k", kept, by="ann")
        found = await engine.result("paged/k", timeout=10)
        assert found == {"key": "k", "first": "a", "second": 2, "third": True}


@pytest.mark.crash
async def test_a_kill_while_a_callback_is_awaited_keeps_token_progress_and_wait(
    tmp_path: Path,
) -> None:
    store = tmp_path / "app.db"
    said = {killed_after(store, "callback") for _ in range(3)}
    (word,) = said  # the same token, however often the process died
    token = word.removeprefix("called ")
    async with Engine.open(store, workflows=[called]) as engine:
        (ask,) = (await engine.asks.list()).items
        shown = await engine.asks.get(ask.id)
        assert shown.progress is not None
        assert shown.progress["data"]["times"] >= 1
        await engine.answer(token, {"ok": True})
        state = await engine.result("called/k", timeout=10)
        assert state["callback_result"] == {"ok": True}
