"""How many events a second does a daemon take over its socket?

Pipelined, each acknowledged when it is durable and routed: those nobody waits for, and those of
which each wakes one waiting instance, up to its end.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from greenroom.runtime.benchmarks.common import Figures, median, rss_mb
from greenroom.runtime.benchmarks.daemons import Peer, daemon, event

SIZES: Final = {"events": 100_000, "waiting": 10_000, "rounds": 3}
QUICK: Final = {"events": 2_000, "waiting": 200, "rounds": 1}


def measure(folder: Path, *, events: int, waiting: int, rounds: int) -> Figures:
    unmatched, acknowledged, completed, started = [], [], [], []
    unmatched_cpu, completed_cpu = [], []
    with daemon(folder / "data") as running, Peer(running.said["socket"]) as peer:
        for turn in range(rounds):
            lines = [event("bench.nobody", k=k) for k in range(events)]
            cpu = running.cpu_s()
            unmatched.append(events / _timed(peer, lines))
            unmatched_cpu.append((running.cpu_s() - cpu) / events * 1e6)
            first = turn * waiting
            numbers = range(first, first + waiting)
            started.append(waiting / _timed(peer, [event("bench.start", k=k) for k in numbers]))
            peer.until("waiting", waiting)
            lines = [event("bench.wake", k=k, value=k) for k in numbers]
            begun, cpu = time.perf_counter(), running.cpu_s()
            acknowledged.append(waiting / _timed(peer, lines))
            peer.until("completed", first + waiting)
            completed.append(waiting / (time.perf_counter() - begun))
            completed_cpu.append((running.cpu_s() - cpu) / waiting * 1e6)
        memory = rss_mb(running.process.pid)
    return {
        "no_match_per_s": round(median(unmatched)),
        "no_match_cpu_us": median(unmatched_cpu, 1),
        "wake_per_s": round(median(completed)),
        "wake_cpu_us": median(completed_cpu, 1),
        "wake_acknowledged_per_s": round(median(acknowledged)),
        "start_per_s": round(median(started)),
        "rss_mb": memory,
    }


def _timed(peer: Peer, lines: list[bytes]) -> float:
    begun = time.perf_counter()
    replies = peer.post_all(lines)
    took = time.perf_counter() - begun
    refused = [reply for reply in replies if b'"accepted":true' not in reply]
    if len(replies) != len(lines) or refused:
        raise RuntimeError(f"{len(replies)} replies, refused: {refused[:1]}")
    return took
