"""`greenroom ask` and `start` with a form, typed at a real engine: values as words, a terminal that
is asked field by field, and errors that list every field."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from greenroom import (
    Accept,
    Assignee,
    Choice,
    Divider,
    Engine,
    FormGenerator,
    FormPage,
    Label,
    LongText,
    approval,
    begin,
    choice_list,
    done,
    inputstep,
    read_only,
    workflow,
)
from greenroom.runtime.cli.backend import call_engine
from greenroom.runtime.cli.run import run
from greenroom.runtime.cli.session import Session


class Size(Choice):
    S = "s", "Small"
    L = "l", "Large"


class Port(FormPage):
    number: int


class Form(FormPage):
    model_config = {"title": "The order"}  # noqa: RUF012
    hello: Label = "Look at it well."
    line: Divider
    customer: str = read_only("anna")
    ok: bool
    n: int
    size: Size
    sizes: choice_list(Size) = []  # type: ignore[valid-type]  # noqa: RUF012
    note: LongText = ""
    checked: Accept
    port: Port
    tags: list[str] = ["a"]  # noqa: RUF012
    data: dict[str, int] = {}  # noqa: RUF012


class Why(FormPage):
    why: str
    more: str = ""


@inputstep("Approve the order", assignee=Assignee.NOC, due="2d")
def approve() -> FormGenerator:
    first: Form = yield Form
    if first.ok:
        return first.model_dump()
    second: Why = yield Why
    return second.model_dump()


@inputstep("Small")
def small() -> FormGenerator:
    first = yield Why
    second = yield Port
    return {"why": first.why, "number": second.number}


@workflow(key="::data.order_id")
def order() -> Any:
    return begin >> approve >> done


@workflow(key="::data.order_id")
def little() -> Any:
    return begin >> small >> done


@workflow(initial_input_form=Why)
def asked_first() -> Any:
    return begin >> small >> done


@workflow
async def approving() -> Any:
    return await approval("Approve it", assignee="NOC")


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Local:
    """An engine in this process, as a backend."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def call(self, method: str, **params: Any) -> Any:
        return call_engine(self.engine, method, params)

    def close(self) -> None:
        return


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Cli = Callable[..., Done]


@pytest.fixture
def engine() -> Iterator[Any]:
    with Engine.sync(":memory:", workflows=[order, little, asked_first, approving]) as opened:
        yield opened


@pytest.fixture
def cli(engine: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    def type_in(*args: str, typed: list[str] | None = None) -> Done:
        stdin = io.StringIO() if typed is None else Terminal("".join(f"{t}\n" for t in typed))
        monkeypatch.setattr(sys, "stdin", stdin)
        session: Any = Session(connect=lambda server, data: Local(engine))  # type: ignore[arg-type,return-value]
        code = run(list(args), session)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return type_in


def started(engine: Any, workflow: str) -> Any:
    instance = engine.start(workflow, {"order_id": "7"} if workflow != "approving" else {})
    while not engine.asks.list(f"instance:{instance.id}").items:
        engine.drain()
    return instance


def test_ask_ls_shows_title_assignee_and_deadline(engine: Any, cli: Cli) -> None:
    instance = started(engine, "order")
    told = cli("ask", "ls", "assignee:NOC", "-o", "table")
    assert told.code == 0
    assert "Approve the order  NOC       form  in " in told.out
    assert f"{instance.id}.approve" in told.out
    assert cli("ask", "ls", "assignee:nobody", "-o", "table").out.endswith("no questions\n")
    (one,) = [json.loads(line) for line in cli("ask", "ls").out.splitlines()]
    assert (one["kind"], one["pages"], one["schema"]["title"]) == ("form", 1, "The order")


def test_ask_show_lists_the_fields(engine: Any, cli: Cli) -> None:
    started(engine, "order")
    told = cli("ask", "show", "order/7", "-o", "table")
    assert told.out.startswith("Approve the order  ")
    lines = [" ".join(line.split()) for line in told.out.splitlines()]
    assert "n integer, required" in lines
    assert "size one of s, l, required" in lines
    assert "customer anna, read-only" in lines
    assert 'tags array, ["a"] by default' in lines
    assert cli("ask", "show", "nothing").code == 3


def test_answer_takes_words_and_json(engine: Any, cli: Cli) -> None:
    instance = started(engine, "little")
    told = cli("ask", "answer", "little/7", "why=because", "-o", "table")
    assert told.code == 2
    assert told.err.startswith(
        "error form_not_complete: page 2 (Port) is needed\n  number  integer"
    )
    told = cli(
        "ask", "answer", instance.id, "-d", '[{"why": "x"}, {"number": "20"}]', "-o", "table"
    )
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"answered, {instance.id} is ")
    assert instance.result() == {"order_id": "7", "why": "x", "number": 20}
    assert cli("ask", "answer", f"{instance.id}.small", "why=x").code == 5


