"""What a store is, and what every store agrees on: checksums, status numbers, refusals.

A store is synchronous and has one caller. `run` takes a group and either stores all of it or
nothing: a fault of one caller is that work's result, anything else is raised and means that no
work of the group was stored (`StoreFull`) or that nobody can know (`EngineDied`).
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final, Protocol

from greenroom.actors import ports
from greenroom.definitions.errors import GreenroomError
from greenroom.definitions.events import Event
from greenroom.definitions.resources import Stored

STATUSES: Final = ("pending", "running", "waiting", "paused", "failed", "completed", "cancelled")
STATUS_CODE: Final = {name: code for code, name in enumerate(STATUSES)}
FIRST_ENDED: Final = STATUS_CODE["completed"]
"""Codes from here on are those of ended instances."""

JSON_CODEC: Final = 0
PARTITIONS: Final = 256
"""The partition of an instance is `n % PARTITIONS`."""
PRUNED_KIND: Final = "Pruned"
"""The entry (of instance 0) that accounts for rows removed by retention."""

_HEADER: Final = struct.Struct("<qqqqqB").pack
_PLACE: Final = struct.Struct("<qqq").pack
_ITEM: Final = struct.Struct("<qqqq").pack


class StoreFull(Exception):
    """No room: the group was not stored and never will be."""


class Store(Protocol):
    def open(self) -> ports.Opened: ...

    def run(self, group: list[ports.Work]) -> list[Any]:
        """A result or a caller's fault for each work, in order."""
        ...

    def swollen(self) -> bool:
        """Whether a checkpoint is due."""
        ...

    def checkpoint(self) -> None: ...

    def probe(self) -> None:
        """Raises `StoreFull` as long as there is no room."""
        ...

    def close(self, clean: bool, at: int = 0) -> None: ...


def row_crc(seq: int, n: int, iseq: int, epoch: int, at: int, kind: str, payload_crc: int) -> int:
    """The checksum of an entry: the payload's, continued over everything else."""
    return zlib.crc32(_HEADER(seq, n, iseq, epoch, at, JSON_CODEC) + kind.encode(), payload_crc)


def event_crc(pos: int, scope: str, accepted: int, by: str | None, hops: int, body: bytes) -> int:
    """The checksum of a stored event; what became of it later is not in it."""
    header = _PLACE(pos, accepted, hops) + f"{scope}\0{by}".encode()
    return zlib.crc32(header, zlib.crc32(body))


def item_crc(n: int, iq: int, kind: str, pos: int | None, at: int, payload: bytes) -> int:
    """The checksum of an inbox item, over the event's body where that is its payload."""
    return zlib.crc32(_ITEM(n, iq, pos or 0, at) + kind.encode(), zlib.crc32(payload))


def resource_crc(row: Stored, namespace: str, created: int, updated: int) -> int:
    """The checksum of a resource."""
    texts = (row.id, namespace, row.type, row.family, row.product, row.customer_id, row.status)
    header = _PLACE(row.version, created, updated) + "\0".join(texts).encode()
    return zlib.crc32(header, zlib.crc32(row.data))


def change_crc(change: ports.ResourceChange) -> int:
    """The checksum of one version in the history of a resource."""
    texts = (change.id, change.instance, change.workflow, change.op)
    header = _ITEM(change.version, change.at, change.pos, change.attempt)
    return zlib.crc32(header + "\0".join(texts).encode(), zlib.crc32(change.changes))


def signed(value: int) -> int:
    """A hash of 64 bits as the integer a database holds."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >> 63 else value


def delivers_to(scope: str) -> str | None:
    """The instance id of a scope `to:<id>`, None for a namespace."""
    return scope[3:] if scope.startswith("to:") else None


def ref_kind(ref: str) -> tuple[str, str] | None:
    """`workflow/key` as its two halves; None for an id or a prefix of one."""
    workflow, slash, key = ref.partition("/")
    return (workflow, key) if slash else None


Outcome = Any | GreenroomError
__all__ = [
    "FIRST_ENDED", "JSON_CODEC", "PARTITIONS", "PRUNED_KIND", "STATUSES", "STATUS_CODE", "Event",
    "Outcome", "Store", "StoreFull", "change_crc", "delivers_to", "event_crc", "item_crc", "ref_kind",
    "resource_crc", "row_crc", "signed",
]  # fmt: skip
