"""The process dies: at named points, at any moment, on a full disk, on a failed fsync.

A child process stores works and says on its standard output what was acknowledged; the parent
opens what is left and demands that everything acknowledged is there.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import EngineDied
from greenroom.runtime import crashpoints
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.store import StoreFull

CHILD = Path(__file__).with_name("crash_child.py")
POINTS = [
    "journal.begin", "journal.insert", "journal.inserted", "journal.commit", "journal.committed",
    "journal.done", "checkpoint", "checkpointed", "snapshot", "prune", "migration.begin",
    "migration.commit", "close",
]  # fmt: skip

pytestmark = pytest.mark.crash


def start(folder: Path, *more: str, crash_at: str | None = None, **options: Any) -> Any:
    environment = {**os.environ, "PYTHONFAULTHANDLER": "0"}
    if crash_at:
        environment[crashpoints.VARIABLE] = crash_at
    return subprocess.Popen(
        [*options.pop("wrapper", []), sys.executable, str(CHILD), str(folder), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **options,
    )  # fmt: skip


def acknowledged(output: bytes) -> tuple[dict[int, int], set[str]]:
    """The last row of each instance and the events that were acknowledged; a torn last line was
    not read by anybody."""
    rows: dict[int, int] = {}
    events: set[str] = set()
    for line in output.decode().splitlines(keepends=True):
        words = line.split()
        if not line.endswith("\n") or not words:
            continue
        if words[0] == "row":
            rows[int(words[1])] = int(words[2])
        elif words[0] == "event":
            events.add(words[1])
    return rows, events


def check(folder: Path, output: bytes) -> tuple[dict[int, int], int]:
    """Everything acknowledged is stored, every row is whole, nothing is counted twice."""
    rows, events = acknowledged(output)
    store = SqliteStore(folder / "a.db")
    opened = store.open()
    try:
        loaded = {i.row.n: i for i in store.run([ports.Load(list(range(1, 9)))])[0]}
        assert [i.damaged for i in loaded.values() if i.damaged] == []
        for n, iseq in rows.items():
            assert loaded[n].head >= iseq
        missing = [id for id in events if store.run([ports.GetEvent(id)])[0] is None]
        assert missing == []
        findings = store.run([ports.Audit(deep=True)])[0].findings
        assert [f for f in findings if f.level != "ok"] == []
        return {n: i.head for n, i in loaded.items()}, opened.head
    finally:
        store.close(clean=False)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_named_point_loses_nothing_acknowledged(
    tmp_path: Path, point: str, times: int
) -> None:
    if times == 2 and point.startswith(("migration", "close")):
        times = 1
        shutil.copytree(tmp_path, tmp_path / "again")  # the point is passed once a life
    process = start(tmp_path, "--groups", "40", crash_at=f"{point}:{times}")
    output, errors = process.communicate(timeout=30)
    assert process.returncode == crashpoints.EXIT_CODE, errors.decode()
    check(tmp_path, output)
    process = start(tmp_path, "--groups", "5")
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors.decode()
    check(tmp_path, output)


def test_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    dice = random.Random(3)
    total = b""
    for _ in range(15):
        process = start(tmp_path, "--groups", "100000")
        assert process.stdout is not None
        first = process.stdout.readline()  # it runs
        time.sleep(dice.random() * 0.06)
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, errors.decode()
        total += first + rest[: rest.rfind(b"\n") + 1]
        heads, _ = check(tmp_path, total)
        assert heads


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("when", [3, 8, 20])
def test_a_failed_fsync_ends_the_engine_and_nothing_later_is_acknowledged(
    tmp_path: Path, when: int
) -> None:
    wrapper = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
        "-e", f"inject=fdatasync:error=EIO:when={when}",
    ]  # fmt: skip
    process = start(tmp_path, "--groups", "60", wrapper=wrapper)
    output, errors = process.communicate(timeout=60)
    if b"ptrace" in errors or b"Operation not permitted" in errors:
        pytest.skip("tracing is not allowed here")
    assert process.returncode == 74, errors.decode()
    assert output.splitlines()[-1].startswith(b"died")
    check(tmp_path, output)


def test_no_room_stores_nothing_of_the_group_and_goes_on_when_there_is_room(
    tmp_path: Path, make: Any
) -> None:
    """A limit on the size of files gives EFBIG, which SQLite cannot tell from a broken disk; a
    limit on pages gives what a full disk gives."""
    store = SqliteStore(tmp_path / "a.db")
    store.open()
    store.run([make.create(1)])
    big = make.row(payload=b'"' + b"x" * 100_000 + b'"')
    (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
    store.connection.execute(f"PRAGMA max_page_count={pages + 52}")
    iseq = 2
    with pytest.raises(StoreFull):
        for _ in range(20):
            store.run([ports.Append(n=1, iseq=iseq, rows=[big]), make.post(f"e-{iseq}")])
            iseq += 1
    with pytest.raises(StoreFull):
        store.probe()
    (loaded,) = store.run([ports.Load([1])])[0]
    assert loaded.head == iseq - 1
    store.connection.execute("PRAGMA max_page_count=100000")
    store.probe()
    appended, posted = store.run([ports.Append(n=1, iseq=iseq, rows=[big]), make.post(f"e-{iseq}")])
    assert posted.pos == appended.pos + 1
    assert store.run([ports.Audit(deep=True)])[0].findings[0].level == "ok"
    store.close(clean=True)


def test_a_write_error_of_the_disk_is_the_end(tmp_path: Path) -> None:
    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    process = start(tmp_path, "--groups", "100000", preexec_fn=limited)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 74, errors.decode()
    assert output.splitlines()[-1].startswith(b"died")
    check(tmp_path, output)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_filesystem_is_survived_again_and_again(tmp_path: Path, make: Any) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store = SqliteStore(folder / "a.db")
        store.open()
        store.run([make.create(1)])
        row = make.row(payload=b'"' + b"x" * 20_000 + b'"')
        iseq, refused = 2, 0
        filler = folder / "filler"
        for _ in range(10):
            _fill(filler)
            for _ in range(40):
                try:
                    store.run([ports.Append(n=1, iseq=iseq, rows=[row])])
                    iseq += 1
                except StoreFull:
                    refused += 1
                    break
                if store.swollen():
                    store.checkpoint()
            filler.unlink(missing_ok=True)
            store.run([ports.Append(n=1, iseq=iseq, rows=[make.row()])])
            iseq += 1
            if iseq > 90:
                break
        assert refused >= 2
        store.close(clean=False)
        again = SqliteStore(folder / "a.db")
        again.open()
        assert again.run([ports.Load([1])])[0][0].head == iseq - 1
        again.close(clean=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65_536)
        except OSError:
            return


def test_an_injected_error_in_the_middle_of_a_group_stores_nothing_of_it(
    tmp_path: Path, make: Any
) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.open()
    store.run([make.create(1)])

    def refuse(action: int, table: str | None, *_: Any) -> int:
        return 1 if table == "event" and action == 18 else 0  # SQLITE_INSERT

    store.connection.set_authorizer(refuse)
    with pytest.raises(EngineDied):
        store.run([make.append(1, 2), make.post("e-1")])
    with pytest.raises(EngineDied, match="failed before"):
        store.run([ports.Counts()])
    store.close(clean=True)
    again = SqliteStore(tmp_path / "a.db")
    assert again.open().clean is False
    assert again.run([ports.Load([1])])[0][0].head == 1
    again.close(clean=True)
