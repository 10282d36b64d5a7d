"""One request of a template flow: a program over the template's table.

The machine that drives programs drives this one too, so replay, retries, crash safety, timers and
cancel are those of every program. What is left is the order of things: `on_E`, the default of `E`,
`after_E`, and what may happen instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.definitions.deciding import hand_of, handed_on, is_decided, refusal, vote_of
from greenroom.definitions.destinations import Route
from greenroom.definitions.errors import StepFailed
from greenroom.definitions.flowevents import Facts
from greenroom.definitions.matching import compile_where
from greenroom.definitions.ops import Finished, Op, Select
from greenroom.definitions.people import username_of
from greenroom.definitions.permissions import Permission, RequestPermission
from greenroom.definitions.templates import CHAIN_MAX, ENDED, IGNORE, NEW, HookRecursion, On
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Ask, Target

if TYPE_CHECKING:
    from greenroom.definitions.flows import Flow

AUDIT_MAX: Final = 200
SENT_BY: Final = "sent_by"
"""The attribute in which the engine says who sent an event; nobody outside can set it."""

ENGINE: Final = ("engine", None)


class FlowRun:
    """The state of one request: public attributes, as everybody may see them."""

    user: str
    asked: bool
    """Whether the fields are known; else the prompt asks for them."""
    fields: dict[str, Json]
    target: str | None
    duration: float | None
    handlers: list[str]
    source: list[Json]

    def begin(self) -> None:
        """What is not given at the start."""
        self.state = NEW
        self.actors: dict[str, str] = {}
        self.contexts: dict[str, Json] = {}
        self.outputs: dict[str, Json] = {}
        self.permission: Json = Permission().as_data()
        self.route: Json = Route().as_data()
        self.stage = -1
        self.votes: list[Json] = []
        self.delegates: dict[str, list[str]] = {}
        """Who stands in, and for whom."""
        self.sent: list[Json] = []
        """The messages that ask for a decision: where each went, and what its service calls it."""
        self.outcome: str | None = None
        self.reason: str | None = None
        self.due: dict[str, int] = {}
        """When an event happens by itself, in milliseconds since 1970."""
        self.audit: list[Json] = []


class Fired(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event on its way: who fired it, with what, over which channel."""

    event: str
    actor: str
    values: dict[str, Json] = {}
    channel: tuple[str, str | None] = ENGINE
    causes: tuple[str, ...] = ()
    """The events whose hooks led here, for a hook's own event."""

    @property
    def by_person(self) -> bool:
        return self.channel[0] != "engine"

    @property
    def hand(self) -> str:
        """Who acted, where `actor` is a name that somebody gave."""
        return hand_of(self.actor, self.channel[1] if self.channel[0] == "api" else None)


