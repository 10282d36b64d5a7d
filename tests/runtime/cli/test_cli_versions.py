"""Versions and changes by hand, typed at a real engine behind a real socket."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from greenroom import Connector, Engine, ask_step, begin, done, step, workflow
from greenroom.runtime import sources
from greenroom.runtime.main import main

Typed = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@step("charge")
async def charge(total: int) -> dict[str, Any]:
    return {"charged": total}


@workflow
def order() -> Any:
    return begin >> ask_step("Go on?", key="ask") >> charge >> done


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setitem(sources.READERS, "actions", "tests.runtime.documents:read")
    async with Engine.open(":memory:", workflows=[order]) as engine:
        yield engine


@pytest.fixture
async def typed(
    engine: Engine, serve: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> AsyncIterator[Typed]:
    """Exit code, standard output as people see it, standard error."""
    served = await serve(engine)
    monkeypatch.setenv("GREENROOM_SERVER", f"unix://{served.path}")
    monkeypatch.setenv("COLUMNS", "120")

    async def run(*args: str, stdin: str = "", form: str = "table") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = await asyncio.to_thread(main, [*args, "-o", form])
        out, err = capsys.readouterr()
        return code, out, err

    yield run


def write(path: Path, *steps: str, **extra: Any) -> str:
    path.write_text(json.dumps({"name": "welcome", "steps": list(steps), **extra}), "utf-8")
    return str(path)


async def test_a_document_is_pushed_compared_released_and_deleted(
    typed: Typed, tmp_path: Path
) -> None:
    file = write(tmp_path / "welcome.json", "greet")
    assert await typed("def", "push", file) == (0, "welcome v1 is released\n", "")
    assert await typed("def", "push", file, "--dry-run") == (0, "welcome is valid\n", "")
    write(tmp_path / "welcome.json", "greet", "thank")
    code, out, _ = await typed("def", "push", "-", stdin=Path(file).read_text())
    assert "v2 is stored, not released:  greenroom def promote welcome" in out
    code, out, _ = await typed("def", "diff", "welcome")
    assert (code, out) == (5, "welcome v1 -> welcome v2\n  + $.steps[1]  thank\n")
    assert (await typed("def", "promote", "welcome"))[1] == "welcome v2 is released\n"
    assert (await typed("def", "diff", "welcome", "2", "2"))[0] == 0
    code, _, err = await typed("def", "rm", "welcome", "--version", "2")
    assert code == 5 and "is the release" in err
    assert (await typed("def", "rollback", "welcome"))[1] == "welcome v1 is released\n"
    assert (await typed("def", "disable", "welcome"))[1] == "welcome is disabled\n"
    assert "v1 (released, disabled)" in (await typed("def", "ls"))[1]
    assert (await typed("def", "enable", "welcome"))[1] == "welcome is enabled\n"
    assert "greet" in (await typed("def", "show", "welcome", "--document"))[1]
    code, _, err = await typed("def", "rm", "welcome")
    assert code == 2 and "needs a yes" in err
    assert (await typed("def", "rm", "welcome", "--yes"))[1] == "welcome v1, v2 deleted\n"
    assert (await typed("def", "show", "welcome"))[0] == 3


async def test_wrong_documents_change_nothing_and_every_problem_has_its_file(
    typed: Typed, engine: Engine, tmp_path: Path
) -> None:
    good, bad = write(tmp_path / "a.json", "greet"), write(tmp_path / "b.json", "gret", "thnk")
    code, _, err = await typed("def", "push", good, bad)
    assert code == 2
    assert err.count("b.json") >= 2 and "gret" in err and "thnk" in err
    assert [one.name for one in await engine.definitions.list()] == ["order"]
    assert (await typed("def", "push", str(tmp_path / "none.json")))[0] == 2


async def test_every_verb_that_changes_something_says_first_what_it_would_do(
    typed: Typed, engine: Engine, tmp_path: Path
) -> None:
    file = write(tmp_path / "welcome.json", "greet")
    await typed("def", "push", file)
    write(tmp_path / "welcome.json", "greet", "thank")
    await typed("def", "push", file, "--promote")
    before = await engine.definitions.get("welcome")
    for words, said in [
        (("rollback", "welcome"), "would release welcome v1\n"),
        (("disable", "welcome"), "would disable welcome\n"),
        (("enable", "welcome"), "welcome is enabled already\n"),
        (("rm", "welcome"), "would delete welcome v1, v2\n"),
        (("rm", "welcome", "--version", "1"), "would delete welcome v1\n"),
    ]:
        assert await typed("def", *words, "--dry-run") == (0, said, "")
    assert (await typed("def", "rm", "welcome", "--version", "2", "--dry-run"))[0] == 5
    assert (await typed("def", "disable", "nobody", "--dry-run"))[0] == 3
    assert await engine.definitions.get("welcome") == before


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real document."""
    monkeypatch.setitem(sources.READERS, "actions", "greenroom.runtime.documents:read")
    file = tmp_path / "loop.json"
    file.write_text(
        '{"schema_version": 1, "name": "loop",\n'
        ' "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "x"}},\n'
        ' "actions": [\n'
        '  {"type": "Core:CustomEvent", "order": 1, "parameters": {"event_type": "x"}}]}'
    )
    return file


