"""Callbacks: an outside party answers with a token, and tells how far it is on the way.

A token is good for one answer. Progress is shown with the question, each report in place of the one
before; it is no part of the state and gone with the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from greenroom.actors.messages import Answer
from greenroom.actors.ports import AskView, ListAsks, NoteAsk
from greenroom.actors.progress import status_of
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import AlreadyDecided, InvalidInput, NoSuchAsk, NotFound
from greenroom.definitions.values import Json, encode_decode
from greenroom.runtime import shapes
from greenroom.runtime.tokens import instance_in

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

PROGRESS: Final = "progress"
"""Name of the note with the last report."""
BY: Final = "callback"


class Callbacks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, token: str, data: Json) -> shapes.Answered:
        """The call itself: one JSON object, once. Raises `NoSuchAsk` for a token nobody waits for,
        `AlreadyDecided` for a second call."""
        found = await self.find(token)
        back = encode_decode(_object(data), "the body of the callback")[1]
        try:
            instance, _ = await self._engine._tell(found.n, Answer(found.op, back, BY))
        except NoSuchAsk:
            await self.find(token)  # somebody was first, a moment ago
            raise
        status = status_of(instance.kernel.progress)
        return shapes.Answered(found.instance, found.id, status)  # type: ignore[arg-type]

    async def progress(self, token: str, data: Json) -> shapes.Answered:
        """A report of how far it is: any JSON value, shown with the question."""
        found = await self.find(token)
        now = self._engine.clock.now()
        raw = msgspec.json.encode({"at": rfc3339(now), "data": encode_decode(data, "progress")[1]})
        if not await self._engine.journal.call(NoteAsk(found.id, PROGRESS, raw)):
            await self.find(token)
        return shapes.Answered(found.instance, found.id, "waiting")

    async def find(self, token: str) -> AskView:
        """The question a token is for, open still."""
        engine = self._engine
        instance = instance_in(token)
        if instance is None:
            raise NoSuchAsk("this is not the token of a callback")
        try:
            row = await engine._find(instance)
        except NotFound:
            raise NoSuchAsk("nobody waits for this callback") from None
        rows: list[AskView] = await engine.journal.call(
            ListAsks(open_only=False, instance=row.id, limit=10_000)
        )
        for one in rows:
            if one.kind == "callback" and engine.secret.is_token(token, one.instance, one.op):
                if one.answered_at is not None:
                    raise AlreadyDecided(
                        f"this callback was answered at {rfc3339(one.answered_at)}", ask=one.id
                    )
                return one
        raise NoSuchAsk("nobody waits for this callback any more")


def _object(data: Json) -> Json:
    if not isinstance(data, dict):
        raise InvalidInput(
            f"the body of a callback must be a JSON object, got {type(data).__name__}"
        )
    return data
