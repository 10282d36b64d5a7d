"""What the Data action keeps: values by key, outside any instance, in the store's file.

A value is written by a statement that is applied in the very transaction that records the outcome
of its action, so it is written once however often the action is tried. A counter is read, counted
on and written under the condition that nobody was faster; who was not is tried again. What this
process has handed to the store already is remembered, so that a thousand instances that count at
once do not wait for each other's commits.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.ports import DataView, ReadData
from greenroom.definitions.actionerrors import ParameterInvalid
from greenroom.definitions.durations import seconds
from greenroom.definitions.events import NAME_MAX
from greenroom.definitions.retries import RetryPolicy
from greenroom.definitions.values import INT_MAX, INT_MIN, Json, decode, encode

if TYPE_CHECKING:
    from greenroom.runtime.context import StepContext
    from greenroom.runtime.engine import Engine

TABLE: Final = "document_data"
TTL_S: Final = 30 * 86_400.0
QUERY_MAX: Final = 1000
PENDING_MAX: Final = 10_000
SWEPT: Final = 100
"""Values past their time that a write takes with it."""

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
_INDEX: Final = f"CREATE INDEX IF NOT EXISTS {TABLE}_expires ON {TABLE} (expires)"
_SWEEP: Final = (
    f"DELETE FROM {TABLE} WHERE (scope, key) IN"
    f" (SELECT scope, key FROM {TABLE} WHERE expires <= ? LIMIT {SWEPT})"
)
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
_DELETE: Final = f"DELETE FROM {TABLE} WHERE scope=? AND key=?"

Statement = tuple[str, tuple[Any, ...]]


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


class KeptData:
    """One for an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._handed: OrderedDict[tuple[str, str], tuple[int, int, int]] = OrderedDict()
        """Counters on their way to the store: value, version, and when it is past its time."""

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
                self._handed.pop((scope, key), None)
                self._write(ctx, scope, key, encode(value, "value"), parameters)
                return value
            case "delete":
                self._handed.pop((scope, key), None)
                ctx.statements += [(_CREATE, ()), (_DELETE, (scope, key))]
                return None
        sign = 1 if parameters["operation"] == "increment" else -1
        return await self._count(scope, key, sign, parameters, ctx)

    async def _count(
        self, scope: str, key: str, sign: int, parameters: dict[str, Json], ctx: StepContext
    ) -> int:
        amount = parameters.get("value", 1)
        if type(amount) is not int:
            raise ParameterInvalid(f"value must be a whole number, got {amount!r:.60}")
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
        ctx.statements += [(_CREATE, ()), (_UNCHANGED, (scope, key, version))]
        expires = self._write(ctx, scope, key, encode(value), parameters)
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

    def _write(
        self, ctx: StepContext, scope: str, key: str, value: bytes, parameters: dict[str, Json]
    ) -> int:
        """Gives when the value is past its time. What is past it already is taken along last: a
        condition on the version that was read must find it."""
        ttl_s = seconds(parameters.get("ttl", TTL_S), "ttl")
        expires = ctx.at + round(ttl_s * 1000)
        if not ctx.statements:
            ctx.statements.append((_CREATE, ()))
        ctx.statements += [
            (_INDEX, ()), (_WRITE, (scope, key, value, expires)), (_SWEEP, (ctx.at,)),
        ]  # fmt: skip
        return expires


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