async def test_files_are_compared_by_what_they_hold_and_not_by_what_they_lack(
    typed: Typed, file: Path
) -> None:
    assert (await typed("def", "diff", str(file)))[:2] == (
        5, "workflow  files  daemon\nloop      new    none\n1 workflow\n",
    )  # fmt: skip
    await typed("def", "push", str(file))
    assert (await typed("def", "diff", str(file)))[0] == 0
    file.write_text(file.read_text().replace('"order": 1', '"order": 2'))
    code, out, _ = await typed("def", "diff", str(file))
    assert (code, out.splitlines()[-3]) == (5, f"loop v1 -> {file}")


async def test_a_push_warns_of_what_is_odd(typed: Typed, file: Path) -> None:
    code, out, _ = await typed("def", "push", str(file))
    assert (code, out.splitlines()) == (0, [
        "loop v1 is released",
        f"warning: {file}:4:3  $.actions[0]   a circle: loop -> emits x -> loop",
    ])  # fmt: skip


async def test_an_instance_is_edited_compared_and_asked_why(typed: Typed, engine: Engine) -> None:
    a = (await engine.start("order", {"total": 5}, key="a")).id
    b = (await engine.start("order", {"total": 5}, key="b")).id
    code, out, _ = await typed("edit", "order/a", "total:=7", "--delete", "none", "--dry-run")
    assert (code, out) == (0, "would change total, none of order/a\n")
    assert (await typed("edit", "order/a", "--delete", "ttal"))[0] == 2
    code, out, _ = await typed("edit", "order/a", "total:=7", "note=hi", "--reason", "typo")
    assert (code, out) == (0, "order/a is changed, it is waiting\n")
    assert "changed by hand by uid:" in (await typed("why", "order/a"))[1]
    assert "typo" in (await typed("history", "order/a"))[1]
    code, out, _ = await typed("history", "order/a", "--path", "total", form="jsonl")
    assert [json.loads(line)["data"]["value"] for line in out.splitlines()] == [5, 7]
    assert '"total": 5' in (await typed("state", "order/a", "--at", "1"))[1]
    await engine.answer(a, {"approved": True})
    await engine.result(a, timeout=5)
    code, out, _ = await typed("diff", "order/a", "order/b")
    assert code == 5
    lines = out.splitlines()
    assert lines[0] == f"{a} -> {b}"
    assert "  ~ status  completed -> waiting" in lines
    assert any(line.split()[:2] == ["charge", "done"] for line in lines)
    assert "  - state.note  hi" in lines and "  ~ state.total  7 -> 5" in lines
    assert (await typed("diff", "order/b", "order/b"))[0] == 0


async def test_an_instance_is_moved_to_another_version(typed: Typed, engine: Engine) -> None:
    await engine.start("order", {"total": 5}, key="a")

    @step("thank")
    async def thank() -> dict[str, Any]:
        return {"thanked": True}

    def longer() -> Any:
        return begin >> ask_step("Go on?", key="ask") >> charge >> thank >> done

    engine.registry._current.pop("order")  # another process has other code
    engine.register(workflow(name="order")(longer))
    code, _, err = await typed("migrate", "order/a", "9")
    assert code == 3 and "no version 9" in err
    code, out, _ = await typed("migrate", "order/a", "2", "--reason", "thanks")
    assert (code, out) == (0, "order/a follows v2, it is waiting\n")
    assert "it was moved to this version by uid:" in (await typed("why", "order/a"))[1]


