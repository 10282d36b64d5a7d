"""What an item costs does not grow with how many there are: counted, not timed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenroom.actors.entries import Failure
from greenroom.actors.frames import UNDONE
from greenroom.actors.messages import Cancel, Offer, Outcome
from greenroom.actors.rows import status_change
from greenroom.actors.waits import FEW, Waits
from greenroom.definitions.declare import compile_definition
from greenroom.definitions.lent import Lent
from greenroom.definitions.ops import gather, wait
from greenroom.definitions.scopes import foreach
from greenroom.definitions.steps import begin, conditional, done, step
from tests.laws.rig import START, Rig

FEWER, MORE = 60, 480
TAKEN_BACK: list[int] = []


@step("work", compensate=lambda item: TAKEN_BACK.append(item))
def work(item: int) -> None: ...


@step("see to")
def see_to(item: int) -> None: ...


@step("last")
def last() -> None: ...


def flow(steps: Any, items: int) -> Rig:
    def flow() -> Any:
        return steps

    return Rig(compile_definition(flow), {"items": list(range(items))})


def finish(rig: Rig) -> None:
    for key in list(rig.progress.ops):
        rig.kernel.decide(Outcome(key, rig.progress.ops[key].attempt), START)
        status_change(rig.progress)


def calls(work: Callable[[], None]) -> int:
    """How many functions were called: the same in every run, on every machine."""
    count = 0

    def called(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def growth(made: Callable[[int], Callable[[], None]]) -> float:
    """Calls an item with many, to calls an item with few."""
    few, many = calls(made(FEWER)), calls(made(MORE))
    return (many / MORE) / (few / FEWER)


# -- lanes -------------------------------------------------------------------------------------


def test_a_lane_costs_the_same_beside_many() -> None:
    def made(items: int) -> Callable[[], None]:
        rig = flow(begin >> foreach("items", see_to) >> done, items)
        return lambda: finish(rig)

    assert growth(made) < 1.2


def test_a_condition_in_a_lane_does_not_copy_the_items_of_all_lanes() -> None:
    even = conditional(lambda state: state["item"] % 2 == 0)

    def made(items: int) -> Callable[[], None]:
        steps = begin >> last >> foreach("items", begin >> see_to >> even(begin >> work)) >> done
        rig = flow(steps, items)

        def run() -> None:
            for _ in range(3):
                finish(rig)
            assert rig.progress.end == "completed"

        return run

    assert growth(made) < 1.2


# -- taking back -------------------------------------------------------------------------------


class Counted(dict[str, Any]):
    """Counts the names it hands out."""

    handed = 0

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            Counted.handed += 1
            yield name

    def __reversed__(self) -> Iterator[str]:
        for name in super().__reversed__():
            Counted.handed += 1
            yield name


@pytest.mark.parametrize("ends", ["cancelled", "fails"])
def test_taking_back_one_of_many_looks_at_one(ends: str) -> None:
    rig = flow(begin >> foreach("items", work) >> last >> done, MORE)
    finish(rig)
    rig.progress.frames[UNDONE] = Counted(rig.progress.frames[UNDONE])
    Counted.handed = 0
    if ends == "cancelled":
        rig.kernel.decide(Cancel(), START)
    else:
        rig.kernel.decide(Outcome("last", 1, error=Failure("Oops", "no"), final=True), START)
    for number in reversed(range(MORE)):
        assert list(rig.progress.ops) == [f"undo:items[{number}].work"]
        finish(rig)
    assert rig.progress.end == "cancelled"
    assert Counted.handed <= 4 * MORE


# -- waits -------------------------------------------------------------------------------------


def event(id: int, type: str = "paid", **more: Any) -> dict[str, Any]:
    return {"type": type, "id": f"e-{id}", "source": "test", "data": {"id": id}, **more}


def offer(rig: Rig, iq: int, given: dict[str, Any]) -> str | None:
    """The op that takes an event."""
    entries = rig.kernel.decide(Offer(iq, START + 1, given, iq + 1_000), START + 1)
    return entries[0].takes if entries else None  # type: ignore[union-attr]


async def collect(count: int) -> None:
    await gather(*(wait("paid", where={"data.id": number}) for number in range(count)))


def waiting(count: int) -> Rig:
    return Rig(compile_definition(collect), {"count": count})


def test_an_event_meets_the_wait_it_is_for_and_not_all_of_them() -> None:
    def made(count: int) -> Callable[[], None]:
        rig = waiting(count)

        def run() -> None:
            for number in reversed(range(count)):
                assert offer(rig, number + 1, event(number)) == f"1.{number}"
            assert rig.progress.end == "completed"

        return run

    # the status of an instance with many waits is one pass over them
    assert growth(made) < 2.5


async def alike(count: int) -> None:
    """Waits with one key, with several, with a condition no index knows, and with none at all."""
    waits = [
        wait("paid", where={"data.id": 1}),
        wait("paid", where="data.id == `1` || data.id == `2`"),
        wait("paid", where="data.id > `0`"),
        wait("paid"),
        wait("Base", where={"data.id": 1}),
    ]
    others = [wait("paid", where={"data.id": -number - 1}) for number in range(count)]
    await gather(*waits, *others)


@pytest.mark.parametrize("others", [0, FEW])
def test_the_oldest_open_wait_takes_an_event_however_many_there_are(others: int) -> None:
    rig = Rig(compile_definition(alike), {"count": others})
    took = [offer(rig, iq, event(1)) for iq in range(1, 6)]
    assert took == ["1.0", "1.1", "1.2", "1.3", None]
    assert offer(rig, 6, event(1, "Derived", bases="Base")) == "1.4"
    assert (rig.kernel.waits is None) == (others == 0)


def test_what_an_event_finds_follows_from_the_open_ops() -> None:
    rig = waiting(FEW * 2)
    offer(rig, 1, event(3))
    known = rig.kernel.waits
    assert known is not None
    for number in range(FEW * 2):
        fresh = Waits(rig.progress.ops).meeting(event(number), rig.progress.ops)
        assert known.meeting(event(number), rig.progress.ops) == fresh
        assert fresh == ([] if number == 3 else [f"1.{number}"])


async def one_after_another(rounds: int) -> None:
    others = [wait("never", where={"data.id": number}) for number in range(FEW)]
    await gather(*others, rounds_of(rounds))


async def rounds_of(rounds: int) -> None:
    for number in range(rounds):
        await wait("paid", where={"data.id": number})


def test_waits_that_are_over_do_not_pile_up() -> None:
    rig = Rig(compile_definition(one_after_another), {"rounds": 500})
    for number in range(500):
        assert offer(rig, number + 1, event(number)) == f"1.{FEW}.{number + 1}"
        waits = rig.kernel.waits
        assert waits is not None and waits._count <= 4 * FEW + 10


# -- what is lent ------------------------------------------------------------------------------


def test_a_state_that_is_lent_reads_like_a_dict_and_nothing_done_to_it_stays() -> None:
    state = {"a": {"x": [1]}, "b": [{"y": 2}], "c": 3}
    plain = json.loads(json.dumps(state))
    for spoil in (
        lambda lent: lent["a"]["x"].append(2),
        lambda lent: lent.get("b")[0].clear(),
        lambda lent: [value.clear() for value in lent.values() if value != 3],
        lambda lent: [value.clear() for _, value in lent.items() if value != 3],
        lambda lent: dict(lent)["a"].clear(),
        lambda lent: {**lent}["a"].clear(),
        lambda lent: dict(**lent)["a"].clear(),
        lambda lent: (lent | {})["a"].clear(),
        lambda lent: ({} | lent)["a"].clear(),
        lambda lent: lent.copy()["a"].clear(),
        lambda lent: lent.pop("a").clear(),
        lambda lent: lent.setdefault("a", {}).clear(),
        lambda lent: [lent.popitem() for _ in range(2)][1][1][0].clear(),
        lambda lent: lent.update(a=1),
        lambda lent: lent.clear(),
    ):
        lent = Lent(state)
        assert lent == plain and json.loads(json.dumps(lent)) == plain
        spoil(lent)
        assert state == plain
    lent = Lent(state)
    assert lent["a"] is lent["a"], "what is changed in it is seen by who changed it"
    with pytest.raises(KeyError):
        lent["d"]
    assert lent.get("d", 5) == 5 and lent.setdefault("d", 6) == 6 and lent["d"] == 6
