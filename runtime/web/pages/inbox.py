"""The inbox and the questions in it: forms of any number of pages, approvals, callbacks.

A page that was sent is kept as a draft of who sends it, so that the next one can be asked on the
same address, going back loses nothing, and another day is as good. What has been filled in is given
to the form anew each time (it is pure), and told to the instance only when it is whole.

The same question by a signed link (`/a/TOKEN`) is a page with nothing else on it: it needs no
account and no JavaScript, and shows nothing of how the work is done.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenroom.definitions.errors import (
    AlreadyDecided,
    FormInvalid,
    FormNotComplete,
    FormOverflow,
    GreenroomError,
    InvalidRequest,
    NoSuchAsk,
)
from greenroom.definitions.values import Json
from greenroom.runtime import calls, shapes
from greenroom.runtime.identity import person
from greenroom.runtime.views import instance_shape
from greenroom.runtime.web.pages.deeds import Deed, sent, show
from greenroom.runtime.web.pages.fields import answer_of, as_sent, fields_of
from greenroom.runtime.web.pages.home import with_names
from greenroom.runtime.web.pages.screen import back, ms_of, render, root_of, say
from greenroom.runtime.web.routes import caller_of, web_of

PAGE: Final = 50
AS: Final = "greenroom-as"
"""The cookie with the name somebody of this machine goes by."""
NAME_MAX: Final = 120


# -- who -----------------------------------------------------------------------------------------


def said_name(request: Request) -> str | None:
    """The name a person of this machine has given: whoever may use the socket may give any."""
    if caller_of(request).way not in ("open", "peer"):
        return None
    return request.cookies.get(AS) or None


async def go_by(request: Request) -> Response:
    """`POST /as`: the name that answers are given under, on a machine of one's own."""
    form = await request.form()
    name = str(form.get("name", "")).strip()[:NAME_MAX]
    response = back(request, form.get("back"), "/inbox")
    if caller_of(request).way not in ("open", "peer"):
        return say(request, response, "you are who you logged in as", "bad")
    if name and name.isprintable() and name.isascii() and not set(name) & set('";,\\ '):
        response.set_cookie(AS, name, httponly=True, samesite="strict", path="/")
    elif not name:
        response.delete_cookie(AS, httponly=True, samesite="strict", path="/")
    else:
        return say(request, response, "a name is letters, digits and .-_@+", "bad")
    return response


def by_of(request: Request) -> str | None:
    """Who an answer is of: as `calls` puts it together."""
    said, by = said_name(request), caller_of(request).by
    return f"{said} via {by}" if said and by else said or by


# -- the inbox -----------------------------------------------------------------------------------


async def inbox(request: Request) -> Response:
    """`GET /inbox?for=mine|all|NAME&cursor=`"""
    engine = web_of(request).engine
    caller = caller_of(request)
    whose = request.query_params.get("for", "all").strip() or "all"
    cursor = request.query_params.get("cursor") or None
    me = said_name(request) or person(by_of(request)) or ""
    names = _names(me)
    teams = [f"team:{team}" for team, members in engine.teams.items() if names & set(members)]
    items: list[shapes.Ask] = []
    more = None
    if whose == "mine":
        for name in [*sorted(names), *(f"user:{name}" for name in sorted(names)), *teams]:
            items += (await engine.asks.list(f"assignee:{name}", limit=PAGE)).items
    else:
        q = "" if whose == "all" else f"assignee:{whose}"
        page = await engine.asks.list(q, limit=PAGE, cursor=cursor)
        items, more = page.items, page.cursor
    if caller.is_limited("answer"):
        items = [ask for ask in items if caller.may("answer", ask.assignee or "")]
    items.sort(key=lambda ask: ms_of(ask.due) if ask.due else 1 << 60)
    return await render(
        request, "inbox.html", asks=await with_names(engine, items), whose=whose, me=me,
        more=more, said_name=said_name(request), teams=sorted(engine.teams),
        may_be=caller.way in ("open", "peer"),
    )  # fmt: skip


def _names(me: str) -> set[str]:
    return {me, me.partition(":")[2], me.rpartition("/")[2]} - {""}


# -- one question --------------------------------------------------------------------------------


