"""`greenroom dev`: a daemon that takes up what is saved.

Documents and stage folders are read again by the daemon that runs: pages and connections stay. For
other Python code it starts again; it is a process of its own, so that saved code is really loaded
anew, and nothing is lost, because instances live in the journal. What cannot be loaded leaves its
error on the screen; the daemon goes on with what it has, and the next save tries again. A daemon that was killed, by `kill -9` say, is started again at once:
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

from greenroom.runtime.folders import documents
from greenroom.runtime.places import own_command
from greenroom.runtime.reloading import is_enough
from greenroom.runtime.web import mount

SCAN_S: Final = 1.0
STOP_S: Final = 35.0
"""A little more than the daemon gives itself."""

LIVED_S: Final = 0.2
"""One that is killed sooner than this is not started again at once: the next would be as well."""

HERE: Final = "127.0.0.1"
PORT: Final = 8420
NOWHERE: Final = "none"

SETTLED_S: Final = 3.0
"""A daemon as young as this may not have come to listen to signals yet: it is started again instead
of being told to read again."""

SUFFIXES: Final = (".py", ".json", ".yaml", ".yml")

INVALID: Final = 2
"""How `def validate` ends when something is wrong with a definition."""

NO_BYTECODE: Final = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Two edits within a second may look alike to cached bytecode (`loading` says more)."""

Snapshot = dict[Path, tuple[int, int]]


def dev(what: Sequence[str], *, data: Path, http: str | None = None) -> int:
    """Runs until Ctrl-C."""
    own = own_command()
    command = [*own, "serve", "--data", str(data), "--edit"]
    address = web_address(http)
    if address is not None:
        command += ["--http", address, "--http-open"]
    folders = watched(what)
    names = " ".join(sorted({str(folder) for folder in folders}))
    sys.stderr.write(f"greenroom dev: watching {names}; Ctrl-C stops, state is kept\n")
    if address is not None:
        sys.stderr.write(f"greenroom dev: pages at http://{address}\n")
    runner = Runner([*command, *what], check=[*own, "def", "validate", *what])
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends this ends the daemon with it
        signal.signal(number, signal.default_int_handler)
    try:
        runner.start()
        for saved in changes(folders, stop):
            if not (all(is_enough(path, what) for path in saved) and runner.reload()):
                runner.renew()
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        runner.stop()
    return 0


def web_address(http: str | None) -> str | None:
    """Where the pages are: the address that was asked for, else the usual port, else any that is
    free (somebody else develops, too). None without the extra, and when told `none`. Port 0 is
    chosen here: a page that is open finds the daemon again after a restart."""
    if http is not None:
        host, _, port = http.rpartition(":")
        return None if http == NOWHERE else (_free(host, 0) or http) if port == "0" else http
    if not mount.is_installed():
        return None
    return _free(HERE, PORT) or _free(HERE, 0)


def _free(host: str, port: int) -> str | None:
    """An address nobody listens on; None where that one is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried, contextlib.suppress(OSError):
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind((host.strip("[]"), port))
        return f"{host}:{tried.getsockname()[1]}"
    return None


class Runner:
    """The daemon's process. `check` is a command that ends with `INVALID`, and says why, where the
    daemon would not start."""

    def __init__(self, command: Sequence[str], check: Sequence[str] = ()) -> None:
        self._command = list(command)
        self._check = list(check)
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
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
            begun = self._begun = time.monotonic()
        threading.Thread(target=self._attend, args=(process, begun), daemon=True).start()

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

    def reload(self) -> bool:
        """Tells the daemon to read its documents again. False where there is none that could."""
        with self._lock:
            if self._process is None or time.monotonic() - self._begun < SETTLED_S:
                return False
            self._process.send_signal(signal.SIGHUP)
            return True

    def renew(self) -> None:
        """Starts again with what was saved. One that runs goes on where that cannot be loaded."""
        if self.pid is not None and not self._loads():
            sys.stderr.write("saved, but not loaded: the daemon goes on with what it has\n")
            return
        sys.stderr.write("saved: starting again\n")
        self.restart()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _loads(self) -> bool:
        if not self._check:
            return True
        done = subprocess.run(
            self._check, stdout=subprocess.DEVNULL, env=os.environ | NO_BYTECODE, check=False
        )
        return done.returncode != INVALID


def watched(what: Iterable[str]) -> list[Path]:
    """The folders whose files make a difference: a workflow's file may import its neighbours."""
    folders: dict[Path, None] = {}
    for word in what:
        path = Path(word)
        if path.is_dir():
            folders[path] = None
            below = (one if one.is_dir() else one.parent for one in documents(path))
            folders.update(dict.fromkeys(below))
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
) -> Iterator[set[Path]]:
    """What was saved, made or removed, together what came together, until `stop`."""
    if importlib.util.find_spec("watchfiles") is not None:
        watch = importlib.import_module("watchfiles").watch
        for found in watch(*folders, watch_filter=_matters, recursive=False, stop_event=stop):
            yield {Path(path) for _, path in found}
        return
    before = snapshot(folders)
    while not stop.wait(scan_s):
        after = snapshot(folders)
        saved = {path for path, _ in before.items() ^ after.items()}
        if saved:
            before = after
            yield saved


def _matters(change: object, path: str) -> bool:
    return _is_ours(Path(path))


def _is_ours(path: Path) -> bool:
    """Not what an editor writes for a moment beside the file it saves."""
    return path.suffix in SUFFIXES and not path.name.startswith(".")


def snapshot(folders: Iterable[Path]) -> Snapshot:
    """What would change if a file were saved."""
    found: Snapshot = {}
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if _is_ours(path):
                try:
                    status = path.stat()
                except OSError:  # an editor's temporary file, gone again
                    continue
                found[path] = (status.st_mtime_ns, status.st_size)
    return found
