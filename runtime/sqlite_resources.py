"""Resources in SQLite: checked and saved with the turn of their step, and read back."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.definitions.errors import StaleResource, StoreDamaged
from greenroom.runtime.resource_rules import COLUMNS, one_of, stale
from greenroom.runtime.sqlite_group import Facts, Group
from greenroom.runtime.store import change_crc, resource_crc

RESOURCE: Final = (
    "SELECT id, namespace, type, family, product, customer_id, status, version, data, created,"
    " updated, instance, workflow, crc FROM greenroom_resource "
)
CHANGE: Final = (
    "SELECT id, version, at, pos, instance, workflow, op, attempt, changes, crc"
    " FROM greenroom_resource_change "
)
_VERSION, _NAMESPACE, _CREATED = 7, 1, 9


class Resources:
    def __init__(self, group: Group) -> None:
        self.group = group
        self.db = group.db

    # -- saving -----------------------------------------------------------------------------

    def refusal(self, facts: Facts, saves: Sequence[ports.ResourceSave]) -> StaleResource | None:
        """Why the resources of a turn cannot be saved: one has another version than was read."""
        namespace = self.group.names[facts.w][0]
        for save in saves:
            row = self._newest(save.row.id)
            found = None if row is None else (row[_NAMESPACE], row[_VERSION])
            if found != (None if save.row.version == 1 else (namespace, save.row.version - 1)):
                return stale(save.row, None if found is None else found[1])
        return None

    def _newest(self, id: str) -> tuple[Any, ...] | None:
        """The row as it is with everything decided so far in this group."""
        found: tuple[Any, ...] | None = self.group.resources.get(id)
        return found or self.db.execute(RESOURCE + "WHERE id=?", (id,)).fetchone()

    def save(self, facts: Facts, pos: int, work: ports.Append) -> None:
        group = self.group
        namespace, workflow = group.names[facts.w]
        at = work.rows[-1].at
        for save in work.resources:
            row = save.row
            before = self._newest(row.id)
            created = at if before is None else before[_CREATED]
            group.resources[row.id] = (
                row.id, namespace, row.type, row.family, row.product, row.customer_id, row.status,
                row.version, row.data, created, at, facts.id, workflow,
                resource_crc(row, namespace, created, at),
            )  # fmt: skip
            change = ports.ResourceChange(
                row.id, row.version, at, pos, facts.id, workflow, save.op, save.attempt,
                save.changes,
            )  # fmt: skip
            group.resource_changes.append((*msgspec.structs.astuple(change), change_crc(change)))

    # -- reading ----------------------------------------------------------------------------

    def get(self, work: ports.GetResources) -> list[ports.ResourceRow]:
        rows = self.db.execute(
            RESOURCE + "WHERE id IN (SELECT value FROM json_each(?)) AND namespace=? ORDER BY id",
            (msgspec.json.encode(list(work.ids)).decode(), work.namespace),
        )
        return [_resource(row) for row in rows]

    def find(self, work: ports.FindResource) -> ports.ResourceRow | None:
        rows = self.db.execute(
            RESOURCE + "WHERE id>=? AND id<? AND namespace=? ORDER BY id LIMIT 2",
            (work.ref, work.ref + "\U0010ffff", work.namespace),
        ).fetchall()
        return one_of([_resource(row) for row in rows], work.ref)

    def listed(self, work: ports.ListResources) -> list[ports.ResourceRow]:
        tests, values = ["namespace=?"], [work.namespace]
        for name, value in work.equal.items():
            if name == "instance":
                tests.append("id IN (SELECT id FROM greenroom_resource_change WHERE instance=?)")
            else:
                tests.append(f"{COLUMNS[name]}=?")
            values.append(value)
        after: tuple[Any, ...] = ()
        if work.after is not None:
            tests.append("(updated, id) < (?, ?)")
            after = work.after
        rows = self.db.execute(
            RESOURCE + f"WHERE {' AND '.join(tests)} ORDER BY updated DESC, id DESC LIMIT ?",
            (*values, *after, work.limit),
        )
        return [_resource(row) for row in rows]

    def products(self, work: ports.ListProducts) -> list[ports.ProductRow]:
        rows = self.db.execute(
            "SELECT product, family, COUNT(*) FROM greenroom_resource WHERE namespace=?"
            " GROUP BY product, family ORDER BY product, family",
            (work.namespace,),
        )
        return [ports.ProductRow(*row) for row in rows]

    def history(self, work: ports.ResourceHistory) -> list[ports.ResourceChange]:
        rows = self.db.execute(
            CHANGE + "WHERE id=? AND version>? ORDER BY version LIMIT ?",
            (work.id, work.after, work.limit),
        )
        return [_change(row) for row in rows]


def audit_resources(db: sqlite3.Connection) -> list[ports.AuditFinding]:
    """Checksums of resources and their histories, and that no version is missing."""
    found: list[ports.AuditFinding] = []

    def note(id: str, text: str) -> None:
        found.append(
            ports.AuditFinding("error", "resources", f"the resource {id} {text}", {"resource": id})
        )

    for row in db.execute(RESOURCE):
        if not _is_whole(row):
            note(row[0], "fails its checksum")
    for row in db.execute(CHANGE):
        if not _is_whole_change(row):
            note(row[0], f"has a damaged version {row[1]} in its history")
    for id, version, versions in db.execute(
        "SELECT r.id, r.version, (SELECT COUNT(*) FROM greenroom_resource_change c"
        " WHERE c.id = r.id AND c.version <= r.version) FROM greenroom_resource r"
    ):
        if version != versions:
            note(id, f"is at version {version}, its history has {versions}")
    return found


def _is_whole(row: tuple[Any, ...]) -> bool:
    made = _row(row)
    try:
        return bool(resource_crc(made, made.namespace, made.created, made.updated) == row[-1])
    except (TypeError, struct.error):  # a column of another type than it is written with
        return False


def _is_whole_change(row: tuple[Any, ...]) -> bool:
    try:
        return bool(change_crc(ports.ResourceChange(*row[:-1])) == row[-1])
    except (TypeError, struct.error):
        return False


def _resource(row: tuple[Any, ...]) -> ports.ResourceRow:
    if not _is_whole(row):
        raise StoreDamaged(f"the resource {row[0]} fails its checksum", resource=row[0])
    return _row(row)


def _row(row: tuple[Any, ...]) -> ports.ResourceRow:
    id, namespace, type_, family, product, customer_id, status, version, data, *rest = row
    created, updated, instance, workflow, _ = rest
    return ports.ResourceRow(
        id, type_, family, product, customer_id, status, version, data, namespace, created, updated,
        instance, workflow,
    )  # fmt: skip


def _change(row: tuple[Any, ...]) -> ports.ResourceChange:
    change = ports.ResourceChange(*row[:-1])
    if not _is_whole_change(row):
        raise StoreDamaged(
            f"version {change.version} of the resource {change.id} fails its checksum",
            resource=change.id,
        )
    return change
