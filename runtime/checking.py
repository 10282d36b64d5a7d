"""Files looked at as a whole: what is wrong in any of them, and what is odd about all together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from greenroom.definitions.analysis import cycle_findings, findings
from greenroom.definitions.catalog import Catalog, using
from greenroom.definitions.connectors import Connector, Connectors
from greenroom.definitions.documents import Document
from greenroom.definitions.documentschema import document_schema
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, Problem
from greenroom.definitions.located import in_order
from greenroom.definitions.workflow import Definition
from greenroom.runtime import cases
from greenroom.runtime.connectors.shipped import SHIPPED
from greenroom.runtime.documents import document_of
from greenroom.runtime.folders import is_cases
from greenroom.runtime.given import connectors_among, workflows_among
from greenroom.runtime.loading import each_once, load
from greenroom.runtime.sources import ACTIONS, DocumentFile, defined, reader_of


def editor_schema(what: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON Schema of documents for an editor, with the connectors that are shipped and those of
    files and folders. Raises `InvalidDefinition`."""
    connectors = catalog_of(load(list(what))).connectors
    for name in connectors.shipped:
        connectors.get(name)
    return document_schema(connectors)


class Checked(NamedTuple):
    """`documents` are those of workflows with actions; `cases` the files of cases that were named or
    lie beside them; `warnings` have the file and place they are about."""

    definitions: list[Definition]
    connectors: list[Connector]
    documents: list[Document]
    cases: list[Path]
    warnings: list[Problem]


def catalog_of(found: Iterable[object]) -> Catalog:
    """What documents among these may name: connectors beside them, and those that are shipped."""
    connectors = Connectors()
    connectors.shipped = SHIPPED
    for connector in connectors_among(found):
        connectors.add(connector)
    return Catalog(connectors)


def check(what: Iterable[str]) -> Checked:
    """Checks files, modules and folders. Raises `InvalidDefinition` with the problems of all."""
    words = list(what)
    problems: list[Problem] = []
    loaded: list[object] = []
    for word in words:
        try:
            loaded += load(word)
        except GreenroomError as error:
            problems += _problems(error, word)
    found = each_once(loaded)
    definitions: list[Definition] = []
    documents: list[Document] = []
    with using(catalog_of(found)):
        for workflow in workflows_among(found):
            try:
                definitions.append(defined(workflow))
                if isinstance(workflow, DocumentFile) and reader_of(workflow.text) == ACTIONS:
                    documents.append(document_of(workflow.text, workflow.place))
            except GreenroomError as error:
                place = workflow.place if isinstance(workflow, DocumentFile) else ""
                problems += _problems(error, place)
    beside = _cases(words, documents)
    for path in beside:
        try:
            cases.read_cases(path)
        except GreenroomError as error:
            problems += _problems(error, str(path))
    problems += _twice(definitions)
    if problems:
        raise InvalidDefinition("not valid", problems)
    return Checked(definitions, connectors_among(found), documents, beside, warnings(documents))


def warnings(documents: Iterable[Document]) -> list[Problem]:
    """What is odd about documents, each and together, in the order of their lines."""
    listed = list(documents)
    found = [one for document in listed for one in (*document.warnings, *findings(document))]
    return in_order([*found, *cycle_findings(listed)])


def _cases(words: Iterable[str], documents: Iterable[Document]) -> list[Path]:
    named = [path for path in map(Path, words) if is_cases(path)]
    beside = [found for one in documents if (found := cases.beside(Path(one.label)))]
    return list(dict.fromkeys([*named, *beside]))


def _problems(error: GreenroomError, place: str) -> list[Problem]:
    if isinstance(error, InvalidDefinition) and error.problems:
        return error.problems
    return [Problem("", error.message.removeprefix(f"{place}: "), place or None)]


def _twice(definitions: list[Definition]) -> list[Problem]:
    known: dict[str, str] = {}
    found: list[Problem] = []
    for one in definitions:
        if one.name in known and known[one.name] != one.source:
            found.append(
                Problem("$.name", f'{known[one.name]} is named "{one.name}" too', one.source)
            )
        known.setdefault(one.name, one.source)
    return found
