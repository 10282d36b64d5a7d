"""SIGKILL at random moments under mixed load; see `torture.py` for what is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("GREENROOM_KILLS", "8"))


@pytest.mark.crash
@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost_and_nothing_is_stuck_after_many_kills() -> None:
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("torture.py")), "--kills", str(KILLS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    report = json.loads(run.stdout)
    assert report["broken"] == []
    assert report["events"] > 0 and report["in_flight"]["waiting"][2] > 0
    assert run.returncode == 0
