"""What `doctor` asks of instances: does a row say what its entries say, and does something lead on?

The row of an instance (status, waits, error) is what lists, filters and the restart believe; its
entries are what happened. Both are written in one transaction, so they can differ only by damage
or by a fault of ours, and then nothing else would notice: a flipped bit in a column has no
checksum. The same goes for a snapshot: it must be what the entries before it add up to.

Everything is read a page at a time, between the groups of others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from greenroom.actors.ports import (
    Audit,
    Audited,
    AuditFinding,
    InstanceRow,
    Load,
    Loaded,
    Orphaned,
    Orphans,
)
from greenroom.actors.progress import Progress, encode_progress
from greenroom.actors.rows import status_change
from greenroom.definitions.errors import GreenroomError
from greenroom.runtime.journal import Journal
from greenroom.runtime.progresses import folded

PAGE: Final = 50
"""Instances read in one hop."""
SPACE_LOW: Final = 256 << 20
"""So much room is little: a backup or a burst of events takes it."""
NAMED_MAX: Final = 100
"""Findings given one by one; the others are counted."""

_COLUMNS: Final = ("status", "outcome", "waits", "steps", "error", "error_code", "busy")
_JSON: Final = frozenset({"waits", "error"})
_IDENTITY: Final = ("id", "workflow", "version", "key", "namespace", "test")


async def audit(journal: Journal, *, deep: bool) -> list[AuditFinding]:
    """Counters and, deep, every checksum."""
    findings: list[AuditFinding] = []
    place: int | None = 0
    while place is not None:
        audited: Audited = await journal.call(Audit(deep, place))
        findings += audited.findings
        place = audited.next
    return findings


def space(journal: Journal) -> list[AuditFinding]:
    """Whether there is room to go on: nothing to say of a store in memory that takes what comes."""
    path: Path | None = getattr(journal.store, "path", None)
    if journal.read_only:
        text = "the disk is full: nothing new is stored until there is room"
        return [AuditFinding("error", "disk.space", text)]
    if path is None:
        return []
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    level: Literal["ok", "warning"] = "ok" if free >= SPACE_LOW else "warning"
    text = f"{free >> 20:,} MiB are left where the store is"
    return [AuditFinding(level, "disk.space", text, {"free": free})]


async def orphans(journal: Journal) -> AuditFinding:
    """Live instances from whose state nothing leads on (P3)."""
    found: list[str] = []
    place: int | None = 0
    while place is not None:
        orphaned: Orphaned = await journal.call(Orphans(after=place))
        found += [row.id for row in orphaned.rows]
        place = orphaned.next
    if not found:
        return AuditFinding("ok", "orphans", "every live instance has something that leads on")
    return AuditFinding(
        "error", "orphans", f"{len(found)} live instances have nothing that would wake them",
        {"instances": found[:NAMED_MAX]},
    )  # fmt: skip


async def instances(journal: Journal, next_n: int) -> list[AuditFinding]:
    """Folds the entries of every instance and compares the result with its row and snapshot."""
    findings: list[AuditFinding] = []
    looked = faults = 0
    async for whole, tail in _pages(journal, next_n):
        looked += 1
        text = fault_of(whole, tail)
        if text is None:
            continue
        faults += 1
        if len(findings) < NAMED_MAX:
            row = whole.row
            findings.append(AuditFinding(
                "error", "instances", f"instance {row.id} ({row.workflow}): {text}",
                {"instance": row.id, "n": row.n},
            ))  # fmt: skip
    if faults > len(findings):
        more = faults - len(findings)
        findings.append(AuditFinding("error", "instances", f"and {more:,} instances more"))
    if not faults:
        text = f"{looked:,} instances are what their entries say"
        findings.append(AuditFinding("ok", "instances", text))
    return findings


async def _pages(journal: Journal, next_n: int) -> AsyncIterator[tuple[Loaded, Loaded]]:
    """Every instance twice: from its first entry, and from its newest snapshot."""
    for first in range(1, next_n, PAGE):
        ns = range(first, min(first + PAGE, next_n))
        wholes, tails = await asyncio.gather(
            journal.call(Load(ns, snapshots=False)), journal.call(Load(ns))
        )
        by_n = {tail.row.n: tail for tail in tails}
        for whole in wholes:
            tail = by_n.get(whole.row.n)
            if tail is not None and tail.head == whole.head:  # else it went on between the reads
                yield whole, tail
                await asyncio.sleep(0)


def fault_of(whole: Loaded, tail: Loaded) -> str | None:
    """What is wrong with an instance, read from its first entry and from its newest snapshot."""
    if whole.damaged is not None:
        return whole.damaged
    if whole.row.error_code == "damaged":
        return (
            "it was parked for damage that is not there any more; restart it, or cancel it by force"
        )
    try:
        p = folded(whole)
        wrong = differences(whole.row, p)
        if wrong:
            return f"its row says {', '.join(wrong)}"
        if tail.snapshot is not None and encode_progress(folded(tail)) != encode_progress(p):
            return f"its snapshot at {tail.snapshot_iseq} is not what its entries add up to"
    except (GreenroomError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        return f"its entries cannot be folded: {type(error).__name__}: {error}"
    return None


def differences(row: InstanceRow, p: Progress) -> list[str]:
    """Where a row says something else than the entries, in words."""
    wanted = status_change(p)
    pairs = [(name, getattr(row, name), getattr(wanted, name)) for name in _COLUMNS]
    pairs += [(name, getattr(row, name), getattr(p, name)) for name in _IDENTITY]
    pairs.append(("parent", row.parent, p.parent[0] if p.parent else None))
    pairs.append(("forked_from", row.forked_from, p.forked[0] if p.forked else None))
    wrong = []
    for name, found, expected in pairs:
        if name in _JSON:
            found, expected = _plain(found), _plain(expected)
        if found != expected:
            wrong.append(f"{name} {found!r}, its entries {expected!r}"[:200])
    return wrong


def _plain(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return raw
