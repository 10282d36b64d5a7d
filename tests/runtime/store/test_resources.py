"""What every store does with resources: saved with their turn or not at all, found, damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import InvalidRequest, StaleResource, StoreDamaged
from greenroom.definitions.resources import Stored
from greenroom.runtime.schema import MIGRATIONS
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.statements import StatementFailed

AT = 1_700_000_000_000
ONE, TWO = "11111111-0000-5000-8000-000000000001", "11111111-0000-5000-8000-000000000002"


def save(id: str = ONE, version: int = 1, **given: Any) -> ports.ResourceSave:
    fields: dict[str, Any] = {
        "type": "Port", "family": "Port", "product": "port", "customer_id": "surf",
        "status": "initial", "data": b'{"n":%d}' % version, **given,
    }  # fmt: skip
    return ports.ResourceSave(Stored(id=id, version=version, **fields), b'{"n":[null,1]}', "op", 1)


def saving(make: Any, n: int, iseq: int, *saves: ports.ResourceSave, at: int = AT) -> ports.Append:
    turn: ports.Append = make.append(n, iseq, at=at, resources=saves)
    return turn


def one(store: Any, work: Any) -> Any:
    return store.run([work])[0]


def test_c21_a_resource_is_saved_with_its_turn_and_its_history_says_by_whom(
    store: Any, make: Any
) -> None:
    store.run([make.create(1), make.create(2, workflow="bill"), saving(make, 1, 2, save())])
    store.run([saving(make, 2, 2, save(version=2, status="active"), at=AT + 5)])
    (row,) = one(store, ports.GetResources([TWO, ONE]))
    assert (row.version, row.status, row.created, row.updated, row.instance, row.workflow) == (
        2, "active", AT, AT + 5, make.id(2), "bill",
    )  # fmt: skip
    first, second = one(store, ports.ResourceHistory(ONE))
    assert (first.version, first.instance, first.pos, first.at) == (1, make.id(1), 3, AT)
    assert (second.version, second.workflow, second.pos, second.op) == (2, "bill", 4, "op")
    assert one(store, ports.ResourceHistory(ONE, after=1)) == [second]
    assert one(store, ports.ResourceHistory(ONE, limit=1)) == [first]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_w12_another_version_than_was_read_refuses_the_whole_turn(
    version: int, store: Any, make: Any
) -> None:
    store.run([make.create(1), make.create(2), saving(make, 1, 2, save(), save(TWO))])
    store.run([saving(make, 1, 3, save(version=2))])
    stale, fine = store.run([
        make.append(1, 4, resources=[save(TWO, 2), save(version=version)], timers=[("1", AT)]),
        saving(make, 2, 2, save(version=3)),
    ])  # fmt: skip
    assert isinstance(stale, StaleResource)
    assert stale.details == {"resource": ONE, "found": 2, "read": version - 1}
    assert isinstance(fine, ports.Appended)
    assert [row.version for row in one(store, ports.GetResources([ONE, TWO]))] == [3, 1]
    assert one(store, ports.Load([1]))[0].head == 3
    assert one(store, ports.DueTimers(AT + 1)) == []


def test_w12_one_that_is_not_there_cannot_be_changed(store: Any, make: Any) -> None:
    store.run([make.create(1)])
    assert "is not in the store" in str(one(store, saving(make, 1, 2, save(version=2))))


def test_w12_two_turns_of_one_group_see_each_other(store: Any, make: Any) -> None:
    _, _, first, second, third = store.run([
        make.create(1), make.create(2), saving(make, 1, 2, save()), saving(make, 2, 2, save()),
        saving(make, 2, 2, save(version=2)),
    ])  # fmt: skip
    assert isinstance(first, ports.Appended) and isinstance(third, ports.Appended)
    assert isinstance(second, StaleResource)
    assert len(one(store, ports.ResourceHistory(ONE))) == 2


def test_c21_a_statement_that_fails_takes_the_resource_with_it(store: Any, make: Any) -> None:
    store.run([make.create(1)])
    failed = one(store, make.append(1, 2, resources=[save()], statements=[("nonsense", ())]))
    assert isinstance(failed, StatementFailed)
    assert one(store, ports.GetResources([ONE])) == []


def test_resources_of_another_namespace_are_not_there(store: Any, make: Any) -> None:
    store.run([make.create(1, namespace="test"), make.create(2), saving(make, 1, 2, save())])
    assert one(store, ports.GetResources([ONE])) == []
    assert one(store, ports.FindResource(ONE)) is None
    assert one(store, ports.ListResources()) == []
    assert [row.id for row in one(store, ports.ListResources(namespace="test"))] == [ONE]
    for version in (1, 2):
        assert isinstance(one(store, saving(make, 2, 2, save(version=version))), StaleResource)


def test_resources_are_found_by_id_and_by_what_they_are(store: Any, make: Any) -> None:
    store.run([make.create(1), make.create(2)])
    store.run([saving(make, 1, 2, save(product="p", customer_id="a"))])
    store.run([saving(make, 2, 2, save(TWO, status="active"), at=AT + 1)])
    store.run([saving(make, 1, 3, save(TWO, 2, status="active"), at=AT + 2)])
    assert one(store, ports.FindResource(ONE)).id == ONE
    refused = one(store, ports.FindResource(ONE[:8]))
    assert isinstance(refused, InvalidRequest)
    assert one(store, ports.FindResource("1111111")) is None
    assert one(store, ports.FindResource("22222222")) is None

    def listed(**equal: str) -> list[str]:
        return [row.id for row in one(store, ports.ListResources(equal))]

    assert listed() == [TWO, ONE]
    assert listed(product="p") == listed(customer="a") == listed(status="initial") == [ONE]
    assert listed(type="Port", status="active") == listed(id=TWO) == [TWO]
    assert listed(instance=make.id(2)) == [TWO]
    assert listed(instance=make.id(1)) == [TWO, ONE]
    assert listed(product="x") == []
    (first,) = one(store, ports.ListResources(limit=1))
    (second,) = one(store, ports.ListResources(after=(first.updated, first.id)))
    assert (first.id, second.id) == (TWO, ONE)


def test_product_types_are_counted(store: Any, make: Any) -> None:
    store.run([make.create(1), saving(make, 1, 2, save(), save(TWO, family="F"))])
    assert one(store, ports.ListProducts()) == [
        ports.ProductRow("port", "F", 1), ports.ProductRow("port", "Port", 1),
    ]  # fmt: skip
    assert one(store, ports.ListProducts("test")) == []


def test_a_pruned_instance_leaves_its_resources_and_their_history(store: Any, make: Any) -> None:
    store.run([make.create(1), saving(make, 1, 2, save())])
    store.run([make.end(1, 3)])
    assert one(store, ports.Prune(AT + 1)).instances == 1
    assert one(store, ports.Find(make.id(1))) is None
    assert one(store, ports.GetResources([ONE]))[0].instance == make.id(1)
    assert len(one(store, ports.ResourceHistory(ONE))) == 1


def test_what_a_test_run_saved_goes_with_it(store: Any, make: Any) -> None:
    """What somebody else has saved since stays: it is no longer that run's."""
    store.run([make.create(1), saving(make, 1, 2, save(), save(TWO))])
    store.run([make.create(2), saving(make, 2, 2, save(TWO, version=2))])
    one(store, ports.Prune(0, only=(1,), resources=True))
    assert one(store, ports.Find(make.id(1))) is None
    assert one(store, ports.GetResources([ONE])) == one(store, ports.ResourceHistory(ONE)) == []
    assert [row.version for row in one(store, ports.GetResources([TWO]))] == [2]
    assert len(one(store, ports.ResourceHistory(TWO))) == 2


