"""The board, where runs stand at their stages; the editor of the graph; the log of its stages."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.screen import render
from greenroom.runtime.web.routes import web_of


async def board(request: Request) -> Response:
    """`GET /board?workflow=&q=&test=`: a column a stage, a card a run; a drop is a transition."""
    engine = web_of(request).engine
    graphs = await engine.stages.list()
    query = request.query_params
    name = query.get("workflow") or (graphs[0]["name"] if graphs else None)
    q, test = query.get("q", "").strip(), bool(query.get("test"))
    found: dict[str, Any] = {"columns": []}
    if name is not None:
        found = await engine.stages.board(name, q=q, test=test)
    titles = {column["stage"]: column["title"] for column in found["columns"]}
    return await render(
        request, "board.html", graphs=graphs, name=name, found=found, q=q, test=test,
        titles=titles, move=_move,
    )  # fmt: skip


def _move(card: dict[str, Any], stage: str) -> Deed:
    return Deed("stages.move", {"instance": card["instance"], "stage": stage})


async def editor(request: Request) -> Response:
    """`GET /editor/{workflow}`: the graph as it is in the working tree, to be changed there."""
    engine = web_of(request).engine
    graph = await engine.stages.graph(request.path_params["workflow"])
    return await render(request, "editor.html", graph=graph, files=_files(graph))


def _files(graph: dict[str, Any]) -> list[str]:
    """Files of the folder that stages may name."""
    return sorted({stage["file"] for stage in graph["stages"] if stage.get("file")})


async def logs(request: Request) -> Response:
    """`GET /logs?workflow=&stage=&text=&before=`: what stages did and printed, newest first."""
    engine = web_of(request).engine
    query = request.query_params
    given = {name: query[name] for name in ("workflow", "stage", "text", "run", "before")
             if query.get(name)}  # fmt: skip
    found = await engine.stages.logs(**given)
    return await render(request, "logs.html", found=found, given=given,
                        graphs=await engine.stages.list())  # fmt: skip
