"""The two processes of the demo besides its own: the bank and the daemon."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from greenroom.definitions.errors import GreenroomError
from greenroom.runtime.places import SOCKET_NAME

READY_S: Final = 20.0
STOP_S: Final = 10.0

HERE: Final = Path(__file__).parent


class DemoFailed(GreenroomError):
    """The demo could not be carried out."""


class Child:
    """A process that says one line when it is ready. What it says otherwise goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        begun = time.monotonic()
        with log.open("ab") as errors:
            # a group of its own: Ctrl-C reaches the demo alone, which then ends its children
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **env},
                stdin=subprocess.DEVNULL, process_group=0,
            )  # fmt: skip
        try:
            self.first_line = self._line()
        except BaseException:
            self.kill()
            raise
        self.took_s = time.monotonic() - begun

    @property
    def pid(self) -> int:
        return self.process.pid

    def _line(self) -> str:
        out = self.process.stdout
        assert out is not None
        if select.select([out], [], [], READY_S)[0]:
            line = out.readline().decode().strip()
            if line:
                return line
        raise DemoFailed(f"the {self.name} did not start\n{self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-10:])

    def kill(self) -> None:
        """SIGKILL: no clean-up of any kind runs in it."""
        self.process.kill()
        self.process.wait()
        self._close()

    def stop(self) -> str:
        """SIGTERM; gives what it said after its first line."""
        if self.process.poll() is not None:
            self._close()
            return ""
        self.process.send_signal(signal.SIGTERM)
        try:
            rest, _ = self.process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DemoFailed(f"the {self.name} did not stop\n{self.last_words()}") from None
        if self.process.returncode != 0:
            raise DemoFailed(
                f"the {self.name} ended with {self.process.returncode}\n{self.last_words()}"
            )
        return rest.decode().strip()

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()


def bank(folder: Path) -> Child:
    command = [
        sys.executable, "-I", str(HERE / "bank.py"), str(folder / "bank"),
        str(folder / "bank.ndjson"),
    ]  # fmt: skip
    return Child("bank", command, folder / "bank.log", {})


def daemon(folder: Path) -> Child:
    command = [
        sys.executable, "-m", "greenroom.runtime.main", "serve", "--data", str(folder / "data"),
        "greenroom.runtime.demo.orders",
    ]  # fmt: skip
    return Child("daemon", command, folder / "daemon.log", {"BANK": str(folder / "bank")})


def socket_of(folder: Path) -> Path:
    return folder / "data" / SOCKET_NAME


def count(events: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script that counts from outside."""
    command = [
        sys.executable,
        "-I",
        str(HERE / "count.py"),
        str(events),
        str(folder / "bank.ndjson"),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)