async def test_a_promotion_is_checked_against_what_was_recorded(
    typed: Typed, engine: Engine, tmp_path: Path
) -> None:
    file = write(tmp_path / "welcome.json", "greet", "thank")
    await typed("def", "push", file)
    for key in "abc":
        await engine.result((await engine.start("welcome", key=key)).id, timeout=5)
    write(tmp_path / "welcome.json", "greet", description="one step less")
    await typed("def", "push", file)
    code, out, err = await typed("def", "promote", "welcome", "--check")
    assert code == 5
    assert "welcome v2 is not released: 100.0% of the recorded instances would not end" in err
    assert (await typed("def", "promote", "welcome", "--dry-run"))[0] == 5
    assert (await typed("def", "promote", "welcome", "--dry-run", "--allow", "1"))[0::2] == (0, "")
    assert out.splitlines() == [
        *(f"welcome/{key} v1  ends ok, it went on with thank" for key in "cba"),
        "welcome v2: of 3 recorded instances 0 as recorded, 3 another way, 0 failing",
    ]
    assert (await engine.definitions.get("welcome")).version == 1
    code, out, _ = await typed("def", "promote", "welcome", "--check", "--allow", "100%")
    assert code == 0 and out.endswith("welcome v2 is released\n")
    assert (await typed("def", "promote", "welcome", "--check", "--allow", "some"))[0] == 2


async def test_W15_the_store_is_brought_to_the_code_on_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, app = tmp_path / "data", tmp_path / "synced_app.py"
    code = "from greenroom import workflow\n\n@workflow\nasync def job():\n    return {}\n"
    monkeypatch.delenv("GREENROOM_SERVER", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    async def migrate(result: int, *args: str) -> tuple[int, str]:
        app.write_text(code.format(result))
        sys.modules.pop("synced_app", None)
        words = ["db", "migrate-workflows", str(app), "--data", str(data), "-o", "table", *args]
        ended = await asyncio.to_thread(main, words)
        out, err = capsys.readouterr()
        return ended, out + err

    assert (await migrate(1, "--dry-run"))[1].endswith("would store and release 1 workflow\n")
    ended, said = await migrate(1)
    assert ended == 2 and "needs a yes" in said
    ended, said = await migrate(1, "--yes")
    assert ended == 0 and "job       new" in said and "1 workflow stored and released" in said
    assert (await migrate(1))[1] == "the store has the workflows of the code\n"
    ended, said = await migrate(2, "--yes")
    assert "changed" in said and "v1" in said
    async with Engine.open(data, workflows=[str(app)], sync=False) as engine:
        shown = [(r.version, r.release) for r in await engine.definitions.list()]
        assert shown == [(1, False), (2, True)]
        assert await (await engine.start("job")).result(timeout=5) == 2
        ended, said = await migrate(2, "--yes")  # while somebody has the store
        assert ended == 5 and "locked" in said
    ended, said = await migrate(2, "--yes")
    assert (ended, said) == (0, "the store has the workflows of the code\n")


async def test_what_a_document_uses_is_shown_approved_and_taken_back(
    typed: Typed, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sources.READERS, "actions", "greenroom.runtime.documents:read")
    chat = Connector("chat")
    chat.action("Say")(lambda params: {})
    engine.connectors.add(chat)
    say = {"connector_id": "chat", "type": "Say", "order": 1, "parameters": {}}
    file = tmp_path / "greet.json"
    file.write_text(json.dumps({"schema_version": 1, "name": "greet", "actions": [say]}), "utf-8")
    line = "greenroom def promote greet --grant connector:chat"
    code, out, _ = await typed("def", "push", str(file), "--dry-run")
    assert (code, out) == (0, "greet is valid\n  not granted: connector:chat\n")
    code, out, _ = await typed("def", "push", str(file))
    assert (code, out) == (0, f"greet v1 is stored, not released:  {line}\n")
    code, _, err = await typed("def", "promote", "greet")
    assert code == 5
    assert "greet v1 uses what greet was not granted: connector:chat" in err
    assert "greenroom def promote greet --version 1 --grant connector:chat" in err
    assert "not connector:chat" in (await typed("def", "ls"))[1]
    assert "not granted  connector:chat" in (await typed("def", "show", "greet"))[1]
    assert (await typed(*line.split()[1:]))[1] == "greet v1 is released\n"
    out = (await typed("def", "show", "greet"))[1]
    assert "granted   connector:chat" in out and "not granted" not in out
    code, out, _ = await typed("def", "revoke", "greet", "connector:chat")
    assert (code, out) == (0, "greet is granted nothing\n")
    code, _, err = await typed("def", "push", str(file), "--promote", "--grant", "secret:x")
    assert code == 2 and "none of these documents uses secret:x" in err
    given = ("--promote", "--grant", "connector:chat")
    assert (await typed("def", "push", str(file), *given))[1] == "greet v1 is released\n"
