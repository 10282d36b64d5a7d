"""What the words of a filter mean: as SQL for the database, as a test for rows in memory.

Both are here, side by side, because they must say the same. A term is (field, op, value, negated);
`age` is compared in milliseconds, `updated` and `due` with a moment in milliseconds, an attribute
as a number when both sides are numbers and as text otherwise.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from greenroom.actors.ports import InstanceRow
from greenroom.definitions.errors import InvalidRequest
from greenroom.runtime.filters import FIELDS, Filter
from greenroom.runtime.store import STATUS_CODE, STATUSES

Term = tuple[str, str, Any, bool]

OPS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    ":": operator.eq, "=": operator.eq, ">": operator.gt, "<": operator.lt,
    ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
ORDERED: Final = frozenset({"age", "updated", "due"})
COUNTED: Final = frozenset({"status", "workflow", "namespace"})
WAITS_FOR: Final = "instr(CAST(i.waits AS TEXT), ?)"
"""Where an instance waits for something of a kind; with the kind written out it is `RETRIED` of the
schema, which has an index."""
"""Fields that the kept counters can answer."""

_ASSIGNED: Final = (
    "EXISTS (SELECT 1 FROM ask a WHERE a.n = i.n AND a.assignee=? AND a.answered IS NULL)"
)
_MIN_DUE: Final = "(SELECT min(t.due) FROM timer t WHERE t.n = i.n)"


def terms_of(found: Filter, now: int) -> list[Term]:
    """A parsed filter as terms; durations of `updated` count back from now, of `due` ahead."""
    terms: list[Term] = []
    for term in found.terms:
        value: Any = term.value
        if term.at is not None:
            value = int(datetime.fromisoformat(term.at).timestamp() * 1000)
        elif term.seconds is not None:
            span = int(term.seconds * 1000)
            value = {"age": span, "updated": now - span, "due": now + span}[term.field]
        terms.append((term.field, term.op, value, term.negated))
    return terms


def check(terms: Sequence[Term]) -> None:
    """Raises `InvalidRequest` for what has no meaning."""
    for field, op, value, _ in terms:
        if op not in OPS:
            raise InvalidRequest(f"{field}{op}{value}: unknown operator", field=field)
        if field in ORDERED:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidRequest(f"{field} is compared with milliseconds", field=field)
        elif field in FIELDS and op not in (":", "="):
            raise InvalidRequest(f"{field} has no order", field=field)


def number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        whole = int(str(value))
        return whole if -(1 << 63) <= whole < 1 << 63 else float(whole)
    except (ValueError, OverflowError):
        pass
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if found - found == 0 else None


def word(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


# -- as SQL ------------------------------------------------------------------------------------


def sql(terms: Sequence[Term], now: int) -> tuple[str, list[Any]]:
    """A condition on `instance i` that is never NULL, and its parameters."""
    parts: list[str] = []
    values: list[Any] = []
    for field, op, value, negated in terms:
        text, given = _sql_term(field, "=" if op == ":" else op, value, now)
        parts.append(f"{'NOT ' if negated else ''}COALESCE({text}, 0)")
        values += given
    return " AND ".join(parts) or "1", values


def _sql_term(field: str, op: str, value: Any, now: int) -> tuple[str, list[Any]]:
    match field:
        case "status":
            return "i.status=?", [STATUS_CODE.get(str(value), -1)]
        case "workflow":
            return "i.w IN (SELECT w FROM workflow WHERE name=?)", [str(value)]
        case "namespace":
            return "i.w IN (SELECT w FROM workflow WHERE namespace=?)", [str(value)]
        case "kind" | "key":
            return f"i.{field}=?", [str(value)]
        case "step":
            return "instr(char(10) || i.steps || char(10), ?) > 0", [f"\n{value}\n"]
        case "wait":
            return f"{WAITS_FOR} > 0", [f'"kind":"{value}"']
        case "error":
            return (
                "(i.error_code=? OR instr(CAST(i.error AS TEXT), ?) > 0)",
                [str(value), str(value)],
            )
        case "age":
            return f"? - i.created {op} ?", [now, value]
        case "updated":
            return f"i.updated {op} ?", [value]
        case "due":
            return f"{_MIN_DUE} {op} ?", [value]
        case "assignee":
            return _ASSIGNED, [str(value)]
        case _:
            return _sql_attribute(field, op, value)


def _sql_attribute(name: str, op: str, value: Any) -> tuple[str, list[Any]]:
    """Numbers are compared with numbers and text with text, whichever the attribute is."""
    tests = [f"(typeof(a.value) = 'text' AND a.value {op} ?)"]
    values: list[Any] = [name, word(value)]
    if (found := number(value)) is not None:
        tests.append(f"(typeof(a.value) != 'text' AND a.value {op} ?)")
        values.append(found)
    return (
        f"EXISTS (SELECT 1 FROM attribute a WHERE a.n = i.n AND a.name=? AND ({' OR '.join(tests)}))",
        values,
    )


# -- as a test ---------------------------------------------------------------------------------


def test(
    terms: Sequence[Term], row: InstanceRow, now: int, due: int | None, assignees: set[str | None]
) -> bool:
    """Whether a row meets all terms; `due` is its earliest timer, `assignees` of its open asks."""
    return all(
        _test_term(field, op, value, row, now, due, assignees) is not negated
        for field, op, value, negated in terms
    )


def _test_term(
    field: str, op: str, value: Any, row: InstanceRow, now: int, due: int | None,
    assignees: set[str | None],
) -> bool:  # fmt: skip
    match field:
        case "status" | "workflow" | "namespace" | "kind" | "key":
            return bool(getattr(row, field) == str(value))
        case "step":
            return f"\n{value}\n" in f"\n{row.steps}\n"
        case "wait":
            return f'"kind":"{value}"'.encode() in (row.waits or b"")
        case "error":
            text = row.error.decode() if row.error is not None else ""
            return row.error_code == str(value) or (bool(text) and str(value) in text)
        case "age":
            return bool(OPS[op](now - row.created, value))
        case "updated":
            return bool(OPS[op](row.updated, value))
        case "due":
            return due is not None and bool(OPS[op](due, value))
        case "assignee":
            return str(value) in assignees
        case _:
            return field in row.attributes and _test_attribute(row.attributes[field], op, value)


def _test_attribute(held: Any, op: str, value: Any) -> bool:
    if isinstance(held, str | bool):
        return bool(OPS[op](word(held), word(value)))
    wanted = number(value)
    return wanted is not None and bool(OPS[op](held, wanted))


__all__ = [
    "COUNTED",
    "FIELDS",
    "OPS",
    "STATUSES",
    "check",
    "number",
    "sql",
    "terms_of",
    "test",
    "word",
]
