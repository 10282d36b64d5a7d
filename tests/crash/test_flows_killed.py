"""SIGKILL while a handler runs: what it and those before it have told people is not told again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from greenroom.runtime.client import SyncClient
from tests.crash.test_poison import client, end, serve

APP = """
import os, time
from pathlib import Path
from greenroom import ApprovalTemplate, Flow, hook, reducer
from greenroom.integrations import provide, slack

HERE = Path(__file__).parent

def noted(line):
    with open(HERE / "noted", "a") as file:
        file.write(line + "\\n")

class Outlet:
    def deliver(self, to, notice):
        noted("deliver")
    def send_message(self, to, message):
        noted(message)

provide(slack=Outlet())

@reducer
def get_approvers(event):
    noted("get_approvers")
    return slack.channel("#ops")

@hook
def after_request(event):
    slack.send_message(slack.channel("#log"), "requested")
    noted("after_request")
    while (HERE / "stop").exists():
        time.sleep(0.01)

access = Flow("access", template=ApprovalTemplate, handlers=__name__)
"""


def noted(folder: Path) -> list[str]:
    path = folder / "noted"
    return path.read_text().split() if path.exists() else []


def until_waiting(asking: SyncClient) -> None:
    end_s = time.monotonic() + 30
    while asking.get("access/7").status != "waiting":
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.crash
def test_after_a_kill_between_delivery_and_after_request_nothing_is_delivered_again(
    short_dir: Path,
) -> None:
    (short_dir / "app.py").write_text(APP)
    (short_dir / "stop").touch()
    process = serve(short_dir)
    with client(short_dir) as asking:
        asking.start("access", {"user": "ann"}, key="7")
    while "after_request" not in noted(short_dir):
        time.sleep(0.005)
    process.kill()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()
    (short_dir / "stop").unlink()

    process = serve(short_dir)
    try:
        with client(short_dir) as asking:
            until_waiting(asking)
            asking.answer("access/7", {"approved": True}, by="bob")
            assert asking.result("access/7", timeout=30)["outcome"] == "ok"
    finally:
        end(process)
    assert noted(short_dir) == [
        "get_approvers", "deliver", "requested", "after_request", "after_request",
    ]  # fmt: skip
