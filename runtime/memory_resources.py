"""Resources in memory: each with all of its versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from greenroom.actors import ports
from greenroom.definitions.errors import StaleResource
from greenroom.runtime.resource_rules import COLUMNS, one_of, stale


class MemoryResources:
    def __init__(self) -> None:
        self.rows: dict[str, ports.ResourceRow] = {}
        self.versions: dict[str, list[ports.ResourceChange]] = {}

    def works(self) -> dict[type, Callable[[Any], Any]]:
        return {
            ports.GetResources: self.get, ports.FindResource: self.find,
            ports.ListResources: self.listed, ports.ResourceHistory: self.history,
            ports.ListProducts: self.products,
        }  # fmt: skip

    def refusal(self, namespace: str, save: ports.ResourceSave) -> StaleResource | None:
        row = self.rows.get(save.row.id)
        if row is None:
            return None if save.row.version == 1 else stale(save.row, None)
        if row.version != save.row.version - 1 or row.namespace != namespace:
            return stale(save.row, row.version)
        return None

    def save(self, by: ports.InstanceRow, pos: int, at: int, save: ports.ResourceSave) -> None:
        row, before = save.row, self.rows.get(save.row.id)
        created = at if before is None else before.created
        self.rows[row.id] = ports.ResourceRow(
            row.id, row.type, row.family, row.product, row.customer_id, row.status, row.version,
            row.data, by.namespace, created, at, by.id, by.workflow,
        )  # fmt: skip
        self.versions.setdefault(row.id, []).append(
            ports.ResourceChange(
                row.id, row.version, at, pos, by.id, by.workflow, save.op, save.attempt,
                save.changes,
            )
        )  # fmt: skip

    def forget(self, instances: set[str]) -> None:
        """What these instances were the last to save, and the history of it."""
        for id in [id for id, row in self.rows.items() if row.instance in instances]:
            del self.rows[id], self.versions[id]

    def get(self, work: ports.GetResources) -> list[ports.ResourceRow]:
        found = [self.rows[id] for id in sorted(set(work.ids)) if id in self.rows]
        return [row for row in found if row.namespace == work.namespace]

    def find(self, work: ports.FindResource) -> ports.ResourceRow | None:
        found = [
            row for id, row in sorted(self.rows.items())
            if id.startswith(work.ref) and row.namespace == work.namespace
        ]  # fmt: skip
        return one_of(found[:2], work.ref)

    def listed(self, work: ports.ListResources) -> list[ports.ResourceRow]:
        found = [row for row in self.rows.values() if self._meets(row, work)]
        found.sort(key=lambda row: (row.updated, row.id), reverse=True)
        return found[: work.limit]

    def _meets(self, row: ports.ResourceRow, work: ports.ListResources) -> bool:
        if row.namespace != work.namespace:
            return False
        if work.after is not None and (row.updated, row.id) >= work.after:
            return False
        for name, value in work.equal.items():
            if name == "instance":
                if all(change.instance != value for change in self.versions[row.id]):
                    return False
            elif getattr(row, COLUMNS[name]) != value:
                return False
        return True

    def products(self, work: ports.ListProducts) -> list[ports.ProductRow]:
        counts = Counter(
            (row.product, row.family)
            for row in self.rows.values()
            if row.namespace == work.namespace
        )
        return [ports.ProductRow(*name, number) for name, number in sorted(counts.items())]

    def history(self, work: ports.ResourceHistory) -> list[ports.ResourceChange]:
        found = [row for row in self.versions.get(work.id, []) if row.version > work.after]
        return found[: work.limit]
