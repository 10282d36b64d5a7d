"""What of a folder is a workflow: its documents and those of the folders below, stage folders, and
the Python files that lie in it itself.

Documents and stage folders are found at any depth. Python files are taken only from the folder that
was named: importing one runs it, and whoever names a project does not mean its tests and tools. A
folder below is passed over when its name says that it is not the author's own: hidden ones, tests,
caches, environments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".json", ".yaml", ".yml")
CASES: Final = ".test"
"""How the name of a file with the cases of a document ends, before its suffix."""
STAGES: Final = "stages.json"
"""The file that makes a folder a stage graph."""

_NOT_OURS: Final = frozenset({"tests", "test", "node_modules", "site-packages"})
_ENVIRONMENT: Final = "pyvenv.cfg"
_MEANT: Final = re.compile(r'"(schema_version|actions)"')
_SCHEMA: Final = re.compile(r"^greenroom:|(^|/)workflow\.[^/]*$")


def documents(folder: Path) -> Iterator[Path]:
    """The files that may be documents, and the stage folders, at any depth, in order of names."""
    if (folder / STAGES).is_file():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if not path.is_symlink() and _is_ours(path):
                yield from documents(path)
        elif path.suffix in SUFFIXES and not is_cases(path):
            yield path


def stage_folders(what: Iterable[str]) -> list[Path]:
    """The stage folders among files and folders that were named."""
    named = [Path(word) for word in what]
    return [path for one in named if one.is_dir() for path in documents(one) if path.is_dir()]


def _is_ours(folder: Path) -> bool:
    name = folder.name
    if name in _NOT_OURS or name.startswith((".", "_")):
        return False
    return not (folder / _ENVIRONMENT).exists()


def python_files(folder: Path) -> list[Path]:
    """The files of a folder that may be imported for their workflows."""
    return [
        path
        for path in sorted(folder.glob("*.py"))
        if not path.name.startswith(("test_", ".")) and path.name != "conftest.py"
    ]


def is_cases(path: Path) -> bool:
    """Whether a file holds cases of a document (`welcome.test.json`)."""
    return path.suffix in SUFFIXES and path.stem.endswith(CASES)


def is_workflow(path: Path, named: bool) -> bool:
    """A folder may hold other data: a document is known by its `schema_version`, its `actions`, or
    a `$schema` of ours. A broken file counts where it lies in the folder that was `named`; below it
    has to speak of those."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != ".json":
        return re.search(r"^(schema_version|actions):", text, re.MULTILINE) is not None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return named or _MEANT.search(text) is not None  # its author is to see what is wrong
    if not isinstance(data, dict):
        return False
    schema = data.get("$schema")
    return not data.keys().isdisjoint(("actions", "schema_version")) or (
        isinstance(schema, str) and _SCHEMA.search(schema) is not None
    )
