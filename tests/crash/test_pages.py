"""SIGKILL between any two pages of a form: nothing is stored, nothing is lost, nothing is stuck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenroom import AlreadyDecided, Engine, FormNotComplete
from tests.crash.pages import PAGES, paged


def killed_after(store: Path, given: int) -> str:
    """What a process said after it sent so many pages; then it was killed."""
    script = Path(__file__).with_name("pages.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(store), str(given)], stdout=subprocess.PIPE, text=True
    ) as process:
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
