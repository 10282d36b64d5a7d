"""Decide: from a message to what happened.

`Kernel.decide(message, now)` gives the entries a message leads to; none means it is a duplicate or
too late, `Rejected` that the caller may not. It folds what it gives at once, so the next message
is decided on top of it; nothing outside may see that before it is durable. It knows no clock and
no store. For programs it needs the machine, which is a cache: after a refusal or a dying turn it
is dropped, and replayed from the entries when it is needed again.

The rules carry the numbers they have in the tests: K17 held outcomes, K20 a dying turn did not
happen, K22 resume is a trial, K23 what may be voided, K26 skip, K33 cancel is a cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, assert_never

import msgspec

from greenroom.actors.edits import edited, not_followed
from greenroom.actors.entries import (
    Answered,
    AttemptFailed,
    AttemptsLost,
    AttemptStarted,
    Begun,
    CallRecorded,
    Cancelled,
    CancelRequested,
    ChildRefused,
    Continued,
    Died,
    Entry,
    EventReceived,
    Failure,
    Migrated,
    OpCompleted,
    OpFailed,
    OpInDoubt,
    OpSkipped,
    Parked,
    Paused,
    Reopened,
    Request,
    Resumed,
    Started,
    StateEdited,
    TimerFired,
    decode_payload,
)
from greenroom.actors.machine import Machine
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
from greenroom.actors.progress import (
    CALLS,
    DEADLINE,
    OpState,
    Progress,
    called,
    can_be_taken_back,
    evolve,
    hops_after,
    hops_of,
    is_taken_back,
    status_of,
)
from greenroom.actors.replay import Changed, replay
from greenroom.actors.turns import Death, Turn
from greenroom.actors.waits import FEW, Waits
from greenroom.actors.walk import (
    apply_to_plan,
    callback_around,
    merges,
    overdue,
    result_problem,
    takes_back,
    target_in,
    view_of,
)
from greenroom.definitions.errors import (
    CodeChanged,
    InDoubt,
    InvalidTransition,
    NeedsAnswer,
    NoSuchAsk,
    NotFound,
    StillFails,
)
from greenroom.definitions.eventclasses import is_called
from greenroom.definitions.events import HOPS_MAX
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import TIMEOUT
from greenroom.definitions.tasks import task_called, task_target
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Plan

LOST_MAX: Final = 3
"""Crashes an attempt may be part of; at this one the instance is parked as poison."""
SUSPECT: Final = LOST_MAX - 1
"""After so many crashes an attempt is run alone."""
HISTORY_MAX: Final = 50_000
HISTORY_WARN: Final = 10_000


class Kernel:
    """One instance's rules, progress and (for programs) machine."""

    def __init__(
        self,
        definition: Definition,
        progress: Progress,
        epoch: int,
        log: list[bytes] | None = None,
        note: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self.definition = definition
        self.progress = progress
        self.epoch = epoch
        self.is_plan = isinstance(definition.body, Plan)
        self.log: list[bytes] = log if log is not None else []
        """Payloads of this generation's entries; programs are replayed from them."""
        self.machine: Machine | None = None
        self.note = note
        self.tried: Machine | None = None
        self.waits: Waits | None = None
        """Made when there are many waits and an event comes."""

    # -- deciding ------------------------------------------------------------------------------

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

    # -- verbs ---------------------------------------------------------------------------------

    def _begin(self, m: Begin, now: int) -> list[Entry]:
        p = self.progress
        if p.begun or p.parked or p.ended:
            return []
        return self._turn(Begun(at=now, by=m.by))

    def _pause(self, m: Pause, now: int) -> list[Entry]:
        p = self.progress
        if p.failure is not None and status_of(p) == "paused":
            return []
        if p.ended or p.failure is not None:
            raise self._refuse("paused")
        if p.cancelling:
            raise InvalidTransition(
                f"{self._who()} is being cancelled and cannot be paused", status=status_of(p)
            )
        if p.paused:
            return []
        return [Paused(at=now, by=m.by, reason=m.reason)]

    def _resume(self, m: Resume, now: int) -> list[Entry]:
        p = self.progress
        if p.ended:
            raise self._refuse("resumed")
        self._check_there()
        if p.failure is not None:
            return self._reopen(m, now)
        if p.paused:
            return self._turn(Resumed(at=now, by=m.by, reason=m.reason), p.held)
        if not p.begun:
            return self._turn(Begun(at=now, by=m.by))
        if status_of(p) == "running":
            raise self._refuse("resumed")
        retries = {key: op for key, op in p.ops.items() if op.status == "retry"}
        others = [
            key for key, op in p.ops.items()
            if key not in retries and not (retries and op.request.name == TIMEOUT)
        ]  # fmt: skip
        if others:
            op = p.ops[others[0]]
            raise NeedsAnswer(
                f"{self._who()} waits for {_wait_text(op)}; resume carries no data",
                hint=_needs_hint(p, op),
                op=others[0],
                wait=op.request.kind,
            )
        return [
            AttemptStarted(at=now, key=key, attempt=op.attempt + 1, by=m.by)
            for key, op in retries.items()
        ]

    def _reopen(self, m: Resume, now: int) -> list[Entry]:
        p = self.progress
        doubts = [key for key, op in p.ops.items() if op.status == "doubt"]
        if doubts and not m.run_again:
            op = p.ops[doubts[0]]
            raise InDoubt(
                f"{self._who()}: nobody knows whether {op.request.name} ({doubts[0]}) has run",
                hint="if it did:  greenroom skip ID OP output:=...    if it did not:  "
                "greenroom resume ID --run-again",
                op=doubts[0],
            )
        again = [self._asked_again(p.ops[key].request) for key in doubts]

        def cause(void: tuple[str, ...]) -> Reopened:
            return Reopened(at=now, void=void, by=m.by, reason=m.reason)

        return self._trial(cause, list(p.causes), again)

    def _trial(
        self,
        cause: Callable[[tuple[str, ...]], Reopened | OpSkipped],
        causes: Iterable[str],
        again: list[Request],
        fixed: tuple[str, ...] = (),
    ) -> list[Entry]:
        """K22: takes failures back until the held causes can be applied, or refuses."""
        p = self.progress
        void = {key for key in causes if can_be_taken_back(p, key)} | set(fixed)
        fallback = False
        while True:
            taken = tuple(sorted(void))
            entry = cause(taken)
            held = [cause for cause in p.held if not is_taken_back(cause, void)]
            try:
                requests = [*again, *self._requests_again(taken, fixed, entry.at)]
                turn = self._apply(entry, held, self._fresh(taken))
            except Changed as changed:
                self._drop_tried()
                if void - set(fixed) and not fallback and not self.is_plan:
                    void, fallback = set(fixed), True
                    continue
                raise self._code_changed(changed) from None
            except Death as death:
                self._drop_tried()
                new = {key for key in death.causes if can_be_taken_back(p, key)} - void
                if new and not fallback:
                    void |= new
                    continue
                raise StillFails(
                    f"{self._who()} fails again in the same way: "
                    f"{death.failure.type}: {death.failure.message}",
                    hint="fix the code, or skip the step",
                    error=msgspec.to_builtins(death.failure),
                ) from None
            if self.tried is not None:
                self.drop_machine()
                self.machine, self.tried = self.tried, None
            given_up = set(turn.closes)
            turn.requests[:0] = [  # K28
                msgspec.structs.replace(r, gone=True) if r.key in given_up else r for r in requests
            ]
            return self._concluded(entry, turn)

    def _drop_tried(self) -> None:
        tried, self.tried = self.tried, None
        if tried is not None:
            tried.close()

    def _fresh(self, void: tuple[str, ...]) -> Machine | None:
        """The machine of a trial; made by `_requests_again`."""
        return self.tried

    def _requests_again(
        self, void: tuple[str, ...], fixed: tuple[str, ...], at: int
    ) -> list[Request]:
        """K24: the ops of voided failures, with name and arguments of the code as it is now."""
        p = self.progress
        if self.is_plan:
            return []  # the walk asks again
        self.tried = self._replayed(void)
        self.tried.now = max(self.tried.now, at)
        made = []
        for key in void:
            if key in fixed:
                continue
            request = self.tried.request_again(key)
            if request is None:
                raise Changed(p.iseq, [key], [], "the failed op is not open any more")
            made.append(request)
        return made

    def _asked_again(self, request: Request) -> Request:
        op = self.progress.ops[request.key]
        return msgspec.structs.replace(request, attempt=op.attempt + 1)

    def _cancel(self, m: Cancel, now: int) -> list[Entry]:
        p = self.progress
        if p.end == "cancelled":
            return []
        if p.end is not None:
            raise self._refuse("cancelled")
        at_once = m.force or (p.cancelling and p.failure is not None) or not p.begun
        if at_once:
            return [self._ended_at_once(m, now, "clean-up skipped" if p.begun else None)]
        if p.cancelling:
            return []
        drained = p.paused
        cause = CancelRequested(at=now, by=m.by, reason=m.reason, drained=drained)
        try:
            return self._turn(cause, p.held if drained else ())
        except CodeChanged:
            return [self._ended_at_once(m, now, "clean-up skipped: the code has changed")]

    def _ended_at_once(self, m: Cancel, now: int, note: str | None) -> CancelRequested:
        return CancelRequested(
            at=now,
            by=m.by,
            reason=m.reason,
            force=True,
            closes=tuple(self.progress.ops),
            end=Cancelled(note),
            over=True,
        )

    def _skip(self, m: Skip, now: int) -> list[Entry]:
        p = self.progress
        if p.ended:
            raise self._refuse("changed")
        self._check_there()
        op = p.ops.get(m.key)
        doubtful = op is not None and op.status == "doubt"
        failed = p.failure is not None and (
            doubtful or (m.key in p.causes and _is_failed(p, m.key))
        )
        if not failed:
            if op is None:
                raise NotFound(f"{self._who()} has no open op {m.key}", op=m.key)
            if op.status != "retry":
                raise InvalidTransition(
                    f"{self._who()}: {op.request.name} ({m.key}) is {op.status}; only an op that "
                    "failed, is in doubt or waits for a retry can be skipped",
                    op=m.key,
                    status=status_of(p),
                )
            cause = OpSkipped(at=now, key=m.key, value=m.value, by=m.by, reason=m.reason)
            if p.parked:
                return [msgspec.structs.replace(cause, held=True)]
            return self._turn(cause)
        void = () if doubtful else (m.key,)
        left = [key for key in p.causes if key != m.key]
        if left:
            self._check_void(void)
            return [
                OpSkipped(
                    at=now, key=m.key, value=m.value, by=m.by, reason=m.reason, held=True, void=void
                )
            ]

        def cause_of(taken: tuple[str, ...]) -> OpSkipped:
            return OpSkipped(
                at=now,
                key=m.key,
                value=m.value,
                by=m.by,
                reason=m.reason,
                void=taken,
                resumes=True,
            )

        return self._trial(cause_of, (), [], void)

    def _check_void(self, void: tuple[str, ...]) -> None:
        """K23 for a failure that is taken back before the instance goes on."""
        if void and not self.is_plan:
            try:
                self._replayed(void).close()
            except Changed as changed:
                raise self._code_changed(changed) from None

    def _edit(self, m: Edit, now: int) -> list[Entry]:
        p = self.progress
        status = status_of(p)
        if status not in ("waiting", "paused", "failed"):
            raise InvalidTransition(
                f"{self._who()} is {status}; its state can be changed while it waits, is paused or "
                "has failed",
                hint=None if p.ended else f"greenroom pause {p.id}",
                status=status,
                instance=p.id,
            )
        self._check_there()
        delta = edited(self.definition, p, m.set, m.drop)
        if not self.is_plan:
            try:
                self.ensure_machine().edit(delta)
            except Changed as changed:
                raise self._code_changed(changed) from None
        return [StateEdited(at=now, by=m.by, reason=m.reason, delta=delta)]

    def _migrate(self, m: Migrate, now: int) -> list[Entry]:
        p = self.progress
        if p.ended:
            raise self._refuse("migrated")
        if p.iseq != m.seen:
            raise InvalidTransition(f"{self._who()} went on meanwhile; try again", moved=True)
        target: Definition = m.definition
        not_followed(self.definition, target, p, m.done)
        was, self.definition = p.version, target
        version = target.version or 1
        return [
            Migrated(at=now, version=version, code=target.hash, was=was, by=m.by, reason=m.reason)
        ]

    def _check_there(self) -> None:
        """Nothing of a workflow that nobody has any more goes on."""
        if self.definition.gone:
            p = self.progress
            raise CodeChanged(
                f"{self._who()} cannot go on: there is no {p.workflow} v{p.version} any more",
                hint=f"load the file that has it, or:  greenroom cancel {p.id}",
                workflow=p.workflow,
                version=p.version,
            )

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

    # -- turns ---------------------------------------------------------------------------------

    def _turn(self, cause: Entry, held: Sequence[Entry] = ()) -> list[Entry]:
        """Applies a cause. A turn that dies leaves the cause, held, and how it died."""
        try:
            if self.log:
                self._check_history()
            turn = self._apply(cause, held, None)
            if turn.requests:
                self._check_hops(cause, turn)
        except Death as death:
            self.drop_machine()
            end = Died(death.failure, death.causes, death.view)
            return [msgspec.structs.replace(cause, end=end)]
        except Changed as changed:
            self.drop_machine()
            if isinstance(cause, CancelRequested):
                raise self._code_changed(changed) from None
            end = Died(self._changed_failure(changed))
            return [msgspec.structs.replace(cause, end=end)]
        return self._concluded(cause, turn)

    def _check_history(self) -> None:
        """K45: a history that long is replayed too slowly to go on with."""
        size = len(self.log)
        if size >= HISTORY_MAX:
            raise Death(
                Failure(
                    "HistoryTooLong",
                    f"{self._who()} has {size:,} entries in this generation, the limit is "
                    f"{HISTORY_MAX:,}; use continue_as_new in long loops",
                    "runaway",
                )
            )
        if size == HISTORY_WARN and self.note is not None:
            self.note("a long history; use continue_as_new in long loops", {"entries": size})

    def _check_hops(self, cause: Entry, turn: Turn) -> None:
        """Workflows that feed each other for ever are stopped."""
        for request in turn.requests:
            if request.kind in ("emit", "child") and not request.gone:
                break
        else:
            return
        hops = self.progress.hops
        if isinstance(cause, EventReceived):
            hops = hops_of(cause.event)
        elif isinstance(cause, Started):
            hops = cause.hops
        elif isinstance(cause, TimerFired):
            hops = hops_after(self.progress, cause)
        if hops >= HOPS_MAX:
            raise Death(
                Failure(
                    "EventLoop",
                    f"{self._who()} was reached over {hops} events and children that led to each "
                    f"other; the limit is {HOPS_MAX}",
                    "runaway",
                    {"hops": hops},
                )
            )

    def _apply(self, cause: Entry, held: Sequence[Entry], machine: Machine | None) -> Turn:
        p = self.progress
        if self.definition.gone and not isinstance(cause, CancelRequested):
            raise Changed(
                p.iseq, [p.workflow], [], f"there is no {p.workflow} v{p.version} any more"
            )
        if self.is_plan:
            return apply_to_plan(self.definition, p, cause, held)
        if isinstance(cause, Started) or (isinstance(cause, Begun) and self.machine is None):
            self.machine = Machine(self.definition, p.id or getattr(cause, "id", ""), p.gen)
        elif machine is None:
            self.ensure_machine()
        active = machine or self.machine
        assert active is not None
        if active.main is None and not p.begun:
            return active.apply(cause, held, p.input)
        if isinstance(cause, Reopened | OpSkipped) and held is not None:
            active.rebase(p.state)
        return active.apply(cause, held, p.input)

    def _concluded(self, cause: Entry, turn: Turn) -> list[Entry]:
        attempts = self.progress.attempts
        requests = turn.requests
        if type(cause) is CancelRequested:
            turn.closes.extend(self._left_by_generations_before(turn))
        if attempts and requests:
            requests = [
                msgspec.structs.replace(r, attempt=attempts[r.key] + 1)
                if r.key in attempts and r.attempt <= attempts[r.key]
                else r
                for r in requests
            ]
        if type(cause) is OpCompleted and self.is_plan:  # the value is the delta
            return [
                OpCompleted(
                    at=cause.at,
                    key=cause.key,
                    attempt=cause.attempt,
                    value=cause.value if turn.keeps else None,
                    requests=tuple(requests),
                    closes=tuple(turn.closes),
                    skips=turn.skips,
                    delta=turn.delta,
                    frames=turn.frames,
                    end=turn.end,
                    over=turn.over,
                )
            ]
        entry = msgspec.structs.replace(
            cause,
            requests=tuple(requests),
            closes=tuple(turn.closes),
            skips=turn.skips,
            delta=turn.delta,
            frames=turn.frames,
            end=turn.end,
            over=turn.over,
        )
        if type(turn.end) is Continued:
            return [entry, *self._next_generation(entry, turn.end)]
        return [entry]

    def _left_by_generations_before(self, turn: Turn) -> list[str]:
        """K33: a cancel closes all ops, those too that this generation's machine knows nothing of."""
        closed = set(turn.closes)
        return [
            key
            for key, op in self.progress.ops.items()
            if op.request.kind == "dispatch" and key not in closed
        ]

    def _next_generation(self, entry: Entry, end: Continued) -> list[Entry]:
        """K40: the next generation's first turn joins the append that ends this one."""
        p = self.progress
        started = Started(
            at=entry.at,
            id=p.id,
            workflow=p.workflow,
            version=p.version,
            code=self.definition.hash,
            input=end.input,
            gen=p.gen + 1,
            namespace=p.namespace,
            key=p.key,
            event=p.event,
            parent=p.parent,
            forked=p.forked,
            hops=p.hops,
            test=p.test,
            kind=p.kind,
            pauses=p.pauses,
            tells=p.tells,
            timeout=p.timeout,
            deadline=p.deadline,
            state=end.input if isinstance(end.input, dict) else {},
        )
        self.machine = Machine(self.definition, p.id, p.gen + 1)
        try:
            turn = self.machine.apply(started, (), end.input)
        except Death as death:
            self.drop_machine()
            died = Died(death.failure, death.causes, death.view)
            return [msgspec.structs.replace(started, end=died)]
        return [
            msgspec.structs.replace(
                started,
                requests=tuple(turn.requests),
                delta=turn.delta,
                end=turn.end,
                over=turn.over,
            )
        ]

    # -- the machine ---------------------------------------------------------------------------

    def remember(self, entry: Entry, payload: bytes) -> None:
        """Keeps an entry for replay; a new generation forgets the ones before it."""
        if self.is_plan:
            return
        if isinstance(entry, Started):
            self.log.clear()
        self.log.append(payload)

    def ensure_machine(self) -> Machine:
        """The live machine, replayed when there is none. Raises `Changed`."""
        if self.machine is None or self.machine.broken:
            self.machine = self._replayed(())
        return self.machine

    def _replayed(self, void: tuple[str, ...]) -> Machine:
        p = self.progress
        entries = [decode_payload(payload) for payload in self.log]
        options: Any = {
            "void": void,
            "first": p.iseq - len(entries) + 1,
            "strict": self.definition.strict,
        }
        try:
            machine = replay(self.definition, p.id, entries, **options)
        except Changed as changed:
            try:  # once more, to say where in the code
                replay(self.definition, p.id, entries, traced=True, **options).close()
            except Changed as traced:
                changed.line = traced.line
            raise
        attributes = machine.attributes()
        if attributes is not None and not void:
            journal = {name: msgspec.json.encode(value) for name, value in p.state.items()}
            if attributes != journal and machine.main is not None:
                self._state_differs(machine, attributes, journal)
        return machine

    def _state_differs(
        self, machine: Machine, code: dict[str, bytes], journal: dict[str, bytes]
    ) -> None:
        """K37: hidden nondeterminism. The journal is right; strict definitions park."""
        names = sorted(
            n for n in code.keys() | journal.keys() if _json(code.get(n)) != _json(journal.get(n))
        )
        if not names:
            return
        if self.definition.strict:
            raise Changed(
                self.progress.iseq,
                [f"self.{n} = {_text(journal.get(n))}" for n in names],
                [f"self.{n} = {_text(code.get(n))}" for n in names],
                "the state is not what replay gives",
            )
        if self.note is not None:
            self.note("replay gave another state", {"attributes": names})
        machine.rebase(self.progress.state)

    def drop_machine(self) -> None:
        """Unwinds and forgets the machine."""
        machine, self.machine = self.machine, None
        if machine is not None:
            machine.close()

    def target_of(self, key: str) -> Any:
        """The target of an open call: from the plan, from what has been learned, else by replay.

        Raises `Changed`, or `KeyError` where the code asks for no such op."""
        request = self.progress.ops[key].request
        if self.is_plan:
            return target_in(self.definition, key)
        if self.machine is not None and key in self.machine.targets:
            target = self.machine.targets[key]
            _learn(self.definition, request.name, target)
            return target
        known = self.definition.learned.get(request.name)
        if known is not None and self.progress.code == self.definition.hash:
            return known
        targets = self.ensure_machine().targets
        if key not in targets and request.kind == "dispatch":  # of an earlier generation
            return self._earlier_target(key)
        return targets[key]

    def source_of(self, key: str) -> Any:
        """What the arguments of an open op are taken from. Not a copy."""
        if self.is_plan:
            return view_of(self.definition, self.progress, key)
        return self.progress.ops[key].request.args or {}

    def callback_of(self, key: str) -> tuple[str, str] | None:
        """The question of the callback that an op is a step of, and the name of its route."""
        return callback_around(self.definition, key) if self.is_plan else None

    def merges(self, key: str) -> bool:
        """Whether what an op gives is merged into the state."""
        return self.is_plan and merges(self.definition, key)

    def _earlier_target(self, key: str) -> Any:
        """The target of a dispatch whose generation is not replayed any more."""
        name = self.progress.ops[key].request.name
        task = task_called(name, self.definition.program.func.__module__)
        return self.definition.learned.get(name) or (task_target(task) if task else None)

    # -- words ---------------------------------------------------------------------------------

    def _who(self) -> str:
        return called(self.progress)

    def _refuse(self, done: str) -> InvalidTransition:
        status = status_of(self.progress)
        return InvalidTransition(
            f"{self._who()} is {status} and cannot be {done}",
            status=status,
            instance=self.progress.id,
        )

    def _changed_failure(self, changed: Changed) -> Failure:
        return Failure(
            "CodeChanged",
            f"{self._who()} cannot continue: the code no longer follows its journal "
            f"(entry {changed.at}: {changed.why})",
            "code_changed",
            {
                "at": changed.at,
                "journal": changed.journal,
                "code": changed.code,
                "where": changed.line or self.definition.source,
                "recorded_by": self.progress.code,
                "code_is": self.definition.hash,
            },
        )

    def _code_changed(self, changed: Changed) -> CodeChanged:
        failure = self._changed_failure(changed)
        return CodeChanged(
            failure.message,
            hint="bring the old code back, or fork the instance from a step before",
            **failure.details,
        )


def _learn(definition: Definition, name: str, target: Any) -> None:
    """A target may be found by name alone only if no other has that name, and it is no closure."""
    if "<locals>" in getattr(target.func, "__qualname__", "") and target.injector is not None:
        return
    known = definition.learned.setdefault(name, target)
    if known is not target:
        definition.learned[name] = None  # type: ignore[assignment]


def _is_failed(p: Progress, key: str) -> bool:
    """Whether an op's failure can be taken back: it is closed, and its attempt remembered."""
    return key in p.attempts and key not in p.ops


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


def _wait_text(op: OpState) -> str:
    request = op.request
    match request.kind:
        case "ask":
            return f"an answer to {request.name!r}"
        case "wait":
            return f"the event {request.name}"
        case "sleep":
            return "a timer"
        case "child":
            return f"its child {request.name}"
        case _:
            return f"{request.name}"


def _needs_hint(p: Progress, op: OpState) -> str | None:
    match op.request.kind:
        case "ask":
            return f"answer the question {p.id}.{op.request.key}"
        case "wait":
            return f"send it the event, or post one of type {op.request.name}"
        case _:
            return None


def _json(raw: bytes | None) -> Json:
    return None if raw is None else msgspec.json.decode(raw)


def _text(raw: bytes | None) -> str:
    return "absent" if raw is None else raw.decode()