class FlowContext:
    """What the default of an event works with. Steps and ops may be awaited in it as in any
    program; outside effects belong there."""

    def __init__(self, runner: Runner, fired: Fired, at: int) -> None:
        self._runner = runner
        self.flow = runner.flow
        self.run = runner.run
        self.fired = fired
        self.at = at
        """The time of the event, in milliseconds since 1970."""
        self.follow: str | None = None
        """The event that happens next, once this one is over."""

    @property
    def instance(self) -> str:
        return self._runner.select.instance

    @property
    def values(self) -> dict[str, Json]:
        """What the event was fired with."""
        return self.fired.values

    def has(self, handler: str) -> bool:
        return handler in self.run.handlers

    async def reduce(self, slot: str) -> Json:
        """What the author's reducer gives, as plain data."""
        return await self._runner.reduce(slot, self._runner.facts(self.fired, self.at))

    async def call(self, target: Target, **arguments: Json) -> Json:
        """Runs a function as an op of its own: `deliver#1`, `deliver#2`, ..."""
        return await self._runner.call(target, arguments)

    async def act(self, verb: str) -> Json:
        """Runs a method of the flow's strategy."""
        facts = self._runner.facts(self.fired, self.at)
        return await self._runner.call(self.flow.target(f"strategy.{verb}"), {"event": facts})

    async def settle(self, how: str) -> None:
        """Tells the messages that ask for a decision how it has ended, so that they ask no more.
        Nobody waits for it, and it is tried again for a while. Of a cancelled request nothing goes
        on afterwards: it waits, not for long."""
        row = self.flow.template.events.get(self.fired.event)
        by = self.fired.actor if row is not None and row.decides else None
        notice = {
            **self.flow.notice(self), "outcome": how, "by": by, "reason": self.values.get("reason"),
        }  # fmt: skip
        for sent in self.run.sent:
            given = {**sent, "notice": notice}
            if row is not None:
                await self._runner.dispatch(self.flow.target("update"), given)
                continue
            with contextlib.suppress(StepFailed):
                await self._runner.call(self.flow.target("update_last"), given)
        self.run.sent = []

    def ask(
        self,
        title: str,
        *,
        schema: Json = None,
        assignee: str | None = None,
        permission: RequestPermission | None = None,
    ) -> None:
        """Opens the question of the request, or keeps it open. Who may decide is what `permission`
        says; where a template has said nothing of it, whoever is asked and admins."""
        run, runner = self.run, self._runner
        if permission is not None:
            run.permission = permission.permission.as_data()
        elif assignee is not None and run.permission == runner.of_asked:
            runner.of_asked = Permission(people=(username_of(assignee),)).as_data()
            run.permission = runner.of_asked
        runner.ask(title, schema, assignee)

    def ask_form(self, title: str, options: Mapping[str, Any]) -> None:
        """Asks whoever wants something what it is."""
        self._runner.ask_form(title, dict(options))

    def close_ask(self) -> None:
        self._runner.close_ask()

    def later(self, event: str, delay_s: float) -> None:
        """`event` happens by itself in a while, unless the time is given up before."""
        self._runner.arm(event, self.at + round(delay_s * 1000))

    def never(self, event: str) -> None:
        self._runner.arm(event, None)

    def finish(self, outcome: str = "ok") -> None:
        """The request is over with this event."""
        self.run.outcome = outcome

    def note(self, result: str, **details: Json) -> None:
        """A line for the audit."""
        self._runner.note(self.at, self.fired, result, **details)


