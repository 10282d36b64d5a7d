"""The examples of the first source, as they are written there (000/*.txt, byte for byte).

Only their imports are changed, and on Python 3.11 the inner quotes of one f-string (C25).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from greenroom import ApprovalTemplate, Flow, FlowField
from greenroom.integrations import provide
from greenroom.runtime.loading import import_file
from greenroom.testing import TestEngine

TEXTS = Path(__file__).parent / "000"
IMPORTS = {
    "sym.sdk.annotations": "greenroom",
    "sym.sdk.templates": "greenroom",
    "sym.sdk.integrations": "greenroom.integrations",
}
NUMBERS = itertools.count()


def text(name: str) -> str:
    source = (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
    for theirs, ours in IMPORTS.items():
        source = source.replace(f"from {theirs} import", f"from {ours} import")
    if sys.version_info < (3, 12):
        source = source.replace('fields["target"].name}!"', "fields['target'].name}!\"")
    return source


class Services:
    """What PagerDuty, Okta and Slack say and are told."""

    def __init__(self) -> None:
        self.on_call: set[tuple[str, str | None]] = set()
        self.managers = ["mia", "max"]
        self.groups: list[str] = []
        self.delivered: list[str] = []
        self.messages: list[tuple[str, str]] = []

    def is_on_call(self, user: str, schedule_name: str | None, schedule_id: str | None) -> bool:
        return (user, schedule_name) in self.on_call

    def users_in_group(self, group_id: str) -> list[str]:
        self.groups.append(group_id)
        return self.managers

    def deliver(self, to: Any, notice: dict[str, Any]) -> None:
        self.delivered.append(str(to))

    def send_message(self, to: Any, message: str) -> None:
        self.messages.append((to.name, message))


@pytest.fixture
def services() -> Iterator[Services]:
    made = Services()
    with provide(slack=made, pagerduty=made, okta=made):
        yield made


@pytest.fixture
def modules(tmp_path: Path) -> list[ModuleType]:
    made = []
    for path in sorted(TEXTS.glob("*.txt")):
        file = tmp_path / f"seed_{path.stem}_{next(NUMBERS)}.py"
        file.write_text(text(path.stem), encoding="utf-8")
        made.append(import_file(file))
    return made


@pytest.fixture
def flow(modules: list[ModuleType]) -> Flow:
    urgency = FlowField("urgency", options=["Low", "High", "Urgent"])
    return Flow(
        "prod access", template=ApprovalTemplate, targets=["prod-db"], fields=[urgency],
        handlers=modules,
    )  # fmt: skip


async def asked(engine: TestEngine, urgency: str) -> Any:
    given = {"target": "prod-db", "urgency": urgency}
    handle = await engine.start("prod access", given, by="ann")
    await engine.until_idle()
    return await engine.get(handle.id)


async def test_the_three_examples_run_together(flow: Flow, services: Services) -> None:
    async with TestEngine(flow) as engine:
        found = await asked(engine, "Low")
        assert services.groups == ["00g12345689"]
        assert services.delivered == ["slack group mia, max"]
        await engine.answer(f"{found.id}.approval", {"approved": True}, by="mia")
        await engine.until_idle()
        assert (await engine.get(found.id)).outcome == "ok"
    assert services.messages == [
        ("#private-audit-log", "ann has been approved for prod-db!"),
    ]


async def test_the_engineer_on_call_approves_in_a_direct_message(
    flow: Flow, services: Services
) -> None:
    """C13: the comment of the text says that `slack.user(event.user)` alone is a self-approval."""
    services.on_call.add(("ann", "prod_on_call_schedule"))
    async with TestEngine(flow) as engine:
        found = await asked(engine, "Low")
        assert services.delivered == ["slack user ann"]
        await engine.answer(f"{found.id}.approval", {"approved": True}, by="ann")
        await engine.until_idle()
        assert (await engine.get(found.id)).outcome == "ok"


async def test_an_urgent_request_is_a_self_approval_in_a_channel(
    flow: Flow, services: Services
) -> None:
    async with TestEngine(flow) as engine:
        found = await asked(engine, "High")
        assert services.delivered == ["slack channel #break-glass"]
        await engine.answer(f"{found.id}.approval", {"approved": True}, by="ann")
        await engine.until_idle()
        assert (await engine.get(found.id)).outcome == "ok"


async def test_urgent_and_on_call_is_approved_at_once(flow: Flow, services: Services) -> None:
    services.on_call.add(("ann", None))
    async with TestEngine(flow) as engine:
        found = await asked(engine, "Urgent")
        assert (found.status, found.outcome) == ("completed", "ok")
    assert services.delivered == []
    assert services.groups == []
    assert services.messages == [("#private-audit-log", "ann has been approved for prod-db!")]


def test_the_texts_are_those_of_the_seed_but_for_imports() -> None:
    assert (TEXTS / "get_approvers.txt").read_bytes().startswith(b"from sym.sdk.annotations")
    assert "@reducer \ndef get_approvers(event):" in text("get_approvers")
    assert text("on_request").startswith("from greenroom import hook\n")
