"""How a page is made: the layout, what is in reach of every template, and errors that are pages.

A message for the next page (`say`) travels in a cookie of ours: no address can make a page say
something, and a reload does not say it twice.
"""

from __future__ import annotations

import functools
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from greenroom.definitions.durations import text as duration_text
from greenroom.definitions.errors import GreenroomError, NotAuthenticated
from greenroom.runtime.filters import Term
from greenroom.runtime.web.app import Web
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.routes import PageRoute, caller_of, page, web_of

if TYPE_CHECKING:
    import jinja2

TEMPLATES: Final = Path(__file__).with_name("templates")
PURPOSE: Final = "pages"
"""What the CSRF token of all pages is for."""
SAID: Final = "greenroom-said"
SAID_MAX: Final = 1_500
JSON_MAX: Final = 20_000
"""Characters of a value that are shown; the API gives all of it."""

Endpoint = Callable[[Request], Awaitable[Response]]

NAV: Final = (
    ("home", "/", "Home", "h"),
    ("instances", "/instances", "Instances", "i"),
    ("inbox", "/inbox", "Inbox", "n"),
    ("retries", "/retries", "Retry room", "r"),
    ("board", "/board", "Board", "b"),
    ("events", "/events", "Events", "e"),
    ("subscriptions", "/subscriptions", "Subscriptions", "u"),
    ("schedules", "/schedules", "Schedules", "s"),
    ("definitions", "/definitions", "Definitions", "d"),
    ("health", "/health", "Health", "l"),
)
"""Name, path, label, and the key that goes there after `g`."""

GLYPHS: Final = {
    "pending": "○", "running": "●", "waiting": "◔", "paused": "‖", "failed": "✕",
    "completed": "✓", "cancelled": "⊘",
}  # fmt: skip
"""A status is never told by its colour alone."""


def screen(
    path: str,
    endpoint: Endpoint,
    scope: str,
    *,
    methods: Sequence[str] = ("GET",),
    name: str | None = None,
    csrf: bool = True,
) -> PageRoute:
    """A page; what it raises is shown as one."""

    @functools.wraps(endpoint)
    async def shown(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NotAuthenticated:
            raise
        except HttpError as error:
            return await failed(request, error.error, error.status)
        except GreenroomError as error:
            return await failed(request, error)

    return page(
        path, shown, scope, methods=methods, name=name, csrf=csrf, on_error=failed,
        purpose=lambda request: PURPOSE,
    )  # fmt: skip


async def failed(request: Request, error: GreenroomError, status: int | None = None) -> Response:
    return await render(request, "error.html", status or error.http_status, error=error)


async def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as a page. With `HX-Request` it is a part of one: templates look at `part`."""
    part = request.headers.get("hx-request") == "true"
    told = None if part else _told(request)
    text = _environment().get_template(template).render(
        **await _reach(request), part=part, said=told, **values
    )  # fmt: skip
    response = HTMLResponse(text, status)
    if told is not None:
        response.delete_cookie(SAID, path=root_of(request) or "/", httponly=True, samesite="strict")
    return response


async def _reach(request: Request) -> dict[str, Any]:
    """What every template may use."""
    web: Web = web_of(request)
    caller = caller_of(request)
    now = web.engine.clock.now()
    return {
        "root": root_of(request),
        "base": str(request.base_url).rstrip("/"),
        "here": root_of(request)
        + request.scope["path"].removeprefix(root_of(request))
        + (f"?{request.url.query}" if request.url.query else ""),
        "by": caller.by,
        "way": caller.way,
        "can": caller.may,
        "csrf": await web.sessions.csrf(caller, PURPOSE),
        "nav": NAV,
        "glyphs": GLYPHS,
        "now": now,
        "when": functools.partial(when, now),
        "until": functools.partial(until, now),
        "version": _version(),
    }


def root_of(request: Request) -> str:
    """What stands before every address of ours: the prefix the pages are mounted under."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")


def _version() -> str:
    from greenroom.runtime.engine import VERSION  # noqa: PLC0415  it knows this floor's face

    return VERSION


def go(request: Request, path: str) -> Response:
    """The browser goes on to a page of ours."""
    return RedirectResponse(root_of(request) + path, 303)


def back(request: Request, place: Any, path: str = "/") -> Response:
    """To the page an action was asked for on; only ever one of ours."""
    root, text = root_of(request), str(place or "")
    inside = text.startswith(root + "/") and not text.startswith("//") and "\\" not in text
    return RedirectResponse(text if inside and text.isprintable() else root + path, 303)


def say(request: Request, response: Response, text: str, kind: str = "good") -> Response:
    """What the next page says first; `kind` is good or bad."""
    told = msgspec.json.encode([kind, text[:SAID_MAX]])
    response.set_cookie(
        SAID, urlsafe_b64encode(told).decode(), max_age=60, path=root_of(request) or "/",
        httponly=True, samesite="strict",
    )  # fmt: skip
    return response


def _told(request: Request) -> list[str] | None:
    text = request.cookies.get(SAID)
    if not text:
        return None
    with suppress(ValueError, msgspec.MsgspecError):
        return msgspec.json.decode(urlsafe_b64decode(text), type=list[str])
    return None


# -- words ---------------------------------------------------------------------------------------


def ms_of(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def span(ms: float) -> str:
    """A duration for people: one or two units."""
    seconds = abs(ms) / 1000
    if seconds < 1:
        return f"{round(abs(ms))} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return duration_text(round(seconds))


def when(now: int, text: str | None) -> Markup:
    """A moment that has been: how long ago, the time itself on hover."""
    if not text:
        return Markup("")
    ago = now - ms_of(text)
    shown = "now" if abs(ago) < 1_000 else f"{span(ago)} ago" if ago > 0 else f"in {span(ago)}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, clock(text), shown)


def until(now: int, text: str | None) -> Markup:
    """A moment that comes: what is left, counted down in the browser."""
    if not text:
        return Markup("")
    left = ms_of(text) - now
    shown = f"in {span(left)}" if left > 0 else f"overdue by {span(left)}"
    return Markup('<time datetime="{}" title="{}" data-until="{}">{}</time>').format(
        text, clock(text), ms_of(text), shown
    )


def clock(text: str) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def shown_json(value: Any, indent: int = 2) -> str:
    """A value as text, cut where it is very long."""
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=indent).decode()
    if len(text) <= JSON_MAX:
        return text
    return text[:JSON_MAX] + f"\n… {len(text) - JSON_MAX:,} more characters (the API gives all)"


def brief(value: Any, length: int = 90) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else _compact(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def _compact(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def called(one: Any) -> str:
    """How people say an instance: `order/7`, else the workflow and the end of its id."""
    return f"{one.workflow}/{one.key}" if one.key else f"{one.workflow} …{one.id[-6:]}"


def status(word: str) -> Markup:
    """A status as a mark: a sign and the word."""
    return Markup('<span class="status {0}"><i aria-hidden="true">{1}</i>{0}</span>').format(
        word, GLYPHS.get(word, "·")
    )


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415  a daemon nobody looks at starts without it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        json=shown_json, brief=brief, called=called, status=status, span=span, clock=clock,
        term=lambda text: quote(str(Term("", ":", text)).removeprefix(":")),
        escape_json=lambda value: escape(msgspec.json.encode(value, enc_hook=str).decode()),
    )  # fmt: skip
    return environment
