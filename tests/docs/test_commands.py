"""The command line explains itself in one way, and docs/ names every command and every method."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from greenroom.runtime import calls
from greenroom.runtime.cli.group import HELP_MAX, MODULES, SECTIONS, Command, cli

DOCS = Path(__file__).parents[2] / "docs"


def walked(found: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), found
    if isinstance(found, click.Group):
        ctx = click.Context(found)
        for name in found.list_commands(ctx):
            inner = found.get_command(ctx, name)
            assert inner is not None
            yield from walked(inner, *path, name)


ALL = dict(list(walked(cli))[1:])
COMMANDS = {path: found for path, found in ALL.items() if not isinstance(found, click.Group)}


def rows(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("| `")]


# -- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALL)
def test_help_says_what_a_command_does_in_a_sentence_of_one_line(path: str) -> None:
    first = (ALL[path].help or "").split("\n")[0]
    assert first.endswith(".") and first[0].isupper()
    assert not ALL[path].get_short_help_str(limit=70).endswith("...")


@pytest.mark.parametrize("name", MODULES)
def test_the_line_of_a_command_in_the_list_is_the_first_of_its_help(name: str) -> None:
    (line,) = (part[name][1] for part in SECTIONS.values() if name in part)
    assert line == (ALL[name].help or "").split("\n")[0]
    assert len(line) <= HELP_MAX


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys; from greenroom.runtime.main import main; main(['--help']); "
        "print([m for m in sys.modules if m.startswith('greenroom.runtime.cli.')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.rpartition(".")[2] for name in ast.literal_eval(ran.stdout.splitlines()[-1])}
    own = {module.rpartition(".")[2] for module in MODULES.values()}
    assert not modules & own


@pytest.mark.parametrize("path", COMMANDS)
def test_help_ends_with_examples_of_this_very_command(path: str) -> None:
    found = COMMANDS[path]
    assert isinstance(found, Command)
    assert f"greenroom {path}" in found.example


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_says_what_it_does(path: str) -> None:
    ctx = click.Context(COMMANDS[path])
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option) and not param.hidden:
            assert re.match(r"[\w{]", param.help or ""), param.name
            assert param.get_help_record(ctx) is not None


@pytest.mark.parametrize("path", [path for path in ALL if path not in COMMANDS])
def test_help_of_a_group_names_its_commands(path: str) -> None:
    group = ALL[path]
    assert isinstance(group, click.Group)
    if len(group.commands) <= 10:  # more do not fit into the line
        assert set(group.commands) <= set(re.findall(r"[\w-]+", group.help or ""))


# -- pages --------------------------------------------------------------------------------------


def test_the_page_of_commands_names_every_command_and_no_other() -> None:
    told = set()
    for row in rows("command-line.md"):
        spans = re.findall(r"`([a-z][^`]*)`", row.split(" | ")[0])
        group = spans[0].split()[0] if spans and spans[0].split()[0] in ALL else ""
        if group in COMMANDS:
            group = ""
        for at, span in enumerate(spans):
            words = [word for word in span.split() if re.fullmatch(r"[a-z-]+", word)]
            name = " ".join(word for word in words if not word.startswith("--"))
            told.add(f"{group} {name}" if group and at else name)
    assert told == set(COMMANDS)


def test_the_page_of_the_socket_names_every_method_with_what_it_takes() -> None:
    told: dict[str, str] = {}
    for row in rows("socket-protocol.md"):
        names, _, takes = row.partition(" | ")
        group = ""
        for name in re.findall(r"`([\w.]+)`", names):
            group = name.split(".")[0] if not name.startswith(".") else group
            told[group + name if name.startswith(".") else name] = takes
    assert set(told) == set(calls.METHODS)
    for name, call in {**calls.CALLS, **calls.STREAMS}.items():
        missing = set(call.params.__struct_fields__) - set(re.findall(r"\w+", told[name]))
        assert not missing, name
