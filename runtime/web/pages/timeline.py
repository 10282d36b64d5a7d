"""Entries as bars: one row an op, its attempts and what it waited for beside each other.

Pure: from lines of a history and two moments to numbers. A bar is (left, width) in per cent of the
time shown; what is shorter than can be seen is `THIN` wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from greenroom.runtime.shapes import Entry
from greenroom.runtime.web.pages.screen import brief, ms_of, span

THIN: Final = 0.4
TICKS: Final = 4


class Bar(msgspec.Struct):
    """`kind`: run, ok, failed, retry (the pause before an attempt), wait, skipped."""

    kind: str
    begun: int
    ended: int | None
    text: str
    left: float = 0.0
    width: float = 0.0


class Row(msgspec.Struct):
    """One op. `note` is what it was called with or gave, on a line."""

    op: str
    name: str
    what: str
    bars: list[Bar]
    note: str = ""
    seq: int = 0
    attempts: int = 0


class Timeline(msgspec.Struct):
    rows: list[Row]
    ticks: list[tuple[float, str]]
    begun: int
    ended: int


_ENDS: Final = {"StepCompleted": "ok", "StepSkipped": "skipped", "ChildEnded": "ok"}
_OPENS: Final = {
    "StepStarted": "step", "WaitOpened": "wait", "AskOpened": "ask", "ChildStarted": "child",
}  # fmt: skip


def timeline(entries: Sequence[Entry], now: int, over: bool) -> Timeline:
    """The rows of a window of a history. `over`: nothing goes on after its last line."""
    rows: dict[str, Row] = {}
    for entry in entries:
        at = ms_of(entry.at)
        data = entry.data if isinstance(entry.data, dict) else {}
        if entry.op is None:
            continue
        row = rows.get(entry.op)
        if row is None:
            what = _OPENS.get(entry.kind, "step")
            row = rows[entry.op] = Row(entry.op, str(data.get("name") or entry.op), what, [],
                                       seq=entry.seq)  # fmt: skip
        _put(row, entry, data, at)
    begun = min((ms_of(entry.at) for entry in entries), default=now)
    ended = max((ms_of(entry.at) for entry in entries), default=now)
    ends = [bar.ended for row in rows.values() for bar in row.bars if bar.ended is not None]
    ended = max([ended, *ends] if over else [ended, now, *ends])
    made = Timeline(list(rows.values()), [], begun, max(ended, begun + 1))
    _place(made, over)
    return made


def _put(row: Row, entry: Entry, data: dict[str, object], at: int) -> None:
    last = row.bars[-1] if row.bars else None
    if entry.kind in _OPENS:
        if last is not None and last.ended is None:
            last.ended = at
        if last is not None and last.kind == "retry":
            last.ended = at
        row.attempts = max(row.attempts, entry.attempt or 1)
        kind = "run" if row.what in ("step", "child") else "wait"
        row.bars.append(Bar(kind, at, None, ""))
        if data.get("args"):
            row.note = brief(data["args"], 120)
        return
    if last is None or (last.ended is not None and last.kind != "retry"):
        last = Bar("run", at, None, "")
        row.bars.append(last)
    if entry.kind == "StepFailed":
        if last.kind == "retry":  # a failed attempt that began when its time had come
            last = Bar("run", last.ended or at, None, "")
            row.bars.append(last)
        error = data.get("error")
        message = str(error.get("message")) if isinstance(error, dict) else "failed"
        last.kind, last.ended = "failed", at
        row.attempts = max(row.attempts, entry.attempt or 1)
        last.text = f"attempt {entry.attempt or 1} failed after {span(at - last.begun)}: {message}"
        row.note = brief(message, 120)
        retry_at = data.get("retry_at")
        if isinstance(retry_at, str):
            row.bars.append(Bar("retry", at, ms_of(retry_at), f"next attempt at {retry_at}"))
        return
    if last.kind == "retry":
        last = Bar("run", last.ended or at, None, "")
        row.bars.append(last)
    last.ended = at
    if entry.kind in _ENDS:
        last.kind = _ENDS[entry.kind] if not data.get("error") else "failed"
        if "output" in data and data["output"] is not None:
            row.note = brief(data["output"], 120)
    elif entry.kind == "AskAnswered" and data.get("data") is not None:
        row.note = f"{entry.by or 'somebody'}: {brief(data['data'], 100)}"
    last.text = f"{_said(entry.kind)} after {span(at - last.begun)}"


def _said(kind: str) -> str:
    return {
        "StepCompleted": "done", "StepSkipped": "skipped", "ChildEnded": "ended",
        "WaitClosed": "closed", "EventReceived": "event came", "TimerFired": "woke",
        "AskAnswered": "answered",
    }.get(kind, "ended")  # fmt: skip


def _place(made: Timeline, over: bool) -> None:
    length = made.ended - made.begun
    for row in made.rows:
        for bar in row.bars:
            end = made.ended if bar.ended is None else bar.ended
            bar.left = round(min(100 - THIN, 100 * (bar.begun - made.begun) / length), 3)
            bar.width = round(max(THIN, min(100 - bar.left, 100 * (end - bar.begun) / length)), 3)
            if not bar.text:
                bar.text = f"since {span(end - bar.begun)}" if not over else "left open"
    made.ticks = [
        (100 * n / TICKS, span(length * n / TICKS) if n else "0") for n in range(TICKS + 1)
    ]
