"""Documents read again while the daemon serves: SIGHUP.

What is right is a new version, released as at a start; what is wrong changes nothing and is told in
the log. Python code is loaded once a process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from greenroom.definitions.catalog import using
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, Problem
from greenroom.definitions.workflow import Definition
from greenroom.runtime.loading import connectors_among, documents_in, workflows_among
from greenroom.runtime.sources import defined

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


async def reload(engine: Engine, what: Iterable[str], *, promote: bool = True) -> list[str]:
    """Reads the documents among files and folders again; gives the names of those that changed.

    Raises `InvalidDefinition` with the problems of all, and then nothing has changed.
    """
    found = documents_in(what)
    if not found:
        return []
    for connector in connectors_among(found):
        engine.connectors.add(connector)
    definitions: list[Definition] = []
    problems: list[Problem] = []
    with using(engine.registry.catalog):
        for workflow in workflows_among(found):
            try:
                definitions.append(defined(workflow))
            except InvalidDefinition as error:
                problems += error.problems or [Problem("", error.message)]
    if problems:
        raise InvalidDefinition("the documents are not valid; nothing has changed", problems)
    changed = [one for one in definitions if _differs(engine, one)]
    if changed:
        await engine.definitions.reload(changed, promote=promote)
    return [one.name for one in changed]


def _differs(engine: Engine, definition: Definition) -> bool:
    known = engine.registry.find(definition.name)
    return known is None or (known.hash, known.enabled) != (definition.hash, definition.enabled)


async def reload_and_tell(engine: Engine, what: Iterable[str], promote: bool) -> str:
    """`reload` in a sentence for the log."""
    try:
        names = await reload(engine, what, promote=promote)
    except GreenroomError as error:
        return f"read again: {error.message}"
    told = ", ".join(names) or "no document has changed"
    return f"read again: {told}; Python code needs a restart"
