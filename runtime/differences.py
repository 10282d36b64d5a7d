"""Where two JSON values differ, place by place: versions of a workflow, states of instances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from greenroom.actors.ports import DefinitionRow
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.expressions import path_in
from greenroom.definitions.values import Json, equal
from greenroom.runtime import shapes

CHANGES_MAX: Final = 500


def definition_content(row: DefinitionRow) -> Json:
    """What two versions of a workflow are compared by: the document, else steps and triggers."""
    body = msgspec.json.decode(row.body)
    document = (body.get("written") or {}).get("document")
    if document is not None:
        return document_content(document)
    nodes = (body.get("plan") or {}).get("nodes", [])
    return {
        "steps": {node["key"]: node for node in nodes},
        "order": [node["key"] for node in nodes],
        "triggers": body.get("triggers", []),
    }


def document_content(document: Json) -> Json:
    """The data of a document that was given as it is or as JSON or YAML text; of a text that cannot
    be read any more its lines."""
    if not isinstance(document, str):
        return document
    from greenroom.definitions.located import read_located  # noqa: PLC0415  start-up time

    try:
        return read_located(document).data
    except InvalidDefinition:
        return {"line": dict(enumerate(document.splitlines(), 1))}


def changes(a: Json, b: Json, path: str = "$") -> list[shapes.Difference]:
    """Where two JSON values differ, deepest first place by place; at most `CHANGES_MAX` places.

    Actions and branches meet by their `order`, so that one put in between is one change.
    """
    found: list[shapes.Difference] = []
    _compare(a, b, path, found)
    return found[:CHANGES_MAX]


def _compare(a: Json, b: Json, path: str, found: list[shapes.Difference]) -> None:
    if len(found) >= CHANGES_MAX or equal(a, b):
        return
    if isinstance(a, dict) and isinstance(b, dict):
        for name in [*a, *(name for name in b if name not in a)]:
            _compare_member(a, b, name, path_in(path, str(name)), found)
    elif isinstance(a, list) and isinstance(b, list):
        for i, j in _pairs(a, b):
            place = f"{path}[{i if j is None else j}]"
            if j is None:
                found.append(shapes.Difference(place, "removed", a[i or 0], None))
            elif i is None:
                found.append(shapes.Difference(place, "added", None, b[j]))
            else:
                _compare(a[i], b[j], place, found)
    else:
        found.append(shapes.Difference(path, "changed", a, b))


def _compare_member(
    a: dict[str, Json], b: dict[str, Json], name: str, place: str, found: list[shapes.Difference]
) -> None:
    if name not in b:
        found.append(shapes.Difference(place, "removed", a[name], None))
    elif name not in a:
        found.append(shapes.Difference(place, "added", None, b[name]))
    else:
        _compare(a[name], b[name], place, found)


def _pairs(a: list[Json], b: list[Json]) -> Iterator[tuple[int | None, int | None]]:
    """Which item meets which: by `order` where all have one of their own, else by place."""
    ours, theirs = _orders(a), _orders(b)
    if ours is None or theirs is None:
        for at in range(max(len(a), len(b))):
            yield at if at < len(a) else None, at if at < len(b) else None
        return
    for order in sorted({**ours, **theirs}):
        yield ours.get(order), theirs.get(order)


def _orders(items: list[Json]) -> dict[int, int] | None:
    found: dict[int, int] = {}
    for at, item in enumerate(items):
        order = item.get("order") if isinstance(item, dict) else None
        if type(order) is not int or order in found:
            return None
        found[order] = at
    return found
