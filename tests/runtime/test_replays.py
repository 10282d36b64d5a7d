"""`replay --check`: stored histories against the code of today, with both places of a difference."""

from __future__ import annotations

import asyncio
import inspect
import time
from pathlib import Path
from typing import Any

import pytest

from greenroom import (
    Engine,
    Locked,
    continue_as_new,
    gather,
    scope,
    sleep,
    step,
    timeout,
    wait,
    workflow,
)
from greenroom.runtime import shapes
from greenroom.runtime.main import main
from greenroom.runtime.replays import check_store
from greenroom.testing import TestEngine


@step("A")
async def a(n: int = 0) -> int:
    return n


@step("B")
async def b(n: int = 0) -> int:
    return n


async def recorded(program: Any, input: Any = None, event: str | None = None) -> TestEngine:
    """An engine whose store has one instance of a program."""
    engine = TestEngine(program)
    async with engine:
        instance = await engine.start(program, input)
        await engine.until_idle()
        if event is not None:
            await engine.send(instance.id, {"type": event})
            await engine.until_idle()
    return engine


async def checked(engine: TestEngine, program: Any) -> shapes.Replayed:
    """The same store, looked at with other code of the same name."""
    again = Engine(
        ":memory:", [program], clock=engine.clock, store=engine.store, passive=True, sync=False
    )
    async with again:
        again.registry.take_back()
        report: shapes.Replayed = await again.check_replay()
        return report


def line_of(function: Any, text: str) -> str:
    lines, first = inspect.getsourcelines(function)
    place = next(i for i, line in enumerate(lines) if text in line)
    return f"{Path(__file__).name}:{first + place}"


def named(func: Any) -> Any:
    return workflow(name="story")(func)


async def steady() -> None:
    await a(1)
    async with timeout("1h"), scope() as group:
        group.start(b(2))
        await wait("go")


async def test_code_that_has_not_changed_has_no_difference() -> None:
    engine = await recorded(named(steady), event="go")
    assert await checked(engine, named(steady)) == shapes.Replayed(1, 0, 0, [])


async def renamed() -> None:
    await a(1)
    async with timeout("1h"), scope() as group:
        group.start(a(2))  # was b
        await wait("go")


async def fewer() -> None:
    await a(1)
    async with timeout("1h"):
        await wait("go")


async def extra() -> None:
    await b(5)


async def more() -> None:
    await a(1)
    await extra()
    async with timeout("1h"), scope() as group:
        group.start(b(2))
        await wait("go")


async def raising() -> None:
    await a(1)
    raise KeyError("new")


async def returning() -> None:
    await a(1)


@pytest.mark.parametrize(
    ("today", "text", "code"),
    [
        (renamed, "was b", "3.0 call A(n=2)"),
        (fewer, "await wait", None),
        (more, "await b(5)", "2 call B(n=5)"),
        (raising, "raise", "KeyError: 'new'"),
    ],
)
async def test_the_first_difference_has_both_sides_and_the_line_of_the_code(
    today: Any, text: str, code: str | None
) -> None:
    engine = await recorded(named(steady))
    report = await checked(engine, named(today))
    (found,) = report.findings
    assert (report.instances, report.errors, found.level, found.at) == (1, 1, "error", 2)
    assert "3.0 call B(n=2)" in found.journal
    assert found.line == line_of(extra if today is more else today, text)
    if code is not None:
        assert code in found.code


async def test_an_end_where_it_went_on_is_a_difference() -> None:
    engine = await recorded(named(steady))
    (found,) = (await checked(engine, named(returning))).findings
    assert found.level == "error" and found.code == ["nothing"]


async def test_other_arguments_are_a_warning_and_do_not_hide_what_comes_after() -> None:
    async def today() -> None:
        await a(7)
        async with timeout("1h"), scope() as group:
            group.start(b(2))
            await wait("go")

    async def worse() -> None:
        await a(7)
        await sleep(1)

    engine = await recorded(named(steady))
    (found,) = (await checked(engine, named(today))).findings
    assert (found.level, found.at, found.why) == ("warning", 1, "other arguments")
    assert found.line == line_of(today, "await a(7)")
    (found,) = (await checked(engine, named(worse))).findings
    assert (found.level, found.at) == ("error", 2)


