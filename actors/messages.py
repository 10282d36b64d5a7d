"""What an instance may be told. Imperative; each decides to an entry or to nothing."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from greenroom.actors.entries import Failure
from greenroom.definitions.values import Json


class Begin(Struct, frozen=True, tag="begin"):
    """Take the first turn of a pending instance."""

    by: str | None = None


class Outcome(Struct, frozen=True, tag="outcome", omit_defaults=True):
    """An attempt of an op has ended. With `error`: `after_s` is the delay its author named,
    `final` says not to try again, `kinds` are the class names of the exception."""

    key: str
    attempt: int
    value: Json = None
    error: Failure | None = None
    after_s: float | None = None
    final: bool = False
    kinds: tuple[str, ...] = ()


class Due(Struct, frozen=True, tag="due"):
    key: str
    due: int


class Offer(Struct, frozen=True, tag="offer"):
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


class Recover(Struct, frozen=True, tag="recover"):
    """The first message after loading: what an earlier process was running is lost. `counted`: it
    died, so its attempts count towards poison; after a clean stop they do not."""

    counted: bool = True


class Park(Struct, frozen=True, tag="park"):
    error: Failure


Message = Begin | Outcome | Due | Offer | Answer | Pause | Resume | Cancel | Skip | Recover | Park

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def encode_message(message: Message) -> bytes:
    return _encoder.encode(message)


def decode_message(payload: bytes) -> Message:
    return _decoder.decode(payload)
