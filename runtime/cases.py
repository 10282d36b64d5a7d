"""Cases kept beside a document: `welcome.test.json` says what must come out of `welcome.json`.

    {"cases": [{"name": "a pro user is greeted", "input": {...}, "mocks": {"1": {...}},
                "expect": {"status": "completed", "includes": {"greeted": true}}}]}

A case is tried, not run: no engine, no connector, no clock but its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.definitions.documents import Document
from greenroom.definitions.errors import InvalidDefinition, InvalidInput, Problem
from greenroom.definitions.located import Located, read_located
from greenroom.definitions.operands import OPERANDS
from greenroom.definitions.paths import MISSING
from greenroom.definitions.shapes import Problems, TooMany, check_shape
from greenroom.definitions.trying import EXPECTS, differences, try_document
from greenroom.definitions.values import Json
from greenroom.runtime.folders import CASES, SUFFIXES

CASES_MAX: Final = 1000

_CASE: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 256},
        "input": {},
        "raw": {"type": "boolean"},
        "at": {"type": ["string", "number"]},
        "mocks": {"type": "object"},
        "expect": {
            "type": "object",
            "properties": {name: {} for name in EXPECTS},
            "additionalProperties": False,
        },
    },
    "required": ["name", "expect"],
    "additionalProperties": False,
}
_FILE: Final = {
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "cases": {"type": "array", "minItems": 1, "maxItems": CASES_MAX, "items": _CASE},
    },
    "required": ["cases"],
    "additionalProperties": False,
}


class Result(msgspec.Struct):
    """One case. `differences` is empty when it passes."""

    document: str
    case: str
    ok: bool
    differences: list[str]
    where: str | None = None


def beside(path: Path) -> Path | None:
    """The file with the cases of a document."""
    for suffix in SUFFIXES:
        found = path.with_name(f"{path.stem}{CASES}{suffix}")
        if found.is_file():
            return found
    return None


def document_of(path: Path) -> Path | None:
    """The document whose cases a file holds."""
    for suffix in SUFFIXES:
        found = path.with_name(f"{path.stem.removesuffix(CASES)}{suffix}")
        if found.is_file():
            return found
    return None


def read_cases(path: Path) -> tuple[Located, list[dict[str, Any]]]:
    """The cases of a file. Raises `InvalidDefinition` with everything wrong in it."""
    try:
        found = read_located(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidDefinition(f"{path} cannot be read: {error.strerror}") from None
    problems = Problems(found.problems)
    try:
        check_shape(found.data, _FILE, "$", problems, {})
    except TooMany:
        problems.append(Problem("$", "and more: mend these first"))
    if problems:
        placed = [found.placed(problem) for problem in problems]
        raise InvalidDefinition(f"{path} is not valid", placed)
    return found, found.data["cases"]


def run_cases(document: Document, path: Path) -> list[Result]:
    """Tries every case of a file."""
    found, cases = read_cases(path)
    return [
        _run(document, case, found.where(f"$.cases[{at}]") or str(path))
        for at, case in enumerate(cases)
    ]


def _run(document: Document, case: dict[str, Any], where: str) -> Result:
    trial = try_document(
        document,
        case.get("input", {}),
        case.get("mocks", {}),
        at=moment(case.get("at", 0)),
        raw=case.get("raw", False),
    )
    wrong = differences(trial, case["expect"])
    wrong += [f"mocks: {key} did not come to pass" for key in trial.unused]
    if wrong and trial.error and "error" not in case["expect"]:
        wrong.append(f"it ended with: {trial.error}")
    return Result(document.name, case["name"], not wrong, wrong, where)


def moment(value: Json) -> int:
    """A time as milliseconds since 1970."""
    found = OPERANDS["Date"].read(value)
    if found is MISSING:
        raise InvalidInput(f"{value!r:.60} is no time: write ISO 8601 text or epoch seconds")
    return int(found.total_seconds() * 1000)


def junit(results: list[Result]) -> bytes:
    """The results as JUnit's XML, which every CI reads."""
    from xml.etree import ElementTree  # noqa: PLC0415  start-up time

    suites = ElementTree.Element("testsuites")
    for name in dict.fromkeys(one.document for one in results):
        mine = [one for one in results if one.document == name]
        failed = sum(not one.ok for one in mine)
        suite = ElementTree.SubElement(
            suites, "testsuite", name=name, tests=str(len(mine)), failures=str(failed)
        )
        for one in mine:
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=one.case)
            if not one.ok:
                failure = ElementTree.SubElement(case, "failure", message=one.differences[0])
                failure.text = "\n".join([one.where or "", *one.differences])
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))
