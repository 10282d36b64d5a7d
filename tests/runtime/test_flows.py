"""Template flows in an engine: rows S1-S14, the order of handlers, and what goes wrong."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from greenroom import (
    AlreadyDecided,
    ApprovalTemplate,
    DefinitionError,
    Engine,
    Event,
    Flow,
    FlowField,
    FlowTarget,
    FormInvalid,
    InvalidInput,
    NoSuchAsk,
    NotFound,
    NotPermitted,
    On,
    RequestPermission,
    RetryPolicy,
    Template,
    child,
    hook,
    prefetch,
    reducer,
    step,
    workflow,
)
from greenroom.definitions.flowruns import FlowContext
from greenroom.integrations import email, identity, okta, pagerduty, provide, recorded, slack
from greenroom.testing import TestEngine

NAMES = itertools.count()
CALLS: list[str] = []


class Outlet:
    """Where messages go in these tests. `down` are the places that cannot be reached."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.notices: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.down: set[str] = set()

    def deliver(self, to: Any, notice: dict[str, Any]) -> None:
        if to.name in self.down:
            raise ConnectionError(f"{to.name} is down")
        self.delivered.append(to.name or ",".join(to.members))
        self.notices.append(notice)
        CALLS.append("deliver")

    def send_message(self, to: Any, message: str) -> None:
        self.messages.append(message)


@pytest.fixture(autouse=True)
def outlet() -> Iterator[Outlet]:
    CALLS.clear()
    made = Outlet()
    with provide(slack=made, email=made):
        yield made


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    async with TestEngine() as made:
        yield made


def named(name: str, given: Any = None) -> Any:
    """A handler that notes its call and gives what it is told to (or what a function gives)."""

    def handle(event: Any) -> Any:
        CALLS.append(name)
        return given(event) if callable(given) else given

    handle.__name__ = name
    return (reducer if name.startswith("get_") else hook)(handle)


def nothing(given: Any) -> None:
    """A hook that has asked and goes on."""


def to_channel(event: Any) -> Any:
    return slack.channel("#ops")


def flow_of(*handlers: Any, **options: Any) -> Flow:
    given = {"targets": ["db", "web"], "template": ApprovalTemplate, **options}
    routed = any(h.__name__ in ("get_approvers", "get_permissions") for h in handlers)
    found = list(handlers) if routed else [*handlers, named("get_approvers", to_channel)]
    return Flow(f"flow {next(NAMES)}", handlers=found, **given)


async def begun(engine: TestEngine, flow: Flow, by: str = "ann", **input: Any) -> str:
    """A request, as far as it goes by itself."""
    if flow.name not in engine.registry.names():
        engine.register(flow)
    handle = await engine.start(flow.name, {"target": "db", **input}, by=by)
    await engine.until_idle()
    return str(handle.id)


async def decided(engine: TestEngine, id: str, by: str = "bob", **data: Any) -> Any:
    await engine.answer(f"{id}.approval", {"approved": True, **data}, by=by)
    await engine.until_idle()
    return await engine.get(id)


def results(found: Any) -> list[tuple[str, str]]:
    return [(line["event"], line["result"]) for line in found.state["audit"]]


HOOKS = [f"{when}_{event}" for event in ApprovalTemplate.events for when in ("on", "after")]


class Strategy:
    def escalate(self, target: FlowTarget, event: Any) -> dict[str, str]:
        CALLS.append("strategy.escalate")
        return {"grant": target.name}

    def deescalate(self, target: FlowTarget, event: Any) -> None:
        CALLS.append("strategy.deescalate")
        assert event.get_step_output() == {"grant": target.name}


# -- the order ---------------------------------------------------------------------------------

HAPPY = """\
on_prompt get_regions after_prompt on_request get_permissions get_request_notifications deliver
after_request on_approve after_approve on_escalate strategy.escalate after_escalate on_deescalate
strategy.deescalate after_deescalate"""


def every_handler() -> list[Any]:
    @prefetch("region")
    def get_regions(event: Any) -> list[str]:
        CALLS.append("get_regions")
        return ["north", "south"]

    return [
        *map(named, HOOKS),
        get_regions,
        named("get_permissions", lambda e: RequestPermission("all_users")),
        named("get_request_notifications", to_channel),
    ]


async def test_golden_the_order_of_all_handlers_on_the_happy_path(engine: TestEngine) -> None:
    flow = flow_of(*every_handler(), fields=["region"], strategy=Strategy, duration="1h")
    engine.register(flow)
    handle = await engine.start(flow.name, {}, by="ann")
    await engine.until_idle()
    ask = (await engine.asks.list()).items[0]
    assert (ask.kind, ask.assignee) == ("form", "ann")
    await engine.answer(ask.id, {"target": "db", "region": "north"}, by="ann")
    await engine.until_idle()
    await decided(engine, handle.id)
    await engine.advance("1h")
    assert HAPPY.split() == CALLS
    assert (await engine.get(handle.id)).outcome == "ok"


async def test_golden_the_order_after_a_crash_at_every_entry_is_the_same(
    engine: TestEngine,
) -> None:
    """Each handler runs once: its result is recorded, and replay does not call it again."""
    flow = flow_of(*every_handler(), fields=["region"], strategy=Strategy, duration="1h")
    id = await begun(engine, flow, region="north")
    await engine.crash()
    await decided(engine, id)
    await engine.crash()
    await engine.advance("1h")
    assert HAPPY.split()[HAPPY.split().index("on_request") :] == CALLS


# -- S1-S14 ------------------------------------------------------------------------------------


async def test_S1_a_template_is_a_table_of_events_and_flows_show_their_kind(
    engine: TestEngine,
) -> None:
    assert ApprovalTemplate.events["approve"].sources == ("requested",)
    id = await begun(engine, flow_of())
    found = await engine.get(id)
    assert (found.kind, found.status, found.state["state"]) == ("template", "waiting", "requested")
    with pytest.raises(DefinitionError, match="on_aprove is no handler") as raised:
        flow_of(named("on_aprove")).handlers  # noqa: B018
    assert "on_approve, after_approve" in str(raised.value.hint)
    assert 'did you mean "on_approve"' in str(raised.value)


async def test_S2_a_reducer_is_called_once_and_gives_what_its_place_takes(
    engine: TestEngine,
) -> None:
    with pytest.raises(DefinitionError, match="approvers cannot be a reducer"):

        @reducer
        def approvers(event: Any) -> None: ...

    with pytest.raises(DefinitionError, match=r"get_x must take \(event\)"):

        @reducer
        def get_x() -> None: ...

    with pytest.raises(DefinitionError, match="needs the reducer get_approvers or get_permissions"):
        Flow("no reducer", template=ApprovalTemplate, handlers=[named("on_request")]).handlers  # noqa: B018

    for given, why in ((None, "returned nothing"), ("#ops", "a destination is needed")):
        id = await begun(engine, flow_of(named("get_approvers", given)))
        found = await engine.get(id)
        assert found.status == "failed"
        assert found.error.details["type"] == "ReducerResult"
        assert why in found.error.message

    CALLS.clear()
    id = await begun(engine, flow_of())
    await engine.crash()
    await decided(engine, id)
    assert CALLS.count("get_approvers") == 1


