"""The JSON Schema of documents, for editors: completion, descriptions, red lines while typing.

Made from the table the checker reads. An editor cannot parse expressions or see other workflows,
so what it passes is still checked when it is saved; what it marks is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from greenroom.definitions.conditions import GROUP_MAX, JOINS, ON_FAIL
from greenroom.definitions.connectors import Connector
from greenroom.definitions.coreactions import (
    ACTION_KEYS,
    COLLECTING,
    COMMON_KEYS,
    CONNECTOR_KEYS,
    CORE,
    CORE_ACTIONS,
    DOCUMENT_KEYS,
    SOURCE_KEYS,
    SOURCES,
    Core,
)
from greenroom.definitions.operands import OPERANDS
from greenroom.definitions.schedules import CATCH_UP, DST, OVERLAP
from greenroom.definitions.values import Json

SCHEMA_ID: Final = "greenroom://workflow.v1.json"

_ABOUT: Final = {
    "schema_version": "Always 1.",
    "name": "What the workflow is called everywhere.",
    "enabled": "false: events and schedules start nothing; what runs goes on.",
    "tags": "Words to find it by.",
    "key": "An expression over the input: at most one live instance has each key.",
    "attributes": "Names by which instances are found, each an expression over the input.",
    "concurrency": "How many live at once, for each value of key; who comes then waits, or not.",
    "rate": "How many begin in a time, for each value of key; the others wait.",
    "retention": "How long instances that have ended are kept; else until somebody prunes.",
    "source": "What starts it: a custom event, a schedule, or an event of a connector.",
    "actions": "What it does, in ascending order.",
    "type": "A core action (Core:Log), or with connector_id an action of that connector.",
    "order": "Actions are done in ascending order; gaps are fine.",
    "condition": "Asked before the action; on_fail says what a no does.",
    "parameters": "Constants, expressions (::path), and texts with {variables}.",
    "variables": "Values for {name} in the texts beside them: constants or expressions.",
    "transform": "Key paths of the state to values; expressions read the response.",
    "remove": "Key paths to take out of the state.",
    "on_error": "How often and when to try again, and what the last failure does; of a workflow: "
    "what its actions do that say nothing of their own.",
    "timeout": "After this long an attempt has failed; of a workflow: the instance.",
    "wait_for_callback": "The response is what is posted to {callback_route}; timeout says how long.",
    "debounce": "Wait until no further event has come for a while, and take the last.",
    "throttle": "How many may start in a time; the others wait for their turn.",
    "batch": "One instance for many events: its input is {events: [...]}.",
    "compensate": "The action that takes this one back when the instance fails or is cancelled.",
    "connector_id": "The connector that has the action or event.",
    "description": "For people.",
}


def document_schema(connectors: Iterable[Connector] = ()) -> dict[str, Any]:
    """The schema of workflow documents; connectors add their actions and events."""
    known = {one.id: one for one in connectors}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Greenroom workflow",
        "type": "object",
        "properties": _told(DOCUMENT_KEYS),
        "required": ["schema_version", "name", "actions"],
        "additionalProperties": False,
        "$defs": {
            "expression": {
                "type": "string",
                "pattern": "^::",
                "description": "JMESPath behind two colons; alone they are the whole source.",
            },
            "condition": _condition(),
            "schedule": _schedule(),
            "source": _source(known),
            "action": _action(known),
        },
    }


def _told(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**schema, "description": _ABOUT[name]} if name in _ABOUT else dict(schema)
        for name, schema in keys.items()
    }


def _only(keys: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: False for name in keys if name not in names}


def _when(test: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": test, "required": list(test)}, "then": then}


def _action(connectors: Mapping[str, Connector]) -> dict[str, Any]:
    kinds = [prefix + name for prefix in reversed(CORE) for name in CORE_ACTIONS]
    return {
        "type": "object",
        "properties": _told(ACTION_KEYS)
        | {"type": {"type": "string", "description": _ABOUT["type"], "examples": kinds}},
        "required": ["type", "order"],
        "additionalProperties": False,
        "allOf": [
            *(_core_action(name, core) for name, core in CORE_ACTIONS.items()),
            *_connector_actions(connectors),
        ],
    }


def _core_action(name: str, core: Core) -> dict[str, Any]:
    keys = (*COMMON_KEYS, *core.keys)
    then: dict[str, Any] = {
        "description": core.about,
        "properties": _only(ACTION_KEYS, keys),
    }
    if core.parameters is None:
        then["properties"]["parameters"] = {"type": "object", "maxProperties": 0}
        then["anyOf"] = [{"required": ["transform"]}, {"required": ["remove"]}]
    else:
        then["properties"]["parameters"] = core.parameters
        if core.parameters.get("required"):
            then["required"] = ["parameters"]
    return _when({"type": {"enum": [prefix + name for prefix in CORE]}}, then)


def _connector_actions(connectors: Mapping[str, Connector]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, connector in sorted(connectors.items()):
        found.append(
            _when(
                {"connector_id": {"const": name}},
                {
                    "properties": {
                        "type": {"enum": sorted(connector.actions)},
                        **_only(ACTION_KEYS, (*COMMON_KEYS, *CONNECTOR_KEYS)),
                    }
                },
            )
        )
        for kind, action in sorted(connector.actions.items()):
            if action.schema is not None:
                then = {"properties": {"parameters": open_schema(action.schema.source)}}
                test = {"connector_id": {"const": name}, "type": {"const": kind}}
                found.append(_when(test, then))
    return found


def open_schema(schema: Json) -> Json:
    """A schema whose values may be expressions instead, at every place that is not the whole."""
    if not isinstance(schema, dict):
        return schema
    opened = dict(schema)
    for name in ("properties", "patternProperties"):
        if isinstance(schema.get(name), dict):
            opened[name] = {key: _or_expression(one) for key, one in schema[name].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            opened[name] = _or_expression(schema[name])
    return opened


def _or_expression(schema: Json) -> Json:
    if not isinstance(schema, dict):
        return schema
    return {"anyOf": [open_schema(schema), {"$ref": "#/$defs/expression"}]}


def _source(connectors: Mapping[str, Connector]) -> dict[str, Any]:
    kinds = [prefix + name for prefix in reversed(CORE) for name in SOURCES]
    rules = [
        _when(
            {"type": {"enum": [prefix + name for prefix in CORE]}},
            {
                "required": ["parameters"],
                "properties": {"parameters": schema, "connector_id": False}
                | (dict.fromkeys(("condition", *COLLECTING), False) if name == "Schedule" else {}),
            },
        )
        for name, schema in SOURCES.items()
    ]
    rules += [
        _when(
            {"connector_id": {"const": name}},
            {"properties": {"type": {"enum": sorted(connector.events)}}},
        )
        for name, connector in sorted(connectors.items())
    ]
    return {
        "type": "object",
        "properties": _told(SOURCE_KEYS) | {"type": {"type": "string", "examples": kinds}},
        "required": ["type"],
        "additionalProperties": False,
        "allOf": rules,
    }


def _condition() -> dict[str, Any]:
    group = {"type": "array", "minItems": 1, "maxItems": GROUP_MAX}
    attribute = {
        "type": "object",
        "properties": {
            "type": {"enum": list(OPERANDS)},
            "attribute": {"type": "string", "pattern": "^::"},
            "operator": {"type": "string"},
            "value": {},
        },
        "required": ["type", "attribute", "operator", "value"],
        "additionalProperties": False,
        "allOf": [
            _when(
                {"type": {"const": kind}},
                {"properties": {"operator": {"enum": list(operand.operators)}}},
            )
            for kind, operand in OPERANDS.items()
        ],
    }
    criterion = {
        "type": "object",
        "properties": {
            "operator": {"enum": list(JOINS), "default": "and"},
            "attributes": {**group, "items": attribute},
        },
        "required": ["attributes"],
        "additionalProperties": False,
    }
    whole = {
        "type": "object",
        "properties": {
            "operator": {"enum": list(JOINS), "default": "and"},
            "criteria": {**group, "items": criterion},
            "on_fail": {"enum": list(ON_FAIL), "default": "fail"},
        },
        "required": ["criteria"],
        "additionalProperties": False,
    }
    return {"anyOf": [whole, {"type": "object", "maxProperties": 0}]}


def _schedule() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "cron": {**text, "examples": ["0 20 * * 5", "@daily"]},
            "rate": {**text, "examples": ["5 minutes", "4 hours"]},
            "at": {"type": ["string", "number"]},
            "every": text,
            "on": {},
            "timezone": {**text, "examples": ["Europe/Paris"]},
            "dst": {"enum": list(DST)},
            "seconds": {"const": "first"},
            "catch_up": {"enum": list(CATCH_UP)},
            "overlap": {"enum": list(OVERLAP)},
        },
    }
