"""Requests under random clicks, events, time and crashes keep what was promised."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

from greenroom import ApprovalTemplate, Flow, Rejected, hook, reducer
from greenroom.integrations import provide, slack
from greenroom.testing import TestEngine

GIVEN: list[str] = []


@reducer
def get_approvers(event: Any) -> Any:
    return slack.fallback(
        slack.group(["bob", "cat"], timeout="10m"), slack.channel("#ops", timeout="30m"),
        continue_on_timeout=True,
    )  # fmt: skip


@hook
def on_approve(event: Any) -> Any:
    return ApprovalTemplate.ignore("ask again") if event.payload.reason == "ignore" else None


@hook
def after_deescalate(event: Any) -> None:
    slack.send_message(slack.channel("#log"), "over")


class Strategy:
    """Both verbs may run twice: what is given is a set."""

    def escalate(self, target: Any, event: Any) -> None:
        GIVEN.append(event.run.id)

    def deescalate(self, target: Any, event: Any) -> None:
        while event.run.id in GIVEN:
            GIVEN.remove(event.run.id)


FLOW = Flow(
    "access", template=ApprovalTemplate, strategy=Strategy, duration="20m", reminders=["5m"],
    handlers=[get_approvers, on_approve, after_deescalate], needs=2,
)  # fmt: skip


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.torn = False
        """A crash came while handlers ran: a call that was made and not recorded is made again."""

    def deliver(self, to: Any, notice: dict[str, Any]) -> None:
        self.lines.append(f"{to} {notice.get('reminder', 0)}")

    def send_message(self, to: Any, message: str) -> None:
        self.lines.append(message)


async def once(engine: TestEngine, id: str, chance: random.Random, told: Told) -> None:
    who = chance.choice(["ann", "bob", "cat", "dan"])
    reason = chance.choice(["fine", "ignore"])
    match chance.randrange(8):
        case 0 | 1:
            await engine.answer(f"{id}.approval", {"approved": True, "reason": reason}, by=who)
        case 2:
            await engine.answer(f"{id}.approval", {"approved": False}, by=who)
        case 3:
            event = chance.choice(["approve", "deny", "deescalate"])
            await engine.send(id, {"type": event, "data": {"reason": reason}}, by=who)
        case 4:
            await engine.advance(chance.choice(["1m", "10m", "21m"]))
        case 5:
            if chance.random() < 0.5:
                await engine.until_idle()
            elif not engine._idle():
                told.torn = True
            await engine.crash()
        case 6:
            await (engine.pause(id) if chance.random() < 0.5 else engine.resume(id))
        case _:
            await engine.answer(f"{id}.approval", {"delegate": "dan"}, by=who)


@pytest.mark.parametrize("seed", range(20))
async def test_a_request_ends_once_and_nothing_is_left_given(seed: int) -> None:
    chance = random.Random(seed)
    GIVEN.clear()
    told = Told()
    with provide(slack=told):
        async with TestEngine(FLOW) as engine:
            id = (await engine.start("access", by="ann")).id
            for _ in range(14):
                with suppress(Rejected):
                    await once(engine, id, chance, told)
                if chance.random() < 0.6:
                    await engine.until_idle()
            with suppress(Rejected):
                await engine.resume(id)
            await engine.advance("2h")
            found = await engine.get(id)
            assert found.status == "completed", (seed, found.error, found.waits)
            done = [line["event"] for line in found.state["audit"] if line["result"] == "done"]
            done = [event for event in done if event not in ("remind", "delegate")]
            decided = {"approve", "deny", "request_expire"} & set(done)
            assert len(decided) == 1, (seed, done)
            assert len(done) == len(set(done)), (seed, done)
            outcome = {"approve": "ok", "deny": "denied", "request_expire": "expired"}
            assert found.outcome == outcome[decided.pop()], seed
            assert ("escalate" in done) == ("deescalate" in done), (seed, done)
            assert found.state["actors"].get("approve") != "ann"
    assert GIVEN == [], seed
    assert told.torn or len(told.lines) == len(set(told.lines)), (seed, told.lines)
