"""What a start asks for, by the way a workflow is written."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

import msgspec
import pytest

from greenroom import (
    ApprovalTemplate,
    Flow,
    State,
    Workflow,
    begin,
    conditional,
    done,
    parallel,
    reducer,
    step,
    wait,
    workflow,
)
from greenroom.definitions.declare import definition_of
from greenroom.definitions.inputs import input_schema
from greenroom.runtime.sources import compile_document


class Address(msgspec.Struct):
    street: str
    floor: int = 0


@workflow
async def order(  # type: ignore[no-untyped-def]
    id: str,
    days: int = 5,
    kind: Literal["paid", "unpaid"] = "paid",
    to: Address | None = None,
    first: date | None = None,
    anything=None,
) -> None:
    await wait("x")


def test_a_function_asks_for_its_arguments() -> None:
    found = input_schema(definition_of(order))
    fields = found["properties"]
    assert (found["required"], found["additionalProperties"]) == (["id"], False)
    assert fields["days"] == {"type": "integer", "title": "days", "default": 5}
    assert fields["kind"]["enum"] == ["paid", "unpaid"] and fields["kind"]["default"] == "paid"
    assert {"$ref": "#/$defs/Address"} in fields["to"]["anyOf"]
    assert found["$defs"]["Address"]["required"] == ["street"]
    assert fields["anything"] == {"type": "string", "title": "anything"}


class Welcome(Workflow):
    def __init__(self, email: str, times: int = 3) -> None:
        self.email, self.times = email, times

    async def handle(self) -> None:
        pass


class Bare(Workflow):
    async def handle(self) -> None:
        pass


def test_a_class_asks_for_what_it_is_made_of() -> None:
    found = input_schema(definition_of(Welcome))
    assert found["required"] == ["email"] and found["properties"]["times"]["default"] == 3
    assert input_schema(definition_of(Bare))["properties"] == {}


@step
async def reserve(order_id: str, n: int = 1) -> State:
    return {}


@step
async def price(total: float) -> State:
    return {}


@workflow(key="::data.order_id", attributes={"customer": "::customer.name"})
def steps() -> Any:
    return begin >> parallel("both", reserve, price) >> conditional(bool)(price) >> done


def test_a_step_list_asks_for_what_its_first_steps_key_and_attributes_look_for() -> None:
    found = input_schema(definition_of(steps))
    assert sorted(found["properties"]) == ["customer", "n", "order_id", "total"]
    assert found["properties"]["total"]["type"] == "number"
    assert found["properties"]["customer"]["properties"]["name"]["type"] == "string"
    assert "additionalProperties" not in found, "anything else may be given too"


@step
async def whole(state: State) -> State:
    return state


@workflow
def anything() -> Any:
    return begin >> whole >> done


def test_where_nothing_is_known_nothing_is_asked() -> None:
    assert input_schema(definition_of(anything)) == {}


DOCUMENT = {
    "schema_version": 1, "name": "welcome", "key": "::id",
    "source": {"type": "Core:CustomEvent", "parameters": {"event_type": "a"}, "condition": {
        "criteria": [{"attributes": [
            {"type": "Number", "attribute": "::level", "operator": "gte", "value": 3},
            {"type": "String", "attribute": "::user.plan", "operator": "eq", "value": "pro"}]}]}},
    "actions": [{"type": "Core:Log", "order": 1, "parameters": {"text": "Hello"}}],
}  # fmt: skip


@pytest.mark.parametrize("text", [False, True])
def test_a_document_asks_for_what_its_condition_and_key_look_at(text: bool) -> None:
    given = msgspec.json.encode(DOCUMENT).decode() if text else DOCUMENT
    fields = input_schema(compile_document(given, "here"))["properties"]
    assert fields["level"]["type"] == "number" and fields["id"]["type"] == "string"
    assert fields["user"]["properties"]["plan"]["type"] == "string"


@reducer
def get_approvers(event: Any) -> Any:
    return ["boss"]


def test_a_flow_asks_for_its_target_and_its_fields() -> None:
    flow = Flow(
        "access", template=ApprovalTemplate, targets=["prod", "stage"], fields=["why"],
        handlers=[get_approvers],
    )  # fmt: skip
    found = input_schema(definition_of(flow))
    assert set(found["required"]) == {"target", "why"}
    assert found["additionalProperties"] is False