class Question(msgspec.Struct):
    """A question as one page shows it. `number` is the page, `kept` what is filled in so far."""

    ask: shapes.Ask
    by: str | None
    """Who answers, as it will be recorded."""
    said: str | None = None
    """The name they gave, where they may give any."""
    number: int = 1
    kept: list[Json] = []
    schema: Any = None
    pages: int = 1
    wrong: list[dict[str, Any]] = []
    given: Json = None

    def deed(self, method: str, data: Json) -> Deed:
        said = {"by": self.said} if self.said else {}
        return Deed(method, {"ask": self.ask.id, "data": data, **said})


async def question(request: Request) -> Response:
    """`GET` and `POST /asks/{id}`."""
    id = request.path_params["id"]
    caller = caller_of(request)
    engine = web_of(request).engine
    row = await engine.asks.find(id)
    if caller.is_limited("answer") and not caller.may("answer", row.assignee or ""):
        raise NoSuchAsk(f"there is no question {id}", ask=id)
    place, said = f"/asks/{quote(row.id)}", said_name(request)
    return await _asked(request, row.id, by_of(request), said, place, "ask.html")


async def by_link(request: Request) -> Response:
    """`GET` and `POST /a/{token}`: the link is the permission, for this question alone."""
    token = request.path_params["token"]
    link = web_of(request).engine.links.read(token)
    return await _asked(request, link.ask, link.by, None, f"/a/{token}", "ask_link.html")


async def _asked(
    request: Request, id: str, by: str | None, said: str | None, place: str, template: str
) -> Response:
    ask = await web_of(request).engine.asks.get(id, by=by)
    found = Question(ask, by, said)
    if ask.answered is None and ask.kind == "form":
        await _turn_to(request, found, _number(request.query_params.get("page")))
    if request.method == "POST":
        done = await _posted(request, found, place)
        if done is not None:
            return done
    return await _shown(request, found, place, template)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 4 else None


async def _turn_to(request: Request, found: Question, number: int | None) -> None:
    """Finds the page that is asked for: a given one, else the first that is not filled in."""
    draft = list(found.ask.draft or [])
    before = draft[: number - 1] if number else draft
    while True:
        wanted = await _next(request, found.ask.id, before)
        if wanted is not None or not before:
            break
        before = before[:-1]  # all pages are there: the last one is shown again, to be sent
    found.number = len(before) + 1
    found.kept = draft
    found.schema = found.ask.schema if wanted is None else wanted
    found.pages = max(len(draft), found.number)
    found.given = draft[len(before)] if len(draft) > len(before) else None


async def _next(request: Request, ask: str, pages: list[Json]) -> Json:
    """The schema of the page after these; None if they are all, or one of them is wrong."""
    engine = web_of(request).engine
    try:
        await engine.forms.answer(await engine.asks.find(ask), pages)
    except FormNotComplete as wanted:
        return wanted.schema
    except (FormInvalid, FormOverflow):
        return None
    return None


async def _posted(request: Request, found: Question, place: str) -> Response | None:
    """Takes what was sent; None: the page is shown again with what is wrong."""
    form, shown = await sent(request)
    ask = found.ask
    if ask.answered is not None:
        raise AlreadyDecided(f"{ask.title!r} was answered by {ask.answered['by']}", ask=ask.id)
    try:
        deed = await _deed(request, found, form)
    except GreenroomError as error:
        if shown:
            return await show(request, error)
        raise
    if shown:
        return await show(request, deed)
    try:
        await _do(request, found, deed)
    except FormInvalid as error:
        page = error.details.get("page") or found.number
        if ask.kind == "form" and page != found.number:
            return say(request, _at(request, place, page), error.message, "bad")
        found.wrong = error.errors
        return None
    if deed.method == "answer":
        return _thanks(request, found, place)
    match form.get("step"):
        case "back":
            return _at(request, place, max(1, found.number - 1))
        case "keep":
            response = _at(request, place, found.number)
            return say(request, response, "kept; it is here another day too")
    return _at(request, place, found.number + 1)


