"""One request over the socket with nothing but the standard library.

For `greenroom post` and for completion: there the imports of the real client would be most of the
time. Everything this module cannot do (HTTP addresses, options, good messages) it leaves to the
real commands by raising `Later`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any, Final

from greenroom.definitions.errors import GreenroomError
from greenroom.runtime import places
from greenroom.runtime.cli import items, words

ANSWER_BYTES_MAX: Final = 16 << 20
DEADLINE_S: Final = 30.0


class Later(Exception):
    """The long way has to be taken, with the event `id` if one may have been sent already."""

    def __init__(self, id: str | None = None) -> None:
        self.id = id


class Line:
    """A connection that sends a line and waits for one, all within `deadline_s`."""

    def __init__(
        self, deadline_s: float, server: str | None = None, data: str | None = None
    ) -> None:
        try:
            path = places.socket_path(server, data)
        except GreenroomError:
            raise Later from None
        self._until = time.monotonic() + deadline_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._rest = b""
        try:
            self._socket.settimeout(deadline_s)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise Later from error

    def ask(self, message: dict[str, Any]) -> Any:
        """The decoded answer. `OSError` when the connection ends or the time is over."""
        self._socket.settimeout(max(self._until - time.monotonic(), 0.001))
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        while b"\n" not in self._rest:
            left_s = self._until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            chunk = self._socket.recv(1 << 16)
            if not chunk or len(self._rest) > ANSWER_BYTES_MAX:
                raise ConnectionError("the daemon closed the connection")
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def call(self, method: str, **params: Any) -> Any:
        """The result of a method; `Later` for an error, so that the long way words it."""
        answer = self.ask({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "result" not in answer:
            raise Later
        return answer["result"]

    def close(self) -> None:
        self._socket.close()


def post(args: list[str], terminal: bool) -> str:
    """What to print for `greenroom post TYPE [key=text] [key:=json]`.

    The id is made here, so that after a broken connection the long way posts the same event again
    and the engine tells whether it has it.
    """
    if not args or any(arg.startswith("-") for arg in args):
        raise Later
    try:
        data = items.from_items(args[1:])
    except GreenroomError:
        raise Later from None
    id = event_id()
    line = Line(DEADLINE_S)
    try:
        reply = line.ask({"type": args[0], "id": id, "data": data})
        if "error" in reply:
            raise Later(id)  # refused, so not stored; the long way says why
        if not terminal:
            return words.visible(json.dumps(reply, ensure_ascii=False, separators=(",", ":")))
        return words.visible(words.posted(reply, _explained(line, reply)))
    except (OSError, ValueError) as error:
        raise Later(id) from error
    finally:
        line.close()


def _explained(line: Line, reply: dict[str, Any]) -> Any:
    if reply["matched_total"] or reply["duplicate"]:
        return None
    try:
        return line.call("events.explain", id=reply["id"])
    except (OSError, ValueError, Later):
        return None  # the event is stored; a missing reason is no reason to fail


def event_id() -> str:
    """A uuid7 as text; the packaged one costs an import."""
    raw = int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10)
    number = int.from_bytes(raw, "big") & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
