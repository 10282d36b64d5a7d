"""The verbs that change a live instance by hand: `edit`, `migrate`, and closing a damaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from greenroom.actors.children import DETACHED
from greenroom.actors.entries import (
    Answered,
    Cancelled,
    CancelRequested,
    Entry,
    Failure,
    OpCompleted,
    OpSkipped,
    Started,
    TimerFired,
    decode_entry,
    encode_entry,
)
from greenroom.actors.messages import Edit, Migrate, Outcome, encode_message
from greenroom.actors.ports import Append, InboxRow, InstanceRow, Loaded, StatusChange
from greenroom.actors.progress import DEADLINE
from greenroom.definitions.errors import GreenroomError, InvalidRequest, InvalidTransition
from greenroom.definitions.values import Json, encode_decode
from greenroom.definitions.workflow import Definition
from greenroom.runtime import shapes

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

TRIES: Final = 10
"""How often a migration follows an instance that goes on meanwhile."""


async def edit(
    engine: Engine,
    ref: str,
    set: dict[str, Json] | None,
    delete: list[str] | tuple[str, ...] | None,
    reason: str | None,
    request_id: str | None,
    by: str | None,
) -> shapes.Verb:
    """`set` and `delete` as checked values, told to the instance."""
    back = encode_decode(set or {}, "the values to set")[1]
    names = encode_decode(list(delete or ()), "the names to delete")[1]
    if not isinstance(back, dict):
        raise InvalidRequest('set is an object of names and values: {"total": 5}')
    if not all(isinstance(name, str) for name in names):
        raise InvalidRequest('delete is a list of names: ["coupon"]')
    row = await engine._find(ref)
    keep_decided(engine.registry.version(row.workflow, row.version))
    return await engine._verb(ref, Edit(back, tuple(names), by, reason), request_id)


def keep_decided(definition: Definition | None) -> None:
    """Where people decide, what was asked for and who has agreed to it is not changed by hand: whoever
    steers would decide. Raises `InvalidRequest`."""
    if definition is not None and definition.desk is not None and definition.desk.knows_people:
        raise InvalidRequest(
            f"a request of {definition.name} is what was asked for and decided; it cannot be changed",
            hint="cancel it and ask again; restart asks the same once more",
        )


async def check_skip(engine: Engine, ref: str, op: str) -> None:
    """Raises `InvalidRequest` for an op whose outcome is a decision of others."""
    row = await engine._find(ref)
    definition = engine.registry.version(row.workflow, row.version)
    if definition is not None and definition.desk is not None and not definition.desk.may_skip(op):
        raise InvalidRequest(
            f"what {op} gives decides a request of {definition.name}; it cannot be given by hand",
            hint="mend the handler and resume, or cancel the request and ask again",
        )


async def migrate(
    engine: Engine,
    ref: str,
    version: int,
    reason: str | None,
    request_id: str | None,
    by: str | None,
) -> shapes.Verb:
    """Tells the instance to follow another version, from the entry it stands at."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidRequest(f"to_version is a number, got {version!r}")
    for left in reversed(range(TRIES)):
        row = await engine._find(ref)
        engine._check_open()
        target = engine._startable(row.workflow, version)
        loaded = await engine._load(row.n)
        done = done_keys([decode_entry(stored) for stored in loaded.rows])
        message = Migrate(target, tuple(done), loaded.head, by, reason)
        try:
            return await engine._verb(row.id, message, request_id)
        except InvalidTransition as error:
            if not (error.details.get("moved") and left):
                raise
    raise AssertionError("the last try raises")


def done_keys(entries: list[Entry]) -> list[str]:
    """The steps of a plan that have ended, each once."""
    found: dict[str, None] = {}
    for entry in entries:
        if isinstance(entry, OpCompleted | OpSkipped | Answered | TimerFired):
            found[entry.key] = None
    found.pop(DEADLINE, None)
    return list(found)


async def close_damaged(
    engine: Engine, ref: str, damage: GreenroomError, reason: str | None, by: str | None
) -> shapes.Verb:
    """Cancels an instance whose entries cannot be read. They stay as they are, for who repairs
    them; its timers, waits and questions are closed, and a parent that waits is told."""
    row = await engine._find(ref)
    if row.status not in ("completed", "cancelled"):
        loaded = await engine._load(row.n)
        entry = CancelRequested(
            at=engine.clock.now(),
            by=by,
            reason=reason,
            force=True,
            end=Cancelled("damaged: its history was not read"),
            over=True,
        )
        change = StatusChange("cancelled", "damaged", b"[]", "", None, None, False)
        await engine.journal.call(
            Append(
                n=row.n,
                iseq=loaded.head + 1,
                rows=[encode_entry(entry)],
                change=change,
                tell=_told(row, loaded, engine.clock.now()),
                ended=True,
                urgent=True,
            )
        )
        engine.log.warning("a damaged instance was closed", instance=row.id, by=by, why=str(damage))
    return shapes.Verb(row.id, "cancelled", None)


def _told(row: InstanceRow, loaded: Loaded, now: int) -> list[tuple[str, InboxRow]]:
    """The outcome for the parent, as far as the first entry says who it is."""
    if row.parent is None or not loaded.rows:
        return []
    try:
        opening = decode_entry(loaded.rows[0])
    except GreenroomError:
        return []
    if not isinstance(opening, Started) or opening.parent is None or opening.parent[2] == DETACHED:
        return []
    _, key, attempt = opening.parent
    failure = Failure("InstanceCancelled", f"the child {row.workflow} was damaged and is cancelled")
    payload = encode_message(Outcome(key, attempt, error=failure, final=True))
    return [(row.parent, InboxRow("outcome", payload, now))]
