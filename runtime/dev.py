"""`greenroom dev`: a daemon that starts again when its files are saved.

The daemon is a process of its own, so that saved code is really loaded anew; nothing is lost,
because instances live in the journal. A file that cannot be loaded leaves its error on the screen
and the next save tries again. A daemon that was killed, by `kill -9` say, is started again at once:
that nothing is lost then is the point of it all, and easily seen.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from greenroom.runtime.places import own_command
from greenroom.runtime.web import mount

SCAN_S: Final = 1.0
STOP_S: Final = 35.0
"""A little more than the daemon gives itself."""

LIVED_S: Final = 0.2
"""One that is killed sooner than this is not started again at once: the next would be as well."""

HERE: Final = "127.0.0.1"
PORT: Final = 8420
NOWHERE: Final = "none"

SUFFIXES: Final = (".py", ".json", ".yaml", ".yml")

NO_BYTECODE: Final = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Two edits within a second may look alike to cached bytecode (`loading` says more)."""

Snapshot = dict[Path, tuple[int, int]]


def dev(what: Sequence[str], *, data: Path, http: str | None = None) -> int:
    """Runs until Ctrl-C."""
    command = [*own_command(), "serve", "--data", str(data), "--edit"]
    address = web_address(http)
    if address is not None:
        command += ["--http", address, "--http-open"]
    folders = watched(what)
    names = " ".join(sorted({str(folder) for folder in folders}))
    sys.stderr.write(f"greenroom dev: watching {names}; Ctrl-C stops, state is kept\n")
    if address is not None:
        sys.stderr.write(f"greenroom dev: pages at http://{address}\n")
    runner = Runner([*command, *what])
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends this ends the daemon with it
        signal.signal(number, signal.default_int_handler)
    try:
        runner.start()
        for _ in changes(folders, stop):
            sys.stderr.write("saved: starting again\n")
            runner.restart()
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        runner.stop()
    return 0


def web_address(http: str | None) -> str | None:
    """Where the pages are: the address that was asked for, else the usual port, else any that is
    free (somebody else develops, too). None without the extra, and when told `none`."""
    if http is not None:
        return None if http == NOWHERE else http
    if not mount.is_installed():
        return None
    for port in (PORT, 0):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((HERE, port))
            return f"{HERE}:{tried.getsockname()[1]}"
    return None


class Runner:
    """The daemon's process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        with self._lock:
            # a group of its own: Ctrl-C reaches this process, which then asks the daemon to stop
            process = self._process = subprocess.Popen(
                self._command, process_group=0, env=os.environ | NO_BYTECODE
            )
        threading.Thread(target=self._attend, args=(process, time.monotonic()), daemon=True).start()

    def _attend(self, process: subprocess.Popen[bytes], begun: float) -> None:
        """Waits for an end that nobody here asked for."""
        code = process.wait()
        with self._lock:
            if self._process is not process:
                return
            self._process = None
            if code < 0 and time.monotonic() - begun >= LIVED_S:
                name = signal.Signals(-code).name
                sys.stderr.write(f"the daemon was killed ({name}): starting again\n")
                self.start()
                return
        sys.stderr.write(f"the daemon ended with {code}: the next save starts it again\n")

    def stop(self) -> None:
        """Asks the daemon to drain, and ends it if it does not. Idempotent."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


def watched(what: Iterable[str]) -> list[Path]:
    """The folders whose files make a difference: a workflow's file may import its neighbours."""
    folders: dict[Path, None] = {}
    for word in what:
        path = Path(word)
        if path.is_dir():
            folders[path] = None
        elif path.suffix in SUFFIXES:
            folders[path.parent] = None
        else:
            top = word.partition(":")[0].partition(".")[0]
            folders[Path(top) if Path(top).is_dir() else Path()] = None
    return list(folders)


def changes(
    folders: Sequence[Path],
    stop: threading.Event,
    scan_s: float = SCAN_S,
) -> Iterator[None]:
    """One item for every save, until `stop`."""
    if importlib.util.find_spec("watchfiles") is not None:
        watch = importlib.import_module("watchfiles").watch
        for _ in watch(*folders, watch_filter=_matters, recursive=False, stop_event=stop):
            yield
        return
    before = snapshot(folders)
    while not stop.wait(scan_s):
        after = snapshot(folders)
        if after != before:
            before = after
            yield


def _matters(change: object, path: str) -> bool:
    return path.endswith(SUFFIXES)


def snapshot(folders: Iterable[Path]) -> Snapshot:
    """What would change if a file were saved."""
    found: Snapshot = {}
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix in SUFFIXES:
                try:
                    status = path.stat()
                except OSError:  # an editor's temporary file, gone again
                    continue
                found[path] = (status.st_mtime_ns, status.st_size)
    return found
