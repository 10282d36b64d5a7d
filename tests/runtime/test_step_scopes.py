"""Groups, fans, callbacks and taking back, in an engine: over its verbs, and through crashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from greenroom import (
    AlreadyDecided,
    FormPage,
    InvalidInput,
    NoSuchAsk,
    NotPermitted,
    ask_step,
    begin,
    callback_step,
    conditional,
    done,
    foreach,
    inputstep,
    parallel,
    retrystep,
    step,
    step_group,
    workflow,
)
from tests.runtime.kits import FileEngine, MemoryEngine

RUNS: list[Any] = []
TOKENS: list[str] = []
FAIL: list[str] = []


def ran(name: str) -> None:
    RUNS.append(name)
    if name in FAIL:
        FAIL.remove(name)
        raise OSError(f"{name} is down")


@step("Reserve", compensate=lambda order: ran(f"release {order}"))
async def reserve(order: str) -> dict[str, Any]:
    ran("reserve")
    return {"reserved": order}


@step("Charge", compensate=lambda: ran("refund"))
async def charge() -> dict[str, Any]:
    ran("charge")
    return {"charged": True}


@retrystep("Ship", delay="10s", jitter=0, max_attempts=2)
async def ship() -> dict[str, Any]:
    ran("ship")
    return {"shipped": True}


@step("Label")
def label(item: str, index: int) -> dict[str, Any]:
    ran(f"label {item}")
    return {"label": f"{index}:{item}"}


@step("Order cable")
def order_cable(callback_route: str, callback_token: str) -> dict[str, Any]:
    ran("order")
    TOKENS.append(callback_token)
    assert callback_route == f"/callbacks/{callback_token}"
    return {"ordered": True}


@step("Check cable")
def check_cable(callback_result: dict[str, Any]) -> dict[str, Any]:
    ran("check")
    if not callback_result.get("ok"):
        raise ValueError("the cable is broken")
    return {"cable": callback_result["cable"]}


@inputstep("Approve", assignee="ann", enforce_assignee=True)
def approve(state: dict[str, Any]) -> Any:
    class First(FormPage):
        ok: bool

    class Second(FormPage):
        why: str

    first = yield First
    second = yield Second
    return {"ok": first.ok, "why": second.why}


@workflow
def saga() -> Any:
    return begin >> reserve >> charge >> ship >> done


@workflow
def fans() -> Any:
    return (
        begin
        >> step_group("Prepare", reserve)
        >> parallel("work", charge, ship >> ask_step("Sign off"))
        >> foreach("items", label, merge="list")
        >> done
    )


@workflow
def cable() -> Any:
    return begin >> callback_step("Cable", order_cable, check_cable, timeout="1h") >> done


@workflow
def asking() -> Any:
    return begin >> conditional(lambda s: True, once=True)(approve) >> done


WORKFLOWS = (saga, fans, cable, asking)


@pytest.fixture(params=["memory", "sqlite"])
async def engine(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[MemoryEngine]:
    for log in (RUNS, TOKENS, FAIL):
        log.clear()
    made = (
        MemoryEngine(*WORKFLOWS, teams={"finance": ["bo"]})
        if request.param == "memory"
        else FileEngine(tmp_path / "a.db", *WORKFLOWS, teams={"finance": ["bo"]})
    )
    async with made as opened:
        yield opened


async def test_a_failure_for_good_takes_back_in_reverse_order(engine: MemoryEngine) -> None:
    FAIL.extend(["ship", "ship"])
    made = await engine.start("saga", {"order": "o-1"})
    await engine.until_idle()
    assert (await engine.get(made.id)).status == "waiting", "it is tried again first"
    await engine.advance("10s")
    found = await engine.get(made.id)
    assert (found.status, found.outcome) == ("cancelled", "compensated")
    assert found.error is not None and "ship is down" in found.error.message
    assert RUNS == ["reserve", "charge", "ship", "ship", "refund", "release o-1"]
    last = (await engine.history(made.id)).items[-1]
    assert last.kind == "InstanceCancelled"
    assert last.data is not None and last.data["error"]["message"] == "ship is down"


async def test_cancel_takes_back(engine: MemoryEngine) -> None:
    FAIL.append("ship")
    made = await engine.start("saga", {"order": "o-1"})
    await engine.until_idle()
    await engine.cancel(made.id, reason="no stock")
    await engine.until_idle()
    assert (await engine.get(made.id)).status == "cancelled"
    assert RUNS == ["reserve", "charge", "ship", "refund", "release o-1"]


async def test_a_crash_in_the_middle_of_taking_back_goes_on_with_it(engine: MemoryEngine) -> None:
    FAIL.extend(["ship", "release o-1"])
    made = await engine.start("saga", {"order": "o-1"})
    await engine.until_idle()
    await engine.cancel(made.id)
    await engine.until_idle()
    assert (await engine.get(made.id)).status == "failed", "taking back has failed"
    await engine.crash()
    await engine.resume(made.id)
    await engine.until_idle()
    assert (await engine.get(made.id)).status == "cancelled"
    assert RUNS.count("refund") == 1
    assert RUNS.count("release o-1") == 2


async def test_branches_and_items_end_in_one_state(engine: MemoryEngine) -> None:
    made = await engine.start("fans", {"order": "o-1", "items": ["a", "b"]})
    await engine.until_idle()
    found = await engine.get(made.id)
    assert [wait.kind for wait in found.waits] == ["approval"]
    await engine.crash()
    (ask,) = (await engine.asks.list()).items
    assert ask.op == "work.sign_off"
    await engine.answer(ask.id, {"approved": True})
    await engine.until_idle()
    found = await engine.get(made.id)
    assert found.status == "completed"
    assert found.state["work"] == {
        "0": {"charged": True},
        "1": {"shipped": True, "sign_off": {"approved": True}},
    }
    assert found.state["items_results"] == [{"label": "0:a"}, {"label": "1:b"}]


async def test_a_callback_over_its_token(engine: MemoryEngine) -> None:
    made = await engine.start("cable", {})
    await engine.until_idle()
    (token,) = TOKENS
    await engine.progress(token, {"percent": 40})
    await engine.progress(token, {"percent": 80})
    (ask,) = (await engine.asks.list()).items
    shown = await engine.asks.get(ask.id)
    assert shown.progress is not None and shown.progress["data"] == {"percent": 80}
    await engine.crash()
    assert (await engine.asks.get(ask.id)).progress == shown.progress
    reply = await engine.answer(token, {"ok": True, "cable": "c-7"})
    assert reply.instance == made.id
    await engine.until_idle()
    found = await engine.get(made.id)
    assert found.status == "completed"
    assert found.state["cable"] == "c-7"
    assert "progress" not in found.state
    with pytest.raises(AlreadyDecided):
        await engine.answer(token, {"ok": True, "cable": "again"})
    with pytest.raises(AlreadyDecided):
        await engine.progress(token, {"percent": 100})


async def test_a_callback_says_when_it_times_out(engine: MemoryEngine) -> None:
    made = await engine.start("cable", {})
    await engine.until_idle()
    due = "2026-01-01T01:00:00.000Z"
    (wait,) = (await engine.get(made.id)).waits
    assert (wait.kind, wait.due) == ("callback", due)
    assert [one.due for one in (await engine.asks.list()).items] == [due]
    why = (await engine.why(made.id)).text
    assert f"due in 1 h ({due})" in why and "sleeps" not in why
    await engine.crash()
    assert (await engine.asks.get(wait.ask)).due == due


async def test_the_token_stands_nowhere(engine: MemoryEngine) -> None:
    made = await engine.start("cable", {})
    await engine.until_idle()
    (token,) = TOKENS
    shown = [
        await engine.get(made.id),
        await engine.history(made.id),
        await engine.why(made.id),
        await engine.asks.list(),
        await engine.list(),
    ]
    for one in shown:
        assert token not in msgspec.json.encode(one).decode()
        assert token[22:60] not in msgspec.json.encode(one).decode()
    if isinstance(engine, FileEngine):
        for path in engine.path.parent.iterdir():
            assert token.encode() not in path.read_bytes()


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
async def test_the_body_of_a_callback_is_an_object(engine: MemoryEngine, body: Any) -> None:
    await engine.start("cable", {})
    await engine.until_idle()
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        await engine.answer(TOKENS[0], body)


async def test_a_wrong_token_finds_nothing(engine: MemoryEngine) -> None:
    await engine.start("cable", {})
    await engine.until_idle()
    token = TOKENS[0]
    for wrong in (token[:-4] + "AAAA", "A" * 64, token[::-1]):
        with pytest.raises(NoSuchAsk):
            await engine.answer(wrong, {"ok": True})


async def test_a_timed_out_callback_is_tried_again_with_another_token(
    engine: MemoryEngine,
) -> None:
    made = await engine.start("cable", {})
    await engine.until_idle()
    await engine.advance("1h")
    found = await engine.get(made.id)
    assert found.status == "failed"
    assert found.error is not None and "callback timed out" in found.error.message
    await engine.resume(made.id)
    await engine.until_idle()
    first, second = TOKENS
    assert first != second
    with pytest.raises(NoSuchAsk):
        await engine.answer(first, {"ok": True, "cable": "late"})
    await engine.answer(second, {"ok": True, "cable": "c-2"})
    await engine.until_idle()
    assert (await engine.get(made.id)).state["cable"] == "c-2"


async def test_an_action_that_runs_again_after_a_crash_hands_out_the_same_token(
    engine: MemoryEngine,
) -> None:
    FAIL.append("order")
    made = await engine.start("cable", {})
    await engine.until_idle()
    assert (await engine.get(made.id)).status == "failed"
    await engine.crash()
    await engine.resume(made.id)
    await engine.until_idle()
    await engine.crash()
    await engine.answer(TOKENS[-1], {"ok": False})
    await engine.until_idle()
    found = await engine.get(made.id)
    assert found.error is not None and "the cable is broken" in found.error.message


async def test_two_callers_race_and_one_wins(engine: MemoryEngine) -> None:
    await engine.start("cable", {})
    await engine.until_idle()
    calls = [engine.answer(TOKENS[0], {"ok": True, "cable": n}) for n in range(5)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in results) == 1
    assert all(isinstance(one, AlreadyDecided | NoSuchAsk) for one in results[1:])


async def test_only_the_assignee_answers_where_that_is_enforced(engine: MemoryEngine) -> None:
    made = await engine.start("asking", {})
    await engine.until_idle()
    pages = [{"ok": True}, {"why": "fine"}]
    for stranger in (
        None, "bo", "ann via oidc:bo", "oidc:bo", "ann via key:k1/bo", "ann via uid:0/root via key:k1/bo",
    ):  # fmt: skip
        with pytest.raises(NotPermitted, match="'Approve' is for ann"):
            await engine.answer(f"{made.id}.approve", pages, by=stranger)
    await engine.answer(f"{made.id}.approve", pages, by="ann via uid:1000/bo")
    await engine.until_idle()
    assert (await engine.get(made.id)).state == {"ok": True, "why": "fine"}


async def test_a_draft_is_kept_until_the_answer(engine: MemoryEngine) -> None:
    made = await engine.start("asking", {})
    await engine.until_idle()
    ask = f"{made.id}.approve"
    await engine.asks.draft(ask, [{"ok": True}], by="ann")
    await engine.asks.draft(ask, {"ok": False}, by="bo")
    await engine.crash()
    assert (await engine.asks.get(ask, by="ann")).draft == [{"ok": True}]
    assert (await engine.asks.get(ask, by="bo")).draft == [{"ok": False}]
    assert (await engine.asks.get(ask)).draft is None
    await engine.asks.draft(ask, None, by="bo")
    assert (await engine.asks.get(ask, by="bo")).draft is None
    await engine.answer(ask, [{"ok": True}, {"why": "fine"}], by="ann")
    assert (await engine.asks.get(ask, by="ann")).draft is None
    with pytest.raises(AlreadyDecided):
        await engine.asks.draft(ask, [{"ok": True}], by="ann")
