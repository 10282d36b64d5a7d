"""Stored events used again: explained as of their time, tried, replayed, redriven."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenroom import InvalidRequest, NotFound, wait, workflow
from greenroom.actors import ports
from tests.runtime.kits import FileEngine, MemoryEngine


def order(where: Any, version: int | None = None) -> Any:
    @workflow(name="order", on="order.created", where=where, key="::data.id", version=version)
    async def run(id: str) -> str:
        event = await wait("paid", where={"data.id": id}, timeout="1d")
        return "paid" if event else "late"

    return run


@workflow(on="order.created", where="data.total > `5`", transform="::data.missing.items")
async def other() -> str:
    return "other"


@workflow(name="later", on="order.created", where={"data.country": "FR"}, key="::data.id")
async def later(id: str) -> str:
    return id


@pytest.fixture(params=["memory", "sqlite"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryEngine]:
    workflows = [order("data.country == 'FR'"), other]
    if request.param == "memory":
        made: MemoryEngine = MemoryEngine(*workflows)
    else:
        made = FileEngine(tmp_path / "app.db", *workflows)
    async with made as engine:
        yield engine


async def post(kit: MemoryEngine, type: str, event: str, **data: Any) -> Any:
    reply = await kit.post({"type": type, "id": event, "data": data})
    await kit.until_idle()
    return reply


# -- why and why not, as of then -----------------------------------------------------------------


async def test_a_past_event_is_explained_as_of_its_time(kit: MemoryEngine) -> None:
    await post(kit, "order.created", "e-1", id="1", country="FR", total=1)
    await post(kit, "order.created", "e-2", id="2", country="DE", total=1)
    await post(kit, "paid", "e-3", id="7")
    first = {id: (await kit.events.explain(id)).text for id in ("e-1", "e-2", "e-3")}
    assert "  started order/1" in first["e-1"]
    assert 'order v1: condition false · where[0]  ::data.country = "DE"  ==  "FR"' in first["e-2"]
    assert "other v1: condition false" in first["e-2"]
    assert 'order/1 waited at 1: condition false · where  ::data.id = "7"  ==  "1"' in first["e-3"]
    await kit.advance("2d")  # the wait has ended
    kit.change_code(order("data.country == 'DE'"), later)  # another condition; one gone, one new
    await kit.restart_engine()
    await post(kit, "order.created", "e-9", id="9", country="FR")
    for id, text in first.items():
        assert (await kit.events.explain(id)).text == text
    now = (await kit.events.explain("e-9")).text
    assert "order v2: condition false" in now
    assert "started later/9" in now
    assert "other" not in now


async def test_one_workflow_is_asked_for(kit: MemoryEngine) -> None:
    await post(kit, "order.created", "e-1", id="1", country="DE", total=9)
    why = await kit.events.explain("e-1", "order")
    assert [fact.data.get("workflow") for fact in why.facts[1:]] == ["order"]
    failed: Any = why.facts[1].data["finding"]
    assert (failed["seen"], failed["expected"]) == ("DE", "FR")
    strange = (await kit.events.explain("e-1", "odrer")).text
    assert 'there is no workflow odrer; did you mean "order"?' in strange or "order?" in strange
    await post(kit, "shipped", "e-2")
    assert (
        "order v1: listens to order.created, this is shipped"
        in (await kit.events.explain("e-2", "order")).text
    )
    assert "no workflow listens to shipped" in (await kit.events.explain("e-2")).text


async def test_a_disabled_workflow_listens_to_nothing_meanwhile(kit: MemoryEngine) -> None:
    await kit.definitions.disable("order")
    await kit.advance("1s")
    await post(kit, "order.created", "e-1", id="1", country="DE")
    await kit.definitions.enable("order")
    await kit.advance("1s")
    await post(kit, "order.created", "e-2", id="2", country="DE")
    off, on = [(await kit.events.explain(id, "order")).text for id in ("e-1", "e-2")]
    assert "listened to no event then" in off
    assert "order v1: condition false" in on


# -- what if -----------------------------------------------------------------------------------


async def test_subscriptions_are_tried_on_stored_events_without_effect(kit: MemoryEngine) -> None:
    for n in range(30):
        await kit.post({"type": "order.created", "data": {"id": str(n), "country": "DE", "n": n}})
    await kit.until_idle()
    before = (await kit.info()).head
    tried = await kit.events.try_(
        [
            {
                "workflow": "big",
                "on": "order.created",
                "where": "data.n >= `20`",
                "key": "::data.id",
            },
            {"on": "order.created", "where": {"data.country": "FR"}},
            {"on": "nothing.such"},
        ]
    )
    big, french, none = tried
    assert (big.workflow, big.looked_at, big.matched) == ("big", 30, 10)
    assert [one["key"] for one in big.first] == [str(n) for n in range(20, 30)]
    assert big.failed == [{"criterion": "where[0]  ::data.n >=", "events": 20}]
    assert (french.matched, french.failed[0]["events"]) == (0, 30)
    assert none.looked_at == 0
    assert (await kit.info()).head == before
    for wrong in ([], [{"where": "a"}], [{"on": "a", "were": "b"}]):
        with pytest.raises(InvalidRequest):
            await kit.events.try_(wrong)


# -- again -------------------------------------------------------------------------------------


async def test_stored_events_are_replayed_into_a_new_workflow_once(kit: MemoryEngine) -> None:
    for n in range(6):
        await post(kit, "order.created", f"e-{n}", id=str(n), country="FR" if n % 2 else "DE")
        await kit.advance("1h")
    kit.register(later)
    await kit.until_idle()
    await post(kit, "order.created", "e-live", id="live", country="FR")
    asked = await kit.events.replay("later", since="150m", dry_run=True)
    assert (asked.matched, asked.started, asked.known) == (2, 1, 1)
    made = await kit.events.replay("later", since="150m")
    assert (made.looked_at, made.matched, made.started, made.known) == (3, 2, 1, 1)
    whole = await kit.events.replay("later")
    assert (whole.matched, whole.started, whole.known) == (4, 2, 2)
    await kit.until_idle()
    again = await kit.events.replay("later", type="order.created")
    assert (again.started, again.known) == (0, 4)
    found = (await kit.list("workflow:later")).items
    assert sorted(one.key or "" for one in found) == ["1", "3", "5", "live"]
    assert {one.status for one in found} == {"completed"}
    assert len((await kit.list("workflow:order")).items) == 4  # nobody else heard of it


async def test_a_replay_needs_a_workflow_that_listens(kit: MemoryEngine) -> None:
    with pytest.raises(NotFound):
        await kit.events.replay("nobody")
    with pytest.raises(InvalidRequest, match=r"listens to order\.created"):
        await kit.events.replay("order", type="paid")
    with pytest.raises(InvalidRequest, match="since must be"):
        await kit.events.replay("order", since="soon")


# -- dead letters ------------------------------------------------------------------------------


async def test_dead_letters_are_delivered_when_there_is_room(
    kit: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "sqlite_route", "sqlite_match"):
        monkeypatch.setattr(f"greenroom.runtime.{module}.INBOX_MAX", 2)
    await post(kit, "order.created", "o-1", id="1", country="FR")
    (made,) = (await kit.list("workflow:order")).items
    for n in range(2):  # nothing waits for these: they stay
        await kit.send(made.id, {"type": "noise", "data": {"n": n}})
    refused = await post(kit, "paid", "p-1", id="1")
    assert [(m.action, m.code) for m in refused.matched] == [("refused", "inbox_full")]
    (letter,) = await kit.events.dead()
    assert (letter.instance, letter.key, letter.event, letter.reason) == (
        made.id, "1", "p-1", "inbox_full",
    )  # fmt: skip
    assert (await kit.events.redrive()).left == 1
    monkeypatch.setattr("greenroom.runtime.memory.INBOX_MAX", 10)
    monkeypatch.setattr("greenroom.runtime.sqlite_route.INBOX_MAX", 10)
    with pytest.raises(NotFound):
        await kit.events.redrive(pos=1)
    done = await kit.events.redrive(made.id)
    assert (done.delivered, done.dropped, done.left) == (1, 0, 0)
    await kit.until_idle()
    assert await kit.result(made.id) == "paid"
    assert await kit.events.dead() == []
    (match,) = await kit.journal.call(ports.EventMatches(letter.pos))
    assert (match.action, match.code) == ("delivered", None)
