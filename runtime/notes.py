"""What the form of a stage has done between two questions is noted beside the question.

A form is run again from its top for each look and each answer, and belongs to no op that could
record anything. So `once("ticket", open_ticket)` and calls of services are notes of the question,
durable before the form gets what they gave, and gone with the answer.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.failures import failure_of
from greenroom.actors.ports import AskNotes, AskView, NoteAsk
from greenroom.definitions.errors import StepFailed
from greenroom.definitions.values import Json, canonical, encode_decode
from greenroom.runtime.recording import wait_in_thread

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

EFFECT: Final = "effect:"
"""Name of the note with an effect, in front of what it is called."""
ONCE: Final = "once."


class Noted:
    """The effects of one question, for the thread its form runs in."""

    def __init__(self, engine: Engine, ask: AskView, notes: dict[str, bytes], test: bool) -> None:
        self._engine = engine
        self._ask = ask
        self._notes = notes
        self._counts: Counter[str] = Counter()
        self._inside = False
        self._lock = threading.Lock()
        self.is_test = test
        self.idempotency_key = f"{ask.id}/form"

    @property
    def providers(self) -> Mapping[str, Any]:
        """Looked up in the thread of the form: secrets are, and the loop must not wait for that."""
        return self._engine.providers

    def remembered(self, key: tuple[str, ...], make: Callable[[], Any]) -> Any:
        return self._engine.identities.remembered(key, make)

    @classmethod
    async def of(cls, engine: Engine, ask: AskView, test: bool) -> Noted:
        notes: dict[str, bytes] = await engine.journal.call(AskNotes(ask.id))
        return cls(engine, ask, notes, test)

    def begin(self) -> None:
        """The form is run from its top."""
        self._counts.clear()

    def outcome(self, name: str, args: Json, make: Callable[[], Any]) -> Json:
        """What the call gave, when it was noted or now; what it raised is always a `StepFailed`."""
        if self._inside:
            return make()
        note = self._name(name, args)
        with self._lock:
            known = self._notes.get(note)
            if known is None:
                known = self._notes[note] = self._made(name, note, make)
        said = msgspec.json.decode(known)
        if "error" in said:
            raise StepFailed(said["error"]["message"], type=said["error"]["type"])
        return said["value"]

    def _name(self, name: str, args: Json) -> str:
        if name.startswith(ONCE):
            return f"{EFFECT}{name}"
        self._counts[name] += 1  # the same call with the same arguments, for the second time
        digest = hashlib.blake2b(canonical(args), digest_size=8).hexdigest()
        return f"{EFFECT}{name}#{self._counts[name]}/{digest}"

    def _made(self, name: str, note: str, make: Callable[[], Any]) -> bytes:
        self._inside = True
        self.idempotency_key = f"{self._ask.id}/{note}"
        try:
            said: Json = {"value": encode_decode(make(), f"what {name} gave")[1]}
        except Exception as error:
            failure = failure_of(error)
            said = {"error": {"type": failure.type, "message": failure.message}}
        finally:
            self._inside = False
        raw = msgspec.json.encode(said)
        wait_in_thread(self._engine, self._engine.journal.call(NoteAsk(self._ask.id, note, raw)))
        return raw
