"""The body of an instance: its workflow at work, a plan or a program with its machine.

`Body` applies a cause and makes an entry of the turn. The machine of a program is a cache: after a
refusal or a dying turn (K20: it did not happen) it is dropped, and replayed from the entries when
it is needed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from greenroom.actors.entries import (
    Begun,
    CancelRequested,
    Continued,
    Died,
    Entry,
    EventReceived,
    Failure,
    OpCompleted,
    OpSkipped,
    Reopened,
    Started,
    TimerFired,
    decode_payload,
)
from greenroom.actors.machine import Machine
from greenroom.actors.planned import callback_around, merges, target_in, view_of
from greenroom.actors.progress import Progress, called, hops_after, hops_of, status_of
from greenroom.actors.replay import Changed, replay
from greenroom.actors.turns import Death, Turn
from greenroom.actors.walk import apply_to_plan
from greenroom.definitions.errors import CodeChanged, InvalidTransition
from greenroom.definitions.events import HOPS_MAX
from greenroom.definitions.tasks import task_called, task_target
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Plan

HISTORY_MAX: Final = 50_000
HISTORY_WARN: Final = 10_000


class Body:
    """One instance's progress and (for programs) machine."""

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


def _json(raw: bytes | None) -> Json:
    return None if raw is None else msgspec.json.decode(raw)


def _text(raw: bytes | None) -> str:
    return "absent" if raw is None else raw.decode()
