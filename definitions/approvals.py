"""The approval template: somebody asks for access, somebody decides, and it is taken back in time.

    prompt -> request -> approve -> escalate -> deescalate
                      -> deny
                      -> request_forward -> request_expire

Each function is the default of one event; what hooks may do instead is in the table below.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.definitions.destinations import Route, route_from, route_of
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.flowruns import FlowContext
from greenroom.definitions.permissions import Permission, RequestPermission
from greenroom.definitions.templates import ENDED, NEW, On, Template
from greenroom.definitions.values import Json

ANSWER: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "reason": {"type": "string"},
        "duration": {"type": "string", "format": "duration"},
        "delegate": {"type": "string"},
    },
}
"""The schema of a decision: `{"approved": true}`, or `{"delegate": "bob"}` to hand it over."""


async def prompt(ctx: FlowContext) -> None:
    """Asks whoever wants something for the fields, with the options known now."""
    options: dict[str, Any] = {}
    for field, slot in ctx.flow.prefetched(ctx.run.handlers).items():
        options[field] = await ctx.reduce(slot)
    ctx.ask_form(ctx.flow.name, options)


async def request(ctx: FlowContext) -> None:
    """Finds who decides and where they are told, tells them, and opens the question."""
    run = ctx.run
    route = Route()
    if ctx.has("get_approvers"):
        route = route_from(await ctx.reduce("get_approvers"))
        run.permission = Permission(routed=True).as_data()
    if ctx.has("get_permissions"):
        run.permission = await ctx.reduce("get_permissions")
    if ctx.has("get_request_notifications"):
        route = route_from(await ctx.reduce("get_request_notifications"))
    run.route = route.as_data()
    ctx.ask(ctx.flow.title(vars(run)), schema=ANSWER, assignee=_assignee(route, run.permission))
    await _deliver(ctx, route, 0)


async def request_forward(ctx: FlowContext) -> None:
    """The next destination: the one before did not take it, or did not answer in time."""
    route, stage = route_from(ctx.run.route), ctx.run.stage + 1
    places = [[str(one) for one in found] for found in route.stages]
    ctx.run.contexts["request_forward"] = {
        "all": places,
        "current": places[stage],
        "next": places[stage + 1] if route.has_after(stage) else None,
    }
    await _deliver(ctx, route, stage)


async def _deliver(ctx: FlowContext, route: Route, stage: int) -> None:
    """Delivers to one stage, and arms the time it has. A request that goes nowhere waits in the
    list of open questions."""
    run = ctx.run
    run.stage = min(stage, len(route.stages) - 1)
    if route.stages:
        goes_on = route.on_failure and route.has_after(stage)
        found = await ctx.call(
            ctx.flow.target("deliver"),
            to=msgspec.to_builtins(route.stages[stage]), notice=ctx.flow.notice(ctx), must=not goes_on,
        )  # fmt: skip
        run.sent += found.get("sent", [])
        if not found["delivered"]:
            ctx.note("undelivered", to=found["failed"])
            ctx.follow = "request_forward"
            return
    limit = route.timeout_s(stage) if route.stages else ctx.flow.timeout_s
    onwards = route.on_timeout and route.has_after(stage)
    ctx.never("request_forward")
    ctx.never("request_expire")
    if limit is None and not onwards:
        limit = ctx.flow.timeout_s
    if limit is not None:
        ctx.later("request_forward" if onwards else "request_expire", limit)
    _remind_later(ctx, 0)


def _remind_later(ctx: FlowContext, number: int) -> None:
    """The reminder with this number, counted from the delivery."""
    times = ctx.flow.reminders
    if number < len(times) and ctx.run.route["stages"]:
        before = times[number - 1] if number else 0.0
        ctx.later("remind", times[number] - before)
        ctx.run.contexts["remind"] = {"number": number}
    else:
        ctx.never("remind")


async def remind(ctx: FlowContext) -> None:
    """Tells those who have not answered once more."""
    route, number = route_from(ctx.run.route), ctx.run.contexts["remind"]["number"]
    found = await ctx.call(
        ctx.flow.target("deliver"),
        to=msgspec.to_builtins(route.stages[ctx.run.stage]),
        notice={**ctx.flow.notice(ctx), "reminder": number + 1}, must=False,
    )  # fmt: skip
    ctx.run.sent += found.get("sent", [])
    _remind_later(ctx, number + 1)


async def request_expire(ctx: FlowContext) -> None:
    await ctx.settle("expired")
    ctx.finish("expired")


async def approve(ctx: FlowContext) -> None:
    """Records the decision; what it is fired with changes the request."""
    run = ctx.run
    ctx.close_ask()
    for event in ("request_forward", "request_expire", "remind"):
        ctx.never(event)
    run.reason = ctx.values.get("reason")
    if ctx.values.get("target") is not None:
        run.target = ctx.values["target"]
    if ctx.values.get("duration") is not None:
        run.duration = ctx.values["duration"]
    await ctx.settle("approved")


async def deny(ctx: FlowContext) -> None:
    ctx.run.reason = ctx.values.get("reason")
    await ctx.settle("denied")
    ctx.finish("denied")


async def escalate(ctx: FlowContext) -> None:
    """Gives what was asked for. Where nothing has to be taken back, that is the end."""
    run, flow = ctx.run, ctx.flow
    if flow.strategy is not None:
        run.outputs["escalate"] = None  # from here on there may be something to take back
        run.outputs["escalate"] = await ctx.act("escalate")
    if run.duration is not None:
        ctx.later("deescalate", run.duration)
    elif flow.strategy is None:
        ctx.finish("ok")


async def deescalate(ctx: FlowContext) -> None:
    """Takes it back: the time is over, or somebody revoked it."""
    await _take_back(ctx)
    ctx.run.reason = ctx.values.get("reason") or ctx.run.reason
    ctx.finish("ok")


async def cancelled(ctx: FlowContext) -> None:
    """Somebody cancelled the request: it asks no more, and nothing that it gave stays."""
    await ctx.settle("cancelled")
    await _take_back(ctx)


async def _take_back(ctx: FlowContext) -> None:
    if "escalate" in ctx.run.outputs and "deescalate" not in ctx.run.outputs:
        ctx.run.outputs["deescalate"] = await ctx.act("deescalate")


def _assignee(route: Route, permission: Json) -> str | None:
    """A label for lists: the one person who is asked, if it is one."""
    people = [one.people() for one in route.so_far(0)]
    if len(people) == 1 and people[0] is not None and len(people[0]) == 1:
        return people[0][0]
    named = permission.get("people") or []
    return str(named[0]) if len(named) == 1 else None


def _route(given: Any) -> Json:
    return route_of(given).as_data()


def _permission(given: Any) -> Json:
    if isinstance(given, RequestPermission):
        return given.permission.as_data()
    raise InvalidInput(f"a RequestPermission is needed, got {type(given).__name__}")


ApprovalTemplate: Final = Template(
    "approval",
    {
        "prompt": On((NEW,), prompt, "prompted", redirects=("request",)),
        "request": On(
            (NEW, "prompted"), request, "requested",
            redirects=("approve", "deny", "escalate", "request_expire"), ignorable=True,
        ),
        "request_forward": On(
            ("requested",), request_forward, redirects=("approve", "deny", "request_expire")
        ),
        "remind": On(("requested",), remind, redirects=("approve", "deny", "request_expire")),
        "request_expire": On(("requested",), request_expire, ENDED, redirects=("approve", "deny")),
        "approve": On(
            ("requested",), approve, "approved", next="escalate",
            redirects=("deny", "escalate"), ignorable=True,
            people=True, decides=True, quorum=True,
        ),
        "deny": On(
            ("requested",), deny, ENDED, redirects=("approve",), ignorable=True, people=True,
            decides=True,
        ),
        "escalate": On(("approved",), escalate, "escalated", redirects=("deescalate",)),
        "deescalate": On(("approved", "escalated"), deescalate, ENDED, people=True),
    },
    reducers={
        "get_permissions": _permission,
        "get_approvers": _route,
        "get_request_notifications": _route,
    },
    required=(("get_approvers", "get_permissions"),),
    prompt="prompt",
    cleanup=cancelled,
)  # fmt: skip
"""Somebody asks, somebody decides: `ApprovalTemplate.approve()`, `.deny(reason=...)`, `.ignore()`."""
