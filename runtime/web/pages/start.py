"""Starting an instance: its initial form page by page, else the fields of its input.

Nothing is kept for it here: there is no instance yet. The pages so far travel in the form. What no
schema says is written as JSON, and so may anything be (`?as=json`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import (
    FormInvalid,
    FormNotComplete,
    GreenroomError,
    InvalidRequest,
)
from greenroom.definitions.inputs import input_schema
from greenroom.definitions.values import Json
from greenroom.runtime.web.pages.deeds import Deed, run, sent, show
from greenroom.runtime.web.pages.fields import answer_of, as_sent, fields_of
from greenroom.runtime.web.pages.screen import go, render, say
from greenroom.runtime.web.routes import caller_of, web_of

AS_JSON: Final = "json"


class Starting(msgspec.Struct):
    """The form as it stands. `schema` is that of the page that is asked, {}: JSON; `kept` are the
    pages before it; `stages` where a graph can begin."""

    definition: Any
    schema: Any
    kept: list[Json] = []
    stages: list[Any] = []
    key: str = ""
    stage: str = ""
    given: Json = None
    wrong: list[dict[str, Any]] = []

    @property
    def has_form(self) -> bool:
        return self.definition.form is not None

    def deed(self, data: Json) -> Deed:
        params: dict[str, Any] = {"workflow": self.definition.name}
        params |= {"form": [*self.kept, data]} if self.has_form else {"input": data}
        params |= {"key": self.key} if self.key else {}
        params |= {"stage": self.stage} if self.stage else {}
        return Deed("start", params)


async def start(request: Request) -> Response:
    """`GET` and `POST /start/{workflow}`"""
    engine = web_of(request).engine
    definition = engine.registry.released(request.path_params["workflow"])
    form, shown = await sent(request) if request.method == "POST" else (FormData(), False)
    now = Starting(definition, {})
    try:
        await _read(request, now, form)
        if request.method == "GET" or form.get("step") == "back":
            return await _page(request, now)
        now.given = answer_of(now.schema, form) if now.schema else _json(form)
        deed = now.deed(now.given)
        if shown:
            return await show(request, deed)
        return await _started(request, now, deed)
    except FormNotComplete as wanted:
        if shown:
            return await show(request, wanted)
        now.kept, now.schema, now.given = [*now.kept, now.given], wanted.schema, None
    except FormInvalid as error:
        now.wrong = error.errors
    except GreenroomError as error:
        if shown:
            return await show(request, error)
        hint = f" ({error.hint})" if error.hint else ""
        now.wrong = [{"loc": [], "msg": f"{error.message}{hint}"}]
    return await _page(request, now)


async def _read(request: Request, now: Starting, form: FormData) -> None:
    """What travels in the form, and the schema of the page it is."""
    now.key, now.stage = str(form.get("key", "")).strip(), str(form.get("stage", ""))
    if now.definition.kind == "stages":
        graph = now.definition.desk.graph
        now.stages = [one for one in graph.initial() if one.kind != "job"] or list(
            graph.stages.values()
        )
        if not form and len(now.stages) > 1:
            now.stage = _likely(graph)
    if now.has_form:
        now.kept = _kept(form)
        if form.get("step") == "back" and now.kept:
            *now.kept, now.given = now.kept
        now.schema = await _next(request, now.definition, now.kept)
    elif form.get("as", request.query_params.get("as")) != AS_JSON:
        now.schema = input_schema(now.definition)


def _likely(graph: Any) -> str:
    try:
        return str(graph.first().path)
    except GreenroomError:  # it can begin at several: a person says where
        return ""


async def _started(request: Request, now: Starting, deed: Deed) -> Response:
    made = await run(request, deed)
    engine = web_of(request).engine
    place = f"/i/{made.instance}"
    if now.stages:  # its first form is asked here, and by whoever started it
        asks = (await engine.asks.list(f"instance:{made.instance}", limit=2)).items
        if len(asks) == 1 and asks[0].assignee is None and caller_of(request).may("answer"):
            place = f"/asks/{asks[0].id.replace('#', '%23')}"
    return say(request, go(request, place), f"{now.definition.name} was started")


async def _page(request: Request, now: Starting) -> Response:
    fields, rest = fields_of(now.schema, now.given, now.wrong)
    data = answer_of(now.schema, as_sent(fields)) if now.schema else now.given or {}
    title = str((now.schema or {}).get("title") or "")
    return await render(
        request, "start.html", 422 if now.wrong else 200,
        it=now, fields=fields, rest=rest, deed=now.deed(data), data=data,
        page_title="" if title == "unknown" or not now.has_form else title,
        open=bool((now.schema or {}).get("additionalProperties", True)),
    )  # fmt: skip


async def _next(request: Request, definition: Any, pages: list[Json]) -> Any:
    """The schema of the page after these, of an initial form."""
    engine = web_of(request).engine
    try:
        await engine.forms.started(definition, {}, pages, caller_of(request).by, False)
    except FormNotComplete as wanted:
        return wanted.schema
    return {}


def _kept(form: FormData) -> list[Json]:
    try:
        found = msgspec.json.decode(str(form.get("kept") or "[]"))
    except msgspec.DecodeError:
        return []
    return found if isinstance(found, list) else []


def _json(form: FormData) -> Json:
    try:
        return msgspec.json.decode(str(form.get("input") or "{}"))
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the input is not JSON: {error}") from None
