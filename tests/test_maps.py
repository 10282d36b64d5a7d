"""The docstrings of the packages are the design: what they name is there."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

PACKAGES = ("definitions", "actors", "runtime")


def map_of(package: str) -> list[str]:
    """The names in the first column of the map, the chapter of rules left out."""
    text = importlib.import_module(f"greenroom.{package}").__doc__ or ""
    head = text.split("\nRules\n")[0]
    return re.findall(r"^    (\w+)  +\S", head, re.MULTILINE)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_of_a_map_exists(package: str) -> None:
    names = map_of(package)
    assert len(names) >= 10
    for name in names:
        assert importlib.util.find_spec(f"greenroom.{package}.{name}"), name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_in_the_map_of_its_package(package: str) -> None:
    found = importlib.import_module(f"greenroom.{package}")
    named = set(re.findall(r"\w+", (found.__doc__ or "").split("\nRules\n")[0]))
    modules = {module.name for module in pkgutil.iter_modules(found.__path__)}
    assert modules - named == set(), f"name them in {package}/__init__.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_to_read_first_exists(package: str) -> None:
    text = importlib.import_module(f"greenroom.{package}").__doc__ or ""
    names = re.findall(r"`(\w+)`", text[text.index("\nRead ") :])
    assert names
    for name in names:
        assert importlib.util.find_spec(f"greenroom.{package}.{name}"), name


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_no_module_of_it(package: str) -> None:
    path = Path(str(importlib.import_module(f"greenroom.{package}").__file__))
    assert [type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body] == [ast.Expr]
