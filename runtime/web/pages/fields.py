"""A JSON Schema as the fields of a form, and what comes back as JSON.

The same schema every face asks with. Nothing is checked here: what was typed is made of the type
the schema names where that can be done, and the form's own rules judge it; their errors stand
beside their fields.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.datastructures import FormData, UploadFile

from greenroom.definitions.questions import UPLOAD
from greenroom.definitions.values import Json
from greenroom.runtime.cli.prompts import resolved

Schema = Mapping[str, Any]

PREFIX: Final = "f."
"""In front of every field's name, so that none is taken for one of the page's own."""
OCTETS: Final = "application/octet-stream"
RADIO_MAX: Final = 4
"""Choices up to which all are shown at once."""

_INPUT: Final = {
    "email": "email", "date": "date", "time": "time", "date-time": "datetime-local",
    "uri": "url", "password": "password",
}  # fmt: skip


class Field(msgspec.Struct):
    """One field. `look`: line, long, number, choice, radio, many, yes, json, list, file, shown, label,
    divider, group; `type` is that of an `<input>`."""

    name: str
    label: str
    look: str
    type: str = "text"
    hint: str = ""
    value: Any = None
    required: bool = False
    options: list[tuple[str, str]] = []
    limits: dict[str, Any] = {}
    error: str = ""
    inner: list[Field] = []

    @property
    def id(self) -> str:
        return self.name.replace(".", "-")


def fields_of(
    schema: Schema | None,
    known: Json = None,
    errors: Sequence[Mapping[str, Any]] = (),
) -> tuple[list[Field], list[str]]:
    """The fields of a page, filled with what is `known`, and the errors that belong to none."""
    wrong: dict[str, str] = {}
    for error in errors:
        place = ".".join(str(part) for part in error["loc"] if part != "__root__")
        wrong.setdefault(place, str(error["msg"]))
    schema = schema or {}
    made = list(_fields(schema, schema.get("$defs") or {}, "", known, wrong))
    own = {field.name.removeprefix(PREFIX) for field in walk(made)}
    shown = {place for place in wrong if any(_belongs(place, name) for name in own)}
    rest = [f"{place}: {text}" if place else text for place, text in wrong.items()
            if place not in shown]  # fmt: skip
    return made, rest


def walk(fields: Sequence[Field]) -> Iterator[Field]:
    for field in fields:
        yield field
        yield from walk(field.inner)


def _fields(
    schema: Schema, defs: Schema, prefix: str, known: Json, wrong: Mapping[str, str]
) -> Iterator[Field]:
    required = schema.get("required") or ()
    values = known if isinstance(known, dict) else {}
    for name, raw in (schema.get("properties") or {}).items():
        field = resolved(raw, dict(defs))
        look = field.get("format")
        if look == "hidden":
            continue
        place = prefix + name
        made = Field(
            PREFIX + place,
            str(field.get("title") or name.replace("_", " ")),
            "line",
            hint=str(field.get("description") or ""),
            value=values.get(name, field.get("default")),
            required=name in required,
            error=_error(place, wrong),
        )
        if look == UPLOAD:
            made.hint = str(raw.get("description") or "")
        _dress(made, field, defs, place, values.get(name), wrong)
        yield made


def _error(place: str, wrong: Mapping[str, str]) -> str:
    return "; ".join(text for key, text in wrong.items() if _belongs(key, place))


def _belongs(place: str, field: str) -> bool:
    """Whether an error at `place` stands beside a field: at it, or at an item of its list."""
    item = place.removeprefix(f"{field}.").partition(".")[0]
    return place == field or (place.startswith(f"{field}.") and item.isdecimal())


def _dress(
    made: Field, field: Schema, defs: Schema, place: str, known: Json, wrong: Mapping[str, str]
) -> None:
    """Chooses how a field looks."""
    look, kind = field.get("format"), field.get("type")
    if look in ("label", "divider"):
        made.look, made.required = str(look), False
        return
    if "const" in field or (field.get("uniforms") or {}).get("disabled"):
        made.look, made.value = "shown", field.get("default", field.get("const"))
        return
    if look == UPLOAD:
        made.look, made.type = "file", "file"
        made.value = known.get("name") if isinstance(known, dict) else None
        return
    if field.get("properties"):
        made.look = "group"
        made.inner = list(_fields(field, defs, f"{place}.", known, wrong))
        return
    if look == "accept":
        made.look = "yes"
        made.value = known == "ACCEPTED"
        items = [
            item[0] if isinstance(item, list) and item else item for item in field.get("data") or ()
        ]
        made.hint = "; ".join(map(str, items)) or made.hint
        return
    many = kind == "array"
    item = resolved(field.get("items") or {}, dict(defs)) if many else field
    if item.get("enum"):
        labels = item.get("options") or {}
        made.options = [(_text(v), str(labels.get(str(v), v))) for v in item["enum"]]
        few = len(made.options) <= RADIO_MAX
        made.look = "many" if many else "radio" if few and made.required else "choice"
        chosen = made.value if many and isinstance(made.value, list) else [made.value]
        made.value = [_text(one) for one in chosen if one is not None]
        return
    if kind == "boolean":
        made.look, made.value = "yes", made.value is True
    elif many and item.get("type") in ("string", "integer", "number"):
        made.look = "list"
        lines = made.value if isinstance(made.value, list) else []
        made.value = "\n".join(_text(one) for one in lines)
        made.hint = made.hint or "one a line"
    elif many or kind == "object":
        made.look = "json"
        made.value = "" if made.value is None else _compact(made.value)
    elif kind in ("integer", "number"):
        made.look = "number"
        made.type = "number"
        made.limits["step"] = field.get("multipleOf") or (1 if kind == "integer" else "any")
        made.limits |= {to: field[by] for by, to in (("minimum", "min"), ("maximum", "max"))
                        if by in field}  # fmt: skip
    elif look == "long":
        made.look = "long"
    else:
        made.type = _INPUT.get(str(look), "text")
        if "maxLength" in field:
            made.limits["maxlength"] = field["maxLength"]


def as_sent(fields: Sequence[Field]) -> FormData:
    """What a browser would send of a form in which nobody has touched anything."""
    return FormData([one for field in walk(fields) for one in _sent(field)])


def _sent(field: Field) -> Iterator[tuple[str, str]]:
    match field.look:
        case "shown" | "label" | "divider" | "group" | "file":
            return
        case "yes":
            if field.value:
                yield field.name, "1"
        case "many" | "radio":
            yield from ((field.name, value) for value, _ in field.options if value in field.value)
        case "choice":
            chosen = [value for value, _ in field.options if value in field.value]
            yield field.name, chosen[0] if chosen else ""
        case _:
            yield field.name, "" if field.value is None else str(field.value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def answer_of(schema: Schema | None, form: FormData, kept: Json = None) -> dict[str, Json]:
    """What a person filled in, as the answer to a page. Optional fields left empty are left out; a
    file that is not chosen anew is the one that was `kept`: no browser sends it twice."""
    schema = schema or {}
    made, _ = fields_of(schema)
    return _answers(made, schema, schema.get("$defs") or {}, form, kept)


def _answers(
    fields: Sequence[Field], schema: Schema, defs: Schema, form: FormData, kept: Json
) -> dict[str, Json]:
    found: dict[str, Json] = {}
    before = kept if isinstance(kept, dict) else {}
    by_name = schema.get("properties") or {}
    for field in fields:
        name = field.name.rpartition(".")[2]
        raw = resolved(by_name[name], dict(defs))
        if field.look in ("label", "divider", "shown"):
            continue
        if field.look == "group":
            inner = _answers(field.inner, raw, defs, form, before.get(name))
            if field.required or any(value not in (False, []) for value in inner.values()):
                found[name] = inner
            continue
        if field.look == "file":
            file = _file(form.get(field.name)) or before.get(name)
            if file is not None:
                found[name] = file
            continue
        if field.look == "yes":
            said = field.name in form
            found[name] = (
                ("ACCEPTED" if said else "INCOMPLETE") if raw.get("format") == "accept" else said
            )
            continue
        if field.look == "many":
            chosen = [str(one) for one in form.getlist(field.name)]
            if chosen or field.required:
                item = resolved(raw.get("items") or {}, dict(defs))
                found[name] = [_chosen(one, item["enum"]) for one in chosen]
            continue
        text = str(form.get(field.name, ""))
        text = text.replace("\r\n", "\n") if field.look in ("long", "list") else text.strip()
        if not text.strip():
            continue
        found[name] = _typed(field, raw, defs, text)
    return found


def _file(given: object) -> Json:
    """A file as forms take it; None where none was chosen."""
    if not isinstance(given, UploadFile):
        return None
    with given.file as file:
        content = base64.b64encode(file.read()).decode()
    if not given.filename:
        return None
    name = given.filename.replace("\\", "/").rpartition("/")[2]
    return {"name": name, "type": given.content_type or OCTETS, "content": content}


def _typed(field: Field, raw: Schema, defs: Schema, text: str) -> Json:
    if field.look in ("choice", "radio"):
        return _chosen(text, raw["enum"])
    if field.look == "list":
        item = resolved(raw.get("items") or {}, dict(defs))
        number = item.get("type") != "string"
        return [
            _json(line) if number else line for line in map(str.strip, text.split("\n")) if line
        ]
    if field.look in ("number", "json"):
        return _json(text)
    return text


def _chosen(text: str, values: Sequence[Any]) -> Json:
    return next((value for value in values if _text(value) == text), text)


def _json(text: str) -> Json:
    """What JSON makes of it, else the text: then the form says what is wrong with it."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
