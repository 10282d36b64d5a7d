"""What the Data action keeps: values by key, outside any instance, in the store's file.

A value is written by a statement that is applied in the very transaction that records the outcome
of its action, so it is written once however often the action is tried. A counter is read, counted
on and written under the condition that nobody was faster; who was not is tried again. What this
process has handed to the store already is remembered, so that a thousand instances that count at
once do not wait for each other's commits.

A scope holds so many values and bytes and no more, and so do all scopes together: whoever writes
documents cannot fill the disk. How much there is is counted in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from greenroom.actors.ports import DataMeasure, DataView, MeasureData, ReadData
from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.durations import seconds
from greenroom.definitions.errors import Rejected
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.values import INT_MAX, INT_MIN, Json, decode, encode

if TYPE_CHECKING:
    from greenroom.runtime.context import StepContext
    from greenroom.runtime.engine import Engine

TABLE: Final = "document_data"
USED: Final = "document_data_used"
"""Values and bytes of each scope, and of all under no name."""
VALUES_MAX: Final = 10_000
BYTES_MAX: Final = 16 << 20
"""Of one scope: keys and values together."""
TOTAL_MAX: Final = 1 << 30
"""Bytes of all scopes."""
TTL_S: Final = 30 * 86_400.0
QUERY_MAX: Final = 1000
PENDING_MAX: Final = 10_000
SWEPT: Final = 100
SWEEP_EVERY: Final = 16
"""So many values past their time are taken along by every so many-th write, the first too."""

COUNTER: Final = b"-9223372036854775808"
"""No counter is longer."""

RETRY: Final = RetryPolicy(
    delay_s=0.02, backoff=1.5, max_delay_s=1.0, jitter=1.0, max_attempts=50,
    retry_on=("StatementFailed",),
)  # fmt: skip
"""Somebody else was faster with the same counter."""

_CREATE: Final = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (scope TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT"
    " NULL, version INTEGER NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (scope, key))"
    " WITHOUT ROWID"
)
_CREATE_USED: Final = (
    f"CREATE TABLE IF NOT EXISTS {USED} (scope TEXT PRIMARY KEY NOT NULL, amount INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL) WITHOUT ROWID"
)
_INDEX: Final = f"CREATE INDEX IF NOT EXISTS {TABLE}_expires ON {TABLE} (expires)"
_SIZE: Final = "length(CAST(key AS BLOB)) + length(value)"
_ADD: Final = (
    f"INSERT INTO {USED} VALUES (?, 1, ?), ('', 1, ?) ON CONFLICT (scope) DO UPDATE SET"
    f" amount=amount + 1 - (SELECT count(*) FROM {TABLE} WHERE scope=? AND key=?),"
    f" bytes=bytes + excluded.bytes"
    f" - coalesce((SELECT {_SIZE} FROM {TABLE} WHERE scope=? AND key=?), 0)"
)
_FITS: Final = (
    f"SELECT CASE WHEN EXISTS (SELECT 1 FROM {USED} WHERE scope=? AND (amount > ? OR bytes > ?)"
    " OR scope='' AND bytes > ?) THEN abs(-9223372036854775808) END"
)
"""Fails when there is too much: others have written since it was measured."""
_WRITE: Final = (
    f"INSERT INTO {TABLE} (scope, key, value, version, expires) VALUES (?, ?, ?, 1, ?)"
    " ON CONFLICT (scope, key) DO UPDATE SET value=excluded.value, version=version+1,"
    " expires=excluded.expires"
)
_UNCHANGED: Final = (
    f"SELECT CASE WHEN coalesce((SELECT version FROM {TABLE} WHERE scope=? AND key=?), 0)=?"
    " THEN 1 ELSE abs(-9223372036854775808) END"
)
"""Fails unless the version is the one that was read."""

Statement = tuple[str, tuple[Any, ...]]


def _gone(which: str, *values: Any) -> list[Statement]:
    """Takes away the values that `which` chooses, and counts them out."""
    chosen = f"(SELECT scope, key, {_SIZE} AS size FROM {TABLE} WHERE {which})"
    of_scope = f"{chosen} c WHERE c.scope={USED}.scope"
    statements = (
        f"{_less(of_scope)} WHERE scope IN (SELECT scope FROM {chosen})",
        f"{_less(chosen)} WHERE scope=''",
        f"DELETE FROM {USED} WHERE amount <= 0 AND scope IN (SELECT scope FROM {chosen})",
        f"DELETE FROM {TABLE} WHERE (scope, key) IN (SELECT scope, key FROM {chosen})",
    )
    return [(sql, values * sql.count(which)) for sql in statements]


def _less(chosen: str) -> str:
    return (
        f"UPDATE {USED} SET amount=amount - (SELECT count(*) FROM {chosen}),"
        f" bytes=bytes - coalesce((SELECT sum(size) FROM {chosen}), 0)"
    )


def _sweep(now: int) -> list[Statement]:
    return _gone(f"expires <= ? ORDER BY expires, scope, key LIMIT {SWEPT}", now)


def measure_data(db: sqlite3.Connection, work: MeasureData) -> DataMeasure:
    """How much there is; what is past its time is looked for only where it makes a difference."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name=?", (USED,)).fetchone():
        return DataMeasure(made=False)
    rows = db.execute(
        f"SELECT scope, amount, bytes FROM {USED} WHERE scope IN (?, '')", (work.scope,)
    )
    found = {scope: (amount, size) for scope, amount, size in rows}
    (values, size), (_, total) = found.get(work.scope, (0, 0)), found.get("", (0, 0))
    crowded = values >= VALUES_MAX or size + work.more > BYTES_MAX
    if crowded:
        values, size = db.execute(
            f"SELECT count(*), coalesce(sum({_SIZE}), 0) FROM {TABLE} WHERE scope=? AND expires>?",
            (work.scope, work.now),
        ).fetchone()
    return DataMeasure(values, size, total, crowded or total + work.more > TOTAL_MAX)


