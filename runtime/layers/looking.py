"""Looking: everything an engine says of instances without changing them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from greenroom.actors.entries import decode_entry
from greenroom.actors.instance import Instance
from greenroom.actors.ports import (
    Append,
    Appended,
    Counts,
    CountsRow,
    InstanceRow,
    Listed,
    ListEvents,
    ListInstances,
    ReadRows,
    StoredEventRow,
)
from greenroom.actors.progress import Progress
from greenroom.actors.rows import result_of, rfc3339
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import (
    InvalidRequest,
    NotFound,
)
from greenroom.definitions.people import actor_of
from greenroom.definitions.values import Json
from greenroom.runtime import checks, compare, reasons, replays, retention, shapes, views
from greenroom.runtime.archive import moment, place_before
from greenroom.runtime.filters import parse_filter
from greenroom.runtime.layers.core import DIRECTORY_DEFAULT, VERSION, Core
from greenroom.runtime.progresses import progress_at
from greenroom.runtime.terms import terms_of


class Looking(Core):
    """What an engine says of instances."""

    async def get(self, instance: str) -> shapes.Instance:
        """One instance with its state."""
        row = await self._find(instance)
        p = await self._progress(row.n)
        return views.instance_shape(row, views.shown_state(p), result_shape(p))

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Instance]:
        """Instances that a filter lets through, newest first."""
        now = self.clock.now()
        terms = terms_of(parse_filter(q), now)
        if self.namespace and not any(term[0] == "namespace" for term in terms):
            terms.append(("namespace", ":", self.namespace, False))
        place = _cursor(cursor)
        limit = max(1, min(limit, 1_000))
        rows: list[InstanceRow] = []
        total: int | None = None
        while True:  # a hop looks at a bounded number of rows
            page: Listed = await self.journal.call(
                ListInstances(terms, limit - len(rows), place, now, total is None)
            )
            rows += page.rows
            total = page.total if page.total is not None else total
            place = page.cursor
            if place is None or len(rows) >= limit:
                break
        return shapes.Page(
            [views.instance_shape(row) for row in rows],
            None if place is None else f"{place[0]}.{place[1]}",
            total,
        )

    async def history(
        self, instance: str, *, after: int = 0, limit: int = 200, path: str | None = None
    ) -> shapes.Page[shapes.Entry]:
        """What happened, in order. One stored turn unfolds into several lines with one `seq`; `path`
        gives only the changes of one value of the state."""
        row = await self._find(instance)
        limit = max(1, min(limit, 1_000))
        rows = await self.journal.call(ReadRows(row.n, after, limit))
        items: list[shapes.Entry] = []
        for stored in rows:
            items += views.entry_shapes(stored.iseq, stored.seq, stored.at, decode_entry(stored))
        if path is not None:
            items = reasons.changes_of(items, path)
        else:
            items = await reasons.with_senders(self.whole, items)
        cursor = str(rows[-1].iseq) if len(rows) >= limit else None
        return shapes.Page(items, cursor)

    async def state_at(self, instance: str, *, seq: int) -> shapes.StateAt:
        """The state after line `seq` of the history."""
        row = await self._find(instance)
        if seq < 1:
            raise InvalidRequest(f"seq counts from 1, got {seq}")
        p = await progress_at(self.journal, row.n, seq)
        if p.iseq == 0:
            raise NotFound(f"{row.id} has no entry {seq}", instance=row.id)
        return shapes.StateAt(p.iseq, views.shown_state(p))

    async def check_replay(self, q: str = "", *, limit: int | None = None) -> shapes.Replayed:
        """Replays the stored histories of the instances a filter lets through on the code that is
        loaded, and gives the first difference of each. Nothing is run or written."""
        return await replays.check_replay(self.whole, q, limit)

    async def diff(self, a: str, b: str) -> shapes.InstanceDiff:
        """Two instances side by side: the path each took, input and state where they differ."""
        return await compare.diff(self.whole, a, b)

    async def why(self, instance: str) -> shapes.Why:
        """Why the instance is where it is, who may act, and what happens next."""
        row = await self._find(instance)
        return await reasons.why(self.whole, row, await self._progress(row.n))

    async def watch(
        self, instance: str | None = None, *, q: str = "", after: int = 0
    ) -> AsyncIterator[shapes.Entry]:
        """The lines of one instance as they are stored, those after `after` first; ends with it."""
        if instance is None:
            async for entry in reasons.watch_all(self.whole, q):
                yield entry
            return
        row = await self._find(instance)
        poked = asyncio.Event()
        poked.set()

        def stored(changed: Instance, append: Append, result: Appended) -> None:
            if changed.n == row.n:
                poked.set()

        self.directory.watchers.append(stored)
        self.at_end[poked.set] = None
        try:
            while True:
                await poked.wait()
                poked.clear()
                while rows := await self.journal.call(ReadRows(row.n, after, 200)):
                    for line in rows:
                        after = line.iseq
                        happened = decode_entry(line)
                        for shape in views.entry_shapes(line.iseq, line.seq, line.at, happened):
                            yield shape
                if (await self._find(row.id)).status in ("completed", "cancelled"):
                    return
        finally:
            self.directory.watchers.remove(stored)
            del self.at_end[poked.set]

    async def tail(
        self,
        *,
        type: str | None = None,
        after: int | None = None,
        since: str | float | None = None,
    ) -> AsyncIterator[shapes.StoredEvent]:
        """Events as they are accepted; first those after the place `after`, or since a moment (or a
        duration ago)."""
        if after is not None and since is not None:
            raise InvalidRequest("give after, a place, or since, a time")
        if since is not None:
            after = await place_before(self.whole, moment(self.clock.now(), since))
        if after is None:
            counts: CountsRow = await self.journal.call(Counts())
            after = counts.head
        poked = asyncio.Event()
        poked.set()
        self._event_watchers.append(poked.set)
        try:
            while True:
                await poked.wait()
                poked.clear()
                while True:
                    rows: list[StoredEventRow] = await self.journal.call(
                        ListEvents(type, after, None, 200, self.namespace)
                    )
                    for row in rows:
                        after = row.pos
                        yield views.event_shape(row)
                    if len(rows) < 200:
                        break
        finally:
            self._event_watchers.remove(poked.set)

    async def info(self) -> shapes.Info:
        """Version, place and counts."""
        counts: CountsRow = await self.journal.call(Counts())
        assert self.opened is not None
        return shapes.Info(
            version=VERSION,
            pid=os.getpid(),
            data=str(self.target or os.environ.get("GREENROOM_DATA") or DIRECTORY_DEFAULT),
            epoch=self.opened.epoch,
            started=rfc3339(self.started_at),
            instances=dict(counts.instances),
            durability="read_only" if self.journal.read_only else self.opened.durability,
            definitions=len(self.registry.names()),
            asks=counts.asks,
            timers=counts.timers,
            head=counts.head,
            python=".".join(map(str, sys.version_info[:3])),
            sqlite=sqlite3.sqlite_version,
        )

    async def doctor(self, deep: bool = False) -> Sequence[shapes.Finding]:
        """Checks the store, how much room it has, and whether something leads on from each instance;
        deep: reads everything, and compares each instance with its entries."""
        findings = await checks.audit(self.journal, deep=deep)
        if deep:
            findings += await checks.instances(self.journal, self.directory.next_n)
        findings += checks.space(self.journal)
        findings.append(await checks.orphans(self.journal))
        return [shapes.Finding(f.level, f.check, f.text, dict(f.details)) for f in findings]

    async def prune(self, older_than: str | float, *, dry_run: bool = False) -> shapes.Pruned:
        """Deletes instances that ended longer than `older_than` ago, with their history, and events
        nobody owes anything to; ids of events and requests stay known for a week."""
        self._check_open(runs=False)
        age_ms = round(seconds(older_than, "older_than") * 1000)
        work = retention.prunable if dry_run else retention.prune
        return await work(self.journal, self.clock.now(), age_ms)

    async def backup(self, path: str, *, by: str | None = None) -> dict[str, Json]:
        """Copies the store to a new file while it runs. Whoever comes over the network gives a name,
        and the copy is in `backups/` beside the store: it writes nowhere else."""
        from greenroom.runtime.backup import backup, own_place  # noqa: PLC0415  rare

        is_owner = by is None or actor_of(by).owner
        place = Path(path) if is_owner else own_place(self.journal, path)
        size = await backup(self.journal, place)
        return {"path": str(place), "bytes": size}


def result_shape(p: Progress) -> Json:
    return result_of(p) if p.end == "completed" else None


def _cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        updated, n = text.split(".")
        return int(updated), int(n)
    except ValueError:
        raise InvalidRequest(f"{text!r} is not a cursor of this list") from None
