"""Errors over HTTP: `application/problem+json` (RFC 9457) with our `code`."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from greenroom.definitions.errors import GreenroomError, NotAuthenticated, RateLimited

MEDIA_TYPE: Final = "application/problem+json"


class HttpError(Exception):
    """An error with a status of its own: what HTTP itself finds wrong (405, 415, ...)."""

    def __init__(self, status: int, error: GreenroomError, **headers: str) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class ProblemDetails(msgspec.Struct, omit_defaults=True):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    details: dict[str, Any] = {}
    hint: str | None = None
    docs: str | None = None


def problem(error: GreenroomError, status: int | None = None, **headers: str) -> Response:
    """An error as a response."""
    status = status or error.http_status
    body = ProblemDetails(
        type=f"urn:greenroom:error:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        details=error.details,
        hint=error.hint,
        docs=f"docs/errors.md#{error.code}",
    )
    if isinstance(error, NotAuthenticated):
        headers.setdefault("WWW-Authenticate", 'Bearer realm="greenroom"')
    after_s = error.details.get("after_s") if isinstance(error, RateLimited) else None
    if error.retryable:
        headers.setdefault("Retry-After", str(math.ceil(after_s or 1)))
    return Response(_encode(body), status, headers, MEDIA_TYPE)


_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
