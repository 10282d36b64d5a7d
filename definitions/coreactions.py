"""The core actions and sources of a document, and the shape of everything around them.

One table says what may be written; the checker reads it to say what is wrong, and the JSON Schema
for editors is made from it, so the two cannot disagree.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.shapes import EXPRESSION, Schema

CORE: Final = ("Flexli:CoreV1:", "Core:")
"""How core types begin: as in the original, and short."""

ACTIONS_MAX: Final = 100
ACTIONS_IN_ALL_MAX: Final = 200
"""Of a document, those inside others too."""
ORDER_MAX: Final = 100
NESTED_MAX: Final = 8
RETRIES_MAX: Final = 10
VARIABLES_MAX: Final = 100


def core_name(kind: Any) -> str | None:
    """`Log` of `Core:Log`; None for what is no core type."""
    if isinstance(kind, str):
        for prefix in CORE:
            if kind.startswith(prefix):
                return kind[len(prefix) :]
    return None


def either(schema: Schema) -> Schema:
    """The schema, or an expression that will give such a value."""
    return {"anyOf": [schema, {"$ref": EXPRESSION}]}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT: Final[Schema] = {"type": "string"}
NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": NAME_MAX}
ANY: Final[Schema] = {}
FLAG: Final[Schema] = {"type": "boolean"}
DURATION: Final[Schema] = {
    "type": ["number", "string"],
    "minimum": 0,
    "title": 'a duration such as "30s" or "3 days", or a number of seconds',
}
EXPRESSION_ONLY: Final[Schema] = {
    "type": "string",
    "pattern": "^::",
    "title": 'an expression such as "::user.id"',
}
COUNT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 1000}
ORDER: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": ORDER_MAX}
SCHEMA_OF: Final[Schema] = {"type": "object", "title": "a JSON Schema object"}


def _list_of(items: Schema, most: int = ACTIONS_MAX) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "maxItems": most, "items": items}


ACTIONS: Final[Schema] = _list_of({"$ref": "#/$defs/action"})
CONDITION: Final[Schema] = {"$ref": "#/$defs/condition"}


class Core(NamedTuple):
    """One core action: what it does, the schema of its `parameters` (None: it takes none), and
    the keys of an action it takes beyond those all take."""

    about: str
    parameters: Schema | None
    keys: tuple[str, ...] = ()


CORE_ACTIONS: Final[dict[str, Core]] = {
    "CustomEvent": Core(
        "Emits an event; workflows with a CustomEvent source of this type start.",
        _object(
            ("event_type",),
            event_type=either(NAME),
            content_type=either(NAME),
            body=ANY,
            subject=either(NAME),
        ),
    ),
    "RunWorkflow": Core(
        "Starts another workflow, and waits for it unless mode is async. The response is its "
        "result, or with async its instance.",
        _object(
            ("workflow_id",),
            workflow_id=NAME,
            workflow_version={"type": "integer", "minimum": 1},
            workflow_input=ANY,
            key=either({"type": ["string", "number"], "title": "text or a number"}),
            mode={"enum": ["wait", "async"]},
        ),
        ("wait_for_callback", "on_error"),
    ),
    "Iterator": Core(
        "Runs actions for each item of a list, with the item as their state. The response is the "
        "list of what the items became.",
        _object(
            ("array_path", "actions"),
            array_path=EXPRESSION_ONLY,
            actions=ACTIONS,
            mode={"enum": ["sequential", "parallel"]},
            limit={"type": "integer", "minimum": 1, "maximum": 1000},
            on_item_error={"enum": ["fail", "continue", "collect"]},
        ),
    ),
    "Branch": Core(
        "Runs the actions of the first branch whose condition holds; one without a condition "
        "always does.",
        _object(
            ("branches",),
            branches=_list_of(
                _object(
                    ("order", "actions"),
                    order=ORDER,
                    description=TEXT,
                    condition=CONDITION,
                    actions=ACTIONS,
                )
            ),
        ),
    ),
    "Transform": Core("Changes the state; its expressions read the state itself.", None),
    "Wait": Core(
        "Sleeps, durably.",
        _object(
            (),
            seconds=either({"type": "number", "minimum": 0, "title": "a number of seconds"}),
            duration=either(DURATION),
            until=either({"type": ["string", "number"], "title": "a time, as ISO 8601 or epoch"}),
        ),
    ),
    "WaitForEvent": Core(
        "Waits for an event. The response is the whole event, or null when the time is over.",
        _object(
            ("event_type",),
            event_type=either(NAME),
            where={"type": "object", "maxProperties": 32, "title": "a map of paths to values"},
            since={"anyOf": [{"enum": ["start", "now"]}, DURATION]},
            on_timeout={"enum": ["continue", "fail", "stop"]},
        ),
        ("timeout",),
    ),
    "WaitForCallback": Core(
        "Waits until somebody answers with the token of the open question. The response is what "
        "was sent, or null when the time is over.",
        _object(
            (),
            title=either(NAME),
            schema=SCHEMA_OF,
            on_timeout={"enum": ["continue", "fail", "stop"]},
        ),
        ("timeout",),
    ),
    "Ask": Core(
        "Asks a person. The response is the answer, or null when the time is over.",
        _object(
            ("kind",),
            kind={"enum": ["form", "approval"]},
            title=either(NAME),
            schema=SCHEMA_OF,
            assignee=either(NAME),
            on_timeout={"enum": ["continue", "fail", "stop"]},
        ),
        ("timeout",),
    ),
    "Data": Core(
        "Keeps values outside the instance, for 30 days unless ttl says otherwise. The response "
        "is the value, or the list of {key, value} a query found.",
        _object(
            ("operation", "key"),
            operation={"enum": ["read", "write", "query", "increment", "decrement", "delete"]},
            scope={"enum": ["account", "workflow", "run"]},
            key=either(NAME),
            value=ANY,
            ttl=DURATION,
        ),
        ("on_error", "compensate"),
    ),
    "Log": Core(
        "Writes a line to the log. The response is the text.",
        _object(
            ("text",),
            text=either(TEXT),
            level={"enum": ["debug", "info", "warning", "error"]},
            data=ANY,
        ),
    ),
    "Call": Core(
        "Calls a registered Python step. The response is what it returns.",
        _object(("step",), step=NAME, arguments={"type": "object"}),
        ("on_error", "timeout", "compensate"),
    ),
}

COMMON_KEYS: Final = (
    "type", "order", "description", "condition", "parameters", "variables", "transform", "remove",
)  # fmt: skip
CONNECTOR_KEYS: Final = (
    "connector_id", "on_error", "timeout", "wait_for_callback", "compensate",
)  # fmt: skip

ON_ERROR: Final[Schema] = _object(
    (),
    max_retries={"type": "integer", "minimum": 0, "maximum": RETRIES_MAX},
    retry_on={"type": "array", "minItems": 1, "maxItems": 20, "items": NAME},
    on_fail={"enum": ["fail", "skip", "stop"]},
    backoff=_object(
        (),
        wait=DURATION,
        rate={"type": "number", "minimum": 1, "maximum": 100},
        max=DURATION,
    ),
)

WORKFLOW_ON_ERROR: Final[Schema] = _object(
    ("max_retries",),
    **{name: ON_ERROR["properties"][name] for name in ("max_retries", "retry_on", "backoff")},
)
"""What actions do that say nothing of their own. What the last failure does is for each to say."""

ACTION_KEYS: Final[dict[str, Schema]] = {
    "connector_id": NAME,
    "type": NAME,
    "order": ORDER,
    "description": TEXT,
    "condition": CONDITION,
    "parameters": {"type": "object"},
    "variables": {"type": "object", "maxProperties": VARIABLES_MAX},
    "transform": {"type": "object"},
    "remove": {"type": "array", "minItems": 1, "maxItems": 100, "items": NAME},
    "on_error": ON_ERROR,
    "timeout": DURATION,
    "wait_for_callback": FLAG,
    "compensate": {"type": "object"},
}
UNDO_KEYS: Final = ("connector_id", "type", "description", "parameters", "variables", "timeout")
"""What takes an action back again is an action without a place of its own."""
UNDO_KINDS: Final = ("Call", "Data", "Log")
ACTION: Final[Schema] = _object(("type", "order"), **ACTION_KEYS)

SOURCE_KEYS: Final[dict[str, Schema]] = {
    "connector_id": NAME,
    "type": NAME,
    "parameters": {"type": "object"},
    "condition": CONDITION,
    "transform": {"type": "object"},
    "debounce": {
        "anyOf": [DURATION, _object(("quiet",), quiet=DURATION, at_most=DURATION)],
    },
    "throttle": {
        "anyOf": [DURATION, _object(("per",), limit=COUNT, per=DURATION)],
    },
    "batch": {"anyOf": [COUNT, _object(("size",), size=COUNT, within=DURATION)]},
}
COLLECTING: Final = ("debounce", "throttle", "batch")
SOURCE: Final[Schema] = _object(("type",), **SOURCE_KEYS)

SOURCES: Final[dict[str, Schema]] = {
    "CustomEvent": _object(("event_type",), event_type=NAME),
    "Schedule": {"$ref": "#/$defs/schedule"},
}

DOCUMENT_KEYS: Final[dict[str, Schema]] = {
    "$schema": TEXT,
    "schema_version": {"const": 1},
    "name": NAME,
    "description": TEXT,
    "enabled": FLAG,
    "tags": {"type": "array", "maxItems": 32, "items": NAME},
    "key": EXPRESSION_ONLY,
    "attributes": {
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": EXPRESSION_ONLY,
    },
    "concurrency": {
        "anyOf": [
            COUNT,
            _object(
                (),
                key=EXPRESSION_ONLY,
                limit=COUNT,
                on_conflict={"enum": ["queue", "skip", "cancel_oldest"]},
                priority=either({"type": "integer", "title": "a whole number"}),
            ),
        ]
    },
    "rate": _object(
        ("limit", "per"),
        limit=COUNT,
        per=DURATION,
        key=EXPRESSION_ONLY,
        priority=either({"type": "integer", "title": "a whole number"}),
    ),
    "timeout": DURATION,
    "retention": DURATION,
    "on_error": WORKFLOW_ON_ERROR,
    "source": {"$ref": "#/$defs/source"},
    "actions": ACTIONS,
}
DOCUMENT: Final[Schema] = _object(("schema_version", "name", "actions"), **DOCUMENT_KEYS)

DEFS: Final[dict[str, Schema]] = {"source": SOURCE}
"""What the checker finds by name. Actions, conditions and schedules have checkers of their own."""
