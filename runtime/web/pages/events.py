"""Events: what came, what each did, and why it did nothing to the rest."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from greenroom.runtime import shapes
from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.screen import render
from greenroom.runtime.web.routes import web_of

PAGE: Final = 50
_DONE: Final = ("started", "delivered", "held", "refused")


async def events(request: Request) -> Response:
    """`GET /events?type=&cursor=`"""
    engine = web_of(request).engine
    type = request.query_params.get("type", "").strip()
    cursor = request.query_params.get("cursor") or None
    found = await engine.events.list(type, limit=PAGE, cursor=cursor)
    dead = await engine.events.dead(limit=20)
    return await render(
        request, "events.html", found=found, type=type, cursor=cursor, dead=dead,
        redrive=Deed("events.redrive", {}), posted=Deed("post", {"event": {"type": type, "data": {}}}),
    )  # fmt: skip


class Verdict(shapes.Fact, frozen=True):
    """What an event did to one workflow or instance. `verdict` is matched, not, or note."""

    verdict: str = "note"
    finding: dict[str, Any] | None = None
    instance: str | None = None


def verdict(fact: shapes.Fact) -> Verdict:
    data = fact.data
    action = data.get("action")
    finding = data.get("finding")
    kind = "matched" if action in _DONE or "collect" in data else "not" if finding else "note"
    instance = data.get("instance")
    return Verdict(
        fact.text.strip().partition(" · ")[0] if finding else fact.text.strip(), data, kind, finding if isinstance(finding, dict) else None,
        instance if isinstance(instance, str) and instance else None,
    )  # fmt: skip


async def event(request: Request) -> Response:
    """`GET /events/{id}`: an event with a verdict for everything that listened."""
    engine = web_of(request).engine
    one = await engine.events.get(request.path_params["id"])
    workflow = request.query_params.get("workflow", "").strip() or None
    why = await engine.events.explain(one.id, workflow)
    written: dict[str, Any] = {"type": one.type, "data": one.data}
    if one.subject is not None:
        written["subject"] = one.subject
    return await render(
        request, "event.html", one=one, head=why.facts[0].text,
        verdicts=[verdict(fact) for fact in why.facts[1:]], workflow=workflow,
        resend=Deed("events.resend", {"id": one.id}), changed=Deed("post", {"event": written}),
        names=sorted(engine.registry.names()),
    )  # fmt: skip


# -- who listens ---------------------------------------------------------------------------------


async def subscriptions(request: Request) -> Response:
    """`GET /subscriptions`: the triggers of every released workflow, beside what came of their
    types lately. A condition that let nothing through is worth a look."""
    engine = web_of(request).engine
    rows: list[dict[str, Any]] = []
    seen: dict[str, list[shapes.StoredEvent]] = {}
    for name in sorted(engine.registry.names()):
        definition = engine.registry.released(name)
        for trigger in definition.triggers:
            row: dict[str, Any] = {
                "workflow": name, "version": definition.version, "type": trigger.type,
                "enabled": engine.registry.is_enabled(name), "where": trigger.where.source,
                "schedule": trigger.schedule.rule if trigger.schedule is not None else None,
                "collect": trigger.collect.kind if trigger.collect is not None else None,
                "looked": 0, "matched": 0, "last": None,
            }  # fmt: skip
            if trigger.type is not None:
                if trigger.type not in seen:
                    page = await engine.events.list(trigger.type, limit=LOOKED)
                    seen[trigger.type] = page.items
                _count(row, trigger, seen[trigger.type])
            rows.append(row)
    return await render(request, "subscriptions.html", rows=rows, looked=LOOKED)


LOOKED: Final = 200
"""Events of a type that the hit rate is counted over: the newest."""


def _count(row: dict[str, Any], trigger: Any, events: list[shapes.StoredEvent]) -> None:
    for one in events:
        row["looked"] += 1
        data = {
            name: getattr(one, name) for name in ("id", "type", "source", "subject", "time", "data")
        }
        if trigger.where.first_failure({**data, **one.extra}) is None:
            row["matched"] += 1
            row["last"] = row["last"] or one
