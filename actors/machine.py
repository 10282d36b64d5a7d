"""The machine: the live coroutines of one program instance and their scheduler.

One cause is applied at a time; it resumes one branch, and that branch and all it makes ready run
in a first-in-first-out queue until every one is suspended. What they asked for meanwhile is the
turn. The machine knows no clock and no journal: dropped and replayed from the entries it gives
the same requests under the same keys, because journal order is scheduling order.

Keys are positions: `1 2 3` on the main branch, `3.0` or `3.0.1` inside the gather that took
ordinal 3, `e1.2` in the first event handler, and from the second generation on `2/1`.
"""

from __future__ import annotations

import asyncio
import decimal
import hashlib
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from datetime import UTC, datetime
from typing import Any, Final

from greenroom.actors.asking import gone, request_of
from greenroom.actors.branches import Branch, Frame, Group, Limit, branch_of
from greenroom.actors.cell import run_in_cell
from greenroom.actors.children import child_id, is_detached
from greenroom.actors.entries import (
    Answered,
    Begun,
    Cancelled,
    CancelRequested,
    Completed,
    Continued,
    Delta,
    Entry,
    EventReceived,
    Failure,
    OpCompleted,
    OpFailed,
    OpSkipped,
    Reopened,
    Request,
    Resumed,
    Started,
    TimerFired,
)
from greenroom.actors.failures import details_of, failure_of, place_in, place_of
from greenroom.actors.fiber import Fiber
from greenroom.actors.turns import REQUESTS_PER_TURN_MAX, Death, Turn, runaway
from greenroom.definitions.errors import (
    InvalidInput,
    InvalidRequest,
    StepFailed,
    Timeout,
    TooLarge,
)
from greenroom.definitions.eventclasses import as_known, as_object
from greenroom.definitions.events import Event
from greenroom.definitions.ops import (
    CURRENT,
    ContinueAsNew,
    Enter,
    Finished,
    Gather,
    Leave,
    Member,
    Op,
    Select,
    Suspended,
    timer,
)
from greenroom.definitions.programs import properties
from greenroom.definitions.values import Json, copy, encode, encode_decode
from greenroom.definitions.workflow import Definition, Target

_NO_LOOP: Final = frozenset({"no running event loop", "no current event loop"})
UNWIND_OPS_MAX: Final = 50


