"""Instances: a list by the filter grammar of every face, and verbs for many at once.

The filter lives in the address, so a view can be kept as a bookmark. A verb for many is first
tried dry: the page says how many there are, of what, and asks; the second post does it.
"""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import Counts, CountsRow
from greenroom.definitions.errors import GreenroomError, InvalidRequest
from greenroom.runtime import shapes
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.web.pages import deeds
from greenroom.runtime.web.pages.screen import go, render, say
from greenroom.runtime.web.routes import web_of

PAGE: Final = 50
MANY_MAX: Final = 10_000
"""Instances one bulk action reaches; it says so when there are more."""
AT_ONCE: Final = 64

IMPLIED: Final = {
    "pause": "-status:completed -status:cancelled -status:failed -status:paused",
    "resume": "status:paused",
    "retry": "status:failed",
    "cancel": "-status:completed -status:cancelled",
}
"""What a filter that names no status is narrowed to, by verb: as on the command line."""
METHOD: Final = {"pause": "pause", "resume": "resume", "retry": "resume", "cancel": "cancel"}


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
        q=q, found=found, wrong=wrong, cursor=cursor, verbs=list(METHOD),
        counts=[(word, counts.instances.get(word, 0)) for word in shapes.STATUSES],
        everything=sum(counts.instances.values()),
    )  # fmt: skip


async def bulk(request: Request) -> Response:
    """`POST /instances/bulk`: `verb`, and either `id`s or a filter `q` with `all`."""
    form = await request.form()
    verb = str(form.get("verb", ""))
    if verb not in METHOD:
        raise InvalidRequest(f"{verb!r} is not done to many", hint=f"verbs: {' '.join(METHOD)}")
    q = str(form.get("q", "")).strip()
    reason = str(form.get("reason", "")).strip() or None
    ids = [str(id) for id in form.getlist("id")]
    whole = bool(form.get("all"))
    if not whole and not ids:
        return say(request, go(request, _address(q)), "no instance was chosen", "bad")
    found, more = await _targets(request, verb, q if whole else None, ids)
    if not form.get("sure"):
        kinds = Counter((one.workflow, one.status) for one in found)
        return await render(
            request, "bulk.html", verb=verb, q=q, whole=whole, found=found, more=more,
            kinds=sorted(kinds.items()), reason=reason, shell=shell_of(verb, q, whole, found, reason),
        )  # fmt: skip
    done, refused = await each(request, METHOD[verb], [one.id for one in found], reason)
    text = f"{verb}: {done:,} done" + (f", {sum(refused.values()):,} refused" if refused else "")
    for message, number in refused.most_common(3):
        text += f"\n{number:,} times: {message}"
    return say(request, go(request, _address(q)), text, "bad" if refused and not done else "good")


def _address(q: str) -> str:
    return "/instances" + (f"?q={quote(q)}" if q else "")


def narrowed(verb: str, q: str) -> str:
    """The filter a verb for many uses."""
    return q if parse_filter(q).of("status") else f"{IMPLIED[verb]} {q}".strip()


async def _targets(
    request: Request, verb: str, q: str | None, ids: list[str]
) -> tuple[list[shapes.Instance], bool]:
    engine = web_of(request).engine
    if q is None:
        return [await engine.get(id) for id in ids[:1_000]], len(ids) > 1_000
    found: list[shapes.Instance] = []
    cursor: str | None = None
    while len(found) < MANY_MAX:
        page = await engine.list(narrowed(verb, q), limit=1_000, cursor=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            break
    return found[:MANY_MAX], cursor is not None


async def each(
    request: Request, method: str, ids: list[str], reason: str | None
) -> tuple[int, Counter[str]]:
    """Carries a method out on every instance: how many took it, and why the others did not."""
    refused: Counter[str] = Counter()
    done = 0

    async def one(id: str) -> None:
        nonlocal done
        params: dict[str, Any] = {"instance": id}
        if reason is not None:
            params["reason"] = reason
        try:
            await deeds.run(request, method, params)
            done += 1
        except GreenroomError as error:
            refused[error.message.replace(id, "…")] += 1

    for start in range(0, len(ids), AT_ONCE):
        await asyncio.gather(*(one(id) for id in ids[start : start + AT_ONCE]))
    return done, refused


def shell_of(
    verb: str, q: str, whole: bool, found: list[shapes.Instance], reason: str | None
) -> str:
    words = ["greenroom", verb]
    words += [narrowed(verb, q)] if whole else [one.id for one in found]
    return shlex.join([*words, *(["--reason", reason] if reason else []), *(["--yes"] * whole)])


def form_ids(form: FormData) -> list[str]:
    return [str(id) for id in form.getlist("id")]
