"""What both stores agree on about resources: names of filters, and the refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from greenroom.actors.ports import ResourceRow
from greenroom.definitions.errors import InvalidRequest, StaleResource
from greenroom.definitions.resources import Stored

COLUMNS: Final = {
    "product": "product", "status": "status", "customer": "customer_id", "type": "type", "id": "id",
}  # fmt: skip
"""Words of a filter and the columns they stand for; `instance` looks into the history."""

PREFIX_MIN: Final = 8


def stale(row: Stored, found: int | None) -> StaleResource:
    """`found` is the version the store has, None where it has no such resource."""
    read = row.version - 1
    is_at = "is not in the store" if found is None else f"is at version {found}"
    was = f"the step read version {read}" if read else "the step made it as a new one"
    return StaleResource(
        f"{row.type} {row.id} {is_at}, {was}",
        hint="run the step again: it loads what is there now",
        resource=row.id, found=found, read=read,
    )  # fmt: skip


def one_of(rows: Sequence[ResourceRow], ref: str) -> ResourceRow | None:
    """The one row that a reference means: its id, or a prefix of 8 or more characters."""
    exact = [row for row in rows if row.id == ref]
    if exact:
        return exact[0]
    if len(ref) < PREFIX_MIN or not rows:
        return None
    if len(rows) > 1:
        raise InvalidRequest(f"several resources begin with {ref}: give more of the id", id=ref)
    return rows[0]
