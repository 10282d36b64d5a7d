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

QUESTIONS: Final = (
    "steps", "limit", "sequential", "programs", "events", "routing", "waiting", "timers",
    "recovery", "startup",
)  # fmt: skip


def answer(question: str, sizes: dict[str, int], data: str | None = None) -> Figures:
    """Runs one benchmark. Its store lies in a temporary folder, made in `data` if given."""
    module: Any = importlib.import_module(f"greenroom.runtime.benchmarks.{question}")
    around = surroundings()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-", dir=data) as folder:
        figures = module.measure(Path(folder), **sizes)
    took = {"took_s": round(time.monotonic() - begun, 1)}
    return {"bench": question, "parameters": sizes} | figures | took | around


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
