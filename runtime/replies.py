"""What both clients know about the wire: how a request is written and a reply is read.

Nothing here imports asyncio: `greenroom send` starts, posts and ends in the time that would take.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from greenroom.definitions.errors import (
    GreenroomError,
    InstanceCancelled,
    InstanceFailed,
    NotPermitted,
    Timeout,
    Unreachable,
    from_data,
)
from greenroom.definitions.events import Event, check_event, event_from
from greenroom.definitions.values import Json, encode
from greenroom.runtime.protocol import LINE_BYTES_MAX
from greenroom.runtime.shapes import Accepted, Outcome

T = TypeVar("T")

WINDOW: Final = 512
"""Events a client keeps in flight; half of what the daemon takes before it stops reading."""


class Reply(msgspec.Struct):
    """Any line from the daemon. Replies to events have no `jsonrpc`."""

    jsonrpc: str | None = None
    id: Json = None
    method: str | None = None
    params: msgspec.Raw | UnsetType = UNSET
    result: msgspec.Raw | UnsetType = UNSET
    error: dict[str, Json] | None = None

    def value(self, shape: type[T]) -> T:
        """The result as its shape. Raises the error that was sent instead."""
        if self.error is not None:
            raise from_data(self.error)
        if isinstance(self.result, UnsetType):
            raise GreenroomError("the daemon sent a reply without a result")
        return msgspec.json.decode(self.result, type=shape)


class Watching(msgspec.Struct):
    """The answer to `watch` and `tail`."""

    watch: int


class Notice(msgspec.Struct):
    """The parameters of a notification: an item, or the end."""

    watch: int
    entry: msgspec.Raw | UnsetType = UNSET
    event: msgspec.Raw | UnsetType = UNSET
    error: dict[str, Json] | None = None

    def item(self, shape: type[T]) -> T | None:
        """The item; None at the end of the stream. Raises the error that ended it."""
        if self.error is not None:
            raise from_data(self.error)
        raw = self.event if isinstance(self.entry, UnsetType) else self.entry
        return None if isinstance(raw, UnsetType) else msgspec.json.decode(raw, type=shape)


_replies = msgspec.json.Decoder(Reply)
_accepted = msgspec.json.Decoder(Accepted)
_notices = msgspec.json.Decoder(Notice)


def read_reply(line: bytes) -> Reply:
    return _replies.decode(line)


def read_notice(reply: Reply) -> Notice:
    if isinstance(reply.params, UnsetType):
        raise GreenroomError("the daemon sent a notification without parameters")
    return _notices.decode(reply.params)


def read_accepted(line: bytes) -> Accepted | GreenroomError:
    """The reply to a posted event."""
    try:
        return _accepted.decode(line)
    except msgspec.ValidationError:
        error = _replies.decode(line).error
        return from_data(error or {"message": "the daemon sent a reply that is none"})


def given(**params: Any) -> dict[str, Any]:
    """The parameters that were given."""
    return {
        name: value for name, value in params.items() if value is not None and value is not UNSET
    }


def request_line(request_id: int, method: str, params: Mapping[str, Any]) -> bytes:
    """One request. Raises `InvalidInput` for what JSON cannot hold."""
    body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": dict(params)}
    return encode(body, method, LINE_BYTES_MAX) + b"\n"


def event_line(event: Event | Mapping[str, Any]) -> bytes:
    """One event. Raises `InvalidEvent` or `InvalidInput` before anything is sent."""
    return encode(event_data(event), "event", LINE_BYTES_MAX) + b"\n"


def event_data(event: Event | Mapping[str, Any]) -> dict[str, Any]:
    checked = check_event(event) if isinstance(event, Event) else event_from(event)
    data = checked.as_data()
    for name in ("id", "source"):
        if not data[name]:
            del data[name]
    return data


def absolute(path: str | Path) -> str:
    """The path as the daemon, which runs elsewhere, understands it."""
    return os.path.abspath(path)


def value_of(outcome: Outcome) -> Json:
    """The result of an instance that has ended well, else the error that says how it ended."""
    if outcome.status == "completed":
        return outcome.result
    error = outcome.error
    if error is not None and outcome.status != "cancelled":
        raise InstanceFailed(
            error.message if error else "the instance failed",
            instance=outcome.instance,
            error=msgspec.to_builtins(error),
        )
    if outcome.status == "cancelled":
        raise InstanceCancelled(
            error.message if error else "the instance was cancelled", instance=outcome.instance
        )
    raise Timeout(f"the instance is still {outcome.status}", instance=outcome.instance)


# -- no daemon there ---------------------------------------------------------------------------


def unreachable(path: Path, error: OSError) -> GreenroomError:
    """Why the socket cannot be talked to, and what to do."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return _not_ours(path)
    return Unreachable(
        f"no engine at {path}",
        hint=(
            "start one here:   greenroom dev\n"
            "or point to one:  greenroom --server unix:///run/engine.sock ...   "
            "(also GREENROOM_SERVER)"
        ),
        path=str(path),
        reason=errno.errorcode.get(error.errno or 0, type(error).__name__),
    )


def closed(path: Path) -> Unreachable:
    """The connection ended while a reply was owed."""
    return Unreachable(
        f"the engine at {path} closed the connection before it answered",
        hint="what was asked may have been done; asking again with the same id is safe",
        path=str(path),
    )


def _not_ours(path: Path) -> GreenroomError:
    me = f"you are {_user(os.geteuid())} (uid {os.geteuid()}, groups {_groups()})"
    try:
        status = os.stat(path)
    except OSError:
        return NotPermitted(
            f"{path} cannot be reached: its directory is closed to you; {me}", path=str(path)
        )
    owner, group = _user(status.st_uid), _group(status.st_gid)
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    ask = f'ask for group "{group}", or run' if status.st_mode & 0o020 else "run"
    return NotPermitted(
        f"{path} is owned by {owner}:{group} ({mode}); {me}",
        hint=f"{ask}:  sudo -u {owner} greenroom ...",
        path=str(path),
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _groups() -> str:
    return " ".join(_group(gid) for gid in sorted({os.getegid(), *os.getgroups()}))
