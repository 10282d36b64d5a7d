"""One kernel and its journal, without a store: entries are kept as the bytes a store would keep."""

from __future__ import annotations

import msgspec

from greenroom.actors.decide import Kernel
from greenroom.actors.effects import Effect, effect_of, pending, touched, touches_all
from greenroom.actors.entries import Entry, Started, decode_payload, encode_entry
from greenroom.actors.messages import Message
from greenroom.actors.progress import Progress, encode_progress, evolve
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition

START: int = 1_700_000_000_000
ID = "0190f3a0-0000-7000-8000-000000000001"


class Rig:
    """`tell` is the way of a message; `entries` all that was ever recorded."""

    def __init__(
        self,
        definition: Definition,
        input: Json = None,
        *,
        at: int = START,
        pending: bool = False,
        id: str = ID,
    ) -> None:
        self.definition = definition
        self.epoch = 1
        self.rows: list[tuple[bytes, int]] = []
        self.entries: list[Entry] = []
        self.notes: list[str] = []
        self.owed: dict[str, Effect] = {}
        self.kernel = self._kernel(Progress(), [])
        started = Started(
            at=at, id=id, workflow=definition.name, version=1, code=definition.hash,
            input=input, kind=definition.kind, pending=pending,
        )  # fmt: skip
        self._keep(self.kernel.start(started))

    def _kernel(self, progress: Progress, log: list[bytes]) -> Kernel:
        return Kernel(
            self.definition, progress, self.epoch, log, lambda text, _: self.notes.append(text)
        )

    @property
    def progress(self) -> Progress:
        return self.kernel.progress

    def tell(self, message: Message, at: int = 0) -> list[Entry]:
        entries = self.kernel.decide(message, max(at, self.progress.at))
        self._keep(entries)
        return entries

    def _keep(self, entries: list[Entry]) -> None:
        for entry in entries:
            row = encode_entry(entry)
            self.kernel.remember(entry, row.payload)
            self.rows.append((row.payload, self.epoch))
            self.entries.append(entry)
        for entry in entries:  # what is owed is looked at once they are stored
            if touches_all(entry):
                self.owed = {effect.key: effect for effect in pending(self.progress)}
                continue
            for key in touched(entry):
                op = self.progress.ops.get(key)
                effect = effect_of(self.progress, op) if op is not None else None
                if effect is None:
                    self.owed.pop(key, None)
                else:
                    self.owed[key] = effect

    def reload(self, definition: Definition | None = None) -> None:
        """The process ends, the next one reads what was stored."""
        self.kernel.drop_machine()
        self.epoch += 1
        self.definition = definition or self.definition
        progress = refolded(self.rows)
        self.kernel = self._kernel(progress, generation(self.rows))
        self.owed = {effect.key: effect for effect in pending(progress)}

    def lose(self, message: Message, at: int) -> None:
        """A message is decided and then the process dies before the entries are stored."""
        self.kernel.decide(message, max(at, self.progress.at))
        self.reload()

    def close(self) -> None:
        self.kernel.drop_machine()


def refolded(rows: list[tuple[bytes, int]]) -> Progress:
    progress = Progress()
    for payload, epoch in rows:
        evolve(progress, decode_payload(payload), epoch)
    return progress


def generation(rows: list[tuple[bytes, int]]) -> list[bytes]:
    """The payloads of the newest generation."""
    log: list[bytes] = []
    for payload, _ in rows:
        if isinstance(decode_payload(payload), Started):
            log.clear()
        log.append(payload)
    return log


def picture(progress: Progress) -> Json:
    """Everything a progress says, comparable."""
    data = msgspec.json.decode(encode_progress(progress))
    data["taken"] = sorted(progress.taken)
    return data