async def test_another_result_is_found_too() -> None:
    async def first() -> int:
        return await a(1)

    async def second() -> int:
        return 1 + await a(1)

    engine = await recorded(named(first))
    (found,) = (await checked(engine, named(second))).findings
    assert (found.level, found.why) == ("warning", "another result")
    assert (found.journal, found.code) == (["returns 1"], ["returns 2"])


async def test_generations_of_the_past_are_replayed_as_well() -> None:
    async def rounds(n: int = 0) -> None:
        await a(n)
        if n < 2:
            continue_as_new({"n": n + 1})

    async def changed(n: int = 0) -> None:
        if n == 1:
            await b(n)
        await a(n)
        if n < 2:
            continue_as_new({"n": n + 1})

    engine = await recorded(named(rounds), {"n": 0})
    assert (await checked(engine, named(rounds))).errors == 0
    (found,) = (await checked(engine, named(changed))).findings
    assert found.code[0].startswith("2/1 call B")
    assert found.line == line_of(changed, "await b(n)")


async def test_failed_and_cancelled_ones_are_looked_at_up_to_their_end() -> None:
    async def fails() -> None:
        await gather(a(1), b(2))
        raise ValueError("always")

    engine = await recorded(named(fails))
    assert (await checked(engine, named(fails))).findings == []
    async with TestEngine(named(steady)) as cancelled:
        instance = await cancelled.start("story")
        await cancelled.until_idle()
        await cancelled.cancel(instance.id)
    assert (await checked(cancelled, named(steady))).findings == []


async def test_a_workflow_that_is_gone_is_an_error() -> None:
    @workflow
    async def other() -> None:
        return None

    engine = await recorded(named(steady))
    report = await checked(engine, other)
    assert report.errors == 1 and "no such workflow" in report.findings[0].why


APP = """
from greenroom import step, wait, workflow

@step("A")
async def a(n: int = 0) -> int:
    return n

@workflow
async def story(n: int = 0):
    await a(n)
    await wait("go")
"""


def test_a_data_directory_is_checked_offline_and_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    data = tmp_path / "data"
    with Engine.sync(f"{data}/", workflows=[str(app)]) as engine:
        for n in range(3):
            engine.start("story", {"n": n}, key=str(n))
        while engine.list("status:waiting").total != 3:
            time.sleep(0.01)
        seen = engine.list().items
        with pytest.raises(Locked, match="in use"):
            asyncio.run(check_store(f"{data}/", []))

    def command(*words: str) -> tuple[int, str]:
        code = main(["replay", "--check", *words, "--data", str(data)])
        return code, capsys.readouterr().out.strip()

    assert command(str(app), "-o", "jsonl") == (
        0, '{"instances":3,"errors":0,"warnings":0,"findings":[]}',
    )  # fmt: skip
    changed = tmp_path / "new" / "app.py"
    changed.parent.mkdir()
    changed.write_text(APP.replace('await wait("go")', "await a(n)"))
    code, text = command(str(changed), "--limit", "1", "-o", "table")
    assert code == 5
    assert "error  story/2  entry 2: another op   app.py:11" in text
    assert "journal 2 wait go()" in text and "code    2 call A(n=2)" in text
    assert "1 instance, 1 error" in text
    assert asyncio.run(check_store(f"{data}/", [], "workflow:story")).errors == 3  # no code at all
    backup = tmp_path / "backup.db"
    with Engine.sync(f"{data}/", workflows=[str(app)]) as engine:
        engine.backup(str(backup))
        assert engine.list().items == seen
        assert engine.check_replay("key:1") == shapes.Replayed(1, 0, 0, [])
    assert main(["replay", "--check", str(changed), "--data", str(backup), "-o", "jsonl"]) == 5
    assert '"errors":3' in capsys.readouterr().out


async def test_an_instance_that_is_parked_for_changed_code_says_where() -> None:
    engine = TestEngine(named(steady))
    async with engine:
        instance = await engine.start("story")
        await engine.until_idle()
        engine._workflows = [named(renamed)]
        await engine.crash()
        await engine.send(instance.id, {"type": "go"})
        await engine.until_idle()
        found = await engine.get(instance.id)
        assert found.error is not None and found.error.code == "code_changed"
        assert found.error.details["where"] == line_of(renamed, "was b")
