"""The instance actor: a kernel, a mailbox, and what it has running.

One *turn* in this order and nowhere else: take up to 64 messages, decide each on top of the one
before, one append; once that is durable, answer the callers and perform what has become owed.
There is no task to an instance: a turn is a plain call, made when there is something in the
mailbox, so a waiting instance costs nothing and a step that ends at once costs no switch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from greenroom.actors.children import child_id, outlives
from greenroom.actors.decide import Kernel
from greenroom.actors.effects import ArmTimer, RunCall, effect_of, pending, touched, touches_all
from greenroom.actors.entries import (
    Entry,
    EventReceived,
    Failure,
    OpCompleted,
    Request,
    encode_entry,
)
from greenroom.actors.messages import (
    Begin,
    Cancel,
    Due,
    Message,
    Offer,
    Outcome,
    Pause,
    Recover,
    decode_message,
)
from greenroom.actors.ports import (
    Append,
    Appended,
    Create,
    InboxItem,
    Keep,
    ResourceSave,
    WaitRow,
)
from greenroom.actors.ports import Request as RequestId
from greenroom.actors.progress import CALLS, DEADLINE
from greenroom.actors.rows import AppendBuilder, attributes_now, status_change
from greenroom.definitions.errors import Busy, GreenroomError, Rejected, StaleAppend
from greenroom.definitions.eventclasses import names_of
from greenroom.definitions.events import Event

TURN_MESSAGES_MAX: Final = 64
MAILBOX_MAX: Final = 256

Reply = Callable[[Any], None]
"""Called once with the instance's entries (a list, durable) or with the exception."""

_STEERING: Final = frozenset({Pause, Cancel})

Ended = tuple[Outcome, Sequence[Any]]
"""An outcome, and the statements and resources that are to be applied with it."""

_event_decoder = msgspec.json.Decoder(Event)


class Host(Protocol):
    """What an instance needs of the place it runs in."""

    epoch: int
    counts_losses: bool
    """The last process ended without a good-bye: what it ran may be what killed it."""
    alone: str | None
    """The attempt that was last run alone, see `Recover`."""

    def now(self) -> int: ...

    def submit(self, work: Any, done: Callable[[Any], None]) -> None: ...

    def ready(self, instance: Instance) -> None:
        """Have `turn()` called soon."""
        ...

    def run(self, instance: Instance, key: str, attempt: int) -> None: ...

    def abort(self, instance: Instance, key: str) -> None: ...

    def arm(self, instance: Instance, key: str, due: int) -> None: ...

    def make_child(self, parent: Instance, request: Request) -> Create | None:
        """The work that creates a child; None when it cannot be (the parent is told)."""
        ...

    def stored(self, instance: Instance, append: Append, result: Appended) -> None:
        """The append is durable: tell watchers, wake children, route what was emitted."""
        ...

    def lost(self, instance: Instance, error: Exception, outcomes: list[Ended]) -> None:
        """The append was not stored: the instance must be loaded anew, and told the outcomes."""
        ...

    def crashed(self, instance: Instance, error: Exception, outcomes: list[Ended]) -> None:
        """A turn raised what it should not: the instance must be loaded anew, as above."""
        ...

    def idle(self, instance: Instance) -> None: ...


class Envelope(msgspec.Struct):
    message: Message
    reply: Reply | None = None
    request: Callable[[Instance], RequestId] | None = None
    """Makes the record of an idempotent verb, once it is decided."""
    iq: int | None = None
    """The inbox item the message came from; used up with the turn."""
    statements: Sequence[Any] = ()
    """What a step wants applied with its result: statements of a transactional one, and the
    resources it returned (`ResourceSave`)."""


