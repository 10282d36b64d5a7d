"""The functions an expression may call: JMESPath's 26 and a few pure ones of ours.

Types are checked before a function runs, so none of them can raise a Python error, and each says
what reading its arguments costs. Numbers stay JSON's: a result that is not finite or leaves 64
bits is an error, `to_number('nan')` is null.
"""

from __future__ import annotations

import difflib
import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidInput
from greenroom.definitions.evaluation import (
    BadTree,
    Meter,
    Node,
    Run,
    WrongType,
    runner,
    same,
    weigh,
)
from greenroom.definitions.instants import INSTANT, Instant
from greenroom.definitions.values import INT_MAX, INT_MIN, Json

NUMBERS, STRINGS = "array of numbers", "array of strings"
ANY: Final = ("any",)


class Function(NamedTuple):
    """`params` lists the types each argument may have; the last repeats if `variadic`, and the last
    `optional` of them may be left out."""

    body: Callable[..., Json]
    params: tuple[tuple[str, ...], ...]
    variadic: bool = False
    optional: int = 0


def type_of(value: Json) -> str:
    """JSON's name of the type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def check(name: str, value: Json, allowed: tuple[str, ...], meter: Meter) -> None:
    """Raises `WrongType` unless the value has one of the types."""
    kind = type_of(value)
    if kind in allowed or allowed is ANY:
        return
    if kind == "array" and (NUMBERS in allowed or STRINGS in allowed):
        meter.spend(1 + (len(value) >> 3))
        inside = {type_of(item) for item in value}
        if not inside or (inside == {"number"} and NUMBERS in allowed):
            return
        if inside == {"string"} and STRINGS in allowed:
            return
        kind = f"array of {' and '.join(sorted(f'{one}s' for one in inside))}"
    raise WrongType(f"{name}() takes {_article(' or '.join(allowed))}, got {_article(kind)}")


def _article(text: str) -> str:
    if text == "null":
        return text
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _number(name: str, value: float) -> float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise WrongType(f"{name}() is too large a number")
    elif not INT_MIN <= value <= INT_MAX:
        raise WrongType(f"{name}() is beyond 64 bits")
    return value


def _long(meter: Meter, value: Any) -> None:
    """What reading a list, object or text once costs in C."""
    meter.spend(1 + (len(value) >> 3))


# -- JMESPath's own ----------------------------------------------------------------------------


def _avg(meter: Meter, items: list[float]) -> Json:
    return _number("avg", sum(items) / len(items)) if items else None


def _sum(meter: Meter, items: list[float]) -> Json:
    return _number("sum", sum(items))


def _contains(meter: Meter, subject: Any, wanted: Json) -> bool:
    _long(meter, subject)
    if isinstance(subject, str):
        if not isinstance(wanted, str):
            raise WrongType(f"contains() looks for a string in a string, got {type_of(wanted)}")
        return wanted in subject
    if isinstance(wanted, str) or wanted is None:
        return wanted in subject
    return any(same(item, wanted, meter) for item in subject)


def _join(meter: Meter, glue: str, items: list[str]) -> str:
    meter.spend(1 + (sum(map(len, items)) + len(glue) * len(items) >> 3))
    return glue.join(items)


def _reverse(meter: Meter, value: Any) -> Json:
    _long(meter, value)
    return value[::-1]


def _sort(meter: Meter, items: list[Any]) -> list[Any]:
    meter.spend(1 + len(items))
    return sorted(items)


def _keys(meter: Meter, value: dict[str, Json]) -> list[str]:
    _long(meter, value)
    return list(value)


def _values(meter: Meter, value: dict[str, Json]) -> list[Json]:
    _long(meter, value)
    return list(value.values())


def _merge(meter: Meter, *objects: dict[str, Json]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for one in objects:
        _long(meter, one)
        merged.update(one)
    return merged


def _map(meter: Meter, each: Run, items: list[Json]) -> list[Json]:
    _long(meter, items)
    return [each(item, meter) for item in items]


def _keyed(name: str, meter: Meter, items: list[Json], key: Run) -> list[Any]:
    """The sort keys: all numbers or all strings."""
    meter.spend(1 + len(items))
    keys = [key(item, meter) for item in items]
    if not all(isinstance(one, str) for one in keys):
        for one in keys:
            check(name, one, ("number",) if type_of(keys[0]) == "number" else ("string",), meter)
    return keys


def _sort_by(meter: Meter, items: list[Json], key: Run) -> list[Json]:
    keys = _keyed("sort_by", meter, items, key)
    return [items[at] for at in sorted(range(len(items)), key=keys.__getitem__)]


def _extreme_by(name: str, choose: Callable[..., int]) -> Callable[..., Json]:
    def extreme(meter: Meter, items: list[Json], key: Run) -> Json:
        if not items:
            return None
        keys = _keyed(name, meter, items, key)
        return items[choose(range(len(items)), key=keys.__getitem__)]

    return extreme


_NUMBER: Final = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)


def _to_number(meter: Meter, value: Json) -> Json:
    if type_of(value) == "number":
        return value
    if not isinstance(value, str) or len(value) > 400 or not _NUMBER.fullmatch(value):
        return None
    try:
        number: float = int(value)
    except ValueError:
        number = float(value)
    if isinstance(number, int) and not INT_MIN <= number <= INT_MAX:
        number = float(value)
    return number if math.isfinite(number) else None


def _to_json(meter: Meter, value: Json) -> str:
    meter.spend(weigh(value, meter.left))
    return msgspec.json.encode(value).decode()


def _to_string(meter: Meter, value: Json) -> str:
    return value if isinstance(value, str) else _to_json(meter, value)


# -- ours: pure, so that a replay gives the same ----------------------------------------------

_DIRECTIVES: Final = frozenset("YymdHIMSfpjaAbBzZuVGU%")


def _moment(name: str, value: Any) -> datetime:
    """ISO 8601 text, naive being UTC, or seconds since 1970."""
    try:
        if not isinstance(value, str):
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise WrongType(f"{name}() cannot read the date {value!r:.60}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _format_date(meter: Meter, value: Any, layout: str) -> str:
    meter.spend(1 + len(layout))
    unknown = set(re.findall(r"%(.?)", layout)) - _DIRECTIVES
    if unknown:
        raise WrongType(f"format_date() does not know %{min(unknown)}")
    return _moment("format_date", value).strftime(layout)


def _add_delta(meter: Meter, value: Any, delta: Any) -> str:
    sign, length = 1, delta
    if isinstance(delta, str):
        sign, length = (-1, delta[1:]) if delta.startswith("-") else (1, delta)
    elif delta < 0:
        sign, length = -1, -delta
    try:
        return _iso(_moment("add_delta", value) + timedelta(seconds=sign * seconds(length)))
    except (InvalidInput, OverflowError) as error:
        raise WrongType(f"add_delta(): {error}") from None


def _time_delta(meter: Meter, value: str, layout: str, minutes: float) -> str:
    return _format_date(meter, _add_delta(meter, value, minutes * 60), layout)


def _diff_arrays(meter: Meter, current: list[Json], previous: list[Json]) -> dict[str, Json]:
    def without(items: list[Json], others: list[Json]) -> list[Json]:
        plain = {(type_of(one), one) for one in others if not isinstance(one, dict | list)}
        deep = [one for one in others if isinstance(one, dict | list)]
        return [
            item
            for item in items
            if not (
                any(same(item, one, meter) for one in deep)
                if isinstance(item, dict | list)
                else (type_of(item), item) in plain
            )
        ]

    meter.spend(2 + len(current) + len(previous))
    return {"added": without(current, previous), "removed": without(previous, current)}


# -- time and chance, as the entry that is the cause has them ------------------------------------

_ALPHABETS: Final = {
    "lowercase": "abcdefghijklmnopqrstuvwxyz",
    "uppercase": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "numbers": "0123456789",
}
RANDOM_MAX: Final = 256


def _instant(name: str) -> Instant:
    found = INSTANT.get()
    if found is None:
        raise WrongType(f"{name}() has a meaning only inside a run")
    return found


def _now(meter: Meter) -> str:
    return _iso(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=_instant("now").at))


def _now_seconds(meter: Meter) -> str:
    return _format_date(meter, _instant("flexli_datetime_now").at / 1000, "%Y-%m-%dT%H:%M:%SZ")


def _now_formatted(meter: Meter, layout: str) -> str:
    return _format_date(meter, _instant("flexli_datetime").at / 1000, layout)


def _random_string(meter: Meter, length: float, *sets: str) -> str:
    instant = _instant("random_string")
    if not isinstance(length, int) or not 0 < length <= RANDOM_MAX:
        raise WrongType(f"random_string() takes a length from 1 to {RANDOM_MAX}")
    for name in sets:
        if name not in _ALPHABETS:
            raise WrongType(f"random_string() knows {', '.join(_ALPHABETS)}, not {name!r:.40}")
    letters = "".join(_ALPHABETS[name] for name in dict.fromkeys(sets or _ALPHABETS))
    meter.spend(length)
    drawn = b"".join(instant.draw(64) for _ in range(0, length, 8))
    numbers = (int.from_bytes(drawn[8 * n : 8 * n + 8], "big") for n in range(length))
    return "".join(letters[number % len(letters)] for number in numbers)


def _uuid(meter: Meter) -> str:
    return str(uuid.UUID(bytes=_instant("uuid").draw(16), version=4))


_DATE: Final = ("string", "number")
_NUM, _STR, _ARR, _OBJ, _EXP = ("number",), ("string",), ("array",), ("object",), ("expression",)

FUNCTIONS: Final[dict[str, Function]] = {
    "abs": Function(lambda meter, x: _number("abs", abs(x)), (_NUM,)),
    "avg": Function(_avg, ((NUMBERS,),)),
    "ceil": Function(lambda meter, x: _number("ceil", math.ceil(x)), (_NUM,)),
    "contains": Function(_contains, (("array", "string"), ANY)),
    "ends_with": Function(lambda meter, text, end: text.endswith(end), (_STR, _STR)),
    "floor": Function(lambda meter, x: _number("floor", math.floor(x)), (_NUM,)),
    "join": Function(_join, (_STR, (STRINGS,))),
    "keys": Function(_keys, (_OBJ,)),
    "length": Function(lambda meter, x: len(x), (("string", "array", "object"),)),
    "map": Function(_map, (_EXP, _ARR)),
    "max": Function(lambda meter, x: max(x) if x else None, ((NUMBERS, STRINGS),)),
    "max_by": Function(_extreme_by("max_by", max), (_ARR, _EXP)),
    "merge": Function(_merge, (_OBJ,), variadic=True),
    "min": Function(lambda meter, x: min(x) if x else None, ((NUMBERS, STRINGS),)),
    "min_by": Function(_extreme_by("min_by", min), (_ARR, _EXP)),
    "not_null": Function(
        lambda meter, *args: next((x for x in args if x is not None), None), (ANY,), variadic=True
    ),
    "reverse": Function(_reverse, (("array", "string"),)),
    "sort": Function(_sort, ((STRINGS, NUMBERS),)),
    "sort_by": Function(_sort_by, (_ARR, _EXP)),
    "starts_with": Function(lambda meter, text, start: text.startswith(start), (_STR, _STR)),
    "sum": Function(_sum, ((NUMBERS,),)),
    "to_array": Function(lambda meter, x: x if isinstance(x, list) else [x], (ANY,)),
    "to_number": Function(_to_number, (ANY,)),
    "to_string": Function(_to_string, (ANY,)),
    "type": Function(lambda meter, x: type_of(x), (ANY,)),
    "values": Function(_values, (_OBJ,)),
    "to_json": Function(_to_json, (ANY,)),
    "format_date": Function(_format_date, (_DATE, _STR)),
    "add_delta": Function(_add_delta, (_DATE, _DATE)),
    "diff_arrays": Function(_diff_arrays, (_ARR, _ARR)),
    "now": Function(_now, ()),
    "uuid": Function(_uuid, ()),
    "random_string": Function(_random_string, (_NUM, _STR), variadic=True, optional=1),
    # The original's names, with the argument order of its documentation.
    "flexli_datetime_now": Function(_now_seconds, ()),
    "flexli_datetime": Function(_now_formatted, (_STR,)),
    "flexli_random_string": Function(_random_string, (_NUM, _STR), variadic=True, optional=1),
    "flexli_to_json_string": Function(_to_json, (ANY,)),
    "flexli_time_delta": Function(_time_delta, (_STR, _STR, _NUM)),
    "flexli_diff_arrays": Function(_diff_arrays, (_ARR, _ARR)),
}


def call(node: Node) -> Run:
    """A function call as a closure. Raises `BadTree` for what no data can make right."""
    name, children = node["value"], node["children"]
    function = FUNCTIONS.get(name)
    if function is None:
        near = difflib.get_close_matches(name, FUNCTIONS, 1)
        raise BadTree(f"there is no function {name}()" + (f"; {near[0]}()?" if near else ""))
    params = function.params
    fewest = len(params) - function.optional
    if len(children) < fewest or (len(children) > len(params) and not function.variadic):
        least = "at least " if function.variadic else ""
        plural = "" if fewest == 1 else "s"
        raise BadTree(f"{name}() takes {least}{fewest} argument{plural}, not {len(children)}")
    params += params[-1:] * (len(children) - len(params))
    params = params[: len(children)]
    makers = [_argument(name, *pair) for pair in zip(children, params, strict=True)]
    body = function.body

    def run(value: Json, meter: Meter) -> Json:
        meter.spend(1)
        return body(meter, *[make(value, meter) for make in makers])

    return run


def _argument(name: str, node: Node, allowed: tuple[str, ...]) -> Callable[[Json, Meter], Any]:
    if (node["type"] == "expref") is not (allowed is _EXP):
        wants = "an expression with & before it" if allowed is _EXP else "a value, not a &"
        raise BadTree(f"{name}() takes {wants} there")
    if allowed is _EXP:
        inner = runner(node["children"][0], call)
        return lambda value, meter: inner
    make = runner(node, call)
    if allowed is ANY:
        return make

    def checked(value: Json, meter: Meter) -> Json:
        argument = make(value, meter)
        check(name, argument, allowed, meter)
        return argument

    return checked
