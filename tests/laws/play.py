"""Plays one random instance to the kernel, to a twin that forgets its machine before every message,
and to the reference; checks the laws after every message."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec

from greenroom.actors.branches import Frame, Limit
from greenroom.actors.effects import RunCall, pending
from greenroom.actors.entries import (
    Died,
    Entry,
    Failure,
    Reopened,
    TimerFired,
    decode_payload,
)
from greenroom.actors.machine import Machine
from greenroom.actors.messages import (
    Answer,
    Cancel,
    Due,
    Message,
    Offer,
    Outcome,
    Pause,
    Recover,
    Resume,
    Skip,
    decode_message,
    encode_message,
)
from greenroom.actors.progress import CALLS, decode_progress, encode_progress, evolve
from greenroom.definitions.errors import Rejected
from greenroom.definitions.ops import TIMEOUT
from tests.laws.programs import Sample, compile_sample, plain_source, random_sample
from tests.laws.reference import Model, Refused
from tests.laws.rig import ID, START, Rig, picture

TURNS_MAX = 45


class Broken(AssertionError):
    """A law does not hold. The text says which and gives program and messages."""


class Play:
    def __init__(self, seed: int, sample: Sample | None = None, *, laws: str = "all") -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.sample = sample or random_sample(self.rng)
        self.script: list[Any] = []
        self.counts: Counter[str] = Counter()
        input = {"n": 0, "log": []}
        self.now = START
        self.rig = Rig(self.sample.definition, input)
        plain = plain_source(self.sample.source) if self.sample.cls is not None else ""
        self.plain = "answered(" in plain and self.rng.random() < 0.4
        twin = compile_sample(plain).definition if self.plain else self.sample.definition
        self.twin = Rig(twin, input)
        self.model = Model(self.sample, ID, input, START)
        self.shadow = decode_progress(encode_progress(self.rig.progress))
        self.folded = len(self.rig.rows)
        self.inbox: list[Offer] = []
        self.posted = 0
        self.calls: dict[tuple[str, int], int] = {}
        """Attempts that were started, by key and attempt."""
        self.sent: list[Message] = []
        self.limits: set[str] = set()
        """Keys of the timers of timeouts."""
        self.checked = -1
        self._perform()
        self.check()

    # -- one game ------------------------------------------------------------------------------

    def run(self) -> Counter[str]:
        try:
            for _ in range(self.rng.randint(4, TURNS_MAX)):
                if self.rig.progress.ended and self.rng.random() < 0.5:
                    break
                self._move()
            if self.rng.random() < 0.7:
                self._wind_down()
            if self.rig.progress.ended:
                self._after_the_end()
        finally:
            self.rig.close()
            self.twin.close()
        self.counts["plain"] += self.plain
        self.counts["ended"] += self.rig.progress.ended
        self.counts["entries"] += len(self.rig.rows)
        return self.counts

    def _move(self) -> None:
        moves = (
            (self._outcome, 10), (self._fail, 2.5), (self._due, 4), (self._event, 3),
            (self._offer, 2), (self._answer, 1), (self._pause, 0.7), (self._resume, 1.5),
            (self._cancel, 0.3), (self._skip, 1), (self._crash, 1.6), (self._garbage, 0.8),
        )  # fmt: skip
        wanted = self.rng.choices([m for m, _ in moves], [w for _, w in moves])[0]
        if self.rng.random() < 0.1 or self._makes_sense(wanted):
            wanted()
        elif self.rng.random() < 0.8:
            self._outcome() if self._open("call", "child") else self._due()

    def _makes_sense(self, move: Any) -> bool:
        """Most games should go on; one in ten of the senseless moves is made all the same."""
        m = self.model
        if move == self._resume:
            retries = any(op.status == "retry" for op in m.ops.values())
            return m.parked or (retries and self.rng.random() < 0.3)
        if move == self._pause:
            return not m.parked and not m.cancelling and m.end is None
        if move == self._skip:
            return m.failure is not None or any(op.status == "retry" for op in m.ops.values())
        if move == self._offer:
            return bool(self.inbox) and bool(self._open("wait"))
        if move == self._answer:
            return bool(self._open("ask"))
        if move == self._crash:
            return bool(self._open("call"))
        if move == self._event:
            return bool(self._open("wait")) or self.sample.handles
        return True

    def _open(self, *kinds: str) -> list[str]:
        return [k for k, op in self.model.ops.items() if op.asked.op.kind in kinds]

    def _outcome(self) -> None:
        keys = self._open("call", "dispatch", "child")
        if keys:
            key = self.rng.choice(keys)
            value = self.rng.choice((None, 0, 1, 2, 3, "x", [1], {"k": 2}))
            self.tell(Outcome(key, self.model.ops[key].attempt, value))

    def _fail(self) -> None:
        keys = self._open("call", "dispatch", "child")
        if keys:
            key = self.rng.choice(keys)
            error = Failure(self.rng.choice(("Oops", "Ouch")), "it failed")
            final = self.rng.random() < 0.2
            self.tell(Outcome(key, self.model.ops[key].attempt, error=error, final=final))

    def _due(self) -> None:
        timed = [(op.due, k) for k, op in self.model.ops.items() if op.due is not None]
        if timed:
            due, key = min(timed) if self.rng.random() < 0.8 else self.rng.choice(timed)
            if self.rng.random() < 0.95:
                self.now = max(self.now, due)
            self.tell(Due(key, due))

    def _event(self) -> None:
        self.posted += 1
        type = f"e{self.rng.randint(0, 2)}"
        event = {
            "specversion": "1.0", "type": type, "id": f"x{self.posted}", "source": "/t",
            "data": {"n": self.rng.randint(0, 2)},
        }  # fmt: skip
        self.inbox.append(Offer(self.posted, self.now, event, 100 + self.posted))
        if self.rng.random() < 0.8:
            self.tell(self.inbox[-1])

    def _offer(self) -> None:
        for offer in list(self.inbox):
            self.tell(offer)

    def _answer(self) -> None:
        keys = self._open("ask")
        if keys:
            self.tell(Answer(self.rng.choice(keys), {"approved": True}))

    def _pause(self) -> None:
        self.tell(Pause())

    def _resume(self) -> None:
        self.tell(Resume(run_again=self.rng.random() < 0.3))

    def _cancel(self) -> None:
        self.tell(Cancel(force=self.rng.random() < 0.1))

    def _skip(self) -> None:
        keys = [*self.model.causes, *self.model.causes, *self.model.ops, "9.9"]
        keys += sorted(self.model.broken)[:1]
        self.tell(Skip(self.rng.choice(sorted(keys)), self.rng.choice((1, 2, "s"))))

    def _garbage(self) -> None:
        """Late, doubled, unknown."""
        if self.sent and self.rng.random() < 0.6:
            self.tell(self.rng.choice(self.sent), repeat=False)
        elif self.calls:
            key, attempt = self.rng.choice(list(self.calls))
            self.tell(Outcome(key, attempt + self.rng.choice((-1, 0, 1)), 7))
        else:
            self.tell(Outcome("77", 1, 7))

    def _crash(self) -> None:
        counted = self.rng.random() < 0.7
        if self.sent and self.rng.random() < 0.5:
            self._lose()
        else:
            self.rig.reload()
        self.twin.reload()
        self.script.append(("crash", counted))
        self.counts["crash"] += 1
        self.model.epoch = self.rig.epoch
        self._same_progress("after a crash")
        self.tell(Recover(counted))
        for op in self.rig.progress.ops.values():
            if op.status == "started" and op.request.kind in CALLS and op.epoch != self.rig.epoch:
                self.fail("K15: a call of an older process is owed after Recover")

    def _lose(self) -> None:
        """The process dies between deciding and storing."""
        keys = self._open("call", "child")
        message: Message = Cancel()
        if keys and self.rng.random() < 0.8:
            message = Outcome(keys[0], self.model.ops[keys[0]].attempt, 5)
        try:
            self.rig.lose(message, self.now)
        except Rejected:
            self.rig.reload()

    def _wind_down(self) -> None:
        """Everything succeeds until the instance has ended or waits for what never comes."""
        for _ in range(60):
            p = self.rig.progress
            if p.ended:
                return
            self.now += 1000
            if p.failure is not None:
                before = len(self.rig.rows)
                self.tell(Resume(run_again=True))
                if len(self.rig.rows) == before:
                    self.tell(Cancel())
            elif p.paused:
                self.tell(Resume())
            elif self._open("call", "child"):
                self._outcome()
            elif self._open("ask"):
                self._answer()
            elif any(op.due is not None for op in self.model.ops.values()):
                self._due()
            elif self._open("wait") and self.rng.random() < 0.9:
                self._event()
            elif self._open("dispatch"):
                self._outcome()
            else:
                self.tell(Cancel())

    def _after_the_end(self) -> None:
        """Law: ended stays ended."""
        end = (self.rig.progress.end, self.rig.progress.result)
        for message in (
            *self.sent[-5:], Resume(), Pause(), Cancel(), Cancel(force=True), Skip("1"), Recover(),
            Answer("1", {}), Outcome("1", 1, 1), Due("1", 1),
        ):  # fmt: skip
            self.tell(message)
        self.rig.reload()
        self.twin.reload()
        self.model.epoch = self.rig.epoch
        self.tell(Recover())
        if (self.rig.progress.end, self.rig.progress.result) != end:
            self.fail("ended stays ended")

    # -- a message -----------------------------------------------------------------------------

    def tell(self, message: Message, *, repeat: bool = True) -> None:
        self.now += self.rng.randint(0, 3) * 1000
        self.script.append((self.now - START, message))
        self.counts[type(message).__name__] += 1
        if decode_message(encode_message(message)) != message:
            self.fail("messages survive encoding")
        before = picture(self.rig.progress)
        first = len(self.rig.entries)
        got = self._try(self.rig, message)
        self.twin.kernel.drop_machine()
        again = self._try(self.twin, message)
        if _told(got) != _told(again):
            self.fail(f"a replayed machine decides otherwise:\n  live   {got}\n  twin   {again}")
        wanted = self._ask_model(message)
        said = got if isinstance(got, str) else bool(got)
        if said != wanted:
            self.fail(f"the reference says {wanted}, the kernel {got}")
        if isinstance(got, str) or not got:
            if picture(self.rig.progress) != before:
                self.fail("a refusal changed the progress")
            self.counts[f"refused {got}"] += 1
        self.sent.append(message)
        self.check()
        self._count(self.rig.entries[first:])
        self._perform()
        if repeat and not isinstance(message, Resume | Skip | Recover):
            self._twice(message)

    def _try(self, rig: Rig, message: Message) -> list[Entry] | str:
        try:
            return rig.tell(message, self.now)
        except Rejected as refused:
            return type(refused).__name__

    def _twice(self, message: Message) -> None:
        """Law: the same message again changes nothing. A cancel may be said again: it then ends."""
        if isinstance(message, Cancel) and self.rig.progress.failure is not None:
            return
        before = picture(self.rig.progress)
        if isinstance(got := self._try(self.rig, message), list) and got:
            self.fail(f"twice is not once: {got}")
        if picture(self.rig.progress) != before:
            self.fail("twice is not once: the progress has changed")

    def _ask_model(self, m: Message) -> bool | str:
        model, now = self.model, max(self.now, self.model.at)
        try:
            match m:
                case Outcome():
                    error = m.error.type if m.error else None
                    return model.outcome(m.key, m.attempt, m.value, error, now, m.final)
                case Due():
                    return model.due(m.key, m.due, now)
                case Offer():
                    assert m.pos is not None
                    return model.offer(m.iq, m.at, m.event, m.pos, now)
                case Answer():
                    return model.answer(m.key, m.value, now)
                case Pause():
                    return model.pause()
                case Resume():
                    return model.resume(now, m.run_again)
                case Cancel():
                    return model.cancel(now, m.force)
                case Skip():
                    return model.skip(m.key, m.value, now)
                case Recover():
                    return model.recover(m.counted)
                case _:
                    raise AssertionError(m)
        except Refused as refused:
            return str(refused.args[0])

    # -- laws ----------------------------------------------------------------------------------

    def check(self) -> None:
        rig = self.rig
        for payload, epoch in rig.rows[self.folded :]:
            entry = decode_payload(payload)
            evolve(self.shadow, entry, epoch)
            if entry != rig.entries[self.folded]:
                self.fail(f"an entry does not survive encoding: {entry}")
            self.folded += 1
        if picture(self.shadow) != picture(rig.progress):
            self.fail("fold of the journal is not the live progress")
        if self.rng.random() < 0.1:
            self.shadow = decode_progress(encode_progress(self.shadow))
        owed = {effect.key: effect for effect in pending(rig.progress)}
        if owed != rig.owed:
            self.fail(f"K16: effects of what is touched are not all: {rig.owed} is not {owed}")
        self._same_progress("after a message")
        self._same_machine()

    def _same_progress(self, when: str) -> None:
        p, m = self.rig.progress, self.model
        theirs = {
            "status": (p.end, p.paused, p.cancelling, p.over and p.end is None),
            "failure": p.failure.type if p.failure else None,
            "causes": sorted(p.causes),
            "result": p.result,
            "state": p.state if self.sample.cls is not None and p.end != "cancelled" else None,
            "held": len(p.held),
            "handlers": p.handlers,
            "ops": [
                (k, o.request.kind, o.request.name, o.request.args, o.status, o.attempt, o.due)
                for k, o in sorted(p.ops.items())
            ],
        }
        ours = {
            "status": (m.end, m.paused, m.cancelling, m.over and m.end is None),
            "failure": m.failure,
            "causes": sorted(m.causes),
            "result": m.result,
            "state": m.state if self.sample.cls is not None and m.end != "cancelled" else None,
            "held": len(m.held),
            "handlers": m.handlers,
            "ops": [
                (k, o.asked.op.kind, o.asked.op.name, o.asked.args, o.status, o.attempt, o.due)
                for k, o in sorted(m.ops.items())
            ],
        }
        for name, value in ours.items():
            if theirs[name] != value:
                self.fail(
                    f"{when}, {name} differs\n  kernel    {theirs[name]}\n  reference {value}"
                )
        emitted = [
            (r.key, r.args) for e in self.rig.entries for r in e.requests
            if r.kind == "emit" and not r.gone
        ]  # fmt: skip
        if emitted != m.emitted:
            self.fail(f"{when}, emitted {emitted}, the reference {m.emitted}")

    def _same_machine(self) -> None:
        """Law: what replay gives is what is live."""
        kernel = self.rig.kernel
        live = kernel.machine
        if live is None or live.broken or self.rig.progress.ended:
            return
        if self.checked == len(self.rig.rows):
            return
        self.checked = len(self.rig.rows)
        again = kernel._replayed(())
        if fingerprint(live) != fingerprint(again):
            self.fail(f"replay gives {fingerprint(again)}\nlive is {fingerprint(live)}")
        again.close()

    def _perform(self) -> None:
        """K13: no attempt of an op is started twice, whatever happened."""
        for effect in self.rig.owed.values():
            if not isinstance(effect, RunCall):
                continue
            op = self.rig.progress.ops[effect.key]
            if op.epoch != self.rig.epoch:
                continue
            since = self.calls.setdefault((effect.key, effect.attempt), op.since)
            if since != op.since:
                self.fail(f"attempt {effect.attempt} of {effect.key} is started twice")
            known = [a for k, a in self.calls if k == effect.key]
            if max(known) > effect.attempt:
                self.fail(f"K13: attempt {effect.attempt} of {effect.key} after {max(known)}")

    def _count(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.counts[type(entry).__name__] += 1
            for request in entry.requests:
                if request.name == TIMEOUT:
                    self.limits.add(request.key)
            if isinstance(entry, TimerFired) and entry.key in self.limits:
                self.counts["over time"] += 1
                self.counts["over time, uncaught"] += isinstance(entry.end, Died)
            self.counts["whole time again"] += bool(
                isinstance(entry, Reopened) and self.limits & set(entry.void)
            )
            if entry.end is not None:
                self.counts[type(entry.end).__name__] += 1
            self.counts["gone"] += any(r.gone for r in entry.requests)
            self.counts["closes"] += bool(entry.closes)
            self.counts["void"] += bool(getattr(entry, "void", ()))
            self.counts["held"] += bool(getattr(entry, "held", False))

    def fail(self, what: str) -> None:
        story = "\n".join(f"  {item}" for item in self.script[-25:])
        entries = "\n".join(
            f"  {msgspec.json.encode(entry).decode()}" for entry in self.rig.entries[-14:]
        )
        raise Broken(
            f"seed {self.seed}: {what}\n\n{self.sample.source}\nmessages:\n{story}\n"
            f"entries:\n{entries}"
        )


def _told(got: list[Entry] | str) -> list[Entry] | str:
    """Entries without the place in the source, which is another in a plain program."""
    if isinstance(got, str):
        return got
    return [
        msgspec.structs.replace(
            entry, end=msgspec.structs.replace(
                entry.end, error=msgspec.structs.replace(entry.end.error, where=None)
            ),
        )
        if isinstance(entry.end, Died) else entry
        for entry in got
    ]  # fmt: skip


def fingerprint(machine: Machine) -> Any:
    """What can be told of a machine from outside: where each branch is, and its state."""

    def place(waiter: Any) -> Any:
        if isinstance(waiter, tuple):
            frame, index = waiter
            return (frame.branch.prefix, frame.mode, index, frame.left, frame.cancelled)
        if isinstance(waiter, Limit):
            return (waiter.branch.prefix, waiter.key, waiter.fired, waiter.overruled)
        return (waiter.prefix, waiter.count, waiter.draws, waiter.since)

    frames = []
    for waiter in machine.open.values():
        branch: Any = (
            waiter[0].branch if isinstance(waiter, tuple)
            else waiter.branch if isinstance(waiter, Limit) else waiter
        )  # fmt: skip
        while branch is not None:
            if isinstance(branch.on, Frame):
                frame = branch.on
                frames.append(
                    (branch.prefix, branch.count, frame.pending, sorted(frame.errors),
                     [repr(r)[:80] for r in frame.results])
                )  # fmt: skip
            branch = branch.frame.branch if branch.frame is not None else None
    return {
        "open": {key: place(waiter) for key, waiter in sorted(machine.open.items())},
        "frames": sorted(frames),
        "state": machine.attributes(),
        "encoded": machine.encoded,
        "handlers": [handler.prefix for handler in machine.handlers],
        "over": (machine.over, machine.cancelling, machine.result),
        "dispatched": sorted(machine.dispatched),
        "targets": sorted(set(machine.targets) & set(machine.open)),
    }
