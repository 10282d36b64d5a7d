"""Retrace: where would a recorded instance go on another version?

What the world answered is taken from the recording (results, failures, answers, events, times), what
the workflow does with it from the definition. Nothing is run and nothing stored. The promotion gate
asks it of many instances before a version is released, `replay --check` of today's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from greenroom.actors.decide import Kernel
from greenroom.actors.entries import (
    Answered,
    CancelRequested,
    Continued,
    Entry,
    EventReceived,
    OpCompleted,
    OpFailed,
    OpSkipped,
    Request,
    Started,
    StateEdited,
    TimerFired,
    encode_entry,
)
from greenroom.actors.messages import Answer, Begin, Due, Message, Offer, Outcome
from greenroom.actors.progress import DEADLINE, Progress, evolve, fold
from greenroom.actors.replay import texts, voided
from greenroom.actors.rows import result_of
from greenroom.definitions.errors import Rejected
from greenroom.definitions.values import Json, equal
from greenroom.definitions.workflow import Definition

Verdict = Literal["same", "other", "fails"]

_TURN: Final = {
    field.name: field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    for field in msgspec.structs.fields(CancelRequested)
    if field.name in ("requests", "closes", "skips", "delta", "frames", "end", "over")
}
"""An entry without what followed from it."""

_CAUSES = OpCompleted | OpFailed | OpSkipped | Answered | TimerFired | EventReceived | StateEdited


class Retraced(NamedTuple):
    """`same`: it would end (or stand) as recorded. `other`: it would take another way, from `op`
    on. `fails`: it would fail where it did not. `iseq` is the entry it went by last."""

    verdict: Verdict
    op: str | None = None
    text: str = ""
    iseq: int = 0


def retrace(definition: Definition, entries: Sequence[Entry]) -> Retraced:
    """Follows the last generation of a recording on a definition."""
    begins = max(i for i, entry in enumerate(entries) if isinstance(entry, Started))
    recording = entries[begins:]
    opening = recording[0]
    assert isinstance(opening, Started)
    asked = {r.key: r for entry in recording for r in entry.requests}
    walk = _Walk(definition, opening, begins, asked)
    skipped = voided(recording)
    left: list[tuple[int, Entry]] = []
    for index, cause in enumerate(recording[1:], 1):
        if index in skipped or not isinstance(cause, _CAUSES):
            continue
        left.append((begins + index + 1, cause))
        left = walk.take(left)
    return walk.verdict(recording, [cause for _, cause in left])


class _Walk:
    """`asked` is what each op was asked for as, in the recording: the answer to one call is none to
    another that stands in its place."""

    def __init__(
        self, definition: Definition, opening: Started, begins: int, asked: Mapping[str, Request]
    ) -> None:
        self.definition = definition
        self.kernel = kernel = Kernel(definition, Progress(), 1, [])
        self.asked = asked
        self.otherwise: Retraced | None = None
        self.iseq = begins + 1
        p = kernel.progress
        p.id, p.namespace, p.workflow = opening.id, opening.namespace, opening.workflow
        p.key, p.hops = opening.key, opening.hops
        state = opening.state
        if state is None and isinstance(opening.input, dict):
            state = opening.input
        p.state = dict(state or {})
        started = msgspec.structs.replace(
            opening, **_TURN, version=definition.version or 1, code=definition.hash
        )
        self._remember(kernel.start(started))
        if started.pending:
            self._tell(Begin(), opening.at)

    def take(self, left: list[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
        """Goes by the causes that fit, in order, until none does; gives those that are left."""
        while True:
            for place, (iseq, cause) in enumerate(left):
                if self._goes_by(cause):
                    self.iseq = max(self.iseq, iseq)
                    del left[place]
                    break
            else:
                return left

    def _goes_by(self, cause: Entry) -> bool:
        p = self.kernel.progress
        if p.ended or p.failure is not None:
            return False
        at = max(cause.at, p.at)
        if isinstance(cause, StateEdited):
            return self._edit(cause)
        if isinstance(cause, EventReceived):
            offer = Offer(cause.iq, cause.at, cause.event, cause.pos)
            return self._tell(offer, at)
        key = getattr(cause, "key", "")
        if key == DEADLINE:
            due = p.deadline
            return due is not None and self._tell(Due(key, due), max(at, due))
        op = p.ops.get(key)
        if op is None or not self._known(op.request):
            return False
        match cause:
            case OpCompleted():
                return self._tell(Outcome(key, op.attempt, self._value(cause)), at)
            case OpSkipped():
                return self._tell(Outcome(key, op.attempt, cause.value), at)
            case OpFailed():
                return self._tell(Outcome(key, op.attempt, error=cause.error, final=True), at)
            case Answered() if op.request.kind == "ask":
                return self._tell(Answer(key, cause.value, cause.by), at)
            case TimerFired() if op.due is not None:
                return self._tell(Due(key, op.due), max(at, op.due))
        return False

    def _known(self, request: Request) -> bool:
        """Whether it was asked for in the recording. In plans the key says what it is, and the name
        is a label; in programs the key is only a place."""
        asked = self.asked.get(request.key)
        if asked is None or asked.kind != request.kind:
            return False
        return self.kernel.is_plan or asked.name == request.name

    def _value(self, cause: OpCompleted) -> Json:
        """What a step gave: where only what it changed was recorded, that."""
        if cause.value is not None or not self.kernel.is_plan:
            return cause.value
        if cause.delta is not None:
            return cause.delta.set
        return None

    def _edit(self, cause: StateEdited) -> bool:
        kernel = self.kernel
        if not kernel.is_plan:
            kernel.ensure_machine().edit(cause.delta)
        evolve(kernel.progress, cause, 1)
        self._remember([cause])
        return True

    def _tell(self, message: Message, at: int) -> bool:
        try:
            entries = self.kernel.decide(message, at)
        except Rejected:
            return False
        self._remember(entries)
        return bool(entries)

    def _remember(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.kernel.remember(entry, encode_entry(entry).payload)
            for request in entry.requests:
                asked = self.asked.get(request.key)
                if asked is not None and self.otherwise is None:
                    self.otherwise = _otherwise(request, asked, self.iseq)

    # -- what came of it -----------------------------------------------------------------------

    def verdict(self, recording: Sequence[Entry], left: list[Entry]) -> Retraced:
        found = self._compared(recording, left)
        return self.otherwise if found.verdict == "same" and self.otherwise else found

    def _compared(self, recording: Sequence[Entry], left: list[Entry]) -> Retraced:
        p = self.kernel.progress
        self.kernel.drop_machine()
        was = fold(list(recording), [1] * len(recording))
        continued = any(isinstance(entry.end, Continued) for entry in recording)
        if was.failure is not None and p.failure is None and not p.ended and not left:
            return Retraced("same", iseq=self.iseq)  # it failed for a reason that is not its code
        if p.failure is not None:
            if was.failure is not None and was.failure.type == p.failure.type:
                return Retraced("same", iseq=self.iseq)
            text = f"fails: {p.failure.type}: {p.failure.message}"
            return Retraced("fails", p.failure.op, text, self.iseq)
        if was.end == "cancelled" and not left:
            return Retraced("same", iseq=self.iseq)
        if not p.ended:
            return self._still_open(p, was, left)
        if was.ended and not left and not continued:
            return self._ended(p, was)
        if continued and not left:
            return Retraced("same", iseq=self.iseq)
        key = getattr(left[0], "key", None) if left else next(iter(was.ops), None)
        text = f"ends {p.outcome or p.end}, it went on with {key}"
        return Retraced("other", key, text, self.iseq)

    def _still_open(self, p: Progress, was: Progress, left: list[Entry]) -> Retraced:
        if not was.ended and not left and p.ops.keys() == was.ops.keys():
            names = _unequal(p, was)
            if not names:
                return Retraced("same", iseq=self.iseq)
            return Retraced("other", p.last, f"stands with another {_few(names)}", self.iseq)
        new = [
            op.request
            for key, op in p.ops.items()
            if key not in was.ops or not self._known(op.request)
        ]
        asked: list[Request] = new or [op.request for op in p.ops.values()]
        said = ", ".join(texts(asked[:3])) if asked else "nothing more"
        key = asked[0].key if asked else None
        return Retraced("other", key, f"asks for {said}, which was not recorded", self.iseq)

    def _ended(self, p: Progress, was: Progress) -> Retraced:
        if (p.end, p.outcome) != (was.end, was.outcome):
            text = f"ends {p.outcome or p.end}, it was {was.outcome or was.end}"
            return Retraced("other", p.last, text, self.iseq)
        ours, theirs = result_of(p), result_of(was)
        if not equal(ours, theirs) or not equal(p.state, was.state):
            names = _unequal(p, was)
            what = f"with another {_few(names)}" if names else "with another result"
            return Retraced("other", p.last, f"ends {what}", self.iseq)
        return Retraced("same", iseq=self.iseq)


def _otherwise(ours: Request, theirs: Request, iseq: int) -> Retraced | None:
    """What others see of an op is not what they saw: the event awaited or emitted, the child. What a
    call is given is found when it runs, and is not compared."""
    if ours.kind != theirs.kind or ours.kind not in ("wait", "emit", "child"):
        return None
    if ours.name == theirs.name and equal(_seen(ours), _seen(theirs)):
        return None
    text = f"asks for {_said(ours)}, it was {_said(theirs)}"
    return Retraced("other", ours.key, text, iseq)


def _seen(request: Request) -> Json:
    """What goes with its event type or workflow."""
    if request.kind != "wait":
        return request.args
    return request.match.where if request.match is not None else None


def _said(request: Request) -> str:
    return texts([msgspec.structs.replace(request, args=_seen(request))])[0]


def _unequal(p: Progress, was: Progress) -> list[str]:
    """Names that two states have otherwise."""
    a, b = p.state, was.state
    return [n for n in {**a, **b} if not (n in a and n in b and equal(a[n], b[n]))]


def _few(names: list[str]) -> str:
    return ", ".join(names[:5])
