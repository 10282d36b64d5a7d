"""Three silent losses that SQLite does not notice, and how they are noticed here.

*The log's middle.* One flipped bit in the write-ahead log makes SQLite drop every later commit and
say nothing. So after an unclean stop the log is read before SQLite opens the file: complete
commits *behind* the first bad frame mean damage, not a torn tail. (Before, because closing any
other descriptor of the database file would drop SQLite's lock on it.)

*An older past.* A deleted log or a restored old copy opens without complaint. After each commit
the place of the journal's head goes into a small mark file, without fsync: it can only be older
than the truth, so a journal that ends before its mark has lost something.

*A file that is gone.* After `rm` SQLite goes on committing into a file nobody will find. So before
each group the names must still lead to the files that were opened.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import zlib
from array import array
from pathlib import Path
from typing import Final, NamedTuple

from greenroom.definitions.errors import EngineDied, StoreDamaged

WAL_HEADER: Final = 32
FRAME_HEADER: Final = 24
_MAGIC: Final = (0x377F0682, 0x377F0683)
_MASK: Final = 0xFFFF_FFFF


class WalReport(NamedTuple):
    """What the log holds. `lost` complete commits lie behind the first bad frame."""

    frames: int
    commits: int
    lost: int
    torn: bool

    @property
    def damaged(self) -> bool:
        """Zero or one commit behind the break is what a power cut leaves."""
        return self.lost >= 2


def audit_wal(path: Path) -> WalReport:
    """Reads a write-ahead log as SQLite's recovery would, and beyond the place where it stops."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return WalReport(0, 0, 0, False)
    if len(raw) < WAL_HEADER + FRAME_HEADER:
        return WalReport(0, 0, 0, len(raw) > 0)
    magic, _, page = struct.unpack_from(">III", raw)
    salts = raw[16:24]
    big = magic == _MAGIC[1]
    s0, s1 = _sum(raw[:24], 0, 0, big)
    if (
        magic not in _MAGIC
        or not 512 <= page <= 65536
        or page & (page - 1)
        or (s0, s1) != struct.unpack_from(">II", raw, 24)
    ):
        return _headless(raw, salts)
    size = FRAME_HEADER + page
    frames = commits = 0
    for at in range(WAL_HEADER, len(raw) - size + 1, size):
        if raw[at + 8 : at + 16] == salts:
            s0, s1 = _sum(raw[at : at + 8], s0, s1, big)
            s0, s1 = _sum(raw[at + FRAME_HEADER : at + size], s0, s1, big)
        if raw[at + 8 : at + 16] != salts or (s0, s1) != struct.unpack_from(">II", raw, at + 16):
            lost = _commits(raw, at + size, size, salts)
            return WalReport(frames, commits, lost, True)
        frames += 1
        commits += raw[at + 4 : at + 8] != b"\0\0\0\0"
    return WalReport(frames, commits, 0, False)


def _commits(raw: bytes, start: int, size: int, salts: bytes) -> int:
    """Commit frames of this run of the log; older runs have other salts."""
    return sum(
        raw[at + 8 : at + 16] == salts and raw[at + 4 : at + 8] != b"\0\0\0\0"
        for at in range(start, len(raw) - size + 1, size)
    )


def _headless(raw: bytes, salts: bytes) -> WalReport:
    """The header itself is bad: SQLite would ignore the whole log.

    The first header of a run is synced before its frames, so frames that fit it (their salts
    differ in a few bits at most) mean that the header was damaged afterwards; frames with wholly
    other salts are those of the run before, checkpointed long ago.
    """
    for page in (4096, 1024, 2048, 512, 8192, 16384, 32768, 65536):
        size = FRAME_HEADER + page
        first = raw[WAL_HEADER + 8 : WAL_HEADER + 16]
        second = raw[WAL_HEADER + size + 8 : WAL_HEADER + size + 16]
        if len(second) == 8 and first != second:
            continue
        apart = (int.from_bytes(first) ^ int.from_bytes(salts)).bit_count()
        lost = _commits(raw, WAL_HEADER, size, first) if apart <= 8 else 0
        return WalReport(0, 0, lost + 1 if lost else 0, True)
    return WalReport(0, 0, 0, True)


def _sum(data: bytes, s0: int, s1: int, big: bool) -> tuple[int, int]:
    """SQLite's checksum: pairs of words, each sum feeding the other."""
    words = array("I", data)
    if big != (sys.byteorder == "big"):
        words.byteswap()
    pairs = iter(words)
    for left in pairs:
        s0 = (s0 + left + s1) & _MASK
        s1 = (s1 + next(pairs) + s0) & _MASK
    return s0, s1


def check_wal(path: Path, *, accept_truncation: bool) -> list[str]:
    """Refuses a log that lost acknowledged commits. Gives warnings otherwise."""
    report = audit_wal(path)
    if not report.damaged:
        return []
    text = (
        f"{path.name} is damaged behind commit {report.commits}: "
        f"{report.lost} later commits cannot be read"
    )
    if accept_truncation:
        return [f"{text}; opened without them as asked"]
    raise StoreDamaged(
        text,
        hint="restore a backup, or give up these commits with --accept-truncation",
        file=str(path),
        commits=report.commits,
        lost=report.lost,
    )


class Mark(NamedTuple):
    """The journal's head as last seen: `crc` is the checksum of the row there."""

    store: int
    head: int
    crc: int


class MarkFile:
    """The high-water mark. Written without fsync: it may be older than the journal, never newer."""

    _FORMAT: Final = struct.Struct("<4sQQI")
    _MAGIC: Final = b"GRM1"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def open(self) -> tuple[Mark | None, list[str]]:
        """What the file says; None with a warning when it cannot be read."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, 0o600)
        raw = os.pread(self._fd, 64, 0)
        if not raw:
            return None, []
        body, size = raw[: self._FORMAT.size], self._FORMAT.size
        if len(raw) == size + 4 and struct.unpack("<I", raw[size:])[0] == zlib.crc32(body):
            magic, store, head, crc = self._FORMAT.unpack(body)
            if magic == self._MAGIC:
                return Mark(store, head, crc), []
        return None, [f"{self.path.name} is damaged; the journal's end could not be checked"]

    def write(self, mark: Mark) -> None:
        if self._fd is None:
            return
        body = self._FORMAT.pack(self._MAGIC, *mark)
        try:
            os.pwrite(self._fd, body + struct.pack("<I", zlib.crc32(body)), 0)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # an old mark is still a true one
                raise EngineDied(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class FileWatch:
    """Notices that a name no longer leads to the file that was opened under it."""

    def __init__(self, paths: list[Path]) -> None:
        self._held = {path: _identity(path) for path in paths}

    def check(self) -> None:
        for path, held in self._held.items():
            if _identity(path) != held:
                raise EngineDied(
                    f"{path} was removed or replaced while it was in use",
                    hint="put the file back and open the engine again",
                    file=str(path),
                )


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_nlink
