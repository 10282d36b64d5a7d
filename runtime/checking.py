"""Files looked at as a whole: what is wrong in any of them, and what is odd about all together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from greenroom.definitions.analysis import cycle_findings, findings
from greenroom.definitions.catalog import Catalog, using
from greenroom.definitions.connectors import Connectors
from greenroom.definitions.documents import Document
from greenroom.definitions.errors import GreenroomError, InvalidDefinition, Problem
from greenroom.definitions.workflow import Definition
from greenroom.runtime.connectors.shipped import SHIPPED
from greenroom.runtime.documents import document_of
from greenroom.runtime.loading import connectors_among, load, workflows_among
from greenroom.runtime.sources import ACTIONS, DocumentFile, defined, reader_of


class Checked(NamedTuple):
    """`documents` are those of workflows with actions; `warnings` have the file and place they are
    about."""

    definitions: list[Definition]
    documents: list[Document]
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
    problems: list[Problem] = []
    found: list[object] = []
    for word in what:
        try:
            found += load(word)
        except GreenroomError as error:
            problems += _problems(error, word)
    definitions: list[Definition] = []
    documents: list[Document] = []
    with using(catalog_of(found)):
        for workflow in {id(one): one for one in workflows_among(found)}.values():
            try:
                definitions.append(defined(workflow))
                if isinstance(workflow, DocumentFile) and reader_of(workflow.text) == ACTIONS:
                    documents.append(document_of(workflow.text, workflow.place))
            except GreenroomError as error:
                place = workflow.place if isinstance(workflow, DocumentFile) else ""
                problems += _problems(error, place)
    problems += _twice(definitions)
    if problems:
        raise InvalidDefinition("not valid", problems)
    warnings = [one for document in documents for one in (*document.warnings, *findings(document))]
    return Checked(definitions, documents, [*warnings, *cycle_findings(documents)])


def _problems(error: GreenroomError, place: str) -> list[Problem]:
    if isinstance(error, InvalidDefinition) and error.problems:
        return error.problems
    return [Problem("", error.message, None if place in error.message else place)]


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
