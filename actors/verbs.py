"""The verbs: what people and parents may do to an instance, and when.

Each refuses with `Rejected` what the instance is in no state for; the table verbs x statuses is
law. The numbers are those of the rules: K22 resume is a trial, K23 what may be voided, K26 skip,
K33 cancel is a cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from greenroom.actors.body import Body
from greenroom.actors.edits import edited, not_followed
from greenroom.actors.entries import (
    AttemptStarted,
    Begun,
    Cancelled,
    CancelRequested,
    Entry,
    Migrated,
    OpSkipped,
    Paused,
    Reopened,
    Request,
    Resumed,
    StateEdited,
)
from greenroom.actors.machine import Machine
from greenroom.actors.messages import Begin, Cancel, Edit, Migrate, Pause, Resume, Skip
from greenroom.actors.progress import OpState, Progress, can_be_taken_back, is_taken_back, status_of
from greenroom.actors.replay import Changed
from greenroom.actors.turns import Death
from greenroom.definitions.errors import (
    CodeChanged,
    InDoubt,
    InvalidTransition,
    NeedsAnswer,
    NotFound,
    StillFails,
)
from greenroom.definitions.ops import TIMEOUT
from greenroom.definitions.workflow import Definition


class Verbs(Body):
    """begin, pause, resume, cancel, skip, and what somebody changes by hand."""

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


def _is_failed(p: Progress, key: str) -> bool:
    """Whether an op's failure can be taken back: it is closed, and its attempt remembered."""
    return key in p.attempts and key not in p.ops


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
