"""The OpenAPI 3.1 document, made from the table of routes and the types the engine works with."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any, Final

import msgspec

from greenroom.runtime.engine import VERSION
from greenroom.runtime.web import table
from greenroom.runtime.web.access import SCOPES
from greenroom.runtime.web.bulk import NDJSON
from greenroom.runtime.web.cloudevents import MANY, ONE
from greenroom.runtime.web.feed import MEDIA_TYPE as FEED
from greenroom.runtime.web.problems import MEDIA_TYPE as PROBLEM
from greenroom.runtime.web.problems import ProblemDetails

REF: Final = "#/components/schemas/{name}"
JSON: Final = "application/json"
EVENT: Final = "Event"

_EVENT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "title": EVENT,
    "description": "An event with the attribute names of CloudEvents 1.0. Lower-case extra "
    "attributes with scalar values are kept; any other key is refused.",
    "required": ["type"],
    "properties": {
        "type": {"type": "string", "minLength": 1, "maxLength": 256},
        "id": {"type": "string", "maxLength": 256},
        "source": {"type": "string", "maxLength": 256},
        "subject": {"type": ["string", "null"]},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "data": {},
    },
}


def document(root_path: str = "") -> dict[str, Any]:
    """The document of an application that is mounted at `root_path`."""
    made = copy.deepcopy(_document())
    made["servers"] = [{"url": root_path or "/"}]
    return made


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    shapes = {route.gives for route in table.ROUTES} | {ProblemDetails}
    takes = {table.params_of(route) for route in table.ROUTES}
    types = [*sorted(shapes | takes, key=str)]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in table.ROUTES:
        params = components[_name(by_type[table.params_of(route)])]
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, params, by_type[route.gives]
        )
    paths["/hooks/{path}"] = _outside("hook", "path", "A hook of a stage or connector.")
    components[EVENT] = _EVENT_SCHEMA
    for kind in takes:  # they are spelt out where they are taken
        del components[_name(by_type[kind])]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "greenroom",
            "version": VERSION,
            "description": "The verbs of a greenroom engine. Errors are `application/problem+json` "
            "with a `code` that is the same in every face.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`greenroom key create`) or a token of the OIDC "
                    f"issuer. Scopes: {', '.join(f'{k} ({v})' for k, v in SCOPES.items())}.",
                }
            },
        },
    }


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _operation(route: table.Route, params: dict[str, Any], gives: dict[str, Any]) -> dict[str, Any]:
    fields = dict(params.get("properties", {}))
    required = set(params.get("required", ()))
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": fields.pop(name, {"type": "string"}),
        }
        for name in route.names
    ]
    whole = fields.pop(route.whole, None) if route.whole else None
    in_query = route.method in ("GET", "DELETE") or route.whole is not None
    if in_query:
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in fields.items()
        ]
    made: dict[str, Any] = {
        "operationId": f"{route.operation}{_suffix(route)}",
        "summary": route.about,
        "tags": [route.path.split("/")[2] if route.path.startswith("/v1/") else "service"],
        "x-scope": route.scope,
        "responses": _responses(route, gives),
    }
    if parameters:
        made["parameters"] = parameters
    if route.scope == table.PUBLIC:
        made["security"] = []
    if route.method in ("POST", "PUT"):
        if whole is not None:
            made["requestBody"] = {"required": True, "content": _whole(route, whole)}
        elif fields:
            needed = [name for name in fields if name in required]
            schema = {"type": "object", "properties": fields, "additionalProperties": False}
            if needed:
                schema["required"] = needed
            made["requestBody"] = {
                "required": bool(needed),
                "content": {JSON: {"schema": schema}},
            }
    return made


def _suffix(route: table.Route) -> str:
    """Two routes may carry out one method."""
    if route.kind == "token":
        return "_by_token"
    if route.method == "PUT":
        return "_by_name"
    return "_of_instance" if route.kind == "feed" and route.names else ""


def _whole(route: table.Route, schema: dict[str, Any]) -> dict[str, Any]:
    if route.whole != "event":
        return {JSON: {"schema": schema}}
    event = {"$ref": REF.format(name=EVENT)}
    if route.kind != "bulk":
        return {JSON: {"schema": event}}
    many = {"type": "array", "items": event}
    return {
        JSON: {"schema": {"anyOf": [event, many]}},
        NDJSON: {"schema": {"type": "string", "description": "One event a line."}},
        ONE: {"schema": event},
        MANY: {"schema": many},
    }


def _responses(route: table.Route, gives: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": gives}}
    if route.kind == "feed":
        content = {FEED: {"schema": {"type": "string"}}}
    elif route.call == "metrics":
        content = {"text/plain": {"schema": {"type": "string"}}}
    elif route.call == "history":
        content[NDJSON] = {"schema": {"type": "string", "description": "One entry a line."}}
    elif route.kind == "bulk":
        one = {"anyOf": [gives, {"type": "object", "required": ["error"]}]}
        content = {
            JSON: {"schema": {"anyOf": [gives, {"type": "array", "items": one}]}},
            NDJSON: {"schema": {"type": "string", "description": "One answer a line."}},
        }
    problem = {PROBLEM: {"schema": {"$ref": REF.format(name="ProblemDetails")}}}
    return {
        str(route.status): {"description": "As asked.", "content": content},
        "default": {"description": "An error.", "content": problem},
    }


def _outside(operation: str, name: str, about: str) -> dict[str, Any]:
    parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "post": {
            "operationId": operation,
            "summary": about,
            "tags": ["hooks"],
            "security": [],
            "x-scope": table.PUBLIC,
            "parameters": [parameter],
            "requestBody": {"content": {"*/*": {"schema": {}}}},
            "responses": {"default": {"description": "What the hook answers."}},
        }
    }
