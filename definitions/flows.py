"""`Flow`: a template with an author's targets, fields and handlers.

    access = Flow("prod access", template=ApprovalTemplate, targets=["prod-db"],
                  fields=[FlowField("urgency", options=["Low", "High"])], handlers=__name__)

A flow is given to an engine like any workflow. `engine.start("prod access", {"target": "prod-db",
"urgency": "High"}, by="ann")` is a request; started with nothing it asks for its fields first.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from greenroom.definitions.deciding import concerned, hand_of, handed_on, refusal
from greenroom.definitions.destinations import Destination, Duration
from greenroom.definitions.durations import seconds
from greenroom.definitions.engines import ENGINE
from greenroom.definitions.errors import (
    GreenroomError,
    InvalidDefinition,
    InvalidInput,
    NotPermitted,
)
from greenroom.definitions.events import Event
from greenroom.definitions.flowevents import HANDLED, FlowEvent, event_from, facts_from
from greenroom.definitions.flowfields import (
    DURATION,
    TARGET,
    Form,
    field_of,
    length_of,
    options_of,
    target_of,
)
from greenroom.definitions.flowruns import (
    SENT_BY,
    FlowContext,
    FlowRun,
    Runner,
    check_chain,
)
from greenroom.definitions.forms import form_target
from greenroom.definitions.handlers import Handler, handlers_in
from greenroom.definitions.limits import LIMITS, Limits, limits_from
from greenroom.definitions.ops import Finished
from greenroom.definitions.pages import invalid
from greenroom.definitions.people import User, actor_of, user_named, username_of, usernames_of
from greenroom.definitions.reading import problem
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.services import RECORDER, called, has_call, recorded
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.templates import ENDED, Template
from greenroom.definitions.values import Json, encode_decode
from greenroom.definitions.workflow import (
    Definition,
    Program,
    Target,
    check_name,
    code_hash,
    data_hash,
)

ROLES: Final = ("admin", "member")
UPDATES: Final = {
    "update": RetryPolicy(delay_s=5, backoff=2, max_delay_s=300, max_attempts=10),
    "update_last": RetryPolicy(delay_s=1, backoff=3, max_attempts=3),
}
"""Messages are told how their request has ended: nobody waits for it, and after half an hour nobody
looks; but a request that is being cancelled waits a few seconds, since it leaves nothing behind."""
_NO_TRIGGERS: Final = "only people and programs start a flow: there is nothing to switch off"


class IdentityNotFound(GreenroomError):
    """A person has no account in a service."""


class DeliveryFailed(GreenroomError):
    """No destination took a request."""


IDENTITIES: Final[ContextVar[Callable[[str, str], str] | None]] = ContextVar(
    "greenroom_identities", default=None
)


def identity(person: Any, service: str) -> str:
    """The name of a person in a service, by the flow's `get_identity(user, service)`. Raises
    `IdentityNotFound`. Without that reducer it is their address or user name."""
    name = username_of(person)
    find = IDENTITIES.get()
    return find(name, service) if find is not None else user_named(name).email or name


class Flow:
    """A template flow. Give it to `Engine.open(workflows=[...])`.

    `targets` are what can be asked for (names, maps or `FlowTarget`), `fields` what else is asked;
    `handlers` a module (`__name__`), functions, or several of those: they are looked up when the
    flow is given to an engine. `strategy` has `escalate(target, event)` and `deescalate(...)`.
    `roles` names the admins and members. `needs` is how many must approve: a number, `"any"` or
    `"all"` of those asked. `timeout` is when an undecided request expires, `reminders` after how
    long they are told again. `duration` is how long access lasts unless asked otherwise,
    `durations` what may be asked for, `max_duration` the longest. `retry` is for every handler.
    `limits` is what `@workflow` calls `concurrency`, `rate`, `timeout`, `retention`, `tags` and
    `attributes`; their expressions read the fields, `target`, `duration` (seconds) and `user`.
    """

    def __init__(
        self,
        name: str,
        *,
        template: Template,
        targets: Sequence[Any] = (),
        fields: Sequence[Any] = (),
        handlers: Any = None,
        vars: Mapping[str, Json] | None = None,
        strategy: Any = None,
        roles: Mapping[str, Sequence[Any]] | None = None,
        users: Mapping[str, Mapping[str, Any]] | None = None,
        needs: int | str = 1,
        timeout: Duration | None = None,
        reminders: Sequence[Duration] = (),
        duration: Duration | None = None,
        durations: Sequence[Duration] | None = None,
        max_duration: Duration | None = None,
        retry: RetryPolicy | None = None,
        limits: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> None:
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        self.where = (
            f"{caller.f_code.co_filename.rsplit('/', 1)[-1]}:{caller.f_lineno}" if caller else "?"
        )
        check_name(name, self.where)
        if not isinstance(template, Template):
            raise InvalidDefinition(
                f"{name}: template= must be a template such as ApprovalTemplate, got {template!r}   "
                f"{self.where}"
            )
        self.name = name
        self.template = template
        self.targets = {target.name: target for target in map(target_of, targets)}
        if len(self.targets) < len(targets):
            raise InvalidDefinition(f"{name} has two targets of one name   {self.where}")
        found = [field_of(given) for given in fields]
        if len({field.name for field in found}) < len(found):
            raise InvalidDefinition(f"{name} has two fields of one name   {self.where}")
        self.vars = encode_decode(dict(vars or {}), f"the vars of {name}")[1]
        self.strategy = self._strategy(strategy)
        self.roles = self._roles(roles or {})
        self.users = dict(users or {})
        self.needs = self._needs(needs)
        self.timeout_s = self._longer_than_0(timeout, "timeout")
        self.reminders = tuple(sorted(self._seconds(one, "reminders") for one in reminders))
        self.duration_s = self._longer_than_0(duration, "duration")
        choices = None if durations is None else [self._seconds(d, "durations") for d in durations]
        longest = self._longer_than_0(max_duration, "max_duration")
        self.form = Form(name, found, self.targets, choices, longest)
        self.retry = retry
        self.limits = self._limits(limits or {})
        self.version = version
        self._source = handlers
        self.form_target = self._form_target()

    # -- reading the declaration ---------------------------------------------------------------

    def _seconds(self, given: Duration, what: str) -> float:
        length = seconds(given, what)
        if not length > 0:
            raise InvalidDefinition(
                f"{self.name}: {what} must be longer than 0, got {given!r}   {self.where}"
            )
        return length

    def _longer_than_0(self, given: Duration | None, what: str) -> float | None:
        return None if given is None else self._seconds(given, what)

    def _strategy(self, given: Any) -> Any:
        made = given() if inspect.isclass(given) else given
        missing = [
            verb
            for verb in ("escalate", "deescalate")
            if made is not None and not callable(getattr(made, verb, None))
        ]
        if missing:
            raise InvalidDefinition(
                f"{self.name}: its strategy has no {missing[0]}(target, event)   {self.where}"
            )
        return made

    def _roles(self, given: Mapping[str, Sequence[Any]]) -> dict[str, tuple[str, ...]]:
        unknown = sorted(set(given) - set(ROLES))
        if unknown:
            raise InvalidDefinition(
                f"{self.name}: there is no role {unknown[0]!r}{did_you_mean(unknown[0], ROLES)}; "
                f"roles are {' and '.join(ROLES)}   {self.where}"
            )
        return {role: usernames_of(people, role) for role, people in given.items()}

    def _limits(self, given: Mapping[str, Any]) -> Limits:
        def wrong(option: str, error: InvalidDefinition) -> None:
            raise InvalidDefinition(f"{self.name}: {error.message}   {self.where}", hint=error.hint)

        for name in given:
            if name not in LIMITS:
                wrong(
                    name,
                    InvalidDefinition(
                        f"limits has no {name!r}{did_you_mean(str(name), LIMITS)}; "
                        f"it takes {', '.join(LIMITS)}",
                        hint=_NO_TRIGGERS if name == "enabled" else None,
                    ),
                )
        return limits_from(given, wrong)

    def _needs(self, given: int | str) -> int | str:
        whole = isinstance(given, int) and not isinstance(given, bool) and given >= 1
        if not whole and given not in ("any", "all"):
            raise InvalidDefinition(
                f'{self.name}: needs must be a number from 1, "any" or "all", got {given!r}   '
                f"{self.where}"
            )
        return 1 if given == "any" else given

    @functools.cached_property
    def handlers(self) -> dict[str, Handler]:
        """The author's handlers by name, checked against the template."""
        found = handlers_in(self._source)
        self.template.check_handlers(found, self.where)
        names = [field.name for field in self.form.fields]
        for handler in found.values():
            if handler.kind == "prefetch" and handler.field not in names:
                raise InvalidDefinition(
                    f"{handler.name} gives options of the field {handler.field!r}, and {self.name} "
                    f"has no such field{did_you_mean(str(handler.field), names)}   {handler.where}"
                )
        return found

    @functools.cached_property
    def __greenroom__(self) -> Definition:
        handlers = self.handlers
        cls = type("FlowRun", (FlowRun,), {"__module__": __name__})
        body = Program(self._run, None, cls, False)
        fingerprint = data_hash(
            {
                "template": [self.template.name, [
                    [name, list(row.sources), row.to, row.next, list(row.redirects)]
                    for name, row in self.template.events.items()
                ]],
                "defaults": code_hash(*(r.default for r in self.template.events.values() if r.default)),
                "handlers": code_hash(*(handlers[name].func for name in sorted(handlers))),
                "strategy": code_hash(type(self.strategy)) if self.strategy else None,
                "targets": msgspec.to_builtins(list(self.targets.values())),
                "fields": msgspec.to_builtins(self.form.fields),
                "rules": [
                    self.vars, self.roles, self.needs, self.timeout_s, self.reminders,
                    self.duration_s, self.form.durations, self.form.longest,
                ],
                **({"limits": self.limits.as_data()} if self.limits.as_data() else {}),
                **({"attributes": self.limits.sources()} if self.limits.attributes else {}),
            }
        )  # fmt: skip
        return Definition(
            self.name, self.version, "template", body, (), fingerprint, self.where,
            desk=FlowDesk(self), **self.limits.fields(_asked_for),
        )  # fmt: skip

    # -- running -------------------------------------------------------------------------------

    async def _run(self, run: FlowRun) -> Finished:
        if not hasattr(run, "asked"):  # a child or an event started it, and nobody looked at it
            given = dict(vars(run))
            vars(run).clear()
            vars(run).update(self.opened(given, None))
        run.begin()
        return await Runner(self, run).to_end()

    def opened(self, given: Mapping[str, Json], by: str | None) -> dict[str, Json]:
        """The input of a request from what was given. Raises `FormInvalid`, `InvalidInput`."""
        data = dict(given)
        named = data.pop("user", None)
        asking = None if by is None else self.speaker(by, "ask")
        user = asking if named is None else username_of(named)
        if user is None:
            raise InvalidInput(
                f"{self.name}: nobody is said to ask for this",
                hint='say who asks:  engine.start(..., by="ann")',
            )
        if by is not None and user != asking and not self.speaks_for_others(by):
            raise NotPermitted(f"{asking} may not ask in the name of {user}: only admins may")
        asked = bool(data) or not self.form.asks
        values = self.form.read(data, self.open_fields()) if asked else {}
        run: dict[str, Json] = {
            "user": user, "asked": asked, "source": ["api", asking], "handlers": sorted(self.handlers),
        }  # fmt: skip
        return run | self._taken(values)

    def speaker(self, by: str, what: str) -> str:
        """The user name of whoever does something. A name that was only given counts where whoever
        gave it may speak for others. Raises `NotPermitted`."""
        actor = actor_of(by)
        if actor.spoken_for is not None and not self.speaks_for_others(by):
            raise NotPermitted(
                f"{self.name}: {actor.spoken_for} may not {what} in the name of {actor.username}"
            )
        return actor.username

    def speaks_for_others(self, by: str) -> bool:
        """Admins do, and the owner of the daemon, who could write its store."""
        actor = actor_of(by)
        return actor.owner or (actor.spoken_for or actor.username) in self.roles.get("admin", ())

    def open_fields(self) -> frozenset[str]:
        """Fields whose options only a prefetch knows."""
        return frozenset(h.field for h in self.handlers.values() if h.field is not None)

    def _taken(self, values: Mapping[str, Json]) -> dict[str, Json]:
        fields = {k: v for k, v in values.items() if k not in (TARGET, DURATION)}
        length = length_of(values.get(DURATION))
        return {
            "fields": fields, "target": values.get(TARGET),
            "duration": self.duration_s if length is None else length,
        }  # fmt: skip

    def take_fields(self, run: FlowRun, values: Mapping[str, Json]) -> None:
        """Takes the answer to the prompt into a request."""
        vars(run).update(self._taken(values))

    def prefetched(self, names: Sequence[str]) -> dict[str, str]:
        """Which handler gives the options of which field, of those a request has."""
        return {
            handler.field: name
            for name, handler in sorted(self.handlers.items())
            if handler.field is not None and name in names
        }

    def title(self, state: Mapping[str, Json]) -> str:
        target = self.targets.get(state["target"] or "")
        what = str(target) if target is not None else self.name
        return f"{state['user']} asks for {what}"

    def notice(self, ctx: FlowContext) -> dict[str, Json]:
        """What a destination is told of a request."""
        run = ctx.run
        return {
            "ask": f"{ctx.instance}.approval", "instance": ctx.instance, "flow": self.name,
            "title": self.title(vars(run)), "user": run.user, "target": run.target,
            "fields": run.fields, "duration": run.duration,
        }  # fmt: skip

    # -- the ops of a request --------------------------------------------------------------------

    @functools.cache  # noqa: B019  a flow lives as long as its process
    def target(self, name: str) -> Target:
        """What runs under this name: a handler, `deliver`, `update`, or a verb of the strategy."""
        limit, retry = None, self.retry
        if name == "deliver":
            run: Callable[..., Any] = self._deliver
        elif name in UPDATES:
            run, retry = self._update, UPDATES[name]
        elif name.startswith("strategy."):
            run = functools.partial(self._act, name.removeprefix("strategy."))
        else:
            handler = self.handlers.get(name)
            if handler is None:
                raise InvalidDefinition(
                    f"{self.name} has no handler {name} any more, and a request needs it",
                    hint="bring it back: a request keeps the handlers it was started with",
                )
            limit = handler.timeout_s
            run = functools.partial(self._handle, handler)
        return Target(name, _in_context(self, run), None, False, retry=retry, timeout_s=limit)

    @functools.cache  # noqa: B019
    def fallback_target(self, name: str) -> Target | None:
        """What gives a reducer's value when that has failed for good."""
        handler = self.handlers[name]
        if handler.fallback is None:
            return None
        instead = Handler(name, handler.kind, handler.fallback, field=handler.field)
        run = functools.partial(self._handle, instead)
        return Target(f"{name}.fallback", _in_context(self, run), None, False, retry=self.retry)

    def event(self, facts: Json) -> FlowEvent:
        names = tuple(field.name for field in self.form.fields)
        return event_from(facts_from(facts), self.name, self.vars, self.targets, names, self.users)

    def _handle(self, handler: Handler, event: Json, causes: Sequence[str] = ()) -> Json:
        """Calls a handler and checks what it gives, so that a wrong result is its failure and it
        can be called again once it is mended."""
        handled = self.event(event)
        before = HANDLED.set(handled)
        try:
            given = _awaited(handler.func(handled))
        finally:
            HANDLED.reset(before)
        if handler.kind == "prefetch":
            return options_of(given, handler.name)
        if handler.kind == "reducer":
            return self.template.reduced(handler.name, given)
        if handler.name.startswith("after_"):
            if given is None:
                return None
            return f"{handler.name} returned {type(given).__name__}, which is not looked at"
        name = handler.name.removeprefix("on_")
        found = self.template.redirected(name, given)
        if found is not None:
            check_chain(name, list(causes), found["event"])
            found["values"] = self.values_of(found["values"])
        return found

    def _act(self, verb: str, event: Json) -> Json:
        made = self.event(event)
        target = made.payload.fields.get(TARGET)
        return _awaited(getattr(self.strategy, verb)(target, made))

    def _deliver(self, to: Sequence[Json], notice: Json, must: bool) -> Json:
        delivered: list[str] = []
        failed: list[str] = []
        sent: list[Json] = []
        for one in to:
            place = msgspec.convert(one, Destination)
            try:
                message = called(place.service, "deliver", {"to": place, "notice": notice})
                delivered.append(str(place))
                if message is not None and has_call(place.service, "update"):
                    sent.append({"to": one, "message": message})
            except Exception as error:  # of a provider: the next destination may do
                failed.append(f"{place}: {type(error).__name__}: {error}")
        if not delivered and must:
            raise DeliveryFailed(f"nobody was told: {'; '.join(failed)}")
        return {"delivered": delivered, "failed": failed, "sent": sent}

    def _update(self, to: Json, message: Json, notice: Json) -> None:
        """Tells a message that was delivered how its request has ended."""
        place = msgspec.convert(to, Destination)
        called(place.service, "update", {"to": place, "message": message, "notice": notice})

    def find_identity(self, user: str, service: str) -> str:
        handler = self.handlers.get("get_identity")
        if handler is None:
            return user_named(user, self.users).email or user
        func = handler.func

        def find() -> Any:
            recorder = RECORDER.get()
            look = functools.partial(_look_up, func, user_named(user, self.users), service)
            key = (self.name, user, service)
            return look() if recorder is None else recorder.remembered(key, look)

        found = recorded("get_identity", {"user": user, "service": service}, find)
        if not isinstance(found, str) or not found:
            raise IdentityNotFound(
                f"{user} has no account in {service}", user=user, service=service
            )
        return found

    def values_of(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """What an event is fired with, checked: `duration` becomes seconds, `target` must be one.
        Raises `FormInvalid`."""
        values = dict(given)
        errors = []
        if values.get(DURATION) is not None:
            length = values[DURATION]
            text = f"{length:g}s" if isinstance(length, int | float) else str(length)
            try:
                values[DURATION] = length_of(self.form._duration(text))
            except ValueError as error:
                errors.append(problem((DURATION,), str(error), "value_error"))
        wanted = values.get(TARGET)
        if wanted is not None and wanted not in self.targets:
            text = f"is not a target{did_you_mean(str(wanted), self.targets)}"
            errors.append(problem((TARGET,), text, "value_error"))
        if errors:
            raise invalid(self.name, errors)
        return values

    def _form_target(self) -> Target:
        def form(options: dict) -> Any:  # type: ignore[type-arg]
            unknown = self.open_fields() - set(options)
            return self.form.page(options, unknown)

        form.__name__ = "prompt"
        return form_target(form, self.name)

    def __repr__(self) -> str:
        return f"<flow {self.name} ({self.template.name})>"


def _address_of(service: str, id: str) -> str | None:
    """The mail address a service has of somebody; whoever clicks waits for this."""
    recorder = RECORDER.get()
    if recorder is None or not has_call(service, "email_of"):
        return None
    look = functools.partial(called, service, "email_of", {"id": id})
    found: str | None = recorder.remembered((service, "email_of", id), look)
    return found


def _look_up(get_identity: Callable[..., Any], user: User, service: str) -> Any:
    return _awaited(get_identity(user, service))


def _awaited(given: Any) -> Any:
    """The value of a coroutine too: in its thread a handler has a loop of its own."""
    if inspect.iscoroutine(given):

        async def wait() -> Any:
            return await given

        return asyncio.run(wait())
    return given


def _in_context(flow: Flow, run: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an op: services called in it are recorded, identities are found."""

    def in_context(_context: Any = None, **arguments: Any) -> Any:
        face = ENGINE.get()
        recorder = None
        if face is not None and _context is not None and _context.instance is not None:
            recorder = face.recorder(_context)
        before = RECORDER.set(recorder or RECORDER.get())
        identities = IDENTITIES.set(flow.find_identity)
        try:
            return run(**arguments)
        finally:
            RECORDER.reset(before)
            IDENTITIES.reset(identities)

    return in_context


def _asked_for(input: Json) -> Json:
    """What the expressions of limits read: a request as whoever asks gives it."""
    fields = input.get("fields") or {}
    return fields | {name: input.get(name) for name in ("user", TARGET, DURATION)}


class FlowDesk:
    """What people come past: who they are and what they may is checked before anything is stored."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    knows_people = True

    def started(
        self, input: dict[str, Json], form: Any, by: str | None, stage: str | None = None
    ) -> dict[str, Json]:
        page = form[0] if isinstance(form, list) and form else form
        return self.flow.opened({**input, **(page or {})}, by)

    def answered(self, state: Mapping[str, Json], op: str, data: Json, by: str | None) -> Json:
        """What is stored of a decision. Raises `NotPermitted`, `FormInvalid`."""
        events = self.flow.template.events
        if not isinstance(data, dict):
            raise invalid("the answer", [problem(("__root__",), "must be an object", "model_type")])
        values = dict(data)
        approved, event = values.pop("approved", None), values.pop("event", None)
        delegate, channel = values.pop("delegate", None), values.pop("channel", None)
        if isinstance(approved, bool):
            event = "approve" if approved else "deny"
        if delegate is None and (event not in events or not events[event].decides):
            raise invalid(
                "the answer", [problem(("approved",), "must be true or false", "bool_type")]
            )
        if "comment" in values:
            values.setdefault("reason", values.pop("comment"))
        actor = self._actor(by, event or "delegate")
        decides = event or next(name for name, row in events.items() if row.decides)
        self._check(state, decides, actor, by)
        if delegate is not None:
            return {"delegate": self._stand_in(state, decides, actor, delegate), "actor": actor}
        return self._said(event, actor, values, channel, by)

    def submitted(self, state: Mapping[str, Json], by: str | None) -> None:
        """A request is written by whoever asks. Raises `NotPermitted`."""
        actor = self._actor(by, "ask for")
        if actor != state["user"] and not self.flow.speaks_for_others(by or ""):
            raise NotPermitted(
                f"{self.flow.name}: {state['user']} asks here, not {actor}", actor=actor
            )

    def sent(self, state: Mapping[str, Json], event: Event, by: str | None) -> Event:
        """An event with who sent it. Raises `NotPermitted`, `FormInvalid`."""
        row = self.flow.template.events.get(event.type)
        extra = {name: value for name, value in event.extra.items() if name != SENT_BY}
        if row is None or not row.people:
            return msgspec.structs.replace(event, extra=extra)
        actor = self._actor(by, event.type)
        if state.get("state") != ENDED:
            self._check(state, event.type, actor, by)
        data = event.data if event.data is not None else {}
        if not isinstance(data, dict):
            raise InvalidInput(f"the data of {event.type} must be an object")
        said = self._said(event.type, actor, dict(data), None, by)
        return msgspec.structs.replace(event, data=said, extra={**extra, SENT_BY: actor})

    def may_skip(self, op: str) -> bool:
        """Not what decides, or says who does: an `on_*` hook or a reducer."""
        name = op.partition("#")[0].removesuffix(".fallback")
        return not name.startswith("on_") and name not in self.flow.template.reducers

    def whois(self, state: Mapping[str, Json], service: str, id: str) -> str | None:
        """By the flow's `users`, by its `get_identity` for those a request concerns, by mail
        address. A name people give themselves in a service is nothing: whoever asked could
        approve under another. So where it cannot be told who asked, nobody is known."""
        flow, asked = self.flow, str(state["user"])
        for name, facts in flow.users.items():
            if facts.get(service) == id:
                return name
        maps = "get_identity" in flow.handlers
        for name in concerned(flow, state) if maps else ():
            with contextlib.suppress(Exception):  # whom it does not know it is not
                if flow.find_identity(name, service) == id:
                    return name
        address = _address_of(service, id)
        for name, facts in flow.users.items():
            if address and str(facts.get("email")).casefold() == address.casefold():
                return name
        sure = maps or flow.users.get(asked, {}).get(service) or user_named(asked, flow.users).email
        return (address or f"{service}:{id}") if sure else None

    def schema(self) -> dict[str, Any]:
        page = self.flow.form.page({}, self.flow.open_fields())
        return {**page.__page__.schema(), "additionalProperties": False}

    def _actor(self, by: str | None, event: str) -> str:
        if not by:
            raise NotPermitted(
                f"{self.flow.name}: nobody is said to {event} this",
                hint='say who:  engine.answer(..., by="bob")',
            )
        return self.flow.speaker(by, event)

    def _check(self, state: Mapping[str, Json], event: str, actor: str, by: str | None) -> None:
        if "permission" not in state:
            return  # nothing has happened yet: the request itself will look
        why = refusal(self.flow, state, event, actor, hand_of(actor, by))
        if why is not None:
            raise NotPermitted(f"{self.flow.name}: {why}", actor=actor, event=event)

    def _stand_in(self, state: Mapping[str, Json], event: str, actor: str, given: Any) -> str:
        """Who shall decide for `actor`. Raises `NotPermitted` for whom that would not help."""
        to = username_of(given, "delegate")
        if "permission" in state:
            after = {**state, "delegates": handed_on(self.flow, state, actor, to)}
            why = refusal(self.flow, after, event, to, to)
            if why is not None:
                raise NotPermitted(f"{self.flow.name}: {why}", actor=to, event=event)
        return to

    def _said(
        self, event: str, actor: str, values: dict[str, Json], channel: Any, by: str | None
    ) -> dict[str, Json]:
        way = "slack" if by is not None and by.startswith("slack:") else "api"
        where = channel.get("identifier") if way != "api" and isinstance(channel, dict) else by
        return {
            "event": event, "actor": actor, "values": self.flow.values_of(values),
            "channel": [way, where],
        }  # fmt: skip
