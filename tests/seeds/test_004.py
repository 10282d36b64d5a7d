"""Seed 004's examples, read from the text as it was printed: nothing is retyped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenroom.definitions.catalog import Catalog
from greenroom.definitions.conditions import GROUP_MAX, JOINS, ON_FAIL, compile_condition
from greenroom.definitions.connectors import Connector, Connectors
from greenroom.definitions.coreactions import ACTION_KEYS
from greenroom.definitions.documents import document_from
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.operands import OPERANDS
from greenroom.definitions.schemas import compile_schema
from greenroom.definitions.transforms import compile_transform
from greenroom.runtime.testing import TestEngine
from tests.definitions.services import Service
from tests.seeds.loader import text

SENT: list[dict[str, Any]] = []


def example(name: str) -> Any:
    return json.loads(text(f"004/{name}.txt"))


def choices(value: str) -> list[str]:
    return value.split(" | ")


def slack() -> Connector:
    """The connector the examples mean: its text must be a string."""
    connector = Service("slack")
    schema = {
        "type": "object",
        "properties": {
            "webhook_path": {"type": "string"},
            "body": {
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": ["text"],
            },
        },
        "required": ["body"],
    }

    @connector.action("PostMessage", params=schema)
    async def post_message(params: dict[str, Any]) -> dict[str, Any]:
        SENT.append(params)
        return {"ok": True}

    return connector


def workflow(*actions: dict[str, Any]) -> dict[str, Any]:
    return {"schema_version": 1, "name": "seed", "actions": list(actions)}


def action(**more: Any) -> dict[str, Any]:
    """The first action of the seed; `<ConnectorId>` stands for the name of a connector."""
    return {**example("constant")["actions"][0], "connector_id": "slack", **more}


# -- conditions --------------------------------------------------------------------------------


def test_f4_every_word_of_the_condition_of_the_seed_is_known() -> None:
    shape = example("condition")
    attribute = shape["criteria"][0]["attributes"][0]
    assert set(choices(shape["operator"])) == set(JOINS)
    assert set(choices(shape["on_fail"])) == set(ON_FAIL)
    assert set(choices(attribute["type"])) == set(OPERANDS)
    known = {name for operand in OPERANDS.values() for name in operand.operators}
    assert set(choices(attribute["operator"])) == known
    assert GROUP_MAX == 10


def test_f4_a_condition_made_of_the_words_of_the_seed_compiles() -> None:
    shape = example("condition")
    shape["operator"] = shape["criteria"][0]["operator"] = "or"
    shape["on_fail"] = "skip"
    attribute = shape["criteria"][0]["attributes"][0]
    attribute.update(type="String", attribute="::a", operator="eq", value="x")
    assert compile_condition(shape).holds({"a": "x"})


# -- actions -----------------------------------------------------------------------------------


def test_f12_every_key_of_the_action_of_the_seed_is_known() -> None:
    shape = example("action")
    assert set(shape) <= set(ACTION_KEYS)
    assert shape["order"] == 1
    catalog = Catalog(Connectors([slack()]))
    shape |= {
        "connector_id": "slack",
        "type": "PostMessage",
        "condition": {},
        "parameters": {"body": {"text": "{name}"}},
        "transform": {},
    }
    document_from(workflow(shape), catalog=catalog)


async def test_f14_the_message_of_the_seed_is_sent(engine: TestEngine) -> None:
    SENT.clear()
    engine.register(slack(), workflow(action()))
    instance = await engine.start("seed", {})
    assert await instance.result() == {}
    assert [example("constant")["actions"][0]["parameters"]] == SENT


async def test_f16_the_text_is_taken_from_the_state(engine: TestEngine) -> None:
    SENT.clear()
    engine.register(slack(), workflow(action(**example("expression"))))
    await (await engine.start("seed", {"name": "Bob"})).result()
    assert SENT == [{"body": {"text": "Bob"}}]


async def test_f15_what_an_expression_gave_is_checked_before_anything_is_sent(
    engine: TestEngine,
) -> None:
    SENT.clear()
    engine.register(slack(), workflow(action(**example("expression"))))
    instance = await engine.start("seed", {"name": 5})
    await engine.until_idle()
    found = await engine.get(instance.id)
    assert found.status == "failed"
    assert found.error is not None
    assert "parameters.body.text" in found.error.message and "string" in found.error.message
    assert SENT == []


def test_f15_a_constant_of_the_wrong_type_is_found_when_it_is_saved() -> None:
    wrong = action(parameters={"body": {"text": 5}})
    with pytest.raises(InvalidDefinition) as caught:
        document_from(workflow(wrong), catalog=Catalog(Connectors([slack()])))
    assert [one.path for one in caught.value.problems] == ["$.actions[0].parameters.body.text"]


async def test_f17_the_formatted_message_of_the_seed(engine: TestEngine) -> None:
    SENT.clear()
    engine.register(slack(), workflow(action(**example("format"))))
    await (await engine.start("seed", {"name": "Bob"})).result()
    assert SENT == [{"body": {"text": "Hello, Bob!"}}]


# -- transforms --------------------------------------------------------------------------------

STORIES = [
    ("set_state", None, "set_transform", "set_result"),
    ("response_state", "response", "response_transform", "response_result"),
    ("whole_state", "whole_response", "whole_transform", "whole_result"),
]


@pytest.mark.parametrize(("state", "response", "transform", "result"), STORIES)
def test_f18_f20_f21_the_transforms_of_the_seed(
    state: str, response: str | None, transform: str, result: str
) -> None:
    made = compile_transform(example(transform)["transform"])
    given = None if response is None else example(response)
    assert made.apply(example(state), given) == example(result)


@pytest.mark.parametrize(("state", "response", "transform", "result"), STORIES)
async def test_f18_f20_f21_the_same_run_by_the_engine(
    engine: TestEngine, state: str, response: str | None, transform: str, result: str
) -> None:
    given = None if response is None else example(response)
    connector = Service("answers")

    @connector.action("Answer", params=compile_schema({}).source)
    async def answer(params: dict[str, Any]) -> Any:
        return given

    document = workflow(
        {"connector_id": "answers", "type": "Answer", "order": 1, **example(transform)}
    )
    engine.register(connector, document)
    instance = await engine.start("seed", example(state))
    assert await instance.result() == example(result)
    await engine.crash()
    assert (await engine.get(instance.id)).state == example(result)
