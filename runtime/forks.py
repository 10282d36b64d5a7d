"""The past of a fork: which entries of an instance a new one begins with."""

from __future__ import annotations

from typing import Any

import msgspec

from greenroom.actors.entries import Delta, Entry, Migrated, Started
from greenroom.definitions.errors import InvalidRequest, NotFound
from greenroom.definitions.values import Json, encode_decode
from greenroom.definitions.workflow import Definition, Plan

Unset = msgspec.UNSET


class Prefix(msgspec.Struct):
    """`entries` is empty when the new instance starts from its input."""

    entries: list[Entry]
    input: Json
    state: dict[str, Json] | None


def _of_version(entry: Entry, definition: Definition) -> Entry:
    """A migration that is copied leads to the version of the fork."""
    if not isinstance(entry, Migrated):
        return entry
    version = definition.version or entry.version
    return msgspec.structs.replace(entry, version=version, code=definition.hash)


def prefix_of(
    entries: list[Entry],
    from_op: str | None,
    *,
    id: str,
    key: str | None,
    by: str | None,
    at: int,
    state: Any,
    input: Any,
    definition: Definition,
    reason: str | None = None,
) -> Prefix:
    """The entries up to the one that asked for `from_op`, with the edits of a fork.

    Raises `NotFound` when the op was never asked for, `InvalidRequest` for an edit that replay
    would undo.
    """
    opening = entries[0]
    assert isinstance(opening, Started)
    wanted = opening.input if input is Unset else encode_decode(input, "the input")[1]
    edited = None if state is Unset else encode_decode(state, "the state")[1]
    if not isinstance(wanted, dict):
        raise InvalidRequest("the input of a fork must be an object")
    if edited is not None and not isinstance(edited, dict):
        raise InvalidRequest("the state of a fork must be an object")
    is_plan = isinstance(definition.body, Plan)
    if edited is not None and not is_plan:
        raise InvalidRequest(
            f"the state of {definition.name} follows from its code and cannot be edited",
            hint="give another input, or fork from an earlier op",
        )
    if from_op is None:
        return Prefix([], {**wanted, **(edited or {})} if edited else wanted, None)
    if input is not Unset and not is_plan:
        raise InvalidRequest("a fork from an op keeps the input: what was recorded follows from it")
    place = next(
        (i for i, entry in enumerate(entries) if any(r.key == from_op for r in entry.requests)),
        None,
    )
    if place is None:
        raise NotFound(f"{opening.id} never asked for the op {from_op}", op=from_op)
    copied = entries[: place + 1]
    seeds = (*(s for s in opening.seeds if s[0] <= place), (place + 1, opening.id))
    copied[0] = msgspec.structs.replace(
        opening,
        id=id,
        key=key,
        by=by,
        forked=(opening.id, place + 1),
        seeds=seeds,
        parent=None,
        version=definition.version or opening.version,
        code=definition.hash,
        reason=reason,
        timeout=definition.timeout_ms,
        deadline=None,
        forked_at=at,
    )
    copied[1:] = [_of_version(entry, definition) for entry in copied[1:]]
    if edited is not None or input is not Unset:
        changes = {**({} if input is Unset else wanted), **(edited or {})}
        last = copied[-1]
        delta = Delta({**(last.delta.set if last.delta else {}), **changes})
        copied[-1] = msgspec.structs.replace(last, delta=delta)
    return Prefix(copied, opening.input, None)
