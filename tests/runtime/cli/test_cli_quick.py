"""The short ways: `--version`, a plain `post`, completion."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.runtime.cli import quick
from greenroom.runtime.main import main

ACCEPTED = {"accepted": True, "duplicate": False, "matched_total": 0, "matched": []}


class LineDaemon:
    """Answers every line by `reply`; None: reads and hangs up."""

    def __init__(self, path: Path) -> None:
        self.seen: list[dict[str, Any]] = []
        self.silent = False
        self.explained: Any = [{"text": "order: listens to order.created", "data": {}}]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                for line in stream:
                    asked = json.loads(line)
                    self.seen.append(asked)
                    if self.silent:
                        break
                    stream.write(json.dumps(self._reply(asked)).encode() + b"\n")
                    stream.flush()

    def _reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked.get("method"):
            case "events.explain":
                return {"id": 1, "result": self.explained}
            case "list":
                items = [
                    {"id": "0193c0de-1", "workflow": "order", "key": "7", "status": "waiting"},
                    {"id": "0193c0de-2", "workflow": "mail", "key": None, "status": "failed"},
                ]
                return {"id": 1, "result": {"items": items, "cursor": None}}
            case "definitions.list":
                return {"id": 1, "result": [{"name": "order"}, {"name": "mail"}]}
        if asked.get("type") == "refuse":
            return {"error": {"code": "busy", "message": "too much", "details": {}}}
        return {"id": asked.get("id"), **ACCEPTED}

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def line_daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[LineDaemon]:
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 107 bytes
        path = Path(folder) / "g.sock"
        monkeypatch.setenv("GREENROOM_SERVER", f"unix://{path}")
        found = LineDaemon(path)
        yield found
        found.close()


def test_a_plain_post_prints_the_reply_as_a_json_line(
    line_daemon: LineDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["post", "order.created", "order_id=7", "n:=2"]) == 0
    (event,) = line_daemon.seen
    assert (event["type"], event["data"]) == ("order.created", {"order_id": "7", "n": 2})
    assert json.loads(capsys.readouterr().out) == {"id": event["id"], **ACCEPTED}


def test_on_a_terminal_it_says_why_nothing_matched(line_daemon: LineDaemon) -> None:
    text = quick.post(["order.create"], terminal=True)
    id = line_daemon.seen[0]["id"]
    assert text == f"event {id} accepted → matched nothing\n  order: listens to order.created"


def test_its_id_is_a_uuid7() -> None:
    first, second = quick.event_id(), quick.event_id()
    assert uuid.UUID(first).version == 7
    assert uuid.UUID(first).variant == uuid.RFC_4122
    assert first != second


def test_options_take_the_long_way() -> None:
    with pytest.raises(quick.Later) as caught:
        quick.post(["order.created", "--id", "e-1"], terminal=False)
    assert caught.value.id is None


def test_a_refusal_is_worded_by_the_long_way(
    line_daemon: LineDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["post", "refuse"]) == 5
    assert capsys.readouterr().err == "error busy: too much\n"
    first, second = line_daemon.seen
    assert first["id"] == second["id"]


def test_after_a_broken_connection_the_same_event_is_posted_again(line_daemon: LineDaemon) -> None:
    line_daemon.silent = True
    assert main(["post", "order.created"]) == 4
    first, second = line_daemon.seen
    assert first["id"] == second["id"]


def test_without_a_daemon_post_exits_4(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GREENROOM_SERVER", "unix:///nowhere/g.sock")
    assert main(["post", "order.created"]) == 4
    assert capsys.readouterr().err.startswith("error unreachable: no engine at /nowhere/g.sock\n")


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ("greenroom show ", "", "plain,order/7\nplain,0193c0de-2\n"),
        ("greenroom show 01", "01", "plain,0193c0de-1\nplain,0193c0de-2\n"),
        ("greenroom start o", "o", "plain,order\n"),
        (
            "greenroom re",
            "re",
            "plain,resume\nplain,retry\nplain,restart\nplain,resource\nplain,replay\n",
        ),
    ],
)
def test_completion_asks_the_daemon(
    line_daemon: LineDaemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    incomplete: str,
    expected: str,
) -> None:
    monkeypatch.setenv("_GREENROOM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == expected


def test_completion_without_a_daemon_is_empty_and_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENROOM_SERVER", "unix:///nowhere/g.sock")
    monkeypatch.setenv("_GREENROOM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "greenroom show ")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr() == ("\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert f"_GREENROOM_COMPLETE={shell}_complete" in out


def test_the_version_names_what_it_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert capsys.readouterr().out == (
        f"greenroom 0.1.0  python {python}  sqlite {sqlite3.sqlite_version}"
        f"  msgspec {msgspec.__version__}\n"
    )


@pytest.mark.parametrize(
    ("args", "unwanted"),
    [
        (["--version"], {"click", "msgspec", "asyncio", "json"}),
        (["post", "x"], {"click", "msgspec", "asyncio"}),
        (["ls"], {"asyncio", "croniter", "structlog", "aiosqlite", "anyio", "jmespath"}),
    ],
)
def test_a_command_imports_only_what_it_needs(args: list[str], unwanted: set[str]) -> None:
    code = (
        "import sys\n"
        "from greenroom.runtime.cli import quick\n"
        "from greenroom.runtime.main import main\n"
        "quick.post = lambda args, terminal: ''\n"
        f"main({args!r})\n"
        f"print(sorted({unwanted!r} & set(sys.modules)))"
    )
    if args == ["--version"]:
        code = code.replace("from greenroom.runtime.cli import quick\n", "").replace(
            "quick.post = lambda args, terminal: ''\n", ""
        )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[]"
