"""Documents and stage folders read again while the daemon serves: SIGHUP.

What is right is a new version, released as at a start; what is wrong changes nothing and is told in
the log. The files of a stage folder are data to the daemon: each run of a stage runs the text of its
version. Other Python code is loaded once a process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from greenroom.definitions.catalog import using
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, Problem
from greenroom.definitions.workflow import Definition
from greenroom.runtime.folders import SUFFIXES, stage_folders
from greenroom.runtime.given import connectors_among, workflows_among
from greenroom.runtime.loading import documents_in
from greenroom.runtime.sources import defined
from greenroom.runtime.trust import check_files

if TYPE_CHECKING:
    from greenroom.runtime.engine import Engine


async def reload(engine: Engine, what: Iterable[str], *, promote: bool = True) -> list[str]:
    """Reads the documents among files and folders again, and the stage folders; gives the names of
    those that changed.

    Raises `InvalidDefinition` with the problems of all, and then nothing has changed.
    """
    words = list(what)
    found = documents_in(words)
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
        for folder in stage_folders(words):
            forget_modules(folder)
        await engine.definitions.reload(changed, promote=promote)
        engine.settle_stages()
    return [one.name for one in changed]


def forget_modules(folder: Path) -> None:
    """What the files of a stage folder import from beside them is imported anew by what runs from
    now on."""
    place = folder.resolve()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).parent == place:
            del sys.modules[name]


def is_enough(path: Path, what: Iterable[str]) -> bool:
    """Whether reading again takes up what was saved at a path, without a new process."""
    folders = [folder.resolve() for folder in stage_folders(what)]
    return path.resolve().parent in folders or (path.suffix in SUFFIXES and path.exists())


def _differs(engine: Engine, definition: Definition) -> bool:
    known = engine.registry.find(definition.name)
    return known is None or (known.hash, known.enabled) != (definition.hash, definition.enabled)


async def reload_and_tell(engine: Engine, what: Iterable[str], promote: bool) -> str:
    """`reload` in a sentence for the log."""
    try:
        words = list(what)
        if engine.stages.read_only:
            check_files(words)
        names = await reload(engine, words, promote=promote)
    except GreenroomError as error:
        return f"read again: {error.message}"
    told = ", ".join(names) or "nothing has changed"
    rest = {Path(word) for word in words} - set(stage_folders(words))
    code = any(one.suffix not in SUFFIXES for one in rest)
    return f"read again: {told}{'; Python code needs a restart' if code else ''}"
