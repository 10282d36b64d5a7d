"""What may be stored, and the one way it is stored.

A value crosses the journal as JSON. msgspec writes NaN as `null`, turns integer keys into text
and tuples into lists without a word, so a program that saw the live value before a crash and the
stored one after it would behave differently. Hence one rule: *a value is handed on only after a
round trip through the codec*, and what the round trip would change in meaning is refused with the
path to it. `encode` is where that happens; it runs in the caller, before a value joins anybody
else's commit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from greenroom.definitions.errors import InvalidInput, TooLarge

VALUE_BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 64
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1

Json = Any
"""None, bool, int, float, str, list or dict with text keys, all the way down."""


def _plain(value: Any) -> Any:
    """Objects of other libraries that know how to become data (pydantic's models do)."""
    dump = getattr(type(value), "model_dump", None)
    if dump is not None:
        return dump(value, mode="json")
    raise TypeError(f"not serialisable (type {_type_name(value)})")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder()


def _type_name(value: Any) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def encode(value: Any, what: str = "value", limit: int = VALUE_BYTES_MAX) -> bytes:
    """The value as JSON bytes.

    Raises `InvalidInput` naming the path of what cannot be stored (NaN, infinity, keys that are
    not text, live objects, integers beyond 64 bits, lone surrogates, more than 64 levels), and
    `TooLarge` beyond `limit` bytes.
    """
    return encode_decode(value, what, limit)[0]


def encode_decode(
    value: Any, what: str = "value", limit: int = VALUE_BYTES_MAX
) -> tuple[bytes, Json]:
    """The value as JSON bytes, and as everybody will see it from now on."""
    if value is None:
        return b"null", None
    try:
        raw = _encoder.encode(value)
        back = _decoder.decode(raw)
        same = back == value
    except RecursionError:
        raise InvalidInput(
            f"{what} is nested more than {DEPTH_MAX} levels deep", path="$"
        ) from None
    except Exception:  # whatever an author's object raised: the walk names the place
        _refuse(value, what)
        raise
    if len(raw) > limit:
        raise TooLarge(
            f"{what} is {len(raw):,} bytes, the limit is {limit:,}", bytes=len(raw), limit=limit
        )
    if type(back) in (dict, list):
        if (
            not same
            or b"[[[[[[[[" in raw
            or raw.count(b"{") + raw.count(b"[") > DEPTH_MAX
            or _has_wide_int(raw)
        ):
            _refuse(value, what)
    elif not same or type(back) is int:
        _refuse(value, what)
    return raw, back


def _has_wide_int(raw: bytes) -> bool:
    """Cheap test that is never wrong in saying no: a 64-bit overrun needs 19 digits in a row."""
    return len(raw) >= 19 and _WIDE(raw) is not None


_WIDE: Final = re.compile(rb"[0-9]{19}").search


def decode(raw: bytes | str) -> Json:
    """JSON bytes to a value. Raises `InvalidInput` for anything that is not one."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not valid JSON: {error}", path="$") from None


def copy(value: Json) -> Json:
    """A deep copy of a JSON value; far cheaper than `copy.deepcopy`."""
    if type(value) is dict:
        return {key: copy(item) for key, item in value.items()}
    if type(value) is list:
        return [copy(item) for item in value]
    return value


def equal(left: Json, right: Json) -> bool:
    """Equality of JSON values with JSON's types: `1` is not `true`, `1` equals `1.0`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(v, right[k]) for k, v in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return bool(left == right)


def texts_in(value: Json) -> Iterator[str]:
    """Every text in a value, keys left out, in no order that means anything."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def canonical(value: Any) -> bytes:
    """JSON bytes with sorted keys, for hashes and comparisons."""
    return msgspec.json.encode(value, enc_hook=_plain, order="deterministic")


def _refuse(value: Any, what: str) -> None:
    """Walks the value slowly and raises for the first thing that cannot be stored."""
    stack: list[tuple[Any, str, int]] = [(value, "$", 0)]
    while stack:
        item, path, depth = stack.pop()
        if depth > DEPTH_MAX:
            raise InvalidInput(f"{what} is nested more than {DEPTH_MAX} levels deep", path=path)
        match item:
            case None | bool():
                continue
            case str():
                try:
                    item.encode()
                except UnicodeEncodeError:
                    raise InvalidInput(
                        f"{what} has a lone surrogate at {path}", path=path
                    ) from None
            case int():
                if not INT_MIN <= item <= INT_MAX:
                    raise InvalidInput(f"{what} has an integer beyond 64 bits at {path}", path=path)
            case float():
                if not math.isfinite(item):
                    raise InvalidInput(
                        f"{what} has {item} at {path}; JSON has no such number", path=path
                    )
            case dict():
                for key, inner in item.items():
                    if not isinstance(key, str):
                        raise InvalidInput(
                            f"{what} has the key {key!r} (type {_type_name(key)}) at {path}; "
                            "keys must be text",
                            path=path,
                        )
                    stack.append((inner, f"{path}.{key}", depth + 1))
            case list() | tuple() | set() | frozenset():
                stack.extend((inner, f"{path}[{i}]", depth + 1) for i, inner in enumerate(item))
            case _:
                try:
                    built = msgspec.to_builtins(item, enc_hook=_plain)
                except RecursionError:
                    raise InvalidInput(
                        f"{what} is nested more than {DEPTH_MAX} levels deep", path=path
                    ) from None
                except Exception as error:
                    reason = str(error) if str(error).startswith("not serialisable") else ""
                    raise InvalidInput(
                        f"{what} has a value at {path} that cannot be stored: "
                        f"{reason or f'{type(error).__name__}: {error}'}",
                        hint="return plain data, a msgspec.Struct, a dataclass or a pydantic "
                        "model; keep live objects out of the state",
                        path=path,
                        type=_type_name(item),
                    ) from None
                if type(built) is not type(item):
                    stack.append((built, path, depth + 1))
