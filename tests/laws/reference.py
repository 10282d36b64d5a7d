"""A second kernel, as plain as it can be: for every cause the program is run again from the start.

It keeps the list of causes that count, turn by turn, and nothing of what they led to. It knows no
journal, no replay, no comparison of keys: only the rules. What it and the real kernel agree on is
checked after every message.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from greenroom.actors.children import child_id
from greenroom.definitions.errors import InvalidInput, StepFailed, Timeout
from greenroom.definitions.events import Event
from greenroom.definitions.ops import CURRENT, ContinueAsNew, Enter, Gather, Leave, Member, Op
from greenroom.definitions.values import Json, copy, encode_decode
from tests.laws.programs import Sample

LOST_MAX: Final = 3
CALLS: Final = ("call", "dispatch")


@dataclass(frozen=True)
class Cause:
    kind: str  # start ok fail fire event cancel
    key: str = ""
    value: Any = None
    error: str = ""
    branch: str | None = None
    iq: int = 0
    pos: int | None = None


class Dead(Exception):
    """The turn did not happen."""

    def __init__(self, type: str, blame: Iterable[str] = (), kind: str = "raised") -> None:
        super().__init__(type)
        self.type = type
        self.blame = set(blame)
        self.kind = kind


class Refused(Exception):
    """The model says no; `args[0]` names the error of the real kernel."""


@dataclass
class Asked:
    """A request, as far as it is compared."""

    key: str
    op: Op
    args: Json
    due: int | None
    since: int | None
    at: int
    own: int = 0

    @property
    def once(self) -> bool:
        return self.op.target is not None and self.op.target.mode == "at_most_once"

    @property
    def head(self) -> tuple[str, str, str]:
        return (self.key, self.op.kind, self.op.name)


class Unwind(BaseException):
    """Ends the coroutines of a run that is over."""


class Branch:
    def __init__(
        self, prefix: str, coro: Any, group: Group | None = None, slot: int = 0,
        handler: bool = False, since: int | None = None,
    ) -> None:  # fmt: skip
        self.prefix, self.coro, self.group, self.slot = prefix, coro, group, slot
        self.handler, self.since = handler, since
        self.count = self.draws = 0
        self.waits: str | Group | Member | None = None
        self.blame: set[str] = set()
        self.inside: list[Limit | Group] = []
        """The blocks it is in."""
        self.done = False


class Limit:
    """A timeout block on its way."""

    def __init__(self, branch: Branch, key: str) -> None:
        self.branch, self.key = branch, key
        self.fired = self.foreign = False
        """`foreign`: the branch was cancelled by somebody else too."""


class Group:
    """A gather, race or scope on its way."""

    def __init__(self, parent: Branch, mode: str, quiet: bool, size: int) -> None:
        self.parent, self.mode, self.quiet = parent, mode, quiet
        self.results: list[Any] = [None] * size
        self.errors: dict[int, BaseException] = {}
        self.blames: dict[int, set[str]] = {}
        self.live: dict[int, str | Branch] = {}
        self.winner: int | None = None
        self.cancelled = False
        self.over = False
        self.limit: int | None = None
        """The slot of the timer that ends a `within`."""
        self.base = ""
        self.block = self.left = self.foreign = False
        """It is a scope; its branch waits for it or has gone on; was cancelled by another."""
        self.error: BaseException | None = None
        self.error_blame: set[str] = set()
        self.members: list[Member] = []


class Run:
    """One execution from the start."""

    def __init__(self, sample: Sample, instance: str, gen: int) -> None:
        self.sample, self.instance, self.gen = sample, instance, gen
        self.base = f"{gen}/" if gen > 1 else ""
        self.subject: Any = None
        self.main: Branch | None = None
        self.handlers: list[Branch] = []
        self.open: dict[str, Asked] = {}
        self.who: dict[str, Branch | tuple[Group, int] | Limit] = {}
        self.loose: dict[str, Asked] = {}
        """Dispatches on their way."""
        self.ready: deque[tuple[Branch, Any, BaseException | None]] = deque()
        self.now = 0
        self.turns = 0
        self.over = self.cancelling = False
        self.result: Json = None
        self.again: tuple[Json] | None = None
        self.end: str | None = None
        self.asked: list[Asked] = []
        self.dropped: list[str] = []
        self.state: dict[str, Json] = {}
        self.coros: list[Any] = []

    def close(self) -> None:
        """Unwinds what is still on its way; nothing it does counts any more."""
        for coro in self.coros:
            for _ in range(100):
                try:
                    wanted = coro.throw(Unwind())
                except BaseException:
                    break
                for item in wanted.items if isinstance(wanted, Gather) else ():
                    if asyncio.iscoroutine(item):
                        item.close()

    fiber = None
    """Plain programs are played by their coroutine form."""

    def turn(self, causes: Iterable[Cause], at: int) -> None:
        token = CURRENT.set(self)
        try:
            self._turn(causes, at)
        finally:
            CURRENT.reset(token)

    def _turn(self, causes: Iterable[Cause], at: int) -> None:
        self.now = max(self.now, at)
        self.asked, self.dropped = [], []
        self.turns += 1
        for cause in causes:
            self._cause(cause)
        self._state()
        if self.over and not self.handlers:
            self.end = (
                "cancelled" if self.cancelling
                else "continued" if self.again is not None
                else "completed"
            )  # fmt: skip

    def _state(self) -> None:
        if self.subject is None:
            return
        state = {}
        for name, value in vars(self.subject).items():
            if not name.startswith("_"):
                try:
                    state[name] = encode_decode(value)[1]
                except InvalidInput:
                    raise Dead("InvalidInput", kind="not_json") from None
        self.state = state

    # -- causes --------------------------------------------------------------------------------

    def _cause(self, cause: Cause) -> None:
        match cause.kind:
            case "start":
                self._start(cause.value)
            case "ok":
                self._answer(cause.key, copy(cause.value), None)
            case "fire":
                self._answer(cause.key, None, None)
            case "fail":
                if cause.key in self.loose:
                    del self.loose[cause.key]
                    raise Dead(cause.error, {cause.key})
                error = StepFailed("it failed", type=cause.error, op=cause.key)
                self._answer(cause.key, None, error)
            case "event":
                self._event(cause)
            case "cancel":
                self.cancelling = True
                if self.main is None:  # its first turn never happened
                    self.over = True
                else:
                    self._cancel(self.main)
                for handler in list(self.handlers):
                    self._cancel(handler)
                for key in sorted(self.loose):
                    del self.loose[key]
                    self.dropped.append(key)
        self._run()

    def _start(self, input: Json) -> None:
        values = copy(input)
        if self.sample.cls is not None:
            self.subject = self.sample.cls()
            vars(self.subject).update(values)
            coro = self.sample.func(self.subject)
        else:
            coro = self.sample.func(values.get("n", 0))
        self.coros.append(coro)
        self.main = Branch(self.base, coro)
        self.ready.append((self.main, None, None))

    def _event(self, cause: Cause) -> None:
        event = Event(type=cause.value["type"], id=cause.value["id"], source="/t",
                      data=copy(cause.value["data"]))  # fmt: skip
        if cause.branch is not None:
            handler = Branch(
                f"{self.base}{cause.branch}.", self.subject.on_event(event), handler=True,
                since=cause.pos,
            )  # fmt: skip
            self.handlers.append(handler)
            self.coros.append(handler.coro)
            self.ready.append((handler, None, None))
            self._run()
        if cause.key:
            self._answer(cause.key, event, None)

    def _answer(self, key: str, value: Any, error: BaseException | None) -> None:
        self.loose.pop(key, None)
        if self.open.pop(key, None) is None:
            return
        who = self.who.pop(key)
        if isinstance(who, Branch):
            who.waits = None
            if error is not None:
                who.blame.add(key)
            self.ready.append((who, value, error))
        elif isinstance(who, Limit):
            who.fired = True
            self._cancel(who.branch, who)
        else:
            if who[1] == who[0].limit:
                error = Timeout(op=key)
            self._settle(*who, value, error, {key})

    # -- running -------------------------------------------------------------------------------

    def _run(self) -> None:
        while self.ready:
            self._step(*self.ready.popleft())

    def _step(self, branch: Branch, value: Any, error: BaseException | None) -> None:
        while True:
            try:
                wanted = branch.coro.throw(error) if error else branch.coro.send(value)
            except StopIteration as stop:
                self._ended(branch, stop.value, None)
                return
            except BaseException as raised:
                self._ended(branch, None, raised)
                return
            try:
                value, error = self._wanted(branch, wanted), None
            except InvalidInput as refused:
                value, error = None, refused
            if isinstance(value, BaseException):
                value, error = None, value
            if value is Run:  # suspended
                branch.blame = set()
                return

    def _wanted(self, branch: Branch, wanted: Any) -> Any:
        if isinstance(wanted, Gather):
            return self._group(branch, wanted)
        if isinstance(wanted, Enter):
            return self._enter(branch, wanted.block)
        if isinstance(wanted, Leave):
            return self._leave(branch, wanted.block.frame, wanted.error)
        if isinstance(wanted, Member):
            group = wanted.frame
            if wanted.index in group.live:
                branch.waits = wanted
                wanted.waiters.append(branch)
                return Run
            return self._joined(branch, wanted)
        op: Op = wanted
        if op.kind == "value":
            return self._drawn(branch, op.name)
        asked = self._asked(op, f"{branch.prefix}{branch.count + 1}", branch)
        branch.count += 1
        self.asked.append(asked)
        if op.kind == "emit":
            return None
        if op.kind == "dispatch":
            self.loose[asked.key] = asked
            return None
        if op.kind == "child" and op.args["detach"]:
            return child_id(self.instance, asked.key, 1)
        self.open[asked.key] = asked
        self.who[asked.key] = branch
        branch.waits = asked.key
        return Run

    def _asked(self, op: Op, key: str, branch: Branch) -> Asked:
        args = encode_decode(op.args)[1]
        due = None if op.due_s is None else self.now + round(op.due_s * 1000)
        since = None if op.since == "now" else branch.since or 0
        return Asked(key, op, args, due, since, self.now, branch.since or 0)

    def _drawn(self, branch: Branch, name: str) -> Any:
        if name == "now":
            return datetime.fromtimestamp(self.now / 1000, UTC)
        branch.draws += 1
        seed = f"{self.instance}/{branch.prefix}/{branch.draws}"
        digest = hashlib.blake2b(seed.encode(), digest_size=16).digest()
        if name == "random":
            return int.from_bytes(digest[:7], "big") / 2**56
        raw = bytearray(digest)
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _group(self, branch: Branch, gather: Gather) -> Any:
        base = f"{branch.prefix}{branch.count + 1}"
        group = Group(branch, gather.mode, gather.return_exceptions, len(gather.items))
        if gather.due_s is not None:
            group.limit = len(gather.items)
            group.results.append(None)
        direct: list[tuple[int, Asked]] = []
        coros: list[tuple[int, Any]] = []
        try:
            for slot, item in enumerate(gather.items):
                if _is_direct(item):
                    direct.append((slot, self._asked(item, f"{base}.{slot}", branch)))
                else:
                    coros.append((slot, item if asyncio.iscoroutine(item) else _await(item)))
            if group.limit is not None:
                op = Op("sleep", "timeout", due_s=gather.due_s)
                direct.append((group.limit, self._asked(op, f"{base}.{group.limit}", branch)))
        except InvalidInput:
            for _, coro in coros:
                coro.close()
            raise
        branch.count += 1
        if not gather.items:
            return []
        branch.waits = group
        for slot, asked in direct:
            self.asked.append(asked)
            self.open[asked.key] = asked
            self.who[asked.key] = (group, slot)
            group.live[slot] = asked.key
        for slot, coro in coros:
            member = Branch(f"{base}.{slot}.", coro, group, slot, since=branch.since)
            group.live[slot] = member
            self.coros.append(coro)
            self.ready.append((member, None, None))
        return Run

    # -- blocks --------------------------------------------------------------------------------

    def _enter(self, branch: Branch, block: Any) -> None:
        branch.count += 1
        key = f"{branch.prefix}{branch.count}"
        if block.due_s is None:
            made: Any = Group(branch, block.mode, False, 0)
            made.base, made.block = key, True
        else:
            made = Limit(branch, key)
            asked = self._asked(Op("sleep", "timeout", due_s=block.due_s), key, branch)
            self.asked.append(asked)
            self.open[key], self.who[key] = asked, made
        branch.inside.append(made)
        block.entered(made)

    def _leave(self, branch: Branch, block: Any, error: BaseException | None) -> Any:
        branch.inside.remove(block)
        if isinstance(block, Limit):
            if not block.fired:
                self._drop(block.key)
            elif not block.foreign and isinstance(error, asyncio.CancelledError):
                branch.blame.add(block.key)
                return Timeout(op=block.key)
            return None
        block.left = True
        branch.waits = block
        if error is not None:
            block.error, block.error_blame = error, set(branch.blame)
            if block.winner is None:
                block.winner = -1  # its members do not count any more
            self._give_up(block)
        if block.live or block.over:
            return Run
        block.over = True
        branch.waits = None
        return self._left_with(block)

    def _left_with(self, group: Group) -> BaseException | None:
        branch, error = group.parent, group.error
        if group.cancelled:
            return asyncio.CancelledError()
        failed = group.winner is not None and group.winner >= 0
        if error is not None and not (
            failed and not group.foreign and isinstance(error, asyncio.CancelledError)
        ):
            branch.blame |= group.error_blame
            return None
        slots = sorted(group.errors)
        if not slots:
            return None
        slot = group.winner if failed else slots[0]
        assert slot is not None
        for other in [slot] if group.mode == "cancel" else slots:
            branch.blame |= group.blames[other]
        return group.errors[slot]

    def begin_member(self, group: Group, item: Any) -> Member:
        slot = len(group.members)
        branch = group.parent
        direct = self._asked(item, f"{group.base}.{slot}", branch) if _is_direct(item) else None
        member = Member(self, group, slot)
        group.members.append(member)
        group.results.append(None)
        if direct is not None:
            self.asked.append(direct)
            self.open[direct.key] = direct
            self.who[direct.key] = (group, slot)
            group.live[slot] = direct.key
        else:
            coro = item if asyncio.iscoroutine(item) else _await(item)
            made = Branch(f"{group.base}.{slot}.", coro, group, slot, since=branch.since)
            group.live[slot] = made
            self.coros.append(coro)
            self.ready.append((made, None, None))
        return member

    def _joined(self, branch: Branch, member: Member) -> Any:
        group, slot = member.frame, member.index
        if slot in group.errors:
            branch.blame |= group.blames[slot]
            return group.errors[slot]
        return group.results[slot]

    def _ended(self, branch: Branch, value: Any, error: BaseException | None) -> None:
        branch.done = True
        if isinstance(error, ContinueAsNew):
            if branch is not self.main:
                raise Dead("ContinueAsNew")
            if self.turns == 1:
                raise Dead("ContinueAsNew", kind="runaway")
            self.again = (encode_decode(error.input)[1],)
            self.over = True
            return
        blame = set(branch.blame)
        if not blame and isinstance(error, StepFailed) and "op" in error.details:
            blame = {error.details["op"]}
        if branch.group is not None:
            self._settle(branch.group, branch.slot, value, error, blame)
        elif error is not None and not (
            self.cancelling and isinstance(error, asyncio.CancelledError)
        ):
            kind = error.type if isinstance(error, StepFailed) else type(error).__name__
            raise Dead(kind, blame)
        elif branch.handler:
            self.handlers.remove(branch)
        else:
            self.over = True
            if error is None:
                try:
                    self.result = encode_decode(value)[1]
                except InvalidInput:
                    raise Dead("InvalidInput", kind="not_json") from None

    # -- groups --------------------------------------------------------------------------------

    def _settle(
        self, group: Group, slot: int, value: Any, error: BaseException | None, blame: set[str]
    ) -> None:
        del group.live[slot]
        group.results[slot] = value
        if error is not None:
            group.errors[slot] = error
            group.blames[slot] = blame
        decided = group.mode == "race" or (
            group.mode == "cancel" and error is not None and not group.quiet
        )
        if decided and group.winner is None and not group.cancelled:
            group.winner = slot
            self._give_up(group)
            if group.block and not group.left:
                self._cancel(group.parent, group)
        if group.block:
            for waiter in group.members[slot].waiters:
                waiter.waits = None
                found = self._joined(waiter, group.members[slot])
                bad = found if isinstance(found, BaseException) else None
                self.ready.append((waiter, None if bad else found, bad))
            group.members[slot].waiters.clear()
        if not group.live and not group.over and (group.left or not group.block):
            group.over = True
            self._resume_parent(group)

    def _resume_parent(self, group: Group) -> None:
        parent = group.parent
        parent.waits = None
        if group.block:
            self.ready.append((parent, None, self._left_with(group)))
            return
        if group.cancelled:
            self.ready.append((parent, None, asyncio.CancelledError()))
            return
        result: Any = group.results
        slots = sorted(group.errors)
        if group.winner is not None:
            slots = [slot for slot in slots if slot == group.winner]
            if group.mode == "race":
                result = group.results[group.winner]
        error = group.errors[slots[0]] if slots else None
        if error is not None and group.quiet:
            for slot, found in group.errors.items():
                group.results[slot] = found
            error = None
        if error is not None:
            for slot in slots:
                parent.blame |= group.blames[slot]
        self.ready.append((parent, result if error is None else None, error))

    def _give_up(self, group: Group) -> None:
        for slot, member in list(group.live.items()):
            if isinstance(member, Branch):
                self._cancel(member)
            elif slot in group.live:
                self._drop(member)
                self._settle(group, slot, None, asyncio.CancelledError(), set())

    def _cancel(self, branch: Branch, by: Limit | Group | None = None) -> None:
        if branch.done:
            return
        place = branch.inside.index(by) + 1 if by is not None else 0
        for block in branch.inside[place:]:
            block.foreign = True
        if isinstance(branch.waits, Group):
            branch.waits.cancelled = True
            self._give_up(branch.waits)
        else:
            if isinstance(branch.waits, Member):
                branch.waits.waiters.remove(branch)
            elif branch.waits is not None:
                self._drop(branch.waits)
            branch.waits = None
            self.ready = deque(item for item in self.ready if item[0] is not branch)
            self._step(branch, None, asyncio.CancelledError())
        self._run()

    def _drop(self, key: str) -> None:
        del self.open[key], self.who[key]
        self.dropped.append(key)


def _is_direct(item: Any) -> bool:
    """Whether it is an op that takes time: the others are answered at once, in a branch."""
    if not isinstance(item, Op) or item.kind in ("emit", "dispatch", "value"):
        return False
    return not (item.kind == "child" and item.args["detach"])


async def _await(item: Any) -> Any:
    return await item


# -- the instance --------------------------------------------------------------------------------


@dataclass
class OpenOp:
    asked: Asked
    attempt: int
    status: str
    due: int | None
    epoch: int
    failed: int = 0
    lost: int = 0


@dataclass
class Turn:
    causes: list[Cause]
    at: int
    heads: list[tuple[str, str, str]] = field(default_factory=list)
    args: list[Json] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)
    quiet: bool = False
    """It asked for nothing and gave nothing up."""
    changed: bool = False


class Model:
    """What the rules say an instance does."""

    def __init__(self, sample: Sample, instance: str, input: Json, at: int) -> None:
        self.sample, self.instance = sample, instance
        self.gen, self.epoch, self.at = 1, 1, at
        self.ops: dict[str, OpenOp] = {}
        self.attempts: dict[str, int] = {}
        self.broken: set[str] = set()
        """Ops whose failure is what the program was told."""
        self.turns: list[Turn] = []
        self.run: Run | None = None
        self.state: dict[str, Json] = copy(input)
        self.held: list[Cause] = []
        self.paused = self.cancelling = self.over = False
        self.failure: str | None = None
        self.causes: set[str] = set()
        self.end: str | None = None
        self.result: Json = None
        self.handlers = self.seen = 0
        self.taken: set[int] = set()
        self.emitted: list[tuple[str, Json]] = []
        self._apply([Cause("start", value=input)], at)

    # -- turns ---------------------------------------------------------------------------------

    @property
    def parked(self) -> bool:
        return self.paused or self.failure is not None

    def _apply(self, causes: list[Cause], at: int) -> bool:
        """One turn. False when it died: the causes are then held."""
        turn = Turn(causes, at)
        try:
            run = self._execute([*self.turns, turn])
        except Dead as dead:
            self._died(dead, causes)
            return False
        self._commit(run, turn)
        return True

    def _died(self, dead: Dead, held: list[Cause]) -> None:
        self.failure, self.causes, self.held = dead.type, dead.blame, held

    def _execute(self, turns: list[Turn]) -> Run:
        """From the start to the end of `turns`; the last one may raise `Dead`."""
        run = Run(self.sample, self.instance, self.gen)
        try:
            for turn in turns:
                state = run.state
                run.turn(turn.causes, turn.at)
                turn.heads = [asked.head for asked in run.asked]
                turn.args = [asked.args for asked in run.asked]
                turn.drops = sorted(run.dropped)
                turn.quiet = not run.asked and not run.dropped
                turn.changed = run.state != state
        finally:
            run.close()
        return run

    def _commit(self, run: Run, turn: Turn) -> None:
        """The last turn of `run` has happened."""
        self.turns.append(turn)
        self.run = run
        for cause in turn.causes:
            if cause.kind == "event":
                self._received(cause)
            if cause.kind == "fire":
                self._close(cause.key)
        for key in run.dropped:
            self._close(key, keep=True)
        if turn.causes and turn.causes[-1].kind == "cancel":
            for key in [k for k, op in self.ops.items() if op.asked.op.kind == "dispatch"]:
                self._close(key, keep=True)  # of generations before
        self._ask(run)
        if self.sample.cls is not None:
            self.state = copy(run.state)
        self.over = run.over
        self._conclude(run, turn.at)

    def _received(self, cause: Cause) -> None:
        if cause.branch is not None:
            self.handlers += 1
            self.seen = max(self.seen, cause.iq)
        if cause.key:
            self.taken.add(cause.iq)
            self._close(cause.key)

    def _ask(self, run: Run) -> None:
        for asked in run.asked:
            kind = asked.op.kind
            attempt = self.attempts.get(asked.key, 0) + 1
            if kind == "emit":
                self.emitted.append((asked.key, asked.args))
            elif asked.key in run.dropped:
                self.ops.pop(asked.key, None)
                self.attempts[asked.key] = attempt
            elif asked.key in run.open or asked.key in run.loose:
                status = "started" if kind in CALLS else "open"
                self.ops[asked.key] = OpenOp(asked, attempt, status, asked.due, self.epoch)

    def _conclude(self, run: Run, at: int) -> None:
        if run.end is None:
            return
        loose = {k: op for k, op in self.ops.items() if op.asked.op.kind == "dispatch"}
        if run.end == "continued":
            assert run.again is not None
            (input,) = run.again
            self.gen, self.turns, self.ops, self.over = self.gen + 1, [], loose, False
            self.state = copy(input) if isinstance(input, dict) else {}
            self.attempts.clear()
            self.broken.clear()
            self._apply([Cause("start", value=input)], at)
            return
        self.end, self.ops = run.end, loose
        self.result = run.result if run.end == "completed" else None
        self.failure, self.causes, self.held, self.paused = None, set(), [], False
        self.cancelling = False

    def _close(self, key: str, *, keep: bool = False) -> None:
        op = self.ops.pop(key, None)
        if op is not None and keep:
            self.attempts[key] = op.attempt

    # -- messages: each gives whether anything was recorded ------------------------------------

    def outcome(
        self, key: str, attempt: int, value: Json, error: str | None, at: int, final: bool = False
    ) -> bool:
        op = self.ops.get(key)
        if op is None or op.attempt != attempt or op.status in ("retry", "doubt"):
            return False
        if error is None:
            cause = Cause("ok", key, value)
        else:
            policy = op.asked.op.target.retry if op.asked.op.target else None
            if policy is not None and not final:
                delay = policy.delay(op.failed + 1, "", ())
                if delay is not None:
                    op.status, op.due, op.failed = "retry", at + round(delay * 1000), op.failed + 1
                    return True
            cause = Cause("fail", key, error=error)
        self._close(key, keep=error is not None)
        if error is not None:
            self.broken.add(key)
        if self.end is not None:
            return True
        if self.parked:
            self.held.append(cause)
        else:
            self._apply([cause], at)
        return True

    def due(self, key: str, due: int, at: int) -> bool:
        op = self.ops.get(key)
        if op is None or op.due != due or at < due or self.parked:
            return False
        if self.end is not None and op.asked.op.kind != "dispatch":
            return False
        if op.status == "retry":
            op.status, op.due, op.attempt, op.epoch = "started", None, op.attempt + 1, self.epoch
            return True
        if op.status == "open":
            self._apply([Cause("fire", key)], at)
            return True
        return False

    def offer(self, iq: int, accepted: int, event: dict[str, Json], pos: int, at: int) -> bool:
        if self.end is not None or self.parked or iq in self.taken:
            return False
        takes = next((k for k, op in self.ops.items() if _takes(op, accepted, event, pos)), "")
        handled = self.sample.handles and iq > self.seen and not self.over and not self.cancelling
        branch = f"e{self.handlers + 1}" if handled else None
        if not takes and branch is None:
            return False
        self._apply([Cause("event", takes, event, branch=branch, iq=iq, pos=pos)], at)
        return True

    def answer(self, key: str, value: Json, at: int) -> bool:
        op = self.ops.get(key)
        if self.end is not None or op is None or op.asked.op.kind != "ask":
            raise Refused("NoSuchAsk")
        self._close(key)
        if self.parked:
            self.held.append(Cause("ok", key, value))
        else:
            self._apply([Cause("ok", key, value)], at)
        return True

    def pause(self) -> bool:
        if self.end is not None or self.failure is not None or self.cancelling:
            raise Refused("InvalidTransition")
        if self.paused:
            return False
        self.paused = True
        return True

    def resume(self, at: int, run_again: bool = False) -> bool:
        if self.end is not None:
            raise Refused("InvalidTransition")
        if self.failure is not None:
            return self._reopen(at, run_again)
        if self.paused:
            self.paused = False
            held, self.held = self.held, []
            if self._apply(held, at):
                self._start_ready()
            return True
        calls = [op for op in self.ops.values() if op.asked.op.kind in CALLS]
        if not self.ops or any(op.status in ("started", "ready") for op in calls):
            raise Refused("InvalidTransition")
        retries = [op for op in self.ops.values() if op.status == "retry"]
        limits = [op for op in self.ops.values() if op.asked.op.name == "timeout"]
        if not retries or len(retries) + len(limits) < len(self.ops):
            raise Refused("NeedsAnswer")
        for op in retries:
            op.status, op.due, op.attempt, op.epoch = "started", None, op.attempt + 1, self.epoch
        return True

    def _start_ready(self) -> None:
        for op in self.ops.values():
            if op.status == "ready":
                op.status, op.epoch = "started", self.epoch

    def _reopen(self, at: int, run_again: bool) -> bool:
        doubts = [op for op in self.ops.values() if op.status == "doubt"]
        if doubts and not run_again:
            raise Refused("InDoubt")
        causes = set(self.causes) & (self.broken | self._timed_out())
        run, last, turns, void = self._trial(causes, set(), [], at)
        for op in doubts:
            op.status, op.attempt, op.epoch = "started", op.attempt + 1, self.epoch
            op.failed = 0
        self._went_on(run, last, turns, void, set())
        return True

    def _trial(
        self, void: set[str], fixed: set[str], extra: list[Cause], at: int
    ) -> tuple[Run, Turn, list[Turn], set[str]]:
        """Which failures must be taken back so that what is held can be applied."""
        void = {k for k in void if k not in self.ops or k in self._timed_out()} | fixed
        fallback = False
        while True:
            turns = self._without(void)
            if turns is None:
                if void - fixed and not fallback:
                    void, fallback = set(fixed), True
                    continue
                raise Refused("CodeChanged")
            taken = ("fail", "fire")
            held = [c for c in self.held if not (c.kind in taken and c.key in void)] + extra
            last = Turn(held, at)
            try:
                run = self._execute([*turns, last])
            except Dead as dead:
                new = (dead.blame & self.broken) - void - set(self.ops)
                new |= (dead.blame & self._timed_out()) - void
                if new and not fallback:
                    void |= new
                    continue
                raise Refused("StillFails") from None
            return run, last, turns, void

    def _timed_out(self) -> set[str]:
        """Timers whose end has killed the turn."""
        return {cause.key for cause in self.held if cause.kind == "fire"}

    def _without(self, void: set[str]) -> list[Turn] | None:
        """The turns without the failures of `void`; None when the program would go another way."""
        turns: list[Turn] = []
        strict = False
        marks: list[tuple[Turn, bool]] = []
        for turn in self.turns:
            causes = [c for c in turn.causes if not (c.kind == "fail" and c.key in void)]
            if len(causes) == len(turn.causes):
                turns.append(Turn(causes, turn.at))
                marks.append((turn, strict))
                continue
            if len(turn.causes) == 1:
                if not turn.quiet:
                    return None
                strict = strict or turn.changed
                continue
            strict = True  # it was held: what it changed is mixed with what others did
            turns.append(Turn(causes, turn.at))
            marks.append((turn, strict))
        try:
            self._execute(turns)
        except Dead:
            return None
        for again, (once, exact) in zip(turns, marks, strict=True):
            if (again.heads, again.drops) != (once.heads, once.drops) or (
                exact and again.args != once.args
            ):
                return None
        return turns

    def _went_on(
        self, run: Run, last: Turn, turns: list[Turn], void: set[str], fixed: set[str]
    ) -> None:
        before = self._execute(turns)
        asked_again = {
            key: before.open.get(key) or before.loose.get(key) for key in sorted(void - fixed)
        }
        self.turns = turns
        self.failure, self.causes, self.held, self.paused = None, set(), [], False
        self.broken -= void
        for op in self.ops.values():
            op.lost = 0
        self._start_ready()
        for cause in last.causes:
            if cause.kind == "cancel":
                self.cancelling = True
        for key, asked in asked_again.items():
            assert asked is not None
            if key not in run.dropped:
                attempt = self.attempts.pop(key, 0) + 1
                due = asked.due
                if asked.op.name == "timeout":  # the whole time again
                    due = max(last.at, run.now) + round((asked.op.due_s or 0) * 1000)
                self.ops[key] = OpenOp(
                    asked, attempt, "started" if asked.op.kind in CALLS else "open", due, self.epoch
                )
        self._commit(run, last)

    def cancel(self, at: int, force: bool = False) -> bool:
        if self.end == "cancelled":
            return False
        if self.end is not None:
            raise Refused("InvalidTransition")
        if force or (self.cancelling and self.failure is not None):
            self.end, self.ops = "cancelled", {}
            self.failure, self.causes, self.held, self.paused = None, set(), [], False
            self.cancelling = False
            return True
        if self.cancelling:
            return False
        causes = [*(self.held if self.paused else []), Cause("cancel")]
        self.failure, self.causes, self.held, self.paused = None, set(), [], False
        self.cancelling = True
        self._apply(causes, at)
        return True

    def skip(self, key: str, value: Json, at: int) -> bool:
        if self.end is not None:
            raise Refused("InvalidTransition")
        op = self.ops.get(key)
        doubt = op is not None and op.status == "doubt"
        blamed = op is None and key in self.causes and key in self.broken
        cause = Cause("ok", key, value)
        if self.failure is None or not (doubt or blamed):
            if op is None:
                raise Refused("NotFound")
            if op.status != "retry":
                raise Refused("InvalidTransition")
            self._close(key)
            if self.parked:
                self.held.append(cause)
            else:
                self._apply([cause], at)
            return True
        fixed = {key} if blamed else set()
        if self.causes - {key}:
            turns = self._without(fixed)
            if turns is None:
                raise Refused("CodeChanged")
            self.turns = turns
            self.held = [c for c in self.held if not (c.kind == "fail" and c.key in fixed)]
            self.held.append(cause)
            self.causes -= {key}
            self.broken -= {key}
            self._close(key)
            return True
        run, last, turns, void = self._trial(set(), fixed, [cause], at)
        self._close(key)
        self._went_on(run, last, turns, void, fixed)
        return True

    def recover(self, counted: bool) -> bool:
        """A new process: `epoch` was raised before."""
        old = [
            (k, op) for k, op in self.ops.items()
            if op.status == "started" and op.asked.op.kind in CALLS and op.epoch < self.epoch
        ]  # fmt: skip
        once = [(k, op) for k, op in old if op.asked.once]
        lost = [(k, op) for k, op in old if (k, op) not in once]
        poison = counted and any(op.lost + 1 >= LOST_MAX for _, op in lost)
        if self.end is None and poison and self.failure is None:
            self.failure, self.causes = "Poison", set()
        for _, op in lost:
            op.attempt, op.epoch = op.attempt + 1, self.epoch
            op.lost = op.lost + 1 if counted else 0
            op.status = "ready" if self.parked else "started"
        for key, op in once:
            op.status = "doubt"
            self.failure, self.causes = "InDoubt", self.causes | {key}
        return bool(old)


def _takes(op: OpenOp, accepted: int, event: dict[str, Json], pos: int) -> bool:
    asked = op.asked
    if op.status != "open" or asked.op.kind != "wait" or asked.op.name != event["type"]:
        return False
    if asked.since is None:
        if accepted < asked.at or pos <= asked.own:
            return False
    elif pos <= asked.since:
        return False
    if op.due is not None and accepted > op.due:
        return False
    where = asked.op.where.source if asked.op.where else None
    return where is None or where["data.n"] == event["data"]["n"]