async def test_S2_async_reducers_and_generators_will_do(engine: TestEngine, outlet: Outlet) -> None:
    @reducer
    async def get_approvers(event: Any) -> Any:
        return slack.user("bob")

    await begun(engine, flow_of(get_approvers))

    @reducer
    def get_permissions(event: Any) -> Any:
        return RequestPermission(["bob"])

    @reducer
    def get_request_notifications(event: Any) -> Any:
        yield slack.channel("#one")
        yield slack.channel("#two")

    await begun(engine, flow_of(get_permissions, get_request_notifications))
    assert outlet.delivered == ["bob", "#one", "#two"]


async def test_S2_a_reducer_that_is_down_has_a_fallback(engine: TestEngine, outlet: Outlet) -> None:
    @reducer(timeout="5s", fallback=lambda event: slack.channel("#always"))
    def get_approvers(event: Any) -> Any:
        raise ConnectionError("down")

    await begun(engine, flow_of(get_approvers))
    assert outlet.delivered == ["#always"]


async def test_S3_a_hook_returns_nothing_or_a_transition(engine: TestEngine) -> None:
    for wrong in ("approve", {"approve": True}, 1):
        id = await begun(engine, flow_of(named("on_request", wrong)))
        found = await engine.get(id)
        assert found.status == "failed"
        assert found.error.details["type"] == "HookResult"
    assert "get_approvers" not in CALLS


async def test_S3_a_hook_that_raises_leaves_the_event_to_be_tried_again(
    engine: TestEngine,
) -> None:
    broken = [True]

    def maybe(event: Any) -> None:
        if broken[0]:
            raise ValueError("broken")

    id = await begun(engine, flow_of(named("on_approve", maybe)))
    found = await decided(engine, id)
    assert (found.status, found.state["state"]) == ("failed", "requested")
    broken.clear()
    broken.append(False)
    await engine.resume(id)
    await engine.until_idle()
    found = await engine.get(id)
    assert (found.status, found.outcome) == ("completed", "ok")
    assert CALLS.count("on_approve") == 2


async def test_S4_an_after_hook_that_raises_or_returns_changes_nothing(
    engine: TestEngine,
) -> None:
    def broken(event: Any) -> None:
        raise OSError("no log")

    flow = flow_of(
        named("after_approve", broken), named("after_request", "what?"), strategy=Strategy
    )
    found = await decided(engine, await begun(engine, flow))
    assert found.state["state"] == "escalated"
    assert ("approve", "after_error") in results(found)
    assert ("request", "warning") in results(found)
    assert "strategy.escalate" in CALLS


def test_S5_the_facade_has_the_decorators_of_the_seed() -> None:
    import greenroom  # noqa: PLC0415
    from greenroom import integrations  # noqa: PLC0415

    assert {"hook", "reducer", "prefetch"} <= set(greenroom.__all__)
    assert {"slack", "pagerduty", "okta"} <= set(integrations.__all__)


async def test_S6_the_event_is_frozen_and_tells_who_what_and_where(engine: TestEngine) -> None:
    seen: list[Any] = []
    flow = flow_of(
        named("on_request", seen.append), named("after_approve", seen.append),
        fields=["why"], vars={"team": "core"}, users={"ann": {"email": "ann@x.org", "name": "Ann"}},
    )  # fmt: skip
    await decided(engine, await begun(engine, flow, why="because"), reason="fine")
    first, last = seen
    assert (first.name, first.user.username, first.user.email) == ("request", "ann", "ann@x.org")
    assert first.payload.fields["why"] == "because"
    assert first.payload.user == first.user
    assert first.payload.timestamp.year == 2026
    assert first.flow.vars["team"] == "core"
    assert first.flow.fields == ("why",)
    assert first.get_actor("approve") is None
    assert first.get_context("request_forward") is None
    assert (last.user.username, last.actor.username) == ("ann", "bob")  # C26
    assert last.get_actor("approve").username == "bob"
    assert last.payload.reason == "fine"
    assert last.channel.type == "api"
    assert last.run.source_channel.identifier == "ann"
    with pytest.raises(AttributeError, match="cannot be changed"):
        last.name = "deny"
    with pytest.raises(TypeError):
        last.payload.fields["why"] = "no"


async def test_S6_a_missing_field_is_a_key_error_that_names_it(engine: TestEngine) -> None:
    flow = flow_of(named("on_request", lambda e: e.payload.fields["wy"]), fields=["why"])
    found = await engine.get(await begun(engine, flow, why="x"))
    assert found.status == "failed"
    assert found.error.details["type"] == "KeyError"
    assert 'no field "wy"' in found.error.message
    assert 'did you mean "why"' in found.error.message


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda e: slack.group([]), "takes 1 to 7 users, got 0"),
        (lambda e: slack.group([f"u{n}" for n in range(8)]), "takes 1 to 7 users, got 8"),
        (lambda e: slack.user(""), "must be a user name"),
        (lambda e: slack.channel("#"), "needs the name of a channel"),
        (lambda e: [slack.channel("#a"), "b"], "a destination is needed"),
        (lambda e: slack.fallback(), "takes destinations in order"),
    ],
)
async def test_S7_a_wrong_destination_fails_with_the_reason(
    engine: TestEngine, wrong: Callable[[Any], Any], why: str
) -> None:
    found = await engine.get(await begun(engine, flow_of(named("get_approvers", wrong))))
    assert found.status == "failed"
    assert why in found.error.message


async def test_S7_users_channels_groups_and_fallbacks_are_delivered(
    engine: TestEngine, outlet: Outlet
) -> None:
    for place in (
        lambda e: slack.user(e.user),
        lambda e: slack.group([{"email": "a@x.org"}, "b"]),
        lambda e: [slack.channel("#c"), email.user("d@x.org")],
        lambda e: slack.fallback(slack.channel("#e"), slack.channel("#f")),
    ):
        await begun(engine, flow_of(named("get_approvers", place)))
    assert outlet.delivered == ["ann", "a@x.org,b", "#c", "d@x.org", "#e"]
    notice = outlet.notices[0]
    assert (notice["title"], notice["target"]) == ("ann asks for db", "db")
    assert notice["ask"] == f"{notice['instance']}.approval"


