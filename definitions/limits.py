"""What a workflow says about its instances as a crowd: how many at once, how often, how long.

    @workflow(concurrency={"key": "::user.id", "limit": 2})
    @workflow(rate={"limit": 10, "per": "1m"}, timeout="2h", retention="30 days")

The same names mean the same in `stages.json`, in `Flow(limits=...)` and in documents. The keys of
`concurrency` and `rate`, and the priority, become search attributes of the instance: who has to wait for whom is then known from what
is stored. `runtime.slots` does what is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import ExpressionError, InvalidDefinition, InvalidInput
from greenroom.definitions.expressions import Value, compile_value
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import PRIORITY, RATE, SLOT, Concurrency, StartRate

LIVE_MAX: Final = 1_000
"""The highest limit of `concurrency`."""
RATE_MAX: Final = 1_000
"""The highest limit of `rate`: so many beginnings are remembered for each key."""
CONFLICTS: Final = ("queue", "skip", "cancel_oldest")
TAGS_MAX: Final = 32
TAG_MAX: Final = 256
ATTRIBUTES_MAX: Final = 16
LIMITS: Final = ("attributes", "concurrency", "rate", "timeout", "retention", "tags")
"""The options that this module reads, in this order: the rules put their keys among the attributes."""

Attributes = dict[str, Value]
"""Search attributes by name. The readers of rules add theirs."""
Wrong = Callable[[str, InvalidDefinition], None]
"""Is told the place (`rate`, `rate.per`) and what is wrong with it; it may raise."""


class Limits(msgspec.Struct, frozen=True):
    """All of it, checked. `attributes` holds expressions by name, those of the rules among them."""

    attributes: Mapping[str, Value] = {}
    concurrency: Concurrency | None = None
    rate: StartRate | None = None
    timeout_ms: int | None = None
    retention_ms: int | None = None
    tags: tuple[str, ...] = ()

    def fields(self, see: Callable[[Json], Json] | None = None) -> dict[str, Any]:
        """The fields of a `Definition`. `see` makes of an input what the expressions read, where
        an instance is given more than its author knows of."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        if see is not None:
            found["attributes"] = {n: value.through(see) for n, value in self.attributes.items()}
        return found

    def sources(self) -> dict[str, Json]:
        """The expressions of the attributes, as they are written."""
        return {name: value.source for name, value in self.attributes.items()}

    def as_data(self) -> dict[str, Json]:
        """What makes rules and tags the same ones: empty without any."""
        given = {name: getattr(self, name) for name in _RULES}
        data = {n: msgspec.to_builtins(rule) for n, rule in given.items() if rule is not None}
        if data:
            sources = self.sources()
            data |= {name: sources.get(name) for name in (SLOT, PRIORITY, RATE)}
        return data | ({"tags": list(self.tags)} if self.tags else {})


_RULES: Final = ("concurrency", "rate", "timeout_ms", "retention_ms")


def limits_from(options: Mapping[str, Any], wrong: Wrong) -> Limits:
    """Reads the options in `LIMITS`, and leaves others alone. `wrong` hears of each that is not
    valid; if it does not raise, that one counts as not given."""
    attributes: Attributes = {}
    found: dict[str, Any] = {}
    for name in LIMITS:
        if options.get(name) is not None:
            field, read = _READERS[name]
            try:
                found[field] = read(options[name], attributes)
            except InvalidDefinition as error:
                inside = error.details.get("path")
                wrong(f"{name}.{inside}" if inside else name, error)
    return Limits(**{**found, "attributes": attributes})


def concurrency_from(given: Any, attributes: Attributes) -> Concurrency:
    """The rule of `@workflow(concurrency=...)`, a number or an object; its expressions are put
    among the attributes. Raises `InvalidDefinition`."""
    options = given if isinstance(given, Mapping) else {"limit": given}
    _known(options, "concurrency", "key", "limit", "on_conflict", "priority")
    limit = _count(options.get("limit", 1), "the limit of concurrency", LIVE_MAX)
    on_conflict = options.get("on_conflict", "queue")
    if on_conflict not in CONFLICTS:
        raise InvalidDefinition(
            f"on_conflict must be one of {', '.join(CONFLICTS)}, got {on_conflict!r}",
            path="on_conflict",
        )
    if "priority" in options and on_conflict != "queue":
        raise InvalidDefinition("a priority has no meaning: nobody is queued", path="priority")
    _attribute(attributes, SLOT, options.get("key"), "concurrency")
    _attribute(attributes, PRIORITY, options.get("priority"), "concurrency")
    return Concurrency(limit, on_conflict)


