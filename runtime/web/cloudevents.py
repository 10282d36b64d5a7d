"""CloudEvents 1.0 over HTTP: what an event is made of, in the three ways a request may carry it.

*Structured*: the event is the body (`application/cloudevents+json`, plain JSON too). *Batched*: an
array of those. *Binary*: the attributes are headers (`ce-type`, `ce-id`, ...) and the body is the
data alone, as its `Content-Type` says. Data is JSON or text here: bytes would be no JSON value.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from greenroom.definitions.errors import InvalidEvent, InvalidRequest
from greenroom.runtime.web.heads import Heads
from greenroom.runtime.web.problems import HttpError
from greenroom.runtime.web.reading import JSON, json_of

ONE: Final = "application/cloudevents+json"
MANY: Final = "application/cloudevents-batch+json"
VERSION: Final = "1.0"
PREFIX: Final = b"ce-"


def is_binary(heads: Heads, kind: str) -> bool:
    """Whether the attributes stand in headers; `kind` is the media type of the body."""
    return b"ce-type" in heads and kind not in (ONE, MANY)


def from_headers(heads: Heads, kind: str, body: bytes) -> dict[str, Any]:
    """The event of a request in binary mode. Raises `InvalidEvent`, `HttpError`."""
    event: dict[str, Any] = {}
    for name, value in heads.items():
        if name.startswith(PREFIX):
            attribute = name[len(PREFIX) :].decode("latin-1")
            if attribute in ("data", "datacontenttype"):
                raise InvalidEvent(f"ce-{attribute} is no header: the body is the data")
            event[attribute] = _text(value)
    check_version(event)
    given = heads.get(b"content-type")
    if given is not None:
        event["datacontenttype"] = given.decode("latin-1")
    if body:
        event["data"] = _data(kind, body)
    return event


def check_version(event: dict[str, Any]) -> None:
    """Raises `InvalidEvent` for an event of another version than 1.0; none is taken as ours."""
    version = event.get("specversion", VERSION)
    if version != VERSION:
        raise InvalidEvent(
            f"this is CloudEvents {VERSION}, not {str(version)[:20]!r}", path="$.specversion"
        )


def _text(value: bytes) -> str:
    """An attribute as its header has it: anything but printable ASCII is percent-encoded UTF-8."""
    return unquote(value.decode("latin-1").strip('"'))


def _data(kind: str, body: bytes) -> Any:
    if kind in ("", JSON) or kind.endswith("+json"):
        return json_of(body)
    if kind.startswith("text/"):
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidEvent("the body is text and not UTF-8", path="$.data") from None
    raise HttpError(
        415, InvalidRequest(f"the data is {kind[:80]}; it must be JSON or text", takes=JSON)
    )
