"""Transcripts: what a person may read to see the kernel at work, kept true.

A file in `tests/transcripts` begins with a program; then each command is followed by `----` and by
what was recorded (`+`), what is owed now (`>`) and the status (`=`). `GREENROOM_REWRITE=1` writes
them anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import msgspec
import pytest

from greenroom.actors.effects import RunCall
from greenroom.actors.entries import Completed, Died, Entry, Failure
from greenroom.actors.messages import (
    Answer,
    Cancel,
    Due,
    Message,
    Offer,
    Outcome,
    Pause,
    Recover,
    Resume,
    Skip,
)
from greenroom.actors.progress import status_of
from greenroom.definitions.errors import Rejected
from tests.laws.programs import compile_sample
from tests.laws.rig import START, Rig

FOLDER = Path(__file__).resolve().parents[1] / "transcripts"
REWRITE = os.environ.get("GREENROOM_REWRITE") == "1"
MARK = "----"


def message(words: list[str], rig: Rig) -> Message:
    """A command as a message; times are seconds after the start."""
    verb, rest = words[0], words[1:]
    value = msgspec.json.decode(rest[1]) if len(rest) > 1 and verb != "event" else None
    match verb:
        case "done" | "fail":
            key, number = (*rest[0].split("#"), "")[:2]
            op = rig.progress.ops.get(key)
            attempt = int(number) if number else op.attempt if op else 1
            if verb == "done":
                return Outcome(key, attempt, value)
            return Outcome(key, attempt, error=Failure("Oops", str(value or "it failed")))
        case "due":
            op = rig.progress.ops[rest[0]]
            return Due(rest[0], op.due or 0)
        case "event":
            iq = int(rest[0])
            type, data = rest[1], msgspec.json.decode(rest[2])
            event = {"type": type, "id": f"x{iq}", "source": "/t", "data": data}
            return Offer(iq, rig.progress.at, event, 100 + iq)
        case "answer":
            return Answer(rest[0], value)
        case "skip":
            return Skip(rest[0], value)
        case "resume":
            return Resume(run_again="again" in rest)
        case "pause":
            return Pause()
        case "cancel":
            return Cancel(force="force" in rest)
        case _:
            raise ValueError(f"unknown command {verb}")


def perform(command: str, rig: Rig) -> list[str]:
    first = len(rig.entries)
    if command == "crash":
        rig.reload()
        rig.tell(Recover())
    else:
        told = message(shlex.split(command), rig)
        at = told.due if isinstance(told, Due) else rig.progress.at + 1000
        try:
            rig.tell(told, at)
        except Rejected as refused:
            return [f"! {type(refused).__name__}: {refused.message}".replace(rig.progress.id, "ID")]
    return shown(rig, first)


def shown(rig: Rig, first: int) -> list[str]:
    lines = [f"+ {line}" for entry in rig.entries[first:] for line in of_entry(entry)]
    owed = [
        f"run {e.key}#{e.attempt}" if isinstance(e, RunCall) else f"timer {e.key} +{(e.due - START) // 1000}s"
        for _, e in sorted(rig.owed.items())
    ]  # fmt: skip
    status = status_of(rig.progress)
    return [*(lines or ["nothing"]), f"> {', '.join(owed) or 'nothing'}", f"= {status}"]


def of_entry(entry: Entry) -> list[str]:
    key = getattr(entry, "key", None)
    head = [type(entry).__name__, *([key] if key else [])]
    if isinstance(getattr(entry, "attempt", None), int):
        head[-1] += f"#{entry.attempt}"  # type: ignore[union-attr]
    head += [n for n in ("held", "resumes", "drained") if getattr(entry, n, False)]
    for name in ("void", "takes", "branch", "keys"):
        if getattr(entry, name, None):
            head.append(f"{name}={getattr(entry, name)}")
    lines = [" ".join(head)]
    for r in entry.requests:
        gone = " (gone)" if r.gone else ""
        lines.append(f"  asks {r.key}#{r.attempt} {r.kind} {r.name}{gone}")
    if entry.closes:
        lines.append(f"  closes {', '.join(entry.closes)}")
    if entry.delta is not None:
        lines.append(f"  state {msgspec.json.encode(entry.delta).decode()}")
    match entry.end:
        case Died(error=error, causes=causes):
            lines.append(f"  died: {error.type}: {error.message} because of {list(causes)}")
        case Completed(result=result):
            lines.append(f"  completed: {msgspec.json.encode(result).decode()}")
        case None:
            pass
        case end:
            lines.append(f"  {type(end).__name__.lower()}")
    return lines


def played(text: str) -> str:
    source, *blocks = text.strip("\n").split("\n\n> > >\n")
    program = source.split(f"\n{MARK}\n")[0]
    rig = Rig(compile_sample(program + "\n").definition, {})
    out = [program + f"\n{MARK}\n" + "\n".join(shown(rig, 0))]
    for block in blocks:
        command = block.split(f"\n{MARK}\n")[0].strip()
        out.append(f"{command}\n{MARK}\n" + "\n".join(perform(command, rig)))
    rig.close()
    return "\n\n> > >\n".join(out) + "\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    text = path.read_text()
    got = played(text)
    if REWRITE:
        path.write_text(got)
    else:
        assert got == text


def test_there_are_transcripts() -> None:
    assert len(list(FOLDER.glob("*.txt"))) >= 6
