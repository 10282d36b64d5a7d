"""From what stands on a command line to workflows: Python files, modules, folders of them.

A file is imported under the name an `import` beside it would give it, with its folder on the
path, so that workflows may import their neighbours and steps can be found again by a worker
process. Whatever goes wrong in an author's module becomes one `InvalidDefinition` that names the
line.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import traceback
import zlib
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from greenroom.definitions.catalog import offered_by
from greenroom.definitions.connectordocs import (
    BYTES_MAX,
    read_connector,
)
from greenroom.definitions.connectors import Connector
from greenroom.definitions.errors import InvalidDefinition, Problem
from greenroom.definitions.flows import Flow
from greenroom.definitions.programs import Workflow
from greenroom.definitions.versions import Version
from greenroom.definitions.workflow import Definition
from greenroom.runtime import folders
from greenroom.runtime.sources import DocumentFile


def load(what: str | Iterable[str]) -> list[object]:
    """The workflows of a file, folder, `package.module` or `package.module:name`, or of several.

    Each once, in the order they are written. Raises `InvalidDefinition`.
    """
    words = [what] if isinstance(what, str) else list(what)
    return each_once(item for word in words for item in _load_one(word))


def each_once(found: Iterable[object]) -> list[object]:
    """A file may be named, and lie in a folder that is named too."""
    return list({_identity(item): item for item in found}.values())


def _identity(item: object) -> object:
    return os.path.realpath(item.place) if isinstance(item, DocumentFile) else id(item)


def _load_one(what: str) -> list[object]:
    path = Path(what)
    if path.is_dir():
        return _in_folder(path)
    if path.suffix in folders.SUFFIXES:
        return [] if folders.is_cases(path) else [_in_file(path)]
    if path.suffix == ".py":
        if not path.is_file():
            raise _wrong(what, "there is no such file")
        return _of_module(what, import_file(path))
    module, _, name = what.partition(":")
    if not all(part.isidentifier() for part in module.split(".")):
        raise _wrong(what, "neither a file, a folder nor a module name")
    found = _import_name(module)
    if not name:
        return _of_module(what, found)
    if not hasattr(found, name):
        raise _wrong(what, f"{module} has no {name}")
    return [getattr(found, name)]


def _in_folder(folder: Path) -> list[object]:
    found = _documents_in(folder)
    modules = []
    if not (folder / folders.STAGES).is_file():
        modules = [import_file(path) for path in folders.python_files(folder)]
    for module in modules:
        found += workflows_in(module)
    return found if any(map(offered_by, modules)) else _some(str(folder), found)


def _documents_in(folder: Path) -> list[object]:
    found: list[object] = []
    for path in folders.documents(folder):
        if path.is_dir():
            from greenroom.runtime.stagefolders import document_of  # noqa: PLC0415  start-up time

            found.append(document_of(path))
        elif (connector := connector_in(path)) is not None:
            found.append(connector)
        elif folders.is_workflow(path, path.parent == folder):
            found.append(_document(path))
    return found


def _in_file(path: Path) -> object:
    return connector_in(path) or _document(path)


def documents_in(what: Iterable[str]) -> list[object]:
    """The documents, stage folders and connectors among files and folders: what is data to a
    daemon, without the Python that must be imported."""
    found: list[object] = []
    for word in what:
        path = Path(word)
        if path.is_dir():
            found += _documents_in(path)
        elif path.suffix in folders.SUFFIXES and path.is_file() and not folders.is_cases(path):
            found.append(_in_file(path))
    return found


def connector_in(path: Path) -> Connector | None:
    """The connector a document holds; None where it is something else by its shape."""
    try:
        if path.stat().st_size > BYTES_MAX:
            return None
        raw = path.read_bytes()
    except OSError:
        return None  # what it was meant to be is for others to say
    if _CONFIG.search(raw) is None:
        return None
    from greenroom.runtime.connectors import connector as ours  # noqa: PLC0415  start-up time

    try:
        return read_connector(raw, ours.place_of(path), cls=ours.Connector)
    except InvalidDefinition:
        if path.suffix == ".json" and not _is_json(raw):
            return None  # neither is it a workflow: whoever reads those says what is wrong
        raise


_CONFIG: Final = re.compile(rb'"config"\s*:|^config:', re.MULTILINE)


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _document(path: Path) -> DocumentFile:
    try:
        return DocumentFile(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise _wrong(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(str(path), "is not UTF-8 text") from None


def _of_module(what: str, module: ModuleType) -> list[object]:
    found = workflows_in(module)
    return found if offered_by(module) else _some(what, found)


def _some(what: str, found: list[object]) -> list[object]:
    if not found:
        raise _wrong(
            what,
            "no workflow in it",
            hint="decorate one with @workflow, derive a class from Workflow, or write a document",
        )
    return found


def _wrong(what: str, message: str, hint: str | None = None) -> InvalidDefinition:
    return InvalidDefinition(f"{what}: {message}", hint=hint, what=what)


# -- what is a workflow ------------------------------------------------------------------------


def workflows_in(module: ModuleType) -> list[object]:
    """What a module declares: all that carries a definition, the classes of its own that derive
    from `Workflow`, and connectors."""
    found: dict[int, object] = {}
    for value in vars(module).values():
        if (
            isinstance(value, Definition | Connector)
            or _is_declared(value)
            or _is_class(value, module)
        ):
            found[id(value)] = value
    return list(found.values())


def _is_declared(value: object) -> bool:
    if isinstance(value, Flow):  # its definition is made when all its handlers are there
        return True
    try:
        return isinstance(vars(value).get("__greenroom__"), Definition)
    except TypeError:  # no __dict__
        return False


def _is_class(value: object, module: ModuleType) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, Workflow)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and ("handle" in vars(value) or (issubclass(value, Version) and "versions" in vars(value)))
    )


# -- importing ---------------------------------------------------------------------------------


def import_file(path: Path) -> ModuleType:
    """The module of a file; a second call gives the same one."""
    path = path.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():  # in a package: by its full name
        name = folder.name if name == "__init__" else f"{folder.name}.{name}"
        folder = folder.parent
    _on_path(folder)
    if "." in name:
        return _import_name(name)
    known = sys.modules.get(name)
    if known is not None or name in sys.stdlib_module_names:
        if known is not None and _file_of(known) == path:
            return known
        name = f"{name}_{zlib.crc32(str(path).encode()):08x}"
        if name in sys.modules:
            return sys.modules[name]
    if path.suffix != ".py":
        raise _wrong(str(path), "not a Python file")
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(str(path), error) from error
    return module


class _Source(SourceFileLoader):
    """Reads what stands in the file now. Cached bytecode is told from stale by a whole second and
    a size: an edit of one digit in the second of the last import would go unseen."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _import_name(name: str) -> ModuleType:
    _on_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _wrong(name, f"there is no module {error.name}") from None
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _on_path(folder: Path) -> None:
    text = str(folder)
    if text not in sys.path:
        sys.path.insert(0, text)


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _failed(what: str, error: BaseException) -> InvalidDefinition:
    """The author's error, with the innermost line of their own code."""
    if isinstance(error, InvalidDefinition):
        return error
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
        where = f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else what
    problem = Problem("", f"{type(error).__name__}: {error}", where)
    return InvalidDefinition(f"{what} cannot be imported", [problem])