async def test_S8_a_redirect_takes_the_place_of_default_and_after(
    engine: TestEngine, outlet: Outlet
) -> None:
    flow = flow_of(
        named("on_request", lambda e: ApprovalTemplate.approve(reason="on call")),
        *map(named, ("after_request", "on_approve", "after_approve")),
    )
    found = await engine.get(await begun(engine, flow))
    assert (found.status, found.outcome) == ("completed", "ok")
    assert outlet.delivered == []
    assert CALLS == ["on_request", "on_approve", "after_approve"]
    assert found.state["reason"] == "on call"


@pytest.mark.parametrize("back", [ApprovalTemplate.deny(), ApprovalTemplate.ignore()])
async def test_S8_backwards_is_illegal(engine: TestEngine, back: Any) -> None:
    found = await decided(engine, await begun(engine, flow_of(named("on_escalate", back))))
    assert found.status == "failed"
    assert found.error.details["type"] == "IllegalTransition"
    with pytest.raises(AttributeError, match="no event 'aprove'"):
        ApprovalTemplate.aprove()


async def test_S8_events_of_hooks_come_from_the_engine_and_their_actor_is_who_caused_them(
    engine: TestEngine,
) -> None:
    seen: list[Any] = []
    flow = flow_of(
        named("on_request", lambda e: ApprovalTemplate.approve()), named("on_approve", seen.append)
    )
    await begun(engine, flow)
    assert (seen[0].channel.type, seen[0].actor.username) == ("engine", "ann")


async def test_S9_helpers_are_plain_functions_and_integrations_are_mocked(
    engine: TestEngine,
) -> None:
    def is_on_call(user: str, schedule_name: Any, schedule_id: Any) -> bool:
        return user == "ann"

    flow = flow_of(
        named(
            "on_request",
            lambda e: ApprovalTemplate.approve() if pagerduty.is_on_call(e.user) else None,
        )
    )
    with provide(pagerduty={"is_on_call": is_on_call}):
        assert (await engine.get(await begun(engine, flow))).outcome == "ok"
        assert (await engine.get(await begun(engine, flow, by="eve"))).status == "waiting"
    found = await engine.get(await begun(engine, flow))
    assert found.status == "failed"
    assert found.error.details["type"] == "SecretMissing"
    assert "pagerduty_token" in found.error.message


async def test_S10_a_request_is_denied_at_once(engine: TestEngine, outlet: Outlet) -> None:
    flow = flow_of(named("on_request", lambda e: ApprovalTemplate.deny(reason="frozen")))
    found = await engine.get(await begun(engine, flow))
    assert (found.status, found.outcome) == ("completed", "denied")
    assert found.result["reason"] == "frozen"
    assert outlet.delivered == []


async def test_S11_identities_are_looked_up_when_needed_and_once(engine: TestEngine) -> None:
    asked: list[str] = []

    @reducer
    def get_identity(user: Any, service: str) -> str | None:
        asked.append(f"{user.username}@{service}")
        return None if user.username == "eve" else f"{service}-{user.username}"

    on_call: list[str] = []

    def is_on_call(user: str, schedule_name: Any, schedule_id: Any) -> bool:
        on_call.append(user)
        return False

    flow = flow_of(
        get_identity,
        named("on_request", lambda e: nothing(pagerduty.is_on_call(e.user))),
        named("on_approve", lambda e: nothing(identity(e.user, "pagerduty"))),
    )
    with provide(pagerduty={"is_on_call": is_on_call}):
        await decided(engine, await begun(engine, flow))
        assert on_call == ["pagerduty-ann"]
        assert asked == ["ann@pagerduty"]
        found = await engine.get(await begun(engine, flow, by="eve"))
    assert found.error.details["type"] == "IdentityNotFound"


async def test_S11_a_handler_that_runs_again_is_told_the_identity_it_was_told(
    engine: TestEngine,
) -> None:
    """Else the call it made with it would be another one the second time."""
    names = iter(["first", "second"])
    tries: list[str] = []

    @reducer
    def get_identity(user: Any, service: str) -> str:
        return next(names)

    def ask(event: Any) -> None:
        tries.append(identity(event.user, "pagerduty"))
        engine.identities._found.clear()
        if len(tries) == 1:
            raise ConnectionError("try again")

    flow = flow_of(
        get_identity, named("on_request", ask), retry=RetryPolicy(delay_s=1, max_attempts=2)
    )
    id = await begun(engine, flow)
    await engine.advance("5s")
    assert (await engine.get(id)).state["state"] == "requested"
    assert tries == ["first", "first"]


async def test_S12_after_hooks_of_every_event(engine: TestEngine) -> None:
    after = [named(f"after_{event}") for event in ApprovalTemplate.events]
    flow = flow_of(*after, timeout="1h", duration="1h")
    id = await begun(engine, flow)
    await engine.advance("1h")
    assert (await engine.get(id)).outcome == "expired"
    assert CALLS[-1] == "after_request_expire"
    await decided(engine, await begun(engine, flow))
    await engine.advance("1h")
    assert CALLS[-1] == "after_deescalate"


async def test_S13_a_message_is_sent_once_though_its_handler_runs_again(
    engine: TestEngine, outlet: Outlet
) -> None:
    """C31: what the first attempt has sent is handed back to the second."""
    attempts: list[int] = []

    def tell(event: Any) -> None:
        slack.send_message(slack.channel("#log"), "approved")
        assert recorded("ticket", None, lambda: len(attempts)) == 0
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("after the message")

    retry = RetryPolicy(delay_s=1, max_attempts=3)
    flow = flow_of(named("after_approve", tell), retry=retry)
    id = await begun(engine, flow)
    await decided(engine, id)
    await engine.advance("10s")
    assert (await engine.get(id)).outcome == "ok"
    assert len(attempts) == 2
    assert outlet.messages == ["approved"]
    lines = [(line.kind, line.op) for line in (await engine.history(id)).items]
    assert lines.count(("StepCompleted", "after_approve#1/1")) == 1


