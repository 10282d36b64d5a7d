"""Progress: the fold of an instance's entries, and `evolve` that folds them.

`evolve` is total: it never refuses what `decide` wrote. Progress keeps open ops only, so its size
follows what is going on and not what has been. It is changed in place: the instance owns it, and
a group that could not be stored drops it as a whole.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final, Literal, assert_never

import msgspec
from msgspec import Struct

from greenroom.actors.children import is_detached
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
    Completed,
    Continued,
    Delta,
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
)
from greenroom.definitions.values import Json

OpStatus = Literal["started", "ready", "retry", "open", "doubt"]

CALLS: Final = frozenset({"call", "dispatch"})
"""Kinds whose effect runs code."""


PARKED: Final = frozenset({"code_changed", "in_doubt", "poison", "damaged"})
"""Failures of the runtime's making, which somebody must look at before anything runs again."""

REST_MS: Final = 1_000
"""A sleep that long is one."""


DEADLINE: Final = "~timeout"
"""What the timer of a whole instance is called among those of its ops."""
_VOIDING: Final = frozenset({Reopened, OpSkipped})
"""What lets a failed instance go on, and says which failures that takes back."""
QUEUED: Final = 1 << 52
"""When an instance that is queued would begin by itself: its turn comes first."""


class OpState(Struct, gc=False, omit_defaults=True):
    """An open op. `epoch` is that of the process that started the attempt; `failed` counts
    attempts against the retry policy, `lost` those a dying process took along."""

    request: Request
    status: OpStatus
    attempt: int = 1
    failed: int = 0
    lost: int = 0
    due: int | None = None
    epoch: int = 0
    since: int = 0
    error: Failure | None = None
    resumed: bool = False
    """It had failed for good, and a person has let it go on."""


class Progress(Struct, omit_defaults=True):
    """Everything about an instance that its entries say."""

    id: str = ""
    workflow: str = ""
    kind: str = "steps"
    version: int = 0
    code: str = ""
    namespace: str = ""
    key: str | None = None
    parent: tuple[str, str, int] | None = None
    hops: int = 0
    gen: int = 1
    begun: bool = False
    starts: int | None = None
    """When it begins, if its start was delayed."""
    created: int = 0
    at: int = 0
    iseq: int = 0
    input: Json = None
    event: Json = None
    state: dict[str, Json] = {}
    frames: dict[str, dict[str, Json]] = {}
    """What a plan remembers of the scopes it is in: the names of each lane, how many lanes are left,
    what is to be taken back."""
    ops: dict[str, OpState] = {}
    attempts: dict[str, int] = {}
    """The last attempt of each closed key that may come again: numbers only rise."""
    paused: bool = False
    pause_reason: str | None = None
    failure: Failure | None = None
    causes: tuple[str, ...] = ()
    view: dict[str, Json] | None = None
    held: list[Entry] = []
    """Causes that are recorded but not applied."""
    cancelling: bool = False
    cancel_reason: str | None = None
    over: bool = False
    end: Literal["completed", "cancelled"] | None = None
    outcome: str | None = None
    undone: Failure | None = None
    """The failure whose consequences were taken back before the end."""
    result: Json = None
    handlers: int = 0
    seen: int = 0
    taken: set[int] = set()
    last: str | None = None
    """Key of the plan's op that ended last."""
    test: bool = False
    pauses: bool = False
    tells: bool = False
    forked: tuple[str, int] | None = None
    timeout: int | None = None
    deadline: int | None = None
    """When its time is up: while it runs, is not parked and is not being cancelled."""
    forked_at: int = 0
    recorded: dict[str, list[CallRecorded]] = {}
    """Calls that ops have made to somebody outside, until they are done."""

    @property
    def parked(self) -> bool:
        """Nothing new is asked for: outcomes are recorded and held."""
        return self.paused or self.failure is not None

    @property
    def ended(self) -> bool:
        return self.end is not None


def status_of(p: Progress) -> str:
    """The one word of features 1.2."""
    if p.end is not None:
        return p.end
    if p.failure is not None:
        return "paused" if p.pauses and p.failure.kind not in PARKED else "failed"
    if not p.begun:
        return "paused" if p.paused else "pending"
    busy = ("started",) if p.paused else ("started", "ready")
    for op in p.ops.values():
        if op.status in busy and op.request.kind in CALLS:
            return "running"
    if p.paused:
        return "paused"
    return "waiting" if p.ops else "running"


