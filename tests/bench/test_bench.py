"""The benchmarks run and say what they promise. Nothing here looks at the clock."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.runtime.benchmarks import command, limit
from greenroom.runtime.benchmarks.common import in_lanes
from greenroom.runtime.benchmarks.workloads import chain
from greenroom.runtime.engine import Engine
from greenroom.runtime.main import main
from greenroom.runtime.schema import TABLES

BENCH = Path(__file__).parents[2] / "bench"
PROMISED = {
    "steps": {
        "steps_per_s", "limit_steps_per_s", "ratio_to_limit", "p50_ms", "p99_ms", "rss_mb",
        "program_steps_per_s", "groups", "rows", "bytes",
    },
    "limit": {"limit_steps_per_s", "groups", "rows", "bytes"},
    "sequential": {"us_per_step", "bare_us_per_commit", "ratio_to_bare"},
    "programs": {
        "few_ops_per_s", "many_ops_per_s", "many_replay_ms", "ratio_many_to_few",
        "cpu_ratio_many_to_few", "plain_few_ops_per_s", "plain_many_ops_per_s",
        "plain_many_replay_ms", "plain_ratio_many_to_few", "plain_cpu_ratio_many_to_few",
    },
    "events": {"no_match_per_s", "wake_per_s", "rss_mb"},
    "posts": {"posts_per_s", "post_cpu_us", "lines_per_s", "line_cpu_us"},
    "routing": {"waits_1_us", "waits_100_us", "waits_200_us", "waits_ratio", "half_triggers_ratio", "index_200_us", "index_ratio"},
    "waiting": {"ready_ms", "rss_mb", "woken", "made_per_s"},
    "timers": {"fired", "late_p50_ms", "late_max_ms", "pending_in_memory", "pending_ready_ms",
               "set_forward_last_ms", "set_back_early"},
    "recovery": {"ready_ms", "all_done_ms", "recovered"},
    "scopes": {
        "done_many_commits", "done_many_cpu_us", "done_bytes_ratio", "failed_many_commits",
        "failed_bytes_ratio",
    },
    "startup": {"import_cpu_ms", "version_cpu_ms", "post_cpu_ms", "ls_cpu_ms"},
}  # fmt: skip

pytestmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the scripts are in the repository")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose socket has a path the system allows, wherever the tests run."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def test_there_is_a_script_for_each_question() -> None:
    assert {path.stem for path in BENCH.glob("*.py")} == {*command.QUESTIONS, "run"}
    assert set(PROMISED) == set(command.QUESTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("question", command.QUESTIONS)
def test_a_script_prints_one_json_line_with_what_it_promises(
    question: str, short_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, BENCH / f"{question}.py", "--quick", "--data", short_path],
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = done.stdout.splitlines()
    figures = json.loads(line)
    assert figures["bench"] == question
    assert figures["parameters"] == command.sizes_of(question, quick=True)
    assert figures["durability"] == "synchronous=FULL, journal_mode=WAL"
    assert {"python", "sqlite", "aiosqlite"} <= figures["versions"].keys()
    assert PROMISED[question] <= figures.keys()
    assert list(short_path.iterdir()) == []  # nothing is left on the disk that was measured


def test_parameters_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main("sequential", ["--quick", "--steps", "3", "--data", str(tmp_path)])
    assert json.loads(capsys.readouterr().out)["parameters"] == {"steps": 3, "rounds": 1}


def test_the_limit_leaves_the_very_store_that_the_run_left(tmp_path: Path) -> None:
    asyncio.run(_run_and_replay(tmp_path))
    run, bare = (_rows(tmp_path / name) for name in ("run.db", "limit.db"))
    assert run.keys() == bare.keys()
    for table, rows in run.items():
        assert rows == bare[table], table
    assert len(run["entry"]) == 20 * 4


async def _run_and_replay(folder: Path) -> None:
    store = limit.recorded_store(folder / "run.db")
    made = chain(3)
    async with Engine.open(store=store, workflows=[made]) as engine:

        async def work(number: int) -> None:
            await (await engine.start(made)).result()

        await in_lanes(20, 5, work)
        groups = limit.recording_of(store).groups
    await limit.replay(folder / "limit.db", groups, 0, len(groups))


def _rows(path: Path) -> dict[str, list[Any]]:
    """Everything in the store but its own name tag and the word of a clean end."""
    db = sqlite3.connect(path)
    try:
        found = {
            table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr)
            for table in TABLES - {"meta", "partition"}
        }
    finally:
        db.close()
    return found


def test_greenroom_bench_prints_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {"steps": 5, "rounds": 1}
    monkeypatch.setattr(command, "sizes_of", lambda question, quick_: dict(quick))
    assert main(["-o", "table", "bench", "sequential", "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["what", "figure", "target"]
    assert [line.split("  ")[0] for line in lines[1:]] == ["one step after the other, us", ""]


def test_greenroom_bench_names_the_questions_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "speed"]) == 2
    assert "steps limit sequential" in capsys.readouterr().err


def test_the_table_takes_each_figure_from_its_question() -> None:
    answers = [{"bench": "timers", "late_max_ms": 1234.5, "set_forward_last_ms": 2}]
    assert command.rows(answers) == [
        ["the latest of the timers, ms", "1,234.5", "<= 1,000"],
        ["  when the clock is set forward over them", "2", ""],
    ]
