"""One instance: where it is and why; then its timeline, journal, state, graph; and what to do.

Nothing here grows with the history: the timeline and the journal show windows of `WINDOW` turns, and
the state at a place is folded only when somebody moves the slider.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import InstanceRow
from greenroom.actors.progress import Progress
from greenroom.actors.rows import result_of
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Plan
from greenroom.runtime import differences, progresses, reasons, shapes, views
from greenroom.runtime.web.pages import drawing
from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.screen import render
from greenroom.runtime.web.pages.timeline import timeline
from greenroom.runtime.web.routes import web_of

WINDOW: Final = 200
TABS: Final = ("timeline", "journal", "state", "graph", "actions")
ENDED: Final = ("completed", "cancelled")


async def instance(request: Request) -> Response:
    """`GET /i/{instance}?tab=`; the instance is its id or `workflow/key`."""
    engine = web_of(request).engine
    row = await engine._find(request.path_params["instance"])
    p = await engine._progress(row.n)
    head = p.iseq
    tab = request.query_params.get("tab", "timeline")
    tab = tab if tab in TABS else "timeline"
    asks = await engine.asks.list(f"instance:{row.id}", limit=10)
    one = views.instance_shape(row)
    made: dict[str, Any] = await _TAB[tab](request, row, one, p)
    why = await reasons.why(engine, row, p)
    found = verbs(one)
    return await render(
        request, "instance.html",
        one=made.pop("one", one), tab=tab, tabs=TABS, head=head, why=why.text.split("\n")[1:], asks=asks.items,
        verbs=found, buttons=[[label, deed, "", "", about] for label, deed, about in found], **made,
    )  # fmt: skip


def verbs(one: shapes.Instance) -> list[tuple[str, Deed, str]]:
    """What can be done to it as it is: label, request, what it means."""
    given: dict[str, Any] = {"instance": one.id}
    found: list[tuple[str, Deed, str]] = []
    retries = any(wait.kind == "retry" for wait in one.waits)
    if one.status == "failed":
        text = "tries what failed again; a new budget of attempts"
        found.append(("Retry", Deed("resume", given), text))
    elif one.status == "paused":
        found.append(("Resume", Deed("resume", given), "goes on where it was"))
    elif retries:
        found.append(("Retry now", Deed("resume", given), "does not wait for the next attempt"))
    if one.status in ("pending", "running", "waiting"):
        text = "running steps finish, nothing new is started"
        found.append(("Pause", Deed("pause", given), text))
    if one.status not in ENDED:
        text = "aborts running steps, takes back what can be, and ends it"
        found.append(("Cancel", Deed("cancel", given), text))
    return found


async def _timeline(
    request: Request, row: InstanceRow, one: shapes.Instance, p: Progress
) -> dict[str, Any]:
    engine = web_of(request).engine
    after = _after(request, max(0, p.iseq - WINDOW))
    found = await engine.history(one.id, after=after, limit=WINDOW)
    over = one.status in ENDED
    made = timeline(found.items, engine.clock.now(), over or after + WINDOW < p.iseq)
    return {"line": made, "after": after, "window": WINDOW}


async def _journal(
    request: Request, row: InstanceRow, one: shapes.Instance, p: Progress
) -> dict[str, Any]:
    after = _after(request, max(0, p.iseq - WINDOW))
    found = await web_of(request).engine.history(one.id, after=after, limit=WINDOW)
    kind = request.query_params.get("find", "").strip().lower()
    entries = [entry for entry in found.items if not kind or kind in _text(entry)]
    return {"entries": entries, "hidden": len(found.items) - len(entries), "after": after,
            "window": WINDOW, "find": kind}  # fmt: skip


def _text(entry: shapes.Entry) -> str:
    return f"{entry.kind} {entry.op} {entry.by} {entry.data}".lower()


def _after(request: Request, default: int) -> int:
    text = request.query_params.get("after", "")
    return min(int(text), 1 << 40) if text.isdecimal() and len(text) < 12 else default


async def _state(
    request: Request, row: InstanceRow, one: shapes.Instance, p: Progress
) -> dict[str, Any]:
    """The state after turn `seq`, and what that turn changed."""
    engine = web_of(request).engine
    result = result_of(p) if p.end == "completed" else None
    one = views.instance_shape(row, views.shown_state(p), result)
    text = request.query_params.get("seq", "")
    seq = int(text) if text.isdecimal() and len(text) < 12 else p.iseq
    seq = max(1, min(seq, p.iseq))
    before, state = await progresses.states_at(engine.journal, row.n, seq)
    lines = (await engine.history(one.id, after=seq - 1, limit=1)).items
    changes = differences.changes(before, state) if seq > 1 else []
    return {"seq": seq, "state": state, "changes": changes, "lines": lines, "one": one}


async def _graph(
    request: Request, row: InstanceRow, one: shapes.Instance, p: Progress
) -> dict[str, Any]:
    engine = web_of(request).engine
    after = max(0, p.iseq - 1_000)
    found = await engine.history(one.id, after=after, limit=1_000)
    definition = engine.registry.version(one.workflow, one.version)
    states: dict[int, Json] = {}
    if definition is not None and p.iseq <= BRANCHES_MAX:
        turns = drawing.turns_of(definition, found.items)
        states = await progresses.states_after(engine.journal, row.n, turns)
    boxes, whole = drawing.drawn(definition, found.items, states)
    return {"boxes": boxes, "whole": whole, "cut": after > 0}


BRANCHES_MAX: Final = 20_000
"""Turns up to which the page folds the states in which branches were decided."""


async def _actions(
    request: Request, row: InstanceRow, one: shapes.Instance, p: Progress
) -> dict[str, Any]:
    engine = web_of(request).engine
    definition = engine.registry.version(one.workflow, one.version)
    is_plan = definition is not None and isinstance(definition.body, Plan)
    stuck = [key for key, op in p.ops.items() if op.status in ("retry", "doubt", "open", "ready")]
    found = await engine.history(one.id, after=max(0, p.iseq - WINDOW), limit=WINDOW)
    ops = list(dict.fromkeys(entry.op for entry in found.items if entry.op is not None))
    versions = sorted(
        {row.version for row in engine.registry.versions() if row.name == one.workflow}
    )
    given: dict[str, Any] = {"instance": one.id}
    others = [version for version in versions if version != one.version]
    return {
        "skips": [Deed("skip", {**given, "op": op, "output": {}}) for op in stuck],
        "send": Deed("send", {**given, "event": {"type": "", "data": {}}}),
        "edit": Deed("edit", {**given, "set": {}}),
        "fork": Deed("fork", given),
        "migrate": Deed("migrate", {**given, "to_version": others[0]}) if others else None,
        "ops": ops, "is_plan": is_plan, "versions": versions,
    }  # fmt: skip


_TAB: Final[dict[str, Any]] = {
    "timeline": _timeline, "journal": _journal, "state": _state, "graph": _graph,
    "actions": _actions,
}  # fmt: skip
