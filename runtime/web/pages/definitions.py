"""Definitions and schedules: which versions there are, what differs, what a release would do."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from greenroom.actors.ports import Counts, CountsRow
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, InvalidRequest
from greenroom.definitions.workflow import Plan
from greenroom.runtime.web.pages import drawing
from greenroom.runtime.web.pages.deeds import Deed, run, sent, show
from greenroom.runtime.web.pages.screen import go, render, root_of, say
from greenroom.runtime.web.routes import caller_of, web_of

TIMES: Final = 10
LATELY_MS: Final = 86_400_000
"""What a backfill reaches back to unless told otherwise: a day."""


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
        gated=[deed for row in versions if checked and row.version == checked.version
               and not row.release for deed in _deeds(row)] if caller_of(request).may("promote") else [],
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
    """`GET /document?from=NAME` and `POST`: a document, checked while it is written."""
    engine = web_of(request).engine
    report: Any = None
    wrong: list[str] | None = None
    if request.method == "GET":
        source = request.query_params.get("from")
        document = (await engine.definitions.get(source)).document if source else ""
        text = document if isinstance(document, str) else _pretty(document)
        return await _written(request, text, None, None)
    form, shown = await sent(request)
    text = str(form.get("document", ""))
    try:
        deed = _pushed(request, text, form.get("step") == "push")
        if shown:
            return await show(request, deed)
        report = await run(request, deed)
    except GreenroomError as error:
        if shown:
            return await show(request, error)
        wrong = problems_of(error)
    if wrong is None and form.get("step") == "push":
        response = go(request, f"/definitions/{quote(report.name)}")
        return say(request, response, f"{report.name} v{report.version} is stored")
    return await _written(request, text, report, wrong)


def _pushed(request: Request, text: str, push: bool) -> Deed:
    """What Store or Check does. Raises `InvalidRequest` for what is no document yet."""
    document = _document(text)
    if not push:
        return Deed("definitions.validate", {"document": document})
    draft = not caller_of(request).may("promote")
    return Deed("definitions.push", {"document": document, **({"draft": True} if draft else {})})


async def _written(request: Request, text: str, report: Any, wrong: list[str] | None) -> Response:
    place = f"{root_of(request)}/document"
    steps = (("Store as a version", "push"), ("Check", "check"))
    known = [(label, step, _or_empty(request, text, step)) for label, step in steps]
    is_part = request.headers.get("hx-request") == "true"
    return await render(
        request, "document.html", 422 if wrong and not is_part else 200,
        text=text, report=report, wrong=wrong,
        buttons=[[label, deed, place, f"step={step}", ""] for label, step, deed in known],
    )  # fmt: skip


def _or_empty(request: Request, text: str, step: str) -> Deed:
    """The request of what is written so far; where that is none yet, of an empty document."""
    try:
        return _pushed(request, text, step == "push")
    except InvalidRequest:
        return _pushed(request, "{}", step == "push")


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
    since = rfc3339(engine.clock.now() - LATELY_MS)
    if name is not None:
        try:
            times = await engine.schedules.preview(name, count=TIMES, assume=assume.split())
        except GreenroomError as error:
            wrong = error
    return await render(
        request, "schedules.html", found=found, name=name, times=times, assume=assume, wrong=wrong,
        deeds_of=_schedule_deeds,
        backfill=Deed("schedules.backfill", {"name": name, "start": since}) if name else None,
    )  # fmt: skip


def _schedule_deeds(one: Any) -> list[tuple[str, Deed]]:
    given: dict[str, Any] = {"name": one.id}
    word = "resume" if one.paused else "pause"
    return [
        (word.capitalize(), Deed(f"schedules.{word}", given)),
        ("Trigger now", Deed("schedules.trigger", given)),
    ]
