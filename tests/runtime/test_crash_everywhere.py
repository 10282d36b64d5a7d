"""A crash at every commit of an instance's life, before and after it is durable, ends in the same.

Each way of going on has a workflow here: a step, a retrystep, a question, a callback, a group, lanes
side by side, an event handler, a child, and taking back. It is played once in peace, which also
counts the commits; then again for each commit with a crash there. The outside party (who answers,
posts, calls back, resumes) does what it did, again where it was not told that it is done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from greenroom import (
    FormPage,
    GreenroomError,
    Workflow,
    begin,
    callback_step,
    child,
    foreach,
    inputstep,
    parallel,
    retrystep,
    step,
    step_group,
    wait,
    workflow,
)
from tests.runtime.kits import MemoryEngine

EFFECTS: Counter[str] = Counter()
TOKENS: list[str] = []


def effect(key: str) -> None:
    """Something done to the world; done again under the same key it is the same."""
    EFFECTS[key] += 1


@step("One")
async def one(ctx: Any = None) -> dict[str, Any]:
    effect(ctx.idempotency_key)
    return {"one": 1}


@step("Two", compensate=lambda ctx: effect(ctx.idempotency_key))
async def two(ctx: Any = None) -> dict[str, Any]:
    effect(ctx.idempotency_key)
    return {"two": 2}


@retrystep("Twice", delay="5s", jitter=0)
async def twice(ctx: Any) -> dict[str, Any]:
    effect(ctx.idempotency_key)
    if ctx.attempt == 1:
        raise OSError("not yet")
    return {"twice": True}


@step("Never")
async def never() -> None:
    raise OSError("never")


@step("Call out")
async def call_out(callback_token: str) -> None:
    TOKENS.append(callback_token)


@inputstep("Ask")
def ask() -> Any:
    class First(FormPage):
        n: int

    class Second(FormPage):
        m: int

    first = yield First
    second = yield Second
    return {"n": first.n, "m": second.m}


@step("Item")
async def each(item: int, ctx: Any) -> dict[str, Any]:
    effect(ctx.idempotency_key)
    return {"square": item * item}


@workflow
def plain() -> Any:
    return begin >> one >> two


@workflow
def retried() -> Any:
    return begin >> one >> twice >> two


@workflow
def asked() -> Any:
    return begin >> one >> ask >> two


@workflow
def called() -> Any:
    return begin >> callback_step("Outside", call_out, one) >> two


@workflow
def grouped() -> Any:
    return begin >> step_group("Group", one >> twice, restart="group") >> two


@workflow
def fanned() -> Any:
    return (
        begin
        >> parallel("work", one, twice, merge="merge")
        >> foreach("items", each, merge="list", limit=2)
        >> two
    )


@workflow
def undone() -> Any:
    return begin >> two >> never


@workflow
async def little(n: int) -> int:
    await one()
    return n + 1


@workflow
async def parent() -> Any:
    result = await child(little, {"n": 1})
    await two()
    return {"child": result}


class Listening(Workflow):
    def __init__(self) -> None:
        self.heard: list[int] = []

    async def handle(self) -> Any:
        await one()
        while len(self.heard) < 3:
            await wait("poke", since="now")
        return {"heard": sorted(self.heard)}

    async def on_event(self, event: Any) -> None:
        self.heard = [*self.heard, event.data["n"]]


WORKFLOWS = (
    plain, retried, asked, called, grouped, fanned, undone, little, parent, Listening,
)  # fmt: skip


class Played(NamedTuple):
    status: str
    state: Any
    result: Any
    done: tuple[str, ...]
    """What was done to the world, each effect once."""


Outside = Callable[[MemoryEngine, str], Any]


async def answers(engine: MemoryEngine, id: str) -> None:
    for question in (await engine.asks.list()).items:
        await engine.asks.draft(question.id, [{"n": 1}], by="ann")
        draft = (await engine.asks.get(question.id, by="ann")).draft
        assert draft == [{"n": 1}]
        await engine.answer(question.id, [*draft, {"m": 2}], by="ann")


async def calls_back(engine: MemoryEngine, id: str) -> None:
    if TOKENS:
        await engine.progress(TOKENS[-1], {"half": True})
        await engine.answer(TOKENS[-1], {"ok": True})


async def pokes(engine: MemoryEngine, id: str) -> None:
    for n in range(3):
        await engine.send(id, {"type": "poke", "id": f"e{n}", "data": {"n": n}})


async def nothing(engine: MemoryEngine, id: str) -> None:
    return None


STORIES: dict[str, tuple[Any, dict[str, Any], Outside]] = {
    "step": (plain, {}, nothing),
    "retrystep": (retried, {}, nothing),
    "inputstep": (asked, {}, answers),
    "callback": (called, {}, calls_back),
    "group": (grouped, {}, nothing),
    "parallel": (fanned, {"items": [1, 2, 3]}, nothing),
    "on_event": (Listening, {"heard": []}, pokes),
    "child": (parent, {}, nothing),
    "compensation": (undone, {}, nothing),
}


class World:
    """An engine, whoever deals with it from outside, and the commit in which it is to end."""

    def __init__(self, engine: MemoryEngine, crash_at: int | None, stored: bool) -> None:
        self.engine = engine
        self.commits = 0
        self.crash_at = crash_at
        self.stored = stored
        self.crashes = 0
        self.watch()

    def watch(self) -> None:
        """Counts the groups that write; in the one named the process ends."""
        store: Any = self.engine.store
        inner = store.run

        def run(group: Any) -> Any:
            if any(type(work).__name__ in WRITES for work in group):
                self.commits += 1
                if self.commits == self.crash_at:
                    store.crash_next(stored=self.stored)
            return inner(group)

        store.run = run

    async def settle(self) -> None:
        """Until nothing goes on by itself; a dead engine is opened again first."""
        calm = asyncio.ensure_future(self.engine.quiet())
        while not calm.done():
            await asyncio.sleep(0)
            if self.engine.journal.state == "died":
                calm.cancel()
                await asyncio.gather(calm, return_exceptions=True)
                self.crashes += 1
                await self.engine.crash()
                self.watch()
                await self.engine.quiet()
                return
        await calm

    async def tried(self, call: Callable[[], Any]) -> None:
        """What somebody outside does: told that the engine has died, they come again."""
        with suppress(GreenroomError):
            await call()
        died = self.engine.journal.state == "died"
        await self.settle()
        if died:
            with suppress(GreenroomError):
                await call()
            await self.settle()


WRITES = frozenset({"Append", "Create", "Post", "Route", "Keep", "NoteAsk"})


async def play(name: str, crash_at: int | None, *, stored: bool) -> tuple[Played, int]:
    """One life, and how many commits it took."""
    for log in (EFFECTS, TOKENS):
        log.clear()
    made, input, outside = STORIES[name]
    workflow_name = getattr(made, "__name__", "")
    async with MemoryEngine(*WORKFLOWS) as engine:
        world = World(engine, crash_at, stored)
        await world.tried(lambda: engine.start(made, input, request_id="r-1"))
        for _ in range(12):
            (row,) = (await engine.list(f"workflow:{workflow_name}")).items
            if row.status in ("completed", "cancelled"):
                break
            if row.status == "failed":
                await world.tried(lambda id=row.id: engine.resume(id))  # type: ignore[misc]
            else:
                await world.tried(lambda id=row.id: outside(engine, id))  # type: ignore[misc]
            with suppress(GreenroomError):
                await engine.advance_quiet("5s")
            await world.settle()
        found = await engine.get(row.id)
        done = tuple(sorted(key.partition("/")[2] for key in EFFECTS))
        assert world.crashes == (crash_at is not None), "the process ends once, where it is told to"
        return Played(found.status, found.state, found.result, done), world.commits


@pytest.mark.parametrize("name", list(STORIES))
async def test_a_crash_at_any_commit_ends_as_a_calm_life(name: str) -> None:
    calm, commits = await play(name, None, stored=True)
    assert calm.status in ("completed", "cancelled")
    assert commits >= 3
    for crash_at in range(1, commits + 1):
        for stored in (False, True):
            wild, _ = await play(name, crash_at, stored=stored)
            place = f"crash {'after' if stored else 'before'} commit {crash_at} of {commits}"
            assert wild == calm, place