def test_errors_list_every_field_once(engine: Any, cli: Cli) -> None:
    started(engine, "order")
    told = cli("ask", "answer", "order/7", "ok:=5", "size=x", "customer=bob", "odd=1")
    assert told.code == 2
    assert told.err.splitlines() == [
        "error form_invalid: page 1 (Form) has 7 errors",
        "  customer   cannot be changed",
        "  ok         must be true or false",
        "  n          is required",
        "  size       must be one of s, l",
        "  checked    is required",
        "  port       is required",
        "  odd        unknown field",
    ]


def test_without_values_and_without_a_terminal_it_says_what_to_do(engine: Any, cli: Cli) -> None:
    started(engine, "little")
    told = cli("ask", "answer", "little/7")
    assert told.code == 2
    assert "greenroom ask show little/7" in told.err


def test_a_dry_run_answers_nothing(engine: Any, cli: Cli) -> None:
    started(engine, "little")
    assert (
        "would answer little/7"
        in cli("ask", "answer", "little/7", "why=x", "--dry-run", "-o", "table").out
    )
    assert engine.asks.list().items


def test_a_terminal_is_asked_field_by_field(engine: Any, cli: Cli) -> None:
    instance = started(engine, "order")
    typed = ["y", "20", "2", "1, l", "first line", "second", "", "y", "5", "b, c", '{"a": 1}']
    told = cli("ask", "answer", "order/7", "-o", "table", typed=typed)
    assert told.code == 0, told.err
    assert "Approve the order\nThe order\nLook at it well.\n" in told.err
    assert "Customer: anna" in told.err
    assert "  1  Small\n  2  Large" in told.err
    found = instance.result()
    assert found["note"] == "first line\nsecond"
    assert (found["n"], found["size"], found["sizes"]) == (20, "l", ["s", "l"])
    assert (found["port"], found["tags"], found["data"]) == ({"number": 5}, ["b", "c"], {"a": 1})
    assert told.out.startswith("answered, ")


def test_a_terminal_asks_wrong_fields_again_and_goes_on_to_the_next_page(
    engine: Any, cli: Cli
) -> None:
    instance = started(engine, "little")
    told = cli("ask", "answer", "little/7", typed=["", "because", "", "x", "20"])
    assert told.code == 0, told.err
    assert "it is required" in told.err
    assert "  number must be a whole number" in told.err
    assert instance.result() == {"order_id": "7", "why": "because", "number": 20}


def test_a_terminal_is_asked_for_the_pages_after_those_given(engine: Any, cli: Cli) -> None:
    instance = started(engine, "little")
    told = cli("ask", "answer", "little/7", "why=given", typed=["3"])
    assert told.code == 0, told.err
    assert instance.result()["number"] == 3


def test_a_page_that_was_given_wrong_is_not_asked_but_told(engine: Any, cli: Cli) -> None:
    started(engine, "little")
    told = cli("ask", "answer", "little/7", "wy=given", typed=["3"])
    assert told.code == 2
    assert 'unknown field; did you mean "why"?' in told.err


def test_a_terminal_that_ends_leaves_the_question_open(engine: Any, cli: Cli) -> None:
    started(engine, "little")
    assert cli("ask", "answer", "little/7", typed=["because"]).code == 130
    assert engine.asks.list().items[0].schema["required"] == ["why"]


def test_an_approval_is_asked_in_a_terminal_too(engine: Any, cli: Cli) -> None:
    instance = started(engine, "approving")
    told = cli("ask", "answer", instance.id, typed=["y", "fine"])
    assert told.code == 0, told.err
    assert instance.result() == {"approved": True, "comment": "fine"}


def test_start_takes_the_pages_of_an_initial_form(engine: Any, cli: Cli) -> None:
    told = cli("start", "asked_first")
    assert told.code == 2
    assert told.err.startswith("error form_not_complete: page 1 (Why) is needed")
    told = cli("start", "asked_first", "--form", '[{"why": "x"}]')
    assert told.code == 0, told.err
    told = cli("start", "asked_first", typed=["typed", ""])
    assert told.code == 0, told.err
    id = json.loads(told.out)["instance"]
    assert engine.get(id).state["why"] == "typed"
