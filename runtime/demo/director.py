"""The director: posts, kills, starts again, waits, counts.

It uses nothing but the daemon's command line, its socket and signals, as any other program would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import GreenroomError, Unreachable
from greenroom.definitions.values import Json
from greenroom.runtime import shapes
from greenroom.runtime.client import SyncClient
from greenroom.runtime.demo import processes
from greenroom.runtime.demo.processes import HERE, Child, DemoFailed
from greenroom.runtime.places import SOCKET_NAME, SOCKET_PATH_BYTES_MAX
from greenroom.runtime.replies import WINDOW

EVENTS: Final = HERE / "events.ndjson"

BATCH: Final = 6
PACE_S: Final = 0.07
"""A batch this often: some 85 events a second, so that posting takes a few seconds."""

KILL_FROM: Final = 0.45
"""The kill comes after this part of the events, as soon as steps run and instances wait."""
KILL_RUNNING_MIN: Final = 5
KILL_WAITING_MIN: Final = 20
KILL_BATCH: Final = 60
KILL_WINDOW: Final = 16
"""Events on their way without an answer when it comes."""

END_S: Final = 20.0

Say = Callable[[str], None]
Event = dict[str, Any]


class Report(msgspec.Struct, kw_only=True):
    """The table at the end. `true` is the exit code."""

    true: bool
    events: int
    duplicates: int
    unanswered: int
    running_at_kill: int
    waiting_at_kill: dict[str, int]
    instances: dict[str, int]
    retries: int
    recovered: int
    run_again: int
    payments: int
    refused: int
    lost: list[str]
    doubled: list[str]
    problems: list[str]
    seconds: float


class Director:
    def __init__(self, folder: Path, say: Say, progress: Say) -> None:
        self.folder = folder
        self.say = say
        self.progress = progress
        self.events: list[Event] = [
            json.loads(line) for line in EVENTS.read_text(encoding="utf-8").splitlines()
        ]
        self.children: list[Child] = []
        self.answered = 0
        self.duplicates = 0
        self.unanswered = 0
        self.running_at_kill = 0
        self.waiting_at_kill: Counter[str] = Counter()
        self.problems: list[str] = []

    def play(self) -> Report:
        begun = time.monotonic()
        self.say(
            f"{len(self.events)} events, a bank that is busy or hangs up now and then, "
            "and one kill -9\n"
        )
        bank = self._started(processes.bank(self.folder))
        self.say(f"bank     pid {bank.pid}, books into {self.folder.name}/bank.ndjson")
        daemon = self._daemon()
        with SyncClient(processes.socket_of(self.folder)) as client:
            place = self._post_until_kill(client)
            place += self._kill(client, daemon, self.events[place:])
        daemon = self._daemon()
        recovered = _recovered(daemon)
        with SyncClient(processes.socket_of(self.folder)) as client:
            self._post_rest(client, place)
            instances = self._until_ended(client)
            failures = _failures(client)
            self._doctor(client)
        daemon.stop()
        refused = bank.stop()
        return self._report(instances, failures, recovered, refused, begun)

    def end(self) -> None:
        """Nothing stays behind, however this ends."""
        for child in self.children:
            child.kill()

    # -- the acts ------------------------------------------------------------------------------

    def _started(self, child: Child) -> Child:
        self.children.append(child)
        return child

    def _daemon(self) -> Child:
        child = self._started(processes.daemon(self.folder))
        found = _recovered(child)
        more = f", recovered {found} instances" if found else ""
        self.say(f"daemon   pid {child.pid}, ready in {child.took_s:.2f} s{more}")
        return child

    def _post_until_kill(self, client: SyncClient) -> int:
        """Posts at a steady pace until the moment has come; gives the place in the file."""
        place = 0
        while place < len(self.events) - KILL_BATCH:
            place += self._post(client, self.events[place : place + BATCH])
            self._show(client)
            if place >= KILL_FROM * len(self.events) and self._work_is_there(client):
                return place
            time.sleep(PACE_S)
        raise DemoFailed("there was no moment at which steps ran and instances waited")

    def _work_is_there(self, client: SyncClient) -> bool:
        found = client.info().instances
        return (
            found.get("running", 0) >= KILL_RUNNING_MIN
            and found.get("waiting", 0) >= KILL_WAITING_MIN
        )

    def _kill(self, client: SyncClient, daemon: Child, rest: list[Event]) -> int:
        """SIGKILL while a batch is on its way; gives how much of the batch was answered."""
        self._look(client.list("", limit=1000).items)
        batch = rest[:KILL_BATCH]
        before = self.answered
        with suppress(Unreachable):
            self._post(client, _killing(daemon, batch), KILL_WINDOW)
        daemon.kill()
        took = self.answered - before
        self.unanswered = len(batch) - took
        waits = ", ".join(f"{number} for {kind}" for kind, number in self.waiting_at_kill.items())
        self.say(
            f"kill -9  pid {daemon.pid}, while {self.running_at_kill} instances ran a step and "
            f"{sum(self.waiting_at_kill.values())} waited ({waits})\n"
            f"         {self.unanswered} posted events had no answer yet: they are posted again "
            "with the same ids"
        )
        return took

    def _look(self, instances: list[shapes.Instance]) -> None:
        """What the kill is about to hit."""
        names = {"timer": "time", "retry": "a retry", "event": "an event"}
        for instance in instances:
            if instance.status == "running":
                self.running_at_kill += 1
            for wait in instance.waits:
                self.waiting_at_kill[names.get(wait.kind, wait.kind)] += 1

    def _post_rest(self, client: SyncClient, place: int) -> None:
        while place < len(self.events):
            place += self._post(client, self.events[place : place + BATCH])
            self._show(client)
            time.sleep(PACE_S)

    def _post(self, client: SyncClient, events: Iterable[Event], window: int = WINDOW) -> int:
        before = self.answered
        for reply in client.post_many(events, window=window):
            if isinstance(reply, GreenroomError):
                raise DemoFailed(f"an event was refused: {reply}")
            self.answered += 1
            self.duplicates += reply.duplicate
        return self.answered - before

    def _until_ended(self, client: SyncClient) -> dict[str, int]:
        until = time.monotonic() + END_S
        while True:
            found = self._show(client)
            if not found.keys() & {"pending", "running", "waiting"}:
                return found
            if time.monotonic() > until:
                self.problems.append(f"after {END_S:g} s there are still {_words(found)}")
                return found
            time.sleep(0.1)

    def _show(self, client: SyncClient) -> dict[str, int]:
        found = {status: number for status, number in client.info().instances.items() if number}
        self.progress(f"         {self.answered:>3} events posted   {_words(found)}")
        if "failed" in found:
            first = client.list("status:failed", limit=1).items[0]
            raise DemoFailed(f"an instance failed\n{client.why(first.id).text}")
        return found

    def _doctor(self, client: SyncClient) -> None:
        for finding in client.doctor(deep=True):
            if finding.level == "error":
                self.problems.append(f"doctor: {finding.text}")

    # -- the end -------------------------------------------------------------------------------

    def _report(
        self,
        instances: dict[str, int],
        failures: Counter[str],
        recovered: int,
        refused: str,
        begun: float,
    ) -> Report:
        counted = processes.count(EVENTS, self.folder)
        if counted.returncode not in (0, 1) or not counted.stdout:
            raise DemoFailed(f"the count failed\n{counted.stderr}")
        found: dict[str, Any] = json.loads(counted.stdout)
        orders = found["owed"] // 3
        problems = list(self.problems)
        if instances != {"completed": orders}:
            problems.append(f"{orders} orders, but {_words(instances)}")
        if refused != f"refused {found['refused']}":
            problems.append(f"the bank says {refused!r}, its file {found['refused']}")
        if found["wrong"]:
            problems.append(f"wrong sums: {' '.join(found['wrong'])}")
        if found["cents_owed"] != found["cents_booked"]:
            problems.append(f"{found['cents_owed']} owed, {found['cents_booked']} booked")
        right = counted.returncode == 0 and not found["lost"] and not found["doubled"]
        return Report(
            true=right and not problems,
            events=len(self.events),
            duplicates=self.duplicates,
            unanswered=self.unanswered,
            running_at_kill=self.running_at_kill,
            waiting_at_kill=dict(self.waiting_at_kill),
            instances=instances,
            retries=failures.total() - failures["lost"],
            recovered=recovered,
            run_again=failures["lost"],
            payments=found["booked"],
            refused=found["refused"],
            lost=found["lost"],
            doubled=found["doubled"],
            problems=problems,
            seconds=round(time.monotonic() - begun, 1),
        )


def table(report: Report) -> str:
    rows = [
        ("events", f"{report.events}", f"{report.duplicates} were there before (same id)"),
        *((status, f"{number}", "instances") for status, number in report.instances.items()),
        ("retries", f"{report.retries}", "attempts that failed and were tried again"),
        ("recovered", f"{report.recovered}", "instances with work in flight at the kill"),
        ("run again", f"{report.run_again}", "steps cut off by the kill, with the same key"),
        ("payments", f"{report.payments}", f"the bank refused {report.refused} keys it had seen"),
        ("lost", f"{len(report.lost)}", " ".join(report.lost[:5])),
        ("doubled", f"{len(report.doubled)}", " ".join(report.doubled[:5])),
    ]
    lines = [f"{name:<10} {number:>5}   {text}".rstrip() for name, number, text in rows]
    lines += [f"problem: {text}" for text in report.problems]
    last = "counted from the bank's file by a script that does not import greenroom"
    return "\n".join([*lines, "", f"{last}, {report.seconds:.1f} s"])


def _killing(daemon: Child, events: list[Event]) -> Iterator[Event]:
    """The events; half of them out, SIGKILL."""
    for number, event in enumerate(events):
        if number == len(events) // 2:
            os.kill(daemon.pid, signal.SIGKILL)
        yield event


def _recovered(daemon: Child) -> int:
    words = dict(word.split("=", 1) for word in daemon.first_line.split() if "=" in word)
    return int(words["recovered"])


def _failures(client: SyncClient) -> Counter[str]:
    """Failed attempts by code, as the journal has them; `lost` is one that a kill cut off."""
    found: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        page = client.list("", limit=200, cursor=cursor)
        for instance in page.items:
            for entry in client.history(instance.id, limit=1000).items:
                if entry.kind == "StepFailed" and isinstance(entry.data, dict):
                    error: Any = entry.data.get("error")
                    found[str(error["code"])] += 1
        cursor = page.cursor
        if cursor is None:
            return found


def _words(found: dict[str, int]) -> str:
    return "   ".join(f"{number} {status}" for status, number in found.items()) or "no instances"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name, gone afterwards."""
    for parent in (tempfile.gettempdir(), "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="greenroom-", dir=parent))
        if len(os.fsencode(folder / "data" / SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
            break
        folder.rmdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo like Ctrl-C: with its children and its folder."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def play(say: Say, progress: Say) -> Report:
    """The whole demo. Raises `DemoFailed` when it could not be carried out at all."""
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        folder = stack.enter_context(scratch())
        director = Director(folder, say, progress)
        stack.callback(director.end)
        return director.play()


def as_data(report: Report) -> Json:
    data: Json = msgspec.to_builtins(report)
    return data
