"""Instances: a list by the filter grammar of every face, and verbs for many at once.

The filter lives in the address, so a view can be kept as a bookmark. A verb for many is first
tried dry: the page says how many there are, of what, and asks.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import Counts, CountsRow
from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.runtime import shapes
from greenroom.runtime.many import VERBS, narrowed
from greenroom.runtime.web.pages import deeds
from greenroom.runtime.web.pages.screen import go, render, root_of, say
from greenroom.runtime.web.routes import web_of

PAGE: Final = 50


async def instances(request: Request) -> Response:
    """`GET /instances?q=&cursor=`"""
    engine = web_of(request).engine
    q = request.query_params.get("q", "").strip()
    cursor = request.query_params.get("cursor") or None
    wrong: GreenroomError | None = None
    found: shapes.Page[shapes.Instance] = shapes.Page([], None, 0)
    try:
        found = await engine.list(q, limit=PAGE, cursor=cursor)
    except InvalidRequest as error:
        wrong = error
    counts: CountsRow = await engine.journal.call(Counts())
    return await render(
        request, "instances.html", 200 if wrong is None else 400,
        q=q, found=found, wrong=wrong, cursor=cursor, verbs=list(VERBS),
        buttons=[[verb.capitalize(), _dry(FormData({"verb": verb, "q": q})),
                  f"{root_of(request)}/instances/bulk", f"verb={verb}", "tried first"] for verb in VERBS],
        counts=[(word, counts.instances.get(word, 0)) for word in shapes.STATUSES],
        everything=sum(counts.instances.values()),
    )  # fmt: skip


async def bulk(request: Request) -> Response:
    """`POST /instances/bulk`: `verb`, and either `id`s or a filter `q` with `all`. It is tried dry;
    the page it gives has the button that does it."""
    form, shown = await deeds.sent(request)
    try:
        deed = _dry(form)
    except GreenroomError as error:
        if shown:
            return await deeds.show(request, error)
        raise
    q = str(form.get("q", "")).strip()
    if shown:
        return await deeds.show(request, deed)
    if deed.params.get("instances") == []:
        return say(request, go(request, _address(q)), "no instance was chosen", "bad")
    found = await deeds.run(request, deed)
    engine = web_of(request).engine
    first = [await engine.get(id) for id in found.first]
    return await render(
        request, "bulk.html", verb=deed.params["verb"], q=q, found=found, first=first,
        deed=deed.without("dry_run"),
    )  # fmt: skip


def _dry(form: FormData) -> deeds.Deed:
    """What the form asks for, to be tried. Raises `InvalidRequest` for a verb nobody knows."""
    verb = str(form.get("verb", ""))
    if verb not in VERBS:
        raise InvalidRequest(f"{verb!r} is not done to many", hint=f"verbs: {' '.join(VERBS)}")
    params: dict[str, Any] = {"verb": verb}
    if form.get("all"):
        params["q"] = narrowed(verb, str(form.get("q", "")).strip())
    else:
        params["instances"] = [str(id) for id in form.getlist("id")]
    reason = str(form.get("reason", "")).strip()
    return deeds.Deed("many", {**params, **({"reason": reason} if reason else {}), "dry_run": True})


def _address(q: str) -> str:
    return "/instances" + (f"?q={quote(q)}" if q else "")
