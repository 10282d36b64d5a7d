"""Decide: from a message to what happened.

`Kernel.decide(message, now)` gives the entries a message leads to; none means it is a duplicate or
too late, `Rejected` that the caller may not. It folds what it gives at once, so the next message
is decided on top of it; nothing outside may see that before it is durable. It knows no clock and
no store. What a turn is stands in `body`, what people may do in `verbs`: the kernel stands on both.

The rules carry the numbers they have in the tests, here and there: K17 held outcomes, K18 parked,
K30 the oldest wait takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, assert_never

import msgspec

from greenroom.actors.entries import (
    Answered,
    AttemptFailed,
    AttemptsLost,
    AttemptStarted,
    CallRecorded,
    ChildRefused,
    Died,
    Entry,
    EventReceived,
    Failure,
    OpCompleted,
    OpFailed,
    OpInDoubt,
    Parked,
    Started,
    TimerFired,
)
from greenroom.actors.messages import (
    Answer,
    Begin,
    Cancel,
    Due,
    Edit,
    Message,
    Migrate,
    Offer,
    Outcome,
    Park,
    Pause,
    Record,
    Recover,
    Refused,
    Resume,
    Skip,
    attempt_id,
)
from greenroom.actors.planned import result_problem
from greenroom.actors.progress import CALLS, DEADLINE, OpState, Progress, evolve
from greenroom.actors.verbs import Verbs
from greenroom.actors.waits import FEW, Waits
from greenroom.actors.walk import overdue, takes_back
from greenroom.definitions.errors import InvalidTransition, NoSuchAsk
from greenroom.definitions.eventclasses import is_called
from greenroom.definitions.matching import compile_where
from greenroom.definitions.values import Json

LOST_MAX: Final = 3
"""Crashes an attempt may be part of; at this one the instance is parked as poison."""
SUSPECT: Final = LOST_MAX - 1
"""After so many crashes an attempt is run alone."""


class Kernel(Verbs):
    """One instance's rules: from a message to what happened."""

    waits: Waits | None = None
    """Made when there are many waits and an event comes."""

    def decide(self, message: Message, now: int) -> list[Entry]:
        """The entries `message` leads to at `now` (milliseconds), already folded."""
        now = max(now, self.progress.at)
        entries = self._decide(message, now)
        for entry in entries:
            evolve(self.progress, entry, self.epoch)
            if self.waits is not None:
                self.waits.follow(entry)
        return entries

    def _decide(self, message: Message, now: int) -> list[Entry]:
        match message:
            case Outcome():
                return self._outcome(message, now)
            case Record():
                return self._record(message, now)
            case Due():
                return self._due(message, now)
            case Offer():
                return self._offer(message, now)
            case Answer():
                return self._answer(message, now)
            case Begin():
                return self._begin(message, now)
            case Pause():
                return self._pause(message, now)
            case Resume():
                return self._resume(message, now)
            case Cancel():
                return self._cancel(message, now)
            case Skip():
                return self._skip(message, now)
            case Edit():
                return self._edit(message, now)
            case Migrate():
                return self._migrate(message, now)
            case Refused():
                return [
                    ChildRefused(
                        at=now,
                        key=message.key,
                        name=message.name,
                        error=message.error,
                        attempt=message.attempt,
                    )
                ]
            case Recover():
                return self._recover(message, now)
            case Park():
                if self.progress.ended:
                    return []
                return [Parked(at=now, end=Died(message.error))]
            case _:
                assert_never(message)

    def start(self, started: Started) -> list[Entry]:
        """The first entries of a new instance."""
        entries: list[Entry] = [started] if started.pending else self._turn(started)
        for entry in entries:
            evolve(self.progress, entry, self.epoch)
        return entries

    def _outcome(self, m: Outcome, now: int) -> list[Entry]:
        p = self.progress
        op = p.ops.get(m.key)
        if op is None or op.attempt != m.attempt or op.status in ("retry", "doubt"):
            return []
        error = m.error
        if error is None and self.is_plan and m.value is not None:
            problem = result_problem(m.value)
            if problem is not None and self.merges(m.key):
                error = Failure("StepResult", f"{op.request.name}: {problem}", op=m.key)
                return self._settled(OpFailed(at=now, key=m.key, error=error, attempt=m.attempt))
        child = op.request.kind == "child"
        if error is None:
            return self._settled(
                OpCompleted(at=now, key=m.key, attempt=m.attempt, value=m.value, child=child)
            )
        delay_s = _retry_delay(p, op, m)
        if delay_s is not None:
            due = now + round(delay_s * 1000)
            return [AttemptFailed(at=now, key=m.key, error=error, attempt=m.attempt, due=due)]
        return self._settled(
            OpFailed(at=now, key=m.key, error=error, attempt=m.attempt, child=child)
        )

    def _settled(self, cause: OpCompleted | OpFailed) -> list[Entry]:
        p = self.progress
        if p.end is not None:
            return [cause]
        if p.parked:
            return [msgspec.structs.replace(cause, held=True)]
        return self._turn(cause)

    def _record(self, m: Record, now: int) -> list[Entry]:
        p = self.progress
        op = p.ops.get(m.key)
        late = op is None or op.attempt != m.attempt or op.status != "started"
        if late or m.n != len(p.recorded.get(m.key, ())) + 1:
            raise InvalidTransition(
                f"{self._who()}: attempt {m.attempt} of {m.key} is over, what it called is not kept",
                op=m.key,
            )
        return [
            CallRecorded(
                at=now, key=m.key, n=m.n, name=m.name, args=m.args, value=m.value, error=m.error,
                attempt=m.attempt,
            )
        ]  # fmt: skip

    def _due(self, m: Due, now: int) -> list[Entry]:
        p = self.progress
        if m.key == DEADLINE:
            return self._late(now) if p.deadline == m.due <= now else []
        op = p.ops.get(m.key)
        if op is None or op.due != m.due or p.parked or now < m.due:
            return []
        if p.ended and op.request.kind != "dispatch":
            return []
        if op.status == "retry":
            return [AttemptStarted(at=now, key=m.key, attempt=op.attempt + 1)]
        if op.status == "open":
            return self._turn(TimerFired(at=now, key=m.key))
        return []

    def _late(self, now: int) -> list[Entry]:
        """The instance has not ended in time: what was done is taken back, as after any failure.
        Where there is nothing to, it is parked, and whatever it waits for stays open."""
        if self.is_plan and takes_back(self.definition, self.progress):
            return self._turn(TimerFired(at=now, key=DEADLINE))
        return [Parked(at=now, end=Died(overdue(self.progress)))]

    def _offer(self, m: Offer, now: int) -> list[Entry]:
        p = self.progress
        if p.ended or p.parked or not p.begun or m.iq in p.taken:
            return []
        takes = self.taker(m)
        branch = None
        if self._handles_events and m.iq > p.seen and not p.over and not p.cancelling:
            branch = f"e{p.handlers + 1}"
        if takes is None and branch is None:
            return []
        return self._turn(
            EventReceived(at=now, iq=m.iq, event=m.event, takes=takes, branch=branch, pos=m.pos)
        )

    @property
    def unseen(self) -> int | float:
        """The inbox item from which on a handler may take them; infinity where there is none."""
        return self.progress.seen + 1 if self._handles_events else math.inf

    @property
    def _handles_events(self) -> bool:
        return not self.is_plan and self.definition.program.handles_events

    def taker(self, m: Offer) -> str | None:
        """The oldest open wait that takes this event."""
        for key in self._waiting(m.event):
            op = self.progress.ops[key]
            match = op.request.match
            if match is None or op.status != "open" or not is_called(m.event, op.request.name):
                continue
            if match.since is None:
                if m.at < op.since or (m.pos is not None and m.pos <= match.own):
                    continue
            elif match.since_at is not None:
                if m.at < match.since_at:
                    continue
            elif m.pos is not None and m.pos <= match.since:
                continue
            if op.due is not None and m.at > op.due:
                continue
            if match.where is None or compile_where(match.where).matches(m.event):
                return key
        return None

    def _waiting(self, event: dict[str, Json]) -> Iterable[str]:
        """The ops that may take an event, the oldest first."""
        ops = self.progress.ops
        if len(ops) <= FEW:
            return ops
        if self.waits is None or self.waits.is_stale(ops):
            self.waits = Waits(ops)
        return self.waits.meeting(event, ops)

    def _answer(self, m: Answer, now: int) -> list[Entry]:
        p = self.progress
        op = p.ops.get(m.key)
        if p.ended or op is None or op.request.kind != "ask":
            raise NoSuchAsk(f"{self._who()} has no open question at {m.key}", op=m.key)
        cause = Answered(at=now, key=m.key, value=m.value, by=m.by)
        if p.parked:
            return [msgspec.structs.replace(cause, held=True)]
        return self._turn(cause)

    def _recover(self, m: Recover, now: int) -> list[Entry]:
        p = self.progress
        lost: list[str] = []
        doubts: list[str] = []
        for key, op in p.ops.items():
            if op.status == "started" and op.request.kind in CALLS and op.epoch < self.epoch:
                once = op.request.policy is not None and op.request.policy.once
                (doubts if once else lost).append(key)
        entries: list[Entry] = []
        if lost:
            spared = self._spared(m, lost)
            poison = next(
                (k for k in lost if p.ops[k].lost + 1 >= LOST_MAX and k not in spared), None
            )
            end = None
            if poison is not None and p.failure is None and not p.ended and m.counted:
                name = p.ops[poison].request.name
                end = Died(
                    Failure(
                        "Poison",
                        f"the process died {LOST_MAX} times while {name} ({poison}) ran",
                        "poison",
                        op=poison,
                    )
                )
            entries.append(
                AttemptsLost(at=now, keys=tuple(lost), counted=m.counted, spared=spared, end=end)
            )
        for place, key in enumerate(doubts):
            name = p.ops[key].request.name
            failure = Failure(
                "InDoubt",
                f"the process died while {name} ({key}) ran, which may run once only: "
                "nobody knows whether it did",
                "in_doubt",
                op=key,
            )
            if p.ended:  # nobody waits for it any more
                attempt = p.ops[key].attempt
                entries.append(OpFailed(at=now, key=key, error=failure, attempt=attempt))
                continue
            causes = (*p.causes, *doubts[: place + 1])
            entries.append(OpInDoubt(at=now, key=key, end=Died(failure, causes)))
        return entries

    def _spared(self, m: Recover, lost: list[str]) -> tuple[str, ...]:
        """Suspects run one at a time: all but the one whose turn it was cannot have killed the
        process."""
        if m.alone is None or not m.counted:
            return ()
        p = self.progress
        return tuple(
            key for key in lost
            if p.ops[key].lost >= SUSPECT
            and attempt_id(p.id, key, p.ops[key].attempt) != m.alone
        )  # fmt: skip


def _retry_delay(p: Progress, op: OpState, m: Outcome) -> float | None:
    policy = op.request.policy
    if m.final or policy is None or policy.once:
        return None
    if m.after_s is not None:
        retry = policy.retry
        if (
            retry is not None
            and retry.max_attempts is not None
            and op.failed + 1 >= retry.max_attempts
        ):
            return None
        return m.after_s
    if policy.own or policy.retry is None:
        return None
    kinds = m.kinds or ((m.error.type,) if m.error else ())
    return policy.retry.delay(op.failed + 1, f"{p.id}/{op.request.key}", kinds)
