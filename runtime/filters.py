"""The filter grammar of the command line, the socket and the web pages.

    status:failed workflow:order customer=alice age>1h -step:send_invoice

Words are joined by AND. A word is `field:value`, `field=value`, `field>value` or `field<value`
(also `>=`, `<=`); a `-` before it negates it; double quotes keep spaces in a value. Fields are those of `FIELDS` and
the attributes a workflow declares. The result is data: what a term means in SQL is the store's
affair, so every store and every face gives the same answer to the same text.

`age` is a duration since the creation. `updated` and `due` take a duration or a moment:
`updated>1h` was touched more than an hour ago, `due<1h` is due within the hour, and
`updated>2026-11-20` was touched after that day began (without a zone: UTC).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Final, Literal, cast

import msgspec

from greenroom.definitions.durations import seconds as seconds_of
from greenroom.definitions.errors import InvalidInput, InvalidRequest
from greenroom.runtime.shapes import STATUSES

FIELDS: Final = (
    "status", "workflow", "kind", "key", "step", "wait", "error", "age", "updated", "due",
    "assignee", "namespace",
)  # fmt: skip
OURS: Final = ("schedule", "stage")
"""Attributes greenroom gives itself: what started an instance, where a run of a stage graph stands."""
WAITS: Final = ("retry", "timer", "event", "form", "approval", "callback", "child", "slot")
"""What an instance can wait for."""
TEXT_MAX: Final = 2_000
TERMS_MAX: Final = 50

Op = Literal[":", ">", "<", ">=", "<="]

_TURNED: Final[dict[Op, Op]] = {":": ":", ">": "<", "<": ">", ">=": "<=", "<=": ">="}
_ORDERED: Final = frozenset({"age", "updated", "due"})
_TERM: Final = re.compile(r"(-?)([A-Za-z_][\w.]*)([<>]=|[:=<>])(.*)", re.DOTALL)
_WORD: Final = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')


class Term(msgspec.Struct, frozen=True):
    """One word. `=` is written `:`.

    `seconds` is set where the value is a duration (`age`, `updated`, `due`); `at` where it is a
    moment (RFC 3339, UTC). `updated` is always compared with a moment: `updated>1h` was touched
    more than an hour ago, so its `op` is `<`, before the moment an hour ago. For declared
    attributes the value stays text: the store compares it with what it holds, as a number when
    both are numbers.
    """

    field: str
    op: Op
    value: str
    negated: bool = False
    seconds: float | None = None
    at: str | None = None

    @property
    def declared(self) -> bool:
        """True for an attribute a workflow declares, false for a field of every instance."""
        return self.field not in FIELDS

    def __str__(self) -> str:
        value = f'"{self.value}"' if re.search(r"\s", self.value) or not self.value else self.value
        return f"{'-' * self.negated}{self.field}{self._written_op}{value}"

    @property
    def _written_op(self) -> Op:
        back = self.field == "updated" and self.seconds is not None
        return _TURNED[self.op] if back else self.op


class Filter(msgspec.Struct, frozen=True):
    """All terms must hold; without terms everything matches."""

    terms: tuple[Term, ...] = ()

    def of(self, field: str) -> tuple[Term, ...]:
        """The terms of one field."""
        return tuple(term for term in self.terms if term.field == field)

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))


def looks_like_filter(text: str) -> bool:
    """Whether a command's argument is a filter and not an instance.

    An instance is an id, a prefix of one, or `workflow/key`; a key may hold any character, so a
    slash before the first operator decides.
    """
    head = re.match(r"-?[A-Za-z_][\w.]*[:=<>]", text)
    return head is not None


def parse_filter(text: str, attributes: Collection[str] | None = None) -> Filter:
    """The filter a text stands for. Raises `InvalidRequest` naming the word that is wrong.

    `attributes` are the declared ones. Without them every name that is not a near miss of a field
    is taken for an attribute.
    """
    if len(text) > TEXT_MAX:
        raise InvalidRequest(f"a filter is at most {TEXT_MAX:,} characters, this one {len(text):,}")
    words = _WORD.findall(text)
    if len(words) > TERMS_MAX:
        raise InvalidRequest(f"a filter is at most {TERMS_MAX} words, this one {len(words)}")
    return Filter(tuple(_term(word, attributes) for word in words))


def _term(word: str, attributes: Collection[str] | None) -> Term:
    found = _TERM.fullmatch(word)
    if found is None:
        raise _not_a_term(word)
    minus, field, sign, raw = found.groups()
    value = _unquote(raw, word)
    field = _field(field, word, attributes)
    op = cast("Op", ":" if sign == "=" else sign)
    if not value and (field in FIELDS or op != ":"):
        raise InvalidRequest(f"{word} has no value", word=word)
    if op != ":" and field in FIELDS and field not in _ORDERED:
        raise InvalidRequest(
            f"{word}: {field} has no order, write {field}:{value}", word=word, field=field
        )
    term = Term(field=field, op=op, value=value, negated=bool(minus))
    if field == "status":
        _check_word(value, STATUSES, "status", "statuses", word)
    if field == "wait":
        _check_word(value, WAITS, "wait", "waits", word)
    if field in _ORDERED:
        return _ordered(term, word)
    return term


def _not_a_term(word: str) -> InvalidRequest:
    if word.count('"') % 2:
        return InvalidRequest(f"{word} has a quote that is not closed", word=word)
    bare = word.strip('-"')
    hint = f"name the field, as in  workflow:{bare}  or  key:{bare}" if bare else None
    if bare in STATUSES:
        hint = f"name the field:  status:{bare}"
    return InvalidRequest(f"{word} is not field:value", hint=hint, word=word)


def _unquote(raw: str, word: str) -> str:
    if raw.count('"') % 2:
        raise InvalidRequest(f"{word} has a quote that is not closed", word=word)
    return raw.replace('"', "")


def _field(field: str, word: str, attributes: Collection[str] | None) -> str:
    if field in FIELDS or field in OURS or (attributes is not None and field in attributes):
        return field
    if field.lower() in FIELDS:
        return field.lower()
    known = [*FIELDS, *(attributes or ())]
    near = get_close_matches(field.lower(), known, n=1, cutoff=0.7)
    if near:
        raise InvalidRequest(
            f'{word}: unknown field "{field}"; did you mean {near[0]}?', word=word, field=field
        )
    if attributes is not None:
        raise InvalidRequest(
            f'{word}: unknown field "{field}"',
            hint=f"fields: {' '.join(known)}",
            word=word,
            field=field,
        )
    return field


def _check_word(value: str, known: tuple[str, ...], one: str, all: str, word: str) -> None:
    if value in known:
        return
    near = get_close_matches(value.lower(), known, n=1, cutoff=0.5)
    mend = f"; did you mean {near[0]}?" if near else ""
    raise InvalidRequest(
        f'{word}: no {one} "{value}"{mend}', hint=f"{all}: {' '.join(known)}", word=word
    )


def _ordered(term: Term, word: str) -> Term:
    """`age`, `updated` and `due` hold a duration or, but for age, a moment."""
    if term.op == ":":
        raise InvalidRequest(
            f"{word}: {term.field} needs < or >, as in  {term.field}>{term.value}",
            word=word,
            field=term.field,
        )
    moment = None if term.field == "age" else _moment(term.value)
    if moment is not None:
        return msgspec.structs.replace(term, at=moment)
    op = _TURNED[term.op] if term.field == "updated" else term.op
    return msgspec.structs.replace(term, op=op, seconds=_seconds(term.value, word, term.field))


def _seconds(value: str, word: str, field: str) -> float:
    try:
        return seconds_of(value)
    except InvalidInput as error:
        kinds = "a duration" if field == "age" else "a duration or a date"
        raise InvalidRequest(
            f'{word}: "{value}" is not {kinds}',
            hint="durations: 90s 15m 1h30m 2d PT5M",
            word=word,
            field=field,
        ) from error


def _moment(value: str) -> str | None:
    """RFC 3339 text in UTC, or None for what is not a date."""
    if not re.match(r"\d{4}-\d\d-\d\d", value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the year 0 of another zone
        return None
    return moment.isoformat().replace("+00:00", "Z")