def rate_from(given: Any, attributes: Attributes) -> StartRate:
    """The rule of `@workflow(rate=...)`, as above."""
    if not isinstance(given, Mapping) or not {"limit", "per"} <= given.keys():
        raise InvalidDefinition(f'rate must be like {{"limit": 10, "per": "1m"}}, got {given!r}')
    _known(given, "rate", "limit", "per", "key", "priority")
    limit = _count(given["limit"], "the limit of rate", RATE_MAX)
    _attribute(attributes, RATE, given.get("key"), "rate")
    _attribute(attributes, PRIORITY, given.get("priority"), "rate")
    return StartRate(limit, span_ms(given["per"], "per", path="per"))


def tags_from(given: Any) -> tuple[str, ...]:
    """Raises `InvalidDefinition`."""
    words = given if isinstance(given, list | tuple) else [None]
    if len(words) > TAGS_MAX or not all(
        isinstance(word, str) and 0 < len(word) <= TAG_MAX for word in words
    ):
        raise InvalidDefinition(f"tags must be a list of at most {TAGS_MAX} words, got {given!r}")
    return tuple(words)


def attributes_from(given: Any, attributes: Attributes) -> Attributes:
    """Names to expressions, with or without the colons. Raises `InvalidDefinition`."""
    if not isinstance(given, Mapping) or len(given) > ATTRIBUTES_MAX:
        raise InvalidDefinition(
            f"attributes must be at most {ATTRIBUTES_MAX} names with expressions, such as "
            f'{{"customer": "::customer"}}, got {given!r}'
        )
    for name, text in given.items():
        if not isinstance(text, str) or not text:
            raise InvalidDefinition(
                f'the attribute {name!r} must be an expression such as "::customer", got {text!r}',
                path=name,
            )
        attributes[name] = _expression(text, f"the attribute {name!r}", name)
    return attributes


def span_ms(given: Any, what: str, path: str = "") -> int:
    """A length of time in whole milliseconds, at least one. Raises `InvalidDefinition`."""
    try:
        found = round(seconds(given, what) * 1000)
    except InvalidInput as error:
        raise InvalidDefinition(error.message, hint=error.hint, path=path) from None
    if found <= 0:
        raise InvalidDefinition(f"{what} must be longer than nothing, got {given!r}", path=path)
    return found


def _attribute(attributes: Attributes, name: str, given: Json, rule: str) -> None:
    """Puts an expression of a rule among the attributes. Its own name nobody else may use, also
    where it has none: what stands there is what counts."""
    option = "priority" if name == PRIORITY else "key"
    if name in attributes and (given is not None or name != PRIORITY):
        raise InvalidDefinition(
            f"the attribute {name!r} is given twice; {rule} has one of that name", path=option
        )
    what = f"the {option} of {rule}"
    if type(given) is int and name == PRIORITY:
        attributes[name] = compile_value(given)
    elif isinstance(given, str) and given:
        attributes[name] = _expression(given, what, option)
    elif given is not None:
        raise InvalidDefinition(
            f'{what} must be an expression such as "::user.id", got {given!r}', path=option
        )


def _expression(text: str, what: str, path: str) -> Value:
    """An expression, with or without its colons."""
    try:
        return compile_value(text if text.startswith("::") else f"::{text}")
    except (ExpressionError, InvalidDefinition) as error:
        problems = getattr(error, "problems", None)
        said = problems[0].message if problems else error.message
        raise InvalidDefinition(f"{what}: {said}", hint=error.hint, path=path) from None


def _known(options: Mapping[str, Any], what: str, *names: str) -> None:
    for name in options:
        if name not in names:
            raise InvalidDefinition(f"{what} takes {', '.join(names)}, not {name!r}")


def _count(value: Any, what: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidDefinition(
            f"{what} must be a whole number from 1 to {most:,}, got {value!r}", path="limit"
        )
    return value


_Reader = Callable[[Any, Attributes], Any]
_READERS: Final[dict[str, tuple[str, _Reader]]] = {
    "attributes": ("attributes", attributes_from),
    "concurrency": ("concurrency", concurrency_from),
    "rate": ("rate", rate_from),
    "timeout": ("timeout_ms", lambda given, _: span_ms(given, "timeout")),
    "retention": ("retention_ms", lambda given, _: span_ms(given, "retention")),
    "tags": ("tags", lambda given, _: tags_from(given)),
}
