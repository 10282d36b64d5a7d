"""docs/errors.md names every code an error can have, and no other."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import greenroom
from greenroom.definitions.errors import ERRORS, GreenroomError

PAGE = Path(__file__).parents[2] / "docs/errors.md"


def documented() -> dict[str, str]:
    """Code -> its row."""
    text = PAGE.read_text(encoding="utf-8")
    return {found[1]: found[0] for found in re.finditer(r"^\| `(\w+)`.*$", text, re.MULTILINE)}


def public_codes() -> set[str]:
    """Of all modules: a class is known only once its module is imported."""
    for module in pkgutil.walk_packages(greenroom.__path__, "greenroom."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = {code: cls for code, cls in ERRORS.items() if cls.__module__.startswith("greenroom.")}
    return {code for code in ours if not code.startswith("_")} | {GreenroomError.code}


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    assert set(documented()) == public_codes()


def test_the_exit_code_of_a_row_is_the_one_of_its_class() -> None:
    for code, row in documented().items():
        told = re.search(r"\(exit (\d+)\)", row)
        if told:
            assert ERRORS[code].exit_code == int(told[1]), code


def test_the_retryable_ones_are_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (line,) = re.findall(r"\*\*Retryable\*\*.*", text)
    told = set(re.findall(r"`(\w+)`", line))
    assert told == {code for code, cls in ERRORS.items() if cls.retryable} - {"unavailable"}