class Instance:
    """One loaded instance."""

    __slots__ = (
        "attributes", "barred", "change", "children", "dead", "host", "id", "inbox", "kernel", "late",
        "mailbox", "n", "names", "offered", "queued", "rowed", "running", "since", "stands", "start_pos",
        "unstored",
    )  # fmt: skip

    def __init__(self, host: Host, n: int, id: str, kernel: Kernel) -> None:
        self.host = host
        self.n = n
        self.id = id
        self.kernel = kernel
        self.mailbox: deque[Envelope] = deque()
        self.inbox: dict[int, InboxItem] = {}
        """Open items by number, in order: events not taken yet."""
        self.offered: set[int] = set()
        """Items that wait in the mailbox."""
        self.names: dict[int, list[str]] = {}
        """What the events among the open items are called, once they were offered."""
        self.running: dict[str, int] = {}
        """Attempts of calls that run now, by op."""
        self.rowed: set[str] = set()
        self.children: dict[str, str] = {}
        self.queued = False
        self.barred = False
        """A result that may still be refused is on its way: nothing is decided on top of it."""
        self.unstored = 0
        self.late: list[Envelope] = []
        """Results that came too late, as decided on top of turns that are not stored yet."""
        self.dead = False
        self.since = 0.0
        self.start_pos: int | None = None
        self.change: Any = None
        self.attributes: dict[str, Any] = {}
        """Search attributes, as far as they do not follow its state."""
        self.stands: dict[str, Any] | None = None
        """Those it has now, where some follow its state."""
        self._index()

    def _index(self) -> None:
        """What the rows of the store are, from the progress."""
        p = self.kernel.progress
        for key, op in p.ops.items():
            if op.due is not None or op.request.kind in ("wait", "ask", "sleep"):
                self.rowed.add(key)
            if op.request.kind == "child" and not outlives(op.request):
                self.children[key] = child_id(p.id, key, op.attempt)

    # -- the mailbox ---------------------------------------------------------------------------

    def tell(
        self,
        message: Message,
        reply: Reply | None = None,
        request: Callable[[Instance], RequestId] | None = None,
        iq: int | None = None,
        statements: Sequence[Any] = (),
    ) -> None:
        """Puts a message into the mailbox. Requests of callers are refused with `Busy` when it is
        full; results and timers are bounded by what is open and always fit."""
        if reply is not None and len(self.mailbox) >= MAILBOX_MAX:
            reply(Busy(f"the mailbox of {self.id} is full ({MAILBOX_MAX})"))
            return
        self.mailbox.append(Envelope(message, reply, request, iq, statements))
        if not self.queued:
            self.queued = True
            self.host.ready(self)

    def tell_first(self, message: Message) -> None:
        """Puts a message in front of all others."""
        self.tell(message)
        self.mailbox.rotate(1)

    def dismiss(self, error: Exception) -> None:
        """The instance leaves memory: whoever still waits for an answer gets the error."""
        waiting = [e.reply for e in self.mailbox if e.reply is not None]
        self.mailbox.clear()
        for reply in waiting:
            reply(error)

    def after(self, then: Reply) -> None:
        """Calls `then` once everything told before is decided and durable."""
        self.tell(Recover(), then)

    def give(self, items: list[InboxItem]) -> None:
        """Takes items from the durable inbox: events are offered, the rest are messages."""
        for item in items:
            if item.iq in self.inbox:
                continue
            if item.kind == "event":
                self.inbox[item.iq] = item
                self._offer(item)
            else:
                self.tell(decode_message(item.payload), iq=item.iq)

    def _offer(self, item: InboxItem) -> None:
        if item.iq not in self.offered:
            self.offered.add(item.iq)
            event = _event_decoder.decode(item.payload).as_data()
            self.names[item.iq] = names_of(event)
            self.tell(Offer(item.iq, item.at, event, item.pos))

    def offer_again(self, opened: Iterable[WaitRow]) -> None:
        """Waits have opened: of the items kept those with their names are offered anew, and those
        that no handler has been offered yet. What nobody wants may lie there for ever."""
        wanted = {wait.type for wait in opened}
        unseen = self.kernel.unseen
        for item in list(self.inbox.values()):
            if item.iq >= unseen or not wanted.isdisjoint(self.names.get(item.iq, wanted)):
                self._offer(item)

    def catch_up(self) -> None:
        """K19: the instance goes on after a while. What came meanwhile is taken in the order of
        time, events and timers alike; an event accepted by a due time comes before it.

        A wait is over only when the store has been asked for events up to its due time (K32): that
        is left to the timer.
        """
        now = self.host.now()
        p = self.kernel.progress
        over = sorted(
            (op.due, place, key)
            for place, (key, op) in enumerate(p.ops.items())
            if op.due is not None and op.due <= now and op.request.kind != "wait"
            and type(effect_of(p, op)) is ArmTimer
        )  # fmt: skip
        for item in sorted(self.inbox.values(), key=lambda item: (item.at, item.iq)):
            while over and over[0][0] < item.at:
                due, _, key = over.pop(0)
                self.tell(Due(key, due))
            self._offer(item)

    def recover(self) -> None:
        """The first message after loading: what an older process was running is lost; the rest is
        owed anew."""
        if any(
            op.status == "started" and op.epoch < self.host.epoch
            for op in self.kernel.progress.ops.values()
        ):
            self.tell(Recover(self.host.counts_losses, self.host.alone))
        self.perform_all()

    # -- a turn --------------------------------------------------------------------------------

    def turn(self) -> None:
        """Up to 64 messages, one append."""
        self.queued = False
        if self.dead or self.barred:
            return
        batch = Batch(self)
        try:
            self._take_some(batch)
            self._commit(batch)
        except Exception as error:  # a fault of ours, or of code we did not expect
            rescued = _outcomes_of([*batch.outcomes, *self.late, *self.mailbox])
            self.host.crashed(self, error, rescued)
            batch.answer(error)

    def _take_some(self, batch: Batch) -> None:
        now = self.host.now()
        mailbox = self.mailbox
        for _ in range(min(TURN_MESSAGES_MAX, len(mailbox))):
            first = mailbox[0]
            if first.request is not None and batch.append.request is not None:
                break
            if first.statements and batch.append.rows:
                break
            self._take(mailbox.popleft(), now, batch)
            if batch.append.ended or self.barred:
                break
        if mailbox:
            self.queued = True
            self.host.ready(self)

    def _take(self, envelope: Envelope, now: int, batch: Batch) -> None:
        kernel, message = self.kernel, envelope.message
        if type(message) is Offer:
            self.offered.discard(message.iq)
        elif type(message) is Outcome:
            batch.outcomes.append(envelope)
            if self.running.get(message.key) == message.attempt:
                del self.running[message.key]
        try:
            entries = kernel.decide(message, now)
        except Rejected as refused:
            if envelope.reply is not None:
                batch.replies.append((envelope.reply, refused))
            entries = []
        except Exception as error:
            if envelope.reply is not None:
                batch.replies.append((envelope.reply, error))
            raise
        else:
            if envelope.request is not None:
                batch.append.request = envelope.request(self)
            if envelope.reply is not None:
                batch.replies.append((envelope.reply, entries))
        if envelope.statements and entries and type(entries[0]) is OpCompleted:
            extras = envelope.statements
            batch.append.resources = [one for one in extras if type(one) is ResourceSave]
            batch.append.statements = [one for one in extras if type(one) is not ResourceSave]
            self.barred = batch.may_be_refused = True
        if type(message) in _STEERING:
            batch.append.urgent = True  # steering works on a full disk too
        if envelope.iq is not None:
            batch.append.taken = [*batch.append.taken, envelope.iq]
        for entry in entries:
            batch.add(entry)
        if type(message) is Offer:
            self._offered(message, entries, batch)
        elif type(message) is Due and not entries:
            self._due_again(message, now)

    def _offered(self, message: Offer, entries: list[Entry], batch: Batch) -> None:
        item = self.inbox.get(message.iq)
        if item is None:
            return
        if any(isinstance(entry, EventReceived) and entry.takes is not None for entry in entries):
            if self.kernel.progress.failure is None:
                del self.inbox[message.iq]
                self.names.pop(message.iq, None)
        elif item.state == "new":
            self.inbox[message.iq] = msgspec.structs.replace(item, state="kept")
            batch.kept.append(message.iq)

    def _due_again(self, message: Due, now: int) -> None:
        """The clock was set back between the timer and its turn."""
        p = self.kernel.progress
        op = p.ops.get(message.key)
        due = op.due if op is not None else p.deadline if message.key == DEADLINE else None
        if due == message.due and now < message.due:
            self.host.arm(self, message.key, message.due)

    def make_child(self, request: Request) -> Create | None:
        return self.host.make_child(self, request)

    def _commit(self, batch: Batch) -> None:
        host, append = self.host, batch.append
        if batch.kept:
            host.submit(Keep(self.n, batch.kept), _ignore)
        if not append.rows and not append.taken and append.request is None:
            if self.unstored == 0:
                batch.answer(None)
                self._settle()
                return
            self.late += batch.outcomes  # should those turns be lost, they are not too late
            if batch.replies:  # what they were answered from is not durable yet
                host.submit(Keep(self.n, ()), batch.unless_lost)
            return
        if append.rows and not self._still_running():
            change = status_change(self.kernel.progress)
            stands = attributes_now(self.kernel.definition, self.kernel.progress, self.attributes)
            if stands != self.stands:
                self.stands, self.change = stands, change
                append.change = msgspec.structs.replace(change, attributes=stands)
            elif change != self.change:
                self.change = append.change = change
        self.unstored += 1
        host.submit(append, batch.stored)

    def _still_running(self) -> bool:
        """The hot path of a line of steps: nothing that a list shows has changed."""
        p = self.kernel.progress
        if self.change is None or self.change.status != "running" or len(p.ops) != 1:
            return False
        if self.stands is not None:
            return False
        if p.failure is not None or p.paused or p.end is not None:
            return False
        (op,) = p.ops.values()
        return op.status == "started" and op.request.kind == "call"

    # -- after the commit ----------------------------------------------------------------------

    def _stored(self, batch: Batch, result: Any) -> None:
        self.unstored -= 1
        if batch.may_be_refused:
            self._unbar()
        if isinstance(result, Exception):
            self._not_stored(batch, result)
            return
        if self.unstored == 0:
            self.late.clear()
        if batch.replies:
            batch.answer(result)
        self.host.stored(self, batch.append, result)
        if self.dead:
            return
        if batch.everything:
            self.catch_up()
            self.perform_all()
        elif batch.effects:
            self._perform(batch.effects)
        if result.found:
            self.give(result.found)
        if batch.append.opened and self.inbox:
            self.offer_again(batch.append.opened)
        self._settle()

    def _not_stored(self, batch: Batch, error: Exception) -> None:
        """Dead or not: results of steps must not be lost."""
        if isinstance(error, StaleAppend):
            error = Busy("a write before this one could not be stored; try again")
        outcomes = _outcomes_of(batch.outcomes)
        if batch.may_be_refused and isinstance(error, Rejected):
            outcomes = [(_refused(outcome, error), ()) for outcome, _ in outcomes]
        left = [*self.late, *self.mailbox]
        self.late.clear()
        self.host.lost(self, error, [*outcomes, *_outcomes_of(left)])
        batch.answer(error)

    def _unbar(self) -> None:
        self.barred = False
        if self.mailbox and not self.queued:
            self.queued = True
            self.host.ready(self)

    def _perform(self, keys: list[str]) -> None:
        p = self.kernel.progress
        ops, running = p.ops, self.running
        for key in keys:
            op = ops.get(key)
            if op is None:
                if key in running:
                    self._abort(key)
                elif key == DEADLINE and p.deadline is not None:
                    self.host.arm(self, key, p.deadline)
                continue
            effect = effect_of(p, op)
            if type(effect) is RunCall:
                if running.get(key) != effect.attempt:
                    running[key] = effect.attempt
                    self.host.run(self, key, effect.attempt)
            elif type(effect) is ArmTimer:
                self.host.arm(self, key, effect.due)

    def perform_all(self) -> None:
        """Everything that is owed and does not run yet; what runs and is not owed is aborted."""
        p = self.kernel.progress
        for key in [key for key in self.running if key not in p.ops]:
            self._abort(key)
        epoch = self.host.epoch
        owed = [
            effect.key
            for effect in pending(p)
            if type(effect) is ArmTimer or p.ops[effect.key].epoch == epoch
        ]
        self._perform(owed)
        if not (p.begun or p.parked or p.ended):
            if p.starts is not None:
                self.host.arm(self, "", p.starts)
            else:
                self.tell(Begin())

    def _abort(self, key: str) -> None:
        self.running.pop(key, None)
        self.host.abort(self, key)

    def finished(self, outcome: Outcome, statements: Sequence[Any] = ()) -> None:
        """A call has ended: its outcome is a message, fenced by op and attempt. Until that is
        decided the attempt counts as running, else it would be owed, and run again."""
        if not self.dead:
            self.tell(outcome, statements=statements)

    def _settle(self) -> None:
        if not self.mailbox and not self.running and self.unstored == 0 and not self.dead:
            self.host.idle(self)

    @property
    def is_idle(self) -> bool:
        return not (self.mailbox or self.running or self.unstored or self.queued)

    def calls_open(self) -> bool:
        """Whether calls are still on their way (a pause waits for them)."""
        return any(
            op.status == "started" and op.request.kind in CALLS
            for op in self.kernel.progress.ops.values()
        )


