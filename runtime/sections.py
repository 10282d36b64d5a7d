"""The verbs of an engine that come in groups: events, asks."""

from __future__ import annotations

import builtins
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from greenroom.actors.ports import (
    AskNotes,
    AskView,
    Find,
    GetEvent,
    InstanceRow,
    ListAsks,
    ListEvents,
    NoteAsk,
    StoredEventRow,
)
from greenroom.definitions.errors import (
    InvalidRequest,
    NoSuchAsk,
    NotFound,
    TooLarge,
)
from greenroom.definitions.forms import pages_of
from greenroom.definitions.values import Json, encode
from greenroom.runtime import archive, eventreplays, explanations, shapes, views
from greenroom.runtime.callbacks import PROGRESS
from greenroom.runtime.forms import FORM_S

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


EVENT_PAGE: Final = 500
EVENT_PAGES_MAX: Final = 20
"""So many pages are looked through for a page of events of a source or subject."""


def _event_words(q: str) -> tuple[str | None, dict[str, str]]:
    """The type and the other attributes that a filter of events names."""
    found: dict[str, str] = {}
    rest: list[str] = []
    for word in q.split():
        name, colon, value = word.partition(":")
        if colon and name in ("type", "source", "subject"):
            found[name] = value
        else:
            rest.append(word)
    type = found.pop("type", None)
    if rest and type is not None:
        raise InvalidRequest(
            f"{rest[0]!r} is no word of this filter",
            hint="type:order.created source:/shop subject:o-7",
        )
    return type or " ".join(rest) or None, found


class Events:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.StoredEvent]:
        """Events, newest first; `q` is an event type, or words: `type:TYPE`, `source:SOURCE`,
        `subject:SUBJECT`."""
        type, wanted = _event_words(q)
        limit = max(1, min(limit, 1_000))
        try:
            before = int(cursor) if cursor else None
        except ValueError:
            raise InvalidRequest(f"{cursor!r} is not a cursor of this list") from None
        found: builtins.list[StoredEventRow] = []
        for _ in range(EVENT_PAGES_MAX):
            size = limit if not wanted else EVENT_PAGE
            rows: builtins.list[StoredEventRow] = await self._engine.journal.call(
                ListEvents(type, None, before, size, self._engine.namespace)
            )
            for row in rows:
                before = row.pos
                if all(getattr(row.event, name) == value for name, value in wanted.items()):
                    found.append(row)
                    if len(found) == limit:
                        break
            if len(found) == limit or len(rows) < size:
                break
        more = len(found) == limit or len(rows) == size
        shown = [views.event_shape(row) for row in found]
        return shapes.Page(shown, str(before) if more else None)

    async def _row(self, id: str) -> StoredEventRow:
        found: StoredEventRow | None = await self._engine.journal.call(
            GetEvent(id, self._engine.namespace)
        )
        if found is None:
            raise NotFound(f"there is no event {id}", hint="greenroom events ls", event=id)
        return found

    async def get(self, id: str) -> shapes.StoredEvent:
        """One event, by id or `pos:<n>`."""
        return views.event_shape(await self._row(id))

    async def explain(self, id: str, workflow: str | None = None) -> shapes.Why:
        """What the event did, and why it did nothing to the rest."""
        return await explanations.explain(self._engine, await self._row(id), workflow)

    async def try_(
        self,
        subscriptions: Sequence[dict[str, Json]],
        *,
        type: str | None = None,
        since: str | float | None = None,
        limit: int = 10_000,
    ) -> Sequence[shapes.Tried]:
        """What subscriptions (`{"on", "where", "key", "workflow"}`) would have done to stored events
        since a moment or a duration ago. Nothing is started or stored."""
        return await archive.try_subscriptions(self._engine, subscriptions, type, since, limit)

    async def replay(
        self,
        into: str,
        *,
        type: str | None = None,
        since: str | float | None = None,
        limit: int = 10_000,
        dry_run: bool = False,
    ) -> shapes.ReplayedEvents:
        """Starts a workflow for each stored event its trigger wants that has not started it yet."""
        return await eventreplays.replay(self._engine, into, type, since, limit, dry_run)

    async def held(self, workflow: str | None = None, *, limit: int = 100) -> Sequence[shapes.Held]:
        """What triggers with debounce, throttle, batch, all_of or unless hold now."""
        return archive.held(self._engine, workflow, limit)

    async def dead(
        self, instance: str | None = None, *, limit: int = 100
    ) -> Sequence[shapes.DeadLetter]:
        """Deliveries that did not fit into the inbox of their instance."""
        return await archive.dead(self._engine, instance, limit)

    async def redrive(
        self, instance: str | None = None, *, pos: int | None = None, limit: int = 1_000
    ) -> shapes.Redriven:
        """Delivers dead letters again: all, those of an instance, or the one of an event's place."""
        return await archive.redrive(self._engine, instance, pos, limit)

    async def resend(self, id: str) -> shapes.Accepted:
        """Posts the event again under a new id."""
        row = await self._row(id)
        event = msgspec.structs.replace(row.event, id="", time=None)
        return await self._engine.post(event)