def called(p: Progress) -> str:
    """What people call an instance."""
    return f"{p.workflow}/{p.key}" if p.key else f"{p.workflow} {p.id}"


def fold(entries: list[Entry], epochs: list[int], progress: Progress | None = None) -> Progress:
    """Evolves through stored entries; `epochs` are those of their rows."""
    p = progress or Progress()
    for entry, epoch in zip(entries, epochs, strict=True):
        evolve(p, entry, epoch)
    return p


def evolve(p: Progress, entry: Entry, epoch: int) -> None:
    """Folds one entry into the progress."""
    p.iseq += 1
    p.at = max(p.at, entry.at)
    dead = type(entry.end) is Died
    match entry:
        case OpCompleted():
            _outcome(p, entry, entry.held or dead)
        case OpFailed():
            _outcome(p, entry, entry.held or dead)
        case AttemptFailed():
            op = p.ops[entry.key]
            op.status, op.due, op.error = "retry", entry.due, entry.error
            op.failed += 1
            op.since = entry.at
            _call_again(p, entry.key)
        case AttemptStarted():
            op = p.ops[entry.key]
            op.status, op.attempt, op.due = "started", entry.attempt, None
            op.epoch, op.since = epoch, entry.at
        case AttemptsLost():
            for key in entry.keys:
                op = p.ops[key]
                op.attempt += 1
                if key not in entry.spared:
                    op.lost = op.lost + 1 if entry.counted else 0
                op.epoch, op.since = epoch, entry.at
                op.status = "ready" if p.parked or dead else "started"
        case OpInDoubt():
            p.ops[entry.key].status = "doubt"
        case TimerFired():
            if dead:
                _hold(p, entry)
            else:
                p.hops = hops_after(p, entry)
                _close(p, entry.key)
                if entry.key == DEADLINE:
                    p.deadline = None
        case EventReceived():
            if dead:
                _hold(p, entry)
            else:
                _received(p, entry)
        case Answered():
            if entry.held or dead:
                _hold(p, entry)
                _close(p, entry.key)
            else:
                _close(p, entry.key)
        case OpSkipped():
            _skipped(p, entry, epoch, dead)
        case Paused():
            p.paused, p.pause_reason, p.deadline = True, entry.reason, None
        case Resumed():
            p.paused, p.pause_reason = False, None
            _unpark(p, entry, epoch, dead)
        case Reopened():
            if not dead:
                _go_on(p, entry.void, entry.at, epoch)
        case CancelRequested():
            _cancelled(p, entry, dead)
        case Started():
            _started(p, entry, dead)
        case Begun():
            p.begun = True
            _whole_time(p, entry.at)
            if dead:
                _hold(p, entry)
        case CallRecorded():
            p.recorded.setdefault(entry.key, []).append(entry)
        case StateEdited():
            _edited(p, entry)
        case Migrated():
            p.version, p.code = entry.version, entry.code
        case Parked() | ChildRefused():
            pass
        case _:
            assert_never(entry)
    if not dead:
        _effects(p, entry, epoch)
    if entry.end is not None:
        _ended(p, entry.end)


def _outcome(p: Progress, entry: OpCompleted | OpFailed, held: bool) -> None:
    if held:
        _hold(p, entry)
    else:
        p.last = entry.key
    if p.recorded and type(entry) is OpFailed:
        _call_again(p, entry.key)
    _close(p, entry.key, keep_attempt=type(entry) is OpFailed)


def _call_again(p: Progress, key: str) -> None:
    """The calls an attempt has failed by are made again by the next."""
    recorded = p.recorded.get(key, [])
    while recorded and recorded[-1].error is not None:
        recorded.pop()


def _hold(p: Progress, entry: Entry) -> None:
    p.held.append(entry)


def _close(p: Progress, key: str, keep_attempt: bool = False) -> None:
    op = p.ops.pop(key, None)
    if p.recorded and not keep_attempt:
        p.recorded.pop(key, None)
    if op is not None and keep_attempt:
        p.attempts[key] = op.attempt