def read_data(db: sqlite3.Connection, work: ReadData) -> list[DataView]:
    """The values of a key, or of all keys that begin with it. What is past its time is not there,
    though its version is."""
    known = db.execute(
        "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?", (TABLE,)
    ).fetchone()
    if known is None:
        return []
    values: list[Any]
    if not work.prefix:
        where, values = "key=?", [work.key]
    else:
        where, values = "key>=? AND substr(key, 1, ?)=?", [work.key, len(work.key), work.key]
    rows = db.execute(
        f"SELECT key, value, version, expires FROM {TABLE} WHERE scope=? AND {where}"
        " ORDER BY key LIMIT ?",
        (work.scope, *values, work.limit),
    )
    return [
        DataView(key, None if expires <= work.now else bytes(value), version)
        for key, value, version, expires in rows
    ]


class DataFull(Rejected):
    """The Data action keeps as much as it may. Trying again does not help."""

    http_status = 413
    final: ClassVar[bool] = True


class KeptData:
    """One for an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._handed: OrderedDict[tuple[str, str], tuple[int, int, int]] = OrderedDict()
        """Counters on their way to the store: value, version, and when it is past its time."""
        self._writes = 0
        self._made = False
        """The tables are there, for good."""

    async def act(self, parameters: dict[str, Json], ctx: StepContext) -> Json:
        """Carries out one action. Its statements go with the outcome of the attempt."""
        key = parameters.get("key")
        if not isinstance(key, str) or not key:
            raise ParameterInvalid(f"key must be text, got {key!r:.60}")
        if len(key) > NAME_MAX:
            raise ParameterInvalid(f"key has {len(key):,} characters, the limit is {NAME_MAX}")
        scope = _scope(parameters.get("scope", "workflow"), ctx)
        match parameters["operation"]:
            case "read":
                found = await self._read(scope, key, ctx)
                return None if found.value is None else decode(found.value)
            case "query":
                return await self._query(scope, key, ctx)
            case "write":
                value = parameters.get("value")
                raw = encode(value, "value")
                crowded = await self._is_crowded(scope, key, raw, ctx)
                self._handed.pop((scope, key), None)
                self._write(ctx, scope, key, raw, parameters, crowded)
                return value
            case "delete":
                self._handed.pop((scope, key), None)
                ctx.statements += self._tables()
                ctx.statements += _gone("scope=? AND key=?", scope, key)
                return None
        sign = 1 if parameters["operation"] == "increment" else -1
        return await self._count(scope, key, sign, parameters, ctx)

    async def _count(
        self, scope: str, key: str, sign: int, parameters: dict[str, Json], ctx: StepContext
    ) -> int:
        amount = parameters.get("value", 1)
        if type(amount) is not int:
            raise ParameterInvalid(f"value must be a whole number, got {amount!r:.60}")
        look = ctx.attempt > 1 or not self._made
        crowded = look and await self._is_crowded(scope, key, COUNTER, ctx)
        handed = self._on_its_way(scope, key, ctx)
        if handed is None:
            found = await self._read(scope, key, ctx)
            handed = self._on_its_way(scope, key, ctx)  # somebody counted while it was read
        if handed is None:
            before = 0 if found.value is None else decode(found.value)
            if type(before) is not int:
                raise ParameterInvalid(f"{key} holds {before!r:.60}, which cannot be counted")
            handed = (before, found.version)
        value, version = handed[0] + sign * amount, handed[1]
        if not INT_MIN <= value <= INT_MAX:
            raise ParameterInvalid(f"{key} would leave 64 bits")
        ctx.statements += [*self._tables(), (_UNCHANGED, (scope, key, version))]
        expires = self._write(ctx, scope, key, encode(value), parameters, crowded)
        self._handed[scope, key] = (value, version + 1, expires)
        self._handed.move_to_end((scope, key))
        if len(self._handed) > PENDING_MAX:
            self._handed.popitem(last=False)
        return int(value)

    def _on_its_way(self, scope: str, key: str, ctx: StepContext) -> tuple[int, int] | None:
        """A counter as it was handed to the store last; who was beaten before looks there."""
        found = self._handed.get((scope, key))
        if found is None or ctx.attempt > 1 or found[2] <= ctx.at:
            return None
        return found[:2]

    async def _read(self, scope: str, key: str, ctx: StepContext) -> DataView:
        found: list[DataView] = await self._engine.journal.call(ReadData(scope, key, ctx.at))
        return found[0] if found else DataView(key, None, 0)

    async def _query(self, scope: str, key: str, ctx: StepContext) -> Json:
        work = ReadData(scope, key, ctx.at, prefix=True, limit=QUERY_MAX)
        found: list[DataView] = await self._engine.journal.call(work)
        return [
            {"key": one.key, "value": decode(one.value)} for one in found if one.value is not None
        ]

    async def _is_crowded(self, scope: str, key: str, value: bytes, ctx: StepContext) -> bool:
        """Whether what is past its time has to make room. Raises `DataFull`, with the numbers, for
        what does not fit even so."""
        more = _size(key, value)
        found: DataMeasure = await self._engine.journal.call(MeasureData(scope, ctx.at, more))
        self._made = found.made
        if not found.crowded:
            return False
        before = (await self._read(scope, key, ctx)).value
        more -= 0 if before is None else _size(key, before)
        who = f"the {scope.partition(' ')[0]} scope of Data"
        if before is None and found.values >= VALUES_MAX:
            raise _too_large(who, f"{found.values:,} values", f"{VALUES_MAX:,}")
        if found.bytes + more > BYTES_MAX:
            raise _too_large(who, f"{found.bytes:,} bytes", f"{BYTES_MAX:,}", more)
        if found.total + more > TOTAL_MAX:
            raise _too_large(
                "all that Data keeps", f"{found.total:,} bytes", f"{TOTAL_MAX:,}", more
            )
        return True

    def _write(
        self,
        ctx: StepContext,
        scope: str,
        key: str,
        value: bytes,
        parameters: dict[str, Json],
        crowded: bool,
    ) -> int:
        """Gives when the value is past its time. What is past it already is taken along last: a
        condition on the version that was read must find it."""
        ttl_s = seconds(parameters.get("ttl", TTL_S), "ttl")
        expires = ctx.at + round(ttl_s * 1000)
        size = _size(key, value)
        ctx.statements += [
            *self._tables(), (_ADD, (scope, size, size, scope, key, scope, key)),
            (_WRITE, (scope, key, value, expires)),
        ]  # fmt: skip
        if self._writes % SWEEP_EVERY == 0:
            ctx.statements += _sweep(ctx.at)
        self._writes += 1
        if crowded:
            ctx.statements += _gone("scope=? AND expires <= ?", scope, ctx.at)
        ctx.statements.append((_FITS, (scope, VALUES_MAX, BYTES_MAX, TOTAL_MAX)))
        return expires

    def _tables(self) -> list[Statement]:
        return [] if self._made else [(_CREATE, ()), (_CREATE_USED, ()), (_INDEX, ())]


def _size(key: str, value: bytes) -> int:
    return len(key.encode()) + len(value)


def _too_large(who: str, has: str, limit: str, more: int = 0) -> DataFull:
    added = f", and {more:,} more do not fit" if more else ""
    return DataFull(
        f"{who} holds {has}{added}: the limit is {limit}",
        hint="delete values, or give them a shorter ttl; large things are kept elsewhere",
    )


def _scope(name: Json, ctx: StepContext) -> str:
    """Where a key is known: text no key of another scope can be part of."""
    space = msgspec.json.encode([ctx.namespace]).decode()
    match name:
        case "account":
            return f"account {space}"
        case "run":
            return f"run {ctx.instance}"
        case _:
            return f"workflow {space} {ctx.workflow}"
