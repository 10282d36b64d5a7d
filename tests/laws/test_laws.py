"""The laws of the kernel, over random programs.

After every message of every game: what the kernel decided is what the reference says (K17-K35);
a twin whose machine is replayed for every message decides the same; the journal folds to the live
progress; entries and messages survive encoding; effects of the touched ops are all effects (K16);
a replayed machine is the live one; the message again changes nothing; no attempt is started twice
(K13, K15); and after the end nothing but the results of dispatches is taken.

`GREENROOM_LAWS=5000` plays more games: about 200 a second.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from typing import Any

import pytest

from tests.laws.play import Play

PROGRAMS = int(os.environ.get("GREENROOM_LAWS", "1500"))
FIRST = int(os.environ.get("GREENROOM_LAWS_FIRST", "0"))
PART = 250

MARKS = {
    "Completed": 0.3, "Cancelled": 0.1, "Continued": 0.05, "Died": 0.15, "Reopened": 0.05,
    "void": 0.05, "held": 0.05, "gone": 0.004, "closes": 0.1, "AttemptsLost": 0.05,
    "OpInDoubt": 0.01, "OpSkipped": 0.01, "EventReceived": 0.3, "TimerFired": 0.3,
    "Answered": 0.04, "AttemptFailed": 0.02, "Resumed": 0.05, "crash": 0.2,
    "over time": 0.1, "over time, uncaught": 0.02, "whole time again": 0.008,
    "refused StillFails": 0.02, "refused NeedsAnswer": 0.01,
}  # fmt: skip
"""How often a game, on average, must come to what the laws are about."""


def parts() -> list[range]:
    return [
        range(first, min(first + PART, FIRST + PROGRAMS))
        for first in range(FIRST, FIRST + PROGRAMS, PART)
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", parts(), ids=lambda seeds: f"{seeds.start}-{seeds.stop}")
def test_random_programs_keep_the_laws(seeds: range, monkeypatch: pytest.MonkeyPatch) -> None:
    leaks: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", leaks.append)
    seen: Counter[str] = Counter()
    for seed in seeds:
        seen += Play(seed).run()
    gc.collect()
    assert not leaks, f"K43: {len(leaks)} coroutines were left to the collector"
    if len(seeds) == PART:
        rare = {m: seen[m] for m, often in MARKS.items() if seen[m] < often * PART / 4}
        assert not rare, f"these games hardly come to: {rare}"


def test_the_same_seed_plays_the_same_game() -> None:
    first, second = Play(7), Play(7)
    first.run()
    second.run()
    assert first.script == second.script
    assert first.rig.rows == second.rig.rows
