"""The walk of a plan: what comes next, from the plan and the state alone.

The counterpart of the machine for bodies that are graphs. Where an instance stands is in the keys
of its open ops (see `spots`), so nothing is replayed. What the keys do not tell is kept in
*frames*: the names of each lane of a fan, how many lanes are left, which failed, the round of a
group, and what is to be taken back. A turn says what it changes in them, as it does for the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from greenroom.actors.entries import (
    Answered,
    Begun,
    Cancelled,
    CancelRequested,
    Completed,
    Delta,
    Entry,
    EventReceived,
    Failure,
    Match,
    OpCompleted,
    OpFailed,
    OpSkipped,
    Policy,
    Question,
    Reopened,
    Request,
    Resumed,
    Started,
    TimerFired,
)
from greenroom.actors.failures import failure_of
from greenroom.actors.frames import ERROR, HIDDEN, UNDONE, Frames
from greenroom.actors.planned import merges, undo_of
from greenroom.actors.progress import DEADLINE, Progress, called
from greenroom.actors.replay import Changed
from greenroom.actors.spots import DUE, UNDO, Spot, failed_frame, lane_frame, locate
from greenroom.actors.turns import REQUESTS_PER_TURN_MAX, Death, Turn, runaway
from greenroom.definitions import instants
from greenroom.definitions.durations import text as duration_text
from greenroom.definitions.instants import Instant
from greenroom.definitions.ops import since_ms
from greenroom.definitions.values import Json, copy, encode_decode
from greenroom.definitions.workflow import Change, Definition, Guard, Node, Place, Plan, Target

WORK_MAX: Final = 300_000
"""Steps of work of a document in one turn: some 0.2 s in which nobody else is served."""
NODE_WORK: Final = 15
"""What an action counts, beside its expressions."""
ITEMS_MAX: Final = 10_000
"""Items of one foreach; more belong into a child each, or into batches."""

_NO_CHANGE: Final = Change({})


def apply_to_plan(
    definition: Definition, progress: Progress, entry: Entry, held: Sequence[Entry] = ()
) -> Turn:
    """Applies one cause. Raises `Death` when the instance cannot go on, `Changed` when the plan has
    no place for what is recorded."""
    if type(entry) is OpCompleted:
        turn = _in_line(definition.plan, entry)
        if turn is not None:
            return turn
    if definition.kind != "document":
        return _applied(definition, progress, entry, held)
    with instants.at(Instant(entry.at, f"{progress.id}\n{progress.iseq}")):
        return _applied(definition, progress, entry, held)


def _applied(
    definition: Definition, progress: Progress, entry: Entry, held: Sequence[Entry]
) -> Turn:
    try:
        walk = Walk(definition, progress, entry)
        walk.apply(entry, held)
        walk.check_size()
    except Death as death:
        if definition.on_failure == "park" or isinstance(entry, CancelRequested):
            raise
        walk = Walk(definition, progress, entry)
        if not walk.unwind_after(entry, held, death.failure):
            raise
    return walk.turn


def _in_line(plan: Plan, entry: OpCompleted) -> Turn | None:
    """The hot path: one plain step after another, outside any scope. None for all else."""
    place = plan.places.get(entry.key)
    if place is None or not place.plain:
        return None
    turn = Turn([], [], Delta(entry.value) if entry.value else None)
    following = place.at + 1
    if following == len(place.line):
        turn.end = Completed()
        turn.over = True
        return turn
    node = place.line[following]
    if node.kind != "call" or node.guards or node.target is None:
        return None
    turn.requests.append(_call(node.key, node.target, node.name))
    return turn


class Walk(Frames):
    """One turn."""

    __slots__ = ()

    # -- causes --------------------------------------------------------------------------------

    def apply(self, entry: Entry, held: Sequence[Entry]) -> None:
        match entry:
            case CancelRequested():
                for cause in held:
                    if not isinstance(cause, CancelRequested):
                        self._absorb(cause)
                if ERROR not in self._frame(UNDONE) or not self.p.ops:
                    self._unwind(None)
            case Resumed():
                for cause in held:
                    self._cause(cause, again=True)
            case Reopened():
                self._ask_again(entry.void, None)
                for cause in held:
                    self._cause(cause, again=True)
            case OpSkipped(resumes=True):
                self._ask_again(entry.void, entry.key)
                for cause in held:
                    self._cause(cause, again=True)
                self._cause(entry)
            case _:
                self._cause(entry)

    def _cause(self, cause: Entry, again: bool = False) -> None:
        if self.turn.over:
            return
        match cause:
            case Started() | Begun():
                if self._run(self.definition.plan.nodes, 0, "", None, ()):
                    self._complete()
            case OpFailed():
                self._failed(cause)
            case CancelRequested():
                self._unwind(None)
            case TimerFired() if cause.key == DEADLINE:
                raise Death(overdue(self.p))
            case TimerFired() if cause.key.endswith(DUE):
                self._expired(cause.key.removesuffix(DUE), again)
            case TimerFired() if self._expires(cause.key):
                self._expired(cause.key, again)
            case Answered() if self._is_early(cause):
                pass
            case OpCompleted() | OpSkipped() | Answered() | TimerFired() | EventReceived():
                spot = self._absorb(cause)
                if spot is None:
                    self._next_undo()
                else:
                    self._go_on(spot)
            case _:
                raise AssertionError(f"{type(cause).__name__} is not a cause")

    def _absorb(self, cause: Entry) -> Spot | None:
        """What an outcome does to the state, before anything new is asked for."""
        match cause:
            case OpCompleted(key=key, value=value) | OpSkipped(key=key, value=value):
                pass
            case Answered(key=key, value=value):
                pass
            case TimerFired(key=key):
                value = None
            case EventReceived(takes=str(key), event=event):
                value = event
            case _:
                return None
        if key.startswith(UNDO):
            if merges(self.definition, key):
                self._merge((), self._change_of_dict(value))
            self._patch(UNDONE, {}, (key.removeprefix(UNDO),))
            return None
        spot = self._spot(key)
        node = spot.place.node
        if node.after is None:
            self.turn.keeps = bool(spot.lanes)  # what a lane changes is not what the step gave
            self._merge(spot.lanes, self._outcome(node, cause, value))
        elif type(cause) is OpSkipped:
            self._merge(spot.lanes, self._change_of_dict(value))
        else:
            self.turn.keeps = True
            self._merge(spot.lanes, self._after(node, spot.lanes, value))
        if type(cause) is OpSkipped:
            self._unfail(spot)
        elif node.undo is not None and type(cause) is OpCompleted:
            names: dict[str, Json] = {}
            for lane in spot.lanes:
                names |= self._frame(lane)
            self._patch(UNDONE, {key: names})
        return spot

    def _outcome(self, node: Node, cause: Entry, value: Json) -> Change:
        """The default: a dict is merged, shallow; an answer goes where its question says."""
        if node.ask is not None and node.ask.result_key and type(cause) is not OpSkipped:
            return Change({node.ask.result_key: value})
        if type(cause) is EventReceived or node.kind in ("child", "sleep"):
            return _NO_CHANGE
        return self._change_of_dict(value)

    @staticmethod
    def _change_of_dict(value: Json) -> Change:
        return Change(value) if isinstance(value, dict) else _NO_CHANGE

    def _after(self, node: Node, lanes: tuple[str, ...], value: Json) -> Change:
        assert node.after is not None
        try:
            change = node.after(self._view(lanes), value)
            return Change(encode_decode(change.set, f"what {node.key} gives")[1], change.drop)
        except Exception as error:  # an author's rule may raise anything
            raise Death(self._because(error, node, "")) from None

    def _spot(self, key: str) -> Spot:
        spot = locate(self.definition.plan, key)
        if spot is None:
            raise Death(_gone(self.definition, key))
        return spot

    # -- going on ------------------------------------------------------------------------------

    def _go_on(self, spot: Spot) -> None:
        """Runs what comes after a node that has ended, and after the scopes that end with it."""
        while True:
            place = spot.place
            if not self._run(place.line, place.at + 1, spot.prefix, spot.scope, spot.lanes):
                return
            scope = spot.scope
            if scope is None:
                self._complete()
                return
            if scope.key in self.p.frames and scope.place.node.kind == "group":
                self.turn.frames[scope.key] = None
            if scope.place.node.fan is not None and not self._lane_over(scope, spot.number):
                return
            spot = scope

    def _run(
        self,
        line: tuple[Node, ...],
        at: int,
        prefix: str,
        scope: Spot | None,
        lanes: tuple[str, ...],
    ) -> bool:
        """Runs a line from one of its nodes on. True when it has come to its end."""
        for place in range(at, len(line)):
            node = line[place]
            if self.turn.over:
                return False
            if self.metered:
                self._spend()
            if node.guards and not self._may(node, prefix, lanes):
                continue
            match node.kind:
                case "set":
                    self._merge(lanes, self._after(node, lanes, None))
                case "end":
                    if node.outcome == "cancelled":
                        self._unwind(None)
                    else:
                        self._stop(node.outcome)
                    return False
                case "call" | "ask" | "wait" | "sleep" | "emit" | "child":
                    if self._request(node, prefix + node.key, lanes):
                        return False
                case _:
                    if not self._enter(node, prefix, lanes):
                        return False
        return True

    def _spend(self) -> None:
        """Counts one more node and what expressions have taken so far: nobody else is served in the
        middle of a turn."""
        self.work += NODE_WORK
        work = self.work + instants.work()
        if work > WORK_MAX:
            raise Death(
                Failure(
                    "Runaway",
                    f"{self.definition.name} works more than {WORK_MAX:,} steps of expressions and "
                    "actions in one turn",
                    "runaway",
                    {"hint": "put a Core:Wait in between, or go through fewer items at once"},
                )
            )

    def _may(self, node: Node, prefix: str, lanes: tuple[str, ...]) -> bool:
        for guard in node.guards:
            if self._holds(guard, node, lanes):
                continue
            self.turn.skips = (*self.turn.skips, prefix + node.key)
            if guard.on_false == "stop":
                self._stop("stopped")
            elif guard.on_false == "fail":
                raise Death(
                    Failure(
                        "ConditionFailed",
                        f"the condition of {node.key} ({node.name}) does not hold",
                        "condition",
                        op=prefix + node.key,
                    )
                )
            return False
        return True

    def _holds(self, guard: Guard, node: Node, lanes: tuple[str, ...]) -> bool:
        try:
            return bool(guard.test(self._shown(lanes)))
        except Exception as error:  # an author's predicate may raise anything
            raise Death(self._because(error, node, f"{guard.name} before ")) from None

    def _because(self, error: Exception, node: Node, what: str) -> Failure:
        failure = failure_of(error)
        return Failure(
            failure.type,
            f"{what}{node.key}: {failure.message}",
            details={**failure.details, "step": node.key},
            where=failure.where,
        )

    def _complete(self) -> None:
        self.turn.end = Completed()
        self.turn.over = True

    def _stop(self, outcome: str) -> None:
        """Ends the instance from wherever it is."""
        self._close_all()
        self.turn.end = Completed(outcome=outcome)
        self.turn.over = True

    # -- scopes --------------------------------------------------------------------------------

    def _enter(self, node: Node, prefix: str, lanes: tuple[str, ...]) -> bool:
        """Goes into a scope. True when it is over already."""
        spot = self._spot(prefix + node.key)
        if not node.lanes:
            raise Death(_gone(self.definition, spot.key))
        match node.kind:
            case "group":
                return self._enter_group(spot, 1)
            case "choice":
                return self._enter_choice(spot, prefix, lanes)
            case _:
                return self._enter_fan(spot)

    def _enter_group(self, spot: Spot, round: int) -> bool:
        node = spot.place.node
        if round > 1:
            self._patch(spot.key, {"round": round})
        prefix = spot.prefix if node.inline else _inside(spot.key, round)
        line = node.lanes[0].nodes
        for early in line:
            if early.ask is not None and early.ask.early:
                self._request(early, prefix + early.key, spot.lanes, early=True)
        return self._run(line, 0, prefix, spot, spot.lanes)

    def _enter_choice(self, spot: Spot, prefix: str, lanes: tuple[str, ...]) -> bool:
        node = spot.place.node
        for lane in node.lanes:
            if lane.guard is None or self._holds(lane.guard, node, lanes):
                inner = prefix if node.inline else f"{spot.key}."
                return self._run(lane.nodes, 0, inner, spot, lanes)
        if node.inline:  # a condition around steps: they are skipped
            skipped = [prefix + inner.key for lane in node.lanes for inner in lane.nodes]
            self.turn.skips = (*self.turn.skips, *skipped)
        else:
            self.turn.skips = (*self.turn.skips, spot.key)
        return True

    def _enter_fan(self, spot: Spot) -> bool:
        node = spot.place.node
        fan = node.fan
        if fan is None:
            raise Death(_gone(self.definition, spot.key))
        seeds: list[dict[str, Json]]
        if node.kind == "parallel":
            seeds = [{} for _ in node.lanes]
        else:
            items = self._items(spot)
            seeds = [{fan.item: item, fan.index: at} for at, item in enumerate(items)]
        if not seeds:
            return self._fan_over(spot, 0)
        for number, names in enumerate(seeds):
            self._patch(lane_frame(spot.key, number), names)
        limit = min(fan.limit or len(seeds), len(seeds))
        self._patch(spot.key, {"size": len(seeds), "left": len(seeds), "next": limit})
        for number in range(limit):
            if self.turn.over:
                return False
            if self._run_lane(spot, number) and self._lane_over(spot, number):
                return True
        return False

    def _items(self, spot: Spot) -> list[Json]:
        node = spot.place.node
        assert node.fan is not None and node.fan.items is not None
        try:
            items = node.fan.items(self._shown(spot.lanes))
            if self.metered:
                items = copy(items)
        except Exception as error:  # an author's expression may raise anything
            raise Death(self._because(error, node, "the items of ")) from None
        if not isinstance(items, list):
            raise Death(
                Failure(
                    "NotAList",
                    f"{node.key} goes through a list, got {type(items).__name__}",
                    op=spot.key,
                )
            )
        if len(items) > ITEMS_MAX:
            raise Death(
                Failure(
                    "TooManyItems",
                    f"{node.key} has {len(items):,} items, the limit is {ITEMS_MAX:,}",
                    "runaway",
                    op=spot.key,
                )
            )
        return items

    def _run_lane(self, spot: Spot, number: int) -> bool:
        node = spot.place.node
        lanes = (*spot.lanes, lane_frame(spot.key, number))
        if node.kind == "parallel":
            return self._run(node.lanes[number].nodes, 0, f"{spot.key}.", spot, lanes)
        return self._run(node.lanes[0].nodes, 0, f"{spot.key}[{number}].", spot, lanes)

    def _lane_over(self, spot: Spot, number: int) -> bool:
        """One lane has ended, well or not. True when the whole fan has, and well."""
        while True:
            frame = self._frame(spot.key)
            left, following = _int(frame, "left") - 1, _int(frame, "next")
            if following >= _int(frame, "size"):
                self._patch(spot.key, {"left": left})
                return left == 0 and self._fan_over(spot, _int(frame, "size"))
            self._patch(spot.key, {"left": left, "next": following + 1})
            if not self._run_lane(spot, following):
                return False

    def _fan_over(self, spot: Spot, size: int) -> bool:
        node = spot.place.node
        assert node.fan is not None
        failed = {
            number: frame
            for number in range(size)
            if (frame := self._frame(failed_frame(spot.key, number)))
        }
        if failed and node.fan.on_error == "settle":
            first = failed[min(failed)]
            causes = {key for one in failed.values() for key in _causes(one)}
            self._fail(spot, msgspec.convert(first["error"], Failure), causes)
            return False
        results = [
            {"error": failed[number]["error"]}
            if number in failed
            else self._result(node, lane_frame(spot.key, number))
            for number in range(size)
        ]
        for number in range(size):
            self.turn.frames[lane_frame(spot.key, number)] = None
        for number in failed:
            self.turn.frames[failed_frame(spot.key, number)] = None
        self.turn.frames[spot.key] = None
        if node.after is not None:
            self._merge(spot.lanes, self._after(node, spot.lanes, results))
        else:
            self._merge(spot.lanes, _joined(node, results))
        return True

    def _result(self, node: Node, lane: str) -> dict[str, Json]:
        fan = node.fan
        assert fan is not None
        seeds = (fan.item, fan.index, HIDDEN) if node.kind == "foreach" else (HIDDEN,)
        return {name: value for name, value in self._frame(lane).items() if name not in seeds}

    # -- failures ------------------------------------------------------------------------------

    def _failed(self, cause: OpFailed) -> None:
        if cause.key.startswith(UNDO):
            raise Death(cause.error, {cause.key})
        spot = self._spot(cause.key)
        match spot.place.node.on_error:
            case "skip":
                self._go_on(spot)
            case "stop":
                self._stop("stopped")
            case _:
                self._fail(spot, cause.error, {cause.key})

    def _fail(self, spot: Spot, error: Failure, causes: set[str]) -> None:
        """A failure goes outwards to the first fan that lets its other lanes finish."""
        inner, scope = spot, spot.scope
        while scope is not None:
            fan = scope.place.node.fan
            if fan is not None and fan.on_error != "park":
                record = {"error": msgspec.to_builtins(error), "causes": sorted(causes)}
                self._patch(failed_frame(scope.key, inner.number), record)
                if self._lane_over(scope, inner.number):
                    self._go_on(scope)
                return
            inner, scope = scope, scope.scope
        raise Death(error, causes)

    def _unfail(self, spot: Spot) -> None:
        """The lanes around an op that failed are on their way again."""
        inner, scope = spot, spot.scope
        while scope is not None:
            if scope.place.node.fan is not None:
                failed = failed_frame(scope.key, inner.number)
                if not self._frame(failed):
                    return
                self.turn.frames[failed] = None
                self._patch(scope.key, {"left": _int(self._frame(scope.key), "left") + 1})
            inner, scope = scope, scope.scope

    def _ask_again(self, void: tuple[str, ...], but: str | None) -> None:
        """The failures of `void` did not happen: what failed is asked for anew, in a group that is
        to be begun anew the whole group."""
        begun: set[str] = set()
        for key in void:
            if key == but:
                continue
            if key.startswith(UNDO):
                self._undo(key.removeprefix(UNDO))
                continue
            spot = locate(self.definition.plan, key)
            if spot is None:
                steps = self.definition.steps()
                raise Changed(self.p.iseq, [key], steps, "the step is gone")
            self._unfail(spot)
            group = _restarts(spot)
            if group is None:
                self._request(spot.place.node, key, spot.lanes)
            elif group.key not in begun:
                begun.add(group.key)
                self._restart(group)

    def _restart(self, group: Spot) -> None:
        number = self._frame(group.key).get("round", 1)
        assert isinstance(number, int)
        inside = _inside(group.key, number)
        for key in self.p.ops:
            if key.startswith(inside):
                self.turn.closes.append(key)
        for name in self.p.frames:
            if name.startswith(inside):
                self.turn.frames[name] = None
        self._patch(group.key, {}, ("answer", "reached"))
        if self._enter_group(group, number + 1):
            self._go_on(group)

    # -- questions with a deadline, and answers before their turn -------------------------------

    def _expires(self, key: str) -> bool:
        spot = locate(self.definition.plan, key)
        ask = spot.place.node.ask if spot is not None else None
        return ask is not None and ask.expires == "fail"

    def _expired(self, key: str, again: bool) -> None:
        """Nobody has answered in time. When the instance goes on after that, it is asked anew."""
        spot = self._spot(key)
        if again:
            group = _restarts(spot)
            if group is not None:
                self._restart(group)
            else:
                self._request(spot.place.node, key, spot.lanes)
            return
        name = spot.place.node.name
        kind = "callback" if spot.place.node.ask and spot.place.node.ask.early else "answer"
        if key in self.p.ops:
            self.turn.closes.append(key)
        self._fail(spot, Failure("TimedOut", f"{name}: {kind} timed out", "timeout", op=key), {key})

    def _is_early(self, cause: Answered) -> bool:
        """An answer that came while the steps before it still run is kept until its turn."""
        spot = self._spot(cause.key)
        ask, scope = spot.place.node.ask, spot.scope
        if ask is None or not ask.early or scope is None:
            return False
        if self._frame(scope.key).get("reached") == cause.key:
            if cause.key + DUE in self.p.ops:
                self.turn.closes.append(cause.key + DUE)
            return False
        self._patch(scope.key, {"answer": {"value": cause.value}})
        return True

    def _reach_early(self, node: Node, key: str, lanes: tuple[str, ...]) -> bool:
        """The turn of a question that is open since its group began. True when it must be waited
        for."""
        spot = self._spot(key)
        assert node.ask is not None and spot.scope is not None
        answer = self._frame(spot.scope.key).get("answer")
        if isinstance(answer, dict):
            self._patch(spot.scope.key, {}, ("answer",))
            cause = Answered(at=self.at, key=key, value=answer["value"])
            if node.after is not None:
                self._merge(lanes, self._after(node, lanes, answer["value"]))
            else:
                self._merge(lanes, self._outcome(node, cause, answer["value"]))
            return False
        self._patch(spot.scope.key, {"reached": key})
        if node.ask.due_s is not None:
            due = self.at + round(node.ask.due_s * 1000)
            self._add(Request(key + DUE, "sleep", f"{node.name}: deadline", due=due))
        return True

    # -- taking back ---------------------------------------------------------------------------

    def unwind_after(self, entry: Entry, held: Sequence[Entry], failure: Failure) -> bool:
        """Takes back what was done because the instance has failed. False when there is nothing to
        take back, or that itself has failed."""
        if not isinstance(entry, OpCompleted | OpFailed | TimerFired | Answered | EventReceived):
            return False
        if ERROR in self._frame(UNDONE) or self.p.cancelling:
            return False
        for cause in (*held, entry):
            if isinstance(cause, TimerFired) and (
                cause.key == DEADLINE or cause.key.endswith(DUE) or self._expires(cause.key)
            ):
                continue
            self._absorb(cause)
        if not self._frame(UNDONE):
            return False
        self._unwind(failure)
        return True

    def _unwind(self, failure: Failure | None) -> None:
        self._close_all()
        for name in self.p.frames:
            if name != UNDONE:
                self.turn.frames[name] = None
        if failure is not None:
            self._patch(UNDONE, {ERROR: msgspec.to_builtins(failure)})
        self._next_undo()

    def _next_undo(self) -> None:
        """Asks for what takes back the last of what was done, or ends."""
        for key in self._newest_first(UNDONE):
            if key != ERROR:
                self._undo(key)
                return
        error = self._frame(UNDONE).get(ERROR)
        if error is None:
            self.turn.end = Cancelled()
        else:
            self.turn.end = Cancelled("compensated", msgspec.convert(error, Failure))
        self.turn.over = True

    def _undo(self, key: str) -> None:
        target = undo_of(self.definition, key)
        if target is None:
            raise Death(_gone(self.definition, UNDO + key))
        self._add(_call(UNDO + key, target))

    # -- requests ------------------------------------------------------------------------------

    def _request(
        self, node: Node, key: str, lanes: tuple[str, ...], *, early: bool = False
    ) -> bool:
        """Asks for an op. True when it must be waited for."""
        match node.kind:
            case "ask":
                if node.ask is None:
                    raise Death(_gone(self.definition, key))
                if node.ask.early and not early:
                    return self._reach_early(node, key, lanes)
                self._add(self._question(node, key, early, lanes))
            case "call":
                if node.target is None:
                    raise Death(_gone(self.definition, key))
                self._add(_call(key, node.target, node.name))
            case _:
                return self._request_computed(node, key, lanes)
        return True

    def _question(self, node: Node, key: str, early: bool, lanes: tuple[str, ...]) -> Request:
        ask = node.ask
        assert ask is not None
        if node.args is not None:  # words that depend on the state
            try:
                words = node.args(self._shown(lanes))
            except Exception as error:
                raise Death(self._because(error, node, "")) from None
            ask = msgspec.structs.replace(ask, **words)
        due = None if ask.due_s is None or early else self.at + round(ask.due_s * 1000)
        question = Question(
            ask.kind, ask.title, ask.schema, ask.assignee, ask.result_key, ask.enforce
        )
        return Request(key, "ask", node.name, due=due, question=question)

    def _request_computed(self, node: Node, key: str, lanes: tuple[str, ...]) -> bool:
        """An op whose arguments come from the state now."""
        try:
            state = self._shown(lanes)
            args = None if node.args is None else encode_decode(node.args(state), key)[1]
            due = None if node.due is None else node.due(state, self.at)
            match = None if node.where is None else _match(node.where(state), node.since, self.at)
        except Exception as error:  # an author's expression may raise anything
            raise Death(self._because(error, node, "")) from None
        if node.kind == "wait" and match is None:
            match = Match()
        kind: Any = node.kind
        name = node.name
        if kind in ("emit", "wait") and isinstance(args, dict):
            name = str(args.pop("type", name))  # a type that depends on the state
        self._add(Request(key, kind, name, args, due, None, match))
        if kind == "emit":
            if node.after is not None:
                self._merge(lanes, self._after(node, lanes, {"type": name, **(args or {})}))
            return False
        if kind == "child" and node.after is not None and (args or {}).get("detach"):
            self._merge(lanes, self._after(node, lanes, None))
        return not (kind == "child" and isinstance(args, dict) and args.get("detach"))

    def _add(self, request: Request) -> None:
        requests = self.turn.requests
        if len(requests) >= REQUESTS_PER_TURN_MAX:
            raise runaway(self.definition)
        requests.append(request)

    def _close_all(self) -> None:
        closed = set(self.turn.closes)
        self.turn.closes.extend(key for key in self.p.ops if key not in closed)
        self.turn.requests = [r for r in self.turn.requests if r.kind == "emit"]


def takes_back(definition: Definition, p: Progress) -> bool:
    """Whether a failure would take back something that was done."""
    if definition.on_failure == "park" or p.cancelling:
        return False
    frame = p.frames.get(UNDONE, {})
    return bool(frame) and ERROR not in frame


def overdue(p: Progress) -> Failure:
    """An instance has not ended in time."""
    timeout = duration_text((p.timeout or 0) / 1000)
    return Failure("Timeout", f"{called(p)} has not ended within {timeout}", "timeout")


def _call(key: str, target: Target, name: str | None = None) -> Request:
    """The request of a call; its arguments come from the state when the attempt starts."""
    if target.retry is None and target.mode == "at_least_once" and target.delay_of is None:
        return Request(key, name=name or target.name)
    once, own = target.mode == "at_most_once", target.delay_of is not None
    return Request(key, name=name or target.name, policy=Policy(target.retry, once, own))


def _match(where: Any, since: Any, at: int) -> Match:
    return Match(
        where.source,
        where.paths,
        where.hashes[0],
        None if since == "now" else 0,
        more=where.hashes[1:],
        since_at=since_ms(since, at),
    )


def _joined(node: Node, results: list[dict[str, Json]]) -> Change:
    """What the lanes of a fan give to the state around it."""
    fan = node.fan
    assert fan is not None
    match fan.merge:
        case "list":
            return Change({fan.into: list(results)})
        case "merge":
            together: dict[str, Json] = {}
            for result in results:
                together.update(result)
            return Change(together)
        case _:
            names = [lane.name for lane in node.lanes]
            if node.kind == "foreach":
                names = [str(number) for number in range(len(results))]
            return Change({fan.into: dict(zip(names, results, strict=True))})


def _restarts(spot: Spot) -> Spot | None:
    """The group around a spot that is begun anew after a failure inside."""
    scope = spot.scope
    while scope is not None:
        if scope.place.node.restart:
            return scope
        scope = scope.scope
    return None


def _inside(key: str, round: int) -> str:
    return f"{key}." if round == 1 else f"{key}~{round}."


def _gone(definition: Definition, key: str) -> Failure:
    return Failure(
        "CodeChanged",
        f'{definition.name} has no step "{key}" any more',
        "code_changed",
        {"journal": [key], "code": _present(definition.plan.places)},
    )


def _present(places: Mapping[str, Place]) -> list[Json]:
    return [
        key
        for key, place in places.items()
        if place.node.kind not in ("call", "ask") or place.node.target or place.node.ask
    ]


def _causes(failed: Mapping[str, Json]) -> list[str]:
    causes = failed["causes"]
    assert isinstance(causes, list)
    return causes


def _int(frame: Mapping[str, Json], name: str) -> int:
    value = frame.get(name, 0)
    assert isinstance(value, int)
    return value
