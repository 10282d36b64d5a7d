"""Every mutant still finds its place, and a few of them are really caught.

All of them: `python tests/mutants.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

QUICK = ("zombies-are-believed", "held-outcomes-are-dropped", "all-failures-can-be-taken-back")

PLANT_EACH = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tests.mutants.campaign import MUTANTS
lost = []
for mutant in MUTANTS.values():
    child = os.fork()
    if child == 0:
        try:
            mutant.plant()
        except BaseException as error:
            print(f"{mutant.name}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        lost.append(mutant.name)
sys.exit(1 if lost else 0)
"""


def test_every_mutant_finds_its_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLANT_EACH, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_planted_faults_are_caught() -> None:
    command = [sys.executable, "tests/mutants.py", *QUICK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
