"""The timer actor: what is in memory, and what happens when the clock is set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenroom.actors import timer as timers
from greenroom.actors.agenda import Item
from greenroom.actors.ports import Due, DueTimers
from greenroom.actors.timer import HORIZON_MS, Timer

HOUR = 3_600_000


class Booked:
    def __init__(self, due: int, then: Callable[[], None]) -> None:
        self.due = due
        self.then = then
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """A clock, a due list like the store's, and what has fired."""

    def __init__(self) -> None:
        self.time = 0
        self.rows: dict[tuple[int, str], int] = {}
        self.fired: list[Item] = []
        self.booked: list[Booked] = []
        self.held_most = 0
        self.timer = Timer(self, self)

    # -- clock and stage

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    def call_at(self, due: int, then: Callable[[], None]) -> Booked:
        self.booked.append(Booked(due, then))
        return self.booked[-1]

    def call_later(self, delay_ms: int, then: Callable[[], None]) -> Booked:
        return self.call_at(self.time + delay_ms, then)

    def submit(self, work: Any, done: Any) -> None:
        assert isinstance(work, DueTimers)
        after = work.after or (-1, 0, "")
        rows = sorted((due, n, op) for (n, op), due in self.rows.items())
        found = [row for row in rows if row[0] <= work.until and row > after]
        done([Due(*row) for row in found[: work.limit]])

    def due(self, items: list[Item]) -> None:
        self.held_most = max(self.held_most, len(self.timer.agenda) + len(items))
        for due, n, op in items:
            if self.rows.get((n, op)) == due:
                del self.rows[n, op]
                self.fired.append((due, n, op))

    def component_crashed(self, name: str, error: Exception) -> None:
        raise error

    # -- driving

    def set_timer(self, due: int, n: int) -> None:
        self.rows[n, "1"] = due
        self.timer.arm(due, n, "1")

    def at(self, time: int) -> None:
        """Sets the clock, forward or back, and makes the calls that are due."""
        self.time = time
        for _ in range(100_000):
            ready = [one for one in self.booked if not one.cancelled and one.due <= self.time]
            if not ready:
                return
            first = min(ready, key=lambda one: one.due)
            self.booked.remove(first)
            first.then()
        raise AssertionError("the timer never rests")


@pytest.fixture
def world() -> World:
    return World()


def test_only_the_near_future_is_in_memory(world: World) -> None:
    for n in range(5_000):
        world.rows[n, "1"] = n * HOUR // 100
    world.timer.start()
    assert len(world.timer.agenda) <= HORIZON_MS // (HOUR // 100) + 1
    for time in range(0, 20 * HOUR, HOUR // 7):
        world.at(time)
    assert len(world.fired) == sum(due <= world.time for due in range(0, 50 * HOUR, HOUR // 100))
    assert world.fired == sorted(world.fired)
    assert len(world.timer.agenda) < 10


def test_a_far_timer_that_is_set_while_pages_are_read_is_not_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "PAGE", 10)
    monkeypatch.setattr(timers, "HELD_MAX", 20)
    for n in range(100):
        world.rows[n, "1"] = 1_000
    world.timer.start()
    assert world.timer.reading
    assert len(world.timer.agenda) == 20
    world.set_timer(50 * HOUR, 1_000)
    world.set_timer(2_000, 1_001)
    assert len(world.timer.agenda) == 21
    world.at(1_000)
    assert len(world.fired) == 100
    world.at(2_000)
    world.at(50 * HOUR)
    assert {n for _, n, _ in world.fired} >= {1_000, 1_001}


@pytest.mark.parametrize("jump", [HOUR, 24 * HOUR, 3_650 * 24 * HOUR])
def test_a_clock_set_forward_fires_everything_once_and_holds_little(
    world: World, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    monkeypatch.setattr(timers, "PAGE", 50)
    monkeypatch.setattr(timers, "HELD_MAX", 100)
    monkeypatch.setattr(timers, "FIRE_MAX", 25)
    world.timer.start()
    for n in range(2_000):
        world.set_timer(1_000 + n * jump // 2_000, n)
    world.at(1_000 + jump)
    assert sorted(n for _, n, _ in world.fired) == list(range(2_000))
    assert world.held_most <= 100 + 50


def test_a_clock_set_back_makes_nothing_early(world: World) -> None:
    world.at(10 * HOUR)
    world.timer.start()
    for n in range(10):
        world.set_timer(10 * HOUR + n * 1_000, n)
    world.at(10 * HOUR + 4_000)
    assert len(world.fired) == 5
    world.at(HOUR)
    world.set_timer(HOUR + 500, 99)
    world.at(HOUR + 500)
    assert world.fired[-1][1] == 99
    assert len(world.fired) == 6
    world.at(11 * HOUR)
    assert len(world.fired) == 11
