"""Workflow documents for an engine: from a file or a text that was pushed, to a `Definition`."""

from __future__ import annotations

import dataclasses

from greenroom.definitions.documents import Document, document_from, read_document
from greenroom.definitions.grants import uses_of
from greenroom.definitions.lowering import lower
from greenroom.definitions.values import Json
from greenroom.definitions.workflow import Definition
from greenroom.runtime.works import EngineWorks


def document_of(given: Json, place: str) -> Document:
    """The document of an object, or of JSON or YAML text. Raises `InvalidDefinition`."""
    if isinstance(given, str):
        return read_document(given, place)
    return document_from(given, place)


def read(given: Json, place: str) -> Definition:
    """The reader of workflow documents, see `runtime.sources`."""
    document = document_of(given, place)
    definition = lower(document, EngineWorks())
    return dataclasses.replace(definition, source=place, uses=uses_of(document))
