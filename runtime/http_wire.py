"""What both HTTP clients know: how a method becomes a request, and a response a value or an error.

Nothing here speaks on a network. The requests are those of the table of routes, read backwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import UNSET

from greenroom.definitions.errors import (
    GreenroomError,
    InvalidRequest,
    Unreachable,
    from_data,
)
from greenroom.definitions.events import Event
from greenroom.definitions.values import encode
from greenroom.runtime.places import is_http
from greenroom.runtime.protocol import LINE_BYTES_MAX
from greenroom.runtime.replies import event_data, read_accepted
from greenroom.runtime.shapes import Accepted
from greenroom.runtime.web import table

T = TypeVar("T")

TIMEOUT_S: Final = 30.0
"""For everything but `result` and streams, which take as long as they take."""
BATCH: Final = 500
"""Events of one request of `post_many`."""
NDJSON: Final = "application/x-ndjson"
KEY: Final = "GREENROOM_KEY"
"""The API key, in the environment: a command line can be read by everybody on the machine."""


class Address(msgspec.Struct, frozen=True):
    """Where the daemon is. `prefix` is the path it is mounted at, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


class Sent(msgspec.Struct, frozen=True):
    """A request, ready to be written."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None
    takes_long: bool = False


def address_of(server: str | Path | None, data: str | Path | None) -> Address | None:
    """The address if the server is one of HTTP: given, else in `GREENROOM_SERVER`. None: a socket.
    Raises `InvalidRequest` for an address that is none."""
    if not is_http(server, data):
        return None
    server = str(server or os.environ["GREENROOM_SERVER"])
    try:
        parts = urlsplit(server)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InvalidRequest(
            f"{server[:200]} is not the address of a daemon",
            hint=f"write http://HOST:PORT or https://HOST/PREFIX; the key is in {KEY}",
        )
    port = port or (443 if parts.scheme == "https" else 80)
    return Address(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def sent(
    address: Address, key: str | None, method: str, params: Mapping[str, Any], *, accept: str = ""
) -> Sent:
    """A method of the socket as a request. Raises `InvalidInput` for what JSON cannot hold."""
    asked = table.request_for(
        method, {name: value for name, value in params.items() if value is not UNSET}
    )
    target = address.prefix + asked.path
    if asked.query:
        target += "?" + urlencode(asked.query)
    body = None
    headers = _headers(address, key, accept or "application/json")
    if asked.method in ("POST", "PUT"):
        value = {} if asked.body is UNSET else asked.body
        body = encode(value, method, LINE_BYTES_MAX)
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
    return Sent(asked.method, target, headers, body, takes_long=method == "result")


def sent_events(address: Address, key: str | None, lines: list[bytes]) -> Sent:
    """Many events as one request; each line is an event and ends."""
    body = b"".join(lines)
    headers = _headers(address, key, NDJSON)
    headers["Content-Type"] = NDJSON
    headers["Content-Length"] = str(len(body))
    return Sent("POST", f"{address.prefix}/v1/events", headers, body)


def _headers(address: Address, key: str | None, accept: str) -> dict[str, str]:
    headers = {"Host": address.authority, "Accept": accept, "User-Agent": "greenroom"}
    if key:
        if not key.isprintable() or not key.isascii() or " " in key:
            raise InvalidRequest(f"the API key in {KEY} has characters a key never has")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def event_params(event: Event | Mapping[str, Any]) -> dict[str, Any]:
    return {"event": event_data(event)}


def value_of(address: Address, status: int, body: bytes, shape: type[T]) -> T:
    """What was answered. Raises the error that was answered instead."""
    if 200 <= status < 300:
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.DecodeError:
            raise _stranger(address, status) from None
    raise error_of(address, status, body)


def error_of(address: Address, status: int, body: bytes) -> GreenroomError:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {}
    if "code" not in found:
        return _stranger(address, status)
    return from_data({**found, "message": found.get("detail", "")})


def _stranger(address: Address, status: int) -> Unreachable:
    return Unreachable(
        f"what answers at {address.url} is no greenroom daemon (status {status})",
        hint="is the prefix right?  a mounted engine is at https://HOST/PREFIX",
        url=address.url,
    )


def answers(body: bytes) -> list[Accepted | GreenroomError]:
    """The answers to many events, in order."""
    return [read_accepted(line) for line in body.split(b"\n") if line]


def unreachable(address: Address, error: Exception) -> Unreachable:
    return Unreachable(
        f"no engine at {address.url}: {error or type(error).__name__}",
        hint="start one here:   greenroom serve --http 127.0.0.1:8420 app.py\n"
        "or point to one:  greenroom --server http://HOST:PORT ...   (also GREENROOM_SERVER)",
        url=address.url,
    )


def closed(address: Address) -> Unreachable:
    return Unreachable(
        f"the engine at {address.url} closed the connection before it answered",
        hint="what was asked may have been done; asking again with the same id is safe",
        url=address.url,
    )


class FeedReader:
    """Takes the bytes of a feed, gives the items in them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, shape: type[T]) -> Iterator[T | None]:
        """The items that are whole now; None at the end. Raises the error that ended it."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for frame in whole:
            fields = dict(line.partition(b": ")[::2] for line in frame.split(b"\n"))
            kind, text = fields.get(b"event", b""), fields.get(b"data", b"")
            if kind in (b"entry", b"event"):
                yield msgspec.json.decode(text, type=shape)
            elif kind in (b"end", b"dropped"):
                error = msgspec.json.decode(text)
                if error:
                    raise from_data(error)
                yield None
