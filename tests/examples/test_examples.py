"""The examples run, and do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.approvals import access as approvals
from examples.programs.onboarding import Onboarding, equipment
from greenroom.integrations import provide
from greenroom.runtime.cases import run_cases
from greenroom.runtime.checking import check
from greenroom.runtime.client import SyncClient
from greenroom.runtime.testing import TestEngine
from greenroom.runtime.web.hooks import HookRequest

EXAMPLES = Path(__file__).parents[2] / "examples"


# -- approvals ----------------------------------------------------------------------------------


async def test_two_approve_access_and_it_is_taken_back() -> None:
    approvals.GRANTS.clear()
    async with TestEngine(approvals.access) as engine:
        given = {"target": "orders", "ticket": "OPS-1"}
        started = await engine.start("prod access", given, by="ann")
        await engine.advance("10m")
        assert (await engine.get(started.id)).state["stage"] == 1
        for who in ("pete", "mia"):
            await engine.answer(f"{started.id}.approval", {"approved": True}, by=who)
            await engine.until_idle()
        assert approvals.GRANTS == ["ann@db1"]
        await engine.advance("1h")
        assert approvals.GRANTS == []
        assert (await engine.result(started.id))["actors"]["approve"] == "mia"


async def test_who_is_on_call_is_let_in_at_once_and_nobody_into_the_archive() -> None:
    async with TestEngine(approvals.access) as engine:
        urgent = {"target": "orders", "ticket": "OPS-2", "urgent": True}
        started = await engine.start("prod access", urgent, by="olga")
        await engine.until_idle()
        assert (await engine.get(started.id)).state["state"] == "escalated"
        started = await engine.start("prod access", {**urgent, "target": "archive"}, by="olga")
        await engine.until_idle()
        assert (await engine.get(started.id)).outcome == "denied"


# -- documents ----------------------------------------------------------------------------------


def test_the_cases_of_the_document_pass() -> None:
    path = EXAMPLES / "documents/orders.yaml"
    (document,) = check([str(path)]).documents
    assert [one.differences for one in run_cases(document, path.with_name("orders.test.yaml"))] == [
        [], [], [],
    ]  # fmt: skip


async def test_an_order_as_a_document_is_paid() -> None:
    async with TestEngine() as engine:
        engine.register(str(EXAMPLES / "documents"))
        order = {"order_id": "7", "sku": "A1", "total": 5}
        posted = await engine.post({"type": "order.created", "data": order})
        await engine.post({"type": "order.paid", "data": {"order_id": "7", "amount": 5}})
        await engine.until_idle()
        found = await engine.get(str(posted.matched[0].instance))
        assert (found.status, found.state["status"], found.key) == ("completed", "paid", "7")


# -- programs -----------------------------------------------------------------------------------


@pytest.fixture
async def office() -> AsyncIterator[TestEngine]:
    async with TestEngine(Onboarding, equipment) as engine:
        yield engine


async def hire(engine: TestEngine, team: str, approved: bool) -> Any:
    started = await engine.start("Onboarding", {"email": "bob", "team": team})
    await engine.until_idle()
    (question,) = (await engine.asks.list()).items
    assert question.title == "Hire bob?"
    await engine.answer(question.id, {"approved": approved})
    await engine.until_idle()
    return started


async def test_who_signs_is_on_board(office: TestEngine) -> None:
    started = await hire(office, "sales", True)
    state = (await office.get(started.id)).state
    assert state["accounts"] == ["bob@mail", "bob@chat"]
    assert state["equipment"] == {"laptop": "laptop for sales"}
    await office.crash()
    await office.post({"type": "contract.signed", "data": {"email": "bob", "on": "2026-12-01"}})
    await office.until_idle()
    assert await office.result(started.id) == {"hired": True, "first_day": "2026-12-01"}


async def test_who_does_not_sign_is_reminded_twice(office: TestEngine) -> None:
    started = await hire(office, "sales", True)
    await office.advance("6 days")
    assert await office.result(started.id) == {"hired": True, "first_day": "never"}


async def test_who_is_not_approved_gets_nothing(office: TestEngine) -> None:
    started = await hire(office, "sales", False)
    assert await office.result(started.id) == {"hired": False}


async def test_missing_equipment_is_an_event_not_a_failure(office: TestEngine) -> None:
    await hire(office, "interns", True)
    (event,) = (await office.events.list("type:equipment.missing")).items
    assert event.data["team"] == "interns"


# -- scripts ------------------------------------------------------------------------------------


def run(*words: str | Path) -> list[str]:
    command = [sys.executable, *(str(word) for word in words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.slow
def test_the_application_owns_its_engine_and_may_be_started_again(tmp_path: Path) -> None:
    script, file = EXAMPLES / "embedding/shop.py", tmp_path / "shop.db"
    said = run(script, file)
    assert said[1:] == [
        "the same True", "nothing nothing to do", "receipt charge paid 1200",
        "receipt charge paid 12000", "completed 2",
    ]  # fmt: skip
    assert run(script, file) == said


@pytest.mark.slow
def test_the_nightly_script_does_a_night_once(tmp_path: Path) -> None:
    script, file = EXAMPLES / "script/nightly.py", tmp_path / "nightly.db"
    first = run(script, file, "2026-11-20")
    assert first == [
        "importing a.csv", "importing b.csv", "importing c.csv",
        "{'date': '2026-11-20', 'rows': 15}",
    ]  # fmt: skip
    assert run(script, file, "2026-11-20") == first[-1:]
    assert len(run(script, file, "2026-11-21")) == 4


# -- the orders, by hand ------------------------------------------------------------------------


@contextmanager
def process(*words: str | Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """One that says a line when it is ready."""
    started = subprocess.Popen(
        [sys.executable, *(str(word) for word in words)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert started.stdout is not None
    try:
        assert started.stdout.readline()
        yield started
    finally:
        started.terminate()
        started.communicate(timeout=30)


@pytest.mark.slow
def test_the_orders_by_hand_are_charged_exactly_once() -> None:
    orders = EXAMPLES / "orders"
    events = orders / "events.ndjson"
    greenroom = ("-m", "greenroom.runtime.main")
    with tempfile.TemporaryDirectory(prefix="ge", dir="/tmp") as name:
        folder = Path(name)
        bank, data = folder / "bank.sock", folder / "data"
        serve = (*greenroom, "serve", "--data", data, orders / "orders.py")
        with (
            process(orders / "bank.py", bank, folder / "bank.ndjson"),
            process(*serve, BANK=str(bank)),
        ):
            for _ in range(2):
                said = run(*greenroom, "post", "--data", data, "-o", "jsonl", "-d", f"@{events}")
                assert len(said) == 420
            _until_completed(data, 180)
        counted = run(orders / "count.py", events, folder / "bank.ndjson")
        found = json.loads(counted[0])
        assert (found["owed"], found["lost"], found["doubled"]) == (540, [], [])


def _until_completed(data: Path, number: int) -> None:
    with SyncClient(data=data) as client:
        until = time.monotonic() + 40
        while client.info().instances.get("completed", 0) < number:
            assert time.monotonic() < until, client.info().instances
            time.sleep(0.1)


# -- onboarding ---------------------------------------------------------------------------------


class Mails:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send_message(self, to: Any, message: str) -> None:
        self.sent.append((to.name, message))


@pytest.mark.parametrize("fine", [True, False])
async def test_somebody_joins_and_two_look_at_the_contract(fine: bool) -> None:
    mails = Mails()
    with provide(email=mails):
        async with TestEngine(f"{EXAMPLES}/onboarding/") as engine:
            pages = [
                {"full_name": "Ann Ames"}, {"your_e_mail": "ann@home.org"},
                {"team": "finance", "first_day": "2026-02-02"},
            ]  # fmt: skip
            started = await engine.start("onboarding", form=pages)
            await engine.until_idle()
            asks = (await engine.asks.list()).items
            assert {ask.assignee for ask in asks} == {"mark@company.com", "kiara@company.com"}
            assert [who for who, _ in mails.sent] == [ask.assignee for ask in asks] or len(
                mails.sent
            ) == 2
            await engine.advance("6d")
            assert {ask.assignee for ask in (await engine.asks.list()).items} == {"team:leads"}
            for ask in (await engine.asks.list()).items:
                remark = [] if fine else [{"what_is_wrong_with_it": "the date"}]
                await engine.answer(ask.id, [{"it_is_fine": fine}, *remark], by="grace@company.com")
            await engine.until_idle()
            found = await engine.get(started.id)
            assert found.status == "completed" and found.result["approved"] is fine
            assert found.state["title"] == "Ann Ames joins finance"
            who, text = mails.sent[-1]
            assert who == "ann@home.org" and text.startswith("Welcome!") is fine
            reports = [line for line in (await engine.stages.logs("onboarding"))["items"]
                       if line["stage"] == "weekly-report"]  # fmt: skip
            assert len(reports) == 1


async def test_hr_invites_somebody_over_the_hook() -> None:
    async with TestEngine(f"{EXAMPLES}/onboarding/") as engine:
        key = (await engine.keys.create("hr", ["start:onboarding"])).key
        headers = {"x-api-key": key}
        _, handler, _ = engine.hooks.find("invited")
        for body, status in ((b'{"name": "Ann"}', 201), (b"{}", 422)):
            asked = HookRequest("POST", "invited", "", headers, {}, body)
            assert (await engine.hooks.answer(handler, asked)).status == status
        await engine.until_idle()
        (ask,) = (await engine.asks.list()).items
        assert ask.schema["properties"]["full_name"]["default"] == "Ann"
