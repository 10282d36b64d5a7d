"""Random works on both stores: each is the other's oracle."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from greenroom.actors import ports
from greenroom.definitions.errors import StaleResource
from greenroom.definitions.resources import Stored
from greenroom.runtime.memory import MemoryStore
from greenroom.runtime.sqlite import SqliteStore
from greenroom.runtime.store import StoreFull

GROUPS = 40
TYPES = ("paid", "sent")
STATUSES = ("running", "waiting", "paused", "failed")


class World:
    """Makes works that an engine could make, and remembers what it must to do so."""

    def __init__(self, seed: int, make: Any) -> None:
        self.dice = random.Random(seed)
        self.make = make
        self.next_n = 1
        self.iseq: dict[int, int] = {}
        self.live: set[int] = set()
        self.items: dict[int, list[int]] = {}
        self.pos = 0
        self.now = 1_700_000_000_000
        self.touched: set[int] = set()
        self.pending: list[int] = []

    def group(self) -> list[Any]:
        self.now += self.dice.randrange(5_000)
        self.touched = set()
        makers = [
            self.create, self.append, self.append, self.append, self.post, self.post, self.post,
            self.send, self.end, self.read, self.read, self.read, self.other,
        ]  # fmt: skip
        works = [self.dice.choice(makers)() for _ in range(self.dice.randrange(1, 12))]
        return [work for work in works if work is not None]

    # -- works ------------------------------------------------------------------------------

    def where(self) -> Any:
        value = self.dice.choice(["a", "b", 1, True])
        return self.dice.choice([
            None, {"data.k": value}, {"data.k": value, "data.m": "x"}, "data.n > `2`",
            f"data.k == '{value}' && data.n < `3`", "data.k == 'a' || data.k == 'b'",
            "(data.k == 'b' || data.k == `1` || data.k == `true`) && data.n > `1`",
        ])  # fmt: skip

    def wait(self) -> Any:
        since = self.dice.choice([None, 0, max(0, self.pos - self.dice.randrange(30))])
        return self.make.wait(
            self.op(), self.dice.choice(TYPES), self.where(), since, many=self.dice.random() < 0.3
        )

    def op(self) -> str:
        return f"op{self.dice.randrange(4)}"

    def some(self, what: Any, most: int = 2) -> list[Any]:
        if self.dice.random() < 0.6:
            return []
        return [what() for _ in range(self.dice.randrange(1, most + 1))]

    def ask(self) -> ports.AskRow:
        self.asked = getattr(self, "asked", 0) + 1
        who = self.dice.choice(["anna", "bert", None])
        return ports.AskRow(f"ask-{self.asked:05d}", self.op(), "form", "Ok?", b"{}", who, None)

    def turn(self, n: int) -> dict[str, Any]:
        dice = self.dice
        asks = {ask.op: ask for ask in self.some(self.ask)}
        taken = self.items.get(n, [])[: dice.randrange(3)]
        self.items[n] = self.items.get(n, [])[len(taken) :]
        turn = {
            "opened": self.some(self.wait, 3),
            "closed": self.some(self.op),
            "timers": self.some(lambda: (self.op(), self.now + dice.randrange(10_000))),
            "untimed": self.some(self.op),
            "asks": list(asks.values()),
            "answered": self.some(lambda: (self.op(), "anna", self.now)),
            "taken": taken,
            "tell": self.some(
                lambda: (self.someone(), ports.InboxRow("outcome", b'{"x":1}', self.now))
            ),
            "emits": self.some(self.event),
        }
        if dice.random() < 0.5:
            turn["change"] = self.make.change(
                dice.choice(STATUSES), busy=dice.random() < 0.3,
                steps=dice.choice(["", "reserve", "reserve\ncharge"]),
                error=dice.choice([None, b'{"code":"step_failed","message":"boom"}']),
                error_code=dice.choice([None, "step_failed"]),
                attributes=dice.choice([None, {}, self.attributes()]),
            )  # fmt: skip
        return turn

    def save(self) -> ports.ResourceSave:
        """Mostly the next version of a resource, sometimes one that is stale; known or not, both
        stores must say the same."""
        dice = self.dice
        number = dice.randrange(4)
        version = dice.choice([1, *range(1, 6)])
        row = Stored(
            f"res-{number}-0000", "Port", "Port", dice.choice(["p", "q"]), dice.choice("ab"),
            dice.choice(["initial", "active"]), version, b'{"n":1}',
        )  # fmt: skip
        return ports.ResourceSave(row, b'{"n":[null,1]}', self.op(), 1)

    def attributes(self) -> dict[str, Any]:
        dice = self.dice
        return {
            "customer": dice.choice(["alice", "bob", "42", 42]),
            "total": dice.choice([1, 2.5, 42, True]),
        }

    def someone(self) -> str:
        return str(self.make.id(self.dice.randrange(1, self.next_n + 2)))

    def event(self) -> Any:
        event = self.post()
        return event.row

    def create(self, **more: Any) -> Any:
        n = self.next_n
        self.next_n += 1
        request = None
        if self.dice.random() < 0.3:
            request = ports.Request(
                f"r-{self.dice.randrange(5)}", self.dice.randrange(2), b"{}", self.now
            )
        work = self.make.create(
            n, at=self.now, request=request, key=self.dice.choice([None, "k1", "k2", "k3"]),
            workflow=self.dice.choice(["order", "bill"]),
            namespace=self.dice.choice(["", "", "test"]),
            busy=self.dice.random() < 0.5, attributes=self.dice.choice([{}, self.attributes()]),
            **(self.turn(n) if self.dice.random() < 0.7 else {}), **more,
        )  # fmt: skip
        self.pending.append(n)
        return work

    def append(self) -> Any:
        free = sorted(self.live - self.touched)
        if not free:
            return None
        n = self.dice.choice(free)
        rows = self.dice.randrange(1, 3)
        saves = {save.row.id: save for save in self.some(self.save)}
        work = self.make.append(
            n, self.iseq[n], rows, at=self.now, resources=list(saves.values()), **self.turn(n)
        )
        if self.dice.random() < 0.2:
            work.creates = [self.create()]
        self.iseq[n] += rows
        return work

    def end(self) -> Any:
        free = sorted(self.live - self.touched)
        if not free or self.dice.random() < 0.5:
            return None
        n = self.dice.choice(free)
        work = self.make.end(n, self.iseq[n], at=self.now)
        self.iseq[n] += 1
        self.live.discard(n)
        return work

    def post(self) -> Any:
        dice = self.dice
        data = {"k": dice.choice(["a", "b", 1, True, ["a", "b"]]), "n": dice.randrange(5), "m": "x"}
        starts = [self.create() for _ in range(dice.randrange(1, 3))] if dice.random() < 0.2 else []
        return self.make.post(
            f"e-{dice.randrange(60)}", dice.choice(TYPES), data, hash=dice.randrange(1, 3),
            scope=dice.choice(["", "", "test"]), accepted=self.now, starts=starts,
        )  # fmt: skip

    def send(self) -> Any:
        return self.make.send(f"s-{self.dice.randrange(40)}", self.someone(), accepted=self.now)

    def other(self) -> Any:
        dice = self.dice
        n = dice.choice(sorted(self.iseq) or [1])
        return dice.choice([
            ports.Keep(n, self.items.get(n, [])[:1]),
            ports.SaveSnapshot(n, dice.randrange(1, 5), b"snap", 1),
            ports.SaveDefinition(
                dice.choice(["a", "b"]), "steps", dice.choice("xyz"), b"{}", 1,
                release=dice.random() < 0.5,
            ),
            ports.ChangeDefinition(
                "a", dice.choice([None, 1, 2]), dice.choice([None, True, False]),
                dice.choice([None, True, False]),
            ),
            ports.SaveSchedule("s1", "order", dice.choice([b"1", b"2"]), 0, self.now),
            ports.ChangeSchedule("s1", dice.random() < 0.5, self.now + 5),
            ports.DropSchedules("order", dice.choice([[], ["s1"]])),
            ports.SetMeta("m", str(dice.random())),
            ports.Prune(self.now - dice.randrange(20_000), dice.randrange(1, 5)),
        ])  # fmt: skip

    def read(self) -> Any:
        dice = self.dice
        n = dice.randrange(1, self.next_n + 1)
        return dice.choice([
            ports.Load([n, n + 1, 1]),
            ports.Find(self.make.id(n)), ports.Find("order/k1"), ports.Find("bill/k2", "test"),
            ports.Find(self.make.id(n)[:-1]), ports.ReadRows(n, dice.randrange(3), 5),
            ports.ReadJournal(max(0, self.pos - 20), 10),
            ports.ListInstances(self.terms(), 3, dice.choice([None, (self.now, n)]), self.now),
            ports.ListStanding(
                dice.choice(["order", "bill"]), "customer", dice.choice(["alice", "42", "true"]),
                self.terms(), dice.randrange(1, 4), dice.choice([0, n]), dice.randrange(9), self.now,
                dice.random() < 0.2,
            ),
            ports.ListEvents(dice.choice([None, "paid"]), dice.choice([None, 5]), None, 5),
            ports.ListEvents(None, None, dice.choice([None, self.pos]), 5, "test"),
            ports.GetEvent(f"e-{dice.randrange(60)}"), ports.GetEvent(f"pos:{self.pos}"),
            ports.EventMatches(max(1, self.pos - dice.randrange(20))),
            ports.WaitsAt("paid", max(1, self.pos - dice.randrange(9)), dice.choice([None, "bill"])),
            ports.DueTimers(self.now, 5, dice.choice([None, (self.now - 5_000, 2, "op1")])),
            ports.BusyInstances(0, 5), ports.UnroutedEvents(5),
            ports.FindRequest(f"r-{dice.randrange(5)}"),
            ports.ListAsks(
                dice.random() < 0.5, dice.choice([None, "anna"]), None, None, 5,
                tests=dice.random() < 0.7,
            ),
            ports.ListDefinitions(dice.choice([None, "a"])), ports.ListSchedules(), ports.Counts(),
            ports.GetResources(["res-0-0000", "res-1-0000", "none"], dice.choice(["", "test"])),
            ports.FindResource(dice.choice(["res-2-0000", "res-2-00", "res-", "res-9-0000"])),
            ports.ListResources(self.equal(), 2, dice.choice([None, (self.now, "res-2-0000")])),
            ports.ResourceHistory(f"res-{dice.randrange(4)}-0000", dice.randrange(3), 2),
            ports.DeadLetters(), ports.GetMeta("m"), ports.Orphans(0, 50), ports.Audit(),
        ])  # fmt: skip

    def equal(self) -> dict[str, str]:
        dice = self.dice
        return dice.choice([
            {}, {"product": "p"}, {"status": "active", "customer": "a"}, {"type": "Port"},
            {"instance": self.someone()}, {"id": "res-1-0000"},
        ])  # fmt: skip

    def terms(self) -> list[Any]:
        dice = self.dice
        chosen = [
            ("status", ":", dice.choice(STATUSES)), ("workflow", ":", "order"),
            ("namespace", ":", "test"), ("key", ":", "k1"), ("kind", ":", "steps"),
            ("step", ":", "charge"), ("error", ":", "step_failed"), ("error", ":", "boom"),
            ("age", dice.choice([">", "<="]), 20_000), ("updated", "<", self.now - 9_000),
            ("due", dice.choice(["<", ">="]), self.now), ("assignee", ":", "anna"),
            ("customer", ":", dice.choice(["alice", "42"])), ("total", ">", "2"),
            ("total", "<=", "true"), ("total", ":", "true"), ("customer", "<", "b"),
        ]  # fmt: skip
        picked = dice.sample(chosen, dice.randrange(4))
        return [(*term, dice.random() < 0.3) for term in picked]

    # -- what came of them ------------------------------------------------------------------

    def learn(self, works: list[Any], results: list[Any]) -> None:
        for work, result in zip(works, results, strict=True):
            self._learn(work, result)
        self.pending = []

    def _learn(self, work: Any, result: Any) -> None:
        if isinstance(result, ports.Created):
            if result.created:
                n = work.row.n
                self.iseq[n] = 2
                self.live.add(n)
                self._found(n, result.found)
                for child, made in zip(
                    work.first.creates, result.first.created if result.first else [], strict=True
                ):
                    self._learn(child, made)
        elif isinstance(result, StaleResource):
            self.iseq[work.n] -= len(work.rows)
        elif isinstance(result, ports.Appended):
            self._found(work.n, result.found)
            for n, _, item in result.told:
                self._found(n, [item])
            for child, made in zip(work.creates, result.created, strict=True):
                self._learn(child, made)
        elif isinstance(result, ports.Posted):
            for create, made in zip(getattr(work, "starts", ()), result.started, strict=False):
                self._learn(create, made)
            for n, _, item in result.items:
                self._found(n, [item])
        elif isinstance(result, ports.CountsRow):
            self.pos = result.head

    def _found(self, n: int, items: list[ports.InboxItem]) -> None:
        self.items.setdefault(n, []).extend(item.iq for item in items)


def plain(results: list[Any]) -> list[Any]:
    return [str(r) if isinstance(r, Exception) else r for r in results]


@pytest.mark.parametrize("seed", range(40))
def test_both_stores_give_equal_answers_to_random_works(
    seed: int, database: Path, make: Any
) -> None:
    world = World(seed, make)
    memory = MemoryStore()
    sqlite = SqliteStore(database)
    memory.open()
    sqlite.open()
    unrouted: list[int] = []
    for number in range(GROUPS):
        works = [*world.group(), *(ports.Route(pos=pos) for pos in unrouted), ports.Counts()]
        works.append(ports.UnroutedEvents(3))
        wanted = memory.run(works)
        found = sqlite.run(works)
        for work, left, right in zip(works, plain(wanted), plain(found), strict=True):
            assert right == left, (seed, number, work)
        unrouted = [event.pos for event in wanted[-1]]
        world.learn(works, wanted)
        if number == GROUPS // 2:
            sqlite.close(clean=bool(seed % 2))
            memory.close(clean=bool(seed % 2))
            sqlite = SqliteStore(database)
            left_, right_ = memory.open(), sqlite.open()
            assert (left_.epoch, left_.clean, left_.head, left_.next_n) == (
                right_.epoch, right_.clean, right_.head, right_.next_n)  # fmt: skip
    deep = sqlite.run([ports.Audit(deep=True)])[0]
    assert [f.level for f in deep.findings] == ["ok", "ok"]
    sqlite.close(clean=True)


def test_a_group_that_found_no_room_leaves_both_stores_as_they_were(
    database: Path, make: Any
) -> None:
    memory, sqlite = MemoryStore(), SqliteStore(database)
    memory.open()
    sqlite.open()
    memory.run([make.create(1, key="k")])
    sqlite.run([make.create(1, key="k")])
    memory.fail_next(StoreFull())
    sqlite.connection.execute("PRAGMA max_page_count=1")
    big = make.row(payload=b'"' + b"x" * 500_000 + b'"')
    group = [make.create(2, key="l"), ports.Append(n=1, iseq=2, rows=[big])]
    for store in (memory, sqlite):
        with pytest.raises(StoreFull):
            store.run(group)
    sqlite.connection.execute("PRAGMA max_page_count=1000000")
    asked = [ports.Counts(), ports.Load([1, 2]), ports.Find("order/l"), ports.ListInstances()]
    assert memory.run(asked) == sqlite.run(asked)
    assert memory.run(group) == sqlite.run(group)
    sqlite.close(clean=True)
