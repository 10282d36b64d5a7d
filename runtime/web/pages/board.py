"""The board, where runs stand at their stages; the editor of the graph; the log of its stages."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from greenroom.runtime.stagetree import STARTERS
from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.screen import render
from greenroom.runtime.web.routes import web_of

FEW: Final = 25
MANY: Final = 200
"""Cards of a column on a page: of all columns, and of one."""
KINDS: Final = (
    ("form", "asks a person"), ("hook", "takes a request"), ("job", "begins by the clock"),
    ("script", "runs after another"), ("condition", "says which way"), ("iterator", "for each item"),
)  # fmt: skip


async def board(request: Request) -> Response:
    """`GET /board?workflow=&q=&test=&by=assignee`: a column a stage, a card a run; a drop is a
    transition. `stage=&after=` goes on with one column."""
    engine = web_of(request).engine
    graphs = await engine.stages.list()
    query = request.query_params
    name = query.get("workflow") or (graphs[0]["name"] if graphs else None)
    q, test, one = query.get("q", "").strip(), bool(query.get("test")), query.get("stage")
    lanes_by = query.get("by") == "assignee"
    found: dict[str, Any] = {"columns": []}
    if name is not None:
        cursor = {one: query["after"]} if one and query.get("after", "").isdecimal() else None
        limit = MANY if one or lanes_by else FEW
        found = await engine.stages.board(
            name, [one] if one else None, q=q, test=test, cursor=cursor, limit=limit
        )
    return await render(
        request, "board.html", graphs=graphs, name=name, found=found, q=q, test=test, one=one,
        titles={column["stage"]: column["title"] for column in found["columns"]}, move=_move,
        lanes_by=lanes_by, lanes=_lanes(found) if lanes_by else [None],
    )  # fmt: skip


def _lanes(found: dict[str, Any]) -> list[str | None]:
    """Who has something to do, in order of names; what is nobody's comes last."""
    cards = [card for column in found["columns"] for card in column["cards"]]
    people = sorted({card["assignee"] for card in cards if card["assignee"]})
    return [*people, None] if not people or any(not card["assignee"] for card in cards) else people


def _move(card: dict[str, Any], stage: str) -> Deed:
    return Deed("stages.move", {"instance": card["instance"], "stage": stage})


async def editor(request: Request) -> Response:
    """`GET /editor/{workflow}`: the graph as it is in the working tree, to be changed there."""
    engine = web_of(request).engine
    graph = await engine.stages.graph(request.path_params["workflow"])
    return await render(request, "editor.html", graph=graph, given=_given(graph), kinds=KINDS)


def _given(graph: dict[str, Any]) -> dict[str, Any]:
    """What the editor knows beside the graph: what fields may be completed with, and what the file
    of a new stage begins with."""
    teams, roles = [f"team:{team}" for team in graph["teams"]], [*graph["roles"]]
    members = {person for team in graph["teams"].values() for person in team}
    return {
        "files": sorted({stage["file"] for stage in graph["stages"] if stage.get("file")}),
        "people": [*teams, *sorted(members)], "roles": [*roles, *graph["teams"]],
        "starters": STARTERS, "writable": graph["writable"], "folder": graph["folder"],
    }  # fmt: skip


async def logs(request: Request) -> Response:
    """`GET /logs?workflow=&stage=&text=&before=`: what stages did and printed, newest first."""
    engine = web_of(request).engine
    query = request.query_params
    given: dict[str, Any] = {
        name: query[name] for name in ("workflow", "stage", "text", "run", "before")
        if query.get(name)
    }  # fmt: skip
    found = await engine.stages.logs(**given, test=True if query.get("test") else None)
    return await render(request, "logs.html", found=found, given=given,
                        graphs=await engine.stages.list())  # fmt: skip