class Batch:
    """One turn's harvest: the append, whom to answer, which effects to look at."""

    __slots__ = (
        "append", "builder", "effects", "everything", "instance", "kept", "kernel", "may_be_refused",
        "outcomes", "replies",
    )  # fmt: skip

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.kernel = kernel = instance.kernel
        self.append = Append(n=instance.n, iseq=kernel.progress.iseq + 1, rows=[])
        self.builder = AppendBuilder(
            self.append,
            kernel.progress,
            instance.rowed,
            instance.children,
            instance.make_child,
            instance.start_pos,
        )
        self.replies: list[tuple[Reply, Any]] = []
        self.effects: list[str] = []
        self.everything = False
        self.kept: list[int] = []
        self.outcomes: list[Envelope] = []
        """Results of this process that would be lost with the append."""
        self.may_be_refused = False
        """The store may say no to what a step wants applied with its result."""

    def add(self, entry: Entry) -> None:
        row = encode_entry(entry)
        self.kernel.remember(entry, row.payload)
        self.append.rows.append(row)
        self.builder.add(entry)
        if touches_all(entry):
            self.everything = True
        else:
            self.effects.extend(touched(entry))
        p = self.kernel.progress
        ended = p.end is not None
        if ended:  # a dispatch that nobody waits for may go on and need its timer
            self.append.ended = not p.ops
        if entry.end is not None:
            if ended:
                self.builder.outcome_to_parent()
            elif p.tells:
                self.builder.failure_to_parent()

    def stored(self, result: Any) -> None:
        self.instance._stored(self, result)

    def answer(self, result: Any) -> None:
        """Answers the callers: with the refusal or entries decided, or with why nothing is stored."""
        failed = isinstance(result, Exception)
        for reply, answer in self.replies:
            reply(result if failed and not isinstance(answer, GreenroomError) else answer)

    def unless_lost(self, result: Any) -> None:
        """Answers of a turn that wrote nothing, once what it was decided on has been stored."""
        if self.instance.dead and not isinstance(result, Exception):
            result = Busy("a write before this one could not be stored; try again")
        self.answer(result)


def _outcomes_of(envelopes: Iterable[Envelope]) -> list[Ended]:
    return [(e.message, e.statements) for e in envelopes if isinstance(e.message, Outcome)]


def _refused(outcome: Outcome, error: Rejected) -> Outcome:
    """The outcome of a step whose statements or resources were refused: a failed attempt."""
    failure = Failure(
        type(error).__name__, error.message, details=dict(error.details), op=outcome.key
    )
    return Outcome(outcome.key, outcome.attempt, error=failure, kinds=(type(error).__name__,))


def _ignore(result: Any) -> None:
    """Nobody waits for this."""
