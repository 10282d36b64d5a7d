"""How soon is a daemon back that was killed in the middle of its work?

It has instances that wait and steps that run when the signal comes. What was in flight runs again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from greenroom.runtime.benchmarks.common import Figures, median
from greenroom.runtime.benchmarks.daemons import Daemon, Peer, event

SIZES: Final = {"waiting": 10_000, "in_flight": 200, "rounds": 3}
QUICK: Final = {"waiting": 100, "in_flight": 20, "rounds": 1}


def measure(folder: Path, *, waiting: int, in_flight: int, rounds: int) -> Figures:
    data = folder / "data"
    ready, open_ms, again_ms, recovered = [], [], [], []
    running = Daemon(data)
    with Peer(running.said["socket"]) as peer:
        peer.post_all([event("bench.start", k=k) for k in range(waiting)])
        peer.until("waiting", waiting)
    for turn in range(rounds):
        with Peer(running.said["socket"]) as peer:
            peer.post_all([event("bench.slow", turn=turn, k=k) for k in range(in_flight)])
            peer.until("running", in_flight)
        running.kill()
        begun = time.perf_counter()
        running = Daemon(data)
        ready.append(running.ready_ms)
        open_ms.append(float(running.said["ms"]))
        recovered.append(int(running.said["recovered"]))
        with Peer(running.said["socket"]) as peer:
            peer.until("completed", (turn + 1) * in_flight)
        again_ms.append((time.perf_counter() - begun) * 1000)
    running.stop()
    return {
        "ready_ms": median(ready, 1),
        "open_ms": median(open_ms, 1),
        "all_done_ms": median(again_ms, 1),
        "recovered": min(recovered),
    }
