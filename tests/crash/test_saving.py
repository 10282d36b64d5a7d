"""C21: the process dies around the commit of steps that save; each change is saved once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom import Engine
from greenroom.runtime import crashpoints
from tests.crash import saving

POINTS = ("journal.begin", "journal.insert", "journal.inserted", "journal.commit",
          "journal.committed", "journal.done")  # fmt: skip


def die(path: Path, at: str) -> None:
    env = {**os.environ, crashpoints.VARIABLE: at}
    died = subprocess.run(
        [sys.executable, saving.__file__, str(path)], env=env, capture_output=True, check=False
    )
    assert died.returncode == crashpoints.EXIT_CODE, died.stderr.decode()


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
async def test_c21_a_process_that_dies_around_a_commit_saves_each_change_once(
    point: str, tmp_path: Path
) -> None:
    path = tmp_path / "app.db"
    for nth in (5, 3):  # of the second process too: what it found is half done
        if point in ("journal.insert", "journal.inserted"):
            nth += 2  # passed more than once a group
        die(path, f"{point}:{nth}")
    counter = (await saving.main(str(path)))["counter"]
    assert (counter["n"], counter["version"]) == (3, 4)
    async with Engine.open(path, workflows=[saving.counting]) as engine:
        (stored,) = (await engine.resources.list()).items
        assert (stored.id, stored.version, stored.data) == (counter["id"], 4, {"n": 3})
        history = (await engine.resources.history(stored.id)).items
        assert [(one.version, one.op) for one in history] == [
            (1, "make"), (2, "count"), (3, "count#2"), (4, "count#3"),
        ]  # fmt: skip
        assert [f.text for f in await engine.doctor(deep=True) if f.level != "ok"] == []
