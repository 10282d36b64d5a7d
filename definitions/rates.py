"""How often a service may be asked: `"5/s"`, `"100/minute"`, `{"rate": 5, "per": "1s", "burst": 10}`."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import InvalidDefinition, InvalidInput
from greenroom.definitions.values import Json

_TEXT: Final = re.compile(r"(\d{1,9})\s*(?:/|per )\s*(\d{0,9})\s*([a-z]+)", re.ASCII)
FORMS: Final = '"5/s", "100/minute" or {"rate": 5, "per": "1s", "burst": 10}'


class Rate(msgspec.Struct, frozen=True):
    """`count` every `per_s` seconds, and `burst` at once after a rest."""

    count: float
    per_s: float
    burst: int

    @property
    def each_s(self) -> float:
        """Seconds in which one more becomes free."""
        return self.per_s / self.count

    def as_data(self) -> dict[str, Json]:
        return {"rate": self.count, "per_s": self.per_s, "burst": self.burst}


def parse_rate(value: Json) -> Rate:
    """Raises `InvalidDefinition`."""
    count: Json
    burst: Json = None
    if isinstance(value, str):
        found = _TEXT.fullmatch(value.strip().lower())
        if found is None:
            raise _wrong(value)
        count, per = int(found[1]), f"{found[2] or 1} {found[3]}"
    elif isinstance(value, dict) and value.keys() <= {"rate", "per", "burst"} and "rate" in value:
        count, per, burst = value["rate"], value.get("per", "1s"), value.get("burst")
    else:
        raise _wrong(value)
    if isinstance(count, bool) or not isinstance(count, int | float) or not 0 < count <= 1e9:
        raise _wrong(value)
    if burst is None:
        burst = max(1, math.ceil(count))
    if isinstance(burst, bool) or not isinstance(burst, int) or not 1 <= burst <= 1_000_000:
        raise _wrong(value)
    try:
        per_s = seconds(per, "per")
    except InvalidInput:
        raise _wrong(value) from None
    if per_s <= 0:
        raise _wrong(value)
    return Rate(float(count), per_s, burst)


def _wrong(value: Json) -> InvalidDefinition:
    return InvalidDefinition(f"{value!r} is no rate; write {FORMS}")
