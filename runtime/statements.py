"""Statements of transactional steps, applied in the transaction that records the step's result.

They run under a savepoint, so one that fails takes nothing with it but its own attempt, and under
an authorizer, so they can touch their own tables and nothing of the store's: no pragma, no attach,
no transaction control.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from greenroom.definitions.errors import Rejected
from greenroom.runtime.schema import TABLES

Statement = tuple[str, tuple[Any, ...]]

_REFUSED: Final = frozenset({
    sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_CREATE_VTABLE,
    sqlite3.SQLITE_DROP_VTABLE, sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
})  # fmt: skip
_NAMED: Final = frozenset({
    sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_READ,
    sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_DROP_TABLE,
})  # fmt: skip


class StatementFailed(Rejected):
    """A statement of a transactional step was refused or failed; nothing of it was applied."""


def apply_statements(
    db: sqlite3.Connection, statements: Sequence[Statement]
) -> StatementFailed | None:
    """Applies all or none; the transaction around goes on either way. A full disk or a failing
    file is not the statement's fault and is raised."""
    db.execute("SAVEPOINT step")
    try:
        db.set_authorizer(_authorize)
        try:
            for sql, parameters in statements:
                db.execute(sql, parameters)
        finally:
            db.set_authorizer(None)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _FATAL:
            raise
        with suppress(sqlite3.OperationalError):
            db.execute("ROLLBACK TO step")
            db.execute("RELEASE step")
        return StatementFailed(
            f"{type(error).__name__}: {error} in {sql.strip()[:200]!r}", statement=sql[:1000]
        )
    db.execute("RELEASE step")
    return None


_FATAL: Final = frozenset({
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
})  # fmt: skip


def _authorize(
    action: int, first: str | None, second: str | None, database: str | None, source: str | None
) -> int:
    """Who may touch what: see the module's docstring. DDL reads and writes the schema table."""
    if action in _REFUSED:
        return sqlite3.SQLITE_DENY
    if action in _NAMED and first is not None:
        name = first.lower()
        if name in TABLES or name.startswith("greenroom_"):
            return sqlite3.SQLITE_DENY
    if action in (sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_CREATE_INDEX):
        table = (second or "").lower()
        if table in TABLES:
            return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