async def _deed(request: Request, found: Question, form: FormData) -> Deed:
    """What the button that was pressed does: it answers, or keeps the pages there are so far."""
    if found.ask.kind != "form":
        return found.deed("answer", _decision(found.ask, form))
    number = _number(str(form.get("page", ""))) or found.number
    if number != found.number:
        await _turn_to(request, found, number)
    kept = found.kept[number - 1] if number <= len(found.kept) else None
    found.given = answer_of(found.schema, form, kept)
    pages = [*found.kept[: number - 1], found.given]
    whole = form.get("step", "next") == "next" and await _next(request, found.ask.id, pages) is None
    if whole:
        return found.deed("answer", pages)
    return found.deed("asks.draft", [*pages, *found.kept[number:]])


async def _do(request: Request, found: Question, deed: Deed) -> None:
    """Carries it out as whoever the page is for: a link is the permission, for its question."""
    params = {name: value for name, value in deed.params.items() if name != "by"}
    if found.by:
        params["by"] = found.by
    await calls.run(web_of(request).engine, deed.method, params, None)


def _decision(ask: shapes.Ask, form: FormData) -> Json:
    """The answer to an approval or a callback."""
    if ask.kind == "callback":
        try:
            return msgspec.json.decode(str(form.get("data", "")))
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"it is not JSON: {error}") from None
    fields = answer_of(_beside(ask), form)
    match str(form.get("decision", "")):
        case "approve":
            return {"approved": True, **fields}
        case "reject":
            return {"approved": False, **fields}
        case "delegate":
            return {"delegate": fields.get("delegate")}
    raise InvalidRequest("approve, reject, or go back")


_COMMENT: Final = {
    "properties": {"comment": {"type": "string", "format": "long", "title": "Comment"}}
}


def _beside(ask: shapes.Ask) -> dict[str, Any]:
    """What an approval asks for beside yes or no."""
    schema = ask.schema if isinstance(ask.schema, dict) else {}
    fields = {
        name: one for name, one in (schema.get("properties") or {}).items() if name != "approved"
    }
    return {"properties": fields} if fields else _COMMENT


def _at(request: Request, place: str, number: int) -> Response:
    root = request.scope.get("root_path", "").rstrip("/")
    return RedirectResponse(f"{root}{place}?page={number}", 303)


def _thanks(request: Request, found: Question, place: str) -> Response:
    root = request.scope.get("root_path", "").rstrip("/")
    if place.startswith("/a/"):
        return RedirectResponse(root + place, 303)
    return say(request, RedirectResponse(f"{root}/inbox", 303), f"answered: {found.ask.title}")


async def _shown(request: Request, found: Question, place: str, template: str) -> Response:
    ask = found.ask
    engine = web_of(request).engine
    row = await engine._find(ask.instance)
    schema = found.schema if ask.kind == "form" else _beside(ask)
    fields, rest = fields_of(schema, found.given, found.wrong)
    title = str((schema or {}).get("title") or "") if ask.kind == "form" else ""
    hands_over = ask.kind == "approval" and any(one.name == "f.delegate" for one in fields)
    return await render(
        request, template, 422 if found.wrong else 200,
        found=found, ask=ask, fields=fields, rest=rest, place=place, row=row, hands_over=hands_over,
        page_title=title if title != "unknown" else "", about=str((schema or {}).get("description") or ""),
        deeds=await _deeds(request, found, root_of(request) + place) if ask.answered is None else [],
        since=next((wait.since for wait in instance_shape(row).waits if wait.ask == ask.id), None),
    )  # fmt: skip


async def _deeds(request: Request, found: Question, place: str) -> list[list[Any]]:
    """The buttons, as the requests they are as long as nothing is filled in (see `requests_of`)."""
    if found.ask.kind == "callback":
        return [["Answer for them", found.deed("answer", {}), place, "", ""]]
    if found.ask.kind == "approval":
        yes, no = (
            found.deed("answer", {"approved": True}),
            found.deed("answer", {"approved": False}),
        )
        return [["Approve", yes, place, "decision=approve", ""],
                ["Reject", no, place, "decision=reject", ""]]  # fmt: skip
    page = answer_of(found.schema, as_sent(fields_of(found.schema, found.given)[0]))
    kept, n = found.kept, found.number
    pages = [*kept[: n - 1], page]
    keep = found.deed("asks.draft", [*pages, *kept[n:]])
    whole = await _next(request, found.ask.id, pages) is None
    go_on = found.deed("answer", pages) if whole else keep
    return [["Continue", go_on, place, "step=next", ""],
            ["Keep for later", keep, place, "step=keep", ""]]  # fmt: skip
