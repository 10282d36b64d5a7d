"""Browsers come in and go out: with an API key, with a ticket from the shell, and by logging out."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenroom.definitions.errors import InvalidRequest, NotAuthenticated
from greenroom.runtime.web.guard import CALLER
from greenroom.runtime.web.reading import JSON, json_of, object_of
from greenroom.runtime.web.routes import caller_of, web_of

_encode = msgspec.json.encode


async def log_in(request: Request) -> Response:
    """Opens a browser's session with an API key: JSON `{"key": ...}` or a form's field."""
    _same_site(request)
    web = web_of(request)
    if request.headers.get("content-type", "").startswith(JSON):
        given = object_of(json_of(await request.body()))
    else:
        given = dict(await request.form())
    request.scope[CALLER] = caller = await web.knock(request, str(given.get("key", "")))
    back = given.get("back")
    response: Response = (
        RedirectResponse(_local(request, back), 303) if back else Response(status_code=204)
    )
    key = (
        caller.by.partition("/")[0].removeprefix("key:")
        if caller.way == "key" and caller.by
        else None
    )
    await web.sessions.open(request, response, caller, key)
    return response


async def make_ticket(request: Request) -> Response:
    """A link that logs a browser in as who asks for it, once and within a minute."""
    web = web_of(request)
    if web.url is None:
        raise InvalidRequest(
            "this daemon serves no port a browser could reach",
            hint="serve --http 127.0.0.1:8420 ...",
        )
    ticket = await web.sessions.ticket(caller_of(request))
    link = f"{web.url}/session/ticket?ticket={ticket}"
    return Response(_encode({"url": link}), 201, media_type=JSON)


async def log_in_by_ticket(request: Request) -> Response:
    """Opens a session with a ticket: `greenroom web` prints such an address."""
    web = web_of(request)
    caller = await web.sessions.redeem(request.query_params.get("ticket", ""))
    if caller is None:
        raise NotAuthenticated("this link was used or is older than a minute", hint="greenroom web")
    response = RedirectResponse(_local(request, request.query_params.get("back")), 303)
    await web.sessions.open(request, response, caller, None)
    return response


async def log_out(request: Request) -> Response:
    _same_site(request)
    response = Response(status_code=204)
    web_of(request).sessions.close(request, response)
    return response


def _same_site(request: Request) -> None:
    """For requests that make or end a session: no page of others may ask for it."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise InvalidRequest("a page of another site may not ask for this")


def _local(request: Request, back: Any) -> str:
    """A path of ours, whatever was asked for: nobody is sent to another site."""
    home = request.scope.get("root_path", "") + "/"
    text = str(back or "")
    is_path = text.startswith(home) and not text.startswith("//") and "\\" not in text
    return text if is_path and text.isprintable() else home
