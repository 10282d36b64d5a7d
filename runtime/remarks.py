"""What is odd about a document that is saved: by itself, and with the workflows that are released.

`def validate` looks at files that lie together; whoever pushes one document has only the daemon to
say that it closes a circle with workflows of others. Only those that it starts, directly or not,
are looked at, and at most so many: a push must not cost what all workflows cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from greenroom.definitions.analysis import Start, cycle_findings, findings, starts
from greenroom.definitions.documents import Document
from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.located import in_order
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Written
from greenroom.runtime.documents import document_of
from greenroom.runtime.sources import ACTIONS, reader_of

if TYPE_CHECKING:
    from greenroom.runtime.registry import Registry

FOLLOWED_MAX: Final = 50
"""Other documents that are read to find circles."""


def remarks(registry: Registry, document: Json, place: str) -> list[Problem]:
    """The warnings of a document, in the order of its lines; none for one with another reader. Call
    it with the catalog of the engine in use."""
    mine = _document(Written(reader_of(document), document), place)
    if mine is None:
        return []
    circles = cycle_findings([mine, *_started_by(registry, mine)], through=mine.name)
    return in_order([*mine.warnings, *findings(mine), *circles])


def _started_by(registry: Registry, mine: Document) -> list[Document]:
    """The released documents that one starts, and those that they start."""
    enabled = [registry.released(name) for name in registry.names() if registry.is_enabled(name)]
    by_name = {definition.name: definition for definition in enabled}
    by_type: dict[str, list[str]] = {}
    for definition in enabled:
        for trigger in definition.triggers:
            if trigger.type is not None:
                by_type.setdefault(trigger.type, []).append(definition.name)
    found: dict[str, Document] = {mine.name: mine}
    left = list(_names(starts(mine), by_type))
    while left and len(found) <= FOLLOWED_MAX:
        name = left.pop()
        following = by_name.get(name)
        if name in found or following is None:
            continue
        document = _document(following.written, following.source)
        if document is not None:
            found[name] = document
            left += _names(starts(document), by_type)
    return list(found.values())[1:]


def _names(found: Iterable[Start], by_type: Mapping[str, list[str]]) -> list[str]:
    names: list[str] = []
    for start in found:
        names += [start.workflow] if start.workflow else by_type.get(start.event_type or "", [])
    return names


def _document(written: Written | None, place: str) -> Document | None:
    if written is None or written.reader != ACTIONS:
        return None
    try:
        return document_of(written.document, place)
    except InvalidDefinition:  # it named something that is gone since
        return None
