"""The watchdog: its judgement without a clock, and once with a real blocked loop."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from pathlib import Path

import pytest

from greenroom.runtime.watchdog import Marks, Stall, Watchdog


def ticks(stall: Stall, beats: int, count: int, elapsed_s: float = 0.05) -> list[str]:
    return [due for _ in range(count) for due in stall.tick(beats, elapsed_s)]


def test_marks_are_passed_once_a_stall_in_order() -> None:
    stall = Stall(Marks())
    assert ticks(stall, 1, 5) == []
    assert ticks(stall, 1, 3) == ["warn"]
    assert ticks(stall, 1, 40) == ["strike"]
    assert ticks(stall, 1, 600) == ["abort"]
    assert ticks(stall, 1, 600) == []


def test_a_beat_ends_the_stall() -> None:
    stall = Stall(Marks())
    assert ticks(stall, 1, 10) == ["warn"]
    assert ticks(stall, 2, 5) == []
    assert ticks(stall, 2, 10) == ["warn"]


def test_a_process_that_was_stopped_for_a_minute_is_not_blamed() -> None:
    stall = Stall(Marks())
    ticks(stall, 1, 1)
    assert stall.tick(1, 60.0) == []
    assert stall.seconds <= 0.1


async def test_a_blocked_loop_is_logged_with_stack_and_instance_then_given_up(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    struck: list[str | None] = []
    dead = threading.Event()
    watchdog = Watchdog(
        current=lambda: "0193-i",
        on_strike=struck.append,
        note=tmp_path / "stuck.json",
        marks=Marks(warn_s=0.1, strike_s=0.2, abort_s=0.3),
        die=dead.set,
    )
    with caplog.at_level(logging.WARNING):
        watchdog.start()
        await asyncio.sleep(0)
        the_guilty_one(dead)
        watchdog.stop()
    assert "the_guilty_one" in caplog.records[0].getMessage()
    assert caplog.records[0].__dict__["instance"] == "0193-i"
    assert struck == ["0193-i"]
    note = json.loads((tmp_path / "stuck.json").read_bytes())
    assert note["instance"] == "0193-i"
    assert "the_guilty_one" in note["stack"]


def the_guilty_one(until: threading.Event) -> None:
    end = time.monotonic() + 10
    while not until.is_set() and time.monotonic() < end:
        pass


async def test_a_loop_that_turns_gives_signs_of_life(caplog: pytest.LogCaptureFixture) -> None:
    alive = asyncio.Event()
    watchdog = Watchdog(sign_of_life=alive.set)
    watchdog.start()
    await alive.wait()
    watchdog.stop()
    watchdog.stop()
    assert not caplog.records
