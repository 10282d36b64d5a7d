"""A daemon in a process of its own, and a peer that posts to it as fast as it answers.

The peer is a plain blocking socket: it must not be what is measured.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

WORKLOADS: Final = "greenroom.runtime.benchmarks.workloads"
WINDOW: Final = 1000
"""Lines in flight; the daemon takes 1,024 of a connection."""
BURST: Final = 250


class Daemon:
    """`greenroom serve` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "greenroom.runtime.main", "--data", os.fspath(folder), "serve",
             WORKLOADS],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready_ms = round((time.perf_counter() - begun) * 1000, 1)
        """From the start of the process to the line that says so, imports included."""
        self.said = dict(re.findall(r"(\w+)=(\S+)", line))
        if not line.startswith("ready"):
            raise RuntimeError(f"the daemon did not start: {line!r}")

    def cpu_s(self) -> float:
        """Processor time it has had so far, as the kernel counts it: in ticks of 10 ms."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def daemon(folder: Path) -> Iterator[Daemon]:
    running = Daemon(folder)
    try:
        yield running
    finally:
        running.stop()


class Peer:
    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def post_all(self, lines: Sequence[bytes]) -> list[bytes]:
        """Posts with `WINDOW` lines in flight; gives the replies once all are durable."""
        bursts = [b"".join(lines[at : at + BURST]) for at in range(0, len(lines), BURST)]
        self._socket.setblocking(False)
        received: list[bytes] = []
        out, sent, answered = b"", 0, 0
        while answered < len(lines):
            if not out and bursts and sent - answered <= WINDOW - BURST:
                out = bursts.pop(0)
                sent += min(BURST, len(lines) - sent)
            readable, writable, _ = select.select([self._socket], [self._socket] if out else [], [])
            if writable:
                out = out[self._socket.send(out) :]
            if readable:
                data = self._socket.recv(1 << 18)
                if not data:
                    raise RuntimeError("the daemon hung up")
                answered += data.count(b"\n")
                received.append(data)
        self._socket.setblocking(True)
        return b"".join(received).splitlines()

    def ask(self, method: str, **params: object) -> dict[str, object]:
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self._socket.sendall(msgspec.json.encode(request) + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            data += self._socket.recv(1 << 18)
        result: dict[str, object] = msgspec.json.decode(data)["result"]
        return result

    def until(self, status: str, count: int, limit_s: float = 300) -> None:
        """Waits until so many instances have this status."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            instances = self.ask("info")["instances"]
            assert isinstance(instances, dict)
            if instances.get(status, 0) >= count:
                return
            time.sleep(0.005)
        raise RuntimeError(f"not {count} {status} after {limit_s} s")


def event(type: str, **data: object) -> bytes:
    return msgspec.json.encode({"type": type, "data": data}) + b"\n"
