"""`greenroom connector` and `greenroom secret`, and the way in over HTTP hooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenroom.runtime.cli.run import run
from greenroom.runtime.cli.session import Session
from greenroom.runtime.engine import Engine
from greenroom.runtime.web.hooks import HookRequest
from tests.runtime.connectors.conftest import Service
from tests.runtime.connectors.test_ingestion import BODY, NOW, SECRET, flexli, peer, seen
from tests.runtime.kits import MemoryEngine

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory nobody serves."""
    folder = tmp_path / "data"
    with Engine.sync(str(folder) + "/"):
        pass
    return folder


def typed(data: Path, *words: str) -> int:
    return run([*words, "--data", str(data)], Session())


def test_connectors_are_listed_and_shown(data: Path, capsys: Printed) -> None:
    assert typed(data, "connector", "ls", "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["items"] if isinstance(found, dict) else found
    assert [one["id"] for one in rows] == ["http", "okta", "pagerduty", "slack", "smtp"]
    assert typed(data, "connector", "show", "slack", "-o", "table") == 0
    shown = capsys.readouterr().out
    assert "SendMessage" in shown and "slack_token" in shown and "text  string\n" in shown
    assert typed(data, "connector", "show", "slak") == 3
    assert 'did you mean "slack"' in capsys.readouterr().err


def test_an_action_is_tried_by_hand(
    data: Path, service: Service, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_NETWORK_ALLOW", service.host)
    words = ("connector", "try", "http", "Get", f"url={service.url}/echo", 'query:={"a": 1}')
    assert typed(data, *words, "--dry-run") == 0
    assert service.seen() == []
    capsys.readouterr()
    assert typed(data, *words, "-o", "json") == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["response"]["body"]["query"] == {"a": "1"}
    assert typed(data, "connector", "try", "http", "Get", "uri=x") == 2
    assert "url" in capsys.readouterr().err
    monkeypatch.delenv("GREENROOM_NETWORK_ALLOW")
    assert typed(data, *words) == 5
    assert "loopback" in capsys.readouterr().err


def test_secrets_are_checked_and_never_shown(
    data: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_SLACK_TOKEN", "xoxb-very-secret-0123456789")
    assert typed(data, "secret", "check", "slack_token") == 0
    assert typed(data, "secret", "ls", "-o", "table") == 0
    assert typed(data, "secret", "check", "nothing_here", "-o", "table") == 3
    printed = capsys.readouterr()
    assert "slack_token" in printed.out and "env" in printed.out and "nowhere" in printed.out
    assert "very-secret" not in printed.out + printed.err


def test_documents_are_checked_without_a_daemon(tmp_path: Path, capsys: Printed) -> None:
    good = tmp_path / "good.json"
    good.write_text(json.dumps({"type": "x", "schema_version": 1, "config": {"host": "a.example"}}))
    assert run(["connector", "validate", str(good), "-o", "table"], Session()) == 0
    assert "1 connector, no problems" in capsys.readouterr().out
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"type": "x", "schema_version": 2, "config": {"hots": "a"}}))
    assert run(["connector", "validate", str(bad)], Session()) == 2
    said = capsys.readouterr().err
    assert 'did you mean "host"' in said and "schema_version" in said and "bad.json" in said


async def test_services_post_to_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_PEER_SIGNING_KEY", SECRET)
    async with MemoryEngine(seen, connectors=[peer("flexli")]) as engine:
        base, handler, methods = engine.hooks.find("connectors/peer")
        assert (base, methods) == ("connectors", ("POST",))
        headers = {name.lower(): value for name, value in flexli(BODY, NOW, SECRET).items()}
        request = HookRequest("POST", "/hooks/connectors/peer", "peer", headers, {}, BODY)
        answer: Any = await engine.hooks.answer(handler, request)
        assert answer.status == 202 and answer.body["matched_total"] == 1
