"""A form in the terminal: the JSON Schema of a page, asked field by field.

Questions go to standard error, so that standard output stays the answer. Nothing is checked here:
what was typed is sent, and the errors that come back are shown beside their fields when these are
asked again.
"""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from greenroom.definitions.errors import FormInvalid, FormNotComplete
from greenroom.runtime.cli import output
from greenroom.runtime.cli.words import compact, visible

Data = dict[str, Any]

LEAVE_OUT: Final = object()
_NOTHING: Final[Mapping[str, Any]] = {}
_YES: Final = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}


def fill(send: Callable[[list[Any]], Any], schema: Data | None, given: list[Any]) -> Any:
    """Asks page after page, after those that were `given`, until `send(pages)` takes them; gives
    its reply. `schema` is that of the next page, None when `send` is to say it."""
    pages = list(given)
    asked: dict[int, Data] = {}
    while True:
        if schema is not None:
            asked[len(pages)] = schema
            pages.append(page(schema))
        try:
            return send(pages)
        except FormNotComplete as wanted:
            schema = wanted.schema
        except FormInvalid as wrong:
            place = (wrong.details.get("page") or 0) - 1
            if place not in asked:
                raise
            del pages[place + 1 :]  # what follows may depend on it and is asked again
            pages[place] = _again(asked[place], pages[place], wrong.errors)
            schema = None


def page(
    schema: Data, known: Mapping[str, Any] = _NOTHING, wrong: Mapping[str, str] = _NOTHING
) -> Data:
    """The answers to one page. With `known` answers only the `wrong` fields are asked again."""
    if not known:
        title = schema.get("title")
        if title and title != "unknown" and title not in _asked(schema):
            output.heading(str(title))
        if schema.get("description"):
            output.note(str(schema["description"]))
    return _object(schema, schema.get("$defs") or {}, "", known, wrong)


def _asked(schema: Data) -> list[str]:
    """The texts of the questions of a page, which need not be said twice."""
    fields = (schema.get("properties") or {}).values()
    return [str(one.get("title")) for one in fields if one.get("format") != "label"]


def _again(schema: Data, known: Data, errors: list[Data]) -> Data:
    fields = schema.get("properties") or {}
    wrong: dict[str, str] = {}
    for error in errors:
        place = ".".join(map(str, error["loc"])).removesuffix("__root__").rstrip(".")
        output.note(f"  {place} {error['msg']}".rstrip() if place else f"  {error['msg']}")
        if error["loc"] and error["loc"][0] in fields:
            wrong[str(error["loc"][0])] = str(error["msg"])
    return page(schema, known, wrong) if wrong else page(schema)


def _object(
    schema: Data, defs: Data, prefix: str, known: Mapping[str, Any], wrong: Mapping[str, str]
) -> Data:
    found: Data = {}
    required = schema.get("required") or ()
    for name, field in (schema.get("properties") or {}).items():
        if wrong and name not in wrong:
            if name in known:
                found[name] = known[name]
            continue
        value = _field(resolved(field, defs), defs, prefix + name, name in required)
        if value is not LEAVE_OUT:
            found[name] = value
    return found


def resolved(field: Data, defs: Data) -> Data:
    """A field without references; of "this or nothing" the this."""
    while "$ref" in field:
        own = {key: value for key, value in field.items() if key != "$ref"}
        field = {**defs.get(str(field["$ref"]).rsplit("/", 1)[-1], {}), **own}
    choices = [one for one in field.get("anyOf") or () if one.get("type") != "null"]
    if len(choices) == 1:
        own = {key: value for key, value in field.items() if key != "anyOf"}
        return {**resolved(choices[0], defs), **own, "nullable": True}
    return field


