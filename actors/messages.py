"""What an instance may be told. Imperative; each decides to an entry or to nothing."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from greenroom.actors.entries import Failure
from greenroom.definitions.values import Json


class Begin(Struct, frozen=True, tag="begin"):
    """Take the first turn of a pending instance."""

    by: str | None = None


class Outcome(Struct, gc=False, frozen=True, tag="outcome", omit_defaults=True):
    """An attempt of an op has ended. With `error`: `after_s` is the delay its author named,
    `final` says not to try again, `kinds` are the class names of the exception."""

    key: str
    attempt: int
    value: Json = None
    error: Failure | None = None
    after_s: float | None = None
    final: bool = False
    kinds: tuple[str, ...] = ()


class Record(Struct, frozen=True, tag="record", omit_defaults=True):
    """A running op has made its call number `n` to somebody outside; nothing else may happen to it
    before that is kept."""

    key: str
    attempt: int
    n: int
    name: str
    args: Json = None
    value: Json = None
    error: Failure | None = None


class Due(Struct, frozen=True, tag="due"):
    key: str
    due: int


class Offer(Struct, gc=False, frozen=True, tag="offer"):
    """An event from the inbox; `at` is when it was accepted."""

    iq: int
    at: int
    event: Json
    pos: int | None = None


class Answer(Struct, frozen=True, tag="answer"):
    key: str
    value: Json
    by: str | None = None


class Pause(Struct, frozen=True, tag="pause"):
    by: str | None = None
    reason: str | None = None


class Resume(Struct, frozen=True, tag="resume"):
    by: str | None = None
    reason: str | None = None
    run_again: bool = False


class Cancel(Struct, frozen=True, tag="cancel"):
    by: str | None = None
    reason: str | None = None
    force: bool = False


class Skip(Struct, frozen=True, tag="skip"):
    key: str
    value: Json = None
    by: str | None = None
    reason: str | None = None


class Edit(Struct, frozen=True, tag="edit"):
    """Change the state by hand. `set` and `drop` name values of the state, or places in them by
    paths with dots."""

    set: dict[str, Json]
    drop: tuple[str, ...] = ()
    by: str | None = None
    reason: str | None = None


class Migrate(Struct, frozen=True, tag="migrate"):
    """Follow another version. `done` are the steps that had ended at entry `seen`; `definition` is
    the version itself (this message never leaves the process)."""

    definition: Any
    done: tuple[str, ...]
    seen: int
    by: str | None = None
    reason: str | None = None


class Refused(Struct, frozen=True, tag="refused"):
    """The child that was asked for without waiting for it was not made."""

    key: str
    name: str
    error: Failure
    attempt: int = 1


class Recover(Struct, frozen=True, tag="recover"):
    """The first message after loading: what an earlier process was running is lost. `counted`: it
    died, so its attempts count towards poison; after a clean stop they do not. `alone` is the
    attempt, by `attempt_id`, that was last run alone; None where nobody knows."""

    counted: bool = True
    alone: str | None = None


def attempt_id(instance: str, key: str, attempt: int) -> str:
    return f"{instance}/{key}#{attempt}"


class Park(Struct, frozen=True, tag="park"):
    error: Failure


Message = (
    Begin | Outcome | Record | Due | Offer | Answer | Pause | Resume | Cancel | Skip | Edit
    | Migrate | Refused | Recover | Park
)  # fmt: skip

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def encode_message(message: Message) -> bytes:
    return _encoder.encode(message)


def decode_message(payload: bytes) -> Message:
    return _decoder.decode(payload)
