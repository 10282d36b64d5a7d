"""Workflows written as data: from a document, or from the store's copy of it, to a `Definition`.

A workflow that is a document has the whole document kept with each of its versions, so what was
pushed over a face needs no file at the next start, and an instance of an old version follows that
version's own document.

A kind of document plugs in as a *reader*: one line in `READERS`, its name and `"module:function"`,
imported when the first document of that kind is met. The function is

    read(document: Json, place: str) -> Definition

`document` is what somebody gave: an object, or text (of a file: with its comments and order).
`place` is where it comes from, for messages: a file's name or `welcome v3`. It is pure, and raises
`InvalidDefinition` with every problem it finds. Of the `Definition` it gives, `hash` decides
whether there is a new version: leave out of it what changes nothing (C29: `enabled`, `$schema`,
descriptions); `enabled` is what the document says, or None. `written` is filled in here.

    compile_document(document, place)             a document as somebody gave it
    compile_written(Written(reader, document), place)    one the store has kept

Loaders of files call `compile_document` too, so that a file and the same text pushed are one
version.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Final

import msgspec

from greenroom.definitions.declare import definition_of
from greenroom.definitions.errors import InvalidDefinition
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition, Written

Reader = Callable[[Json, str], Definition]

ACTIONS: Final = "actions"
"""The reader of workflow documents: a source and actions."""
STAGES: Final = "stages"
"""The reader of stage graphs."""

READERS: Final[dict[str, str]] = {
    ACTIONS: "greenroom.runtime.documents:read",
    STAGES: "greenroom.runtime.stagefolders:read",
}
"""Name of a reader -> `"module:function"`."""


class DocumentFile(msgspec.Struct, frozen=True):
    """A document that was found in a file, not compiled yet: what it may name is known only when
    everything beside it is loaded."""

    text: str
    place: str


def is_document(workflow: object) -> bool:
    """Whether something given as a workflow is one written as data."""
    return isinstance(workflow, dict | DocumentFile)


def defined(workflow: object) -> Definition:
    """The definition of a workflow of any kind. Raises `InvalidDefinition`."""
    if isinstance(workflow, DocumentFile):
        return compile_document(workflow.text, workflow.place)
    if isinstance(workflow, dict):
        return compile_document(workflow, f"the document {str(workflow.get('name', ''))[:80]}")
    return definition_of(workflow)


def compile_document(document: Json, place: str) -> Definition:
    """The workflow that a document is. Raises `InvalidDefinition`."""
    if not isinstance(document, dict | str):
        raise InvalidDefinition(
            f"{place}: a workflow document is an object or text, got {type(document).__name__}"
        )
    return compile_written(Written(reader_of(document), document), place)


def compile_written(written: Written, place: str) -> Definition:
    """The workflow that a stored document is. Raises `InvalidDefinition`."""
    definition = _reader(written.reader, place)(written.document, place)
    return dataclasses.replace(definition, written=written)


def reader_of(document: Json) -> str:
    """Which reader a document is for, by the one key that tells them apart."""
    if isinstance(document, str) and document.lstrip().startswith("{"):
        try:
            document = msgspec.json.decode(document)
        except msgspec.DecodeError:  # its reader says what is wrong, and where
            return ACTIONS
    return STAGES if isinstance(document, dict) and "stages" in document else ACTIONS


def _reader(name: str, place: str) -> Reader:
    target = READERS.get(name)
    if target is None:
        raise InvalidDefinition(
            f"{place}: documents of {name} cannot be read by this version",
            hint="write the workflow in Python; see `greenroom new`",
        )
    module, _, function = target.partition(":")
    reader: Reader = getattr(importlib.import_module(module), function)
    return reader