def _field(field: Data, defs: Data, name: str, required: bool) -> Any:
    from greenroom.definitions.questions import UPLOAD  # noqa: PLC0415  start-up time

    look = field.get("format")
    if look in ("label", "divider", "hidden"):
        if look != "hidden":
            output.note("-" * 40 if look == "divider" else str(field.get("default") or ""))
        return LEAVE_OUT
    if "const" in field or (field.get("uniforms") or {}).get("disabled"):
        output.note(f"{_label(field, name)}: {compact(field.get('default', field.get('const')))}")
        return LEAVE_OUT
    if look == UPLOAD:
        return _file(str(field.get("title") or name), required)
    if field.get("properties"):
        if not required and not _yes_no(f"{_label(field, name)}?", False):
            return LEAVE_OUT
        return _object(field, defs, f"{name}.", _NOTHING, _NOTHING)
    if look == "accept":
        for item in field.get("data") or ():
            output.note(f"  - {item[0] if isinstance(item, list) and item else item}")
        return "ACCEPTED" if _yes_no(f"{_label(field, name)}?", None) else "INCOMPLETE"
    if field.get("type") == "boolean":
        default = field.get("default")
        return _yes_no(_label(field, name), default if isinstance(default, bool) else None)
    return _typed(field, defs, name, required)


def _typed(field: Data, defs: Data, name: str, required: bool) -> Any:
    many = field.get("type") == "array"
    item = resolved(field.get("items") or {}, defs) if many and field.get("items") else field
    values = item.get("enum")
    if values:
        labels = item.get("options") or {}
        for number, value in enumerate(values, 1):
            output.note(f"  {number}  {labels.get(value, value)}")
    hint = " (several, with commas)" if many else " (JSON)" if field.get("type") == "object" else ""
    default = field.get("default")
    shown = f" [{compact(default)}]" if default not in (None, "", []) else ""
    long = field.get("format") == "long"
    while True:
        text = _long(_label(field, name)) if long else _line(f"{_label(field, name)}{hint}{shown}")
        if text == "":
            if not required:
                return LEAVE_OUT
            output.note('  it is required; "" is the empty text')
            continue
        if text == '""':
            return ""
        if many:
            return [_one(part.strip(), values, item) for part in text.split(",") if part.strip()]
        return _one(text, values, field)


def _one(text: str, values: list[Any] | None, field: Data) -> Any:
    """What was typed: the number or value of a choice, JSON where the type needs it, else text."""
    if values:
        if text in map(str, values):
            return next(value for value in values if str(value) == text)
        if text.isdigit() and 1 <= int(text) <= len(values):
            return values[int(text) - 1]
        return text
    if field.get("type") in ("object", "array"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _label(field: Data, name: str) -> str:
    title = str(field.get("title") or name)
    more = field.get("description")
    return f"{title} ({more})" if more else title


def _file(label: str, required: bool) -> Any:
    """A file of this machine, by its path."""
    while True:
        text = _line(f"{label} (the path of a file)")
        if text == "" and not required:
            return LEAVE_OUT
        path = Path(text).expanduser()
        try:
            content = base64.b64encode(path.read_bytes()).decode()
        except OSError as error:
            output.note(f"  {text or 'it'} cannot be read: {error.strerror}")
            continue
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return {"name": path.name, "type": kind, "content": content}


def _line(text: str) -> str:
    answer: str = click.prompt(visible(text), default="", show_default=False, err=True)
    return answer.strip()


def _long(label: str) -> str:
    output.note(f"{label}, an empty line ends it")
    lines: list[str] = []
    while True:
        line: str = click.prompt("", default="", show_default=False, prompt_suffix="> ", err=True)
        if not line:
            return "\n".join(lines)
        lines.append(line)


def _yes_no(label: str, default: bool | None) -> bool:
    marks = "y/n" if default is None else "Y/n" if default else "y/N"
    while True:
        text = _line(f"{label} [{marks}]").lower()
        if text == "" and default is not None:
            return default
        if text in _YES:
            return _YES[text]


# -- shown, not asked ---------------------------------------------------------------------------


def fields(schema: Data | None) -> list[str]:
    """`comment   text, "" by default`: the fields of a page, one a line."""
    found = (schema or {}).get("properties") or {}
    width = max(map(len, found), default=0)
    required = (schema or {}).get("required") or ()
    defs = (schema or {}).get("$defs") or {}
    return [
        f"{name:<{width}}  {_described(resolved(field, defs), name in required)}"
        for name, field in found.items()
    ]


def _described(field: Data, required: bool) -> str:
    if "const" in field:
        return f"{compact(field['const'])}, read-only"
    what = field.get("format") or field.get("type") or "any"
    if field.get("enum"):
        what = "one of " + ", ".join(map(str, field["enum"]))
    if required:
        return f"{what}, required"
    default = field.get("default")
    return f"{what}, {compact(default)} by default" if default is not None else str(what)
