"""What a workflow says about its instances as a crowd: how many at once, how often, how long.

    @workflow(concurrency={"key": "::user.id", "limit": 2})
    @workflow(rate={"limit": 10, "per": "1m"}, timeout="2h", retention="30 days")

The keys of `concurrency` and `rate`, and the priority, become search attributes of the instance:
who has to wait for whom is then known from what is stored. `runtime.slots` does what is said here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import PRIORITY, RATE, SLOT, Concurrency, StartRate

LIVE_MAX: Final = 1_000
"""The highest limit of `concurrency`."""
RATE_MAX: Final = 1_000
"""The highest limit of `rate`: so many beginnings are remembered for each key."""
CONFLICTS: Final = ("queue", "skip", "cancel_oldest")


def concurrency_from(given: Any, attributes: dict[str, Json]) -> Concurrency:
    """The rule of `@workflow(concurrency=...)`, a number or an object; its expressions are put
    among the attributes. Raises `InvalidDefinition`."""
    options = given if isinstance(given, Mapping) else {"limit": given}
    _known(options, "concurrency", "key", "limit", "on_conflict", "priority")
    limit = _count(options.get("limit", 1), "the limit of concurrency", LIVE_MAX)
    on_conflict = options.get("on_conflict", "queue")
    if on_conflict not in CONFLICTS:
        raise InvalidDefinition(
            f"on_conflict must be one of {', '.join(CONFLICTS)}, got {on_conflict!r}"
        )
    if "priority" in options and on_conflict != "queue":
        raise InvalidDefinition("a priority has no meaning: nobody is queued")
    _attribute(attributes, SLOT, options.get("key"), "concurrency")
    _attribute(attributes, PRIORITY, options.get("priority"), "concurrency")
    return Concurrency(limit, on_conflict)


def rate_from(given: Any, attributes: dict[str, Json]) -> StartRate:
    """The rule of `@workflow(rate=...)`, as above."""
    if not isinstance(given, Mapping) or not {"limit", "per"} <= given.keys():
        raise InvalidDefinition(f'rate must be like {{"limit": 10, "per": "1m"}}, got {given!r}')
    _known(given, "rate", "limit", "per", "key", "priority")
    limit = _count(given["limit"], "the limit of rate", RATE_MAX)
    _attribute(attributes, RATE, given.get("key"), "rate")
    _attribute(attributes, PRIORITY, given.get("priority"), "rate")
    return StartRate(limit, span_ms(given["per"], "per"))


def span_ms(given: Any, what: str) -> int:
    """A length of time in whole milliseconds, at least one. Raises `InvalidDefinition`."""
    try:
        found = round(seconds(given, what) * 1000)
    except InvalidInput as error:
        raise InvalidDefinition(error.message, hint=error.hint) from None
    if found <= 0:
        raise InvalidDefinition(f"{what} must be longer than nothing, got {given!r}")
    return found


def _attribute(attributes: dict[str, Json], name: str, given: Json, rule: str) -> None:
    if given is None:
        return
    if name in attributes:
        raise InvalidDefinition(
            f"the attribute {name!r} is given twice; {rule} has one of that name"
        )
    if type(given) is int and name == PRIORITY:
        attributes[name] = given
        return
    if not isinstance(given, str) or not given:
        raise InvalidDefinition(
            f"the {'priority' if name == PRIORITY else 'key'} of {rule} must be an expression "
            f'such as "::user.id", got {given!r}'
        )
    attributes[name] = given if given.startswith("::") else f"::{given}"


def _known(options: Mapping[str, Any], what: str, *names: str) -> None:
    for name in options:
        if name not in names:
            raise InvalidDefinition(f"{what} takes {', '.join(names)}, not {name!r}")


def _count(value: Any, what: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidDefinition(f"{what} must be a whole number from 1 to {most:,}, got {value!r}")
    return value
