"""Events: what came, what each did, and why it did nothing to the rest."""

from __future__ import annotations

import re
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
    return await render(request, "events.html", found=found, type=type, cursor=cursor, dead=dead,
                        redrive=Deed("events.redrive", {}), deed=Deed)  # fmt: skip


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
        resend=Deed("events.resend", {"id": one.id}), deed=Deed, edited=written,
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


# -- failures ------------------------------------------------------------------------------------


class Group(dict[str, Any]):
    """Failures that are one: `key workflow step code message instances`."""


FAILED_MAX: Final = 2_000
_VARIES: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|\"[^\"]*\"")


def fingerprint(message: str) -> str:
    """A message without what differs from one failure to the next: numbers, ids, quoted texts."""
    return _VARIES.sub("…", message)[:300]


def grouped(found: list[shapes.Instance]) -> list[Group]:
    """Failures and waiting retries by workflow, step, code and message; the largest first."""
    groups: dict[tuple[str, ...], Group] = {}
    for one in found:
        for step, error, due in _errors(one):
            kind = str(error.details.get("type") or error.code)
            key = (
                one.workflow,
                step,
                kind,
                fingerprint(error.message),
                "retry" if due else "failed",
            )
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group(
                    key="|".join(key), workflow=one.workflow, step=step, code=kind,
                    message=error.message, fingerprint=key[3], instances=[], due=None,
                    kind=key[4], last=one.updated,
                )  # fmt: skip
            group["instances"].append(one)
            group["due"] = min(filter(None, (group["due"], due)), default=None)
    return sorted(groups.values(), key=lambda group: -len(group["instances"]))


def _errors(one: shapes.Instance) -> list[tuple[str, shapes.Problem, str | None]]:
    if one.status == "failed" and one.error is not None:
        step = one.error.details.get("step") or one.error.details.get("op") or ""
        return [(str(step), one.error, None)]
    return [(wait.name or wait.op, wait.error, wait.due)
            for wait in one.waits if wait.kind == "retry" and wait.error is not None]  # fmt: skip


async def failures(request: Request) -> tuple[list[Group], bool]:
    """The groups there are now, and whether there were too many to look at all."""
    engine = web_of(request).engine
    found: list[shapes.Instance] = []
    more = False
    for q in ("status:failed", "status:paused", "status:waiting due<1000d"):
        cursor: str | None = None
        start = len(found)
        while len(found) - start < FAILED_MAX:
            page = await engine.list(q, limit=1_000, cursor=cursor)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                break
        more = more or cursor is not None
    return grouped(found), more


async def retries(request: Request) -> Response:
    """`GET /retries`"""
    groups, more = await failures(request)
    return await render(request, "retries.html", groups=groups, more=more, most=FAILED_MAX)


async def retry_group(request: Request) -> Response:
    """`POST /retries`: `key` of a group, `verb` retry or cancel; what is in the group *now*."""
    from greenroom.runtime.web.pages.instances import each  # noqa: PLC0415  they know each other
    from greenroom.runtime.web.pages.screen import go, say  # noqa: PLC0415

    form = await request.form()
    verb, key = str(form.get("verb", "retry")), str(form.get("key", ""))
    reason = str(form.get("reason", "")).strip() or None
    groups, _ = await failures(request)
    group = next((one for one in groups if one["key"] == key), None)
    response = go(request, "/retries")
    if group is None:
        return say(request, response, "nothing fails like that any more", "bad")
    method = "cancel" if verb == "cancel" else "resume"
    ids = [one.id for one in group["instances"]]
    done, refused = await each(request, method, ids, reason)
    text = f"{verb}: {done:,} of {len(ids):,}"
    for message, number in refused.most_common(3):
        text += f"\n{number:,} times: {message}"
    return say(request, response, text, "bad" if refused else "good")
