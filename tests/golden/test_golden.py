"""A store that an older version put away is opened, read and brought to its end."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom import GreenroomError
from greenroom.definitions.errors import SchemaTooNew
from greenroom.runtime.schema import MIGRATIONS
from tests.golden.story import BEGUN, HERE, PUT_AWAY_MS, Golden, after, seen

VERSIONS = sorted(int(path.name[1:].partition(".")[0]) for path in HERE.glob("v*.db.gz"))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def store(version: int, tmp_path: Path) -> Path:
    path = tmp_path / "golden.db"
    path.write_bytes(gzip.decompress((HERE / f"v{version}.db.gz").read_bytes()))
    return path


@pytest.fixture
def story(version: int) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode((HERE / f"v{version}.json").read_bytes())
    return found


def test_every_format_has_a_golden_store() -> None:
    assert list(range(1, len(MIGRATIONS) + 1)) == VERSIONS


async def test_an_old_store_is_read_as_it_was_written(store: Path, story: dict[str, Any]) -> None:
    async with Golden(store, BEGUN + PUT_AWAY_MS - 1, 1_000, passive=True) as engine:
        assert await seen(engine) == story["before"]
        assert [f.text for f in await engine.doctor(deep=True) if f.level != "ok"] == []


async def test_everything_in_an_old_store_comes_to_its_end(
    store: Path, story: dict[str, Any]
) -> None:
    found = await after(store)
    for name, wanted in story["after"].items():
        assert found[name] == wanted
    assert found.keys() == story["after"].keys()


async def test_a_store_of_a_newer_version_is_refused_and_left_alone(store: Path) -> None:
    db = sqlite3.connect(store, isolation_level=None)
    newest = len(MIGRATIONS) + 1
    db.execute(f"PRAGMA user_version={newest}")
    db.close()
    content = store.read_bytes()
    with pytest.raises(SchemaTooNew, match=f"format {newest}") as caught:
        async with Golden(store, BEGUN, 1):
            raise AssertionError("it was opened")
    assert isinstance(caught.value, GreenroomError)
    assert caught.value.details == {"found": newest, "known": len(MIGRATIONS)}
    assert store.read_bytes() == content
