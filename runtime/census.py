"""Who lives of a workflow, and who has begun lately, by what is stored.

Asked when limits come into force: at a start, when a version with other limits is released, when a
workflow is given its first. Instances may be made, move and end meanwhile: they are met, or seen, and
counted too, so nobody is missed however many pages the list has.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.entries import Begun, Started, decode_entry
from greenroom.actors.ports import InstanceRow, Listed, ListInstances, Load, Loaded, ReadRows
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import PRIORITY, RATE, SLOT, Definition, key_text

if TYPE_CHECKING:
    from greenroom.runtime.directory import Directory
    from greenroom.runtime.paces import Key

PAGE: Final = 1_000
FIRST_ROWS: Final = 8
"""Among so many entries of an instance is the one it began with."""
_LIVE: Final = (("status", ":", "completed", True), ("status", ":", "cancelled", True))
_READ: Final = (SLOT, RATE, PRIORITY)


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """One who lives; `attributes` are those that limits look at. `queued`: it waits for its turn."""

    id: str
    n: int
    namespace: str
    attributes: dict[str, Any]
    queued: bool = False

    def key(self, workflow: str, attribute: str) -> Key:
        return self.namespace, workflow, text_of(self.attributes.get(attribute), workflow)


class Census:
    """One count. `definition` has the limits that will be in force."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.met: dict[str, Live] = {}
        """Those made meanwhile."""
        self.seen: dict[str, int] = {}
        """Those that moved meanwhile, with their numbers: a list may have missed them."""
        self.ended: set[str] = set()

    def meet(self, id: str, n: int, namespace: str, input: Json, *, queued: bool) -> None:
        self.met[id] = Live(id, n, namespace, self.definition.attributes_of(input), queued)

    def see(self, id: str, n: int, ended: bool) -> None:
        self.seen[id] = n
        if ended:
            self.ended.add(id)


async def live_ones(directory: Directory, census: Census) -> list[Live]:
    """Everybody who lives, by the limits of the census; without any, those who were queued."""
    definition = census.definition
    found: dict[str, Live] = {}
    limited = definition.concurrency is not None or definition.rate is not None
    terms = _LIVE if limited else (("status", ":", "pending", False),)
    for row in await _rows(directory, ("workflow", ":", definition.name, False), *terms):
        if limited or _is_queued(row):
            found[row.id] = await _live(directory, definition, row)
    while missed := [n for id, n in census.seen.items() if id not in found | census.met]:
        loaded: list[Loaded] = await directory.journal.call(Load(missed, snapshots=False))
        for one in loaded:
            found[one.row.id] = await _live(directory, definition, one.row)
        for id in [id for id, n in census.seen.items() if n in missed and id not in found]:
            census.ended.add(id)  # it was removed
            del census.seen[id]
    found |= census.met
    return [one for one in found.values() if one.id not in census.ended]


async def begun_lately(directory: Directory, definition: Definition) -> list[tuple[Live, int]]:
    """The beginnings that still count for the rate: an instance that began lately has changed since."""
    if definition.rate is None:
        return []
    since = directory.now() - definition.rate.per_ms
    found: list[tuple[Live, int]] = []
    for row in await _rows(
        directory, ("workflow", ":", definition.name, False), ("updated", ">", since, False)
    ):
        if _is_queued(row):
            continue
        at = await _began_at(directory, row)
        if at > since:
            found.append((await _live(directory, definition, row), at))
    return found


async def queued_ones(directory: Directory) -> list[InstanceRow]:
    """Who waits for a slot or a turn, of all workflows."""
    rows = await _rows(directory, ("status", ":", "pending", False))
    return [row for row in rows if _is_queued(row)]


async def _live(directory: Directory, definition: Definition, row: InstanceRow) -> Live:
    """With the attributes that its row has, or would have if the limits were older than it."""
    wanted = [name for name in _READ if name in definition.attributes]
    attributes = {name: row.attributes[name] for name in wanted if name in row.attributes}
    if len(attributes) < len(wanted) or row.version != definition.version:
        first = await directory.journal.call(ReadRows(row.n, 0, 1))
        started = decode_entry(first[0]) if first else None
        if isinstance(started, Started):
            attributes = definition.attributes_of(started.input)
    return Live(row.id, row.n, row.namespace, attributes, _is_queued(row))


async def _began_at(directory: Directory, row: InstanceRow) -> int:
    for stored in await directory.journal.call(ReadRows(row.n, 0, FIRST_ROWS)):
        entry = decode_entry(stored)
        if isinstance(entry, Begun) or (isinstance(entry, Started) and not entry.pending):
            return entry.at
    return row.updated


async def _rows(directory: Directory, *terms: tuple[str, str, Any, bool]) -> list[InstanceRow]:
    found: list[InstanceRow] = []
    cursor: tuple[int, int] | None = None
    while True:
        work = ListInstances(terms, PAGE, cursor, directory.now(), total=False)
        page: Listed = await directory.journal.call(work)
        found += page.rows
        cursor = page.cursor
        if cursor is None:
            return found


def _is_queued(row: InstanceRow) -> bool:
    return any(wait["kind"] == "slot" for wait in msgspec.json.decode(row.waits))


def text_of(value: Any, workflow: str) -> str:
    return "" if value in (None, "") else key_text(value, workflow) or ""
