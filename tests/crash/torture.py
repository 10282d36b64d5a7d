"""Kills a daemon with SIGKILL at random moments under mixed load, then counts.

    python tests/crash/torture.py --kills 60 --seed 1

Clients post events, start instances and use verbs over the socket; each request is repeated with
the same id until it is acknowledged. Every acknowledgement is remembered here, outside the store.
At the end the faults stop, everything must come to its end, and: every acknowledged event and start
is there, each step result is recorded once, at-most-once steps ran at most once, transactional
effects are there exactly once, and nothing is stuck. Prints one JSON line; exit code 1 if a
promise was broken. What was in flight at each kill is read from a copy of the store.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from greenroom.definitions.errors import GreenroomError
from greenroom.runtime.client import SyncClient

HERE = Path(__file__).parent


class Daemon:
    def __init__(self, data: Path, ledger: Path) -> None:
        self.data = data
        self.ledger = ledger
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = threading.Event()
        self.ready_ms: list[int] = []

    @property
    def socket(self) -> str:
        return str(self.data / "greenroom.sock")

    def start(self) -> None:
        env = {**os.environ, "KILL_TEST_LEDGER": str(self.ledger)}
        log = open(self.data.parent / "daemon.log", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "greenroom.runtime.main", "serve", "--data", str(self.data),
             str(HERE / "app.py")],
            stdout=subprocess.PIPE, stderr=log, env=env,
        )  # fmt: skip
        log.close()
        begun = time.monotonic()
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line.startswith("ready "):
            raise RuntimeError(f"the daemon did not start: {line!r}")
        self.ready_ms.append(round((time.monotonic() - begun) * 1000))
        self.ready.set()

    def kill(self) -> None:
        assert self.process is not None
        self.ready.clear()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Client(threading.Thread):
    """Posts and starts until told to stop; repeats each request until it is acknowledged."""

    def __init__(self, daemon: Daemon, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.target = daemon
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.stopping = threading.Event()
        self.acked: dict[str, dict[str, Any]] = {}
        self.started: dict[str, str] = {}
        self.verbs = 0
        self.count = 0
        self.unpaid: list[str] = []
        self.problems: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            self.step()
        while self.unpaid:
            self.pay()

    def step(self) -> None:
        self.count += 1
        name = f"{self.number}-{self.count}"
        dice = self.random.random()
        if dice < 0.4:
            self.post("order.created", name)
        elif dice < 0.5:
            self.post("single.created", f"s{name}")
        elif dice < 0.65:
            self.post("flow.created", f"f{name}")
            self.unpaid.append(f"f{name}")
        elif dice < 0.8 and self.unpaid:
            self.pay()
        elif dice < 0.9:
            self.start_one(f"d{name}")
        elif self.started:
            self.verb()
        time.sleep(0.002)

    def pay(self) -> None:
        name = self.unpaid.pop(0)
        self.post("flow.paid", name, {"amount": 5})

    def ask(self, what: Any) -> Any:
        """The answer, however often the daemon has to be asked; a refusal is an answer."""
        while True:
            self.target.ready.wait()
            try:
                with SyncClient(f"unix://{self.target.socket}") as client:
                    return what(client)
            except GreenroomError as error:
                if error.code in ("unreachable", "engine_stopping", "busy", "timeout"):
                    time.sleep(0.01)
                    continue
                return error
            except OSError:
                time.sleep(0.01)

    def post(self, type: str, order: str, more: dict[str, Any] | None = None) -> None:
        id = f"{type}/{order}"
        event = {"type": type, "id": id, "data": {"order": order, **(more or {})}}
        answer = self.ask(lambda client: client.post(event))
        if isinstance(answer, GreenroomError):
            self.problems.append(f"{id}: {answer.code}")
        else:
            self.acked[id] = {"type": type, "order": order}

    def start_one(self, order: str) -> None:
        answer = self.ask(
            lambda c: c.start("line", {"order": order}, key=order, request_id=f"start/{order}")
        )
        if isinstance(answer, GreenroomError):
            self.problems.append(f"start {order}: {answer.code} {answer}")
        else:
            self.started[order] = answer.instance

    def verb(self) -> None:
        order = self.random.choice(list(self.started))
        id = self.started[order]
        self.verbs += 1
        request = f"verb/{self.number}/{self.verbs}"
        paused = self.ask(lambda c: c.pause(id, request_id=request))
        if not isinstance(paused, GreenroomError):
            resumed = self.ask(lambda c: c.resume(id, request_id=f"{request}/r"))
            if isinstance(resumed, GreenroomError) and resumed.code != "invalid_transition":
                self.problems.append(f"resume {id}: {resumed.code} {resumed}")


def in_flight(data: Path) -> dict[str, int]:
    """What the store says was going on when the daemon was killed, read from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("greenroom.db", "greenroom.db-wal"):
            if (data / name).exists():
                shutil.copy(data / name, folder)
        with contextlib.closing(sqlite3.connect(Path(folder) / "greenroom.db")) as db:
            rows = db.execute("SELECT status, COUNT(*) FROM instance GROUP BY status").fetchall()
            names = ("pending", "running", "waiting", "paused", "failed", "completed", "cancelled")
            counts = {names[status]: count for status, count in rows}
            counts["timers"] = db.execute("SELECT COUNT(*) FROM timer").fetchone()[0]
            return counts


