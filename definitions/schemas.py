"""JSON Schema: what the parameters of an action, its response or the data of an event must be.

The validator (jsonschema-rs) lists everything wrong at once and comes with the extras `http` and
`documents`. It is kept offline: a `$ref` reaches into its own schema and nowhere else, no file and
no address. Patterns run on an engine without backtracking, so no text can make one slow.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import (
    InvalidDefinition,
    InvalidInput,
    InvalidRequest,
    Problem,
    TooLarge,
)
from greenroom.definitions.syntax import PREFIX
from greenroom.definitions.values import Json, canonical, encode_decode

SCHEMA_BYTES_MAX: Final = 256 * 1024
PROBLEMS_MAX: Final = 50
SHOWN_MAX: Final = 300
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


class Schema:
    """A compiled schema; `source` is what its author wrote."""

    __slots__ = ("_validator", "source")

    def __init__(self, source: dict[str, Json], validator: Any) -> None:
        self.source = source
        self._validator = validator

    def problems(self, value: Json, path: str = "$") -> list[Problem]:
        """Everything wrong with the value, each with its place below `path`; at most 50."""
        if self._validator.is_valid(value):
            return []
        found: list[Problem] = []
        for error in self._validator.iter_errors(value):
            found.append(Problem(place(path, error.instance_path), _cut(error.message)))
            if len(found) == PROBLEMS_MAX:
                break
        return found

    def problems_of_constants(self, value: Json, path: str = "$") -> list[Problem]:
        """What is wrong already, of a value whose expressions (and formats) are yet to be found:
        findings at them, or at what holds them as a whole for its size, are left out."""
        found: list[Problem] = []
        for error in self._validator.iter_errors(value):
            if _is_open(_at(value, error.instance_path), error.kind.name):
                continue
            found.append(Problem(place(path, error.instance_path), _cut(error.message)))
            if len(found) == PROBLEMS_MAX:
                break
        return found

    def properties(self) -> list[str]:
        """The names of the properties it declares at the top."""
        known = self.source.get("properties")
        return list(known) if isinstance(known, dict) else []


def compile_schema(source: Json, path: str = "$") -> Schema:
    """The schema. Raises `InvalidDefinition` with everything wrong in it, `InvalidRequest` when
    the validator is not installed."""
    if not isinstance(source, dict):
        raise InvalidDefinition(problems=[Problem(path, "a schema must be an object")])
    try:
        raw = canonical(encode_decode(source, "the schema")[1])
    except (InvalidInput, TooLarge) as error:
        raise InvalidDefinition(problems=[Problem(path, error.message)]) from None
    if len(raw) > SCHEMA_BYTES_MAX:
        raise InvalidDefinition(
            problems=[
                Problem(path, f"a schema may have {SCHEMA_BYTES_MAX:,} bytes, not {len(raw):,}")
            ]
        )
    try:
        return Schema(source, _validator(raw))
    except _Faulty as faulty:
        raise InvalidDefinition(
            problems=[Problem(place(path, where), text) for where, text in faulty.found]
        ) from None


class _Faulty(Exception):
    def __init__(self, found: list[tuple[list[str | int], str]]) -> None:
        self.found = found


@functools.lru_cache(maxsize=1024)
def _validator(raw: bytes) -> Any:
    """One for each text: a document that is read again costs nothing."""
    rs = _library()
    source = msgspec.json.decode(raw)
    found = [(list(error.instance_path), _cut(error.message)) for error in _meta_errors(rs, source)]
    if found:  # a draft is made of vocabularies, and each of them says it
        raise _Faulty([one for at, one in enumerate(found) if one not in found[:at]])
    try:
        return rs.validator_for(
            source,
            offline=True,
            pattern_options=rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20),
            validate_formats=True,
        )
    except ValueError as error:
        message = str(getattr(error, "message", error))
        raise _Faulty([(list(getattr(error, "instance_path", ())), _cut(message))]) from None


def _meta_errors(rs: Any, source: dict[str, Json]) -> list[Any]:
    """What the schema's own draft says of it: all of it, where compiling stops at the first."""
    try:
        meta = rs.validator_for({"$ref": source.get("$schema") or DRAFT}, offline=True)
        return list(meta.iter_errors(source))
    except ValueError:
        return []  # a draft nobody knows: compiling says so


def _library() -> Any:
    try:
        import jsonschema_rs  # noqa: PLC0415  an extra, and only who declares a schema pays for it
    except ImportError:
        raise InvalidRequest(
            "checking JSON Schemas needs the http or documents extra",
            hint="pip install 'greenroom[http]'",
        ) from None
    return jsonschema_rs


def place(path: str, steps: Iterable[str | int]) -> str:
    """`$` and `["a", 0, "b c"]` -> `$.a[0]["b c"]`."""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if step.isidentifier() else f'["{step}"]'
    return path


def _at(value: Json, steps: Iterable[str | int]) -> Json:
    for step in steps:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


_FIELD: Final = re.compile(r"\{[A-Za-z_]\w*\}", re.ASCII)


def _is_open(value: Json, keyword: str) -> bool:
    """Whether a finding is about something that is not known yet."""
    if isinstance(value, str):
        return value.startswith(PREFIX) or _FIELD.search(value) is not None
    if keyword in ("anyOf", "oneOf", "not", "contains", "uniqueItems", "enum", "const", "if"):
        return _holds_open(value)
    return False


def _holds_open(value: Json) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_open, value.values()))
    if isinstance(value, list):
        return any(map(_holds_open, value))
    return isinstance(value, str) and _is_open(value, "")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