class Machine:
    __slots__ = (
        "asked", "base", "broken", "cancelling", "closing", "context", "continued", "definition",
        "dispatched", "doom", "encoded", "fiber", "gen", "handlers", "handlers_begun", "instance",
        "lenient", "main", "now", "open", "outcome", "over", "places", "queue", "result", "seed",
        "subject", "targets", "turn", "waited",
    )  # fmt: skip

    def __init__(self, definition: Definition, instance: str, gen: int = 1) -> None:
        self.definition = definition
        self.instance = instance
        self.gen = gen
        self.seed = instance
        """What chance is drawn from: the instance, for copied history the one it comes from."""
        self.base = f"{gen}/" if gen > 1 else ""
        self.subject: Any = None
        self.main: Branch | None = None
        self.handlers: list[Branch] = []
        self.handlers_begun = 0
        self.open: dict[str, Branch | tuple[Frame, int] | Limit | Select] = {}
        self.asked: dict[str, Op] = {}
        self.targets: dict[str, Target] = {}
        self.dispatched: set[str] = set()
        self.lenient: set[str] = set()
        """Those of the dispatched whose failure is recorded and nothing more."""
        self.queue: deque[tuple[Branch, Any, BaseException | None]] = deque()
        self.now = 0
        self.over = False
        self.result: Json = None
        self.outcome = "ok"
        self.continued: tuple[Json] | None = None
        self.cancelling = False
        self.waited = False
        """Something has happened in this generation since it began."""
        self.encoded: dict[str, bytes] = {}
        self.turn = Turn()
        self.fiber: Fiber | None = None
        """The plain function that runs right now: ops it asks for are answered by a switch."""
        self.places: dict[str, str] | None = None
        """Where in the code each op was asked for, when somebody wants to know."""
        self.doom: Death | None = None
        """Raised at the end of the turn, where it cannot be raised in the author's code."""
        self.broken = False
        self.closing = False
        self.context: Context = copy_context()
        self.context.run(CURRENT.set, self)
        self.context.run(decimal.setcontext, decimal.getcontext().copy())

    # -- applying causes -----------------------------------------------------------------------

    def apply(self, entry: Entry, held: Iterable[Entry] = (), input: Json = None) -> Turn:
        """Applies one cause (with the held ones a resume brings) and runs to rest.

        `input` is that of the instance, needed by the first turn of a pending one. Raises `Death`;
        the machine is then of no use any more.
        """
        self.turn = Turn([], [])
        self.now = max(self.now, entry.at)
        try:
            run_in_cell(self.context, lambda: self._apply(entry, held, input))
        except Death:
            self.broken = True
            raise
        return self.turn

    def _apply(self, entry: Entry, held: Iterable[Entry], input: Json) -> None:
        match entry:
            case Resumed() | Reopened():
                self._apply_all(held, input)
            case OpSkipped(resumes=True):
                self._apply_all(held, input)
                self._cause(entry, input)
            case CancelRequested():
                self._apply_all(held, input)
                self._cancel()
            case _:
                self._cause(entry, input)
        self._conclude()

    def _apply_all(self, held: Iterable[Entry], input: Json) -> None:
        for cause in held:
            if isinstance(cause, CancelRequested):
                self._cancel()
            else:
                self._cause(cause, input)

    def _cause(self, cause: Entry, input: Json) -> None:
        self.waited = self.main is not None
        match cause:
            case Started():
                self._begin(cause.input)
            case Begun():
                self._begin(input)
            case OpCompleted():
                self._feed(cause.key, cause.value, None)
            case OpFailed():
                self._break(cause)
            case OpSkipped() | Answered():
                self._feed(cause.key, copy(cause.value), None)
            case TimerFired():
                self._feed(cause.key, None, None)
            case EventReceived():
                self._event(cause)
            case _:
                raise AssertionError(f"{type(cause).__name__} is not a cause")
        self._drain()

    def _begin(self, input: Json) -> None:
        program = self.definition.program
        values = copy(input) if isinstance(input, dict) else {}
        if program.cls is not None:
            cls: Any = program.cls
            self.subject = object.__new__(cls)
            vars(self.subject).update(values)
            self.encoded = {name: encode(value) for name, value in values.items()}
            routine = self._routine(lambda: program.func(self.subject), program.sync)
        else:
            injector = program.injector
            assert injector is not None
            routine = self._made(
                lambda: injector.call(program.func, injector.arguments(values, self._facts()))
            )
        self.main = Branch(self.base, routine)
        self.queue.append((self.main, None, None))

    def _facts(self) -> dict[str, Json]:
        return {
            "run": self.instance,
            "process_id": self.instance,
            "workflow_name": self.definition.name,
            "workflow_target": self.definition.target or self.definition.kind,
        }

    def _routine(self, make: Callable[[], Any], sync: bool) -> Any:
        return Fiber(make) if sync else self._made(make)

    def _made(self, make: Any) -> Any:
        try:
            return make()
        except Exception as error:
            raise Death(failure_of(error)) from None

    def _feed(self, key: str, value: Any, error: BaseException | None) -> None:
        waiter = self.open.pop(key, None)
        op = self.asked.pop(key, None)
        if waiter is None:
            self.dispatched.discard(key)
            return
        if isinstance(waiter, Branch):
            waiter.on = None
            if error is not None:
                waiter.blame.add(key)
            self.queue.append((waiter, value, error))
        elif isinstance(waiter, Limit):
            waiter.fired = True
            self._cancel_branch(waiter.branch, waiter)
        elif isinstance(waiter, Select):
            self._ready(waiter, key, value)
        else:
            frame, index = waiter
            if index == frame.timer:
                error = _over_time(op, key)
            self._settle(frame, index, value, error, {key})

    def _ready(self, select: Select, key: str, value: Any) -> None:
        """One of the ops of a select has its outcome: for who waits for it, or for later."""
        branch: Branch | None = select.branch
        if branch is None:
            select.ready.append((key, value))
            return
        select.branch = branch.on = None
        self.queue.append((branch, (key, value), None))

    def hold(self, select: Select, op: Op) -> None:
        """Asks for an op whose outcome a select gets."""
        assert op.key is not None
        self._add(self._request(op, op.key, None), op)
        self.open[op.key] = select
        select.home = self.main

    def release(self, key: str) -> None:
        """Gives up an op of a select that is still open."""
        if isinstance(self.open.get(key), Select):
            self._close(key)

    def _break(self, cause: OpFailed) -> None:
        if cause.key in self.dispatched:
            self.dispatched.discard(cause.key)
            if cause.key in self.lenient:
                return
            raise Death(cause.error, {cause.key})
        error = StepFailed(
            cause.error.message, type=cause.error.type, **{**cause.error.details, "op": cause.key}
        )
        self._feed(cause.key, None, error)

    def _event(self, cause: EventReceived) -> None:
        event = event_of(cause.event)
        if cause.branch is not None:
            self.handlers_begun += 1
            handler = self.subject.on_event
            given = as_known(event, getattr(handler, "__globals__", {}))
            routine = self._routine(
                lambda: handler(given), not asyncio.iscoroutinefunction(handler)
            )
            branch = Branch(f"{self.base}{cause.branch}.", routine, since=cause.pos, handler=True)
            self.handlers.append(branch)
            self.queue.append((branch, None, None))
            self._drain()
        if cause.takes is not None:
            op = self.asked.get(cause.takes)
            wanted = op.event_class if op is not None else None
            self._feed(cause.takes, event if wanted is None else as_object(event, wanted), None)

    # -- running -------------------------------------------------------------------------------

    def _drain(self) -> None:
        while self.queue:  # looked up each time: giving a branch up makes another queue
            branch, value, error = self.queue.popleft()
            self._resume(branch, value, error)

    def _resume(self, branch: Branch, value: Any, error: BaseException | None) -> None:
        """Runs one branch until it suspends on something that is not answered at once."""
        send, throw = branch.routine.send, branch.routine.throw
        self.fiber = branch.routine if type(branch.routine) is Fiber else None
        while True:
            try:
                wanted = send(value) if error is None else throw(error)
            except StopIteration as stop:
                self._finished(branch, stop.value)
                return
            except ContinueAsNew as again:
                self._continue(branch, again)
                return
            except BaseException as raised:
                self._raised(branch, raised)
                return
            value = error = None
            if type(wanted) is Op:
                try:
                    answered, value = self._ask(branch, wanted)
                except (InvalidInput, TooLarge) as refused:
                    error = refused
                    continue
                if answered:
                    continue
                branch.blame.clear()
                return
            if type(wanted) is Gather:
                try:
                    suspended = self._gather(branch, wanted)
                except (InvalidInput, TooLarge) as refused:
                    error = refused
                    continue
                if suspended:
                    branch.blame.clear()
                    return
                value = []
                continue
            if type(wanted) is Select:
                if wanted.ready:
                    value = wanted.ready.popleft()
                    continue
                wanted.branch, branch.on = branch, wanted
                branch.blame.clear()
                return
            if type(wanted) is Enter or type(wanted) is Leave or type(wanted) is Member:
                try:
                    answered, value, error = self._block(branch, wanted)
                except (InvalidInput, InvalidRequest, TooLarge) as refused:
                    answered, error = True, refused
                if answered:
                    self.fiber = branch.routine if type(branch.routine) is Fiber else None
                    continue
                branch.blame.clear()
                return
            self._foreign(wanted)

    def _foreign(self, wanted: Any) -> None:
        name = f"{type(wanted).__module__}.{type(wanted).__qualname__}"
        what = "a bare `yield` (asyncio.sleep(0)?)" if wanted is None else name
        raise Death(
            Failure(
                "ForeignAwait",
                f"{self.definition.name} awaited {what}, which is not an op of this package; "
                "use greenroom's sleep, wait, gather, timeout, scope and steps   "
                + self.definition.source,
                "foreign",
                {"awaited": what},
            )
        )

    def _finished(self, branch: Branch, value: Any) -> None:
        branch.done = True
        if branch.frame is not None:
            self._settle(branch.frame, branch.slot, value, None, set())
        elif branch.handler:
            self.handlers.remove(branch)
        else:
            self._main_over(value)

    def _main_over(self, value: Any) -> None:
        if type(value) is Finished:
            value, self.outcome = value.result, value.outcome
        try:
            self.result = encode_decode(value, f"the result of {self.definition.name}")[1]
        except (InvalidInput, TooLarge) as error:
            raise Death(
                Failure(
                    type(error).__name__, error.message, "not_json", details_of(error, plain=True)
                )
            ) from None
        self.over = True

    def _continue(self, branch: Branch, again: ContinueAsNew) -> None:
        branch.done = True
        if branch is not self.main:
            raise Death(Failure("ContinueAsNew", "continue_as_new works on the main branch only"))
        if not self.waited:
            raise Death(
                Failure(
                    "ContinueAsNew",
                    "this generation waited for nothing: continue_as_new would go on for ever",
                    "runaway",
                )
            )
        try:
            self.continued = (encode_decode(again.input, "the input of continue_as_new")[1],)
        except (InvalidInput, TooLarge) as error:
            raise Death(Failure(type(error).__name__, error.message, "not_json")) from None
        self.over = True

    def _raised(self, branch: Branch, error: BaseException) -> None:
        branch.done = True
        blame = set(branch.blame)
        if not blame and isinstance(error, StepFailed) and "op" in error.details:
            blame = {error.details["op"]}
        if branch.frame is not None:
            self._settle(branch.frame, branch.slot, None, error, blame)
            return
        if isinstance(error, asyncio.CancelledError) and self.cancelling:
            if branch.handler:
                self.handlers.remove(branch)
            else:
                self.over = True
            return
        failure = self._without_loop(error) or failure_of(error)
        raise Death(failure, blame, self._view())

    def _without_loop(self, error: BaseException) -> Failure | None:
        """What asyncio says in a cell: it found no loop. Named as what it is, with the place."""
        if not isinstance(error, RuntimeError) or str(error) not in _NO_LOOP:
            return None
        frames = traceback.extract_tb(error.__traceback__)
        place = place_of(error)
        called = next(
            (f.name for f in frames if "asyncio" in f.filename.replace("\\", "/").split("/")), None
        )
        what = f"asyncio's {called}()" if called else "the event loop"
        return Failure(
            "ForeignAwait",
            f"{self.definition.name} uses {what}, which cannot be replayed; use greenroom's sleep, "
            f"wait, gather, timeout, scope and steps   {place or self.definition.source}",
            "foreign",
            {"awaited": what},
            where=place,
        )

    # -- requests ------------------------------------------------------------------------------

    def _ask(self, branch: Branch, op: Op) -> tuple[bool, Any]:
        """(answered at once?, the answer). Raises InvalidInput for arguments that cannot be kept."""
        if op.kind == "value":
            return True, self._value(branch, op.name)
        request = self._request(op, op.key or f"{branch.prefix}{branch.count + 1}", branch.since)
        branch.count += op.key is None
        self._add(request, op, branch)
        if op.kind == "emit":
            return True, None
        if op.kind == "dispatch":
            self.dispatched.add(request.key)
            if op.lenient:
                self.lenient.add(request.key)
            return True, None
        if is_detached(request):
            return True, child_id(self.instance, request.key, request.attempt)
        self.open[request.key] = branch
        branch.on = request.key
        return False, None

    def _request(self, op: Op, key: str, since: int | None) -> Request:
        return request_of(op, key, since, self.now)

    def _add(self, request: Request, op: Op, branch: Branch | None = None) -> None:
        requests = self.turn.requests
        if len(requests) >= REQUESTS_PER_TURN_MAX:
            raise runaway(self.definition)
        requests.append(request)
        if self.places is not None and branch is not None:
            self.places[request.key] = place_in(branch.routine)
        self.asked[request.key] = op
        if op.target is not None:
            self.targets[request.key] = op.target

    def _value(self, branch: Branch, name: str) -> Any:
        if name == "now":
            return datetime.fromtimestamp(self.now / 1000, UTC)
        branch.draws += 1
        seed = f"{self.seed}/{branch.prefix}/{branch.draws}".encode()
        digest = hashlib.blake2b(seed, digest_size=16).digest()
        if name == "random":
            return int.from_bytes(digest[:7], "big") / (1 << 56)
        number = int.from_bytes(digest, "big")
        number = (number & ~(0xF << 76)) | (0x4 << 76)
        number = (number & ~(0x3 << 62)) | (0x2 << 62)
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def _gather(self, branch: Branch, gather: Gather) -> bool:
        """Starts a gather; False when it is empty. All arguments are checked and encoded before
        any is asked for."""
        base = f"{branch.prefix}{branch.count + 1}"
        frame = Frame(branch, gather)
        ready: list[tuple[int, Request, Op]] = []
        routines: list[tuple[int, Any]] = []
        try:
            for index, item in enumerate(gather.items):
                made = self._member(branch, item, index)
                if type(made) is Op:
                    ready.append(
                        (index, self._request(made, f"{base}.{index}", branch.since), made)
                    )
                else:
                    routines.append((index, made))
            if gather.due_s is not None:
                index, made = len(gather.items), timer(gather.due_s)
                ready.append((index, self._request(made, f"{base}.{index}", None), made))
        except BaseException:
            _close_unstarted((*gather.items, *(routine for _, routine in routines)))
            raise
        branch.count += 1
        if not gather.items:
            return False
        branch.on = frame
        for index, request, op in ready:
            self._add(request, op, branch)
            frame.members[index] = request.key
            self.open[request.key] = (frame, index)
        for index, routine in routines:
            member = Branch(f"{base}.{index}.", routine, frame, index, branch.since)
            frame.members[index] = member
            self.queue.append((member, None, None))
        return True

    def _member(self, branch: Branch, item: Any, index: int) -> Any:
        """What goes side by side with others: an op to ask for, or a routine to drive."""
        fiber, self.fiber = self.fiber, None  # what asks here is collected, not answered
        try:
            made = item.execute() if hasattr(item, "execute") else item
        finally:
            self.fiber = fiber
        if type(made) is Op and not _answered_at_once(made):
            return made
        if isinstance(made, Op | Gather | Member):
            return _awaiting(made)
        if asyncio.iscoroutine(made):
            return made
        if type(branch.routine) is Fiber and callable(made):
            return Fiber(made)
        hint = f"call it: {getattr(made, '__name__', '...')}()" if callable(made) else None
        raise InvalidInput(
            f"what goes side by side is ops and coroutines, got {type(made).__name__} at {index}",
            hint=hint,
        )

    # -- blocks --------------------------------------------------------------------------------

    def _block(
        self, branch: Branch, wanted: Enter | Leave | Member
    ) -> tuple[bool, Any, BaseException | None]:
        """(answered at once?, the answer, or the error)."""
        if isinstance(wanted, Member):
            return self._join(branch, wanted)
        block = wanted.block
        if isinstance(wanted, Enter):
            key = f"{branch.prefix}{branch.count + 1}"
            made: Limit | Group
            if block.due_s is None:
                made = Group(branch, block.mode, key)
            else:
                made = Limit(branch, key, block.due_s)
                op = timer(block.due_s)
                self._add(self._request(op, key, None), op, branch)
                self.open[key] = made
            branch.count += 1
            branch.blocks = (*branch.blocks, made)
            block.entered(made)
            return True, None, None
        left = block.frame
        branch.blocks = tuple(b for b in branch.blocks if b is not left)
        if isinstance(left, Limit):
            return True, None, self._leave_limit(branch, left, wanted.error)
        return self._leave_group(branch, left, wanted.error)

    def _leave_limit(
        self, branch: Branch, limit: Limit, error: BaseException | None
    ) -> BaseException | None:
        if not limit.fired:
            self._close(limit.key)
            return None
        if limit.overruled or not isinstance(error, asyncio.CancelledError):
            return None
        branch.blame.add(limit.key)
        return _over_time(timer(limit.due_s), limit.key)

    def _leave_group(
        self, branch: Branch, group: Group, error: BaseException | None
    ) -> tuple[bool, Any, BaseException | None]:
        branch.on = group
        group.leaving = True
        if error is not None:
            group.body, group.body_blame = error, set(branch.blame)
            if group.left is None:
                group.given_up = True
            self._give_up(group)
        if group.pending or group.gathered:
            return False, None, None
        group.gathered = True
        branch.on = None
        return True, None, self._conclusion(group)

    def _conclusion(self, group: Group) -> BaseException | None:
        """What a block is left with: None also where its own error goes on."""
        branch = group.branch
        ours = group.left is not None and not group.overruled
        if group.cancelled:
            return asyncio.CancelledError()
        if group.body is not None and not (ours and isinstance(group.body, asyncio.CancelledError)):
            branch.blame |= group.body_blame
            return None
        slot = group.left if group.left is not None else min(group.errors, default=None)
        if slot is None:
            return None
        if group.mode == "cancel":
            branch.blame |= group.blames[slot]
        else:
            branch.blame |= set().union(*group.blames.values())
        return group.errors[slot]

    def begin_member(self, group: Group, item: Any) -> Member:
        """Adds to a `scope` block; called by the author's code while it runs."""
        branch = group.branch
        index = len(group.members)
        try:
            if self.closing:
                raise Suspended()
            if group.leaving or group.left is not None or group.cancelled:
                raise InvalidRequest("this scope is over: nothing can be started in it any more")
            if len(self.turn.requests) >= REQUESTS_PER_TURN_MAX or index >= REQUESTS_PER_TURN_MAX:
                self.doom = runaway(self.definition)
                raise InvalidRequest(self.doom.failure.message)
            made = self._member(branch, item, index)
            if type(made) is Op:
                request = self._request(made, f"{group.base}.{index}", branch.since)
        except BaseException:
            _close_unstarted((item,))
            raise
        group.results.append(None)
        group.pending += 1
        handle = Member(self, group, index)
        group.handles.append(handle)
        if type(made) is Op:
            self._add(request, made, branch)
            group.members.append(request.key)
            self.open[request.key] = (group, index)
        else:
            member = Branch(f"{group.base}.{index}.", made, group, index, branch.since)
            group.members.append(member)
            self.queue.append((member, None, None))
        return handle

    def _join(self, branch: Branch, member: Member) -> tuple[bool, Any, BaseException | None]:
        """A branch that waits for one member of a scope."""
        group = member.frame
        if member.machine is not self:
            raise InvalidRequest("this is the member of a scope of another instance")
        if group.members[member.index] is not None:
            member.waiters.append(branch)
            branch.on = member
            return False, None, None
        error = group.errors.get(member.index)
        if error is not None:
            branch.blame |= group.blames[member.index]
        return True, None if error is not None else group.results[member.index], error

    def _wake_joined(self, group: Group, index: int) -> None:
        member = group.handles[index]
        error = group.errors.get(index)
        for waiter in member.waiters:
            waiter.on = None
            if error is not None:
                waiter.blame |= group.blames[index]
            value = None if error is not None else group.results[index]
            self.queue.append((waiter, value, error))
        member.waiters.clear()

    # -- gathers -------------------------------------------------------------------------------

    def _settle(
        self,
        frame: Frame,
        index: int,
        value: Any,
        error: BaseException | None,
        blame: set[str],
    ) -> None:
        frame.members[index] = None
        frame.pending -= 1
        frame.results[index] = value
        if error is not None:
            frame.errors[index] = error
            frame.blames[index] = blame
        group = frame if type(frame) is Group else None
        decided = frame.mode == "race" or (
            frame.mode == "cancel" and error is not None and not frame.quiet
        )
        if group is not None and group.given_up:
            decided = False
        if decided and frame.left is None and not frame.cancelled:
            frame.left = index
            self._give_up(frame)
            if group is not None and not group.leaving:
                self._cancel_branch(group.branch, group)
        if group is not None:
            self._wake_joined(group, index)
        if frame.pending == 0 and not frame.gathered and (group is None or group.leaving):
            frame.gathered = True
            self._gathered(frame)

    def _gathered(self, frame: Frame) -> None:
        branch = frame.branch
        branch.on = None
        if type(frame) is Group:
            self.queue.append((branch, None, self._conclusion(frame)))
            return
        if frame.cancelled:
            self.queue.append((branch, None, asyncio.CancelledError()))
            return
        if frame.left is not None:
            error = frame.errors.get(frame.left)
            blame = frame.blames.get(frame.left, set())
            result: Any = frame.results[frame.left] if frame.mode == "race" else frame.results
        else:
            first = min(frame.errors, default=None)
            error = None if first is None else frame.errors[first]
            blame = set().union(*frame.blames.values()) if frame.blames else set()
            result = frame.results
        if error is not None and frame.quiet:
            for index, found in frame.errors.items():
                result[index] = found
            error = None
        if error is not None:
            branch.blame |= blame
        self.queue.append((branch, None if error is not None else result, error))

    def _give_up(self, frame: Frame) -> None:
        """Cancels the members that are still on their way; the frame goes on when all settled."""
        for index, member in enumerate(list(frame.members)):
            if member is not None and frame.members[index] is member:  # not given up meanwhile
                self._cancel_member(frame, index, member)

    def _cancel_member(self, frame: Frame, index: int, member: str | Branch) -> None:
        if isinstance(member, str):
            self._close(member)
            self._settle(frame, index, None, asyncio.CancelledError(), set())
        else:
            self._cancel_branch(member)

    def _cancel_branch(self, branch: Branch, by: Limit | Group | None = None) -> None:
        """Throws CancelledError into the leaves below, depth first, each to rest. `by` is the block
        that does it; those inside it are not to take it for their own."""
        if branch.done:
            return
        for block in reversed(branch.blocks):
            if block is by:
                break
            block.overruled = True
        if isinstance(branch.on, Frame):
            frame = branch.on
            frame.cancelled = True
            self._give_up(frame)
            self._drain()
            return
        if isinstance(branch.on, str):
            self._close(branch.on)
            branch.on = None
        elif isinstance(branch.on, Member):
            branch.on.waiters.remove(branch)
            branch.on = None
        elif isinstance(branch.on, Select):
            branch.on.branch = None
            branch.on = None
        else:  # not yet begun, or ready: it is in the queue
            self.queue = deque(item for item in self.queue if item[0] is not branch)
        self._resume(branch, None, asyncio.CancelledError())
        self._drain()

    def _close(self, key: str) -> None:
        """Gives an op up; one that was asked for in this very turn stays there, marked."""
        self.open.pop(key, None)
        self.asked.pop(key, None)
        for place, request in enumerate(self.turn.requests):
            if request.key == key:
                self.turn.requests[place] = gone(request)
                return
        self.turn.closes.append(key)

    def _cancel(self) -> None:
        self.cancelling = True
        branches = [self.main] if self.main is not None and not self.main.done else []
        for branch in [*branches, *self.handlers]:
            self._cancel_branch(branch)
        for key in sorted(self.dispatched):
            self._close(key)
        self.dispatched.clear()
        for key in [key for key, waiter in self.open.items() if isinstance(waiter, Select)]:
            self._close(key)
        if self.main is None:
            self.over = True

    # -- the end of a turn ---------------------------------------------------------------------

    def _conclude(self) -> None:
        if self.doom is not None:
            raise self.doom
        turn = self.turn
        turn.delta = self._delta()
        turn.over = self.over
        if not self.over or self.handlers:
            return
        if self.dispatched and self.definition.wait_for_dispatched and self.continued is None:
            return
        if self.cancelling:
            turn.end = Cancelled()
        elif self.continued is not None:
            turn.end = Continued(self.continued[0])
        else:
            turn.end = Completed(self.result, self.outcome)

    def _delta(self) -> Delta | None:
        if self.subject is None:
            return None
        changed: dict[str, Json] = {}
        attributes = properties(self.subject)
        for name, value in attributes.items():
            try:
                raw, back = encode_decode(value, f"self.{name}")
            except (InvalidInput, TooLarge) as error:
                raise Death(
                    Failure(
                        type(error).__name__,
                        error.message,
                        "not_json",
                        details_of(error, plain=True),
                    )
                ) from None
            if self.encoded.get(name) != raw:
                self.encoded[name] = raw
                changed[name] = back
        dropped = tuple(sorted(name for name in self.encoded if name not in attributes))
        for name in dropped:
            del self.encoded[name]
        return Delta(changed, dropped) if changed or dropped else None

    def rebase(self, state: dict[str, Json]) -> None:
        """Takes the journal's state as what the next delta is compared with."""
        if self.subject is not None:
            self.encoded = {name: encode(value) for name, value in state.items()}

    def edit(self, delta: Delta | None) -> None:
        """Somebody changed the attributes by hand, between two turns."""
        if self.subject is None or delta is None:
            return
        held = vars(self.subject)
        for name, value in delta.set.items():
            held[name], self.encoded[name] = copy(value), encode(value)
        for name in delta.drop:
            held.pop(name, None)
            self.encoded.pop(name, None)

    def attributes(self) -> dict[str, bytes] | None:
        """The public attributes as they are now, encoded; None for plain functions."""
        if self.subject is None:
            return None
        return {name: encode(value) for name, value in properties(self.subject).items()}

    def _view(self) -> dict[str, Json] | None:
        if self.subject is None:
            return None
        view: dict[str, Json] = {}
        for name, value in properties(self.subject).items():
            try:
                view[name] = encode_decode(value)[1]
            except (InvalidInput, TooLarge):
                view[name] = f"<{type(value).__name__}>"
        return view

    def request_again(self, key: str) -> Request | None:
        """The request of an op that is open here though the journal closed it: name and arguments
        from the code as replayed now."""
        op = self.asked.get(key)
        if op is None:
            return None
        if key in self.dispatched:
            return self._request(op, key, None)
        waiter = self.open.get(key)
        if waiter is None:
            return None
        return self._request(op, key, branch_of(waiter).since)

    def place_of_main(self) -> str | None:
        """Where in the code the main branch is."""
        if self.main is None or self.main.done:
            return None
        return place_in(self.main.routine)

    def close(self) -> None:
        """Ends the coroutines. Their `finally` blocks run up to the first op they ask for."""
        self.closing = True
        for branch in self._leaves_first():
            if not branch.done:
                branch.done = True
                self.fiber = branch.routine if type(branch.routine) is Fiber else None
                run_in_cell(self.context, lambda b=branch: _unwind(b.routine))  # type: ignore[misc]
        self.open.clear()
        self.queue.clear()
        self.context.run(CURRENT.set, None)  # the context holds us and we hold it

    def _leaves_first(self) -> list[Branch]:
        found: dict[Branch, None] = {}
        for waiter in self.open.values():
            branch: Branch | None = branch_of(waiter)
            while branch is not None:
                found.pop(branch, None)
                found[branch] = None
                branch = branch.frame.branch if branch.frame is not None else None
        for root in (*self.handlers, self.main):
            if root is not None:
                found.setdefault(root, None)
        for item in self.queue:
            found.setdefault(item[0], None)
        return list(found)


