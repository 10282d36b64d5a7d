"""What a terminal is told: text from the JSON of an answer.

One fact a line, real values, no decoration that does not help reading.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from greenroom.definitions.durations import text as span
from greenroom.runtime.cli.words import compact

Data = dict[str, Any]


def moment(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def age(text: str, now: datetime) -> str:
    """How long ago, in one unit, for tables."""
    number, unit = span(max((now - moment(text)).total_seconds() // 1, 0)).split(" ")[:2]
    return f"{number} {unit}"


def due(text: str, now: datetime) -> str:
    """`due in 2 d 3 h` or `due 5 min ago`."""
    seconds = (moment(text) - now).total_seconds()
    return f"due in {span(seconds)}" if seconds > 0 else f"due {span(-seconds)} ago"


def clock(text: str) -> str:
    """The time of day of a moment, to the millisecond, UTC."""
    return moment(text).astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def day(text: str) -> str:
    return moment(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


# -- instances ---------------------------------------------------------------------------------


def error(problem: Data | None) -> str:
    """The first line of what went wrong. A step's failure names the exception it raised."""
    if not problem:
        return ""
    first = problem["message"].split("\n", 1)[0]
    kind = (problem.get("details") or {}).get("type") or problem["code"]
    return first if first.startswith(f"{kind}:") else f"{kind}: {first}"


def wait(what: Data, now: datetime) -> str:
    """`event order.paid, due in 2 d`."""
    kind = what["kind"]
    subject = what.get("type") or what.get("child") or what.get("name")
    if what.get("ask") and subject:
        subject = f'"{subject}"'
    parts = [f"{kind} {subject}" if subject else f"{kind} {what['op']}"]
    if kind == "retry" and what.get("attempt"):
        parts[0] += f" after attempt {what['attempt']}"
    if what.get("where"):
        parts.append(f"where {compact(what['where'])}")
    if what.get("due"):
        parts.append(due(what["due"], now))
    if what.get("error"):
        parts.append(error(what["error"]))
    return ", ".join(parts)


def waits(items: list[Data], now: datetime) -> str:
    """All waits on one line, the first few in full."""
    shown = "; ".join(wait(item, now) for item in items[:2])
    return shown + (f"; and {len(items) - 2:,} more" if len(items) > 2 else "")


def ended(outcome: Data) -> str:
    """How an instance came out, for `--wait` and `run`."""
    label = outcome.get("outcome") or "ok"
    status = outcome["status"] if label == "ok" else f"{outcome['status']} {label}"
    problem = error(outcome.get("error"))
    return f"{status}: {problem}" if problem else str(status)


# -- entries -----------------------------------------------------------------------------------

_MARKS: Final = {
    "StepCompleted": "✓", "StepFailed": "✗", "StepStarted": "…", "StepSkipped": "-",
    "InstanceCompleted": "✓", "InstanceFailed": "✗", "InstanceCancelled": "✗",
    "WaitOpened": "…", "WaitClosed": "✓", "AskOpened": "?", "AskAnswered": "✓",
}  # fmt: skip


def entry(one: Data) -> str:
    """An entry as `watch` prints it: mark, what happened, to what, when."""
    mark = _MARKS.get(one["kind"], "·")
    words = [spaced(one["kind"])]
    if one.get("op"):
        words.append(one["op"])
    if (one.get("attempt") or 0) > 1:
        words.append(f"attempt {one['attempt']}")
    if one.get("by"):
        words.append(f"by {one['by']}")
    head = f"  {mark} {'  '.join(words)}"
    tail = entry_data(one)
    return f"{head:<44}  {clock(one['at'])}" + (f"  {tail}" if tail else "")


def spaced(kind: str) -> str:
    """`StepCompleted` -> `step completed`."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in kind).strip()


def entry_data(one: Data) -> str:
    data = one.get("data")
    if data is None or data == {}:
        return ""
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        problem = data["error"]
        return error(problem) if "message" in problem and "code" in problem else compact(data)
    return compact(data)
