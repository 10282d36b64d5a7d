"""What a line of the log looks like, and what never stands in one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from greenroom.runtime import logs, masking


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields() -> None:
    out = io.StringIO()
    logs.setup("json", stream=out)
    with logs.bound(instance="0193"):
        logging.getLogger("greenroom.x").warning("took %d s", 3, extra={"op": "charge"})
    (line,) = lines(out)
    assert list(line)[:4] == ["at", "level", "logger", "event"]
    assert line["event"] == "took 3 s"
    assert (line["level"], line["logger"]) == ("warning", "greenroom.x")
    assert (line["instance"], line["op"]) == ("0193", "charge")


def test_loggers_of_structlog_go_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    logs.setup("json", stream=out)
    structlog.get_logger("greenroom").warning("turn crashed", instance="0193", token="t-1")
    (line,) = lines(out)
    assert (line["event"], line["instance"], line["token"]) == ("turn crashed", "0193", "***")
    assert line["logger"] == "greenroom"
    assert capsys.readouterr().out == ""


def test_a_trace_stays_on_its_line() -> None:
    out = io.StringIO()
    logs.setup("json", stream=out)
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(out)
    assert "ZeroDivisionError" in line["exception"]


def test_setting_up_twice_does_not_log_twice() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.setup("json", stream=first)
    logs.setup("json", stream=second)
    logging.getLogger("x").warning("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


@pytest.mark.parametrize("format", ["json", "console"])
def test_secrets_are_masked_by_name_and_by_value(format: logs.Format) -> None:
    out = io.StringIO()
    logs.setup(format, stream=out, hide=["hunter2hunter2"])
    log = logging.getLogger("x")
    log.warning("the answer is hunter2hunter2", extra={"api_key": "k-1", "op": "keyed"})
    log.warning("nested", extra={"config": {"Password": "p-1", "list": ["hunter2hunter2"]}})
    try:
        raise ValueError("hunter2hunter2 refused")
    except ValueError:
        log.exception("failed")
    text = out.getvalue()
    for secret in ("hunter2hunter2", "k-1", "p-1"):
        assert secret not in text
    assert "keyed" in text
    assert masking.MASK in text


def test_short_values_are_not_hidden() -> None:
    secrets = masking.Secrets(["a"])
    assert secrets.masked("banana") == "banana"


def test_text_from_outside_cannot_steer_a_terminal_or_pass_for_another_line() -> None:
    out = io.StringIO()
    logs.setup("console", stream=out)
    logging.getLogger("x").info(
        "%s", "\x1b]0;pwned\x07\n2026-01-01 [error] forged", extra={"op": "\x9b2J\rpay"}
    )
    first, second = out.getvalue().splitlines()
    assert "\\u001b]0;pwned\\u0007" in first
    assert second.startswith("  2026") and first.isprintable() and second.isprintable()
