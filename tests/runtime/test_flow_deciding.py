"""Who decides a request: attempts to decide one's own, to count twice, and to be somebody else.

Each of these was tried against a daemon with keys of different people before it was a test.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from greenroom import (
    ApprovalTemplate,
    Flow,
    InvalidRequest,
    NotPermitted,
    hook,
    reducer,
)
from greenroom.integrations import provide, slack
from greenroom.testing import TestEngine
from tests.runtime.web.conftest import QUICK

NAMES = itertools.count()


class Outlet:
    def deliver(self, to: Any, notice: Any) -> None: ...

    def send_message(self, to: Any, message: str) -> None: ...


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    with provide(slack=Outlet()):
        async with TestEngine() as made:
            yield made


@reducer
def get_approvers(event: Any) -> Any:
    return slack.group(["bob", "cat", "dan"])


async def begun(
    engine: TestEngine, by: str = "ann", rule: Any = get_approvers, **options: Any
) -> str:
    flow = Flow(
        f"who {next(NAMES)}", template=ApprovalTemplate, targets=["db"],
        handlers=rule if isinstance(rule, list) else [rule],
        **{"roles": {"admin": ["ann", "root"]}, **options},
    )  # fmt: skip
    engine.register(flow)
    handle = await engine.start(flow.name, {"target": "db"}, by=by)
    await engine.until_idle()
    return str(handle.id)


async def say(engine: TestEngine, id: str, by: str, **data: Any) -> Any:
    await engine.answer(f"{id}.approval", data or {"approved": True}, by=by)
    await engine.until_idle()
    return await engine.get(id)


async def refused(engine: TestEngine, id: str, by: str, why: str, **data: Any) -> None:
    before = len((await engine.history(id)).items)
    with pytest.raises(NotPermitted, match=why):
        await engine.answer(f"{id}.approval", data or {"approved": True}, by=by)
    assert len((await engine.history(id)).items) == before


# -- one's own request ---------------------------------------------------------------------------


async def test_an_admin_does_not_decide_their_own_request_in_the_name_of_another(
    engine: TestEngine,
) -> None:
    id = await begun(engine, by="key:k1/ann")
    await refused(engine, id, "key:k1/ann", "ann asked for this")
    await refused(engine, id, "bob via key:k1/ann", "ann asked for this")
    with pytest.raises(NotPermitted, match="ann asked for this"):
        await engine.send(id, {"type": "approve"}, by="bob via key:k1/ann")
    assert (await say(engine, id, "bob via key:k2/root")).outcome == "ok"


async def test_whoever_asked_is_nobodys_stand_in(engine: TestEngine) -> None:
    id = await begun(engine)
    await refused(engine, id, "bob", "ann asked for this", delegate="ann")
    await refused(engine, id, "ann", "ann asked for this", delegate="eve")


@pytest.mark.parametrize("way", ["edit", "fork", "restart"])
async def test_who_may_steer_does_not_change_what_was_asked_for_and_decided(
    engine: TestEngine, way: str
) -> None:
    """Else whoever holds the scope `control` gives themselves the permission."""
    id = await begun(engine)
    with pytest.raises(InvalidRequest, match="cannot be changed"):
        if way == "edit":
            await engine.edit(id, {"permission": {"level": "all_users", "allow_self": True}})
        elif way == "fork":
            state = (await engine.get(id)).state
            await engine.fork(id, input={**state, "user": "eve"})
        else:  # access that has ended would begin again, with the approvals of then
            await engine.restart(id, from_op="approval")
    assert (await engine.get(id)).state["permission"] == {"routed": True}


@pytest.mark.parametrize("name", ["get_approvers", "on_request", "on_approve"])
async def test_who_may_steer_does_not_say_what_a_handler_that_decides_has_given(
    engine: TestEngine, name: str
) -> None:
    """A handler may fail because a service is down; that makes nobody an approver."""
    down = [True]

    def handle(event: Any) -> Any:
        if down[0]:
            raise ConnectionError("down")
        return slack.user("bob") if name.startswith("get_") else None

    handle.__name__ = name
    id = await begun(engine, rule=[(reducer if name.startswith("get_") else hook)(handle),
                                   *([] if name.startswith("get_") else [get_approvers])])  # fmt: skip
    if name == "on_approve":
        await say(engine, id, "bob")
    assert (await engine.get(id)).status == "failed"
    for output in (
        {"event": "approve", "values": {}},
        {"stages": [[{"service": "slack", "kind": "user", "name": "ann"}]]},
    ):
        with pytest.raises(InvalidRequest, match="cannot be given by hand"):
            await engine.skip(id, f"{name}#1", output)
    down[0] = False
    await engine.resume(id)
    await engine.until_idle()
    assert (await engine.get(id)).status != "failed"


async def test_what_decides_nothing_is_skipped(engine: TestEngine) -> None:
    class Strategy:
        def escalate(self, target: Any, event: Any) -> None:
            raise ConnectionError("down")

        def deescalate(self, target: Any, event: Any) -> None: ...

    id = await begun(engine, strategy=Strategy, duration="1h")
    assert (await say(engine, id, "bob")).status == "failed"
    await engine.skip(id, "strategy.escalate#1", {"by": "hand"})
    await engine.until_idle()
    assert (await engine.get(id)).state["outputs"]["escalate"] == {"by": "hand"}


# -- counting twice --------------------------------------------------------------------------------


async def test_a_vote_that_was_handed_on_counts_once(engine: TestEngine) -> None:
    id = await begun(engine, needs=2)
    await say(engine, id, "bob", delegate="eve")
    await say(engine, id, "bob", delegate="max")
    assert (await say(engine, id, "bob")).status == "waiting"
    for stand_in in ("eve", "max"):
        await refused(engine, id, stand_in, "approved this before")
    assert (await say(engine, id, "cat")).outcome == "ok"


async def test_of_two_stand_ins_for_one_person_one_counts(engine: TestEngine) -> None:
    id = await begun(engine, needs=2)
    await say(engine, id, "bob", delegate="eve")
    await say(engine, id, "bob", delegate="max")
    await say(engine, id, "eve")
    await refused(engine, id, "max", "approved this before")
    await refused(engine, id, "bob", "approved this before")
    found = await say(engine, id, "dan")
    assert found.outcome == "ok"
    assert found.state["votes"] == [
        {"actor": "eve", "authority": "bob", "hand": "eve"},
        {"actor": "dan", "authority": "dan", "hand": "dan"},
    ]


async def test_a_stand_in_for_two_has_one_vote(engine: TestEngine) -> None:
    id = await begun(engine, needs=2)
    await say(engine, id, "bob", delegate="eve")
    await say(engine, id, "cat", delegate="eve")
    assert (await say(engine, id, "eve")).status == "waiting"
    await refused(engine, id, "eve", "approved this before")
    assert (await say(engine, id, "cat")).outcome == "ok"


async def test_a_stand_in_hands_on_what_they_were_handed(engine: TestEngine) -> None:
    id = await begun(engine)
    await say(engine, id, "bob", delegate="eve")
    found = await say(engine, id, "eve", delegate="max")
    assert found.state["delegates"] == {"eve": ["bob"], "max": ["bob"]}
    assert (await say(engine, id, "max")).result["actors"]["approve"] == "max"


async def test_whoever_speaks_for_others_has_one_hand(engine: TestEngine) -> None:
    """The owner of the daemon is believed: they could write its store."""
    id = await begun(engine, by="max", needs=2)
    assert (await say(engine, id, "bob via key:k/root")).status == "waiting"
    await refused(engine, id, "cat via key:k/root", "approved this before")
    await refused(engine, id, "key:k/root", "approved this before")
    await refused(engine, id, "key:b/bob", "approved this before")
    assert (await say(engine, id, "key:c/cat")).outcome == "ok"

    id = await begun(engine, by="max", needs=2)
    await say(engine, id, "bob via uid:1000/root")
    assert (await say(engine, id, "cat via uid:1000/root")).outcome == "ok"


async def test_all_means_each_of_them_or_their_stand_in(engine: TestEngine) -> None:
    """An admin may deny, but is not one of those who were asked."""
    id = await begun(engine, needs="all")
    await say(engine, id, "root")
    await say(engine, id, "bob")
    await say(engine, id, "cat", delegate="dan")
    assert (await say(engine, id, "dan")).outcome == "ok"

    id = await begun(engine, needs="all")
    for who in ("root", "bob"):
        await say(engine, id, who)
    assert (await say(engine, id, "cat")).status == "waiting"
    assert (await say(engine, id, "dan")).outcome == "ok"


async def test_a_vote_that_was_given_twice_at_once_counts_once(engine: TestEngine) -> None:
    """Both were let through before either was looked at."""
    id = await begun(engine, needs=2)
    await engine.send(id, {"type": "approve"}, by="bob")
    await engine.send(id, {"type": "approve", "id": "again"}, by="cat via uid:1/x")
    await engine.until_idle()
    assert (await engine.get(id)).outcome == "ok"
    id = await begun(engine, needs=2)
    await engine.pause(id)
    for n in range(3):
        await engine.send(id, {"type": "approve", "id": f"{id}{n}"}, by="bob")
    await engine.resume(id)
    await engine.until_idle()
    found = await engine.get(id)
    assert [vote["actor"] for vote in found.state["votes"]] == ["bob"]


# -- being somebody else ---------------------------------------------------------------------------


async def test_where_an_answer_came_from_is_not_for_whoever_answers_to_say(
    engine: TestEngine,
) -> None:
    seen: list[Any] = []

    def on_approve(event: Any) -> None:
        seen.append((event.channel.type, event.channel.identifier))

    flow = Flow(
        f"who {next(NAMES)}", template=ApprovalTemplate, targets=["db"],
        handlers=[get_approvers, hook(on_approve)],
    )  # fmt: skip
    engine.register(flow)
    for by in ("key:k/bob", "slack:U1/bob"):
        handle = await engine.start(flow.name, {"target": "db"}, by="ann")
        await engine.until_idle()
        where = {"type": "slack", "identifier": "ops"}
        await say(engine, handle.id, by, approved=True, channel=where)
    assert seen == [("api", "key:k/bob"), ("slack", "ops")]


async def test_the_same_over_http_with_keys_of_different_people(engine: TestEngine) -> None:
    id = await begun(engine, by="key:x/ann", needs=2)
    transport = httpx2.ASGITransport(engine.asgi(limits=QUICK), client=("127.0.0.1", 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        keys = {}
        for name in ("ann", "bob", "cat", "eve", "root"):
            made = await engine.keys.create(name, ["answer", "control"])
            keys[name] = {"Authorization": f"Bearer {made.key}"}

        async def answers(who: str, query: str = "") -> int:
            found = await http.post(
                f"/v1/asks/{id}.approval{query}", json={"approved": True}, headers=keys[who]
            )
            await engine.until_idle()
            return int(found.status_code)

        assert await answers("eve") == await answers("eve", "?by=bob") == 403
        assert await answers("ann") == await answers("ann", "?by=bob") == 403
        changed = await http.post(
            f"/v1/instances/{id}/edit", json={"set": {"votes": []}}, headers=keys["ann"]
        )
        assert changed.json()["code"] == "invalid_request"
        assert await answers("root", "?by=bob") == 200
        assert await answers("root", "?by=cat") == await answers("bob") == 403
        assert await answers("cat") == 200
    assert (await engine.get(id)).outcome == "ok"
