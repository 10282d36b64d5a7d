"""The scripts of `bench/`: a question's parameters as options, its answer as one JSON line."""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.runtime.benchmarks.common import Figures, surroundings
from greenroom.runtime.web.mount import is_installed

QUESTIONS: Final = (
    "steps", "limit", "sequential", "programs", "events", "posts", "routing", "waiting", "timers",
    "recovery", "scopes", "startup",
)  # fmt: skip


BUDGET: Final = (
    ("steps", "steps_per_s", "durable steps a second", ">= 25,000"),
    ("steps", "ratio_to_limit", "  part of what the disk path can do", ">= 0.25"),
    ("steps", "program_steps_per_s", "  the same as a program", ""),
    ("steps", "p99_ms", "  an instance of them, p99 ms", ""),
    ("limit", "limit_steps_per_s", "the bare loop, steps a second", ""),
    ("sequential", "us_per_step", "one step after the other, us", ""),
    ("sequential", "ratio_to_bare", "  to a bare commit", "<= 1.5"),
    ("programs", "ratio_many_to_few", "an op after many to one after few", "<= 1.2"),
    ("programs", "plain_ratio_many_to_few", "  the same without await", "<= 1.2"),
    ("programs", "many_replay_entries_per_s", "replayed entries a second", ""),
    ("programs", "plain_many_replay_entries_per_s", "  the same without await", ""),
    ("events", "no_match_per_s", "events a second, nobody waits", ">= 30,000"),
    ("events", "wake_per_s", "  each wakes one instance to its end", ">= 6,000"),
    ("posts", "post_cpu_us", "an event over HTTP, CPU us", "<= 90"),
    ("posts", "line_cpu_us", "  one of many in a request", ""),
    ("routing", "waits_ratio", "routing among many to among 100", "<= 1.5"),
    ("routing", "half_triggers_ratio", "  six shapes, half triggers, after a restart", "<= 1.5"),
    ("routing", "index_ratio", "  to find a trigger in memory", ""),
    ("waiting", "rss_mb", "memory with all waiting, MB", "<= 150"),
    ("waiting", "ready_ms", "  from opening to ready, ms", "<= 2,000"),
    ("timers", "late_max_ms", "the latest of the timers, ms", "<= 1,000"),
    ("timers", "set_forward_last_ms", "  when the clock is set forward over them", ""),
    ("recovery", "ready_ms", "a killed daemon is back, ms", ""),
    ("scopes", "done_many_commits", "commits of 1,000 items side by side", ""),
    ("scopes", "done_cpu_us_ratio", "  CPU an item of many to one of few", ""),
    ("scopes", "failed_bytes_ratio", "  bytes an item, where all fail", ""),
    ("startup", "import_cpu_ms", "import greenroom, CPU ms", "<= 150"),
    ("startup", "version_cpu_ms", "greenroom --version, CPU ms", "<= 60"),
)
"""What the table shows: question, figure, words, and the target on two quiet cores at full size."""


def measurable() -> list[str]:
    """The questions that what is installed can answer: one is of an extra."""
    return [question for question in QUESTIONS if question != "posts" or is_installed()]


def answer(question: str, sizes: dict[str, int], data: str | None = None) -> Figures:
    """Runs one benchmark. Its store lies in a temporary folder, made in `data` if given."""
    module: Any = importlib.import_module(f"greenroom.runtime.benchmarks.{question}")
    around = surroundings()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-", dir=data) as folder:
        figures: Figures = module.measure(Path(folder), **sizes)
    took = {"took_s": round(time.monotonic() - begun, 1)}
    return {"bench": question, "parameters": sizes, **figures, **took, **around}


def rows(answers: Sequence[Figures]) -> list[list[str]]:
    """The table of what was measured: words, figure, target."""
    found = {figures["bench"]: figures for figures in answers}
    return [
        [words, f"{found[question][name]:,}", target]
        for question, name, words, target in BUDGET
        if name in found.get(question, ())
    ]


def sizes_of(question: str, quick: bool) -> dict[str, int]:
    module: Any = importlib.import_module(f"greenroom.runtime.benchmarks.{question}")
    return dict(module.QUICK if quick else module.SIZES)


def main(question: str, argv: Sequence[str] | None = None) -> None:
    """One script: `--quick`, `--data FOLDER` and one option a parameter."""
    parser = argparse.ArgumentParser(prog=f"bench/{question}.py")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--data", help="a folder on the disk to measure")
    for name, size in sizes_of(question, quick=False).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"default {size}")
    given = vars(parser.parse_args(argv))
    sizes = sizes_of(question, given["quick"])
    sizes |= {name: given[name] for name in sizes if given[name] is not None}
    print(msgspec.json.encode(answer(question, sizes, given["data"])).decode())  # noqa: T201
