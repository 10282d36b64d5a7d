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
from greenroom.definitions.shapes import Schema
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


SOURCES_ABOUT: Final = {
    "CustomEvent": "Events of one type, from anywhere; their data is the input.",
    "Schedule": "A cron expression, a rate or a time; there is no input.",
}

PARAMETERS: Final = {
    "event_type": "The type of the event.",
    "content_type": "What body is, as application/json; together with body.",
    "body": "The data of the event: any value, or JSON text.",
    "subject": "What the event is about; events of one subject are routed in order.",
    "workflow_id": "The name of the workflow.",
    "workflow_version": "Which version; the released one if not told.",
    "workflow_input": "Its input; the state if not told.",
    "key": "The name the value is kept under.",
    "RunWorkflow.key": "At most one live instance has each key.",
    "mode": "wait: its result is the response. async: go on at once.",
    "Iterator.mode": "sequential: one item after the other. parallel: at the same time.",
    "array_path": "An expression that finds the list.",
    "actions": "What is done for each item; the item is their state.",
    "limit": "How many items at once, with mode parallel.",
    "on_item_error": "fail: the instance fails. continue: leave the item out. collect: keep its error.",
    "branches": "Asked in ascending order; the first whose condition holds is taken.",
    "seconds": "How long, in seconds.",
    "duration": 'How long, as "1h30m" or "3 days".',
    "until": "A time: ISO 8601, or seconds since 1970.",
    "where": "Paths of the event to the values they must have, as data.id.",
    "since": "What counts as come already: events since the start of the instance, or from now on.",
    "on_timeout": "When the time is over: continue with null, fail, or stop.",
    "title": "The question, as people read it.",
    "schema": "JSON Schema of what may be answered: its properties are the fields.",
    "kind": "form: fields of schema. approval: yes or no.",
    "assignee": "Who is asked: a user, team:NAME or role:NAME.",
    "operation": "What is done with the value.",
    "scope": "Who shares the value: everybody, this workflow, or this instance alone.",
    "value": "What is written, or by how much it is counted.",
    "ttl": "How long it is kept.",
    "text": "The line.",
    "level": "How important it is.",
    "data": "A value to log beside the text.",
    "step": "The name of a step on offer (@offer).",
    "arguments": "Its arguments by name.",
}
"""What a parameter of a core action is for; `Kind.name` where one name means two things."""


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
    services = [_of_connector(name, one) for name, one in sorted(connectors.items())]
    core = [_core_action(name, core) for name, core in CORE_ACTIONS.items()]
    return {
        "type": "object",
        "properties": _with_services(ACTION_KEYS, list(connectors)),
        "required": ["type", "order"],
        "additionalProperties": False,
        "if": {"required": ["connector_id"]},
        "then": {
            "properties": _only(ACTION_KEYS, (*COMMON_KEYS, *CONNECTOR_KEYS)),
            **_all(services),
        },
        "else": {
            "properties": {"type": _kinds({name: one.about for name, one in CORE_ACTIONS.items()})},
            **_all(core),
        },
    }


def _with_services(keys: Mapping[str, Any], connectors: list[str]) -> dict[str, Any]:
    """Keys with what they are for, `connector_id` with the connectors there are to choose from."""
    told = _told(keys)
    return {**told, "connector_id": {**told["connector_id"], "examples": sorted(connectors)}}


def _all(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"allOf": rules} if rules else {}


def _kinds(about: Mapping[str, str]) -> dict[str, Any]:
    """The names of core types, short ones first, with what editors show beside each."""
    prefixes = CORE[::-1]
    return {
        "enum": [prefix + name for prefix in prefixes for name in about],
        "enumDescriptions": [text for _ in prefixes for text in about.values()],
    }


def _core_action(name: str, core: Core) -> dict[str, Any]:
    then: dict[str, Any] = {
        "description": core.about,
        "properties": _only(ACTION_KEYS, (*COMMON_KEYS, *core.keys)),
    }
    if core.parameters is None:
        then["properties"]["parameters"] = {"type": "object", "maxProperties": 0}
        then["anyOf"] = [{"required": ["transform"]}, {"required": ["remove"]}]
    else:
        then["properties"]["parameters"] = _parameters(name, core.parameters)
        if core.parameters.get("required"):
            then["required"] = ["parameters"]
    return _when({"type": {"enum": [prefix + name for prefix in CORE]}}, then)


def _parameters(kind: str, schema: Schema) -> dict[str, Any]:
    """The parameters of a core action, each with what it is for."""
    told = {
        name: {**one, "description": PARAMETERS.get(f"{kind}.{name}") or PARAMETERS[name]}
        for name, one in schema["properties"].items()
    }
    return {**schema, "properties": told}


def _of_connector(name: str, connector: Connector) -> dict[str, Any]:
    """Once its connector is named, an action has one of its types, and each type its parameters."""
    types = sorted(connector.actions)
    rules = []
    for kind, action in sorted(connector.actions.items()):
        if action.schema is not None:
            then = {"properties": {"parameters": open_schema(action.schema.source)}}
            rules.append(_when({"type": {"const": kind}}, then))
    of_type = {"properties": {"type": {"enum": types}} if types else {}, **_all(rules)}
    return _when({"connector_id": {"const": name}}, of_type)


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
    core = [
        _when(
            {"type": {"enum": [prefix + name for prefix in CORE]}},
            {
                "required": ["parameters"],
                "properties": {"parameters": schema}
                | (dict.fromkeys(("condition", *COLLECTING), False) if name == "Schedule" else {}),
            },
        )
        for name, schema in SOURCES.items()
    ]
    known = {name: sorted(one.events) for name, one in sorted(connectors.items()) if one.events}
    events = [
        _when({"connector_id": {"const": name}}, {"properties": {"type": {"enum": types}}})
        for name, types in known.items()
    ]
    return {
        "type": "object",
        "properties": _with_services(SOURCE_KEYS, list(known)),
        "required": ["type"],
        "additionalProperties": False,
        "if": {"required": ["connector_id"]},
        "then": {"properties": {"parameters": False}, **_all(events)},
        "else": {"properties": {"type": _kinds(SOURCES_ABOUT)}, **_all(core)},
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
