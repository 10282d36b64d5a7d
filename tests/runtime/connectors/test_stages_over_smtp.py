"""A4 over a real mail server: the assignee of a form gets a mail whose link answers it."""

from __future__ import annotations

import json
from email import message_from_string
from email.policy import default
from pathlib import Path

import pytest

from greenroom.runtime.connectors.smtp_connector import smtp_connector
from greenroom.testing import TestEngine
from tests.runtime.connectors.conftest import Service

SEND = "from greenroom import *\nnext_stage(assignee='team:finance')\n"
REVIEW = "from greenroom import *\nget_stage()['good'] = read_checkbox('Good')\n"


async def test_A4_the_team_is_mailed_a_link_each_and_one_of_them_answers_by_it(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENROOM_SECRET_SMTP_PASSWORD", "mail-password-1")
    graph = {
        "name": "flow",
        "stages": [
            {"path": "send", "kind": "script"},
            {"path": "review", "kind": "form", "title": "Review it", "enforce_assignee": True},
        ],
        "transitions": [{"from": "send", "to": "review"}],
        "teams": {"finance": ["ann@example.org", "bob@example.org"]},
    }
    (tmp_path / "stages.json").write_text(json.dumps(graph), "utf-8")
    (tmp_path / "send.py").write_text(SEND, "utf-8")
    (tmp_path / "review.py").write_text(REVIEW, "utf-8")
    mail = smtp_connector(
        host=f"127.0.0.1:{service.smtp}", sender="noc@example.org", tls="none", username="noc"
    )
    url = "https://example.org/greenroom"
    async with TestEngine(f"{tmp_path}/", connectors=[mail], public_url=url) as engine:
        run = await engine.start("flow")
        await engine.until_idle()
        mails = service.get("/mails")[-2:]
        assert [one["to"] for one in mails] == [
            ["RCPT TO:<ann@example.org>"], ["RCPT TO:<bob@example.org>"],
        ]  # fmt: skip
        message = message_from_string(mails[1]["text"], policy=default)
        assert message["Subject"] == "Review it"
        (line,) = [line for line in message.get_content().splitlines() if line.startswith(url)]
        link = engine.links.read(line.rpartition("/")[2])
        assert (link.ask, link.to) == (f"{run.id}.review#1", "bob@example.org")
        await engine.answer(link.ask, {"good": True}, by=link.by)
        assert await engine.result(run.id) == {"good": True}
