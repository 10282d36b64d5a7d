"""What is done to a data directory while nothing runs in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from greenroom.runtime import backup, lock
from greenroom.runtime.places import private_directory

DATABASE = "greenroom.db"
MARK = "greenroom.mark"


def restore(source: Path, data: Path) -> dict[str, Any]:
    """Makes the store of a data directory from a backup; `kept` names what lay there before."""
    private_directory(data)
    with lock.acquire(data / lock.NAME, what=str(data)):
        kept = backup.restore(source, data / DATABASE, mark=data / MARK)
    return {"kept": [str(path) for path in kept]}


def check(data: Path) -> list[dict[str, Any]]:
    """Reads the whole store of a directory nobody has open."""
    with lock.acquire(data / lock.NAME, what=str(data)):
        findings = backup.check(data / DATABASE, mark=data / MARK)
    return [
        {"level": f.level, "check": f.check, "text": f.text, "details": f.details} for f in findings
    ]