DRAFT: Final = "draft:"
DRAFTS_MAX: Final = 32
"""Drafts of one question: whoever looks at it reads them all."""
"""Name of the note with somebody's draft, in front of who it is."""


class Asks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Ask]:
        """Open questions; `q` is `assignee:NAME`, `instance:ID`, `all` or empty. Questions of test
        runs are nobody's: they come with `test`, or with the id of their instance."""
        words = dict(word.partition(":")[::2] for word in q.split())
        limit = max(1, min(limit, 1_000))
        rows: list[AskView] = await self._engine.journal.call(
            ListAsks(
                "all" not in words,
                words.get("assignee"),
                words.get("instance"),
                None,
                limit,
                cursor,
                tests="test" in words or "instance" in words,
            )
        )
        after = rows[-1].id if len(rows) == limit else None
        until = time.monotonic() + FORM_S
        items = [await self._shown(row, until - time.monotonic()) for row in rows]
        return shapes.Page(items, after)

    async def get(self, id: str, *, by: str | None = None) -> shapes.Ask:
        """One question. `id` is its id, `INSTANCE.STEP`, or an instance that asks one thing. With
        what was kept beside it: the last report of a callback, the draft of `by`."""
        row = await self.find(id)
        shown = await self._shown(row, FORM_S)
        notes: dict[str, bytes] = await self._engine.journal.call(AskNotes(row.id))
        if not notes:
            return shown
        progress, draft = notes.get(PROGRESS), notes.get(f"{DRAFT}{by or ''}")
        return msgspec.structs.replace(
            shown,
            progress=msgspec.json.decode(progress) if progress else None,
            draft=msgspec.json.decode(draft) if draft else None,
        )

    async def draft(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Ask:
        """Keeps pages that are filled in and not yet sent, one draft a person, until the question
        is answered; `data` is one page or a list of pages, null takes the draft away. Nothing of it
        is checked. Raises `AlreadyDecided` once it is answered."""
        found = await self._engine._open_ask(ask)
        name, payload = f"{DRAFT}{by or ''}", None
        if data is not None:
            payload = encode(pages_of(data), "the draft")
            notes: dict[str, bytes] = await self._engine.journal.call(AskNotes(found.id))
            if len({one for one in notes if one.startswith(DRAFT)} - {name}) >= DRAFTS_MAX:
                raise TooLarge(
                    f"{DRAFTS_MAX} others have drafts of this question, which is the limit",
                    limit=DRAFTS_MAX,
                )
        if not await self._engine.journal.call(NoteAsk(found.id, name, payload)):
            await self._engine._open_ask(found.id)
            raise NoSuchAsk(f"the question {found.id} is not open any more", ask=found.id)
        return await self.get(found.id, by=by)

    async def find(self, id: str) -> AskView:
        """The row of a question, however it is named. Raises `NoSuchAsk`."""
        engine = self._engine
        rows: list[AskView] = await engine.journal.call(ListAsks(open_only=False, id=id))
        if rows:
            return rows[0]
        ref, _, op = id.partition(".") if "/" not in id else (id, "", "")
        try:
            instance = (await engine._find(ref)).id
        except (NotFound, InvalidRequest):
            raise NoSuchAsk(
                f"there is no question {id}", hint="greenroom ask ls  shows the open ones", ask=id
            ) from None
        if op:
            rows = await engine.journal.call(ListAsks(open_only=False, id=f"{instance}.{op}"))
        else:
            rows = await engine.journal.call(ListAsks(instance=instance))
        if len(rows) == 1:
            return rows[0]
        raise NoSuchAsk(
            f"{id} asks {len(rows) or 'nothing'}{' questions' if rows else ''}",
            hint="name one:  " + "  ".join(row.id for row in rows[:5]) if rows else None,
            ask=id,
        )

    async def _deadline(self, row: AskView) -> int | None:
        """When a callback times out: that is known once its action has ended, so the instance says
        it and not the row of the question."""
        found: InstanceRow | None = await self._engine.journal.call(Find(row.instance, ""))
        waits = [] if found is None else msgspec.json.decode(found.waits)
        due: int | None = next((w.get("due") for w in waits if w.get("ask") == row.id), None)
        return due

    async def _shown(self, row: AskView, limit_s: float) -> shapes.Ask:
        """A form says what it asks when somebody looks, and only while it is open."""
        if row.kind == "callback" and row.due is None and row.answered_at is None:
            row = msgspec.structs.replace(row, due=await self._deadline(row))
        if row.kind != "form" or row.answered_at is not None or limit_s <= 0:
            return views.ask_shape(row)
        return views.ask_shape(row, *await self._engine.forms.schema(row, limit_s))
