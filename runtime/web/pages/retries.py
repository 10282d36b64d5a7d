"""The retry room: what fails and what will be tried again, failures that are one together."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from greenroom.runtime import shapes
from greenroom.runtime.failures import Group, fingerprint, grouped
from greenroom.runtime.web.pages.deeds import Deed
from greenroom.runtime.web.pages.screen import render
from greenroom.runtime.web.routes import web_of

FAILED_MAX: Final = 10_000
"""Instances the groups are made of, the newest of each kind; retry and cancel reach all alike."""
KINDS: Final = ("status:failed", "status:paused", "status:waiting wait:retry")


async def retries(request: Request) -> Response:
    """`GET /retries`"""
    found, more = await _failing(web_of(request).engine)
    groups = [(group, _deeds(group)) for group in grouped(found)]
    return await render(
        request, "retries.html", groups=groups, more=more, most=FAILED_MAX
    )  # fmt: skip


async def _failing(engine: Any) -> tuple[list[shapes.Instance], bool]:
    """The newest that fail, and whether there are more."""
    found: list[shapes.Instance] = []
    more = False
    for q in KINDS:
        cursor: str | None = None
        start = len(found)
        while len(found) - start < FAILED_MAX:
            page = await engine.list(q, limit=1_000, cursor=cursor)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                break
        more = more or cursor is not None
    return found, more


def _deeds(group: Group) -> list[Deed]:
    """Retry and cancel, for all that are alike when it is done."""
    given: dict[str, Any] = {"q": group.q, "like": fingerprint(group.message)}
    return [Deed("many", {"verb": verb, **given}) for verb in ("retry", "cancel")]