async def test_S13_a_handler_makes_so_many_calls_and_no_more(
    engine: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenroom.runtime.recording.CALLS_MAX", 3)
    made: list[int] = []
    flow = flow_of(
        named(
            "after_approve", lambda e: [recorded("x", n, lambda: made.append(1)) for n in range(9)]
        )
    )
    found = await decided(engine, await begun(engine, flow))
    assert ("approve", "after_error") in results(found)
    assert len(made) == 3


async def test_S13_an_unknown_destination_is_an_after_error(engine: TestEngine) -> None:
    flow = flow_of(named("after_approve", lambda e: slack.send_message("#log", "hello")))
    found = await decided(engine, await begun(engine, flow))
    assert found.outcome == "ok"
    assert ("approve", "after_error") in results(found)


async def test_S14_a_target_is_an_object_and_an_unknown_one_is_refused_at_once(
    engine: TestEngine,
) -> None:
    seen: list[Any] = []
    target = FlowTarget("db", "Production database", "postgres", {"host": "db1"})
    flow = flow_of(named("on_request", seen.append), targets=[target, {"name": "web"}])
    await begun(engine, flow)
    found = seen[0].payload.fields["target"]
    assert (found.name, found.label, found.type) == ("db", "Production database", "postgres")
    assert found.settings == {"host": "db1"}
    with pytest.raises(FormInvalid) as raised:
        await engine.start(flow.name, {"target": "dbb"}, by="ann")
    assert [error["loc"] for error in raised.value.errors] == [["target"]]
    assert (await engine.list("")).total == 1


# -- starting ------------------------------------------------------------------------------------


async def test_every_field_that_is_wrong_is_named_at_submit(engine: TestEngine) -> None:
    flow = flow_of(fields=["why", FlowField("n", type="integer"), FlowField("u", options=["A"])])
    engine.register(flow)
    with pytest.raises(FormInvalid) as raised:
        await engine.start(flow.name, {"target": "x", "n": "no", "u": "B", "z": 1}, by="ann")
    assert {error["loc"][0] for error in raised.value.errors} == {"target", "why", "n", "u", "z"}
    with pytest.raises(InvalidInput, match="nobody is said to ask"):
        await engine.start(flow.name, {"target": "db"})


@pytest.mark.parametrize("length", [0, -5, "0s", "2h", "soon"])
async def test_a_duration_of_nothing_or_too_long_is_refused(
    engine: TestEngine, length: Any
) -> None:
    flow = flow_of(max_duration="1h")
    with pytest.raises(FormInvalid) as raised:
        await begun(engine, flow, duration=length)
    assert raised.value.errors[0]["loc"] == ["duration"]
    id = await begun(engine, flow, duration="10m")
    assert (await engine.get(id)).state["duration"] == 600
    with pytest.raises(FormInvalid):
        await engine.answer(f"{id}.approval", {"approved": True, "duration": "-1s"}, by="bob")


async def test_only_an_admin_asks_in_the_name_of_another(engine: TestEngine) -> None:
    flow = flow_of(roles={"admin": ["root"]})
    with pytest.raises(NotPermitted):
        await begun(engine, flow, by="eve", user="ann")
    id = await begun(engine, flow, by="root", user="ann")
    assert (await engine.get(id)).state["user"] == "ann"


async def test_a_prompt_offers_what_was_prefetched_and_refuses_the_rest(
    engine: TestEngine,
) -> None:
    @prefetch("region")
    def get_regions(event: Any) -> Any:
        return [("n", "North"), {"value": "s"}]

    flow = flow_of(get_regions, fields=["region"])
    engine.register(flow)
    handle = await engine.start(flow.name, by="ann")
    await engine.until_idle()
    ask = (await engine.asks.list()).items[0]
    assert "North" in str(ask.schema)
    with pytest.raises(FormInvalid):
        await engine.answer(ask.id, {"target": "db", "region": "x"}, by="ann")
    with pytest.raises(NotPermitted, match="ann asks here, not eve"):
        await engine.answer(ask.id, {"target": "db", "region": "n"}, by="eve")
    await engine.crash()
    await engine.answer(ask.id, {"target": "db", "region": "n"}, by="ann")
    await engine.until_idle()
    found = await engine.get(handle.id)
    assert (found.state["fields"], found.state["state"]) == ({"region": "n"}, "requested")


async def test_a_prefetch_of_no_field_is_a_definition_error() -> None:
    @prefetch("regon")
    def get_regions(event: Any) -> Any: ...

    with pytest.raises(DefinitionError, match="did you mean"):
        flow_of(get_regions, fields=["region"]).handlers  # noqa: B018


async def test_a_flow_is_a_child_of_another_workflow(engine: TestEngine) -> None:
    flow = flow_of()

    @workflow
    async def release() -> Any:
        return await child(flow.name, {"target": "db", "user": "ann"})

    engine.register(flow, release)
    handle = await engine.start("release")
    await engine.until_idle()
    ask = (await engine.asks.list()).items[0]
    await engine.answer(ask.id, {"approved": True}, by="bob")
    await engine.until_idle()
    assert (await engine.result(handle.id))["actors"]["approve"] == "bob"


async def test_two_flows_of_one_set_of_handlers_do_not_meet(engine: TestEngine) -> None:
    handlers = [named("get_approvers", to_channel), named("on_request")]
    one, two = (
        Flow(f"twin {n}", template=ApprovalTemplate, targets=[f"t{n}"], handlers=handlers)
        for n in (1, 2)
    )
    engine.register(one, two)
    first = await engine.start("twin 1", {"target": "t1"}, by="ann")
    second = await engine.start("twin 2", {"target": "t2"}, by="eve")
    await engine.until_idle()
    await decided(engine, first.id)
    assert (await engine.get(second.id)).state["state"] == "requested"


# -- deciding ------------------------------------------------------------------------------------


async def test_whoever_asked_may_not_decide_unless_told_so(engine: TestEngine) -> None:
    id = await begun(engine, flow_of(named("get_approvers", to_channel)))
    with pytest.raises(NotPermitted, match="ann asked for this"):
        await engine.answer(f"{id}.approval", {"approved": True}, by="ann")
    assert (await engine.asks.list()).items[0].answered is None

    def selfish(event: Any) -> Any:
        return slack.channel("#ops", allow_self=True)

    id = await begun(engine, flow_of(named("get_approvers", selfish)))
    assert (await decided(engine, id, by="ann")).outcome == "ok"


async def test_two_answer_and_one_wins(engine: TestEngine) -> None:
    id = await begun(engine, flow_of(named("on_approve"), strategy=Strategy))
    await engine.answer(f"{id}.approval", {"approved": True}, by="bob")
    with pytest.raises(AlreadyDecided, match="by bob"):
        await engine.answer(f"{id}.approval", {"approved": False}, by="cat")
    await engine.until_idle()
    assert CALLS.count("on_approve") == 1


async def test_a_stranger_is_refused_and_nothing_is_stored(engine: TestEngine) -> None:
    flow = flow_of(named("get_permissions", lambda e: RequestPermission(["bob"])))
    id = await begun(engine, flow)
    before = len((await engine.history(id)).items)
    for who in ("eve", None):
        with pytest.raises(NotPermitted):
            await engine.answer(f"{id}.approval", {"approved": True}, by=who)
        with pytest.raises(NotPermitted):
            await engine.send(id, Event(type="approve"), by=who)
    assert len((await engine.history(id)).items) == before
    assert (await decided(engine, id)).outcome == "ok"


async def test_faces_say_who_it_is_and_a_name_that_is_only_given_counts_for_some(
    engine: TestEngine,
) -> None:
    """Over a face `by` is `key:id/name` and the like; `bob via X` is what X says."""
    flow = flow_of(
        named("get_permissions", lambda e: RequestPermission(["bob"])), roles={"admin": ["gate"]}
    )
    refused = ["key:k1/eve", "bob via key:k1/eve", "bob via oidc:eve@x.org", "http:127.0.0.1"]
    taken = [
        "key:k1/bob",
        "oidc:bob",
        "uid:1000/bob",
        "bob via uid:1000/root",
        "bob via key:k/gate",
    ]
    for by in taken:
        id = await begun(engine, flow, by="key:k2/ann")
        assert (await engine.get(id)).state["user"] == "ann"
        for stranger in refused:
            with pytest.raises(NotPermitted):
                await engine.answer(f"{id}.approval", {"approved": True}, by=stranger)
        assert (await decided(engine, id, by=by)).state["actors"]["approve"] == "bob"
    with pytest.raises(NotPermitted):
        await begun(engine, flow, by="key:k1/eve", user="ann")
    assert await begun(engine, flow, by="uid:1000/root", user="ann")


async def test_an_event_that_was_posted_to_all_decides_nothing(engine: TestEngine) -> None:
    """Only the engine says who sent an event, and only of one sent to this request."""
    id = await begun(engine, flow_of())
    said = {"event": "approve", "actor": "bob", "values": {}, "channel": ["api", "bob"]}
    await engine.post({"type": "approve", "data": said}, by="eve")
    await engine.until_idle()
    assert (await engine.get(id)).state["state"] == "requested"


async def test_events_decide_as_answers_do(engine: TestEngine) -> None:
    id = await begun(engine, flow_of())
    sent = await engine.send(id, {"type": "deny", "data": {"reason": "no"}}, by="bob")
    assert (sent.delivered, sent.matched) == (1, True)
    await engine.until_idle()
    found = await engine.get(id)
    assert (found.outcome, found.result["reason"]) == ("denied", "no")
    assert (await engine.asks.list()).items == []
    with pytest.raises(NotFound):
        await engine.answer(f"{id}.approval", {"approved": True}, by="cat")


async def test_of_two_events_at_once_the_second_is_late(engine: TestEngine) -> None:
    """Both were let through before either was looked at."""

    def meanwhile(event: Any) -> None:
        other = engine.send(event.run.id, Event(type="deny"), by="cat")
        asyncio.run_coroutine_threadsafe(other, engine.loop).result()

    id = await begun(engine, flow_of(named("on_approve", meanwhile), strategy=Strategy))
    await engine.send(id, Event(type="approve"), by="bob")
    await engine.until_idle()
    found = await engine.get(id)
    assert (found.state["state"], found.state["reason"]) == ("escalated", None)
    assert ("deny", "late") in results(found)
    assert (await engine.asks.list()).items == []


async def test_while_a_request_expires_nobody_is_told_they_decided_it(
    engine: TestEngine,
) -> None:
    refused: list[str] = []

    def meanwhile(event: Any) -> None:
        answer = engine.answer(f"{event.run.id}.approval", {"approved": True}, by="bob")
        try:
            asyncio.run_coroutine_threadsafe(answer, engine.loop).result()
        except NoSuchAsk as error:
            refused.append(error.code)

    id = await begun(engine, flow_of(named("on_request_expire", meanwhile), timeout="1h"))
    await engine.advance("1h")
    assert (await engine.get(id)).outcome == "expired"
    assert refused == ["no_such_ask"]


async def test_levels_hold_each_other(engine: TestEngine) -> None:
    roles = {"admin": ["root"], "member": ["bob"]}

    async def may(who: str, **rule: Any) -> bool:
        flow = flow_of(named("get_permissions", lambda e: RequestPermission(**rule)), roles=roles)
        id = await begun(engine, flow)
        try:
            await decided(engine, id, by=who)
        except NotPermitted:
            return False
        return True

    assert await may("root")
    assert not await may("bob")
    assert await may("bob", approve_deny="member")
    assert not await may("eve", approve_deny="member")
    assert await may("eve", approve_deny="all_users")
    assert await may("root", approve_deny=["eve"])
    assert not await may("ann", approve_deny="all_users")
    assert await may("ann", approve_deny="all_users", allow_self_approval=True)
    with pytest.raises(InvalidInput, match="names nobody"):
        RequestPermission([])
    with pytest.raises(InvalidInput, match="must be one of"):
        RequestPermission("owner")


async def test_an_ignored_click_leaves_the_question_open_for_the_next(
    engine: TestEngine,
) -> None:
    def only_cat(event: Any) -> Any:
        return None if event.actor.username == "cat" else ApprovalTemplate.ignore("ask cat")

    id = await begun(engine, flow_of(named("on_approve", only_cat), named("after_approve")))
    found = await decided(engine, id, by="bob")
    assert (found.status, found.state["state"]) == ("waiting", "requested")
    assert found.state["audit"][-1]["message"] == "ask cat"
    assert "after_approve" not in CALLS
    assert (await engine.asks.list()).items[0].id == f"{id}.approval"
    assert (await decided(engine, id, by="cat")).outcome == "ok"


async def test_a_request_that_is_ignored_is_over(engine: TestEngine) -> None:
    flow = flow_of(named("on_request", lambda e: ApprovalTemplate.ignore("not today")))
    found = await engine.get(await begun(engine, flow))
    assert (found.status, found.outcome) == ("completed", "ignored")


async def test_the_same_event_is_fired_again_once(engine: TestEngine) -> None:
    again: list[Any] = [ApprovalTemplate.request()]
    flow = flow_of(named("on_request", lambda e: again.pop() if again else None))
    assert (await engine.get(await begun(engine, flow))).state["state"] == "requested"
    assert CALLS.count("on_request") == 2

    flow = flow_of(named("on_request", lambda e: ApprovalTemplate.request()))
    found = await engine.get(await begun(engine, flow))
    assert found.error.details["type"] == "HookRecursion"
    assert CALLS.count("on_request") == 4


async def test_hooks_that_lead_round_and_round_are_stopped(engine: TestEngine) -> None:
    flow = flow_of(
        named("on_approve", lambda e: ApprovalTemplate.deny()),
        named("on_deny", lambda e: ApprovalTemplate.approve()),
    )
    found = await decided(engine, await begun(engine, flow))
    assert found.error.details["type"] == "HookRecursion"
    assert CALLS.count("on_approve") + CALLS.count("on_deny") == 16


async def test_what_a_transition_is_fired_with_changes_the_request(engine: TestEngine) -> None:
    flow = flow_of(
        named("on_request", lambda e: ApprovalTemplate.approve(duration="5m", target="web")),
        duration="1h", strategy=Strategy,
    )  # fmt: skip
    id = await begun(engine, flow)
    found = await engine.get(id)
    assert (found.state["duration"], found.state["outputs"]) == (
        300,
        {"escalate": {"grant": "web"}},
    )
    await engine.advance("5m")
    assert (await engine.get(id)).outcome == "ok"


# -- quorum, delegation ----------------------------------------------------------------------------


async def test_as_many_as_needed_must_approve_and_one_may_deny(engine: TestEngine) -> None:
    flow = flow_of(named("on_approve"), needs=2)
    id = await begun(engine, flow)
    assert (await decided(engine, id, by="bob")).state["state"] == "requested"
    with pytest.raises(NotPermitted, match="approved this before"):
        await engine.answer(f"{id}.approval", {"approved": True}, by="bob")
    assert CALLS.count("on_approve") == 0
    assert (await decided(engine, id, by="cat")).outcome == "ok"
    assert CALLS.count("on_approve") == 1

    id = await begun(engine, flow)
    await decided(engine, id, by="bob")
    assert (await decided(engine, id, by="cat", approved=False)).outcome == "denied"


async def test_all_who_were_asked_must_approve(engine: TestEngine) -> None:
    flow = flow_of(
        named("get_approvers", lambda e: slack.group(["bob", "cat", "ann"])), needs="all"
    )
    id = await begun(engine, flow)
    assert (await decided(engine, id, by="bob")).status == "waiting"
    assert (await decided(engine, id, by="cat")).outcome == "ok"


async def test_all_of_a_level_must_approve(engine: TestEngine) -> None:
    rule = named("get_permissions", lambda e: RequestPermission("member"))
    flow = flow_of(rule, needs="all", roles={"member": ["bob", "cat", "ann"]})
    id = await begun(engine, flow)
    assert (await decided(engine, id, by="bob")).status == "waiting"
    assert (await decided(engine, id, by="cat")).outcome == "ok"


async def test_a_decision_can_be_handed_to_another(engine: TestEngine) -> None:
    flow = flow_of(named("get_approvers", lambda e: slack.user("bob")))
    id = await begun(engine, flow)
    with pytest.raises(NotPermitted):
        await engine.answer(f"{id}.approval", {"approved": True}, by="cat")
    with pytest.raises(NotPermitted):
        await engine.answer(f"{id}.approval", {"delegate": "cat"}, by="eve")
    await engine.answer(f"{id}.approval", {"delegate": "cat"}, by="bob")
    await engine.until_idle()
    found = await decided(engine, id, by="cat")
    assert found.outcome == "ok"
    assert ("delegate", "done") in results(found)


# -- destinations and time -------------------------------------------------------------------------


def in_turn(**options: Any) -> Any:
    return named(
        "get_approvers",
        lambda e: slack.fallback(
            slack.user("bob", timeout="10m"), slack.user("cat", timeout="10m"), **options
        ),
    )


async def test_it_is_forwarded_in_time_and_a_late_click_still_counts(
    engine: TestEngine, outlet: Outlet
) -> None:
    seen: list[Any] = []
    flow = flow_of(in_turn(continue_on_timeout=True), named("on_request_forward", seen.append),
                   named("after_request_forward", seen.append))  # fmt: skip
    id = await begun(engine, flow)
    await engine.advance("10m")
    assert outlet.delivered == ["bob", "cat"]
    assert seen[-1].get_context("request_forward") == {
        "all": [["slack user bob"], ["slack user cat"]], "current": ["slack user cat"], "next": None,
    }  # fmt: skip
    assert (await decided(engine, id, by="bob")).outcome == "ok"

    id = await begun(engine, flow)
    await engine.advance("20m")
    assert (await engine.get(id)).outcome == "expired"
    with pytest.raises(NoSuchAsk):
        await engine.answer(f"{id}.approval", {"approved": True}, by="bob")


async def test_without_being_told_so_nothing_is_forwarded_in_time(
    engine: TestEngine, outlet: Outlet
) -> None:
    id = await begun(engine, flow_of(in_turn()))
    await engine.advance("10m")
    assert outlet.delivered == ["bob"]
    assert (await engine.get(id)).outcome == "expired"


async def test_it_is_forwarded_when_it_cannot_be_delivered(
    engine: TestEngine, outlet: Outlet
) -> None:
    outlet.down.add("bob")
    id = await begun(engine, flow_of(in_turn(), named("after_request")))
    assert outlet.delivered == ["cat"]
    assert CALLS[-1] == "deliver"  # forwarded once the request was over
    assert (await decided(engine, id, by="cat")).outcome == "ok"

    outlet.down.add("cat")
    id = await begun(engine, flow_of(in_turn()))
    found = await engine.get(id)
    assert found.error.details["type"] == "DeliveryFailed"
    outlet.down.clear()
    await engine.resume(id)
    await engine.until_idle()
    assert (await engine.get(id)).status == "waiting"


async def test_one_of_several_places_is_enough(engine: TestEngine, outlet: Outlet) -> None:
    outlet.down.add("#a")
    places = [slack.channel("#a"), slack.channel("#b")]
    found = await engine.get(await begun(engine, flow_of(named("get_approvers", lambda e: places))))
    assert (found.status, outlet.delivered) == ("waiting", ["#b"])


async def test_reminders_are_sent_before_the_time_is_over(
    engine: TestEngine, outlet: Outlet
) -> None:
    id = await begun(engine, flow_of(reminders=["10m", "30m"], timeout="1h"))
    await engine.advance("10m")
    await engine.crash()
    await engine.advance("40m")
    assert [notice.get("reminder") for notice in outlet.notices] == [None, 1, 2]
    await engine.advance("10m")
    assert (await engine.get(id)).outcome == "expired"


@pytest.mark.parametrize("first", ["answer", "time"])
async def test_at_the_deadline_the_mailbox_decides(engine: TestEngine, first: str) -> None:
    id = await begun(engine, flow_of(timeout="1h"))
    if first == "time":
        await engine.advance("1h")
        with pytest.raises(NoSuchAsk):
            await decided(engine, id)
        assert (await engine.get(id)).outcome == "expired"
    else:
        answer = engine.answer(f"{id}.approval", {"approved": True}, by="bob")
        await answer
        await engine.advance("1h")
        assert (await engine.get(id)).outcome == "ok"


async def test_a_time_that_is_over_while_a_hook_decides_changes_nothing(
    engine: TestEngine,
) -> None:
    """The click came first: the deadline that passes while `on_approve` runs finds it decided."""

    def slow(event: Any) -> None:
        engine.loop.call_soon_threadsafe(
            lambda: engine.clock.move_to(engine.clock.now() + 3_600_000)
        )

    id = await begun(engine, flow_of(named("on_approve", slow), timeout="1h"))
    found = await decided(engine, id)
    assert (found.outcome, found.state["due"]) == ("ok", {})


async def test_access_is_taken_back_when_its_time_was_over_during_a_restart(
    engine: TestEngine,
) -> None:
    id = await begun(engine, flow_of(strategy=Strategy, duration="1h"))
    await decided(engine, id)
    engine.clock.move_to(engine.clock.now() + 7_200_000)
    await engine.crash()
    await engine.until_idle()
    assert CALLS[-1] == "strategy.deescalate"
    assert (await engine.get(id)).outcome == "ok"


async def test_a_revoke_before_access_is_given_waits_for_it(engine: TestEngine) -> None:
    sent: list[str] = []

    class Slow(Strategy):
        def escalate(self, target: Any, event: Any) -> Any:
            CALLS.append("strategy.escalate")
            revoke = engine.send(event.run.id, Event(type="deescalate"), by="ann")
            sent.append(asyncio.run_coroutine_threadsafe(revoke, engine.loop).result().id)
            return {"grant": target.name}

    id = await begun(engine, flow_of(strategy=Slow))
    found = await decided(engine, id)
    assert sent
    assert CALLS[-2:] == ["strategy.escalate", "strategy.deescalate"]
    assert (found.outcome, found.state["actors"]["deescalate"]) == ("ok", "ann")


async def test_a_stranger_may_not_revoke(engine: TestEngine) -> None:
    flow = flow_of(named("get_approvers", lambda e: slack.user("bob")), strategy=Strategy)
    id = await begun(engine, flow)
    await decided(engine, id)
    with pytest.raises(NotPermitted):
        await engine.send(id, Event(type="deescalate"), by="eve")
    await engine.send(id, Event(type="deescalate"), by="ann")
    await engine.until_idle()
    assert (await engine.get(id)).outcome == "ok"


async def test_a_cancelled_request_takes_back_what_it_gave(engine: TestEngine) -> None:
    id = await begun(engine, flow_of(strategy=Strategy))
    await decided(engine, id)
    await engine.cancel(id)
    await engine.until_idle()
    assert (await engine.get(id)).status == "cancelled"
    assert CALLS[-1] == "strategy.deescalate"
    id = await begun(engine, flow_of(strategy=Strategy))
    await engine.cancel(id)
    await engine.until_idle()
    assert (await engine.get(id)).status == "cancelled"
    assert (await engine.asks.list()).items == []
    assert CALLS[-1] == "deliver"


# -- crashes and changes ---------------------------------------------------------------------------


async def test_after_a_crash_behind_the_delivery_it_is_not_delivered_again(
    engine: TestEngine, outlet: Outlet
) -> None:
    down = [True]

    def stop(event: Any) -> None:
        CALLS.append("died" if down else "went on")
        while down:  # the process dies while this runs
            threading.Event().wait(0.002)

    flow = flow_of(named("after_request", stop))
    engine.register(flow)
    handle = await engine.start(flow.name, {"target": "db"}, by="ann")
    while "died" not in CALLS:
        await asyncio.sleep(0.002)
    down.clear()
    await engine.crash()
    found = await engine.get(handle.id)
    assert (found.status, found.state["state"]) == ("waiting", "requested")
    assert outlet.delivered == ["#ops"]


async def test_a_delivery_that_was_made_before_a_crash_is_not_made_again(
    engine: TestEngine, outlet: Outlet
) -> None:
    """Within one delivery, to two places: the first is recorded, the process dies at the second."""
    stuck = threading.Event()
    deliver = outlet.deliver

    def second_hangs(to: Any, notice: Any) -> None:
        if to.name == "#b" and not stuck.is_set():
            stuck.set()
            threading.Event().wait(0.3)
            raise ConnectionError("too late")
        deliver(to, notice)

    outlet.deliver = second_hangs  # type: ignore[method-assign]
    places = [slack.channel("#a"), slack.channel("#b")]
    flow = flow_of(named("get_approvers", lambda e: places))
    engine.register(flow)
    await engine.start(flow.name, {"target": "db"}, by="ann")
    while not stuck.is_set():
        await asyncio.sleep(0.002)
    await engine.crash()
    assert outlet.delivered == ["#a", "#b"]


async def test_a_request_keeps_the_handlers_it_was_started_with(engine: TestEngine) -> None:
    """A hook that is added later is for later requests; the running one replays as it was."""
    handlers = [named("get_approvers", to_channel)]
    flow = Flow("grows", template=ApprovalTemplate, targets=["db"], handlers=handlers)
    id = await begun(engine, flow)
    grown = Flow(
        "grows", template=ApprovalTemplate, targets=["db"],
        handlers=[*handlers, named("after_request"), named("on_approve")],
    )  # fmt: skip
    grown.where = flow.where
    engine._workflows.clear()
    engine._workflows.append(grown)
    await engine.crash()
    assert (await decided(engine, id)).outcome == "ok"
    assert "on_approve" not in CALLS
    await decided(engine, await begun(engine, grown))
    assert "on_approve" in CALLS


async def test_a_handler_that_is_gone_parks_the_request_that_needs_it(
    engine: TestEngine,
) -> None:
    handlers = [named("get_approvers", to_channel), named("on_approve")]
    flow = Flow("shrinks", template=ApprovalTemplate, targets=["db"], handlers=handlers)
    id = await begun(engine, flow)
    shrunk = Flow("shrinks", template=ApprovalTemplate, targets=["db"], handlers=handlers[:1])
    shrunk.where = flow.where
    engine._workflows.clear()
    engine._workflows.append(shrunk)
    await engine.crash()
    found = await decided(engine, id)
    assert found.status == "failed"
    assert "no handler on_approve any more" in found.error.message


async def test_a_test_run_tells_nobody(engine: TestEngine, outlet: Outlet) -> None:
    flow = flow_of(named("after_approve", lambda e: slack.send_message(to_channel(e), "hello")))
    engine.register(flow)
    handle = await engine.start(flow.name, {"target": "db"}, by="ann", test=True)
    await engine.until_idle()
    found = await decided(engine, handle.id)
    assert found.outcome == "ok"
    assert (outlet.delivered, outlet.messages) == ([], [])


async def test_a_request_is_made_anew_by_restart(engine: TestEngine, outlet: Outlet) -> None:
    id = await begun(engine, flow_of())
    await decided(engine, id)
    made = await engine.restart(id)
    await engine.until_idle()
    assert (await engine.get(made.instance)).state["state"] == "requested"
    assert outlet.delivered == ["#ops", "#ops"]


# -- templates of one's own ------------------------------------------------------------------------


@step
async def book(days: int) -> dict[str, int]:
    CALLS.append(f"book {days}")
    return {"left": 25 - days}


async def ask_manager(ctx: FlowContext) -> None:
    manager = await ctx.reduce("get_manager")
    ctx.run.contexts["manager"] = manager
    ctx.ask(f"{ctx.run.user} wants {ctx.run.fields['days']} days off", assignee=manager)
    ctx.later("lapse", 60)


async def grant(ctx: FlowContext) -> None:
    ctx.close_ask()
    ctx.never("lapse")
    ctx.run.outputs["booked"] = await book(days=ctx.run.fields["days"])
    ctx.finish("granted")


async def refuse(ctx: FlowContext) -> None:
    ctx.finish("refused")


Leave = Template(
    "leave",
    {
        "request": On(["new"], ask_manager, "asked", redirects=["approve", "deny"]),
        "approve": On(["asked"], grant, "ended", people=True, decides=True, ignorable=True),
        "deny": On(["asked"], refuse, "ended", people=True, decides=True),
        "lapse": On(["asked"], refuse, "ended"),
    },
    reducers={"get_manager": str},
    required=[["get_manager"]],
)


async def test_a_template_of_ones_own_is_the_same_kind_of_table(engine: TestEngine) -> None:
    flow = Flow(
        "time off", template=Leave, fields=[FlowField("days", type="integer")],
        roles={"admin": ["boss"]},
        handlers=[named("get_manager", "mia"), named("after_approve"), named("on_lapse")],
    )  # fmt: skip
    engine.register(flow)
    first = await engine.start("time off", {"days": 5}, by="ann")
    second = await engine.start("time off", {"days": 2}, by="ann")
    await engine.until_idle()
    assert {ask.assignee for ask in (await engine.asks.list()).items} == {"mia"}
    for who in ("ann", "eve"):
        with pytest.raises(NotPermitted, match="mia may"):
            await engine.answer(f"{first.id}.approval", {"approved": True}, by=who)
    found = await decided(engine, first.id, by="boss")
    assert (found.outcome, found.state["outputs"]) == ("granted", {"booked": {"left": 20}})
    third = await engine.start("time off", {"days": 1}, by="ann")
    await engine.until_idle()
    assert (await decided(engine, third.id, by="mia", approved=False)).outcome == "refused"
    await engine.advance("1m")
    assert (await engine.get(second.id)).outcome == "refused"
    assert CALLS.count("get_manager") == 3
    assert [call for call in CALLS if call != "get_manager"] == [
        "book 5",
        "after_approve",
        "on_lapse",
    ]


async def test_of_two_who_are_asked_in_turn_each_decides_their_own_part(
    engine: TestEngine,
) -> None:
    async def ask(ctx: FlowContext) -> None:
        ctx.ask("First?", assignee="mia")

    async def ask_again(ctx: FlowContext) -> None:
        ctx.close_ask()
        if ctx.run.state == "asked":
            ctx.ask("Second?", assignee="max")
        else:
            ctx.finish("granted")

    async def hand_over(ctx: FlowContext) -> None: ...

    twice = Template("twice", {
        "request": On(["new"], ask, "asked"),
        "approve": On(["asked", "passed"], ask_again, "passed", people=True, decides=True),
        "rest": On(["passed"], hand_over),
    })  # fmt: skip
    flow = Flow(f"flow {next(NAMES)}", template=twice)
    engine.register(flow)
    id = (await engine.start(flow.name, by="ann")).id
    await engine.until_idle()
    for right, wrong in (("mia", "max"), ("max", "mia")):
        await engine.crash()  # who may is known again
        with pytest.raises(NotPermitted):
            await engine.answer(f"{id}.approval", {"approved": True}, by=wrong)
        found = await decided(engine, id, by=right)
    assert found.outcome == "granted"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"targets": ["db", "db"]}, "two targets of one name"),
        ({"fields": ["why", "why"]}, "two fields of one name"),
        ({"fields": ["target"]}, "cannot be the name of a field"),
        ({"fields": [{"name": "n", "type": "date"}]}, "it can be text"),
        ({"needs": 0}, "needs must be"),
        ({"roles": {"admins": []}}, 'did you mean "admin"'),
        ({"strategy": object()}, "its strategy has no escalate"),
        ({"duration": 0}, "duration must be longer than 0"),
        ({"timeout": "-1s"}, "timeout"),
        ({"name": "a/b"}, "must not have a"),
        ({"template": "approval"}, "must be a template"),
    ],
)
def test_a_flow_that_cannot_work_is_refused(options: dict[str, Any], why: str) -> None:
    given = {"name": "wrong", "template": ApprovalTemplate, **options}
    with pytest.raises((DefinitionError, InvalidInput), match=why):
        Flow(**given)