def test_no_statement_of_a_step_touches_the_tables_of_resources(store: Any, make: Any) -> None:
    store.run([make.create(1), saving(make, 1, 2, save())])
    for sql in ("DELETE FROM greenroom_resource", "SELECT * FROM greenroom_resource_change",
                "CREATE TABLE greenroom_resource_x (a)"):  # fmt: skip
        assert isinstance(one(store, make.append(1, 3, statements=[(sql, ())])), StatementFailed)


# -- SQLite alone ------------------------------------------------------------------------------


def changed(path: Path, sql: str) -> SqliteStore:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(sql)
    db.close()
    store = SqliteStore(path)
    store.open()
    return store


@pytest.mark.parametrize(
    ("sql", "reads", "says"),
    [
        ("UPDATE greenroom_resource SET data='{}'", ports.GetResources([ONE]), "fails its checksum"),
        ("UPDATE greenroom_resource SET status='x'", ports.ListResources(), "fails its checksum"),
        ("UPDATE greenroom_resource SET namespace='x'", ports.ListResources(namespace="x"),
         "fails its checksum"),
        ("UPDATE greenroom_resource_change SET op='x'", ports.ResourceHistory(ONE),
         "a damaged version 1"),
        ("DELETE FROM greenroom_resource_change", None, "is at version 1, its history has 0"),
    ],
)  # fmt: skip
def test_a_damaged_resource_is_named_and_never_handed_out(
    sql: str, reads: Any, says: str, database: Path, make: Any
) -> None:
    store = SqliteStore(database)
    store.open()
    store.run([make.create(1), saving(make, 1, 2, save())])
    assert [f.level for f in one(store, ports.Audit(deep=True)).findings] == ["ok", "ok"]
    store.close(clean=True)
    store = changed(database, sql)
    if reads is not None:
        assert isinstance(one(store, reads), StoreDamaged)
    found = one(store, ports.Audit(deep=True)).findings
    assert any(f.level == "error" and says in f.text for f in found)
    store.close(clean=True)


def test_a_store_of_the_first_format_grows_even_with_a_table_called_resource(
    database: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenroom.runtime.schema.MIGRATIONS", MIGRATIONS[:1])
    store = SqliteStore(database)
    store.open()
    mine = "CREATE TABLE resource (mine)"
    store.run([make.create(1), make.append(1, 2, statements=[(mine, ())])])
    store.close(clean=True)
    monkeypatch.undo()
    store = SqliteStore(database)
    store.open()
    assert isinstance(one(store, saving(make, 1, 3, save())), ports.Appended)
    assert msgspec.json.decode(one(store, ports.FindResource(ONE)).data) == {"n": 1}
    store.close(clean=True)
