"""Every code block of the README and of docs/ that can be run is run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, matches, opened, typed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def has_nc() -> bool:
    """netcat-openbsd: the other one knows no Unix sockets."""
    if shutil.which("nc") is None:
        return False
    said = subprocess.run(["nc", "-h"], capture_output=True, text=True, check=False)
    return "-U" in said.stdout + said.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_blocks_of_a_page_do_what_it_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    if "| nc " in text and not has_nc():
        pytest.skip("netcat-openbsd is not here")
    if "$ curl " in text and shutil.which("curl") is None:
        pytest.skip("curl is not here")
    with opened(monkeypatch.chdir) as page:
        for block in blocks(text):
            try:
                page.run(block)
            except BaseException as error:
                error.add_note(f"{path.name}:{block.line}")
                raise


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_links_of_a_page_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_is_in_the_list_of_pages() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in index


def test_no_page_is_unfinished() -> None:
    for path in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bTODO\b|\bFIXME\b", text), path.name


# -- the reader itself --------------------------------------------------------------------------


def test_a_console_block_is_commands_with_their_output() -> None:
    found = list(typed("$ one \\\n  more\nout\n$ two\n"))
    assert [tuple(one) for one in found] == [("one \\\n  more", "out"), ("two", "")]


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("a  b", "a b\n", True),
        ("a … c", "a b c", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a", "a\nb", False),
        ("a b", "a c", False),
        ("", "a", False),
        ("", "", True),
    ],
)
def test_output_is_compared_word_by_word(expected: str, output: str, same: bool) -> None:
    assert matches(expected, output) is same