def _unwind(routine: Any) -> None:
    """Throws `Suspended` until the coroutine has ended; an op it asks for meanwhile is answered
    with `Suspended` again. One that swallows it for ever is left alone."""
    for _ in range(UNWIND_OPS_MAX):
        try:
            wanted = routine.throw(Suspended())
        except BaseException:
            return
        if type(wanted) is Gather:
            _close_unstarted(wanted.items)
    try:
        routine.close()
    except BaseException:
        return


def _close_unstarted(items: Iterable[Any]) -> None:
    """Coroutines that will never run; Python complains about those left to the collector."""
    for item in items:
        if asyncio.iscoroutine(item):
            item.close()


def _over_time(op: Op | None, key: str) -> Timeout:
    limit = "its time" if op is None or op.due_s is None else f"{op.due_s:g} s"
    return Timeout(f"it took longer than {limit}", op=key)


def _answered_at_once(op: Op) -> bool:
    return op.kind in ("value", "emit", "dispatch") or (op.kind == "child" and op.args["detach"])


async def _awaiting(item: Any) -> Any:
    return await item


def event_of(data: Any) -> Event:
    """An `Event` from the form the journal keeps it in."""
    known = {"type", "id", "source", "subject", "time", "data", "datacontenttype"}
    return Event(
        **{name: copy(value) for name, value in data.items() if name in known},
        extra={name: value for name, value in data.items() if name not in known},
    )
