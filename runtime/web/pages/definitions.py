"""Definitions and schedules: which versions there are, what differs, what a release would do."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import Counts, CountsRow
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, InvalidRequest
from greenroom.definitions.workflow import Plan
from greenroom.runtime import calls
from greenroom.runtime.web.pages import drawing
from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.screen import go, render, say
from greenroom.runtime.web.routes import caller_of, web_of

TIMES: Final = 10


async def definitions(request: Request) -> Response:
    """`GET /definitions`: every workflow with its released version."""
    engine = web_of(request).engine
    counts: CountsRow = await engine.journal.call(Counts())
    found = await engine.definitions.list()
    by_name: dict[str, list[Any]] = {}
    for one in found:
        by_name.setdefault(one.name, []).append(one)
    rows = []
    for name, versions in sorted(by_name.items()):
        released = next((one for one in versions if one.release), versions[-1])
        live = counts.workflows.get(name, {})
        alive = sum(n for word, n in live.items() if word not in ("completed", "cancelled"))
        rows.append({"name": name, "released": released, "versions": versions, "alive": alive})
    return await render(request, "definitions.html", rows=rows)


async def definition(request: Request) -> Response:
    """`GET /definitions/{name}?a=&b=&check=`: versions, their difference, the gate's report."""
    engine = web_of(request).engine
    name = request.path_params["name"]
    one = await engine.definitions.get(name)
    versions = [row for row in await engine.definitions.list() if row.name == name]
    query = request.query_params
    a, b = _version(query.get("a")), _version(query.get("b"))
    diff = None
    if len(versions) > 1:
        diff = await engine.definitions.diff(name, a, b)
    checked = None
    if query.get("check"):
        checked = await engine.definitions.check(name, _version(query.get("check")))
    known = engine.registry.version(name, one.version)
    boxes = drawing.drawn(known, [])[0] if known and isinstance(known.body, Plan) else []
    return await render(
        request, "definition.html", one=one, versions=versions, diff=diff, a=a, b=b,
        checked=checked, boxes=boxes, deeds_of=_deeds, shown=one.document,
    )  # fmt: skip


def _version(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 9 else None


def _deeds(row: Any) -> list[tuple[str, Deed]]:
    """What can be done to a version."""
    if not row.release:
        given: dict[str, Any] = {"name": row.name, "version": row.version}
        if row.missing:
            given["grant"] = row.missing
        label = f"Promote and grant {', '.join(row.missing)}" if row.missing else "Promote"
        return [(label, Deed("definitions.promote", given))]
    word = "disable" if row.enabled else "enable"
    return [(word.capitalize(), Deed(f"definitions.{word}", {"name": row.name}))]


async def editor(request: Request) -> Response:
    """`GET /definitions/new?from=NAME` and `POST`: a document, checked while it is written."""
    engine = web_of(request).engine
    text = ""
    source = request.query_params.get("from")
    if request.method == "GET":
        if source:
            document = (await engine.definitions.get(source)).document
            text = document if isinstance(document, str) else _pretty(document)
        return await render(request, "document.html", text=text, report=None, wrong=None)
    form = await request.form()
    text = str(form.get("document", ""))
    caller = caller_of(request)
    try:
        value = _document(text)
        if form.get("step") == "push":
            caller.must("define")
            given = {"document": value, "draft": not caller.may("promote")}
            made = await calls.run(engine, "definitions.push", given, caller.by)
            response = go(request, f"/definitions/{made.name}")
            return say(request, response, f"{made.name} v{made.version} is stored")
        report = await calls.run(engine, "definitions.validate", {"document": value}, None)
    except GreenroomError as error:
        return await render(request, "document.html", 422 if not request.headers.get("hx-request") else 200,
                            text=text, report=None, wrong=problems_of(error))  # fmt: skip
    return await render(request, "document.html", text=text, report=report, wrong=None)


def _pretty(document: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(document)).decode() if document else ""


def _document(text: str) -> Any:
    """A document as it was written: JSON as a value, anything else as text (YAML)."""
    if not text.strip():
        raise InvalidRequest("there is nothing to check yet")
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"it is not JSON: {error}") from None


def problems_of(error: GreenroomError) -> list[str]:
    """The same lines the command line prints."""
    lines = []
    if isinstance(error, InvalidDefinition):
        lines = [str(problem) for problem in getattr(error, "problems", ())]
    return lines or [error.message, *(error.hint or "").splitlines()]


# -- schedules -----------------------------------------------------------------------------------


async def schedules(request: Request) -> Response:
    """`GET /schedules?name=&assume=`: all of them, and of one the next times."""
    engine = web_of(request).engine
    found = await engine.schedules.list()
    name = request.query_params.get("name") or None
    assume = request.query_params.get("assume", "").strip()
    times = []
    wrong = None
    if name is not None:
        try:
            times = await engine.schedules.preview(name, count=TIMES, assume=assume.split())
        except GreenroomError as error:
            wrong = error
    return await render(
        request, "schedules.html", found=found, name=name, times=times, assume=assume, wrong=wrong,
        deeds_of=_schedule_deeds, deed=Deed,
    )  # fmt: skip


def _schedule_deeds(one: Any) -> list[tuple[str, Deed]]:
    given: dict[str, Any] = {"name": one.id}
    word = "resume" if one.paused else "pause"
    return [
        (word.capitalize(), Deed(f"schedules.{word}", given)),
        ("Trigger now", Deed("schedules.trigger", given)),
    ]