def _received(p: Progress, entry: EventReceived) -> None:
    p.hops = hops_of(entry.event)
    if entry.branch is not None:
        p.handlers += 1
        p.seen = max(p.seen, entry.iq)
    if entry.takes is not None:
        p.taken.add(entry.iq)
        _close(p, entry.takes)


def hops_after(p: Progress, entry: TimerFired) -> int:
    """A sleep ends a chain of events: what goes on once a day is no loop. One that is hardly a
    sleep does not, or a wait of nothing would make a loop that is never stopped."""
    op = p.ops.get(entry.key)
    return 0 if op is not None and entry.at - op.since >= REST_MS else p.hops


def hops_of(event: Json) -> int:
    """How many emitted events led to this one; a posted event starts anew."""
    hops = event.get("hops", 0)
    return max(hops, 0) if isinstance(hops, int) and not isinstance(hops, bool) else 0


def _skipped(p: Progress, entry: OpSkipped, epoch: int, dead: bool) -> None:
    if entry.resumes and not dead:
        _go_on(p, entry.void, entry.at, epoch)
    elif not dead:
        _drop_held(p, entry.void)
        p.causes = tuple(key for key in p.causes if key != entry.key)
    if entry.held or dead:
        _hold(p, entry)
    _close(p, entry.key)
    if not entry.held and not dead:
        p.last = entry.key


def is_taken_back(cause: Entry, void: Container[str]) -> bool:
    """Whether a held cause is one of those that a resume takes back: a failure, or the end of a
    `timeout` nobody caught."""
    return isinstance(cause, OpFailed | TimerFired) and cause.key in void


def can_be_taken_back(p: Progress, key: str) -> bool:
    """Whether what an op did can be taken back: it has failed, and its attempt is remembered; or it
    is a timer whose end killed the turn."""
    if key in p.ops:
        return any(isinstance(held, TimerFired) and held.key == key for held in p.held)
    return key in p.attempts


def _drop_held(p: Progress, void: tuple[str, ...]) -> None:
    p.held = [held for held in p.held if not is_taken_back(held, void)]


def _unpark(p: Progress, entry: Resumed, epoch: int, dead: bool) -> None:
    if dead:
        return
    _apply_held(p)
    _start_ready(p, entry.at, epoch)
    _whole_time(p, entry.at)


def _whole_time(p: Progress, at: int) -> None:
    """The instance has all of its time from here on: it begins, or somebody lets it go on."""
    if p.timeout is not None and p.begun and not p.cancelling:
        p.deadline = max(at, p.forked_at) + p.timeout


def _apply_held(p: Progress) -> None:
    """The held causes are applied in this turn; what they close was closed when recorded."""
    for held in p.held:
        match held:
            case OpCompleted() | OpFailed() | OpSkipped() | Answered():
                p.last = held.key
            case TimerFired():
                _close(p, held.key)
            case EventReceived():
                _received(p, held)
            case CancelRequested():
                p.cancelling, p.cancel_reason = True, held.reason
            case _:
                pass
    p.held.clear()


def _start_ready(p: Progress, at: int, epoch: int) -> None:
    for op in p.ops.values():
        if op.status == "ready":
            op.status, op.epoch, op.since = "started", epoch, at


def _go_on(p: Progress, void: tuple[str, ...], at: int, epoch: int) -> None:
    """A failed instance goes on, paused or not: the failures of `void` are taken back, what else
    is held has been applied."""
    _drop_held(p, void)
    p.failure, p.causes, p.view = None, (), None
    p.paused, p.pause_reason = False, None
    _apply_held(p)
    for op in p.ops.values():
        op.lost = 0  # a person has looked: three more tries
    _start_ready(p, at, epoch)
    _whole_time(p, at)


def _cancelled(p: Progress, entry: CancelRequested, dead: bool) -> None:
    if not entry.drained:
        p.held.clear()
    if dead:
        _hold(p, entry)
    else:
        _apply_held(p)
    p.paused, p.pause_reason = False, None
    p.failure, p.causes, p.view = None, (), None
    p.cancelling, p.cancel_reason, p.deadline = True, entry.reason, None


