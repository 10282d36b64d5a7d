"""Who gets a table, who gets colours, and how long things take to say."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import pytest

from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.cli import complete, errors, items, output, sentences, stages, words
from greenroom.runtime.cli.backend import call_engine
from greenroom.runtime.cli.options import filter_text

if TYPE_CHECKING:
    from tests.runtime.cli.conftest import Cli, FakeDaemon

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "terminal", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_pipe_gets_json_lines_and_a_terminal_a_table(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("def", "ls").out.startswith('{"name":"order"')
    monkeypatch.setattr(output, "terminal", lambda: True)
    assert cli("def", "ls").out.startswith("workflow  version")


def test_the_output_option_counts_before_and_after_the_command(cli: Cli) -> None:
    assert (
        cli("-o", "json", "ping").out == cli("ping", "-o", "json").out == '{\n  "pong": true\n}\n'
    )


@pytest.mark.parametrize(
    "typed",
    [
        ["-status:completed", "workflow:order"],
        ["workflow:order", "-o", "jsonl", "-status:completed"],
        ["workflow:order", "--", "-status:completed"],
    ],
)
def test_a_negated_word_of_a_filter_is_no_option(
    cli: Cli, daemon: FakeDaemon, typed: list[str]
) -> None:
    assert cli("ls", *typed).code == 0
    q = next(params["q"] for method, params in daemon.log if method == "list")
    assert sorted(q.split()) == ["-status:completed", "workflow:order"]
    assert cli("ls", "-status").code == 2  # that is none


def test_a_status_is_coloured_on_a_terminal(cli: Cli, terminal: None) -> None:
    assert "\x1b[31mfailed\x1b[0m" in cli("ls").out


def test_no_color_is_obeyed(cli: Cli, terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli("ls").out


def test_a_table_ends_at_the_edge_of_the_terminal(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    output.table(["id", "data"], [["1", "x" * 50]])
    assert capsys.readouterr().out == f"id  data\n1   {'x' * 15}…\n"


def test_columns_fit_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["id", "data"], [["12345", "a"], ["1", "b\nc"], ["1" * 70, ""]])
    assert capsys.readouterr().out.splitlines() == [
        "id" + " " * 58 + "  data",
        "12345" + " " * 55 + "  a",
        "1" + " " * 59 + "  b c",
        "1" * 59 + "…",
    ]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ("2026-11-20T12:00:00Z", "0 s"),
        ("2026-11-20T11:59:30.9Z", "29 s"),
        ("2026-11-20T10:30:00Z", "1 h"),
        ("2026-11-25T10:30:00Z", "0 s"),
    ],
)
def test_an_age_has_one_unit(at: str, text: str) -> None:
    assert sentences.age(at, NOW) == text


def test_what_is_due_is_said_from_both_sides() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert sentences.due("2026-11-20T13:30:00Z", now) == "due in 1 h 30 min"
    assert sentences.due("2026-11-20T11:59:00Z", now) == "due 1 min ago"


def test_what_an_event_did_is_listed() -> None:
    matched = [
        {"workflow": "order", "instance": "i-1", "key": "7", "action": "started"},
        {"workflow": "order", "instance": "i-2", "key": None, "action": "delivered"},
        {"workflow": "mail", "instance": None, "key": "a", "action": "refused",
         "code": "already_running"},
    ]  # fmt: skip
    reply = {"id": "e-1", "duplicate": True, "matched_total": 105, "matched": matched}
    assert words.posted(reply) == (
        "event e-1 accepted before (duplicate) → 105 matches\n"
        "  started order/7\n"
        "  delivered order i-2\n"
        "  mail/a refused (already_running)\n"
        "  and 102 more"
    )


def test_a_feed_is_handed_on_line_by_line_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    source, sink = os.pipe()
    with open(source) as stdin, open(sink, "wb", buffering=0) as feed:
        monkeypatch.setattr(sys, "stdin", stdin)
        batches = items.batches("-")
        feed.write(b'{"n": 1}\n{"n"')
        assert next(batches) == [("standard input line 1", b'{"n": 1}')]
        feed.write(b': 2}\n{"n": 3}\n{}')
        assert [line for _, line in next(batches)] == [b'{"n": 2}', b'{"n": 3}']
        feed.close()
        assert list(batches) == [[("standard input line 4", b"{}")]]


class BlockingEngine:
    """A store opened in this process."""

    class Handle:
        id, key, status, created = "i-1", "7", "running", True

    class definitions:
        @staticmethod
        def list() -> list[str]:
            return ["order"]

    def start(self, workflow: str, input: object = None, **given: object) -> Handle:
        self.given = (workflow, input, given)
        return self.Handle()

    def outcome(self, instance: str, *, timeout: str | None = None) -> dict[str, str]:
        return {"instance": instance}


def test_a_store_without_a_daemon_answers_the_same_methods() -> None:
    engine = BlockingEngine()
    assert call_engine(engine, "ping", {}) == {"pong": True}
    assert call_engine(engine, "definitions.list", {}) == ["order"]
    assert call_engine(engine, "result", {"instance": "i-1"}) == {"instance": "i-1"}
    assert call_engine(engine, "start", {"workflow": "order", "input": {"n": 1}}) == {
        "instance": "i-1", "key": "7", "status": "running", "created": True,
    }  # fmt: skip
    workflow, given, options = engine.given
    assert (workflow, given) == ("order", {"n": 1})
    assert str(options["by"]).startswith(f"uid:{os.getuid()}")
    with pytest.raises(InvalidRequest, match='unknown method "paus"; did you mean "pause"'):
        call_engine(engine, "paus", {})


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["workflow:Welcome pro users"], 'workflow:"Welcome pro users"'),
        (["-key>=a b", "status:failed"], '-key>="a b" status:failed'),
        (["status:failed workflow:order"], "status:failed workflow:order"),
        (['key:"a b"'], 'key:"a b"'),
        (["failed", "a b"], "failed a b"),
        ([], ""),
    ],
)
def test_a_value_with_spaces_needs_the_quotes_of_the_shell_alone(
    words: list[str], text: str
) -> None:
    assert filter_text(words) == text


ESCAPES = "\x1b[2J\x1b]0;pwned\x07\x9b31m\r\x7f\u202e"


def test_controls_in_what_is_shown_never_reach_a_terminal(
    cli: Cli, terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    output.table(["type", "status"], [[f"a{ESCAPES}", output.status("failed")]])
    output.pairs([("key", ESCAPES)])
    output.note(ESCAPES)
    output.heading(ESCAPES)
    output.line(f"\x1b[8m{ESCAPES}\x1b[31mfailed")
    errors.to_stderr(errors.render(InvalidRequest(ESCAPES, hint=ESCAPES)))
    shown = "".join(capsys.readouterr())
    assert "\x1b[31mfailed\x1b[0m" in shown  # ours
    rest = shown.replace("\x1b[31mfailed\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert rest.replace("\n", "").isprintable()
    assert r"\u001b[2J" in shown


def test_a_value_with_controls_stays_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.record({"a": ESCAPES})
    output.document([ESCAPES])
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert json.loads(first) == {"a": ESCAPES}
    assert json.loads(rest) == [ESCAPES]
    assert first.isprintable()


def test_no_key_is_completed_that_a_shell_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["7", "$(reboot)", "a b", ";x", "`x`", "\x1b[2J", "é-1"]
    rows = [{"id": "i", "workflow": "order", "key": key, "status": "failed"} for key in keys]
    monkeypatch.setattr(complete, "_ask", lambda *given, **params: {"items": rows})
    found = complete.instances(click.Context(click.Command("x")), click.Argument(["i"]), "order/")
    assert [one.value for one in found] == ["order/7", "order/é-1"]


def test_a_heading_of_a_stage_is_bold_and_its_text_cannot_be(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    asks = [{"title": "Personal\x1b[2Jdata", "assignee": "ann", "id": "a", "schema": {}}]
    filled: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "greenroom.runtime.cli.prompts.fill", lambda send, schema, pages: filled.append("yes")
        )
        stages._answer(None, asks[0])
    assert filled == ["yes"]
    assert capsys.readouterr().err.startswith("\x1b[1mPersonal\\u001b[2Jdata (for ann)\x1b[0m")