class Runner:
    """Runs one request to its end."""

    def __init__(self, flow: Flow, run: FlowRun) -> None:
        self.flow = flow
        self.run = run
        self.template = flow.template
        self.select = Select()
        self.counts: Counter[str] = Counter()
        self.question: tuple[str, Op] | None = None
        """The key and op of the open question, to open it again when an answer did not count."""
        self.of_asked = Permission().as_data()
        """The permission, as long as it follows from who was asked."""
        self.asking = False
        self.heard: set[str] = set()
        self.armed: dict[str, int] = {}

    async def to_end(self) -> Finished:
        run, template = self.run, self.template
        first = template.prompt if template.prompt and not run.asked else template.start
        fired = Fired(first, run.user, channel=_channel(run.source))
        try:
            while True:
                await self.handle(fired)
                if run.state == NEW:  # it was ignored, and nothing leads on from here
                    run.state, run.outcome = ENDED, "ignored"
                if run.state == ENDED:
                    break
                fired = await self.next()
        except asyncio.CancelledError:
            if template.cleanup is not None:
                fired = Fired("cancel", self._decider())
                await template.cleanup(FlowContext(self, fired, self.select.now))
            raise
        result = {
            "outcome": run.outcome, "user": run.user, "target": run.target,
            "actors": dict(run.actors), "reason": run.reason,
        }  # fmt: skip
        return Finished(result, run.outcome or "ok")

    # -- what happens ------------------------------------------------------------------------

    async def handle(self, fired: Fired) -> None:
        """One event and all that follow from it."""
        waiting = deque([fired])
        while waiting and self.run.state != ENDED:
            follow = await self.happen(waiting.popleft())
            waiting.extend(follow)

    async def happen(self, fired: Fired) -> list[Fired]:
        """One event in its order; gives what follows."""
        run, row = self.run, self.template.events[fired.event]
        at = self.select.now
        if fired.by_person and not self._is_taken(fired, row, at):
            return []
        redirect = await self._before(fired, at)
        if redirect is not None:
            return self._redirect(fired, redirect, at)
        ctx = FlowContext(self, fired, at)
        if row.default is not None:
            await row.default(ctx)
        run.actors[fired.event] = fired.actor
        run.state = ENDED if run.outcome is not None else row.to or run.state
        ctx.note("done")
        if run.state == ENDED:
            self._let_go()
        await self._after(fired, at)
        follow = ctx.follow or (row.next if run.state != ENDED else None)
        if follow is None:
            return []
        return [Fired(follow, fired.actor)]

    def _is_taken(self, fired: Fired, row: On, at: int) -> bool:
        """Whether an event of a person counts: it must be in time, theirs to fire, and enough."""
        run = self.run
        if run.state not in row.sources:
            self.note(at, fired, "late")
            return False
        if not row.people:
            return True
        why = refusal(self.flow, vars(run), fired.event, fired.actor, fired.hand)
        if why is not None:
            self.note(at, fired, "refused", message=why)
            self._ask_again()
            return False
        vote = vote_of(self.flow, vars(run), fired.actor, fired.hand) if row.quorum else None
        if vote is not None:
            run.votes.append(vote.as_data())
        if row.quorum and not is_decided(self.flow, vars(run)):
            self.note(at, fired, "vote", votes=len(run.votes))
            self._ask_again()
            return False
        if row.decides:
            self._close_for_decision()
        return True

    async def _before(self, fired: Fired, at: int) -> dict[str, Json] | None:
        hook = f"on_{fired.event}"
        if hook not in self.run.handlers:
            return None
        arguments = {"event": self.facts(fired, at), "causes": list(fired.causes)}
        found: dict[str, Json] | None = await self.call(self.flow.target(hook), arguments)
        return found

    def _redirect(self, fired: Fired, redirect: dict[str, Json], at: int) -> list[Fired]:
        event, values = redirect["event"], redirect["values"]
        if event == IGNORE:
            message = values.get("message")
            self.note(at, fired, "ignored", **({"message": message} if message else {}))
            self._ask_again()
            return []
        self.note(at, fired, "redirected", to=event)
        causes = (*fired.causes, fired.event)
        return [Fired(event, fired.actor, {**fired.values, **values}, causes=causes)]

    async def _after(self, fired: Fired, at: int) -> None:
        hook = f"after_{fired.event}"
        if hook not in self.run.handlers:
            return
        try:
            warning = await self.call(self.flow.target(hook), {"event": self.facts(fired, at)})
        except StepFailed as error:
            self.note(at, fired, "after_error", message=f"{error.type}: {error.message}")
        else:
            if warning is not None:
                self.note(at, fired, "warning", message=warning)

    # -- ops -----------------------------------------------------------------------------------

    async def call(self, target: Target, arguments: dict[str, Json]) -> Json:
        return await Op("call", target.name, arguments, target=target, key=self._key(target))

    def _key(self, target: Target) -> str:
        self.counts[target.name] += 1
        return f"{target.name}#{self.counts[target.name]}"

    async def dispatch(self, target: Target, arguments: dict[str, Json]) -> None:
        """Runs a function that nobody waits for: it may fail, and outlives the request."""
        key = self._key(target)
        await Op("dispatch", target.name, arguments, target=target, key=key, lenient=True)

    async def reduce(self, slot: str, facts: Json) -> Json:
        try:
            return await self.call(self.flow.target(slot), {"event": facts})
        except StepFailed:
            instead = self.flow.fallback_target(slot)
            if instead is None:
                raise
        return await self.call(instead, {"event": facts})

    def facts(self, fired: Fired, at: int) -> Json:
        run = self.run
        duration = fired.values.get("duration", run.duration)
        facts = Facts(
            fired.event, run.user, fired.actor, at, self.select.instance,
            fields=run.fields, target=fired.values.get("target", run.target), duration=duration,
            values=fired.values, channel=fired.channel, source=_channel(run.source),
            actors=run.actors, contexts=run.contexts, outputs=run.outputs,
        )  # fmt: skip
        return msgspec.to_builtins(facts)

    # -- what is waited for --------------------------------------------------------------------

    async def next(self) -> Fired:
        """The next event, from a person or because its time has come."""
        while True:
            self._listen()
            key, value = await self.select
            if key == "prompt":
                self.asking = False
                return self._submitted(value)
            if key.endswith(".due"):
                event = key.removesuffix(".due")
                self.armed.pop(event, None)
                self.run.due.pop(event, None)
                if self._is_due(event):
                    return Fired(event, self._decider())
                continue
            if key == "approval":
                self.asking = False
            else:
                self.heard.discard(key)
                value = value.data
            fired = self._fired(value)
            if fired is not None:
                return fired

    def _decider(self) -> str:
        """Whoever decided, as long as nobody has whoever asked."""
        run = self.run
        deciding = [name for name, row in self.template.events.items() if row.decides]
        return next((run.actors[name] for name in deciding if name in run.actors), run.user)

    def _is_due(self, event: str) -> bool:
        """Whether a timer still means something. An event that is decided by time closes the
        question first: who answers from here on is told that it is over."""
        row = self.template.events[event]
        if self.run.state not in row.sources:
            return False
        if row.to == ENDED:
            self._close_for_decision()
        return True

    def _submitted(self, fields: dict[str, Json]) -> Fired:
        run = self.run
        self.flow.take_fields(run, fields)
        return Fired(self.template.start, run.user, channel=_channel(run.source))

    def _fired(self, value: dict[str, Json]) -> Fired | None:
        """An event of a person, from an answer or a message; None where it is no event."""
        actor = value["actor"]
        if "delegate" in value:
            self.run.delegates = handed_on(self.flow, vars(self.run), actor, value["delegate"])
            self.note(self.select.now, Fired("delegate", actor), "done", to=value["delegate"])
            self._ask_again()
            return None
        channel = _channel(value.get("channel", ["api", None]))
        return Fired(value["event"], actor, value.get("values", {}), channel)

    def _listen(self) -> None:
        """Opens what this state waits for and closes what it does not."""
        state, select = self.run.state, self.select
        for name, row in self.template.events.items():
            wanted = row.people and state in row.sources
            if wanted and name not in self.heard:
                self.heard.add(name)
                select.open(Op("wait", name, key=name, where=_SENT))
            elif not wanted and name in self.heard:
                self.heard.discard(name)
                select.close(name)
        for name, due in self.run.due.items():
            if self.armed.get(name) != due:
                self._disarm(name)
                self.armed[name] = due
                select.open(Op("sleep", name, until=due, key=f"{name}.due"))
        for name in [name for name in self.armed if name not in self.run.due]:
            self._disarm(name)

    def _disarm(self, name: str) -> None:
        if self.armed.pop(name, None) is not None:
            self.select.close(f"{name}.due", forget=True)

    def arm(self, event: str, due: int | None) -> None:
        if due is None:
            self.run.due.pop(event, None)
        else:
            self.run.due[event] = due

    def ask(self, title: str, schema: Json, assignee: str | None) -> None:
        question = Ask("approval", title, schema, assignee)
        self.question = ("approval", Op("ask", title, ask=question, key="approval"))
        self._ask_again()

    def ask_form(self, title: str, options: dict[str, Any]) -> None:
        question = Ask("form", title, None, self.run.user)
        op = Op(
            "ask", title, {"options": options}, target=self.flow.form_target, ask=question,
            key="prompt",
        )  # fmt: skip
        self.question = ("prompt", op)
        self._ask_again()

    def _ask_again(self) -> None:
        if self.question is not None and not self.asking:
            self.asking = True
            self.select.open(self.question[1])

    def _close_for_decision(self) -> None:
        """Takes the question away while it is being decided, without forgetting it."""
        if self.asking and self.question is not None:
            self.asking = False
            self.select.close(self.question[0])

    def close_ask(self) -> None:
        self._close_for_decision()
        self.question = None

    def _let_go(self) -> None:
        """The end: nothing is waited for any more."""
        self.close_ask()
        self.run.due.clear()
        for name in list(self.armed):
            self._disarm(name)
        for name in list(self.heard):
            self.heard.discard(name)
            self.select.close(name)

    # -- the audit -----------------------------------------------------------------------------

    def note(self, at: int, fired: Fired, result: str, **details: Json) -> None:
        line = {
            "at": datetime.datetime.fromtimestamp(at / 1000, datetime.UTC).isoformat(),
            "event": fired.event, "actor": fired.actor, "result": result, **details,
        }  # fmt: skip
        if fired.values.get("reason"):
            line["reason"] = fired.values["reason"]
        if fired.channel[0] == "api" and fired.channel[1] not in (None, fired.actor):
            line["by"] = fired.channel[1]
        self.run.audit.append(line)
        del self.run.audit[:-AUDIT_MAX]


_SENT: Final = compile_where(f"{SENT_BY} != null")


def check_chain(event: str, causes: list[str], wanted: str) -> None:
    """Raises `HookRecursion` where hooks lead round and round."""
    if (wanted == event and event in causes) or len(causes) + 1 >= CHAIN_MAX:
        raise HookRecursion(
            f"on_{event} fired {wanted} again, after {' -> '.join([*causes, event])}",
            hook=f"on_{event}", chain=[*causes, event],
        )  # fmt: skip


def _channel(given: Any) -> tuple[str, str | None]:
    kind, identifier = given
    return str(kind), None if identifier is None else str(identifier)