def test_a_template_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError) as raised:
        Template(
            "wrong",
            {
                "request": On(["nowhere"], None, "asked", next="nothing"),
                "ignore": On(["new"]),
            },
            required=[["get_x"]],
        )
    text = str(raised.value)
    assert "'nowhere'" in text
    assert "'nothing'" in text
    assert "'ignore' cannot be the name of an event" in text
    assert "get_x is required" in text


# -- looking ---------------------------------------------------------------------------------------


async def test_every_decision_has_a_line_in_the_audit(engine: TestEngine) -> None:
    flow = flow_of(in_turn(continue_on_timeout=True), needs=2)
    id = await begun(engine, flow)
    await engine.advance("10m")
    await decided(engine, id, by="bob", reason="fine")
    found = await decided(engine, id, by="cat", reason="me too")
    assert results(found) == [
        ("request", "done"), ("request_forward", "done"), ("approve", "vote"), ("approve", "done"),
        ("escalate", "done"),
    ]  # fmt: skip
    assert [line.get("reason") for line in found.state["audit"]][2:4] == ["fine", "me too"]
    assert "approval" in (await engine.why(id)).text or found.status == "completed"


async def test_an_engine_takes_clicks_once_it_has_a_flow(engine: TestEngine) -> None:
    assert "slack/buttons" not in engine.hooks.paths()
    engine.register(flow_of())
    assert "slack/buttons" in engine.hooks.paths()
    engine.register(flow_of())
    await engine.crash()
    assert engine.hooks.paths().count("slack/buttons") == 1


def test_a_flow_on_a_blocking_engine() -> None:
    flow = flow_of()
    with Engine.sync(":memory:", workflows=[flow]) as engine:
        handle = engine.start(flow.name, {"target": "db"}, by="ann")
        while engine.get(handle.id).status != "waiting":
            pass
        engine.answer(f"{handle.id}.approval", {"approved": True}, by="bob")
        assert handle.result(timeout="10s")["outcome"] == "ok"


def test_okta_groups_are_lists_of_users() -> None:
    with provide(okta={"users_in_group": lambda group_id: [{"username": "a"}, "b"]}):
        assert okta.users_in_group("g") == ["a", "b"]
        assert okta.is_user_in_group("b", "g")
        assert not okta.is_user_in_group("c", "g")