def torture(kills: int, seed: int, clients: int = 4) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="gr-", dir="/tmp"))
    try:
        return _torture(folder, kills, seed, clients)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _torture(folder: Path, kills: int, seed: int, clients: int) -> dict[str, Any]:
    data, ledger = folder / "d", folder / "ledger"
    data.mkdir(mode=0o700)
    ledger.touch()
    rng = random.Random(seed)
    daemon = Daemon(data, ledger)
    daemon.start()
    crowd = [Client(daemon, number, seed) for number in range(clients)]
    for client in crowd:
        client.start()
    flights: list[dict[str, int]] = []
    for _ in range(kills):
        time.sleep(0.02 + rng.random() * 0.48)
        daemon.kill()
        flights.append(in_flight(data))
        daemon.start()
    for client in crowd:
        client.stopping.set()
    for client in crowd:
        client.join(60)
    report = check(daemon, crowd, ledger)
    report |= {
        "kills": kills, "seed": seed, "in_flight": spread(flights),
        "ready_ms_max": max(daemon.ready_ms), "exit_code": daemon.stop(),
    }  # fmt: skip
    if report["exit_code"] != 0:
        report["broken"].append(f"exit code {report['exit_code']}")
    report["broken"] += audit(data)
    return report


def spread(flights: list[dict[str, int]]) -> dict[str, list[int]]:
    """Minimum, median and maximum of each count over all kills."""
    out = {}
    for name in ("running", "waiting", "timers"):
        counts = sorted(flight.get(name, 0) for flight in flights)
        out[name] = [counts[0], counts[len(counts) // 2], counts[-1]] if counts else []
    return out


def settle(client: SyncClient, limit_s: float = 60) -> dict[str, int]:
    """Waits until nothing runs or waits any more (only in-doubt instances stay)."""
    end = time.monotonic() + limit_s
    while True:
        counts = dict(client.info().instances)
        if not any(counts.get(s) for s in ("pending", "running", "waiting")):
            return counts
        if time.monotonic() > end:
            return counts
        time.sleep(0.1)


def everything(client: SyncClient, q: str) -> list[Any]:
    found, cursor = [], None
    while True:
        page = client.list(q, limit=1000, cursor=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def check(daemon: Daemon, crowd: list[Client], ledger: Path) -> dict[str, Any]:
    broken: list[str] = []
    acked = {id: what for client in crowd for id, what in client.acked.items()}
    started = {order: id for client in crowd for order, id in client.started.items()}
    with SyncClient(f"unix://{daemon.socket}") as client:
        counts = settle(client)
        for status in ("pending", "running", "waiting"):
            if counts.get(status):
                stuck = everything(client, f"status:{status}")[:3]
                texts = [client.why(item.id).text for item in stuck]
                broken.append(f"stuck: {counts[status]} {status}: {texts}")
        instances = everything(client, "")
        by_key = collections.Counter((i.workflow, i.key) for i in instances)
        for id, what in acked.items():
            kind = {"order.created": "line", "single.created": "single", "flow.created": "flow"}
            workflow = kind.get(what["type"])
            if workflow and by_key[workflow, what["order"]] != 1:
                broken.append(f"{id}: {by_key[workflow, what['order']]} instances")
        for order, id in started.items():
            if not any(i.id == id for i in instances):
                broken.append(f"start {order} {id} is lost")
        for instance in instances:
            if instance.status == "paused":
                broken.append(f"{instance.id} is still paused")
            elif instance.status == "failed":
                code = instance.error.code if instance.error else "?"
                if not (instance.workflow == "single" and code == "in_doubt"):
                    broken.append(f"{instance.workflow} {instance.id} failed: {code}")
            elif (
                instance.workflow == "flow"
                and instance.status == "completed"
                and by_key["after", instance.key] != 1
            ):
                broken.append(f"flow.done of {instance.key}: {by_key['after', instance.key]}")
        findings = [f for f in client.doctor(deep=True) if f.level in ("warning", "error")]
        broken += [f"doctor: {f.check}: {f.text}" for f in findings]
    effects = collections.Counter(ledger.read_text().split("\n"))
    twice = sum(count - 1 for line, count in effects.items() if line and count > 1)
    for line, count in effects.items():
        if line.startswith("once ") and count > 1:
            broken.append(f"at most once ran {count} times: {line}")
    for crowded in crowd:
        broken += crowded.problems
    broken = broken[:50]
    return {
        "events": len(acked), "starts": len(started), "verbs": sum(c.verbs for c in crowd),
        "instances": counts, "steps_run_again": twice, "broken": broken,
    }  # fmt: skip


def audit(data: Path) -> list[str]:
    """Reads the closed store without any code of ours: results once, bookings once, no gaps."""
    broken = []
    with contextlib.closing(sqlite3.connect(data / "greenroom.db")) as db:
        seen: set[tuple[int, str]] = set()
        for n, payload in db.execute("SELECT n, payload FROM entry WHERE kind='done'"):
            key = (n, json.loads(payload)["key"])
            if key in seen:
                broken.append(f"two results for {key}")
            seen.add(key)
        double = db.execute(
            "SELECT instance, COUNT(*) c FROM booking GROUP BY instance HAVING c > 1"
        ).fetchall()
        broken += [f"booked {count} times: {instance}" for instance, count in double]
        booked = db.execute("SELECT COUNT(DISTINCT instance) FROM booking").fetchone()[0]
        lines = db.execute(
            "SELECT COUNT(*) FROM instance i JOIN workflow w ON w.w = i.w"
            " WHERE w.name = 'line' AND i.status = 5"
        ).fetchone()[0]
        if booked != lines:
            broken.append(f"{lines} lines completed, {booked} booked")
        gaps = db.execute(
            "SELECT COUNT(*) FROM (SELECT n, COUNT(*) c, MAX(iseq) m FROM entry GROUP BY n)"
            " WHERE c != m"
        ).fetchone()[0]
        if gaps:
            broken.append(f"{gaps} instances have gaps")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    report = torture(options.kills, options.seed, options.clients)
    print(json.dumps(report))  # noqa: T201
    return 1 if report["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