def _started(p: Progress, entry: Started, dead: bool) -> None:
    if entry.gen > 1:
        carried = {key: op for key, op in p.ops.items() if op.request.kind == "dispatch"}
        p.gen, p.input, p.over = entry.gen, entry.input, False
        p.ops, p.state, p.last = carried, {}, None
        p.attempts.clear()  # the keys of a generation are its own
        if entry.state is not None:
            p.state = dict(entry.state)
        if not p.id:  # loaded from this generation on: those before it are not read again
            _identify(p, entry)
    else:
        _identify(p, entry)
        p.input = entry.input
        if entry.state is not None:
            p.state = dict(entry.state)
        elif isinstance(entry.input, dict):
            p.state = dict(entry.input)
    p.begun, p.starts, p.timeout = not entry.pending, entry.starts, entry.timeout
    p.forked_at = entry.forked_at or 0
    if entry.gen > 1:
        p.deadline = entry.deadline
    else:
        _whole_time(p, entry.at)
    if dead:
        _hold(p, entry)


def _edited(p: Progress, entry: StateEdited) -> None:
    """What a dead turn would have left is not shown over what somebody wrote."""
    if p.view and entry.delta is not None:
        touched = {*entry.delta.set, *entry.delta.drop}
        p.view = {name: value for name, value in p.view.items() if name not in touched} or None


def _identify(p: Progress, entry: Started) -> None:
    p.id, p.workflow, p.version, p.code = entry.id, entry.workflow, entry.version, entry.code
    p.namespace, p.key, p.parent, p.hops = entry.namespace, entry.key, entry.parent, entry.hops
    p.created, p.event, p.test = entry.at, entry.event, entry.test
    p.forked, p.kind = entry.forked, entry.kind
    p.pauses, p.tells = entry.pauses, entry.tells


def _effects(p: Progress, entry: Entry, epoch: int) -> None:
    for key in entry.closes:
        _close(p, key, keep_attempt=True)
    void = entry.void if type(entry) in _VOIDING else ()  # type: ignore[union-attr]
    for request in entry.requests:
        if request.gone:
            p.ops.pop(request.key, None)
            p.attempts[request.key] = request.attempt
            continue
        kind = request.kind
        if kind == "emit" or (kind == "child" and is_detached(request)):
            continue
        previous = p.ops.get(request.key)
        p.ops[request.key] = OpState(
            request,
            "started" if kind in CALLS else "open",
            request.attempt,
            due=request.due,
            epoch=epoch,
            since=entry.at,
            lost=previous.lost if previous else 0,
            resumed=request.key in void,
        )
        if p.attempts:
            p.attempts.pop(request.key, None)
    if entry.skips:
        p.last = entry.skips[-1] if not entry.requests else p.last
    if entry.delta is not None:
        apply_delta(p.state, entry.delta)
    if entry.frames:
        for name, delta in entry.frames.items():
            if delta is None:
                p.frames.pop(name, None)
            else:
                apply_delta(p.frames.setdefault(name, {}), delta)
    if entry.over:
        p.over = True


def apply_delta(state: dict[str, Json], delta: Delta) -> None:
    state.update(delta.set)
    for name in delta.drop:
        state.pop(name, None)


def _ended(p: Progress, end: Any) -> None:
    match end:
        case Completed():
            p.end, p.outcome, p.result = "completed", end.outcome, end.result
            _forget(p)
        case Cancelled():
            p.end, p.outcome, p.undone = "cancelled", end.note, end.error
            _forget(p)
        case Continued():
            pass
        case Died():
            p.failure, p.causes, p.view = end.error, end.causes, end.view
            p.deadline = None


def _forget(p: Progress) -> None:
    """Only un-awaited dispatches outlive the end."""
    p.ops = {key: op for key, op in p.ops.items() if op.request.kind == "dispatch"}
    p.failure, p.causes, p.view, p.paused = None, (), None, False
    p.held.clear()
    p.taken.clear()
    p.frames.clear()
    p.cancelling, p.deadline = False, None


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Progress] = msgspec.json.Decoder(Progress)


def encode_progress(progress: Progress) -> bytes:
    """A snapshot's payload."""
    return _encoder.encode(progress)


def decode_progress(payload: bytes) -> Progress:
    return _decoder.decode(payload)
