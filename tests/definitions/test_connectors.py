"""Connectors as they are declared: documents, functions, what is refused and where it says so."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.definitions.actionerrors import ParameterInvalid, RequestInvalid
from greenroom.definitions.connectordocs import (
    compile_connector,
    is_connector_document,
    read_connector,
)
from greenroom.definitions.connectors import Connector, Connectors
from greenroom.definitions.credentials import ApiKey, BearerToken
from greenroom.definitions.errors import InvalidDefinition, NoEngine, NotFound
from greenroom.definitions.rates import Rate, parse_rate
from greenroom.runtime.engine import Engine
from greenroom.runtime.loading import load


def document(**changes: Any) -> dict[str, Any]:
    """A small connector document."""
    base: dict[str, Any] = {
        "type": "Systems",
        "name": "System inventory",
        "description": "What there is",
        "schema_version": 1,
        "config": {
            "host": "api.example.org",
            "base_path": "/api/",
            "default_headers": {"Accept": "application/json"},
            "credentials": {"type": "BearerToken", "bearer_token": "secret://systems"},
        },
        "events": [{"type": "enrolled", "schema": {"type": "object", "required": ["id"]}}],
        "actions": [
            {
                "type": "GetSystemById",
                "name": "Get a System record by ID",
                "method": "get",
                "path": "systems/{system_id}",
                "parameters": {
                    "type": "object",
                    "properties": {"system_id": {"type": "string"}},
                    "required": ["system_id"],
                    "additionalProperties": False,
                },
            },
            {
                "type": "Membership",
                "method": "post",
                "path": "v2/groups/{group_id}/members",
                "query": {"dry": "::dry", "tag": "::tags"},
                "body": {"id": "::system_id", "op": "::operation", "type": "system"},
                "parameters": {
                    "properties": {
                        "group_id": {"type": "string"},
                        "operation": {"type": "string", "enum": ["add", "remove"]},
                        "system_id": {"type": "string"},
                        "dry": {"type": "boolean"},
                        "tags": {"type": "array"},
                    }
                },
            },
        ],
    }
    return {**base, **changes}


def problems(data: Any) -> dict[str, str]:
    """Path -> message."""
    with pytest.raises(InvalidDefinition) as caught:
        compile_connector(data, "systems.json")
    assert all(problem.where == "systems.json" for problem in caught.value.problems)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_document_becomes_a_connector_with_actions_and_events() -> None:
    connector = compile_connector(document(), "systems.json")
    assert (connector.id, connector.type, connector.name) == (
        "Systems", "Systems", "System inventory",
    )  # fmt: skip
    assert sorted(connector.actions) == ["GetSystemById", "Membership"]
    assert connector.config.scheme == "https" and connector.config.base_path == "api"
    assert connector.secrets() == ["Systems_signing_key", "systems"]
    assert connector.event_type("enrolled") == "Systems.enrolled"


def test_the_request_of_an_action_is_made_from_its_parameters() -> None:
    connector = compile_connector(document())
    template = connector.find("Membership").request
    assert template is not None
    made = template.build(
        {
            "group_id": "a/b c",
            "system_id": "s-1",
            "operation": "add",
            "tags": ["x", "y"],
            "dry": True,
        }
    )
    assert made.method == "POST"
    assert made.path == "v2/groups/a%2Fb%20c/members"
    assert made.query == [("dry", "true"), ("tag", "x"), ("tag", "y")]
    assert made.body == {"id": "s-1", "op": "add", "type": "system"}


@pytest.mark.parametrize("value", ["..", ".", "", None, True, ["x"], {"a": 1}])
def test_a_parameter_cannot_lead_out_of_the_path(value: Any) -> None:
    template = compile_connector(document()).find("GetSystemById").request
    assert template is not None
    with pytest.raises(RequestInvalid):
        template.build({"system_id": value})


@pytest.mark.parametrize("path", ["../admin", "a/../../admin", "a/%2e%2e/b", "..\\b", "./a"])
def test_a_path_that_is_an_expression_cannot_step_aside(path: str) -> None:
    data = document(
        actions=[
            {"type": "Any", "path": "::path", "parameters": {"properties": {"path": {}}}},
        ]
    )
    template = compile_connector(data).find("Any").request
    assert template is not None
    with pytest.raises(RequestInvalid, match="step aside"):
        template.build({"path": path})
    assert template.build({"path": "//evil.example/x?y#z"}).path == "evil.example/x%3Fy%23z"


def test_values_of_parameters_are_data_and_are_not_evaluated_again() -> None:
    template = compile_connector(document()).find("Membership").request
    assert template is not None
    made = template.build({"group_id": "g", "system_id": "::operation", "operation": "add"})
    assert made.body == {"id": "::operation", "op": "add", "type": "system"}


def test_all_problems_of_a_document_are_reported_at_once() -> None:
    found = problems(
        {
            "type": "A",
            "schema_version": "1",
            "confg": {},
            "config": {
                "host": "a b",
                "credentials": {"type": "BearerToken", "bearer_token": "secret://../very-secret"},
                "rate_limit": "often",
                "allow": ["*"],
                "redirects": 9,
                "default_headers": {"Host": "evil", "X-A": "a\nb"},
                "timeout": "soon",
            },
            "actions": [
                {"type": "X", "method": "FETCH", "path": "a/{b}", "parameters": {"type": "obj"}},
                {"typ": "Y"},
            ],
            "events": [{"type": "a"}, {"type": "a"}],
        }
    )
    assert {
        "$.confg", "$.schema_version", "$.config.host", "$.config.credentials.bearer_token",
        "$.config.rate_limit", "$.config.allow[0]", "$.config.redirects",
        "$.config.default_headers.Host", "$.config.default_headers.X-A", "$.config.timeout",
        "$.actions[0].parameters.type", "$.actions[0].method", "$.actions[1].typ",
        "$.actions[1].type", "$.events",
    } <= set(found)  # fmt: skip
    assert 'did you mean "config"?' in found["$.confg"]


def test_problems_of_a_file_have_their_line_and_column() -> None:
    text = """{ "type": "A", "schema_version": 1,
  "config": { "hots": "a.example" },
  "actions": [ { "type": "X", "method": "FETCH",
                 "path": "a" } ] }
