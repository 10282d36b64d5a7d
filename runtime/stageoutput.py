"""What the file of a stage prints is kept with its run, beside going where it always went.

Standard output and error belong to the whole process; stages run in threads beside each other. So
while any stage runs, both streams are ones that ask the context who is writing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

KEPT_MAX: Final = 16 * 1024
"""Characters of one stage's run that are kept: the last ones."""


class Output:
    """The last characters somebody wrote."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._lost = 0
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        with self._lock:
            self._parts.append(text)
            self._size += len(text)
            if self._size > 2 * KEPT_MAX:
                self._cut()

    def _cut(self) -> None:
        whole = "".join(self._parts)
        self._lost += max(0, len(whole) - KEPT_MAX)
        self._parts = [whole[-KEPT_MAX:]]
        self._size = len(self._parts[0])

    @property
    def text(self) -> str:
        """What is kept, with a line in front where something was left out."""
        with self._lock:
            self._cut()
            kept = self._parts[0]
            lost = self._lost
        return f"... {lost:,} characters before this are not kept\n{kept}" if lost else kept


_OUTPUT: Final[ContextVar[Output | None]] = ContextVar("greenroom_output", default=None)


class _Split:
    """A stream that also gives what is written to the stage that writes it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        output = _OUTPUT.get()
        if output is None:
            return int(self._stream.write(text))
        output.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_lock = threading.Lock()
_running = 0


def _split() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Split):
            setattr(sys, name, _Split(stream))


def _unsplit() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Split):
            setattr(sys, name, stream._stream)


@contextmanager
def kept() -> Iterator[Output]:
    """Keeps what this context writes to standard output and error."""
    global _running
    output = Output()
    with _lock:
        _running += 1
        _split()
    token = _OUTPUT.set(output)
    try:
        yield output
    finally:
        _OUTPUT.reset(token)
        with _lock:
            _running -= 1
            if not _running:
                _unsplit()
