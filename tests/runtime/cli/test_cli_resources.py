"""`greenroom resource`, typed at a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from greenroom import Engine, Resource, begin, done, step, workflow
from greenroom.runtime.cli.backend import call_engine
from greenroom.runtime.cli.run import run
from greenroom.runtime.cli.session import Session


class Line(Resource, product="cli light path"):
    speed: int = 1000


@step("Make")
def make(line: Line) -> dict[str, Any]:
    return {"line": line}


@step("Faster")
def faster(line: Line) -> dict[str, Any]:
    line.speed, line.status = 10_000, "active"
    return {"line": line}


@workflow
def lines() -> Any:
    return begin >> make >> faster >> done


class Local:
    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def call(self, method: str, **params: Any) -> Any:
        return call_engine(self._engine, method, params)

    def close(self) -> None:
        return


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    with Engine.sync(":memory:", workflows=[lines]) as made:
        yield made


@pytest.fixture(scope="module")
def line(engine: Any) -> dict[str, Any]:
    instance = engine.start("lines", {"product": "cli light path", "customer_id": "surf"})
    found: dict[str, Any] = instance.result()["line"]
    return {**found, "instance": instance.id}


@pytest.fixture
def cli(engine: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    def type_in(*args: str) -> tuple[int, str, str]:
        session: Any = Session(connect=lambda server, data: Local(engine))  # type: ignore[arg-type,return-value]
        code = run(list(args), session)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return type_in


def test_resource_ls_lists_what_the_filter_lets_through(cli: Any, line: dict[str, Any]) -> None:
    code, out, _ = cli("resource", "ls", "product:cli light path", "status:active", "-o", "table")
    assert code == 0
    head, row, count = out.splitlines()
    assert head.split() == ["product", "status", "customer", "version", "changed", "id"]
    assert row.startswith("cli light path  active  surf      2 ") and row.endswith(line["id"])
    assert count == "1 resource"
    (one,) = [json.loads(text) for text in cli("resource", "ls")[1].splitlines()]
    assert (one["id"], one["data"], one["instance"]) == (
        line["id"], {"speed": 10_000}, line["instance"],
    )  # fmt: skip
    assert cli("resource", "ls", "status:lost", "-o", "table")[1] == "no resources\n"


def test_resource_show_shows_one(cli: Any, line: dict[str, Any]) -> None:
    code, out, _ = cli("resource", "show", line["id"][:8], "-o", "table")
    assert code == 0
    lines_ = [" ".join(text.split()) for text in out.splitlines()]
    assert lines_[0] == f"cli light path {line['id']}"
    assert f"version 2 by lines {line['instance']}" in lines_
    assert "status active" in lines_ and "speed 10000" in lines_
    assert json.loads(cli("resource", "show", line["id"], "-o", "json")[1])["version"] == 2


def test_resource_history_says_which_step_changed_what(cli: Any, line: dict[str, Any]) -> None:
    code, out, _ = cli("resource", "history", line["id"], "-o", "table")
    assert code == 0
    _, first, second, count = out.splitlines()
    assert " make " in first and "customer_id=surf" in first and "speed=1000" in first
    assert " faster " in second and line["instance"] in second
    assert "status: initial -> active, speed: 1000 -> 10000" in second
    assert count == "2 versions"
    out = cli("resource", "history", line["id"], "--limit", "1", "-o", "table")[1]
    assert "--cursor 1" in out
    assert " faster " in cli("resource", "history", line["id"], "--cursor", "1", "-o", "table")[1]


def test_an_id_nobody_has_exits_with_3_and_a_wrong_word_with_2(cli: Any) -> None:
    code, _, err = cli("resource", "show", "0193c0de-none", "-o", "table")
    assert code == 3 and "there is no resource 0193c0de-none" in err
    code, _, err = cli("resource", "ls", "stat:active", "-o", "table")
    assert code == 2 and "resources have no 'stat' to look for" in err


def test_resource_products_sets_code_and_store_side_by_side(cli: Any, line: dict[str, Any]) -> None:
    code, out, _ = cli("resource", "products", "-o", "table")
    assert code == 0
    (row,) = [text for text in out.splitlines() if text.startswith("cli light path ")]
    assert row.split("  ")[1:] and "Line" in row and " 1" in row


def test_migrate_workflows_tells_a_product_type_that_no_class_takes(
    cli: Any, line: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cli light path" not in cli("db", "migrate-workflows", "--dry-run", "-o", "table")[1]
    monkeypatch.setattr(Line, "__products__", ("cli renamed",))
    code, out, _ = cli("db", "migrate-workflows", "--dry-run", "-o", "table")
    assert code == 0
    (row,) = [text for text in out.splitlines() if text.startswith("cli light path ")]
    assert row.split("  ")[1:] == ["not in the code", "1"]
