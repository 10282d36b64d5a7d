"""What is said about the commonest mistakes, word for word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from greenroom.definitions.errors import (
    AlreadyRunning,
    CodeChanged,
    ExpressionError,
    FormInvalid,
    GreenroomError,
    InvalidDefinition,
    InvalidInput,
    Locked,
    NotFound,
    NotPermitted,
    Problem,
    Unreachable,
    from_data,
)
from greenroom.runtime.cli.errors import code, render
from greenroom.runtime.cli.run import run
from greenroom.runtime.cli.session import Session

DEFINITION = InvalidDefinition(
    "definitions/welcome.json is not valid",
    [
        Problem("/actions/0/operator", '"nand" is not one of: and, or', "welcome.json:10:66"),
        Problem("/actions/0/conector_id", 'unknown key; did you mean "connector_id"?', "w.json:2"),
    ],
    hint="the running version v1 is untouched",
)

if TYPE_CHECKING:
    from tests.runtime.cli.conftest import Cli, FakeDaemon


MESSAGES = {
    "the socket belongs to somebody else": (
        NotPermitted(
            "/run/g.sock is owned by engine:ops (0660); you are anna (uid 1000, groups anna)",
            hint='ask for group "ops", or run:  sudo -u engine greenroom ...',
        ),
        """\
error not_permitted: /run/g.sock is owned by engine:ops (0660); you are anna (uid 1000, groups anna)
  ask for group "ops", or run:  sudo -u engine greenroom ...""",
    ),
    "a second daemon on the same state": (
        Locked(
            ".greenroom is in use by pid 4121 (greenroom dev, since 11:58)",
            hint="use another one with --data, or stop that one:  kill 4121",
            pid=4121,
        ),
        """\
error locked: .greenroom is in use by pid 4121 (greenroom dev, since 11:58)
  use another one with --data, or stop that one:  kill 4121""",
    ),
    "a definition is wrong, all problems at once": (
        DEFINITION,
        """\
error invalid_definition: definitions/welcome.json is not valid, 2 problems
  welcome.json:10:66  /actions/0/operator      "nand" is not one of: and, or
  w.json:2            /actions/0/conector_id   unknown key; did you mean "connector_id"?
  the running version v1 is untouched""",
    ),
    "a bad expression": (
        ExpressionError(
            "welcome.json:14:22  /actions/0/variables/name   not a JMESPath expression\n"
            "::user.first-name\n"
            '           ^ "-" needs quotes:  ::user."first-name"'
        ),
        """\
error expression_error: welcome.json:14:22  /actions/0/variables/name   not a JMESPath expression
  ::user.first-name
             ^ "-" needs quotes:  ::user."first-name\"""",
    ),
    "the code changed under a running instance": (
        CodeChanged(
            "order/7 cannot continue: the code no longer follows its journal",
            hint="start over from a step:  greenroom fork order/7 --from reserve",
            position=5,
            recorded='reserve(sku="A1")',
            asked='check_credit(order_id="7")',
        ),
        """\
error code_changed: order/7 cannot continue: the code no longer follows its journal
  journal #5  reserve(sku="A1")
  code    #5  check_credit(order_id="7")
  start over from a step:  greenroom fork order/7 --from reserve""",
    ),
    "a value that cannot be stored": (
        InvalidInput(
            "step reserve returned a value at $.client that cannot be stored",
            hint="return plain data; keep live objects out of the state",
        ),
        """\
error invalid_input: step reserve returned a value at $.client that cannot be stored
  return plain data; keep live objects out of the state""",
    ),
    "the same key twice": (
        AlreadyRunning("order/7 is already running (started 11:59:02)", instance="0193c0de"),
        """\
error already_running: order/7 is already running (started 11:59:02)
  greenroom show 0193c0de""",
    ),
    "a form with wrong fields": (
        FormInvalid("the answer does not fit", errors=[{"path": "ok", "message": "is missing"}]),
        """\
error form_invalid: the answer does not fit
  ok   is missing""",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_mistake_is_told_in_few_lines(name: str) -> None:
    error, text = MESSAGES[name]
    assert render(error) == text


@pytest.mark.parametrize(
    "name",
    [name for name, (error, _) in MESSAGES.items()],
)
def test_the_message_is_the_same_over_the_wire(name: str) -> None:
    error, text = MESSAGES[name]
    assert render(from_data(error.as_data())) == text


def test_an_error_whose_class_was_never_loaded_keeps_its_code() -> None:
    error = from_data({"code": "not_yet_known", "message": "so it is", "details": {"a": 1}})
    assert (error.code, error.exit_code, error.details) == ("not_yet_known", 5, {"a": 1})
    assert from_data({"message": "x"}).code == "rejected"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(DEFINITION, 2), (NotFound("x"), 3), (Unreachable("x"), 4), (Locked("x"), 5)],
)
def test_the_exit_code_is_that_of_the_error(error: GreenroomError, exit_code: int) -> None:
    assert code(error) == exit_code


def test_without_a_daemon_it_is_said_how_to_start_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("GREENROOM_SERVER", raising=False)
    monkeypatch.delenv("GREENROOM_DATA", raising=False)
    assert run(["ls"]) == 4
    assert capsys.readouterr().err == (
        "error unreachable: no engine at .greenroom/greenroom.sock\n"
        "  start one here:   greenroom dev\n"
        "  or point to one:  greenroom --server unix:///run/engine.sock ...   "
        "(also GREENROOM_SERVER)\n"
    )


def test_a_named_directory_without_a_store_is_not_found(
    capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    assert run(["ls", "--data", str(tmp_path)]) == 3
    assert capsys.readouterr().err == (
        f"error not_found: no daemon answers for {tmp_path} and there is no store in it\n"
        f"  start one:  greenroom serve --data {tmp_path} app.py\n"
    )


def test_a_stack_is_shown_only_when_asked_for(cli: Cli, daemon: FakeDaemon) -> None:
    plain = cli("show", "order/404")
    assert plain.err == "error not_found: there is no instance order/404\n"
    full = cli("show", "order/404", "--debug")
    assert full.code == 3
    assert "Traceback (most recent call last)" in full.err
    assert "ref = 'order/404'" in full.err


def test_our_own_fault_is_said_to_be_ours(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(server: str | None, data: str | None) -> FakeDaemon:
        raise RuntimeError("no such thing")

    assert run(["ls"], Session(connect=broken)) == 70


def test_ctrl_c_says_nothing_and_exits_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(server: str | None, data: str | None) -> FakeDaemon:
        raise KeyboardInterrupt

    assert run(["ls"], Session(connect=interrupted)) == 130
    assert capsys.readouterr().err == "\n"


def test_the_connection_is_closed_whatever_happens(cli: Cli, daemon: FakeDaemon) -> None:
    cli("show", "order/404")
    assert daemon.log[-1] == ("close", {})
