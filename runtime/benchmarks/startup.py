"""What does a process cost that only wants to know or to say something?

Processor time of whole processes, from the kernel's account of the ended child; the bare
interpreter is reported beside it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from greenroom.runtime.benchmarks.common import Figures, median
from greenroom.runtime.benchmarks.daemons import daemon

SIZES: Final = {"rounds": 11}
QUICK: Final = {"rounds": 2}


def measure(folder: Path, *, rounds: int) -> Figures:
    python = [sys.executable, "-c"]
    data = folder / "data"
    greenroom = _command()
    environment = {**os.environ, "GREENROOM_DATA": os.fspath(data)}
    with daemon(data):
        commands = {
            "python": [*python, "pass"],
            "import": [*python, "import greenroom"],
            "import_engine": [*python, "from greenroom import Engine"],
            "version": [*greenroom, "--version"],
            "help": [*greenroom, "--help"],
            "post": [*greenroom, "post", "bench.nobody"],
            "ls": [*greenroom, "ls"],
        }
        figures: Figures = {}
        for name, command in commands.items():
            took = [_run(command, environment) for _ in range(rounds)]
            figures[f"{name}_cpu_ms"] = median((cpu for cpu, _ in took), 1)
            figures[f"{name}_ms"] = median((wall for _, wall in took), 1)
    return figures


def _command() -> list[str]:
    """The installed script, as a shell would find it."""
    beside = Path(sys.executable).with_name("greenroom")
    script = os.fspath(beside) if beside.exists() else shutil.which("greenroom")
    return [script] if script else [sys.executable, "-m", "greenroom.runtime.main"]


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Milliseconds of processor and of the clock."""
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1000, (time.perf_counter() - begun) * 1000
