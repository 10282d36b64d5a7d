"""Triggers that take several events, or wait before one counts.

    @workflow(on="page.viewed", key="::data.user", debounce="5s")
    @workflow(on="row.changed", batch={"size": 100, "within": "10s"})
    @workflow(on="mail.asked", throttle={"limit": 10, "per": "1m"})
    @workflow(on=all_of("order.paid", "order.packed", within="1h", by="::data.order_id"))
    @workflow(on=any_of("order.created", ("order.changed", {"data.big": True})))
    @workflow(on=unless("order.paid", after="order.created", within="2d", by="::data.order_id"))

A `Collect` says what is collected until when; `actors.collector` does it. Events are collected
apart for each key: that of `by`, else the workflow's `key`, else all together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, Literal

import msgspec

from greenroom.definitions.durations import DURATION_MAX_S, seconds
from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.expressions import Value, compile_value
from greenroom.definitions.values import Json

Kind = Literal["debounce", "throttle", "batch", "all", "unless"]
Duration = str | float | timedelta
Part = str | tuple[str, Json]

PARTS_MAX: Final = 16
BATCH_MAX: Final = 1_000
WAITING_MAX: Final = 1_000
"""Events that a throttle lets wait for one key; one more is refused (`throttled`)."""
SEVERAL: Final = frozenset({"batch", "all"})
"""Kinds whose instances get several events."""


class Collect(msgspec.Struct, frozen=True):
    """`span_ms` is the window; `limit` how many starts a throttle lets through in it, events a
    batch has, types are awaited; `most_ms` how long a debounce may put off at all."""

    kind: Kind
    span_ms: int
    limit: int = 1
    most_ms: int | None = None
    by: Value | None = None

    def as_data(self) -> dict[str, Json]:
        found: dict[str, Json] = {"kind": self.kind, "span_ms": self.span_ms, "limit": self.limit}
        if self.most_ms is not None:
            found["most_ms"] = self.most_ms
        if self.by is not None:
            found["by"] = self.by.source
        return found


def collect_from(data: dict[str, Any]) -> Collect:
    """What `as_data` gave."""
    by = None if data.get("by") is None else compile_value(data["by"])
    return Collect(data["kind"], data["span_ms"], data["limit"], data.get("most_ms"), by)


class On(msgspec.Struct, frozen=True):
    """Several event types as one trigger: (type, where) each, with its place among them."""

    parts: tuple[tuple[str, Json], ...]
    collect: Collect | None = None


def any_of(*types: Part) -> On:
    """Any of these event types starts an instance; each is a type or `(type, where)`."""
    return On(_parts(types))


def all_of(*types: Part, within: Duration, by: str | None = None) -> On:
    """An instance starts when each of these events has come within a time. `by` is an expression
    over the event: only events for which it gives the same belong together. Of two events of one
    type the later counts. The instance gets `{"events": [...]}` in the order of the types."""
    parts = _parts(types)
    if len(parts) < 2:
        raise InvalidDefinition("all_of needs two event types or more")
    return On(parts, Collect("all", _span(within, "within"), len(parts), None, _by(by)))


def unless(type: Part, *, after: Part, within: Duration, by: str | None = None) -> On:
    """An instance starts when, for a time `within` after an event `after`, no event of this type
    has come; it gets the event `after`. `by` says which belong together, as in `all_of`."""
    parts = _parts((after, type))
    return On(parts, Collect("unless", _span(within, "within"), 1, None, _by(by)))


def _parts(types: Sequence[Part]) -> tuple[tuple[str, Json], ...]:
    found: list[tuple[str, Json]] = []
    if not isinstance(types, tuple | list):
        raise InvalidDefinition(f"on= must be an event type, or several, got {types!r}")
    for part in types:
        if isinstance(part, tuple | list) and len(part) == 2 and isinstance(part[0], str):
            found.append((part[0], part[1]))
        elif isinstance(part, str):
            found.append((part, None))
        else:
            raise InvalidDefinition(f"an event is named by its type or (type, where), got {part!r}")
    if not 1 <= len(found) <= PARTS_MAX:
        raise InvalidDefinition(f"1 to {PARTS_MAX} event types, got {len(found)}")
    return tuple(found)


def _by(by: str | None) -> Value | None:
    return None if by is None else compile_value(by)


def _span(length: Any, what: str) -> int:
    try:
        found = seconds(length, what)
    except InvalidInput as error:
        raise InvalidDefinition(error.message, hint=error.hint) from None
    if found <= 0:
        raise InvalidDefinition(f"{what} must be longer than nothing")
    return round(found * 1000)


# -- the options of @workflow ------------------------------------------------------------------


def on_from(on: Any, where: Json, debounce: Any, throttle: Any, batch: Any) -> On:
    """What `@workflow` was told about its trigger, as one. Raises `InvalidDefinition`."""
    found = on if isinstance(on, On) else On(_parts([on] if isinstance(on, str) else on))
    if where is not None:
        if any(own is not None for _, own in found.parts):
            raise InvalidDefinition("where= and a where of its own for an event: give one of them")
        found = msgspec.structs.replace(
            found, parts=tuple((type, where) for type, _ in found.parts)
        )
    made = [
        _debounce(debounce) if debounce is not None else None,
        _throttle(throttle) if throttle is not None else None,
        _batch(batch) if batch is not None else None,
        found.collect,
    ]
    given = [one for one in made if one is not None]
    if len(given) > 1:
        names = ", ".join(one.kind for one in given)
        raise InvalidDefinition(f"one of debounce, throttle, batch, all_of, unless; got {names}")
    return msgspec.structs.replace(found, collect=given[0] if given else None)


def _debounce(given: Any) -> Collect:
    options = given if isinstance(given, dict) else {"quiet": given}
    _known(options, "debounce", "quiet", "at_most")
    most = options.get("at_most")
    return Collect(
        "debounce",
        _span(options.get("quiet"), "debounce"),
        1,
        None if most is None else _span(most, "at_most"),
    )


def _throttle(given: Any) -> Collect:
    options = given if isinstance(given, dict) else {"limit": 1, "per": given}
    _known(options, "throttle", "limit", "per")
    limit = _number(options.get("limit", 1), "throttle limit", WAITING_MAX)
    return Collect("throttle", _span(options.get("per"), "throttle per"), limit)


def _batch(given: Any) -> Collect:
    options = given if isinstance(given, dict) else {"size": given}
    _known(options, "batch", "size", "within")
    within = options.get("within", DURATION_MAX_S)
    size = _number(options.get("size", BATCH_MAX), "batch size", BATCH_MAX)
    return Collect("batch", _span(within, "batch within"), size)


def _known(options: dict[str, Any], what: str, *names: str) -> None:
    for name in options:
        if name not in names:
            raise InvalidDefinition(f"{what} takes {' and '.join(names)}, not {name!r}")


def _number(value: Any, what: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidDefinition(f"{what} must be a whole number from 1 to {most:,}, got {value!r}")
    return value
