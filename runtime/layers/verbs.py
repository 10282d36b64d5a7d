"""The verbs: what people do to an instance that lives, and the copies they make of one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from greenroom.actors.entries import decode_entry
from greenroom.actors.instance import Instance
from greenroom.actors.messages import (
    Cancel,
    Message,
    Migrate,
    Pause,
    Resume,
    Skip,
)
from greenroom.actors.ports import (
    FindRequest,
    InstanceRow,
    Request,
)
from greenroom.actors.progress import status_of
from greenroom.definitions.errors import (
    AlreadyRunning,
    StoreDamaged,
)
from greenroom.definitions.values import Json, encode_decode
from greenroom.runtime import reasons, shapes, steering
from greenroom.runtime.forks import prefix_of
from greenroom.runtime.layers.core import Unset
from greenroom.runtime.layers.starting import Starting, check_request_id, hash_of
from greenroom.runtime.many import many


class Verbs(Starting):
    """What is done to instances by hand."""

    async def pause(
        self,
        instance: str,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Pauses: running steps finish and are recorded, nothing new is started."""
        return await self._verb(instance, Pause(by, reason), request_id)

    async def resume(
        self,
        instance: str,
        *,
        reason: str | None = None,
        run_again: bool = False,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Goes on: a paused instance where it was, a failed one with a new attempt of what failed,
        one that waits for a retry at once. `run_again` says an in-doubt step has not run."""
        return await self._verb(instance, Resume(by, reason, run_again), request_id)

    async def cancel(
        self,
        instance: str,
        *,
        reason: str | None = None,
        force: bool = False,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Cancels: running steps are aborted, clean-up runs, the instance ends `cancelled`. `force`
        leaves clean-up out, and closes an instance whose history is damaged too."""
        try:
            return await self._verb(instance, Cancel(by, reason, force), request_id)
        except StoreDamaged as error:
            if force:
                return await steering.close_damaged(self.whole, instance, error, reason, by)
            hint = f"greenroom cancel {instance} --force  closes it and reads nothing"
            raise StoreDamaged(error.message, hint=hint, **error.details) from None

    async def many(
        self,
        verb: str,
        *,
        q: str | None = None,
        instances: Sequence[str] | None = None,
        like: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
        by: str | None = None,
    ) -> shapes.Many:
        """`pause`, `resume`, `retry` or `cancel` for all that a filter finds, or for the instances
        named; `like` narrows both to those whose failure has this message, but for numbers, ids and
        quoted texts. A filter that names no status is narrowed to those the verb is meant for."""
        return await many(self.whole, verb, q, instances, like, reason, dry_run, by)

    async def skip(
        self,
        instance: str,
        op: str,
        output: Json = None,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Takes `output` as the result of an op that failed, is in doubt or waits for a retry."""
        value = encode_decode(output, "the output")[1]
        await steering.check_skip(self.whole, instance, op)
        return await self._verb(instance, Skip(op, value, by, reason), request_id)

    async def edit(
        self,
        instance: str,
        set: dict[str, Json] | None = None,
        delete: Sequence[str] = (),
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Changes the state by hand while the instance waits, is paused or has failed. Names may be
        paths with dots into objects. Who did it and why stands in the history."""
        return await steering.edit(self.whole, instance, set, list(delete), reason, request_id, by)

    async def migrate(
        self,
        instance: str,
        to_version: int,
        *,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Verb:
        """Lets an instance of a plan follow another version. Refused with the names of the steps
        that have ended or are open and that the version does not have."""
        return await steering.migrate(self.whole, instance, to_version, reason, request_id, by)

    async def _verb(self, ref: str, message: Message, request_id: str | None) -> shapes.Verb:
        plain = isinstance(message, Pause) or (isinstance(message, Cancel) and message.force)
        self._check_open(runs=not plain)
        if request_id is not None:
            check_request_id(request_id)
        row = await self._find(ref)
        if request_id is None:
            instance, _ = await self._tell(row.n, await self._verified(row, message))
            return _verb_reply(instance)
        while (other := self._requests.get(request_id)) is not None:
            await asyncio.shield(other)
        self._requests[request_id] = mine = asyncio.get_running_loop().create_future()
        try:
            return await self._verb_once(row, message, request_id)
        finally:
            del self._requests[request_id]
            mine.set_result(None)

    async def _verb_once(self, row: InstanceRow, message: Message, request_id: str) -> shapes.Verb:
        """Carries a verb out unless its request id is known; gives the same answer every time."""
        hash_ = hash_of([type(message).__name__, row.id, _said(message)])
        known: Request | None = await self.journal.call(FindRequest(request_id))
        if known is not None:
            if known.hash != hash_:
                raise self._request_conflict(request_id)
            return msgspec.json.decode(known.reply, type=shapes.Verb)
        replies: list[shapes.Verb] = []

        def request(instance: Instance) -> Request:
            replies.append(_verb_reply(instance))
            return Request(request_id, hash_, msgspec.json.encode(replies[0]), self.clock.now())

        await self._tell(row.n, await self._verified(row, message), request)
        return replies[0]

    async def _verified(self, row: InstanceRow, message: Message) -> Message:
        """An in-doubt step that has a `verify` function is asked before a person is."""
        if not isinstance(message, Resume) or message.run_again or row.error_code != "in_doubt":
            return message
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self.directory.activate(
            row.n,
            lambda found: None if future.done() else future.set_result(found),
            lambda error: None if future.done() else future.set_exception(error),
        )
        said = await reasons.verify_in_doubt(self.whole, await future, message.by, message.reason)
        return said or message

    async def restart(
        self,
        instance: str,
        *,
        from_op: str | None = None,
        key: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Forked:
        """A new instance from what this one recorded before `from_op` (none: from its input)."""
        return await self._fork(instance, from_op, key, Unset, Unset, None, reason, request_id, by)

    async def fork(
        self,
        instance: str,
        *,
        from_op: str | None = None,
        key: str | None = None,
        state: Any = Unset,
        input: Any = Unset,
        version: int | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        by: str | None = None,
    ) -> shapes.Forked:
        """`restart` that may edit the past: another state (step lists), input or version."""
        return await self._fork(
            instance, from_op, key, state, input, version, reason, request_id, by
        )

    async def _fork(
        self,
        ref: str,
        from_op: str | None,
        key: str | None,
        state: Any,
        input: Any,
        version: int | None,
        reason: str | None,
        request_id: str | None,
        by: str | None,
    ) -> shapes.Forked:
        self._check_open()
        if request_id is not None:
            check_request_id(request_id)
        row = await self._find(ref)
        edits = [None if edit is Unset else [edit] for edit in (state, input)]
        hash_ = hash_of(
            ["fork", row.id, from_op, key, version, *encode_decode(edits, "the edit")[1]]
        )
        loaded = await self._load(row.n)
        definition = self._startable(row.workflow, version or row.version)
        if from_op is not None or edits != [None, None]:
            steering.keep_decided(definition)
        entries = [decode_entry(stored) for stored in loaded.rows]
        id = self.new_id()
        if key is None and row.status in ("completed", "cancelled"):
            key = row.key
        prefix = prefix_of(
            entries, from_op, id=id, key=key, by=by, at=self.clock.now(), state=state, input=input,
            definition=definition, reason=reason,
        )  # fmt: skip
        if not prefix.entries:
            self._check_input(definition, prefix.input)
        create, made = self.directory.prepare(
            definition,
            prefix.input,
            id=id,
            key=key,
            namespace=row.namespace,
            by=by,
            forked=(row.id, len(prefix.entries)),
            test=row.test,
            state=prefix.state,
            entries=prefix.entries or None,
            reason=reason,
        )
        if request_id is not None:
            create.request = Request(request_id, hash_, b"", self.clock.now())
        result = await self._adopted(made, create)
        if result.conflict == "key":
            raise AlreadyRunning(f"{row.workflow}/{key} is already running", instance=result.id)
        if result.conflict == "request_differs":
            raise self._request_conflict(request_id or "")
        if not result.created:  # the same request as before
            found = await self._find(result.id)
            return shapes.Forked(found.id, row.id, found.status)  # type: ignore[arg-type]
        return shapes.Forked(result.id, row.id, status_of(made.kernel.progress))  # type: ignore[arg-type]


def _verb_reply(instance: Instance) -> shapes.Verb:
    p = instance.kernel.progress
    pending = "pause" if p.paused and instance.calls_open() else None
    return shapes.Verb(instance.id, status_of(p), pending)  # type: ignore[arg-type]


def _said(message: Any) -> Json:
    """What makes a request the same one, through whatever face it comes."""
    if isinstance(message, Migrate):
        return {"version": message.definition.version, "reason": message.reason}
    data: Json = msgspec.to_builtins(msgspec.structs.replace(message, by=None))
    return data
