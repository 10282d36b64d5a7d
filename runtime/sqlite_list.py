"""Lists of instances, newest change first, without ever scanning a million of them.

Instances lie sorted by time within (workflow, status); the groups that can hold an answer are
merged, the remaining terms are tested by the database while it walks, and a walk ends after
`WALK_MAX` rows with a cursor. A term that names few instances by an index (a key, an attribute, an
assignee) is looked up first instead.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from greenroom.actors import ports
from greenroom.runtime import terms as words
from greenroom.runtime.schema import RETRIED
from greenroom.runtime.sqlite_group import Group
from greenroom.runtime.store import STATUS_CODE, STATUSES
from greenroom.runtime.terms import Term

WALK_MAX: Final = 20_000
FEW: Final = 2_000

INSTANCE: Final = (
    "SELECT i.n, i.id, w.namespace, w.name, i.version, i.kind, i.key, i.status, i.created,"
    " i.updated, i.outcome, i.waits, i.steps, i.error, i.error_code, i.attributes, i.parent,"
    " i.forked_from, i.test, i.busy, i.generation, i.pos"
    " FROM instance i JOIN workflow w ON w.w = i.w "
)
_attributes = msgspec.json.Decoder(dict[str, Any]).decode


def instance_row(found: Sequence[Any]) -> ports.InstanceRow:
    """A row of `INSTANCE` as the port's struct."""
    (n, id, namespace, workflow, version, kind, key, status, created, updated, outcome, waits,
     steps, error, code, attributes, parent, forked_from, test, busy, *_) = found  # fmt: skip
    return ports.InstanceRow(
        n, id, namespace, workflow, version, kind, key, STATUSES[status], created, updated,
        outcome, waits, steps, error, code, _attributes(attributes) if attributes else {},
        parent, forked_from, bool(test), bool(busy),
    )  # fmt: skip


