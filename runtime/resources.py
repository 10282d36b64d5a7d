"""Resources as the faces see them: `engine.resources.list`, `.get`, `.history`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from greenroom.actors.ports import (
    FindResource,
    GetResources,
    ListProducts,
    ListResources,
    ProductRow,
    ResourceChange,
    ResourceHistory,
    ResourceRow,
)
from greenroom.actors.rows import rfc3339
from greenroom.definitions.errors import (
    InvalidRequest,
    NotFound,
    Rejected,
    ResourceNotFound,
)
from greenroom.definitions.resources import Stored, open_kinds, products
from greenroom.definitions.suggest import did_you_mean
from greenroom.definitions.workflow import Target
from greenroom.runtime import shapes
from greenroom.runtime.resource_rules import COLUMNS

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine

WORDS: Final = (*COLUMNS, "instance", "namespace")
"""What a filter may ask for."""


class Resources:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, q: str = "", *, limit: int = 50, cursor: str | None = None
    ) -> shapes.Page[shapes.Resource]:
        """Resources, the last changed first. `q` is words `product:` `status:` `customer:` `type:`
        `id:` `instance:` (those an instance has saved) `namespace:`, joined by AND; quote a value
        with blanks.
        """
        equal = _words(q)
        namespace = equal.pop("namespace", self._engine.namespace)
        if "instance" in equal:
            equal["instance"] = await self._instance(equal["instance"])
        limit = max(1, min(limit, 1_000))
        rows: list[ResourceRow] = await self._engine.journal.call(
            ListResources(equal, limit, _place(cursor), namespace)
        )
        after = f"{rows[-1].updated}.{rows[-1].id}" if len(rows) == limit else None
        return shapes.Page([_shape(row) for row in rows], after)

    async def get(self, id: str) -> shapes.Resource:
        """One resource, by its id or a unique prefix of it. Raises `ResourceNotFound`."""
        return _shape(await self._row(id))

    async def history(
        self, id: str, *, limit: int = 200, cursor: str | None = None
    ) -> shapes.Page[shapes.ResourceVersion]:
        """The versions of a resource, oldest first: which op of which instance changed what."""
        row = await self._row(id)
        try:
            after = int(cursor) if cursor else 0
        except ValueError:
            raise _no_cursor(cursor) from None
        limit = max(1, min(limit, 1_000))
        found: list[ResourceChange] = await self._engine.journal.call(
            ResourceHistory(row.id, after, limit)
        )
        following = str(found[-1].version) if len(found) == limit else None
        return shapes.Page([_version(one) for one in found], following, row.version)

    async def products(self) -> Sequence[shapes.ProductType]:
        """The product types of the code beside those the store has resources of."""
        rows: list[ProductRow] = await self._engine.journal.call(
            ListProducts(self._engine.namespace)
        )
        counts: dict[str, int] = {}
        named = products()
        classes = {name: list(kinds) for name, kinds in named.items()}
        for row in rows:
            counts[row.product] = counts.get(row.product, 0) + row.resources
            if row.product not in named:
                classes.setdefault(row.product, []).extend(open_kinds(row.family))
        return [
            shapes.ProductType(
                name, sorted({kind.__name__ for kind in kinds}), counts.get(name, 0),
                "missing" if not kinds else "same" if name in counts else "new",
            )
            for name, kinds in sorted(classes.items())
        ]  # fmt: skip

    async def fetch(
        self, target: Target, source: Mapping[str, Any], namespace: str
    ) -> dict[str, Stored] | None:
        """The resources a function asks for out of a state, for its injector; None: it asks for
        none. Raises `StepInput` for what is no id."""
        injector = target.injector
        if injector is None or not injector.resources:
            return None
        ids = injector.resource_ids(source)
        rows: list[ResourceRow] = []
        if ids:
            rows = await self._engine.journal.call(GetResources(ids, namespace))
        return {row.id: row for row in rows}

    async def _row(self, id: str) -> ResourceRow:
        row: ResourceRow | None = await self._engine.journal.call(
            FindResource(id.lower(), self._engine.namespace)
        )
        if row is None:
            raise ResourceNotFound(
                f"there is no resource {id}", hint="greenroom resource ls", resource=id
            )
        return row

    async def _instance(self, ref: str) -> str:
        """The id of an instance, which may be pruned already."""
        try:
            return (await self._engine._find(ref)).id
        except NotFound:
            return ref


def _words(q: str) -> dict[str, str]:
    try:
        words = shlex.split(q)
    except ValueError as error:
        raise InvalidRequest(f"the filter {q!r} has an open quote ({error})") from None
    found: dict[str, str] = {}
    for word in words:
        name, colon, value = word.partition(":")
        if name not in WORDS or not colon:
            raise InvalidRequest(
                f"resources have no {name!r} to look for{did_you_mean(name, WORDS)}",
                hint="words are " + ", ".join(f"{one}:VALUE" for one in WORDS),
                word=word,
            )
        found[name] = value
    return found


def _place(cursor: str | None) -> tuple[int, str] | None:
    if not cursor:
        return None
    at, _, id = cursor.partition(".")
    if not at.isdecimal() or not id:
        raise _no_cursor(cursor)
    return int(at), id


def _no_cursor(cursor: str | None) -> Rejected:
    return InvalidRequest(f"{cursor!r} is not a cursor of this list")


def _shape(row: ResourceRow) -> shapes.Resource:
    return shapes.Resource(
        row.id, row.type, row.product, row.customer_id, row.status, row.version,
        msgspec.json.decode(row.data), rfc3339(row.created), rfc3339(row.updated), row.instance,
        row.workflow,
    )  # fmt: skip


def _version(one: ResourceChange) -> shapes.ResourceVersion:
    changes = {
        name: shapes.ResourceChange(before, after)
        for name, (before, after) in msgspec.json.decode(one.changes).items()
    }
    return shapes.ResourceVersion(
        one.version, rfc3339(one.at), one.instance, one.workflow, one.op, one.attempt, one.pos,
        changes,
    )  # fmt: skip
