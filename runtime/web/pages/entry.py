"""In and out: the page somebody unknown is sent to, logging out, and going to a page by its name."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from greenroom.definitions.errors import GreenroomError, NotAuthenticated, RateLimited
from greenroom.runtime.web.entrance import log_in
from greenroom.runtime.web.pages.screen import NAV, go, render
from greenroom.runtime.web.routes import web_of


async def login(request: Request) -> Response:
    """`GET /login?back=` asks for an API key, `POST` takes it as `/session` does."""
    wrong: GreenroomError | None = None
    back = request.query_params.get("back", "")
    if request.method == "POST":
        try:
            return await log_in(request)
        except (NotAuthenticated, RateLimited) as error:
            wrong = error
            back = str((await request.form()).get("back", ""))
    return await render(
        request, "login.html", 200 if wrong is None else wrong.http_status, back=back, wrong=wrong
    )


async def logout(request: Request) -> Response:
    response = go(request, "/login")
    web_of(request).sessions.close(request, response)
    return response


async def jump(request: Request) -> Response:
    """`GET /go?to=`: a page by its name, else an instance."""
    to = request.query_params.get("to", "").strip()
    for _, path, label, _ in NAV:
        if label.lower() == to.lower():
            return go(request, path)
    if not to:
        return go(request, "/")
    if any(sign in to for sign in ":=<>") and "/" not in to.split(":")[0]:
        return await _filtered(request, to)
    row = await web_of(request).engine._find(to)
    return go(request, f"/i/{row.id}")


async def _filtered(request: Request, q: str) -> Response:
    return go(request, f"/instances?q={quote(q)}")
