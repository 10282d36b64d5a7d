"""The request of an action that was written as a document: a template over its parameters.

Strings that start with `::` are expressions over the parameters, in any other `{name}` stands for
a parameter. What a parameter brings is data: in a path it is one segment, percent-encoded, so that
no value leads out of the path; a header stays one line; nothing is evaluated twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from greenroom.definitions.actionerrors import RequestInvalid
from greenroom.definitions.errors import InvalidDefinition, InvalidInput, Problem, Rejected
from greenroom.definitions.expressions import (
    BUDGET_TRANSFORM,
    Value,
    compile_value,
    is_expression,
)
from greenroom.definitions.formats import compile_format
from greenroom.definitions.values import Json

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PATH_MAX: Final = 8192

_KEPT: Final = "/-._~!$&'()*+,;=:@%"
_HALF: Final = re.compile(r"%(?![0-9A-Fa-f]{2})", re.ASCII)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a service. `path` is encoded and has no leading slash; `body` is a JSON
    value, `content` what is sent as it is; at most one of them is there."""

    method: str
    path: str = ""
    headers: dict[str, str] = {}
    query: list[tuple[str, str]] = []
    body: Json | msgspec.UnsetType = msgspec.UNSET
    content: bytes | None = None


class RequestTemplate:
    """`method path headers query body` of an action."""

    __slots__ = ("body", "headers", "method", "path", "query", "warnings")

    def __init__(self, parts: Mapping[str, Value | None], path: Path) -> None:
        self.method = parts["method"]
        self.path = path
        self.headers = parts["headers"]
        self.query = parts["query"]
        self.body = parts["body"]
        self.warnings = [w for part in parts.values() if part is not None for w in part.warnings]

    @property
    def idempotent(self) -> bool:
        """Whether the method itself says that it may be repeated."""
        source = self.method.source if self.method is not None else "GET"
        return isinstance(source, str) and source.upper() in {*SAFE, "PUT", "DELETE"}

    def build(self, params: dict[str, Json]) -> Request:
        """The request with these parameters. Raises `RequestInvalid` and `ExpressionError`."""

        def made(value: Value | None) -> Json:
            return None if value is None else value.evaluate(params, BUDGET_TRANSFORM, params)

        method = made(self.method) or "GET"
        if not isinstance(method, str) or method.upper() not in METHODS:
            raise RequestInvalid(f"the method is one of {', '.join(METHODS)}, got {method!r}")
        body = made(self.body)
        return Request(
            method=method.upper(),
            path=self.path.build(params),
            headers=_texts(made(self.headers), "headers"),
            query=_pairs(made(self.query)),
            body=msgspec.UNSET if body is None else body,
        )


class Path:
    """A path, either one expression or a text with fields."""

    __slots__ = ("_form", "_value")

    def __init__(self, text: Json, names: Collection[str], place: str) -> None:
        if not isinstance(text, str):
            raise InvalidDefinition(problems=[Problem(place, "a path must be text")])
        self._value = compile_value(text, (), place) if is_expression(text) else None
        self._form = None if self._value is not None else compile_format(text, names, place)
        if self._form is not None and self._form.unknown:
            missing = ", ".join(self._form.unknown)
            raise InvalidDefinition(
                problems=[Problem(place, f"no such parameter: {missing}")],
                hint="declare it in the action's parameters",
            )
        if self._form is not None and not self._form.fields:
            clean_path(text)

    def build(self, params: dict[str, Json]) -> str:
        if self._form is None:
            assert self._value is not None
            found = self._value.evaluate(params, BUDGET_TRANSFORM)
            if not isinstance(found, str):
                raise RequestInvalid(f"the path must be text, the parameters gave {found!r}"[:200])
            return clean_path(found)
        values: dict[str, Json] = {}
        for name in self._form.fields:
            value = params.get(name)
            if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
                raise RequestInvalid(
                    f"the path needs {name}: text or a number, got {value!r}"[:200], parameter=name
                )
            values[name] = quote(str(value), safe="")
            if values[name] in (".", ".."):
                raise RequestInvalid(f"{name} may not be {value!r} in a path", parameter=name)
        return clean_path(self._form.fill(values))


def clean_path(text: str) -> str:
    """A path as it is sent: encoded, without a leading slash. What would lead out of the base path
    or to another host is refused with `RequestInvalid`."""
    if len(text) > PATH_MAX:
        raise RequestInvalid(f"a path has at most {PATH_MAX:,} characters, not {len(text):,}")
    if any(part in (".", "..") for part in unquote(text).replace("\\", "/").split("/")):
        raise RequestInvalid(f"a path may not step aside with . or ..: {text[:80]!r}")
    try:
        return quote(_HALF.sub("%25", text), safe=_KEPT).lstrip("/")
    except UnicodeEncodeError:
        raise RequestInvalid("a path must be Unicode text") from None


def compile_request(data: Mapping[str, Any], names: Collection[str], path: str) -> RequestTemplate:
    """The template of an action. Raises `InvalidDefinition` with everything wrong in it."""
    problems: list[Problem] = []
    parts: dict[str, Value | None] = {}
    for part in ("method", "headers", "query", "body"):
        parts[part] = None
        if data.get(part) is None:
            continue
        try:
            parts[part] = compile_value(data[part], names, f"{path}.{part}")
        except InvalidDefinition as error:
            problems += error.problems
        except InvalidInput as error:
            problems.append(Problem(f"{path}.{part}", error.message))
    method = data.get("method", "GET")
    if not isinstance(method, str) or not (
        is_expression(method) or method.upper() in METHODS or "{" in method
    ):
        problems.append(Problem(f"{path}.method", f"not one of {', '.join(METHODS)}"))
    for part in ("headers", "query"):
        value = data.get(part)
        if value is not None and not isinstance(value, dict) and not is_expression(value):
            problems.append(Problem(f"{path}.{part}", "must be an object or an expression"))
    where: Path | None = None
    try:
        where = Path(data.get("path", ""), names, f"{path}.path")
    except InvalidDefinition as error:
        problems += error.problems or [Problem(f"{path}.path", error.message)]
    except Rejected as error:
        problems.append(Problem(f"{path}.path", error.message))
    if problems or where is None:
        raise InvalidDefinition("the request is not valid", problems)
    return RequestTemplate(parts, where)


def _texts(value: Json, what: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestInvalid(f"{what} must be an object, the parameters gave {value!r}"[:200])
    return {name: text_of(item) for name, item in value.items() if item is not None}


def _pairs(value: Json) -> list[tuple[str, str]]:
    """A query; a list gives its name several times, null leaves it out."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise RequestInvalid(f"the query must be an object, the parameters gave {value!r}"[:200])
    found: list[tuple[str, str]] = []
    for name, item in value.items():
        several = item if isinstance(item, list) else [item]
        found += [(name, text_of(one)) for one in several if one is not None]
    return found


def text_of(value: Json) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
