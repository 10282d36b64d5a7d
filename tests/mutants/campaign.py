"""Runs mutants: each in a process of its own, several at a time, with the tests that must see it.

python tests/mutants.py                 all of them
python tests/mutants.py R10 log-...     those of a rule, those whose name begins so
python tests/mutants.py --only kernel   those of one group
python tests/mutants.py --sample 60     some, drawn anew for each --seed
python tests/mutants.py --list
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import pytest

from tests.mutants import (
    classes,
    connectors,
    documents,
    engine,
    flows,
    kernel,
    limits,
    pages,
    resources,
    stages,
    steps,
    store,
    versions,
    web,
)
from tests.mutants.registry import VARIABLE, Mutant

ROOT: Final = Path(__file__).resolve().parents[2]
GROUPS: Final[dict[str, Sequence[Mutant]]] = {
    "engine": engine.MUTANTS, "kernel": kernel.MUTANTS, "store": store.MUTANTS,
    "resources": resources.MUTANTS, "flows": flows.MUTANTS, "versions": versions.MUTANTS,
    "connectors": connectors.MUTANTS, "documents": documents.MUTANTS,
    "steps": steps.MUTANTS, "stages": stages.MUTANTS,
    "limits": limits.MUTANTS,
    "classes": classes.MUTANTS,
    "pages": pages.MUTANTS, "web": web.MUTANTS,
}  # fmt: skip
TIMEOUT_S: Final = 120
TEST_TIMEOUT_S: Final = 15
BROKEN: Final = 70
"""What a process ends with when the mutant could not be planted."""
ARGUMENTS: Final = (
    "-q", "-x", "--no-header", "-p", "no:cacheprovider", "-o", f"timeout={TEST_TIMEOUT_S}",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # planting needs greenroom before pytest
)  # fmt: skip

Outcome = Literal["caught", "survived", "broken"]


def named(mutants: Iterable[Mutant]) -> dict[str, Mutant]:
    """By name, each once."""
    found: dict[str, Mutant] = {}
    for mutant in mutants:
        if mutant.name in found:
            raise ValueError(f"two mutants are called {mutant.name}")
        found[mutant.name] = mutant
    return found


MUTANTS: Final = named(mutant for group in GROUPS.values() for mutant in group)


class Run(NamedTuple):
    mutant: Mutant
    outcome: Outcome
    took_s: float
    output: str


def campaign(mutants: Sequence[Mutant], jobs: int, folder: Path) -> Iterator[Run]:
    """Runs the mutants, `jobs` at a time, and gives them as they end."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[Mutant, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            running[_begin(mutant, folder / mutant.name)] = mutant, time.monotonic()
        time.sleep(0.01)
        for pid, (mutant, begun) in list(running.items()):
            took_s = time.monotonic() - begun
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                output = (folder / mutant.name).read_text(errors="replace")
                yield Run(mutant, _outcome(os.waitstatus_to_exitcode(status)), took_s, output)
            elif took_s > TIMEOUT_S:
                os.kill(pid, signal.SIGKILL)


def _begin(mutant: Mutant, output: Path) -> int:
    """Forks a process that plants the mutant and lets its tests look for it: what is imported once
    need not be imported by each. Gives its id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.environ[VARIABLE] = mutant.name  # for the processes that tests start
        os.environ.pop("PYTEST_ADDOPTS", None)  # tests in other processes would not have it
        mutant.plant()
        code = int(pytest.main([*ARGUMENTS, *mutant.tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _outcome(code: int) -> Outcome:
    """Anything but tests that ran and failed is no proof: a test may be gone, its file broken."""
    if code == pytest.ExitCode.OK:  # all passed, or all were skipped
        return "survived"
    return "caught" if code == pytest.ExitCode.TESTS_FAILED else "broken"


def chosen(words: Sequence[str]) -> list[Mutant]:
    if not words:
        return list(MUTANTS.values())
    return [
        mutant
        for mutant in MUTANTS.values()
        if any(mutant.rule == word or mutant.name.startswith(word) for word in words)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Plant faults and see whether the tests notice.")
    parser.add_argument("which", nargs="*", help="rules or beginnings of names; none: all")
    parser.add_argument("--jobs", "-j", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--sample", type=int, metavar="N", help="N of them, drawn by --seed")
    parser.add_argument("--seed", default="", help="what they are drawn by, such as a commit")
    parser.add_argument("--list", action="store_true", help="name them and run nothing")
    parser.add_argument("--only", choices=sorted(GROUPS), help="those of one group")
    given = parser.parse_args(arguments)
    mutants = chosen(given.which)
    if given.only is not None:
        mutants = [mutant for mutant in mutants if mutant in GROUPS[given.only]]
    if given.sample is not None:
        mutants = random.Random(given.seed).sample(mutants, min(given.sample, len(mutants)))
    if not mutants:
        parser.error(f"no mutant is called {' or '.join(given.which)}")
    if given.list:
        for mutant in mutants:
            say(f"{mutant.rule:<4} {mutant.name:<34} {' '.join(mutant.tests)}")
        return 0
    begun = time.monotonic()
    alive = []
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        for done in campaign(mutants, given.jobs, Path(folder)):
            say(f"{done.outcome:<8} {done.mutant.rule:<4} {done.mutant.name}  {done.took_s:.1f} s")
            if done.outcome != "caught":
                alive.append(done)
    for done in alive:
        say(f"\n{done.mutant.name}: {done.outcome}\n{done.output[-3000:]}")
    rules = Counter(mutant.rule for mutant in mutants)
    say(
        f"\n{len(mutants) - len(alive)} of {len(mutants)} mutants of {len(rules)} rules caught"
        f" in {time.monotonic() - begun:.0f} s"
    )
    return 1 if alive else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
