"""`def validate`, `def try`, `def test`, `schema`: documents without a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from tests.definitions.test_documents import WELCOME, document, log

if TYPE_CHECKING:
    from tests.runtime.cli.conftest import Cli


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, value: Any) -> None:
    Path(path).write_text(json.dumps(value, indent=2))


BOB = json.dumps({"user": {"name": "Bob", "plan": "pro"}})


def test_validate_tells_the_problems_of_all_files_at_once(cli: Cli, folder: Path) -> None:
    write("a.json", {**document(), "nme": 1})
    write("b.json", document(log(1, timout=1)))
    result = cli("def", "validate", "a.json", "b.json")
    assert result.code == 2
    assert result.err.startswith("error invalid_definition: not valid, 2 problems\n")
    assert "a.json:13:3  $.nme" in result.err
    assert 'b.json:11:7  $.actions[0].timout   unknown key; did you mean "timeout"?' in result.err


def test_validate_warns_of_what_is_odd(cli: Cli, folder: Path) -> None:
    loop = {"type": "Core:CustomEvent", "order": 1, "parameters": {"event_type": "x"}}
    source = {"type": "Core:CustomEvent", "parameters": {"event_type": "x"}}
    write("loop.json", document(loop, source=source))
    result = cli("def", "validate", "loop.json", "-o", "table")
    assert (result.code, result.err) == (0, "")
    assert "warning: loop.json:5:5  $.actions[0]   a circle: w -> emits x -> w\n" in result.out
    assert cli("def", "validate", "--strict", "loop.json").code == 5


SVC = {
    "type": "svc", "name": "svc", "schema_version": 1,
    "config": {"host": "svc.example.org"},
    "actions": [{"type": "Do", "method": "post", "path": "/do"}],
}  # fmt: skip


def test_validate_names_connectors_and_cases_and_looks_into_folders_below(
    cli: Cli, folder: Path
) -> None:
    write("svc.json", SVC)
    assert cli("def", "validate", "svc.json", "-o", "table") == (
        0, "svc  connector  valid  (svc.json)\n1 connector, no problems\n", "",
    )  # fmt: skip
    (folder / "below").mkdir()
    write(
        "below/w.json", document(source={"type": "Core:Schedule", "parameters": {"rate": "1 hour"}})
    )
    write("below/w.test.json", {"cases": [{"name": "runs", "expect": {"status": "completed"}}]})
    result = cli("def", "validate", ".", "-o", "table")
    assert (result.code, result.out.splitlines()[-1]) == (
        0, "1 workflow, 1 connector, 1 case file, no problems",
    )  # fmt: skip
    assert cli("def", "test", "below/w.test.json", "-o", "table").out.endswith("as expected\n")
    write("below/w.test.json", {"cases": [{"name": "runs", "expct": {}}]})
    for what in (".", "below/w.test.json"):
        result = cli("def", "validate", what)
        assert result.code == 2
        assert 'below/w.test.json:5:7  $.cases[0].expct   unknown key; did you mean "expect"?' in (
            result.err
        )


def test_validate_gives_programs_every_problem_and_every_warning(cli: Cli, folder: Path) -> None:
    write("a.json", document(log(1, variables={"odd": 1})))
    (row,) = json.loads(cli("def", "validate", "a.json", "-o", "json").out)
    assert [one["path"] for one in row["warnings"]] == ["$.actions[0].variables.odd"]
    write("a.json", document(log(1, timout=1)))
    result = cli("def", "validate", "a.json", "nowhere.json", "-o", "json")
    assert (result.code, result.err) == (2, "")
    problems = json.loads(result.out)["error"]["details"]["problems"]
    assert [(one["where"], one["message"]) for one in problems] == [
        ("nowhere.json", "cannot be read: No such file or directory"),
        ("a.json:11:7", 'unknown key; did you mean "timeout"?'),
    ]


def test_problems_stand_in_the_order_of_their_lines_and_a_slip_is_told_once(
    cli: Cli, folder: Path
) -> None:
    wrong = document(
        {"type": "Core:Log", "ordr": 1, "parameters": {"text": 5}},
        {"conector_id": "slack", "type": "PostMessage", "order": 1},
        {"type": "Core:Log", "order": 1, "parameters": {"text": "x"}},
        {"type": "Core:Log", "order": 1, "parameters": {"text": "x"}},
        key="id",
    )
    write("a.json", wrong)
    lines = cli("def", "validate", "a.json").err.splitlines()[1:]
    places = [int(line.split(":")[1]) for line in lines]
    assert places == sorted(places)
    assert not any("is missing" in line for line in lines)
    assert [line.split()[1] for line in lines] == [
        "$.actions[0].ordr", "$.actions[0].parameters.text", "$.actions[1].conector_id",
        "$.actions[2].order", "$.actions[3].order", "$.key",
    ]  # fmt: skip


def test_a_document_may_lie_in_the_folder_it_is_tried_with(cli: Cli, folder: Path) -> None:
    write("svc.json", SVC)
    write("w.json", document({"connector_id": "svc", "type": "Do", "order": 1, "parameters": {}}))
    result = cli("def", "try", "./w.json", "--with", ".", "-m", "1={}", "-o", "table")
    assert (result.code, result.err) == (0, "")


def test_try_follows_a_document_with_responses(cli: Cli, folder: Path) -> None:
    write("svc.json", SVC)
    act = {"connector_id": "svc", "type": "Do", "order": 2, "parameters": {}}
    write("w.json", document(log(), {**act, "transform": {"id": "::id"}}))
    write("two.json", {"id": 7})
    result = cli("def", "try", "w.json", "--mock", "2=two.json", "--with", "svc.json", "-o", "json")
    assert (result.code, result.err) == (0, "")
    trial = json.loads(result.out)
    assert (trial["status"], trial["state"]) == ("completed", {"id": 7})
    result = cli("def", "try", "w.json", "--with", "svc.json", "-o", "table")
    assert "✓ 2  svc Do -> no response given: null" in result.out
    failing = cli("def", "try", "w.json", "--with", "svc.json", "-m", '2={"$raise": "down"}')
    assert failing.code == 1 and "down" in failing.out
    wrong = cli("def", "try", "w.json", "--with", "svc.json", "-m", "9={}")
    assert wrong.code == 2 and "no action 9" in wrong.err


def test_try_shows_of_a_transform_what_it_writes(cli: Cli, folder: Path) -> None:
    act = {"type": "Core:Transform", "order": 1, "transform": {"n": "::length(items)"}}
    write("w.json", document(act))
    result = cli("def", "try", "w.json", "-i", '{"items": [1, 2]}', "-o", "table")
    assert result.out.splitlines()[0] == '✓ 1  Transform  {"n": 2}'


def test_try_explains_every_expression(cli: Cli, folder: Path) -> None:
    write("w.json", WELCOME)
    result = cli("def", "try", "w.json", "-i", BOB, "--explain", "-o", "table")
    assert result.code == 0
    for line in (
        '$.source.condition.criteria[0].attributes[0].attribute  ::user.plan = "pro"',
        '$.source.transform.name  ::user.name = "Bob"',
        '$.actions[0].variables.name  ::name = "Bob"',
        '$.actions[0].transform["greeted.at"]  ::ts = null',
    ):
        assert line in result.out
    refused = cli("def", "try", "w.json", "-i", "{}", "-o", "table")
    assert "refused" in refused.out and "::user.plan = null" in refused.out


def test_test_tries_the_cases_beside_a_document(cli: Cli, folder: Path) -> None:
    write("w.json", WELCOME)
    good = {
        "name": "greeted",
        "input": json.loads(BOB),
        "expect": {"status": "completed", "sent": {"1": {"text": "Hello, Bob!"}}, "done": ["1"]},
    }
    write("w.test.json", {"cases": [good]})
    assert cli("def", "test", ".", "-o", "table") == (
        0, "✓ Welcome pro users: greeted\n1 case, all as expected\n", "",
    )  # fmt: skip
    bad = {"name": "not", "input": {}, "mocks": {"5": 1}, "expect": {"state": {}, "skipped": ["1"]}}
    write("w.test.json", {"cases": [good, bad]})
    result = cli("def", "test", "w.json", "--junit", "report.xml", "-o", "jsonl")
    assert result.code == 1
    one, two = map(json.loads, result.out.splitlines())
    assert one["ok"] and not two["ok"]
    assert two["where"] == "w.test.json:23:5"
    assert two["differences"][:2] == [
        "state: expected {}, got null", 'skipped: expected ["1"], got []',
    ]  # fmt: skip
    suite = ElementTree.parse("report.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    write("w.test.json", {"cases": [{**good, "expct": 1}]})
    broken = cli("def", "test", "w.json")
    assert broken.code == 2 and 'did you mean "expect"?' in broken.err


def test_schema_has_the_actions_of_connectors(cli: Cli, folder: Path) -> None:
    result = cli("schema")
    assert result.code == 0
    action = json.loads(result.out)["$defs"]["action"]
    assert "slack" in action["properties"]["connector_id"]["examples"]
    (slack,) = (
        rule["then"]
        for rule in action["then"]["allOf"]
        if rule["if"]["properties"] == {"connector_id": {"const": "slack"}}
    )
    assert "PostMessage" in slack["properties"]["type"]["enum"]
    assert {"type": {"const": "PostMessage"}} in [one["if"]["properties"] for one in slack["allOf"]]
    assert "Core:Log" in action["else"]["properties"]["type"]["enum"]


def test_an_editor_accepts_what_the_checker_accepts_and_marks_what_it_refuses(
    cli: Cli, folder: Path
) -> None:
    """By another validator than ours; an editor looks at no expression and at no other file."""
    import jsonschema_rs  # noqa: PLC0415  an extra

    write("svc.json", SVC)
    validator = jsonschema_rs.validator_for(json.loads(cli("schema", ".").out))
    act = {"connector_id": "svc", "type": "Do", "order": 2, "parameters": {}}
    event = {"type": "Core:CustomEvent", "parameters": {"event_type": "x"}}
    for good in (WELCOME, document(log(), act), document(source=event)):
        assert validator.is_valid(good)
    for bad in (
        document({**act, "type": "Dp"}), document({**log(), "type": "Core:Lgo"}),
        document({**log(), "parameters": {"txt": "x"}}), document({**log(), "timeout": "1s"}),
        document(source={**event, "connector_id": "svc"}), document(log(101)),
        {**document(), "nme": 1},
    ):  # fmt: skip
        assert not validator.is_valid(bad)
