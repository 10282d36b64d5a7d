"""The line protocol of the socket, without a socket: bytes in, frames out.

A line towards the daemon is one JSON object of at most 1 MiB. Without `"method"` it is an event,
with it a JSON-RPC 2.0 request whose `error.code` is our text. No IO and no clock here, so that
every split and merge of the byte stream can be tried in a test.

The first byte of a connection decides what it speaks: `{` or white space is this protocol,
`A`-`Z` is HTTP, anything else is refused. A line that cannot be read is refused by one error line
and the connection goes on; only what makes the rest of the stream meaningless (a line that does
not end, a wrong first byte) ends it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import GreenroomError, InvalidEvent, InvalidRequest, TooLarge
from greenroom.definitions.events import NAME_MAX, Event, event_from
from greenroom.definitions.values import Json

LINE_BYTES_MAX: Final = 1 << 20

_WHITE: Final = b" \t\r\n"
_OPEN: Final = 0x7B  # {


class Request(msgspec.Struct, frozen=True):
    """A line with a `method`. Without an `id` (JSON-RPC's notification) nobody waits for a reply."""

    id: str | int | float | None
    method: str
    params: dict[str, Json]
    wants_reply: bool = True


class Refused(msgspec.Struct, frozen=True):
    """A line that means nothing: answer with the error, and close if the stream is lost."""

    error: GreenroomError
    request_id: str | int | float | None = None
    is_request: bool = False
    close: bool = False


class Http(msgspec.Struct, frozen=True):
    """The peer speaks HTTP; `data` is all it has sent so far."""

    data: bytes


Frame = Event | Request | Refused | Http


class LineReader:
    """Cuts a byte stream into frames.

    `feed` what was received, `take` frames as fast as they can be worked on: lines that were not
    taken stay unparsed. After a frame that closes, further bytes are ignored.
    """

    __slots__ = ("_closed", "_first", "_lines", "_tail", "ends", "limit", "size")

    def __init__(self, limit: int = LINE_BYTES_MAX) -> None:
        self.limit = limit
        self.ends = 0
        """Line ends seen so far; tells a slow line from a row of quick ones."""
        self.size = 0
        """Bytes of the line taken last."""
        self._first = True
        self._closed = False
        self._lines: deque[bytes | Frame] = deque()
        self._tail = bytearray()

    @property
    def ready(self) -> bool:
        """Whether complete lines wait to be taken."""
        return bool(self._lines)

    @property
    def partial(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._tail)

    def feed(self, data: bytes) -> None:
        if self._closed or not data:
            return
        if self._first:
            self._first = False
            if not self._is_ours(data):
                return
        pieces = data.split(b"\n")
        if len(pieces) == 1:
            self._extend_tail(data)
            return
        self.ends += len(pieces) - 1
        if self._tail:
            if len(self._tail) + len(pieces[0]) > self.limit:
                self._too_long()
                return
            pieces[0] = bytes(self._tail) + pieces[0]
            self._tail.clear()
        tail = pieces.pop()
        if max(map(len, pieces)) > self.limit:
            self._keep_up_to_long_one(pieces)
            return
        self._lines.extend(pieces)
        self._extend_tail(tail)

    def feed_eof(self) -> None:
        """The peer will send no more. A last line without its line end counts as one: an object
        that was cut short can never be read as a whole one."""
        if self._tail and not self._closed:
            self._lines.append(bytes(self._tail))
        self._tail.clear()
        self._closed = True

    def take(self) -> Frame | None:
        """The next line as a frame; None if it is blank or there is none."""
        if not self._lines:
            return None
        line = self._lines.popleft()
        if not isinstance(line, bytes):
            return line
        self.size = len(line)
        if not line or line.isspace():
            return None
        return parse(line)

    def _is_ours(self, data: bytes) -> bool:
        first = data[0]
        if first == _OPEN or first in _WHITE:
            return True
        self._closed = True
        if 0x41 <= first <= 0x5A:
            self._lines.append(Http(data))
        else:
            message = f"the first byte is {first:#04x}; expected a JSON object or an HTTP request"
            self._lines.append(Refused(InvalidRequest(message), close=True))
        return False

    def _extend_tail(self, data: bytes) -> None:
        if len(self._tail) + len(data) > self.limit:
            self._too_long()
        else:
            self._tail += data

    def _keep_up_to_long_one(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            if len(piece) > self.limit:
                break
            self._lines.append(piece)
        self._too_long()

    def _too_long(self) -> None:
        message = f"a line may have {self.limit:,} bytes; split the data or store it elsewhere"
        self._lines.append(Refused(TooLarge(message, limit=self.limit), close=True))
        self._tail.clear()
        self._closed = True


# -- reading one line --------------------------------------------------------------------------


class _EventLine(msgspec.Struct, forbid_unknown_fields=True):
    """The usual event. Whatever does not fit goes the slow way, which also finds the words."""

    type: str
    id: str = ""
    source: str = ""
    subject: str | None = None
    time: str | None = None
    data: Json = None
    datacontenttype: str | None = None
    specversion: str | None = None


_events = msgspec.json.Decoder(_EventLine)
_values = msgspec.json.Decoder()


def parse(line: bytes) -> Event | Request | Refused:
    """What one line says."""
    try:
        event = _events.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _parse_slowly(line)
    # attributes of a short line are short: no need to look; a time must be looked at
    if not event.type or event.time is not None or (len(line) > NAME_MAX and _is_long(event)):
        return _parse_slowly(line)
    return Event(
        type=event.type,
        id=event.id,
        source=event.source,
        subject=event.subject,
        time=event.time,
        data=event.data,
        datacontenttype=event.datacontenttype,
    )


def _is_long(event: _EventLine) -> bool:
    return (
        len(event.type) > NAME_MAX
        or len(event.id) > NAME_MAX
        or len(event.source) > NAME_MAX
        or len(event.subject or "") > NAME_MAX
    )


def _parse_slowly(line: bytes) -> Event | Request | Refused:
    try:
        value = _values.decode(line)
    except RecursionError:
        return Refused(InvalidRequest("the line is nested too deeply", path="$"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refused(InvalidRequest(f"not valid JSON: {error}", path="$"))
    if isinstance(value, list):
        message = "batches are refused: send one object a line, as many as you like at once"
        return Refused(InvalidRequest(message, path="$"))
    if not isinstance(value, dict):
        return Refused(InvalidRequest("a line must be a JSON object", path="$"))
    if "method" in value:
        return _request(value)
    try:
        return event_from(value)
    except InvalidEvent as error:
        return Refused(error)


def _request(value: dict[str, Any]) -> Request | Refused:
    request_id = value.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | float | None):
        return _bad_request(None, "id must be a string or a number", "$.id")
    method = value["method"]
    if not isinstance(method, str) or not method:
        return _bad_request(request_id, "method must be a non-empty string", "$.method")
    params = value.get("params")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        return _bad_request(request_id, "params must be an object of named values", "$.params")
    if value.get("jsonrpc", "2.0") != "2.0":
        return _bad_request(request_id, 'jsonrpc must be "2.0"', "$.jsonrpc")
    for key in value:
        if key not in ("jsonrpc", "id", "method", "params"):
            return _bad_request(request_id, f'unknown key "{key}" beside method', f"$.{key}")
    return Request(request_id, method, params, "id" in value)


def _bad_request(request_id: str | float | None, message: str, path: str) -> Refused:
    return Refused(InvalidRequest(message, path=path), request_id, is_request=True)


# -- writing -----------------------------------------------------------------------------------


def _as_text(value: Any) -> str:
    """Details of an error may hold anything; an error must always get out."""
    return str(value)


_encode = msgspec.json.Encoder().encode
_encode_error = msgspec.json.Encoder(enc_hook=_as_text).encode


def encode_event_reply(reply: Any) -> bytes:
    """The reply to a bare event line."""
    return _encode(reply) + b"\n"


def encode_event_error(error: GreenroomError) -> bytes:
    return b'{"error":' + _encode_error(error.as_data()) + b"}\n"


def encode_result(request_id: Any, result: Any) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (_encode(request_id), _encode(result))


def encode_error(request_id: Any, error: GreenroomError) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (
        _encode(request_id),
        _encode_error(error.as_data()),
    )


def encode_refusal(refused: Refused) -> bytes:
    if refused.is_request:
        return encode_error(refused.request_id, refused.error)
    return encode_event_error(refused.error)


def encode_notification(method: str, params: Any) -> bytes:
    return b'{"jsonrpc":"2.0","method":"%b","params":%b}\n' % (method.encode(), _encode(params))


def encode_request(request_id: Any, method: str, params: dict[str, Any]) -> bytes:
    """What a client sends."""
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}\n' % (
        _encode(request_id),
        method.encode(),
        _encode(params),
    )


_NO_WEB: Final = (
    b"This daemon was installed without HTTP. Install greenroom[web], or send JSON lines.\n"
)
HTTP_NOT_IMPLEMENTED: Final = (
    b"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_NO_WEB), _NO_WEB)
)
