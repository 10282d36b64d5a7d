"""Counters of documents, at the seams: what is read and not yet written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, cast

import pytest

from greenroom.actors.ports import DataView, ReadData
from greenroom.runtime.context import StepContext
from greenroom.runtime.keptdata import KeptData, read_data
from greenroom.runtime.statements import StatementFailed, apply_statements

COUNT = {"operation": "increment", "key": "k"}


class Store:
    """An engine as far as kept data needs one: its journal reads a database in memory."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.journal = self

    async def call(self, work: ReadData) -> list[DataView]:
        return read_data(self.db, work)

    def commit(self, ctx: StepContext) -> StatementFailed | None:
        self.db.execute("BEGIN")
        failed = apply_statements(self.db, ctx.statements)
        self.db.execute("COMMIT")
        return failed


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.db.close()


def attempt(number: int = 1, at: int = 1_000) -> StepContext:
    return StepContext("i", "w", None, "1", number, None, "transactional", at)


def kept(store: Store) -> KeptData:
    return KeptData(cast(Any, store))


async def test_who_counts_before_the_other_has_committed_counts_on(store: Store) -> None:
    data, one, two = kept(store), attempt(), attempt()
    assert await data.act(COUNT, one) == 1
    assert await data.act(COUNT, two) == 2
    assert store.commit(one) is None
    assert store.commit(two) is None
    assert await data.act({"operation": "read", "key": "k"}, attempt()) == 2


async def test_who_has_read_what_is_not_so_any_more_is_refused_and_tries_again(
    store: Store,
) -> None:
    one, two = attempt(), attempt()
    assert await kept(store).act(COUNT, one) == 1
    other = kept(store)  # as of another process
    assert await other.act(COUNT, two) == 1
    assert store.commit(one) is None
    assert isinstance(store.commit(two), StatementFailed)
    again = attempt(2)
    assert await other.act(COUNT, again) == 2
    assert store.commit(again) is None


async def test_what_is_past_its_time_is_taken_along(store: Store) -> None:
    data = kept(store)
    for key in ("a", "b"):
        ctx = attempt()
        await data.act({"operation": "write", "key": key, "value": 1, "ttl": 1}, ctx)
        assert store.commit(ctx) is None
    later = attempt(at=5_000)
    assert await data.act({**COUNT, "key": "a"}, later) == 1
    assert store.commit(later) is None
    assert store.db.execute("SELECT key FROM document_data").fetchall() == [("a",)]
