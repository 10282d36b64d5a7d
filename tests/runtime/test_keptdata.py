"""Counters of documents, at the seams: what is read and not yet written."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from typing import Any, cast

import pytest

from greenroom.actors.ports import MeasureData, ReadData
from greenroom.runtime import keptdata
from greenroom.runtime.context import StepContext
from greenroom.runtime.keptdata import DataFull, KeptData, measure_data, read_data
from greenroom.runtime.statements import StatementFailed, apply_statements

COUNT = {"operation": "increment", "key": "k"}


class Store:
    """An engine as far as kept data needs one: its journal reads a database in memory."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.journal = self

    async def call(self, work: ReadData | MeasureData) -> Any:
        return (
            read_data(self.db, work) if isinstance(work, ReadData) else measure_data(self.db, work)
        )

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
    assert await kept(store).act({**COUNT, "key": "a"}, later) == 1
    assert store.commit(later) is None
    assert store.db.execute("SELECT key FROM document_data").fetchall() == [("a",)]


# -- how much --------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keptdata, "VALUES_MAX", 3)
    monkeypatch.setattr(keptdata, "BYTES_MAX", 40)
    monkeypatch.setattr(keptdata, "TOTAL_MAX", 60)


async def put(store: Store, key: str, value: Any = 1, at: int = 1_000, **more: Any) -> None:
    ctx = attempt(at=at)
    given = {"operation": "write", "key": key, "value": value, **more}
    await kept(store).act(given, ctx)
    assert store.commit(ctx) is None


def used(store: Store) -> dict[str, tuple[int, int]]:
    rows = store.db.execute("SELECT scope, amount, bytes FROM document_data_used")
    return {scope: (amount, size) for scope, amount, size in rows}


def counted(store: Store) -> dict[str, tuple[int, int]]:
    """The same, from the values themselves."""
    size = "length(CAST(key AS BLOB)) + length(value)"
    rows = store.db.execute(
        f"SELECT scope, count(*), sum({size}) FROM document_data GROUP BY scope"
        f" UNION ALL SELECT '', count(*), coalesce(sum({size}), 0) FROM document_data"
    )
    return {scope: (amount, size) for scope, amount, size in rows}


async def test_a_scope_holds_so_many_values_and_says_how_many(store: Store, small: None) -> None:
    for key in "abc":
        await put(store, key)
    with pytest.raises(
        DataFull, match=r"the workflow scope of Data holds 3 values: the limit is 3"
    ):
        await put(store, "d")
    await put(store, "a", 2)  # one that is there is written over
    await put(store, "x", scope="run")  # another scope has room of its own
    ctx = attempt()
    await kept(store).act({"operation": "delete", "key": "b"}, ctx)
    assert store.commit(ctx) is None
    await put(store, "d")
    assert used(store) == counted(store)


async def test_a_scope_and_all_of_them_hold_so_many_bytes(store: Store, small: None) -> None:
    await put(store, "a", "x" * 30)
    with pytest.raises(DataFull, match="holds 33 bytes, and 13 more do not fit: the limit is 40"):
        await put(store, "ö", "y" * 9)
    await put(store, "a", "y" * 36)
    await put(store, "a", "x" * 12, scope="account")
    with pytest.raises(DataFull, match="all that Data keeps holds 54 bytes, and 8 more do not fit"):
        await put(store, "b", "12345", scope="run")
    assert used(store) == counted(store)


async def test_what_is_past_its_time_makes_room(store: Store, small: None) -> None:
    for key in "abc":
        await put(store, key, ttl=1)
    await put(store, "d", at=5_000)
    assert list(used(store).values()) == [(1, 2), (1, 2)]
    assert used(store) == counted(store)


async def test_who_comes_too_late_is_refused_with_the_numbers(store: Store, small: None) -> None:
    """Two that write at once: each was measured before the other was there."""
    await put(store, "a")
    await put(store, "b")
    one, two = attempt(), attempt()
    data = kept(store)
    await data.act({**COUNT, "key": "c"}, one)
    await data.act({**COUNT, "key": "d"}, two)
    assert store.commit(one) is None
    assert isinstance(store.commit(two), StatementFailed)
    with pytest.raises(DataFull, match="holds 3 values"):
        await data.act({**COUNT, "key": "d"}, attempt(2))
    again = attempt()
    await data.act({**COUNT, "key": "c"}, again)
    assert store.commit(again) is None


async def test_what_is_counted_is_what_there_is(store: Store) -> None:
    chance = random.Random(7)
    data = kept(store)
    for at in range(300):
        ctx = attempt(at=1_000 + at * 500)
        key, scope = chance.choice("abcdef"), chance.choice(("run", "account", "workflow"))
        match chance.randrange(3):
            case 0:
                given: dict[str, Any] = {"operation": "delete"}
            case 1:
                given = {"operation": "write", "value": chance.choice((0, -(10**9)))}
            case _:
                given = {"operation": "increment", "value": 10 ** chance.randrange(9)}
        await data.act({**given, "key": key, "scope": scope, "ttl": chance.choice((1, 20))}, ctx)
        assert store.commit(ctx) is None
        assert used(store) == {"": (0, 0), **counted(store)}
