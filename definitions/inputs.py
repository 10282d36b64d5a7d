"""What a workflow is started with, as a JSON Schema: the fields of a form before an instance exists.

A program says it by its arguments, a class by those of its constructor, a flow and a stage graph by
what they ask. A step list and a document declare no input: their first step, their key, their
attributes and the condition of their source say what they will look for, and anything else may be
given beside it. The schema draws a form and refuses nothing; what is wrong with an input the start
itself says.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from greenroom.definitions.injection import VIRTUAL, Injector
from greenroom.definitions.located import read_located
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Node, Plan

Schema = dict[str, Any]

_PATH: Final = re.compile(r"::([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_DOCUMENT_TYPES: Final = {"String": "string", "Number": "number", "Boolean": "boolean"}
_EMPTY: Final = inspect.Parameter.empty
_DEPTH: Final = 4


def input_schema(definition: Definition) -> Schema:
    """An object schema; {} where nothing is known of the input. `additionalProperties` is false
    where nothing but its fields may be given."""
    if definition.desk is not None:
        return definition.desk.schema()
    body = definition.body
    if isinstance(body, Plan):
        return _written(definition) if definition.written is not None else _steps(definition, body)
    if body.injector is not None:
        return _function(body.injector)
    return _class(body.cls) if body.cls is not None else {}


# -- code ----------------------------------------------------------------------------------------


def _function(taken: Injector) -> Schema:
    made = _object()
    for one in taken.parameters:
        if one.name == "state" or one.resource is not None:
            return {}
        if one.name not in VIRTUAL:
            _add(made, one.name, one.annotation, one.default)
    made["additionalProperties"] = taken.open_keywords
    return made


def _class(cls: type) -> Schema:
    init: Any = vars(cls).get("__init__") or getattr(cls, "__init__", None)
    if init is object.__init__:
        return {**_object(), "additionalProperties": True}
    try:
        hints = typing.get_type_hints(init)
    except Exception:  # names that are imported for type checkers alone, and whatever else
        hints = {}
    made = _object()
    open_keywords = False
    for one in list(inspect.signature(init).parameters.values())[1:]:
        if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            open_keywords = True
            continue
        _add(made, one.name, hints.get(one.name, one.annotation), one.default)
    made["additionalProperties"] = open_keywords
    return made


def _steps(definition: Definition, plan: Plan) -> Schema:
    made = _object()
    for node in _first(plan.nodes):
        taken = node.target.injector if node.target is not None else None
        for one in taken.parameters if taken is not None else ():
            is_given = one.name in VIRTUAL or one.name.startswith("callback_")
            if one.name != "state" and one.resource is None and not is_given:
                _add(made, one.name, one.annotation, one.default)
    for source in [t.key.source for t in definition.triggers if t.key is not None]:
        for path in _paths(source):
            if path.startswith("data."):
                _put(made, path.removeprefix("data."), {"type": "string"})
    for value in definition.attributes.values():
        for path in _paths(value.source):
            _put(made, path, {"type": "string"})
    return made if made["properties"] else {}


def _first(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """What can run first: the first node, inside a scope the first of each lane."""
    if not nodes:
        return
    if not nodes[0].lanes:
        yield nodes[0]
    for lane in nodes[0].lanes:
        yield from _first(lane.nodes)


def _object() -> Schema:
    return {"type": "object", "properties": {}, "required": []}


def _add(made: Schema, name: str, annotation: Any, default: Any) -> None:
    field, defs = _field(annotation)
    field["title"] = name
    if default is _EMPTY:
        made["required"].append(name)
    elif default is not None:
        with_default = msgspec.json.encode(default, enc_hook=str)
        field["default"] = msgspec.json.decode(with_default)
    made["properties"][name] = field
    if defs:
        made.setdefault("$defs", {}).update(defs)


def _field(annotation: Any) -> tuple[Schema, Schema]:
    """The schema of an annotation and what it refers to. Without one a value is text; of a type
    nobody knows it is written as JSON."""
    if annotation is _EMPTY or annotation is Any:
        return {"type": "string"}, {}
    try:
        (field,), defs = msgspec.json.schema_components([annotation])
    except Exception:  # a type of somebody else's; it may raise anything
        return {"type": "object"}, {}
    return dict(field), defs


# -- documents -----------------------------------------------------------------------------------


def _written(definition: Definition) -> Schema:
    document = definition.written.document if definition.written is not None else None
    if isinstance(document, str):
        document = read_located(document).data
    made = _object()
    source = document.get("source") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(source, dict):
        return {}
    for attribute in _attributes(source.get("condition")):
        name = str(attribute.get("attribute", ""))
        for path in _paths(name if name.startswith("::") else f"::{name}"):
            kind = _DOCUMENT_TYPES.get(str(attribute.get("type")))
            _put(made, path, {"type": kind} if kind else {"type": "object"})
    for written in (document.get("key"), document.get("attributes"), source.get("transform")):
        for path in _paths(written):
            _put(made, path, {"type": "string"})
    return made if made["properties"] else {}


def _attributes(condition: Json) -> Iterator[Mapping[str, Json]]:
    """The tests of a condition."""
    criteria = condition.get("criteria") if isinstance(condition, dict) else None
    for criterion in criteria if isinstance(criteria, list) else ():
        tests = criterion.get("attributes") if isinstance(criterion, dict) else None
        yield from (
            one for one in (tests if isinstance(tests, list) else ()) if isinstance(one, dict)
        )


def _paths(value: Json) -> Iterator[str]:
    """The plain paths that expressions in a value begin with."""
    if isinstance(value, str):
        yield from _PATH.findall(value)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _paths(one)
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one)


def _put(made: Schema, path: str, leaf: Schema) -> None:
    """Puts a field at a path, in objects inside objects; what is there already stays."""
    names = path.split(".")
    if len(names) > _DEPTH:
        return
    for name in names[:-1]:
        inner = made["properties"].setdefault(name, {**_object(), "title": name})
        if "properties" not in inner:
            return
        made = inner
    made["properties"].setdefault(names[-1], {**leaf, "title": names[-1]})
