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
from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.fields import answer_of, fields_of
from greenroom.runtime.web.pages.home import with_names
from greenroom.runtime.web.pages.screen import back, ms_of, render, say
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
    number: int = 1
    kept: list[Json] = []
    schema: Any = None
    pages: int = 1
    wrong: list[dict[str, Any]] = []
    given: Json = None
    title: str = ""


async def question(request: Request) -> Response:
    """`GET` and `POST /asks/{id}`."""
    id = request.path_params["id"]
    caller = caller_of(request)
    engine = web_of(request).engine
    row = await engine.asks.find(id)
    if caller.is_limited("answer") and not caller.may("answer", row.assignee or ""):
        raise NoSuchAsk(f"there is no question {id}", ask=id)
    return await _asked(request, row.id, by_of(request), f"/asks/{quote(row.id)}", "ask.html")


async def by_link(request: Request) -> Response:
    """`GET` and `POST /a/{token}`: the link is the permission, for this question alone."""
    token = request.path_params["token"]
    link = web_of(request).engine.links.read(token)
    return await _asked(request, link.ask, link.by, f"/a/{token}", "ask_link.html")


async def _asked(request: Request, id: str, by: str | None, place: str, template: str) -> Response:
    engine = web_of(request).engine
    ask = await engine.asks.get(id, by=by)
    found = Question(ask, by, title=ask.title)
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
    form = await request.form()
    ask = found.ask
    if ask.answered is not None:
        raise AlreadyDecided(f"{ask.title!r} was answered by {ask.answered['by']}", ask=ask.id)
    if ask.kind == "form":
        return await _page_sent(request, found, form, place)
    try:
        await _answer(request, found, _decision(ask, form))
    except FormInvalid as error:
        found.wrong = error.errors
        return None
    return _thanks(request, found, place)


async def _page_sent(
    request: Request, found: Question, form: FormData, place: str
) -> Response | None:
    engine = web_of(request).engine
    number = _number(str(form.get("page", ""))) or found.number
    if number != found.number:
        await _turn_to(request, found, number)
    data = answer_of(found.schema, form)
    pages = [*found.kept[: number - 1], data]
    rest = found.kept[number:]
    step = str(form.get("step", "next"))
    if step in ("back", "keep"):
        await engine.asks.draft(found.ask.id, [*pages, *rest], by=found.by)
        if step == "back":
            return _at(request, place, max(1, number - 1))
        return say(request, _at(request, place, number), "kept; it is here another day too")
    try:
        await _answer(request, found, pages)
    except FormNotComplete:
        await engine.asks.draft(found.ask.id, [*pages, *rest], by=found.by)
        return _at(request, place, number + 1)
    except FormInvalid as error:
        page = error.details.get("page") or number
        if page != number:
            return say(request, _at(request, place, page), error.message, "bad")
        found.wrong, found.given = error.errors, data
        return None
    return _thanks(request, found, place)


async def _answer(request: Request, found: Question, data: Json) -> None:
    params: dict[str, Any] = {"ask": found.ask.id, "data": data}
    if found.by:
        params["by"] = found.by
    await calls.run(web_of(request).engine, "answer", params, None)


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
    data: Json = {"approved": True} if ask.kind == "approval" else found.kept or {}
    return await render(
        request, template, 422 if found.wrong else 200,
        found=found, ask=ask, fields=fields, rest=rest, place=place, row=row, hands_over=hands_over,
        page_title=title if title != "unknown" else "", about=str((schema or {}).get("description") or ""),
        deed=Deed("answer", {"ask": ask.id, "data": data}), said_name=found.by,
    )  # fmt: skip


# -- before an instance exists -------------------------------------------------------------------


async def start(request: Request) -> Response:
    """`GET` and `POST /start/{workflow}`: its initial form page by page, else its input.

    Nothing is kept for it here: there is no instance yet. The pages so far travel in the form."""
    engine = web_of(request).engine
    name = request.path_params["workflow"]
    definition = engine.registry.released(name)
    form = await request.form() if request.method == "POST" else FormData()
    kept = _kept(form)
    schema: Any = None
    wrong: list[dict[str, Any]] = []
    given: Json = None
    key = str(form.get("key", "")).strip()
    has_form = definition.form is not None
    if has_form:
        schema = await _first(request, name, kept)
    else:
        schema = input_schema(definition)
    if request.method == "POST":
        data: Any = answer_of(schema, form)
        if not has_form and not schema:
            data = _input(form)
        pages = [*kept, data]
        if form.get("step") == "back" and kept:
            given, kept = kept[-1], kept[:-1]
            schema = await _first(request, name, kept)
        else:
            params: dict[str, Any] = {"workflow": name, **({"key": key} if key else {})}
            params |= {"form": pages} if has_form else {"input": data}
            caller_of(request).must("start", name)
            try:
                made = await calls.run(engine, "start", params, caller_of(request).by)
            except FormNotComplete as wanted:
                kept, schema = pages, wanted.schema
            except FormInvalid as error:
                wrong, given = error.errors, data
            except GreenroomError as error:
                wrong, given = [{"loc": [], "msg": error.message}], data
            else:
                root = request.scope.get("root_path", "").rstrip("/")
                response = RedirectResponse(f"{root}/i/{made.instance}", 303)
                return say(request, response, f"{name} was started")
    fields, rest = fields_of(schema, given, wrong)
    return await render(
        request, "start.html", 422 if wrong else 200,
        definition=definition, fields=fields, rest=rest, kept=kept, has_form=has_form, key=key,
        free=not has_form and not schema, given=given,
        page_title=_titled(schema), deed=Deed("start", {"workflow": name, **({"form": kept} if has_form else {"input": {}})}),
    )  # fmt: skip


def _titled(schema: Any) -> str:
    title = str((schema or {}).get("title") or "")
    return "" if title == "unknown" else title


def _kept(form: FormData) -> list[Json]:
    try:
        found = msgspec.json.decode(str(form.get("kept") or "[]"))
    except msgspec.DecodeError:
        return []
    return found if isinstance(found, list) else []


def _input(form: FormData) -> Json:
    try:
        return msgspec.json.decode(str(form.get("input") or "{}"))
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the input is not JSON: {error}") from None


async def _first(request: Request, name: str, pages: list[Json]) -> Any:
    """The schema of the page after these, of an initial form."""
    engine = web_of(request).engine
    definition = engine.registry.released(name)
    try:
        await engine.forms.started(definition, {}, pages, caller_of(request).by, False)
    except FormNotComplete as wanted:
        return wanted.schema
    return {}


_KINDS: Final[dict[Any, dict[str, str]]] = {
    str: {"type": "string"}, int: {"type": "integer"}, float: {"type": "number"},
    bool: {"type": "boolean"},
}  # fmt: skip


def input_schema(definition: Any) -> dict[str, Any]:
    """The arguments of a function as a schema; empty where anything may be given."""
    injector = getattr(definition.body, "injector", None)
    if injector is None or injector.open_keywords or not injector.parameters:
        return {}
    fields: dict[str, Any] = {}
    required = []
    for one in injector.parameters:
        if one.name == "state" or one.resource is not None:
            return {}
        fields[one.name] = dict(_KINDS.get(one.annotation, {"type": "object"}))
        fields[one.name]["title"] = one.name
        if one.required:
            required.append(one.name)
        elif isinstance(one.default, str | int | float | bool):
            fields[one.name]["default"] = one.default
    return {"type": "object", "properties": fields, "required": required}
