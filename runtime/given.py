"""What an engine is given: workflows and connectors as objects, documents or places to load from.

Loading from files and reading connector documents are imported when there is such a thing: whoever
gives functions and classes does not pay for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from greenroom.definitions.connectors import Connector


def loaded(workflows: Sequence[object]) -> list[object]:
    """Workflows and connectors as objects: a path or module name stands for all it holds."""
    found: list[object] = []
    for workflow in workflows:
        if isinstance(workflow, str | Path):
            from greenroom.runtime.loading import load  # noqa: PLC0415  start-up time

            found += load(str(workflow))
        else:
            found.append(workflow)
    return found


def connectors_among(found: Iterable[object]) -> list[Connector]:
    """The connectors among what was loaded or given; a document may be given as it is."""
    connectors: list[Connector] = []
    for one in found:
        if isinstance(one, Connector):
            connectors.append(one)
        elif is_connector(one):
            from greenroom.definitions.connectordocs import (  # noqa: PLC0415  start-up time
                compile_connector,
            )
            from greenroom.runtime.connectors import connector as ours  # noqa: PLC0415

            connectors.append(compile_connector(one, cls=ours.Connector))
    return connectors


def workflows_among(found: Iterable[object]) -> list[object]:
    """What is left of it."""
    return [one for one in found if not is_connector(one)]


def is_connector(one: object) -> bool:
    if not isinstance(one, dict):
        return isinstance(one, Connector)
    from greenroom.definitions.connectordocs import is_connector_document  # noqa: PLC0415

    return is_connector_document(one)