class Lister:
    def __init__(self, db: sqlite3.Connection, group: Group) -> None:
        self.db = db
        self.group = group

    def instances(self, work: ports.ListInstances) -> ports.Listed:
        words.check(work.terms)
        groups = self._groups(work.terms)
        few = self._few(work.terms)
        walk = self._walk(groups, work) if few is None else iter(self._named(few, work))
        ns: list[int] = []
        last: tuple[int, int] | None = None
        cursor: tuple[int, int] | None = None
        for looked, (updated, n, met) in enumerate(walk, 1):
            if met and len(ns) == work.limit:
                cursor = last
                break
            if met:
                ns.append(-n)
                last = -updated, -n
            if looked >= WALK_MAX:
                cursor = -updated, -n
                break
        total = self._total(work, groups)
        if total is None and work.total and work.cursor is None and cursor is None:
            total = len(ns)
        return ports.Listed(self._rows(ns), cursor, total if work.total else None)

    def standing(self, work: ports.ListStanding) -> ports.Standing:
        words.check(work.terms)
        of = [w for w, (_, name) in self.group.names.items() if name == work.workflow]
        test, values = words.sql(work.terms, work.now)
        # the index of attributes ends in the number of the instance: rows come in its order
        query = (
            "FROM attribute x CROSS JOIN instance i ON i.n = x.n"
            " WHERE x.name=? AND x.value=? AND x.n>? AND i.test=?"
            f" AND i.w IN (SELECT value FROM json_each(?)) AND {test}"
        )
        rest = (work.test, msgspec.json.encode(of).decode(), *values)
        given = (work.name, work.value, work.after, *rest)
        ns = [n for (n,) in self.db.execute(
            f"SELECT x.n {query} ORDER BY x.n LIMIT ?", (*given, work.limit + 1)
        )]  # fmt: skip
        (count,) = self.db.execute(
            f"SELECT count(*) FROM (SELECT 1 {query} LIMIT ?)",
            (work.name, work.value, 0, *rest, work.count_max),
        ).fetchone()
        return ports.Standing(self._rows(ns[: work.limit]), count, len(ns) > work.limit)

    # -- where to look ----------------------------------------------------------------------

    def _groups(self, terms: Sequence[Term]) -> list[tuple[int, int, int]]:
        """(workflow, status, count) of the non-empty groups that can hold an answer."""
        found = []
        for w, status, count in self.db.execute("SELECT w, status, c FROM count WHERE c > 0"):
            namespace, name = self.group.names[w]
            held = {"status": STATUSES[status], "workflow": name, "namespace": namespace}
            if all(
                (held[field] == str(value)) is not negated
                for field, _, value, negated in terms
                if field in held
            ):
                found.append((w, status, count))
        return found

    def _few(self, terms: Sequence[Term]) -> list[int] | None:
        """Numbers of instances by an index, if a term names few enough."""
        for field, op, value, negated in terms:
            rows: list[Any] | None
            if negated:
                continue
            if field == "due" and op in ("<", "<="):
                rows = self.db.execute(
                    "SELECT DISTINCT n FROM timer WHERE due <= ? LIMIT ?", (value, FEW + 1)
                ).fetchall()
            elif op in (":", "="):
                rows = self._by_index(field, value)
            else:
                continue
            if rows is not None and len(rows) <= FEW:
                return [n for (n,) in rows]
        return None

    def _by_index(self, field: str, value: Any) -> list[tuple[int]] | None:
        limit = FEW + 1
        if field == "key":
            query = "SELECT n FROM instance WHERE w=? AND key=? LIMIT ?"
            return [
                row
                for w in self.group.names
                for row in self.db.execute(query, (w, str(value), limit))
            ]
        if field == "wait" and value == "retry":
            return self.db.execute(
                f"SELECT n FROM instance WHERE {RETRIED} LIMIT ?", (limit,)
            ).fetchall()
        if field == "assignee":
            return self.db.execute(
                "SELECT DISTINCT n FROM ask WHERE assignee=? AND answered IS NULL LIMIT ?",
                (str(value), limit),
            ).fetchall()
        if field in words.FIELDS:
            return None
        number = words.number(value)
        return self.db.execute(
            "SELECT n FROM attribute WHERE name=? AND value IN (?, ?) LIMIT ?",
            (field, words.word(value), number, limit),
        ).fetchall()

    # -- looking ----------------------------------------------------------------------------

    def _walk(
        self, groups: list[tuple[int, int, int]], work: ports.ListInstances
    ) -> Iterator[tuple[int, int, int]]:
        """(-updated, -n, met) in order over all groups."""
        rest = [term for term in work.terms if term[0] not in words.COUNTED]
        test, values = words.sql(rest, work.now)
        place = work.cursor or (1 << 62, 1 << 62)
        query = (
            f"SELECT -i.updated, -i.n, {test} FROM instance i WHERE i.w=? AND i.status=?"
            " AND (i.updated, i.n) < (?, ?) ORDER BY i.updated DESC, i.n DESC"
        )
        return heapq.merge(
            *(self.db.execute(query, (*values, w, status, *place)) for w, status, _ in groups)
        )

    def _named(self, ns: list[int], work: ports.ListInstances) -> list[tuple[int, int, int]]:
        test, values = words.sql(work.terms, work.now)
        place = work.cursor or (1 << 62, 1 << 62)
        rows = self.db.execute(
            f"SELECT -i.updated, -i.n, {test} FROM instance i"
            " WHERE i.n IN (SELECT value FROM json_each(?)) AND (i.updated, i.n) < (?, ?)",
            (*values, msgspec.json.encode(ns).decode(), *place),
        )
        return sorted(rows)

    def _rows(self, ns: list[int]) -> list[ports.InstanceRow]:
        rows = self.db.execute(
            INSTANCE + "WHERE i.n IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(ns).decode(),),
        )
        found = {row[0]: instance_row(row) for row in rows}
        return [found[n] for n in ns]

    def _total(self, work: ports.ListInstances, groups: list[tuple[int, int, int]]) -> int | None:
        if any(term[0] not in words.COUNTED for term in work.terms):
            return None
        return sum(count for _, _, count in groups)


__all__ = ["INSTANCE", "STATUS_CODE", "Lister", "instance_row"]