"""
    with pytest.raises(InvalidDefinition) as caught:
        read_connector(text, "a.json")
    assert [(one.where, one.path) for one in caught.value.problems] == [
        ("a.json:2:15", "$.config.hots"), ("a.json:3:41", "$.actions[0].method"),
    ]  # fmt: skip
    assert read_connector('{"source": {}, "config": {}}', "a.json") is None


def test_a_connector_may_be_written_as_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="YAML is an extra")
    text = (
        "type: A\nschema_version: 1\nconfig:\n  host: a.example\nactions:\n- type: X\n  path: a\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    (found,) = load(str(tmp_path))
    assert isinstance(found, Connector) and list(found.actions) == ["X"]
    (tmp_path / "a.yaml").write_text(text.replace("host", "hots"))
    with pytest.raises(InvalidDefinition, match=r"a\.yaml:4:3"):
        load(str(tmp_path))


@pytest.mark.parametrize("version", ["1", 2, True, None, 1.5])
def test_schema_version_is_the_number_one(version: Any) -> None:
    assert "$.schema_version" in problems(document(schema_version=version))


@pytest.mark.parametrize(
    "credentials",
    [
        {"type": "BearerToken"},
        {"type": "BearerToken", "bearer_token": ""},
        {"type": "Basic", "username": "u", "password": ["plain"]},
        {"type": "Bearer", "bearer_token": "secret://a"},
        {"type": "BearerToken", "bearer_token": "secret://../etc/passwd"},
        "secret://a",
    ],
)
def test_credentials_are_references_never_values(credentials: Any) -> None:
    config = {**document()["config"], "credentials": credentials}
    found = problems(document(config=config))
    assert all(path.startswith("$.config.credentials") for path in found)
    assert "plain" not in str(found)


@pytest.mark.parametrize(
    ("credentials", "field"),
    [
        ({"type": "BearerToken", "bearer_token": "<Token>"}, "bearer_token"),
        ({"type": "ApiKey", "api_key": "<Key>", "api_key_header": "<HeaderName>"}, "api_key"),
        ({"type": "Basic", "username": "u", "password": "<Password>"}, "password"),
        (
            {"type": "OAuth2Client", "client_id": "<ClientId>", "client_secret": "<ClientSecret>",
             "token_url": "<Oauth2TokenUrl>", "basic_auth": True},
            "client_secret",
        ),
    ],
)  # fmt: skip
def test_F8_a_secret_that_is_written_out_as_in_the_original_works_and_is_shown_nowhere(
    credentials: Any, field: str
) -> None:
    config = {**document()["config"], "credentials": credentials}
    text = json.dumps(document(config=config), indent=1)
    connector = read_connector(text, "systems.json")
    assert connector is not None
    (warning,) = connector.warnings
    assert warning.path == f"$.config.credentials.{field}"
    assert str(warning.where).startswith("systems.json:")
    (name,) = connector.written
    assert name in connector.secrets()
    assert f'"secret://{name}"' in warning.message
    assert dict(connector.written) == {name: credentials[field]}
    shown = f"{connector.as_data()} {connector!r} {connector.hash()} {warning} {connector.config!r}"
    assert credentials[field] not in shown


def test_two_connectors_never_share_a_secret_that_is_written_out() -> None:
    names: set[str] = set()
    for id in ("a b", "a_b", "a" * 64, "a" * 63 + "b"):
        config = {"host": "x.org", "credentials": {"type": "BearerToken", "bearer_token": "t"}}
        names |= compile_connector(document(id=id, config=config)).written.keys()
    assert len(names) == 4


def test_a_connector_in_python_refuses_a_value_in_the_place_of_a_secret() -> None:
    with pytest.raises(InvalidDefinition, match="by its name"):
        Connector("slack", host="slack.com", credentials=BearerToken("xoxb-1"))


@pytest.mark.parametrize("ref", ["https://example.org/s.json", "file:///etc/passwd", "other.json"])
def test_a_schema_reaches_no_file_and_no_address(ref: str) -> None:
    data = document(actions=[{"type": "A", "parameters": {"$ref": ref}}])
    assert "$.actions[0].parameters" in problems(data)


def test_a_pattern_of_a_schema_cannot_be_made_slow() -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    connector = compile_connector(document(actions=[{"type": "A", "parameters": schema}]))
    assert connector.find("A").problems({"a": "a" * 5000 + "!"})


def test_parameters_are_judged_with_all_problems_and_expressions_left_open() -> None:
    action = compile_connector(document()).find("GetSystemById")
    assert [p.path for p in action.problems({"system_id": 1, "x": 2})] == ["$.system_id", "$"]
    assert action.problems({"system_id": "::id"}, constants=True) == []
    assert action.problems({"sytem_id": "::id"}, constants=True)
    with pytest.raises(ParameterInvalid) as caught:
        action.check({"system_id": 1})
    assert "$.parameters.system_id" in caught.value.message


JUNK: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, "", "::", "::a[", "{x", "secret://", "secret://a", "x" * 5000,
    "\ud800", [], {}, [[]], {"a": {}}, {"$ref": "#"}, float("nan"), "http://", "[::1", "a:b:c",
    "127.0.0.1:99999", "a\r\nb",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += places(value[key], (*path, key))
    return found


def test_mutated_documents_are_refused_with_their_problems_and_never_a_traceback() -> None:
    """Mutants of a document that uses everything: each is read, or says what is wrong."""
    dice = random.Random(4)
    whole = document()
    whole["config"] |= {
        "allow": ["10.0.0.0/8"], "grants": ["a"], "rate_limit": "5/s", "redirects": 1,
        "timeout": "5s", "events": {"signature": {"scheme": "github", "secret": "secret://x"},
                                    "type_keypath": "a.b", "default_schema": {}},
    }  # fmt: skip
    ways = [path for path in places(whole) if path]
    refused = 0
    for _ in range(600):
        mutant = copy.deepcopy(whole)
        for path in dice.sample(ways, dice.randint(1, 3)):
            holder: Any = mutant
            try:
                for step in path[:-1]:
                    holder = holder[step]
                holder[path[-1]] = dice.choice(JUNK)
            except (LookupError, TypeError):
                continue  # an earlier change took the place away
        try:
            compile_connector(mutant, "mutant.json")
        except InvalidDefinition as error:
            refused += 1
            assert error.problems and all(problem.path for problem in error.problems)
    assert refused > 300


def test_documents_that_are_too_large_or_too_deep_are_refused_at_once() -> None:
    deep: Any = {}
    for _ in range(5_000):
        deep = {"a": deep}
    many = {f"k{n}": n for n in range(300_000)}
    for part in (deep, many, "x" * 1_000_000):
        data = document(config={"host": "a.example", "default_headers": part})
        with pytest.raises(InvalidDefinition, match=r"levels deep|bytes"):
            compile_connector(data)
    with pytest.raises(InvalidDefinition, match="100 problems"):
        compile_connector(document(**{f"k{n}": n for n in range(1_000)}))


# -- in Python -----------------------------------------------------------------------------------


class Message(msgspec.Struct):
    channel: str
    text: str
    mentions: list[str] = []


def test_a_function_becomes_an_action_with_a_schema() -> None:
    chat = Connector("chat")

    @chat.action("PostMessage", params=Message)
    async def post(message: Message) -> None:
        """Posts a message."""

    assert post.full_name == "chat.PostMessage"
    assert post.description == "Posts a message."
    data: Any = post.as_data()
    assert data["parameters"]["required"] == ["channel", "text"]
    assert data["parameters"]["additionalProperties"] is False
    assert post.problems({"channel": "#a", "text": 1, "txt": 2})
    assert chat.find("PostMessage") is post
    assert "test_connectors.py" in chat.source


def test_two_actions_of_a_type_and_unknown_types_are_refused() -> None:
    chat = Connector("chat")
    chat.action("PostMessage")(lambda params: None)
    with pytest.raises(InvalidDefinition, match="two actions"):
        chat.action("PostMessage")(lambda params: None)
    with pytest.raises(NotFound, match='did you mean "PostMessage"'):
        chat.find("PostMesage")
    with pytest.raises(InvalidDefinition, match="async def"):
        chat.action("B")(lambda params, http: None)


def test_without_an_engine_a_declared_connector_says_what_it_needs() -> None:
    chat = Connector("chat")
    chat.action("A")(lambda params: None)
    with pytest.raises(NoEngine, match="open engine"):
        chat.call_sync("A")


# -- the connectors of an engine -----------------------------------------------------------------


def test_a_connector_is_found_by_id_type_or_name_where_one_has_it() -> None:
    known = Connectors([compile_connector(document(id="inventory")), Connector("slack")])
    assert known.get("inventory") is known.get("Systems") is known.get("system inventory")
    assert known.resolve("systems", "GetSystemById").type == "GetSystemById"
    with pytest.raises(NotFound, match='did you mean "slack"'):
        known.get("slak")
    assert known.event_type("inventory", "enrolled") == "inventory.enrolled"
    with pytest.raises(NotFound):
        known.event_type("inventory", "enroled")


def test_two_connectors_with_an_id_are_refused() -> None:
    known = Connectors([compile_connector(document(), "a.json")])
    with pytest.raises(InvalidDefinition, match=r"a\.json and b\.json"):
        known.add(compile_connector(document(), "b.json"))


def test_a_document_is_told_by_its_shape() -> None:
    assert is_connector_document(document())
    assert not is_connector_document({"source": {}, "actions": [], "config": {}})
    assert not is_connector_document({"name": "x", "actions": []})
    assert not is_connector_document([1])


def test_documents_in_folders_and_given_ones_reach_the_engine(tmp_path: Path) -> None:
    (tmp_path / "systems.json").write_text(json.dumps(document()))
    (tmp_path / "mail.py").write_text(
        "from greenroom.definitions.connectors import Connector\nmail = Connector('mail')\n"
    )
    assert [one.id for one in load(str(tmp_path)) if isinstance(one, Connector)] == [
        "Systems",
        "mail",
    ]
    engine = Engine.open(":memory:", workflows=[tmp_path], connectors=[document(id="given")])
    assert [one.id for one in engine.connectors] == ["Systems", "given", "mail"]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5/s", Rate(5, 1, 5)),
        ("100/minute", Rate(100, 60, 100)),
        ("1 per 10 s", Rate(1, 10, 1)),
        ({"rate": 0.5, "per": "1s", "burst": 3}, Rate(0.5, 1, 3)),
    ],
)
def test_rates(text: Any, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["5", "0/s", "x/s", 5, {"rate": 1, "x": 2}, {"rate": True}, "5/parsec"]
)
def test_what_is_no_rate_is_refused(text: Any) -> None:
    with pytest.raises(InvalidDefinition):
        parse_rate(text)


def test_an_api_key_may_be_a_scheme_of_its_own() -> None:
    connector = Connector(
        "okta", host="a.okta.com", credentials=ApiKey("secret://okta", "Authorization", "SSWS ")
    )
    assert connector.as_data()["credentials"] == {
        "type": "ApiKey", "api_key": "secret://okta", "api_key_header": "Authorization", "prefix": "SSWS ",
    }  # fmt: skip
