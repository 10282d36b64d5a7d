"""Answering: open questions, callbacks, and what handlers call outside."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import Any

from greenroom.actors.messages import (
    Answer,
    Record,
)
from greenroom.actors.ports import AskView
from greenroom.actors.progress import status_of
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import (
    AlreadyDecided,
    NoSuchAsk,
    NotPermitted,
)
from greenroom.definitions.services import RECORDER, Unrecorded
from greenroom.definitions.tasks import TaskContext
from greenroom.definitions.values import Json, encode_decode
from greenroom.definitions.workflow import Desk
from greenroom.runtime import reasons, shapes
from greenroom.runtime.identities import Identities
from greenroom.runtime.identity import may_answer, person
from greenroom.runtime.layers.looking import Looking
from greenroom.runtime.recording import Recorded
from greenroom.runtime.tokens import instance_in


class Answering(Looking):
    """Who answers an engine's questions, and how."""

    async def answer(self, ask: str, data: Json, *, by: str | None = None) -> shapes.Answered:
        """Answers an open question, by its id, or a callback, by its token. The first answer wins.

        To a form `data` is one page's object or a list of pages; an answer that is not complete
        and valid changes nothing: `FormNotComplete` has the schema of the next page,
        `FormInvalid` every error.
        """
        self._check_open()
        if instance_in(ask) is not None:
            return await self.callbacks.answer(ask, data)
        found = await self._open_ask(ask)
        desk = self._desk(found)
        state = {} if desk is None else (await self._progress(found.n)).state
        if desk is None or not desk.knows_people:
            await self._check_person(found, by)
        if desk is not None and found.kind == "form":
            desk.submitted(state, by)
        back = encode_decode(data, "the answer")[1]
        if found.kind == "form":
            back = await self.forms.answer(found, back, by)
        else:
            back = (
                desk.answered(state, found.op, back, by)
                if desk
                else reasons.check_answer(found, back)
            )
        try:
            instance, _ = await self._tell(found.n, Answer(found.op, back, by))
        except NoSuchAsk:
            await self._open_ask(found.id)  # somebody was first, a moment ago
            raise
        status = status_of(instance.kernel.progress)
        return shapes.Answered(found.instance, found.id, status)  # type: ignore[arg-type]

    def _desk(self, ask: AskView) -> Desk | None:
        """What looks at the answers to a question."""
        definition = self.registry.version(ask.workflow, ask.version)
        return None if definition is None else definition.desk

    async def _check_person(self, ask: AskView, by: str | None) -> None:
        """Raises `NotPermitted` where only the assignee may answer and the caller is not."""
        if ask.assignee is None or may_answer(by, ask.assignee, self.teams):
            return
        op = (await self._progress(ask.n)).ops.get(ask.op)
        question = op.request.question if op is not None else None
        if self._enforce_assignee or (question is not None and question.enforce):
            raise NotPermitted(
                f"{ask.title!r} is for {ask.assignee}, not for {person(by) or 'somebody unknown'}",
                hint="say who answers:  by=...  (greenroom ask answer --by NAME)",
                ask=ask.id,
            )

    async def progress(self, token: str, data: Json) -> shapes.Answered:
        """Reports how far a callback is on its way; the report is shown with the question until
        the next one, and is no part of the state."""
        self._check_open()
        return await self.callbacks.progress(token, data)

    async def _open_ask(self, ask: str) -> AskView:
        found = await self.asks.find(ask)
        if found.answered_at is not None:
            when, who = rfc3339(found.answered_at), found.by or "somebody"
            raise AlreadyDecided(f"{found.title!r} was answered at {when} by {who}", ask=ask)
        return found

    @functools.cached_property
    def providers(self) -> Mapping[str, Any]:
        """Who carries out what handlers call: connectors this engine was given, else the log."""
        from greenroom.runtime.outlets import providers  # noqa: PLC0415  start-up time

        return providers(self.whole)

    @functools.cached_property
    def identities(self) -> Identities:
        """Who people are in services, as handlers found out."""
        return Identities(self.clock.now)

    async def whois(self, ask: str, service: str, id: str) -> str:
        """The user name of whoever a service calls `id`, as the flow of a question knows people.
        Raises `NotPermitted` where that cannot be told for sure."""
        found = await self.asks.find(ask)
        desk = self._desk(found)
        state = {} if desk is None else (await self._progress(found.n)).state
        name = None
        if desk is not None:
            name = await asyncio.to_thread(self._whois, desk, state, service, id)
        if name is None:
            raise NotPermitted(
                f"nobody here knows who {id} is in {service}",
                hint=f'name them in the flow:  Flow(users={{"ann": {{"{service}": "{id}"}}}})',
            )
        return name

    def _whois(self, desk: Desk, state: dict[str, Any], service: str, id: str) -> str | None:
        before = RECORDER.set(Unrecorded(self.providers, self.identities.remembered))
        try:
            return desk.whois(state, service, id)
        finally:
            RECORDER.reset(before)

    def recorder(self, context: TaskContext) -> Recorded:
        """What keeps the calls that a handler makes, for the thread it runs in."""
        return Recorded(self.whole, context)

    async def record(self, instance: str, call: Record) -> None:
        """Keeps what a running handler has called outside; durable when this returns. Raises
        `InvalidTransition` when that attempt is over."""
        row = await self._find(instance)
        await self._tell(row.n, call)
