"""What can be said of a stage folder before it is deployed: does it read, and is what its files
import here.

Nothing is imported or installed: modules are looked for, requirements are compared with what is
installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition
from greenroom.runtime.sources import compile_document
from greenroom.runtime.stagefolders import document_of, imports_of

REQUIREMENTS: Final = "requirements.txt"
_NAME: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*(?:==\s*([^\s;,#]+))?")


def checked_folder(folder: str | Path) -> tuple[Definition, dict[str, Json]]:
    """The workflow of a folder that can be deployed, and the document that is kept of it. Raises
    `InvalidDefinition` naming file, line and package of all that is missing."""
    document = document_of(folder)
    definition = compile_document(document, str(folder))
    place = Path(str(document["folder"]))
    problems = [
        *_missing_modules(place, document["files"]),
        *_missing_requirements(place / REQUIREMENTS),
    ]
    if problems:
        raise InvalidDefinition(
            f"{folder} needs what is not installed",
            problems,
            hint=f"pip install -r {place / REQUIREMENTS}  (list there what the stages use)",
        )
    return definition, document


def _missing_modules(folder: Path, files: dict[str, str]) -> Iterator[Problem]:
    for file, text in files.items():
        for name, line in imports_of(text):
            top = name.partition(".")[0]
            if not _is_here(top, folder):
                yield Problem("", f"the package {top} is not installed", f"{folder / file}:{line}")


def _is_here(name: str, folder: Path) -> bool:
    if name in sys.stdlib_module_names or (folder / f"{name}.py").is_file():
        return True
    if (folder / name).is_dir():
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return name in sys.modules


def _missing_requirements(file: Path) -> Iterator[Problem]:
    if not file.is_file():
        return
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        found = _NAME.match(text)
        if not text or text.startswith("-") or found is None or "://" in text:
            continue
        name, wanted = found[1], found[2]
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Problem("", f"the package {name} is not installed", f"{file}:{number}")
            continue
        if wanted is not None and "*" not in wanted and there != wanted:
            text = f"the package {name} is installed as {there}, not {wanted}"
            yield Problem("", text, f"{file}:{number}")
