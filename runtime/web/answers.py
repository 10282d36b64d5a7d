"""The answer of a verb: JSON, made once and sent as it is."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from greenroom.runtime.web.reading import JSON

encode: Final = msgspec.json.Encoder(enc_hook=str).encode

_KIND: Final = (b"content-type", JSON.encode())


class Answer(Response):
    """A body of JSON, ready. The general class costs as much as routing the request does."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(b"content-length", b"%d" % len(body)), _KIND]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {
            "type": "http.response.start", "status": self.status_code, "headers": self.raw_headers
        }  # fmt: skip
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


def answer(value: Any, status: int = 200) -> Answer:
    return Answer(encode(value), status)
