"""What does an event cost that comes over HTTP?

Posted one by one over a few connections that are kept open, each answered when it is durable and
routed, and nobody waits for it; then many at once as NDJSON. The daemon's processor time is
counted, not the peer's: clients in Python cost more than what they ask for.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.benchmarks.common import Figures, median
from greenroom.runtime.benchmarks.daemons import daemon, event
from greenroom.runtime.web.mount import is_installed

SIZES: Final = {"posts": 20_000, "lines": 50_000, "connections": 16, "rounds": 3}
QUICK: Final = {"posts": 320, "lines": 1_000, "connections": 16, "rounds": 1}

_HEAD: Final = (
    "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: {kind}\r\n"
)


def measure(folder: Path, *, posts: int, lines: int, connections: int, rounds: int) -> Figures:
    if not is_installed():
        raise InvalidRequest("HTTP needs the web extra", hint="pip install 'greenroom[web]'")
    one = _request("application/json", event("bench.nobody", k=1).rstrip())
    body = b"".join(event("bench.nobody", k=k) for k in range(lines))
    many = _request("application/x-ndjson", body)
    rates: list[float] = []
    costs: list[float] = []
    bulk_rates: list[float] = []
    bulk_costs: list[float] = []
    with daemon(folder / "data") as running:
        path = running.said["socket"]
        _post(path, one, connections, connections)  # what is imported late is there now
        for _ in range(rounds):
            for count, request, accepted, rate, cost in (
                (posts, one, 1, rates, costs), (1, many, lines, bulk_rates, bulk_costs),
            ):  # fmt: skip
                begun, cpu = time.perf_counter(), running.cpu_s()
                _post(path, request, count, min(count, connections), accepted)
                total = count * accepted
                rate.append(total / (time.perf_counter() - begun))
                cost.append((running.cpu_s() - cpu) / total * 1e6)
    return {
        "posts_per_s": round(median(rates)),
        "post_cpu_us": median(costs, 1),
        "lines_per_s": round(median(bulk_rates)),
        "line_cpu_us": median(bulk_costs, 1),
    }


def _request(kind: str, body: bytes) -> bytes:
    head = f"{_HEAD.format(kind=kind)}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _post(path: str, request: bytes, count: int, connections: int, accepted: int = 1) -> None:
    """Sends a request so many times, one at a time over each connection, and reads the answers."""
    poll = select.epoll()
    peers: dict[int, socket.socket] = {}
    for peer in _connected(path, connections):
        peers[peer.fileno()] = peer
        poll.register(peer, select.EPOLLIN)
        peer.sendall(request)
    sent, answered = connections, 0
    got = dict.fromkeys(peers, b"")
    while answered < count:
        for number, _ in poll.poll():
            piece = peers[number].recv(1 << 18)
            got[number] += piece
            if not piece or not got[number].startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"not accepted: {got[number][:200]!r}")
            if got[number].count(b'"accepted":true') < accepted or got[number][-1:] not in b"}\n":
                continue
            answered += 1
            got[number] = b""
            if sent < count:
                sent += 1
                peers[number].sendall(request)
    poll.close()
    for peer in peers.values():
        peer.close()


def _connected(path: str, count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.connect(path)
        yield peer
