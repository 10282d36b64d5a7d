"""A verb for many instances: what it reaches, what it says, on both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import State, begin, done, retrystep, step, wait, workflow
from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime import calls, many
from greenroom.runtime.failures import failures_of, grouped
from greenroom.testing import TestEngine

FIXED: set[int] = set()


@step
async def price(n: int) -> int:
    if n not in FIXED:
        raise ValueError(f"row {n} has no price")
    return n


@step
async def name(n: int) -> int:
    raise ValueError(f"row {n} has no name")


@workflow(key="::data.n")
async def importer(n: int, named: bool = True) -> None:
    await (price(n=n) if named else name(n=n))


@retrystep("Charge card", delay="1h", jitter=0)
async def charge(order_id: str) -> State:
    raise ConnectionError(f"bank of {order_id} does not answer")


@workflow(key="::data.order_id")
def charging() -> Any:
    return begin >> charge >> done


@workflow(key="::data.id")
async def ready(id: str) -> None:
    await wait("go.on")


@pytest.fixture
async def engine() -> AsyncIterator[TestEngine]:
    FIXED.clear()
    async with TestEngine(importer, charging, ready) as made:
        for n in range(3):
            await made.start("importer", {"n": n})
        await made.start("importer", {"n": 9, "named": False})
        await made.start("charging", {"order_id": "7"})
        await made.start("ready", {"id": "a"})
        await made.until_idle()
        yield made


async def test_failures_that_are_one_are_taken_by_their_message(engine: TestEngine) -> None:
    FIXED.update(range(10))
    found = await engine.many("retry", q="workflow:importer", like="row 7 has no price")
    await engine.until_idle()
    assert (found.found, found.done, found.refused, found.more) == (3, 3, [], False)
    assert (await engine.list("status:completed")).total == 3
    assert (await engine.list("status:failed")).total == 1


async def test_a_dry_run_says_how_many_of_what_and_touches_nothing(engine: TestEngine) -> None:
    found = await engine.many("cancel", q="", dry_run=True)
    assert (found.found, found.done, found.dry_run) == (6, 0, True)
    assert {(one.workflow, one.status): one.instances for one in found.kinds} == {
        ("importer", "failed"): 4, ("charging", "waiting"): 1, ("ready", "waiting"): 1,
    }  # fmt: skip
    assert len(found.first) == 6 and (await engine.list("status:cancelled")).total == 0


async def test_a_filter_without_a_status_is_narrowed_to_those_a_verb_is_meant_for(
    engine: TestEngine,
) -> None:
    assert (await engine.many("retry", q="", dry_run=True)).found == 4
    assert (await engine.many("pause", q="", dry_run=True)).found == 2
    assert (await engine.many("resume", q="", dry_run=True)).found == 0
    wanted = "status:waiting wait:retry"
    assert (await engine.many("retry", q=wanted, dry_run=True)).found == 1


async def test_refusals_are_counted_by_what_they_say_and_the_others_done(
    engine: TestEngine,
) -> None:
    ids = [one.id for one in (await engine.list()).items]
    found = await engine.many("pause", instances=[*ids, "nobody-is-called-so"], reason="audit")
    assert (found.found, found.done) == (6, 2)
    assert sum(one.instances for one in found.refused) == 5
    entries = (await engine.history("ready/a")).items
    assert entries[-1].data == {"reason": "audit"}


@pytest.mark.parametrize(
    "given",
    [{"verb": "delete", "q": ""}, {"verb": "pause"}, {"verb": "pause", "q": "", "instances": []},
     {"verb": "pause", "q": "status:waitin"}, {"verb": "pause", "q": "", "like": 7}],
)  # fmt: skip
async def test_what_is_asked_wrongly_is_refused(engine: TestEngine, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        await calls.run(engine, "many", given, None)


async def test_it_reaches_no_more_than_it_says(
    engine: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MANY_MAX", 2)
    found = await engine.many("cancel", q="workflow:importer")
    assert (found.found, found.done, found.more) == (2, 2, True)


async def test_groups_have_a_filter_and_a_message_that_find_them_again(engine: TestEngine) -> None:
    groups = grouped((await engine.list()).items)
    assert [(one.q, len(one.instances), one.due is not None) for one in groups] == [
        ("status:failed workflow:importer step:1", 3, False),
        ('status:waiting workflow:charging step:"Charge card"', 1, True),
        ("status:failed workflow:importer step:1", 1, False),
    ]
    for one in groups:
        again = await engine.many("cancel", q=one.q, like=one.message, dry_run=True)
        assert again.found == len(one.instances)
    assert all(failures_of(one) for group in groups for one in group.instances)
