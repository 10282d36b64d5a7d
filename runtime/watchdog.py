"""A thread that notices when the loop stands still, and says where.

Asyncio code that blocks stops every instance at once and leaves no trace of who it was. The loop
beats every 50 ms; this thread looks at the beat and at the stack of the loop's thread.

A stall is counted in the thread's own ticks, each for no more than a little over its length: when
the whole process was stopped or the machine slept, the thread stood still too, and nobody is to
blame.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

_log = logging.getLogger(__name__)

BEAT_S: Final = 0.05


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """After how long a stall what happens."""

    warn_s: float = 0.25
    strike_s: float = 2.0
    abort_s: float = 30.0


class Stall:
    """The judgement, without thread or clock: told of ticks, it says what is due.

    `tick` gives the marks passed since the last call: `warn`, `strike`, `abort`, each once a
    stall.
    """

    def __init__(self, marks: Marks) -> None:
        self.seconds = 0.0
        self._marks = (
            ("warn", marks.warn_s),
            ("strike", marks.strike_s),
            ("abort", marks.abort_s),
        )
        self._passed = 0
        self._beats = -1

    def tick(self, beats: int, elapsed_s: float) -> list[str]:
        if beats != self._beats:
            self._beats = beats
            self.seconds = 0.0
            self._passed = 0
            return []
        self.seconds += min(elapsed_s, 2 * BEAT_S)
        due = []
        while self._passed < len(self._marks) and self.seconds >= self._marks[self._passed][1]:
            due.append(self._marks[self._passed][0])
            self._passed += 1
        return due


class Watchdog:
    """Watches the loop it is started in.

    `current` gives the id of the instance whose code runs, if any; `on_strike` is called in the
    watchdog's thread with that id; `sign_of_life` in the loop, with every beat. `note` is where a
    report is left before the process is given up.
    """

    def __init__(
        self,
        *,
        current: Callable[[], str | None] = lambda: None,
        on_strike: Callable[[str | None], object] = lambda instance: None,
        sign_of_life: Callable[[], object] = lambda: None,
        note: Path | None = None,
        marks: Marks | None = None,
        die: Callable[[], Any] = os.abort,
    ) -> None:
        self._current = current
        self._on_strike = on_strike
        self._sign_of_life = sign_of_life
        self._note = note
        self._die = die
        self._stall = Stall(marks or Marks())
        self._beats = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0
        self._beat_handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Call in the loop's thread."""
        loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._beat(loop)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Idempotent; waits for the thread."""
        self._stop.set()
        if self._beat_handle is not None:
            self._beat_handle.cancel()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beats += 1
        self._sign_of_life()
        self._beat_handle = loop.call_later(BEAT_S, self._beat, loop)

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(BEAT_S):
            now = time.monotonic()
            for due in self._stall.tick(self._beats, now - last):
                self._act(due)
            last = now

    def _act(self, due: str) -> None:
        seconds, instance = self._stall.seconds, self._current()
        fields = {"instance": instance, "seconds": round(seconds, 2)}
        if due == "warn":
            _log.warning(
                "the event loop is blocked, by the code below:\n%s", self._stack(), extra=fields
            )
        elif due == "strike":
            _log.error("the event loop is blocked for %.1f s", seconds, extra=fields)
            self._on_strike(instance)
        else:
            _log.critical("the event loop is stuck; giving the process up", extra=fields)
            self._leave_note(instance, seconds)
            faulthandler.dump_traceback(all_threads=True)
            self._die()

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)[-12:]) if frame is not None else "(gone)"

    def _leave_note(self, instance: str | None, seconds: float) -> None:
        if self._note is None:
            return
        report = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "pid": os.getpid(),
            "instance": instance,
            "seconds": seconds,
            "stack": self._stack(),
        }
        self._note.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
