"""`pagerduty`: incidents by the Events API, and who is on call by the REST API.

Secrets: `pagerduty_token` (REST), `pagerduty_routing_key` (events to it),
`pagerduty_signing_secret` (webhooks from it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import msgspec

from greenroom.definitions.credentials import ApiKey, secret_name
from greenroom.definitions.values import Json
from greenroom.runtime.connectors.connections import ActionContext
from greenroom.runtime.connectors.connector import Connector
from greenroom.runtime.connectors.http import Http
from greenroom.runtime.connectors.shipped import SOURCE

PAGE: Final = 100
PAGES_MAX: Final = 50


class Incident(msgspec.Struct, omit_defaults=True):
    """What is wrong. `dedup_key` names it for later; by default it is this op's."""

    summary: str
    source: str = "greenroom"
    severity: Literal["critical", "error", "warning", "info"] = "error"
    dedup_key: str | None = None
    component: str | None = None
    group: str | None = None
    details: dict[str, Any] = {}


class Known(msgspec.Struct):
    dedup_key: str


class Person(msgspec.Struct):
    email: str


class Duty(msgspec.Struct, omit_defaults=True):
    """Of one schedule, by name or id; of all without either."""

    schedule_name: str | None = None
    schedule_id: str | None = None


class DutyOf(msgspec.Struct, omit_defaults=True):
    """A person (mail address, or PagerDuty's id) and a schedule, by name or id."""

    user: str
    schedule_name: str | None = None
    schedule_id: str | None = None


def pagerduty_connector(
    id: str = "pagerduty",
    *,
    token: str = "secret://pagerduty_token",
    routing_key: str = "secret://pagerduty_routing_key",
    signing_secret: str = "secret://pagerduty_signing_secret",
    host: str = "api.pagerduty.com",
    events_host: str = "events.pagerduty.com",
    rate_limit: Json = None,
) -> Connector:
    """PagerDuty, with the secrets of an account."""
    route = secret_name(routing_key)
    connector = Connector(
        id,
        type="PagerDuty",
        name="PagerDuty",
        description="Incidents and who is on call",
        host=host,
        credentials=ApiKey(token, "Authorization", "Token token="),
        default_headers={"Accept": "application/vnd.pagerduty+json;version=2"},
        grants=[route],
        rate_limit=rate_limit,
        idempotency_header=None,
        signature={"scheme": "pagerduty", "secret": signing_secret},
        type_path="event.event_type",
        source=SOURCE,
    )
    events = Connector(
        f"{id}-events", host=events_host, base_path="v2", idempotency_header=None, source=SOURCE
    )
    for type in ("triggered", "acknowledged", "resolved", "reassigned", "annotated"):
        connector.event(f"incident.{type}")

    @events.action("Enqueue", idempotent=True)  # a second one of a dedup_key joins the first
    async def enqueue(params: dict[str, Any], http: Http) -> Json:
        return (await http.post("enqueue", json=params)).json()

    async def told(action: str, more: dict[str, Any], ctx: ActionContext) -> Json:
        key = await ctx.secret(route)
        body = {"routing_key": key, "event_action": action, **more}
        found: Any = await events.find("Enqueue").perform(body, ctx.idempotency_key)
        return {"dedup_key": found.get("dedup_key"), "status": found.get("status")}

    @connector.action("Trigger", params=Incident, idempotent=True)
    async def trigger(incident: Incident, ctx: ActionContext) -> Json:
        """Opens an incident, or adds to the one of its `dedup_key`; gives `{dedup_key, status}`."""
        payload: dict[str, Any] = {
            "summary": incident.summary[:1024],
            "source": incident.source,
            "severity": incident.severity,
            "custom_details": incident.details,
        }
        payload |= {
            name: value
            for name in ("component", "group")
            if (value := getattr(incident, name)) is not None
        }
        more: dict[str, Any] = {"payload": payload}
        if key := incident.dedup_key or ctx.idempotency_key:
            more["dedup_key"] = key[:255]
        return await told("trigger", more, ctx)

    @connector.action("Acknowledge", params=Known, idempotent=True)
    async def acknowledge(known: Known, ctx: ActionContext) -> Json:
        """Says that somebody is at it."""
        return await told("acknowledge", {"dedup_key": known.dedup_key}, ctx)

    @connector.action("Resolve", params=Known, idempotent=True)
    async def resolve(known: Known, ctx: ActionContext) -> Json:
        """Closes an incident."""
        return await told("resolve", {"dedup_key": known.dedup_key}, ctx)

    @connector.action("FindUser", params=Person, idempotent=True)
    async def find_user(person: Person, http: Http) -> Json:
        """A person by mail address: `{id, name, email}`, or `{}`."""
        wanted = person.email.casefold()
        async for user in _all(http, "users", "users", {"query": person.email}):
            if str(user.get("email")).casefold() == wanted:
                return _person(user)
        return {}

    @connector.action("OnCall", params=Duty, idempotent=True)
    async def on_call(duty: Duty, http: Http) -> Json:
        """Who is on call now: `{users: [{id, name, email}]}`, each once."""
        return {"users": await _on_call(http, duty.schedule_id, duty.schedule_name)}

    @connector.action("IsOnCall", params=DutyOf, idempotent=True)
    async def is_on_call(duty: DutyOf, http: Http) -> Json:
        """Whether a person is on call now: `{on_call: true}`."""
        users = await _on_call(http, duty.schedule_id, duty.schedule_name)
        wanted = duty.user.casefold()
        found = [
            u for u in users if wanted in (str(u["id"]).casefold(), str(u["email"]).casefold())
        ]
        return {"on_call": bool(found)}

    return connector


async def _on_call(http: Http, schedule_id: str | None, name: str | None) -> list[dict[str, Any]]:
    query: dict[str, Any] = {"include[]": "users"}
    if schedule_id is None and name is not None:
        schedule_id = await _schedule(http, name)
        if schedule_id is None:
            return []
    if schedule_id is not None:
        query["schedule_ids[]"] = schedule_id
    users: dict[str, dict[str, Any]] = {}
    async for one in _all(http, "oncalls", "oncalls", query):
        user = _person(one.get("user") or {})
        users.setdefault(str(user["id"]), user)
    return list(users.values())


async def _schedule(http: Http, name: str) -> str | None:
    async for one in _all(http, "schedules", "schedules", {"query": name}):
        if one.get("name") == name:
            return str(one.get("id"))
    return None


async def _all(
    http: Http, path: str, key: str, query: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """The items of all pages."""
    for page in range(PAGES_MAX):
        response = await http.get(path, query={**query, "limit": PAGE, "offset": page * PAGE})
        found: Any = response.json()
        for item in found.get(key) or []:
            yield item
        if not found.get("more"):
            return


def _person(user: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": user.get("id"),
        "name": user.get("name") or user.get("summary"),
        "email": user.get("email"),
    }
